//! Seeded bugs: faults planted in the engine on purpose, to show that the tests would catch them.
//!
//! A switch lives in the thread that activated it, so tests run in parallel. A thread the engine starts takes its
//! parent's switches over with [`current`] and [`Active::enter`].

use std::cell::Cell;
use std::fmt;

macro_rules! seeded_bugs {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal,)+) => {
        /// A bug that can be switched on; its number is the one the test programme gives it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum SeededBug {
            $($(#[doc = $doc])+ $name = $number,)+
        }

        impl SeededBug {
            /// All of them, by number.
            pub const ALL: &'static [SeededBug] = &[$(SeededBug::$name,)+];
        }
    };
}

seeded_bugs! {
    /// Batches aren't chained, so a hole in the middle isn't noticed.
    NoRecordChain = 1,
    /// The sparse index is believed where it and the log disagree.
    IndexTrusted = 2,
    /// A new file's folder isn't synced before the file is relied on.
    NoDirectorySync = 3,
    /// Checksums carry no salt, so stale blocks verify.
    UnsaltedChecksum = 4,
    /// A sync is submitted before the write it covers has completed.
    SyncBeforeWrite = 5,
    /// A later batch is acknowledged though an earlier one isn't durable.
    AckOutOfOrder = 6,
    /// Readers see records before their sync.
    PublishBeforeSync = 7,
    /// Recovery serves a tail it hasn't made durable.
    RecoveredTailNotSynced = 8,
    /// A failed sync is tried again and its second answer believed.
    SyncRetried = 9,
    /// Recovery removes segments the manifest doesn't name.
    UnknownLogDeleted = 10,
    /// Damage in the middle of a log is cut off as if it were a torn tail.
    MidLogDamageTruncated = 11,
    /// A segment id is given out twice.
    SegmentIdReused = 12,
    /// A segment is unlinked before the low-water mark is durable.
    UnlinkBeforeLowWater = 13,
    /// A small segment that another one took over goes before that is durable.
    CompactionInputDeletedEarly = 14,
    /// A split is written in two steps that a crash can separate.
    SplitInTwoRecords = 15,
    /// Retention believes a wall clock that jumped.
    RetentionTrustsWallClock = 17,
    /// An acknowledged delete of a log isn't durable.
    DeleteAckedUnsynced = 18,
    /// Batches that the journal has from behind a gap in their log are accepted.
    JournalAheadAccepted = 20,
    /// The rest of a short write is never written. The simulated queue plants this one itself.
    ShortWriteIgnored = 22,
    /// Header fields lie outside the checksum.
    HeaderNotInChecksum = 23,
    /// A killed owner's lock goes before its writes have landed. The simulated queue plants this one itself.
    LockNotInRing = 24,
    /// A waiter isn't woken.
    LostWakeUp = 25,
    /// A removed file is shortened while it is still mapped.
    MapUnlinkedAndTruncated = 26,
    /// A waiter that comes after the store stopped waits for ever.
    PoisonUnseenByLateWaiter = 27,
    /// A frame describes bulk data that isn't written yet.
    BulkFramedBeforeData = 31,
    /// A small append passes a bulk append of the same log.
    SmallOvertakesBulk = 32,
    /// A precondition is checked when asked, not when framed.
    PreconditionAtCallTime = 33,
    /// A frame of the ring's previous lap is taken for a current one.
    PreviousLapAccepted = 34,
    /// A pack's pieces are counted on before it is durable.
    PackShownUnsynced = 35,
    /// A log is listed for the next checkpoint before a frame took effect on it.
    ListedBeforeEffect = 36,
    /// A snapshot may see a frame in part.
    FrameShownInParts = 37,
    /// A checkpoint chooses its frame after it took the list of logs.
    ListTakenBeforeFrame = 38,
    /// A row of the journal takes from a log what a newer one of the manifest gave it.
    OlderRowReplayed = 39,
    /// A log's row is given an end that was read later than what waits in memory was.
    EndReadBehindView = 40,
}

impl SeededBug {
    /// The number the test programme gives it.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The bug with this number.
    pub fn from_number(number: u8) -> Option<SeededBug> {
        Self::ALL.iter().copied().find(|bug| bug.number() == number)
    }

    fn bit(self) -> u64 {
        1 << self.number()
    }
}

impl fmt::Display for SeededBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BUG-{} {self:?}", self.number())
    }
}

thread_local! {
    static ACTIVE: Cell<u64> = const { Cell::new(0) };
}

/// A set of switches, to be carried to another thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Active(u64);

impl Active {
    /// Switches this thread to exactly these bugs until the guard goes.
    pub fn enter(self) -> ActiveGuard {
        ActiveGuard { before: ACTIVE.replace(self.0), stays: std::marker::PhantomData }
    }
}

/// Puts the thread's switches back when dropped.
#[derive(Debug)]
#[must_use = "the bug is switched off when the guard goes"]
pub struct ActiveGuard {
    before: u64,
    // The switches it puts back are those of the thread that made it.
    stays: std::marker::PhantomData<*const ()>,
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        ACTIVE.set(self.before);
    }
}

/// Switches a bug on, in this thread, until the guard goes.
pub fn activate(bug: SeededBug) -> ActiveGuard {
    Active(ACTIVE.get() | bug.bit()).enter()
}

/// Whether a bug is on in this thread.
pub fn is_active(bug: SeededBug) -> bool {
    ACTIVE.get() & bug.bit() != 0
}

/// This thread's switches, for a thread about to be started.
pub fn current() -> Active {
    Active(ACTIVE.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_nest_and_stay_in_their_thread() {
        let outer = activate(SeededBug::IndexTrusted);
        {
            let _inner = activate(SeededBug::PreviousLapAccepted);
            assert!(is_active(SeededBug::IndexTrusted) && is_active(SeededBug::PreviousLapAccepted));
            assert!(!std::thread::spawn(|| is_active(SeededBug::IndexTrusted)).join().unwrap());
            let bugs = current();
            let inherited = std::thread::spawn(move || {
                let _on = bugs.enter();
                is_active(SeededBug::IndexTrusted)
            });
            assert!(inherited.join().unwrap());
        }
        assert!(is_active(SeededBug::IndexTrusted) && !is_active(SeededBug::PreviousLapAccepted));
        drop(outer);
        assert!(!is_active(SeededBug::IndexTrusted));
    }

    #[test]
    fn numbers_are_unique_and_lead_back() {
        for &bug in SeededBug::ALL {
            assert_eq!(SeededBug::from_number(bug.number()), Some(bug));
        }
        assert_eq!(SeededBug::from_number(0), None);
        assert_eq!(SeededBug::NoRecordChain.to_string(), "BUG-1 NoRecordChain");
    }
}
