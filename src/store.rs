//! An open store: opening and closing, its logs, transactions, snapshots, health.

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::backup;
use crate::core::Core;
use crate::driver::{Buffered, BufferedLane, Commit, CommitMachine, Request, Upkeep};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::id::{SequenceNumber, StoreId};
use crate::log::{Log, LogState};
use crate::metrics::{Health, Stats};
use crate::options::{LogOptions, ReadMode, StoreOptions, check_name, check_not_internal};
use crate::recovery::{self, OpenReport};
use crate::scrub::ScrubFinding;
use crate::snapshot::Snapshot;
use crate::sync::{Arc, Condvar, Mutex, Ordering};
use crate::ticket::{Pending, Turn};
use crate::transaction::{Committed, Transaction};

const COMMIT: &str = "braidlog-commit";
const BUFFERED: &str = "braidlog-buffered";
/// The thread behind the others.
const UPKEEP: &str = "braidlog-upkeep";
/// How long dropping the last handle waits for the threads.
const DROP_PATIENCE: Duration = Duration::from_secs(5);

/// The machines of a store whose threads a test runs by hand.
pub(crate) struct Machines {
    pub(crate) commit: Commit,
    pub(crate) upkeep: Upkeep,
}

/// Ends the threads with the last handle.
struct Life {
    core: Arc<Core>,
    /// Where machines run on threads of their own.
    commit: OnceLock<CommitMachine>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
    /// Where the upkeep's thread leaves its machine: what is kept for a backup, and has yet to go, the last checkpoint names too.
    upkeep: Arc<Mutex<Option<Upkeep>>>,
    /// How its end went, for those who wait for it.
    outcome: (Mutex<Option<Result<()>>>, Condvar),
    /// The threads that write hold it too: whoever outlives the last handle must not meet the next owner.
    lock: std::sync::Arc<dyn crate::env::DiskLock>,
    report: OpenReport,
    read_only: bool,
}

/// An open store: many logs in one directory, opened by one process.
///
/// `Store` is a handle; clones are the same store. Dropping the last one ends its threads without waiting for the disk;
/// what was acknowledged is there when it is opened again. [`Store::close`] waits for everything and leaves a clean end.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use braidlog::{LogOptions, StartAt, Store};
/// let store = Store::open(dir.path())?;                           // recovers, then serves
/// let clicks = store.create_log("clicks", LogOptions::new())?;
/// let put = clicks.append("page=/home")?;                         // returns once durable
/// for record in clicks.read(StartAt::Sequence(put.first))? {
///     assert_eq!(record?.data, "page=/home");
/// }
/// store.close()
/// # }
/// ```
#[derive(Clone)]
pub struct Store {
    life: Arc<Life>,
}

impl Store {
    /// Opens the store in `path`, or creates one if the directory is empty or doesn't exist.
    ///
    /// Blocks for the recovery of what the last owner left: see [`Store::open_report`].
    ///
    /// # Errors
    /// [`Error::Locked`] by another owner, [`Error::NotAStore`], [`Error::TooNew`], [`Error::Damaged`] when what exists can't
    /// be told, [`Error::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Store> {
        Store::open_with(path, StoreOptions::default())
    }

    /// As [`Store::open`], with options.
    ///
    /// # Errors
    /// Also [`Error::InvalidOption`].
    pub fn open_with(path: impl AsRef<Path>, options: StoreOptions) -> Result<Store> {
        options.check()?;
        let path = path.as_ref();
        let env = Env::for_options(path, &options).map_err(Error::io("open store", path.display().to_string()))?;
        Store::open_in(env, options)
    }

    /// Opens on given parts: a disk, a clock, randomness. For tests and for platforms of one's own.
    ///
    /// # Errors
    /// As [`Store::open_with`].
    pub fn open_in(env: Env, options: StoreOptions) -> Result<Store> {
        let (store, machines) = Store::assemble(env, options, true)?;
        let Machines { commit, mut upkeep } = machines;
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(Error::io("start thread", name))
        };
        let machine = store.life.commit.get_or_init(|| CommitMachine::new(store.life.core.clone(), commit)).clone();
        let commit = spawn(COMMIT, Box::new(move || machine.run()))?;
        let (lock, left) = (store.life.lock.clone(), store.life.upkeep.clone());
        let run_upkeep = move || {
            upkeep.run();
            *left.lock() = Some(upkeep);
            drop(left);
            drop(lock);
        };
        let upkeep = match spawn(UPKEEP, Box::new(run_upkeep)) {
            Ok(upkeep) => upkeep,
            Err(error) => {
                store.life.core.commit_lane.close();
                let _ = commit.join();
                return Err(error);
            }
        };
        store.life.threads.lock().extend([commit, upkeep]);
        store.life.core.upkeep.ring();
        Ok(store)
    }

    /// A store whose machines the caller steps.
    pub(crate) fn assemble(env: Env, options: StoreOptions, threaded: bool) -> Result<(Store, Machines)> {
        options.check()?;
        let opened = recovery::open(env, options, threaded)?;
        let core = Arc::new(Core::new(opened.parts));
        core.counters.records_recovered.store(opened.report.records_recovered, std::sync::atomic::Ordering::Relaxed);
        let commit = Commit::new(core.clone(), opened.queue, opened.generation, opened.end);
        let upkeep = Upkeep::new(core.clone());
        let life = Life::new(core, opened.lock.into(), opened.report, false);
        Ok((Store { life: Arc::new(life) }, Machines { commit, upkeep }))
    }

    /// Opens for inspection: takes the lock shared, replays in memory, writes nothing. Refused while an owner lives.
    ///
    /// # Errors
    /// As [`Store::open`]; an empty directory is [`Error::NotAStore`].
    ///
    /// ```
    /// # fn main() -> braidlog::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use braidlog::{Error, Store};
    /// Store::open(dir.path())?.create_log("clicks", Default::default())?.append("hello")?;
    /// let store = Store::open_read_only(dir.path())?;
    /// let log = store.log("clicks")?;
    /// assert_eq!(log.end(), 1);
    /// assert!(matches!(log.append("more"), Err(Error::ReadOnly { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Store> {
        let path = path.as_ref();
        let options = StoreOptions::default().read_mode(ReadMode::Copy);
        if !path.is_dir() {
            return Err(Error::NotAStore { root: path.display().to_string(), found: "nothing: no such folder".into() });
        }
        let env = Env::for_options(path, &options).map_err(Error::io("open store", path.display().to_string()))?;
        Store::open_read_only_in(env, options)
    }

    /// As [`Store::open_read_only`], on given parts.
    ///
    /// # Errors
    /// As [`Store::open_read_only`].
    pub fn open_read_only_in(env: Env, options: StoreOptions) -> Result<Store> {
        let opened = recovery::open_read_only(env, options)?;
        let core = Arc::new(Core::new(opened.parts));
        core.commit_lane.refuse(core.refusal());
        core.buffered_lane.refuse(core.refusal());
        let life = Life::new(core, opened.lock.into(), opened.report, true);
        Ok(Store { life: Arc::new(life) })
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.life.core
    }

    /// What opening found and did.
    pub fn open_report(&self) -> &OpenReport {
        &self.life.report
    }

    /// The store's identity: random, made when it was created.
    pub fn id(&self) -> StoreId {
        self.life.core.identity.id
    }

    /// Has the calling thread see a turn of durable appends through itself if nobody else is at work, for at most `patience`;
    /// what is left of that.
    pub(crate) fn lead(&self, turn: &Arc<Turn>, patience: Duration) -> Duration {
        self.life.commit.get().map_or(patience, |commit| commit.lead(turn, patience))
    }

    /// Starts the thread of the buffered lane, once.
    pub(crate) fn start_buffered(&self) -> Result<()> {
        let core = &self.life.core;
        if !core.threaded || core.buffered_started.load(Ordering::Acquire) {
            return Ok(());
        }
        // Held until it is known whether it runs: who meets this call here must not count on a thread that there won't be.
        let mut threads = self.life.threads.lock();
        if !core.buffered_started.load(Ordering::Acquire) {
            let (core, lock) = (core.clone(), self.life.lock.clone());
            // Made there: one that goes ends the lane.
            let run = move || {
                BufferedLane::new(core).run();
                drop(lock);
            };
            let thread = std::thread::Builder::new().name(BUFFERED.into()).spawn(run);
            threads.push(thread.map_err(Error::io("start thread", BUFFERED))?);
            self.life.core.buffered_started.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Creates a log. Durable when it returns.
    ///
    /// # Errors
    /// [`Error::LogExists`], [`Error::InvalidName`], [`Error::InvalidOption`], and what any write may answer;
    /// [`Error::OutcomeUnknown`] also when it was not durable within the append deadline.
    pub fn create_log(&self, name: &str, options: LogOptions) -> Result<Log> {
        let pending = self.create_log_ticket(name, options)?;
        Ok(self.log_handle(pending.wait_within(self.life.core.patience(), "create", &format!("log {name:?}"))?))
    }

    pub(crate) fn create_log_ticket(&self, name: &str, options: LogOptions) -> Result<Pending<Arc<LogState>>> {
        check_name(name)?;
        options.check()?;
        let name = name.to_owned();
        self.life.core.request(|slot| Request::CreateLog { name, options, slot })
    }

    pub(crate) fn log_handle(&self, state: Arc<LogState>) -> Log {
        Log { core: self.life.core.clone(), state, store: self.clone() }
    }

    /// The log of this name.
    ///
    /// # Errors
    /// [`Error::NoSuchLog`]; [`Error::InvalidName`] for one of the engine's own; [`Error::Damaged`] if the page of the manifest that would have it can't be read.
    pub fn log(&self, name: &str) -> Result<Log> {
        check_not_internal(name)?;
        self.internal_log(name)
    }

    /// As [`Store::log`], also of a name that is the engine's.
    pub(crate) fn internal_log(&self, name: &str) -> Result<Log> {
        Ok(self.log_handle(self.life.core.log_by_name(name)?))
    }

    /// The log of this name, created if there is none. Options only count for a new one.
    ///
    /// # Errors
    /// As [`Store::create_log`].
    pub fn open_or_create_log(&self, name: &str, options: LogOptions) -> Result<Log> {
        match self.log(name) {
            Err(Error::NoSuchLog { .. }) => match self.create_log(name, options) {
                Err(Error::LogExists { .. }) => self.log(name),
                other => other,
            },
            other => other,
        }
    }

    /// Names of all logs, sorted, without the engine's own. Reads the whole manifest.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Io`].
    pub fn log_names(&self) -> Result<Vec<String>> {
        let mut names = self.all_log_names()?;
        names.retain(|name| check_not_internal(name).is_ok());
        Ok(names)
    }

    /// As [`Store::log_names`], with the engine's own.
    pub(crate) fn all_log_names(&self) -> Result<Vec<String>> {
        self.life.core.names()
    }

    /// Deletes a log. Durable when it returns; readers of it end with [`Error::LogDeleted`], and its space is given back by
    /// the next checkpoint. A log created later under the name is another log.
    ///
    /// # Errors
    /// [`Error::NoSuchLog`], and what any write may answer. [`Error::OutcomeUnknown`] also when it was not durable within the append
    /// deadline; after a crash the log may then be there, whole or, where its room was needed, empty.
    pub fn delete_log(&self, name: &str) -> Result<()> {
        self.delete_log_ticket(name)?.wait_within(self.life.core.patience(), "delete", &format!("log {name:?}"))
    }

    pub(crate) fn delete_log_ticket(&self, name: &str) -> Result<Pending<()>> {
        check_not_internal(name)?;
        let core = &self.life.core;
        let log = core.log_by_name(name)?;
        let pending = core.request(|slot| Request::DeleteLog { log: log.clone(), slot })?;
        core.ask_trim(&log, SequenceNumber::MAX);
        Ok(pending)
    }

    /// Hands over a transaction. What it answers is durable, and so is everything a refusal was based on.
    ///
    /// On a full disk those go on that give room: they delete or trim logs, and create none, give none a longer retention and append no
    /// more than some rows that go with that.
    ///
    /// # Errors
    /// [`Error::EmptyBatch`], [`Error::TransactionTooLarge`], [`Error::Full`], [`Error::Busy`]; when waited for,
    /// [`Error::Conflict`] and what a precondition answered.
    pub fn commit(&self, transaction: Transaction) -> Result<Pending<Committed>> {
        let core = &self.life.core;
        if transaction.is_empty() {
            return Err(Error::EmptyBatch);
        }
        let bytes = transaction.bytes();
        let max = core.largest_append();
        if bytes > max {
            return Err(Error::TransactionTooLarge { bytes, max });
        }
        match core.admit(bytes as u64, || core.deadline()) {
            Err(Error::Full { .. }) if transaction.gives_room() && core.budget.reserve_beyond(bytes as u64) => {}
            admitted => admitted?,
        }
        core.request(|slot| Request::Transaction { transaction, slot })
            .inspect_err(|_| core.budget.release(bytes as u64))
    }

    /// Hands over a transaction and waits for it, no longer than a blocking append may take: a disk that hangs must not hang the
    /// caller. `what` is named in the error then.
    pub(crate) fn commit_within(&self, transaction: Transaction, what: &str) -> Result<Committed> {
        self.commit_or_leave(transaction, what, drop)
    }

    /// As [`Store::commit_within`]; `leave` is given what is still under way when the caller does not wait any longer.
    pub(crate) fn commit_or_leave(
        &self,
        transaction: Transaction,
        what: &str,
        leave: impl FnOnce(Arc<Turn>),
    ) -> Result<Committed> {
        let until = Instant::now() + self.life.core.patience();
        let pending = self.commit(transaction)?;
        let turn = pending.turn().clone();
        let outcome = pending.wait_within(until.saturating_duration_since(Instant::now()), "commit", what);
        if matches!(outcome, Err(Error::OutcomeUnknown { .. })) && !turn.is_resolved() {
            leave(turn);
        }
        outcome
    }

    /// A view of several logs as of one journal frame: of a transaction it shows everything or nothing.
    pub fn snapshot(&self, logs: &[&Log]) -> Snapshot {
        let _all_of_it = self.life.core.publishing.lock();
        let ends = logs.iter().map(|log| ((*log).clone(), log.state.high())).collect();
        Snapshot { frame: self.life.core.durable_frame(), ends }
    }

    /// Writes what memory holds to segments and takes a checkpoint, so that the next open has nothing to replay. Blocks.
    ///
    /// # Errors
    /// Why the store takes no writes, if it doesn't: [`Error::ReadOnly`], [`Error::Full`], [`Error::Stopped`]. [`Error::Io`] if it could not be taken just now, for want of descriptors for example:
    /// nothing is lost, and it is tried again.
    pub fn checkpoint(&self) -> Result<()> {
        let core = &self.life.core;
        if self.life.read_only {
            return Err(core.refusal());
        }
        let (checkpoints, changed) = &core.checkpoints;
        let mut ended = checkpoints.lock();
        // The one that may be under way began before this call: the one after it counts.
        let (wanted, failed_before) = (ended.made + 2, ended.failed);
        core.ask_checkpoint();
        while ended.made < wanted {
            if ended.failed >= failed_before + 2
                && let Some(error) = &ended.last_error
            {
                return Err(error.clone());
            }
            if !core.health.is_ok() || core.is_closed() {
                return Err(core.refusal());
            }
            drop(changed.wait_timeout(ended, Duration::from_millis(50)));
            core.ask_checkpoint();
            ended = checkpoints.lock();
        }
        Ok(())
    }

    /// Copies the store as of now into the empty directory `path`, while it is being used. The copy is a store of its own.
    ///
    /// It is as a crash at one moment of the call would have left the store, with everything that was acknowledged before the call.
    /// What is damaged in a store is so in the copy, and one that had no room goes on where there is some. A checkpoint comes first,
    /// and no other while the manifest and what is left in the journal are copied.
    ///
    /// Of streams, shard iterators are of the store that issued them, and the copy refuses those of its original. Sequence numbers
    /// and checkpoints go on in it: it can't tell a number that its original gave out later from its own.
    ///
    /// # Errors
    /// [`Error::Stopped`] of the store: reopen it first. [`Error::NotAStore`] if the directory is not empty, [`Error::Io`],
    /// [`Error::Damaged`].
    pub fn backup(&self, path: impl AsRef<Path>) -> Result<backup::BackupReport> {
        backup::backup(self, &path.as_ref().display().to_string())
    }

    /// A snapshot of the counters.
    pub fn stats(&self) -> Stats {
        let core = &self.life.core;
        core.counters.pending_bytes.store(core.budget.used(), std::sync::atomic::Ordering::Relaxed);
        core.counters.lag_bytes.store(core.budget.lag(), std::sync::atomic::Ordering::Relaxed);
        core.counters.snapshot(core.env.disk.kind(), core.files.pins(), core.latency.percentiles())
    }

    /// Whether the store takes writes, and if not, why.
    pub fn health(&self) -> Health {
        self.life.core.health.get()
    }

    /// Calls `callback` when the health becomes another kind of health, from the thread that notices it. It must not block. What the
    /// health is by then, [`Store::health`] says.
    ///
    /// ```
    /// # fn main() -> braidlog::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use std::sync::mpsc;
    /// use braidlog::{Health, Store};
    /// let store = Store::open(dir.path())?;
    /// let (changed, changes) = mpsc::channel();
    /// store.on_health(move |health| drop(changed.send(health.clone())));
    /// assert_eq!(store.health(), Health::Ok);
    /// assert!(changes.try_recv().is_err(), "nothing has changed");
    /// # store.close()
    /// # }
    /// ```
    pub fn on_health(&self, callback: impl Fn(&Health) + Send + Sync + 'static) {
        self.life.core.health.subscribe(Arc::new(callback));
    }

    /// The damaged places that the scrub found, the newest last: the last 64 since the store was opened, less those that a later pass
    /// over everything did not find again. A place costs the records it names and no others; the store goes on.
    ///
    /// ```
    /// # fn main() -> braidlog::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = braidlog::Store::open(dir.path())?;
    /// for finding in store.scrub_findings() {
    ///     eprintln!("{finding}"); // file, position, log, records, and what to do
    /// }
    /// # store.close()
    /// # }
    /// ```
    pub fn scrub_findings(&self) -> Vec<ScrubFinding> {
        self.life.core.scrub_findings.get()
    }

    /// Calls `callback` when the scrub comes to a damaged place that is not among those of [`Store::scrub_findings`], from the thread
    /// that looks after the store. It must not block. A device that fails at many places has it called for each.
    ///
    /// ```
    /// # fn main() -> braidlog::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = braidlog::Store::open(dir.path())?;
    /// store.on_scrub_finding(|finding| eprintln!("{finding}"));
    /// # store.close()
    /// # }
    /// ```
    pub fn on_scrub_finding(&self, callback: impl Fn(&ScrubFinding) + Send + Sync + 'static) {
        self.life.core.scrub_findings.subscribe(Arc::new(callback));
    }

    /// Takes the wall clock as it is after it jumped: retention, held back until now, goes on by it.
    ///
    /// ```
    /// # fn main() -> braidlog::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = braidlog::Store::open(dir.path())?;
    /// // Somebody looked, and the year is right: what is older than its log keeps may go.
    /// store.accept_clock();
    /// # Ok(())
    /// # }
    /// ```
    pub fn accept_clock(&self) {
        let core = &self.life.core;
        core.believe_clock();
    }

    /// Waits for everything appended, takes a checkpoint, marks the end as clean and ends the threads. Other handles of the
    /// store, its logs and readers among them, answer [`Error::Closed`] from now on; it can be opened again when the last of them is
    /// dropped. Records may be kept. Who closes a store that is being closed waits, and is answered the same.
    ///
    /// # Errors
    /// What stopped the store, or the checkpoint; what was acknowledged is there all the same.
    pub fn close(self) -> Result<()> {
        self.life.end(true)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("root", &self.life.core.env.disk.root()).field("health", &self.health()).finish()
    }
}

impl Life {
    fn new(
        core: Arc<Core>,
        lock: std::sync::Arc<dyn crate::env::DiskLock>,
        report: OpenReport,
        read_only: bool,
    ) -> Life {
        let (threads, upkeep, outcome) = Default::default();
        Life { core, commit: OnceLock::new(), threads, upkeep, outcome, lock, report, read_only }
    }

    /// Ends the store, once; with an end in order who comes later waits, and is told how it went.
    fn end(&self, clean: bool) -> Result<()> {
        if !self.core.close(clean) {
            let ended = Ended(&self.outcome);
            let outcome = self.end_once(clean);
            *ended.0.0.lock() = Some(outcome.clone());
            return outcome;
        }
        // A dropped handle waits for nobody, nor does a thread that whoever came first waits for.
        if !clean || std::thread::current().name().is_some_and(|name| [COMMIT, BUFFERED, UPKEEP].contains(&name)) {
            return Ok(());
        }
        let (outcome, ended) = &self.outcome;
        let mut outcome = outcome.lock();
        loop {
            match &*outcome {
                Some(outcome) => return outcome.clone(),
                None => outcome = ended.wait(outcome),
            }
        }
    }

    fn end_once(&self, clean: bool) -> Result<()> {
        let core = &self.core;
        core.buffered_lane.close();
        core.commit_lane.close();
        if !clean {
            core.upkeep.close();
        }
        core.wake_everyone();
        let mut threads = std::mem::take(&mut *self.threads.lock());
        // Upkeep makes the room that the others may still need; the last to be waited for, it is told to end when they have.
        threads.sort_by_key(|thread| thread.thread().name() == Some(UPKEEP));
        let threaded = !threads.is_empty();
        // A dropped handle waits for the threads so that the store can be opened again at once, but not for ever: a disk that
        // hangs must not hang the caller. A thread that holds the last handle does not wait for itself.
        let patience = if clean { None } else { Some(Instant::now() + DROP_PATIENCE) };
        for thread in threads.into_iter().filter(|t| t.thread().id() != std::thread::current().id()) {
            if thread.thread().name() == Some(UPKEEP) {
                core.upkeep.close();
            }
            while patience.is_some_and(|until| Instant::now() < until) && !thread.is_finished() {
                std::thread::sleep(Duration::from_micros(200));
            }
            if clean || thread.is_finished() {
                let _ = thread.join();
            }
        }
        let read_only = self.read_only || matches!(core.health.get(), Health::ReadOnly { .. });
        if read_only || !clean || !threaded {
            return Ok(());
        }
        if core.health.is_stopped() {
            return Err(match core.health.get() {
                Health::Stopped { cause } => Error::Stopped { cause },
                _ => Error::Closed,
            });
        }
        Buffered::end(core);
        let upkeep = self.upkeep.lock().take();
        let _held = core.hold_upkeep();
        upkeep.unwrap_or_else(|| Upkeep::new(core.clone())).checkpoint(true)
    }
}

/// Tells those who wait for the end of a store, however it comes.
struct Ended<'a>(&'a (Mutex<Option<Result<()>>>, Condvar));

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let (outcome, ended) = self.0;
        outcome.lock().get_or_insert(Err(Error::Closed));
        ended.notify_all();
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let _ = self.end(false);
    }
}
