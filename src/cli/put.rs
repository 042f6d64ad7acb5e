//! `braidlog put`: the lines of files, or of standard input, become records of a log or of a stream.
//!
//! A pipe that pauses must not hold records back: before reading on could wait, everything read is sent. A failure halfway
//! says how many records are in the log, so that the caller knows where to go on; a signal, up to where in the input they are.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::ProgressBar;
use serde_json::json;

use super::context::tell;
use super::interrupt::Interrupts;
use super::keys::{KeyArgs, KeyRule, partition_key};
use super::lines::{Lines, Next};
use super::options::{DurabilityName, KeepArgs};
use super::pump::{Pump, Target, Totals};
use super::render::{OutputArgs, Render};
use super::streams::{self, Merge, Start};
use super::units;
use super::{Context, Failure};
use crate::limits::{KEY_BYTES_MAX, RECORD_DATA_BYTES_MAX};
use crate::stream::{Distribution, Stream};
use crate::{Engine, Log, LogOptions, Reader, StartAt, Store};

/// The bar moves once in so many bytes.
const SHOWN_EVERY: u64 = 64 << 10;

/// Arguments of `braidlog put`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
SIGINT and SIGTERM end it once all lines that were read are acknowledged; it says how many records that is, and up to which line and
byte of the input. To go on from there: tail -c +BYTES FILE | braidlog put LOG, with BYTES one more than it says.")]
pub(crate) struct Args {
    /// The log, made if there is none; with --stream, this is the first of the files already
    #[arg(required_unless_present = "stream")]
    log: Option<String>,
    /// Files to read, one after the other; "-", and none at all, is standard input
    files: Vec<PathBuf>,
    /// Put into this stream, made with one shard if there is none
    ///
    /// The partition key is what --key-field or --key-regex find; where they find nothing, it is the running number of the record
    /// in this call, so that records spread evenly over the shards.
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with_all = ["durability", "retention", "retention_bytes", "segment_bytes", "held_bytes"]
    )]
    stream: Option<String>,
    /// The newline is part of the record
    #[arg(long)]
    with_newline: bool,
    /// A line longer than a record may be, which is 10 MiB in a log, becomes several records, instead of an error
    #[arg(long)]
    split: bool,
    #[command(flatten)]
    keys: KeyArgs,
    /// Records in one append call; to a stream at most 500
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    batch: u32,
    /// Print the records as they become durable
    #[arg(long)]
    tail: bool,
    /// Refuse to make the log or stream, or the store
    #[arg(long)]
    no_create: bool,
    /// When an append is acknowledged, for a log that is made by this call
    #[arg(long, value_enum, value_name = "WHEN", conflicts_with = "no_create")]
    durability: Option<DurabilityName>,
    #[command(flatten)]
    keep: KeepArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What is put into, open.
enum Opened {
    Log(Store, Log),
    Stream(Engine, Stream),
}

impl Opened {
    fn log(context: &Context, args: &Args, name: &str) -> Result<Opened, Failure> {
        let store = if args.no_create { context.own()? } else { context.own_or_create()? };
        let log = match store.log(name) {
            Err(crate::Error::NoSuchLog { .. }) if !args.no_create => {
                let durability = args.durability.unwrap_or(DurabilityName::Durable);
                store.create_log(name, args.keep.apply(LogOptions::new().durability(durability.into())))?
            }
            Err(error) => return Err(error.into()),
            Ok(log) => {
                if args.durability.is_some() || !args.keep.is_empty() {
                    context.warn(&format!("log {name:?} exists already and is kept as it is; see `braidlog set`"));
                }
                log
            }
        };
        Ok(Opened::Log(store, log))
    }

    fn stream(context: &Context, args: &Args, name: &str) -> Result<Opened, Failure> {
        let engine = streams::own(context, !args.no_create)?;
        let stream = streams::open_or_create(&engine, name, !args.no_create)?;
        Ok(Opened::Stream(engine, stream))
    }

    fn target(&self) -> Target<'_> {
        match self {
            Opened::Log(_, log) => Target::Log(log),
            Opened::Stream(_, stream) => Target::Stream(stream),
        }
    }

    /// Most bytes of a line, or of a piece of one.
    fn line_bytes_max(&self, in_pieces: bool) -> usize {
        match self {
            Opened::Log(..) => RECORD_DATA_BYTES_MAX,
            Opened::Stream(_, stream) => {
                // Data and key together are bounded: a piece leaves room for the longest key.
                let record_bytes_max = stream.describe().max_record_kib as usize * 1024;
                record_bytes_max - if in_pieces { KEY_BYTES_MAX } else { 0 }
            }
        }
    }

    /// Whether every record needs a key.
    fn needs_keys(&self) -> bool {
        match self {
            Opened::Log(..) => false,
            Opened::Stream(_, stream) => stream.describe().distribution == Distribution::ByKey,
        }
    }

    fn tail(&self) -> Result<Follow, crate::Error> {
        Ok(match self {
            Opened::Log(_, log) => Follow::Log(Box::new(log.read(StartAt::Latest)?)),
            Opened::Stream(_, stream) => {
                Follow::Stream(stream.clone(), Box::new(Merge::new(stream, Start::Latest, None)?))
            }
        })
    }

    fn close(self) -> Result<(), crate::Error> {
        match self {
            Opened::Log(store, _) => store.close(),
            Opened::Stream(engine, _) => engine.close(),
        }
    }
}

pub(crate) fn run(context: &mut Context, mut args: Args) -> Result<(), Failure> {
    let keys = args.keys.rule()?;
    let render = match &args.stream {
        Some(_) => Render::of_stream(&args.output, context)?,
        None => Render::new(&args.output, context)?,
    };
    if args.stream.is_some() {
        let first_file = args.log.take().map(PathBuf::from);
        args.files = first_file.into_iter().chain(std::mem::take(&mut args.files)).collect();
    }
    // Before anything is opened: what comes while it is ends it, too.
    let interrupts = Interrupts::listen(context.json)?;
    let name = args.stream.clone().or_else(|| args.log.clone()).unwrap_or_default();
    let into = format!("{} {name:?}", if args.stream.is_some() { "stream" } else { "log" });
    // A file that can't be opened, and a name that can't be, is told of before the first record is in.
    let inputs = find_inputs(&args.files)?;
    if args.stream.is_some() {
        crate::stream::check_name("StreamName", &name)?;
    }
    let opened = match &args.stream {
        Some(name) => Opened::stream(context, &args, name)?,
        None => Opened::log(context, &args, &name)?,
    };
    let tail = if args.tail { Some(Tail { follow: opened.tail()?, render, closed: false }) } else { None };
    let started = Instant::now();
    let mut pump = Pump::new(opened.target(), args.batch as usize);
    let so_far = {
        let (totals, into) = (pump.watch_totals(), into.clone());
        move || acknowledged(totals(), &into)
    };
    interrupts.last_words(move || format!("{}; more may be on its way", so_far()));
    let mut feed = Feed {
        context,
        interrupts: &interrupts,
        reached: None,
        args: &args,
        name: &name,
        keys,
        numbered: if opened.needs_keys() { Some(0) } else { None },
        is_stream: args.stream.is_some(),
        line_bytes_max: opened.line_bytes_max(args.split),
        tail,
    };
    let outcome = feed.all(inputs, &mut pump);
    // What came before a failure is in the log all the same, and counted.
    let settled = pump.settle();
    let printed = feed.print_tail();
    let totals = pump.totals();
    let reached = feed.reached.take();
    drop(feed);
    drop(pump);
    let seconds = started.elapsed().as_secs_f64();
    let interrupted = match outcome {
        Err(Failure::Interrupted { signal, .. }) => Some(signal),
        _ => None,
    };
    let outcome = if interrupted.is_some() { Ok(()) } else { outcome };
    if let Err(failure) = outcome.and(settled).and(printed) {
        let _ = opened.close();
        return Err(failure.at(format!("after {} in {into}", units::counted(totals.records, "record"))));
    }
    context.closed(opened.close())?;
    let end = interrupted.map(|signal| End { signal, reached });
    summarize(context, &args, &into, totals, seconds, end.as_ref())?;
    // All that was read whole is acknowledged by now.
    end.map_or(Ok(()), |end| {
        let how_far = format!("{}; {}", acknowledged(totals, &into), end.place());
        Err(Failure::Interrupted { signal: end.signal, how_far })
    })
}

fn acknowledged(totals: Totals, into: &str) -> String {
    let (records, bytes) = (units::counted(totals.records, "record"), units::bytes(totals.bytes));
    format!("{records} ({bytes}) acknowledged in {into}")
}

/// How far the input was put when a signal came.
struct End {
    signal: i32,
    reached: Option<Reached>,
}

/// The end of the last record that was put.
struct Reached {
    input: String,
    /// Number of the line, from 1.
    line: u64,
    /// Bytes of the input up to there.
    bytes: u64,
    /// Whether it is the end of the line, not of a piece of it.
    is_whole: bool,
}

impl End {
    fn place(&self) -> String {
        let Some(Reached { input, line, bytes, is_whole }) = &self.reached else {
            return "nothing was read".to_owned();
        };
        let (line, bytes) = (units::count(*line), units::counted(*bytes, "byte"));
        let upto = if *is_whole { "" } else { "a part of " };
        format!("what was read is in up to {upto}line {line} of {input}, its first {bytes}")
    }

    fn to_json(&self) -> serde_json::Value {
        let reached = self.reached.as_ref();
        json!({
            "signal": self.signal,
            "input": reached.map(|reached| &reached.input),
            "line": reached.map(|reached| reached.line),
            "bytes": reached.map(|reached| reached.bytes),
            "whole_line": reached.map(|reached| reached.is_whole),
        })
    }
}

enum Source {
    Stdin,
    /// With its length.
    File(PathBuf, u64),
}

/// Each is opened when its turn comes, for there may be more of them than a process may have open.
fn find_inputs(files: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    if files.is_empty() {
        return Ok(vec![Source::Stdin]);
    }
    let find = |path: &PathBuf| {
        if path == Path::new("-") {
            return Ok(Source::Stdin);
        }
        let metadata = std::fs::metadata(path).map_err(Failure::io(format!("open {}", path.display())))?;
        if metadata.is_dir() {
            return Err(Failure::Usage(format!("{} is a folder", path.display())));
        }
        // Who writes to a pipe would meet its end if we opened and left it.
        if metadata.is_file() {
            drop(open(path)?);
        }
        Ok(Source::File(path.clone(), metadata.len()))
    };
    files.iter().map(find).collect()
}

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(Failure::io(format!("open {}", path.display())))
}

/// Prints what has become durable.
struct Tail {
    follow: Follow,
    render: Render,
    /// Nobody reads our output any more. The records still go in.
    closed: bool,
}

/// Where what is printed comes from.
enum Follow {
    Log(Box<Reader>),
    Stream(Stream, Box<Merge>),
}

impl Follow {
    /// Prints what there is; nothing, but passes over it, where `out` is not given.
    fn print(&mut self, render: &Render, mut out: Option<&mut dyn Write>) -> Result<(), Failure> {
        match self {
            Follow::Log(reader) => {
                while let Some(batch) = reader.next_batch()? {
                    if let Some(mut out) = out.as_deref_mut() {
                        batch.iter().try_for_each(|record| render.write(&record, &mut out))?;
                        out.flush()?;
                    }
                }
            }
            Follow::Stream(stream, merge) => {
                while let Some(record) = merge.next(stream)? {
                    if let Some(mut out) = out.as_deref_mut() {
                        render.write(&record, &mut out)?;
                    }
                }
                out.map_or(Ok(()), |out| out.flush())?;
            }
        }
        Ok(())
    }
}

struct Feed<'a> {
    context: &'a mut Context,
    interrupts: &'a Interrupts,
    /// The end of what was given to the pump.
    reached: Option<Reached>,
    args: &'a Args,
    name: &'a str,
    keys: KeyRule,
    /// Records without a key get their running number for one: how many there were.
    numbered: Option<u64>,
    is_stream: bool,
    line_bytes_max: usize,
    tail: Option<Tail>,
}

impl Feed<'_> {
    fn all(&mut self, inputs: Vec<Source>, pump: &mut Pump<'_>) -> Result<(), Failure> {
        let known: Option<u64> =
            inputs.iter().map(|i| if let Source::File(_, len) = i { Some(*len) } else { None }).sum();
        // Records and a bar on one terminal would garble each other.
        let bar = if self.tail.is_some() || known.is_none() {
            ProgressBar::hidden()
        } else {
            self.context.progress(known, self.name)
        };
        let outcome = inputs.into_iter().try_for_each(|input| match input {
            Source::Stdin => {
                if io::stdin().is_terminal() {
                    self.context.warn("reading standard input; end it with Ctrl-D");
                }
                // Past the buffer of the standard library: whether there is something to read shows on the file alone.
                let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(Failure::io("read standard input"))?;
                self.one("standard input", File::from(stdin), pump, &bar)
            }
            Source::File(path, _) => self.one(&path.display().to_string(), open(&path)?, pump, &bar),
        });
        bar.finish_and_clear();
        outcome
    }

    fn one(&mut self, name: &str, input: File, pump: &mut Pump<'_>, bar: &ProgressBar) -> Result<(), Failure> {
        let mut lines = Lines::new(self.interrupts.reader(input), self.line_bytes_max, self.args.with_newline);
        let mut is_first = true;
        let (mut key, mut has_key, mut unshown) = (Vec::new(), false, 0);
        let mut in_pieces = false;
        loop {
            self.interrupts.check()?;
            if lines.may_wait() {
                pump.send()?;
                if self.tail.is_some() {
                    pump.reap(0)?;
                    self.print_tail()?;
                }
            }
            let (data, start) = pump.begin();
            let next = match lines.next(data) {
                Ok(next) => next,
                Err(error) => {
                    pump.take_back(start);
                    self.interrupts.check()?;
                    return Err(Failure::io(format!("read {name}"))(error));
                }
            };
            let place = |failure: Failure| failure.at(format!("{name}:{}", lines.number()));
            // A bar looks at the clock each time, which a line is too short for.
            unshown += pump.pending(start).len() as u64 + u64::from(!self.args.with_newline);
            if unshown >= SHOWN_EVERY || next == Next::End {
                bar.inc(std::mem::take(&mut unshown));
            }
            if next == Next::End {
                return Ok(());
            }
            if next == Next::Piece && !self.args.split {
                pump.take_back(start);
                let max = units::bytes(self.line_bytes_max as u64);
                let why =
                    format!("the line is longer than a record may be ({max}); --split makes several records of it");
                return Err(place(Failure::Other(why)));
            }
            if !in_pieces {
                let found = self.keys.of(pump.pending(start));
                if let Some(found) = found.filter(|key| key.len() > KEY_BYTES_MAX) {
                    let why = format!("a key of {} bytes is too long: at most {KEY_BYTES_MAX}", found.len());
                    pump.take_back(start);
                    return Err(place(Failure::Other(why)));
                }
                if let Some(found) =
                    found.filter(|key| self.is_stream && !key.is_empty() && partition_key(key).is_none())
                {
                    let found = String::from_utf8_lossy(found).into_owned();
                    pump.take_back(start);
                    let why = "it must be 1 to 256 characters of UTF-8";
                    return Err(place(crate::Error::invalid("PartitionKey", found, why).into()));
                }
                let found = found.filter(|key| !self.is_stream || !key.is_empty());
                has_key = found.is_some();
                key.clear();
                key.extend_from_slice(found.unwrap_or_default());
                if let Some(number) = &mut self.numbered {
                    if !has_key {
                        key.extend_from_slice(number.to_string().as_bytes());
                    }
                    has_key = true;
                    *number += 1;
                }
            }
            // All pieces of a line have the key that its first one has.
            pump.push(start, |_, keys| {
                keys.extend_from_slice(&key);
                has_key
            })?;
            in_pieces = next == Next::Piece;
            let input = match self.reached.take() {
                Some(reached) if !is_first => reached.input,
                _ => name.to_owned(),
            };
            is_first = false;
            self.reached = Some(Reached { input, line: lines.number(), bytes: lines.consumed(), is_whole: !in_pieces });
        }
    }

    fn print_tail(&mut self) -> Result<(), Failure> {
        let Some(tail) = &mut self.tail else { return Ok(()) };
        let out: Option<&mut dyn Write> = if tail.closed { None } else { Some(&mut self.context.out) };
        match tail.follow.print(&tail.render, out) {
            Err(Failure::OutputClosed) => {
                tail.closed = true;
                tail.follow.print(&tail.render, None)
            }
            other => other,
        }
    }
}

fn summarize(
    context: &mut Context,
    args: &Args,
    into: &str,
    totals: Totals,
    seconds: f64,
    interrupted: Option<&End>,
) -> Result<(), Failure> {
    let rate = totals.records as f64 / seconds;
    let json = json!({
        "log": args.log,
        "stream": args.stream,
        "records": totals.records,
        "bytes": totals.bytes,
        "first": totals.first,
        "last": totals.last,
        "seconds": seconds,
        "records_per_second": rate,
        "interrupted": interrupted.map(End::to_json),
    });
    let numbers = match (totals.first, totals.last) {
        (Some(first), Some(last)) => format!(", numbers {first} to {last}"),
        _ => String::new(),
    };
    let line = format!(
        "{} into {into}: {} in {} ({} records/s, {} MB/s){numbers}",
        units::counted(totals.records, "record"),
        units::bytes(totals.bytes),
        units::nanos((seconds * 1e9) as u64),
        units::per_second(rate),
        units::megabytes(totals.bytes as f64 / seconds),
    );
    if args.tail {
        // Standard output has the records.
        if !context.quiet {
            tell(&if context.json { json.to_string() } else { format!("braidlog: {line}") });
        }
        return Ok(());
    }
    context.answer(json, &line)
}
