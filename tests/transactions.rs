//! Logs that are created, closed and deleted in a transaction, crashed at every I/O boundary: all of it is there or nothing, an
//! answer is kept, and a check of what a crash left finds nothing wrong.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use braidlog::check::{CheckOptions, check_in, repair_in};
use braidlog::env::Env;
use braidlog::env::sim::{Crash, ManualClock, SeededRandom, SimDisk, Tape};
use braidlog::manual::ManualStore;
use braidlog::{Committed, Error, Log, LogOptions, Pending, StartAt, StoreOptions, Transaction};

/// Subsets of more units than this are drawn, not enumerated.
const UNITS_MAX: usize = 6;

fn env_of(disk: &SimDisk) -> Env {
    Env { disk: Arc::new(disk.clone()), clock: Arc::new(ManualClock::new()), random: Arc::new(SeededRandom::new(7)) }
}

fn open(disk: &SimDisk) -> braidlog::Result<ManualStore> {
    let options =
        StoreOptions::new().journal_file_bytes(64 << 10).journal_files_max(4).bulk_bytes(4096).reserve_bytes(0);
    ManualStore::open(env_of(disk), options)
}

fn create(store: &mut ManualStore, name: &str) -> Log {
    let mut made = store.create_log(name, LogOptions::new()).unwrap();
    store.settle();
    made.try_get().unwrap().unwrap()
}

/// Three logs with records, in segments and in the journal.
fn base() -> SimDisk {
    let disk = SimDisk::new(Tape::seeded(1));
    let mut store = open(&disk).unwrap();
    for name in ["closed", "deleted", "kept"] {
        let log = create(&mut store, name);
        for round in 0..2 {
            log.append_ticket(&format!("{name} {round}")).map(drop).unwrap();
            store.settle();
            if round == 0 {
                store.checkpoint().unwrap();
            }
        }
    }
    drop(store);
    disk
}

const LONG: Option<Duration> = Some(Duration::from_secs(1 << 20));

/// Everything a transaction may do to logs, with appends of others before it in the same turn.
fn commit(store: &ManualStore) -> Option<Pending<Committed>> {
    let log = |name: &str| store.store().log(name).ok();
    let (closed, deleted, kept) = (log("closed")?, log("deleted")?, log("kept")?);
    drop(closed.append_ticket("before the close").ok()?);
    drop(deleted.append_ticket("before the deletion").ok()?);
    let mut transaction = Transaction::new();
    transaction.append(&kept, "together").unwrap().close_log(&closed).unwrap().delete_log(&deleted);
    transaction.create_log("created", LogOptions::new()).unwrap();
    transaction.set_options(&kept, LogOptions::new().retention_age(LONG)).unwrap();
    store.store().commit(transaction).ok()
}

struct Done {
    disk: SimDisk,
    acknowledged: bool,
}

/// The transaction, then a checkpoint, an append to the new log and another checkpoint.
fn go(base: &SimDisk, crash_at: Option<(u64, bool)>) -> Done {
    let disk = base.fork();
    match crash_at {
        Some((at, true)) => disk.set_torn_crash_at(at),
        Some((at, false)) => disk.set_crash_at(at),
        None => {}
    }
    let mut acknowledged = false;
    if let Ok(mut store) = open(&disk) {
        let pending = commit(&store);
        store.commit_step_without_waiting();
        let _ = store.checkpoint();
        store.settle();
        acknowledged = pending.is_some_and(|mut pending| matches!(pending.try_get(), Some(Ok(_))));
        let _ = store.checkpoint();
        if let Ok(log) = store.store().log("created") {
            let _ = log.append_ticket("the first record");
            store.settle();
            let _ = store.checkpoint();
        }
    }
    Done { disk, acknowledged }
}

fn records(log: &Log) -> Vec<String> {
    let records = log.read(StartAt::TrimHorizon).unwrap();
    records.map(|record| String::from_utf8(record.unwrap().data.to_vec()).unwrap()).collect()
}

/// All or nothing, and all if it was acknowledged; the same after another life with a checkpoint.
fn look(disk: &SimDisk, acknowledged: bool) -> Result<(), String> {
    let report = check_in(&env_of(disk), &CheckOptions::default(), &mut |_| {}).map_err(|e| e.to_string())?;
    if !report.is_sound() {
        return Err(format!("the check finds damage: {:?}", report.findings));
    }
    let repaired = repair_in(&env_of(disk), &report, false, &mut |_, _| {}).map_err(|e| e.to_string())?;
    if let Some(failed) = repaired.iter().find(|r| r.failed.is_some()) {
        return Err(format!("repair: {failed:?}"));
    }
    let mut was: Option<bool> = None;
    for life in 0..3 {
        let mut store = open(disk).map_err(|e| format!("life {life}: {e}"))?;
        let names = store.store().log_names().unwrap();
        let happened = names == ["closed", "created", "kept"];
        if !happened && names != ["closed", "deleted", "kept"] {
            return Err(format!("life {life}: between: {names:?}"));
        }
        if acknowledged && !happened || was.is_some_and(|was| was != happened) {
            return Err(format!("life {life}: happened {happened}, acknowledged {acknowledged}, before {was:?}"));
        }
        was = Some(happened);
        let (closed, kept) = (store.store().log("closed").unwrap(), store.store().log("kept").unwrap());
        let found = (
            closed.is_closed(),
            records(&kept).contains(&"together".to_owned()),
            kept.options().retention_age == LONG,
            matches!(closed.append_ticket("late"), Err(Error::LogClosed { .. })),
        );
        if found != (happened, happened, happened, happened) {
            return Err(format!("life {life}: happened {happened}: closed, appended, options, refused: {found:?}"));
        }
        if happened {
            // What was appended before the close is there, and readers are told of the end.
            if records(&closed) != ["closed 0", "closed 1", "before the close"] {
                return Err(format!("life {life}: closed has {:?}", records(&closed)));
            }
            let reader = closed.read(StartAt::Latest).unwrap();
            if !matches!(reader.wait(None), Err(Error::LogClosed { .. })) {
                return Err(format!("life {life}: a reader at the end waits"));
            }
        } else {
            // Undone by the late append above: look no further.
            return Ok(());
        }
        store.settle();
        if life == 1 {
            drop((closed, kept));
            store.close().map_err(|e| format!("life {life}: close: {e}"))?;
        } else {
            store.checkpoint().map_err(|e| format!("life {life}: checkpoint: {e}"))?;
        }
    }
    Ok(())
}

#[test]
fn logs_change_wholly_or_not_at_all_at_every_boundary() {
    let base = base();
    let whole = go(&base, None);
    assert!(whole.acknowledged);
    look(&whole.disk.crash(Crash::Kill, &Tape::seeded(1)), true).unwrap();
    let (mut states, mut happened) = (0u64, 0u64);
    for at in 0..=whole.disk.operations() {
        for torn in [false, true] {
            let done = go(&base, Some((at, torn)));
            let group = [1, 4, 16, 64].into_iter().find(|&g| done.disk.unsynced_count(g) <= UNITS_MAX).unwrap_or(256);
            let units = done.disk.unsynced_count(group);
            let tape = Tape::seeded(at);
            let masks: Vec<u64> = if units <= UNITS_MAX {
                (0..1 << units).collect()
            } else {
                [0, u64::MAX].into_iter().chain((0..30).map(|_| tape.choose("mask", u64::MAX))).collect()
            };
            let mut seen = HashSet::new();
            let power = masks.iter().map(|mask| done.disk.crash_subset(group, *mask));
            for left in power.chain([done.disk.crash(Crash::Kill, &tape)]) {
                if seen.insert(left.image_hash()) {
                    look(&left, done.acknowledged).unwrap_or_else(|e| panic!("boundary {at}, torn {torn}: {e}"));
                    states += 1;
                    happened += u64::from(done.acknowledged);
                }
            }
        }
    }
    assert!(happened > 0 && happened < states);
    println!("figures: {states} crash states of log changes, no violation");
}

/// A transaction that trims a buffered log and creates another one locks that log's appender. A checkpoint holds the catalog
/// while it looks at appenders of buffered logs: the two must not wait for each other.
#[test]
fn creating_a_log_together_with_a_trim_of_a_buffered_one_does_not_hang() {
    let dir = tempfile::tempdir().unwrap();
    let store = braidlog::Store::open(dir.path()).unwrap();
    let buffered = store.create_log("buffered", LogOptions::new().durability(braidlog::Durability::Buffered)).unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                store.checkpoint().unwrap();
            }
        });
        for n in 0..100u64 {
            buffered.append("x").unwrap();
            let mut transaction = Transaction::new();
            transaction.trim(&buffered, n);
            transaction.create_log(&format!("log {n}"), LogOptions::new()).unwrap();
            store.commit(transaction).unwrap().wait().unwrap();
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

/// A transaction takes what was appended to its logs before, whichever turn that was for; the log then stood twice in that turn.
/// What a later turn had of it was framed before a large share of it, and was not found again.
#[test]
fn what_comes_behind_a_large_share_stays_behind_it_after_a_transaction() {
    let disk = SimDisk::new(Tape::seeded(1));
    let options = || StoreOptions::new().journal_file_bytes(1 << 20).bulk_bytes(64 << 10).reserve_bytes(0);
    let mut store = ManualStore::open(env_of(&disk), options().memory_bytes(64 << 20).journal_files_max(128)).unwrap();
    let log = create(&mut store, "log");
    let large = vec![7; 900 << 10];
    let append =
        |records: &[&[u8]]| log.append_batch_ticket(&records.iter().map(|r| (*r).into()).collect::<Vec<_>>()).unwrap();
    // More than goes into one turn, and a transaction in the same; what comes then belongs to the next.
    let mut tickets: Vec<_> = (0..5).map(|_| append(&[&large])).collect();
    let mut transaction = Transaction::new();
    transaction.append(&log, "whole").unwrap();
    let committed = store.store().commit(transaction).unwrap();
    tickets.push(append(&[b"taken by the transaction"]));
    assert!(store.commit_step());
    tickets.extend((0..5).map(|_| append(&[&large])));
    tickets.push(append(&[b"behind it"]));
    store.settle();
    assert!(tickets.iter().all(|ticket| matches!(ticket.try_get(), Some(Ok(_)))));
    drop(committed);
    let read = |log: &Log| log.read(StartAt::TrimHorizon).unwrap().map(|r| r.unwrap().sequence_number).collect();
    let found: Vec<u64> = read(&log);
    assert_eq!(found, (0..13).collect::<Vec<_>>());
    drop((log, store));
    let store = ManualStore::open(env_of(&disk), options()).unwrap();
    let found: Vec<u64> = read(&store.store().log("log").unwrap());
    assert_eq!(found, (0..13).collect::<Vec<_>>());
}
