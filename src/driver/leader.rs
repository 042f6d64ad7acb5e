//! Who steps the commit machine: its thread, or a caller that waits for its own append and finds nobody at work.
//!
//! A hand-over between two threads takes a fifth of a durable write, twice for each append. So a blocking caller that comes
//! alone sees its turn through itself. Where callers meet, the thread is at work for as long as they keep coming, and turns grow
//! while it waits for the disk.

use std::time::{Duration, Instant};

use crate::core::Core;
use crate::error::Error;
use crate::sync::{Arc, Mutex};
use crate::ticket::Turn;

use super::commit::{Commit, GRACE, IDLE, Pause};
use super::guard::Unless;

/// The commit machine as its thread and callers share it.
#[derive(Clone)]
pub(crate) struct CommitMachine {
    core: Arc<Core>,
    /// `None` once the thread has ended.
    machine: Arc<Mutex<Option<Commit>>>,
}

impl CommitMachine {
    pub(crate) fn new(core: Arc<Core>, machine: Commit) -> CommitMachine {
        CommitMachine { core, machine: Arc::new(Mutex::new(Some(machine))) }
    }

    /// Runs until the lane closes. For a thread of its own.
    pub(crate) fn run(self) {
        let _ended = Ended(&self);
        while self.whole(|| self.take_steps()) {}
    }

    /// Takes steps until there is something to wait for, and waits; whether there may be more.
    fn take_steps(&self) -> bool {
        let lane = &self.core.commit_lane;
        match self.with(Commit::step_on).unwrap_or(Pause::End) {
            Pause::None => {}
            Pause::Room => {
                self.core.upkeep.ring();
                self.core.ring.wait_freed(Duration::from_millis(50));
                self.with(Commit::waited_for_room);
            }
            Pause::Returns { due } => {
                lane.wait(due, Some(GRACE));
                self.with(Commit::waited_for_returns);
            }
            Pause::Idle { telling } => {
                lane.wait(0, Some(IDLE));
                self.with(|machine| machine.waited_idly(telling));
            }
            Pause::Rest => lane.wait(0, None),
            Pause::End => return false,
        }
        true
    }

    /// Does something with the machine. A panic in the middle of it stops the store: who waits learns that nobody will answer.
    fn whole<T>(&self, steps: impl FnOnce() -> T) -> T {
        let cut_short = Unless::new(|| {
            self.with(Commit::broke_off);
        });
        let outcome = steps();
        cut_short.passed();
        outcome
    }

    fn with<T>(&self, step: impl FnOnce(&mut Commit) -> T) -> Option<T> {
        self.machine.lock().as_mut().map(step)
    }

    /// Has the calling thread see `turn` through if nobody is at work, for at most `patience`, and answers with what is left of
    /// that. What was begun and is not done is the thread's.
    pub(crate) fn lead(&self, turn: &Arc<Turn>, patience: Duration) -> Duration {
        self.whole(|| {
            let Some(mut locked) = self.machine.try_lock() else { return patience };
            let Some(machine) = locked.as_mut() else { return patience };
            let until = Instant::now() + patience;
            let rouse = machine.lead(turn, (!self.core.is_patient()).then_some(until));
            drop(locked);
            if rouse {
                self.core.commit_lane.rouse();
            }
            until.saturating_duration_since(Instant::now())
        })
    }
}

/// The thread takes the machine with it, however it ends: its queue waits for what is in flight, and a disk may hang.
struct Ended<'a>(&'a CommitMachine);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.core.commit_lane.refuse(Error::Closed);
        let Some(mut machine) = self.0.machine.lock().take() else { return };
        machine.end();
    }
}
