//! The files that are followed, as the system shows them. The follower knows no more of them than this.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What stays the same when a file is renamed. Used again once it is deleted and nobody has it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId {
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// What the system says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) id: FileId,
    pub(super) len: u64,
    /// When it was last written to, in nanoseconds since 1970.
    pub(super) modified_ns: u128,
    /// Whether it still has a name.
    pub(super) linked: bool,
}

impl Stat {
    pub(super) fn modified_ms(&self) -> u64 {
        (self.modified_ns / 1_000_000).min(u128::from(u64::MAX)) as u64
    }
}

/// Finds and reads files.
pub(super) trait Files {
    /// An open one: it can be read after it was renamed or deleted.
    type File;

    /// The regular files to follow, by path. What could not be looked at goes to `notes`.
    fn matching(&self, notes: &mut Vec<String>) -> Vec<(PathBuf, Stat)>;
    /// The regular files in the folder that `path` is in.
    fn beside(&self, path: &Path) -> io::Result<Vec<(PathBuf, Stat)>>;
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    fn stat(&self, file: &Self::File) -> io::Result<Stat>;
    fn read_at(&self, file: &Self::File, at: u64, into: &mut [u8]) -> io::Result<usize>;
}

/// The files of this machine that match patterns.
pub(super) struct Disk {
    patterns: Vec<String>,
}

impl Disk {
    /// Patterns as shells have them: `*`, `?`, `[abc]`, and `**` for any folders.
    pub(super) fn new(patterns: &[String]) -> Result<Disk, String> {
        for pattern in patterns {
            glob::Pattern::new(pattern).map_err(|why| format!("{pattern:?} is no pattern: {why}"))?;
        }
        Ok(Disk { patterns: patterns.to_vec() })
    }
}

fn stat_of(metadata: &Metadata) -> Stat {
    let since = metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    Stat {
        id: FileId { device: metadata.dev(), inode: metadata.ino() },
        len: metadata.len(),
        modified_ns: since.map_or(0, |since| since.as_nanos()),
        linked: metadata.nlink() > 0,
    }
}

/// A path with what it leads to, if that is a regular file. Opening a pipe would wait for ever.
fn look_at(path: PathBuf) -> io::Result<Option<(PathBuf, Stat)>> {
    match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => Ok(Some((path, stat_of(&metadata)))),
        Ok(_) => Ok(None),
        // Renamed since it was listed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Files for Disk {
    type File = File;

    fn matching(&self, notes: &mut Vec<String>) -> Vec<(PathBuf, Stat)> {
        let mut found = Vec::new();
        for path in self.patterns.iter().flat_map(|pattern| glob::glob(pattern)).flatten() {
            let looked = path.map_err(|error| error.to_string()).and_then(|path| {
                let name = path.display().to_string();
                look_at(path).map_err(|error| format!("could not look at {name}: {error}"))
            });
            match looked {
                Ok(file) => found.extend(file),
                Err(note) => notes.push(note),
            }
        }
        found
    }

    fn beside(&self, path: &Path) -> io::Result<Vec<(PathBuf, Stat)>> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let name = entry?.file_name();
            found.extend(look_at(path.with_file_name(name)).unwrap_or_default());
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(found)
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        File::open(path)
    }

    fn stat(&self, file: &File) -> io::Result<Stat> {
        file.metadata().map(|metadata| stat_of(&metadata))
    }

    fn read_at(&self, file: &File, at: u64, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match file.read_at(into, at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}
