//! `okaywal`: a write-ahead log of entries, each of one or more chunks.
//!
//! An entry is durable when its commit returns, and writers that commit together share a sync; there
//! is no unsynced commit. A durable group is therefore one entry with a chunk for every record.
//!
//! It is meant to be emptied: at 768 KiB a file is handed over and reused. A log keeps what it is
//! given, so that point is moved out of reach, and the file is preallocated as its documentation
//! asks of whoever moves it.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use okaywal::{Configuration, Entry, EntryId, LogManager, LogVoid, SegmentReader, WriteAheadLog};

use super::{Peer, lock};
use crate::Result;
use crate::measure::Scan;
use crate::records::Tally;
use crate::workload::{Durability, Workload};

/// Enough for any run that syncs every record.
const PREALLOCATED_BYTES: u32 = 256 << 20;

pub struct OkayWal(WriteAheadLog);

impl Peer for OkayWal {
    const NAME: &'static str = "okaywal";

    fn cannot(workload: Workload) -> Option<&'static str> {
        match workload {
            Workload::Append | Workload::AppendBatch => Some("every commit syncs"),
            _ => None,
        }
    }

    fn note(workload: Workload) -> Option<&'static str> {
        match workload {
            Workload::Sync100 | Workload::Sync1000 => Some("okaywal: the group is one entry with a chunk a record"),
            Workload::Scan => {
                Some("okaywal: read by its recovery, its only way through the whole log; opening it is included")
            }
            _ => None,
        }
    }

    fn open(dir: &Path, _durability: Durability) -> Result<Self> {
        Ok(Self(configuration(dir).open(LogVoid)?))
    }

    fn append(&self, _record: &[u8]) -> Result<()> {
        Err("every commit syncs".into())
    }

    fn append_then_sync(&self, _writer: usize, records: &[&[u8]]) -> Result<()> {
        let mut entry = self.0.begin_entry()?;
        for record in records {
            entry.write_chunk(record)?;
        }
        entry.commit()?;
        Ok(())
    }

    fn scan(dir: &Path, scan: &mut Scan) -> Result<()> {
        scan.time(|tally| {
            let read = Arc::new(Mutex::new(Tally::default()));
            let log = configuration(dir).open(Reader(Arc::clone(&read)))?;
            *tally = *lock(&read);
            drop(log);
            Ok(())
        })
    }
}

fn configuration(dir: &Path) -> Configuration {
    Configuration::default_for(dir).preallocate_bytes(PREALLOCATED_BYTES).checkpoint_after_bytes(u64::MAX)
}

/// Counts what recovery hands over.
#[derive(Debug)]
struct Reader(Arc<Mutex<Tally>>);

impl LogManager for Reader {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        let mut tally = lock(&self.0);
        for chunk in entry.read_all_chunks()?.into_iter().flatten() {
            tally.add(&chunk);
        }
        Ok(())
    }

    fn checkpoint_to(&mut self, _last: EntryId, _entries: &mut SegmentReader, _log: &WriteAheadLog) -> io::Result<()> {
        Ok(())
    }
}
