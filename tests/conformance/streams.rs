//! Streams as a whole.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{Bench, TRANSITION_TIME};

pub const ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/clicks";

pub fn create(bench: &Bench, name: &str, shards: u32) {
    bench.client.ok("CreateStream", json!({ "StreamName": name, "ShardCount": shards }));
}

pub fn a_stream_is_created_described_listed_and_deleted(bench: &Bench) {
    let client = &bench.client;
    let input = json!({
        "StreamName": "clicks", "ShardCount": 2, "StreamModeDetails": { "StreamMode": "PROVISIONED" },
        "Tags": { "team": "web" }, "MaxRecordSizeInKiB": 2048,
    });
    assert_eq!(client.ok("CreateStream", input), Value::Null);
    let description = &client.ok("DescribeStream", json!({ "StreamName": "clicks", "Limit": 1 }))["StreamDescription"];
    assert_eq!(description["StreamARN"], ARN);
    assert_eq!(description["StreamStatus"], "ACTIVE");
    assert_eq!(description["StreamModeDetails"]["StreamMode"], "PROVISIONED");
    assert_eq!((&description["RetentionPeriodHours"], &description["EncryptionType"]), (&json!(24), &json!("NONE")));
    assert_eq!((description["Shards"].as_array().unwrap().len(), &description["HasMoreShards"]), (1, &json!(true)));
    assert_eq!(description["Shards"][0]["HashKeyRange"]["EndingHashKey"], "170141183460469231731687303715884105727");
    let number = description["Shards"][0]["SequenceNumberRange"]["StartingSequenceNumber"].as_str().unwrap();
    assert!(number.starts_with("49") && number.len() == 56, "{number}");
    assert!(description["StreamCreationTimestamp"].as_f64().unwrap() > 1.7e9);
    let rest =
        client.ok("DescribeStream", json!({ "StreamARN": ARN, "ExclusiveStartShardId": "shardId-000000000000" }));
    assert_eq!(rest["StreamDescription"]["Shards"][0]["ShardId"], "shardId-000000000001");
    assert_eq!(rest["StreamDescription"]["HasMoreShards"], false);
    let summary = client.ok("DescribeStreamSummary", json!({ "StreamName": "clicks" }));
    let summary = &summary["StreamDescriptionSummary"];
    assert_eq!((&summary["OpenShardCount"], &summary["ConsumerCount"]), (&json!(2), &json!(0)));
    assert_eq!(summary["MaxRecordSizeInKiB"], 2048);
    assert_eq!(summary["RecordDistributionStrategy"], "USER_PARTITION_KEY");
    let listed = client.ok("ListStreams", json!({}));
    assert_eq!((&listed["StreamNames"], &listed["HasMoreStreams"]), (&json!(["clicks"]), &json!(false)));
    client.fails("CreateStream", "ResourceInUseException", json!({ "StreamName": "clicks", "ShardCount": 1 }));
    assert_eq!(client.ok("DeleteStream", json!({ "StreamName": "clicks" })), Value::Null);
    let gone = client.fails("DescribeStream", "ResourceNotFoundException", json!({ "StreamName": "clicks" }));
    assert_eq!(gone.message, "Stream clicks under account 000000000000 not found.");
    client.fails("DeleteStream", "ResourceNotFoundException", json!({ "StreamName": "clicks" }));
}

pub fn streams_are_listed_page_by_page(bench: &Bench) {
    let client = &bench.client;
    for name in ["a", "b", "c", "d", "e"] {
        create(bench, name, 1);
    }
    let first = client.ok("ListStreams", json!({ "Limit": 2 }));
    assert_eq!((&first["StreamNames"], &first["HasMoreStreams"]), (&json!(["a", "b"]), &json!(true)));
    assert_eq!(first["StreamSummaries"][1]["StreamName"], "b");
    let token = &first["NextToken"];
    let second = client.ok("ListStreams", json!({ "NextToken": token, "Limit": 2 }));
    assert_eq!(second["StreamNames"], json!(["c", "d"]));
    let last = client.ok("ListStreams", json!({ "ExclusiveStartStreamName": "d" }));
    assert_eq!((&last["StreamNames"], &last["HasMoreStreams"]), (&json!(["e"]), &json!(false)));
    assert_eq!(last.get("NextToken"), None);
    client.fails("ListStreams", "InvalidArgumentException", json!({ "NextToken": "AAAA" }));
    bench.wait(Duration::from_secs(301));
    client.fails("ListStreams", "ExpiredNextTokenException", json!({ "NextToken": token }));
}

pub fn a_stream_is_named_by_name_or_arn(bench: &Bench) {
    let client = &bench.client;
    create(bench, "clicks", 1);
    let id = "abcdefghijklmnopqrst-abc";
    let neither = ["DescribeStream", "DescribeStreamSummary", "DeleteStream", "ListShards", "ListTagsForStream"];
    for operation in neither {
        client.fails(operation, "InvalidArgumentException", json!({}));
        client.fails(operation, "InvalidArgumentException", json!({ "StreamName": "other", "StreamARN": ARN }));
        let elsewhere = "arn:aws:kinesis:eu-west-1:000000000000:stream/clicks";
        client.fails(operation, "InvalidArgumentException", json!({ "StreamARN": elsewhere }));
        client.fails(operation, "ResourceNotFoundException", json!({ "StreamName": "other" }));
    }
    for operation in ["DescribeStream", "DescribeStreamSummary", "ListShards", "ListTagsForStream"] {
        client.ok(operation, json!({ "StreamName": "clicks", "StreamARN": ARN, "StreamId": id }));
    }
    // Each operation that takes a stream finds it by its ARN, and says when it is not there.
    let others = [
        ("AddTagsToStream", json!({ "Tags": { "a": "1" } })),
        ("RemoveTagsFromStream", json!({ "TagKeys": ["a"] })),
        ("IncreaseStreamRetentionPeriod", json!({ "RetentionPeriodHours": 48 })),
        ("DecreaseStreamRetentionPeriod", json!({ "RetentionPeriodHours": 24 })),
        ("EnableEnhancedMonitoring", json!({ "ShardLevelMetrics": ["ALL"] })),
        ("DisableEnhancedMonitoring", json!({ "ShardLevelMetrics": ["ALL"] })),
        ("StartStreamEncryption", json!({ "EncryptionType": "KMS", "KeyId": "alias/aws/kinesis" })),
        ("StopStreamEncryption", json!({ "EncryptionType": "KMS", "KeyId": "alias/aws/kinesis" })),
        ("PutRecord", json!({ "Data": "", "PartitionKey": "a" })),
        ("PutRecords", json!({ "Records": [{ "Data": "", "PartitionKey": "a" }] })),
        ("GetShardIterator", json!({ "ShardId": "shardId-000000000000", "ShardIteratorType": "LATEST" })),
        ("UpdateShardCount", json!({ "TargetShardCount": 2, "ScalingType": "UNIFORM_SCALING" })),
        (
            "MergeShards",
            json!({
                "ShardToMerge": "shardId-000000000001", "AdjacentShardToMerge": "shardId-000000000002",
            }),
        ),
        ("SplitShard", json!({ "ShardToSplit": "shardId-000000000003", "NewStartingHashKey": "1000" })),
        ("DeleteStream", json!({})),
    ];
    for (operation, mut input) in others {
        input["StreamName"] = json!("missing");
        client.fails(operation, "ResourceNotFoundException", input.clone());
        input["StreamName"] = json!("clicks");
        input["StreamARN"] = json!(ARN);
        input["StreamId"] = json!(id);
        client.ok(operation, input);
    }
    for (operation, mut input) in [
        ("UpdateMaxRecordSize", json!({ "MaxRecordSizeInKiB": 1024 })),
        ("UpdateStreamMode", json!({ "StreamModeDetails": { "StreamMode": "ON_DEMAND" } })),
        ("UpdateStreamRecordDistributionStrategy", json!({ "RecordDistributionStrategy": "AUTO" })),
        ("UpdateStreamWarmThroughput", json!({ "WarmThroughputMiBps": 8 })),
        ("RegisterStreamConsumer", json!({ "ConsumerName": "a" })),
        ("ListStreamConsumers", json!({})),
        ("DescribeStreamConsumer", json!({ "ConsumerName": "a" })),
        ("DeregisterStreamConsumer", json!({ "ConsumerName": "a" })),
    ] {
        input["StreamARN"] = json!(ARN);
        input["StreamId"] = json!(id);
        client.fails(operation, "ResourceNotFoundException", input);
    }
}

pub fn accounts_have_streams_of_their_own(bench: &Bench) {
    let (client, other) = (&bench.client, bench.client.of_account("111122223333"));
    create(bench, "clicks", 1);
    assert_eq!(other.ok("ListStreams", json!({}))["StreamNames"], json!([]));
    let gone = other.fails("DescribeStream", "ResourceNotFoundException", json!({ "StreamName": "clicks" }));
    assert_eq!(gone.message, "Stream clicks under account 111122223333 not found.");
    other.ok("CreateStream", json!({ "StreamName": "clicks", "ShardCount": 3 }));
    let described = other.ok("DescribeStreamSummary", json!({ "StreamName": "clicks" }));
    let arn = &described["StreamDescriptionSummary"]["StreamARN"];
    assert_eq!(*arn, "arn:aws:kinesis:us-east-1:111122223333:stream/clicks");
    client.fails("DescribeStream", "InvalidArgumentException", json!({ "StreamARN": arn }));
    // Positions and tokens of one account say nothing to another.
    let input = json!({ "StreamName": "clicks", "ShardId": "shardId-000000000000", "ShardIteratorType": "LATEST" });
    let iterator = other.ok("GetShardIterator", input);
    client.fails("GetRecords", "InvalidArgumentException", json!({ "ShardIterator": iterator["ShardIterator"] }));
    other.ok("DeleteStream", json!({ "StreamName": "clicks" }));
    assert_eq!(client.ok("ListStreams", json!({}))["StreamNames"], json!(["clicks"]));
}

pub fn retention_goes_up_and_down(bench: &Bench) {
    let client = &bench.client;
    create(bench, "clicks", 1);
    let hours = || {
        client.ok("DescribeStream", json!({ "StreamName": "clicks" }))["StreamDescription"]["RetentionPeriodHours"]
            .clone()
    };
    client.ok("IncreaseStreamRetentionPeriod", json!({ "StreamName": "clicks", "RetentionPeriodHours": 8760 }));
    assert_eq!(hours(), 8760);
    let less = json!({ "StreamName": "clicks", "RetentionPeriodHours": 48 });
    client.fails("IncreaseStreamRetentionPeriod", "InvalidArgumentException", less.clone());
    client.ok("DecreaseStreamRetentionPeriod", less);
    assert_eq!(hours(), 48);
    // By the model it must be more than it is, or less.
    for operation in ["IncreaseStreamRetentionPeriod", "DecreaseStreamRetentionPeriod"] {
        let same = json!({ "StreamName": "clicks", "RetentionPeriodHours": 48 });
        let refused = client.fails(operation, "InvalidArgumentException", same);
        assert!(refused.message.contains("than it is now, 48"), "{}", refused.message);
    }
    for beyond in [0, 23, -1, 8761] {
        let input = json!({ "StreamName": "clicks", "RetentionPeriodHours": beyond });
        client.fails("DecreaseStreamRetentionPeriod", "InvalidArgumentException", input.clone());
        client.fails("IncreaseStreamRetentionPeriod", "InvalidArgumentException", input);
    }
}

pub fn the_mode_and_what_belongs_to_it_change(bench: &Bench) {
    let client = &bench.client;
    client.ok(
        "CreateStream",
        json!({
            "StreamName": "clicks", "StreamModeDetails": { "StreamMode": "ON_DEMAND" }, "WarmThroughputMiBps": 4,
            "RecordDistributionStrategy": "AUTO",
        }),
    );
    let summary =
        || client.ok("DescribeStreamSummary", json!({ "StreamARN": ARN }))["StreamDescriptionSummary"].clone();
    assert_eq!(summary()["StreamModeDetails"]["StreamMode"], "ON_DEMAND");
    assert_eq!(summary()["WarmThroughput"], json!({ "TargetMiBps": 4, "CurrentMiBps": 4 }));
    assert_eq!(summary()["RecordDistributionStrategy"], "AUTO");
    // Records may come without keys: it stays on-demand until they don't.
    let provisioned = json!({ "StreamARN": ARN, "StreamModeDetails": { "StreamMode": "PROVISIONED" } });
    client.fails("UpdateStreamMode", "InvalidArgumentException", provisioned.clone());
    assert_eq!(summary()["StreamModeDetails"]["StreamMode"], "ON_DEMAND");
    let by_key = json!({ "StreamARN": ARN, "RecordDistributionStrategy": "USER_PARTITION_KEY" });
    assert_eq!(client.ok("UpdateStreamRecordDistributionStrategy", by_key), Value::Null);
    assert_eq!(summary()["RecordDistributionStrategy"], "USER_PARTITION_KEY");
    let warm = client.ok("UpdateStreamWarmThroughput", json!({ "StreamName": "clicks", "WarmThroughputMiBps": 8 }));
    assert_eq!(
        warm,
        json!({
            "StreamARN": ARN, "StreamName": "clicks", "WarmThroughput": { "TargetMiBps": 8, "CurrentMiBps": 8 },
        })
    );
    client.ok("UpdateMaxRecordSize", json!({ "StreamARN": ARN, "MaxRecordSizeInKiB": 10240 }));
    assert_eq!(summary()["MaxRecordSizeInKiB"], 10240);
    client.ok("UpdateStreamMode", provisioned.clone());
    assert_eq!(summary()["StreamModeDetails"]["StreamMode"], "PROVISIONED");
    let auto = json!({ "StreamARN": ARN, "RecordDistributionStrategy": "AUTO" });
    client.fails("UpdateStreamRecordDistributionStrategy", "InvalidArgumentException", auto);
    let warm = json!({ "StreamARN": ARN, "WarmThroughputMiBps": 8 });
    client.fails("UpdateStreamWarmThroughput", "InvalidArgumentException", warm);
    let mut both = provisioned;
    both["WarmThroughputMiBps"] = json!(8);
    client.fails("UpdateStreamMode", "InvalidArgumentException", both);
    client.ok(
        "UpdateStreamMode",
        json!({
            "StreamARN": ARN, "StreamModeDetails": { "StreamMode": "ON_DEMAND" }, "WarmThroughputMiBps": 16,
        }),
    );
    assert_eq!(summary()["WarmThroughput"]["TargetMiBps"], 16);
    for operation in ["UpdateMaxRecordSize", "UpdateStreamWarmThroughput"] {
        client.fails(
            operation,
            "InvalidArgumentException",
            match operation {
                "UpdateMaxRecordSize" => json!({ "MaxRecordSizeInKiB": 1024 }),
                _ => json!({ "WarmThroughputMiBps": 8 }),
            },
        );
    }
}

pub fn metrics_are_switched_on_and_off(bench: &Bench) {
    let client = &bench.client;
    create(bench, "clicks", 1);
    let some = json!({ "StreamName": "clicks", "ShardLevelMetrics": ["IncomingBytes", "OutgoingBytes"] });
    let on = client.ok("EnableEnhancedMonitoring", some);
    assert_eq!(
        on,
        json!({
            "StreamName": "clicks", "CurrentShardLevelMetrics": [],
            "DesiredShardLevelMetrics": ["IncomingBytes", "OutgoingBytes"], "StreamARN": ARN,
        })
    );
    let off = json!({ "StreamName": "clicks", "ShardLevelMetrics": ["OutgoingBytes"] });
    assert_eq!(client.ok("DisableEnhancedMonitoring", off)["DesiredShardLevelMetrics"], json!(["IncomingBytes"]));
    let described = client.ok("DescribeStream", json!({ "StreamName": "clicks" }));
    let monitoring = &described["StreamDescription"]["EnhancedMonitoring"];
    assert_eq!(*monitoring, json!([{ "ShardLevelMetrics": ["IncomingBytes"] }]));
    let unknown = json!({ "StreamName": "clicks", "ShardLevelMetrics": ["Temperature"] });
    client.fails("EnableEnhancedMonitoring", "ValidationException", unknown);
}

pub fn an_encryption_key_is_kept(bench: &Bench) {
    let client = &bench.client;
    create(bench, "clicks", 1);
    let key = json!({ "StreamName": "clicks", "EncryptionType": "KMS", "KeyId": "alias/mine" });
    client.ok("StartStreamEncryption", key.clone());
    for operation in ["DescribeStream", "DescribeStreamSummary"] {
        let described = client.ok(operation, json!({ "StreamName": "clicks" }));
        let (_, described) = described.as_object().unwrap().iter().next().unwrap();
        assert_eq!((&described["EncryptionType"], &described["KeyId"]), (&json!("KMS"), &json!("alias/mine")));
    }
    let put = client.ok("PutRecord", json!({ "StreamName": "clicks", "Data": "", "PartitionKey": "a" }));
    assert_eq!(put["EncryptionType"], "KMS");
    let puts = json!({ "StreamName": "clicks", "Records": [{ "Data": "", "PartitionKey": "a" }] });
    assert_eq!(client.ok("PutRecords", puts)["EncryptionType"], "KMS");
    let none = json!({ "StreamName": "clicks", "EncryptionType": "NONE", "KeyId": "alias/mine" });
    client.fails("StartStreamEncryption", "InvalidArgumentException", none.clone());
    client.fails("StopStreamEncryption", "InvalidArgumentException", none);
    client.ok("StopStreamEncryption", key.clone());
    (1..25).for_each(|_| drop(client.ok("StopStreamEncryption", key.clone())));
    client.fails("StopStreamEncryption", "LimitExceededException", key.clone());
    (1..25).for_each(|_| drop(client.ok("StartStreamEncryption", key.clone())));
    client.fails("StartStreamEncryption", "LimitExceededException", key);
    let described = client.ok("DescribeStream", json!({ "StreamName": "clicks" }));
    assert_eq!(described["StreamDescription"]["EncryptionType"], "KMS");
}

pub fn tags_of_a_stream(bench: &Bench) {
    let client = &bench.client;
    create(bench, "clicks", 1);
    client.ok("AddTagsToStream", json!({ "StreamName": "clicks", "Tags": { "a": "1", "b": "", "c": "3" } }));
    let page = client.ok("ListTagsForStream", json!({ "StreamName": "clicks", "Limit": 2 }));
    assert_eq!(
        page,
        json!({
            "Tags": [{ "Key": "a", "Value": "1" }, { "Key": "b", "Value": "" }], "HasMoreTags": true,
        })
    );
    let rest = client.ok("ListTagsForStream", json!({ "StreamName": "clicks", "ExclusiveStartTagKey": "b" }));
    assert_eq!(rest, json!({ "Tags": [{ "Key": "c", "Value": "3" }], "HasMoreTags": false }));
    client.ok("RemoveTagsFromStream", json!({ "StreamName": "clicks", "TagKeys": ["a", "zzz"] }));
    let left = client.ok("ListTagsForStream", json!({ "StreamName": "clicks" }));
    assert_eq!(left["Tags"].as_array().unwrap().len(), 2);
    let many: serde_json::Map<String, Value> = (0..51).map(|i| (format!("t{i}"), json!("x"))).collect();
    client.fails("AddTagsToStream", "InvalidArgumentException", json!({ "StreamName": "clicks", "Tags": many }));
    client.fails("AddTagsToStream", "ValidationException", json!({ "StreamName": "clicks", "Tags": {} }));
}

pub fn tags_and_policies_of_streams_and_consumers(bench: &Bench) {
    let client = &bench.client;
    create(bench, "clicks", 1);
    let consumer = client.ok(
        "RegisterStreamConsumer",
        json!({
            "StreamARN": ARN, "ConsumerName": "reader", "Tags": { "a": "0" },
        }),
    );
    let consumer = consumer["Consumer"]["ConsumerARN"].as_str().unwrap().to_owned();
    let id = "abcdefghijklmnopqrst-abc";
    for arn in [ARN, &consumer] {
        client.ok("TagResource", json!({ "ResourceARN": arn, "Tags": { "a": "1", "b": "2" }, "StreamId": id }));
        client.ok("UntagResource", json!({ "ResourceARN": arn, "TagKeys": ["b"], "StreamId": id }));
        let tags = client.ok("ListTagsForResource", json!({ "ResourceARN": arn, "StreamId": id }));
        assert_eq!(tags, json!({ "Tags": [{ "Key": "a", "Value": "1" }] }));
        client.fails("DeleteResourcePolicy", "ResourceNotFoundException", json!({ "ResourceARN": arn }));
        let policy = r#"{"Version":"2012-10-17","Statement":[]}"#;
        client.ok("PutResourcePolicy", json!({ "ResourceARN": arn, "Policy": policy, "StreamId": id }));
        let got = client.ok("GetResourcePolicy", json!({ "ResourceARN": arn, "StreamId": id }));
        assert_eq!(got, json!({ "Policy": policy }));
        client.ok("DeleteResourcePolicy", json!({ "ResourceARN": arn, "StreamId": id }));
        assert_eq!(client.ok("GetResourcePolicy", json!({ "ResourceARN": arn }))["Policy"], "");
        for no_policy in ["", "x", "[]", "7"] {
            let input = json!({ "ResourceARN": arn, "Policy": no_policy });
            client.fails("PutResourcePolicy", "InvalidArgumentException", input);
        }
    }
    let missing = "arn:aws:kinesis:us-east-1:000000000000:stream/missing";
    let queue = "arn:aws:kinesis:us-east-1:000000000000:queue/q";
    for (operation, more) in [
        ("TagResource", json!({ "Tags": { "a": "1" } })),
        ("UntagResource", json!({ "TagKeys": ["a"] })),
        ("ListTagsForResource", json!({})),
        ("PutResourcePolicy", json!({ "Policy": "{}" })),
        ("GetResourcePolicy", json!({})),
        ("DeleteResourcePolicy", json!({})),
    ] {
        let mut input = more;
        input["ResourceARN"] = json!(missing);
        client.fails(operation, "ResourceNotFoundException", input.clone());
        input["ResourceARN"] = json!(queue);
        client.fails(operation, "InvalidArgumentException", input.clone());
        input["ResourceARN"] = json!("clicks");
        client.fails(operation, "ValidationException", input);
    }
}

pub fn limits_and_settings_of_the_account(bench: &Bench) {
    let client = &bench.client;
    create(bench, "clicks", 3);
    client.ok("CreateStream", json!({ "StreamName": "b", "StreamModeDetails": { "StreamMode": "ON_DEMAND" } }));
    let limits = client.ok("DescribeLimits", json!({}));
    assert_eq!((&limits["ShardLimit"], &limits["OnDemandStreamCount"]), (&json!(40), &json!(1)));
    assert_eq!(limits["OpenShardCount"], 7);
    let too_many = json!({ "StreamName": "c", "ShardCount": 40 });
    client.fails("CreateStream", "LimitExceededException", too_many);
    let status = json!({ "MinimumThroughputBillingCommitment": { "Status": "DISABLED" } });
    assert_eq!(client.ok("DescribeAccountSettings", json!({})), status);
    assert_eq!(client.ok("UpdateAccountSettings", status.clone()), status);
    let enabled = json!({ "MinimumThroughputBillingCommitment": { "Status": "ENABLED" } });
    client.fails("UpdateAccountSettings", "InvalidArgumentException", enabled);
    client.fails("UpdateAccountSettings", "ValidationException", json!({}));
}

pub fn what_a_stream_can_not_be_is_refused(bench: &Bench) {
    let client = &bench.client;
    for name in ["", "a b", "ä", &"x".repeat(129)] {
        client.fails("CreateStream", "ValidationException", json!({ "StreamName": name, "ShardCount": 1 }));
    }
    for (code, input) in [
        ("ValidationException", json!({ "ShardCount": 1 })),
        ("ValidationException", json!({ "StreamName": "a", "ShardCount": 0 })),
        ("ValidationException", json!({ "StreamName": "a", "ShardCount": 1, "MaxRecordSizeInKiB": 1023 })),
        ("ValidationException", json!({ "StreamName": "a", "StreamModeDetails": {} })),
        ("InvalidArgumentException", json!({ "StreamName": "a" })),
        (
            "InvalidArgumentException",
            json!({ "StreamName": "a", "ShardCount": 1, "RecordDistributionStrategy": "AUTO" }),
        ),
        ("LimitExceededException", json!({ "StreamName": "a", "ShardCount": 10_001 })),
        ("InvalidArgumentException", json!({ "StreamName": "a", "ShardCount": 1, "WarmThroughputMiBps": 1 })),
        ("ValidationException", json!({ "StreamName": "a", "ShardCount": 1, "Colour": "red" })),
        ("SerializationException", json!({ "StreamName": 7, "ShardCount": 1 })),
        ("SerializationException", json!({ "StreamName": "a", "ShardCount": "1" })),
    ] {
        client.fails("CreateStream", code, input);
    }
    assert_eq!(client.ok("ListStreams", json!({}))["StreamNames"], json!([]));
    create(bench, "busy", 1);
    client.ok(
        "RegisterStreamConsumer",
        json!({
            "StreamARN": "arn:aws:kinesis:us-east-1:000000000000:stream/busy", "ConsumerName": "a",
        }),
    );
    client.fails("DeleteStream", "ResourceInUseException", json!({ "StreamName": "busy" }));
    client.ok("DeleteStream", json!({ "StreamName": "busy", "EnforceConsumerDeletion": true }));
}

pub fn the_status_of_a_stream_passes_as_by_the_service(bench: &Bench) {
    let client = &bench.client;
    let status_is = |status: &str| {
        let description = client.ok("DescribeStream", json!({ "StreamName": "clicks" }));
        assert_eq!(description["StreamDescription"]["StreamStatus"], status);
        let summary = client.ok("DescribeStreamSummary", json!({ "StreamName": "clicks" }));
        assert_eq!(summary["StreamDescriptionSummary"]["StreamStatus"], status);
        let listed = client.ok("ListStreams", json!({}));
        let listed = listed["StreamSummaries"].as_array().unwrap().iter().find(|one| one["StreamName"] == "clicks");
        assert_eq!(listed.unwrap()["StreamStatus"], status);
        description["StreamDescription"]["Shards"].as_array().unwrap().len()
    };
    // What the service does to active streams only.
    let refused = |status: &str| {
        for (operation, mut input) in [
            ("DeleteStream", json!({})),
            ("IncreaseStreamRetentionPeriod", json!({ "RetentionPeriodHours": 48 })),
            ("DecreaseStreamRetentionPeriod", json!({ "RetentionPeriodHours": 24 })),
            ("EnableEnhancedMonitoring", json!({ "ShardLevelMetrics": ["ALL"] })),
            ("DisableEnhancedMonitoring", json!({ "ShardLevelMetrics": ["ALL"] })),
            ("StartStreamEncryption", json!({ "EncryptionType": "KMS", "KeyId": "alias/aws/kinesis" })),
            ("StopStreamEncryption", json!({ "EncryptionType": "KMS", "KeyId": "alias/aws/kinesis" })),
            ("UpdateShardCount", json!({ "TargetShardCount": 2, "ScalingType": "UNIFORM_SCALING" })),
            ("SplitShard", json!({ "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": "1000" })),
            (
                "MergeShards",
                json!({
                    "ShardToMerge": "shardId-000000000000", "AdjacentShardToMerge": "shardId-000000000001",
                }),
            ),
            ("UpdateMaxRecordSize", json!({ "MaxRecordSizeInKiB": 2048 })),
            ("UpdateStreamMode", json!({ "StreamModeDetails": { "StreamMode": "ON_DEMAND" } })),
            ("UpdateStreamRecordDistributionStrategy", json!({ "RecordDistributionStrategy": "AUTO" })),
            ("UpdateStreamWarmThroughput", json!({ "WarmThroughputMiBps": 8 })),
            ("RegisterStreamConsumer", json!({ "ConsumerName": "a" })),
        ] {
            input["StreamARN"] = json!(ARN);
            let refused = client.fails(operation, "ResourceInUseException", input);
            assert!(refused.message.contains(status), "{operation}: {}", refused.message);
        }
    };
    // What it does to all that have been made and are not on their way out.
    let not_there = || {
        for (operation, mut input) in [
            ("ListShards", json!({})),
            ("AddTagsToStream", json!({ "Tags": { "a": "1" } })),
            ("RemoveTagsFromStream", json!({ "TagKeys": ["a"] })),
        ] {
            input["StreamName"] = json!("clicks");
            client.fails(operation, "ResourceInUseException", input);
        }
        for (operation, input) in [
            ("TagResource", json!({ "ResourceARN": ARN, "Tags": { "a": "1" } })),
            ("UntagResource", json!({ "ResourceARN": ARN, "TagKeys": ["a"] })),
            ("PutResourcePolicy", json!({ "ResourceARN": ARN, "Policy": "{}" })),
            ("ListTagsForResource", json!({ "ResourceARN": ARN })),
            ("GetResourcePolicy", json!({ "ResourceARN": ARN })),
            ("DeleteResourcePolicy", json!({ "ResourceARN": ARN })),
            ("ListStreamConsumers", json!({ "StreamARN": ARN })),
        ] {
            client.fails(operation, "ResourceInUseException", input);
        }
        let mut put = json!({ "StreamName": "clicks", "Data": "", "PartitionKey": "a" });
        let refused = client.fails("PutRecord", "ResourceNotFoundException", put.clone());
        assert_eq!(refused.message, "Stream clicks under account 000000000000 not found.");
        put["DryRun"] = json!(true);
        client.fails("PutRecord", "ResourceNotFoundException", put);
    };
    create(bench, "clicks", 1);
    assert_eq!(status_is("CREATING"), 0);
    refused("CREATING");
    not_there();
    (1..5).for_each(|n| create(bench, &format!("stream-{n}"), 1));
    client.fails("CreateStream", "LimitExceededException", json!({ "StreamName": "stream-5", "ShardCount": 1 }));
    bench.wait(TRANSITION_TIME);
    assert_eq!(status_is("ACTIVE"), 1);
    client.ok(
        "SplitShard",
        json!({ "StreamName": "clicks", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": "1000" }),
    );
    assert_eq!(status_is("UPDATING"), 1);
    refused("UPDATING");
    let put = |at: &str| client.ok("PutRecord", json!({ "StreamName": "clicks", "Data": at, "PartitionKey": "a" }));
    assert_eq!(put("AA==")["ShardId"], "shardId-000000000000");
    client.ok("AddTagsToStream", json!({ "StreamName": "clicks", "Tags": { "a": "1" } }));
    bench.wait(TRANSITION_TIME);
    assert_eq!(status_is("ACTIVE"), 3);
    assert_eq!(put("AQ==")["ShardId"], "shardId-000000000002");
    client.ok("IncreaseStreamRetentionPeriod", json!({ "StreamName": "clicks", "RetentionPeriodHours": 48 }));
    assert_eq!(status_is("UPDATING"), 3);
    bench.wait(TRANSITION_TIME);
    // The mode and what belongs to it are one change.
    let mode =
        json!({ "StreamARN": ARN, "StreamModeDetails": { "StreamMode": "ON_DEMAND" }, "WarmThroughputMiBps": 8 });
    client.ok("UpdateStreamMode", mode);
    assert_eq!(status_is("UPDATING"), 3);
    bench.wait(TRANSITION_TIME);
    client.ok("DeleteStream", json!({ "StreamName": "clicks" }));
    assert_eq!(status_is("DELETING"), 0);
    refused("DELETING");
    not_there();
    client.fails("CreateStream", "ResourceInUseException", json!({ "StreamName": "clicks", "ShardCount": 1 }));
    bench.wait(TRANSITION_TIME);
    client.fails("DescribeStream", "ResourceNotFoundException", json!({ "StreamName": "clicks" }));
    create(bench, "clicks", 1);
}

pub fn the_status_of_a_consumer_passes_as_by_the_service(bench: &Bench) {
    let client = &bench.client;
    create(bench, "clicks", 1);
    bench.wait(TRANSITION_TIME);
    let register = |name: &str| json!({ "StreamARN": ARN, "ConsumerName": name });
    let arn = client.ok("RegisterStreamConsumer", register("a"))["Consumer"]["ConsumerARN"].clone();
    let status_is = |status: &str| {
        let consumer = client.ok("DescribeStreamConsumer", json!({ "ConsumerARN": arn }));
        assert_eq!(consumer["ConsumerDescription"]["ConsumerStatus"], status);
        let listed = client.ok("ListStreamConsumers", json!({ "StreamARN": ARN }));
        assert_eq!(listed["Consumers"][0]["ConsumerStatus"], status);
    };
    let subscribe = json!({
        "ConsumerARN": arn, "ShardId": "shardId-000000000000", "StartingPosition": { "Type": "LATEST" },
    });
    status_is("CREATING");
    client.fails("SubscribeToShard", "ResourceInUseException", subscribe.clone());
    for name in ["b", "c", "d", "e"] {
        client.ok("RegisterStreamConsumer", register(name));
    }
    client.fails("RegisterStreamConsumer", "LimitExceededException", register("f"));
    bench.wait(TRANSITION_TIME);
    status_is("ACTIVE");
    client.ok("DeregisterStreamConsumer", json!({ "ConsumerARN": arn }));
    status_is("DELETING");
    client.fails("SubscribeToShard", "ResourceInUseException", subscribe);
    client.fails("ListTagsForResource", "ResourceInUseException", json!({ "ResourceARN": arn }));
    client.fails("TagResource", "ResourceInUseException", json!({ "ResourceARN": arn, "Tags": { "a": "1" } }));
    client.fails("RegisterStreamConsumer", "ResourceInUseException", register("a"));
    bench.wait(TRANSITION_TIME);
    client.fails("DescribeStreamConsumer", "ResourceNotFoundException", json!({ "ConsumerARN": arn }));
    client.ok("RegisterStreamConsumer", register("a"));
}
