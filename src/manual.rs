//! A store without threads, for tests: every step of every machine is taken by the caller, so a whole history is
//! deterministic.

use crate::env::Env;
use crate::error::Result;
use crate::id::SequenceNumber;
use crate::log::Log;
use crate::options::{LogOptions, StoreOptions};
use crate::store::{Machines, Store};
use crate::ticket::Pending;

/// A store whose machines the caller steps.
///
/// Calls that wait for durability would wait for ever, so tests use tickets: [`Log::try_append_batch`],
/// [`Store::commit`], and the methods here for the rest.
pub struct ManualStore {
    machines: Machines,
    store: Store,
}

impl ManualStore {
    /// Opens a store on the given parts.
    ///
    /// # Errors
    /// As [`Store::open_in`].
    pub fn open(env: Env, options: StoreOptions) -> Result<ManualStore> {
        let (store, machines) = Store::assemble(env, options, false)?;
        Ok(ManualStore { machines, store })
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// One step of the commit machine; false when it has nothing to do or waits for room in the journal.
    pub fn commit_step(&mut self) -> bool {
        self.machines.commit.step(true)
    }

    /// As [`ManualStore::commit_step`] without waiting for a completion: more may gather behind a frame in flight.
    pub fn commit_step_without_waiting(&mut self) -> bool {
        self.machines.commit.step(false)
    }

    /// One step of the buffered lane.
    pub fn buffered_step(&mut self) -> bool {
        let core = self.store.core();
        core.buffered.lock().step(core)
    }

    /// Everything that is due behind the appends.
    pub fn upkeep_step(&mut self) {
        self.machines.upkeep.step();
    }

    /// Writes the frame that says what is durable, as an idle store does.
    pub fn mark(&mut self) {
        self.machines.commit.mark();
        while self.machines.commit.step(true) {}
    }

    /// Steps all machines until nothing is left to do, checkpointing when the journal has no room.
    pub fn settle(&mut self) {
        for _ in 0..1000 {
            while self.machines.commit.step(true) {}
            let buffered = self.buffered_step();
            if self.machines.commit.is_stalled() {
                self.machines.upkeep.step();
                if self.machines.commit.step(true) {
                    continue;
                }
                return;
            }
            if !buffered {
                return;
            }
        }
    }

    /// Takes a checkpoint.
    ///
    /// # Errors
    /// What prevented it.
    pub fn checkpoint(&mut self) -> Result<()> {
        self.machines.upkeep.checkpoint(false)
    }

    /// Ends the store in order: everything appended is settled, and a clean end is marked.
    ///
    /// # Errors
    /// What prevented it.
    pub fn close(mut self) -> Result<()> {
        self.settle();
        self.machines.upkeep.checkpoint(true)
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
    pending: Pending<std::sync::Arc<crate::log::LogState>>,
    store: Store,
}

impl ManualLog {
    /// The log, once it is durable; given once.
    pub fn try_get(&mut self) -> Option<Result<Log>> {
        Some(self.pending.try_get()?.map(|state| self.store.log_handle(state)))
    }
}
