//! Consumer groups in random histories: which there are, and which shards each has a lease for. What their workers do has histories of
//! its own (`tests/group_histories.rs`).

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use braidlog::stream::{GroupOptions, ShardProgress, StartingPosition, Stream};

use super::{HOUR_MS, Run};
use crate::ensure;
use crate::oracle::{Kind, ShardModel, StreamModel, Verdict};

fn progress(stream: &Stream, group: &str) -> Result<Vec<ShardProgress>, String> {
    let group = stream.consumer_group(group, GroupOptions::new()).map_err(|e| e.to_string())?;
    group.progress().map_err(|e| e.to_string())
}

/// In what the groups of a stream, and the shards each reads, are not what the model says.
pub(super) fn differ(stream: &Stream, model: &StreamModel) -> Option<String> {
    let found = stream.consumer_groups();
    if !found.iter().eq(model.groups.keys()) {
        return Some(format!("groups are {found:?}, not {:?}", model.groups.keys()));
    }
    // Nobody is told how far a group is in a stream that is being made.
    if found.is_empty() || stream.describe().stream_status == braidlog::stream::StreamStatus::Creating {
        return None;
    }
    model.groups.iter().find_map(|(name, leases)| match progress(stream, name) {
        Ok(found) if found.iter().map(|shard| shard.shard_id.index()).eq(leases.keys().copied()) => None,
        Ok(found) => Some(format!("group {name} has leases for {found:?}, not {leases:?}")),
        Err(error) => Some(format!("group {name}: {error}")),
    })
}

/// How far groups are whose leases are known to be right.
pub(super) fn check(stream: &Stream, model: &StreamModel, now_ms: u64) -> Verdict {
    for (name, leases) in &model.groups {
        for found in progress(stream, name)? {
            let index = found.shard_id.index();
            let shard = model.shard(index).ok_or_else(|| format!("group {name}: no shard {index}"))?;
            let next = leases[&index].max(shard.first_visible(now_ms, model.retention_hours));
            let behind = (shard.records.len() - next) as u64;
            let right = found.records_behind == behind && !found.finished && found.owner.is_none();
            ensure!(right, "group {name}: is {found:?}, not {behind} records behind");
        }
    }
    Ok(())
}

impl Run {
    /// One is made, or asked for again, or deleted.
    pub(super) fn group(&mut self, name: &str) -> Verdict {
        self.settle()?;
        if self.is_dead() {
            return Ok(());
        }
        let stream = self.stream(name)?;
        let group = format!("group-{}", self.tape.choose("group", 3));
        if self.tape.choose("delete", 4) == 0 {
            let after = self.with(name, |s| s.groups.remove(&group).map(drop).ok_or(Kind::NotFound));
            return self.control("delete group", after, stream.delete_consumer_group(&group)).map(drop);
        }
        let (now_ms, ago_ms) = (self.now_ms(), self.tape.choose("ago", 30 * HOUR_MS));
        let at_ms = now_ms.saturating_sub(ago_ms);
        let at = |ms: u64| StartingPosition::AtTimestamp(UNIX_EPOCH + Duration::from_millis(ms));
        type Lets<'a> = &'a dyn Fn(&ShardModel) -> bool;
        let (position, is_there): (_, Result<Lets<'_>, Kind>) = match self.tape.choose("group_position", 5) {
            0 | 1 => (StartingPosition::TrimHorizon, Ok(&|_| true)),
            2 => (StartingPosition::Latest, Ok(&|shard| shard.open)),
            3 => (at(at_ms), Ok(&move |shard| shard.closed_ms.is_none_or(|closed_ms| closed_ms > at_ms))),
            _ => (at(now_ms + 1), Err(Kind::Invalid)),
        };
        let place = |shard: &ShardModel, retention_hours: u32| match position {
            StartingPosition::TrimHorizon => shard.first_visible(now_ms, retention_hours),
            StartingPosition::Latest => shard.records.len(),
            _ => shard.first_since(at_ms),
        };
        let after = self.with(name, |s| {
            if s.groups.contains_key(&group) {
                return Ok(());
            }
            let is_there = is_there?;
            if s.is_creating(now_ms) {
                return Err(Kind::NotFound);
            }
            let listed: BTreeMap<u32, usize> = s
                .listed(now_ms)
                .into_iter()
                .filter(|shard| is_there(shard))
                .map(|shard| (shard.index, place(shard, s.retention_hours)))
                .collect();
            s.groups.insert(group.clone(), listed);
            Ok(())
        });
        let answer = stream.consumer_group(&group, GroupOptions::new().starting_position(position));
        self.control("consumer group", after, answer).map(drop)
    }
}
