//! `heed`: LMDB, a memory-mapped copy-on-write B+ tree. The key is the record's number.
//!
//! A commit is durable, except in an environment opened with `NO_SYNC`. The durable workloads never
//! use that flag, also not with a forced sync at the end of a group: until that sync a loss of power
//! could break the pages of earlier groups. A durable group is one transaction.

use std::path::Path;

use heed::byteorder::BE;
use heed::types::{Bytes, U64};
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, PutFlags};

use super::Peer;
use crate::Result;
use crate::measure::Scan;
use crate::workload::{Durability, Workload};

/// Address space, not disk: the file grows as it is written.
const MAP_BYTES: usize = 64 << 30;

pub struct Heed {
    env: Env,
    log: Database<'static, U64<BE>, Bytes>,
}

impl Peer for Heed {
    const NAME: &'static str = "heed";

    fn cannot(_workload: Workload) -> Option<&'static str> {
        None
    }

    fn note(workload: Workload) -> Option<&'static str> {
        match workload {
            Workload::Append | Workload::AppendBatch => {
                Some("heed: NO_SYNC; a loss of power may break the whole file, not only lose its end")
            }
            Workload::Sync100 | Workload::Sync1000 => Some("heed: the group is one transaction, with one put a record"),
            Workload::SyncEach64 => Some("heed: no group commit; one write transaction at a time"),
            Workload::SyncEach | Workload::Scan => None,
        }
    }

    #[expect(unsafe_code, reason = "both calls are unsafe in heed, and neither can be avoided")]
    fn open(dir: &Path, durability: Durability) -> Result<Self> {
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES);
        if durability == Durability::Unsynced {
            // SAFETY: the flag gives up durability, which `Durability::Unsynced` does not promise;
            // it changes nothing about memory.
            unsafe { options.flags(EnvFlags::NO_SYNC) };
        }
        // SAFETY: the file is mapped, and must not be changed but through LMDB while it is. It lies
        // in a directory that this cell made for itself, and its processes run one after the other.
        let env = unsafe { options.open(dir)? };
        let log = env
            .create_databases_and_commit(env.write_txn()?, |opener, transaction| {
                opener.create_database(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
            })?
            .commit()
            .ok_or("the database was not created")?;
        Ok(Self { env, log })
    }

    fn append(&self, record: &[u8]) -> Result<()> {
        self.transaction(&[record])
    }

    fn append_batch(&self, records: &[&[u8]]) -> Result<()> {
        self.transaction(records)
    }

    fn append_then_sync(&self, _writer: usize, records: &[&[u8]]) -> Result<()> {
        self.transaction(records)
    }

    fn scan(dir: &Path, scan: &mut Scan) -> Result<()> {
        let Self { env, log } = Self::open(dir, Durability::EveryGroup)?;
        scan.time(|tally| {
            let transaction = env.read_txn()?;
            for pair in log.iter(&transaction)? {
                tally.add(pair?.1);
            }
            Ok(())
        })
    }
}

impl Heed {
    /// Appends all of `records` by one transaction, as durable as the environment was opened.
    fn transaction(&self, records: &[&[u8]]) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        let first = self.log.last(&transaction)?.map_or(0, |(last, _)| last + 1);
        for (key, record) in (first..).zip(records) {
            self.log.put_with_flags(&mut transaction, PutFlags::APPEND, &key, record)?;
        }
        Ok(transaction.commit()?)
    }
}
