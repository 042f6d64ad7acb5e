//! What segments and pieces of packs hold that no row names: where what would name them can't be read, a salvage looks there for
//! records that are missing.
//!
//! A batch that verifies is of its log, and the numbers of its records are its own. Two rules say which of several counts:
//!
//! 1. Other batches than those of large shares go to a segment once they are durable: wherever one is found, it is what was
//!    acknowledged under its numbers.
//! 2. A large share goes to a segment before its frame makes it count, so a crash may leave one whose numbers were given again. That
//!    one is in a segment with a lower id than the one that counts, and than every copy of it, for no life writes a share to a segment
//!    of an earlier one.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::env::{Access, Disk};
use crate::error::Result;
use crate::format::batch::{BatchHeader, KIND_BULK};
use crate::format::checksum::Salt;
use crate::format::manifest::SegmentRow;
use crate::format::segment::{BULK_ALIGNMENT, HEADER_BYTES, SegmentHeader};
use crate::id::{FrameNumber, LogId, SegmentId, SequenceNumber, StoreId};
use crate::segment::walk::{Event, walk};
use crate::segment::{segment_of, segment_path};

use super::inspection::Inspection;

/// Pieces are looked for in so many bytes at a time.
const SEARCH_BYTES: u64 = 64 << 10;

/// A segment or a piece of a pack, by what its header says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Where its header is: above 0 for a piece.
    start: u64,
    header: SegmentHeader,
}

impl Place {
    fn is(&self, other: &Place) -> bool {
        (self.header.segment, self.start) == (other.header.segment, other.start)
    }
}

/// All there are, by their logs.
pub(super) type Places = BTreeMap<LogId, Vec<Place>>;

/// Looks at the front of every segment, and into every pack.
pub(super) fn places(ins: &mut Inspection<'_>) -> Result<Places> {
    let mut places = Places::new();
    for folder in ins.list("segments")?.into_iter().filter(|e| e.is_dir) {
        for entry in ins.list(&format!("segments/{}", folder.name))? {
            let Some(id) = segment_of(&folder.name, &entry) else { continue };
            let mut bytes = [0; HEADER_BYTES];
            let read = ins.disk.open(&segment_path(id), Access::Read).and_then(|file| file.read_at(&mut bytes, 0));
            let header = read.ok().and_then(|_| SegmentHeader::parse(&bytes).ok());
            let origin = ins.origin;
            let ours = |h: &SegmentHeader| h.origin == origin && h.segment == id;
            let found = match header {
                Some(header) if ours(&header) && !header.is_pack() => vec![Place { start: 0, header }],
                // A pack, or a file whose front can't be read and may be one.
                _ => pieces(ins, id),
            };
            for place in found.into_iter().filter(|place| ours(&place.header)) {
                places.entry(place.header.log).or_default().push(place);
            }
        }
    }
    Ok(places)
}

/// The pieces of a pack. Behind a header that can't be read every place is tried.
fn pieces(ins: &mut Inspection<'_>, id: SegmentId) -> Vec<Place> {
    let mut found = Vec::new();
    let Ok((file, len)) = ins.open(&segment_path(id)) else { return found };
    let mut at = HEADER_BYTES as u64;
    while at + HEADER_BYTES as u64 <= len {
        let n = (len - at).min(SEARCH_BYTES) as usize;
        let bytes = ins.read(&*file, at, n).unwrap_or_default();
        let piece = |front: &[u8]| SegmentHeader::parse(front).ok().filter(|h| h.bytes > HEADER_BYTES as u64);
        let fronts = bytes.windows(HEADER_BYTES).step_by(8).map(piece);
        match fronts.enumerate().find_map(|(step, header)| Some((step as u64 * 8, header?))) {
            Some((offset, header)) => {
                found.push(Place { start: at + offset, header });
                at += offset + header.bytes.next_multiple_of(8);
            }
            None => at += (n as u64).saturating_sub(HEADER_BYTES as u64) / 8 * 8 + 8,
        }
    }
    found
}

/// Numbers of which a place has the records.
#[derive(Debug, Clone, Copy)]
struct Run {
    end: SequenceNumber,
    place: Place,
    /// They are of a large share.
    is_share: bool,
}

/// What there is of one log beside what its row names.
pub(super) struct Unnamed {
    disk: Arc<dyn Disk>,
    origin: StoreId,
    places: Vec<Place>,
    named: Vec<SegmentRow>,
    /// Numbers may have been given that nothing readable tells of.
    open_ended: bool,
    /// By their first numbers, no two with the same; worked out when it is asked for.
    runs: Option<BTreeMap<SequenceNumber, Run>>,
}

impl Unnamed {
    /// `named` are the segments of the log's row. With `open_ended` shares behind the last of them count, too.
    pub(super) fn new(ins: &Inspection<'_>, places: Vec<Place>, named: &[SegmentRow], open_ended: bool) -> Unnamed {
        let (disk, origin, named) = (ins.disk.clone(), ins.origin, named.to_vec());
        Unnamed { disk, origin, places, named, open_ended, runs: None }
    }

    /// Hands over the batches of all records with these numbers that there are, in their order: those that lie within as a whole, but
    /// for the first, which may begin at `first_from` already.
    pub(super) fn each(
        &mut self,
        first_from: SequenceNumber,
        numbers: Range<SequenceNumber>,
        each: &mut dyn FnMut(SegmentId, &BatchHeader, &[u8]),
    ) {
        let runs = self.runs.take().unwrap_or_else(|| self.work_out());
        let mut next = first_from;
        for (first, run) in runs.range(..numbers.end).filter(|(_, run)| run.end > numbers.start) {
            self.walk(&run.place, &mut |_, header, bytes| {
                let within = header.first >= next.max(*first) && header.end() <= run.end.min(numbers.end);
                if within && header.end() > numbers.start {
                    next = header.end();
                    each(run.place.header.segment, header, bytes);
                }
            });
        }
        self.runs = Some(runs);
    }

    fn walk(&self, place: &Place, each: &mut dyn FnMut(u64, &BatchHeader, &[u8])) {
        let Ok(file) = self.disk.open(&segment_path(place.header.segment), Access::Read) else { return };
        let Ok(len) = file.len() else { return };
        let bytes = if place.start > 0 { len.min(place.start.saturating_add(place.header.bytes)) } else { len };
        let row = SegmentRow { start: place.start, end: u64::MAX, bytes, ..place.header.empty_row() };
        walk(&*file, len, Salt::batches(self.origin, place.header.log), &row, true, &mut |event| {
            if let Event::Batch { position, header, bytes } = event {
                each(position, &header, bytes);
            }
        });
    }

    /// Of each place the numbers that no better one has.
    fn work_out(&self) -> BTreeMap<SequenceNumber, Run> {
        let mut found: Vec<(SequenceNumber, Run)> = Vec::new();
        for place in &self.places {
            let named = self.named.iter().find(|row| row.id == place.header.segment && row.start == place.start);
            // What the row has of it is read by the row.
            let from = named.map_or(0, |row| row.bytes);
            let mut frame: Option<FrameNumber> = None;
            let begun = found.len();
            self.walk(place, &mut |position, header, _| {
                if position < from {
                    return;
                }
                let is_bulk = header.kind == KIND_BULK;
                let last = found[begun..].last_mut();
                match last.filter(|(_, run)| run.end == header.first && frame == Some(header.frame)) {
                    Some((_, run)) => {
                        run.end = header.end();
                        run.is_share |= is_bulk;
                    }
                    // The last batch of a share says that it is one. Where that is not there it is told by where it begins.
                    None => {
                        let is_share = is_bulk || position.is_multiple_of(BULK_ALIGNMENT);
                        found.push((header.first, Run { end: header.end(), place: *place, is_share }));
                    }
                }
                frame = Some(header.frame);
                join(&mut found, begun);
            });
        }
        found.retain(|(first, run)| !run.is_share || self.counts(*first, run));
        // Each run costs a walk.
        found.dedup_by(|(first, run), (_, before)| {
            let joins = before.end == *first && before.is_share == run.is_share && before.place.is(&run.place);
            before.end = if joins { run.end } else { before.end };
            joins
        });
        found.sort_by_key(|(_, run)| (run.is_share, std::cmp::Reverse(run.place.header.segment)));
        let mut runs = BTreeMap::new();
        for (first, run) in found {
            add(&mut runs, first, run);
        }
        runs
    }

    /// Whether a share can't be one whose numbers were given again.
    fn counts(&self, first: SequenceNumber, run: &Run) -> bool {
        let id = run.place.header.segment;
        let is_behind = self.named.last().is_none_or(|last| run.end > last.end);
        let over = |row: &&SegmentRow| row.base < run.end && first < row.end;
        let last = self.named.last().filter(|_| is_behind);
        (self.open_ended || !is_behind) && self.named.iter().filter(over).chain(last).all(|row| row.id < id)
    }
}

/// Makes one run of the last two but one of a place, if neither is a share: the last may still turn out to be one.
fn join(found: &mut Vec<(SequenceNumber, Run)>, begun: usize) {
    if let [.., (_, before), (first, run), _] = &mut found[begun..]
        && before.end == *first
        && !before.is_share
        && !run.is_share
    {
        before.end = run.end;
        found.remove(found.len() - 2);
    }
}

/// Adds what no other run has.
fn add(runs: &mut BTreeMap<SequenceNumber, Run>, first: SequenceNumber, run: Run) {
    let before = runs.range(..=first).next_back().map(|(_, before)| before.end);
    let mut from = first.max(before.unwrap_or(0));
    if from >= run.end {
        return;
    }
    let taken: Vec<_> = runs.range(from..run.end).map(|(first, taken)| (*first, taken.end)).collect();
    for (taken_from, taken_to) in taken.into_iter().chain([(run.end, run.end)]) {
        if from < taken_from {
            runs.insert(from, Run { end: taken_from, ..run });
        }
        from = from.max(taken_to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(end: SequenceNumber, segment: u64) -> Run {
        let header =
            SegmentHeader { origin: StoreId([1; 16]), log: LogId(1), segment: SegmentId(segment), base: 0, bytes: 0 };
        Run { end, place: Place { start: 0, header }, is_share: false }
    }

    #[test]
    fn what_comes_first_has_its_numbers_and_what_comes_later_the_rest() {
        let mut state = 1u64;
        let mut number = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..500 {
            let (mut runs, mut naive) = (BTreeMap::new(), [0; 40]);
            for segment in 1..10 {
                let first = number(40);
                let end = first + number(40 - first) + 1;
                add(&mut runs, first, run(end, segment));
                naive[first as usize..end as usize]
                    .iter_mut()
                    .filter(|known| **known == 0)
                    .for_each(|new| *new = segment);
            }
            let mut painted = [0; 40];
            for (first, run) in &runs {
                let numbers = &mut painted[*first as usize..run.end as usize];
                assert!(!numbers.is_empty() && numbers.iter().all(|known| *known == 0));
                numbers.fill(run.place.header.segment.0);
            }
            assert_eq!(painted, naive);
        }
    }

    #[test]
    fn a_share_whose_numbers_may_have_been_given_again_does_not_count() {
        let row = |id, base, end| SegmentRow { base, end, ..run(0, id).place.header.empty_row() };
        let unnamed = |open_ended| Unnamed {
            disk: Arc::new(crate::env::sim::SimDisk::new(crate::env::sim::Tape::seeded(1))),
            origin: StoreId([1; 16]),
            places: Vec::new(),
            named: vec![row(5, 0, 10), row(9, 10, 20)],
            open_ended,
            runs: None,
        };
        let counts = |open_ended, first, end, id| unnamed(open_ended).counts(first, &run(end, id));
        // Copies have higher ids than what they are of; what was given up before has lower ones.
        assert!(counts(false, 0, 10, 6) && !counts(false, 0, 10, 4));
        assert!(counts(false, 12, 20, 10) && !counts(false, 12, 20, 8) && !counts(false, 8, 12, 6));
        // Behind the last of them only what nothing tells of may be acknowledged.
        assert!(counts(true, 20, 25, 10) && !counts(true, 20, 25, 8) && !counts(false, 20, 25, 10));
    }
}
