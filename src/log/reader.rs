//! Reading forward: batch by batch from memory or a mapped segment, never beyond the high watermark, never below the horizon.

use std::future::poll_fn;
use std::ops::Range;
use std::task::{Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::format::Damage;
use crate::format::batch::{BatchHeader, Cursor, HEADER_BYTES, RecordRef, Records};
use crate::id::SequenceNumber;
use crate::log::Log;
use crate::log::Registration;
use crate::segment::{Location, Segment};
use crate::sync::Arc;

/// Where to start reading.
///
/// ```
/// use braidlog::StartAt;
/// let replay_from = StartAt::Time(std::time::SystemTime::UNIX_EPOCH);
/// assert_ne!(replay_from, StartAt::Latest);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// The oldest record that is still readable.
    TrimHorizon,
    /// After the newest record: what is appended from now on.
    Latest,
    /// The record with this number; the end of the log is allowed, for what is appended next.
    Sequence(SequenceNumber),
    /// The first record that arrived at or after this time. A record arrives with the system clock's last tick, on Linux 1 to 10 ms
    /// before the append by the precise clock: what is appended from now on is found by [`StartAt::Latest`].
    Time(SystemTime),
}

/// One record, holding on to the memory or the mapped segment its bytes are in.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use braidlog::{Store, RecordParts, StartAt};
/// let store = Store::open(dir.path())?;
/// let log = store.create_log("clicks", Default::default())?;
/// log.append(RecordParts { key: Some(b"user-42"), data: b"page=/home", attributes: None })?;
/// let record = log.read(StartAt::TrimHorizon)?.next().expect("one record")?;
/// assert_eq!(record.key.as_deref(), Some(&b"user-42"[..]));
/// assert_eq!(record.data, "page=/home");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub sequence_number: SequenceNumber,
    /// When it arrived, in milliseconds since 1970. Never decreases within a log.
    pub arrival_ms: u64,
    /// Its key, if it has one.
    pub key: Option<Bytes>,
    /// Its attributes, if it has any.
    pub attributes: Option<Bytes>,
    /// Its payload.
    pub data: Bytes,
}

impl Record {
    /// Bytes of data, key and attributes.
    fn bytes(&self) -> usize {
        let of = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        self.data.len() + of(&self.key) + of(&self.attributes)
    }

    /// When it arrived.
    pub fn arrival(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.arrival_ms)
    }
}

/// Consecutive records that share one piece of memory: the cheapest way to read, for walking one touches no reference count.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = braidlog::Store::open(dir.path())?;
/// # let log = store.create_log("clicks", Default::default())?;
/// log.append_batch(["a", "b", "c"])?;
/// let mut reader = log.read(braidlog::StartAt::Sequence(1))?;
/// let batch = reader.next_batch()?.expect("a batch");
/// let data: Vec<&[u8]> = batch.iter().map(|record| record.data).collect();
/// assert_eq!(data, [b"b", b"c"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Batch {
    header: BatchHeader,
    records: Bytes,
    from: SequenceNumber,
    upto: SequenceNumber,
}

impl Batch {
    /// Number of the first record it yields.
    pub fn first(&self) -> SequenceNumber {
        self.from
    }

    /// Number after the last record it yields.
    pub fn end(&self) -> SequenceNumber {
        self.upto
    }

    /// How many records it yields.
    pub fn len(&self) -> usize {
        (self.upto - self.from) as usize
    }

    /// Whether it yields none: never, from a reader.
    pub fn is_empty(&self) -> bool {
        self.from == self.upto
    }

    /// Walks the records. They verified when the batch was read; bytes forged under a right checksum end the walk early.
    pub fn iter(&self) -> impl Iterator<Item = RecordRef<'_>> {
        Records::from_cursor(self.cursor(), &self.records).map_while(Result::ok)
    }

    /// The records, each holding on to the memory.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        self.iter().map(|record| self.own(record))
    }

    fn cursor(&self) -> Cursor {
        Cursor::at_number(&self.header, &self.records, self.from).until(self.upto)
    }

    /// Inlined, as all between it and the caller: a record handed on through memory from one call to the next costs as much
    /// as the rest of reading it.
    #[inline(always)]
    fn own(&self, record: RecordRef<'_>) -> Record {
        let own = |part: &[u8]| {
            let start = part.as_ptr().addr() - self.records.as_ptr().addr();
            self.records.slice(start..start + part.len())
        };
        Record {
            sequence_number: record.sequence_number,
            arrival_ms: record.arrival_ms,
            key: record.key.map(own),
            attributes: record.attributes.map(own),
            data: own(record.data),
        }
    }
}

/// A batch that is read record by record.
struct Walk {
    batch: Batch,
    cursor: Cursor,
}

impl Walk {
    fn new(batch: Batch) -> Walk {
        Walk { cursor: batch.cursor(), batch }
    }

    /// Number of the next record.
    fn position(&self) -> SequenceNumber {
        self.cursor.next_sequence_number().min(self.batch.upto)
    }

    #[inline(always)]
    fn next(&mut self) -> Option<Record> {
        let record = self.cursor.step(&self.batch.records)?.ok()?;
        Some(self.batch.own(record))
    }

    /// The batch without what was read of it, unless that is all of it.
    fn into_rest(self) -> Option<Batch> {
        let from = self.position();
        (from < self.batch.upto).then_some(Batch { from, ..self.batch })
    }
}

/// [`Reader::read`] makes room for so many records at first, and then for as many as it yielded the last time.
const READ_RECORDS_EXPECTED: usize = 128;

/// From so many records on, a reader counts the references into a batch in memory apart from all other readers: many threads
/// that count in one place take longer than copying the records would.
const OWN_COUNT_FROM: u32 = 8;

/// The segments that begin at or before a number, and behind it. By where they begin: one that is being written can reach over the
/// pieces that are copied into it.
fn around(segments: &[Arc<Segment>], number: SequenceNumber) -> (Option<&Arc<Segment>>, Option<&Arc<Segment>>) {
    let (before, after) = segments.split_at(segments.partition_point(|segment| segment.base <= number));
    (before.last(), after.first())
}

/// How far a reader may go.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    /// The high watermark, wherever it moves.
    High,
    /// A fixed number, for a snapshot.
    Fixed(SequenceNumber),
}

/// Reads a log forward. Cheap to make; any number of them cost the writer nothing.
///
/// As an iterator it yields records up to the high watermark and then ends; more may come later, see [`Reader::wait`].
/// Records that were trimmed under it are an error, once, with the way on in [`Reader::skip_trimmed`]; records that can't be read any
/// more are one as well, and [`Reader::skip_damaged`] goes on behind them.
///
/// [`Reader::read`] and [`Reader::next_batch`] look at what may be read each time they are called. An iterator has fetched a whole
/// batch, at most 32 KiB of small records, and yields the rest of it with a look at less: a trim or a deletion ends it at the next
/// record; that a record's age or byte rule has tripped since the batch was fetched it finds out as soon as anybody has looked, a pass
/// of retention ([`retention_interval`](crate::StoreOptions::retention_interval)) at the latest, and otherwise at the next batch. Who
/// takes long over a record and must not get one that expired meanwhile calls `read`. What was handed out, a [`Record`] or a
/// [`Batch`], stays readable for as long as it is kept.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use std::time::Duration;
/// let store = braidlog::Store::open(dir.path())?;
/// let log = store.create_log("clicks", Default::default())?;
/// let mut reader = log.read(braidlog::StartAt::Latest)?;
/// std::thread::scope(|scope| -> braidlog::Result<()> {
///     scope.spawn(|| log.append("hello"));
///     assert!(reader.wait(Some(Duration::from_secs(10)))?);
///     assert_eq!(reader.next().expect("a record")?.data, "hello");
///     Ok(())
/// })
/// # }
/// ```
pub struct Reader {
    log: Log,
    next: SequenceNumber,
    bound: Bound,
    at: Option<Location>,
    walk: Option<Walk>,
    /// How many records [`Reader::read`] makes room for.
    expected: usize,
    /// Iteration ended with an error.
    failed: bool,
    /// Of the waker of whoever waits for more.
    registration: Registration,
}

impl Reader {
    pub(crate) fn new(log: Log, start: StartAt, bound: Bound) -> Result<Reader> {
        let mut reader = Reader {
            log,
            next: 0,
            bound,
            at: None,
            walk: None,
            expected: READ_RECORDS_EXPECTED,
            failed: false,
            registration: Registration::default(),
        };
        reader.seek(start)?;
        Ok(reader)
    }

    /// Goes somewhere else.
    ///
    /// # Errors
    /// [`Error::Trimmed`] before the horizon, [`Error::BeyondEnd`] after the end, [`Error::LogDeleted`], and what reading
    /// may answer.
    pub fn seek(&mut self, start: StartAt) -> Result<()> {
        let state = &self.log.state;
        state.check_alive()?;
        self.failed = false;
        self.walk = None;
        self.at = None;
        let (horizon, end) = (self.log.horizon()?, self.end());
        self.next = match start {
            StartAt::TrimHorizon => horizon.min(end),
            StartAt::Latest => end,
            StartAt::Sequence(position) if position < horizon => {
                return Err(Error::Trimmed { log: state.name.to_string(), position, horizon });
            }
            StartAt::Sequence(position) if position > end => {
                return Err(Error::BeyondEnd { log: state.name.to_string(), position, end });
            }
            StartAt::Sequence(position) => position,
            StartAt::Time(time) => {
                let millis = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis();
                let (first, at) = self.log.locate_arrival(millis.min(u128::from(u64::MAX)) as u64)?;
                self.at = at;
                first.clamp(horizon.min(end), end)
            }
        };
        Ok(())
    }

    /// Number of the next record it will yield.
    pub fn next_sequence_number(&self) -> SequenceNumber {
        self.walk.as_ref().map_or(self.next, Walk::position)
    }

    fn end(&self) -> SequenceNumber {
        match self.bound {
            Bound::High => self.log.state.high(),
            Bound::Fixed(end) => end,
        }
    }

    /// After [`Error::Trimmed`]: goes on at the horizon. Returns how many records were skipped.
    ///
    /// # Errors
    /// As [`Reader::seek`].
    ///
    /// ```
    /// # fn main() -> braidlog::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use braidlog::{Error, StartAt};
    /// # let store = braidlog::Store::open(dir.path())?;
    /// let log = store.create_log("clicks", Default::default())?;
    /// log.append_batch(["a", "b", "c"])?;
    /// let mut reader = log.read(StartAt::TrimHorizon)?;
    /// log.trim(2)?; // behind the reader's back
    /// assert!(matches!(reader.next(), Some(Err(Error::Trimmed { .. }))));
    /// assert_eq!(reader.skip_trimmed()?, 2);
    /// assert_eq!(reader.next().unwrap()?.data, "c");
    /// # Ok(())
    /// # }
    /// ```
    pub fn skip_trimmed(&mut self) -> Result<u64> {
        let from = self.next_sequence_number();
        self.seek(StartAt::TrimHorizon)?;
        self.next = self.next.max(from);
        Ok(self.next - from)
    }

    /// After [`Error::Damaged`]: goes on at the next record that can be read. Returns the numbers of those that were skipped; none,
    /// if the next one can be read. They stay unreadable: what `check --salvage` can get, or a backup has, is not looked for.
    ///
    /// Bytes are read and verified up to a batch that is whole, at the worst to the end of the segment that is damaged.
    ///
    /// # Errors
    /// [`Error::Trimmed`], [`Error::LogDeleted`], and [`Error::Io`] when the index or the size of something must be looked at and
    /// can't be.
    ///
    /// ```
    /// use braidlog::{Error, Log, StartAt};
    ///
    /// /// Everything there is; what is lost is told and passed over.
    /// fn read_all(log: &Log) -> braidlog::Result<()> {
    ///     let mut reader = log.read(StartAt::TrimHorizon)?;
    ///     while let Some(record) = reader.next() {
    ///         match record {
    ///             Ok(record) => println!("{:?}", record.data),
    ///             Err(error @ Error::Damaged { .. }) => {
    ///                 let lost = reader.skip_damaged()?;
    ///                 eprintln!("{error}; records {} to {} are lost", lost.start, lost.end - 1);
    ///             }
    ///             Err(error) => return Err(error),
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn skip_damaged(&mut self) -> Result<Range<SequenceNumber>> {
        let from = self.next_sequence_number();
        self.seek(StartAt::Sequence(from))?;
        while self.next < self.end() {
            let holding = match self.fetch() {
                Ok(Some(_)) => break,
                Ok(None) => continue,
                Err(Error::Damaged { .. }) => self.segment_of(self.next),
                Err(error) => return Err(error),
            };
            // Others have what it had, or it was trimmed: the next look tells.
            let Some(segment) = holding else { continue };
            self.next = match segment.readable_from(&self.log.core.files, self.next) {
                Err(_) if segment.is_buried() => continue,
                // Read by the file it is whole and by the map it is not: a device that says now this and now that.
                Ok(Some(readable)) if readable.start == self.next => readable.end,
                Ok(Some(readable)) => readable.start,
                // A file that is missing or too short has nothing.
                Ok(None) | Err(Error::Damaged { .. }) => segment.end(),
                Err(error) => return Err(error),
            };
        }
        self.next = self.next.min(self.end());
        Ok(from..self.next)
    }

    fn segment_of(&self, number: SequenceNumber) -> Option<Arc<Segment>> {
        let view = self.log.state.view.read().unwrap_or_else(|p| p.into_inner());
        around(&view.segments, number).0.filter(|segment| segment.end() > number).cloned()
    }

    /// Goes on at `next`, behind records that another reader read from here, `first` the first of them: if that may still be
    /// read, so may the rest. Otherwise, and that is the answer, it stays and has to read for itself.
    ///
    /// # Errors
    /// As [`Reader::next_batch`].
    pub(crate) fn pass(&mut self, first: SequenceNumber, arrival_ms: u64, next: SequenceNumber) -> Result<bool> {
        self.log.state.check_alive()?;
        if self.log.hides(first, arrival_ms)? {
            return Ok(false);
        }
        (self.walk, self.at, self.next) = (None, None, next);
        Ok(true)
    }

    /// The records from here to the end of their batch; `None` at the high watermark.
    ///
    /// # Errors
    /// [`Error::Trimmed`] when retention overtook the reader, [`Error::Damaged`] with the place, [`Error::LogDeleted`],
    /// [`Error::LogStopped`] at the end of what a damaged log still has.
    pub fn next_batch(&mut self) -> Result<Option<Batch>> {
        // What iteration by record left over comes first, if it may still be read.
        self.look_again()?;
        if let Some(rest) = self.walk.take().and_then(Walk::into_rest) {
            return Ok(Some(rest));
        }
        loop {
            let state = &self.log.state;
            state.check_alive()?;
            let end = self.end();
            if self.next >= end {
                return match state.stopped_at() {
                    Some(at) if matches!(self.bound, Bound::High) => {
                        Err(Error::LogStopped { log: state.name.to_string(), at })
                    }
                    _ => Ok(None),
                };
            }
            // Before the horizon: where a longer rule has taken the place of a shorter one meanwhile, what the shorter one had
            // hidden is below the horizon now.
            let cutoff_ms = self.log.age_cutoff_ms();
            let horizon = self.log.horizon_at_least()?;
            if self.next < horizon {
                let log = state.name.to_string();
                return Err(Error::Trimmed { log, position: self.next, horizon });
            }
            let fetched = self.fetch().map_err(|error| error.of_record(&self.log.state.name, self.next))?;
            let Some((header, records)) = fetched else { continue };
            let batch = Batch { header, records, from: self.next, upto: header.end().min(end) };
            if let Some(cutoff) = cutoff_ms
                && header.first_arrival_ms < cutoff
            {
                let horizon = self.age_horizon(&batch, cutoff)?;
                if self.next < horizon {
                    let log = self.log.state.name.to_string();
                    return Err(Error::Trimmed { log, position: self.next, horizon });
                }
            }
            self.next = batch.upto;
            return Ok(Some(batch));
        }
    }

    /// Where reading goes on in, or after, a batch whose first record has expired.
    fn age_horizon(&self, batch: &Batch, cutoff_ms: u64) -> Result<SequenceNumber> {
        // What a floor keeps of it the records don't say.
        if self.log.is_held() {
            return self.log.horizon();
        }
        // The rule cuts between two records, so where it cuts the batch is looked at record by record.
        let expired = batch.iter().take_while(|record| record.arrival_ms < cutoff_ms).count() as u64;
        if expired == 0 {
            return Ok(self.next);
        }
        let upto = self.next + expired;
        // Who skips what was trimmed must get on, also where the horizon can't be looked up.
        self.log.state.note_expired(&self.log.core.files, upto)?;
        Ok(self.log.horizon()?.max(upto))
    }

    /// The batch that holds `self.next`; `None` after moving `self.next` over a gap.
    fn fetch(&mut self) -> Result<Option<(BatchHeader, Bytes)>> {
        let number = self.next;
        let holds = |header: &BatchHeader| header.first <= number && number < header.end();
        if let Some(at) = &mut self.at
            && number < at.segment.end()
        {
            match at.next_batch(&self.log.core.files) {
                Ok(Some((header, records))) if holds(&header) => return Ok(Some((header, records))),
                // Removed since: others have what it had, or it was trimmed.
                Err(error) if !at.segment.is_buried() => {
                    self.at = None;
                    return Err(error);
                }
                _ => {}
            }
        }
        self.at = None;
        let segment = {
            let view = self.log.state.view.read().unwrap_or_else(|p| p.into_inner());
            let in_memory = view.pending.front().is_some_and(|b| b.header.first <= number);
            if in_memory {
                let at = view.pending.partition_point(|b| b.header.end() <= number);
                match view.pending.get(at) {
                    Some(batch) if holds(&batch.header) => {
                        let (header, mut records) = (batch.header, batch.bytes.slice(HEADER_BYTES..batch.header.len()));
                        drop(view);
                        if header.count >= OWN_COUNT_FROM {
                            records = Bytes::from_owner(records);
                        }
                        return Ok(Some((header, records)));
                    }
                    Some(batch) => Err(batch.header.first),
                    None => return Err(self.lost(number)),
                }
            } else {
                let (before, after) = around(&view.segments, number);
                match (before.filter(|segment| segment.end() > number), after) {
                    (Some(segment), _) => Ok(segment.clone()),
                    (None, Some(segment)) => Err(segment.base),
                    (None, None) => Err(view.pending.front().map_or_else(|| self.end(), |batch| batch.header.first)),
                }
            }
        };
        let segment = match segment {
            Ok(segment) => segment,
            Err(next) => {
                // Nothing holds it: a gap, which an unclean end leaves in a buffered log, or it was trimmed since the horizon was
                // looked at. A horizon rises before what is below it goes, so a look at it now tells which.
                if self.log.horizon_at_least()? <= number {
                    self.next = next;
                }
                return Ok(None);
            }
        };
        let files = &self.log.core.files;
        let found = segment.locate(files, number).and_then(|mut at| Ok((at.next_batch(files)?, at)));
        match found {
            Ok((Some((header, records)), at)) if holds(&header) => {
                self.at = Some(at);
                Ok(Some((header, records)))
            }
            // Removed since it was looked up: the next look finds it trimmed, or its records in another segment.
            Err(_) if segment.is_buried() => Ok(None),
            Err(error) => Err(error),
            // What stands behind it, or nothing.
            Ok((_, at)) => Err(segment.damaged(at.position, Damage::Missing)),
        }
    }

    fn lost(&self, number: SequenceNumber) -> Error {
        Error::LogStopped { log: self.log.state.name.to_string(), at: number }
    }

    /// At most `records_max` records of together at most `bytes_max` bytes of data, keys and attributes, but at least one if there is any.
    ///
    /// # Errors
    /// As [`Reader::next_batch`].
    pub fn read(&mut self, records_max: usize, bytes_max: usize) -> Result<Vec<Record>> {
        self.look_again()?;
        let mut records = Vec::with_capacity(records_max.min(self.expected));
        let mut bytes = 0;
        while records.len() < records_max {
            let record = match self.advance() {
                Some(Ok(record)) => record,
                // It comes again with the next call: what was read before it must not go with it.
                Some(Err(_)) if !records.is_empty() => break,
                Some(Err(error)) => return Err(error),
                None => break,
            };
            bytes += record.bytes();
            if bytes > bytes_max && !records.is_empty() {
                self.put_back(record.sequence_number);
                break;
            }
            records.push(record);
        }
        self.expected = records.len().max(1);
        Ok(records)
    }

    /// What is left of a batch was readable when it was fetched, which may be long ago: if some of it may not be any more, it is
    /// fetched once more.
    fn look_again(&mut self) -> Result<()> {
        let Some(walk) = &self.walk else { return Ok(()) };
        self.log.state.check_alive()?;
        let position = walk.position();
        if self.log.hides(position, walk.batch.header.first_arrival_ms)? {
            (self.walk, self.next) = (None, position);
        }
        Ok(())
    }

    /// Goes back to a record of the batch that is being walked.
    fn put_back(&mut self, number: SequenceNumber) {
        if let Some(walk) = &mut self.walk {
            walk.batch.from = number;
            walk.cursor = walk.batch.cursor();
        }
    }

    /// The first record of the next batch.
    #[inline(never)]
    fn next_walk(&mut self) -> Result<Option<Record>> {
        if let Some(walk) = &self.walk
            && self.log.state.is_known_gone(walk.position())
        {
            // Not all of its batch was read: the look at its place says what became of it.
            self.next = walk.position();
        }
        loop {
            self.walk = None;
            let Some(batch) = self.next_batch()? else { return Ok(None) };
            if let Some(record) = self.walk.insert(Walk::new(batch)).next() {
                return Ok(Some(record));
            }
        }
    }

    /// Blocks until there is something to read, the log ends, or the time is up; whether there is something to read.
    /// `None` waits for ever. Wakes by the writer, not by polling.
    ///
    /// # Errors
    /// [`Error::LogDeleted`]; [`Error::LogClosed`] at the end of a closed log; [`Error::Closed`] when the store was closed
    /// meanwhile.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool> {
        self.wait_unless(timeout, || false)
    }

    /// As [`Reader::wait`], also until `otherwise` holds; who makes it so calls [`Log::wake_readers`].
    pub(crate) fn wait_unless(&self, timeout: Option<Duration>, otherwise: impl Fn() -> bool) -> Result<bool> {
        let position = self.next_sequence_number();
        let state = &self.log.state;
        let over = || self.end() > position || state.is_deleted() || state.is_closed() || self.log.core.is_closed();
        let reached = state.watch.wait(timeout, || over() || otherwise());
        state.check_alive()?;
        if self.end() > position {
            Ok(true)
        } else if reached && over() {
            Err(self.over())
        } else {
            Ok(false)
        }
    }

    /// Why nothing more will come.
    fn over(&self) -> Error {
        let state = &self.log.state;
        if state.is_closed() { Error::LogClosed { log: state.name.to_string() } } else { Error::Closed }
    }

    /// Has `waker` woken when there is something to read or the log ends, also when `otherwise` holds; who makes it so calls
    /// [`Log::wake_readers`]. Whether that is so already.
    pub(crate) fn register(&self, waker: &Waker, otherwise: impl Fn() -> bool) -> bool {
        let position = self.next_sequence_number();
        let state = &self.log.state;
        let over = || self.end() > position || state.is_deleted() || state.is_closed() || self.log.core.is_closed();
        let over = || over() || otherwise();
        over() || state.watch.register(&self.registration, waker, over)
    }

    /// As [`Reader::wait`] without a timeout, for any async runtime.
    ///
    /// # Errors
    /// As [`Reader::wait`].
    ///
    /// ```
    /// use braidlog::Reader;
    ///
    /// /// Until the log ends, which is an error that says how.
    /// async fn follow(mut reader: Reader) -> braidlog::Result<()> {
    ///     loop {
    ///         reader.ready().await?;
    ///         while let Some(record) = reader.next() {
    ///             println!("{:?}", record?.data);
    ///         }
    ///     }
    /// }
    /// ```
    pub async fn ready(&self) -> Result<()> {
        let ready = |waker: &Waker| self.register(waker, || false);
        poll_fn(|context| if ready(context.waker()) { Poll::Ready(()) } else { Poll::Pending }).await;
        self.log.state.check_alive()?;
        if self.end() > self.next_sequence_number() { Ok(()) } else { Err(self.over()) }
    }
}

impl Reader {
    #[inline]
    fn advance(&mut self) -> Option<Result<Record>> {
        // One load and one comparison: what would have to look at a clock, or at sizes, is looked at once a batch.
        match self.walk.as_mut() {
            Some(walk) if !self.log.state.is_known_gone(walk.cursor.next_sequence_number()) => match walk.next() {
                Some(record) => Some(Ok(record)),
                None => self.next_walk().transpose(),
            },
            _ => self.next_walk().transpose(),
        }
    }
}

/// Ends after an error, so that collecting what a damaged log has comes to an end; [`Reader::seek`] begins anew.
impl Iterator for Reader {
    type Item = Result<Record>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.advance();
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("log", &self.log.name()).field("position", &self.next_sequence_number()).finish()
    }
}
