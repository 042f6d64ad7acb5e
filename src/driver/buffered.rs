//! The lane of buffered logs: from memory into the page cache, then acknowledged.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use crate::core::Core;
use crate::error::{Error, Fault};
use crate::format::batch::{BatchBuilder, BatchHeader, KIND_RECORDS};
use crate::log::LogState;
use crate::metrics::{Health, add};
use crate::sync::Arc;
use crate::ticket::Turn;

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
#[derive(Default)]
pub(crate) struct Buffered {
    /// Turns in order; the front one may wait for room on the disk.
    turns: VecDeque<(VecDeque<Share>, Arc<Turn>)>,
    /// Nobody waited for the last turn, and it was short: the next one is left to grow.
    unhurried: bool,
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

impl Buffered {
    /// Takes a turn and writes what can be written. False when there is nothing to do, or no room.
    pub(crate) fn step(&mut self, core: &Core) -> bool {
        let unfinished = Unfinished(core);
        let progress = self.advance(core);
        std::mem::forget(unfinished);
        progress
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
    let Some((last, _)) = share.batches.last() else { return Ok(()) };
    let end = last.end();
    let outcome = {
        let mut writer = log.writer.lock();
        let batches = std::mem::take(&mut share.batches);
        let (begun, redundant, outcome) = log.write_out(&mut writer, &core.files, batches.clone());
        log.settle_view(begun, &redundant);
        core.retire(log, redundant);
        if outcome.is_err() {
            let written = log.view.read().unwrap_or_else(|p| p.into_inner()).segments.last().map_or(0, |s| s.end());
            share.batches = batches.into_iter().filter(|(header, _)| header.end() > written).collect();
        } else {
            add(&core.counters.records_appended, batches.iter().map(|(h, _)| u64::from(h.count)).sum());
            add(&core.counters.bytes_appended, batches.iter().map(|(_, b)| b.len() as u64).sum());
            let unshared = batches.into_iter().filter_map(|(_, bytes)| bytes.try_into_mut().ok());
            unshared.for_each(|bytes| core.buffers.give(bytes.into()));
        }
        outcome
    };
    outcome.map_err(|error| Fault::new("write segment", format!("log {:?}", log.name), &error))?;
    core.budget.release(share.admitted as u64);
    {
        let _all_of_it = core.publishing.lock();
        log.set_high(end);
    }
    core.list_for_checkpoint(log);
    log.watch.wake();
    Ok(())
}

/// A step that a panic cut short: no write may follow.
struct Unfinished<'a>(&'a Core);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let ended = std::io::Error::other("a step of the buffered lane ended early");
        self.0.stop(Fault::new("write segment", self.0.env.disk.root(), &ended));
    }
}

impl Drop for BufferedLane {
    fn drop(&mut self) {
        Buffered::end(&self.core);
    }
}
