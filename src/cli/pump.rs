//! From lines to acknowledged records: batches in one piece of memory, several of them on their way at once.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use super::Failure;
use crate::{Appended, Error, Log, RecordParts, Ticket};

/// A batch goes out at this many bytes, however few records that is: more gains nothing.
const BATCH_BYTES: usize = 1 << 20;
/// Batches on their way. More would only queue up in front of the disk.
const TICKETS_MAX: usize = 16;

/// What was acknowledged.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) first: Option<u64>,
    pub(crate) last: Option<u64>,
}

/// Called with each acknowledged batch and the nanoseconds from hand-over to acknowledgement.
type OnAck<'a> = Box<dyn FnMut(u64) + 'a>;

/// One log's appender. Records are collected in [`Pump::begin`]'s memory and [`Pump::push`]ed.
pub(crate) struct Pump<'a> {
    log: &'a Log,
    batch_records: usize,
    data: Vec<u8>,
    keys: Vec<u8>,
    records: Vec<(Range<usize>, Option<Range<usize>>)>,
    tickets: VecDeque<(Ticket, Sent)>,
    totals: Totals,
    on_ack: Option<OnAck<'a>>,
}

struct Sent {
    at: Instant,
    records: u64,
    bytes: u64,
}

impl<'a> Pump<'a> {
    pub(crate) fn new(log: &'a Log, batch_records: usize) -> Pump<'a> {
        Pump {
            log,
            batch_records: batch_records.clamp(1, crate::limits::APPEND_RECORDS_MAX),
            data: Vec::new(),
            keys: Vec::new(),
            records: Vec::new(),
            tickets: VecDeque::new(),
            totals: Totals::default(),
            on_ack: None,
        }
    }

    pub(crate) fn on_ack(mut self, call: impl FnMut(u64) + 'a) -> Pump<'a> {
        self.on_ack = Some(Box::new(call));
        self
    }

    /// Memory to put the next record's data behind what is there; [`Pump::push`] makes a record of it.
    pub(crate) fn begin(&mut self) -> (&mut Vec<u8>, usize) {
        let start = self.data.len();
        (&mut self.data, start)
    }

    /// Takes back what was put behind `start`.
    pub(crate) fn take_back(&mut self, start: usize) {
        self.data.truncate(start);
    }

    /// The data put behind `start` since [`Pump::begin`].
    pub(crate) fn pending(&self, start: usize) -> &[u8] {
        &self.data[start..]
    }

    /// What was put behind `start` is a record. `key` sees it and may append a key to the bytes it is given; whether it did is
    /// what it answers, for an empty key is not the same as none.
    pub(crate) fn push(&mut self, start: usize, key: impl FnOnce(&[u8], &mut Vec<u8>) -> bool) -> Result<(), Failure> {
        let at = self.keys.len();
        let has_key = key(&self.data[start..], &mut self.keys);
        let key = has_key.then_some(at..self.keys.len());
        self.records.push((start..self.data.len(), key));
        if self.records.len() >= self.batch_records || self.data.len() >= BATCH_BYTES {
            self.send()?;
        }
        Ok(())
    }

    /// Sends what was collected.
    pub(crate) fn send(&mut self) -> Result<(), Failure> {
        if self.records.is_empty() {
            return self.reap(TICKETS_MAX);
        }
        let records = std::mem::take(&mut self.records);
        let (data, keys) = (std::mem::take(&mut self.data), std::mem::take(&mut self.keys));
        let parts: Vec<RecordParts<'_>> = records
            .iter()
            .map(|(range, key)| RecordParts {
                data: &data[range.clone()],
                key: key.clone().map(|key| &keys[key]),
                attributes: None,
            })
            .collect();
        self.hand_over(&parts)?;
        // The memory is used again.
        let (mut data, mut keys, mut records) = (data, keys, records);
        data.clear();
        keys.clear();
        records.clear();
        (self.data, self.keys, self.records) = (data, keys, records);
        Ok(())
    }

    fn hand_over(&mut self, parts: &[RecordParts<'_>]) -> Result<(), Failure> {
        self.reap(TICKETS_MAX - 1)?;
        let at = Instant::now();
        match self.log.append_batch_ticket(parts) {
            // A store with small journal files takes less in one call than we collect.
            Err(Error::TransactionTooLarge { .. }) if parts.len() > 1 => {
                let (front, back) = parts.split_at(parts.len() / 2);
                self.hand_over(front)?;
                self.hand_over(back)
            }
            Err(error) => {
                // What is on its way is told of too: the caller says how much is there.
                let _ = self.reap(0);
                Err(error.into())
            }
            Ok(ticket) => {
                let bytes = parts.iter().map(|record| record.data.len() as u64).sum();
                self.tickets.push_back((ticket, Sent { at, records: parts.len() as u64, bytes }));
                Ok(())
            }
        }
    }

    /// Waits until at most `left` batches are on their way, and takes note of those that have arrived.
    pub(crate) fn reap(&mut self, left: usize) -> Result<(), Failure> {
        while let Some((ticket, _)) = self.tickets.front() {
            if self.tickets.len() <= left && ticket.try_get().is_none() {
                break;
            }
            let Some((ticket, sent)) = self.tickets.pop_front() else { break };
            let Appended { first, last, .. } = ticket.wait()?;
            self.totals.records += sent.records;
            self.totals.bytes += sent.bytes;
            self.totals.first.get_or_insert(first);
            self.totals.last = Some(last);
            if let Some(call) = &mut self.on_ack {
                call(sent.at.elapsed().as_nanos() as u64);
            }
        }
        Ok(())
    }

    /// Sends what was collected and waits for all of it.
    pub(crate) fn settle(&mut self) -> Result<(), Failure> {
        self.send()?;
        self.reap(0)
    }

    /// What was acknowledged so far.
    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }
}
