//! From an image to what a crash leaves of it.
//!
//! A power cut settles each unsynced sector, length and name by itself. Who settles is a [`Pick`]: the tape, for random
//! and replayed runs, or a mask of units, for harnesses that enumerate subsets.

use std::sync::Arc;

use super::blocks::SECTOR;
use super::image::{Image, InFlight, Ino, Node, TOP};
use super::inode::{Change, FileNode, SECTOR_U64};
use super::pick::{Garbage, MaskPick, Pick, TapePick, Unsynced};
use super::tape::{SplitMix64, Tape};

/// How the owner of a disk ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The process dies; the page cache stays, queued writes may land, in part, not at all, or late.
    Kill,
    /// The machine loses power; of what wasn't synced, anything may be there.
    Power,
}

/// One thing a power cut may keep or lose: a bit of the mask of [`SimDisk::crash_subset`](super::SimDisk::crash_subset).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// A new length.
    Size {
        /// A name of the file.
        path: String,
        /// The length.
        to: u64,
    },
    /// A group of sectors of one write.
    Data {
        /// A name of the file.
        path: String,
        /// Where the group starts.
        offset: u64,
        /// Its length in bytes.
        len: u64,
    },
    /// A change of names: a creation has no `from`, a removal no `to`.
    Entry {
        /// The old name.
        from: Option<String>,
        /// The new name.
        to: Option<String>,
    },
}

impl Image {
    /// The image after a crash whose choices the tape makes.
    pub(super) fn crash(&self, kind: Crash, tape: &Tape) -> Image {
        match kind {
            Crash::Kill => self.kill(tape),
            Crash::Power => self.power(&mut TapePick::new(tape, self.profile)),
        }
    }

    /// The image after a power cut that keeps just the units of `mask`.
    pub(super) fn crash_subset(&self, group: u64, mask: u64) -> Image {
        self.power(&mut MaskPick::new(mask, group))
    }

    fn power(&self, pick: &mut dyn Pick) -> Image {
        let mut after = self.clone();
        after.break_promises();
        after.in_flight.clear();
        after.late.clear();
        let nameable = self.nameable();
        for (at, node) in self.nodes.iter().enumerate() {
            let Some(Node::File(file)) = node else { continue };
            let ino = at as Ino;
            let in_flight = self.in_flight.iter().chain(&self.late).any(|flight| flight.ino == ino);
            if nameable[at] && (in_flight || file.diverged || !file.pending.is_empty()) {
                let settled = self.settle(ino, file, pick);
                after.nodes[at] = Some(Node::File(Arc::new(settled)));
            }
        }
        let landed = pick.entries(&self.ops, self.profile.ordered_entries);
        after.ops.clear();
        for (op, landed) in self.ops.iter().zip(landed) {
            if landed {
                after.apply_op(op);
            }
        }
        for node in after.nodes.iter_mut().flatten() {
            if let Node::Dir(dir) = node
                && !Arc::ptr_eq(&dir.volatile, &dir.durable)
            {
                let dir = Arc::make_mut(dir);
                dir.volatile = dir.durable.clone();
            }
        }
        after.settle_after_crash();
        after
    }

    /// Files that may have a name after a power cut.
    fn nameable(&self) -> Vec<bool> {
        let mut nameable = vec![false; self.nodes.len()];
        for node in self.nodes.iter().flatten() {
            if let Node::Dir(dir) = node {
                dir.durable.values().for_each(|&ino| nameable[ino as usize] = true);
            }
        }
        self.ops.iter().filter(|op| op.to.is_some()).for_each(|op| nameable[op.ino as usize] = true);
        nameable
    }

    fn settle(&self, ino: Ino, file: &FileNode, pick: &mut dyn Pick) -> FileNode {
        let unsynced = Unsynced::of(self, ino, file);
        pick.begin(&unsynced);
        let old_len = file.durable.len();
        let len = pick.size(old_len, &unsynced.sizes);

        let mut touched: Vec<(u64, usize)> = Vec::new();
        for (at, (sector, data)) in unsynced.writes.iter().enumerate() {
            let sectors = data.len() as u64 / SECTOR_U64;
            // What lies beyond the length can't be seen: nothing to decide.
            let visible = len.div_ceil(SECTOR_U64).saturating_sub(*sector).min(sectors);
            touched.extend((0..visible).map(|i| (sector + i, at)));
        }
        touched.sort_unstable();

        let mut content = file.durable.clone();
        for pending in &file.pending {
            if let Change::Allocate(end) = pending.change {
                content.reserve(end);
            }
        }
        let mut garbage = None;
        for writes in touched.chunk_by(|a, b| a.0 == b.0) {
            let sector = writes[0].0;
            let grown = (sector + 1) * SECTOR_U64 > old_len;
            match pick.sector(sector, writes, grown && self.profile.size_after_data) {
                Some(at) => {
                    let (first, data) = &unsynced.writes[at];
                    let from = ((sector - first) * SECTOR_U64) as usize;
                    content.write(sector * SECTOR_U64, &data[from..from + SECTOR]);
                }
                None if sector * SECTOR_U64 >= old_len => {
                    let garbage = *garbage.get_or_insert_with(|| pick.garbage());
                    if garbage != Garbage::Zeros {
                        content.write(sector * SECTOR_U64, &self.stale_sector(ino, sector, garbage));
                    }
                }
                None => {}
            }
        }
        if len < old_len {
            content.truncate(len);
        } else {
            content.set_len(len);
        }
        FileNode { durable: content.clone(), volatile: content, linked: true, counted: true, ..FileNode::default() }
    }

    fn stale_sector(&self, ino: Ino, sector: u64, garbage: Garbage) -> [u8; SECTOR] {
        let mut bytes = [0; SECTOR];
        if garbage == Garbage::Recycled && !self.stale.is_empty() {
            let block = &self.stale[(sector / 8) as usize % self.stale.len()];
            let from = (sector % 8) as usize * SECTOR;
            bytes.copy_from_slice(&block.bytes()[from..from + SECTOR]);
            return bytes;
        }
        let mut noise = SplitMix64((u64::from(ino) << 32) ^ sector);
        for word in bytes.as_chunks_mut::<8>().0 {
            *word = noise.next().to_le_bytes();
        }
        bytes
    }

    fn kill(&self, tape: &Tape) -> Image {
        let mut after = self.clone();
        for flight in std::mem::take(&mut after.in_flight) {
            match tape.choose("kill_in_flight", if flight.in_ring { 3 } else { 4 }) {
                0 => after.land(&flight),
                1 => {}
                2 => {
                    let sectors = flight.data.len() as u64 / SECTOR_U64;
                    let kept = (tape.choose("kill_torn", sectors.max(1)) * SECTOR_U64) as usize;
                    after.land(&InFlight { data: flight.data.slice(..kept), ..flight });
                }
                _ => after.late.push(flight),
            }
        }
        after.settle_after_crash();
        after
    }

    /// A queued write reaches the disk without its owner hearing of it.
    pub(super) fn land(&mut self, flight: &InFlight) {
        // On a full disk it just doesn't land.
        let _ = self.write(flight.ino, flight.offset, &flight.data, Some(flight.data.clone()));
    }

    /// What is unsynced, in the order of the bits of a mask.
    pub(super) fn units(&self, group: u64) -> Vec<Unit> {
        let group = group.max(1);
        let names = self.any_names();
        let name = |ino: Ino| names[ino as usize].clone();
        let mut units = Vec::new();
        for (ino, unsynced) in self.unsynced_files() {
            units.extend(unsynced.sizes.iter().map(|&to| Unit::Size { path: name(ino), to }));
            for (sector, data) in &unsynced.writes {
                let (start, end) = (sector * SECTOR_U64, sector * SECTOR_U64 + data.len() as u64);
                let mut offset = start;
                while offset < end {
                    let len = (group * SECTOR_U64).min(end - offset);
                    units.push(Unit::Data { path: name(ino), offset, len });
                    offset += len;
                }
            }
        }
        for op in &self.ops {
            let path = |place: &Option<(Ino, Arc<str>)>| {
                place.as_ref().map(|(dir, leaf)| format!("{}/{leaf}", names[*dir as usize]))
            };
            units.push(Unit::Entry { from: path(&op.from), to: path(&op.to) });
        }
        units
    }

    /// How many units there are.
    pub(super) fn unit_count(&self, group: u64) -> usize {
        let files: usize = self.unsynced_files().iter().map(|(_, unsynced)| unsynced.units(group.max(1))).sum();
        files + self.ops.len()
    }

    /// In the order in which [`power`](Image::power) settles them.
    fn unsynced_files(&self) -> Vec<(Ino, Unsynced)> {
        let nameable = self.nameable();
        let unsynced = |(at, node): (usize, &Option<Node>)| match node {
            Some(Node::File(file)) if nameable[at] => Some((at as Ino, Unsynced::of(self, at as Ino, file))),
            _ => None,
        };
        self.nodes.iter().enumerate().filter_map(unsynced).collect()
    }

    /// Some path for each inode, from the top.
    fn any_names(&self) -> Vec<String> {
        let mut names = vec![String::new(); self.nodes.len()];
        let mut todo = vec![TOP];
        while let Some(at) = todo.pop() {
            let Some(Node::Dir(dir)) = &self.nodes[at as usize] else { continue };
            for (name, &ino) in dir.durable.iter().chain(dir.volatile.iter()) {
                if names[ino as usize].is_empty() {
                    names[ino as usize] = format!("{}/{name}", names[at as usize]);
                    todo.push(ino);
                }
            }
        }
        names
    }
}
