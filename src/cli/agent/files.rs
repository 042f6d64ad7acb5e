//! The files that are followed, as the system shows them. The follower knows no more of them than this.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use glob::MatchOptions;

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

/// What somebody may want to know.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    pub(super) notes: Vec<String>,
    /// What could not be read.
    pub(super) unread: BTreeSet<PathBuf>,
}

impl Troubles {
    pub(super) fn could_not(&mut self, verb: &str, path: &Path, error: &io::Error) {
        self.notes.push(format!("could not {verb} {}: {error}", path.display()));
        self.unread.insert(path.to_path_buf());
    }
}

/// By what a file with this at its front is compressed.
pub(super) fn compression(front: &[u8]) -> Option<&'static str> {
    // RFC 1952; RFC 8878; the block after bzip2's header of four bytes, or its end; the .xz file format 1.2.1.
    let is_bzip2 = |front: &[u8]| {
        let body = front.strip_prefix(b"BZh").and_then(|rest| rest.get(1..7));
        body.is_some_and(|body| body == b"1AY&SY" || body == b"\x17\x72\x45\x38\x50\x90")
    };
    match front {
        [0x1f, 0x8b, 8, ..] => Some("gzip"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some("zstd"),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some("xz"),
        front if is_bzip2(front) => Some("bzip2"),
        _ => None,
    }
}

/// Finds and reads files.
pub(super) trait Files {
    /// An open one: it can be read after it was renamed or deleted.
    type File;

    /// The regular files to follow, by path; only some of them if it is told to stop.
    fn matching(&self, troubles: &mut Troubles, stop: &mut dyn FnMut() -> bool) -> Vec<(PathBuf, Stat)>;
    /// The regular files in the folder that `path` is in.
    fn beside(&self, path: &Path) -> io::Result<Vec<(PathBuf, Stat)>>;
    fn open(&self, path: &Path) -> io::Result<Self::File>;
    fn stat(&self, file: &Self::File) -> io::Result<Stat>;
    fn read_at(&self, file: &Self::File, at: u64, into: &mut [u8]) -> io::Result<usize>;
}

/// A pattern as it was given, and as it is looked for.
struct Wanted {
    given: String,
    pattern: glob::Pattern,
    /// The file that is called so, whatever is special in its name.
    literal: PathBuf,
}

/// The files of this machine that match patterns.
pub(super) struct Disk {
    wanted: Vec<Wanted>,
}

/// As shells have it: a point at the beginning of a name, and what is between folders, must be there.
const AS_SHELLS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

impl Disk {
    /// Patterns as shells have them: `*`, `?`, `[abc]`, and `**` for any folders. Relative ones are below `folder`.
    pub(super) fn new(patterns: &[String], folder: &Path) -> Result<Disk, String> {
        let wanted = |given: &String| {
            glob::Pattern::new(given).map_err(|why| format!("{given:?} is no pattern: {why}"))?;
            let pattern = match Path::new(given).is_absolute() {
                true => given.clone(),
                // What is special in a pattern is not in the name of a folder.
                false => {
                    let folder =
                        folder.to_str().ok_or_else(|| format!("the name of {} is not UTF-8", folder.display()))?;
                    format!("{}/{given}", glob::Pattern::escape(folder))
                }
            };
            // Without what paths that are found don't have.
            let pattern = std::path::absolute(&pattern).map_err(|why| format!("{given:?} is no path: {why}"))?;
            let pattern = glob::Pattern::new(&pattern.to_string_lossy())
                .map_err(|why| format!("{given:?} is no pattern: {why}"))?;
            Ok(Wanted { given: given.clone(), pattern, literal: folder.join(given) })
        };
        Ok(Disk { wanted: patterns.iter().map(wanted).collect::<Result<_, String>>()? })
    }
}

impl Wanted {
    /// The files it matches. Notes what keeps it from being followed.
    fn find(&self, troubles: &mut Troubles, stop: &mut dyn FnMut() -> bool) -> Vec<(PathBuf, Stat)> {
        let (mut found, mut folder, mut failed) = (Vec::new(), None, false);
        for path in glob::glob(self.pattern.as_str()).into_iter().flatten() {
            if stop() {
                return found;
            }
            // It finds what a point hides, for told not to, it would not find `.*.log` either.
            if path.as_ref().is_ok_and(|path| !self.pattern.matches_with(&path.to_string_lossy(), AS_SHELLS)) {
                continue;
            }
            let looked = match path {
                Ok(path) => look_at(path.clone()).map_err(|error| (path.clone(), error)).map(|file| (path, file)),
                Err(error) => Err((error.path().to_path_buf(), error.into())),
            };
            match looked {
                Ok((_, Some(file))) => found.push(file),
                Ok((path, None)) => folder = folder.or_else(|| path.is_dir().then_some(path)),
                Err((path, error)) => {
                    troubles.could_not("look at", &path, &error);
                    failed = true;
                }
            }
        }
        if found.is_empty() && folder.is_none() {
            found.extend(look_at(self.literal.clone()).unwrap_or_default());
        }
        if found.is_empty() && !failed {
            let given = &self.given;
            troubles.notes.push(match folder {
                Some(folder) => format!(
                    "{given:?} leads to no file but to the folder {0}; {0}/* is what is in it",
                    folder.display()
                ),
                None => format!("{given:?} leads to no file so far"),
            });
        }
        found
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

    fn matching(&self, troubles: &mut Troubles, stop: &mut dyn FnMut() -> bool) -> Vec<(PathBuf, Stat)> {
        self.wanted.iter().flat_map(|wanted| wanted.find(troubles, stop)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_at_the_front_must_be_written() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".hidden.log", "a.log", ".b"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let names = |pattern: &str| {
            let disk = Disk::new(&[pattern.to_owned()], folder.path()).unwrap();
            let found = disk.matching(&mut Troubles::default(), &mut || false);
            found
                .into_iter()
                .map(|(path, _)| path.file_name().unwrap().to_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names("*"), ["a.log"]);
        assert_eq!(names("?b"), [""; 0]);
        assert_eq!(names("**/*.log"), ["a.log"]);
        assert_eq!(names(".*.log"), [".hidden.log"]);
    }
}
