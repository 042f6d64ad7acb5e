//! The scrub: everything that is stored is read from the device and verified once in each period, so that rot is found while there is
//! a backup to go back to, and not when somebody needs the record.
//!
//! Three rules govern it:
//!
//! 1. **Which part of the store is due follows from the clock.** A period's pass goes from the first bucket of logs to the last, and
//!    where it should be by now is a share of the bytes there are. A store that is opened within a period goes on from about there,
//!    without anything on disk to remember it by; otherwise one that is opened each week would read the same first quarter for ever.
//! 2. **Nothing is told that could be anything but rot.** What doesn't verify is read a second time, and the log it is a part of is
//!    asked whether that is still there: a segment may have been taken over, trimmed or freed since it was listed.
//! 3. **A step is small, and holds nothing up.** It is taken by the thread that makes journal files and checkpoints, when it has
//!    nothing else to do. No file stays open in between, and so none keeps its space.
//!
//! Order within a period: the store's identity and the manifests' roots; pages of the manifest by bucket, with each the logs of its
//! buckets: those in use as they are, the others as their rows say.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::{ControlFlow, Range};

use crate::core::Core;
use crate::env::{DiskFile, Pace};
use crate::error::{Error, Fault};
use crate::format::Damage;
use crate::format::checksum::Salt;
use crate::format::manifest::SegmentRow;
use crate::format::segment::{HEADER_BYTES, SegmentHeader};
use crate::id::{LogId, SegmentId, SequenceNumber};
use crate::manifest::{scrub_page, scrub_root};
use crate::metrics::add;
use crate::recovery::scrub_identity;
use crate::scrub::ScrubFinding;
use crate::segment::segment_path;
use crate::segment::walk::{Event, WalkFrom, walk_from};
use crate::sync::Arc;

use super::full::is_passing;

/// A step goes over such a part of what there is, within these bounds in bytes, or over one batch if that is more. What is read ahead
/// for the next batch comes on top: up to half a megabyte, or a batch.
const STEPS: u64 = 64;
const STEP_BYTES_MIN: u64 = 16 << 10;
const STEP_BYTES_MAX: u64 = 512 << 10;
/// What a piece counts for at least: opening and reading a small one costs as much.
const PIECE_BYTES_MIN: u64 = 4 << 10;
/// Such a part of each period is kept for what was put off while there was something else to do: that is caught up with at most so many
/// times as fast as all else is read, which is fast enough for everything.
const KEPT_PART: u64 = 8;
/// When what failed for want of something is tried again.
const AGAIN_MS: u64 = 1000;

/// One segment, or one piece of a pack.
struct Piece {
    log: LogId,
    name: Arc<str>,
    row: SegmentRow,
    /// Nothing of it waits in the page cache to be written, so that the device can be asked for it.
    settled: bool,
}

/// A piece that is being read.
struct Walking {
    piece: Piece,
    at: WalkFrom,
    /// How far it was looked for the end of the damage at `at`.
    searched: Option<u64>,
}

/// What a look at a part of a piece came to.
#[derive(Default)]
struct Scan {
    at: Option<WalkFrom>,
    searched: Option<u64>,
    ended: bool,
    found: Vec<(u64, Damage, Range<SequenceNumber>)>,
}

/// From the first bucket to the last.
struct Pass {
    number: u64,
    /// It began at the front, and not where a store was opened.
    whole: bool,
    began_ms: u64,
    /// By then it should be through.
    ends_ms: u64,
    /// What a whole one takes.
    takes_ms: u64,
    step_bytes: u64,
    pages_bytes: u64,
    /// What it leaves out at the front, and how much of that is still to come.
    left_out: u64,
    to_leave_out: u64,
    done: u64,
    has_begun: bool,
    next_bucket: u16,
    pieces: VecDeque<Piece>,
    walking: Option<Walking>,
    /// The pack whose front was read last.
    front: Option<SegmentId>,
    /// Whether the file system reads past the page cache, once that was tried: one that opens files so may refuse to read them.
    past_cache: Option<bool>,
}

/// Which part of the store is read next, and when.
pub(super) struct Scrub {
    period_ms: Option<u64>,
    /// Wall and monotonic time when the store was opened: from then on the wall clock does not matter.
    opened: (u64, u64),
    /// The period of the last pass.
    last: Option<u64>,
    passes: u64,
    pass: Option<Pass>,
    /// On the monotonic clock.
    not_before_ms: u64,
}

/// What came of a step.
enum Step {
    /// There is more.
    On,
    /// Something is short that there may be again.
    Later,
    /// It was the last.
    Over,
}

impl Scrub {
    pub(super) fn new(core: &Core) -> Scrub {
        let period_ms = core.options.scrub_period.map(|period| period.as_millis() as u64);
        let opened = (core.env.clock.wall_ms(), core.env.clock.monotonic_ms());
        Scrub { period_ms, opened, last: None, passes: 0, pass: None, not_before_ms: 0 }
    }

    /// Whether a step is due. One that begins, or waits for, a pass costs nothing.
    pub(super) fn is_due(&mut self, core: &Core) -> bool {
        let Some(period_ms) = self.period_ms else { return false };
        let monotonic_ms = core.env.clock.monotonic_ms();
        if monotonic_ms < self.not_before_ms {
            return false;
        }
        let now_ms = self.opened.0.saturating_add(monotonic_ms.saturating_sub(self.opened.1));
        if self.pass.is_none() {
            self.begin(core, now_ms, period_ms);
        }
        self.pass.as_ref().is_some_and(|pass| pass.is_due(core, now_ms))
    }

    fn begin(&mut self, core: &Core, now_ms: u64, period_ms: u64) {
        let (period, into_ms) = (now_ms / period_ms, now_ms % period_ms);
        let takes_ms = period_ms - period_ms / KEPT_PART;
        let first = self.last.is_none();
        if !first && self.last >= Some(period) {
            return;
        }
        if into_ms >= takes_ms {
            // What is left of this period is no time for a pass, and its end is no place to begin at.
            self.last = self.last.or(Some(period));
            return;
        }
        self.last = Some(period);
        self.passes += 1;
        let pages = core.manifest.lock().root.pages.iter().map(|page| u64::from(page.bytes)).sum::<u64>();
        let all = core.files.stored_bytes() + pages;
        let share = |bytes: u64| (u128::from(bytes) * u128::from(into_ms) / u128::from(takes_ms)) as u64;
        let left_out = if first { share(all) } else { 0 };
        self.pass = Some(Pass {
            number: self.passes,
            whole: !first || into_ms == 0,
            began_ms: now_ms,
            ends_ms: (now_ms - into_ms).saturating_add(takes_ms),
            takes_ms,
            step_bytes: (all / STEPS).clamp(STEP_BYTES_MIN, STEP_BYTES_MAX),
            pages_bytes: pages,
            left_out,
            to_leave_out: left_out,
            done: 0,
            has_begun: false,
            next_bucket: 0,
            pieces: VecDeque::new(),
            walking: None,
            front: None,
            past_cache: None,
        });
    }

    /// Reads a little of what is due, if anything is.
    pub(super) fn step(&mut self, core: &Core, pace: &Pace) {
        if !self.is_due(core) {
            return;
        }
        let Some(pass) = &mut self.pass else { return };
        let before = pass.done;
        match pace.step(|| pass.step(core)).0 {
            Step::On => {
                // A machine that slept for a week must not wake up to a store that reads all it can.
                let takes_ms = u128::from(pass.takes_ms) * u128::from(pass.done - before);
                let rest_ms = takes_ms / u128::from(KEPT_PART * pass.all(core).max(1));
                let rest_ms = rest_ms.min(u128::from(pass.takes_ms / STEPS));
                return self.not_before_ms = core.env.clock.monotonic_ms().saturating_add(rest_ms as u64);
            }
            Step::Later => return self.not_before_ms = core.env.clock.monotonic_ms() + AGAIN_MS,
            Step::Over => {}
        }
        if pass.whole {
            core.scrub_findings.settle(pass.number);
            add(&core.counters.scrub_passes, 1);
            let now_ms = core.env.clock.wall_ms();
            core.counters.scrub_pass_ended_ms.store(now_ms, std::sync::atomic::Ordering::Relaxed);
        }
        self.pass = None;
    }
}

impl Pass {
    /// Bytes that there are.
    fn all(&self, core: &Core) -> u64 {
        core.files.stored_bytes() + self.pages_bytes
    }

    /// Whether so much time has passed that more should have been read by now.
    fn is_due(&self, core: &Core, now_ms: u64) -> bool {
        if now_ms >= self.ends_ms {
            return true;
        }
        let all = self.all(core).saturating_sub(self.left_out);
        let (passed, takes) = (now_ms - self.began_ms, self.ends_ms - self.began_ms);
        let wanted = u128::from(all) * u128::from(passed) / u128::from(takes.max(1));
        wanted >= u128::from(self.done + self.step_bytes)
    }

    fn step(&mut self, core: &Core) -> Step {
        let mut left = self.step_bytes;
        if !std::mem::replace(&mut self.has_begun, true) {
            self.look_at_roots(core);
        }
        while left > 0 {
            let before = self.done;
            let goes_on = match self.walking.take().or_else(|| self.next_piece()) {
                Some(walking) => self.walk(core, walking, left),
                None if self.next_bucket >= LogId::BUCKETS => return Step::Over,
                None => self.list(core),
            };
            if !goes_on {
                return Step::Later;
            }
            left = left.saturating_sub((self.done - before).max(PIECE_BYTES_MIN));
        }
        Step::On
    }

    /// What all else is found by: the store's identity, the manifest in force, and the one that counts where that can't be read.
    fn look_at_roots(&mut self, core: &Core) {
        let (disk, origin) = (&*core.env.disk, core.identity.origin);
        let manifests = {
            let manifest = core.manifest.lock();
            [manifest.in_force(), manifest.before()]
        };
        let roots = manifests.into_iter().flatten().map(|number| scrub_root(disk, origin, number));
        for looked in roots.chain([scrub_identity(disk, &core.identity)]) {
            match looked {
                Ok(bytes) => self.note(core, bytes),
                // What could not be looked at is with the next pass.
                Err(damage) => self.tell_of_file(core, &damage),
            }
        }
    }

    fn note(&mut self, core: &Core, bytes: u64) {
        self.done += bytes;
        add(&core.counters.scrub_bytes, bytes);
    }

    /// The next piece, after those that this pass leaves out. One that it is to begin in the midst of is read as a whole.
    fn next_piece(&mut self) -> Option<Walking> {
        while let Some(piece) = self.pieces.pop_front() {
            let bytes = piece.row.stored_bytes();
            if bytes <= self.to_leave_out {
                self.to_leave_out -= bytes;
                continue;
            }
            self.to_leave_out = 0;
            let at = WalkFrom::front(&piece.row);
            return Some(Walking { piece, at, searched: None });
        }
        None
    }

    /// Reads the next page of the manifest and lists the pieces of the logs in its buckets; whether that could be done.
    fn list(&mut self, core: &Core) -> bool {
        let covering = core.manifest.lock().covering(self.next_bucket);
        let buckets = self.next_bucket..covering.end;
        let page = covering.page.as_ref();
        let rows = page.map_or(Ok(Vec::new()), |page| scrub_page(&*core.env.disk, core.identity.origin, page));
        let rows = match rows {
            Err(Error::Io(fault)) if is_passing(&fault) => return false,
            Err(Error::Io(fault)) => {
                let position = page.map_or(0, |page| page.position);
                self.tell_place(core, fault.path, position, Damage::Unreadable, None);
                Vec::new()
            }
            Err(damage) => {
                self.tell_of_file(core, &damage);
                Vec::new()
            }
            Ok(rows) => rows,
        };
        self.note(core, page.map_or(0, |page| u64::from(page.bytes)));
        covering.set_aside.iter().for_each(|damage| self.tell_of_file(core, damage));
        let mut pieces: BTreeMap<(u16, LogId), Vec<Piece>> = BTreeMap::new();
        for row in rows {
            let name: Arc<str> = row.name.as_str().into();
            let live = row.segments.iter().filter(|segment| segment.end > row.horizon);
            let piece = |segment: &SegmentRow| Piece { log: row.id, name: name.clone(), row: *segment, settled: true };
            pieces.insert((row.id.bucket(), row.id), live.map(piece).collect());
        }
        // A log that is asked for in between is in both.
        for log in core.loaded_logs_of(&buckets) {
            let trimmed = log.trimmed();
            let live = log.stored().into_iter().filter(|(segment, _)| segment.end > trimmed);
            let piece = |(row, settled)| Piece { log: log.id, name: log.name.clone(), row, settled };
            pieces.insert((log.id.bucket(), log.id), live.map(piece).collect());
        }
        pieces.retain(|(bucket, id), _| buckets.contains(bucket) && !core.is_gone(*id));
        self.pieces = pieces.into_values().flatten().collect();
        self.next_bucket = buckets.end;
        true
    }

    /// Goes on in a piece, over at most about so many bytes; whether the pass can go on.
    fn walk(&mut self, core: &Core, mut walking: Walking, max: u64) -> bool {
        let row = walking.piece.row;
        let past_cache = walking.piece.settled && self.past_cache != Some(false);
        let opened = core.files.open_to_scrub(row.id, past_cache).and_then(|file| Ok((file.len()?, file)));
        let (len, file) = match opened {
            Ok(opened) => opened,
            Err(error) if is_passing(&Fault::new("open", segment_path(row.id), &error)) => {
                self.walking = Some(walking);
                return false;
            }
            Err(error) => {
                let what = match error.kind() {
                    io::ErrorKind::NotFound => Damage::Missing,
                    _ => Damage::Unreadable,
                };
                self.tell(core, &walking.piece, vec![(row.start, what, row.base..row.end)]);
                return true;
            }
        };
        if past_cache && self.past_cache.is_none() {
            let refuses =
                |error: io::Error| [io::ErrorKind::InvalidInput, io::ErrorKind::Unsupported].contains(&error.kind());
            self.past_cache = Some(!file.read_at(&mut [0; HEADER_BYTES], row.start).is_err_and(refuses));
            if self.past_cache == Some(false) {
                self.walking = Some(walking);
                return true;
            }
        }
        if walking.at == WalkFrom::front(&row) && walking.searched.is_none() {
            self.headers(core, &*file, &walking.piece);
        }
        let scan = walking.scan(core, &*file, len, max);
        if !scan.found.is_empty() {
            // Whatever is the device's stays so when it is asked again.
            let again = walking.scan(core, &*file, len, max);
            let found = again.found.into_iter().filter(|again| scan.found.contains(again)).collect();
            self.tell(core, &walking.piece, found);
        }
        let from = walking.searched.unwrap_or(walking.at.position);
        (walking.at, walking.searched) = (scan.at.unwrap_or(walking.at), scan.searched);
        let upto = if scan.ended { row.bytes } else { scan.searched.unwrap_or(walking.at.position) };
        self.note(core, upto.saturating_sub(from));
        self.walking = (!scan.ended).then_some(walking);
        true
    }

    /// Verifies the header of a piece, and the front of the pack that it is in.
    fn headers(&mut self, core: &Core, file: &dyn DiskFile, piece: &Piece) {
        let (origin, row) = (core.identity.origin, &piece.row);
        let bytes = if row.is_piece() { row.stored_bytes() } else { 0 };
        let header = SegmentHeader { origin, log: piece.log, segment: row.id, base: row.base, bytes };
        if let Some(what) = damage_of(file, row.start, &header) {
            self.tell(core, piece, vec![(row.start, what, row.base..row.base)]);
        }
        self.note(core, HEADER_BYTES as u64);
        if row.is_piece() && self.front.replace(row.id) != Some(row.id) {
            if let Some(what) = damage_of(file, 0, &SegmentHeader::of_pack(origin, row.id))
                && horizon_if_current(core, piece).is_some()
            {
                self.tell_place(core, segment_path(row.id), 0, what, None);
            }
            self.note(core, HEADER_BYTES as u64);
        }
    }

    /// Tells what was found of a piece, if it is still a part of its log.
    fn tell(&self, core: &Core, piece: &Piece, found: Vec<(u64, Damage, Range<SequenceNumber>)>) {
        if found.is_empty() {
            return;
        }
        let Some(horizon) = horizon_if_current(core, piece) else { return };
        for (position, what, lost) in found {
            // What was trimmed is nobody's loss.
            let whose = Some((piece, lost.start.max(horizon)..lost.end));
            self.tell_place(core, segment_path(piece.row.id), position, what, whose);
        }
    }

    fn tell_of_file(&self, core: &Core, damage: &Error) {
        match damage {
            Error::Damaged { path, at, what, .. } => self.tell_place(core, path.clone(), *at, *what, None),
            Error::TooNew { path, version } => {
                self.tell_place(core, path.clone(), 0, Damage::TooNew(*version), None);
            }
            _ => {}
        }
    }

    fn tell_place(
        &self,
        core: &Core,
        path: String,
        position: u64,
        what: Damage,
        whose: Option<(&Piece, Range<SequenceNumber>)>,
    ) {
        let now_ms = core.env.clock.wall_ms();
        let (log, records) = match whose {
            Some((piece, lost)) => (Some((piece.log, piece.name.to_string())), Some(lost)),
            None => (None, None),
        };
        let records = records.filter(|records| !records.is_empty());
        let (first_found_ms, last_found_ms) = (now_ms, now_ms);
        add(&core.counters.scrub_damage, 1);
        let finding = ScrubFinding { path, position, what, log, records, first_found_ms, last_found_ms };
        core.scrub_findings.tell(finding, self.number);
    }
}

impl Walking {
    /// Verifies batches from where it is on.
    fn scan(&self, core: &Core, file: &dyn DiskFile, len: u64, max: u64) -> Scan {
        let salt = Salt::batches(core.identity.origin, self.piece.log);
        let from = self.searched.unwrap_or(self.at.position);
        let enough = |position: u64| match position.saturating_sub(from) >= max {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let mut scan = Scan { searched: self.searched, ..Scan::default() };
        let flow = walk_from(file, len, salt, &self.piece.row, self.at, self.searched, &mut |event| match event {
            Event::At(at) => {
                (scan.at, scan.searched) = (Some(at), None);
                enough(at.position)
            }
            Event::Searched { upto } => {
                scan.searched = Some(upto);
                enough(upto)
            }
            Event::Damaged { position, what, lost, .. } => {
                scan.found.push((position, what, lost));
                ControlFlow::Continue(())
            }
            Event::Dirt { position } => {
                scan.found.push((position, Damage::Reserved, 0..0));
                ControlFlow::Continue(())
            }
            Event::Batch { .. } | Event::Read(_) => ControlFlow::Continue(()),
        });
        scan.ended = flow.is_continue();
        scan
    }
}

/// What is wrong with a header, each time it is asked for.
fn damage_of(file: &dyn DiskFile, position: u64, expected: &SegmentHeader) -> Option<Damage> {
    let look = || {
        let mut bytes = [0; HEADER_BYTES];
        match file.read_at(&mut bytes, position) {
            Ok(HEADER_BYTES) => match SegmentHeader::parse(&bytes) {
                Ok(header) if header == *expected => None,
                Ok(_) => Some(Damage::Misplaced),
                Err(what) => Some(what),
            },
            Ok(_) => Some(Damage::Short),
            Err(_) => Some(Damage::Unreadable),
        }
    };
    look().and_then(|_| look())
}

/// The trim horizon of the log that a piece is a part of, as of now; `None` where it no longer is: it may have been taken over, trimmed,
/// or deleted since it was listed. Only this thread takes files away, so the answer stays true while it is of use.
fn horizon_if_current(core: &Core, piece: &Piece) -> Option<SequenceNumber> {
    let same = |segment: &SegmentRow| (segment.id, segment.start) == (piece.row.id, piece.row.start);
    if core.is_gone(piece.log) {
        return None;
    }
    let (is_there, horizon) = match core.loaded_log(piece.log) {
        Some(log) => (log.stored().iter().any(|(segment, _)| same(segment)) && !log.is_deleted(), log.trimmed()),
        None => match core.manifest.lock().row_by_id(piece.log) {
            Ok(Some(row)) => (row.segments.iter().any(same), row.horizon),
            Ok(None) => (false, 0),
            // That page was told of by itself, and who can read none of the log's rows knows of no other place for this.
            Err(_) => (true, 0),
        },
    };
    (is_there && piece.row.end > horizon).then_some(horizon)
}
