//! Who asked for what, and what came of it: records of a stream of the store itself.
//!
//! A request does not wait for its entry. A thread takes what came together and puts it in one call; what does not fit while
//! the disk stalls is counted and told by a later entry, never a reason to hold up a request.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;

use super::metrics::Metrics;
use crate::Engine;
use crate::error::{Error, Result};
use crate::limits::PUT_RECORDS_MAX;
use crate::stream::{PutRecordsEntry, Stream, StreamOptions};
use crate::sync::Arc;

/// The stream's name. It is listed, read and deleted as any other.
pub(super) const AUDIT_STREAM: &str = "braidlog-audit";
const RETENTION_HOURS: u32 = 168;
/// Entries that may wait for the disk.
const WAITING_MAX: usize = 8_192;
/// After a put that failed. The store says why elsewhere.
const PAUSE: Duration = Duration::from_secs(1);

/// One request: no body, no secret.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    /// When it was answered, in milliseconds since 1970.
    pub(super) time_ms: u64,
    pub(super) request_id: String,
    pub(super) peer: SocketAddr,
    /// Whose streams it was about; none where the caller was not let in.
    pub(super) account: Option<String>,
    /// What it was signed with, or says it was where nothing is verified.
    pub(super) access_key: Option<String>,
    pub(super) operation: &'static str,
    /// The stream, consumer or ARN that it names.
    pub(super) resource: Option<String>,
    pub(super) status: u16,
    /// The error's code.
    pub(super) error: Option<&'static str>,
    pub(super) bytes_in: usize,
    pub(super) bytes_out: usize,
    pub(super) micros: u64,
}

impl Entry {
    /// Of a request that nothing else is known of yet.
    pub(super) fn new(request_id: String, peer: SocketAddr, operation: &'static str, status: u16) -> Entry {
        Entry {
            time_ms: 0,
            request_id,
            peer,
            account: None,
            access_key: None,
            operation,
            resource: None,
            status,
            error: None,
            bytes_in: 0,
            bytes_out: 0,
            micros: 0,
        }
    }
}

/// Takes entries. The thread that puts them ends, and with it the last entries are there, when it is dropped.
pub(super) struct Audit {
    sender: Option<SyncSender<Entry>>,
    thread: Option<JoinHandle<()>>,
    metrics: Arc<Metrics>,
}

impl Audit {
    pub(super) fn start(engine: &Engine, metrics: Arc<Metrics>) -> Result<Audit> {
        let stream = match engine.stream(AUDIT_STREAM) {
            Err(Error::ResourceNotFound { .. }) => engine
                .create_active_stream(AUDIT_STREAM, StreamOptions::new().shards(1).retention_hours(RETENTION_HOURS))?,
            other => other?,
        };
        let (sender, receiver) = sync_channel(WAITING_MAX);
        let counted = metrics.clone();
        let run = move || keep(&stream, &receiver, &counted);
        let thread = std::thread::Builder::new().name("braidlog-audit".into()).spawn(run);
        let thread = thread.map_err(Error::io("start thread", "braidlog-audit"))?;
        Ok(Audit { sender: Some(sender), thread: Some(thread), metrics })
    }

    /// Notes a request. Never waits.
    pub(super) fn note(&self, entry: Entry) {
        if self.sender.as_ref().is_some_and(|sender| sender.try_send(entry).is_err()) {
            self.metrics.audit_lost(1);
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            // It could only have panicked, and then it is over, too.
            let _ = thread.join();
        }
    }
}

fn keep(stream: &Stream, entries: &Receiver<Entry>, metrics: &Metrics) {
    while let Ok(first) = entries.recv() {
        let batch: Vec<Entry> = std::iter::once(first).chain(entries.try_iter()).take(PUT_RECORDS_MAX).collect();
        // Of values that all have a form.
        let lines: Vec<Vec<u8>> = batch.iter().map(|entry| serde_json::to_vec(entry).unwrap_or_default()).collect();
        let records = batch
            .iter()
            .zip(&lines)
            .map(|(entry, line)| PutRecordsEntry::new(entry.account.as_deref().unwrap_or("refused"), line));
        let records: Vec<PutRecordsEntry<'_>> = records.collect();
        match stream.put_records(&records) {
            Ok(put) => metrics.audit_lost(put.failed_record_count() as u64),
            Err(error) => {
                metrics.audit_lost(records.len() as u64);
                tracing::error!(%error, entries = records.len(), "the audit log could not be written");
                std::thread::sleep(PAUSE);
            }
        }
    }
}
