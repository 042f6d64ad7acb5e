//! Making an aggregated record.

use std::collections::HashMap;

use super::super::hash_key::HashKey;
use super::wire::{bytes_field_len, put_bytes, put_len, put_number, varint_len};
use super::{
    DATA, DIGEST_BYTES, EXPLICIT_HASH_KEY, EXPLICIT_HASH_KEY_INDEX, MAGIC, PARTITION_KEY, PARTITION_KEY_INDEX, RECORD,
};

/// What to put: see [`Aggregator`].
///
/// ```
/// use braidlog::stream::{Aggregator, HashKey};
/// let mut aggregator = Aggregator::new();
/// aggregator.add("user-42", None, b"page=/home");
/// let record = aggregator.finish().expect("one user record");
/// assert_eq!(record.explicit_hash_key, HashKey::of_partition_key("user-42"));
/// assert!(record.data.starts_with(&[0xf3, 0x89, 0x9a, 0xc2]));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AggregatedRecord {
    /// Its partition key: `a`, as the Kinesis Producer Library has it. It says nothing; the user records have their own.
    pub partition_key: &'static str,
    /// Its explicit hash key, that of its first user record.
    pub explicit_hash_key: HashKey,
    /// Its data.
    pub data: Vec<u8>,
}

/// Packs user records into one record of a stream, in the format of the Kinesis Producer Library.
///
/// All of them should belong to one shard: readers that know their shard's range drop a whole record if one of its user records
/// lies outside. [`crate::stream::Producer`] sees to that, and to everything else.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let engine = braidlog::Engine::open(dir.path())?;
/// use braidlog::stream::{Aggregator, PutRecordsEntry, StartingPosition, deaggregate};
/// let clicks = engine.create_stream("clicks", Default::default())?;
/// let mut aggregator = Aggregator::new();
/// aggregator.add("user-1", None, b"page=/home");
/// aggregator.add("user-2", None, b"page=/cart");
/// let aggregated = aggregator.finish().expect("two user records");
/// let entry = PutRecordsEntry {
///     explicit_hash_key: Some(aggregated.explicit_hash_key),
///     ..PutRecordsEntry::new(aggregated.partition_key, &aggregated.data)
/// };
/// let put = clicks.put(entry, None)?;
/// let record = clicks.read(put.shard_id, StartingPosition::TrimHorizon)?.next().expect("a record")?;
/// let users: Vec<_> = deaggregate(record, None).collect();
/// assert_eq!(users[1].partition_key(), Some("user-2"));
/// assert_eq!(users[1].data, "page=/cart");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Aggregator {
    keys: HashMap<Box<str>, u64>,
    explicit_hash_keys: HashMap<HashKey, u64>,
    /// The fields of the two tables and of the records, encoded.
    tables: [Vec<u8>; 2],
    records: Vec<u8>,
    first: Option<HashKey>,
    count: usize,
}

/// Where a key is, or would be, in its table, and what the table would grow by.
fn place(known: Option<&u64>, count: usize, len: usize) -> (u64, usize) {
    known.map_or((count as u64, bytes_field_len(len)), |index| (*index, 0))
}

/// Length of a record's message.
fn record_len(key: u64, explicit_hash_key: Option<u64>, data: usize) -> usize {
    1 + varint_len(key) + explicit_hash_key.map_or(0, |index| 1 + varint_len(index)) + bytes_field_len(data)
}

fn decimal_len(key: HashKey) -> usize {
    key.0.checked_ilog10().unwrap_or(0) as usize + 1
}

impl Aggregator {
    /// Without any user record yet.
    pub fn new() -> Aggregator {
        Self::default()
    }

    /// How many user records it has.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How long the record would be now, in bytes.
    pub fn bytes(&self) -> usize {
        let [keys, explicit_hash_keys] = &self.tables;
        MAGIC.len() + keys.len() + explicit_hash_keys.len() + self.records.len() + DIGEST_BYTES
    }

    /// How long it would be with this user record too, whose data has `data` bytes.
    pub fn bytes_with(&self, partition_key: &str, explicit_hash_key: Option<HashKey>, data: usize) -> usize {
        let (key, mut more) = place(self.keys.get(partition_key), self.keys.len(), partition_key.len());
        let explicit = explicit_hash_key.map(|hash_key| {
            let known = self.explicit_hash_keys.get(&hash_key);
            let (index, bytes) = place(known, self.explicit_hash_keys.len(), decimal_len(hash_key));
            more += bytes;
            index
        });
        self.bytes() + more + bytes_field_len(record_len(key, explicit, data))
    }

    /// Adds a user record. It is up to the caller how long the record gets: see [`Aggregator::bytes_with`].
    pub fn add(&mut self, partition_key: &str, explicit_hash_key: Option<HashKey>, data: &[u8]) {
        let [key_table, explicit_table] = &mut self.tables;
        let key = match self.keys.get(partition_key) {
            Some(index) => *index,
            None => {
                let index = self.keys.len() as u64;
                self.keys.insert(partition_key.into(), index);
                put_bytes(key_table, PARTITION_KEY, partition_key.as_bytes());
                index
            }
        };
        let explicit = explicit_hash_key.map(|hash_key| {
            let index = self.explicit_hash_keys.len() as u64;
            *self.explicit_hash_keys.entry(hash_key).or_insert_with(|| {
                put_bytes(explicit_table, EXPLICIT_HASH_KEY, hash_key.to_string().as_bytes());
                index
            })
        });
        put_len(&mut self.records, RECORD, record_len(key, explicit, data.len()));
        put_number(&mut self.records, PARTITION_KEY_INDEX, key);
        if let Some(index) = explicit {
            put_number(&mut self.records, EXPLICIT_HASH_KEY_INDEX, index);
        }
        put_bytes(&mut self.records, DATA, data);
        self.first.get_or_insert_with(|| explicit_hash_key.unwrap_or_else(|| HashKey::of_partition_key(partition_key)));
        self.count += 1;
    }

    /// The record to put; `None` without any user record.
    pub fn finish(self) -> Option<AggregatedRecord> {
        let explicit_hash_key = self.first?;
        let mut data = Vec::with_capacity(self.bytes());
        data.extend_from_slice(&MAGIC);
        self.tables.iter().for_each(|table| data.extend_from_slice(table));
        data.extend_from_slice(&self.records);
        let digest = md5::compute(&data[MAGIC.len()..]);
        data.extend_from_slice(&digest.0);
        Some(AggregatedRecord { partition_key: "a", explicit_hash_key, data })
    }
}
