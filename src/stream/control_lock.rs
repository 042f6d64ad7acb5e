//! Control operations come one after the other, each from its look at what there is until its change is durable; and none keeps
//! its caller for longer than a blocking append may take, whatever the disk does.
//!
//! What a change means for the streams in memory is applied once it is durable. So where a caller gave up waiting, the next
//! operation first waits for that change: it would build on what is about to be replaced otherwise.

use std::time::Instant;

use crate::core::Core;
use crate::error::Result;
use crate::format::stream::EngineRow;
use crate::store::Store;
use crate::sync::{Arc, Condvar, Mutex, MutexGuard};
use crate::ticket::Turn;
use crate::transaction::{Committed, Transaction};

/// The highest second that a shard of any account in the store was born in: numbers of one account mean nothing to another. An account
/// that nobody asked for in this life is not known; it had the seconds of its time, as all do that don't reshard every second.
pub(crate) type Births = Arc<Mutex<u64>>;

/// Held by whoever changes what there is.
pub(crate) struct ControlLock {
    control: Mutex<Control>,
    births: Births,
    freed: Condvar,
}

struct Control {
    is_held: bool,
    engine: EngineRow,
    /// A change that nobody waits for any more, and that may still happen.
    unsettled: Option<Arc<Turn>>,
}

impl ControlLock {
    pub(crate) fn new(engine: EngineRow, births: Births) -> ControlLock {
        {
            let mut last_s = births.lock();
            *last_s = engine.last_birth_s.max(*last_s);
        }
        ControlLock {
            control: Mutex::new(Control { is_held: false, engine, unsettled: None }),
            births,
            freed: Condvar::default(),
        }
    }

    /// The right to change something, once nobody else is about to.
    ///
    /// # Errors
    /// [`crate::Error::Busy`] when that takes longer than a blocking append may, and what else keeps a store from taking writes.
    pub(crate) fn lock(&self, core: &Core) -> Result<ControlGuard<'_>> {
        let until = Instant::now() + core.patience();
        let left = || until.saturating_duration_since(Instant::now());
        let mut control = self.control.lock();
        while control.is_held {
            let left = left();
            if left.is_zero() {
                return Err(core.refusal());
            }
            control = self.freed.wait_timeout(control, left);
        }
        control.is_held = true;
        let unsettled = control.unsettled.clone();
        drop(control);
        let guard = ControlGuard(self);
        if let Some(turn) = unsettled {
            // Whatever came of it: what there is says so now.
            turn.wait_for(left()).ok_or_else(|| core.refusal())?.ok();
            guard.control().unsettled = None;
        }
        Ok(guard)
    }
}

/// The right to change what there is, until it is dropped.
pub(crate) struct ControlGuard<'a>(&'a ControlLock);

impl ControlGuard<'_> {
    fn control(&self) -> MutexGuard<'_, Control> {
        self.0.control.lock()
    }

    /// The row of the engine with the second that the numbers of new shards begin with: above every one before, of other accounts,
    /// too, so that they tell shards apart. It is used up, whether or not the row is written.
    pub(crate) fn next_birth(&self, now_ms: u64) -> EngineRow {
        let engine = &mut self.control().engine;
        let mut last_s = self.0.births.lock();
        *last_s = (now_ms / 1000).max(*last_s + 1);
        engine.last_birth_s = *last_s;
        engine.clone()
    }

    /// Changes something, durably. `what` is named where that is not known in time.
    ///
    /// # Errors
    /// As [`Store::commit_within`].
    pub(crate) fn commit(&self, store: &Store, transaction: Transaction, what: &str) -> Result<Committed> {
        store.commit_or_leave(transaction, what, |turn| self.control().unsettled = Some(turn))
    }
}

impl Drop for ControlGuard<'_> {
    fn drop(&mut self) {
        self.control().is_held = false;
        self.0.freed.notify_one();
    }
}
