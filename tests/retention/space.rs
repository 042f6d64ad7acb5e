//! The space of what nobody may read any more comes back, and none of what somebody may.

use std::time::Duration;

use braidlog::env::sim::Crash;
use braidlog::{Log, LogOptions, ReadMode, Record, StartAt};

use super::support::{packing, small};
use super::{AGE, Bench, readable};

const SEGMENT: u64 = 16 << 10;

/// Bytes of the files of segments that there are.
fn segment_bytes(bench: &Bench) -> u64 {
    bench.disk.files().iter().filter(|(path, _)| path.ends_with(".seg")).map(|(_, len)| len).sum()
}

fn segment_files(bench: &Bench) -> usize {
    bench.disk.files().iter().filter(|(path, _)| path.ends_with(".seg")).count()
}

/// Some segments of records, one second after the other, in files.
fn filled(options: LogOptions, segments: usize) -> (Bench, Log) {
    let mut bench = Bench::new(small(ReadMode::Map));
    let log = bench.log("log", options.segment_bytes_max(SEGMENT));
    fill(&mut bench, &log, segments);
    (bench, log)
}

fn fill(bench: &mut Bench, log: &Log, segments: usize) {
    let before = log.info().segments;
    while log.info().segments < before + segments {
        bench.append(log, 10, 1_000);
        bench.pass(Duration::from_millis(100));
        bench.store.checkpoint().unwrap();
    }
}

/// One pass of retention and what follows it.
fn pass(bench: &mut Bench) {
    bench.pass(Duration::from_secs(2));
    bench.store.upkeep_step();
    bench.store.upkeep_step();
}

/// How it is called, what the log is made with, and what lets go of most of it.
type Case = (&'static str, LogOptions, fn(&mut Bench, &Log));

#[test]
fn a_pass_gives_back_what_a_rule_or_a_trim_left_behind() {
    let kept = LogOptions::new;
    let cases: [Case; 3] = [
        ("trim", kept(), |bench, log| {
            let upto = log.end() - 20;
            bench.trim(log, upto);
        }),
        ("age", kept().retention_age(Some(Duration::from_secs(3600))), |bench, _| {
            // But for what is appended behind it.
            bench.pass(Duration::from_secs(3590));
        }),
        ("bytes", kept(), |bench, log| {
            let mut options = log.options();
            options.retention_bytes = Some(30_000);
            let mut set = log.set_options_ticket(options).unwrap();
            bench.store.settle();
            set.try_get().unwrap().unwrap();
        }),
    ];
    for (what, options, let_go) in cases {
        let (mut bench, log) = filled(options, 12);
        pass(&mut bench);
        let (before, used) = (segment_bytes(&bench), bench.disk.used_bytes());
        assert!(log.info().segments >= 12 && before > 11 * SEGMENT, "{what}: {before}");
        let trimmed = bench.store.store().stats().records_trimmed;
        assert_eq!(trimmed, 0, "{what}");
        let_go(&mut bench, &log);
        if what == "age" {
            fill(&mut bench, &log, 1);
            bench.pass(Duration::from_secs(9));
        }
        let left = readable(&log);
        assert!(!left.is_empty(), "{what}");
        pass(&mut bench);
        // Of the last 20 or 30 records, or of those of the last few seconds, and what shares their segments.
        let after = segment_bytes(&bench);
        assert!(after <= 4 * SEGMENT, "{what}: {before} bytes before, {after} after");
        assert!(bench.disk.used_bytes() + before - after <= used + SEGMENT, "{what}: names went, and space did not");
        assert_eq!(readable(&log), left, "{what}: what may be read went with the rest");
        let stats = bench.store.store().stats();
        assert!(stats.segments_freed >= 8 && stats.records_trimmed >= 80, "{what}: {stats:?}");
        assert!(stats.records_trimmed <= left[0], "{what}: {stats:?}");
        assert_eq!(stats.bytes_pinned, 0, "{what}");
    }
}

#[test]
fn what_a_floor_holds_keeps_its_space_until_it_is_let_go() {
    let (mut bench, log) = filled(LogOptions::new().retention_age(Some(AGE)), 6);
    let floor = log.hold(0);
    bench.pass(AGE * 2);
    let before = segment_bytes(&bench);
    pass(&mut bench);
    assert_eq!(segment_bytes(&bench), before);
    assert_eq!(readable(&log).len() as u64, log.end());
    drop(floor);
    pass(&mut bench);
    assert_eq!((segment_bytes(&bench), log.horizon().unwrap()), (0, log.end()));
}

#[test]
fn the_space_of_what_a_reader_still_has_comes_back_when_it_lets_go() {
    let (mut bench, log) = filled(LogOptions::new(), 6);
    let record: Record = log.read(StartAt::TrimHorizon).unwrap().next().unwrap().unwrap();
    let end = log.end();
    bench.trim(&log, end);
    pass(&mut bench);
    let held = bench.store.store().stats();
    assert_eq!(segment_bytes(&bench), 0, "the names go at once");
    assert!(held.bytes_pinned > 0 && held.bytes_pinned <= SEGMENT + 12_000, "{held:?}");
    let used = bench.disk.used_bytes();
    assert_eq!(record.data.len(), 1_000);
    drop(record);
    pass(&mut bench);
    assert_eq!(bench.store.store().stats().bytes_pinned, 0);
    assert!(bench.disk.used_bytes() + held.bytes_pinned <= used + 4_096, "{used}");
}

#[test]
fn a_pass_removes_no_more_than_64_segments() {
    let (mut bench, log) = filled(LogOptions::new().retention_age(Some(Duration::from_secs(3600))), 150);
    bench.store.upkeep_step();
    let mut before = log.info().segments;
    assert!(before >= 150);
    bench.pass(Duration::from_secs(3 * 3600));
    assert_eq!(log.horizon().unwrap(), log.end(), "a rule is exact, whatever its space takes");
    let mut passes = Vec::new();
    while log.info().segments > 0 {
        bench.pass(Duration::from_secs(2));
        bench.store.upkeep_step();
        let left = log.info().segments;
        passes.push(before - left);
        before = left;
        assert!(passes.len() < 10, "{passes:?}");
    }
    assert!(passes.iter().all(|removed| *removed <= 64), "{passes:?}");
    assert!(passes.starts_with(&[64, 64]), "{passes:?}");
    pass(&mut bench);
    assert_eq!(segment_files(&bench), 0);
}

/// Logs that nobody has asked for since the store was opened are in no list: a pass finds them in the manifest.
#[test]
fn the_age_rule_of_a_log_that_nobody_opened_gives_its_space_back() {
    for packed in [false, true] {
        for kind in [None, Some(Crash::Kill), Some(Crash::Power)] {
            let mut bench = Bench::new(if packed { packing(ReadMode::Map) } else { small(ReadMode::Map) });
            let aged = LogOptions::new().segment_bytes_max(SEGMENT).retention_age(Some(AGE));
            for n in 0..10 {
                let options = if n == 0 { LogOptions::new().segment_bytes_max(SEGMENT) } else { aged.clone() };
                let log = bench.log(&format!("log {n}"), options);
                bench.append(&log, 10, 500);
            }
            bench.store.checkpoint().unwrap();
            let mut before = segment_bytes(&bench);
            match kind {
                None => bench.close_and_reopen(),
                Some(kind) => bench.reopen(kind),
            }
            // Of what a crash left in the journal the logs are known; from the second life on nothing is.
            bench.close_and_reopen();
            before = before.min(segment_bytes(&bench));
            bench.pass(AGE * 2);
            (0..4).for_each(|_| pass(&mut bench));
            // The one that is kept has a tenth of it; packs are copied out once little enough is left in them.
            let after = segment_bytes(&bench);
            let share = if packed { 2 } else { 5 };
            assert!(after <= before / share, "packed: {packed}, {kind:?}: {before} bytes before, {after} after");
            assert_eq!(readable(&bench.store.store().log("log 0").unwrap()).len(), 10);
            for n in 1..10 {
                let log = bench.store.store().log(&format!("log {n}")).unwrap();
                assert_eq!((log.horizon().unwrap(), log.end()), (10, 10));
            }
        }
    }
}
