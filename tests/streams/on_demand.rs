//! On-demand streams: their shards follow the traffic, and what of one stream can't be done keeps nothing from the others.

use std::sync::Arc;
use std::time::Duration;

use braidlog::EngineOptions;
use braidlog::env::sim::{ManualClock, SimDisk, Tape};
use braidlog::manual::ManualEngine;
use braidlog::stream::{
    Distribution, HashKey, Maintenance, OnDemandOptions, PutRecordsEntry, Stream, StreamMode, StreamOptions,
};

use super::run::{env_of, id, options};

const SECOND: Duration = Duration::from_secs(1);
/// Of the records that a shard takes in a second.
const HOT: u64 = 20;

struct Rig {
    clock: Arc<ManualClock>,
    engine: ManualEngine,
}

impl Rig {
    fn new(adjust: impl FnOnce(EngineOptions) -> EngineOptions) -> Rig {
        let mut on_demand = OnDemandOptions::default();
        on_demand.interval = SECOND;
        on_demand.split_records_per_second = HOT;
        on_demand.merge_records_per_second = HOT / 2;
        on_demand.merge_after = 3 * SECOND;
        on_demand.shards_min = 1;
        let clock = Arc::new(ManualClock::new());
        let env = env_of(&SimDisk::new(Tape::seeded(1)), &clock, 1);
        Rig { clock, engine: ManualEngine::open(env, adjust(options().on_demand(on_demand))).unwrap() }
    }

    fn stream(&self, name: &str, distribution: Distribution) -> Stream {
        let on_demand = StreamOptions::new().shards(1).mode(StreamMode::OnDemand).distribution(distribution);
        self.engine.engine().create_stream(name, on_demand).unwrap()
    }

    /// What is done about a second in which this was put.
    fn second(&self, put: impl FnOnce()) -> Maintenance {
        self.maintain();
        put();
        self.clock.advance(SECOND);
        self.maintain()
    }

    fn maintain(&self) -> Maintenance {
        self.engine.engine().maintain().unwrap()
    }
}

fn by_keys(stream: &Stream, keys: impl Iterator<Item = u128>) {
    for key in keys {
        let entry = PutRecordsEntry { explicit_hash_key: Some(HashKey(key)), ..PutRecordsEntry::new("key", b"data") };
        stream.put(entry, None).unwrap();
    }
}

fn without_keys(stream: &Stream, count: u64) {
    for _ in 0..count {
        let entry = PutRecordsEntry { partition_key: None, explicit_hash_key: None, data: b"data" };
        stream.put(entry, None).unwrap();
    }
}

/// Far more than make a shard hot, and all in a corner of the first one.
fn corner() -> impl Iterator<Item = u128> {
    (1..=320).map(|key| key << 64)
}

/// Where the open shards begin.
fn ranges(stream: &Stream) -> Vec<u128> {
    stream.open_shards().iter().map(|shard| shard.hash_key_range.start.0).collect()
}

#[test]
fn a_hot_shard_is_split_where_its_traffic_is_and_cold_neighbours_are_merged() {
    let rig = Rig::new(|options| options);
    let stream = rig.stream("clicks", Distribution::ByKey);
    let done = rig.second(|| by_keys(&stream, corner()));
    assert_eq!(done.splits, [("clicks".to_owned(), id(0))]);
    let at = ranges(&stream)[1] >> 64;
    assert!((140..180).contains(&at), "half of 320 keys lie below {at}");
    // Nothing comes any more.
    let merges: Vec<_> = (0..6).flat_map(|_| rig.second(|| ()).merges).collect();
    assert_eq!((merges, ranges(&stream)), (vec![("clicks".to_owned(), id(1), id(2))], vec![0]));
}

#[test]
fn of_a_hot_shard_that_has_a_single_key_it_is_said_and_nothing_done() {
    let rig = Rig::new(|options| options);
    let stream = rig.stream("clicks", Distribution::ByKey);
    let before = ranges(&stream);
    let done = rig.second(|| by_keys(&stream, (0..2 * u128::from(HOT)).map(|_| 7)));
    assert_eq!((done.single_key, done.splits), (vec![("clicks".to_owned(), id(0))], vec![]));
    assert_eq!(ranges(&stream), before);
}

/// Every sixteenth record was looked at, so that of keys in turn it was always the same, and seemed to have all of the traffic.
#[test]
fn a_shard_whose_keys_come_in_turn_is_split() {
    for period in [2, 3, 4, 8, 16, 32] {
        for count in [u128::from(HOT) * 2, 320, 3_000] {
            let rig = Rig::new(|options| options);
            let stream = rig.stream("clicks", Distribution::ByKey);
            let done = rig.second(|| by_keys(&stream, (0..count).map(|n| (1 + n % period) << 100)));
            assert_eq!((done.single_key, done.splits.len()), (vec![], 1), "{count} records of {period} keys");
        }
    }
}

/// Only the upper halves of hash keys were remembered.
#[test]
fn a_shard_with_hash_keys_that_differ_little_is_split_between_them() {
    let rig = Rig::new(|options| options);
    let stream = rig.stream("clicks", Distribution::ByKey);
    let done = rig.second(|| by_keys(&stream, 1..=320));
    assert_eq!((done.single_key, done.splits.len()), (vec![], 1));
    let at = ranges(&stream)[1];
    assert!((140..180).contains(&at), "half of 320 keys lie below {at}");
}

/// Records were counted, not what they carry: it was split again and again, and the key stayed with one of the two.
#[test]
fn a_shard_that_is_hot_by_the_large_records_of_one_key_is_not_split() {
    let rig = Rig::new(|mut options| {
        options.on_demand.split_bytes_per_second = 20_000;
        options.on_demand.merge_bytes_per_second = 10_000;
        options.on_demand.split_records_per_second = 1_000;
        options
    });
    let stream = rig.stream("clicks", Distribution::ByKey);
    let data = [0; 4_000];
    let mixed = || {
        for n in 0..320 {
            by_keys(&stream, std::iter::once((n + 1) << 64));
            if n % 16 == 3 {
                let (key, large) = (HashKey(7 << 64), PutRecordsEntry::new("key", &data));
                stream.put(PutRecordsEntry { explicit_hash_key: Some(key), ..large }, None).unwrap();
            }
        }
    };
    let done = rig.second(mixed);
    assert_eq!((done.single_key, done.splits), (vec![("clicks".to_owned(), id(0))], vec![]));
    // Of as many records it has few: where the shard is hot by these, it is split.
    let rig = Rig::new(|options| options);
    let again = rig.stream("clicks", Distribution::ByKey);
    let done = rig.second(|| by_keys(&again, (0..340).map(|n| if n % 17 == 3 { 7 << 64 } else { (n + 1) << 64 })));
    assert_eq!((done.single_key, done.splits.len()), (vec![], 1));
}

/// Their samples were of the hash of a key that they don't have, so that no such stream ever grew.
#[test]
fn hot_shards_of_a_stream_without_keys_are_split_in_the_middle() {
    let rig = Rig::new(|options| options);
    let stream = rig.stream("clicks", Distribution::Auto);
    let done = rig.second(|| without_keys(&stream, 2 * HOT));
    assert_eq!(done.splits, [("clicks".to_owned(), id(0))]);
    assert_eq!(ranges(&stream), [0, 1 << 127]);
    // They share what comes, and both are hot.
    let done = rig.second(|| without_keys(&stream, 4 * HOT));
    assert_eq!((done.splits.len(), ranges(&stream).len()), (2, 4));
}

/// A hot stream of an account that may not have more shards ended the maintenance of all that come behind it.
#[test]
fn a_stream_at_its_accounts_limit_keeps_nothing_from_the_others() {
    let rig = Rig::new(|options| options.open_shards_max(3));
    let hot = rig.stream("a-hot-one", Distribution::ByKey);
    let other = rig.engine.engine().create_stream("b", StreamOptions::new()).unwrap();
    other.split_shard(id(0), HashKey(1 << 127)).unwrap();
    rig.clock.advance(Duration::from_secs(25 * 3600));
    let open = ranges(&hot).len();
    let done = rig.second(|| by_keys(&hot, corner()));
    assert_eq!((done.at_limit, done.splits), (vec![("a-hot-one".to_owned(), id(0))], vec![]));
    assert_eq!(ranges(&hot).len(), open);
    assert!(other.shards().iter().all(|shard| shard.shard_id != id(0)));
}

/// What was found of other accounts was left out of the answer.
#[test]
fn what_is_found_of_every_account_is_said_and_whoever_watches_is_told() {
    let rig = Rig::new(|options| options);
    let engine = rig.engine.engine();
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let by = told.clone();
    engine.on_maintenance(move |done, error| by.lock().unwrap().push((done.clone(), error.is_none())));
    let on_demand = StreamOptions::new().shards(1).mode(StreamMode::OnDemand);
    let stream = engine.for_account("123456789012").unwrap().create_stream("clicks", on_demand).unwrap();
    let done = rig.second(|| by_keys(&stream, (0..2 * u128::from(HOT)).map(|_| 7)));
    assert!(done.single_key.is_empty());
    let [(account, of_account)] = &done.accounts[..] else { panic!("{done:?}") };
    assert_eq!((&account[..], &of_account.single_key[..]), ("123456789012", &[("clicks".to_owned(), id(0))][..]));
    assert_eq!(*told.lock().unwrap(), [(Maintenance::default(), true), (done.clone(), true)]);
    assert_eq!(engine.last_maintenance(), done);
}
