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
//! | `originals` | which of them a new one may be a copy of |
//! | `cut` | where a record begins and ends |
//! | `parse` | lines as JSON |

mod cut;
mod files;
mod follow;
mod followed;
mod originals;
mod parse;
mod stop;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use regex::Regex;
use serde_json::json;

use self::cut::CutRule;
use self::files::{Disk, FileId};
use self::follow::Follower;
use self::followed::{Room, Rules};
use self::parse::Parser;
use self::stop::Stop;
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
/// The longest line that fits a record of any stream.
const LINE_BYTES: usize = (1 << 20) - KEY_BYTES;
/// So many of the followed files stay open, if the process may have so many beside those of the store.
const OPEN_MAX: usize = 4096;
/// Descriptors for the store, and some besides.
const OTHERS_OPEN: usize = 768;
/// So many paths are named where something is to be told of more.
const NAMED_MAX: usize = 3;
/// Notes that were told are remembered, so that each is told once; not more of them than this.
const NOTES_MAX: usize = 1000;

/// Arguments of `braidlog agent`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files to follow: patterns with *, ?, [abc] and **, in quotes so that the shell leaves them to us
    ///
    /// Files that come to match later are followed, too. A file that is renamed is read to its end, also under a name that does
    /// not match. A file that is cut off is read from its beginning; a copy that was made of it before, beside it and under a
    /// name that begins as its own, is read from where the file was left. Nothing is read of files compressed with gzip, zstd, bzip2
    /// or xz. As in shells, * and ? don't match a point that a name begins with.
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
    ///
    /// What comes after the last newline of a file is put, too, if the file was left alone for as long as --idle says; otherwise it
    /// is told of and left for the next time. What could not be read is told of, and the exit code is 1.
    #[arg(long)]
    once: bool,
    /// Start at the end of the files that are there when the agent runs for the first time for this stream
    #[arg(long)]
    from_end: bool,
    /// A record has several lines and begins with one that this expression matches
    #[arg(long, value_name = "RE")]
    first_line: Option<regex::bytes::Regex>,
    /// Take an unfinished record for whole when nothing came after it for so long: the last record of several lines, and the last
    /// line of a file that was renamed or deleted, or with --once of any
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
    let folder = std::env::current_dir().map_err(Failure::io("find the current folder"))?;
    let disk = Disk::new(&args.files, &folder).map_err(Failure::Usage)?;
    let stop = Stop::listen(context.json)?;
    let open_max = raise_file_limit().saturating_sub(OTHERS_OPEN).clamp(16, OPEN_MAX);
    let (engine, stream) = open(context, &args)?;
    let table = Table::open(engine.store(), &format!("{INTERNAL_PREFIX}agent"))?;
    let largest = engine.store().core().largest_append();
    let record_bytes_max = line_bytes_max(&stream);
    let bytes_max = args.line_bytes_max.map_or(LINE_BYTES, |max| max as usize);
    let rules = Rules {
        cut: CutRule { first_line: args.first_line.clone(), bytes_max: bytes_max.min(largest / 2) },
        idle_ms: args.idle.as_millis() as u64,
        from_end: args.from_end,
        once: args.once,
        open_max,
        rows_max: BATCH_RECORDS.min(largest / 4096).max(1),
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
    let unread = if args.once { some_of(agent.follower.unread().iter().map(|path| &**path)) } else { None };
    let Agent { mut stop, stream, table, .. } = agent;
    drop((stream, table));
    let closed = stop.at_last(|| engine.close());
    let so_far = format!("after {} in stream {:?}", units::counted(records, "record"), args.stream);
    outcome.map_err(|failure| failure.at(so_far))?;
    context.closed(closed)?;
    let json =
        json!({ "stream": args.stream, "files": files, "records": records, "bytes": bytes, "unparsed": unparsed });
    let line = format!(
        "{} of {} into stream {:?}: {}",
        units::counted(records, "record"),
        units::counted(files as u64, "file"),
        args.stream,
        units::bytes(bytes)
    );
    context.answer(json, &line)?;
    unread.map_or(Ok(()), |files| Err(Failure::Other(format!("could not read {files}"))))
}

/// Opens the store and the stream, or makes them, if nothing speaks against it.
fn open(context: &Context, args: &Args) -> Result<(Engine, Stream), Failure> {
    crate::stream::check_name("StreamName", &args.stream)?;
    let too_long = |max: usize| {
        let max = units::count(max as u64);
        Failure::Usage(format!("--line-bytes-max must be from 1 to {max} for this stream"))
    };
    let wanted = args.line_bytes_max.unwrap_or(LINE_BYTES as u64);
    if wanted == 0 {
        return Err(too_long(LINE_BYTES));
    }
    // Longer ones fit only a stream that was made for them.
    let must_exist = wanted > LINE_BYTES as u64;
    let create = !args.no_create && !must_exist;
    let refuse = |failure| match failure {
        Failure::NotFound(_) | Failure::Engine(Error::ResourceNotFound { .. }) if !args.no_create => {
            too_long(LINE_BYTES)
        }
        other => other,
    };
    let engine = streams::own(context, create).map_err(refuse)?;
    let stream = streams::open_or_create(&engine, &args.stream, create).map_err(refuse)?;
    let max = line_bytes_max(&stream);
    if wanted > max as u64 {
        return Err(too_long(max));
    }
    Ok((engine, stream))
}

/// The longest line that fits a record of the stream.
fn line_bytes_max(stream: &Stream) -> usize {
    stream.describe().max_record_kib as usize * 1024 - KEY_BYTES
}

/// Has more files open than shells allow, if the system lets us. Returns how many.
fn raise_file_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = (OPEN_MAX + OTHERS_OPEN) as u64;
    let Some(current) = current.filter(|current| *current < wanted) else { return wanted as usize };
    let raised = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let is_raised = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }).is_ok();
    (if is_raised { raised } else { current }) as usize
}

/// Names some of these paths, and says how many more there are; `None` if there are none.
fn some_of<'a>(paths: impl Iterator<Item = &'a Path>) -> Option<String> {
    let all: Vec<String> = paths.map(|path| path.display().to_string()).collect();
    let named = all[..all.len().min(NAMED_MAX)].join(", ");
    match all.len().saturating_sub(NAMED_MAX) {
        _ if all.is_empty() => None,
        0 => Some(named),
        more => Some(format!("{named} and {more} more")),
    }
}

fn kept(table: &Table, stream: u64) -> Result<BTreeMap<FileId, FileRow>, Error> {
    let damaged = |what| Error::damaged("the positions of the agent", 0)(what);
    let row = |(key, value): (bytes::Bytes, bytes::Bytes)| {
        let (_, device, inode) = rows::parse_key(&key).map_err(damaged)?;
        Ok((FileId { device, inode }, FileRow::decode(&value).map_err(damaged)?))
    };
    table.rows(&rows::stream_prefix(stream)).into_iter().map(row).collect()
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
            let stop = &mut self.stop;
            self.follower.look(time::now_ms(), &mut || stop.wait(Duration::ZERO));
            // What is nowhere else any more is put even so.
            while !self.stop.wait(Duration::ZERO) || self.follower.has_rests() {
                if !self.put_some(context)? {
                    break;
                }
            }
            self.tell(context, args.once);
            if maintained.elapsed() >= MAINTAIN_EVERY {
                maintained = Instant::now();
                let table = &self.table;
                self.stop.during(|| {
                    engine.maintain()?;
                    table.compact(engine.store())
                })?;
            }
            if self.stop.is_asked() || args.once || self.stop.wait(args.interval) {
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
        let (stream, table) = (&self.stream, &self.table);
        let fill = |transaction: &mut crate::Transaction| {
            let mut change = Change::default();
            for (id, row) in &changes {
                let key = rows::file_key(stream.state.id, id.device, id.inode);
                match row {
                    Some(row) => change.put(key, row.encode()),
                    None => change.remove(key),
                };
            }
            table.change(transaction, change)
        };
        loop {
            match self.stop.during(|| stream.put_with(&entries, fill)) {
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

    fn tell(&mut self, context: &Context, is_last: bool) {
        let mut notes = self.follower.take_notes();
        if is_last && let Some(files) = some_of(self.follower.unfinished()) {
            notes.push(format!("what may be unfinished at the end of {files} is left for the next time"));
        }
        for note in notes {
            if self.told.len() >= NOTES_MAX {
                self.told.clear();
            }
            if self.told.insert(note.clone()) {
                context.warn(&note);
            }
        }
    }
}
