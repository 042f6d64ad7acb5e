//! Open files and mappings.

use std::any::Any;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::super::{Access, BLOCK, DiskFile, FileWindow, Mapping};
use super::blocks::SECTOR;
use super::disk::{SharedWorld, World, call, lock};
use super::durability::Promise;
use super::fault::{AfterFailedSync, Entered, Errno, WriteFault, crash_error};
use super::image::Ino;

/// An inode in use, as a file or, besides, as a mapping.
struct Hold {
    world: SharedWorld,
    ino: Ino,
    mapped: bool,
}

impl Hold {
    fn new(w: &mut World, world: &SharedWorld, ino: Ino, mapped: bool) -> Self {
        *w.run.opens.entry(ino).or_insert(0) += 1;
        if mapped {
            *w.run.maps.entry(ino).or_insert(0) += 1;
        }
        Hold { world: world.clone(), ino, mapped }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let w = &mut *lock(&self.world);
        let fall = |counts: &mut std::collections::BTreeMap<Ino, u32>| match counts.get_mut(&self.ino) {
            Some(count) if *count > 1 => {
                *count -= 1;
                false
            }
            _ => counts.remove(&self.ino).is_some(),
        };
        if self.mapped {
            fall(&mut w.run.maps);
        }
        if fall(&mut w.run.opens) && !w.run.dead {
            w.image.release(self.ino);
        }
    }
}

/// A file of a [`SimDisk`](super::SimDisk).
pub struct SimFile {
    pub(super) world: SharedWorld,
    pub(super) ino: Ino,
    /// The name it was opened by.
    pub(super) path: String,
    pub(super) access: Access,
    _hold: Hold,
}

impl SimFile {
    pub(super) fn new(w: &mut World, world: &SharedWorld, ino: Ino, path: &str, access: Access) -> Self {
        let hold = Hold::new(w, world, ino, false);
        SimFile { world: world.clone(), ino, path: path.to_string(), access, _hold: hold }
    }

    fn call<T>(
        &self,
        site: &'static str,
        mutating: bool,
        act: impl FnOnce(&mut World) -> io::Result<T>,
    ) -> io::Result<T> {
        call(&self.world, site, &self.path, mutating, format_args!(""), act)
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.access == Access::Read { Err(Errno::BadFile.error()) } else { Ok(()) }
    }

    /// Writes to direct files take whole blocks only; the real disk copies for a reader that doesn't.
    pub(super) fn check_aligned(&self, offset: u64, len: usize) -> io::Result<()> {
        let aligned = offset.is_multiple_of(BLOCK as u64) && len.is_multiple_of(BLOCK);
        if self.access == Access::Direct && !aligned { Err(Errno::Invalid.error()) } else { Ok(()) }
    }
}

/// Copies out what a process sees, with the reading faults set on the range.
fn read(w: &mut World, ino: Ino, offset: u64, out: &mut [u8]) -> io::Result<()> {
    let end = offset + out.len() as u64;
    if w.image.read_errors.iter().any(|(at, range)| *at == ino && range.start < end && offset < range.end) {
        return Err(Errno::Io.error());
    }
    w.image.file(ino).volatile.read(offset, out);
    for flip in w.run.read_flips.iter_mut().filter(|flip| flip.ino == ino && flip.times > 0) {
        if let Some(within) = (flip.bit / 8).checked_sub(offset)
            && let Some(byte) = out.get_mut(within as usize)
        {
            *byte ^= 1 << (flip.bit % 8);
            flip.times -= 1;
        }
    }
    Ok(())
}

/// A cached write, with the fault armed for it if there is one.
fn write(w: &mut World, ino: Ino, offset: u64, data: &[u8]) -> io::Result<()> {
    let moved = |by: i64| offset.saturating_add_signed(by);
    match w.run.take_write_fault() {
        None => w.image.write(ino, offset, data, None).map(drop),
        Some(WriteFault::Lost) => {
            let seq = w.image.write(ino, offset, data, None)?;
            w.image.file_mut(ino).lose(seq);
            Ok(())
        }
        Some(WriteFault::Misdirected(by)) => w.image.write(ino, moved(by), data, None).map(drop),
        Some(WriteFault::Duplicated(by)) => {
            w.image.write(ino, moved(by), data, None)?;
            w.image.write(ino, offset, data, None).map(drop)
        }
    }
}

/// A call that writes, with what may befall it.
fn write_as(site: &'static str, world: &SharedWorld, ino: Ino, path: &str, data: &[u8], offset: u64) -> io::Result<()> {
    let w = &mut *lock(world);
    match w.run.enter(site, path, true, format_args!("{offset}+{}", data.len()))? {
        Entered::Clear => write(w, ino, offset, data),
        Entered::Torn => {
            let sectors = data.len().div_ceil(SECTOR) as u64;
            let done = w.run.tape.choose("torn_write", sectors + 1) as usize * SECTOR;
            write(w, ino, offset, &data[..done.min(data.len())])?;
            Err(crash_error())
        }
        Entered::Fault(error) => {
            if w.run.after_failed_sync == Some(AfterFailedSync::Tape) {
                let sectors = data.len().div_ceil(SECTOR) as u64;
                let done = w.run.tape.choose("failed_write", sectors + 1) as usize * SECTOR;
                // The caller gets the planned error in any case.
                let _ = w.image.write(ino, offset, &data[..done.min(data.len())], None);
            }
            Err(error)
        }
    }
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.call("len", false, |w| Ok(w.image.file(self.ino).volatile.len()))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.call("read_at", false, |w| {
            let left = w.image.file(self.ino).volatile.len().saturating_sub(offset);
            let n = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            read(w, self.ino, offset, &mut buf[..n])?;
            Ok(n)
        })
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.check_writable()?;
        self.check_aligned(offset, data.len())?;
        write_as("write_at", &self.world, self.ino, &self.path, data, offset)
    }

    fn allocate(&self, end: u64) -> io::Result<()> {
        self.check_writable()?;
        self.call("allocate", true, |w| w.image.allocate(self.ino, end))
    }

    fn shrink(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        self.call("shrink", true, |w| {
            let file = w.image.file(self.ino);
            assert!(!file.linked, "{} is shortened while it has a name", self.path);
            if w.run.opens.get(&self.ino) != Some(&1) {
                w.run.mapped_shrinks += u64::from(w.run.maps.contains_key(&self.ino));
                let why = "somebody else has the file open or mapped";
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
            }
            if len < file.volatile.len() {
                w.image.shrink(self.ino, len);
            }
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        let w = &mut *lock(&self.world);
        let upto = w.image.seq;
        let promise = Promise::File { ino: self.ino, upto };
        match w.run.enter("sync_data", &self.path, true, format_args!(""))? {
            Entered::Clear => {
                w.image.promise(promise);
                Ok(())
            }
            Entered::Torn => {
                if w.run.torn_took_effect() {
                    w.image.promise(promise);
                }
                Err(crash_error())
            }
            Entered::Fault(error) => {
                let left = w.run.left_by_failed_sync(w.image.profile.after_failed_sync);
                w.image.fail_sync(self.ino, upto, left);
                Err(error)
            }
        }
    }

    fn write_back(&self, offset: u64, len: u64) -> io::Result<()> {
        let w = &mut *lock(&self.world);
        let upto = w.image.seq;
        match w.run.enter("write_back", &self.path, false, format_args!("{offset}+{len}"))? {
            // What a crash leaves of unsynced bytes is any of them as it is.
            Entered::Clear => Ok(()),
            Entered::Torn => Err(crash_error()),
            Entered::Fault(error) => {
                // The error is told once: a sync that comes after it finds nothing to do.
                let left = w.run.left_by_failed_sync(w.image.profile.after_failed_sync);
                w.image.fail_sync(self.ino, upto, left);
                Err(error)
            }
        }
    }

    fn map(&self, len: u64) -> io::Result<Arc<dyn Mapping>> {
        self.call("map", false, |w| {
            let hold = Arc::new(Hold::new(w, &self.world, self.ino, true));
            Ok(Arc::new(SimMapping { hold, len, path: self.path.clone(), pins: Arc::default() }) as Arc<dyn Mapping>)
        })
    }

    fn window(&self, offset: u64, len: usize) -> io::Result<Box<dyn FileWindow>> {
        self.check_writable()?;
        self.call("window", false, |w| {
            let hold = Hold::new(w, &self.world, self.ino, true);
            Ok(Box::new(SimWindow { hold, range: offset..offset + len as u64, path: self.path.clone() })
                as Box<dyn FileWindow>)
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A window on a [`SimFile`]: what is put is a cached write.
struct SimWindow {
    hold: Hold,
    range: Range<u64>,
    path: String,
}

impl FileWindow for SimWindow {
    fn put(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(data.len() as u64);
        if offset < self.range.start || end.is_none_or(|end| end > self.range.end) {
            return Err(Errno::Invalid.error());
        }
        write_as("put", &self.hold.world, self.hold.ino, &self.path, data, offset)
    }
}

/// A mapping of a [`SimFile`]: each call copies what the file holds at that moment.
pub struct SimMapping {
    hold: Arc<Hold>,
    len: u64,
    path: String,
    pins: Arc<AtomicUsize>,
}

/// Bytes copied out of a mapping, counted for as long as they live.
struct Pinned {
    data: Vec<u8>,
    pins: Arc<AtomicUsize>,
    _hold: Arc<Hold>,
}

impl AsRef<[u8]> for Pinned {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.pins.fetch_sub(1, Ordering::SeqCst);
    }
}

impl SimMapping {
    /// Where a range ends, if it lies in the mapping.
    fn end_of(&self, offset: u64, len: usize) -> Option<u64> {
        offset.checked_add(len as u64).filter(|end| *end <= self.len)
    }
}

impl Mapping for SimMapping {
    fn bytes(&self, offset: u64, len: usize) -> Option<Bytes> {
        self.end_of(offset, len)?;
        let mut data = vec![0; len];
        if !self.copy_to(offset, &mut data) {
            return None;
        }
        self.pins.fetch_add(1, Ordering::SeqCst);
        Some(Bytes::from_owner(Pinned { data, pins: self.pins.clone(), _hold: self.hold.clone() }))
    }

    /// False also where a read error is set: a process would rather get a signal, and what handles that says no, too.
    fn copy_to(&self, offset: u64, out: &mut [u8]) -> bool {
        let Some(end) = self.end_of(offset, out.len()) else { return false };
        let w = &mut *lock(&self.hold.world);
        let file_len = w.image.file(self.hold.ino).volatile.len();
        assert!(
            end <= file_len || out.is_empty(),
            "{}: bytes up to {end} asked of a mapping of a file of {file_len}: this can be a SIGBUS",
            self.path
        );
        read(w, self.hold.ino, offset, out).is_ok()
    }

    fn pins(&self) -> usize {
        self.pins.load(Ordering::SeqCst)
    }
}
