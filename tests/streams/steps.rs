//! Control operations of streams that are large: what fits no frame goes in several, is carried on wherever the machine dies, and
//! nothing is accepted that can't be done.

use std::sync::Arc;
use std::time::Duration;

use braidlog::env::sim::{Crash, ManualClock, SimDisk, Tape};
use braidlog::manual::ManualEngine;
use braidlog::stream::{
    GroupOptions, HashKey, HashKeyRange, PutRecordsEntry, StartingPosition, Stream, StreamOptions, StreamStatus,
};
use braidlog::{Engine, EngineOptions, Error};

use super::run::{env_of, id, options};

const HOUR: Duration = Duration::from_secs(3600);
const TIME: Duration = Duration::from_millis(500);

/// Steps of 40 KiB.
fn small_steps() -> EngineOptions {
    let mut options = options().maintenance_interval(None);
    options.store = options.store.memory_bytes(160 << 10);
    options
}

/// As long as names get.
fn group_name(n: u32) -> String {
    format!("{n:0>128}")
}

struct Rig {
    disk: SimDisk,
    clock: Arc<ManualClock>,
    engine: ManualEngine,
}

impl Rig {
    fn on(disk: SimDisk, clock: Arc<ManualClock>, life: u64, options: EngineOptions) -> Rig {
        let engine = ManualEngine::open(env_of(&disk, &clock, life), options).unwrap();
        Rig { disk, clock, engine }
    }

    fn new(options: EngineOptions) -> Rig {
        Rig::on(SimDisk::new(Tape::seeded(1)), Arc::new(ManualClock::new()), 1, options)
    }

    /// A stream of so many shards, each with a record, and so many groups.
    fn stream(&self, shards: u32, groups: u32) -> Stream {
        let options = StreamOptions::new().shards(shards.min(240));
        let stream = self.engine.engine().create_stream("clicks", options).unwrap();
        self.clock.advance(TIME);
        stream.scale_to(shards).unwrap();
        for range in HashKeyRange::uniform(shards) {
            put_at(&stream, range.start);
        }
        (0..groups).for_each(|n| drop(stream.consumer_group(&group_name(n), GroupOptions::new()).unwrap()));
        stream
    }

    fn found(&self) -> Stream {
        self.engine.engine().stream("clicks").unwrap()
    }
}

fn put_at(stream: &Stream, key: HashKey) {
    let entry = PutRecordsEntry { explicit_hash_key: Some(key), ..PutRecordsEntry::new("key", b"data") };
    stream.put(entry, None).unwrap();
}

fn records(stream: &Stream) -> usize {
    let shards = stream.shards();
    shards.iter().map(|shard| stream.read(shard.shard_id, StartingPosition::TrimHorizon).unwrap().count()).sum()
}

fn leases(stream: &Stream, group: &str) -> usize {
    stream.consumer_group(group, GroupOptions::new()).unwrap().progress().unwrap().len()
}

/// Does something on a fork of what `base` left, and has the machine die at each operation of the disk while it does, then again
/// somewhere while it is opened. `check` is given what is there in the end and whether the call was answered as done.
fn die_anywhere(base: Rig, act: impl Fn(&Rig) -> Result<(), Error>, check: impl Fn(&Rig, bool)) {
    let Rig { disk: base, engine, .. } = base;
    drop(engine);
    for at in 0.. {
        let clock = Arc::new(ManualClock::new());
        let rig = Rig::on(base.fork(), clock.clone(), 2 + at, small_steps());
        let frames = rig.engine.engine().store().stats().frames;
        rig.disk.set_torn_crash_at(rig.disk.operations() + at);
        let outcome = act(&rig);
        let is_whole = !rig.disk.is_dead();
        if is_whole {
            outcome.clone().unwrap();
            assert!(rig.engine.engine().store().stats().frames - frames > 1, "it took a single frame");
        }
        let Rig { disk, engine, .. } = rig;
        drop(engine);
        let disk = disk.crash(Crash::Power, &Tape::seeded(at));
        disk.set_torn_crash_at(disk.operations() + at * 5 % 17);
        let _ = ManualEngine::open(env_of(&disk, &clock, 1_000 + at), small_steps());
        let disk = disk.crash(Crash::Power, &Tape::seeded(at));
        let rig = Rig::on(disk, clock.clone(), 2_000 + at, small_steps());
        assert_eq!(rig.engine.left_over().unwrap(), Vec::<String>::new(), "crash at {at}");
        check(&rig, outcome.is_ok());
        if is_whole {
            assert!(at > 3);
            return;
        }
    }
}

#[test]
fn a_deletion_in_steps_that_crashes_anywhere_is_whole_or_was_never_begun() {
    let rig = Rig::new(small_steps());
    rig.stream(120, 3);
    let delete = |rig: &Rig| rig.engine.engine().delete_stream("clicks", false);
    die_anywhere(rig, delete, |rig, is_done| match rig.engine.engine().stream("clicks") {
        Ok(stream) => {
            assert!(!is_done, "it was acknowledged");
            assert_eq!((records(&stream), leases(&stream, &group_name(2))), (120, 120));
        }
        Err(error) => {
            assert!(matches!(error, Error::ResourceNotFound { .. }), "{error}");
            let again = rig.stream(3, 1);
            assert_eq!((records(&again), leases(&again, &group_name(0))), (3, 3));
        }
    });
}

#[test]
fn a_group_that_is_made_in_steps_is_whole_or_was_never_begun_wherever_it_crashes() {
    let rig = Rig::new(small_steps());
    rig.stream(240, 0);
    let make = |rig: &Rig| rig.found().consumer_group(&group_name(0), GroupOptions::new()).map(drop);
    die_anywhere(rig, make, |rig, is_done| {
        let groups = rig.found().consumer_groups();
        assert!(groups == [group_name(0)] || groups.is_empty() && !is_done);
        assert_eq!(leases(&rig.found(), &group_name(0)), 240);
    });
}

#[test]
fn a_group_that_is_deleted_in_steps_is_whole_or_gone_wherever_it_crashes() {
    let rig = Rig::new(small_steps());
    let stream = rig.stream(400, 0);
    // One whose name begins as that of the other.
    stream.consumer_group(&group_name(0)[..127], GroupOptions::new()).unwrap();
    stream.consumer_group(&group_name(0), GroupOptions::new()).unwrap();
    drop(stream);
    let delete = |rig: &Rig| rig.found().delete_consumer_group(&group_name(0)[..127]);
    die_anywhere(rig, delete, |rig, is_done| {
        let groups = rig.found().consumer_groups();
        assert!(groups == [group_name(0)] || groups.len() == 2 && !is_done, "{groups:?}");
        let shards = rig.found().shards().len();
        assert_eq!(leases(&rig.found(), &group_name(0)), shards);
        assert_eq!(leases(&rig.found(), &group_name(0)[..127]), shards);
    });
}

/// What a crash leaves keeps its records by one rule in all shards, and that is the one it is described with.
#[test]
fn a_retention_that_changes_in_steps_is_one_for_all_shards_wherever_it_crashes() {
    for (before, after) in [(24, 48), (48, 24)] {
        let rig = Rig::new(small_steps());
        let stream = rig.stream(200, 0);
        stream.set_retention_hours(before).unwrap();
        drop(stream);
        let change = |rig: &Rig| rig.found().set_retention_hours(after);
        die_anywhere(rig, change, |rig, is_done| {
            let stream = rig.found();
            let hours = stream.describe().retention_hours;
            assert!(hours == after || hours == before && !is_done, "{hours}");
            assert_eq!(records(&stream), 200);
            rig.clock.advance(30 * HOUR);
            assert_eq!(records(&stream), if hours == 48 { 200 } else { 0 });
        });
    }
}

/// What goes was counted with all leases that there are, of all shards: from some size on no shard ever went.
#[test]
fn shards_expire_in_a_stream_with_many_leases() {
    let rig = Rig::new(small_steps());
    let stream = rig.stream(200, 3);
    stream.split_shard(id(7), HashKey(stream.shards()[7].hash_key_range.start.0 + 1_000)).unwrap();
    rig.clock.advance(25 * HOUR);
    let done = rig.engine.engine().maintain().unwrap();
    assert_eq!(done.expired, [("clicks".to_owned(), id(7))]);
    assert_eq!(leases(&stream, &group_name(1)), 201);
}

/// With a transition time the stream stayed `UPDATING` for ever, and could not be deleted.
#[test]
fn a_stream_with_many_groups_is_scaled_in_smaller_steps() {
    for time in [Duration::ZERO, TIME] {
        let rig = Rig::new(small_steps().transition_time(time));
        let stream = rig.stream(64, 20);
        stream.update_shard_count(128).unwrap();
        rig.clock.advance(TIME);
        assert_eq!((stream.describe().stream_status, stream.open_shards().len()), (StreamStatus::Active, 128));
        assert_eq!(leases(&stream, &group_name(19)), 192);
        stream.update_shard_count(64).unwrap();
        rig.clock.advance(TIME);
        assert_eq!((stream.describe().stream_status, stream.open_shards().len()), (StreamStatus::Active, 64));
        rig.clock.advance(TIME);
        rig.engine.engine().delete_stream("clicks", false).unwrap();
        assert_eq!(rig.engine.left_over().unwrap(), Vec::<String>::new());
    }
}

#[test]
fn a_group_too_many_is_refused_so_that_every_shard_can_be_split() {
    let rig = Rig::new(small_steps().transition_time(TIME));
    let stream = rig.stream(1, 0);
    let mut groups = 0;
    let refused = loop {
        match stream.consumer_group(&group_name(groups), GroupOptions::new()) {
            Ok(_) => groups += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, Error::LimitExceeded { what } if what.contains("delete some")), "{refused}");
    assert!(groups > 100, "{groups}");
    stream.split_shard(id(0), HashKey(1 << 127)).unwrap();
    rig.clock.advance(TIME);
    assert_eq!((stream.describe().stream_status, stream.open_shards().len()), (StreamStatus::Active, 2));
    stream.delete_consumer_group(&group_name(0)).unwrap();
    stream.consumer_group(&group_name(groups), GroupOptions::new()).unwrap();
}

/// The service's largest stream, on a real disk with the default options.
#[test]
fn a_stream_of_ten_thousand_shards_is_scaled_retained_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Engine::open_with(dir.path(), EngineOptions::new().maintenance_interval(None)).unwrap();
    let engine = open();
    let stream = engine.create_stream("clicks", StreamOptions::new().shards(10_000)).unwrap();
    for n in 0..5 {
        stream.consumer_group(&group_name(n), GroupOptions::new()).unwrap();
    }
    // Closed shards count, too: 15,000 with 75,000 leases.
    stream.update_shard_count(5_000).unwrap();
    assert_eq!(leases(&stream, &group_name(4)), 15_000);
    stream.set_retention_hours(48).unwrap();
    stream.delete_consumer_group(&group_name(4)).unwrap();
    engine.delete_stream("clicks", false).unwrap();
    let again = engine.create_stream("clicks", StreamOptions::new()).unwrap();
    engine.close().unwrap();
    drop((stream, again));
    assert_eq!(open().stream("clicks").unwrap().shards().len(), 1);
}

#[test]
fn a_stream_with_a_hundred_and_fifty_groups_is_scaled() {
    let dir = tempfile::tempdir().unwrap();
    let options = EngineOptions::new().maintenance_interval(None).transition_time(Duration::from_millis(1));
    let engine = Engine::open_with(dir.path(), options).unwrap();
    let stream = engine.create_stream("clicks", StreamOptions::new().shards(256)).unwrap();
    while stream.describe().stream_status != StreamStatus::Active {
        std::thread::yield_now();
    }
    for n in 0..150 {
        stream.consumer_group(&group_name(n), GroupOptions::new()).unwrap();
    }
    stream.update_shard_count(512).unwrap();
    while stream.describe().stream_status != StreamStatus::Active {
        std::thread::yield_now();
    }
    assert_eq!((stream.open_shards().len(), leases(&stream, &group_name(149))), (512, 768));
    engine.delete_stream("clicks", false).unwrap();
}
