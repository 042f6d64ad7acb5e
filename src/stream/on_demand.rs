//! How the shards of an on-demand stream follow its traffic.
//!
//! Now and then the traffic of each open shard since the last look is held against a rate. A hot shard is split at a hash key
//! that divides what it was seen to take; when one hash key carries over half of that, no split would help, and the engine
//! says so instead. Two neighbours that have been cold together for a while are merged.

use std::collections::HashMap;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::limits::{ON_DEMAND_SHARDS, SHARD_BYTES_IN, SHARD_RECORDS_IN, SHARDS_PER_STREAM_MAX};

use super::Stream;
use super::hash_key::{HashKey, HashKeyRange};
use super::options::{Distribution, StreamMode, distribution_of, mode_of};
use super::reshard;
use super::sample::{Measure, Share};
use super::shard::{ShardId, ShardMap, ShardState};
use super::transition::Also;

/// When an on-demand stream gets more or fewer shards. The service does not publish its rule; these figures keep a shard below
/// the service's limits, and each can be changed.
///
/// ```
/// use braidlog::stream::OnDemandOptions;
/// // Shards on this machine take more than the service's do.
/// let mut on_demand = OnDemandOptions::default();
/// on_demand.split_bytes_per_second = 50 << 20;
/// on_demand.split_records_per_second = 50_000;
/// # assert!(on_demand.merge_bytes_per_second < on_demand.split_bytes_per_second);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OnDemandOptions {
    /// How long traffic is looked at before anything is decided from it. Default 60 s.
    pub interval: Duration,
    /// A shard that takes more bytes a second is split. Default 80 % of 1 MiB.
    pub split_bytes_per_second: u64,
    /// A shard that takes more records a second is split. Default 800.
    pub split_records_per_second: u64,
    /// Neighbours that take fewer bytes a second together may be merged. Default 20 % of 1 MiB.
    pub merge_bytes_per_second: u64,
    /// Neighbours that take fewer records a second together may be merged. Default 200.
    pub merge_records_per_second: u64,
    /// For how long they must have been that cold. Default 15 minutes.
    pub merge_after: Duration,
    /// Fewest open shards. Default 4, what the service begins with.
    pub shards_min: u32,
    /// Most open shards. Default 10,000.
    pub shards_max: u32,
}

impl Default for OnDemandOptions {
    fn default() -> Self {
        OnDemandOptions {
            interval: Duration::from_secs(60),
            split_bytes_per_second: SHARD_BYTES_IN * 4 / 5,
            split_records_per_second: SHARD_RECORDS_IN * 4 / 5,
            merge_bytes_per_second: SHARD_BYTES_IN / 5,
            merge_records_per_second: SHARD_RECORDS_IN / 5,
            merge_after: Duration::from_secs(15 * 60),
            shards_min: ON_DEMAND_SHARDS,
            shards_max: SHARDS_PER_STREAM_MAX,
        }
    }
}

impl OnDemandOptions {
    /// By what a hot shard is the hotter.
    fn measure_of(&self, rate: Rate) -> Measure {
        let part = |rate: u64, of: u64| rate as f64 / of.max(1) as f64;
        let bytes = part(rate.bytes, self.split_bytes_per_second);
        if bytes > part(rate.records, self.split_records_per_second) { Measure::Bytes } else { Measure::Records }
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.shards_min == 0 || self.shards_min > self.shards_max {
            let why = format!("it must be from 1 to shards_max, which is {}", self.shards_max);
            return Err(Error::invalid("on_demand.shards_min", self.shards_min, why));
        }
        // Or what was just split would be merged again.
        let pairs = [
            ("on_demand.merge_bytes_per_second", self.merge_bytes_per_second, self.split_bytes_per_second),
            ("on_demand.merge_records_per_second", self.merge_records_per_second, self.split_records_per_second),
        ];
        match pairs.into_iter().find(|(_, merge, split)| merge >= split) {
            Some((what, merge, split)) => {
                Err(Error::invalid(what, merge, format!("it must be below the rate a shard is split at, {split}")))
            }
            None => Ok(()),
        }
    }
}

/// What [`crate::Engine::maintain`] did.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// assert!(engine.maintain()?.splits.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Maintenance {
    /// Shards that were split, with their streams.
    pub splits: Vec<(String, ShardId)>,
    /// Neighbours that were merged.
    pub merges: Vec<(String, ShardId, ShardId)>,
    /// Hot shards that were not split because one hash key carries over half of their traffic: of the bytes or the records, by
    /// whichever the shard is hot.
    pub single_key: Vec<(String, ShardId)>,
    /// Hot shards that were not split because the account may not have more open shards.
    pub at_limit: Vec<(String, ShardId)>,
    /// Closed shards that went because their last record had expired.
    pub expired: Vec<(String, ShardId)>,
    /// Of other accounts on the store, where there was anything: what was done for each.
    pub accounts: Vec<(String, Maintenance)>,
}

/// The last look at the traffic of a stream.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    at_ms: Option<u64>,
    /// Bytes and records that each shard had taken by then.
    taken: HashMap<ShardId, (u64, u64)>,
    /// Since when two neighbours have been cold together.
    cold_since: HashMap<(ShardId, ShardId), u64>,
}

/// What a second of one shard's traffic is.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Rate {
    bytes: u64,
    records: u64,
}

impl Looked {
    /// Rates since the last look, if that was long enough ago; this is the last look then.
    fn look(&mut self, map: &ShardMap, now_ms: u64, interval: Duration) -> Option<HashMap<ShardId, Rate>> {
        let taken = |shard: &ShardState| {
            let traffic = shard.traffic.snapshot();
            (traffic.bytes_in, traffic.records_in)
        };
        let passed_ms = match self.at_ms {
            Some(at_ms) => now_ms.saturating_sub(at_ms),
            None => 0,
        };
        if self.at_ms.is_some() && passed_ms < (interval.as_millis() as u64).max(1) {
            return None;
        }
        let now: HashMap<ShardId, (u64, u64)> = map.open().iter().map(|shard| (shard.id, taken(shard))).collect();
        let before = std::mem::replace(&mut self.taken, now.clone());
        self.at_ms = Some(now_ms);
        if passed_ms == 0 {
            return None;
        }
        let per_second =
            |now: u64, before: u64| (u128::from(now - before.min(now)) * 1000 / u128::from(passed_ms)) as u64;
        let rate = |(id, (bytes, records)): (ShardId, (u64, u64))| {
            let (b, r) = before.get(&id).copied().unwrap_or_default();
            (id, Rate { bytes: per_second(bytes, b), records: per_second(records, r) })
        };
        Some(now.into_iter().map(rate).collect())
    }
}

/// What the samples of a shard's traffic say of where to split it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Division {
    At(HashKey),
    /// One key carries over half.
    SingleKey,
    /// Nothing was seen, or the range is too narrow.
    Unknown,
}

impl Division {
    /// There, if both sides get more than one hash key of the range.
    fn at(range: HashKeyRange, key: HashKey) -> Division {
        let fits = key.0 > range.start.0.saturating_add(1) && key.0 < range.end.0;
        if fits { Division::At(key) } else { Division::Unknown }
    }
}

/// How far beyond half of the traffic a key must have been seen, in standard deviations of the sample: of two keys that have half
/// each, one would be taken for more than that all the time.
const SURE: f64 = 3.0;

fn divide(range: HashKeyRange, mut shares: Vec<Share>) -> Division {
    shares.retain(|share| range.contains(share.key));
    shares.sort_unstable_by_key(|share| share.key);
    let total: f64 = shares.iter().map(|share| share.amount).sum();
    // Half of a share's chance counts for its key, half against it.
    let deviation = shares.iter().map(|share| share.chance).sum::<f64>().sqrt() / 2.0;
    let (mut below, mut best) = (0.0, None);
    for of_key in shares.chunk_by(|a, b| a.key == b.key) {
        let amount: f64 = of_key.iter().map(|share| share.amount).sum();
        if amount - total / 2.0 > SURE * deviation {
            return Division::SingleKey;
        }
        // The upper shard would begin with this key: what divides the traffic most evenly, of what fits.
        let uneven = f64::abs(2.0 * below - total);
        let at = Division::at(range, of_key[0].key);
        if at != Division::Unknown && below > 0.0 && best.is_none_or(|(least, _)| uneven < least) {
            best = Some((uneven, at));
        }
        below += amount;
    }
    best.map_or(Division::Unknown, |(_, at)| at)
}

fn halve(range: HashKeyRange) -> Division {
    Division::at(range, HashKey(range.start.0 + (range.end.0 - range.start.0) / 2 + 1))
}

impl Stream {
    pub(crate) fn maintain(&self, done: &mut Maintenance) -> Result<()> {
        self.complete_due()?;
        if mode_of(&self.state.row()) == StreamMode::OnDemand {
            self.follow_traffic(done)?;
        }
        self.drop_expired(done)
    }

    fn split_hot(&self, shard: ShardId, at: HashKey) -> Result<()> {
        let control = self.control()?;
        let plan = reshard::split(&self.state.shards(), shard, at)?;
        self.check_growth(&plan)?;
        self.reshard(control, plan, Also::default())
    }

    /// Whether it could be done: not while there are more groups than a frame has leases for.
    fn merge_cold(&self, low: ShardId, high: ShardId) -> Result<bool> {
        let control = self.control()?;
        let plan = reshard::merge(&self.state.shards(), low, high)?;
        match self.reshard(control, plan, Also::default()) {
            Err(Error::LimitExceeded { .. }) => Ok(false),
            outcome => outcome.map(|()| true),
        }
    }

    fn follow_traffic(&self, done: &mut Maintenance) -> Result<()> {
        let options = &self.shared.options.on_demand;
        let now_ms = self.shared.monotonic_ms();
        let map = self.state.shards();
        let mut looked = self.state.looked.lock();
        let is_first = looked.at_ms.is_none();
        let Some(rates) = looked.look(&map, now_ms, options.interval) else {
            if is_first {
                map.open().iter().for_each(|shard| shard.traffic.end_look());
            }
            return Ok(());
        };
        let mut open = map.open().len() as u32;
        for shard in map.open() {
            let Some(rate) = rates.get(&shard.id) else { continue };
            let hot = rate.bytes > options.split_bytes_per_second || rate.records > options.split_records_per_second;
            if !hot || open >= options.shards_max {
                continue;
            }
            // Where keys say nothing, half of the traffic goes to half of the range.
            let division = match distribution_of(&self.state.row()) {
                Distribution::Auto => halve(shard.range()),
                Distribution::ByKey => divide(shard.range(), shard.traffic.shares(options.measure_of(*rate))),
            };
            match division {
                Division::At(key) => match self.split_hot(shard.id, key) {
                    Ok(()) => {
                        open += 1;
                        done.splits.push((self.name().to_owned(), shard.id));
                    }
                    Err(Error::LimitExceeded { .. }) => done.at_limit.push((self.name().to_owned(), shard.id)),
                    // Closed meanwhile, by somebody who was asked to.
                    Err(Error::InvalidArgument { .. }) => {}
                    Err(error) => return Err(error),
                },
                Division::SingleKey => done.single_key.push((self.name().to_owned(), shard.id)),
                Division::Unknown => {}
            }
        }
        map.open().iter().for_each(|shard| shard.traffic.end_look());
        // Of pairs that are still both open, those that stay cold; a shard takes part in one merge.
        let mut cold_since = HashMap::new();
        let mut merged = None;
        for pair in map.open().windows(2) {
            let (low, high) = (&pair[0], &pair[1]);
            let (Some(a), Some(b)) = (rates.get(&low.id), rates.get(&high.id)) else { continue };
            let cold = a.bytes + b.bytes < options.merge_bytes_per_second
                && a.records + b.records < options.merge_records_per_second;
            if !cold || merged == Some(low.id) {
                continue;
            }
            let since = *looked.cold_since.get(&(low.id, high.id)).unwrap_or(&now_ms);
            let long = u128::from(now_ms - since.min(now_ms)) >= options.merge_after.as_millis();
            if long && open > options.shards_min && self.merge_cold(low.id, high.id)? {
                open -= 1;
                merged = Some(high.id);
                done.merges.push((self.name().to_owned(), low.id, high.id));
            } else {
                cold_since.insert((low.id, high.id), since);
            }
        }
        looked.cold_since = cold_since;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_that_would_split_and_merge_in_turn_are_refused() {
        let options = OnDemandOptions::default();
        options.check().unwrap();
        let merges_too_early = OnDemandOptions { merge_records_per_second: 800, ..options.clone() };
        assert!(matches!(merges_too_early.check(), Err(Error::InvalidArgument { .. })));
        assert!(OnDemandOptions { shards_min: 0, ..options }.check().is_err());
    }

    #[test]
    fn a_shard_is_divided_where_its_traffic_is() {
        let share = |key: u128, amount: usize| Share { key: HashKey(key), amount: amount as f64, chance: 0.0 };
        let keys = |counts: &[(u128, usize)]| -> Vec<Share> { counts.iter().map(|(key, n)| share(*key, *n)).collect() };
        let range = HashKeyRange { start: HashKey(100), end: HashKey(10_000) };
        assert_eq!(divide(range, keys(&[(200, 10), (300, 10)])), Division::At(HashKey(300)));
        assert_eq!(divide(range, keys(&[(200, 4), (300, 10), (400, 6)])), Division::At(HashKey(400)));
        assert_eq!(divide(range, keys(&[(200, 9), (300, 11)])), Division::SingleKey);
        assert_eq!(divide(range, keys(&[(200, 10), (300, 5), (400, 5)])), Division::At(HashKey(300)));
        // Samples from before the shard was split are not of its range.
        assert_eq!(divide(range, keys(&[(50, 10)])), Division::Unknown);
        assert_eq!(divide(range, vec![]), Division::Unknown);
        // The first two hash keys of a range can't begin the upper shard.
        assert_eq!(divide(range, keys(&[(100, 10), (101, 9), (300, 1)])), Division::At(HashKey(300)));
        // By chance one of two equal keys is seen more often than the other.
        let by_chance: Vec<Share> =
            keys(&[(200, 130), (300, 126)]).into_iter().map(|share| Share { chance: share.amount, ..share }).collect();
        assert_eq!(divide(range, by_chance), Division::At(HashKey(300)));
    }
}
