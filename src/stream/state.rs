//! A stream as the engine has it: what is durable, swapped whole when a change is.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::format::stream::{ConsumerRow, ScalingRow, StreamRow};
use crate::sync::{Arc, AtomicBool, AtomicU64, Condvar, Mutex, Ordering, RwLock, step_until};

use super::consumer::ConsumerStatus;
use super::list::StreamStatus;
use super::shard::{ShardMap, ShardState};
use super::transition::Asked;

/// How long one wait for a reshard lasts before the waiter looks again whether the store still runs.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A consumer that is being made, or gone and still described.
#[derive(Clone)]
pub(crate) struct PassingConsumer {
    pub(crate) status: ConsumerStatus,
    pub(crate) until_ms: u64,
    pub(crate) row: ConsumerRow,
}

pub(crate) struct StreamState {
    pub(crate) id: u64,
    pub(crate) name: String,
    row: RwLock<Arc<StreamRow>>,
    shards: RwLock<Arc<ShardMap>>,
    consumers: RwLock<Arc<BTreeMap<String, ConsumerRow>>>,
    scaling: Mutex<ScalingRow>,
    /// When, in this life, encryption was switched off and on.
    pub(crate) encryption_changed_ms: Mutex<[Vec<u64>; 2]>,
    /// Of its shards, what is asked for and not done yet.
    asked: Mutex<Option<Asked>>,
    /// A status that passes, and when by the monotonic clock.
    passing: Mutex<Option<(StreamStatus, u64)>>,
    /// Whether the status that passes may be [`StreamStatus::Creating`], for a look without the lock.
    creating: AtomicBool,
    /// The same of its consumers, those that are gone among them.
    pub(crate) passing_consumers: Mutex<BTreeMap<String, PassingConsumer>>,
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
            encryption_changed_ms: Mutex::default(),
            asked: Mutex::default(),
            passing: Mutex::default(),
            creating: AtomicBool::new(false),
            passing_consumers: Mutex::default(),
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

    /// Of its shards, what is asked for and not done yet.
    pub(crate) fn asked(&self) -> Option<Asked> {
        *self.asked.lock()
    }

    pub(crate) fn set_asked(&self, asked: Option<Asked>) {
        *self.asked.lock() = asked;
    }

    /// It has this status until then, by the monotonic clock.
    pub(crate) fn pass(&self, status: StreamStatus, until_ms: u64) {
        *self.passing.lock() = Some((status, until_ms));
        self.creating.store(status == StreamStatus::Creating, Ordering::Release);
    }

    /// Whether it has a status that passes, and has not passed.
    pub(crate) fn is_passing(&self, now_ms: u64) -> bool {
        self.passing.lock().is_some_and(|(_, until_ms)| now_ms < until_ms)
    }

    /// Whether it may be that it is being made: what every put asks.
    pub(crate) fn may_be_creating(&self) -> bool {
        self.creating.load(Ordering::Acquire)
    }

    /// The status at this moment of the monotonic clock.
    pub(crate) fn status(&self, now_ms: u64) -> StreamStatus {
        if self.deleted.load(Ordering::Acquire) {
            return StreamStatus::Deleting;
        }
        if self.asked.lock().is_some() {
            return StreamStatus::Updating;
        }
        let mut passing = self.passing.lock();
        match *passing {
            Some((status, until_ms)) if now_ms < until_ms => status,
            _ => {
                *passing = None;
                self.creating.store(false, Ordering::Release);
                StreamStatus::Active
            }
        }
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
