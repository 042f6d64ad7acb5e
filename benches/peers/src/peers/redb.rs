//! `redb`: a copy-on-write B+ tree. The key is the record's number.
//!
//! A commit is either durable or, with `Durability::None`, kept in the process until a durable one
//! follows: there is nothing between, so the unsynced workloads do not apply. A durable group is one
//! transaction, with one insert a record.

use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::Peer;
use crate::Result;
use crate::measure::Scan;
use crate::workload::{Durability, Workload};

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");

pub struct Redb(Database);

impl Peer for Redb {
    const NAME: &'static str = "redb";

    fn cannot(workload: Workload) -> Option<&'static str> {
        match workload {
            Workload::Append | Workload::AppendBatch => {
                Some("a commit that does not sync stays in the process and is lost with it")
            }
            _ => None,
        }
    }

    fn note(workload: Workload) -> Option<&'static str> {
        match workload {
            Workload::Sync100 | Workload::Sync1000 => {
                Some("redb: the group is one transaction, with one insert a record")
            }
            Workload::SyncEach64 => Some("redb: no group commit; one write transaction at a time"),
            _ => None,
        }
    }

    fn open(dir: &Path, _durability: Durability) -> Result<Self> {
        Ok(Self(Database::create(dir.join("log.redb"))?))
    }

    fn append(&self, _record: &[u8]) -> Result<()> {
        Err("a commit that does not sync stays in the process".into())
    }

    fn append_then_sync(&self, _writer: usize, records: &[&[u8]]) -> Result<()> {
        // Durable unless told otherwise.
        let transaction = self.0.begin_write()?;
        {
            let mut log = transaction.open_table(LOG)?;
            let first = log.last()?.map_or(0, |(last, _)| last.value() + 1);
            for (key, record) in (first..).zip(records) {
                log.insert(key, record)?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn scan(dir: &Path, scan: &mut Scan) -> Result<()> {
        let database = Database::create(dir.join("log.redb"))?;
        scan.time(|tally| {
            let log = database.begin_read()?.open_table(LOG)?;
            for pair in log.iter()? {
                tally.add(pair?.1.value());
            }
            Ok(())
        })
    }
}
