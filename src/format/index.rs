//! The sparse index of a sealed segment: a cache, rebuilt from the segment whenever it is missing or damaged.
//!
//! ```text
//!         0     1     2     3     4     5     6     7
//!       +-----+-----+-----+-----+-----+-----+-----+-----+
//!     0 | magic "BLIX"          | version   | zero      |
//!     8 | segment id                                      |
//!    16 | first sequence number of the segment            |
//!    24 | arrival of its first record, ms                 |
//!    32 | end of the bytes it covers                      |
//!    40 | number of entries     | checksum of entries     |
//!    48 | zero                                            |
//!    56 | zero                  | checksum of bytes 0..60 |
//!    64 | entries, 16 bytes each                          |
//!       +-----+-----+-----+-----+-----+-----+-----+-----+
//!
//!     entry: the first batch in a stretch of 16 KiB
//!     0 | number - base         | position               |
//!     8 | arrival - arrival of the first                 |
//! ```

use super::checksum::Salt;
use super::{Damage, Decoder, Encoder};
use crate::id::{SegmentId, SequenceNumber, StoreId};
use crate::limits::SEGMENT_BYTES_MAX;

const MAGIC: [u8; 4] = *b"BLIX";
const VERSION: u16 = 1;
/// Bytes before the entries.
pub const HEADER_BYTES: usize = 64;
/// Bytes of one entry.
pub const ENTRY_BYTES: usize = 16;

/// Where one batch starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// Its first sequence number, less the segment's.
    pub number: u32,
    /// Its position in the segment.
    pub position: u32,
    /// Arrival of its first record, less that of the segment's first.
    pub arrival: u64,
}

/// What an index file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentIndex {
    /// The segment it belongs to.
    pub segment: SegmentId,
    /// The segment's first sequence number.
    pub base: SequenceNumber,
    /// Arrival of the segment's first record, in milliseconds since 1970.
    pub base_arrival_ms: u64,
    /// How far into the segment the entries reach.
    pub covered: u64,
    /// Rising in all three fields.
    pub entries: Vec<IndexEntry>,
}

impl SegmentIndex {
    /// The bytes of the file.
    pub fn encode(&self, origin: StoreId) -> Vec<u8> {
        let salt = Salt::segment(origin, self.segment);
        let mut entries = Vec::with_capacity(self.entries.len() * ENTRY_BYTES);
        for entry in &self.entries {
            entries.put_u32(entry.number);
            entries.put_u32(entry.position);
            entries.put_u64(entry.arrival);
        }
        let mut out = Vec::with_capacity(HEADER_BYTES + entries.len());
        out.put_bytes(&MAGIC);
        out.put_u16(VERSION);
        out.put_u16(0);
        out.put_u64(self.segment.0);
        out.put_u64(self.base);
        out.put_u64(self.base_arrival_ms);
        out.put_u64(self.covered);
        out.put_u32(self.entries.len() as u32);
        out.put_u32(salt.checksum(&entries));
        out.put_u64(0);
        out.put_u32(0);
        out.put_u32(salt.checksum(&out));
        out.put_bytes(&entries);
        out
    }

    /// Reads and verifies an index file.
    pub fn decode(bytes: &[u8], origin: StoreId) -> Result<SegmentIndex, Damage> {
        let mut d = Decoder::new(bytes);
        if d.array()? != MAGIC {
            return Err(Damage::Magic);
        }
        let version = d.u16()?;
        let zero = d.u16()?;
        let segment = SegmentId(d.counter()?);
        let (base, base_arrival_ms, covered) = (d.counter()?, d.u64()?, d.counter()?);
        let (count, entries_checksum) = (d.u32()? as usize, d.u32()?);
        let zeros = (d.u64()?, d.u32()?);
        let salt = Salt::segment(origin, segment);
        if salt.checksum(&bytes[..60]) != d.u32()? {
            return Err(Damage::Checksum);
        }
        if version != VERSION {
            return Err(Damage::TooNew(version));
        }
        if zero != 0 || zeros != (0, 0) {
            return Err(Damage::Reserved);
        }
        if covered > SEGMENT_BYTES_MAX + (64 << 20) || count.checked_mul(ENTRY_BYTES) != Some(d.remaining()) {
            return Err(Damage::Bounds);
        }
        if salt.checksum(&bytes[HEADER_BYTES..]) != entries_checksum {
            return Err(Damage::Checksum);
        }
        let mut entries: Vec<IndexEntry> = Vec::with_capacity(count);
        for _ in 0..count {
            let entry = IndexEntry { number: d.u32()?, position: d.u32()?, arrival: d.u64()? };
            if u64::from(entry.position) >= covered
                || entries.last().is_some_and(|last| {
                    last.number >= entry.number || last.position >= entry.position || last.arrival > entry.arrival
                })
            {
                return Err(Damage::Bounds);
            }
            entries.push(entry);
        }
        Ok(SegmentIndex { segment, base, base_arrival_ms, covered, entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_truncation_is_detected() {
        let origin = StoreId([3; 16]);
        let index = SegmentIndex {
            segment: SegmentId(4),
            base: 100,
            base_arrival_ms: 9_000,
            covered: 70_000,
            entries: (0..4)
                .map(|i| IndexEntry { number: i * 10, position: 64 + i * 16_384, arrival: u64::from(i) })
                .collect(),
        };
        let bytes = index.encode(origin);
        assert_eq!(SegmentIndex::decode(&bytes, origin).unwrap(), index);
        for bit in (0..bytes.len() * 8).step_by(crate::format::ONE_IN) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentIndex::decode(&flipped, origin).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(SegmentIndex::decode(&bytes[..len], origin).is_err(), "cut to {len}");
        }
    }
}
