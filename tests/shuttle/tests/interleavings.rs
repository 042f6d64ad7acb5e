//! A store with its machines, and callers beside them, each on a thread of its own, in random interleavings: between any two uses
//! of a lock or an atomic another thread may go on. The disk is the simulated one; at any moment a copy of it may lose its power.
//!
//! `BRAIDLOG_SHUTTLE_SECONDS` says for how long, `BRAIDLOG_SHUTTLE_SEED` from which seed on. A failure prints a schedule; with it in
//! `BRAIDLOG_SHUTTLE_SCHEDULE` that very run is run again.
#![cfg(shuttle)]

mod model;

use std::panic::UnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use braidlog::env::sim::bugs::{SeededBug, activate};
use model::starving::StarvingScheduler;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

/// Each planted bug is found in seconds; this is for a machine that has much else to do, and for an engine that takes other steps.
const FOUND_WITHIN_SECONDS: f64 = 900.0;
/// Interleavings of the small history that is tried where nothing is wrong.
const SMALL_HISTORIES: usize = 100;
/// How many switches a thread that should wait is let go on for, at most.
const STEPS_MAX: usize = 5_000_000;

fn config(seconds: f64) -> Config {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.failure_persistence = FailurePersistence::Print;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.max_time = Some(Duration::from_secs_f64(seconds));
    config
}

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// Whether a planted bug is found, by a history that fails, where anybody goes on.
fn finds(bug: SeededBug) {
    finds_with(
        |seed| RandomScheduler::new_from_seed(seed, usize::MAX),
        bug,
        || {
            model::history();
        },
    );
}

/// With one seed after the other: which histories a scheduler comes to first changes with every step that the engine takes.
fn finds_with<S>(scheduler: impl Fn(u64) -> S, bug: SeededBug, history: fn())
where
    S: Scheduler + UnwindSafe + 'static,
{
    const SECONDS_EACH: f64 = 10.0;
    let _planted = activate(bug);
    let seeds = (FOUND_WITHIN_SECONDS / SECONDS_EACH) as u64;
    let found = (1..=seeds).any(|seed| {
        let mut config = config(SECONDS_EACH);
        config.failure_persistence = FailurePersistence::None;
        let scheduler = scheduler(seed);
        std::panic::catch_unwind(|| {
            Runner::new(scheduler, config).run(history);
        })
        .is_err()
    });
    assert!(found, "{bug} is not found");
}

#[test]
fn a_log_that_is_listed_before_a_frame_took_effect_is_found() {
    finds_with(StarvingScheduler::new_from_seed, SeededBug::ListedBeforeEffect, model::trims_under_checkpoints);
}

#[test]
fn a_frame_that_is_shown_in_parts_is_found() {
    finds(SeededBug::FrameShownInParts);
}

#[test]
fn a_list_that_is_taken_before_the_frame_is_chosen_is_found() {
    finds_with(StarvingScheduler::new_from_seed, SeededBug::ListTakenBeforeFrame, model::appends_under_checkpoints);
}

#[test]
fn an_older_row_that_is_replayed_is_found() {
    finds(SeededBug::OlderRowReplayed);
}

#[test]
fn an_end_that_is_read_behind_the_view_is_found() {
    finds_with(StarvingScheduler::new_from_seed, SeededBug::EndReadBehindView, model::appends_under_checkpoints);
}

fn small_histories(history: fn()) {
    let mut config = config(FOUND_WITHIN_SECONDS);
    config.max_time = None;
    let scheduler = StarvingScheduler::new_from_seed(1).at_most(SMALL_HISTORIES);
    assert_eq!(Runner::new(scheduler, config).run(history), SMALL_HISTORIES);
}

#[test]
fn what_is_trimmed_while_checkpoints_are_taken_stays_trimmed() {
    small_histories(model::trims_under_checkpoints);
}

#[test]
fn what_is_appended_while_checkpoints_are_taken_is_there_after_a_kill() {
    small_histories(model::appends_under_checkpoints);
}

#[test]
fn whatever_is_acknowledged_is_there_in_any_interleaving() {
    let (runs, crashes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let history = {
        let (runs, crashes) = (runs.clone(), crashes.clone());
        move || {
            crashes.fetch_add(model::history(), Ordering::Relaxed);
            runs.fetch_add(1, Ordering::Relaxed);
        }
    };
    if let Some(schedule) = from_environment::<String>("BRAIDLOG_SHUTTLE_SCHEDULE") {
        return shuttle::replay(history, &schedule);
    }
    let seconds: f64 = from_environment("BRAIDLOG_SHUTTLE_SECONDS").unwrap_or(20.0);
    let seed: u64 = from_environment("BRAIDLOG_SHUTTLE_SEED").unwrap_or(1);
    // Anybody goes on; one doesn't, for a while; one goes on but for a few switches. They find different things.
    Runner::new(RandomScheduler::new_from_seed(seed, usize::MAX), config(seconds / 3.0)).run(history.clone());
    Runner::new(StarvingScheduler::new_from_seed(seed), config(seconds / 3.0)).run(history.clone());
    Runner::new(PctScheduler::new_from_seed(seed, 5, usize::MAX), config(seconds / 3.0)).run(history);
    let (runs, crashes) = (runs.load(Ordering::Relaxed), crashes.load(Ordering::Relaxed));
    println!("figures: {runs} interleavings with {crashes} crashes, none wrong");
    assert!(runs > 0);
}
