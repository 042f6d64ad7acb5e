//! Consumer groups on the real disk: workers that come, go, pause and fail.

#![allow(clippy::unwrap_used)] // a helper that is no test may fail like one

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use braidlog::stream::{
    GroupOptions, HashKey, OnDamage, ProcessError, PutRecordsEntry, RecordBatch, RecordProcessor, ShardId,
    StartingPosition, StopWorker, Stream, StreamOptions, SubscriptionOptions,
};
use braidlog::{Engine, EngineOptions, Error, Log, StartAt, StoreOptions, Transaction};

fn engine() -> (tempfile::TempDir, Engine) {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(&dir);
    (dir, engine)
}

fn open(dir: &tempfile::TempDir) -> Engine {
    let store = StoreOptions::new().journal_file_bytes(1 << 20).reserve_bytes(0);
    Engine::open_with(dir.path(), EngineOptions::new().store(store)).unwrap()
}

fn put(stream: &Stream, from: u32, upto: u32) {
    let data: Vec<(String, String)> = (from..upto).map(|i| (format!("key-{}", i % 37), i.to_string())).collect();
    let entries: Vec<_> = data.iter().map(|(key, data)| PutRecordsEntry::new(key, data.as_bytes())).collect();
    for chunk in entries.chunks(500) {
        assert_eq!(stream.put_records(chunk).unwrap().failed_record_count(), 0);
    }
}

/// What every worker got, by shard, in order.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(String, ShardId, u32)>>>);

impl Seen {
    fn processor(
        &self,
        worker: &str,
    ) -> impl FnMut(&mut RecordBatch<'_>) -> Result<(), braidlog::stream::ProcessError> + use<> {
        let (seen, worker) = (self.clone(), worker.to_owned());
        move |batch| {
            let shard = batch.shard_id();
            let numbers = batch.records().iter().map(|r| std::str::from_utf8(&r.data).unwrap().parse().unwrap());
            seen.0.lock().unwrap().extend(numbers.map(|n: u32| (worker.clone(), shard, n)));
            Ok(())
        }
    }

    fn numbers(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = self.0.lock().unwrap().iter().map(|(_, _, n)| *n).collect();
        numbers.sort_unstable();
        numbers
    }

    fn workers(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        self.0.lock().unwrap().iter().for_each(|(worker, _, _)| *counts.entry(worker.clone()).or_default() += 1);
        counts
    }
}

#[test]
fn two_workers_share_the_shards_and_each_record_comes_once() {
    let (_dir, engine) = engine();
    let stream = engine.create_stream("clicks", StreamOptions::new().shards(8)).unwrap();
    put(&stream, 0, 2000);
    let (group, seen) = (stream.consumer_group("g", GroupOptions::new()).unwrap(), Seen::default());
    let mut one = group.worker("one", |_| seen.processor("one")).unwrap();
    while one.step().unwrap() {}
    assert_eq!(one.shards().len(), 8);
    let mut two = group.worker("two", |_| seen.processor("two")).unwrap();
    while one.step().unwrap() | two.step().unwrap() {}
    assert_eq!((one.shards().len(), two.shards().len()), (4, 4));
    put(&stream, 2000, 4000);
    while one.step().unwrap() | two.step().unwrap() {}
    assert_eq!(seen.numbers(), (0..4000).collect::<Vec<_>>());
    assert!(seen.workers()["two"] > 500);
    assert!(matches!(group.worker("two", |_| seen.processor("two")), Err(Error::ResourceInUse { .. })));
}

#[test]
fn a_split_and_a_merge_are_followed_parents_first() {
    let (_dir, engine) = engine();
    let stream = engine.create_stream("clicks", StreamOptions::new().shards(2)).unwrap();
    let (group, seen) = (stream.consumer_group("g", GroupOptions::new()).unwrap(), Seen::default());
    put(&stream, 0, 100);
    let shards = stream.open_shards();
    stream.split_shard(shards[0].shard_id, HashKey(1 << 126)).unwrap();
    put(&stream, 100, 200);
    let open = stream.open_shards();
    stream.merge_shards(open[1].shard_id, open[2].shard_id).unwrap();
    put(&stream, 200, 300);
    let mut worker = group.worker("one", |_| seen.processor("one")).unwrap();
    while worker.step().unwrap() {}
    assert_eq!(seen.numbers(), (0..300).collect::<Vec<_>>());
    // For every key the order of reading is the order of putting.
    let mut last: BTreeMap<u32, u32> = BTreeMap::new();
    for (_, _, n) in seen.0.lock().unwrap().iter() {
        assert!(last.insert(n % 37, *n).is_none_or(|before| before < *n));
    }
    let finished = group.progress().unwrap().iter().filter(|shard| shard.finished).count();
    assert_eq!((finished, worker.shards().len()), (3, 2));
}

#[test]
fn a_group_goes_on_at_its_checkpoints_after_a_restart() {
    let (dir, engine) = engine();
    let stream = engine.create_stream("clicks", StreamOptions::new().shards(3)).unwrap();
    put(&stream, 0, 500);
    let seen = Seen::default();
    {
        let group = stream.consumer_group("g", GroupOptions::new()).unwrap();
        let mut worker = group.worker("one", |_| seen.processor("one")).unwrap();
        while worker.step().unwrap() {}
    }
    drop((stream, engine));
    let engine = open(&dir);
    let stream = engine.stream("clicks").unwrap();
    assert_eq!(stream.consumer_groups(), ["g"]);
    put(&stream, 500, 700);
    let group = stream.consumer_group("g", GroupOptions::new()).unwrap();
    let mut worker = group.worker("one", |_| seen.processor("one")).unwrap();
    while worker.step().unwrap() {}
    assert_eq!(seen.numbers(), (0..700).collect::<Vec<_>>());
}

#[test]
fn a_group_that_begins_at_the_latest_record_sees_only_what_comes() {
    let (_dir, engine) = engine();
    let stream = engine.create_stream("clicks", StreamOptions::new().shards(2)).unwrap();
    put(&stream, 0, 100);
    let options = GroupOptions::new().starting_position(StartingPosition::Latest);
    let (group, seen) = (stream.consumer_group("g", options).unwrap(), Seen::default());
    let parent = stream.open_shards()[0].shard_id;
    put(&stream, 100, 150);
    stream.split_shard(parent, HashKey(1 << 126)).unwrap();
    put(&stream, 150, 200);
    let mut worker = group.worker("one", |_| seen.processor("one")).unwrap();
    while worker.step().unwrap() {}
    assert_eq!(seen.numbers(), (100..200).collect::<Vec<_>>());
}

type Meanwhile = Box<dyn FnOnce() + Send>;

/// Copies what it gets to a log, each batch in one transaction with its checkpoint.
struct Copier {
    log: Log,
    /// What happens in the middle of a batch.
    meanwhile: Arc<Mutex<Option<Meanwhile>>>,
    lost: Arc<Mutex<u32>>,
}

impl RecordProcessor for Copier {
    fn process(&mut self, batch: &mut RecordBatch<'_>) -> Result<(), braidlog::stream::ProcessError> {
        let mut output = Transaction::new();
        for record in batch.records() {
            output.append(&self.log, &record.data[..])?;
        }
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        Ok(batch.commit(output)?)
    }

    fn lease_lost(&mut self, _shard: ShardId) {
        *self.lost.lock().unwrap() += 1;
    }
}

#[test]
fn a_worker_that_lost_its_lease_in_the_middle_of_a_batch_commits_nothing() {
    let (_dir, engine) = engine();
    let stream = engine.create_stream("clicks", StreamOptions::new()).unwrap();
    let log = engine.store().create_log("copy", Default::default()).unwrap();
    put(&stream, 0, 100);
    // Both live; the second takes the lease by force while the first is in the middle of its batch.
    let options = GroupOptions::new().failover(Duration::from_millis(1)).hand_over(Duration::ZERO);
    let group = stream.consumer_group("g", options).unwrap();
    let (meanwhile, lost) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(0)));
    let make = |log: &Log| {
        let (log, meanwhile, lost) = (log.clone(), Arc::clone(&meanwhile), Arc::clone(&lost));
        move |_| Copier { log: log.clone(), meanwhile: meanwhile.clone(), lost: lost.clone() }
    };
    let mut one = group.worker("one", make(&log)).unwrap();
    let (other_group, other_make) = (group.clone(), make(&log));
    *meanwhile.lock().unwrap() = Some(Box::new(move || {
        std::thread::sleep(Duration::from_millis(20)); // past the failover time: the first counts as dead
        let mut two = other_group.worker("two", other_make).unwrap();
        while two.step().unwrap() {}
        std::mem::forget(two);
    }) as Meanwhile);
    while one.step().unwrap() {}
    let copied: Vec<u32> = log
        .read(StartAt::TrimHorizon)
        .unwrap()
        .map(|record| std::str::from_utf8(&record.unwrap().data).unwrap().parse().unwrap())
        .collect();
    assert_eq!(copied, (0..100).collect::<Vec<_>>());
    assert_eq!(*lost.lock().unwrap(), 1);
}

#[test]
fn a_batch_that_failed_comes_again() {
    let (_dir, engine) = engine();
    let stream = engine.create_stream("clicks", StreamOptions::new()).unwrap();
    put(&stream, 0, 100);
    let options = GroupOptions::new().records_max(30).retry_after(Duration::ZERO);
    let (group, seen) = (stream.consumer_group("g", options).unwrap(), Seen::default());
    let mut calls = 0;
    let mut process = seen.processor("one");
    let mut once = Some(move |batch: &mut RecordBatch<'_>| {
        calls += 1;
        if calls == 2 {
            // A part of it is done, and stays done.
            let last = batch.records()[9].sequence_number;
            batch.checkpoint_at(last, None)?;
            return Err("a bad day".into());
        }
        process(batch)
    });
    let mut worker = group.worker("one", |_| once.take().unwrap()).unwrap();
    while worker.step().unwrap() {}
    let expected: Vec<u32> = (0..30).chain(40..100).collect();
    assert_eq!(seen.numbers(), expected);
}

#[test]
fn a_thread_is_woken_by_the_writer_and_stops_when_told_to() {
    let (_dir, engine) = engine();
    let stream = engine.create_stream("clicks", StreamOptions::new().shards(4)).unwrap();
    let (group, seen) = (stream.consumer_group("g", GroupOptions::new()).unwrap(), Seen::default());
    let (told, got) = std::sync::mpsc::channel();
    let mut worker = group
        .worker("one", |_| {
            let (mut process, told) = (seen.processor("one"), told.clone());
            move |batch: &mut RecordBatch<'_>| {
                process(batch)?;
                told.send(batch.records().len())?;
                Ok(())
            }
        })
        .unwrap();
    let stop = worker.stop_handle();
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| worker.run());
        let mut count = 0;
        for i in 0..20 {
            put(&stream, i * 10, (i + 1) * 10);
            while count < (i as usize + 1) * 10 {
                count += got.recv_timeout(Duration::from_secs(30)).unwrap();
            }
        }
        stop.stop();
        thread.join().unwrap().unwrap();
    });
    assert_eq!(seen.numbers(), (0..200).collect::<Vec<_>>());
    assert!(group.workers().is_empty());
    assert!(group.progress().unwrap().iter().all(|shard| shard.owner.is_none() && shard.records_behind == 0));
}

#[test]
fn a_worker_that_is_told_to_stop_ends_with_the_batch_it_has() {
    let (_dir, engine) = engine();
    let stream = engine.create_stream("clicks", StreamOptions::new().shards(4)).unwrap();
    put(&stream, 0, 200);
    let (group, batches) = (stream.consumer_group("g", GroupOptions::new()).unwrap(), Mutex::new(Vec::new()));
    let stop = Mutex::new(None::<StopWorker>);
    let mut worker = group
        .worker("one", |_| {
            |batch: &mut RecordBatch<'_>| {
                batches.lock().unwrap().push((batch.shard_id(), batch.records().len() as u64));
                stop.lock().unwrap().iter().for_each(StopWorker::stop);
                Ok(())
            }
        })
        .unwrap();
    *stop.lock().unwrap() = Some(worker.stop_handle());
    worker.run().unwrap();
    drop(worker);
    let [(shard, records)] = batches.into_inner().unwrap()[..] else { panic!("more than the batch it had") };
    // That one is done, and its checkpoint too.
    let behind: u64 = group.progress().unwrap().iter().map(|shard| shard.records_behind).sum();
    assert_eq!(behind, 200 - records);
    let progress = group.progress().unwrap().into_iter().find(|progress| progress.shard_id == shard).unwrap();
    assert_eq!((progress.records_behind, progress.owner), (0, None));
}

#[test]
fn a_group_and_its_checkpoints_can_be_deleted_and_go_with_the_stream() {
    let (_dir, engine) = engine();
    let stream = engine.create_stream("clicks", StreamOptions::new()).unwrap();
    put(&stream, 0, 10);
    let (group, seen) = (stream.consumer_group("g", GroupOptions::new()).unwrap(), Seen::default());
    let mut worker = group.worker("one", |_| seen.processor("one")).unwrap();
    while worker.step().unwrap() {}
    stream.delete_consumer_group("g").unwrap();
    assert!(matches!(stream.delete_consumer_group("g"), Err(Error::ResourceNotFound { .. })));
    put(&stream, 10, 20);
    while worker.step().unwrap() {}
    assert_eq!(seen.numbers(), (0..10).collect::<Vec<_>>());
    let group = stream.consumer_group("g", GroupOptions::new()).unwrap();
    let mut worker = group.worker("two", |_| seen.processor("two")).unwrap();
    while worker.step().unwrap() {}
    assert_eq!(seen.numbers().len(), 30);
    engine.delete_stream("clicks", false).unwrap();
    assert!(matches!(worker.step(), Err(Error::ResourceNotFound { .. })));
    let stream = engine.create_stream("clicks", StreamOptions::new()).unwrap();
    assert!(stream.consumer_groups().is_empty());
}

/// Workers that take leases from one another all the time, in the middle of everything, copy each record once all the same.
/// `BRAIDLOG_GROUP_ROUNDS` says how often 100 records are put meanwhile.
#[test]
fn leases_stolen_between_read_and_commit_repeat_nothing_that_is_committed_with_its_checkpoint() {
    let rounds: u32 = std::env::var("BRAIDLOG_GROUP_ROUNDS").map_or(30, |n| n.parse().unwrap());
    let (_dir, engine) = engine();
    let stream = engine.create_stream("clicks", StreamOptions::new().shards(8)).unwrap();
    let log = engine.store().create_log("copy", Default::default()).unwrap();
    let options = GroupOptions::new().failover(Duration::from_millis(1)).hand_over(Duration::ZERO).records_max(20);
    let group = stream.consumer_group("g", options.retry_after(Duration::ZERO)).unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (group, log, over) = (&group, &log, &over);
            scope.spawn(move || {
                let mut life = 0;
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let make = |_| {
                        move |batch: &mut RecordBatch<'_>| {
                            let mut output = Transaction::new();
                            for record in batch.records() {
                                output.append(log, &record.data[..])?;
                            }
                            std::thread::yield_now();
                            Ok(batch.commit(output)?)
                        }
                    };
                    let mut worker = group.worker(&format!("{worker}-{life}"), make).unwrap();
                    (0..50).for_each(|_| _ = worker.step().unwrap());
                    life += 1;
                    if life % 3 == 0 {
                        // It dies without a word.
                        std::mem::forget(worker);
                    }
                }
            });
        }
        for i in 0..rounds {
            put(&stream, i * 100, (i + 1) * 100);
            if i == 10 {
                let shard = stream.open_shards()[3].clone();
                stream.split_shard(shard.shard_id, HashKey(shard.hash_key_range.start.0 + (1 << 120))).unwrap();
            }
        }
        let deadline = std::time::Instant::now() + Duration::from_secs(120);
        while group.progress().unwrap().iter().any(|shard| shard.records_behind > 0) {
            assert!(std::time::Instant::now() < deadline, "{:?}", group.progress());
            std::thread::yield_now();
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let mut copied: Vec<u32> = log
        .read(StartAt::TrimHorizon)
        .unwrap()
        .map(|record| std::str::from_utf8(&record.unwrap().data).unwrap().parse().unwrap())
        .collect();
    copied.sort_unstable();
    assert_eq!(copied, (0..rounds * 100).collect::<Vec<_>>());
}

/// What a worker does that is told what to do about damage.
struct Told {
    seen: Vec<String>,
    on_damage: OnDamage,
    damaged: Vec<Error>,
}

/// One for a worker, of which the test keeps a handle.
#[derive(Clone)]
struct Shared(Arc<Mutex<Told>>);

impl RecordProcessor for Shared {
    fn process(&mut self, batch: &mut RecordBatch<'_>) -> Result<(), ProcessError> {
        let data = batch.records().iter().map(|record| String::from_utf8(record.data.to_vec()).unwrap());
        self.0.lock().unwrap().seen.extend(data);
        Ok(())
    }

    fn damaged(&mut self, _: ShardId, error: &Error) -> OnDamage {
        let mut told = self.0.lock().unwrap();
        told.damaged.push(error.clone());
        told.on_damage
    }
}

#[test]
fn records_that_cannot_be_read_are_skipped_by_who_says_so_and_by_nobody_else() {
    let (dir, engine) = engine();
    let stream = engine.create_stream("clicks", StreamOptions::new()).unwrap();
    let data = |i: u32| format!("{i:04}-{}", "x".repeat(200));
    // Calls of their own: batches of their own.
    for i in 0..40 {
        stream.put_record("key", data(i).as_bytes()).unwrap();
    }
    stream.register_consumer("reader", [("a", "b")]).unwrap();
    let group = stream.consumer_group("g", GroupOptions::new().retry_after(Duration::ZERO)).unwrap();
    drop((group, stream));
    engine.close().unwrap();
    let wanted = data(17);
    let mut hit = 0;
    for folder in std::fs::read_dir(dir.path().join("segments")).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            if let Some(at) = bytes.windows(wanted.len()).position(|window| window == wanted.as_bytes()) {
                bytes[at] ^= 1;
                std::fs::write(&path, bytes).unwrap();
                hit += 1;
            }
        }
    }
    assert_eq!(hit, 1);
    let rest: Vec<String> = (0..40).filter(|i| *i != 17).map(data).collect();
    let engine = open(&dir);
    let stream = engine.stream("clicks").unwrap();
    let group = stream.consumer_group("g", GroupOptions::new().retry_after(Duration::ZERO)).unwrap();
    let told = Shared(Arc::new(Mutex::new(Told { seen: vec![], on_damage: OnDamage::Retry, damaged: vec![] })));
    let mut worker = group.worker("one", |_| told.clone()).unwrap();
    for _ in 0..20 {
        worker.step().unwrap();
    }
    {
        let mut told = told.0.lock().unwrap();
        assert_eq!(told.seen, rest[..17], "it waits where the damage is");
        assert!(told.damaged.len() > 1, "and tries again");
        let Error::Damaged { lost: Some(lost), .. } = &told.damaged[0] else { panic!("{:?}", told.damaged) };
        assert_eq!(lost.sequence_number, 17);
        told.on_damage = OnDamage::Skip;
    }
    for _ in 0..20 {
        worker.step().unwrap();
    }
    assert_eq!(told.0.lock().unwrap().seen, rest);
    assert_eq!(group.progress().unwrap()[0].records_behind, 0);
    // The same for a reader of a shard, which goes on from its position elsewhere, and for a subscription.
    let shard = stream.shards()[0].shard_id;
    let mut reader = stream.read(shard, StartingPosition::TrimHorizon).unwrap();
    assert_eq!(reader.read(100, usize::MAX).unwrap().len(), 17, "what comes before it is not lost with it");
    assert!(matches!(reader.read(100, usize::MAX), Err(Error::Damaged { .. })));
    assert_eq!(reader.skip_damaged(), Ok(1));
    let mut elsewhere = stream.read(shard, StartingPosition::AfterSequenceNumber(reader.position())).unwrap();
    for reader in [&mut reader, &mut elsewhere] {
        let data: Vec<_> = reader.map(|record| String::from_utf8(record.unwrap().data.to_vec()).unwrap()).collect();
        assert_eq!(data, rest[17..]);
    }
    let mut subscription =
        stream.subscribe("reader", shard, StartingPosition::TrimHorizon, SubscriptionOptions::new()).unwrap();
    let (mut records, mut skipped) = (0, 0);
    while records < 39 {
        match subscription.next_event(Some(Duration::ZERO)) {
            Ok(event) => records += event.unwrap().records.len(),
            Err(Error::Damaged { .. }) => skipped += subscription.skip_damaged().unwrap(),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(skipped, 1);
}
