//! What may still be read, and when it ends: rules of age and bytes, trims, and the floors that hold the rules back.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

#[path = "retention/floors.rs"]
mod floors;
#[path = "retention/model.rs"]
mod model;
#[path = "retention/space.rs"]
mod space;
mod support;

use std::sync::Arc;
use std::time::Duration;

use braidlog::env::sim::{Crash, ManualClock, SimDisk, Tape};
use braidlog::manual::ManualStore;
use braidlog::{Error, Log, LogOptions, ReadMode, RecordParts, StartAt};
use support::{env_of, small};

const AGE: Duration = Duration::from_secs(10);

/// A store on a simulated disk, with a clock that stands until it is wound.
struct Bench {
    disk: SimDisk,
    clock: Arc<ManualClock>,
    options: braidlog::StoreOptions,
    store: ManualStore,
}

impl Bench {
    fn new(options: braidlog::StoreOptions) -> Bench {
        let (disk, clock) = (SimDisk::new(Tape::seeded(1)), Arc::new(ManualClock::new()));
        let store = ManualStore::open(env_of(&disk, &clock), options.clone()).unwrap();
        Bench { disk, clock, options, store }
    }

    /// A store whose log has ten batches of ten records, one a second.
    fn with_log(options: LogOptions) -> (Bench, Log) {
        let mut bench = Bench::new(small(ReadMode::Map));
        let log = bench.log("log", options);
        for _ in 0..10 {
            bench.append(&log, 10, 100);
            bench.pass(Duration::from_secs(1));
        }
        (bench, log)
    }

    fn log(&mut self, name: &str, options: LogOptions) -> Log {
        let mut made = self.store.create_log(name, options).unwrap();
        self.store.settle();
        made.try_get().unwrap().unwrap()
    }

    /// One batch.
    fn append(&mut self, log: &Log, count: usize, len: usize) {
        let data = vec![b'x'; len];
        let records = vec![RecordParts { key: None, data: &data, attributes: None }; count];
        let ticket = log.try_append_batch(&records).unwrap();
        self.store.settle();
        ticket.try_get().unwrap().unwrap();
    }

    fn trim(&mut self, log: &Log, upto: u64) {
        let mut trimmed = self.store.trim(log, upto).unwrap();
        self.store.settle();
        trimmed.try_get().unwrap().unwrap();
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    fn close_and_reopen(&mut self) {
        let (env, options) = (env_of(&self.disk, &self.clock), self.options.clone());
        // Machines that are never stepped stand in while the store is closed: a closed one is consumed.
        let spare = SimDisk::new(Tape::seeded(1));
        let spare = ManualStore::open(env_of(&spare, &self.clock), small(ReadMode::Map)).unwrap();
        std::mem::replace(&mut self.store, spare).close().unwrap();
        self.store = ManualStore::open(env, options).unwrap();
    }

    /// The owner dies, and another one opens the store.
    fn reopen(&mut self, kind: Crash) {
        self.store.abandon();
        self.disk = self.disk.crash(kind, &Tape::seeded(2));
        self.store = ManualStore::open(env_of(&self.disk, &self.clock), self.options.clone()).unwrap();
    }
}

/// Numbers of what a reader at the horizon yields, in each of the ways there are; they must agree.
fn readable(log: &Log) -> Vec<u64> {
    let start = || log.read(StartAt::TrimHorizon).unwrap();
    let by_record: Vec<u64> = start().map(|record| record.unwrap().sequence_number).collect();
    let mut reader = start();
    let mut by_batch = Vec::new();
    while let Some(batch) = reader.next_batch().unwrap() {
        by_batch.extend(batch.iter().map(|record| record.sequence_number));
    }
    let many = start().read(usize::MAX, usize::MAX).unwrap();
    let by_many: Vec<u64> = many.iter().map(|record| record.sequence_number).collect();
    assert_eq!((&by_record, &by_record), (&by_batch, &by_many));
    assert_eq!(by_record.first().copied().unwrap_or(log.end()), log.horizon().unwrap());
    by_record
}

fn trimmed_at(outcome: braidlog::Result<impl std::fmt::Debug>) -> (u64, u64) {
    match outcome {
        Err(Error::Trimmed { position, horizon, .. }) => (position, horizon),
        other => panic!("{other:?}"),
    }
}
