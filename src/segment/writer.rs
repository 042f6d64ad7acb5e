//! Writing batches at the end of a log: through the page cache, behind the acknowledgement; or past it, in bulk.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;

use bytes::Bytes;

use crate::env::{Access, DiskFile};
use crate::error::Result;
use crate::format::batch::{BatchHeader, KIND_BULK};
use crate::format::checksum::Salt;
use crate::format::manifest::SegmentRow;
use crate::format::segment::{BULK_ALIGNMENT, HEADER_BYTES, SegmentHeader, next_batch};
use crate::id::{LogId, SegmentId, SequenceNumber};
use crate::sync::Arc;

use super::files::Window;
use super::{Segment, SegmentFiles, index};

/// Batches are written together up to so many bytes.
const WRITE_BYTES: usize = 512 << 10;
/// Room is reserved ahead of bulk writes in steps of a quarter of what is there, within these bounds in bytes: what a log that
/// stops growing leaves unused.
const BULK_STEP_BYTES_MIN: u64 = 1 << 20;
const BULK_STEP_BYTES_MAX: u64 = 16 << 20;
/// Up to so many bytes a batch is stored through a window rather than written. The system is not called for a store, but a page of
/// a window costs it more than a page that is written: from here on that is more than the call.
const WINDOW_BATCH_BYTES_MAX: usize = 2 << 10;
/// From so many bytes on a segment has windows, of a quarter of what is there, within these bounds in bytes.
const WINDOW_FROM_BYTES: u64 = 64 << 10;
const WINDOW_BYTES_MIN: u64 = 64 << 10;
const WINDOW_BYTES_MAX: u64 = 256 << 10;
/// A last segment of an earlier life below this size is copied into the new life's first, so that opening a store again and
/// again does not leave one file each time.
pub(crate) const TAKE_OVER_BYTES: u64 = 64 << 10;

/// What a log tells its writer.
pub(crate) struct WriterContext<'a> {
    pub(crate) files: &'a SegmentFiles,
    pub(crate) log: LogId,
    pub(crate) salt: Salt,
    pub(crate) segment_bytes_max: u64,
}

/// The end of a log on disk. One per log, under its lock.
#[derive(Default)]
pub(crate) struct SegmentWriter {
    active: Option<Active>,
    /// Segments with bytes that are not on stable storage yet.
    unsynced: Vec<Unsynced>,
    /// Those of them that a checkpoint is syncing right now: not durable before it says so.
    syncing: Vec<Unsynced>,
}

/// A segment with bytes, from a position on, that are not on stable storage yet.
#[derive(Clone)]
pub(crate) struct Unsynced {
    pub(crate) segment: Arc<Segment>,
    pub(crate) from: u64,
}

struct Active {
    segment: Arc<Segment>,
    position: u64,
    allocated: u64,
    direct: Option<Arc<dyn DiskFile>>,
    /// What bulk writes on their way reach to: a position, and the number after their last record.
    placed: Option<(u64, SequenceNumber)>,
    window: Option<Window>,
    /// There is none to be had.
    windowless: bool,
}

impl Active {
    /// Where the next batch goes, and the number it begins with.
    fn reach(&self) -> (u64, SequenceNumber) {
        self.placed.unwrap_or((self.position, self.segment.end()))
    }

    /// Whether `len` bytes that begin with record `first` go to another segment.
    fn is_left(&self, first: SequenceNumber, len: u64, bytes_max: u64) -> bool {
        let (position, end) = self.reach();
        let empty = end == self.segment.base;
        (!empty && position + len > bytes_max) || end != first
    }

    /// Whether `bytes` could be stored at its end through a window.
    #[inline]
    fn store(&mut self, context: &WriterContext<'_>, bytes: &[u8]) -> bool {
        let end = self.position + bytes.len() as u64;
        let (from, max) = (WINDOW_FROM_BYTES, context.segment_bytes_max);
        if self.windowless || bytes.len() > WINDOW_BATCH_BYTES_MAX || self.position < from.min(max / 8) {
            return false;
        }
        let seen = |window: &Window| window.range.start <= self.position && end <= window.range.end;
        if !self.window.as_ref().is_some_and(seen) {
            self.window = None;
            if !context.files.has_windows() {
                return false;
            }
            let step = (self.position / 4).clamp(WINDOW_BYTES_MIN, WINDOW_BYTES_MAX).min(max / 4);
            let range = self.position..(self.position + step).max(end).next_multiple_of(BULK_ALIGNMENT);
            self.window = context.files.window(&self.segment, range).ok();
        }
        let stored = self.window.as_mut().is_some_and(|window| window.put(bytes, self.position).is_ok());
        if !stored {
            // What stands in the way, the disk or its room, a write will say.
            (self.window, self.windowless) = (None, true);
        }
        stored
    }

    /// Batches are in the file, at its end: they are part of the segment now.
    fn advance<'a>(&mut self, files: &SegmentFiles, headers: impl Iterator<Item = (&'a BatchHeader, usize)>) {
        for (header, len) in headers {
            files.note_stored(self.segment.grow(self.position, header, self.position + len as u64));
            // What follows a bulk batch, here one that was taken over, starts on a boundary.
            self.position = next_batch(self.position, header);
        }
    }
}

/// Where a bulk write goes.
pub(crate) struct BulkPlace {
    pub(crate) segment: Arc<Segment>,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) position: u64,
}

impl SegmentWriter {
    /// Whether this life has written nothing of the log yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.active.is_none()
    }

    /// Of a log that is deleted: has nothing any more.
    pub(crate) fn end(&mut self) {
        self.close_window();
        *self = SegmentWriter::default();
    }

    /// These segments are about to be removed: nobody need sync them.
    pub(crate) fn disown(&mut self, gone: &BTreeSet<SegmentId>) {
        self.unsynced.retain(|unsynced| !gone.contains(&unsynced.segment.id));
    }

    /// Writes batches through the page cache, oldest first. Segments begun on the way are pushed onto `begun`, also on an
    /// error; how far it got can be read off the segments' ends.
    pub(crate) fn write(
        &mut self,
        context: &WriterContext<'_>,
        batches: &[(BatchHeader, Bytes)],
        begun: &mut Vec<Arc<Segment>>,
    ) -> io::Result<()> {
        if self.expects_bulk() {
            return Err(io::Error::other("a bulk write to the segment is on its way"));
        }
        let mut rest = batches;
        while let Some((header, first)) = rest.first() {
            let active = self.room(context, header.first, first.len() as u64, begun)?;
            let mut len = first.len();
            let follows = |pair: &[(BatchHeader, Bytes)]| {
                let [(before, _), (next, bytes)] = pair else { return false };
                len += bytes.len();
                let fits = len <= WRITE_BYTES && active.position + len as u64 <= context.segment_bytes_max;
                fits && before.kind != KIND_BULK && next.first == before.end()
            };
            let n = 1 + rest.windows(2).map(follows).take_while(|follows| *follows).count();
            let pieces: Vec<&[u8]> = rest[..n].iter().map(|(_, bytes)| &bytes[..]).collect();
            active.direct = None;
            let from = active.position;
            context.files.for_writing(&active.segment)?.write_pieces_at(&pieces, from)?;
            active.advance(context.files, rest[..n].iter().map(|(header, bytes)| (header, bytes.len())));
            let segment = active.segment.clone();
            owe_sync(&mut self.unsynced, &segment, from);
            rest = &rest[n..];
        }
        Ok(())
    }

    /// Whether `len` bytes that begin with record `first` belong right behind what the segment being written has.
    pub(crate) fn extends(&self, context: &WriterContext<'_>, first: SequenceNumber, len: u64) -> bool {
        let active = self.active.as_ref().filter(|active| active.placed.is_none());
        active.is_some_and(|active| !active.is_left(first, len, context.segment_bytes_max))
    }

    /// As [`SegmentWriter::write`], of one batch for which [`SegmentWriter::extends`] holds.
    pub(crate) fn extend(&mut self, context: &WriterContext<'_>, header: &BatchHeader, bytes: &[u8]) -> io::Result<()> {
        let active = self.active.as_mut().ok_or_else(|| io::Error::other("no active segment"))?;
        active.direct = None;
        if !active.store(context, bytes) {
            context.files.for_writing(&active.segment)?.write_at(bytes, active.position)?;
        }
        let from = active.position;
        active.advance(context.files, std::iter::once((header, bytes.len())));
        owe_sync(&mut self.unsynced, &active.segment, from);
        Ok(())
    }

    /// Whether a bulk write of `len` bytes that begin with record `first` would seal a segment to which others are on their way.
    pub(crate) fn bulk_rolls(&self, context: &WriterContext<'_>, first: SequenceNumber, len: u64) -> bool {
        let expecting = self.active.as_ref().filter(|active| active.placed.is_some());
        expecting.is_some_and(|active| active.is_left(first, len + BULK_ALIGNMENT, context.segment_bytes_max))
    }

    /// Whether bulk writes to the active segment are on their way: until they are there nobody else writes to it, and it stays.
    pub(crate) fn expects_bulk(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.placed.is_some())
    }

    /// A place on a block boundary for `len` bytes of the records `numbers` past the page cache, with room reserved. It is
    /// expected there until [`SegmentWriter::bulk_written`] says that it is.
    pub(crate) fn bulk_place(
        &mut self,
        context: &WriterContext<'_>,
        numbers: Range<SequenceNumber>,
        len: u64,
        begun: &mut Vec<Arc<Segment>>,
    ) -> io::Result<BulkPlace> {
        let active = self.room(context, numbers.start, len + BULK_ALIGNMENT, begun)?;
        let position = active.reach().0.next_multiple_of(BULK_ALIGNMENT);
        if active.direct.is_none() {
            active.direct = Some(context.files.disk.open(&active.segment.path(), Access::Direct)?);
        }
        let file = active.direct.clone().ok_or_else(|| io::Error::other("no direct descriptor"))?;
        if position + len > active.allocated {
            let step =
                (position / 4).clamp(BULK_STEP_BYTES_MIN, BULK_STEP_BYTES_MAX).min(context.segment_bytes_max / 4);
            let end = (position + len + step).min(context.segment_bytes_max.max(position + len));
            file.allocate(end)?;
            file.extend(end)?;
            active.allocated = end;
        }
        active.placed = Some(((position + len).next_multiple_of(BULK_ALIGNMENT), numbers.end));
        Ok(BulkPlace { segment: active.segment.clone(), file, position })
    }

    /// The oldest bulk write on its way to `segment`, and its sync, are done: the batches, each with its position, are part of it
    /// now, up to position `end`.
    pub(crate) fn bulk_written(
        &mut self,
        files: &SegmentFiles,
        segment: &Arc<Segment>,
        headers: &[(u64, BatchHeader)],
        end: u64,
    ) -> io::Result<()> {
        let active = self.active.as_mut().filter(|active| active.segment.id == segment.id && active.placed.is_some());
        let active =
            active.ok_or_else(|| io::Error::other("the segment was left while a bulk write was on its way"))?;
        let last = headers.len().saturating_sub(1);
        for (i, (position, header)) in headers.iter().enumerate() {
            let next = if i == last { end } else { headers[i + 1].0 };
            files.note_stored(segment.grow(*position, header, next));
        }
        active.position = end;
        active.placed = active.placed.filter(|(_, number)| *number != segment.end());
        Ok(())
    }

    /// Nothing is stored through a window on this segment any more.
    pub(crate) fn close_window(&mut self) {
        self.active.iter_mut().for_each(|active| (active.window, active.windowless) = (None, true));
    }

    /// Makes everything written so far durable. After an error the store stops, and nothing here is used again.
    pub(crate) fn sync(&mut self, files: &SegmentFiles) -> io::Result<()> {
        for unsynced in self.syncing.iter().chain(&self.unsynced) {
            files.sync(&unsynced.segment)?;
        }
        self.unsynced.clear();
        Ok(())
    }

    /// The caller makes these durable now, without the log's lock, and then calls [`SegmentWriter::end_sync`]. What is
    /// written meanwhile is listed anew.
    pub(crate) fn begin_sync(&mut self) -> Vec<Unsynced> {
        // A log that is idle from now on needs none; another makes a new one.
        self.active.iter_mut().for_each(|active| active.window = None);
        self.syncing = std::mem::take(&mut self.unsynced);
        self.syncing.clone()
    }

    /// They are durable.
    pub(crate) fn end_sync(&mut self) {
        self.syncing.clear();
    }

    /// The segment being written, as it is.
    pub(crate) fn active_row(&self) -> Option<SegmentRow> {
        self.active.as_ref().map(|active| active.segment.row())
    }

    /// Forgets what was written since the segment being written was as `before` says, and goes on in a new one: of a copy
    /// there is all or nothing. What others saw meanwhile stays where it is.
    pub(crate) fn go_back(&mut self, before: Option<SegmentRow>, begun: &[Arc<Segment>]) {
        self.unsynced.retain(|unsynced| begun.iter().all(|b| b.id != unsynced.segment.id));
        self.active = None;
        if let Some(row) = before
            && let Some(unsynced) = self.unsynced.iter().find(|unsynced| unsynced.segment.id == row.id)
        {
            unsynced.segment.go_back(&row);
        }
    }

    /// Whether this is the segment being written.
    pub(crate) fn is_active(&self, segment: &Arc<Segment>) -> bool {
        self.active.as_ref().is_some_and(|active| active.segment.id == segment.id)
    }

    /// Whether nothing more comes to this segment, and all it has is on stable storage.
    pub(crate) fn is_settled(&self, segment: &Arc<Segment>) -> bool {
        let unsynced = self.unsynced.iter().chain(&self.syncing).any(|unsynced| unsynced.segment.id == segment.id);
        !unsynced && !self.is_active(segment)
    }

    /// The active segment with room for `len` more bytes whose first record is `first`; a new one if need be.
    fn room(
        &mut self,
        context: &WriterContext<'_>,
        first: SequenceNumber,
        len: u64,
        begun: &mut Vec<Arc<Segment>>,
    ) -> io::Result<&mut Active> {
        let roll = match &self.active {
            None => true,
            Some(active) => active.is_left(first, len, context.segment_bytes_max),
        };
        if roll {
            let (id, file) = context.files.create()?;
            let header =
                SegmentHeader { origin: context.files.origin, log: context.log, segment: id, base: first, bytes: 0 };
            let bytes_max = context.segment_bytes_max.max(HEADER_BYTES as u64 + len);
            let segment = Arc::new(Segment::fresh(id, context.log, context.salt, first, bytes_max));
            let begin =
                || file.write_at(&header.encode(), 0).and_then(|()| context.files.adopt(&segment, file.clone()));
            // What is short may be so for long, and each attempt would leave a file.
            begin().inspect_err(|_| context.files.uncreate(id))?;
            context.files.note_stored(HEADER_BYTES as u64);
            if let Some(sealed) = self.active.take() {
                index::seal(&sealed.segment, context.files);
            }
            begun.push(segment.clone());
            self.active = Some(Active {
                segment,
                position: HEADER_BYTES as u64,
                allocated: 0,
                direct: None,
                placed: None,
                window: None,
                windowless: false,
            });
        }
        self.active.as_mut().ok_or_else(|| io::Error::other("no active segment"))
    }
}

fn owe_sync(list: &mut Vec<Unsynced>, segment: &Arc<Segment>, from: u64) {
    if list.iter().all(|unsynced| unsynced.segment.id != segment.id) {
        list.push(Unsynced { segment: segment.clone(), from });
    }
}

impl Segment {
    /// A batch is in the file: index, arrival and end move over it. Only the log's writer calls this. Answers with the bytes that
    /// the segment got longer by.
    fn grow(&self, position: u64, header: &BatchHeader, bytes: u64) -> u64 {
        use std::sync::atomic::Ordering::{AcqRel, Release};
        if self.end() == self.base {
            self.first_arrival_ms.store(header.first_arrival_ms, Release);
        }
        index::note(self, position, header);
        self.last_arrival_ms.store(header.last_arrival_ms, Release);
        self.end.store(header.end(), Release);
        bytes.saturating_sub(self.bytes.swap(bytes, AcqRel))
    }

    /// What came after `row` is forgotten. The bytes stay, and nothing is written over them.
    fn go_back(&self, row: &SegmentRow) {
        use std::sync::atomic::Ordering::Release;
        index::cut(self, row.bytes);
        self.end.store(row.end, Release);
        self.bytes.store(row.bytes, Release);
        self.last_arrival_ms.store(row.last_arrival_ms, Release);
    }

    /// The batches of a piece, or of a small segment of an earlier life, for another segment or piece.
    pub(crate) fn take_over(self: &Arc<Self>, files: &SegmentFiles) -> Result<Vec<(BatchHeader, Bytes)>> {
        if self.is_piece() { self.copy_piece(files) } else { self.copy_out(files) }
    }
}
