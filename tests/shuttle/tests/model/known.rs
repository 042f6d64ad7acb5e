//! What was asked of a store and what was answered, and whether a store is one that it may be.

use std::collections::{BTreeMap, BTreeSet};

use braidlog::env::sim::Crash;
use braidlog::{Error, LogId, StartAt, Store};

use super::{ALPHA, BRAVO, BUFFERED, PASSING};

/// Bytes that say which record they are of, and whether they are whole.
pub fn payload(tag: u64, len: usize) -> Vec<u8> {
    let head = tag.to_le_bytes().into_iter().chain((len as u64).to_le_bytes());
    head.chain((0u64..).map(|n| (tag.wrapping_mul(31).wrapping_add(n * 7) >> 3) as u8)).take(len.max(16)).collect()
}

pub fn tag_of(data: &[u8]) -> u64 {
    data.first_chunk().map_or(0, |head| u64::from_le_bytes(*head))
}

pub fn is_whole(data: &[u8]) -> bool {
    let Some((head, rest)) = data.split_first_chunk::<8>() else { return false };
    let len = rest.first_chunk().map_or(0, |len| u64::from_le_bytes(*len));
    len <= 1 << 20 && payload(u64::from_le_bytes(*head), len as usize) == data
}

#[derive(Clone, Default)]
pub struct LogKnown {
    /// The tag of each number that a caller was told of.
    numbers: BTreeMap<u64, u64>,
    /// Records below it were acknowledged.
    acknowledged: u64,
    trim_asked: u64,
    trimmed: u64,
}

impl LogKnown {
    pub fn number(&mut self, number: u64, tag: u64) {
        let before = self.numbers.insert(number, tag);
        assert!(before.is_none_or(|before| before == tag), "number {number} was given to {before:?} and to {tag}");
    }

    pub fn acknowledge(&mut self, upto: u64) {
        self.acknowledged = self.acknowledged.max(upto);
    }

    pub fn trim_asked(&mut self, upto: u64) {
        self.trim_asked = self.trim_asked.max(upto);
    }

    pub fn trimmed(&mut self, upto: u64) {
        self.trimmed = self.trimmed.max(upto);
    }
}

/// How far the life of the log is that comes and goes.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Stage {
    #[default]
    None,
    Creating,
    Created,
    Closed,
    Deleting,
    Deleted,
}

#[derive(Clone, Default)]
pub struct Passing {
    life: u64,
    stage: Stage,
    id: Option<LogId>,
    acknowledged: u64,
    /// It was closed, which its deletion does not undo.
    closed: bool,
    dead: BTreeSet<LogId>,
}

impl Passing {
    pub fn create(&mut self, life: u64) {
        let dead = std::mem::take(&mut self.dead);
        *self = Passing { life, stage: Stage::Creating, dead, ..Passing::default() };
    }

    pub fn created(&mut self, id: LogId) {
        assert!(!self.dead.contains(&id), "an id is used again");
        (self.stage, self.id) = (Stage::Created, Some(id));
    }

    pub fn appended(&mut self, upto: u64) {
        self.acknowledged = upto;
    }

    pub fn closed(&mut self) {
        (self.stage, self.closed) = (Stage::Closed, true);
    }

    pub fn delete(&mut self) {
        self.stage = Stage::Deleting;
    }

    pub fn deleted(&mut self) {
        self.stage = Stage::Deleted;
        self.dead.extend(self.id);
    }

    fn check(&self, store: &Store, after: &Passing) {
        let found = match store.log(PASSING) {
            Err(Error::NoSuchLog { .. }) => None,
            found => Some(found.unwrap_or_else(|error| panic!("{PASSING}: {error}"))),
        };
        let same_life = self.life == after.life && self.stage != Stage::None;
        match found {
            None => {
                let may_be_absent = !same_life || self.stage <= Stage::Creating || after.stage >= Stage::Deleting;
                assert!(may_be_absent, "{PASSING} is gone: it was {:?}, then {:?}", self.stage, after.stage);
            }
            Some(log) => {
                assert!(!self.dead.contains(&log.id()), "{PASSING}: an id that was deleted is back");
                assert!(after.stage != Stage::None, "{PASSING} is there, and nobody asked for it");
                if same_life && self.id == Some(log.id()) {
                    assert!(
                        log.end() >= self.acknowledged,
                        "{PASSING} ends at {}, not {}",
                        log.end(),
                        self.acknowledged
                    );
                    assert!(!self.closed || log.is_closed(), "{PASSING} is open again");
                    let found = log.read(StartAt::TrimHorizon).unwrap_or_else(|error| panic!("{PASSING}: {error}"));
                    let found = found.map(|record| record.unwrap_or_else(|error| panic!("{PASSING}: {error}")));
                    assert_eq!(found.filter(|record| is_whole(&record.data)).count() as u64, log.end());
                }
            }
        }
    }
}

#[derive(Clone, Default)]
pub struct Known {
    logs: BTreeMap<&'static str, LogKnown>,
    pub passing: Passing,
    /// Tags of the two records of a transaction.
    pub pairs: Vec<(u64, u64)>,
}

impl Known {
    pub fn log(&mut self, name: &'static str) -> &mut LogKnown {
        self.logs.entry(name).or_default()
    }

    /// What is found in a store, after a crash or alive, where this much was known before, and so much at most afterwards.
    pub fn check(&self, store: &Store, after: &Known, crash: Option<Crash>) {
        let mut tags: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        let nothing = LogKnown::default();
        for name in [ALPHA, BRAVO, BUFFERED] {
            let before = self.logs.get(name).unwrap_or(&nothing);
            let after = after.logs.get(name).unwrap_or(&nothing);
            let log = store.log(name).unwrap_or_else(|error| panic!("{name}: {error}"));
            let (end, horizon) = (log.end(), log.horizon().unwrap_or_else(|error| panic!("{name}: {error}")));
            let acknowledged = before.acknowledged;
            assert!(end >= acknowledged, "{name} ends at {end}, acknowledged up to {acknowledged} ({crash:?})");
            assert!(horizon >= before.trimmed.min(end), "{name}: the horizon is back at {horizon}");
            assert!(horizon <= after.trim_asked, "{name}: the horizon is {horizon}, nobody trimmed there");
            let mut next = horizon;
            let found = tags.entry(name).or_default();
            for record in log.read(StartAt::TrimHorizon).unwrap_or_else(|error| panic!("{name}: {error}")) {
                let record = record.unwrap_or_else(|error| panic!("{name} record {next}: {error}"));
                let number = record.sequence_number;
                assert!(number == next || name == BUFFERED && number > next, "{name}: {number} in the place of {next}");
                assert!(is_whole(&record.data), "{name} record {number}: wrong bytes");
                let tag = tag_of(&record.data);
                let told = after.numbers.get(&number);
                assert!(
                    tag == u64::MAX || told.is_none_or(|told| *told == tag),
                    "{name} record {number}: {tag}, not {told:?}"
                );
                found.push(tag);
                next = number + 1;
            }
            // A power cut takes what only the page cache had.
            if name != BUFFERED || crash != Some(Crash::Power) {
                assert!(
                    next >= acknowledged,
                    "{name}: readable up to {next}, acknowledged up to {acknowledged} ({crash:?})"
                );
            }
        }
        after.check_pairs(&tags[ALPHA], &tags[BRAVO], &format!("{crash:?}"));
        self.passing.check(store, &after.passing);
    }

    /// Of a transaction both records are there or neither. The first may be trimmed, the second is not.
    pub fn check_pairs(&self, of_alpha: &[u64], of_bravo: &[u64], when: &str) {
        for (first, second) in &self.pairs {
            let torn = of_alpha.contains(first) && !of_bravo.contains(second);
            assert!(!torn, "{when}: of a transaction {first} is there, and {second} is not");
        }
    }
}
