//! Small file systems that fill up to the last block: what is refused is absent for ever, what is acknowledged is there, also
//! after opening on the disk that is still full; and when room comes back, appends go on.
//!
//! Needs the right to mount; where there is none each test says `skipped`, and fails if `BRAIDLOG_NO_SKIPS=1`.
#![cfg(target_os = "linux")]
// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

#[path = "support/mount.rs"]
mod mount;

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use braidlog::{DiskChoice, Durability, Error, Health, Log, LogOptions, StartAt, Store, StoreOptions};
use mount::mount;

fn options(disk: DiskChoice) -> StoreOptions {
    StoreOptions::new()
        .journal_file_bytes(256 << 10)
        .journal_files_max(4)
        .memory_bytes(512 << 10)
        .append_deadline(Duration::from_millis(200))
        .bulk_bytes(64 << 10)
        .reserve_bytes(512 << 10)
        .disk(disk)
}

fn log_options(durability: Durability) -> LogOptions {
    LogOptions::new().segment_bytes_max(256 << 10).durability(durability)
}

fn record(i: u64) -> String {
    let len = [60, 700, 5_000, 90_000][(i % 29 / 8) as usize];
    format!("{i} {}", "z".repeat(len))
}

/// The records of a log by the number their writer gave them, in order.
fn read(store: &Store, name: &str) -> Vec<u64> {
    let log = store.log(name).unwrap();
    let records = log.read(StartAt::TrimHorizon).unwrap().map(|record| {
        let record = record.unwrap();
        let text = std::str::from_utf8(&record.data).unwrap().to_owned();
        let i = text.split(' ').next().unwrap().parse::<u64>().unwrap();
        assert_eq!(text, self::record(i), "record {} of {name}", record.sequence_number);
        i
    });
    records.collect()
}

/// What a writer was told of its records.
#[derive(Default)]
struct Told {
    acked: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    unknown: BTreeSet<u64>,
}

impl Told {
    fn check(&self, found: &[u64], when: &str) {
        assert!(found.is_sorted_by(|a, b| a < b), "{when}: out of order or twice");
        let found: BTreeSet<u64> = found.iter().copied().collect();
        let lost: Vec<_> = self.acked.difference(&found).collect();
        assert!(lost.is_empty(), "{when}: acknowledged and gone: {lost:?}");
        let back: Vec<_> = self.refused.intersection(&found).collect();
        assert!(back.is_empty(), "{when}: refused and there: {back:?}");
    }
}

/// Appends and waits a while: whether it was acknowledged by then. Callers that wait take another way than tickets.
fn append(log: &Log, i: u64) -> Result<bool, Error> {
    if !i.is_multiple_of(3) {
        return match log.append(record(i).as_str()) {
            Err(Error::OutcomeUnknown { cause }) if cause.kind == ErrorKind::TimedOut => Ok(false),
            outcome => outcome.map(|_| true),
        };
    }
    log.append_ticket(record(i).as_str())?.wait_for(Duration::from_secs(2)).transpose().map(|done| done.is_some())
}

/// Trims; what is not done within the append deadline goes on, and is waited for.
fn trim(log: &Log, upto: u64, until: Instant) -> Result<u64, Error> {
    loop {
        match log.trim(upto) {
            Err(Error::OutcomeUnknown { cause }) if cause.kind == ErrorKind::TimedOut && Instant::now() < until => {}
            outcome => return outcome,
        }
    }
}

/// Appends until nothing more goes in, for `misses` refusals in a row; then fills what is left of the disk with a file.
fn fill(store: &Store, name: &str, next: &mut u64, told: &mut Told, misses: usize) {
    let log = store.log(name).unwrap();
    let mut missed = 0;
    let until = Instant::now() + Duration::from_secs(60);
    while missed < misses {
        assert!(Instant::now() < until, "{name}: it never fills up");
        let i = *next;
        *next += 1;
        match append(&log, i) {
            Ok(true) => {
                told.acked.insert(i);
                missed = 0;
            }
            Ok(false) => {
                // It has its number and waits for room: it may or may not be there after all.
                told.unknown.insert(i);
                missed += 1;
            }
            Err(Error::Full { .. } | Error::Busy { .. }) => {
                told.refused.insert(i);
                missed += 1;
            }
            Err(Error::OutcomeUnknown { cause }) => {
                assert!(cause.is_no_space(), "{cause}");
                told.unknown.insert(i);
                return;
            }
            Err(Error::Stopped { cause }) => {
                assert!(cause.is_no_space(), "{cause}");
                told.refused.insert(i);
                return;
            }
            // It was opened without room for the manifest that opening writes.
            Err(Error::ReadOnly { .. }) => {
                told.refused.insert(i);
                return;
            }
            Err(other) => panic!("{name}: {other}"),
        }
    }
}

/// Takes every last block, so that nothing of the store finds room again by chance.
fn stuff(point: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(point.join("stuffing")).unwrap();
    for size in [64 << 10, 4096, 512, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
    let _ = file.sync_all();
}

fn fill_up_and_come_back(kind: &str, mib: u64, disk: DiskChoice, durability: Durability) {
    let Some(mounted) = mount(kind, mib) else { return };
    let what = format!("{kind} of {mib} MiB, {disk:?}, {durability:?}");
    let root = mounted.point().join("store");
    let (mut told, mut next) = (Told::default(), 0);
    {
        let store = Store::open_with(&root, options(disk)).unwrap();
        store.create_log("a", log_options(durability)).unwrap();
        fill(&store, "a", &mut next, &mut told, 5);
        println!(
            "{what}: {} acknowledged, {} refused, health {}",
            told.acked.len(),
            told.refused.len(),
            store.health()
        );
        told.check(&read(&store, "a"), &format!("{what}, filled"));
        stuff(&mounted.point());
        fill(&store, "a", &mut next, &mut told, 3);
        told.check(&read(&store, "a"), &format!("{what}, stuffed"));
    }
    assert!(!told.acked.is_empty(), "{what}");
    assert!(!told.refused.is_empty() || !told.unknown.is_empty(), "{what}");
    for life in 0..3 {
        // The disk is still full: reading must work in any case, opening for writing too or say that there is no room.
        match Store::open_with(&root, options(disk)) {
            Ok(store) => {
                told.check(&read(&store, "a"), &format!("{what}, opened {life} times on the full disk"));
                fill(&store, "a", &mut next, &mut told, 2);
            }
            Err(Error::Io(fault)) if fault.is_no_space() => {
                println!("{what}: life {life} can't open for writing: {fault}")
            }
            Err(other) => panic!("{what}, life {life}: {other}"),
        }
        let store = Store::open_read_only(&root).unwrap_or_else(|error| panic!("{what}: can't even be read: {error}"));
        told.check(&read(&store, "a"), &format!("{what}, read only, life {life}"));
    }
    // Room comes back. Where the store itself took nearly all of it, a file less is not enough: what three lives left in the
    // journal has nowhere to go, and it opens for reading only until somebody makes room.
    fs::remove_file(mounted.point().join("stuffing")).unwrap();
    if kind == "tmpfs" {
        mounted.grow(2 * mib).unwrap();
    }
    let store = Store::open_with(&root, options(disk)).unwrap();
    let log = store.log("a").unwrap();
    told.check(&read(&store, "a"), &format!("{what}, with room"));
    let kept = log.end();
    let until = Instant::now() + Duration::from_secs(30);
    trim(&log, kept, until).unwrap_or_else(|error| panic!("{what}: a trim is refused: {error}"));
    let first = loop {
        let i = next;
        next += 1;
        match append(&log, i) {
            Ok(true) => break i,
            Ok(false) | Err(Error::Full { .. } | Error::Busy { .. }) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(false) => panic!("{what}: appends still wait for room after a trim, health {}", store.health()),
            Err(other) => panic!("{what}: appends don't resume after a trim: {other}, health {}", store.health()),
        }
    };
    // On a disk this small what was trimmed may still take the room of what comes, for a moment.
    let mut appended = 0;
    while appended < 20 {
        match append(&log, next) {
            Ok(true) => appended += 1,
            Ok(false) | Err(Error::Full { .. } | Error::Busy { .. }) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            other => panic!("{what}: after the trim: {other:?}, health {}", store.health()),
        }
        next += 1;
    }
    assert_eq!(store.health(), Health::Ok, "{what}");
    assert!(read(&store, "a").contains(&first), "{what}");
    let readable = read(&store, "a");
    drop(log);
    store.close().unwrap();
    let store = Store::open_with(&root, options(disk)).unwrap();
    assert_eq!(read(&store, "a"), readable, "{what}");
}

#[test]
fn a_tmpfs_of_4_mib_fills_up_and_comes_back() {
    fill_up_and_come_back("tmpfs", 4, DiskChoice::Auto, Durability::Durable);
    fill_up_and_come_back("tmpfs", 4, DiskChoice::Portable, Durability::Buffered);
}

#[test]
fn a_tmpfs_of_8_mib_fills_up_and_comes_back() {
    fill_up_and_come_back("tmpfs", 8, DiskChoice::Portable, Durability::Durable);
}

#[test]
fn an_ext4_of_16_mib_fills_up_and_comes_back() {
    fill_up_and_come_back("ext4", 16, DiskChoice::Auto, Durability::Durable);
}

#[test]
fn an_ext4_of_32_mib_fills_up_and_comes_back_with_buffered_logs() {
    fill_up_and_come_back("ext4", 32, DiskChoice::Auto, Durability::Buffered);
}

#[test]
fn an_ext4_of_64_mib_fills_up_and_comes_back_without_io_uring() {
    fill_up_and_come_back("ext4", 64, DiskChoice::Portable, Durability::Durable);
}

#[test]
fn a_full_disk_is_emptied_by_trimming_the_open_store() {
    let Some(mounted) = mount("tmpfs", 8) else { return };
    let store = Store::open_with(mounted.point().join("store"), options(DiskChoice::Auto)).unwrap();
    let log = store.create_log("a", log_options(Durability::Durable)).unwrap();
    let (mut told, mut next) = (Told::default(), 0);
    for round in 0..4 {
        fill(&store, "a", &mut next, &mut told, 3);
        told.check(&read(&store, "a"), &format!("round {round}"));
        let until = Instant::now() + Duration::from_secs(30);
        trim(&log, log.end(), until)
            .unwrap_or_else(|error| panic!("round {round}: a trim is refused: {error}, health {}", store.health()));
        told = Told::default();
        while let Err(error) = log.append(record(next).as_str()) {
            assert!(
                error.is_retryable() && Instant::now() < until,
                "round {round}: {error}, health {}",
                store.health()
            );
            std::thread::sleep(Duration::from_millis(20));
            next += 1;
        }
        told.acked.insert(next);
        next += 1;
    }
}

/// Who has a full disk wants a copy before anything else.
#[test]
fn a_store_on_a_full_disk_is_backed_up() {
    for durability in [Durability::Durable, Durability::Buffered] {
        let Some(mounted) = mount("tmpfs", 8) else { return };
        let elsewhere = tempfile::tempdir().unwrap();
        let root = elsewhere.path().join("copy");
        let store = Store::open_with(mounted.point().join("store"), options(DiskChoice::Auto)).unwrap();
        store.create_log("a", log_options(durability)).unwrap();
        let (mut told, mut next) = (Told::default(), 0);
        fill(&store, "a", &mut next, &mut told, 3);
        stuff(&mounted.point());
        fill(&store, "a", &mut next, &mut told, 3);
        assert!(matches!(store.health(), Health::Full { .. }), "{}", store.health());
        let report = store.backup(&root).unwrap();
        assert_eq!(report.logs, 1);
        let copy = Store::open_with(&root, options(DiskChoice::Auto)).unwrap();
        told.check(&read(&copy, "a"), &format!("the copy, {durability:?}"));
        copy.log("a").unwrap().append(record(next).as_str()).unwrap();
        copy.close().unwrap();
    }
}

/// Runs the program on a store: its exit code, and what it said.
#[cfg(feature = "cli")]
fn program(store: &Path, args: &[&str]) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_braidlog"));
    let output = command.args(args).arg("--store").arg(store).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// Once the trim is durable it counts, whatever becomes of the checkpoint that closing takes.
#[cfg(feature = "cli")]
#[test]
fn the_program_tells_that_a_trim_counts_though_closing_finds_no_room() {
    let Some(mounted) = mount("tmpfs", 80) else { return };
    let root = mounted.point().join("store");
    {
        // What is in the journal alone is more than the room that is kept, and the next owner has to write it.
        let store = Store::open(&root).unwrap();
        let log = store.create_log("a", LogOptions::new()).unwrap();
        for _ in 0..120 {
            log.append(&vec![1; 64 << 10][..]).unwrap();
        }
    }
    stuff(&mounted.point());
    let free = fs::File::options().write(true).open(mounted.point().join("stuffing")).unwrap();
    // Opening takes a manifest, and a file of the journal if none is left.
    free.set_len(free.metadata().unwrap().len() - (256 << 10)).unwrap();
    let (code, said) = program(&root, &["trim", "a", "--before", "2"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("2 records trimmed") && said.contains("the disk is full"), "{said}");
    let (code, said) = program(&root, &["info", "a", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("\"horizon\":2"), "{said}");
}

/// A store that has no room even for what opening writes is full as one is that fills up later.
#[cfg(feature = "cli")]
#[test]
fn the_program_ends_with_the_code_of_a_full_disk_where_opening_finds_no_room() {
    let Some(mounted) = mount("tmpfs", 4) else { return };
    let root = mounted.point().join("store");
    let input = mounted.point().join("input");
    fs::write(&input, "line\n").unwrap();
    let put = ["put", "a", input.to_str().unwrap()];
    for args in [&put[..], &["create", "a"], &["stream", "create", "s"]] {
        let (code, said) = program(&root, args);
        assert!(said.contains("there is no room on the disk"), "{args:?}: {said}");
        assert_eq!(code, Some(5), "{args:?}: {said}");
    }
    let (_, said) = program(&root, &["create", "a", "--json"]);
    assert!(said.contains("\"exit_code\":5") && said.contains("\"retryable\":true"), "{said}");
    let Err(Error::ReadOnly { full, .. }) = Store::open(&root).unwrap().create_log("a", LogOptions::new()) else {
        panic!("it is not read-only");
    };
    assert!(full);
}
