//! Clocks that jump, stand or end: arrival never goes back, a time finds the same record before and after, and no date is one too
//! many.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::{Duration, UNIX_EPOCH};

use braidlog::env::sim::{Crash, SimDisk, Tape};
use braidlog::{ReadMode, StartAt};
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
