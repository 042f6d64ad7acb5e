//! Segment files: their names, their ids, and a bounded set of open ones.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::env::{Access, DirEntry, Disk, DiskFile, FileWindow, Mapping, Pace, names};
use crate::error::{Error, Result, is_no_descriptor};
use crate::id::{SegmentId, StoreId};
use crate::options::ReadMode;
use crate::sync::{Arc, Mutex};

use super::slot::Shared;
use super::{Segment, Unsynced, index};

/// The file of a segment: in one of 256 folders, so that none gets too long.
pub(crate) fn segment_path(id: SegmentId) -> String {
    format!("{}/{id}.seg", folder(id))
}

/// The index beside it.
pub(crate) fn index_path(id: SegmentId) -> String {
    format!("{}/{id}.idx", folder(id))
}

/// Whether it is one of the folders that segments are in.
pub(crate) fn is_folder(entry: &DirEntry) -> bool {
    let shard = u8::from_str_radix(&entry.name, 16).ok();
    entry.is_dir && shard.is_some_and(|shard| format!("{shard:02x}") == entry.name)
}

/// The segment whose file this is, in this folder below `segments`; `None` for what is none.
pub(crate) fn segment_of(shard: &str, entry: &DirEntry) -> Option<SegmentId> {
    names::number_in(&format!("segments/{shard}"), entry, ".seg", |id| segment_path(SegmentId(id))).map(SegmentId)
}

/// The segment whose index this is, in this folder below `segments`; `None` for what is none.
pub(crate) fn index_of(shard: &str, entry: &DirEntry) -> Option<SegmentId> {
    names::number_in(&format!("segments/{shard}"), entry, ".idx", |id| index_path(SegmentId(id))).map(SegmentId)
}

fn folder(id: SegmentId) -> String {
    format!("segments/{:02x}", id.0 & 0xff)
}

/// Packs that are kept open to copy pieces from.
const OPEN_PACKS_MAX: usize = 128;
/// So much of one is read at a time where pieces are copied one after the other.
const READ_AHEAD_BYTES: u64 = 64 << 10;

/// How many ids a manifest reserves beyond the next: more than one checkpoint ever uses.
pub(crate) const RESERVE_IDS: u64 = 1 << 20;

/// Windows at a time: each is a mapping, of which a process may have some ten thousands.
const WINDOWS_MAX: usize = 256;

/// A part of a segment that is stored to.
pub(super) struct Window {
    memory: Box<dyn FileWindow>,
    pub(super) range: Range<u64>,
    _counted: Arc<()>,
}

impl Window {
    #[inline]
    pub(super) fn put(&mut self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.memory.put(bytes, position)
    }
}

/// An open segment: a descriptor, and a mapping where the store reads by map.
pub(crate) struct OpenSegment {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) map: Option<Arc<dyn Mapping>>,
    map_bytes: u64,
    writable: bool,
}

impl OpenSegment {
    /// Whether it is mapped, but not so far.
    pub(super) fn ends_before(&self, bytes: u64) -> bool {
        self.map.is_some() && self.map_bytes < bytes
    }
}

impl Shared for Arc<OpenSegment> {
    fn holders(&self) -> usize {
        Arc::strong_count(self)
    }

    fn pins(&self) -> usize {
        self.map.as_ref().map_or(0, |map| map.pins())
    }

    fn is_writable(&self) -> bool {
        self.writable
    }
}

impl Segment {
    /// Whether a reader may still touch the file through a descriptor, a mapping or a slice of one.
    pub(crate) fn is_pinned(&self) -> bool {
        self.open.lock().is_pinned()
    }

    /// Slices of its mappings that readers hold.
    pub(crate) fn pins(&self) -> u64 {
        self.open.lock().all().map(|open| open.pins() as u64).sum()
    }

    /// What it has is somewhere else by now, or trimmed: nobody opens it again.
    pub(crate) fn bury(&self) {
        self.open.lock().bury();
    }

    /// Whether its file was removed, or it is a piece that its log left: what a reader looks for is somewhere else by now, or trimmed.
    pub(crate) fn is_buried(&self) -> bool {
        self.open.lock().is_buried()
    }
}

/// All segment files of a store.
pub(crate) struct SegmentFiles {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) origin: StoreId,
    pub(crate) mode: ReadMode,
    next_id: AtomicU64,
    reserved: AtomicU64,
    begun: Mutex<BTreeSet<SegmentId>>,
    /// Begun, and no file was made. They are given out again, or a disk that refuses for long enough would use up all ids.
    unmade: Mutex<Vec<SegmentId>>,
    open_max: usize,
    /// One reference for each window there is, and this one.
    windows: Arc<()>,
    stored: AtomicU64,
    opened: Mutex<VecDeque<Weak<Segment>>>,
    /// The packs that pieces were copied from last, the newest at the back.
    packs: Mutex<VecDeque<OpenPack>>,
    /// The packs that a reader has, or had, open.
    opened_packs: Mutex<BTreeSet<SegmentId>>,
    /// Folders known to exist, and folders with entries that are not durable yet.
    folders: Mutex<(BTreeSet<u8>, BTreeSet<String>)>,
    /// Removed, and not yet for good: see [`SegmentFiles::sync_removed`].
    removed: Mutex<BTreeSet<SegmentId>>,
    /// Whether a sync of a folder failed; held while one is under way.
    folder_sync_failed: Mutex<bool>,
    kept: Mutex<Kept>,
}

/// What must not go because a backup copies it.
#[derive(Default)]
struct Kept {
    /// How many backups there are.
    backups: usize,
    /// Files that nobody saw but a backup that lists a folder: taken back once there is none.
    uncreated: Vec<SegmentId>,
}

/// A pack that pieces are copied from. It never changes.
struct OpenPack {
    id: SegmentId,
    file: Arc<dyn DiskFile>,
    len: u64,
    /// What was read ahead, and where that starts.
    ahead: Bytes,
    ahead_start: u64,
    /// Where the last piece ended.
    next: u64,
}

impl OpenPack {
    fn read(&mut self, start: u64, len: u64) -> io::Result<Bytes> {
        // A row can claim more than there is, and what is allocated for it must not follow from that.
        let end = start.saturating_add(len).min(self.len);
        let start = start.min(end);
        let follows = (self.next..self.next.saturating_add(READ_AHEAD_BYTES)).contains(&start);
        self.next = end;
        let inside = start.checked_sub(self.ahead_start).map(|at| (at as usize, (end - self.ahead_start) as usize));
        if let Some((from, to)) = inside.filter(|(_, to)| *to <= self.ahead.len()) {
            return Ok(self.ahead.slice(from..to));
        }
        let upto = if follows { end.max(start + READ_AHEAD_BYTES).min(self.len) } else { end };
        let mut bytes = vec![0; (upto - start) as usize];
        let read = match self.file.read_at(&mut bytes, start) {
            // What can't be read may lie behind the piece.
            Err(_) if upto > end => {
                bytes.truncate((end - start) as usize);
                self.file.read_at(&mut bytes, start)?
            }
            read => read?,
        };
        bytes.truncate(read);
        let bytes = Bytes::from(bytes);
        (self.ahead, self.ahead_start) = (bytes.clone(), start);
        Ok(bytes.slice(..bytes.len().min((end - start) as usize)))
    }
}

impl SegmentFiles {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        origin: StoreId,
        mode: ReadMode,
        open_max: usize,
        next_id: u64,
        stored: u64,
    ) -> Self {
        SegmentFiles {
            disk,
            origin,
            mode,
            next_id: AtomicU64::new(next_id),
            reserved: AtomicU64::new(next_id),
            begun: Mutex::default(),
            unmade: Mutex::default(),
            open_max,
            windows: Arc::default(),
            stored: AtomicU64::new(stored),
            opened: Mutex::default(),
            packs: Mutex::default(),
            opened_packs: Mutex::default(),
            folders: Mutex::default(),
            removed: Mutex::default(),
            folder_sync_failed: Mutex::default(),
            kept: Mutex::default(),
        }
    }

    /// The segments and packs that no manifest names yet.
    pub(crate) fn begun(&self) -> BTreeSet<SegmentId> {
        self.begun.lock().clone()
    }

    /// What the manifest that is about to be written must say of ids: its bound, so that they stay unique over a crash, and
    /// those begun that no manifest names yet. `named` are those that this one names.
    pub(crate) fn ids_to_note(&self, named: &BTreeSet<SegmentId>) -> (u64, Vec<SegmentId>) {
        let begun = self.begun.lock();
        let unnamed = begun.iter().filter(|id| !named.contains(id)).copied().collect();
        (self.next_id.load(Ordering::Acquire) + RESERVE_IDS, unnamed)
    }

    /// A manifest that names them is durable, or they are gone.
    pub(crate) fn named<'a>(&self, ids: impl IntoIterator<Item = &'a SegmentId>) {
        let mut begun = self.begun.lock();
        ids.into_iter().for_each(|id| {
            begun.remove(id);
        });
    }

    /// That manifest is durable.
    pub(crate) fn reserved(&self, bound: u64) {
        self.reserved.fetch_max(bound, Ordering::AcqRel);
    }

    fn next_id(&self) -> io::Result<SegmentId> {
        if let Some(id) = self.unmade.lock().pop() {
            return Ok(id);
        }
        // Under the lock, so that a manifest counts every id either as begun or as yet to come.
        let mut begun = self.begun.lock();
        let id = self.next_id.fetch_add(1, Ordering::AcqRel);
        begun.insert(SegmentId(id));
        drop(begun);
        if id >= self.reserved.load(Ordering::Acquire) {
            return Err(io::Error::other("more than a million segments since the last checkpoint"));
        }
        Ok(SegmentId(if crate::seeded_bug!(SegmentIdReused) { id & !1 } else { id }))
    }

    /// Creates the file of a new segment. Its folder's entry is owed: see [`SegmentFiles::sync_folders`].
    pub(super) fn create(&self) -> io::Result<(SegmentId, Arc<dyn DiskFile>)> {
        let id = self.next_id()?;
        let made = self.make(id);
        // Where a file is in the way, another id is due.
        if made.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::AlreadyExists) {
            self.unmade.lock().push(id);
        }
        Ok((id, made?))
    }

    /// Until [`SegmentFiles::let_go`] no file goes that somebody may have found in a folder.
    pub(crate) fn keep(&self) {
        self.kept.lock().backups += 1;
    }

    pub(crate) fn let_go(&self) {
        let mut kept = self.kept.lock();
        kept.backups -= 1;
        if kept.backups == 0 {
            std::mem::take(&mut kept.uncreated).into_iter().for_each(|id| self.remove_uncreated(id));
        }
    }

    pub(crate) fn are_kept(&self) -> bool {
        self.kept.lock().backups > 0
    }

    /// Takes back a file that was created and that nobody uses. Its id goes to the next one: on a full disk this happens time and
    /// again.
    pub(super) fn uncreate(&self, id: SegmentId) {
        // Held until it is gone: a backup that begins then does not find it.
        let mut kept = self.kept.lock();
        match kept.backups {
            0 => self.remove_uncreated(id),
            _ => kept.uncreated.push(id),
        }
    }

    fn remove_uncreated(&self, id: SegmentId) {
        // Where it can't be removed it stays one that no manifest names.
        if self.disk.remove(&segment_path(id)).is_ok() {
            self.unmade.lock().push(id);
        }
    }

    fn make(&self, id: SegmentId) -> io::Result<Arc<dyn DiskFile>> {
        let shard = (id.0 & 0xff) as u8;
        if !self.folders.lock().0.contains(&shard) {
            self.opening(|| self.disk.create_dir(&folder(id)))?;
            let mut folders = self.folders.lock();
            folders.0.insert(shard);
            folders.1.insert("segments".to_owned());
        }
        let file = self.opening(|| self.disk.open(&segment_path(id), Access::CreateNew))?;
        self.folders.lock().1.insert(folder(id));
        Ok(file)
    }

    /// Bytes of a pack, to copy a piece from; fewer where it ends. Pieces of many logs lie in few packs, so a few descriptors serve
    /// them all; and logs whose pieces are neighbours in one come one after the other, so what lies behind a piece is read with it
    /// where that has been so.
    pub(super) fn read_pack(&self, id: SegmentId, start: u64, len: u64) -> io::Result<Bytes> {
        let known = |packs: &VecDeque<OpenPack>| packs.iter().position(|pack| pack.id == id);
        let mut packs = self.packs.lock();
        let mut at = known(&packs);
        if at.is_none() {
            drop(packs);
            let file = self.opening(|| names::open(&*self.disk, &segment_path(id)))?;
            let len = file.len()?;
            packs = self.packs.lock();
            at = known(&packs);
            if at.is_none() {
                if packs.len() >= OPEN_PACKS_MAX {
                    packs.pop_front();
                }
                packs.push_back(OpenPack { id, file, len, ahead: Bytes::new(), ahead_start: 0, next: u64::MAX });
            }
        }
        let at = at.unwrap_or(packs.len() - 1);
        packs[at].read(start, len)
    }

    /// A descriptor of its own, to read what the device has: past the page cache where that can be done and `past_cache` asks for it.
    /// A page that readers have mapped stays in the cache, and one that they have not does not come into it.
    pub(crate) fn open_to_scrub(&self, id: SegmentId, past_cache: bool) -> io::Result<Arc<dyn DiskFile>> {
        self.opening(|| match past_cache {
            true => names::open_past_cache(&*self.disk, &segment_path(id)),
            false => names::open(&*self.disk, &segment_path(id)),
        })
    }

    /// Bytes of the file of a pack.
    pub(crate) fn pack_bytes(&self, id: SegmentId) -> io::Result<u64> {
        self.opening(|| self.disk.open(&segment_path(id), Access::Read))?.len()
    }

    /// Removes a pack that no row names a piece of; whether that could be done, and its file if no reader ever opened it. Who
    /// has it open keeps it.
    pub(crate) fn remove_pack(&self, id: SegmentId) -> (bool, Option<Arc<dyn DiskFile>>) {
        let bytes = self.pack_bytes(id).unwrap_or(0);
        self.stored.fetch_sub(bytes.min(self.stored_bytes()), Ordering::Relaxed);
        self.packs.lock().retain(|pack| pack.id != id);
        self.named([&id]);
        // Held until the name is gone: whoever opens it then finds none.
        let mut opened = self.opened_packs.lock();
        let file = match opened.remove(&id) {
            true => None,
            false => self.disk.open(&segment_path(id), Access::Write).ok(),
        };
        match self.remove(id) {
            Ok(()) => (true, file),
            Err(_) => (false, None),
        }
    }

    /// Removes the files of a segment, or of a pack, that no manifest names. Where that fails it is tried again behind a later
    /// checkpoint, or in the next life.
    pub(crate) fn remove(&self, id: SegmentId) -> io::Result<()> {
        self.removed.lock().insert(id);
        let _ = self.disk.remove(&index_path(id));
        self.disk.remove(&segment_path(id))
    }

    /// Those removed that a power cut may give their names back.
    pub(crate) fn removed(&self) -> BTreeSet<SegmentId> {
        self.removed.lock().clone()
    }

    /// What was removed so far stays removed, whatever comes. Nobody waits for it: until then a manifest says that they are to go.
    pub(crate) fn sync_removed(&self) -> io::Result<()> {
        // One that has its name again may be what a backup is about to copy.
        if self.are_kept() {
            return Ok(());
        }
        let is_gone = |id: &SegmentId| match self.remove(*id) {
            Err(error) => error.kind() == io::ErrorKind::NotFound,
            Ok(()) => true,
        };
        let removed = self.removed();
        let gone: BTreeSet<SegmentId> = removed.into_iter().filter(is_gone).collect();
        // Where somebody took the folder away, too, there is nothing to sync.
        let is_there = |dir: &String| self.disk.list(dir).is_ok();
        self.sync_dirs(|| gone.iter().map(|id| folder(*id)).filter(is_there).collect())?;
        self.removed.lock().retain(|id| !gone.contains(id));
        Ok(())
    }

    /// Makes every folder entry made so far durable.
    pub(crate) fn sync_folders(&self) -> io::Result<()> {
        self.sync_dirs(|| std::mem::take(&mut self.folders.lock().1))
    }

    /// After one sync that failed all do: what it left can't be told.
    fn sync_dirs(&self, owed: impl FnOnce() -> BTreeSet<String>) -> io::Result<()> {
        // Held for as long as it takes: what another thread is about to make durable is not durable yet.
        let mut failed = self.folder_sync_failed.lock();
        if *failed {
            return Err(io::Error::other("an earlier sync of a folder failed"));
        }
        let owed = owed();
        if crate::seeded_bug!(NoDirectorySync) {
            return Ok(());
        }
        // The parent first: an entry in a folder that has none itself is no use.
        let mut owed: Vec<String> = owed.into_iter().collect();
        owed.sort_by_key(String::len);
        let synced = owed.iter().try_for_each(|dir| self.disk.sync_dir(dir));
        *failed = synced.is_err();
        synced
    }

    /// The open file of a segment, opened if need be, mapped at least up to `upto` if the store maps.
    pub(crate) fn open(&self, segment: &Arc<Segment>, upto: u64) -> io::Result<Arc<OpenSegment>> {
        self.opening(|| self.open_once(segment, upto))
    }

    fn open_once(&self, segment: &Arc<Segment>, upto: u64) -> io::Result<Arc<OpenSegment>> {
        segment.recently_used.store(true, Ordering::Relaxed);
        let mut slot = segment.open.lock();
        if let Some(open) = slot.current()
            && (open.map.is_none() || open.map_bytes >= upto)
        {
            return Ok(open.clone());
        }
        if slot.is_buried() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let first = slot.current().is_none();
        let (file, writable) = match slot.current() {
            Some(open) => (open.file.clone(), open.writable),
            None => {
                if segment.is_piece() {
                    self.opened_packs.lock().insert(segment.id);
                }
                (names::open(&*self.disk, &segment.path())?, false)
            }
        };
        if file.len()? < upto {
            // A mapping may reach beyond the file's end, but touching it there would end the process.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let open = self.map(file, segment.bytes_max.max(upto), writable)?;
        slot.put(open.clone());
        drop(slot);
        if first {
            self.note_opened(segment);
        }
        Ok(open)
    }

    fn map(&self, file: Arc<dyn DiskFile>, len: u64, writable: bool) -> io::Result<Arc<OpenSegment>> {
        let len = len.next_multiple_of(4096);
        let map = match self.mode {
            ReadMode::Copy => None,
            ReadMode::Map => match file.map(len) {
                Ok(map) => Some(map),
                Err(error) if error.kind() == io::ErrorKind::Unsupported => None,
                Err(error) => return Err(error),
            },
        };
        Ok(Arc::new(OpenSegment { file, map, map_bytes: len, writable }))
    }

    /// Keeps the descriptor a segment was created with, so that its first reader and writer need not open it again.
    pub(super) fn adopt(&self, segment: &Arc<Segment>, file: Arc<dyn DiskFile>) -> io::Result<()> {
        let open = self.map(file, segment.bytes_max, true)?;
        segment.open.lock().put(open);
        self.note_opened(segment);
        Ok(())
    }

    /// The open file of a segment that is being written.
    pub(super) fn for_writing(&self, segment: &Arc<Segment>) -> io::Result<Arc<dyn DiskFile>> {
        segment.recently_used.store(true, Ordering::Relaxed);
        if let Some(open) = segment.open.lock().writable() {
            return Ok(open.file.clone());
        }
        let file = self.opening(|| self.disk.open(&segment.path(), Access::Write))?;
        self.adopt(segment, file.clone())?;
        Ok(file)
    }

    /// Opens something, with nothing locked that is locked to open another; where no descriptor is left, once more without those
    /// of files that nobody uses.
    fn opening<T>(&self, open: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match open() {
            Err(error) if is_no_descriptor(error.raw_os_error()) => {
                self.close_unused();
                open()
            }
            outcome => outcome,
        }
    }

    /// Closes the files that are kept open and that nobody uses.
    pub(crate) fn close_unused(&self) {
        self.packs.lock().clear();
        self.opened.lock().retain(|segment| {
            let Some(segment) = segment.upgrade() else { return false };
            let mut slot = segment.open.lock();
            let unused = slot.is_idle();
            if unused {
                slot.close();
            }
            let kept = slot.all().next().is_some();
            drop(slot);
            if unused {
                index::forget(&segment);
            }
            kept
        });
    }

    /// Whether there may be one more window.
    pub(super) fn has_windows(&self) -> bool {
        self.mode == ReadMode::Map && Arc::strong_count(&self.windows) <= WINDOWS_MAX
    }

    /// A window on a part of a segment that is being written, with room reserved up to its end.
    pub(super) fn window(&self, segment: &Arc<Segment>, range: Range<u64>) -> io::Result<Window> {
        let file = self.for_writing(segment)?;
        file.allocate(range.end)?;
        file.extend(range.end)?;
        let memory = file.window(range.start, (range.end - range.start) as usize)?;
        Ok(Window { memory, range, _counted: self.windows.clone() })
    }

    /// Brings what a segment has from a position on to the device, so that its sync finds it there; not where it was closed.
    pub(crate) fn write_back(&self, unsynced: &Unsynced, pace: &Pace) -> io::Result<()> {
        let file = unsynced.segment.open.lock().writable().map(|open| open.file.clone());
        file.map_or(Ok(()), |file| pace.write_back(&*file, unsynced.from..unsynced.segment.bytes()))
    }

    /// Makes a segment's data durable. Of what the kernel failed to write before, a descriptor that was open all the time is told;
    /// otherwise the call that makes all durable is, which needs none, and not every file system does all by that call.
    pub(crate) fn sync(&self, segment: &Arc<Segment>) -> io::Result<()> {
        let (file, untold) = {
            let mut slot = segment.open.lock();
            // Before, for it may be written and closed again meanwhile.
            (slot.writable().map(|open| open.file.clone()), slot.take_untold())
        };
        if let Some(file) = file.filter(|_| !untold) {
            return file.sync_data();
        }
        self.disk.sync_all()?;
        match self.for_writing(segment) {
            Err(error) if is_no_descriptor(error.raw_os_error()) => Ok(()),
            file => file?.sync_data(),
        }
    }

    /// Second chance: a segment used since it was last looked at stays open.
    fn note_opened(&self, segment: &Arc<Segment>) {
        let mut opened = self.opened.lock();
        opened.push_back(Arc::downgrade(segment));
        let mut chances = opened.len();
        while opened.len() > self.open_max && chances > 0 {
            chances -= 1;
            let Some(oldest) = opened.pop_front() else { break };
            let Some(segment) = oldest.upgrade() else { continue };
            if segment.recently_used.swap(false, Ordering::Relaxed) && chances > 0 {
                opened.push_back(oldest);
            } else {
                segment.open.lock().close();
                index::forget(&segment);
            }
        }
    }

    /// How many slices of mapped segments readers hold.
    pub(crate) fn pins(&self) -> u64 {
        let opened: Vec<_> = self.opened.lock().iter().filter_map(Weak::upgrade).collect();
        opened.iter().map(|segment| segment.pins()).sum()
    }

    /// The segment's file is about to be removed: nobody opens it from now on. Answers with a descriptor of it.
    pub(crate) fn bury(&self, segment: &Arc<Segment>) -> Option<Arc<dyn DiskFile>> {
        let mut slot = segment.open.lock();
        let file = slot.current().map(|open| open.file.clone());
        slot.bury();
        drop(slot);
        self.stored.fetch_sub(segment.bytes().min(self.stored_bytes()), Ordering::Relaxed);
        // A descriptor of its own, that may write: what is open may have been opened for reading.
        self.disk.open(&segment.path(), Access::Write).ok().or(file)
    }

    /// Bytes of all segments.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    pub(super) fn note_stored(&self, bytes: u64) {
        self.stored.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn error(segment: &Segment, during: &'static str) -> impl FnOnce(io::Error) -> Error {
        Error::io(during, segment.path())
    }

    /// Reads a small file whole; `None` if it doesn't exist or is longer than `max`.
    pub(super) fn read_small(&self, path: &str, max: u64) -> Result<Option<Vec<u8>>> {
        let file = match self.disk.open(path, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", path)(error)),
        };
        let len = file.len().map_err(Error::io("measure", path))?;
        if len > max {
            return Ok(None);
        }
        let mut bytes = vec![0; len as usize];
        let n = file.read_at(&mut bytes, 0).map_err(Error::io("read", path))?;
        bytes.truncate(n);
        Ok(Some(bytes))
    }
}
