//! Where the data goes, and what is worth knowing about it: a sync means little without the disk.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Result;

/// The directory all cells work in.
pub struct Root {
    path: PathBuf,
    /// Whether it is ours to remove.
    created: bool,
}

impl Root {
    /// Uses `dir`, creating it if it is not there.
    pub fn create(dir: &Path) -> Result<Self> {
        let created = !dir.exists();
        fs::create_dir_all(dir)?;
        Ok(Self { path: dir.canonicalize()?, created })
    }

    /// Its absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file system it lies on, with a warning where a sync reaches no device.
    pub fn describe(&self) -> String {
        let Some((kind, device)) = file_system(&self.path) else {
            return "unknown file system".to_owned();
        };
        match kind.as_str() {
            "tmpfs" | "ramfs" => format!("{kind}: IN MEMORY, THE SYNCED FIGURES MEAN NOTHING HERE"),
            _ => format!("{kind} on {device}"),
        }
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if self.created {
            // Only if every cell has left it empty.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Type and device of the mount that holds `path`: the longest mount point that contains it.
fn file_system(path: &Path) -> Option<(String, String)> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let device = fields.next()?;
            let point = fields.next()?;
            let kind = fields.next()?;
            path.starts_with(point).then_some((point, kind, device))
        })
        .max_by_key(|(point, ..)| point.len())
        .map(|(_, kind, device)| (kind.to_owned(), device.to_owned()))
}
