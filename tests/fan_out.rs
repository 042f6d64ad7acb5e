//! Subscribers of a shard that share what they read, against a reader that is alone.
//!
//! `BRAIDLOG_SIM_SEED` replays one history.

#![allow(clippy::unwrap_used)] // a helper that is no test may fail like one

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use braidlog::env::sim::{ManualClock, SeededRandom, SimDisk, Tape};
use braidlog::env::{Clock, Env};
use braidlog::manual::ManualEngine;
use braidlog::stream::{
    HashKey, PutRecordsEntry, Record, Records, SequenceNumber, ShardId, StartingPosition, Stream, StreamOptions,
    Subscription, SubscriptionEvent, SubscriptionOptions,
};
use braidlog::{EngineOptions, Error, StoreOptions};

const NOBODY: [(&str, &str); 0] = [];
const HOUR: Duration = Duration::from_secs(3_600);
const CONSUMERS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// An engine on a simulated disk, and a stream with consumers.
fn engine(tape: &Tape) -> (Arc<ManualClock>, ManualEngine, Stream) {
    let (disk, clock) = (SimDisk::new(tape.clone()), Arc::new(ManualClock::new()));
    let env = Env { disk: Arc::new(disk), clock: clock.clone(), random: Arc::new(SeededRandom::new(7)) };
    let store = StoreOptions::new()
        .journal_file_bytes(256 << 10)
        .journal_files_max(4)
        .bulk_bytes(8192)
        .memory_bytes(512 << 10)
        .retention_interval(Duration::from_secs(1));
    let engine = ManualEngine::open(env, EngineOptions::new().store(store)).unwrap();
    let stream = engine.engine().create_stream("clicks", StreamOptions::new()).unwrap();
    for consumer in CONSUMERS {
        stream.register_consumer(consumer, NOBODY).unwrap();
    }
    (clock, engine, stream)
}

fn put(stream: &Stream, count: usize, bytes: usize) {
    let keys: Vec<String> = (0..count).map(|i| format!("key {i}")).collect();
    let data = vec![7; bytes];
    let entries: Vec<_> = keys.iter().map(|key| PutRecordsEntry::new(key, &data)).collect();
    assert_eq!(stream.put_records(&entries).unwrap().failed_record_count(), 0);
}

fn subscribe(stream: &Stream, consumer: &str, position: StartingPosition) -> Subscription {
    stream.subscribe(consumer, stream.shards()[0].shard_id, position, SubscriptionOptions::new()).unwrap()
}

fn event(subscription: &mut Subscription) -> SubscriptionEvent {
    subscription.next_event(Some(Duration::ZERO)).unwrap().unwrap()
}

#[test]
fn subscribers_that_stand_together_get_the_same_records() {
    let (_clock, _engine, stream) = engine(&Tape::seeded(1));
    let shard = stream.shards()[0].shard_id;
    let mut together = ["a", "b", "c"].map(|name| subscribe(&stream, name, StartingPosition::Latest));
    let less = SubscriptionOptions::new().records_max(5);
    let mut apart = stream.subscribe("d", shard, StartingPosition::Latest, less).unwrap();
    put(&stream, 10, 100);
    let events = together.each_mut().map(event);
    assert_eq!(events[0].records.len(), 10);
    assert!(events.iter().all(|event| std::ptr::eq(event.records.as_ptr(), events[0].records.as_ptr())));
    assert_eq!(event(&mut apart).records[..], events[0].records[..5]);
    // The bytes, of which a record holds one reference each, are counted for everybody.
    let traffic = stream.shard_traffic(shard).unwrap();
    assert_eq!((traffic.records_out, traffic.bytes_out), (35, 35 * 105));
}

#[test]
fn what_was_kept_is_not_handed_out_once_it_expired() {
    let (clock, _engine, stream) = engine(&Tape::seeded(1));
    let [mut quick, mut slow] = ["a", "b"].map(|name| subscribe(&stream, name, StartingPosition::Latest));
    put(&stream, 10, 100);
    clock.advance(HOUR);
    put(&stream, 1, 100);
    assert_eq!(event(&mut quick).records.len(), 11);
    // The first ten expire, no upkeep was done, and the eleven are still there for who stands before them.
    clock.advance(23 * HOUR + Duration::from_millis(1));
    assert_eq!(event(&mut slow).records.len(), 1);
}

#[test]
fn what_is_left_of_a_batch_is_passed_over_once_it_expired() {
    let (clock, _engine, stream) = engine(&Tape::seeded(1));
    let shard = stream.shards()[0].shard_id;
    put(&stream, 10, 100);
    let mut reader = stream.read(shard, StartingPosition::TrimHorizon).unwrap();
    assert_eq!(reader.read(3, 1 << 20).unwrap().len(), 3);
    clock.advance(24 * HOUR + Duration::from_millis(1));
    assert_eq!(reader.read(3, 1 << 20).unwrap(), []);
}

#[test]
fn what_is_kept_for_a_slow_subscriber_holds_no_segment_back() {
    let (clock, mut engine, stream) = engine(&Tape::seeded(1));
    let [mut quick, _slow] = ["a", "b"].map(|name| subscribe(&stream, name, StartingPosition::Latest));
    put(&stream, 10, 100);
    engine.machines().checkpoint().unwrap();
    drop(event(&mut quick));
    drop(quick);
    assert!(engine.machines().store().stats().pins > 0, "it is kept");
    clock.advance(25 * HOUR);
    for _ in 0..10 {
        engine.machines().settle();
        engine.machines().upkeep_step();
        clock.advance(Duration::from_secs(2));
    }
    let stats = engine.machines().store().stats();
    assert!(stats.segments_freed > 0);
    assert_eq!((stats.pins, stats.bytes_pinned), (0, 0));
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls once; whether it is ready.
fn poll_ready(subscription: &Subscription, polls: usize, woken: &Arc<Woken>) -> bool {
    let waker = Waker::from(woken.clone());
    let mut ready = pin!(subscription.ready());
    (0..polls).any(|_| ready.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Ready(()))
}

#[test]
fn a_task_that_had_an_event_lets_others_go_first() {
    let (_clock, _engine, stream) = engine(&Tape::seeded(1));
    let mut subscription = subscribe(&stream, "a", StartingPosition::Latest);
    let woken = Arc::new(Woken::default());
    put(&stream, 1, 10);
    assert!(poll_ready(&subscription, 1, &woken));
    assert_eq!(event(&mut subscription).records.len(), 1);
    // With nothing more it waits, and is called by the writer.
    assert!(!poll_ready(&subscription, 3, &woken));
    assert_eq!(woken.0.load(Ordering::SeqCst), 0);
    put(&stream, 1, 10);
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    assert!(poll_ready(&subscription, 1, &woken));
    assert_eq!(event(&mut subscription).records.len(), 1);
    // With more it has itself called, behind those that are due.
    put(&stream, 1, 10);
    assert!(poll_ready(&subscription, 2, &woken));
    assert_eq!(woken.0.load(Ordering::SeqCst), 2);
}

/// A subscription, and what is known of it.
struct Subscriber {
    consumer: &'static str,
    shard: ShardId,
    subscription: Subscription,
    portion: (usize, usize),
    /// Where it stands.
    position: SequenceNumber,
    since_ms: u64,
    /// Another one took over, or its consumer was removed.
    ended: bool,
    /// Of its last event, if it holds on to them.
    holds: Option<Records>,
}

struct History {
    tape: Tape,
    clock: Arc<ManualClock>,
    engine: ManualEngine,
    stream: Stream,
    subscribers: Vec<Subscriber>,
    /// Records that subscribers had of each shard.
    had: BTreeMap<ShardId, u64>,
    /// And those that were read without them.
    read_alone: RefCell<BTreeMap<ShardId, u64>>,
    /// Events with records.
    events: usize,
    /// Events that are the same records as another subscriber holds.
    shared: usize,
}

impl History {
    fn new(seed: u64) -> History {
        let tape = Tape::seeded(seed);
        let (clock, engine, stream) = engine(&tape);
        let had = BTreeMap::new();
        History {
            tape,
            clock,
            engine,
            stream,
            subscribers: Vec::new(),
            had,
            read_alone: RefCell::default(),
            events: 0,
            shared: 0,
        }
    }

    fn choose(&self, what: &'static str, count: usize) -> usize {
        self.tape.choose(what, count as u64) as usize
    }

    fn step(&mut self) {
        match self.choose("operation", 40) {
            0..10 => put(&self.stream, 1 + self.choose("count", 40), 8 + self.choose("bytes", 400)),
            10..20 => (0..self.subscribers.len()).rev().for_each(|at| self.take(at)),
            20..28 if !self.subscribers.is_empty() => self.take(self.choose("subscriber", self.subscribers.len())),
            28..33 => self.subscribe(),
            33 if !self.subscribers.is_empty() => {
                self.subscribers.swap_remove(self.choose("subscriber", self.subscribers.len()));
            }
            34 => self.clock.advance(Duration::from_millis(self.tape.choose("ms", 6_000))),
            35 => self.clock.advance(HOUR * self.choose("hours", 14) as u32),
            36 => self.reshard(),
            37 => {
                let consumer = CONSUMERS[self.choose("consumer", CONSUMERS.len())];
                self.stream.deregister_consumer(consumer).unwrap();
                self.stream.register_consumer(consumer, NOBODY).unwrap();
                self.subscribers.iter_mut().filter(|s| s.consumer == consumer).for_each(|s| s.ended = true);
            }
            38 => self.engine.machines().checkpoint().unwrap(),
            _ => {
                self.engine.machines().settle();
                self.engine.machines().upkeep_step();
                self.engine.engine().maintain().unwrap();
            }
        }
    }

    fn subscribe(&mut self) {
        let consumer = CONSUMERS[self.choose("consumer", CONSUMERS.len())];
        let shards = self.stream.shards();
        // Most of them meet on the newest shards.
        let from = shards.len().saturating_sub(self.choose("shards", 4)).min(shards.len() - 1);
        let shard = shards[from + self.choose("shard", shards.len() - from)].shard_id;
        let position = match self.choose("position", 3) {
            0 => StartingPosition::TrimHorizon,
            _ => StartingPosition::Latest,
        };
        let portion = [(1_000, 1 << 20), (7, 2_000)][self.choose("portion", 4) / 3];
        let options = SubscriptionOptions::new().records_max(portion.0).bytes_max(portion.1);
        let now_ms = self.clock.wall_ms();
        let before = self.subscribers.iter_mut().find(|s| (s.consumer, s.shard, s.ended) == (consumer, shard, false));
        let refused = before.as_ref().is_some_and(|before| now_ms - before.since_ms < 5_000);
        let lone = self.stream.read(shard, position).unwrap();
        match self.stream.subscribe(consumer, shard, position, options) {
            Err(Error::ResourceInUse { .. }) if refused => {}
            Ok(subscription) if !refused => {
                before.into_iter().for_each(|before| before.ended = true);
                let (position, since_ms) = (lone.position(), now_ms);
                let new = Subscriber {
                    consumer,
                    shard,
                    subscription,
                    portion,
                    position,
                    since_ms,
                    ended: false,
                    holds: None,
                };
                self.subscribers.push(new);
            }
            other => panic!("refused: {refused}, but {other:?}"),
        }
    }

    fn reshard(&mut self) {
        let open = self.stream.open_shards();
        let at = self.choose("open", open.len());
        let range = open[at].hash_key_range;
        let middle = HashKey(range.start.0 + (range.end.0 - range.start.0) / 2 + 1);
        match open.get(at + 1) {
            Some(next) if open.len() > 3 => self.stream.merge_shards(open[at].shard_id, next.shard_id),
            _ => self.stream.split_shard(open[at].shard_id, middle),
        }
        .unwrap();
    }

    /// What a reader that is alone reads from there, as of now.
    fn alone(&self, shard: ShardId, position: SequenceNumber, portion: (usize, usize)) -> Option<Vec<Record>> {
        let mut reader = match self.stream.read(shard, StartingPosition::AfterSequenceNumber(position)) {
            Ok(reader) => reader,
            Err(Error::ResourceNotFound { .. }) => return None,
            Err(error) => panic!("{error}"),
        };
        let records = reader.read(portion.0, portion.1).unwrap();
        *self.read_alone.borrow_mut().entry(shard).or_default() += records.len() as u64;
        Some(records)
    }

    fn take(&mut self, at: usize) {
        self.engine.machines().settle();
        let Subscriber { shard, position, portion, ended, .. } = self.subscribers[at];
        let alone = self.alone(shard, position, portion);
        let holds = self.choose("holds", 2) == 0;
        let subscriber = &mut self.subscribers[at];
        let something = alone.as_ref().is_none_or(|alone| !alone.is_empty()) || ended;
        let ready = poll_ready(&subscriber.subscription, 2, &Arc::default());
        assert!(ready || !something, "it is not told of what there is");
        let event = match subscriber.subscription.next_event(Some(Duration::ZERO)) {
            Err(Error::ResourceInUse { .. }) if ended => return drop(self.subscribers.swap_remove(at)),
            Err(Error::ResourceNotFound { .. }) if alone.is_none() => return drop(self.subscribers.swap_remove(at)),
            Ok(Some(event)) if !ended => event,
            other => panic!("ended: {ended}, but {other:?}"),
        };
        let alone = alone.expect("a shard that there is");
        let count = event.records.len();
        assert_eq!(event.records[..], alone[..count.min(alone.len())]);
        assert_eq!(count == 0, alone.is_empty());
        assert_eq!(event.records.bytes(), event.records.iter().map(bytes).sum::<usize>());
        subscriber.position = event.continuation_sequence_number;
        subscriber.holds = holds.then(|| event.records.clone()).filter(|records| !records.is_empty());
        assert!(event.records.last().is_none_or(|last| last.sequence_number == event.continuation_sequence_number));
        let more = !self.alone(shard, event.continuation_sequence_number, (1, 1)).unwrap().is_empty();
        let now_ms = self.clock.wall_ms();
        let behind = event.records.last().filter(|_| more).map_or(0, |last| now_ms - last.arrival_ms);
        assert_eq!(event.millis_behind_latest, behind);
        let open = self.stream.open_shards().iter().any(|open| open.shard_id == shard);
        assert_eq!(event.child_shards.is_empty(), open || more);
        *self.had.entry(shard).or_default() += count as u64;
        self.events += usize::from(count > 0);
        let held =
            self.subscribers.iter().enumerate().filter(|(other, _)| *other != at).filter_map(|(_, s)| s.holds.as_ref());
        self.shared += usize::from(held.into_iter().any(|held| std::ptr::eq(held.as_ptr(), event.records.as_ptr())));
        if !event.child_shards.is_empty() {
            assert_eq!(self.subscribers[at].subscription.next_event(Some(Duration::ZERO)).unwrap(), None);
            self.subscribers.swap_remove(at);
        }
    }
}

fn bytes(record: &Record) -> usize {
    record.data.len() + record.partition_key().map_or(0, str::len)
}

#[test]
fn subscribers_that_share_get_what_a_lone_reader_does() {
    let one = std::env::var("BRAIDLOG_SIM_SEED").ok().and_then(|seed| seed.parse().ok());
    let histories = std::env::var("BRAIDLOG_FAN_OUT_HISTORIES").map_or(60, |n| n.parse().unwrap());
    let seeds = one.map_or(0..histories, |seed: u64| seed..seed + 1);
    let (mut events, mut shared) = (0, 0);
    for seed in seeds {
        println!("seed {seed}");
        let mut history = History::new(seed);
        (0..250).for_each(|_| history.step());
        for shard in history.stream.shards() {
            let traffic = history.stream.shard_traffic(shard.shard_id).unwrap();
            // Those that read alone, to be compared with, are readers as well.
            let had = |of: &BTreeMap<ShardId, u64>| of.get(&shard.shard_id).copied().unwrap_or(0);
            assert_eq!(traffic.records_out, had(&history.had) + had(&history.read_alone.borrow()));
        }
        // With the last of them go the last records that were kept.
        history.subscribers.clear();
        assert_eq!(history.engine.machines().store().stats().pins, 0);
        events += history.events;
        shared += history.shared;
    }
    println!("figures: {events} events, {shared} of them of records that another subscriber held");
    assert!(one.is_some() || shared * 20 > events, "{shared} of {events} events");
}
