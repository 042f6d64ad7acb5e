//! Shards that change, consumers, and subscriptions.

use std::collections::BTreeMap;
use std::time::Duration;

use braidlog::env::sim::ManualClock;
use serde_json::{Value, json};

use crate::Bench;
use crate::client::Client;
use crate::records::{FIRST, iterator, put, texts};
use crate::streams::{ARN, create};

const HALF: &str = "170141183460469231731687303715884105728";

fn ids(answer: &Value) -> Vec<u32> {
    let shards = answer["Shards"].as_array().unwrap();
    shards.iter().map(|shard| shard["ShardId"].as_str().unwrap()["shardId-".len()..].parse().unwrap()).collect()
}

/// Reads every shard from its beginning to its end, parents before children, as the KCL does.
fn walk(client: &Client, stream: &str) -> Vec<String> {
    let first = client.ok("ListShards", json!({ "StreamName": stream, "ShardFilter": { "Type": "AT_TRIM_HORIZON" } }));
    let mut left: Vec<String> =
        first["Shards"].as_array().unwrap().iter().map(|shard| shard["ShardId"].as_str().unwrap().to_owned()).collect();
    let (mut done, mut found) = (BTreeMap::<String, ()>::new(), Vec::new());
    while let Some(shard) = left.pop() {
        if done.insert(shard.clone(), ()).is_some() {
            continue;
        }
        let mut token = Some(iterator(client, stream, &shard, "TRIM_HORIZON"));
        while let Some(at) = token {
            let got = client.ok("GetRecords", json!({ "ShardIterator": at, "Limit": 3 }));
            found.extend(texts(&got));
            token = got.get("NextShardIterator").map(|next| next.as_str().unwrap().to_owned());
            for child in got["ChildShards"].as_array().into_iter().flatten() {
                assert_eq!(token, None, "children are named at the end");
                let parents = child["ParentShards"].as_array().unwrap();
                if parents.iter().all(|parent| done.contains_key(parent.as_str().unwrap())) {
                    left.push(child["ShardId"].as_str().unwrap().to_owned());
                }
            }
            if token.is_some() && got["Records"].as_array().unwrap().is_empty() && got["MillisBehindLatest"] == 0 {
                break;
            }
        }
    }
    found
}

pub fn shards_are_split_merged_and_walked(bench: &Bench) {
    let client = &bench.client;
    create(bench, "clicks", 1);
    let put_some =
        |from: u32| (from..from + 10).for_each(|i| drop(put(client, "clicks", &format!("k{i}"), &i.to_string())));
    put_some(0);
    let split = json!({ "StreamName": "clicks", "ShardToSplit": FIRST, "NewStartingHashKey": HALF });
    assert_eq!(client.ok("SplitShard", split), Value::Null);
    put_some(10);
    client.ok("MergeShards", json!({
        "StreamName": "clicks", "ShardToMerge": "shardId-000000000001", "AdjacentShardToMerge": "shardId-000000000002",
    }));
    put_some(20);
    let shards = client.ok("ListShards", json!({ "StreamName": "clicks" }));
    assert_eq!(ids(&shards), [0, 1, 2, 3]);
    let [parent, lower, _, merged] = shards["Shards"].as_array().unwrap().as_slice() else { panic!("{shards}") };
    assert!(parent["SequenceNumberRange"]["EndingSequenceNumber"].is_string());
    assert_eq!(lower["ParentShardId"], FIRST);
    assert_eq!(merged["ParentShardId"], "shardId-000000000001");
    assert_eq!(merged["AdjacentParentShardId"], "shardId-000000000002");
    assert_eq!(merged["HashKeyRange"]["StartingHashKey"], "0");
    assert_eq!(merged["SequenceNumberRange"].get("EndingSequenceNumber"), None);
    let described = client.ok("DescribeStream", json!({ "StreamName": "clicks" }));
    assert_eq!(described["StreamDescription"]["Shards"], shards["Shards"]);
    let mut found: Vec<u32> = walk(client, "clicks").iter().map(|text| text.parse().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, (0..30).collect::<Vec<_>>());
    // Behind a closed shard's end there is nothing, and its end can be asked for.
    let end = &parent["SequenceNumberRange"]["EndingSequenceNumber"];
    let at_end = client.ok("GetShardIterator", json!({
        "StreamName": "clicks", "ShardId": FIRST, "ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": end,
    }));
    let got = client.ok("GetRecords", json!({ "ShardIterator": at_end["ShardIterator"] }));
    assert_eq!((&got["Records"], got.get("NextShardIterator")), (&json!([]), None));
    assert_eq!(got["ChildShards"].as_array().unwrap().len(), 2);
    assert_eq!(got["ChildShards"][1]["HashKeyRange"]["StartingHashKey"], HALF);
    assert_eq!(got["ChildShards"][1]["HashKeyRange"]["EndingHashKey"], u128::MAX.to_string());
}

pub fn shards_are_listed_by_every_filter(bench: &Bench) {
    let client = &bench.client;
    let seconds = || ManualClock::START_MS as f64 / 1000.0;
    create(bench, "clicks", 2);
    bench.wait(Duration::from_secs(100));
    client.ok("SplitShard", json!({ "StreamName": "clicks", "ShardToSplit": FIRST, "NewStartingHashKey": "1000" }));
    bench.wait(Duration::from_secs(100));
    let list = |filter: Value| ids(&client.ok("ListShards", json!({ "StreamName": "clicks", "ShardFilter": filter })));
    assert_eq!(list(json!({ "Type": "FROM_TRIM_HORIZON" })), [0, 1, 2, 3]);
    assert_eq!(list(json!({ "Type": "AT_TRIM_HORIZON" })), [0, 1]);
    assert_eq!(list(json!({ "Type": "AT_LATEST" })), [1, 2, 3]);
    assert_eq!(list(json!({ "Type": "AT_TIMESTAMP", "Timestamp": seconds() + 50.0 })), [0, 1]);
    assert_eq!(list(json!({ "Type": "FROM_TIMESTAMP", "Timestamp": seconds() + 150.0 })), [1, 2, 3]);
    assert_eq!(list(json!({ "Type": "AFTER_SHARD_ID", "ShardId": "shardId-000000000001" })), [2, 3]);
    let page = client.ok(
        "ListShards",
        json!({
            "StreamARN": ARN, "MaxResults": 2, "ShardFilter": { "Type": "FROM_TRIM_HORIZON" },
            "ExclusiveStartShardId": FIRST,
        }),
    );
    assert_eq!(ids(&page), [1, 2]);
    let token = &page["NextToken"];
    assert_eq!(ids(&client.ok("ListShards", json!({ "NextToken": token, "MaxResults": 2 }))), [3]);
    let created =
        client.ok("DescribeStream", json!({ "StreamName": "clicks" }))["StreamDescription"]["StreamCreationTimestamp"]
            .clone();
    let of_this = json!({ "StreamName": "clicks", "StreamCreationTimestamp": created });
    assert_eq!(ids(&client.ok("ListShards", of_this)), [0, 1, 2, 3]);
    for (code, input) in [
        ("InvalidArgumentException", json!({ "StreamName": "clicks", "NextToken": token })),
        ("InvalidArgumentException", json!({ "NextToken": "AAAA" })),
        ("InvalidArgumentException", json!({ "StreamName": "clicks", "ShardFilter": { "Type": "AFTER_SHARD_ID" } })),
        ("InvalidArgumentException", json!({ "StreamName": "clicks", "ShardFilter": { "Type": "AT_TIMESTAMP" } })),
        (
            "InvalidArgumentException",
            json!({
                "StreamName": "clicks", "ShardFilter": { "Type": "AT_LATEST", "ShardId": FIRST },
            }),
        ),
        (
            "InvalidArgumentException",
            json!({
                "StreamName": "clicks", "ShardFilter": { "Type": "AT_TIMESTAMP", "Timestamp": seconds() + 1e6 },
            }),
        ),
        ("ValidationException", json!({ "StreamName": "clicks", "ShardFilter": { "Type": "SOME" } })),
        ("ResourceNotFoundException", json!({ "StreamName": "clicks", "StreamCreationTimestamp": 1.0 })),
    ] {
        client.fails("ListShards", code, input);
    }
    bench.wait(Duration::from_secs(301));
    client.fails("ListShards", "ExpiredNextTokenException", json!({ "NextToken": token }));
}

pub fn a_stream_is_scaled(bench: &Bench) {
    let client = &bench.client;
    create(bench, "clicks", 2);
    let scale =
        |target: u32| json!({ "StreamName": "clicks", "TargetShardCount": target, "ScalingType": "UNIFORM_SCALING" });
    assert_eq!(
        client.ok("UpdateShardCount", scale(4)),
        json!({
            "StreamName": "clicks", "CurrentShardCount": 2, "TargetShardCount": 4, "StreamARN": ARN,
        })
    );
    let open = client.ok("ListShards", json!({ "StreamName": "clicks", "ShardFilter": { "Type": "AT_LATEST" } }));
    assert_eq!(open["Shards"].as_array().unwrap().len(), 4);
    client.ok("UpdateShardCount", scale(3));
    client.fails("UpdateShardCount", "LimitExceededException", scale(7));
    client.fails("UpdateShardCount", "LimitExceededException", scale(1));
    client.fails("UpdateShardCount", "LimitExceededException", scale(10_001));
    let of_none = json!({ "TargetShardCount": 4, "ScalingType": "UNIFORM_SCALING" });
    client.fails("UpdateShardCount", "InvalidArgumentException", of_none);
    let odd = json!({ "StreamName": "clicks", "TargetShardCount": 4, "ScalingType": "ODD" });
    client.fails("UpdateShardCount", "ValidationException", odd);
    client.ok("UpdateStreamMode", json!({ "StreamARN": ARN, "StreamModeDetails": { "StreamMode": "ON_DEMAND" } }));
    let refused = client.fails("UpdateShardCount", "ValidationException", scale(6));
    assert_eq!(refused.message, "Request is invalid. Stream clicks under account 000000000000 is in On-Demand mode.");
}

pub fn a_stream_is_scaled_ten_times_a_day(bench: &Bench) {
    let client = &bench.client;
    create(bench, "clicks", 1);
    let scale =
        |target: u32| json!({ "StreamName": "clicks", "TargetShardCount": target, "ScalingType": "UNIFORM_SCALING" });
    for at in 0..10 {
        client.ok("UpdateShardCount", scale(1 + (at + 1) % 2));
    }
    let refused = client.fails("UpdateShardCount", "LimitExceededException", scale(2));
    assert!(refused.message.contains("10 times within 24 hours"), "{}", refused.message);
    bench.wait(Duration::from_secs(24 * 3600));
    client.ok("UpdateShardCount", scale(2));
}

pub fn what_a_reshard_can_not_do_is_refused(bench: &Bench) {
    let client = &bench.client;
    create(bench, "clicks", 3);
    for (code, id, at) in [
        ("InvalidArgumentException", FIRST, "0"),
        ("InvalidArgumentException", FIRST, HALF),
        ("InvalidArgumentException", FIRST, &"9".repeat(39)),
        ("ValidationException", FIRST, "x"),
        ("ResourceNotFoundException", "shardId-000000000077", "7"),
    ] {
        let input = json!({ "StreamName": "clicks", "ShardToSplit": id, "NewStartingHashKey": at });
        client.fails("SplitShard", code, input);
    }
    let merge = |a: &str, b: &str| json!({ "StreamName": "clicks", "ShardToMerge": a, "AdjacentShardToMerge": b });
    client.fails("MergeShards", "InvalidArgumentException", merge(FIRST, "shardId-000000000002"));
    client.fails("MergeShards", "InvalidArgumentException", merge(FIRST, FIRST));
    client.fails("MergeShards", "ResourceNotFoundException", merge(FIRST, "shardId-000000000077"));
    let split = json!({ "StreamName": "clicks", "ShardToSplit": FIRST, "NewStartingHashKey": "1000" });
    client.ok("SplitShard", split.clone());
    client.fails("SplitShard", "InvalidArgumentException", split);
    client.fails("MergeShards", "InvalidArgumentException", merge(FIRST, "shardId-000000000001"));
    create(bench, "many", 36);
    let split = |shard: u32| json!({ "StreamName": "clicks", "ShardToSplit": format!("shardId-{shard:012}"), "NewStartingHashKey": "2000" });
    client.fails("SplitShard", "LimitExceededException", split(4));
    client.ok("UpdateStreamMode", json!({ "StreamARN": ARN, "StreamModeDetails": { "StreamMode": "ON_DEMAND" } }));
    client.fails("SplitShard", "ValidationException", split(4));
    client.fails("MergeShards", "ValidationException", merge("shardId-000000000003", "shardId-000000000004"));
}

pub fn consumers_are_registered_listed_and_removed(bench: &Bench) {
    let client = &bench.client;
    create(bench, "clicks", 1);
    let register = |name: &str| {
        client.ok("RegisterStreamConsumer", json!({ "StreamARN": ARN, "ConsumerName": name }))["Consumer"].clone()
    };
    let a = register("a");
    assert_eq!((&a["ConsumerName"], &a["ConsumerStatus"]), (&json!("a"), &json!("CREATING")));
    assert!(a["ConsumerARN"].as_str().unwrap().starts_with(&format!("{ARN}/consumer/a:")));
    client.fails("RegisterStreamConsumer", "ResourceInUseException", json!({ "StreamARN": ARN, "ConsumerName": "a" }));
    let by_arn = client.ok("DescribeStreamConsumer", json!({ "ConsumerARN": a["ConsumerARN"] }));
    let by_name = client.ok(
        "DescribeStreamConsumer",
        json!({
            "StreamARN": ARN, "ConsumerName": "a", "StreamId": "abcdefghijklmnopqrst-abc",
        }),
    );
    assert_eq!(by_arn, by_name);
    assert_eq!(by_arn["ConsumerDescription"]["ConsumerStatus"], "ACTIVE");
    assert_eq!(by_arn["ConsumerDescription"]["StreamARN"], ARN);
    register("b");
    register("c");
    let created =
        client.ok("DescribeStream", json!({ "StreamName": "clicks" }))["StreamDescription"]["StreamCreationTimestamp"]
            .clone();
    let page = client.ok("ListStreamConsumers", json!({
        "StreamARN": ARN, "MaxResults": 2, "StreamCreationTimestamp": created, "StreamId": "abcdefghijklmnopqrst-abc",
    }));
    let names = |page: &Value| {
        page["Consumers"].as_array().unwrap().iter().map(|one| one["ConsumerName"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&page), ["a", "b"]);
    let rest = client.ok("ListStreamConsumers", json!({ "StreamARN": ARN, "NextToken": page["NextToken"] }));
    assert_eq!((names(&rest), rest.get("NextToken")), (vec![json!("c")], None));
    client.fails("ListStreamConsumers", "InvalidArgumentException", json!({ "StreamARN": ARN, "NextToken": "AAAA" }));
    client.ok(
        "DeregisterStreamConsumer",
        json!({
            "StreamARN": ARN, "ConsumerName": "b", "StreamId": "abcdefghijklmnopqrst-abc",
        }),
    );
    client.ok("DeregisterStreamConsumer", json!({ "ConsumerARN": a["ConsumerARN"] }));
    for operation in ["DescribeStreamConsumer", "DeregisterStreamConsumer"] {
        client.fails(operation, "ResourceNotFoundException", json!({ "ConsumerARN": a["ConsumerARN"] }));
        client.fails(operation, "ResourceNotFoundException", json!({ "StreamARN": ARN, "ConsumerName": "b" }));
        client.fails(operation, "InvalidArgumentException", json!({ "StreamARN": ARN }));
        client.fails(operation, "ValidationException", json!({ "ConsumerARN": "a" }));
    }
    // One of the same name is another one.
    assert_ne!(register("a")["ConsumerARN"], a["ConsumerARN"]);
    for i in 0..18 {
        register(&format!("more{i}"));
    }
    client.fails("RegisterStreamConsumer", "LimitExceededException", json!({ "StreamARN": ARN, "ConsumerName": "x" }));
    bench.wait(Duration::from_secs(301));
    let expired = json!({ "StreamARN": ARN, "NextToken": page["NextToken"] });
    client.fails("ListStreamConsumers", "ExpiredNextTokenException", expired);
}

fn consumer(client: &Client, name: &str) -> String {
    let registered = client.ok("RegisterStreamConsumer", json!({ "StreamARN": ARN, "ConsumerName": name }));
    registered["Consumer"]["ConsumerARN"].as_str().unwrap().to_owned()
}

pub fn a_subscription_pushes_records_and_ends_with_the_shard(bench: &Bench) {
    let client = &bench.client;
    create(bench, "clicks", 1);
    let arn = consumer(client, "reader");
    let before = put(client, "clicks", "a", "before");
    client.ok("StartStreamEncryption", json!({ "StreamName": "clicks", "EncryptionType": "KMS", "KeyId": "k" }));
    let mut events = client.subscribe(json!({
        "ConsumerARN": arn, "ShardId": FIRST, "StreamId": "abcdefghijklmnopqrst-abc",
        "StartingPosition": { "Type": "AT_SEQUENCE_NUMBER", "SequenceNumber": before["SequenceNumber"] },
    }));
    assert_eq!(events.next(), Some(("initial-response".to_owned(), json!({}))));
    let event = events.next_event();
    assert_eq!(texts(&event), ["before"]);
    assert_eq!((&event["Records"][0]["PartitionKey"], &event["MillisBehindLatest"]), (&json!("a"), &json!(0)));
    let resumes = event["ContinuationSequenceNumber"].as_str().unwrap().to_owned();
    put(client, "clicks", "a", "while it listens");
    assert_eq!(texts(&events.next_event()), ["while it listens"]);
    client.ok("SplitShard", json!({ "StreamName": "clicks", "ShardToSplit": FIRST, "NewStartingHashKey": HALF }));
    // By the number that is missing clients know that the shard is at its end.
    let last = events.next_event();
    assert_eq!((&last["ContinuationSequenceNumber"], texts(&last).len()), (&Value::Null, 0));
    assert_eq!(last["ChildShards"].as_array().unwrap().len(), 2);
    assert_eq!(last["ChildShards"][0]["ParentShards"], json!([FIRST]));
    assert_eq!(last["ChildShards"][0]["HashKeyRange"]["StartingHashKey"], "0");
    assert_eq!(events.next(), None);
    // From where an event left off, and from a time, once the first one is five seconds old.
    bench.wait(Duration::from_secs(5));
    let position = json!({ "Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": resumes });
    let mut again = client.subscribe(json!({ "ConsumerARN": arn, "ShardId": FIRST, "StartingPosition": position }));
    assert_eq!(texts(&again.next_event()), ["while it listens"]);
    bench.wait(Duration::from_secs(5));
    let at = ManualClock::START_MS as f64 / 1000.0;
    let position = json!({ "Type": "AT_TIMESTAMP", "Timestamp": at });
    let mut again = client.subscribe(json!({ "ConsumerARN": arn, "ShardId": FIRST, "StartingPosition": position }));
    // The last records come with a number to go on from, and before the end.
    let event = again.next_event();
    assert_eq!(texts(&event), ["before", "while it listens"]);
    assert!(event["ContinuationSequenceNumber"].is_string() && event["ChildShards"].is_null(), "{event}");
    let last = again.next_event();
    assert!(last["ContinuationSequenceNumber"].is_null() && last["ChildShards"].is_array(), "{last}");
    assert_eq!(again.next(), None);
}

pub fn a_subscription_is_taken_over(bench: &Bench) {
    let client = &bench.client;
    create(bench, "clicks", 1);
    let arn = consumer(client, "reader");
    let input = |position: Value| json!({ "ConsumerARN": arn, "ShardId": FIRST, "StartingPosition": position });
    let latest = input(json!({ "Type": "LATEST" }));
    let mut first = client.subscribe(latest.clone());
    first.next();
    client.fails("SubscribeToShard", "ResourceInUseException", latest.clone());
    bench.wait(Duration::from_secs(5));
    let mut second = client.subscribe(latest.clone());
    second.next();
    let (kind, told) = loop {
        let message = first.next().expect("a reason");
        if message.0 != "SubscribeToShardEvent" {
            break message;
        }
    };
    assert_eq!(kind, "ResourceInUseException");
    assert!(told["message"].as_str().unwrap().contains("took over"), "{told}");
    assert_eq!(first.next(), None);
    put(client, "clicks", "a", "to the second");
    assert_eq!(texts(&second.next_event()), ["to the second"]);
    for (code, input) in [
        ("ValidationException", json!({ "ConsumerARN": arn, "ShardId": FIRST })),
        ("InvalidArgumentException", input(json!({ "Type": "AT_SEQUENCE_NUMBER" }))),
        (
            "ResourceNotFoundException",
            json!({
                "ConsumerARN": arn, "ShardId": "shardId-000000000009", "StartingPosition": { "Type": "LATEST" },
            }),
        ),
        (
            "ResourceNotFoundException",
            json!({
                "ConsumerARN": format!("{ARN}/consumer/nobody:1"), "ShardId": FIRST, "StartingPosition": { "Type": "LATEST" },
            }),
        ),
    ] {
        client.fails("SubscribeToShard", code, input);
    }
    let mut dry = latest;
    dry["DryRun"] = json!(true);
    client.fails("SubscribeToShard", "DryRunOperationException", dry);
}
