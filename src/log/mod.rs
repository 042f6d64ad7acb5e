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
use std::sync::OnceLock;

use bytes::Bytes;

pub(crate) use appender::{Appender, Ended};
pub(crate) use handle::Then;
pub use handle::{Log, LogInfo};
pub(crate) use reader::Bound;
pub use reader::{Batch, Reader, Record, StartAt};
pub use retention::Floor;
pub(crate) use retention::{AgeStop, Floors, KeepsRecords};
pub(crate) use watch::{Registration, Watch};

use crate::error::{Error, Result};
use crate::format::batch::BatchHeader;
use crate::format::checksum::Salt;
use crate::format::manifest::{DurabilityByte, LogRow, SegmentRow};
use crate::id::{FrameNumber, LogId, SequenceNumber, StoreId};
use crate::options::{Durability, LogOptions};
use crate::segment::{Segment, SegmentFiles, SegmentWriter, WriterContext};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, RwLock};
use crate::ticket::Turn;

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

impl View {
    /// Batches below `end` are in a segment now. Answers with their bytes.
    fn let_go(&mut self, end: SequenceNumber) -> u64 {
        let mut freed = 0;
        while self.pending.front().is_some_and(|b| b.header.end() <= end) {
            freed += self.pending.pop_front().map_or(0, |b| b.bytes.len() as u64);
        }
        self.pending_bytes -= freed;
        freed
    }
}

/// What a checkpoint would have to write of a log.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tail {
    /// Bytes in memory.
    pub(crate) pending: u64,
    /// How many pieces of packs the log ends in.
    pub(crate) pieces: usize,
    /// Their bytes.
    pub(crate) piece_bytes: u64,
}

/// Where what goes into a piece of a pack comes from.
pub(crate) struct Gathered {
    /// Pieces whose records are in it, too: it takes their place.
    pub(crate) merged: Vec<Arc<Segment>>,
    /// The first number that comes from memory.
    pending: Option<SequenceNumber>,
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
    /// For a buffered log: the last request for a durable note that it is about to be written.
    pub(crate) touch_asked: Mutex<Option<Arc<Turn>>>,
    /// In the checkpoint's list of logs to look at.
    pub(crate) listed: AtomicBool,
    /// Segments left it since a checkpoint took its row.
    pub(crate) left: AtomicBool,
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
    /// As far as calls asked for a trim, whether or not it is durable.
    trim_asked: AtomicU64,
    /// Everything below has expired by a rule; not on disk, for it follows from the rule.
    expired: AtomicU64,
    /// Everything below is known not to be readable any more: trims, rules as far as anybody worked them out, and all of a deleted
    /// log. For who looks at each record.
    gone: AtomicU64,
    /// First number that was lost to damage; [`NONE`] while all is well.
    stopped_at: AtomicU64,
    byte_horizon: Mutex<(u64, SequenceNumber)>,
    /// How far back floors may hold a rule's horizon: the horizon, how many bytes they may hold, and the answer.
    held_from: Mutex<(SequenceNumber, u64, SequenceNumber)>,
    /// Whether an age or byte rule is set, for a look without the lock.
    rules: AtomicBool,
    /// Where time stands for the age rule, see [`AgeStop`]; [`NONE`] while it goes on.
    age_stands_ms: AtomicU64,
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
        let segments = row.segments.iter().map(|s| Arc::new(Segment::existing(row.id, salt, s))).collect();
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
            touch_asked: Mutex::default(),
            listed: AtomicBool::new(false),
            left: AtomicBool::new(false),
            created_in: AtomicU64::new(0),
            deleted_in: AtomicU64::new(NONE),
            settled: AtomicU64::new(row.end),
            deleted: AtomicBool::new(false),
            closed: AtomicBool::new(row.closed),
            high: AtomicU64::new(row.end),
            horizon: AtomicU64::new(row.horizon),
            trim_asked: AtomicU64::new(row.horizon),
            expired: AtomicU64::new(0),
            gone: AtomicU64::new(row.horizon),
            stopped_at: AtomicU64::new(row.stopped_at.unwrap_or(NONE)),
            byte_horizon: Mutex::new((NONE, 0)),
            held_from: Mutex::new((NONE, 0, 0)),
            rules: AtomicBool::new(rules),
            age_stands_ms: AtomicU64::new(NONE),
        }
    }

    /// The row as the manifest should have it once everything below the segments' end is durable. For a durable log that is
    /// the state as of the frame up to which it was flushed.
    pub(crate) fn row(&self) -> LogRow {
        // Before the view is: what is below it is in a segment by then, or waits in memory. What comes to be meanwhile is neither's.
        let high = self.high();
        let view = self.view.read().unwrap_or_else(|p| p.into_inner());
        let segments: Vec<_> = view.segments.iter().filter(|s| !s.is_empty()).map(|s| s.row()).collect();
        let pending_first = view.pending.front().map(|b| b.header.first);
        drop(view);
        let options = self.options.read().unwrap_or_else(|p| p.into_inner()).clone();
        let appender = self.appender.lock();
        let high = if crate::seeded_bug!(EndReadBehindView) { self.high() } else { high };
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
                (Durability::Durable, None) => high,
                (Durability::Buffered, _) => last.map_or(high, |s| s.end.max(high)),
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

    /// Its segments that have records, each with whether nothing of it waits in the page cache to be written. What is being written
    /// stands still while they are taken, so each ends where a batch does.
    pub(crate) fn stored(&self) -> Vec<(SegmentRow, bool)> {
        let writer = self.writer.lock();
        let view = self.view.read().unwrap_or_else(|p| p.into_inner());
        let stored = view.segments.iter().filter(|segment| !segment.is_empty());
        stored.map(|segment| (segment.row(), writer.is_settled(segment))).collect()
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
        let mut cached = self.byte_horizon.lock();
        *self.options.write().unwrap_or_else(|p| p.into_inner()) = options;
        cached.0 = NONE;
        drop(cached);
        self.rules.store(rules, Ordering::Release);
    }

    pub(crate) fn trimmed(&self) -> SequenceNumber {
        self.horizon.load(Ordering::Acquire)
    }

    pub(crate) fn trim(&self, upto: SequenceNumber) {
        if self.horizon.fetch_max(upto, Ordering::AcqRel) < upto {
            self.note_gone(upto);
            self.let_go();
        }
    }

    fn note_gone(&self, below: SequenceNumber) {
        self.gone.fetch_max(below, Ordering::AcqRel);
    }

    /// Whether anybody found that this record may not be read any more.
    #[inline]
    pub(crate) fn is_known_gone(&self, number: SequenceNumber) -> bool {
        number < self.gone.load(Ordering::Acquire)
    }

    pub(crate) fn ask_trim(&self, upto: SequenceNumber) {
        self.trim_asked.fetch_max(upto, Ordering::AcqRel);
    }

    /// Trims as far as it was asked to; whether that makes a difference, and whether it was asked for more than is durable. What a
    /// manifest says of it then is durable as well as what a frame says.
    pub(crate) fn trim_ahead(&self) -> (bool, bool) {
        let (asked, high) = (self.trim_asked.load(Ordering::Acquire), self.high());
        let upto = asked.min(high);
        let ahead = self.trimmed() < upto;
        self.trim(upto);
        (ahead, asked > high && !self.is_deleted())
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// Whether a frame up to this one deletes it.
    pub(crate) fn is_deleted_by(&self, frame: FrameNumber) -> bool {
        self.deleted_in.load(Ordering::Acquire) <= frame
    }

    /// The deletion is durable: handles and readers end.
    pub(crate) fn set_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
        self.note_gone(NONE);
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

    /// Writes the durable batches in memory up to frame `upto` into segments, through the page cache, and lets go of them; what
    /// the log has in packs comes along, with `gather` also if nothing else is to be written.
    /// Returns the bytes let go and the segments this made redundant. On an error what was written so far counts.
    pub(crate) fn flush(
        &self,
        files: &SegmentFiles,
        upto: FrameNumber,
        gather: bool,
    ) -> (u64, Vec<Arc<Segment>>, std::io::Result<()>) {
        let mut writer = self.writer.lock();
        self.flush_with(&mut writer, files, upto, gather)
    }

    pub(crate) fn flush_with(
        &self,
        writer: &mut SegmentWriter,
        files: &SegmentFiles,
        upto: FrameNumber,
        gather: bool,
    ) -> (u64, Vec<Arc<Segment>>, std::io::Result<()>) {
        let dropped = self.drop_trimmed(upto);
        let batches = self.due(upto);
        let in_pack =
            || self.view.read().unwrap_or_else(|p| p.into_inner()).segments.last().is_some_and(|s| s.is_piece());
        if batches.is_empty() && !(gather && in_pack()) {
            return (dropped, Vec::new(), Ok(()));
        }
        let (begun, redundant, outcome) = self.write_out(writer, files, batches);
        let freed = dropped + self.settle_view(begun, &redundant);
        (freed, redundant, outcome)
    }

    /// The durable batches in memory up to frame `upto`.
    fn due(&self, upto: FrameNumber) -> Vec<(BatchHeader, Bytes)> {
        let high = self.high();
        let view = self.view.read().unwrap_or_else(|p| p.into_inner());
        let due = view.pending.iter().take_while(|b| b.header.frame <= upto && b.header.end() <= high);
        due.map(|b| (b.header, b.bytes.clone())).collect()
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

    /// Writes batches to the log's own segments. What the log has in packs right before them is copied in front of them, and so
    /// is a small last segment of an earlier life, unless the log is stopped. Answers with the segments begun, those made redundant, and how it went; how
    /// far it got can be read off the segments.
    pub(crate) fn write_out(
        &self,
        writer: &mut SegmentWriter,
        files: &SegmentFiles,
        batches: Vec<(BatchHeader, Bytes)>,
    ) -> (Vec<Arc<Segment>>, Vec<Arc<Segment>>, std::io::Result<()>) {
        // Behind the end of a stopped log's last segment there may be a large share that is withheld, for a salvage to find.
        let own = (writer.is_fresh() && self.stopped_at().is_none())
            .then(|| crate::segment::TAKE_OVER_BYTES.min(self.segment_bytes_max() / 2));
        let (redundant, batches) = self.take_over(files, batches, usize::MAX, own);
        let mut begun = Vec::new();
        let before = writer.active_row();
        let outcome = writer.write(&self.writer_context(files), &batches, &mut begun);
        // A copy is all or nothing: a part of one goes, the old ones stay.
        let reached = writer.active_row().map_or(0, |row| row.end);
        if outcome.is_err() && redundant.last().is_some_and(|old| reached <= old.end()) {
            writer.go_back(before, &begun);
            return (Vec::new(), begun, outcome);
        }
        (begun, redundant, outcome)
    }

    /// Copies out the pieces of packs that end where `batches` begin, so many at most, and, with `own`, a segment of at most so many
    /// bytes before them. Answers with what was copied, oldest first, and with its batches in front of the others.
    fn take_over(
        &self,
        files: &SegmentFiles,
        mut batches: Vec<(BatchHeader, Bytes)>,
        pieces: usize,
        own: Option<u64>,
    ) -> (Vec<Arc<Segment>>, Vec<(BatchHeader, Bytes)>) {
        let mut next = batches.first().map(|(first, _)| first.first);
        let mut taken = Vec::new();
        let last: Vec<_> = {
            let view = self.view.read().unwrap_or_else(|p| p.into_inner());
            view.segments.iter().rev().take(pieces).cloned().collect()
        };
        for segment in last {
            let small = segment.is_piece() || own.is_some_and(|own| segment.bytes() <= own);
            // What can't be read stays where it is.
            let joins = small && next.is_none_or(|next| next == segment.end());
            let Some(mut copied) = joins.then(|| segment.take_over(files).ok()).flatten() else { break };
            copied.append(&mut batches);
            (batches, next) = (copied, Some(segment.base));
            let last = !segment.is_piece();
            taken.insert(0, segment);
            if last {
                break;
            }
        }
        (taken, batches)
    }

    /// What the next checkpoint would have to write of it; in `sizes`, the bytes of the pieces it ends in, newest first.
    pub(crate) fn tail(&self, upto: FrameNumber, sizes: &mut Vec<u64>) -> Tail {
        let high = self.high();
        let view = self.view.read().unwrap_or_else(|p| p.into_inner());
        let due = view.pending.iter().take_while(|b| b.header.frame <= upto && b.header.end() <= high);
        let pending = due.map(|b| b.bytes.len() as u64).sum();
        let pieces = view.segments.iter().rev().take_while(|segment| segment.is_piece());
        sizes.clear();
        sizes.extend(pieces.map(|piece| piece.stored_bytes()));
        Tail { pending, pieces: sizes.len(), piece_bytes: sizes.iter().sum() }
    }

    /// The durable batches in memory up to frame `upto` for a piece of a pack, behind those of its last `merge` pieces.
    pub(crate) fn gather(
        &self,
        files: &SegmentFiles,
        upto: FrameNumber,
        merge: usize,
    ) -> (Gathered, Vec<(BatchHeader, Bytes)>) {
        let batches = self.due(upto);
        let pending = batches.first().map(|(first, _)| first.first);
        let (merged, batches) = self.take_over(files, batches, merge, None);
        (Gathered { merged, pending }, batches)
    }

    /// Shows a piece whose pack is durable, in the place of what was gathered for it. Answers with the bytes let go; `None` if
    /// the log moved on meanwhile and the piece is not needed.
    pub(crate) fn show_piece(&self, row: &SegmentRow, gathered: &Gathered) -> Option<u64> {
        let _nobody_writes = self.writer.lock();
        let mut view = self.view.write().unwrap_or_else(|p| p.into_inner());
        let kept = view.segments.len().checked_sub(gathered.merged.len())?;
        let same = view.segments[kept..].iter().zip(&gathered.merged).all(|(a, b)| Arc::ptr_eq(a, b));
        let first = view.pending.front().map(|b| b.header.first);
        if !same || gathered.pending.is_some_and(|pending| first != Some(pending)) {
            return None;
        }
        view.segments.truncate(kept);
        view.segments.push(Arc::new(Segment::existing(self.id, self.salt, row)));
        let freed = view.let_go(row.end);
        drop(view);
        if !gathered.merged.is_empty() {
            self.let_go();
        }
        Some(freed)
    }

    /// Number after the last record that is in a segment.
    pub(crate) fn segments_end(&self) -> SequenceNumber {
        let view = self.view.read().unwrap_or_else(|p| p.into_inner());
        view.segments.last().map_or(0, |segment| segment.end())
    }

    /// Recovery only: the log's segments and end become what a row says that has more of the log than they, and batches that they hold
    /// go. Answers with their bytes, and with the segments that the row has no more.
    ///
    /// A row of the journal may be older than the manifest all the same, and name segments that were trimmed and forgotten since: their
    /// files are gone, or about to be.
    pub(crate) fn replace_segments(&self, row: &LogRow) -> (u64, Vec<Arc<Segment>>) {
        let horizon = self.trimmed();
        let mut view = self.view.write().unwrap_or_else(|p| p.into_inner());
        let known = |row: &SegmentRow| view.segments.iter().any(|s| s.id == row.id && s.base == row.base);
        let there = row.segments.iter().filter(|segment| segment.end > horizon || known(segment));
        let segments = there.map(|segment| Arc::new(Segment::existing(self.id, self.salt, segment))).collect();
        let mut replaced = std::mem::replace(&mut view.segments, segments);
        replaced.retain(|old| !view.segments.iter().any(|s| s.id == old.id && s.base == old.base));
        let freed = view.let_go(row.end);
        drop(view);
        self.set_high(row.end);
        self.trim(row.horizon);
        let mut appender = self.appender.lock();
        let next = appender.next().max(row.end);
        appender.set_next(next);
        appender.note_arrival(row.last_arrival_ms);
        (freed, replaced)
    }

    fn segment_bytes_max(&self) -> u64 {
        self.options.read().unwrap_or_else(|p| p.into_inner()).segment_bytes_max
    }

    /// New segments come in, segments they replace and batches they hold go.
    pub(crate) fn settle_view(&self, begun: Vec<Arc<Segment>>, redundant: &[Arc<Segment>]) -> u64 {
        let mut view = self.view.write().unwrap_or_else(|p| p.into_inner());
        view.segments.retain(|s| redundant.iter().all(|r| !Arc::ptr_eq(r, s)));
        view.segments.extend(begun);
        let written = view.segments.last().map_or(0, |s| s.end());
        let freed = view.let_go(written);
        drop(view);
        if !redundant.is_empty() {
            self.let_go();
        }
        freed
    }
}
