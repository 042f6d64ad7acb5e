//! One long random history, whole from its seed.

use std::time::Duration;

use braidlog::ReadMode;
use braidlog::env::sim::{Crash, Profile, SimDisk, Tape};

use super::crashes::{crash_inside_recovery, recover_and_crash_again};
use super::runner::{Op, Run, draw};
use super::{Verdict, packing, small};

pub struct Plan {
    pub seed: u64,
    pub profile: Profile,
    pub mode: ReadMode,
    pub ops: usize,
    /// Small logs share files.
    pub packs: bool,
}

impl Plan {
    pub fn of(seed: u64) -> Plan {
        let profiles = [Profile::STRICT_POSIX, Profile::EXT4_ORDERED, Profile::XFS_LIKE, Profile::BTRFS_LIKE];
        Plan {
            seed,
            profile: profiles[(seed % 4) as usize],
            mode: if (seed / 4).is_multiple_of(2) { ReadMode::Map } else { ReadMode::Copy },
            ops: 50 + (seed * 37 % 451) as usize,
            packs: (seed / 8) % 2 == 1,
        }
    }

    /// Runs a history; at chosen points the disk is forked and the fork crashes, while the history goes on.
    pub fn run(&self, trace: bool) -> (Verdict<u64>, Vec<String>, Tape) {
        let tape = Tape::seeded(self.seed);
        let disk = SimDisk::new(tape.clone());
        disk.set_profile(self.profile);
        disk.set_completions_in_order(self.seed.is_multiple_of(3));
        disk.set_trace(trace);
        let mut history = Vec::new();
        let verdict = self.go(&disk, &tape, &mut history);
        history.extend(disk.trace());
        (verdict, history, tape)
    }

    fn go(&self, disk: &SimDisk, tape: &Tape, history: &mut Vec<String>) -> Verdict<u64> {
        let mut states = 0;
        let options = if self.packs { packing(self.mode) } else { small(self.mode) };
        // The shortest there is: whatever a history does, the scrub must not take it for damage.
        let options = options.scrub_period(Some(Duration::from_secs(60)));
        let mut run = Run::create(disk.clone(), options)?;
        run.create_logs()?;
        for at in 0..self.ops {
            let op = draw(tape);
            history.push(format!("{op:?}"));
            let die_inside = tape.choose("die_inside", 8) == 7;
            if die_inside {
                // The machine dies somewhere in the operation; everything up to there is tried on a fork of its own.
                run.disk.set_torn_crash_at(run.disk.operations() + tape.choose("die_at", 12));
            }
            run.apply(op).map_err(|e| format!("operation {at} {op:?}: {e}"))?;
            let crashes = if run.is_dead() { 4 } else { u64::from(tape.choose("crash_here", 4) == 3) };
            for _ in 0..crashes {
                let kind = if tape.choose("kind", 3) == 0 { Crash::Kill } else { Crash::Power };
                let left = run.disk.crash(kind, tape);
                let outcome = match tape.choose("after", 3) {
                    0 => crash_inside_recovery(&run, left, kind, tape),
                    _ => recover_and_crash_again(&run, left, kind, tape),
                };
                states += outcome.map_err(|e| format!("crash ({kind:?}) after operation {at} {op:?}: {e}"))?;
            }
            if run.is_dead() {
                let kind = if tape.choose("kind", 2) == 0 { Crash::Kill } else { Crash::Power };
                let left = run.disk.crash(kind, tape);
                history.extend(run.disk.trace());
                history.push(format!("{kind:?}"));
                run.store = None;
                run = run.on(left);
                run.recover(kind).map_err(|e| format!("died ({kind:?}) in operation {at} {op:?}: {e}"))?;
                run.create_logs()?;
                states += 1;
            } else if die_inside {
                run.disk.set_torn_crash_at(u64::MAX);
            }
        }
        run.apply(Op::Check).map_err(|e| format!("at the end: {e}"))?;
        Ok(states)
    }
}
