//! What goes on behind the appends: flushing, checkpoints, journal files, retention, and giving space back.

mod checkpoint;
mod full;
mod graves;
mod scrub;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::core::Core;
use crate::env::Pace;
use crate::error::{Fault, Result};
use crate::format::manifest::{LogRow, SegmentRow};
use crate::id::SegmentId;
use crate::log::LogState;
use crate::metrics::add;
use crate::options::Durability;
use crate::segment::Segment;
use crate::sync::{Arc, Ordering, give_way};

use graves::Graves;
use scrub::Scrub;

/// How many segments one retention pass may remove: what a clock that lies can cost.
const REMOVED_PER_PASS_MAX: usize = 64;
/// How many manifest pages of idle logs a retention pass looks at.
const PAGES_PER_PASS: usize = 64;

/// The upkeep machine.
pub(crate) struct Upkeep {
    core: Arc<Core>,
    /// Between its rests the journal gets the files it needs.
    pace: Pace,
    /// Rests and nothing else, for where that would take too long or is what goes on.
    rests: Pace,
    graves: Graves,
    scrub: Scrub,
    /// Segments that no manifest names any more, and packs.
    unnamed: Vec<Arc<Segment>>,
    unnamed_packs: Vec<SegmentId>,
    /// Those that the manifest before the newest still names: it counts where the newest can't be read.
    unnamed_once: Vec<Arc<Segment>>,
    unnamed_once_packs: Vec<SegmentId>,
    /// What a crash left of an earlier life, with nothing in it that is not elsewhere by now.
    superfluous: Vec<SegmentId>,
    /// Packs that no manifest names yet.
    new_packs: Vec<SegmentId>,
    /// Packs that little is left of and that were dealt with, whatever came of it.
    emptied: BTreeSet<SegmentId>,
    /// How full the budget was when there was nothing large in it, in eighths.
    nothing_large_at: u64,
    next_retention_ms: u64,
    next_page: usize,
    /// The room kept for a full disk has yet to be taken, or was given up.
    reserve_released: bool,
}

impl Upkeep {
    pub(crate) fn new(core: Arc<Core>) -> Upkeep {
        let scrub = Scrub::new(&core);
        Upkeep {
            core,
            pace: Pace::new(|_| {}),
            rests: Pace::new(|_| {}),
            graves: Graves::default(),
            scrub,
            unnamed: Vec::new(),
            unnamed_packs: Vec::new(),
            unnamed_once: Vec::new(),
            unnamed_once_packs: Vec::new(),
            superfluous: Vec::new(),
            new_packs: Vec::new(),
            emptied: BTreeSet::new(),
            nothing_large_at: 0,
            next_retention_ms: 0,
            next_page: 0,
            reserve_released: true,
        }
    }

    /// Runs until told to end. For a thread of its own.
    pub(crate) fn run(&mut self) {
        self.sweep_retired();
        self.pace = pace_beside_appends(&self.core, true);
        self.rests = pace_beside_appends(&self.core, false);
        loop {
            let idle = self.graves.is_empty() && (self.is_pressed() || !self.scrub.is_due(&self.core));
            let wait = if idle { Duration::from_millis(200) } else { Duration::from_millis(5) };
            let over = self.core.upkeep.wait(wait);
            if over {
                return;
            }
            self.step();
        }
    }

    /// One look at everything that may be due.
    pub(crate) fn step(&mut self) {
        let core = self.core.clone();
        let _held = core.hold_upkeep();
        if !core.health.may_write() {
            self.bury();
            return;
        }
        self.keep_reserve();
        self.look_at_space();
        self.make_journal_files();
        if core.budget.wants_flush() && !self.spends_reserve() {
            self.flush_large();
        }
        if self.is_full() && core.ring.is_short() && core.trim_ahead() {
            core.retention_asked.store(true, Ordering::Release);
        }
        let asked = core.checkpoint_asked.swap(false, Ordering::AcqRel) || self.is_full() && core.gives_room();
        // What flushing large tails did not make room for a checkpoint does.
        let short = core.budget.wants_checkpoint() || core.budget.lacks_room() && !self.spends_reserve();
        if asked || core.ring.wants_checkpoint() || short {
            let _ = self.checkpoint(false);
        }
        core.budget.saw_to_room();
        let now = core.env.clock.monotonic_ms();
        if core.retention_asked.swap(false, Ordering::AcqRel) || now >= self.next_retention_ms {
            self.next_retention_ms = now + core.options.retention_interval.as_millis() as u64;
            self.retention();
        }
        self.remove_unnamed();
        self.bury();
        if !self.is_pressed() {
            self.scrub.step(&core, &self.rests);
        }
    }

    /// Whether what can wait has to: somebody waits for room, or is about to, or there is none.
    fn is_pressed(&self) -> bool {
        let core = &self.core;
        let ring = core.ring.wants_file() || core.ring.wants_checkpoint() || core.ring.is_awaited();
        let memory = core.budget.wants_checkpoint() || core.budget.lacks_room();
        ring || memory || !core.health.is_ok() || core.is_closed()
    }

    /// Makes the files that the journal is about to need.
    fn make_journal_files(&mut self) {
        let core = self.core.clone();
        while core.ring.wants_file() && (!self.spends_reserve() || core.ring.is_stuck()) {
            if let Err(error) = core.ring.make_file(&self.rests) {
                let fault = Fault::new("make journal file", "journal", &error);
                // Without room the ring goes on with the files it has, and a checkpoint frees them, however few they are. Where it
                // has none but the one that is full and the one that is kept, what waits for it gets what was kept for that.
                if core.ring.is_short() {
                    core.checkpoint_asked.store(true, Ordering::Release);
                }
                let stuck = fault.is_no_space() && core.ring.is_stuck();
                if stuck && !self.reserve_released && self.release_reserve() {
                    continue;
                }
                if stuck || !fault.is_no_space() {
                    self.no_room(fault);
                }
                return;
            }
        }
    }

    /// Writes large memory tails into segments without a checkpoint, to have room for more; what many small ones have is for
    /// a checkpoint to put together.
    fn flush_large(&mut self) {
        let core = self.core.clone();
        let filled = core.budget.eighths();
        if filled == self.nothing_large_at {
            return;
        }
        let (frame, _) = core.durable();
        let many = core.listed_count() > core.options.pack_from;
        for large in [true, false] {
            if many && !large {
                self.nothing_large_at = core.budget.eighths();
                return;
            }
            let mut place = 0;
            loop {
                let listed = core.listed_from(place);
                place += listed.len();
                if listed.is_empty() {
                    break;
                }
                for (step, log) in listed.iter().enumerate() {
                    give_way(step);
                    if core.closed_long_ago() {
                        return;
                    }
                    let pending = log.view.read().unwrap_or_else(|p| p.into_inner()).pending_bytes;
                    if pending == 0 || (large && pending < 64 << 10) {
                        continue;
                    }
                    if let Err(fault) = self.flush(log, frame, false) {
                        self.no_room(fault);
                        return;
                    }
                }
            }
            if !core.budget.wants_flush() {
                return;
            }
        }
    }

    fn flush(&mut self, log: &Arc<LogState>, frame: u64, gather: bool) -> Result<(), Fault> {
        let (freed, redundant, outcome) = log.flush(&self.core.files, frame, gather);
        self.core.budget.flushed(freed);
        if crate::seeded_bug!(CompactionInputDeletedEarly) {
            redundant.iter().for_each(|segment| self.remove(segment));
        } else {
            self.core.retire(log, redundant);
        }
        outcome.map_err(|error| Fault::new("write segment", format!("log {:?}", log.name), &error))
    }

    /// Takes expired segments out of sight; the next manifest forgets them, and then they are removed.
    fn retention(&mut self) {
        let core = self.core.clone();
        let agrees = core.clock_agrees() || crate::seeded_bug!(RetentionTrustsWallClock);
        core.counters.retention_held.store(u64::from(!agrees), std::sync::atomic::Ordering::Relaxed);
        if agrees {
            self.wake_idle_logs();
        }
        let mut left = REMOVED_PER_PASS_MAX;
        // Without it nothing expires by age. What was trimmed, and what there are too many bytes of, goes by no clock.
        let now = agrees.then(|| core.trusted_now_ms());
        let mut removed = false;
        let mut logs = core.loaded_logs_after(None);
        while let Some(last) = logs.last().map(|log| log.id).filter(|_| left > 0) {
            for (step, log) in logs.iter().enumerate() {
                give_way(step);
                let gone = self.expire(log, now, left);
                left -= gone;
                removed |= gone > 0;
            }
            logs = core.loaded_logs_after(Some(last));
        }
        if removed {
            let _ = self.checkpoint(false);
        }
    }

    /// Takes expired segments of one log out of sight, at most `max`, by age only where it is known what time it is; how many.
    fn expire(&mut self, log: &Arc<LogState>, now: Option<u64>, max: usize) -> usize {
        let core = self.core.clone();
        if max == 0 || log.is_deleted() {
            return 0;
        }
        let horizon = match now {
            Some(now) => log.horizon(&core.files, now),
            None => log.horizon_by_bytes(&core.files),
        };
        // A log that can't be looked at keeps what it has, but for what was trimmed.
        let horizon = horizon.unwrap_or_else(|_| log.trimmed());
        let gone = log.take_expired(horizon, max);
        let count = gone.len();
        add(&core.counters.records_trimmed, gone.iter().map(|s| s.end() - s.base).sum());
        if crate::seeded_bug!(UnlinkBeforeLowWater) {
            gone.iter().for_each(|segment| self.remove(segment));
        } else {
            core.retire(log, gone);
        }
        count
    }

    /// Loads idle logs whose age rule has tripped, a few manifest pages a pass.
    fn wake_idle_logs(&mut self) {
        let core = self.core.clone();
        let now = core.trusted_now_ms();
        let due: Vec<LogRow> = {
            let manifest = core.manifest.lock();
            let pages = manifest.root.pages.clone();
            let from = if self.next_page >= pages.len() { 0 } else { self.next_page };
            let upto = (from + PAGES_PER_PASS).min(pages.len());
            self.next_page = upto;
            let tripped = |row: &LogRow| {
                let old = |s: &SegmentRow| s.last_arrival_ms.saturating_add(row.retention_ms) < now;
                row.retention_ms > 0 && row.segments.first().is_some_and(old)
            };
            let rows = pages[from..upto].iter().filter_map(|page| manifest.rows_of(page).ok()).flatten();
            rows.filter(tripped).collect()
        };
        for row in due {
            let _ = core.log_by_name(&row.name);
        }
    }

    fn remove_unnamed(&mut self) {
        if !self.core.files.are_kept() {
            for id in std::mem::take(&mut self.superfluous) {
                let _ = self.core.files.remove(id);
            }
            for segment in std::mem::take(&mut self.unnamed) {
                self.remove(&segment);
            }
            for pack in std::mem::take(&mut self.unnamed_packs) {
                let (removed, file) = self.core.files.remove_pack(pack);
                add(&self.core.counters.segments_freed, u64::from(removed));
                file.into_iter().for_each(|file| self.graves.add(file, None));
            }
        }
    }

    /// Removes the files of a segment that no manifest names any more.
    fn remove(&mut self, segment: &Arc<Segment>) {
        if segment.is_piece() {
            // The file goes when no row names any piece in it.
            return segment.bury();
        }
        let file = self.core.files.bury(segment);
        self.core.files.named([&segment.id]);
        // With a name it must not be shortened.
        if self.core.files.remove(segment.id).is_ok() {
            add(&self.core.counters.segments_freed, 1);
            let now = self.core.env.clock.monotonic_ms();
            file.into_iter().for_each(|file| self.graves.add(file, Some((segment.clone(), now))));
        }
    }

    /// Segments that a manifest retired and that a crash left with a name.
    pub(crate) fn sweep_retired(&self) {
        if !self.core.health.may_write() {
            return;
        }
        let retired: Vec<SegmentId> = self.core.manifest.lock().root.retired.clone();
        for id in retired {
            let _ = self.core.files.remove(id);
        }
    }

    /// Gives back the space of removed files that nobody reads any more.
    fn bury(&mut self) {
        let core = &self.core;
        // Where there is no room nothing else helps.
        let is_due = || core.health.is_ok() && (core.budget.wants_checkpoint() || core.ring.wants_checkpoint());
        let pinned = self.graves.give_back(&self.pace, is_due);
        let oldest_ms = pinned.since_ms.map_or(0, |since| core.env.clock.monotonic_ms().saturating_sub(since));
        core.counters.bytes_pinned.store(pinned.bytes, std::sync::atomic::Ordering::Relaxed);
        core.counters.oldest_pin_ms.store(oldest_ms, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Leaves the device to the journal for as long as a step behind it took, while anybody appends and there is time. With `makes_files`
/// the journal gets the file it is about to need instead: a checkpoint may be long, and what is appended behind it must find room.
fn pace_beside_appends(core: &Arc<Core>, makes_files: bool) -> Pace {
    /// Of the memory that appends may take, in eighths: above it there is no time.
    const PRESSED_AT: u64 = 6;
    /// A step may have taken long on a device that hangs, and whether there is time is looked at before.
    const PAUSE_MAX: Duration = Duration::from_millis(5);
    /// When what failed for want of something is tried again.
    const AGAIN_MS: u64 = 1000;
    let files = makes_files.then(|| (pace_beside_appends(core, false), Cell::new(0)));
    let (core, before) = (core.clone(), Cell::new(0));
    Pace::new(move |left| {
        if let Some((rests, not_before_ms)) = &files
            && core.health.is_ok()
            && !core.is_closed()
            && core.ring.wants_file()
            && core.env.clock.monotonic_ms() >= not_before_ms.get()
        {
            if let Err(error) = core.ring.make_file(rests) {
                not_before_ms.set(core.env.clock.monotonic_ms() + AGAIN_MS);
                let fault = Fault::new("make journal file", "journal", &error);
                // What there may be again soon the step that makes files tells of, if there isn't.
                if !full::may_pass(&fault) {
                    core.stop(fault);
                }
            }
            return;
        }
        let frame = core.durable_frame();
        let appending = before.replace(frame) != frame || core.budget.is_awaited();
        let filled = core.budget.eighths() >= PRESSED_AT || core.ring.presses_checkpoint();
        let pressed = filled || core.ring.is_awaited() || core.is_closed();
        if appending && !pressed {
            std::thread::sleep(left.min(PAUSE_MAX));
        }
    })
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let ended = std::io::Error::other("the upkeep thread ended");
            self.core.stop(Fault::new("look after the store", self.core.env.disk.root(), &ended));
        }
    }
}

impl LogState {
    /// Expired segments, at most `max`, out of the readers' sight. The newest goes too if all of it expired and nothing of
    /// the log waits in memory: the next append then begins another. Of a stopped log only what its owner trimmed goes, not what
    /// a rule comes to: behind a segment's end there may be a large share that is withheld, for a salvage to find.
    fn take_expired(&self, horizon: u64, max: usize) -> Vec<Arc<Segment>> {
        let horizon = self.stopped_at().map_or(horizon, |_| horizon.min(self.trimmed()));
        let mut writer = self.writer.lock();
        let idle = {
            let view = self.view.read().unwrap_or_else(|p| p.into_inner());
            view.pending.is_empty() && view.segments.last().is_some_and(|s| s.end() <= horizon)
        };
        let appending = self.durability == Durability::Buffered && self.appender.lock().next() != self.high();
        let all = idle && !appending;
        let mut gone = self.expired_segments(horizon, all, max);
        // Pieces of packs may come behind it, so that it isn't always the last.
        match gone.iter().position(|segment| writer.is_active(segment)) {
            Some(at) if writer.expects_bulk() => gone.truncate(at),
            Some(_) => *writer = Default::default(),
            None => {}
        }
        // Before they go out of sight: a reader must find out that they were trimmed, not that there is a gap.
        self.trim(gone.iter().map(|s| s.end()).max().unwrap_or(0));
        self.remove_segments(&gone);
        gone
    }
}
