//! Locks, and writes in flight.

use std::any::Any;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::super::{Access, Completion, DiskLock, DiskOp, LockMode, Wait, WriteQueue};
use super::bugs::{SeededBug, is_active};
use super::disk::{SharedWorld, World, lock};
use super::durability::{Promise, check_end};
use super::fault::{AfterFailedSync, Entered, Errno, WriteFault, crash_error};
use super::file::SimFile;
use super::image::{InFlight, Ino};
use super::inode::SECTOR_U64;

pub(super) struct LockState {
    pub(super) mode: LockMode,
    pub(super) count: u32,
    pub(super) holder: String,
}

/// A lock of a [`SimDisk`](super::SimDisk). A queue opened with it keeps it, as a ring does in which it is registered.
pub struct SimLock {
    pub(super) held: Arc<Held>,
}

impl SimLock {
    pub(super) fn new(world: &SharedWorld, ino: Ino) -> Self {
        SimLock { held: Arc::new(Held { world: world.clone(), ino }) }
    }
}

pub(super) struct Held {
    pub(super) world: SharedWorld,
    ino: Ino,
}

impl DiskLock for SimLock {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let w = &mut *lock(&self.world);
        if let Some(held) = w.run.locks.get_mut(&self.ino) {
            held.count -= 1;
            if held.count == 0 {
                w.run.locks.remove(&self.ino);
            }
        }
    }
}

enum Work {
    /// Its write waits in the image, under this number.
    Write { id: u64 },
    /// Covers what had completed when it was submitted.
    Sync { upto: u64 },
    /// It failed already, or the machine did.
    Failed(io::Error),
}

struct Entry {
    token: u64,
    op: DiskOp,
    work: Work,
}

/// A queue of a [`SimDisk`](super::SimDisk). A write shows, to readers too, when its completion is reaped; before that
/// a crash may keep any part of it.
pub struct SimQueue {
    world: SharedWorld,
    // Given up after this queue's own drop has let everything land.
    _held: Arc<Held>,
    entries: Vec<Entry>,
    in_ring: bool,
}

impl SimQueue {
    pub(super) fn new(lock: &SimLock, in_ring: bool) -> Self {
        SimQueue { world: lock.held.world.clone(), _held: lock.held.clone(), entries: Vec::new(), in_ring }
    }

    fn begin(&self, op: &DiskOp) -> io::Result<Work> {
        let file = sim_file(op, &self.world)?;
        let w = &mut *lock(&self.world);
        let torn = match op {
            DiskOp::Write { offset, data, durable, .. } => {
                let what = if *durable { " durable" } else { "" };
                w.run.enter("submit", &file.path, true, format_args!("{offset}+{}{what}", data.len()))?
            }
            DiskOp::SyncData { .. } => w.run.enter("submit", &file.path, true, format_args!("sync"))?,
        };
        let torn = match torn {
            Entered::Fault(error) => return Err(error),
            Entered::Torn if !w.run.torn_took_effect() => return Err(crash_error()),
            Entered::Torn => true,
            Entered::Clear => false,
        };
        let work = match op {
            DiskOp::SyncData { .. } => Work::Sync { upto: w.image.seq },
            DiskOp::Write { offset, data, .. } => {
                if file.access != Access::Direct {
                    return Err(Errno::Invalid.error());
                }
                file.check_aligned(*offset, data.len())?;
                check_end(offset.saturating_add(data.len() as u64))?;
                let id = w.image.next_seq();
                let data = Bytes::copy_from_slice(data);
                let in_ring = self.in_ring;
                w.image.in_flight.push(InFlight { id, ino: file.ino, offset: *offset, data, in_ring });
                Work::Write { id }
            }
        };
        if torn { Err(crash_error()) } else { Ok(work) }
    }

    fn complete(&self, w: &mut World, entry: &DiskOp, work: Work) -> io::Result<()> {
        let file = sim_file(entry, &self.world)?;
        let (site, durable) = match entry {
            DiskOp::Write { durable: true, .. } => ("complete_durable", true),
            DiskOp::Write { .. } => ("complete_write", false),
            DiskOp::SyncData { .. } => ("complete_sync", false),
        };
        if let Work::Failed(error) = work {
            return Err(error);
        }
        let entered = w.run.enter(site, &file.path, true, format_args!(""))?;
        let fault = match entered {
            Entered::Torn if !w.run.torn_took_effect() => return Err(crash_error()),
            Entered::Torn => Some(crash_error()),
            Entered::Fault(error) => {
                let left = w.run.left_by_failed_sync(w.image.profile.after_failed_sync);
                fail(w, file.ino, work, left);
                return Err(error);
            }
            Entered::Clear => None,
        };
        match work {
            Work::Sync { upto } => w.image.promise(Promise::File { ino: file.ino, upto }),
            Work::Write { id } => {
                if let Some(flight) = take_flight(w, id) {
                    land(w, flight, durable)?;
                }
            }
            Work::Failed(_) => {}
        }
        fault.map_or(Ok(()), Err)
    }
}

fn sim_file<'a>(op: &'a DiskOp, world: &SharedWorld) -> io::Result<&'a SimFile> {
    let (DiskOp::Write { file, .. } | DiskOp::SyncData { file }) = op;
    let file = file.as_any().downcast_ref::<SimFile>().filter(|file| Arc::ptr_eq(&file.world, world));
    file.ok_or_else(|| Errno::BadFile.error())
}

fn take_flight(w: &mut World, id: u64) -> Option<InFlight> {
    let at = w.image.in_flight.iter().position(|flight| flight.id == id)?;
    Some(w.image.in_flight.remove(at))
}

/// A queued write completes well, as far as its owner is told.
fn land(w: &mut World, mut flight: InFlight, durable: bool) -> io::Result<()> {
    if is_active(SeededBug::ShortWriteIgnored) && w.run.tape.chance("short_write", 1, 8) {
        let sectors = flight.data.len() as u64 / SECTOR_U64;
        flight.data.truncate((w.run.tape.choose("short_write_sectors", sectors.max(1)) * SECTOR_U64) as usize);
    }
    let mut offsets = [Some(flight.offset), None];
    match w.run.take_write_fault() {
        None => {}
        Some(WriteFault::Lost) => offsets = [None, None],
        Some(WriteFault::Misdirected(by)) => offsets = [Some(flight.offset.saturating_add_signed(by)), None],
        Some(WriteFault::Duplicated(by)) => offsets[1] = Some(flight.offset.saturating_add_signed(by)),
    }
    for offset in offsets.into_iter().flatten() {
        let seq = w.image.write(flight.ino, offset, &flight.data, Some(flight.data.clone()))?;
        if durable {
            w.image.promise(Promise::Written { ino: flight.ino, seq });
        }
    }
    Ok(())
}

/// A queued operation completes with an error.
fn fail(w: &mut World, ino: Ino, work: Work, left: AfterFailedSync) {
    let id = match work {
        Work::Sync { upto } => return w.image.fail_sync(ino, upto, left),
        Work::Write { id } => id,
        Work::Failed(_) => return,
    };
    let Some(flight) = take_flight(w, id) else { return };
    if left == AfterFailedSync::OldAndClean {
        return;
    }
    if let Ok(seq) = w.image.write(flight.ino, flight.offset, &flight.data, Some(flight.data.clone())) {
        match left {
            AfterFailedSync::NewAndClean => w.image.file_mut(ino).lose(seq),
            AfterFailedSync::Durable => w.image.promise(Promise::Written { ino, seq }),
            _ => {}
        }
    }
}

impl WriteQueue for SimQueue {
    fn submit(&mut self, token: u64, op: DiskOp) {
        // More than fit just wait their turn, as before a ring: that they aren't begun yet changes nothing to be seen.
        let work = self.begin(&op).unwrap_or_else(Work::Failed);
        self.entries.push(Entry { token, op, work });
    }

    fn reap(&mut self, wait: Wait, done: &mut Vec<Completion>) {
        let waiting = self.entries.len() as u64;
        if waiting == 0 {
            return;
        }
        let world = self.world.clone();
        let w = &mut *lock(&world);
        // A dead machine answers everything at once.
        let in_order = w.run.in_order || w.run.dead;
        let left = if in_order { 0 } else { w.run.tape.choose("reap_left", waiting + u64::from(wait == Wait::No)) };
        for _ in left..waiting {
            let at = if in_order { 0 } else { w.run.tape.choose("reap_which", self.entries.len() as u64) };
            let Entry { token, op, work } = self.entries.remove(at as usize);
            let result = self.complete(w, &op, work);
            done.push(Completion { token, op, result });
        }
    }

    fn in_flight(&self) -> usize {
        self.entries.len()
    }
}

impl Drop for SimQueue {
    /// Closing waits for what is in flight, as closing a ring does; a dead machine leaves it to the crash.
    fn drop(&mut self) {
        let w = &mut *lock(&self.world);
        if w.run.dead {
            return;
        }
        for entry in &self.entries {
            if let Work::Write { id } = entry.work
                && let Some(flight) = take_flight(w, id)
            {
                w.image.land(&flight);
            }
        }
    }
}
