//! A folder of our own for a while, gone when it is dropped.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::Failure;

/// A folder that only its owner may enter, removed with all that is in it on drop.
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes a new folder below `parent`. It never takes over one that exists: that may be somebody's trap.
    pub(crate) fn new(parent: &Path, purpose: &str) -> Result<Scratch, Failure> {
        let process = std::process::id();
        for attempt in 0..100 {
            let path = parent.join(format!("braidlog-{purpose}-{process}-{attempt}"));
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Scratch { path }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Failure::io(format!("make a folder in {}", parent.display()))(error)),
            }
        }
        Err(Failure::Other(format!("{} is full of folders of ours; remove them", parent.display())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// The kind of file system `path` is on, if its name is known. In memory a sync costs nothing, and figures mean little.
pub(crate) fn file_system(path: &Path) -> Option<&'static str> {
    #[cfg(target_os = "linux")]
    {
        Some(match rustix::fs::statfs(path).ok()?.f_type as u64 {
            0x0102_1994 => "tmpfs, in memory: a sync costs nothing here",
            0xef53 => "ext4",
            0x5846_5342 => "xfs",
            0x9123_683e => "btrfs",
            0x794c_7630 => "overlay",
            0xf2f5_2010 => "f2fs",
            0x2fc1_2fc1 => "zfs",
            0x6969 => "nfs",
            _ => return None,
        })
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        None
    }
}
