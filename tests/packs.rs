//! Many small logs share files: how many files that makes, that nothing is lost on the way out of them, and that they go, also
//! where there is little room.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use braidlog::check::{CheckOptions, CheckReport, Severity, check, salvage};
use braidlog::env::sim::{ManualClock, SeededRandom, SimDisk, Tape};
use braidlog::env::{Access, Disk, Env};
use braidlog::manual::ManualStore;
use braidlog::{DiskChoice, Health, Log, LogOptions, ReadMode, StartAt, Store, StoreOptions};

const LOGS: usize = 150;

fn options(mode: ReadMode) -> StoreOptions {
    StoreOptions::new().journal_file_bytes(64 << 10).reserve_bytes(0).disk(DiskChoice::Portable).read_mode(mode)
}

fn open(dir: &Path, mode: ReadMode) -> (Store, Vec<Log>) {
    let store = Store::open_with(dir, options(mode)).unwrap();
    let logs = (0..LOGS).map(|n| store.open_or_create_log(&format!("log-{n}"), LogOptions::new()).unwrap()).collect();
    (store, logs)
}

fn record(log: usize, number: u64) -> Vec<u8> {
    let mut record = format!("{log} {number} ").into_bytes();
    record.resize(340 + (log * 7 + number as usize * 13) % 60, b'.');
    record
}

/// One more record in each log.
fn round(logs: &[Log]) {
    let append = |(n, log): (usize, &Log)| log.append_ticket(&record(n, log.end())).unwrap();
    let tickets: Vec<_> = logs.iter().enumerate().map(append).collect();
    for ticket in tickets {
        ticket.wait().unwrap();
    }
}

fn verify(logs: &[Log], expected: u64) {
    for (n, log) in logs.iter().enumerate() {
        let mut next = 0;
        for found in log.read(StartAt::TrimHorizon).unwrap() {
            let found = found.unwrap();
            assert_eq!((found.sequence_number, &found.data[..]), (next, &record(n, next)[..]), "log {n}");
            next += 1;
        }
        assert_eq!(next, expected, "log {n}");
        let middle = log.read(StartAt::Sequence(expected / 2)).unwrap().next().unwrap().unwrap();
        assert_eq!(&middle.data[..], record(n, expected / 2), "log {n}");
    }
}

fn segment_files(dir: &Path) -> Vec<PathBuf> {
    let list = |dir: &Path| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    list(&dir.join("segments")).iter().flat_map(|folder| list(folder)).collect()
}

fn look(dir: &Path) -> CheckReport {
    check(dir, &CheckOptions::new(), &mut |_| {}).unwrap()
}

#[test]
fn logs_keep_every_record_from_their_first_piece_to_a_file_of_their_own() {
    for mode in [ReadMode::Map, ReadMode::Copy] {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, mut logs) = open(dir.path(), mode);
        let mut most = 0;
        for n in 1..=60 {
            round(&logs);
            // A reader that is on its way while what it reads moves.
            let mut reader = logs[7].read(StartAt::TrimHorizon).unwrap();
            reader.next().unwrap().unwrap();
            store.checkpoint().unwrap();
            let rest = reader.map(|found| found.unwrap().sequence_number).collect::<Vec<_>>();
            assert_eq!(rest, (1..n).collect::<Vec<_>>());
            if n == 5 {
                let files = segment_files(dir.path()).len();
                // Some of them wait to be freed.
                assert!(files < LOGS / 2, "{files} files of {LOGS} logs with 5 records each");
            }
            if n % 15 == 0 {
                verify(&logs, n);
                most = most.max(segment_files(dir.path()).len());
                drop(logs);
                store.close().unwrap();
                assert_eq!(look(dir.path()).findings, [], "after {n} rounds");
                (store, logs) = open(dir.path(), mode);
            }
        }
        verify(&logs, 60);
        assert!(most <= 2 * LOGS, "{most} files of {LOGS} logs");
        let own = logs.iter().filter(|log| log.info().segment_bytes > 16 << 10).count();
        assert!(own > LOGS / 2, "{own} logs have a file of their own");
    }
}

/// A large append passes the pieces of its log on its way to a segment, and takes them along.
#[test]
fn a_large_append_comes_behind_the_pieces_of_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let small = options(ReadMode::Map).journal_file_bytes(1 << 20).bulk_bytes(64 << 10);
    let store = Store::open_with(dir.path(), small).unwrap();
    let logs: Vec<_> = (0..LOGS).map(|n| store.create_log(&format!("log-{n}"), LogOptions::new()).unwrap()).collect();
    let large = vec![b'l'; 100 << 10];
    for _ in 0..3 {
        round(&logs);
        store.checkpoint().unwrap();
        logs[3].append(&large[..]).unwrap();
        assert_eq!(logs[3].info().segments, 1);
    }
    // What the manifest says of its pieces is older than what the journal says.
    drop(logs);
    drop(store);
    let report = look(dir.path());
    assert!(report.is_sound(), "{report:?}");
    let store = Store::open(dir.path()).unwrap();
    let found: Vec<_> = store.log("log-3").unwrap().read(StartAt::TrimHorizon).unwrap().map(Result::unwrap).collect();
    assert_eq!(found.len(), 6);
    for (n, found) in found.iter().enumerate() {
        let expected = if n % 2 == 0 { record(3, n as u64) } else { large.clone() };
        assert!(found.data[..] == expected, "record {n}");
    }
}

#[test]
fn a_pack_goes_with_the_last_log_that_has_a_piece_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, logs) = open(dir.path(), ReadMode::Map);
    round(&logs);
    store.checkpoint().unwrap();
    let pinned = logs[0].read(StartAt::TrimHorizon).unwrap().next().unwrap().unwrap();
    assert!(!segment_files(dir.path()).is_empty());
    logs.iter().for_each(|log| store.delete_log(log.name()).unwrap());
    store.checkpoint().unwrap();
    assert_eq!(segment_files(dir.path()), Vec::<PathBuf>::new());
    assert_eq!(&pinned.data[..], record(0, 0));
    drop(logs);
    store.close().unwrap();
    assert_eq!(look(dir.path()).findings, []);
}

/// Most logs are gone, and the few that are left lie in packs full of what nobody needs.
#[test]
fn what_is_left_in_packs_is_copied_out_when_they_hold_little() {
    let dir = tempfile::tempdir().unwrap();
    let (store, logs) = open(dir.path(), ReadMode::Map);
    let spread = |n: usize| n.is_multiple_of(30);
    for _ in 0..3 {
        // More than one pack has: about 20 pieces each.
        let tickets: Vec<_> = logs.iter().map(|log| log.append_ticket(&[b'x'; 3000]).unwrap()).collect();
        for ticket in tickets {
            ticket.wait().unwrap();
        }
        store.checkpoint().unwrap();
    }
    let before = segment_files(dir.path()).len();
    assert!(before > 15, "{before} packs");
    for log in logs.iter().enumerate().filter(|(n, _)| !spread(*n)).map(|(_, log)| log) {
        store.delete_log(log.name()).unwrap();
    }
    drop(logs);
    store.close().unwrap();
    // Those that are left are idle: nobody has even asked for them in this life.
    let store = Store::open_with(dir.path(), options(ReadMode::Map)).unwrap();
    for _ in 0..before {
        store.checkpoint().unwrap();
    }
    let after = segment_files(dir.path());
    let bytes: u64 = after.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    let left = 5 * 3 * 3200;
    assert!(bytes <= 2 * left + 5 * (64 << 10), "{bytes} bytes in {} files for {left}", after.len());
    for n in (0..LOGS).filter(|n| spread(*n)) {
        let found = store.log(&format!("log-{n}")).unwrap().read(StartAt::TrimHorizon).unwrap().count();
        assert_eq!(found, 3, "log {n}");
    }
    store.close().unwrap();
    assert_eq!(look(dir.path()).findings, []);
}

#[test]
fn a_backup_of_packs_reads_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (store, logs) = open(&dir.path().join("store"), ReadMode::Map);
    for _ in 0..6 {
        round(&logs);
        store.checkpoint().unwrap();
    }
    round(&logs);
    let report = store.backup(dir.path().join("copy")).unwrap();
    assert_eq!(report.logs, LOGS as u64);
    round(&logs);
    // What was given up while it was copied may be in it, to be removed by who opens it.
    let report = look(&dir.path().join("copy"));
    assert!(report.findings.iter().all(|finding| finding.severity == Severity::Note), "{:#?}", report.findings);
    let (copy, copied) = open(&dir.path().join("copy"), ReadMode::Copy);
    verify(&copied, 7);
    round(&copied);
    copy.checkpoint().unwrap();
    verify(&copied, 8);
    verify(&logs, 8);
}

/// A closed store with a few rounds in packs.
fn closed(dir: &Path, rounds: usize) {
    let (store, logs) = open(dir, ReadMode::Map);
    for _ in 0..rounds {
        round(&logs);
        store.checkpoint().unwrap();
    }
    drop(logs);
    store.close().unwrap();
}

#[test]
fn damage_in_a_pack_is_told_of_the_log_whose_piece_it_is() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path(), 1);
    let path = segment_files(dir.path()).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let whole = fs::read(&path).unwrap();
    let mut logs = BTreeSet::new();
    for at in [9, 64 + 9, 64 + 64 + 100, whole.len() / 2, whole.len() - 20] {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        fs::write(&path, bytes).unwrap();
        let report = look(dir.path());
        assert_eq!(report.findings.len(), 1, "byte {at}: {report:?}");
        assert!(!report.is_sound(), "byte {at}");
        logs.extend(report.findings[0].log.clone());
    }
    assert_eq!(logs.len(), 3, "{logs:?}");
    // Gone as a whole.
    fs::remove_file(&path).unwrap();
    assert!(!look(dir.path()).is_sound());
    let store = Store::open_with(dir.path(), options(ReadMode::Map)).unwrap();
    let first = |n: usize| store.log(&format!("log-{n}")).unwrap().read(StartAt::TrimHorizon).unwrap().next().unwrap();
    let lost = (0..LOGS).filter(|n| first(*n).is_err()).count();
    assert!(lost > 100 && lost < LOGS, "{lost} logs");
}

#[test]
fn pieces_are_salvaged_without_a_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("store"), dir.path().join("salvaged"));
    closed(&from, 6);
    for file in fs::read_dir(from.join("manifest")).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    // A front that can't be read costs its piece, not those behind it.
    let largest = segment_files(&from).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    bytes[70] ^= 1;
    fs::write(&largest, bytes).unwrap();
    let report = salvage(&from, &to, &mut |_| {}).unwrap();
    assert!(report.logs.len() >= LOGS - 1, "{} logs", report.logs.len());
    let whole = report.logs.iter().filter(|log| log.records == 6).count();
    assert!(whole >= LOGS - 1, "{whole} logs are whole");
    assert_eq!(look(&to).findings.iter().filter(|finding| !finding.what.starts_with("numbers")).count(), 0);
}

/// A store that the test steps, on a disk whose size it knows.
fn by_hand(disk: &SimDisk, options: StoreOptions) -> (ManualStore, Vec<Log>) {
    let clock = Arc::new(ManualClock::at(1_000_000));
    let env = Env { disk: Arc::new(disk.clone()), clock, random: Arc::new(SeededRandom::new(7)) };
    let mut store = ManualStore::open(env, options).unwrap();
    let logs = (0..LOGS).map(|n| {
        let name = format!("log-{n}");
        store.store().log(&name).unwrap_or_else(|_| {
            let mut created = store.create_log(&name, LogOptions::new()).unwrap();
            store.settle();
            created.try_get().unwrap().unwrap()
        })
    });
    let logs = logs.collect();
    (store, logs)
}

/// One more record in each log, or as many as there is room for; how many there was room for.
fn round_by_hand(store: &mut ManualStore, logs: &[Log], bytes: usize) -> usize {
    let record = vec![b'x'; bytes];
    let mut appended = 0;
    for log in logs {
        for _ in 0..9 {
            if log.try_append_batch(&[record[..].into()]).is_ok() {
                appended += 1;
                break;
            }
            // The journal has no room until the next step.
            store.upkeep_step();
            store.settle();
        }
        store.settle();
    }
    appended
}

/// Appends went nowhere while a checkpoint of 100,000 logs ran, or of one with a hundred megabytes: the journal grew only
/// between two of them.
#[test]
fn a_checkpoint_makes_the_files_that_the_journal_needs_meanwhile() {
    for (file_bytes, logs_used, record) in [(64 << 10, LOGS, 400), (2 << 20, 1, 40_000)] {
        let disk = SimDisk::new(Tape::seeded(1));
        let (mut store, logs) = by_hand(&disk, options(ReadMode::Copy).journal_file_bytes(file_bytes));
        // That they were created is settled.
        store.checkpoint().unwrap();
        // Until the journal has no room.
        for log in logs[..logs_used].iter().cycle().take(1000) {
            let ticket = log.try_append_batch(&[vec![b'x'; record][..].into()]).unwrap();
            while store.commit_step() {}
            if ticket.try_get().is_none() {
                break;
            }
        }
        let files = files_in(&disk, "journal").len();
        store.checkpoint().unwrap();
        assert!(files_in(&disk, "journal").len() > files, "{logs_used} logs, {files} files before and after");
    }
}

/// Paths and lengths of the files in these folders and those in them.
fn files_in(disk: &SimDisk, folder: &str) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for entry in disk.list(folder).unwrap() {
        let path = format!("{folder}/{}", entry.name);
        if entry.is_dir {
            found.extend(files_in(disk, &path));
        } else {
            let len = disk.open(&path, Access::Read).unwrap().len().unwrap();
            found.push((path, len));
        }
    }
    found
}

fn bytes_in(disk: &SimDisk, folder: &str) -> u64 {
    files_in(disk, folder).iter().map(|(_, len)| len).sum()
}

#[test]
fn what_a_store_says_it_takes_is_true_after_many_lives() {
    let disk = SimDisk::new(Tape::seeded(1));
    for _ in 0..8 {
        let (mut store, logs) = by_hand(&disk, options(ReadMode::Copy));
        for _ in 0..6 {
            store.checkpoint().unwrap();
            round_by_hand(&mut store, &logs, 500);
        }
        drop(logs);
        store.close().unwrap();
    }
    let (mut store, _logs) = by_hand(&disk, options(ReadMode::Copy));
    store.checkpoint().unwrap();
    store.upkeep_step();
    let (told, found) = (store.store().stats().store_bytes, bytes_in(&disk, "segments") + bytes_in(&disk, "journal"));
    // The journal has a file at hand that is not counted yet.
    assert!(told.abs_diff(found) <= 64 << 10, "{told} bytes, it says, and takes {found}");
}

/// Without an append nothing but this asks for a checkpoint.
#[test]
fn packs_that_little_is_left_of_go_also_when_nothing_is_appended() {
    let disk = SimDisk::new(Tape::seeded(1));
    let (mut store, logs) = by_hand(&disk, options(ReadMode::Copy));
    for _ in 0..3 {
        assert_eq!(round_by_hand(&mut store, &logs, 3000), LOGS);
        store.checkpoint().unwrap();
    }
    for log in logs.iter().enumerate().filter(|(n, _)| !n.is_multiple_of(30)).map(|(_, log)| log) {
        let _deleted = store.delete_log(log.name()).unwrap();
        store.settle();
    }
    store.checkpoint().unwrap();
    for _ in 0..40 {
        store.upkeep_step();
    }
    let (bytes, left) = (bytes_in(&disk, "segments"), 5 * 3 * 3200);
    assert!(bytes <= 2 * left + 5 * (64 << 10), "{bytes} bytes for {left}");
}

/// What deleted logs had lies in packs beside what is left, and the quota is as small as a few journal files.
#[test]
fn a_store_whose_quota_is_full_goes_on_when_logs_are_deleted() {
    let disk = SimDisk::new(Tape::seeded(1));
    // A round of appends takes more than the journal has.
    let quota = |bytes| options(ReadMode::Copy).journal_files_max(8).quota_bytes(bytes);
    let (mut store, logs) = by_hand(&disk, quota(0));
    for _ in 0..3 {
        round_by_hand(&mut store, &logs, 400);
        store.checkpoint().unwrap();
    }
    store.upkeep_step();
    let used = store.store().stats().store_bytes;
    drop(logs);
    store.close().unwrap();
    let (mut store, logs) = by_hand(&disk, quota(used));
    assert!(round_by_hand(&mut store, &logs, 400) < LOGS);
    assert!(matches!(store.store().health(), Health::Full { .. }), "{}", store.store().health());
    for log in logs.iter().enumerate().filter(|(n, _)| !n.is_multiple_of(30)).map(|(_, log)| log) {
        let _deleted = store.delete_log(log.name()).unwrap();
        store.settle();
    }
    for _ in 0..40 {
        store.upkeep_step();
    }
    assert_eq!(store.store().health(), Health::Ok);
    let bytes = bytes_in(&disk, "segments");
    // Once there is room again, packs may waste what they may waste anywhere.
    assert!(bytes <= 2 * (5 * 4 * 600) + 4 * (64 << 10), "{bytes} bytes of 5 logs");
}

/// The pack of one class has most of its bytes on disk when there is no room for that of another.
#[test]
fn packs_that_were_begun_go_when_another_cannot_be_written() {
    let disk = SimDisk::new(Tape::seeded(1));
    let (mut store, logs) = by_hand(&disk, options(ReadMode::Copy).journal_file_bytes(4 << 20));
    store.checkpoint().unwrap();
    store.upkeep_step();
    for (n, log) in logs.iter().enumerate() {
        let record = vec![b'x'; if n % 3 == 0 { 12_000 } else { 3_000 }];
        let _ticket = log.try_append_batch(&[record[..].into()]).unwrap();
        store.settle();
    }
    let (used, files) = (disk.used_bytes(), files_in(&disk, "segments"));
    disk.set_capacity(Some(used + (600 << 10)));
    for _ in 0..5 {
        store.checkpoint().unwrap_err();
        assert_eq!((disk.used_bytes(), files_in(&disk, "segments")), (used, files.clone()));
    }
    disk.set_capacity(None);
    store.checkpoint().unwrap();
}

/// What lies behind a piece is read with it, and may not be readable.
#[test]
fn a_block_of_a_pack_that_cannot_be_read_keeps_its_own_piece_from_being_copied_and_no_other() {
    let run = |broken: bool| {
        let disk = SimDisk::new(Tape::seeded(1));
        let (mut store, logs) = by_hand(&disk, options(ReadMode::Copy).journal_file_bytes(1 << 20));
        for n in 0..12 {
            round_by_hand(&mut store, &logs, 300);
            store.checkpoint().unwrap();
            for (path, len) in files_in(&disk, "segments").into_iter().filter(|_| broken && n == 1) {
                disk.set_read_error(&path, len - 300..len - 290).unwrap();
            }
        }
        logs.iter().map(|log| log.info().segments).collect::<Vec<_>>()
    };
    let (sound, broken) = (run(false), run(true));
    let differ = sound.iter().zip(&broken).filter(|(sound, broken)| sound != broken).count();
    assert!(differ <= 4, "{differ} logs could not have their pieces copied");
}

/// There is room for what was appended, and none for copies of what was there before.
#[test]
fn a_nearly_full_disk_takes_new_pieces_without_copies_of_old_ones() {
    let disk = SimDisk::new(Tape::seeded(1));
    let (mut store, logs) = by_hand(&disk, options(ReadMode::Copy));
    for _ in 0..4 {
        round_by_hand(&mut store, &logs, 3000);
        store.checkpoint().unwrap();
        store.upkeep_step();
    }
    disk.set_capacity(Some(disk.used_bytes() + (400 << 10)));
    assert_eq!(round_by_hand(&mut store, &logs, 100), LOGS);
    store.checkpoint().unwrap();
    store.upkeep_step();
    assert_eq!(store.store().health(), Health::Ok);
    for log in &logs {
        assert_eq!(log.info().pending_bytes, 0);
        assert_eq!(log.read(StartAt::TrimHorizon).unwrap().map(Result::unwrap).count(), 5);
    }
}
