//! The manifest's pages, through whole lives of a store.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use braidlog::check::{CheckOptions, Severity, check_in};
use braidlog::env::sim::{Crash, ManualClock, SeededRandom, SimDisk, Tape};
use braidlog::env::{Access, Disk, Env};
use braidlog::manual::ManualStore;
use braidlog::{Error, Health, Log, LogOptions, StartAt, Store, StoreOptions, Transaction};

fn env_of(disk: &SimDisk) -> Env {
    env_on(Arc::new(disk.clone()))
}

fn env_on(disk: Arc<dyn Disk>) -> Env {
    Env { disk, clock: Arc::new(ManualClock::at(1_000_000)), random: Arc::new(SeededRandom::new(7)) }
}

fn options() -> StoreOptions {
    StoreOptions::new().journal_file_bytes(1 << 20).reserve_bytes(0)
}

fn open(disk: &SimDisk) -> ManualStore {
    ManualStore::open(env_of(disk), options()).unwrap()
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
        append(store, log, b"x").unwrap();
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

/// A store with so many logs, closed.
fn store_with(logs: usize) -> SimDisk {
    let disk = SimDisk::new(Tape::seeded(1));
    let mut store = open(&disk);
    for from in (0..logs).step_by(100) {
        let mut transaction = Transaction::new();
        for n in from..(from + 100).min(logs) {
            transaction.create_log(&idle(n), LogOptions::new()).unwrap();
        }
        let mut created = store.store().commit(transaction).unwrap();
        store.settle();
        created.try_get().unwrap().unwrap();
    }
    store.checkpoint().unwrap();
    store.close().unwrap();
    disk
}

fn idle(n: usize) -> String {
    format!("idle-{n:05}")
}

/// Flips a bit of a log's name in the page that has its row; or back again.
fn rot(disk: &SimDisk, name: &str) {
    let mut files: Vec<String> = disk.list("manifest").unwrap().into_iter().map(|entry| entry.name).collect();
    files.sort_unstable_by(|a, b| b.cmp(a));
    let place = files.iter().find_map(|file| {
        let path = format!("manifest/{file}");
        let file = disk.open(&path, Access::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        // The letter before the number is what rots.
        let wanted = &name.as_bytes()[5..];
        let at = bytes.windows(wanted.len() + 5).position(|found| found[..4] == *b"idle" && found[5..] == *wanted)?;
        Some((path, at as u64 + 4))
    });
    let (path, at) = place.unwrap();
    disk.flip_bit(&path, at * 8).unwrap();
}

fn append(store: &mut ManualStore, log: &Log, data: &[u8]) -> Result<(), Error> {
    let ticket = log.try_append_batch(&[data.into()])?;
    store.settle();
    ticket.try_get().unwrap().map(drop)
}

/// Which of so many logs can't be opened, for damage and nothing else.
fn damaged(store: &Store, logs: usize) -> Vec<usize> {
    let is_damaged = |n: &usize| match store.log(&idle(*n)) {
        Ok(_) => false,
        Err(Error::Damaged { .. }) => true,
        Err(error) => panic!("{}: {error:?}", idle(*n)),
    };
    (0..logs).filter(is_damaged).collect()
}

/// Found by review: once the pages lay in many files all of them were read for a manifest, and one that did not verify failed this
/// one and all that came after it. The journal filled up, and nobody could append any more.
#[test]
fn a_page_that_rots_concerns_its_logs_and_no_others() {
    const LOGS: usize = 3000;
    let disk = store_with(LOGS);
    rot(&disk, &idle(2999));
    for life in 0..2 {
        let mut store = open(&disk);
        assert_eq!(store.store().health(), Health::Ok);
        let lost = damaged(store.store(), LOGS);
        assert!((10..400).contains(&lost.len()) && lost.contains(&2999), "{lost:?}");
        let mut checkpoints = 0;
        // Pages one by one, until they lie in too many files.
        for n in (life..LOGS).step_by(41).filter(|n| !lost.contains(n)) {
            let log = store.store().log(&idle(n)).unwrap();
            append(&mut store, &log, b"x").unwrap();
            store.checkpoint().unwrap_or_else(|error| panic!("checkpoint {checkpoints}: {error}"));
            checkpoints += 1;
        }
        assert!(checkpoints > 60);
        assert_eq!(damaged(store.store(), LOGS), lost);
        let mut again = store.create_log(&idle(2999), LogOptions::new()).unwrap();
        store.settle();
        assert!(matches!(again.try_get().unwrap(), Err(Error::Damaged { .. })), "its name may be taken");
        store.close().unwrap();
    }
    let report = check_in(&env_of(&disk), &CheckOptions::new(), &mut |_| {}).unwrap();
    assert_eq!(report.count(Severity::Damage), 1, "{report:?}");
}

/// Another log of a page that a checkpoint set aside, in use and idle: what the journal had of it afterwards could be applied to
/// nothing, and the store was read-only after a crash.
#[test]
fn a_log_that_was_idle_when_its_page_was_set_aside_goes_on() {
    const LOGS: usize = 300;
    let disk = store_with(LOGS);
    let lost = {
        let fork = disk.fork();
        rot(&fork, &idle(7));
        damaged(open(&fork).store(), LOGS)
    };
    let other = *lost.iter().find(|n| **n != 7).unwrap();
    let sound = disk;
    for closes in [false, true] {
        let disk = sound.fork();
        let mut store = open(&disk);
        let [changed, unchanged] = [7, other].map(|n| store.store().log(&idle(n)).unwrap());
        rot(&disk, &idle(7));
        append(&mut store, &changed, b"after it rotted").unwrap();
        let disk = if closes {
            // The last checkpoint is the one that comes to it.
            drop(changed);
            store.close().unwrap();
            disk
        } else {
            store.checkpoint().unwrap();
            append(&mut store, &unchanged, b"after it was set aside").unwrap();
            drop((changed, store));
            disk.crash(Crash::Kill, &Tape::seeded(1))
        };
        drop(unchanged);
        for _ in 0..2 {
            let store = open(&disk);
            assert_eq!(store.store().health(), Health::Ok);
            for (n, end) in [(7, 1), (other, u64::from(!closes))] {
                assert_eq!(store.store().log(&idle(n)).unwrap().end(), end, "log {n}, closed: {closes}");
            }
            let left = damaged(store.store(), LOGS);
            assert_eq!(left.len(), lost.len() - 2);
            store.close().unwrap();
        }
    }
}

/// What is known of a log when its page can't be read any more is kept beside the page.
#[test]
fn a_log_that_was_in_use_when_its_page_rotted_goes_on() {
    const LOGS: usize = 300;
    let disk = store_with(LOGS);
    let mut store = open(&disk);
    let (kept, deleted) = (store.store().log(&idle(7)).unwrap(), {
        // Another of the same page.
        let fork = disk.fork();
        rot(&fork, &idle(7));
        let lost = damaged(open(&fork).store(), LOGS);
        let other = *lost.iter().find(|n| **n != 7).unwrap();
        store.store().log(&idle(other)).unwrap()
    });
    rot(&disk, &idle(7));
    append(&mut store, &kept, b"after it rotted").unwrap();
    append(&mut store, &deleted, b"after it rotted").unwrap();
    store.checkpoint().unwrap();
    let gone = deleted.name().to_owned();
    drop((kept, deleted));
    drop(store);
    let mut lost = Vec::new();
    for life in 1..4 {
        let mut store = open(&disk);
        assert_eq!(store.store().health(), Health::Ok);
        lost = damaged(store.store(), LOGS);
        assert!(lost.len() > 10 && lost.len() < 200 && !lost.contains(&7), "{lost:?}");
        let log = store.store().log(&idle(7)).unwrap();
        assert_eq!(log.read(StartAt::TrimHorizon).unwrap().filter_map(Result::ok).count(), life);
        append(&mut store, &log, b"again").unwrap();
        drop(log);
        if life == 2 {
            let _deleted = store.delete_log(&gone).unwrap();
            store.settle();
        }
        assert_eq!(lost.contains(&gone[5..].parse().unwrap()), life == 3, "{gone} in life {life}: {lost:?}");
        store.checkpoint().unwrap();
        store.checkpoint().unwrap();
        if life == 2 { drop(store) } else { store.close().unwrap() }
    }
    // That it can be read again does not bring back what it says of logs that have changed.
    rot(&disk, &idle(lost[0]));
    let report = check_in(&env_of(&disk), &CheckOptions::new(), &mut |_| {}).unwrap();
    assert_eq!(report.count(Severity::Damage), 1, "{report:?}");
    assert_eq!(damaged(open(&disk).store(), LOGS), lost);
}

/// It can be applied to nothing and must not be forgotten.
#[test]
fn what_the_journal_has_for_a_log_whose_page_rotted_is_kept() {
    const LOGS: usize = 300;
    let disk = store_with(LOGS);
    let mut store = open(&disk);
    let both = [7, 8].map(|n| store.store().log(&idle(n)).unwrap());
    both.iter().for_each(|log| append(&mut store, log, b"x").unwrap());
    drop((both, store));
    let disk = disk.crash(Crash::Kill, &Tape::seeded(1));
    rot(&disk, &idle(7));
    let before = disk.files();
    for _ in 0..2 {
        let store = open(&disk);
        let report = store.store().open_report();
        assert!(report.page_damage.is_some() && report.stopped_logs.len() == 1, "{report:?}");
        assert!(matches!(store.store().health(), Health::ReadOnly { .. }));
        assert!(damaged(store.store(), LOGS).contains(&7));
        assert_eq!(store.store().log(&idle(8)).unwrap().end(), 1);
        // Found by review: this never returned, and so a store in this state could not be backed up.
        assert!(matches!(store.store().checkpoint(), Err(Error::ReadOnly { .. })));
    }
    assert_eq!(disk.files(), before);
    let report = check_in(&env_of(&disk), &CheckOptions::new(), &mut |_| {}).unwrap();
    assert!(!report.is_sound());
    rot(&disk, &idle(7));
    let store = open(&disk);
    assert_eq!(store.store().health(), Health::Ok);
    assert_eq!(store.store().log(&idle(7)).unwrap().end(), 1);
}

#[test]
fn a_store_that_is_read_only_is_backed_up_as_it_is() {
    const LOGS: usize = 300;
    let disk = store_with(LOGS);
    let mut store = open(&disk);
    let log = store.store().log(&idle(8)).unwrap();
    append(&mut store, &log, b"in the journal").unwrap();
    drop((log, store));
    let left = disk.crash(Crash::Kill, &Tape::seeded(1));
    for rotten in [false, true] {
        let disk = left.fork();
        if rotten {
            rot(&disk, &idle(8));
        }
        let store = Store::open_read_only_in(env_of(&disk), options()).unwrap();
        let report = store.backup("copy").unwrap();
        assert_eq!(report.logs == LOGS as u64, !rotten);
        drop(store);
        let copy = ManualStore::open(env_on(disk.sibling("copy").unwrap()), options()).unwrap();
        assert_eq!(matches!(copy.store().health(), Health::ReadOnly { .. }), rotten);
        match copy.store().log(&idle(8)) {
            Ok(log) => assert_eq!((log.end(), rotten), (1, false)),
            Err(error) => assert!(rotten && matches!(error, Error::Damaged { .. }), "{error:?}"),
        }
    }
}

#[test]
fn a_store_with_a_page_that_rotted_is_backed_up_while_it_is_written_to() {
    const LOGS: usize = 300;
    let disk = store_with(LOGS);
    rot(&disk, &idle(8));
    let store = Store::open_in(env_of(&disk), options()).unwrap();
    let log = store.create_log("beside", LogOptions::new()).unwrap();
    let (writes, copied) = (log.clone(), Arc::new(AtomicBool::new(false)));
    let done = copied.clone();
    let writer = std::thread::spawn(move || {
        let mut acknowledged = 0;
        while !done.load(Ordering::Relaxed) {
            acknowledged = writes.append(&[7; 3000][..]).unwrap().last + 1;
        }
        acknowledged
    });
    while log.end() < 100 {
        std::thread::yield_now();
    }
    let before = log.end();
    store.backup("copy").unwrap();
    copied.store(true, Ordering::Relaxed);
    assert!(writer.join().unwrap() >= before);
    let copy = Store::open_in(env_on(disk.sibling("copy").unwrap()), options()).unwrap();
    assert_eq!(copy.health(), Health::Ok);
    assert!(copy.log("beside").unwrap().read(StartAt::TrimHorizon).unwrap().count() as u64 >= before);
    assert!(matches!(copy.log(&idle(8)), Err(Error::Damaged { .. })));
    assert!(matches!(store.log(&idle(8)), Err(Error::Damaged { .. })));
}

/// Found by review: how many accounts there are was counted before any was opened again, and that reads every page. One that rotted
/// kept all accounts but the server's own out.
#[test]
fn a_page_that_rots_keeps_out_no_other_account() {
    use braidlog::EngineOptions;
    use braidlog::manual::ManualEngine;
    const LOGS: usize = 3000;
    let disk = store_with(LOGS);
    let engine = |disk: &SimDisk| ManualEngine::open(env_of(disk), EngineOptions::new().store(options()));
    let made = engine(&disk).unwrap();
    made.engine().for_account("222222222222").unwrap();
    made.close().unwrap();
    let mut kept_out = Vec::new();
    for n in (0..LOGS).step_by(LOGS / 20) {
        let disk = disk.fork();
        rot(&disk, &idle(n));
        let engine = engine(&disk).unwrap();
        kept_out.extend(engine.engine().for_account("222222222222").err());
    }
    // Its own logs may be in one of the pages.
    assert!(kept_out.len() <= 4, "{}: {:?}", kept_out.len(), kept_out[0]);
}
