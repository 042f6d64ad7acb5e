//! Fixed bytes, the rules for what is none, and round trips.

use bytes::Bytes;
use proptest::prelude::*;

use super::super::hash_key::{HashKey, HashKeyRange};
use super::super::read::Record;
use super::wire::{put_bytes, put_number};
use super::*;

// Made once with aws-kinesis-agg 1.2.3 from PyPI (`RecordAggregator`), on protobuf's own library.
const ONE: &str = "f3899ac20a01611a0608001a026869ed4ff28777966ae6df59911cb0530cc2";
const THREE: &str = "f3899ac20a06757365722d310a06757365722d32122733343032383233363639323039333834363334363333373436303734\
                     33313736383231313435351a0e08001a0a706167653d2f686f6d651a10080110001a0a706167653d2f636172741a040800\
                     1a00e475d48002e01561030f8b6dccf54cfb";
const FIVE: &str = "f3899ac20a026b300a026b310a026b321a0608001a0264301a0608011a0264311a0608021a0264321a0608001a0264331a0608\
                    011a026434cc7c8aa4692bcfc4ae9ddc6ba491b962";

fn bytes_of(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

fn record(data: impl Into<Bytes>) -> Record {
    Record::of_nowhere(data.into())
}

type Plain = (String, Option<HashKey>, Vec<u8>);

fn plain(key: &str, explicit_hash_key: Option<HashKey>, data: &[u8]) -> Plain {
    (key.to_owned(), explicit_hash_key, data.to_vec())
}

/// The user records of an aggregated record; `None` if it was handed on as it is.
fn users(data: &[u8], range: Option<HashKeyRange>) -> Option<Vec<Plain>> {
    let whole = record(data.to_vec());
    let all = deaggregate(whole.clone(), range);
    assert_eq!(all.left(), deaggregate(whole.clone(), range).count() as u64);
    let all: Vec<UserRecord> = all.collect();
    if let [only] = &all[..]
        && !only.aggregated
    {
        assert_eq!((&only.data, only.partition_key(), only.sub_sequence_number), (&whole.data, Some("a"), 0));
        return None;
    }
    let user = |(user, at): (UserRecord, u64)| {
        assert_eq!((user.sequence_number, user.sub_sequence_number), (whole.sequence_number, at));
        assert!(user.aggregated && user.arrival_ms == whole.arrival_ms);
        (user.partition_key().unwrap().to_owned(), user.explicit_hash_key, user.data.to_vec())
    };
    Some(all.into_iter().zip(0..).map(user).collect())
}

fn aggregate(users: &[Plain]) -> AggregatedRecord {
    let mut aggregator = Aggregator::new();
    for (key, explicit_hash_key, data) in users {
        let expected = aggregator.bytes_with(key, *explicit_hash_key, data.len());
        aggregator.add(key, *explicit_hash_key, data);
        assert_eq!(aggregator.bytes(), expected);
    }
    let bytes = aggregator.bytes();
    let record = aggregator.finish().unwrap();
    assert_eq!(record.data.len(), bytes);
    record
}

/// An aggregated record with this message.
fn sealed(message: &[u8]) -> Vec<u8> {
    [&MAGIC[..], message, &md5::compute(message).0].concat()
}

/// A message with one partition key, `k`, and this record.
fn message_with(record: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    put_bytes(&mut message, PARTITION_KEY, b"k");
    put_bytes(&mut message, RECORD, record);
    message
}

const GOOD: [u8; 5] = [0x08, 0x00, 0x1a, 0x01, b'd'];

#[test]
fn bytes_of_another_implementation_are_read_and_written_alike() {
    let five: Vec<Plain> = (0..5).map(|i| plain(&format!("k{}", i % 3), None, format!("d{i}").as_bytes())).collect();
    let three = [
        plain("user-1", None, b"page=/home"),
        plain("user-2", Some(HashKey::MAX), b"page=/cart"),
        plain("user-1", None, b""),
    ];
    for (hex, expected) in [(ONE, &[plain("a", None, b"hi")][..]), (THREE, &three), (FIVE, &five)] {
        assert_eq!(users(&bytes_of(hex), None).unwrap(), expected);
        assert_eq!(aggregate(expected).data, bytes_of(hex));
    }
}

#[test]
fn a_payload_that_the_tests_of_other_readers_share_is_read() {
    // In public tests of several stream forwarders, as base64: `84mawgoFa2V5LTAKBWtleS0xGiUIABohVGVzdGluZyBLUEwg...`.
    let hex = "f3899ac20a056b65792d300a056b65792d311a2508001a2154657374696e67204b504c204167677265676174656420526563\
               6f726420322d301a2508011a2154657374696e67204b504c2041676772656761746564205265636f726420322d311d252386\
               1cdf5ee9cffa0fc44e748421";
    let expected = [("key-0", "2-0"), ("key-1", "2-1")]
        .map(|(key, n)| plain(key, None, format!("Testing KPL Aggregated Record {n}").as_bytes()));
    assert_eq!(users(&bytes_of(hex), None).unwrap(), expected);
    // From the same tests: magic number and checksum without a message are no aggregated record.
    assert_eq!(users(&sealed(b""), None), None);
}

#[test]
fn data_is_a_slice_of_the_record_it_came_in() {
    let whole = record(bytes_of(ONE));
    let memory = whole.data.as_ptr_range();
    let user = deaggregate(whole.clone(), None).next().unwrap();
    assert!(memory.contains(&user.data.as_ptr()));
    assert_eq!(user.data.as_ptr() as usize - memory.start as usize, 13);
}

#[test]
fn what_is_no_aggregated_record_is_handed_on_as_it_is() {
    let good = bytes_of(THREE);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert_eq!(users(&bad, None), None, "byte {at} changed");
        assert_eq!(users(&good[..at], None), None, "cut to {at}");
    }
    assert_eq!(users(b"", None), None);
    assert_eq!(users(&MAGIC, None), None);
}

#[test]
fn a_message_with_a_valid_checksum_that_breaks_the_format_is_handed_on_as_it_is() {
    assert_eq!(users(&sealed(&message_with(&GOOD)), None).unwrap(), [plain("k", None, b"d")]);
    let broken: [&[u8]; 8] = [
        &[0x08, 0x01, 0x1a, 0x01, b'd'], // a partition key that is not in the table
        &[0x08, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x1a, 0x01, b'd'], // the same, far out
        &[0x1a, 0x01, b'd'],             // without a partition key
        &[0x08, 0x00],                   // without data
        &[0x08, 0x00, 0x10, 0x00, 0x1a, 0x01, b'd'], // an explicit hash key that is not in the table
        &[0x08, 0x00, 0x1a, 0x02, b'd'], // data beyond the end
        &[0x08, 0x00, 0x1a, 0x01, b'd', 0x22, 0x02, 0x12, 0x00], // a tag without a key
        &[0x08, 0x00, 0x1a, 0x01, b'd', 0x07], // an unknown kind of field
    ];
    for record in broken {
        assert_eq!(users(&sealed(&message_with(record)), None), None, "{record:02x?}");
        // Also after one that is good: all or nothing.
        let both = [message_with(&GOOD), message_with(record)].concat();
        let both = if record[..2] == [0x08, 0x01] { message_with(record) } else { both };
        assert_eq!(users(&sealed(&both), None), None, "{record:02x?}");
    }
    let mut no_text = Vec::new();
    put_bytes(&mut no_text, PARTITION_KEY, &[0xff]);
    put_bytes(&mut no_text, RECORD, &GOOD);
    assert_eq!(users(&sealed(&no_text), None), None);
    for hash_key in ["", "-1", "007", "340282366920938463463374607431768211456", "x"] {
        let mut message = message_with(&[0x08, 0x00, 0x10, 0x00, 0x1a, 0x00]);
        put_bytes(&mut message, EXPLICIT_HASH_KEY, hash_key.as_bytes());
        assert_eq!(users(&sealed(&message), None), None, "{hash_key:?}");
    }
}

#[test]
fn fields_may_come_in_any_order_twice_and_with_unknown_ones_between() {
    let mut message = Vec::new();
    put_number(&mut message, 9, 5);
    // Data twice: the last counts. A tag with key and value, and an unknown field.
    let tag = [0x22, 0x06, 0x0a, 0x01, b't', 0x12, 0x01, b'v'];
    put_bytes(&mut message, RECORD, &[&[0x1a, 0x01, b'x'], &tag[..], &[0x48, 0x01], &GOOD].concat());
    put_bytes(&mut message, 8, b"unknown");
    put_bytes(&mut message, PARTITION_KEY, b"k");
    assert_eq!(users(&sealed(&message), None).unwrap(), [plain("k", None, b"d")]);
    // A partition key as bytes is not the field that is known as a number: it is missing, then.
    assert_eq!(users(&sealed(&message_with(&[0x0a, 0x00, 0x1a, 0x00])), None), None);
}

#[test]
fn a_record_without_user_records_yields_none() {
    let mut message = Vec::new();
    put_bytes(&mut message, PARTITION_KEY, b"k");
    assert_eq!(users(&sealed(&message), None).unwrap(), []);
}

#[test]
fn one_user_record_outside_of_the_range_drops_all_of_its_record() {
    let [low, high] = [HashKeyRange::uniform(2)[0], HashKeyRange::uniform(2)[1]];
    // MD5 of "a" begins with 0c, that of "b" with 92 (RFC 1321, A.5, and any MD5).
    let (a, b) = (plain("a", None, b"1"), plain("b", None, b"2"));
    assert!(low.contains(HashKey::of_partition_key("a")) && high.contains(HashKey::of_partition_key("b")));
    let both = aggregate(&[a.clone(), b.clone()]).data;
    assert_eq!(users(&both, None).unwrap().len(), 2);
    assert_eq!(users(&both, Some(HashKeyRange::ALL)).unwrap().len(), 2);
    assert_eq!(users(&both, Some(low)).unwrap(), []);
    assert_eq!(users(&both, Some(high)).unwrap(), []);
    assert_eq!(users(&aggregate(&[a.clone(), a.clone()]).data, Some(low)).unwrap().len(), 2);
    // An explicit hash key counts in place of the partition key's.
    let moved = plain("b", Some(HashKey(5)), b"3");
    assert_eq!(users(&aggregate(&[a, moved.clone()]).data, Some(low)).unwrap().len(), 2);
    assert_eq!(users(&aggregate(&[moved, b]).data, Some(low)).unwrap(), []);
    // What is not aggregated has no hash keys to look at.
    assert_eq!(users(b"plain", Some(high)), None);
}

#[test]
fn many_records_with_one_long_key_cost_one_look_at_it() {
    // 100,000 looks at 1 MiB each would not end.
    let mut message = Vec::new();
    put_bytes(&mut message, PARTITION_KEY, &vec![b'k'; 1 << 20]);
    (0..100_000).for_each(|_| put_bytes(&mut message, RECORD, &GOOD));
    let all = deaggregate(record(sealed(&message)), Some(HashKeyRange::ALL));
    assert_eq!(all.left(), 100_000);
}

fn any_user() -> impl Strategy<Value = Plain> {
    let data = proptest::collection::vec(any::<u8>(), 0..300);
    ("[a-cé]{1,3}", proptest::option::of((0u128..4).prop_map(|n| HashKey(n.wrapping_sub(2)))), data)
}

proptest! {
    #[test]
    fn what_was_packed_is_what_is_read(given in proptest::collection::vec(any_user(), 1..300)) {
        let packed = aggregate(&given);
        prop_assert_eq!(users(&packed.data, None).unwrap(), given.clone());
        let hash_key = |(key, explicit, _): &Plain| explicit.unwrap_or_else(|| HashKey::of_partition_key(key));
        prop_assert_eq!(packed.explicit_hash_key, hash_key(&given[0]));
        let range = HashKeyRange { start: HashKey(1 << 126), end: HashKey::MAX };
        let inside = given.iter().all(|user| range.contains(hash_key(user)));
        prop_assert_eq!(users(&packed.data, Some(range)).unwrap().len(), if inside { given.len() } else { 0 });
    }

    #[test]
    fn no_message_panics(message in proptest::collection::vec(any::<u8>(), 1..60), at in any::<prop::sample::Index>()) {
        users(&sealed(&message), Some(HashKeyRange::ALL));
        let mut near = message_with(&GOOD);
        let place = at.index(near.len());
        near[place] = message[0];
        users(&sealed(&near), Some(HashKeyRange::ALL));
    }
}
