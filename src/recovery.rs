//! Opening: from whatever the last owner left to a store that serves.
//!
//! 1. Take the lock.
//! 2. Read the newest manifest's root.
//! 3. Find the accepted end of the journal.
//! 4. Replay its frames in memory, verified.
//! 5. Write the frames that no later one proves durable **again**, same bytes to the same places, and sync: after a failed
//!    sync the page cache can equal what the disk has not.
//! 6. Look at the tails of buffered logs, write them again for the same reason, names included, and sync them.
//! 7. Write and sync one manifest that names the accepted end and a new generation.
//! 8. Only then serve.
//!
//! No file of an earlier life is written except in steps 5 and 6, and nothing is deleted. What is replayed reaches new segments by
//! the ordinary way; until a checkpoint covers it the old frames stay, so a crash here, or a hundred in a row, changes
//! nothing.

mod older;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map};
use std::time::Duration;

use bytes::Bytes;

use crate::core::{CoreParts, RESERVE_PATH};
use crate::env::real::is_unreadable;
use crate::env::{Access, AlignedBuf, Disk, DiskKind, DiskLock, DiskOp, Env, LockMode, Pace, Wait, WriteQueue, names};
use crate::error::{Error, Result};
use crate::format::Damage;
use crate::format::batch::{self, BatchHeader, HEADER_BYTES};
use crate::format::journal::{Entry, EntryKind, decode};
use crate::format::manifest::{LogRow, Root, SegmentRow};
use crate::format::segment::{HEADER_BYTES as SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::format::store::{BYTES as STORE_BYTES, StoreFile};
use crate::id::{FrameNumber, LogId, SegmentId, StoreId};
use crate::journal::{self, Contents, FramePlace, Plan, Ring, Verdict, hides_a_frame, is_pristine, journal_path, plan};
use crate::log::{Ended, LogState, PendingBatch, options_of};
use crate::manifest::{Changes, Known, Manifest};
use crate::metrics::Health;
use crate::options::{Durability, StoreOptions};
use crate::segment::{RESERVE_IDS, Segment, is_folder, next_batch, segment_of, segment_path};
use crate::sync::{Arc, Ordering};
use crate::withheld;

const LOCK_PATH: &str = "LOCK";
const STORE_PATH: &str = "STORE";
const STORE_NEW_PATH: &str = "STORE.new";
const FOLDERS: [&str; 3] = ["journal", "manifest", "segments"];
/// How long to wait for the lock of an owner whose process is gone: the kernel gives it up once its last write has landed.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const QUEUE_DEPTH: usize = 32;

/// What opening found and did.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// let store = braidlog::Store::open(dir.path())?;
/// assert!(store.open_report().created);
/// store.close()?;
/// assert!(braidlog::Store::open(dir.path())?.open_report().clean);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OpenReport {
    /// The store was made by this call.
    pub created: bool,
    /// It had been closed: there was nothing to replay.
    pub clean: bool,
    /// Journal frames replayed.
    pub frames_replayed: u64,
    /// Records in them.
    pub records_recovered: u64,
    /// Bytes of them.
    pub bytes_replayed: u64,
    /// Bytes of a torn frame at the end of the journal that were cut. They were never acknowledged.
    pub cut_bytes: u64,
    /// Frames that nothing proved durable and that were written again.
    pub frames_rewritten: u64,
    /// Buffered logs whose tails were looked at.
    pub tails_scanned: u64,
    /// Segments that a crash left without a manifest that names them. They hold nothing that is not elsewhere, and are
    /// removed once a checkpoint has made sure of that.
    pub leftover_segments: u64,
    /// The newest manifest was damaged and the one before was used; with the damage.
    pub manifest_damage: Option<String>,
    /// Logs of which a part was damaged or had to be withheld, with the first number lost.
    pub stopped_logs: Vec<(String, u64)>,
    /// The store lies on a network file system, by its name. Locks, syncs and mapped pages are only as good as that server and
    /// its mount: two machines may then own one store, and a reader of [`ReadMode::Map`](crate::ReadMode::Map) dies of a
    /// server that is gone.
    pub network_file_system: Option<String>,
    /// The journal is damaged: the store is read-only at the state before; with the place.
    pub journal_damage: Option<String>,
    /// A page of the manifest can't be read, and the journal holds changes of its logs: what can neither be applied nor forgotten
    /// keeps the store read-only. All other logs are as they were; with the damage.
    pub page_damage: Option<String>,
    /// The header of a segment can't be read in which a buffered log may go on: the store is read-only, and buffered logs end before
    /// it; with its path.
    pub hidden_tail: Option<String>,
    /// The newest manifest can't be read, and of what the one before names something is not there any more, for its records moved on:
    /// the store is read-only, and nothing is removed; with the path of what is missing.
    pub superseded: Option<String>,
    /// In the place of the journal that is damaged stands what stood there before it was written: the device said that it had
    /// written it, and had not. What was acknowledged since may be lost, here and elsewhere; don't trust the device.
    pub device_lied: bool,
}

impl OpenReport {
    /// Why nothing may be written on top of what was found.
    pub(crate) fn read_only_because(&self) -> Option<String> {
        let journal = self.journal_damage.as_ref();
        let journal = journal.map(|place| format!("the journal is damaged ({place}); what came before it can be read"));
        let page = self.page_damage.as_ref();
        let page = page.map(|damage| {
            format!("the journal has changes of logs that can't be told ({damage}); all others can be read")
        });
        let tail = self.hidden_tail.as_ref();
        let tail = tail.map(|path| format!("{path} can't be read, and a buffered log may go on in it"));
        let older = self.superseded.as_ref();
        let older = older
            .map(|path| format!("the newest manifest can't be read, and {path}, which the one before names, is gone"));
        journal.or(page).or(tail).or(older)
    }
}

/// A store ready to run.
pub(crate) struct Opened {
    pub(crate) parts: CoreParts,
    pub(crate) queue: Box<dyn WriteQueue>,
    pub(crate) generation: u64,
    pub(crate) end: u64,
    pub(crate) lock: Box<dyn DiskLock>,
    pub(crate) report: OpenReport,
}

/// A store to be looked at.
pub(crate) struct OpenedReadOnly {
    pub(crate) parts: CoreParts,
    pub(crate) lock: Box<dyn DiskLock>,
    pub(crate) report: OpenReport,
}

/// Refuses a directory that holds something, but no store. Our own names are what an unfinished creation leaves.
fn look_around(disk: &dyn Disk) -> Result<bool> {
    let entries = disk.list("").map_err(Error::io("list", disk.root()))?;
    if entries.iter().any(|e| e.name == STORE_PATH) {
        return Ok(true);
    }
    let own = |name: &str| FOLDERS.contains(&name) || [LOCK_PATH, STORE_NEW_PATH, RESERVE_PATH].contains(&name);
    match entries.into_iter().find(|e| !own(&e.name)) {
        Some(foreign) => Err(Error::NotAStore { root: disk.root(), found: foreign.name }),
        None => Ok(false),
    }
}

fn take_lock(disk: &dyn Disk, mode: LockMode) -> Result<Box<dyn DiskLock>> {
    let holder = format!("process {}", std::process::id());
    let started = std::time::Instant::now();
    loop {
        match disk.lock(LOCK_PATH, mode, &holder) {
            Ok(lock) => return Ok(lock),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let holder = error.to_string();
                let waits = disk.kind() != DiskKind::Simulated && !crate::env::real::holder_lives(&holder);
                if !waits || started.elapsed() > LOCK_PATIENCE {
                    return Err(Error::Locked { root: disk.root(), holder });
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(Error::io("lock", LOCK_PATH)(error)),
        }
    }
}

fn read_whole(disk: &dyn Disk, path: &str, max: u64) -> Result<Vec<u8>> {
    let file = disk.open(path, Access::Read).map_err(Error::io("open", path))?;
    let len = file.len().map_err(Error::io("measure", path))?.min(max);
    let mut bytes = vec![0; len as usize];
    let n = file.read_at(&mut bytes, 0).map_err(|_| Error::damaged(path, 0)(Damage::Unreadable))?;
    bytes.truncate(n);
    Ok(bytes)
}

fn read_identity(disk: &dyn Disk) -> Result<StoreFile> {
    let bytes = read_whole(disk, STORE_PATH, STORE_BYTES as u64 + 1)?;
    StoreFile::decode(&bytes).map_err(Error::damaged(STORE_PATH, 0))
}

/// Makes a store where there is none. `STORE` comes last: without it there is no store, whatever else is there.
fn create(env: &Env, options: &StoreOptions) -> Result<StoreFile> {
    let disk = &*env.disk;
    for folder in FOLDERS {
        disk.create_dir(folder).map_err(Error::io("make folder", folder))?;
    }
    if !disk.list("segments").map_err(Error::io("list", "segments"))?.is_empty() {
        return Err(Error::damaged(STORE_PATH, 0)(Damage::Missing));
    }
    // What an unfinished creation left holds nothing: as long as there was no STORE, nothing was acknowledged. A journal
    // with frames in it is no such thing.
    for found in Ring::find(disk, Access::Read)? {
        let path = journal_path(found.number);
        if !is_pristine(&*found.file) && !matches!(found.file.len(), Ok(0)) {
            return Err(Error::damaged(STORE_PATH, 0)(Damage::Missing));
        }
        disk.remove(&path).map_err(Error::io("remove", path))?;
    }
    for number in crate::manifest::numbers(disk)? {
        let path = crate::manifest::manifest_path(number);
        disk.remove(&path).map_err(Error::io("remove", path))?;
    }
    match disk.remove(STORE_NEW_PATH) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("remove", STORE_NEW_PATH)(error));
        }
        _ => {}
    }
    let id = StoreId(env.random_bytes());
    let identity =
        StoreFile { id, origin: id, created_ms: env.clock.wall_ms(), journal_file_bytes: options.journal_file_bytes };
    let root = Root {
        next_log: 1,
        segments_reserved: 1,
        clean: true,
        stamp_ms: identity.created_ms,
        generations: vec![(0, 0)],
        ..Root::default()
    };
    Manifest::create(env.disk.clone(), identity.origin, root)?;
    write_identity(disk, &identity)?;
    Ok(identity)
}

/// Writes `STORE`: the last step of making a store or a backup.
pub(crate) fn write_identity(disk: &dyn Disk, identity: &StoreFile) -> Result<()> {
    let write = || -> std::io::Result<()> {
        disk.sync_dir("")?;
        let file = disk.open(STORE_NEW_PATH, Access::CreateNew)?;
        file.write_at(&identity.encode(), 0)?;
        file.sync_data()?;
        disk.rename(STORE_NEW_PATH, STORE_PATH)?;
        disk.sync_dir("")
    };
    write().map_err(Error::io("make store", STORE_PATH))
}

/// Makes the file that owners and inspectors lock: a store that was never owned can be inspected too.
pub(crate) fn make_lock(disk: &dyn Disk) -> Result<()> {
    take_lock(disk, LockMode::Exclusive).map(drop)
}

/// The folders of a new store.
pub(crate) fn make_folders(disk: &dyn Disk) -> Result<()> {
    FOLDERS.iter().try_for_each(|folder| disk.create_dir(folder).map_err(Error::io("make folder", *folder)))
}

struct Replay<'a> {
    manifest: &'a Manifest,
    origin: StoreId,
    /// Pages that were read, by their first bucket: a journal can be about every log there is, and each page is read once.
    pages: HashMap<u16, Known>,
    /// Logs that the journal is about and whose page can't be read.
    unknown: BTreeSet<LogId>,
    logs: HashMap<LogId, Arc<LogState>>,
    gone: Vec<(LogId, Option<Arc<LogState>>)>,
    touched: BTreeSet<LogId>,
    next_log: u64,
    stamp_ms: u64,
    pending_bytes: u64,
    /// Segments that the manifest names and that a frame after it had others take the place of: they go with the next checkpoint.
    retired: Vec<Arc<Segment>>,
    /// Bytes that the manifest counts for logs looked at.
    counted: HashMap<LogId, u64>,
    /// Logs that the journal stops.
    stopped: HashSet<LogId>,
    /// Files, by their place, with frames that have something of one of these; each with the first of those frames.
    withheld: BTreeMap<usize, FrameNumber>,
    report: OpenReport,
}

impl Replay<'_> {
    fn log(&mut self, id: LogId) -> Result<Option<Arc<LogState>>> {
        if let Some(log) = self.logs.get(&id) {
            return Ok(Some(log.clone()));
        }
        if self.gone.iter().any(|(gone, _)| *gone == id) {
            return Ok(None);
        }
        let page = self.manifest.page_around(id);
        let known = match self.pages.entry(page) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(place) => place.insert(self.manifest.known_from(page)?),
        };
        let Some(row) = known.rows.iter().find(|row| row.id == id) else {
            if let Some(damage) = known.damage.as_ref().filter(|_| self.unknown.insert(id)) {
                self.report.page_damage.get_or_insert(damage.to_string());
                self.report.stopped_logs.push((format!("(log {})", id.0), 0));
            }
            return Ok(None);
        };
        let log = Arc::new(LogState::from_row(row, self.origin, false));
        self.counted.insert(id, log.stored_bytes());
        self.logs.insert(id, log.clone());
        Ok(Some(log))
    }

    /// By their ids, so that a history runs alike each time.
    fn logs_in_order(&self) -> Vec<Arc<LogState>> {
        let mut logs: Vec<_> = self.logs.values().cloned().collect();
        logs.sort_unstable_by_key(|log| log.id);
        logs
    }

    /// The segments that logs have, of those that are asked about.
    fn segments_in_use(&self, is_asked_about: impl Fn(&SegmentId) -> bool) -> HashSet<SegmentId> {
        let mut used = HashSet::new();
        for log in self.logs.values() {
            let view = log.view.read().unwrap_or_else(|p| p.into_inner());
            used.extend(view.segments.iter().map(|segment| segment.id).filter(&is_asked_about));
        }
        used
    }

    /// What a manifest that counts `stored` bytes of segments would count with these logs as they are now.
    fn stored_with<'l>(&self, stored: u64, logs: impl Iterator<Item = &'l Arc<LogState>>) -> u64 {
        let (mut before, mut now) = (0, 0);
        for log in logs {
            before += self.counted.get(&log.id).unwrap_or(&0);
            now += log.stored_bytes();
        }
        (stored + now).saturating_sub(before)
    }

    /// Bytes of all segments there are, but for those that are left over.
    fn stored_bytes(&self, stored: u64) -> u64 {
        let gone = self.gone.iter().filter_map(|(_, log)| log.as_ref());
        let retired: u64 = self.retired.iter().map(|segment| segment.bytes()).sum();
        self.stored_with(stored, self.logs.values().chain(gone)) + retired
    }

    fn frame(&mut self, place: &FramePlace, file: &Bytes) -> Result<()> {
        let bytes = file.slice(place.offset..place.offset + place.header.length as usize);
        let frame = decode(&bytes, self.origin).map_err(Error::damaged("journal", place.offset as u64))?;
        self.report.frames_replayed += 1;
        self.report.bytes_replayed += u64::from(place.header.length);
        self.stamp_ms = self.stamp_ms.max(place.header.stamp_ms);
        let withheld = if place.intact { HashSet::new() } else { self.withhold(&frame.entries, place)? };
        for (entry, payload) in &frame.entries {
            if entry.kind == EntryKind::CreateLog {
                // Whether or not its row can be read: what is withheld of it must not become another log's.
                self.next_log = self.next_log.max((entry.log.0 >> LogId::BUCKET_BITS) + 1);
            }
            if entry.kind != EntryKind::CreateLog || !withheld.contains(&entry.log) {
                self.entry(entry, payload, &bytes, place.header.frame)?;
            } else if entry.verify(payload, self.origin, place.header.generation).is_ok() {
                // The log itself is known, what was appended to it is not.
                self.entry(entry, payload, &bytes, place.header.frame)?;
                self.stop(entry.log)?;
            } else {
                self.stopped.insert(entry.log);
                self.report.stopped_logs.push((format!("(log {})", entry.log.0), 0));
            }
        }
        if frame.entries.iter().any(|(entry, _)| self.stopped.contains(&entry.log)) {
            let first = self.withheld.entry(place.file).or_insert(place.header.frame);
            *first = place.header.frame.min(*first);
        }
        Ok(())
    }

    /// Nothing of the log from here on.
    fn stop(&mut self, id: LogId) -> Result<()> {
        if let Some(log) = self.log(id)? {
            log.stop_at(log.high());
            self.stopped.insert(id);
            self.report.stopped_logs.push((log.name.to_string(), log.high()));
        }
        Ok(())
    }

    /// A frame that had been durable and has damaged payloads: the logs they are about stop, and so does every log of a
    /// transaction that touches one of those. Answers with all of them.
    fn withhold(&mut self, entries: &[(Entry, &[u8])], place: &FramePlace) -> Result<HashSet<LogId>> {
        let mut logs: HashSet<LogId> = HashSet::new();
        let mut groups: HashSet<u8> = HashSet::new();
        for (entry, payload) in entries {
            let good = match entry.kind {
                EntryKind::Batch => {
                    let salt = crate::format::checksum::Salt::batches(self.origin, entry.log);
                    batch::decode(payload, salt).is_ok_and(|(h, _)| h.checksum == entry.checksum)
                }
                _ => entry.verify(payload, self.origin, place.header.generation).is_ok(),
            };
            if !good {
                logs.insert(entry.log);
            }
        }
        loop {
            let before = (logs.len(), groups.len());
            groups.extend(entries.iter().filter(|(e, _)| e.group != 0 && logs.contains(&e.log)).map(|(e, _)| e.group));
            logs.extend(entries.iter().filter(|(e, _)| groups.contains(&e.group)).map(|(e, _)| e.log));
            if before == (logs.len(), groups.len()) {
                break;
            }
        }
        logs.iter().try_for_each(|id| self.stop(*id))?;
        Ok(logs)
    }

    fn entry(&mut self, entry: &Entry, payload: &[u8], frame: &Bytes, number: u64) -> Result<()> {
        let misplaced = || Error::damaged("journal", 0)(Damage::Misplaced);
        let row = || LogRow::decode_only(payload).map_err(Error::damaged("journal", 0));
        if entry.kind == EntryKind::Mark {
            return Ok(());
        }
        if entry.kind == EntryKind::CreateLog {
            let row = row()?;
            let is_new = self.log(row.id)?.is_none() && !self.unknown.contains(&row.id);
            if is_new && !self.gone.iter().any(|(gone, _)| *gone == row.id) {
                let buffered = options_of(&row).durability == Durability::Buffered;
                let log = LogState::from_row(&row, self.origin, buffered);
                log.created_in.store(number, Ordering::Release);
                if buffered {
                    self.touched.insert(row.id);
                }
                self.logs.insert(row.id, Arc::new(log));
            }
            return Ok(());
        }
        let Some(log) = self.log(entry.log)? else {
            // Deleted by a later frame that a checkpoint covers already, or unknown.
            return Ok(());
        };
        let ahead_is_fine = crate::seeded_bug!(JournalAheadAccepted);
        if log.stopped_at().is_some() && entry.kind != EntryKind::DeleteLog && !ahead_is_fine {
            return Ok(());
        }
        match entry.kind {
            EntryKind::Batch => {
                let header: &[u8; HEADER_BYTES] = payload.first_chunk().ok_or_else(misplaced)?;
                let header = BatchHeader::parse(header, log.salt).map_err(Error::damaged("journal", 0))?;
                let next = log.high();
                if header.end() <= next {
                    return Ok(());
                }
                if header.first != next && !ahead_is_fine {
                    log.stop_at(next);
                    self.stopped.insert(log.id);
                    self.report.stopped_logs.push((log.name.to_string(), next));
                    return Ok(());
                }
                self.pending_bytes += payload.len() as u64;
                self.report.records_recovered += u64::from(header.count);
                log.push_pending([PendingBatch { header, bytes: frame.slice_ref(payload) }]);
                log.set_high(header.end());
                let mut appender = log.appender.lock();
                appender.set_next(header.end());
                self.stamp_ms = self.stamp_ms.max(appender.note_arrival(header.last_arrival_ms));
            }
            EntryKind::DeleteLog => {
                log.deleted_in.store(number, Ordering::Release);
                log.appender.lock().end(Ended::Deleted);
                log.set_deleted();
                self.logs.remove(&log.id);
                self.touched.remove(&log.id);
                self.gone.push((log.id, Some(log)));
            }
            EntryKind::Trim => log.trim(entry.first),
            EntryKind::CloseLog => {
                log.appender.lock().end(Ended::Closed);
                log.set_closed();
            }
            EntryKind::Settle => {
                let row = row()?;
                // The manifest's row was taken when its flushes were done, and may have more than the frame it names: then it is the
                // newer one, and what it has of later frames is not taken from them again.
                if row.end > log.segments_end() || crate::seeded_bug!(OlderRowReplayed) {
                    let (freed, replaced) = log.replace_segments(&row);
                    self.pending_bytes -= freed;
                    self.retired.extend(replaced.into_iter().filter(|segment| !segment.is_piece()));
                }
            }
            EntryKind::Touch => {
                let row = row()?;
                self.touched.insert(log.id);
                log.appender.lock().touch(row.reserved);
            }
            EntryKind::SetOptions => {
                log.set_options(options_of(&row()?));
            }
            EntryKind::CreateLog | EntryKind::Mark => {}
        }
        Ok(())
    }
}

/// Everything that can be learned without writing.
struct Found<'a> {
    plan: Plan,
    replay: Replay<'a>,
    files: Vec<(u64, Bytes)>,
    leftovers: Vec<SegmentId>,
    settled: Vec<Arc<LogState>>,
}

/// Segments of the dead life that no manifest names, with what they say of themselves; and the paths of those that don't say it, for
/// the device can't read their headers. With `sync` a folder that has no segment
/// known to be durable, here or in the journal, gets its name anew: this life may put segments there.
fn unnamed_segments(
    disk: &dyn Disk,
    origin: StoreId,
    root: &Root,
    replay: &Replay<'_>,
    sync: bool,
) -> Result<(Vec<SegmentHeader>, Vec<String>)> {
    let from = root.segments_reserved.saturating_sub(RESERVE_IDS);
    let noted: HashSet<SegmentId> = root.unnamed.iter().copied().collect();
    let is_unnamed = |id: &SegmentId| id.0 >= from || noted.contains(id);
    let named = replay.segments_in_use(is_unnamed);
    let (mut found, mut hidden) = (Vec::new(), Vec::new());
    let list = |folder: &str| {
        let entries = if sync { names::list(disk, folder) } else { names::look(disk, folder) };
        entries.map_err(Error::io("list", folder))
    };
    for shard in list("segments")?.into_iter().filter(is_folder) {
        let folder = format!("segments/{}", shard.name);
        let ids: Vec<_> = list(&folder)?.iter().filter_map(|entry| segment_of(&shard.name, entry)).collect();
        if sync && ids.iter().all(|id| is_unnamed(id) && !named.contains(id)) {
            names::renew(disk, &folder).map_err(Error::io("make name anew", &folder))?;
        }
        for id in ids.into_iter().filter(is_unnamed) {
            let mut bytes = [0; SEGMENT_HEADER_BYTES];
            let path = segment_path(id);
            // A buffered log may go on in it: what can't be looked at now must not be given up for good.
            let file = names::open(disk, &path).map_err(Error::io("open segment", &path))?;
            match file.read_at(&mut bytes, 0) {
                Err(error) if is_unreadable(&error) => {
                    hidden.push(path);
                    continue;
                }
                read => read.map_err(Error::io("read segment", path))?,
            };
            let header = SegmentHeader::parse(&bytes).ok();
            let nobody = SegmentHeader::of_pack(origin, id);
            found.push(header.filter(|h| h.origin == origin && h.segment == id).unwrap_or(nobody));
        }
    }
    Ok((found, hidden))
}

/// Segments that a life which was closed could not take back, of those that its last manifest tells of.
fn left_by_the_closed(disk: &dyn Disk, origin: StoreId, root: &Root) -> Result<Vec<SegmentHeader>> {
    let mut found = Vec::new();
    for id in &root.unnamed {
        let path = segment_path(*id);
        match names::open(disk, &path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            opened => {
                opened.map_err(Error::io("open segment", path))?;
                found.push(SegmentHeader::of_pack(origin, *id));
            }
        }
    }
    Ok(found)
}

fn find<'a>(env: &Env, identity: &StoreFile, manifest: &'a Manifest, sync: bool) -> Result<Found<'a>> {
    let disk = &*env.disk;
    let origin = identity.origin;
    let root = &manifest.root;
    let Contents { files, places, incomplete, unreadable } =
        journal::read(disk, origin, root, identity.journal_file_bytes)?;
    let clean = files.is_empty() && root.clean;
    let mut plan = plan(&files, &places, origin, root)?;
    let damaged_in = match &plan.verdict {
        Verdict::Tail { .. } => hides_a_frame(&files, &places, &plan, root, &unreadable),
        // Zeros that stand for what can't be read say nothing of the device's word.
        Verdict::Damaged { path, at, .. } if !unreadable.is_empty() => files
            .iter()
            .map(|(number, _)| *number)
            .find(|number| journal_path(*number) == *path)
            .map(|number| (number, *at)),
        Verdict::Damaged { .. } => None,
    };
    if let Some((number, at)) = incomplete.or(damaged_in) {
        plan.verdict = Verdict::Damaged { frame: plan.end + 1, path: journal_path(number), at, never_written: false };
    }
    let mut replay = Replay {
        manifest,
        origin,
        pages: HashMap::new(),
        unknown: BTreeSet::new(),
        logs: HashMap::new(),
        gone: Vec::new(),
        touched: if clean { BTreeSet::new() } else { root.touched.iter().copied().collect() },
        next_log: root.next_log,
        stamp_ms: root.stamp_ms,
        pending_bytes: 0,
        retired: Vec::new(),
        counted: HashMap::new(),
        stopped: HashSet::new(),
        withheld: BTreeMap::new(),
        report: OpenReport { clean, ..OpenReport::default() },
    };
    for place in &plan.frames {
        replay.frame(place, &files[place.file].1)?;
    }
    // After a clean end nothing else was begun and not named; no row has these, and no log needs them.
    let (mut leftovers, hidden) = match clean {
        true => (left_by_the_closed(disk, origin, root)?, Vec::new()),
        false => unnamed_segments(disk, origin, root, &replay, sync)?,
    };
    // Which log such a segment is of can't be told. Of a durable one it has nothing that is not elsewhere.
    if let Some(path) = hidden.first().filter(|_| !replay.touched.is_empty()) {
        replay.report.hidden_tail = Some(path.clone());
    }
    let mut settled = Vec::new();
    for id in replay.touched.clone() {
        if let Some(log) = replay.log(id)? {
            let stopped_before = log.stopped_at();
            let replaced = settle_tail(disk, &log, &leftovers, sync)?;
            leftovers.extend(replaced);
            replay.report.tails_scanned += 1;
            if let Some(at) = log.stopped_at().filter(|at| Some(*at) != stopped_before) {
                // What lies behind the part that can't be read is left where it is: it may be had with other means.
                leftovers.retain(|h| h.log != id);
                replay.report.stopped_logs.push((log.name.to_string(), at));
            }
            settled.push(log);
        }
    }
    if manifest.is_before_the_newest() {
        replay.report.superseded = older::missing(disk, manifest, &replay.logs, &replay.gone)?;
    }
    // Their segments may have what is withheld.
    leftovers.retain(|h| !replay.stopped.contains(&h.log));
    let left: HashSet<SegmentId> = leftovers.iter().map(|h| h.segment).collect();
    let used = replay.segments_in_use(|id| left.contains(id));
    leftovers.retain(|h| !used.contains(&h.segment));
    match &plan.verdict {
        Verdict::Tail { cut_bytes } => replay.report.cut_bytes = *cut_bytes,
        Verdict::Damaged { frame, path, at, never_written } => {
            let lied = if *never_written { ": the device said that it had written it, and had not" } else { "" };
            replay.report.journal_damage = Some(format!("frame {frame} should be at byte {at} of {path}{lied}"));
            replay.report.device_lied = *never_written;
        }
    }
    let superfluous: HashSet<SegmentId> = leftovers.iter().map(|h| h.segment).collect();
    replay.retired.retain(|segment| !superfluous.contains(&segment.id));
    replay.report.leftover_segments = leftovers.len() as u64;
    let leftovers = leftovers.into_iter().map(|h| h.segment).collect();
    Ok(Found { plan, replay, files, leftovers, settled })
}

/// Finds the end of a buffered log after an unclean end: over the known segment's tail, then segment by segment for as long
/// as each goes on exactly where the one before ends, or took over what that has. Numbers go on above what was reserved.
/// Where a part of the tail can't be read, records that were acknowledged may follow: the log stops there.
/// Answers with the segments that others took over.
fn settle_tail(
    disk: &dyn Disk,
    log: &Arc<LogState>,
    unnamed: &[SegmentHeader],
    sync: bool,
) -> Result<Vec<SegmentHeader>> {
    let mut rows: Vec<SegmentRow> = {
        let view = log.view.read().unwrap_or_else(|p| p.into_inner());
        view.segments.iter().map(|s| s.row()).collect()
    };
    let mut replaced = Vec::new();
    let mut readable = true;
    if let Some(last) = rows.last_mut() {
        readable = scan_segment(disk, log, last, None, sync)?;
    }
    let mut tried: HashSet<SegmentId> = rows.iter().map(|r| r.id).collect();
    loop {
        // Exactly behind the last, or, if that ends in a gap, behind the gap; or from where the last begins.
        let last = rows.last().copied();
        let bases = [last.map_or(0, |last| last.end), log.row().end, last.map_or(0, |last| last.base)];
        let fits = |h: &&SegmentHeader| h.log == log.id && bases.contains(&h.base) && !tried.contains(&h.segment);
        let Some(next) = unnamed.iter().filter(|_| readable).filter(fits).max_by_key(|h| h.segment) else { break };
        tried.insert(next.segment);
        let mut row = SegmentRow {
            id: next.segment,
            start: 0,
            base: next.base,
            end: next.base,
            bytes: SEGMENT_HEADER_BYTES as u64,
            first_arrival_ms: 0,
            last_arrival_ms: 0,
        };
        readable = scan_segment(disk, log, &mut row, Some(next), sync)?;
        match last {
            _ if row.end == row.base => {}
            Some(last) if row.base < last.end => {
                if row.base == last.base && row.end >= last.end {
                    rows.pop();
                    rows.push(row);
                    replaced.push(SegmentHeader { segment: last.id, ..*next });
                }
            }
            _ => rows.push(row),
        }
    }
    let mut row = log.row();
    row.end = rows.last().map_or(row.end, |last| last.end.max(row.end));
    if readable {
        row.end = row.end.max(row.reserved);
    } else {
        log.stop_at(row.end);
    }
    row.last_arrival_ms = rows.last().map_or(0, |last| last.last_arrival_ms).max(row.last_arrival_ms);
    row.segments = rows;
    log.replace_segments(&row);
    Ok(replaced)
}

/// Moves a segment's end over its tail; an `unnamed` one's name is in no manifest. False if a part of it can't be read.
///
/// With `sync` what was found is about to be served, and only the page cache may have it: it is written again, same bytes
/// to the same places, and synced, for after a failed sync the cache calls clean what the disk has not. So may be the name.
fn scan_segment(
    disk: &dyn Disk,
    log: &LogState,
    row: &mut SegmentRow,
    unnamed: Option<&SegmentHeader>,
    sync: bool,
) -> Result<bool> {
    let path = segment_path(row.id);
    if unnamed.is_some() && sync {
        names::renew(disk, &path).map_err(Error::io("make name anew", &path))?;
    }
    let opened = if sync { disk.open(&path, Access::Write) } else { names::open(disk, &path) };
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(Error::io("open segment", path)(error)),
    };
    let write_again = |bytes: &[u8], at: u64| file.write_at(bytes, at).map_err(Error::io("write segment again", &path));
    if let Some(header) = unnamed.filter(|_| sync) {
        write_again(&header.encode(), 0)?;
    }
    let mut batch = Vec::new();
    let mut failed_at = None;
    let readable = loop {
        let position = row.bytes;
        match next_batch(&*file, log.salt, row, &mut batch) {
            Ok(true) if sync => write_again(&batch, position)?,
            Ok(true) => {}
            Ok(false) => break true,
            Err(error) if !is_unreadable(&error) => return Err(Error::io("read segment", &path)(error)),
            // A device may think better of it, and a log that stopped stays so.
            Err(_) if failed_at != Some(position) => failed_at = Some(position),
            Err(_) => break false,
        }
    };
    if sync {
        file.sync_data().map_err(Error::io("sync segment", &path))?;
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        if unnamed.is_some() {
            ["segments", folder].iter().try_for_each(|f| disk.sync_dir(f)).map_err(Error::io("sync folder", folder))?;
        }
    }
    Ok(readable)
}

/// Opens for writing.
pub(crate) fn open(env: Env, options: StoreOptions, threaded: bool) -> Result<Opened> {
    let disk = env.disk.clone();
    look_around(&*disk)?;
    let lock = take_lock(&*disk, LockMode::Exclusive)?;
    let exists = look_around(&*disk)?;
    let identity = if exists { read_identity(&*disk)? } else { create(&env, &options)? };
    let origin = identity.origin;
    let (mut manifest, damage) = Manifest::load(disk.clone(), origin)?;
    manifest.sync_loaded()?;
    let found = find(&env, &identity, &manifest, true)?;
    let Found { plan, replay, files, leftovers, settled } = found;
    if crate::seeded_bug!(UnknownLogDeleted) {
        leftovers.iter().for_each(|id| drop(disk.remove(&segment_path(*id))));
    }
    let mut report = replay.report.clone();
    report.created = !exists;
    report.manifest_damage = damage.as_ref().map(ToString::to_string);
    report.network_file_system = disk.network_file_system().map(str::to_owned);
    let logs = replay.logs_in_order();
    let stored_bytes = replay.stored_bytes(manifest.root.stored_bytes);
    let stored_with_settled = replay.stored_with(manifest.root.stored_bytes, settled.iter());
    let Replay { gone, retired, next_log, stamp_ms, pending_bytes, withheld: damaged_files, .. } = replay;
    let (end, chain) = match plan.frames.last() {
        Some(last) => (plan.end, last.header.checksum),
        None => (plan.end, manifest.root.chain),
    };
    let old_root = manifest.root.clone();
    let first_segment = old_root.segments_reserved;
    let mut queue = disk.write_queue(&*lock, QUEUE_DEPTH).map_err(Error::io("start write queue", disk.root()))?;
    let parts = |manifest: Manifest, ring: Ring, health: Health, env: Env| CoreParts {
        env,
        identity,
        options: options.clone(),
        ring,
        manifest,
        frame: end,
        chain,
        stamp_ms,
        next_log,
        logs: logs.clone(),
        gone: gone.clone(),
        touched: BTreeSet::new(),
        leftovers: leftovers.clone(),
        retired: retired.clone(),
        stored_bytes,
        pending_bytes,
        first_segment,
        health,
        threaded,
    };
    if let (Some(_), Some(damage)) = (&report.journal_damage, damage) {
        // The older manifest's journal is gone with the newer manifest: what was between them can't be told.
        return Err(damage);
    }
    let (read_only, full) = match report.read_only_because() {
        None => (keep_damaged(&*disk, &files, &damaged_files)?, true),
        why => (why, false),
    };
    if let Some(why) = read_only {
        let ring = Ring::inert(disk.clone(), identity.journal_file_bytes);
        let parts = parts(manifest, ring, Health::ReadOnly { why, full }, env);
        return Ok(Opened { parts, queue, generation: 0, end, lock, report });
    }
    let unproven: Vec<&FramePlace> = plan.frames.iter().filter(|f| f.header.frame > plan.proven).collect();
    if !crate::seeded_bug!(RecoveredTailNotSynced) {
        report.frames_rewritten = unproven.len() as u64;
        rewrite(&*disk, &mut *queue, &files, &unproven)?;
    }
    let generation = old_root.generations.last().map_or(0, |g| g.0) + 1;
    let mut root = old_root.clone();
    root.generations.push((generation, end + 1));
    while root.generations.len() > 1 && root.generations[1].1 <= root.frame + 1 {
        root.generations.remove(0);
    }
    root.clean = false;
    root.next_log = next_log;
    root.segments_reserved = first_segment + RESERVE_IDS;
    root.stamp_ms = stamp_ms;
    root.touched = Vec::new();
    let in_use = |number: u64| {
        let frames = plan.frames.iter().filter(|f| files[f.file].0 == number);
        frames.map(|f| f.header.frame).max()
    };
    let file_bytes = identity.journal_file_bytes;
    let start = || {
        let found = Ring::find(&*disk, Access::Direct)?;
        let whole = |f: &crate::journal::Found| f.file.len().is_ok_and(|len| len == file_bytes);
        let pristine = found.last().filter(|f| is_pristine(&*f.file) && whole(f)).map(|f| f.number);
        // What a manifest names is durable, and must not be missing for a moment.
        if let Some(number) = pristine.filter(|number| !old_root.journal_files.contains(number)) {
            let path = journal_path(number);
            names::renew(&*disk, &path).map_err(Error::io("make name anew", path))?;
        }
        let pristine = pristine.is_some();
        Ring::start(disk.clone(), file_bytes, options.journal_files_max as usize, found, in_use, pristine)
    };
    // What their tails were found to be is in no journal, so it goes into the manifest, also for a log that only a frame after
    // the manifest's created: replaying that frame again finds the log there.
    let changes: Changes = settled.iter().map(|log| log.row()).collect();
    root.unnamed = leftovers.clone();
    root.stored_bytes = stored_with_settled;
    let started = with_reserve(&*disk, start).and_then(|ring| {
        root.journal_files = ring.files_after(root.frame);
        with_reserve(&*disk, || manifest.write(root.clone(), &changes, &Pace::none()))?;
        Ok(ring)
    });
    let (ring, health) = match started {
        Ok(ring) => (ring, Health::Ok),
        Err(Error::Io(fault)) if fault.is_no_space() => {
            let why = format!("there is no room on the disk to go on ({fault}); make some and reopen it");
            (Ring::inert(disk.clone(), file_bytes), Health::ReadOnly { why, full: true })
        }
        Err(error) => return Err(error),
    };
    let parts = parts(manifest, ring, health, env);
    Ok(Opened { parts, queue, generation, end, lock, report })
}

/// Keeps the files of the journal that hold what is withheld. Where there is no room for them, why nothing may be written: the next
/// checkpoint would free them.
fn keep_damaged(
    disk: &dyn Disk,
    files: &[(u64, Bytes)],
    damaged: &BTreeMap<usize, FrameNumber>,
) -> Result<Option<String>> {
    let kept = damaged.iter().try_for_each(|(file, first_frame)| {
        let (number, bytes) = &files[*file];
        withheld::keep(disk, *number, *first_frame, bytes)
    });
    match kept {
        Err(Error::Io(fault)) if fault.is_no_space() => Ok(Some(format!(
            "there is no room to keep a damaged file of the journal ({fault}); make some and reopen it"
        ))),
        kept => kept.map(|()| None),
    }
}

/// Does something that takes room; where there is none, gives up the room kept for that and does it again.
fn with_reserve<T>(disk: &dyn Disk, mut take_room: impl FnMut() -> Result<T>) -> Result<T> {
    match take_room() {
        Err(Error::Io(fault)) if fault.is_no_space() && disk.remove(RESERVE_PATH).is_ok() => take_room(),
        outcome => outcome,
    }
}

/// Writes frames again, same bytes to the same places, and syncs them.
fn rewrite(disk: &dyn Disk, queue: &mut dyn WriteQueue, files: &[(u64, Bytes)], frames: &[&FramePlace]) -> Result<()> {
    let mut done = Vec::new();
    for place in frames {
        let (number, bytes) = &files[place.file];
        let path = journal_path(*number);
        let file = disk.open(&path, Access::Direct).map_err(Error::io("open", &path))?;
        let length = place.header.length as usize;
        let mut data = AlignedBuf::with_capacity(length);
        data.extend_from_slice(&bytes[place.offset..place.offset + length]);
        queue.submit(place.header.frame, DiskOp::Write { file, offset: place.offset as u64, data, durable: true });
        while queue.in_flight() > 0 {
            queue.reap(Wait::Completion, &mut done);
        }
        for completion in done.drain(..) {
            completion.result.map_err(Error::io("write journal frame again", &path))?;
        }
    }
    Ok(())
}

/// Opens for reading only.
pub(crate) fn open_read_only(env: Env, options: StoreOptions) -> Result<OpenedReadOnly> {
    let disk = env.disk.clone();
    if !look_around(&*disk)? {
        let entries = disk.list("").map_err(Error::io("list", disk.root()))?;
        return Err(match entries.iter().any(|entry| FOLDERS.contains(&&*entry.name)) {
            true => Error::damaged(STORE_PATH, 0)(Damage::Missing),
            false => Error::NotAStore { root: disk.root(), found: String::new() },
        });
    }
    let lock = take_lock(&*disk, LockMode::Shared)?;
    let identity = read_identity(&*disk)?;
    let (manifest, damage) = Manifest::load(disk.clone(), identity.origin)?;
    let found = find(&env, &identity, &manifest, false)?;
    let Found { plan, replay, .. } = found;
    if let (Some(_), Some(damage)) = (&replay.report.journal_damage, &damage) {
        return Err(damage.clone());
    }
    let mut report = replay.report.clone();
    report.manifest_damage = damage.as_ref().map(ToString::to_string);
    report.network_file_system = disk.network_file_system().map(str::to_owned);
    let logs = replay.logs_in_order();
    let stored_bytes = replay.stored_bytes(manifest.root.stored_bytes);
    let Replay { gone, next_log, stamp_ms, pending_bytes, .. } = replay;
    let first_segment = manifest.root.segments_reserved;
    let parts = CoreParts {
        identity,
        options,
        ring: Ring::inert(disk, identity.journal_file_bytes),
        manifest,
        frame: plan.end,
        chain: 0,
        stamp_ms,
        next_log,
        logs,
        gone,
        touched: BTreeSet::new(),
        leftovers: Vec::new(),
        retired: Vec::new(),
        stored_bytes,
        pending_bytes,
        first_segment,
        health: Health::ReadOnly { why: "it was opened for inspection".to_owned(), full: false },
        threaded: false,
        env,
    };
    Ok(OpenedReadOnly { parts, lock, report })
}
