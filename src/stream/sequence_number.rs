//! Sequence numbers of a shard: computed from what the log knows, never stored.
//!
//! The layout is that of the service's current numbers (version 2), as public re-implementations have decoded it. 47
//! hexadecimal digits, the highest first:
//!
//! ```text
//! 2 | birth second of the shard: 9 | low digit of the shard index: 1 | counter: 16 | store: 2 | second of arrival: 9 | shard index: 8 | 2
//! ```
//!
//! The counter is the record's number in its log plus one; 0 is the shard's starting number and the largest its ending one,
//! which is above every record. Every reshard of a store gets a birth second of its own, above all earlier ones, so a number
//! tells its shard from every other of the store, and along a lineage numbers compare as integers.
//!
//! The two digits that the service leaves 0 say which store a number comes from, and are 8 bits: where a shard has the index and the
//! birth second of one elsewhere, one in 256 stores has the same. Numbers of such a store are taken for those of the shard here, as are
//! all numbers of a store in a copy of it (`Store::backup`), also of records that came after they parted. Shard iterators tell one
//! store from another for certain: see [`super::iterator`].

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
#[cfg(all(feature = "cli", feature = "server"))]
use crate::stream::ShardId;

/// Counter of an ending sequence number.
const COUNTER_MAX: u64 = i64::MAX as u64;
const SECONDS_MAX: u64 = (1 << 36) - 1;

/// Identifies a record within its shard; also a position in the shard.
///
/// Compares as the integer it is printed as: in the order of the records within a shard and along a lineage.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use braidlog::Engine;
/// use braidlog::stream::{SequenceNumber, StreamOptions};
/// let engine = Engine::open(dir.path())?;
/// let clicks = engine.create_stream("clicks", StreamOptions::new())?;
/// let (first, second) = (clicks.put_record("user-42", b"a")?, clicks.put_record("user-42", b"b")?);
/// assert!(first.sequence_number < second.sequence_number);
/// let text = first.sequence_number.to_string();
/// assert!(text.starts_with("49") && text.len() == 56);
/// assert_eq!(text.parse::<SequenceNumber>()?, first.sequence_number);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SequenceNumber {
    birth_s: u64,
    counter: u64,
    store: u8,
    arrival_s: u64,
    shard: u32,
}

impl SequenceNumber {
    /// Of the record with number `record` in the log of the shard.
    pub(crate) fn of_record(birth: Birth, record: u64, arrival_ms: u64) -> SequenceNumber {
        SequenceNumber { counter: record.saturating_add(1).min(COUNTER_MAX - 1), ..Self::at(birth, arrival_ms / 1000) }
    }

    /// Not above any record of the shard from the one with number `record` in its log on, whenever that arrives.
    pub(crate) fn lowest_of(birth: Birth, record: u64) -> SequenceNumber {
        Self::of_record(birth, record, 0)
    }

    /// Below every record of the shard.
    pub(crate) fn starting(birth: Birth) -> SequenceNumber {
        Self::at(birth, birth.birth_s)
    }

    /// Above every record of the shard.
    pub(crate) fn ending(birth: Birth, closed_ms: u64) -> SequenceNumber {
        SequenceNumber { counter: COUNTER_MAX, ..Self::at(birth, closed_ms / 1000) }
    }

    fn at(birth: Birth, second: u64) -> SequenceNumber {
        let (birth_s, arrival_s) = (birth.birth_s.min(SECONDS_MAX), second.min(SECONDS_MAX));
        SequenceNumber { birth_s, counter: 0, store: birth.store, arrival_s, shard: birth.shard }
    }

    /// The shard that it names: it is a position of no other.
    #[cfg(all(feature = "cli", feature = "server"))]
    pub(crate) fn shard_id(&self) -> ShardId {
        ShardId(self.shard)
    }

    /// Whether it is a position of that shard.
    pub(crate) fn is_of(&self, birth: Birth) -> bool {
        (self.birth_s, self.store, self.shard) == (birth.birth_s.min(SECONDS_MAX), birth.store, birth.shard)
    }

    /// Number in the log of the first record at or after it.
    pub(crate) fn at_or_after(&self) -> u64 {
        self.counter.saturating_sub(1)
    }

    /// Number in the log of the first record after it.
    pub(crate) fn after(&self) -> u64 {
        self.counter
    }

    /// Whether it is a shard's ending number, above all of its records.
    pub fn is_ending(&self) -> bool {
        self.counter == COUNTER_MAX
    }

    /// The second in which its record arrived, since 1970.
    pub fn arrival_second(&self) -> u64 {
        self.arrival_s
    }

    /// The integer, as three 64-bit digits, the highest first.
    fn digits(&self) -> [u64; 3] {
        // 188 bits: 4 version, 36 birth, 4 low shard, 64 counter, 8 store, 36 arrival, 32 shard, 4 version.
        let low = u128::from(self.counter) << 80
            | u128::from(self.store) << 72
            | u128::from(self.arrival_s) << 36
            | u128::from(self.shard) << 4
            | 2;
        let high = 2 << 56 | self.birth_s << 20 | u64::from(self.shard & 0xf) << 16 | self.counter >> 48;
        [high, (low >> 64) as u64, low as u64]
    }

    fn of_digits([high, middle, low]: [u64; 3]) -> Option<SequenceNumber> {
        let rest = u128::from(middle) << 64 | u128::from(low);
        let number = SequenceNumber {
            birth_s: high >> 20 & SECONDS_MAX,
            counter: (high & 0xffff) << 48 | (rest >> 80) as u64,
            store: (rest >> 72) as u8,
            arrival_s: (rest >> 36) as u64 & SECONDS_MAX,
            shard: (rest >> 4) as u32,
        };
        // The version at both ends, the low digit of the shard and the counter's top bit are held against the rest.
        (number.digits() == [high, middle, low] && number.counter <= COUNTER_MAX).then_some(number)
    }
}

/// What the numbers of one shard have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Birth {
    pub(crate) birth_s: u64,
    pub(crate) shard: u32,
    pub(crate) store: u8,
}

impl Ord for SequenceNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        self.digits().cmp(&other.digits())
    }
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The largest power of ten in 64 bits.
const CHUNK: u64 = 10_000_000_000_000_000_000;

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = self.digits();
        let mut chunks = [0u64; 4];
        for chunk in &mut chunks {
            let mut rest = 0;
            for digit in &mut digits {
                let value = u128::from(rest) << 64 | u128::from(*digit);
                // `rest` is below the divisor, so the quotient has 64 bits; a second division would take as long as the first.
                *digit = (value / u128::from(CHUNK)) as u64;
                rest = (value as u64).wrapping_sub(digit.wrapping_mul(CHUNK));
            }
            *chunk = rest;
        }
        let leading = chunks.iter().rposition(|chunk| *chunk != 0).unwrap_or(0);
        write!(f, "{}", chunks[leading])?;
        chunks[..leading].iter().rev().try_for_each(|chunk| write!(f, "{chunk:019}"))
    }
}

impl fmt::Debug for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SequenceNumber({self})")
    }
}

impl FromStr for SequenceNumber {
    type Err = Error;

    /// Reads the decimal form: `0|([1-9]\d{0,128})`.
    fn from_str(text: &str) -> Result<SequenceNumber> {
        let invalid = |why| Error::invalid("sequence number", text, why);
        let plain = !text.is_empty() && text.len() <= 129 && text.bytes().all(|b| b.is_ascii_digit());
        if !plain || (text.len() > 1 && text.starts_with('0')) {
            return Err(invalid("it must be a decimal number of at most 129 digits"));
        }
        let mut digits = [0u64; 3];
        for byte in text.bytes() {
            let mut carry = u64::from(byte - b'0');
            for digit in digits.iter_mut().rev() {
                let value = u128::from(*digit) * 10 + u128::from(carry);
                *digit = value as u64;
                carry = (value >> 64) as u64;
            }
            if carry != 0 {
                return Err(invalid("no shard has given it out"));
            }
        }
        SequenceNumber::of_digits(digits).ok_or_else(|| invalid("no shard has given it out"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BIRTH: Birth = Birth { birth_s: 1_700_000_000, shard: 3, store: 0x5a };

    #[test]
    fn the_layout_is_the_service_s() {
        let birth = Birth { birth_s: 0x0_6512_3456, shard: 0x12, store: 0 };
        let number = SequenceNumber::of_record(birth, 0x41, 0x0_6512_4000 * 1000);
        let [high, middle, low] = number.digits();
        assert_eq!(
            format!("{high:x}{middle:016x}{low:016x}"),
            concat!("2", "065123456", "2", "0000000000000042", "00", "065124000", "00000012", "2")
        );
    }

    #[test]
    fn starting_and_ending_enclose_every_record() {
        let (start, end) = (SequenceNumber::starting(BIRTH), SequenceNumber::ending(BIRTH, 0));
        let records = [0, 1, 5, u64::MAX].map(|n| SequenceNumber::of_record(BIRTH, n, 1_800_000_000_000));
        assert!(records.iter().all(|n| start < *n && *n < end));
        assert_eq!((start.at_or_after(), start.after()), (0, 0));
        assert_eq!((records[1].at_or_after(), records[1].after()), (1, 2));
        let child = Birth { birth_s: BIRTH.birth_s + 1, shard: 0, store: 0x5a };
        assert!(end < SequenceNumber::starting(child));
        assert!(end.is_ending() && !records[3].is_ending());
    }

    #[test]
    fn what_no_shard_has_given_out_is_refused() {
        for bad in ["", "0", "12", "-1", "049", "x", &"9".repeat(129), &"9".repeat(130)] {
            assert!(matches!(bad.parse::<SequenceNumber>(), Err(Error::InvalidArgument { .. })), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn numbers_compare_as_the_integers_they_print_as(
            a in (0..SECONDS_MAX, 0..=COUNTER_MAX, any::<u8>(), 0..SECONDS_MAX, any::<u32>()),
            b in (0..SECONDS_MAX, 0..=COUNTER_MAX, any::<u8>(), 0..SECONDS_MAX, any::<u32>()),
        ) {
            let [a, b] = [a, b].map(|(birth_s, counter, store, arrival_s, shard)| {
                SequenceNumber { birth_s, counter, store, arrival_s, shard }
            });
            let text = [a.to_string(), b.to_string()];
            prop_assert_eq!(text[0].parse::<SequenceNumber>().unwrap(), a);
            let as_integers = text[0].len().cmp(&text[1].len()).then_with(|| text[0].cmp(&text[1]));
            prop_assert_eq!(a.cmp(&b), as_integers);
        }

        #[test]
        fn no_text_panics(text in "[0-9]{0,140}") {
            let _ = text.parse::<SequenceNumber>();
        }
    }
}
