//! `walrus-rust`: topics in preallocated files.
//!
//! It has no call that syncs. A single append is synced or not as the schedule says, which is set for
//! the whole process when the log is opened; a batch is always followed by `fsync`, whatever the
//! schedule. So durable groups are batches, and an unsynced batch does not exist.
//!
//! The storage behind it is its default, `pwrite` for single appends and `io_uring` for batches.

use std::ffi::OsString;
use std::path::Path;

use walrus_rust::{FsyncSchedule, ReadConsistency, Walrus};

use super::Peer;
use crate::Result;
use crate::measure::Scan;
use crate::workload::{Durability, Workload};

const TOPIC: &str = "log";
/// Payload bytes asked for by one call of the scan; its own cap of 2,000 records may come first.
const READ_BYTES: usize = 256 << 10;

pub struct Wal {
    walrus: Walrus,
    /// Whether a single append syncs; a batch always does.
    single_syncs: bool,
}

impl Peer for Wal {
    const NAME: &'static str = "walrus-rust";

    fn cannot(workload: Workload) -> Option<&'static str> {
        (workload == Workload::AppendBatch).then_some("a batch is always followed by fsync")
    }

    fn note(workload: Workload) -> Option<&'static str> {
        match workload {
            Workload::Sync100 | Workload::Sync1000 => {
                Some("walrus-rust: the group is one batch, as there is no sync apart from an append")
            }
            Workload::SyncEach64 => Some("walrus-rust: no group commit; each append writes and syncs under a lock"),
            _ => None,
        }
    }

    fn environment(dir: &Path) -> Vec<(&'static str, OsString)> {
        vec![
            ("WALRUS_DATA_DIR", dir.into()),
            // Or it prints a line an append.
            ("WALRUS_QUIET", "1".into()),
        ]
    }

    fn open(_dir: &Path, durability: Durability) -> Result<Self> {
        let schedule = match durability {
            // A batch syncs by itself; with `SyncEach` every record of it would be synced too.
            Durability::Unsynced | Durability::EveryGroup => FsyncSchedule::NoFsync,
            Durability::EveryRecord => FsyncSchedule::SyncEach,
        };
        Ok(Self { walrus: open(schedule)?, single_syncs: durability == Durability::EveryRecord })
    }

    fn append(&self, record: &[u8]) -> Result<()> {
        Ok(self.walrus.append_for_topic(TOPIC, record)?)
    }

    fn append_then_sync(&self, _writer: usize, records: &[&[u8]]) -> Result<()> {
        match records {
            [record] if self.single_syncs => self.walrus.append_for_topic(TOPIC, record)?,
            _ => self.walrus.batch_append_for_topic(TOPIC, records)?,
        }
        Ok(())
    }

    fn scan(_dir: &Path, scan: &mut Scan) -> Result<()> {
        let walrus = open(FsyncSchedule::NoFsync)?;
        scan.time(|tally| {
            loop {
                // To read on is to move the topic's cursor; see `open` for what that costs.
                let entries = walrus.batch_read_for_topic(TOPIC, READ_BYTES, true)?;
                if entries.is_empty() {
                    return Ok(());
                }
                for entry in &entries {
                    tally.add(&entry.data);
                }
            }
        })
    }
}

/// The cursor of reads is kept in memory: how far a scan came need not survive it.
fn open(schedule: FsyncSchedule) -> Result<Walrus> {
    let reads = ReadConsistency::AtLeastOnce { persist_every: u32::MAX };
    Ok(Walrus::with_consistency_and_schedule(reads, schedule)?)
}
