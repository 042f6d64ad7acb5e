//! `braidlog bench read`: a scan touches every byte, first with the checksums still to be verified, then without.

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde_json::json;

use super::report::{Report, Row};
use super::{Common, Latency, fill, floor, place};
use crate::cli::scratch::file_system;
use crate::cli::units::{self, parse_bytes};
use crate::cli::{Context, Failure};
use crate::{Log, StartAt};

/// Arguments of `braidlog bench read`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Threads that read, each all of the log
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    threads: u32,
    /// Bytes of data in the log
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = parse_bytes)]
    bytes: u64,
}

/// What reading all of a log, once or more, came to.
struct Scan {
    records: u64,
    bytes: u64,
    took: Duration,
    /// Of a batch.
    latency: Latency,
}

impl Scan {
    fn row(&self, name: &str) -> Row {
        let seconds = self.took.as_secs_f64();
        Row {
            name: name.to_owned(),
            rate: self.records as f64 / seconds,
            bytes_per_second: self.bytes as f64 / seconds,
            latency: Some(self.latency.percentiles()),
        }
    }
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    let scratch = place(&args.common, args.bytes.saturating_mul(2))?;
    let record = args.common.record();
    let (store, records) = fill::log(context, &scratch.path().join("store"), &record, args.bytes, 256 << 20)?;
    let log = store.log("log")?;
    let bar = context.progress(None, "reading");
    let bare = floor::Bare::new(scratch.path())?;
    let file = bare.cached_file((records * record.len() as u64).max(1))?;
    let slice = (args.common.seconds / 5).min(Duration::from_secs(1));
    let first = scan(&log, Duration::ZERO)?;
    let sum = file.mapped(record.len(), false, slice)?;
    let again = many(&log, args.threads, args.common.seconds)?;
    let checksum = file.mapped(record.len(), true, slice)?;
    let disk = store.stats().disk;
    drop(log);
    store.close()?;
    bar.finish_and_clear();
    let title = format!(
        "read: {} over a log of {} of {}; latency is that of a batch; {disk}, {}",
        units::counted(u64::from(args.threads), "thread"),
        units::counted(records, "record"),
        units::bytes(args.common.record_bytes),
        file_system(scratch.path()).unwrap_or("file system unknown"),
    );
    let ratio = |limit: &Row| first.row("").bytes_per_second / limit.bytes_per_second;
    // The first scan has to do both: sum what it verifies.
    let both = floor::both("limit: both, for a first scan", &sum, &checksum);
    let facts = vec![
        ("records", json!(records)),
        ("first_scan_to_its_limit", json!((ratio(&both) * 100.0).round() / 100.0)),
        ("ns_per_record", json!((1e10 / again.row("").rate * f64::from(args.threads)).round() / 10.0)),
    ];
    let report = Report {
        title,
        unit: "records",
        engine: vec![again.row("braidlog, verified before"), first.row("braidlog, first scan")],
        limits: vec![sum, both],
        facts,
    };
    report.tell(context)
}

/// Reads all of the log until `time` is up, at least once.
fn scan(log: &Log, time: Duration) -> Result<Scan, Failure> {
    let mut latency = Latency::new()?;
    let (mut records, mut bytes, mut total) = (0u64, 0u64, 0u64);
    let started = Instant::now();
    loop {
        let mut reader = log.read(StartAt::TrimHorizon)?;
        loop {
            let began = Instant::now();
            let Some(batch) = reader.next_batch()? else { break };
            for record in batch.iter() {
                total = total.wrapping_add(floor::sum(record.data));
                bytes += record.data.len() as u64;
                records += 1;
            }
            latency.record(began.elapsed().as_nanos() as u64);
        }
        if started.elapsed() >= time {
            break;
        }
    }
    black_box(total);
    Ok(Scan { records, bytes, took: started.elapsed(), latency })
}

fn many(log: &Log, threads: u32, time: Duration) -> Result<Scan, Failure> {
    let scans: Vec<Result<Scan, Failure>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| scan(log, time))).collect();
        let panicked = || Err(Failure::Other("a thread of the measurement panicked".to_owned()));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| panicked())).collect()
    });
    let mut all = Scan { records: 0, bytes: 0, took: Duration::ZERO, latency: Latency::new()? };
    for scan in scans {
        let scan = scan?;
        all.records += scan.records;
        all.bytes += scan.bytes;
        all.took = all.took.max(scan.took);
        all.latency.add(&scan.latency);
    }
    Ok(all)
}
