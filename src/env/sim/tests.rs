use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::super::{Access, AlignedBuf, BLOCK, Completion, Disk, DiskFile, DiskOp, LockMode, Wait, WriteQueue};
use super::bugs::{SeededBug, activate};
use super::*;

fn disk() -> SimDisk {
    SimDisk::new(Tape::seeded(1))
}

fn create(disk: &SimDisk, path: &str) -> Arc<dyn DiskFile> {
    disk.open(path, Access::CreateNew).unwrap()
}

/// A file whose name and bytes are durable.
fn durable_file(disk: &SimDisk, path: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let file = create(disk, path);
    file.write_at(bytes, 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir("").unwrap();
    file
}

fn queue(disk: &SimDisk) -> Box<dyn WriteQueue> {
    let lock = disk.lock("LOCK", LockMode::Exclusive, "me").unwrap();
    disk.write_queue(lock.as_ref(), 16).unwrap()
}

fn aligned(byte: u8, blocks: usize) -> AlignedBuf {
    let mut data = AlignedBuf::with_capacity(blocks * BLOCK);
    data.extend_from_slice(&vec![byte; blocks * BLOCK]);
    data
}

fn write_op(file: &Arc<dyn DiskFile>, offset: u64, byte: u8, durable: bool) -> DiskOp {
    DiskOp::Write { file: file.clone(), offset, data: aligned(byte, 1), durable }
}

fn reap(queue: &mut dyn WriteQueue) -> Vec<Completion> {
    let mut done = Vec::new();
    while queue.in_flight() > 0 {
        queue.reap(Wait::Completion, &mut done);
    }
    done
}

fn power(disk: &SimDisk, seed: u64) -> SimDisk {
    disk.crash(Crash::Power, &Tape::seeded(seed))
}

/// All that power cuts can make of a file: its bytes, or that it is gone.
fn outcomes(disk: &SimDisk, path: &str, seeds: u64) -> BTreeSet<Option<Vec<u8>>> {
    (0..seeds).map(|seed| power(disk, seed).read_bytes(path).ok()).collect()
}

#[test]
fn what_is_synced_stays_and_what_is_not_may_go_either_way() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[1; 1024]);
    assert_eq!(outcomes(&disk, "a", 50), [Some(vec![1; 1024])].into());
    file.write_at(&[2; 1024], 0).unwrap();
    let sector = |n| vec![n; 512];
    let all = [(1, 1), (1, 2), (2, 1), (2, 2)].map(|(a, b)| Some([sector(a), sector(b)].concat()));
    assert_eq!(outcomes(&disk, "a", 200), all.into());
    file.sync_data().unwrap();
    assert_eq!(outcomes(&disk, "a", 50), [Some(vec![2; 1024])].into());
}

/// Random writes, cached and queued, and syncs, against what each sector may hold.
#[test]
fn a_sector_holds_its_durable_version_or_a_later_one() {
    for seed in 0..300 {
        let tape = Tape::seeded(seed);
        let disk = SimDisk::new(tape.clone());
        disk.set_completions_in_order(false);
        let cached = durable_file(&disk, "a", &vec![0; 4 * BLOCK]);
        let direct = disk.open("a", Access::Direct).unwrap();
        let mut queue = queue(&disk);
        let sectors = 4 * BLOCK / SECTOR;
        // Per sector the versions it may have, the durable one first.
        let mut may: Vec<Vec<u8>> = vec![vec![0]; sectors];
        let mut submitted: BTreeMap<u64, (usize, u8)> = BTreeMap::new();
        for step in 1..30u8 {
            match tape.choose("do", 4) {
                0 => {
                    let first = tape.choose("at", sectors as u64) as usize;
                    let n = 1 + tape.choose("n", (sectors - first) as u64) as usize;
                    cached.write_at(&vec![step; n * SECTOR], (first * SECTOR) as u64).unwrap();
                    may[first..first + n].iter_mut().for_each(|versions| versions.push(step));
                }
                1 => {
                    cached.sync_data().unwrap();
                    let mut now = vec![0; 4 * BLOCK];
                    cached.read_at(&mut now, 0).unwrap();
                    for (at, versions) in may.iter_mut().enumerate() {
                        *versions = vec![now[at * SECTOR]];
                    }
                    // What is in flight may land still.
                    for &(block, byte) in submitted.values() {
                        may[block * 8..block * 8 + 8].iter_mut().for_each(|versions| versions.push(byte));
                    }
                }
                2 if queue.in_flight() < 4 => {
                    let block = tape.choose("block", 4) as usize;
                    queue.submit(u64::from(step), write_op(&direct, (block * BLOCK) as u64, step, true));
                    submitted.insert(u64::from(step), (block, step));
                    may[block * 8..block * 8 + 8].iter_mut().for_each(|versions| versions.push(step));
                }
                _ => {
                    let mut done = Vec::new();
                    queue.reap(Wait::No, &mut done);
                    for completion in done {
                        completion.result.unwrap();
                        let (block, byte) = submitted.remove(&completion.token).unwrap();
                        for versions in &mut may[block * 8..block * 8 + 8] {
                            *versions = vec![byte];
                        }
                        for &(block, byte) in submitted.values() {
                            may[block * 8..block * 8 + 8].iter_mut().for_each(|versions| versions.push(byte));
                        }
                    }
                }
            }
            let after = power(&disk, seed * 100 + u64::from(step)).read_bytes("a").unwrap();
            for (at, versions) in may.iter().enumerate() {
                let sector = &after[at * SECTOR..(at + 1) * SECTOR];
                assert!(sector.iter().all(|b| b == &sector[0]), "{tape}: sector {at} is torn");
                assert!(versions.contains(&sector[0]), "{tape}: sector {at} is {}, not of {versions:?}", sector[0]);
            }
        }
    }
}

#[test]
fn grown_space_reads_as_zeros_noise_or_what_another_file_left() {
    let disk = disk();
    drop(durable_file(&disk, "old", &[7; BLOCK]));
    disk.remove("old").unwrap();
    let file = durable_file(&disk, "new", b"");
    file.write_at(&[1; BLOCK], 0).unwrap();
    let mut seen = BTreeSet::new();
    let mut lengths = BTreeSet::new();
    for bytes in outcomes(&disk, "new", 3000).into_iter().flatten() {
        lengths.insert(bytes.len());
        seen.extend(bytes.chunks(SECTOR).map(|sector| match sector[0] {
            same if sector.iter().all(|&b| b == same) => same,
            _ => 99,
        }));
    }
    assert_eq!(seen, [0, 1, 7, 99].into());
    assert_eq!(lengths, (0..=8).map(|n| n * SECTOR).collect());

    disk.set_profile(Profile::EXT4_ORDERED);
    for bytes in outcomes(&disk, "new", 300).into_iter().flatten() {
        assert!(bytes.iter().all(|&b| b == 1), "the length came after the data");
    }
}

#[test]
fn a_name_needs_its_folder_synced_unless_the_profile_is_kind() {
    for (profile, may_vanish) in [(Profile::STRICT_POSIX, true), (Profile::EXT4_ORDERED, false)] {
        let disk = disk();
        disk.set_profile(profile);
        disk.create_dir("d").unwrap();
        let file = create(&disk, "d/a");
        file.write_at(b"x", 0).unwrap();
        file.sync_data().unwrap();
        assert_eq!(outcomes(&disk, "d/a", 100).contains(&None), may_vanish, "{}", profile.name);
        disk.sync_dir("d").unwrap();
        assert_eq!(outcomes(&disk, "d/a", 100).contains(&None), may_vanish, "{}: the folder's own name", profile.name);
        disk.sync_dir("").unwrap();
        assert_eq!(outcomes(&disk, "d/a", 100), [Some(b"x".to_vec())].into());
    }
}

#[test]
fn a_rename_is_one_step_also_between_folders() {
    let disk = disk();
    disk.create_dir("d").unwrap();
    durable_file(&disk, "a", b"x");
    disk.rename("a", "d/b").unwrap();
    let names = |seed| power(&disk, seed).files().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let seen: BTreeSet<_> = (0..100).map(names).collect();
    assert_eq!(seen, [vec!["a".to_string()], vec!["d/b".to_string()]].into());
    disk.sync_dir("d").unwrap();
    assert_eq!(power(&disk, 1).files(), [("d/b".to_string(), 1)]);

    // Also when the creation under the old name never was durable.
    let file = create(&disk, "c");
    file.sync_data().unwrap();
    disk.rename("c", "d/c").unwrap();
    disk.sync_dir("d").unwrap();
    for seed in 0..50 {
        assert_eq!(power(&disk, seed).files(), [("d/b".to_string(), 1), ("d/c".to_string(), 0)]);
    }
}

#[test]
fn entries_land_in_order_or_in_any_subset() {
    for (profile, images) in [(Profile::EXT4_ORDERED, 4), (Profile::STRICT_POSIX, 8)] {
        let disk = disk();
        disk.set_profile(profile);
        ["a", "b", "c"].into_iter().for_each(|name| drop(create(&disk, name)));
        assert_eq!(disk.unsynced_count(1), 3);
        let by_mask: BTreeSet<u64> = (0..8).map(|mask| disk.crash_subset(1, mask).image_hash()).collect();
        assert_eq!(by_mask.len(), images, "{}", profile.name);
        let tape = Tape::exhaustive();
        let mut by_tape = BTreeSet::new();
        let mut runs = 0;
        loop {
            by_tape.insert(disk.crash(Crash::Power, &tape).image_hash());
            runs += 1;
            if !tape.advance() {
                break;
            }
        }
        assert_eq!((by_tape, runs), (by_mask, images));
    }
}

#[test]
fn subsets_and_exhaustive_tapes_reach_the_same_images() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[0; 2 * SECTOR]);
    file.write_at(&[1; 2 * SECTOR], 0).unwrap();
    file.write_at(&[2; SECTOR], SECTOR as u64).unwrap();
    file.write_at(&[3; SECTOR], 2 * SECTOR as u64).unwrap();
    // Two sectors, one, one, and a length.
    let units = disk.unsynced_units(1);
    assert_eq!(units.len(), 5);
    assert_eq!(units[0], Unit::Size { path: "/sim/a".into(), to: 1536 });
    assert_eq!(units[3], Unit::Data { path: "/sim/a".into(), offset: 512, len: 512 });
    assert_eq!(disk.unsynced_count(2), 4);
    disk.set_profile(Profile { stale_garbage: false, ..Profile::STRICT_POSIX });
    let by_mask: BTreeSet<u64> = (0..32).map(|mask| disk.crash_subset(1, mask).image_hash()).collect();
    let tape = Tape::exhaustive();
    let mut by_tape = BTreeSet::new();
    loop {
        by_tape.insert(disk.crash(Crash::Power, &tape).image_hash());
        if !tape.advance() {
            break;
        }
    }
    // 2 x 3 versions of the old sectors; the third is out of sight, zeros or there.
    assert_eq!(by_mask.len(), 2 * 3 * 3);
    assert_eq!(by_mask, by_tape);
    assert_eq!(disk.crash_subset(1, 0).read_bytes("a").unwrap(), [0; 1024]);
    assert_eq!(disk.crash_subset(1, 31).read_bytes("a").unwrap(), disk.read_bytes("a").unwrap());
}

#[test]
fn a_kill_keeps_the_cache_and_a_power_cut_after_it_does_not() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[1; 512]);
    file.write_at(&[2; 512], 0).unwrap();
    let killed = disk.crash(Crash::Kill, &Tape::seeded(1));
    assert_eq!(killed.read_bytes("a").unwrap(), [2; 512]);
    assert_eq!(killed.read_durable("a").unwrap(), [1; 512]);
    let synced = killed.fork();
    assert_eq!(synced.image_hash(), killed.image_hash());
    synced.open("a", Access::Read).unwrap().sync_data().unwrap();
    assert_ne!(synced.image_hash(), killed.image_hash(), "a later power cut would tell them apart");
    assert_eq!(outcomes(&killed, "a", 50).len(), 2);
    killed.open("a", Access::Read).unwrap().sync_data().unwrap();
    assert_eq!(outcomes(&killed, "a", 50).len(), 1);
}

#[test]
fn a_killed_owners_writes_land_late_only_without_the_lock_in_the_ring() {
    for in_ring in [true, false] {
        let disk = disk();
        disk.set_lock_in_ring(in_ring);
        durable_file(&disk, "j", &[0; BLOCK]);
        let file = disk.open("j", Access::Direct).unwrap();
        let mut queue = queue(&disk);
        queue.submit(1, write_op(&file, 0, 5, true));
        assert_eq!(disk.read_bytes("j").unwrap(), [0; BLOCK], "not reaped yet");
        let mut late = 0;
        let mut seen = BTreeSet::new();
        for seed in 0..50 {
            let next = disk.crash(Crash::Kill, &Tape::seeded(seed));
            seen.insert(next.read_bytes("j").unwrap()[0]);
            if next.late_writes() > 0 {
                late += 1;
                next.land_late_write(0);
                assert_eq!(next.read_bytes("j").unwrap(), [5; BLOCK]);
                assert_eq!(next.late_writes(), 0);
            }
        }
        assert_eq!((late > 0, seen), (!in_ring, [0, 5].into()));
    }
    let disk = disk();
    let _bug = activate(SeededBug::LockNotInRing);
    durable_file(&disk, "j", &[0; BLOCK]);
    let file = disk.open("j", Access::Direct).unwrap();
    let mut queue = queue(&disk);
    queue.submit(1, write_op(&file, 0, 5, true));
    assert!((0..50).any(|seed| disk.crash(Crash::Kill, &Tape::seeded(seed)).late_writes() > 0));
}

#[test]
fn the_queue_completes_in_any_order_and_durable_means_durable() {
    let mut orders = BTreeSet::new();
    for seed in 0..60 {
        let disk = SimDisk::new(Tape::seeded(seed));
        disk.set_completions_in_order(false);
        durable_file(&disk, "j", &[0; 3 * BLOCK]);
        let file = disk.open("j", Access::Direct).unwrap();
        let mut queue = queue(&disk);
        for at in 0..3 {
            queue.submit(at, write_op(&file, at * BLOCK as u64, at as u8 + 1, at != 2));
        }
        let mut order = Vec::new();
        while queue.in_flight() > 0 {
            let mut done = Vec::new();
            queue.reap(Wait::Completion, &mut done);
            assert!(!done.is_empty());
            for completion in done {
                order.push(completion.token);
                assert!(completion.result.is_ok());
                let DiskOp::Write { data, .. } = completion.op else { panic!("not what was submitted") };
                assert_eq!(data.len(), BLOCK);
            }
        }
        orders.insert(order);
        let durable = disk.read_durable("j").unwrap();
        assert_eq!([durable[0], durable[BLOCK], durable[2 * BLOCK]], [1, 2, 0]);
    }
    assert_eq!(orders.len(), 6);
}

#[test]
fn a_queued_sync_covers_only_what_had_completed() {
    let disk = disk();
    durable_file(&disk, "j", &[0; 2 * BLOCK]);
    let file = disk.open("j", Access::Direct).unwrap();
    let mut queue = queue(&disk);
    queue.submit(1, write_op(&file, 0, 1, false));
    reap(queue.as_mut());
    queue.submit(2, write_op(&file, BLOCK as u64, 2, false));
    queue.submit(3, DiskOp::SyncData { file: file.clone() });
    reap(queue.as_mut());
    let durable = disk.read_durable("j").unwrap();
    assert_eq!([durable[0], durable[BLOCK]], [1, 0]);
    assert_eq!(disk.read_bytes("j").unwrap()[BLOCK], 2);
}

#[test]
fn a_durable_write_outlives_older_cached_ones_in_its_place() {
    let disk = disk();
    let cached = durable_file(&disk, "a", &[0; 3 * BLOCK]);
    cached.write_at(&[1; 3 * BLOCK], 0).unwrap();
    let file = disk.open("a", Access::Direct).unwrap();
    let mut queue = queue(&disk);
    queue.submit(1, write_op(&file, BLOCK as u64, 2, true));
    reap(queue.as_mut());
    let mut around = BTreeSet::new();
    for seed in 0..200 {
        let bytes = power(&disk, seed).read_bytes("a").unwrap();
        assert!(bytes[BLOCK..2 * BLOCK].iter().all(|&b| b == 2));
        around.insert((bytes[0], bytes[2 * BLOCK]));
    }
    assert_eq!(around.len(), 4);
}

#[test]
fn one_seed_is_one_history() {
    let run = |seed| {
        let tape = Tape::seeded(seed);
        let disk = SimDisk::new(tape.clone());
        disk.set_trace(true);
        disk.set_completions_in_order(false);
        durable_file(&disk, "j", &[0; 4 * BLOCK]);
        let file = disk.open("j", Access::Direct).unwrap();
        let mut queue = queue(&disk);
        for token in 0..10 {
            queue.submit(token, write_op(&file, tape.choose("at", 4) * BLOCK as u64, token as u8, true));
            queue.reap(Wait::No, &mut Vec::new());
        }
        let after = disk.crash(Crash::Power, &tape);
        (disk.trace(), after.image_hash(), tape.to_string(), tape.values())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
    assert!(run(1).0.contains(&"write_at j 0+16384".to_string()), "{:?}", run(1).0);
}

fn script(disk: &SimDisk) -> io::Result<()> {
    let lock = disk.lock("LOCK", LockMode::Exclusive, "me")?;
    disk.create_dir("d")?;
    let file = disk.open("d/a", Access::CreateNew)?;
    file.allocate(BLOCK as u64)?;
    file.write_at(&[1; BLOCK], 0)?;
    file.write_back(0, 1)?;
    file.sync_data()?;
    disk.sync_dir("d")?;
    disk.sync_dir("")?;
    disk.rename("d/a", "b")?;
    let direct = disk.open("b", Access::Direct)?;
    let mut queue = disk.write_queue(lock.as_ref(), 4)?;
    queue.submit(1, write_op(&direct, 0, 2, true));
    let mut done = Vec::new();
    queue.reap(Wait::Completion, &mut done);
    done.pop().map_or(Ok(()), |completion| completion.result)?;
    disk.remove("b")?;
    drop(file);
    direct.shrink(0)?;
    disk.sync_all()?;
    disk.space().map(drop)
}

#[test]
fn every_boundary_can_be_the_last_and_nothing_happens_after_it() {
    let whole = disk();
    script(&whole).unwrap();
    assert_eq!(whole.operations(), 14);
    for torn in [false, true] {
        for n in 0..whole.operations() {
            let disk = SimDisk::new(Tape::seeded(n));
            if torn {
                disk.set_torn_crash_at(n);
            } else {
                disk.set_crash_at(n);
            }
            let error = script(&disk).unwrap_err();
            assert!(SimDisk::is_crash_error(&error) && disk.is_dead());
            assert_eq!(disk.operations(), n + u64::from(torn));
            let ruin = disk.crash(Crash::Kill, &Tape::replay(vec![]));
            let before = disk.image_hash();
            assert!(SimDisk::is_crash_error(&disk.create_dir("e").unwrap_err()));
            assert!(SimDisk::is_crash_error(&disk.space().unwrap_err()));
            assert_eq!(disk.image_hash(), before);
            // The dead owner's lock is gone, the next life works.
            ruin.lock("LOCK", LockMode::Exclusive, "next").unwrap();
            ruin.create_dir("e").unwrap();
            assert!(!ruin.is_dead());
        }
    }
    let beyond = disk();
    beyond.set_crash_at(14);
    script(&beyond).unwrap();
    assert!(!SimDisk::is_crash_error(&Errno::Io.error()));
}

#[test]
fn a_torn_write_is_there_in_part() {
    let mut lengths = BTreeSet::new();
    for seed in 0..100 {
        let disk = SimDisk::new(Tape::seeded(seed));
        let file = durable_file(&disk, "a", b"");
        disk.set_torn_crash_at(disk.operations());
        file.write_at(&[1; 1000], 0).unwrap_err();
        lengths.insert(disk.crash(Crash::Kill, &Tape::seeded(0)).read_bytes("a").unwrap().len());
    }
    assert_eq!(lengths, [0, 512, 1000].into());
}

#[test]
fn each_call_of_a_script_can_fail_and_the_matrix_shows_it() {
    let mut visited = BTreeMap::new();
    for &errno in &[Errno::Io, Errno::NoSpace] {
        for n in 1.. {
            let disk = disk();
            disk.fail_nth(n, FaultKind::Once, errno);
            let result = script(&disk);
            visited.extend(disk.visited());
            if disk.faults_fired() == 0 {
                result.unwrap();
                assert_eq!(n, disk.calls() + 1);
                break;
            }
            let error = result.unwrap_err();
            assert_eq!((error.kind(), error.raw_os_error()), (errno.error().kind(), errno.error().raw_os_error()));
        }
    }
    let untried = ["list", "complete_write", "complete_sync", "sibling", "len", "read_at", "map", "window", "put"];
    for site in SITES.iter().filter(|site| !untried.contains(site)) {
        assert!(visited.contains_key(&(*site, Some(Errno::Io))), "{site}");
        assert!(visited.contains_key(&(*site, Some(Errno::NoSpace))), "{site}");
    }
}

#[test]
fn a_fault_can_be_for_one_site_and_path_and_for_ever() {
    let disk = disk();
    let (a, b) = (durable_file(&disk, "a", b"x"), durable_file(&disk, "b", b"x"));
    disk.fail_nth_where(2, FaultKind::Forever, Errno::Io, Some("sync_data"), Some("b"));
    for _ in 0..3 {
        a.sync_data().unwrap();
        b.len().unwrap();
    }
    let b_synced: Vec<bool> = (0..3).map(|_| b.sync_data().is_ok()).collect();
    assert_eq!(b_synced, [true, false, false]);
    assert_eq!(disk.faults_fired(), 2);
    disk.clear_faults();
    b.sync_data().unwrap();
}

#[test]
fn a_failed_sync_leaves_what_was_asked_for() {
    // What is read, what a retried sync makes durable.
    let cases = [
        (AfterFailedSync::NewAndClean, 2, 1),
        (AfterFailedSync::OldAndClean, 1, 1),
        (AfterFailedSync::StillDirty, 2, 2),
        (AfterFailedSync::Durable, 2, 2),
    ];
    for (left, read, durable) in cases {
        let disk = disk();
        let file = durable_file(&disk, "a", &[1; 512]);
        disk.set_after_failed_sync(left);
        file.write_at(&[2; 512], 0).unwrap();
        disk.fail_nth_where(1, FaultKind::Once, Errno::Io, Some("sync_data"), None);
        file.sync_data().unwrap_err();
        file.sync_data().unwrap();
        assert_eq!(disk.read_bytes("a").unwrap(), [read; 512], "{left:?}");
        assert_eq!(power(&disk, 1).read_bytes("a").unwrap(), [durable; 512], "{left:?}");
        // The same for a queued durable write.
        let direct = {
            durable_file(&disk, "j", &[1; BLOCK]);
            disk.open("j", Access::Direct).unwrap()
        };
        let mut queue = queue(&disk);
        queue.submit(1, write_op(&direct, 0, 2, true));
        disk.fail_nth_where(1, FaultKind::Once, Errno::Io, Some("complete_durable"), None);
        assert!(reap(queue.as_mut())[0].result.is_err());
        direct.sync_data().unwrap();
        assert_eq!(disk.read_bytes("j").unwrap(), [read; BLOCK], "{left:?}");
        assert_eq!(power(&disk, 1).read_bytes("j").unwrap(), [durable; BLOCK], "{left:?}");
    }
}

#[test]
fn a_full_disk_takes_no_new_block_but_every_allocated_one() {
    let disk = disk();
    disk.set_capacity(Some(4 * BLOCK as u64));
    let file = create(&disk, "a");
    file.allocate(3 * BLOCK as u64).unwrap();
    assert_eq!(disk.space().unwrap().available, BLOCK as u64);
    assert_eq!(file.len().unwrap(), 0);
    file.write_at(&[1; 100], 3 * BLOCK as u64).unwrap();
    let error = file.write_at(&[1; 100], 4 * BLOCK as u64).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(file.allocate(5 * BLOCK as u64).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.open("b", Access::CreateNew).map(drop).unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.write_at(&[1; 3 * BLOCK], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir("").unwrap();
    // A crash keeps count.
    assert_eq!(power(&disk, 1).space().unwrap().available, 0);
    // Space is free when the last user has gone.
    disk.remove("a").unwrap();
    assert_eq!(disk.space().unwrap().available, 0);
    file.shrink(BLOCK as u64).unwrap();
    assert_eq!(disk.used_bytes(), BLOCK as u64);
    drop(file);
    assert_eq!(disk.used_bytes(), 0);
}

#[test]
fn a_removed_file_lives_on_for_those_who_have_it() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[1; 512]);
    let mapping = file.map(1 << 20).unwrap();
    disk.remove("a").unwrap();
    drop(file);
    let bytes = mapping.bytes(0, 512).unwrap();
    assert_eq!((&bytes[..], mapping.pins()), (&[1; 512][..], 1));
    assert!(disk.used_bytes() > 0);
    drop(mapping);
    assert!(disk.used_bytes() > 0, "the bytes pin the mapping");
    drop(bytes);
    assert_eq!(disk.used_bytes(), 0);
    // The removal isn't durable, so power may bring it back.
    assert_eq!(outcomes(&disk, "a", 50), [None, Some(vec![1; 512])].into());
    disk.sync_dir("").unwrap();
    assert_eq!(outcomes(&disk, "a", 50), [None].into());
}

#[test]
fn a_mapping_sees_later_writes_and_knows_its_bounds() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[1; 512]);
    let mapping = file.map(2048).unwrap();
    file.write_at(&[2; 512], 512).unwrap();
    assert_eq!(mapping.bytes(512, 512).unwrap(), vec![2; 512]);
    assert!(mapping.bytes(2000, 100).is_none());
    let mut out = [0; 4];
    assert!(mapping.copy_to(510, &mut out));
    assert_eq!((out, mapping.pins()), ([1, 1, 2, 2], 0));
}

#[test]
#[should_panic(expected = "SIGBUS")]
fn bytes_a_file_does_not_have_must_not_be_asked_of_a_mapping() {
    let file = durable_file(&disk(), "a", &[1; 512]);
    let _ = file.map(2048).unwrap().bytes(500, 20);
}

#[test]
fn a_file_that_is_mapped_or_open_elsewhere_does_not_shrink() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[1; 512]);
    let other = disk.open("a", Access::Read).unwrap();
    let mapping = file.map(512).unwrap();
    disk.remove("a").unwrap();
    let busy = |file: &dyn DiskFile| file.shrink(0).is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy);
    assert!(busy(&*file));
    drop(mapping);
    assert!(busy(&*file));
    assert_eq!((file.len().unwrap(), disk.mapped_shrinks()), (512, 1));
    drop(other);
    file.shrink(0).unwrap();
    assert!(file.is_empty().unwrap());
}

#[test]
fn a_lying_device_forgets_the_last_syncs() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[0; 512]);
    disk.set_lying(2);
    for n in 1..=5 {
        file.write_at(&[n; 512], 0).unwrap();
        file.sync_data().unwrap();
    }
    assert_eq!(disk.read_durable("a").unwrap(), [3; 512]);
    assert_eq!(outcomes(&disk, "a", 100), [3, 4, 5].map(|n| Some(vec![n; 512])).into());
    let cut = disk.crash_subset(1, 0);
    cut.set_lying(0);
    assert_eq!(cut.read_durable("a").unwrap(), [3; 512], "what power took never comes back");
    disk.set_lying(0);
    assert_eq!(outcomes(&disk, "a", 100), [Some(vec![5; 512])].into());
}

#[test]
fn writes_get_lost_go_astray_and_land_twice() {
    let cases = [
        (WriteFault::Lost, [0, 0, 0]),
        (WriteFault::Misdirected(-(BLOCK as i64)), [1, 0, 0]),
        (WriteFault::Duplicated(BLOCK as i64), [0, 1, 1]),
    ];
    for (fault, expected) in cases {
        let disk = disk();
        let cached = durable_file(&disk, "a", &[0; 3 * BLOCK]);
        let direct = disk.open("a", Access::Direct).unwrap();
        let mut queue = queue(&disk);
        let first_bytes = |disk: &SimDisk| {
            let bytes = disk.read_durable("a").unwrap();
            [bytes[0], bytes[BLOCK], bytes[2 * BLOCK]]
        };
        disk.arm_write_fault(1, fault);
        queue.submit(1, write_op(&direct, BLOCK as u64, 1, true));
        assert!(reap(queue.as_mut())[0].result.is_ok());
        assert_eq!(first_bytes(&disk), expected, "{fault:?}");
        disk.write_bytes("a", &[0; 3 * BLOCK]).unwrap();
        disk.arm_write_fault(1, fault);
        cached.write_at(&[1; BLOCK], BLOCK as u64).unwrap();
        cached.sync_data().unwrap();
        assert_eq!(first_bytes(&disk), expected, "{fault:?}");
    }
}

#[test]
fn a_short_write_is_planted_by_the_queue() {
    let _bug = activate(SeededBug::ShortWriteIgnored);
    let mut lost = 0;
    for seed in 0..50 {
        let disk = SimDisk::new(Tape::seeded(seed));
        durable_file(&disk, "a", &[0; BLOCK]);
        let direct = disk.open("a", Access::Direct).unwrap();
        let mut queue = queue(&disk);
        queue.submit(1, write_op(&direct, 0, 1, true));
        assert!(reap(queue.as_mut())[0].result.is_ok());
        lost += u32::from(disk.read_durable("a").unwrap() != [1; BLOCK]);
    }
    assert!((1..25).contains(&lost), "{lost}");
}

#[test]
fn rot_changes_both_sides_and_spares_a_fork() {
    let disk = disk();
    disk.create_dir("d").unwrap();
    durable_file(&disk, "d/a", &[1; 1100]);
    disk.sync_dir("d").unwrap();
    let rotten = disk.fork();
    rotten.flip_bit("d/a", 8 * 600 + 1).unwrap();
    assert_eq!(rotten.read_bytes("d/a").unwrap()[600], 3);
    assert_eq!(power(&rotten, 1).read_bytes("d/a").unwrap()[600], 3);
    rotten.flip_bit("d/a", 8 * 1100).unwrap_err();
    rotten.swap_blocks("d/a", 0, "d/a", 1).unwrap();
    assert_eq!(rotten.read_bytes("d/a").unwrap()[88], 3);
    rotten.zero_block("d/a", 2).unwrap();
    let bytes = rotten.read_bytes("d/a").unwrap();
    assert_eq!((bytes.len(), bytes[1023], bytes[1024]), (1100, 1, 0));
    rotten.truncate("d/a", 7).unwrap();
    rotten.write_bytes("e/f", b"new").unwrap();
    assert_eq!(power(&rotten, 1).files(), [("d/a".to_string(), 7), ("e/f".to_string(), 3)]);
    rotten.erase("d/a").unwrap();
    assert_eq!(power(&rotten, 1).files(), [("e/f".to_string(), 3)]);
    assert_eq!(disk.read_bytes("d/a").unwrap(), [1; 1100]);
}

#[test]
fn reads_fail_or_flip_where_told_to() {
    let disk = disk();
    let file = durable_file(&disk, "a", &[1; 1024]);
    let mapping = file.map(1024).unwrap();
    disk.set_read_flip("a", 8 * 100, 1).unwrap();
    assert_eq!(mapping.bytes(100, 1).unwrap()[..], [0]);
    assert_eq!(mapping.bytes(100, 1).unwrap()[..], [1], "once");
    disk.set_read_error("a", 512..600).unwrap();
    let mut out = [0; 512];
    assert_eq!(file.read_at(&mut out, 0).unwrap(), 512);
    assert!(file.read_at(&mut out, 512).is_err());
    assert!(mapping.bytes(590, 20).is_none());
    let next = power(&disk, 1);
    assert!(next.open("a", Access::Read).unwrap().read_at(&mut out, 512).is_err(), "a bad block stays bad");
    next.clear_faults();
    assert_eq!(next.open("a", Access::Read).unwrap().read_at(&mut out, 700).unwrap(), 324);
}

#[test]
fn one_owner_or_many_inspectors() {
    let disk = disk();
    let owner = disk.lock("LOCK", LockMode::Exclusive, "pid 7").unwrap();
    for mode in [LockMode::Exclusive, LockMode::Shared] {
        let error = disk.lock("LOCK", mode, "pid 8").map(drop).unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (io::ErrorKind::WouldBlock, "pid 7".to_string()));
    }
    assert_eq!(disk.read_bytes("LOCK").unwrap(), b"pid 7");
    let queue = disk.write_queue(owner.as_ref(), 1).unwrap();
    drop(owner);
    disk.lock("LOCK", LockMode::Exclusive, "pid 8").map(drop).expect_err("the queue keeps it");
    drop(queue);
    let shared = [disk.lock("LOCK", LockMode::Shared, "").unwrap(), disk.lock("LOCK", LockMode::Shared, "").unwrap()];
    disk.lock("LOCK", LockMode::Exclusive, "pid 8").map(drop).unwrap_err();
    drop(shared);
    disk.lock("LOCK", LockMode::Exclusive, "pid 8").unwrap();
}

#[test]
fn names_are_checked_and_folders_listed() {
    let disk = disk();
    disk.create_dir("d").unwrap();
    disk.create_dir("d").unwrap();
    durable_file(&disk, "b", b"xyz");
    let entries: Vec<_> = disk.list("").unwrap().into_iter().map(|e| (e.name, e.is_dir, e.len)).collect();
    assert_eq!(entries, [("b".to_string(), false, 3), ("d".to_string(), true, 0)]);
    let kind = |result: io::Result<()>| result.unwrap_err().kind();
    assert_eq!(kind(disk.open("../x", Access::CreateNew).map(drop)), io::ErrorKind::InvalidInput);
    assert_eq!(kind(disk.open("b", Access::CreateNew).map(drop)), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(disk.open("x/y", Access::CreateNew).map(drop)), io::ErrorKind::NotFound);
    assert_eq!(kind(disk.open("b/y", Access::CreateNew).map(drop)), io::ErrorKind::NotADirectory);
    assert_eq!(kind(disk.open("d", Access::Read).map(drop)), io::ErrorKind::InvalidInput);
    assert_eq!(kind(disk.create_dir("")), io::ErrorKind::InvalidInput);
    assert_eq!(kind(disk.lock("LOCK", LockMode::Shared, "").map(drop)), io::ErrorKind::NotFound);
    assert_eq!(kind(disk.rename("b", "d")), io::ErrorKind::AlreadyExists);
    assert_eq!(kind(disk.remove("d")), io::ErrorKind::IsADirectory);
    let read_only = disk.open("b", Access::Read).unwrap();
    read_only.write_at(b"x", 0).unwrap_err();
    let direct = disk.open("b", Access::Direct).unwrap();
    assert_eq!(kind(direct.write_at(b"x", 0)), io::ErrorKind::InvalidInput);
    let cached = disk.open("b", Access::Write).unwrap();
    assert_eq!(kind(cached.write_at(b"x", 1 << 40)), io::ErrorKind::FileTooLarge);
    let mut out = [0; 2];
    assert_eq!(direct.read_at(&mut out, 1).unwrap(), 2, "reading is free");
}

#[test]
fn a_sibling_lies_on_the_same_disk() {
    let disk = disk();
    let backup = disk.sibling("/backup/one").unwrap();
    assert_eq!((backup.root().as_str(), disk.root().as_str()), ("/backup/one", "/sim"));
    let file = backup.open("a", Access::CreateNew).unwrap();
    file.write_at(b"copy", 0).unwrap();
    assert!(disk.files().is_empty());
    disk.sync_all().unwrap();
    let next = power(&disk, 1).sibling("backup/one").unwrap();
    let mut out = [0; 4];
    assert_eq!(next.open("a", Access::Read).unwrap().read_at(&mut out, 0).unwrap(), 4);
    assert_eq!(&out, b"copy");
}

#[test]
fn freed_inodes_are_forgotten() {
    let disk = disk();
    for _ in 0..500 {
        let file = create(&disk, "a");
        file.write_at(b"x", 0).unwrap();
        drop(file);
        disk.remove("a").unwrap();
        disk.sync_dir("").unwrap();
    }
    let nodes = disk.lock_world().image.nodes.len();
    assert!(nodes < 200, "{nodes}");
}

/// Crash states per second on a store like one of the crash scripts'; run with `--release --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn crash_states_per_second() {
    let tape = Tape::seeded(1);
    let disk = SimDisk::new(tape.clone());
    for n in 0..12 {
        durable_file(&disk, &format!("f{n}"), &vec![n as u8; 64 * 1024]);
    }
    for n in 0..4 {
        let file = disk.open(&format!("f{n}"), Access::Write).unwrap();
        file.write_at(&[9; 1500], 3000).unwrap();
    }
    drop(create(&disk, "g"));
    let start = std::time::Instant::now();
    let states = 100_000;
    let mut seen = BTreeSet::new();
    for n in 0..states {
        let after = if n % 2 == 0 { disk.crash(Crash::Power, &tape) } else { disk.crash_subset(2, n) };
        seen.insert(after.image_hash());
    }
    println!("{:.0} states/s, {} distinct", states as f64 / start.elapsed().as_secs_f64(), seen.len());
}
