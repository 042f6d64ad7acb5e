//! The disk contract: about a dozen calls, all on paths below one root.
//!
//! Rules every implementation keeps:
//!
//! - Paths are relative to the store's root, in ASCII, with `/` between parts; no part is `.` or `..`.
//! - `sync_data` and a durable write return `Ok` only when the bytes are on stable storage; a created, renamed or
//!   removed entry is stable once `sync_dir` of its folder returned `Ok`.
//! - After an error nothing may be assumed of the range written; the caller never retries a failed sync.
//! - Files and locks are not inherited by child processes.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::AlignedBuf;

/// Which back end a store got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiskKind {
    /// Journal and bulk writes through io_uring.
    IoUring,
    /// Positioned writes and data syncs.
    Portable,
    /// In memory, for tests.
    Simulated,
}

impl std::fmt::Display for DiskKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            DiskKind::IoUring => "io_uring",
            DiskKind::Portable => "portable",
            DiskKind::Simulated => "simulated",
        })
    }
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// An existing file, read only.
    Read,
    /// An existing file, for reading and cached writing.
    Write,
    /// A file that must not exist yet, for reading and cached writing.
    CreateNew,
    /// An existing file, for writes that bypass the page cache where the file system can: the journal and bulk data.
    /// Buffers, offsets and lengths are then multiples of [`super::BLOCK`]. And for reads of what the device has, of any length
    /// from anywhere: one that refuses those with `ErrorKind::InvalidInput` or `Unsupported` is read through the cache.
    Direct,
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// Name within the folder; lossy where it is not UTF-8.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// Length in bytes; 0 for a folder.
    pub len: u64,
}

/// Room on the file system that holds the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes this process may still allocate.
    pub available: u64,
    /// Size of the file system in bytes.
    pub total: u64,
}

/// Exclusive for an owner, shared for read-only inspectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// One owner, nobody else.
    Exclusive,
    /// Many inspectors, no owner.
    Shared,
}

/// A held lock; dropping it gives it up.
pub trait DiskLock: Send + Sync {
    /// For back ends that need their own type again.
    fn as_any(&self) -> &dyn Any;
}

/// The directory of one store.
pub trait Disk: Send + Sync {
    /// Which back end this is.
    fn kind(&self) -> DiskKind;
    /// The root as a person would name it.
    fn root(&self) -> String;
    /// Makes a folder; one that exists already is fine.
    fn create_dir(&self, dir: &str) -> io::Result<()>;
    /// The entries of a folder (`""` is the root), sorted by name.
    fn list(&self, dir: &str) -> io::Result<Vec<DirEntry>>;
    /// Opens a file. Symbolic links are refused.
    fn open(&self, path: &str, access: Access) -> io::Result<Arc<dyn DiskFile>>;
    /// Renames a file, replacing none: an existing target is an error.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file's name. Open descriptors and mappings live on.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Makes a folder's entries durable.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;
    /// Makes everything written to the file system so far durable, in one call, and reports its errors.
    fn sync_all(&self) -> io::Result<()>;
    /// The network file system that the root lies on, by name; `None` on any other, and where it can't be told. What a machine
    /// away keeps of locks, syncs and mapped pages is not what this contract says.
    fn network_file_system(&self) -> Option<&'static str> {
        None
    }
    /// Room left.
    fn space(&self) -> io::Result<Space>;
    /// Takes the store's lock at `path` without waiting. `holder` is written into the file by an exclusive owner, for
    /// the message a second opener gets. Contention is `ErrorKind::WouldBlock`, with the holder's text as message.
    fn lock(&self, path: &str, mode: LockMode, holder: &str) -> io::Result<Box<dyn DiskLock>>;
    /// A queue for writes that must be durable, with room for `depth` operations in flight. The lock is registered in the
    /// ring where there is one, so that it isn't given up before the last write of a killed owner has landed.
    fn write_queue(&self, lock: &dyn DiskLock, depth: usize) -> io::Result<Box<dyn WriteQueue>>;
    /// The same kind of disk rooted somewhere else, made if need be: where a backup goes.
    fn sibling(&self, root: &str) -> io::Result<Arc<dyn Disk>>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills `buf` from `offset`, or less at the end of the file; returns how much.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `data` through the page cache, extending the file if need be.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;
    /// Writes pieces one behind the other, as one [`DiskFile::write_at`] of all of them would, without putting them together
    /// in memory first.
    fn write_pieces_at(&self, pieces: &[&[u8]], offset: u64) -> io::Result<()> {
        let mut at = offset;
        pieces.iter().try_for_each(|piece| {
            let here = at;
            at += piece.len() as u64;
            self.write_at(piece, here)
        })
    }
    /// Reserves room up to `end` without changing the length, so that later writes there don't run out of space.
    /// Where the file system can't, this does nothing.
    fn allocate(&self, end: u64) -> io::Result<()>;
    /// Makes the file at least `len` bytes long, the gained ones reading as zeros, so that writes there don't change its length:
    /// a synced write that does costs a file-system commit. Where the file system can't do it cheaply, this does nothing.
    fn extend(&self, len: u64) -> io::Result<()> {
        let _ = len;
        Ok(())
    }
    /// Shortens a file that has no name any more, to give its space back in steps. `ErrorKind::ResourceBusy` where it is not certain
    /// that nobody else, of this process or another, has the file open or mapped: its space then comes back with the last of them.
    fn shrink(&self, len: u64) -> io::Result<()>;
    /// Makes the file's data, and the metadata needed to read it, durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Has the bytes of a range that were written so far on the device, so that a later [`DiskFile::sync_data`] finds less to do.
    /// They are not on stable storage by it. After an error nothing may be assumed of the file, as after a failed sync. Where the
    /// system has no such call, this does nothing.
    fn write_back(&self, offset: u64, len: u64) -> io::Result<()> {
        let _ = (offset, len);
        Ok(())
    }
    /// Maps the first `len` bytes, which may lie beyond today's end; only bytes that exist may be asked of the mapping.
    /// `ErrorKind::Unsupported` where there is no mapping: the store then reads by copy.
    fn map(&self, len: u64) -> io::Result<Arc<dyn Mapping>>;
    /// A window on `len` bytes from `offset` on to store them through, all of which exist and have room reserved.
    /// `ErrorKind::Unsupported` where there is none, or a store could fail: the caller then writes.
    fn window(&self, offset: u64, len: usize) -> io::Result<Box<dyn FileWindow>> {
        let _ = (offset, len);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// For back ends that need their own type again.
    fn as_any(&self) -> &dyn Any;
}

/// Bytes of a file as memory that can be stored to: what is put is in the page cache, as after [`DiskFile::write_at`], without a
/// call of the system.
pub trait FileWindow: Send {
    /// Stores `data` at `offset` of the file. After an error anything may stand there; what it was, [`DiskFile::write_at`] says.
    fn put(&mut self, data: &[u8], offset: u64) -> io::Result<()>;
}

/// A read-only view of a file's first bytes.
pub trait Mapping: Send + Sync {
    /// The bytes from `offset`, `len` long. They pin the mapping for as long as they live. `None` beyond the mapping.
    fn bytes(&self, offset: u64, len: usize) -> Option<Bytes>;
    /// Copies bytes out; false beyond the mapping. For headers, which are always parsed from a private copy.
    fn copy_to(&self, offset: u64, out: &mut [u8]) -> bool;
    /// How many `Bytes` still pin it.
    fn pins(&self) -> usize;
}

/// One operation and all it needs. The buffer moves in with it and comes back with the completion, so safe code can't
/// free or reuse bytes the kernel may still be reading.
pub enum DiskOp {
    /// Writes the whole buffer at `offset` of a file opened with [`Access::Direct`].
    Write {
        /// The file.
        file: Arc<dyn DiskFile>,
        /// Where in the file, a multiple of the block size.
        offset: u64,
        /// What, a multiple of the block size.
        data: AlignedBuf,
        /// Whether the completion also means the bytes are on stable storage.
        durable: bool,
    },
    /// Makes everything written to the file before this was submitted, and already completed, durable.
    SyncData {
        /// The file.
        file: Arc<dyn DiskFile>,
    },
}

/// The end of one operation.
pub struct Completion {
    /// What `submit` was given.
    pub token: u64,
    /// The operation, with its buffer.
    pub op: DiskOp,
    /// `Ok`: all of it was done. `Err`: assume nothing about the range.
    pub result: io::Result<()>,
}

/// How long [`WriteQueue::reap`] may block for a completion, if any operation is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// Until there is one.
    Completion,
    /// Until there is one, but no longer than this. Where [`WriteQueue::keeps_time`] says no, as [`Wait::Completion`].
    AtMost(Duration),
}

/// Writes in flight. Completions may come in any order.
pub trait WriteQueue: Send {
    /// Hands over an operation. Never blocks for its completion, except on a back end that has no queue.
    fn submit(&mut self, token: u64, op: DiskOp);
    /// As [`WriteQueue::submit`], for a caller that waits for it next, however long it takes. Where that is faster, it is done when
    /// this returns.
    fn perform(&mut self, token: u64, op: DiskOp) {
        self.submit(token, op);
    }
    /// Moves finished operations into `done`, after waiting for one if there is none yet.
    fn reap(&mut self, wait: Wait, done: &mut Vec<Completion>);
    /// Whether neither of the two blocks for longer than was asked for: then a caller with a deadline may step the queue.
    fn keeps_time(&self) -> bool {
        false
    }
    /// Operations submitted and not yet reaped.
    fn in_flight(&self) -> usize;
}
