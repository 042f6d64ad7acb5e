//! One file: what processes see, what is durable, and the changes between the two.

use bytes::Bytes;

use super::blocks::{Content, SECTOR};

pub(super) const SECTOR_U64: u64 = SECTOR as u64;

/// One change of a file that isn't durable yet.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) seq: u64,
    pub(super) change: Change,
}

#[derive(Debug, Clone)]
pub(super) enum Change {
    /// Whole sectors, as they are after the write.
    Write { sector: u64, data: Bytes },
    /// A new length.
    Size(u64),
    /// Room reserved up to here.
    Allocate(u64),
}

#[derive(Debug, Clone, Default)]
pub(super) struct FileNode {
    pub(super) volatile: Content,
    pub(super) durable: Content,
    pub(super) pending: Vec<Pending>,
    /// Volatile and durable differ by more than what is pending: a sync failed or lied.
    pub(super) diverged: bool,
    /// It has a name.
    pub(super) linked: bool,
    /// Its blocks count as used.
    pub(super) counted: bool,
}

impl FileNode {
    /// Everything up to a change becomes durable.
    pub(super) fn sync(&mut self, upto: u64) {
        if self.pending.last().is_none_or(|last| last.seq <= upto) && !self.diverged {
            for pending in self.pending.drain(..) {
                match pending.change {
                    Change::Write { sector, data } => {
                        let start = sector * SECTOR_U64;
                        self.durable.share(&self.volatile, start, start + data.len() as u64);
                    }
                    Change::Size(len) if len < self.durable.len() => drop(self.durable.truncate(len)),
                    Change::Size(_) => {}
                    Change::Allocate(end) => self.durable.reserve(end),
                }
            }
            self.durable.grow_to(self.volatile.len());
            return;
        }
        for pending in self.pending.extract_if(.., |pending| pending.seq <= upto) {
            apply_change(&mut self.durable, &pending.change);
        }
    }

    /// Its length once everything pending is durable.
    pub(super) fn length_to_be(&self) -> u64 {
        let mut sizes = self.pending.iter().rev().filter_map(|pending| match pending.change {
            Change::Size(len) => Some(len),
            _ => None,
        });
        sizes.next().unwrap_or(self.durable.len())
    }

    /// One write becomes durable, with what is needed to read it, and nothing else.
    pub(super) fn written(&mut self, seq: u64) {
        if self.pending.iter().all(|pending| pending.seq == seq) {
            return self.sync(seq);
        }
        let mine: Vec<Pending> = self.pending.extract_if(.., |pending| pending.seq == seq).collect();
        for pending in mine {
            apply_change(&mut self.durable, &pending.change);
            match pending.change {
                Change::Write { sector, data } => self.supersede(seq, sector, sector + data.len() as u64 / SECTOR_U64),
                // A shorter length on its way would take durable bytes away again.
                Change::Size(len) => self.pending.retain(|earlier| {
                    earlier.seq > seq || !matches!(earlier.change, Change::Size(shorter) if shorter <= len)
                }),
                Change::Allocate(_) => {}
            }
        }
    }

    /// Takes sectors out of the writes before a change: a newer version of them is durable.
    fn supersede(&mut self, seq: u64, first: u64, end: u64) {
        let mut kept = Vec::with_capacity(self.pending.len() + 1);
        for pending in self.pending.drain(..) {
            let Change::Write { sector, data } = &pending.change else {
                kept.push(pending);
                continue;
            };
            let (from, to) = (*sector, sector + data.len() as u64 / SECTOR_U64);
            if pending.seq > seq || to <= first || from >= end {
                kept.push(pending);
                continue;
            }
            for (left, right) in [(from, first.max(from)), (end.min(to), to)] {
                if left < right {
                    let part = ((left - from) * SECTOR_U64) as usize..((right - from) * SECTOR_U64) as usize;
                    let change = Change::Write { sector: left, data: data.slice(part) };
                    kept.push(Pending { seq: pending.seq, change });
                }
            }
        }
        self.pending = kept;
    }

    /// Changes count as clean though they never reached the disk.
    pub(super) fn forget(&mut self, upto: u64) {
        let before = self.pending.len();
        self.pending.retain(|pending| pending.seq > upto);
        self.diverged |= self.pending.len() < before;
    }

    /// Drops one write, as a device does that loses it; a new length is another write.
    pub(super) fn lose(&mut self, seq: u64) {
        self.pending.retain(|pending| pending.seq != seq || !matches!(pending.change, Change::Write { .. }));
        self.diverged = true;
    }
}

pub(super) fn apply_change(content: &mut Content, change: &Change) {
    match change {
        Change::Write { sector, data } => content.write(sector * SECTOR_U64, data),
        Change::Size(len) if *len < content.len() => drop(content.truncate(*len)),
        Change::Size(len) => content.grow_to(*len),
        Change::Allocate(end) => content.reserve(*end),
    }
}
