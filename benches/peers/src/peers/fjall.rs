//! `fjall`: an LSM tree with a journal. The key is the record's number.
//!
//! An insert reaches the operating system before it returns. `persist(SyncData)` is `fdatasync` of the
//! journal, under the journal's lock: every call syncs, also when another just did.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::Peer;
use crate::Result;
use crate::measure::Scan;
use crate::workload::{Durability, Workload};

pub struct Fjall {
    database: Database,
    log: Keyspace,
    next: AtomicU64,
}

impl Peer for Fjall {
    const NAME: &'static str = "fjall";

    fn cannot(_workload: Workload) -> Option<&'static str> {
        None
    }

    fn note(workload: Workload) -> Option<&'static str> {
        (workload == Workload::SyncEach64)
            .then_some("fjall: no group commit; each append is followed by a persist, one after the other")
    }

    fn open(dir: &Path, _durability: Durability) -> Result<Self> {
        let database = Database::builder(dir).journal_compression(CompressionType::None).open()?;
        // Off, as with every peer: the records do not compress.
        let log = database.keyspace("log", || {
            KeyspaceCreateOptions::default().data_block_compression_policy(CompressionPolicy::disabled())
        })?;
        Ok(Self { database, log, next: AtomicU64::new(0) })
    }

    fn append(&self, record: &[u8]) -> Result<()> {
        Ok(self.log.insert(self.next_key(), record)?)
    }

    fn append_batch(&self, records: &[&[u8]]) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::Buffer));
        for &record in records {
            batch.insert(&self.log, self.next_key(), record);
        }
        Ok(batch.commit()?)
    }

    fn append_then_sync(&self, _writer: usize, records: &[&[u8]]) -> Result<()> {
        for record in records {
            self.append(record)?;
        }
        Ok(self.database.persist(PersistMode::SyncData)?)
    }

    fn scan(dir: &Path, scan: &mut Scan) -> Result<()> {
        let Self { log, .. } = Self::open(dir, Durability::Unsynced)?;
        scan.time(|tally| {
            for pair in log.iter() {
                tally.add(&pair.value()?);
            }
            Ok(())
        })
    }
}

impl Fjall {
    fn next_key(&self) -> [u8; 8] {
        self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes()
    }
}
