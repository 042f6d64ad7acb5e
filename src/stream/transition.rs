//! What a stream is between a control operation and its end, where [`EngineOptions::transition_time`] is not zero.
//!
//! 1. A split, a merge or a new number of shards is a row that says what is asked for. It is done when it is due, by whoever
//!    looks at the stream next or by the engine's thread, and the row goes in the frame that does it. So the stream has its old
//!    shards until it has the new ones, and a crash in between only means that somebody else does it.
//! 2. Everything else is done, durably, when the call returns. Only its status passes by; it is not kept, for after a reopen
//!    there is nothing left to wait for.
//!
//! [`EngineOptions::transition_time`]: crate::EngineOptions::transition_time

use std::time::Duration;

use crate::engine::Shared;
use crate::error::{Error, Result};
use crate::format::stream::{self as rows, Reshard, ReshardRow, ScalingRow};
use crate::limits::SHARDS_PER_STREAM_MAX;
use crate::table::Change;
use crate::transaction::Transaction;

use super::Stream;
use super::control_lock::ControlGuard;
use super::hash_key::{HashKey, HashKeyRange};
use super::list::StreamStatus;
use super::reshard::{self, Plan};
use super::shard::ShardId;

/// What is asked for, and when it is due by the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) what: Reshard,
    due_ms: u64,
}

/// What else a reshard does in its frame.
#[derive(Default)]
pub(crate) struct Also {
    /// The update of the shard count that begins with it.
    pub(crate) scaling: Option<ScalingRow>,
    /// What was asked for is done with it.
    pub(crate) is_asked: bool,
}

fn millis(time: Duration) -> u64 {
    time.as_millis().min(u128::from(u64::MAX)) as u64
}

impl Shared {
    /// Until when something lasts that begins now and takes so long, by the monotonic clock.
    pub(crate) fn until_ms(&self, time: Duration) -> u64 {
        self.monotonic_ms().saturating_add(millis(time))
    }

    /// What an earlier life was asked for. Its clock is not this one's, so the wall clock says how much of the time is left:
    /// never more than all of it.
    pub(crate) fn carried_on(&self, row: ReshardRow) -> Asked {
        let time_ms = millis(self.options.transition_time);
        let left_ms = match self.now_ms().checked_sub(row.asked_ms) {
            Some(passed_ms) => time_ms.saturating_sub(passed_ms),
            None => 0,
        };
        Asked { what: row.what, due_ms: self.monotonic_ms().saturating_add(left_ms) }
    }
}

impl Stream {
    /// Its status now.
    pub(crate) fn status(&self) -> StreamStatus {
        self.state.status(self.shared.monotonic_ms())
    }

    fn in_use(&self, status: StreamStatus) -> Error {
        let why = format!("it is {}, and has to be ACTIVE", status.name());
        Error::ResourceInUse { what: format!("stream {}", self.name()), why }
    }

    /// Why a stream that was deleted can't be used.
    fn check_deleted(&self) -> Result<()> {
        match self.state.check_alive() {
            Err(_) if self.state.is_passing(self.shared.monotonic_ms()) => Err(self.in_use(StreamStatus::Deleting)),
            other => other,
        }
    }

    /// Whether it takes and gives records.
    pub(crate) fn check_ready(&self) -> Result<()> {
        self.state.check_alive()?;
        // As the service: there is none until it is made.
        if self.state.may_be_creating() && self.status() == StreamStatus::Creating {
            return Err(Error::ResourceNotFound { what: format!("stream {}", self.name()) });
        }
        Ok(())
    }

    /// Whether it has been made and is not gone.
    pub(crate) fn check_made(&self) -> Result<()> {
        self.check_deleted()?;
        match self.status() {
            status @ (StreamStatus::Creating | StreamStatus::Deleting) => Err(self.in_use(status)),
            StreamStatus::Active | StreamStatus::Updating => Ok(()),
        }
    }

    /// As [`Stream::control`], of a stream that nothing is going on with.
    pub(crate) fn active(&self) -> Result<ControlGuard<'_>> {
        // If that fails it is not active.
        let _ = self.complete_due();
        let control = self.shared.control()?;
        self.check_deleted()?;
        match self.status() {
            StreamStatus::Active => Ok(control),
            status => Err(self.in_use(status)),
        }
    }

    /// As [`Stream::control`], of a stream that has been made.
    pub(crate) fn made(&self) -> Result<ControlGuard<'_>> {
        let control = self.shared.control()?;
        self.check_made()?;
        Ok(control)
    }

    /// A setting was changed.
    pub(crate) fn updated(&self) {
        let time = self.shared.options.transition_time;
        if !time.is_zero() {
            self.state.pass(StreamStatus::Updating, self.shared.until_ms(time));
        }
    }

    /// Does what is asked for: now, with the plan that is its first step, or as long after as it takes.
    pub(crate) fn ask(
        &self,
        control: ControlGuard<'_>,
        what: Reshard,
        plan: Plan,
        scaling: Option<ScalingRow>,
    ) -> Result<()> {
        let time = self.shared.options.transition_time;
        if time.is_zero() {
            return self.reshard(control, plan, Also { scaling, is_asked: false });
        }
        // What is accepted can be done: what can't be would leave the stream updating for ever.
        self.check_leases(None)?;
        let asked = Asked { what, due_ms: self.shared.until_ms(time) };
        let row = ReshardRow { asked_ms: self.shared.now_ms(), what };
        let mut change = Change::default();
        change.put(rows::reshard_key(self.state.id), row.encode());
        if let Some(scaling) = &scaling {
            change.put(rows::scaling_key(self.state.id), scaling.encode());
        }
        let mut transaction = Transaction::new();
        self.shared.catalog.change(&mut transaction, change)?;
        let state = self.state.clone();
        transaction.once_durable(move |_| {
            state.set_asked(Some(asked));
            if let Some(scaling) = scaling {
                state.set_scaling(scaling);
            }
        });
        self.commit(&control, transaction)
    }

    /// Does what is asked for, if it is due.
    ///
    /// # Errors
    /// What any write may answer; then it is still asked for.
    pub(crate) fn complete_due(&self) -> Result<()> {
        let is_due = |asked: &Asked| asked.due_ms <= self.shared.monotonic_ms();
        while self.state.asked().filter(is_due).is_some() {
            let control = self.shared.control()?;
            // Somebody else may have been faster, or have deleted the stream.
            let Some(asked) = self.state.asked().filter(is_due).filter(|_| self.state.check_alive().is_ok()) else {
                return Ok(());
            };
            let map = self.state.shards();
            let (plan, is_last) = match asked.what {
                Reshard::Split { shard, at } => (reshard::split(&map, ShardId(shard), HashKey(at)), true),
                Reshard::Merge { shard, adjacent } => (reshard::merge(&map, ShardId(shard), ShardId(adjacent)), true),
                Reshard::Scale { target } => (
                    Ok(reshard::towards(
                        &map,
                        &HashKeyRange::uniform(target.clamp(1, SHARDS_PER_STREAM_MAX)),
                        self.shards_at_once(),
                    )),
                    false,
                ),
            };
            match plan {
                Ok(plan) if !plan.closes.is_empty() => {
                    match self.reshard(control, plan, Also { scaling: None, is_asked: is_last }) {
                        // An engine before this one accepted more than it can do.
                        Err(Error::LimitExceeded { .. } | Error::TransactionTooLarge { .. }) => {
                            let control = self.shared.control()?;
                            if self.state.asked() == Some(asked) {
                                self.forget_asked(control)?;
                            }
                        }
                        outcome => outcome?,
                    }
                }
                // Done, or something that never can be: it was looked at when it was asked for.
                _ => self.forget_asked(control)?,
            }
        }
        Ok(())
    }

    fn forget_asked(&self, control: ControlGuard<'_>) -> Result<()> {
        let mut change = Change::default();
        change.remove(rows::reshard_key(self.state.id));
        let mut transaction = Transaction::new();
        self.shared.catalog.change(&mut transaction, change)?;
        let state = self.state.clone();
        transaction.once_durable(move |_| state.set_asked(None));
        self.commit(&control, transaction)
    }
}

/// How many shards `what` adds to so many.
pub(crate) fn more_shards(what: Option<Reshard>, open: usize) -> usize {
    match what {
        Some(Reshard::Split { .. }) => 1,
        Some(Reshard::Scale { target }) => (target as usize).saturating_sub(open),
        Some(Reshard::Merge { .. }) | None => 0,
    }
}
