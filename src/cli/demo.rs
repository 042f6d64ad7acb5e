//! `braidlog demo`: the engine at work on real input. A text log that any machine has goes in line by line, the store is
//! reopened, and what comes out is compared with the file, byte for byte.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use super::bench::{Latency, Percentiles};
use super::interrupt::Interrupts;
use super::lines::{Lines, Next};
use super::pump::{Pump, Target};
use super::scratch::{Scratch, file_system};
use super::table::Table;
use super::{Context, Failure, context, units};
use crate::limits::RECORD_DATA_BYTES_MAX;
use crate::{Error, Log, LogOptions, StartAt, Store};

/// Logs that package managers and the system itself write, in the order of preference.
const CANDIDATES: [&str; 9] = [
    "/var/log/dpkg.log",
    "/var/log/apt/history.log",
    "/var/log/syslog",
    "/var/log/messages",
    "/var/log/pacman.log",
    "/var/log/dnf.log",
    "/var/log/apk.log",
    "/var/log/alternatives.log",
    "/var/log/install.log",
];
const LAST_RESORT: &str = "/etc/services";
/// For a machine without any of them.
const EMBEDDED: &[u8] = include_bytes!("../../README.md");
/// A file nobody named is taken up to here.
const CHOSEN_BYTES_MAX: u64 = 256 << 20;
const LINES_PER_CALL: usize = 100;
const SEEKS: u64 = 2000;
const SINGLE_LINES_MAX: u64 = 1000;
const SINGLE_LINES_FOR: Duration = Duration::from_secs(2);

/// Arguments of `braidlog demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A text file; without one, a log that this machine has
    file: Option<PathBuf>,
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    let interrupts = Interrupts::listen(context.json)?;
    let mut input = Input::find(args.file.as_deref())?;
    // Only the option counts here: a store that the environment names for daily work is no place for a demonstration.
    let scratch = if context.store_named { None } else { Some(Scratch::new(&std::env::temp_dir(), "demo")?) };
    let root = scratch.as_ref().map_or(context.store.clone(), |scratch| scratch.path().join("store"));
    if let Some(scratch) = &scratch {
        let left = format!("{} is left; the next demo removes it, too", scratch.path().display());
        interrupts.last_words(move || left.clone());
    }
    let store = context::open_as_owner(&root)?;
    context.say(&format!(
        "reading {} ({}), line by line, into {}",
        input.name,
        units::bytes(input.len),
        root.display()
    ))?;
    context.out.flush()?;
    let name = free_name(&store)?;
    let put = ingest(context, &interrupts, &store, &name, &mut input)?;
    let single = one_at_a_time(&interrupts, &store, &name, &mut input)?;
    store.close()?;

    let started = Instant::now();
    let store = context::open_as_owner(&root)?;
    let reopen = started.elapsed();
    let log = store.log(&name)?;
    let read = compare(&interrupts, &log, &mut input)?;
    let seek = seeks(&interrupts, &log)?;
    store.close()?;
    let figures = Figures { put, single, reopen, read, seek };
    figures.tell(context, &input, &name, &root)
}

/// The text that goes in: a file as long as it was when it was opened, for a log may grow meanwhile.
struct Input {
    name: String,
    file: Option<File>,
    len: u64,
}

impl Input {
    fn find(named: Option<&Path>) -> Result<Input, Failure> {
        if let Some(path) = named {
            let during = || format!("open {}", path.display());
            let input = Input::open(path).map_err(Failure::io(during()))?;
            return input.ok_or_else(|| Failure::Usage(format!("{} is empty, or no regular file", path.display())));
        }
        let largest = largest_text("/var/log");
        let candidates = CANDIDATES.iter().map(PathBuf::from).chain(largest).chain([LAST_RESORT.into()]);
        for path in candidates {
            if let Ok(Some(mut input)) = Input::open(&path) {
                input.len = input.len.min(CHOSEN_BYTES_MAX);
                return Ok(input);
            }
        }
        let name = "the README that is part of this program".to_owned();
        Ok(Input { name, file: None, len: EMBEDDED.len() as u64 })
    }

    fn open(path: &Path) -> std::io::Result<Option<Input>> {
        // A pipe in a log folder would wait for ever; only what is a file is opened.
        if !std::fs::metadata(path)?.is_file() {
            return Ok(None);
        }
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok((len > 0).then(|| Input { name: path.display().to_string(), file: Some(file), len }))
    }

    /// From the beginning.
    fn read(&mut self) -> Result<Box<dyn Read + '_>, Failure> {
        match &mut self.file {
            None => Ok(Box::new(EMBEDDED)),
            Some(file) => {
                file.seek(SeekFrom::Start(0)).map_err(Failure::io(format!("read {}", self.name)))?;
                Ok(Box::new(file.take(self.len)))
            }
        }
    }
}

/// The largest file of a folder that begins as text does.
fn largest_text(folder: &str) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).ok()?.flatten().filter(|entry| entry.file_type().is_ok_and(|t| t.is_file()));
    let text = files.filter(|entry| {
        let mut front = Vec::new();
        let read = File::open(entry.path()).and_then(|file| file.take(4096).read_to_end(&mut front));
        read.is_ok() && !front.is_empty() && !front.contains(&0)
    });
    text.max_by_key(|entry| entry.metadata().map_or(0, |metadata| metadata.len())).map(|entry| entry.path())
}

fn free_name(store: &Store) -> Result<String, Failure> {
    for n in 1..10_000 {
        let name = if n == 1 { "demo".to_owned() } else { format!("demo-{n}") };
        match store.log(&name) {
            Err(Error::NoSuchLog { .. }) => return Ok(name),
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
    }
    Err(Failure::Other("the store has thousands of demo logs; delete some".to_owned()))
}

struct Put {
    lines: u64,
    bytes: u64,
    took: Duration,
    latency: Percentiles,
    per_sync: f64,
}

/// All of the input, many lines a call, several calls on their way.
fn ingest(
    context: &Context,
    interrupts: &Interrupts,
    store: &Store,
    name: &str,
    input: &mut Input,
) -> Result<Put, Failure> {
    let log = store.create_log(name, LogOptions::new())?;
    let bar = context.progress(Some(input.len), "appending");
    let before = store.stats();
    let mut latency = Latency::new()?;
    let file_name = input.name.clone();
    // The newline stays part of the record, so that the records put together are the file.
    let mut lines = Lines::new(input.read()?, RECORD_DATA_BYTES_MAX, true);
    let started = Instant::now();
    let mut pump = Pump::new(Target::Log(&log), LINES_PER_CALL).on_ack(|ns| latency.record(ns));
    loop {
        interrupts.check()?;
        let (data, start) = pump.begin();
        if lines.next(data).map_err(|error| Failure::io(format!("read {file_name}"))(error))? == Next::End {
            break;
        }
        bar.inc(pump.pending(start).len() as u64);
        pump.push(start, |_, _| false)?;
    }
    pump.settle()?;
    let took = started.elapsed();
    let totals = pump.totals();
    drop(pump);
    bar.finish_and_clear();
    let after = store.stats();
    let frames = (after.frames - before.frames).max(1);
    let per_sync = totals.records as f64 / frames as f64;
    Ok(Put { lines: totals.records, bytes: totals.bytes, took, latency: latency.percentiles(), per_sync })
}

struct Single {
    lines: u64,
    took: Duration,
    latency: Percentiles,
}

/// The first lines again, into another log, each waited for: what a sync costs a lone caller.
fn one_at_a_time(interrupts: &Interrupts, store: &Store, name: &str, input: &mut Input) -> Result<Single, Failure> {
    let scratch_name = format!("{name}-one-by-one");
    let log = store.create_log(&scratch_name, LogOptions::new())?;
    let mut latency = Latency::new()?;
    let file_name = input.name.clone();
    let mut lines = Lines::new(input.read()?, RECORD_DATA_BYTES_MAX, true);
    let started = Instant::now();
    let mut line = Vec::new();
    let mut n = 0;
    while n < SINGLE_LINES_MAX && started.elapsed() < SINGLE_LINES_FOR {
        interrupts.check()?;
        line.clear();
        if lines.next(&mut line).map_err(|error| Failure::io(format!("read {file_name}"))(error))? == Next::End {
            break;
        }
        let at = Instant::now();
        log.append(&line[..])?;
        latency.record(at.elapsed().as_nanos() as u64);
        n += 1;
    }
    let took = started.elapsed();
    drop(log);
    store.delete_log(&scratch_name)?;
    Ok(Single { lines: n, took, latency: latency.percentiles() })
}

/// Reads the log and the file side by side. Returns how long the whole took.
fn compare(interrupts: &Interrupts, log: &Log, input: &mut Input) -> Result<Duration, Failure> {
    let (name, len) = (input.name.clone(), input.len);
    let mut file = std::io::BufReader::with_capacity(256 << 10, input.read()?);
    let mut reader = log.read(StartAt::TrimHorizon)?;
    let mut expected = Vec::new();
    let mut at = 0u64;
    let started = Instant::now();
    while let Some(batch) = reader.next_batch()? {
        interrupts.check()?;
        for record in batch.iter() {
            expected.clear();
            let wanted = record.data.len();
            let read = (&mut file).take(wanted as u64).read_to_end(&mut expected);
            read.map_err(|error| Failure::io(format!("read {name}"))(error))?;
            if expected != record.data {
                let number = record.sequence_number;
                return Err(Failure::Damage(format!("record {number} differs from {name} at byte {at}")));
            }
            at += wanted as u64;
        }
    }
    if at != len {
        return Err(Failure::Damage(format!("the log holds {at} bytes, {name} {len}")));
    }
    Ok(started.elapsed())
}

/// Finds records here and there, by number.
fn seeks(interrupts: &Interrupts, log: &Log) -> Result<Percentiles, Failure> {
    let mut latency = Latency::new()?;
    let end = log.end();
    let mut reader = log.read(StartAt::TrimHorizon)?;
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..SEEKS {
        interrupts.check()?;
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let number = (random >> 16) % end.max(1);
        let at = Instant::now();
        reader.seek(StartAt::Sequence(number))?;
        let found = reader.next_batch()?.map(|batch| batch.first());
        latency.record(at.elapsed().as_nanos() as u64);
        if found != Some(number) {
            return Err(Failure::Damage(format!("record {number} was looked for, and {found:?} found")));
        }
    }
    Ok(latency.percentiles())
}

struct Figures {
    put: Put,
    single: Single,
    reopen: Duration,
    read: Duration,
    seek: Percentiles,
}

impl Figures {
    fn tell(&self, context: &mut Context, input: &Input, name: &str, root: &Path) -> Result<(), Failure> {
        let Figures { put, single, reopen, read, seek } = self;
        let rate = |n: u64, took: Duration| n as f64 / took.as_secs_f64().max(1e-9);
        if context.json {
            let value = json!({
                "file": input.name,
                "bytes": put.bytes,
                "lines": put.lines,
                "identical": true,
                "log": name,
                "append": {
                    "seconds": put.took.as_secs_f64(),
                    "bytes_per_second": rate(put.bytes, put.took),
                    "records_per_second": rate(put.lines, put.took),
                    "records_per_sync": put.per_sync,
                    "latency_ns": put.latency.to_json(),
                },
                "append_one_by_one": {
                    "records": single.lines,
                    "records_per_second": rate(single.lines, single.took),
                    "latency_ns": single.latency.to_json(),
                },
                "reopen_seconds": reopen.as_secs_f64(),
                "read": { "seconds": read.as_secs_f64(), "bytes_per_second": rate(put.bytes, *read) },
                "seek_ns": seek.to_json(),
            });
            writeln!(context.out, "{value}")?;
            return Ok(());
        }
        if context.quiet {
            return Ok(());
        }
        let mut table = Table::new(&["", "", "p50>", "p99>"]);
        let mut row = |what: &str, how: String, latency: Option<&Percentiles>| {
            let cell = |ns: Option<u64>| ns.map_or(String::new(), units::nanos);
            table.row([what.to_owned(), how, cell(latency.map(|l| l.p50)), cell(latency.map(|l| l.p99))]);
        };
        let appended = format!(
            "{} MB/s, {} records/s, {:.0} records a sync",
            units::megabytes(rate(put.bytes, put.took)),
            units::per_second(rate(put.lines, put.took)),
            put.per_sync
        );
        row(&format!("append, {LINES_PER_CALL} lines a call"), appended, Some(&put.latency));
        let alone = format!("{} records/s, each one synced", units::per_second(rate(single.lines, single.took)));
        row("append, one line at a time", alone, Some(&single.latency));
        row("reopen", units::span(*reopen), None);
        row("read and compare", format!("{} MB/s", units::megabytes(rate(put.bytes, *read))), None);
        row("seek to a number, first record", String::new(), Some(seek));
        table.write(&mut context.out)?;
        let lines = units::counted(put.lines, "line");
        let same =
            format!("{lines}, {} bytes: what was read back is {} byte for byte", units::count(put.bytes), input.name);
        writeln!(context.out, "{same}")?;
        if let Some(kind) = file_system(root).filter(|kind| kind.contains("memory")) {
            writeln!(context.out, "({} is on {kind}; --store names another place)", root.display())?;
        }
        Ok(())
    }
}
