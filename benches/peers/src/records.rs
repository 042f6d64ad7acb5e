//! The records every engine is given, and the proof that it gave them back.

/// Distinct payloads in rotation; also the longest batch that can be taken at once.
const POOL: usize = 1024;

/// An endless series of records for one writer, the same in every process.
///
/// A record begins with its number and its writer; the rest is noise, different from record to
/// record, so that no engine gains by compressing.
pub struct Records {
    writer: u16,
    next: u64,
    pool: Vec<Box<[u8]>>,
}

impl Records {
    /// The series of `writer`, from its first record.
    pub fn new(writer: u16, record_bytes: usize) -> Self {
        let mut noise = Noise(0x9e37_79b9_7f4a_7c15 ^ u64::from(writer));
        let pool = (0..POOL)
            .map(|_| {
                let mut record = vec![0; record_bytes].into_boxed_slice();
                for chunk in record.chunks_mut(8) {
                    chunk.copy_from_slice(&noise.next().to_le_bytes()[..chunk.len()]);
                }
                record
            })
            .collect();
        Self { writer, next: 0, pool }
    }

    /// The next record.
    pub fn one(&mut self) -> &[u8] {
        let slot = self.stamp();
        &self.pool[slot]
    }

    /// The next `count` records.
    pub fn many(&mut self, count: usize) -> Vec<&[u8]> {
        assert!(count <= POOL, "{count} records taken from a pool of {POOL}");
        let first = self.next;
        for _ in 0..count {
            self.stamp();
        }
        (first..first + count as u64).map(|number| &*self.pool[slot(number)]).collect()
    }

    /// Numbers the next record and says where in the pool it lies.
    fn stamp(&mut self) -> usize {
        let number = self.next;
        self.next += 1;
        let slot = slot(number);
        let record = &mut self.pool[slot];
        record[..8].copy_from_slice(&number.to_le_bytes());
        record[8..10].copy_from_slice(&self.writer.to_le_bytes());
        slot
    }
}

fn slot(number: u64) -> usize {
    (number % POOL as u64) as usize
}

/// What was read, condensed: two tallies are equal when the same records were seen.
///
/// Adding reads every byte, so that an engine which only hands out addresses into mapped memory
/// pays for that memory like one that copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    records: u64,
    bytes: u64,
    sum: u64,
    /// The number expected of a single writer's next record, while the order has held.
    in_order_until: u64,
}

impl Tally {
    /// Counts one record.
    #[inline]
    pub fn add(&mut self, record: &[u8]) {
        let (words, tail) = record.as_chunks::<8>();
        let mut sum = words.iter().fold(0, |sum: u64, word| sum.wrapping_add(u64::from_le_bytes(*word)));
        for &byte in tail {
            sum = sum.rotate_left(8) ^ u64::from(byte);
        }
        if words.first().map(|word| u64::from_le_bytes(*word)) == Some(self.in_order_until) {
            self.in_order_until += 1;
        }
        self.records += 1;
        self.bytes += record.len() as u64;
        self.sum = self.sum.wrapping_add(sum);
    }

    /// The tally of what the writers appended, each given by how many records it appended.
    pub fn expected(appended: &[u64], record_bytes: usize) -> Self {
        let mut tally = Self::default();
        for (writer, &count) in (0..).zip(appended) {
            let mut records = Records::new(writer, record_bytes);
            for _ in 0..count {
                tally.add(records.one());
            }
        }
        tally
    }

    /// How many records were counted.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Whether these are the `expected` records. The order must be right too where one writer
    /// wrote them; several writers may have been interleaved in any way.
    pub fn check(&self, expected: &Self, one_writer: bool) -> crate::Result<()> {
        if (self.records, self.bytes) != (expected.records, expected.bytes) {
            return Err(format!(
                "read back {} records of {} bytes, where {} of {} were acknowledged",
                self.records, self.bytes, expected.records, expected.bytes
            )
            .into());
        }
        if self.sum != expected.sum {
            return Err("read back as many records as were acknowledged, but not the same".into());
        }
        if one_writer && self.in_order_until != self.records {
            return Err("read back the same records, but not in the order of their appends".into());
        }
        Ok(())
    }
}

/// SplitMix64: enough to be incompressible, and no dependency.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that saw `count` records of writer 0, as `change` left them.
    fn read(count: usize, change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Tally {
        let mut records = Records::new(0, 100);
        let mut seen: Vec<Vec<u8>> = (0..count).map(|_| records.one().to_vec()).collect();
        change(&mut seen);
        let mut tally = Tally::default();
        for record in &seen {
            tally.add(record);
        }
        tally
    }

    #[test]
    fn batches_hold_the_same_records_as_single_takes() {
        let mut one_by_one = Records::new(3, 100);
        let mut batched = Records::new(3, 100);
        // Past the end of the pool, so that a batch wraps.
        for _ in 0..2 * POOL / 100 {
            for record in batched.many(100) {
                assert_eq!(record, one_by_one.one());
            }
        }
    }

    #[test]
    fn the_same_records_pass() {
        let expected = Tally::expected(&[2000], 100);
        assert!(read(2000, |_| {}).check(&expected, true).is_ok());
    }

    #[test]
    fn a_lost_a_repeated_and_a_changed_record_are_noticed() {
        let expected = Tally::expected(&[2000], 100);
        let lost = read(2000, |seen| drop(seen.pop()));
        let repeated = read(2000, |seen| seen[1999] = seen[0].clone());
        let changed = read(2000, |seen| seen[7][99] ^= 1);
        for tally in [lost, repeated, changed] {
            assert!(tally.check(&expected, true).is_err());
        }
    }

    #[test]
    fn order_matters_for_one_writer_only() {
        let expected = Tally::expected(&[2000], 100);
        let swapped = read(2000, |seen| seen.swap(4, 5));
        assert!(swapped.check(&expected, true).is_err());
        assert!(swapped.check(&expected, false).is_ok());
    }
}
