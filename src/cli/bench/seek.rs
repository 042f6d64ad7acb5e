//! `braidlog bench seek`: to a number or a time picked at random.

use std::hint::black_box;
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::json;

use super::report::{Report, Row};
use super::{Common, Latency, fill, floor, place, random};
use crate::cli::scratch::file_system;
use crate::cli::units::{self, parse_bytes};
use crate::cli::{Context, Failure};
use crate::{Log, StartAt};

/// Arguments of `braidlog bench seek`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Bytes of data in the log
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = parse_bytes)]
    bytes: u64,
    /// Size of a segment
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_bytes)]
    segment_bytes: u64,
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    let scratch = place(&args.common, args.bytes.saturating_mul(2))?;
    let record = args.common.record();
    let root = scratch.path().join("store");
    let (store, records) = fill::log(context, &root, &record, args.bytes, args.segment_bytes)?;
    let log = store.log("log")?;
    let bar = context.progress(None, "seeking");
    let bare = floor::Bare::new(scratch.path())?;
    let file = bare.cached_file((records * record.len() as u64).max(1))?;
    let slice = (args.common.seconds / 5).min(Duration::from_secs(1));
    let half = args.common.seconds / 2;
    // Once over all of it, so that every index is loaded and every checksum verified: what is asked for is a warm seek.
    for batch in std::iter::from_fn({
        let mut reader = log.read(StartAt::TrimHorizon)?;
        move || reader.next_batch().transpose()
    }) {
        black_box(batch?.len());
    }
    let by_number = seeks(&log, "braidlog, by number", half, |state| StartAt::Sequence(random(state) % records))?;
    let info = log.info();
    let (first, last) = (info.first_arrival_ms.unwrap_or(0), info.last_arrival_ms.unwrap_or(0));
    let by_time = seeks(&log, "braidlog, by time", half, |state| {
        let ms = first + random(state) % (last - first + 1);
        StartAt::Time(UNIX_EPOCH + Duration::from_millis(ms))
    })?;
    let reads = file.random_reads(record.len(), slice)?;
    let disk = store.stats().disk;
    drop(log);
    store.close()?;
    bar.finish_and_clear();
    let title = format!(
        "seek and read one record: a log of {} of {} in {}; {disk}, {}",
        units::counted(records, "record"),
        units::bytes(args.common.record_bytes),
        units::counted(info.segments as u64, "segment"),
        file_system(scratch.path()).unwrap_or("file system unknown"),
    );
    let report = Report {
        title,
        unit: "seeks",
        engine: vec![by_number, by_time],
        limits: vec![reads],
        facts: vec![("records", json!(records)), ("segments", json!(info.segments))],
    };
    report.tell(context)
}

fn seeks(log: &Log, name: &str, time: Duration, mut pick: impl FnMut(&mut u64) -> StartAt) -> Result<Row, Failure> {
    let mut latency = Latency::new()?;
    let mut state = 0x1234_5678_9abc_def1;
    let mut reader = log.read(StartAt::TrimHorizon)?;
    let (started, mut n) = (Instant::now(), 0u64);
    while n == 0 || started.elapsed() < time {
        let start = pick(&mut state);
        let began = Instant::now();
        reader.seek(start)?;
        let found = reader.next_batch()?;
        let found = found.as_ref().and_then(|batch| batch.iter().next());
        latency.record(began.elapsed().as_nanos() as u64);
        if found.is_none() {
            return Err(Failure::Damage(format!("nothing was found at {start:?}")));
        }
        n += 1;
    }
    let rate = n as f64 / started.elapsed().as_secs_f64();
    Ok(Row { name: name.to_owned(), rate, bytes_per_second: 0.0, latency: Some(latency.percentiles()) })
}
