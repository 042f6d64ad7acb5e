//! The producer as a state machine: user records and the time in, calls and answers out.
//!
//! Three rules. A user record waits in the lane of the shard that the newest map gives it; when the map changes, all that wait
//! are placed anew in the order they came. A lane is sent from its front only, and what a shard did not take goes back to the
//! front: so for every key the order of putting is the order of reading. A call is put into the very shard it was packed for
//! or, if that was closed meanwhile, not at all: so no aggregated record ever holds a user record of another shard.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::limits::{SHARD_BYTES_IN, SHARD_RECORDS_IN};
use crate::stream::Stream;
use crate::stream::aggregate::{AggregatedRecord, Aggregator, is_aggregated};
use crate::stream::options::{Distribution, distribution_of};
use crate::stream::put::PutRecordsEntry;
use crate::stream::sequence_number::SequenceNumber;
use crate::stream::shard::{ShardId, ShardMap, ShardState};
use crate::stream::throughput::Bucket;
use crate::sync::Arc;
use crate::ticket::{Appended, Ticket};

use super::PutUserRecord;
use super::gate::{Gate, Reply, Waiting};
use super::options::{ProducerOptions, millis};

/// When a shard that refused a call is asked again, unless it said so itself.
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// What waits for one shard.
struct Lane {
    shard: Arc<ShardState>,
    waiting: VecDeque<Waiting>,
    /// What those count as.
    cost: usize,
    retry_at_ms: u64,
    /// Why the shard refused the front.
    refusal: Option<Error>,
    rate: Option<Rate>,
}

/// The limit that the options set.
#[derive(Clone)]
struct Rate {
    bytes: Bucket,
    records: Bucket,
}

impl Rate {
    fn new(percent: u32) -> Rate {
        let part = |of: u64| Bucket::new((of * u64::from(percent) / 100).max(1));
        Rate { bytes: part(SHARD_BYTES_IN), records: part(SHARD_RECORDS_IN) }
    }

    fn take(&mut self, record: &Packed) {
        self.bytes.take(record.bytes() as u64);
        self.records.take(1);
    }

    fn wait_ms(&mut self, now_ms: u64) -> u64 {
        self.bytes.fill(now_ms);
        self.records.fill(now_ms);
        self.bytes.wait_ms().max(self.records.wait_ms())
    }

    fn has_room(&self) -> bool {
        self.bytes.has_room() && self.records.has_room()
    }
}

/// A record as it is put, and the user records in it.
struct Packed {
    users: Vec<Waiting>,
    aggregated: Option<AggregatedRecord>,
}

impl Packed {
    fn entry(&self) -> Option<PutRecordsEntry<'_>> {
        match &self.aggregated {
            None => self.users.first().map(Waiting::entry),
            Some(record) => Some(PutRecordsEntry {
                partition_key: Some(record.partition_key),
                explicit_hash_key: Some(record.explicit_hash_key),
                data: &record.data,
            }),
        }
    }

    fn bytes(&self) -> usize {
        self.entry().map_or(0, |entry| entry.bytes())
    }
}

/// A call on its way to the disk, with the answers it owes: one list for each of its records.
struct Call {
    shard: Arc<ShardState>,
    ticket: Ticket,
    first_serial: u64,
    replies: Vec<Vec<Reply>>,
}

impl Call {
    fn new(shard: Arc<ShardState>, ticket: Ticket, packed: Vec<Packed>) -> Call {
        let users = |record: Packed| record.users.into_iter().map(|user| user.reply).collect();
        let first_serial = packed.iter().flat_map(|record| &record.users).map(|user| user.serial).min();
        let replies = packed.into_iter().map(users).collect();
        Call { shard, ticket, first_serial: first_serial.unwrap_or(u64::MAX), replies }
    }

    fn answer(self, outcome: Result<Appended>) {
        let birth = self.shard.birth;
        for (replies, offset) in self.replies.into_iter().zip(0..) {
            for (reply, sub_sequence_number) in replies.into_iter().zip(0..) {
                reply.resolve(outcome.clone().map(|Appended { first, arrival_ms, .. }| PutUserRecord {
                    shard_id: self.shard.id,
                    sequence_number: SequenceNumber::of_record(birth, first + offset, arrival_ms),
                    sub_sequence_number,
                    arrival_ms,
                }));
            }
        }
    }
}

/// What became of a try to send the front of a lane.
enum Sent {
    /// What was taken from the front is on its way, or failed for good.
    Gone,
    /// Not now.
    Later,
    /// The shard was closed; there is a newer map.
    Moved,
}

pub(super) struct Machine {
    stream: Stream,
    options: ProducerOptions,
    gate: Arc<Gate>,
    waker: Waker,
    map: Arc<ShardMap>,
    distribution: Distribution,
    /// Which shard the next call goes to where any will do.
    turn: usize,
    lanes: BTreeMap<ShardId, Lane>,
    calls: Vec<Call>,
    flush_below: u64,
}

impl Machine {
    pub(super) fn new(stream: Stream, options: ProducerOptions, gate: Arc<Gate>) -> Machine {
        Machine {
            map: stream.state.shards(),
            distribution: distribution_of(&stream.state.row()),
            waker: Waker::from(gate.clone()),
            turn: 0,
            lanes: BTreeMap::new(),
            calls: Vec::new(),
            flush_below: 0,
            stream,
            options,
            gate,
        }
    }

    /// Does what is due, and says when to come back if nobody rings before; `None` when it was closed and all is done.
    pub(super) fn step(&mut self, now_ms: u64) -> Option<Next> {
        let taken = self.gate.take();
        self.flush_below = taken.flush_below;
        self.follow_shards();
        taken.records.into_iter().for_each(|record| self.place(record));
        self.expire(now_ms);
        while self.send_due(now_ms) {
            self.follow_shards();
        }
        // Also those that were just sent: each is asked at least once, or nobody would ring for it.
        self.reap();
        if taken.flushing {
            self.gate.settle(self.first_unsettled().unwrap_or(taken.next_serial));
        }
        if taken.closed && self.first_unsettled().is_none() {
            return None;
        }
        Some(Next { at_ms: self.next_ms() })
    }

    /// Places what waits anew if what it was placed by has changed.
    fn follow_shards(&mut self) {
        let map = self.stream.state.shards();
        let distribution = distribution_of(&self.stream.state.row());
        if map.version == self.map.version && distribution == self.distribution {
            return;
        }
        (self.map, self.distribution) = (map, distribution);
        let mut waiting: Vec<Waiting> = Vec::new();
        for lane in self.lanes.values_mut() {
            waiting.extend(lane.waiting.drain(..));
            lane.cost = 0;
        }
        let open = self.map.open();
        self.lanes.retain(|id, _| open.iter().any(|shard| shard.id == *id));
        waiting.sort_unstable_by_key(|record| record.serial);
        waiting.into_iter().for_each(|record| self.place(record));
    }

    fn place(&mut self, record: Waiting) {
        let open = self.map.open();
        let at = match self.distribution {
            Distribution::ByKey => self.map.owner(record.hash_key),
            Distribution::Auto => self.turn % open.len().max(1),
        };
        let Some(shard) = open.get(at) else {
            // The ranges of the open shards tile the hash space, so there is one.
            let what = format!("open shard in stream {}", self.stream.name());
            self.gate.release(record.cost());
            return record.reply.resolve(Err(Error::ResourceNotFound { what }));
        };
        let rate = self.options.rate_limit_percent;
        let lane = self.lanes.entry(shard.id).or_insert_with(|| Lane {
            shard: shard.clone(),
            waiting: VecDeque::new(),
            cost: 0,
            retry_at_ms: 0,
            refusal: None,
            rate: rate.map(Rate::new),
        });
        lane.cost += record.cost();
        lane.waiting.push_back(record);
    }

    /// Gives up on user records that waited for too long.
    fn expire(&mut self, now_ms: u64) {
        let live_ms = millis(self.options.time_to_live);
        for lane in self.lanes.values_mut() {
            while let Some(record) = lane.waiting.pop_front_if(|record| record.arrived_ms + live_ms <= now_ms) {
                let busy = || Error::Busy { what: format!("shard {}", lane.shard.id), retry_after: RETRY_AFTER };
                lane.cost -= record.cost();
                self.gate.release(record.cost());
                record.reply.resolve(Err(lane.refusal.clone().unwrap_or_else(busy)));
            }
        }
    }

    /// Sends what is due; whether a shard turned out to be closed, so that all has to be placed anew.
    fn send_due(&mut self, now_ms: u64) -> bool {
        let shards: Vec<ShardId> = self.lanes.keys().copied().collect();
        for shard in shards {
            while self.lanes.get(&shard).is_some_and(|lane| self.due_ms(lane).is_some_and(|due| due <= now_ms)) {
                match self.send(shard, now_ms) {
                    Sent::Gone => self.turn = self.turn.wrapping_add(1),
                    Sent::Later => break,
                    Sent::Moved => return true,
                }
            }
        }
        false
    }

    /// When the front of a lane is to be sent; `None` if nothing waits.
    fn due_ms(&self, lane: &Lane) -> Option<u64> {
        let front = lane.waiting.front()?;
        let full = lane.cost >= self.options.collection_bytes_max
            || !self.options.aggregation && lane.waiting.len() >= self.options.collection_records_max;
        let at_once = full || front.serial < self.flush_below;
        let gathered = if at_once { 0 } else { front.arrived_ms + millis(self.options.buffered_time_max) };
        Some(gathered.max(lane.retry_at_ms))
    }

    /// Sends one call from the front of a lane.
    fn send(&mut self, shard: ShardId, now_ms: u64) -> Sent {
        let Some(lane) = self.lanes.get_mut(&shard) else { return Sent::Later };
        if let Some(wait_ms) = lane.rate.as_mut().map(|rate| rate.wait_ms(now_ms)).filter(|wait_ms| *wait_ms > 0) {
            lane.retry_at_ms = now_ms + wait_ms;
            return Sent::Later;
        }
        let mut packed = lane.pack(&self.options);
        // What the stream would not take any more, such as a record above a lowered maximum, fails alone.
        let checked = |record: &Packed| record.entry().map_or(Ok(()), |entry| self.stream.check_entry(entry));
        let refused = packed.iter().zip(0..).find_map(|(record, at)| Some((at, checked(record).err()?)));
        if let Some((at, error)) = refused {
            lane.put_back(packed.split_off(at + 1));
            let refused = packed.split_off(at);
            lane.put_back(packed);
            return self.fail(refused, &error);
        }
        let entries: Vec<PutRecordsEntry<'_>> = packed.iter().filter_map(Packed::entry).collect();
        let error = match self.stream.push_to(&lane.shard, &entries) {
            Ok((ticket, count)) => {
                let rest = packed.split_off(count.min(packed.len()));
                lane.refusal = None;
                lane.put_back(rest);
                if let Some(rate) = &mut lane.rate {
                    packed.iter().for_each(|record| rate.take(record));
                }
                self.gate.release(packed.iter().flat_map(|record| &record.users).map(Waiting::cost).sum());
                self.calls.push(Call::new(lane.shard.clone(), ticket, packed));
                return Sent::Gone;
            }
            Err(Error::LogClosed { .. }) => match self.stream.await_newer_map(&self.map) {
                Ok(()) => {
                    lane.put_back(packed);
                    return Sent::Moved;
                }
                Err(error) => error,
            },
            Err(error) => error,
        };
        if !error.is_retryable() {
            return self.fail(packed, &error);
        }
        let after = match &error {
            Error::Busy { retry_after, .. } => *retry_after,
            _ => RETRY_AFTER,
        };
        lane.put_back(packed);
        lane.retry_at_ms = now_ms + millis(after).max(1);
        lane.refusal = Some(error);
        Sent::Later
    }

    /// These are never put.
    fn fail(&self, packed: Vec<Packed>, error: &Error) -> Sent {
        for record in packed.into_iter().flat_map(|record| record.users) {
            self.gate.release(record.cost());
            record.reply.resolve(Err(error.clone()));
        }
        Sent::Gone
    }

    /// Answers for the calls that have their outcome.
    fn reap(&mut self) {
        let mut context = Context::from_waker(&self.waker);
        for mut call in std::mem::take(&mut self.calls) {
            match Pin::new(&mut call.ticket).poll(&mut context) {
                Poll::Ready(outcome) => call.answer(outcome),
                Poll::Pending => self.calls.push(call),
            }
        }
    }

    /// The oldest user record without an answer.
    fn first_unsettled(&self) -> Option<u64> {
        let waiting = self.lanes.values().filter_map(|lane| lane.waiting.front()).map(|record| record.serial);
        waiting.chain(self.calls.iter().map(|call| call.first_serial)).min()
    }

    /// When something is due next. Calls on their way ring.
    fn next_ms(&self) -> Option<u64> {
        let live_ms = millis(self.options.time_to_live);
        let of_lane = |lane: &Lane| {
            let expires_ms = lane.waiting.front()?.arrived_ms + live_ms;
            Some(self.due_ms(lane)?.min(expires_ms))
        };
        self.lanes.values().filter_map(of_lane).min()
    }
}

/// When a machine wants to be stepped again; `None`: not before somebody rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) at_ms: Option<u64>,
}

impl Lane {
    /// Takes the records of one call from the front.
    fn pack(&mut self, options: &ProducerOptions) -> Vec<Packed> {
        let mut call = Vec::new();
        let mut bytes = 0;
        let mut rate = self.rate.clone();
        while call.len() < options.collection_records_max && rate.as_ref().is_none_or(Rate::has_room) {
            let Some(packed) = self.pack_one(options) else { break };
            bytes += packed.bytes();
            if bytes > options.collection_bytes_max && !call.is_empty() {
                self.put_back(vec![packed]);
                break;
            }
            if let Some(rate) = &mut rate {
                rate.take(&packed);
            }
            call.push(packed);
        }
        call
    }

    /// Takes one record from the front: as many user records as fit into an aggregated one, or one on its own.
    fn pack_one(&mut self, options: &ProducerOptions) -> Option<Packed> {
        let mut aggregator = Aggregator::new();
        let mut users: Vec<Waiting> = Vec::new();
        let fits = |aggregator: &Aggregator, user: &Waiting| {
            let bytes = aggregator.bytes_with(&user.partition_key, user.explicit_hash_key, user.data.len());
            bytes <= options.aggregation_bytes_max
        };
        while options.aggregation
            && let Some(user) = self.waiting.pop_front_if(|user| fits(&aggregator, user))
        {
            aggregator.add(&user.partition_key, user.explicit_hash_key, &user.data);
            users.push(user);
        }
        if users.is_empty() {
            users.push(self.waiting.pop_front()?);
        }
        self.cost -= users.iter().map(Waiting::cost).sum::<usize>();
        // One on its own goes as it is, unless a reader would take it apart.
        let alone = |user: &Waiting| !is_aggregated(&user.data);
        let aggregated = match &users[..] {
            [only] if !options.aggregation || alone(only) => None,
            [only] if aggregator.is_empty() => {
                aggregator.add(&only.partition_key, only.explicit_hash_key, &only.data);
                aggregator.finish()
            }
            _ => aggregator.finish(),
        };
        Some(Packed { users, aggregated })
    }

    /// Puts back, to the front and in their order, what was taken from there.
    fn put_back(&mut self, packed: Vec<Packed>) {
        for user in packed.into_iter().flat_map(|record| record.users).rev() {
            self.cost += user.cost();
            self.waiting.push_front(user);
        }
    }
}

#[cfg(test)]
mod tests;
