//! Appends to several logs that are durable together or not at all, under preconditions.

use crate::error::{Error, Result};
use crate::format::batch::{BatchBuilder, RecordParts};
use crate::id::SequenceNumber;
use crate::limits::{APPEND_RECORDS_MAX, BATCH_BYTES_TARGET};
use crate::log::Log;
use crate::log::{Appender, LogState};
use crate::options::Durability;
use crate::record::check_record;
use crate::sync::{Arc, MutexGuard};
use crate::ticket::Appended;

type Precondition = Box<dyn FnOnce() -> Result<()> + Send>;

struct OwnedRecord {
    key: Option<Vec<u8>>,
    attributes: Option<Vec<u8>>,
    data: Vec<u8>,
}

impl OwnedRecord {
    fn parts(&self) -> RecordParts<'_> {
        RecordParts { key: self.key.as_deref(), attributes: self.attributes.as_deref(), data: &self.data }
    }
}

/// Changes to several logs that happen together or not at all.
///
/// Preconditions are looked at by the store at one serial point, against every earlier append and transaction; if one does
/// not hold, nothing is done and the answer is [`Error::Conflict`]. Together the records must fit one journal frame, see
/// [`Error::TransactionTooLarge`].
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir()?;
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
    appends: Vec<(Arc<LogState>, OwnedRecord)>,
    trims: Vec<(Arc<LogState>, SequenceNumber)>,
    ends: Vec<(Arc<LogState>, SequenceNumber)>,
    preconditions: Vec<Precondition>,
    bytes: usize,
}

/// What a transaction did.
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
        let owned = OwnedRecord {
            key: record.key.map(<[u8]>::to_vec),
            attributes: record.attributes.map(<[u8]>::to_vec),
            data: record.data.to_vec(),
        };
        self.appends.push((log.state.clone(), owned));
        Ok(self)
    }

    /// Moves a log's trim horizon up to `upto`; records below are not readable any more.
    /// Where `upto` lies beyond the end when it is the transaction's turn, up to the end.
    pub fn trim(&mut self, log: &Log, upto: SequenceNumber) -> &mut Self {
        self.bytes += 64;
        self.trims.push((log.state.clone(), upto));
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
        self.appends.is_empty() && self.trims.is_empty()
    }

    /// An upper bound of what it takes in a frame.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The logs it is about, each once, by id: the order in which the commit machine locks them.
    pub(crate) fn logs(&self) -> Vec<Arc<LogState>> {
        let named = self.trims.iter().chain(&self.ends).map(|(log, _)| log);
        let mut logs: Vec<Arc<LogState>> = self.appends.iter().map(|(log, _)| log).chain(named).cloned().collect();
        logs.sort_by_key(|log| log.id);
        logs.dedup_by_key(|log| log.id);
        logs
    }

    /// Whether every log is alive and every precondition holds. `locked` are the appenders of [`Transaction::logs`].
    pub(crate) fn check(&mut self, logs: &[Arc<LogState>], locked: &[MutexGuard<'_, Appender>]) -> Result<()> {
        for (log, appender) in logs.iter().zip(locked) {
            log.check_alive()?;
            if appender.is_closed() {
                return Err(Error::LogDeleted { log: log.name.to_string() });
            }
            if let Some(at) = log.stopped_at() {
                return Err(Error::LogStopped { log: log.name.to_string(), at });
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
        &self,
        logs: &[Arc<LogState>],
        locked: &mut [MutexGuard<'_, Appender>],
        arrival_ms: u64,
    ) -> (Committed, Vec<Vec<BatchBuilder>>) {
        let mut committed = Committed::default();
        let mut batches: Vec<Vec<BatchBuilder>> = logs.iter().map(|_| Vec::new()).collect();
        for (log, record) in &self.appends {
            let at = logs.partition_point(|l| l.id < log.id);
            let parts = record.parts();
            let arrival_ms = locked[at].note_arrival(arrival_ms);
            let number = locked[at].take_number();
            let open = &mut batches[at];
            if !open.last().is_some_and(|b| b.accepts(parts.encoded_len(), arrival_ms, BATCH_BYTES_TARGET)) {
                open.push(BatchBuilder::new(number, parts.encoded_len()));
            }
            if let Some(batch) = open.last_mut() {
                batch.push(&parts, arrival_ms);
            }
            committed.appended.push(Appended { first: number, last: number });
        }
        (committed, batches)
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

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction")
            .field("appends", &self.appends.len())
            .field("trims", &self.trims.len())
            .field("preconditions", &self.preconditions.len())
            .finish()
    }
}
