//! `SequenceNumberForOrdering`: records with one key are in order, and what nobody was given is refused.

use std::sync::Arc;
use std::time::Duration;

use braidlog::Error;
use braidlog::env::sim::{ManualClock, SimDisk, Tape};
use braidlog::manual::ManualEngine;
use braidlog::stream::{
    Distribution, HashKey, HashKeyRange, PutRecord, PutRecordsEntry, SequenceNumber, Stream, StreamMode, StreamOptions,
};

use super::run::{env_of, id, operations::plus, options};

struct Rig {
    clock: Arc<ManualClock>,
    engine: ManualEngine,
}

fn rig() -> Rig {
    let clock = Arc::new(ManualClock::new());
    let engine = ManualEngine::open(env_of(&SimDisk::new(Tape::seeded(1)), &clock, 1), options()).unwrap();
    Rig { clock, engine }
}

impl Rig {
    fn stream(&self, options: StreamOptions) -> Stream {
        self.engine.engine().create_stream("clicks", options).unwrap()
    }
}

fn put(stream: &Stream, key: HashKey, minimum: Option<SequenceNumber>) -> Result<PutRecord, Error> {
    let entry = PutRecordsEntry { explicit_hash_key: Some(key), ..PutRecordsEntry::new("key", b"data") };
    stream.put(entry, minimum)
}

fn refused(outcome: Result<PutRecord, Error>, word: &str) {
    let is_it = matches!(
        &outcome,
        Err(Error::InvalidArgument { what: "ExclusiveMinimumSequenceNumber", why, .. }) if why.contains(word)
    );
    assert!(is_it, "{outcome:?}, not {word}");
}

/// Programs hand on the number of their last record, whatever key it had, and the service takes it.
#[test]
fn a_number_of_another_shard_is_taken_and_one_of_the_lineage_is_exceeded() {
    let rig = rig();
    let stream = rig.stream(StreamOptions::new().shards(3));
    let keys: Vec<HashKey> = HashKeyRange::uniform(3).iter().map(|range| range.start).collect();
    let numbers: Vec<SequenceNumber> =
        keys.iter().map(|key| put(&stream, *key, None).unwrap().sequence_number).collect();
    for (from, number) in numbers.iter().enumerate() {
        for (to, key) in keys.iter().enumerate() {
            let put = put(&stream, *key, Some(*number)).unwrap();
            assert!(from != to || put.sequence_number > *number);
        }
    }
    // Along a lineage there is always a higher one, also of what no record has.
    stream.split_shard(id(2), HashKey(keys[2].0 + 1_000)).unwrap();
    assert!(put(&stream, HashKey::MAX, Some(numbers[2])).unwrap().sequence_number > numbers[2]);
    let parent = stream.shards()[2].ending_sequence_number.unwrap();
    assert!(put(&stream, HashKey::MAX, Some(parent)).unwrap().sequence_number > parent);
    let start = stream.shards()[3].starting_sequence_number;
    assert!(put(&stream, keys[2], Some(start)).unwrap().sequence_number > start);
    // What another stream has given out is none of its numbers.
    rig.clock.advance(Duration::from_secs(10));
    let other = rig.engine.engine().create_stream("views", StreamOptions::new().shards(1)).unwrap();
    let foreign = put(&other, HashKey::MIN, None).unwrap().sequence_number;
    refused(put(&stream, keys[0], Some(foreign)), "no shard");
    // What nobody was given yet.
    let open = stream.shards()[3].starting_sequence_number;
    refused(put(&stream, keys[0], Some(plus(open, 1_000 << 80))), "been put yet");
}

/// The second in a number was not looked at.
#[test]
fn a_number_of_a_second_to_come_is_refused() {
    let rig = rig();
    let stream = rig.stream(StreamOptions::new());
    rig.clock.advance(Duration::from_secs(100));
    let last = put(&stream, HashKey::MIN, None).unwrap().sequence_number;
    let far = plus(last, 1_000_000 << 36);
    assert_eq!(far.arrival_second(), last.arrival_second() + 1_000_000);
    refused(put(&stream, HashKey::MIN, Some(far)), "second");
    refused(put(&stream, HashKey::MIN, Some(plus(last, 1 << 36))), "second");
    rig.clock.advance(Duration::from_secs(1));
    let next = put(&stream, HashKey::MIN, Some(plus(last, 1 << 36))).unwrap().sequence_number;
    assert!(next > plus(last, 1 << 36));
    refused(put(&stream, HashKey::MIN, Some(plus(next, 1 << 80))), "been put yet");
}

#[test]
fn where_any_shard_will_do_one_is_taken_whose_numbers_are_above() {
    let rig = rig();
    let stream = rig.stream(StreamOptions::new().mode(StreamMode::OnDemand).distribution(Distribution::Auto));
    let entry = PutRecordsEntry { partition_key: None, explicit_hash_key: None, data: b"data" };
    let mut last = None;
    for _ in 0..40 {
        let put = stream.put(entry, last).unwrap();
        assert!(Some(put.sequence_number) > last);
        last = Some(put.sequence_number);
    }
}
