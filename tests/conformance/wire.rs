//! What is the same for all operations.

use braidlog::wire::Protocol;
use braidlog::wire::kinesis::{
    GetRecordsInput, GetRecordsOutput, GetShardIteratorInput, GetShardIteratorOutput, PutRecordInput, PutRecordOutput,
    PutRecordsInput, PutRecordsOutput, PutRecordsRequestEntry,
};
use braidlog::wire::scalar::{Blob, Timestamp};
use serde_json::{Value, json};

use crate::Bench;
use crate::records::{FIRST, iterator, texts};
use crate::streams::create;

const JSON: &str = "application/x-amz-json-1.1";

pub fn requests_that_are_none_are_refused(bench: &Bench) {
    let client = &bench.client;
    let refused = |target: &str, content_type: &str, body: &str| {
        let answer = client.post(target, content_type, body.as_bytes());
        let told: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer.status, 400);
        assert_eq!(answer.headers["x-amzn-errortype"], told["__type"].as_str().unwrap());
        told["__type"].as_str().unwrap().to_owned()
    };
    assert_eq!(refused("Kinesis_20131202.Fly", JSON, "{}"), "UnknownOperationException");
    assert_eq!(refused("Kinesis_20131202", JSON, "{}"), "UnknownOperationException");
    assert_eq!(refused("Kinesis_20131202.ListStreams.x", JSON, "{}"), "UnknownOperationException");
    assert_eq!(refused("DynamoDB_20120810.ListTables", JSON, "{}"), "UnknownOperationException");
    assert_eq!(refused("Kinesis_20131202.ListStreams", "text/html", "{}"), "SerializationException");
    assert_eq!(refused("Kinesis_20131202.ListStreams", JSON, ""), "SerializationException");
    assert_eq!(refused("Kinesis_20131202.ListStreams", JSON, "{\"Limit\":"), "SerializationException");
    assert_eq!(refused("Kinesis_20131202.ListStreams", JSON, "{\"Limit\":1e9}"), "SerializationException");
    assert_eq!(refused("Kinesis_20131202.ListStreams", JSON, "{\"Wings\":2}"), "ValidationException");
}

pub fn the_same_in_cbor(bench: &Bench) {
    let client = &bench.client;
    create(bench, "clicks", 1);
    let cbor = Protocol::Cbor;
    let name = || Some("clicks".to_owned());
    let post = |operation: &str, body: Vec<u8>| {
        let answer = client.post(&format!("Kinesis_20131202.{operation}"), cbor.content_type(), &body);
        if !answer.body.is_empty() {
            assert_eq!(answer.headers["content-type"], cbor.content_type());
        }
        answer
    };
    let data = Some(Blob(bytes::Bytes::from_static(&[0, 1, 254, 255])));
    let key = Some("a".to_owned());
    let input =
        PutRecordInput { stream_name: name(), data: data.clone(), partition_key: key.clone(), ..Default::default() };
    let put: PutRecordOutput = cbor.read(&post("PutRecord", cbor.encode(&input)).body).unwrap();
    assert_eq!(put.shard_id.as_deref(), Some(FIRST));
    let record = PutRecordsRequestEntry { data: data.clone(), partition_key: key, ..Default::default() };
    let input = PutRecordsInput { stream_name: name(), records: Some(vec![record; 3]), ..Default::default() };
    let puts: PutRecordsOutput = cbor.read(&post("PutRecords", cbor.encode(&input)).body).unwrap();
    assert_eq!(puts.failed_record_count, Some(0));
    let input = GetShardIteratorInput {
        stream_name: name(),
        shard_id: Some(FIRST.to_owned()),
        shard_iterator_type: Some("AT_TIMESTAMP".to_owned()),
        timestamp: Some(Timestamp(braidlog::env::sim::ManualClock::START_MS as i64)),
        ..Default::default()
    };
    let iterator: GetShardIteratorOutput = cbor.read(&post("GetShardIterator", cbor.encode(&input)).body).unwrap();
    let input = GetRecordsInput { shard_iterator: iterator.shard_iterator, ..Default::default() };
    let got: GetRecordsOutput = cbor.read(&post("GetRecords", cbor.encode(&input)).body).unwrap();
    let records = got.records.unwrap();
    assert_eq!(records.len(), 4);
    assert!(records.iter().all(|record| record.data == data));
    let arrived = records[0].approximate_arrival_timestamp.unwrap().0;
    assert!(arrived >= braidlog::env::sim::ManualClock::START_MS as i64, "milliseconds, not seconds: {arrived}");
    let refused = post("PutRecord", cbor.encode(&PutRecordInput::default()));
    assert_eq!(refused.status, 400);
    assert_eq!(refused.body[..8], *b"\xa2\x66__type");
}

pub fn what_is_not_served_says_so(bench: &Bench) {
    for operation in braidlog::wire::kinesis::Operation::ALL {
        let name = operation.name();
        if name.contains("Queue") || name.contains("Channel") {
            let refused = bench.client.fails(name, "InvalidArgumentException", json!({}));
            assert_eq!(refused.message, format!("{name} is not available in Braidlog yet."));
        }
    }
}

pub fn who_asked_for_what_is_kept_in_the_audit_stream(bench: &Bench) {
    let (client, other) = (&bench.client, bench.client.of_account("111122223333"));
    create(bench, "clicks", 1);
    other.fails("DescribeStream", "ResourceNotFoundException", json!({ "StreamName": "secret" }));
    client.post("Kinesis_20131202.Fly", JSON, b"{}");
    let mut at = Some(iterator(client, "braidlog-audit", FIRST, "TRIM_HORIZON"));
    let mut entries: Vec<Value> = Vec::new();
    // An entry comes when it is durable; reading is audited, too.
    while entries.len() < 3 {
        let got = client.ok("GetRecords", json!({ "ShardIterator": at }));
        entries.extend(texts(&got).iter().map(|line| serde_json::from_str::<Value>(line).unwrap()));
        at = got["NextShardIterator"].as_str().map(str::to_owned);
    }
    assert_eq!((&entries[0]["operation"], &entries[0]["resource"]), (&json!("CreateStream"), &json!("clicks")));
    assert_eq!((&entries[0]["status"], &entries[0]["error"]), (&json!(200), &Value::Null));
    assert_eq!((&entries[0]["account"], &entries[0]["access_key"]), (&json!("000000000000"), &Value::Null));
    assert_eq!((&entries[1]["account"], &entries[1]["access_key"]), (&json!("111122223333"), &json!("111122223333")));
    assert_eq!(
        (&entries[1]["resource"], &entries[1]["error"]),
        (&json!("secret"), &json!("ResourceNotFoundException"))
    );
    assert_eq!(
        (&entries[2]["operation"], &entries[2]["error"]),
        (&json!("unknown"), &json!("UnknownOperationException"))
    );
    assert_eq!(entries[0]["request_id"].as_str().unwrap().len(), 36);
}
