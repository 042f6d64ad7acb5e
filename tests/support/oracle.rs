//! What a store may hold. Written from the contract: a front part of what was accepted, with everything acknowledged or seen;
//! whole transactions; no number used twice.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use braidlog::env::sim::Crash;
use braidlog::{Error, Log, LogId, Record, StartAt, Store};

use super::{AGE_MS, Verdict, attributes, is_payload, key};
use crate::ensure;

/// A record that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rec {
    pub number: u64,
    pub tag: u64,
    pub len: usize,
    pub arrival_ms: u64,
}

/// A transaction that was not answered.
#[derive(Debug, Clone, Hash)]
pub struct OpenTransaction {
    /// Per append: log, tag, length.
    pub appends: Vec<(String, u64, usize)>,
    pub trims: Vec<(String, u64)>,
    pub arrival_ms: u64,
}

/// One life of one name.
#[derive(Debug, Clone, Hash)]
pub struct LogModel {
    pub id: Option<LogId>,
    pub buffered: bool,
    pub ages: bool,
    pub recs: Vec<Rec>,
    /// Records below this number were acknowledged.
    pub acked: u64,
    /// Records below this number were readable.
    pub seen: u64,
    /// Buffered logs: below this a checkpoint or a recovery promised to hold them.
    pub settled: u64,
    pub trim_acked: u64,
    pub trim_asked: u64,
    /// Its creation, or its deletion, was asked for and not answered.
    pub creating: bool,
    pub deleting: bool,
}

impl LogModel {
    pub fn new(name: &str) -> LogModel {
        LogModel {
            id: None,
            buffered: name == "buffered",
            ages: name == "aging",
            recs: Vec::new(),
            acked: 0,
            seen: 0,
            settled: 0,
            trim_acked: 0,
            trim_asked: 0,
            creating: true,
            deleting: false,
        }
    }

    /// Number after the last accepted record.
    pub fn end(&self) -> u64 {
        self.recs.last().map_or(0, |r| r.number + 1)
    }

    /// First number that has not expired, of those below `end`.
    pub fn age_horizon(&self, now_ms: u64, end: u64) -> u64 {
        if !self.ages {
            return 0;
        }
        let cutoff = now_ms.saturating_sub(AGE_MS);
        self.recs.iter().find(|r| r.arrival_ms >= cutoff && r.number < end).map_or(end, |r| r.number)
    }
}

/// Everything that was asked of a store, and what was answered.
#[derive(Debug, Clone, Default, Hash)]
pub struct Model {
    pub logs: BTreeMap<String, LogModel>,
    pub open: Option<OpenTransaction>,
    /// Identities that are gone for good.
    pub dead: Vec<LogId>,
}

fn same(found: &Record, rec: &Rec, name: &str) -> Verdict {
    let at = format!("{name} record {}", rec.number);
    ensure!(found.sequence_number == rec.number, "{at}: has number {}", found.sequence_number);
    ensure!(is_payload(&found.data, rec.tag, rec.len), "{at}: wrong bytes ({} of {})", found.data.len(), rec.len);
    ensure!(found.key.as_deref() == key(rec.tag).as_deref(), "{at}: wrong key");
    ensure!(found.attributes.as_deref() == attributes(rec.tag).as_deref(), "{at}: wrong attributes");
    ensure!(found.arrival_ms == rec.arrival_ms, "{at}: arrived {} not {}", found.arrival_ms, rec.arrival_ms);
    Ok(())
}

/// Reads all from a start, checking that numbers rise.
pub fn read_from(log: &Log, start: StartAt) -> Result<Vec<Record>, String> {
    let reader = log.read(start).map_err(|e| format!("{}: read from {start:?}: {e}", log.name()))?;
    let mut records: Vec<Record> = Vec::new();
    for record in reader {
        let record = record.map_err(|e| format!("{}: reading from {start:?}: {e}", log.name()))?;
        if let Some(last) = records.last() {
            ensure!(record.sequence_number > last.sequence_number, "{}: numbers go back", log.name());
            ensure!(record.arrival_ms >= last.arrival_ms, "{}: arrival goes back", log.name());
        }
        records.push(record);
    }
    Ok(records)
}

fn compare(found: &[Record], expected: &[Rec], name: &str) -> Verdict {
    for (found, expected) in found.iter().zip(expected) {
        same(found, expected, name)?;
    }
    let numbers = |n: usize| found.get(n).map(|r| r.sequence_number).or(expected.get(n).map(|r| r.number));
    let (f, e) = (found.len(), expected.len());
    ensure!(f == e, "{name}: {f} records, not {e}; they differ from number {:?}", numbers(f.min(e)));
    Ok(())
}

impl Model {
    /// Compares a running store, everything settled, with what it must hold.
    pub fn check_live(&mut self, store: &Store, now_ms: u64) -> Verdict {
        let names = store.log_names().map_err(|e| format!("names: {e}"))?;
        let expected: Vec<String> = self.logs.keys().cloned().collect();
        ensure!(names == expected, "logs are {names:?}, not {expected:?}");
        for (name, model) in &mut self.logs {
            let log = store.log(name).map_err(|e| format!("{name}: {e}"))?;
            ensure!(model.id.is_none_or(|id| id == log.id()), "{name}: is another log");
            model.seen = model.seen.max(log.end());
            model.check(&log, name, now_ms)?;
        }
        Ok(())
    }

    /// What a store holds that was opened after a crash is held against what it may hold, and becomes what it must hold.
    pub fn check_recovered(&mut self, store: &Store, kind: Crash, now_ms: u64) -> Verdict {
        let names = store.log_names().map_err(|e| format!("names: {e}"))?;
        let open = self.open.take();
        for name in &names {
            ensure!(self.logs.contains_key(name), "{name}: was never created, or was deleted");
        }
        let mut gone = Vec::new();
        let mut kept: Option<bool> = None;
        for (name, model) in &mut self.logs {
            if !names.contains(name) {
                ensure!(model.creating || model.deleting, "{name}: is gone");
                gone.push((name.clone(), model.id));
                continue;
            }
            let log = store.log(name).map_err(|e| format!("{name}: {e}"))?;
            ensure!(model.id.is_none_or(|id| id == log.id()), "{name}: is another log");
            ensure!(!self.dead.contains(&log.id()), "{name}: an identity came back");
            model.id = Some(log.id());
            (model.creating, model.deleting) = (false, false);
            model.recover(&log, name, open.as_ref(), &mut kept, kind, now_ms)?;
        }
        for (name, id) in gone {
            self.logs.remove(&name);
            self.dead.extend(id);
        }
        Ok(())
    }
}

impl LogModel {
    /// A settled log against what it must hold, from every kind of start.
    fn check(&self, log: &Log, name: &str, now_ms: u64) -> Verdict {
        let end = log.end();
        ensure!(end >= self.acked, "{name}: ends at {end}, acknowledged up to {}", self.acked);
        ensure!(self.buffered || end == self.end(), "{name}: ends at {end}, not {}", self.end());
        let horizon = self.trim_acked.max(self.age_horizon(now_ms, end)).min(end);
        let found = log.horizon().map_err(|e| format!("{name}: horizon: {e}"))?;
        ensure!(found == horizon, "{name}: horizon is {found}, not {horizon} (end {end})");
        let from = |number: u64| {
            let at = self.recs.partition_point(|r| r.number < number.max(horizon));
            &self.recs[at..self.recs.partition_point(|r| r.number < end)]
        };
        compare(&read_from(log, StartAt::TrimHorizon)?, from(0), name)?;
        ensure!(read_from(log, StartAt::Latest)?.is_empty(), "{name}: latest yields a record");
        let middle = horizon + (end - horizon) / 2;
        for number in [horizon, middle, end] {
            compare(&read_from(log, StartAt::Sequence(number))?, from(number), name)?;
        }
        if horizon > 0 {
            let refused = matches!(log.read(StartAt::Sequence(horizon - 1)), Err(Error::Trimmed { .. }));
            ensure!(refused, "{name}: reads below its horizon {horizon}");
        }
        let refused = matches!(log.read(StartAt::Sequence(end + 1)), Err(Error::BeyondEnd { .. }));
        ensure!(refused, "{name}: reads beyond its end {end}");
        let times = from(0).iter().map(|r| r.arrival_ms);
        for time in times.clone().take(1).chain(times.clone().next_back().map(|t| t + 1)).chain(times.skip(1).take(1)) {
            let first = self.recs.iter().find(|r| r.arrival_ms >= time).map_or(end, |r| r.number);
            let found = read_from(log, StartAt::Time(UNIX_EPOCH + Duration::from_millis(time)))?;
            compare(&found, from(first), name).map_err(|e| format!("from time {time}: {e}"))?;
        }
        Ok(())
    }

    fn recover(
        &mut self,
        log: &Log,
        name: &str,
        open: Option<&OpenTransaction>,
        kept: &mut Option<bool>,
        kind: Crash,
        now_ms: u64,
    ) -> Verdict {
        let end = log.end();
        let horizon = log.horizon().map_err(|e| format!("{name}: horizon: {e}"))?;
        let found = read_from(log, StartAt::TrimHorizon)?;
        // Records of the transaction nobody heard of follow those that had numbers.
        let mut of_transaction = 0;
        for (log_name, tag, len) in open.iter().flat_map(|open| &open.appends).filter(|(n, ..)| n == name) {
            let _ = log_name;
            let number = self.end();
            let arrival_ms = open.map_or(0, |open| open.arrival_ms);
            self.recs.push(Rec { number, tag: *tag, len: *len, arrival_ms });
            of_transaction += 1;
        }
        if of_transaction > 0 {
            let first = self.recs[self.recs.len() - of_transaction].number;
            let all = end == self.end();
            ensure!(all || end <= first, "{name}: ends at {end}, within a transaction from {first}");
            ensure!(
                kept.is_none_or(|kept| kept == all),
                "{name}: a transaction is there in one log and not in another"
            );
            *kept = Some(all);
        }
        for (_, upto) in open.iter().flat_map(|open| &open.trims).filter(|(n, _)| n == name) {
            self.trim_asked = self.trim_asked.max(*upto);
        }
        let must = if self.buffered && kind == Crash::Power { self.settled } else { self.acked.max(self.seen) };
        let have = found.last().map_or(horizon, |r| r.sequence_number + 1);
        let must_have = self.recs.iter().rev().find(|r| r.number < must).map_or(0, |r| r.number + 1);
        ensure!(have >= must_have, "{name}: readable up to {have}, but {must_have} was promised ({kind:?})");
        let used = self.acked.max(self.seen);
        ensure!(end >= used, "{name}: the next number is {end}, but those below {used} are used");
        if !self.buffered {
            ensure!(end <= self.end(), "{name}: ends at {end}, only {} were accepted", self.end());
            ensure!(have == end, "{name}: reading ends at {have}, the log at {end}");
        }
        let age = self.age_horizon(now_ms, end);
        ensure!(horizon >= self.trim_acked.min(end), "{name}: the horizon went back to {horizon}");
        let may = self.trim_asked.max(age).max(self.trim_acked);
        ensure!(horizon <= may, "{name}: the horizon is {horizon}, nobody trimmed beyond {may}");
        let expected = |r: &&Rec| r.number >= horizon && r.number < have;
        let expected: Vec<Rec> = self.recs.iter().filter(expected).copied().collect();
        compare(&found, &expected, name)?;
        self.recs.retain(|r| r.number < have);
        (self.acked, self.seen, self.settled) = (end, end, end);
        (self.trim_acked, self.trim_asked) = (horizon, horizon);
        Ok(())
    }
}

/// Reads what can be read: errors end a log, wrong bytes are a violation.
pub fn read_checked(model: &Model, store: &Store) -> Verdict {
    let dead = &model.dead;
    for (name, model) in &model.logs {
        let Ok(log) = store.log(name) else { continue };
        if dead.contains(&log.id()) {
            // Its deletion was lost, and with it the log that has its name in the model.
            continue;
        }
        let Ok(reader) = log.read(StartAt::TrimHorizon) else { continue };
        for record in reader {
            let Ok(record) = record else { break };
            // Those of a transaction that was not answered have no number here.
            if let Ok(at) = model.recs.binary_search_by_key(&record.sequence_number, |r| r.number) {
                same(&record, &model.recs[at], name)?;
            }
        }
    }
    Ok(())
}
