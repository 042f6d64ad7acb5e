//! Drives an engine by hand on a simulated disk, one operation at a time, and holds every answer against the oracle.

mod groups;
mod limits;
mod on_its_way;
pub mod operations;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use braidlog::env::sim::{Crash, ManualClock, Profile, SeededRandom, SimDisk, Tape};
use braidlog::env::{Clock, Env};
use braidlog::manual::ManualEngine;
use braidlog::stream::{
    Consumer, ConsumerStatus, Distribution, GetRecords, HashKey, OnDemandOptions, PutRecords, PutRecordsEntry,
    PutTicket, Record, Shard, ShardFilter, ShardId, ShardMetric, StartingPosition, Stream, StreamMode, StreamStatus,
    ThroughputLimits,
};
use braidlog::{Engine, EngineOptions, Result as Answer, StoreOptions};

use limits::{Out, Rooms};

use super::oracle::{ConsumerModel, Kind, Model, Put, ShardModel, StreamModel, Verdict, kind_of};
use crate::ensure;

pub const NAMES: [&str; 3] = ["clicks", "orders", "views"];
const HOUR_MS: u64 = 3_600_000;
const TOKEN_MS: u64 = 300_000;
/// Few, so that histories reach it, as are the next two.
const SCALINGS_PER_DAY: u32 = 2;
const OPEN_SHARDS_MAX: usize = 10;
const CONSUMERS_MAX: usize = 2;
/// Of the records that a shard of an on-demand stream takes in a second: so few that histories split them.
const HOT: u64 = 2;

pub fn options() -> EngineOptions {
    let store = StoreOptions::new()
        .journal_file_bytes(256 << 10)
        .journal_files_max(4)
        .bulk_bytes(8192)
        .memory_bytes(512 << 10)
        .open_files_max(16)
        .retention_interval(Duration::from_secs(1));
    EngineOptions::new().store(store).scalings_per_day(Some(SCALINGS_PER_DAY))
}

/// As [`options`], with limits that histories reach.
fn options_of_a_run() -> EngineOptions {
    let mut on_demand = OnDemandOptions::default();
    on_demand.interval = Duration::from_secs(1);
    on_demand.split_records_per_second = HOT;
    on_demand.merge_records_per_second = HOT / 2;
    on_demand.merge_after = Duration::from_secs(60);
    on_demand.shards_min = 1;
    let options = options().on_demand(on_demand).open_shards_max(OPEN_SHARDS_MAX as u32);
    options.consumers_max(Some(CONSUMERS_MAX as u32))
}

/// `life` tells the randomness of one life from that of another.
pub fn env_of(disk: &SimDisk, clock: &Arc<ManualClock>, life: u64) -> Env {
    Env { disk: Arc::new(disk.clone()), clock: clock.clone(), random: Arc::new(SeededRandom::new(life)) }
}

pub fn id(index: u32) -> ShardId {
    format!("shardId-{index:012}").parse().expect("it is a shard id")
}

/// A call that puts records and was not answered yet.
#[derive(Debug)]
struct Outstanding {
    stream: String,
    life: u64,
    /// With the shard each must go to; `None` where the engine chooses.
    puts: Vec<(Put, Option<u32>)>,
    ticket: Option<PutTicket>,
}

/// A shard iterator that is kept for later.
struct Held {
    token: String,
    stream: String,
    life: u64,
    shard: u32,
    position: usize,
    issued_ms: u64,
}

/// What may have happened besides, once the machine is dead.
#[derive(Clone)]
enum Maybe {
    /// This, wholly.
    After(Box<Model>),
    /// Some of the steps that bring a stream to a number of shards, which count for the day or don't.
    Scaled(String, bool),
    /// Some of the steps of a maintenance: these shards had expired.
    Maintained(BTreeMap<String, BTreeSet<u32>>),
}

pub struct Run {
    pub disk: SimDisk,
    pub clock: Arc<ManualClock>,
    pub tape: Tape,
    pub engine: Option<ManualEngine>,
    pub model: Model,
    /// How long control operations take, most of the time; zero in a history without transitions.
    transition_time: Duration,
    /// How long they take in this life, in milliseconds.
    time_ms: u64,
    /// What becomes of calls beyond a shard's throughput, in this life.
    limits: ThroughputLimits,
    /// What each shard may give, by the life of its stream and its index.
    rooms: BTreeMap<(u64, u32), Rooms>,
    /// Whether this life got further than its opening. One that did not may have done what was due all the same, so the next has
    /// the same idea of what is due.
    has_lived: bool,
    maybe: Option<Maybe>,
    outstanding: Vec<Outstanding>,
    held: Vec<Held>,
    next_tag: u64,
    next_life: u64,
    /// Operations done.
    pub done: u64,
}

impl Run {
    pub fn begin(tape: Tape, profile: Profile, transition_time: Duration) -> Verdict<Run> {
        let disk = SimDisk::new(tape.clone());
        disk.set_profile(profile);
        let mut run = Run {
            disk,
            clock: Arc::new(ManualClock::new()),
            tape,
            engine: None,
            model: Model::default(),
            transition_time,
            time_ms: 0,
            limits: ThroughputLimits::Off,
            rooms: BTreeMap::new(),
            has_lived: true,
            maybe: None,
            outstanding: Vec::new(),
            held: Vec::new(),
            next_tag: 1,
            next_life: 1,
            done: 0,
        };
        run.open()?;
        Ok(run)
    }

    /// Another machine with a copy of this disk, and what is known. Nothing is open on it, nothing is on its way.
    pub fn on(&self, disk: SimDisk, tape: Tape) -> Run {
        disk.set_tape(tape.clone());
        Run {
            disk,
            clock: Arc::new(ManualClock::at(self.clock.wall_ms())),
            tape,
            engine: None,
            model: self.model.clone(),
            transition_time: self.transition_time,
            time_ms: self.time_ms,
            limits: ThroughputLimits::Off,
            rooms: BTreeMap::new(),
            has_lived: self.has_lived,
            maybe: self.maybe.clone(),
            outstanding: self
                .outstanding
                .iter()
                .map(|o| Outstanding { stream: o.stream.clone(), life: o.life, puts: o.puts.clone(), ticket: None })
                .collect(),
            held: Vec::new(),
            next_tag: self.next_tag + 1_000_000,
            next_life: self.next_life + 1_000_000,
            done: 0,
        }
    }

    pub fn now_ms(&self) -> u64 {
        self.clock.wall_ms()
    }

    pub fn is_dead(&self) -> bool {
        self.disk.is_dead()
    }

    pub fn open(&mut self) -> Verdict {
        let life = self.tape.choose("life", u64::MAX);
        if self.has_lived {
            self.time_ms = self.time_of_a_life().as_millis() as u64;
            self.limits = self.limits_of_a_life();
        }
        self.rooms.clear();
        self.has_lived = false;
        let time = Duration::from_millis(self.time_ms);
        let options = options_of_a_run().transition_time(time).throughput_limits(self.limits);
        match ManualEngine::open(env_of(&self.disk, &self.clock, life), options) {
            Ok(engine) => {
                self.engine = Some(engine);
                self.model.reopened();
                if let Some(Maybe::After(after)) = &mut self.maybe {
                    after.reopened();
                }
            }
            Err(error) => ensure!(self.is_dead(), "open: {error}"),
        }
        self.has_lived = !self.is_dead();
        Ok(())
    }

    /// Now and then an owner opens it without transitions, and finds everything done.
    fn time_of_a_life(&self) -> Duration {
        let at_once = !self.transition_time.is_zero() && self.is_random() && self.tape.choose("at_once", 8) == 7;
        if at_once { Duration::ZERO } else { self.transition_time }
    }

    /// A script says itself what happens.
    fn is_random(&self) -> bool {
        self.done > 0
    }

    fn machines(&mut self) -> Option<&mut braidlog::manual::ManualStore> {
        self.engine.as_mut().map(ManualEngine::machines)
    }

    pub fn engine(&self) -> Engine {
        self.engine.as_ref().expect("an engine is open").engine().clone()
    }

    pub fn stream(&self, name: &str) -> Verdict<Stream> {
        self.engine().stream(name).map_err(|e| format!("{name}: {e}"))
    }

    /// What an answer must be. `None`: it was an error, as it must, or the machine is dead.
    fn hear<T>(&self, what: &str, answer: Answer<T>, expected: Option<Kind>) -> Verdict<Option<T>> {
        match (answer, expected) {
            (Ok(value), None) => Ok(Some(value)),
            (Ok(_), Some(kind)) => Err(format!("{what}: went through, {kind:?} was expected")),
            (Err(_), _) if self.is_dead() => Ok(None),
            (Err(error), Some(kind)) if kind_of(&error) == Some(kind) => Ok(None),
            (Err(error), expected) => Err(format!("{what}: {error} ({expected:?} was expected)")),
        }
    }

    /// A control operation: `after` is what it makes of the model.
    pub fn control<T>(&mut self, what: &str, after: Result<Model, Kind>, answer: Answer<T>) -> Verdict<Option<T>> {
        let (after, kind) = match after {
            Ok(after) => (Some(after), None),
            Err(kind) => (None, Some(kind)),
        };
        let heard = self.hear(what, answer, kind)?;
        match (&heard, after) {
            (Some(_), Some(after)) => self.model = after,
            (None, Some(after)) => self.maybe = Some(Maybe::After(Box::new(after))),
            _ => {}
        }
        // Also a call that was refused may have done what was due.
        self.learn()?;
        Ok(heard)
    }

    fn with(&self, name: &str, change: impl FnOnce(&mut StreamModel) -> Result<(), Kind>) -> Result<Model, Kind> {
        let mut after = self.model.clone();
        change(after.streams.get_mut(name).ok_or(Kind::NotFound)?)?;
        Ok(after)
    }

    /// Fills in what only the engine says of new streams and shards, and looks whether it can be.
    fn learn(&mut self) -> Verdict {
        let (now_ms, time_ms) = (self.now_ms(), self.time_ms);
        // To ask is to look, and what is due is left for whoever looks next.
        let streams = self.model.streams.iter().filter(|(_, stream)| stream.due(now_ms, time_ms).is_none());
        let names: Vec<String> = streams.map(|(name, _)| name.clone()).collect();
        names.iter().try_for_each(|name| self.learn_of(name))
    }

    fn learn_of(&mut self, name: &str) -> Verdict {
        if self.is_dead() {
            return Ok(());
        }
        let stream = self.stream(name)?;
        let model = self.model.streams.get_mut(name).ok_or("no such stream")?;
        let created_ms = stream.describe().created_ms;
        ensure!(*model.created_ms.get_or_insert(created_ms) == created_ms, "{name}: was created at another time");
        let found: BTreeMap<u32, Shard> = stream.shards().into_iter().map(|s| (s.shard_id.index(), s)).collect();
        let before: Vec<ShardModel> = model.shards.clone();
        for shard in &mut model.shards {
            let Some(found) = found.get(&shard.index) else { continue };
            let at = format!("{name}: {}", found.shard_id);
            let starting = *shard.starting.get_or_insert(found.starting_sequence_number);
            ensure!(starting == found.starting_sequence_number, "{at}: its starting number changed");
            let opened_ms = *shard.opened_ms.get_or_insert(found.opened_ms);
            ensure!(opened_ms == found.opened_ms, "{at}: its opening changed");
            shard.closed_ms = shard.closed_ms.or(found.closed_ms);
            ensure!(shard.closed_ms == found.closed_ms, "{at}: its closing changed");
            for parent in before.iter().filter(|p| shard.parents.contains(&p.index)) {
                let above = parent.records.iter().all(|put| put.number.is_none_or(|n| n < starting));
                ensure!(above, "{at}: starts below a record of its parent");
                ensure!(parent.starting.is_none_or(|s| s < starting), "{at}: starts below its parent");
            }
            if let Some(ending) = found.ending_sequence_number {
                let below = shard.records.iter().all(|put| put.number.is_none_or(|n| n < ending));
                ensure!(below && starting < ending, "{at}: ends below one of its records");
                let children = before.iter().filter(|c| c.parents.contains(&shard.index));
                let mut starts = children.filter_map(|c| c.starting);
                ensure!(starts.all(|s| ending < s), "{at}: ends above the start of a child");
            }
        }
        Ok(())
    }

    // ---- puts

    pub fn new_put(&mut self, auto: bool) -> Put {
        self.next_tag += 1;
        let key = (!auto || self.tape.choose("keyless", 2) == 0).then(|| match self.tape.choose("key", 13) {
            // As long as a key may be, which is told in characters and not in bytes.
            12 => "ü".repeat(256),
            key => format!("key {key}"),
        });
        let explicit = match self.tape.choose("explicit", 6) {
            0 => Some(u128::from(self.tape.choose("hash_high", u64::MAX)) << 64),
            1 => [0, u128::MAX].get(self.tape.choose("hash_end", 2) as usize).copied(),
            _ => None,
        };
        let len = match self.tape.choose("len", 12) {
            0 => 3000 + self.tape.choose("len_large", 9000) as usize,
            1 | 2 => 300,
            _ => 8 + self.tape.choose("len_small", 60) as usize,
        };
        Put { tag: self.next_tag, key, explicit, len, number: None, arrival_ms: 0 }
    }

    /// Hands records over; they are on their way then.
    pub fn put(&mut self, name: &str, puts: Vec<Put>) -> Verdict {
        self.rest();
        let model = self.model.streams.get(name).ok_or("no such stream")?;
        let stream = self.stream(name)?;
        let data: Vec<Vec<u8>> = puts.iter().map(Put::data).collect();
        let entries: Vec<PutRecordsEntry<'_>> = puts.iter().zip(&data).map(|(put, data)| entry(put, data)).collect();
        let expected = |put: &Put| (!model.auto).then(|| model.owner(put.hash_key()));
        let puts: Vec<(Put, Option<u32>)> = puts.iter().map(|put| (put.clone(), expected(put))).collect();
        let life = model.life;
        // As the service: a stream that is being made is not there.
        let refused = model.is_creating(self.now_ms()).then_some(Kind::NotFound);
        let answer = stream.put_records_ticket(&entries);
        let ticket = self.hear("put_records", answer, refused)?;
        if refused.is_some() {
            return Ok(());
        }
        self.outstanding.push(Outstanding { stream: name.to_owned(), life, puts, ticket });
        Ok(())
    }

    /// Waits for everything that is on its way.
    pub fn settle(&mut self) -> Verdict {
        if let Some(machines) = self.machines() {
            machines.settle();
        }
        for mut waiting in std::mem::take(&mut self.outstanding) {
            match waiting.ticket.take() {
                Some(ticket) => {
                    let answer = ticket.wait();
                    let left = self.answered(&waiting, answer)?;
                    if !left.is_empty() {
                        self.outstanding.push(Outstanding { puts: left, ..waiting });
                    }
                }
                None => self.outstanding.push(waiting),
            }
        }
        Ok(())
    }

    /// Takes the answer to a put; what was not acknowledged, because the machine is dead, is left.
    fn answered(&mut self, waiting: &Outstanding, answer: PutRecords) -> Verdict<Vec<(Put, Option<u32>)>> {
        ensure!(
            answer.records.len() == waiting.puts.len(),
            "{} answers to {} puts",
            answer.records.len(),
            waiting.puts.len()
        );
        let mut left = Vec::new();
        for ((put, expected), answer) in waiting.puts.iter().zip(answer.records) {
            match answer {
                Ok(put_record) => {
                    let index = put_record.shard_id.index();
                    ensure!(expected.is_none_or(|e| e == index), "{put:?} went to {index}, not {expected:?}");
                    let (number, arrival_ms) = (put_record.sequence_number, put_record.arrival_ms);
                    let put = Put { number: Some(number), arrival_ms, ..put.clone() };
                    self.took(&waiting.stream, waiting.life, index, put)?;
                }
                Err(_) if self.is_dead() => left.push((put.clone(), *expected)),
                Err(error) => return Err(format!("{put:?}: {error}")),
            }
        }
        Ok(left)
    }

    fn took(&mut self, name: &str, life: u64, index: u32, put: Put) -> Verdict {
        let now_ms = self.now_ms();
        let Some(stream) = self.model.streams.get_mut(name).filter(|s| s.life == life) else { return Ok(()) };
        let shard = stream.shard_mut(index).ok_or_else(|| format!("{name}: no shard {index}"))?;
        ensure!(put.arrival_ms <= now_ms, "{put:?} arrived later than now");
        let above = |last: &Put| last.number < put.number && last.arrival_ms <= put.arrival_ms;
        ensure!(
            shard.records.last().is_none_or(above),
            "{name} {index}: {put:?} is not above {:?}",
            shard.records.last()
        );
        ensure!(shard.starting.is_none_or(|s| Some(s) < put.number), "{name} {index}: {put:?} is below its start");
        shard.records.push(put);
        Ok(())
    }

    // ---- reading

    fn same(&self, found: &Record, put: &Put) -> Verdict {
        ensure!(found.data == put.data(), "record {:?}: wrong bytes, not {put:?}", found.sequence_number);
        ensure!(found.partition_key() == put.key.as_deref(), "{put:?}: has key {:?}", found.partition_key());
        ensure!(put.number == Some(found.sequence_number), "{put:?}: has number {}", found.sequence_number);
        ensure!(found.arrival_ms == put.arrival_ms, "{put:?}: arrived {}", found.arrival_ms);
        Ok(())
    }

    /// One answer to get-records against what it must be from `at` on. Answers with the place after it.
    fn page(&self, name: &str, index: u32, at: usize, limit: usize, answer: &GetRecords) -> Verdict<usize> {
        let stream = &self.model.streams[name];
        let shard = stream.shard(index).ok_or("no such shard")?;
        let from = at.max(shard.first_visible(self.now_ms(), stream.retention_hours));
        let upto = shard.records.len().min(from + limit);
        let found = answer.records.len();
        ensure!(found == upto - from, "{name} {index}: {found} records from {from}, not {}", upto - from);
        answer.records.iter().zip(&shard.records[from..upto]).try_for_each(|(found, put)| self.same(found, put))?;
        let at_end = upto == shard.records.len();
        let over = at_end && !shard.open;
        ensure!(answer.next_shard_iterator.is_none() == over, "{name} {index}: its end is not told right ({over})");
        let behind = match answer.records.last() {
            Some(last) if !at_end => self.now_ms() - last.arrival_ms,
            _ => 0,
        };
        ensure!(answer.millis_behind_latest == behind, "{} ms behind, not {behind}", answer.millis_behind_latest);
        let children: Vec<(u32, Vec<u32>, u128)> = answer
            .child_shards
            .iter()
            .map(|c| {
                (c.shard_id.index(), c.parent_shards.iter().map(|p| p.index()).collect(), c.hash_key_range.start.0)
            })
            .collect();
        let expected: Vec<(u32, Vec<u32>, u128)> =
            stream.children(index).iter().filter(|_| over).map(|c| (c.index, c.parents.clone(), c.start)).collect();
        ensure!(children == expected, "{name} {index}: children {children:?}, not {expected:?}");
        Ok(upto)
    }

    fn choose_stream(&self) -> Option<String> {
        let names: Vec<&String> = self.model.streams.keys().collect();
        (!names.is_empty()).then(|| names[self.tape.choose("stream", names.len() as u64) as usize].clone())
    }

    fn choose_listed(&self, name: &str) -> Option<u32> {
        let listed: Vec<u32> = self.model.streams[name].listed(self.now_ms()).iter().map(|s| s.index).collect();
        (!listed.is_empty()).then(|| listed[self.tape.choose("shard", listed.len() as u64) as usize])
    }

    fn choose_open(&self, name: &str) -> u32 {
        let open = self.model.streams[name].open();
        open[self.tape.choose("open", open.len() as u64) as usize].index
    }

    /// An iterator of any type, read to the end or kept for later.
    fn iterate(&mut self, name: &str) -> Verdict {
        let Some(index) = self.choose_listed(name) else { return Ok(()) };
        let stream = self.stream(name)?;
        let now_ms = self.now_ms();
        let model = &self.model.streams[name];
        if model.is_creating(now_ms) {
            let answer = stream.shard_iterator(id(index), StartingPosition::TrimHorizon);
            return self.hear("an iterator", answer, Some(Kind::NotFound)).map(drop);
        }
        let shard = model.shard(index).expect("it was chosen");
        let (first, end) = (shard.first_visible(now_ms, model.retention_hours), shard.records.len());
        let mut expected = None;
        let (position, at) = match self.tape.choose("position", 9) {
            0 => (StartingPosition::TrimHorizon, first),
            1 => (StartingPosition::Latest, end),
            2 => match shard.starting {
                Some(starting) if self.tape.choose("after", 2) == 0 => {
                    (StartingPosition::AfterSequenceNumber(starting), 0)
                }
                Some(starting) => (StartingPosition::AtSequenceNumber(starting), 0),
                None => return Ok(()),
            },
            3 | 4 if end > 0 => {
                let at = self.tape.choose("at", end as u64) as usize;
                (StartingPosition::AtSequenceNumber(shard.records[at].number.expect("it has one")), at)
            }
            5 if end > 0 => {
                let at = self.tape.choose("at", end as u64) as usize;
                (StartingPosition::AfterSequenceNumber(shard.records[at].number.expect("it has one")), at + 1)
            }
            6 => {
                // A number of another shard, stream or life.
                let others = self.model.streams.iter().flat_map(|(n, s)| s.shards.iter().map(move |s| (n, s)));
                let other =
                    others.filter(|(n, s)| *n != name || s.index != index).filter_map(|(_, s)| s.starting).next();
                let Some(number) = other else { return Ok(()) };
                expected = Some(Kind::Invalid);
                (StartingPosition::AtSequenceNumber(number), 0)
            }
            7 => {
                expected = Some(Kind::Invalid);
                (StartingPosition::AtTimestamp(UNIX_EPOCH + Duration::from_millis(now_ms + 1)), 0)
            }
            _ => {
                let ms = match shard.records.get(self.tape.choose("at", end as u64 + 1) as usize) {
                    Some(put) => put.arrival_ms + self.tape.choose("later", 2),
                    None => now_ms.saturating_sub(self.tape.choose("ago", 90 * HOUR_MS)),
                }
                .min(now_ms);
                (StartingPosition::AtTimestamp(UNIX_EPOCH + Duration::from_millis(ms)), shard.first_since(ms))
            }
        };
        let what = format!("{name} {index} {position:?}");
        let life = model.life;
        if expected.is_none() && !self.admits(life, index, Out::Iterator) {
            expected = Some(Kind::Throughput);
        }
        let Some(token) = self.hear(&what, stream.shard_iterator(id(index), position), expected)? else {
            return Ok(());
        };
        if self.tape.choose("hold", 4) == 0 {
            self.held.push(Held {
                token,
                stream: name.to_owned(),
                life,
                shard: index,
                position: at,
                issued_ms: now_ms,
            });
            return Ok(());
        }
        let limit = 1 + self.tape.choose("limit", 40) as usize;
        self.read_on(name, index, at, limit, token).map_err(|e| format!("{what}: {e}"))
    }

    fn read_on(&mut self, name: &str, index: u32, mut at: usize, limit: usize, mut token: String) -> Verdict {
        let (engine, life) = (self.engine(), self.model.streams[name].life);
        for _ in 0..50 {
            let expected = (!self.admits(life, index, Out::Read)).then_some(Kind::Throughput);
            let answer = self.hear("get records", engine.get_records(&token, limit), expected)?;
            let Some(answer) = answer else { return Ok(()) };
            self.gave(life, index, &answer);
            let next = self.page(name, index, at, limit, &answer)?;
            match answer.next_shard_iterator {
                Some(next) if !answer.records.is_empty() => token = next,
                _ => return Ok(()),
            }
            at = next;
        }
        Ok(())
    }

    /// A token that was issued a while ago, perhaps in another life.
    fn use_held(&mut self) -> Verdict {
        if self.held.is_empty() {
            return Ok(());
        }
        let held = self.held.swap_remove(self.tape.choose("held", self.held.len() as u64) as usize);
        let stream = self.model.streams.get(&held.stream).filter(|s| s.life == held.life);
        let expected = if self.now_ms() - held.issued_ms > TOKEN_MS {
            Some(Kind::Expired)
        } else if stream.and_then(|s| s.shard(held.shard)).is_none() {
            Some(Kind::NotFound)
        } else if !self.admits(held.life, held.shard, Out::Read) {
            Some(Kind::Throughput)
        } else {
            None
        };
        let answer = self.engine().get_records(&held.token, 7);
        if let Some(answer) = self.hear("a kept iterator", answer, expected)? {
            self.gave(held.life, held.shard, &answer);
            self.page(&held.stream, held.shard, held.position, 7, &answer)?;
        }
        Ok(())
    }

    fn list(&mut self, name: &str) -> Verdict {
        self.look(name)?;
        if self.is_dead() {
            return Ok(());
        }
        let stream = self.stream(name)?;
        let (model, now_ms) = (&self.model.streams[name], self.now_ms());
        let horizon_ms = model.horizon_ms(now_ms);
        let ms = now_ms.saturating_sub(self.tape.choose("ago", 30 * HOUR_MS));
        let time = UNIX_EPOCH + Duration::from_millis(ms);
        let after = self.tape.choose("after", u64::from(model.next) + 1) as u32;
        let open_at = |s: &ShardModel, ms: u64| s.opened_ms.unwrap_or(0) <= ms && s.closed_ms.is_none_or(|c| ms < c);
        // A walk begins with what was open, and with what came of shards that are gone.
        let gone = |index: u32| model.shards.iter().all(|s| s.index != index);
        let begins = |s: &ShardModel, ms: u64| {
            open_at(s, ms) || s.opened_ms.unwrap_or(0) > ms && s.parents.iter().all(|parent| gone(*parent))
        };
        type Lets<'a> = Box<dyn Fn(&ShardModel) -> bool + 'a>;
        let (filter, lets): (ShardFilter, Lets<'_>) = match self.tape.choose("filter", 6) {
            0 => (ShardFilter::FromTrimHorizon, Box::new(|_| true)),
            1 => (ShardFilter::AtTrimHorizon, Box::new(move |s| begins(s, horizon_ms))),
            2 => (ShardFilter::AtLatest, Box::new(|s| s.open)),
            3 => (ShardFilter::AtTimestamp(time), Box::new(move |s| begins(s, ms.max(horizon_ms)))),
            4 => (ShardFilter::FromTimestamp(time), Box::new(move |s| s.closed_ms.is_none_or(|c| c > ms))),
            _ => (ShardFilter::AfterShardId(id(after)), Box::new(move |s| s.index > after)),
        };
        let expected: Vec<u32> = model.listed(now_ms).into_iter().filter(|s| lets(s)).map(|s| s.index).collect();
        let limit = 1 + self.tape.choose("limit", 4) as usize;
        if let Err(kind) = model.check_made(now_ms) {
            return self.hear("list", stream.list_shards(filter, None, limit), Some(kind)).map(drop);
        }
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let Some(page) = self.hear("list", stream.list_shards(filter, from, limit), None)? else { return Ok(()) };
            ensure!(page.shards.len() <= limit, "a page of {} shards", page.shards.len());
            found.extend(page.shards.iter().map(|s| s.shard_id.index()));
            from = page.shards.last().map(|s| s.shard_id);
            if !page.has_more {
                break;
            }
            ensure!(from.is_some(), "an empty page that is not the last");
        }
        ensure!(found == expected, "{name}: {filter:?} lists {found:?}, not {expected:?}");
        let page = self.engine().list_streams(Some("clicks"), 1).map_err(|e| e.to_string())?;
        let names: Vec<&String> = self.model.names(now_ms).into_iter().filter(|n| n.as_str() > "clicks").collect();
        ensure!(page.stream_names.iter().eq(names.iter().take(1).copied()), "streams after clicks: {page:?}");
        ensure!(page.has_more == (names.len() > 1), "streams after clicks: {page:?}");
        Ok(())
    }

    // ---- everything

    /// Whether settings, shards and consumers are what a model says.
    fn differs(&self, model: &Model) -> Option<String> {
        let (engine, now_ms) = (self.engine(), self.now_ms());
        let names = engine.list_streams(None, 1000).ok()?.stream_names;
        if !names.iter().eq(model.names(now_ms)) {
            return Some(format!("streams are {names:?}, not {:?}", model.names(now_ms)));
        }
        names.iter().find_map(|name| {
            let found = engine.stream(name).expect("it is listed");
            let Some(stream) = model.streams.get(name) else {
                let status = found.describe().stream_status;
                return (status != StreamStatus::Deleting).then(|| format!("{name}: is {status:?} while it goes"));
            };
            stream_differs(&found, stream, now_ms).map(|why| format!("{name}: {why}"))
        })
    }

    /// Everything that is known, against everything that can be read.
    pub fn check(&mut self) -> Verdict {
        self.settle()?;
        self.look_at_all()?;
        if self.is_dead() {
            return Ok(());
        }
        if let Some(why) = self.differs(&self.model) {
            return Err(why);
        }
        self.learn()?;
        let now_ms = self.now_ms();
        for (name, model) in self.model.streams.iter().filter(|(_, model)| !model.is_creating(now_ms)) {
            let stream = self.stream(name)?;
            groups::check(&stream, model, now_ms).map_err(|why| format!("{name}: {why}"))?;
            for shard in &model.shards {
                let found = read_all(&stream, shard.index)?;
                let expected = &shard.records[shard.first_visible(now_ms, model.retention_hours)..];
                let at = |e: String| format!("{name} {}: {e}", shard.index);
                ensure!(
                    found.len() == expected.len(),
                    "{name} {}: {} records, not {}",
                    shard.index,
                    found.len(),
                    expected.len()
                );
                found.iter().zip(expected).try_for_each(|(f, e)| self.same(f, e)).map_err(at)?;
            }
        }
        Ok(())
    }

    /// The machine dies, or its owner; what is found afterwards is held against what may be there.
    pub fn crash(&mut self, kind: Crash) -> Verdict {
        let left = self.disk.crash(kind, &self.tape);
        self.engine = None;
        self.stay_off();
        let mut left = Some(left);
        for deep in 0.. {
            self.disk = left.take().expect("a disk is left");
            self.disk.set_tape(self.tape.clone());
            if deep < 2 && self.tape.choose("die_in_recovery", 5) == 4 {
                self.disk.set_torn_crash_at(self.tape.choose("inside", 24));
            }
            self.open().map_err(|e| format!("{deep} deep: {e}"))?;
            if !self.is_dead() {
                self.disk.set_torn_crash_at(u64::MAX);
                break;
            }
            left = Some(self.disk.crash(Crash::Power, &self.tape));
            self.engine = None;
        }
        self.recovered()
    }

    /// Opens what another machine left and looks what of it is there.
    pub fn recover(&mut self) -> Verdict {
        self.open()?;
        if self.is_dead() { Ok(()) } else { self.recovered() }
    }

    /// What is there, if it is what a model says once all that is due is done.
    fn found(&self, model: &Model) -> Verdict<Model> {
        let mut found = model.clone();
        for (name, stream) in &mut found.streams {
            self.looked_at(name, stream)?;
        }
        self.differs(&found).map_or(Ok(found), Err)
    }

    fn recovered(&mut self) -> Verdict {
        self.exactly_what_is_due_is_done("a crash")?;
        let mut closed = BTreeSet::new();
        match self.maybe.take() {
            Some(Maybe::After(after)) => match self.found(&after) {
                Ok(found) => {
                    let before = std::mem::replace(&mut self.model, found);
                    closed = closed_between(&before, &after);
                    // What was acknowledged since stays.
                    for (name, stream) in &mut self.model.streams {
                        let known = before.streams.get(name).filter(|known| known.life == stream.life);
                        for shard in &mut stream.shards {
                            let known = known.and_then(|known| known.shard(shard.index));
                            shard.records = known.map(|known| known.records.clone()).unwrap_or_default();
                        }
                    }
                }
                Err(why) => {
                    let before = self.found(&self.model);
                    self.model = before.map_err(|before| format!("neither before ({before}) nor after ({why})"))?;
                }
            },
            Some(Maybe::Scaled(name, counts)) => {
                self.adopt_scaling(&name, counts)?;
                self.model = self.found(&self.model)?;
            }
            Some(Maybe::Maintained(expired)) => {
                let before = self.model.clone();
                self.adopt_maintenance(&expired)?;
                closed = closed_between(&before, &self.model);
                self.model = self.found(&self.model)?;
            }
            None => self.model = self.found(&self.model)?,
        }
        self.learn()?;
        self.adopt_puts(&closed)?;
        self.check()
    }

    /// Of the puts that were not answered, each shard has a front part.
    /// `closed`: shards that a call closed which was not answered, and is done.
    fn adopt_puts(&mut self, closed: &BTreeSet<(String, u32)>) -> Verdict {
        let outstanding = std::mem::take(&mut self.outstanding);
        let engine = self.engine();
        let names: Vec<String> = self.model.streams.keys().cloned().collect();
        for name in names {
            let stream = engine.stream(&name).map_err(|e| e.to_string())?;
            let life = self.model.streams[&name].life;
            let mut lost: BTreeSet<u32> = BTreeSet::new();
            let shards: Vec<u32> = self.model.streams[&name].shards.iter().map(|s| s.index).collect();
            let mut found: BTreeMap<u32, std::collections::VecDeque<Record>> = BTreeMap::new();
            for index in &shards {
                let shard = self.model.streams[&name].shard(*index).expect("it is there");
                let last = shard.records.last().and_then(|put| put.number);
                let records = read_all(&stream, *index)?;
                found.insert(*index, records.into_iter().filter(|r| Some(r.sequence_number) > last).collect());
            }
            let waiting = outstanding.iter().filter(|w| w.stream == name && w.life == life);
            for (put, expected) in waiting.flat_map(|w| &w.puts) {
                let data = put.data();
                let is_it = |r: &Record| r.data == data;
                let index = found.iter().find(|(_, tail)| tail.front().is_some_and(is_it)).map(|(index, _)| *index);
                let Some(index) = index else {
                    lost.extend(expected);
                    continue;
                };
                ensure!(expected.is_none_or(|e| e == index), "{name}: {put:?} is in shard {index}");
                ensure!(!lost.contains(&index), "{name} {index}: {put:?} is there, one before it is not");
                let record = found.get_mut(&index).and_then(|tail| tail.pop_front()).expect("it was looked at");
                let put = Put { number: Some(record.sequence_number), arrival_ms: record.arrival_ms, ..put.clone() };
                self.took(&name, life, index, put)?;
            }
            for (index, tail) in found {
                let tags: Vec<u64> =
                    tail.iter().map(|r| r.data.first_chunk().map_or(0, |tag| u64::from_le_bytes(*tag))).collect();
                ensure!(tags.is_empty(), "{name} {index}: records {tags:?} that nobody put, of {outstanding:?}");
            }
            // What was put before a shard was closed comes before the close.
            let bad = lost.iter().find(|index| closed.contains(&(name.clone(), **index)));
            ensure!(bad.is_none(), "{name} {bad:?}: it is closed, but a put from before the close is not there");
        }
        Ok(())
    }

    /// Of a maintenance that was not answered a front part was done: of the streams in turn, shards that were split and merged, and
    /// then all of those that had expired.
    fn adopt_maintenance(&mut self, expired: &BTreeMap<String, BTreeSet<u32>>) -> Verdict {
        let mut reached = true;
        for (name, expired) in expired {
            let before = self.model.streams[name].next;
            if self.model.streams[name].on_demand {
                self.adopt(name)?;
            }
            let resharded = self.model.streams[name].next > before;
            ensure!(reached || !resharded, "{name}: its shards were maintained before those of an earlier stream");
            let stream = self.stream(name)?;
            let gone = |index: &u32| stream.child_shards(id(*index)).is_err();
            let gone: BTreeSet<u32> = expired.iter().copied().filter(gone).collect();
            ensure!(gone.is_empty() || gone == *expired, "{name}: of {expired:?} only {gone:?} are gone");
            ensure!(reached || gone.is_empty(), "{name}: its shards expired before those of an earlier stream");
            reached &= gone == *expired;
            self.model.streams.get_mut(name).ok_or("no such stream")?.drop_shards(&gone);
        }
        Ok(())
    }

    /// An update of the shard count counts for the day if anything came of it, a scaling without limits does not.
    fn adopt_scaling(&mut self, name: &str, counts: bool) -> Verdict {
        let before = self.model.streams[name].next;
        self.adopt(name)?;
        let now_ms = self.now_ms();
        let model = self.model.streams.get_mut(name).ok_or("no such stream")?;
        if counts && model.next > before {
            model.scaled_ms.push(now_ms);
        }
        Ok(())
    }

    fn adopt(&mut self, name: &str) -> Verdict {
        let found = self.stream(name)?.shards();
        adopt(name, self.model.streams.get_mut(name).ok_or("no such stream")?, &found)
    }
}

/// Shards that are open in the one and closed in the other.
fn closed_between(before: &Model, after: &Model) -> BTreeSet<(String, u32)> {
    let streams = before.streams.iter().filter_map(|(name, stream)| Some((name, stream, after.streams.get(name)?)));
    let closed = streams.flat_map(|(name, stream, after)| {
        let closed = stream.shards.iter().filter(|shard| shard.open);
        let closed = closed.filter(|shard| after.shard(shard.index).is_some_and(|after| !after.open));
        closed.map(|shard| (name.clone(), shard.index)).collect::<Vec<_>>()
    });
    closed.collect()
}

/// Takes over what the engine made of a stream's shards, if it can have come of what there was.
fn adopt(name: &str, model: &mut StreamModel, found: &[Shard]) -> Verdict {
    let known = model.next;
    for shard in found.iter().filter(|s| s.shard_id.index() >= known) {
        let parents: Vec<u32> =
            [shard.parent_shard_id, shard.adjacent_parent_shard_id].iter().flatten().map(|p| p.index()).collect();
        let (start, end) = (shard.hash_key_range.start.0, shard.hash_key_range.end.0);
        for index in &parents {
            let parent = model.shard_mut(*index).ok_or_else(|| format!("{name}: no parent {index}"))?;
            let inside = parent.start <= start && end <= parent.end || parents.len() == 2;
            ensure!(inside, "{name}: {} is not of its parent's range", shard.shard_id);
            parent.open = false;
        }
        ensure!(!parents.is_empty(), "{name}: {} has no parent", shard.shard_id);
        model.open_child(ShardModel::new(shard.shard_id.index(), start, end, parents));
    }
    model.next = found.iter().map(|s| s.shard_id.index() + 1).max().unwrap_or(0).max(model.next);
    tiles(model).map_err(|e| format!("{name}: {e}"))
}

/// Every hash key has exactly one owner.
pub fn tiles(model: &StreamModel) -> Verdict {
    let open = model.open();
    let mut next = Some(0);
    for shard in &open {
        ensure!(Some(shard.start) == next, "open shards don't tile at {}", shard.start);
        next = shard.end.checked_add(1);
    }
    ensure!(next.is_none() && !open.is_empty(), "open shards don't reach the end");
    Ok(())
}

pub fn entry<'a>(put: &'a Put, data: &'a [u8]) -> PutRecordsEntry<'a> {
    PutRecordsEntry { partition_key: put.key.as_deref(), explicit_hash_key: put.explicit.map(HashKey), data }
}

pub fn read_all(stream: &Stream, index: u32) -> Verdict<Vec<Record>> {
    let reader = stream.read(id(index), StartingPosition::TrimHorizon).map_err(|e| format!("{index}: {e}"))?;
    reader.map(|record| record.map_err(|e| format!("{index}: {e}"))).collect()
}

fn stream_differs(stream: &Stream, model: &StreamModel, now_ms: u64) -> Option<String> {
    let found = stream.describe();
    let mode = if model.on_demand { StreamMode::OnDemand } else { StreamMode::Provisioned };
    let distribution = if model.auto { Distribution::Auto } else { Distribution::ByKey };
    let counts = (found.open_shard_count, found.consumer_count);
    let right = found.stream_status == model.status(now_ms)
        && found.mode == mode
        && found.distribution == distribution
        && found.retention_hours == model.retention_hours
        && found.max_record_kib == model.max_record_kib
        && found.warm_throughput_mib == model.warm.filter(|mib| *mib != 0)
        && found.shard_metrics.iter().eq(model.metrics.iter())
        && counts == (model.open().len(), model.consumers.len());
    if !right {
        return Some(format!("described as {found:?}"));
    }
    if !stream.tags().iter().map(|(k, v)| (k, v)).eq(&model.tags) || stream.resource_policy() != model.policy {
        return Some(format!("tags {:?} or policy {:?}", stream.tags(), stream.resource_policy()));
    }
    if stream.encryption_key() != model.encryption_key {
        return Some(format!("its key is {:?}, not {:?}", stream.encryption_key(), model.encryption_key));
    }
    if let Some(why) = groups::differ(stream, model) {
        return Some(why);
    }
    let registered = model.consumers.iter().map(|(name, consumer)| (name, (consumer, consumer.status(now_ms))));
    let leaving = model.leaving(now_ms).map(|(name, consumer)| (name, (consumer, ConsumerStatus::Deleting)));
    let expected: BTreeMap<&String, (&ConsumerModel, ConsumerStatus)> = registered.chain(leaving).collect();
    let consumers = stream.consumers();
    let same = |c: &Consumer| {
        expected.get(&c.consumer_name).is_some_and(|(m, status)| {
            c.consumer_status == *status
                && c.tags.iter().map(|(k, v)| (k, v)).eq(&m.tags)
                && c.resource_policy == m.policy
                && m.arn.as_ref().is_none_or(|arn| *arn == c.consumer_arn)
        })
    };
    if consumers.len() != expected.len() || !consumers.iter().all(same) {
        return Some(format!("consumers are {consumers:?}, not {expected:?}"));
    }
    let shards = stream.shards();
    // Not yet learned closings count as open, so that what was just closed is there.
    let expected = model.listed(now_ms);
    let listed = |s: &Shard| {
        (s.shard_id.index(), s.hash_key_range.start.0, s.hash_key_range.end.0, s.ending_sequence_number.is_none())
    };
    let modelled = |s: &&ShardModel| (s.index, s.start, s.end, s.open);
    if !shards.iter().map(listed).eq(expected.iter().map(modelled)) {
        let found: Vec<_> = shards.iter().map(listed).collect();
        return Some(format!("shards are {found:?}, not {:?}", expected.iter().map(modelled).collect::<Vec<_>>()));
    }
    let parents = |s: &Shard| {
        [s.parent_shard_id, s.adjacent_parent_shard_id].iter().flatten().map(|p| p.index()).collect::<Vec<_>>()
    };
    shards
        .iter()
        .zip(&expected)
        .find(|(s, m)| parents(s) != m.parents)
        .map(|(s, m)| format!("{s:?}: parents are not {:?}", m.parents))
}

pub fn metric(n: u64) -> ShardMetric {
    ShardMetric::ALL[n as usize % 7]
}
