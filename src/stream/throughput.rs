//! What a shard takes and gives: counted always, limited where the engine is told to.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::{SHARD_BYTES_IN, SHARD_BYTES_OUT, SHARD_READS, SHARD_RECORDS_IN};
use crate::sync::Mutex;

use super::hash_key::HashKey;
use super::sample::{self, Measure, Samples, Share};

/// What becomes of calls beyond the service's limits of a shard: 1 MiB and 1,000 records a second in; out 2 MiB and 5 reads a second
/// by shard iterators ([`crate::Engine::get_records`]), and 5 of these made. What is read without one, by subscriptions, a
/// [`crate::stream::ShardReader`] or a consumer group, is counted in [`ShardTraffic`] and never limited.
///
/// ```
/// use braidlog::{EngineOptions, stream::ThroughputLimits};
/// let like_the_service = EngineOptions::new().throughput_limits(ThroughputLimits::Enforce);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ThroughputLimits {
    /// Nothing: a shard takes what the machine can. The default.
    #[default]
    Off,
    /// They are let through, and counted.
    Report,
    /// They get [`crate::Error::ThroughputExceeded`].
    Enforce,
}

/// Room that fills at a rate, up to one second's worth.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    per_second: u64,
    /// In thousandths, so that a millisecond's worth is whole. Below zero after one large record was let in.
    level: i64,
    at_ms: u64,
}

impl Bucket {
    pub(crate) fn new(per_second: u64) -> Bucket {
        Bucket { per_second, level: (per_second * 1000) as i64, at_ms: 0 }
    }

    pub(crate) fn fill(&mut self, now_ms: u64) {
        let passed = now_ms.saturating_sub(self.at_ms).min(3_600_000);
        self.at_ms = self.at_ms.max(now_ms);
        self.level = (self.level + (passed * self.per_second) as i64).min((self.per_second * 1000) as i64);
    }

    /// Whether there is room for anything. What is let in may overdraw it: a record of 10 MiB is ten seconds' worth.
    pub(crate) fn has_room(&self) -> bool {
        self.level > 0
    }

    pub(crate) fn take(&mut self, n: u64) {
        self.level -= (n * 1000) as i64;
    }

    /// As [`Bucket::take`]; more than a second's worth holds up what follows for the whole of the time that it is worth.
    fn take_for_good(&mut self, n: u64) {
        if n > self.per_second {
            self.level = self.level.min(0);
        }
        self.take(n);
    }

    /// How long until there is room, in milliseconds.
    pub(crate) fn wait_ms(&self) -> u64 {
        if self.has_room() { 0 } else { self.level.unsigned_abs() / self.per_second.max(1) + 1 }
    }
}

#[derive(Debug)]
struct Buckets {
    bytes_in: Bucket,
    records_in: Bucket,
    bytes_out: Bucket,
    reads: Bucket,
    iterators: Bucket,
}

/// Counters of a shard in this life.
#[derive(Debug)]
pub(crate) struct Traffic {
    bytes_in: AtomicU64,
    records_in: AtomicU64,
    bytes_out: AtomicU64,
    records_out: AtomicU64,
    write_exceeded: AtomicU64,
    read_exceeded: AtomicU64,
    buckets: Mutex<Buckets>,
    samples: Samples,
}

impl Default for Traffic {
    fn default() -> Self {
        Traffic {
            bytes_in: AtomicU64::new(0),
            records_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            records_out: AtomicU64::new(0),
            write_exceeded: AtomicU64::new(0),
            read_exceeded: AtomicU64::new(0),
            buckets: Mutex::new(Buckets {
                bytes_in: Bucket::new(SHARD_BYTES_IN),
                records_in: Bucket::new(SHARD_RECORDS_IN),
                bytes_out: Bucket::new(SHARD_BYTES_OUT),
                reads: Bucket::new(SHARD_READS),
                iterators: Bucket::new(SHARD_READS),
            }),
            samples: Samples::default(),
        }
    }
}

/// What a shard took and gave since the engine was opened.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// let clicks = engine.create_stream("clicks", Default::default())?;
/// let put = clicks.put_record("user-42", b"page=/home")?;
/// assert_eq!(clicks.shard_traffic(put.shard_id)?.records_in, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ShardTraffic {
    /// Bytes of data and partition keys put.
    pub bytes_in: u64,
    /// Records put.
    pub records_in: u64,
    /// Bytes of data and partition keys read, by whatever reader. One that yields record by record is counted every 256 of them,
    /// and when it comes to the end for now or is dropped.
    pub bytes_out: u64,
    /// Records read, likewise.
    pub records_out: u64,
    /// Records beyond the write limits, where those are reported or enforced.
    pub write_exceeded: u64,
    /// Reads, and shard iterators, beyond the read limits.
    pub read_exceeded: u64,
}

impl Traffic {
    pub(crate) fn snapshot(&self) -> ShardTraffic {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ShardTraffic {
            bytes_in: load(&self.bytes_in),
            records_in: load(&self.records_in),
            bytes_out: load(&self.bytes_out),
            records_out: load(&self.records_out),
            write_exceeded: load(&self.write_exceeded),
            read_exceeded: load(&self.read_exceeded),
        }
    }

    /// Records were put. Answers with what all traffic before them weighs.
    pub(crate) fn put(&self, records: u64, bytes: u64) -> u64 {
        let records_before = self.records_in.fetch_add(records, Ordering::Relaxed);
        let bytes_before = self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
        sample::weight(records_before, bytes_before)
    }

    /// Remembers some of the hash keys of records that were put behind traffic of this weight; with each, its bytes.
    pub(crate) fn sample<K: FnOnce() -> HashKey>(&self, before: u64, records: impl Iterator<Item = (u64, K)>) {
        self.samples.offer(before, records);
    }

    /// Of the traffic since the last look, what hash keys had how much of it, by a sample.
    pub(crate) fn shares(&self, by: Measure) -> Vec<Share> {
        self.samples.shares(by, self.weight())
    }

    fn weight(&self) -> u64 {
        sample::weight(self.records_in.load(Ordering::Relaxed), self.bytes_in.load(Ordering::Relaxed))
    }

    /// Ends a look: what comes from now on counts for the next.
    pub(crate) fn end_look(&self) {
        self.samples.look(self.weight());
    }

    /// Whether one more record of so many bytes may be put now.
    pub(crate) fn admit_write(&self, limits: ThroughputLimits, bytes: u64, now_ms: u64) -> bool {
        self.admit(limits, &self.write_exceeded, |Buckets { bytes_in, records_in, .. }| {
            bytes_in.fill(now_ms);
            records_in.fill(now_ms);
            let within = bytes_in.has_room() && records_in.has_room();
            if within {
                bytes_in.take(bytes);
                records_in.take(1);
            }
            within
        })
    }

    /// Whether one more read may be made now.
    pub(crate) fn admit_read(&self, limits: ThroughputLimits, now_ms: u64) -> bool {
        self.admit(limits, &self.read_exceeded, |Buckets { bytes_out, reads, .. }| {
            bytes_out.fill(now_ms);
            reads.fill(now_ms);
            let within = bytes_out.has_room() && reads.has_room();
            if within {
                reads.take(1);
            }
            within
        })
    }

    /// Whether one more shard iterator may be given out now.
    pub(crate) fn admit_iterator(&self, limits: ThroughputLimits, now_ms: u64) -> bool {
        self.admit(limits, &self.read_exceeded, |Buckets { iterators, .. }| {
            iterators.fill(now_ms);
            let within = iterators.has_room();
            if within {
                iterators.take(1);
            }
            within
        })
    }

    /// Whether a call may be made, given what takes its room if there is any.
    fn admit(&self, limits: ThroughputLimits, exceeded: &AtomicU64, take: impl FnOnce(&mut Buckets) -> bool) -> bool {
        if limits == ThroughputLimits::Off {
            return true;
        }
        let within = take(&mut self.buckets.lock());
        if !within {
            exceeded.fetch_add(1, Ordering::Relaxed);
        }
        within || limits == ThroughputLimits::Report
    }

    /// Records were read. After a page of 10 MiB nothing is given for five seconds (`GetRecords`).
    pub(crate) fn got(&self, limits: ThroughputLimits, records: u64, bytes: u64) {
        self.records_out.fetch_add(records, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes, Ordering::Relaxed);
        if limits != ThroughputLimits::Off {
            self.buckets.lock().bytes_out.take_for_good(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_takes_a_thousand_records_a_second() {
        let traffic = Traffic::default();
        let admitted = |now_ms| (0..2000).filter(|_| traffic.admit_write(ThroughputLimits::Enforce, 1, now_ms)).count();
        assert_eq!([admitted(1_000_000), admitted(1_000_000), admitted(1_000_500)], [1000, 0, 500]);
        assert_eq!(traffic.snapshot().write_exceeded, 1000 + 2000 + 1500);
    }

    #[test]
    fn a_large_record_is_let_in_and_paid_for_afterwards() {
        let traffic = Traffic::default();
        let admit = |now_ms| traffic.admit_write(ThroughputLimits::Enforce, 10 << 20, now_ms);
        assert!(admit(1_000_000));
        assert!(!admit(1_008_000));
        assert!(admit(1_010_000));
    }

    #[test]
    fn reads_are_five_a_second_and_two_mebibytes() {
        let traffic = Traffic::default();
        let reads = |now_ms| (0..10).filter(|_| traffic.admit_read(ThroughputLimits::Enforce, now_ms)).count();
        assert_eq!(reads(1_000_000), 5);
        traffic.got(ThroughputLimits::Enforce, 1, 10 << 20);
        assert_eq!(reads(1_004_999), 0);
        assert_eq!(reads(1_005_001), 5);
        let iterators = |now_ms| (0..10).filter(|_| traffic.admit_iterator(ThroughputLimits::Enforce, now_ms)).count();
        assert_eq!([iterators(1_000_000), iterators(1_000_000), iterators(1_001_000)], [5, 0, 5]);
    }

    #[test]
    fn limits_that_are_off_refuse_nothing_and_reported_ones_count() {
        let traffic = Traffic::default();
        assert!((0..5000).all(|_| traffic.admit_write(ThroughputLimits::Off, 1 << 20, 0)));
        assert_eq!(traffic.snapshot().write_exceeded, 0);
        assert!((0..1500).all(|_| traffic.admit_write(ThroughputLimits::Report, 1, 0)));
        assert_eq!(traffic.snapshot().write_exceeded, 500);
    }
}
