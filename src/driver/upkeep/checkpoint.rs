//! Checkpoints: what the journal holds goes to segments and packs, and a manifest says so.
//!
//! One never stops writers. In this order: choose frame F; write all batches up to F to segments; sync segments, then folders;
//! write and sync the manifest that names F; only then free journal files and remove segments that the manifest no longer has.
//!
//! Where the newest manifest can't be read the one before it counts, and what that one names must be there: its records may be
//! nowhere else but in files that only the newest one names. So those go when **two** manifests lack them, and a second one
//! follows at once: their room must not wait for the next checkpoint. On a full disk they go with the first.

use std::cell::Cell;
use std::collections::BTreeSet;

use crate::driver::packing::{CLASSES, DIRECT_BYTES, Packing, Small, class, due, plan};
use crate::error::{Error, Fault, Result};
use crate::format::manifest::{LogRow, SegmentRow};
use crate::id::{FrameNumber, LogId, SegmentId};
use crate::log::{Gathered, LogState, NONE};
use crate::manifest::Changes;
use crate::metrics::add;
use crate::options::Durability;
use crate::segment::{PackWriter, Segment};
use crate::sync::{Arc, Ordering, give_way};

use super::Upkeep;
use super::full::no_room_left;

/// Above so many unsynced segments one sync of the file system is cheaper than one of each.
const SYNC_ALL_FROM: usize = 48;
/// A checkpoint of so many logs, or bytes, looks on its way whether the journal needs another file: what they take is a millisecond.
const LOGS_A_LOOK: usize = 64;
const BYTES_A_LOOK: u64 = 1 << 20;
/// Packs may waste as much as they hold, and so many times the bytes of a journal file, which is about what a pack has.
const WASTED_FILES: u64 = 4;
/// Copies of what is in packs take at most such a part of the room there is.
const COPIES_PART: u64 = 4;

/// What a manifest stands for.
pub(super) struct Covered {
    /// Everything up to this frame, of this chain, is in segments.
    pub(super) frame: FrameNumber,
    pub(super) chain: u32,
    /// And nothing comes after it.
    pub(super) clean: bool,
    /// Segments of an earlier life that nobody names, and that are still needed.
    pub(super) left: Vec<SegmentId>,
    /// Those that are not: they go now, or, where a crash comes first, in the next life.
    pub(super) superfluous: Vec<SegmentId>,
}

/// A pack on its way, with what it is for.
#[derive(Default)]
struct Pack {
    writer: Option<PackWriter>,
    pieces: Vec<(Arc<LogState>, SegmentRow, Gathered)>,
}

/// A pack that little is left of, and the logs that have a piece in it.
#[derive(Default)]
struct Scattered {
    pack: Option<SegmentId>,
    logs: BTreeSet<LogId>,
}

fn pack_fault(error: std::io::Error) -> (Fault, bool) {
    (Fault::new("write pack", "segments", &error), true)
}

impl Upkeep {
    /// Takes a checkpoint at the last durable frame; `clean` says that nothing will come after it. One that is not is given up
    /// some time after the store closed: it may be long, and the next owner waits for the lock.
    pub(crate) fn checkpoint(&mut self, clean: bool) -> Result<()> {
        // Before it chooses its frame: what is deleted from here on may be the next one's.
        let deletions = self.core.deletions.swap(false, Ordering::AcqRel);
        let mut outcome = self.take_checkpoint(clean);
        let no_descriptor = matches!(&outcome, Err(Error::Io(fault)) if fault.is_no_descriptor());
        if no_descriptor && self.core.health.may_write() {
            // What nobody uses was closed by now.
            outcome = self.take_checkpoint(clean);
        }
        if outcome.is_ok() && self.list_beside_set_aside() {
            outcome = self.take_checkpoint(clean);
        }
        if outcome.is_err() && deletions {
            self.core.deletions.store(true, Ordering::Release);
        }
        self.core.checkpoint_ended(&outcome);
        outcome
    }

    /// Lists the logs in use whose page could not be read any more by a checkpoint that had to change it: what is known of them is in
    /// memory alone, and what the journal will have of them could be applied to nothing. Whether there are any.
    fn list_beside_set_aside(&mut self) -> bool {
        let set_aside = self.core.manifest.lock().take_set_aside();
        let logs: Vec<_> = set_aside.iter().flat_map(|buckets| self.core.loaded_logs_of(buckets)).collect();
        logs.iter().for_each(|log| self.core.list_for_checkpoint(log));
        !logs.is_empty()
    }

    fn take_checkpoint(&mut self, clean: bool) -> Result<()> {
        let core = self.core.clone();
        if !core.health.may_write() {
            return Err(core.refusal());
        }
        // The order of these three matters. A segment is retired after its log left it and was listed, so a row taken from
        // here on does not name it; a log is listed before its frame counts as durable, so every log of a frame up to F is.
        let mut retired = core.take_retired();
        let scattered = self.list_scattered();
        let listed = crate::seeded_bug!(ListTakenBeforeFrame).then(|| core.take_listed());
        let (frame, chain) = core.durable();
        let logs = listed.unwrap_or_else(|| core.take_listed());
        let long = logs.len() >= LOGS_A_LOOK || core.budget.waiting_for_segments() >= BYTES_A_LOOK;
        // Once it is, it stays so: what a loop that ended early left in memory is in no segment.
        let over = Cell::new(false);
        let given_up = || {
            over.set(over.get() || !clean && core.closed_long_ago());
            over.get()
        };
        let mut copied = true;
        let mut flushed = match self.has_room_for(&logs) {
            true => self.flush_all(&logs, frame, &scattered.logs, &mut copied, &given_up),
            false => Err(no_room_left()),
        };
        if matches!(&flushed, Err((fault, true)) if fault.is_no_space()) {
            retired = self.forget(&logs, retired);
            if self.takes_reserve(&logs, &retired) {
                flushed = self.flush_all(&logs, frame, &scattered.logs, &mut copied, &given_up);
            }
        }
        let synced = flushed.and_then(|()| match given_up() {
            true => Ok(Vec::new()),
            false => {
                self.make_files_meanwhile(long);
                self.sync(&logs).map_err(|fault| (fault, false))
            }
        });
        if synced.is_ok() && given_up() {
            logs.iter().for_each(|log| core.list_for_checkpoint(log));
            core.put_back_retired(retired);
            return Err(Error::Closed);
        }
        let rows = match synced {
            Ok(rows) => rows,
            Err((fault, retry)) => {
                logs.iter().for_each(|log| core.list_for_checkpoint(log));
                core.put_back_retired(retired);
                if retry {
                    self.no_room(fault.clone());
                } else {
                    core.stop(fault.clone());
                }
                return Err(Error::Io(fault));
            }
        };
        let mut changes = Changes::default();
        let (mut deleted, mut gone): (Vec<Arc<LogState>>, Vec<Arc<Segment>>) = Default::default();
        for (step, (log, row)) in logs.iter().zip(rows).enumerate() {
            give_way(step);
            let deleted_in = log.deleted_in.load(Ordering::Acquire);
            let created_in = log.created_in.load(Ordering::Acquire);
            if deleted_in <= frame {
                let view = log.view.read().unwrap_or_else(|p| p.into_inner());
                gone.extend(view.segments.iter().cloned());
                changes.remove(log.id);
                deleted.push(log.clone());
                continue;
            }
            if created_in <= frame {
                changes.put(row);
            }
            // What came after F is the next checkpoint's, whether or not anything happens to the log again.
            let later = !log.view.read().unwrap_or_else(|p| p.into_inner()).pending.is_empty();
            if later || created_in > frame || deleted_in != NONE {
                core.list_for_checkpoint(log);
            }
        }
        // And what was retired since this began, by the flush itself above all, of which no row here has anything any more. What other
        // rows of the manifest still name stays.
        let is_forgotten = |segment: &Segment| {
            changes.segments(segment.log).is_some_and(|named| named.iter().all(|named| named.id != segment.id))
        };
        retired.extend(core.take_retired_by(is_forgotten));
        self.make_files_meanwhile(long);
        let touched = core.settle_touched(&changes);
        let before = core.manifest.lock().root.packs.clone();
        // Everything the journal had for those left over is in this life's segments now.
        let covered = || Covered { frame, chain, clean, left: Vec::new(), superfluous: core.leftovers() };
        let going = retired.iter().chain(&gone).cloned();
        let outcome = self.write_manifest(covered(), &changes, touched.clone(), going);
        if let Err(error) = outcome {
            for log in &logs {
                core.list_for_checkpoint(log);
                log.left.store(true, Ordering::Release);
            }
            core.put_back_retired(retired);
            return Err(error);
        }
        self.let_go_of(&deleted);
        // This was the second one for what an earlier one retired.
        self.unnamed.append(&mut self.unnamed_once);
        self.unnamed_packs.append(&mut self.unnamed_once_packs);
        self.unnamed.extend(gone);
        self.unnamed_once = retired;
        // Those that no row came to name were for logs that moved on meanwhile.
        let made = std::mem::take(&mut self.new_packs);
        self.emptied.extend(scattered.pack.filter(|_| copied));
        self.unnamed_once_packs = self.settle_packs(before.iter().map(|(pack, _)| *pack).chain(made));
        if !(self.unnamed_once.is_empty() && self.unnamed_once_packs.is_empty()) {
            let nothing = std::iter::empty();
            let twice =
                !self.is_full() && self.write_manifest(covered(), &Changes::default(), touched, nothing).is_ok();
            // What could not be written for another reason than room is tried again with the next checkpoint.
            if twice || self.is_full() {
                self.unnamed.append(&mut self.unnamed_once);
                self.unnamed_packs.append(&mut self.unnamed_once_packs);
            }
        }
        // Where nothing else asks for checkpoints, a pack that little is left of does.
        if copied && (core.budget.used() == 0 || self.is_full()) && self.emptiest().is_some() {
            core.ask_checkpoint();
        }
        self.superfluous.extend(core.take_leftovers());
        self.remove_unnamed();
        // A file that could not be removed is superfluous, not wrong.
        let named = core.manifest.lock().root.journal_files.clone();
        let _ = core.ring.free_upto(frame, &named);
        add(&core.counters.checkpoints, 1);
        changes.let_go();
        logs.into_iter().enumerate().for_each(|(step, _)| give_way(step));
        Ok(())
    }

    /// Of logs that are in no manifest any more nothing is kept.
    pub(super) fn let_go_of(&mut self, deleted: &[Arc<LogState>]) {
        for log in deleted {
            // Nobody stores to a file that is about to be shortened, nor syncs one that is gone.
            log.writer.lock().end();
            let pending = {
                let mut view = log.view.write().unwrap_or_else(|p| p.into_inner());
                view.segments.clear();
                view.pending.clear();
                std::mem::take(&mut view.pending_bytes)
            };
            self.core.budget.flushed(pending);
            self.core.catalog_forget(log);
        }
    }

    /// Of these packs those that the manifest does not name.
    pub(super) fn settle_packs(&mut self, packs: impl Iterator<Item = SegmentId>) -> Vec<SegmentId> {
        let root = self.core.manifest.lock().root.clone();
        let named = |pack: &SegmentId| root.packs.binary_search_by_key(pack, |(named, _)| *named).is_ok();
        self.emptied.retain(named);
        packs.filter(|pack| !named(pack)).collect()
    }

    /// Writes what the logs have in memory up to a frame: those that have much, or are few, to segments of their own, the others
    /// together into packs. Those scattered give up the pieces they have. Where there is no room for copies of what is in packs,
    /// none are made, and `copied` says so. With a fault, whether it can be tried again.
    fn flush_all(
        &mut self,
        logs: &[Arc<LogState>],
        frame: u64,
        scattered: &BTreeSet<LogId>,
        copied: &mut bool,
        given_up: &dyn Fn() -> bool,
    ) -> Result<(), (Fault, bool)> {
        let core = self.core.clone();
        let mut sizes = Vec::new();
        let mut look = |(step, log): (usize, &Arc<LogState>)| {
            give_way(step);
            let tail = log.tail(frame, &mut sizes);
            Small { tail, due: due(log.id, tail.pending, &sizes), scattered: scattered.contains(&log.id) }
        };
        let seen: Vec<Small> = logs.iter().enumerate().map(&mut look).collect();
        let is_small = |at: &usize| {
            let (log, seen) = (&logs[*at], &seen[*at]);
            let asked = seen.tail.pending > 0 || seen.scattered;
            asked
                && !log.is_deleted_by(frame)
                && log.durability == Durability::Durable
                && seen.tail.pending < DIRECT_BYTES
        };
        // Old pieces give back their room only when a manifest names the new ones.
        let room = core.env.disk.space().map_or(u64::MAX, |space| space.available);
        let has_room = |copies: u64| copies <= room / COPIES_PART;
        *copied = has_room(seen.iter().filter(|seen| seen.scattered).map(|seen| seen.tail.piece_bytes).sum());
        let small: Vec<usize> = (0..logs.len()).filter(is_small).collect();
        let mut own = vec![true; logs.len()];
        if small.len() > core.options.pack_from {
            let small_seen: Vec<_> = small.iter().map(|at| seen[*at]).collect();
            let mut plan = plan(&small_seen);
            let copies = small_seen.iter().zip(&plan).map(|(seen, packing)| seen.copied(*packing));
            *copied = *copied && has_room(copies.sum());
            if !*copied {
                plan.fill(Packing::Add);
            }
            let mut packs = <[Pack; CLASSES]>::default();
            let mut outcome = Ok(());
            let packed = small.into_iter().zip(plan).filter(|(_, packing)| *packing != Packing::Own);
            for (step, (at, packing)) in packed.take_while(|_| !given_up()).enumerate() {
                give_way(step);
                if step % LOGS_A_LOOK == 0 {
                    self.make_files_meanwhile(logs.len() >= LOGS_A_LOOK);
                }
                own[at] = false;
                let merge = if let Packing::Merge(due) = packing { due.pieces } else { 0 };
                outcome = self.add_to_pack(&mut packs, &logs[at], frame, merge);
                if outcome.is_err() {
                    break;
                }
            }
            for pack in packs {
                if outcome.is_ok() {
                    outcome = self.finish_pack(pack, frame);
                } else {
                    // Nobody saw them, and they are made anew when it is tried again.
                    pack.writer.into_iter().for_each(|writer| writer.give_up(&core.files));
                }
            }
            outcome?;
        }
        // What a deleted log has goes with it, and takes no room where there is little.
        let full = self.is_full();
        let lives = |log: &LogState| !full || !log.is_deleted_by(frame);
        let own = logs.iter().zip(&seen).zip(own).filter(|((log, _), own)| *own && lives(log));
        for ((log, seen), _) in own.take_while(|_| !given_up()) {
            self.make_files_meanwhile(seen.tail.pending >= BYTES_A_LOOK);
            self.flush(log, frame, *copied && scattered.contains(&log.id)).map_err(|fault| (fault, true))?;
        }
        Ok(())
    }

    /// Makes the files that the journal needs while a checkpoint runs, if it is a long one.
    fn make_files_meanwhile(&mut self, long: bool) {
        if long && !self.core.is_closed() {
            self.make_journal_files();
        }
    }

    /// Adds what a log has in memory, behind so many of its last pieces, to the pack of its class.
    fn add_to_pack(
        &mut self,
        packs: &mut [Pack; CLASSES],
        log: &Arc<LogState>,
        frame: u64,
        merge: usize,
    ) -> Result<(), (Fault, bool)> {
        let files = &self.core.files;
        let (gathered, batches) = log.gather(files, frame, merge);
        if batches.is_empty() {
            return Ok(());
        }
        let bytes = batches.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let pack = &mut packs[class(bytes)];
        let begun = match pack.writer.take() {
            Some(writer) => Ok(writer),
            None => PackWriter::begin(files),
        };
        let mut writer = begun.map_err(pack_fault)?;
        match writer.add(files, log.id, &batches) {
            Ok(row) => pack.pieces.push((log.clone(), row, gathered)),
            Err(error) => {
                writer.give_up(files);
                return Err(pack_fault(error));
            }
        }
        writer.write_back(&self.pace).map_err(|error| (pack_fault(error).0, false))?;
        let full = writer.bytes() >= self.core.identity.journal_file_bytes;
        pack.writer = Some(writer);
        if full { self.finish_pack(std::mem::take(pack), frame) } else { Ok(()) }
    }

    /// Makes a pack durable, and only then shows its pieces: nobody may count on one, nor let go of what it was copied from, before.
    fn finish_pack(&mut self, pack: Pack, frame: u64) -> Result<(), (Fault, bool)> {
        let core = self.core.clone();
        let Some(mut writer) = pack.writer else { return Ok(()) };
        if let Err(error) = writer.finish(&core.files) {
            writer.give_up(&core.files);
            return Err(pack_fault(error));
        }
        if !crate::seeded_bug!(PackShownUnsynced) {
            writer.sync(&core.files, &self.pace).map_err(|error| (pack_fault(error).0, false))?;
        }
        self.new_packs.push(writer.id());
        for (step, (log, row, gathered)) in pack.pieces.into_iter().enumerate() {
            give_way(step);
            match log.show_piece(&row, &gathered) {
                Some(freed) => {
                    core.budget.flushed(freed);
                    core.retire(&log, gathered.merged);
                }
                // A large append wrote what it passed to a segment, or a trim let go of it. What either left in memory must
                // be in a segment all the same: the checkpoint frees the frames up to this one.
                None => self.flush(&log, frame, false).map_err(|fault| (fault, true))?,
            }
        }
        Ok(())
    }

    /// The pack that least is left of, if packs waste more than they hold.
    fn emptiest(&self) -> Option<SegmentId> {
        let core = &self.core;
        let packs = core.manifest.lock().root.packs.clone();
        let sized = packs.iter().filter_map(|(pack, left)| Some((*pack, *left, core.files.pack_bytes(*pack).ok()?)));
        let sized: Vec<(SegmentId, u64, u64)> = sized.collect();
        let (left, bytes) = sized.iter().fold((0, 0), |sum, (_, left, bytes)| (sum.0 + left, sum.1 + bytes));
        let least = sized.iter().filter(|(pack, ..)| !self.emptied.contains(pack)).min_by_key(|(_, left, _)| *left);
        let patience = if self.is_full() { 0 } else { WASTED_FILES * core.identity.journal_file_bytes };
        least.filter(|_| bytes > 2 * left + patience).map(|(pack, ..)| *pack)
    }

    /// Lists the logs with a piece in the emptiest pack: they are copied elsewhere, idle ones too, and the pack goes.
    fn list_scattered(&mut self) -> Scattered {
        let core = self.core.clone();
        let Some(pack) = self.emptiest() else { return Scattered::default() };
        let names: Vec<String> = {
            let manifest = core.manifest.lock();
            let named = |row: &LogRow| row.segments.iter().any(|segment| segment.id == pack);
            manifest.rows().filter_map(Result::ok).flatten().filter(named).map(|row| row.name).collect()
        };
        let logs: Vec<_> = names.iter().filter_map(|name| core.log_by_name(name).ok()).collect();
        logs.iter().for_each(|log| core.list_for_checkpoint(log));
        Scattered { pack: Some(pack), logs: logs.iter().map(|log| log.id).collect() }
    }

    /// Makes what was flushed durable: segments, then folders. Answers with a row for each log that claims what this covers
    /// and no more: what a log's writer adds meanwhile is not in it.
    fn sync(&mut self, logs: &[Arc<LogState>]) -> Result<Vec<LogRow>, Fault> {
        let core = &self.core;
        let fault = |error: std::io::Error| Fault::new("sync segments", "segments", &error);
        // A failure stops the store, so the lists need not be put right after one.
        let begin = |(step, log): (usize, &Arc<LogState>)| {
            give_way(step);
            let mut writer = log.writer.lock();
            log.left.store(false, Ordering::Release);
            (writer.begin_sync(), log.row())
        };
        let (lists, rows): (Vec<_>, Vec<_>) = logs.iter().enumerate().map(begin).unzip();
        let unsynced = || lists.iter().flatten();
        if unsynced().count() > SYNC_ALL_FROM {
            core.env.disk.sync_all().map_err(fault)?;
        } else {
            unsynced().try_for_each(|unsynced| core.files.write_back(unsynced, &self.pace)).map_err(fault)?;
            unsynced().try_for_each(|unsynced| core.files.sync(&unsynced.segment)).map_err(fault)?;
        }
        let synced = logs.iter().zip(&lists).filter(|(_, list)| !list.is_empty());
        synced.for_each(|(log, _)| log.writer.lock().end_sync());
        core.files.sync_folders().and_then(|()| core.files.sync_removed()).map_err(fault)?;
        Ok(rows)
    }

    pub(super) fn write_manifest(
        &mut self,
        covered: Covered,
        changes: &Changes,
        touched: Vec<LogId>,
        retired: impl Iterator<Item = Arc<Segment>>,
    ) -> Result<()> {
        let core = self.core.clone();
        // Those of an earlier checkpoint, too, that a backup still reads.
        let files = |segment: &Arc<Segment>| !segment.is_piece();
        let earlier = self.unnamed.iter().chain(&self.unnamed_once).cloned();
        let retired: Vec<_> = retired.chain(earlier).filter(files).collect();
        let unnamed_packs = || self.unnamed_packs.iter().chain(&self.unnamed_once_packs).copied();
        let mut manifest = core.manifest.lock();
        let mut root = manifest.root.clone();
        let Covered { frame, chain, clean, left, superfluous } = covered;
        (root.frame, root.chain, root.clean) = (frame, chain, clean);
        root.next_log = core.next_log.load(Ordering::Acquire);
        // Every segment of these rows was begun before they were taken.
        let begun = core.files.begun();
        let mut named: BTreeSet<SegmentId> = BTreeSet::new();
        for (step, row) in changes.rows().enumerate() {
            give_way(step);
            named.extend(row.segments.iter().map(|segment| segment.id).filter(|id| begun.contains(id)));
        }
        (root.segments_reserved, root.unnamed) = core.files.ids_to_note(&named);
        root.unnamed.extend(left);
        root.stamp_ms = core.last_stamp();
        // What is retired by this manifest or an earlier one goes, whatever life that is left to.
        let packs = unnamed_packs().filter_map(|pack| core.files.pack_bytes(pack).ok());
        let going = retired.iter().map(|segment| segment.bytes()).sum::<u64>() + packs.sum::<u64>();
        root.stored_bytes = core.files.stored_bytes().saturating_sub(going);
        root.journal_files = if clean { Vec::new() } else { core.ring.files_after(frame) };
        root.touched = touched;
        let mut going = core.files.removed();
        going.extend(retired.iter().map(|segment| segment.id).chain(unnamed_packs()));
        going.extend(superfluous.into_iter().chain(self.superfluous.iter().copied()));
        root.retired = going.into_iter().collect();
        while root.generations.len() > 1 && root.generations[1].1 <= frame + 1 {
            root.generations.remove(0);
        }
        let reserved = root.segments_reserved;
        let mut outcome = manifest.write(root.clone(), changes, &self.rests);
        if matches!(&outcome, Err(Error::Io(fault)) if fault.is_no_space()) {
            // The last room on the disk was kept for this.
            if self.release_reserve() {
                outcome = manifest.write(root, changes, &self.rests);
            }
        }
        let removed = manifest.take_removed();
        drop(manifest);
        removed.into_iter().for_each(|file| self.graves.add(file, None));
        match outcome {
            Ok(()) => {
                core.files.reserved(reserved);
                core.files.named(&named);
                Ok(())
            }
            Err(Error::Io(fault)) => {
                self.no_room(fault.clone());
                Err(Error::Io(fault))
            }
            Err(error) => Err(error),
        }
    }
}
