//! Too little of what a process is given: descriptors, memory, attention. Nothing acknowledged is lost, every refusal has a type,
//! and what one log or reader takes no other has to wait for.
#![cfg(target_os = "linux")]
// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use braidlog::{
    Appended, DiskChoice, Durability, Error, Health, Log, LogOptions, StartAt, Store, StoreOptions, Ticket,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const CHILD: &str = "BRAIDLOG_RESOURCES_CHILD";

fn small(disk: DiskChoice) -> StoreOptions {
    StoreOptions::new()
        .disk(disk)
        .journal_file_bytes(1 << 20)
        .memory_bytes(1 << 20)
        .reserve_bytes(0)
        .append_deadline(Duration::from_millis(20))
}

fn contents(log: &Log) -> Vec<Vec<u8>> {
    log.read(StartAt::TrimHorizon).unwrap().map(|record| record.unwrap().data.to_vec()).collect()
}

/// Runs one of the children below in a process of its own: what it limits is limited for the whole process.
fn in_child(name: &str, root: &std::path::Path, disk: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, root)
        .env("BRAIDLOG_RESOURCES_DISK", disk)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{disk}: {said}{}", String::from_utf8_lossy(&output.stderr));
    print!("{said}");
}

fn disk_of_child() -> DiskChoice {
    match std::env::var("BRAIDLOG_RESOURCES_DISK").as_deref() {
        Ok("portable") => DiskChoice::Portable,
        _ => DiskChoice::Auto,
    }
}

/// The process may have so many descriptors more than it has now; all that it may ever have for `None`.
fn allow_descriptors(more: Option<u64>) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let set = |current| setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    set(maximum);
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64 - 1;
    more.into_iter().for_each(|more| set(Some(open + more)));
}

#[test]
fn too_few_descriptors_are_told_by_type_and_cost_nothing() {
    for disk in ["auto", "portable"] {
        let folder = tempfile::tempdir().unwrap();
        in_child("child_with_few_descriptors", folder.path(), disk);
    }
}

/// Not a test by itself: see [`in_child`].
#[test]
fn child_with_few_descriptors() {
    let Ok(root) = std::env::var(CHILD) else { return };
    let root = std::path::Path::new(&root);
    let store = Store::open_with(root.join("store"), small(disk_of_child())).unwrap();
    let mut logs: BTreeMap<String, (Log, Vec<Vec<u8>>)> = BTreeMap::new();
    let mut refused = BTreeMap::<&str, u64>::new();
    for more in [None, Some(0), Some(1), Some(2), Some(3), Some(5), Some(8), None] {
        allow_descriptors(more);
        // What it keeps open and does not use the store closes then, so that 8 do for 12 logs.
        let too_few = more.filter(|more| *more < 8);
        for i in 0..12 {
            let name = format!("log {i}");
            // Small segments: each needs a descriptor of its own, and so does what makes room in the journal.
            let durability = if i % 4 == 3 { Durability::Buffered } else { Durability::Durable };
            let options = LogOptions::new().segment_bytes_max(64 << 10).durability(durability);
            let log = match store.open_or_create_log(&name, options) {
                Ok(log) => log,
                Err(error) => {
                    *refused.entry("create").or_default() += 1;
                    expect_typed(&error, too_few);
                    continue;
                }
            };
            let (_, acked) = logs.entry(name).or_insert_with(|| (log.clone(), Vec::new()));
            for n in 0..30 {
                let data = format!("{more:?} {i} {n} {}", "x".repeat(2000)).into_bytes();
                match log.append_ticket(&data[..]).and_then(|ticket| wait(ticket, more)) {
                    Ok(_) => acked.push(data),
                    Err(error) => {
                        *refused.entry("append").or_default() += 1;
                        expect_typed(&error, too_few);
                        break;
                    }
                }
            }
        }
        if let Err(error) = store.checkpoint() {
            *refused.entry("checkpoint").or_default() += 1;
            expect_typed(&error, too_few);
        }
        if more == Some(0) {
            // Not even those that the first store closes.
            let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
            setrlimit(Resource::Nofile, Rlimit { current: Some(0), maximum }).unwrap();
            let second = Store::open_with(root.join("second"), small(disk_of_child()));
            expect_typed(&second.err().unwrap(), more);
        }
    }
    println!("refused: {refused:?}");
    assert_eq!(store.health(), Health::Ok, "it goes on by itself when there are descriptors again");
    let check = |store: &Store| {
        for (name, (_, acked)) in &logs {
            let found = contents(&store.log(name).unwrap());
            assert_eq!(&found, acked, "{name}");
        }
    };
    check(&store);
    drop(store);
    // Handles keep a store: it is opened again by another process in the end, here by the same files.
    let expected: Vec<_> = logs.iter().map(|(name, (_, acked))| (name.clone(), acked.clone())).collect();
    drop(logs);
    let store = Store::open_with(root.join("store"), small(disk_of_child())).unwrap();
    for (name, acked) in expected {
        assert_eq!(contents(&store.log(&name).unwrap()), acked, "{name}, reopened");
    }
}

/// A ticket, once taken, has no deadline: it is there, or it is refused. Where the journal needs a file, or a checkpoint segments, and
/// there is no descriptor for them, it waits until there is.
fn wait(ticket: Ticket, more: Option<u64>) -> Result<Appended, Error> {
    if let Some(outcome) = ticket.wait_for(Duration::from_secs(1)) {
        return outcome;
    }
    allow_descriptors(None);
    let outcome =
        ticket.wait_for(Duration::from_secs(60)).expect("it goes on by itself when there are descriptors again");
    allow_descriptors(more);
    outcome
}

fn expect_typed(error: &Error, more: Option<u64>) {
    assert!(more.is_some(), "refused though there are enough: {error}");
    let text = error.to_string();
    assert!(matches!(error, Error::Io { .. } | Error::Busy { .. }), "with {more:?} descriptors more: {error:?}");
    assert!(!text.is_empty());
}

#[test]
fn a_slow_reader_and_a_busy_log_hold_up_nobody_else() {
    const BATCHES: u64 = 200;
    const BATCH: u64 = 50;
    for disk in [DiskChoice::Auto, DiskChoice::Portable] {
        let folder = tempfile::tempdir().unwrap();
        let options = small(disk).append_deadline(Duration::from_secs(600));
        let store = Store::open_with(folder.path(), options).unwrap();
        let hot = store.create_log("hot", LogOptions::new().segment_bytes_max(256 << 10)).unwrap();
        let cold = store.create_log("cold", LogOptions::new()).unwrap();
        hot.append("first").unwrap();
        // It takes one record, holds on to its bytes, and is not heard of again until the end.
        let mut slow = hot.read(StartAt::TrimHorizon).unwrap();
        let held = slow.next().unwrap().unwrap();
        let met = std::thread::scope(|scope| {
            let writers = [(), ()].map(|()| {
                scope.spawn(|| {
                    for _ in 0..BATCHES {
                        let batch = vec!["h".repeat(1000); BATCH as usize];
                        hot.append_batch(batch.iter().map(String::as_str)).unwrap();
                    }
                })
            });
            let mut tail = cold.read(StartAt::TrimHorizon).unwrap();
            let mut met = 0;
            while !writers.iter().any(|writer| writer.is_finished()) {
                let data = format!("cold {met}");
                assert_eq!(cold.append(data.as_str()).unwrap().first, met);
                let record = tail.next().unwrap().unwrap();
                assert_eq!((record.sequence_number, &record.data[..]), (met, data.as_bytes()));
                met += 1;
            }
            writers.into_iter().for_each(|writer| writer.join().unwrap());
            met
        });
        // Each call of the busy log's writers takes a turn, and so does each of this one; all share them.
        assert!(met >= BATCHES / 10, "{disk:?}: {met} appends while two writers made {BATCHES} each");
        assert_eq!(held.data, "first");
        let rest = slow.map(Result::unwrap).map(|record| record.sequence_number);
        assert!(rest.eq(1..=2 * BATCHES * BATCH), "{disk:?}: the slow one finds all that it missed");
    }
}

/// Found by review: what was refused for want of a thread was there all the same, and what came after it waited for ever.
#[test]
fn an_append_that_no_thread_can_be_started_for_is_absent() {
    for disk in ["ring", "portable"] {
        let root = tempfile::tempdir().unwrap();
        in_child("child_without_memory_for_a_thread", root.path(), disk);
    }
}

#[test]
fn child_without_memory_for_a_thread() {
    let Ok(root) = std::env::var(CHILD) else { return };
    let options = small(disk_of_child()).append_deadline(Duration::from_secs(600));
    let store = Store::open_with(std::path::Path::new(&root).join("store"), options).unwrap();
    let log = store.create_log("b", LogOptions::new().durability(Durability::Buffered)).unwrap();
    let Rlimit { maximum, current } = getrlimit(Resource::As);
    let pages: u64 = std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse().unwrap();
    // Less than the stack of a thread.
    setrlimit(Resource::As, Rlimit { current: Some(pages * 4096 + (1 << 20)), maximum }).unwrap();
    let refused = log.append_ticket("refused");
    setrlimit(Resource::As, Rlimit { current, maximum }).unwrap();
    assert!(matches!(refused, Err(Error::Io(_))), "{:?}", refused.err());
    let ticket = log.append_ticket("accepted").unwrap();
    assert_eq!(ticket.wait_for(Duration::from_secs(10)).unwrap().unwrap().first, 0);
    assert_eq!(contents(&log), [b"accepted"]);
}
