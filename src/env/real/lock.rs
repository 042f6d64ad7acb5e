//! The store's lock: one owner, or many inspectors.
//!
//! Two layers exclude people. The kernel's lock belongs to the open file, not to the process, so it excludes two opens of
//! one process as well as two processes, lasts as long as any ring has the file registered, and goes when the last such
//! reference does. Some network file systems turn it into a lock of the process, which would let a second open of
//! the same process in: a table of what this process holds keeps that out everywhere.
//!
//! A child made by a plain `fork` shares the open file until it starts another program. Giving a lock up unlocks the file
//! rather than only closing it, so that such a child can't keep it.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{self, FlockOperation, Stat};
use rustix::io::Errno;

use super::super::{DiskLock, LockMode};

/// A lock held; queues hold it too, so that it isn't given up under writes in flight.
pub(super) struct RealLock {
    held: Arc<Held>,
}

impl RealLock {
    /// Takes the lock on an open lock file, or says who has it.
    pub(super) fn acquire(fd: OwnedFd, stat: &Stat, mode: LockMode, holder: &str) -> io::Result<RealLock> {
        // Locks that this process holds are told from the table alone. Trying the file's lock could, where it is one of the
        // process, loosen the very lock that is in the way.
        #[allow(clippy::unnecessary_cast)] // The two have other types on other systems.
        let file = (stat.st_dev as u64, stat.st_ino as u64);
        let entry = match Entry::claim(file, mode) {
            Ok(entry) => entry,
            Err(Contender::Owner) => return Err(owned_here(&fd)),
            Err(Contender::Inspectors) => return Err(inspected()),
        };
        let operation = match mode {
            LockMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
            LockMode::Shared => FlockOperation::NonBlockingLockShared,
        };
        match retried(|| fs::flock(&fd, operation)) {
            Ok(()) => {}
            Err(Errno::AGAIN) if mode == LockMode::Exclusive && only_inspected(&fd) => return Err(inspected()),
            Err(Errno::AGAIN) => return Err(owned(&fd)),
            Err(errno) => return Err(errno.into()),
        }
        if mode == LockMode::Exclusive {
            // The text is for people. A full disk must still open, so it isn't worth an error; but a name that is no
            // longer true has to go first.
            let _ = fs::ftruncate(&fd, 0).and_then(|()| rustix::io::pwrite(&fd, holder.as_bytes(), 0));
        }
        Ok(RealLock { held: Arc::new(Held { fd, mode, _entry: entry }) })
    }

    /// What a queue keeps of a lock that this disk made.
    pub(super) fn of(lock: &dyn DiskLock) -> io::Result<Arc<Held>> {
        match lock.as_any().downcast_ref::<RealLock>() {
            Some(lock) => Ok(lock.held.clone()),
            None => Err(io::Error::new(io::ErrorKind::InvalidInput, "the lock is not one of the real disk")),
        }
    }
}

impl DiskLock for RealLock {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The lock itself, given up when the last who needs it lets go.
pub(super) struct Held {
    fd: OwnedFd,
    mode: LockMode,
    /// Dropped after the kernel's lock: until then a second opener is told who holds it, which is still true.
    _entry: Entry,
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.mode == LockMode::Exclusive {
            let _ = fs::ftruncate(&self.fd, 0);
        }
        let _ = fs::flock(&self.fd, FlockOperation::Unlock);
    }
}

/// Device and inode of a lock file.
type FileId = (u64, u64);

/// What this process holds: each lock file with its number of inspectors, or 0 for an owner.
static HELD_HERE: Mutex<BTreeMap<FileId, usize>> = Mutex::new(BTreeMap::new());

fn held_here() -> MutexGuard<'static, BTreeMap<FileId, usize>> {
    // The table is whole between any two statements that change it, whatever a panicking thread was doing.
    HELD_HERE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who of this process is in the way.
enum Contender {
    Owner,
    Inspectors,
}

/// One line of the table, taken out again when dropped.
struct Entry {
    file: FileId,
}

impl Entry {
    fn claim(file: FileId, mode: LockMode) -> Result<Entry, Contender> {
        let mut held = held_here();
        let inspectors = match (held.get(&file), mode) {
            (None, LockMode::Exclusive) => 0,
            (None, LockMode::Shared) => 1,
            (Some(0), _) => return Err(Contender::Owner),
            (Some(_), LockMode::Exclusive) => return Err(Contender::Inspectors),
            (Some(count), LockMode::Shared) => count + 1,
        };
        held.insert(file, inspectors);
        Ok(Entry { file })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut held = held_here();
        match held.get_mut(&self.file) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                held.remove(&self.file);
            }
        }
    }
}

/// Whether nobody but inspectors keeps a would-be owner out: a shared lock can be had exactly then. An owner's text stays
/// behind when it is killed, and would be the wrong name to tell.
fn only_inspected(fd: &OwnedFd) -> bool {
    let shared = fs::flock(fd, FlockOperation::NonBlockingLockShared).is_ok();
    if shared {
        let _ = fs::flock(fd, FlockOperation::Unlock);
    }
    shared
}

fn inspected() -> io::Error {
    io::Error::new(io::ErrorKind::WouldBlock, "a read-only inspector")
}

/// The refusal that names the owner.
fn owned(fd: &OwnedFd) -> io::Error {
    let mut text = [0u8; 512];
    let len = rustix::io::pread(fd, &mut text[..], 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&text[..len]);
    let text = if text.is_empty() { "an owner that has not written its name" } else { text.as_ref() };
    io::Error::new(io::ErrorKind::WouldBlock, text)
}

/// The same, where the owner is in this process. Two processes may have one number, where each has numbers of its own.
fn owned_here(fd: &OwnedFd) -> io::Error {
    let owner = owned(fd);
    let text =
        format!("a handle in this process (a store, log, reader, engine or stream that was not dropped), {owner}");
    io::Error::new(io::ErrorKind::WouldBlock, text)
}

fn retried(mut call: impl FnMut() -> rustix::io::Result<()>) -> rustix::io::Result<()> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}
