//! A drawing of a stream's shards: which range of the hash space each owns, or owned, and what came of it.
//!
//! ```text
//!           0%              50%            100%
//! 0         [----------------                ]   50.0 %  closed  split into 2 and 3
//!   2       [########                        ]   25.0 %  open
//!   3       [        --------                ]   25.0 %  closed  merged with 1 into 4
//! 1         [                ----------------]   50.0 %  closed  merged with 3 into 4
//!     4     [        ########################]   75.0 %  open    from 3 and 1
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::stream::{HashKeyRange, Shard, ShardId};

/// Characters that the hash space is drawn with.
const WIDTH: usize = 32;

/// A range as a share of the hash space, in percent.
pub(super) fn share(range: HashKeyRange) -> String {
    let percent = (range.width() as f64 + 1.0) / 2f64.powi(128) * 100.0;
    if percent > 0.0 && percent < 0.05 { "<0.1 %".to_owned() } else { format!("{percent:.1} %") }
}

/// The drawing, line by line. `shards` in the order of their creation.
pub(super) fn draw(shards: &[Shard]) -> Vec<String> {
    let by_id: BTreeMap<ShardId, &Shard> = shards.iter().map(|shard| (shard.shard_id, shard)).collect();
    let order = order(shards, &by_id);
    let label = |(shard, depth): &(&Shard, usize)| format!("{}{}", "  ".repeat(*depth), shard.shard_id.index());
    let width = order.iter().map(|row| label(row).len()).max().unwrap_or(0);
    let mut lines = vec![format!("{:width$}  {:<15}{:>3}{:>16}", "", "0%", "50%", "100%")];
    lines.extend(order.iter().map(|row| {
        let shard = row.0;
        let state = if shard.closed_ms.is_none() { "open  " } else { "closed" };
        let line = format!(
            "{:width$}  [{}]  {:>7}  {state}  {}",
            label(row),
            bar(shard),
            share(shard.hash_key_range),
            story(shard, shards)
        );
        line.trim_end().to_owned()
    }));
    lines
}

fn parents(shard: &Shard) -> impl Iterator<Item = ShardId> {
    [shard.parent_shard_id, shard.adjacent_parent_shard_id].into_iter().flatten()
}

fn children(id: ShardId, shards: &[Shard]) -> Vec<&Shard> {
    let mut children: Vec<&Shard> = shards.iter().filter(|shard| parents(shard).any(|parent| parent == id)).collect();
    children.sort_by_key(|shard| shard.hash_key_range.start);
    children
}

/// Each shard with its depth, children below their parents: below the one that comes last, of a merge.
fn order<'a>(shards: &'a [Shard], by_id: &BTreeMap<ShardId, &'a Shard>) -> Vec<(&'a Shard, usize)> {
    let mut roots: Vec<&Shard> =
        shards.iter().filter(|s| parents(s).all(|parent| !by_id.contains_key(&parent))).collect();
    roots.sort_by_key(|shard| shard.hash_key_range.start);
    let (mut order, mut depths) = (Vec::new(), BTreeMap::new());
    let mut listed = BTreeSet::new();
    let mut next: Vec<&Shard> = roots.into_iter().rev().collect();
    while let Some(shard) = next.pop() {
        if !listed.insert(shard.shard_id) {
            continue;
        }
        let depth = parents(shard).filter_map(|parent| depths.get(&parent)).max().map_or(0, |depth: &usize| depth + 1);
        depths.insert(shard.shard_id, depth);
        order.push((shard, depth));
        let is_listed = |parent: ShardId| listed.contains(&parent) || !by_id.contains_key(&parent);
        let ready = children(shard.shard_id, shards).into_iter().filter(|child| parents(child).all(is_listed));
        next.extend(ready.rev());
    }
    order
}

fn bar(shard: &Shard) -> String {
    let at = |key: u128| (key >> 123) as usize;
    let (first, last) = (at(shard.hash_key_range.start.0), at(shard.hash_key_range.end.0));
    let mark = if shard.closed_ms.is_none() { '#' } else { '-' };
    (0..WIDTH).map(|column| if (first..=last).contains(&column) { mark } else { ' ' }).collect()
}

/// What came of it, or what it came from where that is not the line above.
fn story(shard: &Shard, shards: &[Shard]) -> String {
    let and = |ids: Vec<String>| ids.join(" and ");
    let children = children(shard.shard_id, shards);
    if let [child] = children[..] {
        let other = parents(child).find(|parent| *parent != shard.shard_id);
        return match other {
            Some(other) => format!("merged with {} into {}", other.index(), child.shard_id.index()),
            None => format!("split, now {}", child.shard_id.index()),
        };
    }
    if !children.is_empty() {
        return format!("split into {}", and(children.iter().map(|c| c.shard_id.index().to_string()).collect()));
    }
    let from: Vec<String> = parents(shard).map(|parent| parent.index().to_string()).collect();
    if from.len() > 1 { format!("from {}", and(from)) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{HashKey, StreamOptions};

    #[test]
    fn parents_come_before_children_and_ranges_are_drawn_to_scale() {
        let dir = tempfile::tempdir().unwrap();
        let engine = crate::Engine::open(dir.path()).unwrap();
        let stream = engine.create_stream("clicks", StreamOptions::new().shards(2)).unwrap();
        stream.split_shard(ShardId(0), HashKey(1 << 126)).unwrap();
        stream.merge_shards(ShardId(3), ShardId(1)).unwrap();
        let expected = [
            "       0%             50%            100%",
            "0      [----------------                ]   50.0 %  closed  split into 2 and 3",
            "  2    [########                        ]   25.0 %  open",
            "  3    [        --------                ]   25.0 %  closed  merged with 1 into 4",
            "1      [                ----------------]   50.0 %  closed  merged with 3 into 4",
            "    4  [        ########################]   75.0 %  open    from 3 and 1",
        ];
        assert_eq!(draw(&stream.shards()), expected);
    }

    #[test]
    fn narrow_shards_are_seen() {
        let sliver = HashKeyRange { start: HashKey(5), end: HashKey(5) };
        assert_eq!((share(HashKeyRange::ALL), share(sliver)), ("100.0 %".to_owned(), "<0.1 %".to_owned()));
    }
}
