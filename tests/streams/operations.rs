//! The operations that a random history is made of, each with what the oracle says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use braidlog::Result as Answer;
use braidlog::stream::{
    ConsumerStatus, Distribution, HashKey, PutRecordsEntry, SequenceNumber, ShardFilter, ShardMetric, StartingPosition,
    StreamMode, StreamOptions, StreamStatus, SubscriptionOptions,
};

use super::limits::Out;
use super::{
    CONSUMERS_MAX, HOUR_MS, Maybe, NAMES, OPEN_SHARDS_MAX, Outstanding, Run, SCALINGS_PER_DAY, entry, id, metric,
};
use crate::ensure;
use crate::oracle::{Asked, ConsumerModel, Kind, Put, Reshard, StreamModel, Verdict, kind_of, uniform};

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
            82..85 => self.consumers(&name)?,
            85 => self.group(&name)?,
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
        let on_demand = self.tape.choose("on_demand", 3) == 2;
        let auto = self.tape.choose("auto", if on_demand { 2 } else { 8 }) == 1;
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
        let after = match () {
            () if auto && !on_demand => Err(Kind::Invalid),
            () if self.model.names(now_ms).contains(&name.to_owned()) => Err(Kind::InUse),
            () if after.open_shards() > OPEN_SHARDS_MAX => Err(Kind::Limit),
            () => Ok(after),
        };
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
        self.rest();
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
        let mut is_promised = true;
        // Where any shard will do there is one above: of the number's own, or what came of it.
        if let Some(shard) = route.filter(|_| expected.is_none()).and_then(|route| model.shard(route)) {
            let is_its = shard.records.iter().any(|put| put.number == minimum);
            match shard.starting.or(shard.records.iter().find_map(|put| put.number)) {
                // Numbers of two shards compare as their births do, whatever the records.
                Some(known) if !is_its && minimum.is_some_and(|minimum| known < minimum) => is_promised = false,
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
                let is_above = minimum.is_none_or(|minimum| minimum < number);
                ensure!(is_above || !is_promised, "{number} is not above {minimum:?}");
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
        let is_full = self.model.open_shards() >= OPEN_SHARDS_MAX;
        let after = self.with(name, |stream| {
            stream.check_active(now_ms)?;
            if stream.on_demand {
                return Err(Kind::OnDemand);
            }
            let mut done = stream.clone();
            done.reshard(what)?;
            if matches!(what, Reshard::Split { .. }) && is_full {
                return Err(Kind::Limit);
            }
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

    /// To a number of shards: by half and double and so many times a day, or without these limits.
    fn scale(&mut self, name: &str) -> Verdict {
        let target = match self.tape.choose("target", 11) as u32 {
            10 => 10_001,
            target => target,
        };
        let counts = self.tape.choose("counts", 3) != 0;
        // What is no number of shards is refused without a look.
        if (1..=10_000).contains(&target) {
            self.comes_due(name)?;
        }
        if self.is_dead() {
            return Ok(());
        }
        let (now_ms, model) = (self.now_ms(), &self.model.streams[name]);
        let (open, all) = (model.open().len() as u32, self.model.open_shards());
        let at_once = self.time_ms == 0;
        let grows_beyond = all + (target.saturating_sub(open) as usize) > OPEN_SHARDS_MAX;
        // How many shards there are on the way is the engine's choice: with those of both ends there are enough.
        if at_once && target <= 10_000 && all + target as usize > OPEN_SHARDS_MAX {
            return Ok(());
        }
        let expected = match target {
            0 => Some(Kind::Invalid),
            10_001.. => Some(Kind::Limit),
            _ if model.check_active(now_ms).is_err() => Some(Kind::InUse),
            _ if model.on_demand => Some(Kind::OnDemand),
            t if counts && (t > 2 * open || 2 * t < open) => Some(Kind::Limit),
            t if model.ranges() == uniform(t) => None,
            _ if grows_beyond => Some(Kind::Limit),
            _ if counts && model.scaled_too_often(now_ms, SCALINGS_PER_DAY as usize) => Some(Kind::Limit),
            _ => None,
        };
        self.may_die_soon();
        let stream = self.stream(name)?;
        let answer = if counts { stream.update_shard_count(target) } else { stream.scale_to(target) };
        if !at_once {
            let asked = self.with(name, |stream| {
                if expected.is_none() && stream.ranges() != uniform(target) {
                    stream.asked = Some(Asked { what: Reshard::Scale { target }, asked_ms: now_ms });
                    stream.scaled_ms.extend(counts.then_some(now_ms));
                }
                Ok(())
            });
            return self.control("scale", expected.map_or(asked, Err), answer).map(drop);
        }
        match self.hear("scale", answer, expected)? {
            Some(()) => {
                self.adopt_scaling(name, counts)?;
                let ranges = self.model.streams[name].ranges();
                ensure!(ranges == uniform(target), "{name}: scaled to {target} it has {ranges:?}");
                self.learn()
            }
            None => {
                if expected.is_none() {
                    self.maybe = Some(Maybe::Scaled(name.to_owned(), counts));
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
            if way == 1 && hours <= is || way == 2 && hours >= is {
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
        let setting = self.tape.choose("setting", 10);
        // Tags and policies are none of a stream's status, and nobody looks at it for them.
        if setting < 5 || setting == 9 {
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
                    // Somebody puts records without keys, and is asked first.
                    if s.auto && !on_demand {
                        return Err(Kind::Invalid);
                    }
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
                    if auto && !s.on_demand {
                        return Err(Kind::Invalid);
                    }
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
            8 => {
                let after = self.with(name, |s| {
                    s.check_made(now_ms)?;
                    s.policy.take().map(drop).ok_or(Kind::NotFound)
                });
                self.control("delete policy", after, stream.delete_resource_policy()).map(drop)
            }
            _ => self.key(name),
        }
    }

    /// Encryption is switched on or off, now and then as often as a day allows.
    fn key(&mut self, name: &str) -> Verdict {
        let long = "k".repeat(2049);
        let key = [Some("alias/key"), Some(&long[1..]), Some(&long), Some(""), None, None]
            [self.tape.choose("encryption", 6) as usize];
        let times = if self.tape.choose("times", 12) == 11 { 26 } else { 1 };
        for _ in 0..times {
            if self.is_dead() {
                return Ok(());
            }
            let (now_ms, time_ms, kind) = (self.now_ms(), self.time_ms, usize::from(key.is_some()));
            let after = self.with(name, |s| {
                if key.is_some_and(|key| !(1..=2048).contains(&key.len())) {
                    return Err(Kind::Invalid);
                }
                s.check_active(now_ms)?;
                if s.keyed_too_often(kind, now_ms) {
                    return Err(Kind::Limit);
                }
                s.keyed_ms[kind].push(now_ms);
                s.encryption_key = key.map(str::to_owned);
                s.updated(now_ms, time_ms);
                Ok(())
            });
            let answer = self.stream(name)?.set_encryption_key(key);
            self.control("encryption", after, answer)?;
        }
        Ok(())
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
            if s.consumers.len() >= CONSUMERS_MAX {
                return Err(Kind::Limit);
            }
            let creating_until_ms = if time_ms > 0 { now_ms + time_ms } else { 0 };
            s.consumers.insert(consumer.clone(), ConsumerModel { creating_until_ms, ..ConsumerModel::default() });
            Ok(())
        };
        // More of what depends on the status, where there is one.
        match self.tape.choose("consumers", if self.transition_time.is_zero() { 6 } else { 7 }) {
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
            5 => {
                let after = self.with(name, |s| change(s, &|c| drop(c.tags.remove("team"))));
                self.control("untag consumer", after, stream.untag_consumer(&consumer, &["team", "none"])).map(drop)
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
        let life = self.model.streams[name].life;
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
        let many = StreamOptions::new().shards(10_001);
        refused("many shards", engine.create_stream("many", many).map(drop), Kind::Limit)?;
        refused("no stream", engine.stream("nobody").map(drop), Kind::NotFound)?;
        if self.model.streams[name].is_creating(self.now_ms()) {
            return Ok(());
        }
        let open = self.choose_open(name);
        let expected = (!self.admits(life, open, Out::Iterator)).then_some(Kind::Throughput);
        let token = self.hear("an iterator", stream.shard_iterator(id(open), StartingPosition::Latest), expected)?;
        let Some(token) = token else { return Ok(()) };
        let refused = |what: &str, answer: Answer<()>, kind: Kind| self.hear(what, answer, Some(kind)).map(drop);
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

    pub fn maintain(&mut self) -> Verdict {
        self.settle()?;
        self.maintain_now()
    }

    /// With what is on its way. It takes several steps, of which a front part may have been taken when a machine dies.
    pub fn maintain_now(&mut self) -> Verdict {
        if self.is_dead() {
            return Ok(());
        }
        let now_ms = self.now_ms();
        let of_stream = |stream: &StreamModel| -> BTreeSet<u32> {
            stream.shards.iter().filter(|shard| stream.has_expired(shard, now_ms)).map(|shard| shard.index).collect()
        };
        let expired: BTreeMap<String, BTreeSet<u32>> =
            self.model.streams.iter().map(|(name, stream)| (name.clone(), of_stream(stream))).collect();
        let done = match self.engine().maintain() {
            Ok(done) => done,
            Err(_) if self.is_dead() => {
                self.maybe = Some(Maybe::Maintained(expired));
                return Ok(());
            }
            Err(error) => return Err(format!("maintain: {error}")),
        };
        // Of many a pass takes the first ones, as many as a frame should carry; the next one goes on.
        let mut expired = expired;
        for (name, gone) in &mut expired {
            let taken = done.expired.iter().filter(|(of, _)| of == name).count();
            if taken > 0 {
                *gone = gone.iter().take(taken).copied().collect();
            }
        }
        let found = done.expired.iter().map(|(name, shard)| (name.clone(), shard.index()));
        let expected = expired.iter().flat_map(|(name, gone)| gone.iter().map(|index| (name.clone(), *index)));
        ensure!(found.clone().eq(expected), "{:?} expired, not {expired:?}", done.expired);
        self.exactly_what_is_due_is_done("a maintenance")?;
        for (name, gone) in &expired {
            self.model.streams.get_mut(name).expect("it is there").drop_shards(gone);
        }
        self.look_at_all()?;
        for name in expired.keys() {
            if !self.model.streams[name].on_demand {
                continue;
            }
            let before = self.model.streams[name].next;
            self.adopt(name)?;
            let of_this = |other: &&String| *other == name;
            let (splits, merges) = (
                done.splits.iter().map(|(name, _)| name).filter(of_this).count(),
                done.merges.iter().map(|(name, ..)| name).filter(of_this).count(),
            );
            let opened = (self.model.streams[name].next - before) as usize;
            ensure!(
                opened == 2 * splits + merges,
                "{name}: {opened} shards came of {splits} splits and {merges} merges"
            );
        }
        let all = self.model.open_shards();
        ensure!(all <= OPEN_SHARDS_MAX || done.splits.is_empty(), "{all} open shards after {:?}", done.splits);
        self.learn()
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

    pub(super) fn open_again(&mut self) -> Verdict {
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
