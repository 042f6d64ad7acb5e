//! `braidlog bench append`.
//!
//! Latency runs from the call to the acknowledgement. With `--rate` it runs from when the call was due, so that a stall counts
//! for all who would have called meanwhile.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::report::{Report, Row};
use super::{Common, Latency, Percentiles, floor, place};
use crate::cli::options::DurabilityName;
use crate::cli::scratch::file_system;
use crate::cli::units::{self, parse_bytes};
use crate::cli::{Context, Failure, context};
use crate::format::batch;
use crate::limits::APPEND_BYTES_MAX;
use crate::{Error, Log, LogOptions, RecordParts, Stats, Store, Ticket};

/// A buffered append takes less than reading the clock twice: of those, one in so many is timed.
const BUFFERED_SAMPLE: u64 = 16;
/// Bytes around the batches of a journal frame, about: its header and one entry.
const FRAME_BYTES: usize = 128;

/// Arguments of `braidlog bench append`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Threads that append
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    threads: u32,
    /// Logs they append to in turn
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    logs: u32,
    /// Records in one call; together at most 14 MiB, headers included
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    batch: u32,
    /// When an append is acknowledged
    #[arg(long, value_enum, value_name = "WHEN", default_value = "durable")]
    durability: DurabilityName,
    /// Calls that each thread has on their way [default: 1 durable, 64 buffered]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    tickets: Option<u32>,
    /// Records a second that all threads together append; without it, as many as they can
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Stop after so many bytes of data, however little time went by
    #[arg(long, value_name = "SIZE", default_value = "4GiB", value_parser = parse_bytes)]
    bytes: u64,
}

impl Args {
    fn tickets(&self) -> usize {
        let default = if self.durability == DurabilityName::Durable { 1 } else { 64 };
        self.tickets.unwrap_or(default) as usize
    }

    /// Before memory is taken for calls: what the engine would refuse can be more than the machine has.
    fn check(&self) -> Result<(), Failure> {
        let record_bytes = self.common.record_bytes.saturating_add(batch::RECORD_HEADER_BYTES as u64);
        let call_bytes = record_bytes.saturating_mul(u64::from(self.batch));
        if self.batch == 1 || call_bytes <= APPEND_BYTES_MAX as u64 {
            return Ok(());
        }
        Err(Failure::Usage(format!(
            "--batch {} of --record-bytes {} is {} in one call, headers included; a call takes at most {}",
            units::count(u64::from(self.batch)),
            units::bytes(self.common.record_bytes),
            units::bytes(call_bytes),
            units::bytes(APPEND_BYTES_MAX as u64),
        )))
    }
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    args.common.check()?;
    args.check()?;
    let scratch = place(&args.common, args.bytes)?;
    let record = args.common.record();
    let bar = context.progress(None, "appending");
    let bare = floor::Bare::new(scratch.path())?;
    // The limits are taken half before, half after, for what others do to the machine changes while we measure.
    let slice = (args.common.seconds / 5).min(Duration::from_secs(1));
    let before = limits(&args, &bare, &record, slice)?;
    let store = context::open_as_owner(&scratch.path().join("store"))?;
    let options = LogOptions::new().durability(args.durability.into());
    let logs: Vec<Log> = (0..args.logs)
        .map(|n| store.create_log_ticket(&format!("log-{n}"), options.clone()))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .map(|pending| pending.wait().map(|state| store.log_handle(state)))
        .collect::<Result<_, _>>()?;
    let warm_up = (args.common.seconds / 10).min(Duration::from_millis(300));
    measure(&args, &logs, &record, warm_up, args.bytes / 10)?;
    let stats = store.stats();
    let run = measure(&args, &logs, &record, args.common.seconds, args.bytes)?;
    let stats = (stats, store.stats());
    drop(logs);
    close(store)?;
    let after = limits(&args, &bare, &record, slice)?;
    bar.finish_and_clear();
    let limits = before.into_iter().zip(after).map(|(a, b)| better(a, b)).collect();
    report(&args, &run, &stats, limits, scratch.path()).tell(context)
}

/// Appended is appended: a checkpoint that finds the disk full does not undo the measurement.
fn close(store: Store) -> Result<(), Failure> {
    match store.close() {
        Err(Error::Io(fault)) if fault.is_no_space() => Ok(()),
        other => Ok(other?),
    }
}

/// The better of two measurements of a limit: a limit is what is possible.
fn better(a: Row, b: Row) -> Row {
    if a.bytes_per_second >= b.bytes_per_second { a } else { b }
}

fn limits(args: &Args, bare: &floor::Bare, record: &[u8], time: Duration) -> Result<Vec<Row>, Failure> {
    let batch = args.batch as usize;
    let copy = floor::copy_and_checksum(record, batch, time);
    let cached = bare.cached_write(record.len(), time)?;
    if args.durability == DurabilityName::Buffered {
        let joined = floor::both("limit: both, one after the other", &copy, &cached);
        return Ok(vec![joined, copy, cached]);
    }
    let records = (record.len() + batch::RECORD_HEADER_BYTES) * batch;
    let frame = records + batch::HEADER_BYTES + FRAME_BYTES;
    let mut alone = bare.durable_write(frame, f64::from(args.batch), 1, time)?;
    alone.bytes_per_second = alone.rate * record.len() as f64;
    let bulk = bare.durable_write(1 << 20, (1 << 20) as f64 / record.len().max(1) as f64, 4, time)?;
    Ok(vec![alone, bulk, copy, cached])
}

/// What one run, or one thread of it, did.
struct Run {
    records: u64,
    took: Duration,
    latency: Latency,
}

fn measure(args: &Args, logs: &[Log], record: &[u8], time: Duration, bytes: u64) -> Result<Run, Failure> {
    let calls_max = (bytes / (record.len().max(1) as u64 * u64::from(args.batch))).max(1);
    let calls = AtomicU64::new(0);
    let parts = vec![RecordParts { data: record, key: None, attributes: None }; args.batch as usize];
    let started = Instant::now();
    let until = started + time;
    let worker = |thread: u32| {
        let worker = Worker { args, logs, parts: &parts, thread, started, until, calls: &calls, calls_max };
        worker.run()
    };
    let runs: Vec<Result<Run, Failure>> = std::thread::scope(|scope| {
        let spawn = |thread| std::thread::Builder::new().spawn_scoped(scope, move || worker(thread));
        let threads: Vec<_> = (0..args.threads).map(spawn).collect();
        let join = |thread: std::io::Result<std::thread::ScopedJoinHandle<'_, _>>| match thread {
            Err(error) => Err(Failure::io("start a thread")(error)),
            Ok(thread) => {
                thread.join().unwrap_or_else(|_| Err(Failure::Other("a thread of the measurement panicked".to_owned())))
            }
        };
        threads.into_iter().map(join).collect()
    });
    let mut all = Run { records: 0, took: started.elapsed(), latency: Latency::new()? };
    for run in runs {
        let run = run?;
        all.records += run.records;
        all.latency.add(&run.latency);
    }
    Ok(all)
}

struct Worker<'a> {
    args: &'a Args,
    logs: &'a [Log],
    /// The records of a call: the same ones each time, and for all threads.
    parts: &'a [RecordParts<'a>],
    thread: u32,
    started: Instant,
    until: Instant,
    calls: &'a AtomicU64,
    calls_max: u64,
}

impl Worker<'_> {
    fn run(&self) -> Result<Run, Failure> {
        let (args, parts) = (self.args, self.parts);
        let in_flight_max = args.tickets();
        let sample = if args.durability == DurabilityName::Durable { 1 } else { BUFFERED_SAMPLE };
        let interval = args.rate.map(|rate| Duration::from_secs_f64(f64::from(args.batch) / rate as f64));
        let mut in_flight: VecDeque<(Ticket, Option<Instant>)> = VecDeque::new();
        let mut latency = Latency::new()?;
        let (mut calls, mut records) = (0u64, 0u64);
        let mut finish = |(ticket, due): (Ticket, Option<Instant>)| -> Result<(), Failure> {
            ticket.wait()?;
            if let Some(due) = due {
                latency.record(due.elapsed().as_nanos() as u64);
            }
            records += u64::from(args.batch);
            Ok(())
        };
        loop {
            // Threads take their turns of one schedule, so that the rate is that of all of them.
            let due = interval.map(|each| {
                self.started + each.mul_f64((calls * u64::from(args.threads) + u64::from(self.thread)) as f64)
            });
            if due.unwrap_or_else(Instant::now) >= self.until
                || self.calls.fetch_add(1, Ordering::Relaxed) >= self.calls_max
            {
                break;
            }
            while let Some(left) = due.and_then(|due| due.checked_duration_since(Instant::now())) {
                match in_flight.pop_front() {
                    Some(oldest) => finish(oldest)?,
                    None => std::thread::sleep(left),
                }
            }
            let log = &self.logs[((u64::from(self.thread) + calls) % self.logs.len() as u64) as usize];
            let timed = calls.is_multiple_of(sample).then(|| due.unwrap_or_else(Instant::now));
            let ticket = match parts.len() {
                1 => log.append_ticket(parts[0])?,
                _ => log.append_batch_ticket(parts)?,
            };
            calls += 1;
            in_flight.push_back((ticket, timed));
            // What has arrived is taken note of at once, or its latency would be that of its neighbours.
            while in_flight.len() >= in_flight_max
                || sample == 1 && in_flight.front().is_some_and(|(ticket, _)| ticket.try_get().is_some())
            {
                let Some(oldest) = in_flight.pop_front() else { break };
                finish(oldest)?;
            }
        }
        in_flight.into_iter().try_for_each(&mut finish)?;
        Ok(Run { records, took: self.started.elapsed(), latency })
    }
}

fn report(args: &Args, run: &Run, stats: &(Stats, Stats), limits: Vec<Row>, place: &std::path::Path) -> Report {
    let seconds = run.took.as_secs_f64();
    let rate = run.records as f64 / seconds;
    let frames = stats.1.frames - stats.0.frames;
    let percentiles: Percentiles = run.latency.percentiles();
    let pace = args.rate.map_or(String::new(), |rate| format!(", {} records/s wanted", units::count(rate)));
    let title = format!(
        "append, {}: {}, {}, {} of {}, {} a call, {} on their way{pace}; {:.1} s on {} ({})",
        args.durability.word(),
        units::counted(u64::from(args.threads), "thread"),
        units::counted(u64::from(args.logs), "log"),
        units::counted(run.records, "record"),
        units::bytes(args.common.record_bytes),
        args.batch,
        args.tickets(),
        seconds,
        stats.1.disk,
        file_system(place).unwrap_or("file system unknown"),
    );
    let mut facts = vec![("records", json!(run.records)), ("seconds", json!(seconds))];
    if frames > 0 && args.durability == DurabilityName::Durable {
        let per_frame = run.records as f64 / frames as f64;
        facts.push(("records_per_sync", json!((per_frame * 10.0).round() / 10.0)));
        facts.push(("journal_bytes", json!(stats.1.journal_bytes - stats.0.journal_bytes)));
        facts.push(("bulk_bytes", json!(stats.1.bulk_bytes - stats.0.bulk_bytes)));
    }
    Report {
        title,
        unit: "records",
        engine: vec![Row {
            name: "braidlog".to_owned(),
            rate,
            bytes_per_second: rate * args.common.record_bytes as f64,
            latency: Some(percentiles),
        }],
        limits,
        facts,
    }
}
