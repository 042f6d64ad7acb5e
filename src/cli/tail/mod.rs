//! `braidlog tail`: prints the records of a stream as they come: of a running server, or of a store that `--store` names.

mod client;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

use super::cat::{self, Begin};
use super::env::DEFAULT_ENDPOINT;
use super::render::{OutputArgs, Render};
use super::streams;
use super::time::{self, Moment};
use super::{Context, Failure};
use crate::stream::{Record, SequenceNumber, ShardId, deaggregate};
use crate::wire::kinesis as api;
use crate::wire::scalar::Timestamp;
use client::{Client, Refused};

/// Between looks at a shard that had nothing more: below the five a second that the service allows.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// After a server was not there, or was too busy.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Shards that are asked about in one page.
const SHARDS_PAGE: i32 = 1_000;

/// What arrives has a time of the clock's last tick, which is up to so long ago.
const TICK_MS: u64 = 10;

/// Arguments of `braidlog tail`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Requests are signed with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (default test), for the region in AWS_REGION (default
us-east-1). AWS_CA_BUNDLE names a file of certificates to trust instead of the system's. With --store, and no --endpoint, the records
come from the store's files, as by `braidlog cat --stream NAME --follow`, and no server is asked.")]
pub(crate) struct Args {
    /// The stream: all of its shards in the order of arrival, and what splits and merges make of them
    #[arg(required_unless_present = "named")]
    stream: Option<String>,
    /// The stream, as put and cat take it
    #[arg(long = "stream", id = "named", value_name = "NAME", conflicts_with = "stream")]
    named: Option<String>,
    /// The server [env: AWS_ENDPOINT_URL]
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Only this shard and what comes of it: 3, or shardId-000000000003
    #[arg(long, value_parser = streams::parse_shard)]
    shard: Option<ShardId>,
    /// Start at "trim", the oldest record; at "latest", which is the default; at @TIME; or with the record of this sequence number
    ///
    /// The number says which shard it is of: that one is read, and what comes of it.
    #[arg(long, value_name = "WHERE", default_value = "latest", value_parser = parse_from)]
    from: From,
    /// Stop after so many records
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Go on with what is put later, which is the default
    #[arg(long, short, conflicts_with = "no_follow")]
    follow: bool,
    /// Stop at the end of what there is
    #[arg(long)]
    no_follow: bool,
    /// Take records apart that a producer packed several user records into
    #[arg(long)]
    deaggregate: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Where a shard is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Trim,
    Latest,
    Time(Moment),
    Sequence(SequenceNumber),
}

fn parse_from(text: &str) -> Result<From, String> {
    let wrong = || "it is \"trim\", \"latest\", @TIME or a sequence number, which has 56 digits".to_owned();
    match cat::parse_from(text) {
        Ok(Begin::Trim) => Ok(From::Trim),
        Ok(Begin::Latest) => Ok(From::Latest),
        Ok(Begin::Time(moment)) => Ok(From::Time(moment)),
        Ok(Begin::Sequence(number)) => Ok(From::Sequence(number)),
        Ok(Begin::Number(_)) => Err(wrong()),
        Err(why) if text.starts_with('@') => Err(why),
        Err(_) => Err(wrong()),
    }
}

impl From {
    /// Which shards to begin with; of a sequence number there is one.
    fn filter(self) -> Option<(&'static str, Option<Timestamp>)> {
        match self {
            From::Trim => Some(("AT_TRIM_HORIZON", None)),
            From::Latest => Some(("AT_LATEST", None)),
            From::Time(moment) => Some(("AT_TIMESTAMP", Some(timestamp(moment)))),
            From::Sequence(_) => None,
        }
    }

    fn shard(self) -> Option<ShardId> {
        match self {
            From::Sequence(number) => Some(number.shard_id()),
            From::Trim | From::Latest | From::Time(_) => None,
        }
    }

    /// The position, its sequence number and its time.
    fn position(self) -> (&'static str, Option<String>, Option<Timestamp>) {
        match self {
            From::Trim => ("TRIM_HORIZON", None, None),
            From::Latest => ("LATEST", None, None),
            From::Time(moment) => ("AT_TIMESTAMP", None, Some(timestamp(moment))),
            From::Sequence(number) => ("AT_SEQUENCE_NUMBER", Some(number.to_string()), None),
        }
    }

    fn of_a_store(self) -> Begin {
        match self {
            From::Trim => Begin::Trim,
            From::Latest => Begin::Latest,
            From::Time(moment) => Begin::Time(moment),
            From::Sequence(number) => Begin::Sequence(number),
        }
    }
}

fn timestamp(moment: Moment) -> Timestamp {
    Timestamp(i64::try_from(moment.0).unwrap_or(i64::MAX))
}

pub(crate) fn run(context: &mut Context, args: Args) -> Result<(), Failure> {
    let stream = args.stream.or(args.named).unwrap_or_default();
    if context.store_named && args.endpoint.is_none() {
        let of_a_store = cat::Args::of_stream(stream, args.shard, args.from.of_a_store(), args.output);
        return cat::run(context, of_a_store.with(args.deaggregate, args.count, !args.no_follow));
    }
    let render = Render::of_stream(&args.output, context)?;
    let named = std::env::var("AWS_ENDPOINT_URL").ok().filter(|url| !url.is_empty());
    let endpoint = args.endpoint.clone().or(named).unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned());
    let mut tail = Tail {
        client: Client::new(&endpoint)?,
        stream,
        shards: BTreeMap::new(),
        done: BTreeSet::new(),
        parents: BTreeMap::new(),
    };
    tail.begin(args.from, args.shard)?;
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let (records, more) = match tail.look() {
            Ok(looked) => looked,
            // A server that is restarted is there again soon, and positions are good beyond its life.
            Err(Refused::Away(why)) if !args.no_follow => {
                context.warn(&format!("{why}; trying again"));
                std::thread::sleep(RETRY_AFTER);
                continue;
            }
            Err(refused) => return Err(refused.into()),
        };
        let any = !records.is_empty();
        for (shard, record) in records {
            if left == 0 {
                break;
            }
            left -= print(context, &render, args.deaggregate, shard, record, left)?;
        }
        context.out.flush()?;
        if tail.shards.is_empty() || (args.no_follow && !any && !more) {
            return Ok(());
        }
        if !more {
            std::thread::sleep(LOOK_EVERY);
        }
    }
    Ok(())
}

/// Prints a record, or the user records in it; says how many lines that were.
fn print(
    context: &mut Context,
    render: &Render,
    apart: bool,
    shard: ShardId,
    record: Record,
    left: u64,
) -> Result<u64, Failure> {
    if !apart {
        render.write(&(shard, record), &mut context.out)?;
        return Ok(1);
    }
    let mut printed = 0;
    for user in deaggregate(record, None).take(usize::try_from(left).unwrap_or(usize::MAX)) {
        render.write(&(shard, user), &mut context.out)?;
        printed += 1;
    }
    Ok(printed)
}

/// A shard that is read.
struct Cursor {
    /// Where the next look begins; none until it is asked for.
    iterator: Option<String>,
    /// Where to ask for one.
    position: From,
    /// When it began.
    since: Moment,
    /// The last record that was got: what an iterator that expired is replaced by.
    last: Option<String>,
}

struct Tail {
    client: Client,
    stream: String,
    shards: BTreeMap<ShardId, Cursor>,
    /// Shards that were read to their end.
    done: BTreeSet<ShardId>,
    /// What the shards came of, as far as it is known.
    parents: BTreeMap<ShardId, Vec<ShardId>>,
}

type Outcome<T> = Result<T, Refused>;

impl Tail {
    fn begin(&mut self, from: From, only: Option<ShardId>) -> Result<(), Failure> {
        let only = only.or(from.shard());
        let filter = |(kind, timestamp): (&str, _)| api::ShardFilter {
            kind: Some(kind.to_owned()),
            timestamp,
            ..Default::default()
        };
        let found = match from.filter() {
            Some(of) => self.list(Some(filter(of)))?,
            None => Vec::new(),
        };
        for shard in self.list(None)? {
            let parents = [&shard.parent_shard_id, &shard.adjacent_parent_shard_id].into_iter().flatten();
            let parents = parents.map(|id| id.parse()).collect::<Result<Vec<ShardId>, _>>()?;
            self.parents.insert(shard.shard_id.unwrap_or_default().parse()?, parents);
        }
        for shard in found {
            let id: ShardId = shard.shard_id.unwrap_or_default().parse()?;
            if only.is_none_or(|only| only == id) {
                self.add(id, from);
            }
        }
        match only {
            // A closed shard is listed by no filter but that of the trim horizon; it is read all the same.
            Some(only) if self.shards.is_empty() => self.add(only, from),
            _ => {}
        }
        Ok(())
    }

    fn list(&mut self, shard_filter: Option<api::ShardFilter>) -> Result<Vec<api::Shard>, Failure> {
        let mut input = api::ListShardsInput {
            stream_name: Some(self.stream.clone()),
            max_results: Some(SHARDS_PAGE),
            shard_filter,
            ..Default::default()
        };
        let mut found = Vec::new();
        loop {
            let page: api::ListShardsOutput = self.client.call("ListShards", &input)?;
            found.extend(page.shards.into_iter().flatten());
            let Some(token) = page.next_token else { return Ok(found) };
            input =
                api::ListShardsInput { next_token: Some(token), max_results: Some(SHARDS_PAGE), ..Default::default() };
        }
    }

    fn add(&mut self, shard: ShardId, position: From) {
        if !self.done.contains(&shard) {
            let since = Moment(time::now_ms().saturating_sub(TICK_MS));
            self.shards.entry(shard).or_insert(Cursor { iterator: None, position, since, last: None });
        }
    }

    /// What is new in all shards, in the order of arrival, and whether there is more at once.
    fn look(&mut self) -> Outcome<(Vec<(ShardId, Record)>, bool)> {
        let (mut found, mut more) = (Vec::new(), false);
        for shard in self.shards.keys().copied().collect::<Vec<_>>() {
            let got = match self.get(shard) {
                Ok(Some(got)) => got,
                // It was not looked at: that is no end.
                Ok(None) => {
                    more = true;
                    continue;
                }
                // What was got already is not to be lost: the next look meets the same, or does not.
                Err(_) if !found.is_empty() => break,
                Err(refused) => return Err(refused),
            };
            more |= got.millis_behind_latest.is_some_and(|behind| behind > 0);
            for record in got.records.into_iter().flatten() {
                if let Some(cursor) = self.shards.get_mut(&shard) {
                    cursor.last.clone_from(&record.sequence_number);
                }
                found.push((shard, read(record)?));
            }
            match got.next_shard_iterator {
                Some(next) => {
                    if let Some(cursor) = self.shards.get_mut(&shard) {
                        cursor.iterator = Some(next);
                    }
                }
                None => {
                    self.shards.remove(&shard);
                    self.done.insert(shard);
                    self.follow(&got.child_shards.unwrap_or_default())?;
                    more = true;
                }
            }
        }
        // Stable: records of a shard keep their order.
        found.sort_by_key(|(_, record)| record.arrival_ms);
        Ok((found, more))
    }

    /// Whether a shard is being read, or will be when what it came of has been.
    fn comes(&self, shard: ShardId) -> bool {
        // From what was split and merged again and again, ever more ways lead back to one shard: each is looked at once.
        let (mut seen, mut left) = (BTreeSet::new(), vec![shard]);
        while let Some(shard) = left.pop() {
            if self.shards.contains_key(&shard) {
                return true;
            }
            if !self.done.contains(&shard) && seen.insert(shard) {
                left.extend(self.parents.get(&shard).into_iter().flatten());
            }
        }
        false
    }

    /// Begins with the children whose parents are all read, or are not read here.
    fn follow(&mut self, children: &[api::ChildShard]) -> Outcome<()> {
        for child in children {
            let parents =
                child.parent_shards.iter().flatten().map(|id| id.parse()).collect::<Result<Vec<ShardId>, _>>()?;
            let id: ShardId = child.shard_id.as_deref().unwrap_or_default().parse()?;
            if parents.iter().all(|parent| !self.comes(*parent)) {
                self.add(id, From::Trim);
            }
            self.parents.insert(id, parents);
        }
        Ok(())
    }

    /// Records from where the shard's cursor stands; `None` if it had to be set anew.
    fn get(&mut self, shard: ShardId) -> Outcome<Option<api::GetRecordsOutput>> {
        let Some(cursor) = self.shards.get(&shard) else { return Ok(None) };
        let iterator = match &cursor.iterator {
            Some(iterator) => iterator.clone(),
            None => {
                let (kind, starting_sequence_number, timestamp) = match &cursor.last {
                    Some(last) => ("AFTER_SEQUENCE_NUMBER", Some(last.clone()), None),
                    None => cursor.position.position(),
                };
                let input = api::GetShardIteratorInput {
                    stream_name: Some(self.stream.clone()),
                    shard_id: Some(shard.to_string()),
                    shard_iterator_type: Some(kind.to_owned()),
                    starting_sequence_number,
                    timestamp,
                    ..Default::default()
                };
                let output: api::GetShardIteratorOutput = self.client.call("GetShardIterator", &input)?;
                output.shard_iterator.unwrap_or_default()
            }
        };
        let input = api::GetRecordsInput { shard_iterator: Some(iterator.clone()), ..Default::default() };
        let got = self.client.call("GetRecords", &input);
        if let Some(cursor) = self.shards.get_mut(&shard) {
            cursor.iterator = Some(iterator);
        }
        match got {
            Ok(got) => Ok(Some(got)),
            // The next look asks for another one.
            Err(Refused::Said { code, .. }) if code == "ExpiredIteratorException" => {
                if let Some(cursor) = self.shards.get_mut(&shard) {
                    cursor.iterator = None;
                    // Of nothing that came: the newest record is another one by now.
                    if cursor.position == From::Latest {
                        cursor.position = From::Time(cursor.since);
                    }
                }
                Ok(None)
            }
            Err(Refused::Said { code, .. }) if code == "ProvisionedThroughputExceededException" => {
                std::thread::sleep(LOOK_EVERY);
                Ok(None)
            }
            Err(other) => Err(other),
        }
    }
}

fn read(record: api::Record) -> Outcome<Record> {
    let number: SequenceNumber = record.sequence_number.unwrap_or_default().parse()?;
    let arrival_ms = record.approximate_arrival_timestamp.map_or(0, |at| at.0.max(0).unsigned_abs());
    let data = record.data.unwrap_or_default().0;
    Ok(Record::of_answer(number, arrival_ms, record.partition_key.map(String::into), data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Server;
    use crate::stream::{HashKey, PutRecordsEntry, StartingPosition, StreamOptions, ThroughputLimits};
    use crate::{Engine, EngineOptions};

    #[test]
    fn splits_and_merges_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path()).unwrap();
        let server = Server::start(engine.clone()).unwrap();
        let clicks = engine.create_stream("clicks", StreamOptions::new().shards(1)).unwrap();
        let put = |numbers: std::ops::Range<u32>| {
            for i in numbers {
                clicks.put_record(&format!("k{i}"), i.to_string().as_bytes()).unwrap();
            }
        };
        put(0..10);
        clicks.split_shard(clicks.open_shards()[0].shard_id, HashKey(1 << 127)).unwrap();
        put(10..20);
        let open = clicks.open_shards();
        let client = Client::new(&server.endpoint()).unwrap();
        let mut tail = Tail {
            client,
            stream: "clicks".to_owned(),
            shards: BTreeMap::new(),
            done: BTreeSet::new(),
            parents: BTreeMap::new(),
        };
        tail.begin(From::Trim, None).unwrap();
        let mut found: Vec<u32> = Vec::new();
        let mut look = |tail: &mut Tail, until: usize| {
            while found.len() < until {
                let Ok((records, _)) = tail.look() else { panic!("a look was refused") };
                found.extend(
                    records
                        .iter()
                        .map(|(_, record)| std::str::from_utf8(&record.data).unwrap().parse::<u32>().unwrap()),
                );
            }
        };
        look(&mut tail, 20);
        clicks.merge_shards(open[0].shard_id, open[1].shard_id).unwrap();
        put(20..30);
        look(&mut tail, 30);
        assert_eq!(found[..10], (0..10).collect::<Vec<_>>());
        found.sort_unstable();
        assert_eq!(found, (0..30).collect::<Vec<_>>());
        assert_eq!(tail.shards.len(), 1);
        server.stop();
        assert!(matches!(tail.look(), Err(Refused::Away(_))));
    }

    /// What is merged may have been split off in the meantime: both are read before what came of them.
    #[test]
    fn a_shard_waits_for_a_parent_that_was_not_begun_yet() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path()).unwrap();
        let server = Server::start(engine.clone()).unwrap();
        let clicks = engine.create_stream("clicks", StreamOptions::new().shards(3)).unwrap();
        let mut next = 0;
        let mut put = |count: u32| {
            for n in next..next + count {
                clicks.put_record(&format!("k{}", n % 7), n.to_string().as_bytes()).unwrap();
            }
            next += count;
        };
        put(70);
        clicks.scale_to(2).unwrap();
        put(70);
        let client = Client::new(&server.endpoint()).unwrap();
        let (shards, done, parents) = Default::default();
        let mut tail = Tail { client, stream: "clicks".to_owned(), shards, done, parents };
        tail.begin(From::Trim, None).unwrap();
        let mut last: BTreeMap<u32, u32> = BTreeMap::new();
        let mut count = 0;
        while count < 140 {
            let Ok((records, _)) = tail.look() else { panic!("a look was refused") };
            for (_, record) in records {
                let n: u32 = std::str::from_utf8(&record.data).unwrap().parse().unwrap();
                assert!(last.insert(n % 7, n).is_none_or(|before| before < n), "{n} is out of order");
                count += 1;
            }
        }
        server.stop();
    }

    /// What splits and merges made of one shard in turn has more ways back to it than anybody can go.
    #[test]
    fn a_long_lineage_is_looked_through_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path()).unwrap();
        let server = Server::start(engine).unwrap();
        let endpoint = server.endpoint();
        let mut parents = BTreeMap::new();
        for round in (0..150).step_by(3) {
            let [split, left, right, merged] = [0, 1, 2, 3].map(|n| ShardId(round + n));
            parents.insert(left, vec![split]);
            parents.insert(right, vec![split]);
            parents.insert(merged, vec![left, right]);
        }
        let (done, looked) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let client = Client::new(&endpoint).unwrap();
            let stream = "clicks".to_owned();
            let mut tail = Tail { client, stream, shards: BTreeMap::new(), done: BTreeSet::new(), parents };
            // As after `--from latest`: nothing of what was before is read.
            let before = tail.comes(ShardId(150));
            tail.add(ShardId(0), From::Trim);
            done.send((before, tail.comes(ShardId(150))))
        });
        assert_eq!(looked.recv_timeout(Duration::from_secs(10)), Ok((false, true)));
        server.stop();
    }

    #[test]
    fn a_look_that_the_limits_refuse_is_not_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let options = EngineOptions::new().throughput_limits(ThroughputLimits::Enforce);
        let engine = Engine::open_with(dir.path(), options).unwrap();
        let server = Server::start(engine.clone()).unwrap();
        let clicks = engine.create_stream("clicks", StreamOptions::new().shards(1).max_record_kib(10 << 10)).unwrap();
        clicks.put_record("k", &[b'x'; (10 << 20) - 1]).unwrap();
        let client = Client::new(&server.endpoint()).unwrap();
        let (shards, done, parents) = Default::default();
        let mut tail = Tail { client, stream: "clicks".to_owned(), shards, done, parents };
        tail.begin(From::Trim, None).unwrap();
        // Others read it, too: for five seconds the shard gives nothing more.
        let iterator = clicks.shard_iterator(ShardId(0), StartingPosition::TrimHorizon).unwrap();
        assert_eq!(engine.get_records(&iterator, 1).unwrap().records.len(), 1);
        let Ok((records, more)) = tail.look() else { panic!("a look was refused") };
        assert!(!records.is_empty() || more, "with --no-follow this would be taken for the end");
        server.stop();
    }

    /// A client that slept for longer than iterators live, say.
    #[test]
    fn what_comes_while_an_iterator_expires_is_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let lifetime = Duration::from_secs(2);
        let engine = Engine::open_with(dir.path(), EngineOptions::new().iterator_lifetime(lifetime)).unwrap();
        let server = Server::start(engine.clone()).unwrap();
        let clicks = engine.create_stream("clicks", StreamOptions::new().shards(1)).unwrap();
        clicks.put_record("k", b"before").unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let client = Client::new(&server.endpoint()).unwrap();
        let (shards, done, parents) = Default::default();
        let mut tail = Tail { client, stream: "clicks".to_owned(), shards, done, parents };
        tail.begin(From::Latest, None).unwrap();
        let mut look = || tail.look().map(|(records, _)| records).unwrap_or_else(|_| panic!("a look was refused"));
        assert!(look().is_empty());
        clicks.put_record("k", b"after").unwrap();
        std::thread::sleep(lifetime + Duration::from_secs(1));
        let found: Vec<_> = (0..3).flat_map(|_| look()).map(|(_, record)| record.data).collect();
        assert_eq!(found, ["after"]);
        server.stop();
    }

    #[test]
    fn where_to_start_is_read() {
        assert_eq!(parse_from("trim"), Ok(From::Trim));
        assert!(matches!(parse_from("@1700000000"), Ok(From::Time(Moment(1_700_000_000_000)))));
        for wrong in ["7", "oldest", "@yesterday", ""] {
            assert!(parse_from(wrong).is_err(), "{wrong}");
        }
        assert!(parse_from("7").unwrap_err().contains("56 digits"));
    }

    #[test]
    fn from_a_sequence_number_its_shard_is_read_and_what_comes_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path()).unwrap();
        let server = Server::start(engine.clone()).unwrap();
        let clicks = engine.create_stream("clicks", StreamOptions::new().shards(2)).unwrap();
        let put = |n: u32, half: u128| {
            let entry =
                PutRecordsEntry { explicit_hash_key: Some(HashKey(half << 127)), ..PutRecordsEntry::new("k", b"") };
            clicks.put(PutRecordsEntry { data: n.to_string().as_bytes(), ..entry }, None).unwrap()
        };
        let lower: Vec<_> = (0..10).map(|n| put(n, 0)).collect();
        let _upper: Vec<_> = (10..20).map(|n| put(n, 1)).collect();
        clicks.split_shard(ShardId(0), HashKey(1 << 126)).unwrap();
        let _later: Vec<_> = (20..30).map(|n| put(n, 0)).collect();
        let client = Client::new(&server.endpoint()).unwrap();
        let (shards, done, parents) = Default::default();
        let mut tail = Tail { client, stream: "clicks".to_owned(), shards, done, parents };
        let from = parse_from(&lower[5].sequence_number.to_string()).unwrap();
        assert_eq!(from, From::Sequence(lower[5].sequence_number));
        tail.begin(from, None).unwrap();
        let mut found: Vec<u32> = Vec::new();
        let mut more = true;
        while more {
            let Ok((records, again)) = tail.look() else { panic!("a look was refused") };
            let number = |record: &Record| std::str::from_utf8(&record.data).unwrap().parse::<u32>().unwrap();
            found.extend(records.iter().map(|(_, record)| number(record)));
            more = again || !records.is_empty();
        }
        assert_eq!(found, (5..10).chain(20..30).collect::<Vec<_>>());
        // Of another shard than the one that is asked for.
        let (shards, done, parents) = Default::default();
        let client = Client::new(&server.endpoint()).unwrap();
        let mut tail = Tail { client, stream: "clicks".to_owned(), shards, done, parents };
        tail.begin(from, Some(ShardId(1))).unwrap();
        assert!(matches!(tail.look(), Err(Refused::Said { code, .. }) if code == "InvalidArgumentException"));
        server.stop();
    }
}
