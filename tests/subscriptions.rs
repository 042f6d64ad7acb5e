//! Enhanced fan-out on the real disk, with a clock that the test winds.

#![allow(clippy::unwrap_used)] // a helper that is no test may fail like one

use std::sync::Arc;
use std::time::Duration;

use braidlog::env::Env;
use braidlog::env::sim::ManualClock;
use braidlog::stream::{
    HashKey, PutRecordsEntry, StartingPosition, Stream, StreamOptions, Subscription, SubscriptionOptions,
};
use braidlog::{Engine, EngineOptions, Error, StoreOptions};

const NOBODY: [(&str, &str); 0] = [];

fn engine() -> (tempfile::TempDir, Arc<ManualClock>, Engine) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new());
    let env = Env { clock: clock.clone(), ..Env::system(dir.path()).unwrap() };
    let store = StoreOptions::new().journal_file_bytes(1 << 20).reserve_bytes(0);
    (dir, clock, Engine::open_in(env, EngineOptions::new().store(store)).unwrap())
}

fn put(stream: &Stream, numbers: std::ops::Range<u32>) {
    let data: Vec<String> = numbers.map(|i| i.to_string()).collect();
    let entries: Vec<_> = data.iter().map(|data| PutRecordsEntry::new("key", data.as_bytes())).collect();
    assert_eq!(stream.put_records(&entries).unwrap().failed_record_count(), 0);
}

fn numbers(subscription: &mut Subscription, count: usize) -> Vec<u32> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let event = subscription.next_event(Some(Duration::from_secs(30))).unwrap().unwrap();
        numbers.extend(event.records.iter().map(|r| std::str::from_utf8(&r.data).unwrap().parse::<u32>().unwrap()));
    }
    numbers
}

#[test]
fn each_consumer_gets_every_record_as_it_becomes_durable() {
    let (_dir, _clock, engine) = engine();
    let stream = engine.create_stream("clicks", StreamOptions::new()).unwrap();
    let shard = stream.shards()[0].shard_id;
    for name in ["a", "b"] {
        stream.register_consumer(name, NOBODY).unwrap();
    }
    std::thread::scope(|scope| {
        let readers: Vec<_> = ["a", "b"]
            .map(|name| {
                let options = SubscriptionOptions::new().records_max(7);
                let mut subscription = stream.subscribe(name, shard, StartingPosition::Latest, options).unwrap();
                scope.spawn(move || numbers(&mut subscription, 200))
            })
            .into();
        (0..20).for_each(|i| put(&stream, i * 10..(i + 1) * 10));
        for reader in readers {
            assert_eq!(reader.join().unwrap(), (0..200).collect::<Vec<_>>());
        }
    });
}

#[test]
fn a_subscription_goes_on_after_the_continuation_number_and_ends_with_the_children() {
    let (_dir, _clock, engine) = engine();
    let stream = engine.create_stream("clicks", StreamOptions::new()).unwrap();
    let shard = stream.shards()[0].shard_id;
    stream.register_consumer("a", NOBODY).unwrap();
    put(&stream, 0..10);
    let subscribe = |position| stream.subscribe("a", shard, position, SubscriptionOptions::new().records_max(4));
    let mut position = StartingPosition::TrimHorizon;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let event = subscribe(position).unwrap().next_event(None).unwrap().unwrap();
        seen.extend(event.records.iter().map(|r| r.data.clone()));
        position = StartingPosition::AfterSequenceNumber(event.continuation_sequence_number);
    }
    // Nothing new: an event that says so, with the same place to go on.
    put(&stream, 10..11);
    stream.split_shard(shard, HashKey(1 << 127)).unwrap();
    let mut subscription = subscribe(position).unwrap();
    let last = subscription.next_event(None).unwrap().unwrap();
    seen.extend(last.records.iter().map(|r| r.data.clone()));
    assert_eq!(seen.iter().map(|data| std::str::from_utf8(data).unwrap().parse::<u32>().unwrap()).sum::<u32>(), 55);
    assert_eq!(last.child_shards.len(), 2);
    assert_eq!(subscription.next_event(None).unwrap(), None);
}

#[test]
fn another_subscription_is_refused_for_five_seconds_and_then_takes_over() {
    let (_dir, clock, engine) = engine();
    let stream = engine.create_stream("clicks", StreamOptions::new()).unwrap();
    let shard = stream.shards()[0].shard_id;
    stream.register_consumer("a", NOBODY).unwrap();
    let subscribe = || stream.subscribe("a", shard, StartingPosition::Latest, SubscriptionOptions::new());
    let mut first = subscribe().unwrap();
    clock.advance(Duration::from_millis(4_999));
    assert!(matches!(subscribe(), Err(Error::ResourceInUse { .. })));
    clock.advance(Duration::from_millis(1));
    std::thread::scope(|scope| {
        let waits = scope.spawn(move || first.next_event(None).map(drop));
        let second = subscribe().unwrap();
        assert!(matches!(waits.join().unwrap(), Err(Error::ResourceInUse { .. })));
        drop(second);
    });
    // Dropped in order, it leaves its seat.
    drop(subscribe().unwrap());
    drop(subscribe().unwrap());
}

#[test]
fn a_limited_subscription_ends_in_time_and_a_removed_consumer_s_at_once() {
    let (_dir, clock, engine) = engine();
    let stream = engine.create_stream("clicks", StreamOptions::new()).unwrap();
    let shard = stream.shards()[0].shard_id;
    stream.register_consumer("a", NOBODY).unwrap();
    let options = SubscriptionOptions::new().lifetime(Some(Duration::from_secs(300)));
    let mut subscription = stream.subscribe("a", shard, StartingPosition::Latest, options.clone()).unwrap();
    let event = subscription.next_event(Some(Duration::ZERO)).unwrap().unwrap();
    assert!(event.records.is_empty());
    clock.advance(Duration::from_secs(300));
    assert_eq!(subscription.next_event(None).unwrap(), None);
    let mut subscription = stream.subscribe("a", shard, StartingPosition::Latest, options).unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(move || subscription.next_event(None).map(drop));
        stream.deregister_consumer("a").unwrap();
        assert!(matches!(waits.join().unwrap(), Err(Error::ResourceInUse { .. })));
    });
    assert!(matches!(
        stream.subscribe("a", shard, StartingPosition::Latest, SubscriptionOptions::new()),
        Err(Error::ResourceNotFound { .. })
    ));
}
