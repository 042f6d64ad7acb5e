//! What may be set on a stream, with the service's ranges.

use crate::error::{Error, Result};
use crate::format::stream::StreamRow;
use crate::limits::*;

/// How the number of shards is set.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// use braidlog::stream::{StreamMode, StreamOptions};
/// let clicks = engine.create_stream("clicks", StreamOptions::new().mode(StreamMode::OnDemand))?;
/// assert!(matches!(clicks.update_shard_count(8), Err(braidlog::Error::OnDemand { .. })));
/// clicks.set_mode(StreamMode::Provisioned)?;
/// clicks.update_shard_count(8)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StreamMode {
    /// By the caller: splits, merges, [`crate::stream::Stream::update_shard_count`]. The default.
    #[default]
    Provisioned,
    /// By the engine, from the traffic it sees.
    OnDemand,
}

/// Which shard a record goes to.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// use braidlog::stream::{Distribution, PutRecordsEntry, StreamMode, StreamOptions};
/// let options = StreamOptions::new().mode(StreamMode::OnDemand).distribution(Distribution::Auto);
/// let clicks = engine.create_stream("clicks", options)?;
/// clicks.put(PutRecordsEntry { partition_key: None, explicit_hash_key: None, data: b"page=/home" }, None)?;
/// // Who puts records without keys is asked first: a provisioned stream goes by them.
/// assert!(clicks.set_mode(StreamMode::Provisioned).is_err());
/// clicks.set_distribution(Distribution::ByKey)?;
/// clicks.set_mode(StreamMode::Provisioned)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Distribution {
    /// The one that owns the hash key: of the partition key, or the explicit one. The default.
    #[default]
    ByKey,
    /// Any: the engine spreads records evenly. Keys may be absent, and don't order anything. Of on-demand streams only, as by the
    /// service.
    Auto,
}

/// How a stream is made.
///
/// ```
/// use braidlog::stream::{StreamMode, StreamOptions};
/// let options = StreamOptions::new().shards(4).retention_hours(7 * 24).tag("team", "web");
/// assert_eq!(options.mode, StreamMode::Provisioned);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamOptions {
    /// Shards to begin with, 1 to 10,000. Default 1; of an on-demand stream, 4 unless it is set.
    pub shards: Option<u32>,
    /// Who sets the number of shards. Default [`StreamMode::Provisioned`].
    pub mode: StreamMode,
    /// Which shard a record goes to. Default [`Distribution::ByKey`]; [`Distribution::Auto`] is for on-demand streams.
    pub distribution: Distribution,
    /// How long records stay readable, in hours: 24 to 8,760. Default 24.
    pub retention_hours: u32,
    /// Largest record, data and partition key together, in KiB: 1,024 to 10,240. Default 1,024.
    pub max_record_kib: u32,
    /// Warm throughput in MiB a second, on-demand streams only: 0 to 10,240. It is kept and described, and does nothing: a shard takes
    /// what the machine can from the start, and where [`ThroughputLimits`](super::ThroughputLimits) are enforced they go by the
    /// shards there are. The service asks for a billing commitment of the account; nothing is billed here, so nobody is asked.
    pub warm_throughput_mib: Option<u32>,
    /// Tags: at most 50.
    pub tags: Vec<(String, String)>,
}

impl Default for StreamOptions {
    fn default() -> Self {
        StreamOptions {
            shards: None,
            mode: StreamMode::Provisioned,
            distribution: Distribution::ByKey,
            retention_hours: RETENTION_HOURS_MIN,
            max_record_kib: RECORD_KIB_MIN,
            warm_throughput_mib: None,
            tags: Vec::new(),
        }
    }
}

impl StreamOptions {
    /// The defaults: one shard, 24 hours.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`shards`](Self#structfield.shards).
    #[must_use]
    pub fn shards(mut self, shards: u32) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Sets [`mode`](Self#structfield.mode).
    #[must_use]
    pub fn mode(mut self, mode: StreamMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets [`distribution`](Self#structfield.distribution).
    #[must_use]
    pub fn distribution(mut self, distribution: Distribution) -> Self {
        self.distribution = distribution;
        self
    }

    /// Sets [`retention_hours`](Self#structfield.retention_hours).
    #[must_use]
    pub fn retention_hours(mut self, hours: u32) -> Self {
        self.retention_hours = hours;
        self
    }

    /// Sets [`max_record_kib`](Self#structfield.max_record_kib).
    #[must_use]
    pub fn max_record_kib(mut self, kib: u32) -> Self {
        self.max_record_kib = kib;
        self
    }

    /// Sets [`warm_throughput_mib`](Self#structfield.warm_throughput_mib).
    #[must_use]
    pub fn warm_throughput_mib(mut self, mib: u32) -> Self {
        self.warm_throughput_mib = Some(mib);
        self
    }

    /// Adds a tag.
    #[must_use]
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((key.into(), value.into()));
        self
    }

    /// Shards to begin with.
    pub(crate) fn shard_count(&self) -> u32 {
        self.shards.unwrap_or(match self.mode {
            StreamMode::Provisioned => 1,
            StreamMode::OnDemand => ON_DEMAND_SHARDS,
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_shard_count("ShardCount", self.shard_count())?;
        check_distribution(self.mode, self.distribution)?;
        check_retention(self.retention_hours)?;
        check_max_record(self.max_record_kib)?;
        if let Some(mib) = self.warm_throughput_mib {
            check_warm_throughput(self.mode, mib)?;
        }
        check_tags(&self.tags)
    }
}

fn within(what: &'static str, value: u32, min: u32, max: u32) -> Result<()> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(Error::invalid(what, value, format!("it must be from {min} to {max}")))
    }
}

/// The service gives the number no upper bound in form: too many are beyond a limit, as are more than double.
pub(crate) fn check_shard_count(what: &'static str, shards: u32) -> Result<()> {
    match shards {
        0 => Err(Error::invalid(what, shards, "a stream has at least one shard")),
        1..=SHARDS_PER_STREAM_MAX => Ok(()),
        _ => Err(Error::LimitExceeded {
            what: format!("{SHARDS_PER_STREAM_MAX} shards in a stream ({what} is {shards})"),
        }),
    }
}

/// `AUTO` is of on-demand streams only (`CreateStream`, `UpdateStreamRecordDistributionStrategy`). Nothing is said of such a
/// stream that is made provisioned; it is refused as one with queues is, for whoever puts records without keys would be refused
/// from then on.
pub(crate) fn check_distribution(mode: StreamMode, distribution: Distribution) -> Result<()> {
    if (mode, distribution) == (StreamMode::Provisioned, Distribution::Auto) {
        let why = "only on-demand streams have it: a provisioned stream goes by USER_PARTITION_KEY";
        return Err(Error::invalid("RecordDistributionStrategy", "AUTO", why));
    }
    Ok(())
}

pub(crate) fn check_retention(hours: u32) -> Result<()> {
    within("RetentionPeriodHours", hours, RETENTION_HOURS_MIN, RETENTION_HOURS_MAX)
}

pub(crate) fn check_max_record(kib: u32) -> Result<()> {
    within("MaxRecordSizeInKiB", kib, RECORD_KIB_MIN, RECORD_KIB_MAX)
}

pub(crate) fn check_warm_throughput(mode: StreamMode, mib: u32) -> Result<()> {
    if mode != StreamMode::OnDemand {
        return Err(Error::invalid("WarmThroughputMiBps", mib, "only on-demand streams have it"));
    }
    within("WarmThroughputMiBps", mib, 0, WARM_THROUGHPUT_MIB_MAX)
}

/// Whether a page may have so many entries.
pub(crate) fn check_page(limit: usize) -> Result<()> {
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Error::invalid("Limit", limit, "it must be from 1 to 10,000"));
    }
    Ok(())
}

/// A stream or consumer name: letters, digits, `_`, `.`, `-`.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<()> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if name.is_empty() || name.len() > STREAM_NAME_MAX || !plain {
        return Err(Error::invalid(what, name, "it must have 1 to 128 of a-z, A-Z, 0-9, `_`, `.`, `-`"));
    }
    Ok(())
}

/// Tags: at most 50, keys of 1 to 128 characters, values of at most 256, no key twice.
pub(crate) fn check_tags(tags: &[(String, String)]) -> Result<()> {
    for (at, (key, value)) in tags.iter().enumerate() {
        let allowed = |c: char| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@%".contains(c);
        if key.is_empty() || key.chars().count() > TAG_KEY_MAX || !key.chars().all(allowed) {
            return Err(Error::invalid("tag key", key, "it must have 1 to 128 letters, digits, spaces or _.:/=+-@%"));
        }
        if value.chars().count() > TAG_VALUE_MAX || !value.chars().all(allowed) {
            return Err(Error::invalid(
                "tag value",
                value,
                "it must have at most 256 letters, digits, spaces or _.:/=+-@%",
            ));
        }
        if tags[..at].iter().any(|(other, _)| other == key) {
            return Err(Error::invalid("tag key", key, "it is given twice"));
        }
    }
    if tags.len() > TAGS_MAX { Err(Error::invalid("tags", tags.len(), "a resource has at most 50")) } else { Ok(()) }
}

/// A shard-level metric.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// use braidlog::stream::ShardMetric;
/// let clicks = engine.create_stream("clicks", Default::default())?;
/// let (were, are) = clicks.enable_shard_metrics(&[ShardMetric::IncomingBytes, ShardMetric::IteratorAge])?;
/// assert!(were.is_empty());
/// assert_eq!(are.iter().map(|metric| metric.name()).collect::<Vec<_>>(), ["IncomingBytes", "IteratorAgeMilliseconds"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum ShardMetric {
    /// `IncomingBytes`
    IncomingBytes = 1,
    /// `IncomingRecords`
    IncomingRecords = 2,
    /// `OutgoingBytes`
    OutgoingBytes = 4,
    /// `OutgoingRecords`
    OutgoingRecords = 8,
    /// `WriteProvisionedThroughputExceeded`
    WriteThroughputExceeded = 16,
    /// `ReadProvisionedThroughputExceeded`
    ReadThroughputExceeded = 32,
    /// `IteratorAgeMilliseconds`
    IteratorAge = 64,
}

impl ShardMetric {
    /// All of them.
    pub const ALL: [ShardMetric; 7] = [
        ShardMetric::IncomingBytes,
        ShardMetric::IncomingRecords,
        ShardMetric::OutgoingBytes,
        ShardMetric::OutgoingRecords,
        ShardMetric::WriteThroughputExceeded,
        ShardMetric::ReadThroughputExceeded,
        ShardMetric::IteratorAge,
    ];

    /// The service's name of it.
    pub fn name(self) -> &'static str {
        match self {
            ShardMetric::IncomingBytes => "IncomingBytes",
            ShardMetric::IncomingRecords => "IncomingRecords",
            ShardMetric::OutgoingBytes => "OutgoingBytes",
            ShardMetric::OutgoingRecords => "OutgoingRecords",
            ShardMetric::WriteThroughputExceeded => "WriteProvisionedThroughputExceeded",
            ShardMetric::ReadThroughputExceeded => "ReadProvisionedThroughputExceeded",
            ShardMetric::IteratorAge => "IteratorAgeMilliseconds",
        }
    }

    pub(crate) fn of_bits(bits: u16) -> Vec<ShardMetric> {
        Self::ALL.into_iter().filter(|metric| bits & *metric as u16 != 0).collect()
    }

    pub(crate) fn bits(metrics: &[ShardMetric]) -> u16 {
        metrics.iter().fold(0, |bits, metric| bits | *metric as u16)
    }
}

pub(crate) fn mode_of(row: &StreamRow) -> StreamMode {
    if row.mode == 1 { StreamMode::OnDemand } else { StreamMode::Provisioned }
}

pub(crate) fn distribution_of(row: &StreamRow) -> Distribution {
    if row.distribution == 1 { Distribution::Auto } else { Distribution::ByKey }
}
