//! What can go wrong, with coordinates, and what to do next.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::format::Damage;
use crate::id::SequenceNumber;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed call to the disk, in a form that can be handed to every waiter.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use braidlog::{Error, LogOptions, Store};
/// let store = Store::open(dir.path())?;
/// match store.create_log("clicks", LogOptions::new()) {
///     Err(Error::Io(fault)) if fault.is_no_space() => println!("no room to {} {}", fault.during, fault.path),
///     made => drop(made?),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What was being done: `"write journal frame"`.
    pub during: &'static str,
    /// On which file or folder, relative to the store.
    pub path: String,
    /// What kind of failure.
    pub kind: io::ErrorKind,
    /// The system's number of it (`errno`), if it has one.
    pub code: Option<i32>,
    /// The system's words.
    pub message: String,
}

impl Fault {
    pub(crate) fn new(during: &'static str, path: impl Into<String>, error: &io::Error) -> Fault {
        Fault { during, path: path.into(), kind: error.kind(), code: error.raw_os_error(), message: error.to_string() }
    }

    /// Whether there was no room: the disk or the quota is full.
    pub fn is_no_space(&self) -> bool {
        is_no_space(self.kind)
    }

    /// Whether the process or the machine had no file descriptor left.
    pub(crate) fn is_no_descriptor(&self) -> bool {
        is_no_descriptor(self.code)
    }
}

/// Whether a kind of error says that there was no room: the disk or the quota is full.
pub(crate) fn is_no_space(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether an `errno` says that the process or the machine has no file descriptor left.
pub(crate) fn is_no_descriptor(code: Option<i32>) -> bool {
    use rustix::io::Errno;
    let none = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    code.is_some_and(|code| none.contains(&code))
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {} ({}): {}", self.during, self.path, self.message)
    }
}

/// A record that can't be read, for bytes on disk are not what was written.
///
/// ```
/// use braidlog::{Error, LostRecord};
///
/// fn lost(error: &Error) -> Option<&LostRecord> {
///     match error {
///         Error::Damaged { lost, .. } => lost.as_ref(),
///         _ => None,
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostRecord {
    /// The log's name.
    pub log: String,
    /// Its number in it.
    pub sequence_number: SequenceNumber,
}

/// Everything a call can answer instead of a value. A variant exists where some caller would act differently.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// let store = braidlog::Store::open(dir.path()).unwrap();
/// let error = store.log("clicks").unwrap_err();
/// assert!(matches!(error, braidlog::Error::NoSuchLog { .. }));
/// assert!(!error.is_retryable());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The disk refused a call that was not part of an append. Nothing was changed.
    Io(Fault),
    /// The directory holds something, but no store: opening would mix with foreign files. Or it holds nothing, and was to be read.
    NotAStore {
        /// The directory.
        root: String,
        /// One of the things found in it; empty if there is none.
        found: String,
    },
    /// Another process, or another handle in this one, has the store open.
    Locked {
        /// The directory.
        root: String,
        /// Who holds it, as they wrote it down.
        holder: String,
    },
    /// Written by a newer version of Braidlog. The files are fine; use that version.
    TooNew {
        /// Which file.
        path: String,
        /// Its format version.
        version: u16,
    },
    /// Bytes on disk are not what was written. Run `braidlog check`.
    Damaged {
        /// Which file.
        path: String,
        /// Position of the damaged structure in it.
        at: u64,
        /// What is wrong.
        what: Damage,
        /// The first record that can't be read for it, if it was a reader that came there:
        /// [`Reader::skip_damaged`](crate::Reader::skip_damaged) goes on behind what is lost.
        lost: Option<LostRecord>,
    },
    /// No log has this name.
    NoSuchLog {
        /// The name asked for.
        name: String,
    },
    /// A log of this name exists.
    LogExists {
        /// The name.
        name: String,
    },
    /// The log was deleted; handles and readers of it are of no use any more.
    LogDeleted {
        /// The log's name.
        log: String,
    },
    /// A part of the log was found damaged at recovery. What lies before is readable; nothing can be appended.
    LogStopped {
        /// The log's name.
        log: String,
        /// The first sequence number that was lost or withheld.
        at: SequenceNumber,
    },
    /// A name that a log can't have.
    InvalidName {
        /// The name.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// An option outside its range. Nothing is corrected in silence.
    InvalidOption {
        /// The option.
        name: &'static str,
        /// Its value.
        value: u64,
        /// What is allowed.
        allowed: String,
    },
    /// A part of a record is longer than a record may have.
    RecordTooLarge {
        /// `"data"`, `"key"` or `"attributes"`.
        part: &'static str,
        /// Its length in bytes.
        bytes: usize,
        /// The longest allowed.
        max: usize,
    },
    /// An append or transaction without any record.
    EmptyBatch,
    /// One call or transaction with more than fits one journal frame. Split it.
    TransactionTooLarge {
        /// Its length in bytes, headers included.
        bytes: usize,
        /// The longest allowed.
        max: usize,
    },
    /// A transaction may only append to durable logs.
    NotDurable {
        /// The buffered log.
        log: String,
    },
    /// The log was closed: what it has can be read, but nothing can be appended any more. Nothing was.
    LogClosed {
        /// The log's name.
        log: String,
    },
    /// A precondition of a transaction did not hold when it was its turn; nothing of it was done.
    Conflict {
        /// The log the precondition was about.
        log: String,
        /// Which one, with both values.
        why: String,
    },
    /// The position lies before the trim horizon: the records were trimmed or have expired.
    Trimmed {
        /// The log's name.
        log: String,
        /// The position asked for.
        position: SequenceNumber,
        /// The oldest position that is readable.
        horizon: SequenceNumber,
    },
    /// The position lies after the end of the log.
    BeyondEnd {
        /// The log's name.
        log: String,
        /// The position asked for.
        position: SequenceNumber,
        /// The number the next record will get.
        end: SequenceNumber,
    },
    /// A value that is not allowed there. Nothing was done.
    InvalidArgument {
        /// What it is the value of.
        what: &'static str,
        /// The value, cut if it is long.
        value: String,
        /// Why not.
        why: String,
    },
    /// There is no such stream, shard or consumer.
    ResourceNotFound {
        /// Its kind and name.
        what: String,
    },
    /// It exists already, or its state does not allow this now. Nothing was done.
    ResourceInUse {
        /// Its kind and name.
        what: String,
        /// What is in the way.
        why: String,
    },
    /// The engine sets the number of shards of an on-demand stream. Nothing was done.
    OnDemand {
        /// The stream's name.
        stream: String,
    },
    /// One more would be too many. Nothing was done.
    LimitExceeded {
        /// The limit, with its value.
        what: String,
    },
    /// A shard takes no more just now, because the limits of shards are enforced. Nothing was appended or read.
    ThroughputExceeded {
        /// The shard, as the service's message names it.
        what: String,
    },
    /// The shard iterator is older than iterators get: get a new one.
    ExpiredIterator {
        /// How long ago it was issued.
        age: Duration,
        /// How old they get.
        lifetime: Duration,
    },
    /// Too many bytes wait for the disk; nothing was appended.
    Busy {
        /// The store's directory or the log's name.
        what: String,
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The disk, or the store's quota, is full; nothing was appended. Trims and deletes still work, and appends resume by
    /// themselves once there is room.
    Full {
        /// What is full, with figures.
        why: String,
    },
    /// The store is open for reading only. Nothing was done.
    ReadOnly {
        /// Why.
        why: String,
        /// Whether nothing but room on the disk is missing: make some and reopen it.
        full: bool,
    },
    /// The store stopped taking writes after a fault, and must be reopened. Nothing of this call was done.
    Stopped {
        /// The fault.
        cause: Fault,
    },
    /// It was on its way to the disk when a fault stopped the store: it may or may not be there after a reopen. Or the caller did
    /// not wait any longer ([`io::ErrorKind::TimedOut`]): it may still become durable, also while the store goes on.
    OutcomeUnknown {
        /// The fault.
        cause: Fault,
    },
    /// The store was closed.
    Closed,
}

impl Error {
    /// Whether the same call may succeed later, unchanged, without risk of a duplicate.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Error::Busy { .. } | Error::Full { .. } | Error::ThroughputExceeded { .. })
    }

    pub(crate) fn invalid(what: &'static str, value: impl fmt::Display, why: impl Into<String>) -> Error {
        let value: String = value.to_string().chars().take(160).collect();
        Error::InvalidArgument { what, value, why: why.into() }
    }

    pub(crate) fn io(during: &'static str, path: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |error| Error::Io(Fault::new(during, path, &error))
    }

    pub(crate) fn damaged(path: impl Into<String>, at: u64) -> impl FnOnce(Damage) -> Error {
        let path = path.into();
        move |what| match what {
            Damage::TooNew(version) => Error::TooNew { path, version },
            what => Error::Damaged { path, at, what, lost: None },
        }
    }

    /// Of damage that a reader came to: which record it wanted.
    pub(crate) fn of_record(self, log: &str, sequence_number: SequenceNumber) -> Error {
        match self {
            Error::Damaged { path, at, what, lost: None } => {
                Error::Damaged { path, at, what, lost: Some(LostRecord { log: log.to_owned(), sequence_number }) }
            }
            other => other,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(fault) => fault.fmt(f),
            Error::NotAStore { root, found } if found.is_empty() => {
                write!(f, "{root} is empty: there is no store in it")
            }
            Error::NotAStore { root, found } => {
                write!(f, "{root} is not a Braidlog store, and not empty (it holds {found}); use an empty folder")
            }
            Error::Locked { root, holder } => write!(f, "{root} is open already, by {holder}; close it there first"),
            Error::TooNew { path, version } => {
                write!(f, "{path} was written by a newer Braidlog (format version {version}); open it with that one")
            }
            Error::Damaged { path, at, what, lost } => {
                if let Some(LostRecord { log, sequence_number }) = lost {
                    write!(f, "record {sequence_number} of log {log:?} can't be read: ")?;
                }
                write!(f, "{path} is damaged at byte {at}: {what}")
            }
            Error::NoSuchLog { name } => write!(f, "there is no log named {name:?}"),
            Error::LogExists { name } => write!(f, "a log named {name:?} exists already"),
            Error::LogDeleted { log } => write!(f, "log {log:?} was deleted"),
            Error::LogClosed { log } => write!(f, "log {log:?} is closed; it takes no more records"),
            Error::LogStopped { log, at } => {
                write!(f, "log {log:?} is damaged from sequence number {at} on; run `braidlog check`")
            }
            Error::InvalidName { name, why } => write!(f, "a log can't be named {name:?}: {why}"),
            Error::InvalidOption { name, value, allowed } => {
                write!(f, "option {name} can't be {value}: allowed is {allowed}")
            }
            Error::RecordTooLarge { part, bytes, max } => {
                write!(f, "a record's {part} of {bytes} bytes is too large: at most {max}")
            }
            Error::EmptyBatch => f.write_str("there is nothing to append"),
            Error::TransactionTooLarge { bytes, max } => {
                write!(f, "{bytes} bytes are too many for one call: at most {max}; split it")
            }
            Error::NotDurable { log } => {
                write!(f, "log {log:?} is buffered; a transaction may only append to durable logs")
            }
            Error::Conflict { log, why } => write!(f, "nothing was done: {why} (log {log:?})"),
            Error::Trimmed { log, position, horizon } => {
                write!(f, "log {log:?} has been trimmed up to {horizon}; {position} is not readable any more")
            }
            Error::BeyondEnd { log, position, end } => {
                write!(f, "position {position} lies after the end of log {log:?}, which is {end}")
            }
            Error::InvalidArgument { what, value, why } => write!(f, "{what} can't be {value:?}: {why}"),
            Error::ResourceNotFound { what } => write!(f, "there is no {what}"),
            Error::ResourceInUse { what, why } => write!(f, "{what} is in use: {why}"),
            Error::OnDemand { stream } => {
                write!(f, "stream {stream} is on-demand: the engine sets the number of its shards")
            }
            Error::LimitExceeded { what } => write!(f, "a limit would be exceeded: {what}"),
            Error::ThroughputExceeded { what } => write!(f, "rate exceeded for {what}; retry after a while"),
            Error::ExpiredIterator { age, lifetime } => {
                write!(f, "the shard iterator was issued {age:?} ago, and they last {lifetime:?}; get a new one")
            }
            Error::Busy { what, retry_after } => write!(f, "{what} is busy; retry after {retry_after:?}"),
            Error::Full { why } => write!(f, "no room: {why}; appends resume by themselves once there is room"),
            Error::ReadOnly { why, .. } => write!(f, "the store is read-only: {why}"),
            Error::Stopped { cause } => write!(f, "the store stopped taking writes and must be reopened: {cause}"),
            Error::OutcomeUnknown { cause } if cause.kind == io::ErrorKind::TimedOut => {
                write!(f, "the write may still become durable, or not: {cause}")
            }
            Error::OutcomeUnknown { cause } => {
                write!(f, "whether the write lasts is unknown until the store is reopened: {cause}")
            }
            Error::Closed => f.write_str("the store is closed"),
        }
    }
}

impl std::error::Error for Error {}
