//! Putting records: which shard each belongs to, and the appends.
//!
//! Route and append are one step under the lock of the shard's log: a shard that was closed refuses, and the record is routed
//! again by the map that closed it. So a put that was acknowledged before a reshard lies in a parent, one after it in a child,
//! and the records of one call with the same key keep their order across it. While the reshard is not durable yet there is no such
//! map, and a put waits for it, as long as a blocking append may take; who must not wait begins one [at once](Stream::put_at_once).

use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::format::batch::RecordParts;
use crate::format::stream::StreamRow;
use crate::limits::{PARTITION_KEY_CHARS_MAX, PUT_RECORDS_BYTES_MAX, PUT_RECORDS_MAX};
use crate::log::Then;
use crate::sync::{Arc, Ordering};
use crate::ticket::Ticket;
use crate::transaction::{Committed, Transaction};

use super::Stream;
use super::hash_key::HashKey;
use super::options::{Distribution, StreamMode, distribution_of, mode_of};
use super::sequence_number::SequenceNumber;
use super::shard::{ShardId, ShardMap, ShardState};
use super::throughput::ThroughputLimits;

/// A record to put.
///
/// ```
/// use braidlog::stream::{HashKey, PutRecordsEntry};
/// let by_key = PutRecordsEntry::new("user-42", b"page=/home");
/// let to_the_first_shard = PutRecordsEntry { explicit_hash_key: Some(HashKey::MIN), ..by_key };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutRecordsEntry<'a> {
    /// Says which shard it goes to, and is read back with it: 1 to 256 characters. May be absent on a stream with
    /// [`Distribution::Auto`].
    pub partition_key: Option<&'a str>,
    /// Says which shard it goes to, in place of the partition key's hash.
    pub explicit_hash_key: Option<HashKey>,
    /// Its payload.
    pub data: &'a [u8],
}

impl<'a> PutRecordsEntry<'a> {
    /// A record that goes where its partition key says.
    pub fn new(partition_key: &'a str, data: &'a [u8]) -> Self {
        PutRecordsEntry { partition_key: Some(partition_key), explicit_hash_key: None, data }
    }

    pub(super) fn bytes(&self) -> usize {
        self.partition_key.map_or(0, str::len) + self.data.len()
    }

    fn parts(&self) -> RecordParts<'a> {
        RecordParts { key: self.partition_key.map(str::as_bytes), attributes: None, data: self.data }
    }

    pub(super) fn hash_key(&self) -> HashKey {
        let of_key = || HashKey::of_partition_key(self.partition_key.unwrap_or_default());
        self.explicit_hash_key.unwrap_or_else(of_key)
    }
}

/// Where a record went.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// let clicks = engine.create_stream("clicks", Default::default())?;
/// let put = clicks.put_record("user-42", b"page=/home")?;
/// assert_eq!(put.shard_id.to_string(), "shardId-000000000000");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PutRecord {
    /// Its shard.
    pub shard_id: ShardId,
    /// Its number there.
    pub sequence_number: SequenceNumber,
    /// When it arrived, in milliseconds since 1970.
    pub arrival_ms: u64,
}

/// What became of the records of one call, in their order. Some may have been put and others not.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// use braidlog::stream::PutRecordsEntry;
/// let clicks = engine.create_stream("clicks", Default::default())?;
/// let put = clicks.put_records(&[PutRecordsEntry::new("a", b"1"), PutRecordsEntry::new("b", b"2")])?;
/// assert_eq!(put.failed_record_count(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct PutRecords {
    /// One for each record given.
    pub records: Vec<Result<PutRecord>>,
}

impl PutRecords {
    /// How many were not put.
    pub fn failed_record_count(&self) -> usize {
        self.records.iter().filter(|record| record.is_err()).count()
    }

    /// Of a call with one record: what came of it.
    ///
    /// # Errors
    /// The record's own; [`Error::EmptyBatch`] if there was none.
    pub fn only(self) -> Result<PutRecord> {
        self.records.into_iter().next().unwrap_or(Err(Error::EmptyBatch))
    }
}

/// Which records of a call: a part of a list of places, in which those of one shard lie together. `None` for all of them.
type Span = Option<Range<usize>>;

/// The places of so many records that a span is about.
fn listed(places: &[u32], span: &Span, count: usize) -> Vec<u32> {
    span.clone().map_or_else(|| all(count), |span| places[span].to_vec())
}

/// Records of one call that went to one shard.
struct Group {
    shard: Arc<ShardState>,
    span: Span,
    ticket: Ticket,
}

/// Records on their way to the disk. Dropping it cancels nothing. Can be waited for, polled, or awaited in any runtime.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// use braidlog::stream::PutRecordsEntry;
/// let clicks = engine.create_stream("clicks", Default::default())?;
/// let pending = clicks.put_records_ticket(&[PutRecordsEntry::new("a", b"1")])?;
/// // something else meanwhile
/// assert_eq!(pending.wait().failed_record_count(), 0);
/// # Ok(())
/// # }
/// ```
#[must_use = "records are acknowledged only when their ticket resolves"]
pub struct PutTicket {
    groups: Vec<Group>,
    /// What the groups' spans are parts of.
    places: Vec<u32>,
    count: usize,
    failed: Vec<(u32, Error)>,
    /// The records' numbers are above it.
    minimum: Option<SequenceNumber>,
}

impl PutTicket {
    /// Blocks until each record is durable or failed.
    pub fn wait(self) -> PutRecords {
        self.finish(Ticket::wait)
    }

    /// Blocks until each record has an outcome, but gives up waiting, not the put, after `timeout`: whether each has one.
    pub fn wait_for(&self, timeout: Duration) -> bool {
        let until = Instant::now().checked_add(timeout);
        let left = || until.map_or(timeout, |until| until.saturating_duration_since(Instant::now()));
        self.groups.iter().all(|group| group.ticket.wait_for(left()).is_some())
    }

    /// The outcome, once every record has one. Never blocks; hands the ticket back while it waits.
    pub fn try_get(self) -> std::result::Result<PutRecords, PutTicket> {
        if self.groups.iter().all(|group| group.ticket.try_get().is_some()) {
            Ok(self.finish(Ticket::wait))
        } else {
            Err(self)
        }
    }

    fn finish(self, wait: impl Fn(Ticket) -> Result<crate::ticket::Appended>) -> PutRecords {
        let mut records: Vec<Result<PutRecord>> = Vec::with_capacity(self.count);
        let scattered = self.groups.len() != 1 || self.groups[0].span.is_some();
        if scattered {
            // Every place is filled below: by a group or by a failure.
            records.extend((0..self.count).map(|_| Err(Error::Closed)));
        }
        for (place, error) in self.failed {
            if let Some(record) = records.get_mut(place as usize) {
                *record = Err(error);
            }
        }
        for Group { shard, span, ticket } in self.groups {
            let outcome = wait(ticket);
            let record = |offset: u64| match &outcome {
                Ok(appended) => Ok(PutRecord {
                    shard_id: shard.id,
                    sequence_number: SequenceNumber::of_record(
                        shard.birth,
                        appended.first + offset,
                        appended.arrival_ms,
                    ),
                    arrival_ms: appended.arrival_ms,
                }),
                Err(error) => Err(error.clone()),
            };
            match span {
                None => records.extend((0..self.count as u64).map(record)),
                Some(span) => {
                    let places = self.places[span].iter().zip(0..);
                    places.for_each(|(place, offset)| records[*place as usize] = record(offset));
                }
            }
        }
        PutRecords { records }
    }
}

impl Future for PutTicket {
    type Output = PutRecords;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<PutRecords> {
        for group in &mut self.groups {
            // Those after it are asked once it has resolved.
            if Pin::new(&mut group.ticket).poll(context).is_pending() {
                return Poll::Pending;
            }
        }
        let resolved = PutTicket {
            groups: std::mem::take(&mut self.groups),
            places: std::mem::take(&mut self.places),
            count: self.count,
            failed: std::mem::take(&mut self.failed),
            minimum: self.minimum,
        };
        Poll::Ready(resolved.wait())
    }
}

impl std::fmt::Debug for PutTicket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PutTicket").field("records", &self.count).finish()
    }
}

/// What came of a put that waits for nothing.
pub(crate) enum Begun {
    /// All records are on their way, or failed.
    All(PutTicket),
    /// Some are not.
    Part(Part),
}

/// A put of which some records belong to shards that a reshard closed which is not durable yet. Dropped, those are not put.
pub(crate) struct Part {
    stream: Stream,
    /// Of all the others.
    ticket: PutTicket,
    /// The map that is about to be replaced.
    map: Arc<ShardMap>,
    /// Places of those that wait.
    left: Vec<u32>,
}

impl Part {
    /// Goes on with the records of the same call. Waits for the reshard, and not for the disk behind it.
    ///
    /// # Errors
    /// As [`Stream::put_records_ticket`].
    #[cfg_attr(not(feature = "server"), expect(dead_code))]
    pub(crate) fn go_on(self, entries: &[PutRecordsEntry<'_>]) -> Result<PutTicket> {
        let stream = self.stream.clone();
        stream.begin_rest(entries, Then::Return, Begun::Part(self))
    }
}

/// Whether its shards are divided by the hash keys that they take.
fn is_sampled(row: &StreamRow) -> bool {
    mode_of(row) == StreamMode::OnDemand && distribution_of(row) == Distribution::ByKey
}

impl Stream {
    /// Puts one record. Durable when it returns.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], [`Error::ResourceNotFound`] when the stream was deleted, [`Error::ThroughputExceeded`],
    /// and as [`crate::Log::append`].
    pub fn put_record(&self, partition_key: &str, data: &[u8]) -> Result<PutRecord> {
        self.put(PutRecordsEntry::new(partition_key, data), None)
    }

    /// As [`Stream::put_record`], with an explicit hash key, or without any key on a stream with [`Distribution::Auto`]. The
    /// record's number is above `sequence_number_for_ordering`, if that is the number of a record with the same key, across splits and
    /// merges too. Of a record with another key it is accepted, as by the service, and promises nothing.
    ///
    /// # Errors
    /// As [`Stream::put_record`]; [`Error::InvalidArgument`] if `sequence_number_for_ordering` lies in the future: nothing was put.
    pub fn put(
        &self,
        entry: PutRecordsEntry<'_>,
        sequence_number_for_ordering: Option<SequenceNumber>,
    ) -> Result<PutRecord> {
        self.put_above(&[entry], sequence_number_for_ordering)?.only()
    }

    /// As [`Stream::put`], but does not wait for the disk, unless a reshard is on its way there.
    ///
    /// # Errors
    /// As [`Stream::put`].
    pub fn put_ticket(
        &self,
        entry: PutRecordsEntry<'_>,
        sequence_number_for_ordering: Option<SequenceNumber>,
    ) -> Result<PutTicket> {
        self.begin(&[entry], sequence_number_for_ordering, Then::Return)
    }

    /// Puts up to 500 records of together at most 10 MiB of data and keys. Those of one shard get consecutive numbers in the
    /// order given. Durable, as far as they did not fail, when it returns.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`], [`Error::EmptyBatch`], [`Error::ResourceNotFound`]: nothing was put. All else is the answer
    /// of the single record: [`Error::OutcomeUnknown`] too when it was not acknowledged within the append deadline.
    pub fn put_records(&self, entries: &[PutRecordsEntry<'_>]) -> Result<PutRecords> {
        self.put_above(entries, None)
    }

    fn put_above(&self, entries: &[PutRecordsEntry<'_>], minimum: Option<SequenceNumber>) -> Result<PutRecords> {
        let ticket = self.begin(entries, minimum, Then::Wait)?;
        let store = &self.shared.store;
        let patience = store.core().patience();
        let until = Instant::now() + patience;
        if let Some(last) = ticket.groups.last() {
            store.lead(last.ticket.turn(), patience);
        }
        Ok(ticket.finish(|ticket| {
            let left = until.saturating_duration_since(Instant::now());
            ticket.wait_within(left, patience, || format!("stream {}", self.state.name))
        }))
    }

    /// As [`Stream::put_records`], but does not wait for the disk, unless a reshard is on its way there: its records go to shards
    /// that are made by it.
    ///
    /// # Errors
    /// As [`Stream::put_records`].
    pub fn put_records_ticket(&self, entries: &[PutRecordsEntry<'_>]) -> Result<PutTicket> {
        self.begin(entries, None, Then::Return)
    }

    /// As [`Stream::put_records_ticket`], and waits for no reshard either: only for room in memory.
    ///
    /// # Errors
    /// As [`Stream::put`].
    #[cfg_attr(not(feature = "server"), expect(dead_code))]
    pub(crate) fn put_at_once(
        &self,
        entries: &[PutRecordsEntry<'_>],
        sequence_number_for_ordering: Option<SequenceNumber>,
    ) -> Result<Begun> {
        self.begin_at_once(entries, sequence_number_for_ordering, Then::Return)
    }

    fn begin(&self, entries: &[PutRecordsEntry<'_>], minimum: Option<SequenceNumber>, then: Then) -> Result<PutTicket> {
        self.begin_rest(entries, then, self.begin_at_once(entries, minimum, then)?)
    }

    fn begin_rest(&self, entries: &[PutRecordsEntry<'_>], then: Then, mut begun: Begun) -> Result<PutTicket> {
        loop {
            let Part { mut ticket, map, left, .. } = match begun {
                Begun::All(ticket) => return Ok(ticket),
                Begun::Part(part) => part,
            };
            if let Err(error) = self.await_newer_map(&map) {
                // Others of the call are on their way.
                ticket.failed.extend(left.into_iter().map(|at| (at, error.clone())));
                return Ok(ticket);
            }
            begun = self.push_left(entries, then, ticket, Some(left))?;
        }
    }

    fn begin_at_once(
        &self,
        entries: &[PutRecordsEntry<'_>],
        minimum: Option<SequenceNumber>,
        then: Then,
    ) -> Result<Begun> {
        self.check_put(entries, minimum)?;
        let (groups, places, failed) = (Vec::new(), Vec::new(), Vec::new());
        let ticket = PutTicket { groups, places, count: entries.len(), failed, minimum };
        self.push_left(entries, then, ticket, None)
    }

    /// Routes and appends those at the places that are left, all of them with `None`, by one map after the other as long as there
    /// is a newer one.
    fn push_left(
        &self,
        entries: &[PutRecordsEntry<'_>],
        then: Then,
        mut ticket: PutTicket,
        mut left: Option<Vec<u32>>,
    ) -> Result<Begun> {
        let row = self.state.row();
        let (distribution, sampled) = (distribution_of(&row), is_sampled(&row));
        let limits = self.shared.options.throughput_limits;
        loop {
            self.state.check_alive()?;
            let map = self.state.shards();
            let mut closed = Vec::new();
            let by = (distribution, ticket.minimum);
            for (shard, span) in self.route(&map, entries, by, left.take(), &mut ticket.places) {
                let span = self.admit(&shard, entries, span, limits, &mut ticket.places, &mut ticket.failed);
                let places = &ticket.places;
                let pushed = match &span {
                    Some(span) if span.is_empty() => continue,
                    Some(span) => {
                        let entries = places[span.clone()].iter().map(|at| &entries[*at as usize]);
                        self.push(&shard, sampled, entries, then)
                    }
                    None => self.push(&shard, sampled, entries.iter(), then),
                };
                let error = match pushed {
                    Ok(pushed) => {
                        ticket.groups.push(Group { shard, span, ticket: pushed });
                        continue;
                    }
                    // Split or merged since the map was looked at: its children take these.
                    Err(Error::LogClosed { .. }) => {
                        closed.extend(listed(places, &span, entries.len()));
                        continue;
                    }
                    Err(Error::LogDeleted { .. }) => {
                        Error::ResourceNotFound { what: format!("stream {}", self.state.name) }
                    }
                    Err(error) => error,
                };
                let places = listed(places, &span, entries.len());
                ticket.failed.extend(places.into_iter().map(|at| (at, error.clone())));
            }
            if closed.is_empty() {
                return Ok(Begun::All(ticket));
            }
            closed.sort_unstable();
            if self.state.shards().version == map.version {
                return Ok(Begun::Part(Part { stream: self.clone(), ticket, map, left: closed }));
            }
            left = Some(closed);
        }
    }

    /// Makes the transaction put records: each where its key says, those of one shard in the order given, and all of them or
    /// none. Answers with the map they were routed by.
    ///
    /// Where a shard is split or merged before it is the transaction's turn, all of it is refused with [`Error::LogClosed`].
    /// [`Stream::put_with`] builds it anew then.
    ///
    /// # Errors
    /// As [`Stream::put_records`], of any record; [`Error::TransactionTooLarge`].
    pub(crate) fn put_in(
        &self,
        transaction: &mut Transaction,
        entries: &[PutRecordsEntry<'_>],
    ) -> Result<Arc<ShardMap>> {
        self.check_ready()?;
        let row = self.state.row();
        let distribution = distribution_of(&row);
        entries.iter().try_for_each(|entry| check_entry(entry, distribution, row.max_record_kib))?;
        let limits = self.shared.options.throughput_limits;
        let sampled = is_sampled(&row);
        let map = self.state.shards();
        let mut places = Vec::new();
        for (shard, span) in self.route(&map, entries, (distribution, None), None, &mut places) {
            let mut failed = Vec::new();
            let span = self.admit(&shard, entries, span, limits, &mut places, &mut failed);
            let places = listed(&places, &span, entries.len());
            if let Some((_, error)) = failed.into_iter().next() {
                return Err(error);
            }
            let log = self.log(&shard)?;
            let (mut bytes, mut keys) = (0, Vec::new());
            for entry in places.iter().map(|at| &entries[*at as usize]) {
                transaction.append(log, entry.parts())?;
                bytes += entry.bytes() as u64;
                keys.extend(sampled.then(|| (entry.bytes() as u64, entry.hash_key())));
            }
            let shard = shard.clone();
            transaction.once_decided(move |_| {
                let before = shard.traffic.put(places.len() as u64, bytes);
                shard.traffic.sample(before, keys.into_iter().map(|(bytes, key)| (bytes, move || key)));
            });
        }
        Ok(map)
    }

    /// Puts records in one transaction with what `fill` adds to it. Routed anew, and `fill` called anew, as often as a reshard
    /// comes in between. Durable when it returns.
    ///
    /// # Errors
    /// As [`Stream::put_in`], and what any transaction may answer: nothing was done.
    #[cfg_attr(not(any(test, feature = "cli")), expect(dead_code))]
    pub(crate) fn put_with(
        &self,
        entries: &[PutRecordsEntry<'_>],
        mut fill: impl FnMut(&mut Transaction) -> Result<()>,
    ) -> Result<Committed> {
        loop {
            let mut transaction = Transaction::new();
            let map = self.put_in(&mut transaction, entries)?;
            fill(&mut transaction)?;
            match self.shared.store.commit_within(transaction, &format!("stream {}", self.name())) {
                Err(Error::LogClosed { log }) if self.state.shards().all().any(|shard| shard.log_name() == log) => {
                    self.await_newer_map(&map)?;
                }
                other => return other.map_err(|error| self.gone(error)),
            }
        }
    }

    /// Waits until the reshard that closed a shard of `map` is durable, no longer than a blocking append may take.
    pub(crate) fn await_newer_map(&self, map: &ShardMap) -> Result<()> {
        let until = Instant::now() + self.shared.store.core().patience();
        while self.state.shards().version == map.version {
            self.state.check_alive()?;
            if let Some(refusal) = self.shared.store.core().write_refusal() {
                return Err(refusal);
            }
            self.state.wait_for_newer(map.version);
            if self.state.shards().version == map.version && Instant::now() >= until {
                return Err(self.shared.store.core().refusal());
            }
        }
        Ok(())
    }

    /// Whether the stream would take a record as it is now.
    pub(crate) fn check_entry(&self, entry: PutRecordsEntry<'_>) -> Result<()> {
        let row = self.state.row();
        check(&[entry], distribution_of(&row), row.max_record_kib)
    }

    /// All that a put of these records looks at before it puts any.
    pub(crate) fn check_put(&self, entries: &[PutRecordsEntry<'_>], minimum: Option<SequenceNumber>) -> Result<()> {
        let row = self.state.row();
        check(entries, distribution_of(&row), row.max_record_kib)?;
        self.check_ready()?;
        minimum.map_or(Ok(()), |minimum| self.check_minimum(minimum))
    }

    /// Puts as many of `entries`, from the first on, as one frame and the limits of the shard take now, and says how many: for
    /// a caller that routes by itself and has checked them.
    ///
    /// # Errors
    /// [`Error::LogClosed`] if the shard was closed: a newer map says, or soon will, where its records belong now. Otherwise as
    /// a single record of [`Stream::put_records`]. Nothing was put.
    pub(crate) fn push_to(&self, shard: &ShardState, entries: &[PutRecordsEntry<'_>]) -> Result<(Ticket, usize)> {
        self.check_ready()?;
        let (mut bytes, bytes_max) = (0, self.shared.store.core().largest_append());
        let fits = |entry: &&PutRecordsEntry<'_>| {
            bytes += entry.parts().encoded_len();
            bytes <= bytes_max
        };
        let entries = &entries[..entries.iter().take_while(fits).count().max(1)];
        let (limits, now_ms) = (self.shared.options.throughput_limits, self.shared.monotonic_ms());
        let admitted = |entry: &&PutRecordsEntry<'_>| {
            let bytes = entry.bytes() as u64;
            shard.traffic.admit_write(limits, bytes, now_ms)
        };
        let count = entries.iter().take_while(admitted).count();
        if count == 0 {
            return Err(self.exceeded(shard.id));
        }
        let sampled = is_sampled(&self.state.row());
        let ticket = self.push(shard, sampled, entries[..count].iter(), Then::Return);
        Ok((ticket.map_err(|error| self.gone(error))?, count))
    }

    /// Which shard takes which of those left, each in the order of the call; adds to `places` what the answers are about.
    fn route(
        &self,
        map: &ShardMap,
        entries: &[PutRecordsEntry<'_>],
        (distribution, minimum): (Distribution, Option<SequenceNumber>),
        left: Option<Vec<u32>>,
        places: &mut Vec<u32>,
    ) -> Vec<(Arc<ShardState>, Span)> {
        let open = map.open();
        let from = places.len();
        let only = match open {
            [only] => Some(only),
            // A call goes to one shard, the next call to the next: even, and as large as batches get.
            _ if distribution == Distribution::Auto => {
                let turn = self.state.turn.fetch_add(1, Ordering::Relaxed) as usize % open.len();
                let above = minimum.and_then(|minimum| self.first_above(map, turn, minimum));
                Some(&open[above.unwrap_or(turn)])
            }
            _ => None,
        };
        if let Some(only) = only {
            let span = left.map(|left| {
                places.extend(left);
                from..places.len()
            });
            return vec![(only.clone(), span)];
        }
        let left = left.unwrap_or_else(|| all(entries.len()));
        let mut owners: Vec<(usize, u32)> =
            left.into_iter().map(|at| (map.owner(entries[at as usize].hash_key()), at)).collect();
        // Stable by place: the second part of the key.
        owners.sort_unstable();
        places.extend(owners.iter().map(|(_, at)| *at));
        let mut upto = from;
        let groups = owners.chunk_by(|a, b| a.0 == b.0).map(|group| {
            let span = upto..upto + group.len();
            upto = span.end;
            (open[group[0].0].clone(), Some(span))
        });
        groups.collect()
    }

    /// Leaves out what the shard's limits don't allow now.
    fn admit(
        &self,
        shard: &ShardState,
        entries: &[PutRecordsEntry<'_>],
        span: Span,
        limits: ThroughputLimits,
        places: &mut Vec<u32>,
        failed: &mut Vec<(u32, Error)>,
    ) -> Span {
        if limits == ThroughputLimits::Off {
            return span;
        }
        let now_ms = self.shared.monotonic_ms();
        let from = places.len();
        for at in listed(places, &span, entries.len()) {
            if shard.traffic.admit_write(limits, entries[at as usize].bytes() as u64, now_ms) {
                places.push(at);
            } else {
                failed.push((at, self.exceeded(shard.id)));
            }
        }
        Some(from..places.len())
    }

    fn push<'e, 'd: 'e>(
        &self,
        shard: &ShardState,
        sampled: bool,
        entries: impl Iterator<Item = &'e PutRecordsEntry<'d>> + Clone,
        then: Then,
    ) -> Result<Ticket> {
        let log = self.log(shard)?;
        let ticket = log.push_records(entries.clone().map(PutRecordsEntry::parts), then)?;
        let (records, bytes) = entries.clone().fold((0, 0), |(n, bytes), entry| (n + 1, bytes + entry.bytes() as u64));
        let before = shard.traffic.put(records, bytes);
        if sampled {
            shard.traffic.sample(before, entries.map(|entry| (entry.bytes() as u64, || entry.hash_key())));
        }
        Ok(ticket)
    }

    /// As the service words it.
    pub(crate) fn exceeded(&self, shard: ShardId) -> Error {
        let account = &self.shared.options.account;
        Error::ThroughputExceeded {
            what: format!("shard {shard} in stream {} under account {account}", self.state.name),
        }
    }
}

fn all(count: usize) -> Vec<u32> {
    (0..count as u32).collect()
}

fn check(entries: &[PutRecordsEntry<'_>], distribution: Distribution, max_record_kib: u32) -> Result<()> {
    if entries.is_empty() {
        return Err(Error::EmptyBatch);
    }
    if entries.len() > PUT_RECORDS_MAX {
        return Err(Error::invalid("Records", format!("{} records", entries.len()), "a call may have at most 500"));
    }
    let mut total = 0;
    for entry in entries {
        check_entry(entry, distribution, max_record_kib)?;
        total += entry.bytes();
    }
    if total > PUT_RECORDS_BYTES_MAX {
        return Err(Error::invalid("Records", format!("{total} bytes"), "a call may have at most 10 MiB"));
    }
    Ok(())
}

fn check_entry(entry: &PutRecordsEntry<'_>, distribution: Distribution, max_record_kib: u32) -> Result<()> {
    match entry.partition_key {
        None if distribution == Distribution::Auto => {}
        None => {
            let why = "only a stream with automatic distribution takes records without one";
            return Err(Error::invalid("PartitionKey", "", why));
        }
        Some(key) => {
            // A character takes up to 4 bytes, so a short one need not be counted.
            if key.is_empty() || key.len() > PARTITION_KEY_CHARS_MAX && key.chars().count() > PARTITION_KEY_CHARS_MAX {
                return Err(Error::invalid("PartitionKey", key, "it must have 1 to 256 characters"));
            }
        }
    }
    if entry.bytes() > max_record_kib as usize * 1024 {
        let why = format!("data and partition key of a record may have {max_record_kib} KiB on this stream");
        return Err(Error::invalid("Data", format!("{} bytes", entry.bytes()), why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::log::StartAt;
    use crate::options::LogOptions;
    use crate::stream::{StartingPosition, StreamOptions};

    fn data(stream: &Stream) -> Vec<Vec<u8>> {
        let shards = stream.shards();
        let read = |shard: &crate::stream::Shard| stream.read(shard.shard_id, StartingPosition::TrimHorizon).unwrap();
        shards.iter().flat_map(read).map(|record| record.unwrap().data.to_vec()).collect()
    }

    #[test]
    fn records_put_in_a_transaction_are_routed_anew_when_a_split_comes_in_between() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path()).unwrap();
        let stream = engine.create_stream("clicks", StreamOptions::new()).unwrap();
        let notes = engine.store().create_log("notes", LogOptions::new()).unwrap();
        let parent = stream.shards()[0].shard_id;
        let entries =
            [("a", "1"), ("b", "2"), ("a", "3")].map(|(key, data)| PutRecordsEntry::new(key, data.as_bytes()));
        let mut filled = 0;
        let committed = stream.put_with(&entries, |transaction| {
            filled += 1;
            if filled == 1 {
                stream.split_shard(parent, HashKey(1 << 127))?;
            }
            transaction.append(&notes, "done").map(drop)
        });
        assert_eq!(committed.unwrap().appended.len(), 4);
        assert_eq!(filled, 2);
        assert!(stream.read(parent, StartingPosition::TrimHorizon).unwrap().next().is_none());
        let mut found = data(&stream);
        found.sort();
        assert_eq!(found, [b"1", b"2", b"3"]);
        assert_eq!(notes.read(StartAt::TrimHorizon).unwrap().count(), 1);
        assert_eq!(
            stream.shards().iter().map(|s| stream.shard_traffic(s.shard_id).unwrap().records_in).sum::<u64>(),
            3
        );
    }

    #[test]
    fn a_transaction_that_is_refused_puts_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path()).unwrap();
        let stream = engine.create_stream("clicks", StreamOptions::new().shards(3)).unwrap();
        let entries = ["a", "b", "c", "d"].map(|key| PutRecordsEntry::new(key, b"data"));
        let closed = engine.store().create_log("closed", LogOptions::new()).unwrap();
        let mut transaction = Transaction::new();
        transaction.close_log(&closed).unwrap();
        engine.store().commit(transaction).unwrap().wait().unwrap();
        let refused = stream.put_with(&entries, |transaction| transaction.append(&closed, "late").map(drop));
        assert!(matches!(refused, Err(Error::LogClosed { .. })), "{refused:?}");
        let long = "k".repeat(257);
        let refused = stream.put_with(&[entries[0], PutRecordsEntry::new(&long, b"")], |_| Ok(()));
        assert!(matches!(refused, Err(Error::InvalidArgument { .. })), "{refused:?}");
        assert!(data(&stream).is_empty());
    }
}
