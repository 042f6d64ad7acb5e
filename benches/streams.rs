//! What streams cost over the logs they are on, and how soon a record is in its readers' hands.
//!
//! ```text
//! cargo bench --bench streams -- [--only NAME,..] [--rounds N]
//! ```
//!
//! Each figure is the median of its rounds, with what it is held against taken between them. Without `--bench`, as under
//! `cargo test`, everything is tiny and the figures mean nothing.

mod support;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use braidlog::stream::{
    ConsumerGroup, GroupOptions, HashKey, HashKeyRange, PutRecordsEntry, RecordBatch, StartingPosition, Stream,
    StreamOptions, Subscription, SubscriptionOptions,
};
use braidlog::{Engine, EngineOptions, Log, RecordParts};

use support::table::{self, Bar, Neighbours, Row};
use support::{Result, percentile, sized, timed};

type Experiment = fn(usize) -> Result<Vec<Row>>;

const EXPERIMENTS: [(&str, Experiment); 8] = [
    ("put", put),
    ("one-shard", one_shard),
    ("many-shards", many_shards),
    ("fan-out", fan_out),
    ("subscribers", subscribers),
    ("get-records", get_records),
    ("split", split),
    ("group", group),
];

fn main() -> Result<()> {
    let (mut rounds, mut only) = (sized(5, 1), Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--rounds" => rounds = value()?.parse()?,
            "--only" => only = value()?.split(',').map(str::to_owned).collect::<Vec<_>>(),
            // What cargo and test runners say to every bench.
            _ => {}
        }
    }
    table::header();
    for (name, experiment) in EXPERIMENTS {
        if only.is_empty() || only.iter().any(|wanted| name.contains(wanted.as_str())) {
            support::warm_memory(sized(4 << 30, 0));
            let neighbours = Neighbours::look();
            let rows = experiment(rounds)?;
            let others = neighbours.share();
            rows.iter().for_each(|row| row.print(others));
        }
    }
    Ok(())
}

fn engine(dir: &Path) -> Result<Engine> {
    Ok(Engine::open_with(dir, EngineOptions::new().maintenance_interval(None))?)
}

/// Before what is compared with something else: nothing is left of what came before, in the journal or on the way to the disk. A
/// checkpoint is due after some hundred megabytes; otherwise one of the two would meet it each time, and the other never.
fn rest(engine: &Engine, within: &Path) -> Result<()> {
    engine.store().checkpoint()?;
    support::warm_memory(sized(512 << 20, 0));
    support::settle(within)
}

/// Records of one call, with keys that differ.
struct Records {
    keys: Vec<String>,
    data: Vec<u8>,
}

impl Records {
    fn new(count: usize, bytes: usize) -> Records {
        Records { keys: (0..count).map(|i| format!("user-{i:06}")).collect(), data: vec![7; bytes] }
    }

    fn entries(&self) -> Vec<PutRecordsEntry<'_>> {
        self.keys.iter().map(|key| PutRecordsEntry::new(key, &self.data)).collect()
    }

    fn parts(&self) -> Vec<RecordParts<'_>> {
        let keys = self.keys.iter();
        keys.map(|key| RecordParts { key: Some(key.as_bytes()), data: &self.data, attributes: None }).collect()
    }
}

/// Puts `calls` times, with so many calls on their way at once.
fn pump_stream(stream: &Stream, entries: &[PutRecordsEntry<'_>], calls: usize, ahead: usize) -> Result<Duration> {
    let (took, ()) = timed(|| {
        let mut tickets = VecDeque::new();
        for _ in 0..calls {
            if tickets.len() == ahead
                && let Some(oldest) = tickets.pop_front()
            {
                let oldest: braidlog::stream::PutTicket = oldest;
                assert_eq!(oldest.wait().failed_record_count(), 0);
            }
            tickets.push_back(stream.put_records_ticket(entries)?);
        }
        tickets.into_iter().for_each(|ticket| assert_eq!(ticket.wait().failed_record_count(), 0));
        Ok(())
    })?;
    Ok(took)
}

fn pump_log(log: &Log, parts: &[RecordParts<'_>], calls: usize, ahead: usize) -> Result<Duration> {
    let (took, ()) = timed(|| {
        let mut tickets = VecDeque::new();
        for _ in 0..calls {
            if tickets.len() == ahead
                && let Some(oldest) = tickets.pop_front()
            {
                let oldest: braidlog::Ticket = oldest;
                oldest.wait()?;
            }
            tickets.push_back(log.append_batch_ticket(parts)?);
        }
        Ok(tickets.into_iter().try_for_each(|ticket| ticket.wait().map(drop))?)
    })?;
    Ok(took)
}

/// PutRecords of 500 x 1 KiB against the log's own append of the same.
fn put(rounds: usize) -> Result<Vec<Row>> {
    let mut row = Row::new("put_records, 500 x 1 KiB, durable", "ns/rec", Bar::Within(1.3), "the log's append");
    let mut waiting = Row::new("  the same, one call after the other", "ns/rec", Bar::Within(1.3), "the log's append");
    let (records, calls) = (Records::new(500, 1024), sized(400, 2));
    let dir = support::scratch(&support::directory())?;
    let engine = engine(&dir.path().join("store"))?;
    let stream = engine.create_stream("s", StreamOptions::new())?;
    let log = engine.store().create_log("log", Default::default())?;
    let (entries, parts) = (records.entries(), records.parts());
    support::rest(dir.path())?;
    for _ in 0..rounds {
        for (row, ahead) in [(&mut row, 8), (&mut waiting, 1)] {
            let ours = pump_stream(&stream, &entries, calls, ahead)?;
            support::settle(dir.path())?;
            let limit = pump_log(&log, &parts, calls, ahead)?;
            support::settle(dir.path())?;
            let each = (calls * entries.len()) as f64;
            row.push(ours.as_nanos() as f64 / each, limit.as_nanos() as f64 / each);
        }
    }
    Ok(vec![row, waiting])
}

/// What one shard takes durably in batches.
fn one_shard(rounds: usize) -> Result<Vec<Row>> {
    let mut bytes = Row::new("one shard, 500 x 1 KiB a call, durable", "MB/s", Bar::AtLeast(500.0), "");
    let mut count = Row::new("one shard, 500 x 100 B a call, durable", "rec/s", Bar::AtLeast(1e6), "");
    let dir = support::scratch(&support::directory())?;
    let engine = engine(&dir.path().join("store"))?;
    let stream = engine.create_stream("s", StreamOptions::new())?;
    support::rest(dir.path())?;
    for _ in 0..rounds {
        for (row, size, calls) in [(&mut bytes, 1024, sized(1000, 2)), (&mut count, 100, sized(4000, 2))] {
            let records = Records::new(500, size);
            let took = pump_stream(&stream, &records.entries(), calls, 16)?.as_secs_f64();
            let records = (calls * 500) as f64;
            row.push(if size == 100 { records / took } else { records * size as f64 / took / 1e6 }, 1.0);
            support::settle(dir.path())?;
        }
    }
    Ok(vec![bytes, count])
}

/// The same records to one shard and to many.
fn many_shards(rounds: usize) -> Result<Vec<Row>> {
    let shards = sized(1024, 8);
    let what = format!("put_records, 500 x 1 KiB, over {shards} shards");
    let mut row = Row::new(what, "ns/rec", Bar::Within(1.5), "over one shard");
    let (records, calls) = (Records::new(500, 1024), sized(200, 2));
    let dir = support::scratch(&support::directory())?;
    let engine = engine(&dir.path().join("store"))?;
    let many = engine.create_stream("many", StreamOptions::new().shards(shards))?;
    let one = engine.create_stream("one", StreamOptions::new())?;
    // The journal makes its files and the shards begin their segments once, not each time.
    for _ in 0..sized(4, 1) {
        pump_stream(&many, &records.entries(), calls, 8)?;
        support::settle(dir.path())?;
    }
    support::rest(dir.path())?;
    for _ in 0..rounds {
        rest(&engine, dir.path())?;
        let ours = pump_stream(&many, &records.entries(), calls, 8)?;
        rest(&engine, dir.path())?;
        let limit = pump_stream(&one, &records.entries(), calls, 8)?;
        let each = (calls * 500) as f64;
        row.push(ours.as_nanos() as f64 / each, limit.as_nanos() as f64 / each);
    }
    Ok(vec![row])
}

/// From durable to the subscriber's hands.
fn fan_out(rounds: usize) -> Result<Vec<Row>> {
    let mut p50 = Row::new("fan-out, put acknowledged to event in hand, p50", "us", Bar::Told, "");
    let mut p99 = Row::new("  the same, p99", "us", Bar::AtMost(200.0), "");
    let dir = support::scratch(&support::directory())?;
    let engine = engine(&dir.path().join("store"))?;
    for round in 0..rounds {
        let stream = engine.create_stream(&format!("s{round}"), StreamOptions::new())?;
        let shard = stream.shards()[0].shard_id;
        stream.register_consumer("one", [("a", "b")])?;
        let calls = sized(2000, 10);
        // When the writer was told, and when the subscriber had it: both as of one clock.
        let start = Instant::now();
        let had: Vec<AtomicU64> = (0..calls).map(|_| AtomicU64::new(0)).collect();
        let mut late = Vec::new();
        std::thread::scope(|scope| -> Result<()> {
            let mut subscription =
                stream.subscribe("one", shard, StartingPosition::Latest, SubscriptionOptions::new())?;
            let had = &had;
            scope.spawn(move || {
                let mut next = 0;
                while next < calls {
                    let Ok(Some(event)) = subscription.next_event(Some(Duration::from_secs(10))) else { return };
                    let now = start.elapsed().as_nanos() as u64;
                    for _ in &event.records {
                        had[next].store(now, Ordering::Release);
                        next += 1;
                    }
                }
            });
            for had in had {
                stream.put_record("user-1", &[7; 100])?;
                let told = start.elapsed().as_nanos() as u64;
                while had.load(Ordering::Acquire) == 0 {
                    std::thread::yield_now();
                }
                late.push(had.load(Ordering::Acquire).saturating_sub(told) as f64 / 1e3);
            }
            Ok(())
        })?;
        p50.push(percentile(&late, 0.5), 1.0);
        p99.push(percentile(&late, 0.99), 1.0);
    }
    Ok(vec![p50, p99])
}

/// What a hundred subscribers on one shard cost its writer: as tasks of one thread, which is how the server drives them, and
/// each with a thread of its own.
fn subscribers(rounds: usize) -> Result<Vec<Row>> {
    let count = sized(100, 3);
    let what = format!("put_records, 100 x 1 KiB, {count} subscribers on the shard, as tasks");
    let mut tasks = Row::new(what, "ns/rec", Bar::Within(1.05), "without subscribers");
    let mut tasks_behind = Row::new("  until the last of them has all, after the writer", "ms", Bar::Told, "");
    let mut threads = Row::new("  the same, each on a thread of its own", "ns/rec", Bar::Told, "without subscribers");
    let mut threads_behind = Row::new("  until the last of them has all, after the writer", "ms", Bar::Told, "");
    let dir = support::scratch(&support::directory())?;
    let options = EngineOptions::new().maintenance_interval(None).consumers_max(Some(count as u32));
    let engine = Engine::open_with(dir.path().join("store"), options)?;
    let stream = engine.create_stream("s", StreamOptions::new())?;
    let shard = stream.shards()[0].shard_id;
    let consumers: Vec<String> = (0..count).map(|i| format!("c{i}")).collect();
    for consumer in &consumers {
        stream.register_consumer(consumer, [("a", "b")])?;
    }
    let (records, calls) = (Records::new(100, 1024), sized(1000, 2));
    let (entries, all) = (records.entries(), calls * 100);
    let pump = || -> Result<(Duration, Instant)> { Ok((pump_stream(&stream, &entries, calls, 8)?, Instant::now())) };
    let subscribe =
        |consumer: &String| stream.subscribe(consumer, shard, StartingPosition::Latest, SubscriptionOptions::new());
    let each = |took: Duration| took.as_nanos() as f64 / all as f64;
    pump()?;
    support::rest(dir.path())?;
    // What the machine does changes from one second to the next: all three are taken by turns, some times a round.
    for _ in 0..rounds * sized(3, 1) {
        rest(&engine, dir.path())?;
        let (without, _) = pump()?;
        rest(&engine, dir.path())?;
        let subscriptions: Vec<_> = consumers.iter().map(subscribe).collect::<Result<_, _>>()?;
        let ((took, done), had) = std::thread::scope(|scope| -> Result<_> {
            let readers = scope.spawn(move || {
                support::tasks::run(subscriptions.into_iter().map(|subscription| take_tasked(subscription, all)));
                Instant::now()
            });
            let written = pump()?;
            Ok((written, readers.join().map_err(|_| "a reader failed")?))
        })?;
        tasks.push(each(took), each(without));
        tasks_behind.push(had.saturating_duration_since(done).as_secs_f64() * 1e3, 1.0);
        rest(&engine, dir.path())?;
        let subscriptions: Vec<_> = consumers.iter().map(subscribe).collect::<Result<_, _>>()?;
        let ((took, done), had) = std::thread::scope(|scope| -> Result<_> {
            let readers: Vec<_> = subscriptions
                .into_iter()
                .map(|subscription| scope.spawn(move || take_blocking(subscription, all)))
                .collect();
            let written = pump()?;
            for reader in readers {
                reader.join().map_err(|_| "a reader failed")?;
            }
            Ok((written, Instant::now()))
        })?;
        threads.push(each(took), each(without));
        threads_behind.push(had.saturating_duration_since(done).as_secs_f64() * 1e3, 1.0);
    }
    Ok(vec![tasks, tasks_behind, threads, threads_behind])
}

/// Takes so many records, as the server does: waits, and asks for an event that is there.
async fn take_tasked(mut subscription: Subscription, all: usize) {
    let mut had = 0;
    while had < all {
        subscription.ready().await;
        let event = subscription.next_event(Some(Duration::ZERO)).expect("the subscription holds");
        had += event.map_or(0, |event| event.records.len());
    }
}

fn take_blocking(mut subscription: Subscription, all: usize) {
    let mut had = 0;
    while had < all {
        let event = subscription.next_event(None).expect("the subscription holds");
        had += event.map_or(0, |event| event.records.len());
    }
}

/// A read through a token over the same read without.
fn get_records(rounds: usize) -> Result<Vec<Row>> {
    let mut row = Row::new("get_records through a token, one record, more than a raw read", "us", Bar::AtMost(2.0), "");
    let dir = support::scratch(&support::directory())?;
    let engine = engine(&dir.path().join("store"))?;
    let stream = engine.create_stream("s", StreamOptions::new())?;
    pump_stream(&stream, &Records::new(500, 100).entries(), sized(100, 1), 8)?;
    engine.store().checkpoint()?;
    let shard = stream.shards()[0].shard_id;
    let places: Vec<_> =
        stream.read(shard, StartingPosition::TrimHorizon)?.step_by(97).take(500).collect::<Result<_, _>>()?;
    for _ in 0..rounds {
        let at = |record: &braidlog::stream::Record| StartingPosition::AtSequenceNumber(record.sequence_number);
        let tokens: Vec<String> =
            places.iter().map(|record| stream.shard_iterator(shard, at(record))).collect::<Result<_, _>>()?;
        let (through, ()) = timed(|| {
            for token in &tokens {
                assert_eq!(engine.get_records(token, 1)?.records.len(), 1);
            }
            Ok(())
        })?;
        let (raw, ()) = timed(|| {
            for record in &places {
                assert_eq!(stream.read(shard, at(record))?.read(1, 1 << 20)?.len(), 1);
            }
            Ok(())
        })?;
        row.push((through.as_nanos() as f64 - raw.as_nanos() as f64) / 1e3 / tokens.len() as f64, 1.0);
    }
    Ok(vec![row])
}

/// How long the writers of a stream stand still while it is split.
fn split(rounds: usize) -> Result<Vec<Row>> {
    let mut stall =
        Row::new("split under 8 writers: longest put that met it", "ms", Bar::AtMost(10.0), "p99.9 without");
    let dir = support::scratch(&support::directory())?;
    let engine = engine(&dir.path().join("store"))?;
    for round in 0..rounds {
        let stream = engine.create_stream(&format!("s{round}"), StreamOptions::new())?;
        let (start, over, splitting) = (Barrier::new(9), AtomicBool::new(false), AtomicBool::new(false));
        let mut met = Vec::new();
        let mut others = Vec::new();
        std::thread::scope(|scope| -> Result<()> {
            let writers: Vec<_> = (0..8)
                .map(|writer| {
                    let (stream, start, over, splitting) = (&stream, &start, &over, &splitting);
                    scope.spawn(move || {
                        let records = Records::new(20, 1024);
                        let entries = records.entries();
                        let (mut met, mut others) = (Vec::new(), Vec::new());
                        start.wait();
                        while !over.load(Ordering::Relaxed) {
                            let began = splitting.load(Ordering::SeqCst);
                            let at = Instant::now();
                            let put = stream.put_records(&entries).map(|put| put.failed_record_count());
                            let took = at.elapsed().as_secs_f64() * 1e3;
                            assert_eq!(put.ok(), Some(0), "writer {writer}");
                            let ended = splitting.load(Ordering::SeqCst);
                            if began || ended { met.push(took) } else { others.push(took) }
                        }
                        (met, others)
                    })
                })
                .collect();
            start.wait();
            for i in 1..sized(8u32, 2) {
                std::thread::sleep(sized(Duration::from_millis(50), Duration::from_millis(1)));
                let last = stream.open_shards().last().map(|shard| (shard.shard_id, shard.hash_key_range));
                let Some((shard, HashKeyRange { start, end })) = last else { break };
                splitting.store(true, Ordering::SeqCst);
                stream.split_shard(shard, HashKey(start.0 + (end.0 - start.0) / 2 + u128::from(i)))?;
                splitting.store(false, Ordering::SeqCst);
            }
            over.store(true, Ordering::Relaxed);
            for writer in writers {
                let (m, o) = writer.join().map_err(|_| "a writer failed")?;
                met.extend(m);
                others.extend(o);
            }
            Ok(())
        })?;
        stall.push(percentile(&met, 1.0), percentile(&others, 0.999));
    }
    Ok(vec![stall])
}

/// A consumer group against a plain scan of the same shards: of what it reads in a twentieth of a second, where taking the
/// leases and giving them back shows, and of four times as much.
fn group(rounds: usize) -> Result<Vec<Row>> {
    let (workers, shards) = (8, sized(64, 4));
    let dir = support::scratch(&support::directory())?;
    let engine = engine(&dir.path().join("store"))?;
    let stream = engine.create_stream("s", StreamOptions::new().shards(shards))?;
    let records = Records::new(500, 1024);
    let (mut total, mut rows) = (0, Vec::new());
    for calls in [sized(1000, 2), sized(3000, 2)] {
        pump_stream(&stream, &records.entries(), calls, 8)?;
        engine.store().checkpoint()?;
        total += (calls * 500) as u64;
        let bytes = total as f64 * 1024.0;
        let size = table::figure(bytes / 1e9);
        let what = format!("consumer group, {workers} workers over {shards} shards, {size} GB of 1 KiB");
        let mut row = Row::new(what, "MB/s", Bar::Reach(0.8), "a plain scan by as many threads");
        for round in 0..=rounds {
            let plain = scan_shards(&stream, workers)?;
            let group = stream.consumer_group(&format!("g{total}-{round}"), GroupOptions::new())?;
            let took = read_as_group(&group, workers, total)?;
            // The first round verifies every batch.
            if round > 0 {
                row.push(bytes / took.as_secs_f64() / 1e6, bytes / plain.as_secs_f64() / 1e6);
            }
        }
        rows.push(row);
    }
    Ok(rows)
}

/// What is done with a record in hand: its first and its last line are looked at.
fn look(data: &[u8]) -> u64 {
    u64::from(data[0]) + u64::from(data[data.len() - 1])
}

fn scan_shards(stream: &Stream, threads: usize) -> Result<Duration> {
    let ids: Vec<_> = stream.shards().iter().map(|shard| shard.shard_id).collect();
    let (took, ()) = timed(|| {
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..threads)
                .map(|thread| {
                    let ids = &ids;
                    scope.spawn(move || -> braidlog::Result<u64> {
                        let mut sum = 0;
                        for shard in ids.iter().skip(thread).step_by(threads) {
                            let mut reader = stream.read(*shard, StartingPosition::TrimHorizon)?;
                            loop {
                                let records = reader.read(10_000, 4 << 20)?;
                                if records.is_empty() {
                                    break;
                                }
                                sum += records.iter().map(|record| look(&record.data)).sum::<u64>();
                            }
                        }
                        Ok(sum)
                    })
                })
                .collect();
            for reader in readers {
                std::hint::black_box(reader.join().map_err(|_| "a reader failed")??);
            }
            Ok(())
        })
    })?;
    Ok(took)
}

/// Until `total` records were processed and every worker has returned.
fn read_as_group(group: &ConsumerGroup, workers: usize, total: u64) -> Result<Duration> {
    let (seen, waiting) = (AtomicU64::new(0), std::thread::current());
    let mut ready = Vec::new();
    for worker in 0..workers {
        ready.push(group.worker(&format!("w{worker}"), |_| {
            let (seen, waiting) = (&seen, &waiting);
            move |batch: &mut RecordBatch<'_>| {
                let sum: u64 = batch.records().iter().map(|record| look(&record.data)).sum();
                std::hint::black_box(sum);
                let count = batch.records().len() as u64;
                if seen.fetch_add(count, Ordering::Relaxed) + count >= total {
                    waiting.unpark();
                }
                Ok(())
            }
        })?);
    }
    let (took, ()) = timed(|| {
        std::thread::scope(|scope| {
            let stops: Vec<_> = ready.iter().map(|worker| worker.stop_handle()).collect();
            let threads: Vec<_> = ready.iter_mut().map(|worker| scope.spawn(move || worker.run())).collect();
            while seen.load(Ordering::Relaxed) < total && !threads.iter().any(|thread| thread.is_finished()) {
                std::thread::park_timeout(Duration::from_millis(100));
            }
            stops.iter().for_each(|stop| stop.stop());
            for thread in threads {
                thread.join().map_err(|_| "a worker failed")??;
            }
            Ok(())
        })
    })?;
    assert_eq!(seen.load(Ordering::Relaxed), total);
    Ok(took)
}
