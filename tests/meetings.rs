//! A checkpoint and the commit machine meet half way, at a place that a test chooses: a call of the disk.
#![allow(clippy::unwrap_used)]

mod support;

use std::io;
use std::sync::{Arc, Mutex};

use braidlog::check::{CheckOptions, Severity, check_in};
use braidlog::env::sim::{Crash, ManualClock, SimDisk, Tape};
use braidlog::env::{Access, DirEntry, Disk, DiskFile, DiskKind, DiskLock, Env, LockMode, Space, WriteQueue};
use braidlog::manual::ManualStore;
use braidlog::{Log, LogOptions, ReadMode, StartAt};
use support::{env_of, small};

type Meeting = Box<dyn FnOnce() + Send>;

/// A disk that has something done, once, when a segment is begun.
#[derive(Clone)]
struct Meets {
    disk: SimDisk,
    meeting: Arc<Mutex<Option<Meeting>>>,
}

impl Disk for Meets {
    fn open(&self, path: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        if access == Access::CreateNew && path.starts_with("segments/") {
            let meeting = self.meeting.lock().unwrap().take();
            meeting.into_iter().for_each(|meeting| meeting());
        }
        self.disk.open(path, access)
    }

    fn kind(&self) -> DiskKind {
        self.disk.kind()
    }

    fn root(&self) -> String {
        self.disk.root()
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn list(&self, dir: &str) -> io::Result<Vec<DirEntry>> {
        self.disk.list(dir)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.disk.sync_all()
    }

    fn space(&self) -> io::Result<Space> {
        self.disk.space()
    }

    fn lock(&self, path: &str, mode: LockMode, holder: &str) -> io::Result<Box<dyn DiskLock>> {
        self.disk.lock(path, mode, holder)
    }

    fn write_queue(&self, lock: &dyn DiskLock, depth: usize) -> io::Result<Box<dyn WriteQueue>> {
        self.disk.write_queue(lock, depth)
    }

    fn sibling(&self, root: &str) -> io::Result<Arc<dyn Disk>> {
        self.disk.sibling(root)
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
        let disk = Meets { disk: SimDisk::new(Tape::seeded(1)), meeting: Arc::default() };
        let clock = Arc::new(ManualClock::new());
        let env = Env { disk: Arc::new(disk.clone()), ..env_of(&disk.disk, &clock) };
        let mut store = ManualStore::open(env, small(ReadMode::Copy)).unwrap();
        let (log, other) = (create(&mut store, "log"), create(&mut store, "other"));
        append(&mut store, &log, 100);
        store.checkpoint().unwrap();
        append(&mut store, &log, 100);
        append(&mut store, &other, 100);
        let (mut beside, appended_to) = (store.clone(), log.clone());
        // The first log has been flushed by then.
        *disk.meeting.lock().unwrap() = Some(Box::new(move || {
            append(&mut beside, &appended_to, 5000);
            append(&mut beside, &appended_to, 100);
            // On its way: what comes before it is in the segment, and its frame is not written.
            drop(appended_to.append_ticket(&[7; 5000][..]).unwrap());
            beside.commit_step_without_waiting();
        }));
        store.checkpoint().unwrap();
        assert!(disk.meeting.lock().unwrap().is_none());
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
