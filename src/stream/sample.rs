//! Which hash keys a shard's traffic has, by a sample of its records: it says where the shard can be divided.
//!
//! 1. A record counts by its *weight*: its bytes, and [`RECORD_WEIGHT`] for being a record. A second's worth of either limit of a
//!    shard weighs the same, so neither many small records nor few large ones are missed.
//! 2. The first [`SLOTS`] since the last look are taken, and then one of weight w with probability [`SLOTS`] * w / W, where W is
//!    all that came since, up to and with it; it takes the place of any of those before. So little traffic is taken whole, of much
//!    ever fewer, and what is there at last is of the whole time. Each counts for as many as it stands for: how probable it was
//!    that it was taken and left.
//! 3. What decides is a hash of where in all traffic the record stands. Keys that come in turn, whatever their period, have
//!    nothing to do with that.
//! 4. All of it costs a put neither a lock nor a look at a clock, and an atomic operation only if a record is taken. Two that
//!    write one slot at once leave it torn, which its check tells: it is passed over.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::limits::{SHARD_BYTES_IN, SHARD_RECORDS_IN};

use super::hash_key::HashKey;

/// So many are remembered.
const SLOTS: u64 = 256;
/// What a record weighs besides its bytes.
const RECORD_WEIGHT: u64 = SHARD_BYTES_IN / SHARD_RECORDS_IN;

/// By what traffic is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    Bytes,
    Records,
}

/// A hash key with what its record stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share {
    pub(crate) key: HashKey,
    /// Bytes or records.
    pub(crate) amount: f64,
    /// How much of the square of the amount is chance: 0 where every record was taken.
    pub(crate) chance: f64,
}

#[derive(Debug, Default)]
struct Slot {
    high: AtomicU64,
    low: AtomicU64,
    /// The weight of all traffic up to and with it.
    upto: AtomicU64,
    bytes: AtomicU64,
    /// How many were taken before it since the last look.
    place: AtomicU64,
    check: AtomicU64,
}

impl Slot {
    fn words(&self) -> [&AtomicU64; 5] {
        [&self.high, &self.low, &self.upto, &self.bytes, &self.place]
    }
}

/// The samples of one shard.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    /// Made for the first that is taken: most shards are not divided by what they take.
    slots: OnceLock<Box<[Slot]>>,
    /// How many were taken since the last look.
    taken: AtomicU64,
    /// The weight of all traffic at the last look.
    looked: AtomicU64,
}

/// A hash that every bit of the input changes (the finalizer of SplitMix64).
fn mixed(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

fn check(words: [u64; 5]) -> u64 {
    words.into_iter().fold(1, |sum, word| mixed(sum ^ word))
}

/// What so many records of together so many bytes weigh.
pub(crate) fn weight(records: u64, bytes: u64) -> u64 {
    bytes.wrapping_add(records.wrapping_mul(RECORD_WEIGHT))
}

impl Samples {
    /// Records were put behind traffic of the weight `before`: of each its bytes, and its hash key if it is taken.
    pub(crate) fn offer<K: FnOnce() -> HashKey>(&self, before: u64, records: impl Iterator<Item = (u64, K)>) {
        let looked = self.looked.load(Relaxed);
        let mut upto = before;
        for (bytes, key) in records {
            let weight = weight(1, bytes);
            upto = upto.wrapping_add(weight);
            // A look may have come in between.
            let since = upto.saturating_sub(looked).max(weight);
            let drawn = (u128::from(mixed(upto)) * u128::from(since)) >> 64;
            let is_taken = drawn < u128::from(weight) * u128::from(SLOTS) || self.taken.load(Relaxed) < SLOTS;
            if is_taken {
                self.take(upto, since, bytes, key());
            }
        }
    }

    fn take(&self, upto: u64, since: u64, bytes: u64, key: HashKey) {
        let slots = self.slots.get_or_init(|| (0..SLOTS).map(|_| Slot::default()).collect());
        let place = self.taken.fetch_add(1, Relaxed);
        // One that stands for nothing but itself stays.
        let may_go = |at: &u64| stands_for_others(slots[*at as usize].bytes.load(Relaxed), since);
        let any = mixed(!upto);
        let at = if place < SLOTS {
            place
        } else {
            (0..8).map(|n| (any >> (8 * n)) % SLOTS).find(may_go).unwrap_or(any % SLOTS)
        };
        let slot = &slots[at as usize];
        let words = [(key.0 >> 64) as u64, key.0 as u64, upto, bytes, place];
        slot.words().into_iter().zip(words).for_each(|(to, word)| to.store(word, Relaxed));
        slot.check.store(check(words), Relaxed);
    }

    /// What was taken since the last look, where all traffic has the weight `now`.
    pub(crate) fn shares(&self, by: Measure, now: u64) -> Vec<Share> {
        let (looked, taken) = (self.looked.load(Relaxed), self.taken.load(Relaxed));
        let Some(slots) = self.slots.get() else { return Vec::new() };
        let share = |slot: &Slot| {
            let words = slot.words().map(|word| word.load(Relaxed));
            let [high, low, upto, bytes, place] = words;
            if slot.check.load(Relaxed) != check(words) || upto <= looked {
                return None;
            }
            let was_taken =
                if place < SLOTS { 1.0 } else { SLOTS as f64 * weight(1, bytes) as f64 / (upto - looked) as f64 };
            let was_left = if stands_for_others(bytes, now.saturating_sub(looked)) {
                let later = taken.saturating_sub(place.max(SLOTS - 1) + 1);
                (1.0 - 1.0 / SLOTS as f64).powf(later as f64)
            } else {
                1.0
            };
            let probable = was_taken.min(1.0) * was_left;
            let amount = if by == Measure::Bytes { bytes as f64 } else { 1.0 } / probable;
            let key = HashKey(u128::from(high) << 64 | u128::from(low));
            Some(Share { key, amount, chance: (1.0 - probable) * amount * amount })
        };
        slots.iter().filter_map(share).collect()
    }

    /// A look was taken when all traffic had this weight: what comes from now on counts for the next.
    pub(crate) fn look(&self, upto: u64) {
        self.looked.store(upto, Relaxed);
        self.taken.store(0, Relaxed);
    }
}

/// Whether, of so much, a record of so many bytes was not sure to be taken.
fn stands_for_others(bytes: u64, since: u64) -> bool {
    u128::from(weight(1, bytes)) * u128::from(SLOTS) < u128::from(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Offered(Samples, u64);

    impl Offered {
        fn shares(&self, by: Measure) -> Vec<Share> {
            self.0.shares(by, self.1)
        }
    }

    /// So many records one after the other, each with its key and bytes, after each of so many looks.
    fn offered(looks: u32, count: u64, record: impl Fn(u64) -> (u128, u64)) -> Offered {
        let (samples, mut before) = (Samples::default(), 0);
        for _ in 0..looks {
            samples.look(before);
            for n in 0..count {
                let (key, bytes) = record(n);
                samples.offer(before, std::iter::once((bytes, || HashKey(key))));
                before += weight(1, bytes);
            }
        }
        Offered(samples, before)
    }

    fn part_of(shares: &[Share], key: u128) -> f64 {
        let sum = |shares: &mut dyn Iterator<Item = &Share>| shares.map(|share| share.amount).sum::<f64>();
        sum(&mut shares.iter().filter(|share| share.key == HashKey(key))) / sum(&mut shares.iter())
    }

    #[test]
    fn keys_in_turn_have_equal_parts_whatever_their_number() {
        for period in [2, 3, 4, 8, 16, 32] {
            for bytes in [0, 100, 5_000] {
                let shares = offered(2, 10_000, |n| (u128::from(n % period), bytes)).shares(Measure::Records);
                for key in 0..u128::from(period) {
                    let part = part_of(&shares, key) * period as f64;
                    let by_chance = 3.5 * (period as f64 / SLOTS as f64).sqrt();
                    assert!((part - 1.0).abs() < by_chance, "{key} of {period} has {part} of what it should");
                }
            }
        }
    }

    #[test]
    fn what_is_taken_stands_for_bytes_or_for_records() {
        // One record in ten is of 100 KiB: they are half of nothing but the bytes.
        let samples = offered(3, 20_000, |n| if n % 10 == 0 { (7, 100 << 10) } else { (u128::from(n), 1 << 10) });
        let [by_bytes, by_records] = [Measure::Bytes, Measure::Records].map(|by| part_of(&samples.shares(by), 7));
        assert!((0.85..0.97).contains(&by_bytes), "{by_bytes}");
        assert!((0.04..0.2).contains(&by_records), "{by_records}");
        // A single record that is most of it.
        let samples = offered(1, 1_000, |n| if n == 500 { (7, 10 << 20) } else { (u128::from(n), 1_000) });
        let part = part_of(&samples.shares(Measure::Bytes), 7);
        assert!((0.85..0.97).contains(&part), "{part}");
    }

    #[test]
    fn a_sample_is_of_the_whole_time() {
        for count in [300, 3_000, 100_000] {
            let shares = offered(2, count, |n| (u128::from(n), 100)).shares(Measure::Records);
            assert_eq!(shares.len(), SLOTS as usize);
            let total: f64 = shares.iter().map(|share| share.amount).sum();
            assert!((0.8..1.25).contains(&(total / count as f64)), "{total} of {count}");
            let first_half = shares.iter().filter(|share| share.key.0 < u128::from(count / 2));
            let first_half = first_half.map(|share| share.amount).sum::<f64>() / total;
            assert!((0.4..0.6).contains(&first_half), "{first_half} of {count} records");
        }
    }

    #[test]
    fn little_is_taken_whole_and_what_came_before_the_last_look_does_not_count() {
        let samples = offered(2, 200, |n| (u128::MAX - u128::from(n), 10));
        let shares = samples.shares(Measure::Records);
        assert_eq!(shares.len(), 200);
        assert!(shares.iter().all(|share| share.amount == 1.0 && share.chance == 0.0));
        samples.0.look(samples.1);
        assert!(samples.shares(Measure::Records).is_empty());
        assert!(Samples::default().shares(Measure::Bytes, 0).is_empty());
    }

    #[test]
    fn a_torn_slot_is_passed_over() {
        let samples = offered(1, 10, |n| (u128::from(n), 10));
        samples.0.slots.get().unwrap()[3].low.store(77, Relaxed);
        assert_eq!(samples.shares(Measure::Records).len(), 9);
    }
}
