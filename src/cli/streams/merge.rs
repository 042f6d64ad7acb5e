//! The shards of a stream as one sequence, in the order of arrival: children come after their parents, so records of one
//! partition key come in the order they were put.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::SystemTime;

use crate::Error;
use crate::stream::{Record, SequenceNumber, ShardId, ShardReader, StartingPosition, Stream};

/// Where to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// At the oldest readable record of each shard.
    Trim,
    /// After the newest.
    Latest,
    /// With the first record that arrived then or later.
    Time(SystemTime),
    /// With this record: its shard, and what comes of it.
    Sequence(SequenceNumber),
}

impl Start {
    fn position(self) -> StartingPosition {
        match self {
            Start::Trim => StartingPosition::TrimHorizon,
            Start::Latest => StartingPosition::Latest,
            Start::Time(time) => StartingPosition::AtTimestamp(time),
            Start::Sequence(number) => StartingPosition::AtSequenceNumber(number),
        }
    }

    /// Where to start a shard that was opened by a split or merge of one that is read.
    fn position_of_child(self) -> StartingPosition {
        match self {
            Start::Time(time) => StartingPosition::AtTimestamp(time),
            _ => StartingPosition::TrimHorizon,
        }
    }
}

/// A record that waits for its turn: by arrival, then shard, then number.
type Head = Reverse<(u64, ShardId, SequenceNumber)>;

/// Reads shards side by side. What it has read survives its readers: see [`Merge::suspend`].
pub(crate) struct Merge {
    start: Start,
    /// Where each shard that is read goes on.
    positions: BTreeMap<ShardId, StartingPosition>,
    done: BTreeSet<ShardId>,
    readers: BTreeMap<ShardId, ShardReader>,
    heads: BinaryHeap<Head>,
    waiting: BTreeMap<ShardId, Record>,
    skips_damage: bool,
    skipped: Vec<(Error, u64)>,
}

impl Merge {
    /// Of one shard and what comes of it, or of all.
    pub(crate) fn new(stream: &Stream, start: Start, only: Option<ShardId>) -> Result<Merge, Error> {
        let mut merge = Merge {
            start,
            positions: BTreeMap::new(),
            done: BTreeSet::new(),
            readers: BTreeMap::new(),
            heads: BinaryHeap::new(),
            waiting: BTreeMap::new(),
            skips_damage: false,
            skipped: Vec::new(),
        };
        let shards = match (only, start) {
            (Some(shard), _) => vec![stream.shard(shard)?.id],
            (None, Start::Sequence(number)) => {
                let is_of = |shard: &ShardId| stream.shard(*shard).is_ok_and(|shard| number.is_of(shard.birth));
                let found = stream.shards().iter().map(|shard| shard.shard_id).find(is_of);
                let why = "it is not of a shard of this stream that can be read";
                vec![found.ok_or_else(|| Error::invalid("StartingSequenceNumber", number, why))?]
            }
            (None, Start::Latest) => stream.open_shards().iter().map(|shard| shard.shard_id).collect(),
            (None, Start::Trim | Start::Time(_)) => {
                let shards = stream.shards();
                let is_there = |id: Option<ShardId>| shards.iter().any(|shard| Some(shard.shard_id) == id);
                let roots =
                    shards.iter().filter(|s| !is_there(s.parent_shard_id) && !is_there(s.adjacent_parent_shard_id));
                roots.map(|shard| shard.shard_id).collect()
            }
        };
        for shard in shards {
            merge.add(stream, shard, start.position())?;
        }
        Ok(merge)
    }

    /// Goes on behind records that can't be read; [`Merge::take_skipped`] tells of them.
    pub(crate) fn skip_damage(&mut self) {
        self.skips_damage = true;
    }

    /// What was skipped since the last call: why, and how many records.
    pub(crate) fn take_skipped(&mut self) -> Vec<(Error, u64)> {
        std::mem::take(&mut self.skipped)
    }

    fn add(&mut self, stream: &Stream, shard: ShardId, position: StartingPosition) -> Result<(), Error> {
        self.positions.insert(shard, position);
        match stream.read(shard, position) {
            Ok(reader) => drop(self.readers.insert(shard, reader)),
            // It expired while nobody looked.
            Err(Error::ResourceNotFound { .. }) if stream.state.check_alive().is_ok() => drop(self.done.insert(shard)),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Lets go of the stream, so that others can open the store; [`Merge::resume`] goes on after the last record given out.
    pub(crate) fn suspend(&mut self) {
        for (shard, reader) in std::mem::take(&mut self.readers) {
            let next = match self.waiting.get(&shard) {
                Some(record) => StartingPosition::AtSequenceNumber(record.sequence_number),
                None => StartingPosition::AfterSequenceNumber(reader.position()),
            };
            self.positions.insert(shard, next);
        }
        self.waiting.clear();
        self.heads.clear();
    }

    /// Goes on with the stream as it is now.
    pub(crate) fn resume(&mut self, stream: &Stream) -> Result<(), Error> {
        let open: Vec<_> = self.positions.iter().filter(|(shard, _)| !self.done.contains(shard)).collect();
        let open: Vec<_> = open.into_iter().map(|(shard, position)| (*shard, *position)).collect();
        open.into_iter().try_for_each(|(shard, position)| self.add(stream, shard, position))
    }

    /// The next record, if there is one now. There may be more later.
    pub(crate) fn next(&mut self, stream: &Stream) -> Result<Option<(ShardId, Record)>, Error> {
        if self.heads.is_empty() {
            let shards: Vec<ShardId> = self.readers.keys().copied().collect();
            shards.into_iter().try_for_each(|shard| self.advance(stream, shard))?;
        }
        let Some(Reverse((_, shard, _))) = self.heads.pop() else { return Ok(None) };
        let record = self.waiting.remove(&shard);
        self.advance(stream, shard)?;
        Ok(record.map(|record| (shard, record)))
    }

    /// The next record of a shard waits for its turn; at its end, those of its children do.
    fn advance(&mut self, stream: &Stream, shard: ShardId) -> Result<(), Error> {
        let mut shards = vec![shard];
        while let Some(shard) = shards.pop() {
            let Some(reader) = self.readers.get_mut(&shard) else { continue };
            // Closed before the last look for a record: then there is none to come.
            let ended = reader.shard_end()?.is_some();
            if let Some(record) = reader.next() {
                let record = match record {
                    Err(error @ Error::Damaged { .. }) if self.skips_damage => {
                        self.skipped.push((error, reader.skip_damaged()?));
                        shards.push(shard);
                        continue;
                    }
                    other => other?,
                };
                self.heads.push(Reverse((record.arrival_ms, shard, record.sequence_number)));
                self.waiting.insert(shard, record);
                continue;
            }
            // Its log may be closed a moment before the map says so, and with it which are the children.
            if !ended || stream.shard(shard)?.is_open() {
                continue;
            }
            let children = reader.shard_end()?.unwrap_or_default();
            self.readers.remove(&shard);
            self.done.insert(shard);
            for child in children {
                let waits = |parent: &ShardId| self.positions.contains_key(parent) && !self.done.contains(parent);
                if !self.positions.contains_key(&child.shard_id) && !child.parent_shards.iter().any(waits) {
                    self.add(stream, child.shard_id, self.start.position_of_child())?;
                    shards.push(child.shard_id);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Engine;
    use crate::stream::{HashKey, PutRecordsEntry, StreamOptions};

    fn engine() -> (tempfile::TempDir, Engine) {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path()).unwrap();
        (dir, engine)
    }

    fn put(stream: &Stream, numbers: std::ops::Range<u32>) {
        for n in numbers {
            let (key, data) = ((n % 7).to_string(), n.to_string());
            stream.put_record(&key, data.as_bytes()).unwrap();
        }
    }

    fn rest(merge: &mut Merge, stream: &Stream) -> Vec<(Option<String>, u32)> {
        let mut found = Vec::new();
        while let Some((_, record)) = merge.next(stream).unwrap() {
            let number = std::str::from_utf8(&record.data).unwrap().parse().unwrap();
            found.push((record.partition_key().map(str::to_owned), number));
        }
        found
    }

    /// Everything, and of each key in the order it was put.
    #[track_caller]
    fn holds(found: &[(Option<String>, u32)], numbers: std::ops::Range<u32>) {
        let mut all: Vec<u32> = found.iter().map(|(_, n)| *n).collect();
        all.sort_unstable();
        assert_eq!(all, numbers.collect::<Vec<_>>());
        for key in 0..7 {
            let of_key: Vec<u32> = found.iter().map(|(_, n)| *n).filter(|n| n % 7 == key).collect();
            assert!(of_key.is_sorted(), "{of_key:?}");
        }
    }

    #[test]
    fn splits_and_merges_are_followed_to_the_children() {
        let (_dir, engine) = engine();
        let stream = engine.create_stream("clicks", StreamOptions::new().shards(2)).unwrap();
        let mut live = Merge::new(&stream, Start::Trim, None).unwrap();
        let mut found = Vec::new();
        put(&stream, 0..50);
        found.extend(rest(&mut live, &stream));
        stream.split_shard(ShardId(0), HashKey(1 << 126)).unwrap();
        put(&stream, 50..100);
        live.suspend();
        stream.merge_shards(ShardId(3), ShardId(1)).unwrap();
        put(&stream, 100..150);
        live.resume(&stream).unwrap();
        found.extend(rest(&mut live, &stream));
        put(&stream, 150..160);
        found.extend(rest(&mut live, &stream));
        holds(&found, 0..160);
        let mut later = Merge::new(&stream, Start::Trim, None).unwrap();
        holds(&rest(&mut later, &stream), 0..160);
        let mut new = Merge::new(&stream, Start::Latest, None).unwrap();
        assert!(rest(&mut new, &stream).is_empty());
        put(&stream, 160..161);
        assert_eq!(rest(&mut new, &stream).len(), 1);
    }

    #[test]
    fn a_sequence_number_starts_with_its_record_and_one_shard_is_read_alone() {
        let (_dir, engine) = engine();
        let stream = engine.create_stream("clicks", StreamOptions::new().shards(2)).unwrap();
        let entry =
            |key: u128| PutRecordsEntry { explicit_hash_key: Some(HashKey(key)), ..PutRecordsEntry::new("k", b"7") };
        let _below = stream.put(entry(0), None).unwrap();
        let above = [0, 1].map(|_| stream.put(entry(u128::MAX), None).unwrap());
        let count = |start, only| {
            let mut merge = Merge::new(&stream, start, only)?;
            Ok::<usize, Error>(rest(&mut merge, &stream).len())
        };
        assert_eq!(count(Start::Sequence(above[1].sequence_number), None), Ok(1));
        assert_eq!(count(Start::Sequence(above[0].sequence_number), None), Ok(2));
        assert_eq!(count(Start::Trim, Some(ShardId(0))), Ok(1));
        assert!(matches!(
            count(Start::Sequence(above[0].sequence_number), Some(ShardId(0))),
            Err(Error::InvalidArgument { .. })
        ));
        assert!(matches!(count(Start::Trim, Some(ShardId(9))), Err(Error::ResourceNotFound { .. })));
    }
}
