//! `shardlog`: records in packs of extents, with an index of every record in memory.
//!
//! One owner, `&mut` throughout, so writers take turns, and each syncs while it holds the log.

use std::path::Path;
use std::sync::Mutex;

use bytes::Bytes;
use shardlog::{ShardLog, ShardLogConfig};

use super::{Peer, lock};
use crate::Result;
use crate::measure::Scan;
use crate::workload::{Durability, Workload};

/// Bounds on one call of the scan.
const READ_BYTES: usize = 256 << 10;
const READ_RECORDS: usize = 4096;

pub struct Shardlog(Mutex<Writer>);

struct Writer {
    log: ShardLog,
    next_sequence: u64,
}

impl Peer for Shardlog {
    const NAME: &'static str = "shardlog";

    fn cannot(_workload: Workload) -> Option<&'static str> {
        None
    }

    fn note(workload: Workload) -> Option<&'static str> {
        (workload == Workload::SyncEach64).then_some("shardlog: no group commit; each append syncs under a lock")
    }

    fn open(dir: &Path, _durability: Durability) -> Result<Self> {
        Ok(Self(Mutex::new(Writer { log: ShardLog::open(ShardLogConfig::new(dir))?, next_sequence: 0 })))
    }

    fn append(&self, record: &[u8]) -> Result<()> {
        lock(&self.0).write(&[record], false)
    }

    fn append_batch(&self, records: &[&[u8]]) -> Result<()> {
        lock(&self.0).write(records, false)
    }

    fn append_then_sync(&self, _writer: usize, records: &[&[u8]]) -> Result<()> {
        let mut writer = lock(&self.0);
        let last = records.len() - 1;
        for (index, record) in records.iter().enumerate() {
            writer.write(&[record], index == last)?;
        }
        Ok(())
    }

    fn scan(dir: &Path, scan: &mut Scan) -> Result<()> {
        let mut log = ShardLog::open(ShardLogConfig::new(dir))?;
        scan.time(|tally| {
            let mut next = 0;
            loop {
                let records = log.read_from(next, READ_BYTES, READ_RECORDS)?;
                let Some(last) = records.last() else {
                    return Ok(());
                };
                next = last.sequence + 1;
                for record in &records {
                    tally.add(&record.payload);
                }
            }
        })
    }
}

impl Writer {
    fn write(&mut self, records: &[&[u8]], sync: bool) -> Result<()> {
        let records: Vec<Bytes> = records.iter().map(|record| Bytes::copy_from_slice(record)).collect();
        self.log.append_group(self.next_sequence, &records, sync)?;
        self.next_sequence += records.len() as u64;
        Ok(())
    }
}
