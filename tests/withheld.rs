//! What damage withholds, and what can be had of it all the same: by opening, by `check --salvage`, and from what is kept aside. All of
//! it was found by review.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use braidlog::check::{CheckOptions, check_in, salvage_in};
use braidlog::env::sim::{Crash, ManualClock, SimDisk, Tape};
use braidlog::env::{Access, Disk};
use braidlog::manual::ManualStore;
use braidlog::{Health, Log, LogOptions, ReadMode};
use support::{env_of, packing, small};

fn open(disk: &SimDisk, clock: &Arc<ManualClock>) -> ManualStore {
    ManualStore::open(env_of(disk, clock), small(ReadMode::Copy)).unwrap()
}

fn create(store: &mut ManualStore, name: &str) -> Log {
    let mut made = store.create_log(name, LogOptions::new()).unwrap();
    store.settle();
    made.try_get().unwrap().unwrap()
}

/// Appends a record in a frame of its own.
fn append(store: &mut ManualStore, log: &Log, data: &str) {
    let ticket = log.append_ticket(data).unwrap();
    store.settle();
    ticket.try_get().unwrap().unwrap();
}

fn record(n: u32) -> String {
    format!("record {n:04} {}", "x".repeat(400))
}

/// Where something stands in the journal.
fn find(disk: &SimDisk, wanted: &[u8]) -> (String, u64) {
    let place = disk.list("journal").unwrap().iter().find_map(|entry| {
        let path = format!("journal/{}", entry.name);
        let file = disk.open(&path, Access::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        bytes.windows(wanted.len()).position(|window| window == wanted).map(|at| (path, at as u64))
    });
    place.unwrap()
}

/// A killed store with ten records of `log` in the journal, each in a frame of its own.
fn ten_records(clock: &Arc<ManualClock>) -> SimDisk {
    let disk = SimDisk::new(Tape::seeded(1));
    let mut store = open(&disk, clock);
    let (log, other) = (create(&mut store, "log"), create(&mut store, "other"));
    store.checkpoint().unwrap();
    for n in 0..10 {
        append(&mut store, &log, &record(n));
        append(&mut store, &other, "whole");
    }
    drop((log, other, store));
    disk.crash(Crash::Kill, &Tape::seeded(2))
}

fn rot(disk: &SimDisk, wanted: &[u8]) {
    let (path, at) = find(disk, wanted);
    disk.flip_bit(&path, at * 8).unwrap();
}

/// How many records of `log` a salvage gets.
fn salvaged(disk: &SimDisk, clock: &Arc<ManualClock>, log: &str) -> u64 {
    let report = salvage_in(&env_of(&disk.fork(), clock), "copy", &mut |_| {}).unwrap();
    report.logs.iter().find(|found| found.name == log).map_or(0, |found| found.records)
}

/// The store goes on for a while.
fn use_it(store: &mut ManualStore) {
    let other = store.store().log("other").unwrap();
    for _ in 0..60 {
        append(store, &other, &"more".repeat(1000));
    }
    store.checkpoint().unwrap();
    store.checkpoint().unwrap();
}

#[test]
fn a_bad_sector_of_the_journal_costs_a_salvage_no_more_than_an_open() {
    let clock = Arc::new(ManualClock::new());
    let disk = ten_records(&clock);
    let (path, at) = find(&disk, b"record 0009");
    disk.set_read_error(&path, at..at + 1).unwrap();
    let report = check_in(&env_of(&disk.fork(), &clock), &CheckOptions::new(), &mut |_| {}).unwrap();
    let told = format!("{report:?}");
    let store = open(&disk.fork(), &clock);
    assert_eq!(store.store().log("log").unwrap().end(), 9);
    drop(store);
    assert_eq!(salvaged(&disk, &clock, "log"), 9, "{told}");
    assert!(!told.contains("can't be opened"), "{told}");
}

#[test]
fn a_bad_sector_in_front_of_frames_that_are_there_hides_none() {
    let clock = Arc::new(ManualClock::new());
    let disk = SimDisk::new(Tape::seeded(1));
    let mut store = open(&disk, &clock);
    let log = create(&mut store, "log");
    append(&mut store, &log, &record(0));
    store.checkpoint().unwrap();
    for n in 1..6 {
        append(&mut store, &log, &record(n));
    }
    drop((log, store));
    let disk = disk.crash(Crash::Kill, &Tape::seeded(2));
    let (path, at) = find(&disk, b"record 0003");
    assert!(at > 4096);
    disk.set_read_error(&path, 0..1).unwrap();
    let store = open(&disk, &clock);
    let report = store.store().open_report();
    assert_eq!((store.store().log("log").unwrap().end(), report.stopped_logs.len()), (6, 0), "{report:?}");
    assert_eq!(store.store().health(), Health::Ok, "{report:?}");
}

#[test]
fn what_is_withheld_is_kept_however_the_open_that_kept_it_ended() {
    let clock = Arc::new(ManualClock::new());
    let left = ten_records(&clock);
    rot(&left, b"record 0003");
    assert_eq!(salvaged(&left, &clock, "log"), 9);
    let mut crashes = 0;
    for n in 0.. {
        let disk = left.fork();
        let before = disk.operations();
        disk.set_crash_at(before + n);
        let opened = ManualStore::open(env_of(&disk, &clock), small(ReadMode::Copy));
        if !disk.is_dead() {
            break;
        }
        drop(opened);
        crashes += 1;
        for seed in 0..4 {
            let disk = disk.crash(Crash::Kill, &Tape::seeded(seed));
            let mut store = open(&disk, &clock);
            use_it(&mut store);
            drop(store);
            let disk = disk.crash(Crash::Power, &Tape::seeded(seed));
            assert_eq!(salvaged(&disk, &clock, "log"), 9, "killed before operation {n}, then a power cut {seed}");
        }
    }
    assert!(crashes > 5);
}

#[test]
fn what_is_kept_is_not_given_up_for_something_worse() {
    let clock = Arc::new(ManualClock::new());
    let disk = ten_records(&clock);
    rot(&disk, b"record 0003");
    drop(open(&disk, &clock));
    let disk = disk.crash(Crash::Kill, &Tape::seeded(3));
    rot(&disk, b"record 0007");
    let mut store = open(&disk, &clock);
    use_it(&mut store);
    drop(store);
    let disk = disk.crash(Crash::Power, &Tape::seeded(3));
    assert_eq!(salvaged(&disk, &clock, "log"), 9);
}

/// The entry that made a log is damaged, and the store goes on. Its id must not be given to another log: records of the first are
/// there under it, and were acknowledged.
#[test]
fn the_id_of_a_log_whose_making_is_damaged_is_not_given_again() {
    let clock = Arc::new(ManualClock::new());
    let disk = SimDisk::new(Tape::seeded(1));
    let mut store = open(&disk, &clock);
    drop(create(&mut store, "other"));
    store.checkpoint().unwrap();
    let log = create(&mut store, "damaged-name");
    let id = log.id();
    for n in 0..5 {
        append(&mut store, &log, &record(n));
    }
    drop((log, store));
    let disk = disk.crash(Crash::Kill, &Tape::seeded(2));
    rot(&disk, b"damaged-name");
    assert_eq!(salvaged_in_all(&disk, &clock), 5, "the records are whole");
    let mut store = open(&disk, &clock);
    assert_eq!(store.store().health(), Health::Ok);
    let again = create(&mut store, "damaged-name");
    assert_ne!(again.id(), id);
}

fn salvaged_in_all(disk: &SimDisk, clock: &Arc<ManualClock>) -> u64 {
    let report = salvage_in(&env_of(&disk.fork(), clock), "copy", &mut |_| {}).unwrap();
    report.records
}

#[test]
fn what_is_kept_is_salvaged_without_a_manifest_too() {
    let clock = Arc::new(ManualClock::new());
    let disk = ten_records(&clock);
    rot(&disk, b"record 0003");
    let mut store = open(&disk, &clock);
    use_it(&mut store);
    drop(store);
    let disk = disk.crash(Crash::Kill, &Tape::seeded(3));
    for entry in disk.list("manifest").unwrap() {
        disk.flip_bit(&format!("manifest/{}", entry.name), 8 * 8).unwrap();
    }
    let report = salvage_in(&env_of(&disk.fork(), &clock), "copy", &mut |_| {}).unwrap();
    assert!(report.logs.iter().any(|log| log.records == 9), "{:?}", report.logs);
}

/// A large share is in a segment, and the frame that names it is damaged. The log stops before it; the share is whole.
#[test]
fn a_large_share_whose_frame_is_damaged_is_salvaged() {
    let clock = Arc::new(ManualClock::new());
    let disk = SimDisk::new(Tape::seeded(1));
    let mut store = open(&disk, &clock);
    let (log, other) = (create(&mut store, "a-log-to-be-found"), create(&mut store, "other"));
    append(&mut store, &log, &record(0));
    store.checkpoint().unwrap();
    append(&mut store, &log, &"y".repeat(9000));
    append(&mut store, &other, "behind it");
    append(&mut store, &other, "behind it");
    drop((log, other, store));
    let disk = disk.crash(Crash::Kill, &Tape::seeded(2));
    // Of the row that the frame has.
    let (path, at) = find_last(&disk, b"a-log-to-be-found");
    disk.flip_bit(&path, at * 8).unwrap();
    assert_eq!(salvaged(&disk, &clock, "a-log-to-be-found"), 2);
    let mut store = open(&disk, &clock);
    assert_eq!(store.store().log("a-log-to-be-found").unwrap().info().stopped_at, Some(1));
    use_it(&mut store);
    drop(store);
    assert_eq!(salvaged(&disk.crash(Crash::Kill, &Tape::seeded(2)), &clock, "a-log-to-be-found"), 2);
}

/// It stays where it is for as long as the owner keeps the log, whatever else happens to the store: what the log has before it may be
/// written out behind it, or expire.
#[test]
fn a_large_share_whose_frame_is_damaged_is_salvaged_after_many_lives() {
    for (small_before, packs, expires) in (0..8).map(|bits| (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0)) {
        let what = format!("a small record before it {small_before}, packs {packs}, a rule of age {expires}");
        let clock = Arc::new(ManualClock::new());
        let options = if packs { packing(ReadMode::Copy) } else { small(ReadMode::Copy) };
        let open = |disk: &SimDisk| ManualStore::open(env_of(disk, &clock), options.clone()).unwrap();
        let disk = SimDisk::new(Tape::seeded(1));
        let mut store = open(&disk);
        let age = expires.then_some(Duration::from_secs(60));
        let mut made = store.create_log("a-log-to-be-found", LogOptions::new().retention_age(age)).unwrap();
        store.settle();
        let log = made.try_get().unwrap().unwrap();
        let other = create(&mut store, "other");
        append(&mut store, &log, &record(0));
        store.checkpoint().unwrap();
        if small_before {
            append(&mut store, &log, &record(1));
        }
        append(&mut store, &log, &"y".repeat(9000));
        append(&mut store, &other, "behind it");
        append(&mut store, &other, "behind it");
        drop((log, other, store));
        let mut disk = disk.crash(Crash::Kill, &Tape::seeded(2));
        let (path, at) = find_last(&disk, b"a-log-to-be-found");
        disk.flip_bit(&path, at * 8).unwrap();
        let stopped_at = 1 + u64::from(small_before);
        for life in 0..6 {
            let mut store = open(&disk);
            assert_eq!(store.store().log("a-log-to-be-found").unwrap().info().stopped_at, Some(stopped_at), "{what}");
            for _ in 0..5 {
                let other = store.store().log("other").unwrap();
                (0..20).for_each(|_| append(&mut store, &other, &"more".repeat(1000)));
                clock.advance(Duration::from_secs(100));
                store.upkeep_step();
                store.checkpoint().unwrap();
            }
            if life % 2 == 0 {
                drop(store);
            } else {
                store.close().unwrap();
            }
            disk = disk.crash(if life % 3 == 0 { Crash::Kill } else { Crash::Power }, &Tape::seeded(3));
            let report = salvage_in(&env_of(&disk.fork(), &clock), "copy", &mut |_| {}).unwrap();
            let salvaged = report.logs.iter().find(|log| log.name == "a-log-to-be-found").unwrap();
            assert_eq!(salvaged.end, stopped_at + 1, "{what}, life {life}: {report:?}");
            assert_eq!(salvaged.missing, [], "{what}, life {life}: {report:?}");
            let check = check_in(&env_of(&disk.fork(), &clock), &CheckOptions::new(), &mut |_| {}).unwrap();
            assert_eq!(check.actions(), [], "{what}, life {life}: nothing of it is moved or removed");
        }
    }
}

fn find_last(disk: &SimDisk, wanted: &[u8]) -> (String, u64) {
    let places = disk.list("journal").unwrap().into_iter().filter_map(|entry| {
        let path = format!("journal/{}", entry.name);
        let bytes = disk.read_bytes(&path).unwrap();
        bytes.windows(wanted.len()).rposition(|window| window == wanted).map(|at| (path, at as u64))
    });
    places.max_by_key(|(path, at)| (path.clone(), *at)).unwrap()
}
