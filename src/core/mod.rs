//! What every part of an open store shares: the seam, the catalog, the journal's ring, the lanes, budget, health and counters.

mod budget;
mod catalog;
mod clocks;
mod pool;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::driver::{Buffered, Lane, Request, Signal};
use crate::env::{Access, Env};
use crate::error::{Error, Fault, Result, is_no_space};
use crate::format::store::StoreFile;
use crate::id::{FrameNumber, LogId, SegmentId};
use crate::journal::Ring;
use crate::limits::APPEND_BYTES_MAX;
use crate::log::LogState;
use crate::manifest::{Changes, Manifest};
use crate::metrics::{Counters, Health, HealthCell, LatencyBuckets};
use crate::options::StoreOptions;
use crate::scrub::ScrubFindings;
use crate::segment::{Segment, SegmentFiles};
use crate::sync::{Arc, AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, Ordering, RwLock, give_way};
use crate::ticket::{Pending, Slot, Turn};

use budget::Budget;
use catalog::Catalog;
use clocks::{Clocks, Instants};
pub(crate) use pool::BufferPool;

/// A store that closes gives up what takes longer: less than a dropped handle waits for.
const CLOSING_PATIENCE_MS: u64 = 2_000;
/// Longer than anybody waits, and short enough to be added to any time.
const PATIENCE_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// How many logs are taken from a list at a time.
const LOOK_AT: usize = 256;
/// Room kept for the last manifest on a full disk.
pub(crate) const RESERVE_PATH: &str = "RESERVE";
const RESERVE_BYTES: u64 = 1 << 20;
/// Numbers reserved for a buffered log at a time.
const RESERVED_NUMBERS: u64 = 1 << 24;
/// Most segments that the frame which reserves them names: few enough for any row to fit where room for one was looked for.
const TOUCH_SEGMENTS_MAX: usize = 32;

fn instants(env: &Env) -> Instants {
    Instants { wall: env.clock.wall_ms(), monotonic: env.clock.monotonic_ms() }
}

/// What every part of an open store shares.
pub(crate) struct Core {
    pub(crate) env: Env,
    pub(crate) identity: StoreFile,
    pub(crate) options: StoreOptions,
    pub(crate) files: SegmentFiles,
    pub(crate) ring: Ring,
    pub(crate) manifest: Mutex<Manifest>,
    pub(crate) commit_lane: Lane,
    pub(crate) buffered_lane: Lane,
    pub(crate) buffered: Mutex<Buffered>,
    pub(crate) upkeep: Signal,
    pub(crate) checkpoint_asked: AtomicBool,
    pub(crate) retention_asked: AtomicBool,
    /// Some log was asked for a trim since the upkeep last looked for such.
    trims_asked: AtomicBool,
    /// Logs were deleted since the last checkpoint that went through.
    pub(crate) deletions: AtomicBool,
    /// The room kept for a full disk is in use: nothing else may take it.
    pub(crate) reserve_out: AtomicBool,
    pub(crate) budget: Budget,
    pub(crate) buffers: BufferPool,
    pub(crate) health: HealthCell,
    pub(crate) counters: Counters,
    pub(crate) scrub_findings: ScrubFindings,
    pub(crate) latency: LatencyBuckets,
    /// Held while the marks of one frame move.
    pub(crate) publishing: Mutex<()>,
    pub(crate) next_log: AtomicU64,
    /// Whether machines run on threads of their own, so that a caller may wait for them.
    pub(crate) threaded: bool,
    catalog: RwLock<Catalog>,
    durable: Mutex<(FrameNumber, u32)>,
    durable_frame: AtomicU64,
    stamp: AtomicU64,
    listed: Mutex<Vec<Arc<LogState>>>,
    retired: Mutex<Vec<Arc<Segment>>>,
    touched: Mutex<BTreeSet<LogId>>,
    /// Segments that a crash left without a manifest that names them, until a checkpoint of this life made them redundant.
    leftovers: Mutex<Vec<SegmentId>>,
    /// Held by upkeep while it takes a step.
    upkeep_steps: Mutex<()>,
    /// Wall and monotonic time when they were last seen to agree.
    clocks: Mutex<Clocks>,
    pub(crate) buffered_started: AtomicBool,
    /// For a look without the lock: set after `closing`.
    closed: AtomicBool,
    closing: Mutex<Option<Closing>>,
    pub(crate) checkpoints: (Mutex<Checkpoints>, Condvar),
}

/// How checkpoints ended, for those who wait for one.
#[derive(Default)]
pub(crate) struct Checkpoints {
    pub(crate) made: u64,
    pub(crate) failed: u64,
    pub(crate) last_error: Option<Error>,
}

/// How the store was closed, by whoever did it first.
#[derive(Clone, Copy)]
struct Closing {
    /// When, on the monotonic clock.
    at_ms: u64,
    /// Whether everything that can be done is waited for.
    patiently: bool,
}

/// See [`Core::keep_files`].
pub(crate) struct KeepFiles<'a>(&'a Core);

impl Drop for KeepFiles<'_> {
    fn drop(&mut self) {
        self.0.files.let_go();
        self.0.upkeep.ring();
    }
}

/// What recovery hands over.
pub(crate) struct CoreParts {
    pub(crate) env: Env,
    pub(crate) identity: StoreFile,
    pub(crate) options: StoreOptions,
    pub(crate) ring: Ring,
    pub(crate) manifest: Manifest,
    pub(crate) frame: FrameNumber,
    pub(crate) chain: u32,
    pub(crate) stamp_ms: u64,
    pub(crate) next_log: u64,
    pub(crate) logs: Vec<Arc<LogState>>,
    pub(crate) gone: Vec<(LogId, Option<Arc<LogState>>)>,
    pub(crate) touched: BTreeSet<LogId>,
    pub(crate) leftovers: Vec<SegmentId>,
    pub(crate) retired: Vec<Arc<Segment>>,
    pub(crate) stored_bytes: u64,
    pub(crate) pending_bytes: u64,
    pub(crate) first_segment: u64,
    pub(crate) health: Health,
    pub(crate) threaded: bool,
}

impl Core {
    pub(crate) fn new(parts: CoreParts) -> Core {
        let files = SegmentFiles::new(
            parts.env.disk.clone(),
            parts.identity.origin,
            parts.options.read_mode,
            parts.options.open_files_max,
            parts.first_segment,
            parts.stored_bytes,
        );
        files.reserved(parts.manifest.root.segments_reserved);
        let mut catalog = Catalog::default();
        for log in &parts.logs {
            catalog.by_name.insert(log.name.clone(), log.clone());
            catalog.by_id.insert(log.id, log.clone());
        }
        catalog.gone.extend(parts.gone.iter().map(|(id, _)| *id));
        let journal_bytes = parts.identity.journal_file_bytes * u64::from(parts.options.journal_files_max);
        let budget = Budget::new(parts.options.memory_bytes.min(journal_bytes / 2));
        budget.used.store(parts.pending_bytes, Ordering::Release);
        budget.framed.store(parts.pending_bytes, Ordering::Release);
        let clocks = Mutex::new(Clocks::opened(instants(&parts.env), parts.stamp_ms));
        let health = HealthCell::default();
        health.set(parts.health);
        let core = Core {
            env: parts.env,
            identity: parts.identity,
            options: parts.options,
            files,
            ring: parts.ring,
            manifest: Mutex::new(parts.manifest),
            commit_lane: Lane::default(),
            buffered_lane: Lane::default(),
            buffered: Mutex::default(),
            upkeep: Signal::default(),
            checkpoint_asked: AtomicBool::new(false),
            retention_asked: AtomicBool::new(false),
            trims_asked: AtomicBool::new(false),
            deletions: AtomicBool::new(false),
            reserve_out: AtomicBool::new(false),
            budget,
            buffers: BufferPool::default(),
            health,
            counters: Counters::default(),
            scrub_findings: ScrubFindings::default(),
            latency: LatencyBuckets::default(),
            publishing: Mutex::default(),
            next_log: AtomicU64::new(parts.next_log),
            threaded: parts.threaded,
            catalog: RwLock::new(catalog),
            durable: Mutex::new((parts.frame, parts.chain)),
            durable_frame: AtomicU64::new(parts.frame),
            stamp: AtomicU64::new(parts.stamp_ms),
            listed: Mutex::default(),
            retired: Mutex::new(parts.retired),
            touched: Mutex::new(parts.touched),
            leftovers: Mutex::new(parts.leftovers),
            upkeep_steps: Mutex::default(),
            clocks,
            buffered_started: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            closing: Mutex::default(),
            checkpoints: Default::default(),
        };
        for log in parts.logs.iter().chain(parts.gone.iter().filter_map(|(_, log)| log.as_ref())) {
            core.list_for_checkpoint(log);
        }
        core
    }

    /// The store closes; whether it did already. Only the first call counts: what was given up since, for it was closed long ago, must
    /// not be taken up again half way.
    pub(crate) fn close(&self, patiently: bool) -> bool {
        let at_ms = self.env.clock.monotonic_ms();
        let mut closing = self.closing.lock();
        if closing.is_some() {
            return true;
        }
        *closing = Some(Closing { at_ms, patiently });
        self.closed.store(true, Ordering::Release);
        false
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether it closed so long ago that what is not done by now must not be waited for.
    pub(crate) fn closed_long_ago(&self) -> bool {
        if !self.is_closed() {
            return false;
        }
        let closing = *self.closing.lock();
        let now_ms = self.env.clock.monotonic_ms();
        closing.is_some_and(|closing| {
            let patient = closing.patiently && self.health.is_ok();
            !patient && now_ms.saturating_sub(closing.at_ms) > CLOSING_PATIENCE_MS
        })
    }

    /// Highest durable frame with its checksum.
    pub(crate) fn durable(&self) -> (FrameNumber, u32) {
        *self.durable.lock()
    }

    pub(crate) fn durable_frame(&self) -> FrameNumber {
        self.durable_frame.load(Ordering::Acquire)
    }

    pub(crate) fn set_durable(&self, frame: FrameNumber, checksum: u32) {
        *self.durable.lock() = (frame, checksum);
        self.durable_frame.store(frame, Ordering::Release);
        self.counters.durable_frame.store(frame, std::sync::atomic::Ordering::Relaxed);
    }

    /// A time stamp: the later of the wall clock and the last stamp.
    #[inline]
    pub(crate) fn stamp(&self) -> u64 {
        let now = self.env.clock.wall_ms();
        let last = self.stamp.load(Ordering::Relaxed);
        if now > last { self.stamp.fetch_max(now, Ordering::Relaxed).max(now) } else { last }
    }

    pub(crate) fn last_stamp(&self) -> u64 {
        self.stamp.load(Ordering::Relaxed)
    }

    /// Whether the wall clock can be believed: retention asks at each pass.
    pub(crate) fn clock_agrees(&self) -> bool {
        let now = instants(&self.env);
        self.clocks.lock().compare(now)
    }

    /// The wall clock is right, whatever was seen of it.
    pub(crate) fn believe_clock(&self) {
        *self.clocks.lock() = Clocks::new(instants(&self.env));
    }

    /// Wall time if it is plausible, otherwise what the monotonic clock makes of the last plausible one.
    pub(crate) fn trusted_now_ms(&self) -> u64 {
        let now = instants(&self.env);
        if crate::seeded_bug!(RetentionTrustsWallClock) {
            return now.wall;
        }
        self.clocks.lock().now_ms(now)
    }

    /// Why writes are refused, if the store takes none any more.
    pub(crate) fn write_refusal(&self) -> Option<Error> {
        let over = matches!(self.health.get(), Health::ReadOnly { .. } | Health::Stopped { .. }) || self.is_closed();
        over.then(|| self.refusal())
    }

    /// Why writes are refused.
    pub(crate) fn refusal(&self) -> Error {
        match self.health.get() {
            _ if self.is_closed() => Error::Closed,
            Health::Full { why } => Error::Full { why },
            Health::ReadOnly { why, full } => Error::ReadOnly { why, full },
            Health::Stopped { cause } => Error::Stopped { cause },
            Health::Ok => Error::Busy { what: self.env.disk.root(), retry_after: Duration::from_millis(10) },
        }
    }

    /// A fault that no write may follow.
    pub(crate) fn stop(&self, fault: Fault) {
        self.health.set(Health::Stopped { cause: fault.clone() });
        self.commit_lane.refuse(Error::OutcomeUnknown { cause: fault.clone() });
        self.buffered_lane.refuse(Error::OutcomeUnknown { cause: fault });
        self.upkeep.ring();
        self.wake_everyone();
    }

    /// Until it is dropped, files that no manifest names any more are kept.
    pub(crate) fn keep_files(&self) -> KeepFiles<'_> {
        self.files.keep();
        KeepFiles(self)
    }

    /// While it is held, there is no checkpoint, nothing is flushed, and no file of the journal is freed: what is appended waits where
    /// there is no room for more.
    pub(crate) fn hold_upkeep(&self) -> MutexGuard<'_, ()> {
        self.upkeep_steps.lock()
    }

    pub(crate) fn wake_everyone(&self) {
        self.loaded_logs().iter().for_each(|log| log.watch.wake());
        let (checkpoints, changed) = &self.checkpoints;
        drop(checkpoints.lock());
        changed.notify_all();
    }

    // The list of logs that the next checkpoint looks at.

    pub(crate) fn list_for_checkpoint(&self, log: &Arc<LogState>) {
        if log.listed.compare_exchange(true, true, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return;
        }
        // Who finds it listed leaves it at that, so whoever takes the list must find it there: both change under the lock.
        let mut listed = self.listed.lock();
        if !log.listed.swap(true, Ordering::AcqRel) {
            listed.push(log.clone());
        }
    }

    /// How many logs are listed.
    pub(crate) fn listed_count(&self) -> usize {
        self.listed.lock().len()
    }

    /// Some of the listed logs, from a place in the list on: all of them at once would keep the list from the commit thread.
    pub(crate) fn listed_from(&self, place: usize) -> Vec<Arc<LogState>> {
        self.listed.lock().iter().skip(place).take(LOOK_AT).cloned().collect()
    }

    pub(crate) fn take_listed(&self) -> Vec<Arc<LogState>> {
        let logs = std::mem::take(&mut *self.listed.lock());
        for (step, log) in logs.iter().enumerate() {
            give_way(step);
            // Who finds it listed leaves it at that: what he changed before is seen by whoever looks at the log from here on.
            log.listed.swap(false, Ordering::AcqRel);
        }
        logs
    }

    /// Segments that their log left: the next manifest has a row of the log without them, and then they are removed.
    pub(crate) fn retire(&self, log: &Arc<LogState>, segments: Vec<Arc<Segment>>) {
        if segments.is_empty() {
            return;
        }
        log.left.store(true, Ordering::Release);
        self.list_for_checkpoint(log);
        // The file of a piece goes when no row names any piece in it. Nobody needs this one: its records are elsewhere, or trimmed.
        let (pieces, segments): (Vec<_>, Vec<_>) = segments.into_iter().partition(|segment| segment.is_piece());
        pieces.iter().for_each(|piece| piece.bury());
        self.retired.lock().extend(segments);
    }

    /// Whether a checkpoint would give room back.
    pub(crate) fn gives_room(&self) -> bool {
        self.deletions.load(Ordering::Acquire) || !self.retired.lock().is_empty()
    }

    pub(crate) fn put_back_retired(&self, segments: Vec<Arc<Segment>>) {
        self.retired.lock().extend(segments);
    }

    pub(crate) fn take_retired(&self) -> Vec<Arc<Segment>> {
        std::mem::take(&mut *self.retired.lock())
    }

    /// As [`Core::take_retired`], only those of which this says that they may go.
    pub(crate) fn take_retired_by(&self, is_retired_by: impl Fn(&Segment) -> bool) -> Vec<Arc<Segment>> {
        let mut retired = self.retired.lock();
        let (taken, left) = std::mem::take(&mut *retired).into_iter().partition(|segment| is_retired_by(segment));
        *retired = left;
        taken
    }

    /// A buffered log's note is about to count as durable. A checkpoint that came before it may have taken the log off the list.
    pub(crate) fn note_touched(&self, log: &LogState) {
        self.touched.lock().insert(log.id);
    }

    /// Buffered logs whose tail must be looked at after a crash. Those leave that were idle since the last checkpoint and of
    /// which a row, of `changes` or an earlier one, has everything.
    pub(crate) fn settle_touched(&self, changes: &Changes) -> Vec<LogId> {
        let mut touched = self.touched.lock();
        let catalog = self.catalog.read().unwrap_or_else(|p| p.into_inner());
        touched.retain(|id| {
            let Some(log) = catalog.by_id.get(id) else { return false };
            if let Some(row) = changes.row(*id) {
                log.settled.store(row.end, Ordering::Release);
            }
            log.appender.lock().settle(log.settled.load(Ordering::Acquire))
        });
        touched.iter().copied().collect()
    }

    pub(crate) fn leftovers(&self) -> Vec<SegmentId> {
        self.leftovers.lock().clone()
    }

    pub(crate) fn take_leftovers(&self) -> Vec<SegmentId> {
        std::mem::take(&mut *self.leftovers.lock())
    }

    pub(crate) fn ask_checkpoint(&self) {
        self.checkpoint_asked.store(true, Ordering::Release);
        self.upkeep.ring();
    }

    pub(crate) fn checkpoint_ended(&self, outcome: &Result<()>) {
        let (checkpoints, changed) = &self.checkpoints;
        let mut checkpoints = checkpoints.lock();
        match outcome {
            Ok(()) => checkpoints.made += 1,
            Err(error) => {
                checkpoints.failed += 1;
                checkpoints.last_error = Some(error.clone());
            }
        }
        drop(checkpoints);
        changed.notify_all();
    }

    /// How much is kept for a full disk: room for a journal file to go on in when it is opened, and a manifest; or for what is in
    /// memory, if that is little and there is no other way on.
    pub(crate) fn reserve_bytes(&self) -> u64 {
        (self.identity.journal_file_bytes + RESERVE_BYTES).min(self.options.reserve_bytes)
    }

    /// Keeps that room.
    pub(crate) fn make_reserve(&self) -> Result<()> {
        let bytes = self.reserve_bytes();
        if bytes == 0 {
            return Ok(());
        }
        let disk = &self.env.disk;
        let make = || -> std::io::Result<()> {
            let file = match disk.open(RESERVE_PATH, Access::CreateNew) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    disk.open(RESERVE_PATH, Access::Write)?
                }
                other => other?,
            };
            if file.len()? < bytes {
                file.allocate(bytes)?;
                // Its length says that it was made, also where nothing can be allocated ahead.
                file.write_at(&[0], bytes - 1)?;
            }
            Ok(())
        };
        let made = make().inspect_err(|error| {
            // A part of it is of no use, and may be the last room there is.
            if is_no_space(error.kind()) {
                let _ = disk.remove(RESERVE_PATH);
            }
        });
        made.map_err(Error::io("reserve room", RESERVE_PATH))
    }

    /// Notes that a request to trim a log, or to delete it, is on its way.
    pub(crate) fn ask_trim(&self, log: &LogState, upto: u64) {
        log.ask_trim(upto);
        self.trims_asked.store(true, Ordering::Release);
        if self.ring.is_short() {
            self.upkeep.ring();
        }
    }

    /// Trims logs as far as was asked, ahead of the frames that will say so; whether there were any. For a store whose journal waits
    /// for the room that a trim would make.
    pub(crate) fn trim_ahead(&self) -> bool {
        if !self.trims_asked.swap(false, Ordering::AcqRel) {
            return false;
        }
        let (mut any, mut more) = (false, false);
        for log in self.loaded_logs() {
            let (trimmed, rest) = log.trim_ahead();
            if trimmed {
                self.list_for_checkpoint(&log);
            }
            (any, more) = (any | trimmed, more | rest);
        }
        if more {
            self.trims_asked.store(true, Ordering::Release);
        }
        any
    }

    pub(crate) fn request<T>(&self, request: impl FnOnce(Arc<Slot<T>>) -> Request) -> Result<Pending<T>> {
        if let Some(refusal) = self.write_refusal() {
            return Err(refusal);
        }
        let slot = Slot::new();
        let turn = self.commit_lane.request(request(slot.clone()))?;
        Ok(Pending::new(turn, slot))
    }
}

impl Core {
    /// When an append that waits for room gives up; `None` where nobody else would make room.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.threaded.then(|| Instant::now() + self.patience())
    }

    /// Whether a blocking append may take as long as it does.
    pub(crate) fn is_patient(&self) -> bool {
        self.options.append_deadline == Duration::MAX
    }

    /// How long a blocking append may take in all.
    pub(crate) fn patience(&self) -> Duration {
        self.options.append_deadline.min(PATIENCE_MAX)
    }

    /// Most bytes that one call may append.
    pub(crate) fn largest_append(&self) -> usize {
        APPEND_BYTES_MAX.min(self.ring.frame_bytes_max().saturating_sub(8192))
    }

    /// Whether so many bytes would be let in at once, without waiting for room.
    #[cfg_attr(not(feature = "server"), expect(dead_code))]
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        self.budget.used() + bytes <= self.budget.max()
    }

    /// Lets `bytes` in, or says why not. Nothing has a number yet.
    #[inline]
    pub(crate) fn admit(&self, bytes: u64, deadline: impl FnOnce() -> Option<Instant>) -> Result<()> {
        if !self.health.is_ok() || self.is_closed() {
            return Err(self.refusal());
        }
        if self.budget.try_reserve(bytes) {
            return Ok(());
        }
        self.budget.want(bytes);
        self.upkeep.ring();
        if self.budget.reserve(bytes, deadline(), || !self.health.is_ok() || self.is_closed()) {
            return Ok(());
        }
        Err(self.refusal())
    }

    /// Has a buffered log noted in the journal as about to be written.
    pub(crate) fn touch(&self, log: &Arc<LogState>, deadline: Option<Instant>) -> Result<()> {
        let turn = {
            let mut asked = log.touch_asked.lock();
            // One is enough for all who meet it, and for who tries again and again while the disk hangs.
            match asked.as_ref().filter(|turn| !turn.is_resolved()) {
                Some(turn) => turn.clone(),
                None => asked.insert(self.ask_touch(log)?).clone(),
            }
        };
        match deadline {
            Some(deadline) => match turn.wait_for(deadline.saturating_duration_since(Instant::now())) {
                Some(outcome) => outcome,
                None => Err(self.refusal()),
            },
            None => Err(self.refusal()),
        }
    }

    fn ask_touch(&self, log: &Arc<LogState>) -> Result<Arc<Turn>> {
        let mut row = log.row();
        row.reserved = log.appender.lock().next() + RESERVED_NUMBERS;
        row.end = log.high();
        // Where its records are is not what this entry is about. A segment that is being written may reach beyond that end, and no
        // reader takes such a row; and all of them may be more than a frame holds.
        row.segments.retain(|segment| segment.end <= row.end);
        row.segments.truncate(TOUCH_SEGMENTS_MAX);
        self.touched.lock().insert(log.id);
        self.commit_lane.request(Request::Touch { log: log.clone(), row: Box::new(row) })
    }
}
