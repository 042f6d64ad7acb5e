//! What a worker hands records to, and what of them it says is done.

use crate::error::{Error, Result};
use crate::transaction::Transaction;

use super::ConsumerGroup;
use crate::stream::read::Record;
use crate::stream::sequence_number::SequenceNumber;
use crate::stream::shard::ShardId;

/// Why a processor failed: anything. The records come again after a pause.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// use braidlog::stream::{GroupOptions, ProcessError, RecordBatch};
/// fn sum(batch: &mut RecordBatch<'_>) -> Result<(), ProcessError> {
///     for record in batch.records() {
///         let text = std::str::from_utf8(&record.data)?;       // any error will do
///         if text.parse::<i64>()? < 0 {
///             return Err("a negative number".into());          // and so will words
///         }
///     }
///     Ok(())
/// }
/// let clicks = engine.create_stream("clicks", Default::default())?;
/// clicks.put_record("user-42", b"-1")?;
/// let group = clicks.consumer_group("billing", GroupOptions::new())?;
/// let mut worker = group.worker("worker-1", |_shard| sum)?;
/// while worker.step()? {}
/// assert_eq!(group.progress()?[0].records_behind, 1);
/// # Ok(())
/// # }
/// ```
pub type ProcessError = Box<dyn std::error::Error + Send + Sync>;

/// What a worker does where records of a shard can't be read.
///
/// ```
/// use braidlog::Error;
/// use braidlog::stream::{OnDamage, ProcessError, RecordBatch, RecordProcessor, ShardId};
/// struct Forward;
/// impl RecordProcessor for Forward {
///     fn process(&mut self, _: &mut RecordBatch<'_>) -> Result<(), ProcessError> {
///         Ok(())
///     }
///     fn damaged(&mut self, shard: ShardId, error: &Error) -> OnDamage {
///         eprintln!("{shard}: {error}; going on behind it");
///         OnDamage::Skip
///     }
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDamage {
    /// Waits, and tries again after the group's [`retry_after`](super::GroupOptions::retry_after): the files may be put back.
    #[default]
    Retry,
    /// Goes on with the next record that can be read. Nobody gets what is between; a checkpoint behind it covers it.
    Skip,
}

/// What a worker does with the records of one shard. A closure that takes a [`RecordBatch`] is one.
///
/// ```
/// use braidlog::stream::{ProcessError, RecordBatch, RecordProcessor, ShardId};
/// struct Count(u64);
/// impl RecordProcessor for Count {
///     fn process(&mut self, batch: &mut RecordBatch<'_>) -> Result<(), ProcessError> {
///         self.0 += batch.records().len() as u64;
///         Ok(())
///     }
///     fn shard_ended(&mut self, shard: ShardId) -> Result<(), ProcessError> {
///         println!("{shard}: {} records in all", self.0);
///         Ok(())
///     }
/// }
/// ```
pub trait RecordProcessor: Send {
    /// Takes the records that come next. What it got is checkpointed when it returns, unless the group's options say that it
    /// checkpoints itself; when it fails, it gets everything after the checkpoint again after a pause. That checkpoint becomes
    /// durable while the next batch is read and processed: a crash repeats up to two batches of a shard.
    ///
    /// # Errors
    /// Anything.
    fn process(&mut self, batch: &mut RecordBatch<'_>) -> std::result::Result<(), ProcessError>;

    /// Every record of the shard was processed. When this returns, the shard is finished, and its children begin; when it
    /// fails, it is called again after a pause.
    ///
    /// # Errors
    /// Anything.
    fn shard_ended(&mut self, shard: ShardId) -> std::result::Result<(), ProcessError> {
        let _ = shard;
        Ok(())
    }

    /// The lease went to another worker: nothing more will come, and a checkpoint would be refused.
    fn lease_lost(&mut self, shard: ShardId) {
        let _ = shard;
    }

    /// Records of the shard can't be read, for bytes on disk are not what was written: what to do about it. `error` says which record
    /// and where; of the shard nothing else comes until this answers [`OnDamage::Skip`].
    fn damaged(&mut self, shard: ShardId, error: &Error) -> OnDamage {
        let _ = (shard, error);
        OnDamage::Retry
    }

    /// [`RecordProcessor::process`] or [`RecordProcessor::shard_ended`] failed, or a checkpoint did.
    fn failed(&mut self, shard: ShardId, error: &ProcessError) {
        let _ = (shard, error);
    }
}

impl<F: FnMut(&mut RecordBatch<'_>) -> std::result::Result<(), ProcessError> + Send> RecordProcessor for F {
    fn process(&mut self, batch: &mut RecordBatch<'_>) -> std::result::Result<(), ProcessError> {
        self(batch)
    }
}

/// Consecutive records of one shard, and the right to say that they are done. See [`ConsumerGroup`] for an example.
pub struct RecordBatch<'a> {
    pub(super) group: &'a ConsumerGroup,
    pub(super) worker: &'a str,
    pub(super) shard: ShardId,
    pub(super) counter: u64,
    pub(super) records: Vec<Record>,
    /// Number of the first record, and of the one after the last.
    pub(super) first: u64,
    pub(super) end: u64,
    pub(super) sub: u64,
    /// How far the lease's row says it is done.
    pub(super) done: (u64, u64),
    /// What a change was answered with that may still happen.
    pub(super) unsettled: Option<Error>,
}

impl RecordBatch<'_> {
    /// The shard they are of.
    pub fn shard_id(&self) -> ShardId {
        self.shard
    }

    /// The records, in their order.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// How many user records of the first record are done already, where that is an aggregate: skip them.
    pub fn sub_sequence_number(&self) -> u64 {
        self.sub
    }

    /// Says that its worker is alive. One that takes longer than the group's failover time for a batch calls it meanwhile:
    /// others take its leases otherwise.
    pub fn heartbeat(&self) {
        self.group.heard_of(self.worker);
    }

    /// Says that all of them are done. Durable when it returns.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the lease went to another worker: nothing changed.
    pub fn checkpoint(&mut self) -> Result<()> {
        self.commit(Transaction::new())
    }

    /// Says that all up to and including user record `sub_sequence_number` of the record `sequence_number` is done; `None` for
    /// the whole of it. Durable when it returns.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a number that is not of this batch, and for one before what is done already;
    /// [`Error::Conflict`] as above.
    pub fn checkpoint_at(&mut self, sequence_number: SequenceNumber, sub_sequence_number: Option<u64>) -> Result<()> {
        self.commit_at(Transaction::new(), sequence_number, sub_sequence_number)
    }

    /// Does what the transaction does, and says that all of them are done, in one: so what a worker writes into the same
    /// store because of these records is there exactly once, whatever fails in between.
    ///
    /// ```
    /// # fn main() -> braidlog::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let engine = braidlog::Engine::open(dir.path())?;
    /// use braidlog::Transaction;
    /// use braidlog::stream::{GroupOptions, RecordBatch};
    /// let clicks = engine.create_stream("clicks", Default::default())?;
    /// let pages = engine.store().create_log("pages", Default::default())?;
    /// clicks.put_record("user-42", b"page=/home")?;
    /// let group = clicks.consumer_group("pages", GroupOptions::new())?;
    /// let mut worker = group.worker("worker-1", |_| {
    ///     let pages = pages.clone();
    ///     move |batch: &mut RecordBatch<'_>| {
    ///         let mut output = Transaction::new();
    ///         for record in batch.records() {
    ///             output.append(&pages, &record.data[5..])?;
    ///         }
    ///         Ok(batch.commit(output)?)
    ///     }
    /// })?;
    /// while worker.step()? {}
    /// assert_eq!(pages.end(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Conflict`] when the lease went to another worker, and as [`crate::Store::commit`]: nothing was done.
    pub fn commit(&mut self, transaction: Transaction) -> Result<()> {
        self.advance(transaction, (self.end, 0))
    }

    /// As [`RecordBatch::commit`], of the records up to a place as for [`RecordBatch::checkpoint_at`].
    ///
    /// # Errors
    /// As both.
    pub fn commit_at(
        &mut self,
        transaction: Transaction,
        sequence_number: SequenceNumber,
        sub_sequence_number: Option<u64>,
    ) -> Result<()> {
        let Some(at) = self.records.iter().position(|record| record.sequence_number == sequence_number) else {
            return Err(Error::invalid("sequence number", sequence_number, "it is not of a record of this batch"));
        };
        let number = self.records[at].number();
        debug_assert!((self.first..self.end).contains(&number));
        let done = match sub_sequence_number {
            None => (number + 1, 0),
            Some(sub) => (number, sub.saturating_add(1)),
        };
        self.advance(transaction, done)
    }

    fn advance(&mut self, transaction: Transaction, done: (u64, u64)) -> Result<()> {
        // What may still happen, and is tried again, could happen twice.
        if let Some(error) = &self.unsettled {
            return Err(error.clone());
        }
        if done < self.done {
            let Self { done: (number, sub), .. } = self;
            let what = format!("record {}, user record {}", done.0, done.1);
            let why = format!("all before record {number}, user record {sub}, is done already");
            return Err(Error::invalid("checkpoint", what, why));
        }
        let outcome = self.group.begin_checkpoint(transaction, self.shard, self.counter, done)?.wait();
        self.unsettled = outcome.as_ref().err().filter(|error| is_unsettled(error)).cloned();
        outcome?;
        self.done = done;
        Ok(())
    }
}

/// A change of the lease may still happen, and the row doesn't show it yet: who went on from there would do twice what came
/// with it. So the lease is given up, and whoever takes it, with a change of its own, finds what came of this one.
pub(super) fn is_unsettled(error: &Error) -> bool {
    matches!(error, Error::OutcomeUnknown { .. })
}
