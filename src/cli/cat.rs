//! `braidlog cat`: prints records of a log or of a stream, without being its owner.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::render::{OutputArgs, Render};
use super::streams::{self, Merge, Start};
use super::time::{self, Moment};
use super::{Context, Failure};
use crate::stream::{SequenceNumber, ShardId, deaggregate};
use crate::{Engine, EngineOptions, Error, Log, LogId, Reader, StartAt, Store};

/// How often a follower looks whether the store's files have changed.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Arguments of `braidlog cat`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The log
    #[arg(required_unless_present = "stream", conflicts_with = "stream")]
    log: Option<String>,
    /// The stream, instead of a log: all of its shards in the order of arrival, and what splits and merges make of them
    #[arg(long, value_name = "NAME", conflicts_with_all = ["tail", "to"])]
    stream: Option<String>,
    /// Of the stream, only this shard and what comes of it: 3, or shardId-000000000003
    #[arg(long, requires = "stream", value_parser = streams::parse_shard)]
    shard: Option<ShardId>,
    /// Of the stream, take records apart that a producer packed several user records into
    ///
    /// Each is printed, and counts, on its own. User records that a producer put again because a shard was split meanwhile
    /// come twice.
    #[arg(long, requires = "stream")]
    deaggregate: bool,
    /// Start at "trim", the oldest record, which is the default; at "latest", to --follow what comes; at @TIME; or with the
    /// record of this number
    ///
    /// The sequence number of a stream's record says which shard it is of: that one is read, and what comes of it.
    #[arg(long, value_name = "WHERE", group = "start", value_parser = parse_from)]
    from: Option<Begin>,
    /// Start with the first record that arrived at or after this time; with --follow it may be one to come
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
    /// Go on behind records that can't be read because bytes on disk are not what was written
    ///
    /// Each place is told on standard error, and the exit code is 3 all the same. `braidlog check` tells more.
    #[arg(long)]
    skip_damaged: bool,
    #[command(flatten)]
    output: OutputArgs,
}

#[cfg(feature = "server")]
impl Args {
    /// Those of a stream, or of one shard of it and what comes of that.
    pub(crate) fn of_stream(stream: String, shard: Option<ShardId>, from: Begin, output: OutputArgs) -> Args {
        Args {
            log: None,
            stream: Some(stream),
            shard,
            deaggregate: false,
            from: Some(from),
            since: None,
            tail: None,
            latest: false,
            to: None,
            until: None,
            count: None,
            follow: false,
            skip_damaged: false,
            output,
        }
    }

    /// Sets `--deaggregate`, `--count` and `--follow`.
    #[must_use]
    pub(crate) fn with(mut self, deaggregate: bool, count: Option<u64>, follow: bool) -> Args {
        (self.deaggregate, self.count, self.follow) = (deaggregate, count, follow);
        self
    }
}

impl Args {
    /// The time to start at, if it is one.
    fn begins(&self) -> Option<Moment> {
        match self.from {
            Some(Begin::Time(moment)) => Some(moment),
            _ => self.since,
        }
    }

    /// Whether what arrived then lies before what was asked for. A time to start at that was yet to come is no place in a log: what is
    /// appended before it comes behind the end as well.
    fn is_before(&self, arrival_ms: u64) -> bool {
        self.begins().is_some_and(|since| arrival_ms < since.0)
    }
}

/// What `--from` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    Trim,
    Latest,
    Time(Moment),
    Number(u64),
    Sequence(SequenceNumber),
}

pub(crate) fn parse_from(text: &str) -> Result<Begin, String> {
    match (text, text.strip_prefix('@')) {
        ("trim", _) => Ok(Begin::Trim),
        ("latest", _) => Ok(Begin::Latest),
        (_, Some(rest)) => time::parse(text).or_else(|_| time::parse(rest)).map(Begin::Time),
        _ => match (text.parse(), text.parse()) {
            (Ok(number), _) => Ok(Begin::Number(number)),
            (_, Ok(number)) => Ok(Begin::Sequence(number)),
            _ => Err("it is \"trim\", \"latest\", @TIME or a number".to_owned()),
        },
    }
}

/// How far printing got.
struct Progress {
    next: u64,
    printed: u64,
    done: bool,
    /// Records that were skipped because they can't be read.
    lost: u64,
}

/// What is left to say when all that can be printed is.
fn ended(lost: u64) -> Result<(), Failure> {
    match lost {
        0 => Ok(()),
        _ => {
            Err(Failure::Damage(format!("{lost} records can't be read; `braidlog check` tells where, and what to do")))
        }
    }
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    if args.from == Some(Begin::Latest) && !args.follow {
        return Err(Failure::Usage("--from latest is for what comes: use it with --follow".to_owned()));
    }
    if let (Some(since), Some(until), true) = (args.begins(), args.until, args.follow)
        && until.0 <= since.0
    {
        return Err(Failure::Usage(
            "--until is not after the time to start at: no record can be between them".to_owned(),
        ));
    }
    // Not refused: a clock may have been ahead when the records arrived.
    if args.begins().is_some_and(|since| since.0 > time::now_ms()) && !args.follow {
        context.warn("the time to start at is yet to come; --follow waits for it");
    }
    match &args.stream {
        None if args.shard.is_some() || args.deaggregate => {
            Err(Failure::Usage("--shard and --deaggregate are for a stream: use them with --stream".to_owned()))
        }
        Some(name) => run_stream(context, &args, name),
        None => run_log(context, &args, args.log.as_deref().unwrap_or_default()),
    }
}

/// Prints the records of a stream.
fn run_stream(context: &mut Context, args: &Args, name: &str) -> Result<(), Failure> {
    let render = Render::of_stream(&args.output, context)?;
    let start = match (args.from, args.since) {
        (Some(Begin::Number(_)), _) => {
            let why = "a sequence number of a stream has 56 digits; to start elsewhere, use trim, latest or @TIME";
            return Err(Failure::Usage(why.to_owned()));
        }
        (Some(Begin::Sequence(number)), _) => Start::Sequence(number),
        // No shard starts at a time to come; what arrives before that is passed over.
        (Some(Begin::Time(moment)), _) | (_, Some(moment)) => {
            Start::Time(Moment(moment.0.min(time::now_ms())).as_system_time())
        }
        (Some(Begin::Latest), _) => Start::Latest,
        _ if args.latest => Start::Latest,
        _ => Start::Trim,
    };
    let mut seen = if args.follow { Some(fingerprint(&context.store)) } else { None };
    let stream = streams::look_at(context, name)?;
    let id = stream.state.id;
    let mut merge = Merge::new(&stream, start, args.shard)?;
    if args.skip_damaged {
        merge.skip_damage();
    }
    let (mut left, mut lost) = (args.count.unwrap_or(u64::MAX), 0);
    let mut done = print_stream(context, args, &render, &mut merge, &stream, (&mut left, &mut lost))?;
    merge.suspend();
    drop(stream);
    while let (Some(before), false) = (&mut seen, done) {
        context.out.flush()?;
        std::thread::sleep(LOOK_EVERY);
        let now = fingerprint(&context.store);
        if now == *before {
            continue;
        }
        let store = match Store::open_read_only(&context.store) {
            Err(Error::Locked { .. }) => continue,
            other => other?,
        };
        let gone = || Error::ResourceNotFound { what: format!("stream {name}") };
        let engine = Engine::existing(&store, EngineOptions::new())?.ok_or_else(gone)?;
        let stream = engine.stream(name)?;
        if stream.state.id != id {
            return Err(gone().into());
        }
        merge.resume(&stream)?;
        done = print_stream(context, args, &render, &mut merge, &stream, (&mut left, &mut lost))?;
        merge.suspend();
        *before = now;
    }
    ended(lost)
}

/// Prints what there is now, at most so many records, and counts those that can't be read; whether that was all that was asked for.
fn print_stream(
    context: &mut Context,
    args: &Args,
    render: &Render,
    merge: &mut Merge,
    stream: &crate::stream::Stream,
    (left, lost): (&mut u64, &mut u64),
) -> Result<bool, Failure> {
    while *left > 0 {
        let next = merge.next(stream)?;
        for (error, records) in merge.take_skipped() {
            context.warn(&format!("{error}; {records} records from there on are lost"));
            *lost += records;
        }
        let Some(record) = next else { return Ok(false) };
        if args.is_before(record.1.arrival_ms) {
            continue;
        }
        if args.until.is_some_and(|until| record.1.arrival_ms >= until.0) {
            return Ok(true);
        }
        if !args.deaggregate {
            render.write(&record, &mut context.out)?;
            *left -= 1;
            continue;
        }
        let (shard, record) = record;
        for user in deaggregate(record, None).take(usize::try_from(*left).unwrap_or(usize::MAX)) {
            render.write(&(shard, user), &mut context.out)?;
            *left -= 1;
        }
    }
    Ok(true)
}

fn run_log(context: &mut Context, args: &Args, name: &str) -> Result<(), Failure> {
    let render = Render::new(&args.output, context)?;
    let mut seen = if args.follow { Some(fingerprint(&context.store)) } else { None };
    let store = context.inspect()?;
    let log = store.log(name)?;
    let id = log.id();
    let mut reader = start(&log, args)?;
    let mut progress =
        Progress { next: reader.next_sequence_number(), printed: 0, done: args.count == Some(0), lost: 0 };
    print(context, args, &render, &mut reader, &mut progress)?;
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
            Ok(store) => go_on(context, args, &render, &store, id, &mut progress)?,
        }
        *before = now;
    }
    ended(progress.lost)
}

fn start(log: &Log, args: &Args) -> Result<Reader, Failure> {
    Ok(log.read(match (args.from, args.since, args.tail) {
        (Some(Begin::Sequence(_)), ..) => {
            return Err(Failure::Usage("that is a sequence number of a stream: --stream names one".to_owned()));
        }
        (Some(Begin::Number(number)), ..) => StartAt::Sequence(number),
        (Some(Begin::Latest), ..) => StartAt::Latest,
        (Some(Begin::Time(moment)), ..) | (_, Some(moment), _) => StartAt::Time(moment.as_system_time()),
        (_, _, Some(n)) => StartAt::Sequence(log.end().saturating_sub(n).max(log.horizon()?)),
        _ if args.latest => StartAt::Latest,
        _ => StartAt::TrimHorizon,
    })?)
}

fn go_on(
    context: &mut Context,
    args: &Args,
    render: &Render,
    store: &Store,
    id: LogId,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let name = args.log.as_deref().unwrap_or_default();
    let log = store.log(name)?;
    if log.id() != id {
        return Err(Error::LogDeleted { log: name.to_owned() }.into());
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
            Err(error @ Error::Damaged { .. }) if args.skip_damaged => {
                let lost = reader.skip_damaged()?;
                let last = lost.end.saturating_sub(1);
                context.warn(&format!("{error}; records {} to {last} are lost", lost.start));
                progress.lost += lost.end - lost.start;
                progress.next = lost.end;
                continue;
            }
            other => other?,
        };
        let Some(batch) = batch else { break };
        for record in batch.iter() {
            if args.is_before(record.arrival_ms) {
                continue;
            }
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
