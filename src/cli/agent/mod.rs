//! `braidlog agent`: follows files and puts what is written to them into a stream, each line once.
//!
//! What was read of a file and how far it was read are one transaction, so neither a crash nor a restart repeats or loses
//! anything.
//!
//! | file | what |
//! |---|---|
//! | `files` | the files, as the system shows them |
//! | `follow` | which there are, and what became of them |
//! | `followed` | one of them: what is new in it |
//! | `cut` | where a record begins and ends |
//! | `parse` | lines as JSON |

mod cut;
mod files;
mod follow;
mod followed;
mod parse;

use std::collections::{BTreeMap, HashSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use regex::Regex;
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::cut::CutRule;
use self::files::{Disk, FileId};
use self::follow::Follower;
use self::followed::{Room, Rules};
use self::parse::Parser;
use super::keys::{KeyArgs, KeyRule, partition_key};
use super::{Context, Failure, streams, time, units};
use crate::format::agent::{self as rows, FileRow};
use crate::options::INTERNAL_PREFIX;
use crate::stream::{PutRecordsEntry, Stream};
use crate::table::{Change, Table};
use crate::{Engine, Error};

/// How often the engine does what is due.
const MAINTAIN_EVERY: Duration = Duration::from_secs(10);
/// A batch is at most so large, and a sixteenth of the largest transaction: text may grow sixfold as JSON.
const BATCH_BYTES: usize = 512 << 10;
const BATCH_RECORDS: usize = 2000;
/// Room for the partition key beside a line: 256 characters.
const KEY_BYTES: usize = 1024;
/// Notes that were told are remembered, so that each is told once; not more of them than this.
const NOTES_MAX: usize = 1000;

/// Arguments of `braidlog agent`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files to follow: patterns with *, ?, [abc] and **, in quotes so that the shell leaves them to us
    ///
    /// Files that come to match later are followed, too. A file that is renamed is read to its end, also under a name that does
    /// not match. A file that is cut off is read from its beginning; a copy that was made of it before, beside it and under a
    /// name that begins as its own, is read from where the file was left.
    #[arg(required = true, value_name = "FILES")]
    files: Vec<String>,
    /// The stream, made with one shard if there is none
    #[arg(long, value_name = "NAME")]
    stream: String,
    /// Refuse to make the stream or the store
    #[arg(long)]
    no_create: bool,
    /// How often to look for what is new
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = units::parse_duration)]
    interval: Duration,
    /// Put what there is, then end
    #[arg(long)]
    once: bool,
    /// Start at the end of the files that are there when the agent runs for the first time
    #[arg(long)]
    from_end: bool,
    /// A record has several lines and begins with one that this expression matches
    #[arg(long, value_name = "RE")]
    first_line: Option<regex::bytes::Regex>,
    /// Take an unfinished record for whole when nothing came after it for so long: the last record of several lines, and the last
    /// line of a file that was renamed or deleted
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = units::parse_duration)]
    idle: Duration,
    /// A longer record becomes several [default: 1 MiB less 1 KiB for the key]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_bytes)]
    line_bytes_max: Option<u64>,
    /// Put JSON, made of lines of this form; a line that is not becomes {"message": LINE}
    #[arg(long, value_enum, value_name = "FORM")]
    parse: Option<Form>,
    /// With --parse csv: the names of the columns
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    fields: Vec<String>,
    /// With --parse csv: what is between values
    #[arg(long, value_name = "CHARACTER", default_value = ",")]
    separator: char,
    /// With --parse regex: an expression with named groups, `(?<name>...)`
    #[arg(long, value_name = "RE", required_if_eq("parse", "regex"))]
    pattern: Option<Regex>,
    #[command(flatten)]
    keys: KeyArgs,
}

/// What lines are read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Values with a separator between them, named by --fields
    Csv,
    /// The named groups of --pattern
    Regex,
    /// host, ident, authuser, datetime, request, response, bytes, as Apache writes them
    CommonLog,
    /// The same with referrer and agent
    CombinedLog,
    /// timestamp, hostname, program, processid, message and more: RFC 3164 and RFC 5424
    Syslog,
}

impl Args {
    fn parser(&self) -> Result<Option<Parser>, Failure> {
        let Some(form) = self.parse else { return Ok(None) };
        let built_in = |parser: Result<Parser, regex::Error>| parser.map_err(|error| Failure::Other(error.to_string()));
        let parser = match form {
            Form::Csv => Parser::csv(self.fields.clone(), self.separator),
            Form::Regex => {
                let pattern = self.pattern.clone().ok_or_else(|| Failure::Usage("--pattern is missing".to_owned()))?;
                Parser::groups(pattern).map_err(Failure::Usage)?
            }
            Form::CommonLog => built_in(Parser::common_log())?,
            Form::CombinedLog => built_in(Parser::combined_log())?,
            Form::Syslog => built_in(Parser::syslog())?,
        };
        Ok(Some(parser))
    }
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    let (parser, keys) = (args.parser()?, args.keys.rule()?);
    let absolute = |pattern: &String| std::path::absolute(pattern).map(|path| path.display().to_string());
    let patterns: Result<Vec<String>, _> = args.files.iter().map(absolute).collect();
    let disk = Disk::new(&patterns.map_err(Failure::io("find the current folder"))?).map_err(Failure::Usage)?;
    let stop = Stop::listen()?;
    let engine = streams::own(context, !args.no_create)?;
    let stream = streams::open_or_create(&engine, &args.stream, !args.no_create)?;
    let table = Table::open(engine.store(), &format!("{INTERNAL_PREFIX}agent"))?;
    let largest = engine.store().core().largest_append();
    let record_bytes_max = stream.describe().max_record_kib as usize * 1024 - KEY_BYTES;
    let bytes_max = args.line_bytes_max.map_or((1 << 20) - KEY_BYTES, |max| max as usize);
    if bytes_max == 0 || bytes_max > record_bytes_max {
        let max = units::count(record_bytes_max as u64);
        return Err(Failure::Usage(format!("--line-bytes-max must be from 1 to {max} for this stream")));
    }
    let rules = Rules {
        cut: CutRule { first_line: args.first_line.clone(), bytes_max: bytes_max.min(largest / 2) },
        idle_ms: args.idle.as_millis() as u64,
        from_end: args.from_end,
    };
    let kept = kept(&table, stream.state.id)?;
    let mut agent = Agent {
        follower: Follower::new(disk, rules, kept),
        stop,
        stream,
        table,
        parser,
        keys,
        record_bytes_max,
        batch: (BATCH_RECORDS.min(largest / 1024), BATCH_BYTES.min(largest / 16)),
        records: 0,
        bytes: 0,
        unparsed: 0,
        told: HashSet::new(),
    };
    let outcome = agent.follow(context, &engine, &args);
    let (records, bytes, unparsed, files) = (agent.records, agent.bytes, agent.unparsed, agent.follower.count());
    drop(agent);
    let closed = engine.close();
    let so_far = format!("after {} in stream {:?}", units::counted(records, "record"), args.stream);
    outcome.map_err(|failure| failure.at(so_far))?;
    closed?;
    let json =
        json!({ "stream": args.stream, "files": files, "records": records, "bytes": bytes, "unparsed": unparsed });
    let line = format!(
        "{} of {} into stream {:?}: {}",
        units::counted(records, "record"),
        units::counted(files as u64, "file"),
        args.stream,
        units::bytes(bytes)
    );
    context.answer(json, &line)
}

fn kept(table: &Table, stream: u64) -> Result<BTreeMap<FileId, FileRow>, Error> {
    let damaged = |what| Error::damaged("the positions of the agent", 0)(what);
    let row = |(key, value): (bytes::Bytes, bytes::Bytes)| {
        let (_, device, inode) = rows::parse_key(&key).map_err(damaged)?;
        Ok((FileId { device, inode }, FileRow::decode(&value).map_err(damaged)?))
    };
    table.rows(&rows::stream_prefix(stream)).into_iter().map(row).collect()
}

/// Says when the agent was asked to end: by the terminal or whoever started it.
struct Stop {
    asked: Receiver<()>,
    is_asked: bool,
    handle: signal_hook::iterator::Handle,
}

impl Stop {
    fn listen() -> Result<Stop, Failure> {
        let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(Failure::io("listen for signals"))?;
        let (handle, (sender, asked)) = (signals.handle(), channel());
        // Ends with the handle.
        std::thread::spawn(move || signals.forever().try_for_each(|_| sender.send(())));
        Ok(Stop { asked, is_asked: false, handle })
    }

    /// Waits for so long, or until it is asked; whether it was.
    fn wait(&mut self, timeout: Duration) -> bool {
        self.is_asked |= !matches!(self.asked.recv_timeout(timeout), Err(RecvTimeoutError::Timeout));
        self.is_asked
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.handle.close();
    }
}

struct Agent {
    follower: Follower<Disk>,
    stop: Stop,
    stream: Stream,
    table: Table,
    parser: Option<Parser>,
    keys: KeyRule,
    record_bytes_max: usize,
    /// Records and bytes of a batch.
    batch: (usize, usize),
    records: u64,
    bytes: u64,
    unparsed: u64,
    told: HashSet<String>,
}

impl Agent {
    fn follow(&mut self, context: &Context, engine: &Engine, args: &Args) -> Result<(), Failure> {
        let mut maintained = Instant::now();
        loop {
            self.follower.look(time::now_ms());
            while self.put_some(context)? && !self.stop.wait(Duration::ZERO) {}
            self.tell(context);
            if maintained.elapsed() >= MAINTAIN_EVERY {
                maintained = Instant::now();
                engine.maintain()?;
                self.table.compact(engine.store())?;
            }
            if self.stop.is_asked || args.once || self.stop.wait(args.interval) {
                return Ok(());
            }
        }
    }

    /// Puts a batch, with the positions behind its records. Returns whether there may be more at once.
    fn put_some(&mut self, context: &Context) -> Result<bool, Failure> {
        let now_ms = time::now_ms();
        let (mut room, mut lines) = (Room { records: self.batch.0, bytes: self.batch.1 }, Vec::new());
        let more = self.follower.read(now_ms, &mut room, &mut lines);
        let changes = self.follower.take_changes(now_ms);
        if lines.is_empty() && changes.is_empty() {
            return Ok(more);
        }
        let keys: Vec<String> = lines.iter().map(|line| self.key_of(line)).collect();
        let data: Vec<Vec<u8>> = lines.into_iter().map(|line| self.convert(line)).collect();
        let entries: Vec<PutRecordsEntry<'_>> =
            keys.iter().zip(&data).map(|(key, data)| PutRecordsEntry::new(key, data)).collect();
        let stream = self.stream.state.id;
        let fill = |transaction: &mut crate::Transaction| {
            let mut change = Change::default();
            for (id, row) in &changes {
                let key = rows::file_key(stream, id.device, id.inode);
                match row {
                    Some(row) => change.put(key, row.encode()),
                    None => change.remove(key),
                };
            }
            self.table.change(transaction, change)
        };
        loop {
            match self.stream.put_with(&entries, fill) {
                Err(error) if error.is_retryable() => {
                    context.warn(&format!("{error}; trying again"));
                    if self.stop.wait(Duration::from_secs(1)) {
                        return Err(error.into());
                    }
                }
                other => {
                    other?;
                    break;
                }
            }
        }
        self.records += data.len() as u64;
        self.bytes += data.iter().map(|data| data.len() as u64).sum::<u64>();
        Ok(more)
    }

    /// What the rule says, or a random one.
    fn key_of(&self, line: &[u8]) -> String {
        let found = self.keys.of(line).and_then(partition_key);
        found.map_or_else(|| format!("{:016x}", self.stream.shared.store.core().env.random.next_u64()), str::to_owned)
    }

    /// A line as it is put. One that would be too large as JSON is put as it is: nothing is lost.
    fn convert(&mut self, line: Vec<u8>) -> Vec<u8> {
        let Some(parser) = &self.parser else { return line };
        let (json, is_parsed) = parser.to_json(&line);
        let fits = json.len() <= self.record_bytes_max;
        self.unparsed += u64::from(!is_parsed || !fits);
        if fits { json } else { line }
    }

    fn tell(&mut self, context: &Context) {
        for note in self.follower.take_notes() {
            if self.told.len() >= NOTES_MAX {
                self.told.clear();
            }
            if self.told.insert(note.clone()) {
                context.warn(&note);
            }
        }
    }
}
