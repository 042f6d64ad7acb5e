//! Following files: which there are, which of them were renamed, cut off or copied, and what is new in them.
//!
//! A file is known by its device and inode, so a rename changes nothing. Three rules keep it exact:
//!
//! 1. Bytes that were read only count if what came before them is still there afterwards: a file may be cut off and written
//!    anew at any moment. Otherwise they are dropped, and the next look sorts it out.
//! 2. A position moves when its record is handed out, and never before. What is committed with a batch of records are
//!    the positions as of these records, see [`Follower::take_changes`].
//! 3. A file with the name and the content of a followed one beside it is its copy. Nothing of it is read while the original is
//!    there. Once that is cut off, the copy takes over its position: so what was written between the last read and the cut is
//!    read from the copy, and nothing twice.
//!
//! Nothing here waits or looks at a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::files::{FileId, Files, Stat};
use super::followed::{Followed, Room, Rules, is_prefix, known_before, open, path_of, read_one, windows, windows_at};
use crate::format::agent::FileRow;

/// So many files stay open between two looks: those that were written to last.
const OPEN_MAX: usize = 256;
/// Positions of files that are gone are kept for so long: a folder may only be away for a while.
const FORGET_MS: u64 = 30 * 86_400_000;

/// A file that nobody follows yet.
type Fresh = (PathBuf, Stat);

/// A copy as it was when it was compared.
struct Copy {
    original: FileId,
    stat: Stat,
    /// Everything that it holds was read from the original: if that is cut off, it shows.
    is_read: bool,
}

/// Follows all files that match.
pub(super) struct Follower<F: Files> {
    files: F,
    rules: Rules,
    known: BTreeMap<FileId, Followed<F::File>>,
    /// Positions of files that are not there.
    absent: BTreeMap<FileId, FileRow>,
    /// Files that nothing is read of.
    copies: BTreeMap<FileId, Copy>,
    /// Files whose rows are not what was last taken.
    changes: BTreeSet<FileId>,
    /// No position was kept: nothing was ever followed.
    is_new: bool,
    has_looked: bool,
    notes: Vec<String>,
}

impl<F: Files> Follower<F> {
    /// Goes on from the positions that were kept.
    pub(super) fn new(files: F, rules: Rules, kept: BTreeMap<FileId, FileRow>) -> Follower<F> {
        Follower {
            files,
            rules,
            known: BTreeMap::new(),
            is_new: kept.is_empty(),
            has_looked: false,
            absent: kept,
            copies: BTreeMap::new(),
            changes: BTreeSet::new(),
            notes: Vec::new(),
        }
    }

    /// What happened that somebody may want to know.
    pub(super) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// How many files are followed.
    pub(super) fn count(&self) -> usize {
        self.known.len()
    }

    /// The rows to keep with the records that were handed out since the last call; `None` to remove one.
    pub(super) fn take_changes(&mut self, now_ms: u64) -> Vec<(FileId, Option<FileRow>)> {
        let changes = std::mem::take(&mut self.changes);
        let row = |id: &FileId| {
            let known = self.known.get(id).map(|file| file.row(now_ms));
            known.or_else(|| self.absent.get(id).cloned())
        };
        changes.into_iter().map(|id| (id, row(&id))).collect()
    }

    /// Looks at what there is: new files, renamed ones, those that were cut off.
    pub(super) fn look(&mut self, now_ms: u64) {
        let mut found = BTreeMap::new();
        for (path, stat) in self.files.matching(&mut self.notes) {
            // A second name is the same file.
            found.entry(stat.id).or_insert((path, stat));
        }
        self.see_known(&mut found, now_ms);
        let mut fresh: Vec<Fresh> = Vec::new();
        for (id, (path, stat)) in found {
            match self.absent.remove(&id) {
                None => fresh.push((path, stat)),
                Some(row) => drop(self.known.insert(id, known_before(path, stat, row))),
            }
        }
        fresh.sort_by(|a, b| a.0.cmp(&b.0));
        for file in self.known.values_mut().filter(|file| file.touched && !file.restarts) {
            if let Err(error) = file.compare(&self.files) {
                self.notes.push(format!("could not read {}: {error}", file.path.display()));
            }
        }
        let over: Vec<FileId> =
            self.known.iter().filter(|(_, f)| f.done || f.changed && !f.restarts).map(|(id, _)| *id).collect();
        over.into_iter().for_each(|id| self.end_content(id, &mut fresh));
        self.copies.retain(|copy, _| fresh.iter().any(|(_, stat)| stat.id == *copy));
        for (path, stat) in fresh {
            self.begin(path, stat);
        }
        self.has_looked = true;
        self.close_some();
    }

    /// What became of the files that are followed. Takes them out of `found`.
    fn see_known(&mut self, found: &mut BTreeMap<FileId, Fresh>, now_ms: u64) {
        let mut gone = Vec::new();
        for (id, file) in &mut self.known {
            if let Some((path, stat)) = found.remove(id) {
                if path != file.path {
                    file.moved = true;
                    file.path = path;
                    self.changes.insert(*id);
                }
                file.see(stat);
                continue;
            }
            file.moved = true;
            match file.file.as_ref().map(|open| self.files.stat(open)) {
                Some(Ok(stat)) => file.see(stat),
                _ => match self.files.beside(&file.path).unwrap_or_default().into_iter().find(|(_, s)| s.id == *id) {
                    Some((path, stat)) => {
                        file.path = path;
                        file.see(stat);
                    }
                    None => gone.push(*id),
                },
            }
        }
        for id in gone {
            if let Some(file) = self.known.remove(&id) {
                self.absent.insert(id, file.row(now_ms));
            }
        }
        // Files that were renamed while nobody looked, to a name that does not match.
        if self.has_looked {
            return;
        }
        let sought: Vec<FileId> = self.absent.keys().filter(|id| !found.contains_key(id)).copied().collect();
        for id in sought {
            let Some(row) = self.absent.get(&id) else { continue };
            let beside = self.files.beside(&path_of(row)).unwrap_or_default();
            match beside.into_iter().find(|(_, stat)| stat.id == id) {
                Some((path, stat)) => {
                    let row = self.absent.remove(&id);
                    let file = row.map(|row| Followed { moved: true, ..known_before(path, stat, row) });
                    self.known.extend(file.map(|file| (id, file)));
                }
                None if now_ms.saturating_sub(row.seen_ms) > FORGET_MS => {
                    self.absent.remove(&id);
                    self.changes.insert(id);
                }
                None => {}
            }
        }
    }

    /// The content of a file is over: it was cut off, or the file is gone. If there is a copy, that takes over.
    fn end_content(&mut self, id: FileId, fresh: &mut Vec<Fresh>) {
        let Some(file) = self.known.get(&id) else { return };
        let (row, path, done) = (file.row(0), file.path.clone(), file.done);
        let beside = self.files.beside(&path).unwrap_or_default();
        let strangers = beside.into_iter().filter(|(_, stat)| {
            !self.known.contains_key(&stat.id) && fresh.iter().all(|(_, other)| other.id != stat.id)
        });
        let candidates: Vec<Fresh> = fresh.iter().cloned().chain(strangers).collect();
        let taker = candidates.into_iter().find_map(|(path_of_copy, stat)| {
            let was_read = self.copies.get(&stat.id).is_some_and(|copy| copy.original == id && copy.is_read);
            let named = stat.id != id && stat.len > 0 && is_named_after(&path_of_copy, &path);
            let open = if named { open(&self.files, &path_of_copy, stat.id).ok()? } else { None }?;
            let (offset, (front, back)) = match file.content_in(&self.files, &open, stat.len).ok()? {
                Some(windows) => (row.offset, windows),
                None if was_read && stat.len <= row.offset => {
                    (stat.len, windows_at(&self.files, &open, stat.len).ok()?)
                }
                None => return None,
            };
            // Nobody writes to a copy: its last line may have no end.
            let copy = Followed::new(path_of_copy, stat);
            let copy = Followed { position: offset, front, back, file: Some(open), moved: true, ..copy };
            Some((stat.id, copy))
        });
        if let Some((copy_id, copy)) = taker {
            fresh.retain(|(_, stat)| stat.id != copy_id);
            self.notes.push(format!("{} goes on in its copy {}", path.display(), copy.path.display()));
            self.known.insert(copy_id, copy);
            self.changes.insert(copy_id);
            // The copy has it, too.
            if let Some(file) = self.known.get_mut(&id) {
                file.pending.clear();
            }
        } else if !done {
            self.notes.push(format!("{} was cut off and is read from its beginning", path.display()));
        }
        self.changes.insert(id);
        if done {
            self.known.remove(&id);
        } else if let Some(file) = self.known.get_mut(&id) {
            file.restarts = true;
        }
    }

    /// Follows a new file, unless it is a copy of one that is followed, or empty: a copy is that at first, too.
    fn begin(&mut self, path: PathBuf, stat: Stat) {
        if stat.len == 0 {
            return;
        }
        match self.begin_unless_copy(&path, stat) {
            Ok(file) => {
                let Some(file) = file else { return };
                self.copies.remove(&stat.id);
                if file.position > 0 {
                    self.changes.insert(stat.id);
                }
                self.known.insert(stat.id, file);
            }
            Err(error) => self.notes.push(format!("could not read {}: {error}", path.display())),
        }
    }

    fn begin_unless_copy(&mut self, path: &Path, stat: Stat) -> io::Result<Option<Followed<F::File>>> {
        let Some(open) = open(&self.files, path, stat.id)? else { return Ok(None) };
        for (original_id, original) in &self.known {
            if original.moved || !is_named_after(path, &original.path) {
                continue;
            }
            let before = self.copies.get(&stat.id).filter(|copy| copy.original == *original_id);
            // What was read of one that begins anew says nothing of what it holds now.
            let read_to = if original.changed { 0 } else { original.read_to() };
            let is_same = read_to > 0 && before.is_some_and(|copy| copy.is_read && copy.stat == stat);
            let is_copy = match &original.file {
                _ if read_to > 0 && original.position > 0 && stat.len >= original.position => {
                    windows(&self.files, &open, &original.row(0), stat.len)?.is_some()
                }
                _ if is_same => true,
                Some(file) => is_prefix(&self.files, file, &open, stat.len)?,
                None => false,
            };
            if is_copy {
                let is_read = read_to >= stat.len;
                self.copies.insert(stat.id, Copy { original: *original_id, stat, is_read });
                return Ok(None);
            }
        }
        let mut file = Followed::new(path.to_owned(), stat);
        if self.is_new && !self.has_looked && self.rules.from_end {
            (file.front, file.back) = windows_at(&self.files, &open, stat.len)?;
            file.position = stat.len;
        }
        file.file = Some(open);
        Ok(Some(file))
    }

    fn close_some(&mut self) {
        let mut open: Vec<(u128, FileId)> = Vec::new();
        open.extend(self.known.iter().filter(|(_, f)| f.file.is_some()).map(|(id, f)| (f.stat.modified_ns, *id)));
        let many = open.len().saturating_sub(OPEN_MAX);
        open.sort_unstable();
        for (_, id) in open.into_iter().take(many) {
            // What has no name any more could not be opened again.
            if let Some(file) = self.known.get_mut(&id).filter(|file| file.stat.linked) {
                file.file = None;
            }
        }
    }

    /// Hands out records as long as there is room, first those of the files that were written to longest ago: what was
    /// renamed comes before what took its place. Returns whether there may be more at once.
    pub(super) fn read(&mut self, now_ms: u64, room: &mut Room, out: &mut Vec<Vec<u8>>) -> bool {
        let mut files: Vec<_> = self.known.iter_mut().collect();
        files.sort_by_key(|(_, file)| file.stat.modified_ns);
        for (id, file) in files {
            let before = (file.position, file.restarts);
            let outcome = read_one(&self.files, &self.rules, file, now_ms, room, out);
            if (file.position, file.restarts) != before {
                self.changes.insert(*id);
            }
            match outcome {
                Ok(true) => {}
                Ok(false) => return true,
                Err(error) => self.notes.push(format!("could not read {}: {error}", file.path.display())),
            }
        }
        false
    }
}

/// Whether it could be a copy by its name: `app.log.1`, `app-20261121.log`, beside `app.log`.
fn is_named_after(copy: &Path, original: &Path) -> bool {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (copy_name, original_name) = (name(copy), name(original));
    let stem = original_name.split('.').next().filter(|stem| !stem.is_empty()).unwrap_or(&original_name);
    // `app.log` is no copy of `app.log.1`.
    copy.parent() == original.parent() && copy_name.starts_with(stem) && !original_name.starts_with(&copy_name)
}

#[cfg(test)]
mod tests;
