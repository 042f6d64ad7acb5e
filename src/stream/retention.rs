//! How long the records of a stream stay.
//!
//! The stream's row says it, and each shard's log goes by a rule of its own. A frame holds the rules of some thousand logs. Where a
//! stream has more shards, closed ones included, the row goes with the first of them, and an [`IntentRow`] says which logs are
//! left; they keep the old rule for as long as the frames take. Nobody sees that as more than a change that comes to one shard
//! a moment later than to another. What must be one frame is what happens to one log: its new rule, and the trim that keeps
//! hidden what the old one hid.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::format::stream::{self as rows, Intent, IntentRow, StreamRow};
use crate::log::AgeStop;
use crate::options::LogOptions;
use crate::sync::Arc;
use crate::table::Change;
use crate::transaction::Transaction;

use super::Stream;
use super::control_lock::ControlGuard;
use super::options::check_retention;
use super::shard::ShardId;

/// Of the log of a shard.
pub(crate) fn log_options(retention_hours: u32) -> LogOptions {
    LogOptions::new().retention_age(Some(Duration::from_secs(u64::from(retention_hours) * 3600)))
}

impl Stream {
    /// Sets how long records stay, in hours: 24 to 8,760. Less hides what is older at once; more brings nothing back.
    ///
    /// A stream of many shards takes more than one frame. Where one of them fails, some shards have it and the others get it from
    /// the engine's maintenance, or when it is opened again; so does who calls this again.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`].
    pub fn set_retention_hours(&self, hours: u32) -> Result<()> {
        check_retention(hours)?;
        let control = self.active()?;
        self.change_retention(&control, hours)
    }

    /// As [`Stream::set_retention_hours`], upwards only.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], also for what it is or less, as the service's model says of the number.
    pub fn increase_retention_hours(&self, hours: u32) -> Result<()> {
        check_retention(hours)?;
        let control = self.active()?;
        let is = self.state.row().retention_hours;
        if hours <= is {
            return Err(Error::invalid("RetentionPeriodHours", hours, format!("it must be more than it is now, {is}")));
        }
        self.change_retention(&control, hours)
    }

    /// As [`Stream::set_retention_hours`], downwards only.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], also for what it is or more, as the service's model says of the number.
    pub fn decrease_retention_hours(&self, hours: u32) -> Result<()> {
        check_retention(hours)?;
        let control = self.active()?;
        let is = self.state.row().retention_hours;
        if hours >= is {
            return Err(Error::invalid("RetentionPeriodHours", hours, format!("it must be less than it is now, {is}")));
        }
        self.change_retention(&control, hours)
    }

    fn change_retention(&self, control: &ControlGuard<'_>, hours: u32) -> Result<()> {
        let mut row = (*self.state.row()).clone();
        row.retention_hours = hours;
        self.retain(control, Some(row), 0)?;
        self.updated();
        Ok(())
    }

    /// Gives the logs of the shards from `from` on the rule of the stream's row, which is `row` from the first frame on, if given.
    pub(crate) fn retain(&self, control: &ControlGuard<'_>, mut row: Option<StreamRow>, from: u32) -> Result<()> {
        let mut next = Some(from);
        while let Some(from) = next {
            next = self.retain_some(control, row.take(), from)?;
        }
        Ok(())
    }

    /// One frame of it. Answers with the first shard that is left.
    fn retain_some(&self, control: &ControlGuard<'_>, row: Option<StreamRow>, from: u32) -> Result<Option<u32>> {
        let (shared, state) = (&self.shared, &self.state);
        let hours = row.as_ref().map_or_else(|| state.row().retention_hours, |row| row.retention_hours);
        let bytes_max = shared.step_bytes();
        let mut transaction = Transaction::new();
        let (mut stops, mut left) = (Vec::new(), None);
        for shard in state.shards().from(ShardId(from)) {
            if transaction.bytes() >= bytes_max {
                left = Some(shard.id.0);
                break;
            }
            let log = shard.log(&shared.store)?;
            // What has expired by the old rule stays so under a longer one.
            stops.push(log.stop_age());
            transaction.trim(log, log.horizon()?);
            transaction.set_options(log, log_options(hours))?;
        }
        let mut change = Change::default();
        if let Some(row) = &row {
            change.put(rows::stream_key(state.id), row.encode());
        }
        let intent = rows::intent_key(state.id, None);
        if let Some(from) = left {
            change.put(intent, IntentRow { what: Intent::Retain { from } }.encode());
        } else if shared.catalog.serial().row(&intent).is_some() {
            change.remove(intent);
        }
        if !change.is_empty() {
            shared.catalog.change(&mut transaction, change)?;
        }
        let stops = Arc::new(stops);
        let (once_durable, stream) = (stops.clone(), state.clone());
        transaction.once_durable(move |_| {
            once_durable.iter().for_each(AgeStop::go_on);
            if let Some(row) = row {
                stream.set_row(row);
            }
        });
        let outcome = self.commit(control, transaction);
        if matches!(outcome, Err(Error::OutcomeUnknown { .. })) {
            stops.iter().for_each(AgeStop::until_durable);
        }
        outcome.map(|()| left)
    }
}
