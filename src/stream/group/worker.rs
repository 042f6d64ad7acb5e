//! A worker of a consumer group: takes leases, hands their shards' records to processors, keeps checkpoints.

use std::collections::BTreeMap;
use std::task::{Wake, Waker};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::format::stream::LeaseRow;
use crate::sync::{Arc, AtomicBool, Condvar, Mutex, Ordering};
use crate::transaction::Transaction;

use super::balance::{self, View};
use super::{ConsumerGroup, LeaseChange, Member, is_within};
use crate::stream::Stream;
use crate::stream::read::{Record, ShardReader};
use crate::stream::sequence_number::SequenceNumber;
use crate::stream::shard::{ShardId, ShardState};

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
    group: &'a ConsumerGroup,
    worker: &'a str,
    shard: ShardId,
    counter: u64,
    records: Vec<Record>,
    /// Number of the first record, and of the one after the last.
    first: u64,
    end: u64,
    sub: u64,
    /// How far the lease's row says it is done.
    done: (u64, u64),
    /// What a change was answered with that may still happen.
    unsettled: Option<Error>,
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

/// In a round that takes no longer, in milliseconds, the checkpoints of all its batches begin together at its end, and mostly
/// share a sync: that costs a processor more than to hand a batch over. Once it takes longer, each begins behind its batch.
const ROUND_MS: u64 = 20;

/// A lease this worker has.
struct Held<P> {
    counter: u64,
    shard: Arc<ShardState>,
    /// Made when there is something to read it for.
    reader: Option<ShardReader>,
    processor: P,
    /// The checkpoint that reading began behind: a record's number, and user records of it that are done.
    from: (u64, u64),
    rests_until_ms: u64,
    /// How far the batch of this round goes, until its checkpoint begins.
    processed: Option<u64>,
    /// Of the batch before, on its way to the disk while the next one is read and processed.
    checkpoint: Option<LeaseChange>,
    /// The processor was told of the shard's end, and agreed.
    has_ended: bool,
    /// That the shard is finished, where it was not known in time whether that is durable.
    finishing: Option<LeaseChange>,
}

impl<P> Held<P> {
    /// Its reader, where the one before left off.
    fn reader(&mut self, stream: &Stream) -> Result<&mut ShardReader> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => ShardReader::new(stream.clone(), self.shard.clone(), self.from.0)?,
        };
        Ok(self.reader.insert(reader))
    }

    /// Waits for the checkpoint that is on its way. Whether there was one.
    fn await_checkpoint(&mut self) -> Result<bool> {
        self.checkpoint.take().map_or(Ok(false), |checkpoint| checkpoint.wait().map(|_| true))
    }
}

/// Wakes a worker's thread.
#[derive(Default)]
pub(super) struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
    stopping: AtomicBool,
}

impl Bell {
    /// Whoever has rung and was not heard yet has woken it.
    pub(super) fn ring(&self) {
        if !std::mem::replace(&mut *self.rung.lock(), true) {
            self.changed.notify_all();
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}

/// Ends a [`Worker::run`] from another thread.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// use braidlog::stream::{GroupOptions, RecordBatch};
/// let clicks = engine.create_stream("clicks", Default::default())?;
/// let group = clicks.consumer_group("billing", GroupOptions::new())?;
/// let mut worker = group.worker("worker-1", |_| |_: &mut RecordBatch<'_>| Ok(()))?;
/// let stop = worker.stop_handle();
/// let thread = std::thread::spawn(move || worker.run());
/// stop.stop();
/// thread.join().expect("no panic")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct StopWorker(Arc<Bell>);

impl StopWorker {
    /// Asks the worker to finish the batch it has, give its leases back and return.
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::Release);
        self.0.ring();
    }
}

/// A worker of a consumer group. See [`ConsumerGroup`] for an example.
pub struct Worker<P, F> {
    group: ConsumerGroup,
    name: String,
    make: F,
    held: BTreeMap<ShardId, Held<P>>,
    bell: Arc<Bell>,
    /// When leases were last balanced, and what the group's count of changes was.
    balanced: Option<(u64, u64)>,
}

impl ConsumerGroup {
    /// A worker of this group. Its name must be its own among the workers that live; `make` makes the processor of a shard it
    /// took the lease of.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an empty name or one of more than 256 bytes; [`Error::ResourceInUse`] when a worker of
    /// this name was heard of within the failover time.
    pub fn worker<P, F>(&self, name: &str, make: F) -> Result<Worker<P, F>>
    where
        P: RecordProcessor,
        F: FnMut(ShardId) -> P,
    {
        if name.is_empty() || name.len() > 256 {
            return Err(Error::invalid("worker name", name, "it must have 1 to 256 bytes"));
        }
        let now_ms = self.stream.shared.monotonic_ms();
        let mut members = self.state.members.lock();
        let before = members.workers.get(name);
        if before.is_some_and(|member| is_within(member.heard_ms, now_ms, self.options.failover)) {
            let why = "it was heard of within the failover time".to_owned();
            return Err(Error::ResourceInUse { what: format!("worker {name} of group {}", self.name()), why });
        }
        // It is about to.
        members.looks(name, now_ms);
        drop(members);
        self.state.ring();
        let bell: Arc<Bell> = Arc::default();
        self.state.bells.lock().push(Arc::downgrade(&bell));
        Ok(Worker { group: self.clone(), name: name.to_owned(), make, held: BTreeMap::new(), bell, balanced: None })
    }
}

impl<P: RecordProcessor, F: FnMut(ShardId) -> P> Worker<P, F> {
    /// What stops it from another thread.
    pub fn stop_handle(&self) -> StopWorker {
        StopWorker(self.bell.clone())
    }

    /// The shards it has leases of.
    pub fn shards(&self) -> Vec<ShardId> {
        self.held.keys().copied().collect()
    }

    /// Works until it is stopped, the stream is deleted or the store is closed. Blocks; sleeps while there is nothing to do, and
    /// is woken by the writer. On a full disk, and where leases can't be written for a while, it tries again. A shard that can't
    /// be read rests for [`GroupOptions::retry_after`](super::GroupOptions#structfield.retry_after) and keeps nothing from the
    /// others: [`RecordProcessor::failed`] hears of it.
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`] when stream or group was deleted, [`Error::Closed`], [`Error::Stopped`];
    /// [`Error::OutcomeUnknown`] when a checkpoint was not durable within the store's append deadline: what it was for comes again
    /// only if it was not done, to this worker if it goes on.
    pub fn run(&mut self) -> Result<()> {
        let heartbeat = (self.group.options.failover / 3).max(Duration::from_millis(1));
        while !self.bell.stopping.load(Ordering::Acquire) {
            let seen = self.group.state.changes.load(Ordering::SeqCst);
            let refused = match self.step() {
                Ok(true) => continue,
                Ok(false) => false,
                Err(error) if error.is_retryable() => true,
                Err(error) => return Err(error),
            };
            // Registered before the last look: an append or a change of a lease after it rings.
            let waker = Waker::from(self.bell.clone());
            let mut due = !refused && self.group.state.changes.load(Ordering::SeqCst) != seen;
            for held in self.held.values().filter(|held| !refused && held.rests_until_ms == 0) {
                due |= held.reader.as_ref().is_none_or(|reader| reader.register(&waker, || false));
            }
            let mut rung = self.bell.rung.lock();
            if !due && !*rung {
                rung = self.bell.changed.wait_timeout(rung, heartbeat);
            }
            *rung = false;
        }
        self.release_all()
    }

    /// Does what there is to do once: takes or hands over leases, gives each shard's processor one batch. Whether there was
    /// anything. For those who bring their own thread; call it at least every third of the failover time.
    ///
    /// # Errors
    /// As [`Worker::run`].
    pub fn step(&mut self) -> Result<bool> {
        let shared = self.group.stream.shared.clone();
        self.group.stream.state.check_alive()?;
        let now_ms = shared.monotonic_ms();
        self.group.heard_of(&self.name);
        // Nothing about leases changes but by somebody's doing, or by somebody's silence.
        let changes = self.group.state.changes.load(Ordering::SeqCst);
        let heartbeat_ms = self.group.options.failover.as_millis() as u64 / 3;
        let due = self.balanced.is_none_or(|(at, seen)| seen != changes || now_ms.saturating_sub(at) >= heartbeat_ms);
        let mut progress = due && self.balance(now_ms)?;
        if due {
            self.balanced = Some((now_ms, changes));
        }
        let mut served = Ok(());
        for shard in self.shards() {
            if self.bell.stopping.load(Ordering::Acquire) {
                break;
            }
            match self.serve(shard, now_ms) {
                // A round over all its shards may take longer than a worker may be silent.
                Ok(true) => {
                    self.group.heard_of(&self.name);
                    progress = true;
                }
                Ok(false) => {}
                Err(error) => {
                    served = Err(error);
                    break;
                }
            }
            if shared.monotonic_ms().saturating_sub(now_ms) > ROUND_MS {
                self.begin_checkpoints(now_ms)?;
            }
        }
        // Also when a shard can't be served: what was processed of the others is done.
        self.begin_checkpoints(now_ms)?;
        served?;
        // With nothing else to do, the last checkpoints become durable.
        Ok(progress || self.await_checkpoints(now_ms)?)
    }

    /// Begins the checkpoints of the batches that were processed since this was called last.
    fn begin_checkpoints(&mut self, now_ms: u64) -> Result<()> {
        let mut failed = Vec::new();
        for (shard, held) in &mut self.held {
            let Some(end) = held.processed.take() else { continue };
            // One at a time: the one before is mostly durable by now.
            let begun = held
                .await_checkpoint()
                .and_then(|_| self.group.begin_checkpoint(Transaction::new(), *shard, held.counter, (end, 0)));
            match begun {
                Ok(checkpoint) => held.checkpoint = Some(checkpoint),
                Err(error) => failed.push((*shard, error)),
            }
        }
        failed.into_iter().try_for_each(|(shard, error)| self.failed(shard, error.into(), now_ms))
    }

    /// Waits for every checkpoint that is on its way. Whether there was one.
    fn await_checkpoints(&mut self, now_ms: u64) -> Result<bool> {
        let mut waited = false;
        for shard in self.shards() {
            match self.held.get_mut(&shard).map(Held::await_checkpoint) {
                None => {}
                Some(Ok(there_was)) => waited |= there_was,
                Some(Err(error)) => {
                    self.failed(shard, error.into(), now_ms)?;
                    waited = true;
                }
            }
        }
        Ok(waited)
    }

    /// Takes, asks for and hands over leases.
    fn balance(&mut self, now_ms: u64) -> Result<bool> {
        let handed_over = self.hand_over()?;
        let (workers, views) = self.look(now_ms);
        let moves = balance::moves(&self.name, &workers, &views);
        let moved = !moves.take.is_empty() || moves.ask.is_some();
        self.take(&moves.take)?;
        if let Some((shard, counter)) = moves.ask {
            let mut members = self.group.state.members.lock();
            let lease = members.leases.get_mut(&shard);
            // As it was when it was found to be worth asking for.
            if let Some(lease) = lease.filter(|lease| lease.row.counter == counter && !lease.row.finished) {
                lease.wanted.get_or_insert((self.name.clone(), now_ms));
            }
            drop(members);
            self.group.state.ring();
        }
        if moves.content && self.group.forget_wish(&self.name) {
            return Ok(true);
        }
        // A lease that was asked for and not handed over in time is taken.
        let hand_over = self.group.options.hand_over.as_millis();
        let overdue: Vec<(ShardId, u64)> = {
            let members = self.group.state.members.lock();
            let overdue = |wanted: &Option<(String, u64)>| {
                wanted.as_ref().is_some_and(|(by, since)| {
                    *by == self.name && u128::from(now_ms.saturating_sub(*since)) >= hand_over
                })
            };
            members
                .leases
                .iter()
                .filter(|(_, lease)| overdue(&lease.wanted))
                .map(|(id, lease)| (*id, lease.row.counter))
                .collect()
        };
        self.take(&overdue)?;
        Ok(moved || handed_over || !overdue.is_empty())
    }

    /// Gives up what others took or asked for.
    fn hand_over(&mut self) -> Result<bool> {
        let mut lost = Vec::new();
        let mut wanted = Vec::new();
        {
            let members = self.group.state.members.lock();
            for (shard, held) in &self.held {
                match members.leases.get(shard) {
                    Some(lease) if lease.row.counter != held.counter => lost.push(*shard),
                    None => lost.push(*shard),
                    Some(lease) if lease.wanted.as_ref().is_some_and(|(by, _)| *by != self.name) => wanted.push(*shard),
                    Some(_) => {}
                }
            }
        }
        for shard in &lost {
            self.lose(*shard);
        }
        self.release(&wanted)?;
        Ok(!lost.is_empty() || !wanted.is_empty())
    }

    fn lose(&mut self, shard: ShardId) {
        if let Some(mut held) = self.held.remove(&shard)
            // It was finished meanwhile: nobody has it.
            && held.finishing.is_none_or(|finishing| finishing.wait().is_err())
        {
            held.processor.lease_lost(shard);
        }
    }

    /// The workers that live, with whether they look for leases, too, and the leases as balancing sees them.
    fn look(&self, now_ms: u64) -> (BTreeMap<String, bool>, Vec<View>) {
        let failover = self.group.options.failover;
        let map = self.group.stream.state.shards();
        let mut members = self.group.state.members.lock();
        members.looks(&self.name, now_ms);
        members.workers.retain(|_, member| is_within(member.heard_ms, now_ms, failover));
        let looks = |member: &Member| member.looked_ms.is_some_and(|at| is_within(at, now_ms, failover));
        let workers: BTreeMap<String, bool> =
            members.workers.iter().map(|(name, member)| (name.clone(), looks(member))).collect();
        // Who asked and died does not ask any more, and who is busy since would not see what it was handed.
        for lease in members.leases.values_mut() {
            if lease.wanted.as_ref().is_some_and(|(by, _)| !workers.get(by).copied().unwrap_or(false)) {
                lease.wanted = None;
            }
        }
        let finished = |parent: &ShardId| members.leases.get(parent).is_none_or(|lease| lease.row.finished);
        let views = members.leases.iter().filter_map(|(id, lease)| {
            let shard = map.get(*id)?;
            let free = lease.wanted.as_ref().is_some_and(|(by, _)| *by != self.name) && lease.row.owner.is_empty();
            Some(View {
                shard: *id,
                counter: lease.row.counter,
                // What a namesake had in an earlier life is nobody's.
                owner: Some(&lease.row.owner)
                    .filter(|owner| {
                        workers.contains_key(*owner) && (**owner != self.name || self.held.contains_key(id))
                    })
                    .cloned(),
                // One that was handed over is for who asked for it.
                ready: !lease.row.finished && !free && shard.parents().iter().all(finished),
                wanted: lease.wanted.is_some(),
            })
        });
        let views = views.collect();
        (workers, views)
    }

    /// Takes leases that were found to be for the taking when their counters were these. They share a sync.
    fn take(&mut self, leases: &[(ShardId, u64)]) -> Result<()> {
        let begin = |(shard, counter): &(ShardId, u64)| {
            let owner = self.name.clone();
            let change = self.group.begin_lease_change(Transaction::new(), *shard, *counter, move |row| {
                row.counter += 1;
                row.owner = owner;
            });
            change.map(|change| (*shard, change))
        };
        let changes = leases.iter().map(begin).collect::<Result<Vec<_>>>()?;
        changes.into_iter().try_for_each(|(shard, change)| match change.wait() {
            // Somebody was quicker.
            Err(Error::Conflict { .. }) => Ok(()),
            taken => self.begin_serving(shard, taken?),
        })
    }

    /// The lease is this worker's now.
    fn begin_serving(&mut self, shard: ShardId, taken: LeaseRow) -> Result<()> {
        let state = match self.group.stream.shard(shard) {
            Err(Error::ResourceNotFound { .. }) if self.group.stream.state.check_alive().is_ok() => return Ok(()),
            other => other?,
        };
        let processor = (self.make)(shard);
        let held = Held {
            counter: taken.counter,
            shard: state,
            reader: None,
            processor,
            from: (taken.next, taken.next_sub),
            rests_until_ms: 0,
            processed: None,
            checkpoint: None,
            has_ended: false,
            finishing: None,
        };
        self.held.insert(shard, held);
        Ok(())
    }

    /// Gives leases back, or to who asked for them. They share a sync.
    fn release(&mut self, shards: &[ShardId]) -> Result<()> {
        let mut changes = Vec::with_capacity(shards.len());
        for shard in shards {
            let Some(held) = self.held.get(shard) else { continue };
            let wanted = self.group.state.members.lock().leases.get(shard).and_then(|lease| lease.wanted.clone());
            // Behind the checkpoint that is on its way.
            let change = self.group.begin_lease_change(Transaction::new(), *shard, held.counter, |row| {
                row.counter += 1;
                row.owner.clear();
            })?;
            changes.push((*shard, wanted, change));
        }
        for (shard, wanted, change) in changes {
            match change.wait() {
                Ok(row) => {
                    // Unless somebody has taken it since.
                    if let Some(lease) = self.group.state.members.lock().leases.get_mut(&shard)
                        && lease.row.counter == row.counter
                    {
                        lease.wanted = lease.wanted.take().or(wanted);
                    }
                }
                // It is another's already.
                Err(Error::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
            self.lose(shard);
        }
        Ok(())
    }

    fn release_all(&mut self) -> Result<()> {
        self.group.state.members.lock().workers.remove(&self.name);
        self.release(&self.shards())?;
        self.group.state.ring();
        Ok(())
    }

    /// One batch of one shard, or its end.
    fn serve(&mut self, shard: ShardId, now_ms: u64) -> Result<bool> {
        let options = &self.group.options;
        let Some(held) = self.held.get_mut(&shard) else { return Ok(false) };
        if now_ms < held.rests_until_ms {
            return Ok(false);
        }
        held.rests_until_ms = 0;
        if held.checkpoint.as_ref().is_some_and(LeaseChange::is_decided)
            && let Err(error) = held.await_checkpoint()
        {
            self.failed(shard, error.into(), now_ms)?;
            return Ok(true);
        }
        let (stream, from) = (&self.group.stream, held.from);
        let read = held.reader(stream).and_then(|reader| {
            let records = reader.read(options.records_max, options.bytes_max)?;
            let is_over = records.is_empty() && reader.shard_end()?.is_some();
            Ok((records, reader.next_number(), is_over))
        });
        let (records, end, is_over) = match read {
            Ok(read) => read,
            Err(error @ (Error::Closed | Error::Stopped { .. })) => return Err(error),
            Err(error) => {
                stream.state.check_alive()?;
                if matches!(error, Error::Damaged { .. }) && held.processor.damaged(shard, &error) == OnDamage::Skip {
                    held.reader(stream).and_then(ShardReader::skip_damaged)?;
                } else if matches!(error, Error::ResourceNotFound { .. }) {
                    // Its last record expired, and the shard went with it.
                    self.lose(shard);
                } else {
                    self.failed(shard, error.into(), now_ms)?;
                }
                return Ok(true);
            }
        };
        let Some(first) = records.first().map(Record::number) else {
            if !is_over {
                return Ok(false);
            }
            return match held.await_checkpoint() {
                Ok(_) => self.finish(shard, now_ms),
                Err(error) => self.failed(shard, error.into(), now_ms).map(|()| true),
            };
        };
        // Of another record nothing is done: that one may have expired meanwhile.
        let sub = if from.0 == first { from.1 } else { 0 };
        let mut batch = RecordBatch {
            group: &self.group,
            worker: &self.name,
            shard,
            counter: held.counter,
            records,
            first,
            end,
            sub,
            done: (first, sub),
            unsettled: None,
        };
        let outcome = held.processor.process(&mut batch);
        if let Some(error) = batch.unsettled.take() {
            return self.failed(shard, error.into(), now_ms).map(|()| true);
        }
        match outcome {
            Ok(()) if options.checkpoint_after_batch && batch.done != (end, 0) => held.processed = Some(end),
            Ok(()) => {}
            Err(error) => self.failed(shard, error, now_ms)?,
        }
        Ok(true)
    }

    /// Every record of a shard was processed.
    fn finish(&mut self, shard: ShardId, now_ms: u64) -> Result<bool> {
        let Some(held) = self.held.get_mut(&shard) else { return Ok(false) };
        // Once: where the row can't be written, or nobody knows whether it is, only that is tried again.
        if !held.has_ended
            && let Err(error) = held.processor.shard_ended(shard)
        {
            self.failed(shard, error, now_ms)?;
            return Ok(true);
        }
        held.has_ended = true;
        let finishing = match held.finishing.take() {
            Some(finishing) if !finishing.is_decided() => {
                held.finishing = Some(finishing);
                return Ok(false);
            }
            Some(finishing) => finishing,
            None => {
                let (counter, next) = (held.counter, held.reader(&self.group.stream)?.next_number());
                self.group.begin_lease_change(Transaction::new(), shard, counter, move |row| {
                    *row = LeaseRow { finished: true, counter: counter + 1, next, next_sub: 0, owner: String::new() };
                })?
            }
        };
        match finishing.wait() {
            Ok(_) => drop(self.held.remove(&shard)),
            Err(Error::Conflict { .. }) => self.lose(shard),
            Err(error) => {
                held.finishing = Some(finishing).filter(|finishing| !finishing.is_decided());
                return Err(error);
            }
        }
        Ok(true)
    }

    /// A batch failed: it comes again from the checkpoint, unless the lease is another worker's.
    fn failed(&mut self, shard: ShardId, error: ProcessError, now_ms: u64) -> Result<()> {
        if let Some(fatal @ (Error::Closed | Error::Stopped { .. })) = error.downcast_ref::<Error>() {
            return Err(fatal.clone());
        }
        let Some(held) = self.held.get_mut(&shard) else { return Ok(()) };
        held.processor.failed(shard, &error);
        let settled = match error.downcast_ref::<Error>() {
            Some(error) if is_unsettled(error) => Err(error.clone()),
            _ => held.await_checkpoint(),
        };
        match settled {
            // Whose the lease is, its row says.
            Ok(_) | Err(Error::Conflict { .. }) => {}
            Err(error) => {
                if is_unsettled(&error) {
                    self.lose(shard);
                }
                return Err(error);
            }
        }
        let row = self.group.state.members.lock().leases.get(&shard).map(|lease| lease.row.clone());
        match row {
            Some(row) if row.counter == held.counter => {
                held.reader = None;
                // Records may come again, and then their end.
                held.has_ended = false;
                held.from = (row.next, row.next_sub);
                held.rests_until_ms = now_ms + self.group.options.retry_after.as_millis() as u64;
            }
            _ => self.lose(shard),
        }
        Ok(())
    }
}

/// A change of the lease may still happen, and the row doesn't show it yet: who went on from there would do twice what came
/// with it. So the lease is given up, and whoever takes it, with a change of its own, finds what came of this one.
fn is_unsettled(error: &Error) -> bool {
    matches!(error, Error::OutcomeUnknown { .. })
}

/// Its leases are free at once.
impl<P, F> Drop for Worker<P, F> {
    fn drop(&mut self) {
        self.group.state.members.lock().workers.remove(&self.name);
        self.group.state.ring();
    }
}

impl<P, F> std::fmt::Debug for Worker<P, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("name", &self.name).field("shards", &self.held.len()).finish()
    }
}
