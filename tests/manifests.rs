//! A manifest that can't be read: the one before counts, and everything that it names is there, or is salvaged.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use braidlog::check::{Finding, SalvageReport, salvage_in};
use braidlog::env::sim::{Crash, ManualClock, SimDisk, Tape};
use braidlog::env::{Disk, Env};
use braidlog::manual::ManualStore;
use braidlog::{Error, Health, LogOptions, ReadMode, Record, StoreOptions};
use support::rot::contents;
use support::{env_of, packing, small};

const LOGS: usize = 5;

/// A store whose logs move on with every checkpoint: from pack to pack, or from the segment of a life to the next one's.
struct Moving {
    disk: SimDisk,
    clock: Arc<ManualClock>,
    options: StoreOptions,
    store: Option<ManualStore>,
    records: u64,
    /// What each record has behind its number, for the journal to be used up.
    padding: usize,
}

impl Moving {
    fn new(options: StoreOptions) -> Moving {
        let (disk, clock) = (SimDisk::new(Tape::seeded(1)), Arc::new(ManualClock::new()));
        let mut moving = Moving { disk, clock, options, store: None, records: 0, padding: 0 };
        let mut store = moving.open(&moving.disk).unwrap();
        let made: Vec<_> =
            (0..LOGS).map(|n| store.create_log(&format!("log-{n}"), LogOptions::new()).unwrap()).collect();
        store.settle();
        made.into_iter().for_each(|mut made| drop(made.try_get().unwrap().unwrap()));
        moving.store = Some(store);
        moving
    }

    fn record(&self, log: usize, at: u64) -> String {
        format!("{log} {at}{}", "x".repeat(self.padding))
    }

    fn open(&self, disk: &SimDisk) -> Result<ManualStore, Error> {
        ManualStore::open(env_of(disk, &self.clock), self.options.clone())
    }

    /// One more record in each log, and a checkpoint; what a process that is killed then leaves.
    fn round(&mut self, reopens: bool) -> SimDisk {
        let mut store = self.store.take().unwrap();
        for n in 0..LOGS {
            let log = store.store().log(&format!("log-{n}")).unwrap();
            drop(log.append_ticket(self.record(n, self.records).as_str()).unwrap());
        }
        store.settle();
        self.records += 1;
        store.checkpoint().unwrap();
        let left = self.disk.crash(Crash::Kill, &Tape::seeded(2));
        if reopens {
            drop(store);
            self.disk = left.fork();
            store = self.open(&self.disk).unwrap();
        }
        self.store = Some(store);
        left
    }

    /// As [`Moving::round`]; what is left where the process is killed before each of the checkpoint's steps, and after all.
    fn instants(&mut self, reopens: bool) -> Vec<SimDisk> {
        let before = self.records;
        let start = self.disk.crash(Crash::Kill, &Tape::seeded(2));
        drop(self.store.take());
        self.disk = start.fork();
        let mut left = Vec::new();
        self.store = Some(self.open(&self.disk).unwrap());
        let whole = self.round(reopens);
        for at in 0.. {
            let disk = start.fork();
            let mut store = self.open(&disk).unwrap();
            for n in 0..LOGS {
                let log = store.store().log(&format!("log-{n}")).unwrap();
                drop(log.append_ticket(self.record(n, before).as_str()).unwrap());
            }
            store.settle();
            disk.set_crash_at(disk.operations() + at);
            let done = store.checkpoint();
            if !disk.is_dead() {
                done.unwrap();
                break;
            }
            left.push(disk.crash(Crash::Kill, &Tape::seeded(2)));
        }
        left.push(whole);
        left
    }

    /// What a salvage of it says, and whether the copy has every record of every log, and none twice.
    fn salvage(&self, disk: &SimDisk) -> (SalvageReport, bool) {
        let disk = disk.fork();
        let report = salvage_in(&env_of(&disk, &self.clock), "copy", &mut |_| {}).unwrap();
        let copy = Env { disk: disk.sibling("copy").unwrap(), ..env_of(&disk, &self.clock) };
        let store = ManualStore::open(copy, self.options.clone()).unwrap();
        // Where no page of a manifest can be read the names are gone.
        let Ok(content) = contents(store.store()) else { return (report, false) };
        let data = |records: Vec<Record>| records.into_iter().map(|record| record.data.to_vec()).collect::<Vec<_>>();
        let found: BTreeSet<_> = content.into_values().map(data).collect();
        let right = |n| (0..self.records).map(|at| self.record(n, at).into_bytes()).collect::<Vec<_>>();
        let is_whole = report.logs.len() == LOGS && found == (0..LOGS).map(right).collect();
        (report, is_whole)
    }

    /// Whether every record of every log is there.
    fn is_whole(&self, store: &ManualStore) -> bool {
        let Ok(content) = contents(store.store()) else { return false };
        let right = |n: usize| {
            content.get(&format!("log-{n}")).is_some_and(|records| {
                let data = records.iter().map(|record| record.data.clone());
                data.eq((0..self.records).map(|at| self.record(n, at)))
            })
        };
        (0..LOGS).all(right)
    }
}

fn manifests(disk: &SimDisk) -> Vec<String> {
    disk.files().into_iter().map(|(path, _)| path).filter(|path| path.starts_with("manifest/")).collect()
}

fn newest_manifest(disk: &SimDisk) -> String {
    manifests(disk).pop().unwrap()
}

fn segments(disk: &SimDisk) -> BTreeSet<String> {
    disk.files().into_iter().map(|(path, _)| path).filter(|path| path.ends_with(".seg")).collect()
}

fn damaged(left: &SimDisk, how: usize) -> SimDisk {
    damage(left, &newest_manifest(left), how)
}

/// The root is damaged, the device can't read the header, or there is none: as if its owner had died while writing it.
fn damage(left: &SimDisk, path: &str, how: usize) -> SimDisk {
    let disk = left.fork();
    let len = disk.read_bytes(path).unwrap().len() as u64;
    match how {
        // It was not begun yet.
        _ if len < 64 => {}
        0 => disk.flip_bit(path, (len - 4) * 8).unwrap(),
        1 => disk.set_read_error(path, 0..64).unwrap(),
        _ => disk.write_bytes(path, &[0; 64]).unwrap(),
    }
    disk
}

/// What a checkpoint copied was removed with the manifest that names the copies, and the manifest before it still names what was
/// copied: where that one counts again records were gone that lay whole on the disk, and then the copies were, too.
#[test]
fn nothing_is_lost_when_the_newest_manifest_cannot_be_read() {
    for packs in [true, false] {
        let mut moving = Moving::new(if packs { packing(ReadMode::Copy) } else { small(ReadMode::Copy) });
        let mut opened = 0;
        for round in 0..10 {
            let left = moving.round(!packs);
            for how in 0..3 {
                let what = format!("packs {packs}, round {round}, damage {how}");
                let disk = damaged(&left, how);
                let mut store = match moving.open(&disk) {
                    Ok(store) => store,
                    Err(Error::Damaged { .. }) => continue,
                    Err(error) => panic!("{what}: {error}"),
                };
                assert_eq!(store.store().health(), Health::Ok, "{what}");
                assert_eq!(store.store().open_report().manifest_damage.is_some(), how < 2, "{what}");
                assert!(moving.is_whole(&store), "{what}");
                opened += 1;
                for _ in 0..2 {
                    store.upkeep_step();
                    store.checkpoint().unwrap();
                    assert!(moving.is_whole(&store), "{what}, after a checkpoint");
                }
                store.close().unwrap();
                assert!(moving.is_whole(&moving.open(&disk).unwrap()), "{what}, after all");
            }
        }
        assert!(opened > 10, "packs {packs}: {opened} opened");
    }
}

/// Where something that the older manifest names is gone all the same, its records may be in a file that only the newest one named.
#[test]
fn what_only_an_unreadable_manifest_names_is_never_given_up() {
    let mut moving = Moving::new(packing(ReadMode::Copy));
    let mut kept = 0;
    for _ in 0..6 {
        let left = moving.round(false);
        for how in 0..3 {
            for gone in segments(&left) {
                let disk = damaged(&left, how);
                disk.erase(&gone).unwrap();
                let mut store = match moving.open(&disk) {
                    Ok(store) => store,
                    Err(Error::Damaged { .. }) => continue,
                    Err(error) => panic!("{gone}, damage {how}: {error}"),
                };
                let missing = store.store().open_report().superseded.clone();
                assert_eq!(missing.is_some(), !moving.is_whole(&store), "{gone}, damage {how}");
                if missing.is_some() {
                    assert_eq!(missing.as_ref(), Some(&gone));
                    assert!(matches!(store.store().health(), Health::ReadOnly { .. }), "{gone}, damage {how}");
                    let before = segments(&disk);
                    store.upkeep_step();
                    assert!(matches!(store.checkpoint(), Err(Error::ReadOnly { .. })));
                    assert_eq!(segments(&disk), before, "{gone}, damage {how}");
                    kept += 1;
                }
            }
        }
    }
    assert!(kept > 10, "{kept} stores were kept as they are");
}

/// What moved on is in files that only a manifest names which can't be read: a salvage finds it there.
#[test]
fn a_salvage_finds_what_only_unreadable_manifests_name() {
    for packs in [true, false] {
        let mut moving = Moving::new(if packs { packing(ReadMode::Copy) } else { small(ReadMode::Copy) });
        moving.padding = 2000;
        let mut taken = 0;
        for round in 0..40 {
            let left = moving.round(!packs);
            for how in 0..3 {
                let what = format!("packs {packs}, round {round}, damage {how}");
                let manifests = manifests(&left);
                let disk = manifests.iter().rev().take(2).fold(left.fork(), |disk, path| damage(&disk, path, how));
                let (report, is_whole) = moving.salvage(&disk);
                assert!(is_whole, "{what}: {report:?}");
                taken += report.logs.iter().flat_map(|log| &log.unnamed).map(|n| n.end - n.start).sum::<u64>();
            }
        }
        assert!(taken > 20, "packs {packs}: {taken} records were taken from files that nothing names");
    }
}

/// A full disk gives files up with the manifest that lacks them first: the one before it names what is gone.
#[test]
fn a_salvage_finds_copies_of_what_went_with_one_manifest() {
    for packs in [true, false] {
        let mut moving = Moving::new(if packs { packing(ReadMode::Copy) } else { small(ReadMode::Copy) });
        let (mut kept, mut told) = (0, 0);
        for round in 0..6 {
            for left in moving.instants(!packs) {
                for gone in segments(&left) {
                    let disk = left.fork();
                    disk.erase(&gone).unwrap();
                    if !moving.open(&disk.fork()).is_ok_and(|store| moving.is_whole(&store)) {
                        continue;
                    }
                    for how in 0..3 {
                        let what = format!("packs {packs}, round {round}, {gone}, damage {how}");
                        let disk = damage(&disk, &newest_manifest(&disk), how);
                        let (report, is_whole) = moving.salvage(&disk);
                        assert!(is_whole, "{what}: {report:?}");
                        let is_taken = report.logs.iter().any(|log| !log.unnamed.is_empty());
                        let superseded =
                            moving.open(&disk).is_ok_and(|store| store.store().open_report().superseded.is_some());
                        assert!(is_taken || !superseded, "{what}: {report:?}");
                        let names = |finding: &Finding| finding.what.contains("nothing that can be read names it");
                        assert!(!is_taken || report.check.findings.iter().any(names), "{what}: {report:?}");
                        kept += 1;
                        told += u64::from(superseded);
                    }
                }
            }
        }
        assert!(kept > 20 && told > 5, "packs {packs}: {kept} stores, {told} of them read-only");
    }
}

/// What was trimmed or deleted comes back only where nothing that says so can be read, and then a finding tells of that.
#[test]
fn a_salvage_brings_nothing_back_that_is_known_to_be_gone() {
    for packs in [true, false] {
        let mut moving = Moving::new(if packs { packing(ReadMode::Copy) } else { small(ReadMode::Copy) });
        for _ in 0..6 {
            moving.round(!packs);
        }
        let mut store = moving.store.take().unwrap();
        let log = |n: usize| store.store().log(&format!("log-{n}")).unwrap();
        let ((trimmed, deleted), others) = ((log(0), log(1).id()), log(2).id());
        let made = (store.trim(&trimmed, 3).unwrap(), store.delete_log("log-1").unwrap());
        let trimmed = trimmed.id();
        store.settle();
        drop(made);
        let mut instants = vec![moving.disk.crash(Crash::Kill, &Tape::seeded(2))];
        for _ in 0..3 {
            drop(store.store().log("log-2").unwrap().append_ticket("more").unwrap());
            store.settle();
            store.checkpoint().unwrap();
            instants.push(moving.disk.crash(Crash::Kill, &Tape::seeded(2)));
        }
        for (instant, left) in instants.iter().enumerate() {
            for (how, lost) in (0..3).flat_map(|how| [(how, 1), (how, 2)]) {
                let what = format!("packs {packs}, instant {instant}, damage {how} to {lost} manifests");
                let manifests = manifests(left);
                let disk = manifests.iter().rev().take(lost).fold(left.fork(), |disk, path| damage(&disk, path, how));
                let report = salvage_in(&env_of(&disk, &moving.clock), "copy", &mut |_| {}).unwrap();
                let copy = Env { disk: disk.sibling("copy").unwrap(), ..env_of(&disk, &moving.clock) };
                let store = ManualStore::open(copy, moving.options.clone()).unwrap();
                let says = |id, words: &[&str]| {
                    let about = |finding: &&Finding| finding.log.as_ref().is_some_and(|(log, _)| *log == id);
                    let says = |finding: &Finding| words.iter().any(|words| finding.what.contains(words));
                    report.check.findings.iter().filter(about).any(says)
                };
                let salvaged = |id| report.logs.iter().find(|log| log.id == id);
                assert!(salvaged(others).is_some_and(|log| log.records >= 6), "{what}: {report:?}");
                assert!(
                    salvaged(deleted).is_none() || says(deleted, &["put together", "deletes this log"]),
                    "{what}: {report:?}"
                );
                let horizon = store.store().log(&salvaged(trimmed).unwrap().name).unwrap().horizon().unwrap();
                assert!(
                    horizon == 3 || says(trimmed, &["put together", "trims this log"]),
                    "{what}: horizon {horizon}, {report:?}"
                );
                assert!(lost > 1 || !packs || salvaged(deleted).is_none() && horizon == 3, "{what}: {report:?}");
            }
        }
    }
}

/// The room of what a checkpoint copied comes back with that checkpoint: every file there is has something that no other has.
#[test]
fn what_two_manifests_lack_goes_with_the_checkpoint_that_copied_it() {
    let mut moving = Moving::new(packing(ReadMode::Copy));
    let mut most = 0;
    for round in 0..20 {
        let left = moving.round(false);
        let files = segments(&left);
        most = most.max(files.len());
        for gone in files {
            let disk = left.fork();
            disk.erase(&gone).unwrap();
            assert!(!moving.is_whole(&moving.open(&disk).unwrap()), "round {round}: {gone} is superfluous");
        }
    }
    assert!(most < 10, "{most} files");
}
