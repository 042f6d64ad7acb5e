//! Finding and verifying batches below a segment's end.

use std::ops::{ControlFlow, Range};

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::format::Damage;
use crate::format::batch::{BatchHeader, HEADER_BYTES};
use crate::format::segment::{BULK_ALIGNMENT, next_batch};
use crate::id::SequenceNumber;
use crate::sync::Arc;

use super::walk::{Event, WalkFrom, walk_from};
use super::{OpenSegment, Segment, SegmentFiles, index};

/// A batch's place: where to go on from without a look-up.
#[derive(Clone)]
pub(crate) struct Location {
    pub(crate) segment: Arc<Segment>,
    pub(crate) open: Arc<OpenSegment>,
    /// Position of the next batch, or of padding before it.
    pub(crate) position: u64,
}

impl Location {
    /// The batch there, verified, and on to the one after it; `None` at the end of the valid bytes.
    #[inline]
    pub(crate) fn next_batch(&mut self, files: &SegmentFiles) -> Result<Option<(BatchHeader, Bytes)>> {
        let found =
            self.segment.within_map(files, &mut self.open, |open| self.segment.batch_at(open, self.position))?;
        let Some((position, header, records)) = found else { return Ok(None) };
        self.position = next_batch(position, &header);
        Ok(Some((header, records)))
    }
}

/// Walks batch headers, hopping over padding.
pub(super) struct Walk<'a> {
    files: &'a SegmentFiles,
    segment: Arc<Segment>,
    open: Arc<OpenSegment>,
    at: WalkFrom,
}

/// A batch that a walk over damage came to.
pub(super) struct Readable {
    pub(super) position: u64,
    pub(super) header: BatchHeader,
    /// Where what is lost before it begins.
    lost: Option<WalkFrom>,
}

impl Walk<'_> {
    /// Position and header of the next batch; `None` at the end of the valid bytes.
    pub(super) fn next_header(&mut self) -> Result<Option<(u64, BatchHeader)>> {
        let header_at = |open: &OpenSegment| self.segment.header_at(open, self.at.position);
        let Some((position, header)) = self.segment.within_map(self.files, &mut self.open, header_at)? else {
            return Ok(None);
        };
        self.at = WalkFrom { position: next_batch(position, &header), next: header.end() };
        Ok(Some((position, header)))
    }

    /// The next batch whose header can be read, over those whose can't; `None` at the end of the valid bytes.
    ///
    /// # Errors
    /// What is damaged, when nothing comes behind it.
    pub(super) fn next_readable(&mut self) -> Result<Option<Readable>> {
        let at = self.at;
        let found = self.next_header();
        // Zeros in the place of a header pass for padding: the numbers tell.
        let whole = match &found {
            Ok(Some((_, header))) => header.first == at.next,
            Ok(None) => at.next >= self.segment.end(),
            Err(Error::Damaged { .. }) => false,
            Err(_) => true,
        };
        let behind = if whole { None } else { self.segment.next_whole(&self.open, at, |_| true) };
        let found = behind.map_or(found, |found| Ok(Some(found)))?;
        let Some((position, header)) = found else { return Ok(None) };
        self.at = WalkFrom { position: next_batch(position, &header), next: header.end() };
        let lost = (!whole).then_some(at);
        Ok(Some(Readable { position, header, lost }))
    }
}

impl Segment {
    pub(super) fn front(&self) -> WalkFrom {
        WalkFrom { position: self.first_batch(), next: self.base }
    }

    pub(super) fn walk<'a>(self: &Arc<Self>, files: &'a SegmentFiles, at: WalkFrom) -> Result<Walk<'a>> {
        Ok(Walk { files, segment: self.clone(), open: self.open_file(files)?, at })
    }

    /// The next batch from there on that verifies whole and is one of those wanted, over what doesn't verify.
    fn next_whole(
        &self,
        open: &OpenSegment,
        at: WalkFrom,
        wanted: impl Fn(&BatchHeader) -> bool,
    ) -> Option<(u64, BatchHeader)> {
        let row = self.row();
        let mut found = None;
        let _: ControlFlow<()> =
            walk_from(&*open.file, row.bytes, self.salt, &row, at, None, &mut |event| match event {
                Event::Batch { position, header, .. } if wanted(&header) => {
                    found = Some((position, header));
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            });
        found
    }

    pub(super) fn open_file(self: &Arc<Self>, files: &SegmentFiles) -> Result<Arc<OpenSegment>> {
        files.open(self, self.bytes()).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => self.damaged(0, Damage::Missing),
            std::io::ErrorKind::UnexpectedEof => self.damaged(self.bytes(), Damage::Short),
            _ => SegmentFiles::error(self, "open segment")(error),
        })
    }

    /// Looks at bytes below the end, mapped anew where that lies beyond what is mapped: a segment grows beyond what it was made for
    /// when its log may have larger ones meanwhile.
    #[inline]
    fn within_map<T>(
        self: &Arc<Self>,
        files: &SegmentFiles,
        open: &mut Arc<OpenSegment>,
        look: impl Fn(&OpenSegment) -> Result<T>,
    ) -> Result<T> {
        loop {
            if open.ends_before(self.bytes()) {
                *open = self.open_file(files)?;
            }
            let found = look(open);
            // It may have grown while it was looked at.
            if found.is_ok() || !open.ends_before(self.bytes()) {
                return found;
            }
        }
    }

    pub(crate) fn damaged(&self, at: u64, what: Damage) -> Error {
        Error::damaged(self.path(), at)(what)
    }

    /// The header of the batch at `position`, or of the next one where there is padding. Always parsed from a private copy.
    fn header_at(&self, open: &OpenSegment, mut position: u64) -> Result<Option<(u64, BatchHeader)>> {
        let bytes = self.bytes();
        loop {
            if position >= bytes {
                return Ok(None);
            }
            let mut copy = [0; HEADER_BYTES];
            let mut whole = position + HEADER_BYTES as u64 <= bytes;
            if whole {
                whole = match &open.map {
                    Some(map) => map.copy_to(position, &mut copy),
                    None => self.read(open, &mut copy, position)?,
                };
            }
            let next_boundary = position.next_multiple_of(BULK_ALIGNMENT);
            // There may be as few as 8 bytes of it.
            let zeros = (next_boundary - position).min(16) as usize;
            let padding =
                whole && copy[..zeros] == [0; 16][..zeros] || !whole && !position.is_multiple_of(BULK_ALIGNMENT);
            if padding && next_boundary > position {
                // What follows a bulk batch, or comes before one, starts on the next boundary.
                position = next_boundary;
                continue;
            }
            if !whole {
                return Err(self.damaged(position, Damage::Short));
            }
            let header = BatchHeader::parse(&copy, self.salt).map_err(|what| self.damaged(position, what))?;
            if header.first < self.base || header.end() > self.end() || position + header.len() as u64 > bytes {
                return Err(self.damaged(position, Damage::Misplaced));
            }
            return Ok(Some((position, header)));
        }
    }

    /// Whether all of `out` could be read.
    fn read(&self, open: &OpenSegment, out: &mut [u8], position: u64) -> Result<bool> {
        match open.file.read_at(out, position) {
            Ok(n) => Ok(n == out.len()),
            Err(_) => Err(self.damaged(position, Damage::Unreadable)),
        }
    }

    /// The batch at `position`, verified, with its position; `None` at the end of the valid bytes.
    #[inline]
    fn batch_at(&self, open: &OpenSegment, position: u64) -> Result<Option<(u64, BatchHeader, Bytes)>> {
        let Some((position, header)) = self.header_at(open, position)? else { return Ok(None) };
        let at = position + HEADER_BYTES as u64;
        let len = header.records_bytes as usize;
        let damaged = |what| self.damaged(position, what);
        let records = match &open.map {
            Some(map) => {
                let records = map.bytes(at, len).ok_or_else(|| damaged(Damage::Short))?;
                if !self.verified.contains(position - self.start) {
                    header.verify_records(&records, self.salt).map_err(damaged)?;
                    self.verified.insert(position - self.start, self.bytes_max - self.start);
                }
                records
            }
            None => {
                let mut copy = vec![0; len];
                if !self.read(open, &mut copy, at)? {
                    return Err(damaged(Damage::Short));
                }
                header.verify_records(&copy, self.salt).map_err(damaged)?;
                Bytes::from(copy)
            }
        };
        Ok(Some((position, header, records)))
    }

    /// Where the batch that holds `number` is, or where what is lost together with it begins. `number` lies within the segment.
    pub(crate) fn locate(self: &Arc<Self>, files: &SegmentFiles, number: SequenceNumber) -> Result<Location> {
        let start = index::start(self, files, |entry| self.base + u64::from(entry.number) <= number)?;
        let (place, _) = self.seek(files, start, |_, header| header.end() > number, |header| header.first <= number)?;
        Ok(place)
    }

    /// Where the batch that holds `number` ends. `number` lies within the segment.
    pub(crate) fn end_of_batch(self: &Arc<Self>, files: &SegmentFiles, number: SequenceNumber) -> Result<u64> {
        let position = self.locate(files, number)?.position;
        let mut walk = self.walk(files, WalkFrom { position, next: self.base })?;
        walk.next_header()?;
        Ok(walk.at.position)
    }

    /// Where the first batch is whose last record arrived at or after `arrival_ms`, or where what is lost before it begins, for
    /// that may have arrived then; with the number of the first record there.
    pub(crate) fn locate_time(
        self: &Arc<Self>,
        files: &SegmentFiles,
        arrival_ms: u64,
    ) -> Result<(Location, SequenceNumber)> {
        let relative = arrival_ms.saturating_sub(self.first_arrival_ms());
        let start = index::start(self, files, |entry| entry.arrival < relative)?;
        self.seek(files, start, |_, header| header.last_arrival_ms >= arrival_ms, |_| false)
    }

    /// The numbers from `number` on, of one batch, that are the next that can be read, over whatever is damaged; `None` if there are
    /// none. Bytes are looked at one after the other, and verified.
    ///
    /// # Errors
    /// The file can't be opened. Where reading fails is damage.
    pub(crate) fn readable_from(
        self: &Arc<Self>,
        files: &SegmentFiles,
        number: SequenceNumber,
    ) -> Result<Option<Range<SequenceNumber>>> {
        let open = self.open_file(files)?;
        let start = index::start(self, files, |entry| self.base + u64::from(entry.number) <= number)?;
        let found = self.next_whole(&open, start, |header| header.end() > number);
        Ok(found.map(|(_, header)| header.first.max(number)..header.end()))
    }

    /// Number of the first record whose batch starts at or after `position`, or of what is lost where that is.
    pub(crate) fn number_at(self: &Arc<Self>, files: &SegmentFiles, position: u64) -> Result<SequenceNumber> {
        let start = index::start(self, files, |entry| u64::from(entry.position) <= position)?;
        Ok(self.seek(files, start, |at, _| at >= position, |_| false)?.1)
    }

    /// The first batch that is found, or where what is lost before it begins, unless it `has` what is looked for.
    fn seek(
        self: &Arc<Self>,
        files: &SegmentFiles,
        start: WalkFrom,
        found: impl Fn(u64, &BatchHeader) -> bool,
        has: impl Fn(&BatchHeader) -> bool,
    ) -> Result<(Location, SequenceNumber)> {
        let mut walk = self.walk(files, start)?;
        let mut at = start;
        loop {
            match walk.next_readable() {
                Ok(Some(Readable { position, header, lost })) if found(position, &header) => {
                    at = match lost {
                        Some(lost) if !has(&header) => lost,
                        _ => WalkFrom { position, next: header.first },
                    };
                    break;
                }
                Ok(Some(_)) => at = walk.at,
                // Reading there tells what is wrong.
                Ok(None) | Err(Error::Damaged { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        Ok((Location { segment: walk.segment, open: walk.open, position: at.position }, at.next))
    }

    /// All batches of a small segment with their whole bytes, to be written into another one.
    pub(super) fn copy_out(self: &Arc<Self>, files: &SegmentFiles) -> Result<Vec<(BatchHeader, Bytes)>> {
        let mut walk = self.walk(files, self.front())?;
        let mut batches = Vec::new();
        while let Some((position, header)) = walk.next_header()? {
            let mut bytes = vec![0; header.padded_len()];
            let len = header.len();
            if !self.read(&walk.open, &mut bytes[..len], position)? {
                return Err(self.damaged(position, Damage::Short));
            }
            crate::format::batch::decode(&bytes[..len], self.salt).map_err(|what| self.damaged(position, what))?;
            batches.push((header, Bytes::from(bytes)));
        }
        // Zeros read as padding: what they may have been is found out here only.
        let complete = batches.iter().try_fold(self.base, |next, (header, _): &(BatchHeader, Bytes)| {
            (header.first == next).then(|| header.end())
        });
        if complete != Some(self.end()) {
            return Err(self.damaged(self.first_batch(), Damage::Missing));
        }
        Ok(batches)
    }
}
