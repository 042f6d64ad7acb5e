//! Latencies in a histogram with three significant digits.

use hdrhistogram::Histogram;
use serde_json::json;

use crate::cli::Failure;

const NANOS_MAX: u64 = 3_600_000_000_000;

/// Collects latencies in nanoseconds.
#[derive(Clone)]
pub(crate) struct Latency(Histogram<u64>);

impl Latency {
    pub(crate) fn new() -> Result<Latency, Failure> {
        let histogram = Histogram::new_with_bounds(1, NANOS_MAX, 3);
        histogram.map(Latency).map_err(|error| Failure::Other(format!("could not make a histogram: {error}")))
    }

    pub(crate) fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos.max(1));
    }

    pub(crate) fn add(&mut self, other: &Latency) {
        // Both have the same bounds, which is all that could go wrong.
        let _ = self.0.add(&other.0);
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        let at = |share| self.0.value_at_quantile(share);
        Percentiles {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.0.max(),
            count: self.0.len(),
        }
    }
}

/// What is told of a histogram, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Percentiles {
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
    /// How many were measured.
    pub(crate) count: u64,
}

impl Percentiles {
    pub(crate) fn to_json(self) -> serde_json::Value {
        json!({
            "p50": self.p50, "p90": self.p90, "p99": self.p99, "p99.9": self.p999, "max": self.max,
            "count": self.count,
        })
    }
}
