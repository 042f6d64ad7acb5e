//! Who decides what a power cut keeps: the tape, or a mask of units.

use bytes::Bytes;

use super::image::{DirOp, Image, Ino};
use super::inode::{Change, FileNode, SECTOR_U64};
use super::profile::Profile;
use super::tape::Tape;

/// What is unsynced of one file: lengths and writes, oldest first.
pub(super) struct Unsynced {
    pub(super) sizes: Vec<u64>,
    /// First sector and bytes.
    pub(super) writes: Vec<(u64, Bytes)>,
}

impl Unsynced {
    pub(super) fn of(image: &Image, ino: Ino, file: &FileNode) -> Self {
        let mut unsynced = Unsynced { sizes: Vec::new(), writes: Vec::new() };
        for pending in &file.pending {
            match &pending.change {
                Change::Write { sector, data } => unsynced.writes.push((*sector, data.clone())),
                Change::Size(len) => unsynced.sizes.push(*len),
                Change::Allocate(_) => {}
            }
        }
        let mut len = file.volatile.len();
        for flight in image.in_flight.iter().chain(&image.late).filter(|flight| flight.ino == ino) {
            unsynced.writes.push((flight.offset / SECTOR_U64, flight.data.clone()));
            let end = flight.offset + flight.data.len() as u64;
            if end > len {
                unsynced.sizes.push(end);
                len = end;
            }
        }
        unsynced
    }

    /// Units of `group` sectors: lengths first, then each write's groups.
    pub(super) fn units(&self, group: u64) -> usize {
        let groups = |(_, data): &(u64, Bytes)| (data.len() as u64 / SECTOR_U64).div_ceil(group) as usize;
        self.sizes.len() + self.writes.iter().map(groups).sum::<usize>()
    }
}

/// Decides what a power cut keeps.
pub(super) trait Pick {
    /// The next file, whose choices follow.
    fn begin(&mut self, unsynced: &Unsynced);
    /// Its length: `old`, one of the unsynced ones, or something between.
    fn size(&mut self, old: u64, sizes: &[u64]) -> u64;
    /// The write, of those that touch a sector, that it keeps; `None` for its old content. With `forced` one is kept.
    fn sector(&mut self, sector: u64, writes: &[(u64, usize)], forced: bool) -> Option<usize>;
    /// What lies in grown space whose data was lost.
    fn garbage(&mut self) -> Garbage;
    /// Which of the changes of names land.
    fn entries(&mut self, ops: &[DirOp], ordered: bool) -> Vec<bool>;
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Garbage {
    Zeros,
    Noise,
    Recycled,
}

/// How a file fares as a whole. Independent sectors alone would almost never leave a large file all new or all old.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    AllNew,
    AllOld,
    EachSector,
    EachWrite,
}

pub(super) struct TapePick<'a> {
    tape: &'a Tape,
    profile: Profile,
    style: Style,
    landed: Vec<bool>,
}

impl<'a> TapePick<'a> {
    pub(super) fn new(tape: &'a Tape, profile: Profile) -> Self {
        TapePick { tape, profile, style: Style::EachSector, landed: Vec::new() }
    }
}

impl Pick for TapePick<'_> {
    fn begin(&mut self, unsynced: &Unsynced) {
        let styles = [Style::AllNew, Style::AllOld, Style::EachSector, Style::EachWrite];
        // An exhaustive tape reaches all of them through single sectors.
        let exhaustive = self.tape.is_exhaustive();
        self.style = if exhaustive { Style::EachSector } else { styles[self.tape.choose("crash_style", 4) as usize] };
        self.landed.clear();
        if self.style == Style::EachWrite {
            self.landed.extend(unsynced.writes.iter().map(|_| self.tape.choose("crash_write", 2) == 0));
        }
    }

    fn size(&mut self, old: u64, sizes: &[u64]) -> u64 {
        let Some(&newest) = sizes.last() else { return old };
        let (low, high) = (old.min(newest), old.max(newest));
        let between = high.div_ceil(SECTOR_U64).saturating_sub(low / SECTOR_U64 + 1);
        match self.style {
            Style::AllNew => return newest,
            Style::AllOld => return old,
            Style::EachSector | Style::EachWrite => {}
        }
        let steps = sizes.len() as u64;
        match self.tape.choose("crash_size", steps + 1 + u64::from(between > 0)) {
            step if step < steps => sizes[(steps - 1 - step) as usize],
            step if step == steps => old,
            _ => (low / SECTOR_U64 + 1 + self.tape.choose("crash_size_between", between)) * SECTOR_U64,
        }
    }

    fn sector(&mut self, _sector: u64, writes: &[(u64, usize)], forced: bool) -> Option<usize> {
        let newest = writes.last().map(|&(_, at)| at);
        match self.style {
            Style::AllNew => newest,
            Style::AllOld if forced => newest,
            Style::AllOld => None,
            Style::EachWrite => {
                let kept = writes.iter().rev().find(|&&(_, at)| self.landed[at]).map(|&(_, at)| at);
                if forced { kept.or(newest) } else { kept }
            }
            Style::EachSector => {
                let versions = writes.len() as u64;
                let back = self.tape.choose("crash_sector", versions + u64::from(!forced));
                (back < versions).then(|| writes[(versions - 1 - back) as usize].1)
            }
        }
    }

    fn garbage(&mut self) -> Garbage {
        if !self.profile.stale_garbage {
            return Garbage::Zeros;
        }
        [Garbage::Zeros, Garbage::Noise, Garbage::Recycled][self.tape.choose("crash_garbage", 3) as usize]
    }

    fn entries(&mut self, ops: &[DirOp], ordered: bool) -> Vec<bool> {
        if ordered {
            let lost = self.tape.choose("crash_entries", ops.len() as u64 + 1) as usize;
            return (0..ops.len()).map(|at| at < ops.len() - lost).collect();
        }
        ops.iter().map(|_| self.tape.choose("crash_entry", 2) == 0).collect()
    }
}

pub(super) struct MaskPick {
    mask: u64,
    group: u64,
    /// The first unit of the file at hand, and of the one after it.
    unit: usize,
    next: usize,
    sizes: usize,
    /// Per write: its first sector and its first unit.
    writes: Vec<(u64, usize)>,
}

impl MaskPick {
    /// Bit 0 of the mask is the first unit; units are `group` sectors.
    pub(super) fn new(mask: u64, group: u64) -> Self {
        MaskPick { mask, group: group.max(1), unit: 0, next: 0, sizes: 0, writes: Vec::new() }
    }

    fn keeps(&self, unit: usize) -> bool {
        unit < 64 && self.mask & (1 << unit) != 0
    }
}

impl Pick for MaskPick {
    fn begin(&mut self, unsynced: &Unsynced) {
        self.unit = self.next;
        self.sizes = unsynced.sizes.len();
        let mut unit = self.unit + self.sizes;
        self.writes.clear();
        for (sector, data) in &unsynced.writes {
            self.writes.push((*sector, unit));
            unit += (data.len() as u64 / SECTOR_U64).div_ceil(self.group) as usize;
        }
        self.next = unit;
    }

    fn size(&mut self, old: u64, sizes: &[u64]) -> u64 {
        let kept = (0..self.sizes).rev().find(|at| self.keeps(self.unit + at));
        kept.map_or(old, |at| sizes[at])
    }

    fn sector(&mut self, sector: u64, writes: &[(u64, usize)], forced: bool) -> Option<usize> {
        let landed = |&&(_, at): &&(u64, usize)| {
            let (first, unit) = self.writes[at];
            self.keeps(unit + ((sector - first) / self.group) as usize)
        };
        let kept = writes.iter().rev().find(landed).or(if forced { writes.first() } else { None });
        kept.map(|&(_, at)| at)
    }

    fn garbage(&mut self) -> Garbage {
        Garbage::Zeros
    }

    fn entries(&mut self, ops: &[DirOp], ordered: bool) -> Vec<bool> {
        let mut all_before = true;
        let mut landed = Vec::with_capacity(ops.len());
        for at in 0..ops.len() {
            let keeps = self.keeps(self.next + at) && (all_before || !ordered);
            all_before &= keeps;
            landed.push(keeps);
        }
        landed
    }
}
