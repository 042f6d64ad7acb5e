//! One set of cases over every disk, and a few that need a real kernel.
//!
//! To put another disk under the cases, give it a maker in `make` and a line beside the other `suite!` lines.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

#[path = "support/mount.rs"]
mod mount;

use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use braidlog::env::sim::{SimDisk, Tape};
use braidlog::env::{
    Access, AlignedBuf, BLOCK, Completion, Disk, DiskFile, DiskKind, DiskLock, DiskOp, LockMode, RealDisk, Wait,
    WriteQueue,
};

/// A disk to test, and its folder if it is a real one.
struct Rig {
    disk: Arc<dyn Disk>,
    folder: Option<tempfile::TempDir>,
}

impl Rig {
    /// The folder as other programs see it.
    fn real_root(&self) -> Option<&Path> {
        self.folder.as_ref().map(|f| f.path())
    }
}

mod make {
    use super::*;

    pub fn portable() -> Rig {
        let folder = tempfile::tempdir().unwrap();
        Rig { disk: Arc::new(RealDisk::portable(folder.path()).unwrap()), folder: Some(folder) }
    }

    pub fn io_uring() -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(folder.path()).unwrap();
        if disk.kind() != DiskKind::IoUring {
            mount::skipped("io_uring is not permitted here: this runs on the portable disk a second time");
        }
        Rig { disk: Arc::new(disk), folder: Some(folder) }
    }

    pub fn simulated() -> Rig {
        Rig { disk: Arc::new(SimDisk::new(Tape::seeded(1))), folder: None }
    }
}

macro_rules! suite {
    ($disk:ident) => {
        suite! { $disk:
            only_paths_below_the_root
            folders_are_made_once
            a_file_is_created_once_and_then_found
            links_pipes_and_folders_are_no_files
            reading_stops_at_the_end
            writing_extends
            a_durable_write_reads_back
            what_is_performed_is_done_once_it_is_reaped
            more_in_flight_than_the_queue_is_deep
            a_sync_by_itself_completes
            an_impossible_write_fails_by_itself
            a_second_owner_is_told_the_first
            inspectors_share_the_lock
            an_inspector_leaves_no_trace
            renaming_replaces_nothing
            a_removed_file_lives_on_and_shrinks
            allocating_keeps_the_length
            listing_is_sorted
            folders_and_the_whole_disk_sync
            there_is_space
            a_mapping_sees_later_bytes
            pins_are_counted_and_given_back
            what_is_stored_through_a_window_is_in_the_file
            a_sibling_is_a_disk_of_its_own
        }
    };
    ($disk:ident: $($case:ident)*) => {
        mod $disk {
            $(#[test] fn $case() { super::$case(&super::make::$disk()) })*
        }
    };
}

suite!(portable);
suite!(io_uring);
suite!(simulated);

fn kind<T>(result: std::io::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("succeeded"),
        Err(e) => e.kind(),
    }
}

fn create(rig: &Rig, path: &str, content: &[u8]) -> Arc<dyn DiskFile> {
    let file = rig.disk.open(path, Access::CreateNew).unwrap();
    file.write_at(content, 0).unwrap();
    file
}

fn content(file: &dyn DiskFile) -> Vec<u8> {
    let mut all = vec![0; file.len().unwrap() as usize];
    assert_eq!(file.read_at(&mut all, 0).unwrap(), all.len());
    all
}

fn owner(rig: &Rig) -> Box<dyn DiskLock> {
    rig.disk.lock("LOCK", LockMode::Exclusive, "the test").unwrap()
}

/// Blocks filled with `byte`.
fn blocks(count: usize, byte: u8) -> AlignedBuf {
    let mut data = AlignedBuf::with_capacity(count * BLOCK);
    data.resize(count * BLOCK);
    data.fill(byte);
    data
}

fn write(file: &Arc<dyn DiskFile>, offset: u64, data: AlignedBuf) -> DiskOp {
    DiskOp::Write { file: file.clone(), offset, data, durable: true }
}

/// Reaps until nothing is in flight, sorted by token.
fn finish(queue: &mut dyn WriteQueue) -> Vec<Completion> {
    let mut done = Vec::new();
    while queue.in_flight() > 0 {
        let before = done.len();
        queue.reap(Wait::Completion, &mut done);
        assert!(done.len() > before, "waiting brought nothing");
    }
    done.sort_by_key(|c| c.token);
    done
}

fn only_paths_below_the_root(rig: &Rig) {
    for path in ["/etc/passwd", "../x", "a/../../x", "", ".", "a//b"] {
        assert_eq!(kind(rig.disk.open(path, Access::CreateNew)), ErrorKind::InvalidInput, "{path:?}");
        assert_eq!(kind(rig.disk.remove(path)), ErrorKind::InvalidInput, "{path:?}");
    }
    create(rig, "here", b"");
    assert_eq!(kind(rig.disk.rename("here", "../there")), ErrorKind::InvalidInput);
    assert_eq!(kind(rig.disk.list("..")), ErrorKind::InvalidInput);
    assert_eq!(kind(rig.disk.create_dir("a/..")), ErrorKind::InvalidInput);
}

fn folders_are_made_once(rig: &Rig) {
    rig.disk.create_dir("a").unwrap();
    rig.disk.create_dir("a").unwrap();
    rig.disk.create_dir("a/b").unwrap();
    create(rig, "a/b/file", b"x");
    assert_eq!(kind(rig.disk.create_dir("a/b/file")), ErrorKind::AlreadyExists);
    assert_eq!(kind(rig.disk.create_dir("no/where")), ErrorKind::NotFound);
}

fn a_file_is_created_once_and_then_found(rig: &Rig) {
    for access in [Access::Read, Access::Write, Access::Direct] {
        assert_eq!(kind(rig.disk.open("file", access)), ErrorKind::NotFound);
    }
    let file = create(rig, "file", b"content");
    assert!(!file.is_empty().unwrap());
    assert_eq!(kind(rig.disk.open("file", Access::CreateNew)), ErrorKind::AlreadyExists);
    for access in [Access::Read, Access::Write] {
        assert_eq!(content(&*rig.disk.open("file", access).unwrap()), b"content");
    }
    assert!(rig.disk.open("file", Access::Read).unwrap().write_at(b"x", 0).is_err());
}

fn links_pipes_and_folders_are_no_files(rig: &Rig) {
    rig.disk.create_dir("folder").unwrap();
    for access in [Access::Read, Access::Write] {
        assert!(rig.disk.open("folder", access).is_err());
    }
    let Some(root) = rig.real_root() else { return };
    create(rig, "folder/file", b"x");
    std::os::unix::fs::symlink(root.join("folder/file"), root.join("link")).unwrap();
    std::os::unix::fs::symlink("folder", root.join("folder-link")).unwrap();
    for access in [Access::Read, Access::Write, Access::CreateNew, Access::Direct] {
        assert!(rig.disk.open("link", access).is_err(), "{access:?}");
        assert!(rig.disk.open("folder-link/file", access).is_err(), "{access:?}");
    }
    assert_eq!(kind(rig.disk.open("link", Access::Read)), ErrorKind::InvalidInput);
    assert!(rig.disk.list("folder-link").is_err());
    assert!(rig.disk.lock("link", LockMode::Exclusive, "nobody").is_err());
    let made = Command::new("mkfifo").arg(root.join("pipe")).status().unwrap();
    assert!(made.success());
    assert_eq!(kind(rig.disk.open("pipe", Access::Read)), ErrorKind::InvalidInput);
    assert_eq!(kind(rig.disk.lock("pipe", LockMode::Shared, "")), ErrorKind::InvalidInput);
}

fn reading_stops_at_the_end(rig: &Rig) {
    let file = create(rig, "file", b"0123456789");
    let mut buf = [0; 6];
    assert_eq!(file.read_at(&mut buf, 2).unwrap(), 6);
    assert_eq!(&buf, b"234567");
    assert_eq!(file.read_at(&mut buf, 8).unwrap(), 2);
    assert_eq!(&buf[..2], b"89");
    assert_eq!(file.read_at(&mut buf, 10).unwrap(), 0);
    assert_eq!(file.read_at(&mut buf, 1 << 40).unwrap(), 0);
}

fn writing_extends(rig: &Rig) {
    let file = create(rig, "file", b"ab");
    file.write_at(b"xy", 10_000).unwrap();
    assert_eq!(file.len().unwrap(), 10_002);
    file.sync_data().unwrap();
    let all = content(&*file);
    assert_eq!((&all[..2], &all[10_000..]), (&b"ab"[..], &b"xy"[..]));
    assert!(all[2..10_000].iter().all(|&b| b == 0));
}

fn a_durable_write_reads_back(rig: &Rig) {
    create(rig, "file", &[1; 4 * BLOCK]).sync_data().unwrap();
    let file = rig.disk.open("file", Access::Direct).unwrap();
    let lock = owner(rig);
    let mut queue = rig.disk.write_queue(&*lock, 4).unwrap();
    assert_eq!(queue.in_flight(), 0);
    queue.submit(7, write(&file, BLOCK as u64, blocks(2, 9)));
    assert_eq!(queue.in_flight(), 1);
    let done = finish(&mut *queue);
    assert_eq!(done.len(), 1);
    assert_eq!(done[0].token, 7);
    done[0].result.as_ref().unwrap();
    let DiskOp::Write { data, offset, .. } = &done[0].op else { panic!("another operation came back") };
    assert_eq!((data.len(), data[0], *offset), (2 * BLOCK, 9, BLOCK as u64));
    let all = content(&*rig.disk.open("file", Access::Read).unwrap());
    let expected = [1, 9, 9, 1].map(|byte| [byte; BLOCK]).concat();
    assert!(all == expected);
    let mut nothing = Vec::new();
    queue.reap(Wait::Completion, &mut nothing);
    assert!(nothing.is_empty(), "with nothing in flight there is nothing to wait for");
}

fn what_is_performed_is_done_once_it_is_reaped(rig: &Rig) {
    let lock = owner(rig);
    let mut queue = rig.disk.write_queue(&*lock, 4).unwrap();
    create(rig, "file", b"");
    let file = rig.disk.open("file", Access::Direct).unwrap();
    queue.submit(1, write(&file, 0, blocks(1, 1)));
    queue.perform(2, write(&file, BLOCK as u64, blocks(2, 2)));
    queue.perform(3, DiskOp::SyncData { file: file.clone() });
    assert_eq!(queue.in_flight(), 3);
    let mut done = finish(&mut *queue);
    done.sort_by_key(|completion| completion.token);
    assert_eq!(done.iter().map(|completion| completion.token).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(done.iter().all(|completion| completion.result.is_ok()));
    assert_eq!(content(&*rig.disk.open("file", Access::Read).unwrap()), [vec![1; BLOCK], vec![2; 2 * BLOCK]].concat());
}

fn more_in_flight_than_the_queue_is_deep(rig: &Rig) {
    const COUNT: u64 = 50;
    create(rig, "file", b"");
    let file = rig.disk.open("file", Access::Direct).unwrap();
    let lock = owner(rig);
    let mut queue = rig.disk.write_queue(&*lock, 4).unwrap();
    let mut done = Vec::new();
    for token in 0..COUNT {
        let op = DiskOp::Write {
            file: file.clone(),
            offset: token * 3 * BLOCK as u64,
            data: blocks(3, token as u8 + 1),
            durable: token % 2 == 0,
        };
        queue.submit(token, op);
        if token % 10 == 9 {
            queue.reap(Wait::No, &mut done);
        }
        assert_eq!(queue.in_flight() + done.len(), token as usize + 1);
    }
    done.extend(finish(&mut *queue));
    done.sort_by_key(|c| c.token);
    assert!(done.iter().map(|c| c.token).eq(0..COUNT), "each exactly once");
    for completion in &done {
        completion.result.as_ref().unwrap();
    }
    let all = content(&*rig.disk.open("file", Access::Read).unwrap());
    assert_eq!(all.len(), COUNT as usize * 3 * BLOCK);
    assert!(all.chunks(3 * BLOCK).enumerate().all(|(i, part)| part.iter().all(|&b| usize::from(b) == i + 1)));
}

fn a_sync_by_itself_completes(rig: &Rig) {
    let file = create(rig, "file", b"cached bytes");
    let lock = owner(rig);
    let mut queue = rig.disk.write_queue(&*lock, 1).unwrap();
    queue.submit(1, DiskOp::SyncData { file });
    let done = finish(&mut *queue);
    assert!(matches!(done[0].op, DiskOp::SyncData { .. }));
    done[0].result.as_ref().unwrap();
}

fn an_impossible_write_fails_by_itself(rig: &Rig) {
    create(rig, "file", b"");
    let file = rig.disk.open("file", Access::Direct).unwrap();
    let lock = owner(rig);
    let mut queue = rig.disk.write_queue(&*lock, 4).unwrap();
    queue.submit(1, write(&file, u64::MAX, blocks(1, 1)));
    queue.submit(2, write(&file, 0, blocks(1, 2)));
    let done = finish(&mut *queue);
    assert!(done[0].result.is_err());
    done[1].result.as_ref().unwrap();
    assert_eq!(file.len().unwrap(), BLOCK as u64);
}

fn a_second_owner_is_told_the_first(rig: &Rig) {
    let first = rig.disk.lock("LOCK", LockMode::Exclusive, "process 17, clicks").unwrap();
    for mode in [LockMode::Exclusive, LockMode::Shared] {
        let Err(e) = rig.disk.lock("LOCK", mode, "a second one") else { panic!("{mode:?} was granted") };
        assert_eq!(e.kind(), ErrorKind::WouldBlock);
        assert!(e.to_string().contains("process 17, clicks"), "{e}");
    }
    drop(first);
    drop(rig.disk.lock("LOCK", LockMode::Exclusive, "x").unwrap());
    let again = rig.disk.lock("LOCK", LockMode::Exclusive, "y").unwrap();
    let Err(e) = rig.disk.lock("LOCK", LockMode::Exclusive, "z") else { panic!("granted") };
    assert!(e.to_string().contains('y') && !e.to_string().contains("17"), "no trace of an earlier holder: {e}");
    drop(again);
}

fn inspectors_share_the_lock(rig: &Rig) {
    drop(owner(rig));
    let one = rig.disk.lock("LOCK", LockMode::Shared, "").unwrap();
    let two = rig.disk.lock("LOCK", LockMode::Shared, "").unwrap();
    assert_eq!(kind(rig.disk.lock("LOCK", LockMode::Exclusive, "owner")), ErrorKind::WouldBlock);
    drop(one);
    assert_eq!(kind(rig.disk.lock("LOCK", LockMode::Exclusive, "owner")), ErrorKind::WouldBlock);
    drop(two);
    drop(owner(rig));
}

fn an_inspector_leaves_no_trace(rig: &Rig) {
    assert_eq!(kind(rig.disk.lock("LOCK", LockMode::Shared, "inspector")), ErrorKind::NotFound);
    assert!(rig.disk.list("").unwrap().is_empty());
    create(rig, "LOCK", b"left by a killed owner");
    drop(rig.disk.lock("LOCK", LockMode::Shared, "inspector").unwrap());
    assert_eq!(content(&*rig.disk.open("LOCK", Access::Read).unwrap()), b"left by a killed owner");
}

fn renaming_replaces_nothing(rig: &Rig) {
    rig.disk.create_dir("folder").unwrap();
    create(rig, "a", b"a");
    create(rig, "b", b"b");
    assert_eq!(kind(rig.disk.rename("a", "b")), ErrorKind::AlreadyExists);
    assert_eq!(kind(rig.disk.rename("none", "c")), ErrorKind::NotFound);
    rig.disk.rename("a", "folder/c").unwrap();
    assert_eq!(content(&*rig.disk.open("folder/c", Access::Read).unwrap()), b"a");
    assert_eq!(content(&*rig.disk.open("b", Access::Read).unwrap()), b"b");
    assert_eq!(kind(rig.disk.open("a", Access::Read)), ErrorKind::NotFound);
}

fn a_removed_file_lives_on_and_shrinks(rig: &Rig) {
    let file = create(rig, "file", &[5; 3 * BLOCK]);
    rig.disk.remove("file").unwrap();
    assert_eq!(kind(rig.disk.remove("file")), ErrorKind::NotFound);
    assert_eq!(kind(rig.disk.open("file", Access::Read)), ErrorKind::NotFound);
    assert!(content(&*file).iter().all(|&b| b == 5));
    file.shrink(BLOCK as u64).unwrap();
    assert_eq!(file.len().unwrap(), BLOCK as u64);
    file.shrink(2 * BLOCK as u64).unwrap();
    assert_eq!(file.len().unwrap(), BLOCK as u64, "shrinking never grows");
    file.shrink(0).unwrap();
    assert!(file.is_empty().unwrap());
}

#[test]
fn a_file_that_somebody_else_has_open_or_mapped_does_not_shrink() {
    let dir = tempfile::tempdir().unwrap();
    let real = [RealDisk::open(dir.path()).unwrap(), RealDisk::portable(dir.path()).unwrap()];
    let simulated: Arc<dyn Disk> = Arc::new(SimDisk::new(Tape::seeded(1)));
    for disk in real.into_iter().map(|disk| Arc::new(disk) as Arc<dyn Disk>).chain([simulated]) {
        let made = disk.open("file", Access::CreateNew).unwrap();
        made.write_at(&[5; 3 * BLOCK], 0).unwrap();
        drop(made);
        let file = disk.open("file", Access::Write).unwrap();
        let reader = disk.open("file", Access::Read).unwrap();
        disk.remove("file").unwrap();
        assert_eq!(kind(file.shrink(0)), ErrorKind::ResourceBusy);
        let mapping = reader.map(3 * BLOCK as u64).unwrap();
        let bytes = mapping.bytes(0, 3 * BLOCK).unwrap();
        drop((reader, mapping));
        assert_eq!(kind(file.shrink(0)), ErrorKind::ResourceBusy);
        assert!(bytes.iter().all(|&b| b == 5));
        drop(bytes);
        file.shrink(0).unwrap();
        assert!(file.is_empty().unwrap());
    }
}

fn allocating_keeps_the_length(rig: &Rig) {
    let file = create(rig, "file", b"abc");
    file.allocate(1 << 20).unwrap();
    file.allocate(0).unwrap();
    assert_eq!(content(&*file), b"abc");
    file.write_at(b"d", 3).unwrap();
    assert_eq!(content(&*file), b"abcd");
}

fn listing_is_sorted(rig: &Rig) {
    for name in ["c", "a", "B", "10", "9"] {
        create(rig, name, name.as_bytes());
    }
    rig.disk.create_dir("b").unwrap();
    create(rig, "b/inside", b"12345");
    let list = rig.disk.list("").unwrap();
    let list: Vec<_> = list.iter().map(|e| (e.name.as_str(), e.is_dir, e.len)).collect();
    let expected =
        [("10", false, 2), ("9", false, 1), ("B", false, 1), ("a", false, 1), ("b", true, 0), ("c", false, 1)];
    assert_eq!(list, expected);
    assert_eq!(rig.disk.list("b").unwrap()[0].len, 5);
    assert_eq!(kind(rig.disk.list("none")), ErrorKind::NotFound);
}

fn folders_and_the_whole_disk_sync(rig: &Rig) {
    rig.disk.create_dir("folder").unwrap();
    create(rig, "folder/file", b"x");
    rig.disk.sync_dir("folder").unwrap();
    rig.disk.sync_dir("").unwrap();
    rig.disk.sync_all().unwrap();
    assert_eq!(kind(rig.disk.sync_dir("none")), ErrorKind::NotFound);
}

fn there_is_space(rig: &Rig) {
    let space = rig.disk.space().unwrap();
    assert!(space.available > 0 && space.available <= space.total, "{space:?}");
}

fn a_mapping_sees_later_bytes(rig: &Rig) {
    let file = create(rig, "file", b"early");
    let map = match file.map(64 * BLOCK as u64) {
        Err(e) if e.kind() == ErrorKind::Unsupported => return,
        other => other.unwrap(),
    };
    assert_eq!(map.bytes(0, 5).unwrap(), &b"early"[..]);
    file.write_at(b"later", 10 * BLOCK as u64).unwrap();
    assert_eq!(map.bytes(10 * BLOCK as u64, 5).unwrap(), &b"later"[..]);
    let mut copy = [0; 4];
    assert!(map.copy_to(10 * BLOCK as u64 + 1, &mut copy));
    assert_eq!(&copy, b"ater");
    assert!(map.bytes(64 * BLOCK as u64, 1).is_none());
    assert!(map.bytes(u64::MAX, 2).is_none());
    assert!(map.bytes(1, usize::MAX).is_none());
    assert!(!map.copy_to(64 * BLOCK as u64 - 1, &mut copy));
}

fn pins_are_counted_and_given_back(rig: &Rig) {
    let file = create(rig, "file", b"0123456789");
    let map = match file.map(BLOCK as u64) {
        Err(e) if e.kind() == ErrorKind::Unsupported => return,
        other => other.unwrap(),
    };
    assert_eq!(map.pins(), 0);
    let one = map.bytes(0, 10).unwrap();
    let part = one.slice(2..4);
    let two = map.bytes(5, 2).unwrap();
    assert!(map.pins() >= 2);
    drop(one);
    drop(two);
    assert_eq!(map.pins(), 1, "a slice pins as well");
    rig.disk.remove("file").unwrap();
    drop(file);
    assert_eq!(part, &b"23"[..]);
    drop(part);
    assert_eq!(map.pins(), 0);
    let last = map.bytes(0, 3).unwrap();
    drop(map);
    assert_eq!(last, &b"012"[..], "a pin outlives the mapping it came from");
}

fn what_is_stored_through_a_window_is_in_the_file(rig: &Rig) {
    let file = create(rig, "file", b"0123456789");
    let (offset, end) = (7, 50 * BLOCK as u64);
    file.allocate(end).unwrap();
    file.extend(end).unwrap();
    let mut window = match file.window(offset, (end - offset) as usize) {
        Err(e) if e.kind() == ErrorKind::Unsupported => return,
        other => other.unwrap(),
    };
    window.put(b"abc", 7).unwrap();
    // Over the end of a page, and of what is made ready at a time.
    let long = vec![b'x'; 20 * BLOCK];
    window.put(&long, 10).unwrap();
    window.put(b"", 10).unwrap();
    window.put(b"end", end - 3).unwrap();
    for (data, outside) in [(&b"abc"[..], 6), (b"abc", end - 2), (b"a", u64::MAX), (b"", end + 1)] {
        assert_eq!(kind(window.put(data, outside)), ErrorKind::InvalidInput, "{outside}");
    }
    file.write_at(b"beside", 30 * BLOCK as u64).unwrap();
    let whole = content(&*file);
    assert_eq!(&whole[..10], b"0123456abc");
    assert_eq!(&whole[10..][..long.len()], long);
    assert_eq!(&whole[30 * BLOCK..][..6], b"beside");
    assert_eq!(&whole[end as usize - 3..], b"end");
    file.sync_data().unwrap();
    rig.disk.remove("file").unwrap();
    window.put(b"late", 7).unwrap();
    drop(window);
    file.shrink(0).unwrap();
}

fn a_sibling_is_a_disk_of_its_own(rig: &Rig) {
    let root = match rig.real_root() {
        Some(root) => root.join("new/backup").display().to_string(),
        None => "backup".to_owned(),
    };
    let sibling = rig.disk.sibling(&root).unwrap();
    assert_eq!((sibling.kind(), sibling.root()), (rig.disk.kind(), root));
    sibling.open("file", Access::CreateNew).unwrap().write_at(b"x", 0).unwrap();
    assert_eq!(kind(rig.disk.open("file", Access::Read)), ErrorKind::NotFound);
    assert_eq!(sibling.list("").unwrap().len(), 1);
}

// What follows needs a real kernel below.

#[test]
fn an_opened_store_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("deep/store");
    let disk = RealDisk::open(&root).unwrap();
    disk.create_dir("folder").unwrap();
    disk.open("folder/file", Access::CreateNew).unwrap();
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(root.clone()), 0o700);
    assert_eq!(mode(root.join("folder")), 0o700);
    assert_eq!(mode(root.join("folder/file")), 0o600);
    assert_eq!(kind(RealDisk::open(&root.join("folder/file"))), ErrorKind::NotADirectory);
}

#[test]
fn a_dropped_queue_has_finished_its_writes() {
    for rig in [make::portable(), make::io_uring()] {
        create(&rig, "file", b"");
        let file = rig.disk.open("file", Access::Direct).unwrap();
        let lock = owner(&rig);
        let mut queue = rig.disk.write_queue(&*lock, 2).unwrap();
        for i in 0..8 {
            queue.submit(i, write(&file, i * BLOCK as u64, blocks(1, 3)));
        }
        drop(queue);
        assert!(content(&*file) == [3; 8 * BLOCK]);
    }
}

#[test]
fn a_queue_keeps_the_lock_and_moves_between_threads() {
    for rig in [make::portable(), make::io_uring()] {
        create(&rig, "file", b"");
        let file = rig.disk.open("file", Access::Direct).unwrap();
        let lock = owner(&rig);
        let mut queue = rig.disk.write_queue(&*lock, 2).unwrap();
        drop(lock);
        assert_eq!(kind(rig.disk.lock("LOCK", LockMode::Exclusive, "too early")), ErrorKind::WouldBlock);
        queue.submit(0, write(&file, 0, blocks(1, 1)));
        let mut queue = std::thread::spawn(move || {
            queue.submit(1, write(&file, BLOCK as u64, blocks(1, 1)));
            assert!(finish(&mut *queue).iter().all(|c| c.result.is_ok()));
            queue
        })
        .join()
        .unwrap();
        queue.submit(2, DiskOp::SyncData { file: rig.disk.open("file", Access::Write).unwrap() });
        assert!(finish(&mut *queue)[0].result.is_ok());
        drop(queue);
        drop(owner(&rig));
    }
}

#[test]
fn of_many_racing_openers_one_wins() {
    let rig = make::portable();
    for _ in 0..100 {
        let start = std::sync::Barrier::new(4);
        let held: Vec<_> = std::thread::scope(|s| {
            let open = || {
                // Each from a disk of its own, as separate opens of a store are.
                let disk = RealDisk::portable(rig.real_root().unwrap()).unwrap();
                start.wait();
                disk.lock("LOCK", LockMode::Exclusive, "a racer").ok()
            };
            let racers: Vec<_> = (0..4).map(|_| s.spawn(open)).collect();
            racers.into_iter().filter_map(|r| r.join().unwrap()).collect()
        });
        assert_eq!(held.len(), 1);
    }
}

/// This test program again, running only the named child below, with what it needs in its environment.
fn child(name: &str, root: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--include-ignored", "--nocapture"]).env("DISK_TEST_ROOT", root);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// The folder a child was started for; `None` in an ordinary run.
fn child_root() -> Option<PathBuf> {
    std::env::var_os("DISK_TEST_ROOT").map(PathBuf::from)
}

/// Reads what a child says until `word`.
fn await_word(child: &mut Child, word: &str) {
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains(word)), "the child ended without {word:?}");
}

#[test]
#[ignore = "run by lock_excludes_another_process"]
fn child_that_holds_the_lock() {
    let Some(root) = child_root() else { return };
    let disk = RealDisk::open(&root).unwrap();
    let lock = disk.lock("LOCK", LockMode::Exclusive, "the child").unwrap();
    let queue = disk.write_queue(&*lock, 4).unwrap();
    println!("\nlocked");
    // Until the parent kills this process or hangs up.
    let _ = std::io::stdin().read_line(&mut String::new());
    drop(queue);
}

#[test]
fn lock_excludes_another_process() {
    let rig = make::io_uring();
    let mut holder = child("child_that_holds_the_lock", rig.real_root().unwrap()).spawn().unwrap();
    await_word(&mut holder, "locked");
    for mode in [LockMode::Exclusive, LockMode::Shared] {
        let Err(e) = rig.disk.lock("LOCK", mode, "the parent") else { panic!("granted") };
        assert_eq!((e.kind(), e.to_string().as_str()), (ErrorKind::WouldBlock, "the child"));
    }
    holder.kill().unwrap();
    holder.wait().unwrap();
    // The kernel takes a killed process's ring down in the background, and the lock with it.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while let Err(e) = rig.disk.lock("LOCK", LockMode::Exclusive, "the parent") {
        assert_eq!(e.kind(), ErrorKind::WouldBlock);
        assert!(std::time::Instant::now() < deadline, "the lock of a killed process stays");
        std::thread::yield_now();
    }
    let held = rig.disk.lock("LOCK", LockMode::Shared, "").unwrap();
    let Err(e) = rig.disk.lock("LOCK", LockMode::Exclusive, "x") else { panic!("granted") };
    assert!(e.to_string().contains("inspector"), "not the killed owner's name: {e}");
    drop(held);
}

#[test]
#[ignore = "run by a_write_cut_short_by_a_limit_is_no_success"]
fn child_with_a_file_size_limit() {
    let Some(root) = child_root() else { return };
    let limit = 2 * BLOCK as u64;
    rustix::process::setrlimit(
        rustix::process::Resource::Fsize,
        rustix::process::Rlimit { current: Some(limit), maximum: Some(limit) },
    )
    .unwrap();
    for disk in [RealDisk::open(&root).unwrap(), RealDisk::portable(&root).unwrap()] {
        let lock = disk.lock("LOCK", LockMode::Exclusive, "").unwrap();
        let mut queue = disk.write_queue(&*lock, 4).unwrap();
        for access in [Access::Write, Access::Direct] {
            for durable in [false, true] {
                disk.open("file", Access::CreateNew).unwrap();
                let file = disk.open("file", access).unwrap();
                let op = DiskOp::Write { file: file.clone(), offset: 0, data: blocks(4, 1), durable };
                queue.submit(0, op);
                let done = finish(&mut *queue);
                let result = &done[0].result;
                assert_eq!(file.len().unwrap(), limit, "half of it was written");
                assert_eq!(result.as_ref().unwrap_err().kind(), ErrorKind::FileTooLarge, "{access:?} {durable}");
                disk.remove("file").unwrap();
            }
        }
        let file = disk.open("cached", Access::CreateNew).unwrap();
        assert_eq!(kind(file.write_at(&[0; 4 * BLOCK], 0)), ErrorKind::FileTooLarge);
        disk.remove("cached").unwrap();
    }
    println!("\nnone succeeded");
}

#[test]
fn a_write_cut_short_by_a_limit_is_no_success() {
    let folder = tempfile::tempdir().unwrap();
    let inner = child("child_with_a_file_size_limit", folder.path());
    // A process that goes beyond the limit is killed by a signal unless it ignores that, and a shell passes it on ignored.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(inner.get_program()).args(inner.get_args());
    shell.env("DISK_TEST_ROOT", folder.path()).stdout(Stdio::piped());
    let mut child = shell.spawn().unwrap();
    await_word(&mut child, "none succeeded");
    assert!(child.wait().unwrap().success());
}

const STRANGER: u32 = 65_534;

/// Not a test: somebody who is not root and owns the folder, in which one file is root's.
#[test]
#[ignore = "run by a_file_of_somebody_else_is_refused"]
fn child_that_owns_the_folder() {
    let Some(root) = child_root() else { return };
    for disk in [RealDisk::open(&root).unwrap(), RealDisk::portable(&root).unwrap()] {
        for access in [Access::Read, Access::Write, Access::Direct] {
            disk.open("own", access).unwrap();
            let Err(error) = disk.open("planted", access) else { panic!("opened for {access:?}") };
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            assert!(error.to_string().contains("it belongs to user 0"), "{error}");
        }
        let Err(error) = disk.lock("planted", LockMode::Exclusive, "nobody") else { panic!("locked") };
        assert!(error.to_string().contains("it belongs to user 0"), "{error}");
    }
    println!("\nrefused");
}

/// Whoever may write to the folder could place a file of theirs at a name of ours, and read or change what we write there.
#[test]
fn a_file_of_somebody_else_is_refused() {
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    if !rustix::process::geteuid().is_root() {
        return mount::skipped("only root gives files to others");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    // This program may lie where only root looks.
    let program = folder.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    for (name, mode) in [("planted", 0o666), ("own", 0o600)] {
        std::fs::write(root.join(name), "x").unwrap();
        std::fs::set_permissions(root.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    chown(root.join("own"), Some(STRANGER), Some(STRANGER)).unwrap();
    chown(&root, Some(STRANGER), Some(STRANGER)).unwrap();
    let mut child = Command::new(program);
    child.args(["--exact", "child_that_owns_the_folder", "--include-ignored", "--nocapture"]);
    child.env("DISK_TEST_ROOT", &root).current_dir(&root).uid(STRANGER).gid(STRANGER).stdout(Stdio::piped());
    let mut child = child.spawn().unwrap();
    await_word(&mut child, "refused");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_full_disk_fails_the_write_and_then_serves_again() {
    let Some(mounted) = mount::mount("tmpfs", 1) else { return };
    for disk in [RealDisk::open(&mounted.point()).unwrap(), RealDisk::portable(&mounted.point()).unwrap()] {
        let lock = disk.lock("LOCK", LockMode::Exclusive, "a full disk must still open").unwrap();
        let mut queue = disk.write_queue(&*lock, 4).unwrap();
        disk.open("file", Access::CreateNew).unwrap();
        let file = disk.open("file", Access::Direct).unwrap();
        queue.submit(0, write(&file, 0, blocks(512, 1)));
        let done = finish(&mut *queue);
        assert_eq!(done[0].result.as_ref().unwrap_err().kind(), ErrorKind::StorageFull);
        assert!(file.len().unwrap() > 0, "it was cut short before it failed");
        assert!(file.allocate(1 << 30).is_err());
        file.shrink(0).unwrap();
        queue.submit(1, write(&file, 0, blocks(1, 1)));
        finish(&mut *queue)[0].result.as_ref().unwrap();
        disk.remove("file").unwrap();
    }
}

#[test]
fn a_store_on_a_network_file_system_is_told() {
    use braidlog::env::Env;
    use braidlog::env::sim::{ManualClock, Profile, SeededRandom};
    use braidlog::{Store, StoreOptions};
    let options = || StoreOptions::new().journal_file_bytes(1 << 20).memory_bytes(1 << 20);
    for network in [Some("nfs"), None] {
        let disk = SimDisk::new(Tape::seeded(1));
        disk.set_profile(Profile { network, ..Profile::STRICT_POSIX });
        let (clock, random) = (Arc::new(ManualClock::at(1_800_000_000_000)), Arc::new(SeededRandom::new(7)));
        let env = Env { disk: Arc::new(disk), clock, random };
        let store = Store::open_in(env, options()).unwrap();
        assert_eq!(store.open_report().network_file_system.as_deref(), network);
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::open(folder.path()).unwrap();
    assert_eq!(disk.network_file_system(), None, "{} is a network file system?", folder.path().display());
}
