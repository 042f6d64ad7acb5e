//! What needs a hand on the engine's locks to be shown.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use super::{Lane, Request};
use crate::env::Env;
use crate::env::sim::{Crash, Errno, FaultKind, ManualClock, SeededRandom, SimDisk, Tape, bugs};
use crate::manual::ManualStore;
use crate::store::Store;
use crate::ticket::Slot;
use crate::{Durability, Error, LogOptions, ReadMode, StartAt, StoreOptions, Transaction};

/// The files as a killed process leaves them.
fn copied(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    copy_into(from, to.path());
    to
}

fn copy_into(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy_into(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), &to).unwrap();
        }
    }
}

/// What becomes of a change of a log with ten records whose frame is durable, and which is published only after some checkpoints.
fn checkpoints_come_between(change: impl FnOnce(&Store) + Send) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let log = store.create_log("log", LogOptions::new()).unwrap();
    log.append_batch([&b"record"[..]; 10]).unwrap();
    store.checkpoint().unwrap();
    let framed = || store.core().counters.journal_bytes.load(std::sync::atomic::Ordering::Relaxed);
    let before = framed();
    std::thread::scope(|scope| {
        // As a snapshot of many logs has it.
        let publishing = store.core().publishing.lock();
        let change = scope.spawn(|| change(&store));
        while framed() == before {
            std::thread::sleep(Duration::from_millis(1));
        }
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(2));
            store.checkpoint().unwrap();
        }
        drop(publishing);
        change.join().unwrap();
    });
    store.checkpoint().unwrap();
    let left = copied(dir.path());
    drop((log, store));
    let store = Store::open(left.path()).unwrap();
    (left, store)
}

#[test]
fn a_change_is_kept_though_checkpoints_come_between_its_frame_and_its_effect() {
    let (_left, store) = checkpoints_come_between(|store| {
        store.log("log").unwrap().trim(5).unwrap();
    });
    assert_eq!(store.log("log").unwrap().read(StartAt::TrimHorizon).unwrap().count(), 5);
    let (_left, store) = checkpoints_come_between(|store| {
        let mut transaction = Transaction::new();
        transaction.close_log(&store.log("log").unwrap()).unwrap();
        store.commit(transaction).unwrap().wait().unwrap();
    });
    assert!(store.log("log").unwrap().is_closed());
    let (_left, store) = checkpoints_come_between(|store| {
        store.log("log").unwrap().set_options(LogOptions::new().retention_bytes(Some(1 << 20))).unwrap();
    });
    assert_eq!(store.log("log").unwrap().options().retention_bytes, Some(1 << 20));
}

/// Another append is on its way to the segment of a buffered log when one comes to the end of the numbers that are set aside.
#[test]
fn numbers_are_set_aside_while_a_segment_reaches_beyond_the_mark() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(dir.path(), StoreOptions::new()).unwrap();
    let log = store.create_log("log", LogOptions::new().durability(Durability::Buffered)).unwrap();
    log.append_batch([&b"record"[..]; 3]).unwrap();
    let core = store.core();
    std::thread::scope(|scope| {
        let publishing = core.publishing.lock();
        let high = log.end();
        let first = scope.spawn(|| log.append("one more"));
        while log.state.view.read().unwrap().segments.last().is_none_or(|segment| segment.end() <= high) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let second = scope.spawn(|| core.touch(&log.state, core.deadline()));
        std::thread::sleep(Duration::from_millis(50));
        drop(publishing);
        first.join().unwrap().unwrap();
        second.join().unwrap().unwrap();
    });
    let left = copied(dir.path());
    let store = Store::open(left.path()).unwrap();
    assert_eq!(store.log("log").unwrap().read(StartAt::TrimHorizon).unwrap().count(), 4);
}

#[test]
fn a_turn_that_is_put_back_into_a_lane_that_refuses_is_answered() {
    let lane = Lane::default();
    let create = |slot| Request::CreateLog { name: "log".to_owned(), options: LogOptions::new(), slot };
    let turn = lane.request(create(Slot::new())).unwrap();
    let taken = lane.take(0).unwrap();
    lane.refuse(Error::Closed);
    lane.put_back(taken);
    assert_eq!(turn.wait_for(Duration::ZERO), Some(Err(Error::Closed)));
}

/// The end of a row that is taken while a record of the log becomes durable, which is in no segment.
fn end_of_a_row_that_is_taken_meanwhile() -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let log = store.create_log("log", LogOptions::new()).unwrap();
    let state = log.state.clone();
    let bugs = bugs::current();
    let row = std::thread::scope(|scope| {
        // As a caller that appends has it.
        let appending = state.appender.lock();
        let row = scope.spawn(|| {
            let _bugs = bugs.enter();
            state.row()
        });
        // By now that has looked at what waits in memory. If not, this shows nothing.
        std::thread::sleep(Duration::from_millis(100));
        state.set_high(1);
        drop(appending);
        row.join().unwrap()
    });
    row.end
}

/// Found by filling a small disk over and over: what became durable while a checkpoint took a row was neither in a segment nor in
/// memory when that looked, and below the end that the row was given. Replay passed over it.
#[test]
fn a_row_ends_where_what_it_names_does() {
    assert_eq!(end_of_a_row_that_is_taken_meanwhile(), 0);
    let _planted = bugs::activate(bugs::SeededBug::EndReadBehindView);
    assert_eq!(end_of_a_row_that_is_taken_meanwhile(), 1, "the planted bug is not found");
}

fn files_of_segments(folder: &Path) -> usize {
    let folders = std::fs::read_dir(folder.join("segments")).unwrap();
    folders.map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
}

/// The lists of what a backup kept went with the thread that had them, and the next life looked at nothing.
#[test]
fn what_is_kept_for_a_backup_when_the_store_closes_goes_in_the_next_life() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let log = store.create_log("log", LogOptions::new()).unwrap();
    log.append_batch([&b"record"[..]; 10]).unwrap();
    store.checkpoint().unwrap();
    assert_eq!(files_of_segments(dir.path()), 1);
    let core = store.core().clone();
    let copying = core.keep_files();
    drop(log);
    store.delete_log("log").unwrap();
    store.checkpoint().unwrap();
    store.close().unwrap();
    assert_eq!(files_of_segments(dir.path()), 1, "a backup copies it");
    drop(copying);
    drop(core);
    Store::open(dir.path()).unwrap().close().unwrap();
    assert_eq!(files_of_segments(dir.path()), 0);
}

#[test]
fn who_closes_a_store_that_is_being_closed_waits_and_is_answered_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let log = store.create_log("log", LogOptions::new()).unwrap();
    log.append("record").unwrap();
    drop(log);
    let core = store.core().clone();
    std::thread::scope(|scope| {
        // As a backup has it.
        let held = core.hold_upkeep();
        let closers = [store.clone(), store].map(|store| scope.spawn(|| store.close()));
        while !core.is_closed() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(100));
        assert!(closers.iter().all(|closer| !closer.is_finished()), "it is not closed yet");
        drop(held);
        closers.into_iter().for_each(|closer| closer.join().unwrap().unwrap());
    });
    drop(core);
    assert!(Store::open(dir.path()).unwrap().open_report().clean);
}

fn segments_on(disk: &SimDisk) -> Vec<String> {
    disk.files().into_iter().map(|(path, _)| path).filter(|path| path.ends_with(".seg")).collect()
}

fn on(disk: &SimDisk) -> ManualStore {
    let clock = std::sync::Arc::new(ManualClock::new());
    let env = Env { disk: std::sync::Arc::new(disk.clone()), clock, random: std::sync::Arc::new(SeededRandom::new(7)) };
    let options = StoreOptions::new().journal_file_bytes(64 << 10).reserve_bytes(0).read_mode(ReadMode::Map);
    ManualStore::open(env, options).unwrap()
}

/// A store with a record that is in no segment yet.
fn with_a_record(disk: &SimDisk) -> ManualStore {
    let mut store = on(disk);
    let mut made = store.create_log("log", LogOptions::new()).unwrap();
    store.settle();
    let log = made.try_get().unwrap().unwrap();
    drop(log.append_ticket("record").unwrap());
    store.settle();
    store
}

/// A backup lists a folder and then opens what it found there.
#[test]
fn a_file_that_is_taken_back_stays_while_a_backup_copies_and_goes_whatever_life_that_is_left_to() {
    let disk = SimDisk::new(Tape::seeded(1));
    let mut store = with_a_record(&disk);
    let core = store.store().core().clone();
    let copying = core.keep_files();
    disk.fail_nth_where(1, FaultKind::Once, Errno::NoMemory, Some("map"), None);
    store.checkpoint().unwrap_err();
    let taken_back = segments_on(&disk);
    assert_eq!((disk.faults_fired(), taken_back.len()), (1, 1));
    store.checkpoint().unwrap();
    store.close().unwrap();
    assert_eq!(segments_on(&disk).len(), 2);
    // It ends before the backup does.
    let left = disk.crash(Crash::Kill, &Tape::seeded(2));
    drop(copying);
    assert!(!segments_on(&disk).contains(&taken_back[0]));
    let mut store = on(&left);
    let report = store.store().open_report();
    assert_eq!((report.clean, report.leftover_segments), (true, 1));
    assert_eq!(segments_on(&left).len(), 2);
    store.checkpoint().unwrap();
    assert!(!segments_on(&left).contains(&taken_back[0]));
    assert_eq!(store.store().log("log").unwrap().read(StartAt::TrimHorizon).unwrap().count(), 1);
}

#[test]
fn what_a_crash_left_over_stays_while_a_backup_copies() {
    let disk = SimDisk::new(Tape::seeded(1));
    let mut store = with_a_record(&disk);
    disk.fail_nth_where(1, FaultKind::Once, Errno::NoMemory, Some("create"), Some("manifest/"));
    store.checkpoint().unwrap_err();
    let left = disk.crash(Crash::Kill, &Tape::seeded(2));
    let mut store = on(&left);
    assert_eq!((store.store().open_report().leftover_segments, segments_on(&left).len()), (1, 1));
    let core = store.store().core().clone();
    let copying = core.keep_files();
    store.checkpoint().unwrap();
    assert_eq!(segments_on(&left).len(), 2);
    let killed = left.crash(Crash::Kill, &Tape::seeded(3));
    drop(copying);
    store.upkeep_step();
    assert_eq!(segments_on(&left).len(), 1);
    // And where the owner dies first, the next one knows.
    let store = on(&killed);
    assert_eq!(segments_on(&killed).len(), 1);
    assert_eq!(store.store().log("log").unwrap().read(StartAt::TrimHorizon).unwrap().count(), 1);
}
