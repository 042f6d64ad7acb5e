//! Doors into the rooms of streams: rows, tokens, aggregated records.

use crate::format::change;
use crate::format::stream::{
    self as rows, ConsumerRow, EngineRow, IntentRow, Reshard, ReshardRow, ScalingRow, ShardRow, StreamRow,
};
use crate::stream::{self, HashKey, HashKeyRange, ShardId, Token};

use super::{Input, Tree, edit};

/// A change of a table whose rows are all the rows of streams there are, with the rows by their keys, and a shard iterator.
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
    let rows = [
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
    (change::encode(rows.iter().map(|(key, value)| (&key[..], value.as_deref()))), token.encode(&engine.secret))
}

/// Changes of tables and the rows of streams: arbitrary bytes (even first byte) or the sample, edited (odd).
pub fn stream_rows(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.u8();
    let mut tree = Tree::from([("change".to_owned(), sample_rows().0)]);
    if flags & 1 == 0 {
        tree.insert("change".to_owned(), input.0.to_vec());
    } else {
        edit(&mut tree, &mut input, "change");
    }
    let bytes = tree.remove("change").unwrap_or_default();
    // What can be read is written as the same bytes.
    let row = |bytes: &[u8]| {
        let _ = EngineRow::decode(bytes).map(|row| assert_eq!(row.encode(), bytes));
        let _ = StreamRow::decode(bytes).map(|row| assert_eq!(row.encode(), bytes));
        let _ = ShardRow::decode(bytes).map(|row| assert_eq!(row.encode(), bytes));
        let _ = ConsumerRow::decode(bytes).map(|row| assert_eq!(row.encode(), bytes));
        let _ = ScalingRow::decode(bytes).map(|row| assert_eq!(row.encode(), bytes));
        let _ = ReshardRow::decode(bytes).map(|row| assert_eq!(row.encode(), bytes));
        let _ = IntentRow::decode(bytes).map(|row| assert_eq!(row.encode(), bytes));
    };
    row(&bytes);
    let Ok(rows) = change::decode(&bytes) else { return };
    for (key, value) in &rows {
        let _ = rows::parse_key(key).map(|(_, rest)| assert!(rest.len() < key.len()));
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
