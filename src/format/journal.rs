//! Journal frames: one turn of appends to any number of logs, all or nothing.
//!
//! ```text
//!         0     1     2     3     4     5     6     7
//!       +-----+-----+-----+-----+-----+-----+-----+-----+
//!     0 | checksum of 4..D      | magic "BLJF"            |
//!     8 | frame number                                    |
//!    16 | generation                                      |
//!    24 | highest frame known to be on stable storage     |
//!    32 | checksum of the frame before | version | zero   |
//!    40 | bytes of the frame    | number of entries       |
//!    48 | highest time stamp, ms                          |
//!    56 | zero                                            |
//!    64 | entries, 32 bytes each, up to D                 |
//!     D | payloads in the order of the entries, each      |
//!       | padded to 8 bytes; zeros up to 4 KiB            |
//!       +-----+-----+-----+-----+-----+-----+-----+-----+
//!
//!     entry
//!     0 | kind|group| zero      | bytes of payload        |
//!     8 | log id (or 0)                                   |
//!    16 | first sequence number, horizon or end           |
//!    24 | number of records     | checksum of payload     |
//! ```
//!
//! A frame starts on a 4 KiB boundary of a preallocated file and never spans two. The checksum covers header and entries;
//! the entries' checksums cover the payloads, and for a batch that is the checksum in its own header, so payload bytes are
//! summed once. The salt is that of the frame's generation.
//!
//! Versions to come keep the header's 64 bytes where they are and what its checksum covers, so that a frame is too new
//! only if it verifies: a flipped bit in the version of an old frame is damage, and refuses no store.
//!
//! A *group* other than 0 marks the entries of one transaction: if one of them can't be applied, none is.
//!
//! # Where the journal ends
//!
//! Frame numbers only grow. A frame that does not verify ends the journal **unless** a later frame proves that it had been
//! durable: one with a higher number, valid under a known generation, whose *highest frame known to be on stable storage*
//! is at or above the missing number. Then it is damage. The bytes after the end are never read as frames again, because
//! the manifest step that opening writes names the end and starts a new generation.

use super::checksum::Salt;
use super::{Damage, Decoder, Encoder};
use crate::id::{LogId, StoreId};
use crate::limits::JOURNAL_FILE_BYTES_MAX;

/// Bytes before the entries.
pub const HEADER_BYTES: usize = 64;
/// Bytes of one entry.
pub const ENTRY_BYTES: usize = 32;
/// Frames start on, and are padded to, this boundary.
pub const FRAME_ALIGNMENT: usize = 4096;

const MAGIC: [u8; 4] = *b"BLJF";
const VERSION: u16 = 1;

/// What an entry says happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum EntryKind {
    /// A batch of records; the payload is the batch.
    Batch = 1,
    /// A log was created; the payload is its [`super::manifest::LogRow`].
    CreateLog = 2,
    /// A log was deleted.
    DeleteLog = 3,
    /// The trim horizon moved up to `first`.
    Trim = 4,
    /// All of a log below `first` is durable in segments; the payload is its row as of here.
    Settle = 5,
    /// A buffered log is about to be written; the payload is its row, with the numbers reserved for it.
    Touch = 6,
    /// A log takes no more records: it ends at `first`.
    CloseLog = 7,
    /// Nothing happened; the frame itself says what was durable.
    Mark = 8,
    /// A log's options changed; the payload is its row.
    SetOptions = 9,
}

impl EntryKind {
    fn of(kind: u8) -> Option<EntryKind> {
        use EntryKind::*;
        [Batch, CreateLog, DeleteLog, Trim, Settle, Touch, CloseLog, Mark, SetOptions]
            .into_iter()
            .find(|k| *k as u8 == kind)
    }
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Covers header and entries; the next frame repeats it.
    pub checksum: u32,
    /// Its number.
    pub frame: u64,
    /// The generation it belongs to: one per time the store was opened.
    pub generation: u64,
    /// Highest frame known to be on stable storage when this one was written.
    pub durable: u64,
    /// Checksum of the frame before; 0 for the first of a generation.
    pub previous: u32,
    /// Bytes of the whole frame, padding included.
    pub length: u32,
    /// Number of entries.
    pub entries: u32,
    /// Highest time stamp given out so far, in milliseconds since 1970.
    pub stamp_ms: u64,
}

/// One entry of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What happened.
    pub kind: EntryKind,
    /// The transaction it belongs to within the frame; 0 for none.
    pub group: u8,
    /// To which log; `LogId(0)` for none.
    pub log: LogId,
    /// First sequence number, horizon or end.
    pub first: u64,
    /// Number of records.
    pub count: u32,
    /// Bytes of payload.
    pub length: u32,
    /// Checksum of the payload; for a batch, the one in its header.
    pub checksum: u32,
}

impl FrameHeader {
    /// Reads a header's fields without verifying its checksum, which also needs the entries. Bounds are checked, so that
    /// the lengths can be trusted to be sane. Also its version, and whether what must be zero is.
    pub(crate) fn parse(bytes: &[u8]) -> Result<(FrameHeader, u16, bool), Damage> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(Damage::Short)?;
        let mut d = Decoder::new(bytes);
        let checksum = d.u32()?;
        if d.array()? != MAGIC {
            return Err(Damage::Magic);
        }
        let (frame, generation, durable) = (d.counter()?, d.counter()?, d.counter()?);
        let (previous, version, zero) = (d.u32()?, d.u16()?, d.u16()?);
        let (length, entries, stamp_ms) = (d.u32()?, d.u32()?, d.u64()?);
        let zero = (zero, d.u64()?);
        if u64::from(length) > JOURNAL_FILE_BYTES_MAX
            || !(length as usize).is_multiple_of(FRAME_ALIGNMENT)
            || (length as usize) < HEADER_BYTES
            || entries as usize > (length as usize - HEADER_BYTES) / ENTRY_BYTES
        {
            return Err(Damage::Bounds);
        }
        let header = FrameHeader { checksum, frame, generation, durable, previous, length, entries, stamp_ms };
        Ok((header, version, zero == (0, 0)))
    }
}

/// A frame read back: header and entries verified, payloads not yet.
#[derive(Debug, Clone)]
pub struct Frame<'a> {
    /// Its header.
    pub header: FrameHeader,
    /// Its entries with their payload bytes.
    pub entries: Vec<(Entry, &'a [u8])>,
}

/// Whether `bytes` may be the start of a frame: a cheap test for the scan that looks for later frames.
pub fn looks_like_frame(bytes: &[u8]) -> bool {
    bytes.get(4..8) == Some(&MAGIC[..])
}

/// Reads the frame at the front of `bytes` and verifies its header and entries, but not the payloads.
pub fn decode(bytes: &[u8], origin: StoreId) -> Result<Frame<'_>, Damage> {
    let (header, version, zero) = FrameHeader::parse(bytes)?;
    let directory_end = HEADER_BYTES + header.entries as usize * ENTRY_BYTES;
    let summed = bytes.get(4..directory_end).ok_or(Damage::Short)?;
    if Salt::frames(origin, header.generation).checksum(summed) != header.checksum {
        return Err(Damage::Checksum);
    }
    if version != VERSION {
        return Err(Damage::TooNew(version));
    }
    if !zero {
        return Err(Damage::Reserved);
    }
    let body = bytes.get(directory_end..header.length as usize).ok_or(Damage::Short)?;
    let mut directory = Decoder::new(&bytes[HEADER_BYTES..directory_end]);
    let mut payloads = Decoder::new(body);
    let mut entries = Vec::with_capacity(header.entries as usize);
    for _ in 0..header.entries {
        let (kind, group, zero, length) = (directory.u8()?, directory.u8()?, directory.u16()?, directory.u32()?);
        let (log, first) = (LogId(directory.counter()?), directory.counter()?);
        let (count, checksum) = (directory.u32()?, directory.u32()?);
        let kind = EntryKind::of(kind).ok_or(Damage::Bounds)?;
        if zero != 0 {
            return Err(Damage::Reserved);
        }
        let payload = payloads.bytes((length as usize).next_multiple_of(8)).map_err(|_| Damage::Bounds)?;
        entries.push((Entry { kind, group, log, first, count, length, checksum }, &payload[..length as usize]));
    }
    Ok(Frame { header, entries })
}

impl Entry {
    /// Verifies the payload of an entry that is not a batch. A batch's is verified by [`super::batch::decode`].
    pub fn verify(&self, payload: &[u8], origin: StoreId, generation: u64) -> Result<(), Damage> {
        if Salt::frames(origin, generation).checksum(payload) == self.checksum { Ok(()) } else { Err(Damage::Checksum) }
    }
}

/// What a frame of these payload lengths takes on disk.
pub fn frame_len(payloads: impl IntoIterator<Item = usize>) -> usize {
    let (count, bytes) =
        payloads.into_iter().fold((0, 0), |(count, bytes), n: usize| (count + 1, bytes + n.next_multiple_of(8)));
    (HEADER_BYTES + count * ENTRY_BYTES + bytes).next_multiple_of(FRAME_ALIGNMENT)
}

/// Encodes header and entries: the front of a frame. The payloads, each padded to 8 bytes, and the padding follow.
/// Returns the bytes and the frame's checksum. `header.checksum`, `header.length` and `header.entries` are worked out here.
pub fn encode_front(header: &FrameHeader, entries: &[Entry], origin: StoreId) -> (Vec<u8>, u32) {
    let length = frame_len(entries.iter().map(|e| e.length as usize));
    let mut out = Vec::with_capacity(HEADER_BYTES + entries.len() * ENTRY_BYTES);
    out.put_u32(0);
    out.put_bytes(&MAGIC);
    out.put_u64(header.frame);
    out.put_u64(header.generation);
    out.put_u64(header.durable);
    out.put_u32(header.previous);
    out.put_u16(VERSION);
    out.put_u16(0);
    out.put_u32(length as u32);
    out.put_u32(entries.len() as u32);
    out.put_u64(header.stamp_ms);
    out.put_u64(0);
    for entry in entries {
        out.put_u8(entry.kind as u8);
        out.put_u8(entry.group);
        out.put_u16(0);
        out.put_u32(entry.length);
        out.put_u64(entry.log.0);
        out.put_u64(entry.first);
        out.put_u32(entry.count);
        out.put_u32(entry.checksum);
    }
    let checksum = Salt::frames(origin, header.generation).checksum(&out[4..]);
    out[..4].copy_from_slice(&checksum.to_le_bytes());
    (out, checksum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (StoreId, Vec<u8>) {
        let origin = StoreId([1; 16]);
        let payload = b"row of a log";
        let header = FrameHeader {
            checksum: 0,
            frame: 12,
            generation: 3,
            durable: 10,
            previous: 77,
            length: 0,
            entries: 0,
            stamp_ms: 1_000,
        };
        let checksum = Salt::frames(origin, 3).checksum(payload);
        let create = Entry {
            kind: EntryKind::CreateLog,
            group: 1,
            log: LogId(4096),
            first: 0,
            count: 0,
            length: payload.len() as u32,
            checksum,
        };
        let trim = Entry {
            kind: EntryKind::Trim,
            length: 0,
            first: 9,
            checksum: Salt::frames(origin, 3).checksum(b""),
            ..create
        };
        let (mut bytes, _) = encode_front(&header, &[create, trim], origin);
        bytes.extend_from_slice(payload);
        bytes.resize(FRAME_ALIGNMENT, 0);
        (origin, bytes)
    }

    #[test]
    fn what_goes_in_comes_out() {
        let (origin, bytes) = sample();
        let frame = decode(&bytes, origin).unwrap();
        assert_eq!((frame.header.frame, frame.header.durable, frame.header.length), (12, 10, 4096));
        assert_eq!(frame.entries.len(), 2);
        assert_eq!(frame.entries[0].1, b"row of a log");
        frame.entries.iter().for_each(|(e, p)| e.verify(p, origin, 3).unwrap());
    }

    #[test]
    fn every_flipped_bit_is_detected_or_in_the_padding() {
        let (origin, bytes) = sample();
        let used = HEADER_BYTES + 2 * ENTRY_BYTES + 12;
        for bit in (0..(used + 40) * 8).step_by(crate::format::ONE_IN) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let good = decode(&flipped, origin)
                .is_ok_and(|f| f.entries.iter().all(|(e, p)| e.verify(p, origin, f.header.generation).is_ok()));
            assert_eq!(good, bit / 8 >= used, "bit {bit}");
        }
        assert!(decode(&bytes[..4095], origin).is_err());
    }
}
