//! From lines to acknowledged records: batches in one piece of memory, several of them on their way at once.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Failure;
use crate::limits::{PUT_RECORDS_BYTES_MAX, PUT_RECORDS_MAX};
use crate::stream::{PutRecords, PutRecordsEntry, PutTicket, Stream};
use crate::{Appended, Error, Health, Log, RecordParts, Ticket};

/// A batch goes out at this many bytes, however few records that is: more gains nothing.
const BATCH_BYTES: usize = 1 << 20;
/// Batches on their way. More would only queue up in front of the disk.
const TICKETS_MAX: usize = 16;

/// A call to a stream has at most so many bytes of data, with room for 500 keys of 256 characters.
const CALL_BYTES: u64 = (PUT_RECORDS_BYTES_MAX - PUT_RECORDS_MAX * 1024) as u64;

/// What was acknowledged.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) first: Option<u64>,
    pub(crate) last: Option<u64>,
}

impl Totals {
    fn log(&mut self, appended: Appended, records: u64, bytes: &[u64]) {
        self.records += records;
        self.bytes += bytes.iter().sum::<u64>();
        self.first.get_or_insert(appended.first);
        self.last = Some(appended.last);
    }

    /// Counts those that were put; the first failure, if there is one.
    fn stream(&mut self, put: PutRecords, bytes: &[u64]) -> Result<(), Error> {
        let mut failure = None;
        for (record, bytes) in put.records.into_iter().zip(bytes) {
            match record {
                Ok(_) => {
                    self.records += 1;
                    self.bytes += bytes;
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

/// Called with each acknowledged batch and the nanoseconds from hand-over to acknowledgement.
type OnAck<'a> = Box<dyn FnMut(u64) + 'a>;

/// Where records go.
#[derive(Clone, Copy)]
pub(crate) enum Target<'a> {
    /// At the end of a log.
    Log(&'a Log),
    /// To the shards of a stream; keys are partition keys.
    Stream(&'a Stream),
}

/// How long what was sent may wait before it is asked whether there is room for it.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);

enum Sent {
    Log(Ticket),
    Stream(PutTicket),
}

/// One target's appender. Records are collected in [`Pump::begin`]'s memory and [`Pump::push`]ed.
pub(crate) struct Pump<'a> {
    target: Target<'a>,
    batch_records: usize,
    data: Vec<u8>,
    keys: Vec<u8>,
    records: Vec<(Range<usize>, Option<Range<usize>>)>,
    on_their_way: VecDeque<Batch>,
    totals: Arc<Mutex<Totals>>,
    on_ack: Option<OnAck<'a>>,
}

struct Batch {
    sent: Sent,
    at: Instant,
    /// Bytes of each record's data, of a stream, where some may fail and others not; one sum otherwise.
    bytes: Vec<u64>,
    records: u64,
}

impl<'a> Pump<'a> {
    pub(crate) fn new(target: Target<'a>, batch_records: usize) -> Pump<'a> {
        let records_max = match target {
            Target::Log(_) => crate::limits::APPEND_RECORDS_MAX,
            Target::Stream(_) => PUT_RECORDS_MAX,
        };
        Pump {
            target,
            batch_records: batch_records.clamp(1, records_max),
            data: Vec::new(),
            keys: Vec::new(),
            records: Vec::new(),
            on_their_way: VecDeque::new(),
            totals: Arc::default(),
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
        let len = |record: &RecordParts<'_>| record.data.len() as u64;
        let (sent, bytes) = match self.target {
            Target::Log(log) => {
                (log.append_batch_ticket(parts).map(Sent::Log), vec![parts.iter().map(len).sum::<u64>()])
            }
            // Collected until a megabyte was reached, so only the last record can make it too much for one call.
            Target::Stream(_) if parts.len() > 1 && parts.iter().map(len).sum::<u64>() > CALL_BYTES => {
                let (front, back) = parts.split_at(parts.len() - 1);
                self.hand_over(front)?;
                return self.hand_over(back);
            }
            Target::Stream(stream) => (put(stream, parts).map(Sent::Stream), parts.iter().map(len).collect()),
        };
        match sent {
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
            Ok(sent) => {
                self.on_their_way.push_back(Batch { sent, at, bytes, records: parts.len() as u64 });
                Ok(())
            }
        }
    }

    /// Waits for what was sent, unless the disk turns out to have no room for it: that can take for ever. It is on its way then, and
    /// durable if there is room before the end of the process.
    fn outlast(&self, sent: &Sent) -> Result<(), Failure> {
        let arrived = || match sent {
            Sent::Log(ticket) => ticket.wait_for(ROOM_PATIENCE).is_some(),
            Sent::Stream(ticket) => ticket.wait_for(ROOM_PATIENCE),
        };
        let store = match self.target {
            Target::Log(log) => &log.store,
            Target::Stream(stream) => &stream.shared.store,
        };
        while !arrived() {
            if let Health::Full { why } = store.health() {
                return Err(Error::Full { why }.into());
            }
        }
        Ok(())
    }

    /// Waits until at most `left` batches are on their way, and takes note of those that have arrived.
    pub(crate) fn reap(&mut self, left: usize) -> Result<(), Failure> {
        while let Some(batch) = self.on_their_way.pop_front() {
            let wait = self.on_their_way.len() >= left;
            if wait {
                self.outlast(&batch.sent)?;
            }
            let waiting = match batch.sent {
                Sent::Log(ticket) if !wait && ticket.try_get().is_none() => Some(Sent::Log(ticket)),
                Sent::Log(ticket) => {
                    let appended = ticket.wait()?;
                    lock(&self.totals).log(appended, batch.records, &batch.bytes);
                    None
                }
                Sent::Stream(ticket) if wait => {
                    let put = ticket.wait();
                    lock(&self.totals).stream(put, &batch.bytes)?;
                    None
                }
                Sent::Stream(ticket) => match ticket.try_get() {
                    Ok(put) => {
                        lock(&self.totals).stream(put, &batch.bytes)?;
                        None
                    }
                    Err(ticket) => Some(Sent::Stream(ticket)),
                },
            };
            if let Some(sent) = waiting {
                self.on_their_way.push_front(Batch { sent, ..batch });
                break;
            }
            if let Some(call) = &mut self.on_ack {
                call(batch.at.elapsed().as_nanos() as u64);
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
        *lock(&self.totals)
    }

    /// The same for another thread, that does not wait for this one.
    pub(crate) fn watch_totals(&self) -> impl Fn() -> Totals + Send + 'static {
        let totals = self.totals.clone();
        move || *lock(&totals)
    }
}

fn lock(totals: &Mutex<Totals>) -> std::sync::MutexGuard<'_, Totals> {
    totals.lock().unwrap_or_else(PoisonError::into_inner)
}

fn put(stream: &Stream, parts: &[RecordParts<'_>]) -> Result<PutTicket, Error> {
    fn entry<'a>(record: &RecordParts<'a>) -> Result<PutRecordsEntry<'a>, Error> {
        let partition_key = record.key.map(std::str::from_utf8).transpose();
        let partition_key = partition_key.map_err(|_| Error::invalid("PartitionKey", "", "it is not UTF-8"))?;
        Ok(PutRecordsEntry { partition_key, explicit_hash_key: None, data: record.data })
    }
    let entries: Vec<PutRecordsEntry<'_>> = parts.iter().map(entry).collect::<Result<_, Error>>()?;
    stream.put_records_ticket(&entries)
}
