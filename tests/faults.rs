//! Every call fails once, and from then on, with every error: no panic, no wrong bytes, what was acknowledged is there.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use braidlog::check::{CheckOptions, Severity, check_in};
use braidlog::env::sim::{Crash, Errno, FaultKind, ManualClock, SITES, SimDisk, Tape};
use braidlog::manual::ManualStore;
use braidlog::{Durability, Error, Health, Log, LogOptions, ReadMode, StoreOptions};
use support::nth::{ERRORS, SCRIPTS, Visited, each_call, says_full, start, start_packing};
use support::runner::{Op, Run};
use support::{AGE_MS, NAMES, env_of, small, two_lanes};

#[test]
fn every_call_may_fail_with_every_error() {
    let jobs: Vec<_> = SCRIPTS
        .iter()
        .flat_map(|script| ERRORS.iter().map(move |error| (script, *error)))
        .flat_map(|(script, error)| [FaultKind::Once, FaultKind::Forever].map(|kind| (script, error, kind)))
        .collect();
    let done = two_lanes(|lane| {
        let mut visited = Visited::new();
        let (mut runs, mut wrong) = (0, Vec::new());
        for (at, ((name, script), error, kind)) in jobs.iter().enumerate().filter(|(at, _)| at % 2 == lane as usize) {
            let mode = if at / 2 % 2 == 0 || *name == "stored" { ReadMode::Map } else { ReadMode::Copy };
            let packs = at / 4 % 2 == 1 || *name == "pieces";
            let base = if packs { start_packing(mode) } else { start(mode) }.unwrap();
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                each_call(&base, script, *error, *kind, &mut visited)
            }));
            match outcome {
                Ok(Ok(n)) => runs += n,
                Ok(Err(why)) => wrong.push(format!("{name}, {error:?}: {why}")),
                Err(_) => wrong.push(format!("{name}, {error:?} {kind:?}: panicked")),
            }
        }
        (visited, runs, wrong)
    });
    let mut visited = Visited::new();
    let (mut runs, mut wrong) = (0, Vec::new());
    for (cells, n, bad) in done {
        cells.into_iter().for_each(|(cell, n)| *visited.entry(cell).or_insert(0) += n);
        runs += n;
        wrong.extend(bad);
    }
    let sites: BTreeSet<&str> = visited.keys().map(|(site, _)| *site).collect();
    println!("{runs} runs; times each call failed with each error:");
    for site in &sites {
        let cells: Vec<u64> = ERRORS.iter().map(|e| visited.get(&(*site, Some(*e))).copied().unwrap_or(0)).collect();
        println!("{site:18} {cells:?}");
    }
    assert!(wrong.is_empty(), "{} violations:\n{}", wrong.len(), wrong.join("\n"));
    // That one follows upon descriptors that ran out, or closed ones: see the next test.
    let all: BTreeSet<&str> = SITES.iter().copied().filter(|site| *site != "sync_all").collect();
    assert_eq!(sites.difference(&BTreeSet::from(["sync_all"])).copied().collect::<BTreeSet<_>>(), all);
    for site in all {
        for error in ERRORS {
            assert!(visited.contains_key(&(site, Some(error))), "{site} never failed with {error:?}");
        }
    }
}

/// More segments are written for a checkpoint than are kept open. Those that were closed before their sync are synced by the call
/// that is told of every write that failed: if it is, the store stops, and nothing was promised.
#[test]
fn what_was_closed_before_its_sync_is_synced_by_the_call_that_is_told_of_all() {
    const LOGS: usize = 24;
    for fails in std::iter::once(None).chain(ERRORS.map(Some)) {
        let (disk, clock) = (SimDisk::new(Tape::seeded(1)), Arc::new(ManualClock::new()));
        let options = || small(ReadMode::Copy).pack_from(LOGS);
        let mut store = ManualStore::open(env_of(&disk, &clock), options()).unwrap();
        let logs: Vec<_> = (0..LOGS)
            .map(|n| {
                let mut made = store.create_log(&format!("log-{n}"), LogOptions::new()).unwrap();
                store.settle();
                let log = made.try_get().unwrap().unwrap();
                let ticket = log.append_ticket(&[b'x'; 1000][..]).unwrap();
                store.settle();
                ticket.try_get().unwrap().unwrap();
                log
            })
            .collect();
        if let Some(error) = fails {
            disk.fail_nth_where(1, FaultKind::Once, error, Some("sync_all"), None);
        }
        assert_eq!(store.checkpoint().is_err(), fails.is_some(), "{fails:?}");
        assert_eq!(disk.faults_fired(), u64::from(fails.is_some()), "the call is made");
        assert_eq!(matches!(store.store().health(), Health::Stopped { .. }), fails.is_some(), "{fails:?}");
        drop((logs, store));
        let left = disk.crash(Crash::Power, &Tape::seeded(2));
        let store = ManualStore::open(env_of(&left, &clock), options()).unwrap();
        for n in 0..LOGS {
            assert_eq!(store.store().log(&format!("log-{n}")).unwrap().end(), 1, "log {n}");
        }
    }
}

/// A full disk at every size: what is refused is absent for ever, what is acknowledged is present, and with room it goes on.
#[test]
fn a_disk_may_be_full_at_every_write() {
    let mut runs = 0;
    for (name, script) in SCRIPTS {
        for (mode, packs) in [(ReadMode::Map, false), (ReadMode::Copy, false), (ReadMode::Map, true)] {
            let base = if packs { start_packing(mode) } else { start(mode) }.unwrap();
            for blocks in 0..48 {
                let disk = base.disk.fork();
                disk.set_capacity(Some(disk.used_bytes() + blocks * 4096));
                let mut run = base.on(disk);
                run.faulty = true;
                let at = |e: String| format!("{name}, {blocks} blocks free, {mode:?}, packs {packs}: {e}");
                full_then_room(&mut run, script).map_err(at).unwrap_or_else(|e| panic!("{e}"));
                runs += 1;
            }
        }
    }
    println!("figures: {runs} runs on a disk that gets full, each opened again while it was");
}

/// A script on a full disk, an open while it is still full, and one when there is room again.
fn full_then_room(run: &mut Run, script: &[Op]) -> Result<(), String> {
    run.open()?;
    for op in script {
        run.apply(*op).map_err(|e| format!("{op:?}: {e}"))?;
    }
    for error in &run.errors {
        let typed = says_full(error) || matches!(error, braidlog::Error::NoSuchLog { .. });
        if !typed {
            return Err(format!("an error that is not about room: {error:?}"));
        }
    }
    run.store = None;
    let left = run.disk.crash(Crash::Kill, &braidlog::env::sim::Tape::seeded(1));
    left.set_capacity(Some(left.used_bytes()));
    let mut full = run.on(left.fork());
    // What was kept for it is enough: an open is not refused for want of room.
    full.open().map_err(|e| format!("on the full disk: {e}"))?;
    let now = full.now_ms();
    full.model
        .clone()
        .check_recovered(full.stored().store(), Crash::Kill, now)
        .map_err(|e| format!("on the full disk: {e}"))?;
    full.store = None;
    left.set_capacity(None);
    let mut room = run.on(left);
    room.recover(Crash::Kill).map_err(|e| format!("with room again: {e}"))?;
    room.create_logs()?;
    room.apply(Op::Append { log: 0, count: 1, len: 100, settle: true })?;
    room.apply(Op::Check).map_err(|e| format!("with room again: {e}"))
}

/// Room comes back while the store is open: appends go on by themselves.
#[test]
fn appends_resume_when_there_is_room_again() {
    for mode in [ReadMode::Map, ReadMode::Copy] {
        for blocks in 0..24 {
            let base = start(mode).unwrap();
            let disk = base.disk.fork();
            let mut run = base.on(disk);
            run.open().unwrap();
            run.disk.set_capacity(Some(run.disk.used_bytes() + blocks * 4096));
            run.faulty = true;
            for _ in 0..40 {
                run.apply(Op::Append { log: 1, count: 3, len: 1100, settle: true }).unwrap();
                run.apply(Op::Upkeep).unwrap();
            }
            if let Some(error) = run.errors.iter().find(|e| !says_full(e)) {
                panic!("{blocks} blocks: {error}");
            }
            run.disk.set_capacity(None);
            run.apply(Op::Upkeep).unwrap();
            run.apply(Op::Upkeep).unwrap();
            run.faulty = false;
            run.apply(Op::Append { log: 1, count: 1, len: 100, settle: true })
                .unwrap_or_else(|e| panic!("{blocks} blocks, room again: {e}"));
            run.apply(Op::Check).unwrap_or_else(|e| panic!("{blocks} blocks, room again: {e}"));
        }
    }
}

#[test]
fn errors_that_the_matrix_uses_are_distinct() {
    let distinct: BTreeSet<Errno> = ERRORS.into_iter().collect();
    assert_eq!(distinct.len(), ERRORS.len());
}

/// The simulated disk ends a test that shortens a file while somebody has a part of it mapped.
#[test]
fn a_segment_is_shortened_only_when_nobody_stores_to_it_any_more() {
    // More than is given back in one step.
    const RECORDS: u64 = 18_000;
    let record = [7u8; 1_900];
    for deleted in [true, false] {
        let disk = SimDisk::new(Tape::seeded(3));
        let env = env_of(&disk, &Arc::new(ManualClock::new()));
        let mut store = ManualStore::open(env, StoreOptions::new().reserve_bytes(0)).unwrap();
        let mut pending = store.create_log("log", LogOptions::new().durability(Durability::Buffered)).unwrap();
        store.settle();
        let log = pending.try_get().unwrap().unwrap();
        // The first one goes by the lane, and its note by the journal.
        while log.try_append_batch(&[record[..].into()]).is_err() {
            store.settle();
        }
        store.settle();
        disk.set_trace(true);
        while log.end() < RECORDS {
            let ticket = store.append_alone(&log, &[record[..].into()]).unwrap().expect("nobody else appends");
            ticket.try_get().expect("it is there").unwrap();
        }
        assert!(disk.trace().iter().any(|line| line.contains("put ")), "nothing was stored through a window");
        disk.set_trace(false);
        if deleted {
            let mut pending = store.delete_log("log").unwrap();
            store.settle();
            pending.try_get().unwrap().unwrap();
        } else {
            let mut pending = store.trim(&log, RECORDS).unwrap();
            store.settle();
            pending.try_get().unwrap().unwrap();
        }
        for _ in 0..10 {
            store.upkeep_step();
            store.checkpoint().unwrap();
        }
        assert_eq!(store.store().stats().segments_freed, 1, "deleted: {deleted}");
    }
}

/// A store on a disk with so many free blocks: segments of a log that a manifest names, a little more of it in memory, and of bravo as
/// much as the journal takes, or a little, too.
fn filled_up(base: &Run, disk: SimDisk, log: usize, short: bool, blocks: u64) -> Result<Run, String> {
    let mut run = base.on(disk);
    run.open()?;
    for step in 0..40 {
        run.apply(Op::Append { log, count: 2, len: 1500, settle: true })?;
        if step % 10 == 9 {
            run.apply(Op::Checkpoint)?;
        }
    }
    // Its frame names all that the log has.
    run.apply(Op::Append { log, count: 1, len: 5000, settle: true })?;
    run.apply(Op::Upkeep)?;
    run.apply(Op::Append { log, count: 1, len: 300, settle: true })?;
    if !short {
        run.apply(Op::Append { log: 1, count: 1, len: 600, settle: true })?;
    }
    run.disk.set_capacity(Some(run.disk.used_bytes() + blocks * 4096));
    run.faulty = true;
    while short && run.errors.is_empty() {
        run.apply(Op::Append { log: 1, count: 1, len: 600, settle: true })?;
    }
    Ok(run)
}

/// Whether whoever checks every byte of what a crash left finds it whole, but for the manifest that was being written.
fn check_sound(left: &SimDisk, run: &Run) -> Result<(), String> {
    let report = check_in(&env_of(left, &run.clock), &CheckOptions::new(), &mut |_| {}).map_err(|e| e.to_string())?;
    match report.of(Severity::Damage).find(|finding| !finding.path.starts_with("manifest/")) {
        None => Ok(()),
        Some(finding) => Err(format!("{finding:?}")),
    }
}

/// A trim or a deletion has to be written like everything else, and where the journal has no room its frame would wait for the
/// room that only it would make.
#[test]
fn what_is_trimmed_on_a_full_disk_makes_room_for_its_own_frame() {
    let kinds = [(ReadMode::Map, false, 0), (ReadMode::Copy, false, 3), (ReadMode::Map, true, 0)];
    let states = [(16 << 10, true), (1 << 20, true), (16 << 10, false), (1 << 20, false)];
    for ((mode, packs, log), (reserve, short)) in kinds.into_iter().flat_map(|kind| states.map(|state| (kind, state))) {
        let mut base = if packs { start_packing(mode) } else { start(mode) }.unwrap();
        base.options = base.options.reserve_bytes(reserve);
        let trims = [2, 3, 4].map(|quarters| Op::Trim { log, quarters });
        for op in trims.into_iter().chain([Op::Delete(log)]) {
            let mut operations = 0..0;
            for blocks in (0..8).rev() {
                let what = format!("{mode:?}, packs {packs}, {reserve} kept, short {short}, {blocks} free, {op:?}");
                let mut run = filled_up(&base, base.disk.fork(), log, short, blocks).unwrap();
                for _ in 0..3 {
                    run.apply(Op::Upkeep).unwrap();
                }
                // A little more room may be all it takes.
                let full = matches!(run.stored().store().health(), Health::Full { .. });
                assert!(full || blocks > 0, "{what}: it is not full");
                let (from, freed) = (run.disk.operations(), run.stored().store().stats().segments_freed);
                let asked = |quarters| run.log(NAMES[log]).unwrap().end() * quarters / 4;
                let asked = if let Op::Trim { quarters, .. } = op { Some(asked(quarters)) } else { None };
                run.apply(op).unwrap();
                let horizon = run.model.logs.get(NAMES[log]).map(|log| log.trim_acked);
                assert_eq!(horizon, asked, "{what}: no answer");
                // Then retention looks.
                for op in [Op::Advance { ms: 2000 }, Op::Upkeep, Op::Upkeep, Op::Upkeep] {
                    run.apply(op).unwrap();
                }
                let freed = run.stored().store().stats().segments_freed > freed;
                assert!(freed || !full, "{what}: nothing was given back");
                run.apply(Op::Check).unwrap();
                if let Some(error) = run.errors.iter().find(|error| !says_full(error)) {
                    panic!("{what}: {error}");
                }
                let health = run.stored().store().health();
                assert!(matches!(health, Health::Full { .. } | Health::Ok), "{what}: {health}");
                operations = from..run.disk.operations();
            }
            let what = format!("{mode:?}, packs {packs}, {reserve} kept, short {short}, {op:?}");
            let Range { start: from, end: upto } = operations;
            for at in from..=upto {
                for (kind, seed) in [(Crash::Power, 1), (Crash::Power, 2), (Crash::Kill, 3)] {
                    let disk = base.disk.fork();
                    disk.set_torn_crash_at(at);
                    let mut run = filled_up(&base, disk, log, short, 0).unwrap();
                    let later = Op::Advance { ms: 2000 };
                    for op in [Op::Upkeep, Op::Upkeep, Op::Upkeep, op, later, Op::Upkeep, Op::Upkeep, Op::Upkeep] {
                        run.apply(op).unwrap();
                    }
                    let left = run.disk.crash(kind, &Tape::seeded(seed));
                    left.set_capacity(None);
                    let at =
                        |e: String| panic!("{what}, {kind:?} at boundary {at} of {from} to {upto}, seed {seed}: {e}");
                    check_sound(&left, &run).unwrap_or_else(at);
                    let mut after = run.on(left);
                    after.recover(kind).unwrap_or_else(at);
                    after.create_logs().unwrap_or_else(at);
                    after.apply(Op::Append { log, count: 1, len: 100, settle: true }).unwrap_or_else(at);
                    after.apply(Op::Check).unwrap_or_else(at);
                }
            }
        }
    }
}

/// Where a page can't be read just when such a manifest rewrites it, nothing is to stand for it: the manifest is at the frame of the one
/// before, and what the journal has since of the page's other logs could never be applied to it any more.
#[test]
fn a_page_that_cannot_be_read_on_a_full_disk_is_not_set_aside() {
    let mut crashes = 0;
    for packs in [false, true] {
        let base = if packs { start_packing(ReadMode::Copy) } else { start(ReadMode::Copy) }.unwrap();
        // The `n`-th read of a manifest fails, and all after it, until the power goes before operation `at`, if there is one.
        let cut = |n, at: Option<u64>| {
            let mut run = filled_up(&base, base.disk.fork(), 0, false, 0).unwrap();
            (0..3).for_each(|_| run.apply(Op::Upkeep).unwrap());
            run.disk.fail_nth_where(n, FaultKind::Forever, Errno::Io, Some("read_at"), Some("manifest/"));
            let from = run.disk.operations();
            at.into_iter().for_each(|at| run.disk.set_crash_at(at));
            let later = Op::Advance { ms: 2000 };
            for op in [Op::Trim { log: 0, quarters: 3 }, later, Op::Upkeep, Op::Upkeep, Op::Upkeep] {
                run.apply(op).unwrap();
            }
            (run, from)
        };
        for n in 1.. {
            let (run, from) = cut(n, None);
            if run.disk.faults_fired() == 0 {
                break;
            }
            for at in from..=run.disk.operations() {
                let what = format!("packs {packs}, read {n}, operation {at}");
                let (mut run, _) = cut(n, Some(at));
                run.store = None;
                let left = run.disk.crash(Crash::Kill, &Tape::seeded(3));
                left.clear_faults();
                left.set_capacity(None);
                let mut after = run.on(left);
                after.open().unwrap_or_else(|e| panic!("{what}: {e}"));
                let report = after.stored().store().open_report().clone();
                assert_eq!((after.stored().store().health(), &report.page_damage), (Health::Ok, &None), "{what}");
                crashes += 1;
            }
        }
    }
    assert!(crashes > 20, "{crashes} crashes");
}

/// Room comes back by retention, too, though there is none for the checkpoint that would forget what expired.
#[test]
fn what_expires_on_a_full_disk_makes_room() {
    for (mode, packs) in [(ReadMode::Map, false), (ReadMode::Copy, false), (ReadMode::Map, true)] {
        let what = format!("{mode:?}, packs {packs}");
        let mut base = if packs { start_packing(mode) } else { start(mode) }.unwrap();
        base.options = base.options.reserve_bytes(16 << 10);
        let mut run = filled_up(&base, base.disk.fork(), 2, true, 0).unwrap();
        run.apply(Op::Upkeep).unwrap();
        let (health, freed) = (run.stored().store().health(), run.stored().store().stats().segments_freed);
        assert!(matches!(health, Health::Full { .. }) && freed == 0, "{what}: {health}, {freed} segments freed");
        run.apply(Op::Advance { ms: 2 * AGE_MS }).unwrap();
        for _ in 0..3 {
            run.apply(Op::Upkeep).unwrap();
        }
        assert!(run.stored().store().stats().segments_freed > 0, "{what}: nothing was given back");
        run.apply(Op::Check).unwrap();
        run.store = None;
        let left = run.disk.crash(Crash::Power, &Tape::seeded(5));
        left.set_capacity(None);
        check_sound(&left, &run).unwrap_or_else(|e| panic!("{what}: {e}"));
        let mut after = run.on(left);
        after.recover(Crash::Power).unwrap_or_else(|e| panic!("{what}: {e}"));
        after.apply(Op::Append { log: 2, count: 1, len: 100, settle: true }).unwrap();
        after.apply(Op::Check).unwrap_or_else(|e| panic!("{what}: {e}"));
    }
}

/// A segment that a failed write leaves empty, behind one that is full of fresh records.
#[test]
fn an_empty_segment_makes_no_fresh_record_expire() {
    const DAY: Duration = Duration::from_secs(86_400);
    // No room behind the header of a segment that a flush begins, and no descriptor for one that a large share begins.
    for (bulk, error, site) in [(1 << 20, Errno::NoSpace, "write_at"), (8 << 10, Errno::TooManyFiles, "open")] {
        let (disk, clock) = (SimDisk::new(Tape::seeded(1)), Arc::new(ManualClock::new()));
        let options = small(ReadMode::Copy).bulk_bytes(bulk);
        let mut store = ManualStore::open(env_of(&disk, &clock), options).unwrap();
        let aging = LogOptions::new().segment_bytes_max(16 << 10).retention_age(Some(DAY));
        let mut made = store.create_log("aging", aging).unwrap();
        store.settle();
        let log = made.try_get().unwrap().unwrap();
        let mut count = 0;
        let mut append = |store: &mut ManualStore| {
            let ticket = log.append_ticket(&[7; 9000][..]).unwrap();
            store.settle();
            ticket.try_get().unwrap().unwrap();
            count += 1;
        };
        append(&mut store);
        store.checkpoint().unwrap();
        if error == Errno::NoSpace {
            append(&mut store);
            disk.fail_nth_where(2, FaultKind::Forever, error, Some(site), Some("segments"));
            store.checkpoint().unwrap_err();
        } else {
            disk.fail_nth_where(1, FaultKind::Once, error, Some(site), Some("segments"));
            append(&mut store);
        }
        assert!(disk.faults_fired() > 0 && log.info().segments == 2, "{site}");
        clock.advance(Duration::from_secs(10));
        store.upkeep_step();
        assert_eq!(log.horizon().unwrap(), 0, "{site}");
        disk.clear_faults();
        for _ in 0..4 {
            clock.advance(Duration::from_secs(10));
            store.upkeep_step();
            append(&mut store);
        }
        store.checkpoint().unwrap();
        store.checkpoint().unwrap();
        let found = log.read(braidlog::StartAt::TrimHorizon).unwrap().map(Result::unwrap).count();
        assert_eq!((log.horizon().unwrap(), found), (0, count), "{site}");
        let newest = log.info().last_arrival_ms;
        assert!(newest.is_some_and(|ms| ms >= ManualClock::START_MS), "{newest:?}");
    }
}

/// Found by review: less than what starts a flush by itself stood in the way of a large append, and nothing ever asked for that.
#[test]
fn an_append_that_fits_the_memory_is_let_in_some_time() {
    let many = StoreOptions::new().journal_file_bytes(16 << 20).memory_bytes(12 << 20).pack_from(0).reserve_bytes(0);
    let few = small(ReadMode::Map).memory_bytes(64 << 10).bulk_bytes(1 << 20);
    for (options, before, large) in [(few, 15_000, 55_000), (many, 2_500_000, 10 << 20)] {
        let (disk, clock) = (SimDisk::new(Tape::seeded(1)), Arc::new(ManualClock::new()));
        let mut store = ManualStore::open(env_of(&disk, &clock), options.bulk_bytes(64 << 20)).unwrap();
        let mut made = store.create_log("a", LogOptions::new()).unwrap();
        store.settle();
        let log = made.try_get().unwrap().unwrap();
        for part in vec![7; before].chunks(50_000) {
            log.append_ticket(part).map(drop).unwrap();
            store.settle();
        }
        let large = vec![7; large];
        let appended = (0..3).any(|_| {
            let appended = log.try_append_batch(&[large[..].into()]);
            store.settle();
            store.upkeep_step();
            appended.is_ok_and(|ticket| ticket.try_get().is_some_and(|outcome| outcome.is_ok()))
        });
        assert!(appended, "{:?} {:?}", log.info(), store.store().health());
    }
}

/// Found by review: what deletes streams, and lowers their retention, are transactions, and a full disk refused them.
#[test]
fn streams_are_deleted_and_kept_for_less_on_a_full_disk() {
    use braidlog::manual::ManualEngine;
    use braidlog::stream::StreamOptions;
    use braidlog::{EngineOptions, Error};
    let (disk, clock) = (SimDisk::new(Tape::seeded(1)), Arc::new(ManualClock::new()));
    let options = EngineOptions::new().store(small(ReadMode::Copy).memory_bytes(256 << 10));
    let mut machinery = ManualEngine::open(env_of(&disk, &clock), options).unwrap();
    let engine = machinery.engine().clone();
    let streams = ["goes", "stays"].map(|name| engine.create_stream(name, StreamOptions::new().shards(2)).unwrap());
    streams[1].increase_retention_hours(48).unwrap();
    disk.set_capacity(Some(disk.used_bytes() + (4 << 20)));
    for n in 0..10_000 {
        let put = streams[n % 2].put_record(&format!("key {n}"), &[7; 4000]);
        machinery.machines().upkeep_step();
        if let Err(error) = put {
            assert!(says_full(&error), "{error:?}");
            break;
        }
        assert!(n < 9_999, "it never filled up");
    }
    let is_full = |engine: &mut ManualEngine| matches!(engine.machines().store().health(), Health::Full { .. });
    assert!(is_full(&mut machinery));
    // What takes room is refused as before.
    assert!(engine.create_stream("more", StreamOptions::new()).is_err_and(|error| says_full(&error)));
    assert!(streams[1].increase_retention_hours(72).is_err_and(|error| says_full(&error)));
    streams[1].decrease_retention_hours(24).unwrap();
    assert!(is_full(&mut machinery));
    engine.delete_stream("goes", true).unwrap();
    for _ in 0..10 {
        machinery.machines().upkeep_step();
    }
    assert_eq!(machinery.machines().store().health(), Health::Ok);
    streams[1].put_record("key", b"again").unwrap();
    assert!(matches!(engine.stream("goes"), Err(Error::ResourceNotFound { .. })));
}

/// Found by review: a reader that had a place in a segment kept the map of what that could hold when it was opened, and called what
/// was written behind that damaged.
#[test]
fn a_reader_follows_a_segment_that_may_be_larger_than_it_was() {
    let (disk, clock) = (SimDisk::new(Tape::seeded(1)), Arc::new(ManualClock::new()));
    let mut store = ManualStore::open(env_of(&disk, &clock), small(ReadMode::Map).bulk_bytes(1 << 20)).unwrap();
    let mut made = store.create_log("a", LogOptions::new().segment_bytes_max(16 << 10)).unwrap();
    store.settle();
    let log = made.try_get().unwrap().unwrap();
    let append = |store: &mut ManualStore| {
        log.append_ticket(&[7; 5000][..]).map(drop).unwrap();
        store.settle();
    };
    append(&mut store);
    store.checkpoint().unwrap();
    let mut reader = log.read(braidlog::StartAt::TrimHorizon).unwrap();
    reader.next().unwrap().unwrap();
    assert!(reader.next().is_none());
    let mut changed = log.set_options_ticket(LogOptions::new().segment_bytes_max(1 << 20)).unwrap();
    store.settle();
    changed.try_get().unwrap().unwrap();
    (0..4).for_each(|_| append(&mut store));
    store.checkpoint().unwrap();
    assert_eq!(log.info().segments, 1);
    for number in 1..5 {
        assert_eq!(reader.next().unwrap().unwrap().sequence_number, number);
    }
}

/// Between room for a file of the journal and none at all there is a disk that neither lets a full journal go on nor counts as full.
#[test]
fn where_the_journal_gets_no_file_the_store_says_that_it_is_full_and_goes_on_when_there_is_room() {
    for left in (0..14).map(|step| (step * 8) << 10) {
        let (disk, clock) = (SimDisk::new(Tape::seeded(1)), Arc::new(ManualClock::new()));
        let options = small(ReadMode::Copy).journal_files_max(20).memory_bytes(4 << 20).reserve_bytes(160 << 10);
        let mut store = ManualStore::open(env_of(&disk, &clock), options.bulk_bytes(1 << 20)).unwrap();
        let mut made = store.create_log("log", LogOptions::new()).unwrap();
        store.settle();
        let log = made.try_get().unwrap().unwrap();
        // The room for a full disk is kept from here on.
        store.upkeep_step();
        disk.set_capacity(Some(disk.used_bytes() + left));
        let step = |store: &mut ManualStore| {
            for _ in 0..3 {
                store.settle();
                store.upkeep_step();
            }
        };
        let mut waiting = None;
        for n in 0.. {
            assert!(n < 400, "{left} bytes were left, and it never said that it is full");
            let Ok(ticket) = log.try_append_batch(&[[7; 2000][..].into()]) else { break };
            step(&mut store);
            if ticket.try_get().is_none() {
                waiting = Some(ticket);
                break;
            }
        }
        assert!(matches!(store.store().health(), Health::Full { .. }), "{left} bytes were left, and nobody is told");
        disk.set_capacity(None);
        step(&mut store);
        assert!(waiting.is_none_or(|ticket| matches!(ticket.try_get(), Some(Ok(_)))), "{left} bytes were left");
        assert_eq!(store.store().health(), Health::Ok);
    }
}

fn create(store: &mut ManualStore, options: LogOptions) -> Log {
    let mut made = store.create_log("log", options).unwrap();
    store.settle();
    made.try_get().unwrap().unwrap()
}

/// The note that a buffered log is about to be written waits for the disk. Whoever tries again meanwhile must not add another.
#[test]
fn tries_to_append_to_a_buffered_log_do_not_pile_up() {
    let clock = Arc::new(ManualClock::new());
    let disk = SimDisk::new(Tape::seeded(1));
    let open = || ManualStore::open(env_of(&disk, &clock), small(ReadMode::Copy)).unwrap();
    let mut store = open();
    drop(create(&mut store, LogOptions::new().durability(Durability::Buffered)));
    store.checkpoint().unwrap();
    store.close().unwrap();
    let mut store = open();
    let log = store.store().log("log").unwrap();
    let before = store.store().stats().journal_bytes;
    for _ in 0..1000 {
        assert!(matches!(log.try_append_batch(&[b"x".as_slice().into()]), Err(Error::Busy { .. })));
    }
    store.settle();
    let framed = store.store().stats().journal_bytes - before;
    assert!(framed < 32 << 10, "{framed} bytes of notes");
    let ticket = log.try_append_batch(&[b"x".as_slice().into()]).unwrap();
    store.settle();
    ticket.try_get().unwrap().unwrap();
}

/// A flush that found no room left an empty segment, of a log that has no other.
#[test]
fn an_empty_segment_says_nothing_of_when_the_first_record_arrived() {
    let clock = Arc::new(ManualClock::new());
    let disk = SimDisk::new(Tape::seeded(1));
    let mut store = ManualStore::open(env_of(&disk, &clock), small(ReadMode::Copy).bulk_bytes(1 << 20)).unwrap();
    let log = create(&mut store, LogOptions::new());
    let ticket = log.append_ticket("x".repeat(9000).as_str()).unwrap();
    store.settle();
    ticket.try_get().unwrap().unwrap();
    disk.fail_nth_where(2, FaultKind::Forever, Errno::NoSpace, Some("write_at"), Some("segments"));
    store.checkpoint().unwrap_err();
    let info = log.info();
    assert_eq!(info.segments, 1);
    assert!(info.first_arrival_ms.is_some_and(|ms| ms >= ManualClock::START_MS), "{:?}", info.first_arrival_ms);
}

/// Memory for maps may be short for long, and what is short is tried again with every look: each left a file.
#[test]
fn a_segment_that_cannot_be_mapped_leaves_no_file() {
    let mut run = Run::create(SimDisk::new(Tape::seeded(1)), small(ReadMode::Map)).unwrap();
    run.create_logs().unwrap();
    run.apply(Op::Both { len: 500 }).unwrap();
    let files = |run: &Run| run.disk.files().iter().filter(|(path, _)| path.starts_with("segments/")).count();
    let before = files(&run);
    run.disk.fail_nth_where(1, FaultKind::Forever, Errno::NoMemory, Some("map"), None);
    for _ in 0..10 {
        assert!(run.store.as_mut().unwrap().checkpoint().is_err());
    }
    assert_eq!(run.disk.faults_fired(), 10);
    assert_eq!(files(&run), before);
    run.disk.clear_faults();
    run.apply(Op::Checkpoint).unwrap();
    assert!(files(&run) > before);
    run.apply(Op::Check).unwrap();
}
