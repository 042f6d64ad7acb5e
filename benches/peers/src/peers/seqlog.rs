//! `seqlog`: records under consecutive numbers, with a sparse index.
//!
//! It has no group commit ready-made, but the parts of one: its `SeqLogSyncer` syncs from any thread
//! while others append, and `sync_seq` says up to which number everything is durable. They are put
//! together here as an owner of the log would: one thread syncs, the others wait for what it covers.
//!
//! Rotation is off. It begins a new file without syncing the old one, and a sync that knows only the
//! new file leaves the end of the old one behind.

use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use seqlog::{SeqLog, SeqLogSyncer};

use super::{Peer, lock};
use crate::Result;
use crate::measure::Scan;
use crate::workload::{Durability, Workload};

pub struct Seqlog {
    log: Mutex<SeqLog>,
    syncs: Mutex<Syncs>,
    synced: Condvar,
}

struct Syncs {
    /// Away while a thread is syncing with it.
    syncer: Option<SeqLogSyncer>,
    /// Everything below this number is durable.
    durable_below: u64,
}

impl Peer for Seqlog {
    const NAME: &'static str = "seqlog";

    fn cannot(_workload: Workload) -> Option<&'static str> {
        None
    }

    fn note(workload: Workload) -> Option<&'static str> {
        (workload == Workload::SyncEach64)
            .then_some("seqlog: a group commit put together here from its syncer; it has none ready-made")
    }

    fn open(dir: &Path, _durability: Durability) -> Result<Self> {
        // It insists on creating its directory itself.
        let mut log = SeqLog::create(dir.join("log"), 0)?;
        log.set_rotate(0, 0);
        let syncs = Syncs { syncer: Some(log.syncer()?), durable_below: 0 };
        Ok(Self { log: Mutex::new(log), syncs: Mutex::new(syncs), synced: Condvar::new() })
    }

    fn append(&self, record: &[u8]) -> Result<()> {
        self.append_batch(&[record])
    }

    fn append_batch(&self, records: &[&[u8]]) -> Result<()> {
        Ok(lock(&self.log).append(records)?)
    }

    fn append_then_sync(&self, _writer: usize, records: &[&[u8]]) -> Result<()> {
        let end = {
            let mut log = lock(&self.log);
            for record in records {
                log.append(&[record])?;
            }
            log.next_seq()
        };
        self.wait_until_durable(end)
    }

    fn scan(dir: &Path, scan: &mut Scan) -> Result<()> {
        let log = SeqLog::open(dir.join("log"))?;
        scan.time(|tally| {
            let mut reader = log.reader(0, false)?;
            while let Some(record) = reader.next()? {
                tally.add(record);
            }
            Ok(())
        })
    }
}

impl Seqlog {
    /// Returns once everything below `end` is durable, by a sync of this thread or of another.
    fn wait_until_durable(&self, end: u64) -> Result<()> {
        let mut syncs = lock(&self.syncs);
        while syncs.durable_below < end {
            let Some(mut syncer) = syncs.syncer.take() else {
                syncs = self.synced.wait(syncs).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(syncs);
            let outcome = syncer.sync();
            let durable_below = lock(&self.log).sync_seq();
            syncs = lock(&self.syncs);
            syncs.syncer = Some(syncer);
            syncs.durable_below = durable_below;
            self.synced.notify_all();
            outcome?;
        }
        Ok(())
    }
}
