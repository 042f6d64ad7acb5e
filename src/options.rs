//! What may be set, with units, defaults and bounds. Values are checked when they are used, by name, and refused, not corrected. What
//! a value does not count for although it is allowed, its field says: the journal bounds the memory, and what was fixed when a
//! store was created stays.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::limits::*;

/// When an append is acknowledged.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use braidlog::{Durability, LogOptions, Store};
/// let store = Store::open(dir.path())?;
/// let metrics = store.create_log("metrics", LogOptions::new().durability(Durability::Buffered))?;
/// metrics.append("load 0.7")?; // without a sync: a power cut may take it
/// assert_eq!(metrics.options().durability, Durability::Buffered);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// After it is on stable storage: it survives a power cut. The default.
    #[default]
    Durable,
    /// After the page cache has it: it survives a killed process, **not** a power cut.
    Buffered,
}

/// How records are read from segments.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use braidlog::{ReadMode, Store, StoreOptions};
/// // A bad page is to be an error, not the end of the process.
/// let store = Store::open_with(dir.path(), StoreOptions::new().read_mode(ReadMode::Copy))?;
/// # store.close()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadMode {
    /// From mapped files, without a copy; and small appends to buffered logs are stored to mapped files, without a call of the
    /// system. A page that the device can't read back ends the process with SIGBUS, as does one at the end of a buffered log
    /// that the file system takes no more stores to, because it went read-only after an error. The default of an embedded
    /// store.
    #[default]
    Map,
    /// By positioned reads into memory of the reader's own, checked each time, and by positioned writes. A bad page is a typed
    /// error.
    Copy,
}

/// Which disk to use.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use braidlog::env::DiskKind;
/// use braidlog::{DiskChoice, Store, StoreOptions};
/// let store = Store::open_with(dir.path(), StoreOptions::new().disk(DiskChoice::Portable))?;
/// assert_eq!(store.stats().disk, DiskKind::Portable);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DiskChoice {
    /// io_uring where the kernel permits it, positioned writes elsewhere.
    #[default]
    Auto,
    /// Positioned writes, whatever the kernel permits.
    Portable,
}

/// How a store is opened.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use braidlog::{ReadMode, Store, StoreOptions};
/// let store = Store::open_with(dir.path(), StoreOptions::new().read_mode(ReadMode::Copy).quota_bytes(1 << 30))?;
/// # store.close()
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreOptions {
    /// Bytes of appended records that may be in memory because no segment has them yet. Above it callers wait, then get
    /// [`Error::Busy`]. Default 128 MiB, 64 KiB to 64 GiB. Never more than half of what the journal may have counts, which is
    /// [`StoreOptions::journal_files_max`] times the size of a file. Raising it costs memory and time to reopen after a kill.
    pub memory_bytes: u64,
    /// Size of a journal file, fixed when the store is created: a store that exists keeps its own, whatever is said here. Default
    /// 16 MiB, 64 KiB to 1 GiB, a multiple of 4 KiB. It bounds the size of a transaction.
    pub journal_file_bytes: u64,
    /// How many journal files there may be; they are made when they are needed. Default 20, 4 to 1,024. Half of their bytes bound
    /// [`StoreOptions::memory_bytes`]. What is appended while a checkpoint runs must fit behind what the checkpoint covers: a
    /// journal too short for that holds appends up; a longer one means a longer recovery.
    pub journal_files_max: u32,
    /// A turn's share of one log at or above this many bytes is written straight to its segment instead of through the
    /// journal. Default 1 MiB, at least 4 KiB. While the store is full none is.
    pub bulk_bytes: u64,
    /// A checkpoint of more small logs than this puts them together into shared files, for making and syncing a file for each
    /// takes time; of fewer, each is written to its own. Default 48; any number, and [`usize::MAX`] for never. What is deleted or trimmed in a shared file keeps its bytes
    /// there until little enough is left of the file to copy that out: such files take at most twice what is left in them and
    /// four times [`StoreOptions::journal_file_bytes`], in a store that is full only the former.
    pub pack_from: usize,
    /// How many segment files may be open, and mapped, at once. Default 1,024, 16 to 1,048,576; fewer are where the process has no
    /// descriptor left. Of files that small logs share up to 128 more are open while a checkpoint copies from them.
    pub open_files_max: usize,
    /// How long a blocking append waits for room before it answers [`Error::Busy`], and for its acknowledgement before it answers
    /// [`Error::OutcomeUnknown`]; as long wait the calls that create, delete, trim or change a log. Default 30 s; any time, and with
    /// none at all a call that has to wait gives up at once. [`Duration::MAX`] for as long as it takes: then a caller that comes
    /// alone makes the write itself, which can't be left and so takes some 5 us less, and hangs if the disk does.
    pub append_deadline: Duration,
    /// Most bytes the store's segments and journal may take; 0, the default, for no quota.
    pub quota_bytes: u64,
    /// How records are read. Default [`ReadMode::Map`].
    pub read_mode: ReadMode,
    /// Which disk. Default [`DiskChoice::Auto`].
    pub disk: DiskChoice,
    /// Room kept free on the file system: below it appends are refused while deletes, trims and checkpoints go on. Of it, up to
    /// [`StoreOptions::journal_file_bytes`] and 1 MiB lie in a file, for the last checkpoint and for opening where there is no
    /// other room. Default 32 MiB; any number, of which an eighth of the file system counts, and 0 keeps none.
    pub reserve_bytes: u64,
    /// How often retention is looked at. Default 5 s, 1 ms to 30 days.
    pub retention_interval: Duration,
    /// Within this time everything that is stored, in segments and packs of all logs, in the manifest and in `STORE`, is read from the
    /// device and verified once, and damage is told ([`Store::scrub_findings`](crate::Store::scrub_findings)) instead of waiting for
    /// the reader who needs the record. Default 28 days, 1 minute to 10 years; `None` for never. It costs what is stored in reads: of
    /// 100 GiB in 28 days some 50 KB/s, in steps of at most a megabyte or one batch; the page cache keeps what it has where the file
    /// system can read past it. It gives way while the store is full or somebody waits for room, and catches up in the last eighth of the time.
    /// Which part is due follows from the wall clock at opening: a store that is opened anew goes on about where it was. One that is
    /// open for reading only, or stopped, is not scrubbed, nor is the journal, of which an open reads what counts.
    pub scrub_period: Option<Duration>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            memory_bytes: 128 << 20,
            journal_file_bytes: 16 << 20,
            journal_files_max: 20,
            bulk_bytes: 1 << 20,
            pack_from: 48,
            open_files_max: 1024,
            append_deadline: Duration::from_secs(30),
            quota_bytes: 0,
            read_mode: ReadMode::Map,
            disk: DiskChoice::Auto,
            reserve_bytes: 32 << 20,
            retention_interval: Duration::from_secs(5),
            scrub_period: Some(Duration::from_secs(28 * 24 * 3600)),
        }
    }
}

macro_rules! setters {
    ($($name:ident: $type:ty),* $(,)?) => {
        $(
            #[doc = concat!("Sets [`", stringify!($name), "`](Self#structfield.", stringify!($name), ").")]
            #[must_use]
            pub fn $name(mut self, value: $type) -> Self {
                self.$name = value;
                self
            }
        )*
    };
}

/// Thirty days: so long nothing expires that could.
const RETENTION_INTERVAL_MS_MAX: u64 = 30 * 24 * 3600 * 1000;

/// A minute: less would be a check, which `braidlog check` does.
const SCRUB_PERIOD_MS_MIN: u64 = 60 * 1000;
/// Ten years.
const SCRUB_PERIOD_MS_MAX: u64 = 3_653 * 24 * 3600 * 1000;

pub(crate) fn within(name: &'static str, value: u64, min: u64, max: u64) -> Result<()> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(Error::InvalidOption { name, value, allowed: format!("{min} to {max}") })
    }
}

impl StoreOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        memory_bytes: u64, journal_file_bytes: u64, journal_files_max: u32, bulk_bytes: u64, pack_from: usize,
        open_files_max: usize,
        append_deadline: Duration, quota_bytes: u64, read_mode: ReadMode, disk: DiskChoice, reserve_bytes: u64,
        retention_interval: Duration, scrub_period: Option<Duration>,
    }

    pub(crate) fn check(&self) -> Result<()> {
        within("memory_bytes", self.memory_bytes, 64 << 10, 64 << 30)?;
        within("journal_file_bytes", self.journal_file_bytes, JOURNAL_FILE_BYTES_MIN, JOURNAL_FILE_BYTES_MAX)?;
        if !self.journal_file_bytes.is_multiple_of(4096) {
            let allowed = "a multiple of 4096".to_owned();
            return Err(Error::InvalidOption { name: "journal_file_bytes", value: self.journal_file_bytes, allowed });
        }
        within("journal_files_max", u64::from(self.journal_files_max), 4, 1024)?;
        within("bulk_bytes", self.bulk_bytes, 4 << 10, u64::MAX)?;
        within("open_files_max", self.open_files_max as u64, 16, 1 << 20)?;
        let interval = self.retention_interval.as_millis().min(u128::from(u64::MAX)) as u64;
        within("retention_interval (ms)", interval, 1, RETENTION_INTERVAL_MS_MAX)?;
        let Some(period) = self.scrub_period else { return Ok(()) };
        let period = period.as_millis().min(u128::from(u64::MAX)) as u64;
        within("scrub_period (ms)", period, SCRUB_PERIOD_MS_MIN, SCRUB_PERIOD_MS_MAX)
    }
}

/// How a log is kept.
///
/// ```
/// use std::time::Duration;
/// use braidlog::{Durability, LogOptions};
/// let day = LogOptions::new().retention_age(Some(Duration::from_secs(24 * 3600))).durability(Durability::Durable);
/// assert_eq!(day.retention_bytes, None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogOptions {
    /// When an append is acknowledged; fixed when the log is created. Default [`Durability::Durable`].
    pub durability: Durability,
    /// Records older than this are not readable. Default `None`: no such rule. At least 1 ms.
    pub retention_age: Option<Duration>,
    /// Only the newest batches of together at most so many stored bytes are readable; one that is larger by itself is not. Default
    /// `None`: no such rule.
    pub retention_bytes: Option<u64>,
    /// How many bytes beyond the rules the floors of readers may hold back, in whole batches. Default 1 GiB.
    pub held_bytes_max: u64,
    /// A segment is sealed, and the next one begun, at this many bytes. Default 256 MiB, 16 KiB to 2 GiB. Retention frees
    /// whole segments; each costs a file.
    pub segment_bytes_max: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            durability: Durability::Durable,
            retention_age: None,
            retention_bytes: None,
            held_bytes_max: 1 << 30,
            segment_bytes_max: 256 << 20,
        }
    }
}

impl LogOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        durability: Durability, retention_age: Option<Duration>, retention_bytes: Option<u64>, held_bytes_max: u64,
        segment_bytes_max: u64,
    }

    pub(crate) fn check(&self) -> Result<()> {
        if let Some(age) = self.retention_age {
            within("retention_age (ms)", age.as_millis().min(u128::from(u64::MAX)) as u64, 1, 1 << 47)?;
        }
        if let Some(bytes) = self.retention_bytes {
            within("retention_bytes", bytes, 1, u64::MAX)?;
        }
        within("segment_bytes_max", self.segment_bytes_max, SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)
    }
}

pub(crate) fn check_name(name: &str) -> Result<()> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > LOG_NAME_BYTES_MAX {
        "it is longer than 255 bytes"
    } else if name.chars().any(char::is_control) {
        "it has a control character"
    } else {
        return check_not_internal(name);
    };
    Err(Error::InvalidName { name: name.chars().take(64).collect(), why })
}

/// Names of logs that are the engine's own begin so.
pub(crate) const INTERNAL_PREFIX: &str = "braidlog/";

pub(crate) fn check_not_internal(name: &str) -> Result<()> {
    if name.starts_with(INTERNAL_PREFIX) {
        let name = name.chars().take(64).collect();
        return Err(Error::InvalidName { name, why: "names that begin with \"braidlog/\" are the engine's own" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Too small and too large, and what is just allowed on either side.
    #[test]
    fn a_value_out_of_bounds_is_refused_by_its_name() {
        fn ms(n: u64) -> Duration {
            Duration::from_millis(n)
        }
        let new = StoreOptions::new;
        let refused = [
            ("memory_bytes", new().memory_bytes(0)),
            ("memory_bytes", new().memory_bytes(u64::MAX)),
            ("journal_file_bytes", new().journal_file_bytes(0)),
            ("journal_file_bytes", new().journal_file_bytes((64 << 10) + 1)),
            ("journal_files_max", new().journal_files_max(3)),
            ("bulk_bytes", new().bulk_bytes(0)),
            ("open_files_max", new().open_files_max(0)),
            ("open_files_max", new().open_files_max(usize::MAX)),
            ("retention_interval (ms)", new().retention_interval(Duration::ZERO)),
            ("retention_interval (ms)", new().retention_interval(ms(RETENTION_INTERVAL_MS_MAX + 1))),
            ("retention_interval (ms)", new().retention_interval(Duration::MAX)),
            ("scrub_period (ms)", new().scrub_period(Some(Duration::ZERO))),
            ("scrub_period (ms)", new().scrub_period(Some(ms(SCRUB_PERIOD_MS_MIN - 1)))),
            ("scrub_period (ms)", new().scrub_period(Some(ms(SCRUB_PERIOD_MS_MAX + 1)))),
            ("scrub_period (ms)", new().scrub_period(Some(Duration::MAX))),
        ];
        for (wanted, options) in refused {
            match options.check() {
                Err(Error::InvalidOption { name, .. }) => assert_eq!(name, wanted),
                other => panic!("{wanted}: {other:?}"),
            }
        }
        let allowed = [
            new(),
            new().append_deadline(Duration::ZERO),
            new().append_deadline(Duration::MAX),
            new().pack_from(0).reserve_bytes(0).quota_bytes(1),
            new().pack_from(usize::MAX).reserve_bytes(u64::MAX).quota_bytes(u64::MAX),
            new().retention_interval(ms(1)),
            new().retention_interval(ms(RETENTION_INTERVAL_MS_MAX)),
            new().scrub_period(None),
            new().scrub_period(Some(ms(SCRUB_PERIOD_MS_MIN))),
            new().scrub_period(Some(ms(SCRUB_PERIOD_MS_MAX))),
        ];
        allowed.into_iter().for_each(|options| options.check().unwrap());
    }
}
