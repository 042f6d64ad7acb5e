//! Drives a store by hand, one operation at a time, and tells the oracle what was asked and what was answered.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use braidlog::check::{CheckOptions, Finding, Severity, check_in};
use braidlog::env::sim::{Crash, ManualClock, SimDisk, Tape};
use braidlog::env::{Clock, Disk, Env};
use braidlog::manual::ManualStore;
use braidlog::{Error, Log, RecordParts, StartAt, StoreOptions, Ticket, Transaction};

use super::oracle::{LogModel, Model, OpenTransaction, Rec, read_checked, read_from};
use super::{NAMES, Verdict, attributes, env_of, key, log_options, payload, same_time};
use crate::ensure;

/// One operation of a history. Logs are given by their place in [`NAMES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Create(usize),
    Delete(usize),
    /// Records of one call, and whether everything is settled afterwards.
    Append {
        log: usize,
        count: usize,
        len: usize,
        settle: bool,
    },
    /// An append to each of the two durable logs in one turn.
    Both {
        len: usize,
    },
    /// An append on its way; who looks meanwhile must not see it.
    Peek {
        log: usize,
        len: usize,
    },
    /// Two appends in two frames, both in flight.
    TwoInFlight {
        len: usize,
    },
    /// Three appends to one log and one to another, each taken before the one ahead of it is done: where they are large they are on
    /// their way to segments together, and a small one waits for them.
    OnTheirWay {
        log: usize,
        len: usize,
    },
    /// Over both durable logs, the first trimmed too; with a precondition that holds or doesn't.
    Transaction {
        len: usize,
        trim: bool,
        stale: bool,
    },
    /// A precondition that an append of the same turn breaks.
    Overtaken {
        len: usize,
    },
    /// Up to so many quarters of what is readable.
    Trim {
        log: usize,
        quarters: u64,
    },
    Checkpoint,
    /// A buffered append that asks to be noted, and a checkpoint before it is.
    CheckpointBeforeTouch,
    Upkeep,
    Mark,
    Advance {
        ms: u64,
    },
    Reopen,
    /// The owner dies with everything settled; the page cache lives.
    Kill,
    /// A copy, and a look at what it holds.
    Backup,
    Check,
}

struct Outstanding {
    log: String,
    upto: u64,
    ticket: Ticket,
}

pub struct Run {
    pub disk: SimDisk,
    pub clock: Arc<ManualClock>,
    pub options: StoreOptions,
    pub store: Option<ManualStore>,
    pub model: Model,
    outstanding: Vec<Outstanding>,
    next_tag: u64,
    /// Faults are on: errors are answers, not violations.
    pub faulty: bool,
    /// Something failed other than an open: what is there is known again after a recovery only.
    pub uncertain: bool,
    pub errors: Vec<Error>,
}

impl Run {
    /// A new store.
    pub fn create(disk: SimDisk, options: StoreOptions) -> Verdict<Run> {
        let mut run = Run::over(disk, Arc::new(ManualClock::new()), options, Model::default());
        run.open()?;
        Ok(run)
    }

    pub fn over(disk: SimDisk, clock: Arc<ManualClock>, options: StoreOptions, model: Model) -> Run {
        Run {
            disk,
            clock,
            options,
            store: None,
            model,
            outstanding: Vec::new(),
            next_tag: 1,
            faulty: false,
            uncertain: false,
            errors: Vec::new(),
        }
    }

    /// Another machine with a copy of this disk as it was or as a crash left it, and of what is known. Nothing is open on it.
    pub fn on(&self, disk: SimDisk) -> Run {
        let mut run = Run::over(disk, same_time(&self.clock), self.options.clone(), self.model.clone());
        run.next_tag = self.next_tag + 1_000_000;
        run
    }

    pub fn now_ms(&self) -> u64 {
        self.clock.wall_ms()
    }

    /// A hash of all that [`Run::on`] hands over beside the disk and the options.
    pub fn known_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.now_ms(), &self.model, self.next_tag).hash(&mut hasher);
        hasher.finish()
    }

    pub fn is_dead(&self) -> bool {
        self.disk.is_dead()
    }

    /// Opens; an error is a violation unless the disk is dead or faulty.
    pub fn open(&mut self) -> Verdict {
        match ManualStore::open(env_of(&self.disk, &self.clock), self.options.clone()) {
            Ok(store) => self.store = Some(store),
            Err(error) => self.failed("open", error)?,
        }
        Ok(())
    }

    fn failed(&mut self, what: &str, error: Error) -> Verdict {
        if self.is_dead() {
            return Ok(());
        }
        ensure!(self.faulty, "{what}: {error}");
        self.uncertain |= what != "open";
        self.errors.push(error);
        Ok(())
    }

    /// Opens after a crash and holds what is found against what may be there.
    pub fn recover(&mut self, kind: Crash) -> Verdict {
        self.open()?;
        if self.faulty {
            return Ok(());
        }
        if self.is_dead() {
            // It died behind the last step that open waits for.
            self.store = None;
        }
        if let Some(store) = &self.store {
            self.model.check_recovered(store.store(), kind, self.now_ms())?;
        }
        Ok(())
    }

    pub fn stored(&self) -> &ManualStore {
        self.store.as_ref().expect("a store is open")
    }

    pub fn log(&self, name: &str) -> Option<Log> {
        let store = self.store.as_ref()?.store();
        self.model.logs.get(name).filter(|m| !m.creating)?;
        store.log(name).ok()
    }

    fn settle(&mut self) -> Verdict {
        if let Some(store) = &mut self.store {
            store.settle();
        }
        self.collect()
    }

    /// Hears the answers there are, and looks at what is readable.
    fn collect(&mut self) -> Verdict {
        for waiting in std::mem::take(&mut self.outstanding) {
            match waiting.ticket.try_get() {
                None => self.outstanding.push(waiting),
                Some(Ok(_)) => {
                    if let Some(model) = self.model.logs.get_mut(&waiting.log) {
                        model.acked = model.acked.max(waiting.upto);
                    }
                }
                Some(Err(error)) => self.failed("append", error)?,
            }
        }
        self.look();
        Ok(())
    }

    fn look(&mut self) {
        let names: Vec<String> = self.model.logs.keys().cloned().collect();
        for name in names {
            if let Some(log) = self.log(&name)
                && let Some(model) = self.model.logs.get_mut(&name)
            {
                model.seen = model.seen.max(log.end());
            }
        }
    }

    fn tag(&mut self) -> u64 {
        self.next_tag += 1;
        self.next_tag
    }

    /// Queues an append. False when there is no such log or no room for it.
    pub fn append(&mut self, log: usize, count: usize, len: usize) -> Verdict<bool> {
        let name = NAMES[log];
        for attempt in 0..4 {
            let Some(handle) = self.log(name) else { return Ok(false) };
            let tags: Vec<u64> = (0..count).map(|_| self.tag()).collect();
            let owned: Vec<_> = tags.iter().map(|&t| (payload(t, len), key(t), attributes(t))).collect();
            let parts: Vec<RecordParts<'_>> = owned
                .iter()
                .map(|(data, key, attributes)| RecordParts {
                    data,
                    key: key.as_deref(),
                    attributes: attributes.as_deref(),
                })
                .collect();
            // Every other append is one of a caller that waits.
            let waits = tags[0].is_multiple_of(2) && self.model.logs[name].buffered;
            let alone = if waits { self.stored().append_alone(&handle, &parts) } else { Ok(None) };
            match alone.and_then(|alone| alone.map_or_else(|| handle.try_append_batch(&parts), Ok)) {
                Ok(ticket) => {
                    let first = ticket.provisional().first;
                    let now = self.now_ms();
                    let model = self.model.logs.get_mut(name).expect("the log is known");
                    let dense =
                        if model.buffered { first >= model.acked.max(model.end()) } else { first == model.end() };
                    ensure!(dense, "{name}: number {first} after {} ({} acknowledged)", model.end(), model.acked);
                    for (number, tag) in (first..).zip(tags) {
                        model.recs.push(Rec { number, tag, len, arrival_ms: now });
                    }
                    let upto = first + count as u64;
                    self.outstanding.push(Outstanding { log: name.to_owned(), upto, ticket });
                    return Ok(true);
                }
                Err(Error::Busy { .. }) => {
                    self.settle()?;
                    if attempt > 0 {
                        self.upkeep();
                        self.settle()?;
                    }
                }
                Err(error) => {
                    self.failed("append", error)?;
                    return Ok(false);
                }
            }
            if self.is_dead() {
                return Ok(false);
            }
        }
        ensure!(self.faulty || self.store.is_none(), "{name}: busy for ever");
        Ok(false)
    }

    fn upkeep(&mut self) {
        if let Some(store) = &mut self.store {
            store.upkeep_step();
            let told = store.store().scrub_findings();
            // What a dead disk can't read, it tells like any other.
            let may_tell = self.faulty || self.is_dead();
            assert!(told.is_empty() || may_tell, "the scrub takes for damage what is none: {told:?}");
        }
    }

    fn create_log(&mut self, log: usize) -> Verdict {
        let name = NAMES[log];
        if self.model.logs.contains_key(name) || self.store.is_none() {
            return Ok(());
        }
        let mut pending = match self.stored().create_log(name, log_options(name)) {
            Ok(pending) => pending,
            Err(error) => return self.failed("create", error),
        };
        self.model.logs.insert(name.to_owned(), LogModel::new(name));
        self.settle()?;
        match pending.try_get() {
            Some(Ok(log)) => {
                let model = self.model.logs.get_mut(name).expect("it was just put there");
                (model.creating, model.id) = (false, Some(log.id()));
                ensure!(log.end() == 0, "{name}: a new log ends at {}", log.end());
            }
            Some(Err(error)) => self.failed("create", error)?,
            None => ensure!(self.is_dead() || self.faulty, "create: no answer"),
        }
        Ok(())
    }

    fn delete_log(&mut self, log: usize) -> Verdict {
        let name = NAMES[log];
        if self.log(name).is_none() {
            return Ok(());
        }
        let mut pending = match self.stored().delete_log(name) {
            Ok(pending) => pending,
            Err(error) => return self.failed("delete", error),
        };
        let model = self.model.logs.get_mut(name).expect("it is there");
        model.deleting = true;
        if self.faulty {
            // On a full disk its records may go before it does.
            model.trim_asked = model.trim_asked.max(model.end());
        }
        self.settle()?;
        match pending.try_get() {
            Some(Ok(())) => {
                let model = self.model.logs.remove(name).expect("it is there");
                self.model.dead.extend(model.id);
            }
            Some(Err(error)) => self.failed("delete", error)?,
            None => ensure!(self.is_dead() || self.faulty, "delete: no answer"),
        }
        Ok(())
    }

    fn transaction(&mut self, len: usize, trim: bool, stale: bool, overtaken: bool) -> Verdict {
        let (Some(a), Some(b)) = (self.log(NAMES[0]), self.log(NAMES[1])) else { return Ok(()) };
        if self.uncertain {
            return Ok(());
        }
        let now = self.now_ms();
        let mut transaction = Transaction::new();
        let mut open = OpenTransaction { appends: Vec::new(), trims: Vec::new(), arrival_ms: now };
        let end = self.model.logs[NAMES[0]].end();
        if !overtaken {
            transaction.expect_end(&a, if stale { end + 1 } else { end });
        }
        for (log, name) in [(&a, NAMES[0]), (&b, NAMES[1]), (&a, NAMES[0])] {
            let tag = self.tag();
            let (data, key, attributes) = (payload(tag, len), key(tag), attributes(tag));
            let parts = RecordParts { data: &data, key: key.as_deref(), attributes: attributes.as_deref() };
            transaction.append(log, parts).map_err(|e| format!("transaction: {e}"))?;
            open.appends.push((name.to_owned(), tag, len));
        }
        if trim {
            let upto = self.model.logs[NAMES[0]].end();
            transaction.trim(&a, upto);
            open.trims.push((NAMES[0].to_owned(), upto));
        }
        if overtaken {
            let seen = Arc::new(std::sync::atomic::AtomicU64::new(0));
            let at_call = seen.clone();
            transaction.require(move || {
                let now = at_call.load(std::sync::atomic::Ordering::SeqCst);
                if now == 0 {
                    Ok(())
                } else {
                    Err(Error::Conflict { log: "alpha".into(), why: "it came first".into() })
                }
            });
            seen.store(1, std::sync::atomic::Ordering::SeqCst);
        }
        let mut pending = match self.stored().store().commit(transaction) {
            Ok(pending) => pending,
            Err(Error::Busy { .. }) => return Ok(()),
            Err(error) => return self.failed("transaction", error),
        };
        let appended_meanwhile = overtaken && self.append(0, 1, 100)?;
        self.model.open = Some(open.clone());
        if stale || appended_meanwhile || overtaken {
            self.model.open = None;
        }
        self.settle()?;
        match pending.try_get() {
            Some(Ok(committed)) => {
                ensure!(!stale && !overtaken, "a transaction went through whose precondition failed");
                self.model.open = None;
                for ((name, tag, len), appended) in open.appends.iter().zip(&committed.appended) {
                    let model = self.model.logs.get_mut(name).expect("it is there");
                    let number = appended.first;
                    ensure!(number == model.end(), "{name}: transaction got {number}, not {}", model.end());
                    model.recs.push(Rec { number, tag: *tag, len: *len, arrival_ms: now });
                    model.acked = number + 1;
                }
                for (name, upto) in open.trims {
                    let model = self.model.logs.get_mut(&name).expect("it is there");
                    model.trim_acked = model.trim_acked.max(upto);
                    model.trim_asked = model.trim_asked.max(upto);
                }
            }
            Some(Err(Error::Conflict { .. })) => {
                ensure!(stale || overtaken, "a transaction was refused whose precondition holds");
            }
            Some(Err(error)) => self.failed("transaction", error)?,
            None => ensure!(self.is_dead() || self.faulty, "transaction: no answer"),
        }
        Ok(())
    }

    fn trim(&mut self, log: usize, quarters: u64) -> Verdict {
        let name = NAMES[log];
        let Some(handle) = self.log(name) else { return Ok(()) };
        let from = self.model.logs[name].trim_acked;
        let upto = from + (handle.end().saturating_sub(from)) * quarters / 4;
        let mut pending = match self.stored().trim(&handle, upto) {
            Ok(pending) => pending,
            Err(error) => return self.failed("trim", error),
        };
        let model = self.model.logs.get_mut(name).expect("it is there");
        model.trim_asked = model.trim_asked.max(upto);
        self.settle()?;
        match pending.try_get() {
            Some(Ok(upto)) => {
                let model = self.model.logs.get_mut(name).expect("it is there");
                model.trim_acked = model.trim_acked.max(upto);
            }
            Some(Err(error)) => self.failed("trim", error)?,
            None => ensure!(self.is_dead() || self.faulty, "trim: no answer"),
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Verdict {
        let Some(store) = &mut self.store else { return Ok(()) };
        match store.checkpoint() {
            Ok(()) => self.settled(),
            Err(error) => self.failed("checkpoint", error)?,
        }
        Ok(())
    }

    fn settled(&mut self) {
        for model in self.model.logs.values_mut() {
            model.settled = model.settled.max(model.acked);
        }
    }

    /// What was copied is the store as it is; half a copy is no store.
    fn backup(&mut self) -> Verdict {
        const COPY: &str = "copy";
        let Some(store) = &mut self.store else { return Ok(()) };
        let copied = store.backup(COPY);
        // Another machine looks, on which nothing fails.
        let elsewhere = self.disk.fork();
        let copy = elsewhere.sibling(COPY).map_err(|e| format!("the copy's root: {e}"))?;
        let is_store = copy.list("").map_err(|e| format!("the copy's root: {e}"))?.iter().any(|e| e.name == "STORE");
        if let Err(error) = copied {
            self.failed("backup", error)?;
            if !is_store {
                return Ok(());
            }
        }
        ensure!(is_store, "a backup succeeded and left no store");
        let env = Env { disk: copy, ..env_of(&elsewhere, &same_time(&self.clock)) };
        let copy = ManualStore::open(env, self.options.clone()).map_err(|e| format!("the copy: {e}"))?;
        let names = copy.store().log_names().map_err(|e| format!("names of the copy: {e}"))?;
        // What it was copied from may have a fault that stays, or meet the one that comes now.
        let live = self.stored().store();
        if let Ok(wanted) = live.log_names() {
            ensure!(names == wanted, "logs of the copy are {names:?}, not {wanted:?}");
        }
        for name in names {
            let log = copy.store().log(&name).map_err(|e| format!("{name} of the copy: {e}"))?;
            let found = read_from(&log, StartAt::TrimHorizon).map_err(|e| format!("the copy: {e}"))?;
            let wanted = live.log(&name).map(|log| read_from(&log, StartAt::TrimHorizon));
            if let Ok(Ok(wanted)) = wanted {
                ensure!(found == wanted, "{name}: {} records were copied of {}", found.len(), wanted.len());
            }
        }
        Ok(())
    }

    /// Does one operation. Check [`Run::is_dead`] afterwards.
    pub fn apply(&mut self, op: Op) -> Verdict {
        match op {
            Op::Create(log) => self.create_log(log)?,
            Op::Delete(log) => self.delete_log(log)?,
            Op::Append { log, count, len, settle } => {
                self.append(log, count, len)?;
                if settle {
                    self.settle()?;
                }
            }
            Op::Both { len } => {
                self.append(0, 1, len)?;
                self.append(1, 2, len)?;
                self.settle()?;
            }
            Op::Peek { log, len } => {
                self.append(log, 1, len)?;
                if let Some(store) = &mut self.store {
                    store.commit_step_without_waiting();
                }
                self.look();
                self.settle()?;
            }
            Op::TwoInFlight { len } => {
                for log in [0, 1] {
                    self.append(log, 1, len)?;
                    if let Some(store) = &mut self.store {
                        store.commit_step_without_waiting();
                    }
                    self.collect()?;
                }
                self.settle()?;
            }
            Op::OnTheirWay { log, len } => {
                for (log, len) in [(log, len), (log, len + 700), (1 - log, 40), (log, len + 90)] {
                    self.append(log, 1, len)?;
                    if let Some(store) = &mut self.store {
                        store.commit_step_without_waiting();
                    }
                    self.collect()?;
                    self.look();
                }
                self.settle()?;
            }
            Op::Transaction { len, trim, stale } => {
                self.settle()?;
                self.transaction(len, trim, stale, false)?;
            }
            Op::Overtaken { len } => {
                self.settle()?;
                self.transaction(len, false, false, true)?;
            }
            Op::Trim { log, quarters } => self.trim(log, quarters)?,
            Op::Checkpoint => self.checkpoint()?,
            Op::CheckpointBeforeTouch => {
                if let Some(log) = self.log(NAMES[3]) {
                    let (tag, now) = (self.tag(), self.now_ms());
                    let (data, key, attributes) = (payload(tag, 90), key(tag), attributes(tag));
                    let parts = RecordParts { data: &data, key: key.as_deref(), attributes: attributes.as_deref() };
                    if let Ok(ticket) = log.try_append_batch(&[parts]) {
                        let number = ticket.provisional().first;
                        let model = self.model.logs.get_mut(NAMES[3]).expect("it is there");
                        model.recs.push(Rec { number, tag, len: 90, arrival_ms: now });
                        self.outstanding.push(Outstanding { log: NAMES[3].to_owned(), upto: number + 1, ticket });
                    }
                    self.checkpoint()?;
                    self.settle()?;
                }
            }
            Op::Upkeep => self.upkeep(),
            Op::Mark => {
                if let Some(store) = &mut self.store {
                    store.mark();
                }
            }
            Op::Advance { ms } => {
                self.settle()?;
                self.clock.advance(Duration::from_millis(ms));
            }
            Op::Reopen => {
                self.settle()?;
                if let Some(store) = self.store.take() {
                    match store.close() {
                        Ok(()) => self.settled(),
                        Err(error) => self.failed("close", error)?,
                    }
                }
                self.uncertain |= self.faulty && !self.outstanding.is_empty();
                self.outstanding.clear();
                if !self.is_dead() && !self.uncertain {
                    self.open()?;
                    self.look();
                }
            }
            Op::Kill => {
                self.settle()?;
                self.store = None;
                self.uncertain |= self.faulty && !self.outstanding.is_empty();
                self.outstanding.clear();
                if !self.is_dead() && !self.uncertain {
                    self.recover(Crash::Kill)?;
                }
            }
            Op::Backup => {
                self.settle()?;
                self.backup()?;
            }
            Op::Check => {
                self.settle()?;
                if !self.is_dead() {
                    self.check()?;
                }
            }
        }
        self.collect()
    }

    /// Everything that is known, against everything that can be read.
    pub fn check(&mut self) -> Verdict {
        let now = self.now_ms();
        let Some(store) = &self.store else { return Ok(()) };
        if self.faulty {
            return read_checked(&self.model, store.store());
        }
        self.model.check_live(store.store(), now)
    }

    /// Ends in order: no file of the store is left that nothing names.
    pub fn leaves_nothing(mut self) -> Verdict {
        self.apply(Op::Checkpoint)?;
        self.apply(Op::Reopen)?;
        let Some(store) = self.store.take().filter(|_| !self.faulty) else { return Ok(()) };
        store.close().map_err(|e| format!("close: {e}"))?;
        let report = check_in(&env_of(&self.disk, &self.clock), &CheckOptions::new(), &mut |_| {});
        let report = report.map_err(|e| format!("check: {e}"))?;
        // What is noted is as it should be: numbers that a buffered log does without, what a failed write left behind an end.
        let is_left = |finding: &&Finding| finding.severity > Severity::Note && finding.path.starts_with("segments");
        let more: Vec<_> = report.findings.iter().filter(is_left).collect();
        ensure!(more.is_empty(), "after a close: {more:#?}");
        Ok(())
    }

    /// The three kinds of log that every history has, and a fourth that may be deleted and made again.
    pub fn create_logs(&mut self) -> Verdict {
        (0..NAMES.len()).try_for_each(|log| self.apply(Op::Create(log)))
    }
}

/// A random operation; mostly appends.
pub fn draw(tape: &Tape) -> Op {
    let len = |tape: &Tape| match tape.choose("len", 6) {
        0 => tape.choose("len_small", 40) as usize,
        1 | 2 => 40 + tape.choose("len_middle", 500) as usize,
        3 => 600 + tape.choose("len_large", 3000) as usize,
        4 => 4000 + tape.choose("len_bulk", 5000) as usize,
        _ => 100,
    };
    let log = |tape: &Tape| tape.choose("log", NAMES.len() as u64) as usize;
    match tape.choose("op", 40) {
        0..14 => Op::Append {
            log: log(tape),
            count: 1 + tape.choose("count", 4) as usize,
            len: len(tape),
            settle: tape.choose("settle", 3) != 0,
        },
        14 | 15 => Op::Both { len: len(tape) },
        16 => Op::Peek { log: tape.choose("log", 3) as usize, len: len(tape) },
        17 => Op::TwoInFlight { len: len(tape) },
        18 => Op::OnTheirWay { log: tape.choose("on_their_way", 2) as usize, len: len(tape) },
        19..22 => Op::Transaction {
            len: 8 + len(tape).min(3000),
            trim: tape.choose("trim", 4) == 3,
            stale: tape.choose("stale", 5) == 4,
        },
        22 => Op::Overtaken { len: 50 },
        23 => Op::Trim { log: log(tape), quarters: tape.choose("quarters", 5) },
        24 | 25 => Op::Checkpoint,
        26 => Op::CheckpointBeforeTouch,
        27..30 => Op::Upkeep,
        30 => Op::Mark,
        31 => Op::Advance { ms: tape.choose("ms", 30_000) },
        32 | 33 => Op::Reopen,
        34 => Op::Kill,
        35 => Op::Delete(log(tape)),
        36 | 37 => Op::Create(log(tape)),
        _ => Op::Check,
    }
}
