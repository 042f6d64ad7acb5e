//! Deletions, and what else takes more than one frame.
//!
//! 1. The first frame takes away the row that a stream, or a group, is found by: when that is durable, it is gone for everybody.
//! 2. What else is kept for it is nobody's, and goes with the same frame as far as one frame should carry. Where that is not all,
//!    an [`IntentRow`] says so, and further frames take the rest. The last takes the intent, so that it is there exactly as long
//!    as there is something to do.
//! 3. Each of these is a control operation under one and the same guard. What a crash or a disk that fails leaves is carried on
//!    when the engine is opened and by its maintenance.

use std::time::Duration;

use crate::engine::{Engine, Shared};
use crate::error::{Error, Result};
use crate::format::change::row_len;
use crate::format::journal::ENTRY_BYTES;
use crate::format::stream::{self as rows, Intent, IntentRow};
use crate::log::Log;
use crate::sync::Arc;
use crate::table::Change;
use crate::transaction::Transaction;

use super::Stream;
use super::control_lock::ControlGuard;
use super::list::StreamStatus;
use super::shard::{ShardId, log_name};

/// What one frame of an operation takes that may take several: as much as the device writes in about the time of a sync, and no
/// appender waits long behind it.
const STEP_BYTES: usize = 1 << 20;

/// Logs that are deleted in one frame: the commit machine looks each of them up among all.
const LOGS_AT_ONCE: usize = 1024;

/// Rows besides those of the shards in a frame that deletes logs: it is let through where there is no room on the disk if it
/// takes little, see [`Transaction::gives_room`].
const ROWS_BESIDE_LOGS_BYTES: usize = 48 << 10;

/// A part of what is kept for a stream or a group that is gone.
#[derive(Default)]
struct Part {
    catalog: Change,
    leases: Change,
    logs: Vec<Log>,
    /// Nothing is left after it.
    is_all: bool,
}

/// Counts down.
struct Room(usize);

impl Room {
    fn takes(&mut self, bytes: usize) -> bool {
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

impl Shared {
    /// What one frame should carry of an operation that may take several. At most half of what fits the journal and a quarter of
    /// what fits in memory, so that there is room for what else goes with it.
    pub(crate) fn step_bytes(&self) -> usize {
        let core = self.store.core();
        let memory = usize::try_from(core.budget.max() / 4).unwrap_or(usize::MAX);
        STEP_BYTES.min(core.largest_append() / 2).min(memory)
    }

    /// What to remove next of a stream, or of a group of it. Values of leases may change meanwhile, but no row comes or goes
    /// without the right to change something, which the caller has.
    fn part(&self, stream: u64, group: Option<&str>) -> Result<Part> {
        let (catalog, leases) = (self.catalog.serial(), self.leases.serial());
        let mut part = Part { is_all: true, ..Part::default() };
        let mut room = Room(self.step_bytes());
        let mut lease_prefixes = Vec::new();
        match group {
            Some(group) => lease_prefixes.push(rows::lease_prefix(stream, group)),
            None => {
                let mut logs = 0;
                let fits = |key: &[u8]| {
                    logs += 1;
                    logs <= LOGS_AT_ONCE && room.takes(row_len(key, None) + 2 * ENTRY_BYTES)
                };
                let (shards, whole) = catalog.keys_while(&rows::keys_of(rows::SHARD_PREFIX, stream), fits);
                part.is_all &= whole;
                for key in shards {
                    let index = key.last_chunk().map_or(0, |index| u32::from_be_bytes(*index));
                    match self.store.internal_log(&log_name(stream, ShardId(index))) {
                        Ok(log) => part.logs.push(log),
                        Err(Error::NoSuchLog { .. }) => {}
                        Err(error) => return Err(error),
                    }
                    part.catalog.remove(key);
                }
                if !part.logs.is_empty() {
                    room.0 = room.0.min(ROWS_BESIDE_LOGS_BYTES);
                }
                let fits = |key: &[u8]| room.takes(row_len(key, None));
                let (consumers, whole) = catalog.keys_while(&rows::keys_of(rows::CONSUMER_PREFIX, stream), fits);
                part.is_all &= whole;
                for key in consumers {
                    part.catalog.remove(key);
                }
                lease_prefixes.push(rows::keys_of(rows::LEASE_PREFIX, stream));
                lease_prefixes.push(rows::keys_of(rows::GROUP_PREFIX, stream));
            }
        }
        for prefix in lease_prefixes {
            let (keys, whole) = leases.keys_while(&prefix, |key| room.takes(row_len(key, None)));
            part.is_all &= whole;
            for key in keys {
                part.leases.remove(key);
            }
        }
        Ok(part)
    }

    /// Makes a transaction remove a part of what is kept for a stream, or for a group of it, and note whether there is more.
    /// Answers with whether there is. `catalog` and `leases` are what else it changes.
    pub(crate) fn remove_part(
        &self,
        transaction: &mut Transaction,
        (mut catalog, mut leases): (Change, Change),
        stream: u64,
        group: Option<&str>,
    ) -> Result<bool> {
        let part = self.part(stream, group)?;
        catalog.append(part.catalog);
        leases.append(part.leases);
        let intent = rows::intent_key(stream, group);
        if !part.is_all {
            catalog.put(intent, IntentRow { what: Intent::Delete }.encode());
        } else if self.catalog.serial().row(&intent).is_some() {
            catalog.remove(intent);
        }
        if !catalog.is_empty() {
            self.catalog.change(transaction, catalog)?;
        }
        if !leases.is_empty() {
            self.leases.change(transaction, leases)?;
        }
        for log in &part.logs {
            transaction.delete_log(log);
        }
        Ok(!part.is_all)
    }

    /// Removes what is left of a stream, or of a group of it, if anything is.
    pub(crate) fn finish_deletion(&self, control: &ControlGuard<'_>, stream: u64, group: Option<&str>) -> Result<()> {
        let intent = rows::intent_key(stream, group);
        while self.catalog.serial().row(&intent).is_some() {
            let mut transaction = Transaction::new();
            self.remove_part(&mut transaction, Default::default(), stream, group)?;
            control.commit(&self.store, transaction, "what is left of a deletion")?;
        }
        Ok(())
    }
}

impl Engine {
    /// Carries on what takes more than one frame and was left by a crash, or by a disk that failed.
    ///
    /// # Errors
    /// What any write may answer: the first that was met. It is still to be carried on then.
    pub(crate) fn carry_on(&self) -> Result<()> {
        let shared = &self.shared;
        if shared.catalog.rows(rows::INTENT_PREFIX).is_empty() {
            return Ok(());
        }
        let control = shared.control()?;
        let mut first = Ok(());
        for (key, row) in shared.catalog.rows(rows::INTENT_PREFIX) {
            let outcome = self.carry_on_with(&control, &key, &row);
            first = first.and(outcome);
        }
        first
    }

    fn carry_on_with(&self, control: &ControlGuard<'_>, key: &[u8], row: &[u8]) -> Result<()> {
        let damaged = |what| Error::damaged("the catalog of streams", 0)(what);
        let (stream, group) = rows::parse_key(key).map_err(damaged)?;
        let group = std::str::from_utf8(group).map_err(|_| damaged(crate::format::Damage::Bounds))?;
        match IntentRow::decode(row).map_err(damaged)?.what {
            Intent::Delete => {
                self.shared.finish_deletion(control, stream, Some(group).filter(|group| !group.is_empty()))
            }
            Intent::Retain { from } => {
                let streams = self.shared.streams.read().unwrap_or_else(|p| p.into_inner());
                let state = streams.by_id.get(&stream).cloned();
                drop(streams);
                // Where the stream is deleted, that is the intent.
                state.map_or(Ok(()), |state| Stream { shared: self.shared.clone(), state }.retain(control, None, from))
            }
        }
    }
}

impl Stream {
    pub(crate) fn delete(&self, enforce_consumer_deletion: bool) -> Result<()> {
        let control = self.active()?;
        let consumers = self.state.consumers().len();
        if consumers > 0 && !enforce_consumer_deletion {
            let why = format!("it has {consumers} registered consumers");
            return Err(Error::ResourceInUse { what: format!("stream {}", self.name()), why });
        }
        self.delete_with(control, self.shared.options.transition_time)
    }

    /// Whatever is going on with it, and its name is free when this returns.
    #[cfg(feature = "server")]
    pub(crate) fn delete_at_once(&self) -> Result<()> {
        self.delete_with(self.control()?, Duration::ZERO)
    }

    /// `time`: how long its name stays taken.
    fn delete_with(&self, control: ControlGuard<'_>, time: Duration) -> Result<()> {
        let id = self.state.id;
        let mut catalog = Change::default();
        catalog.remove(rows::stream_key(id)).remove(rows::scaling_key(id)).remove(rows::reshard_key(id));
        let mut transaction = Transaction::new();
        let is_more = self.shared.remove_part(&mut transaction, (catalog, Change::default()), id, None)?;
        let (shared, state) = (Arc::downgrade(&self.shared), self.state.clone());
        let until_ms = (!time.is_zero()).then(|| self.shared.until_ms(time));
        transaction.once_durable(move |_| {
            if let Some(until_ms) = until_ms {
                state.pass(StreamStatus::Deleting, until_ms);
            }
            state.set_deleted();
            state.groups.lock().values().for_each(|group| group.end());
            let Some(shared) = shared.upgrade() else { return };
            let mut streams = shared.streams.write().unwrap_or_else(|p| p.into_inner());
            streams.by_id.remove(&state.id);
            streams.by_name.remove(&state.name);
            if until_ms.is_some() {
                streams.deleting.insert(state.name.clone(), state);
            }
        });
        self.commit(&control, transaction)?;
        if is_more {
            // The stream is gone, durably. What can't be removed now is carried on by the maintenance.
            let _ = self.shared.finish_deletion(&control, id, None);
        }
        Ok(())
    }
}

/// For tests: what there is and should not be.
#[cfg(feature = "sim")]
impl Engine {
    /// Rows and logs that are kept for streams and groups which are not there, and what is still to be carried on.
    pub(crate) fn left_over(&self) -> Result<Vec<String>> {
        let (catalog, leases) = (self.shared.catalog.serial(), self.shared.leases.serial());
        let is_there = |id: u64| catalog.row(&rows::stream_key(id)).is_some();
        let mut left = Vec::new();
        let mut note = |key: &[u8], is_left: bool| left.extend(is_left.then(|| format!("row {}", key.escape_ascii())));
        for (key, _) in self.shared.catalog.rows(b"") {
            let of = rows::parse_key(&key).ok().filter(|_| key != rows::ENGINE_KEY);
            note(&key, key.starts_with(rows::INTENT_PREFIX) || of.is_some_and(|(id, _)| !is_there(id)));
        }
        for (key, _) in self.shared.leases.rows(b"") {
            let Ok((id, rest)) = rows::parse_key(&key) else { continue };
            // A lease has the length of its group's name, and the name, before the shard.
            let group = key.starts_with(rows::LEASE_PREFIX).then(|| &rest[1..rest.len().max(5) - 4]);
            let no_group = group.is_some_and(|group| {
                leases.row(&[rows::keys_of(rows::GROUP_PREFIX, id), group.to_vec()].concat()).is_none()
            });
            note(&key, no_group || !is_there(id));
        }
        for name in self.shared.store.all_log_names()? {
            let Some(rest) = name.strip_prefix(&format!("{}stream/", crate::options::INTERNAL_PREFIX)) else {
                continue;
            };
            let id = rest.get(..16).and_then(|id| u64::from_str_radix(id, 16).ok());
            left.extend((!id.is_some_and(is_there)).then(|| format!("log {name}")));
        }
        Ok(left)
    }
}
