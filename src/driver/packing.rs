//! Which logs of a checkpoint share files, and which pieces of theirs are copied together. Pure.
//!
//! A log goes through stages. What little it has goes into a pack, a piece each checkpoint; pieces of about one size are copied
//! together when there are some of them, as digits carry, so that each byte is copied once for each time its piece grows
//! fourfold; and once there is enough for a file of its own, they are copied there. Only the last makes or opens a file, and each
//! checkpoint copies only so much, so that a hundred thousand logs that were begun together don't reach the next stage together.

use crate::id::LogId;
use crate::log::Tail;

/// With so many bytes in memory a log needs no pack: they are worth a write to a file of its own.
pub(crate) const DIRECT_BYTES: u64 = 16 << 10;
/// A log gets a file of its own, or what it has goes to that, from so many bytes on.
const OWN_BYTES: u64 = 64 << 10;
/// So many pieces of about one size are copied into one, one more or one less: see [`due`].
const CARRY: usize = 4;
/// Pieces below so many bytes are of one size. Each further class has pieces of up to [`CARRY`] times as many.
const CLASS_BYTES: u64 = 1 << 10;
/// How many classes of pieces have packs of their own: what is written together should come to be needed no more together.
pub(crate) const CLASSES: usize = 4;
/// Copies of one checkpoint are at most so many times what it writes anew, or so many bytes.
const COPIES_TIMES: u64 = 4;
const COPIES_BYTES: u64 = 4 << 20;

/// What a checkpoint does with a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// To a segment of its own, with its pieces.
    Own,
    /// To a pack, as a piece that its last ones are copied into.
    Merge(Due),
    /// To a pack, as one more piece.
    Add,
}

/// Some last pieces of a log, to be copied together with what comes behind them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) pieces: usize,
    bytes: u64,
}

/// A log that a checkpoint has little to write of.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Small {
    pub(crate) tail: Tail,
    pub(crate) due: Due,
    /// It must give up the pieces it has.
    pub(crate) scattered: bool,
}

impl Small {
    fn bytes(&self) -> u64 {
        self.tail.pending + self.tail.piece_bytes
    }

    /// Bytes that are copied if `packing` is done.
    pub(crate) fn copied(&self, packing: Packing) -> u64 {
        match packing {
            Packing::Add => 0,
            Packing::Merge(due) => due.bytes,
            Packing::Own => self.tail.piece_bytes,
        }
    }
}

/// The class of a piece.
pub(crate) fn class(bytes: u64) -> usize {
    (1..CLASSES).take_while(|class| bytes >= CLASS_BYTES * (CARRY as u64).pow(*class as u32 - 1)).count()
}

/// Which of a log's pieces, given newest first, are due with `pending` more bytes. Where there are enough of a class they are
/// copied together, and with those before them if that makes enough of the next. How many are enough differs from log to log, by
/// some bits of the log's own for each class: those that were begun together soon part.
pub(crate) fn due(log: LogId, pending: u64, pieces: &[u64]) -> Due {
    let mut due = Due::default();
    loop {
        let class_of_all = class(pending + due.bytes);
        let enough = CARRY - 1 + (log.0 >> (3 * class_of_all) & 7) as usize % 3;
        let alike = pieces[due.pieces..].iter().take_while(|bytes| class(**bytes) <= class_of_all);
        let (count, bytes) = alike.fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
        if count + 1 < enough {
            return due;
        }
        due = Due { pieces: due.pieces + count, bytes: due.bytes + bytes };
    }
}

/// Decides for each log.
pub(crate) fn plan(logs: &[Small]) -> Vec<Packing> {
    let all = |tail: Tail| Due { pieces: tail.pieces, bytes: tail.piece_bytes };
    let begin = |log: &Small| if log.scattered { Packing::Merge(all(log.tail)) } else { Packing::Add };
    let mut plan: Vec<Packing> = logs.iter().map(begin).collect();
    let pending: u64 = logs.iter().map(|log| log.tail.pending).sum();
    let copies = (COPIES_TIMES * pending).max(COPIES_BYTES);
    let own = (0..logs.len()).filter(|at| logs[*at].bytes() >= OWN_BYTES);
    let mut used = 0;
    for at in most_first(own, |at| logs[at].bytes()) {
        if used >= copies / 2 {
            break;
        }
        plan[at] = Packing::Own;
        used += logs[at].tail.piece_bytes;
    }
    let merge = (0..logs.len()).filter(|at| logs[*at].due.pieces > 0);
    for at in most_first(merge, |at| logs[at].tail.pieces as u64) {
        if used >= copies {
            break;
        }
        if plan[at] == Packing::Add {
            plan[at] = Packing::Merge(logs[at].due);
            used += logs[at].due.bytes;
        }
    }
    plan
}

/// Those first for which most is said; where they are alike their place decides: the same logs each time a history runs, and
/// neighbours, whose pieces are neighbours, too.
fn most_first(places: impl Iterator<Item = usize>, of: impl Fn(usize) -> u64) -> Vec<usize> {
    let mut places: Vec<usize> = places.collect();
    places.sort_by_key(|at| std::cmp::Reverse(of(*at)));
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Over many checkpoints of many logs that get `bytes` each time: the most pieces and bytes that a log has in packs, the
    /// most that a checkpoint copies, in times what it gets, and how much all of them copied, in times what all got.
    fn run(logs: usize, bytes: u64, checkpoints: usize) -> (usize, u64, f64, f64) {
        let mut pieces: Vec<Vec<u64>> = vec![Vec::new(); logs];
        let (mut most, mut held, mut peak, mut sum) = (0, 0, 0, 0);
        for _ in 0..checkpoints {
            let small = |(n, pieces): (usize, &Vec<u64>)| Small {
                tail: Tail { pending: bytes, pieces: pieces.len(), piece_bytes: pieces.iter().sum() },
                due: due(LogId::new(n as u64, &format!("log-{n}")), bytes, pieces),
                scattered: false,
            };
            let before: Vec<Small> = pieces.iter().enumerate().map(small).collect();
            let plan = plan(&before);
            let mut copied = 0;
            for ((pieces, small), packing) in pieces.iter_mut().zip(&before).zip(plan) {
                copied += small.copied(packing);
                match packing {
                    Packing::Own => pieces.clear(),
                    Packing::Add => pieces.insert(0, bytes),
                    Packing::Merge(due) => {
                        let merged = pieces.drain(..due.pieces).sum::<u64>();
                        pieces.insert(0, merged + bytes);
                    }
                }
                most = most.max(pieces.len());
                held = held.max(pieces.iter().sum());
            }
            (peak, sum) = (peak.max(copied), sum + copied);
        }
        let got = (logs as u64 * bytes) as f64;
        (most, held, peak as f64 / got, sum as f64 / got / checkpoints as f64)
    }

    #[test]
    fn what_a_log_has_in_packs_and_what_a_checkpoint_copies_is_bounded() {
        for (logs, bytes) in [(2_000, 160), (2_000, 500), (1_000, 2_000), (1_000, 9_000)] {
            let (pieces, held, peak, mean) = run(logs, bytes, 1_000);
            let what =
                format!("{logs} logs that get {bytes} bytes: {pieces} pieces, {held} bytes, {peak}, {mean} times");
            assert!(pieces <= 24, "{what}");
            assert!(held <= 2 * OWN_BYTES, "{what}");
            assert!(peak <= COPIES_TIMES as f64 + 32.0, "{what}");
            assert!(mean <= 5.0, "{what}");
        }
    }

    #[test]
    fn pieces_of_one_class_carry_over_into_the_next() {
        // Four are enough of any class for this one.
        let due = |pending, pieces: &[u64]| due(LogId(0b001_001_001), pending, pieces);
        assert_eq!(due(300, &[300, 300]), Due::default());
        assert_eq!(due(300, &[300, 300, 300]), Due { pieces: 3, bytes: 900 });
        assert_eq!(due(300, &[300, 300, 300, 1200, 1200]), Due { pieces: 3, bytes: 900 });
        assert_eq!(due(300, &[300, 300, 300, 1200, 1200, 1200, 5000]), Due { pieces: 6, bytes: 4500 });
        // What is smaller than what comes behind it counts as much.
        assert_eq!(due(5000, &[300, 1200, 300, 20000]), Due { pieces: 3, bytes: 1800 });
    }

    #[test]
    fn who_has_most_comes_first_and_who_is_scattered_is_copied() {
        let of = |pieces, piece_bytes| Small { tail: Tail { pending: 100, pieces, piece_bytes }, ..Small::default() };
        let mut logs = vec![of(1, OWN_BYTES); 200];
        logs[150] = of(1, 2 * OWN_BYTES);
        logs.extend(vec![of(0, 0); 300]);
        logs[400] = Small { scattered: true, ..of(2, 200) };
        let plan = plan(&logs);
        assert_eq!(
            (plan[150], plan[400], plan[401]),
            (Packing::Own, Packing::Merge(Due { pieces: 2, bytes: 200 }), Packing::Add)
        );
        assert_eq!(plan.iter().filter(|p| **p == Packing::Own).count() as u64, COPIES_BYTES / 2 / OWN_BYTES - 1);
    }
}
