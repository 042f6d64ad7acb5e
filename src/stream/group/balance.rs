//! Who should take which lease. Pure: what there is in, decisions out.

use std::collections::BTreeMap;

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

/// What `me`, who looks for leases, should do so that every live worker ends with as many leases as any other, give or take one.
/// Of each live worker it is said whether it looks for leases, too: those that don't keep what they have, and the rest share what
/// is left, so that no lease waits for somebody who is busy.
pub(super) fn moves(me: &str, workers: &BTreeMap<String, bool>, leases: &[View]) -> Moves {
    let mut counts: BTreeMap<&str, usize> = workers.keys().map(|worker| (worker.as_str(), 0)).collect();
    counts.entry(me).or_default();
    let ready = || leases.iter().filter(|lease| lease.ready);
    for owner in ready().filter_map(|lease| lease.owner.as_deref()) {
        *counts.entry(owner).or_default() += 1;
    }
    let all = ready().count();
    let (mine, share) = (counts[me], all.div_ceil(counts.len()));
    let is_busy = |worker: &str| worker != me && workers.get(worker) != Some(&true);
    let (mut looking, mut with_busy) = (0, 0);
    for (worker, count) in &counts {
        if is_busy(worker) { with_busy += count } else { looking += 1 }
    }
    // More than its share only of what would be left to the busy ones.
    let most_to_have = share.max((all - with_busy).div_ceil(looking));
    let free = ready().filter(|lease| lease.owner.is_none()).map(|lease| (lease.shard, lease.counter));
    let take: Vec<(ShardId, u64)> = free.take(most_to_have.saturating_sub(mine)).collect();
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

    fn workers(count: usize) -> BTreeMap<String, bool> {
        (0..count).map(|i| (format!("w{i}"), true)).collect()
    }

    /// Shards `0..` with these owners.
    fn leases(owners: impl IntoIterator<Item = Option<usize>>) -> Vec<View> {
        let view = |(owner, i): (Option<usize>, u32)| View {
            shard: ShardId(i),
            counter: 0,
            owner: owner.map(|owner| format!("w{owner}")),
            ready: true,
            wanted: false,
        };
        owners.into_iter().zip(0..).map(view).collect()
    }

    proptest! {
        /// What nobody has is taken by those who look for leases, whoever else is alive, and nobody who is busy loses any.
        #[test]
        fn nothing_waits_for_who_is_busy(
            busy in proptest::collection::vec(any::<bool>(), 1..6),
            owners in proptest::collection::vec(proptest::option::of(0usize..6), 1..40),
        ) {
            let count = busy.len() + 1;
            let mut workers = workers(count);
            for (worker, busy) in busy.iter().enumerate() {
                workers.insert(format!("w{worker}"), !busy);
            }
            let mut leases = leases(owners.into_iter().map(|owner| owner.filter(|o| *o < count)));
            let before = leases.clone();
            for (me, _) in workers.iter().filter(|(_, looks)| **looks) {
                for (shard, _) in moves(me, &workers, &leases).take {
                    leases[shard.0 as usize].owner = Some(me.clone());
                }
            }
            for (before, lease) in before.iter().zip(&leases) {
                prop_assert!(lease.owner.is_some(), "{:?}", lease);
                prop_assert!(before.owner.is_none() || before.owner == lease.owner);
            }
        }

        /// From any distribution, whoever moves when, the workers end within one lease of each other, and then rest.
        #[test]
        fn workers_end_with_equal_shares(
            count in 1usize..6,
            owners in proptest::collection::vec(proptest::option::of(0usize..6), 1..40),
            order in proptest::collection::vec(0usize..6, 400),
        ) {
            let workers = workers(count);
            let mut leases = leases(owners.into_iter().map(|owner| owner.filter(|o| *o < count)));
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
                .keys()
                .map(|w| leases.iter().filter(|l| l.owner.as_ref() == Some(w)).count())
                .collect();
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{:?}", shares);
            prop_assert!(leases.iter().all(|l| l.owner.is_some()));
        }
    }
}
