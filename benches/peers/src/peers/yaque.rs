//! `yaque`: a queue between one sender and one receiver, in segments of 4 MiB.
//!
//! It flushes to the operating system and never syncs. What is appended is what is sent; the scan
//! uses its iterator, which leaves the queue as it was.

use std::path::Path;
use std::sync::Mutex;

use yaque::{QueueIter, Sender};

use super::{Peer, lock};
use crate::Result;
use crate::measure::Scan;
use crate::workload::{Durability, Workload};

pub struct Yaque(Mutex<Sender>);

impl Peer for Yaque {
    const NAME: &'static str = "yaque";

    fn cannot(workload: Workload) -> Option<&'static str> {
        (workload.durability() != Durability::Unsynced).then_some("has no sync at all")
    }

    fn open(dir: &Path, _durability: Durability) -> Result<Self> {
        Ok(Self(Mutex::new(Sender::open(dir)?)))
    }

    fn append(&self, record: &[u8]) -> Result<()> {
        // Its error carries the record, which would tie the error to the record's lifetime.
        lock(&self.0).try_send(record).map_err(|error| error.to_string().into())
    }

    fn append_batch(&self, records: &[&[u8]]) -> Result<()> {
        lock(&self.0).try_send_batch(records).map_err(|error| error.to_string().into())
    }

    fn scan(dir: &Path, scan: &mut Scan) -> Result<()> {
        let queue = QueueIter::open(dir)?;
        scan.time(|tally| {
            for record in queue {
                tally.add(&record?);
            }
            Ok(())
        })
    }
}
