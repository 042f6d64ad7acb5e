//! The real kernel when a device fails or stalls below it: file systems in files, whose outer file system is made to fail, or
//! which are frozen. Nothing acknowledged is lost, nothing is acknowledged that isn't there, and nobody hangs for longer than the
//! device does.
//!
//! Needs the right to mount; where there is none each test says `skipped`, and fails if `BRAIDLOG_NO_SKIPS=1`.
#![cfg(target_os = "linux")]
// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

#[path = "support/mount.rs"]
mod mount;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use braidlog::{
    DiskChoice, Durability, Error, Health, LogOptions, ReadMode, RecordParts, StartAt, Store, StoreOptions, Transaction,
};
use mount::{Mounted, make_image, mount, mount_image, run, skipped};
use rustix::process::Signal;

fn options(disk: DiskChoice) -> StoreOptions {
    let small = StoreOptions::new().journal_file_bytes(256 << 10).memory_bytes(256 << 10).reserve_bytes(0);
    small.disk(disk).bulk_bytes(32 << 10).append_deadline(Duration::from_secs(60))
}

fn record(i: u64) -> String {
    format!("{i} {}", "z".repeat((i as usize * 97) % 3000))
}

/// The numbers that the records of log "a" were given by their writer.
fn read(store: &Store) -> BTreeSet<u64> {
    let log = store.log("a").unwrap();
    let number = |text: &[u8]| String::from_utf8_lossy(text).split(' ').next().unwrap().parse::<u64>().unwrap();
    let records = log.read(StartAt::TrimHorizon).unwrap().map(|record| {
        let record = record.unwrap();
        let i = number(&record.data);
        assert_eq!(record.data, self::record(i).as_bytes(), "record {i} has other bytes");
        i
    });
    records.collect()
}

/// A file system whose device can be made to fail: it lies in a file of another one.
struct Failing {
    inner: Option<Mounted>,
    outer: Option<Mounted>,
    folder: tempfile::TempDir,
}

impl Failing {
    fn new() -> Result<Failing, String> {
        let mut failing = Failing { inner: None, outer: None, folder: tempfile::tempdir().unwrap() };
        make_image(&failing.folder.path().join("outer"), "ext4", 96)?;
        let outer = mount_image(&failing.folder.path().join("outer"))?;
        let made = make_image(&outer.point().join("inner"), "ext4", 48);
        failing.outer = Some(outer);
        made?;
        failing.mount()
    }

    fn mount(mut self) -> Result<Failing, String> {
        if self.outer.is_none() {
            self.outer = Some(mount_image(&self.folder.path().join("outer"))?);
        }
        let image = self.outer.as_ref().unwrap().point().join("inner");
        self.inner = Some(mount_image(&image)?);
        Ok(self)
    }

    fn root(&self) -> std::path::PathBuf {
        self.inner.as_ref().unwrap().point().join("store")
    }

    /// From now on the outer file system takes no write, and so the inner one's device answers each with an error.
    fn fail(&self) -> std::io::Result<()> {
        let device = self.outer.as_ref().unwrap().device();
        fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "a device that fails")
    }

    /// What a new device would find: both file systems anew, without anything that only a cache has.
    fn replaced(mut self) -> Result<Failing, String> {
        let points = [self.inner.take(), self.outer.take()];
        for mounted in points.iter().flatten() {
            run("umount", &[mounted.point().to_str().unwrap()])?;
        }
        drop(points);
        self.mount()
    }
}

#[test]
fn a_device_that_fails_stops_the_store_and_costs_nothing_acknowledged() {
    for disk in [DiskChoice::Auto, DiskChoice::Portable] {
        let failing = match Failing::new() {
            Ok(failing) => failing,
            Err(why) => return skipped(format_args!("file systems in files can't be mounted here ({why})")),
        };
        let store = Store::open_with(failing.root(), options(disk)).unwrap();
        let log = store.create_log("a", LogOptions::new().segment_bytes_max(256 << 10)).unwrap();
        let mut acked = BTreeSet::new();
        for i in 0..200 {
            log.append(record(i).as_str()).unwrap();
            acked.insert(i);
        }
        if let Err(why) = failing.fail() {
            return skipped(format_args!("the kernel has no switch for a failing file system ({why})"));
        }
        // The file system above the device may take a few more before it meets it.
        let mut i = 200;
        let error = loop {
            match log.append(record(i).as_str()) {
                Ok(_) => drop(acked.insert(i)),
                Err(error) => break error,
            }
            i += 1;
            assert!(i < 100_000, "the device fails, and nobody notices");
        };
        println!("{disk:?}: after {} records: {error}", acked.len());
        assert!(matches!(error, Error::OutcomeUnknown { .. } | Error::Stopped { .. }), "{error}");
        assert!(matches!(store.health(), Health::Stopped { .. }), "{}", store.health());
        for _ in 0..3 {
            let refused = log.append("after").unwrap_err();
            assert!(matches!(refused, Error::Stopped { .. }), "{refused}");
        }
        let readable = read(&store);
        assert!(acked.is_subset(&readable), "what was acknowledged is read while the device is gone");
        drop((log, store));
        let failing = failing.replaced().unwrap();
        let store = Store::open_with(failing.root(), options(disk)).unwrap();
        let found = read(&store);
        assert!(acked.is_subset(&found), "{disk:?}: missing: {:?}", acked.difference(&found).collect::<Vec<_>>());
        assert!(found.iter().copied().eq(0..found.len() as u64), "{disk:?}: a front part of what was asked for");
        store.log("a").unwrap().append(record(found.len() as u64).as_str()).unwrap();
    }
}

fn freeze(mounted: &Mounted, on: bool) -> Result<(), String> {
    run("fsfreeze", &[if on { "--freeze" } else { "--unfreeze" }, mounted.point().to_str().unwrap()])
}

/// Freezes the file system below a child and tells it to go on; where that can't be, says so and ends it.
fn freeze_below(owner: &mut Child, mounted: &Mounted) -> bool {
    let frozen = freeze(mounted, true);
    match &frozen {
        Ok(()) => owner.stdin.as_mut().unwrap().write_all(b"go\n").unwrap(),
        Err(why) => {
            owner.kill().unwrap();
            owner.wait().unwrap();
            skipped(format_args!("the file system can't be frozen ({why})"));
        }
    }
    frozen.is_ok()
}

#[test]
fn a_device_that_stalls_holds_callers_back_and_then_everything_goes_on() {
    for disk in [DiskChoice::Auto, DiskChoice::Portable] {
        let Some(mounted) = mount("ext4", 48) else { return };
        let root = mounted.point().join("store");
        // Made without the deadline, which on a busy machine the device may miss without stalling.
        drop(Store::open_with(&root, options(disk)).unwrap().create_log("a", LogOptions::new()).unwrap());
        let options = options(disk).append_deadline(Duration::from_millis(100));
        let store = Store::open_with(&root, options.clone()).unwrap();
        let log = store.log("a").unwrap();
        for i in 0..50 {
            // A ticket has no deadline once it is taken.
            log.append_ticket(record(i).as_str()).unwrap().wait().unwrap();
        }
        if let Err(why) = freeze(&mounted, true) {
            return skipped(format_args!("the file system can't be frozen ({why})"));
        }
        let mut waiting = Vec::new();
        let busy = (50..10_000).find_map(|i| match log.append_ticket(record(i).as_str()) {
            Ok(ticket) => {
                waiting.push(ticket);
                None
            }
            Err(error) => Some(error),
        });
        let acked_while_frozen = waiting.iter().any(|ticket| ticket.try_get().is_some());
        let (health, readable, pending) = (store.health(), read(&store), store.stats().pending_bytes);
        // Before anything can fail: nothing else could write here any more, nor be taken away.
        freeze(&mounted, false).unwrap();
        assert!(matches!(busy, Some(Error::Busy { .. })), "a bounded amount waits, then callers hear of it: {busy:?}");
        assert!(pending <= 256 << 10, "{pending} bytes wait");
        assert!(!acked_while_frozen, "acknowledged, and the device had not answered");
        assert_eq!((health, readable.len()), (Health::Ok, 50), "what is durable is read meanwhile, and nothing else");
        let held = waiting.len() as u64;
        for ticket in waiting {
            ticket.wait().unwrap();
        }
        log.append_ticket(record(50 + held).as_str()).unwrap().wait().unwrap();
        drop((log, store));
        let found = read(&Store::open_with(&root, options).unwrap());
        assert!(found.iter().copied().eq(0..51 + held), "{disk:?}");
    }
}

const CHILD: &str = "BRAIDLOG_KERNEL_CHILD";

/// Not a test: an owner that appends once at the start and once more when it is told to.
#[test]
fn child() {
    let Ok(root) = std::env::var(CHILD) else { return };
    let store = Store::open_with(root, options(DiskChoice::Auto)).unwrap();
    let log = store.create_log("a", LogOptions::new()).unwrap();
    for i in 0..20 {
        log.append(record(i).as_str()).unwrap();
    }
    println!("\nready");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    let ticket = log.append_ticket(record(20).as_str()).unwrap();
    println!("\nasked");
    let _ = ticket.wait();
}

const HELD_BACK: &str = "BRAIDLOG_KERNEL_HELD_BACK";
/// What may wait for the device of a store whose callers are held back.
const HELD_BACK_BYTES: u64 = 48 << 20;

/// How long the device stalls, at the least.
const STALL: Duration = Duration::from_secs(5);
const HELD_BACK_DEADLINE: Duration = Duration::from_millis(200);
/// Records of one call, and their bytes.
const HELD_BACK_BATCH: usize = 64;
const HELD_BACK_RECORD: usize = 1 << 10;

/// Not a test: eight producers that write as fast as they are let. While the device stalls each of them is refused time and again,
/// never before its deadline; then the owner tells by how much its own memory grew, and once the device is back it looks whether all
/// that was handed in is there.
#[test]
fn held_back() {
    let Ok(text) = std::env::var(HELD_BACK) else { return };
    let (disk, root) = text.split_once(' ').unwrap();
    let disk = if disk == "portable" { DiskChoice::Portable } else { DiskChoice::Auto };
    // The parent thaws upon these words only, and before that nothing that has a write under way ends.
    std::panic::set_hook(Box::new(|info| {
        eprintln!("{info}");
        println!("\nfigures none: {info}");
        std::process::abort();
    }));
    let own_kib = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let small = StoreOptions::new().journal_file_bytes(8 << 20).memory_bytes(HELD_BACK_BYTES).reserve_bytes(0);
    // Made without the deadline, which on a busy machine the device may miss without stalling.
    drop(Store::open_with(root, small.clone()).unwrap().create_log("a", LogOptions::new()).unwrap());
    let store = Store::open_with(root, small.disk(disk).append_deadline(HELD_BACK_DEADLINE)).unwrap();
    let log = store.log("a").unwrap();
    let before = own_kib();
    let (stalled, frozen, over) = (Barrier::new(9), AtomicBool::new(false), AtomicBool::new(false));
    let (held, accepted): (usize, usize) = std::thread::scope(|scope| {
        let producers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let data = vec![7; HELD_BACK_RECORD];
                    let batch = [RecordParts::from(&data[..]); HELD_BACK_BATCH];
                    let (mut tickets, mut accepted, mut refused) = (Vec::new(), 0, 0);
                    loop {
                        let asked = Instant::now();
                        match log.append_batch_ticket(&batch) {
                            Ok(ticket) => {
                                tickets.push(ticket);
                                accepted += 1;
                            }
                            Err(Error::Busy { .. }) => {
                                assert!(asked.elapsed() >= HELD_BACK_DEADLINE, "refused after {:?}", asked.elapsed());
                                refused += u64::from(frozen.load(Ordering::SeqCst));
                            }
                            Err(error) => panic!("{error}"),
                        }
                        // Of a stall of 5 s and a deadline of 0.2 s. Who does not keep to that is never refused, and hangs here.
                        if over.load(Ordering::SeqCst) && refused >= 3 {
                            break;
                        }
                        tickets.retain(|ticket| ticket.try_get().is_none());
                    }
                    stalled.wait();
                    let held = tickets.len();
                    for ticket in tickets {
                        ticket.wait().unwrap();
                    }
                    (held, accepted)
                })
            })
            .collect();
        println!("\nready");
        std::io::stdin().read_line(&mut String::new()).unwrap();
        frozen.store(true, Ordering::SeqCst);
        let mut most = own_kib();
        let since = Instant::now();
        while since.elapsed() < STALL {
            std::thread::sleep(STALL / 100);
            most = most.max(own_kib());
        }
        over.store(true, Ordering::SeqCst);
        stalled.wait();
        most = most.max(own_kib());
        println!("\nfigures {} {}", store.stats().pending_bytes, most.saturating_sub(before) << 10);
        let sum = |(held, accepted): (usize, usize), (h, a): (usize, usize)| (held + h, accepted + a);
        producers.into_iter().map(|producer| producer.join().unwrap()).fold((0, 0), sum)
    });
    // Each call that was let in, and none that was refused, is there, once.
    let records = (accepted * HELD_BACK_BATCH) as u64;
    assert_eq!(log.end(), records);
    let found = log.read(StartAt::TrimHorizon).unwrap().map(Result::unwrap);
    assert_eq!(found.filter(|record| record.data.len() == HELD_BACK_RECORD).count() as u64, records);
    println!("\nwritten {held}");
}

#[test]
fn eight_producers_at_a_stalled_device_keep_to_the_memory_and_the_deadline_and_lose_no_ticket() {
    for disk in ["auto", "portable"] {
        let Some(mounted) = mount("ext4", 1024) else { return };
        let mut owner = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "held_back", "--nocapture"])
            .env(HELD_BACK, format!("{disk} {}", mounted.point().join("store").display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(owner.stdout.take().unwrap()).lines();
        let mut hear = |word: &str| said.by_ref().find_map(|line| line.unwrap().strip_prefix(word).map(str::to_owned));
        hear("ready").expect("the owner ended");
        if !freeze_below(&mut owner, &mounted) {
            return;
        }
        let figures = hear("figures ");
        // Before anything can fail: see above.
        freeze(&mounted, false).unwrap();
        let written = hear("written ");
        assert!(owner.wait().unwrap().success(), "{disk}: {figures:?}, {written:?}");
        let (figures, tickets) = (figures.unwrap(), written.unwrap());
        let (pending, grown) = figures.split_once(' ').unwrap();
        let (pending, grown): (u64, u64) = (pending.parse().unwrap(), grown.parse().unwrap());
        println!(
            "{disk}: {tickets} tickets held, {pending} bytes pending, memory grew by {grown} of {HELD_BACK_BYTES}"
        );
        assert!(pending > HELD_BACK_BYTES / 2, "the device stalled before there was much to wait: {pending}");
        assert!(grown <= HELD_BACK_BYTES + HELD_BACK_BYTES / 5, "{grown} bytes of {HELD_BACK_BYTES}");
    }
}

/// The owner dies with a write in a device that does not answer. Whoever comes next waits until it has landed.
#[test]
fn an_owner_that_dies_with_writes_under_way_is_followed_only_when_they_have_landed() {
    let Some(mounted) = mount("ext4", 48) else { return };
    let root = mounted.point().join("store");
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, &root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(owner.stdout.take().unwrap()).lines();
    let mut await_word = |word: &str| assert!(said.by_ref().any(|line| line.unwrap() == word), "the owner ended");
    await_word("ready");
    if !freeze_below(&mut owner, &mounted) {
        return;
    }
    await_word("asked");
    owner.kill().unwrap();
    let thawed = AtomicBool::new(false);
    let opened = std::thread::scope(|scope| {
        let next = scope.spawn(|| {
            // A process that is killed and can't end yet still counts as the owner.
            let mut attempts = std::iter::repeat_with(|| Store::open_with(&root, options(DiskChoice::Auto)));
            let opened = attempts.find(|opened| !matches!(opened, Err(Error::Locked { .. })));
            (opened, thawed.load(Ordering::SeqCst))
        });
        // Time to go wrong in; nothing depends on how much.
        std::thread::sleep(Duration::from_millis(300));
        thawed.store(true, Ordering::SeqCst);
        freeze(&mounted, false).unwrap();
        next.join().unwrap()
    });
    owner.wait().unwrap();
    let (store, after_the_thaw) = opened;
    assert!(after_the_thaw, "the next owner was in while the last one's write was under way");
    let store = store.unwrap().unwrap();
    let found = read(&store);
    assert!(found.len() >= 20 && found.iter().copied().eq(0..found.len() as u64), "{found:?}");
    store.log("a").unwrap().append(record(found.len() as u64).as_str()).unwrap();
}

#[test]
fn a_segment_cut_short_under_an_open_store_is_an_error_where_it_reads_by_copy() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(DiskChoice::Auto).read_mode(ReadMode::Copy);
    let store = Store::open_with(folder.path(), options.clone()).unwrap();
    let log = store.create_log("a", LogOptions::new()).unwrap();
    for i in 0..60 {
        log.append(record(i).as_str()).unwrap();
    }
    drop(log);
    store.close().unwrap();
    let store = Store::open_with(folder.path(), options).unwrap();
    assert_eq!(read(&store).len(), 60);
    let segment = segments(folder.path()).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    fs::OpenOptions::new().write(true).open(segment).unwrap().set_len(4096).unwrap();
    let mut records = store.log("a").unwrap().read(StartAt::TrimHorizon).unwrap();
    let mut found: Vec<_> = records.by_ref().collect();
    assert!(matches!(found.pop(), Some(Err(Error::Damaged { .. }))));
    assert!(records.next_sequence_number() < 60);
    for (i, found) in found.into_iter().enumerate() {
        assert_eq!(found.unwrap().data, record(i as u64).as_bytes());
    }
}

fn segments(root: &Path) -> Vec<std::path::PathBuf> {
    let folders = fs::read_dir(root.join("segments")).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    files.filter(|path| path.extension().is_some_and(|e| e == "seg")).collect()
}

#[test]
fn a_program_that_is_started_inherits_no_file_of_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_with(folder.path(), options(DiskChoice::Auto)).unwrap();
    store.create_log("a", LogOptions::new()).unwrap().append("x").unwrap();
    let seen = Command::new("ls").args(["-l", "/proc/self/fd"]).output().unwrap();
    let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
    assert!(seen.contains("/proc/"), "{seen}");
    assert!(!seen.contains(folder.path().to_str().unwrap()) && !seen.contains("io_uring"), "{seen}");
    drop(store);
}

/// What a caller gives the driver to run may panic there.
#[test]
fn a_panic_in_the_commit_thread_stops_the_store_and_leaves_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_with(folder.path(), options(DiskChoice::Auto)).unwrap();
    let log = store.create_log("a", LogOptions::new()).unwrap();
    log.append(record(0).as_str()).unwrap();
    let mut transaction = Transaction::new();
    transaction.append(&log, "never").unwrap();
    transaction.require(|| panic!("on purpose"));
    let committed = store.commit(transaction).unwrap();
    assert!(matches!(committed.wait(), Err(Error::OutcomeUnknown { .. })));
    let refused = (0..1000).find_map(|_| log.append("x").err());
    assert!(refused.is_some(), "nobody frames anything any more");
    assert!(matches!(store.health(), Health::Stopped { .. }), "{}", store.health());
    drop((log, store));
    assert_eq!(read(&Store::open_with(folder.path(), options(DiskChoice::Auto)).unwrap()).first(), Some(&0));
}

const STORING: &str = "BRAIDLOG_KERNEL_STORING";
/// So many that the log has grown beyond where small appends are stored to mapped memory.
const STORED: u64 = 3_000;

/// Not a test: an owner of a buffered log that appends so many small records, and once it is told to one after the other until
/// that is refused, which it tells.
#[test]
fn storing() {
    let Ok(text) = std::env::var(STORING) else { return };
    let (mode, root) = text.split_once(' ').unwrap();
    let mode = if mode == "map" { ReadMode::Map } else { ReadMode::Copy };
    let store = Store::open_with(root, options(DiskChoice::Auto).read_mode(mode)).unwrap();
    let log = store.create_log("a", LogOptions::new().durability(Durability::Buffered)).unwrap();
    let append = |i: u64| log.append(format!("{i} small").as_str());
    for i in 0..STORED {
        append(i).unwrap();
    }
    println!("\nready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let error = (STORED..).find_map(|i| append(i).err()).unwrap();
    assert!(matches!(error, Error::OutcomeUnknown { .. } | Error::Stopped { .. }), "{error}");
    println!("\nrefused");
}

#[test]
fn a_file_system_that_goes_read_only_costs_a_buffered_log_nothing_that_was_on_it() {
    for mode in ["map", "copy"] {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        let mounted = match make_image(&image, "ext4", 48).and_then(|()| mount_image(&image)) {
            Ok(mounted) => mounted,
            Err(why) => return skipped(format_args!("a file system in a file can't be mounted here ({why})")),
        };
        let mut owner = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "storing", "--nocapture"])
            .env(STORING, format!("{mode} {}", mounted.point().join("store").display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(owner.stdout.take().unwrap()).lines();
        assert!(said.by_ref().any(|line| line.unwrap() == "ready"), "the owner ended");
        run("sync", &["-f", mounted.point().to_str().unwrap()]).unwrap();
        let switch = format!("/sys/fs/ext4/{}/trigger_fs_error", mounted.device());
        if let Err(why) = fs::write(switch, "a file system that fails") {
            owner.kill().unwrap();
            owner.wait().unwrap();
            return skipped(format_args!("the kernel has no switch for a failing file system ({why})"));
        }
        owner.stdin.take().unwrap().write_all(b"go on\n").unwrap();
        let refused = said.any(|line| line.unwrap() == "refused");
        let status = owner.wait().unwrap();
        println!("{mode}: {status}");
        // A store to a page that the file system takes none to any more ends the process: stated of `ReadMode::Map`.
        let ended = mode == "map" && status.signal() == Some(Signal::BUS.as_raw());
        assert!(ended || (refused && status.success()), "{mode}: {status}");
        run("umount", &[mounted.point().to_str().unwrap()]).unwrap();
        drop(mounted);
        let mounted = mount_image(&image).unwrap();
        let store = Store::open_with(mounted.point().join("store"), options(DiskChoice::Auto)).unwrap();
        let log = store.log("a").unwrap();
        let found: Vec<_> = log.read(StartAt::TrimHorizon).unwrap().map(|record| record.unwrap().data).collect();
        assert!(found.len() as u64 >= STORED, "{mode}: {} records", found.len());
        for (i, data) in found.iter().enumerate() {
            assert_eq!(data, format!("{i} small").as_bytes(), "{mode}");
        }
        log.append("after").unwrap();
        drop((log, store));
    }
}
