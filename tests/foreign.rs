//! Files that are not the store's, under names that look like its own: opening goes by, and checking tells of them.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use braidlog::check::{CheckOptions, check_in};
use braidlog::env::sim::{Crash, ManualClock, SimDisk, Tape};
use braidlog::manual::ManualStore;
use braidlog::{Log, LogOptions, ReadMode, RecordParts, StartAt, StoreOptions};
use support::{env_of, small};

fn options() -> StoreOptions {
    small(ReadMode::Map).journal_files_max(8).memory_bytes(1 << 20)
}

fn open(disk: &SimDisk) -> ManualStore {
    ManualStore::open(env_of(disk, &Arc::new(ManualClock::new())), options()).unwrap()
}

/// What a power cut leaves of it.
fn cut(disk: &SimDisk) -> SimDisk {
    disk.crash(Crash::Power, &Tape::seeded(3))
}

fn append(store: &mut ManualStore, log: &Log, len: usize) {
    let data = vec![b'x'; len];
    let ticket = log.try_append_batch(&[RecordParts::from(&data[..])]).unwrap();
    store.settle();
    ticket.try_get().unwrap().unwrap();
}

fn count(store: &ManualStore) -> usize {
    let log = store.store().log("log").unwrap();
    log.read(StartAt::TrimHorizon).unwrap().inspect(|record| assert!(record.is_ok(), "{record:?}")).count()
}

/// A store with some records in a segment and some in the journal, as a power cut left it; and how many.
fn store() -> (SimDisk, usize) {
    let disk = SimDisk::new(Tape::seeded(1));
    let mut store = open(&disk);
    let mut made = store.create_log("log", LogOptions::new()).unwrap();
    store.settle();
    let log = made.try_get().unwrap().unwrap();
    (0..20).for_each(|_| append(&mut store, &log, 100));
    store.checkpoint().unwrap();
    store.upkeep_step();
    (0..20).for_each(|_| append(&mut store, &log, 100));
    (cut(&disk), 40)
}

/// Opens a store with such a file, works with it, and opens it again after a power cut.
fn goes_by(path: &str, bytes: &[u8]) {
    let (disk, records) = store();
    disk.write_bytes(path, bytes).unwrap();
    // Twice: what a life makes of the name must not be in the way of the next.
    for life in 0..2 {
        let mut store = open(&disk);
        let report = store.store().open_report();
        assert_eq!((&report.manifest_damage, &report.journal_damage), (&None, &None), "{path}: {report:?}");
        assert!(report.stopped_logs.is_empty() && report.leftover_segments == 0, "{path}: {report:?}");
        assert_eq!(count(&store), records + life, "{path}");
        let log = store.store().log("log").unwrap();
        append(&mut store, &log, 100);
        for _ in 0..3 {
            store.checkpoint().unwrap();
            store.upkeep_step();
        }
        drop((log, store));
        assert_eq!(disk.read_bytes(path).unwrap(), bytes, "{path} is not ours to touch");
    }
    let found = check_in(&env_of(&disk, &Arc::new(ManualClock::new())), &CheckOptions::new(), &mut |_| {}).unwrap();
    assert!(found.findings.iter().any(|finding| path.starts_with(&finding.path)), "{path}: {:?}", found.findings);
}

/// Found by an audit: the store did not open, for the want of a file that nobody has written.
#[test]
fn a_name_in_the_journal_that_is_not_quite_ours_is_gone_by() {
    for name in ["7.jnl", "1.jnl", "0000000000000001.jnl", "0000000A.jnl", "+0000001.jnl", "ffffffffffffffff.jnl"] {
        goes_by(&format!("journal/{name}"), b"not a journal");
        goes_by(&format!("journal/{name}"), b"");
    }
}

/// Found by an audit: a number that was there under two names was two files of the ring, and the second one went over the frames of
/// the first.
#[test]
fn no_number_of_the_journal_is_in_the_ring_twice() {
    let (disk, mut records) = store();
    let names: Vec<String> = disk.files().into_iter().map(|(name, _)| name).filter(|n| n.ends_with(".jnl")).collect();
    assert!(names.len() > 1, "{names:?}");
    for name in &names {
        let short = format!("journal/{}", name.trim_start_matches("journal/").trim_start_matches("0000000"));
        disk.write_bytes(&short, &disk.read_bytes(name).unwrap()).unwrap();
    }
    let mut store = open(&disk);
    let log = store.store().log("log").unwrap();
    store.checkpoint().unwrap();
    // As much as the journal takes without a checkpoint.
    loop {
        let data = [b'x'; 3_000];
        let Ok(ticket) = log.try_append_batch(&[RecordParts::from(&data[..])]) else { break };
        while store.commit_step() {}
        if ticket.try_get().is_none() {
            break;
        }
        records += 1;
    }
    assert!(records > 40 + 40, "{records}");
    let disk = cut(&disk);
    drop((log, store));
    let store = open(&disk);
    assert_eq!(store.store().open_report().journal_damage, None);
    assert!(count(&store) >= records, "{} of {records} acknowledged", count(&store));
}

/// Found by an audit: a file that reads as a manifest of a higher number was taken for the newest, and damaged; behind the highest
/// number the next one ran over.
#[test]
fn a_name_of_a_manifest_that_is_not_quite_ours_is_gone_by() {
    for name in ["ff.man", "00000000000000FF.man", "ffffffffffffffff.man", "x.man"] {
        goes_by(
            &format!("manifest/{name}"),
            b"not a manifest, but long enough to be looked at as one: it has a header's length",
        );
        goes_by(&format!("manifest/{name}"), b"");
    }
}

/// Found by an audit: the segment that it was taken for was looked for in the folder where that would be, and not found.
#[test]
fn a_name_of_a_segment_that_is_not_quite_ours_or_not_where_it_would_be_is_gone_by() {
    let names = ["00/7.seg", "07/0000000000000008.seg", "08/000000000000F008.seg", "zz/0000000000100007.seg", "7.seg"];
    for name in names {
        goes_by(&format!("segments/{name}"), b"not a segment");
    }
}

/// A folder under a name of ours is not a file of ours.
#[test]
fn a_folder_with_the_name_of_a_file_is_gone_by() {
    for name in ["journal/000000ff.jnl", "manifest/00000000000000ff.man", "segments/ff/00000000000fffff.seg"] {
        let (disk, records) = store();
        disk.write_bytes(&format!("{name}/file"), b"foreign").unwrap();
        let store = open(&disk);
        assert_eq!(count(&store), records, "{name}");
    }
}
