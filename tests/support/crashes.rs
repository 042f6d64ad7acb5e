//! Crashing a run, recovering it, and crashing it again.

use braidlog::env::sim::{Crash, SimDisk, Tape};

use super::Verdict;
use super::runner::{Op, Run};

/// Recovers what a crash left, appends, and crashes again, without what wasn't synced. Returns how many states were looked at.
pub fn recover_and_crash_again(run: &Run, disk: SimDisk, kind: Crash, tape: &Tape) -> Verdict<u64> {
    let mut first = run.on(disk);
    first.recover(kind)?;
    first.apply(Op::Create(0))?;
    first.apply(Op::Create(1))?;
    first.apply(Op::Append { log: 0, count: 1, len: 77, settle: true })?;
    first.apply(Op::Transaction { len: 33, trim: false, stale: false })?;
    first.apply(Op::Append { log: 3, count: 1, len: 20, settle: true })?;
    let thorough = tape.choose("thorough", 4) == 0;
    if thorough {
        first.check().map_err(|e| format!("after recovery: {e}"))?;
    }
    let again = if tape.choose("again", 2) == 0 { Crash::Power } else { Crash::Kill };
    let left = first.disk.crash(again, tape);
    first.store = None;
    let mut second = first.on(left);
    second.recover(again).map_err(|e| format!("second crash ({again:?}): {e}"))?;
    if thorough {
        second.check().map_err(|e| format!("after the second crash ({again:?}): {e}"))?;
        second.leaves_nothing()?;
    }
    Ok(2)
}

/// Recovers, but crashes in the middle of it, up to three deep, then recovers for good.
pub fn crash_inside_recovery(run: &Run, disk: SimDisk, kind: Crash, tape: &Tape) -> Verdict<u64> {
    let mut now = run.on(disk);
    let mut kind = kind;
    for deep in 1..=3 {
        now.disk.set_torn_crash_at(tape.choose("inside", 24));
        // What was found out does not count: nobody was told.
        let model = now.model.clone();
        now.recover(kind).map_err(|e| format!("{deep} deep in recovery: {e}"))?;
        if !now.is_dead() {
            return Ok(deep);
        }
        now.store = None;
        let next = if tape.choose("inside_kind", 2) == 0 { Crash::Power } else { Crash::Kill };
        let left = now.disk.crash(next, tape);
        now = now.on(left);
        now.model = model;
        // A kill followed by a power cut is a power cut, as far as promises go.
        kind = if kind == Crash::Power { kind } else { next };
    }
    now.recover(kind).map_err(|e| format!("after three crashes in recovery: {e}"))?;
    now.check().map_err(|e| format!("after three crashes in recovery: {e}"))?;
    now.leaves_nothing()?;
    Ok(4)
}
