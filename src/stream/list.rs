//! Descriptions and lists: of streams, and of shards from where a reader begins.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};

use super::Stream;
use super::options::{Distribution, ShardMetric, StreamMode, check_page, distribution_of, mode_of};
use super::shard::{ChildShard, Shard, ShardId, ShardState};

/// The state of a stream, as the service names it. Changes are done when the call that makes them returns, so what the engine
/// has is always active, but where [`crate::EngineOptions::transition_time`] says otherwise.
///
/// ```
/// use braidlog::stream::StreamStatus;
/// assert_eq!(StreamStatus::Active.name(), "ACTIVE");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamStatus {
    /// It is being made.
    Creating,
    /// It is being deleted.
    Deleting,
    /// It takes and gives records.
    Active,
    /// It takes and gives records while shards or settings change.
    Updating,
}

impl StreamStatus {
    /// The service's name of it.
    pub fn name(self) -> &'static str {
        match self {
            StreamStatus::Creating => "CREATING",
            StreamStatus::Deleting => "DELETING",
            StreamStatus::Active => "ACTIVE",
            StreamStatus::Updating => "UPDATING",
        }
    }
}

/// A stream as it is described, without its shards.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// use braidlog::stream::StreamOptions;
/// let clicks = engine.create_stream("clicks", StreamOptions::new().shards(3))?;
/// let description = clicks.describe();
/// assert_eq!((description.open_shard_count, description.retention_hours), (3, 24));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamDescription {
    /// Its name.
    pub stream_name: String,
    /// Its ARN.
    pub stream_arn: String,
    /// Its state.
    pub stream_status: StreamStatus,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: u64,
    /// Who sets the number of shards.
    pub mode: StreamMode,
    /// Which shard a record goes to.
    pub distribution: Distribution,
    /// How long records stay, in hours.
    pub retention_hours: u32,
    /// Largest record, in KiB.
    pub max_record_kib: u32,
    /// Warm throughput in MiB a second, if it is set.
    pub warm_throughput_mib: Option<u32>,
    /// Shard-level metrics that are on.
    pub shard_metrics: Vec<ShardMetric>,
    /// Open shards.
    pub open_shard_count: usize,
    /// Registered consumers.
    pub consumer_count: usize,
}

/// A page of stream names.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// engine.create_stream("clicks", Default::default())?;
/// let page = engine.list_streams(None, 100)?;
/// assert_eq!((page.stream_names, page.has_more), (vec!["clicks".to_owned()], false));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamPage {
    /// Names, sorted.
    pub stream_names: Vec<String>,
    /// Whether there are more after them.
    pub has_more: bool,
}

/// A page of shards, see [`Stream::list_shards`].
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// use braidlog::stream::{ShardFilter, StreamOptions};
/// let clicks = engine.create_stream("clicks", StreamOptions::new().shards(3))?;
/// let page = clicks.list_shards(ShardFilter::AtLatest, None, 2)?;
/// assert_eq!((page.shards.len(), page.has_more), (2, true));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardPage {
    /// Shards in the order of their creation.
    pub shards: Vec<Shard>,
    /// Whether there are more after them.
    pub has_more: bool,
}

/// Which shards to list: those that a reader from some position begins with, or has to get through.
///
/// A shard is open from the millisecond it was opened in to the last one that a record of it can have arrived in, both included, as
/// by the service. Its children are opened in the next one, so that at every moment each hash key has one shard.
///
/// ```
/// use braidlog::stream::ShardFilter;
/// assert_eq!(ShardFilter::default(), ShardFilter::FromTrimHorizon);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShardFilter {
    /// All whose records may still be read. The default.
    #[default]
    FromTrimHorizon,
    /// Those that were open at the trim horizon, or opened since from shards that are gone: where a reader of everything begins.
    AtTrimHorizon,
    /// The open ones.
    AtLatest,
    /// Those that were open at this time, or opened since from shards that are gone: where a reader from then on begins.
    AtTimestamp(SystemTime),
    /// Those that were open at this time or later: all of whose records arrived before are left out.
    FromTimestamp(SystemTime),
    /// Those after this one, in the order of creation.
    AfterShardId(ShardId),
}

fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().min(u128::from(u64::MAX)) as u64
}

/// Whether it was open at some time, given how it was opened and closed. The moment it is closed in is its children's first: the
/// service's end of a shard, which counts as open, is the one before.
fn was_open(shard: &ShardState, at_ms: u64) -> bool {
    shard.row.opened_ms <= at_ms && shard.row.closed_ms.is_none_or(|closed_ms| at_ms < closed_ms)
}

impl Stream {
    /// What it is, without its shards.
    pub fn describe(&self) -> StreamDescription {
        // If what is due can't be done now, it is updating still.
        let _ = self.complete_due();
        self.description()
    }

    /// As [`Stream::describe`], without doing what is due.
    pub(crate) fn description(&self) -> StreamDescription {
        // The status before what it says of the rest.
        let stream_status = self.status();
        let row = self.state.row();
        StreamDescription {
            stream_name: self.name().to_owned(),
            stream_arn: self.arn(),
            stream_status,
            created_ms: row.created_ms,
            mode: mode_of(&row),
            distribution: distribution_of(&row),
            retention_hours: row.retention_hours,
            max_record_kib: row.max_record_kib,
            warm_throughput_mib: Some(row.warm_throughput_mib).filter(|mib| *mib != 0),
            shard_metrics: ShardMetric::of_bits(row.metrics),
            open_shard_count: self.state.shards().open().len(),
            consumer_count: self.state.consumers().len(),
        }
    }

    /// The oldest moment whose records may still be read, in milliseconds since 1970.
    fn horizon_ms(&self) -> u64 {
        let row = self.state.row();
        // By the clock that retention goes by: it does not believe one that jumped.
        let now_ms = self.shared.store.core().trusted_now_ms();
        let oldest = now_ms.saturating_sub(u64::from(row.retention_hours) * 3_600_000);
        oldest.max(row.created_ms)
    }

    /// Whether the last record of a closed shard has expired: all are at least as old as its end.
    pub(crate) fn has_expired(&self, shard: &ShardState) -> bool {
        let horizon_ms = self.horizon_ms();
        shard.row.closed_ms.is_some_and(|closed_ms| closed_ms < horizon_ms)
    }

    /// All shards whose records may still be read, in the order of their creation.
    pub fn shards(&self) -> Vec<Shard> {
        let _ = self.complete_due();
        let map = self.state.shards();
        map.all().filter(|shard| !self.has_expired(shard)).map(|shard| shard.describe()).collect()
    }

    /// The open shards, in the order of their ranges: which hash keys each takes.
    pub fn open_shards(&self) -> Vec<Shard> {
        let _ = self.complete_due();
        self.state.shards().open().iter().map(|shard| shard.describe()).collect()
    }

    /// What came of a closed shard; nothing of an open one.
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`].
    pub fn child_shards(&self, shard: ShardId) -> Result<Vec<ChildShard>> {
        self.shard(shard)?;
        Ok(self.state.shards().children(shard))
    }

    /// At most `limit` shards, 1 to 10,000, that the filter lets through, in the order of their creation, after `exclusive_start`.
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`] when the stream was deleted; [`Error::InvalidArgument`] for a time in the future, or the limit;
    /// [`Error::ResourceInUse`] while it is being made or deleted.
    pub fn list_shards(
        &self,
        filter: ShardFilter,
        exclusive_start: Option<ShardId>,
        limit: usize,
    ) -> Result<ShardPage> {
        check_page(limit)?;
        let _ = self.complete_due();
        self.check_made()?;
        self.page_of_shards(filter, exclusive_start, limit)
    }

    /// As [`Stream::list_shards`], of the shards as they are, and as many as are wanted.
    pub(crate) fn page_of_shards(
        &self,
        filter: ShardFilter,
        exclusive_start: Option<ShardId>,
        limit: usize,
    ) -> Result<ShardPage> {
        self.state.check_alive()?;
        let horizon_ms = self.horizon_ms();
        if let ShardFilter::AtTimestamp(time) | ShardFilter::FromTimestamp(time) = filter
            && millis(time) > self.shared.now_ms()
        {
            return Err(Error::invalid("Timestamp", millis(time), "it lies in the future"));
        }
        let map = self.state.shards();
        // A reader from then on begins with it: it was open, or what came before it is gone. That is so also where it was opened
        // later: retention that is raised moves the horizon back in front of shards whose parents are gone. A parent that had
        // expired and is still kept is listed again then, without records, and its children come after it.
        let begins = |shard: &ShardState, at_ms: u64| {
            let is_first = || shard.parents().iter().all(|parent| map.get(*parent).is_none());
            was_open(shard, at_ms) || shard.row.opened_ms > at_ms && is_first()
        };
        let lets_through = |shard: &ShardState| match filter {
            ShardFilter::FromTrimHorizon => true,
            ShardFilter::AtTrimHorizon => begins(shard, horizon_ms),
            ShardFilter::AtLatest => shard.is_open(),
            ShardFilter::AtTimestamp(time) => begins(shard, millis(time).max(horizon_ms)),
            ShardFilter::FromTimestamp(time) => shard.row.closed_ms.is_none_or(|closed| closed > millis(time)),
            ShardFilter::AfterShardId(id) => shard.id > id,
        };
        let after = |shard: &ShardState| exclusive_start.is_none_or(|start| shard.id > start);
        let mut shards = map.all().filter(|shard| after(shard) && !self.has_expired(shard) && lets_through(shard));
        let page: Vec<Shard> = shards.by_ref().take(limit).map(|shard| shard.describe()).collect();
        Ok(ShardPage { shards: page, has_more: shards.next().is_some() })
    }
}
