//! Where a record belongs: partition key, hash key, and the ranges that shards own.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A point of the hash space: a number from 0 to 2^128 - 1.
///
/// ```
/// use braidlog::stream::HashKey;
/// let key = HashKey::of_partition_key("user1");
/// assert_eq!(key.to_string().parse::<HashKey>()?, key);
/// assert!("340282366920938463463374607431768211456".parse::<HashKey>().is_err());
/// # Ok::<(), braidlog::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashKey(pub u128);

impl HashKey {
    /// The lowest.
    pub const MIN: HashKey = HashKey(0);
    /// The highest.
    pub const MAX: HashKey = HashKey(u128::MAX);

    /// The MD5 of the partition key's UTF-8 bytes, read as a big-endian number (Kinesis Data Streams API, `PutRecord`).
    pub fn of_partition_key(partition_key: &str) -> HashKey {
        HashKey(u128::from_be_bytes(md5::compute(partition_key).0))
    }
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for HashKey {
    type Err = Error;

    /// Reads a decimal number without sign or leading zeros, as the API has it: `0|([1-9]\d{0,38})`.
    fn from_str(text: &str) -> Result<HashKey> {
        let canonical = text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
        match text.parse() {
            Ok(key) if canonical => Ok(HashKey(key)),
            _ => Err(Error::invalid("hash key", text, "it must be a decimal number from 0 to 2^128 - 1")),
        }
    }
}

/// The hash keys from `start` to `end`, both included.
///
/// ```
/// use braidlog::stream::{HashKey, HashKeyRange};
/// let ranges = HashKeyRange::uniform(3);
/// assert_eq!(ranges[0].start, HashKey::MIN);
/// assert_eq!(ranges[2].end, HashKey::MAX);
/// assert!(ranges[1].contains(HashKey(u128::MAX / 2)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HashKeyRange {
    /// First hash key.
    pub start: HashKey,
    /// Last hash key.
    pub end: HashKey,
}

impl HashKeyRange {
    /// The whole hash space.
    pub const ALL: HashKeyRange = HashKeyRange { start: HashKey::MIN, end: HashKey::MAX };

    /// Whether it holds `key`.
    pub fn contains(self, key: HashKey) -> bool {
        self.start <= key && key <= self.end
    }

    /// Its number of hash keys, less one: so that the whole space has one.
    pub fn width(self) -> u128 {
        self.end.0 - self.start.0
    }

    /// The whole space in `count` ranges: all floor(2^128 / count) wide, but for the last, which takes the remainder.
    pub fn uniform(count: u32) -> Vec<HashKeyRange> {
        if count <= 1 {
            return vec![HashKeyRange::ALL];
        }
        let count = u128::from(count);
        // 2^128 / count without 2^128: the quotient of 2^128 - 1, plus one where count divides 2^128.
        let step = u128::MAX / count + u128::from(u128::MAX % count == count - 1);
        (0..count)
            .map(|i| HashKeyRange {
                start: HashKey(i * step),
                end: if i + 1 == count { HashKey::MAX } else { HashKey((i + 1) * step - 1) },
            })
            .collect()
    }
}

impl fmt::Display for HashKeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_ranges_tile_the_space() {
        for count in [1, 2, 3, 4, 7, 64, 1000, 10_000] {
            let ranges = HashKeyRange::uniform(count);
            assert_eq!(ranges.len(), count as usize);
            assert_eq!((ranges[0].start, ranges[ranges.len() - 1].end), (HashKey::MIN, HashKey::MAX));
            for pair in ranges.windows(2) {
                assert_eq!(pair[0].end.0 + 1, pair[1].start.0);
                assert!(pair[0].width() <= pair[1].width());
            }
        }
        // What AWS gives a stream of two shards.
        let half = "170141183460469231731687303715884105727".parse::<HashKey>().unwrap();
        assert_eq!(HashKeyRange::uniform(2)[0].end, half);
    }

    #[test]
    fn the_md5_of_a_partition_key_is_a_big_endian_number() {
        // RFC 1321, A.5: the MD5 of "a" is 0cc175b9c0f1b6a831c399e269772661.
        assert_eq!(HashKey::of_partition_key("a").0, 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
    }

    #[test]
    fn only_plain_decimal_numbers_are_hash_keys() {
        for bad in ["", "-1", "+1", "01", "1.0", " 1", "a", "340282366920938463463374607431768211456"] {
            assert!(matches!(bad.parse::<HashKey>(), Err(Error::InvalidArgument { .. })), "{bad:?}");
        }
        assert_eq!("0".parse::<HashKey>().unwrap(), HashKey::MIN);
    }
}
