//! What the streams of an engine must be: naive lists, written from the rules of the service and not from the code.

use std::collections::{BTreeMap, BTreeSet};

use braidlog::Error;
use braidlog::stream::{ConsumerStatus, SequenceNumber, ShardMetric, StreamStatus};

/// A violation of the rules, in words.
pub type Verdict<T = ()> = Result<T, String>;

/// Answers with a violation.
#[macro_export]
macro_rules! ensure {
    ($holds:expr, $($what:tt)*) => {
        if !$holds {
            return Err(format!($($what)*));
        }
    };
}

/// Which error a call must get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Invalid,
    NotFound,
    InUse,
    Limit,
    OnDemand,
    Throughput,
    Expired,
    Empty,
}

pub fn kind_of(error: &Error) -> Option<Kind> {
    Some(match error {
        Error::InvalidArgument { .. } => Kind::Invalid,
        Error::ResourceNotFound { .. } => Kind::NotFound,
        Error::ResourceInUse { .. } => Kind::InUse,
        Error::LimitExceeded { .. } => Kind::Limit,
        Error::OnDemand { .. } => Kind::OnDemand,
        Error::ThroughputExceeded { .. } => Kind::Throughput,
        Error::ExpiredIterator { .. } => Kind::Expired,
        Error::EmptyBatch => Kind::Empty,
        _ => return None,
    })
}

/// A record that was put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    pub tag: u64,
    pub key: Option<String>,
    pub explicit: Option<u128>,
    pub len: usize,
    /// What it was acknowledged with.
    pub number: Option<SequenceNumber>,
    pub arrival_ms: u64,
}

impl Put {
    /// Its bytes: they tell which record it is.
    pub fn data(&self) -> Vec<u8> {
        let mut data = vec![self.tag as u8; self.len.max(8)];
        data[..8].copy_from_slice(&self.tag.to_le_bytes());
        data
    }

    /// RFC 1321's MD5 of the key, as a big-endian number, unless the producer says otherwise.
    pub fn hash_key(&self) -> u128 {
        let of_key = || u128::from_be_bytes(md5::compute(self.key.clone().unwrap_or_default()).0);
        self.explicit.unwrap_or_else(of_key)
    }
}

#[derive(Debug, Clone)]
pub struct ShardModel {
    pub index: u32,
    pub start: u128,
    pub end: u128,
    /// Parent and adjacent parent.
    pub parents: Vec<u32>,
    pub open: bool,
    /// What only the engine says, once it was asked.
    pub starting: Option<SequenceNumber>,
    pub opened_ms: Option<u64>,
    pub closed_ms: Option<u64>,
    pub records: Vec<Put>,
    /// Those before are hidden for good.
    pub hidden: usize,
}

impl ShardModel {
    pub fn new(index: u32, start: u128, end: u128, parents: Vec<u32>) -> ShardModel {
        ShardModel {
            index,
            start,
            end,
            parents,
            open: true,
            starting: None,
            opened_ms: None,
            closed_ms: None,
            records: Vec::new(),
            hidden: 0,
        }
    }

    /// Place of the first record that may still be read.
    pub fn first_visible(&self, now_ms: u64, retention_hours: u32) -> usize {
        let oldest = now_ms - u64::from(retention_hours) * 3_600_000;
        let by_age = self.records.iter().position(|put| put.arrival_ms >= oldest).unwrap_or(self.records.len());
        by_age.max(self.hidden)
    }

    pub fn first_since(&self, arrival_ms: u64) -> usize {
        self.records.iter().position(|put| put.arrival_ms >= arrival_ms).unwrap_or(self.records.len())
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsumerModel {
    pub tags: BTreeMap<String, String>,
    pub policy: Option<String>,
    pub arn: Option<String>,
    /// Until when it is being registered.
    pub creating_until_ms: u64,
}

impl ConsumerModel {
    pub fn status(&self, now_ms: u64) -> ConsumerStatus {
        if now_ms < self.creating_until_ms { ConsumerStatus::Creating } else { ConsumerStatus::Active }
    }
}

/// What a stream was asked to do with its shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reshard {
    Split { shard: u32, at: u128 },
    Merge { one: u32, other: u32 },
    Scale { target: u32 },
}

/// A reshard that was acknowledged and lies ahead: it is due a transition time after it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub what: Reshard,
    pub asked_ms: u64,
}

#[derive(Debug, Clone)]
pub struct StreamModel {
    /// Tells lives of one name apart.
    pub life: u64,
    pub created_ms: Option<u64>,
    pub on_demand: bool,
    pub auto: bool,
    pub retention_hours: u32,
    pub max_record_kib: u32,
    pub warm: Option<u32>,
    pub metrics: BTreeSet<ShardMetric>,
    pub tags: BTreeMap<String, String>,
    pub policy: Option<String>,
    pub encryption_key: Option<String>,
    /// When a key was taken away, and when one was given, in this life of the engine.
    pub keyed_ms: [Vec<u64>; 2],
    pub shards: Vec<ShardModel>,
    /// Index of the next shard.
    pub next: u32,
    pub consumers: BTreeMap<String, ConsumerModel>,
    /// Those that are being removed, and until when.
    pub leaving: BTreeMap<String, (ConsumerModel, u64)>,
    /// Of each consumer group, the shards it has a lease for, with the place of the first record it will read.
    pub groups: BTreeMap<String, BTreeMap<u32, usize>>,
    /// When its shard count was updated.
    pub scaled_ms: Vec<u64>,
    /// What becomes of its shards when somebody looks at it after it is due.
    pub asked: Option<Asked>,
    /// A status that is over at some time, and that time.
    pub passing: Option<(StreamStatus, u64)>,
}

/// The whole hash space in equal parts: floor(2^128 / count) each, the last one takes the rest.
pub fn uniform(count: u32) -> Vec<(u128, u128)> {
    if count == 1 {
        return vec![(0, u128::MAX)];
    }
    let count = u128::from(count);
    let mut width = u128::MAX / count;
    // 2^128 = u128::MAX + 1: does the one more make another whole part for everybody?
    if u128::MAX - width * count == count - 1 {
        width += 1;
    }
    let range = |at: u128| (at * width, if at + 1 == count { u128::MAX } else { (at + 1) * width - 1 });
    (0..count).map(range).collect()
}

impl StreamModel {
    pub fn new(life: u64, shards: u32) -> StreamModel {
        let ranges = uniform(shards).into_iter().zip(0..);
        StreamModel {
            life,
            created_ms: None,
            on_demand: false,
            auto: false,
            retention_hours: 24,
            max_record_kib: 1024,
            warm: None,
            metrics: BTreeSet::new(),
            tags: BTreeMap::new(),
            policy: None,
            encryption_key: None,
            keyed_ms: [Vec::new(), Vec::new()],
            shards: ranges.map(|((start, end), index)| ShardModel::new(index, start, end, Vec::new())).collect(),
            next: shards,
            consumers: BTreeMap::new(),
            leaving: BTreeMap::new(),
            groups: BTreeMap::new(),
            scaled_ms: Vec::new(),
            asked: None,
            passing: None,
        }
    }

    pub fn status(&self, now_ms: u64) -> StreamStatus {
        match self.passing {
            _ if self.asked.is_some() => StreamStatus::Updating,
            Some((status, until_ms)) if now_ms < until_ms => status,
            _ => StreamStatus::Active,
        }
    }

    /// What changes a stream, and would make it other than active, is done to an active one only.
    pub fn check_active(&self, now_ms: u64) -> Result<(), Kind> {
        if self.status(now_ms) == StreamStatus::Active { Ok(()) } else { Err(Kind::InUse) }
    }

    pub fn is_creating(&self, now_ms: u64) -> bool {
        self.status(now_ms) == StreamStatus::Creating
    }

    /// Its remarks can be changed and its shards listed once it is made.
    pub fn check_made(&self, now_ms: u64) -> Result<(), Kind> {
        if self.is_creating(now_ms) { Err(Kind::InUse) } else { Ok(()) }
    }

    /// A setting was changed, which takes so long.
    pub fn updated(&mut self, now_ms: u64, time_ms: u64) {
        self.passing = (time_ms > 0).then_some((StreamStatus::Updating, now_ms + time_ms));
    }

    /// Consumers that are described but not there any more.
    pub fn leaving(&self, now_ms: u64) -> impl Iterator<Item = (&String, &ConsumerModel)> {
        self.leaving.iter().filter(move |(_, (_, until_ms))| now_ms < *until_ms).map(|(name, (model, _))| (name, model))
    }

    pub fn shard(&self, index: u32) -> Option<&ShardModel> {
        self.shards.iter().find(|shard| shard.index == index)
    }

    pub fn shard_mut(&mut self, index: u32) -> Option<&mut ShardModel> {
        self.shards.iter_mut().find(|shard| shard.index == index)
    }

    pub fn open(&self) -> Vec<&ShardModel> {
        let mut open: Vec<&ShardModel> = self.shards.iter().filter(|shard| shard.open).collect();
        open.sort_by_key(|shard| shard.start);
        open
    }

    /// What the open shards own, in order.
    pub fn ranges(&self) -> Vec<(u128, u128)> {
        self.open().iter().map(|shard| (shard.start, shard.end)).collect()
    }

    /// The open shard that owns a hash key.
    pub fn owner(&self, hash_key: u128) -> u32 {
        let mut owners = self.shards.iter().filter(|s| s.open && s.start <= hash_key && hash_key <= s.end);
        let owner = owners.next().expect("every hash key has an owner");
        assert!(owners.next().is_none(), "hash key {hash_key} has two owners");
        owner.index
    }

    pub fn children(&self, index: u32) -> Vec<&ShardModel> {
        self.shards.iter().filter(|shard| shard.parents.contains(&index)).collect()
    }

    /// The oldest moment that may still be read.
    pub fn horizon_ms(&self, now_ms: u64) -> u64 {
        (now_ms - u64::from(self.retention_hours) * 3_600_000).max(self.created_ms.unwrap_or(0))
    }

    pub fn has_expired(&self, shard: &ShardModel, now_ms: u64) -> bool {
        shard.closed_ms.is_some_and(|closed_ms| closed_ms < self.horizon_ms(now_ms))
    }

    pub fn listed(&self, now_ms: u64) -> Vec<&ShardModel> {
        self.shards.iter().filter(|shard| !self.has_expired(shard, now_ms)).collect()
    }

    /// What is asked of it, if it is due where a transition takes so long.
    pub fn due(&self, now_ms: u64, time_ms: u64) -> Option<Reshard> {
        self.asked.filter(|asked| asked.asked_ms + time_ms <= now_ms).map(|asked| asked.what)
    }

    /// A split or a merge as it was asked for. A scaling is done in steps of the engine's choice.
    pub fn reshard(&mut self, what: Reshard) -> Result<(), Kind> {
        match what {
            Reshard::Split { shard, at } => self.split(shard, at),
            Reshard::Merge { one, other } => self.merge(one, other),
            Reshard::Scale { .. } => panic!("the engine chooses the steps of {what:?}"),
        }
    }

    pub fn split(&mut self, index: u32, at: u128) -> Result<(), Kind> {
        let next = self.next;
        let shard = self.shard_mut(index).ok_or(Kind::NotFound)?;
        if !shard.open || at <= shard.start.saturating_add(1) || at >= shard.end {
            return Err(Kind::Invalid);
        }
        shard.open = false;
        let (start, end) = (shard.start, shard.end);
        self.open_child(ShardModel::new(next, start, at - 1, vec![index]));
        self.open_child(ShardModel::new(next + 1, at, end, vec![index]));
        Ok(())
    }

    pub fn merge(&mut self, one: u32, other: u32) -> Result<(), Kind> {
        let a = self.shard(one).ok_or(Kind::NotFound)?.clone();
        let b = self.shard(other).ok_or(Kind::NotFound)?.clone();
        let touch = a.end.checked_add(1) == Some(b.start) || b.end.checked_add(1) == Some(a.start);
        if !a.open || !b.open || !touch {
            return Err(Kind::Invalid);
        }
        for index in [one, other] {
            self.shard_mut(index).expect("it is there").open = false;
        }
        let range = (a.start.min(b.start), a.end.max(b.end));
        self.open_child(ShardModel::new(self.next, range.0, range.1, vec![one, other]));
        Ok(())
    }

    /// A reshard opens a shard, and every group reads it from its beginning.
    pub fn open_child(&mut self, shard: ShardModel) {
        self.groups.values_mut().for_each(|leases| {
            leases.insert(shard.index, 0);
        });
        self.next = self.next.max(shard.index + 1);
        self.shards.push(shard);
    }

    /// Shards whose last record has expired go, and the leases with them.
    pub fn drop_shards(&mut self, gone: &BTreeSet<u32>) {
        self.shards.retain(|shard| !gone.contains(&shard.index));
        self.groups.values_mut().for_each(|leases| leases.retain(|index, _| !gone.contains(index)));
    }

    /// Whether one more change of its key, or away from one, would be too many.
    pub fn keyed_too_often(&self, kind: usize, now_ms: u64) -> bool {
        self.keyed_ms[kind].iter().filter(|at| now_ms - **at < 24 * 3_600_000).count() >= 25
    }

    /// Open shards, with those that were asked for.
    fn open_shards(&self) -> usize {
        let open = self.open().len();
        open + match self.asked.map(|asked| asked.what) {
            Some(Reshard::Split { .. }) => 1,
            Some(Reshard::Scale { target }) => (target as usize).saturating_sub(open),
            Some(Reshard::Merge { .. }) | None => 0,
        }
    }

    /// Whether one more update of the shard count would be too many.
    pub fn scaled_too_often(&self, now_ms: u64, max: usize) -> bool {
        self.scaled_ms.iter().filter(|at| now_ms - **at < 24 * 3_600_000).count() >= max
    }

    /// What has expired stays so, whatever the rule will be.
    pub fn set_retention(&mut self, hours: u32, now_ms: u64) {
        for shard in &mut self.shards {
            shard.hidden = shard.first_visible(now_ms, self.retention_hours);
        }
        self.retention_hours = hours;
    }
}

#[derive(Debug, Clone, Default)]
pub struct Model {
    pub streams: BTreeMap<String, StreamModel>,
    /// Names that a deleted stream still has, and until when.
    pub deleting: BTreeMap<String, u64>,
}

impl Model {
    pub fn is_deleting(&self, name: &str, now_ms: u64) -> bool {
        self.deleting.get(name).is_some_and(|until_ms| now_ms < *until_ms)
    }

    /// Every name that is taken, in order.
    pub fn names(&self, now_ms: u64) -> BTreeSet<&String> {
        let deleting = self.deleting.keys().filter(|name| self.is_deleting(name, now_ms));
        self.streams.keys().chain(deleting).collect()
    }

    /// Of all that passes, only what was asked of shards is more than a status: nothing else outlives the engine that said it.
    pub fn reopened(&mut self) {
        self.deleting.clear();
        for stream in self.streams.values_mut() {
            stream.passing = None;
            stream.leaving.clear();
            stream.consumers.values_mut().for_each(|consumer| consumer.creating_until_ms = 0);
            stream.keyed_ms.iter_mut().for_each(Vec::clear);
        }
    }

    /// Open shards of the account, with those that were asked for.
    pub fn open_shards(&self) -> usize {
        self.streams.values().map(StreamModel::open_shards).sum()
    }

    /// When something that is on its way ends, where a transition takes so long.
    pub fn ends_ms(&self, now_ms: u64, time_ms: u64) -> BTreeSet<u64> {
        let of_stream = |stream: &StreamModel| {
            let asked = stream.asked.map(|asked| asked.asked_ms + time_ms);
            let consumers = stream.consumers.values().map(|consumer| consumer.creating_until_ms);
            let leaving = stream.leaving.values().map(|(_, until_ms)| *until_ms);
            let passing = stream.passing.map(|(_, until_ms)| until_ms);
            asked.into_iter().chain(passing).chain(consumers).chain(leaving).collect::<Vec<u64>>()
        };
        let ends_ms = self.streams.values().flat_map(of_stream).chain(self.deleting.values().copied());
        ends_ms.filter(|end_ms| now_ms < *end_ms).collect()
    }
}
