//! One file of a log: written at its end, then sealed, in the end freed.
//!
//! Three rules govern this room:
//!
//! 1. Bytes below [`Segment::bytes`] never change. A reader looks below it only.
//! 2. A segment is written by the life that made it and by no other.
//! 3. Where a segment ends is known to the manifest, the journal and this life's memory, never worked out from the file,
//!    buffered logs excepted, see [`scan`].

mod files;
mod index;
mod pack;
mod reader;
mod scan;
mod slot;
pub(crate) mod walk;
mod writer;

use std::sync::OnceLock;

pub(crate) use files::{
    OpenSegment, RESERVE_IDS, SegmentFiles, index_of, index_path, is_folder, segment_of, segment_path,
};
pub(crate) use pack::PackWriter;
pub(crate) use reader::Location;
pub(crate) use scan::{next_batch, scan_tail};
pub(crate) use writer::{SegmentWriter, TAKE_OVER_BYTES, Unsynced, WriterContext};

use crate::format::checksum::Salt;
use crate::format::manifest::SegmentRow;
use crate::format::segment::HEADER_BYTES;
use crate::id::{LogId, SegmentId, SequenceNumber};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, RwLock};

/// A segment as readers and writer share it.
pub(crate) struct Segment {
    pub(crate) id: SegmentId,
    pub(crate) log: LogId,
    /// Where its header is in the file: 0, or more for a piece of a pack.
    start: u64,
    /// Number of its first record.
    pub(crate) base: SequenceNumber,
    /// Salt of its batches.
    pub(crate) salt: Salt,
    /// How large it may become, for the length of its mapping.
    pub(crate) bytes_max: u64,
    end: AtomicU64,
    bytes: AtomicU64,
    first_arrival_ms: AtomicU64,
    last_arrival_ms: AtomicU64,
    index: RwLock<index::IndexCell>,
    verified: Verified,
    open: Mutex<slot::OpenSlot<Arc<OpenSegment>>>,
    recently_used: std::sync::atomic::AtomicBool,
}

impl Segment {
    /// A segment that exists: as the manifest describes it.
    pub(crate) fn existing(log: LogId, salt: Salt, row: &SegmentRow) -> Segment {
        Segment {
            log,
            id: row.id,
            start: row.start,
            base: row.base,
            salt,
            bytes_max: row.bytes,
            end: AtomicU64::new(row.end),
            bytes: AtomicU64::new(row.bytes),
            first_arrival_ms: AtomicU64::new(row.first_arrival_ms),
            last_arrival_ms: AtomicU64::new(row.last_arrival_ms),
            index: RwLock::new(index::IndexCell::Absent),
            verified: Verified::default(),
            open: Mutex::default(),
            recently_used: false.into(),
        }
    }

    /// A segment that this life is about to write.
    fn fresh(id: SegmentId, log: LogId, salt: Salt, base: SequenceNumber, bytes_max: u64) -> Segment {
        let bytes = HEADER_BYTES as u64;
        let row = SegmentRow { id, start: 0, base, end: base, bytes, first_arrival_ms: 0, last_arrival_ms: 0 };
        Segment {
            bytes_max,
            index: RwLock::new(index::IndexCell::Growing(Vec::new())),
            ..Segment::existing(log, salt, &row)
        }
    }

    /// Whether it has no records: one that was just begun, or that a failed write left so.
    pub(crate) fn is_empty(&self) -> bool {
        self.end() <= self.base
    }

    /// Number after its last record.
    pub(crate) fn end(&self) -> SequenceNumber {
        self.end.load(Ordering::Acquire)
    }

    /// Where it ends in the file: what lies behind is not valid, or not its own.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Where its first batch starts.
    pub(crate) fn first_batch(&self) -> u64 {
        self.start + HEADER_BYTES as u64
    }

    /// Bytes it takes, its header included.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.bytes() - self.start
    }

    /// Whether it is a piece of a pack, whose file is not its own.
    pub(crate) fn is_piece(&self) -> bool {
        self.start > 0
    }

    pub(crate) fn first_arrival_ms(&self) -> u64 {
        self.first_arrival_ms.load(Ordering::Acquire)
    }

    pub(crate) fn last_arrival_ms(&self) -> u64 {
        self.last_arrival_ms.load(Ordering::Acquire)
    }

    pub(crate) fn row(&self) -> SegmentRow {
        SegmentRow {
            id: self.id,
            start: self.start,
            base: self.base,
            end: self.end(),
            bytes: self.bytes(),
            first_arrival_ms: self.first_arrival_ms(),
            last_arrival_ms: self.last_arrival_ms(),
        }
    }

    pub(crate) fn path(&self) -> String {
        segment_path(self.id)
    }
}

/// Which batches were verified in this life: one bit for every 32 bytes, of which no two batches share one, made for the
/// megabytes that are read; of a small segment, or piece of a pack, as many as it has bytes for.
#[derive(Default)]
struct Verified(OnceLock<Box<[VerifiedChunk]>>);

/// The bits of one megabyte.
type VerifiedChunk = OnceLock<Box<[AtomicU64]>>;

const VERIFIED_CHUNK: u64 = 1 << 20;
/// Bytes that a word of bits stands for.
const VERIFIED_WORD: u64 = 64 * 32;

impl Verified {
    fn contains(&self, position: u64) -> bool {
        let chunk = self.0.get().and_then(|chunks| chunks.get((position / VERIFIED_CHUNK) as usize));
        chunk
            .and_then(OnceLock::get)
            .and_then(|bits| bits.get((position % VERIFIED_CHUNK / VERIFIED_WORD) as usize))
            .is_some_and(|word| word.load(Ordering::Relaxed) >> (position / 32 % 64) & 1 == 1)
    }

    fn insert(&self, position: u64, bytes_max: u64) {
        let bytes_max = bytes_max.max(position + 1);
        let chunks = self.0.get_or_init(|| {
            let n = bytes_max.div_ceil(VERIFIED_CHUNK) as usize;
            std::iter::repeat_with(OnceLock::new).take(n).collect()
        });
        let at = position / VERIFIED_CHUNK;
        if let Some(chunk) = chunks.get(at as usize) {
            let words = (bytes_max - at * VERIFIED_CHUNK).min(VERIFIED_CHUNK).div_ceil(VERIFIED_WORD);
            let bits = chunk.get_or_init(|| std::iter::repeat_with(AtomicU64::default).take(words as usize).collect());
            if let Some(word) = bits.get((position % VERIFIED_CHUNK / VERIFIED_WORD) as usize) {
                word.fetch_or(1 << (position / 32 % 64), Ordering::Relaxed);
            }
        }
    }
}
