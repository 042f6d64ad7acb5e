//! `braidlog`: this repository's own engine, embedded as anybody would, without its program.
//!
//! Durability belongs to a log. Unsynced records go to a buffered log, whose append returns once the page cache has them;
//! durable ones to a durable log, whose append returns once they are on stable storage. Nothing is waited for less than
//! its append asks: no ticket is left behind. Writers that meet share a sync.
//!
//! Its appends have a deadline unless the store is opened without one. No other engine has any, so here they have none.

use std::path::Path;
use std::time::Duration;

use braidlog::{Log, LogOptions, StartAt, Store, StoreOptions};

use super::Peer;
use crate::Result;
use crate::measure::Scan;
use crate::workload::{Durability, Workload};

const LOG: &str = "log";

pub struct Braidlog(Log);

impl Peer for Braidlog {
    const NAME: &'static str = "braidlog";

    fn cannot(_workload: Workload) -> Option<&'static str> {
        None
    }

    fn note(workload: Workload) -> Option<&'static str> {
        match workload.durability() {
            Durability::Unsynced => None,
            _ => Some("braidlog: opened without an append deadline, which no other engine has"),
        }
    }

    fn open(dir: &Path, durability: Durability) -> Result<Self> {
        let durability = match durability {
            Durability::Unsynced => braidlog::Durability::Buffered,
            Durability::EveryGroup | Durability::EveryRecord => braidlog::Durability::Durable,
        };
        // The handle keeps the store open.
        let store = Store::open_with(dir, StoreOptions::new().append_deadline(Duration::MAX))?;
        Ok(Self(store.create_log(LOG, LogOptions::new().durability(durability))?))
    }

    fn append(&self, record: &[u8]) -> Result<()> {
        self.0.append(record)?;
        Ok(())
    }

    fn append_batch(&self, records: &[&[u8]]) -> Result<()> {
        self.0.append_batch(records.iter().copied())?;
        Ok(())
    }

    fn append_then_sync(&self, _writer: usize, records: &[&[u8]]) -> Result<()> {
        self.0.append_batch(records.iter().copied())?;
        Ok(())
    }

    fn scan(dir: &Path, scan: &mut Scan) -> Result<()> {
        let log = Store::open(dir)?.log(LOG)?;
        scan.time(|tally| {
            let mut reader = log.read(StartAt::TrimHorizon)?;
            while let Some(batch) = reader.next_batch()? {
                batch.iter().for_each(|record| tally.add(record.data));
            }
            Ok(())
        })
    }
}
