//! Packs: one file for what many logs have little of, because making and syncing a file for each takes a hundred times as long
//! as the bytes do.
//!
//! A pack is written from front to end, synced, and only then are its pieces shown to anybody. It never changes after that, and
//! goes when no row names a piece of it any more.

use std::io;

use bytes::Bytes;

use crate::env::{DiskFile, Pace};
use crate::error::Result;
use crate::format::Damage;
use crate::format::batch::{BatchHeader, decode};
use crate::format::manifest::SegmentRow;
use crate::format::segment::{HEADER_BYTES, SegmentHeader};
use crate::id::{LogId, SegmentId};
use crate::sync::Arc;

use super::{Segment, SegmentFiles};

/// Pieces are written together up to so many bytes.
const WRITE_BYTES: usize = 512 << 10;

/// A pack that nobody sees yet.
pub(crate) struct PackWriter {
    id: SegmentId,
    file: Arc<dyn DiskFile>,
    /// Where `buffer` goes.
    position: u64,
    /// Up to here it is on the device.
    written_back: u64,
    buffer: Vec<u8>,
}

impl PackWriter {
    pub(crate) fn begin(files: &SegmentFiles) -> io::Result<PackWriter> {
        let (id, file) = files.create()?;
        let buffer = SegmentHeader::of_pack(files.origin, id).encode().to_vec();
        Ok(PackWriter { id, file, position: 0, written_back: 0, buffer })
    }

    pub(crate) fn id(&self) -> SegmentId {
        self.id
    }

    /// Bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.position + self.buffer.len() as u64
    }

    /// Adds a piece of a log: batches that follow one another, at least one. Answers with the row for it.
    pub(crate) fn add(
        &mut self,
        files: &SegmentFiles,
        log: LogId,
        batches: &[(BatchHeader, Bytes)],
    ) -> io::Result<SegmentRow> {
        let [(first, _), ..] = batches else { return Err(io::Error::other("a piece without a batch")) };
        let (last, _) = &batches[batches.len() - 1];
        let start = self.bytes();
        let bytes = HEADER_BYTES as u64 + batches.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
        let header = SegmentHeader { origin: files.origin, log, segment: self.id, base: first.first, bytes };
        self.buffer.extend_from_slice(&header.encode());
        batches.iter().for_each(|(_, bytes)| self.buffer.extend_from_slice(bytes));
        if self.buffer.len() >= WRITE_BYTES {
            self.write()?;
        }
        Ok(SegmentRow {
            id: self.id,
            start,
            base: first.first,
            end: last.end(),
            bytes: start + bytes,
            first_arrival_ms: first.first_arrival_ms,
            last_arrival_ms: last.last_arrival_ms,
        })
    }

    fn write(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.position)?;
        self.position += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Brings what was written to the device.
    ///
    /// # Errors
    /// As of a failed sync, after which the store stops.
    pub(crate) fn write_back(&mut self, pace: &Pace) -> io::Result<()> {
        pace.write_back(&*self.file, self.written_back..self.position)?;
        self.written_back = self.position;
        Ok(())
    }

    /// Writes what is left. It is not durable yet.
    pub(crate) fn finish(&mut self, files: &SegmentFiles) -> io::Result<()> {
        self.write()?;
        files.note_stored(self.position);
        Ok(())
    }

    /// Makes it durable, its name too.
    ///
    /// # Errors
    /// A failed sync, after which the store stops.
    pub(crate) fn sync(&mut self, files: &SegmentFiles, pace: &Pace) -> io::Result<()> {
        self.write_back(pace)?;
        self.file.sync_data()?;
        files.sync_folders()
    }

    /// It could not be written: nothing of it is needed.
    pub(crate) fn give_up(self, files: &SegmentFiles) {
        files.uncreate(self.id);
    }
}

impl Segment {
    /// The batches of a piece with their whole bytes, read at once and verified.
    pub(super) fn copy_piece(&self, files: &SegmentFiles) -> Result<Vec<(BatchHeader, Bytes)>> {
        let damaged = |at: usize, what| crate::error::Error::damaged(self.path(), self.start + at as u64)(what);
        let read = files.read_pack(self.id, self.start, self.stored_bytes());
        let bytes = read.map_err(|error| SegmentFiles::error(self, "read piece")(error))?;
        if (bytes.len() as u64) < self.stored_bytes() {
            return Err(damaged(bytes.len(), Damage::Short));
        }
        let mut batches = Vec::new();
        let (mut at, mut next) = (HEADER_BYTES, self.base);
        while at < bytes.len() {
            let (header, _) = decode(&bytes[at..], self.salt).map_err(|what| damaged(at, what))?;
            let end = at + header.padded_len();
            if header.first != next || end > bytes.len() {
                return Err(damaged(at, Damage::Misplaced));
            }
            batches.push((header, bytes.slice(at..end)));
            (at, next) = (end, header.end());
        }
        if next == self.end() { Ok(batches) } else { Err(damaged(at, Damage::Missing)) }
    }
}
