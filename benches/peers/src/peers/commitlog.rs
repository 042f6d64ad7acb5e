//! `commitlog`: segments with a memory-mapped index.
//!
//! Nothing of it is ever durable by its own doing: `flush` ends in `File::flush`, which does nothing
//! for a file, and only the index is synced.

use std::path::Path;
use std::sync::Mutex;

use commitlog::message::{MessageBuf, MessageSet};
use commitlog::{CommitLog, LogOptions, ReadLimit};

use super::{Peer, lock};
use crate::Result;
use crate::measure::Scan;
use crate::workload::{Durability, Workload};

/// Bytes asked for by one call of the scan.
const READ_BYTES: usize = 256 << 10;

pub struct Commitlog(Mutex<Writer>);

struct Writer {
    log: CommitLog,
    /// Kept for its buffer.
    messages: MessageBuf,
}

impl Peer for Commitlog {
    const NAME: &'static str = "commitlog";

    fn cannot(workload: Workload) -> Option<&'static str> {
        (workload.durability() != Durability::Unsynced)
            .then_some("never syncs its records: flush() is File::flush, which does nothing")
    }

    fn open(dir: &Path, _durability: Durability) -> Result<Self> {
        Ok(Self(Mutex::new(Writer { log: CommitLog::new(LogOptions::new(dir))?, messages: MessageBuf::default() })))
    }

    fn append(&self, record: &[u8]) -> Result<()> {
        self.append_batch(&[record])
    }

    fn append_batch(&self, records: &[&[u8]]) -> Result<()> {
        let Writer { log, messages } = &mut *lock(&self.0);
        messages.clear();
        for record in records {
            messages.push(record).map_err(|error| format!("cannot encode a message: {error:?}"))?;
        }
        log.append(messages)?;
        Ok(())
    }

    fn scan(dir: &Path, scan: &mut Scan) -> Result<()> {
        let log = CommitLog::new(LogOptions::new(dir))?;
        scan.time(|tally| {
            let mut next = 0;
            loop {
                let messages = log.read(next, ReadLimit::max_bytes(READ_BYTES))?;
                if messages.is_empty() {
                    return Ok(());
                }
                for message in messages.iter() {
                    tally.add(message.payload());
                    next = message.offset() + 1;
                }
            }
        })
    }
}
