//! The real kernel when one block below a segment can't be read: a copy of it is an error with its place, a map of it is the end of
//! the process, and nothing else is lost either way.
//!
//! The block is one beyond the end of its device. A file of ext3 lists its first blocks one by one, so that one of them can be put
//! into the last place of an image; once that is mounted, the file below the device is made a block shorter.
//!
//! Needs the right to mount; where there is none each test says `skipped`, and fails if `BRAIDLOG_NO_SKIPS=1`.
#![cfg(target_os = "linux")]
// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

#[path = "support/mount.rs"]
mod mount;

use std::fs;
use std::ops::Range;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use braidlog::check::{CheckOptions, Severity, check};
use braidlog::{Damage, DiskChoice, Error, Health, LogOptions, ReadMode, StartAt, Store, StoreOptions};
use mount::{Mounted, mount_image, run, skipped};

const BLOCK: u64 = 4096;
const IMAGE_BLOCKS: u64 = 16 << 10;
/// Long enough that one block of a record's data can fail, and nothing but that record is in the page.
const RECORD_BYTES: usize = 20_000;
const RECORDS: u64 = 10;
/// The record of log "a" that can't be read.
const BAD: u64 = 1;

const SIGBUS: i32 = 7;
const EIO: i32 = 5;

fn options(mode: ReadMode, disk: DiskChoice) -> StoreOptions {
    StoreOptions::new().journal_file_bytes(1 << 20).reserve_bytes(0).disk(disk).read_mode(mode)
}

fn record(log: &str, i: u64) -> Vec<u8> {
    let mut data = format!("{log} {i} ").into_bytes();
    data.resize(RECORD_BYTES, b'z');
    data
}

/// A store with a block that can't be read.
struct Unreadable {
    mounted: Mounted,
    /// Of the record it is in: the path of its segment, relative to the store, and where its data is.
    path: String,
    data: Range<u64>,
    _folder: tempfile::TempDir,
}

impl Unreadable {
    fn new() -> Result<Unreadable, String> {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        fs::File::create(&image).and_then(|file| file.set_len(IMAGE_BLOCKS * BLOCK)).map_err(|e| e.to_string())?;
        let path_of_image = image.to_str().unwrap();
        run("mkfs.ext3", &["-q", "-F", "-m", "0", "-b", &BLOCK.to_string(), path_of_image])?;
        let mounted = mount_image(&image)?;
        let root = mounted.point().join("store");
        let store = Store::open_with(&root, options(ReadMode::Copy, DiskChoice::Auto)).unwrap();
        for name in ["a", "b"] {
            let log = store.create_log(name, LogOptions::new()).unwrap();
            for i in 0..RECORDS {
                log.append(&record(name, i)[..]).unwrap();
            }
        }
        store.close().unwrap();
        let start = &record("a", BAD)[..];
        let found = segments(&root).into_iter().find_map(|path| {
            let bytes = fs::read(root.join(&path)).unwrap();
            let at = bytes.windows(start.len()).position(|part| part == start)?;
            Some((path, at as u64))
        });
        let (path, at) = found.unwrap();
        run("umount", &[mounted.point().to_str().unwrap()])?;
        drop(mounted);
        // Neither the block in which the record begins nor the one in which it ends.
        let bad = at / BLOCK + 2;
        assert!(bad < 12, "the file lists no more than twelve blocks one by one");
        let moved = format!("sif /store/{path} block[{bad}] {}", IMAGE_BLOCKS - 1);
        run("debugfs", &["-w", "-R", &moved, path_of_image])?;
        let mounted = mount_image(&image)?;
        let shorter = fs::OpenOptions::new().write(true).open(&image);
        shorter.and_then(|file| file.set_len((IMAGE_BLOCKS - 1) * BLOCK)).map_err(|e| e.to_string())?;
        let unreadable = Unreadable { mounted, path, data: at..at + RECORD_BYTES as u64, _folder: folder };
        match fs::read(unreadable.root().join(&unreadable.path)) {
            Err(error) if error.raw_os_error() == Some(EIO) => Ok(unreadable),
            other => Err(format!("a block beyond the end of its device is read: {:?}", other.map(|b| b.len()))),
        }
    }

    fn root(&self) -> PathBuf {
        self.mounted.point().join("store")
    }

    /// Every record of both logs, so many of "a", is there, but for the one.
    fn verify_the_rest(&self, store: &Store, records_of_a: u64) {
        for (name, end) in [("a", records_of_a), ("b", RECORDS)] {
            let log = store.log(name).unwrap();
            assert_eq!(log.end(), end);
            for i in (0..end).filter(|i| (name, *i) != ("a", BAD)) {
                let found = log.read(StartAt::Sequence(i)).unwrap().next().unwrap().unwrap();
                assert_eq!((found.sequence_number, &found.data[..]), (i, &record(name, i)[..]), "{name}");
            }
        }
    }
}

fn segments(root: &Path) -> Vec<String> {
    let folders = fs::read_dir(root.join("segments")).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    let files = files.filter(|path| path.extension().is_some_and(|e| e == "seg"));
    files.map(|path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()).collect()
}

fn unreadable() -> Option<Unreadable> {
    Unreadable::new().inspect_err(|why| skipped(format_args!("no block can be made unreadable here ({why})"))).ok()
}

#[test]
fn a_block_that_cannot_be_read_is_an_error_with_its_place_where_the_store_reads_by_copy() {
    let Some(unreadable) = unreadable() else { return };
    let mut end = RECORDS;
    for disk in [DiskChoice::Auto, DiskChoice::Portable] {
        let store = Store::open_with(unreadable.root(), options(ReadMode::Copy, disk)).unwrap();
        let log = store.log("a").unwrap();
        // More than once: an error is no reason to stop, and no answer to keep.
        for _ in 0..2 {
            let mut records = log.read(StartAt::TrimHorizon).unwrap();
            for i in 0..BAD {
                assert_eq!(&records.next().unwrap().unwrap().data[..], &record("a", i)[..]);
            }
            let error = records.next().unwrap().unwrap_err();
            let Error::Damaged { path, at, what: Damage::Unreadable, .. } = &error else {
                panic!("{disk:?}: {error:?}")
            };
            assert_eq!(path, &unreadable.path);
            // The place is that of the batch, which begins a little before its record's data.
            let data = &unreadable.data;
            assert!((data.start - 200..data.end).contains(at), "{error}; the record's data is at {data:?}");
            unreadable.verify_the_rest(&store, end);
        }
        log.append(&record("a", end)[..]).unwrap();
        end += 1;
        assert_eq!(store.health(), Health::Ok);
        unreadable.verify_the_rest(&store, end);
        drop(log);
        store.close().unwrap();
    }
    let store = Store::open_with(unreadable.root(), options(ReadMode::Copy, DiskChoice::Auto)).unwrap();
    assert!(store.open_report().clean);
    unreadable.verify_the_rest(&store, end);
}

const CHILD: &str = "BRAIDLOG_UNREADABLE_CHILD";

/// Not a test: an owner that appends a record, and then touches the page that can't be read.
#[test]
fn child() {
    let Ok(root) = std::env::var(CHILD) else { return };
    let store = Store::open_with(root, options(ReadMode::Map, DiskChoice::Auto)).unwrap();
    let log = store.log("a").unwrap();
    log.append(&record("a", RECORDS)[..]).unwrap();
    for i in (0..RECORDS + 1).filter(|i| *i != BAD) {
        assert_eq!(&log.read(StartAt::Sequence(i)).unwrap().next().unwrap().unwrap().data[..], &record("a", i)[..]);
    }
    println!("\nready");
    let outcome = log.read(StartAt::Sequence(BAD)).unwrap().next();
    println!("\nread {outcome:?}");
}

#[test]
fn a_mapped_page_that_cannot_be_read_ends_the_process_and_costs_nothing_else() {
    let Some(unreadable) = unreadable() else { return };
    let owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, unreadable.root())
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&owner.stdout);
    assert!(said.contains("\nready\n"), "{said}");
    assert_eq!(owner.status.signal(), Some(SIGBUS), "{}: {said}", owner.status);
    for mode in [ReadMode::Copy, ReadMode::Map] {
        let store = Store::open_with(unreadable.root(), options(mode, DiskChoice::Auto)).unwrap();
        unreadable.verify_the_rest(&store, RECORDS + 1);
        store.close().unwrap();
    }
}

#[test]
fn check_tells_the_place_that_cannot_be_read() {
    let Some(unreadable) = unreadable() else { return };
    let report = check(unreadable.root(), &CheckOptions::new(), &mut |_| {}).unwrap();
    let [finding] = &report.of(Severity::Damage).collect::<Vec<_>>()[..] else { panic!("{:?}", report.findings) };
    assert_eq!(finding.path, unreadable.path, "{finding}");
    assert_eq!(finding.log.as_ref().map(|(_, name)| &name[..]), Some("a"), "{finding}");
    assert_eq!(finding.records, Some(BAD..BAD + 1), "{finding}");
}
