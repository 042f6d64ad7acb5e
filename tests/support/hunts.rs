//! Harnesses that are run with a seeded bug switched on, and must then answer with a violation; without one they find nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use braidlog::env::Env;
use braidlog::env::sim::{Crash, Errno, FaultKind, ManualClock, SeededRandom, SimDisk, Tape};
use braidlog::manual::ManualStore;
use braidlog::{Durability, Log, LogOptions, ReadMode, Record, StartAt};

use super::oracle::{read_checked, read_from};
use super::plan::Plan;
use super::runner::{Op, Run};
use super::{Verdict, exhaustive, is_payload, nth, packing, rot, small};
use crate::ensure;

/// What finds a seeded bug: a harness that answers with a violation.
pub type Harness = (&'static str, fn() -> Verdict);

pub fn histories() -> Verdict {
    (0..400).try_for_each(|seed| Plan::of(seed).run(false).0.map(drop))
}

pub fn short_histories() -> Verdict {
    let until = Instant::now() + Duration::from_secs(30);
    let base = exhaustive::base(ReadMode::Map)?;
    let mut looked = exhaustive::Looked::default();
    (1..=2).try_for_each(|n| exhaustive::explore_all(&base, n, until, &mut looked).map(drop))
}

/// Short histories where small logs share files.
pub fn packs() -> Verdict {
    let until = Instant::now() + Duration::from_secs(30);
    let base = exhaustive::base_with(packing(ReadMode::Map))?;
    let mut looked = exhaustive::Looked::default();
    (1..=2).try_for_each(|n| exhaustive::explore_all(&base, n, until, &mut looked).map(drop))
}

pub fn rot() -> Verdict {
    let sample = rot::sample()?;
    // The journal first: it is where one damage can be taken for another.
    for (at, (path, byte)) in sample.used_bytes().into_iter().enumerate() {
        let bit = byte * 8 + at as u64 % 8;
        let disk = sample.disk.fork();
        disk.flip_bit(&path, bit).unwrap();
        let outcome = sample.examine(disk, ReadMode::Copy).map_err(|e| format!("{path}, bit {bit}: {e}"))?;
        if outcome == rot::Outcome::Shortened {
            return Err(format!("{path}, bit {bit}: records went missing in silence"));
        }
    }
    Ok(())
}

pub fn failed_calls() -> Verdict {
    let base = nth::start(ReadMode::Map)?;
    for (name, script) in nth::SCRIPTS {
        let mut visited = nth::Visited::new();
        nth::each_call(&base, script, Errno::Io, FaultKind::Once, &mut visited).map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(())
}

/// The wall clock jumps by a year: retention must not believe it.
pub fn clocks() -> Verdict {
    let mut run = Run::create(SimDisk::new(Tape::seeded(1)), small(ReadMode::Map))?;
    run.create_logs()?;
    run.apply(Op::Append { log: 2, count: 3, len: 100, settle: true })?;
    run.apply(Op::Checkpoint)?;
    run.clock.advance_wall(std::time::Duration::from_secs(366 * 24 * 3600));
    run.apply(Op::Upkeep)?;
    let log = run.log("aging").ok_or("the log is gone")?;
    let found = read_from(&log, braidlog::StartAt::Sequence(0))?.len();
    if found == 3 { Ok(()) } else { Err(format!("{found} records of 3 are left")) }
}

/// An index of another segment under the name of this one: it must not be believed.
pub fn index() -> Verdict {
    let mut run = Run::create(SimDisk::new(Tape::seeded(1)), small(ReadMode::Copy))?;
    let options = LogOptions::new().segment_bytes_max(1100 << 10);
    let mut pending = run.stored().create_log("large", options).map_err(|e| e.to_string())?;
    run.store.as_mut().ok_or("no store")?.settle();
    let log = pending.try_get().ok_or("no answer")?.map_err(|e| e.to_string())?;
    let mut appended = 0u64;
    for round in 0..120u64 {
        let data = vec![round as u8; if round < 60 { 40_000 } else { 20_000 }];
        let ticket = log.try_append_batch(&[data[..].into()]).map_err(|e| e.to_string())?;
        let store = run.store.as_mut().ok_or("no store")?;
        store.settle();
        store.checkpoint().map_err(|e| e.to_string())?;
        appended = ticket.try_get().ok_or("no answer")?.map_err(|e| e.to_string())?.last + 1;
    }
    drop((log, pending));
    run.apply(Op::Reopen)?;
    run.store = None;
    let indexes: Vec<String> =
        run.disk.files().into_iter().map(|(path, _)| path).filter(|path| path.ends_with(".idx")).collect();
    if indexes.len() < 2 {
        return Err(format!("{} index files: the script is too short", indexes.len()));
    }
    let bytes = run.disk.read_bytes(&indexes[0]).unwrap();
    indexes[1..].iter().for_each(|path| run.disk.write_bytes(path, &bytes).unwrap());
    let read_all = |run: &mut Run| -> Verdict {
        run.open()?;
        let log = run.stored().store().log("large").map_err(|e| e.to_string())?;
        for number in 0..appended {
            let found = read_from(&log, braidlog::StartAt::Sequence(number))?;
            let right = found.first().is_some_and(|r| r.sequence_number == number && r.data[0] == number as u8);
            if !right {
                return Err(format!("record {number} is another one"));
            }
        }
        drop(log);
        run.store = None;
        Ok(())
    };
    read_all(&mut run)?;
    indexes.iter().for_each(|path| run.disk.erase(path).unwrap());
    read_all(&mut run)
}

/// The segment of one log in the place of another's: its log must tell that it is not its own.
pub fn strangers() -> Verdict {
    let mut run = Run::create(SimDisk::new(Tape::seeded(1)), small(ReadMode::Copy))?;
    run.create_logs()?;
    run.apply(Op::TwoInFlight { len: 200 })?;
    run.apply(Op::TwoInFlight { len: 200 })?;
    run.apply(Op::Reopen)?;
    run.store = None;
    let segments: Vec<(String, u64)> =
        run.disk.files().into_iter().filter(|(path, _)| path.ends_with(".seg")).collect();
    for (one, len) in &segments {
        for (two, _) in segments.iter().filter(|(two, other)| two != one && other >= len) {
            let mut damaged = run.on(run.disk.fork());
            damaged.disk.write_bytes(one, &run.disk.read_bytes(two).unwrap()).unwrap();
            damaged.open()?;
            read_checked(&damaged.model, damaged.stored().store())
                .map_err(|e| format!("{two} in place of {one}: {e}"))?;
        }
    }
    Ok(())
}

/// Someone who comes after the store stopped must hear of it.
pub fn late_waiters() -> Verdict {
    let base = nth::start(ReadMode::Map)?;
    let mut run = base.on(base.disk.fork());
    run.open()?;
    run.faulty = true;
    run.disk.fail_nth_where(1, FaultKind::Once, Errno::Io, Some("complete_durable"), None);
    let log = run.log("alpha").ok_or("no log")?;
    let first = log.try_append_batch(&[b"one"[..].into()]).map_err(|e| e.to_string())?;
    run.store.as_mut().ok_or("no store")?.settle();
    let told = |answer: Option<braidlog::Result<braidlog::Appended>>| matches!(answer, Some(Err(_)));
    if !told(first.try_get()) {
        return Err("the one who waited was not told".into());
    }
    match log.try_append_batch(&[b"two"[..].into()]) {
        Err(_) => Ok(()),
        Ok(late) if told(late.try_get()) => Ok(()),
        Ok(_) => Err("the late one waits for ever".into()),
    }
}

/// A store driven without the oracle: of its own randomness, and on a clock that stands.
struct Plain {
    disk: SimDisk,
    store: ManualStore,
}

impl Plain {
    fn open(disk: SimDisk, seed: u64) -> Verdict<Plain> {
        let random = Arc::new(SeededRandom::new(seed));
        let env = Env { disk: Arc::new(disk.clone()), clock: Arc::new(ManualClock::new()), random };
        let store = ManualStore::open(env, small(ReadMode::Copy)).map_err(|e| e.to_string())?;
        Ok(Plain { disk, store })
    }

    fn create(&mut self, name: &str, durability: Durability) -> Verdict {
        let mut pending =
            self.store.create_log(name, LogOptions::new().durability(durability)).map_err(|e| e.to_string())?;
        self.store.settle();
        pending.try_get().ok_or("no answer")?.map(drop).map_err(|e| e.to_string())
    }

    fn log(&self, name: &str) -> Verdict<Log> {
        self.store.store().log(name).map_err(|e| e.to_string())
    }

    /// One record in a batch of its own.
    fn append(&mut self, name: &str, data: &str) -> Verdict {
        let log = self.log(name)?;
        for _ in 0..3 {
            if let Ok(ticket) = log.try_append_batch(&[data.into()]) {
                self.store.settle();
                return ticket.try_get().ok_or("no answer")?.map(drop).map_err(|e| e.to_string());
            }
            // A buffered log is noted as in use first.
            self.store.settle();
        }
        Err(format!("{name}: busy for ever"))
    }

    fn read(&self, name: &str) -> Verdict<Vec<String>> {
        let text = |record: Record| String::from_utf8_lossy(&record.data).into_owned();
        Ok(read_from(&self.log(name)?, StartAt::TrimHorizon)?.into_iter().map(text).collect())
    }

    /// The disk after the owner died with nothing in flight.
    fn killed(self) -> SimDisk {
        self.disk.crash(Crash::Kill, &Tape::seeded(1))
    }
}

/// Puts into files of `disk` whatever those of `other` have in blocks that are empty here, as recycled blocks may come.
fn fill_with_leftovers(disk: &SimDisk, other: &SimDisk, suffix: &str) -> Verdict {
    let mut filled = 0;
    for (path, _) in other.files().into_iter().filter(|(path, _)| path.ends_with(suffix)) {
        let (Ok(mut bytes), Ok(theirs)) = (disk.read_bytes(&path), other.read_bytes(&path)) else { continue };
        for (block, theirs) in bytes.chunks_mut(4096).zip(theirs.chunks(4096)) {
            if block.len() == theirs.len() && block.iter().all(|b| *b == 0) && theirs.iter().any(|b| *b != 0) {
                block.copy_from_slice(theirs);
                filled += 1;
            }
        }
        disk.write_bytes(&path, &bytes).map_err(|e| e.to_string())?;
    }
    if filled > 0 { Ok(()) } else { Err("there are no leftovers: the script is too short".into()) }
}

/// Behind the end of a buffered log lies what a log of the same shape had there, and behind the end of the journal what another
/// store's had: every number fits, only the salts tell.
pub fn leftovers() -> Verdict {
    let mut plain = Plain::open(SimDisk::new(Tape::seeded(1)), 1)?;
    for (name, records) in [("here", 3), ("gone", 6)] {
        plain.create(name, Durability::Buffered)?;
        (0..records).try_for_each(|i| plain.append(name, &format!("{name} {i}")))?;
    }
    let disk = plain.killed();
    let segment_with = |text: &[u8]| {
        let mut segments = disk.files().into_iter().filter(|(path, _)| path.ends_with(".seg"));
        segments.find_map(|(path, _)| {
            let bytes = disk.read_bytes(&path).ok()?;
            bytes.windows(text.len()).any(|part| part == text).then_some((path, bytes))
        })
    };
    let (here, mut bytes) = segment_with(b"here 0").ok_or("no segment")?;
    let (_, gone) = segment_with(b"gone 0").ok_or("no segment")?;
    let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| (at + 1).next_multiple_of(8));
    bytes.truncate(used);
    bytes.extend_from_slice(gone.get(used..).ok_or("the other segment is shorter")?);
    disk.write_bytes(&here, &bytes).map_err(|e| e.to_string())?;
    let found = Plain::open(disk, 1)?.read("here")?;
    ensure!(found == ["here 0", "here 1", "here 2"], "another log's leftovers are read: {found:?}");

    let store_of = |seed, records: usize| -> Verdict<SimDisk> {
        let mut plain = Plain::open(SimDisk::new(Tape::seeded(1)), seed)?;
        plain.create("alpha", Durability::Durable)?;
        (0..records).try_for_each(|i| plain.append("alpha", &i.to_string()))?;
        Ok(plain.killed())
    };
    let disk = store_of(1, 3)?;
    fill_with_leftovers(&disk, &store_of(2, 5)?, ".jnl")?;
    let found = Plain::open(disk, 1)?.read("alpha")?;
    ensure!(found == ["0", "1", "2"], "another store's leftovers are read: {found:?}");
    Ok(())
}

/// A store was copied as files, both copies went on, and frames of one got into the other: they follow by number, not by content.
pub fn mixed_copies() -> Verdict {
    let mut plain = Plain::open(SimDisk::new(Tape::seeded(1)), 1)?;
    plain.create("alpha", Durability::Durable)?;
    let base = plain.killed();
    let went_on = |records: &[&str]| -> Verdict<SimDisk> {
        let mut plain = Plain::open(base.fork(), 1)?;
        records.iter().try_for_each(|record| plain.append("alpha", record))?;
        Ok(plain.killed())
    };
    let disk = went_on(&["ours"])?;
    fill_with_leftovers(&disk, &went_on(&["them", "more"])?, ".jnl")?;
    let found = Plain::open(disk, 1)?.read("alpha")?;
    ensure!(found == ["ours"], "a frame is read that followed another: {found:?}");
    Ok(())
}

/// Opening removes nothing, the oldest of three manifests excepted, not even segments that nobody named: they may be all that is
/// left of something.
pub fn openings() -> Verdict {
    let mut run = Run::create(SimDisk::new(Tape::seeded(1)), small(ReadMode::Copy))?;
    run.create_logs()?;
    // More than the quarter of the memory at which it is written out, in few frames, so that no checkpoint is due.
    for _ in 0..4 {
        (0..3).try_for_each(|log| run.apply(Op::Append { log, count: 2, len: 1900, settle: false }))?;
        run.apply(Op::Check)?;
    }
    run.apply(Op::Upkeep)?;
    run.store = None;
    let mut after = run.on(run.disk.crash(Crash::Kill, &Tape::seeded(1)));
    let before = after.disk.files();
    after.recover(Crash::Kill)?;
    let report = after.stored().store().open_report().clone();
    ensure!(report.leftover_segments > 0, "there are no segments without a name: the script is too short");
    let now = after.disk.files();
    let gone =
        before.iter().find(|(path, _)| !path.starts_with("manifest/") && now.iter().all(|(left, _)| left != path));
    ensure!(gone.is_none(), "opening removed {gone:?}");
    Ok(())
}

/// An owner dies with writes on their way: whoever opens next must not get the lock before they have landed or are gone.
pub fn late_writes() -> Verdict {
    let mut run = Run::create(SimDisk::new(Tape::seeded(1)), small(ReadMode::Map))?;
    run.create_logs()?;
    run.disk.set_completions_in_order(false);
    for round in 0..30 {
        run.append(0, 1, 300)?;
        run.store.as_mut().ok_or("no store")?.commit_step_without_waiting();
        let mut next = run.on(run.disk.crash(Crash::Kill, &Tape::seeded(round)));
        next.recover(Crash::Kill)?;
        ensure!(next.disk.late_writes() == 0, "round {round}: the next owner is in before the last one's writes");
        run.apply(Op::Upkeep)?;
        run.apply(Op::Check)?;
    }
    Ok(())
}

/// A reader holds records of a segment that is trimmed and removed: its bytes stay for as long as it does.
pub fn pinned_records() -> Verdict {
    let mut run = Run::create(SimDisk::new(Tape::seeded(1)), small(ReadMode::Map))?;
    run.create_logs()?;
    for _ in 0..8 {
        run.apply(Op::Append { log: 1, count: 3, len: 2000, settle: true })?;
        run.apply(Op::Checkpoint)?;
    }
    let held = read_from(&run.log("bravo").ok_or("no log")?, StartAt::TrimHorizon)?;
    run.apply(Op::Trim { log: 1, quarters: 4 })?;
    for _ in 0..3 {
        run.clock.advance(Duration::from_secs(2));
        run.apply(Op::Upkeep)?;
        run.apply(Op::Checkpoint)?;
    }
    let pinned = run.stored().store().stats().bytes_pinned;
    ensure!(pinned > 0, "nothing was removed while it was read: the script is too short");
    ensure!(run.disk.mapped_shrinks() == 0, "a file was to be shortened while it was read");
    for (record, rec) in held.iter().zip(&run.model.logs["bravo"].recs) {
        ensure!(is_payload(&record.data, rec.tag, rec.len), "record {} changed under its reader", rec.number);
    }
    Ok(())
}
