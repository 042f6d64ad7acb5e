//! A stream as the engine has it: what is durable, swapped whole when a change is.

use std::collections::BTreeMap;
use std::sync::RwLock;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::format::stream::{ConsumerRow, ScalingRow, StreamRow};
use crate::sync::{Arc, AtomicBool, AtomicU64, Condvar, Mutex, Ordering, step_until};

use super::shard::{ShardMap, ShardState};

/// How long one wait for a reshard lasts before the waiter looks again whether the store still runs.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub(crate) struct StreamState {
    pub(crate) id: u64,
    pub(crate) name: String,
    row: RwLock<Arc<StreamRow>>,
    shards: RwLock<Arc<ShardMap>>,
    consumers: RwLock<Arc<BTreeMap<String, ConsumerRow>>>,
    scaling: Mutex<ScalingRow>,
    deleted: AtomicBool,
    swapped: (Mutex<()>, Condvar),
    /// Where an automatic distribution goes on.
    pub(crate) turn: AtomicU64,
    /// Who subscribes to which shard.
    pub(crate) seats: super::subscription::Seats,
    /// Consumer groups that were asked for in this life.
    pub(crate) groups: Mutex<std::collections::HashMap<String, Arc<super::group::GroupState>>>,
    /// When it was last looked whether the number of shards fits the traffic, with each shard's figures then.
    pub(crate) looked: Mutex<super::on_demand::Looked>,
}

impl StreamState {
    pub(crate) fn new(
        row: StreamRow,
        shards: Vec<Arc<ShardState>>,
        consumers: BTreeMap<String, ConsumerRow>,
    ) -> StreamState {
        StreamState {
            id: row.id,
            name: row.name.clone(),
            row: RwLock::new(Arc::new(row)),
            shards: RwLock::new(Arc::new(ShardMap::new(0, shards))),
            consumers: RwLock::new(Arc::new(consumers)),
            scaling: Mutex::default(),
            deleted: AtomicBool::new(false),
            swapped: Default::default(),
            turn: AtomicU64::new(0),
            seats: Default::default(),
            groups: Mutex::default(),
            looked: Mutex::default(),
        }
    }

    pub(crate) fn row(&self) -> Arc<StreamRow> {
        self.row.read().unwrap_or_else(|p| p.into_inner()).clone()
    }

    pub(crate) fn set_row(&self, row: StreamRow) {
        *self.row.write().unwrap_or_else(|p| p.into_inner()) = Arc::new(row);
    }

    pub(crate) fn shards(&self) -> Arc<ShardMap> {
        self.shards.read().unwrap_or_else(|p| p.into_inner()).clone()
    }

    /// A reshard is durable.
    pub(crate) fn set_shards(&self, map: ShardMap) {
        *self.shards.write().unwrap_or_else(|p| p.into_inner()) = Arc::new(map);
        self.wake();
    }

    pub(crate) fn consumers(&self) -> Arc<BTreeMap<String, ConsumerRow>> {
        self.consumers.read().unwrap_or_else(|p| p.into_inner()).clone()
    }

    pub(crate) fn set_consumers(&self, consumers: BTreeMap<String, ConsumerRow>) {
        *self.consumers.write().unwrap_or_else(|p| p.into_inner()) = Arc::new(consumers);
    }

    /// When its shard count was updated.
    pub(crate) fn scaling(&self) -> ScalingRow {
        self.scaling.lock().clone()
    }

    pub(crate) fn set_scaling(&self, scaling: ScalingRow) {
        *self.scaling.lock() = scaling;
    }

    /// The deletion is durable.
    pub(crate) fn set_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn check_alive(&self) -> Result<()> {
        if self.deleted.load(Ordering::Acquire) {
            return Err(Error::ResourceNotFound { what: format!("stream {}", self.name) });
        }
        Ok(())
    }

    fn wake(&self) {
        drop(self.swapped.0.lock());
        self.swapped.1.notify_all();
    }

    /// Waits, for a short while, for a newer map than `version`.
    pub(crate) fn wait_for_newer(&self, version: u64) {
        let over = || self.shards().version != version || self.check_alive().is_err();
        if step_until(over).is_some() {
            return;
        }
        let guard = self.swapped.0.lock();
        if !over() {
            drop(self.swapped.1.wait_timeout(guard, LOOK_AGAIN));
        }
    }
}
