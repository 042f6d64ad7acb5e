//! Consumer groups: several workers share the shards of a stream, and the engine keeps how far they are.
//!
//! A group has a *lease* for each shard it reads: who has it, and the checkpoint. Leases are rows of a table, so they are durable
//! and change in transactions; heartbeats are not, for the workers live and die with the process that has the store open.
//!
//! The rules, each at the store's serial point:
//!
//! 1. Whoever takes a lease raises its counter. Everything an owner does with the lease requires the counter it took: a
//!    worker that was paused, lost its lease and wakes gets [`Error::Conflict`], and nothing of what it wanted is done. A group
//!    that is deleted and made again counts from above all that the one before could have come to.
//! 2. A checkpoint and what a worker wrote because of the records below it can be one transaction: exactly once.
//! 3. A group has a lease for every shard that it reads or will read: from the start for all there are then, and a reshard gives
//!    it leases for the children in its own frame. A shard that expires takes its lease with it.
//! 4. A shard is read when all of its parents are finished, or have no lease: those came before where the group began, or have
//!    expired.
//! 5. A worker that is heard of keeps its leases, also while it is busy with a batch. Leases that nobody has are for those who look
//!    for some: whoever has not done so within the failover time is not waited for.

mod balance;
mod processor;
mod worker;

use std::collections::BTreeMap;
use std::sync::Weak;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::format::change::row_len;
use crate::format::stream::{self as rows, GroupRow, Intent, IntentRow, LeaseRow};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};
use crate::table::{Change, SerialRows};
use crate::ticket::Pending;
use crate::transaction::{Committed, Transaction};

use super::Stream;
use super::control::{RESHARD_BYTES_PER_SHARD, SHARDS_AT_ONCE};
use super::control_lock::ControlGuard;
use super::iterator::StartingPosition;
use super::list::ShardFilter;
use super::options::check_name;
use super::reshard::Plan;
use super::sequence_number::SequenceNumber;
use super::shard::ShardId;

pub use processor::{OnDamage, ProcessError, RecordBatch, RecordProcessor};
use worker::Bell;
pub use worker::{StopWorker, Worker};

/// How a consumer group is made and how its workers go about it.
///
/// ```
/// use std::time::Duration;
/// use braidlog::stream::{GroupOptions, StartingPosition};
/// let options = GroupOptions::new().starting_position(StartingPosition::Latest).failover(Duration::from_secs(3));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupOptions {
    /// Where a new group begins; counts only when it is made. Default [`StartingPosition::TrimHorizon`].
    pub starting_position: StartingPosition,
    /// A worker that was not heard of for so long loses its leases. Default 10 s, as the KCL's `failoverTimeMillis`.
    pub failover: Duration,
    /// Most records in one batch. Default 10,000.
    pub records_max: usize,
    /// Most bytes of data and keys in one batch. Default 4 MiB.
    pub bytes_max: usize,
    /// How long a shard rests after its processor failed. Default 1 s.
    pub retry_after: Duration,
    /// How long an owner may take to hand a lease over before it is taken from it. Default 30 s.
    pub hand_over: Duration,
    /// Whether the engine checkpoints when a processor returns from a batch. Default yes; a processor that checkpoints itself,
    /// or commits what it did together with the checkpoint, loses nothing by it. Such a checkpoint becomes durable while the next
    /// batch of the shard is read and processed.
    pub checkpoint_after_batch: bool,
}

impl Default for GroupOptions {
    fn default() -> Self {
        GroupOptions {
            starting_position: StartingPosition::TrimHorizon,
            failover: Duration::from_secs(10),
            records_max: 10_000,
            bytes_max: 4 << 20,
            retry_after: Duration::from_secs(1),
            hand_over: Duration::from_secs(30),
            checkpoint_after_batch: true,
        }
    }
}

impl GroupOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`starting_position`](Self#structfield.starting_position).
    #[must_use]
    pub fn starting_position(mut self, position: StartingPosition) -> Self {
        self.starting_position = position;
        self
    }

    /// Sets [`failover`](Self#structfield.failover).
    #[must_use]
    pub fn failover(mut self, failover: Duration) -> Self {
        self.failover = failover;
        self
    }

    /// Sets [`records_max`](Self#structfield.records_max).
    #[must_use]
    pub fn records_max(mut self, records: usize) -> Self {
        self.records_max = records;
        self
    }

    /// Sets [`bytes_max`](Self#structfield.bytes_max).
    #[must_use]
    pub fn bytes_max(mut self, bytes: usize) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// Sets [`retry_after`](Self#structfield.retry_after).
    #[must_use]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.retry_after = pause;
        self
    }

    /// Sets [`hand_over`](Self#structfield.hand_over).
    #[must_use]
    pub fn hand_over(mut self, patience: Duration) -> Self {
        self.hand_over = patience;
        self
    }

    /// Sets [`checkpoint_after_batch`](Self#structfield.checkpoint_after_batch).
    #[must_use]
    pub fn checkpoint_after_batch(mut self, checkpoint: bool) -> Self {
        self.checkpoint_after_batch = checkpoint;
        self
    }

    fn check(&self) -> Result<()> {
        if self.records_max == 0 || self.bytes_max == 0 {
            return Err(Error::invalid("records_max or bytes_max", 0, "a batch has at least one record"));
        }
        if self.failover.is_zero() {
            return Err(Error::invalid("failover", "0 s", "every worker would be taken for dead"));
        }
        Ok(())
    }
}

/// A change of one lease, encoded, is shorter: names of streams, groups and workers are.
const LEASE_BYTES_MAX: usize = 1024;

/// A lease as the group has it: its row, durable, and who asked for it.
pub(crate) struct Lease {
    row: LeaseRow,
    /// Who wants it handed over, and since when by the monotonic clock.
    wanted: Option<(String, u64)>,
}

/// Workers and leases of a group.
#[derive(Default)]
pub(crate) struct Members {
    leases: BTreeMap<ShardId, Lease>,
    workers: BTreeMap<String, Member>,
}

/// A worker, as the others know of it. Times are of the monotonic clock.
struct Member {
    /// When it was last heard of.
    heard_ms: u64,
    /// When it last looked for leases: one that is busy with a long batch is alive, and takes none.
    looked_ms: Option<u64>,
}

impl Members {
    /// A worker of this name is alive.
    fn heard_of(&mut self, worker: &str, now_ms: u64) {
        match self.workers.get_mut(worker) {
            Some(member) => member.heard_ms = now_ms,
            None => {
                self.workers.insert(worker.to_owned(), Member { heard_ms: now_ms, looked_ms: None });
            }
        }
    }

    /// It looks for leases.
    fn looks(&mut self, worker: &str, now_ms: u64) {
        self.workers.insert(worker.to_owned(), Member { heard_ms: now_ms, looked_ms: Some(now_ms) });
    }
}

pub(crate) struct GroupState {
    name: String,
    members: Mutex<Members>,
    /// Counts changes of owners and workers.
    changes: AtomicU64,
    /// Of workers that sleep, or may.
    bells: Mutex<Vec<Weak<Bell>>>,
}

impl GroupState {
    fn of_rows(name: &str, serial: &SerialRows, stream: u64) -> std::result::Result<GroupState, crate::format::Damage> {
        let mut members = Members::default();
        for (key, value) in serial.rows(&rows::lease_prefix(stream, name)) {
            let shard = key.last_chunk().map_or(0, |index| u32::from_be_bytes(*index));
            members.leases.insert(ShardId(shard), Lease { row: LeaseRow::decode(&value)?, wanted: None });
        }
        let (changes, bells) = (AtomicU64::new(0), Mutex::default());
        Ok(GroupState { name: name.to_owned(), members: Mutex::new(members), changes, bells })
    }

    /// A change of a lease is durable.
    fn set_lease(&self, shard: ShardId, row: LeaseRow) {
        let mut members = self.members.lock();
        match members.leases.get_mut(&shard) {
            // A checkpoint is of interest to nobody else.
            Some(lease) if lease.row.counter == row.counter => {
                lease.row = row;
                return;
            }
            Some(lease) => *lease = Lease { row, wanted: None },
            None => drop(members.leases.insert(shard, Lease { row, wanted: None })),
        }
        drop(members);
        self.ring();
    }

    fn drop_lease(&self, shard: ShardId) {
        self.members.lock().leases.remove(&shard);
        self.ring();
    }

    /// The group, or its stream, is gone.
    pub(crate) fn end(&self) {
        self.members.lock().leases.clear();
        self.ring();
    }

    fn ring(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.bells.lock().retain(|bell| bell.upgrade().inspect(|bell| bell.ring()).is_some());
    }
}

/// How far a group is in one shard.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// use braidlog::stream::GroupOptions;
/// let clicks = engine.create_stream("clicks", Default::default())?;
/// clicks.put_record("user-42", b"page=/home")?;
/// let group = clicks.consumer_group("billing", GroupOptions::new())?;
/// let progress = &group.progress()?[0];
/// assert_eq!((progress.records_behind, progress.owner.as_deref()), (1, None));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardProgress {
    /// The shard.
    pub shard_id: ShardId,
    /// The worker that has its lease.
    pub owner: Option<String>,
    /// Whether every record of it is done, and there will be no more.
    pub finished: bool,
    /// The checkpoint: all up to here is done. `None` before the first record.
    pub checkpoint: Option<SequenceNumber>,
    /// Of the record after the checkpoint, how many user records are done: of an aggregate.
    pub sub_sequence_number: u64,
    /// Records after the checkpoint that can still be read.
    pub records_behind: u64,
}

/// A consumer group of a stream. A handle; clones are the same group.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// use braidlog::stream::{GroupOptions, RecordBatch};
/// let clicks = engine.create_stream("clicks", Default::default())?;
/// clicks.put_record("user-42", b"page=/home")?;
/// let group = clicks.consumer_group("billing", GroupOptions::new())?;
/// let mut seen = 0;
/// let mut worker = group.worker("worker-1", |_shard| |batch: &mut RecordBatch<'_>| {
///     println!("{} records of {}", batch.records().len(), batch.shard_id());
///     Ok(())                                                   // what it got is checkpointed
/// })?;
/// while worker.step()? {}                                      // or `run` in a thread of its own
/// assert_eq!(group.progress()?[0].records_behind, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ConsumerGroup {
    stream: Stream,
    state: Arc<GroupState>,
    options: GroupOptions,
}

impl Stream {
    /// The consumer group of this name, made if there is none: it begins at the options' starting position then.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], [`Error::ResourceNotFound`] when the stream was deleted, and what any write may answer.
    pub fn consumer_group(&self, name: &str, options: GroupOptions) -> Result<ConsumerGroup> {
        check_name("group name", name)?;
        options.check()?;
        let control = self.control()?;
        let id = self.state.id;
        if let Some(state) = self.group_state(name)? {
            return Ok(ConsumerGroup { stream: self.clone(), state, options });
        }
        let position = options.starting_position;
        let filter = match position {
            StartingPosition::TrimHorizon => ShardFilter::FromTrimHorizon,
            StartingPosition::Latest => ShardFilter::AtLatest,
            StartingPosition::AtTimestamp(time) => ShardFilter::FromTimestamp(time),
            StartingPosition::AtSequenceNumber(number) | StartingPosition::AfterSequenceNumber(number) => {
                let why = "a group begins at the trim horizon, at the latest record or at a time";
                return Err(Error::invalid("starting position", number, why));
            }
        };
        self.check_leases(Some(name))?;
        // One of this name may not be gone whole.
        self.shared.finish_deletion(&control, id, Some(name))?;
        // Later than any group of this name was made before: its leases count from there.
        let now_ms = self.shared.now_ms();
        let group = GroupRow { created_ms: now_ms.max(control.next_birth(now_ms).last_birth_s * 1000) };
        let mut leases = Change::default();
        for shard in self.page_of_shards(filter, None, usize::MAX)?.shards {
            let state = self.shard(shard.shard_id)?;
            let next = self.locate(&state, state.log(&self.shared.store)?, position)?;
            let row = LeaseRow { next, ..first_lease(&group) };
            leases.put(rows::lease_key(id, name, shard.shard_id.0), row.encode());
        }
        self.make_group(&control, name, group, leases)?;
        match self.group_state(name)? {
            Some(state) => Ok(ConsumerGroup { stream: self.clone(), state, options }),
            None => Err(Error::ResourceNotFound { what: format!("consumer group {name}") }),
        }
    }

    /// Makes a group. Where its leases take more than one frame, its row goes with the last, and until then what there is of it is
    /// to be deleted: nobody ever sees a part of it.
    fn make_group(&self, control: &ControlGuard<'_>, name: &str, group: GroupRow, mut leases: Change) -> Result<()> {
        let (id, mut catalog) = (self.state.id, Change::default());
        loop {
            let rest = leases.split_off(self.shared.step_bytes());
            let mut transaction = Transaction::new();
            if let Some(rest) = rest {
                catalog.put(rows::intent_key(id, Some(name)), IntentRow { what: Intent::Delete }.encode());
                self.shared.catalog.change(&mut transaction, catalog)?;
                self.shared.leases.change(&mut transaction, leases)?;
                self.commit(control, transaction)?;
                (leases, catalog) = (rest, Change::default());
                continue;
            }
            let intent = rows::intent_key(id, Some(name));
            if self.shared.catalog.serial().row(&intent).is_some() {
                catalog.remove(intent);
                self.shared.catalog.change(&mut transaction, catalog)?;
            }
            leases.put(rows::group_key(id, name), group.encode());
            self.shared.leases.change(&mut transaction, leases)?;
            return self.commit(control, transaction);
        }
    }

    /// What the leases of one shard take for all groups, and for one more.
    fn leases_bytes(&self, more: Option<&str>) -> usize {
        let stream = self.state.id;
        let lease = LeaseRow::default().encode();
        let bytes = |name: &str| row_len(&rows::lease_key(stream, name, 0), Some(&lease));
        self.consumer_groups().iter().map(String::as_str).chain(more).map(bytes).sum()
    }

    /// Whether a shard can be split: all groups, and one more, get leases for its children in the frame that makes them.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`].
    pub(crate) fn check_leases(&self, more: Option<&str>) -> Result<()> {
        let (bytes, max) = (2 * self.leases_bytes(more), self.shared.store.core().largest_append() / 4);
        if bytes <= max {
            return Ok(());
        }
        let (name, count) = (self.name(), self.consumer_groups().len());
        let what = format!(
            "consumer groups of stream {name}, which has {count}: leases of two shards for all of them may take {max} bytes, \
             and would take {bytes}; delete some that are not used"
        );
        Err(Error::LimitExceeded { what })
    }

    /// How many shards a frame closes, with the leases that all groups have for their children: two of each. It also has room for
    /// as many that are forgotten.
    pub(crate) fn shards_at_once(&self) -> usize {
        let of_child = RESHARD_BYTES_PER_SHARD + self.leases_bytes(None);
        (self.shared.step_bytes() / (2 * of_child)).clamp(1, SHARDS_AT_ONCE)
    }

    /// Names of its consumer groups, sorted.
    pub fn consumer_groups(&self) -> Vec<String> {
        let rows = self.shared.leases.rows(&rows::group_key(self.state.id, ""));
        rows.iter().filter_map(|(key, _)| String::from_utf8(rows::parse_key(key).ok()?.1.to_vec()).ok()).collect()
    }

    /// Deletes a consumer group with its checkpoints. Workers of it lose their leases.
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`].
    pub fn delete_consumer_group(&self, name: &str) -> Result<()> {
        let control = self.control()?;
        let Some(state) = self.group_state(name)? else {
            let what = format!("consumer group {name} of stream {}", self.name());
            return Err(Error::ResourceNotFound { what });
        };
        let mut leases = Change::default();
        leases.remove(rows::group_key(self.state.id, name));
        let mut transaction = Transaction::new();
        let changes = (Change::default(), leases);
        let is_more = self.shared.remove_part(&mut transaction, changes, self.state.id, Some(name))?;
        let (stream, group) = (self.state.clone(), name.to_owned());
        transaction.once_durable(move |_| {
            stream.groups.lock().remove(&group);
            state.end();
        });
        self.commit(&control, transaction)?;
        if is_more {
            // The group is gone, durably. What can't be removed now is carried on by the maintenance.
            let _ = self.shared.finish_deletion(&control, self.state.id, Some(name));
        }
        Ok(())
    }

    /// The group, if there is one. Under the right to change something.
    fn group_state(&self, name: &str) -> Result<Option<Arc<GroupState>>> {
        let mut groups = self.state.groups.lock();
        if let Some(state) = groups.get(name) {
            return Ok(Some(state.clone()));
        }
        let serial = self.shared.leases.serial();
        if serial.row(&rows::group_key(self.state.id, name)).is_none() {
            return Ok(None);
        }
        let state = GroupState::of_rows(name, &serial, self.state.id);
        let state = Arc::new(state.map_err(Error::damaged("the table of leases", 0))?);
        groups.insert(name.to_owned(), state.clone());
        Ok(Some(state))
    }

    /// Makes a reshard give every group leases for the children, in its own frame. No group comes or goes meanwhile: the caller
    /// has the right to change something.
    pub(crate) fn lease_children(&self, transaction: &mut Transaction, plan: &Plan, first: u32) -> Result<()> {
        let stream = self.state.id;
        let leases = self.shared.leases.serial();
        let (mut change, mut made) = (Change::default(), Vec::new());
        for name in self.consumer_groups() {
            let row = leases.row(&rows::group_key(stream, &name));
            let Some(Ok(group)) = row.map(|row| GroupRow::decode(&row)) else { continue };
            let lease = first_lease(&group);
            for child in first..first + plan.children.len() as u32 {
                change.put(rows::lease_key(stream, &name, child), lease.encode());
                made.push((name.clone(), ShardId(child), lease.clone()));
            }
        }
        if change.is_empty() {
            return Ok(());
        }
        self.shared.leases.change(transaction, change)?;
        let state = self.state.clone();
        transaction.once_durable(move |_| {
            let groups = state.groups.lock();
            for (group, shard, lease) in made {
                if let Some(group) = groups.get(&group) {
                    group.set_lease(shard, lease);
                }
            }
        });
        Ok(())
    }

    /// Makes a transaction forget the leases of shards. As for [`Stream::lease_children`], no group comes or goes.
    pub(crate) fn forget_leases(&self, transaction: &mut Transaction, shards: Vec<ShardId>) -> Result<()> {
        let (leases, mut change) = (self.shared.leases.serial(), Change::default());
        for group in self.consumer_groups() {
            let keys = shards.iter().map(|shard| rows::lease_key(self.state.id, &group, shard.0));
            for key in keys.filter(|key| leases.row(key).is_some()) {
                change.remove(key);
            }
        }
        if change.is_empty() {
            return Ok(());
        }
        self.shared.leases.change(transaction, change)?;
        let state = self.state.clone();
        transaction.once_durable(move |_| {
            let groups = state.groups.lock();
            groups.values().for_each(|group| shards.iter().for_each(|shard| group.drop_lease(*shard)));
        });
        Ok(())
    }
}

impl ConsumerGroup {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// The stream it reads.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// How far it is in each shard it has a lease for.
    ///
    /// # Errors
    /// What looking up a log may answer.
    pub fn progress(&self) -> Result<Vec<ShardProgress>> {
        let leases: Vec<(ShardId, LeaseRow)> =
            self.state.members.lock().leases.iter().map(|(id, lease)| (*id, lease.row.clone())).collect();
        let mut progress = Vec::with_capacity(leases.len());
        for (shard_id, row) in leases {
            // A shard that expired since is done.
            let Ok(shard) = self.stream.shard(shard_id) else { continue };
            let log = shard.log(&self.stream.shared.store)?;
            // What has expired is passed over.
            let next = row.next.max(log.horizon().map_err(|error| self.stream.gone(error))?);
            let behind = log.end().saturating_sub(next);
            let checkpoint = row.next.checked_sub(1);
            progress.push(ShardProgress {
                shard_id,
                owner: Some(row.owner).filter(|owner| !owner.is_empty()),
                finished: row.finished,
                checkpoint: checkpoint.map(|n| SequenceNumber::of_record(shard.birth, n, shard.row.birth_s * 1000)),
                sub_sequence_number: row.next_sub,
                records_behind: if row.finished { 0 } else { behind },
            });
        }
        Ok(progress)
    }

    /// Workers that were heard of within the failover time.
    pub fn workers(&self) -> Vec<String> {
        let now_ms = self.stream.shared.monotonic_ms();
        let failover = self.options.failover;
        let members = self.state.members.lock();
        members
            .workers
            .iter()
            .filter(|(_, member)| is_within(member.heard_ms, now_ms, failover))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// A worker of this name is alive.
    fn heard_of(&self, worker: &str) {
        let now_ms = self.stream.shared.monotonic_ms();
        self.state.members.lock().heard_of(worker, now_ms);
    }

    /// A worker wants no lease of others any more, and what was handed over to it is for whoever does. Whether it wanted one.
    fn forget_wish(&self, worker: &str) -> bool {
        let mut members = self.state.members.lock();
        let mut wishes = members.leases.values_mut().map(|lease| &mut lease.wanted);
        let wished = wishes.find(|wanted| wanted.as_ref().is_some_and(|(by, _)| by == worker)).and_then(Option::take);
        drop(members);
        if wished.is_some() {
            self.state.ring();
        }
        wished.is_some()
    }

    /// Says that all up to `done`, a number and user records of it, is done.
    fn begin_checkpoint(
        &self,
        transaction: Transaction,
        shard: ShardId,
        counter: u64,
        done: (u64, u64),
    ) -> Result<LeaseChange> {
        self.begin_lease_change(transaction, shard, counter, move |row| (row.next, row.next_sub) = done)
    }

    /// Changes the row of a lease, if its counter still is `counter` when it is the transaction's turn. The row is changed as
    /// it is then, so that a checkpoint in between is not undone.
    fn begin_lease_change(
        &self,
        mut transaction: Transaction,
        shard: ShardId,
        counter: u64,
        update: impl FnOnce(&mut LeaseRow) + Send + 'static,
    ) -> Result<LeaseChange> {
        let key = rows::lease_key(self.stream.state.id, self.name(), shard.0);
        let leases = &self.stream.shared.leases;
        let name = format!("lease of {shard} in group {}", self.name());
        leases.require(&mut transaction, key.clone().into(), move |row| {
            let found = row.and_then(|row| LeaseRow::decode(row).ok());
            match found {
                Some(found) if found.counter == counter && !found.finished => Ok(()),
                found => {
                    let why = match found {
                        Some(found) => format!("its counter is {}, not {counter}", found.counter),
                        None => "it is gone".to_owned(),
                    };
                    Err(Error::Conflict { log: name, why })
                }
            }
        });
        // What is left of a stream or group that is gone is nobody's.
        let gone = |what: &str, name: &str| Error::Conflict { log: what.to_owned(), why: format!("{name} is gone") };
        let no_group = gone("leases", self.name());
        let group = rows::group_key(self.stream.state.id, self.name());
        leases.require(&mut transaction, group.into(), |row| row.map(drop).ok_or(no_group));
        let no_stream = gone("streams", self.stream.name());
        let stream = rows::stream_key(self.stream.state.id);
        self.stream.shared.catalog.require(&mut transaction, stream.into(), |row| row.map(drop).ok_or(no_stream));
        let (serial, became) = (leases.serial(), Arc::new(Mutex::new(LeaseRow::default())));
        let at_serial_point = became.clone();
        leases.change_late(&mut transaction, LEASE_BYTES_MAX, move || {
            let found = serial.row(&key).and_then(|row| LeaseRow::decode(&row).ok());
            let mut row = found.unwrap_or_default();
            update(&mut row);
            let mut change = Change::default();
            change.put(key, row.encode());
            *at_serial_point.lock() = row;
            change
        });
        let (state, durable) = (self.state.clone(), became.clone());
        transaction.once_durable(move |_| state.set_lease(shard, durable.lock().clone()));
        let store = &self.stream.shared.store;
        let patience = store.core().patience();
        Ok(LeaseChange { pending: store.commit(transaction)?, patience, became })
    }
}

/// A change of a lease on its way to the disk. Dropping it cancels nothing.
struct LeaseChange {
    pending: Pending<Committed>,
    /// How long its caller waits for it.
    patience: Duration,
    became: Arc<Mutex<LeaseRow>>,
}

impl LeaseChange {
    /// Blocks until it is durable or refused, no longer than a blocking append may take. Answers with what the row became.
    fn wait(&self) -> Result<LeaseRow> {
        self.pending.wait_within(self.patience, "commit", "lease")?;
        let row = self.became.lock().clone();
        Ok(row)
    }

    /// Whether [`LeaseChange::wait`] would not block.
    fn is_decided(&self) -> bool {
        self.pending.is_resolved()
    }
}

impl std::fmt::Debug for ConsumerGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsumerGroup").field("stream", &self.stream.name()).field("name", &self.name()).finish()
    }
}

/// The lease of a shard that nobody had yet. Counters of one group stay below those of one of its name that is made later: that
/// is a second younger at least, and no lease changes hands a million times in a millisecond.
fn first_lease(group: &GroupRow) -> LeaseRow {
    LeaseRow { counter: group.created_ms << 20, ..LeaseRow::default() }
}

/// Whether something that was at `at_ms` is not longer ago than the failover time.
fn is_within(at_ms: u64, now_ms: u64, failover: Duration) -> bool {
    u128::from(now_ms.saturating_sub(at_ms)) < failover.as_millis()
}
