//! A disk without room: what stops there, and how it is emptied.
//!
//! Appends are refused. What waits in memory can't be written, so there is no checkpoint, and the journal frees nothing; yet what is
//! trimmed, deleted or expired has to give its room back. Three ways lead on, in this order:
//!
//! 1. A manifest at the frame of the last one **forgets** what its logs left since. It takes a few blocks, which the room that is
//!    kept for it (`RESERVE`) has in any case.
//! 2. A trim or a deletion whose frame waits for room in the journal counts **ahead** of it.
//! 3. What is in memory goes to the kept room, if it fits and the checkpoint brings more, or frames wait for it.
//!
//! While the kept room is out nothing else may take it: no append is let in, nothing large goes to a segment, no journal file is
//! made, and a checkpoint begins only if there is room for all of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::RESERVE_PATH;
use crate::error::{Error, Fault};
use crate::format::manifest::SegmentRow;
use crate::id::{SegmentId, SequenceNumber};
use crate::log::LogState;
use crate::manifest::Changes;
use crate::metrics::Health;
use crate::options::Durability;
use crate::segment::Segment;
use crate::sync::{Arc, Ordering, give_way};

use super::Upkeep;
use super::checkpoint::Covered;

/// What a log's flush may take beside its records and pieces: headers, an index, and the small end of an earlier life's segment,
/// which is copied.
const FLUSH_BYTES: u64 = 80 << 10;
/// What a manifest takes beside its pages.
const MANIFEST_BYTES: u64 = 16 << 10;

/// As a disk that is full would answer.
pub(super) fn no_room_left() -> (Fault, bool) {
    let error = std::io::Error::from(std::io::ErrorKind::StorageFull);
    (Fault::new("write segment", "segments", &error), true)
}

/// Whether a fault is one of what may be there again soon: descriptors, memory.
pub(super) fn is_passing(fault: &Fault) -> bool {
    let passing = [std::io::ErrorKind::OutOfMemory, std::io::ErrorKind::Interrupted];
    fault.is_no_descriptor() || passing.contains(&fault.kind)
}

/// Whether a write may be tried again, for nothing but room or something else that comes back was missing.
pub(super) fn may_pass(fault: &Fault) -> bool {
    fault.is_no_space() || is_passing(fault)
}

impl Upkeep {
    pub(super) fn is_full(&self) -> bool {
        self.core.health.is_full()
    }

    /// Whether whatever is written now may take the room that was kept for manifests.
    pub(super) fn spends_reserve(&self) -> bool {
        self.reserve_released && self.is_full()
    }

    /// Keeps room for a full disk again, before anything is let in: without it the store could not be opened for writing there.
    pub(super) fn keep_reserve(&mut self) {
        if !self.reserve_released {
            return;
        }
        match self.core.make_reserve() {
            Err(Error::Io(fault)) if fault.is_no_space() => {
                self.core.health.set(Health::Full { why: fault.to_string() });
            }
            // What is short now need not be so later.
            Err(Error::Io(fault)) if is_passing(&fault) => {}
            // Whatever else prevents it, the store does without.
            _ => {
                self.reserve_released = false;
                self.core.reserve_out.store(false, Ordering::Release);
            }
        }
    }

    /// Gives up the room that was kept; whether there was any.
    pub(super) fn release_reserve(&mut self) -> bool {
        self.reserve_released = true;
        self.core.reserve_out.store(true, Ordering::Release);
        self.core.health.set(Health::Full { why: "the room kept for a full disk is in use".into() });
        self.core.env.disk.remove(RESERVE_PATH).is_ok()
    }

    /// Something could not be written. Without room the store turns full and goes on trying; anything else stops it.
    pub(super) fn no_room(&mut self, fault: Fault) {
        if fault.is_no_space() {
            self.core.health.set(Health::Full { why: fault.to_string() });
        } else if is_passing(&fault) {
            if fault.is_no_descriptor() {
                self.core.files.close_unused();
            }
            // Nothing was promised of this write, and it is tried again: with the next look, not at once, for what is short now
            // is still short then.
            self.core.checkpoint_asked.store(true, Ordering::Release);
        } else {
            self.core.stop(fault);
        }
    }

    /// Whether appends may go on, as far as space is concerned.
    pub(super) fn look_at_space(&mut self) {
        let core = &self.core;
        let Ok(space) = core.env.disk.space() else { return };
        let used = core.files.stored_bytes() + core.ring.bytes() + core.budget.used();
        core.counters.store_bytes.store(used, std::sync::atomic::Ordering::Relaxed);
        let quota = core.options.quota_bytes;
        let tight = core.options.reserve_bytes.min(space.total / 8);
        if space.available < tight / 2 {
            core.health.set(Health::Full { why: format!("{} bytes are left on the disk", space.available) });
        } else if quota > 0 && used >= quota {
            core.health.set(Health::Full { why: format!("{used} bytes of a quota of {quota} are used") });
            // What was deleted or trimmed since gives its room back with a checkpoint, and no append asks for one.
            if core.listed_count() > 0 {
                let _ = self.checkpoint(false);
            }
        } else if self.is_full() && space.available > tight && !self.reserve_released {
            // There may be room again; a checkpoint that goes through says so.
            if self.checkpoint(false).is_ok() && !self.reserve_released {
                self.core.health.set(Health::Ok);
            }
        }
    }

    /// At most so many bytes a checkpoint of these logs takes.
    fn needed_for(&self, logs: &[Arc<LogState>]) -> u64 {
        let flushed = logs.iter().map(|log| log.flush_bytes()).filter(|bytes| *bytes > 0);
        let pages: u64 = self.core.manifest.lock().root.pages.iter().map(|page| u64::from(page.bytes)).sum();
        flushed.map(|bytes| bytes + FLUSH_BYTES).sum::<u64>() + 2 * pages + MANIFEST_BYTES
    }

    /// Whether a checkpoint of these logs may begin: not into what is left for manifests, unless all of it fits.
    pub(super) fn has_room_for(&self, logs: &[Arc<LogState>]) -> bool {
        let room = || self.core.env.disk.space().map_or(0, |space| space.available);
        !self.spends_reserve() || self.needed_for(logs) <= room()
    }

    /// After a checkpoint of these logs found no room: takes the one that was kept, if it does and more comes back, or frames wait
    /// for it.
    pub(super) fn takes_reserve(&mut self, logs: &[Arc<LogState>], retired: &[Arc<Segment>]) -> bool {
        if self.reserve_released {
            return false;
        }
        let needed = self.needed_for(logs);
        if needed > self.core.reserve_bytes() {
            return false;
        }
        let (durable, _) = self.core.durable();
        let deleted = logs.iter().filter(|log| log.is_deleted_by(durable));
        let freed = retired.iter().map(|segment| segment.bytes()).sum::<u64>()
            + deleted.map(|log| log.stored_bytes()).sum::<u64>();
        (self.core.ring.is_short() || freed >= needed) && self.release_reserve()
    }

    /// Gives back the room of what was trimmed and deleted where there is none for a checkpoint: a manifest at the frame of the
    /// last one, whose rows are as they were but for the segments that their logs left since, and but for logs whose deletion is
    /// durable. Answers with the segments that stay retired.
    ///
    /// The journal is replayed on top of it as before, so a page that can't be read is not set aside for what is known of it: where
    /// one changes, there is no such manifest. Its entries about a log without a row are passed over. What they say of
    /// segments below a row's horizon is, too: see [`LogState::replace_segments`]. A buffered log is followed from its last
    /// segment on, so that one stays.
    pub(super) fn forget(&mut self, logs: &[Arc<LogState>], retired: Vec<Arc<Segment>>) -> Vec<Arc<Segment>> {
        let core = self.core.clone();
        let (durable, _) = core.durable();
        // A row may be older than its segment's end.
        let ends: BTreeMap<SegmentId, SequenceNumber> = retired.iter().map(|s| (s.id, s.end())).collect();
        let (mut changes, mut forgotten) = (Changes::default(), BTreeSet::new());
        let (mut trimmed, mut deleted) = (Vec::new(), Vec::new());
        for (step, log) in logs.iter().enumerate() {
            give_way(step);
            let is_deleted = log.is_deleted_by(durable);
            if !is_deleted && !log.left.load(Ordering::Acquire) {
                continue;
            }
            let Ok(Some(mut row)) = core.manifest.lock().row_by_id(log.id) else { continue };
            if is_deleted {
                changes.remove(log.id);
                forgotten.extend(row.segments.iter().map(|segment| segment.id));
                deleted.push(log.clone());
                continue;
            }
            let (horizon, in_view) = (log.trimmed(), log.pieces_in_view());
            let goes = |segment: &&SegmentRow| {
                let end = match segment.is_piece() {
                    true => Some(segment.end).filter(|_| !in_view.contains(&(segment.id, segment.base))),
                    false => ends.get(&segment.id).copied(),
                };
                end.is_some_and(|end| end <= horizon)
            };
            let kept = usize::from(log.durability == Durability::Buffered).min(row.segments.len());
            let upto = row.segments.len() - kept;
            let count = row.segments[..upto].iter().take_while(goes).count();
            if count > 0 {
                row.horizon = row.horizon.max(horizon);
                forgotten.extend(row.segments.drain(..count).map(|segment| segment.id));
                changes.put(row);
                trimmed.push(log);
            }
        }
        if forgotten.is_empty() && deleted.is_empty() {
            return retired;
        }
        let (mut gone, retired): (Vec<_>, Vec<_>) = retired.into_iter().partition(|s| forgotten.contains(&s.id));
        let left = gone.len();
        for log in &deleted {
            gone.extend(log.view.read().unwrap_or_else(|p| p.into_inner()).segments.iter().cloned());
        }
        let before = core.manifest.lock().root.clone();
        let going = gone.iter().cloned();
        // What is retired and no row names goes with a later manifest, in whatever life.
        let mut leftovers = core.leftovers();
        leftovers.extend(retired.iter().map(|segment| segment.id));
        let (frame, chain) = (before.frame, before.chain);
        let covered = Covered { frame, chain, clean: false, left: leftovers, superfluous: Vec::new() };
        changes.keep_pages();
        if self.write_manifest(covered, &changes, before.touched, going).is_err() {
            gone.truncate(left);
            return retired.into_iter().chain(gone).collect();
        }
        trimmed.iter().for_each(|log| log.writer.lock().disown(&forgotten));
        self.let_go_of(&deleted);
        self.unnamed.extend(gone);
        let packs = self.settle_packs(before.packs.into_iter().map(|(pack, _)| pack));
        self.unnamed_packs.extend(packs);
        self.remove_unnamed();
        // Now there may be room for one.
        core.ask_checkpoint();
        retired
    }
}
