//! Long random histories with crashes, on every profile, each from one seed.
//!
//! `BRAIDLOG_CRASH_SECONDS` says how long; `BRAIDLOG_SIM_SEED` replays one seed.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Instant;

use braidlog::ReadMode;
use braidlog::env::sim::{Crash, Profile, SimDisk, Tape};
use support::oracle::read_checked;
use support::plan::Plan;
use support::runner::{Op, Run, draw};
use support::{budget, small, two_lanes};

fn fail(plan: &Plan, why: &str) -> ! {
    let (_, history, tape) = plan.run(true);
    let from = history.len().saturating_sub(400);
    println!("{}", history[from..].join("\n"));
    panic!("seed {} ({}, {:?}, packs {}): {why}\n{tape}", plan.seed, plan.profile.name, plan.mode, plan.packs);
}

fn run_seeds(until: Instant, seeds: impl Iterator<Item = u64>) -> (u64, u64) {
    let (mut runs, mut states) = (0, 0);
    for seed in seeds {
        if Instant::now() > until {
            break;
        }
        let plan = Plan::of(seed);
        match std::panic::catch_unwind(|| plan.run(false).0) {
            Ok(Ok(n)) => states += n,
            Ok(Err(why)) => fail(&plan, &why),
            Err(_) => {
                println!("seed {seed} ({}, {:?}) panicked", plan.profile.name, plan.mode);
                fail(&plan, "panicked");
            }
        }
        runs += 1;
    }
    (runs, states)
}

#[test]
fn random_histories_survive_random_crashes() {
    if let Some(seed) = std::env::var("BRAIDLOG_SIM_SEED").ok().and_then(|s| s.parse().ok()) {
        run_seeds(budget(1.0), std::iter::once(seed));
        return;
    }
    let until = budget(0.5);
    let done = two_lanes(|lane| run_seeds(until, (lane..).step_by(2)));
    let (runs, states) = done.iter().fold((0, 0), |(r, s), (runs, states)| (r + runs, s + states));
    println!("figures: {states} crash states, none wrong, of {runs} random histories of 50 to 500 operations");
}

/// ext4 with `data=writeback`: names are in order, and a length may be durable before its data, with what lay there before. The
/// seeds of the histories above, and what they draw, are as they were before there was this one.
#[test]
fn random_histories_survive_where_a_length_outruns_its_data() {
    let done = two_lanes(|lane| {
        let plans = (lane..40).step_by(2).map(|seed| Plan { profile: Profile::EXT4_WRITEBACK, ..Plan::of(seed) });
        plans.map(|plan| plan.run(false).0.unwrap_or_else(|why| fail(&plan, &why))).sum::<u64>()
    });
    println!("figures: {} crash states on ext4-writeback, none wrong", done.iter().sum::<u64>());
}

#[test]
fn a_plan_run_twice_leaves_the_same_trace() {
    for seed in 0..8 {
        let plan = Plan::of(seed);
        let (one, two) = (plan.run(true), plan.run(true));
        assert_eq!(one.0, two.0);
        if let Some(at) = (0..one.1.len()).find(|&at| one.1.get(at) != two.1.get(at)) {
            panic!("seed {seed}: step {at} is {:?}, then {:?}", one.1[at], two.1.get(at));
        }
        assert_eq!(one.2.values(), two.2.values(), "seed {seed}");
    }
}

/// A device that lies about syncs may lose what was acknowledged. It must not lead to wrong bytes, panics or crash loops.
#[test]
fn a_lying_device_costs_records_but_never_shows_wrong_ones() {
    let mut refused = 0;
    for seed in 0..200 {
        let tape = Tape::seeded(seed);
        let disk = SimDisk::new(tape.clone());
        let mut run = Run::create(disk, small(ReadMode::Copy)).unwrap();
        run.create_logs().unwrap();
        run.apply(Op::Checkpoint).unwrap();
        run.disk.set_lying(1 + (seed % 6) as usize);
        for _ in 0..30 {
            let op = draw(&tape);
            run.apply(op).unwrap_or_else(|e| panic!("seed {seed}: {op:?}: {e}"));
        }
        let left = run.disk.crash(Crash::Power, &tape);
        let mut after = run.on(left);
        after.faulty = true;
        after.open().unwrap();
        match &after.store {
            None => refused += 1,
            Some(store) => {
                read_checked(&after.model, store.store()).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            }
        }
    }
    println!("{refused} of 200 stores were refused with a typed error");
}

/// For work on the engine: all that fails in the first 400 seeds, by kind.
#[test]
#[ignore = "a tool, not a test"]
fn survey() {
    let mut kinds: std::collections::BTreeMap<String, Vec<u64>> = std::collections::BTreeMap::new();
    for seed in 0..400 {
        let why = match std::panic::catch_unwind(|| Plan::of(seed).run(false).0) {
            Ok(Ok(_)) => continue,
            Ok(Err(why)) => why,
            Err(panic) => panic.downcast_ref::<String>().cloned().unwrap_or_default(),
        };
        println!("{seed}: {why}");
        let kind = why.rsplit_once("}: ").map_or(why.as_str(), |(_, kind)| kind);
        kinds.entry(kind.replace(|c: char| c.is_ascii_digit(), "")).or_default().push(seed);
    }
    for (kind, seeds) in kinds {
        println!("{:4} {kind} {:?}", seeds.len(), &seeds[..seeds.len().min(8)]);
    }
}
