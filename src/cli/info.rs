//! `braidlog info`: what there is to know about the store, or about one log.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use super::table::Table;
use super::{Context, Failure, options, time, units};
use crate::env::{Disk, RealDisk};
use crate::recovery::OpenReport;
use crate::{Engine, EngineOptions, Log, StartAt, Store};

/// Arguments of `braidlog info`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The log; without one, the store
    log: Option<String>,
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    let store = context.inspect()?;
    match args.log {
        Some(name) => about_log(context, &store.log(&name)?),
        None => about_store(context, &store),
    }
}

fn about_log(context: &mut Context, log: &Log) -> Result<(), Failure> {
    let info = log.info();
    let kept = log.options();
    let (horizon, end) = (log.horizon()?, log.end());
    let records = end - horizon;
    // The horizon's record arrived first: what lies before it may still be on disk, but does not count.
    let first_ms = match log.read(StartAt::Sequence(horizon))?.next_batch() {
        Ok(batch) => batch.and_then(|batch| batch.iter().next().map(|record| record.arrival_ms)),
        Err(_) => info.first_arrival_ms,
    };
    let span_ms = first_ms.zip(info.last_arrival_ms).map(|(first, last)| last.saturating_sub(first));
    let rate = span_ms.filter(|ms| *ms > 0 && records > 1).map(|ms| records as f64 * 1000.0 / ms as f64);
    let stopped = info.stopped_at;
    let stored = info.segment_bytes + info.pending_bytes;
    if context.json {
        let value = json!({
            "log": log.name(),
            "id": log.id().to_string(),
            "created_ms": log.created_ms(),
            "horizon": horizon,
            "end": end,
            "records": records,
            "trimmed": info.trimmed,
            "segments": info.segments,
            "segment_bytes": info.segment_bytes,
            "pending_bytes": info.pending_bytes,
            "first_arrival_ms": first_ms,
            "last_arrival_ms": info.last_arrival_ms,
            "records_per_second": rate,
            "damaged_from": stopped,
            "options": options::to_json(&kept),
        });
        writeln!(context.out, "{value}")?;
        return Ok(());
    }
    let mut table = Table::fields();
    table.row(["log", log.name()]);
    table.row(["id".to_owned(), log.id().to_string()]);
    table.row(["created".to_owned(), time::format(log.created_ms())]);
    let numbers = if records > 0 { format!(", numbers {horizon} to {}", end - 1) } else { format!(", next is {end}") };
    table.row(["records".to_owned(), units::count(records) + &numbers]);
    table.row(["trim horizon".to_owned(), horizon.to_string()]);
    table.row([
        "stored".to_owned(),
        format!("{} in {}", units::bytes(stored), units::counted(info.segments as u64, "segment")),
    ]);
    table.row(["not in a segment yet".to_owned(), units::bytes(info.pending_bytes)]);
    table.row(["first arrival".to_owned(), first_ms.map_or("-".to_owned(), time::format)]);
    table.row(["last arrival".to_owned(), info.last_arrival_ms.map_or("-".to_owned(), time::format)]);
    if let (Some(span), Some(rate)) = (span_ms, rate) {
        let rate = format!("{} records/s over {}", units::per_second(rate), units::span(Duration::from_millis(span)));
        table.row(["arrival rate".to_owned(), rate]);
    }
    if let Some(at) = stopped {
        table.row(["damaged".to_owned(), format!("from number {at} on; run `braidlog check`")]);
    }
    table.row(["durability", options::durability_word(kept.durability)]);
    table.row(["retention".to_owned(), options::retention_cell(&kept)]);
    table.row(["segments of".to_owned(), units::bytes(kept.segment_bytes_max)]);
    table.row(["readers may hold back".to_owned(), units::bytes(kept.held_bytes_max)]);
    table.write(&mut context.out)?;
    Ok(())
}

/// Files of one folder of the store, and below it.
#[derive(Default)]
struct Usage {
    files: u64,
    bytes: u64,
}

fn usage(disk: &RealDisk, folder: &str, total: &mut Usage) -> std::io::Result<()> {
    for entry in disk.list(folder)? {
        if entry.is_dir {
            usage(disk, &format!("{folder}/{}", entry.name), total)?;
        } else {
            total.files += 1;
            total.bytes += entry.len;
        }
    }
    Ok(())
}

/// How the store would be to an owner who opens it, as far as one who only looks can tell.
fn health_of(report: &OpenReport) -> String {
    match (report.read_only_because(), report.stopped_logs.len()) {
        (Some(why), _) => format!("read-only: {why}"),
        (None, 0) => "ok".to_owned(),
        (None, n) => format!("{} damaged", units::counted(n as u64, "log")),
    }
}

fn about_store(context: &mut Context, store: &Store) -> Result<(), Failure> {
    let root = context.store.display().to_string();
    let disk = RealDisk::open(&context.store).map_err(Failure::io(format!("open {root}")))?;
    let measure = |folder: &str| {
        let mut total = Usage::default();
        usage(&disk, folder, &mut total).map_err(Failure::io(format!("list {root}/{folder}"))).map(|()| total)
    };
    let (segments, journal, manifest) = (measure("segments")?, measure("journal")?, measure("manifest")?);
    let space = disk.space().map_err(Failure::io(format!("ask for the room in {root}")))?;
    let report = store.open_report();
    let names = store.log_names()?;
    let engine = Engine::existing(store, EngineOptions::new());
    // A catalog that can't be read is told of, and is no reason to say nothing of the rest.
    let streams = match &engine {
        Ok(engine) => engine.as_ref().map_or(0, |engine| engine.page_of_streams(None, usize::MAX).stream_names.len()),
        Err(error) => {
            context.warn(&error.to_string());
            0
        }
    };
    // An inspector can't know more than what opening found: whether the store takes writes shows when it has an owner.
    let health = health_of(report);
    if context.json {
        let folder = |usage: &Usage| json!({ "files": usage.files, "bytes": usage.bytes });
        let value = json!({
            "store": root,
            "id": store.id().to_string(),
            "health": health,
            "disk": disk.kind().to_string(),
            "logs": names.len(),
            "streams": streams,
            "segments": folder(&segments),
            "journal": folder(&journal),
            "manifest": folder(&manifest),
            "available_bytes": space.available,
            "open": {
                "clean": report.clean,
                "frames_replayed": report.frames_replayed,
                "records_recovered": report.records_recovered,
                "bytes_replayed": report.bytes_replayed,
                "cut_bytes": report.cut_bytes,
                "leftover_segments": report.leftover_segments,
                "manifest_damage": report.manifest_damage,
                "network_file_system": report.network_file_system,
                "journal_damage": report.journal_damage,
                "page_damage": report.page_damage,
                "hidden_tail": report.hidden_tail,
                "device_lied": report.device_lied,
                "stopped_logs": report.stopped_logs,
            },
        });
        writeln!(context.out, "{value}")?;
        return Ok(());
    }
    let folder = |usage: &Usage| format!("{} in {}", units::bytes(usage.bytes), units::counted(usage.files, "file"));
    let mut table = Table::fields();
    table.row(["store", root.as_str()]);
    table.row(["id".to_owned(), store.id().to_string()]);
    table.row(["health", health.as_str()]);
    table.row(["disk".to_owned(), format!("{}, {} available", disk.kind(), units::bytes(space.available))]);
    table.row(["logs".to_owned(), units::count(names.len() as u64)]);
    table.row(["streams".to_owned(), units::count(streams as u64)]);
    table.row(["segments".to_owned(), folder(&segments)]);
    table.row(["journal".to_owned(), folder(&journal)]);
    table.row(["manifest".to_owned(), folder(&manifest)]);
    table.row(["last end", if report.clean { "clean" } else { "not closed" }]);
    if report.frames_replayed > 0 {
        let replayed = format!(
            "{}, {} in {}",
            units::counted(report.records_recovered, "record"),
            units::bytes(report.bytes_replayed),
            units::counted(report.frames_replayed, "frame"),
        );
        table.row(["replayed to look".to_owned(), replayed]);
    }
    if report.cut_bytes > 0 {
        let cut = format!("{} that were never acknowledged", units::bytes(report.cut_bytes));
        table.row(["torn end of the journal".to_owned(), cut]);
    }
    for (log, at) in &report.stopped_logs {
        table.row(["damaged".to_owned(), format!("log {log:?} from number {at} on")]);
    }
    let damages = [
        ("journal damage", &report.journal_damage),
        ("manifest damage", &report.manifest_damage),
        ("page damage", &report.page_damage),
        ("hidden tail", &report.hidden_tail),
    ];
    for (what, damage) in damages {
        if let Some(damage) = damage {
            table.row([what, damage.as_str()]);
        }
    }
    if report.device_lied {
        table.row(["device", "said that it had written what it had not"]);
    }
    table.write(&mut context.out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by an audit: a store whose owner would be read-only was called well, but for a damaged journal.
    #[test]
    fn whatever_keeps_an_owner_from_writing_is_told() {
        let place = || Some("segments/2a/000000000000002a.seg".to_owned());
        let reports = [
            OpenReport { journal_damage: place(), ..OpenReport::default() },
            OpenReport { page_damage: place(), ..OpenReport::default() },
            OpenReport { hidden_tail: place(), ..OpenReport::default() },
        ];
        for report in reports {
            let health = health_of(&report);
            assert!(health.starts_with("read-only: ") && health.contains("2a.seg"), "{health}");
        }
        assert_eq!(health_of(&OpenReport::default()), "ok");
        let stopped = OpenReport { stopped_logs: vec![("clicks".to_owned(), 7)], ..OpenReport::default() };
        assert_eq!(health_of(&stopped), "1 log damaged");
    }
}
