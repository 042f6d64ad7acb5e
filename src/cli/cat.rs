//! `braidlog cat`: prints records of a log, without being its owner.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::render::{OutputArgs, Render};
use super::time::{self, Moment};
use super::{Context, Failure};
use crate::{Error, Log, LogId, Reader, StartAt, Store};

/// How often a follower looks whether the store's files have changed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Arguments of `braidlog cat`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The log
    log: String,
    /// Start with the record of this number; without any start, with the oldest
    #[arg(long, value_name = "N", group = "start")]
    from: Option<u64>,
    /// Start with the first record that arrived at or after this time
    #[arg(long, value_name = "TIME", value_parser = time::parse, group = "start")]
    since: Option<Moment>,
    /// Start with the last N records
    #[arg(long, value_name = "N", group = "start")]
    tail: Option<u64>,
    /// Start after the newest record, to --follow what comes
    #[arg(long, group = "start", requires = "follow")]
    latest: bool,
    /// Stop before the record of this number
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    /// Stop before the first record that arrived at or after this time
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    until: Option<Moment>,
    /// Stop after so many records
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Go on with what is appended later
    ///
    /// A store has one owner at a time, and cat is none: while another process has the store open, what that appends is
    /// not seen, and shows when it closes it. To see records as they become durable, use `put --tail`.
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// How far printing got.
struct Progress {
    next: u64,
    printed: u64,
    done: bool,
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    let render = Render::new(&args.output, context)?;
    let mut seen = if args.follow { Some(fingerprint(&context.store)) } else { None };
    let store = context.inspect()?;
    let log = store.log(&args.log)?;
    let id = log.id();
    let mut reader = start(&log, &args)?;
    let mut progress = Progress { next: reader.next_sequence_number(), printed: 0, done: args.count == Some(0) };
    print(context, &args, &render, &mut reader, &mut progress)?;
    drop((reader, log, store));
    while let (Some(before), false) = (&mut seen, progress.done) {
        context.out.flush()?;
        std::thread::sleep(LOOK_EVERY);
        let now = fingerprint(&context.store);
        if now == *before {
            continue;
        }
        match Store::open_read_only(&context.store) {
            Err(Error::Locked { .. }) => continue,
            Err(error) => return Err(error.into()),
            Ok(store) => go_on(context, &args, &render, &store, id, &mut progress)?,
        }
        *before = now;
    }
    Ok(())
}

fn start(log: &Log, args: &Args) -> Result<Reader, Error> {
    log.read(match (args.from, args.since, args.tail) {
        (Some(number), ..) => StartAt::Sequence(number),
        (_, Some(moment), _) => StartAt::Time(moment.as_system_time()),
        (_, _, Some(n)) => StartAt::Sequence(log.end().saturating_sub(n).max(log.horizon()?)),
        _ if args.latest => StartAt::Latest,
        _ => StartAt::TrimHorizon,
    })
}

fn go_on(
    context: &mut Context,
    args: &Args,
    render: &Render,
    store: &Store,
    id: LogId,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let log = store.log(&args.log)?;
    if log.id() != id {
        return Err(Error::LogDeleted { log: args.log.clone() }.into());
    }
    let horizon = log.horizon()?;
    if progress.next < horizon {
        context.warn(&format!("numbers {} to {} were trimmed before they were read", progress.next, horizon - 1));
        progress.next = horizon;
    }
    let mut reader = log.read(StartAt::Sequence(progress.next))?;
    print(context, args, render, &mut reader, progress)
}

/// Prints up to the end of the log, or of what was asked for.
fn print(
    context: &mut Context,
    args: &Args,
    render: &Render,
    reader: &mut Reader,
    progress: &mut Progress,
) -> Result<(), Failure> {
    while !progress.done {
        let batch = match reader.next_batch() {
            // The age rule goes on while we read.
            Err(Error::Trimmed { .. }) => {
                let skipped = reader.skip_trimmed()?;
                context.warn(&format!("{skipped} records were trimmed before they were read"));
                continue;
            }
            other => other?,
        };
        let Some(batch) = batch else { break };
        for record in batch.iter() {
            let beyond = args.to.is_some_and(|to| record.sequence_number >= to)
                || args.until.is_some_and(|until| record.arrival_ms >= until.0);
            if beyond {
                progress.done = true;
                return Ok(());
            }
            render.write(&record, &mut context.out)?;
            progress.printed += 1;
            if args.count.is_some_and(|count| progress.printed >= count) {
                progress.done = true;
                return Ok(());
            }
        }
        progress.next = batch.end();
    }
    progress.done |= args.to.is_some_and(|to| progress.next >= to);
    Ok(())
}

/// Length and time of every file that an append changes. Opening a store means replaying its journal, so a follower does that
/// only when there is something to see.
fn fingerprint(root: &Path) -> Vec<(std::ffi::OsString, u64, Option<SystemTime>)> {
    let folders = ["journal", "manifest"].map(|folder| std::fs::read_dir(root.join(folder)));
    let files = folders.into_iter().flatten().flatten().flatten().filter_map(|entry| {
        let metadata = entry.metadata().ok()?;
        Some((entry.file_name(), metadata.len(), metadata.modified().ok()))
    });
    let mut files: Vec<_> = files.collect();
    files.sort();
    files
}
