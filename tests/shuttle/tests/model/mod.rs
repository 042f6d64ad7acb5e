//! One history: who does what, and what must be true of what is found.

mod known;
pub mod starving;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use braidlog::env::Env;
use braidlog::env::sim::{Crash, ManualClock, Profile, SeededRandom, SimDisk, Tape};
use braidlog::manual::ManualStore;
use braidlog::{Durability, Error, Log, LogOptions, RecordParts, StartAt, StoreOptions, Ticket, Transaction};
use shuttle::rand::{RngCore, thread_rng};
use shuttle::thread;

use known::{Known, is_whole, payload, tag_of};

/// Two durable logs that transactions go over, of which the first is trimmed, and a buffered one.
const ALPHA: &str = "alpha";
const BRAVO: &str = "bravo";
const BUFFERED: &str = "buffered";
/// Made, closed and deleted by one caller, again and again.
const PASSING: &str = "passing";

const CALLERS: u64 = 2;
const CALLS: u64 = 8;

fn options() -> StoreOptions {
    StoreOptions::new()
        .journal_file_bytes(64 << 10)
        .journal_files_max(4)
        .bulk_bytes(4096)
        .memory_bytes(128 << 10)
        .open_files_max(16)
        .retention_interval(Duration::from_secs(1))
}

fn log_options(name: &str) -> LogOptions {
    let options = LogOptions::new().segment_bytes_max(16 << 10);
    if name == BUFFERED { options.durability(Durability::Buffered) } else { options }
}

fn env_of(disk: &SimDisk) -> Env {
    Env { disk: Arc::new(disk.clone()), clock: Arc::new(ManualClock::new()), random: Arc::new(SeededRandom::new(7)) }
}

/// What the threads of a history share.
#[derive(Clone)]
struct Shared {
    store: ManualStore,
    disk: SimDisk,
    known: Arc<Mutex<Known>>,
    over: Arc<AtomicBool>,
}

impl Shared {
    /// No switch happens while it is held.
    fn known<T>(&self, with: impl FnOnce(&mut Known) -> T) -> T {
        with(&mut self.known.lock().expect("nobody panics with it"))
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn log(&self, name: &str) -> Log {
        self.store.store().log(name).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

/// Makes a log of a store that has no machines yet.
fn make(store: &mut ManualStore, name: &str) -> Log {
    let mut made = store.create_log(name, log_options(name)).expect("it is new");
    store.settle();
    made.try_get().expect("all is settled").expect("it is new")
}

/// Runs one history; how many crashes it had.
pub fn history() -> u64 {
    let seed = thread_rng().next_u64();
    let tape = |n: u64| Tape::seeded(seed.wrapping_add(n));
    let choices = tape(0);
    let disk = SimDisk::new(tape(1));
    let profiles = [Profile::STRICT_POSIX, Profile::EXT4_ORDERED, Profile::XFS_LIKE, Profile::BTRFS_LIKE];
    disk.set_profile(profiles[choices.choose("profile", 4) as usize]);
    disk.set_completions_in_order(choices.choose("in_order", 2) == 0);
    let options = if choices.choose("packs", 2) == 0 { options() } else { options().pack_from(0) };
    let mut store = ManualStore::open(env_of(&disk), options.clone()).expect("an empty disk");
    for name in [ALPHA, BRAVO, BUFFERED] {
        make(&mut store, name);
    }
    let shared = Shared { store, disk, known: Arc::default(), over: Arc::default() };

    let mut machines = Vec::new();
    for (n, run) in [commit, buffered_lane, upkeep].into_iter().enumerate() {
        let (shared, tape) = (shared.clone(), tape(10 + n as u64));
        machines.push(thread::spawn(move || run(shared, &tape)));
    }
    let mut callers = Vec::new();
    for n in 0..CALLERS {
        let (shared, tape) = (shared.clone(), tape(20 + n));
        callers.push(thread::spawn(move || Caller { shared, tape, id: n, next: 0, waiting: Vec::new() }.run()));
    }
    let (of_passing, tape_of_passing) = (shared.clone(), tape(30));
    callers.push(thread::spawn(move || passing(&of_passing, &tape_of_passing)));
    let (of_reader, tape_of_reader) = (shared.clone(), tape(31));
    machines.push(thread::spawn(move || read(&of_reader, &tape_of_reader)));

    let crashes = 1 + choices.choose("crashes", 2);
    for _ in 0..crashes {
        (0..choices.choose("until_crash", 3000)).for_each(|_| thread::yield_now());
        crash(&shared, &choices, &options);
    }
    callers.into_iter().for_each(|caller| caller.join().expect("a caller"));
    shared.over.store(true, Ordering::Relaxed);
    machines.into_iter().for_each(|machine| machine.join().expect("a machine"));
    crash(&shared, &choices, &options);

    let Shared { mut store, disk, known, .. } = shared;
    store.settle();
    let known = known.lock().expect("nobody panics with it").clone();
    known.check(store.store(), &known, None);
    store.close().unwrap_or_else(|error| panic!("close: {error}"));
    let store = ManualStore::open(env_of(&disk), options).unwrap_or_else(|error| panic!("open again: {error}"));
    known.check(store.store(), &known, Some(Crash::Kill));
    crashes + 1
}

fn commit(mut shared: Shared, tape: &Tape) {
    while !shared.is_over() {
        let progress = match tape.choose("wait", 2) {
            0 => shared.store.commit_step(),
            _ => shared.store.commit_step_without_waiting(),
        };
        if !progress {
            thread::yield_now();
        }
    }
}

fn buffered_lane(mut shared: Shared, _: &Tape) {
    while !shared.is_over() {
        if !shared.store.buffered_step() {
            thread::yield_now();
        }
    }
}

fn upkeep(mut shared: Shared, tape: &Tape) {
    while !shared.is_over() {
        match tape.choose("upkeep", 4) {
            0 => shared.store.upkeep_step(),
            1 => shared.store.checkpoint().unwrap_or_else(|error| panic!("checkpoint: {error}")),
            _ => {}
        }
        (0..tape.choose("rest", 50)).for_each(|_| thread::yield_now());
    }
}

/// Reads what is there: in order, whole, and of a transaction all or nothing.
fn read(shared: &Shared, tape: &Tape) {
    while !shared.is_over() {
        let (alpha, bravo) = (shared.log(ALPHA), shared.log(BRAVO));
        let snapshot = shared.store.store().snapshot(&[&alpha, &bravo]);
        let mut tags = [Vec::new(), Vec::new()];
        for (tags, log) in tags.iter_mut().zip([&alpha, &bravo]) {
            let reader = match snapshot.read(log, StartAt::TrimHorizon) {
                Err(Error::Trimmed { .. }) => continue,
                reader => reader.unwrap_or_else(|error| panic!("{}: read: {error}", log.name())),
            };
            let mut last = None;
            for record in reader {
                let record = match record {
                    // It went while it was read.
                    Err(Error::Trimmed { .. }) if log.name() == ALPHA => break,
                    record => record.unwrap_or_else(|error| panic!("{}: reading: {error}", log.name())),
                };
                let number = record.sequence_number;
                assert!(last.is_none_or(|last| number == last + 1), "{}: {number} after {last:?}", log.name());
                assert!(is_whole(&record.data), "{} record {number}", log.name());
                last = Some(number);
                tags.push(tag_of(&record.data));
            }
        }
        let [of_alpha, of_bravo] = tags;
        shared.known(|known| known.check_pairs(&of_alpha, &of_bravo, "a snapshot"));
        (0..tape.choose("rest", 200)).for_each(|_| thread::yield_now());
    }
}

/// One log after the other is trimmed while one checkpoint after the other is taken: each is about its log for the last time, so
/// that what a checkpoint misses of it no later one brings.
pub fn trims_under_checkpoints() {
    const LOGS: u64 = 16;
    let seed = thread_rng().next_u64();
    let disk = SimDisk::new(Tape::seeded(seed));
    let mut store = ManualStore::open(env_of(&disk), options()).expect("an empty disk");
    let logs: Vec<Log> = (0..LOGS).map(|n| make(&mut store, &format!("log-{n}"))).collect();
    for log in &logs {
        let ticket = log.try_append_batch(&[RecordParts::from("x")]).expect("there is room");
        store.settle();
        ticket.try_get().expect("all is settled").expect("the disk is well");
    }
    let shared = Shared { store, disk, known: Arc::default(), over: Arc::default() };
    let machines = commits_and_checkpoints(&shared, seed);
    for log in &logs {
        let mut pending = shared.store.trim(log, 1).unwrap_or_else(|error| panic!("trim: {error}"));
        wait(|| pending.try_get()).unwrap_or_else(|error| panic!("trim: {error}"));
    }
    shared.over.store(true, Ordering::Relaxed);
    machines.into_iter().for_each(|machine| machine.join().expect("a machine"));
    drop(logs);
    let Shared { mut store, disk, .. } = shared;
    store.checkpoint().unwrap_or_else(|error| panic!("checkpoint: {error}"));
    let left = disk.crash(Crash::Kill, &Tape::seeded(seed));
    drop(store);
    let store = ManualStore::open(env_of(&left), options()).unwrap_or_else(|error| panic!("open: {error}"));
    for n in 0..LOGS {
        let log = store.store().log(&format!("log-{n}")).unwrap_or_else(|error| panic!("log-{n}: {error}"));
        assert_eq!(
            log.horizon().unwrap_or_else(|error| panic!("log-{n}: {error}")),
            1,
            "log-{n} is not trimmed any more"
        );
    }
}

/// One record after the other is appended while one checkpoint after the other is taken, and the process is killed in between.
pub fn appends_under_checkpoints() {
    const APPENDS: u64 = 8;
    let seed = thread_rng().next_u64();
    let (disk, tape) = (SimDisk::new(Tape::seeded(seed)), Tape::seeded(seed.wrapping_add(2)));
    let mut store = ManualStore::open(env_of(&disk), options()).expect("an empty disk");
    let log = make(&mut store, ALPHA);
    let shared = Shared { store, disk, known: Arc::default(), over: Arc::default() };
    let machines = commits_and_checkpoints(&shared, seed);
    for n in 0..APPENDS {
        let ticket = log.try_append_batch(&[RecordParts::from("x")]).expect("there is room");
        wait(|| ticket.try_get()).unwrap_or_else(|error| panic!("append: {error}"));
        for _ in 0..4 {
            (0..tape.choose("rest", 100)).for_each(|_| thread::yield_now());
            let left = shared.disk.crash(Crash::Kill, &tape);
            let store = ManualStore::open(env_of(&left), options()).unwrap_or_else(|error| panic!("open: {error}"));
            let log = store.store().log(ALPHA).unwrap_or_else(|error| panic!("{ALPHA}: {error}"));
            let reader = log.read(StartAt::TrimHorizon).unwrap_or_else(|error| panic!("read: {error}"));
            assert_eq!(reader.filter_map(Result::ok).count() as u64, n + 1, "of what was acknowledged");
        }
    }
    shared.over.store(true, Ordering::Relaxed);
    machines.into_iter().for_each(|machine| machine.join().expect("a machine"));
}

/// The commit machine, and one checkpoint after the other, each on a thread of its own, until all is over.
fn commits_and_checkpoints(shared: &Shared, seed: u64) -> [thread::JoinHandle<()>; 2] {
    let (of_commit, tape) = (shared.clone(), Tape::seeded(seed.wrapping_add(1)));
    let mut of_checkpoints = shared.clone();
    [
        thread::spawn(move || commit(of_commit, &tape)),
        thread::spawn(move || {
            while !of_checkpoints.is_over() {
                of_checkpoints.store.checkpoint().unwrap_or_else(|error| panic!("checkpoint: {error}"));
            }
        }),
    ]
}

/// The power goes, or the process does, on a copy of the disk as it is now.
fn crash(shared: &Shared, tape: &Tape, options: &StoreOptions) {
    let kind = if tape.choose("kind", 2) == 0 { Crash::Kill } else { Crash::Power };
    let before = shared.known(|known| known.clone());
    let left = shared.disk.crash(kind, tape);
    let after = shared.known(|known| known.clone());
    let open = |disk: &SimDisk| {
        ManualStore::open(env_of(disk), options.clone()).unwrap_or_else(|error| panic!("open after {kind:?}: {error}"))
    };
    let mut store = open(&left);
    before.check(store.store(), &after, Some(kind));
    // What it served once it serves for good.
    let ends: Vec<(Log, u64)> = [ALPHA, BRAVO, BUFFERED]
        .map(|name| store.store().log(name).unwrap_or_else(|error| panic!("{name}: {error}")))
        .map(|log| (log.clone(), log.end()))
        .into();
    for (log, _) in &ends {
        let data = payload(u64::MAX, 40);
        let record = [RecordParts::from(&data[..])];
        // What was recovered may fill the memory there is, and a buffered log is noted first.
        let mut busy = 0;
        let ticket = loop {
            match log.try_append_batch(&record) {
                Err(Error::Busy { .. }) if busy < 4 => busy += 1,
                ticket => break ticket.unwrap_or_else(|error| panic!("{} after {kind:?}: {error}", log.name())),
            }
            store.settle();
            store.upkeep_step();
        };
        store.settle();
        ticket.try_get().expect("all is settled").expect("the disk is well");
    }
    if tape.choose("checkpoint", 2) == 0 {
        store.checkpoint().unwrap_or_else(|error| panic!("checkpoint after {kind:?}: {error}"));
    }
    let ends: Vec<(String, u64)> = ends.into_iter().map(|(log, end)| (log.name().to_owned(), end + 1)).collect();
    drop(store);
    let store = open(&left.crash(Crash::Kill, tape));
    for (name, end) in ends {
        let log = store.store().log(&name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(log.end() >= end, "{name}: ends at {}, served up to {end}", log.end());
    }
    before.check(store.store(), &after, Some(kind));
}

/// Whoever appends.
struct Caller {
    shared: Shared,
    tape: Tape,
    id: u64,
    next: u64,
    /// Appends on their way: log, end, ticket.
    waiting: Vec<(&'static str, u64, Ticket)>,
}

impl Caller {
    fn run(mut self) {
        for _ in 0..CALLS {
            match self.tape.choose("call", 10) {
                0 | 1 => self.transaction(),
                2 => self.trim(),
                3 => self.append(BUFFERED),
                4..6 => self.append(BRAVO),
                _ => self.append(ALPHA),
            }
            self.listen();
            (0..self.tape.choose("rest", 60)).for_each(|_| thread::yield_now());
        }
        while !self.waiting.is_empty() {
            self.listen();
            thread::yield_now();
        }
    }

    /// Hears of what was acknowledged.
    fn listen(&mut self) {
        let shared = &self.shared;
        self.waiting.retain(|(name, upto, ticket)| match ticket.try_get() {
            None => true,
            Some(outcome) => {
                outcome.unwrap_or_else(|error| panic!("{name}: append: {error}"));
                shared.known(|known| known.log(name).acknowledge(*upto));
                false
            }
        });
    }

    fn tag(&mut self) -> u64 {
        self.next += 1;
        self.id << 32 | self.next
    }

    fn data(&mut self) -> (u64, Vec<u8>) {
        let tag = self.tag();
        let len = match self.tape.choose("len", 3) {
            0 => 4100 + self.tape.choose("large", 5000),
            _ => 20 + self.tape.choose("small", 300),
        };
        (tag, payload(tag, len as usize))
    }

    fn append(&mut self, name: &'static str) {
        let log = self.shared.log(name);
        let records: Vec<(u64, Vec<u8>)> = (0..1 + self.tape.choose("count", 3)).map(|_| self.data()).collect();
        let parts: Vec<RecordParts<'_>> = records.iter().map(|(_, data)| RecordParts::from(&data[..])).collect();
        let alone = name == BUFFERED && self.tape.choose("alone", 2) == 0;
        let ticket = match if alone { self.shared.store.append_alone(&log, &parts) } else { Ok(None) } {
            Ok(Some(ticket)) => Ok(ticket),
            Ok(None) => log.try_append_batch(&parts),
            Err(error) => Err(error),
        };
        let ticket = match ticket {
            Err(Error::Busy { .. }) => return,
            ticket => ticket.unwrap_or_else(|error| panic!("{name}: append: {error}")),
        };
        let first = ticket.provisional().first;
        let tags = records.iter().map(|(tag, _)| *tag);
        self.shared.known(|known| (first..).zip(tags).for_each(|(number, tag)| known.log(name).number(number, tag)));
        self.waiting.push((name, first + records.len() as u64, ticket));
    }

    fn transaction(&mut self) {
        let (alpha, bravo) = (self.shared.log(ALPHA), self.shared.log(BRAVO));
        let ((of_alpha, first), (of_bravo, second)) = (self.data(), self.data());
        let mut transaction = Transaction::new();
        transaction.append(&alpha, &first[..]).expect("it fits").append(&bravo, &second[..]).expect("it fits");
        self.shared.known(|known| known.pairs.push((of_alpha, of_bravo)));
        let mut pending = match self.shared.store.store().commit(transaction) {
            Err(Error::Busy { .. }) => return,
            pending => pending.unwrap_or_else(|error| panic!("transaction: {error}")),
        };
        let committed = wait(|| pending.try_get()).unwrap_or_else(|error| panic!("transaction: {error}"));
        self.shared.known(|known| {
            for ((name, tag), appended) in [(ALPHA, of_alpha), (BRAVO, of_bravo)].iter().zip(&committed.appended) {
                known.log(name).number(appended.first, *tag);
                known.log(name).acknowledge(appended.last + 1);
            }
        });
    }

    fn trim(&mut self) {
        let log = self.shared.log(ALPHA);
        let upto = log.end().saturating_sub(self.tape.choose("left", 4));
        self.shared.known(|known| known.log(ALPHA).trim_asked(upto));
        let mut pending = self.shared.store.trim(&log, upto).unwrap_or_else(|error| panic!("trim: {error}"));
        wait(|| pending.try_get()).unwrap_or_else(|error| panic!("trim: {error}"));
        self.shared.known(|known| known.log(ALPHA).trimmed(upto));
    }
}

/// Goes on when there is an answer.
fn wait<T>(mut answer: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        thread::yield_now();
    }
}

/// The life of a log, over and over.
fn passing(shared: &Shared, tape: &Tape) {
    for life in 0..2 {
        shared.known(|known| known.passing.create(life));
        let mut made = shared.store.create_log(PASSING, log_options(PASSING)).expect("there is none");
        let log = wait(|| made.try_get()).unwrap_or_else(|error| panic!("create: {error}"));
        shared.known(|known| known.passing.created(log.id()));
        for n in 0..1 + tape.choose("records", 3) {
            let data = payload(n, 20 + tape.choose("len", 200) as usize);
            let ticket = log.try_append_batch(&[RecordParts::from(&data[..])]);
            let ticket = match ticket {
                Err(Error::Busy { .. }) => continue,
                ticket => ticket.unwrap_or_else(|error| panic!("append: {error}")),
            };
            wait(|| ticket.try_get()).unwrap_or_else(|error| panic!("append: {error}"));
            shared.known(|known| known.passing.appended(ticket.provisional().last + 1));
        }
        if tape.choose("close", 2) == 0 {
            let mut transaction = Transaction::new();
            transaction.close_log(&log).expect("it is a transaction's first step");
            let mut closed = shared.store.store().commit(transaction).unwrap_or_else(|error| panic!("close: {error}"));
            wait(|| closed.try_get()).unwrap_or_else(|error| panic!("close: {error}"));
            shared.known(|known| known.passing.closed());
        }
        (0..tape.choose("rest", 300)).for_each(|_| thread::yield_now());
        shared.known(|known| known.passing.delete());
        let mut deleted = shared.store.delete_log(PASSING).unwrap_or_else(|error| panic!("delete: {error}"));
        wait(|| deleted.try_get()).unwrap_or_else(|error| panic!("delete: {error}"));
        shared.known(|known| known.passing.deleted());
    }
}
