//! A disk that hangs: nobody waits for longer than a blocking append may take, and what comes after builds on what came of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use braidlog::env::sim::{ManualClock, SimDisk, Tape};
use braidlog::manual::ManualEngine;
use braidlog::stream::{
    GroupOptions, HashKey, ProcessError, PutRecordsEntry, RecordBatch, RecordProcessor, ShardId, StartingPosition,
    Stream, StreamOptions, SubscriptionOptions,
};
use braidlog::{Engine, Error, LogOptions, StartAt, Transaction};

use super::run::{env_of, id, options};

const HALF: HashKey = HashKey(1 << 127);
const HOUR: Duration = Duration::from_secs(3600);
const NONE: [(&str, &str); 0] = [];

struct Rig {
    clock: Arc<ManualClock>,
    engine: ManualEngine,
}

impl Rig {
    fn new() -> Rig {
        let (disk, clock) = (SimDisk::new(Tape::seeded(1)), Arc::new(ManualClock::new()));
        let mut options = options();
        options.store.append_deadline = Duration::from_millis(5);
        let engine = ManualEngine::open(env_of(&disk, &clock, 1), options).unwrap();
        Rig { clock, engine }
    }

    fn engine(&self) -> Engine {
        self.engine.engine().clone()
    }

    fn stream(&self) -> Stream {
        self.engine().create_stream("clicks", StreamOptions::new()).unwrap()
    }

    /// What was asked for while the disk hung is done.
    fn settle(&mut self) {
        self.engine.machines().settle();
    }
}

/// Calls it where nobody steps the machines of the store.
fn while_it_hangs<T: Send>(call: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(call).join().unwrap())
}

fn is_unknown<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::OutcomeUnknown { .. }))
}

fn is_busy<T>(outcome: &Result<T, Error>) -> bool {
    matches!(outcome, Err(error @ Error::Busy { .. }) if error.is_retryable())
}

#[test]
fn a_control_operation_gives_up_and_the_next_builds_on_what_came_of_it() {
    let rig = Rig::new();
    let stream = rig.stream();
    assert!(is_unknown(&while_it_hangs(|| stream.split_shard(id(0), HALF))));
    // Nothing of these is done, whatever comes of the split.
    assert!(is_busy(&while_it_hangs(|| stream.split_shard(id(0), HALF))));
    assert!(is_busy(&while_it_hangs(|| stream.add_tags([("a", "b")]))));
    assert!(is_busy(&while_it_hangs(|| rig.engine().create_stream("more", StreamOptions::new()))));
    assert_eq!(stream.open_shards().len(), 1, "what may come is not shown");
    stream.add_tags([("team", "web")]).unwrap();
    assert_eq!(stream.open_shards().len(), 2, "who may change something sees what was changed before");
    stream.merge_shards(id(1), id(2)).unwrap();
    assert_eq!(stream.tags(), [("team".to_owned(), "web".to_owned())]);

    assert!(is_unknown(&while_it_hangs(|| stream.register_consumer("billing", NONE))));
    let again = stream.register_consumer("billing", NONE);
    assert!(matches!(again, Err(Error::ResourceInUse { .. })), "{again:?}");
    assert!(is_unknown(&while_it_hangs(|| rig.engine().create_stream("more", StreamOptions::new()))));
    let again = rig.engine().create_stream("more", StreamOptions::new());
    assert!(matches!(again, Err(Error::ResourceInUse { .. })), "{again:?}");
    assert!(is_unknown(&while_it_hangs(|| rig.engine().delete_stream("more", false))));
    rig.engine().create_stream("more", StreamOptions::new()).unwrap();
    assert!(is_unknown(&while_it_hangs(|| stream.consumer_group("copiers", GroupOptions::new()))));
    stream.consumer_group("copiers", GroupOptions::new()).unwrap();
    assert_eq!(stream.consumer_groups(), ["copiers"]);
}

#[test]
fn a_consumer_that_is_removed_while_nobody_waits_gets_no_more_events() {
    let mut rig = Rig::new();
    let stream = rig.stream();
    let subscribe =
        || stream.subscribe("billing", id(0), StartingPosition::Latest, SubscriptionOptions::new()).unwrap();
    stream.register_consumer("billing", NONE).unwrap();
    let mut subscription = subscribe();
    assert!(is_unknown(&while_it_hangs(|| stream.deregister_consumer("billing"))));
    rig.settle();
    assert!(matches!(stream.consumer("billing"), Err(Error::ResourceNotFound { .. })));
    stream.put_record("key", b"1").unwrap();
    let event = subscription.next_event(Some(Duration::ZERO));
    assert!(matches!(event, Err(Error::ResourceInUse { .. })), "{event:?}");
    // Nor does it by a namesake.
    stream.register_consumer("billing", NONE).unwrap();
    let mut other = subscribe();
    stream.put_record("key", b"2").unwrap();
    assert_eq!(other.next_event(Some(Duration::ZERO)).unwrap().unwrap().records.len(), 1);
    let event = subscription.next_event(Some(Duration::ZERO));
    assert!(matches!(event, Err(Error::ResourceInUse { .. })), "{event:?}");
}

#[test]
fn time_goes_on_for_a_retention_that_nobody_waited_for() {
    let mut rig = Rig::new();
    let stream = rig.stream();
    let numbers = || {
        let read = stream.read(id(0), StartingPosition::TrimHorizon).unwrap();
        read.map(|record| String::from_utf8(record.unwrap().data.to_vec()).unwrap()).collect::<Vec<_>>()
    };
    stream.put_record("key", b"1").unwrap();
    rig.clock.advance(12 * HOUR);
    stream.put_record("key", b"2").unwrap();
    rig.clock.advance(13 * HOUR);
    assert!(is_unknown(&while_it_hangs(|| stream.set_retention_hours(48))));
    assert_eq!(numbers(), ["2"], "what has expired by the old rule stays so");
    rig.clock.advance(11 * HOUR);
    // It may be that the new rule holds already, so the old one hides nothing more.
    assert_eq!(numbers(), ["2"]);
    rig.settle();
    assert_eq!((stream.describe().retention_hours, numbers()), (48, vec!["2".to_owned()]));
    rig.clock.advance(26 * HOUR);
    assert_eq!(numbers(), Vec::<String>::new());
}

#[test]
fn a_put_that_meets_a_reshard_that_hangs_is_refused_and_may_come_again() {
    let mut rig = Rig::new();
    let stream = rig.stream();
    assert!(is_unknown(&while_it_hangs(|| stream.split_shard(id(0), HALF))));
    // The split is decided, and not durable.
    rig.engine.machines().commit_step_without_waiting();
    assert_eq!(stream.open_shards().len(), 1);
    let put = while_it_hangs(|| stream.put_record("key", b"1"));
    assert!(is_busy(&put), "{put:?}");
    let entries = [PutRecordsEntry::new("key", b"2"), PutRecordsEntry::new("other", b"3")];
    let put = while_it_hangs(|| stream.put_records(&entries)).unwrap();
    assert_eq!(put.failed_record_count(), 2);
    assert!(put.records.iter().all(is_busy), "{put:?}");
    rig.settle();
    stream.put_record("key", b"4").unwrap();
    let all: Vec<_> = (0..3)
        .flat_map(|shard| stream.read(id(shard), StartingPosition::TrimHorizon).unwrap())
        .map(|record| record.unwrap().data)
        .collect();
    assert_eq!(all, ["4"]);
}

#[test]
fn a_worker_whose_commit_hangs_does_its_records_once() {
    // Told as it is, wrapped in something else, or not at all: the engine does not go by what it is told.
    for told in 0..3 {
        let rig = Rig::new();
        let stream = rig.stream();
        let store = rig.engine().store().clone();
        let copy = store.create_log("copy", LogOptions::new()).unwrap();
        let entries: Vec<_> = (0..5).map(|_| PutRecordsEntry::new("key", b"once")).collect();
        stream.put_records(&entries).unwrap();
        let group = stream.consumer_group("copiers", GroupOptions::new().retry_after(Duration::ZERO)).unwrap();
        let hangs = AtomicBool::new(true);
        let process = |batch: &mut RecordBatch<'_>| -> Result<(), ProcessError> {
            let mut output = Transaction::new();
            for record in batch.records() {
                output.append(&copy, &record.data[..])?;
            }
            if !hangs.swap(false, Ordering::Relaxed) {
                return Ok(batch.commit(output)?);
            }
            match (while_it_hangs(|| batch.commit(output)), told) {
                (Ok(()), _) => panic!("nothing could make it durable"),
                (Err(error), 0) => Err(error.into()),
                (Err(error), 1) => Err(format!("wrapped: {error}").into()),
                (Err(_), _) => Ok(()),
            }
        };
        let mut worker = group.worker("worker", |_| process).unwrap();
        let outcomes: Vec<_> = (0..20).map(|_| worker.step()).collect();
        assert_eq!(outcomes.iter().filter(|outcome| is_unknown(outcome)).count(), 1, "{outcomes:?}");
        assert!(outcomes.iter().all(|outcome| outcome.is_ok() || is_unknown(outcome)), "{outcomes:?}");
        assert_eq!(copy.read(StartAt::TrimHorizon).unwrap().count(), 5, "told {told}");
        assert_eq!(group.progress().unwrap()[0].records_behind, 0);
    }
}

#[test]
fn a_shard_whose_end_hangs_ends_once() {
    #[derive(Default)]
    struct Told {
        ended: AtomicU32,
        lost: AtomicU32,
    }
    struct Ends<'a>(&'a Told);
    impl RecordProcessor for Ends<'_> {
        fn process(&mut self, _: &mut RecordBatch<'_>) -> Result<(), ProcessError> {
            Ok(())
        }
        fn shard_ended(&mut self, _: ShardId) -> Result<(), ProcessError> {
            self.0.ended.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
        fn lease_lost(&mut self, _: ShardId) {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
    let (mut rig, told) = (Rig::new(), Told::default());
    let stream = rig.stream();
    stream.put_record("key", b"1").unwrap();
    stream.split_shard(id(0), HALF).unwrap();
    let group = stream.consumer_group("readers", GroupOptions::new()).unwrap();
    let mut worker = group.worker("worker", |_| Ends(&told)).unwrap();
    let counts = || (told.ended.load(Ordering::Relaxed), told.lost.load(Ordering::Relaxed));
    assert!(worker.step().unwrap());
    // Its last checkpoint is durable.
    rig.settle();
    assert_eq!(counts(), (0, 0));
    assert!(is_unknown(&while_it_hangs(|| worker.step())));
    for _ in 0..3 {
        assert!(!while_it_hangs(|| worker.step()).unwrap());
    }
    assert!(!group.progress().unwrap()[0].finished);
    rig.settle();
    while worker.step().unwrap() {}
    assert!(group.progress().unwrap()[0].finished);
    assert_eq!((counts(), worker.shards()), ((1, 0), vec![id(1), id(2)]));
}
