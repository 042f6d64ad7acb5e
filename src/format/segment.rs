//! The header of a segment, or of a piece of a pack. Batches follow it, see [`super::batch`].
//!
//! ```text
//!         0     1     2     3     4     5     6     7
//!       +-----+-----+-----+-----+-----+-----+-----+-----+
//!     0 | magic "BLSG"          | version   | zero      |
//!     8 | origin id of the store (16)                     |
//!    24 | log id                                          |
//!    32 | segment id                                      |
//!    40 | first sequence number                           |
//!    48 | bytes of the piece, this header included; or 0  |
//!    56 | zero                  | checksum of bytes 0..60 |
//!       +-----+-----+-----+-----+-----+-----+-----+-----+
//! ```
//!
//! A *segment* is a file of one log. A *pack* is a file of many: what a checkpoint had of logs of which each had little. It
//! begins with a header whose log is 0, and *pieces* follow it without a gap, each a header that says its log, its first
//! number and its length, then the batches. A row of the log names the file and where in it the piece starts; a segment
//! starts at 0.
//!
//! How far a segment is valid is not in it but in the manifest and the journal: bytes beyond that end mean nothing, even
//! if they look like batches. Between batches there may be zeros up to the next 4 KiB boundary, see
//! [`next_batch`].

use super::checksum::Salt;
use super::manifest::SegmentRow;
use super::{Damage, Decoder, Encoder, batch};
use crate::id::{LogId, SegmentId, SequenceNumber, StoreId};

/// Where the first batch starts.
pub const HEADER_BYTES: usize = 64;
/// Boundary on which bulk batches start, and what follows them.
pub const BULK_ALIGNMENT: u64 = 4096;

const MAGIC: [u8; 4] = *b"BLSG";
const VERSION: u16 = 1;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The store the file came from.
    pub origin: StoreId,
    /// The log it is a part of.
    pub log: LogId,
    /// Its own id.
    pub segment: SegmentId,
    /// Number of its first record.
    pub base: SequenceNumber,
    /// Of a piece of a pack: its bytes, this header included. 0 for a file.
    pub bytes: u64,
}

impl SegmentHeader {
    /// The header at the front of a pack.
    pub fn of_pack(origin: StoreId, segment: SegmentId) -> SegmentHeader {
        SegmentHeader { origin, log: LogId(0), segment, base: 0, bytes: 0 }
    }

    /// Whether it is the front of a pack.
    pub fn is_pack(&self) -> bool {
        self.log == LogId(0)
    }

    /// The row of the segment while it has no records.
    pub(crate) fn empty_row(&self) -> SegmentRow {
        SegmentRow {
            id: self.segment,
            start: 0,
            base: self.base,
            end: self.base,
            bytes: HEADER_BYTES as u64,
            first_arrival_ms: 0,
            last_arrival_ms: 0,
        }
    }

    /// The bytes at the front of the file, or of the piece.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.put_bytes(&MAGIC);
        out.put_u16(VERSION);
        out.put_u16(0);
        out.put_bytes(&self.origin.0);
        out.put_u64(self.log.0);
        out.put_u64(self.segment.0);
        out.put_u64(self.base);
        out.put_u64(self.bytes);
        out.put_u32(0);
        out.put_u32(Salt::segment(self.origin, self.segment).checksum(&out));
        let mut header = [0; HEADER_BYTES];
        header.copy_from_slice(&out);
        header
    }

    /// Reads and verifies a header.
    pub fn parse(bytes: &[u8]) -> Result<SegmentHeader, Damage> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(Damage::Short)?;
        let mut d = Decoder::new(bytes);
        if d.array()? != MAGIC {
            return Err(Damage::Magic);
        }
        let version = d.u16()?;
        let zero = d.u16()?;
        let header = SegmentHeader {
            origin: StoreId(d.array()?),
            log: LogId(d.counter()?),
            segment: SegmentId(d.counter()?),
            base: d.counter()?,
            bytes: d.counter()?,
        };
        let zeros = d.u32()?;
        if Salt::segment(header.origin, header.segment).checksum(&bytes[..60]) != d.u32()? {
            return Err(Damage::Checksum);
        }
        if version != VERSION {
            return Err(Damage::TooNew(version));
        }
        if zero != 0 || zeros != 0 {
            return Err(Damage::Reserved);
        }
        Ok(header)
    }
}

/// Where the batch after one that starts at `position` may start: the rule that says where padding lies.
pub fn next_batch(position: u64, header: &batch::BatchHeader) -> u64 {
    let end = position + header.padded_len() as u64;
    if header.kind == batch::KIND_BULK { end.next_multiple_of(BULK_ALIGNMENT) } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_header_is_detected() {
        let (origin, segment) = (StoreId([7; 16]), SegmentId(9));
        let header = SegmentHeader { origin, log: LogId(0x5001), segment, base: 1 << 40, bytes: 0 };
        for header in [header, SegmentHeader { bytes: 640, ..header }, SegmentHeader::of_pack(origin, segment)] {
            let bytes = header.encode();
            assert_eq!(SegmentHeader::parse(&bytes), Ok(header));
            for bit in (0..bytes.len() * 8).step_by(crate::format::ONE_IN) {
                let mut flipped = bytes;
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(SegmentHeader::parse(&flipped).is_err(), "bit {bit}");
            }
        }
    }
}
