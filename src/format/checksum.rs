//! Salted CRC-32.

use crc32fast::Hasher;

use crate::id::{LogId, SegmentId, StoreId};

/// The value a checksum starts from. Bytes that verify under one salt don't under another, so leftovers of another
/// store, log or generation never pass for what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub u32);

impl Salt {
    /// Salt of a store's `STORE` file, which can't know its own identity beforehand.
    pub const STORE: Salt = Salt(0x5354_4f52);

    fn mix(origin: StoreId, kind: u8, detail: u64) -> Salt {
        let mut hasher = Hasher::new();
        hasher.update(&origin.0);
        hasher.update(&[kind]);
        hasher.update(&detail.to_le_bytes());
        Salt(hasher.finalize())
    }

    /// Salt of a log's batches, in journal and segments alike: the same bytes stand in both.
    pub fn batches(origin: StoreId, log: LogId) -> Salt {
        if crate::seeded_bug!(UnsaltedChecksum) {
            return Salt(0);
        }
        Salt::mix(origin, b'b', log.0)
    }

    /// Salt of the frames of one generation of the journal.
    pub fn frames(origin: StoreId, generation: u64) -> Salt {
        if crate::seeded_bug!(UnsaltedChecksum) {
            return Salt(0);
        }
        Salt::mix(origin, b'j', generation)
    }

    /// Salt of a segment's header and index.
    pub fn segment(origin: StoreId, segment: SegmentId) -> Salt {
        Salt::mix(origin, b's', segment.0)
    }

    /// Salt of one manifest file.
    pub fn manifest(origin: StoreId, number: u64) -> Salt {
        Salt::mix(origin, b'm', number)
    }

    /// For sums taken a piece at a time.
    pub fn hasher(self) -> Hasher {
        Hasher::new_with_initial(self.0)
    }

    /// Checksum of `bytes` under this salt.
    pub fn checksum(self, bytes: &[u8]) -> u32 {
        let mut hasher = Hasher::new_with_initial(self.0);
        hasher.update(bytes);
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn salts_tell_logs_apart() {
        let origin = StoreId([1; 16]);
        assert_ne!(Salt::batches(origin, LogId(1)), Salt::batches(origin, LogId(2)));
        assert_ne!(Salt::batches(origin, LogId(1)), Salt::batches(StoreId([2; 16]), LogId(1)));
        assert_ne!(Salt::frames(origin, 1), Salt::frames(origin, 2));
    }
}
