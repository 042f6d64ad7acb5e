//! `braidlog put`: the lines of files, or of standard input, become records.
//!
//! A pipe that pauses must not hold records back: before reading on could wait, everything read is sent. A failure halfway
//! says how many records are in the log, so that the caller knows where to go on.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::ProgressBar;
use regex::bytes::Regex;
use serde_json::json;

use super::keys::KeyRule;
use super::lines::{Lines, Next};
use super::options::{DurabilityName, KeepArgs};
use super::pump::{Pump, Totals};
use super::render::{OutputArgs, Render};
use super::units;
use super::{Context, Failure};
use crate::limits::{KEY_BYTES_MAX, RECORD_DATA_BYTES_MAX};
use crate::{LogOptions, Reader, StartAt};

/// The bar moves once in so many bytes.
const SHOWN_EVERY: u64 = 64 << 10;

/// Arguments of `braidlog put`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The log, made if there is none
    log: String,
    /// Files to read, one after the other; "-", and none at all, is standard input
    files: Vec<PathBuf>,
    /// The newline is part of the record
    #[arg(long)]
    with_newline: bool,
    /// A line of more than 10 MiB becomes several records, instead of an error
    #[arg(long)]
    split: bool,
    /// The key is the line's N-th field, from 1; fields have blanks between them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "key_regex")]
    key_field: Option<u32>,
    /// The text between fields, instead of blanks
    #[arg(long, value_name = "TEXT", requires = "key_field")]
    delimiter: Option<String>,
    /// The key is what this expression's first group, or all of it, matches
    #[arg(long, value_name = "RE")]
    key_regex: Option<Regex>,
    /// Records in one append call
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    batch: u32,
    /// Print the records as they become durable
    #[arg(long)]
    tail: bool,
    /// Refuse to make the log or the store
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

impl Args {
    fn key_rule(&self) -> Result<KeyRule, Failure> {
        match (self.key_field, &self.delimiter, &self.key_regex) {
            (_, Some(delimiter), _) if delimiter.is_empty() => Err(Failure::Usage("--delimiter is empty".to_owned())),
            (Some(n), delimiter, _) => {
                Ok(KeyRule::Field(n as usize, delimiter.as_ref().map(|text| text.clone().into_bytes())))
            }
            (None, _, Some(pattern)) => Ok(KeyRule::Pattern(Box::new(pattern.clone()))),
            (None, _, None) => Ok(KeyRule::None),
        }
    }
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    let keys = args.key_rule()?;
    let render = Render::new(&args.output, context)?;
    // A file that can't be opened is told of before the first record is in.
    let inputs = open_inputs(&args.files)?;
    let store = if args.no_create { context.own()? } else { context.own_or_create()? };
    let log = match store.log(&args.log) {
        Err(crate::Error::NoSuchLog { .. }) if !args.no_create => {
            let durability = args.durability.unwrap_or(DurabilityName::Durable);
            store.create_log(&args.log, args.keep.apply(LogOptions::new().durability(durability.into())))?
        }
        Err(error) => return Err(error.into()),
        Ok(log) => {
            if args.durability.is_some() || !args.keep.is_empty() {
                context.warn(&format!("log {:?} exists already and is kept as it is; see `braidlog set`", args.log));
            }
            log
        }
    };
    let tail = if args.tail { Some(Tail { reader: log.read(StartAt::Latest)?, render, closed: false }) } else { None };
    let started = Instant::now();
    let mut pump = Pump::new(&log, args.batch as usize);
    let mut feed = Feed { context, args: &args, keys, tail };
    let outcome = feed.all(inputs, &mut pump);
    // What came before a failure is in the log all the same, and counted.
    let settled = pump.settle();
    let printed = feed.print_tail();
    let totals = pump.totals();
    let outcome = outcome.and(settled).and(printed);
    drop(feed);
    drop(pump);
    let seconds = started.elapsed().as_secs_f64();
    if let Err(failure) = outcome {
        let _ = store.close();
        return Err(failure.at(format!("after {} in log {:?}", units::counted(totals.records, "record"), args.log)));
    }
    store.close()?;
    summarize(context, &args, totals, seconds)
}

enum Source {
    Stdin,
    File(PathBuf, File, u64),
}

fn open_inputs(files: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    if files.is_empty() {
        return Ok(vec![Source::Stdin]);
    }
    let open = |path: &PathBuf| {
        if path == Path::new("-") {
            return Ok(Source::Stdin);
        }
        let during = || format!("open {}", path.display());
        let file = File::open(path).map_err(Failure::io(during()))?;
        let metadata = file.metadata().map_err(Failure::io(during()))?;
        if metadata.is_dir() {
            return Err(Failure::Usage(format!("{} is a folder", path.display())));
        }
        Ok(Source::File(path.clone(), file, metadata.len()))
    };
    files.iter().map(open).collect()
}

/// Prints what has become durable.
struct Tail {
    reader: Reader,
    render: Render,
    /// Nobody reads our output any more. The records still go in.
    closed: bool,
}

struct Feed<'a> {
    context: &'a mut Context,
    args: &'a Args,
    keys: KeyRule,
    tail: Option<Tail>,
}

impl Feed<'_> {
    fn all(&mut self, inputs: Vec<Source>, pump: &mut Pump<'_>) -> Result<(), Failure> {
        let known: Option<u64> =
            inputs.iter().map(|i| if let Source::File(_, _, len) = i { Some(*len) } else { None }).sum();
        // Records and a bar on one terminal would garble each other.
        let bar = if self.tail.is_some() || known.is_none() {
            ProgressBar::hidden()
        } else {
            self.context.progress(known, &self.args.log)
        };
        for input in inputs {
            match input {
                Source::Stdin => {
                    if io::stdin().is_terminal() {
                        self.context.warn("reading standard input; end it with Ctrl-D");
                    }
                    self.one("standard input", io::stdin().lock(), pump, &bar)?;
                }
                Source::File(path, file, _) => self.one(&path.display().to_string(), file, pump, &bar)?,
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn one(&mut self, name: &str, input: impl Read, pump: &mut Pump<'_>, bar: &ProgressBar) -> Result<(), Failure> {
        let mut lines = Lines::new(input, RECORD_DATA_BYTES_MAX, self.args.with_newline);
        let (mut key, mut has_key, mut unshown) = (Vec::new(), false, 0);
        let mut in_pieces = false;
        loop {
            if lines.may_wait() {
                pump.send()?;
                if self.tail.is_some() {
                    pump.reap(0)?;
                    self.print_tail()?;
                }
            }
            let (data, start) = pump.begin();
            let next = lines.next(data).map_err(|error| Failure::io(format!("read {name}"))(error))?;
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
                let max = units::bytes(RECORD_DATA_BYTES_MAX as u64);
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
                has_key = found.is_some();
                key.clear();
                key.extend_from_slice(found.unwrap_or_default());
            }
            // All pieces of a line have the key that its first one has.
            pump.push(start, |_, keys| {
                keys.extend_from_slice(&key);
                has_key
            })?;
            in_pieces = next == Next::Piece;
        }
    }

    fn print_tail(&mut self) -> Result<(), Failure> {
        let Some(tail) = &mut self.tail else { return Ok(()) };
        while let Some(batch) = tail.reader.next_batch()? {
            if tail.closed {
                continue;
            }
            let out = &mut self.context.out;
            let printed =
                batch.iter().try_for_each(|record| tail.render.write(&record, out)).and_then(|()| out.flush());
            match printed.map_err(Failure::from) {
                Err(Failure::OutputClosed) => tail.closed = true,
                other => other?,
            }
        }
        Ok(())
    }
}

fn summarize(context: &mut Context, args: &Args, totals: Totals, seconds: f64) -> Result<(), Failure> {
    let rate = totals.records as f64 / seconds;
    let json = json!({
        "log": args.log,
        "records": totals.records,
        "bytes": totals.bytes,
        "first": totals.first,
        "last": totals.last,
        "seconds": seconds,
        "records_per_second": rate,
    });
    let numbers = match (totals.first, totals.last) {
        (Some(first), Some(last)) => format!(", numbers {first} to {last}"),
        _ => String::new(),
    };
    let line = format!(
        "{} into log {:?}: {} in {} ({} records/s, {} MB/s){numbers}",
        units::counted(totals.records, "record"),
        args.log,
        units::bytes(totals.bytes),
        units::nanos((seconds * 1e9) as u64),
        units::per_second(rate),
        units::megabytes(totals.bytes as f64 / seconds),
    );
    if args.tail {
        // Standard output has the records.
        if !context.quiet {
            eprintln!("{}", if context.json { json.to_string() } else { format!("braidlog: {line}") });
        }
        return Ok(());
    }
    context.answer(json, &line)
}
