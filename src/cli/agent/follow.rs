//! Following files: which there are, which of them were renamed, cut off or copied, and what is new in them.
//!
//! A file is known by its device and inode, so a rename changes nothing. Four rules keep it exact:
//!
//! 1. Bytes that were read only count if what came before them is still there afterwards: a file may be cut off and written
//!    anew at any moment. Otherwise they are dropped, and the next look sorts it out.
//! 2. A position moves when its record is handed out, and never before. What is committed with a batch of records are
//!    the positions as of these records, see [`Follower::take_changes`].
//! 3. A file that begins with all that is in a new one beside it, which has a name like its own, is the original of a copy. Nothing
//!    of the copy is read while the original is there, under whatever name. A file that holds anything else than its original is no
//!    copy, however much they have in common.
//! 4. Once what was read of a file is not in it any more, its copy takes over the position, if it has what was read: so what was
//!    written between the last read and the cut is read from the copy, and nothing twice. There is only the copy to go by then. What
//!    is in the file from now on is new, be it the file's own or, under an inode that is used again, a copy of another.
//! 5. A copy whose original is renamed, gone or cut off stands for itself: it is followed from where its original was read to. So
//!    its position is kept, and nothing of it is repeated later. This goes for one that held all that had been read of its original
//!    when it was first seen: what is shorter may as well be a file of its own that begins as the other, and is read rather twice
//!    than never.
//!
//! Nothing here waits or looks at a clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use super::files::{FileId, Files, Stat, Troubles, compression};
use super::followed::{
    Followed, Room, Rules, WINDOW, is_prefix, is_unseen, known_before, open, path_of, read, read_one, unseen,
    windows_at,
};
use super::originals::{self, Names, Originals, is_named_after, may_take_over};
use crate::format::agent::{FIRST_RUN, FileRow};

/// Positions of files that are gone are kept for so long: a folder may only be away for a while.
const FORGET_MS: u64 = 30 * 86_400_000;

/// Whose row says that the agent has run.
pub(super) const RAN: FileId = FileId { device: FIRST_RUN.0, inode: FIRST_RUN.1 };

/// A file whose content nobody follows yet.
struct Fresh<H> {
    path: PathBuf,
    stat: Stat,
    /// Where it is open already: it may have no name any more.
    file: Option<H>,
    /// It has a name that matches.
    matches: bool,
}

impl<H> Fresh<H> {
    fn new(path: PathBuf, stat: Stat) -> Fresh<H> {
        Fresh { path, stat, file: None, matches: true }
    }
}

/// A copy as it was when it was compared.
struct Copy {
    original: FileId,
    stat: Stat,
    original_stat: Stat,
    /// Everything that it holds was read from the original: if that is cut off, it shows.
    is_read: bool,
    /// How far its original had been read when it was first seen.
    appeared_at: u64,
    /// How far its original was read in all, once that content is over.
    over_at: Option<u64>,
}

/// Whether one file is a copy of another.
enum Likeness {
    Copy,
    Other,
    /// One of them changes at this moment, or there is no time to tell.
    Unclear,
}

/// What is in folders, listed once in a look.
#[derive(Default)]
struct Folders(BTreeMap<PathBuf, BTreeMap<String, (PathBuf, Stat)>>);

impl Folders {
    fn beside<F: Files>(&mut self, files: &F, path: &Path) -> &BTreeMap<String, (PathBuf, Stat)> {
        self.0.entry(originals::folder(path)).or_insert_with(|| {
            let all = files.beside(path).unwrap_or_default();
            all.into_iter().map(|(path, stat)| (originals::name(&path), (path, stat))).collect()
        })
    }
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
    compressed: BTreeMap<FileId, Stat>,
    /// What was read of contents that are over, and not handed out yet. Comes before everything else.
    rests: VecDeque<Followed<F::File>>,
    /// Files whose rows are not what was last taken.
    changes: BTreeSet<FileId>,
    /// It never ran before.
    is_new: bool,
    /// A row says that it ran.
    is_marked: bool,
    has_looked: bool,
    troubles: Troubles,
}

impl<F: Files> Follower<F> {
    /// Goes on from the positions that were kept.
    pub(super) fn new(files: F, rules: Rules, mut kept: BTreeMap<FileId, FileRow>) -> Follower<F> {
        let is_marked = kept.remove(&RAN).is_some();
        Follower {
            files,
            rules,
            known: BTreeMap::new(),
            is_new: !is_marked && kept.is_empty(),
            is_marked,
            has_looked: false,
            absent: kept,
            copies: BTreeMap::new(),
            compressed: BTreeMap::new(),
            rests: VecDeque::new(),
            changes: BTreeSet::new(),
            troubles: Troubles::default(),
        }
    }

    /// What happened that somebody may want to know.
    pub(super) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.troubles.notes)
    }

    /// What could not be read since the last look began.
    pub(super) fn unread(&self) -> &BTreeSet<PathBuf> {
        &self.troubles.unread
    }

    /// Files with a record at their end that is not finished.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = &Path> {
        self.known.values().filter(|file| !file.pending.is_empty()).map(|file| &*file.path)
    }

    /// How many files are followed.
    pub(super) fn count(&self) -> usize {
        self.known.len()
    }

    /// Whether there is something to hand out that is nowhere else any more.
    pub(super) fn has_rests(&self) -> bool {
        !self.rests.is_empty()
    }

    /// The rows to keep with the records that were handed out since the last call; `None` to remove one.
    ///
    /// Until the rests are out there are none, and a file that takes over comes before the one that it takes over from: else a crash
    /// could leave the position of a content that is over to nobody.
    pub(super) fn take_changes(&mut self, now_ms: u64) -> Vec<(FileId, Option<FileRow>)> {
        if self.has_rests() {
            return Vec::new();
        }
        let is_kept = |id: &FileId| self.known.contains_key(id) || self.absent.contains_key(id);
        let (kept, removed): (Vec<FileId>, Vec<FileId>) = self.changes.iter().partition(|id| is_kept(id));
        let row = |id: FileId| {
            let known = self.known.get(&id).map(|file| file.row(now_ms));
            (id, known.or_else(|| self.absent.get(&id).cloned()))
        };
        let mut rows: Vec<_> = kept.into_iter().chain(removed).take(self.rules.rows_max).map(row).collect();
        for (id, _) in &rows {
            self.changes.remove(id);
        }
        // With the last rows of the first look: before, it has not begun.
        if !self.is_marked && self.has_looked && self.changes.is_empty() {
            self.is_marked = true;
            rows.push((RAN, Some(unseen(Path::new(""), 0, now_ms))));
        }
        rows
    }

    /// Looks at what there is: new files, renamed ones, those that were cut off. Comes back early where it is told to stop.
    pub(super) fn look(&mut self, now_ms: u64, stop: &mut dyn FnMut() -> bool) {
        self.troubles.unread.clear();
        let matching = self.files.matching(&mut self.troubles, stop);
        if stop() {
            return;
        }
        let (mut found, mut folders) = (BTreeMap::new(), Folders::default());
        for (path, stat) in matching {
            // A second name is the same file.
            found.entry(stat.id).or_insert((path, stat));
        }
        self.see_known(&mut found, &mut folders, now_ms);
        let mut fresh: BTreeMap<FileId, Fresh<F::File>> = BTreeMap::new();
        for (id, (path, stat)) in found {
            match self.absent.remove(&id) {
                None => drop(fresh.insert(id, Fresh::new(path, stat))),
                Some(row) => drop(self.known.insert(id, known_before(path, stat, row))),
            }
        }
        if !self.compare(stop) {
            return;
        }
        self.end_contents(&mut fresh, &mut folders);
        self.copies.retain(|id, _| fresh.contains_key(id));
        self.compressed.retain(|id, _| fresh.contains_key(id));
        if self.begin_all(fresh, now_ms, stop) {
            self.has_looked = true;
        }
        self.close_some();
    }

    /// What became of the files that are followed. Takes them out of `found`.
    fn see_known(&mut self, found: &mut BTreeMap<FileId, (PathBuf, Stat)>, folders: &mut Folders, now_ms: u64) {
        let mut gone = Vec::new();
        for (id, file) in &mut self.known {
            if let Some((path, stat)) = found.remove(id) {
                if path != file.path {
                    file.moved = true;
                    file.path = path;
                    self.changes.insert(*id);
                }
                file.matches = true;
                file.see(stat);
                continue;
            }
            (file.moved, file.matches) = (true, false);
            match file.file.as_ref().map(|open| self.files.stat(open)) {
                Some(Ok(stat)) => file.see(stat),
                _ => match folders.beside(&self.files, &file.path).values().find(|(_, stat)| stat.id == *id) {
                    Some((path, stat)) => {
                        file.path.clone_from(path);
                        file.see(*stat);
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
            match folders.beside(&self.files, &path_of(row)).values().find(|(_, stat)| stat.id == id) {
                Some((path, stat)) => {
                    let row = self.absent.remove(&id);
                    let file = row.map(|row| known_before(path.clone(), *stat, row));
                    let file = file.map(|file| Followed { moved: true, matches: false, ..file });
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

    /// Holds the files that were written to against what was read of them. Whether it was not told to stop.
    fn compare(&mut self, stop: &mut dyn FnMut() -> bool) -> bool {
        let mut open = self.open_count();
        for (id, file) in self.known.iter_mut().filter(|(_, file)| file.touched) {
            if stop() {
                return false;
            }
            let (was_open, was_unseen) = (file.file.is_some(), file.kept.as_ref().is_some_and(is_unseen));
            if let Err(error) = file.compare(&self.files) {
                self.troubles.could_not("read", &file.path, &error);
            } else if was_unseen && file.kept.is_none() {
                self.changes.insert(*id);
            }
            open += usize::from(file.file.is_some() && !was_open);
            if !was_open && open > self.rules.open_max {
                file.close();
                open -= usize::from(file.file.is_none());
            }
        }
        true
    }

    /// The contents that are over: a file was cut off, its inode is used for another, or it is gone. What is in the file now is as in
    /// a new one. First all of them are taken out, for any may hold the copy of another.
    fn end_contents(&mut self, fresh: &mut BTreeMap<FileId, Fresh<F::File>>, folders: &mut Folders) {
        let over: Vec<FileId> = self.known.iter().filter(|(_, f)| f.done || f.changed).map(|(id, _)| *id).collect();
        let mut ended = Vec::new();
        for id in over {
            let Some(mut file) = self.known.remove(&id) else { continue };
            self.changes.insert(id);
            if !file.done {
                let (path, open) = (file.path.clone(), file.file.take());
                fresh.insert(id, Fresh { path, stat: file.stat, file: open, matches: file.matches });
            }
            ended.push(file);
        }
        for file in ended {
            let taker = self.taker(&file, fresh, folders);
            // What was not read of it is read from the copy that takes over, and from no other.
            let over_at = if taker.is_some() || file.done { u64::MAX } else { file.position };
            for copy in self.copies.values_mut().filter(|copy| copy.original == file.stat.id) {
                copy.over_at.get_or_insert(over_at);
            }
            match taker {
                Some((id, copy)) => {
                    fresh.remove(&id);
                    self.troubles.notes.push(format!(
                        "{} goes on in its copy {}",
                        file.path.display(),
                        copy.path.display()
                    ));
                    self.known.insert(id, copy);
                    // The copy has what is pending, too.
                    self.changes.insert(id);
                }
                None if file.done => {}
                None => {
                    let path = file.path.display();
                    self.troubles.notes.push(format!("{path} was cut off and is read from its beginning"));
                    self.rests.extend((!file.pending.is_empty()).then_some(file));
                }
            }
        }
    }

    /// The copy of a content that is over, at the position that was reached in it.
    fn taker(
        &self,
        file: &Followed<F::File>,
        fresh: &BTreeMap<FileId, Fresh<F::File>>,
        folders: &mut Folders,
    ) -> Option<(FileId, Followed<F::File>)> {
        let (own_id, own_name) = (file.stat.id, originals::name(&file.path));
        let stem = originals::stem(&own_name);
        let named = folders.beside(&self.files, &file.path).range(stem.to_owned()..);
        let named = named.take_while(|(name, _)| name.starts_with(stem)).map(|(_, found)| found);
        let mut candidates: Vec<(PathBuf, Stat)> = named
            .filter(|(path, stat)| {
                stat.id != own_id && !self.known.contains_key(&stat.id) && may_take_over(path, &file.path)
            })
            .map(|(path, stat)| (path.clone(), fresh.get(&stat.id).map_or(*stat, |fresh| fresh.stat)))
            .filter(|(_, stat)| stat.len > 0)
            .collect();
        // Of several that have what was read, the first that was made after it, and rather by its whole name.
        candidates.sort_by_key(|(path, stat)| (!originals::name(path).starts_with(&own_name), stat.modified_ns));
        candidates.into_iter().find_map(|(path, stat)| {
            let open = open(&self.files, &path, stat.id).ok()??;
            let (position, (front, back)) = match file.content_in(&self.files, &open, stat.len).ok()? {
                Some(windows) => (file.row(0).offset, windows),
                None if self.was_read(file, &open, &stat) => (stat.len, windows_at(&self.files, &open, stat.len).ok()?),
                None => return None,
            };
            // Nobody writes to a copy: its last line may have no end.
            let copy = Followed::new(path, stat);
            Some((stat.id, Followed { position, front, back, file: Some(open), moved: true, ..copy }))
        })
    }

    /// Whether all that is in a copy was read from its original: then the original had been written to after the copy was made. What
    /// came into it since it was compared must be known to be from there.
    fn was_read(&self, file: &Followed<F::File>, copy: &F::File, stat: &Stat) -> bool {
        let before = self.copies.get(&stat.id).filter(|copy| copy.original == file.stat.id && copy.is_read);
        // A file of its own may begin so, too.
        let before = before.filter(|before| before.appeared_at <= stat.len);
        let Some(before) = before.filter(|before| before.stat.len <= stat.len && stat.len <= file.position) else {
            return false;
        };
        let since = stat.len - before.stat.len;
        let is_held = |bytes: Vec<u8>| file.held(before.stat.len, &bytes);
        before.stat == *stat
            || since <= WINDOW as u64 && read(&self.files, copy, before.stat.len, since as usize).is_ok_and(is_held)
    }

    /// Follows new files, but for copies of those that are followed. Whether it was not told to stop.
    fn begin_all(
        &mut self,
        fresh: BTreeMap<FileId, Fresh<F::File>>,
        now_ms: u64,
        stop: &mut dyn FnMut() -> bool,
    ) -> bool {
        // Empty ones wait: a copy is that at first, too. Those without a name that matches would not be found again.
        let is_of_interest =
            |file: &Fresh<F::File>| !file.matches || file.stat.len > 0 && !self.is_passed_over(&file.stat);
        let mut fresh: Vec<Fresh<F::File>> = fresh.into_values().filter(is_of_interest).collect();
        if fresh.is_empty() {
            return true;
        }
        // The names of originals are shorter.
        fresh.sort_by_cached_key(|file| (originals::name(&file.path).len(), file.path.clone()));
        let names = Names::of(fresh.iter().map(|file| &*file.path));
        let Some(mut originals) = self.originals(&names, stop) else { return false };
        let mut open = self.open_count();
        for file in fresh {
            if stop() {
                return false;
            }
            let (id, path, stat) = (file.stat.id, file.path.clone(), file.stat);
            let is_first = self.is_new && !self.has_looked && self.rules.from_end;
            match self.begin(file, &mut originals, &names, stop) {
                Ok(None) => {}
                Ok(Some(mut followed)) => {
                    self.copies.remove(&id);
                    if followed.position > 0 {
                        self.changes.insert(id);
                    }
                    open += 1;
                    if open > self.rules.open_max {
                        followed.close();
                        open -= usize::from(followed.file.is_none());
                    }
                    self.known.insert(id, followed);
                }
                Err(error) => {
                    self.troubles.could_not("read", &path, &error);
                    if is_first {
                        // From where it ends now, once it can be read.
                        self.absent.insert(id, unseen(&path, stat.len, now_ms));
                        self.changes.insert(id);
                    }
                }
            }
        }
        true
    }

    /// Whether nothing has happened since it was found that nothing is read of a file.
    fn is_passed_over(&self, stat: &Stat) -> bool {
        if let Some(before) = self.compressed.get(&stat.id) {
            return before == stat;
        }
        let Some(copy) = self.copies.get(&stat.id).filter(|copy| copy.stat == *stat) else { return false };
        if copy.over_at.is_some() || self.settled(stat).is_some() {
            return false;
        }
        self.known.get(&copy.original).is_some_and(|original| {
            copy.is_read || original.stat == copy.original_stat && original.read_to() < stat.len
        })
    }

    /// Where a copy is to be read from that stands for itself: its original is renamed and read as far as the copy goes, or is gone, or
    /// its content is over.
    fn settled(&self, stat: &Stat) -> Option<u64> {
        let copy = self.copies.get(&stat.id).filter(|copy| copy.stat == *stat && copy.appeared_at <= stat.len)?;
        let read = match (copy.over_at, self.known.get(&copy.original)) {
            (Some(read), _) => read,
            (None, Some(original)) if original.moved && original.position >= stat.len => original.position,
            (None, Some(_)) => return None,
            (None, None) => self.absent.get(&copy.original)?.offset,
        };
        Some(read.min(stat.len))
    }

    /// The followed files that new ones of these names could be copies of. `None` if it was told to stop.
    fn originals(&mut self, names: &Names, stop: &mut dyn FnMut() -> bool) -> Option<Originals> {
        let mut originals = Originals::default();
        for (id, file) in self.known.iter().filter(|(_, file)| !file.moved && file.kept.is_none()) {
            if !names.has_copy_of(&file.path) {
                continue;
            }
            if stop() {
                return None;
            }
            let is_whole = file.front.len() == WINDOW || file.front.len() as u64 >= file.stat.len;
            let front = if is_whole { Ok(Some(file.front.clone())) } else { self.front_of(file) };
            match front {
                Ok(front) => front.into_iter().for_each(|front| originals.insert(*id, &file.path, front)),
                Err(error) => self.troubles.could_not("read", &file.path, &error),
            }
        }
        Some(originals)
    }

    fn front_of(&self, file: &Followed<F::File>) -> io::Result<Option<Vec<u8>>> {
        let opened = if file.file.is_some() { None } else { open(&self.files, &file.path, file.stat.id)? };
        let open = file.file.as_ref().or(opened.as_ref());
        open.map(|open| read(&self.files, open, 0, WINDOW)).transpose()
    }

    /// A new file from its beginning, or where only what comes from now on is wanted, from its end. `None` if nothing is read of it.
    fn begin(
        &mut self,
        fresh: Fresh<F::File>,
        originals: &mut Originals,
        names: &Names,
        stop: &mut dyn FnMut() -> bool,
    ) -> io::Result<Option<Followed<F::File>>> {
        let Fresh { path, stat, file, matches } = fresh;
        let opened = if file.is_some() { file } else { open(&self.files, &path, stat.id)? };
        let Some(open) = opened else { return Ok(None) };
        let front = read(&self.files, &open, 0, WINDOW.min(stat.len as usize))?;
        if let Some(how) = compression(&front) {
            self.compressed.insert(stat.id, stat);
            self.troubles.notes.push(format!("{} is compressed ({how}): nothing is read of it", path.display()));
            return Ok(None);
        }
        if let Some(position) = self.settled(&stat) {
            let (front, back) = windows_at(&self.files, &open, position)?;
            // As one that takes over: nobody writes to it.
            let copy =
                Followed { position, front, back, file: Some(open), moved: true, matches, ..Followed::new(path, stat) };
            return Ok(Some(copy));
        }
        if self.copies.get(&stat.id).is_some_and(|copy| copy.over_at.is_some()) {
            self.copies.remove(&stat.id);
        }
        let before = self.copies.get(&stat.id).map(|copy| copy.original);
        let like = if matches { originals.of(&path, &front) } else { Vec::new() };
        for original in before.into_iter().chain(like) {
            match self.likeness(&path, &stat, &open, original, stop)? {
                Likeness::Copy | Likeness::Unclear => return Ok(None),
                Likeness::Other => {}
            }
        }
        if matches && names.has_copy_of(&path) {
            originals.insert(stat.id, &path, front);
        }
        let mut file = Followed { moved: !matches, matches, ..Followed::new(path, stat) };
        if self.is_new && !self.has_looked && self.rules.from_end {
            (file.front, file.back) = windows_at(&self.files, &open, stat.len)?;
            file.position = stat.len;
        }
        file.file = Some(open);
        Ok(Some(file))
    }

    /// Whether a new file is a copy of a followed one: by all that is in it, for many files have the same beginning.
    fn likeness(
        &mut self,
        path: &Path,
        stat: &Stat,
        open_copy: &F::File,
        original_id: FileId,
        stop: &mut dyn FnMut() -> bool,
    ) -> io::Result<Likeness> {
        // One that was compared is a copy whatever they are called since.
        let was_compared = self.copies.get(&stat.id).is_some_and(|copy| copy.original == original_id);
        let is_named = |file: &Followed<F::File>| !file.moved && is_named_after(path, &file.path);
        let original = self.known.get(&original_id).filter(|file| was_compared || is_named(file));
        let Some(original) = original else { return Ok(Likeness::Other) };
        let opened = if original.file.is_some() { None } else { open(&self.files, &original.path, original_id)? };
        let Some(file) = original.file.as_ref().or(opened.as_ref()) else { return Ok(Likeness::Unclear) };
        let read_to = original.read_to();
        let before = self.copies.get(&stat.id).filter(|copy| copy.original == original_id && copy.stat.len <= stat.len);
        // Of what was never compared all is: a file that differs only in its middle is no copy, and what is not read of it is lost.
        let seen = before.map_or(0, |before| before.stat.len);
        let is_copy = is_prefix(&self.files, file, open_copy, (seen, stat.len), stop)?;
        // Cut off meanwhile: the next look finds out, and whether the copy takes over.
        let is_there = original.is_unchanged(&self.files, file, self.files.stat(file)?.len)?;
        Ok(match is_copy {
            Some(true) if is_there => {
                let copy = Copy {
                    original: original_id,
                    stat: *stat,
                    original_stat: original.stat,
                    is_read: read_to >= stat.len,
                    appeared_at: before.map_or(read_to, |before| before.appeared_at),
                    over_at: None,
                };
                let (path, original) = (path.display(), original.path.display());
                self.troubles.notes.push(format!("{path} is a copy of {original} so far: nothing is read of it"));
                self.copies.insert(stat.id, copy);
                Likeness::Copy
            }
            Some(false) if is_there => Likeness::Other,
            _ => Likeness::Unclear,
        })
    }

    fn open_count(&self) -> usize {
        self.known.values().filter(|file| file.file.is_some()).count()
    }

    /// Leaves open those that were written to last.
    fn close_some(&mut self) {
        let mut open: Vec<(u128, FileId)> = Vec::new();
        open.extend(self.known.iter().filter(|(_, f)| f.file.is_some()).map(|(id, f)| (f.stat.modified_ns, *id)));
        let many = open.len().saturating_sub(self.rules.open_max);
        open.sort_unstable();
        for (_, id) in open.into_iter().take(many) {
            self.known.get_mut(&id).into_iter().for_each(Followed::close);
        }
    }

    /// Hands out records as long as there is room, first what is nowhere else any more, then those of the files that were written
    /// to longest ago: what was renamed comes before what took its place. Returns whether there may be more at once.
    pub(super) fn read(&mut self, now_ms: u64, room: &mut Room, out: &mut Vec<Vec<u8>>) -> bool {
        while let Some(rest) = self.rests.front_mut() {
            if !rest.drain(&self.rules, room, out) {
                return true;
            }
            self.rests.pop_front();
        }
        let mut open = self.open_count();
        let mut files: Vec<_> = self.known.iter_mut().collect();
        files.sort_by_key(|(_, file)| file.stat.modified_ns);
        for (id, file) in files {
            // Rows that the look has changed go first: so many fit in a batch.
            if self.changes.len() >= self.rules.rows_max {
                return true;
            }
            let (before, was_open) = (file.position, file.file.is_some());
            let outcome = read_one(&self.files, &self.rules, file, now_ms, room, out);
            if file.position != before {
                self.changes.insert(*id);
            }
            open += usize::from(file.file.is_some() && !was_open);
            if !was_open && open > self.rules.open_max {
                file.close();
                open -= usize::from(file.file.is_none());
            }
            match outcome {
                Ok(true) => {}
                Ok(false) => return true,
                Err(error) => self.troubles.could_not("read", &file.path, &error),
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
