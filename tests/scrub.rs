//! The scrub: it comes to everything that is stored within a period, tells what rotted and of which log, and nothing else, in steps
//! that hold nobody up.
#![allow(clippy::unwrap_used)]

mod support;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use braidlog::env::sim::{Crash, ManualClock, SeededRandom, SimDisk, Tape};
use braidlog::env::{DiskFile, Env, Mapping, RealDisk};
use braidlog::manual::ManualStore;
use braidlog::{Damage, Durability, Error, Health, Log, LogOptions, ReadMode, ScrubFinding, StartAt, StoreOptions};
use support::env_of;
use support::over::Over;

const PERIOD: Duration = Duration::from_secs(3600);
/// Where periods begin: at multiples of them since 1970.
const PERIOD_MS: u64 = PERIOD.as_millis() as u64;
const FRONT_MS: u64 = 500_000 * PERIOD_MS;

fn options() -> StoreOptions {
    StoreOptions::new()
        .journal_file_bytes(1 << 20)
        .bulk_bytes(32 << 10)
        .pack_from(4)
        .reserve_bytes(0)
        .retention_interval(Duration::from_secs(86_400))
        .read_mode(ReadMode::Copy)
        .scrub_period(Some(PERIOD))
}

/// A clock at some part of a period.
fn clock_at(part: f64) -> Arc<ManualClock> {
    Arc::new(ManualClock::at(FRONT_MS + (PERIOD_MS as f64 * part) as u64))
}

fn open(disk: &SimDisk, clock: &Arc<ManualClock>) -> ManualStore {
    ManualStore::open(env_of(disk, clock), options()).unwrap()
}

fn create(store: &mut ManualStore, name: &str, options: LogOptions) -> Log {
    let mut created = store.create_log(name, options).unwrap();
    store.settle();
    created.try_get().unwrap().unwrap()
}

fn append(store: &mut ManualStore, log: &Log, len: usize) {
    let record: Vec<u8> = (0..len).map(|n| (n as u64 * 31 + log.end() * 7) as u8).collect();
    for _ in 0..4 {
        match log.try_append_batch(&[record.as_slice().into()]) {
            Ok(ticket) => {
                store.settle();
                ticket.try_get().unwrap().unwrap();
                return;
            }
            // A buffered log is noted first, and others wait for room.
            Err(Error::Busy { .. }) => store.settle(),
            Err(other) => panic!("{}: {other}", log.name()),
        }
        store.upkeep_step();
    }
    panic!("{} takes nothing", log.name());
}

/// So many parts of a hundred of a period pass, with the looks of the upkeep that come in them.
fn pass(store: &mut ManualStore, clock: &ManualClock, parts: u32) {
    for _ in 0..8 * parts {
        clock.advance(PERIOD / 800);
        store.upkeep_step();
    }
}

/// Logs with segments of their own, of small and of bulk batches, buffered ones, and many that share packs; one in two of them is in use
/// again, and some are gone.
fn store_with_everything(disk: &SimDisk, clock: &Arc<ManualClock>) -> (ManualStore, Vec<Log>) {
    let mut store = open(disk, clock);
    let own = LogOptions::new().segment_bytes_max(32 << 10);
    for n in 0..4 {
        let log = create(&mut store, &format!("own-{n}"), own.clone());
        (0..90).for_each(|_| append(&mut store, &log, 900));
    }
    for n in 0..2 {
        let log = create(&mut store, &format!("bulk-{n}"), LogOptions::new().segment_bytes_max(256 << 10));
        (0..4).for_each(|_| append(&mut store, &log, 40 << 10));
        append(&mut store, &log, 300);
        let buffered = own.clone().durability(Durability::Buffered);
        let log = create(&mut store, &format!("buffered-{n}"), buffered);
        (0..40).for_each(|_| append(&mut store, &log, 900));
    }
    let small: Vec<Log> = (0..30).map(|n| create(&mut store, &format!("small-{n}"), LogOptions::new())).collect();
    for _ in 0..3 {
        small.iter().for_each(|log| append(&mut store, log, 700));
        store.checkpoint().unwrap();
    }
    drop(small);
    store.close().unwrap();
    let mut store = open(disk, clock);
    let mut used = Vec::new();
    for name in store.store().log_names().unwrap() {
        if name.ends_with(['0', '2', '4', '6', '8']) {
            let log = store.store().log(&name).unwrap();
            append(&mut store, &log, 500);
            used.push(log);
        }
    }
    store.checkpoint().unwrap();
    for name in ["small-10", "small-11", "own-3"] {
        drop(store.delete_log(name).unwrap());
        store.settle();
    }
    used.retain(|log| log.name() != "small-10");
    store.checkpoint().unwrap();
    (store, used)
}

/// What can't be read of each log, as who opens a copy finds it.
fn lost(disk: &SimDisk, clock: &Arc<ManualClock>) -> BTreeMap<String, BTreeSet<u64>> {
    let copy = disk.crash(Crash::Kill, &Tape::seeded(1));
    let store = open(&copy, &support::same_time(clock));
    let mut lost = BTreeMap::new();
    for name in store.store().log_names().unwrap() {
        let missing = missing(&store.store().log(&name).unwrap());
        if !missing.is_empty() {
            lost.insert(name, missing);
        }
    }
    lost
}

/// Numbers of a log that a reader has to skip.
fn missing(log: &Log) -> BTreeSet<u64> {
    let mut reader = log.read(StartAt::TrimHorizon).unwrap();
    let mut missing = BTreeSet::new();
    while let Some(record) = reader.next() {
        match record {
            Ok(_) => {}
            Err(Error::Damaged { .. }) => missing.extend(reader.skip_damaged().unwrap()),
            Err(other) => panic!("{}: {other}", log.name()),
        }
    }
    missing
}

fn numbers(found: &ScrubFinding) -> BTreeSet<u64> {
    found.records.clone().unwrap_or(0..0).collect()
}

/// Files whose every byte counts, with their lengths.
fn files(disk: &SimDisk, folder: &str, suffix: &str) -> Vec<(String, u64)> {
    let files = disk.files().into_iter();
    files.filter(|(path, _)| path.starts_with(folder) && path.ends_with(suffix)).collect()
}

/// One bit is flipped in each of many places, one after the other. Each is told within one period, of the log and the records that a
/// reader finds missing; all others can be read; and what is right again is told no more.
#[test]
fn rot_anywhere_is_told_of_its_log_within_a_period() {
    let disk = SimDisk::new(Tape::seeded(1));
    // In the midst of a period: where a store that is opened leaves out what its last life has read.
    let clock = clock_at(0.4);
    let (mut store, _used) = store_with_everything(&disk, &clock);
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = told.clone();
    store.store().on_scrub_finding(move |finding| heard.lock().unwrap().push(finding.clone()));
    let (mut logs, mut headers, mut harmless) = (BTreeSet::new(), 0, 0);
    let mut places = Vec::new();
    for (path, len) in files(&disk, "segments", ".seg") {
        places.push((path.clone(), 20));
        places.extend((100..len).step_by(7001).map(|at| (path.clone(), at)));
    }
    for (path, at) in places {
        let what = format!("{path} at {at}");
        disk.flip_bit(&path, at * 8 + at % 8).unwrap();
        let expected = lost(&disk, &clock);
        pass(&mut store, &clock, 100);
        let found = store.store().scrub_findings();
        match expected.first_key_value() {
            Some((name, missing)) => {
                assert_eq!((expected.len(), found.len()), (1, 1), "{what}: {expected:?}, {found:?}");
                assert_eq!(found[0].log.as_ref().map(|(_, name)| name), Some(name), "{what}");
                assert_eq!(&numbers(&found[0]), missing, "{what}");
                logs.insert(name.clone());
                // And the store that goes on serves what lies around.
                assert_eq!(&self::missing(&store.store().log(name).unwrap()), missing, "{what}");
            }
            None if at < 64 => {
                assert!(found.len() == 1 && found[0].records.is_none() && found[0].position == 0, "{what}: {found:?}");
                headers += 1;
            }
            // Of a piece that its log left, or behind a segment's end; or padding, which costs nobody a record.
            None => {
                assert!(found.iter().all(|finding| finding.records.is_none()), "{what}: {found:?}");
                harmless += 1;
            }
        }
        for finding in &found {
            assert!(finding.path == path && finding.position <= at, "{what}: {finding}");
        }
        assert_eq!(std::mem::take(&mut *told.lock().unwrap()).len(), found.len(), "{what}");
        disk.flip_bit(&path, at * 8 + at % 8).unwrap();
        pass(&mut store, &clock, 200);
        assert_eq!(store.store().scrub_findings(), [], "{what}");
    }
    for kind in ["own-0", "own-1", "bulk-0", "bulk-1", "buffered-0", "buffered-1"] {
        assert!(logs.contains(kind), "{kind}: {logs:?}");
    }
    assert!(logs.iter().filter(|name| name.starts_with("small")).count() >= 4, "{logs:?}");
    println!("figures: {headers} headers, {harmless} harmless, {} logs", logs.len());
    assert!(headers >= 10 && harmless <= 40, "{headers} headers, {harmless} harmless");
    assert!(!logs.contains("small-10") && !logs.contains("own-3"));
    assert_eq!(store.store().health(), Health::Ok);
}

/// The pages of the manifest, its root and its header, likewise.
#[test]
fn rot_of_the_manifest_is_told_within_a_period() {
    let disk = SimDisk::new(Tape::seeded(1));
    let clock = clock_at(0.0);
    let (mut store, _used) = store_with_everything(&disk, &clock);
    let (path, len) = files(&disk, "manifest", ".man").pop().unwrap();
    for at in (0..len).step_by(301) {
        disk.flip_bit(&path, at * 8 + at % 8).unwrap();
        pass(&mut store, &clock, 100);
        let found = store.store().scrub_findings();
        assert!(found.len() == 1 && found[0].path == path && found[0].position <= at, "{at}: {found:?}");
        assert_eq!(found[0].log, None);
        disk.flip_bit(&path, at * 8 + at % 8).unwrap();
        pass(&mut store, &clock, 200);
        assert_eq!(store.store().scrub_findings(), [], "{at}");
    }
}

/// Without `STORE` nothing is opened; and the manifest before the one in force is all there is where that can't be read.
#[test]
fn rot_of_what_a_store_is_opened_by_is_told_within_a_period() {
    let disk = SimDisk::new(Tape::seeded(1));
    let clock = clock_at(0.0);
    let (mut store, _used) = store_with_everything(&disk, &clock);
    let (before, len) = files(&disk, "manifest", ".man").into_iter().rev().nth(1).unwrap();
    let places = [("STORE", 0), ("STORE", 30), ("STORE", 63), (&*before, 9), (&*before, len - 3)];
    for (path, at) in places {
        disk.flip_bit(path, at * 8 + 1).unwrap();
        pass(&mut store, &clock, 100);
        let found = store.store().scrub_findings();
        assert!(found.len() == 1 && found[0].path == path && found[0].position <= at, "{path}, {at}: {found:?}");
        assert_eq!((&found[0].log, &found[0].records), (&None, &None));
        disk.flip_bit(path, at * 8 + 1).unwrap();
        pass(&mut store, &clock, 200);
        assert_eq!(store.store().scrub_findings(), [], "{path}, {at}");
    }
    disk.erase("STORE").unwrap();
    pass(&mut store, &clock, 100);
    let found = store.store().scrub_findings();
    assert!(found.len() == 1 && found[0].path == "STORE" && found[0].what == Damage::Missing, "{found:?}");
}

/// A file that is gone, one that is cut short, one that the device can't read.
#[test]
fn what_is_gone_cut_or_unreadable_is_told() {
    type Harm = fn(&SimDisk, &str);
    let harms: [(&str, Damage, Harm); 3] = [
        ("gone", Damage::Missing, |disk, path| disk.erase(path).unwrap()),
        ("cut", Damage::Short, |disk, path| disk.truncate(path, 20_000).unwrap()),
        ("unreadable", Damage::Unreadable, |disk, path| disk.set_read_error(path, 8192..8704).unwrap()),
    ];
    for (how, what, harm) in harms {
        let disk = SimDisk::new(Tape::seeded(1));
        let clock = clock_at(0.0);
        let (mut store, _used) = store_with_everything(&disk, &clock);
        // The first segment of the first log, which nobody has open.
        let (path, _) = files(&disk, "segments", ".seg").into_iter().find(|(_, len)| *len > 30_000).unwrap();
        harm(&disk, &path);
        pass(&mut store, &clock, 100);
        let found = store.store().scrub_findings();
        assert!(!found.is_empty() && found.iter().all(|finding| finding.path == path), "{how}: {found:?}");
        assert!(found.iter().any(|finding| finding.what == what && finding.records.is_some()), "{how}: {found:?}");
        assert_eq!(store.store().health(), Health::Ok, "{how}");
    }
}

/// Without it nothing is told, and nothing is read.
#[test]
fn a_store_without_a_scrub_finds_nothing() {
    let disk = SimDisk::new(Tape::seeded(1));
    let clock = clock_at(0.0);
    let (store, used) = store_with_everything(&disk, &clock);
    drop(used);
    store.close().unwrap();
    let mut store = ManualStore::open(env_of(&disk, &clock), options().scrub_period(None)).unwrap();
    for (path, _) in files(&disk, "segments", ".seg") {
        disk.flip_bit(&path, 8000).unwrap();
    }
    pass(&mut store, &clock, 300);
    let stats = store.store().stats();
    assert_eq!((stats.scrub_bytes, stats.scrub_passes, stats.scrub_damage, stats.scrub_pass_ended_ms), (0, 0, 0, 0));
    assert_eq!(store.store().scrub_findings(), []);
}

/// Whatever happens between two steps to what the scrub is about to read, is reading or has listed: it takes nothing for damage.
#[test]
fn nothing_is_told_of_a_store_that_is_well() {
    let (mut passes, mut bytes) = (0, 0);
    for seed in 0..60 {
        let tape = Tape::seeded(seed);
        let disk = SimDisk::new(tape.clone());
        let clock = clock_at(tape.choose("part", 100) as f64 / 100.0);
        let mut store = open(&disk, &clock);
        let log_options = |n: u64| match n % 4 {
            0 => LogOptions::new().durability(Durability::Buffered).segment_bytes_max(16 << 10),
            1 => LogOptions::new().segment_bytes_max(64 << 10).retention_bytes(Some(40 << 10)),
            _ => LogOptions::new().segment_bytes_max(16 << 10),
        };
        for at in 0..300 {
            let n = tape.choose("log", 24);
            let name = format!("log-{n}");
            let what = tape.choose("what", 40);
            match (what, store.store().log(&name)) {
                (0..=2, Ok(_)) => drop(store.delete_log(&name).unwrap()),
                (3..=5, Ok(log)) => {
                    drop(store.trim(&log, log.end() - (log.end() - log.horizon().unwrap()) / 3).unwrap())
                }
                (6..=8, Ok(log)) => append(&mut store, &log, 40 << 10),
                (9..=13, Ok(log)) => (0..12).for_each(|_| append(&mut store, &log, 1500)),
                (14..=20, Ok(log)) => append(&mut store, &log, 200),
                (0..=20, Err(_)) => drop(create(&mut store, &name, log_options(n))),
                (21..=27, _) => store.checkpoint().unwrap(),
                _ => {
                    clock.advance(PERIOD / (1 + tape.choose("time", 60) as u32));
                    store.upkeep_step();
                }
            }
            match tape.choose("end", 120) {
                0 => {
                    store.close().unwrap();
                    store = open(&disk, &clock);
                }
                1 => {
                    drop(store);
                    store = open(&disk, &clock);
                }
                _ => store.settle(),
            }
            clock.advance(PERIOD / 200);
            store.upkeep_step();
            let stats = store.store().stats();
            assert_eq!(store.store().scrub_findings(), [], "seed {seed}, step {at}: {what} to {name}");
            assert_eq!(stats.scrub_damage, 0, "seed {seed}, step {at}: {what} to {name}");
        }
        (passes, bytes) = (passes + store.store().stats().scrub_passes, bytes + store.store().stats().scrub_bytes);
    }
    assert!(passes > 20 && bytes > 1 << 20, "{passes} passes over {bytes} bytes");
}

/// Counts what is read of it.
struct Counted(Arc<dyn DiskFile>, Arc<AtomicU64>);

impl DiskFile for Counted {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.1.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(data, offset)
    }

    fn allocate(&self, end: u64) -> io::Result<()> {
        self.0.allocate(end)
    }

    fn shrink(&self, len: u64) -> io::Result<()> {
        self.0.shrink(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn map(&self, len: u64) -> io::Result<Arc<dyn Mapping>> {
        self.0.map(len)
    }

    fn as_any(&self) -> &dyn Any {
        self.0.as_any()
    }
}

const LARGE_RECORDS: u64 = 400;
const LARGE_BYTES: u64 = LARGE_RECORDS * (60 << 10);

/// What a step goes over, what is read ahead for the batch that it does not come to, and a header.
const STEP_BYTES_MAX: u64 = (1 << 20) + (64 << 10);

/// A store of 24 MB on a disk that counts, opened at some part of a period.
fn large_store(part: f64) -> (ManualStore, SimDisk, Arc<ManualClock>, Arc<AtomicU64>) {
    let disk = SimDisk::new(Tape::seeded(1));
    let clock = clock_at(0.0);
    let roomy = options().journal_file_bytes(16 << 20).bulk_bytes(1 << 20);
    let mut store = ManualStore::open(env_of(&disk, &clock), roomy.clone()).unwrap();
    for n in 0..4 {
        let log = create(&mut store, &format!("log-{n}"), LogOptions::new().segment_bytes_max(2 << 20));
        (0..LARGE_RECORDS / 4).for_each(|_| append(&mut store, &log, 60 << 10));
    }
    store.close().unwrap();
    let read = Arc::new(AtomicU64::new(0));
    let counted = read.clone();
    let over = Over::new(disk.clone()).on_file(move |path, file| match path.starts_with("segments") {
        true => Arc::new(Counted(file, counted.clone())),
        false => file,
    });
    let clock = clock_at(part);
    let env = Env { disk: Arc::new(over), clock: clock.clone(), random: Arc::new(SeededRandom::new(7)) };
    let store = ManualStore::open(env, roomy).unwrap();
    read.store(0, Ordering::Relaxed);
    (store, disk, clock, read)
}

/// A pass takes seven eighths of a period, evenly, and no step more than a megabyte.
#[test]
fn a_pass_takes_its_time_and_its_steps_are_small() {
    let (mut store, _disk, clock, read) = large_store(0.0);
    store.upkeep_step();
    let mut before = 0;
    for tick in 1..=800 {
        clock.advance(PERIOD / 800);
        store.upkeep_step();
        let now = read.load(Ordering::Relaxed);
        assert!(now - before <= STEP_BYTES_MAX, "{} bytes in a step", now - before);
        before = now;
        let stats = store.store().stats();
        let expected = (LARGE_BYTES * tick / 700).min(LARGE_BYTES);
        let slack = 1 << 20;
        let range: Range<u64> = expected.saturating_sub(slack)..expected + slack;
        assert!(range.contains(&stats.scrub_bytes), "{} bytes after {tick} of 800, not {range:?}", stats.scrub_bytes);
        // Of what came last some steps are left.
        if !(700..710).contains(&tick) {
            assert_eq!(stats.scrub_passes, u64::from(tick >= 710), "after {tick} of 800");
        }
    }
    assert!(before < 2 * LARGE_BYTES, "{before} bytes were read for {LARGE_BYTES}");
    let ended_ms = store.store().stats().scrub_pass_ended_ms;
    assert!((FRONT_MS + PERIOD_MS * 174 / 200..=FRONT_MS + PERIOD_MS * 177 / 200).contains(&ended_ms));
}

/// What came too late to be read in time is caught up with, all of it within the eighth that is left: in steps as small, and not all at
/// once.
#[test]
fn a_pass_that_is_late_is_caught_up_with_in_small_steps() {
    let (mut store, _disk, clock, read) = large_store(0.0);
    store.upkeep_step();
    clock.advance(PERIOD * 7 / 8);
    let (mut before, mut ticks) = (0, 0);
    while store.store().stats().scrub_passes == 0 {
        clock.advance(PERIOD / 3200);
        store.upkeep_step();
        // Others that come at the same time have nothing to read.
        let now = read.load(Ordering::Relaxed);
        store.upkeep_step();
        assert_eq!(read.load(Ordering::Relaxed), now);
        assert!(now - before <= STEP_BYTES_MAX, "{} bytes in a step", now - before);
        (before, ticks) = (now, ticks + 1);
        assert!(ticks < 410, "it took more than an eighth of a period");
    }
    assert!(ticks > 200, "{ticks} of the 3200 parts of a period");
}

/// A store that is opened in the midst of a period reads what is due from then on, and the rest with the next: all of it within a
/// period, and over many short lives all of it, too.
#[test]
fn a_store_that_is_opened_within_a_period_goes_on_from_about_there() {
    let (mut store, disk, clock, _) = large_store(0.5);
    let rot: Vec<String> = files(&disk, "segments", ".seg").into_iter().map(|(path, _)| path).collect();
    rot.iter().for_each(|path| disk.flip_bit(path, 8 * 5000).unwrap());
    pass(&mut store, &clock, 49);
    let part = store.store().scrub_findings().len();
    let bytes = store.store().stats().scrub_bytes;
    assert!((LARGE_BYTES / 3..LARGE_BYTES / 2 + (3 << 20)).contains(&bytes), "{bytes}");
    assert!((rot.len() / 4..rot.len() * 2 / 3).contains(&part), "{part} of {}", rot.len());
    assert_eq!(store.store().stats().scrub_passes, 0, "it began in the midst");
    pass(&mut store, &clock, 51);
    assert_eq!(store.store().scrub_findings().len(), rot.len());
    // Lives of a twentieth of a period each.
    let (mut found, mut bytes) = (BTreeSet::new(), 0);
    for n in 0..20 {
        store.close().unwrap();
        let life = clock_at(f64::from(n) / 20.0);
        store = ManualStore::open(env_of(&disk, &life), options().journal_file_bytes(16 << 20)).unwrap();
        store.upkeep_step();
        for _ in 0..5 {
            pass(&mut store, &life, 1);
        }
        found.extend(store.store().scrub_findings().into_iter().map(|finding| finding.path));
        bytes += store.store().stats().scrub_bytes;
    }
    // What each life begins with is read by the one before as well, or by neither: a segment is the least.
    assert!(found.len() * 5 >= rot.len() * 4, "{} of {}, {bytes} bytes", found.len(), rot.len());
}

/// A header in ruins whose end is far away: the search for it is as small in its steps, and finds it.
#[test]
fn the_end_of_long_damage_is_looked_for_in_small_steps() {
    let (mut store, disk, clock, read) = large_store(0.0);
    let (path, len) = files(&disk, "segments", ".seg").into_iter().next().unwrap();
    assert!(len > 1_900_000);
    (10..len / 512 - 300).for_each(|block| disk.zero_block(&path, block).unwrap());
    let mut before = 0;
    for _ in 0..800 {
        clock.advance(PERIOD / 800);
        store.upkeep_step();
        let now = read.load(Ordering::Relaxed);
        // Once more where something is found.
        assert!(now - before <= 2 * STEP_BYTES_MAX, "{} bytes in a step", now - before);
        before = now;
    }
    let found = store.store().scrub_findings();
    assert!(!found.is_empty() && found.iter().all(|finding| finding.path == path), "{found:?}");
    let told: BTreeSet<u64> = found.iter().flat_map(numbers).collect();
    let (_, name) = found[0].log.clone().unwrap();
    assert_eq!(missing(&store.store().log(&name).unwrap()), told);
    assert!(told.len() > 20, "{told:?}");
}

/// A full store, or one whose journal waits, has other things to do.
#[test]
fn a_full_store_is_not_scrubbed() {
    let disk = SimDisk::new(Tape::seeded(1));
    let clock = clock_at(0.0);
    let (store, used) = store_with_everything(&disk, &clock);
    drop(used);
    store.close().unwrap();
    let mut store = ManualStore::open(env_of(&disk, &clock), options().quota_bytes(1)).unwrap();
    pass(&mut store, &clock, 100);
    assert!(matches!(store.store().health(), Health::Full { .. }));
    assert_eq!(store.store().stats().scrub_bytes, 0);
}

/// On a real disk, past its page cache, while readers have the same files mapped.
#[test]
fn a_store_on_a_real_disk_is_scrubbed_while_it_is_mapped() {
    for portable in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let disk = if portable { RealDisk::portable(dir.path()) } else { RealDisk::open(dir.path()) };
        let clock = clock_at(0.0);
        let env = Env { disk: Arc::new(disk.unwrap()), clock: clock.clone(), random: Arc::new(SeededRandom::new(7)) };
        let mut store = ManualStore::open(env, options().read_mode(ReadMode::Map)).unwrap();
        let own = LogOptions::new().segment_bytes_max(64 << 10);
        let buffered = own.clone().durability(Durability::Buffered);
        let logs = [create(&mut store, "own", own), create(&mut store, "buffered", buffered)];
        let _held: Vec<_> = logs
            .iter()
            .map(|log| {
                (0..300).for_each(|_| append(&mut store, log, 900));
                store.checkpoint().unwrap();
                log.read(StartAt::TrimHorizon).unwrap().next().unwrap().unwrap()
            })
            .collect();
        for _ in 0..100 {
            // The end of the buffered log is stored to meanwhile.
            logs.iter().for_each(|log| append(&mut store, log, 900));
            pass(&mut store, &clock, 1);
        }
        let stats = store.store().stats();
        assert_eq!((stats.scrub_passes, store.store().scrub_findings()), (1, vec![]));
        assert!(stats.scrub_bytes > 2 * 300 * 900, "{}", stats.scrub_bytes);
        let path = held_path(&store, &clock, dir.path());
        let found = store.store().scrub_findings();
        assert!(found.len() == 1 && found[0].path == path && found[0].records.is_some(), "{found:?}");
        assert_eq!(missing(&logs[0]).len() + missing(&logs[1]).len(), numbers(&found[0]).len());
    }
}

/// Flips a bit in the second record of some segment, and lets a period pass.
fn held_path(store: &ManualStore, clock: &ManualClock, dir: &std::path::Path) -> String {
    use std::os::unix::fs::FileExt;
    let list =
        |dir: &std::path::Path| std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let files = list(&dir.join("segments")).into_iter().flat_map(|folder| list(&folder));
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|suffix| suffix == "seg")).collect();
    files.sort();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&files[0]).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 1500).unwrap();
    file.write_all_at(&[byte[0] ^ 1], 1500).unwrap();
    pass(&mut store.clone(), clock, 100);
    files[0].strip_prefix(dir).unwrap().display().to_string()
}
