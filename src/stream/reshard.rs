//! Splits and merges as plans: which shards close, and which ranges open in their place. Pure.

use crate::error::{Error, Result};

use super::hash_key::{HashKey, HashKeyRange};
use super::shard::{ShardId, ShardMap, ShardState};

/// Shards that close and the children that open, in one step. Every child has one parent or two, as the service has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Plan {
    pub(crate) closes: Vec<ShardId>,
    pub(crate) children: Vec<Child>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) range: HashKeyRange,
    pub(crate) parent: ShardId,
    pub(crate) adjacent_parent: Option<ShardId>,
}

fn open_shard<'a>(map: &'a ShardMap, what: &'static str, id: ShardId) -> Result<&'a ShardState> {
    let shard = map.get(id).ok_or_else(|| Error::ResourceNotFound { what: format!("shard {id}") })?;
    if !shard.is_open() {
        return Err(Error::invalid(what, id, "the shard is closed already"));
    }
    Ok(shard)
}

/// Splits a shard: the lower child keeps what is below `at`, the upper one begins there.
pub(crate) fn split(map: &ShardMap, id: ShardId, at: HashKey) -> Result<Plan> {
    let range = open_shard(map, "ShardToSplit", id)?.range();
    // The service refuses the key right above the start too, so that no child owns a single key.
    if at.0 <= range.start.0.saturating_add(1) || at.0 >= range.end.0 {
        let why = format!("it must be above {} and below {}", range.start.0.saturating_add(1), range.end);
        return Err(Error::invalid("NewStartingHashKey", at, why));
    }
    let child = |range| Child { range, parent: id, adjacent_parent: None };
    let lower = child(HashKeyRange { start: range.start, end: HashKey(at.0 - 1) });
    Ok(Plan { closes: vec![id], children: vec![lower, child(HashKeyRange { start: at, end: range.end })] })
}

/// Merges two shards whose ranges touch.
pub(crate) fn merge(map: &ShardMap, id: ShardId, adjacent: ShardId) -> Result<Plan> {
    let one = open_shard(map, "ShardToMerge", id)?.range();
    let other = open_shard(map, "AdjacentShardToMerge", adjacent)?.range();
    let (low, high) = if one.start < other.start { (one, other) } else { (other, one) };
    if id == adjacent || low.end.0.checked_add(1) != Some(high.start.0) {
        let why = format!("its range ({other}) does not touch that of {id} ({one})");
        return Err(Error::invalid("AdjacentShardToMerge", adjacent, why));
    }
    let range = HashKeyRange { start: low.start, end: high.end };
    Ok(Plan {
        closes: vec![id, adjacent],
        children: vec![Child { range, parent: id, adjacent_parent: Some(adjacent) }],
    })
}

/// The next step of uniform scaling: splits of shards that hold a bound of a target range, or else merges of neighbours in one
/// target range. Empty when the open shards are the target. At most `shards_max` shards change at once.
pub(crate) fn towards(map: &ShardMap, target: &[HashKeyRange], shards_max: usize) -> Plan {
    let mut plan = Plan::default();
    // Where a target range begins strictly inside a shard. A shard may hold several: halves first, so that lineages stay short.
    for shard in map.open() {
        if plan.closes.len() >= shards_max {
            return plan;
        }
        let range = shard.range();
        let from = target.partition_point(|t| t.start <= range.start);
        let upto = target.partition_point(|t| t.start <= range.end);
        if let Some(bound) = target.get(from..upto).and_then(|inside| inside.get(inside.len() / 2)) {
            let child = |range| Child { range, parent: shard.id, adjacent_parent: None };
            plan.closes.push(shard.id);
            plan.children.push(child(HashKeyRange { start: range.start, end: HashKey(bound.start.0 - 1) }));
            plan.children.push(child(HashKeyRange { start: bound.start, end: range.end }));
        }
    }
    if !plan.closes.is_empty() {
        return plan;
    }
    let mut open = map.open();
    while let [low, high, rest @ ..] = open {
        if plan.closes.len() + 1 >= shards_max.max(2) {
            return plan;
        }
        let at = target.partition_point(|t| t.end.0 < low.row.start);
        if target.get(at).is_some_and(|t| t.contains(HashKey(high.row.start))) {
            let range = HashKeyRange { start: HashKey(low.row.start), end: HashKey(high.row.end) };
            plan.closes.extend([low.id, high.id]);
            plan.children.push(Child { range, parent: low.id, adjacent_parent: Some(high.id) });
            open = rest;
        } else {
            open = &open[1..];
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::stream::ShardRow;
    use crate::sync::Arc;
    use proptest::prelude::*;

    fn shard(index: u32, range: HashKeyRange) -> Arc<ShardState> {
        let row = ShardRow {
            start: range.start.0,
            end: range.end.0,
            parent: None,
            adjacent_parent: None,
            birth_s: 1,
            opened_ms: 1,
            closed_ms: None,
        };
        Arc::new(ShardState::new(1, ShardId(index), row, 0))
    }

    fn uniform(count: u32) -> ShardMap {
        ShardMap::new(0, HashKeyRange::uniform(count).into_iter().zip(0..).map(|(range, index)| shard(index, range)))
    }

    fn apply(map: &ShardMap, plan: &Plan) -> ShardMap {
        let next = map.all().map(|s| s.id.0 + 1).max().unwrap_or(0);
        let closed = plan.closes.iter().map(|id| Arc::new(map.get(*id).unwrap().closed(1)));
        let children = plan.children.iter().zip(next..).map(|(child, index)| shard(index, child.range));
        map.with(closed.chain(children))
    }

    #[test]
    fn a_split_key_lies_strictly_inside() {
        let map = uniform(2);
        let range = map.open()[1].range();
        for bad in [0, range.start.0, range.start.0 + 1, range.end.0] {
            assert!(matches!(split(&map, ShardId(1), HashKey(bad)), Err(Error::InvalidArgument { .. })), "{bad}");
        }
        for good in [range.start.0 + 2, range.end.0 - 1] {
            assert!(apply(&map, &split(&map, ShardId(1), HashKey(good)).unwrap()).tiles());
        }
        assert!(matches!(split(&map, ShardId(2), HashKey(5)), Err(Error::ResourceNotFound { .. })));
    }

    #[test]
    fn only_neighbours_that_are_open_merge() {
        let map = uniform(3);
        assert!(merge(&map, ShardId(0), ShardId(2)).is_err());
        assert!(merge(&map, ShardId(1), ShardId(1)).is_err());
        let merged = apply(&map, &merge(&map, ShardId(1), ShardId(0)).unwrap());
        assert!(merged.tiles());
        assert!(matches!(merge(&merged, ShardId(1), ShardId(3)), Err(Error::InvalidArgument { .. })));
        assert!(matches!(split(&merged, ShardId(1), HashKey(u128::MAX / 2)), Err(Error::InvalidArgument { .. })));
    }

    proptest! {
        #[test]
        fn scaling_ends_at_uniform_ranges_and_tiles_at_every_step(from in 1u32..40, to in 1u32..40, shards_max in 1usize..20) {
            let mut map = uniform(from);
            let target = HashKeyRange::uniform(to);
            let mut steps = 0;
            loop {
                let plan = towards(&map, &target, shards_max);
                if plan.closes.is_empty() {
                    break;
                }
                map = apply(&map, &plan);
                prop_assert!(map.tiles());
                steps += 1;
                prop_assert!(steps < 200);
            }
            let ranges: Vec<_> = map.open().iter().map(|shard| shard.range()).collect();
            prop_assert_eq!(ranges, target);
        }
    }
}
