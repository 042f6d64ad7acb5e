//! Opening: from whatever the last owner left to a store that serves.
//!
//! 1. Take the lock.
//! 2. Read the newest manifest's root, and make its name durable.
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
mod replay;
mod tails;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;

use crate::core::{CoreParts, RESERVE_PATH};
use crate::env::{
    Access, AlignedBuf, Disk, DiskFile, DiskKind, DiskLock, DiskOp, Env, LockMode, Pace, Wait, WriteQueue, names,
};
use crate::error::{Error, Result};
use crate::format::Damage;
use crate::format::manifest::Root;
use crate::format::store::{BYTES as STORE_BYTES, StoreFile};
use crate::id::{FrameNumber, SegmentId, StoreId};
use crate::journal::{self, Contents, FramePlace, Plan, Ring, Verdict, hides_a_frame, is_pristine, journal_path, plan};
use crate::log::LogState;
use crate::manifest::{Changes, Manifest, look_twice};
use crate::metrics::Health;
use crate::options::StoreOptions;
use crate::segment::{RESERVE_IDS, segment_path};
use crate::sync::Arc;
use crate::withheld;

use replay::Replay;
pub(crate) use tails::{Followed, follow};
use tails::{left_by_the_closed, settle_tail, unnamed_segments};

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
    /// Logs of which a part was damaged or had to be withheld, with the first number lost. One whose name was in what is lost goes by
    /// its id: `(log 4097)`.
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

fn read_identity(disk: &dyn Disk) -> Result<StoreFile> {
    identity_in(&*disk.open(STORE_PATH, Access::Read).map_err(Error::io("open", STORE_PATH))?)
}

fn identity_in(file: &dyn DiskFile) -> Result<StoreFile> {
    // One byte more than it has: so it is not taken for whole where there is more.
    let mut bytes = [0; STORE_BYTES + 1];
    let n = file.read_at(&mut bytes, 0).map_err(|_| Error::damaged(STORE_PATH, 0)(Damage::Unreadable))?;
    StoreFile::decode(&bytes[..n]).map_err(Error::damaged(STORE_PATH, 0))
}

/// Verifies `STORE`, without which nothing is opened, as the device has it: its bytes.
///
/// # Errors
/// It is damaged, each time it is asked for; or could not be looked at.
pub(crate) fn scrub_identity(disk: &dyn Disk, identity: &StoreFile) -> Result<u64> {
    look_twice(disk, STORE_PATH, |file| match identity_in(file)? {
        found if found == *identity => Ok(STORE_BYTES as u64),
        _ => Err(Error::damaged(STORE_PATH, 0)(Damage::Misplaced)),
    })
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

/// Everything that can be learned without writing.
struct Found<'a> {
    plan: Plan,
    replay: Replay<'a>,
    files: Vec<(u64, Bytes)>,
    leftovers: Vec<SegmentId>,
    settled: Vec<Arc<LogState>>,
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

/// Opens for writing.
pub(crate) fn open(env: Env, options: StoreOptions, threaded: bool) -> Result<Opened> {
    let disk = env.disk.clone();
    look_around(&*disk)?;
    let lock = take_lock(&*disk, LockMode::Exclusive)?;
    let exists = look_around(&*disk)?;
    let identity = if exists { read_identity(&*disk)? } else { create(&env, &options)? };
    let origin = identity.origin;
    Manifest::restore_names(&*disk)?;
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
