//! What may not be read any more, and which segments may go: age, bytes, explicit trims, and the floors that hold them back.
//!
//! A rule is exact: a record is unreadable the instant it trips, while its segment stays until all of it is below.
//!
//! Where the place that a rule comes to is damaged, the rule goes up to the first record that is lost there: it hides no record that it
//! should not, and those once it comes to what lies behind.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};
use crate::format::batch::{BatchHeader, Cursor, HEADER_BYTES};
use crate::id::{SegmentId, SequenceNumber};
use crate::segment::{Location, Segment, SegmentFiles};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering};

use super::{LogState, PendingBatch};

/// Positions that readers ask to be kept.
#[derive(Default)]
pub(crate) struct Floors {
    next_id: AtomicU64,
    held: Mutex<BTreeMap<u64, SequenceNumber>>,
}

impl Floors {
    pub(crate) fn lowest(&self) -> Option<SequenceNumber> {
        self.held.lock().values().min().copied()
    }
}

/// Holds retention back: records at or above it stay readable and on disk, up to the log's `held_bytes_max` beyond its rules.
/// Explicit trims are not held back. Lasts until dropped, and not over a reopen.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// let store = braidlog::Store::open(dir.path())?;
/// let log = store.create_log("clicks", Default::default())?;
/// let mut floor = log.hold(0);
/// log.append("one")?;
/// floor.advance(1);
/// assert_eq!(floor.position(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Floor {
    floors: Arc<Floors>,
    id: u64,
    position: SequenceNumber,
}

impl std::fmt::Debug for Floors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Floors").field("lowest", &self.lowest()).finish()
    }
}

impl Floor {
    pub(crate) fn new(floors: Arc<Floors>, position: SequenceNumber) -> Floor {
        let id = floors.next_id.fetch_add(1, Ordering::Relaxed);
        floors.held.lock().insert(id, position);
        Floor { floors, id, position }
    }

    /// The oldest record it holds.
    pub fn position(&self) -> SequenceNumber {
        self.position
    }

    /// Lets go of records below `position`. A floor never goes back.
    pub fn advance(&mut self, position: SequenceNumber) {
        self.position = self.position.max(position);
        self.floors.held.lock().insert(self.id, self.position);
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.floors.held.lock().remove(&self.id);
    }
}

/// Time stands still for a log's age rule: nothing more expires by it until this is dropped.
///
/// That is how a longer rule takes the place of a shorter one and brings back nothing that was hidden, in any life:
///
/// 1. Time stops for the old rule.
/// 2. What is hidden then is trimmed, in the frame that brings the new rule. Whoever reads until that is durable finds exactly
///    this hidden, and no more.
/// 3. Trim and new rule are published together, and time goes on, for the new rule.
///
/// A crash before the frame leaves the old rule, which hides as much and more.
pub(crate) struct AgeStop {
    log: Arc<LogState>,
    until_durable: AtomicBool,
}

impl AgeStop {
    /// `now_ms` reads the clock.
    pub(super) fn new(log: &Arc<LogState>, now_ms: impl Fn() -> u64) -> AgeStop {
        let first_ms = now_ms();
        log.age_stands_ms.store(first_ms, Ordering::SeqCst);
        // A reader may have looked at the clock after that, and not seen yet that time stands; but it looked before this.
        log.age_stands_ms.store(now_ms().max(first_ms), Ordering::SeqCst);
        AgeStop { log: log.clone(), until_durable: AtomicBool::new(false) }
    }

    /// The new rule is published.
    pub(crate) fn go_on(&self) {
        self.log.age_stands_ms.store(super::NONE, Ordering::SeqCst);
    }

    /// It is not known whether the new rule will be durable: only [`AgeStop::go_on`] ends this, and where nobody calls that,
    /// time stays where it is as long as this life lasts.
    pub(crate) fn until_durable(&self) {
        self.until_durable.store(true, Ordering::SeqCst);
    }
}

impl Drop for AgeStop {
    fn drop(&mut self) {
        if !self.until_durable.load(Ordering::SeqCst) {
            self.go_on();
        }
    }
}

/// Keeps records for whoever reads them next, and with them memory or mapped segments.
pub(crate) trait KeepsRecords: Send + Sync {
    /// Some of the log went: drops what it keeps.
    fn let_go(&self);
}

/// The first segment with a record that arrived at or after `arrival_ms`. One that a failed write left empty says nothing of time,
/// wherever it stands: what is before it does.
fn first_since(segments: &[Arc<Segment>], arrival_ms: u64) -> Option<&Arc<Segment>> {
    let (mut from, mut upto) = (0, segments.len());
    while from < upto {
        let middle = from + (upto - from) / 2;
        let written = segments[from..=middle].iter().rposition(|segment| !segment.is_empty());
        match written.map(|at| from + at) {
            Some(at) if segments[at].last_arrival_ms() >= arrival_ms => upto = at,
            _ => from = middle + 1,
        }
    }
    segments.get(from)
}

/// See [`LogState::first_within`].
fn count_back(
    files: &SegmentFiles,
    pending: &[BatchHeader],
    segments: &[Arc<Segment>],
    upto: SequenceNumber,
    bytes_max: u64,
) -> Result<SequenceNumber> {
    let mut left = bytes_max;
    let mut first = upto;
    for header in pending.iter().rev().filter(|h| h.first < upto) {
        match left.checked_sub(header.padded_len() as u64) {
            Some(rest) => (left, first) = (rest, header.first),
            None => return Ok(first),
        }
    }
    // Nothing counts twice: since the view was taken, or before it shows, a segment may have come to hold what waits in memory,
    // and what the segments before it hold.
    let mut limit = pending.first().map_or(upto, |waiting| waiting.first.min(upto));
    for segment in segments.iter().rev() {
        if segment.base >= limit {
            continue;
        }
        let start = segment.first_batch();
        // In this order: it may grow.
        let bytes = segment.bytes();
        let end = match segment.end() > limit {
            true => match segment.end_of_batch(files, limit - 1) {
                Ok(end) => end,
                // How much of it counts can't be told, and it counts for little: it is written while it is looked at.
                Err(Error::Damaged { .. }) if !segment.is_buried() => start,
                Err(error) => return Err(error),
            },
            false => bytes,
        };
        limit = segment.base;
        let bytes = end.saturating_sub(start);
        match left.checked_sub(bytes) {
            Some(rest) => (left, first) = (rest, segment.base),
            None => {
                let number = match segment.number_at(files, end - left) {
                    Err(Error::Damaged { .. }) if !segment.is_buried() => segment.base,
                    number => number?,
                };
                return Ok(number.min(first));
            }
        }
    }
    Ok(first)
}

impl LogState {
    /// Nobody but readers holds on to its records from here on.
    pub(super) fn let_go(&self) {
        if let Some(keeper) = self.keeper.get() {
            keeper.let_go();
        }
    }

    /// The oldest readable number: the largest of the explicit trim, the byte rule and the age rule at `now_ms`, the rules
    /// held back by floors.
    pub(crate) fn horizon(&self, files: &SegmentFiles, now_ms: u64) -> Result<SequenceNumber> {
        if !self.has_rules() {
            return Ok(self.expired.load(Ordering::Acquire).max(self.trimmed()));
        }
        let rule = self.expired_by_bytes(files)?.max(self.expired_by_age(files, now_ms)?);
        Ok(self.apply_rule(files, rule)?.max(self.trimmed()))
    }

    /// As [`LogState::horizon`] without what expired by age, now or ever: for where it is not known what time it is.
    pub(crate) fn horizon_by_bytes(&self, files: &SegmentFiles) -> Result<SequenceNumber> {
        let rule = self.expired_by_bytes(files)?;
        Ok(self.held_back(files, rule)?.max(self.trimmed()))
    }

    /// A reader found that what is below has expired by age: more than [`LogState::horizon`] can tell behind damage.
    pub(crate) fn note_expired(&self, files: &SegmentFiles, upto: SequenceNumber) -> Result<()> {
        self.apply_rule(files, upto).map(drop)
    }

    /// As [`LogState::horizon`] without the age rule, which a reader applies to the records it sees anyway.
    pub(crate) fn horizon_without_age(&self, files: &SegmentFiles) -> Result<SequenceNumber> {
        if !self.has_rules() {
            return Ok(self.expired.load(Ordering::Acquire).max(self.trimmed()));
        }
        let rule = self.expired_by_bytes(files)?;
        let held = if rule == 0 { 0 } else { self.apply_rule(files, rule)? };
        Ok(held.max(self.expired.load(Ordering::Acquire)).max(self.trimmed()))
    }

    /// Holds a rule's horizon back to the lowest floor, but not by more than the log allows.
    fn held_back(&self, files: &SegmentFiles, rule: SequenceNumber) -> Result<SequenceNumber> {
        let Some(floor) = self.floors.lowest().filter(|floor| *floor < rule) else { return Ok(rule) };
        let held_bytes_max = self.options.read().unwrap_or_else(|p| p.into_inner()).held_bytes_max;
        Ok(floor.max(self.held_from(files, rule, held_bytes_max)?))
    }

    /// As [`LogState::held_back`]; never moves back.
    fn apply_rule(&self, files: &SegmentFiles, rule: SequenceNumber) -> Result<SequenceNumber> {
        let horizon = self.held_back(files, rule)?;
        let horizon = self.expired.fetch_max(horizon, Ordering::AcqRel).max(horizon);
        self.note_gone(horizon);
        Ok(horizon)
    }

    /// The first batch that floors may hold back from a rule's horizon. Asked for each batch that a reader takes from what they
    /// hold, and worked out once for each horizon.
    fn held_from(&self, files: &SegmentFiles, rule: SequenceNumber, held_bytes_max: u64) -> Result<SequenceNumber> {
        let mut held = self.held_from.lock();
        if (held.0, held.1) != (rule, held_bytes_max) {
            let first = self.first_within(files, Some(rule), held_bytes_max)?;
            *held = (rule, held_bytes_max, first);
        }
        Ok(held.2)
    }

    /// The age rule, if there is one, as the arrival below which records have expired.
    pub(crate) fn age_cutoff_ms(&self, now_ms: u64) -> Option<u64> {
        // Before the rule: who finds time going on again behind a change of the rule finds the new one, see `AgeStop`.
        let now_ms = now_ms.min(self.age_stands_ms.load(Ordering::SeqCst));
        let age = self.options.read().unwrap_or_else(|p| p.into_inner()).retention_age?;
        Some(now_ms.saturating_sub(age.as_millis() as u64))
    }

    fn expired_by_age(&self, files: &SegmentFiles, now_ms: u64) -> Result<SequenceNumber> {
        match self.age_cutoff_ms(now_ms) {
            None => Ok(0),
            Some(cutoff) => Ok(self.locate_arrival(files, cutoff)?.0),
        }
    }

    fn expired_by_bytes(&self, files: &SegmentFiles) -> Result<SequenceNumber> {
        // Before the rule: no answer by the rule that was is kept, or given, once another is published.
        let mut cached = self.byte_horizon.lock();
        let Some(bytes_max) = self.options.read().unwrap_or_else(|p| p.into_inner()).retention_bytes else {
            return Ok(0);
        };
        let high = self.high();
        if cached.0 != high {
            let horizon = self.first_within(files, None, bytes_max)?;
            *cached = (high, horizon);
        }
        Ok(cached.1)
    }

    /// The first batch from which to `upto` (or the high watermark) there are at most `bytes_max` stored bytes. Counts whole
    /// batches, also one that `upto` cuts in two.
    fn first_within(
        &self,
        files: &SegmentFiles,
        upto: Option<SequenceNumber>,
        bytes_max: u64,
    ) -> Result<SequenceNumber> {
        let upto = upto.unwrap_or_else(|| self.high()).min(self.high());
        loop {
            let (pending, segments): (Vec<BatchHeader>, Vec<Arc<Segment>>) = {
                let view = self.view.read().unwrap_or_else(|p| p.into_inner());
                (view.pending.iter().map(|b: &PendingBatch| b.header).collect(), view.segments.clone())
            };
            match count_back(files, &pending, &segments, upto, bytes_max) {
                // Removed since it was looked up: another segment has what it had.
                Err(_) if segments.iter().any(|segment| segment.is_buried()) => {}
                counted => return counted,
            }
        }
    }

    /// Number of the first record that arrived at or after `arrival_ms`; the high watermark if there is none. With it, if
    /// it is in a segment that had to be looked into, the place of its batch.
    pub(crate) fn locate_arrival(
        &self,
        files: &SegmentFiles,
        arrival_ms: u64,
    ) -> Result<(SequenceNumber, Option<Location>)> {
        let high = self.high();
        let within = |header: &BatchHeader, records: &[u8]| {
            Cursor::at_arrival(header, records, arrival_ms).next_sequence_number().min(high)
        };
        loop {
            let segment = {
                let view = self.view.read().unwrap_or_else(|p| p.into_inner());
                match first_since(&view.segments, arrival_ms) {
                    Some(segment) => segment.clone(),
                    None => {
                        let at = view.pending.partition_point(|b| b.header.last_arrival_ms < arrival_ms);
                        let first = view.pending.get(at).map_or(high, |batch| {
                            within(&batch.header, &batch.bytes[HEADER_BYTES..batch.header.len()])
                        });
                        return Ok((first, None));
                    }
                }
            };
            if segment.first_arrival_ms() >= arrival_ms {
                return Ok((segment.base.min(high), None));
            }
            let mut lost = segment.base;
            let found = segment.locate_time(files, arrival_ms).and_then(|(at, number)| {
                lost = number;
                Ok((at.clone().next_batch(files)?, at))
            });
            match found {
                Ok((Some((header, records)), at)) => return Ok((within(&header, &records), Some(at))),
                // Removed since it was looked up: another segment has what it had, or it was trimmed.
                Err(_) if segment.is_buried() => {}
                // It may have been any of those that are lost, up to the segment's end where zeros stand for them.
                Ok((None, _)) | Err(Error::Damaged { .. }) => return Ok((lost.min(high), None)),
                Err(error) => return Err(error),
            }
        }
    }

    /// The oldest segments that lie wholly below the horizon, at most `max` of them; the last segment, which may be written,
    /// only with `all`.
    pub(crate) fn expired_segments(&self, horizon: SequenceNumber, all: bool, max: usize) -> Vec<Arc<Segment>> {
        let view = self.view.read().unwrap_or_else(|p| p.into_inner());
        let sealed = view.segments.len().saturating_sub(usize::from(!all));
        view.segments[..sealed].iter().take_while(|s| s.end() <= horizon).take(max).cloned().collect()
    }

    /// At most so many bytes of records a flush writes: those in memory that no trim covers, with the pieces they follow.
    pub(crate) fn flush_bytes(&self) -> u64 {
        let horizon = self.trimmed();
        let view = self.view.read().unwrap_or_else(|p| p.into_inner());
        let kept = view.pending.iter().rev().take_while(|batch| batch.header.end() > horizon);
        let kept: u64 = kept.map(|batch| batch.bytes.len() as u64).sum();
        if kept == 0 || self.is_deleted() {
            return 0;
        }
        let pieces = view.segments.iter().rev().take_while(|segment| segment.is_piece());
        kept + pieces.map(|piece| piece.stored_bytes()).sum::<u64>()
    }

    /// Bytes its segments take.
    pub(crate) fn stored_bytes(&self) -> u64 {
        let view = self.view.read().unwrap_or_else(|p| p.into_inner());
        view.segments.iter().filter(|segment| !segment.is_piece()).map(|segment| segment.bytes()).sum()
    }

    /// The pieces of packs that readers see.
    pub(crate) fn pieces_in_view(&self) -> BTreeSet<(SegmentId, SequenceNumber)> {
        let view = self.view.read().unwrap_or_else(|p| p.into_inner());
        view.segments.iter().filter(|s| s.is_piece()).map(|s| (s.id, s.base)).collect()
    }

    /// Takes segments out of the readers' sight.
    pub(crate) fn remove_segments(&self, gone: &[Arc<Segment>]) {
        let mut view = self.view.write().unwrap_or_else(|p| p.into_inner());
        view.segments.retain(|s| gone.iter().all(|g| !Arc::ptr_eq(g, s)));
    }
}
