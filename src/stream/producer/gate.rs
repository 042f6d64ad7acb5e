//! Where callers hand over user records, and what they and the machine tell each other.

use std::task::Wake;
use std::time::Duration;

use bytes::Bytes;

use crate::env::Clock;
use crate::error::{Error, Result};
use crate::stream::hash_key::HashKey;
use crate::stream::put::PutRecordsEntry;
use crate::sync::{Arc, Condvar, Mutex};
use crate::ticket::{Pending, Slot, Turn};

use super::PutUserRecord;
use super::options::{ProducerOptions, millis};

/// What a user record is counted as beside its own bytes: itself, its ticket, its place in the queues.
const OVERHEAD_BYTES: usize = 256;

/// A user record that waits.
pub(super) struct Waiting {
    /// The order in which they came.
    pub(super) serial: u64,
    pub(super) arrived_ms: u64,
    pub(super) hash_key: HashKey,
    pub(super) partition_key: Box<str>,
    pub(super) explicit_hash_key: Option<HashKey>,
    pub(super) data: Bytes,
    pub(super) reply: Reply,
}

impl Waiting {
    pub(super) fn entry(&self) -> PutRecordsEntry<'_> {
        PutRecordsEntry {
            partition_key: Some(&self.partition_key),
            explicit_hash_key: self.explicit_hash_key,
            data: &self.data,
        }
    }

    /// What it counts as while it waits.
    pub(super) fn cost(&self) -> usize {
        self.entry().bytes() + OVERHEAD_BYTES
    }
}

/// Where the answer for a user record goes.
pub(super) struct Reply {
    turn: Arc<Turn>,
    slot: Arc<Slot<PutUserRecord>>,
}

impl Reply {
    fn new() -> (Reply, Pending<PutUserRecord>) {
        let (turn, slot) = (Turn::new(), Slot::new());
        (Reply { turn: turn.clone(), slot: slot.clone() }, Pending::new(turn, slot))
    }

    pub(super) fn resolve(self, answer: Result<PutUserRecord>) {
        self.slot.fill(answer);
        self.turn.resolve(Ok(()));
    }
}

#[derive(Default)]
struct Intake {
    /// What the machine has not taken yet.
    records: Vec<Waiting>,
    /// What those count as.
    fresh: usize,
    /// What all that wait count as, the machine's too.
    used: usize,
    next_serial: u64,
    /// User records below it are to be sent without waiting for others.
    flush_below: u64,
    /// All user records below it have their answers; moves while somebody waits for that.
    settled: u64,
    flushing: usize,
    rung: bool,
    closed: bool,
}

/// What the machine takes in.
pub(super) struct Taken {
    pub(super) records: Vec<Waiting>,
    pub(super) flush_below: u64,
    /// The serial after the last that was given.
    pub(super) next_serial: u64,
    pub(super) closed: bool,
    /// Whether somebody waits for [`Gate::settle`].
    pub(super) flushing: bool,
}

/// Between callers and machine. The lock is held for the moment of a hand-over only.
pub(super) struct Gate {
    intake: Mutex<Intake>,
    /// For the thread.
    bell: Condvar,
    /// For callers that wait for room or for their flush.
    changed: Condvar,
    bytes_max: usize,
    /// So many fresh bytes, or records, are worth a look before the time is up.
    fresh_max: usize,
    fresh_records_max: usize,
    buffered_ms: u64,
}

impl Gate {
    pub(super) fn new(options: &ProducerOptions) -> Gate {
        Gate {
            intake: Mutex::default(),
            bell: Condvar::default(),
            changed: Condvar::default(),
            bytes_max: options.buffered_bytes_max,
            fresh_max: options.collection_bytes_max,
            fresh_records_max: if options.aggregation { usize::MAX } else { options.collection_records_max },
            buffered_ms: millis(options.buffered_time_max),
        }
    }

    /// Lets a user record in, or says why not. With `wait` it blocks until there is room.
    pub(super) fn put(
        &self,
        partition_key: &str,
        explicit_hash_key: Option<HashKey>,
        data: Bytes,
        clock: &dyn Clock,
        wait: bool,
    ) -> Result<Pending<PutUserRecord>> {
        let entry = PutRecordsEntry { partition_key: Some(partition_key), explicit_hash_key, data: &data };
        let (cost, hash_key) = (entry.bytes() + OVERHEAD_BYTES, entry.hash_key());
        let mut intake = self.intake.lock();
        loop {
            if intake.closed {
                return Err(Error::Closed);
            }
            // A single user record larger than all the room may go alone, so that it can go at all.
            if intake.used == 0 || intake.used + cost <= self.bytes_max {
                break;
            }
            // No room for more to gather: what there is goes now.
            intake.flush_below = intake.next_serial;
            intake.rung = true;
            self.bell.notify_one();
            if !wait {
                let retry_after = Duration::from_millis(self.buffered_ms);
                return Err(Error::Busy { what: "the producer".to_owned(), retry_after });
            }
            intake = self.changed.wait(intake);
        }
        let (reply, ticket) = Reply::new();
        let waiting = Waiting {
            serial: intake.next_serial,
            arrived_ms: clock.monotonic_ms(),
            hash_key,
            partition_key: partition_key.into(),
            explicit_hash_key,
            data,
            reply,
        };
        intake.next_serial += 1;
        intake.used += cost;
        intake.fresh += cost;
        intake.records.push(waiting);
        let worth_a_look = intake.fresh >= self.fresh_max || intake.records.len() >= self.fresh_records_max;
        intake.rung |= worth_a_look;
        // The first one lets the thread know until when to sleep.
        if worth_a_look || intake.records.len() == 1 {
            self.bell.notify_one();
        }
        Ok(ticket)
    }

    /// Everything put until now is to be sent; waits until it has its answers.
    pub(super) fn flush(&self) {
        let mut intake = self.intake.lock();
        let upto = intake.next_serial;
        intake.flush_below = intake.flush_below.max(upto);
        intake.flushing += 1;
        intake.rung = true;
        self.bell.notify_one();
        while intake.settled < upto {
            intake = self.changed.wait(intake);
        }
        intake.flushing -= 1;
    }

    /// Nothing more is let in; what is there is sent.
    pub(super) fn close(&self) {
        let mut intake = self.intake.lock();
        intake.closed = true;
        intake.flush_below = u64::MAX;
        intake.rung = true;
        drop(intake);
        self.bell.notify_one();
        self.changed.notify_all();
    }

    pub(super) fn take(&self) -> Taken {
        let mut intake = self.intake.lock();
        intake.fresh = 0;
        Taken {
            records: std::mem::take(&mut intake.records),
            flush_below: intake.flush_below,
            next_serial: intake.next_serial,
            closed: intake.closed,
            flushing: intake.flushing > 0,
        }
    }

    /// User records that counted as `cost` wait no more.
    pub(super) fn release(&self, cost: usize) {
        if cost > 0 {
            let mut intake = self.intake.lock();
            intake.used = intake.used.saturating_sub(cost);
            drop(intake);
            self.changed.notify_all();
        }
    }

    /// All user records below `serial` have their answers.
    pub(super) fn settle(&self, serial: u64) {
        let mut intake = self.intake.lock();
        intake.settled = intake.settled.max(serial);
        drop(intake);
        self.changed.notify_all();
    }

    /// Waits until the bell rings, `until_ms` is there, or a user record has waited for long enough.
    pub(super) fn wait(&self, until_ms: Option<u64>, clock: &dyn Clock) {
        let mut intake = self.intake.lock();
        loop {
            if intake.rung {
                intake.rung = false;
                return;
            }
            let fresh_ms = intake.records.first().map(|record| record.arrived_ms + self.buffered_ms);
            let now_ms = clock.monotonic_ms();
            intake = match until_ms.into_iter().chain(fresh_ms).min() {
                Some(due_ms) if due_ms <= now_ms => return,
                Some(due_ms) => self.bell.wait_timeout(intake, Duration::from_millis(due_ms - now_ms)),
                None => self.bell.wait(intake),
            };
        }
    }
}

/// A call on the way to the disk has its outcome.
impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.intake.lock().rung = true;
        self.bell.notify_one();
    }
}
