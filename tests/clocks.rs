//! Clocks that jump, stand or end: arrival never goes back, a time finds the same record before and after, and no date is one too
//! many.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, UNIX_EPOCH};

use braidlog::env::sim::{Crash, SimDisk, Tape};
use braidlog::{LogOptions, ReadMode, StartAt};
use support::oracle::read_from;
use support::runner::{Op, Run};
use support::small;

const APPEND: Op = Op::Append { log: 0, count: 1, len: 40, settle: true };

/// Numbers and arrivals of the first log.
fn arrivals(run: &Run) -> Vec<(u64, u64)> {
    let records = read_from(&run.log("alpha").unwrap(), StartAt::TrimHorizon).unwrap();
    records.iter().map(|record| (record.sequence_number, record.arrival_ms)).collect()
}

/// What a read from each arrival begins with.
fn firsts(run: &Run, arrivals: &[(u64, u64)]) -> Vec<u64> {
    let log = run.log("alpha").unwrap();
    let first = |ms| read_from(&log, StartAt::Time(UNIX_EPOCH + Duration::from_millis(ms))).unwrap()[0].sequence_number;
    arrivals.iter().map(|(_, ms)| first(*ms)).collect()
}

#[test]
fn a_wall_clock_that_goes_back_leaves_arrivals_in_order_also_over_a_restart() {
    for mode in [ReadMode::Map, ReadMode::Copy] {
        for steps in [[0, -5_000, 3_000, -90_000], [-1, -1, -1, -1], [86_400_000, -86_400_000, 1, -1]] {
            let mut run = Run::create(SimDisk::new(Tape::seeded(1)), small(mode)).unwrap();
            run.create_logs().unwrap();
            // The oracle expects what the wall clock says; here the store is asked instead.
            run.faulty = true;
            for step in steps {
                run.apply(APPEND).unwrap();
                run.clock.set_wall_ms(run.now_ms().saturating_add_signed(step));
            }
            let before = arrivals(&run);
            assert_eq!(before.len(), steps.len());
            assert!(before.windows(2).all(|w| w[0].1 <= w[1].1), "{before:?}");
            let found = firsts(&run, &before);
            run.store = None;
            for kind in [Crash::Kill, Crash::Power] {
                let mut after = run.on(run.disk.crash(kind, &Tape::seeded(2)));
                after.clock.set_wall_ms(1);
                after.open().unwrap();
                assert_eq!(arrivals(&after), before, "{kind:?}");
                assert_eq!(firsts(&after, &before), found, "{kind:?}");
                after.faulty = true;
                after.apply(APPEND).unwrap();
                let last = arrivals(&after).last().copied().unwrap();
                assert!(
                    last.1 >= before.last().unwrap().1,
                    "{kind:?}: a record of this life arrived before the last one's"
                );
            }
        }
    }
}

#[test]
fn no_date_is_one_too_many() {
    let dates = [0, 1, (1 << 31) * 1000, (1 << 32) * 1000, (1 << 48) - 1, 1 << 48, u64::MAX - 1, u64::MAX];
    for from in dates {
        let mut run = Run::create(SimDisk::new(Tape::seeded(1)), small(ReadMode::Map)).unwrap();
        run.create_logs().unwrap();
        run.faulty = true;
        for at in [from, from.saturating_add(1_000), from.saturating_sub(1), u64::MAX, 0] {
            run.clock.set_wall_ms(at);
            run.apply(APPEND).unwrap();
            run.apply(Op::Upkeep).unwrap();
            run.apply(Op::Checkpoint).unwrap();
        }
        let before = arrivals(&run);
        assert_eq!(before.len(), 5, "from {from}");
        assert!(before.windows(2).all(|w| w[0].1 <= w[1].1), "from {from}: {before:?}");
        assert_eq!(firsts(&run, &before).len(), 5);
        run.store = None;
        let mut after = run.on(run.disk.crash(Crash::Power, &Tape::seeded(2)));
        after.open().unwrap();
        assert_eq!(arrivals(&after), before, "from {from}");
    }
}

/// Nothing expires by age while the wall clock can't be believed. What was trimmed goes by no clock: on a full disk it is the only way
/// out. Nor do bytes.
#[test]
fn what_was_trimmed_gives_its_room_back_while_the_clocks_disagree() {
    let mut run = Run::create(SimDisk::new(Tape::seeded(1)), small(ReadMode::Copy)).unwrap();
    run.faulty = true;
    run.create_logs().unwrap();
    let bounded = LogOptions::new().segment_bytes_max(16 << 10).retention_bytes(Some(20 << 10));
    let mut made = run.stored().create_log("bounded", bounded).unwrap();
    run.store.as_mut().unwrap().settle();
    let bounded = made.try_get().unwrap().unwrap();
    for _ in 0..6 {
        for log in [0, 2] {
            run.apply(Op::Append { log, count: 10, len: 1000, settle: true }).unwrap();
        }
        drop(bounded.append_ticket(&[7; 3000][..]).unwrap());
        drop(bounded.append_ticket(&[7; 3000][..]).unwrap());
        run.store.as_mut().unwrap().settle();
        run.apply(Op::Checkpoint).unwrap();
    }
    let aging = || run.log("aging").unwrap().horizon().unwrap();
    assert_eq!(aging(), 0);
    run.clock.advance_wall(Duration::from_secs(24 * 3600));
    run.clock.advance_monotonic(Duration::from_secs(2));
    let stored = || run.disk.files().iter().filter(|(path, _)| path.ends_with(".seg")).map(|(_, len)| len).sum::<u64>();
    let before = stored();
    let trimmed = run.log("alpha").unwrap();
    let store = run.store.as_ref().unwrap();
    let mut store = store.clone();
    let mut pending = store.trim(&trimmed, trimmed.end()).unwrap();
    store.settle();
    pending.try_get().unwrap().unwrap();
    for _ in 0..2 {
        run.clock.advance_monotonic(Duration::from_secs(2));
        store.upkeep_step();
    }
    assert_eq!(store.store().stats().retention_held, 1);
    let now = stored();
    assert!(
        now + (60 << 10) <= before,
        "{before} bytes before, {now} after 60 KB were trimmed and 16 KB were too many"
    );
    assert_eq!(run.log("aging").unwrap().horizon().unwrap(), 0, "nothing expired by age");
    assert_eq!(run.log("aging").unwrap().read(StartAt::TrimHorizon).unwrap().count(), 60);
}

/// A machine that starts with a wrong clock, and sets it once it has a network, loses nothing by opening its store in between.
#[test]
fn a_clock_that_is_set_right_soon_after_the_store_was_opened_costs_nothing() {
    const YEAR: u64 = 365 * 24 * 3600 * 1000;
    for (set_right, kept) in [(true, true), (false, false)] {
        let mut run = Run::create(SimDisk::new(Tape::seeded(1)), small(ReadMode::Copy)).unwrap();
        run.faulty = true;
        run.create_logs().unwrap();
        for _ in 0..6 {
            run.apply(Op::Append { log: 2, count: 10, len: 1000, settle: true }).unwrap();
        }
        run.apply(Op::Checkpoint).unwrap();
        run.store = None;
        let right = run.now_ms() + 1000;
        let mut run = run.on(run.disk.crash(Crash::Power, &Tape::seeded(2)));
        run.clock.set_wall_ms(right + YEAR);
        run.open().unwrap();
        for step in 0..100 {
            if step == 40 && set_right {
                run.clock.set_wall_ms(right + 80_000);
            }
            run.clock.advance(Duration::from_secs(2));
            run.apply(Op::Upkeep).unwrap();
        }
        run.store = None;
        run.clock.set_wall_ms(right);
        run.open().unwrap();
        let left = run.log("aging").unwrap().read(StartAt::TrimHorizon).unwrap().count();
        assert_eq!(left == 60, kept, "{left} of 60 are left; set right: {set_right}");
    }
}
