//! What floors hold back, what they don't, and what a reader on the way finds of it.

use std::time::Duration;

use braidlog::env::sim::Crash;
use braidlog::{Error, LogOptions, ReadMode, Reader, RecordParts, StartAt};

use super::support::small;
use super::{AGE, Bench, readable, trimmed_at};

/// Found by an audit: the horizon honoured the floor and the reader did not, so whoever skipped to the horizon was told forever
/// that what is there was trimmed.
#[test]
fn what_a_floor_holds_stays_readable_when_its_age_rule_trips() {
    for in_segments in [false, true] {
        let (mut bench, log) = Bench::with_log(LogOptions::new().retention_age(Some(AGE)));
        if in_segments {
            bench.store.checkpoint().unwrap();
        }
        let mut floor = log.hold(25);
        let mut reader = log.read(StartAt::TrimHorizon).unwrap();
        assert_eq!(reader.next_batch().unwrap().unwrap().end(), 10);
        bench.pass(Duration::from_secs(5));
        // The first fifty have expired by age.
        assert_eq!(log.horizon().unwrap(), 25);
        assert_eq!(readable(&log), (25..100).collect::<Vec<_>>());
        assert_eq!(trimmed_at(reader.next_batch()), (10, 25));
        assert_eq!(reader.skip_trimmed().unwrap(), 15);
        assert_eq!(reader.by_ref().map(|record| record.unwrap().sequence_number).last(), Some(99));
        // What is appended behind it goes on.
        bench.append(&log, 1, 1);
        assert_eq!(reader.next().unwrap().unwrap().sequence_number, 100);

        floor.advance(37);
        assert_eq!(readable(&log), (37..101).collect::<Vec<_>>());
        drop(floor);
        assert_eq!(readable(&log), (50..101).collect::<Vec<_>>());
        // What a floor let go of does not come back.
        let _late = log.hold(0);
        assert_eq!(readable(&log), (50..101).collect::<Vec<_>>());
    }
}

#[test]
fn a_reader_in_the_midst_of_a_batch_goes_on_where_a_floor_holds_it() {
    let (bench, log) = Bench::with_log(LogOptions::new().retention_age(Some(AGE)));
    let floor = log.hold(3);
    let mut reader = log.read(StartAt::Sequence(3)).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().sequence_number, 3);
    bench.pass(Duration::from_secs(5));
    assert_eq!(reader.read(2, usize::MAX).unwrap().len(), 2);
    let rest = reader.next_batch().unwrap().unwrap();
    assert_eq!((rest.first(), rest.end()), (6, 10));
    assert_eq!(reader.next().unwrap().unwrap().sequence_number, 10);
    drop(floor);
    assert_eq!(trimmed_at(reader.read(2, usize::MAX)), (11, 50));
}

#[test]
fn what_a_floor_holds_stays_readable_when_the_byte_rule_trips() {
    for in_segments in [false, true] {
        let mut bench = Bench::new(small(ReadMode::Map));
        let log = bench.log("log", LogOptions::new().retention_bytes(Some(5_000)));
        let mut floor = log.hold(0);
        (0..10).for_each(|_| bench.append(&log, 10, 100));
        if in_segments {
            bench.store.checkpoint().unwrap();
        }
        assert_eq!(readable(&log), (0..100).collect::<Vec<_>>());
        floor.advance(15);
        assert_eq!(readable(&log), (15..100).collect::<Vec<_>>());
        drop(floor);
        let left = readable(&log);
        // Batches of ten records take 1,000 to 1,250 bytes.
        assert_eq!(left, (60..100).collect::<Vec<_>>());
    }
}

#[test]
fn floors_hold_back_no_more_than_they_may() {
    for in_segments in [false, true] {
        // Room for two batches of ten, which take 1,000 to 1,250 bytes each.
        let held = |options: LogOptions| options.held_bytes_max(2_900);
        // By age the first fifty go below; by bytes all but the last forty have.
        let by_age = (LogOptions::new().retention_age(Some(AGE)), 30);
        let by_bytes = (LogOptions::new().retention_bytes(Some(5_000)), 40);
        for (options, held_from) in [by_age, by_bytes] {
            let (mut bench, log) = Bench::with_log(held(options));
            if in_segments {
                bench.store.checkpoint().unwrap();
            }
            let _floor = log.hold(5);
            let mut reader = log.read(StartAt::TrimHorizon).unwrap();
            let first = reader.next().unwrap().unwrap().sequence_number;
            bench.pass(Duration::from_secs(5));
            assert_eq!(readable(&log), (held_from..100).collect::<Vec<_>>());
            if first < held_from {
                assert_eq!(trimmed_at(reader.read(1, 1)), (first + 1, held_from));
                assert_eq!(reader.skip_trimmed().unwrap(), held_from - first - 1);
            }
            assert_eq!(reader.read(1, 1).unwrap().len(), 1);
        }
    }
}

/// A rule may cut a batch in two, and what is in memory and what is in a segment are not counted by the same steps. Found by the
/// model: what lay before the cut was held with what lies before the batch, whatever it takes, or not at all.
#[test]
fn a_batch_that_a_rule_cuts_is_held_if_there_is_room_for_all_of_it() {
    // What is cut, and what lies before it, which may be nothing, by now or ever.
    for (in_segments, before) in [(false, 0), (true, 0), (false, 1), (true, 1), (false, 2), (true, 2)] {
        for room in [0, 1_000] {
            let mut bench = Bench::new(small(ReadMode::Map));
            let log = bench.log("log", LogOptions::new().retention_age(Some(AGE)).held_bytes_max(room));
            (0..before).for_each(|_| bench.append(&log, 1, 1));
            if before == 2 {
                bench.store.checkpoint().unwrap();
            }
            // Two calls of one turn: one batch, and two arrivals.
            let record = [RecordParts::from("x")];
            let first = log.try_append_batch(&record).unwrap();
            bench.pass(Duration::from_secs(5));
            let second = log.try_append_batch(&record).unwrap();
            bench.store.settle();
            assert!([first, second].into_iter().all(|ticket| ticket.try_get().unwrap().is_ok()));
            if in_segments {
                bench.store.checkpoint().unwrap();
            }
            let _floor = log.hold(before);
            bench.pass(AGE - Duration::from_secs(1));
            let held = if room > 0 { vec![before, before + 1] } else { vec![before + 1] };
            for _ in 0..2 {
                assert_eq!(readable(&log), held, "in segments: {in_segments}, {before} before it, room for {room}");
                // What is before it is gone.
                bench.store.upkeep_step();
            }
        }
    }
}

#[test]
fn no_floor_holds_a_trim_back() {
    let (mut bench, log) = Bench::with_log(LogOptions::new().retention_age(Some(AGE)));
    let _floor = log.hold(0);
    bench.trim(&log, 42);
    assert_eq!(readable(&log), (42..100).collect::<Vec<_>>());
    bench.pass(Duration::from_secs(5));
    assert_eq!(readable(&log), (42..100).collect::<Vec<_>>());
}

#[test]
fn the_rest_of_a_batch_is_looked_at_again_by_who_asks_for_it() {
    let (bench, log) = Bench::with_log(LogOptions::new().retention_age(Some(AGE)));
    let begun = || -> Reader {
        let mut reader = log.read(StartAt::Sequence(0)).unwrap();
        reader.next().unwrap().unwrap();
        reader
    };
    let (mut by_batch, mut by_read) = (begun(), begun());
    bench.pass(Duration::from_secs(1));
    assert_eq!(trimmed_at(by_batch.next_batch()), (1, 10));
    assert_eq!(trimmed_at(by_read.read(1, 1)), (1, 10));
}

#[test]
fn an_iterator_in_the_midst_of_a_batch_ends_with_what_was_found_gone() {
    // By a trim.
    let (mut bench, log) = Bench::with_log(LogOptions::new().retention_age(Some(AGE)));
    let mut reader = log.read(StartAt::Sequence(70)).unwrap();
    reader.next().unwrap().unwrap();
    bench.trim(&log, 75);
    assert_eq!(trimmed_at(reader.next().unwrap()), (71, 75));
    assert!(reader.next().is_none());
    assert_eq!(reader.skip_trimmed().unwrap(), 4);
    assert_eq!(reader.next().unwrap().unwrap().sequence_number, 75);
    // By a pass of retention that found its age rule tripped.
    bench.pass(AGE - Duration::from_secs(1));
    bench.store.upkeep_step();
    assert_eq!(trimmed_at(reader.next().unwrap()), (76, 90));
    // By a deletion.
    let mut reader = log.read(StartAt::TrimHorizon).unwrap();
    reader.next().unwrap().unwrap();
    let mut deleted = bench.store.delete_log("log").unwrap();
    bench.store.settle();
    deleted.try_get().unwrap().unwrap();
    assert!(matches!(reader.next(), Some(Err(Error::LogDeleted { .. }))));
    assert!(reader.next().is_none());
}

#[test]
fn floors_end_with_the_life_that_set_them() {
    for kind in [Crash::Kill, Crash::Power] {
        let (mut bench, log) = Bench::with_log(LogOptions::new().retention_age(Some(AGE)));
        let floor = log.hold(0);
        bench.pass(Duration::from_secs(5));
        assert_eq!(readable(&log).len(), 100);
        drop((floor, log));
        bench.reopen(kind);
        let log = bench.store.store().log("log").unwrap();
        assert_eq!(readable(&log), (50..100).collect::<Vec<_>>());
    }
}
