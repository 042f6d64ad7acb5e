//! The manifest's pages, through whole lives of a store.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use braidlog::env::Env;
use braidlog::env::sim::{ManualClock, SeededRandom, SimDisk, Tape};
use braidlog::manual::ManualStore;
use braidlog::{Log, LogOptions, StartAt, StoreOptions};

fn open(disk: &SimDisk) -> ManualStore {
    let clock = Arc::new(ManualClock::at(1_000_000));
    let env = Env { disk: Arc::new(disk.clone()), clock, random: Arc::new(SeededRandom::new(7)) };
    ManualStore::open(env, StoreOptions::new().journal_file_bytes(1 << 20).reserve_bytes(0)).unwrap()
}

fn create(store: &mut ManualStore, name: &str) -> Log {
    let mut created = store.create_log(name, LogOptions::new()).unwrap();
    store.settle();
    created.try_get().unwrap().unwrap()
}

/// Where a name lies in the manifest: the low bits of its log's id.
fn bucket(log: &Log) -> u64 {
    log.id().as_u64() & 0xfff
}

/// Found by review: a page that is left empty goes, and what came before the first one that was left was covered by none. What was
/// appended to a log there was acknowledged, and gone after a checkpoint.
#[test]
fn a_log_made_where_the_first_page_was_is_found_again() {
    let disk = SimDisk::new(Tape::seeded(1));
    let mut store = open(&disk);
    let mut logs: Vec<Log> = (0..600).map(|n| create(&mut store, &format!("log-with-a-name-{n}"))).collect();
    logs.sort_by_key(bucket);
    let names: Vec<String> = logs.iter().map(|log| log.name().to_owned()).collect();
    drop(logs);
    store.checkpoint().unwrap();
    // All of the first page, and some of the next.
    for name in &names[..150] {
        let _deleted = store.delete_log(name).unwrap();
        store.settle();
    }
    store.checkpoint().unwrap();
    let append = |store: &mut ManualStore, log: &Log| {
        let ticket = log.try_append_batch(&[b"x"[..].into()]).unwrap();
        store.settle();
        ticket.try_get().unwrap().unwrap();
        store.checkpoint().unwrap();
    };
    // Nothing of the first page changes.
    let last = store.store().log(&names[599]).unwrap();
    append(&mut store, &last);
    let again = create(&mut store, &names[0]);
    append(&mut store, &again);
    drop((last, again));
    store.close().unwrap();
    let store = open(&disk);
    for name in [&names[0], &names[599]] {
        assert_eq!(store.store().log(name).unwrap().read(StartAt::TrimHorizon).unwrap().count(), 1, "{name}");
    }
    for name in &names[1..150] {
        store.store().log(name).unwrap_err();
    }
    for name in &names[150..599] {
        store.store().log(name).unwrap();
    }
}
