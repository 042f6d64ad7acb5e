//! The threads behind a store, as state machines with thin shells around them.
//!
//! | machine | does | thread |
//! |---|---|---|
//! | [`Commit`] | takes a turn of appends and requests, frames it, writes and syncs it, acknowledges it | `braidlog-commit`, or a caller |
//! | [`BufferedLane`] | the same for buffered logs, without journal and sync | `braidlog-buffered`, once there is such a log |
//! | [`Upkeep`] | flushes, checkpoints, makes journal files, applies retention, frees space | `braidlog-upkeep` |
//!
//! Tests run the machines by hand, one step at a time, on a simulated disk.

mod buffered;
mod bulk;
mod commit;
mod frame;
mod guard;
mod leader;
mod packing;
mod request;
#[cfg(all(test, not(loom)))]
mod tests;
mod upkeep;

use std::collections::VecDeque;
use std::time::Duration;

pub(crate) use buffered::{Buffered, BufferedLane, append_alone, step_by_caller};
pub(crate) use commit::Commit;
pub(crate) use leader::CommitMachine;
pub(crate) use request::Request;
pub(crate) use upkeep::Upkeep;

use crate::error::{Error, Result};
use crate::log::LogState;
use crate::sync::{Arc, Condvar, Mutex};
use crate::ticket::{Bell, Turn};

/// What waits for the next turn: logs with open batches, and requests.
pub(crate) struct Lane {
    queue: Mutex<Queue>,
    bell: Arc<Bell>,
}

struct Queue {
    /// Oldest first; appends and requests join the last one. Never empty.
    turns: VecDeque<Taken>,
    /// Set once: what everything that comes later is answered with.
    refused: Option<Error>,
    closing: bool,
    /// Whoever rouses the thread changed the machine, which a thread that is about to sleep does not look at again: it finds this.
    roused: bool,
}

/// One turn and what it is about.
pub(crate) struct Taken {
    pub(crate) turn: Arc<Turn>,
    pub(crate) logs: Vec<Arc<LogState>>,
    pub(crate) requests: Vec<Request>,
    /// What the logs had when they were listed: most of it where there are many.
    listed_bytes: usize,
}

impl Default for Lane {
    fn default() -> Self {
        Lane {
            queue: Mutex::new(Queue { turns: VecDeque::new(), refused: None, closing: false, roused: false }),
            bell: Arc::default(),
        }
    }
}

impl Queue {
    /// The turn that appends and requests join: the last one, unless that is `after`. Also whether this begins it.
    fn joined(&mut self, bell: &Arc<Bell>, after: Option<&Arc<Turn>>) -> (&mut Taken, bool) {
        let begun = self.turns.back().is_some_and(|last| after.is_none_or(|after| !Arc::ptr_eq(after, &last.turn)));
        if !begun {
            let turn = Turn::of(bell);
            self.turns.push_back(Taken { turn, logs: Vec::new(), requests: Vec::new(), listed_bytes: 0 });
        }
        let last = self.turns.len() - 1;
        (&mut self.turns[last], !begun)
    }

    /// How much presses, of all turns.
    fn pressure(&self) -> usize {
        self.turns.iter().fold(0, |sum, taken| sum.saturating_add(taken.turn.pressure()))
    }

    /// Whether there is a turn, and so much pressure.
    fn has(&self, pressure: usize) -> bool {
        !self.turns.is_empty() && self.pressure() >= pressure
    }
}

impl Lane {
    /// Puts a log with its first `bytes` on the list of a turn later than `after`; answers with the turn that will resolve. Called
    /// under the log's appender lock. Whoever doesn't `ring` sees to the turn next, or waits for it, which rings too.
    pub(crate) fn register(
        &self,
        log: &Arc<LogState>,
        bytes: usize,
        after: Option<&Arc<Turn>>,
        ring: bool,
    ) -> Arc<Turn> {
        let mut queue = self.queue.lock();
        if let Some(refused) = &queue.refused {
            // The stop came between the caller's look at the health and here: nobody would ever resolve the queue's turn.
            let turn = Turn::new();
            if !crate::seeded_bug!(PoisonUnseenByLateWaiter) {
                turn.resolve(Err(refused.clone()));
            }
            return turn;
        }
        let (taken, begins) = queue.joined(&self.bell, after);
        taken.logs.push(log.clone());
        let before = taken.listed_bytes;
        taken.listed_bytes += bytes;
        let large = before < Turn::LARGE_BYTES && taken.listed_bytes >= Turn::LARGE_BYTES;
        let turn = taken.turn.clone();
        drop(queue);
        if large {
            turn.grow_large();
        }
        // Whoever began it has rung, or sees to it.
        if ring && begins {
            self.bell.ring(0);
        }
        turn
    }

    /// Queues a request.
    pub(crate) fn request(&self, request: Request) -> Result<Arc<Turn>> {
        let mut queue = self.queue.lock();
        if let Some(refused) = &queue.refused {
            return Err(refused.clone());
        }
        let (taken, begins) = queue.joined(&self.bell, None);
        taken.requests.push(request);
        let turn = taken.turn.clone();
        drop(queue);
        if begins {
            self.bell.ring(0);
        }
        Ok(turn)
    }

    /// A turn of the lane's machine, for what was never in the lane.
    pub(crate) fn turn(&self) -> Arc<Turn> {
        Turn::of(&self.bell)
    }

    /// Whether nothing waits, and what comes is taken.
    pub(crate) fn is_quiet(&self) -> bool {
        let queue = self.queue.lock();
        queue.turns.is_empty() && queue.refused.is_none() && !queue.closing
    }

    /// How many wait for what was not taken yet.
    pub(crate) fn pressure(&self) -> usize {
        self.queue.lock().pressure()
    }

    /// Takes the oldest turn, if there is one and so much pressure.
    pub(crate) fn take(&self, pressure: usize) -> Option<Taken> {
        let mut queue = self.queue.lock();
        if queue.has(pressure) { queue.turns.pop_front() } else { None }
    }

    /// Takes `turn` if it is the oldest, about a few logs' appends and nothing else, and not large.
    pub(crate) fn take_small(&self, turn: &Arc<Turn>, logs_max: usize) -> Option<Taken> {
        let mut queue = self.queue.lock();
        let small = |taken: &Taken| {
            taken.requests.is_empty() && taken.logs.len() <= logs_max && taken.turn.pressure() < Turn::PRESSING
        };
        let takes = queue.turns.front().is_some_and(|taken| Arc::ptr_eq(&taken.turn, turn) && small(taken));
        if takes { queue.turns.pop_front() } else { None }
    }

    /// What was taken is the oldest again; or answered, if everything was meanwhile.
    pub(crate) fn put_back(&self, taken: Taken) {
        let mut queue = self.queue.lock();
        let Some(refused) = queue.refused.clone() else { return queue.turns.push_front(taken) };
        drop(queue);
        taken.turn.resolve(Err(refused));
    }

    /// Has the machine's thread look around, once: it wakes, or does not go to sleep.
    pub(crate) fn rouse(&self) {
        self.queue.lock().roused = true;
        self.bell.ring(Turn::PRESSING);
    }

    /// Blocks until there is something to take under so much pressure, the thread is roused, the lane closes, or the time is up.
    pub(crate) fn wait(&self, pressure: usize, timeout: Option<Duration>) {
        self.bell.wait(timeout, || {
            let queue = self.queue.lock();
            let ready = queue.has(pressure) || queue.closing || queue.roused;
            (!ready).then(|| pressure.saturating_sub(queue.pressure()))
        });
        // It looks around now.
        self.queue.lock().roused = false;
    }

    /// Everything from now on is answered with `error`, and so is what was not taken yet.
    pub(crate) fn refuse(&self, error: Error) {
        let mut queue = self.queue.lock();
        queue.refused.get_or_insert(error.clone());
        let turns = std::mem::take(&mut queue.turns);
        drop(queue);
        turns.into_iter().for_each(|taken| taken.turn.resolve(Err(error.clone())));
        self.bell.ring(Turn::PRESSING);
    }

    /// Asks the machine to end once it has nothing left to do.
    pub(crate) fn close(&self) {
        self.queue.lock().closing = true;
        self.bell.ring(Turn::PRESSING);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.queue.lock().closing
    }
}

/// A bell for the upkeep thread.
#[derive(Default)]
pub(crate) struct Signal {
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Signal {
    /// Something is due.
    pub(crate) fn ring(&self) {
        let mut state = self.state.lock();
        if !state.0 {
            state.0 = true;
            self.changed.notify_all();
        }
    }

    /// The thread should end.
    pub(crate) fn close(&self) {
        self.state.lock().1 = true;
        self.changed.notify_all();
    }

    /// Blocks until rung, closed or the time is up; whether it should end.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.0 && !state.1 {
            state = self.changed.wait_timeout(state, timeout);
        }
        state.0 = false;
        state.1
    }
}
