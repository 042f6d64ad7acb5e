//! The service's limits of size, on both sides: what may just be, and what is just too much.

use braidlog::stream::{PutRecordsEntry, ShardId, StartingPosition, Stream, StreamMode, StreamOptions};
use braidlog::{Engine, EngineOptions, Error};

use super::run::id;

const MIB: usize = 1 << 20;
const KEY: &str = "k";

struct Rig {
    engine: Engine,
    _dir: tempfile::TempDir,
}

fn rig() -> Rig {
    let dir = tempfile::tempdir().unwrap();
    Rig { engine: Engine::open_with(dir.path(), EngineOptions::new()).unwrap(), _dir: dir }
}

impl Rig {
    fn stream(&self, options: StreamOptions) -> Stream {
        self.engine.create_stream("clicks", options.shards(1)).unwrap()
    }
}

/// Data that makes a record of so many bytes, with its key.
fn data(bytes: usize) -> Vec<u8> {
    vec![b'x'; bytes - KEY.len()]
}

fn entry(data: &[u8]) -> PutRecordsEntry<'_> {
    PutRecordsEntry::new(KEY, data)
}

fn lengths(stream: &Stream, shard: ShardId) -> Vec<usize> {
    stream.read(shard, StartingPosition::TrimHorizon).unwrap().map(|record| record.unwrap().data.len()).collect()
}

fn is_too_large<T: std::fmt::Debug>(outcome: Result<T, Error>, what: &str) {
    assert!(matches!(&outcome, Err(Error::InvalidArgument { what: found, .. }) if *found == what), "{outcome:?}");
}

#[test]
fn a_record_has_what_its_stream_allows_and_not_a_byte_more() {
    let rig = rig();
    let stream = rig.stream(StreamOptions::new());
    let fits = |bytes: usize| stream.put_record(KEY, &data(bytes)).unwrap();
    let too_large = |bytes: usize| {
        let large = data(bytes);
        is_too_large(stream.put_record(KEY, &large), "Data");
        is_too_large(stream.put_records(&[entry(b"small"), entry(&large)]), "Data");
    };
    fits(MIB);
    too_large(MIB + 1);
    stream.set_max_record_kib(10 << 10).unwrap();
    fits(MIB + 1);
    fits(10 * MIB);
    too_large(10 * MIB + 1);
    stream.set_max_record_kib(1536).unwrap();
    fits(MIB * 3 / 2);
    too_large(MIB * 3 / 2 + 1);
    // What was put before stays, whatever may be put now.
    assert_eq!(lengths(&stream, id(0)), [MIB, MIB + 1, 10 * MIB, MIB * 3 / 2].map(|bytes| bytes - KEY.len()));
}

#[test]
fn a_call_has_ten_mebibytes_with_its_keys_and_not_a_byte_more() {
    let rig = rig();
    let stream = rig.stream(StreamOptions::new().max_record_kib(2 << 10));
    let (mebibyte, one_more) = (data(MIB), data(MIB + 1));
    let mut entries = [entry(&mebibyte); 10];
    entries[9] = entry(&one_more);
    is_too_large(stream.put_records(&entries), "Records");
    assert!(lengths(&stream, id(0)).is_empty(), "something of a call that was refused was put");
    entries[9] = entry(&mebibyte);
    let put = stream.put_records(&entries).unwrap();
    assert!(put.records.iter().all(Result::is_ok));
    assert_eq!(lengths(&stream, id(0)), [MIB - KEY.len(); 10]);
}

/// How many records each of the pages has that a reader from the oldest record on is given.
fn pages(rig: &Rig, stream: &Stream) -> Vec<usize> {
    let mut token = stream.shard_iterator(id(0), StartingPosition::TrimHorizon).unwrap();
    let mut pages = Vec::new();
    loop {
        let answer = rig.engine.get_records(&token, 10_000).unwrap();
        if answer.records.is_empty() {
            assert_eq!(answer.millis_behind_latest, 0);
            return pages;
        }
        pages.push(answer.records.len());
        token = answer.next_shard_iterator.unwrap();
    }
}

#[test]
fn a_page_has_ten_mebibytes_with_its_keys_and_not_a_byte_more() {
    let rig = rig();
    let stream = rig.stream(StreamOptions::new().max_record_kib(10 << 10));
    for _ in 0..11 {
        stream.put_record(KEY, &data(MIB)).unwrap();
    }
    assert_eq!(pages(&rig, &stream), [10, 1]);
    // The last of the second page has a byte too many for it.
    for _ in 0..8 {
        stream.put_record(KEY, &data(MIB)).unwrap();
    }
    stream.put_record(KEY, &data(MIB + 1)).unwrap();
    assert_eq!(pages(&rig, &stream), [10, 9, 1]);
    // A record that is as large as a page comes alone, and whole.
    stream.put_record(KEY, &data(10 * MIB)).unwrap();
    stream.put_record(KEY, b"small").unwrap();
    assert_eq!(pages(&rig, &stream), [10, 9, 1, 1, 1]);
}

#[test]
fn a_partition_key_has_256_characters_of_any_length() {
    let rig = rig();
    let options = StreamOptions::new().mode(StreamMode::OnDemand);
    let stream = rig.engine.create_stream("clicks", options.shards(3)).unwrap();
    for character in ["k", "ü", "語", "🦀"] {
        let key = character.repeat(256);
        let put = stream.put_record(&key, b"data").unwrap();
        let owner = stream.open_shards().into_iter().find(|shard| {
            let hash = u128::from_be_bytes(md5::compute(&key).0);
            shard.hash_key_range.start.0 <= hash && hash <= shard.hash_key_range.end.0
        });
        assert_eq!(Some(put.shard_id), owner.map(|shard| shard.shard_id));
        let position = StartingPosition::AtSequenceNumber(put.sequence_number);
        let found = stream.read(put.shard_id, position).unwrap().next().unwrap().unwrap();
        assert_eq!(found.partition_key(), Some(&*key));
        let long = character.repeat(257);
        is_too_large(stream.put_record(&long, b"data"), "PartitionKey");
    }
}
