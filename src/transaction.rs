//! Changes to several logs that are durable together or not at all, under preconditions.

use std::collections::HashSet;

use crate::core::Core;
use crate::error::{Error, Result};
use crate::format::batch::{BatchBuilder, RecordParts};
use crate::format::journal::ENTRY_BYTES;
use crate::format::manifest::LogRow;
use crate::id::SequenceNumber;
use crate::limits::{APPEND_RECORDS_MAX, BATCH_BYTES_TARGET};
use crate::log::{Appender, Ended, Log, LogState};
use crate::options::{Durability, LogOptions, check_name};
use crate::record::check_record;
use crate::sync::{Arc, MutexGuard};
use crate::ticket::Appended;

/// What a transaction that gives room may append: a large row, and a small one for each log that it is about.
const ROWS_BYTES: usize = 64 << 10;
const ROW_BYTES: usize = 512;

type Precondition = Box<dyn FnOnce() -> Result<()> + Send>;
/// Something that follows from what was decided.
pub(crate) type Consequence = Box<dyn FnOnce(&Decided) + Send>;
type LateData = Box<dyn FnOnce() -> Vec<u8> + Send>;

/// A record that the transaction owns until its turn.
enum NewRecord {
    Given {
        key: Option<Vec<u8>>,
        attributes: Option<Vec<u8>>,
        data: Vec<u8>,
    },
    /// Its data is made at the serial point.
    Late(LateData),
}

/// What came of a transaction at its serial point: not durable yet.
#[derive(Default)]
pub(crate) struct Decided {
    /// Where each append went, in the order they were added.
    pub(crate) appended: Vec<Appended>,
    /// The logs it creates, in the order they were added.
    pub(crate) created: Vec<Arc<LogState>>,
}

/// Changes to several logs that happen together or not at all.
///
/// Preconditions are looked at by the store at one serial point, against every earlier append and transaction; if one does
/// not hold, nothing is done and the answer is [`Error::Conflict`]. Together the records must fit one journal frame, see
/// [`Error::TransactionTooLarge`].
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use braidlog::{Error, Store, Transaction};
/// let store = Store::open(dir.path())?;
/// let (orders, emails) = (store.create_log("orders", Default::default())?, store.create_log("emails", Default::default())?);
/// let mut transaction = Transaction::new();
/// transaction.expect_end(&orders, 0).append(&orders, "order 1")?.append(&emails, "thanks for order 1")?;
/// let committed = store.commit(transaction)?.wait()?;
/// assert_eq!(committed.appended[0].first, 0);
///
/// let mut late = Transaction::new();
/// late.expect_end(&orders, 0).append(&orders, "order 1 again")?;
/// assert!(matches!(store.commit(late)?.wait(), Err(Error::Conflict { .. })));
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Transaction {
    appends: Vec<(Arc<LogState>, NewRecord)>,
    trims: Vec<(Arc<LogState>, SequenceNumber)>,
    ends: Vec<(Arc<LogState>, SequenceNumber)>,
    preconditions: Vec<Precondition>,
    pub(crate) options: Vec<(Arc<LogState>, LogOptions)>,
    pub(crate) closes: Vec<Arc<LogState>>,
    pub(crate) deletes: Vec<Arc<LogState>>,
    pub(crate) creates: Vec<(String, LogOptions)>,
    pub(crate) once_decided: Vec<Consequence>,
    pub(crate) once_durable: Vec<Consequence>,
    bytes: usize,
    /// The part of them that records take.
    record_bytes: usize,
}

/// What a transaction did.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use braidlog::{Store, Transaction};
/// let store = Store::open(dir.path())?;
/// let (orders, mails) = (store.create_log("orders", Default::default())?, store.create_log("mails", Default::default())?);
/// let mut transaction = Transaction::new();
/// transaction.append(&orders, "order 7")?.append(&mails, "thanks for order 7")?;
/// let committed = store.commit(transaction)?.wait()?;
/// assert_eq!(committed.appended[1].first, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Committed {
    /// Where each append went, in the order they were added.
    pub appended: Vec<Appended>,
}

impl Transaction {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a record to a durable log.
    ///
    /// # Errors
    /// [`Error::RecordTooLarge`], [`Error::NotDurable`], [`Error::TransactionTooLarge`] for too many records.
    pub fn append<'a>(&mut self, log: &Log, record: impl Into<RecordParts<'a>>) -> Result<&mut Self> {
        let record = record.into();
        check_record(&record)?;
        if log.state.durability != Durability::Durable {
            return Err(Error::NotDurable { log: log.state.name.to_string() });
        }
        if self.appends.len() >= APPEND_RECORDS_MAX {
            return Err(Error::TransactionTooLarge { bytes: self.bytes, max: APPEND_RECORDS_MAX });
        }
        // Each record may begin a batch of its own.
        self.bytes += record.encoded_len() + 96;
        self.record_bytes += record.encoded_len();
        let owned = NewRecord::Given {
            key: record.key.map(<[u8]>::to_vec),
            attributes: record.attributes.map(<[u8]>::to_vec),
            data: record.data.to_vec(),
        };
        self.appends.push((log.state.clone(), owned));
        Ok(self)
    }

    /// Appends a record whose data, at most `bytes_max` long, is made at the serial point. As for [`Transaction::require`]:
    /// it must be quick and must not call the store.
    pub(crate) fn append_late(
        &mut self,
        log: &Log,
        bytes_max: usize,
        data: impl FnOnce() -> Vec<u8> + Send + 'static,
    ) -> &mut Self {
        self.bytes += bytes_max + 128;
        self.record_bytes += bytes_max;
        self.appends.push((log.state.clone(), NewRecord::Late(Box::new(data))));
        self
    }

    /// Moves a log's trim horizon up to `upto`; records below are not readable any more.
    /// Where `upto` lies beyond the end when it is the transaction's turn, up to the end.
    pub fn trim(&mut self, log: &Log, upto: SequenceNumber) -> &mut Self {
        self.bytes += 64;
        self.trims.push((log.state.clone(), upto));
        self
    }

    /// Creates a log; [`crate::Store::log`] has it once the transaction is durable.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::InvalidOption`]. A name that is in use when it is the transaction's turn makes the
    /// whole of it fail with [`Error::LogExists`].
    pub fn create_log(&mut self, name: &str, options: LogOptions) -> Result<&mut Self> {
        check_name(name)?;
        options.check()?;
        Ok(self.create_named(name, options))
    }

    /// As [`Transaction::create_log`], of a name that is the engine's.
    pub(crate) fn create_named(&mut self, name: &str, options: LogOptions) -> &mut Self {
        self.bytes += 512 + name.len();
        self.creates.push((name.to_owned(), options));
        self
    }

    /// Closes a durable log for good: what it has stays readable, later appends fail with [`Error::LogClosed`], readers are
    /// told at its end.
    ///
    /// # Errors
    /// [`Error::NotDurable`].
    pub fn close_log(&mut self, log: &Log) -> Result<&mut Self> {
        if log.state.durability != Durability::Durable {
            return Err(Error::NotDurable { log: log.state.name.to_string() });
        }
        self.bytes += 64;
        self.closes.push(log.state.clone());
        Ok(self)
    }

    /// Deletes a log, as [`crate::Store::delete_log`] does.
    pub fn delete_log(&mut self, log: &Log) -> &mut Self {
        if self.deletes.iter().all(|other| other.id != log.state.id) {
            self.bytes += 64;
            self.deletes.push(log.state.clone());
        }
        self
    }

    /// Changes retention and segment size of a log, as [`Log::set_options`] does.
    ///
    /// # Errors
    /// [`Error::InvalidOption`].
    pub fn set_options(&mut self, log: &Log, options: LogOptions) -> Result<&mut Self> {
        options.check()?;
        // The log's row, without segments.
        self.bytes += ENTRY_BYTES + LogRow::len_without_segments(&log.state.name).next_multiple_of(8);
        self.options.push((log.state.clone(), LogOptions { durability: log.state.durability, ..options }));
        Ok(self)
    }

    /// Runs at the serial point if every precondition held. As for [`Transaction::require`], it must be quick and must not
    /// call the store; what it changes may be seen by later preconditions only.
    pub(crate) fn once_decided(&mut self, consequence: impl FnOnce(&Decided) + Send + 'static) -> &mut Self {
        self.once_decided.push(Box::new(consequence));
        self
    }

    /// Runs when the transaction is durable, together with what else its frame changes, before anybody is told.
    pub(crate) fn once_durable(&mut self, consequence: impl FnOnce(&Decided) + Send + 'static) -> &mut Self {
        self.once_durable.push(Box::new(consequence));
        self
    }

    /// Only if the next record of `log` would get the number `end`: nobody appended meanwhile.
    pub fn expect_end(&mut self, log: &Log, end: SequenceNumber) -> &mut Self {
        self.ends.push((log.state.clone(), end));
        self
    }

    /// Only if `condition` holds, evaluated at the store's serial point: after every earlier change, before any later one.
    /// It must be quick and must not call the store: the logs of the transaction are locked.
    pub fn require(&mut self, condition: impl FnOnce() -> Result<()> + Send + 'static) -> &mut Self {
        if crate::seeded_bug!(PreconditionAtCallTime) {
            let outcome = condition();
            self.preconditions.push(Box::new(move || outcome));
        } else {
            self.preconditions.push(Box::new(condition));
        }
        self
    }

    /// Whether it would do nothing.
    pub fn is_empty(&self) -> bool {
        self.appends.is_empty()
            && self.trims.is_empty()
            && self.options.is_empty()
            && self.closes.is_empty()
            && self.deletes.is_empty()
            && self.creates.is_empty()
    }

    /// Whether it gives room back and takes little, so that it goes on where there is none: it deletes or trims logs, what it appends
    /// is some rows about them, and nothing is kept for longer.
    pub(crate) fn gives_room(&self) -> bool {
        let about = self.deletes.len() + self.trims.len();
        let keeps = |(log, options): &(Arc<LogState>, LogOptions)| {
            let before = log.options.read().unwrap_or_else(|p| p.into_inner());
            is_longer(options.retention_age, before.retention_age)
                || is_longer(options.retention_bytes, before.retention_bytes)
        };
        about > 0
            && self.creates.is_empty()
            && self.record_bytes <= ROWS_BYTES + about * ROW_BYTES
            && !self.options.iter().any(keeps)
    }

    /// An upper bound of what it takes in a frame.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The logs it is about, each once, by id: the order in which the commit machine locks them.
    pub(crate) fn logs(&self) -> Vec<Arc<LogState>> {
        let named =
            self.trims.iter().chain(&self.ends).map(|(log, _)| log).chain(self.options.iter().map(|(log, _)| log));
        let named = named.chain(&self.closes).chain(&self.deletes);
        let mut logs: Vec<Arc<LogState>> = self.appends.iter().map(|(log, _)| log).chain(named).cloned().collect();
        logs.sort_by_key(|log| log.id);
        logs.dedup_by_key(|log| log.id);
        logs
    }

    /// Whether the logs to create have names that are free. Only the commit machine, at whose serial point this is called,
    /// gives names away. Before any appender is locked: a checkpoint holds the catalog while it looks at appenders.
    pub(crate) fn check_names(&self, core: &Core) -> Result<()> {
        let mut names = HashSet::new();
        self.creates.iter().try_for_each(|(name, _)| {
            core.check_name_free(name)?;
            if names.insert(name) { Ok(()) } else { Err(Error::LogExists { name: name.clone() }) }
        })
    }

    /// Whether every log can do what is asked of it and every precondition holds. `locked` are the appenders of
    /// [`Transaction::logs`].
    pub(crate) fn check(&mut self, logs: &[Arc<LogState>], locked: &[MutexGuard<'_, Appender>]) -> Result<()> {
        for (log, appender) in logs.iter().zip(locked) {
            log.check_alive()?;
            if appender.ended() == Some(Ended::Deleted) {
                return Err(Error::LogDeleted { log: log.name.to_string() });
            }
        }
        for log in self.appends.iter().map(|(log, _)| log).chain(&self.closes) {
            if let Some(at) = logs.iter().position(|l| l.id == log.id) {
                log.check_appendable(&locked[at])?;
            }
        }
        for (log, end) in &self.ends {
            let found = logs.iter().position(|l| l.id == log.id).map_or(0, |at| locked[at].next());
            if found != *end {
                let why = format!("its end is {found}, not {end}");
                return Err(Error::Conflict { log: log.name.to_string(), why });
            }
        }
        std::mem::take(&mut self.preconditions).into_iter().try_for_each(|holds| holds())
    }

    /// Gives numbers and encodes, a list of batches for each of `logs`. Nothing is open in them.
    pub(crate) fn encode(
        &mut self,
        logs: &[Arc<LogState>],
        locked: &mut [MutexGuard<'_, Appender>],
        arrival_ms: u64,
    ) -> (Vec<Appended>, Vec<Vec<BatchBuilder>>) {
        let mut appended = Vec::with_capacity(self.appends.len());
        let mut batches: Vec<Vec<BatchBuilder>> = logs.iter().map(|_| Vec::new()).collect();
        for (log, record) in std::mem::take(&mut self.appends) {
            let at = logs.partition_point(|l| l.id < log.id);
            let (key, attributes, data) = match record {
                NewRecord::Given { key, attributes, data } => (key, attributes, data),
                NewRecord::Late(make) => (None, None, make()),
            };
            let parts = RecordParts { key: key.as_deref(), attributes: attributes.as_deref(), data: &data };
            let arrival_ms = locked[at].note_arrival(arrival_ms);
            let number = locked[at].take_number();
            let open = &mut batches[at];
            if !open.last().is_some_and(|b| b.accepts(parts.encoded_len(), arrival_ms, BATCH_BYTES_TARGET)) {
                open.push(BatchBuilder::new(number, parts.encoded_len()));
            }
            if let Some(batch) = open.last_mut() {
                batch.push(&parts, arrival_ms);
            }
            appended.push(Appended { first: number, last: number, arrival_ms });
        }
        for log in &self.closes {
            if let Some(at) = logs.iter().position(|l| l.id == log.id) {
                locked[at].end(Ended::Closed);
            }
        }
        for log in &self.deletes {
            if let Some(at) = logs.iter().position(|l| l.id == log.id) {
                locked[at].end(Ended::Deleted);
            }
        }
        (appended, batches)
    }

    /// The trims, none beyond the end.
    pub(crate) fn trims(
        &self,
        logs: &[Arc<LogState>],
        locked: &[MutexGuard<'_, Appender>],
    ) -> Vec<(Arc<LogState>, SequenceNumber)> {
        let end = |log: &LogState| logs.iter().position(|l| l.id == log.id).map_or(0, |at| locked[at].next());
        self.trims.iter().map(|(log, upto)| (log.clone(), (*upto).min(end(log)))).collect()
    }
}

/// Whether a rule of retention keeps more than the one before; `None` keeps all.
fn is_longer<T: PartialOrd>(new: Option<T>, before: Option<T>) -> bool {
    before.is_some_and(|before| new.is_none_or(|new| new > before))
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction")
            .field("appends", &self.appends.len())
            .field("trims", &self.trims.len())
            .field("created", &self.creates)
            .field("closed", &self.closes.iter().map(|log| &log.name).collect::<Vec<_>>())
            .field("deleted", &self.deletes.iter().map(|log| &log.name).collect::<Vec<_>>())
            .field("preconditions", &self.preconditions.len())
            .finish()
    }
}
