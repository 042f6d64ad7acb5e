//! Group commit: one turn of appends and requests becomes a journal frame, one sync, and one wake-up.
//!
//! The order that everything depends on, in this one file:
//!
//! 1. Preconditions are looked at and numbers given to requests, one after the other: the serial point.
//! 2. A large share of one log is written to its segment and **synced**; only then is the frame that describes it built.
//! 3. The frame is written with data sync.
//! 4. When it and every frame before it are durable: high watermarks move, all of a frame under one lock; then the store's
//!    durable frame; then readers wake and the turn resolves.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::core::Core;
use crate::env::{AlignedBuf, Completion, DiskOp, WriteQueue};
use crate::error::{Error, Fault, Result};
use crate::format::batch::{BatchBuilder, BatchHeader, KIND_BULK, KIND_RECORDS};
use crate::format::checksum::Salt;
use crate::format::journal::{ENTRY_BYTES, Entry, EntryKind, FRAME_ALIGNMENT, FrameHeader, HEADER_BYTES, encode_front};
use crate::format::manifest::LogRow;
use crate::id::{FrameNumber, LogId, SequenceNumber};
use crate::log::{LogState, PendingBatch, put_options};
use crate::metrics::{Health, add};
use crate::options::{Durability, LogOptions};
use crate::sync::Arc;
use crate::ticket::{Slot, Turn};
use crate::transaction::{Committed, Consequence, Decided};

use super::Request;

/// Frames in flight at once. Only a large turn goes beside another: its data then moves while the other's flush runs. Of small
/// frames the flush is nearly all, and a device makes one flush after the other: two would each wait for both, with half of the
/// callers each.
const DEPTH: usize = 2;
/// Bulk data goes to the device in pieces of this size, so many at a time.
const BULK_PIECE_BYTES: usize = 512 << 10;
const BULK_DEPTH: usize = 8;
/// After so long without anything to do, a frame that says what is durable closes the window in which the last frames can't
/// be told from a torn tail.
const IDLE: Duration = Duration::from_millis(20);

/// Those who were just woken and come back at once share the next sync with those who wait already, instead of the one after
/// it; up to so many, for waking more takes about as long as a sync.
const RETURNS_MAX: usize = 8;
/// How long they may take.
const GRACE: Duration = Duration::from_micros(100);

/// Whether those who are woken come back with more. After a time when they didn't, the next turns don't wait for them: twice as
/// many each time.
#[derive(Default)]
struct Returns {
    missed: u32,
    skip: u32,
}

impl Returns {
    fn expected(&mut self) -> bool {
        let expected = self.skip == 0;
        self.skip = self.skip.saturating_sub(1);
        expected
    }

    fn note(&mut self, came: bool) {
        self.missed = if came { 0 } else { (self.missed + 1).min(10) };
        self.skip = if came { 0 } else { 1 << self.missed };
    }
}

/// What happens once a frame is durable.
enum Effect {
    Records {
        log: Arc<LogState>,
        end: SequenceNumber,
        records: u64,
        bytes: u64,
    },
    Created {
        log: Arc<LogState>,
    },
    Deleted {
        log: Arc<LogState>,
    },
    Trimmed {
        log: Arc<LogState>,
        upto: SequenceNumber,
    },
    Touched {
        log: Arc<LogState>,
        reserved: SequenceNumber,
    },
    Closed {
        log: Arc<LogState>,
    },
    Options {
        log: Arc<LogState>,
        options: LogOptions,
    },
    /// What else follows from a transaction.
    Then {
        consequences: Vec<Consequence>,
        decided: Decided,
    },
}

impl Effect {
    fn log(&self) -> Option<&Arc<LogState>> {
        match self {
            Effect::Records { log, .. }
            | Effect::Created { log }
            | Effect::Deleted { log }
            | Effect::Trimmed { log, .. }
            | Effect::Touched { log, .. }
            | Effect::Closed { log }
            | Effect::Options { log, .. } => Some(log),
            Effect::Then { .. } => None,
        }
    }
}

/// A frame being put together.
#[derive(Default)]
struct Draft {
    entries: Vec<Entry>,
    payloads: Vec<Bytes>,
    bytes: usize,
    effects: Vec<Effect>,
    pending: Vec<(Arc<LogState>, PendingBatch)>,
}

/// A frame on its way.
struct Frame {
    number: FrameNumber,
    checksum: u32,
    effects: Vec<Effect>,
    /// Resolved with this frame: it is the last one of its turn.
    turn: Option<Arc<Turn>>,
    data: Option<AlignedBuf>,
    path: String,
    submitted: Option<Instant>,
    durable: bool,
}

/// The commit machine.
pub(crate) struct Commit {
    core: Arc<Core>,
    queue: Box<dyn WriteQueue>,
    generation: u64,
    next: FrameNumber,
    chain: u32,
    /// Highest frame that a written frame says is durable.
    claimed: FrameNumber,
    /// Highest frame that is more than a mark.
    telling: FrameNumber,
    frames: VecDeque<Frame>,
    /// Turns whose frames are durable and that nobody was told of yet.
    durable_turns: Vec<Arc<Turn>>,
    submitted: usize,
    /// The pressure under which the next turn is taken: as many wait for it as did for the last one, or it is large.
    due: usize,
    returns: Returns,
    buffers: Vec<AlignedBuf>,
    done: Vec<Completion>,
    bulk_in_flight: usize,
    bulk_failed: Option<std::io::Error>,
    /// The turn that is being framed: in no frame yet, and no longer in the lane.
    gathering: Option<Arc<Turn>>,
}

const BULK_TOKEN: u64 = u64::MAX;

impl Commit {
    pub(crate) fn new(core: Arc<Core>, queue: Box<dyn WriteQueue>, generation: u64, end: FrameNumber) -> Commit {
        Commit {
            core,
            queue,
            generation,
            next: end + 1,
            chain: 0,
            claimed: end,
            telling: end,
            frames: VecDeque::new(),
            durable_turns: Vec::new(),
            submitted: 0,
            due: 0,
            returns: Returns::default(),
            buffers: Vec::new(),
            done: Vec::new(),
            bulk_in_flight: 0,
            bulk_failed: None,
            gathering: None,
        }
    }

    /// Runs until the lane closes. For a thread of its own.
    pub(crate) fn run(mut self) {
        loop {
            if self.step(true) {
                continue;
            }
            if !self.frames.is_empty() {
                // Nothing in flight and frames waiting: the journal has no room.
                self.core.upkeep.ring();
                self.core.ring.wait_freed(Duration::from_millis(50));
                if self.core.closed_long_ago() {
                    self.give_up_waiting(&Error::Closed);
                }
                continue;
            }
            if self.due > 0 {
                self.core.commit_lane.wait(self.due, Some(GRACE));
                self.returns.note(self.core.commit_lane.pressure() >= self.due);
                self.due = 0;
                continue;
            }
            if self.core.commit_lane.is_closing() || self.core.health.is_stopped() {
                return;
            }
            if self.claimed < self.telling {
                self.core.commit_lane.wait(0, Some(IDLE));
                if !self.gather_next() && !self.core.commit_lane.is_closing() {
                    self.mark();
                }
                self.resolve();
            } else {
                self.core.commit_lane.wait(0, None);
            }
        }
    }

    /// One step: submits, gathers or reaps. False when there is nothing to do, or frames wait for room in the journal.
    pub(crate) fn step(&mut self, wait: bool) -> bool {
        if let Health::Stopped { cause } = self.core.health.get() {
            self.give_up_waiting(&Error::OutcomeUnknown { cause });
            if self.frames.is_empty() {
                return false;
            }
        }
        let mut progress = self.submit();
        progress |= self.gather_next();
        if !progress && self.queue.in_flight() > 0 {
            progress = self.reap(wait);
            // What was appended meanwhile goes to the disk first: waking takes as long as some writes, and runs beside them.
            self.gather_next();
        }
        self.resolve();
        progress
    }

    /// Nobody will make room for frames that wait for it any more, so whoever waits for them is told.
    fn give_up_waiting(&mut self, error: &Error) {
        for frame in self.frames.drain(self.submitted..) {
            if let Some(turn) = frame.turn {
                turn.resolve(Err(error.clone()));
            }
        }
    }

    /// Frames and submits the next turn, if there is one and not too many are on their way.
    fn gather_next(&mut self) -> bool {
        if self.frames.len() >= DEPTH || self.submitted < self.frames.len() {
            return false;
        }
        // Where a test takes the steps any turn goes, so that its short histories have frames that overlap.
        let beside = self.core.threaded && !self.frames.is_empty();
        let pressure = if beside { Turn::PRESSING } else { self.due };
        let Some(taken) = self.core.commit_lane.take(pressure) else { return false };
        self.gathering = Some(taken.turn.clone());
        self.gather(taken);
        self.gathering = None;
        self.submit();
        true
    }

    /// Wakes those whose turn is durable.
    fn resolve(&mut self) {
        for turn in self.durable_turns.drain(..) {
            turn.resolve(Ok(()));
        }
    }

    /// Writes a frame that says what is durable, if none has said so yet.
    pub(crate) fn mark(&mut self) {
        if self.claimed < self.telling && self.frames.is_empty() && !self.core.health.is_stopped() {
            let mut draft = Draft::default();
            self.entry(&mut draft, EntryKind::Mark, 0, LogId(0), 0, Bytes::new());
            self.close(draft, None);
            self.submit();
        }
    }

    /// Whether frames wait for room in the journal.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn is_stalled(&self) -> bool {
        self.submitted < self.frames.len() && self.queue.in_flight() == 0
    }

    /// Everything of a turn, framed.
    fn gather(&mut self, taken: super::Taken) {
        let mut draft = Draft::default();
        let mut freed = 0;
        for log in &taken.logs {
            let batches = log.appender.lock().take();
            if batches.is_empty() {
                continue;
            }
            let bytes: usize = batches.iter().map(BatchBuilder::records_bytes).sum();
            if bytes as u64 >= self.core.options.bulk_bytes {
                match self.bulk(&mut draft, log, batches) {
                    Ok(bytes) => freed += bytes,
                    Err(fault) => {
                        self.stop(fault, Some(&taken.turn));
                        return;
                    }
                }
            } else {
                self.inline(&mut draft, log, batches, 0);
            }
        }
        self.core.budget.release(freed);
        let mut group = 0u8;
        for request in taken.requests {
            if group == u8::MAX {
                self.close(std::mem::take(&mut draft), None);
                group = 0;
            }
            group += 1;
            self.request(&mut draft, request, group);
        }
        self.close(draft, Some(taken.turn));
    }

    /// Frames batches whole.
    fn inline(&mut self, draft: &mut Draft, log: &Arc<LogState>, batches: Vec<BatchBuilder>, group: u8) {
        for builder in batches {
            let appended = builder.records_bytes();
            self.room_in(draft, builder.encoded_len(), group);
            let number = self.next;
            let (header, bytes) = builder.finish(number, KIND_RECORDS, log.salt);
            self.core.budget.adjust(appended, bytes.len());
            self.core.budget.framed(bytes.len() as u64);
            let bytes = Bytes::from(bytes);
            draft.entries.push(Entry {
                kind: EntryKind::Batch,
                group,
                log: log.id,
                first: header.first,
                count: header.count,
                length: bytes.len() as u32,
                checksum: header.checksum,
            });
            draft.bytes += ENTRY_BYTES + bytes.len();
            draft.payloads.push(bytes.clone());
            self.records(draft, log, &header, bytes.len() as u64);
            draft.pending.push((log.clone(), PendingBatch { header, bytes }));
        }
    }

    fn records(&self, draft: &mut Draft, log: &Arc<LogState>, header: &BatchHeader, bytes: u64) {
        match draft.effects.last_mut() {
            Some(Effect::Records { log: last, end, records, bytes: b }) if last.id == log.id => {
                *end = header.end();
                *records += u64::from(header.count);
                *b += bytes;
            }
            _ => draft.effects.push(Effect::Records {
                log: log.clone(),
                end: header.end(),
                records: u64::from(header.count),
                bytes,
            }),
        }
    }

    /// Closes the draft if `more` bytes don't fit; not within a transaction.
    fn room_in(&mut self, draft: &mut Draft, more: usize, group: u8) {
        let used = HEADER_BYTES + draft.bytes + FRAME_ALIGNMENT;
        if group == 0 && !draft.entries.is_empty() && used + ENTRY_BYTES + more > self.core.ring.frame_bytes_max() {
            self.close(std::mem::take(draft), None);
        }
    }

    fn entry(&self, draft: &mut Draft, kind: EntryKind, group: u8, log: LogId, first: u64, payload: Bytes) {
        draft.entries.push(Entry {
            kind,
            group,
            log,
            first,
            count: 0,
            length: payload.len() as u32,
            checksum: Salt::frames(self.core.identity.origin, self.generation).checksum(&payload),
        });
        draft.bytes += ENTRY_BYTES + payload.len().next_multiple_of(8);
        draft.payloads.push(payload);
    }

    fn row_entry(&self, draft: &mut Draft, kind: EntryKind, group: u8, row: &LogRow) {
        let mut payload = Vec::new();
        row.encode(&mut payload);
        self.entry(draft, kind, group, row.id, row.end, Bytes::from(payload));
    }

    fn request(&mut self, draft: &mut Draft, request: Request, group: u8) {
        self.room_in(draft, 4096, 0);
        match request {
            Request::CreateLog { name, options, slot } => {
                let created = self.core.catalog_create(&name, &options, self.next);
                if let Ok(log) = &created {
                    self.row_entry(draft, EntryKind::CreateLog, group, &log.row());
                    draft.effects.push(Effect::Created { log: log.clone() });
                }
                slot.fill(created);
            }
            Request::DeleteLog { log, slot } => {
                let deleted = self.core.catalog_delete(&log, self.next);
                if deleted.is_ok() {
                    // What was appended before comes before.
                    let batches = log.appender.lock().take_all();
                    self.inline(draft, &log, batches, 0);
                    if !crate::seeded_bug!(DeleteAckedUnsynced) {
                        self.entry(draft, EntryKind::DeleteLog, group, log.id, 0, Bytes::new());
                    }
                    draft.effects.push(Effect::Deleted { log });
                }
                slot.fill(deleted);
            }
            Request::Trim { log, upto, slot } => {
                let answer = log.check_alive().map(|()| upto);
                if answer.is_ok() {
                    self.entry(draft, EntryKind::Trim, group, log.id, upto, Bytes::new());
                    draft.effects.push(Effect::Trimmed { log, upto });
                }
                slot.fill(answer);
            }
            Request::SetOptions { log, options, slot } => {
                let answer = log.check_alive();
                if answer.is_ok() {
                    self.set_options(draft, group, log, options);
                }
                slot.fill(answer);
            }
            Request::Touch { log, row } => {
                self.row_entry(draft, EntryKind::Touch, group, &row);
                draft.effects.push(Effect::Touched { log, reserved: row.reserved });
            }
            Request::Transaction { transaction, slot } => self.transaction(draft, transaction, slot, group),
        }
    }

    /// Options count once they are durable: retention by options that a crash takes back would be a loss.
    fn set_options(&self, draft: &mut Draft, group: u8, log: Arc<LogState>, options: LogOptions) {
        let mut row = log.row();
        put_options(&mut row, &options);
        // Where its records are is not what this entry is about.
        row.segments.clear();
        self.row_entry(draft, EntryKind::SetOptions, group, &row);
        draft.effects.push(Effect::Options { log, options });
    }

    /// Looks at the preconditions and frames the transaction whole, or nothing of it.
    fn transaction(
        &mut self,
        draft: &mut Draft,
        mut transaction: crate::transaction::Transaction,
        slot: Arc<Slot<Committed>>,
        group: u8,
    ) {
        // The transaction's entries lie in one frame with each other, whatever else is in it.
        if HEADER_BYTES + draft.bytes + transaction.bytes() + FRAME_ALIGNMENT > self.core.ring.frame_bytes_max() {
            self.close(std::mem::take(draft), None);
        }
        let named = transaction.check_names(&self.core);
        let logs = transaction.logs();
        // Locked from here until the numbers are given, so that nobody gets one in between.
        let mut locked: Vec<_> = logs.iter().map(|log| log.appender.lock()).collect();
        for (log, appender) in logs.iter().zip(&mut locked) {
            // What others appended meanwhile has its numbers already, so it comes first. A buffered log's never goes through
            // the journal: its own lane writes and acknowledges it.
            if log.durability == Durability::Durable {
                let batches = appender.take_all();
                self.inline(draft, log, batches, 0);
            }
        }
        if HEADER_BYTES + draft.bytes + transaction.bytes() + FRAME_ALIGNMENT > self.core.ring.frame_bytes_max() {
            self.close(std::mem::take(draft), None);
        }
        let reserved = transaction.bytes();
        match named.and_then(|()| transaction.check(&logs, &locked)) {
            Ok(()) => {
                let (appended, batches) = transaction.encode(&logs, &mut locked, self.core.stamp());
                let mut decided = Decided { appended, created: Vec::new() };
                let trims = transaction.trims(&logs, &locked);
                let ends: Vec<SequenceNumber> = transaction
                    .closes
                    .iter()
                    .map(|log| locked[logs.partition_point(|l| l.id < log.id)].next())
                    .collect();
                drop(locked);
                let bytes: usize = batches.iter().flatten().map(BatchBuilder::records_bytes).sum();
                self.core.budget.adjust(reserved, bytes);
                for (log, batches) in logs.iter().zip(batches) {
                    self.inline(draft, log, batches, group);
                }
                for (log, upto) in trims {
                    self.entry(draft, EntryKind::Trim, group, log.id, upto, Bytes::new());
                    draft.effects.push(Effect::Trimmed { log, upto });
                }
                for (log, options) in std::mem::take(&mut transaction.options) {
                    self.set_options(draft, group, log, options);
                }
                for (log, end) in std::mem::take(&mut transaction.closes).into_iter().zip(ends) {
                    self.entry(draft, EntryKind::CloseLog, group, log.id, end, Bytes::new());
                    draft.effects.push(Effect::Closed { log });
                }
                for log in std::mem::take(&mut transaction.deletes) {
                    self.core.catalog_take(&log, self.next);
                    self.entry(draft, EntryKind::DeleteLog, group, log.id, 0, Bytes::new());
                    draft.effects.push(Effect::Deleted { log });
                }
                for (name, options) in std::mem::take(&mut transaction.creates) {
                    let log = self.core.catalog_add(&name, &options, self.next);
                    self.row_entry(draft, EntryKind::CreateLog, group, &log.row());
                    draft.effects.push(Effect::Created { log: log.clone() });
                    decided.created.push(log);
                }
                transaction.once_decided.drain(..).for_each(|consequence| consequence(&decided));
                slot.fill(Ok(Committed { appended: decided.appended.clone() }));
                let consequences = std::mem::take(&mut transaction.once_durable);
                if !consequences.is_empty() {
                    draft.effects.push(Effect::Then { consequences, decided });
                }
            }
            Err(refused) => {
                self.core.budget.release(reserved as u64);
                slot.fill(Err(refused));
            }
        }
    }

    /// Gives the frame its number and bytes, and hands its batches to the readers' side, below the high watermark's move.
    fn close(&mut self, draft: Draft, turn: Option<Arc<Turn>>) {
        if draft.entries.is_empty() {
            let Some(turn) = turn else { return };
            // Nothing of the turn needs a frame of its own: it resolves with the youngest frame its answers depend on.
            match self.frames.back_mut() {
                None => self.durable_turns.push(turn),
                Some(last) if last.turn.is_none() => last.turn = Some(turn),
                Some(_) => {
                    let mut mark = Draft::default();
                    self.entry(&mut mark, EntryKind::Mark, 0, LogId(0), 0, Bytes::new());
                    self.close(mark, Some(turn));
                }
            }
            return;
        }
        let number = self.next;
        let durable = self.core.durable_frame();
        let header = FrameHeader {
            checksum: 0,
            frame: number,
            generation: self.generation,
            durable,
            previous: self.chain,
            length: 0,
            entries: 0,
            stamp_ms: self.core.last_stamp(),
        };
        let (front, checksum) = encode_front(&header, &draft.entries, self.core.identity.origin);
        let length = (front.len() + draft.payloads.iter().map(|p| p.len().next_multiple_of(8)).sum::<usize>())
            .next_multiple_of(FRAME_ALIGNMENT);
        let mut data = match self.buffers.iter().position(|b| b.capacity() >= length) {
            Some(at) => self.buffers.swap_remove(at),
            None => AlignedBuf::with_capacity(length.max(64 << 10)),
        };
        data.clear();
        data.extend_from_slice(&front);
        for payload in &draft.payloads {
            data.extend_from_slice(payload);
            data.resize(data.len().next_multiple_of(8));
        }
        data.pad_to_block();
        let mut pending = draft.pending.into_iter().peekable();
        while let Some((log, batch)) = pending.next() {
            let mut batches = vec![batch];
            while let Some((_, batch)) = pending.next_if(|(next, _)| next.id == log.id) {
                batches.push(batch);
            }
            log.push_pending(batches);
        }
        self.frames.push_back(Frame {
            number,
            checksum,
            effects: draft.effects,
            turn,
            data: Some(data),
            path: String::new(),
            submitted: None,
            durable: false,
        });
        if draft.entries.iter().any(|e| e.kind != EntryKind::Mark) {
            self.telling = number;
        }
        self.next += 1;
        self.chain = checksum;
        self.claimed = durable;
        if crate::seeded_bug!(PublishBeforeSync) {
            self.publish_front_early();
        }
    }

    fn publish_front_early(&mut self) {
        if let Some(frame) = self.frames.back() {
            for effect in &frame.effects {
                if let Effect::Records { log, end, .. } = effect {
                    log.set_high(*end);
                }
            }
        }
    }

    /// Puts frames into the journal while there is room.
    fn submit(&mut self) -> bool {
        let mut progress = false;
        while self.submitted < self.frames.len() {
            let frame = &mut self.frames[self.submitted];
            let Some(data) = frame.data.take() else { break };
            let Some(place) = self.core.ring.place(frame.number, data.len()) else {
                frame.data = Some(data);
                self.core.upkeep.ring();
                break;
            };
            add(&self.core.counters.journal_bytes, data.len() as u64);
            frame.path = place.path;
            frame.submitted = Some(Instant::now());
            let op = DiskOp::Write {
                file: place.file,
                offset: place.offset,
                data,
                durable: !crate::seeded_bug!(SyncBeforeWrite),
            };
            self.queue.submit(frame.number, op);
            self.submitted += 1;
            progress = true;
        }
        self.core.counters.frames_in_flight.store(self.submitted as u64, std::sync::atomic::Ordering::Relaxed);
        progress
    }

    /// Takes completions and publishes what is durable, in order.
    fn reap(&mut self, wait: bool) -> bool {
        let mut done = std::mem::take(&mut self.done);
        self.queue.reap(wait, &mut done);
        let progress = !done.is_empty();
        for completion in done.drain(..) {
            self.completed(completion);
        }
        self.done = done;
        let out_of_order = crate::seeded_bug!(AckOutOfOrder);
        while self.frames.front().is_some_and(|f| f.durable) || (out_of_order && self.frames.iter().any(|f| f.durable))
        {
            let at = if out_of_order { self.frames.iter().position(|f| f.durable).unwrap_or(0) } else { 0 };
            if let Some(frame) = self.frames.remove(at) {
                self.submitted -= 1;
                self.publish(frame);
            }
        }
        progress
    }

    fn completed(&mut self, completion: Completion) {
        if completion.token == BULK_TOKEN {
            self.bulk_in_flight -= 1;
            if let Err(error) = completion.result {
                self.bulk_failed.get_or_insert(error);
            }
            if let DiskOp::Write { data, .. } = completion.op {
                self.keep(data);
            }
            return;
        }
        let failed = completion.result.err();
        if let DiskOp::Write { data, .. } = completion.op {
            self.keep(data);
        }
        let Some(frame) = self.frames.iter_mut().find(|f| f.number == completion.token) else { return };
        match failed {
            None => {
                frame.durable = true;
                if let Some(submitted) = frame.submitted {
                    self.core.latency.record_micros(submitted.elapsed().as_micros() as u64);
                }
            }
            Some(_) if crate::seeded_bug!(SyncRetried) => frame.durable = true,
            Some(error) => {
                let fault = Fault::new("write journal frame", frame.path.clone(), &error);
                self.stop(fault, None);
            }
        }
    }

    fn keep(&mut self, data: AlignedBuf) {
        if self.buffers.len() < BULK_DEPTH + DEPTH && data.capacity() <= 1 << 20 {
            self.buffers.push(data);
        }
    }

    /// A frame and all before it are durable.
    fn publish(&mut self, mut frame: Frame) {
        let core = &self.core;
        let (mut records, mut bytes) = (0, 0);
        // Before the frame counts as durable: a checkpoint that names it must have every log it is about on its list.
        for log in frame.effects.iter().filter_map(Effect::log) {
            core.list_for_checkpoint(log);
        }
        {
            // A snapshot sees all of a frame or nothing.
            let _all_of_it = core.publishing.lock();
            for effect in &mut frame.effects {
                match effect {
                    Effect::Records { log, end, records: r, bytes: b } => {
                        log.set_high(*end);
                        records += *r;
                        bytes += *b;
                    }
                    Effect::Created { log } => core.catalog_open(log),
                    Effect::Deleted { log } => {
                        core.catalog_deleted(log);
                        log.set_deleted();
                    }
                    Effect::Trimmed { log, upto } => log.trim(*upto),
                    Effect::Touched { log, reserved } => {
                        core.note_touched(log);
                        log.appender.lock().touch(*reserved);
                    }
                    Effect::Closed { log } => log.set_closed(),
                    Effect::Then { consequences, decided } => {
                        consequences.drain(..).for_each(|consequence| consequence(decided));
                    }
                    Effect::Options { log, options } => log.set_options(options.clone()),
                }
            }
            core.set_durable(frame.number, frame.checksum);
        }
        for effect in &frame.effects {
            if let Effect::Records { log, .. } = effect {
                log.watch.wake();
            }
        }
        add(&core.counters.records_appended, records);
        add(&core.counters.bytes_appended, bytes);
        add(&core.counters.frames, 1);
        if let Some(turn) = frame.turn {
            add(&core.counters.turns, 1);
            let (woken, waiting) = (turn.pressure(), core.commit_lane.pressure());
            self.durable_turns.push(turn);
            let few = woken <= RETURNS_MAX && waiting < Turn::PRESSING;
            self.due = if core.threaded && few && self.returns.expected() { woken + waiting } else { 0 };
        }
        if core.budget.wants_flush() || core.ring.wants_checkpoint() || core.ring.wants_file() {
            core.upkeep.ring();
        }
    }

    /// A fault that no write may follow: everyone who waits is told, and nothing is tried again.
    fn stop(&mut self, fault: Fault, turn: Option<&Arc<Turn>>) {
        self.resolve();
        self.core.stop(fault.clone());
        let unknown = || Err(Error::OutcomeUnknown { cause: fault.clone() });
        if let Some(turn) = turn {
            turn.resolve(unknown());
        }
        for frame in self.frames.drain(..) {
            if let Some(turn) = frame.turn {
                turn.resolve(unknown());
            }
        }
        self.submitted = 0;
    }

    /// Writes a large share of one log straight to its segment, syncs it, and describes it in the draft. Returns the bytes
    /// that left memory. Without room on the disk the share goes through the journal like any other.
    fn bulk(&mut self, draft: &mut Draft, log: &Arc<LogState>, batches: Vec<BatchBuilder>) -> Result<u64, Fault> {
        let core = self.core.clone();
        let appended: usize = batches.iter().map(BatchBuilder::records_bytes).sum();
        let estimate: u64 = batches.iter().map(|batch| batch.encoded_len() as u64).sum();
        let Some(first) = batches.first().map(|b| b.next() - u64::from(b.count())) else { return Ok(0) };
        // Small batches of the log that are framed but not in a segment yet must not be overtaken: what the description vouches
        // for is everything of the log below its end. They are flushed, and waited for where they aren't durable yet; frames
        // of other logs, and earlier bulk writes of this one, go on meanwhile.
        let in_draft = draft.pending.iter().any(|(l, _)| l.id == log.id);
        let (mut writer, flushed, still_pending) = loop {
            let mut writer = log.writer.lock();
            let (released, redundant, flushed) = log.flush_with(&mut writer, &core.files, FrameNumber::MAX);
            core.budget.flushed(released);
            core.retire(log, redundant);
            let pending = !log.view.read().unwrap_or_else(|p| p.into_inner()).pending.is_empty();
            let may_wait = flushed.is_ok() && pending && !crate::seeded_bug!(SmallOvertakesBulk);
            self.submit();
            if !may_wait || self.queue.in_flight() == 0 {
                break (writer, flushed, pending && !crate::seeded_bug!(SmallOvertakesBulk));
            }
            drop(writer);
            self.reap(true);
            if core.health.is_stopped() {
                return Err(Fault::new("write journal frame", "journal", &std::io::Error::other("the store stopped")));
            }
        };
        let mut begun = Vec::new();
        let place = match flushed {
            Ok(()) if !in_draft && !still_pending => {
                writer.bulk_place(&log.writer_context(&core.files), first, estimate, &mut begun)
            }
            Ok(()) => Err(std::io::Error::other("batches before it are not in a segment yet")),
            Err(error) => Err(error),
        };
        let place = match place {
            Ok(place) => place,
            Err(_) => {
                // No room, no descriptor, or batches in the way: the journal takes it, and the checkpoint sorts it out.
                log.settle_view(begun, &[]);
                drop(writer);
                self.inline(draft, log, batches, 0);
                return Ok(0);
            }
        };
        let mut position = place.position;
        let mut offset = place.position;
        let mut headers = Vec::with_capacity(batches.len());
        let mut piece = self.piece();
        let last = batches.len() - 1;
        for (i, builder) in batches.into_iter().enumerate() {
            let kind = if i == last { KIND_BULK } else { KIND_RECORDS };
            let (header, bytes) = builder.finish(self.next, kind, log.salt);
            headers.push((position, header));
            position += bytes.len() as u64;
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let n = rest.len().min(BULK_PIECE_BYTES - piece.len());
                piece.extend_from_slice(&rest[..n]);
                rest = &rest[n..];
                if piece.len() == BULK_PIECE_BYTES {
                    let full = std::mem::replace(&mut piece, self.piece());
                    offset = self.submit_piece(&place.file, offset, full);
                }
            }
            core.buffers.give(bytes);
        }
        if !piece.is_empty() {
            piece.pad_to_block();
            offset = self.submit_piece(&place.file, offset, piece);
        }
        if !crate::seeded_bug!(BulkFramedBeforeData) {
            while self.bulk_in_flight > 0 {
                self.reap(true);
            }
            let fault = |error: &std::io::Error| Fault::new("write segment", place.segment.path(), error);
            if let Some(error) = self.bulk_failed.take() {
                return Err(fault(&error));
            }
            // One sync for all pieces: a durable write each would have the file system commit once for every piece, because
            // the room they go to was reserved but never written.
            writer.owe_sync_active();
            let synced = writer.sync(&core.files).and_then(|()| core.files.sync_folders());
            synced.map_err(|error| fault(&error))?;
        }
        writer.bulk_written(&headers, offset);
        log.settle_view(begun, &[]);
        drop(writer);
        add(&core.counters.bulk_bytes, offset - place.position);
        let mut row = log.row();
        if let Some((_, header)) = headers.last() {
            row.end = header.end();
            row.last_arrival_ms = row.last_arrival_ms.max(header.last_arrival_ms);
            self.room_in(draft, 200 + row.segments.len() * 48, 0);
            self.row_entry(draft, EntryKind::Settle, 0, &row);
            let records = headers.iter().map(|(_, h)| u64::from(h.count)).sum();
            draft.effects.push(Effect::Records {
                log: log.clone(),
                end: header.end(),
                records,
                bytes: offset - place.position,
            });
        }
        Ok(appended as u64)
    }

    fn piece(&mut self) -> AlignedBuf {
        let kept = self.buffers.iter().position(|b| b.capacity() >= BULK_PIECE_BYTES);
        let mut piece = match kept {
            Some(at) => self.buffers.swap_remove(at),
            None => AlignedBuf::with_capacity(BULK_PIECE_BYTES),
        };
        piece.clear();
        piece
    }

    fn submit_piece(&mut self, file: &Arc<dyn crate::env::DiskFile>, offset: u64, data: AlignedBuf) -> u64 {
        while self.bulk_in_flight >= BULK_DEPTH {
            self.reap(true);
        }
        let next = offset + data.len() as u64;
        self.bulk_in_flight += 1;
        self.queue.submit(BULK_TOKEN, DiskOp::Write { file: file.clone(), offset, data, durable: false });
        next
    }
}

impl Drop for Commit {
    /// The thread ended, in order or by a panic: whoever still waits learns that nobody will answer.
    fn drop(&mut self) {
        let ended = std::io::Error::other("the commit thread ended");
        if std::thread::panicking() {
            // A precondition is a caller's code, and may be what panicked.
            let gathering = self.gathering.take();
            self.stop(Fault::new("commit", self.core.env.disk.root(), &ended), gathering.as_ref());
        } else {
            self.core.commit_lane.refuse(Error::Closed);
        }
    }
}
