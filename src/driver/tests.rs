//! What needs a hand on the engine's locks to be shown.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use super::{Lane, Request};
use crate::env::sim::bugs;
use crate::store::Store;
use crate::ticket::Slot;
use crate::{Durability, Error, LogOptions, StartAt, StoreOptions, Transaction};

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
