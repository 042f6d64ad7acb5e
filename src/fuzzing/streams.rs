//! Doors into the rooms of streams: rows, tokens, aggregated records.

use crate::format::agent::{self, Digest, FileRow};
use crate::format::change;
use crate::format::stream::{
    self as rows, ConsumerRow, EngineRow, GroupRow, IntentRow, LeaseRow, Reshard, ReshardRow, ScalingRow, ShardRow,
    StreamRow,
};
use crate::stream::{self, HashKey, HashKeyRange, ShardId, Token};

use super::{Input, Tree, edit};

type Rows = Vec<(Vec<u8>, Option<Vec<u8>>)>;

fn encoded(rows: &Rows) -> Vec<u8> {
    change::encode(rows.iter().map(|(key, value)| (&key[..], value.as_deref())))
}

/// A change of the catalog, with every row that there is of streams themselves, and a shard iterator.
pub fn sample_rows() -> (Vec<u8>, String) {
    let tags = vec![("team".to_owned(), "web".to_owned()), ("empty".to_owned(), String::new())];
    let stream = StreamRow {
        id: 0x0102_0304_0506_0708,
        name: "clicks".to_owned(),
        created_ms: 1_700_000_000_123,
        mode: 1,
        distribution: 1,
        metrics: 0x7f,
        retention_hours: 24,
        max_record_kib: 1_024,
        next_shard: 3,
        warm_throughput_mib: 100,
        encryption_key: "alias/key".to_owned(),
        policy: "{}".to_owned(),
        tags: tags.clone(),
    };
    let parent = ShardRow {
        start: 0,
        end: u128::MAX,
        parent: None,
        adjacent_parent: None,
        birth_s: 1_700_000_000,
        opened_ms: 1_700_000_000_123,
        closed_ms: Some(1_700_000_009_000),
    };
    let child = ShardRow { end: 9, parent: Some(0), adjacent_parent: Some(1), closed_ms: None, ..parent };
    let consumer = ConsumerRow { created_ms: 1_700_000_001_000, policy: "{}".to_owned(), tags };
    let scaling = ScalingRow { scaled_ms: vec![1_700_000_009_000, 1_700_000_010_000] };
    let split = Reshard::Split { shard: 2, at: 5 };
    let reshard = ReshardRow { asked_ms: 1_700_000_011_000, what: split };
    let engine = EngineRow { secret: [9; 16], last_birth_s: 1_700_000_001 };
    let rows = vec![
        (rows::ENGINE_KEY.to_vec(), Some(engine.encode())),
        (rows::stream_key(stream.id), Some(stream.encode())),
        (rows::shard_key(stream.id, 0), Some(parent.encode())),
        (rows::shard_key(stream.id, 2), Some(child.encode())),
        (rows::consumer_key(stream.id, "billing"), Some(consumer.encode())),
        (rows::shard_key(stream.id, 1), None),
        (rows::scaling_key(stream.id), Some(scaling.encode())),
        (rows::reshard_key(stream.id), Some(reshard.encode())),
    ];
    let token = Token { stream: stream.id, shard: ShardId(2), next: 77, issued_ms: 1_700_000_002_000 };
    (encoded(&rows), token.encode(&engine.secret))
}

/// A change of the table of leases: a group of two shards, one finished and one that somebody has, and what is left of another.
pub fn sample_lease_rows() -> Vec<u8> {
    let (stream, created_ms) = (0x0102_0304_0506_0708, 1_700_000_003_000);
    let counter = created_ms << 20;
    let finished = LeaseRow { finished: true, counter: counter + 2, next: 40, ..LeaseRow::default() };
    let owner = "worker-1".to_owned();
    let owned = LeaseRow { finished: false, counter: counter + 1, next: 77, next_sub: 3, owner };
    encoded(&vec![
        (rows::group_key(stream, "billing"), Some(GroupRow { created_ms }.encode())),
        (rows::lease_key(stream, "billing", 0), Some(finished.encode())),
        (rows::lease_key(stream, "billing", 2), Some(owned.encode())),
        (rows::lease_key(stream, "old", 1), None),
        (rows::group_key(stream, "old"), None),
    ])
}

/// A change of the agent's table: that it has run, a file that it follows, and one that is gone.
pub fn sample_agent_rows() -> Vec<u8> {
    let stream = 0x0102_0304_0506_0708;
    let row = |offset, front, back, seen_ms, path: &[u8]| {
        FileRow { offset, front: Digest::of(front), back: Digest::of(back), seen_ms, path: path.to_vec() }.encode()
    };
    let (device, inode) = agent::FIRST_RUN;
    let followed = row(4_096, b"2026-11-20 first line", b"last line\n", 1_700_000_005_000, b"/var/log/app.log");
    encoded(&vec![
        (agent::file_key(stream, device, inode), Some(row(0, b"", b"", 1_700_000_004_000, b""))),
        (agent::file_key(stream, 66_305, 1_234_567), Some(followed)),
        (agent::file_key(stream, 66_305, 7), None),
    ])
}

/// Changes of tables and their rows: arbitrary bytes (even first byte) or the samples, edited (odd).
pub fn stream_rows(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.u8();
    if flags & 1 == 0 {
        table_change(input.0);
        return;
    }
    let samples = [("catalog", sample_rows().0), ("leases", sample_lease_rows()), ("agent", sample_agent_rows())];
    let mut tree: Tree = samples.into_iter().map(|(name, change)| (name.to_owned(), change)).collect();
    edit(&mut tree, &mut input, "");
    tree.values().for_each(|change| table_change(change));
}

/// What can be read is written as the same bytes: a row, a key, and a change.
fn table_change(bytes: &[u8]) {
    let row = |bytes: &[u8]| {
        let _ = EngineRow::decode(bytes).map(|row| assert_eq!(row.encode(), bytes));
        let _ = StreamRow::decode(bytes).map(|row| assert_eq!(row.encode(), bytes));
        let _ = ShardRow::decode(bytes).map(|row| assert_eq!(row.encode(), bytes));
        let _ = ConsumerRow::decode(bytes).map(|row| assert_eq!(row.encode(), bytes));
        let _ = ScalingRow::decode(bytes).map(|row| assert_eq!(row.encode(), bytes));
        let _ = ReshardRow::decode(bytes).map(|row| assert_eq!(row.encode(), bytes));
        let _ = IntentRow::decode(bytes).map(|row| assert_eq!(row.encode(), bytes));
        let _ = GroupRow::decode(bytes).map(|row| assert_eq!(row.encode(), bytes));
        let _ = LeaseRow::decode(bytes).map(|row| assert_eq!(row.encode(), bytes));
        let _ = FileRow::decode(bytes).map(|row| assert_eq!(row.encode(), bytes));
    };
    row(bytes);
    let Ok(rows) = change::decode(bytes) else { return };
    for (key, value) in &rows {
        let _ = rows::parse_key(key).map(|(_, rest)| assert!(rest.len() < key.len()));
        let lease = rows::parse_lease_key(key);
        if let Ok((stream, Ok(group), shard)) = lease.map(|(id, group, shard)| (id, std::str::from_utf8(group), shard))
        {
            assert_eq!(rows::lease_key(stream, group, shard), *key);
        }
        let _ = agent::parse_key(key).map(|(id, device, inode)| assert_eq!(agent::file_key(id, device, inode), *key));
        value.iter().for_each(|value| row(value));
    }
    assert_eq!(change::encode(rows), bytes);
}

/// Texts that callers hand back: shard iterators, sequence numbers, hash keys, shard ids. Arbitrary text (even first byte) or an
/// iterator with some of its characters changed (odd), which must be refused.
pub fn stream_tokens(data: &[u8]) {
    const LIFETIME: std::time::Duration = std::time::Duration::from_secs(300);
    let mut input = Input(data);
    let flags = input.u8();
    let secret = [9; 16];
    if flags & 1 == 1 {
        let token = Token {
            stream: input.u64(),
            shard: ShardId(input.u64() as u32),
            next: input.u64(),
            issued_ms: input.u64(),
        };
        let text = token.encode(&secret);
        assert_eq!(Token::decode(&text, &secret, token.issued_ms, LIFETIME), Ok(token));
        let mut forged = text.clone().into_bytes();
        while !input.0.is_empty() {
            let at = usize::from(input.u8()) % forged.len();
            forged[at] = input.u8() & 0x7f;
        }
        let forged = String::from_utf8(forged).expect("it is ASCII");
        let accepted = Token::decode(&forged, &secret, token.issued_ms, LIFETIME).is_ok();
        assert!(accepted == (forged == text), "{forged}");
        return;
    }
    let text = String::from_utf8_lossy(input.0);
    let _ = Token::decode(&text, &secret, 1_000, LIFETIME);
    let _ = text.parse::<crate::stream::SequenceNumber>().map(|number| assert_eq!(number.to_string(), text));
    let _ = text.parse::<crate::stream::HashKey>().map(|key| assert_eq!(key.to_string(), text));
    let _ = text.parse::<ShardId>().map(|shard| assert_eq!(shard.to_string(), text));
}

/// Aggregated records: arbitrary data (even first byte), or an edited record of four user records (odd); 2 puts the checksum
/// right, and 4 gives the range of the lower half of the hash space.
pub fn deaggregate(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.u8();
    let mut bytes = input.0.to_vec();
    if flags & 1 == 1 {
        let mut tree = Tree::from([("record".to_owned(), example_aggregated())]);
        edit(&mut tree, &mut input, "record");
        bytes = tree.remove("record").unwrap_or_default();
    }
    if flags & 2 == 2 {
        let message = bytes.get(4..bytes.len().saturating_sub(16)).unwrap_or_default().to_vec();
        bytes = [&[0xf3, 0x89, 0x9a, 0xc2][..], &message, &md5::compute(&message).0].concat();
    }
    let range = (flags & 4 == 4).then(|| HashKeyRange::uniform(2)[0]);
    let whole = stream::Record::of_nowhere(bytes.into());
    let users = stream::deaggregate(whole.clone(), range);
    let left = users.left();
    let mut count = 0;
    for user in users {
        assert_eq!(user.sub_sequence_number, count);
        assert!(user.aggregated || user.data == whole.data && left == 1);
        assert!(!user.aggregated || user.partition_key().is_some() && user.data.len() + 26 < whole.data.len());
        if let Some(range) = range.filter(|_| user.aggregated) {
            let of_key = || HashKey::of_partition_key(user.partition_key().unwrap_or_default());
            assert!(range.contains(user.explicit_hash_key.unwrap_or_else(of_key)));
        }
        count += 1;
    }
    assert_eq!(count, left);
}

/// An aggregated record with every field there is, but for tags.
pub fn example_aggregated() -> Vec<u8> {
    let mut aggregator = stream::Aggregator::new();
    aggregator.add("a", None, b"first");
    aggregator.add("key", Some(HashKey(1 << 70)), b"second");
    aggregator.add("a", Some(HashKey::MIN), b"");
    aggregator.add("key", None, &[7; 200]);
    aggregator.finish().map(|record| record.data).unwrap_or_default()
}
