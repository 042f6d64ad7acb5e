//! What streams and consumers are between a control operation and its end.

use std::sync::Arc;
use std::time::Duration;

use braidlog::env::sim::{Crash, ManualClock, SimDisk, Tape};
use braidlog::manual::ManualEngine;
use braidlog::stream::{
    ConsumerStatus, HashKey, ShardFilter, ShardMetric, StartingPosition, Stream, StreamMode, StreamOptions,
    StreamStatus, SubscriptionOptions,
};
use braidlog::{Engine, Error};

use super::run::{env_of, id, options};

const TIME: Duration = Duration::from_millis(500);
const HALF: HashKey = HashKey(1 << 127);
const NONE: [(&str, &str); 0] = [];

fn open(disk: &SimDisk, clock: &Arc<ManualClock>, life: u64, time: Duration) -> ManualEngine {
    ManualEngine::open(env_of(disk, clock, life), options().transition_time(time)).unwrap()
}

struct Rig {
    disk: SimDisk,
    clock: Arc<ManualClock>,
    engine: ManualEngine,
}

impl Rig {
    fn new() -> Rig {
        let (disk, clock) = (SimDisk::new(Tape::seeded(1)), Arc::new(ManualClock::new()));
        let engine = open(&disk, &clock, 1, TIME);
        Rig { disk, clock, engine }
    }

    fn engine(&self) -> Engine {
        self.engine.engine().clone()
    }

    /// A stream that is active.
    fn stream(&self, name: &str) -> Stream {
        let stream = self.engine().create_stream(name, StreamOptions::new()).unwrap();
        self.clock.advance(TIME);
        stream
    }

    /// The machine dies and starts again.
    fn restart(self, life: u64, time: Duration) -> Rig {
        let Rig { disk, clock, engine } = self;
        drop(engine);
        let disk = disk.crash(Crash::Power, &Tape::seeded(life));
        let engine = open(&disk, &clock, life, time);
        Rig { disk, clock, engine }
    }
}

fn status(stream: &Stream) -> StreamStatus {
    stream.describe().stream_status
}

fn in_use<T: std::fmt::Debug>(outcome: Result<T, Error>, word: &str) {
    assert!(matches!(&outcome, Err(Error::ResourceInUse { why, .. }) if why.contains(word)), "{outcome:?}, not {word}");
}

fn not_found<T: std::fmt::Debug>(outcome: Result<T, Error>) {
    assert!(matches!(&outcome, Err(Error::ResourceNotFound { .. })), "{outcome:?}");
}

/// Everything that the service does to an active stream only.
fn all_are_refused(stream: &Stream, word: &str) {
    in_use(stream.split_shard(id(0), HALF), word);
    in_use(stream.merge_shards(id(0), id(1)), word);
    in_use(stream.update_shard_count(2), word);
    in_use(stream.increase_retention_hours(48), word);
    in_use(stream.decrease_retention_hours(24), word);
    in_use(stream.set_mode(StreamMode::OnDemand), word);
    in_use(stream.set_max_record_kib(2048), word);
    in_use(stream.set_encryption_key(Some("alias/key")), word);
    in_use(stream.enable_shard_metrics(&[ShardMetric::IncomingBytes]), word);
    in_use(stream.register_consumer("billing", NONE), word);
}

#[test]
fn a_stream_is_creating_then_active_then_deleting_and_then_its_name_is_free() {
    let rig = Rig::new();
    let engine = rig.engine();
    let stream = engine.create_stream("clicks", StreamOptions::new()).unwrap();
    assert_eq!(status(&stream), StreamStatus::Creating);
    not_found(stream.put_record("key", b"data"));
    not_found(stream.shard_iterator(id(0), StartingPosition::Latest));
    in_use(stream.list_shards(ShardFilter::AtLatest, None, 10), "CREATING");
    in_use(stream.add_tags([("a", "1")]), "CREATING");
    in_use(engine.delete_stream("clicks", true), "CREATING");
    in_use(engine.create_stream("clicks", StreamOptions::new()), "exists");
    all_are_refused(&stream, "CREATING");
    rig.clock.advance(TIME - Duration::from_millis(1));
    assert_eq!(status(&stream), StreamStatus::Creating);
    rig.clock.advance(Duration::from_millis(1));
    assert_eq!(status(&stream), StreamStatus::Active);
    stream.put_record("key", b"data").unwrap();

    engine.delete_stream("clicks", false).unwrap();
    let gone = engine.stream("clicks").unwrap();
    for stream in [&stream, &gone] {
        assert_eq!(status(stream), StreamStatus::Deleting);
        not_found(stream.put_record("key", b"data"));
        in_use(stream.list_shards(ShardFilter::AtLatest, None, 10), "DELETING");
        in_use(stream.remove_tags(&["a"]), "DELETING");
        all_are_refused(stream, "DELETING");
    }
    in_use(engine.delete_stream("clicks", false), "DELETING");
    in_use(engine.create_stream("clicks", StreamOptions::new()), "deleted");
    engine.create_stream("aaa", StreamOptions::new()).unwrap();
    assert_eq!(engine.list_streams(None, 1).unwrap().stream_names, ["aaa"]);
    let rest = engine.list_streams(Some("aaa"), 1).unwrap();
    assert_eq!((rest.stream_names, rest.has_more), (vec!["clicks".to_owned()], false));
    rig.clock.advance(TIME);
    not_found(engine.stream("clicks"));
    not_found(gone.set_max_record_kib(2048));
    assert_eq!(engine.list_streams(None, 10).unwrap().stream_names, ["aaa"]);
    engine.create_stream("clicks", StreamOptions::new()).unwrap();
}

#[test]
fn five_streams_are_creating_at_a_time() {
    let rig = Rig::new();
    let create = |n: u32| rig.engine().create_stream(&format!("stream-{n}"), StreamOptions::new());
    (0..5).for_each(|n| drop(create(n).unwrap()));
    assert!(matches!(create(5), Err(Error::LimitExceeded { .. })));
    rig.clock.advance(TIME);
    create(5).unwrap();
}

#[test]
fn what_is_put_while_a_shard_is_being_split_goes_to_the_old_shard() {
    let rig = Rig::new();
    let stream = rig.stream("clicks");
    stream.split_shard(id(0), HALF).unwrap();
    assert_eq!(status(&stream), StreamStatus::Updating);
    assert_eq!(stream.put_record("key", b"before").unwrap().shard_id, id(0));
    assert_eq!(stream.list_shards(ShardFilter::default(), None, 10).unwrap().shards.len(), 1);
    stream.add_tags([("a", "1")]).unwrap();
    all_are_refused(&stream, "UPDATING");
    in_use(rig.engine().delete_stream("clicks", true), "UPDATING");
    rig.clock.advance(TIME);
    // A put does not wait for anything: it goes where the stream has its shards until somebody looks.
    assert_eq!(stream.put_record("key", b"before, too").unwrap().shard_id, id(0));
    assert_eq!((status(&stream), stream.shards().len()), (StreamStatus::Active, 3));
    assert_ne!(stream.put_record("key", b"after").unwrap().shard_id, id(0));
    assert_eq!(stream.read(id(0), StartingPosition::TrimHorizon).unwrap().count(), 2);

    stream.merge_shards(id(1), id(2)).unwrap();
    assert_eq!((status(&stream), stream.open_shards().len()), (StreamStatus::Updating, 2));
    rig.clock.advance(TIME);
    rig.engine().maintain().unwrap();
    assert_eq!((status(&stream), stream.open_shards().len()), (StreamStatus::Active, 1));

    stream.update_shard_count(2).unwrap();
    rig.clock.advance(TIME);
    assert_eq!((status(&stream), stream.open_shards().len()), (StreamStatus::Active, 2));
    // What changes nothing is over at once.
    stream.update_shard_count(2).unwrap();
    assert_eq!(status(&stream), StreamStatus::Active);
}

/// It went by the number of shards that the stream had before, and refused this until somebody had looked at the stream.
#[test]
fn a_stream_is_scaled_from_the_shards_it_has_once_what_is_due_is_done() {
    let rig = Rig::new();
    let stream = rig.stream("clicks");
    stream.split_shard(id(0), HALF).unwrap();
    rig.clock.advance(TIME);
    stream.update_shard_count(4).unwrap();
    rig.clock.advance(TIME);
    assert_eq!(stream.open_shards().len(), 4);
}

#[test]
fn settings_change_at_once_and_leave_the_stream_updating_for_a_while() {
    let rig = Rig::new();
    let stream = rig.stream("clicks");
    let changes: [fn(&Stream); 7] = [
        |stream| stream.increase_retention_hours(48).unwrap(),
        |stream| stream.decrease_retention_hours(24).unwrap(),
        |stream| stream.set_encryption_key(Some("alias/key")).unwrap(),
        |stream| stream.set_encryption_key(None).unwrap(),
        |stream| stream.set_max_record_kib(2048).unwrap(),
        |stream| drop(stream.enable_shard_metrics(&[ShardMetric::IncomingBytes]).unwrap()),
        |stream| stream.set_mode(StreamMode::OnDemand).unwrap(),
    ];
    for change in changes {
        change(&stream);
        assert_eq!(status(&stream), StreamStatus::Updating);
        all_are_refused(&stream, "UPDATING");
        stream.put_record("key", b"data").unwrap();
        rig.clock.advance(TIME);
        assert_eq!(status(&stream), StreamStatus::Active);
    }
    stream.add_tags([("a", "1")]).unwrap();
    assert_eq!(status(&stream), StreamStatus::Active);
    let description = stream.describe();
    assert_eq!((description.retention_hours, description.max_record_kib), (24, 2048));
    assert_eq!(description.mode, StreamMode::OnDemand);
}

#[test]
fn a_consumer_is_creating_then_active_then_deleting() {
    let rig = Rig::new();
    let stream = rig.stream("clicks");
    let arn = stream.register_consumer("billing", NONE).unwrap().consumer_arn;
    let consumer = |status| {
        let consumer = stream.consumer("billing").unwrap();
        assert_eq!((consumer.consumer_status, &consumer.consumer_arn), (status, &arn));
        assert_eq!(stream.consumers(), std::slice::from_ref(&consumer));
        assert_eq!(stream.consumer_by_arn(&arn).unwrap(), consumer);
    };
    let subscribe =
        || stream.subscribe("billing", id(0), StartingPosition::Latest, SubscriptionOptions::new()).map(drop);
    consumer(ConsumerStatus::Creating);
    in_use(subscribe(), "CREATING");
    rig.clock.advance(TIME);
    consumer(ConsumerStatus::Active);
    subscribe().unwrap();
    stream.deregister_consumer("billing").unwrap();
    consumer(ConsumerStatus::Deleting);
    in_use(subscribe(), "DELETING");
    in_use(stream.register_consumer("billing", NONE), "removed");
    assert_eq!(stream.describe().consumer_count, 0);
    rig.clock.advance(TIME);
    not_found(stream.consumer("billing"));
    for n in 0..5 {
        stream.register_consumer(&format!("consumer-{n}"), NONE).unwrap();
    }
    assert!(matches!(stream.register_consumer("billing", NONE), Err(Error::LimitExceeded { .. })));
    rig.clock.advance(TIME);
    stream.register_consumer("billing", NONE).unwrap();
}

#[test]
fn what_is_on_its_way_when_the_machine_dies_is_carried_on_and_all_else_is_over() {
    let rig = Rig::new();
    let (clicks, orders) = (rig.stream("clicks"), rig.stream("orders"));
    let views = rig.stream("views");
    clicks.split_shard(id(0), HALF).unwrap();
    orders.increase_retention_hours(48).unwrap();
    views.update_shard_count(2).unwrap();
    rig.clock.advance(TIME / 2);
    rig.engine().create_stream("new", StreamOptions::new()).unwrap();
    let of = |rig: &Rig, name: &str| status(&rig.engine().stream(name).unwrap());
    drop((clicks, orders, views));

    let rig = rig.restart(2, TIME);
    assert_eq!((of(&rig, "clicks"), of(&rig, "views")), (StreamStatus::Updating, StreamStatus::Updating));
    assert_eq!((of(&rig, "orders"), of(&rig, "new")), (StreamStatus::Active, StreamStatus::Active));
    all_are_refused(&rig.engine().stream("clicks").unwrap(), "UPDATING");
    rig.clock.advance(TIME / 2);
    assert_eq!(of(&rig, "clicks"), StreamStatus::Active);
    assert_eq!(rig.engine().stream("clicks").unwrap().open_shards().len(), 2);

    // Who opens it without transitions finds it done, whenever it was asked for and whatever the wall clock says.
    rig.clock.set_wall_ms(ManualClock::START_MS - 3_600_000);
    let rig = rig.restart(3, Duration::ZERO);
    assert_eq!(of(&rig, "views"), StreamStatus::Active);
    assert_eq!(rig.engine().stream("views").unwrap().open_shards().len(), 2);
}

#[test]
fn a_stream_that_is_deleted_at_once_leaves_nothing_to_do() {
    let rig = Rig::new();
    let stream = rig.stream("clicks");
    stream.split_shard(id(0), HALF).unwrap();
    rig.clock.advance(TIME);
    assert_eq!(status(&stream), StreamStatus::Active);
    rig.engine().delete_stream("clicks", true).unwrap();
    drop(stream);
    let rig = rig.restart(2, TIME);
    not_found(rig.engine().stream("clicks"));
    rig.engine().create_stream("clicks", StreamOptions::new()).unwrap();
}

/// The machine dies at each operation of the disk, from the call to the end of what it asked for.
#[test]
fn a_scaling_that_crashes_anywhere_ends_whole_or_was_never_asked_for() {
    let (mut never, mut carried_on, mut at) = (0, 0, 0);
    loop {
        let rig = Rig::new();
        let stream = rig.stream("clicks");
        stream.put_record("key", b"before").unwrap();
        let begin = rig.disk.operations();
        rig.disk.set_torn_crash_at(begin + at);
        let asked = stream.scale_to(8);
        let acknowledged = 1 + usize::from(asked.is_ok() && stream.put_record("key", b"meanwhile").is_ok());
        rig.clock.advance(TIME);
        let active = status(&stream) == StreamStatus::Active && asked.is_ok();
        let whole = !rig.disk.is_dead();
        assert!(!whole || active);
        drop(stream);
        let rig = rig.restart(at + 2, TIME);
        let stream = rig.engine().stream("clicks").unwrap();
        rig.clock.advance(TIME);
        assert_eq!(status(&stream), StreamStatus::Active);
        match stream.open_shards().len() {
            1 => {
                assert!(asked.is_err(), "crash at {at}: it was acknowledged");
                never += 1;
            }
            8 => carried_on += u32::from(!active),
            other => panic!("crash at {at}: {other} shards"),
        }
        let records: usize = stream
            .shards()
            .iter()
            .map(|shard| stream.read(shard.shard_id, StartingPosition::TrimHorizon).unwrap().count())
            .sum();
        assert!((acknowledged..=2).contains(&records), "crash at {at}: {records} records, {acknowledged} acknowledged");
        if whole {
            break;
        }
        at += 1;
    }
    assert!(never > 0 && carried_on > 3, "of {at} crashes {never} were before it and {carried_on} inside");
}

#[test]
fn a_thread_of_the_engine_does_what_is_due_though_nobody_looks() {
    let dir = tempfile::tempdir().unwrap();
    let options = braidlog::EngineOptions::new().transition_time(Duration::from_millis(50));
    let engine = Engine::open_with(dir.path(), options).unwrap();
    let stream = engine.create_stream("clicks", StreamOptions::new()).unwrap();
    while status(&stream) == StreamStatus::Creating {
        std::thread::yield_now();
    }
    let reader = stream.read(id(0), StartingPosition::Latest).unwrap();
    stream.split_shard(id(0), HALF).unwrap();
    assert_eq!(reader.shard_end().unwrap(), None);
    assert!(!reader.wait(Some(Duration::from_secs(60))).unwrap());
    assert_eq!(reader.shard_end().unwrap().unwrap().len(), 2);
    engine.close().unwrap();
    let too_long = braidlog::EngineOptions::new().transition_time(Duration::from_secs(24 * 3600 + 1));
    let refused = Engine::open_with(dir.path(), too_long);
    assert!(matches!(refused, Err(Error::InvalidArgument { what: "transition_time", .. })), "{refused:?}");
}
