//! The real disk: one directory, reached through its descriptor.
//!
//! Three rules hold in this folder:
//!
//! 1. A path is walked from the root's descriptor one folder at a time, and no step follows a symbolic link. What is
//!    opened must be a regular file.
//! 2. A write that was cut short, or refused for a reason that passes, is continued until it is whole or fails. A sync
//!    that failed is never tried again: the kernel may have dropped the pages it could not write, and a second call would
//!    succeed for nothing.
//! 3. Every descriptor is closed in a program that a child process starts, and no map or ring is copied by a fork.

mod lock;
mod mmap;
#[cfg(target_os = "linux")]
mod others;
mod portable;
#[cfg(target_os = "linux")]
mod uring;
#[cfg(target_os = "linux")]
mod window;
#[cfg(target_os = "linux")]
mod write_back;

use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use self::lock::RealLock;
use self::portable::{PortableQueue, RealFile};
use super::{Access, BLOCK, DirEntry, Disk, DiskFile, DiskKind, DiskLock, LockMode, Space, WriteQueue};
use crate::error::is_no_descriptor;

/// Only the owner reads, writes and enters.
const FOLDER_MODE: Mode = Mode::RWXU;
/// Only the owner reads and writes.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// File systems whose files lie on other machines, by the numbers that `statfs` tells them apart with (`linux/magic.h`, and
/// the sources of those that are no part of the kernel). FUSE is none of them: it may be either.
#[cfg(target_os = "linux")]
const NETWORK_FILE_SYSTEMS: [(u32, &str); 13] = [
    (0x6969, "nfs"),
    (0x517B, "smb"),
    (0xFF53_4D42, "cifs"),
    (0xFE53_4D42, "smb2"),
    (0x5346_414F, "afs"),
    (0x6B41_4653, "afs"),
    (0x7375_7245, "coda"),
    (0x00C3_6400, "ceph"),
    (0x0BD0_0BD0, "lustre"),
    (0x0116_1970, "gfs2"),
    (0x7461_636F, "ocfs2"),
    (0x4750_4653, "gpfs"),
    (0x1983_0326, "beegfs"),
];

/// A directory of the local file system.
///
/// Journal and bulk writes go through io_uring where the kernel permits it, and through positioned writes elsewhere;
/// [`Disk::kind`] tells which.
pub struct RealDisk {
    path: PathBuf,
    root: OwnedFd,
    /// Who owns the directory: files of other people in it are refused.
    owner: u32,
    /// Whether queues are made of io_uring. Cleared when the kernel turns out to refuse a ring of full size.
    ring: AtomicBool,
    /// Whether one call makes the whole file system durable and tells what went wrong.
    syncfs: bool,
}

impl RealDisk {
    /// The directory `root`, made if need be (mode 0700, its entry durable), with io_uring where it is permitted.
    ///
    /// # Errors
    /// The directory can't be made or opened.
    pub fn open(root: &Path) -> io::Result<RealDisk> {
        RealDisk::with_ring(root, ring_permitted())
    }

    /// As [`RealDisk::open`], with positioned writes even where io_uring is permitted.
    ///
    /// # Errors
    /// The directory can't be made or opened.
    pub fn portable(root: &Path) -> io::Result<RealDisk> {
        RealDisk::with_ring(root, false)
    }

    fn with_ring(path: &Path, ring: bool) -> io::Result<RealDisk> {
        make_root(path)?;
        // The root itself may be named through a symbolic link: that name is the operator's. It isn't opened as a mere
        // place holder (O_PATH), because this descriptor is the one that syncfs reports write-back errors on.
        let root = fs::open(path, FOLDER_FLAGS, Mode::empty())?;
        let owner = fs::fstat(&root)?.st_uid;
        Ok(RealDisk { path: path.to_owned(), root, owner, ring: AtomicBool::new(ring), syncfs: syncfs_tells_errors() })
    }

    /// The descriptor of a folder, `""` being the root.
    fn folder(&self, dir: &str) -> io::Result<OwnedFd> {
        if dir.is_empty() {
            return Ok(fs::openat(&self.root, ".", FOLDER_FLAGS, Mode::empty())?);
        }
        let (parent, name) = self.locate(dir)?;
        Ok(fs::openat(&parent, name, FOLDER_FLAGS | OFlags::NOFOLLOW, Mode::empty())?)
    }

    /// The folder a path lies in, and its name there.
    fn locate<'a>(&self, path: &'a str) -> io::Result<(Folder<'_>, &'a str)> {
        check_path(path)?;
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut folder = Folder::Root(self.root.as_fd());
        for part in above.split('/').filter(|part| !part.is_empty()) {
            folder = Folder::Below(fs::openat(&folder, part, FOLDER_FLAGS | OFlags::NOFOLLOW, Mode::empty())?);
        }
        Ok((folder, name))
    }

    /// Opens a regular file of ours, or refuses.
    fn open_regular(&self, path: &str, flags: OFlags) -> io::Result<(OwnedFd, Stat)> {
        let (folder, name) = self.locate(path)?;
        let fd = fs::openat(&folder, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, FILE_MODE).map_err(|errno| {
            match errno {
                Errno::LOOP | Errno::MLINK => refused(path, "it is a symbolic link"),
                Errno::ISDIR => refused(path, "it is not a regular file"),
                other => other.into(),
            }
        })?;
        let stat = fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(refused(path, "it is not a regular file"));
        }
        // Someone who may write to the directory could place a file of theirs, or a link to one, at a name we use. The
        // directory's owner counts as ours too, for file systems that show one owner for everything.
        let user = rustix::process::geteuid();
        if stat.st_uid != self.owner && stat.st_uid != user.as_raw() && !user.is_root() {
            let why = format!("it belongs to user {}", stat.st_uid);
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{path} is refused: {why}")));
        }
        Ok((fd, stat))
    }

    /// Makes every file and folder at and below `dir` durable, one by one.
    fn sync_tree(&self, dir: &str) -> io::Result<()> {
        for entry in self.list(dir)? {
            let path = if dir.is_empty() { entry.name } else { format!("{dir}/{}", entry.name) };
            if entry.is_dir {
                self.sync_tree(&path)?;
                continue;
            }
            match self.open(&path, Access::Read) {
                Ok(file) => file.sync_data()?,
                // Removed meanwhile, or nothing that we could have written: nothing to make durable.
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {}
                Err(e) => return Err(e),
            }
        }
        self.sync_dir(dir)
    }
}

impl Disk for RealDisk {
    fn kind(&self) -> DiskKind {
        if self.ring.load(Ordering::Relaxed) { DiskKind::IoUring } else { DiskKind::Portable }
    }

    fn root(&self) -> String {
        self.path.display().to_string()
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        let (parent, name) = self.locate(dir)?;
        match fs::mkdirat(&parent, name, FOLDER_MODE) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => {
                let stat = fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    return Ok(());
                }
                Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{dir} exists and is not a folder")))
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn list(&self, dir: &str) -> io::Result<Vec<DirEntry>> {
        let folder = self.folder(dir)?;
        let mut entries = Vec::new();
        for entry in fs::Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = match fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                // Removed since its name was read.
                Err(Errno::NOENT) => continue,
                other => other?,
            };
            let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            let len = if is_dir { 0 } else { length(&stat) };
            entries.push(DirEntry { name: name.to_string_lossy().into_owned(), is_dir, len });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn open(&self, path: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        // Not blocking matters for a pipe somebody put in a file's place: to open one for reading would wait for ever.
        let (flags, direct) = match access {
            Access::Read => (OFlags::RDONLY | OFlags::NONBLOCK, false),
            Access::Write => (OFlags::RDWR, false),
            Access::CreateNew => (OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, false),
            Access::Direct => (OFlags::RDWR, cfg!(target_os = "linux")),
        };
        #[cfg(target_os = "linux")]
        if direct {
            match self.open_regular(path, flags | OFlags::DIRECT) {
                Ok((fd, _)) => return Ok(Arc::new(RealFile::new(fd, true))),
                // A file system without direct writes. The cached descriptor below serves as well: a durable write asks
                // for its own sync either way.
                Err(e) if Errno::from_io_error(&e) == Some(Errno::INVAL) => {}
                Err(e) => return Err(e),
            }
        }
        let _ = direct;
        let (fd, _) = self.open_regular(path, flags)?;
        Ok(Arc::new(RealFile::new(fd, false)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from_folder, from_name) = self.locate(from)?;
        let (to_folder, to_name) = self.locate(to)?;
        #[cfg(target_os = "linux")]
        match fs::renameat_with(&from_folder, from_name, &to_folder, to_name, fs::RenameFlags::NOREPLACE) {
            // A kernel or a file system that doesn't know the flag.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            other => return Ok(other?),
        }
        // Two steps instead of one. Nobody can come between: only the holder of the exclusive lock renames.
        match fs::statat(&to_folder, to_name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(fs::renameat(&from_folder, from_name, &to_folder, to_name)?),
            Ok(_) => Err(Errno::EXIST.into()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let (folder, name) = self.locate(path)?;
        Ok(fs::unlinkat(&folder, name, AtFlags::empty())?)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        match self.folder(dir) {
            // The call that makes all durable needs no descriptor.
            Err(error) if is_no_descriptor(error.raw_os_error()) && self.syncfs => self.sync_all(),
            folder => Ok(fs::fsync(folder?)?),
        }
    }

    fn sync_all(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if self.syncfs {
            return Ok(fs::syncfs(&self.root)?);
        }
        let _ = self.syncfs;
        self.sync_tree("")
    }

    #[cfg(target_os = "linux")]
    fn network_file_system(&self) -> Option<&'static str> {
        let kind = fs::fstatfs(&self.root).ok()?.f_type as u32;
        NETWORK_FILE_SYSTEMS.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| *name)
    }

    fn space(&self) -> io::Result<Space> {
        let stat = fs::fstatvfs(&self.root)?;
        Ok(Space {
            available: stat.f_bavail.saturating_mul(stat.f_frsize),
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }

    fn lock(&self, path: &str, mode: LockMode, holder: &str) -> io::Result<Box<dyn DiskLock>> {
        // An inspector leaves no trace: it opens what is there, for reading.
        let flags = match mode {
            LockMode::Exclusive => OFlags::RDWR | OFlags::CREATE,
            LockMode::Shared => OFlags::RDONLY | OFlags::NONBLOCK,
        };
        let (fd, stat) = self.open_regular(path, flags)?;
        Ok(Box::new(RealLock::acquire(fd, &stat, mode, holder)?))
    }

    fn write_queue(&self, lock: &dyn DiskLock, depth: usize) -> io::Result<Box<dyn WriteQueue>> {
        let lock = RealLock::of(lock)?;
        #[cfg(target_os = "linux")]
        if self.ring.load(Ordering::Relaxed) {
            match uring::RingQueue::new(lock.clone(), depth) {
                Ok(queue) => return Ok(Box::new(queue)),
                // The small ring of the first try was granted and this one isn't: kernels before 5.12 count a ring's
                // memory against a limit, and permissions may have been given up since.
                Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::NOMEM | Errno::PERM | Errno::NOSYS)) => {
                    self.ring.store(false, Ordering::Relaxed);
                }
                Err(e) => return Err(e),
            }
        }
        let _ = depth;
        Ok(Box::new(PortableQueue::new(lock)))
    }

    fn sibling(&self, root: &str) -> io::Result<Arc<dyn Disk>> {
        Ok(Arc::new(RealDisk::with_ring(Path::new(root), self.ring.load(Ordering::Relaxed))?))
    }
}

/// Whether an error of a read says that the device can't read these bytes, and not that something else was in the way.
pub(crate) fn is_unreadable(error: &io::Error) -> bool {
    // A bad sector is the first of these to a reader through the page cache, the second to one past it on Linux.
    matches!(Errno::from_io_error(error), Some(Errno::IO | Errno::NODATA))
}

/// Whether this process may use io_uring, found out by using it.
#[cfg(target_os = "linux")]
fn ring_permitted() -> bool {
    uring::permitted()
}

#[cfg(not(target_os = "linux"))]
fn ring_permitted() -> bool {
    false
}

const FOLDER_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Where a name lies.
enum Folder<'a> {
    Root(BorrowedFd<'a>),
    Below(OwnedFd),
}

impl AsFd for Folder<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Folder::Root(fd) => *fd,
            Folder::Below(fd) => fd.as_fd(),
        }
    }
}

/// Refuses what could leave the root or mean different things to different file systems.
fn check_path(path: &str) -> io::Result<()> {
    let fine =
        |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    if path.split('/').all(fine) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{path:?} is not a plain path below the store's directory"),
    ))
}

fn refused(path: &str, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{path} is refused: {why}"))
}

fn length(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Makes the root and what is missing above it, each durable in its parent: nobody can ask for that later, because no
/// path of ours names the root's own folder.
fn make_root(root: &Path) -> io::Result<()> {
    let parent = root.parent().filter(|p| !p.as_os_str().is_empty());
    let make = || DirBuilder::new().mode(0o700).create(root);
    let made = match (make(), parent) {
        (Err(e), Some(parent)) if e.kind() == io::ErrorKind::NotFound => make_root(parent).and_then(|()| make()),
        (made, _) => made,
    };
    match made {
        Ok(()) => std::fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all(),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}

/// Whether syncfs exists and reports failed write-back, which Linux does since 5.8.
#[cfg(target_os = "linux")]
fn syncfs_tells_errors() -> bool {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (5, 8)
}

#[cfg(not(target_os = "linux"))]
fn syncfs_tells_errors() -> bool {
    false
}

/// Checks that a range can be named to the kernel at all. An offset of all ones would mean "where the file stands".
fn check_range(offset: u64, len: usize) -> io::Result<()> {
    let end = u64::try_from(len).ok().and_then(|len| offset.checked_add(len));
    if end.is_some_and(|end| i64::try_from(end).is_ok()) { Ok(()) } else { Err(Errno::FBIG.into()) }
}

/// How far a write got, after one call or ring operation wrote `written` more bytes.
///
/// A direct write goes on at a block boundary: the bytes behind the last one are written again, the same as before.
fn advance(done: usize, written: usize, direct: bool) -> io::Result<usize> {
    let mut now = done + written;
    if direct {
        now -= now % BLOCK;
    }
    if now > done { Ok(now) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// How long to go on with something the kernel refuses for the moment: about a second in all.
struct Patience {
    tries: u32,
}

impl Patience {
    const TRIES: u32 = 100;

    fn new() -> Patience {
        Patience { tries: 0 }
    }

    /// Whether to try again, after a pause where the kernel lacks something.
    fn allows(&mut self, errno: Errno) -> bool {
        match errno {
            // A signal came first. That costs nothing and says nothing about the next try.
            Errno::INTR => true,
            Errno::AGAIN | Errno::BUSY | Errno::CANCELED if self.tries < Patience::TRIES => {
                self.tries += 1;
                std::thread::sleep(Duration::from_micros(200) * self.tries);
                true
            }
            _ => false,
        }
    }
}

/// Whether the process that wrote itself down as a store's holder (`process 123`) is still there. When that can't be told,
/// it is taken to be.
pub(crate) fn holder_lives(holder: &str) -> bool {
    let digits: String = holder.chars().rev().take_while(char::is_ascii_digit).collect();
    let pid = digits.chars().rev().collect::<String>().parse().ok().and_then(rustix::process::Pid::from_raw);
    pid.is_none_or(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// 64 bits from the system's random generator.
pub(crate) fn random_u64() -> u64 {
    let mut bytes = [0u8; 8];
    if fill_random(&mut bytes).is_ok() {
        return u64::from_ne_bytes(bytes);
    }
    // No generator to be had, as in a bare chroot. The hasher's keys are the last randomness the process was given, and
    // the time and a counter keep two draws apart.
    use std::hash::{BuildHasher, RandomState};
    static DRAWS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let draw = DRAWS.fetch_add(1, Ordering::Relaxed);
    RandomState::new().hash_one((draw, std::process::id(), std::time::SystemTime::now()))
}

#[cfg(target_os = "linux")]
fn fill_random(bytes: &mut [u8; 8]) -> io::Result<()> {
    let mut patience = Patience::new();
    loop {
        // Eight bytes come whole or not at all.
        match rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty()) {
            Ok(8) => return Ok(()),
            Err(errno) if patience.allows(errno) => {}
            _ => break,
        }
    }
    fill_from_device(bytes)
}

#[cfg(not(target_os = "linux"))]
fn fill_random(bytes: &mut [u8; 8]) -> io::Result<()> {
    fill_from_device(bytes)
}

fn fill_from_device(bytes: &mut [u8; 8]) -> io::Result<()> {
    use std::io::Read;
    std::fs::File::open("/dev/urandom")?.read_exact(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_are_taken() {
        for good in ["LOCK", "segments/0a/00ff.seg", "a/b/c"] {
            assert!(check_path(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "/etc/passwd", "a//b", "a/", "..", "a/../b", "./a", "a\0b", "a b", "a\\b", "über"] {
            assert!(check_path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_direct_write_goes_on_at_a_block_and_never_stands_still() {
        assert_eq!(advance(0, 10_000, false).unwrap(), 10_000);
        assert_eq!(advance(0, 10_000, true).unwrap(), 2 * BLOCK);
        assert_eq!(advance(BLOCK, BLOCK, true).unwrap(), 2 * BLOCK);
        assert!(advance(0, 0, false).is_err());
        assert!(advance(BLOCK, 100, true).is_err());
    }

    #[test]
    fn ranges_the_kernel_would_misread_are_refused() {
        assert!(check_range(0, 0).is_ok());
        assert!(check_range(i64::MAX as u64 - 1, 1).is_ok());
        assert!(check_range(i64::MAX as u64, 1).is_err());
        assert!(check_range(u64::MAX, 0).is_err());
    }

    #[test]
    fn patience_ends() {
        let mut patience = Patience { tries: Patience::TRIES - 1 };
        assert!(patience.allows(Errno::INTR));
        assert!(patience.allows(Errno::AGAIN));
        assert!(!patience.allows(Errno::AGAIN));
        assert!(!Patience::new().allows(Errno::IO));
    }

    #[test]
    fn syncing_file_by_file_reaches_every_folder() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = RealDisk::portable(folder.path()).unwrap();
        disk.syncfs = false;
        disk.create_dir("a").unwrap();
        disk.create_dir("a/b").unwrap();
        disk.open("a/b/file", Access::CreateNew).unwrap().write_at(b"x", 0).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("a/link")).unwrap();
        disk.sync_all().unwrap();
    }

    #[test]
    fn random_numbers_differ() {
        assert_ne!(random_u64(), random_u64());
    }
}
