//! Control operations: they make, change and delete streams, one after the other.
//!
//! Each is one transaction: rows of the catalog, and the logs it creates, closes or deletes. What callers see of it (settings,
//! shards, names) moves when it is durable.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::Shared;
use crate::error::{Error, Result};
use crate::format::stream::{self as rows, Reshard, ScalingRow, ShardRow, StreamRow};
use crate::limits::{CREATING_MAX, ENCRYPTION_CHANGES_PER_DAY, ENCRYPTION_KEY_BYTES_MAX, POLICY_BYTES_MAX};
use crate::sync::{Arc, Mutex};
use crate::table::Change;
use crate::transaction::Transaction;

use super::Stream;
use super::control_lock::ControlGuard;
use super::hash_key::{HashKey, HashKeyRange};
use super::list::StreamStatus;
use super::on_demand::Maintenance;
use super::options::{
    Distribution, ShardMetric, StreamMode, StreamOptions, check_distribution, check_max_record, check_name,
    check_shard_count, check_tags, check_warm_throughput, distribution_of, mode_of,
};
use super::reshard::{self, Plan};
use super::retention::log_options;
use super::shard::{ShardId, ShardMap, ShardState, log_name};
use super::state::StreamState;
use super::transition::{Also, more_shards};

/// How long an update of the shard count counts.
const DAY_MS: u64 = 24 * 3_600_000;

/// Most shards that change in one transaction while a stream is scaled, see [`Stream::shards_at_once`].
pub(crate) const SHARDS_AT_ONCE: usize = 256;

/// Of a shard that is made or closed: its log's name and row, its own row, entries.
pub(crate) const RESHARD_BYTES_PER_SHARD: usize = 1024;

impl Shared {
    /// Open shards of all streams, with those that were asked for.
    fn open_shards(&self) -> usize {
        let streams = self.streams.read().unwrap_or_else(|p| p.into_inner());
        let shards = |stream: &Arc<StreamState>| {
            let open = stream.shards().open().len();
            open + more_shards(stream.asked().map(|asked| asked.what), open)
        };
        streams.by_name.values().map(shards).sum()
    }

    fn check_open_shards(&self, more: usize) -> Result<()> {
        let max = self.options.open_shards_max as usize;
        if self.open_shards() + more > max {
            return Err(Error::LimitExceeded { what: format!("{max} open shards in the account") });
        }
        Ok(())
    }

    fn check_name_free(&self, name: &str) -> Result<()> {
        let mut streams = self.streams.write().unwrap_or_else(|p| p.into_inner());
        let now_ms = self.monotonic_ms();
        streams.deleting.retain(|_, state| state.is_passing(now_ms));
        let why = match (streams.by_name.contains_key(name), streams.deleting.contains_key(name)) {
            (true, _) => "it exists already",
            (false, true) => "it is being deleted",
            (false, false) => return Ok(()),
        };
        Err(Error::ResourceInUse { what: format!("stream {name}"), why: why.to_owned() })
    }

    /// Whether one more stream may be made while others are.
    fn check_creating(&self) -> Result<()> {
        let (now_ms, streams) = (self.monotonic_ms(), self.streams.read().unwrap_or_else(|p| p.into_inner()));
        let creating = streams.by_name.values().filter(|state| state.status(now_ms) == StreamStatus::Creating).count();
        if creating >= CREATING_MAX {
            return Err(Error::LimitExceeded { what: format!("{CREATING_MAX} streams that are CREATING at a time") });
        }
        Ok(())
    }
}

impl Stream {
    /// `time`: how long it is being made.
    pub(crate) fn create(shared: &Arc<Shared>, name: &str, options: StreamOptions, time: Duration) -> Result<Stream> {
        check_name("StreamName", name)?;
        options.check()?;
        let control = shared.control()?;
        shared.check_name_free(name)?;
        if !time.is_zero() {
            shared.check_creating()?;
        }
        shared.check_open_shards(options.shard_count() as usize)?;
        let now_ms = shared.now_ms();
        let engine = control.next_birth(now_ms);
        let birth_s = engine.last_birth_s;
        let id = loop {
            let id = shared.store.core().env.random.next_u64();
            if !shared.streams.read().unwrap_or_else(|p| p.into_inner()).by_id.contains_key(&id) {
                break id;
            }
        };
        let row = StreamRow {
            id,
            name: name.to_owned(),
            created_ms: now_ms,
            mode: u8::from(options.mode == StreamMode::OnDemand),
            distribution: u8::from(options.distribution == Distribution::Auto),
            metrics: 0,
            retention_hours: options.retention_hours,
            max_record_kib: options.max_record_kib,
            next_shard: options.shard_count(),
            warm_throughput_mib: options.warm_throughput_mib.unwrap_or(0),
            encryption_key: String::new(),
            policy: String::new(),
            tags: sorted(options.tags.clone()),
        };
        let mut change = Change::default();
        change.put(rows::ENGINE_KEY.to_vec(), engine.encode()).put(rows::stream_key(id), row.encode());
        let mut transaction = Transaction::new();
        let mut shards = Vec::new();
        for (range, index) in HashKeyRange::uniform(options.shard_count()).into_iter().zip(0..) {
            let shard = ShardRow {
                start: range.start.0,
                end: range.end.0,
                parent: None,
                adjacent_parent: None,
                birth_s,
                opened_ms: now_ms,
                closed_ms: None,
            };
            change.put(rows::shard_key(id, index), shard.encode());
            let shard = ShardState::new(id, ShardId(index), shard, shared.store_digit);
            transaction.create_named(shard.log_name(), log_options(options.retention_hours));
            shards.push(Arc::new(shard));
        }
        shared.catalog.change(&mut transaction, change)?;
        let state = Arc::new(StreamState::new(row, shards, BTreeMap::new()));
        if !time.is_zero() {
            state.pass(StreamStatus::Creating, shared.until_ms(time));
        }
        let (streams, made) = (Arc::downgrade(shared), state.clone());
        transaction.once_durable(move |_| {
            let Some(shared) = streams.upgrade() else { return };
            let mut streams = shared.streams.write().unwrap_or_else(|p| p.into_inner());
            streams.by_id.insert(made.id, made.clone());
            streams.by_name.insert(made.name.clone(), made);
        });
        control.commit(&shared.store, transaction, &format!("stream {name}"))?;
        drop(control);
        Ok(Stream { shared: shared.clone(), state })
    }

    /// The right to change something, once nobody else is about to.
    pub(crate) fn control(&self) -> Result<ControlGuard<'_>> {
        let control = self.shared.control()?;
        self.state.check_alive()?;
        Ok(control)
    }

    /// Changes something about it, durably.
    pub(crate) fn commit(&self, control: &ControlGuard<'_>, transaction: Transaction) -> Result<()> {
        control.commit(&self.shared.store, transaction, &format!("stream {}", self.name())).map(drop)
    }

    /// Changes settings. `transaction` may do more with it.
    fn set_row(&self, control: &ControlGuard<'_>, mut transaction: Transaction, row: StreamRow) -> Result<()> {
        let mut change = Change::default();
        change.put(rows::stream_key(self.state.id), row.encode());
        self.shared.catalog.change(&mut transaction, change)?;
        let state = self.state.clone();
        transaction.once_durable(move |_| state.set_row(row));
        self.commit(control, transaction)
    }

    /// Changes a setting, which leaves the stream updating for a while.
    fn change_row(&self, change: impl FnOnce(&mut StreamRow) -> Result<()>) -> Result<()> {
        let control = self.active()?;
        let mut row = (*self.state.row()).clone();
        change(&mut row)?;
        self.set_row(&control, Transaction::new(), row)?;
        self.updated();
        Ok(())
    }

    /// Changes what the stream does not depend on: tags, policies.
    fn change_remarks(&self, change: impl FnOnce(&mut StreamRow) -> Result<()>) -> Result<()> {
        let control = self.made()?;
        let mut row = (*self.state.row()).clone();
        change(&mut row)?;
        self.set_row(&control, Transaction::new(), row)
    }

    /// Whether the account may have so many more open shards.
    pub(crate) fn check_growth(&self, plan: &Plan) -> Result<()> {
        match plan.children.len().checked_sub(plan.closes.len()) {
            Some(more) if more > 0 => self.shared.check_open_shards(more),
            _ => Ok(()),
        }
    }

    /// Splits an open shard in two: the lower child owns what is below `new_starting_hash_key`, the upper one the rest. The
    /// parent takes no more records and stays readable until they expire. Atomic, and durable when it returns, but see
    /// [`crate::EngineOptions::transition_time`].
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`]; [`Error::InvalidArgument`] for a closed shard or a key that does not lie inside its range;
    /// [`Error::LimitExceeded`]; [`Error::OnDemand`]; [`Error::ResourceInUse`] while the stream is not active.
    pub fn split_shard(&self, shard: ShardId, new_starting_hash_key: HashKey) -> Result<()> {
        let control = self.active()?;
        self.check_provisioned()?;
        let plan = reshard::split(&self.state.shards(), shard, new_starting_hash_key)?;
        self.check_growth(&plan)?;
        self.ask(control, Reshard::Split { shard: shard.0, at: new_starting_hash_key.0 }, plan, None)
    }

    /// Merges two open shards whose ranges touch into one. Otherwise as [`Stream::split_shard`].
    ///
    /// # Errors
    /// As [`Stream::split_shard`]; [`Error::InvalidArgument`] for shards that don't touch.
    pub fn merge_shards(&self, shard: ShardId, adjacent: ShardId) -> Result<()> {
        let control = self.active()?;
        self.check_provisioned()?;
        let plan = reshard::merge(&self.state.shards(), shard, adjacent)?;
        self.ask(control, Reshard::Merge { shard: shard.0, adjacent: adjacent.0 }, plan, None)
    }

    /// Brings the stream to `target` shards of equal ranges, by splits and then merges, each step atomic. From `1/2` to twice
    /// the number it has and ten times within 24 hours, as the service allows; one that changes nothing does not count. See
    /// [`crate::EngineOptions::scalings_per_day`].
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] beyond that, for more than 10,000, or beyond the account's open shards; [`Error::InvalidArgument`]
    /// for none; [`Error::OnDemand`].
    pub fn update_shard_count(&self, target: u32) -> Result<()> {
        check_shard_count("TargetShardCount", target)?;
        // The limit goes by the shards that it has once what is due is done, which this does.
        drop(self.active()?);
        self.check_provisioned()?;
        let open = self.state.shards().open().len() as u32;
        if target > open.saturating_mul(2) || target < open.div_ceil(2) {
            let what =
                format!("a stream of {open} shards can be scaled to {} to {} of them", open.div_ceil(2), open * 2);
            return Err(Error::LimitExceeded { what });
        }
        self.scale(target, true)
    }

    /// As [`Stream::update_shard_count`], as far as it takes and as often as it is called.
    ///
    /// # Errors
    /// As [`Stream::update_shard_count`], but for half, double and how often.
    pub fn scale_to(&self, target: u32) -> Result<()> {
        check_shard_count("TargetShardCount", target)?;
        self.scale(target, false)
    }

    /// `counted`: it is one of so many that a day may have.
    fn scale(&self, target: u32, mut counted: bool) -> Result<()> {
        let ranges = HashKeyRange::uniform(target);
        loop {
            let control = self.active()?;
            self.check_provisioned()?;
            let map = self.state.shards();
            let plan = reshard::towards(&map, &ranges, self.shards_at_once());
            if plan.closes.is_empty() {
                return Ok(());
            }
            let at_once = self.shared.options.transition_time.is_zero();
            if at_once {
                self.check_growth(&plan)?;
            } else {
                self.shared.check_open_shards((target as usize).saturating_sub(map.open().len()))?;
            }
            // Counted with the first step, so that it counts if anything of it lasts.
            let scaling = if std::mem::take(&mut counted) { self.one_more_scaling()? } else { None };
            self.ask(control, Reshard::Scale { target }, plan, scaling)?;
            if !at_once {
                return Ok(());
            }
        }
    }

    /// When the shard count was updated, with now; `None` where nobody counts.
    fn one_more_scaling(&self) -> Result<Option<ScalingRow>> {
        let Some(max) = self.shared.options.scalings_per_day else { return Ok(None) };
        let now_ms = self.shared.now_ms();
        let mut scaling = self.state.scaling();
        if within_a_day(&mut scaling.scaled_ms, now_ms) >= max as usize {
            let name = self.name();
            let what = format!("the shard count of stream {name} may be updated {max} times within 24 hours");
            return Err(Error::LimitExceeded { what });
        }
        scaling.scaled_ms.push(now_ms);
        Ok(Some(scaling))
    }

    fn check_provisioned(&self) -> Result<()> {
        if mode_of(&self.state.row()) == StreamMode::OnDemand {
            return Err(Error::OnDemand { stream: self.name().to_owned() });
        }
        Ok(())
    }

    /// One frame that closes shards and opens others, with everything put before it to the old ones.
    pub(crate) fn reshard(&self, control: ControlGuard<'_>, plan: Plan, also: Also) -> Result<()> {
        let (shared, state) = (&self.shared, &self.state);
        self.check_leases(None)?;
        let Also { scaling, is_asked } = also;
        let map = state.shards();
        let mut row = (*state.row()).clone();
        let first = row.next_shard;
        row.next_shard += plan.children.len() as u32;
        let engine = control.next_birth(shared.now_ms());
        let mut transaction = Transaction::new();
        let parents: Vec<Arc<ShardState>> = plan.closes.iter().filter_map(|id| map.get(*id).cloned()).collect();
        if crate::seeded_bug!(SplitInTwoRecords) {
            let mut change = Change::default();
            for parent in &parents {
                change.put(rows::shard_key(state.id, parent.id.0), parent.closed(shared.now_ms()).row.encode());
            }
            let mut first = Transaction::new();
            shared.catalog.change(&mut first, change)?;
            self.commit(&control, first)?;
        }
        for parent in &parents {
            transaction.close_log(parent.log(&shared.store)?)?;
        }
        for index in first..row.next_shard {
            transaction.create_named(&log_name(state.id, ShardId(index)), log_options(row.retention_hours));
        }
        // The moment of the reshard is the millisecond after its serial point: every record of a parent arrived before it, so
        // that who starts at a time starts in all shards that have records from then on.
        let made: Arc<Mutex<Option<ShardMap>>> = Arc::default();
        let scaling_row = scaling.as_ref().map(ScalingRow::encode);
        let bytes_max = 256 * (2 + plan.closes.len() + plan.children.len())
            + row.encode().len()
            + scaling_row.as_ref().map_or(0, |row| 64 + row.len());
        let (core, store_digit, stream) = (shared.store.core().clone(), shared.store_digit, state.id);
        let (birth_s, new_row, at_serial_point) = (engine.last_birth_s, row.clone(), made.clone());
        let new_engine = engine.clone();
        let leased = plan.clone();
        let rows = move || {
            let now_ms = core.stamp() + 1;
            let closed = parents.iter().map(|parent| Arc::new(parent.closed(now_ms)));
            let children = plan.children.iter().zip(first..).map(|(child, index)| {
                let row = ShardRow {
                    start: child.range.start.0,
                    end: child.range.end.0,
                    parent: Some(child.parent.0),
                    adjacent_parent: child.adjacent_parent.map(|id| id.0),
                    birth_s,
                    opened_ms: now_ms,
                    closed_ms: None,
                };
                Arc::new(ShardState::new(stream, ShardId(index), row, store_digit))
            });
            let changed: Vec<Arc<ShardState>> = closed.chain(children).collect();
            let mut change = Change::default();
            change.put(rows::ENGINE_KEY.to_vec(), new_engine.encode()).put(rows::stream_key(stream), new_row.encode());
            if let Some(row) = scaling_row {
                change.put(rows::scaling_key(stream), row);
            }
            if is_asked {
                change.remove(rows::reshard_key(stream));
            }
            for shard in &changed {
                change.put(rows::shard_key(stream, shard.id.0), shard.row.encode());
            }
            *at_serial_point.lock() = Some(map.with(changed));
            change
        };
        shared.catalog.change_late(&mut transaction, bytes_max, rows);
        self.lease_children(&mut transaction, &leased, first)?;
        let state = state.clone();
        transaction.once_durable(move |_| {
            state.set_row(row);
            if let Some(scaling) = scaling {
                state.set_scaling(scaling);
            }
            if let Some(map) = made.lock().take() {
                state.set_shards(map);
            }
            // Last: who sees the stream active sees its new shards.
            if is_asked {
                state.set_asked(None);
            }
        });
        self.commit(&control, transaction)
    }

    /// Sets the largest record, data and partition key together, in KiB: 1,024 to 10,240.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`].
    pub fn set_max_record_kib(&self, kib: u32) -> Result<()> {
        check_max_record(kib)?;
        self.change_row(|row| {
            row.max_record_kib = kib;
            Ok(())
        })
    }

    /// Changes who sets the number of shards.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for [`StreamMode::Provisioned`] while records go anywhere ([`Distribution::Auto`]): keys come
    /// first, by [`Stream::set_distribution`].
    pub fn set_mode(&self, mode: StreamMode) -> Result<()> {
        self.set_mode_and_warm_throughput(mode, None)
    }

    /// In one step, with the warm throughput of a stream that is on-demand then.
    pub(crate) fn set_mode_and_warm_throughput(&self, mode: StreamMode, mib: Option<u32>) -> Result<()> {
        self.change_row(|row| {
            check_distribution(mode, distribution_of(row))?;
            row.mode = u8::from(mode == StreamMode::OnDemand);
            if mode == StreamMode::Provisioned {
                row.warm_throughput_mib = 0;
            }
            if let Some(mib) = mib {
                check_warm_throughput(mode, mib)?;
                row.warm_throughput_mib = mib;
            }
            Ok(())
        })
    }

    /// Changes which shard a record goes to, from the next one on.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for [`Distribution::Auto`] on a provisioned stream.
    pub fn set_distribution(&self, distribution: Distribution) -> Result<()> {
        self.change_row(|row| {
            check_distribution(mode_of(row), distribution)?;
            row.distribution = u8::from(distribution == Distribution::Auto);
            Ok(())
        })
    }

    /// Sets the warm throughput of an on-demand stream, in MiB a second: kept and described, and nothing is done for it, see
    /// [`StreamOptions::warm_throughput_mib`].
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for more than 10,240, and on a provisioned stream.
    pub fn set_warm_throughput_mib(&self, mib: u32) -> Result<()> {
        self.change_row(|row| {
            check_warm_throughput(mode_of(row), mib)?;
            row.warm_throughput_mib = mib;
            Ok(())
        })
    }

    /// Switches shard-level metrics on. Answers with those that were and those that are on.
    ///
    /// # Errors
    /// What any write may answer.
    pub fn enable_shard_metrics(&self, metrics: &[ShardMetric]) -> Result<(Vec<ShardMetric>, Vec<ShardMetric>)> {
        self.change_metrics(|bits| bits | ShardMetric::bits(metrics))
    }

    /// Switches shard-level metrics off. Answers with those that were and those that are on.
    ///
    /// # Errors
    /// What any write may answer.
    pub fn disable_shard_metrics(&self, metrics: &[ShardMetric]) -> Result<(Vec<ShardMetric>, Vec<ShardMetric>)> {
        self.change_metrics(|bits| bits & !ShardMetric::bits(metrics))
    }

    fn change_metrics(&self, change: impl FnOnce(u16) -> u16) -> Result<(Vec<ShardMetric>, Vec<ShardMetric>)> {
        let (mut were, mut are) = (0, 0);
        self.change_row(|row| {
            were = row.metrics;
            are = change(were);
            row.metrics = are;
            Ok(())
        })?;
        Ok((ShardMetric::of_bits(were), ShardMetric::of_bits(are)))
    }

    /// Adds tags, or gives them new values.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`]; there may be 50.
    pub fn add_tags<K: Into<String>, V: Into<String>>(&self, tags: impl IntoIterator<Item = (K, V)>) -> Result<()> {
        let tags: Vec<(String, String)> = tags.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        self.change_remarks(|row| {
            row.tags = merged(&row.tags, &tags)?;
            Ok(())
        })
    }

    /// Removes tags; those it does not have are no error.
    ///
    /// # Errors
    /// What any write may answer.
    pub fn remove_tags(&self, keys: &[&str]) -> Result<()> {
        self.change_remarks(|row| {
            row.tags.retain(|(key, _)| !keys.contains(&key.as_str()));
            Ok(())
        })
    }

    /// Its tags, sorted by key.
    pub fn tags(&self) -> Vec<(String, String)> {
        self.state.row().tags.clone()
    }

    /// Keeps the name of a key that the service would encrypt with, or none: it is described, and nothing is encrypted with it.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a name that is empty or longer than 2,048 bytes; [`Error::LimitExceeded`] for the 26th key
    /// within 24 hours, and the 26th time without: counted since the engine was opened.
    pub fn set_encryption_key(&self, key: Option<&str>) -> Result<()> {
        if key.is_some_and(|key| key.is_empty() || key.len() > ENCRYPTION_KEY_BYTES_MAX) {
            return Err(Error::invalid("KeyId", key.unwrap_or_default(), "it must have 1 to 2,048 bytes"));
        }
        let (now_ms, kind) = (self.shared.now_ms(), usize::from(key.is_some()));
        self.change_row(|row| {
            let changed_ms = &mut self.state.encryption_changed_ms.lock()[kind];
            if within_a_day(changed_ms, now_ms) >= ENCRYPTION_CHANGES_PER_DAY {
                let (name, max) = (self.name(), ENCRYPTION_CHANGES_PER_DAY);
                let what = format!("the encryption of stream {name} may be changed {max} times within 24 hours");
                return Err(Error::LimitExceeded { what });
            }
            key.unwrap_or_default().clone_into(&mut row.encryption_key);
            Ok(())
        })?;
        self.state.encryption_changed_ms.lock()[kind].push(now_ms);
        Ok(())
    }

    /// The key it is described with.
    pub fn encryption_key(&self) -> Option<String> {
        Some(self.state.row().encryption_key.clone()).filter(|key| !key.is_empty())
    }

    /// Keeps a resource policy: a text of 1 to 20,480 bytes. The engine keeps it as it is given: it neither reads nor enforces it. The
    /// server refuses what is not JSON.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`].
    pub fn put_resource_policy(&self, policy: &str) -> Result<()> {
        check_policy(policy)?;
        self.change_remarks(|row| {
            policy.clone_into(&mut row.policy);
            Ok(())
        })
    }

    /// Its resource policy, if it has one.
    pub fn resource_policy(&self) -> Option<String> {
        Some(self.state.row().policy.clone()).filter(|policy| !policy.is_empty())
    }

    /// Forgets the resource policy.
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`] if there is none.
    pub fn delete_resource_policy(&self) -> Result<()> {
        self.change_remarks(|row| {
            if row.policy.is_empty() {
                return Err(Error::ResourceNotFound { what: format!("resource policy of stream {}", self.name()) });
            }
            row.policy.clear();
            Ok(())
        })
    }

    /// Deletes closed shards whose last record has expired.
    pub(crate) fn drop_expired(&self, done: &mut Maintenance) -> Result<()> {
        if !self.state.shards().all().any(|shard| self.has_expired(shard)) {
            return Ok(());
        }
        let control = self.control()?;
        let map = self.state.shards();
        let mut expired = Vec::new();
        for shard in map.all().filter(|shard| self.has_expired(shard)).take(self.shards_at_once()) {
            let log = shard.log(&self.shared.store)?;
            if log.is_closed() && log.horizon()? >= log.end() {
                expired.push(shard.id);
            }
        }
        if expired.is_empty() {
            return Ok(());
        }
        let mut change = Change::default();
        let mut transaction = Transaction::new();
        for shard in expired.iter().filter_map(|id| map.get(*id)) {
            change.remove(rows::shard_key(self.state.id, shard.id.0));
            transaction.delete_log(shard.log(&self.shared.store)?);
        }
        self.shared.catalog.change(&mut transaction, change)?;
        self.forget_leases(&mut transaction, expired.clone())?;
        let (state, map) = (self.state.clone(), map.without(&expired));
        transaction.once_durable(move |_| state.set_shards(map));
        self.commit(&control, transaction)?;
        done.expired.extend(expired.into_iter().map(|id| (self.name().to_owned(), id)));
        Ok(())
    }
}

/// How many of these moments lie less than a day back; the others are forgotten.
fn within_a_day(moments_ms: &mut Vec<u64>, now_ms: u64) -> usize {
    moments_ms.retain(|at| now_ms.saturating_sub(*at) < DAY_MS);
    moments_ms.len()
}

pub(crate) fn check_policy(policy: &str) -> Result<()> {
    if policy.is_empty() || policy.len() > POLICY_BYTES_MAX {
        let why = "it must have 1 to 20,480 bytes";
        return Err(Error::invalid("Policy", format!("{} bytes", policy.len()), why));
    }
    Ok(())
}

fn sorted(mut tags: Vec<(String, String)>) -> Vec<(String, String)> {
    tags.sort();
    tags
}

/// Tags with others added, which win.
pub(crate) fn merged(tags: &[(String, String)], added: &[(String, String)]) -> Result<Vec<(String, String)>> {
    check_tags(added)?;
    let mut merged: BTreeMap<String, String> = tags.iter().cloned().collect();
    merged.extend(added.iter().cloned());
    let merged: Vec<(String, String)> = merged.into_iter().collect();
    check_tags(&merged)?;
    Ok(merged)
}
