//! Reading a shard: by tokens, as the service does, and by a typed reader without copies.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::limits::{GET_RECORDS_BYTES_MAX, GET_RECORDS_MAX};
use crate::log::{self, Log, StartAt};
use crate::sync::Arc;

use super::Stream;
use super::hash_key::HashKeyRange;
use super::iterator::{StartingPosition, Token};
use super::sequence_number::{Birth, SequenceNumber};
use super::shard::{ChildShard, ShardId, ShardState};
use super::throughput::ThroughputLimits;

/// A record of a stream. Its bytes are a slice of the mapped segment they lie in, and hold on to it.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// use braidlog::stream::StartingPosition;
/// let clicks = engine.create_stream("clicks", Default::default())?;
/// let put = clicks.put_record("user-42", b"page=/home")?;
/// let record = clicks.read(put.shard_id, StartingPosition::TrimHorizon)?.next().expect("a record")?;
/// assert_eq!(record.partition_key(), Some("user-42"));
/// assert_eq!(record.sequence_number, put.sequence_number);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// Its number in its shard.
    pub sequence_number: SequenceNumber,
    /// When it arrived, in milliseconds since 1970.
    pub arrival_ms: u64,
    /// Its payload.
    pub data: Bytes,
    pub(crate) key: Option<Bytes>,
    /// In the log of its shard.
    number: u64,
}

impl Record {
    fn new(birth: Birth, record: log::Record) -> Record {
        let sequence_number = SequenceNumber::of_record(birth, record.sequence_number, record.arrival_ms);
        let number = record.sequence_number;
        Record { sequence_number, arrival_ms: record.arrival_ms, data: record.data, key: record.key, number }
    }

    /// One that came in a service's answer. Its number in its shard's log is not known here.
    #[cfg(all(feature = "cli", feature = "server"))]
    pub(crate) fn of_answer(number: SequenceNumber, arrival_ms: u64, key: Option<Bytes>, data: Bytes) -> Record {
        Record { sequence_number: number, arrival_ms, data, key, number: 0 }
    }

    /// One that no shard holds, with partition key `a`.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn of_nowhere(data: Bytes) -> Record {
        let key = Some(Bytes::from_static(b"a"));
        let record = log::Record { sequence_number: 7, arrival_ms: 1_000_000, key, attributes: None, data };
        Record::new(Birth { birth_s: 1_000, shard: 0, store: 0 }, record)
    }

    /// The producer's partition key, if it gave one.
    pub fn partition_key(&self) -> Option<&str> {
        self.key.as_deref().and_then(|key| std::str::from_utf8(key).ok())
    }

    /// When it arrived.
    pub fn arrival(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.arrival_ms)
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes of data and key.
    pub(crate) fn bytes(&self) -> usize {
        self.data.len() + self.key.as_ref().map_or(0, Bytes::len)
    }
}

/// An answer to [`crate::Engine::get_records`].
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// use braidlog::stream::StartingPosition;
/// let clicks = engine.create_stream("clicks", Default::default())?;
/// let put = clicks.put_record("user-42", b"page=/home")?;
/// let iterator = clicks.shard_iterator(put.shard_id, StartingPosition::TrimHorizon)?;
/// let answer = engine.get_records(&iterator, 100)?;
/// assert_eq!(answer.records[0].data, "page=/home");
/// assert_eq!(answer.millis_behind_latest, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GetRecords {
    /// The records, in their order. None is no sign of an end.
    pub records: Vec<Record>,
    /// Where to go on; `None` at the end of a closed shard.
    pub next_shard_iterator: Option<String>,
    /// How long ago the last of `records` arrived, in milliseconds, if there is more after it; 0 if there is not.
    pub millis_behind_latest: u64,
    /// At the end of a closed shard: what came of it.
    pub child_shards: Vec<ChildShard>,
}

impl Stream {
    pub(crate) fn shard(&self, id: ShardId) -> Result<Arc<ShardState>> {
        self.check_ready()?;
        let missing = || Error::ResourceNotFound { what: format!("shard {id} in stream {}", self.name()) };
        self.state.shards().get(id).cloned().ok_or_else(missing)
    }

    /// Number, in the log of the shard, of the first record to read.
    pub(crate) fn locate(&self, shard: &ShardState, log: &Log, position: StartingPosition) -> Result<u64> {
        let number = |number: SequenceNumber, next: u64| {
            if !number.is_of(shard.birth) {
                let why = format!("it is not of shard {} of stream {}", shard.id, self.name());
                return Err(Error::invalid("StartingSequenceNumber", number, why));
            }
            let end = log.end();
            match number.after() {
                given if given <= end => Ok(next),
                _ if number.is_ending() && !shard.is_open() => Ok(end),
                _ => Err(Error::invalid("StartingSequenceNumber", number, "no record with it has been put yet")),
            }
        };
        match position {
            StartingPosition::TrimHorizon => log.horizon().map_err(|error| self.gone(error)),
            StartingPosition::Latest => Ok(log.end()),
            StartingPosition::AtSequenceNumber(at) => number(at, at.at_or_after()),
            StartingPosition::AfterSequenceNumber(after) => number(after, after.after()),
            StartingPosition::AtTimestamp(time) => {
                let ms =
                    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().min(u128::from(u64::MAX)) as u64;
                if ms > self.shared.now_ms() {
                    return Err(Error::invalid("Timestamp", ms, "it lies in the future"));
                }
                let reader = log.read(StartAt::Time(time)).map_err(|error| self.gone(error))?;
                Ok(reader.next_sequence_number())
            }
        }
    }

    /// A token for a position in a shard, for [`crate::Engine::get_records`]. It lasts for five minutes, see
    /// [`crate::EngineOptions::iterator_lifetime`], also after a restart.
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`]; [`Error::InvalidArgument`] for a number of another shard, stream or life, one that was not
    /// given out yet, or a time in the future; [`Error::ThroughputExceeded`] for a sixth in a second, where limits are enforced.
    pub fn shard_iterator(&self, shard_id: ShardId, position: StartingPosition) -> Result<String> {
        let shard = self.shard(shard_id)?;
        let next = self.locate(&shard, self.log(&shard)?, position)?;
        if !shard.traffic.admit_iterator(self.shared.options.throughput_limits, self.shared.monotonic_ms()) {
            return Err(self.exceeded(shard.id));
        }
        Ok(self.token(shard_id, next, self.shared.now_ms()))
    }

    fn token(&self, shard: ShardId, next: u64, issued_ms: u64) -> String {
        Token { stream: self.state.id, shard, next, issued_ms }.encode(&self.shared.secret)
    }

    /// Whether the shard of a token is there.
    #[cfg_attr(not(feature = "server"), expect(dead_code))]
    pub(crate) fn check_token(&self, token: &Token) -> Result<()> {
        self.shard(token.shard).map(drop)
    }

    pub(crate) fn get(&self, token: Token, limit: usize) -> Result<GetRecords> {
        let now_ms = self.shared.now_ms();
        if !(1..=GET_RECORDS_MAX).contains(&limit) {
            return Err(Error::invalid("Limit", limit, "it must be from 1 to 10,000"));
        }
        let shard = self.shard(token.shard)?;
        let limits = self.shared.options.throughput_limits;
        if !shard.traffic.admit_read(limits, self.shared.monotonic_ms()) {
            return Err(self.exceeded(shard.id));
        }
        let mut reader = ShardReader::new(self.clone(), shard.clone(), token.next)?;
        let records = reader.read_uncounted(limit, GET_RECORDS_BYTES_MAX)?;
        shard.traffic.got(limits, records.len() as u64, records.iter().map(|record| record.bytes() as u64).sum());
        let child_shards = reader.shard_end()?;
        let millis_behind_latest = match records.last() {
            _ if reader.is_at_end() => 0,
            Some(last) => now_ms.saturating_sub(last.arrival_ms),
            None => 0,
        };
        let next_shard_iterator = match child_shards {
            Some(_) => None,
            None => Some(self.token(shard.id, reader.next_number(), now_ms)),
        };
        let child_shards = child_shards.unwrap_or_default();
        Ok(GetRecords { records, next_shard_iterator, millis_behind_latest, child_shards })
    }

    /// A reader of a shard: no tokens, no copies, and it waits for new records without polling.
    ///
    /// # Errors
    /// As [`Stream::shard_iterator`].
    pub fn read(&self, shard_id: ShardId, position: StartingPosition) -> Result<ShardReader> {
        let shard = self.shard(shard_id)?;
        let next = self.locate(&shard, self.log(&shard)?, position)?;
        ShardReader::new(self.clone(), shard, next)
    }
}

/// A reader that yields record by record counts so many of them at once.
const COUNT_EVERY: u64 = 256;

/// Reads the records of a shard in their order. Records that expire before it gets there are passed over, as the service does.
///
/// As an iterator it yields what is durable and then ends; more may come, see [`ShardReader::wait`]. At the end of a closed
/// shard there is [`ShardReader::shard_end`].
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// use std::time::Duration;
/// use braidlog::stream::StartingPosition;
/// let clicks = engine.create_stream("clicks", Default::default())?;
/// let shard = clicks.shards()[0].shard_id;
/// let mut reader = clicks.read(shard, StartingPosition::Latest)?;
/// std::thread::scope(|scope| -> braidlog::Result<()> {
///     scope.spawn(|| clicks.put_record("user-42", b"page=/home"));
///     assert!(reader.wait(Some(Duration::from_secs(10)))?);
///     assert_eq!(reader.next().expect("a record")?.data, "page=/home");
///     Ok(())
/// })
/// # }
/// ```
pub struct ShardReader {
    stream: Stream,
    shard: Arc<ShardState>,
    log: Log,
    reader: log::Reader,
    /// Of the last record it yielded.
    last: Option<SequenceNumber>,
    /// Records and bytes that it yielded one by one, and that are not counted yet.
    uncounted: (u64, u64),
}

impl ShardReader {
    pub(crate) fn new(stream: Stream, shard: Arc<ShardState>, next: u64) -> Result<ShardReader> {
        let log = stream.log(&shard)?.clone();
        let reader = match log.read(StartAt::Sequence(next)) {
            Err(Error::Trimmed { .. }) => log.read(StartAt::TrimHorizon),
            other => other,
        };
        let reader = reader.map_err(|error| stream.gone(error))?;
        Ok(ShardReader { stream, shard, log, reader, last: None, uncounted: (0, 0) })
    }

    /// The shard.
    pub fn shard_id(&self) -> ShardId {
        self.shard.id
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(crate) fn shard(&self) -> &Arc<ShardState> {
        &self.shard
    }

    /// Has `waker` woken when there is more, or this ends, also when `otherwise` holds and the readers of the log are woken.
    /// Whether that is so already.
    pub(crate) fn register(&self, waker: &std::task::Waker, otherwise: impl Fn() -> bool) -> bool {
        self.reader.register(waker, otherwise)
    }

    /// The hash keys that its shard owns, or owned while it was open.
    pub fn hash_key_range(&self) -> HashKeyRange {
        self.shard.range()
    }

    pub(crate) fn next_number(&self) -> u64 {
        self.reader.next_sequence_number()
    }

    /// Where to go on later, or elsewhere, with [`StartingPosition::AfterSequenceNumber`]: the number of the last record it
    /// yielded, or one below the first it will yield.
    pub fn position(&self) -> SequenceNumber {
        self.last.unwrap_or_else(|| match self.next_number() {
            0 => SequenceNumber::starting(self.shard.birth),
            next => SequenceNumber::of_record(self.shard.birth, next - 1, self.shard.row.birth_s * 1000),
        })
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.next_number() >= self.log.end()
    }

    /// At the end of a closed shard: the shards to go on with. `None` while there may be more here.
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`] when the stream was deleted.
    pub fn shard_end(&self) -> Result<Option<Vec<ChildShard>>> {
        self.stream.state.check_alive()?;
        if !self.log.is_closed() {
            return Ok(None);
        }
        // The map says that it is closed together with who its children are, and the log's end is the last by then. One that
        // the map does not have any more has expired.
        let map = self.stream.state.shards();
        if map.get(self.shard.id).is_some_and(|shard| shard.is_open()) || !self.is_at_end() {
            return Ok(None);
        }
        Ok(Some(map.children(self.shard.id)))
    }

    /// At most `records_max` records of together at most `bytes_max` bytes of data and keys, but at least one if there is any.
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`] when the stream was deleted; [`Error::Damaged`] and [`Error::LogStopped`] with the place.
    pub fn read(&mut self, records_max: usize, bytes_max: usize) -> Result<Vec<Record>> {
        let records = self.read_uncounted(records_max, bytes_max)?;
        let bytes = records.iter().map(|record| record.bytes() as u64).sum();
        self.shard.traffic.got(ThroughputLimits::Off, records.len() as u64, bytes);
        Ok(records)
    }

    /// After [`Error::Damaged`]: goes on at the next record that can be read, or at the end. Returns how many were skipped; none, if
    /// the next one can be read.
    ///
    /// # Errors
    /// As [`ShardReader::read`].
    pub fn skip_damaged(&mut self) -> Result<u64> {
        loop {
            match self.reader.skip_damaged() {
                Ok(lost) => {
                    if !lost.is_empty() {
                        // Its position is behind what was skipped, not behind the last that was read.
                        self.last = None;
                    }
                    return Ok(lost.end - lost.start);
                }
                Err(Error::Trimmed { .. }) => self.skip()?,
                Err(error) => return Err(self.stream.gone(error)),
            }
        }
    }

    /// Counts what it yielded one by one: a count for each would cost as much as the record.
    fn count(&mut self) {
        let (records, bytes) = std::mem::take(&mut self.uncounted);
        if records > 0 {
            self.shard.traffic.got(ThroughputLimits::Off, records, bytes);
        }
    }

    /// As [`ShardReader::read`], of what the caller counts.
    pub(crate) fn read_uncounted(&mut self, records_max: usize, bytes_max: usize) -> Result<Vec<Record>> {
        loop {
            match self.reader.read(records_max, bytes_max) {
                Ok(records) => {
                    let birth = self.shard.birth;
                    let records: Vec<_> = records.into_iter().map(|record| Record::new(birth, record)).collect();
                    self.last = records.last().map(|record| record.sequence_number).or(self.last);
                    return Ok(records);
                }
                Err(Error::Trimmed { .. }) => self.skip()?,
                Err(error) => return Err(self.stream.gone(error)),
            }
        }
    }

    /// Goes on behind records that another reader read from here, if they may still be read; whether it did.
    pub(crate) fn pass(&mut self, records: &[Record]) -> Result<bool> {
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(false) };
        let passed = self.reader.pass(first.number, first.arrival_ms, last.number + 1);
        let passed = passed.map_err(|error| self.stream.gone(error))?;
        if passed {
            self.last = Some(last.sequence_number);
        }
        Ok(passed)
    }

    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    fn skip(&mut self) -> Result<()> {
        self.reader.skip_trimmed().map(drop).map_err(|error| self.stream.gone(error))
    }

    /// Blocks until there is something to read, the shard ends, or the time is up; whether there is something to read. `None`
    /// waits for ever. Wakes by the writer, not by polling. At the end of a closed shard it returns at once.
    ///
    /// # Errors
    /// [`Error::ResourceNotFound`] when the stream was deleted, [`Error::Closed`] when the store was closed meanwhile.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool> {
        self.wait_unless(timeout, || false)
    }

    /// As [`ShardReader::wait`], also until `otherwise` holds and the readers of the log are woken.
    pub(crate) fn wait_unless(&self, timeout: Option<Duration>, otherwise: impl Fn() -> bool) -> Result<bool> {
        match self.reader.wait_unless(timeout, otherwise) {
            Err(Error::LogClosed { .. }) => Ok(false),
            other => other.map_err(|error| self.stream.gone(error)),
        }
    }

    /// As [`ShardReader::wait`] without a timeout, for any async runtime.
    ///
    /// # Errors
    /// As [`ShardReader::wait`].
    pub async fn ready(&self) -> Result<bool> {
        match self.reader.ready().await {
            Ok(()) => Ok(true),
            Err(Error::LogClosed { .. }) => Ok(false),
            Err(error) => Err(self.stream.gone(error)),
        }
    }
}

impl Iterator for ShardReader {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(next) = self.reader.next() else {
                self.count();
                return None;
            };
            return match next {
                Ok(record) => {
                    let record = Record::new(self.shard.birth, record);
                    self.last = Some(record.sequence_number);
                    self.uncounted.0 += 1;
                    self.uncounted.1 += record.bytes() as u64;
                    if self.uncounted.0 >= COUNT_EVERY {
                        self.count();
                    }
                    Some(Ok(record))
                }
                Err(Error::Trimmed { .. }) => match self.skip() {
                    Ok(()) => continue,
                    Err(error) => Some(Err(error)),
                },
                Err(error) => Some(Err(self.stream.gone(error))),
            };
        }
    }
}

impl Drop for ShardReader {
    fn drop(&mut self) {
        self.count();
    }
}

impl std::fmt::Debug for ShardReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardReader").field("shard", &self.shard.id).field("position", &self.position()).finish()
    }
}
