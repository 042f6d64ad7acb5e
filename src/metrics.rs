//! Counters and health of one store. Nothing is global.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::env::DiskKind;
use crate::error::Fault;
use crate::sync::{Arc, Mutex};

/// Whether the store takes writes, and if not, why.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use braidlog::{Health, Store};
/// let store = Store::open(dir.path())?;
/// match store.health() {
///     Health::Ok => {}
///     // Its words say what to do: make room, or look at the device and open again.
///     other => eprintln!("no writes: {other}"),
/// }
/// # assert_eq!(store.health(), Health::Ok);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Health {
    /// All is well.
    #[default]
    Ok,
    /// No room: appends are refused until there is; deletes, trims and checkpoints go on.
    Full {
        /// What is full.
        why: String,
    },
    /// Open for reading only.
    ReadOnly {
        /// Why.
        why: String,
        /// Whether nothing but room on the disk is missing: make some and reopen it.
        full: bool,
    },
    /// A fault stopped it for writes; reads go on. Reopen it.
    Stopped {
        /// The fault.
        cause: Fault,
    },
}

impl std::fmt::Display for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Health::Ok => f.write_str("ok"),
            Health::Full { why } => write!(f, "full: {why}"),
            Health::ReadOnly { why, .. } => write!(f, "read-only: {why}"),
            Health::Stopped { cause } => write!(f, "stopped: {cause}"),
        }
    }
}

type Callback = Arc<dyn Fn(&Health) + Send + Sync>;

/// The current health and who wants to know when it changes.
#[derive(Default)]
pub(crate) struct HealthCell {
    /// 0 while all is well, for a look without the lock.
    grade: AtomicU64,
    state: Mutex<(Health, Vec<Callback>)>,
}

fn grade(health: &Health) -> u64 {
    match health {
        Health::Ok => 0,
        Health::Full { .. } => 1,
        Health::ReadOnly { .. } => 2,
        Health::Stopped { .. } => 3,
    }
}

impl HealthCell {
    pub(crate) fn is_ok(&self) -> bool {
        self.grade.load(std::sync::atomic::Ordering::Acquire) == 0
    }

    /// Whether there is no room.
    pub(crate) fn is_full(&self) -> bool {
        self.grade.load(std::sync::atomic::Ordering::Acquire) == 1
    }

    /// Whether anything may be written at all, on a full disk too.
    pub(crate) fn may_write(&self) -> bool {
        self.grade.load(std::sync::atomic::Ordering::Acquire) < 2
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.grade.load(std::sync::atomic::Ordering::Acquire) == 3
    }

    pub(crate) fn get(&self) -> Health {
        self.state.lock().0.clone()
    }

    /// Sets the health; a stopped store stays stopped, and a read-only one gets no better. Callbacks run without the lock.
    pub(crate) fn set(&self, health: Health) {
        let callbacks = {
            let mut state = self.state.lock();
            if state.0 == health || grade(&state.0) >= 2 && grade(&health) <= grade(&state.0) {
                return;
            }
            let changes = grade(&state.0) != grade(&health);
            state.0 = health.clone();
            self.grade.store(grade(&health), std::sync::atomic::Ordering::Release);
            // A store that is full finds out in more than one place.
            if changes { state.1.clone() } else { Vec::new() }
        };
        callbacks.iter().for_each(|callback| callback(&health));
    }

    pub(crate) fn subscribe(&self, callback: Callback) {
        self.state.lock().1.push(callback);
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// The live counters behind [`Stats`].
        #[derive(Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
        }

        /// A snapshot of a store's counters since it was opened. Taking one costs some hundred nanoseconds.
        ///
        /// ```
        /// # fn main() -> braidlog::Result<()> {
        /// # let dir = tempfile::tempdir().unwrap();
        /// let store = braidlog::Store::open(dir.path())?;
        /// store.create_log("clicks", Default::default())?.append("hello")?;
        /// assert_eq!(store.stats().records_appended, 1);
        /// # Ok(())
        /// # }
        /// ```
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
            /// Which disk the store got.
            pub disk: DiskKind,
            /// Slices of mapped segments that readers hold.
            pub pins: u64,
            /// Median and 99th percentile of the time a journal write took until durable, in microseconds, to a factor of two.
            pub sync_micros: (u64, u64),
        }

        impl Counters {
            pub(crate) fn snapshot(&self, disk: DiskKind, pins: u64, sync_micros: (u64, u64)) -> Stats {
                Stats { $($name: self.$name.load(Relaxed),)* disk, pins, sync_micros }
            }
        }
    };
}

counters! {
    /// Records acknowledged.
    records_appended,
    /// Bytes acknowledged, headers included.
    bytes_appended,
    /// Turns resolved: acknowledgements that took one wake-up each.
    turns,
    /// Journal frames made durable. `records_appended / frames` is the number of records per sync.
    frames,
    /// Bytes written to the journal.
    journal_bytes,
    /// Bytes that went straight to segments.
    bulk_bytes,
    /// Bytes appended that no segment has yet.
    pending_bytes,
    /// Bytes appended, or let in to be, and not acknowledged yet: by so much the high watermarks of all logs are behind their ends.
    /// [`LogInfo::lag`](crate::LogInfo::lag) has it for one log.
    lag_bytes,
    /// Records found in the journal when the store was opened.
    records_recovered,
    /// Records of segments that were trimmed or expired.
    records_trimmed,
    /// Segment files freed.
    segments_freed,
    /// Bytes of freed segments that readers still pin.
    bytes_pinned,
    /// For how many milliseconds the oldest of those pins has kept the space of a freed segment; 0 where there is none.
    oldest_pin_ms,
    /// Checkpoints taken.
    checkpoints,
    /// Highest durable frame.
    durable_frame,
    /// Frames written but not yet durable.
    frames_in_flight,
    /// 1 while nothing expires by age because wall and monotonic clock disagree.
    retention_held,
    /// Bytes of segments and journal files.
    store_bytes,
    /// Bytes that the scrub read from the device and found, or did not find, to be what was written.
    scrub_bytes,
    /// Times that the scrub got through everything stored, from front to end.
    scrub_passes,
    /// When it last got through, in milliseconds since 1970; 0 where it has not since the store was opened.
    scrub_pass_ended_ms,
    /// Damaged places that the scrub came to; one that stays counts with each pass. [`Store::scrub_findings`](crate::Store::scrub_findings)
    /// has the places.
    scrub_damage,
}

impl Stats {
    /// How many records shared one sync, on average.
    pub fn records_per_sync(&self) -> f64 {
        self.records_appended as f64 / self.frames.max(1) as f64
    }
}

pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}

/// Latencies in powers of two: enough to see a slow disk, cheap enough to keep always.
pub(crate) struct LatencyBuckets([AtomicU64; 40]);

impl Default for LatencyBuckets {
    fn default() -> Self {
        LatencyBuckets(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl LatencyBuckets {
    pub(crate) fn record_micros(&self, micros: u64) {
        let bucket = (64 - micros.leading_zeros()).min(39) as usize;
        add(&self.0[bucket], 1);
    }

    /// Upper bounds of the buckets of the median and of the 99th percentile.
    pub(crate) fn percentiles(&self) -> (u64, u64) {
        let counts: Vec<u64> = self.0.iter().map(|b| b.load(Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let at = |share: f64| {
            let wanted = (total as f64 * share).ceil() as u64;
            let mut seen = 0;
            counts.iter().position(|n| {
                seen += n;
                seen >= wanted
            })
        };
        if total == 0 { (0, 0) } else { (1 << at(0.5).unwrap_or(0), 1 << at(0.99).unwrap_or(0)) }
    }
}
