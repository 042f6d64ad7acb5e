//! The open batches of a log: where records get their numbers and their bytes.

use std::collections::VecDeque;

use crate::core::BufferPool;
use crate::format::batch::{BatchBuilder, RecordParts};
use crate::id::SequenceNumber;
use crate::limits::BATCH_BYTES_TARGET;
use crate::sync::Arc;
use crate::ticket::{Appended, Turn};

/// One log adds at most about so many bytes to a turn; what comes then belongs to the next. So a large turn is on its way to
/// the disk while the next fills, instead of everybody waiting for everything.
const TURN_BYTES: usize = 4 << 20;

/// Why a log takes no more records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ended {
    /// It was closed: what it has stays readable.
    Closed,
    /// It is being deleted.
    Deleted,
}

/// Appended and not yet taken by the driver.
pub(crate) struct Appender {
    open: Option<BatchBuilder>,
    closed: Vec<BatchBuilder>,
    /// Encoded bytes of the two.
    bytes: usize,
    /// What was appended before and belongs to earlier turns, one entry each.
    earlier: VecDeque<Vec<BatchBuilder>>,
    /// The turn of the last of those.
    after: Option<Arc<Turn>>,
    /// The turn that will resolve what is in the batches; `None` while they are empty.
    turn: Option<Arc<Turn>>,
    next: SequenceNumber,
    last_arrival_ms: u64,
    /// Bytes of the last batch: what to reserve for the next.
    expected_bytes: usize,
    /// For a buffered log: numbers below this are reserved durably.
    reserved: SequenceNumber,
    /// For a buffered log: opening the store would look at its tail.
    touched: bool,
    /// For a buffered log: written since the last checkpoint looked.
    written: bool,
    /// Why nothing may be appended any more, if so.
    ended: Option<Ended>,
}

impl Appender {
    pub(crate) fn new(next: SequenceNumber, last_arrival_ms: u64, reserved: SequenceNumber, touched: bool) -> Self {
        Appender {
            open: None,
            closed: Vec::new(),
            bytes: 0,
            earlier: VecDeque::new(),
            after: None,
            turn: None,
            next,
            last_arrival_ms,
            expected_bytes: 256,
            reserved,
            touched,
            written: false,
            ended: None,
        }
    }

    /// Number the next record will get.
    pub(crate) fn next(&self) -> SequenceNumber {
        self.next
    }

    pub(crate) fn set_next(&mut self, next: SequenceNumber) {
        self.next = next;
    }

    pub(crate) fn reserved(&self) -> SequenceNumber {
        self.reserved
    }

    pub(crate) fn last_arrival_ms(&self) -> u64 {
        self.last_arrival_ms
    }

    /// Arrival never decreases: the later of `arrival_ms` and the last one.
    pub(crate) fn note_arrival(&mut self, arrival_ms: u64) -> u64 {
        self.last_arrival_ms = self.last_arrival_ms.max(arrival_ms);
        self.last_arrival_ms
    }

    /// The next number, for a record that the commit machine encodes itself. Only while no batch is open.
    pub(crate) fn take_number(&mut self) -> SequenceNumber {
        self.next += 1;
        self.next - 1
    }

    /// Nothing may be appended any more. A closed log may still be deleted, not the other way round.
    pub(crate) fn end(&mut self, ended: Ended) {
        self.ended = self.ended.max(Some(ended));
    }

    pub(crate) fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// Whether `count` more records of a buffered log need a durable note before: that its tail must be looked at after a
    /// crash, and which numbers may have been used by then.
    pub(crate) fn needs_touch(&self, count: usize) -> bool {
        !self.touched || self.next + count as u64 > self.reserved
    }

    /// The note is durable.
    pub(crate) fn touch(&mut self, reserved: SequenceNumber) {
        self.touched = true;
        self.reserved = self.reserved.max(reserved);
    }

    /// A checkpoint settled a buffered log up to `settled`; if that is everything and nothing was appended since it last looked,
    /// the tail need not be looked at after a crash until the log is touched again. Returns whether it still must be.
    pub(crate) fn settle(&mut self, settled: SequenceNumber) -> bool {
        let idle = !std::mem::take(&mut self.written) && self.next == settled;
        if idle {
            self.touched = false;
        }
        self.touched
    }

    /// Encodes records into the open batch. `register` is called if this is the first since the driver last took: it puts
    /// the log on the driver's list, behind the turn it is given, and answers with the turn that will resolve. Encoded they
    /// have `bytes`.
    #[inline]
    pub(crate) fn push<'a>(
        &mut self,
        records: impl Iterator<Item = RecordParts<'a>>,
        bytes: usize,
        arrival_ms: u64,
        buffers: &BufferPool,
        register: impl FnOnce(Option<&Arc<Turn>>) -> Arc<Turn>,
    ) -> (Arc<Turn>, Appended) {
        let arrival_ms = arrival_ms.max(self.last_arrival_ms);
        self.last_arrival_ms = arrival_ms;
        self.written = true;
        let (first, before) = (self.next, self.bytes);
        let expected = self.expected_bytes.max(bytes.min(BATCH_BYTES_TARGET));
        for record in records {
            let encoded = record.encoded_len();
            let fits = self.open.as_ref().is_some_and(|b| b.accepts(encoded, arrival_ms, BATCH_BYTES_TARGET));
            if !fits {
                self.closed.extend(self.open.take());
            }
            let next = self.next;
            let open = self.open.get_or_insert_with(|| {
                let capacity = BatchBuilder::capacity_for(encoded.max(expected));
                BatchBuilder::within(next, buffers.take(capacity))
            });
            open.push(&record, arrival_ms);
            self.next += 1;
            self.bytes += encoded;
        }
        let after = &self.after;
        let turn = self.turn.get_or_insert_with(|| register(after.as_ref())).clone();
        if before < Turn::LARGE_BYTES && self.bytes >= Turn::LARGE_BYTES {
            turn.grow_large();
        }
        if self.bytes >= TURN_BYTES {
            self.closed.extend(self.open.take());
            self.earlier.push_back(std::mem::take(&mut self.closed));
            self.after = self.turn.take();
            self.bytes = 0;
        }
        (turn, Appended { first, last: self.next - 1, arrival_ms })
    }

    /// Whether nothing waits for the driver.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_none() && self.closed.is_empty() && self.earlier.is_empty()
    }

    /// Encodes, in `buffer`, what would come next. Whoever then writes it says [`Appender::pass`] first.
    pub(crate) fn encode_next<'a>(
        &self,
        records: impl Iterator<Item = RecordParts<'a>>,
        arrival_ms: u64,
        buffer: Vec<u8>,
    ) -> (BatchBuilder, Appended) {
        let arrival_ms = arrival_ms.max(self.last_arrival_ms);
        let mut builder = BatchBuilder::within(self.next, buffer);
        records.for_each(|record| builder.push(&record, arrival_ms));
        let appended = Appended { first: self.next, last: builder.next() - 1, arrival_ms };
        (builder, appended)
    }

    /// These numbers are taken.
    pub(crate) fn pass(&mut self, appended: &Appended) {
        self.next = appended.last + 1;
        self.last_arrival_ms = appended.arrival_ms;
        self.written = true;
    }

    /// Bytes of what [`Appender::take`] would take.
    pub(crate) fn due_bytes(&self) -> usize {
        let bytes = |batches: &Vec<BatchBuilder>| batches.iter().map(BatchBuilder::records_bytes).sum();
        self.earlier.front().map_or(self.bytes, bytes)
    }

    /// Everything that was appended, of all turns.
    pub(crate) fn take_all(&mut self) -> Vec<BatchBuilder> {
        let mut batches: Vec<BatchBuilder> = std::mem::take(&mut self.earlier).into_iter().flatten().collect();
        self.take(&mut batches);
        batches
    }

    /// The driver takes what was appended in the oldest turn, behind what `batches` has.
    pub(crate) fn take(&mut self, batches: &mut Vec<BatchBuilder>) {
        if let Some(earlier) = self.earlier.pop_front() {
            batches.extend(earlier);
            return;
        }
        self.turn = None;
        self.after = None;
        self.bytes = 0;
        let several = !self.closed.is_empty();
        batches.append(&mut self.closed);
        if let Some(last) = self.open.take() {
            self.expected_bytes = if several { BATCH_BYTES_TARGET } else { last.records_bytes() };
            batches.push(last);
        }
    }
}
