//! `check`, `repair`, `salvage` and `dump`: nothing is wrong with a healthy store, and whatever is done to one is found.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "cli")]
#[path = "check/program.rs"]
mod program;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use braidlog::check::{Action, CheckOptions, CheckReport, Finding, Severity, check, check_in, repair, salvage};
use braidlog::env::sim::{Crash, ManualClock, SimDisk, Tape};
use braidlog::manual::ManualStore;
use braidlog::{DiskChoice, Durability, Error, LogOptions, ReadMode, RecordParts, StartAt, Store, StoreOptions};
use support::runner::{Run, draw};
use support::{budget, env_of, small};

const ALL: [&str; 6] = ["rolled", "bulk", "buffered", "indexed", "trimmed", "keyed"];

fn options() -> StoreOptions {
    StoreOptions::new().journal_file_bytes(1 << 20).bulk_bytes(64 << 10).disk(DiskChoice::Portable)
}

/// A store with some of everything; `rounds` of it go in behind the last checkpoint.
fn fill(store: &Store, rounds: usize) {
    let options = |segment| LogOptions::new().segment_bytes_max(segment);
    let rolled = store.open_or_create_log("rolled", options(16 << 10)).unwrap();
    let bulk = store.open_or_create_log("bulk", options(1 << 20)).unwrap();
    let buffered = options(16 << 10).durability(Durability::Buffered);
    let buffered = store.open_or_create_log("buffered", buffered).unwrap();
    let trimmed = store.open_or_create_log("trimmed", options(16 << 10)).unwrap();
    let keyed = store.open_or_create_log("keyed", options(1 << 20)).unwrap();
    for round in 0..rounds {
        let body = vec![b'a' + round as u8; 3000];
        rolled.append_batch(vec![&body[..]; 12]).unwrap();
        bulk.append("small before").unwrap();
        bulk.append_batch(vec![&body[..]; 40]).unwrap();
        bulk.append("small behind").unwrap();
        buffered.append_batch(vec![&body[..500]; 20]).unwrap();
        trimmed.append_batch(vec![&body[..]; 8]).unwrap();
        let record = RecordParts { key: Some(b"user-42"), attributes: Some(b"\x01\xff"), data: b"page=/home" };
        keyed.append(record).unwrap();
        let mut both = braidlog::Transaction::new();
        both.append(&keyed, "one of two").unwrap().append(&rolled, "two of two").unwrap();
        store.commit(both).unwrap().wait().unwrap();
    }
    trimmed.trim(trimmed.end() - 3).unwrap();
    let _ = store.create_log("gone", LogOptions::new()).map(|gone| gone.append("x"));
    store.delete_log("gone").unwrap();
}

/// A closed store with some of everything, an index file included.
fn closed(dir: &Path) {
    let store = Store::open_with(dir, options()).unwrap();
    fill(&store, 3);
    let indexed = store.create_log("indexed", LogOptions::new().segment_bytes_max(1500 << 10)).unwrap();
    for _ in 0..16 {
        indexed.append_batch(vec![&[7u8; 2000][..]; 100]).unwrap();
    }
    store.close().unwrap();
}

/// What a kill leaves: a store that was dropped, not closed.
fn killed(dir: &Path) {
    closed(dir);
    let store = Store::open_with(dir, options()).unwrap();
    fill(&store, 2);
    drop(store);
}

fn look(dir: &Path) -> CheckReport {
    check(dir, &CheckOptions::new(), &mut |_| {}).unwrap()
}

/// A segment that was given up and whose file stayed: it takes room, and that is all.
fn is_leftover(finding: &Finding) -> bool {
    finding.severity == Severity::Warning && finding.what.starts_with("nothing names it")
}

fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path))
        } else {
            drop(found.insert(path.clone(), fs::read(&path).unwrap()))
        }
    }
    found
}

fn with_extension(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let is = |path: &PathBuf| path.extension().is_some_and(|e| e == extension);
    files(dir).into_keys().filter(is).collect()
}

/// The path as findings have it.
fn relative(dir: &Path, path: &Path) -> String {
    path.strip_prefix(dir).unwrap().display().to_string()
}

/// Every record of every log, by log and number.
fn contents(dir: &Path) -> BTreeMap<String, BTreeMap<u64, Vec<u8>>> {
    let store = Store::open_read_only(dir).unwrap();
    let read = |name: &String| {
        let reader = store.log(name).unwrap().read(StartAt::TrimHorizon).unwrap();
        let records = reader.map_while(Result::ok).map(|r| (r.sequence_number, r.data.to_vec())).collect();
        (name.clone(), records)
    };
    store.log_names().unwrap().iter().map(read).collect()
}

#[test]
fn a_closed_store_has_nothing_to_find_and_checking_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path());
    let before = files(dir.path());
    let mut last = None;
    let report = check(dir.path(), &CheckOptions::new(), &mut |p| last = Some(p.clone())).unwrap();
    assert_eq!(files(dir.path()), before);
    assert_eq!(report.findings, [], "nothing at all");
    assert_eq!((report.logs, report.frames), (6, 0));
    let records: u64 = contents(dir.path()).values().map(|log| log.len() as u64).sum();
    assert!(report.records >= records, "{report:?}");
    let bytes: u64 = before.values().map(|b| b.len() as u64).sum();
    assert!(report.bytes >= bytes - 100 && report.segments > 8, "{report:?}");
    assert_eq!(last.map(|p| p.bytes_done == p.bytes_total), Some(true));
}

#[test]
fn a_killed_store_has_no_damage_before_and_after_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let killed_dir = dir.path().join("killed");
    killed(&killed_dir);
    let report = look(&killed_dir);
    let odd = report.findings.iter().filter(|f| f.severity > Severity::Note && !is_leftover(f));
    assert_eq!(odd.count(), 0, "{:#?}", report.findings);
    let reader = Store::open_read_only(&killed_dir).unwrap();
    assert!(report.frames > 0);
    assert_eq!(report.frames, reader.open_report().frames_replayed);
    drop(reader);
    for end in ["drop", "close", "close"] {
        let store = Store::open_with(&killed_dir, options()).unwrap();
        store.log("rolled").unwrap().append(end).unwrap();
        if end == "close" {
            store.close().unwrap()
        } else {
            drop(store)
        }
        let report = look(&killed_dir);
        assert!(report.is_sound(), "after {end}: {:#?}", report.findings);
    }
}

#[test]
fn a_backup_and_ten_thousand_logs_are_healthy() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(dir.path().join("store"), options()).unwrap();
    fill(&store, 2);
    let make = |n| store.create_log(&format!("log-{n}"), LogOptions::new()).unwrap();
    let made: Vec<_> = (0..10_000).map(make).collect();
    made.iter().step_by(100).for_each(|log| assert!(log.append("x").is_ok()));
    drop(made);
    store.backup(dir.path().join("copy")).unwrap();
    store.close().unwrap();
    let report = look(&dir.path().join("copy"));
    // What the store wrote by itself while it was copied may be in the copy's journal.
    let is_note = |finding: &Finding| finding.severity == Severity::Note;
    assert!(report.findings.iter().all(is_note) && report.logs == 10_005, "{:#?}", report.findings);
    // Segments that were given up during the backup may be left over.
    let report = look(&dir.path().join("store"));
    assert!(report.is_sound() && report.findings.iter().all(is_leftover), "{:#?}", report.findings);
}

#[test]
fn histories_with_crashes_leave_no_damage() {
    let until = budget(0.125);
    let mut looked = 0;
    for seed in 0.. {
        let tape = Tape::seeded(seed);
        let mut run = Run::create(SimDisk::new(tape.clone()), small(ReadMode::Copy)).unwrap();
        run.create_logs().unwrap();
        for step in 0..40 {
            run.apply(draw(&tape)).unwrap_or_else(|e| panic!("seed {seed} step {step}: {e}"));
            for kind in [Crash::Power, Crash::Kill].into_iter().filter(|_| step % 4 == 3) {
                let left = run.disk.crash(kind, &tape);
                let report = check_in(&env_of(&left, &run.clock), &CheckOptions::new(), &mut |_| {}).unwrap();
                if !report.is_sound() {
                    let mut again = run.on(left);
                    let recovered = again.recover(kind).and_then(|()| again.check());
                    panic!("seed {seed} step {step} {kind:?}, {recovered:?}: {:#?}", report.findings);
                }
                looked += 1;
            }
        }
        if std::time::Instant::now() > until {
            break;
        }
    }
    assert!(looked > 100, "{looked}");
}

#[test]
fn an_open_store_and_a_folder_without_one_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(dir.path(), options()).unwrap();
    let refused = check(dir.path(), &CheckOptions::new(), &mut |_| {});
    assert!(matches!(refused, Err(Error::Locked { .. })), "{refused:?}");
    store.close().unwrap();
    let nothing = dir.path().join("nothing");
    assert!(matches!(check(&nothing, &CheckOptions::new(), &mut |_| {}), Err(Error::NotAStore { .. })));
    assert!(!nothing.exists());
}

/// Flips a byte, looks, and flips it back.
fn with_flip(dir: &Path, path: &Path, at: usize, look_at: impl FnOnce(CheckReport)) {
    let good = fs::read(path).unwrap();
    let mut bad = good.clone();
    bad[at] ^= 1 << (at % 8);
    fs::write(path, &bad).unwrap();
    look_at(look(dir));
    fs::write(path, &good).unwrap();
}

#[test]
fn a_flip_in_any_file_is_found_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path());
    let newest = with_extension(dir.path(), "man").pop().unwrap();
    let mut paths = vec![dir.path().join("STORE"), newest];
    paths.extend(with_extension(dir.path(), "idx"));
    paths.extend(with_extension(dir.path(), "seg").into_iter().step_by(5));
    for path in paths {
        // Behind the end there are only zeros, which mean nothing.
        let bytes = fs::read(&path).unwrap();
        let len = bytes.iter().rposition(|b| *b != 0).unwrap() + 1;
        let name = relative(dir.path(), &path);
        // Small files and all headers byte by byte, the rest here and there.
        let step = len / 60 + 1;
        for at in (0..len.min(130)).chain((0..len).step_by(step)) {
            with_flip(dir.path(), &path, at, |report| {
                let found = report.findings.iter().find(|f| f.path == name);
                let found = found.unwrap_or_else(|| panic!("{name} at {at}: {:#?}", report.findings));
                assert!(found.at.is_some_and(|place| place <= at as u64), "{name} at {at}: {found}");
                let cache = name.ends_with(".idx") || found.what.contains("padding");
                assert_eq!(found.severity, if cache { Severity::Warning } else { Severity::Damage }, "{at}: {found}");
                if name.ends_with(".seg") && at >= 64 && !cache {
                    // The front of padding is read as a header: a flip there stops reads, but no record is gone.
                    let padding = bytes[at & !7..at | 7].iter().all(|b| *b == 0);
                    assert!(found.log.is_some() && (padding || found.records.is_some()), "{at}: {found}");
                }
            });
        }
    }
    assert_eq!(look(dir.path()).findings, []);
}

#[test]
fn a_flip_in_a_live_frame_is_found_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let killed_dir = dir.path().join("killed");
    killed(&killed_dir);
    let before = look(&killed_dir);
    let mut damaged = 0;
    for path in with_extension(&killed_dir, "jnl") {
        let bytes = fs::read(&path).unwrap();
        let name = relative(&killed_dir, &path);
        let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        for at in (0..used).step_by(used / 150 + 1) {
            with_flip(&killed_dir, &path, at, |report| {
                // Frames of the closed life before it mean nothing any more.
                let new = report.findings.iter().filter(|f| !before.findings.contains(f));
                let here: Vec<_> = new.filter(|f| f.path == name || f.path == "journal").collect();
                damaged += u64::from(!report.is_sound());
                assert!(report.is_sound() || !here.is_empty(), "{name} at {at}: {:#?}", report.findings);
                assert!(here.iter().all(|f| f.at.is_none_or(|place| place <= at as u64 + 4096)), "{at}: {here:#?}");
            });
        }
    }
    assert!(damaged > 50, "{damaged}");
}

#[test]
fn missing_cut_and_exchanged_segments_are_found() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path());
    let segments = with_extension(dir.path(), "seg");
    let [.., second, first] = &segments[..] else { panic!("{segments:?}") };
    let (a, b) = (fs::read(first).unwrap(), fs::read(second).unwrap());
    let damage = |what: &str| {
        let report = look(dir.path());
        let name = relative(dir.path(), first);
        let found: Vec<_> = report.of(Severity::Damage).filter(|f| f.path == name).collect();
        assert!(found.iter().any(|f| f.records.is_some() && f.log.is_some()), "{what}: {:#?}", report.findings);
    };
    fs::remove_file(first).unwrap();
    damage("missing");
    for len in [0, 10, 64, 100, a.len() / 2, a.len() - 9] {
        fs::write(first, &a[..len]).unwrap();
        damage(&format!("cut to {len}"));
    }
    fs::write(first, &b).unwrap();
    damage("exchanged");
    fs::write(first, &a).unwrap();
    assert_eq!(look(dir.path()).findings, []);
}

#[test]
fn repair_removes_a_damaged_index_moves_strangers_aside_and_does_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    closed(dir.path());
    let before = contents(dir.path());
    let index = with_extension(dir.path(), "idx").pop().unwrap();
    let mut bytes = fs::read(&index).unwrap();
    bytes[70] ^= 4;
    fs::write(&index, bytes).unwrap();
    let segment = with_extension(dir.path(), "seg").pop().unwrap();
    let unnamed = dir.path().join("segments/ee/00000000000000ee.seg");
    fs::create_dir_all(unnamed.parent().unwrap()).unwrap();
    fs::copy(&segment, &unnamed).unwrap();
    fs::write(dir.path().join("journal/notes.txt"), "mine").unwrap();
    fs::write(dir.path().join("manifest/ff.man"), "mine").unwrap();
    let report = look(dir.path());
    assert_eq!(report.actions().len(), 4, "{:#?}", report.findings);
    let held = files(dir.path());
    let listed = repair(dir.path(), &report, true, &mut |_, _| {}).unwrap();
    assert!(listed.len() == 4 && files(dir.path()) == held, "a dry run changes nothing");
    let mut said = vec![];
    let done = repair(dir.path(), &report, false, &mut |action, done| {
        if done.is_none() {
            assert!(dir.path().join(action.path()).exists(), "said before it is done");
            said.push(action.clone());
        }
    });
    let done = done.unwrap();
    assert!(done.iter().all(|d| d.failed.is_none()), "{done:?}");
    assert_eq!(said, report.actions());
    assert!(said.contains(&Action::RemoveIndex { path: relative(dir.path(), &index) }) && !index.exists());
    let aside = files(&dir.path().join("aside"));
    assert_eq!(aside.len(), 3, "{:?}", aside.keys());
    let after = look(dir.path());
    assert!(after.findings.iter().all(|f| f.path == "aside"), "{:#?}", after.findings);
    assert_eq!(contents(dir.path()), before);
    Store::open_with(dir.path(), options()).unwrap().close().unwrap();
    let stale = repair(dir.path(), &report, false, &mut |_, _| {});
    assert!(matches!(stale, Err(Error::Conflict { .. })), "opened since: {stale:?}");
}

/// Whether a salvage has every record of the store but those of `lost`, and goes on above it.
fn salvaged(dir: &Path, dest: &Path, all: &BTreeMap<String, BTreeMap<u64, Vec<u8>>>, lost: impl Fn(&str, u64) -> bool) {
    let report = salvage(dir, dest, &mut |_| {}).unwrap();
    let copied = contents(dest);
    for (name, records) in all {
        for (number, data) in records {
            let here = copied.get(name).and_then(|log| log.get(number));
            assert!(here == Some(data) || here.is_none() && lost(name, *number), "{name} {number}: {report:#?}");
        }
    }
    assert!(look(dest).is_sound(), "{:#?}", look(dest).findings);
    let store = Store::open_with(dest, options()).unwrap();
    for (name, records) in all.iter().filter(|(name, _)| copied.contains_key(*name)) {
        let put = store.log(name).unwrap().append("after").unwrap();
        assert!(records.keys().last().is_none_or(|last| put.first > *last), "{name}: {} is used", put.first);
    }
    store.close().unwrap();
    assert!(look(dest).is_sound());
}

#[test]
fn salvage_copies_everything_that_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("killed");
    killed(&store);
    let all = contents(&store);
    assert!(ALL.iter().all(|name| !all[*name].is_empty()));
    salvaged(&store, &dir.path().join("whole"), &all, |_, _| false);
    // A batch header in the middle of a segment.
    let segment =
        with_extension(&store, "seg").into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let good = fs::read(&segment).unwrap();
    let mut bad = good.clone();
    let at = (good.len() / 2..).find(|at| at % 8 == 0 && good[at + 40..at + 42] == *b"Bb").unwrap();
    bad[at + 9] ^= 1;
    fs::write(&segment, bad).unwrap();
    let report = look(&store);
    let ranges: Vec<_> =
        report.of(Severity::Damage).map(|f| (f.log.clone().unwrap().1, f.records.clone().unwrap())).collect();
    assert_eq!(ranges.len(), 1, "{:#?}", report.findings);
    let lost = |name: &str, number: u64| ranges[0].0 == name && ranges[0].1.contains(&number);
    salvaged(&store, &dir.path().join("holed"), &all, lost);
    fs::write(&segment, good).unwrap();
    // Without identity; without any manifest.
    fs::remove_file(store.join("STORE")).unwrap();
    salvaged(&store, &dir.path().join("nameless"), &all, |_, _| false);
    for manifest in with_extension(&store, "man") {
        let mut bytes = fs::read(&manifest).unwrap();
        let root = u64::from_le_bytes(bytes[32..40].try_into().unwrap()) as usize;
        bytes[root] ^= 1;
        fs::write(&manifest, bytes).unwrap();
    }
    let report = salvage(&store, dir.path().join("scanned"), &mut |_| {}).unwrap();
    let known: u64 = all.values().map(|log| log.len() as u64).sum();
    assert!(report.records >= known, "{report:#?}");
    assert!(look(&dir.path().join("scanned")).is_sound());
}

#[test]
fn salvage_gets_what_lies_behind_damage_in_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("killed");
    killed(&store);
    let all = contents(&store);
    // The magic of a frame: which logs it was about can't be told any more. Then a payload: that can.
    let frames = with_extension(&store, "jnl").into_iter().flat_map(|path| {
        let bytes = fs::read(&path).unwrap();
        let starts = (0..bytes.len()).step_by(4096).filter(move |at| bytes[at + 4..].starts_with(b"BLJF"));
        starts.map(move |at| (path.clone(), at)).collect::<Vec<_>>()
    });
    let (journal, frame) = frames.into_iter().find(|(path, at)| is_needed(&store, path, at + 4)).unwrap();
    let good = fs::read(&journal).unwrap();
    for (case, at) in [("header", frame + 4), ("payload", frame + 200)] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&journal, bad).unwrap();
        let report = look(&store);
        let damage: Vec<_> = report.of(Severity::Damage).collect();
        assert!(damage.iter().any(|f| f.path.starts_with("journal")), "{case}: {damage:#?}");
        let ranges: Vec<_> = damage.iter().filter_map(|f| Some((f.log.clone()?.1, f.records.clone()?))).collect();
        let lost = |name: &str, number: u64| ranges.iter().any(|(log, range)| log == name && range.contains(&number));
        salvaged(&store, &dir.path().join(case), &all, lost);
        let copied: usize = contents(&dir.path().join(case)).values().map(BTreeMap::len).sum();
        let known: usize = all.values().map(BTreeMap::len).sum();
        assert!(copied + 60 > known, "{case}: {copied} of {known}");
    }
    fs::write(&journal, good).unwrap();
}

/// Whether the store is damaged with this byte flipped.
fn is_needed(dir: &Path, path: &Path, at: usize) -> bool {
    let mut damaged = false;
    with_flip(dir, path, at, |report| damaged = !report.is_sound());
    damaged
}

#[test]
fn a_damaged_manifest_page_costs_its_logs_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let store_dir = dir.path().join("store");
    let store = Store::open_with(&store_dir, options()).unwrap();
    for n in 0..500 {
        let log = store.create_log(&format!("log-{n}"), LogOptions::new()).unwrap();
        log.append(format!("record of {n}").as_str()).unwrap();
    }
    store.close().unwrap();
    let all = contents(&store_dir);
    let manifest = with_extension(&store_dir, "man").pop().unwrap();
    let mut bytes = fs::read(&manifest).unwrap();
    bytes[100] ^= 1;
    fs::write(&manifest, bytes).unwrap();
    let report = look(&store_dir);
    let found: Vec<_> = report.of(Severity::Damage).collect();
    assert!(found.len() == 1 && found[0].what.contains("the page with"), "{found:#?}");
    assert!(report.logs > 0 && report.logs < 500 && report.actions().is_empty(), "nothing is taken for unnamed");
    let copy = dir.path().join("copy");
    let saved = salvage(&store_dir, &copy, &mut |_| {}).unwrap();
    assert_eq!((saved.logs.len(), saved.records), (500, 500), "names are made up where they are lost");
    let known = contents(&copy);
    assert!(known.iter().filter(|(name, records)| all.get(*name) == Some(records)).count() as u64 >= report.logs);
}

/// Blocks of the journal that can't be read: what opening takes for no damage is none.
#[test]
fn a_block_of_the_journal_that_cannot_be_read_is_judged_as_opening_does() {
    let clock = Arc::new(ManualClock::new());
    let disk = SimDisk::new(Tape::seeded(1));
    let mut store = ManualStore::open(env_of(&disk, &clock), small(ReadMode::Copy)).unwrap();
    let mut made = store.create_log("log", LogOptions::new()).unwrap();
    store.settle();
    let log = made.try_get().unwrap().unwrap();
    let mut damaged = [0, 0];
    for _ in 0..3 {
        for n in 0..2 {
            drop(log.append_ticket(&[7; 9000][..]).unwrap());
            store.settle();
            if n == 1 {
                store.upkeep_step();
                store.checkpoint().unwrap();
            }
            let left = disk.crash(Crash::Kill, &Tape::seeded(2));
            for (path, len) in left.files().into_iter().filter(|(path, _)| path.starts_with("journal/")) {
                for at in (0..len).step_by(4096) {
                    let disk = left.fork();
                    disk.set_read_error(&path, at..at + 1).unwrap();
                    let report = check_in(&env_of(&disk, &clock), &CheckOptions::new(), &mut |_| {}).unwrap();
                    let opened = Store::open_read_only_in(env_of(&disk, &clock), small(ReadMode::Copy)).unwrap();
                    let is_damaged = opened.open_report().journal_damage.is_some();
                    assert_eq!(report.is_sound(), !is_damaged, "{path}, byte {at}: {:?}", report.findings);
                    damaged[usize::from(is_damaged)] += 1;
                }
            }
        }
    }
    assert!(damaged.iter().all(|n| *n > 10), "{damaged:?}");
}
