//! `rocksdb`: an LSM tree with a write-ahead log. The key is the record's number.
//!
//! A write reaches the operating system before it returns; with `sync` set the write-ahead log is
//! synced first, and writers that meet in the queue share that sync.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rocksdb::{DB, DBCompressionType, Options, WriteBatch, WriteOptions};

use super::Peer;
use crate::Result;
use crate::measure::Scan;
use crate::workload::{Durability, Workload};

pub struct RocksDb {
    db: DB,
    unsynced: WriteOptions,
    synced: WriteOptions,
    next: AtomicU64,
}

impl Peer for RocksDb {
    const NAME: &'static str = "rocksdb";

    fn cannot(_workload: Workload) -> Option<&'static str> {
        None
    }

    fn open(dir: &Path, _durability: Durability) -> Result<Self> {
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        Ok(Self { db: open(dir)?, unsynced: WriteOptions::default(), synced, next: AtomicU64::new(0) })
    }

    fn append(&self, record: &[u8]) -> Result<()> {
        Ok(self.db.put_opt(self.next_key(), record, &self.unsynced)?)
    }

    fn append_batch(&self, records: &[&[u8]]) -> Result<()> {
        let mut batch = WriteBatch::default();
        for record in records {
            batch.put(self.next_key(), record);
        }
        Ok(self.db.write_opt(batch, &self.unsynced)?)
    }

    fn append_then_sync(&self, _writer: usize, records: &[&[u8]]) -> Result<()> {
        let Some((last, earlier)) = records.split_last() else {
            return Ok(());
        };
        for record in earlier {
            self.append(record)?;
        }
        // Syncs the write-ahead log as a whole, and with it the records before.
        Ok(self.db.put_opt(self.next_key(), last, &self.synced)?)
    }

    fn scan(dir: &Path, scan: &mut Scan) -> Result<()> {
        let db = open(dir)?;
        scan.time(|tally| {
            let mut at = db.raw_iterator();
            at.seek_to_first();
            while let Some(record) = at.value() {
                tally.add(record);
                at.next();
            }
            Ok(at.status()?)
        })
    }
}

fn open(dir: &Path) -> Result<DB> {
    let mut options = Options::default();
    options.create_if_missing(true);
    // Off, as with every peer: the records do not compress.
    options.set_compression_type(DBCompressionType::None);
    Ok(DB::open(&options, dir)?)
}

impl RocksDb {
    fn next_key(&self) -> [u8; 8] {
        self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes()
    }
}
