//! Who reads which shard of a consumer group, and from where: rules that take a clock to show.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use braidlog::env::sim::{ManualClock, SimDisk, Tape};
use braidlog::manual::ManualEngine;
use braidlog::stream::{
    Aggregator, GroupOptions, HashKey, RecordBatch, ShardId, StartingPosition, Stream, StreamOptions, ThroughputLimits,
};
use braidlog::{Engine, EngineOptions, Error, LogOptions, StartAt, Transaction};

use super::run::{env_of, id, options};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

struct Rig {
    clock: Arc<ManualClock>,
    engine: ManualEngine,
}

impl Rig {
    fn new(options: EngineOptions) -> Rig {
        let (disk, clock) = (SimDisk::new(Tape::seeded(1)), Arc::new(ManualClock::new()));
        let engine = ManualEngine::open(env_of(&disk, &clock, 1), options.maintenance_interval(None)).unwrap();
        Rig { clock, engine }
    }

    fn engine(&self) -> Engine {
        self.engine.engine().clone()
    }

    fn stream(&self, shards: u32) -> Stream {
        self.engine().create_stream("clicks", StreamOptions::new().shards(shards)).unwrap()
    }
}

/// Puts numbers, each by its key: the rest by seven.
fn put(stream: &Stream, numbers: std::ops::Range<u32>) {
    for n in numbers {
        stream.put_record(&format!("key-{}", n % 7), n.to_string().as_bytes()).unwrap();
    }
}

fn number(data: &[u8]) -> u32 {
    std::str::from_utf8(data).unwrap().parse().unwrap()
}

/// What a worker of the group is given until nothing is left.
fn drain(stream: &Stream, options: GroupOptions) -> Vec<(ShardId, u32)> {
    let seen = std::sync::Mutex::new(Vec::new());
    let group = stream.consumer_group("g", options).unwrap();
    let process = |batch: &mut RecordBatch<'_>| {
        let shard = batch.shard_id();
        seen.lock().unwrap().extend(batch.records().iter().map(|record| (shard, number(&record.data))));
        Ok(())
    };
    let mut worker = group.worker("worker", |_| process).unwrap();
    while worker.step().unwrap() {}
    drop(worker);
    seen.into_inner().unwrap()
}

fn numbers(seen: &[(ShardId, u32)]) -> Vec<u32> {
    let mut numbers: Vec<u32> = seen.iter().map(|(_, n)| *n).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn children_are_read_though_their_parent_expired_before_anybody_read_it() {
    for position in [StartingPosition::TrimHorizon, StartingPosition::AtTimestamp(std::time::UNIX_EPOCH)] {
        let rig = Rig::new(options());
        let stream = rig.stream(1);
        put(&stream, 0..10);
        stream.split_shard(id(0), HashKey(1 << 127)).unwrap();
        put(&stream, 10..20);
        let options = GroupOptions::new().starting_position(position);
        stream.consumer_group("g", options.clone()).unwrap();
        rig.clock.advance(26 * HOUR);
        put(&stream, 20..30);
        let done = rig.engine().maintain().unwrap();
        assert_eq!(done.expired, [("clicks".to_owned(), id(0))]);
        // A reshard after that finds them, too.
        stream.merge_shards(id(1), id(2)).unwrap();
        put(&stream, 30..40);
        assert_eq!(numbers(&drain(&stream, options)), (20..40).collect::<Vec<_>>());
    }
}

#[test]
fn a_group_made_after_reshards_reads_every_parent_before_its_child() {
    for position in [StartingPosition::TrimHorizon, StartingPosition::AtTimestamp(std::time::UNIX_EPOCH)] {
        let rig = Rig::new(options());
        let stream = rig.stream(3);
        put(&stream, 0..70);
        // From three to two: what is merged was in part made by a split just before.
        stream.update_shard_count(2).unwrap();
        put(&stream, 70..140);
        let seen = drain(&stream, GroupOptions::new().records_max(3).starting_position(position));
        assert_eq!(numbers(&seen), (0..140).collect::<Vec<_>>());
        let mut last = BTreeMap::new();
        for (shard, n) in seen {
            assert!(last.insert(n % 7, n).is_none_or(|before| before < n), "{n} of {shard} is out of order");
        }
    }
}

#[test]
fn a_worker_of_a_group_that_was_deleted_and_made_again_commits_nothing() {
    let rig = Rig::new(options());
    let stream = rig.stream(1);
    let copy = rig.engine().store().create_log("copy", LogOptions::new()).unwrap();
    put(&stream, 0..10);
    let copied = |batch: &mut RecordBatch<'_>| {
        let mut output = Transaction::new();
        for record in batch.records() {
            output.append(&copy, &record.data[..]).unwrap();
        }
        output
    };
    let again = std::sync::Mutex::new(Some(()));
    let group = stream.consumer_group("g", GroupOptions::new()).unwrap();
    let process = |batch: &mut RecordBatch<'_>| {
        let output = copied(batch);
        if again.lock().unwrap().take().is_some() {
            stream.delete_consumer_group("g")?;
            let group = stream.consumer_group("g", GroupOptions::new())?;
            let commit = |batch: &mut RecordBatch<'_>| {
                let output = copied(batch);
                Ok(batch.commit(output)?)
            };
            let mut other = group.worker("other", |_| commit)?;
            while other.step()? {}
        }
        let outcome = batch.commit(output);
        assert!(matches!(outcome, Err(Error::Conflict { .. })), "{outcome:?}");
        Ok(outcome?)
    };
    let mut worker = group.worker("worker", |_| process).unwrap();
    while worker.step().unwrap() {}
    assert_eq!(copy.read(StartAt::TrimHorizon).unwrap().count(), 10);
}

#[test]
fn a_sub_sequence_number_is_of_the_record_it_was_said_of() {
    let rig = Rig::new(options());
    let stream = rig.stream(1);
    let aggregate = |users: [&str; 3]| {
        let mut aggregator = Aggregator::new();
        users.iter().for_each(|user| aggregator.add("key", None, user.as_bytes()));
        let record = aggregator.finish().unwrap();
        stream.put_record(record.partition_key, &record.data).unwrap();
    };
    aggregate(["a0", "a1", "a2"]);
    let group = stream.consumer_group("g", GroupOptions::new().checkpoint_after_batch(false)).unwrap();
    let users = |batch: &RecordBatch<'_>| -> Vec<String> {
        batch.user_records(None).map(|user| String::from_utf8(user.data.to_vec()).unwrap()).collect()
    };
    {
        let process =
            |batch: &mut RecordBatch<'_>| Ok(batch.checkpoint_at(batch.records()[0].sequence_number, Some(1))?);
        let mut worker = group.worker("first", |_| process).unwrap();
        while worker.step().unwrap() {}
    }
    let seen = |worker: &str| {
        let seen = std::sync::Mutex::new(Vec::new());
        let process = |batch: &mut RecordBatch<'_>| {
            seen.lock().unwrap().extend(users(batch));
            Ok(())
        };
        let mut worker = group.worker(worker, |_| process).unwrap();
        while worker.step().unwrap() {}
        drop(worker);
        seen.into_inner().unwrap()
    };
    assert_eq!(seen("second"), ["a2"]);
    rig.clock.advance(25 * HOUR);
    aggregate(["b0", "b1", "b2"]);
    assert_eq!(seen("third"), ["b0", "b1", "b2"], "what it was said of has expired");
}

#[test]
fn a_checkpoint_does_not_go_back() {
    let rig = Rig::new(options());
    let stream = rig.stream(1);
    put(&stream, 0..5);
    let group = stream.consumer_group("g", GroupOptions::new().checkpoint_after_batch(false)).unwrap();
    let process = |batch: &mut RecordBatch<'_>| {
        let at = |n: usize| batch.records()[n].sequence_number;
        let (second, fourth) = (at(1), at(3));
        batch.checkpoint_at(fourth, None)?;
        let back = batch.checkpoint_at(second, None);
        assert!(matches!(back, Err(Error::InvalidArgument { .. })), "{back:?}");
        Ok(())
    };
    let mut worker = group.worker("worker", |_| process).unwrap();
    while worker.step().unwrap() {}
    assert_eq!(group.progress().unwrap()[0].records_behind, 1);
}

#[test]
fn who_is_silent_loses_its_leases_whatever_the_wall_clock_says() {
    let rig = Rig::new(options().throughput_limits(ThroughputLimits::Enforce));
    let stream = rig.stream(2);
    let group = stream.consumer_group("g", GroupOptions::new().failover(10 * SECOND)).unwrap();
    let nothing = |_: &mut RecordBatch<'_>| Ok(());
    // Ahead by an hour for a moment, and set right again: the stamps of records stay there until time has caught up.
    rig.clock.advance_wall(HOUR);
    put(&stream, 0..1);
    let mut silent = group.worker("silent", |_| nothing).unwrap();
    while silent.step().unwrap() {}
    assert_eq!(silent.shards().len(), 2);
    rig.clock.set_wall_ms(ManualClock::START_MS);
    let mut other = group.worker("other", |_| nothing).unwrap();
    rig.clock.advance(11 * SECOND);
    while other.step().unwrap() {}
    assert_eq!((group.workers(), other.shards().len()), (vec!["other".to_owned()], 2));
    // Nor is anybody silent because the wall clock jumps.
    rig.clock.advance_wall(HOUR);
    while silent.step().unwrap() | other.step().unwrap() {}
    rig.clock.advance_wall(HOUR);
    assert_eq!(group.workers().len(), 2);
    for _ in 0..20 {
        stream.shard_iterator(id(0), StartingPosition::Latest).unwrap();
        rig.clock.advance_monotonic(SECOND);
    }
}

#[test]
fn a_round_that_takes_long_keeps_its_leases() {
    let rig = Rig::new(options());
    let stream = rig.stream(16);
    let group = stream.consumer_group("g", GroupOptions::new().failover(10 * SECOND).hand_over(60 * SECOND)).unwrap();
    let lost = std::sync::atomic::AtomicU32::new(0);
    struct Slow<'a>(&'a ManualClock, &'a std::sync::atomic::AtomicU32, bool);
    impl braidlog::stream::RecordProcessor for Slow<'_> {
        fn process(&mut self, batch: &mut RecordBatch<'_>) -> Result<(), braidlog::stream::ProcessError> {
            self.0.advance(SECOND + SECOND / 2);
            if self.2 {
                // One batch of its own that takes longer than it may be silent.
                self.0.advance(9 * SECOND);
                batch.heartbeat();
                self.0.advance(9 * SECOND);
            }
            Ok(())
        }
        fn lease_lost(&mut self, _: ShardId) {
            self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let mut next = 0;
    let mut one = group.worker("one", |shard| Slow(&rig.clock, &lost, shard == id(0))).unwrap();
    let mut two = group.worker("two", |shard| Slow(&rig.clock, &lost, shard == id(1))).unwrap();
    let mut round = |lost_before: Option<u32>| {
        put(&stream, next..next + 200);
        next += 200;
        // As threads would: the other has its say while this one is at it.
        for _ in 0..4 {
            one.step().unwrap();
            two.step().unwrap();
        }
        lost_before.inspect(|before| assert_eq!(lost.load(std::sync::atomic::Ordering::Relaxed), *before));
        lost.load(std::sync::atomic::Ordering::Relaxed)
    };
    for _ in 0..20 {
        round(None);
    }
    let before = round(None);
    for _ in 0..5 {
        round(Some(before));
    }
}

#[test]
fn a_lease_that_was_handed_over_for_nothing_is_taken_by_another() {
    let rig = Rig::new(options());
    let stream = rig.stream(6);
    let group = stream.consumer_group("g", GroupOptions::new()).unwrap();
    let nothing = |_: &mut RecordBatch<'_>| Ok(());
    let hire = |name: &str| group.worker(name, |_| nothing).unwrap();
    let mut b = hire("b");
    while b.step().unwrap() {}
    let mut a = hire("a");
    // Until one more would make them equal: asked for, and not handed over yet.
    while a.shards().len() < 2 {
        a.step().unwrap();
        b.step().unwrap();
    }
    a.step().unwrap();
    let (mut d, mut e) = (hire("d"), hire("e"));
    // It hands over what nobody wants any more, for the share is smaller now.
    b.step().unwrap();
    for _ in 0..40 {
        for worker in [&mut a, &mut b, &mut d, &mut e] {
            worker.step().unwrap();
        }
        rig.clock.advance(Duration::from_millis(100));
    }
    let held: Vec<usize> = [&a, &b, &d, &e].map(|worker| worker.shards().len()).to_vec();
    assert_eq!(held.iter().sum::<usize>(), 6, "{held:?}");
    assert!(held.iter().all(|held| (1..=2).contains(held)), "{held:?}");
}

#[test]
fn a_lease_that_is_handed_over_to_somebody_busy_is_read_by_another() {
    let rig = Rig::new(options());
    let stream = rig.stream(4);
    put(&stream, 0..70);
    let group = stream.consumer_group("g", GroupOptions::new()).unwrap();
    let mut first = group.worker("first", |_| |_: &mut RecordBatch<'_>| Ok(())).unwrap();
    while first.step().unwrap() {}
    assert_eq!(first.shards().len(), 4);
    let (first, batches) = (std::sync::Mutex::new(first), AtomicU32::new(0));
    let busy = |batch: &mut RecordBatch<'_>| {
        // With the second it has asked for another lease.
        if batches.fetch_add(1, Ordering::Relaxed) != 1 {
            return Ok(());
        }
        put(&stream, 140..210);
        for _ in 0..100 {
            rig.clock.advance(SECOND);
            batch.heartbeat();
            while first.lock().unwrap().step().unwrap() {}
        }
        for shard in group.progress().unwrap() {
            assert!(shard.shard_id == batch.shard_id() || shard.records_behind == 0, "nobody reads it: {shard:?}");
        }
        Ok(())
    };
    let mut second = group.worker("second", |_| busy).unwrap();
    while batches.load(Ordering::Relaxed) < 2 {
        put(&stream, 70..140);
        second.step().unwrap();
        first.lock().unwrap().step().unwrap();
    }
}

/// Records that nobody can read any more counted as if they had still to be read.
#[test]
fn a_group_is_behind_by_what_can_still_be_read() {
    let rig = Rig::new(options());
    let stream = rig.stream(1);
    put(&stream, 0..10);
    let group = stream.consumer_group("g", GroupOptions::new()).unwrap();
    let behind = || group.progress().unwrap()[0].records_behind;
    assert_eq!(behind(), 10);
    rig.clock.advance(25 * HOUR);
    put(&stream, 10..13);
    assert_eq!(behind(), 3);
    rig.clock.advance(25 * HOUR);
    assert_eq!(behind(), 0);
}
