//! One ordered log: what is readable, who waits for more, and how it gets from memory to segments.
//!
//! Three marks, in order: the trim horizon (oldest readable), the high watermark (readable and durable up to), the log end
//! (appended). A reader looks between the first two. Locks are taken in this order: writer, view, appender.

mod appender;
mod handle;
mod reader;
mod retention;
mod watch;

use std::collections::VecDeque;
use std::sync::{OnceLock, RwLock};

use bytes::Bytes;

pub(crate) use appender::{Appender, Ended};
pub use handle::{Log, LogInfo};
pub(crate) use reader::Bound;
pub use reader::{Batch, Reader, Record, StartAt};
pub use retention::Floor;
pub(crate) use retention::{Floors, KeepsRecords};
pub(crate) use watch::{Registration, Watch};

use crate::error::{Error, Result};
use crate::format::batch::BatchHeader;
use crate::format::checksum::Salt;
use crate::format::manifest::{DurabilityByte, LogRow};
use crate::id::{FrameNumber, LogId, SequenceNumber, StoreId};
use crate::options::{Durability, LogOptions};
use crate::segment::{Segment, SegmentFiles, SegmentWriter, WriterContext};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering};

/// No frame, no number.
pub(crate) const NONE: u64 = u64::MAX;

/// A batch that is framed but in no segment yet: readers get it from memory.
#[derive(Clone)]
pub(crate) struct PendingBatch {
    pub(crate) header: BatchHeader,
    /// The whole batch, header and padding included.
    pub(crate) bytes: Bytes,
}

/// Where a log's records are: segments, then batches in memory.
#[derive(Default)]
pub(crate) struct View {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) pending: VecDeque<PendingBatch>,
    pub(crate) pending_bytes: u64,
}

/// A log as the whole engine shares it.
pub(crate) struct LogState {
    pub(crate) id: LogId,
    pub(crate) name: Arc<str>,
    pub(crate) created_ms: u64,
    pub(crate) durability: Durability,
    pub(crate) salt: Salt,
    pub(crate) options: RwLock<LogOptions>,
    pub(crate) appender: Mutex<Appender>,
    pub(crate) view: RwLock<View>,
    pub(crate) writer: Mutex<SegmentWriter>,
    pub(crate) watch: Watch,
    pub(crate) floors: Arc<Floors>,
    /// Who keeps records of it for its readers.
    pub(crate) keeper: OnceLock<std::sync::Arc<dyn KeepsRecords>>,
    /// In the checkpoint's list of logs to look at.
    pub(crate) listed: AtomicBool,
    /// The frames that created and deleted it; [`NONE`] while there is none.
    pub(crate) created_in: AtomicU64,
    pub(crate) deleted_in: AtomicU64,
    /// For a buffered log: the end its last row in a manifest has.
    pub(crate) settled: AtomicU64,
    deleted: AtomicBool,
    /// Closed, durably: it ends at the high watermark.
    closed: AtomicBool,
    high: AtomicU64,
    /// Everything below was trimmed by a call, or freed.
    horizon: AtomicU64,
    /// Everything below has expired by a rule; not on disk, for it follows from the rule.
    expired: AtomicU64,
    /// First number that was lost to damage; [`NONE`] while all is well.
    stopped_at: AtomicU64,
    byte_horizon: Mutex<(u64, SequenceNumber)>,
    /// Whether an age or byte rule is set, for a look without the lock.
    rules: AtomicBool,
}

pub(crate) fn options_of(row: &LogRow) -> LogOptions {
    let some = |n: u64| (n != 0).then_some(n);
    LogOptions {
        durability: match row.durability {
            DurabilityByte::Durable => Durability::Durable,
            DurabilityByte::Buffered => Durability::Buffered,
        },
        retention_age: some(row.retention_ms).map(std::time::Duration::from_millis),
        retention_bytes: some(row.retention_bytes),
        held_bytes_max: row.held_bytes_max,
        segment_bytes_max: row.segment_bytes_max,
    }
}

pub(crate) fn put_options(row: &mut LogRow, options: &LogOptions) {
    row.durability = match options.durability {
        Durability::Durable => DurabilityByte::Durable,
        Durability::Buffered => DurabilityByte::Buffered,
    };
    row.retention_ms = options.retention_age.map_or(0, |age| age.as_millis() as u64);
    row.retention_bytes = options.retention_bytes.unwrap_or(0);
    row.held_bytes_max = options.held_bytes_max;
    row.segment_bytes_max = options.segment_bytes_max;
}

impl LogState {
    pub(crate) fn from_row(row: &LogRow, origin: StoreId, touched: bool) -> LogState {
        let salt = Salt::batches(origin, row.id);
        let segments = row.segments.iter().map(|s| Arc::new(Segment::existing(salt, s))).collect();
        let options = options_of(row);
        let rules = options.retention_age.is_some() || options.retention_bytes.is_some();
        let mut appender = Appender::new(row.end, row.last_arrival_ms, row.reserved, touched);
        if row.closed {
            appender.end(Ended::Closed);
        }
        LogState {
            id: row.id,
            name: row.name.as_str().into(),
            created_ms: row.created_ms,
            durability: options.durability,
            salt,
            options: RwLock::new(options),
            appender: Mutex::new(appender),
            view: RwLock::new(View { segments, ..View::default() }),
            writer: Mutex::default(),
            watch: Watch::default(),
            floors: Arc::default(),
            keeper: OnceLock::new(),
            listed: AtomicBool::new(false),
            created_in: AtomicU64::new(0),
            deleted_in: AtomicU64::new(NONE),
            settled: AtomicU64::new(row.end),
            deleted: AtomicBool::new(false),
            closed: AtomicBool::new(row.closed),
            high: AtomicU64::new(row.end),
            horizon: AtomicU64::new(row.horizon),
            expired: AtomicU64::new(0),
            stopped_at: AtomicU64::new(row.stopped_at.unwrap_or(NONE)),
            byte_horizon: Mutex::new((NONE, 0)),
            rules: AtomicBool::new(rules),
        }
    }

    /// The row as the manifest should have it once everything below the segments' end is durable. For a durable log that is
    /// the state as of the frame up to which it was flushed.
    pub(crate) fn row(&self) -> LogRow {
        let view = self.view.read().unwrap_or_else(|p| p.into_inner());
        let segments: Vec<_> = view.segments.iter().filter(|s| s.end() > s.base).map(|s| s.row()).collect();
        let pending_first = view.pending.front().map(|b| b.header.first);
        drop(view);
        let options = self.options.read().unwrap_or_else(|p| p.into_inner()).clone();
        let appender = self.appender.lock();
        let last = segments.last();
        let mut row = LogRow {
            id: self.id,
            name: self.name.to_string(),
            created_ms: self.created_ms,
            stopped_at: self.stopped_at(),
            closed: self.is_closed(),
            horizon: self.horizon.load(Ordering::Acquire),
            end: match (self.durability, pending_first) {
                // What memory still holds is the journal's.
                (Durability::Durable, Some(first)) => first,
                (Durability::Durable, None) => self.high(),
                (Durability::Buffered, _) => last.map_or(self.high(), |s| s.end.max(self.high())),
            },
            reserved: appender.reserved(),
            last_arrival_ms: appender.last_arrival_ms(),
            ..LogRow::default()
        };
        drop(appender);
        row.end = row.end.max(last.map_or(0, |s| s.end));
        put_options(&mut row, &options);
        row.segments = segments;
        row
    }

    /// Readable and durable up to here: the number after the last such record.
    pub(crate) fn high(&self) -> SequenceNumber {
        self.high.load(Ordering::SeqCst)
    }

    /// Moves the high watermark. Called in one place, after the frame is durable.
    pub(crate) fn set_high(&self, end: SequenceNumber) {
        self.high.fetch_max(end, Ordering::SeqCst);
    }

    /// Whether an age or byte rule is set.
    pub(crate) fn has_rules(&self) -> bool {
        self.rules.load(Ordering::Acquire)
    }

    pub(crate) fn set_options(&self, options: LogOptions) {
        let rules = options.retention_age.is_some() || options.retention_bytes.is_some();
        *self.options.write().unwrap_or_else(|p| p.into_inner()) = options;
        self.byte_horizon.lock().0 = NONE;
        self.rules.store(rules, Ordering::Release);
    }

    pub(crate) fn trimmed(&self) -> SequenceNumber {
        self.horizon.load(Ordering::Acquire)
    }

    pub(crate) fn trim(&self, upto: SequenceNumber) {
        if self.horizon.fetch_max(upto, Ordering::AcqRel) < upto {
            self.let_go();
        }
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// The deletion is durable: handles and readers end.
    pub(crate) fn set_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
        self.let_go();
        self.watch.wake();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The close is durable: readers end where the log does.
    pub(crate) fn set_closed(&self) {
        self.closed.store(true, Ordering::Release);
        self.watch.wake();
    }

    /// Whether more may be appended, at this moment under the lock of its appender.
    pub(crate) fn check_appendable(&self, appender: &Appender) -> Result<()> {
        self.check_alive()?;
        match (appender.ended(), self.stopped_at()) {
            (None, None) => Ok(()),
            (Some(Ended::Deleted), _) => Err(Error::LogDeleted { log: self.name.to_string() }),
            (Some(Ended::Closed), _) => Err(Error::LogClosed { log: self.name.to_string() }),
            (None, Some(at)) => Err(Error::LogStopped { log: self.name.to_string(), at }),
        }
    }

    pub(crate) fn stopped_at(&self) -> Option<SequenceNumber> {
        let at = self.stopped_at.load(Ordering::Acquire);
        (at != NONE).then_some(at)
    }

    pub(crate) fn stop_at(&self, number: SequenceNumber) {
        self.stopped_at.fetch_min(number, Ordering::AcqRel);
    }

    /// Whether it can be used at all.
    pub(crate) fn check_alive(&self) -> Result<()> {
        if self.is_deleted() { Err(Error::LogDeleted { log: self.name.to_string() }) } else { Ok(()) }
    }

    pub(crate) fn writer_context<'a>(&self, files: &'a SegmentFiles) -> WriterContext<'a> {
        let segment_bytes_max = self.options.read().unwrap_or_else(|p| p.into_inner()).segment_bytes_max;
        WriterContext { files, log: self.id, salt: self.salt, segment_bytes_max }
    }

    /// Hands framed batches to the readers' side, below which the high watermark will move.
    pub(crate) fn push_pending(&self, batches: impl IntoIterator<Item = PendingBatch>) {
        let mut view = self.view.write().unwrap_or_else(|p| p.into_inner());
        for batch in batches {
            view.pending_bytes += batch.bytes.len() as u64;
            view.pending.push_back(batch);
        }
    }

    /// Writes the durable batches in memory up to frame `upto` into segments, through the page cache, and lets go of them.
    /// Returns the bytes let go and the segments this made redundant. On an error what was written so far counts.
    pub(crate) fn flush(
        &self,
        files: &SegmentFiles,
        upto: FrameNumber,
    ) -> (u64, Vec<Arc<Segment>>, std::io::Result<()>) {
        let mut writer = self.writer.lock();
        self.flush_with(&mut writer, files, upto)
    }

    pub(crate) fn flush_with(
        &self,
        writer: &mut SegmentWriter,
        files: &SegmentFiles,
        upto: FrameNumber,
    ) -> (u64, Vec<Arc<Segment>>, std::io::Result<()>) {
        let dropped = self.drop_trimmed(upto);
        let high = self.high();
        let (mut batches, last): (Vec<_>, _) = {
            let view = self.view.read().unwrap_or_else(|p| p.into_inner());
            let due = view.pending.iter().take_while(|b| b.header.frame <= upto && b.header.end() <= high);
            (due.map(|b| (b.header, b.bytes.clone())).collect(), view.segments.last().cloned())
        };
        if batches.is_empty() {
            return (dropped, Vec::new(), Ok(()));
        }
        let (begun, redundant, outcome) = self.write_out(writer, files, std::mem::take(&mut batches), last);
        let freed = dropped + self.settle_view(begun, &redundant);
        (freed, redundant, outcome)
    }

    /// Lets go of durable batches that were trimmed before any segment had them: on a full disk there may be no room for them.
    fn drop_trimmed(&self, upto: FrameNumber) -> u64 {
        let horizon = self.trimmed().min(self.high());
        let mut view = self.view.write().unwrap_or_else(|p| p.into_inner());
        let mut dropped = 0;
        while view.pending.front().is_some_and(|b| b.header.end() <= horizon && b.header.frame <= upto) {
            dropped += view.pending.pop_front().map_or(0, |b| b.bytes.len() as u64);
        }
        view.pending_bytes -= dropped;
        dropped
    }

    /// Writes batches behind `last`, the log's newest segment. Answers with the segments begun, those made redundant, and
    /// how it went; how far it got can be read off the segments.
    pub(crate) fn write_out(
        &self,
        writer: &mut SegmentWriter,
        files: &SegmentFiles,
        mut batches: Vec<(BatchHeader, Bytes)>,
        last: Option<Arc<Segment>>,
    ) -> (Vec<Arc<Segment>>, Vec<Arc<Segment>>, std::io::Result<()>) {
        let mut redundant = Vec::new();
        let small = crate::segment::TAKE_OVER_BYTES.min(self.segment_bytes_max() / 2);
        if writer.is_fresh()
            && let Some(old) = last.filter(|old| old.bytes() <= small)
            && batches.first().is_some_and(|(first, _)| first.first == old.end())
            && let Ok(mut taken) = old.take_over(files)
        {
            taken.append(&mut batches);
            batches = taken;
            redundant.push(old);
        }
        let mut begun = Vec::new();
        let outcome = writer.write(&self.writer_context(files), &batches, &mut begun);
        // While a segment is taken over it is all or nothing: a part of a copy goes, the old one stays.
        let partial = |old: &Arc<Segment>| begun.last().is_none_or(|s| s.end() <= old.end());
        if outcome.is_err() && redundant.first().is_some_and(partial) {
            *writer = SegmentWriter::default();
            return (Vec::new(), begun, outcome);
        }
        (begun, redundant, outcome)
    }

    /// Recovery only: the log's segments and end become what a row says, and batches that they hold go. Returns their bytes.
    pub(crate) fn replace_segments(&self, row: &LogRow) -> u64 {
        let segments = row.segments.iter().map(|s| Arc::new(Segment::existing(self.salt, s))).collect();
        let mut view = self.view.write().unwrap_or_else(|p| p.into_inner());
        view.segments = segments;
        let mut freed = 0;
        while view.pending.front().is_some_and(|b| b.header.end() <= row.end) {
            freed += view.pending.pop_front().map_or(0, |b| b.bytes.len() as u64);
        }
        view.pending_bytes -= freed;
        drop(view);
        self.set_high(row.end);
        self.trim(row.horizon);
        let mut appender = self.appender.lock();
        let next = appender.next().max(row.end);
        appender.set_next(next);
        appender.note_arrival(row.last_arrival_ms);
        freed
    }

    fn segment_bytes_max(&self) -> u64 {
        self.options.read().unwrap_or_else(|p| p.into_inner()).segment_bytes_max
    }

    /// New segments come in, segments they replace and batches they hold go.
    pub(crate) fn settle_view(&self, begun: Vec<Arc<Segment>>, redundant: &[Arc<Segment>]) -> u64 {
        let mut view = self.view.write().unwrap_or_else(|p| p.into_inner());
        view.segments.retain(|s| redundant.iter().all(|r| r.id != s.id));
        view.segments.extend(begun);
        let written = view.segments.last().map_or(0, |s| s.end());
        let mut freed = 0;
        while view.pending.front().is_some_and(|b| b.header.end() <= written) {
            if let Some(batch) = view.pending.pop_front() {
                freed += batch.bytes.len() as u64;
            }
        }
        view.pending_bytes -= freed;
        drop(view);
        if !redundant.is_empty() {
            self.let_go();
        }
        freed
    }
}
