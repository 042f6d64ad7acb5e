//! Putting and getting records.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::Bench;
use crate::client::Client;
use crate::streams::{ARN, create};

pub const FIRST: &str = "shardId-000000000000";

pub fn base64(data: &[u8]) -> String {
    STANDARD.encode(data)
}

pub fn put(client: &Client, stream: &str, key: &str, data: &str) -> Value {
    client.ok("PutRecord", json!({ "StreamName": stream, "PartitionKey": key, "Data": base64(data.as_bytes()) }))
}

pub fn iterator(client: &Client, stream: &str, shard: &str, kind: &str) -> String {
    let input = json!({ "StreamName": stream, "ShardId": shard, "ShardIteratorType": kind });
    client.ok("GetShardIterator", input)["ShardIterator"].as_str().unwrap().to_owned()
}

pub fn texts(answer: &Value) -> Vec<String> {
    let records = answer["Records"].as_array().unwrap();
    let text = |record: &Value| STANDARD.decode(record["Data"].as_str().unwrap()).unwrap();
    records.iter().map(|record| String::from_utf8(text(record)).unwrap()).collect()
}

pub fn a_record_is_put_and_got(bench: &Bench) {
    let client = &bench.client;
    create(bench, "clicks", 1);
    for data in ["user signup", "user login", "user logout"] {
        let answer = put(client, "clicks", "user1", data);
        assert_eq!(answer["ShardId"], FIRST);
    }
    let got = client.ok(
        "GetRecords",
        json!({
            "ShardIterator": iterator(client, "clicks", FIRST, "TRIM_HORIZON"), "Limit": 2, "StreamARN": ARN,
            "StreamId": "abcdefghijklmnopqrst-abc",
        }),
    );
    assert_eq!(texts(&got), ["user signup", "user login"]);
    assert_eq!(got["Records"][0]["PartitionKey"], "user1");
    assert!(got["Records"][0]["ApproximateArrivalTimestamp"].as_f64().unwrap() > 1.7e9);
    assert_eq!(got.get("ChildShards"), None);
    let rest = client.ok("GetRecords", json!({ "ShardIterator": got["NextShardIterator"] }));
    assert_eq!((texts(&rest), &rest["MillisBehindLatest"]), (vec!["user logout".to_owned()], &json!(0)));
    // Some clients send the iterator in quotes.
    let quoted = format!("\"{}\"", rest["NextShardIterator"].as_str().unwrap());
    assert_eq!(client.ok("GetRecords", json!({ "ShardIterator": quoted }))["Records"], json!([]));
    client.ok("StartStreamEncryption", json!({ "StreamName": "clicks", "EncryptionType": "KMS", "KeyId": "k" }));
    let all = client.ok("GetRecords", json!({ "ShardIterator": iterator(client, "clicks", FIRST, "TRIM_HORIZON") }));
    assert_eq!(all["Records"][0]["EncryptionType"], "KMS");
    let dry = json!({ "ShardIterator": iterator(client, "clicks", FIRST, "LATEST"), "DryRun": true });
    client.fails("GetRecords", "DryRunOperationException", dry);
    // With a number for ordering and an explicit hash key.
    let last = put(client, "clicks", "user1", "x");
    let next = client.ok(
        "PutRecord",
        json!({
            "StreamName": "clicks", "PartitionKey": "user1", "Data": "", "ExplicitHashKey": "7",
            "SequenceNumberForOrdering": last["SequenceNumber"],
        }),
    );
    assert!(next["SequenceNumber"].as_str() > last["SequenceNumber"].as_str());
    let dry = json!({ "StreamName": "clicks", "PartitionKey": "user1", "Data": "", "DryRun": true });
    client.fails("PutRecord", "DryRunOperationException", dry);
    let dry = json!({ "StreamName": "clicks", "Records": [{ "PartitionKey": "u", "Data": "" }], "DryRun": true });
    client.fails("PutRecords", "DryRunOperationException", dry);
    let end = client.ok("GetRecords", json!({ "ShardIterator": iterator(client, "clicks", FIRST, "LATEST") }));
    assert_eq!(end["Records"], json!([]));
}

pub fn records_are_put_in_one_call(bench: &Bench) {
    let client = &bench.client;
    create(bench, "clicks", 2);
    let records: Vec<Value> = (0..500)
        .map(|i| json!({ "PartitionKey": format!("k{i}"), "Data": base64(format!("{i}").as_bytes()) }))
        .collect();
    let answer = client.ok("PutRecords", json!({ "StreamName": "clicks", "Records": records }));
    assert_eq!(answer["FailedRecordCount"], 0);
    assert_eq!(answer["Records"].as_array().unwrap().len(), 500);
    let count = |shard: &str| {
        let input = json!({ "ShardIterator": iterator(client, "clicks", shard, "TRIM_HORIZON") });
        client.ok("GetRecords", input)["Records"].as_array().unwrap().len()
    };
    assert_eq!(count(FIRST) + count("shardId-000000000001"), 500);
    let upper = json!([{ "PartitionKey": "a", "Data": "", "ExplicitHashKey": u128::MAX.to_string() }]);
    let answer = client.ok("PutRecords", json!({ "StreamName": "clicks", "Records": upper }));
    assert_eq!(answer["Records"][0]["ShardId"], "shardId-000000000001");
    assert_eq!(answer["Records"][0].get("ErrorCode"), None);
}

pub fn iterators_of_every_type(bench: &Bench) {
    let client = &bench.client;
    create(bench, "clicks", 1);
    let first = put(client, "clicks", "a", "1");
    bench.wait(Duration::from_secs(10));
    put(client, "clicks", "a", "2");
    let read = |more: Value| {
        let mut input = json!({ "StreamName": "clicks", "ShardId": FIRST });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let iterator = client.ok("GetShardIterator", input);
        texts(&client.ok("GetRecords", json!({ "ShardIterator": iterator["ShardIterator"] })))
    };
    let number = &first["SequenceNumber"];
    assert_eq!(read(json!({ "ShardIteratorType": "TRIM_HORIZON" })), ["1", "2"]);
    assert_eq!(read(json!({ "ShardIteratorType": "LATEST" })), [""; 0]);
    assert_eq!(
        read(json!({ "ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": number })),
        ["1", "2"]
    );
    assert_eq!(read(json!({ "ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": number })), ["2"]);
    let at = braidlog::env::sim::ManualClock::START_MS as f64 / 1000.0 + 5.0;
    assert_eq!(read(json!({ "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": at })), ["2"]);
    // A record put between the iterator and the first read is read: the position is fixed when it is given out.
    let latest = iterator(client, "clicks", FIRST, "LATEST");
    put(client, "clicks", "a", "3");
    assert_eq!(texts(&client.ok("GetRecords", json!({ "ShardIterator": latest }))), ["3"]);
    for (code, more) in [
        ("InvalidArgumentException", json!({ "ShardIteratorType": "LATEST", "StartingSequenceNumber": number })),
        ("InvalidArgumentException", json!({ "ShardIteratorType": "TRIM_HORIZON", "Timestamp": at })),
        ("InvalidArgumentException", json!({ "ShardIteratorType": "AT_SEQUENCE_NUMBER" })),
        ("InvalidArgumentException", json!({ "ShardIteratorType": "AT_TIMESTAMP" })),
        ("InvalidArgumentException", json!({ "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": at + 1e6 })),
        (
            "InvalidArgumentException",
            json!({ "ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": "7" }),
        ),
        ("ValidationException", json!({ "ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": "07" })),
        ("ValidationException", json!({ "ShardIteratorType": "SOMEWHERE" })),
        ("ResourceNotFoundException", json!({ "ShardIteratorType": "LATEST", "ShardId": "shardId-000000000009" })),
        ("ResourceNotFoundException", json!({ "ShardIteratorType": "LATEST", "ShardId": "here" })),
    ] {
        let mut input = json!({ "StreamName": "clicks", "ShardId": FIRST });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        client.fails("GetShardIterator", code, input);
    }
    let dry = json!({ "StreamName": "clicks", "ShardId": FIRST, "ShardIteratorType": "LATEST", "DryRun": true });
    client.fails("GetShardIterator", "DryRunOperationException", dry);
}

pub fn what_a_put_can_not_be_is_refused(bench: &Bench) {
    let client = &bench.client;
    create(bench, "clicks", 1);
    let large = base64(&vec![b'x'; (1 << 20) + 1]);
    for (code, mut input) in [
        ("ValidationException", json!({ "PartitionKey": "a" })),
        ("ValidationException", json!({ "PartitionKey": "", "Data": "" })),
        ("ValidationException", json!({ "PartitionKey": "x".repeat(257), "Data": "" })),
        ("ValidationException", json!({ "PartitionKey": "a", "Data": "", "ExplicitHashKey": "-1" })),
        ("InvalidArgumentException", json!({ "PartitionKey": "a", "Data": "", "ExplicitHashKey": "9".repeat(39) })),
        ("InvalidArgumentException", json!({ "Data": "" })),
        ("InvalidArgumentException", json!({ "PartitionKey": "a", "Data": large })),
        ("InvalidArgumentException", json!({ "PartitionKey": "a", "Data": "", "SequenceNumberForOrdering": "1" })),
        ("SerializationException", json!({ "PartitionKey": "a", "Data": "%%" })),
    ] {
        input["StreamName"] = json!("clicks");
        client.fails("PutRecord", code, input);
    }
    let many = vec![json!({ "PartitionKey": "a", "Data": "" }); 501];
    client.fails("PutRecords", "ValidationException", json!({ "StreamName": "clicks", "Records": many }));
    client.fails("PutRecords", "ValidationException", json!({ "StreamName": "clicks", "Records": [] }));
    let keyless = json!([{ "PartitionKey": "a", "Data": "" }, { "Data": "" }]);
    client.fails("PutRecords", "InvalidArgumentException", json!({ "StreamName": "clicks", "Records": keyless }));
    let got = client.ok("GetRecords", json!({ "ShardIterator": iterator(client, "clicks", FIRST, "TRIM_HORIZON") }));
    assert_eq!(got["Records"], json!([]), "nothing was partly put");
}

pub fn an_iterator_expires(bench: &Bench) {
    let client = &bench.client;
    create(bench, "clicks", 1);
    let token = iterator(client, "clicks", FIRST, "TRIM_HORIZON");
    bench.wait(Duration::from_secs(300));
    client.ok("GetRecords", json!({ "ShardIterator": token }));
    bench.wait(Duration::from_millis(1));
    client.fails("GetRecords", "ExpiredIteratorException", json!({ "ShardIterator": token }));
    client.fails("GetRecords", "InvalidArgumentException", json!({ "ShardIterator": "made up" }));
    client.fails("GetRecords", "ValidationException", json!({ "ShardIterator": token, "Limit": 10_001 }));
    create(bench, "other", 1);
    let token = iterator(client, "other", FIRST, "LATEST");
    client.fails("GetRecords", "InvalidArgumentException", json!({ "ShardIterator": token, "StreamARN": ARN }));
    client.ok("DeleteStream", json!({ "StreamName": "other" }));
    client.fails("GetRecords", "ResourceNotFoundException", json!({ "ShardIterator": token }));
}

pub fn beyond_a_shards_throughput_records_fail_one_by_one(bench: &Bench) {
    let client = &bench.client;
    create(bench, "clicks", 1);
    let records = || (0..500).map(|_| json!({ "PartitionKey": "a", "Data": "eA==" })).collect::<Vec<_>>();
    let failed: i64 = (0..4)
        .map(|_| client.ok("PutRecords", json!({ "StreamName": "clicks", "Records": records() })))
        .inspect(|answer| {
            if answer["FailedRecordCount"] != 0 {
                let last = answer["Records"].as_array().unwrap().last().unwrap();
                assert_eq!(last["ErrorCode"], "ProvisionedThroughputExceededException");
                assert_eq!(
                    last["ErrorMessage"],
                    "Rate exceeded for shard shardId-000000000000 in stream clicks under account 000000000000."
                );
                assert_eq!(last.get("SequenceNumber"), None);
            }
        })
        .map(|answer| answer["FailedRecordCount"].as_i64().unwrap())
        .sum();
    assert!(failed > 0);
    let one = json!({ "StreamName": "clicks", "PartitionKey": "a", "Data": "" });
    client.fails("PutRecord", "ProvisionedThroughputExceededException", one);
    let token = iterator(client, "clicks", FIRST, "LATEST");
    (0..5).for_each(|_| drop(client.ok("GetRecords", json!({ "ShardIterator": token }))));
    client.fails("GetRecords", "ProvisionedThroughputExceededException", json!({ "ShardIterator": token }));
    bench.wait(Duration::from_secs(5));
    client.ok("GetRecords", json!({ "ShardIterator": token }));
}

pub fn records_of_an_auto_stream_need_no_key(bench: &Bench) {
    let client = &bench.client;
    client.ok("CreateStream", json!({
        "StreamName": "clicks", "StreamModeDetails": { "StreamMode": "ON_DEMAND" }, "RecordDistributionStrategy": "AUTO",
    }));
    let answer = client.ok("PutRecord", json!({ "StreamName": "clicks", "Data": base64(b"keyless") }));
    let shard = answer["ShardId"].as_str().unwrap();
    let got = client.ok("GetRecords", json!({ "ShardIterator": iterator(client, "clicks", shard, "TRIM_HORIZON") }));
    assert_eq!(texts(&got), ["keyless"]);
    assert_eq!(got["Records"][0].get("PartitionKey"), None);
}
