//! Rot: what a store answers whose bytes are not what was written.

use std::collections::BTreeMap;

use braidlog::env::sim::{Crash, SimDisk, Tape};
use braidlog::manual::ManualStore;
use braidlog::{Error, Health, ReadMode, Record, StartAt, Store, StoreOptions};

use super::runner::{Op, Run};
use super::{Verdict, env_of, small};
use crate::ensure;

/// How a store took its rot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// All is there.
    Identical,
    /// Opening was refused, with a typed error.
    Refused,
    /// A log ended in a typed error, or the store said that it is damaged; the rest is right.
    Told,
    /// Records are missing and nobody said so: only where the proof that they were durable went with them.
    Shortened,
}

/// A store at rest, and what it holds.
pub struct Sample {
    pub disk: SimDisk,
    pub run: Run,
    pub content: BTreeMap<String, Vec<Record>>,
}

/// All records of all logs.
pub fn contents(store: &Store) -> Verdict<BTreeMap<String, Vec<Record>>> {
    let mut content = BTreeMap::new();
    for name in store.log_names().map_err(|e| e.to_string())? {
        let log = store.log(&name).map_err(|e| e.to_string())?;
        let records = log.read(StartAt::TrimHorizon).map_err(|e| e.to_string())?;
        content.insert(name, records.collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?);
    }
    Ok(content)
}

/// What the sample store has behind it.
const HISTORY: [Op; 13] = [
    Op::Both { len: 120 },
    Op::Append { log: 3, count: 2, len: 50, settle: true },
    Op::Append { log: 0, count: 1, len: 4200, settle: true },
    Op::Reopen,
    Op::Append { log: 0, count: 2, len: 100, settle: true },
    Op::Checkpoint,
    Op::Transaction { len: 60, trim: false, stale: false },
    Op::Append { log: 1, count: 1, len: 300, settle: true },
    Op::Delete(2),
    Op::Create(2),
    Op::Append { log: 2, count: 1, len: 40, settle: true },
    Op::Mark,
    Op::Check,
];

/// A store whose owner died: a part of it in segments, bulk among them, a part in the journal, and a mark that says so.
pub fn sample() -> Verdict<Sample> {
    sample_with(small(ReadMode::Copy))
}

/// The same with these options.
pub fn sample_with(options: StoreOptions) -> Verdict<Sample> {
    let mut run = Run::create(SimDisk::new(Tape::seeded(1)), options)?;
    run.create_logs()?;
    HISTORY.into_iter().try_for_each(|op| run.apply(op))?;
    run.store = None;
    let disk = run.disk.crash_subset(1, 0);
    let mut check = run.on(disk.fork());
    check.recover(Crash::Power)?;
    let content = contents(check.stored().store())?;
    Ok(Sample { disk, run, content })
}

/// The same history on a device that does something wrong: as far as it goes, errors and all.
pub fn written(wrong: impl FnOnce(&SimDisk)) -> Run {
    let disk = SimDisk::new(Tape::seeded(1));
    let mut run = Run::create(disk, small(ReadMode::Copy)).unwrap();
    run.create_logs().unwrap();
    run.faulty = true;
    wrong(&run.disk);
    for op in HISTORY {
        // What an operation finds wrong at once is told by that.
        if run.store.is_none() || run.apply(op).is_err() {
            break;
        }
    }
    run
}

/// The disk after each operation of that history, killed there, and the run that went through all.
pub fn instants() -> Verdict<(Vec<SimDisk>, Run)> {
    let mut run = Run::create(SimDisk::new(Tape::seeded(1)), small(ReadMode::Copy))?;
    run.create_logs()?;
    let mut instants = Vec::new();
    for op in HISTORY {
        run.apply(op)?;
        instants.push(run.disk.crash(Crash::Kill, &Tape::seeded(1)));
    }
    run.store = None;
    Ok((instants, run))
}

pub fn kind_of(path: &str) -> &'static str {
    match path.split('/').next() {
        Some("segments") => "segments",
        Some("manifest") => "manifest",
        Some("journal") => "journal",
        Some("STORE") => "STORE",
        _ => "others",
    }
}

impl Sample {
    /// Where something other than zeros lies, and eight bytes more.
    pub fn used_bytes(&self) -> Vec<(String, u64)> {
        let mut places = Vec::new();
        for (path, _) in self.disk.files() {
            if kind_of(&path) == "others" {
                continue;
            }
            let bytes = self.disk.read_bytes(&path).unwrap();
            let used = |at: usize| bytes[at.saturating_sub(8)..(at + 1).min(bytes.len())].iter().any(|b| *b != 0);
            places.extend((0..bytes.len()).filter(|at| used(*at)).map(|at| (path.clone(), at as u64)));
        }
        places
    }

    /// Opens a damaged copy and holds all it says against what was written.
    pub fn examine(&self, damaged: SimDisk, mode: ReadMode) -> Verdict<Outcome> {
        let options = small(mode);
        let opened = ManualStore::open(env_of(&damaged, &self.run.clock), options);
        let mut manual = match opened {
            Ok(manual) => manual,
            Err(
                Error::Damaged { .. }
                | Error::TooNew { .. }
                | Error::NotAStore { .. }
                | Error::Io(_)
                | Error::InvalidOption { .. },
            ) => return Ok(Outcome::Refused),
            Err(error) => return Err(format!("open: an error that says nothing of damage: {error}")),
        };
        let outcome = self.compare(manual.store())?;
        // Work goes on where it may, and what was right stays right.
        manual.upkeep_step();
        manual.settle();
        let _ = manual.checkpoint();
        self.compare(manual.store()).map_err(|e| format!("after a checkpoint: {e}"))?;
        Ok(outcome)
    }

    fn compare(&self, store: &Store) -> Verdict<Outcome> {
        let report = store.open_report();
        // Of a journal that ends somewhere, or a store that takes no more, everybody is told. All else is said of a log: what is
        // missing of another one is missing in silence.
        let said_of_all = report.journal_damage.is_some()
            || matches!(store.health(), Health::ReadOnly { .. } | Health::Stopped { .. });
        // By its number, where the record of how it got its name is what rotted.
        let number = |name: &str| Some(format!("(log {})", self.run.model.logs.get(name)?.id?.as_u64()));
        let said_of = |name: &str| {
            let is_it = |stopped: &str| stopped == name || number(name).is_some_and(|number| stopped == number);
            said_of_all || report.stopped_logs.iter().any(|(stopped, _)| is_it(stopped))
        };
        let mut outcome = Outcome::Identical;
        let mut worse = |found: Outcome| outcome = outcome.max(found);
        match store.log_names() {
            Ok(names) => {
                let strange = names.iter().find(|name| !self.content.contains_key(*name));
                // One whose deletion is in a part of the journal that can't be read.
                let may_be = |name: &str| said_of(name) || report.manifest_damage.is_some();
                ensure!(strange.is_none_or(|name| may_be(name)), "a log named {strange:?} appeared");
            }
            Err(Error::Damaged { .. } | Error::Io(_)) => worse(Outcome::Told),
            Err(error) => return Err(format!("names: {error}")),
        }
        for (name, expected) in &self.content {
            let log = match store.log(name) {
                Ok(log) => log,
                Err(Error::NoSuchLog { .. }) => {
                    worse(if said_of(name) { Outcome::Told } else { Outcome::Shortened });
                    continue;
                }
                Err(Error::Damaged { .. } | Error::Io(_)) => {
                    worse(Outcome::Told);
                    continue;
                }
                Err(error) => return Err(format!("{name}: {error}")),
            };
            let mut at = 0;
            let mut told = false;
            match log.read(StartAt::TrimHorizon) {
                Ok(reader) => {
                    for record in reader {
                        match record {
                            Ok(record) => {
                                let right = expected.get(at) == Some(&record);
                                ensure!(right, "{name}: wrong record {}", record.sequence_number);
                                at += 1;
                            }
                            Err(Error::Damaged { .. } | Error::LogStopped { .. } | Error::Io(_)) => {
                                told = true;
                                break;
                            }
                            Err(error) => return Err(format!("{name}: {error}")),
                        }
                    }
                }
                Err(Error::Damaged { .. } | Error::LogStopped { .. } | Error::Io(_)) => told = true,
                Err(error) => return Err(format!("{name}: {error}")),
            }
            if at < expected.len() {
                worse(if told || said_of(name) { Outcome::Told } else { Outcome::Shortened });
            }
        }
        Ok(outcome)
    }
}
