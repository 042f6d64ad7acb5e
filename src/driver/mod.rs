//! The threads behind a store, as state machines with thin shells around them.
//!
//! | machine | does | thread |
//! |---|---|---|
//! | [`Commit`] | takes a turn of appends and requests, frames it, writes and syncs it, acknowledges it | `braidlog-commit` |
//! | [`BufferedLane`] | the same for buffered logs, without journal and sync | `braidlog-buffered`, once there is such a log |
//! | [`Upkeep`] | flushes, checkpoints, makes journal files, applies retention, frees space | `braidlog-upkeep` |
//!
//! Tests run the machines by hand, one step at a time, on a simulated disk.

mod buffered;
mod commit;
mod upkeep;

use std::collections::VecDeque;
use std::time::Duration;

pub(crate) use buffered::BufferedLane;
pub(crate) use commit::Commit;
pub(crate) use upkeep::Upkeep;

use crate::error::{Error, Result};
use crate::format::manifest::LogRow;
use crate::id::SequenceNumber;
use crate::log::LogState;
use crate::options::LogOptions;
use crate::sync::{Arc, Condvar, Mutex};
use crate::ticket::{Slot, Turn};
use crate::transaction::{Committed, Transaction};

/// Something the commit machine does at its serial point.
pub(crate) enum Request {
    CreateLog {
        name: String,
        options: LogOptions,
        slot: Arc<Slot<Arc<LogState>>>,
    },
    DeleteLog {
        log: Arc<LogState>,
        slot: Arc<Slot<()>>,
    },
    Trim {
        log: Arc<LogState>,
        upto: SequenceNumber,
        slot: Arc<Slot<SequenceNumber>>,
    },
    SetOptions {
        log: Arc<LogState>,
        options: LogOptions,
        slot: Arc<Slot<()>>,
    },
    Transaction {
        transaction: Transaction,
        slot: Arc<Slot<Committed>>,
    },
    /// A buffered log is about to be written, with numbers up to `row.reserved`.
    Touch {
        log: Arc<LogState>,
        row: Box<LogRow>,
    },
}

/// What waits for the next turn: logs with open batches, and requests.
pub(crate) struct Lane {
    queue: Mutex<Queue>,
    bell: Condvar,
}

struct Queue {
    /// Oldest first; appends and requests join the last one. Never empty.
    turns: VecDeque<Taken>,
    /// Set once: what everything that comes later is answered with.
    refused: Option<Error>,
    asleep: bool,
    closing: bool,
}

/// One turn and what it is about.
pub(crate) struct Taken {
    pub(crate) turn: Arc<Turn>,
    pub(crate) logs: Vec<Arc<LogState>>,
    pub(crate) requests: Vec<Request>,
}

impl Default for Lane {
    fn default() -> Self {
        let turns = VecDeque::from([Taken::default()]);
        let queue = Queue { turns, refused: None, asleep: false, closing: false };
        Lane { queue: Mutex::new(queue), bell: Condvar::default() }
    }
}

impl Default for Taken {
    fn default() -> Self {
        Taken { turn: Turn::new(), logs: Vec::new(), requests: Vec::new() }
    }
}

impl Taken {
    fn is_empty(&self) -> bool {
        self.logs.is_empty() && self.requests.is_empty()
    }
}

impl Queue {
    /// The turn that appends and requests join.
    fn last(&mut self) -> &mut Taken {
        if self.turns.is_empty() {
            self.turns.push_back(Taken::default());
        }
        let at = self.turns.len() - 1;
        &mut self.turns[at]
    }

    fn has_work(&self) -> bool {
        self.turns.front().is_some_and(|turn| !turn.is_empty())
    }
}

impl Lane {
    /// Puts a log on the list of a turn later than `after`; answers with the turn that will resolve. Called under the log's
    /// appender lock.
    pub(crate) fn register(&self, log: &Arc<LogState>, after: Option<&Arc<Turn>>) -> Arc<Turn> {
        let mut queue = self.queue.lock();
        if let Some(refused) = &queue.refused {
            // The stop came between the caller's look at the health and here: nobody would ever resolve the queue's turn.
            let turn = Turn::new();
            if !crate::seeded_bug!(PoisonUnseenByLateWaiter) {
                turn.resolve(Err(refused.clone()));
            }
            return turn;
        }
        if after.is_some_and(|after| Arc::ptr_eq(after, &queue.last().turn)) {
            queue.turns.push_back(Taken::default());
        }
        queue.last().logs.push(log.clone());
        self.ring(queue)
    }

    /// Queues a request.
    pub(crate) fn request(&self, request: Request) -> Result<Arc<Turn>> {
        let mut queue = self.queue.lock();
        if let Some(refused) = &queue.refused {
            return Err(refused.clone());
        }
        queue.last().requests.push(request);
        Ok(self.ring(queue))
    }

    fn ring(&self, mut queue: crate::sync::MutexGuard<'_, Queue>) -> Arc<Turn> {
        let turn = queue.last().turn.clone();
        let asleep = queue.asleep;
        drop(queue);
        if asleep {
            self.bell.notify_one();
        }
        turn
    }

    /// Takes what there is, if there is anything.
    pub(crate) fn take(&self) -> Option<Taken> {
        let mut queue = self.queue.lock();
        if queue.has_work() { queue.turns.pop_front() } else { None }
    }

    /// Blocks until there is something to take, the lane closes, or the time is up.
    pub(crate) fn wait(&self, timeout: Option<Duration>) {
        let mut queue = self.queue.lock();
        if !queue.has_work() && !queue.closing {
            queue.asleep = true;
            queue = match timeout {
                None => self.bell.wait(queue),
                Some(timeout) => self.bell.wait_timeout(queue, timeout),
            };
            queue.asleep = false;
        }
    }

    /// Everything from now on is answered with `error`, and so is what was not taken yet.
    pub(crate) fn refuse(&self, error: Error) {
        let mut queue = self.queue.lock();
        queue.refused.get_or_insert(error.clone());
        let turns = std::mem::take(&mut queue.turns);
        drop(queue);
        turns.into_iter().for_each(|taken| taken.turn.resolve(Err(error.clone())));
        self.bell.notify_all();
    }

    /// Asks the machine to end once it has nothing left to do.
    pub(crate) fn close(&self) {
        self.queue.lock().closing = true;
        self.bell.notify_all();
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
