//! Models of the engine's hand-offs between threads, every interleaving of them with so many forced switches:
//! `RUSTFLAGS="--cfg loom" cargo test --release`. Three switches unless a model says otherwise; what needs more is not looked for.
//!
//! The files under test are the engine's own, taken in by path; only what they mention of other rooms is made up here, and who
//! calls them.
//! Loom's waits with a timeout never time out, so a wake-up that is lost is a deadlock here.
#![cfg(loom)]
#![allow(dead_code)]

/// Seeded bugs, as the engine has them, per model.
mod bugs {
    use std::cell::Cell;

    #[derive(Clone, Copy, PartialEq, Eq)]
    pub enum SeededBug {
        LostWakeUp,
        PoisonUnseenByLateWaiter,
    }

    thread_local! {
        // A model's threads all run on the thread that runs the model.
        static ACTIVE: Cell<Option<SeededBug>> = const { Cell::new(None) };
    }

    pub fn activate(bug: SeededBug) {
        ACTIVE.set(Some(bug));
    }

    pub fn is_active(bug: SeededBug) -> bool {
        ACTIVE.get() == Some(bug)
    }
}

macro_rules! seeded_bug {
    ($bug:ident) => {
        $crate::bugs::is_active($crate::bugs::SeededBug::$bug)
    };
}
pub(crate) use seeded_bug;

mod error {
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub enum Error {
        Closed,
        Stopped,
        OutcomeUnknown { cause: Fault },
    }

    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Fault;

    impl Fault {
        pub fn new(_during: &str, _path: String, _error: &std::io::Error) -> Fault {
            Fault
        }
    }

    pub type Result<T, E = Error> = std::result::Result<T, E>;
}

mod id {
    pub type SequenceNumber = u64;
}

#[path = "../../../src/sync.rs"]
#[allow(unused_imports)]
mod real_sync;

/// The engine's locks and atomics; see [`seqcst`] for the one that differs.
mod sync {
    pub(crate) use crate::real_sync::*;
    pub(crate) use crate::seqcst::AtomicU64;
}

#[cfg(test)]
#[path = "../../../src/segment/slot.rs"]
mod slot;
#[path = "../../../src/ticket.rs"]
mod ticket;
#[path = "../../../src/log/watch.rs"]
mod watch;

mod engine;
mod lane;
#[cfg(test)]
mod pin;
mod seqcst;
#[cfg(test)]
mod tickets;
#[cfg(test)]
mod watermark;

/// Runs a model through every interleaving with at most three forced switches.
#[cfg(test)]
fn explore(model: impl Fn() + Send + Sync + 'static) {
    explore_switches(3, model);
}

/// As [`explore`], of a model that takes minutes: with at most two, or as many as `BRAIDLOG_LOOM_SWITCHES` says.
#[cfg(test)]
fn explore_long(model: impl Fn() + Send + Sync + 'static) {
    let switches = std::env::var("BRAIDLOG_LOOM_SWITCHES").ok().and_then(|switches| switches.parse().ok());
    explore_switches(switches.unwrap_or(2), model);
}

/// As [`explore`], with at most so many forced switches: for models of many threads.
#[cfg(test)]
fn explore_switches(switches: usize, model: impl Fn() + Send + Sync + 'static) {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let runs = Arc::new(AtomicUsize::new(0));
    let count = runs.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(switches);
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let name = std::thread::current().name().unwrap_or("model").to_owned();
    println!("{name}: {} interleavings", runs.load(Ordering::Relaxed));
}

/// Whether a model that is expected to fail does, with `words` in what it says. It runs in a process of its own: loom can't
/// always unwind from what it finds.
#[cfg(test)]
fn finds(model: &str, words: &str) {
    let program = std::env::current_exe().unwrap();
    let output =
        std::process::Command::new(program).args(["--ignored", "--exact", "--nocapture", model]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{model} went through: what it should find is not found any more");
    assert!(said.contains(words), "{model} failed, but not with {words:?}: {said}");
    println!("{model}: found");
}
