//! The public API as a reader of the README meets it, on the real disk.

#![allow(clippy::unwrap_used)] // a helper that is no test may fail like one

use std::time::Duration;

use braidlog::{Durability, Error, LogOptions, Record, StartAt, Store, StoreOptions, Transaction};

fn small() -> StoreOptions {
    StoreOptions::new().journal_file_bytes(1 << 20).memory_bytes(1 << 20).reserve_bytes(0)
}

fn all(log: &braidlog::Log) -> Vec<Vec<u8>> {
    log.read(StartAt::TrimHorizon).unwrap().map(|r| r.unwrap().data.to_vec()).collect()
}

#[test]
fn what_was_appended_is_read_back_after_a_clean_close_and_after_a_drop() {
    for clean in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut expected = Vec::new();
        for life in 0..4 {
            let store = Store::open_with(dir.path(), small()).unwrap();
            let log = store.open_or_create_log("clicks", LogOptions::new().segment_bytes_max(64 << 10)).unwrap();
            assert_eq!(all(&log), expected, "life {life}, clean {clean}: {:?}", store.open_report());
            for i in 0..300 {
                let data = format!("life {life} record {i} {}", "x".repeat(i)).into_bytes();
                log.append(&data[..]).unwrap();
                expected.push(data);
            }
            assert_eq!(all(&log), expected);
            if clean {
                drop(log);
                store.close().unwrap();
            }
        }
    }
}

#[test]
fn many_logs_and_a_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(dir.path(), small()).unwrap();
    let logs: Vec<_> = (0..50).map(|i| store.create_log(&format!("log {i}"), LogOptions::new()).unwrap()).collect();
    std::thread::scope(|scope| {
        for log in &logs {
            scope
                .spawn(move || (0..20).for_each(|i| assert_eq!(log.append(format!("{i}").as_str()).unwrap().first, i)));
        }
    });
    let mut transaction = Transaction::new();
    transaction.expect_end(&logs[0], 20).append(&logs[0], "a").unwrap().append(&logs[1], "b").unwrap();
    let committed = store.commit(transaction).unwrap().wait().unwrap();
    assert_eq!(committed.appended.iter().map(|a| a.first).collect::<Vec<_>>(), [20, 20]);
    let mut refused = Transaction::new();
    refused.expect_end(&logs[0], 20).append(&logs[2], "c").unwrap();
    assert!(matches!(store.commit(refused).unwrap().wait(), Err(Error::Conflict { .. })));
    store.checkpoint().unwrap();
    for log in &logs[2..] {
        assert_eq!(all(log).len(), 20);
    }
    assert_eq!(store.log_names().unwrap().len(), 50);
}

#[test]
fn buffered_logs_survive_a_drop_and_never_use_a_number_twice() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions::new().durability(Durability::Buffered).segment_bytes_max(64 << 10);
    let mut seen = 0;
    for life in 0..3 {
        let store = Store::open_with(dir.path(), small()).unwrap();
        let log = store.open_or_create_log("metrics", options.clone()).unwrap();
        let records: Vec<_> = log.read(StartAt::TrimHorizon).unwrap().map(|r| r.unwrap().sequence_number).collect();
        assert_eq!(records.len(), life * 1000, "{:?}", store.open_report());
        for _ in 0..10 {
            let appended = log.append_batch((0..100).map(|_| "some measurement or other")).unwrap();
            assert!(appended.first >= seen);
            seen = appended.last + 1;
        }
    }
}

#[test]
fn every_way_of_reading_goes_on_where_the_last_one_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(dir.path(), small()).unwrap();
    let log = store.create_log("clicks", LogOptions::new()).unwrap();
    for batch in 0..30u64 {
        let records: Vec<String> = (0..20).map(|i| format!("{}{}", batch * 20 + i, "x".repeat(i as usize))).collect();
        log.append_batch(&records).unwrap();
    }
    // From memory, then from the segment.
    for _ in 0..2 {
        let mut reader = log.read(StartAt::Sequence(3)).unwrap();
        let mut next = 3;
        let mut expect = |number: u64, data: &[u8]| {
            assert_eq!(number, next);
            assert_eq!(data, format!("{next}{}", "x".repeat(next as usize % 20)).as_bytes());
            next += 1;
        };
        while let Some(record) = reader.next() {
            let record = record.unwrap();
            expect(record.sequence_number, &record.data);
            // Ends in the middle of a batch, by bytes and by number.
            for record in reader.read(1_000, 300).unwrap().into_iter().chain(reader.read(5, usize::MAX).unwrap()) {
                expect(record.sequence_number, &record.data);
            }
            if let Some(batch) = reader.next_batch().unwrap() {
                assert_eq!(reader.next_sequence_number(), batch.end());
                batch.iter().for_each(|record| expect(record.sequence_number, record.data));
            }
        }
        assert_eq!((next, reader.next_sequence_number()), (600, 600));
        for number in [0, 7, 8, 299, 599] {
            let record = log.read(StartAt::Sequence(number)).unwrap().next().unwrap().unwrap();
            let first = log.read(StartAt::Time(record.arrival())).unwrap().next().unwrap().unwrap();
            assert_eq!(first.arrival_ms, record.arrival_ms);
            let before = log.read(StartAt::TrimHorizon).unwrap().map(|r| r.unwrap());
            assert_eq!(before.take_while(|r| r.arrival_ms < record.arrival_ms).count() as u64, first.sequence_number);
        }
        store.checkpoint().unwrap();
    }
}

#[test]
fn buffered_appends_of_many_callers_are_there_after_a_close_in_their_midst() {
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let options = LogOptions::new().durability(Durability::Buffered);
        let store = Store::open_with(dir.path(), small()).unwrap();
        let log = store.create_log("metrics", options).unwrap();
        log.append("the first").unwrap();
        let begun = std::sync::Barrier::new(4);
        let mut acknowledged = std::thread::scope(|scope| {
            let call = || {
                let mut numbers = Vec::new();
                begun.wait();
                while let Ok(appended) = log.append("some measurement or other") {
                    numbers.push(appended.first);
                }
                numbers
            };
            let callers: Vec<_> = (0..3).map(|_| scope.spawn(call)).collect();
            begun.wait();
            store.clone().close().unwrap();
            callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
        });
        drop((log, store));
        let store = Store::open_with(dir.path(), small()).unwrap();
        let end = store.log("metrics").unwrap().end();
        acknowledged.sort_unstable();
        assert!(acknowledged.windows(2).all(|pair| pair[0] < pair[1]), "a number twice");
        assert!(acknowledged.last().is_none_or(|last| *last < end), "{acknowledged:?} of {end}");
        assert_eq!(all(&store.log("metrics").unwrap()).len() as u64, end);
    }
}

/// How many segment files there are, and their bytes.
fn segment_files(store: &std::path::Path) -> (usize, u64) {
    let folders = std::fs::read_dir(store.join("segments")).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    // One may go while the folder is read.
    let lens = files.map(Result::unwrap).filter(|file| file.file_name().to_string_lossy().ends_with(".seg"));
    lens.filter_map(|file| file.metadata().ok()).fold((0, 0), |(n, bytes), file| (n + 1, bytes + file.len()))
}

#[test]
fn trimmed_space_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(dir.path(), small()).unwrap();
    let log = store.create_log("clicks", LogOptions::new().segment_bytes_max(64 << 10)).unwrap();
    for _ in 0..20 {
        log.append_batch((0..100).map(|_| [7u8; 500]).collect::<Vec<_>>().iter()).unwrap();
    }
    store.checkpoint().unwrap();
    let (files, bytes) = segment_files(dir.path());
    assert!(files > 5 && bytes > 20 * 100 * 500, "{files} files, {bytes} bytes");
    log.trim(1_900).unwrap();
    assert_eq!(log.horizon().unwrap(), 1_900);
    assert!(matches!(log.read(StartAt::Sequence(5)), Err(Error::Trimmed { .. })));
    assert_eq!(all(&log).len(), 100);
    // A trim asks for a pass itself, and does not wait for it.
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let (files_left, left) = segment_files(dir.path());
        if left <= bytes / 20 + 2 * (64 << 10) {
            let freed = store.stats().segments_freed as usize;
            assert!(freed < files && freed + files_left >= files, "{freed} of {files} freed, {files_left} left");
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{left} of {bytes} bytes are left, in {files_left} files");
        std::thread::yield_now();
    }
    assert_eq!(all(&log).len(), 100);
    assert!(log.info().segment_bytes <= segment_files(dir.path()).1);
}

#[test]
fn who_reopens_a_store_while_a_handle_of_it_is_left_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let log = store.create_log("clicks", LogOptions::new()).unwrap();
    store.close().unwrap();
    let refused = Store::open(dir.path()).unwrap_err();
    assert!(matches!(refused, Error::Locked { .. }));
    assert!(refused.to_string().contains("in this process"), "{refused}");
    drop(log);
    Store::open(dir.path()).unwrap();
}

#[test]
fn records_stay_what_they_are_when_their_store_has_another_owner_that_frees_their_space() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(dir.path(), small()).unwrap();
    let log = store.create_log("clicks", LogOptions::new().segment_bytes_max(64 << 10)).unwrap();
    for n in 0..20u8 {
        log.append_batch((0..100).map(|_| [n; 500]).collect::<Vec<_>>().iter()).unwrap();
    }
    store.checkpoint().unwrap();
    let records: Vec<Record> = log.read(StartAt::TrimHorizon).unwrap().map(Result::unwrap).collect();
    drop(log);
    store.close().unwrap();

    let store = Store::open_with(dir.path(), small()).unwrap();
    store.log("clicks").unwrap().trim(1_900).unwrap();
    let freed = || store.stats().segments_freed;
    while freed() < 5 {
        store.checkpoint().unwrap();
    }
    // Its files have been buried by the time this one ends.
    store.close().unwrap();
    for (n, record) in records.iter().enumerate() {
        assert!(record.data.iter().all(|&byte| usize::from(byte) == n / 100), "record {n}");
    }
}

#[test]
fn a_backup_under_load_opens_as_a_store_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(dir.path().join("a"), small()).unwrap();
    let log = store.create_log("clicks", LogOptions::new()).unwrap();
    (0..1000).for_each(|i| drop(log.append_ticket(&format!("{i}")).unwrap()));
    log.append("last").unwrap();
    let report = store.backup(dir.path().join("b")).unwrap();
    assert_eq!(report.logs, 1);
    let copy = Store::open_with(dir.path().join("b"), small()).unwrap();
    assert_ne!(copy.id(), store.id());
    assert_eq!(all(&copy.log("clicks").unwrap()), all(&log));
}

#[test]
fn a_reader_that_waits_is_woken_by_an_append_and_by_a_deletion() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(dir.path(), small()).unwrap();
    let log = store.create_log("clicks", LogOptions::new()).unwrap();
    let mut reader = log.read(StartAt::Latest).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| log.append("hello").unwrap());
        assert!(reader.wait(None).unwrap());
    });
    assert_eq!(reader.next().unwrap().unwrap().data, "hello");
    std::thread::scope(|scope| {
        scope.spawn(|| store.delete_log("clicks").unwrap());
        assert!(matches!(reader.wait(Some(Duration::from_secs(60))), Err(Error::LogDeleted { .. })));
    });
    assert!(matches!(log.append("late"), Err(Error::LogDeleted { .. })));
}

#[test]
fn an_iterator_ends_after_an_error_and_goes_on_after_a_seek() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(dir.path(), small()).unwrap();
    let log = store.create_log("clicks", LogOptions::new()).unwrap();
    log.append_batch(["a", "b", "c"]).unwrap();
    let mut reader = log.read(StartAt::TrimHorizon).unwrap();
    log.trim(2).unwrap();
    let found: Vec<_> = reader.by_ref().collect();
    assert!(matches!(found[..], [Err(Error::Trimmed { .. })]), "{found:?}");
    assert_eq!(reader.skip_trimmed().unwrap(), 2);
    assert_eq!(reader.map(|record| record.unwrap().data).collect::<Vec<_>>(), ["c"]);
}

/// Small appends reach segments behind the journal, large ones directly.
#[test]
fn what_a_store_holds_is_counted_however_it_was_written() {
    use braidlog::env::Env;
    use braidlog::env::sim::{ManualClock, SeededRandom, SimDisk, Tape};
    use braidlog::manual::ManualStore;
    use std::sync::Arc;
    for size in [500, 20_000] {
        let disk = SimDisk::new(Tape::seeded(1));
        let clock = Arc::new(ManualClock::at(1_000_000));
        let env = Env { disk: Arc::new(disk.clone()), clock: clock.clone(), random: Arc::new(SeededRandom::new(7)) };
        let options = small().journal_file_bytes(64 << 10).bulk_bytes(4096).quota_bytes(2 << 20);
        let mut store = ManualStore::open(env, options).unwrap();
        let mut created = store.create_log("clicks", LogOptions::new().segment_bytes_max(256 << 10)).unwrap();
        store.settle();
        let log = created.try_get().unwrap().unwrap();
        let record = vec![7; size];
        let mut appended = 0;
        while appended < 8 << 20 {
            match log.try_append_batch(&[record[..].into()]) {
                Ok(_) => appended += size,
                Err(Error::Full { .. }) => break,
                Err(Error::Busy { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            store.settle();
            store.upkeep_step();
        }
        let held = store.store().stats().store_bytes as usize;
        assert!(
            appended < 2 << 20,
            "{size}: {appended} bytes went in, the quota is 2 MiB, and it says it holds {held}"
        );
        assert!(appended > 1 << 20, "{size}: {appended} bytes went in, and it says it holds {held}");
        // What is trimmed gives it back.
        let _trimmed = store.trim(&log, log.end()).unwrap();
        for _ in 0..10 {
            store.settle();
            clock.advance(Duration::from_secs(60));
            store.upkeep_step();
        }
        let held = store.store().stats().store_bytes;
        assert!(held < 1 << 20, "{size}: {held} bytes are held after all was trimmed");
        assert_eq!(store.store().health(), braidlog::Health::Ok);
    }
}

#[test]
fn what_a_lone_caller_appended_is_marked_as_durable_when_the_store_falls_idle() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let log = store.create_log("log", LogOptions::new()).unwrap();
    for _ in 0..20 {
        let before = store.stats().frames;
        log.append("alone").unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while store.stats().frames < before + 2 {
            assert!(std::time::Instant::now() < deadline, "no frame came that says that the last one is durable");
            std::thread::yield_now();
        }
    }
    store.close().unwrap();
}

#[test]
fn an_append_of_a_thread_that_unwinds_is_one_like_any_other() {
    struct LastWords(braidlog::Log);
    impl Drop for LastWords {
        fn drop(&mut self) {
            let _ = self.0.append("last words");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for durability in [Durability::Durable, Durability::Buffered] {
        let log = store.create_log(&format!("{durability:?}"), LogOptions::new().durability(durability)).unwrap();
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _last_words = LastWords(log.clone());
            panic!("as intended");
        }));
        assert!(unwound.is_err());
        assert_eq!(store.health(), braidlog::Health::Ok, "{durability:?}");
        assert_eq!(log.append("after").unwrap().first, 1);
    }
}

#[test]
fn a_caller_may_wait_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_with(dir.path(), StoreOptions::new().append_deadline(std::time::Duration::MAX)).unwrap();
    for durability in [Durability::Durable, Durability::Buffered] {
        let log = store.create_log(&format!("{durability:?}"), LogOptions::new().durability(durability)).unwrap();
        assert_eq!(log.append("hello").unwrap().first, 0);
    }
}

#[test]
fn callers_that_wait_and_callers_that_hold_tickets_meet_without_loss() {
    callers_meet(Durability::Durable, std::time::Duration::from_secs(30));
}

#[test]
fn they_meet_without_loss_where_they_wait_for_ever() {
    callers_meet(Durability::Durable, std::time::Duration::MAX);
}

#[test]
fn they_meet_without_loss_on_a_buffered_log_too() {
    callers_meet(Durability::Buffered, std::time::Duration::from_secs(30));
}

fn callers_meet(durability: Durability, deadline: std::time::Duration) {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions::new().bulk_bytes(64 << 10).append_deadline(deadline);
    let store = Store::open_with(dir.path(), options).unwrap();
    let log = store.create_log("log", LogOptions::new().durability(durability)).unwrap();
    let large = vec![7u8; 40 << 10];
    std::thread::scope(|scope| {
        for caller in 0..6usize {
            let (store, log, large) = (&store, &log, &large);
            scope.spawn(move || {
                for i in 0..40usize {
                    match (caller + i) % 4 {
                        0 => drop(log.append("small").unwrap()),
                        1 => drop(log.append_batch([&large[..], &large[..], &b"last"[..]]).unwrap()),
                        2 => {
                            let ticket = log.append_ticket(&large[..]).unwrap();
                            log.append("behind it").unwrap();
                            ticket.wait().unwrap();
                        }
                        // A buffered log is in no transaction.
                        _ if durability == Durability::Buffered => drop(log.append("whole").unwrap()),
                        _ => {
                            let mut transaction = Transaction::new();
                            transaction.append(log, "whole").unwrap();
                            store.commit(transaction).unwrap().wait().unwrap();
                        }
                    }
                }
            });
        }
    });
    // 60 times each: one, three, two and one.
    let of = |log: &braidlog::Log| {
        log.read(StartAt::TrimHorizon).unwrap().map(|record| record.unwrap().data.len()).collect()
    };
    let before: Vec<usize> = of(&log);
    assert_eq!(before.len(), 60 * 7);
    drop(log);
    store.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let after: Vec<usize> = of(&store.log("log").unwrap());
    assert_eq!(before, after);
}

#[test]
fn a_small_log_that_is_opened_and_closed_often_leaves_no_files_behind() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..10 {
        let store = Store::open(dir.path()).unwrap();
        let log = store.open_or_create_log("log", LogOptions::new()).unwrap();
        log.append(&[7; 700][..]).unwrap();
        drop(log);
        store.close().unwrap();
    }
    let folders = std::fs::read_dir(dir.path().join("segments")).unwrap();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    let names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
    assert!(names.len() <= 2, "{names:?}");
    let report = braidlog::check::check(dir.path(), &braidlog::check::CheckOptions::new(), &mut |_| {}).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

struct Panics;

impl std::task::Wake for Panics {
    fn wake(self: std::sync::Arc<Self>) {
        panic!("on purpose");
    }
}

/// A waker is a caller's code. The commit thread, or a caller that leads, calls it between moving the marks and telling who waits.
#[test]
fn a_waker_that_panics_leaves_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let log = store.create_log("log", LogOptions::new()).unwrap();
    let other = store.create_log("other", LogOptions::new()).unwrap();
    let reader = log.read(StartAt::TrimHorizon).unwrap();
    let waker = std::task::Waker::from(std::sync::Arc::new(Panics));
    {
        let mut ready = std::pin::pin!(reader.ready());
        assert!(std::future::Future::poll(ready.as_mut(), &mut std::task::Context::from_waker(&waker)).is_pending());
    }
    let tickets = [log.append_ticket("x").unwrap(), other.append_ticket("y").unwrap()];
    for ticket in tickets {
        assert!(ticket.wait_for(Duration::from_secs(10)).is_some(), "nobody resolves it");
    }
    assert!(matches!(store.health(), braidlog::Health::Stopped { .. }));
}
