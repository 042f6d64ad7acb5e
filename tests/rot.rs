//! Rot in every place of a small store: identical content or a typed error with the rest identical, never wrong bytes, never a
//! silent loss of what is proven durable, never a panic.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use braidlog::env::sim::{Crash, ManualClock, SECTOR, SimDisk, Tape, WriteFault};
use braidlog::env::{Access, Disk};
use braidlog::manual::ManualStore;
use braidlog::{Error, Health, LogOptions, ReadMode, StartAt};
use support::oracle::read_from;
use support::rot::{Outcome, Sample, kind_of, sample, sample_with};
use support::runner::{Op, Run};
use support::{Verdict, budget, env_of, packing, small, two_lanes};

type Table = BTreeMap<(&'static str, Outcome), u64>;

fn examine(
    sample: &Sample,
    path: &str,
    what: &str,
    mode: ReadMode,
    damage: impl FnOnce(&braidlog::env::sim::SimDisk),
) -> Verdict<Outcome> {
    let disk = sample.disk.fork();
    if std::env::var_os("BRAIDLOG_ROT_TRACE").is_some() {
        eprintln!("{path}, {what}");
    }
    damage(&disk);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sample.examine(disk, mode)));
    outcome.unwrap_or_else(|_| Err("panicked".into())).map_err(|e| format!("{path}, {what}: {e}"))
}

fn mode_of(n: u64) -> ReadMode {
    if n.is_multiple_of(2) { ReadMode::Copy } else { ReadMode::Map }
}

/// These are complete or they are nothing, however slow the machine is today: only what hangs is given up.
fn patience() -> std::time::Instant {
    budget(20.0)
}

/// Runs jobs on two threads, every one, and adds up.
fn all(
    jobs: u64,
    until: std::time::Instant,
    job: impl Fn(&Sample, u64) -> Verdict<(&'static str, Outcome)> + Sync,
) -> Table {
    let (job, next) = (&job, &std::sync::atomic::AtomicU64::new(0));
    let done = two_lanes(move |_| {
        let sample = sample().unwrap();
        let mut table = Table::new();
        loop {
            let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if n >= jobs {
                return table;
            }
            assert!(std::time::Instant::now() < until, "out of time at {n} of {jobs}");
            *table.entry(job(&sample, n).unwrap_or_else(|e| panic!("{e}"))).or_insert(0) += 1;
        }
    });
    let mut sum = Table::new();
    done.into_iter().flatten().for_each(|(cell, n)| *sum.entry(cell).or_insert(0) += n);
    println!("{sum:?}");
    sum
}

#[test]
fn every_flipped_bit_is_harmless_or_told() {
    let places = sample().unwrap().used_bytes();
    println!("{} bytes", places.len());
    // In each byte half of the bits in one read mode, half in the other.
    let table = all(places.len() as u64 * 8, patience(), |sample, n| {
        let (path, at) = &places[n as usize / 8];
        let bit = at * 8 + n % 8;
        let outcome =
            examine(sample, path, &format!("bit {bit}"), mode_of(n), |disk| disk.flip_bit(path, bit).unwrap())?;
        Ok((kind_of(path), outcome))
    });
    let silent: u64 = table.iter().filter(|((_, o), _)| *o == Outcome::Shortened).map(|(_, n)| n).sum();
    assert_eq!(silent, 0, "records went missing in silence");
}

/// The same in the packs of a store where small logs share files, and in the manifests that name their pieces.
#[test]
fn every_flipped_bit_of_a_pack_is_harmless_or_told() {
    let sample = sample_with(packing(ReadMode::Copy)).unwrap();
    let places: Vec<_> =
        sample.used_bytes().into_iter().filter(|(path, _)| ["segments", "manifest"].contains(&kind_of(path))).collect();
    let done = two_lanes(|lane| {
        let sample = sample_with(packing(ReadMode::Copy)).unwrap();
        let mut told = 0;
        for n in (lane..places.len() as u64 * 8).step_by(2) {
            let (path, at) = &places[n as usize / 8];
            let bit = at * 8 + n % 8;
            let flip = |disk: &SimDisk| disk.flip_bit(path, bit).unwrap();
            let outcome = examine(&sample, path, &format!("bit {bit}"), mode_of(n / 2), flip);
            let outcome = outcome.unwrap_or_else(|e| panic!("{e}"));
            assert_ne!(outcome, Outcome::Shortened, "{path}, bit {bit}");
            told += u64::from(outcome == Outcome::Told);
        }
        told
    });
    assert!(done.iter().sum::<u64>() > 1000, "{done:?} of {} bytes", places.len());
}

#[test]
fn every_truncation_is_harmless_or_told() {
    let reference = sample().unwrap();
    let mut cuts = Vec::new();
    for (path, len) in reference.disk.files() {
        match kind_of(&path) {
            "others" => {}
            "journal" => {
                // Behind what is written there are zeros, and one length is like another.
                let bytes = reference.disk.read_bytes(&path).unwrap();
                let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last as u64 + 9);
                cuts.extend(
                    (0..len).filter(|n| *n <= used || n.is_multiple_of(SECTOR as u64)).map(|n| (path.clone(), n)),
                );
            }
            _ => cuts.extend((0..len).map(|n| (path.clone(), n))),
        }
    }
    let table = all(cuts.len() as u64, patience(), |sample, n| {
        let (path, len) = &cuts[n as usize];
        let outcome = examine(sample, path, &format!("cut to {len}"), mode_of(n), |d| d.truncate(path, *len).unwrap())?;
        Ok((kind_of(path), outcome))
    });
    assert!(!table.keys().any(|(_, outcome)| *outcome == Outcome::Shortened), "records went missing in silence");
}

#[test]
fn every_zeroed_or_swapped_block_is_harmless_or_told() {
    let reference = sample().unwrap();
    let mut blocks: Vec<(String, u64)> =
        reference.used_bytes().into_iter().map(|(path, at)| (path, at / SECTOR as u64)).collect();
    blocks.dedup();
    let n = blocks.len() as u64;
    println!("{n} blocks");
    let table = all(n + n * n, patience(), |sample, job| {
        let (path, block) = &blocks[(job % n) as usize];
        let outcome = if job < n {
            examine(sample, path, &format!("block {block} zeroed"), mode_of(job / 2), |disk| {
                disk.zero_block(path, *block).unwrap();
            })?
        } else {
            let (other, other_block) = &blocks[((job - n) / n) as usize];
            examine(
                sample,
                path,
                &format!("block {block} swapped with {other_block} of {other}"),
                mode_of(job / 2),
                |disk| {
                    disk.swap_blocks(path, *block, other, *other_block).unwrap();
                },
            )?
        };
        Ok((kind_of(path), outcome))
    });
    let silent: u64 = table.iter().filter(|((_, o), _)| *o == Outcome::Shortened).map(|(_, n)| n).sum();
    assert_eq!(silent, 0, "records went missing in silence");
}

#[test]
fn a_missing_file_is_harmless_or_told() {
    let reference = sample().unwrap();
    for (path, _) in reference.disk.files() {
        for mode in [ReadMode::Map, ReadMode::Copy] {
            let outcome = examine(&reference, &path, "gone", mode, |disk| disk.erase(&path).unwrap()).unwrap();
            println!("{path} gone: {outcome:?}");
            assert_ne!(outcome, Outcome::Shortened, "{path} is gone, and so are records, in silence");
        }
    }
}

/// The device says of a write that it was done, and did it elsewhere, twice or not at all.
#[test]
fn a_write_that_went_astray_is_harmless_or_told() {
    let reference = sample().unwrap();
    let faults = [
        WriteFault::Lost,
        WriteFault::Misdirected(4096),
        WriteFault::Misdirected(-4096),
        WriteFault::Duplicated(4096),
        WriteFault::Duplicated(-4096),
    ];
    let mut sum = BTreeMap::new();
    for fault in faults {
        for n in 1..200 {
            let mut run = support::rot::written(|disk| disk.arm_write_fault(n, fault));
            run.store = None;
            let what = format!("write {n}, {fault:?}");
            let left = run.disk.crash(Crash::Power, &Tape::seeded(n));
            let damaged = support::rot::Sample { disk: left.fork(), run, content: reference.content.clone() };
            let outcome = damaged.examine(left, mode_of(n)).unwrap_or_else(|e| panic!("{what}: {e}"));
            // Calls that failed were told there and then; what they did not do is rightly missing.
            let outcome = if damaged.run.errors.is_empty() { outcome } else { Outcome::Told };
            *sum.entry(outcome).or_insert(0) += 1;
        }
    }
    println!("{sum:?}");
    assert!(!sum.contains_key(&Outcome::Shortened), "records went missing in silence");
}

/// What the device never wrote is not taken for what rotted, nor the other way round.
#[test]
fn a_frame_that_the_device_only_claimed_to_have_written_is_called_that() {
    let report = |disk: &SimDisk, run: &Run| {
        let opened = ManualStore::open(env_of(disk, &run.clock), small(ReadMode::Copy)).ok()?;
        let report = opened.store().open_report().clone();
        report.journal_damage.map(|place| (place, report.device_lied))
    };
    let mut claimed = 0;
    for n in 1..200 {
        let mut run = support::rot::written(|disk| disk.arm_write_fault(n, WriteFault::Lost));
        run.store = None;
        if let Some((place, lied)) = report(&run.disk.crash(Crash::Power, &Tape::seeded(n)), &run) {
            assert_eq!(lied, place.contains("the device said"), "{place}");
            claimed += u64::from(lied);
        }
    }
    let sample = sample().unwrap();
    let mut rotted = 0;
    for (path, at) in sample.used_bytes().into_iter().filter(|(path, _)| kind_of(path) == "journal") {
        let disk = sample.disk.fork();
        disk.flip_bit(&path, at * 8 + at % 8).unwrap();
        if let Some((place, lied)) = report(&disk, &sample.run) {
            assert!(!lied, "byte {at} of {path} was changed: {place}");
            rotted += 1;
        }
    }
    println!("{claimed} frames were only claimed, {rotted} had rotted");
    assert!(claimed > 0 && rotted > 0);
}

/// A copy of a running store's folder that took some files earlier than others, or an old file put back.
#[test]
fn files_of_two_instants_open_to_a_front_part_or_are_refused() {
    let (instants, run) = support::rot::instants().unwrap();
    let last = instants.last().unwrap();
    let reference = {
        let mut whole = run.on(last.fork());
        whole.recover(Crash::Kill).unwrap();
        let content = support::rot::contents(whole.stored().store()).unwrap();
        Sample { disk: last.fork(), run, content }
    };
    let mut sum = BTreeMap::new();
    let mut mix = |earlier: &SimDisk, paths: &[&str], what: &str| {
        let disk = last.fork();
        for path in paths {
            disk.write_bytes(path, &earlier.read_bytes(path).unwrap()).unwrap();
        }
        for mode in [ReadMode::Copy, ReadMode::Map] {
            let outcome = reference.examine(disk.fork(), mode).unwrap_or_else(|e| panic!("{what}: {paths:?}: {e}"));
            *sum.entry(outcome).or_insert(0) += 1;
        }
    };
    for (at, earlier) in instants[..instants.len() - 1].iter().enumerate() {
        let what = format!("from instant {at}");
        let files = earlier.files();
        let changed = |path: &str| earlier.read_bytes(path).ok() != last.read_bytes(path).ok();
        let paths: Vec<&str> = files.iter().map(|(path, _)| &**path).filter(|path| changed(path)).collect();
        paths.iter().for_each(|path| mix(earlier, &[path], &what));
        for folder in ["journal/", "manifest/", "segments/"] {
            let of_kind: Vec<&str> = paths.iter().copied().filter(|path| path.starts_with(folder)).collect();
            mix(earlier, &of_kind, &what);
        }
    }
    println!("{sum:?}");
}

/// What is done to a segment of [`what_lies_around_damage_stays_readable_by_number`].
#[derive(Debug, Clone, Copy)]
enum Harm {
    /// A bit of a batch's header is flipped.
    Header,
    /// A batch's header is zeros, which is what padding looks like.
    ZeroHeader,
    /// The last batch's header is zeros, and so is its end to what reads the file.
    ZeroLast,
    /// A bit of a batch's records is flipped.
    Records,
    /// A block is zeros: batches end and begin in it.
    ZeroBlock,
    /// A block can't be read.
    Unreadable,
    /// The last half is not there any more: nothing of the file is looked at.
    Cut,
}

/// Damage in the middle of a log that is open: a reader hears of it at its place, by number, by time and on its way, skips it when told
/// to, and everything else can be read.
#[test]
fn what_lies_around_damage_stays_readable_by_number() {
    const RECORDS: u64 = 120;
    let mut run = Run::create(SimDisk::new(Tape::seeded(1)), small(ReadMode::Copy)).unwrap();
    run.create_logs().unwrap();
    for _ in 0..RECORDS {
        run.clock.advance(Duration::from_millis(10));
        run.apply(Op::Append { log: 0, count: 1, len: 700, settle: true }).unwrap();
    }
    run.apply(Op::Reopen).unwrap();
    let whole = read_from(&run.log("alpha").unwrap(), StartAt::TrimHorizon).unwrap();
    run.store = None;
    let segments: Vec<_> = run.disk.files().into_iter().filter(|(path, _)| path.ends_with(".seg")).collect();
    assert!(segments.len() >= 3, "{segments:?}");
    let modes = [ReadMode::Copy, ReadMode::Map];
    let harms =
        [Harm::Header, Harm::ZeroHeader, Harm::ZeroLast, Harm::Records, Harm::ZeroBlock, Harm::Unreadable, Harm::Cut];
    for ((mode, harm), (path, _)) in modes
        .into_iter()
        .flat_map(|mode| harms.map(|harm| (mode, harm)))
        .flat_map(|how| segments.iter().map(move |s| (how, s)))
    {
        let disk = run.disk.fork();
        let mut bytes = disk.read_bytes(path).unwrap();
        let len = bytes.len() as u64;
        // In the header of a batch its magic is 40 bytes behind its start.
        let headers: Vec<u64> =
            (64..len - 64).step_by(8).filter(|at| bytes[*at as usize + 40..][..2] == *b"Bb").collect();
        let middle = if matches!(harm, Harm::ZeroLast) { headers.len() - 1 } else { headers.len() / 2 };
        let header = headers[middle];
        match harm {
            Harm::Header => disk.flip_bit(path, (header + 3) * 8).unwrap(),
            Harm::ZeroHeader | Harm::ZeroLast => {
                bytes[header as usize..][..64].fill(0);
                disk.write_bytes(path, &bytes).unwrap();
            }
            Harm::Records => disk.flip_bit(path, (header + 100) * 8).unwrap(),
            Harm::ZeroBlock => disk.zero_block(path, header / 512).unwrap(),
            Harm::Unreadable => disk.set_read_error(path, header..header + 1).unwrap(),
            Harm::Cut => disk.truncate(path, len / 2).unwrap(),
        }
        let what = format!("{path}, {mode:?}, {harm:?}");
        let mut damaged = run.on(disk);
        damaged.options = small(mode);
        damaged.open().unwrap();
        let log = damaged.log("alpha").unwrap();
        let mut lost = Vec::new();
        for record in &whole {
            let number = record.sequence_number;
            match log.read(StartAt::Sequence(number)).unwrap().next().unwrap() {
                Ok(found) => assert_eq!(&found, record, "{what}"),
                Err(Error::Damaged { lost: Some(at), .. }) => {
                    assert_eq!((at.log.as_str(), at.sequence_number), ("alpha", number), "{what}");
                    lost.push(number);
                }
                Err(other) => panic!("{what}: {other}"),
            }
            // By time it begins with what is lost, for that may have arrived then.
            let mut by_time = log.read(StartAt::Time(record.arrival())).unwrap();
            match by_time.next().unwrap() {
                Ok(found) => assert_eq!(&found, record, "{what}"),
                Err(Error::Damaged { lost: Some(at), .. }) => {
                    assert!(at.sequence_number <= number, "{what}: {at:?} for {number}");
                    by_time.skip_damaged().unwrap();
                    let next = by_time.next().map(|record| record.unwrap().sequence_number);
                    assert!(lost.contains(&number) || next == Some(number), "{what}: {next:?} behind what is lost");
                }
                Err(other) => panic!("{what}: {other}"),
            }
        }
        let run_of_them = lost.windows(2).all(|two| two[1] == two[0] + 1);
        assert!(!lost.is_empty() && run_of_them, "{what}: {lost:?}");
        match harm {
            Harm::Header | Harm::ZeroHeader | Harm::ZeroLast | Harm::Records => {
                assert_eq!(lost.len(), 1, "{what}: {lost:?}")
            }
            Harm::ZeroBlock | Harm::Unreadable => assert!(lost.len() <= 2, "{what}: {lost:?}"),
            Harm::Cut => {}
        }
        let mut reader = log.read(StartAt::TrimHorizon).unwrap();
        let (mut found, mut skipped) = (Vec::new(), Vec::new());
        loop {
            match reader.read(7, usize::MAX) {
                Ok(records) if records.is_empty() => break,
                Ok(records) => found.extend(records),
                Err(Error::Damaged { .. }) => skipped.extend(reader.skip_damaged().unwrap()),
                Err(other) => panic!("{what}: {other}"),
            }
        }
        assert_eq!(skipped, lost, "{what}: what is skipped is what can't be read");
        let kept: Vec<_> = whole.iter().filter(|record| !lost.contains(&record.sequence_number)).cloned().collect();
        assert_eq!(found, kept, "{what}: and nothing else is");
        assert_eq!(reader.skip_damaged().unwrap(), RECORDS..RECORDS, "{what}: there is nothing to skip at the end");
    }
}

/// The place that a rule comes to lies in a damaged segment: the rule goes as far as that can be read. Everything that it does not hide
/// and that is whole can be read, who skips what expired gets on, and what is trimmed behind the damage gives its room back.
#[test]
fn damage_where_a_rule_comes_to_hides_no_other_record() {
    const RECORDS: u64 = 120;
    let by_bytes = LogOptions::new().segment_bytes_max(16 << 10).retention_bytes(Some(40 << 10));
    let by_age = LogOptions::new().segment_bytes_max(16 << 10).retention_age(Some(Duration::from_secs(50)));
    for (rule, mode) in
        [by_bytes, by_age].into_iter().flat_map(|rule| [ReadMode::Copy, ReadMode::Map].map(|mode| (rule.clone(), mode)))
    {
        let (disk, clock) = (SimDisk::new(Tape::seeded(1)), Arc::new(ManualClock::new()));
        let open = |disk: &SimDisk| ManualStore::open(env_of(disk, &clock), small(mode)).unwrap();
        let mut store = open(&disk);
        let mut made = store.create_log("log", rule).unwrap();
        store.settle();
        let log = made.try_get().unwrap().unwrap();
        for _ in 0..RECORDS {
            drop(log.append_ticket(&[7; 700][..]).unwrap());
            store.settle();
            clock.advance(Duration::from_secs(1));
            if log.end() % 40 == 0 {
                store.checkpoint().unwrap();
            }
        }
        let horizon = log.horizon().unwrap();
        let whole: Vec<_> = log.read(StartAt::TrimHorizon).unwrap().map(Result::unwrap).collect();
        assert_eq!((whole[0].sequence_number, whole.len() as u64), (horizon, RECORDS - horizon));
        drop((log, store));
        let segments: Vec<_> = disk.files().into_iter().filter(|(path, _)| path.ends_with(".seg")).collect();
        let mut found_in = 0;
        for (path, len) in &segments {
            for at in (0..*len).step_by(29) {
                let what = format!("{path}, byte {at}, {mode:?}");
                let disk = disk.fork();
                disk.flip_bit(path, at * 8).unwrap();
                let mut store = open(&disk);
                let log = store.store().log("log").unwrap();
                let now = log.horizon().unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(now <= horizon, "{what}: {now}");
                found_in += u64::from(now < horizon);
                let mut unreadable = 0;
                for record in &whole {
                    match log.read(StartAt::Sequence(record.sequence_number)).unwrap().next().unwrap() {
                        Ok(found) => assert_eq!(&found, record, "{what}"),
                        Err(Error::Damaged { .. }) => unreadable += 1,
                        Err(error) => panic!("{what}: {error}"),
                    }
                }
                assert!(unreadable <= 1, "{what}: {unreadable} can't be read");
                // From the front on, over what expired and over the damage.
                let mut reader = log.read(StartAt::TrimHorizon).unwrap();
                let (mut read, mut turns) = (0, 0);
                while reader.next_sequence_number() < RECORDS {
                    turns += 1;
                    assert!(turns < 1000, "{what}: at {}", reader.next_sequence_number());
                    match reader.next_batch() {
                        Ok(batch) => {
                            read +=
                                batch.unwrap().iter().filter(|record| record.sequence_number >= horizon).count() as u64
                        }
                        Err(Error::Trimmed { .. }) => assert!(reader.skip_trimmed().unwrap() > 0, "{what}"),
                        Err(Error::Damaged { .. }) => match reader.skip_damaged() {
                            Ok(lost) => assert!(!lost.is_empty(), "{what}"),
                            Err(error) => assert!(matches!(error, Error::Trimmed { .. }), "{what}: {error}"),
                        },
                        Err(error) => panic!("{what}: {error}"),
                    }
                }
                assert_eq!(read, whole.len() as u64 - unreadable, "{what}");
                let mut pending = store.trim(&log, RECORDS - 1).unwrap();
                store.settle();
                pending.try_get().unwrap().unwrap();
                store.upkeep_step();
                store.checkpoint().unwrap();
                assert!(
                    disk.files()
                        .iter()
                        .all(|(left, _)| left != path || Some(path) == segments.last().map(|(path, _)| path)),
                    "{what}"
                );
            }
        }
        assert!(found_in > 0, "{mode:?}: the rule came to damage {found_in} times");
    }
}

/// One record is damaged in the journal. What lies behind it is withheld, and stays where a salvage finds it however long the store
/// is used.
#[test]
fn what_is_withheld_can_be_salvaged_after_checkpoints() {
    let (disk, clock) = (SimDisk::new(Tape::seeded(1)), Arc::new(ManualClock::new()));
    let open = |disk: &SimDisk| ManualStore::open(env_of(disk, &clock), small(ReadMode::Copy)).unwrap();
    let mut store = open(&disk);
    let mut made = [store.create_log("log", LogOptions::new()), store.create_log("other", LogOptions::new())];
    store.settle();
    let [log, other] = made.each_mut().map(|made| made.as_mut().unwrap().try_get().unwrap().unwrap());
    store.checkpoint().unwrap();
    for n in 0..10u32 {
        let ticket = log.append_ticket(format!("record {n:04} {}", "x".repeat(400)).as_str()).unwrap();
        drop(other.append_ticket("whole").unwrap());
        store.settle();
        ticket.try_get().unwrap().unwrap();
    }
    drop((log, other, made, store));
    let disk = disk.crash(Crash::Kill, &Tape::seeded(2));
    let journal = disk.list("journal").unwrap();
    let (path, at) = journal
        .iter()
        .find_map(|entry| {
            let path = format!("journal/{}", entry.name);
            let file = disk.open(&path, Access::Read).unwrap();
            let mut bytes = vec![0; file.len().unwrap() as usize];
            file.read_at(&mut bytes, 0).unwrap();
            bytes.windows(11).position(|window| window == b"record 0003").map(|at| (path, at))
        })
        .unwrap();
    disk.flip_bit(&path, at as u64 * 8).unwrap();
    let salvaged = |disk: &SimDisk| {
        let report = braidlog::check::salvage_in(&env_of(disk, &clock), "copy", &mut |_| {}).unwrap();
        let log = report.logs.iter().find(|log| log.name == "log").unwrap().clone();
        (log.records, log.missing)
    };
    let missing = || (9, std::iter::once(3..4).collect::<Vec<_>>());
    assert_eq!(salvaged(&disk.fork()), missing());
    for life in 0..3 {
        let mut store = open(&disk);
        let log = store.store().log("log").unwrap();
        assert_eq!((log.info().stopped_at, store.store().health()), (Some(3), Health::Ok), "life {life}");
        for _ in 0..300 {
            drop(store.store().log("other").unwrap().append_ticket(&[7; 1000][..]).unwrap());
            store.settle();
        }
        store.checkpoint().unwrap();
        store.checkpoint().unwrap();
        drop(log);
        if life == 1 {
            store.close().unwrap();
        }
    }
    assert_eq!(salvaged(&disk.fork()), missing());
    let env = env_of(&disk, &clock);
    let store = braidlog::Store::open_in(env, small(ReadMode::Copy)).unwrap();
    store.backup("backup").unwrap();
    store.close().unwrap();
    let copy = braidlog::env::Env { disk: disk.sibling("backup").unwrap(), ..env_of(&disk, &clock) };
    let report = braidlog::check::salvage_in(&copy, "copy", &mut |_| {}).unwrap();
    let log = report.logs.iter().find(|log| log.name == "log").unwrap();
    assert_eq!((log.records, log.missing.clone()), missing());
}
