//! A store without threads, for tests: every step of every machine is taken by the caller, so a whole history is
//! deterministic.

use std::cell::RefCell;

use crate::backup::{self, BackupReport};
use crate::core::Core;
use crate::driver::{Commit, Upkeep};
use crate::engine::{Engine, EngineOptions};
use crate::env::Env;
use crate::error::Result;
use crate::format::batch::RecordParts;
use crate::id::SequenceNumber;
use crate::log::Log;
use crate::options::{LogOptions, StoreOptions};
use crate::store::{Machines, Store};
use crate::sync::{Arc, Mutex};
use crate::ticket::{Pending, Ticket};

/// The machines, each of which one caller at a time steps.
struct Stepping {
    commit: Mutex<Commit>,
    upkeep: Mutex<Upkeep>,
}

/// A store whose machines the caller steps.
///
/// Calls that wait for durability would wait for ever, so tests use tickets: [`Log::try_append_batch`],
/// [`Store::commit`], and the methods here for the rest. A clone is another handle of the same machines: for who steps one of them
/// beside another.
#[derive(Clone)]
pub struct ManualStore {
    machines: Arc<Stepping>,
    store: Store,
}

impl ManualStore {
    /// Opens a store on the given parts.
    ///
    /// # Errors
    /// As [`Store::open_in`].
    pub fn open(env: Env, options: StoreOptions) -> Result<ManualStore> {
        let (store, Machines { commit, upkeep }) = Store::assemble(env, options, false)?;
        upkeep.sweep_retired();
        let machines = Stepping { commit: Mutex::new(commit), upkeep: Mutex::new(upkeep) };
        Ok(ManualStore { machines: Arc::new(machines), store })
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// One step of the commit machine; false when it has nothing to do or waits for room in the journal.
    pub fn commit_step(&mut self) -> bool {
        self.machines.commit.lock().step(true)
    }

    /// As [`ManualStore::commit_step`] without waiting for a completion: more may gather behind a frame in flight.
    pub fn commit_step_without_waiting(&mut self) -> bool {
        self.machines.commit.lock().step(false)
    }

    /// One step of the buffered lane.
    pub fn buffered_step(&mut self) -> bool {
        let core = self.store.core();
        core.buffered.lock().step(core)
    }

    /// What a blocking append to a buffered log does first: it writes the records itself, if nobody else's wait. `None` if they
    /// do: then nothing was done.
    ///
    /// # Errors
    /// As [`Log::append_batch`].
    pub fn append_alone(&self, log: &Log, records: &[RecordParts<'_>]) -> Result<Option<Ticket>> {
        let records = records.iter().copied();
        Ok(log.append_alone(records.clone(), log.size_of(records)?))
    }

    /// Everything that is due behind the appends.
    pub fn upkeep_step(&mut self) {
        self.machines.upkeep.lock().step();
    }

    /// Writes the frame that says what is durable, as an idle store does.
    pub fn mark(&mut self) {
        let mut commit = self.machines.commit.lock();
        commit.mark();
        while commit.step(true) {}
    }

    /// Steps all machines until nothing is left to do, checkpointing when the journal has no room.
    pub fn settle(&mut self) {
        let mut commit = self.machines.commit.lock();
        for _ in 0..1000 {
            while commit.step(true) {}
            let buffered = self.store.core().buffered.lock().step(self.store.core());
            if commit.is_stalled() {
                // What one look gives back is room for the next.
                let goes_on = (0..2).any(|_| {
                    self.machines.upkeep.lock().step();
                    commit.step(true)
                });
                if goes_on {
                    continue;
                }
                return;
            }
            if !buffered {
                return;
            }
        }
    }

    /// What dropping the last handle does first: nobody waits for the machines any longer than for a while.
    pub fn abandon(&self) {
        self.store.core().close(false);
    }

    /// Takes a checkpoint.
    ///
    /// # Errors
    /// What prevented it.
    pub fn checkpoint(&mut self) -> Result<()> {
        self.machines.upkeep.lock().checkpoint(false)
    }

    /// Copies the store to another root of its disk.
    ///
    /// # Errors
    /// As [`Store::backup`].
    pub fn backup(&mut self, root: &str) -> Result<BackupReport> {
        let upkeep = &self.machines.upkeep;
        backup::backup_behind(&self.store, root, || upkeep.lock().checkpoint(false))
    }

    /// Ends the store in order: everything appended is settled, and a clean end is marked.
    ///
    /// # Errors
    /// What prevented it.
    pub fn close(mut self) -> Result<()> {
        self.settle();
        self.machines.upkeep.lock().checkpoint(true)
    }

    /// Starts creating a log.
    ///
    /// # Errors
    /// As [`Store::create_log`].
    pub fn create_log(&self, name: &str, options: LogOptions) -> Result<ManualLog> {
        Ok(ManualLog { pending: self.store.create_log_ticket(name, options)?, store: self.store.clone() })
    }

    /// Starts deleting a log.
    ///
    /// # Errors
    /// As [`Store::delete_log`].
    pub fn delete_log(&self, name: &str) -> Result<Pending<()>> {
        self.store.delete_log_ticket(name)
    }

    /// Starts a trim.
    ///
    /// # Errors
    /// As [`Log::trim`].
    pub fn trim(&self, log: &Log, upto: SequenceNumber) -> Result<Pending<SequenceNumber>> {
        log.trim_ticket(upto)
    }
}

/// A log that is being created.
pub struct ManualLog {
    pending: Pending<Arc<crate::log::LogState>>,
    store: Store,
}

impl ManualLog {
    /// The log, once it is durable; given once.
    pub fn try_get(&mut self) -> Option<Result<Log>> {
        Some(self.pending.try_get()?.map(|state| self.store.log_handle(state)))
    }
}

/// The machines of an engine, and what they share.
type Machinery = (Arc<Core>, Arc<Stepping>);

thread_local! {
    /// The machines of this thread's engines, the newest last.
    static STEPPED: RefCell<Vec<Machinery>> = const { RefCell::new(Vec::new()) };
}

/// Steps the machines of this thread's newest [`ManualEngine`] until `ready` holds or nothing is left to do; whether it holds.
/// `None` where there is no such engine.
pub(crate) fn step_until(ready: impl Fn() -> bool) -> Option<bool> {
    let (core, machines) = STEPPED.with_borrow(|stepped| stepped.last().cloned())?;
    let mut commit = machines.commit.lock();
    let mut idle = 0;
    while !ready() {
        if commit.step(true) || core.buffered.lock().step(&core) {
            idle = 0;
        } else if idle == 2 {
            return Some(false);
        } else {
            // It may be room that is waited for, in the journal or in memory.
            machines.upkeep.lock().step();
            idle += 1;
        }
    }
    Some(true)
}

/// An engine whose machines run only while a call of the same thread waits, so that a whole history of blocking calls is
/// deterministic.
///
/// The newest one of a thread is the one that runs: one that is opened later is to be dropped before an older one goes on.
/// Handles must not be waited on from other threads.
pub struct ManualEngine {
    store: ManualStore,
    engine: Engine,
    _stepped: Stepped,
}

/// Machines that calls of this thread step.
struct Stepped(Arc<Stepping>);

impl Stepped {
    fn new(store: &ManualStore) -> Stepped {
        STEPPED.with_borrow_mut(|stepped| stepped.push((store.store.core().clone(), store.machines.clone())));
        Stepped(store.machines.clone())
    }
}

impl Drop for Stepped {
    fn drop(&mut self) {
        STEPPED.with_borrow_mut(|stepped| stepped.retain(|(_, machines)| !Arc::ptr_eq(machines, &self.0)));
    }
}

impl ManualEngine {
    /// Opens an engine on the given parts.
    ///
    /// # Errors
    /// As [`Engine::open_in`].
    pub fn open(env: Env, options: EngineOptions) -> Result<ManualEngine> {
        let store = ManualStore::open(env, options.store.clone())?;
        let stepped = Stepped::new(&store);
        let engine = Engine::on(store.store().clone(), options)?;
        Ok(ManualEngine { store, engine, _stepped: stepped })
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Its machines, to be stepped between calls.
    pub fn machines(&mut self) -> &mut ManualStore {
        &mut self.store
    }

    /// What is kept for streams and groups that are not there, and what is still to be carried on: nothing, once the engine has
    /// been opened.
    ///
    /// # Errors
    /// What looking at the logs may answer.
    pub fn left_over(&self) -> Result<Vec<String>> {
        self.engine.left_over()
    }

    /// Ends the engine in order.
    ///
    /// # Errors
    /// What prevented it.
    pub fn close(self) -> Result<()> {
        self.store.close()
    }
}
