//! Histories of appends, rules, trims and floors against a naive list of what may be read.

use std::collections::BTreeMap;
use std::time::Duration;

use braidlog::env::Clock;
use braidlog::env::sim::Crash;
use braidlog::{Error, Floor, Log, LogOptions, ReadMode, Reader, RecordParts, StartAt, StoreOptions};
use proptest::collection::vec;
use proptest::prelude::*;

use super::support::{packing, small};
use super::{Bench, readable, trimmed_at};

const AGE_MS: u64 = 20_000;

#[derive(Debug, Clone)]
enum Op {
    Append {
        count: usize,
        len: usize,
    },
    /// Two calls of one turn: a batch whose records did not arrive together.
    AppendTwice {
        len: usize,
        apart_ms: u64,
    },
    Advance {
        ms: u64,
    },
    /// Up to so many eighths of what is readable.
    Trim {
        eighths: u64,
    },
    /// At so many eighths of what is readable.
    Hold {
        eighths: u64,
    },
    /// The oldest floor goes on to so many eighths, or goes.
    MoveFloor {
        eighths: u64,
    },
    DropFloor,
    Checkpoint,
    Upkeep,
    Close,
    Die {
        power: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (1..20usize, 0..500usize).prop_map(|(count, len)| Op::Append { count, len }),
        2 => (0..500usize, 0..5_000u64).prop_map(|(len, apart_ms)| Op::AppendTwice { len, apart_ms }),
        5 => (0..8_000u64).prop_map(|ms| Op::Advance { ms }),
        1 => (0..9u64).prop_map(|eighths| Op::Trim { eighths }),
        2 => (0..9u64).prop_map(|eighths| Op::Hold { eighths }),
        1 => (0..9u64).prop_map(|eighths| Op::MoveFloor { eighths }),
        1 => Just(Op::DropFloor),
        2 => Just(Op::Checkpoint),
        3 => Just(Op::Upkeep),
        1 => Just(Op::Close),
        1 => any::<bool>().prop_map(|power| Op::Die { power }),
    ]
}

/// What is known of a log without asking it.
#[derive(Default)]
struct Model {
    age_ms: Option<u64>,
    bytes_max: Option<u64>,
    held_bytes_max: u64,
    /// When each record arrived.
    arrivals: Vec<u64>,
    /// Each batch by its first number, with its bytes.
    batches: BTreeMap<u64, u64>,
    trimmed: u64,
    /// What a rule took is gone for this life, whatever holds it back later.
    expired: u64,
    floors: Vec<u64>,
}

impl Model {
    fn end(&self) -> u64 {
        self.arrivals.len() as u64
    }

    /// The first batch from which to `upto` there are at most so many bytes of whole batches.
    fn first_within(&self, upto: u64, bytes_max: u64) -> u64 {
        let (mut first, mut left) = (upto, bytes_max);
        for (number, bytes) in self.batches.range(..upto).rev() {
            match left.checked_sub(*bytes) {
                Some(rest) => (first, left) = (*number, rest),
                None => break,
            }
        }
        first
    }

    fn horizon(&mut self, now_ms: u64) -> u64 {
        let by_age = self.age_ms.map_or(0, |age| {
            self.arrivals.iter().take_while(|arrival| **arrival < now_ms.saturating_sub(age)).count() as u64
        });
        let by_bytes = self.bytes_max.map_or(0, |bytes| self.first_within(self.end(), bytes));
        let mut rule = by_age.max(by_bytes);
        if let Some(floor) = self.floors.iter().min().filter(|floor| **floor < rule) {
            rule = self.first_within(rule, self.held_bytes_max).max(*floor);
        }
        self.expired = self.expired.max(rule);
        self.expired.max(self.trimmed)
    }
}

struct Watched {
    name: &'static str,
    log: Option<Log>,
    model: Model,
    floors: Vec<Floor>,
    /// Reads a batch after each operation.
    slow: Option<Reader>,
}

impl Watched {
    fn new(bench: &mut Bench, name: &'static str, options: LogOptions) -> Watched {
        let model = Model {
            age_ms: options.retention_age.map(|age| age.as_millis() as u64),
            bytes_max: options.retention_bytes,
            held_bytes_max: options.held_bytes_max,
            ..Model::default()
        };
        let log = bench.log(name, options);
        let slow = Some(log.read(StartAt::TrimHorizon).unwrap());
        Watched { name, log: Some(log), model, floors: Vec::new(), slow }
    }

    fn log(&self) -> &Log {
        self.log.as_ref().unwrap()
    }

    /// Appends calls of so many records, the clock going on by `apart_ms` before each but the first, as one batch.
    fn append(&mut self, bench: &mut Bench, calls: &[usize], len: usize, apart_ms: u64) {
        let data = vec![b'x'; len];
        let (log, before) = (self.log().clone(), self.log().info().pending_bytes);
        self.model.batches.insert(self.model.end(), 0);
        let mut tickets = Vec::new();
        for (n, &count) in calls.iter().enumerate() {
            if n > 0 {
                bench.pass(Duration::from_millis(apart_ms));
            }
            let records = vec![RecordParts { key: None, data: &data, attributes: None }; count];
            tickets.push(log.try_append_batch(&records).unwrap());
            self.model.arrivals.extend(std::iter::repeat_n(bench.clock.wall_ms(), count));
        }
        while bench.store.commit_step() {}
        assert!(tickets.into_iter().all(|ticket| ticket.try_get().unwrap().is_ok()));
        // What waits for a segment is whole batches, and nothing was written out meanwhile.
        *self.model.batches.values_mut().last().unwrap() = log.info().pending_bytes - before;
    }

    /// The number so many eighths of the way from the horizon to the end.
    fn at(&mut self, bench: &Bench, eighths: u64) -> u64 {
        let horizon = self.model.horizon(bench.clock.wall_ms());
        horizon + (self.model.end() - horizon) * eighths / 8
    }

    fn apply(&mut self, bench: &mut Bench, op: &Op) {
        match *op {
            Op::Append { count, len } => self.append(bench, &[count], len, 0),
            Op::AppendTwice { len, apart_ms } => self.append(bench, &[1, 1], len, apart_ms),
            Op::Trim { eighths } => {
                let upto = self.at(bench, eighths);
                bench.trim(&self.log().clone(), upto);
                self.model.trimmed = self.model.trimmed.max(upto);
            }
            Op::Hold { eighths } => {
                let position = self.at(bench, eighths);
                self.floors.push(self.log().hold(position));
                self.model.floors.push(position);
            }
            Op::MoveFloor { eighths } if !self.floors.is_empty() => {
                let position = self.at(bench, eighths);
                self.floors[0].advance(position);
                self.model.floors[0] = self.model.floors[0].max(position);
                assert_eq!(self.floors[0].position(), self.model.floors[0]);
            }
            Op::DropFloor if !self.floors.is_empty() => {
                self.floors.remove(0);
                self.model.floors.remove(0);
            }
            _ => {}
        }
    }

    /// The store is about to end: nothing of it may be held.
    fn let_go(&mut self) {
        (self.log, self.slow) = (None, None);
        self.floors.clear();
        self.model.floors.clear();
        self.model.expired = 0;
    }

    fn find(&mut self, bench: &Bench) {
        let log = bench.store.store().log(self.name).unwrap();
        self.slow = Some(log.read(StartAt::TrimHorizon).unwrap());
        self.log = Some(log);
    }

    fn compare(&mut self, bench: &Bench) {
        let horizon = self.model.horizon(bench.clock.wall_ms());
        let log = self.log().clone();
        assert_eq!(log.end(), self.model.end(), "the end of {}", self.name);
        assert_eq!(log.horizon().unwrap(), horizon, "the horizon of {}", self.name);
        assert_eq!(readable(&log), (horizon..self.model.end()).collect::<Vec<_>>(), "{}", self.name);
        if horizon > 0 {
            assert_eq!(trimmed_at(log.read(StartAt::Sequence(horizon - 1))), (horizon - 1, horizon));
        }
        // One that was left behind is told of it once, and goes on where it can.
        let slow = self.slow.as_mut().unwrap();
        let mut at = slow.next_sequence_number();
        if at < horizon {
            assert_eq!(trimmed_at(slow.next_batch()), (at, horizon), "{}", self.name);
            assert_eq!(slow.skip_trimmed().unwrap(), horizon - at);
            at = horizon;
        }
        match slow.next_batch() {
            Ok(Some(batch)) => assert_eq!(batch.first(), at),
            Ok(None) => assert_eq!(at, self.model.end()),
            Err(Error::Trimmed { position, horizon, .. }) => panic!("{position} is below {horizon} once more"),
            Err(error) => panic!("{error}"),
        }
    }
}

fn run(options: StoreOptions, ops: &[(usize, Op)]) {
    let mut bench = Bench::new(options.journal_file_bytes(1 << 20).memory_bytes(1 << 20).bulk_bytes(1 << 20));
    let kept = || LogOptions::new().segment_bytes_max(16 << 10);
    let age = Some(Duration::from_millis(AGE_MS));
    let rules = [
        ("kept", kept()),
        ("by age", kept().retention_age(age)),
        ("by bytes", kept().retention_bytes(Some(12_000)).held_bytes_max(8_000)),
        ("by both", kept().retention_age(age).retention_bytes(Some(20_000)).held_bytes_max(5_000)),
        ("nothing held", kept().retention_age(age).held_bytes_max(0)),
    ];
    let mut logs: Vec<_> = rules.into_iter().map(|(name, options)| Watched::new(&mut bench, name, options)).collect();
    for (step, (log, op)) in ops.iter().enumerate() {
        match *op {
            Op::Advance { ms } => bench.pass(Duration::from_millis(ms)),
            Op::Checkpoint => bench.store.checkpoint().unwrap(),
            Op::Upkeep => bench.store.upkeep_step(),
            Op::Close => {
                logs.iter_mut().for_each(Watched::let_go);
                bench.close_and_reopen();
                logs.iter_mut().for_each(|log| log.find(&bench));
            }
            Op::Die { power } => {
                logs.iter_mut().for_each(Watched::let_go);
                bench.reopen(if power { Crash::Power } else { Crash::Kill });
                logs.iter_mut().for_each(|log| log.find(&bench));
            }
            _ => {
                // Room for what comes: what is written out while it is appended can't be weighed.
                if bench.store.store().stats().pending_bytes > 500_000 {
                    bench.store.checkpoint().unwrap();
                }
                logs[*log].apply(&mut bench, op);
            }
        }
        let compared = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            logs.iter_mut().for_each(|log| log.compare(&bench));
        }));
        if let Err(panic) = compared {
            eprintln!("after step {step}: {op:?} of log {log}");
            std::panic::resume_unwind(panic);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 32 } else { 128 }))]

    #[test]
    fn what_is_readable_is_what_rules_trims_and_floors_leave(
        ops in vec((0..5usize, op()), 1..120),
        in_packs in any::<bool>(),
        copied in any::<bool>(),
    ) {
        let mode = if copied { ReadMode::Copy } else { ReadMode::Map };
        run(if in_packs { packing(mode) } else { small(mode) }, &ops);
    }
}
