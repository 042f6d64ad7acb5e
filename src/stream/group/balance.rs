//! Who should take which lease. Pure: what there is in, decisions out.

use std::collections::{BTreeMap, BTreeSet};

use super::super::shard::ShardId;

/// A lease as balancing sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub(super) shard: ShardId,
    /// Its counter, by which who takes it knows that it still is what it was.
    pub(super) counter: u64,
    /// A worker that lives.
    pub(super) owner: Option<String>,
    /// Whether its parents are finished and it is not.
    pub(super) ready: bool,
    /// Whether somebody has asked its owner for it.
    pub(super) wanted: bool,
}

/// What a worker does next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Moves {
    /// Leases nobody has, with their counters: take them.
    pub(super) take: Vec<(ShardId, u64)>,
    /// A lease of the worker that has most, with its counter: ask for it.
    pub(super) ask: Option<(ShardId, u64)>,
    /// It has its share: what it asked for before is for others.
    pub(super) content: bool,
}

/// What `me` should do so that every live worker ends with as many leases as any other, give or take one.
pub(super) fn moves(me: &str, workers: &BTreeSet<String>, leases: &[View]) -> Moves {
    let mut counts: BTreeMap<&str, usize> = workers.iter().map(|worker| (worker.as_str(), 0)).collect();
    counts.entry(me).or_default();
    let ready = || leases.iter().filter(|lease| lease.ready);
    for owner in ready().filter_map(|lease| lease.owner.as_deref()) {
        *counts.entry(owner).or_default() += 1;
    }
    let (mine, share) = (counts[me], ready().count().div_ceil(counts.len()));
    let free = ready().filter(|lease| lease.owner.is_none()).map(|lease| (lease.shard, lease.counter));
    let take: Vec<(ShardId, u64)> = free.take(share.saturating_sub(mine)).collect();
    let content = mine + take.len() >= share;
    if !take.is_empty() || ready().any(|lease| lease.owner.is_none()) {
        return Moves { take, ask: None, content };
    }
    // One at a time, by who has less than its share, and only where it leaves the two nearer to each other.
    let asked = leases.iter().any(|lease| lease.wanted);
    let most = counts.iter().max_by_key(|(_, count)| **count).map(|(worker, count)| (*worker, *count));
    let ask = match most {
        Some((worker, count)) if !asked && !content && count >= mine + 2 => {
            ready().find(|lease| lease.owner.as_deref() == Some(worker)).map(|lease| (lease.shard, lease.counter))
        }
        _ => None,
    };
    Moves { take, ask, content }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn workers(count: usize) -> BTreeSet<String> {
        (0..count).map(|i| format!("w{i}")).collect()
    }

    proptest! {
        /// From any distribution, whoever moves when, the workers end within one lease of each other, and then rest.
        #[test]
        fn workers_end_with_equal_shares(
            count in 1usize..6,
            owners in proptest::collection::vec(proptest::option::of(0usize..6), 1..40),
            order in proptest::collection::vec(0usize..6, 400),
        ) {
            let workers = workers(count);
            let mut leases: Vec<View> = owners
                .iter()
                .zip(0..)
                .map(|(owner, i)| View {
                    shard: ShardId(i),
                    counter: 0,
                    owner: owner.filter(|o| *o < count).map(|o| format!("w{o}")),
                    ready: true,
                    wanted: false,
                })
                .collect();
            let mut step = |me: usize| {
                let me = format!("w{me}");
                let moves = moves(&me, &workers, &leases);
                let moved = moves.take.len() + usize::from(moves.ask.is_some());
                for shard in moves.take.into_iter().map(|(shard, _)| shard).chain(moves.ask.map(|(shard, _)| shard)) {
                    leases[shard.0 as usize].owner = Some(me.clone());
                }
                moved
            };
            let _: usize = order.iter().map(|me| step(me % count)).sum();
            for _ in 0..40 {
                let _: usize = (0..count).map(&mut step).sum();
            }
            prop_assert_eq!((0..count).map(&mut step).sum::<usize>(), 0);
            let shares: Vec<usize> = workers
                .iter()
                .map(|w| leases.iter().filter(|l| l.owner.as_ref() == Some(w)).count())
                .collect();
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{:?}", shares);
            prop_assert!(leases.iter().all(|l| l.owner.is_some()));
        }
    }
}
