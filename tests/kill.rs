//! A child process that appends is killed, again and again, over one store on a real disk; what it was told must be there.
//!
//! A kill loses no page cache, so this is about opening after any moment of a life, one owner at a time, dense numbers,
//! whole transactions, and records once readable staying what they were. `BRAIDLOG_KILLS` sets the number of rounds (default
//! 200), `BRAIDLOG_RACE_SECONDS` how long openers race (default 3), `BRAIDLOG_KILL_KEEP` a folder that gets a copy of the store after
//! each kill, to look into a failure.
#![cfg(target_os = "linux")]
// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use braidlog::env::{Random, SystemRandom};
use braidlog::{DiskChoice, Durability, Error, Log, LogOptions, StartAt, Store, StoreOptions, Transaction};
use rustix::process::{Pid, Signal, kill_process};

const CHILD: &str = "BRAIDLOG_KILL_CHILD";
const LOGS: [&str; 5] = ["plain", "batched", "buffered", "left", "right"];

fn options(disk: DiskChoice) -> StoreOptions {
    let small = StoreOptions::new().journal_file_bytes(256 << 10).memory_bytes(1 << 20).reserve_bytes(0);
    small.disk(disk).bulk_bytes(64 << 10)
}

fn log_options(name: &str) -> LogOptions {
    let durability = if name == "buffered" { Durability::Buffered } else { Durability::Durable };
    LogOptions::new().segment_bytes_max(256 << 10).durability(durability)
}

fn choice(text: &str) -> DiskChoice {
    if text == "portable" { DiskChoice::Portable } else { DiskChoice::Auto }
}

fn env_number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What a record says: its life, and its place among those that its writer wrote in this life.
fn record(life: u64, i: u64) -> String {
    let pad = "x".repeat((i as usize * 37) % 300);
    format!("life {life} record {i} {pad}")
}

// The child.

/// One line a fact: `r` ready, `a <log> <first> <last>` acknowledged.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Not a test: the child's life, run by the tests below in a process of its own.
#[test]
fn child() {
    let Ok(text) = std::env::var(CHILD) else { return };
    let mut words = text.splitn(3, ' ');
    let (disk, life) = (words.next().unwrap(), words.next().unwrap().parse::<u64>().unwrap());
    let store = match Store::open_with(words.next().unwrap(), options(choice(disk))) {
        // It lost a race.
        Err(Error::Locked { .. }) => return,
        opened => opened.unwrap(),
    };
    let logs: Vec<Log> = LOGS.iter().map(|name| store.open_or_create_log(name, log_options(name)).unwrap()).collect();
    // The harness has begun a line of its own.
    say(&format!("\nr {}", store.stats().disk));
    let acked = |log: usize, first: u64, last: u64| say(&format!("a {log} {first} {last}"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0.. {
                let put = logs[0].append(record(life, i).as_str()).unwrap();
                acked(0, put.first, put.last);
            }
        });
        scope.spawn(|| {
            for i in 0.. {
                // Now and then more than goes through the journal.
                let count = if i % 50 == 49 { 400 } else { 7 };
                let records: Vec<String> = (0..count).map(|n| record(life, i * 1_000 + n)).collect();
                let put = logs[1].append_batch(&records).unwrap();
                acked(1, put.first, put.last);
            }
        });
        scope.spawn(|| {
            for i in 0.. {
                let put = logs[2].append(record(life, i).as_str()).unwrap();
                acked(2, put.first, put.last);
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        for i in 0.. {
            let mut both = Transaction::new();
            let text = record(life, i);
            both.append(&logs[3], text.as_str()).unwrap().append(&logs[4], text.as_str()).unwrap();
            let committed = store.commit(both).unwrap().wait().unwrap();
            acked(3, committed.appended[0].first, committed.appended[0].last);
            acked(4, committed.appended[1].first, committed.appended[1].last);
        }
    });
}

struct Running {
    process: Child,
    lines: BufReader<std::process::ChildStdout>,
}

fn start(root: &Path, disk: &str, life: u64) -> Running {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads", "1"])
        .env(CHILD, format!("{disk} {life} {}", root.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap());
    Running { process, lines }
}

impl Running {
    /// Reads up to the line that says it is open; what disk it got.
    fn wait_ready(&mut self) -> String {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            if let Some(disk) = line.strip_prefix("r ") {
                return disk.trim().to_owned();
            }
            line.clear();
        }
        panic!("the child ended before it was ready");
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Kills it and returns what it had said: per log the numbers acknowledged.
    fn kill(mut self) -> BTreeMap<usize, Vec<(u64, u64)>> {
        self.process.kill().unwrap();
        let mut acked: BTreeMap<usize, Vec<(u64, u64)>> = BTreeMap::new();
        let mut line = String::new();
        // A last line may be cut; it was never said.
        while self.lines.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
            if let Some(rest) = line.strip_prefix("a ") {
                let numbers: Vec<u64> = rest.split_whitespace().map(|n| n.parse().unwrap()).collect();
                acked.entry(numbers[0] as usize).or_default().push((numbers[1], numbers[2]));
            }
            line.clear();
        }
        let status = self.process.wait().unwrap();
        assert!(!status.success(), "the child was to be killed");
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(status.signal(), Some(9), "the child ended by itself: {status}");
        acked
    }
}

// The parent.

/// What is known of each log: number and data of every record seen.
#[derive(Default)]
struct Known {
    logs: [Vec<(u64, String)>; 5],
    acked: u64,
}

impl Known {
    /// Reads on from what is known, or everything, and holds it against the promises.
    fn check(&mut self, store: &Store, acked: &BTreeMap<usize, Vec<(u64, u64)>>, everything: bool, round: u64) {
        for (at, name) in LOGS.iter().enumerate() {
            let log = match store.log(name) {
                Ok(log) => log,
                // It was killed before it made them.
                Err(Error::NoSuchLog { .. }) if self.logs[at].is_empty() && !acked.contains_key(&at) => continue,
                Err(error) => panic!("round {round}, {name}: {error}"),
            };
            let known = &mut self.logs[at];
            let from = if everything { 0 } else { known.last().map_or(0, |last| last.0 + 1) };
            let before = if everything { std::mem::take(known) } else { Vec::new() };
            let new = known.len().saturating_sub(1);
            for record in log.read(StartAt::Sequence(from.min(log.end()))).unwrap() {
                let record = record.unwrap_or_else(|error| panic!("round {round}, {name}: {error}"));
                let dense = *name == "buffered" || record.sequence_number == known.last().map_or(0, |last| last.0 + 1);
                assert!(dense, "round {round}, {name}: {} after {:?}", record.sequence_number, known.last());
                known.push((record.sequence_number, String::from_utf8(record.data.to_vec()).unwrap()));
            }
            assert!(known.len() >= before.len(), "round {round}, {name}: records that were readable are gone");
            for (now, before) in known.iter().zip(&before) {
                assert_eq!(now, before, "round {round}, {name}: a record changed");
            }
            for (first, last) in acked.get(&at).into_iter().flatten() {
                for number in *first..=*last {
                    let there = known.binary_search_by_key(&number, |record| record.0);
                    assert!(
                        there.is_ok(),
                        "round {round}, {name}: {number} of {first} to {last} was acknowledged and is gone; from {from} on there \
                         are {:?}; {:?}; {:?}; acknowledged: {:?}",
                        known.iter().map(|record| record.0).filter(|n| *n >= from).collect::<Vec<_>>(),
                        log.info(),
                        store.open_report(),
                        acked.get(&at)
                    );
                    self.acked += 1;
                }
            }
            // What one writer wrote in one life is there from its first record on, in order, without a hole.
            let mut expected: Option<(u64, u64)> = None;
            for (number, data) in &known[new..] {
                let mut words = data.split(' ');
                let (life, i) =
                    (words.nth(1).unwrap().parse::<u64>().unwrap(), words.nth(1).unwrap().parse::<u64>().unwrap());
                assert_eq!(*data, record(life, i), "round {round}, {name}: {number}");
                let follows = match expected {
                    Some((last_life, last)) if last_life == life => {
                        i == last + 1 || (*name == "batched" && i % 1_000 == 0 && i / 1_000 == last / 1_000 + 1)
                    }
                    Some((last_life, _)) => life > last_life && i == 0,
                    None => i == 0 || new > 0,
                };
                assert!(follows, "round {round}, {name}: {number} ({life}, {i}) after {expected:?}");
                expected = Some((life, i));
            }
        }
        let [.., left, right] = &self.logs;
        let both = left.iter().map(|record| &record.1).eq(right.iter().map(|record| &record.1));
        assert!(both, "round {round}: half a transaction ({} and {} records)", left.len(), right.len());
    }
}

fn rounds(kills: u64, store: &Path) -> Known {
    let mut known = Known::default();
    for round in 0..kills {
        let disk = if round % 2 == 0 { "io_uring" } else { "portable" };
        let mut child = start(store, disk, round);
        let wait = Duration::from_micros(2_000 + SystemRandom.next_u64() % 58_000);
        // One in four is killed while it opens, or before.
        if round % 4 != 3 {
            let got = child.wait_ready();
            assert!(disk != "portable" || got == "portable", "asked for {disk}, got {got}");
        }
        std::thread::sleep(wait);
        let acked = child.kill();
        if let Ok(keep) = std::env::var("BRAIDLOG_KILL_KEEP") {
            // The store as the last kill left it, before anything opens it.
            let _ = std::fs::remove_dir_all(&keep);
            Command::new("cp").arg("-r").arg(store).arg(&keep).status().unwrap();
        }
        let next = if round % 4 < 2 { DiskChoice::Portable } else { DiskChoice::Auto };
        let opened = Store::open_with(store, options(next)).unwrap();
        let report = opened.open_report();
        // A manifest that the kill left half-written may be named; the one before it and the journal have everything.
        assert!(report.journal_damage.is_none(), "round {round}: {report:?}");
        assert!(report.stopped_logs.is_empty(), "round {round}: {report:?}");
        known.check(&opened, &acked, round % 25 == 24 || round + 1 == kills, round);
        if round % 5 == 0 {
            opened.close().unwrap();
        }
    }
    known
}

#[test]
fn what_was_acknowledged_survives_any_number_of_kills() {
    let dir = tempfile::tempdir().unwrap();
    let kills = env_number("BRAIDLOG_KILLS", 200);
    let known = rounds(kills, &dir.path().join("store"));
    let records: usize = known.logs.iter().map(Vec::len).sum();
    println!("{kills} kills, {} records acknowledged, {records} there, 0 lost", known.acked);
    assert!(known.acked > 0);
}

#[test]
fn a_stopped_owner_is_still_the_owner_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let mut known = Known::default();
    for round in 0..6 {
        let disk = if round % 2 == 0 { "io_uring" } else { "portable" };
        let mut child = start(&root, disk, round);
        child.wait_ready();
        std::thread::sleep(Duration::from_millis(20));
        kill_process(child.pid(), Signal::STOP).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        match Store::open_with(&root, options(choice(disk))) {
            Err(Error::Locked { holder, .. }) => {
                let pid = child.process.id().to_string();
                assert!(holder.contains(&pid), "the holder is process {pid}, not {holder:?}");
            }
            other => panic!("a second opener got {other:?}"),
        }
        assert!(matches!(Store::open_read_only(&root), Err(Error::Locked { .. })));
        kill_process(child.pid(), Signal::CONT).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        let acked = child.kill();
        let store = Store::open_with(&root, options(choice(disk))).unwrap();
        known.check(&store, &acked, true, round);
    }
    assert!(known.acked > 0);
}

/// The kernel may keep the lock of a process that ended: its writes are under way, or a child of it has the file. Who comes next
/// waits for ten seconds, and is told then; meanwhile the lock is taken as soon as it is let go.
#[test]
fn a_lock_that_outlives_its_process_is_waited_for_and_then_is_an_error() {
    use rustix::fs::{FlockOperation, flock};
    const PATIENCE: Duration = Duration::from_secs(10);
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    drop(Store::open_with(&root, options(DiskChoice::Auto)).unwrap());
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    let holder = format!("process {}", ended.id());
    // A file of our own: what the store keeps of its process's locks does not know of it.
    let mut left = std::fs::OpenOptions::new().write(true).open(root.join("LOCK")).unwrap();
    left.write_all(holder.as_bytes()).unwrap();
    flock(&left, FlockOperation::NonBlockingLockExclusive).unwrap();
    let asked = Instant::now();
    match Store::open_with(&root, options(DiskChoice::Auto)) {
        Err(Error::Locked { holder: told, .. }) => assert_eq!(told, holder),
        other => panic!("opened under another's lock: {other:?}"),
    }
    assert!(asked.elapsed() >= PATIENCE, "{:?}", asked.elapsed());
    let store = std::thread::scope(|scope| {
        let next = scope.spawn(|| Store::open_with(&root, options(DiskChoice::Auto)));
        // For it to begin waiting; nothing depends on whether it has.
        std::thread::sleep(Duration::from_millis(100));
        drop(left);
        next.join().unwrap()
    });
    store.unwrap();
}

#[test]
fn of_two_threads_that_open_at_once_one_owns_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let until = Instant::now() + Duration::from_secs(env_number("BRAIDLOG_RACE_SECONDS", 3));
    let (owners, opened, refused) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let (barrier, failures) = (Barrier::new(2), Mutex::new(Vec::new()));
    let race = |over: &dyn Fn() -> bool| {
        loop {
            // Both look at the clock, and one may find it over: so they agree.
            let last = over();
            barrier.wait();
            match Store::open_with(&root, options(DiskChoice::Auto)) {
                Ok(store) => {
                    if owners.fetch_add(1, Ordering::SeqCst) != 0 {
                        failures.lock().unwrap().push("two owners".to_owned());
                    }
                    opened.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_micros(200));
                    owners.fetch_sub(1, Ordering::SeqCst);
                    drop(store);
                }
                Err(Error::Locked { .. }) => drop(refused.fetch_add(1, Ordering::Relaxed)),
                Err(other) => failures.lock().unwrap().push(other.to_string()),
            }
            barrier.wait();
            if last {
                return;
            }
        }
    };
    let over = Mutex::new((false, 0u64));
    let agree = || {
        // The first of a pair decides for both.
        let mut state = over.lock().unwrap();
        if state.1.is_multiple_of(2) {
            state.0 = Instant::now() >= until;
        }
        state.1 += 1;
        state.0
    };
    std::thread::scope(|scope| {
        scope.spawn(|| race(&agree));
        race(&agree);
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{failures:?}");
    let (opened, refused) = (opened.into_inner(), refused.into_inner());
    println!("{opened} opens, {refused} refused");
    assert!(opened > 0);
}

#[test]
fn of_two_processes_that_open_at_once_one_owns() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    drop(Store::open_with(&root, options(DiskChoice::Auto)).unwrap());
    let until = Instant::now() + Duration::from_secs(env_number("BRAIDLOG_RACE_SECONDS", 3));
    let (mut won, mut lost) = (0, 0);
    while Instant::now() < until {
        let mut child = start(&root, "io_uring", 0);
        // The child takes a moment to come so far: the parent's first look comes at about that time.
        std::thread::sleep(Duration::from_micros(SystemRandom.next_u64() % 6_000));
        let ours = match Store::open_with(&root, options(DiskChoice::Portable)) {
            Ok(store) => Some(store),
            Err(Error::Locked { .. }) => None,
            Err(other) => panic!("{other}"),
        };
        match ours {
            Some(store) => {
                // Then the child can't have it: it ends in an error, or has not come so far.
                std::thread::sleep(Duration::from_millis(2));
                let _ = child.process.kill();
                let mut text = String::new();
                while child.lines.read_line(&mut text).unwrap() > 0 {}
                assert!(!text.lines().any(|line| line.starts_with("r ")), "two owners: {text}");
                child.process.wait().unwrap();
                drop(store);
                won += 1;
            }
            None => {
                child.wait_ready();
                child.kill();
                lost += 1;
            }
        }
    }
    println!("the parent won {won} races, the child {lost}");
}
