//! The workloads, and the promise each of them asks of an engine.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Records in one batched call.
pub const BATCH: usize = 100;
/// Threads of the workload with many writers.
pub const WRITERS: usize = 64;

/// One column of work, the same for every engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[value(rename_all = "kebab-case")]
pub enum Workload {
    /// Unsynced, one record a call, one thread.
    Append,
    /// Unsynced, batches of 100, one thread.
    AppendBatch,
    /// Durable after every 100 records, one thread.
    #[value(name = "sync-100")]
    #[serde(rename = "sync-100")]
    Sync100,
    /// Durable after every 1,000 records, one thread.
    #[value(name = "sync-1000")]
    #[serde(rename = "sync-1000")]
    Sync1000,
    /// Durable after every record, one thread.
    SyncEach,
    /// Durable after every record, 64 threads.
    #[value(name = "sync-each-64")]
    #[serde(rename = "sync-each-64")]
    SyncEach64,
    /// Everything read back in order.
    Scan,
}

impl Workload {
    /// In the order of the report.
    pub const ALL: [Self; 7] =
        [Self::Append, Self::AppendBatch, Self::Sync100, Self::Sync1000, Self::SyncEach, Self::SyncEach64, Self::Scan];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::AppendBatch => "append-batch",
            Self::Sync100 => "sync-100",
            Self::Sync1000 => "sync-1000",
            Self::SyncEach => "sync-each",
            Self::SyncEach64 => "sync-each-64",
            Self::Scan => "scan",
        }
    }

    /// The heading in the report.
    pub fn title(self) -> &'static str {
        match self {
            Self::Append => "unsynced, one record a call, 1 thread",
            Self::AppendBatch => "unsynced, batches of 100, 1 thread",
            Self::Sync100 => "synced every 100 records, 1 thread",
            Self::Sync1000 => "synced every 1,000 records, 1 thread",
            Self::SyncEach => "synced every record, 1 writer",
            Self::SyncEach64 => "synced every record, 64 writers",
            Self::Scan => "sequential scan",
        }
    }

    /// The promise under which its records are written.
    pub fn durability(self) -> Durability {
        match self {
            Self::Append | Self::AppendBatch | Self::Scan => Durability::Unsynced,
            Self::Sync100 | Self::Sync1000 => Durability::EveryGroup,
            Self::SyncEach | Self::SyncEach64 => Durability::EveryRecord,
        }
    }

    /// Whether single calls are timed as well as the whole.
    pub fn has_latency(self) -> bool {
        self.durability() == Durability::EveryRecord
    }
}

/// When an acknowledged record outlives what. Some engines must know it when they are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Durability {
    /// Acknowledged once the operating system holds the record: it outlives the process, and is
    /// lost with the power. An engine that keeps it in its own memory does not qualify.
    Unsynced,
    /// Acknowledged as `Unsynced`; a group outlives the loss of power once its last call returns.
    EveryGroup,
    /// Acknowledged once the device holds the record: it outlives the loss of power.
    EveryRecord,
}
