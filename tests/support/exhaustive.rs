//! Short histories, all of them: a crash at every boundary, and for each every subset of what was unsynced.

use std::collections::HashSet;
use std::time::Instant;

use braidlog::env::sim::{Crash, SimDisk, Tape};
use braidlog::{ReadMode, StoreOptions};

use super::crashes::{crash_inside_recovery, recover_and_crash_again};
use super::runner::{Op, Run};
use super::{Verdict, small};

/// The kinds of operation that histories are made of.
pub const KINDS: [Op; 12] = [
    Op::Append { log: 0, count: 2, len: 60, settle: true },
    Op::TwoInFlight { len: 200 },
    Op::Append { log: 0, count: 1, len: 5000, settle: true },
    Op::Transaction { len: 40, trim: true, stale: false },
    Op::Trim { log: 0, quarters: 2 },
    Op::Delete(1),
    Op::Create(1),
    Op::Checkpoint,
    Op::Append { log: 3, count: 1, len: 90, settle: true },
    Op::CheckpointBeforeTouch,
    Op::Reopen,
    Op::Upkeep,
];

/// Subsets of more units than this are not enumerated: units are made larger first, then drawn.
const UNITS_MAX: usize = 8;

/// A closed store with a few records, to start from.
pub fn base(mode: ReadMode) -> Verdict<Run> {
    base_with(small(mode))
}

/// The same with these options.
pub fn base_with(options: StoreOptions) -> Verdict<Run> {
    let mut run = Run::create(SimDisk::new(Tape::seeded(1)), options)?;
    run.create_logs()?;
    run.apply(Op::Both { len: 120 })?;
    run.apply(Op::Append { log: 3, count: 1, len: 50, settle: true })?;
    run.apply(Op::Reopen)?;
    run.apply(Op::Append { log: 1, count: 1, len: 30, settle: true })?;
    run.apply(Op::Reopen)?;
    run.store = None;
    Ok(run)
}

/// What was looked at from one base.
#[derive(Debug, Default)]
pub struct Looked {
    pub histories: u64,
    pub boundaries: u64,
    pub states: u64,
    /// Those of them that were recovered, no two the same.
    pub recovered: u64,
    /// What a crash left, what is known of it, and whether it was a power cut: a recovery depends on nothing else, so it is not done
    /// twice. Most of what can be left at one boundary can be at the one before, too.
    seen: HashSet<(u64, u64, bool)>,
}

/// Histories of one length, as numbers in base 12.
pub fn history(length: u32, number: u64) -> Vec<Op> {
    (0..length).map(|at| KINDS[(number / 12u64.pow(at) % 12) as usize]).collect()
}

fn go(base: &Run, ops: &[Op], crash_at: Option<(u64, bool)>) -> Verdict<Run> {
    let disk = base.disk.fork();
    match crash_at {
        Some((at, true)) => disk.set_torn_crash_at(at),
        Some((at, false)) => disk.set_crash_at(at),
        None => {}
    }
    let mut run = base.on(disk);
    run.open()?;
    for op in ops {
        if run.is_dead() {
            break;
        }
        run.apply(*op).map_err(|e| format!("{op:?}: {e}"))?;
    }
    Ok(run)
}

/// One history: crashes at each boundary of its last operation.
pub fn explore(base: &Run, ops: &[Op], looked: &mut Looked) -> Verdict {
    let before = match ops.split_last() {
        Some((_, before)) if !before.is_empty() => go(base, before, None)?.disk.operations(),
        _ => 0,
    };
    let mut whole = go(base, ops, None)?;
    whole.apply(Op::Check)?;
    let end = whole.disk.operations();
    drop(whole);
    for at in before..=end {
        for torn in [false, true] {
            let run = go(base, ops, Some((at, torn)))?;
            let where_at =
                |e: String| format!("{ops:?}, boundary {at} of {end}{}: {e}", if torn { ", torn" } else { "" });
            crash_each_way(&run, looked).map_err(where_at)?;
            looked.boundaries += 1;
        }
    }
    looked.histories += 1;
    Ok(())
}

fn crash_each_way(run: &Run, looked: &mut Looked) -> Verdict {
    let group = [1, 2, 4, 8, 16, 64].into_iter().find(|&g| run.disk.unsynced_count(g) <= UNITS_MAX).unwrap_or(256);
    let units = run.disk.unsynced_count(group);
    let exhaustive = units <= UNITS_MAX;
    let tape = Tape::seeded(units as u64);
    let masks: Vec<u64> = if exhaustive {
        (0..1 << units).collect()
    } else {
        let ends = [0, u64::MAX].into_iter();
        ends.chain((0..units.min(60)).flat_map(|u| [1 << u, !(1 << u)]))
            .chain((0..64).map(|_| tape.choose("mask", u64::MAX)))
            .collect()
    };
    let known = run.known_hash();
    // What was recovered before is looked at, and not recovered again.
    let mut recover_once = |left: SimDisk, kind: Crash, hash: u64| -> Verdict {
        looked.states += if looked.seen.insert((hash, known, kind == Crash::Power)) {
            let states = recover(run, left, kind, hash)?;
            looked.recovered += states;
            states
        } else {
            1
        };
        Ok(())
    };
    let mut here = HashSet::new();
    for mask in masks {
        let left = run.disk.crash_subset(group, mask);
        let hash = left.image_hash();
        if here.insert(hash) {
            recover_once(left, Crash::Power, hash)
                .map_err(|e| format!("power, {mask:#b} of {units} units of {group}: {e}"))?;
        }
    }
    for seed in 0..2 {
        let left = run.disk.crash(Crash::Kill, &Tape::seeded(seed));
        let hash = left.image_hash();
        if here.insert(hash) || seed == 0 {
            recover_once(left, Crash::Kill, hash).map_err(|e| format!("kill, seed {seed}: {e}"))?;
        }
    }
    Ok(())
}

fn recover(run: &Run, left: SimDisk, kind: Crash, hash: u64) -> Verdict<u64> {
    // What the disk draws follows from what was left, too.
    let tape = Tape::seeded(hash);
    left.set_tape(tape.clone());
    match hash % 8 {
        0 => recover_and_crash_again(run, left, kind, &tape),
        1 => crash_inside_recovery(run, left, kind, &tape),
        _ => {
            let mut after = run.on(left);
            after.recover(kind)?;
            Ok(1)
        }
    }
}

/// All histories of a length, until the time is up; whether all were done. They come in an order that spreads over all kinds,
/// for when there is no time for all.
pub fn explore_all(base: &Run, length: u32, until: Instant, looked: &mut Looked) -> Verdict<bool> {
    // Prime to every power of 12, so that each number comes once.
    const STRIDE: u64 = 7_919;
    let count = 12u64.pow(length);
    for at in 0..count {
        if Instant::now() > until {
            return Ok(false);
        }
        explore(base, &history(length, at * STRIDE % count), looked)?;
    }
    Ok(true)
}
