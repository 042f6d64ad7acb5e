//! Drives an engine by hand on a simulated disk, one operation at a time, and holds every answer against the oracle.

mod on_its_way;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use braidlog::env::sim::{Crash, ManualClock, Profile, SeededRandom, SimDisk, Tape};
use braidlog::env::{Clock, Env};
use braidlog::manual::ManualEngine;
use braidlog::stream::{
    Consumer, ConsumerStatus, Distribution, GetRecords, HashKey, PutRecords, PutRecordsEntry, PutTicket, Record,
    SequenceNumber, Shard, ShardFilter, ShardId, ShardMetric, StartingPosition, Stream, StreamMode, StreamOptions,
    StreamStatus, SubscriptionOptions,
};
use braidlog::{Engine, EngineOptions, Result as Answer, StoreOptions};

use super::oracle::{
    Asked, ConsumerModel, Kind, Model, Put, Reshard, ShardModel, StreamModel, Verdict, kind_of, uniform,
};
use crate::ensure;

pub const NAMES: [&str; 3] = ["clicks", "orders", "views"];
const HOUR_MS: u64 = 3_600_000;
const TOKEN_MS: u64 = 300_000;
/// Few, so that histories reach it.
const SCALINGS_PER_DAY: u32 = 2;

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
    /// Some of the steps that bring a stream to a number of shards.
    Scaled(String),
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
        }
        self.has_lived = false;
        let time = Duration::from_millis(self.time_ms);
        match ManualEngine::open(env_of(&self.disk, &self.clock, life), options().transition_time(time)) {
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
        let key =
            (!auto || self.tape.choose("keyless", 2) == 0).then(|| format!("key {}", self.tape.choose("key", 12)));
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
        let Some(token) = self.hear(&what, stream.shard_iterator(id(index), position), expected)? else {
            return Ok(());
        };
        if self.tape.choose("hold", 4) == 0 {
            let life = model.life;
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
        let engine = self.engine();
        for _ in 0..50 {
            let answer = engine.get_records(&token, limit).map_err(|e| e.to_string())?;
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
        } else {
            None
        };
        let answer = self.engine().get_records(&held.token, 7);
        if let Some(answer) = self.hear("a kept iterator", answer, expected)? {
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
            Some(Maybe::Scaled(name)) => {
                self.adopt_scaling(&name)?;
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

    /// An update of the shard count counts if anything came of it.
    fn adopt_scaling(&mut self, name: &str) -> Verdict {
        let before = self.model.streams[name].next;
        self.adopt(name)?;
        let now_ms = self.now_ms();
        let model = self.model.streams.get_mut(name).ok_or("no such stream")?;
        if model.next > before {
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
        model.shards.push(ShardModel::new(shard.shard_id.index(), start, end, parents));
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

impl Run {
    /// One random operation.
    pub fn step(&mut self) -> Verdict {
        self.done += 1;
        let tape = self.tape.clone();
        if !self.transition_time.is_zero() && tape.choose("time passes", 4) == 3 {
            self.pass_time()?;
        }
        let name = match self.choose_stream() {
            Some(name) if tape.choose("other", 30) != 29 => name,
            _ => NAMES[tape.choose("name", 3) as usize].to_owned(),
        };
        if !self.model.streams.contains_key(&name) {
            let look = self.model.is_deleting(&name, self.now_ms()) && tape.choose("look", 2) == 0;
            return if look { self.deleting(&name) } else { self.create_stream(&name) };
        }
        match tape.choose("op", 100) {
            0..28 => {
                let auto = self.model.streams[&name].auto;
                let puts = (0..1 + tape.choose("puts", 6)).map(|_| self.new_put(auto)).collect();
                self.put(&name, puts)?;
                if tape.choose("wait", 4) != 0 { self.settle()? } else { self.step_without_waiting() }
            }
            28..33 => self.put_one(&name)?,
            33..36 => self.flight(&name)?,
            36..56 => {
                self.settle()?;
                if !self.is_dead() {
                    self.iterate(&name)?;
                }
            }
            56..62 => {
                self.settle()?;
                if !self.is_dead() {
                    self.use_held()?;
                }
            }
            62..68 => self.list(&name)?,
            68..73 => self.reshard(&name)?,
            73 => self.scale(&name)?,
            74..77 => self.retention(&name)?,
            77..82 => self.settings(&name)?,
            82..86 => self.consumers(&name)?,
            86..88 => self.refusals(&name)?,
            88..91 => {
                self.settle()?;
                let ms = match tape.choose("far", 6) {
                    0 => tape.choose("hours", 30) * HOUR_MS,
                    1 | 2 => tape.choose("minutes", 8) * 60_000,
                    _ => tape.choose("ms", 3_000),
                };
                self.clock.advance(Duration::from_millis(ms));
            }
            91 | 92 => self.checkpoint()?,
            93 => {
                if let Some(machines) = self.machines() {
                    machines.upkeep_step();
                }
            }
            94 => self.maintain()?,
            95 => self.reopen()?,
            96 => {
                self.settle()?;
                self.engine = None;
                if !self.is_dead() {
                    self.open_again()?;
                }
            }
            97 => self.delete(&name)?,
            _ => self.check()?,
        }
        Ok(())
    }

    pub fn step_without_waiting(&mut self) {
        if let Some(machines) = self.machines() {
            machines.commit_step_without_waiting();
        }
    }

    pub fn create_stream(&mut self, name: &str) -> Verdict {
        let shards = 1 + self.tape.choose("shards", 4) as u32;
        let auto = self.tape.choose("auto", 5) == 4;
        let on_demand = self.tape.choose("on_demand", 6) == 5;
        self.create(name, shards, auto, on_demand)
    }

    pub fn create(&mut self, name: &str, shards: u32, auto: bool, on_demand: bool) -> Verdict {
        self.next_life += 1;
        let mut options = StreamOptions::new().shards(shards).tag("team", "web");
        options = options.distribution(if auto { Distribution::Auto } else { Distribution::ByKey });
        options = options.mode(if on_demand { StreamMode::OnDemand } else { StreamMode::Provisioned });
        let mut after = self.model.clone();
        let mut model = StreamModel::new(self.next_life, shards);
        (model.auto, model.on_demand) = (auto, on_demand);
        let now_ms = self.now_ms();
        model.passing = (self.time_ms > 0).then_some((StreamStatus::Creating, now_ms + self.time_ms));
        model.tags.insert("team".into(), "web".into());
        after.streams.insert(name.to_owned(), model);
        let after = if self.model.names(now_ms).contains(&name.to_owned()) { Err(Kind::InUse) } else { Ok(after) };
        let answer = self.engine().create_stream(name, options);
        self.control("create", after, answer.map(drop))?;
        Ok(())
    }

    pub fn delete(&mut self, name: &str) -> Verdict {
        let enforce = self.tape.choose("enforce", 2) == 1;
        self.delete_stream(name, enforce)
    }

    pub fn delete_stream(&mut self, name: &str, enforce: bool) -> Verdict {
        self.settle()?;
        self.comes_due(name)?;
        if self.is_dead() {
            return Ok(());
        }
        let now_ms = self.now_ms();
        let mut after = self.model.clone();
        let gone = after.streams.remove(name);
        after.deleting.remove(name);
        if self.time_ms > 0 {
            after.deleting.insert(name.to_owned(), now_ms + self.time_ms);
        }
        let after = match gone {
            None => Err(Kind::NotFound),
            Some(stream) if stream.check_active(now_ms).is_err() => Err(Kind::InUse),
            Some(stream) if !stream.consumers.is_empty() && !enforce => Err(Kind::InUse),
            Some(_) => Ok(after),
        };
        let handle = self.engine().stream(name);
        let answer = self.engine().delete_stream(name, enforce);
        let deleted = self.control("delete", after, answer)?.is_some();
        if let (Ok(handle), true) = (handle, deleted) {
            let late = handle.put_record("key", b"late");
            ensure!(kind_of(&late.clone().unwrap_err()) == Some(Kind::NotFound), "a put to a deleted stream: {late:?}");
            let late = handle.list_shards(ShardFilter::default(), None, 5);
            ensure!(late.is_err(), "a deleted stream lists shards");
        }
        Ok(())
    }

    /// What a stream that is being deleted still says, and all that it refuses.
    fn deleting(&mut self, name: &str) -> Verdict {
        let (engine, stream) = (self.engine(), self.stream(name)?);
        let refused = |what: &str, answer: Answer<()>, kind: Kind| self.hear(what, answer, Some(kind)).map(drop);
        let status = stream.describe().stream_status;
        ensure!(status == StreamStatus::Deleting, "{name}: is {status:?} while it goes");
        refused("put", stream.put_record("key", b"late").map(drop), Kind::NotFound)?;
        refused("read", stream.shard_iterator(id(0), StartingPosition::Latest).map(drop), Kind::NotFound)?;
        refused("tag consumer", stream.tag_consumer("consumer-0", [("team", "web")]), Kind::NotFound)?;
        refused("list", stream.list_shards(ShardFilter::default(), None, 5).map(drop), Kind::InUse)?;
        refused("split", stream.split_shard(id(0), HashKey(5)), Kind::InUse)?;
        refused("mode", stream.set_mode(StreamMode::OnDemand), Kind::InUse)?;
        refused("tags", stream.add_tags([("a", "1")]), Kind::InUse)?;
        refused("register", stream.register_consumer("consumer-0", [("", ""); 0]).map(drop), Kind::InUse)?;
        refused("delete", engine.delete_stream(name, true), Kind::InUse)
    }

    /// A single put, perhaps above a number given before.
    fn put_one(&mut self, name: &str) -> Verdict {
        self.settle()?;
        let auto = self.model.streams[name].auto;
        let put = self.new_put(auto);
        let model = &self.model.streams[name];
        let route = (!auto).then(|| model.owner(put.hash_key()));
        let numbers = || model.shards.iter().flat_map(|s| &s.records).filter_map(|put| put.number);
        let mut expected = None;
        let mut minimum = match self.tape.choose("minimum", 4) {
            0 => None,
            1 => numbers().max(),
            2 => {
                let count = numbers().count() as u64;
                numbers().nth(self.tape.choose("which", count.max(1)) as usize)
            }
            _ => {
                let open = self.choose_open(name);
                let shard = model.shard(open).expect("it is open");
                // The number after the last one, which nobody was given.
                let last = shard.records.last().and_then(|put| put.number);
                let not_yet = last.or(shard.starting).map(next_number);
                expected = not_yet.map(|_| Kind::Invalid);
                not_yet
            }
        };
        // Where any shard will do there is one above: of the number's own, or what came of it.
        if let Some(shard) = route.filter(|_| expected.is_none()).and_then(|route| model.shard(route)) {
            let is_its = shard.records.iter().any(|put| put.number == minimum);
            match shard.starting.or(shard.records.iter().find_map(|put| put.number)) {
                // Numbers of two shards compare as their births do, whatever the records.
                Some(known) if !is_its && minimum.is_some_and(|minimum| known < minimum) => {
                    expected = Some(Kind::Invalid);
                }
                Some(_) => {}
                None => minimum = None,
            }
        }
        // A stream that is being made is not there, whatever else is wrong.
        expected = model.is_creating(self.now_ms()).then_some(Kind::NotFound).or(expected);
        let life = model.life;
        let data = put.data();
        let stream = self.stream(name)?;
        let answer = stream.put(entry(&put, &data), minimum);
        match self.hear("put", answer, expected)? {
            Some(answer) => {
                let index = answer.shard_id.index();
                ensure!(route.is_none_or(|r| r == index), "{put:?} went to {index}");
                let number = answer.sequence_number;
                ensure!(minimum.is_none_or(|minimum| minimum < number), "{number} is not above {minimum:?}");
                let put = Put { number: Some(number), arrival_ms: answer.arrival_ms, ..put };
                self.took(name, life, index, put)
            }
            None => {
                if self.is_dead() && expected.is_none() {
                    let puts = vec![(put, route)];
                    self.outstanding.push(Outstanding { stream: name.to_owned(), life, puts, ticket: None });
                }
                Ok(())
            }
        }
    }

    /// Eight writers have puts on their way while a control operation comes.
    pub fn flight(&mut self, name: &str) -> Verdict {
        let auto = self.model.streams[name].auto;
        for _ in 0..8 {
            let puts = (0..1 + self.tape.choose("puts", 3)).map(|_| self.new_put(auto)).collect();
            self.put(name, puts)?;
            if self.tape.choose("step", 3) == 0 {
                self.step_without_waiting();
            }
        }
        if self.model.streams[name].asked.is_some() {
            // What was asked for is done among them, not what is asked for now.
            self.clock.advance(Duration::from_millis(self.tape.choose("wait_ms", self.time_ms.max(1) * 2)));
            self.look(name)?;
        }
        match self.tape.choose("meanwhile", 4) {
            0 => self.retention(name)?,
            1 => self.scale(name)?,
            _ => self.reshard(name)?,
        }
        self.settle()
    }

    pub fn reshard(&mut self, name: &str) -> Verdict {
        let index = if self.tape.choose("any", 5) == 4 {
            self.choose_listed(name).unwrap_or(0)
        } else {
            self.choose_open(name)
        };
        let model = &self.model.streams[name];
        let shard = model.shard(index).expect("it was chosen");
        if self.tape.choose("merge", 2) == 0 || model.open().len() > 8 {
            let open = model.open();
            let at = open.iter().position(|s| s.index == index).unwrap_or(0);
            let other = match self.tape.choose("neighbour", 5) {
                0 => self.choose_open(name),
                1 => open[at.saturating_sub(1)].index,
                _ => open[(at + 1).min(open.len() - 1)].index,
            };
            self.merge(name, index, other)
        } else {
            let width = shard.end - shard.start;
            let at = match self.tape.choose("where", 8) {
                0 => shard.start,
                1 => shard.end,
                2 => shard.start.saturating_add(1),
                3 => shard.start.saturating_add(2),
                n => shard.start + width / 8 * u128::from(n),
            };
            self.split(name, index, at)
        }
    }

    pub fn split(&mut self, name: &str, index: u32, at: u128) -> Verdict {
        self.reshard_as(name, Reshard::Split { shard: index, at })
    }

    pub fn merge(&mut self, name: &str, index: u32, other: u32) -> Verdict {
        self.reshard_as(name, Reshard::Merge { one: index, other })
    }

    fn reshard_as(&mut self, name: &str, what: Reshard) -> Verdict {
        self.comes_due(name)?;
        if self.is_dead() {
            return Ok(());
        }
        let (now_ms, at_once) = (self.now_ms(), self.time_ms == 0);
        let after = self.with(name, |stream| {
            stream.check_active(now_ms)?;
            if stream.on_demand {
                return Err(Kind::OnDemand);
            }
            let mut done = stream.clone();
            done.reshard(what)?;
            if at_once {
                *stream = done;
            } else {
                stream.asked = Some(Asked { what, asked_ms: now_ms });
            }
            Ok(())
        });
        let stream = self.stream(name)?;
        self.may_die_soon();
        let (what, answer) = match what {
            Reshard::Split { shard, at } => ("split", stream.split_shard(id(shard), HashKey(at))),
            Reshard::Merge { one, other } => ("merge", stream.merge_shards(id(one), id(other))),
            Reshard::Scale { target } => ("scale", stream.update_shard_count(target)),
        };
        self.control(what, after, answer).map(drop)
    }

    fn scale(&mut self, name: &str) -> Verdict {
        let target = self.tape.choose("target", 10) as u32;
        // What is no number of shards is refused without a look.
        if target > 0 {
            self.comes_due(name)?;
        }
        if self.is_dead() {
            return Ok(());
        }
        let (now_ms, model) = (self.now_ms(), &self.model.streams[name]);
        let open = model.open().len() as u32;
        let expected = match target {
            0 => Some(Kind::Invalid),
            _ if model.check_active(now_ms).is_err() => Some(Kind::InUse),
            _ if model.on_demand => Some(Kind::OnDemand),
            t if t > 2 * open || 2 * t < open => Some(Kind::Limit),
            t if model.ranges() == uniform(t) => None,
            _ if model.scaled_too_often(now_ms, SCALINGS_PER_DAY as usize) => Some(Kind::Limit),
            _ => None,
        };
        self.may_die_soon();
        let answer = self.stream(name)?.update_shard_count(target);
        if self.time_ms > 0 {
            let asked = self.with(name, |stream| {
                if expected.is_none() && stream.ranges() != uniform(target) {
                    stream.asked = Some(Asked { what: Reshard::Scale { target }, asked_ms: now_ms });
                    stream.scaled_ms.push(now_ms);
                }
                Ok(())
            });
            return self.control("scale", expected.map_or(asked, Err), answer).map(drop);
        }
        match self.hear("scale", answer, expected)? {
            Some(()) => {
                self.adopt_scaling(name)?;
                let ranges = self.model.streams[name].ranges();
                ensure!(ranges == uniform(target), "{name}: scaled to {target} it has {ranges:?}");
                self.learn()
            }
            None => {
                if expected.is_none() {
                    self.maybe = Some(Maybe::Scaled(name.to_owned()));
                }
                Ok(())
            }
        }
    }

    fn retention(&mut self, name: &str) -> Verdict {
        let hours = [23, 24, 25, 48, 100, 8760, 8761][self.tape.choose("hours", 7) as usize];
        self.set_retention(name, hours)
    }

    pub fn set_retention(&mut self, name: &str, hours: u32) -> Verdict {
        self.look(name)?;
        if self.is_dead() {
            return Ok(());
        }
        let (now_ms, time_ms) = (self.now_ms(), self.time_ms);
        let way = self.tape.choose("way", 3);
        let after = self.with(name, |stream| {
            if !(24..=8760).contains(&hours) {
                return Err(Kind::Invalid);
            }
            stream.check_active(now_ms)?;
            let is = stream.retention_hours;
            if way == 1 && hours < is || way == 2 && hours > is {
                return Err(Kind::Invalid);
            }
            stream.set_retention(hours, now_ms);
            stream.updated(now_ms, time_ms);
            Ok(())
        });
        let stream = self.stream(name)?;
        let answer = match way {
            0 => stream.set_retention_hours(hours),
            1 => stream.increase_retention_hours(hours),
            _ => stream.decrease_retention_hours(hours),
        };
        self.control("retention", after, answer).map(drop)
    }

    fn settings(&mut self, name: &str) -> Verdict {
        let pick = self.tape.choose("pick", 7);
        let setting = self.tape.choose("setting", 9);
        // Tags and policies are none of a stream's status, and nobody looks at it for them.
        if setting < 5 {
            self.look(name)?;
        }
        if self.is_dead() {
            return Ok(());
        }
        let (now_ms, time_ms) = (self.now_ms(), self.time_ms);
        let stream = self.stream(name)?;
        match setting {
            0 => {
                let kib = [1023, 1024, 2048, 10_240, 10_241][pick as usize % 5];
                let after = if (1024..=10_240).contains(&kib) {
                    self.with(name, |s| {
                        s.check_active(now_ms)?;
                        s.max_record_kib = kib;
                        s.updated(now_ms, time_ms);
                        Ok(())
                    })
                } else {
                    Err(Kind::Invalid)
                };
                self.control("max record", after, stream.set_max_record_kib(kib)).map(drop)
            }
            1 => {
                let on_demand = pick.is_multiple_of(3);
                let after = self.with(name, |s| {
                    s.check_active(now_ms)?;
                    s.updated(now_ms, time_ms);
                    s.on_demand = on_demand;
                    s.warm = s.warm.filter(|_| on_demand);
                    Ok(())
                });
                let mode = if on_demand { StreamMode::OnDemand } else { StreamMode::Provisioned };
                self.control("mode", after, stream.set_mode(mode)).map(drop)
            }
            2 => {
                let auto = pick.is_multiple_of(3);
                let after = self.with(name, |s| {
                    s.check_active(now_ms)?;
                    s.updated(now_ms, time_ms);
                    s.auto = auto;
                    Ok(())
                });
                let distribution = if auto { Distribution::Auto } else { Distribution::ByKey };
                self.control("distribution", after, stream.set_distribution(distribution)).map(drop)
            }
            3 => {
                let mib = [0, 100, 10_240, 10_241][pick as usize % 4];
                let after = self.with(name, |s| {
                    s.check_active(now_ms)?;
                    s.updated(now_ms, time_ms);
                    s.warm = Some(mib);
                    if s.on_demand && mib <= 10_240 { Ok(()) } else { Err(Kind::Invalid) }
                });
                self.control("warm throughput", after, stream.set_warm_throughput_mib(mib)).map(drop)
            }
            4 => {
                let metrics = [metric(pick), metric(pick * 3 + 1)];
                let were: Vec<ShardMetric> = self.model.streams[name].metrics.iter().copied().collect();
                let on = self.tape.choose("on", 2) == 0;
                let after = self.with(name, |s| {
                    s.check_active(now_ms)?;
                    s.updated(now_ms, time_ms);
                    for m in metrics {
                        if on {
                            s.metrics.insert(m)
                        } else {
                            s.metrics.remove(&m)
                        };
                    }
                    Ok(())
                });
                let answer =
                    if on { stream.enable_shard_metrics(&metrics) } else { stream.disable_shard_metrics(&metrics) };
                if let Some((before, now)) = self.control("metrics", after, answer)? {
                    ensure!(before == were, "metrics were {before:?}, not {were:?}");
                    ensure!(now.iter().eq(self.model.streams[name].metrics.iter()), "metrics are {now:?}");
                }
                Ok(())
            }
            5 => {
                let count = if pick == 6 { 51 } else { 1 + pick };
                let tags: Vec<(String, String)> = (0..count).map(|n| (format!("key {n}"), format!("{pick}"))).collect();
                let after = self.with(name, |s| {
                    s.check_made(now_ms)?;
                    s.tags.extend(tags.clone());
                    if s.tags.len() > 50 { Err(Kind::Invalid) } else { Ok(()) }
                });
                self.control("add tags", after, stream.add_tags(tags)).map(drop)
            }
            6 => {
                let keys = ["key 0", "key 3", "nobody's"];
                let after = self.with(name, |s| {
                    s.check_made(now_ms)?;
                    s.tags.retain(|key, _| !keys.contains(&key.as_str()));
                    Ok(())
                });
                self.control("remove tags", after, stream.remove_tags(&keys)).map(drop)
            }
            7 => {
                let policy =
                    ["{}".to_owned(), "x".repeat(20_480), "x".repeat(20_481), String::new()][pick as usize % 4].clone();
                let after = self.with(name, |s| {
                    if !(1..=20_480).contains(&policy.len()) {
                        return Err(Kind::Invalid);
                    }
                    s.check_made(now_ms)?;
                    s.policy = Some(policy.clone());
                    Ok(())
                });
                self.control("policy", after, stream.put_resource_policy(&policy)).map(drop)
            }
            _ => {
                let after = self.with(name, |s| {
                    s.check_made(now_ms)?;
                    s.policy.take().map(drop).ok_or(Kind::NotFound)
                });
                self.control("delete policy", after, stream.delete_resource_policy()).map(drop)
            }
        }
    }

    fn consumers(&mut self, name: &str) -> Verdict {
        let stream = self.stream(name)?;
        let consumer = format!("consumer-{}", self.tape.choose("consumer", 3));
        let known = self.model.streams[name].consumers.get(&consumer).cloned();
        let change = |s: &mut StreamModel, change: &dyn Fn(&mut ConsumerModel)| {
            s.consumers.get_mut(&consumer).map(change).ok_or(Kind::NotFound)
        };
        let (now_ms, time_ms) = (self.now_ms(), self.time_ms);
        let register = |s: &mut StreamModel| {
            s.check_active(now_ms)?;
            if s.consumers.contains_key(&consumer) || s.leaving(now_ms).any(|(name, _)| *name == consumer) {
                return Err(Kind::InUse);
            }
            let creating_until_ms = if time_ms > 0 { now_ms + time_ms } else { 0 };
            s.consumers.insert(consumer.clone(), ConsumerModel { creating_until_ms, ..ConsumerModel::default() });
            Ok(())
        };
        // More of what depends on the status, where there is one.
        match self.tape.choose("consumers", if self.transition_time.is_zero() { 5 } else { 6 }) {
            0 | 1 => {
                self.comes_due(name)?;
                if self.is_dead() {
                    return Ok(());
                }
                let after = self.with(name, register);
                let answer = stream.register_consumer(&consumer, [("", ""); 0]);
                if let Some(made) = self.control("register", after, answer)? {
                    let by_arn = stream.consumer_by_arn(&made.consumer_arn).map_err(|e| e.to_string())?;
                    ensure!(by_arn == made, "{by_arn:?} is not {made:?}");
                    let model = self.model.streams.get_mut(name).expect("it is there");
                    model.consumers.get_mut(&consumer).expect("it was registered").arn = Some(made.consumer_arn);
                }
                Ok(())
            }
            2 => {
                let after = self.with(name, |s| {
                    let gone = s.consumers.remove(&consumer).ok_or(Kind::NotFound)?;
                    if time_ms > 0 {
                        s.leaving.insert(consumer.clone(), (gone, now_ms + time_ms));
                    }
                    Ok(())
                });
                let gone = self.control("deregister", after, stream.deregister_consumer(&consumer))?.is_some();
                if gone && self.tape.choose("again", 2) == 0 {
                    self.comes_due(name)?;
                    if self.is_dead() {
                        return Ok(());
                    }
                    let made = stream.register_consumer(&consumer, [("", ""); 0]);
                    let after = self.with(name, register);
                    if let Some(made) = self.control("register again", after, made)? {
                        let before = known.and_then(|c| c.arn);
                        ensure!(before != Some(made.consumer_arn.clone()), "{consumer} has the ARN of its predecessor");
                    }
                }
                Ok(())
            }
            3 => {
                let after = self.with(name, |s| {
                    change(s, &|c| {
                        c.tags.insert("team".into(), "web".into());
                    })
                });
                self.control("tag consumer", after, stream.tag_consumer(&consumer, [("team", "web")])).map(drop)
            }
            4 => {
                let after = self.with(name, |s| change(s, &|c| c.policy = Some("{}".into())));
                self.control("consumer policy", after, stream.set_consumer_policy(&consumer, Some("{}"))).map(drop)
            }
            _ => {
                let model = &self.model.streams[name];
                let leaves = model.leaving(now_ms).any(|(name, _)| *name == consumer);
                let expected = match known.map(|c| c.status(now_ms)) {
                    Some(ConsumerStatus::Active) => None,
                    Some(_) => Some(Kind::InUse),
                    None if leaves => Some(Kind::InUse),
                    None => Some(Kind::NotFound),
                };
                let open = id(self.choose_open(name));
                let answer =
                    stream.subscribe(&consumer, open, StartingPosition::Latest, SubscriptionOptions::new()).map(drop);
                self.hear("subscribe", answer, expected).map(drop)
            }
        }
    }

    /// Calls that must be refused, nothing done.
    fn refusals(&mut self, name: &str) -> Verdict {
        self.settle()?;
        self.look(name)?;
        if self.is_dead() {
            return Ok(());
        }
        let status = self.model.streams[name].check_active(self.now_ms());
        let (engine, stream) = (self.engine(), self.stream(name)?);
        let refused = |what: &str, answer: Answer<()>, kind: Kind| self.hear(what, answer, Some(kind)).map(drop);
        refused("too many", stream.put_records(&[PutRecordsEntry::new("k", b"d"); 501]).map(drop), Kind::Invalid)?;
        refused("none", stream.put_records(&[]).map(drop), Kind::Empty)?;
        refused("no key", stream.put_record("", b"d").map(drop), Kind::Invalid)?;
        let long = "ü".repeat(257);
        refused("long key", stream.put_record(&long, b"d").map(drop), Kind::Invalid)?;
        let keyless = PutRecordsEntry { partition_key: None, explicit_hash_key: None, data: b"d" };
        if !self.model.streams[name].auto {
            refused("no key at all", stream.put(keyless, None).map(drop), Kind::Invalid)?;
        }
        let large = vec![0; self.model.streams[name].max_record_kib as usize * 1024];
        refused("too large", stream.put_record("k", &large).map(drop), Kind::Invalid)?;
        refused("limit 0", engine.get_records("00", 1).map(drop), Kind::Invalid)?;
        refused("bad name", engine.create_stream("a b", StreamOptions::new()).map(drop), Kind::Invalid)?;
        refused("no shards", engine.create_stream("none", StreamOptions::new().shards(0)).map(drop), Kind::Invalid)?;
        refused("no stream", engine.stream("nobody").map(drop), Kind::NotFound)?;
        if self.model.streams[name].is_creating(self.now_ms()) {
            return Ok(());
        }
        let token =
            stream.shard_iterator(id(self.choose_open(name)), StartingPosition::Latest).map_err(|e| e.to_string())?;
        refused("limit 0", engine.get_records(&token, 0).map(drop), Kind::Invalid)?;
        refused("limit 10,001", engine.get_records(&token, 10_001).map(drop), Kind::Invalid)?;
        let forged = format!("{}{}", &token[..token.len() - 1], if token.ends_with('0') { '1' } else { '0' });
        refused("forged", engine.get_records(&forged, 1).map(drop), Kind::Invalid)?;
        let nobody = id(self.model.streams[name].next);
        refused("no shard", stream.shard_iterator(nobody, StartingPosition::Latest).map(drop), Kind::NotFound)?;
        refused(
            "no shard",
            stream.split_shard(nobody, HashKey(5)),
            match status {
                Err(kind) => kind,
                Ok(()) if self.model.streams[name].on_demand => Kind::OnDemand,
                Ok(()) => Kind::NotFound,
            },
        )?;
        let later = UNIX_EPOCH + Duration::from_millis(self.now_ms() + 1);
        refused("future", stream.list_shards(ShardFilter::AtTimestamp(later), None, 5).map(drop), Kind::Invalid)
    }

    pub fn checkpoint(&mut self) -> Verdict {
        if let Some(machines) = self.machines() {
            let answer = machines.checkpoint();
            ensure!(answer.is_ok() || self.is_dead(), "checkpoint: {answer:?}");
        }
        Ok(())
    }

    fn maintain(&mut self) -> Verdict {
        self.settle()?;
        // It takes several steps, of which any number may have been taken when a machine dies: that has a test of its own.
        self.disk.set_torn_crash_at(u64::MAX);
        if self.is_dead() {
            return Ok(());
        }
        let now_ms = self.now_ms();
        let names: Vec<String> = self.model.streams.keys().cloned().collect();
        let mut after = self.model.clone();
        let mut expected = Vec::new();
        for name in &names {
            let stream = after.streams.get_mut(name).expect("it is there");
            let (gone, kept) = std::mem::take(&mut stream.shards)
                .into_iter()
                .partition::<Vec<_>, _>(|s| self.model.streams[name].has_expired(s, now_ms));
            stream.shards = kept;
            expected.extend(gone.iter().map(|s| (name.clone(), s.index)));
        }
        match self.engine().maintain() {
            Ok(done) => {
                let expired: Vec<(String, u32)> = done.expired.iter().map(|(n, s)| (n.clone(), s.index())).collect();
                ensure!(expired == expected, "expired {expired:?}, not {expected:?}");
                self.exactly_what_is_due_is_done("a maintenance")?;
                self.model = after;
                self.look_at_all()?;
                for name in names.iter().filter(|n| self.model.streams[*n].on_demand).cloned().collect::<Vec<_>>() {
                    self.adopt(&name)?;
                }
                self.learn()
            }
            Err(error) => Err(format!("maintain: {error}")),
        }
    }

    fn reopen(&mut self) -> Verdict {
        self.settle()?;
        if let Some(engine) = self.engine.take() {
            let answer = engine.close();
            ensure!(answer.is_ok() || self.is_dead(), "close: {answer:?}");
        }
        if !self.is_dead() {
            self.open_again()?;
        }
        Ok(())
    }

    fn open_again(&mut self) -> Verdict {
        self.stay_off();
        self.open()?;
        if self.is_dead() {
            return Ok(());
        }
        self.exactly_what_is_due_is_done("a restart")?;
        self.look_at_all()
    }
}

/// The number that a record after this one would have, arrival aside: the counter lies at bit 80, see
/// `SequenceNumber`'s layout; the arithmetic here is decimal, apart from the code.
fn next_number(number: SequenceNumber) -> SequenceNumber {
    plus(number, 1 << 80)
}

/// The number that is so much higher.
pub fn plus(number: SequenceNumber, more: u128) -> SequenceNumber {
    let mut digits: Vec<u8> = number.to_string().bytes().rev().map(|b| b - b'0').collect();
    let mut add: Vec<u8> = more.to_string().bytes().rev().map(|b| b - b'0').collect();
    add.resize(digits.len(), 0);
    let mut carry = 0;
    for (digit, add) in digits.iter_mut().zip(add) {
        let sum = *digit + add + carry;
        (*digit, carry) = (sum % 10, sum / 10);
    }
    let text: String = digits.iter().rev().map(|d| char::from(b'0' + d)).collect();
    text.parse().expect("it is a number of the same shard")
}
