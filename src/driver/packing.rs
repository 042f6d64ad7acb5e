//! Which logs of a checkpoint share files. Pure.
//!
//! A log goes through three stages. What little it has goes into a pack, a piece each checkpoint; some pieces later they are
//! copied together into one; and once there is enough for a file of its own, they are copied there. Only the last makes or
//! opens a file, and each checkpoint does only a part of what would be due, so that a hundred thousand logs that were begun
//! together don't reach the next stage together.

use crate::log::Tail;

/// A log gets a file of its own, or what it has goes to that, from so many bytes on.
pub(crate) const OWN_BYTES: u64 = 16 << 10;
/// Pieces are copied together from so many on.
const MERGE_FROM: usize = 4;
/// One in so many logs at a time gets a file of its own, and one in so many has its pieces copied together.
const OWN_SHARE: usize = 32;
const MERGE_SHARE: usize = 4;

/// What a checkpoint does with a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// To a segment of its own, with its pieces.
    Own,
    /// To a pack, as a piece that its earlier ones are copied into.
    Merge,
    /// To a pack, as one more piece.
    Add,
}

/// Decides for each log. Those in `scattered`, by their place, must give up the pieces they have.
pub(crate) fn plan(tails: &[Tail], scattered: impl Fn(usize) -> bool) -> Vec<Packing> {
    let mut plan: Vec<Packing> =
        (0..tails.len()).map(|at| if scattered(at) { Packing::Merge } else { Packing::Add }).collect();
    let total = |at: usize| tails[at].pending + tails[at].piece_bytes;
    let mut own: Vec<usize> = (0..tails.len()).filter(|at| total(*at) >= OWN_BYTES).collect();
    keep_largest(&mut own, share(tails.len(), OWN_SHARE), total);
    own.into_iter().for_each(|at| plan[at] = Packing::Own);
    let mut merge: Vec<usize> =
        (0..tails.len()).filter(|at| plan[*at] == Packing::Add && tails[*at].pieces >= MERGE_FROM).collect();
    keep_largest(&mut merge, share(tails.len(), MERGE_SHARE), |at| tails[at].pieces as u64);
    merge.into_iter().for_each(|at| plan[at] = Packing::Merge);
    plan
}

/// Keeps so many of those for which most is said, in time that grows with how many there are.
fn keep_largest(places: &mut Vec<usize>, count: usize, of: impl Fn(usize) -> u64) {
    if count < places.len() {
        // The place decides where they are alike: the same logs each time a history runs.
        places.select_nth_unstable_by_key(count, |at| (std::cmp::Reverse(of(*at)), *at));
        places.truncate(count);
    }
}

/// A part of the logs; of a few, all.
fn share(logs: usize, part: usize) -> usize {
    logs.div_ceil(part).max(64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many pieces and bytes in packs a log has at most, and how many files and bytes a checkpoint writes, over many
    /// checkpoints of many logs that get `bytes` each time.
    fn run(logs: usize, bytes: u64, checkpoints: usize) -> (usize, u64, usize, u64) {
        let mut tails = vec![Tail { pending: bytes, ..Tail::default() }; logs];
        let (mut pieces, mut held, mut files, mut written) = (0, 0, 0, 0);
        for _ in 0..checkpoints {
            let plan = plan(&tails, |_| false);
            files = files.max(plan.iter().filter(|p| **p == Packing::Own).count());
            let mut copied = 0;
            for (tail, packing) in tails.iter_mut().zip(plan) {
                let merged = tail.piece_bytes + bytes;
                copied += if packing == Packing::Add { bytes } else { merged };
                match packing {
                    Packing::Own => (tail.pieces, tail.piece_bytes) = (0, 0),
                    Packing::Merge => (tail.pieces, tail.piece_bytes) = (1, merged),
                    Packing::Add => (tail.pieces, tail.piece_bytes) = (tail.pieces + 1, merged),
                }
                pieces = pieces.max(tail.pieces);
                held = held.max(tail.piece_bytes);
            }
            written = written.max(copied);
        }
        (pieces, held, files, written / (logs as u64 * bytes))
    }

    #[test]
    fn what_a_log_has_in_packs_and_what_a_checkpoint_copies_is_bounded() {
        for (logs, bytes) in [(10_000, 160), (10_000, 500), (4_000, 2_000), (100, 500)] {
            let (pieces, held, files, times) = run(logs, bytes, 400);
            assert!(pieces <= 2 * MERGE_FROM, "{pieces} pieces of {logs} logs");
            assert!(held <= 4 * OWN_BYTES + bytes * 32, "{held} bytes of a log in packs, {bytes} each time");
            assert!(files <= share(logs, OWN_SHARE), "{files} files at once of {logs} logs");
            assert!(times <= 60, "{times} times the bytes, {bytes} each of {logs} logs");
        }
    }

    #[test]
    fn who_has_most_comes_first_and_who_is_scattered_is_copied() {
        let tail = |pieces, piece_bytes| Tail { pending: 100, pieces, piece_bytes };
        let mut tails = vec![tail(1, OWN_BYTES); 200];
        tails[150] = tail(1, 2 * OWN_BYTES);
        tails.extend(vec![tail(0, 0); 300]);
        tails[400] = tail(1, 200);
        let plan = plan(&tails, |at| at == 400);
        assert_eq!((plan[150], plan[400], plan[401]), (Packing::Own, Packing::Merge, Packing::Add));
        assert_eq!(plan.iter().filter(|p| **p == Packing::Own).count(), 64);
    }
}
