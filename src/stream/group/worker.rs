//! A worker of a consumer group: takes leases, hands their shards' records to processors, keeps checkpoints.

use std::collections::BTreeMap;
use std::task::{Wake, Waker};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::format::stream::LeaseRow;
use crate::sync::{Arc, AtomicBool, Condvar, Mutex, Ordering};
use crate::transaction::Transaction;

use super::balance::{self, View};
use super::processor::{OnDamage, ProcessError, RecordBatch, RecordProcessor, is_unsettled};
use super::{ConsumerGroup, LeaseChange, Member, is_within};
use crate::stream::Stream;
use crate::stream::read::{Record, ShardReader};
use crate::stream::shard::{ShardId, ShardState};

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
