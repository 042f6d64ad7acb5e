use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::super::{Producer, UserRecordTicket};
use super::*;
use crate::engine::{Engine, EngineOptions};
use crate::env::sim::{ManualClock, SeededRandom, SimDisk, Tape};
use crate::env::{Clock, Env};
use crate::options::StoreOptions;
use crate::stream::{HashKey, StartingPosition, StreamMode, StreamOptions, ThroughputLimits, UserRecord};

/// Only as long as a test that fails would hang.
const PATIENCE: Duration = Duration::from_secs(120);

struct Bench {
    clock: Arc<ManualClock>,
    stream: Stream,
    producer: Producer,
    machine: Machine,
    engine: Engine,
}

fn bench(limits: ThroughputLimits, stream: StreamOptions, options: ProducerOptions) -> Bench {
    let clock = Arc::new(ManualClock::new());
    let disk = Arc::new(SimDisk::new(Tape::seeded(1)));
    let env = Env { disk, clock: clock.clone(), random: Arc::new(SeededRandom::new(1)) };
    let store = StoreOptions::new().journal_file_bytes(4 << 20);
    let engine = Engine::open_in(env, EngineOptions::new().store(store).throughput_limits(limits)).unwrap();
    let stream = engine.create_stream("clicks", stream).unwrap();
    let (producer, machine) = Producer::assemble(&stream, options).unwrap();
    Bench { clock, stream, producer, machine, engine }
}

fn plain() -> Bench {
    bench(ThroughputLimits::Off, StreamOptions::new(), ProducerOptions::new())
}

impl Bench {
    fn put(&self, key: &str, data: impl Into<bytes::Bytes>) -> UserRecordTicket {
        self.producer.try_put(key, None, data).unwrap()
    }

    fn step(&mut self) -> Option<u64> {
        self.machine.step(self.clock.monotonic_ms()).unwrap().at_ms
    }

    /// Steps until what was sent has its answers.
    fn settle(&mut self) {
        while let Some(call) = self.machine.calls.first() {
            assert!(call.ticket.wait_for(PATIENCE).is_some());
            self.machine.reap();
        }
    }

    fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
        self.step();
        self.settle();
    }

    fn records(&self) -> Vec<crate::stream::Record> {
        let shard = self.stream.shards()[0].shard_id;
        self.stream.read(shard, StartingPosition::TrimHorizon).unwrap().map(Result::unwrap).collect()
    }

    /// All user records, parents before children; those outside of their shard's range would be missing.
    fn users(&self) -> Vec<UserRecord> {
        let read = |shard: crate::stream::Shard| {
            let reader = self.stream.read(shard.shard_id, StartingPosition::TrimHorizon).unwrap();
            let range = reader.hash_key_range();
            reader.user_records(Some(range)).map(Result::unwrap)
        };
        self.stream.shards().into_iter().flat_map(read).collect()
    }
}

fn done(mut ticket: UserRecordTicket) -> Result<PutUserRecord> {
    ticket.try_get().expect("an answer")
}

const TICK: Duration = Duration::from_millis(100);

#[test]
fn user_records_gather_until_the_first_has_waited_for_long_enough() {
    let mut bench = plain();
    let first = bench.put("a", "1");
    bench.clock.advance(Duration::from_millis(60));
    let second = bench.put("b", "2");
    assert_eq!(bench.step(), Some(100));
    bench.clock.advance(Duration::from_millis(39));
    bench.step();
    assert!(bench.records().is_empty());
    bench.pass(Duration::from_millis(1));
    let (first, second) = (done(first).unwrap(), done(second).unwrap());
    assert_eq!(first.sequence_number, second.sequence_number);
    assert_eq!((first.sub_sequence_number, second.sub_sequence_number), (0, 1));
    let records = bench.records();
    assert_eq!((records.len(), records[0].partition_key()), (1, Some("a")));
    let users = bench.users();
    assert_eq!((users[1].partition_key(), &users[1].data[..]), (Some("b"), &b"2"[..]));
    assert_eq!((users[1].sequence_number, users[1].arrival_ms), (second.sequence_number, second.arrival_ms));
    assert_eq!(bench.step(), None);
}

#[test]
fn a_shard_for_which_enough_waits_is_sent_at_once_in_records_of_the_size_that_is_set() {
    let options = ProducerOptions::new().collection_bytes_max(128 << 10).aggregation_bytes_max(20_000);
    let mut bench = bench(ThroughputLimits::Off, StreamOptions::new(), options);
    let tickets: Vec<_> = (0..150).map(|i| bench.put(&format!("key-{}", i % 7), vec![i as u8; 1_000])).collect();
    bench.step();
    bench.settle();
    let answered = tickets.into_iter().filter_map(|mut ticket| ticket.try_get()).map(Result::unwrap).count();
    assert!((100..=150).contains(&answered), "{answered}");
    let records = bench.records();
    assert!(records.iter().all(|record| record.data.len() <= 20_000));
    // Full, but for the last.
    assert!(records[..records.len() - 1].iter().all(|record| record.data.len() > 18_900));
    bench.pass(TICK);
    assert_eq!(bench.users().iter().map(|user| user.data[0]).collect::<Vec<_>>(), (0..150).collect::<Vec<u8>>());
}

#[test]
fn a_user_record_that_is_alone_or_large_goes_as_it_is_and_what_looks_aggregated_comes_back_as_it_was_put() {
    let mut bench = plain();
    drop(bench.put("alone", "1"));
    bench.pass(TICK);
    drop(bench.put("large", vec![1; 60_000]));
    drop(bench.put("small", "2"));
    bench.pass(TICK);
    let mut aggregator = Aggregator::new();
    aggregator.add("inner", None, b"3");
    let nested = aggregator.finish().unwrap().data;
    drop(bench.put("outer", nested.clone()));
    bench.pass(TICK);
    let records = bench.records();
    let keys: Vec<_> = records.iter().map(|record| record.partition_key().unwrap()).collect();
    assert_eq!(keys, ["alone", "large", "small", "a"]);
    let users = bench.users();
    assert_eq!((users[3].partition_key(), &users[3].data), (Some("outer"), &nested.into()));
}

#[test]
fn without_aggregation_user_records_are_put_as_they_are_in_calls_of_at_most_so_many() {
    let options = ProducerOptions::new().aggregation(false).collection_records_max(4);
    let mut bench = bench(ThroughputLimits::Off, StreamOptions::new(), options);
    let tickets: Vec<_> = (0..10).map(|i| bench.put("key", vec![i])).collect();
    bench.step();
    bench.settle();
    assert_eq!(bench.records().len(), 8, "two full calls, and two records that wait");
    bench.pass(TICK);
    assert!(tickets.into_iter().all(|ticket| done(ticket).unwrap().sub_sequence_number == 0));
    assert_eq!(bench.records().iter().map(|record| record.data[0]).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
}

#[test]
fn a_shard_that_was_split_while_user_records_waited_gets_none_of_them() {
    // Before the step looks at the map, and between its look and its call.
    for late in [false, true] {
        let mut bench = plain();
        let parent = bench.stream.shards()[0].shard_id;
        let tickets: Vec<_> = (0..20).map(|i| bench.put(&format!("key-{}", i % 5), vec![i])).collect();
        let half = HashKey(1 << 127);
        if late {
            bench.step();
            bench.clock.advance(TICK);
            bench.stream.split_shard(parent, half).unwrap();
            assert!(bench.machine.send_due(bench.clock.monotonic_ms()), "it was closed");
        } else {
            bench.stream.split_shard(parent, half).unwrap();
        }
        bench.pass(TICK);
        for ticket in tickets {
            assert_ne!(done(ticket).unwrap().shard_id, parent);
        }
        assert_eq!(bench.users().len(), 20, "none is outside of its shard");
    }
}

#[test]
fn what_a_shard_refuses_for_now_is_put_later_in_its_order_and_once() {
    let options = ProducerOptions::new().aggregation(false);
    let mut bench = bench(ThroughputLimits::Enforce, StreamOptions::new(), options);
    // 2,500 KiB at 1 MiB a second.
    let tickets: Vec<_> = (0..250).map(|i| bench.put("key", vec![i as u8; 10 << 10])).collect();
    bench.pass(TICK);
    let at_first = bench.records().len();
    assert!((100..=110).contains(&at_first), "{at_first}");
    for _ in 0..30 {
        bench.pass(TICK);
    }
    assert!(tickets.into_iter().all(|ticket| done(ticket).is_ok()));
    assert_eq!(bench.records().iter().map(|record| record.data[0]).collect::<Vec<_>>(), (0..250).collect::<Vec<u8>>());
}

#[test]
fn what_was_refused_until_its_time_to_live_ended_fails_with_the_reason() {
    let options = ProducerOptions::new().aggregation(false).time_to_live(Duration::from_secs(1));
    let mut bench = bench(ThroughputLimits::Enforce, StreamOptions::new(), options);
    let tickets: Vec<_> = (0..400).map(|i| bench.put("key", vec![i as u8; 10 << 10])).collect();
    for _ in 0..10 {
        bench.pass(TICK);
    }
    let put = bench.records().len();
    assert!((180..250).contains(&put), "{put}");
    for (i, ticket) in tickets.into_iter().enumerate() {
        match done(ticket) {
            Ok(_) => assert!(i < put),
            Err(error) => assert!(i >= put && matches!(error, Error::ThroughputExceeded { .. }), "{i}: {error}"),
        }
    }
    assert_eq!(bench.step(), None, "nothing is left");
}

#[test]
fn the_rate_limit_spreads_calls_over_time() {
    let options = ProducerOptions::new().aggregation(false).rate_limit_percent(50);
    let mut bench = bench(ThroughputLimits::Off, StreamOptions::new(), options);
    let _tickets: Vec<_> = (0..1_200).map(|i| bench.put("key", vec![i as u8])).collect();
    bench.pass(TICK);
    assert_eq!(bench.records().len(), 500, "a second's worth of half the service's rate");
    let due = bench.step().unwrap();
    assert!((101..=103).contains(&due), "{due}");
    for _ in 0..10 {
        bench.pass(TICK);
    }
    let put = bench.records().len();
    assert!((950..=1_010).contains(&put), "{put}");
}

#[test]
fn memory_is_bounded_and_crowding_sends_what_waits() {
    let mut bench =
        bench(ThroughputLimits::Off, StreamOptions::new(), ProducerOptions::new().buffered_bytes_max(64 << 10));
    let mut tickets = Vec::new();
    let refused = loop {
        match bench.producer.try_put("key", None, vec![0; 1_000]) {
            Ok(ticket) => tickets.push(ticket),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Busy { .. }) && (45..60).contains(&tickets.len()), "{refused}, {}", tickets.len());
    bench.step();
    bench.settle();
    assert!(tickets.into_iter().all(|ticket| done(ticket).is_ok()), "without the time being up");
    assert!(bench.producer.try_put("key", None, vec![0; 1_000]).is_ok());
}

#[test]
fn what_the_stream_does_not_take_fails_at_once_and_alone() {
    let options = StreamOptions::new().max_record_kib(2_048);
    let mut bench = bench(ThroughputLimits::Off, options, ProducerOptions::new());
    let invalid = |key: &str, data: Vec<u8>| bench.producer.put(key, None, data).unwrap_err();
    assert!(matches!(invalid("", vec![]), Error::InvalidArgument { .. }));
    assert!(matches!(invalid(&"k".repeat(257), vec![]), Error::InvalidArgument { .. }));
    assert!(matches!(invalid("key", vec![0; 2 << 20]), Error::InvalidArgument { .. }));
    let tickets = [bench.put("a", "1"), bench.put("b", vec![0; 3 << 19]), bench.put("c", "3")];
    bench.stream.set_max_record_kib(1_024).unwrap();
    bench.pass(TICK);
    let [a, b, c] = tickets.map(done);
    assert!(a.is_ok() && c.is_ok() && matches!(b, Err(Error::InvalidArgument { .. })), "{a:?} {b:?} {c:?}");
}

#[test]
fn a_deleted_stream_and_a_closed_store_answer_every_ticket() {
    let mut bench = plain();
    let ticket = bench.put("a", "1");
    bench.engine.delete_stream("clicks", true).unwrap();
    bench.pass(TICK);
    assert!(matches!(done(ticket), Err(Error::ResourceNotFound { .. })));
    assert!(matches!(bench.producer.try_put("a", None, "1"), Err(Error::ResourceNotFound { .. })));

    let mut bench = plain();
    let ticket = bench.put("a", "1");
    bench.engine.clone().close().unwrap();
    bench.pass(TICK);
    assert!(matches!(done(ticket), Err(Error::Closed)));
}

#[test]
fn a_closed_producer_sends_what_it_has_and_ends() {
    let mut bench = plain();
    let ticket = bench.put("a", "1");
    bench.machine.gate.close();
    assert!(matches!(bench.producer.put("a", None, "2"), Err(Error::Closed)));
    let steps = (0..2).map(|_| {
        let next = bench.machine.step(bench.clock.monotonic_ms());
        bench.settle();
        next
    });
    // The disk may be so fast that the first step sees its answer.
    assert_eq!(steps.last(), Some(None));
    assert!(done(ticket).is_ok());
}

#[test]
fn an_automatic_stream_gets_calls_in_turn_and_a_change_of_it_places_what_waits_anew() {
    let options = StreamOptions::new().shards(3).mode(StreamMode::OnDemand).distribution(Distribution::Auto);
    let mut bench = bench(ThroughputLimits::Off, options, ProducerOptions::new());
    let shards: Vec<_> = (0..3)
        .map(|_| {
            let ticket = bench.put("same", "1");
            bench.pass(TICK);
            done(ticket).unwrap().shard_id.index()
        })
        .collect();
    assert_eq!(shards, [0, 1, 2]);
    let tickets: Vec<_> = (0..9).map(|i| bench.put(&format!("key-{i}"), vec![i])).collect();
    bench.step();
    bench.stream.set_distribution(Distribution::ByKey).unwrap();
    bench.pass(TICK);
    let map = bench.stream.state.shards();
    for (ticket, i) in tickets.into_iter().zip(0..) {
        let owner = map.owner(HashKey::of_partition_key(&format!("key-{i}")));
        assert_eq!(done(ticket).unwrap().shard_id, map.open()[owner].id);
    }
}

#[test]
fn threads_put_while_shards_are_split_and_merged_and_a_flush_waits_for_all() {
    let bench = plain();
    let producer = bench.stream.producer(ProducerOptions::new().buffered_bytes_max(64 << 10)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3u8 {
            let producer = &producer;
            scope.spawn(move || {
                for i in 0..500u16 {
                    let data = [&[thread][..], &i.to_be_bytes()].concat();
                    drop(producer.put(&format!("key-{thread}-{}", i % 4), None, data).unwrap());
                }
                producer.flush();
            });
        }
        let open = || bench.stream.state.shards().open().to_vec();
        for i in 0..12 {
            let shards = open();
            let shard = &shards[i % shards.len()];
            if shards.len() > 3 {
                bench.stream.merge_shards(shards[0].id, shards[1].id).unwrap();
            } else {
                let middle = HashKey(shard.row.start + (shard.row.end - shard.row.start) / 2);
                bench.stream.split_shard(shard.id, middle).unwrap();
            }
        }
    });
    let mut next: BTreeMap<String, u16> = BTreeMap::new();
    let users = bench.users();
    assert_eq!(users.len(), 1_500);
    for user in users {
        let (key, i) = (user.partition_key().unwrap(), u16::from_be_bytes([user.data[1], user.data[2]]));
        let expected = next.entry(key.to_owned()).or_insert(i % 4);
        assert_eq!(*expected, i, "{key}");
        *expected += 4;
    }
    producer.close();
}

#[derive(Debug, Clone)]
enum Op {
    Put(u8, usize),
    Pass(u64),
    Split(u8),
    Merge(u8),
    Step,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => (0..6u8, 0..3_000usize).prop_map(|(key, len)| Op::Put(key, len)),
        3 => (1..150u64).prop_map(Op::Pass),
        1 => any::<u8>().prop_map(Op::Split),
        1 => any::<u8>().prop_map(Op::Merge),
        2 => Just(Op::Step),
    ];
    proptest::collection::vec(op, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_user_record_is_read_once_in_the_order_of_its_key_inside_of_its_shard(ops in ops(), limited in any::<bool>()) {
        let limits = if limited { ThroughputLimits::Enforce } else { ThroughputLimits::Off };
        let options = ProducerOptions::new().aggregation_bytes_max(4_000).collection_bytes_max(64 << 10);
        let mut bench = bench(limits, StreamOptions::new().shards(2), options);
        let mut put: BTreeMap<String, Vec<(u32, usize)>> = BTreeMap::new();
        let mut tickets = Vec::new();
        for (op, i) in ops.into_iter().zip(0u32..) {
            let shards = bench.stream.state.shards();
            let open = shards.open();
            match op {
                Op::Put(key, len) => {
                    let (key, mut data) = (format!("key-{key}"), i.to_be_bytes().to_vec());
                    data.resize(4 + len, 0);
                    put.entry(key.clone()).or_default().push((i, len));
                    tickets.push(bench.put(&key, data));
                }
                Op::Pass(ms) => bench.clock.advance(Duration::from_millis(ms)),
                Op::Split(n) if open.len() < 6 => {
                    let shard = &open[usize::from(n) % open.len()];
                    let at = HashKey(shard.row.start + (shard.row.end - shard.row.start) / 256 * (1 + u128::from(n) / 2));
                    bench.stream.split_shard(shard.id, at).unwrap();
                }
                Op::Merge(n) if open.len() > 1 => {
                    let at = usize::from(n) % (open.len() - 1);
                    bench.stream.merge_shards(open[at].id, open[at + 1].id).unwrap();
                }
                Op::Split(_) | Op::Merge(_) | Op::Step => {
                    bench.step();
                }
            }
        }
        for _ in 0..20 {
            bench.pass(TICK);
        }
        let mut places = Vec::new();
        for ticket in tickets {
            let at = done(ticket).unwrap();
            places.push((at.sequence_number, at.sub_sequence_number));
        }
        let mut read: BTreeMap<String, Vec<(u32, usize)>> = BTreeMap::new();
        for user in bench.users() {
            prop_assert!(places.contains(&(user.sequence_number, user.sub_sequence_number)));
            let i = u32::from_be_bytes([user.data[0], user.data[1], user.data[2], user.data[3]]);
            read.entry(user.partition_key().unwrap().to_owned()).or_default().push((i, user.data.len() - 4));
        }
        prop_assert_eq!(read, put);
    }
}
