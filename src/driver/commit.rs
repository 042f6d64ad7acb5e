//! Group commit: one turn of appends and requests becomes a journal frame, one sync, and one wake-up.
//!
//! The order that everything depends on, in this file, `request.rs` and `frame.rs`:
//!
//! 1. Preconditions are looked at and numbers given to requests, one after the other: the serial point.
//! 2. A large share of one log is written to its segment and **synced**; only then is the frame that describes it built.
//! 3. The frame is written with data sync.
//! 4. When it and every frame before it are durable: high watermarks move, all of a frame under one lock; then the store's
//!    durable frame; then readers wake and the turn resolves.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::core::Core;
use crate::env::{AlignedBuf, Completion, DiskOp, Wait, WriteQueue};
use crate::error::{Error, Fault, Result};
use crate::format::batch::BatchBuilder;
use crate::format::journal::{ENTRY_BYTES, EntryKind, FrameHeader};
use crate::id::{FrameNumber, LogId};
use crate::log::LogState;
use crate::metrics::{Health, add};
use crate::sync::Arc;
use crate::ticket::Turn;

use super::Taken;
use super::bulk::{PIECES_IN_FLIGHT, SHARES_MAX, Share};
use super::frame::{Draft, Frame};

/// Frames in flight at once. Only a large turn goes beside another: its data then moves while the other's flush runs. Of small
/// frames the flush is nearly all, and a device makes one flush after the other: two would each wait for both, with half of the
/// callers each.
const DEPTH: usize = 2;
/// After so long without anything to do, a frame that says what is durable closes the window in which the last frames can't
/// be told from a torn tail.
pub(super) const IDLE: Duration = Duration::from_millis(20);

/// Gathering from so many logs takes no longer than a wake-up or two.
const LOGS_FEW: usize = 128;

/// Those who were just woken and come back at once share the next sync with those who wait already, instead of the one after
/// it; up to so many, for waking more takes about as long as a sync.
const RETURNS_MAX: usize = 8;
/// How long they may take.
pub(super) const GRACE: Duration = Duration::from_micros(100);

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

/// What the machine's thread waits for.
pub(super) enum Pause {
    /// Nothing: there is more to do.
    None,
    /// Room in the journal.
    Room,
    /// Those who were just woken, so that they share the next sync: so much pressure, for a short time.
    Returns { due: usize },
    /// Something to do, for a while; then a frame is owed that says what is durable, if none came since frame `telling`.
    Idle { telling: FrameNumber },
    /// Something to do.
    Rest,
    /// Nothing any more.
    End,
}

/// The commit machine. Whoever holds its lock takes a step: its thread, or a caller (see `leader.rs`).
pub(crate) struct Commit {
    pub(super) core: Arc<Core>,
    queue: Box<dyn WriteQueue>,
    generation: u64,
    pub(super) next: FrameNumber,
    chain: u32,
    /// Highest frame that a written frame says is durable.
    claimed: FrameNumber,
    /// Highest frame that is more than a mark.
    telling: FrameNumber,
    /// Highest durable frame.
    durable: FrameNumber,
    frames: VecDeque<Frame>,
    /// Durable frames whose marks have yet to move.
    unpublished: Vec<Frame>,
    /// Turns that nobody was told of yet, and that are durable once these are published.
    durable_turns: Vec<Arc<Turn>>,
    /// Those of both while that is under way: a waker is a caller's code, and may be what panics.
    publishing: Vec<Arc<Turn>>,
    submitted: usize,
    /// The pressure under which the next turn is taken: as many wait for it as did for the last one, or it is large.
    due: usize,
    returns: Returns,
    buffers: Vec<AlignedBuf>,
    done: Vec<Completion>,
    /// Large shares on their way to segments, oldest first; their frames come behind all there are.
    pub(super) shares: VecDeque<Share>,
    /// Taken, but to be framed only when no share is on its way any more.
    held: Option<Taken>,
    /// The turn that is being framed: in no frame yet, and no longer in the lane.
    gathering: Option<Arc<Turn>>,
    /// Its thread sleeps until it is woken.
    rests: bool,
    /// Whoever steps it waits for its frames however long they take.
    performs: bool,
    /// Empty, for their memory.
    spare_draft: Draft,
    spare_batches: Vec<BatchBuilder>,
}

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
            durable: end,
            frames: VecDeque::new(),
            unpublished: Vec::new(),
            durable_turns: Vec::new(),
            publishing: Vec::new(),
            submitted: 0,
            due: 0,
            returns: Returns::default(),
            buffers: Vec::new(),
            done: Vec::new(),
            shares: VecDeque::new(),
            held: None,
            gathering: None,
            rests: false,
            performs: false,
            spare_draft: Draft::default(),
            spare_batches: Vec::new(),
        }
    }

    /// Takes steps until there is nothing to do, and says what the thread should wait for then.
    pub(super) fn step_on(&mut self) -> Pause {
        self.rests = false;
        if self.step(true) {
            return Pause::None;
        }
        if !self.frames.is_empty() {
            // Nothing in flight and frames waiting: the journal has no room.
            return Pause::Room;
        }
        if self.due > 0 {
            return Pause::Returns { due: self.due };
        }
        if self.core.commit_lane.is_closing() || self.core.health.is_stopped() {
            return Pause::End;
        }
        if self.claimed < self.telling {
            return Pause::Idle { telling: self.telling };
        }
        self.rests = true;
        Pause::Rest
    }

    /// After [`Pause::Room`]: who waits for a journal that nobody makes room in any more is told.
    pub(super) fn waited_for_room(&mut self) {
        if self.core.closed_long_ago() {
            self.give_up_waiting(&Error::Closed);
        }
    }

    /// After [`Pause::Returns`].
    pub(super) fn waited_for_returns(&mut self) {
        self.returns.note(self.core.commit_lane.pressure() >= self.due);
        self.due = 0;
    }

    /// After [`Pause::Idle`]: if nothing came meanwhile, what is durable is said.
    pub(super) fn waited_idly(&mut self, telling: FrameNumber) {
        if self.telling == telling && !self.gather_next() && !self.core.commit_lane.is_closing() {
            self.mark();
        }
        self.publish();
    }

    /// Sees `turn` through, if it is small, the next one, and nobody is at anything: for a caller that would otherwise wait for
    /// two switches between threads. Gives up at `until`, if it ever does. Whether the thread has to be told, of what is left or
    /// of the mark that is owed.
    ///
    /// It takes no other turn: whoever comes meanwhile has the thread at work by then, and what a caller sent to the ring and
    /// did not wait for completes only when that caller enters the kernel again.
    pub(super) fn lead(&mut self, turn: &Arc<Turn>, until: Option<Instant>) -> bool {
        let free = self.frames.is_empty()
            && self.shares.is_empty()
            && self.held.is_none()
            && self.due <= 1
            && (until.is_none() || self.queue.keeps_time());
        let Some(taken) = free.then(|| self.core.commit_lane.take_small(turn, LOGS_FEW)).flatten() else {
            return false;
        };
        if taken.logs.iter().any(|log| self.is_bulk(log.appender.lock().due_bytes())) {
            self.core.commit_lane.put_back(taken);
            return true;
        }
        self.due = 0;
        self.performs = until.is_none();
        self.gathering = Some(taken.turn.clone());
        self.gather(taken);
        self.gathering = None;
        while self.submit() || self.queue.in_flight() > 0 {
            let wait =
                until.map_or(Wait::Completion, |until| Wait::AtMost(until.saturating_duration_since(Instant::now())));
            if self.frames.is_empty() || !self.reap(wait) {
                break;
            }
        }
        self.performs = false;
        self.publish();
        !self.frames.is_empty() || !self.shares.is_empty() || std::mem::take(&mut self.rests)
    }

    /// Whoever stepped it panicked: nobody knows what was done, so nothing follows, and who waits is told.
    pub(super) fn broke_off(&mut self) {
        // A precondition is a caller's code, and may be what panicked.
        let gathering = self.gathering.take();
        let publishing = std::mem::take(&mut self.publishing);
        let ended = std::io::Error::other("a step of the commit machine panicked");
        let cause = Fault::new("commit", self.core.env.disk.root(), &ended);
        self.stop(cause.clone(), gathering.as_ref());
        publishing.iter().for_each(|turn| turn.resolve(Err(Error::OutcomeUnknown { cause: cause.clone() })));
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
            progress = self.reap(if wait { Wait::Completion } else { Wait::No });
            // What was appended meanwhile goes to the disk first: moving marks and waking take as long as some writes, and run
            // beside them.
            self.gather_next();
        }
        self.publish();
        progress
    }

    /// Nobody will make room for frames that wait for it any more, so whoever waits for them is told.
    fn give_up_waiting(&mut self, error: &Error) {
        let frames = self.frames.drain(self.submitted..).filter_map(|frame| frame.turn);
        let shares = self.shares.drain(..).filter_map(|share| share.turn);
        let held = self.held.take().map(|taken| taken.turn);
        frames.chain(shares).chain(held).for_each(|turn| turn.resolve(Err(error.clone())));
    }

    /// Nobody takes a step any more: who still waits is told.
    pub(super) fn end(&mut self) {
        self.publish();
        self.give_up_waiting(&Error::Closed);
        // These are with the disk.
        let ended = std::io::Error::other("the commit machine ended");
        let cause = Fault::new("commit", self.core.env.disk.root(), &ended);
        let turns = self.frames.drain(..).filter_map(|frame| frame.turn).chain(self.gathering.take());
        turns.for_each(|turn| turn.resolve(Err(Error::OutcomeUnknown { cause: cause.clone() })));
    }

    /// Frames and submits the next turn, if there is one and not too many are on their way.
    fn gather_next(&mut self) -> bool {
        if self.submitted < self.frames.len() {
            return false;
        }
        // Only more of the kind goes beside what is on its way to a segment.
        let beside_shares = !self.shares.is_empty();
        let full = if beside_shares { self.shares.len() >= SHARES_MAX } else { self.frames.len() >= DEPTH };
        if full || (beside_shares && self.held.is_some()) {
            return false;
        }
        // Where a test takes the steps any turn goes, so that its short histories have frames that overlap.
        let beside = self.core.threaded && (beside_shares || !self.frames.is_empty());
        let pressure = if beside { Turn::PRESSING } else { self.due };
        let Some(taken) = self.held.take().or_else(|| self.core.commit_lane.take(pressure)) else { return false };
        if beside_shares && !self.is_all_bulk(&taken) {
            self.held = Some(taken);
            return false;
        }
        self.gathering = Some(taken.turn.clone());
        self.gather(taken);
        self.gathering = None;
        self.submit();
        true
    }

    /// Whether everything of a turn goes straight to segments.
    fn is_all_bulk(&self, taken: &Taken) -> bool {
        taken.requests.is_empty() && taken.logs.iter().all(|log| self.is_bulk(log.appender.lock().due_bytes()))
    }

    /// Moves the marks of what is durable, and wakes those whose turn is.
    pub(super) fn publish(&mut self) {
        let turns = self.unpublished.iter().filter_map(|frame| frame.turn.as_ref()).chain(&self.durable_turns);
        self.publishing.extend(turns.cloned());
        for frame in self.unpublished.drain(..) {
            self.durable_turns.extend(frame.publish(&self.core));
        }
        for turn in self.durable_turns.drain(..) {
            turn.resolve(Ok(()));
        }
        self.publishing.clear();
    }

    /// Writes a frame that says what is durable, if none has said so yet.
    pub(crate) fn mark(&mut self) {
        if self.claimed < self.telling
            && self.frames.is_empty()
            && self.shares.is_empty()
            && !self.core.health.is_stopped()
        {
            let mut draft = Draft::default();
            draft.entry(EntryKind::Mark, 0, LogId(0), 0, Vec::new());
            self.close(draft, None);
            self.submit();
        }
    }

    /// Whether frames wait for room in the journal.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn is_stalled(&self) -> bool {
        self.submitted < self.frames.len() && self.queue.in_flight() == 0
    }

    /// Everything of a turn, framed or on its way to a segment.
    fn gather(&mut self, taken: Taken) {
        if taken.turn.pressure() >= Turn::PRESSING || taken.logs.len() > LOGS_FEW {
            // This takes its time: nobody who is waiting for an earlier turn waits for it.
            self.publish();
        }
        let mut draft = std::mem::take(&mut self.spare_draft);
        let mut batches = std::mem::take(&mut self.spare_batches);
        let mut large: Vec<(Arc<LogState>, Vec<BatchBuilder>)> = Vec::new();
        draft.expect(taken.logs.len());
        for log in taken.logs {
            // It stands here twice where a transaction took what it was listed for. What it has by now is listed in a later turn, too,
            // and must not be framed before its share.
            if large.iter().any(|(large, _)| Arc::ptr_eq(large, &log)) {
                continue;
            }
            log.appender.lock().take(&mut batches);
            if self.is_bulk(batches.iter().map(BatchBuilder::records_bytes).sum()) {
                large.push((log, std::mem::take(&mut batches)));
            } else {
                self.inline(&mut draft, &log, batches.drain(..), 0);
            }
        }
        self.spare_batches = batches;
        if !large.is_empty() {
            self.close(std::mem::take(&mut draft), None);
            self.submit();
            let begun = self.begin_shares(&mut draft, large);
            // What requests find must have its frame, or be in this one.
            let last = self.shares.back_mut().filter(|_| taken.requests.is_empty() && draft.is_empty());
            let framed = match (begun, last) {
                (Ok(()), Some(last)) => {
                    last.turn = Some(taken.turn);
                    return;
                }
                (Ok(()), None) => self.finish_shares(),
                (Err(fault), _) => Err(fault),
            };
            if let Err(fault) = framed {
                self.stop(fault, Some(&taken.turn));
                return;
            }
        }
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

    /// Begins large shares; what can't go straight to a segment is in the draft, behind all that could.
    fn begin_shares(&mut self, draft: &mut Draft, large: Vec<(Arc<LogState>, Vec<BatchBuilder>)>) -> Result<(), Fault> {
        for (log, mut batches) in large {
            if !draft.is_empty() || !self.begin_share(&log, &mut batches)? {
                self.finish_shares()?;
                self.inline(draft, &log, batches.drain(..), 0);
            }
        }
        Ok(())
    }

    /// The number of the next frame to be begun.
    pub(super) fn next_number(&self) -> FrameNumber {
        self.next + self.shares.len() as u64
    }

    pub(super) fn in_flight(&self) -> usize {
        self.queue.in_flight()
    }

    /// Hands an operation to the disk.
    pub(super) fn send(&mut self, token: u64, op: DiskOp) {
        self.queue.submit(token, op);
    }

    /// A buffer of at least so many bytes.
    pub(super) fn spare_buffer(&mut self, capacity: usize) -> AlignedBuf {
        let kept = self.buffers.iter().position(|buffer| buffer.capacity() >= capacity);
        kept.map_or_else(|| AlignedBuf::with_capacity(capacity), |at| self.buffers.swap_remove(at))
    }

    /// Frames batches whole.
    pub(super) fn inline(
        &mut self,
        draft: &mut Draft,
        log: &Arc<LogState>,
        batches: impl IntoIterator<Item = BatchBuilder>,
        group: u8,
    ) {
        for builder in batches {
            self.room_in(draft, builder.encoded_len(), group);
            draft.batch(log, builder, self.next, group);
        }
    }

    /// Closes the draft if `more` bytes don't fit; not within a transaction.
    pub(super) fn room_in(&mut self, draft: &mut Draft, more: usize, group: u8) {
        let full = draft.frame_bytes() + ENTRY_BYTES + more > self.core.ring.frame_bytes_max();
        if group == 0 && full && !draft.is_empty() {
            self.close(std::mem::take(draft), None);
        }
    }

    /// Gives the frame its number and bytes, and hands its batches to the readers' side, below the high watermark's move.
    pub(super) fn close(&mut self, mut draft: Draft, turn: Option<Arc<Turn>>) {
        if draft.is_empty() {
            let Some(turn) = turn else { return };
            // Nothing of the turn needs a frame of its own: it resolves with the youngest frame its answers depend on.
            match self.frames.back_mut() {
                None => self.durable_turns.push(turn),
                Some(last) if last.turn.is_none() => last.turn = Some(turn),
                Some(_) => {
                    let mut mark = Draft::default();
                    mark.entry(EntryKind::Mark, 0, LogId(0), 0, Vec::new());
                    self.close(mark, Some(turn));
                }
            }
            return;
        }
        let number = self.next;
        let header = FrameHeader {
            checksum: 0,
            frame: number,
            generation: self.generation,
            durable: self.durable,
            previous: self.chain,
            length: 0,
            entries: 0,
            stamp_ms: self.core.last_stamp(),
        };
        let (mut frame, telling) = draft.close(&header, &self.core, &mut self.buffers);
        frame.turn = turn;
        self.next += 1;
        self.chain = frame.checksum;
        self.claimed = self.durable;
        self.frames.push_back(frame);
        self.spare_draft = draft;
        if telling {
            self.telling = number;
        }
        if crate::seeded_bug!(PublishBeforeSync) {
            self.frames.back().into_iter().for_each(Frame::publish_early);
        }
    }

    /// Puts frames into the journal while there is room.
    pub(super) fn submit(&mut self) -> bool {
        let mut progress = false;
        while self.submitted < self.frames.len() {
            let frame = &mut self.frames[self.submitted];
            let Some(data) = frame.data.take() else { break };
            if data.len() > self.core.ring.frame_bytes_max() {
                // Whatever made it so long: behind the end of a file nobody reads it.
                let error =
                    std::io::Error::other(format!("a frame of {} bytes is longer than a file of it", data.len()));
                self.stop(Fault::new("write journal frame", "journal", &error), None);
                break;
            }
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
            if self.performs {
                self.queue.perform(frame.number, op);
            } else {
                self.queue.submit(frame.number, op);
            }
            self.submitted += 1;
            progress = true;
        }
        self.core.counters.frames_in_flight.store(self.submitted as u64, std::sync::atomic::Ordering::Relaxed);
        progress
    }

    /// Takes completions; what is durable, in order, is to be published.
    pub(super) fn reap(&mut self, wait: Wait) -> bool {
        let mut done = std::mem::take(&mut self.done);
        self.queue.reap(wait, &mut done);
        let progress = !done.is_empty();
        for completion in done.drain(..) {
            self.completed(completion);
        }
        self.done = done;
        self.frame_shares();
        self.submit();
        let out_of_order = crate::seeded_bug!(AckOutOfOrder);
        while self.frames.front().is_some_and(|f| f.durable) || (out_of_order && self.frames.iter().any(|f| f.durable))
        {
            let at = if out_of_order { self.frames.iter().position(|f| f.durable).unwrap_or(0) } else { 0 };
            if let Some(frame) = self.frames.remove(at) {
                self.submitted -= 1;
                self.became_durable(frame);
            }
        }
        progress
    }

    fn completed(&mut self, completion: Completion) {
        let Err(completion) = self.share_completed(completion) else { return };
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

    pub(super) fn keep(&mut self, data: AlignedBuf) {
        if self.buffers.len() < PIECES_IN_FLIGHT + DEPTH && data.capacity() <= 1 << 20 {
            self.buffers.push(data);
        }
    }

    /// A frame and all before it are.
    fn became_durable(&mut self, frame: Frame) {
        self.durable = frame.number;
        if let Some(turn) = &frame.turn {
            let (woken, waiting) = (turn.pressure(), self.core.commit_lane.pressure());
            let few = woken <= RETURNS_MAX && waiting < Turn::PRESSING;
            self.due = if self.core.threaded && few && self.returns.expected() { woken + waiting } else { 0 };
        }
        self.unpublished.push(frame);
    }

    /// A fault that no write may follow: everyone who waits is told, and nothing is tried again.
    pub(super) fn stop(&mut self, fault: Fault, turn: Option<&Arc<Turn>>) {
        self.publish();
        self.core.stop(fault.clone());
        let unknown = || Err(Error::OutcomeUnknown { cause: fault.clone() });
        if let Some(turn) = turn {
            turn.resolve(unknown());
        }
        self.submitted = 0;
        self.give_up_waiting(&Error::OutcomeUnknown { cause: fault });
    }
}
