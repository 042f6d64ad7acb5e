use bytes::Bytes;

use super::*;
use crate::wire::kinesis::{
    CreateStreamInput, GetShardIteratorInput, PutRecordsInput, PutRecordsRequestEntry, Record, TagResourceInput,
};
use crate::wire::scalar::{Blob, Timestamp};

fn refused<T: DeserializeOwned + Shape + std::fmt::Debug>(body: &str) -> ApiError {
    Protocol::Json.decode::<T>(body.as_bytes()).unwrap_err()
}

#[test]
fn a_request_reads_the_same_in_both_protocols() {
    let sent = PutRecordsInput {
        stream_name: Some("clicks".into()),
        records: Some(vec![PutRecordsRequestEntry {
            data: Some(Blob(Bytes::from_static(&[0, 255, 7]))),
            partition_key: Some("a".into()),
            ..Default::default()
        }]),
        ..Default::default()
    };
    for protocol in [Protocol::Json, Protocol::Cbor] {
        let read = protocol.decode::<PutRecordsInput>(&protocol.encode(&sent)).unwrap();
        assert_eq!((read.input, read.unknown), (sent.clone(), vec![]), "{protocol:?}");
    }
    assert_eq!(
        String::from_utf8(Protocol::Json.encode(&sent)).unwrap(),
        r#"{"Records":[{"Data":"AP8H","PartitionKey":"a"}],"StreamName":"clicks"}"#
    );
}

#[test]
fn data_of_any_length_is_one_text_of_base64() {
    for length in [0, 1, 2, 3, 3071, 3072, 3073, 10_000] {
        let data = Blob((0..length).map(|at| (at % 251) as u8).collect::<Vec<_>>().into());
        let sent = Record { data: Some(data.clone()), ..Default::default() };
        let json: serde_json::Value = serde_json::from_slice(&Protocol::Json.encode(&sent)).unwrap();
        assert_eq!(json["Data"], STANDARD.encode(&data.0), "{length} bytes");
        assert_eq!(Protocol::Json.read::<Record>(&Protocol::Json.encode(&sent)).unwrap(), sent);
    }
}

#[test]
fn a_time_is_seconds_in_json_and_tagged_milliseconds_in_cbor() {
    let record = Record { approximate_arrival_timestamp: Some(Timestamp(1_506_440_188_749)), ..Default::default() };
    let json = String::from_utf8(Protocol::Json.encode(&record)).unwrap();
    assert_eq!(json, r#"{"ApproximateArrivalTimestamp":1506440188.749}"#);
    let cbor = Protocol::Cbor.encode(&record);
    // Tag 1, eight bytes, big-endian.
    let ms = 1_506_440_188_749_u64.to_be_bytes();
    assert_eq!(cbor[cbor.len() - 10..], [&[0xc1, 0x1b], &ms[..]].concat());
    let asked = r#"{"ShardId":"shardId-000000000000","ShardIteratorType":"AT_TIMESTAMP","Timestamp":1506440188.749}"#;
    let read = Protocol::Json.decode::<GetShardIteratorInput>(asked.as_bytes()).unwrap().input;
    assert_eq!(read.timestamp, Some(Timestamp(1_506_440_188_749)));
    let again = Protocol::Cbor.decode::<GetShardIteratorInput>(&Protocol::Cbor.encode(&read)).unwrap().input;
    assert_eq!(again, read);
}

#[test]
fn members_that_the_model_does_not_have_are_named() {
    let body = r#"{"StreamName":"a","Colour":"red","StreamModeDetails":{"StreamMode":"ON_DEMAND","Size":[1,{"a":2}]}}"#;
    let read = Protocol::Json.decode::<CreateStreamInput>(body.as_bytes()).unwrap();
    assert_eq!(read.unknown, ["Colour", "StreamModeDetails.?.Size"]);
}

#[test]
fn no_more_is_told_of_a_long_name_than_its_beginning() {
    // It was told whole, and kept by the server for good.
    let name = "ü".repeat(1 << 20);
    let body = format!(r#"{{"{name}":1,"StreamModeDetails":{{"{name}":[]}}}}"#);
    let unknown = Protocol::Json.read::<Decoded<CreateStreamInput>>(body.as_bytes()).unwrap().unknown;
    let within = format!("StreamModeDetails.?.{}...", "ü".repeat(54));
    assert_eq!(unknown, [format!("{}...", "ü".repeat(64)), within]);
}

#[test]
fn broken_bounds_are_told_in_the_services_words() {
    assert_eq!(
        refused::<CreateStreamInput>("{}").message,
        "1 validation error detected: Value null at 'streamName' failed to satisfy constraint: Member must not be null"
    );
    assert_eq!(
        refused::<CreateStreamInput>(r#"{"StreamName":"a b","ShardCount":0,"StreamModeDetails":{"StreamMode":"x"}}"#)
            .message,
        "3 validation errors detected: Value 'a b' at 'streamName' failed to satisfy constraint: Member must satisfy regular \
         expression pattern: [a-zA-Z0-9_.-]+; Value '0' at 'shardCount' failed to satisfy constraint: Member must have value \
         greater than or equal to 1; Value 'x' at 'streamModeDetails.streamMode' failed to satisfy constraint: Member must \
         satisfy enum value set: [PROVISIONED, ON_DEMAND]"
    );
    let long = format!(r#"{{"StreamName":"{}"}}"#, "x".repeat(129));
    assert!(refused::<CreateStreamInput>(&long).message.ends_with("Member must have length less than or equal to 128"));
    assert!(
        refused::<PutRecordsInput>(r#"{"StreamName":"a","Records":[{"Data":""},{"PartitionKey":""}]}"#)
            .message
            .contains("at 'records.2.member.data' failed to satisfy constraint: Member must not be null; Value '' at 'records.2")
    );
    let tags = r#"{"ResourceARN":"arn:aws:kinesis:us-east-1:000000000000:stream/a","Tags":{"":"x"}}"#;
    assert!(refused::<TagResourceInput>(tags).message.contains("Value '' at 'tags' failed"));
    // Length counts characters, not bytes.
    let umlauts = format!(r#"{{"StreamName":"a","Records":[{{"Data":"","PartitionKey":"{}"}}]}}"#, "ü".repeat(256));
    assert!(Protocol::Json.decode::<PutRecordsInput>(umlauts.as_bytes()).is_ok());
}

#[test]
fn what_is_no_request_is_a_serialization_error() {
    for body in ["", "{", "null", "1", r#"{"StreamName":7}"#, r#"{"StreamName":"a"} x"#, r#"{"ShardCount":"1"}"#] {
        assert_eq!(refused::<CreateStreamInput>(body).code, "SerializationException", "{body}");
    }
    assert_eq!(refused::<PutRecordsInput>(r#"{"Records":[{"Data":"%"}]}"#).code, "SerializationException");
    let deep = format!("{}{}", r#"{"x":"#.repeat(100_000), "1");
    assert_eq!(refused::<CreateStreamInput>(&deep).code, "SerializationException");
    let deep = [[0xa1, 0x61, b'x'].repeat(100_000), vec![1]].concat();
    let huge: &[u8] = &[0x9b, 255, 255, 255, 255, 255, 255, 255, 255];
    for cbor in [&deep[..], &[], &[0xa1], &[0xff], &[0xbf], &[0xa0, 0xa0], huge] {
        let error = Protocol::Cbor.decode::<CreateStreamInput>(cbor).unwrap_err();
        assert_eq!(error.code, "SerializationException");
    }
}

#[test]
fn of_a_list_or_map_that_is_too_long_no_more_is_kept_than_shows_it() {
    // Sixteen million elements of one byte each took more than a gigabyte.
    let read = |protocol: Protocol, body: &[u8]| protocol.read::<Decoded<PutRecordsInput>>(body).unwrap();
    let of_nothing = |count: usize| [&b"\xa1\x67Records\x9f"[..], &[0xa0].repeat(count), &[0xff]].concat();
    for (sent, kept) in [(0, 0), (500, 500), (501, 501), (502, 501), (100_000, 501)] {
        let lists = [
            read(Protocol::Json, format!(r#"{{"Records":[{}]}}"#, vec!["{}"; sent].join(",")).as_bytes()),
            read(Protocol::Cbor, &of_nothing(sent)),
        ];
        for list in lists {
            assert_eq!((list.input.records.unwrap().len(), list.unknown), (kept, vec![]), "of {sent}");
        }
    }
    let one = r#"{"Data":"","PartitionKey":"a"}"#;
    let many = |count: usize| format!(r#"{{"StreamName":"a","Records":[{}]}}"#, vec![one; count].join(","));
    assert!(Protocol::Json.decode::<PutRecordsInput>(many(500).as_bytes()).is_ok());
    assert_eq!(
        refused::<PutRecordsInput>(&many(501)).message,
        "1 validation error detected: Value '[501]' at 'records' failed to satisfy constraint: Member must have length less than \
         or equal to 500"
    );
    assert_eq!(refused::<PutRecordsInput>(&many(502)).message, refused::<PutRecordsInput>(&many(501)).message);
    // What is not kept is looked at all the same.
    let broken = many(502).replacen("]}", ",7]}", 1);
    assert_eq!(refused::<PutRecordsInput>(&broken).code, "SerializationException");
    let strange = many(502).replacen("]}", r#",{"Colour":1}]}"#, 1);
    assert_eq!(read(Protocol::Json, strange.as_bytes()).unknown, ["Records.?.502.Colour"]);

    let tags = |count: usize| (0..count).map(|n| format!(r#""{n}":"first","#)).collect::<String>();
    let body = |count: usize| format!(r#"{{"ResourceARN":"arn:a","Tags":{{{}"0":"last"}}}}"#, tags(count));
    let kept = |count: usize| Protocol::Json.read::<TagResourceInput>(body(count).as_bytes()).unwrap().tags.unwrap();
    for (sent, most) in [(1, 1), (200, 200), (201, 201), (10_000, 201)] {
        assert_eq!((kept(sent).len(), kept(sent)["0"].as_str()), (most, "last"), "of {sent}");
    }
    let message = refused::<TagResourceInput>(&body(10_000)).message;
    assert!(
        message.contains("at 'tags' failed to satisfy constraint: Member must have length less than or equal to 200")
    );
    assert_eq!(Protocol::Json.read::<TagResourceInput>(br#"{"Tags":null}"#).unwrap().tags, None);
}

#[test]
fn of_a_text_that_is_none_wanted_no_more_is_told_than_its_beginning() {
    let body = format!(r#"{{"ShardCount":"{}"}}"#, "x".repeat(1 << 20));
    let message = refused::<CreateStreamInput>(&body).message;
    assert!(message.starts_with(r#"invalid type: string "xxx"#) && message.len() < 600, "{message}");
}

#[test]
fn an_error_has_a_type_and_a_message() {
    let error = ApiError::new(400, "SomeException", "it is so");
    assert_eq!(Protocol::Json.encode_error(&error), br#"{"__type":"SomeException","message":"it is so"}"#);
    assert_eq!(Protocol::Cbor.encode_error(&error)[..8], *b"\xa2\x66__type");
}

#[test]
fn a_content_type_chooses_the_protocol() {
    assert_eq!(Protocol::of_content_type("application/x-amz-json-1.1; charset=utf-8"), Some(Protocol::Json));
    assert_eq!(Protocol::of_content_type("Application/X-Amz-Cbor-1.1"), Some(Protocol::Cbor));
    assert_eq!(Protocol::of_content_type("text/html"), None);
}
