//! Kinesis Data Streams on the logs of the store.
//!
//! A stream is shards; a shard is a log that owns a range of the hash space. A record goes to the open shard that owns its hash
//! key. A split or merge is one frame that closes the parents and opens the children, so every hash key has exactly one open
//! shard at any time, and for every key the order of reading is the order of acknowledgement.
//!
//! | file | what |
//! |---|---|
//! | `hash_key`, `sequence_number`, `shard`, `options` | the nouns |
//! | `put`, `ordering` | routing and appends, and numbers above a given one |
//! | `read`, `iterator` | tokens, the typed reader |
//! | `control`, `control_lock`, `reshard`, `consumer` | what there is, and how it changes |
//! | `delete`, `retention` | what may take more than one frame, and is carried on |
//! | `transition` | what a stream is while it changes |
//! | `group` | consumer groups: leases, checkpoints, workers |
//! | `list` | which shards to begin with |
//! | `subscription`, `fan_out` | enhanced fan-out, and what its subscribers share |
//! | `aggregate`, `producer` | many user records in one record, and who packs them |
//! | `throughput`, `sample`, `on_demand` | what a shard takes, and what follows from it |

mod aggregate;
mod consumer;
mod control;
mod control_lock;
mod delete;
mod fan_out;
mod group;
mod hash_key;
mod iterator;
mod list;
mod on_demand;
mod options;
mod ordering;
mod producer;
mod put;
mod read;
mod reshard;
mod retention;
mod sample;
mod sequence_number;
mod shard;
mod state;
mod subscription;
mod throughput;
mod transition;

use crate::engine::Shared;
use crate::error::{Error, Result};
use crate::log::Log;
use crate::sync::Arc;

pub use aggregate::{AggregatedRecord, Aggregator, UserRecord, UserRecordReader, UserRecords, deaggregate};
pub use consumer::{Consumer, ConsumerStatus};
pub(crate) use control_lock::{Births, ControlGuard, ControlLock};
pub use fan_out::Records;
pub use group::{
    ConsumerGroup, GroupOptions, OnDamage, ProcessError, RecordBatch, RecordProcessor, ShardProgress, StopWorker,
    Worker,
};
pub use hash_key::{HashKey, HashKeyRange};
pub use iterator::StartingPosition;
#[cfg(feature = "server")]
pub(crate) use iterator::{CODE_BYTES, code, is_code};
pub(crate) use iterator::{Token, token_key};
pub use list::{ShardFilter, ShardPage, StreamDescription, StreamPage, StreamStatus};
pub use on_demand::{Maintenance, OnDemandOptions};
#[cfg(feature = "cli")]
pub(crate) use options::check_name;
pub(crate) use options::check_page;
pub use options::{Distribution, ShardMetric, StreamMode, StreamOptions};
pub use producer::{Producer, ProducerOptions, PutUserRecord, UserRecordTicket};
#[cfg(feature = "server")]
pub(crate) use put::{Begun, Part};
pub use put::{PutRecord, PutRecords, PutRecordsEntry, PutTicket};
pub use read::{GetRecords, Record, ShardReader};
pub use sequence_number::SequenceNumber;
pub(crate) use shard::ShardState;
pub use shard::{ChildShard, Shard, ShardId};
pub(crate) use state::StreamState;
pub use subscription::{Subscription, SubscriptionEvent, SubscriptionOptions};
pub use throughput::{ShardTraffic, ThroughputLimits};

/// A handle on one stream. See [`crate::Engine`] for an example.
#[derive(Clone)]
pub struct Stream {
    pub(crate) shared: Arc<Shared>,
    pub(crate) state: Arc<StreamState>,
}

impl Stream {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Its ARN.
    pub fn arn(&self) -> String {
        self.shared.stream_arn(self.name())
    }

    /// What a shard took and gave since the engine was opened.
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`].
    pub fn shard_traffic(&self, shard: ShardId) -> Result<ShardTraffic> {
        Ok(self.shard(shard)?.traffic.snapshot())
    }

    /// The log of one of its shards.
    pub(crate) fn log<'a>(&self, shard: &'a ShardState) -> Result<&'a Log> {
        shard.log(&self.shared.store).map_err(|error| self.gone(error))
    }

    /// What an error of a log means for the stream it belongs to.
    pub(crate) fn gone(&self, error: Error) -> Error {
        match error {
            Error::LogDeleted { .. } | Error::NoSuchLog { .. } => {
                Error::ResourceNotFound { what: format!("stream {}, or its shard", self.name()) }
            }
            error => error,
        }
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("name", &self.name()).field("shards", &self.state.shards().open().len()).finish()
    }
}
