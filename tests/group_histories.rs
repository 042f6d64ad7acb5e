//! Histories of consumer groups on a simulated disk, each from one seed: workers that come, die without a word, stall past their
//! lease in the middle of a batch and wake, shards that split and merge under them, and a machine that crashes at any write.
//! What the workers copy, each batch in one transaction with its checkpoint, is there exactly once and in the order of its key.

#![allow(clippy::unwrap_used)] // a helper that is no test may fail like one

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use braidlog::env::Env;
use braidlog::env::sim::{Crash, ManualClock, SeededRandom, SimDisk, Tape};
use braidlog::manual::ManualEngine;
use braidlog::stream::{
    ConsumerGroup, GroupOptions, HashKey, ProcessError, PutRecordsEntry, RecordBatch, RecordProcessor, ShardId, Stream,
    StreamOptions, Worker,
};
use braidlog::{EngineOptions, Error, Log, LogOptions, StartAt, StoreOptions, Transaction};

const FAILOVER: Duration = Duration::from_secs(10);
const WORKERS: usize = 3;
const PATIENCE: Duration = Duration::from_millis(2);

type Make = Box<dyn FnMut(ShardId) -> Copier + Send>;
type Workers = Arc<[Mutex<Option<Worker<Copier, Make>>>; WORKERS]>;

/// Copies what it gets to a log. In the middle of a batch it may stall while the others go on.
struct Copier {
    log: Log,
    tape: Tape,
    clock: Arc<ManualClock>,
    workers: Workers,
}

impl RecordProcessor for Copier {
    fn process(&mut self, batch: &mut RecordBatch<'_>) -> Result<(), ProcessError> {
        let mut output = Transaction::new();
        for record in batch.records() {
            output.append(&self.log, &record.data[..])?;
        }
        if self.tape.choose("stall", 4) == 0 {
            self.clock.advance(FAILOVER);
            for _ in 0..self.tape.choose("meanwhile", 6) {
                let other = &self.workers[self.tape.choose("other", WORKERS as u64) as usize];
                // Its own slot is taken while it works.
                if let Ok(mut other) = other.try_lock()
                    && let Some(worker) = other.as_mut()
                {
                    go_on(worker)?;
                }
            }
        }
        if self.tape.choose("fails", 12) == 0 {
            return Err("a bad day".into());
        }
        if self.tape.choose("hangs", 24) == 0 {
            // Nothing steps the machines for another thread: the disk hangs for longer than it waits.
            let outcome = std::thread::scope(|scope| scope.spawn(|| batch.commit(output)).join().unwrap());
            // The engine knows better than what it is told.
            return match outcome {
                Err(Error::OutcomeUnknown { .. }) if self.tape.choose("swallowed", 2) == 0 => Ok(()),
                Err(error) => Err(format!("wrapped: {error}").into()),
                Ok(()) => Ok(()),
            };
        }
        Ok(batch.commit(output)?)
    }
}

struct History {
    tape: Tape,
    disk: SimDisk,
    clock: Arc<ManualClock>,
    next: u32,
    acknowledged: BTreeSet<u32>,
}

fn env_of(history: &History, life: u64) -> Env {
    let random = Arc::new(SeededRandom::new(life));
    Env { disk: Arc::new(history.disk.clone()), clock: history.clock.clone(), random }
}

impl History {
    fn choose(&self, what: &'static str, below: u64) -> u64 {
        self.tape.choose(what, below)
    }

    /// A life that goes well, or up to its crash. Whether it went well.
    fn life(&mut self, number: u64, steps: u64) -> Result<bool, Error> {
        let store = StoreOptions::new().journal_file_bytes(64 << 10).journal_files_max(4).memory_bytes(256 << 10);
        let store = store.append_deadline(PATIENCE);
        let engine = ManualEngine::open(env_of(self, number), EngineOptions::new().store(store))?;
        let stream = match engine.engine().stream("clicks") {
            Err(Error::ResourceNotFound { .. }) => {
                engine.engine().create_stream("clicks", StreamOptions::new().shards(2))?
            }
            stream => stream?,
        };
        // A group may be made when a stream has a history.
        for _ in 0..if stream.consumer_groups().is_empty() { self.choose("before", 10) } else { 0 } {
            match self.choose("what", 2) {
                0 => put(&stream, &mut self.next, &mut self.acknowledged, 5)?,
                _ => reshard(&stream, &self.tape)?,
            }
        }
        let copy = engine.engine().store().open_or_create_log("copy", LogOptions::new())?;
        let options = GroupOptions::new().failover(FAILOVER).hand_over(FAILOVER).records_max(4);
        let group = stream.consumer_group("copiers", options.retry_after(Duration::ZERO))?;
        let workers: Workers = Arc::default();
        let (tape, clock) = (self.tape.clone(), self.clock.clone());
        let hire = |name: String| -> Result<Worker<Copier, Make>, Error> {
            let (log, tape, clock, workers) = (copy.clone(), tape.clone(), clock.clone(), workers.clone());
            let make = move |_| Copier {
                log: log.clone(),
                tape: tape.clone(),
                clock: clock.clone(),
                workers: workers.clone(),
            };
            group.worker(&name, Box::new(make) as Make)
        };
        let outcome = (|| {
            for step in 0..steps {
                let slot = &workers[self.choose("worker", WORKERS as u64) as usize];
                match self.choose("what", 12) {
                    0..3 => {
                        put(&stream, &mut self.next, &mut self.acknowledged, self.tape.choose("records", 6) as u32 + 1)?
                    }
                    3 => *slot.lock().unwrap() = Some(hire(format!("{number}-{step}"))?),
                    4 => std::mem::forget(slot.lock().unwrap().take()),
                    5 => self.clock.advance(FAILOVER / 2),
                    6 => reshard(&stream, &self.tape)?,
                    _ => {
                        if let Some(worker) = slot.lock().unwrap().as_mut() {
                            go_on(worker)?;
                        }
                    }
                }
            }
            Ok(())
        })();
        // A worker's processors know the others: untied here.
        workers.iter().for_each(|slot| drop(slot.lock().unwrap().take()));
        if self.disk.is_dead() {
            return Ok(false);
        }
        outcome.map(|()| true)
    }

    /// One worker finishes what is left; then what was copied is held against what was put.
    fn judge(&mut self) {
        let engine = ManualEngine::open(
            env_of(self, 99),
            EngineOptions::new().store(StoreOptions::new().append_deadline(PATIENCE)),
        )
        .unwrap();
        let Ok(stream) = engine.engine().stream("clicks") else {
            assert!(self.acknowledged.is_empty());
            return;
        };
        let copy = engine.engine().store().open_or_create_log("copy", LogOptions::new()).unwrap();
        let group = stream.consumer_group("copiers", GroupOptions::new().retry_after(Duration::ZERO)).unwrap();
        let workers: Workers = Arc::default();
        let (tape, clock, log) = (Tape::seeded(7), self.clock.clone(), copy.clone());
        let make =
            move |_| Copier { log: log.clone(), tape: tape.clone(), clock: clock.clone(), workers: workers.clone() };
        let mut worker = group.worker("the last", Box::new(make) as Make).unwrap();
        for _ in 0..10_000 {
            if !go_on(&mut worker).unwrap() {
                break;
            }
        }
        let progress = group.progress().unwrap();
        assert!(progress.iter().all(|shard| shard.records_behind == 0), "{progress:?}");
        let copied: Vec<u32> =
            copy.read(StartAt::TrimHorizon).unwrap().map(|record| number(&record.unwrap().data)).collect();
        let distinct: BTreeSet<u32> = copied.iter().copied().collect();
        assert_eq!(distinct.len(), copied.len(), "something was copied twice: {copied:?}");
        assert!(distinct.is_superset(&self.acknowledged), "something was lost");
        let mut last: BTreeMap<u32, u32> = BTreeMap::new();
        for number in copied {
            assert!(last.insert(number % 5, number).is_none_or(|before| before < number), "{number} is out of order");
        }
    }
}

/// A step of a worker that goes on after what it could not learn the outcome of.
fn go_on(worker: &mut Worker<Copier, Make>) -> Result<bool, Error> {
    match worker.step() {
        Err(Error::OutcomeUnknown { .. }) => Ok(true),
        done => done,
    }
}

fn number(data: &[u8]) -> u32 {
    std::str::from_utf8(data).unwrap().parse().unwrap()
}

/// Puts numbers that go up; the key is a number's rest by five.
fn put(stream: &Stream, next: &mut u32, acknowledged: &mut BTreeSet<u32>, count: u32) -> Result<(), Error> {
    let numbers: Vec<u32> = (*next..*next + count).collect();
    *next += count;
    let texts: Vec<(String, String)> = numbers.iter().map(|n| (format!("key {}", n % 5), n.to_string())).collect();
    let entries: Vec<_> = texts.iter().map(|(key, data)| PutRecordsEntry::new(key, data.as_bytes())).collect();
    for (number, put) in numbers.into_iter().zip(stream.put_records(&entries)?.records) {
        put?;
        acknowledged.insert(number);
    }
    Ok(())
}

fn reshard(stream: &Stream, tape: &Tape) -> Result<(), Error> {
    let open = stream.open_shards();
    let at = tape.choose("shard", open.len() as u64) as usize;
    if open.len() > 1 && tape.choose("merge", 2) == 1 {
        let at = at.min(open.len() - 2);
        return stream.merge_shards(open[at].shard_id, open[at + 1].shard_id);
    }
    let range = open[at].hash_key_range;
    if open.len() < 6 && range.width() > 1 << 100 {
        stream.split_shard(open[at].shard_id, HashKey(range.start.0 + range.width() / 2))?;
    }
    Ok(())
}

fn history(seed: u64) -> u64 {
    let tape = Tape::seeded(seed);
    let disk = SimDisk::new(tape.clone());
    let mut history =
        History { tape, disk, clock: Arc::new(ManualClock::new()), next: 0, acknowledged: BTreeSet::new() };
    let mut crashes = 0;
    for life in 1..=4 {
        if history.choose("crashes", 4) > 0 {
            history.disk.set_torn_crash_at(history.choose("at", 500));
        }
        match history.life(life, 60) {
            Ok(true) => {}
            outcome => {
                assert!(history.disk.is_dead(), "seed {seed}: {outcome:?}");
                crashes += 1;
            }
        }
        history.disk = history.disk.crash(Crash::Power, &history.tape);
    }
    history.judge();
    crashes
}

#[test]
fn what_a_group_commits_with_its_checkpoints_is_there_once_and_in_order() {
    let histories: u64 = std::env::var("BRAIDLOG_GROUP_HISTORIES").map_or(150, |n| n.parse().unwrap());
    let mut crashes = 0;
    for seed in 0..histories {
        let outcome = std::panic::catch_unwind(|| history(seed));
        match outcome {
            Ok(more) => crashes += more,
            Err(panic) => {
                eprintln!("seed {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("figures: {histories} histories of consumer groups with {crashes} crashes");
    assert!(crashes > histories / 2);
}

/// What a worker got that leaves checkpoints to the engine, and how many records were behind the group's checkpoint by then.
type Got = Arc<Mutex<Vec<(u32, u64)>>>;

fn note(group: &ConsumerGroup, got: &Got) -> impl FnMut(&mut RecordBatch<'_>) -> Result<(), ProcessError> + use<> {
    let (group, got) = (group.clone(), got.clone());
    move |batch| {
        let behind: u64 = group.progress()?.iter().map(|shard| shard.records_behind).sum();
        got.lock().unwrap().extend(batch.records().iter().map(|record| (number(&record.data), behind)));
        Ok(())
    }
}

/// A worker that gets two records at a time, in a life that crashes so many operations after it was made, and another one after
/// that. What each got, and whether there was a crash.
fn plain_workers(crash_after: u64) -> (Got, Got, bool) {
    let tape = Tape::seeded(crash_after);
    let disk = SimDisk::new(tape.clone());
    let mut history =
        History { tape, disk, clock: Arc::new(ManualClock::new()), next: 0, acknowledged: BTreeSet::new() };
    let (first, second, options) = (Got::default(), Got::default(), GroupOptions::new().records_max(2));
    {
        let engine = ManualEngine::open(env_of(&history, 1), EngineOptions::new()).unwrap();
        let stream = engine.engine().create_stream("clicks", StreamOptions::new()).unwrap();
        put(&stream, &mut history.next, &mut history.acknowledged, 12).unwrap();
        let group = stream.consumer_group("plain", options.clone()).unwrap();
        history.disk.set_torn_crash_at(history.disk.operations() + crash_after);
        let mut worker = group.worker("one", |_| note(&group, &first)).unwrap();
        while matches!(worker.step(), Ok(true)) {}
    }
    let crashed = history.disk.is_dead();
    history.disk = history.disk.crash(Crash::Power, &history.tape);
    let engine = ManualEngine::open(env_of(&history, 2), EngineOptions::new()).unwrap();
    let group = engine.engine().stream("clicks").unwrap().consumer_group("plain", options).unwrap();
    let mut worker = group.worker("two", |_| note(&group, &second)).unwrap();
    while worker.step().unwrap() {}
    drop(worker);
    (first, second, crashed)
}

#[test]
fn a_crash_repeats_at_most_two_batches_of_a_worker_that_leaves_checkpoints_to_the_engine() {
    for crash_after in 0.. {
        let (first, second, crashed) = plain_workers(crash_after);
        let numbers = |got: Got| got.lock().unwrap().iter().map(|(number, _)| *number).collect::<Vec<u32>>();
        if !crashed {
            // The second batch came while the first one's checkpoint was on its way, the third one after it.
            let behind: Vec<u64> = first.lock().unwrap().iter().step_by(2).map(|(_, behind)| *behind).collect();
            assert_eq!(behind, [12, 12, 10, 8, 6, 4]);
            assert!(numbers(second).is_empty());
            assert!(crash_after > 6, "nothing was crashed");
            return;
        }
        let (first, second) = (numbers(first), numbers(second));
        let upto = first.len() as u32;
        assert_eq!(first, (0..upto).collect::<Vec<_>>());
        let from = second.first().copied().unwrap_or(12);
        assert_eq!(second, (from..12).collect::<Vec<_>>(), "crash after {crash_after}");
        assert!(from <= upto && upto - from <= 4, "crash after {crash_after}: {upto} were had, then {from}");
    }
}

/// When in a batch its lease is taken away.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Moment {
    /// It was read, and nothing was done.
    Read,
    /// What it leads to is written, or ready to be.
    Processed,
}

/// How many batches come before the one in which it happens, when in that, and what.
type Theft = (u64, Moment, Box<dyn FnOnce() + Send>);

/// Copies what it gets: in one transaction with its checkpoint, or at once, with the checkpoint behind it.
struct Robbed {
    log: Log,
    exactly_once: bool,
    theft: Arc<Mutex<Option<Theft>>>,
}

impl Robbed {
    fn reaches(&self, moment: Moment) {
        let due = self.theft.lock().unwrap().take_if(|(batch, when, _)| *batch == 0 && *when == moment);
        due.into_iter().for_each(|(.., steal)| steal());
    }
}

impl RecordProcessor for Robbed {
    fn process(&mut self, batch: &mut RecordBatch<'_>) -> Result<(), ProcessError> {
        self.reaches(Moment::Read);
        let mut output = Transaction::new();
        for record in batch.records() {
            output.append(&self.log, &record.data[..])?;
        }
        let outcome = if self.exactly_once {
            self.reaches(Moment::Processed);
            batch.commit(output).map(drop)
        } else {
            for record in batch.records() {
                self.log.append(&record.data[..])?;
            }
            self.reaches(Moment::Processed);
            Ok(())
        };
        if let Some((batch, ..)) = &mut *self.theft.lock().unwrap() {
            *batch = batch.saturating_sub(1);
        }
        Ok(outcome?)
    }
}

/// The lease is stolen at every point of every batch, by a worker that goes through the rest: nothing is lost, what is committed
/// with its checkpoint is there once, and otherwise the one batch comes again that its owner was robbed in.
#[test]
fn a_lease_stolen_at_every_point_loses_nothing_and_repeats_at_most_the_batch_it_was_stolen_in() {
    const RECORDS: u32 = 18;
    const BATCH: usize = 4;
    for exactly_once in [true, false] {
        for moment in [Moment::Read, Moment::Processed] {
            for at in 0..RECORDS.div_ceil(BATCH as u32) {
                let what = format!("exactly once {exactly_once}, {moment:?} of batch {at}");
                let history = History {
                    tape: Tape::seeded(1),
                    disk: SimDisk::new(Tape::seeded(2)),
                    clock: Arc::new(ManualClock::new()),
                    next: 0,
                    acknowledged: BTreeSet::new(),
                };
                let engine = ManualEngine::open(env_of(&history, 1), EngineOptions::new()).unwrap();
                let stream = engine.engine().create_stream("clicks", StreamOptions::new()).unwrap();
                let copy = engine.engine().store().open_or_create_log("copy", LogOptions::new()).unwrap();
                for n in 0..RECORDS {
                    stream.put_record("key", n.to_string().as_bytes()).unwrap();
                }
                let options = GroupOptions::new().failover(FAILOVER).hand_over(FAILOVER).records_max(BATCH);
                let group = stream.consumer_group("copiers", options.retry_after(Duration::ZERO)).unwrap();
                let theft: Arc<Mutex<Option<Theft>>> = Arc::default();
                let make = |theft: &Arc<Mutex<Option<Theft>>>| {
                    let (log, theft) = (copy.clone(), theft.clone());
                    move |_| Robbed { log: log.clone(), exactly_once, theft: theft.clone() }
                };
                let (thieves, innocent, clock) = (group.clone(), make(&Arc::default()), history.clock.clone());
                let steal = move || {
                    clock.advance(2 * FAILOVER);
                    let mut thief = thieves.worker("thief", innocent).unwrap();
                    while thief.step().unwrap() {}
                };
                *theft.lock().unwrap() = Some((u64::from(at), moment, Box::new(steal)));
                let mut owner = group.worker("owner", make(&theft)).unwrap();
                while owner.step().unwrap() {}
                assert!(theft.lock().unwrap().is_none(), "{what}: it was not robbed");
                let mut times = BTreeMap::<u32, u32>::new();
                for record in copy.read(StartAt::TrimHorizon).unwrap() {
                    let n = std::str::from_utf8(&record.unwrap().data).unwrap().parse().unwrap();
                    *times.entry(n).or_default() += 1;
                }
                assert!(times.keys().copied().eq(0..RECORDS), "{what}: {times:?}");
                let repeated: Vec<u32> = times.into_iter().filter(|(_, times)| *times > 1).map(|(n, _)| n).collect();
                let robbed = at * BATCH as u32..RECORDS.min((at + 1) * BATCH as u32);
                let expected = if exactly_once { 0..0 } else { robbed };
                assert!(
                    repeated.iter().copied().eq(expected.clone()),
                    "{what}: {repeated:?} and not {expected:?} came again"
                );
            }
        }
    }
}
