//! Shards: a log each that owns a range of the hash space, and their lineage.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use crate::error::{Error, Result};
use crate::format::stream::ShardRow;
use crate::log::Log;
use crate::store::Store;
use crate::sync::Arc;

use super::fan_out::FanOut;
use super::hash_key::{HashKey, HashKeyRange};
use super::sequence_number::{Birth, SequenceNumber};
use super::throughput::Traffic;

/// Identity of a shard within its stream: `shardId-` and twelve digits. Never used again within the stream.
///
/// ```
/// use braidlog::stream::ShardId;
/// let shard: ShardId = "shardId-000000000007".parse()?;
/// assert_eq!(shard.index(), 7);
/// # Ok::<(), braidlog::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub(crate) u32);

impl ShardId {
    /// Its index: shards are counted from 0 in the order of their creation.
    pub fn index(self) -> u32 {
        self.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shardId-{:012}", self.0)
    }
}

impl FromStr for ShardId {
    type Err = Error;

    fn from_str(text: &str) -> Result<ShardId> {
        let index = text.strip_prefix("shardId-").filter(|d| d.len() == 12 && d.bytes().all(|b| b.is_ascii_digit()));
        let index = index.and_then(|digits| digits.parse::<u32>().ok()).filter(|index| *index != u32::MAX);
        index.map(ShardId).ok_or_else(|| Error::invalid("shard id", text, "it must be `shardId-` and twelve digits"))
    }
}

/// A shard as it is described.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// use braidlog::stream::{HashKeyRange, StreamOptions};
/// let clicks = engine.create_stream("clicks", StreamOptions::new())?;
/// let shard = &clicks.shards()[0];
/// assert_eq!(shard.hash_key_range, HashKeyRange::ALL);
/// assert_eq!(shard.ending_sequence_number, None);      // open
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shard {
    /// Its id.
    pub shard_id: ShardId,
    /// The shard it was split or merged from.
    pub parent_shard_id: Option<ShardId>,
    /// The other shard it was merged from.
    pub adjacent_parent_shard_id: Option<ShardId>,
    /// The hash keys it owns, or owned while it was open.
    pub hash_key_range: HashKeyRange,
    /// Below every record it ever has, and above every record of its parents.
    pub starting_sequence_number: SequenceNumber,
    /// Above every record it has, once it is closed.
    pub ending_sequence_number: Option<SequenceNumber>,
    /// When it was opened, in milliseconds since 1970.
    pub opened_ms: u64,
    /// When it was closed.
    pub closed_ms: Option<u64>,
}

/// What a reader at the end of a closed shard is told to go on with.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// use braidlog::stream::{HashKey, StreamOptions};
/// let clicks = engine.create_stream("clicks", StreamOptions::new())?;
/// let parent = clicks.shards()[0].shard_id;
/// clicks.split_shard(parent, HashKey(1 << 127))?;
/// let children = clicks.child_shards(parent)?;
/// assert_eq!(children.len(), 2);
/// assert_eq!(children[0].parent_shards, [parent]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChildShard {
    /// Its id.
    pub shard_id: ShardId,
    /// The shards it came from: one for a split, two for a merge.
    pub parent_shards: Vec<ShardId>,
    /// The hash keys it owns.
    pub hash_key_range: HashKeyRange,
}

/// A shard as the engine has it. Immutable but for its log, its counters and its subscribers, which a closed one
/// shares with the open one it was.
pub(crate) struct ShardState {
    pub(crate) id: ShardId,
    pub(crate) row: ShardRow,
    pub(crate) birth: Birth,
    log_name: Arc<str>,
    log: Arc<OnceLock<Log>>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) fan_out: Arc<FanOut>,
}

impl ShardState {
    pub(crate) fn new(stream: u64, id: ShardId, row: ShardRow, store: u8) -> ShardState {
        ShardState {
            id,
            row,
            birth: Birth { birth_s: row.birth_s, shard: id.0, store },
            log_name: log_name(stream, id).into(),
            log: Arc::default(),
            traffic: Arc::default(),
            fan_out: Arc::default(),
        }
    }

    /// The same shard, closed.
    pub(crate) fn closed(&self, closed_ms: u64) -> ShardState {
        ShardState {
            id: self.id,
            row: ShardRow { closed_ms: Some(closed_ms), ..self.row },
            birth: self.birth,
            log_name: self.log_name.clone(),
            log: self.log.clone(),
            traffic: self.traffic.clone(),
            fan_out: self.fan_out.clone(),
        }
    }

    pub(crate) fn log_name(&self) -> &str {
        &self.log_name
    }

    /// Its log, looked up when it is first asked for: idle shards cost nothing when the engine opens.
    pub(crate) fn log(&self, store: &Store) -> Result<&Log> {
        if let Some(log) = self.log.get() {
            return Ok(log);
        }
        let log = store.internal_log(&self.log_name)?;
        Ok(self.log.get_or_init(|| log))
    }

    pub(crate) fn is_open(&self) -> bool {
        self.row.closed_ms.is_none()
    }

    pub(crate) fn range(&self) -> HashKeyRange {
        HashKeyRange { start: HashKey(self.row.start), end: HashKey(self.row.end) }
    }

    pub(crate) fn parents(&self) -> Vec<ShardId> {
        [self.row.parent, self.row.adjacent_parent].into_iter().flatten().map(ShardId).collect()
    }

    pub(crate) fn describe(&self) -> Shard {
        Shard {
            shard_id: self.id,
            parent_shard_id: self.row.parent.map(ShardId),
            adjacent_parent_shard_id: self.row.adjacent_parent.map(ShardId),
            hash_key_range: self.range(),
            starting_sequence_number: SequenceNumber::starting(self.birth),
            ending_sequence_number: self.row.closed_ms.map(|closed_ms| SequenceNumber::ending(self.birth, closed_ms)),
            opened_ms: self.row.opened_ms,
            closed_ms: self.row.closed_ms,
        }
    }
}

/// The log of a shard.
pub(crate) fn log_name(stream: u64, id: ShardId) -> String {
    format!("{}stream/{stream:016x}/{id}", crate::options::INTERNAL_PREFIX)
}

/// Every shard of a stream, and which of the open ones owns what. Swapped whole when a reshard is durable.
#[derive(Default)]
pub(crate) struct ShardMap {
    /// Counts the reshards of this life.
    pub(crate) version: u64,
    shards: BTreeMap<ShardId, Arc<ShardState>>,
    /// The open ones, in the order of their ranges, which tile the hash space.
    open: Vec<Arc<ShardState>>,
}

impl ShardMap {
    pub(crate) fn new(version: u64, shards: impl IntoIterator<Item = Arc<ShardState>>) -> ShardMap {
        let shards: BTreeMap<ShardId, Arc<ShardState>> = shards.into_iter().map(|shard| (shard.id, shard)).collect();
        let mut open: Vec<_> = shards.values().filter(|shard| shard.is_open()).cloned().collect();
        open.sort_unstable_by_key(|shard| shard.row.start);
        ShardMap { version, shards, open }
    }

    /// The map after a reshard: `changed` shards take the place of those with the same ids, or come in.
    pub(crate) fn with(&self, changed: impl IntoIterator<Item = Arc<ShardState>>) -> ShardMap {
        ShardMap::new(self.version + 1, self.shards.values().cloned().chain(changed))
    }

    /// The map without some shards that expired.
    pub(crate) fn without(&self, gone: &[ShardId]) -> ShardMap {
        ShardMap::new(self.version, self.shards.values().filter(|shard| !gone.contains(&shard.id)).cloned())
    }

    pub(crate) fn get(&self, id: ShardId) -> Option<&Arc<ShardState>> {
        self.shards.get(&id)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<ShardState>> {
        self.shards.values()
    }

    /// Those from `id` on.
    pub(crate) fn from(&self, id: ShardId) -> impl Iterator<Item = &Arc<ShardState>> {
        self.shards.range(id..).map(|(_, shard)| shard)
    }

    pub(crate) fn open(&self) -> &[Arc<ShardState>] {
        &self.open
    }

    /// Place in [`ShardMap::open`] of the shard that owns `key`.
    pub(crate) fn owner(&self, key: HashKey) -> usize {
        self.open.partition_point(|shard| shard.row.end < key.0).min(self.open.len().saturating_sub(1))
    }

    /// What came of a closed shard.
    pub(crate) fn children(&self, id: ShardId) -> Vec<ChildShard> {
        let of = |shard: &&Arc<ShardState>| shard.row.parent == Some(id.0) || shard.row.adjacent_parent == Some(id.0);
        let child = |shard: &Arc<ShardState>| ChildShard {
            shard_id: shard.id,
            parent_shards: shard.parents(),
            hash_key_range: shard.range(),
        };
        self.shards.range(id..).map(|(_, shard)| shard).filter(of).map(child).collect()
    }

    /// Whether the ranges of the open shards tile the hash space.
    pub(crate) fn tiles(&self) -> bool {
        let joined = |pair: &[Arc<ShardState>]| pair[0].row.end.checked_add(1) == Some(pair[1].row.start);
        self.open.first().is_some_and(|shard| shard.row.start == 0)
            && self.open.last().is_some_and(|shard| shard.row.end == u128::MAX)
            && self.open.windows(2).all(joined)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shard_ids_are_shard_ids() {
        assert_eq!("shardId-000000000012".parse::<ShardId>().unwrap().to_string(), "shardId-000000000012");
        for bad in
            ["", "shardId-", "shardId-12", "shardId-0000000000012", "shardId-00000000001x", "shardId-999999999999"]
        {
            assert!(matches!(bad.parse::<ShardId>(), Err(Error::InvalidArgument { .. })), "{bad:?}");
        }
    }
}
