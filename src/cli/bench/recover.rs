//! `braidlog bench recover`: how long it takes to open a store that was not closed, by what its journal holds.

use std::time::{Duration, Instant};

use serde_json::json;

use super::report::{Report, Row};
use super::{Common, Latency, floor, place};
use crate::cli::pump::{Pump, Target};
use crate::cli::scratch::{Scratch, file_system};
use crate::cli::units::{self, parse_bytes};
use crate::cli::{Context, Failure};
use crate::{LogOptions, Store, StoreOptions};

const JOURNAL_FILE_BYTES: u64 = 16 << 20;

/// Arguments of `braidlog bench recover`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Logs that the records are spread over
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    logs: u32,
    /// Bytes of data in the journal
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = parse_bytes)]
    bytes: u64,
    /// How often
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
}

/// One opening.
struct Opened {
    took: Duration,
    bytes: u64,
    records: u64,
    clean: bool,
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    let scratch = place(&args.common, args.bytes.saturating_mul(3))?;
    let record = args.common.record();
    let bar = context.progress(None, "filling and opening");
    let mut opened = Vec::new();
    for round in 0..args.rounds {
        opened.push(one(&args, &scratch, &record, round)?);
    }
    let bytes = opened.iter().map(|o| o.bytes).max().unwrap_or(0);
    let bare = floor::Bare::new(scratch.path())?;
    let file = bare.cached_file(bytes.max(1))?;
    let limit = file.read_and_checksum((args.common.seconds / 5).min(Duration::from_secs(1)))?;
    bar.finish_and_clear();
    let mut latency = Latency::new()?;
    opened.iter().for_each(|o| latency.record(o.took.as_nanos() as u64));
    let seconds: f64 = opened.iter().map(|o| o.took.as_secs_f64()).sum();
    let all_bytes: u64 = opened.iter().map(|o| o.bytes).sum();
    let records = opened.iter().map(|o| o.records).max().unwrap_or(0);
    let title = format!(
        "recover: a journal with {} of {} in {}, {}; {}",
        units::counted(records, "record"),
        units::bytes(args.common.record_bytes),
        units::counted(u64::from(args.logs), "log"),
        units::bytes(bytes),
        file_system(scratch.path()).unwrap_or("file system unknown"),
    );
    let rate = opened.len() as f64 / seconds;
    let engine = Row {
        name: "braidlog, open".to_owned(),
        rate,
        bytes_per_second: all_bytes as f64 / seconds,
        latency: Some(latency.percentiles()),
    };
    let facts = vec![
        ("journal_bytes_replayed", json!(bytes)),
        ("records_recovered", json!(records)),
        ("found_clean", json!(opened.iter().any(|o| o.clean))),
    ];
    Report { title, unit: "opens", engine: vec![engine], limits: vec![limit], facts }.tell(context)
}

/// Fills a store's journal, drops the store without closing it, and opens it.
fn one(args: &Args, scratch: &Scratch, record: &[u8], round: u32) -> Result<Opened, Failure> {
    let root = scratch.path().join(format!("store-{round}"));
    // Memory and journal are large enough that no checkpoint takes records out of the journal before we look. A checkpoint
    // begins at three quarters of the memory, and memory counts for no more than half of the journal.
    let framed = (args.bytes + args.bytes / record.len().max(1) as u64 * 64).max(1 << 20);
    let memory = (framed * 2).clamp(64 << 20, 64 << 30);
    let files = (memory * 2 / JOURNAL_FILE_BYTES + 4).clamp(8, 1024) as u32;
    let options = StoreOptions::new()
        .memory_bytes(memory)
        .journal_file_bytes(JOURNAL_FILE_BYTES)
        .journal_files_max(files)
        .bulk_bytes(u64::MAX);
    let store = Store::open_with(&root, options.clone())?;
    let logs = (0..args.logs)
        .map(|n| store.create_log(&format!("log-{n}"), LogOptions::new()))
        .collect::<Result<Vec<_>, _>>()?;
    let share = args.bytes / u64::from(args.logs);
    for log in &logs {
        let mut pump = Pump::new(Target::Log(log), ((64 << 10) / record.len().max(1)).max(1));
        for _ in 0..(share / record.len().max(1) as u64).max(1) {
            let (data, start) = pump.begin();
            data.extend_from_slice(record);
            pump.push(start, |_, _| false)?;
        }
        pump.settle()?;
    }
    drop(logs);
    drop(store);
    let started = Instant::now();
    let store = Store::open_with(&root, options)?;
    let took = started.elapsed();
    let report = store.open_report();
    let (bytes, records, clean) = (report.bytes_replayed, report.records_recovered, report.clean);
    let opened = Opened { took, bytes, records, clean };
    drop(store);
    std::fs::remove_dir_all(&root).map_err(Failure::io(format!("remove {}", root.display())))?;
    Ok(opened)
}
