//! Walking a segment from its first batch to its end, over damage too.
//!
//! Where a header verifies, the next batch is where it says, even if its own records don't verify. Where a header doesn't,
//! every place a batch could start at is tried, up to the first that verifies whole and carries a number that is still to
//! come. A record that holds the bytes of another batch of the very same log could pass for one; the numbers keep that to
//! copies of what was lost, and nothing depends on it but a report, a salvage, and a reader that was told to skip damage.

use std::ops::{ControlFlow, Range};

use crate::env::DiskFile;
use crate::format::batch::{BatchHeader, HEADER_BYTES};
use crate::format::checksum::Salt;
use crate::format::manifest::SegmentRow;
use crate::format::segment::{BULK_ALIGNMENT, HEADER_BYTES as SEGMENT_HEADER_BYTES, next_batch};
use crate::format::{Damage, first_nonzero};
use crate::id::SequenceNumber;

const WINDOW_BYTES: usize = 512 << 10;
/// After a read failed, so much at a time.
const PIECE_BYTES: usize = 4096;

/// What a walk meets.
pub(crate) enum Event<'a> {
    /// A batch that verifies, without its padding.
    Batch { position: u64, header: BatchHeader, bytes: &'a [u8] },
    /// Bytes that are not what they should be, and the records that are lost with them.
    Damaged { position: u64, upto: u64, what: Damage, lost: Range<SequenceNumber> },
    /// Padding that is not zero.
    Dirt { position: u64 },
    /// So many more bytes were read.
    Read(u64),
    /// The walk comes to this place, and could be begun there.
    At(WalkFrom),
    /// Up to here nothing was found behind damage that began where the walk last came to.
    Searched { upto: u64 },
}

/// Where a walk begins: at a batch, or at padding before one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WalkFrom {
    pub(crate) position: u64,
    /// The number that comes next.
    pub(crate) next: SequenceNumber,
}

impl WalkFrom {
    /// The first batch of a segment.
    pub(crate) fn front(row: &SegmentRow) -> WalkFrom {
        WalkFrom { position: row.start + SEGMENT_HEADER_BYTES as u64, next: row.base }
    }
}

/// Walks all batches of the segment `row` describes. With `open_ended` its end is not known: the walk ends with the last batch
/// that verifies, and what follows it is not told.
pub(crate) fn walk(
    file: &dyn DiskFile,
    file_len: u64,
    salt: Salt,
    row: &SegmentRow,
    open_ended: bool,
    each: &mut dyn FnMut(Event<'_>),
) {
    let mut each = |event: Event<'_>| {
        each(event);
        ControlFlow::Continue(())
    };
    let window = Window { file, limit: row.bytes.min(file_len), start: 0, bytes: Vec::new() };
    let _: ControlFlow<()> =
        Walk { window, salt, row, open_ended, each: &mut each }.run(file_len, WalkFrom::front(row), None);
}

/// Walks the batches of the segment `row` describes from somewhere in it, until `each` has enough. One that had enough can be gone on
/// with: from where it last came to, and, if that was damage whose end was being looked for, from where it had `searched` up to.
pub(crate) fn walk_from(
    file: &dyn DiskFile,
    file_len: u64,
    salt: Salt,
    row: &SegmentRow,
    from: WalkFrom,
    searched: Option<u64>,
    each: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let window = Window { file, limit: row.bytes.min(file_len), start: 0, bytes: Vec::new() };
    Walk { window, salt, row, open_ended: false, each }.run(file_len, from, searched)
}

struct Walk<'a> {
    window: Window<'a>,
    salt: Salt,
    row: &'a SegmentRow,
    open_ended: bool,
    each: &'a mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
}

impl Walk<'_> {
    fn run(&mut self, file_len: u64, from: WalkFrom, searched: Option<u64>) -> ControlFlow<()> {
        let limit = self.window.limit;
        let WalkFrom { mut position, mut next } = from;
        if let Some(searched) = searched {
            let what = self.header(position, next).err().unwrap_or(Damage::Missing);
            let Some(behind) = self.over_damage(from, what, searched)? else { return ControlFlow::Continue(()) };
            (position, next) = (behind.position, behind.next);
        }
        let mut told = position;
        // Where what passes for padding begins, until the batch behind it is found to be the next one: a header that became zeros
        // looks like that, and batches come before the boundary.
        let mut padded = None;
        loop {
            if position >= limit {
                let Some(from) = padded.take().filter(|_| next < self.row.end && !self.open_ended) else { break };
                let Some((at, header)) = self.resync(from + 8, next)? else { break };
                self.damaged(from, at, Damage::Missing, next..header.first)?;
                (position, next) = (at, header.first);
            }
            if position.saturating_sub(told) >= WINDOW_BYTES as u64 {
                (self.each)(Event::Read(position - told))?;
                told = position;
            }
            if padded.is_none() {
                (self.each)(Event::At(WalkFrom { position, next }))?;
            }
            if let Some(boundary) = self.padding(position) {
                self.zeros(position, boundary)?;
                padded = padded.or(Some(position));
                position = boundary;
                continue;
            }
            match self.header(position, next) {
                Ok(header) if header.first == next || padded.is_none() => {
                    padded = None;
                    let after = next_batch(position, &header).min(limit);
                    match self.window.get(position, header.len()) {
                        Ok(bytes) => match header.verify_records(&bytes[HEADER_BYTES..], self.salt) {
                            Ok(()) => {
                                if header.first > next {
                                    let lost = next..header.first;
                                    let what = Damage::Missing;
                                    (self.each)(Event::Damaged { position, upto: position, what, lost })?;
                                }
                                (self.each)(Event::Batch { position, header, bytes })?;
                            }
                            Err(what) => self.damaged(position, after, what, next..header.end())?,
                        },
                        Err(what) => self.damaged(position, after, what, next..header.end())?,
                    }
                    next = header.end();
                    let end = position + header.len() as u64;
                    self.zeros(end.min(after), after)?;
                    position = after;
                }
                other => {
                    let what = other.err().unwrap_or(Damage::Missing);
                    position = padded.take().unwrap_or(position);
                    let damaged = WalkFrom { position, next };
                    let Some(behind) = self.over_damage(damaged, what, position + 8)? else { break };
                    (position, next) = (behind.position, behind.next);
                }
            }
        }
        (self.each)(Event::Read(limit.saturating_sub(told)))?;
        if next < self.row.end && !self.open_ended {
            let what = if file_len < self.row.bytes { Damage::Short } else { Damage::Missing };
            self.damaged(limit, self.row.bytes.max(limit), what, next..self.row.end)?;
        } else if file_len < self.row.bytes && !self.open_ended {
            self.damaged(limit, self.row.bytes, Damage::Short, next..next)?;
        }
        ControlFlow::Continue(())
    }

    /// Where the walk goes on behind damage that was searched up to `searched`; `None` where that is the end.
    fn over_damage(&mut self, from: WalkFrom, what: Damage, searched: u64) -> ControlFlow<(), Option<WalkFrom>> {
        let found = self.resync(searched, from.next)?;
        if self.open_ended && found.is_none() {
            return ControlFlow::Continue(None);
        }
        let behind = match found {
            Some((position, header)) => WalkFrom { position, next: header.first },
            None => WalkFrom { position: self.window.limit, next: self.row.end },
        };
        self.damaged(from.position, behind.position, what, from.next..behind.next)?;
        ControlFlow::Continue(Some(behind))
    }

    fn damaged(&mut self, position: u64, upto: u64, what: Damage, lost: Range<SequenceNumber>) -> ControlFlow<()> {
        (self.each)(Event::Damaged { position, upto, what, lost })
    }

    /// Up to where there is padding, by the reader's rule: what follows a bulk batch, or comes before one, starts on the next
    /// boundary.
    fn padding(&mut self, position: u64) -> Option<u64> {
        let boundary = position.next_multiple_of(BULK_ALIGNMENT);
        if boundary == position {
            return None;
        }
        // There may be as few as 8 bytes of it.
        let zeros = (boundary - position).min(16) as usize;
        match self.window.get(position, HEADER_BYTES) {
            Ok(bytes) => dirty(bytes, 0, zeros).is_none().then_some(boundary.min(self.window.limit)),
            Err(Damage::Short) => Some(self.window.limit),
            Err(_) => None,
        }
    }

    /// A header that belongs here.
    fn header(&mut self, position: u64, next: SequenceNumber) -> Result<BatchHeader, Damage> {
        let bytes = self.window.get(position, HEADER_BYTES)?;
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(Damage::Short)?;
        let header = BatchHeader::parse(bytes, self.salt)?;
        let end = position + header.len() as u64;
        if header.first < next || (header.end() > self.row.end && !self.open_ended) {
            return Err(Damage::Misplaced);
        }
        if end > self.window.limit {
            return Err(if end > self.row.bytes { Damage::Misplaced } else { Damage::Short });
        }
        Ok(header)
    }

    /// Reports padding that is not zero.
    fn zeros(&mut self, mut position: u64, upto: u64) -> ControlFlow<()> {
        while position < upto {
            let n = (upto - position).min(PIECE_BYTES as u64) as usize;
            // Padding that can't be read hides nothing.
            let Ok(bytes) = self.window.get(position, n) else { break };
            if let Some(at) = dirty(bytes, 0, n) {
                return (self.each)(Event::Dirt { position: position + at as u64 });
            }
            position += n as u64;
        }
        ControlFlow::Continue(())
    }

    /// The next place from `position` on where a whole batch verifies.
    fn resync(&mut self, mut position: u64, next: SequenceNumber) -> ControlFlow<(), Option<(u64, BatchHeader)>> {
        let limit = self.window.limit;
        let mut told = position;
        while position + HEADER_BYTES as u64 <= limit {
            if position - told >= WINDOW_BYTES as u64 {
                // The caller tells of these bytes by position; this keeps a long search from looking like a hang.
                (self.each)(Event::Searched { upto: position })?;
                told = position;
            }
            match self.window.get(position, HEADER_BYTES) {
                Ok(bytes) if &bytes[40..42] == b"Bb" => {
                    if let Ok(header) = self.header(position, next)
                        && let Ok(bytes) = self.window.get(position, header.len())
                        && header.verify_records(&bytes[HEADER_BYTES..], self.salt).is_ok()
                    {
                        return ControlFlow::Continue(Some((position, header)));
                    }
                    position += 8;
                }
                Ok(_) => position += 8,
                Err(_) => position = (position + 1).next_multiple_of(PIECE_BYTES as u64),
            }
        }
        ControlFlow::Continue(None)
    }
}

/// The first byte of a range that is not zero.
pub(crate) fn dirty(bytes: &[u8], from: usize, upto: usize) -> Option<usize> {
    first_nonzero(bytes.get(from..upto)?).map(|at| from + at)
}

/// A piece of the file in memory.
struct Window<'a> {
    file: &'a dyn DiskFile,
    /// Nothing at or beyond this position is read.
    limit: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// `len` bytes from `position`; `len` was checked against the bound of a batch.
    fn get(&mut self, position: u64, len: usize) -> Result<&[u8], Damage> {
        if position + len as u64 > self.limit {
            return Err(Damage::Short);
        }
        let held = self.start..self.start + self.bytes.len() as u64;
        if !(held.start <= position && position + len as u64 <= held.end) {
            let ahead = (self.limit - position).min(WINDOW_BYTES.max(len) as u64) as usize;
            self.load(position, ahead).or_else(|_| self.load(position, len))?;
        }
        let at = (position - self.start) as usize;
        self.bytes.get(at..at + len).ok_or(Damage::Short)
    }

    fn load(&mut self, position: u64, len: usize) -> Result<(), Damage> {
        self.bytes.resize(len, 0);
        self.start = position;
        match self.file.read_at(&mut self.bytes, position) {
            Ok(n) if n == len => Ok(()),
            other => {
                self.bytes.clear();
                Err(if other.is_ok() { Damage::Short } else { Damage::Unreadable })
            }
        }
    }
}
