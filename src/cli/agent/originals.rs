//! Which followed files a new one may be a copy of: by name and by how it begins. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use super::files::FileId;

/// What a file is called in which folder.
type Named = (PathBuf, String);

/// Names of new files, by which is seen whose content could be of interest.
pub(super) struct Names(BTreeSet<Named>);

impl Names {
    pub(super) fn of<'a>(paths: impl Iterator<Item = &'a Path>) -> Names {
        Names(paths.map(|path| (folder(path), name(path))).collect())
    }

    /// Whether one of them could be a copy of `original`.
    pub(super) fn has_copy_of(&self, original: &Path) -> bool {
        let (folder, beginning) = (folder(original), beginning_of_copies(&name(original)));
        let from = Bound::Included((folder.clone(), beginning.clone()));
        let mut rest = self.0.range((from, Bound::Unbounded));
        rest.next().is_some_and(|(other, name)| *other == folder && name.starts_with(&beginning))
    }
}

/// Followed files, found by what the names and the contents of their copies begin with. So a new file is held against those only that
/// begin as it does, however many there are.
#[derive(Default)]
pub(super) struct Originals(HashMap<Named, BTreeMap<Vec<u8>, Vec<FileId>>>);

impl Originals {
    /// Takes up a file of which these are the first bytes.
    pub(super) fn insert(&mut self, id: FileId, path: &Path, front: Vec<u8>) {
        let key = (folder(path), beginning_of_copies(&name(path)));
        self.0.entry(key).or_default().entry(front).or_default().push(id);
    }

    /// Those that a file of this name, with this at its front, could be a copy of.
    pub(super) fn of(&self, path: &Path, front: &[u8]) -> Vec<FileId> {
        let (folder, name) = (folder(path), name(path));
        let ends = name.char_indices().map(|(at, char)| at + char.len_utf8());
        let fronts = ends.filter_map(|end| self.0.get(&(folder.clone(), name[..end].to_owned())));
        fronts
            .flat_map(|fronts| {
                let from = Bound::Included(front.to_vec());
                fronts.range((from, Bound::Unbounded)).take_while(|(other, _)| other.starts_with(front))
            })
            .flat_map(|(_, ids)| ids.iter().copied())
            .collect()
    }
}

/// Whether it could be a copy by its name: `app.log.1`, `app-20261121.log`, beside `app.log`.
pub(super) fn is_named_after(copy: &Path, original: &Path) -> bool {
    let (copy_name, original_name) = (name(copy), name(original));
    // `app.log` is no copy of `app.log.1`.
    folder(copy) == folder(original)
        && goes_on_from(&copy_name, &original_name, &beginning_of_copies(&original_name))
        && !original_name.starts_with(&copy_name)
}

/// Whether it could be the copy of a content that the file had, under this name or one before.
pub(super) fn may_take_over(copy: &Path, original: &Path) -> bool {
    let (copy_name, original_name) = (name(copy), name(original));
    folder(copy) == folder(original)
        && goes_on_from(&copy_name, &original_name, stem(&original_name))
        && !original_name.starts_with(&copy_name)
}

/// Whether a copy's name begins as it must: as all of its original's, or up to a separator: `10.log` is no copy of `1.log`.
fn goes_on_from(copy_name: &str, original_name: &str, beginning: &str) -> bool {
    let rest = copy_name.strip_prefix(beginning);
    copy_name.starts_with(original_name) || rest.is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
}

/// A name up to its first point.
pub(super) fn stem(name: &str) -> &str {
    name.split('.').next().filter(|stem| !stem.is_empty()).unwrap_or(name)
}

/// How the names of a file's copies begin: up to the first point as its own. Where it looks like a copy itself, as all of its own:
/// `app.log.1` is no copy of `app.log.2`.
fn beginning_of_copies(name: &str) -> String {
    let is_copy = name.ends_with(|last: char| last.is_ascii_digit() || last == '~')
        || [".old", ".bak", ".orig", ".save"].iter().any(|ending| name.ends_with(ending));
    if is_copy { name.to_owned() } else { stem(name).to_owned() }
}

pub(super) fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

pub(super) fn folder(path: &Path) -> PathBuf {
    path.parent().map(Path::to_path_buf).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn named_after(copy: &str, original: &str) -> bool {
        let (copy, original) = (Path::new("/logs").join(copy), Path::new("/logs").join(original));
        let is = is_named_after(&copy, &original);
        let mut originals = Originals::default();
        originals.insert(FileId { device: 1, inode: 1 }, &original, b"abc".to_vec());
        if is {
            assert!(Names::of([copy.as_path()].into_iter()).has_copy_of(&original));
            assert_eq!(originals.of(&copy, b"ab").len(), 1);
            assert!(originals.of(&copy, b"b").is_empty() && originals.of(&copy, b"abcd").is_empty());
        }
        is
    }

    #[test]
    fn names_of_copies_begin_as_their_originals() {
        for copy in ["app.log.1", "app-20261121.log", "app.old", "app.log~", "app-err.log"] {
            assert!(named_after(copy, "app.log"), "{copy}");
            assert!(!named_after("app.log", copy), "{copy}");
        }
        assert!(named_after("app.log.2", "app.log"));
        assert!(!named_after("app.log.1", "app.log.2") && !named_after("app.log.3", "app.log.2"));
        assert!(!named_after("app.log", "app.log") && !named_after("other.log", "app.log"));
        assert!(!is_named_after(Path::new("/a/app.log.1"), Path::new("/b/app.log")));
        assert!(!named_after("10.log", "1.log") && named_after("app.log20261121", "app.log"));
        assert!(named_after("app1.1", "app1") && !named_after("app2", "app1"));
    }
}
