//! Bugs planted on purpose, and that the harness named beside each finds it: what shows that the other tests would.

// Helpers of tests are tests, too.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Instant;

use braidlog::env::sim::bugs::{SeededBug, activate};
use support::hunts::{self, Harness};

/// A seeded bug is found by a harness named beside it, in as much as that does when no time is given to it. How long that took is
/// printed, and some seconds where the machine has nothing else to do.
#[test]
fn seeded_bugs_are_found() {
    use SeededBug::*;
    let histories: Harness = ("random histories", hunts::histories);
    let short: Harness = ("short histories", hunts::short_histories);
    let rot: Harness = ("rot", hunts::rot);
    let table: &[(SeededBug, &[Harness])] = &[
        (NoRecordChain, &[("mixed copies", hunts::mixed_copies)]),
        (IndexTrusted, &[("indexes", hunts::index)]),
        (NoDirectorySync, &[short, histories]),
        (UnsaltedChecksum, &[("leftovers", hunts::leftovers)]),
        (SyncBeforeWrite, &[short, histories]),
        (AckOutOfOrder, &[histories, short]),
        (PublishBeforeSync, &[histories, short]),
        (RecoveredTailNotSynced, &[short, histories]),
        (SyncRetried, &[("failed calls", hunts::failed_calls)]),
        (UnknownLogDeleted, &[("openings", hunts::openings)]),
        (MidLogDamageTruncated, &[rot]),
        (SegmentIdReused, &[short, histories]),
        (UnlinkBeforeLowWater, &[histories, short]),
        (CompactionInputDeletedEarly, &[short, histories]),
        (RetentionTrustsWallClock, &[("clocks", hunts::clocks)]),
        (DeleteAckedUnsynced, &[short, histories]),
        (JournalAheadAccepted, &[rot]),
        (ShortWriteIgnored, &[histories, short]),
        (HeaderNotInChecksum, &[rot]),
        (LockNotInRing, &[("late writes", hunts::late_writes)]),
        (MapUnlinkedAndTruncated, &[("pinned records", hunts::pinned_records)]),
        (BulkFramedBeforeData, &[short, histories]),
        (SmallOvertakesBulk, &[histories, short]),
        (PreconditionAtCallTime, &[histories]),
        (PreviousLapAccepted, &[histories, short]),
        (PackShownUnsynced, &[("short histories of packs", hunts::packs)]),
    ];
    // Two are races, found by the models in `tests/loom`, and five by the histories in `tests/shuttle`; one is of streams, found in
    // `tests/streams`.
    let races = [
        LostWakeUp,
        PoisonUnseenByLateWaiter,
        ListedBeforeEffect,
        FrameShownInParts,
        ListTakenBeforeFrame,
        OlderRowReplayed,
        EndReadBehindView,
    ];
    let elsewhere = [&races[..], &[SplitInTwoRecords]].concat();
    for bug in SeededBug::ALL {
        let named =
            table.iter().filter(|(listed, _)| listed == bug).count() + elsewhere.iter().filter(|e| *e == bug).count();
        assert_eq!(named, 1, "{bug} belongs to one harness");
    }
    let mut missed = Vec::new();
    for (bug, harnesses) in table {
        let started = Instant::now();
        let found = harnesses.iter().find_map(|(name, hunt)| {
            let outcome = std::panic::catch_unwind(|| {
                let _on = activate(*bug);
                hunt()
            });
            match outcome {
                Ok(Ok(())) => None,
                Ok(Err(why)) => Some((*name, why)),
                Err(_) => Some((*name, "panicked".to_owned())),
            }
        });
        let seconds = started.elapsed().as_secs_f64();
        match found {
            Some((name, why)) => {
                println!("{bug}: {seconds:.2} s, {name}: {}", why.lines().next().unwrap_or_default());
            }
            None => {
                println!("{bug}: NOT FOUND in {seconds:.1} s");
                missed.push(bug);
            }
        }
    }
    println!("figures: {} seeded bugs, {} found", table.len(), table.len() - missed.len());
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn without_a_bug_the_harnesses_find_nothing() {
    let harnesses = [
        hunts::rot,
        hunts::failed_calls,
        hunts::clocks,
        hunts::index,
        hunts::late_waiters,
        hunts::strangers,
        hunts::leftovers,
        hunts::mixed_copies,
        hunts::openings,
        hunts::late_writes,
        hunts::pinned_records,
    ];
    for hunt in harnesses {
        hunt().unwrap();
    }
}
