//! A folder of our own for a while, gone when it is dropped; one that a killed process left, when the next one is made.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::Failure;

/// A folder that only its owner may enter, removed with all that is in it on drop.
pub(crate) struct Scratch {
    path: PathBuf,
    /// The folder itself, locked while it is in use.
    _lock: Option<File>,
}

/// Only we may enter.
const MODE: u32 = 0o700;

impl Scratch {
    /// Makes a new folder below `parent`. It never takes over one that exists: that may be somebody's trap.
    pub(crate) fn new(parent: &Path, purpose: &str) -> Result<Scratch, Failure> {
        let prefix = format!("braidlog-{purpose}-");
        remove_left(parent, &prefix);
        let process = std::process::id();
        for attempt in 0..100 {
            let path = parent.join(format!("{prefix}{process}-{attempt}"));
            match DirBuilder::new().mode(MODE).create(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(Failure::io(format!("make a folder in {}", parent.display()))(error)),
            }
            match lock(&path) {
                Ok(Some(lock)) => return Ok(Scratch { path, _lock: Some(lock) }),
                // Another process took it for one that was left.
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                // Where there are no locks nobody can take it for that.
                Err(_) => return Ok(Scratch { path, _lock: None }),
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

/// Locks a folder, if nobody else has and it is still the one of this name.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let folder = File::open(path)?;
    match folder.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let (locked, named) = (folder.metadata()?, path.symlink_metadata()?);
    Ok(((locked.dev(), locked.ino()) == (named.dev(), named.ino())).then_some(folder))
}

/// Removes folders of ours whose process is gone, and its lock with it.
fn remove_left(parent: &Path, prefix: &str) {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_ours = |entry: &std::fs::DirEntry| {
        let name = entry.file_name();
        let numbers = name.to_str().and_then(|name| name.strip_prefix(prefix)?.split_once('-'));
        let is_named = numbers.is_some_and(|(process, attempt)| is_number(process) && is_number(attempt));
        // Of the folder, not of what a link leads to.
        is_named
            && entry.metadata().is_ok_and(|metadata| {
                metadata.is_dir()
                    && metadata.uid() == rustix::process::geteuid().as_raw()
                    && metadata.permissions().mode() & 0o777 == MODE
            })
    };
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten().filter(is_ours) {
        let path = entry.path();
        if let Ok(Some(_lock)) = lock(&path) {
            let _ = std::fs::remove_dir_all(&path);
        }
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
