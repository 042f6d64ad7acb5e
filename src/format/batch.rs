//! Batches and the records in them. The same bytes stand in the journal and, later, in a segment.
//!
//! ```text
//!         0     1     2     3     4     5     6     7
//!       +-----+-----+-----+-----+-----+-----+-----+-----+
//!     0 | checksum of bytes 4..48 | checksum of records   |
//!     8 | bytes of records        | number of records     |
//!    16 | first sequence number                           |
//!    24 | number of the frame that made it durable        |
//!    32 | arrival of the first record, ms     | + last    |
//!    40 | magic "Bb" | vers | kind| comp| encr| zero      |
//!    48 | records, one after the other, then 0-7 zeros    |
//!       +-----+-----+-----+-----+-----+-----+-----+-----+
//!
//!     record
//!       +-----+-----+-----+-----+-----+-----+-----+-----+
//!     0 | bytes of data    |flags| key bytes | + arrival |
//!     8 | attribute bytes (4; only with flag 2)           |
//!       | key, attributes, data                           |
//!       +-----+-----+-----+-----+-----+-----+-----+-----+
//!
//!     directory, behind the last record
//!     positions of records 8, 16, 24 ... among the records, 4 bytes each
//! ```
//!
//! The *bytes of records* include the directory, whose length follows from the number of records, so a batch of at most 8
//! has none. It bounds the walk to a record by 7 steps instead of hundreds, each of which may miss the cache.
//!
//! Both checksums start from the log's salt. The header's covers the records' checksum, so a header that verifies vouches
//! for its records. *Compressed* and *encrypted* say how the records are stored; only 0 is defined. `+ last` and
//! `+ arrival` are milliseconds after the arrival of the first record. Kind 0 is no batch: a preallocated file reads as
//! empty, not as damaged.
//!
//! In a segment a batch starts on 8 bytes. A write past the page cache starts on a 4 KiB boundary, which leaves zeros before
//! it, and its last batch is of kind [`KIND_BULK`]: what follows that starts on a 4 KiB boundary too. So one range sees
//! one kind of write.

use std::hint::black_box;

use super::checksum::Salt;
use super::{COUNTER_END, Damage, Decoder};
use crate::id::SequenceNumber;
use crate::limits::{ATTRIBUTES_BYTES_MAX, BATCH_BYTES_MAX, BATCH_RECORDS_MAX, KEY_BYTES_MAX, RECORD_DATA_BYTES_MAX};

/// Bytes before the records.
pub const HEADER_BYTES: usize = 4 + 4 + 4 + 4 + 8 + 8 + 8 + 2 + 1 + 1 + 1 + 1 + 2;
const _: () = assert!(HEADER_BYTES == 48);
/// Bytes before a record's key.
pub const RECORD_HEADER_BYTES: usize = 3 + 1 + 2 + 2;

const MAGIC: u16 = u16::from_le_bytes(*b"Bb");
const VERSION: u8 = 1;
/// Records.
pub const KIND_RECORDS: u8 = 1;
/// Records, the last of a write past the page cache.
pub const KIND_BULK: u8 = 2;

/// One directory entry for so many records.
const DIRECTORY_STEP: usize = 8;

const FLAG_KEY: u8 = 1;
const FLAG_ATTRIBUTES: u8 = 2;
const SPAN_MS_MAX: u64 = u16::MAX as u64;
const ARRIVAL_MS_MAX: u64 = (1 << 48) - 1;

/// What a record is made of, before it has a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecordParts<'a> {
    /// Routing or compaction key. `None` is not the same as an empty key.
    pub key: Option<&'a [u8]>,
    /// Opaque to the log; the layer above chooses the encoding.
    pub attributes: Option<&'a [u8]>,
    /// The payload.
    pub data: &'a [u8],
}

impl RecordParts<'_> {
    /// Bytes this record takes in a batch.
    pub fn encoded_len(&self) -> usize {
        RECORD_HEADER_BYTES
            + self.key.map_or(0, <[u8]>::len)
            + self.attributes.map_or(0, |a| 4 + a.len())
            + self.data.len()
    }

    /// Whether key, attributes and data are within their limits.
    pub fn within_limits(&self) -> bool {
        self.data.len() <= RECORD_DATA_BYTES_MAX
            && self.key.is_none_or(|k| k.len() <= KEY_BYTES_MAX)
            && self.attributes.is_none_or(|a| a.len() <= ATTRIBUTES_BYTES_MAX)
    }
}

/// A batch's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Checksum over the rest of the header, and so over the batch.
    pub checksum: u32,
    /// Checksum of the records.
    pub records_checksum: u32,
    /// Bytes of records.
    pub records_bytes: u32,
    /// Number of records, at least 1.
    pub count: u32,
    /// Sequence number of the first record.
    pub first: SequenceNumber,
    /// The journal frame that carried it.
    pub frame: u64,
    /// When its first record arrived, in milliseconds since 1970.
    pub first_arrival_ms: u64,
    /// When its last record arrived.
    pub last_arrival_ms: u64,
    /// [`KIND_RECORDS`] or [`KIND_BULK`].
    pub kind: u8,
}

impl BatchHeader {
    /// Reads and verifies a header.
    ///
    /// # Errors
    /// [`Damage`]: `Magic` for bytes that are no batch at all (zeros included), `Checksum`, `Bounds`, `Reserved`, `TooNew`.
    pub fn parse(bytes: &[u8; HEADER_BYTES], salt: Salt) -> Result<BatchHeader, Damage> {
        let mut d = Decoder::new(bytes);
        let checksum = d.u32()?;
        let records_checksum = d.u32()?;
        let records_bytes = d.u32()?;
        let count = d.u32()?;
        let first = d.u64()?;
        let frame = d.u64()?;
        let arrival = d.u64()?;
        let magic = d.u16()?;
        let version = d.u8()?;
        let kind = d.u8()?;
        let stored = d.u16()?;
        let zero = d.u16()?;
        if magic != MAGIC {
            return Err(Damage::Magic);
        }
        if !crate::seeded_bug!(HeaderNotInChecksum) && salt.checksum(&bytes[4..]) != checksum {
            return Err(Damage::Checksum);
        }
        if version != VERSION || stored != 0 {
            return Err(Damage::TooNew(u16::from(version).max(stored)));
        }
        if zero != 0 {
            return Err(Damage::Reserved);
        }
        let records_bytes_max = BATCH_BYTES_MAX - HEADER_BYTES;
        if !(kind == KIND_RECORDS || kind == KIND_BULK)
            || count == 0
            || count > BATCH_RECORDS_MAX
            || records_bytes as usize > records_bytes_max
            || (records_bytes as usize) < count as usize * RECORD_HEADER_BYTES + directory_bytes(count)
            || first.max(frame) >= COUNTER_END
        {
            return Err(Damage::Bounds);
        }
        let first_arrival_ms = arrival & ARRIVAL_MS_MAX;
        Ok(BatchHeader {
            checksum,
            records_checksum,
            records_bytes,
            count,
            first,
            frame,
            first_arrival_ms,
            last_arrival_ms: first_arrival_ms + (arrival >> 48),
            kind,
        })
    }

    fn encode(&self, out: &mut [u8], salt: Salt) -> u32 {
        out[4..8].copy_from_slice(&self.records_checksum.to_le_bytes());
        out[8..12].copy_from_slice(&self.records_bytes.to_le_bytes());
        out[12..16].copy_from_slice(&self.count.to_le_bytes());
        out[16..24].copy_from_slice(&self.first.to_le_bytes());
        out[24..32].copy_from_slice(&self.frame.to_le_bytes());
        let arrival = self.first_arrival_ms | (self.last_arrival_ms - self.first_arrival_ms) << 48;
        out[32..40].copy_from_slice(&arrival.to_le_bytes());
        out[40..42].copy_from_slice(&MAGIC.to_le_bytes());
        out[42] = VERSION;
        out[43] = self.kind;
        out[44..48].fill(0);
        let checksum = salt.checksum(&out[4..HEADER_BYTES]);
        out[..4].copy_from_slice(&checksum.to_le_bytes());
        checksum
    }

    /// Sequence number after the last record.
    pub fn end(&self) -> SequenceNumber {
        self.first + u64::from(self.count)
    }

    /// Bytes of the whole batch without its padding.
    pub fn len(&self) -> usize {
        HEADER_BYTES + self.records_bytes as usize
    }

    /// Never: a batch holds at least one record.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Bytes of the whole batch with its padding.
    pub fn padded_len(&self) -> usize {
        self.len().next_multiple_of(8)
    }

    /// Verifies the records that follow the header.
    pub fn verify_records(&self, records: &[u8], salt: Salt) -> Result<(), Damage> {
        if records.len() != self.records_bytes as usize {
            return Err(Damage::Short);
        }
        if salt.checksum(records) != self.records_checksum {
            return Err(Damage::Checksum);
        }
        Ok(())
    }
}

/// Bytes of the directory of a batch of `count` records.
const fn directory_bytes(count: u32) -> usize {
    (count.saturating_sub(1) as usize / DIRECTORY_STEP) * 4
}

/// Reads and verifies a whole batch at the front of `bytes`.
pub fn decode(bytes: &[u8], salt: Salt) -> Result<(BatchHeader, &[u8]), Damage> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(Damage::Short)?;
    let header = BatchHeader::parse(header, salt)?;
    let records = bytes.get(HEADER_BYTES..header.len()).ok_or(Damage::Short)?;
    header.verify_records(records, salt)?;
    Ok((header, records))
}

/// One record inside a batch, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Its number.
    pub sequence_number: SequenceNumber,
    /// When it arrived, in milliseconds since 1970.
    pub arrival_ms: u64,
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// Its attributes, if it has any.
    pub attributes: Option<&'a [u8]>,
    /// Its payload.
    pub data: &'a [u8],
}

/// A place in a batch to walk on from. Holds none of its bytes: whoever walks brings them along.
#[derive(Debug, Clone, Copy)]
pub struct Cursor {
    /// Where the next record starts among the records, and where the last one ends.
    offset: usize,
    end_offset: usize,
    next: SequenceNumber,
    end: SequenceNumber,
    base_arrival_ms: u64,
    /// See [`touch_ahead`].
    touch_bytes: usize,
}

impl Cursor {
    /// Before the first record of `header`'s batch.
    pub fn new(header: &BatchHeader) -> Self {
        Cursor {
            offset: 0,
            end_offset: (header.records_bytes as usize).saturating_sub(directory_bytes(header.count)),
            next: header.first,
            end: header.end(),
            base_arrival_ms: header.first_arrival_ms,
            touch_bytes: touch_bytes(header),
        }
    }

    /// Before the record of a directory entry; entry 0 is the first record.
    fn at_entry(header: &BatchHeader, records: &[u8], entry: usize) -> Self {
        let mut cursor = Cursor::new(header);
        if entry > 0 {
            let at = cursor.end_offset + (entry - 1) * 4;
            let position = records.get(at..at + 4).and_then(|bytes| bytes.first_chunk());
            // Missing, or out of bounds, only in bytes forged under a right checksum: then there is nothing to walk.
            cursor.offset = position.map_or(cursor.end_offset, |bytes| u32::from_le_bytes(*bytes) as usize);
            cursor.next += (entry * DIRECTORY_STEP) as u64;
        }
        cursor
    }

    /// Before the record `number` of `header`'s batch, whose verified bytes, directory included, are `records`. Found through
    /// the directory.
    pub fn at_number(header: &BatchHeader, records: &[u8], number: SequenceNumber) -> Self {
        let index = number.saturating_sub(header.first).min(u64::from(header.count.saturating_sub(1))) as usize;
        let mut cursor = Cursor::at_entry(header, records, index / DIRECTORY_STEP);
        while cursor.next < number && cursor.step(records).is_some_and(|record| record.is_ok()) {}
        cursor
    }

    /// Before the first record that arrived at or after `arrival_ms`, found through the directory; at the end if there is
    /// none.
    pub fn at_arrival(header: &BatchHeader, records: &[u8], arrival_ms: u64) -> Self {
        let before = |cursor: &mut Cursor| {
            cursor.step(records).is_some_and(|record| record.is_ok_and(|record| record.arrival_ms < arrival_ms))
        };
        // The last entry whose record arrived before that time, or the first record.
        let (mut entry, mut end) = (0, (header.count as usize).div_ceil(DIRECTORY_STEP));
        while end - entry > 1 {
            let middle = entry.midpoint(end);
            if before(&mut Cursor::at_entry(header, records, middle)) { entry = middle } else { end = middle }
        }
        let mut cursor = Cursor::at_entry(header, records, entry);
        loop {
            let mut after = cursor;
            if !before(&mut after) {
                return cursor;
            }
            cursor = after;
        }
    }

    /// The same, but to end before `upto`.
    pub fn until(self, upto: SequenceNumber) -> Self {
        Cursor { end: self.end.min(upto), ..self }
    }

    /// Number of the next record, if there is one.
    pub fn next_sequence_number(&self) -> SequenceNumber {
        self.next
    }

    /// The next record, and on to the one after it. An error, after which nothing follows, is only possible in bytes that
    /// were forged under a right checksum.
    #[inline]
    pub fn step<'a>(&mut self, records: &'a [u8]) -> Option<Result<RecordRef<'a>, Damage>> {
        if self.next >= self.end {
            return None;
        }
        let record = self.take(records);
        if record.is_none() {
            self.next = self.end;
        }
        Some(record.ok_or(Damage::Bounds))
    }

    #[inline]
    fn take<'a>(&mut self, records: &'a [u8]) -> Option<RecordRef<'a>> {
        let records = records.get(self.offset..self.end_offset)?;
        let (header, rest) = records.split_first_chunk::<RECORD_HEADER_BYTES>()?;
        let word = u64::from_le_bytes(*header);
        let data_len = (word & 0xff_ffff) as usize;
        let flags = (word >> 24) as u8;
        let key_len = (word >> 32 & 0xffff) as usize;
        let arrival_ms = self.base_arrival_ms + (word >> 48);
        let has_key = flags & FLAG_KEY != 0;
        if flags & !(FLAG_KEY | FLAG_ATTRIBUTES) != 0 || (!has_key && key_len != 0) {
            return None;
        }
        touch_ahead(rest, self.touch_bytes);
        let (key, attributes, data);
        if flags & FLAG_ATTRIBUTES == 0 {
            let body = rest.get(..key_len + data_len)?;
            attributes = None;
            (key, data) = body.split_at(key_len);
            self.offset += RECORD_HEADER_BYTES + body.len();
        } else {
            let (parts, len) = split_with_attributes(rest, key_len, data_len)?;
            (key, attributes, data) = (parts[0], Some(parts[1]), parts[2]);
            self.offset += RECORD_HEADER_BYTES + len;
        }
        let sequence_number = self.next;
        self.next += 1;
        Some(RecordRef { sequence_number, arrival_ms, key: has_key.then_some(key), attributes, data })
    }
}

/// Key, attributes and data, and how long they are together. Apart from the walk, so that what most records need is short
/// enough to become part of the caller's loop.
#[inline(never)]
fn split_with_attributes(rest: &[u8], key_len: usize, data_len: usize) -> Option<([&[u8]; 3], usize)> {
    let mut d = Decoder::new(rest);
    let attribute_len = d.u32().ok()? as usize;
    let parts = [d.bytes(key_len).ok()?, d.bytes(attribute_len).ok()?, d.bytes(data_len).ok()?];
    Some((parts, rest.len() - d.remaining()))
}

const CACHE_LINE_BYTES: usize = 64;
/// How far ahead of a walk memory is asked for.
const TOUCH_AHEAD_BYTES: usize = 256;
/// Not where records are this long: getting all of their bytes takes longer than waiting for the next one's header.
const TOUCH_RECORD_BYTES_MAX: usize = 1024;

/// What a walk over the batch touches at each record: as many lines as a record has, taking them all alike, since a number
/// that changes from record to record costs more in mispredicted loops than it saves.
fn touch_bytes(header: &BatchHeader) -> usize {
    let mean = (header.records_bytes / header.count.max(1)) as usize;
    if mean < TOUCH_RECORD_BYTES_MAX { mean.next_multiple_of(CACHE_LINE_BYTES) } else { 0 }
}

/// Asks for the memory a little ahead of a walk. Where the next record starts stands in this one, so the processor can't run
/// ahead; and hops of different lengths are no pattern to its prefetcher. So a walk would wait for memory at every record,
/// for longer than reading every byte takes. Line after line is a pattern.
#[inline]
fn touch_ahead(rest: &[u8], len: usize) {
    if let Some(ahead) = rest.get(TOUCH_AHEAD_BYTES..TOUCH_AHEAD_BYTES + len) {
        black_box(ahead.chunks_exact(CACHE_LINE_BYTES).fold(0, |seen, line| seen ^ line[0]));
    }
}

/// Walks the records of a verified batch.
#[derive(Clone)]
pub struct Records<'a> {
    records: &'a [u8],
    cursor: Cursor,
}

impl<'a> Records<'a> {
    /// The records of `header`'s batch, whose verified bytes, directory included, are `records`.
    pub fn new(header: &BatchHeader, records: &'a [u8]) -> Self {
        Records::from_cursor(Cursor::new(header), records)
    }

    /// The records from `cursor` on.
    pub fn from_cursor(cursor: Cursor, records: &'a [u8]) -> Self {
        Records { records, cursor }
    }

    /// Where the next record starts among the records.
    pub fn offset(&self) -> usize {
        self.cursor.offset
    }

    /// Bytes not walked yet.
    pub fn remaining(&self) -> usize {
        self.cursor.end_offset.saturating_sub(self.cursor.offset)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordRef<'a>, Damage>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.cursor.step(self.records)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.cursor.end.saturating_sub(self.cursor.next) as usize))
    }
}

/// Encodes records straight into what will be the bytes on disk.
#[derive(Debug)]
pub struct BatchBuilder {
    bytes: Vec<u8>,
    directory: Vec<u32>,
    first: SequenceNumber,
    count: u32,
    first_arrival_ms: u64,
    last_arrival_ms: u64,
}

impl BatchBuilder {
    /// An empty batch whose first record will have the number `first`, with room for `capacity` bytes of records.
    pub fn new(first: SequenceNumber, capacity: usize) -> Self {
        BatchBuilder::within(first, Vec::with_capacity(BatchBuilder::capacity_for(capacity)))
    }

    /// How much a buffer should hold for `records_bytes` of records, directory and padding included, so that finishing the
    /// batch moves nothing.
    pub fn capacity_for(records_bytes: usize) -> usize {
        let directory = records_bytes / RECORD_HEADER_BYTES / DIRECTORY_STEP * 4;
        HEADER_BYTES + records_bytes + directory.min(records_bytes / 64) + 16
    }

    /// As [`BatchBuilder::new`], in an empty buffer that is given.
    pub fn within(first: SequenceNumber, mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        bytes.resize(HEADER_BYTES, 0);
        BatchBuilder { bytes, directory: Vec::new(), first, count: 0, first_arrival_ms: 0, last_arrival_ms: 0 }
    }

    /// Whether a record of `encoded` bytes that arrives at `arrival_ms` may still join: a batch stays near `target` bytes
    /// unless a single record is longer, and spans at most 65 seconds.
    #[inline]
    pub fn accepts(&self, encoded: usize, arrival_ms: u64, target: usize) -> bool {
        self.count == 0
            || (self.records_bytes() + encoded <= target
                && self.count < BATCH_RECORDS_MAX
                && arrival_ms.max(self.last_arrival_ms) - self.first_arrival_ms <= SPAN_MS_MAX)
    }

    /// Appends a record, which the caller found within its limits. Arrival never decreases within a batch.
    #[inline]
    pub fn push(&mut self, record: &RecordParts<'_>, arrival_ms: u64) {
        let arrival_ms = arrival_ms.clamp(self.last_arrival_ms, ARRIVAL_MS_MAX);
        if self.count == 0 {
            self.first_arrival_ms = arrival_ms;
        }
        self.last_arrival_ms = arrival_ms;
        if self.count > 0 && (self.count as usize).is_multiple_of(DIRECTORY_STEP) {
            self.directory.push(self.records_bytes() as u32);
        }
        let after = arrival_ms - self.first_arrival_ms;
        let key_len = record.key.map_or(0, <[u8]>::len);
        let key_flag = u64::from(record.key.is_some()) * u64::from(FLAG_KEY);
        let flags = key_flag + u64::from(record.attributes.is_some()) * u64::from(FLAG_ATTRIBUTES);
        let word = record.data.len() as u64 | flags << 24 | (key_len as u64) << 32 | after << 48;
        self.bytes.extend_from_slice(&word.to_le_bytes());
        if let Some(attributes) = record.attributes {
            self.bytes.extend_from_slice(&(attributes.len() as u32).to_le_bytes());
        }
        if let Some(key) = record.key {
            self.bytes.extend_from_slice(key);
        }
        if let Some(attributes) = record.attributes {
            self.bytes.extend_from_slice(attributes);
        }
        self.bytes.extend_from_slice(record.data);
        self.count += 1;
    }

    /// Bytes the finished batch will have.
    pub fn encoded_len(&self) -> usize {
        (self.bytes.len() + self.directory.len() * 4).next_multiple_of(8)
    }

    /// Bytes of records so far, without the directory.
    pub fn records_bytes(&self) -> usize {
        self.bytes.len() - HEADER_BYTES
    }

    /// Records so far.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Number the next record gets.
    pub fn next(&self) -> SequenceNumber {
        self.first + u64::from(self.count)
    }

    /// Pads, checksums and hands over the bytes, with their header.
    pub fn finish(mut self, frame: u64, kind: u8, salt: Salt) -> (BatchHeader, Vec<u8>) {
        for position in &self.directory {
            self.bytes.extend_from_slice(&position.to_le_bytes());
        }
        let records_bytes = self.records_bytes();
        let mut header = BatchHeader {
            checksum: 0,
            records_checksum: salt.checksum(&self.bytes[HEADER_BYTES..]),
            records_bytes: records_bytes as u32,
            count: self.count,
            first: self.first,
            frame,
            first_arrival_ms: self.first_arrival_ms,
            last_arrival_ms: self.last_arrival_ms,
            kind,
        };
        header.checksum = header.encode(&mut self.bytes[..HEADER_BYTES], salt);
        self.bytes.resize(header.padded_len(), 0);
        (header, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SALT: Salt = Salt(0x1234_5678);
    /// An interpreter takes a minute for what a processor does in a millisecond.
    const RECORDS_MAX: usize = if cfg!(miri) { 10 } else { 70 };

    type Owned = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<u8>, u64);

    fn record() -> impl Strategy<Value = Owned> {
        let bytes = |n| proptest::collection::vec(any::<u8>(), 0..n);
        (proptest::option::of(bytes(40)), proptest::option::of(bytes(60)), bytes(300), 0..50u64)
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(records in proptest::collection::vec(record(), 1..RECORDS_MAX), first in 0..COUNTER_END / 2) {
            let mut builder = BatchBuilder::new(first, 0);
            let mut now = 5_000;
            let mut expected = vec![];
            for (key, attributes, data, later) in &records {
                now += later;
                builder.push(&RecordParts { key: key.as_deref(), attributes: attributes.as_deref(), data }, now);
                expected.push((key.clone(), attributes.clone(), data.clone(), now));
            }
            let (header, bytes) = builder.finish(9, KIND_RECORDS, SALT);
            let (parsed, body) = decode(&bytes, SALT).unwrap();
            prop_assert_eq!(parsed, header);
            prop_assert_eq!(bytes.len(), header.padded_len());
            prop_assert_eq!(header.last_arrival_ms, now);
            let read: Vec<_> = Records::new(&parsed, body).map(|r| r.unwrap()).collect();
            prop_assert_eq!(read.len(), expected.len());
            for (i, (got, want)) in read.iter().zip(&expected).enumerate() {
                prop_assert_eq!(got.sequence_number, first + i as u64);
                prop_assert_eq!(got.key, want.0.as_deref());
                prop_assert_eq!(got.attributes, want.1.as_deref());
                prop_assert_eq!(got.data, &want.2[..]);
                prop_assert_eq!(got.arrival_ms, want.3);
                let mut cursor = Cursor::at_number(&parsed, body, got.sequence_number);
                prop_assert_eq!(cursor.step(body).unwrap().unwrap(), *got);
                let earliest = read.iter().find(|r| r.arrival_ms >= got.arrival_ms).unwrap();
                let mut cursor = Cursor::at_arrival(&parsed, body, got.arrival_ms);
                prop_assert_eq!(cursor.next_sequence_number(), earliest.sequence_number);
                prop_assert_eq!(cursor.step(body).unwrap().unwrap(), *earliest);
                let mut until = Cursor::at_number(&parsed, body, first).until(got.sequence_number);
                prop_assert_eq!(std::iter::from_fn(|| until.step(body)).count(), i);
            }
            prop_assert!(Cursor::at_number(&parsed, body, parsed.end()).step(body).is_none());
            prop_assert!(Cursor::at_arrival(&parsed, body, now + 1).step(body).is_none());
            prop_assert_eq!(Cursor::at_arrival(&parsed, body, 0).next_sequence_number(), first);
        }

        /// What was forged under right checksums is found out, or walked to some end: never a panic, never more records than
        /// the header says.
        #[test]
        fn forged_records_and_directories_are_walked_to_an_end(
            records in proptest::collection::vec(record(), 1..RECORDS_MAX),
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..12),
            cut in 0..200usize,
        ) {
            let mut builder = BatchBuilder::new(7, 0);
            for (key, attributes, data, later) in &records {
                let parts = RecordParts { key: key.as_deref(), attributes: attributes.as_deref(), data };
                builder.push(&parts, 5_000 + later);
            }
            let (header, bytes) = builder.finish(9, KIND_RECORDS, SALT);
            let mut body = bytes[HEADER_BYTES..header.len()].to_vec();
            for (at, value) in changes {
                let at = at.index(body.len());
                body[at] = value;
            }
            let cut_body = &body[..body.len().saturating_sub(cut)];
            for body in [&body[..], cut_body] {
                prop_assert!(Records::new(&header, body).count() <= records.len());
                for number in 0..header.end() + 20 {
                    let mut cursor = Cursor::at_number(&header, body, number).until(header.end() - 1);
                    let walked = std::iter::from_fn(|| cursor.step(body)).count();
                    prop_assert!(walked <= records.len());
                }
                for arrival_ms in 4_999..5_060 {
                    let cursor = Cursor::at_arrival(&header, body, arrival_ms);
                    prop_assert!(Records::from_cursor(cursor, body).count() <= records.len());
                }
            }
        }

        #[test]
        fn no_bytes_panic_the_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok((header, records)) = decode(&bytes, SALT) {
                Records::new(&header, records).for_each(drop);
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_detected_or_in_the_padding() {
        let mut builder = BatchBuilder::new(7, 0);
        builder.push(&RecordParts { key: Some(b"k"), attributes: None, data: b"hi" }, 1000);
        let (header, bytes) = builder.finish(3, KIND_RECORDS, SALT);
        for bit in (0..bytes.len() * 8).step_by(crate::format::ONE_IN) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped, SALT).is_err(), bit / 8 < header.len(), "bit {bit}");
        }
        for len in 0..header.len() {
            assert!(decode(&bytes[..len], SALT).is_err(), "cut to {len}");
        }
        assert!(decode(&bytes, Salt(1)).is_err(), "another log's salt");
    }

    #[test]
    fn zeros_are_no_batch() {
        assert_eq!(decode(&[0; 64], SALT).unwrap_err(), Damage::Magic);
    }
}
