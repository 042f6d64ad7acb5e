//! `braidlog check`: verifies every byte, says where damage is, repairs what can be repaired, copies what can be read.

use std::io::Write;
use std::path::PathBuf;

use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::{Context, Failure, units};
use crate::check::{
    self, CheckOptions, CheckReport, Finding, Progress, Repaired, SalvageReport, SalvagedLog, Severity,
};

/// Arguments of `braidlog check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Then do what the findings say that --repair does: remove damaged indexes, move foreign files aside
    ///
    /// An index is a cache and is rebuilt. Files that are not a part of the store are moved into its folder `aside`. No
    /// record is ever changed or deleted.
    #[arg(long, conflicts_with = "salvage")]
    repair: bool,
    /// With --repair: only list what would be done
    #[arg(long, requires = "repair")]
    dry_run: bool,
    /// Copy every record that can be read into a new store in this folder, which must be empty or not exist
    #[arg(long, value_name = "DEST")]
    salvage: Option<PathBuf>,
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    if !context.store.exists() {
        return Err(Failure::NotFound(format!("there is no store at {}", context.store.display())));
    }
    let bar = context.progress(Some(0), if args.salvage.is_some() { "salvaging" } else { "checking" });
    if let Some(dest) = &args.salvage {
        let outcome = check::salvage(&context.store, dest, &mut |progress| advance(&bar, progress));
        bar.finish_and_clear();
        let report = outcome?;
        return salvaged(context, dest, &report);
    }
    let outcome = check::check(&context.store, &CheckOptions::new(), &mut |progress| advance(&bar, progress));
    bar.finish_and_clear();
    let report = outcome?;
    findings(context, &report)?;
    let mended = if args.repair { repair(context, &report, args.dry_run)? } else { 0 };
    totals(context, &report)?;
    verdict(&report, mended)
}

fn advance(bar: &ProgressBar, progress: &Progress) {
    bar.set_length(progress.bytes_total);
    bar.set_position(progress.bytes_done);
}

/// A failure if damage is left.
fn verdict(report: &CheckReport, mended: u64) -> Result<(), Failure> {
    let damage = report.count(Severity::Damage).saturating_sub(mended);
    if damage == 0 {
        return Ok(());
    }
    Err(Failure::Damage(format!("damage in {}; what to do stands with each", units::counted(damage, "place"))))
}

fn findings(context: &mut Context, report: &CheckReport) -> Result<(), Failure> {
    for finding in &report.findings {
        if context.json {
            writeln!(context.out, "{}", finding_json(finding))?;
        } else if !(context.quiet && finding.severity == Severity::Note) {
            finding_text(context, finding)?;
        }
    }
    if report.findings_left_out > 0 {
        context.warn(&format!("{} are not listed", units::counted(report.findings_left_out, "more finding")));
    }
    Ok(())
}

fn finding_text(context: &mut Context, finding: &Finding) -> Result<(), Failure> {
    let out = &mut context.out;
    write!(out, "{:<8} {}", finding.severity.to_string(), printable(&finding.path))?;
    if let Some(at) = finding.at {
        write!(out, " at byte {at}")?;
    }
    if let Some((id, name)) = &finding.log {
        write!(out, ", log {name:?} ({id})")?;
    }
    if let Some(records) = &finding.records {
        write!(out, ", records {} to {}", records.start, records.end.saturating_sub(1))?;
    }
    writeln!(out, "\n         {}", finding.what)?;
    if !finding.advice.is_empty() {
        writeln!(out, "         {}", finding.advice)?;
    }
    Ok(())
}

/// Names of files that are not ours may hold anything: what a terminal would act on is escaped.
fn printable(name: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    name.chars().map(escaped).collect()
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "severity": finding.severity.to_string(),
        "path": finding.path,
        "at": finding.at,
        "log": finding.log.as_ref().map(|(_, name)| name),
        "log_id": finding.log.as_ref().map(|(id, _)| id.to_string()),
        "records": finding.records.as_ref().map(|r| [r.start, r.end]),
        "what": finding.what,
        "advice": finding.advice,
        "repair": finding.action.as_ref().map(ToString::to_string),
    })
}

fn totals(context: &mut Context, report: &CheckReport) -> Result<(), Failure> {
    let [notes, warnings, damage] = report.counts;
    if context.json {
        let value = json!({
            "sound": report.is_sound(),
            "damage": damage,
            "warnings": warnings,
            "notes": notes,
            "files": report.files,
            "bytes": report.bytes,
            "logs": report.logs,
            "segments": report.segments,
            "frames": report.frames,
            "batches": report.batches,
            "records": report.records,
            "seconds": report.seconds,
            "megabytes_per_second": report.megabytes_per_second(),
        });
        writeln!(context.out, "{value}")?;
        return Ok(());
    }
    let rate = if report.seconds > 0.0 {
        format!(" ({} MB/s)", units::megabytes(report.bytes as f64 / report.seconds))
    } else {
        String::new()
    };
    context.say(&format!(
        "verified {} in {}: {}, {} in {}; {:.2} s{rate}",
        units::bytes(report.bytes),
        units::counted(report.files, "file"),
        units::counted(report.logs, "log"),
        units::counted(report.records, "record"),
        units::count(report.batches) + if report.batches == 1 { " batch" } else { " batches" },
        report.seconds,
    ))?;
    let warnings = units::counted(warnings, "warning");
    let notes = units::counted(notes, "note");
    if damage == 0 {
        context.say(&format!("no damage; {warnings}, {notes}"))
    } else {
        context.say(&format!("DAMAGE in {}; {warnings}, {notes}", units::counted(damage, "place")))
    }
}

/// Says each action before it is done. Answers with how many damaged places are mended by it.
fn repair(context: &mut Context, report: &CheckReport, dry_run: bool) -> Result<u64, Failure> {
    let actions = report.actions();
    if actions.is_empty() {
        context.say("nothing can be repaired in place, or needs to be")?;
        return Ok(0);
    }
    let json = context.json;
    let mut told: Result<(), Failure> = Ok(());
    let mut tell = |line: String| {
        if told.is_ok() {
            // Said before it is done, so it must not wait in a buffer.
            told = writeln!(context.out, "{line}").and_then(|()| context.out.flush()).map_err(Failure::from);
        }
    };
    let outcome = check::repair(&context.store, report, dry_run, &mut |action, done| match done {
        None if json => tell(json!({ "action": action.to_string(), "dry_run": dry_run }).to_string()),
        None if dry_run => tell(format!("would {action}")),
        None => tell(format!("repair   {action}")),
        Some(Repaired { failed: Some(why), .. }) if json => {
            tell(json!({ "action": action.to_string(), "failed": why }).to_string());
        }
        Some(Repaired { failed: Some(why), .. }) => tell(format!("failed   {why}")),
        Some(_) => {}
    })?;
    told?;
    let failed = outcome.iter().filter(|repaired| repaired.failed.is_some()).count();
    if failed > 0 {
        let what = units::counted(failed as u64, "action");
        return Err(Failure::Other(format!("{what} could not be done; what was done before and after stays done")));
    }
    let mends = |f: &&Finding| f.action.is_some();
    Ok(if dry_run { 0 } else { report.of(Severity::Damage).filter(mends).count() as u64 })
}

fn salvaged(context: &mut Context, dest: &std::path::Path, report: &SalvageReport) -> Result<(), Failure> {
    findings(context, &report.check)?;
    for log in &report.logs {
        if context.json {
            writeln!(context.out, "{}", log_json(log))?;
        } else if !context.quiet {
            log_text(context, log)?;
        }
    }
    let missing: u64 = report.logs.iter().flat_map(|log| &log.missing).map(|gap| gap.end - gap.start).sum();
    let json = json!({
        "dest": dest.display().to_string(),
        "logs": report.logs.len(),
        "records": report.records,
        "bytes": report.bytes,
        "missing": missing,
        "damage": report.check.count(Severity::Damage),
    });
    let what = format!(
        "copied {} of {} ({}) to {}; {} missing",
        units::counted(report.records, "record"),
        units::counted(report.logs.len() as u64, "log"),
        units::bytes(report.bytes),
        dest.display(),
        units::count(missing),
    );
    context.answer(json, &what)
}

fn log_text(context: &mut Context, log: &SalvagedLog) -> Result<(), Failure> {
    let (records, bytes) = (units::counted(log.records, "record"), units::bytes(log.bytes));
    writeln!(context.out, "salvaged {:?} ({}): {records}, {bytes}; goes on with number {}", log.name, log.id, log.end)?;
    for taken in &log.unnamed {
        let (first, last) = (taken.start, taken.end.saturating_sub(1));
        writeln!(context.out, "         records {first} to {last} from files that nothing readable names")?;
    }
    for gap in &log.missing {
        writeln!(context.out, "         no records {} to {}", gap.start, gap.end.saturating_sub(1))?;
    }
    Ok(())
}

fn log_json(log: &SalvagedLog) -> Value {
    json!({
        "log": log.name,
        "log_id": log.id.to_string(),
        "records": log.records,
        "bytes": log.bytes,
        "end": log.end,
        "missing": log.missing.iter().map(|gap| [gap.start, gap.end]).collect::<Vec<_>>(),
        "unnamed": log.unnamed.iter().map(|taken| [taken.start, taken.end]).collect::<Vec<_>>(),
    })
}
