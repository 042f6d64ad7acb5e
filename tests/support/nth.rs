//! Short scripts in which the N-th call fails, for every N.

use std::collections::BTreeMap;

use braidlog::env::sim::{Crash, Errno, FaultKind, Tape};
use braidlog::{Error, Health, ReadMode};

use super::exhaustive::{base, base_with};
use super::oracle::read_checked;
use super::runner::{Op, Run};
use super::{Verdict, packing};
use crate::ensure;

pub const ERRORS: [Errno; 7] =
    [Errno::Io, Errno::NoSpace, Errno::TooManyFiles, Errno::NoMemory, Errno::Access, Errno::ReadOnly, Errno::NotFound];

pub type Visited = BTreeMap<(&'static str, Option<Errno>), u64>;

const SMALL: Op = Op::Append { log: 0, count: 2, len: 60, settle: true };
const BULK: Op = Op::Append { log: 0, count: 1, len: 6000, settle: true };
const BUFFERED: Op = Op::Append { log: 3, count: 2, len: 70, settle: true };
const MIDDLE: Op = Op::Append { log: 1, count: 3, len: 1100, settle: true };

/// Where small logs share files: pieces until they are copied together, and in the end into a file of the log's own.
const PIECES: [Op; 16] = {
    let mut ops = [Op::Checkpoint; 16];
    let mut at = 0;
    while at < 10 {
        ops[at] = SMALL;
        at += 2;
    }
    ops[10] = MIDDLE;
    ops[12] = MIDDLE;
    ops[14] = Op::Append { log: 0, count: 6, len: 2700, settle: true };
    ops
};

/// So much of a buffered log that what follows is stored to mapped memory, where the store reads by map; and a window that ends.
const STORED: [Op; 7] = [Op::Append { log: 3, count: 1, len: 1500, settle: true }; 7];

/// The scripts: one for each thing a store does.
pub const SCRIPTS: [(&str, &[Op]); 19] = [
    ("open", &[]),
    ("append", &[SMALL, SMALL]),
    ("bulk", &[BULK, SMALL, BULK]),
    ("buffered", &[BUFFERED, BUFFERED]),
    ("stored", &STORED),
    ("transaction", &[Op::Transaction { len: 50, trim: true, stale: false }, SMALL]),
    ("two in flight", &[Op::TwoInFlight { len: 200 }, SMALL]),
    ("checkpoint", &[SMALL, Op::Checkpoint, SMALL]),
    ("pieces", &PIECES),
    ("roll", &[MIDDLE, MIDDLE, MIDDLE, Op::Checkpoint, MIDDLE, MIDDLE, Op::Checkpoint, SMALL]),
    ("trim", &[MIDDLE, MIDDLE, MIDDLE, MIDDLE, MIDDLE, Op::Checkpoint, Op::Trim { log: 1, quarters: 3 }, Op::Upkeep]),
    (
        "retention",
        &[
            Op::Append { log: 2, count: 2, len: 3000, settle: true },
            Op::Checkpoint,
            Op::Advance { ms: 61_000 },
            Op::Append { log: 2, count: 2, len: 100, settle: true },
            Op::Upkeep,
            Op::Upkeep,
        ],
    ),
    ("delete", &[SMALL, Op::Delete(0), Op::Checkpoint, Op::Create(0), SMALL]),
    ("mark", &[SMALL, Op::Mark, SMALL]),
    ("close", &[SMALL, BUFFERED, Op::Reopen, SMALL]),
    ("kill", &[SMALL, BUFFERED, Op::Kill, SMALL]),
    ("journal runs full", &[MIDDLE; 30]),
    ("backup", &[SMALL, BULK, BUFFERED, Op::Backup, SMALL]),
    ("read", &[MIDDLE, BULK, Op::Checkpoint, Op::Check]),
];

/// A failed sync is final: the same file is not synced again by the same life.
fn no_sync_twice(trace: &[String]) -> Verdict {
    let mut failed: Vec<&str> = Vec::new();
    for line in trace {
        let mut parts = line.split(' ');
        let (site, path) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        if site == "create" || site == "lock" {
            // Made anew, or another life.
            failed.retain(|f| *f != path && site != "lock");
        }
        if site == "sync_data" || site == "write_back" {
            ensure!(!failed.contains(&path), "{path} is synced again after its sync failed");
            if line.contains("->") {
                failed.push(path);
            }
        }
    }
    Ok(())
}

/// What a faulty run can still read must be right; then, without faults, everything acknowledged is there.
pub fn aftermath(mut run: Run, kind: Crash) -> Verdict {
    if let Some(store) = &run.store {
        read_checked(&run.model, store.store())?;
        if let Health::Stopped { .. } = store.store().health() {
            let log = run.log("alpha");
            if let Some(Ok(_)) = log.map(|log| log.try_append_batch(&[b"x"[..].into()])) {
                return Err("a stopped store takes an append".into());
            }
        }
    }
    run.disk.clear_faults();
    run.store = None;
    let left = run.disk.crash(kind, &Tape::seeded(3));
    let mut after = run.on(left);
    after.recover(kind).map_err(|e| format!("reopened ({kind:?}): {e}"))?;
    after.create_logs()?;
    after.apply(SMALL).map_err(|e| format!("reopened ({kind:?}): {e}"))?;
    after.apply(Op::Check).map_err(|e| format!("reopened ({kind:?}): {e}"))
}

/// Runs one script with the N-th call failing, N = 1, 2, ... until none fails. Returns how many runs that took.
pub fn each_call(base: &Run, script: &[Op], error: Errno, kind: FaultKind, visited: &mut Visited) -> Verdict<u64> {
    for n in 1.. {
        let disk = base.disk.fork();
        disk.set_trace(true);
        let mut run = base.on(disk);
        run.faulty = true;
        run.disk.fail_nth(n, kind, error);
        let outcome = (|| {
            run.open()?;
            for op in script {
                if run.store.is_none() && !run.uncertain {
                    run.open()?;
                }
                run.apply(*op).map_err(|e| format!("{op:?}: {e}"))?;
            }
            Ok(())
        })();
        let fired = run.disk.faults_fired() > 0;
        for (cell, count) in run.disk.visited() {
            *visited.entry(cell).or_insert(0) += count;
        }
        let place = || {
            let trace = run.disk.trace();
            let at = trace.iter().find(|line| line.contains("->")).cloned().unwrap_or_default();
            format!("call {n} ({kind:?}): {at}")
        };
        let place = place();
        let crash = if n % 2 == 0 { Crash::Kill } else { Crash::Power };
        let no_sync_twice = no_sync_twice(&run.disk.trace());
        let after = outcome.and(no_sync_twice).and_then(|()| aftermath(run, crash));
        after.map_err(|e: String| format!("{place}: {e}"))?;
        if !fired {
            return Ok(n);
        }
    }
    Ok(0)
}

/// The store that all scripts start from.
pub fn start(mode: ReadMode) -> Verdict<Run> {
    base(mode)
}

/// The same where small logs share files.
pub fn start_packing(mode: ReadMode) -> Verdict<Run> {
    base_with(packing(mode))
}

/// Whether an error says that there is no room.
pub fn says_full(error: &Error) -> bool {
    match error {
        Error::Full { .. } | Error::Busy { .. } => true,
        Error::ReadOnly { full, .. } => *full,
        Error::Io(fault) | Error::Stopped { cause: fault } | Error::OutcomeUnknown { cause: fault } => {
            fault.is_no_space()
        }
        _ => false,
    }
}
