//! The one source of choices.
//!
//! By convention 0 is the dullest choice (nothing goes wrong, everything landed, first in, first out), so that a
//! shrunk tape shows the few places where something had to happen.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A small generator with a 64-bit state; every seed is good, also 0.
#[derive(Debug, Clone)]
pub(super) struct SplitMix64(pub(super) u64);

impl SplitMix64 {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`; the bias of the multiplication is far below what a test could notice.
    fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }
}

/// One choice that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// What was decided.
    pub site: &'static str,
    /// How many ways there were.
    pub n: u64,
    /// Which one was taken, below `n`.
    pub value: u64,
}

enum Source {
    Seeded { seed: u64, rng: SplitMix64 },
    Replay { values: Vec<u64> },
    Exhaustive { path: Vec<(u64, u64)> },
}

struct State {
    source: Source,
    made: Vec<Choice>,
    sites: BTreeMap<&'static str, u64>,
}

/// A shared handle on the source of all choices of one run.
///
/// Clones share the tape: give one to the disk, one to the workload.
///
/// ```ignore
/// let tape = Tape::exhaustive();
/// let mut runs = 0;
/// loop {
///     let (_coin, _die) = (tape.choose("coin", 2), tape.choose("die", 6));
///     runs += 1;
///     if !tape.advance() {
///         break;
///     }
/// }
/// assert_eq!(runs, 12);
/// ```
#[derive(Clone)]
pub struct Tape {
    state: Arc<Mutex<State>>,
}

impl Tape {
    fn new(source: Source) -> Self {
        Tape { state: Arc::new(Mutex::new(State { source, made: Vec::new(), sites: BTreeMap::new() })) }
    }

    /// Choices from a generator.
    pub fn seeded(seed: u64) -> Self {
        Tape::new(Source::Seeded { seed, rng: SplitMix64(seed) })
    }

    /// Choices from a list; 0 once it is used up, and the remainder where an entry is too large, so that every list is a
    /// valid tape.
    pub fn replay(values: Vec<u64>) -> Self {
        Tape::new(Source::Replay { values })
    }

    /// All sequences of choices, depth first, one per run: run, [`advance`](Tape::advance), run again while it says so.
    pub fn exhaustive() -> Self {
        Tape::new(Source::Exhaustive { path: Vec::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A failed assertion elsewhere must not hide the tape that led to it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides between `n` ways; the answer is below `n`.
    ///
    /// # Panics
    /// When `n` is 0, or an exhaustive run doesn't repeat the choices of the run before it.
    pub fn choose(&self, site: &'static str, n: u64) -> u64 {
        assert!(n > 0, "{site}: nothing to choose from");
        let state = &mut *self.lock();
        *state.sites.entry(site).or_insert(0) += 1;
        if n == 1 {
            // Not recorded: it would only make tapes longer.
            return 0;
        }
        let at = state.made.len();
        let value = match &mut state.source {
            Source::Seeded { rng, .. } => rng.below(n),
            Source::Replay { values } => values.get(at).map_or(0, |v| v % n),
            Source::Exhaustive { path } => match path.get(at) {
                Some(&(ways, value)) => {
                    assert_eq!(ways, n, "{site}: choice {at} had {ways} ways in the run before: not deterministic");
                    value
                }
                None => {
                    path.push((n, 0));
                    0
                }
            },
        };
        state.made.push(Choice { site, n, value });
        value
    }

    /// True in `num` of `den` cases.
    pub fn chance(&self, site: &'static str, num: u64, den: u64) -> bool {
        self.choose(site, den) >= den - num.min(den)
    }

    /// Makes the next run of an exhaustive tape take the next way. False when all were taken, or the tape isn't
    /// exhaustive. Forgets the choices made, keeps the count of sites.
    pub fn advance(&self) -> bool {
        let state = &mut *self.lock();
        let made = std::mem::take(&mut state.made);
        let Source::Exhaustive { path } = &mut state.source else { return false };
        // A run that ended early leaves ways of its predecessor behind.
        path.truncate(made.len());
        while let Some((ways, value)) = path.pop() {
            if value + 1 < ways {
                path.push((ways, value + 1));
                return true;
            }
        }
        false
    }

    /// Whether this tape enumerates.
    pub fn is_exhaustive(&self) -> bool {
        matches!(self.lock().source, Source::Exhaustive { .. })
    }

    /// The seed, where there is one.
    pub fn seed(&self) -> Option<u64> {
        match self.lock().source {
            Source::Seeded { seed, .. } => Some(seed),
            _ => None,
        }
    }

    /// All choices made so far, with their sites.
    pub fn choices(&self) -> Vec<Choice> {
        self.lock().made.clone()
    }

    /// All choices made so far, as [`replay`](Tape::replay) takes them.
    pub fn values(&self) -> Vec<u64> {
        self.lock().made.iter().map(|c| c.value).collect()
    }

    /// How often each site was asked, choices with only one way included.
    pub fn sites(&self) -> BTreeMap<&'static str, u64> {
        self.lock().sites.clone()
    }
}

impl fmt::Display for Tape {
    /// What to print when a run fails: `seed 7 tape 0,3,1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        if let Source::Seeded { seed, .. } = state.source {
            write!(f, "seed {seed} ")?;
        }
        f.write_str("tape ")?;
        for (i, choice) in state.made.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { "" } else { "," }, choice.value)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tape({self})")
    }
}

/// Reads `0,3,1`, as [`Tape`] prints it after the word `tape`. `None` when it isn't a list of numbers.
pub fn parse_choices(text: &str) -> Option<Vec<u64>> {
    let text = text.trim();
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.split(',').map(|part| part.trim().parse().ok()).collect()
}

/// Makes a failing tape shorter and duller for as long as `fails` still says yes.
///
/// Delta debugging: leaves out runs of choices, then sets runs of them to 0, then lowers single ones; from large steps
/// to small, until a whole round changes nothing. A tape that doesn't fail comes back as it is.
pub fn shrink(tape: &[u64], mut fails: impl FnMut(&[u64]) -> bool) -> Vec<u64> {
    let mut best = tape.to_vec();
    if !fails(&best) {
        return best;
    }
    loop {
        let before = best.clone();
        shrink_runs(&mut best, &mut fails, |tape, from, to| {
            let mut shorter = tape[..from].to_vec();
            shorter.extend_from_slice(&tape[to..]);
            shorter
        });
        shrink_runs(&mut best, &mut fails, |tape, from, to| {
            let mut duller = tape.to_vec();
            duller[from..to].fill(0);
            duller
        });
        lower_values(&mut best, &mut fails);
        // A replay reads zeros past its end anyway.
        let kept = best.iter().rposition(|&v| v != 0).map_or(0, |last| last + 1);
        if kept < best.len() && fails(&best[..kept]) {
            best.truncate(kept);
        }
        if best == before {
            return best;
        }
    }
}

fn shrink_runs(
    best: &mut Vec<u64>,
    fails: &mut impl FnMut(&[u64]) -> bool,
    change: impl Fn(&[u64], usize, usize) -> Vec<u64>,
) {
    let mut run = best.len();
    while run > 0 {
        let mut from = 0;
        while from < best.len() {
            let to = (from + run).min(best.len());
            let candidate = change(best, from, to);
            if candidate != *best && fails(&candidate) {
                // Where choices were left out, others have moved to `from`: look there again.
                if candidate.len() == best.len() {
                    from = to;
                }
                *best = candidate;
            } else {
                from = to;
            }
        }
        run /= 2;
    }
}

fn lower_values(best: &mut [u64], fails: &mut impl FnMut(&[u64]) -> bool) {
    for at in 0..best.len() {
        // `good` fails and `bad` doesn't: close in on the smallest that fails, as if failing were monotonic.
        let (mut bad, mut good) = (0, best[at]);
        while good > bad + 1 {
            let middle = bad + (good - bad) / 2;
            best[at] = middle;
            if fails(best) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        best[at] = good;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(tape: &Tape) -> Vec<u64> {
        (1..50).map(|n| tape.choose("x", n)).collect()
    }

    #[test]
    fn one_seed_is_one_sequence_and_its_record_replays_it() {
        let first = Tape::seeded(7);
        let drawn = draw(&first);
        assert_eq!(drawn, draw(&Tape::seeded(7)));
        assert_ne!(drawn, draw(&Tape::seeded(8)));
        assert_eq!(drawn, draw(&Tape::replay(first.values())));
        assert_eq!(first.sites()["x"], 49);
        let printed = first.to_string();
        let values = printed.strip_prefix("seed 7 tape ").and_then(parse_choices).unwrap();
        assert_eq!(values, first.values());
    }

    #[test]
    fn a_replay_never_runs_out_nor_out_of_range() {
        let tape = Tape::replay(vec![9, 1]);
        assert_eq!([tape.choose("a", 4), tape.choose("b", 1), tape.choose("c", 2), tape.choose("d", 5)], [1, 0, 1, 0]);
    }

    #[test]
    fn exhaustive_visits_every_path_once_also_where_paths_differ_in_length() {
        let tape = Tape::exhaustive();
        let mut seen = std::collections::BTreeSet::new();
        loop {
            let mut path = vec![tape.choose("first", 3)];
            for _ in 0..path[0] {
                path.push(tape.choose("next", 2));
            }
            assert!(seen.insert(path));
            if !tape.advance() {
                break;
            }
        }
        assert_eq!(seen.len(), 1 + 2 + 4);
    }

    #[test]
    fn chance_is_false_for_the_dull_choice() {
        let tape = Tape::replay(vec![0, 9]);
        assert!(!tape.chance("c", 1, 10));
        assert!(tape.chance("c", 1, 10));
        let tape = Tape::seeded(1);
        let hits = (0..1000).filter(|_| tape.chance("c", 1, 10)).count();
        assert!((50..200).contains(&hits), "{hits}");
    }

    #[test]
    fn shrinking_keeps_only_what_makes_it_fail() {
        let tape = Tape::seeded(3);
        let mut long: Vec<u64> = (0..500).map(|_| tape.choose("x", 100)).collect();
        long[400] = 77;
        let mut runs = 0;
        let small = shrink(&long, |t| {
            runs += 1;
            t.iter().any(|&v| v >= 60)
        });
        assert_eq!(small, [60]);
        assert!(runs < 200, "{runs}");
        let ordered = shrink(&long, |t| {
            let first = t.iter().position(|&v| v == 77);
            first.is_some_and(|at| t[..at].contains(&42) || at >= 3)
        });
        assert_eq!(ordered, [0, 0, 0, 77]);
        assert_eq!(shrink(&[1, 2], |_| false), [1, 2], "a tape that passes is left alone");
    }
}
