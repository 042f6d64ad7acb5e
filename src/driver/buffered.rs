//! The lane of buffered logs: from memory into the page cache, then acknowledged.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::core::Core;
use crate::error::{Error, Fault};
use crate::format::batch::{BatchBuilder, BatchHeader, KIND_RECORDS, RecordParts};
use crate::id::SequenceNumber;
use crate::limits::BATCH_BYTES_TARGET;
use crate::log::LogState;
use crate::metrics::{Health, add};
use crate::record::Size;
use crate::sync::{Arc, Ordering};
use crate::ticket::{Ticket, Turn};

use super::guard::Unless;

/// While nobody waits for a turn, and it is short, the next one is left to grow for so long: few large writes, and callers that
/// don't meet this thread at the log's lock.
const PAUSE: Duration = Duration::from_micros(200);

struct Share {
    log: Arc<LogState>,
    batches: Vec<(BatchHeader, Bytes)>,
    /// Bytes as they were admitted.
    admitted: usize,
}

/// The machine of the buffered lane. Whoever holds its lock takes a step: its thread, or a caller that waits for what it has just
/// appended and would otherwise wait for two switches between threads, which take longer than the write.
pub(crate) struct Buffered {
    /// Turns in order; the front one may wait for room on the disk.
    turns: VecDeque<(VecDeque<Share>, Arc<Turn>)>,
    /// Nobody waited for the last turn, and it was short: the next one is left to grow.
    unhurried: bool,
    /// Of the last append of a caller, for its memory.
    spare: Vec<u8>,
    /// The turn of everything that a caller wrote itself.
    succeeded: Arc<Turn>,
}

impl Default for Buffered {
    fn default() -> Self {
        Buffered { turns: VecDeque::new(), unhurried: false, spare: Vec::new(), succeeded: Turn::resolved(Ok(())) }
    }
}

/// The machine's thread.
pub(crate) struct BufferedLane {
    core: Arc<Core>,
}

impl BufferedLane {
    pub(crate) fn new(core: Arc<Core>) -> BufferedLane {
        BufferedLane { core }
    }

    /// Runs until the lane closes.
    pub(crate) fn run(self) {
        let lane = &self.core.buffered_lane;
        loop {
            let mut machine = self.core.buffered.lock();
            let progress = machine.step(&self.core);
            let (unhurried, stalled) = (machine.unhurried, !machine.turns.is_empty());
            drop(machine);
            if progress {
                if unhurried {
                    lane.wait(1, Some(PAUSE));
                }
                continue;
            }
            if self.core.health.is_stopped() || lane.is_closing() {
                // Nobody makes room any more for what is left.
                Buffered::end(&self.core);
                return;
            }
            lane.wait(0, stalled.then_some(Duration::from_millis(50)));
        }
    }
}

/// Has the calling thread take a step if nobody else does. What it waits for may be left over: then its wait rings the bell.
pub(crate) fn step_by_caller(core: &Core) {
    if let Some(mut machine) = core.buffered.try_lock() {
        machine.step(core);
    }
}

/// Has the calling thread write `records`, which are within their limits, right behind what the log has: by way of the lane an
/// append costs as much again as the write. `None` where others come first or anything is not as usual: then nothing was done,
/// and the lane takes them. The ticket is resolved unless they wait for room on the disk.
pub(crate) fn append_alone<'a>(
    core: &Core,
    log: &Arc<LogState>,
    records: impl Iterator<Item = RecordParts<'a>>,
    size: Size,
) -> Option<Ticket> {
    if size.bytes > BATCH_BYTES_TARGET {
        return None;
    }
    let mut machine = core.buffered.try_lock()?;
    if !machine.turns.is_empty() || !core.buffered_lane.is_quiet() || !core.health.is_ok() || core.is_closed() {
        return None;
    }
    whole(core, || machine.append(core, log, records, size))
}

impl Buffered {
    /// See [`append_alone`]. Nothing waits, and what comes to the lane is not taken before this returns: so these records are
    /// written before any with a higher number.
    fn append<'a>(
        &mut self,
        core: &Core,
        log: &Arc<LogState>,
        records: impl Iterator<Item = RecordParts<'a>>,
        size: Size,
    ) -> Option<Ticket> {
        let mut writer = log.writer.lock();
        let context = log.writer_context(&core.files);
        let mut appender = log.appender.lock();
        if !appender.is_empty() || appender.needs_touch(size.count) || log.check_appendable(&appender).is_err() {
            return None;
        }
        let mut buffer = std::mem::take(&mut self.spare);
        buffer.reserve(BatchBuilder::capacity_for(size.bytes));
        let (builder, appended) = appender.encode_next(records, core.stamp(), buffer);
        if !writer.extends(&context, appended.first, builder.encoded_len() as u64) {
            return None;
        }
        appender.pass(&appended);
        drop(appender);
        let (header, bytes) = builder.finish(core.durable_frame(), KIND_RECORDS, log.salt);
        let written = writer.extend(&context, &header, &bytes);
        drop(writer);
        let turn = match written.map_err(|error| failed(log, &error)) {
            Ok(()) => {
                appeared(core, log, header.end(), u64::from(header.count), bytes.len());
                add(&core.counters.turns, 1);
                self.spare = bytes;
                self.succeeded.clone()
            }
            Err(fault) if fault.is_no_space() || fault.is_no_descriptor() => {
                core.budget.adjust(0, size.bytes);
                let share = Share { log: log.clone(), batches: vec![(header, bytes.into())], admitted: size.bytes };
                let turn = core.buffered_lane.turn();
                self.turns.push_back((VecDeque::from([share]), turn.clone()));
                self.advance(core);
                turn
            }
            Err(fault) => {
                core.stop(fault.clone());
                Turn::resolved(Err(Error::OutcomeUnknown { cause: fault }))
            }
        };
        Some(Ticket::new(turn, appended))
    }

    /// Takes a turn and writes what can be written. False when there is nothing to do, or no room.
    pub(crate) fn step(&mut self, core: &Core) -> bool {
        whole(core, || self.advance(core))
    }

    /// Nobody takes anything from now on, and whoever did before, a caller perhaps, is done when this returns: nothing is
    /// written behind it.
    pub(crate) fn end(core: &Core) {
        core.buffered_lane.refuse(Error::Closed);
        core.buffered.lock().turns.drain(..).for_each(|(_, turn)| turn.resolve(Err(Error::Closed)));
    }

    fn advance(&mut self, core: &Core) -> bool {
        if let Some(taken) = core.buffered_lane.take(0) {
            let frame = core.durable_frame();
            // In the list from the start, so that its callers hear of it however this ends.
            self.turns.push_back((VecDeque::new(), taken.turn.clone()));
            let mut shares = VecDeque::new();
            for log in taken.logs {
                let mut builders = Vec::new();
                log.appender.lock().take(&mut builders);
                let admitted = builders.iter().map(BatchBuilder::records_bytes).sum();
                let finish = |b: BatchBuilder| {
                    let (header, bytes) = b.finish(frame, KIND_RECORDS, log.salt);
                    (header, Bytes::from(bytes))
                };
                let batches = builders.into_iter().map(finish).collect();
                shares.push_back(Share { log, batches, admitted });
            }
            self.unhurried = taken.turn.pressure() == 0;
            if let Some((waiting, _)) = self.turns.back_mut() {
                *waiting = shares;
            }
        }
        let mut progress = false;
        while let Some((shares, turn)) = self.turns.front_mut() {
            while let Some(share) = shares.front_mut() {
                if core.reserve_out.load(Ordering::Acquire) {
                    core.upkeep.ring();
                    return progress;
                }
                match write(core, share) {
                    Ok(()) => {
                        shares.pop_front();
                        progress = true;
                    }
                    Err(fault) if fault.is_no_space() => {
                        core.health.set(Health::Full { why: fault.to_string() });
                        core.upkeep.ring();
                        return progress;
                    }
                    // It is tried again, and whoever waits keeps the deadline.
                    Err(fault) if fault.is_no_descriptor() => return progress,
                    Err(fault) => {
                        let unknown = Error::OutcomeUnknown { cause: fault.clone() };
                        core.stop(fault);
                        self.turns.drain(..).for_each(|(_, turn)| turn.resolve(Err(unknown.clone())));
                        return progress;
                    }
                }
            }
            add(&core.counters.turns, 1);
            turn.resolve(Ok(()));
            self.turns.pop_front();
            progress = true;
        }
        progress
    }
}

/// Writes a log's share; after an error without room, what is left of it can be written later.
fn write(core: &Core, share: &mut Share) -> Result<(), Fault> {
    let log = &share.log;
    let Some(end) = share.batches.last().map(|(last, _)| last.end()) else { return Ok(()) };
    let mut writer = log.writer.lock();
    if log.is_deleted() {
        // They were appended before, and went with it.
        core.budget.release(share.admitted as u64);
        return Ok(());
    }
    let batches = std::mem::take(&mut share.batches);
    let (begun, redundant, outcome) = log.write_out(&mut writer, &core.files, batches.clone());
    log.settle_view(begun, &redundant);
    core.retire(log, redundant);
    if let Err(error) = outcome {
        let written = log.view.read().unwrap_or_else(|p| p.into_inner()).segments.last().map_or(0, |s| s.end());
        share.batches = batches.into_iter().filter(|(header, _)| header.end() > written).collect();
        return Err(failed(log, &error));
    }
    drop(writer);
    let (records, bytes) =
        batches.iter().fold((0, 0), |(n, b), (header, bytes)| (n + u64::from(header.count), b + bytes.len()));
    let unshared = batches.into_iter().filter_map(|(_, bytes)| bytes.try_into_mut().ok());
    unshared.for_each(|bytes| core.buffers.give(bytes.into()));
    core.budget.release(share.admitted as u64);
    appeared(core, log, end, records, bytes);
    Ok(())
}

fn failed(log: &LogState, error: &std::io::Error) -> Fault {
    Fault::new("write segment", format!("log {:?}", log.name), error)
}

/// The page cache has the log up to `end`, by so many records and bytes more: readers see them.
fn appeared(core: &Core, log: &Arc<LogState>, end: SequenceNumber, records: u64, bytes: usize) {
    add(&core.counters.records_appended, records);
    add(&core.counters.bytes_appended, bytes as u64);
    {
        let _all_of_it = core.publishing.lock();
        log.set_high(end);
    }
    core.list_for_checkpoint(log);
    log.watch.wake();
}

/// Takes a step; no write may follow one that a panic cut short.
fn whole<T>(core: &Core, step: impl FnOnce() -> T) -> T {
    let cut_short = Unless::new(|| {
        let ended = std::io::Error::other("a step of the buffered lane ended early");
        core.stop(Fault::new("write segment", core.env.disk.root(), &ended));
    });
    let outcome = step();
    cut_short.passed();
    outcome
}

impl Drop for BufferedLane {
    fn drop(&mut self) {
        Buffered::end(&self.core);
    }
}
