//! The speed table: every row of the project's bars beside the machine's own limit, measured in the same rounds.
//!
//! ```text
//! cargo bench --bench speed -- [--dir D] [--rounds N] [--only NAME,..] [--quick | --full] [--minutes M] [--list]
//! ```
//!
//! A row's figure is the median of its rounds; the limit's rounds lie between them. `others` is what the rest of the machine
//! took of a processor meanwhile; above half of one the bar is not judged. `--quick` is for a first look. `--full`
//! takes the sizes the bars name: a log of 4 GiB, a directory of 100 GiB, 100,000 logs; it takes an hour and 40 GiB.
//! Without `--bench`, as under `cargo test`, everything is tiny and the figures mean nothing.

mod support;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use braidlog::{Durability, Error, Log, LogOptions, StartAt, Store, StoreOptions, Ticket};

use support::table::{self, Bar, Neighbours, Row};
use support::work::{self, Callers, Scan, Until};
use support::{Result, floor, median, percentile, sparse, timed};

/// How large everything is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scale {
    Tiny,
    Quick,
    Usual,
    Full,
}

/// What was asked for.
struct Plan {
    dir: PathBuf,
    rounds: usize,
    only: Vec<String>,
    scale: Scale,
    minutes: f64,
    list: bool,
}

impl Plan {
    fn from_arguments() -> Result<Plan> {
        let scale = if support::measuring() { Scale::Usual } else { Scale::Tiny };
        let mut plan =
            Plan { dir: support::directory(), rounds: 0, only: Vec::new(), scale, minutes: 10.0, list: false };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--dir" => plan.dir = value()?.into(),
                "--rounds" => plan.rounds = value()?.parse()?,
                "--only" => plan.only = value()?.split(',').map(str::to_owned).collect(),
                "--minutes" => plan.minutes = value()?.parse()?,
                "--quick" => plan.scale = Scale::Quick,
                "--full" => plan.scale = Scale::Full,
                "--list" => plan.list = true,
                // What cargo and test runners say to every bench.
                _ => {}
            }
        }
        if plan.rounds == 0 {
            plan.rounds = plan.sized(1, 3, 5, 7);
        }
        Ok(plan)
    }

    fn sized<T>(&self, tiny: T, quick: T, usual: T, full: T) -> T {
        match self.scale {
            Scale::Tiny => tiny,
            Scale::Quick => quick,
            Scale::Usual => usual,
            Scale::Full => full,
        }
    }

    /// How long one side of a round lasts.
    fn spell(&self) -> Duration {
        Duration::from_millis(self.sized(10, 400, 1000, 2000))
    }
}

type Experiment = fn(&Plan) -> Result<Vec<Row>>;

const EXPERIMENTS: [(&str, Experiment); 17] = [
    ("buffered-batch", |plan| buffered(plan, 100, Bar::Within(1.6))),
    ("buffered-single", |plan| buffered(plan, 1, Bar::Within(3.0))),
    ("durable-4k", durable_4k),
    ("durable-callers", durable_callers),
    ("durable-spread", durable_spread),
    ("bulk", bulk),
    ("scan-1k", |plan| scan(plan, 1024)),
    ("scan-100", |plan| scan(plan, 100)),
    ("seek-log", seek_log),
    ("segments", segments),
    ("idle", idle),
    ("recovery", recovery),
    ("space", space),
    ("retention", retention),
    ("hot-log", hot_log),
    ("active-one", |plan| active(plan, true)),
    ("active", |plan| active(plan, false)),
];

fn main() -> Result<()> {
    let plan = Plan::from_arguments()?;
    if plan.list {
        EXPERIMENTS.iter().for_each(|(name, _)| println!("{name}"));
        return Ok(());
    }
    std::fs::create_dir_all(&plan.dir)?;
    println!(
        "braidlog {} in {}, {:?}, {} rounds",
        env!("CARGO_PKG_VERSION"),
        plan.dir.display(),
        plan.scale,
        plan.rounds
    );
    table::header();
    for (name, experiment) in EXPERIMENTS {
        if plan.only.is_empty() || plan.only.iter().any(|wanted| name.contains(wanted.as_str())) {
            support::warm_memory(plan.sized(0, 4 << 30, 4 << 30, 8 << 30));
            let neighbours = Neighbours::look();
            let rows = experiment(&plan)?;
            let others = neighbours.share();
            rows.iter().for_each(|row| row.print(others));
        }
    }
    Ok(())
}

fn buffered_store(dir: &Path) -> Result<(Store, Log)> {
    let store = Store::open(dir)?;
    let log = store.create_log("log", support::log_options(Durability::Buffered))?;
    Ok((store, log))
}

/// Buffered append of 100 B records by one thread.
fn buffered(plan: &Plan, per_call: usize, bar: Bar) -> Result<Vec<Row>> {
    let what = match per_call {
        1 => "Buffered append, 100 B, one thread, one record a call".to_owned(),
        n => format!("Buffered append, 100 B, one thread, in batches of {n}"),
    };
    let mut row = Row::new(what, "ns/rec", bar, "copy+header+crc, page cache");
    let records = work::records(100);
    let count = plan.sized(10_000u64, 1_000_000, 3_000_000, 5_000_000);
    for _ in 0..plan.rounds {
        let dir = support::scratch(&plan.dir)?;
        let (store, log) = buffered_store(&dir.path().join("store"))?;
        work::stream(&log, &records, per_call, count / per_call as u64 / 10)?;
        support::rest(&plan.dir)?;
        let took = work::stream(&log, &records, per_call, count / per_call as u64)?;
        drop((log, store));
        support::settle(&plan.dir)?;
        let limit = floor::append(dir.path(), &records, count)?;
        row.push(took.as_nanos() as f64 / count as f64, limit.as_nanos() as f64 / count as f64);
    }
    Ok(vec![row])
}

/// Durable append of 4 KiB by one caller.
fn durable_4k(plan: &Plan) -> Result<Vec<Row>> {
    let mut p50 =
        Row::new("Durable append, one caller, 4 KiB, p50", "us", Bar::Within(1.15), "bare direct write, dsync");
    let mut p99 = Row::new("  the same, p99", "us", Bar::Told, "the same");
    let mut patient = Row::new("  without an append deadline, p50", "us", Bar::Told, "the same");
    let dir = support::scratch(&plan.dir)?;
    let mut bare = floor::PreWritten::new(dir.path(), plan.sized(1 << 20, 16 << 20, 16 << 20, 16 << 20))?;
    let store = Store::open(dir.path().join("store"))?;
    let log = store.create_log("log", LogOptions::new())?;
    let endless = StoreOptions::new().append_deadline(Duration::MAX);
    let other = Store::open_with(dir.path().join("other"), endless)?;
    let patient_log = other.create_log("log", LogOptions::new())?;
    let (record, block) = (vec![7u8; 4096], floor::block_of(4096));
    support::rest(&plan.dir)?;
    for _ in 0..plan.rounds {
        let (mut ours, mut longer, mut limit) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..plan.sized(1, 8, 20, 40) {
            for (log, latencies) in [(&log, &mut ours), (&patient_log, &mut longer)] {
                for _ in 0..plan.sized(2, 50, 50, 50) {
                    let (took, _) = timed(|| Ok(log.append(&record)?))?;
                    latencies.push(took.as_secs_f64() * 1e6);
                }
            }
            for _ in 0..plan.sized(2, 50, 50, 50) {
                let (took, ()) = timed(|| Ok(bare.write(&block)?))?;
                limit.push(took.as_secs_f64() * 1e6);
            }
        }
        p50.push(median(&ours), median(&limit));
        p99.push(percentile(&ours, 0.99), percentile(&limit, 0.99));
        patient.push(median(&longer), median(&limit));
    }
    drop((log, patient_log));
    store.close()?;
    other.close()?;
    Ok(vec![p50, p99, patient])
}

fn durable_logs(store: &Store, count: usize) -> Result<Vec<Log>> {
    work::create(store, count, &LogOptions::new())
}

/// Durable append of 100 B to one log by one, by many, and ahead of the acknowledgements.
fn durable_callers(plan: &Plan) -> Result<Vec<Row>> {
    let parked = plan.sized(4, 64, 64, 64);
    let mut rows = [
        Row::new("Durable append, 100 B, one log: one caller, p50", "us", Bar::Told, "bare direct write, dsync"),
        Row::new("  64 parked threads, p50", "us", Bar::Within(2.5), "one caller's p50"),
        Row::new("  64 parked threads, throughput", "rec/s", Bar::Reach(20.0), "one caller's"),
        Row::new("  64 tickets held by 4 threads, throughput", "rec/s", Bar::Reach(40.0), "one caller's"),
        Row::new("  64 tickets held by 4 threads, p50", "us", Bar::Told, "one caller's p50"),
    ];
    let dir = support::scratch(&plan.dir)?;
    let mut bare = floor::PreWritten::new(dir.path(), 4 << 20)?;
    let store = Store::open(dir.path().join("store"))?;
    let logs = durable_logs(&store, 1)?;
    let (record, block) = ([7u8; 100], floor::block_of(4096));
    support::rest(&plan.dir)?;
    for _ in 0..plan.rounds {
        let drive = |callers| work::drive(&logs, callers, &record, Until::time(plan.spell()));
        let one = drive(Callers::One)?;
        let many = drive(Callers::Parked(parked))?;
        let ahead = drive(Callers::Tickets { threads: 4, held: 64 })?;
        let mut bare_latencies = Vec::new();
        for _ in 0..plan.sized(2, 500, 500, 500) {
            let (took, ()) = timed(|| Ok(bare.write(&block)?))?;
            bare_latencies.push(took.as_secs_f64() * 1e6);
        }
        let (p50, rate) = (median(&one.latencies), one.rate());
        rows[0].push(p50, median(&bare_latencies));
        rows[1].push(median(&many.latencies), p50);
        rows[2].push(many.rate(), rate);
        rows[3].push(ahead.rate(), rate);
        rows[4].push(median(&ahead.latencies), p50);
    }
    store.close()?;
    Ok(rows.into())
}

/// Durable append of 100 B spread over many logs, against one.
fn durable_spread(plan: &Plan) -> Result<Vec<Row>> {
    let (count, parked) = plan.sized((8, 4), (256, 64), (256, 64), (256, 64));
    let mut rows = Vec::new();
    for callers in [Callers::Parked(parked), Callers::Tickets { threads: 4, held: parked }] {
        let what = format!("Durable append, 100 B, {callers} over {count} logs");
        rows.push(Row::new(format!("{what}, p50"), "us", Bar::Within(1.5), "over one log"));
        rows.push(Row::new(format!("{what}, throughput"), "rec/s", Bar::Reach(0.8), "over one log"));
    }
    let dir = support::scratch(&plan.dir)?;
    let store = Store::open(dir.path().join("store"))?;
    let logs = durable_logs(&store, count)?;
    let record = [7u8; 100];
    support::rest(&plan.dir)?;
    for _ in 0..plan.rounds {
        for (i, callers) in
            [Callers::Parked(parked), Callers::Tickets { threads: 4, held: parked }].into_iter().enumerate()
        {
            let one = work::drive(&logs[..1], callers, &record, Until::time(plan.spell()))?;
            let spread = work::drive(&logs, callers, &record, Until::time(plan.spell()))?;
            rows[2 * i].push(median(&spread.latencies), median(&one.latencies));
            rows[2 * i + 1].push(spread.rate(), one.rate());
        }
    }
    store.close()?;
    Ok(rows)
}

/// Durable append of 64 KiB records as fast as it goes.
fn bulk(plan: &Plan) -> Result<Vec<Row>> {
    const RECORD: usize = 64 << 10;
    let mut row = Row::new("Durable bulk, 64 KiB records", "MB/s", Bar::Reach(0.85), "best durable sequential write");
    let mut batched = Row::new("  the same, 16 records a call", "MB/s", Bar::Told, "the same");
    let mut fresh = Row::new("  the first again", "MB/s", Bar::Told, "the same bytes into room never written");
    let total = plan.sized(2u64 << 20, 128 << 20, 512 << 20, 1 << 30);
    let dir = support::scratch(&plan.dir)?;
    let mut bare = floor::PreWritten::new(dir.path(), plan.sized(2 << 20, 256 << 20, 256 << 20, 512 << 20))?;
    let (block, depth) = bare.best_pipeline(plan.sized(1 << 20, 64 << 20, 128 << 20, 256 << 20))?;
    let records = work::records(RECORD);
    for round in 0..plan.rounds {
        let store_dir = dir.path().join(format!("store-{round}"));
        let store = Store::open(&store_dir)?;
        let mut rates = Vec::new();
        for per_call in [1, 16] {
            let log = store.create_log(&format!("bulk-{per_call}"), LogOptions::new())?;
            work::stream(&log, &records, per_call, (8 << 20) / (per_call * RECORD) as u64)?;
            support::rest(&plan.dir)?;
            let calls = total / (per_call * RECORD) as u64;
            let took = work::stream(&log, &records, per_call, calls)?;
            rates.push((calls * (per_call * RECORD) as u64) as f64 / took.as_secs_f64() / 1e6);
        }
        drop(store);
        std::fs::remove_dir_all(store_dir)?;
        support::settle(&plan.dir)?;
        let limit = bare.pipeline(block, depth, total)? / 1e6;
        support::settle(&plan.dir)?;
        fresh.push(rates[0], floor::fresh_room(dir.path(), total)? / 1e6);
        support::settle(&plan.dir)?;
        row.push(rates[0], limit);
        batched.push(rates[1], limit);
    }
    row.what = format!("{} (limit: {} KiB x {depth})", row.what, block >> 10);
    Ok(vec![row, batched, fresh])
}

/// Reading a log from end to end, from the page cache.
fn scan(plan: &Plan, record_bytes: usize) -> Result<Vec<Row>> {
    let large = record_bytes >= 1024;
    let size = if large { "1 KiB" } else { "100 B" };
    let (unit, sum) = if large { ("GB/s", "mapped sum, mapped before") } else { ("ns/rec", "mapped sum") };
    let bar = |large_bar, small_bar| if large { large_bar } else { small_bar };
    let mut rows = [
        Row::new(
            format!("scan, {size}, verified before, every byte summed"),
            unit,
            bar(Bar::Reach(0.7), Bar::Told),
            sum,
        ),
        Row::new(format!("scan, {size}, verified before, walked"), unit, bar(Bar::Told, Bar::AtMost(8.0)), sum),
        Row::new(format!("scan, {size}, verified before, owned records, summed"), unit, Bar::Told, sum),
        Row::new(
            format!("scan, {size}, first, with verification, summed"),
            unit,
            bar(Bar::Reach(0.5), Bar::Told),
            "mapped sum, mapped anew",
        ),
    ];
    let dir = support::scratch(&plan.dir)?;
    let store_dir = dir.path().join("store");
    let (store, log) = buffered_store(&store_dir)?;
    let records = work::fill(&log, record_bytes, plan.sized(1 << 20, 128 << 20, 512 << 20, 2 << 30))?;
    drop(log);
    store.close()?;
    let files = support::segment_files(&store_dir, "seg")?;
    let bytes = support::bytes_of(&files)? as f64;
    let figure = |took: Duration| {
        if large { bytes / took.as_secs_f64() / 1e9 } else { took.as_nanos() as f64 / records as f64 }
    };
    floor::read_and_check(&files)?;
    for _ in 0..plan.rounds {
        let store = Store::open(&store_dir)?;
        let log = store.log("log")?;
        let run = |how| -> Result<f64> {
            let (took, seen) = work::scan(&log, how)?;
            assert_eq!(seen, records, "a scan must see every record");
            Ok(figure(took))
        };
        let first = run(Scan::Sum)?;
        let map = floor::Mapped::new(&files)?;
        let anew = figure(map.sum());
        let again = figure(map.sum());
        rows[0].push(run(Scan::Sum)?, again);
        rows[1].push(run(Scan::Walk)?, again);
        rows[2].push(run(Scan::OwnedSum)?, again);
        rows[3].push(first, anew);
        drop((map, log));
        store.close()?;
    }
    Ok(rows.into())
}

/// Seeks to the same random places by number and by time; nanoseconds each.
fn seeks(log: &Log, places: usize) -> Result<(f64, f64)> {
    let places = work::places(log, places)?;
    let numbers: Vec<StartAt> = places.iter().map(|place| StartAt::Sequence(place.0)).collect();
    let times: Vec<StartAt> = places.iter().map(|place| StartAt::Time(place.1)).collect();
    // Warm: what lies at these places has been read and verified once.
    work::seek(log, &times)?;
    work::seek(log, &numbers)?;
    let repeat = |starts: &[StartAt]| -> Result<f64> {
        (0..5).map(|_| work::seek(log, starts)).collect::<Result<Vec<_>>>().map(|figures| median(&figures))
    };
    Ok((repeat(&numbers)?, repeat(&times)?))
}

fn seek_rows(what: &str) -> [Row; 3] {
    [
        Row::new(format!("seek by number, to the record, {what}"), "us", Bar::AtMost(1.0), "look-up in a sorted array"),
        Row::new(format!("seek by time, to the record, {what}"), "us", Bar::AtMost(1.0), "look-up in a sorted array"),
        Row::new(format!("index, {what}"), "% of data", Bar::AtMost(0.1), ""),
    ]
}

/// Seeks in one long log.
fn seek_log(plan: &Plan) -> Result<Vec<Row>> {
    let bytes = plan.sized(4 << 20, 256 << 20, 1 << 30, 4u64 << 30);
    let dir = support::scratch(&plan.dir)?;
    let store_dir = dir.path().join("store");
    let (store, log) = buffered_store(&store_dir)?;
    work::fill(&log, 100, bytes)?;
    drop(log);
    store.close()?;
    let store = Store::open(&store_dir)?;
    let log = store.log("log")?;
    let mut rows = seek_rows(&format!("a log of {} MiB of 100 B", bytes >> 20));
    let entries = (bytes / (32 << 10)) as usize;
    for _ in 0..plan.rounds {
        let (number, time) = seeks(&log, plan.sized(50, 1000, 2000, 2000))?;
        let limit = floor::look_up(entries, plan.sized(1000, 100_000, 100_000, 100_000));
        rows[0].push(number / 1e3, limit / 1e3);
        rows[1].push(time / 1e3, limit / 1e3);
    }
    let (index, data) = index_share(&store_dir)?;
    rows[2].push(index / data * 100.0, 0.0);
    store.close()?;
    Ok(rows.into())
}

fn index_share(store_dir: &Path) -> Result<(f64, f64)> {
    let bytes = |extension| support::bytes_of(&support::segment_files(store_dir, extension)?);
    Ok((bytes("idx")? as f64, bytes("seg")? as f64))
}

/// A directory of 400 segments: open, and seek. Its records are zeros, which a disk of the bench's own leaves out.
fn segments(plan: &Plan) -> Result<Vec<Row>> {
    const COUNT: u64 = 400;
    let segment_bytes = plan.sized(64u64 << 10, 2 << 20, 4 << 20, 256 << 20);
    let total = COUNT * segment_bytes;
    let dir = support::scratch(&plan.dir)?;
    let store_dir = dir.path().join("store");
    let store = Store::open_in(sparse::env(&store_dir)?, StoreOptions::new())?;
    let options = support::log_options(Durability::Buffered).segment_bytes_max(segment_bytes);
    let log = store.create_log("log", options)?;
    // Batches of one record of this size: as many entries in the index as the batches of a busy log of small records have.
    let record_bytes = plan.sized(8usize << 10, 32 << 10, 32 << 10, 64 << 10);
    let zeros = vec![vec![0u8; record_bytes]; 4];
    let mut left = total / record_bytes as u64;
    while left > 0 {
        let now = left.min(4096);
        work::stream(&log, &zeros, 1, now)?;
        left -= now;
        std::thread::sleep(Duration::from_millis(plan.sized(0, 0, 0, 1)));
    }
    drop(log);
    store.close()?;

    let mut rows = Vec::from(seek_rows(&format!("{} MiB in 400 segments", total >> 20)));
    let mut open = Row::new(
        format!("open, {} MiB in 400 segments", total >> 20),
        "ms",
        Bar::AtMost(5.0),
        "open of an empty store",
    );
    let empty_dir = dir.path().join("empty");
    Store::open(&empty_dir)?.close()?;
    let mut found = 0;
    for _ in 0..plan.rounds {
        for _ in 0..plan.sized(1, 3, 3, 5) {
            let (took, store) = timed(|| Ok(Store::open(&store_dir)?))?;
            found = store.log("log")?.info().segments;
            store.close()?;
            let (limit, empty) = timed(|| Ok(Store::open(&empty_dir)?))?;
            empty.close()?;
            open.push(took.as_secs_f64() * 1e3, limit.as_secs_f64() * 1e3);
        }
        let store = Store::open_with(&store_dir, StoreOptions::new().open_files_max(1024))?;
        let (number, time) = seeks(&store.log("log")?, plan.sized(50, 1000, 2000, 2000))?;
        let limit = floor::look_up((total / record_bytes as u64) as usize, plan.sized(1000, 100_000, 100_000, 100_000));
        rows[0].push(number / 1e3, limit / 1e3);
        rows[1].push(time / 1e3, limit / 1e3);
        store.close()?;
    }
    open.what = format!("{} ({found} found)", open.what);
    let (index, data) = index_share(&store_dir)?;
    rows[2].push(index / data * 100.0, 0.0);
    rows.push(open);
    Ok(rows)
}

/// Open of a store with many idle logs, each of which holds a record.
fn idle(plan: &Plan) -> Result<Vec<Row>> {
    let count = plan.sized(20usize, 2_000, 20_000, 100_000);
    let mut open = Row::new(format!("open, {count} idle logs"), "ms", Bar::AtMost(20.0), "open of an empty store");
    let mut first = Row::new(format!("  then the first read of one of {count} idle logs"), "us", Bar::Told, "");
    let dir = support::scratch(&plan.dir)?;
    let (store_dir, empty_dir) = (dir.path().join("store"), dir.path().join("empty"));
    let store = Store::open(&store_dir)?;
    let logs = work::create(&store, count, &LogOptions::new())?;
    work::drive(&logs, Callers::Tickets { threads: 4, held: 256 }, &[7u8; 100], Until::appends(count as u64))?;
    drop(logs);
    store.close()?;
    Store::open(&empty_dir)?.close()?;
    for round in 0..plan.rounds * plan.sized(1, 3, 3, 3) {
        let (took, store) = timed(|| Ok(Store::open(&store_dir)?))?;
        let name = format!("log-{:06}", (round * 7919) % count);
        let (read, ()) = timed(|| {
            let record = store.log(&name)?.read(StartAt::TrimHorizon)?.next();
            assert_eq!(record.ok_or("an idle log lost its record")??.data.len(), 100);
            Ok(())
        })?;
        store.close()?;
        let (limit, empty) = timed(|| Ok(Store::open(&empty_dir)?))?;
        empty.close()?;
        open.push(took.as_secs_f64() * 1e3, limit.as_secs_f64() * 1e3);
        first.push(read.as_secs_f64() * 1e6, 0.0);
    }
    Ok(vec![open, first])
}

/// Open of a store that was not closed, with everything in the journal.
fn recovery(plan: &Plan) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (record_bytes, per_call) in [(100, 100), (1024, 16)] {
        let what = format!("recovery, journal of {record_bytes} B records");
        let mut row = Row::new(what, "GB/s", Bar::AtLeast(1.0), "read and checksum the files");
        let bytes = plan.sized(1u64 << 20, 64 << 20, 192 << 20, 384 << 20);
        for _ in 0..plan.rounds {
            let dir = support::scratch(&plan.dir)?;
            let store_dir = dir.path().join("store");
            // As many files of the usual size as it takes that no checkpoint comes before the end.
            let options = StoreOptions::new().journal_files_max(256).memory_bytes(2 << 30);
            let options = if plan.scale == Scale::Tiny { options.journal_file_bytes(1 << 20) } else { options };
            let store = Store::open_with(&store_dir, options.clone().bulk_bytes(1 << 30))?;
            let log = store.create_log("log", LogOptions::new())?;
            let records = work::records(record_bytes);
            work::stream(&log, &records, per_call, bytes / (record_bytes * per_call) as u64)?;
            drop((log, store));
            let journal: Vec<PathBuf> =
                std::fs::read_dir(store_dir.join("journal"))?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
            support::settle(&plan.dir)?;
            floor::forget(&journal)?;
            let (took, store) = timed(|| Ok(Store::open_with(&store_dir, options.clone())?))?;
            let replayed = store.open_report().bytes_replayed;
            drop(store);
            floor::forget(&journal)?;
            let (limit, read) = floor::read_and_check(&journal)?;
            row.push(replayed as f64 / took.as_secs_f64() / 1e9, read as f64 / limit.as_secs_f64() / 1e9);
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Bytes of segments and indexes for each byte of payload.
fn space(plan: &Plan) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (record_bytes, per_call, bar) in [(100, 100, 1.20), (1024, 100, 1.03), (100, 1, 1.7)] {
        let what = match per_call {
            1 => format!("space, {record_bytes} B, one record a batch"),
            n => format!("space, {record_bytes} B, in batches of {n}"),
        };
        let mut row = Row::new(what, "x payload", Bar::AtMost(bar), "");
        let dir = support::scratch(&plan.dir)?;
        let (store, log) = buffered_store(&dir.path().join("store"))?;
        let records = work::records(record_bytes);
        let batch: Vec<&[u8]> = records.iter().cycle().take(per_call).map(Vec::as_slice).collect();
        let calls = (plan.sized(1u64 << 20, 8 << 20, 16 << 20, 64 << 20)) / (record_bytes * 100) as u64;
        // One call waits for the one before, so each is a batch of its own.
        for _ in 0..calls {
            log.append_batch(batch.iter().copied())?;
        }
        drop(log);
        store.close()?;
        let (index, data) = index_share(&dir.path().join("store"))?;
        row.push((index + data) / (calls * (per_call * record_bytes) as u64) as f64, 0.0);
        rows.push(row);
    }
    Ok(rows)
}

/// Durable appends while a buffered log beside is written and, every other time, freed behind.
fn retention(plan: &Plan) -> Result<Vec<Row>> {
    let mut p99 = Row::new("retention while writing: durable 4 KiB, p99", "us", Bar::Within(2.0), "without retention");
    let mut p50 = Row::new("  the same, p50", "us", Bar::Told, "without retention");
    let mut freed = Row::new("  segments freed meanwhile", "segments", Bar::Told, "");
    let segment_bytes = plan.sized(64u64 << 10, 64 << 20, 64 << 20, 256 << 20);
    let rate = plan.sized(1e6, 100e6, 100e6, 200e6);
    let spell = Duration::from_millis(plan.sized(50, 3000, 6000, 20_000));
    for _ in 0..plan.rounds {
        let mut figures = Vec::new();
        for retain in [false, true] {
            let dir = support::scratch(&plan.dir)?;
            let options = StoreOptions::new().retention_interval(Duration::from_millis(plan.sized(10, 250, 250, 500)));
            let store = Store::open_with(dir.path().join("store"), options)?;
            let kept = LogOptions::new().retention_bytes(retain.then_some(segment_bytes));
            let beside =
                store.create_log("beside", kept.durability(Durability::Buffered).segment_bytes_max(segment_bytes))?;
            let log = store.create_log("log", LogOptions::new())?;
            support::rest(&plan.dir)?;
            let over = AtomicBool::new(false);
            let driven = std::thread::scope(|scope| {
                let writer = scope.spawn(|| write_at_rate(&beside, rate, &over));
                let driven = work::drive(std::slice::from_ref(&log), Callers::One, &[7; 4096], Until::time(spell));
                over.store(true, Ordering::Release);
                writer.join().map_err(|_| "the writer beside panicked")??;
                driven
            })?;
            figures.push((percentile(&driven.latencies, 0.99), median(&driven.latencies)));
            if retain {
                freed.push(store.stats().segments_freed as f64, 0.0);
            }
        }
        p99.push(figures[1].0, figures[0].0);
        p50.push(figures[1].1, figures[0].1);
    }
    Ok(vec![p99, p50, freed])
}

/// Durable appends to one log, every other time beside another that has four callers and a slow reader.
fn hot_log(plan: &Plan) -> Result<Vec<Row>> {
    let mut p99 = Row::new("beside a hot log and its slow reader: durable 4 KiB, p99", "us", Bar::Within(2.0), "alone");
    let mut p50 = Row::new("  the same, p50", "us", Bar::Told, "alone");
    let mut slowest = Row::new("  the same, slowest", "us", Bar::Told, "alone");
    let mut beside = Row::new("  appends to the hot log meanwhile", "rec/s", Bar::Told, "");
    let spell = Duration::from_millis(plan.sized(50, 3000, 6000, 20_000));
    for _ in 0..plan.rounds {
        let mut figures = Vec::new();
        for is_beside in [false, true] {
            let dir = support::scratch(&plan.dir)?;
            let store = Store::open(dir.path().join("store"))?;
            let (hot, log) = (store.create_log("hot", LogOptions::new())?, store.create_log("log", LogOptions::new())?);
            support::rest(&plan.dir)?;
            let over = AtomicBool::new(false);
            let driven = std::thread::scope(|scope| {
                let callers = if is_beside { 4 } else { 0 };
                let callers: Vec<_> = (0..callers).map(|_| scope.spawn(|| append_until(&hot, &over))).collect();
                let reader = is_beside.then(|| scope.spawn(|| read_slowly(&hot, &over)));
                let driven = work::drive(std::slice::from_ref(&log), Callers::One, &[7; 4096], Until::time(spell));
                over.store(true, Ordering::Release);
                for thread in callers.into_iter().chain(reader) {
                    thread.join().map_err(|_| "a thread beside panicked")??;
                }
                driven
            })?;
            let of = |share| percentile(&driven.latencies, share);
            figures.push((of(0.99), median(&driven.latencies), of(1.0)));
            if is_beside {
                beside.push(hot.end() as f64 / driven.took.as_secs_f64(), 0.0);
            }
        }
        p99.push(figures[1].0, figures[0].0);
        p50.push(figures[1].1, figures[0].1);
        slowest.push(figures[1].2, figures[0].2);
    }
    Ok(vec![p99, p50, slowest, beside])
}

/// Appends 4 KiB and waits for it, again and again.
fn append_until(log: &Log, over: &AtomicBool) -> Result<()> {
    while !over.load(Ordering::Acquire) {
        log.append(&[9u8; 4096][..])?;
    }
    Ok(())
}

/// Reads a record every few milliseconds, from the first one on, and holds it until the next.
fn read_slowly(log: &Log, over: &AtomicBool) -> Result<()> {
    let mut reader = log.read(StartAt::TrimHorizon)?;
    let mut held = None;
    while !over.load(Ordering::Acquire) {
        held = reader.next().transpose()?.or(held);
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Appends 64 KiB at a time so as to write `rate` bytes a second.
fn write_at_rate(log: &Log, rate: f64, over: &AtomicBool) -> Result<()> {
    let record = vec![9u8; 64 << 10];
    let start = Instant::now();
    let mut written = 0.0;
    while !over.load(Ordering::Acquire) {
        let ahead = written / rate - start.elapsed().as_secs_f64();
        if ahead > 0.0 {
            std::thread::sleep(Duration::from_secs_f64(ahead.max(0.001)));
            continue;
        }
        drop(log.append_ticket(&record[..])?);
        written += record.len() as f64;
    }
    Ok(())
}

/// Many logs, each appended to once a second in turn, with restarts that close nothing. With `one`, the same appends to one
/// log and a short time: what the other is compared with, to be looked at by itself.
fn active(plan: &Plan, one: bool) -> Result<Vec<Row>> {
    let count = plan.sized(400usize, 1_000, 10_000, 100_000);
    let (spell, restarts) = if plan.scale == Scale::Full {
        (Duration::from_secs_f64(plan.minutes * 10.0), 5)
    } else {
        (Duration::from_millis(plan.sized(100, 2000, 5000, 0)), plan.sized(1, 1, 2, 5))
    };
    let short = spell.min(Duration::from_secs(20));
    let dir = support::scratch(&plan.dir)?;
    let (dir_one, dir_many) = (dir.path().join("one"), dir.path().join("many"));
    let store = Store::open(&dir_one)?;
    let single = paced(&durable_logs(&store, 1)?, count, short)?;
    store.close()?;
    let limit = percentile(&single.latencies, 0.99);
    if one {
        let what = format!("one log, {count} appends a second, p99");
        let mut row = Row::new(what, "us", Bar::Told, "p50");
        row.push(limit, median(&single.latencies));
        return Ok(vec![row]);
    }
    let what = format!("{count} active logs, each once a second, {:.1} min", spell.as_secs_f64() * 6.0 / 60.0);
    let mut rows = [
        Row::new(format!("{what}: append p99"), "us", Bar::Within(3.0), "one log's p99 at this rate"),
        Row::new("  append p50", "us", Bar::Told, "one log's p50 at this rate"),
        Row::new("  appends a second", "rec/s", Bar::Told, "asked for"),
        Row::new("  files a log", "files", Bar::AtMost(2.0), ""),
        Row::new("  appends that found no room", "appends", Bar::AtMost(0.0), ""),
        Row::new(format!("  slowest open of {restarts} restarts"), "ms", Bar::AtMost(1000.0), ""),
        Row::new("  records lost", "records", Bar::AtMost(0.0), ""),
    ];
    let mut store = Store::open(&dir_many)?;
    let mut logs = work::create(&store, count, &LogOptions::new())?;
    let (mut slowest, mut appended, mut busy) = (Duration::ZERO, 0, 0);
    let (mut p99, mut p50) = (Vec::new(), Vec::new());
    for restart in 0..=restarts {
        let run = paced(&logs, count, spell)?;
        appended += run.latencies.len();
        busy += run.busy;
        rows[2].push(run.latencies.len() as f64 / run.took.as_secs_f64(), count as f64);
        p99.push(percentile(&run.latencies, 0.99));
        p50.push(median(&run.latencies));
        let (p99, p50) = (percentile(&run.latencies, 0.99), median(&run.latencies));
        eprintln!("spell {} of {}: p50 {p50:.0} us, p99 {p99:.0} us", restart + 1, restarts + 1);
        if restart < restarts {
            // Nothing is closed: this is what a crash of the program leaves.
            logs.clear();
            drop(store);
            let (took, again) = timed(|| Ok(Store::open(&dir_many)?))?;
            slowest = slowest.max(took);
            store = again;
            logs = (0..count).map(|i| Ok(store.log(&format!("log-{i:06}"))?)).collect::<Result<_>>()?;
        }
    }
    p99.iter().for_each(|figure| rows[0].push(*figure, limit));
    p50.iter().for_each(|figure| rows[1].push(*figure, median(&single.latencies)));
    let found: u64 = logs.iter().map(Log::end).sum();
    rows[6].push(appended as f64 - found as f64, 0.0);
    rows[4].push(busy as f64, 0.0);
    rows[5].push(slowest.as_secs_f64() * 1e3, 0.0);
    logs.clear();
    store.close()?;
    let files = support::segment_files(&dir_many, "seg")?.len() + support::segment_files(&dir_many, "idx")?.len();
    rows[3].push(files as f64 / count as f64, 0.0);
    Ok(rows.into())
}

/// What a paced run came to.
struct Paced {
    latencies: Vec<f64>,
    busy: u64,
    took: Duration,
}

/// Four threads append `a_second` records of 100 B a second, to the logs in turn, in steps of a millisecond. An append counts
/// from when it was due.
fn paced(logs: &[Log], a_second: usize, spell: Duration) -> Result<Paced> {
    const THREADS: usize = 4;
    let one = |thread: usize| -> Result<(Vec<f64>, u64)> {
        let (mut latencies, mut busy) = (Vec::new(), 0);
        let mut tickets: VecDeque<(Instant, Ticket)> = VecDeque::new();
        let start = Instant::now();
        let mut made = 0usize;
        while start.elapsed() < spell {
            let due = (start.elapsed().as_secs_f64() * a_second as f64 / THREADS as f64) as usize;
            let called = Instant::now();
            for number in made..due {
                match logs[(number * THREADS + thread) % logs.len()].append_ticket(&[7u8; 100][..]) {
                    Ok(ticket) => tickets.push_back((called, ticket)),
                    Err(Error::Busy { .. } | Error::Full { .. }) => busy += 1,
                    Err(error) => return Err(error.into()),
                }
            }
            made = due.max(made);
            for (called, ticket) in tickets.drain(..) {
                ticket.wait()?;
                latencies.push(called.elapsed().as_secs_f64() * 1e6);
            }
            let next = Duration::from_secs_f64(called.duration_since(start).as_secs_f64() + 0.001);
            std::thread::sleep(next.saturating_sub(start.elapsed()));
        }
        Ok((latencies, busy))
    };
    let start = Instant::now();
    let parts = std::thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || one(thread))).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a caller panicked")?).collect::<Result<Vec<_>>>()
    })?;
    let busy = parts.iter().map(|part| part.1).sum();
    Ok(Paced { latencies: parts.into_iter().flat_map(|part| part.0).collect(), busy, took: start.elapsed() })
}
