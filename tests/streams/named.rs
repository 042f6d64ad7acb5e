//! What was found, each by its name.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, UNIX_EPOCH};

use braidlog::env::sim::{Crash, Errno, FaultKind, ManualClock, SimDisk, Tape};
use braidlog::env::{Clock, Env};
use braidlog::manual::{ManualEngine, ManualStore};
use braidlog::stream::{
    GroupOptions, HashKey, SequenceNumber, ShardFilter, ShardReader, StartingPosition, Stream, StreamMode,
    StreamOptions,
};
use braidlog::{Error, Health, LogOptions, StoreOptions, Transaction};

use super::run::{env_of, id, options};

struct Rig {
    disk: SimDisk,
    clock: Arc<ManualClock>,
    engine: ManualEngine,
}

fn rig() -> Rig {
    let (disk, clock) = (SimDisk::new(Tape::seeded(1)), Arc::new(ManualClock::new()));
    let engine = ManualEngine::open(env_of(&disk, &clock, 1), options()).unwrap();
    Rig { disk, clock, engine }
}

const HALF: HashKey = HashKey(1 << 127);

/// A frame that waits for room in the journal when the store stops is never written: whoever waits for it must be told.
#[test]
fn a_frame_that_waits_for_room_is_answered_when_the_store_stops() {
    let (disk, clock) = (SimDisk::new(Tape::seeded(1)), Arc::new(ManualClock::new()));
    let store = StoreOptions::new().journal_file_bytes(64 << 10).journal_files_max(4).reserve_bytes(0);
    let mut store = ManualStore::open(env_of(&disk, &clock, 1), store).unwrap();
    let mut made = store.create_log("log", LogOptions::new()).unwrap();
    store.settle();
    let log = made.try_get().unwrap().unwrap();
    disk.fail_nth_where(1, FaultKind::Once, Errno::Io, Some("create"), Some("segments/"));
    for _ in 0..200 {
        let ticket = log.append_ticket("a frame each").unwrap();
        while store.commit_step() {}
        if ticket.try_get().is_none() {
            // The journal is full: this makes a file, or a checkpoint, which fails and stops the store.
            store.upkeep_step();
            while store.commit_step() {}
            let stopped = matches!(store.store().health(), Health::Stopped { .. });
            let told = matches!(ticket.try_get(), Some(Err(Error::OutcomeUnknown { .. })));
            assert!(told || !stopped, "{ticket:?}");
            if stopped {
                return;
            }
        }
    }
    panic!("the store did not stop");
}

/// Options were in force, and in the next manifest, before the frame that changes them was durable.
#[test]
fn options_are_in_force_once_they_are_durable_and_not_before() {
    for in_transaction in [false, true] {
        let (disk, clock) = (SimDisk::new(Tape::seeded(1)), Arc::new(ManualClock::new()));
        let open = |disk: &SimDisk| ManualStore::open(env_of(disk, &clock, 1), options().store).unwrap();
        let mut store = open(&disk);
        let long = LogOptions::new().retention_age(Some(Duration::from_secs(7200)));
        let mut made = store.create_log("log", long.clone()).unwrap();
        store.settle();
        let log = made.try_get().unwrap().unwrap();
        let ticket = log.append_ticket("an hour old").unwrap();
        store.settle();
        assert!(ticket.try_get().unwrap().is_ok());
        store.checkpoint().unwrap();
        let ticket = log.append_ticket("one more, so that the log is looked at").unwrap();
        store.settle();
        assert!(ticket.try_get().unwrap().is_ok());
        clock.advance(Duration::from_secs(3600));
        let short = LogOptions::new().retention_age(Some(Duration::from_secs(60)));
        if in_transaction {
            let mut transaction = Transaction::new();
            transaction.set_options(&log, short).unwrap();
            drop(store.store().commit(transaction).unwrap());
        } else {
            drop(log.set_options_ticket(short).unwrap());
        }
        store.commit_step_without_waiting();
        assert_eq!(log.options().retention_age, long.retention_age, "in force before it is durable");
        store.checkpoint().unwrap();
        store.upkeep_step();
        // The frame never reaches the disk.
        let left = disk.crash_subset(1, 0);
        drop((store, log, made));
        let store = open(&left);
        let log = store.store().log("log").unwrap();
        assert_eq!(log.options().retention_age, long.retention_age);
        assert_eq!(log.read(braidlog::StartAt::TrimHorizon).unwrap().count(), 2);
    }
}

#[test]
fn a_consumer_registered_again_in_the_same_second_has_another_arn() {
    let rig = rig();
    let stream = rig.engine.engine().create_stream("clicks", StreamOptions::new()).unwrap();
    let register = || stream.register_consumer("billing", [("", ""); 0]).unwrap().consumer_arn;
    let first = register();
    stream.deregister_consumer("billing").unwrap();
    let second = register();
    assert_ne!(first, second);
    assert!(matches!(stream.consumer_by_arn(&first), Err(Error::ResourceNotFound { .. })));
}

/// Records that arrived in the millisecond in which their shard was closed were in no shard that is listed for it.
#[test]
fn a_reader_from_the_moment_of_a_split_misses_nothing() {
    let rig = rig();
    let stream = rig.engine.engine().create_stream("clicks", StreamOptions::new()).unwrap();
    let put = stream.put_record("key", b"in the last moment").unwrap();
    stream.split_shard(id(0), HALF).unwrap();
    let at = UNIX_EPOCH + Duration::from_millis(put.arrival_ms);
    let listed = stream.list_shards(ShardFilter::AtTimestamp(at), None, 10).unwrap().shards;
    let position = StartingPosition::AtTimestamp(at);
    let read: usize = listed.iter().map(|s| stream.read(s.shard_id, position).unwrap().count()).sum();
    assert_eq!(read, 1, "listed: {listed:?}");
}

/// The service lists, for a time, the shards that began then or before and end then or later: at every moment that is one shard for each
/// hash key, and no reader from then on misses a record or reads it twice.
#[test]
fn at_every_moment_each_hash_key_has_one_shard() {
    let rig = rig();
    let stream = rig.engine.engine().create_stream("clicks", StreamOptions::new()).unwrap();
    let from_ms = rig.clock.wall_ms();
    // The upper half, again and again.
    for (shard, at) in [(0, 1u128 << 127), (2, 3 << 126), (4, 7 << 125)] {
        stream.put_record("key", b"before").unwrap();
        rig.clock.advance(Duration::from_millis(2));
        stream.split_shard(id(shard), HashKey(at)).unwrap();
        rig.clock.advance(Duration::from_millis(1));
    }
    stream.merge_shards(id(1), id(3)).unwrap();
    rig.clock.advance(Duration::from_millis(2));
    stream.put_record("key", b"after").unwrap();
    for ms in from_ms..=rig.clock.wall_ms() {
        let at = UNIX_EPOCH + Duration::from_millis(ms);
        let list = |filter| stream.list_shards(filter, None, 100).unwrap().shards;
        let mut ranges: Vec<_> = list(ShardFilter::AtTimestamp(at)).iter().map(|s| s.hash_key_range).collect();
        ranges.sort_by_key(|range| range.start);
        let mut next = Some(0);
        for range in &ranges {
            assert_eq!(Some(range.start.0), next, "{} ms on: {ranges:?}", ms - from_ms);
            next = range.end.0.checked_add(1);
        }
        assert_eq!(next, None, "{} ms on: {ranges:?}", ms - from_ms);
        // What is left out of those from then on has nothing that arrived then or later.
        let from = list(ShardFilter::FromTimestamp(at));
        let left_out = list(ShardFilter::FromTrimHorizon).into_iter().filter(|shard| !from.contains(shard));
        for shard in left_out {
            let read = stream.read(shard.shard_id, StartingPosition::TrimHorizon).unwrap();
            assert!(read.map(Result::unwrap).all(|record| record.arrival_ms < ms), "{shard:?}");
        }
    }
}

/// The wall clock jumps: what retention does not believe, the list of shards must not believe either.
#[test]
fn a_clock_that_jumped_hides_no_shard_whose_records_are_there() {
    let rig = rig();
    let stream = rig.engine.engine().create_stream("clicks", StreamOptions::new()).unwrap();
    stream.put_record("key", b"data").unwrap();
    stream.split_shard(id(0), HALF).unwrap();
    rig.clock.advance_wall(Duration::from_secs(366 * 24 * 3600));
    stream.put_record("key", b"by the clock that jumped").unwrap();
    assert_eq!(stream.read(id(0), StartingPosition::TrimHorizon).unwrap().count(), 1);
    assert!(stream.shards().iter().any(|s| s.shard_id == id(0)));
    let from_trim_horizon = stream.list_shards(ShardFilter::AtTrimHorizon, None, 10).unwrap().shards;
    assert_eq!(from_trim_horizon[0].shard_id, id(0));
}

/// Retention that is raised moves the horizon back, to where shards were open that are gone: nothing was open then that is there
/// still, and a group that began had no shard to read.
#[test]
fn a_walk_begins_with_what_came_of_shards_that_are_gone_when_retention_was_raised() {
    let rig = rig();
    let stream = rig.engine.engine().create_stream("clicks", StreamOptions::new()).unwrap();
    rig.clock.advance(Duration::from_secs(3600));
    stream.split_shard(id(0), HALF).unwrap();
    rig.clock.advance(Duration::from_secs(3600));
    stream.put_record("key", b"data").unwrap();
    let created_ms = stream.describe().created_ms;
    rig.clock.advance(Duration::from_secs(24 * 3600));
    rig.engine.engine().maintain().unwrap();
    stream.set_retention_hours(48).unwrap();
    let early = UNIX_EPOCH + Duration::from_millis(created_ms + 1);
    for filter in [ShardFilter::AtTrimHorizon, ShardFilter::AtTimestamp(early)] {
        let listed = stream.list_shards(filter, None, 10).unwrap().shards;
        assert_eq!(listed.iter().map(|shard| shard.shard_id).collect::<Vec<_>>(), [id(1), id(2)], "{filter:?}");
    }
    let from_start = GroupOptions::new().starting_position(StartingPosition::TrimHorizon);
    let group = stream.consumer_group("billing", from_start).unwrap();
    assert_eq!(group.progress().unwrap().len(), 2);
}

#[test]
fn numbers_that_were_not_given_out_are_refused() {
    let rig = rig();
    let stream = rig.engine.engine().create_stream("clicks", StreamOptions::new()).unwrap();
    let put = stream.put_record("key", b"data").unwrap();
    let starting = stream.shards()[0].starting_sequence_number;
    let last = hexadecimal(put.sequence_number);
    let next = number(&format!("{}{:016x}{}", &last[..11], 2, &last[27..]));
    for position in [StartingPosition::AtSequenceNumber(next), StartingPosition::AfterSequenceNumber(next)] {
        let refused = stream.shard_iterator(id(0), position);
        assert!(matches!(refused, Err(Error::InvalidArgument { .. })), "{position:?}: {refused:?}");
    }
    // The ending number of a shard that is open.
    let other = rig.engine.engine().create_stream("orders", StreamOptions::new()).unwrap();
    other.split_shard(id(0), HALF).unwrap();
    let ending = other.shards()[0].ending_sequence_number.unwrap();
    assert!(ending.is_ending());
    let (ending, starting) = (hexadecimal(ending), hexadecimal(starting));
    let forged = number(&format!("{}{}{}", &starting[..11], &ending[11..27], &starting[27..]));
    let entry = braidlog::stream::PutRecordsEntry::new("key", b"data");
    let refused = stream.put(entry, Some(forged));
    assert!(matches!(refused, Err(Error::InvalidArgument { .. })), "{refused:?}");
}

/// A number's hexadecimal digits: 11 of version and shard, 16 of the counter, 20 of the rest.
pub fn hexadecimal(number: SequenceNumber) -> String {
    let mut digits: Vec<u32> = number.to_string().bytes().map(|b| u32::from(b - b'0')).collect();
    let mut out = String::new();
    while digits.iter().any(|d| *d != 0) {
        let mut rest = 0;
        for d in &mut digits {
            let value = rest * 10 + *d;
            (*d, rest) = (value / 16, value % 16);
        }
        out.insert(0, char::from_digit(rest, 16).unwrap());
    }
    out
}

fn number(hexadecimal: &str) -> SequenceNumber {
    let mut digits = Vec::new();
    for c in hexadecimal.chars() {
        let mut carry = c.to_digit(16).unwrap();
        for d in &mut digits {
            let value = *d * 16 + carry;
            (*d, carry) = (value % 10, value / 10);
        }
        while carry != 0 {
            digits.push(carry % 10);
            carry /= 10;
        }
    }
    let text: String = digits.iter().rev().map(|d| char::from(b'0' + *d as u8)).collect();
    text.parse().unwrap()
}

/// Keys count, too, and a page of records with long keys was larger than it may be.
#[test]
fn a_page_counts_keys_as_well_as_data() {
    let mut rig = rig();
    let stream = rig.engine.engine().create_stream("clicks", StreamOptions::new()).unwrap();
    let key = "k".repeat(256);
    for _ in 0..10 {
        stream.put_record(&key, b"data").unwrap();
    }
    rig.engine.machines().settle();
    let mut reader = stream.read(id(0), StartingPosition::TrimHorizon).unwrap();
    assert_eq!(reader.read(100, 3 * 260).unwrap().len(), 3);
    assert_eq!(reader.read(100, 1).unwrap().len(), 1);
}

/// The catalog of a store with a small journal could not be made shorter.
#[test]
fn a_catalog_is_compacted_in_a_store_with_the_smallest_journal() {
    let (disk, clock) = (SimDisk::new(Tape::seeded(1)), Arc::new(ManualClock::new()));
    let small = options().store(StoreOptions::new().journal_file_bytes(64 << 10).journal_files_max(4));
    let engine = ManualEngine::open(env_of(&disk, &clock, 1), small.clone()).unwrap();
    let stream = engine.engine().create_stream("clicks", StreamOptions::new().shards(4)).unwrap();
    for n in 0..1200 {
        stream.add_tags([("n", n.to_string())]).unwrap();
    }
    engine.engine().maintain().unwrap();
    drop((stream, engine));
    let engine = ManualEngine::open(env_of(&disk, &clock, 2), small).unwrap();
    let stream = engine.engine().stream("clicks").unwrap();
    assert_eq!(stream.tags(), [("n".to_owned(), "1199".to_owned())]);
    assert_eq!(stream.shards().len(), 4);
}

/// At the end of a closed shard there are children, or the end is not reached yet: nobody is told of an end without them.
#[test]
fn nobody_sees_the_end_of_a_shard_before_its_children() {
    let rig = rig();
    let stream =
        rig.engine.engine().create_stream("clicks", StreamOptions::new().mode(StreamMode::Provisioned)).unwrap();
    let reader = stream.read(id(0), StartingPosition::TrimHorizon).unwrap();
    assert_eq!(reader.shard_end().unwrap(), None);
    stream.split_shard(id(0), HALF).unwrap();
    assert_eq!(reader.shard_end().unwrap().unwrap().len(), 2);
    // The log alone, closed without a reshard, is no end: the map of the shards says what is.
    assert_eq!(stream.read(id(1), StartingPosition::TrimHorizon).unwrap().shard_end().unwrap(), None);
    let left = rig.disk.crash(Crash::Kill, &Tape::seeded(1));
    drop((stream, reader, rig.engine));
    let engine = ManualEngine::open(env_of(&left, &rig.clock, 2), options()).unwrap();
    let reader = engine.engine().stream("clicks").unwrap().read(id(0), StartingPosition::TrimHorizon).unwrap();
    assert_eq!(reader.shard_end().unwrap().unwrap().len(), 2);
}

/// A reader that waited for the end of a shard was woken by the close, and then found that it had not ended: what came of it was
/// known a moment later.
#[test]
fn who_is_woken_by_the_end_of_a_shard_finds_its_children() {
    struct Look {
        reader: ShardReader,
        children: Mutex<Option<usize>>,
    }
    impl Wake for Look {
        fn wake(self: Arc<Self>) {
            *self.children.lock().unwrap() = self.reader.shard_end().unwrap().map(|children| children.len());
        }
    }
    let rig = rig();
    let stream = rig.engine.engine().create_stream("clicks", StreamOptions::new()).unwrap();
    let read = || stream.read(id(0), StartingPosition::TrimHorizon).unwrap();
    let (waits, look) = (read(), Arc::new(Look { reader: read(), children: Mutex::default() }));
    let (waker, mut ready) = (Waker::from(look.clone()), pin!(waits.ready()));
    assert!(ready.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    stream.split_shard(id(0), HALF).unwrap();
    assert_eq!(*look.children.lock().unwrap(), Some(2));
}

/// The service allows ten updates of the shard count within 24 hours; here any number went through.
#[test]
fn the_shard_count_is_updated_ten_times_a_day_and_no_more_also_over_a_restart() {
    let (mut disk, clock) = (SimDisk::new(Tape::seeded(1)), Arc::new(ManualClock::new()));
    let open = |disk: &SimDisk, life, max| {
        ManualEngine::open(env_of(disk, &clock, life), options().scalings_per_day(max)).unwrap()
    };
    let limit =
        |outcome| matches!(outcome, Err(Error::LimitExceeded { what }) if what.contains("10 times within 24 hours"));
    let mut engine = open(&disk, 1, Some(10));
    engine.engine().create_stream("clicks", StreamOptions::new()).unwrap();
    engine.engine().create_stream("orders", StreamOptions::new()).unwrap();
    for at in 0..10 {
        let clicks = engine.engine().stream("clicks").unwrap();
        clicks.update_shard_count(1 + (at + 1) % 2).unwrap();
        clicks.update_shard_count(1 + (at + 1) % 2).unwrap(); // changes nothing, so it doesn't count
        clock.advance(Duration::from_secs(3600));
        if at == 6 {
            drop((clicks, engine));
            disk = disk.crash(Crash::Power, &Tape::seeded(2));
            engine = open(&disk, 2, Some(10));
        }
    }
    let clicks = engine.engine().stream("clicks").unwrap();
    assert!(limit(clicks.update_shard_count(2)));
    engine.engine().stream("orders").unwrap().update_shard_count(2).unwrap();
    // What the library offers besides has no such limit, and does not count.
    clicks.scale_to(2).unwrap();
    clicks.scale_to(1).unwrap();
    // The first one was 10 hours ago.
    clock.advance(Duration::from_secs(14 * 3600 - 1));
    assert!(limit(clicks.update_shard_count(2)));
    clock.advance(Duration::from_secs(1));
    clicks.update_shard_count(2).unwrap();
    assert!(limit(clicks.update_shard_count(1)));
    // A stream made later under the name begins at none.
    engine.engine().delete_stream("clicks", false).unwrap();
    engine.engine().create_stream("clicks", StreamOptions::new()).unwrap().update_shard_count(2).unwrap();
    drop((clicks, engine));
    let engine = open(&disk, 3, None);
    let orders = engine.engine().stream("orders").unwrap();
    (0..30).for_each(|at| orders.update_shard_count(1 + at % 2).unwrap());
}

type Happens = Box<dyn FnMut(&ManualClock) + Send>;

/// Time passes, and something happens, whenever somebody looks at this clock.
struct BusyClock {
    clock: ManualClock,
    happens: Mutex<Option<Happens>>,
}

impl Clock for BusyClock {
    fn wall_ms(&self) -> u64 {
        // What happens may look at the clock, too.
        if let Ok(mut happens) = self.happens.try_lock()
            && let Some(happens) = happens.as_mut()
        {
            happens(&self.clock);
        }
        self.clock.wall_ms()
    }

    fn monotonic_ms(&self) -> u64 {
        self.clock.monotonic_ms()
    }
}

#[test]
fn encryption_is_switched_on_and_off_25_times_a_day_each() {
    let rig = rig();
    let stream = rig.engine.engine().create_stream("clicks", StreamOptions::new()).unwrap();
    let refused = |key| matches!(stream.set_encryption_key(key), Err(Error::LimitExceeded { .. }));
    (0..25).for_each(|_| stream.set_encryption_key(Some("alias/key")).unwrap());
    assert!(refused(Some("alias/other")));
    assert_eq!(stream.encryption_key().as_deref(), Some("alias/key"));
    (0..25).for_each(|_| stream.set_encryption_key(None).unwrap());
    assert!(refused(None));
    rig.clock.advance(Duration::from_secs(24 * 3600));
    stream.set_encryption_key(Some("alias/other")).unwrap();
    stream.set_encryption_key(None).unwrap();
}

/// The horizon by the old rule was taken before the frame with the new one was durable: what expired in between came back.
#[test]
fn raising_retention_brings_nothing_back_that_expired_while_it_was_raised() {
    let clock = Arc::new(BusyClock { clock: ManualClock::new(), happens: Mutex::default() });
    let disk = SimDisk::new(Tape::seeded(1));
    let env = |disk: &SimDisk, life| Env { clock: clock.clone(), ..env_of(disk, &Arc::new(ManualClock::new()), life) };
    let engine = ManualEngine::open(env(&disk, 1), options()).unwrap();
    let stream = engine.engine().create_stream("clicks", StreamOptions::new()).unwrap();
    for at in 0..100u32 {
        stream.put_record("key", &at.to_le_bytes()).unwrap();
        clock.clock.advance(Duration::from_millis(1));
    }
    let first = |stream: &Stream| {
        let record = stream.read(id(0), StartingPosition::TrimHorizon).unwrap().next().unwrap().unwrap();
        u32::from_le_bytes(record.data[..].try_into().unwrap())
    };
    clock.clock.advance(Duration::from_millis(24 * 3_600_000 - 95));
    for hours in [25, 24, 48] {
        let hidden = Arc::new(Mutex::new((0, 0)));
        let (seen, reads_on) = (hidden.clone(), stream.clone());
        *clock.happens.lock().unwrap() = Some(Box::new(move |clock| {
            clock.advance(Duration::from_millis(1));
            let mut seen = seen.lock().unwrap();
            let first = first(&reads_on);
            assert!(first >= seen.0, "{} was hidden, and {first} is back", seen.0);
            *seen = (first, seen.1 + 1);
        }));
        stream.set_retention_hours(hours).unwrap();
        *clock.happens.lock().unwrap() = None;
        let (hidden, looked) = *hidden.lock().unwrap();
        assert!(
            looked > 2 && hidden > 0 && first(&stream) >= hidden,
            "{hidden} was hidden, and {} is back",
            first(&stream)
        );
        // However long the call took, the shorter rule goes on.
        clock.clock.advance(Duration::from_millis(1));
        assert!(hours != 24 || first(&stream) > hidden);
    }
    let hidden = first(&stream);
    drop((stream, engine));
    let disk = disk.crash(Crash::Power, &Tape::seeded(2));
    let engine = ManualEngine::open(env(&disk, 2), options()).unwrap();
    assert_eq!(first(&engine.engine().stream("clicks").unwrap()), hidden);
}

/// What did not come by a shard iterator or a subscription was not counted.
#[test]
fn whatever_reads_a_shard_is_counted() {
    let rig = rig();
    let stream = rig.engine.engine().create_stream("clicks", StreamOptions::new()).unwrap();
    for _ in 0..300 {
        stream.put_record("key", b"data").unwrap();
    }
    let mut read = 0;
    let mut reads = |records: u64| {
        read += records;
        let traffic = stream.shard_traffic(id(0)).unwrap();
        assert_eq!((traffic.records_out, traffic.bytes_out), (read, 7 * read));
    };
    let reader = || stream.read(id(0), StartingPosition::TrimHorizon).unwrap();
    assert_eq!(reader().read(100, 1 << 20).unwrap().len(), 100);
    reads(100);
    // One by one, to the end; and with the reader still there.
    assert_eq!(reader().count(), 300);
    reads(300);
    let mut one_by_one = reader();
    assert_eq!(one_by_one.by_ref().count(), 300);
    reads(300);
    assert!(reader().next().is_some());
    reads(1);
    let group = stream.consumer_group("billing", GroupOptions::new()).unwrap();
    let mut worker = group.worker("worker", |_| |_: &mut braidlog::stream::RecordBatch<'_>| Ok(())).unwrap();
    while worker.step().unwrap() {}
    reads(300);
    let iterator = stream.shard_iterator(id(0), StartingPosition::TrimHorizon).unwrap();
    assert_eq!(rig.engine.engine().get_records(&iterator, 50).unwrap().records.len(), 50);
    reads(50);
    stream.register_consumer("billing", [("a", "b")]).unwrap();
    let options = braidlog::stream::SubscriptionOptions::new().records_max(20);
    let mut subscription = stream.subscribe("billing", id(0), StartingPosition::TrimHorizon, options).unwrap();
    assert_eq!(subscription.next_event(Some(Duration::ZERO)).unwrap().unwrap().records.len(), 20);
    reads(20);
}

/// An event that holds nothing, a page that holds nothing, a thread that never rests.
#[test]
fn values_that_can_mean_nothing_are_refused() {
    let rig = rig();
    let engine = rig.engine.engine();
    let stream = engine.create_stream("clicks", StreamOptions::new()).unwrap();
    stream.register_consumer("billing", [("a", "b")]).unwrap();
    let invalid = |error: Option<Error>, name: &str| {
        assert!(matches!(&error, Some(Error::InvalidArgument { what, .. }) if *what == name), "{error:?}, not {name}");
    };
    let options = braidlog::stream::SubscriptionOptions::new;
    for (options, name) in [(options().records_max(0), "records_max"), (options().bytes_max(0), "bytes_max")] {
        invalid(stream.subscribe("billing", id(0), StartingPosition::Latest, options).err(), name);
    }
    // Nothing of it was taken for a subscription.
    stream.subscribe("billing", id(0), StartingPosition::Latest, options()).unwrap();
    for limit in [0, 10_001, usize::MAX] {
        invalid(stream.list_shards(ShardFilter::default(), None, limit).err(), "Limit");
        invalid(engine.list_streams(None, limit).err(), "Limit");
    }
    for limit in [1, 10_000] {
        assert_eq!(stream.list_shards(ShardFilter::default(), None, limit).unwrap().shards.len(), 1);
        assert_eq!(engine.list_streams(None, limit).unwrap().stream_names.len(), 1);
    }
    let dir = tempfile::tempdir().unwrap();
    let spins = braidlog::EngineOptions::new().maintenance_interval(Some(Duration::ZERO));
    invalid(braidlog::Engine::open_with(dir.path(), spins).err(), "maintenance_interval");
}
