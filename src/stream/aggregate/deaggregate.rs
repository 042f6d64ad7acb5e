//! Taking an aggregated record apart.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::super::hash_key::{HashKey, HashKeyRange};
use super::super::read::Record;
use super::super::sequence_number::SequenceNumber;
use super::wire::{Fields, Malformed, Value};
use super::{
    DATA, DIGEST_BYTES, EXPLICIT_HASH_KEY, EXPLICIT_HASH_KEY_INDEX, MAGIC, PARTITION_KEY, PARTITION_KEY_INDEX, RECORD,
    TAG, TAG_KEY,
};

/// A record as its producer put it: one of those in an aggregated record, or a record that was put on its own.
///
/// Its bytes are slices of the record they came in.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// use braidlog::stream::{ProducerOptions, StartingPosition};
/// let clicks = engine.create_stream("clicks", Default::default())?;
/// let producer = clicks.producer(ProducerOptions::new())?;
/// for page in ["/home", "/cart"] {
///     drop(producer.put("user-42", None, page)?);
/// }
/// producer.close();
/// let shard = clicks.shards()[0].shard_id;
/// let records = clicks.read(shard, StartingPosition::TrimHorizon)?.user_records(None);
/// let users = records.collect::<braidlog::Result<Vec<_>>>()?;
/// assert_eq!(users[1].partition_key(), Some("user-42"));
/// assert_eq!(users[1].data, "/cart");
/// assert_eq!((users[0].sub_sequence_number, users[1].sub_sequence_number), (0, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserRecord {
    /// Number of the record it came in.
    pub sequence_number: SequenceNumber,
    /// Its place in that record, from 0. A reader that goes on after it reads at `sequence_number` and passes over the user
    /// records up to this one.
    pub sub_sequence_number: u64,
    /// Whether it came in an aggregated record.
    pub aggregated: bool,
    /// When the record it came in arrived, in milliseconds since 1970.
    pub arrival_ms: u64,
    /// Its explicit hash key, if its producer gave one and it came in an aggregated record.
    pub explicit_hash_key: Option<HashKey>,
    /// Its payload.
    pub data: Bytes,
    key: Option<Bytes>,
}

impl UserRecord {
    /// The producer's partition key, if it gave one.
    pub fn partition_key(&self) -> Option<&str> {
        self.key.as_deref().and_then(|key| std::str::from_utf8(key).ok())
    }

    /// When the record it came in arrived.
    pub fn arrival(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.arrival_ms)
    }
}

/// The user records of a record, in their order: the record itself if it is no aggregated one. Whatever its bytes are, there is
/// no error: what can't be read whole as an aggregated record is handed on as it is.
///
/// With the range of the shard that it was read from it follows the rule of the Kinesis Client Library for records that were
/// put while a shard was split or merged: if the hash key of one user record lies outside, all of them are left out, because
/// their producer puts them again. Braidlog's own [`crate::stream::Producer`] never needs that; producers elsewhere do. Give
/// `None` if the stream distributes its records automatically ([`crate::stream::Distribution::Auto`]) or did once: there the
/// hash key says nothing.
///
/// Costs one MD5 of the record, and, given a range, one of each partition key in it; memory of at most six times the record's
/// bytes, usually a thousandth. See [`UserRecord`] and [`crate::stream::Aggregator`] for examples.
pub fn deaggregate(record: Record, range: Option<HashKeyRange>) -> UserRecords {
    let state = match Message::open(&record.data, range) {
        None => State::Whole,
        Some(message) if message.outside => State::End,
        Some(message) => State::Aggregated { message, sub_sequence_number: 0 },
    };
    UserRecords { record, state }
}

/// Whether a record with this data would be taken apart.
pub(crate) fn is_aggregated(data: &[u8]) -> bool {
    data.starts_with(&MAGIC) && Message::open(data, None).is_some()
}

/// The user records of a record: see [`deaggregate`].
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// use braidlog::stream::{StartingPosition, deaggregate};
/// let clicks = engine.create_stream("clicks", Default::default())?;
/// let put = clicks.put_record("user-42", b"page=/home")?;
/// let record = clicks.read(put.shard_id, StartingPosition::TrimHorizon)?.next().expect("a record")?;
/// let user = deaggregate(record, None).next().expect("itself");
/// assert_eq!(user.data, "page=/home");
/// assert!(!user.aggregated);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct UserRecords {
    record: Record,
    state: State,
}

#[derive(Debug)]
enum State {
    Whole,
    Aggregated { message: Message, sub_sequence_number: u64 },
    End,
}

impl UserRecords {
    /// How many are left.
    pub fn left(&self) -> u64 {
        match &self.state {
            State::Whole => 1,
            State::Aggregated { message, .. } => message.left,
            State::End => 0,
        }
    }
}

impl Iterator for UserRecords {
    type Item = UserRecord;

    fn next(&mut self) -> Option<UserRecord> {
        let Record { sequence_number, arrival_ms, ref data, ref key, .. } = self.record;
        match &mut self.state {
            State::End => None,
            State::Whole => {
                let user = UserRecord {
                    sequence_number,
                    sub_sequence_number: 0,
                    aggregated: false,
                    arrival_ms,
                    explicit_hash_key: None,
                    data: data.clone(),
                    key: key.clone(),
                };
                self.state = State::End;
                Some(user)
            }
            State::Aggregated { message, sub_sequence_number } => {
                // It was read once before anything was handed out, so nothing is malformed any more.
                let found = message.next(data).ok().flatten()?;
                let user = UserRecord {
                    sequence_number,
                    sub_sequence_number: *sub_sequence_number,
                    aggregated: true,
                    arrival_ms,
                    explicit_hash_key: found.explicit_hash_key,
                    data: data.slice(found.data),
                    key: Some(data.slice(found.key)),
                };
                *sub_sequence_number += 1;
                Some(user)
            }
        }
    }
}

/// An entry of one of the two tables.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    len: u32,
    known: Known,
}

/// What is known of a partition key. Many records may have the same, and it is looked at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Nothing,
    Inside,
    Outside,
}

impl Entry {
    fn new(place: Range<usize>) -> Result<Entry, Malformed> {
        let short = |n: usize| u32::try_from(n).map_err(|_| Malformed);
        Ok(Entry { start: short(place.start)?, len: short(place.len())?, known: Known::Nothing })
    }

    fn place(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }

    fn text(self, data: &[u8]) -> Result<&str, Malformed> {
        let bytes = data.get(self.place()).ok_or(Malformed)?;
        std::str::from_utf8(bytes).map_err(|_| Malformed)
    }
}

/// A user record as its message has it.
#[derive(Debug)]
struct Parts {
    key: u64,
    explicit_hash_key: Option<u64>,
    data: Range<usize>,
}

impl Parts {
    fn read(bytes: &[u8], place: Range<usize>) -> Result<Parts, Malformed> {
        let (mut key, mut explicit_hash_key, mut data) = (None, None, None);
        let mut fields = Fields::new(bytes, place);
        // Of a field that comes twice the last one counts, as protobuf has it.
        while let Some(field) = fields.next()? {
            match field {
                (PARTITION_KEY_INDEX, Value::Number(index)) => key = Some(index),
                (EXPLICIT_HASH_KEY_INDEX, Value::Number(index)) => explicit_hash_key = Some(index),
                (DATA, Value::Bytes(place)) => data = Some(place),
                (TAG, Value::Bytes(place)) => check_tag(bytes, place)?,
                _ => {}
            }
        }
        // Partition key and data are required fields.
        Ok(Parts { key: key.ok_or(Malformed)?, explicit_hash_key, data: data.ok_or(Malformed)? })
    }
}

/// Tags are of no use to anybody yet, but a message with a broken one is broken.
fn check_tag(bytes: &[u8], place: Range<usize>) -> Result<(), Malformed> {
    let mut fields = Fields::new(bytes, place);
    let mut has_key = false;
    while let Some((field, value)) = fields.next()? {
        has_key |= field == TAG_KEY && matches!(value, Value::Bytes(_));
    }
    if has_key { Ok(()) } else { Err(Malformed) }
}

/// A user record with what its indexes stand for.
struct Found {
    key_index: u64,
    key: Range<usize>,
    explicit_hash_key: Option<HashKey>,
    data: Range<usize>,
}

/// The message in an aggregated record, and how far it was read.
#[derive(Debug)]
struct Message {
    keys: Vec<Entry>,
    explicit_hash_keys: Vec<Entry>,
    at: usize,
    end: usize,
    /// How many user records are left.
    left: u64,
    /// Whether a user record lies outside of the range.
    outside: bool,
}

impl Message {
    /// `None` unless all of it can be read.
    fn open(data: &[u8], range: Option<HashKeyRange>) -> Option<Message> {
        let rest = data.strip_prefix(&MAGIC)?;
        let (message, digest) = rest.split_last_chunk::<DIGEST_BYTES>().filter(|(message, _)| !message.is_empty())?;
        if md5::compute(message).0 != *digest {
            return None;
        }
        Message::read(data, MAGIC.len()..MAGIC.len() + message.len(), range).ok()
    }

    fn read(data: &[u8], place: Range<usize>, range: Option<HashKeyRange>) -> Result<Message, Malformed> {
        let (mut keys, mut explicit_hash_keys) = (Vec::new(), Vec::new());
        let mut fields = Fields::new(data, place.clone());
        while let Some(field) = fields.next()? {
            match field {
                (PARTITION_KEY, Value::Bytes(place)) => keys.push(Entry::new(place)?),
                (EXPLICIT_HASH_KEY, Value::Bytes(place)) => explicit_hash_keys.push(Entry::new(place)?),
                _ => {}
            }
        }
        let (at, end) = (place.start, place.end);
        let mut message = Message { keys, explicit_hash_keys, at, end, left: 0, outside: false };
        let mut count = 0;
        while let Some(found) = message.next(data)? {
            let inside = message.look_at_key(data, found.key_index, range)?;
            // A hash key that was given counts in place of the partition key's.
            let inside = found.explicit_hash_key.map_or(inside, |key| range.is_none_or(|range| range.contains(key)));
            message.outside |= !inside;
            count += 1;
        }
        Ok(Message { at, left: count, ..message })
    }

    /// The next user record.
    fn next(&mut self, data: &[u8]) -> Result<Option<Found>, Malformed> {
        let mut fields = Fields::new(data, self.at..self.end);
        while let Some(field) = fields.next()? {
            if let (RECORD, Value::Bytes(place)) = field {
                self.at = fields.at();
                self.left = self.left.saturating_sub(1);
                let parts = Parts::read(data, place)?;
                let entry = |table: &[Entry], index: u64| {
                    usize::try_from(index).ok().and_then(|index| table.get(index).copied()).ok_or(Malformed)
                };
                let key = entry(&self.keys, parts.key)?;
                let explicit_hash_key = match parts.explicit_hash_key {
                    None => None,
                    Some(index) => {
                        let text = entry(&self.explicit_hash_keys, index)?.text(data)?;
                        Some(text.parse().map_err(|_| Malformed)?)
                    }
                };
                let (key_index, key) = (parts.key, key.place());
                return Ok(Some(Found { key_index, key, explicit_hash_key, data: parts.data }));
            }
        }
        Ok(None)
    }

    /// Whether the hash of a partition key lies in the range; looks at each only once.
    fn look_at_key(&mut self, data: &[u8], index: u64, range: Option<HashKeyRange>) -> Result<bool, Malformed> {
        let entry = usize::try_from(index).ok().and_then(|index| self.keys.get_mut(index)).ok_or(Malformed)?;
        if entry.known == Known::Nothing {
            let key = entry.text(data)?;
            let inside = range.is_none_or(|range| range.contains(HashKey::of_partition_key(key)));
            entry.known = if inside { Known::Inside } else { Known::Outside };
        }
        Ok(entry.known == Known::Inside)
    }
}
