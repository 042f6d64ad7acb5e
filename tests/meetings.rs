//! A checkpoint and the commit machine meet half way, at a place that a test chooses: a call of the disk.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use braidlog::check::{CheckOptions, Severity, check_in};
use braidlog::env::sim::{Crash, ManualClock, SimDisk, Tape};
use braidlog::env::{Access, Clock, Disk, Env};
use braidlog::manual::ManualStore;
use braidlog::{Error, Health, Log, LogOptions, ReadMode, StartAt, Store, Transaction};
use support::over::Over;
use support::{env_of, small};

type Meeting = Box<dyn FnOnce() + Send>;

/// Has something done when a segment is begun on a disk: the next of these each time.
struct Meets {
    disk: SimDisk,
    meetings: Arc<Mutex<VecDeque<Meeting>>>,
}

impl Meets {
    fn new() -> Meets {
        Meets { disk: SimDisk::new(Tape::seeded(1)), meetings: Arc::default() }
    }

    /// The disk where they meet.
    fn place(&self) -> Arc<dyn Disk> {
        let meetings = self.meetings.clone();
        Arc::new(Over::new(self.disk.clone()).on_open(move |path, access| {
            if access == Access::CreateNew && path.starts_with("segments/") {
                let meeting = meetings.lock().unwrap().pop_front();
                meeting.into_iter().for_each(|meeting| meeting());
            }
        }))
    }

    fn meet(&self, meeting: impl FnOnce() + Send + 'static) {
        self.meetings.lock().unwrap().push_back(Box::new(meeting));
    }

    fn have_met(&self) -> bool {
        self.meetings.lock().unwrap().is_empty()
    }
}

/// A clock that has something done when it is looked at, the monotonic one.
struct Watched {
    clock: Arc<ManualClock>,
    looks: Mutex<VecDeque<Option<Meeting>>>,
}

impl Clock for Watched {
    fn wall_ms(&self) -> u64 {
        self.clock.wall_ms()
    }

    fn monotonic_ms(&self) -> u64 {
        let meeting = self.looks.lock().unwrap().pop_front().flatten();
        meeting.into_iter().for_each(|meeting| meeting());
        self.clock.monotonic_ms()
    }
}

fn create(store: &mut ManualStore, name: &str) -> Log {
    let mut made = store.create_log(name, LogOptions::new()).unwrap();
    store.settle();
    made.try_get().unwrap().unwrap()
}

/// Appends a record in a frame of its own.
fn append(store: &mut ManualStore, log: &Log, len: usize) {
    let ticket = log.append_ticket(&vec![7; len][..]).unwrap();
    while store.commit_step() {}
    ticket.try_get().unwrap().unwrap();
}

/// A checkpoint takes a log's row when its flushes are done, and the row may have more than the frame that the manifest names. The
/// frames behind that are replayed on top of it, rows of large shares among them that have less: what came between such a row and
/// the manifest's was gone.
#[test]
fn a_row_of_the_journal_that_is_older_than_the_manifests_takes_nothing_away() {
    for kind in [Crash::Kill, Crash::Power] {
        let disk = Meets::new();
        let clock = Arc::new(ManualClock::new());
        let env = Env { disk: disk.place(), ..env_of(&disk.disk, &clock) };
        let mut store = ManualStore::open(env, small(ReadMode::Copy)).unwrap();
        let (log, other) = (create(&mut store, "log"), create(&mut store, "other"));
        append(&mut store, &log, 100);
        store.checkpoint().unwrap();
        append(&mut store, &log, 100);
        append(&mut store, &other, 100);
        let (mut beside, appended_to) = (store.clone(), log.clone());
        // The first log has been flushed by then.
        disk.meet(move || {
            append(&mut beside, &appended_to, 5000);
            append(&mut beside, &appended_to, 100);
            // On its way: what comes before it is in the segment, and its frame is not written.
            drop(appended_to.append_ticket(&[7; 5000][..]).unwrap());
            beside.commit_step_without_waiting();
        });
        store.checkpoint().unwrap();
        assert!(disk.have_met());
        assert_eq!(log.end(), 4);
        let left = disk.disk.crash(kind, &Tape::seeded(2));
        let report = check_in(&env_of(&left, &clock), &CheckOptions::default(), &mut |_| {}).unwrap();
        assert!(report.findings.iter().all(|finding| finding.severity == Severity::Note), "{:?}", report.findings);
        let store = ManualStore::open(env_of(&left, &clock), small(ReadMode::Copy)).unwrap();
        let log = store.store().log("log").unwrap();
        let found: Vec<usize> =
            log.read(StartAt::TrimHorizon).unwrap().map(|record| record.unwrap().data.len()).collect();
        assert_eq!(found, [100, 100, 5000, 100], "{kind:?}");
        assert_eq!(log.end(), 4);
    }
}

/// While a flush has a segment grow, what waits in memory is in both.
#[test]
fn what_is_on_its_way_to_a_segment_counts_once_for_the_byte_rule() {
    let disk = Meets::new();
    let clock = Arc::new(ManualClock::new());
    let env = Env { disk: disk.place(), ..env_of(&disk.disk, &clock) };
    let mut store = ManualStore::open(env, small(ReadMode::Copy).bulk_bytes(1 << 20)).unwrap();
    let options = LogOptions::new().segment_bytes_max(16 << 10).retention_bytes(Some(24 << 10));
    let mut made = store.create_log("log", options).unwrap();
    store.settle();
    let log = made.try_get().unwrap().unwrap();
    for (count, checkpoint) in [(5, true), (8, false), (8, false)] {
        let ticket = log.try_append_batch(&vec![(&[7; 1000][..]).into(); count]).unwrap();
        store.settle();
        ticket.try_get().unwrap().unwrap();
        if checkpoint {
            store.checkpoint().unwrap();
        }
    }
    // The segment is full by then, and the next one is begun.
    let (read, found) = (log.clone(), Arc::new(Mutex::new(None)));
    let seen = found.clone();
    disk.meet(move || *seen.lock().unwrap() = Some(read.horizon().unwrap()));
    store.checkpoint().unwrap();
    assert_eq!(*found.lock().unwrap(), Some(0));
    assert_eq!(log.horizon().unwrap(), 0);
    assert_eq!(log.read(StartAt::TrimHorizon).unwrap().count(), 21);
}

/// What happens while the checkpoint is taken that a backup begins with is in the copy as a whole, or not at all.
#[test]
fn a_backup_is_of_one_moment() {
    for closes in [false, true] {
        let disk = Meets::new();
        let clock = Arc::new(ManualClock::new());
        let env = Env { disk: disk.place(), ..env_of(&disk.disk, &clock) };
        let store = Store::open_in(env, small(ReadMode::Copy).bulk_bytes(1 << 20)).unwrap();
        let [parent, rows, first, second] =
            ["parent", "rows", "first", "second"].map(|name| store.create_log(name, LogOptions::new()).unwrap());
        parent.append("a record").unwrap();
        rows.append("a row").unwrap();
        store.checkpoint().unwrap();
        // A backup waits for two: what it copies is the second one's.
        let [parent_of_it, rows_of_it] = [parent.clone(), rows.clone()];
        disk.meet(move || {
            for log in [parent_of_it, rows_of_it, second] {
                log.append("for the one behind").unwrap();
            }
        });
        let changed = store.clone();
        disk.meet(move || {
            let mut transaction = Transaction::new();
            transaction.create_log("child", LogOptions::new()).unwrap().append(&rows, "a third").unwrap();
            if closes {
                transaction.close_log(&parent).unwrap();
            } else {
                transaction.trim(&parent, parent.end());
            }
            changed.commit(transaction).unwrap().wait().unwrap();
        });
        // Not before: a checkpoint may come that nobody here waits for.
        first.append("has its first segment in the next checkpoint").unwrap();
        // One more where an earlier checkpoint was still under way.
        for name in ["copy", "another-copy"] {
            store.backup(name).unwrap();
            let env = Env { disk: disk.disk.sibling(name).unwrap(), ..env_of(&disk.disk, &clock) };
            let copy = Store::open_in(env, small(ReadMode::Copy)).unwrap();
            assert_eq!(copy.health(), Health::Ok);
            let has_child = match copy.log("child") {
                Ok(_) => true,
                Err(Error::NoSuchLog { .. }) => false,
                Err(error) => panic!("{error}"),
            };
            let parent = copy.log("parent").unwrap();
            let changed = if closes { parent.is_closed() } else { parent.horizon().unwrap() > 0 };
            let has_row = copy.log("rows").unwrap().end() == 3;
            assert_eq!((changed, has_row), (has_child, has_child), "closes {closes}");
        }
        assert!(disk.have_met());
    }
}

/// A store was closed, and some time later a checkpoint gives up what it is at. A second handle that closes it then was taken for a
/// store that closed just now: the checkpoint went on, and its manifest named a frame whose records it had left in memory.
#[test]
fn a_checkpoint_that_is_given_up_stays_so_when_the_store_is_closed_again() {
    let mut given_up = 0;
    for look in 0..8 {
        let disk = SimDisk::new(Tape::seeded(1));
        let clock = Arc::new(ManualClock::new());
        let watched = Arc::new(Watched { clock: clock.clone(), looks: Mutex::default() });
        let env = Env { clock: watched.clone(), ..env_of(&disk, &clock) };
        let mut store = ManualStore::open(env, small(ReadMode::Copy)).unwrap();
        let logs = ["one", "other"].map(|name| create(&mut store, name));
        logs.iter().for_each(|log| append(&mut store, log, 100));
        store.abandon();
        clock.advance(Duration::from_secs(3));
        let again = store.clone();
        let mut looks: VecDeque<Option<Meeting>> = (0..look).map(|_| None).collect();
        looks.push_back(Some(Box::new(move || again.abandon())));
        *watched.looks.lock().unwrap() = looks;
        given_up += u32::from(store.checkpoint().is_err());
        let left = disk.crash(Crash::Power, &Tape::seeded(2));
        let store = ManualStore::open(env_of(&left, &clock), small(ReadMode::Copy)).unwrap();
        for name in ["one", "other"] {
            let log = store.store().log(name).unwrap();
            assert_eq!(log.read(StartAt::TrimHorizon).unwrap().map(Result::unwrap).count(), 1, "{name}, look {look}");
        }
    }
    assert_eq!(given_up, 8);
}
