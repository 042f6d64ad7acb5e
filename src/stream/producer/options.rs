//! What may be set on a producer, with the Kinesis Producer Library's defaults.

use std::time::Duration;

use crate::error::Result;
use crate::limits::PUT_RECORDS_MAX;
use crate::options::within;

/// Largest record that every stream takes, less its partition key.
const AGGREGATION_BYTES_MAX: usize = (1 << 20) - 1;
/// Least bytes of an aggregated record: the Kinesis Producer Library's.
const AGGREGATION_BYTES_MIN: usize = 64;

/// How a [`crate::stream::Producer`] gathers records. The defaults are those of the Kinesis Producer Library (its
/// `default_config.properties`), whose names are given.
///
/// ```
/// use std::time::Duration;
/// use braidlog::stream::ProducerOptions;
/// let options = ProducerOptions::new().buffered_time_max(Duration::from_millis(20)).aggregation_bytes_max(20_000);
/// assert!(options.aggregation);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProducerOptions {
    /// Whether user records are packed into aggregated records, which readers have to take apart. Default yes
    /// (`AggregationEnabled`).
    pub aggregation: bool,
    /// Most bytes of an aggregated record, 64 to 1,048,575. A user record that is larger goes on its own. Default 51,200
    /// (`AggregationMaxSize`).
    pub aggregation_bytes_max: usize,
    /// Most records in one call, 1 to 500. Default 500 (`CollectionMaxCount`).
    pub collection_records_max: usize,
    /// Most bytes in one call, unless a single record has more, 64 KiB to 10 MiB. A shard for which so many wait gets them at
    /// once. Default 5 MiB (`CollectionMaxSize`).
    pub collection_bytes_max: usize,
    /// How long a user record waits for others at most, 1 ms to 1 hour. Raising it makes fewer and larger records. Default
    /// 100 ms (`RecordMaxBufferedTime`).
    pub buffered_time_max: Duration,
    /// How long it is tried to put a user record; it fails then. More than `buffered_time_max`, at most 24 hours. Default 30 s
    /// (`RecordTtl`).
    pub time_to_live: Duration,
    /// At which rate to put into a shard at most, in percent of the service's 1 MiB and 1,000 records a second, 1 to 1,000,000.
    /// Default `None`: as fast as the machine can. (`RateLimit`, there 150.)
    pub rate_limit_percent: Option<u32>,
    /// Most bytes of user records that wait, with what is kept beside each (256 bytes), at least 64 KiB. Beyond it
    /// [`crate::stream::Producer::put`] blocks. Default 32 MiB.
    pub buffered_bytes_max: usize,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        ProducerOptions {
            aggregation: true,
            aggregation_bytes_max: 51_200,
            collection_records_max: PUT_RECORDS_MAX,
            collection_bytes_max: 5 << 20,
            buffered_time_max: Duration::from_millis(100),
            time_to_live: Duration::from_secs(30),
            rate_limit_percent: None,
            buffered_bytes_max: 32 << 20,
        }
    }
}

impl ProducerOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`aggregation`](Self#structfield.aggregation).
    #[must_use]
    pub fn aggregation(mut self, aggregation: bool) -> Self {
        self.aggregation = aggregation;
        self
    }

    /// Sets [`aggregation_bytes_max`](Self#structfield.aggregation_bytes_max).
    #[must_use]
    pub fn aggregation_bytes_max(mut self, bytes: usize) -> Self {
        self.aggregation_bytes_max = bytes;
        self
    }

    /// Sets [`collection_records_max`](Self#structfield.collection_records_max).
    #[must_use]
    pub fn collection_records_max(mut self, records: usize) -> Self {
        self.collection_records_max = records;
        self
    }

    /// Sets [`collection_bytes_max`](Self#structfield.collection_bytes_max).
    #[must_use]
    pub fn collection_bytes_max(mut self, bytes: usize) -> Self {
        self.collection_bytes_max = bytes;
        self
    }

    /// Sets [`buffered_time_max`](Self#structfield.buffered_time_max).
    #[must_use]
    pub fn buffered_time_max(mut self, time: Duration) -> Self {
        self.buffered_time_max = time;
        self
    }

    /// Sets [`time_to_live`](Self#structfield.time_to_live).
    #[must_use]
    pub fn time_to_live(mut self, time: Duration) -> Self {
        self.time_to_live = time;
        self
    }

    /// Sets [`rate_limit_percent`](Self#structfield.rate_limit_percent).
    #[must_use]
    pub fn rate_limit_percent(mut self, percent: u32) -> Self {
        self.rate_limit_percent = Some(percent);
        self
    }

    /// Sets [`buffered_bytes_max`](Self#structfield.buffered_bytes_max).
    #[must_use]
    pub fn buffered_bytes_max(mut self, bytes: usize) -> Self {
        self.buffered_bytes_max = bytes;
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        let size = |name, value: usize, min: usize, max: usize| within(name, value as u64, min as u64, max as u64);
        size("aggregation_bytes_max", self.aggregation_bytes_max, AGGREGATION_BYTES_MIN, AGGREGATION_BYTES_MAX)?;
        size("collection_records_max", self.collection_records_max, 1, PUT_RECORDS_MAX)?;
        size("collection_bytes_max", self.collection_bytes_max, 64 << 10, 10 << 20)?;
        size("buffered_bytes_max", self.buffered_bytes_max, 64 << 10, usize::MAX)?;
        within("rate_limit_percent", u64::from(self.rate_limit_percent.unwrap_or(100)), 1, 1_000_000)?;
        let (buffered, live) = (millis(self.buffered_time_max), millis(self.time_to_live));
        within("buffered_time_max (ms)", buffered, 1, 3_600_000)?;
        within("time_to_live (ms)", live, buffered + 1, 86_400_000)
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    time.as_millis().min(u128::from(u64::MAX)) as u64
}
