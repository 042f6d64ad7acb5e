//! Bytes and the space they take; what a sync makes of them, or a sync that fails.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::super::BLOCK;
use super::blocks::Block;
use super::fault::{AfterFailedSync, Errno};
use super::image::{DirOp, Image, Ino, Node};
use super::inode::{Change, Pending, SECTOR_U64};

/// Blocks of freed files kept to serve as stale garbage.
const STALE_BLOCKS_MAX: usize = 64;

/// Where a file must end, so that a stray offset is an error and not a table of a billion holes.
const FILE_BYTES_MAX: u64 = 1 << 32;

/// A promise of durability.
#[derive(Debug, Clone)]
pub(super) enum Promise {
    File {
        ino: Ino,
        upto: u64,
    },
    /// One durable write.
    Written {
        ino: Ino,
        seq: u64,
    },
    Dir {
        ino: Ino,
        upto: u64,
    },
    All {
        upto: u64,
    },
}

impl Image {
    pub(super) fn used_bytes(&self) -> u64 {
        self.used * BLOCK as u64
    }

    fn room_for(&self, blocks: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if blocks > 0 && (self.used + blocks) * BLOCK as u64 > capacity => {
                Err(Errno::NoSpace.error())
            }
            _ => Ok(()),
        }
    }

    /// Writes through the cache and returns the number of the change. `shared` is the same data, kept instead of a copy
    /// where it is in whole sectors.
    pub(super) fn write(&mut self, ino: Ino, offset: u64, data: &[u8], shared: Option<Bytes>) -> io::Result<u64> {
        let end = offset.saturating_add(data.len() as u64);
        check_end(end)?;
        let file = self.file(ino);
        if file.counted {
            self.room_for(file.volatile.missing(offset, end))?;
        }
        let seq = self.next_seq();
        if data.is_empty() {
            return Ok(seq);
        }
        self.edit(ino, |file| {
            file.volatile.write(offset, data);
            file.volatile.grow_to(end.max(file.volatile.len()));
            // Bytes that become durable take the length up to them along, also where a failed sync forgot that length.
            if end > file.length_to_be() {
                file.pending.push(Pending { seq, change: Change::Size(end) });
            }
            let sector = offset / SECTOR_U64;
            let aligned = offset.is_multiple_of(SECTOR_U64) && end.is_multiple_of(SECTOR_U64);
            let data = match shared.filter(|_| aligned) {
                Some(shared) => shared,
                None => {
                    let mut whole = vec![0; ((end.div_ceil(SECTOR_U64) - sector) * SECTOR_U64) as usize];
                    file.volatile.read(sector * SECTOR_U64, &mut whole);
                    Bytes::from(whole)
                }
            };
            file.pending.push(Pending { seq, change: Change::Write { sector, data } });
        });
        Ok(seq)
    }

    pub(super) fn allocate(&mut self, ino: Ino, end: u64) -> io::Result<()> {
        check_end(end)?;
        let missing = self.file(ino).volatile.missing(0, end);
        self.room_for(missing)?;
        if missing > 0 {
            let seq = self.next_seq();
            self.edit(ino, |file| {
                file.volatile.reserve(end);
                file.pending.push(Pending { seq, change: Change::Allocate(end) });
            });
        }
        Ok(())
    }

    pub(super) fn shrink(&mut self, ino: Ino, len: u64) {
        let seq = self.next_seq();
        let dropped = self.edit(ino, |file| {
            file.pending.push(Pending { seq, change: Change::Size(len) });
            file.volatile.truncate(len)
        });
        self.bury(dropped);
    }

    /// The last use of a file that has no name ended: its space is free.
    pub(super) fn release(&mut self, ino: Ino) {
        let file = self.file_mut(ino);
        if file.linked || !file.counted {
            return;
        }
        file.counted = false;
        let allocated = file.volatile.allocated();
        let blocks = file.volatile.blocks().take(STALE_BLOCKS_MAX).cloned().collect();
        self.used -= allocated;
        self.bury(blocks);
    }

    fn bury(&mut self, blocks: Vec<Arc<Block>>) {
        if blocks.is_empty() {
            return;
        }
        let stale = Arc::make_mut(&mut self.stale);
        stale.extend(blocks);
        let excess = stale.len().saturating_sub(STALE_BLOCKS_MAX);
        stale.drain(..excess);
    }

    /// Keeps a promise of durability, or the one made `lies` promises ago.
    pub(super) fn promise(&mut self, promise: Promise) {
        if self.lies == 0 {
            return self.keep(promise);
        }
        self.promises.push_back(promise);
        self.set_lies(self.lies);
    }

    pub(super) fn set_lies(&mut self, lies: usize) {
        self.lies = lies;
        while self.promises.len() > lies {
            if let Some(promise) = self.promises.pop_front() {
                self.keep(promise);
            }
        }
    }

    /// Promises not kept so far are never kept: power failed.
    pub(super) fn break_promises(&mut self) {
        self.promises.clear();
    }

    fn keep(&mut self, promise: Promise) {
        match promise {
            Promise::File { ino, upto } => {
                self.file_mut(ino).sync(upto);
                if self.profile.sync_persists_entry {
                    self.commit_ops(upto, |op| op.ino == ino && op.from.is_none());
                }
            }
            Promise::Written { ino, seq } => self.file_mut(ino).written(seq),
            Promise::Dir { ino, upto } => self.commit_ops(upto, |op| op.touches(ino)),
            Promise::All { upto } => {
                for ino in self.dirty_files() {
                    self.file_mut(ino).sync(upto);
                }
                self.commit_ops(upto, |_| true);
            }
        }
    }

    /// Files with something pending.
    pub(super) fn dirty_files(&self) -> Vec<Ino> {
        let dirty = |(ino, node): (usize, &Option<Node>)| match node {
            Some(Node::File(file)) if !file.pending.is_empty() => Some(ino as Ino),
            _ => None,
        };
        self.nodes.iter().enumerate().filter_map(dirty).collect()
    }

    fn commit_ops(&mut self, upto: u64, wanted: impl Fn(&DirOp) -> bool) {
        let wanted = |op: &DirOp| op.seq <= upto && wanted(op);
        let Some(last) = self.ops.iter().rposition(&wanted) else { return };
        let mut kept = Vec::new();
        for (at, op) in std::mem::take(&mut self.ops).into_iter().enumerate() {
            if at <= last && (self.profile.ordered_entries || wanted(&op)) {
                // The old name can't come back by a creation that is still on its way.
                kept.retain(|earlier: &DirOp| op.from.is_none() || earlier.to != op.from || earlier.ino != op.ino);
                self.apply_op(&op);
            } else {
                kept.push(op);
            }
        }
        self.ops = kept;
    }

    /// Makes a change of names durable.
    pub(super) fn apply_op(&mut self, op: &DirOp) {
        if let Some((dir, name)) = &op.from {
            let entries = &mut self.dir_mut(*dir).durable;
            if entries.get(name) == Some(&op.ino) {
                Arc::make_mut(entries).remove(name);
            }
        }
        if let Some((dir, name)) = &op.to {
            Arc::make_mut(&mut self.dir_mut(*dir).durable).insert(name.clone(), op.ino);
        }
    }

    /// What a failed sync of a file leaves behind.
    pub(super) fn fail_sync(&mut self, ino: Ino, upto: u64, left: AfterFailedSync) {
        match left {
            AfterFailedSync::NewAndClean => self.file_mut(ino).forget(upto),
            AfterFailedSync::OldAndClean => self.edit(ino, |file| {
                file.forget(upto);
                if file.pending.is_empty() {
                    file.volatile = file.durable.clone();
                    file.diverged = false;
                }
            }),
            AfterFailedSync::Durable => self.file_mut(ino).sync(upto),
            AfterFailedSync::StillDirty | AfterFailedSync::Tape => {}
        }
    }

    /// What a failed sync of a folder leaves behind.
    pub(super) fn fail_sync_dir(&mut self, dir: Ino, left: AfterFailedSync) {
        match left {
            AfterFailedSync::NewAndClean => self.ops.retain(|op| !op.touches(dir)),
            AfterFailedSync::Durable => self.commit_ops(u64::MAX, |op| op.touches(dir)),
            // A folder never goes back in a running system.
            AfterFailedSync::OldAndClean | AfterFailedSync::StillDirty | AfterFailedSync::Tape => {}
        }
    }
}

pub(super) fn check_end(end: u64) -> io::Result<()> {
    if end > FILE_BYTES_MAX { Err(Errno::FileTooBig.error()) } else { Ok(()) }
}
