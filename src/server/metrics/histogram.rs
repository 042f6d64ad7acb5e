//! Times in buckets, as Prometheus adds them up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Upper bounds in seconds. A put that waits for one sync takes around a millisecond, a long poll up to minutes.
pub(super) const BOUNDS: [f64; 14] =
    [0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// How many took how long.
#[derive(Default)]
pub(super) struct Histogram {
    /// The last is for those above all bounds.
    counts: [AtomicU64; BOUNDS.len() + 1],
    sum_nanos: AtomicU64,
}

impl Histogram {
    pub(super) fn record(&self, seconds: f64) {
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.counts[bucket].fetch_add(1, Relaxed);
        self.sum_nanos.fetch_add((seconds * 1e9) as u64, Relaxed);
    }

    /// How many took at most as long as each bound, then how many there were, then the sum of their seconds.
    pub(super) fn cumulative(&self) -> ([u64; BOUNDS.len()], u64, f64) {
        let mut total = 0;
        let mut sums = [0; BOUNDS.len()];
        for (sum, count) in sums.iter_mut().zip(&self.counts) {
            total += count.load(Relaxed);
            *sum = total;
        }
        total += self.counts[BOUNDS.len()].load(Relaxed);
        (sums, total, self.sum_nanos.load(Relaxed) as f64 / 1e9)
    }
}
