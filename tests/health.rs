//! What a store says of itself: its health and who is told of it, its figures, and that nobody waits for a device that stalls.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

mod support;

use std::io;
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use braidlog::env::sim::{Errno, FaultKind, ManualClock, SeededRandom, SimDisk, Tape};
use braidlog::env::{Completion, DiskOp, Env, Wait, WriteQueue};
use braidlog::manual::ManualStore;
use braidlog::{Error, Health, Log, LogOptions, ReadMode, RecordParts, StartAt, Store};
use support::over::Over;
use support::{env_of, small};

/// Longer than any machine needs, so that only what waits for ever meets it.
const FOR_EVER: Duration = Duration::from_secs(120);

struct Bench {
    disk: SimDisk,
    clock: Arc<ManualClock>,
    store: ManualStore,
}

impl Bench {
    fn new() -> Bench {
        let (disk, clock) = (SimDisk::new(Tape::seeded(1)), Arc::new(ManualClock::new()));
        let store = ManualStore::open(env_of(&disk, &clock), small(ReadMode::Map)).unwrap();
        Bench { disk, clock, store }
    }

    fn log(&mut self, options: LogOptions) -> Log {
        let mut made = self.store.create_log("log", options).unwrap();
        self.store.settle();
        made.try_get().unwrap().unwrap()
    }

    fn append(&mut self, log: &Log) -> Result<(), Error> {
        let ticket = log.try_append_batch(&[RecordParts::from(&[7; 1_100][..])])?;
        self.store.settle();
        ticket.try_get().unwrap_or(Err(Error::Closed)).map(drop)
    }

    /// Retention is due.
    fn pass(&mut self) {
        self.clock.advance(Duration::from_secs(2));
        self.store.upkeep_step();
    }

    /// What is told of the health from here on.
    fn told(&self) -> mpsc::Receiver<Health> {
        let (changed, changes) = mpsc::channel();
        let store = self.store.store().clone();
        store.clone().on_health(move |health| {
            // Who is told may ask.
            assert_eq!(&store.health(), health);
            changed.send(health.clone()).unwrap();
        });
        changes
    }
}

#[test]
fn who_asked_for_it_is_told_that_there_is_no_room_and_that_there_is_again() {
    let mut bench = Bench::new();
    let log = bench.log(LogOptions::new());
    let (told, also_told) = (bench.told(), bench.told());
    bench.append(&log).unwrap();
    bench.store.upkeep_step();
    assert!(told.try_recv().is_err(), "nothing has changed");

    bench.disk.set_capacity(Some(bench.disk.used_bytes()));
    let full = (0..400).find_map(|_| {
        let refused = bench.append(&log).err();
        bench.store.upkeep_step();
        refused.filter(|error| matches!(error, Error::Full { .. }))
    });
    assert!(full.unwrap().is_retryable());
    let changes: Vec<Health> = told.try_iter().collect();
    assert!(matches!(&changes[..], [Health::Full { why }] if !why.is_empty()), "told once: {changes:?}");
    assert!(matches!(bench.store.store().health(), Health::Full { .. }));

    bench.disk.set_capacity(None);
    bench.store.upkeep_step();
    bench.store.upkeep_step();
    bench.append(&log).unwrap();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [Health::Ok]);
    assert_eq!(also_told.try_iter().count(), 2, "whoever asked is told");
}

#[test]
fn who_asked_for_it_is_told_once_that_the_store_stopped_and_why() {
    let mut bench = Bench::new();
    let log = bench.log(LogOptions::new());
    let told = bench.told();
    bench.disk.fail_nth_where(1, FaultKind::Forever, Errno::Io, None, Some("journal"));
    assert!(matches!(bench.append(&log), Err(Error::OutcomeUnknown { .. })));
    for _ in 0..3 {
        assert!(matches!(bench.append(&log), Err(Error::Stopped { .. } | Error::OutcomeUnknown { .. })));
        bench.store.upkeep_step();
    }
    let changes: Vec<Health> = told.try_iter().collect();
    let [Health::Stopped { cause }] = &changes[..] else { panic!("{changes:?}") };
    assert!(cause.path.starts_with("journal/"), "{cause:?}");
    assert_eq!(bench.store.store().health(), changes[0]);
}

#[test]
fn retention_is_held_while_the_clocks_disagree() {
    let mut bench = Bench::new();
    let log = bench.log(LogOptions::new().retention_age(Some(Duration::from_secs(3600))));
    for _ in 0..10 {
        bench.append(&log).unwrap();
    }
    bench.store.checkpoint().unwrap();
    let held = |bench: &Bench| bench.store.store().stats().retention_held;
    let segments = |log: &Log| log.info().segments;
    bench.pass();
    assert_eq!(held(&bench), 0);
    bench.clock.advance_wall(Duration::from_secs(24 * 3600));
    bench.pass();
    assert_eq!((held(&bench), segments(&log)), (1, 1));
    assert_eq!(log.read(StartAt::TrimHorizon).unwrap().count(), 10, "a clock that jumps empties no log");
    // Taken back, it is as if nothing had been.
    bench.clock.set_wall_ms(ManualClock::START_MS + 4_000);
    bench.pass();
    assert_eq!((held(&bench), segments(&log)), (0, 1));
    // Its owner says that it is right.
    bench.clock.advance_wall(Duration::from_secs(24 * 3600));
    bench.pass();
    assert_eq!(held(&bench), 1);
    bench.store.store().accept_clock();
    bench.pass();
    let stats = bench.store.store().stats();
    assert_eq!((stats.retention_held, stats.records_trimmed, segments(&log)), (0, 10, 0));
}

#[test]
fn what_is_on_its_way_is_counted_until_it_is_acknowledged() {
    let mut bench = Bench::new();
    let log = bench.log(LogOptions::new());
    let figures = |bench: &Bench, log: &Log| {
        let stats = bench.store.store().stats();
        (stats.frames_in_flight, stats.lag_bytes, log.info().lag)
    };
    assert_eq!(figures(&bench, &log), (0, 0, 0));
    let ticket = log.try_append_batch(&[RecordParts::from("one"), RecordParts::from("two")]).unwrap();
    let (frames, bytes, records) = figures(&bench, &log);
    assert!(frames == 0 && (6..500).contains(&bytes) && records == 2, "{frames}, {bytes}, {records}");
    bench.store.commit_step_without_waiting();
    let (frames, bytes, records) = figures(&bench, &log);
    assert!(frames == 1 && (6..500).contains(&bytes) && records == 2, "{frames}, {bytes}, {records}");
    let more = log.try_append_batch(&[RecordParts::from("three")]).unwrap();
    assert_eq!(log.info().lag, 3);
    bench.store.settle();
    assert!(ticket.try_get().unwrap().is_ok() && more.try_get().unwrap().is_ok());
    assert_eq!(figures(&bench, &log), (0, 0, 0));
    // What waits for a segment is acknowledged.
    assert!(bench.store.store().stats().pending_bytes > 0);
    bench.store.checkpoint().unwrap();
    assert_eq!((figures(&bench, &log), bench.store.store().stats().pending_bytes), ((0, 0, 0), 0));
}

#[test]
fn floors_and_pins_are_visible() {
    let mut bench = Bench::new();
    let log = bench.log(LogOptions::new().segment_bytes_max(16 << 10));
    for _ in 0..60 {
        bench.append(&log).unwrap();
        bench.store.checkpoint().unwrap();
    }
    assert_eq!((log.info().held_from, log.info().oldest_pin), (None, None));
    let mut floors = [log.hold(7), log.hold(3)];
    assert_eq!(log.info().held_from, Some(3));
    floors[1].advance(9);
    assert_eq!(log.info().held_from, Some(7));
    drop(floors);
    assert_eq!(log.info().held_from, None);

    let at = |number| log.read(StartAt::Sequence(number)).unwrap().next().unwrap().unwrap();
    let (late, early) = (at(55), at(1));
    assert_eq!(log.info().oldest_pin, Some(0));
    assert!(bench.store.store().stats().pins >= 2);
    drop(early);
    let oldest = log.info().oldest_pin.unwrap();
    assert!(oldest > 1 && oldest <= 55, "{oldest}");
    assert_eq!(bench.store.store().stats().oldest_pin_ms, 0, "its segment has not been freed");

    let mut trimmed = bench.store.trim(&log, log.end()).unwrap();
    bench.store.settle();
    trimmed.try_get().unwrap().unwrap();
    bench.pass();
    bench.clock.advance(Duration::from_secs(60));
    bench.store.upkeep_step();
    let stats = bench.store.store().stats();
    assert!(stats.oldest_pin_ms >= 60_000 && stats.bytes_pinned > 0, "{stats:?}");
    assert_eq!(log.info().oldest_pin, None, "it is not the log's any more");
    drop(late);
    bench.pass();
    let stats = bench.store.store().stats();
    assert_eq!((stats.oldest_pin_ms, stats.bytes_pinned), (0, 0));
}

// A device that stalls.

/// Whether the device goes on.
#[derive(Default)]
struct Gate {
    stalled: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, stalled: bool) {
        *self.stalled.lock().unwrap() = stalled;
        self.changed.notify_all();
    }

    /// Waits as long as is asked for; whether it goes on.
    fn passes(&self, wait: Wait) -> bool {
        let stalled = self.stalled.lock().unwrap();
        match wait {
            Wait::No => !*stalled,
            Wait::Completion => !*self.changed.wait_while(stalled, |stalled| *stalled).unwrap(),
            Wait::AtMost(time) => !*self.changed.wait_timeout_while(stalled, time, |stalled| *stalled).unwrap().0,
        }
    }
}

/// Goes on when a test ends, also one that fails: its threads must end.
struct Stalled<'a>(&'a Gate);

impl Drop for Stalled<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// A queue that answers only while its gate is open.
struct StallingQueue {
    queue: Box<dyn WriteQueue>,
    gate: Arc<Gate>,
    keeps_time: bool,
}

impl WriteQueue for StallingQueue {
    fn submit(&mut self, token: u64, op: DiskOp) {
        self.queue.submit(token, op);
    }

    fn reap(&mut self, wait: Wait, done: &mut Vec<Completion>) {
        if self.queue.in_flight() > 0 && self.gate.passes(wait) {
            self.queue.reap(wait, done);
        }
    }

    fn keeps_time(&self) -> bool {
        self.keeps_time
    }

    fn in_flight(&self) -> usize {
        self.queue.in_flight()
    }
}

/// Calls it beside the test, and gives up on it only where it waits for ever.
fn comes_back<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> (T, Duration) {
    let (answer, answered) = mpsc::channel();
    let begun = Instant::now();
    std::thread::spawn(move || drop(answer.send(call())));
    let answer = answered.recv_timeout(FOR_EVER).expect("it waits for the device");
    (answer, begun.elapsed())
}

/// The device answers nobody until all have come back, so whoever waited for it would not have.
#[test]
fn nobody_waits_for_a_device_that_stalls_beyond_the_deadline() {
    const DEADLINE: Duration = Duration::from_millis(40);
    for keeps_time in [false, true] {
        let gate = Arc::new(Gate::default());
        let of_queue = gate.clone();
        let disk = Over::new(SimDisk::new(Tape::seeded(1)))
            .on_queue(move |queue| Box::new(StallingQueue { queue, gate: of_queue.clone(), keeps_time }));
        let clock = Arc::new(braidlog::env::SystemClock::new());
        let env = Env { disk: Arc::new(disk), clock, random: Arc::new(SeededRandom::new(7)) };
        let options = small(ReadMode::Map).append_deadline(FOR_EVER);
        let options = options.memory_bytes(64 << 10);
        assert_eq!(Store::open_in(env.clone(), options.clone()).map(drop), Ok(()));
        let store = Store::open_in(env, options.append_deadline(DEADLINE)).unwrap();
        // Made before it stalls; where the machine is slow that takes as long as it takes.
        let log = loop {
            match store.open_or_create_log("log", LogOptions::new()) {
                Err(Error::OutcomeUnknown { .. }) => {}
                made => break made.unwrap(),
            }
        };
        let reader = log.read(StartAt::TrimHorizon).unwrap();
        let _stalled = Stalled(&gate);
        gate.set(true);

        let appended = log.clone();
        let (outcome, took) = comes_back(move || appended.append("on its way"));
        let Err(Error::OutcomeUnknown { cause }) = &outcome else { panic!("{outcome:?}") };
        assert_eq!(cause.kind, io::ErrorKind::TimedOut);
        assert!(took >= DEADLINE, "it gave up after {took:?}");
        assert_eq!(log.end(), 0, "what is not acknowledged is not shown");
        let stats = store.stats();
        assert!(stats.lag_bytes > 0 && log.info().lag == 1, "{stats:?}");
        let begun = Instant::now();
        while store.stats().frames_in_flight == 0 {
            assert!(begun.elapsed() < FOR_EVER, "nothing is on its way");
            std::thread::yield_now();
        }
        let on_its_way = Instant::now();

        // A ticket does not wait at all, and dropped it takes nothing back.
        let tickets = log.clone();
        drop(comes_back(move || tickets.append_ticket("a ticket")).0.unwrap());
        let deleted = store.clone();
        let (outcome, took) = comes_back(move || deleted.create_log("other", LogOptions::new()).map(drop));
        assert!(matches!(outcome, Err(Error::OutcomeUnknown { .. })) && took >= DEADLINE, "{outcome:?}, {took:?}");
        // Where memory is used up, who comes now is told so, with nothing appended.
        let filling = log.clone();
        let (refused, took) = comes_back(move || {
            let record = [7u8; 8_000];
            (0..100).find_map(|_| {
                let begun = Instant::now();
                filling.append_ticket(&record[..]).err().map(|error| (error, begun.elapsed()))
            })
        });
        let (error, waited) = refused.expect("memory is bounded");
        assert!(matches!(error, Error::Busy { .. }) && error.is_retryable(), "{error:?}");
        assert!(waited >= DEADLINE && took >= waited, "{waited:?}");
        assert!(store.stats().pending_bytes <= 64 << 10);

        let stalled = on_its_way.elapsed();
        gate.set(false);
        // All that was let in becomes durable after all.
        assert!(reader.wait(Some(FOR_EVER)).unwrap());
        loop {
            match log.append("after") {
                Err(Error::Busy { .. } | Error::OutcomeUnknown { .. }) => {}
                appended => {
                    appended.unwrap();
                    break;
                }
            }
        }
        let data: Vec<_> = log.read(StartAt::TrimHorizon).unwrap().map(|record| record.unwrap().data).collect();
        assert_eq!((&data[0][..], &data[1][..]), (&b"on its way"[..], &b"a ticket"[..]));
        assert!(data.len() > 4);
        assert_eq!(log.info().lag, 0);
        // One write took as long as the device stalled, and it is in the figures.
        let (median, slowest) = store.stats().sync_micros;
        assert!(0 < median && median <= slowest, "{median}, {slowest}");
        assert!(u128::from(slowest) >= stalled.as_micros(), "{slowest} us of {stalled:?}");
        drop((log, reader));
        store.close().unwrap();
    }
}

#[test]
fn a_store_that_has_written_nothing_knows_no_latency() {
    let mut bench = Bench::new();
    assert_eq!(bench.store.store().stats().sync_micros, (0, 0));
    let log = bench.log(LogOptions::new());
    bench.append(&log).unwrap();
    let (median, slowest) = bench.store.store().stats().sync_micros;
    assert!(median > 0 && slowest >= median);
}
