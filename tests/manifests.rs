//! A manifest that can't be read: the one before counts, and everything that it names is there.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use braidlog::env::sim::{Crash, ManualClock, SimDisk, Tape};
use braidlog::manual::ManualStore;
use braidlog::{Error, Health, LogOptions, ReadMode, StoreOptions};
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
}

impl Moving {
    fn new(options: StoreOptions) -> Moving {
        let (disk, clock) = (SimDisk::new(Tape::seeded(1)), Arc::new(ManualClock::new()));
        let mut moving = Moving { disk, clock, options, store: None, records: 0 };
        let mut store = moving.open(&moving.disk).unwrap();
        let made: Vec<_> =
            (0..LOGS).map(|n| store.create_log(&format!("log-{n}"), LogOptions::new()).unwrap()).collect();
        store.settle();
        made.into_iter().for_each(|mut made| drop(made.try_get().unwrap().unwrap()));
        moving.store = Some(store);
        moving
    }

    fn open(&self, disk: &SimDisk) -> Result<ManualStore, Error> {
        ManualStore::open(env_of(disk, &self.clock), self.options.clone())
    }

    /// One more record in each log, and a checkpoint; what a process that is killed then leaves.
    fn round(&mut self, reopens: bool) -> SimDisk {
        let mut store = self.store.take().unwrap();
        for n in 0..LOGS {
            let log = store.store().log(&format!("log-{n}")).unwrap();
            drop(log.append_ticket(format!("{n} {}", self.records).as_str()).unwrap());
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

    /// Whether every record of every log is there.
    fn is_whole(&self, store: &ManualStore) -> bool {
        let Ok(content) = contents(store.store()) else { return false };
        let right = |n: usize| {
            content.get(&format!("log-{n}")).is_some_and(|records| {
                let data = records.iter().map(|record| record.data.clone());
                data.eq((0..self.records).map(|at| format!("{n} {at}")))
            })
        };
        (0..LOGS).all(right)
    }
}

fn newest_manifest(disk: &SimDisk) -> String {
    disk.files().into_iter().map(|(path, _)| path).rfind(|path| path.starts_with("manifest/")).unwrap()
}

fn segments(disk: &SimDisk) -> BTreeSet<String> {
    disk.files().into_iter().map(|(path, _)| path).filter(|path| path.ends_with(".seg")).collect()
}

/// The root is damaged, the device can't read the header, or there is none: as if its owner had died while writing it.
fn damaged(left: &SimDisk, how: usize) -> SimDisk {
    let (disk, path) = (left.fork(), newest_manifest(left));
    match how {
        0 => disk.flip_bit(&path, (disk.read_bytes(&path).unwrap().len() as u64 - 4) * 8).unwrap(),
        1 => disk.set_read_error(&path, 0..64).unwrap(),
        _ => disk.write_bytes(&path, &[0; 64]).unwrap(),
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
