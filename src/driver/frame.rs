//! A frame of the journal while it is put together, and what follows once it is durable.

use std::time::Instant;

use crate::core::Core;
use crate::env::AlignedBuf;
use crate::format::batch::{BatchBuilder, KIND_RECORDS};
use crate::format::checksum::Salt;
use crate::format::journal::{ENTRY_BYTES, Entry, EntryKind, FRAME_ALIGNMENT, FrameHeader, HEADER_BYTES, encode_front};
use crate::format::manifest::LogRow;
use crate::id::{FrameNumber, LogId, SequenceNumber};
use crate::log::{LogState, PendingBatch};
use crate::metrics::add;
use crate::options::LogOptions;
use crate::sync::{Arc, Ordering, fence};
use crate::ticket::Turn;
use crate::transaction::{Consequence, Decided};

/// What happens once a frame is durable, besides logs growing.
pub(super) enum Effect {
    Created {
        log: Arc<LogState>,
    },
    Deleted {
        log: Arc<LogState>,
    },
    Trimmed {
        log: Arc<LogState>,
        upto: SequenceNumber,
    },
    Touched {
        log: Arc<LogState>,
        reserved: SequenceNumber,
    },
    Closed {
        log: Arc<LogState>,
    },
    Options {
        log: Arc<LogState>,
        options: LogOptions,
    },
    /// What else follows from a transaction.
    Then {
        consequences: Vec<Consequence>,
        decided: Decided,
    },
}

impl Effect {
    fn log(&self) -> Option<&Arc<LogState>> {
        match self {
            Effect::Created { log }
            | Effect::Deleted { log }
            | Effect::Trimmed { log, .. }
            | Effect::Touched { log, .. }
            | Effect::Closed { log }
            | Effect::Options { log, .. } => Some(log),
            Effect::Then { .. } => None,
        }
    }
}

/// What one log grows by.
struct Share {
    log: Arc<LogState>,
    end: SequenceNumber,
    records: u64,
    bytes: u64,
    /// How many of the draft's batches are of it.
    batches: usize,
}

/// A frame being put together. A turn of many logs has an entry of each, so what there is of them lies in a few lists whose
/// memory is used again.
#[derive(Default)]
pub(super) struct Draft {
    entries: Vec<Entry>,
    /// The payloads of the entries that are batches, in their order: one share after the other.
    batches: Vec<PendingBatch>,
    shares: Vec<Share>,
    /// The payloads of all other entries, in their order.
    rows: Vec<Vec<u8>>,
    /// Of entries and payloads.
    bytes: usize,
    effects: Vec<Effect>,
    /// Bytes of the batches as they were admitted, and as they are.
    admitted: usize,
    framed: usize,
}

impl Draft {
    /// Makes room for batches of so many logs.
    pub(super) fn expect(&mut self, logs: usize) {
        self.entries.reserve(logs);
        self.batches.reserve(logs);
        self.shares.reserve(logs);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// At most so many bytes it takes in the journal.
    pub(super) fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.bytes + FRAME_ALIGNMENT
    }

    /// Adds a batch to what will be frame `number`.
    pub(super) fn batch(&mut self, log: &Arc<LogState>, builder: BatchBuilder, number: FrameNumber, group: u8) {
        self.admitted += builder.records_bytes();
        let (header, bytes) = builder.finish(number, KIND_RECORDS, log.salt);
        self.entries.push(Entry {
            kind: EntryKind::Batch,
            group,
            log: log.id,
            first: header.first,
            count: header.count,
            length: bytes.len() as u32,
            checksum: header.checksum,
        });
        self.framed += bytes.len();
        self.bytes += ENTRY_BYTES + bytes.len();
        self.grow(log, header.end(), u64::from(header.count), bytes.len() as u64, 1);
        self.batches.push(PendingBatch { header, bytes: bytes.into() });
    }

    /// The log's end moves with this frame, by `batches` batches in it or by what is in its segments already.
    pub(super) fn grow(&mut self, log: &Arc<LogState>, end: SequenceNumber, records: u64, bytes: u64, batches: usize) {
        match self.shares.last_mut() {
            Some(last) if last.log.id == log.id => {
                last.end = end;
                last.records += records;
                last.bytes += bytes;
                last.batches += batches;
            }
            _ => self.shares.push(Share { log: log.clone(), end, records, bytes, batches }),
        }
    }

    /// Adds an entry that is not a batch.
    pub(super) fn entry(&mut self, kind: EntryKind, group: u8, log: LogId, first: u64, payload: Vec<u8>) {
        self.bytes += ENTRY_BYTES + payload.len().next_multiple_of(8);
        // Its checksum is worked out with the frame's.
        self.entries.push(Entry { kind, group, log, first, count: 0, length: payload.len() as u32, checksum: 0 });
        self.rows.push(payload);
    }

    /// Adds an entry whose payload is a log's row.
    pub(super) fn row(&mut self, kind: EntryKind, group: u8, row: &LogRow) {
        let mut payload = Vec::new();
        row.encode(&mut payload);
        self.entry(kind, group, row.id, row.end, payload);
    }

    pub(super) fn then(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// The frame's bytes, in one of `buffers` that is large enough, and whether it tells anything. The batches go to the
    /// readers' side, below the high watermarks' move. Leaves an empty draft.
    pub(super) fn close(&mut self, header: &FrameHeader, core: &Core, buffers: &mut Vec<AlignedBuf>) -> (Frame, bool) {
        let origin = core.identity.origin;
        let salt = Salt::frames(origin, header.generation);
        let others = self.entries.iter_mut().filter(|entry| entry.kind != EntryKind::Batch);
        others.zip(&self.rows).for_each(|(entry, payload)| entry.checksum = salt.checksum(payload));
        let (front, checksum) = encode_front(header, &self.entries, origin);
        let length = (HEADER_BYTES + self.bytes).next_multiple_of(FRAME_ALIGNMENT);
        let mut data = match buffers.iter().position(|buffer| buffer.capacity() >= length) {
            Some(at) => buffers.swap_remove(at),
            None => AlignedBuf::with_capacity(length.max(64 << 10)),
        };
        data.clear();
        data.extend_from_slice(&front);
        let (mut batches, mut rows) = (self.batches.iter(), self.rows.iter());
        for entry in &self.entries {
            let payload = match entry.kind {
                EntryKind::Batch => batches.next().map(|batch| &batch.bytes[..]),
                _ => rows.next().map(Vec::as_slice),
            };
            data.extend_from_slice(payload.unwrap_or_default());
            data.resize(data.len().next_multiple_of(8));
        }
        data.pad_to_block();
        core.budget.adjust(self.admitted, self.framed);
        core.budget.framed(self.framed as u64);
        let mut batches = self.batches.drain(..);
        for share in self.shares.iter().filter(|share| share.batches > 0) {
            share.log.push_pending(batches.by_ref().take(share.batches));
        }
        drop(batches);
        let telling = self.entries.iter().any(|entry| entry.kind != EntryKind::Mark);
        self.entries.clear();
        self.rows.clear();
        let framed = self.framed as u64;
        (self.bytes, self.admitted, self.framed) = (0, 0, 0);
        let frame = Frame {
            framed,
            number: header.frame,
            checksum,
            shares: std::mem::take(&mut self.shares),
            effects: std::mem::take(&mut self.effects),
            turn: None,
            data: Some(data),
            path: String::new(),
            submitted: None,
            durable: false,
        };
        (frame, telling)
    }
}

/// A frame on its way.
pub(super) struct Frame {
    pub(super) number: FrameNumber,
    pub(super) checksum: u32,
    /// Bytes of its batches.
    framed: u64,
    shares: Vec<Share>,
    effects: Vec<Effect>,
    /// Resolved with this frame: it is the last one of its turn.
    pub(super) turn: Option<Arc<Turn>>,
    pub(super) data: Option<AlignedBuf>,
    pub(super) path: String,
    pub(super) submitted: Option<Instant>,
    pub(super) durable: bool,
}

impl Frame {
    /// It and all before it are durable: moves the marks and wakes the readers. Answers with the turn to resolve.
    pub(super) fn publish(self, core: &Core) -> Option<Arc<Turn>> {
        let (mut records, mut bytes) = (0, 0);
        let deletes = self.effects.iter().any(|effect| matches!(effect, Effect::Deleted { .. }));
        {
            // A snapshot sees all of a frame or nothing.
            let _all_of_it = (!crate::seeded_bug!(FrameShownInParts)).then(|| core.publishing.lock());
            // A log is listed behind what happens to it: a checkpoint that took it from the list before, and looked at it before, must
            // find it there again. And before the frame counts as durable: one that names the frame must have every log it is about.
            //
            // First of all: who sees a log closed must find it at its end.
            for share in &self.shares {
                share.log.set_high(share.end);
                core.list_for_checkpoint(&share.log);
                records += share.records;
                bytes += share.bytes;
            }
            for effect in self.effects {
                let log = effect.log().cloned();
                if crate::seeded_bug!(ListedBeforeEffect) {
                    log.iter().for_each(|log| core.list_for_checkpoint(log));
                }
                match effect {
                    Effect::Created { log } => core.catalog_open(&log),
                    Effect::Deleted { log } => {
                        core.catalog_deleted(&log);
                        log.set_deleted();
                    }
                    Effect::Trimmed { log, upto } => log.trim(upto),
                    Effect::Touched { log, reserved } => {
                        // In this order: a checkpoint drops from the noted ones what it finds untouched.
                        log.appender.lock().touch(reserved);
                        core.note_touched(&log);
                    }
                    Effect::Closed { log } => log.set_closed(),
                    Effect::Then { mut consequences, decided } => {
                        consequences.drain(..).for_each(|consequence| consequence(&decided));
                    }
                    Effect::Options { log, options } => log.set_options(options),
                }
                if !crate::seeded_bug!(ListedBeforeEffect) {
                    log.iter().for_each(|log| core.list_for_checkpoint(log));
                }
            }
            core.set_durable(self.number, self.checksum);
        }
        if deletes {
            // Only now: a checkpoint that takes this back covers the frame.
            core.deletions.store(true, Ordering::Release);
        }
        fence(Ordering::SeqCst);
        self.shares.iter().for_each(|share| share.log.watch.wake_behind_fence());
        core.budget.acknowledged(self.framed);
        add(&core.counters.records_appended, records);
        add(&core.counters.bytes_appended, bytes);
        add(&core.counters.frames, 1);
        add(&core.counters.turns, u64::from(self.turn.is_some()));
        if core.budget.wants_flush() || core.ring.wants_checkpoint() || core.ring.wants_file() {
            core.upkeep.ring();
        }
        self.turn
    }

    /// A bug planted on purpose.
    pub(super) fn publish_early(&self) {
        self.shares.iter().for_each(|share| share.log.set_high(share.end));
    }
}
