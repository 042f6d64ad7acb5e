//! The public API as a reader of the README meets it, on every disk: the two real ones and the simulated one, with all threads.

#![allow(clippy::unwrap_used)] // a helper that is no test may fail like one

#[path = "support/mount.rs"]
mod mount;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use braidlog::env::sim::{SimDisk, Tape};
use braidlog::env::{Disk, DiskKind, Env, RealDisk, SystemClock, SystemRandom};
use braidlog::{DiskChoice, Durability, Error, LogOptions, Record, StartAt, Store, StoreOptions, Transaction};

/// Where a store lies.
enum Place {
    Real { folder: Arc<tempfile::TempDir>, name: &'static str, disk: DiskChoice },
    Simulated { disk: Arc<dyn Disk>, name: &'static str },
}

impl Place {
    fn real(disk: DiskChoice) -> Place {
        Place::Real { folder: Arc::new(tempfile::tempdir().unwrap()), name: "store", disk }
    }

    fn io_uring() -> Place {
        let place = Place::real(DiskChoice::Auto);
        if RealDisk::open(&place.root()).unwrap().kind() != DiskKind::IoUring {
            mount::skipped("io_uring is not permitted here: this runs on the portable disk a second time");
        }
        place
    }

    fn portable() -> Place {
        Place::real(DiskChoice::Portable)
    }

    fn simulated() -> Place {
        Place::Simulated { disk: Arc::new(SimDisk::new(Tape::seeded(1))), name: "" }
    }

    fn is_simulated(&self) -> bool {
        matches!(self, Place::Simulated { .. })
    }

    /// Another place beside it.
    fn copy(&self) -> Place {
        match self {
            Place::Real { folder, disk, .. } => Place::Real { folder: folder.clone(), name: "copy", disk: *disk },
            Place::Simulated { disk, .. } => Place::Simulated { disk: disk.sibling("copy").unwrap(), name: "copy" },
        }
    }

    fn root(&self) -> PathBuf {
        match self {
            Place::Real { folder, name, .. } => folder.path().join(name),
            Place::Simulated { name, .. } => name.into(),
        }
    }

    fn disk(&self) -> Arc<dyn Disk> {
        match self {
            Place::Real { .. } => Arc::new(RealDisk::open(&self.root()).unwrap()),
            Place::Simulated { disk, .. } => disk.clone(),
        }
    }

    fn open(&self, options: StoreOptions) -> braidlog::Result<Store> {
        match self {
            Place::Real { disk, .. } => Store::open_with(self.root(), options.disk(*disk)),
            Place::Simulated { disk, .. } => {
                let (clock, random) = (Arc::new(SystemClock::new()), Arc::new(SystemRandom));
                Store::open_in(Env { disk: disk.clone(), clock, random }, options)
            }
        }
    }
}

/// Makes a test of each case for every disk; of those behind the bar for the real ones.
macro_rules! on_every_disk {
    ($($case:ident)* | $($real:ident)*) => {
        on_every_disk! { io_uring: $($case)* $($real)* }
        on_every_disk! { portable: $($case)* $($real)* }
        on_every_disk! { simulated: $($case)* }
    };
    ($disk:ident: $($case:ident)*) => {
        mod $disk {
            $(#[test] fn $case() { super::$case(super::Place::$disk) })*
        }
    };
}

on_every_disk! {
    what_was_appended_is_read_back_after_a_clean_close_and_after_a_drop
    many_logs_and_a_transaction
    buffered_logs_survive_a_drop_and_never_use_a_number_twice
    every_way_of_reading_goes_on_where_the_last_one_stopped
    buffered_appends_of_many_callers_are_there_after_a_close_in_their_midst
    trimmed_space_is_given_back
    who_reopens_a_store_while_a_handle_of_it_is_left_is_told_so
    a_backup_under_load_opens_as_a_store_of_its_own
    a_reader_that_waits_is_woken_by_an_append_and_by_a_deletion
    an_iterator_ends_after_an_error_and_goes_on_after_a_seek
    what_a_lone_caller_appended_is_marked_as_durable_when_the_store_falls_idle
    an_append_of_a_thread_that_unwinds_is_one_like_any_other
    a_caller_may_wait_for_ever
    callers_that_wait_and_callers_that_hold_tickets_meet_without_loss
    they_meet_without_loss_where_they_wait_for_ever
    they_meet_without_loss_on_a_buffered_log_too
    a_waker_that_panics_leaves_nobody_waiting
    |
    // Who else has a file mapped only the kernel says; the simulated disk ends a test that shortens a mapped file.
    records_stay_what_they_are_when_their_store_has_another_owner_that_frees_their_space
}

fn small() -> StoreOptions {
    StoreOptions::new().journal_file_bytes(1 << 20).memory_bytes(1 << 20).reserve_bytes(0)
}

fn all(log: &braidlog::Log) -> Vec<Vec<u8>> {
    log.read(StartAt::TrimHorizon).unwrap().map(|r| r.unwrap().data.to_vec()).collect()
}

fn what_was_appended_is_read_back_after_a_clean_close_and_after_a_drop(make: fn() -> Place) {
    for clean in [true, false] {
        let place = make();
        let mut expected = Vec::new();
        for life in 0..4 {
            let store = place.open(small()).unwrap();
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

fn many_logs_and_a_transaction(make: fn() -> Place) {
    let place = make();
    let store = place.open(small()).unwrap();
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

fn buffered_logs_survive_a_drop_and_never_use_a_number_twice(make: fn() -> Place) {
    let place = make();
    let options = LogOptions::new().durability(Durability::Buffered).segment_bytes_max(64 << 10);
    let mut seen = 0;
    for life in 0..3 {
        let store = place.open(small()).unwrap();
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

fn every_way_of_reading_goes_on_where_the_last_one_stopped(make: fn() -> Place) {
    let place = make();
    let store = place.open(small()).unwrap();
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

fn buffered_appends_of_many_callers_are_there_after_a_close_in_their_midst(make: fn() -> Place) {
    for _ in 0..5 {
        let place = make();
        let options = LogOptions::new().durability(Durability::Buffered);
        let store = place.open(small()).unwrap();
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
        let store = place.open(small()).unwrap();
        let end = store.log("metrics").unwrap().end();
        acknowledged.sort_unstable();
        assert!(acknowledged.windows(2).all(|pair| pair[0] < pair[1]), "a number twice");
        assert!(acknowledged.last().is_none_or(|last| *last < end), "{acknowledged:?} of {end}");
        assert_eq!(all(&store.log("metrics").unwrap()).len() as u64, end);
    }
}

/// How many segment files there are, and their bytes.
fn segment_files(place: &Place) -> (usize, u64) {
    let disk = place.disk();
    let folders = disk.list("segments").unwrap().into_iter();
    let files = folders.flat_map(|folder| disk.list(&format!("segments/{}", folder.name)).unwrap());
    let segments = files.filter(|file| file.name.ends_with(".seg"));
    segments.fold((0, 0), |(n, bytes), file| (n + 1, bytes + file.len))
}

fn trimmed_space_is_given_back(make: fn() -> Place) {
    let place = make();
    let store = place.open(small()).unwrap();
    let log = store.create_log("clicks", LogOptions::new().segment_bytes_max(64 << 10)).unwrap();
    for _ in 0..20 {
        log.append_batch((0..100).map(|_| [7u8; 500]).collect::<Vec<_>>().iter()).unwrap();
    }
    store.checkpoint().unwrap();
    let (files, bytes) = segment_files(&place);
    assert!(files > 5 && bytes > 20 * 100 * 500, "{files} files, {bytes} bytes");
    log.trim(1_900).unwrap();
    assert_eq!(log.horizon().unwrap(), 1_900);
    assert!(matches!(log.read(StartAt::Sequence(5)), Err(Error::Trimmed { .. })));
    assert_eq!(all(&log).len(), 100);
    // A trim asks for a pass itself, and does not wait for it.
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let (files_left, left) = segment_files(&place);
        if left <= bytes / 20 + 2 * (64 << 10) {
            let freed = store.stats().segments_freed as usize;
            assert!(freed < files && freed + files_left >= files, "{freed} of {files} freed, {files_left} left");
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{left} of {bytes} bytes are left, in {files_left} files");
        std::thread::yield_now();
    }
    assert_eq!(all(&log).len(), 100);
    assert!(log.info().segment_bytes <= segment_files(&place).1);
}

fn who_reopens_a_store_while_a_handle_of_it_is_left_is_told_so(make: fn() -> Place) {
    let place = make();
    let store = place.open(StoreOptions::new()).unwrap();
    let log = store.create_log("clicks", LogOptions::new()).unwrap();
    store.close().unwrap();
    let refused = place.open(StoreOptions::new()).unwrap_err();
    assert!(matches!(refused, Error::Locked { .. }));
    let told = if place.is_simulated() { "process" } else { "in this process" };
    assert!(refused.to_string().contains(told), "{refused}");
    drop(log);
    place.open(StoreOptions::new()).unwrap();
}

fn records_stay_what_they_are_when_their_store_has_another_owner_that_frees_their_space(make: fn() -> Place) {
    let place = make();
    let store = place.open(small()).unwrap();
    let log = store.create_log("clicks", LogOptions::new().segment_bytes_max(64 << 10)).unwrap();
    for n in 0..20u8 {
        log.append_batch((0..100).map(|_| [n; 500]).collect::<Vec<_>>().iter()).unwrap();
    }
    store.checkpoint().unwrap();
    let records: Vec<Record> = log.read(StartAt::TrimHorizon).unwrap().map(Result::unwrap).collect();
    drop(log);
    store.close().unwrap();

    let store = place.open(small()).unwrap();
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

fn a_backup_under_load_opens_as_a_store_of_its_own(make: fn() -> Place) {
    let place = make();
    let store = place.open(small()).unwrap();
    let log = store.create_log("clicks", LogOptions::new()).unwrap();
    (0..1000).for_each(|i| drop(log.append_ticket(&format!("{i}")).unwrap()));
    log.append("last").unwrap();
    let copy = place.copy();
    let report = store.backup(copy.root()).unwrap();
    assert_eq!(report.logs, 1);
    let copy = copy.open(small()).unwrap();
    assert_ne!(copy.id(), store.id());
    assert_eq!(all(&copy.log("clicks").unwrap()), all(&log));
}

fn a_reader_that_waits_is_woken_by_an_append_and_by_a_deletion(make: fn() -> Place) {
    let place = make();
    let store = place.open(small()).unwrap();
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

fn an_iterator_ends_after_an_error_and_goes_on_after_a_seek(make: fn() -> Place) {
    let place = make();
    let store = place.open(small()).unwrap();
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

fn what_a_lone_caller_appended_is_marked_as_durable_when_the_store_falls_idle(make: fn() -> Place) {
    let place = make();
    let store = place.open(StoreOptions::new()).unwrap();
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

fn an_append_of_a_thread_that_unwinds_is_one_like_any_other(make: fn() -> Place) {
    struct LastWords(braidlog::Log);
    impl Drop for LastWords {
        fn drop(&mut self) {
            let _ = self.0.append("last words");
        }
    }
    let place = make();
    let store = place.open(StoreOptions::new()).unwrap();
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

fn a_caller_may_wait_for_ever(make: fn() -> Place) {
    let place = make();
    let store = place.open(StoreOptions::new().append_deadline(std::time::Duration::MAX)).unwrap();
    for durability in [Durability::Durable, Durability::Buffered] {
        let log = store.create_log(&format!("{durability:?}"), LogOptions::new().durability(durability)).unwrap();
        assert_eq!(log.append("hello").unwrap().first, 0);
    }
}

fn callers_that_wait_and_callers_that_hold_tickets_meet_without_loss(make: fn() -> Place) {
    callers_meet(make, Durability::Durable, std::time::Duration::from_secs(30));
}

fn they_meet_without_loss_where_they_wait_for_ever(make: fn() -> Place) {
    callers_meet(make, Durability::Durable, std::time::Duration::MAX);
}

fn they_meet_without_loss_on_a_buffered_log_too(make: fn() -> Place) {
    callers_meet(make, Durability::Buffered, std::time::Duration::from_secs(30));
}

fn callers_meet(make: fn() -> Place, durability: Durability, deadline: std::time::Duration) {
    let place = make();
    let options = StoreOptions::new().bulk_bytes(64 << 10).append_deadline(deadline);
    let store = place.open(options).unwrap();
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
    let store = place.open(StoreOptions::new()).unwrap();
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
fn a_waker_that_panics_leaves_nobody_waiting(make: fn() -> Place) {
    let place = make();
    let store = place.open(StoreOptions::new()).unwrap();
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

/// One example, in three places: what is compiled and run is what a reader sees.
#[test]
fn the_readme_and_the_front_page_show_the_example() {
    let example = include_str!("../examples/embed.rs");
    let (_, example) = example.split_once("\n\n").unwrap();
    assert!(include_str!("../README.md").contains(&format!("```rust,no_run\n{example}```\n")));
    let page = include_str!("../src/lib.rs").lines().filter_map(|line| line.strip_prefix("//!"));
    let shown = page
        .filter(|line| !line.starts_with(" # "))
        .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line)));
    assert!(shown.collect::<String>().contains(&format!("```\n{example}```\n")));
}
