//! Files by positioned reads and writes, and the write queue made of them where there is no io_uring.

use std::any::Any;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::fs;
#[cfg(target_os = "linux")]
use rustix::io::Errno;

#[cfg(target_os = "linux")]
use super::super::FileWindow;
use super::super::{AlignedBuf, BLOCK, Completion, DiskFile, DiskOp, Mapping, Wait, WriteQueue};
use super::lock::Held;
use super::mmap::RealMapping;
#[cfg(target_os = "linux")]
use super::window::RealWindow;
use super::{Patience, advance, check_range, length};

/// Pieces of one gathered write: the kernel takes 1,024.
#[cfg(target_os = "linux")]
const PIECES_MAX: usize = 1024;

/// Largest piece that an unaligned caller of a direct file is copied in.
const COPY_BYTES: usize = 256 * BLOCK;

/// A regular file.
pub(super) struct RealFile {
    fd: OwnedFd,
    direct: bool,
}

impl RealFile {
    pub(super) fn new(fd: OwnedFd, direct: bool) -> RealFile {
        RealFile { fd, direct }
    }

    /// Whether the descriptor bypasses the page cache, and so takes whole blocks only.
    #[cfg(target_os = "linux")]
    pub(super) fn is_direct(&self) -> bool {
        self.direct
    }

    /// The file of this kind behind a trait object.
    pub(super) fn of(file: &dyn DiskFile) -> io::Result<&RealFile> {
        let file = file.as_any().downcast_ref::<RealFile>();
        file.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the file is not one of the real disk"))
    }

    /// Repeats `write`, which is given what is left and where it goes, until everything is written.
    fn write_whole(
        &self,
        data: &[u8],
        offset: u64,
        mut write: impl FnMut(BorrowedFd<'_>, &[u8], u64) -> rustix::io::Result<usize>,
    ) -> io::Result<()> {
        check_range(offset, data.len())?;
        let mut done = 0;
        let mut patience = Patience::new();
        while done < data.len() {
            match write(self.fd.as_fd(), &data[done..], offset + done as u64) {
                Ok(written) => done = advance(done, written, self.direct)?,
                Err(errno) if patience.allows(errno) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn write_plain(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.write_whole(data, offset, |fd, data, offset| rustix::io::pwrite(fd, data, offset))
    }

    /// A write that is on stable storage when it returns. `one_call` says whether the kernel takes write and sync as one,
    /// and learns that it doesn't.
    fn write_durable(&self, data: &[u8], offset: u64, one_call: &mut bool) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if *one_call {
            let flags = rustix::io::ReadWriteFlags::DSYNC;
            let written = self.write_whole(data, offset, |fd, data, offset| {
                rustix::io::pwritev2(fd, &[io::IoSlice::new(data)], offset, flags)
            });
            match written {
                // The flag is checked before anything is written.
                Err(e) if is_refusal(&e) => {}
                other => return other,
            }
        }
        self.write_plain(data, offset)?;
        self.sync_data()?;
        // Only now is it known that the flag was at fault, and not the range.
        *one_call = false;
        Ok(())
    }

    fn read_plain(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        let mut patience = Patience::new();
        while done < buf.len() {
            match rustix::io::pread(&self.fd, &mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => {
                    done += read;
                    // A direct read that ends inside a block has met the end; it could not go on from there either.
                    if self.direct && !read.is_multiple_of(BLOCK) {
                        break;
                    }
                }
                Err(errno) if patience.allows(errno) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(done)
    }
}

impl AsRawFd for RealFile {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(length(&fs::fstat(&self.fd)?))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        check_range(offset, buf.len())?;
        if !self.direct {
            return self.read_plain(buf, offset);
        }
        let mut done = 0;
        while done < buf.len() {
            let at = offset + done as u64;
            let skip = (at % BLOCK as u64) as usize;
            let want = (buf.len() - done).min(COPY_BYTES - skip);
            let mut blocks = AlignedBuf::with_capacity(skip + want);
            blocks.resize((skip + want).next_multiple_of(BLOCK));
            let read = self.read_plain(&mut blocks, at - skip as u64)?;
            let got = read.saturating_sub(skip).min(want);
            buf[done..done + got].copy_from_slice(&blocks[skip..skip + got]);
            done += got;
            if got < want {
                break;
            }
        }
        Ok(done)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        if !self.direct {
            return self.write_plain(data, offset);
        }
        if !data.len().is_multiple_of(BLOCK) || !offset.is_multiple_of(BLOCK as u64) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a direct write takes whole blocks"));
        }
        // The caller's bytes lie anywhere in memory; the device wants them on a block boundary.
        let mut copy = AlignedBuf::with_capacity(data.len().min(COPY_BYTES));
        let mut at = offset;
        for part in data.chunks(COPY_BYTES) {
            copy.clear();
            copy.extend_from_slice(part);
            self.write_plain(&copy, at)?;
            at += part.len() as u64;
        }
        Ok(())
    }

    fn extend(&self, len: u64) -> io::Result<()> {
        if fs::fstat(&self.fd)?.st_size < len as i64 {
            fs::ftruncate(&self.fd, len)?;
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn write_pieces_at(&self, pieces: &[&[u8]], offset: u64) -> io::Result<()> {
        let mut at = offset;
        for group in pieces.chunks(PIECES_MAX) {
            let len: usize = group.iter().map(|piece| piece.len()).sum();
            let vectors: Vec<io::IoSlice<'_>> = group.iter().map(|piece| io::IoSlice::new(piece)).collect();
            let written = match self.direct {
                true => 0,
                false => rustix::io::pwritev(&self.fd, &vectors, at).unwrap_or(0),
            };
            // What one call did not take, or refused, goes piece by piece: those calls continue short writes and name errors.
            if written < len {
                let mut done = written;
                let mut here = at;
                for piece in group {
                    let skip = done.min(piece.len());
                    done -= skip;
                    if skip < piece.len() {
                        self.write_at(&piece[skip..], here + skip as u64)?;
                    }
                    here += piece.len() as u64;
                }
            }
            at += len as u64;
        }
        Ok(())
    }

    fn allocate(&self, end: u64) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if end > 0 {
            let mut patience = Patience::new();
            loop {
                match fs::fallocate(&self.fd, fs::FallocateFlags::KEEP_SIZE, 0, end) {
                    Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => break,
                    Err(errno) if patience.allows(errno) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
        // Elsewhere a reservation would move the end of the file, which has a meaning of its own here.
        let _ = end;
        Ok(())
    }

    fn shrink(&self, len: u64) -> io::Result<()> {
        // Records of it that outlived the store they were read from, in this process or another, are mapped memory too.
        #[cfg(target_os = "linux")]
        let alone = super::others::is_alone(self.fd.as_fd());
        #[cfg(not(target_os = "linux"))]
        let alone = false;
        if !alone {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "somebody else may have the file open or mapped"));
        }
        // Setting a length can also grow a file, which isn't asked for.
        if len < self.len()? {
            fs::ftruncate(&self.fd, len)?;
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(sync(self.fd.as_fd())?)
    }

    #[cfg(target_os = "linux")]
    fn write_back(&self, offset: u64, len: u64) -> io::Result<()> {
        super::write_back::write_back(self.fd.as_fd(), offset, len)
    }

    fn map(&self, len: u64) -> io::Result<Arc<dyn Mapping>> {
        Ok(Arc::new(RealMapping::new(&self.fd, len)?))
    }

    /// Only where a page that was written back takes another store without having to find room again: not where the file system
    /// writes to new places.
    #[cfg(target_os = "linux")]
    fn window(&self, offset: u64, len: usize) -> io::Result<Box<dyn FileWindow>> {
        const EXT: u32 = 0xEF53;
        const TMPFS: u32 = 0x0102_1994;
        if ![EXT, TMPFS].contains(&(fs::fstatfs(&self.fd)?.f_type as u32)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Box::new(RealWindow::new(&self.fd, offset, len)?))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(target_vendor = "apple")]
fn sync(fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
    // The ordinary call leaves the bytes in the drive's volatile cache there.
    fs::fcntl_fullfsync(fd)
}

#[cfg(target_os = "linux")]
fn sync(fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
    fs::fdatasync(fd)
}

#[cfg(not(any(target_vendor = "apple", target_os = "linux")))]
fn sync(fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
    fs::fsync(fd)
}

/// Whether an error says that a write with its own sync isn't to be had here.
#[cfg(target_os = "linux")]
pub(super) fn is_refusal(e: &io::Error) -> bool {
    matches!(Errno::from_io_error(e), Some(Errno::OPNOTSUPP | Errno::INVAL))
}

/// A queue without a queue: an operation is done when `submit` returns, and its completion waits to be reaped.
pub(super) struct PortableQueue {
    done: Vec<Completion>,
    one_call: bool,
    /// No ring could need it, but whoever drops the lock first must not give it up under a queue, here as there.
    _lock: Arc<Held>,
}

impl PortableQueue {
    pub(super) fn new(lock: Arc<Held>) -> PortableQueue {
        PortableQueue { done: Vec::new(), one_call: cfg!(target_os = "linux"), _lock: lock }
    }
}

/// Does an operation by calls that return when it is done. For `one_call` see [`RealFile::write_durable`].
pub(super) fn perform(op: &DiskOp, one_call: &mut bool) -> io::Result<()> {
    match op {
        DiskOp::Write { file, offset, data, durable: true } => {
            RealFile::of(file.as_ref())?.write_durable(data, *offset, one_call)
        }
        DiskOp::Write { file, offset, data, durable: false } => RealFile::of(file.as_ref())?.write_plain(data, *offset),
        DiskOp::SyncData { file } => file.sync_data(),
    }
}

impl WriteQueue for PortableQueue {
    fn submit(&mut self, token: u64, op: DiskOp) {
        let result = perform(&op, &mut self.one_call);
        self.done.push(Completion { token, op, result });
    }

    fn reap(&mut self, _wait: Wait, done: &mut Vec<Completion>) {
        done.append(&mut self.done);
    }

    fn in_flight(&self) -> usize {
        self.done.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Access, Disk, RealDisk};
    use super::*;

    #[test]
    fn a_durable_write_without_the_flag_writes_and_syncs() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::portable(folder.path()).unwrap();
        let file = disk.open("file", Access::CreateNew).unwrap();
        let file = RealFile::of(file.as_ref()).unwrap();
        let mut one_call = false;
        file.write_durable(b"abc", 5, &mut one_call).unwrap();
        let mut back = [1u8; 16];
        assert_eq!(file.read_at(&mut back, 0).unwrap(), 8);
        assert_eq!(&back[..8], b"\0\0\0\0\0abc");
    }

    #[test]
    fn a_refused_range_does_not_count_against_the_flag() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::portable(folder.path()).unwrap();
        disk.open("file", Access::CreateNew).unwrap();
        let file = disk.open("file", Access::Direct).unwrap();
        let file = RealFile::of(file.as_ref()).unwrap();
        let mut one_call = cfg!(target_os = "linux");
        let before = one_call;
        if file.direct {
            assert!(file.write_durable(&[0; 100], 1, &mut one_call).is_err(), "not a whole block");
            assert_eq!(one_call, before);
        }
    }

    #[test]
    fn a_direct_file_reads_and_writes_from_any_memory() {
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::portable(folder.path()).unwrap();
        disk.open("file", Access::CreateNew).unwrap().write_at(&[7; 2 * COPY_BYTES + 100], 0).unwrap();
        let file = disk.open("file", Access::Direct).unwrap();
        let data = vec![9u8; BLOCK + 1];
        file.write_at(&data[1..], BLOCK as u64).unwrap();
        let mut back = vec![0u8; 2 * COPY_BYTES + 200];
        assert_eq!(file.read_at(&mut back, 10).unwrap(), 2 * COPY_BYTES + 90);
        assert_eq!((back[BLOCK - 11], back[BLOCK - 10], back[2 * BLOCK - 11], back[2 * BLOCK - 10]), (7, 9, 9, 7));
        assert_eq!(file.read_at(&mut back, 3 * COPY_BYTES as u64).unwrap(), 0);
    }
}
