//! Tables: state replayed from a log of changes.
//!
//! A table is rows, keys and values, in memory; each change of some of them is one record of the table's log. A change goes
//! into a [`Transaction`], so it is atomic and durable with whatever else that does.
//!
//! 1. The rows here are as of the store's *serial point*: with every change that was decided, durable or not. Preconditions
//!    are looked at there, so they see every earlier transaction.
//! 2. Readers must not see what a crash could take back. What they see is kept by the owner of the table, who moves it when
//!    the transaction is durable, see [`Transaction::once_durable`].
//! 3. Compaction appends each live row once more and then trims what came before. Rows are taken at the serial point, so a
//!    change meanwhile is never overtaken by an older value.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::format::change;
use crate::log::{Log, StartAt};
use crate::options::LogOptions;
use crate::store::Store;
use crate::sync::{Arc, Mutex};
use crate::transaction::Transaction;

/// Compaction takes this many bytes of rows at a time, or what a small journal has room for.
const CHUNK_BYTES: usize = 256 << 10;
/// A log with fewer changes than this many more than twice the rows is left as it is.
const CHANGES_MIN: u64 = 1024;

/// Small segments, so that compaction gives room back.
const SEGMENT_BYTES: u64 = 16 << 20;

#[derive(Default)]
struct Rows {
    rows: BTreeMap<Bytes, Bytes>,
    /// Bytes of keys and values.
    bytes: usize,
}

impl Rows {
    fn apply(&mut self, key: Bytes, value: Option<Bytes>) {
        let added = value.as_ref().map_or(0, |value| key.len() + value.len());
        let key_len = key.len();
        let before = match value {
            Some(value) => self.rows.insert(key, value),
            None => self.rows.remove(&key),
        };
        self.bytes = self.bytes + added - before.map_or(0, |before| key_len + before.len());
    }
}

/// Rows that change together.
#[derive(Default)]
pub(crate) struct Change {
    rows: Vec<(Bytes, Option<Bytes>)>,
}

impl Change {
    pub(crate) fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> &mut Self {
        self.rows.push((key.into(), Some(value.into())));
        self
    }

    pub(crate) fn remove(&mut self, key: impl Into<Bytes>) -> &mut Self {
        self.rows.push((key.into(), None));
        self
    }

    /// Changes what `other` does, too.
    pub(crate) fn append(&mut self, mut other: Change) -> &mut Self {
        self.rows.append(&mut other.rows);
        self
    }

    /// Keeps as many of its rows, but at least one, as take at most so many bytes, and answers with the rest if there is one.
    pub(crate) fn split_off(&mut self, bytes_max: usize) -> Option<Change> {
        let mut bytes = change::HEADER_BYTES;
        let fits = |(key, value): &(Bytes, Option<Bytes>)| {
            bytes += change::row_len(key, value.as_deref());
            bytes <= bytes_max
        };
        let kept = self.rows.iter().map(fits).take_while(|fits| *fits).count().max(1);
        (kept < self.rows.len()).then(|| Change { rows: self.rows.split_off(kept) })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// The rows of a table as of the serial point, for what runs there: it keeps no store open.
#[derive(Clone)]
pub(crate) struct SerialRows(Arc<Mutex<Rows>>);

impl SerialRows {
    /// The row under `key`.
    pub(crate) fn row(&self, key: &[u8]) -> Option<Bytes> {
        self.0.lock().rows.get(key).cloned()
    }

    /// The rows whose keys begin with `prefix`.
    pub(crate) fn rows(&self, prefix: &[u8]) -> Vec<(Bytes, Bytes)> {
        let rows = self.0.lock();
        let from = rows.rows.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded));
        from.take_while(|(key, _)| key.starts_with(prefix)).map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// The keys that begin with `prefix`, in their order, as long as `fits` holds for them; whether these are all.
    pub(crate) fn keys_while(&self, prefix: &[u8], mut fits: impl FnMut(&[u8]) -> bool) -> (Vec<Bytes>, bool) {
        let rows = self.0.lock();
        let mut keys = Vec::new();
        let from = rows.rows.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded));
        for (key, _) in from.take_while(|(key, _)| key.starts_with(prefix)) {
            if !fits(key) {
                return (keys, false);
            }
            keys.push(key.clone());
        }
        (keys, true)
    }
}

/// A table of the store.
#[derive(Clone)]
pub(crate) struct Table {
    log: Log,
    rows: Arc<Mutex<Rows>>,
}

impl Table {
    /// Opens the table of this name, or creates it, and replays its log.
    pub(crate) fn open(store: &Store, name: &str) -> Result<Table> {
        let log = match store.internal_log(name) {
            Err(Error::NoSuchLog { .. }) => {
                let mut transaction = Transaction::new();
                transaction.create_named(name, LogOptions::new().segment_bytes_max(SEGMENT_BYTES));
                store.commit_within(transaction, &format!("table {name}"))?;
                store.internal_log(name)?
            }
            found => found?,
        };
        let mut rows = Rows::default();
        for record in log.read(StartAt::TrimHorizon)? {
            let record = record?;
            let changes = change::decode(&record.data)
                .map_err(Error::damaged(format!("record {} of table {name}", record.sequence_number), 0))?;
            for (key, value) in changes {
                // Small copies: a slice would pin the segment.
                rows.apply(Bytes::copy_from_slice(key), value.map(Bytes::copy_from_slice));
            }
        }
        Ok(Table { log, rows: Arc::new(Mutex::new(rows)) })
    }

    /// The rows whose keys begin with `prefix`, as of the serial point.
    pub(crate) fn rows(&self, prefix: &[u8]) -> Vec<(Bytes, Bytes)> {
        self.serial().rows(prefix)
    }

    /// The rows, for what runs at the serial point.
    pub(crate) fn serial(&self) -> SerialRows {
        SerialRows(self.rows.clone())
    }

    /// Makes the transaction change some rows.
    pub(crate) fn change(&self, transaction: &mut Transaction, change: Change) -> Result<()> {
        let encoded = change::encode(change.rows.iter().map(|(key, value)| (&key[..], value.as_deref())));
        transaction.append(&self.log, &encoded[..])?;
        let rows = self.rows.clone();
        transaction.once_decided(move |_| {
            let mut rows = rows.lock();
            change.rows.into_iter().for_each(|(key, value)| rows.apply(key, value));
        });
        Ok(())
    }

    /// As [`Table::change`], of rows that are made at the serial point and encode to at most `bytes_max` bytes.
    pub(crate) fn change_late(
        &self,
        transaction: &mut Transaction,
        bytes_max: usize,
        make: impl FnOnce() -> Change + Send + 'static,
    ) {
        let rows = self.rows.clone();
        transaction.append_late(&self.log, bytes_max, move || {
            let change = make();
            let encoded = change::encode(change.rows.iter().map(|(key, value)| (&key[..], value.as_deref())));
            // Nothing can refuse the transaction any more, and nothing looks at the rows before it is decided.
            let mut rows = rows.lock();
            change.rows.into_iter().for_each(|(key, value)| rows.apply(key, value));
            encoded
        });
    }

    /// Makes the transaction happen only if `holds` does for the value under `key` when it is its turn.
    pub(crate) fn require(
        &self,
        transaction: &mut Transaction,
        key: Bytes,
        holds: impl FnOnce(Option<&Bytes>) -> Result<()> + Send + 'static,
    ) {
        let rows = self.rows.clone();
        transaction.require(move || holds(rows.lock().rows.get(&key)));
    }

    /// Shortens the log if most of it is history. Blocks for some commits then. Rows may change meanwhile, but none may come
    /// that is longer than all there are by a chunk.
    pub(crate) fn compact(&self, store: &Store) -> Result<bool> {
        let start = self.log.end();
        let changes = start - self.log.horizon()?.min(start);
        let live = self.rows.lock().rows.len() as u64;
        if changes < 2 * live + CHANGES_MIN {
            return Ok(false);
        }
        let next: Arc<Mutex<Option<Bytes>>> = Arc::new(Mutex::new(Some(Bytes::new())));
        loop {
            let from = next.lock().clone();
            let Some(from) = from else { break };
            let mut transaction = Transaction::new();
            let (rows, next) = (self.rows.clone(), next.clone());
            // The first row is taken whatever its length.
            let longest =
                rows.lock().rows.iter().map(|(key, value)| change::row_len(key, Some(value))).max().unwrap_or(0);
            let chunk_bytes = CHUNK_BYTES.min(store.core().largest_append() / 4);
            let bytes_max = chunk_bytes + longest;
            transaction.append_late(&self.log, bytes_max, move || chunk(&rows.lock(), chunk_bytes, &from, &next));
            store.commit_within(transaction, &format!("table {}", self.log.name()))?;
        }
        self.log.trim(start)?;
        Ok(true)
    }
}

/// Encodes rows from `from` on, of at most `bytes_max` bytes but at least one, and says where the next chunk begins, if there is one.
fn chunk(rows: &Rows, bytes_max: usize, from: &Bytes, next: &Mutex<Option<Bytes>>) -> Vec<u8> {
    let rest = || rows.rows.range::<Bytes, _>(from..);
    let mut bytes = change::HEADER_BYTES;
    let fits = |(key, value): (&Bytes, &Bytes)| {
        bytes += change::row_len(key, Some(value));
        bytes <= bytes_max
    };
    let taken = rest().map(fits).take_while(|fits| *fits).count().max(1);
    *next.lock() = rest().nth(taken).map(|(key, _)| key.clone());
    change::encode(rest().take(taken).map(|(key, value)| (&key[..], Some(&value[..]))))
}
