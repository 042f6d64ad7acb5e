"""boto3, unchanged, against `braidlog serve`: test_kinesis.py OPEN LIMITED SIGNED [TEST...]

OPEN takes everybody, LIMITED enforces the limits of a shard, SIGNED knows the access key 123456789012 with the secret `known`.
Each test has streams of its own.
"""

import base64
import hashlib
import sys
import threading
import time
import traceback

import boto3
import botocore
from aws_kinesis_agg.aggregator import RecordAggregator
from aws_kinesis_agg.deaggregator import iter_deaggregate_records
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session
from botocore.parsers import RpcV2CBORParser
from botocore.serialize import RpcV2CBORSerializer

OPEN, LIMITED, SIGNED = sys.argv[1:4]
ONCE = Config(retries={"total_max_attempts": 1, "mode": "standard"}, read_timeout=60, parameter_validation=False)
HASH_KEYS = 1 << 128
DAY = 24


def client(endpoint=None, key="test", secret="test", **more):
    return boto3.client("kinesis", endpoint_url=endpoint or OPEN, region_name="us-east-1", aws_access_key_id=key,
                        aws_secret_access_key=secret, config=ONCE, **more)


kinesis = client()


def refused(error, call, **arguments):
    """The call is refused with this error; its message."""
    try:
        call(**arguments)
    except ClientError as refusal:
        assert refusal.response["Error"]["Code"] == error, refusal
        assert refusal.response["ResponseMetadata"]["HTTPStatusCode"] == 400, refusal.response
        assert refusal.response["ResponseMetadata"]["RequestId"], refusal.response
        return refusal.response["Error"]["Message"]
    raise AssertionError(f"{call.__name__}({arguments}) was not refused with {error}")


def active(name, of=None):
    (of or kinesis).get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    return name


def stream(name, shards=1, of=None):
    (of or kinesis).create_stream(StreamName=name, ShardCount=shards)
    return active(name, of)


def summary(name):
    return kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]


def shards_of(name, **more):
    return [shard["ShardId"] for shard in kinesis.list_shards(StreamName=name, **more)["Shards"]]


def shard_range(shard):
    return int(shard["HashKeyRange"]["StartingHashKey"]), int(shard["HashKeyRange"]["EndingHashKey"])


def hash_key(partition_key):
    return int(hashlib.md5(partition_key.encode()).hexdigest(), 16)


def read(name, shard, kind="TRIM_HORIZON", count=None, **more):
    """Records of a shard to its end, or until there are `count`; and the children at the end."""
    iterator = kinesis.get_shard_iterator(StreamName=name, ShardId=shard, ShardIteratorType=kind, **more)["ShardIterator"]
    records, empty = [], 0
    while True:
        reply = kinesis.get_records(ShardIterator=iterator, Limit=1000)
        records += reply["Records"]
        if "NextShardIterator" not in reply:
            return records, reply["ChildShards"]
        assert "ChildShards" not in reply, reply
        if count is not None and len(records) >= count:
            return records, None
        empty = 0 if reply["Records"] else empty + 1
        assert empty < 100, f"{shard} of {name} gives nothing more behind {len(records)} records"
        iterator = reply["NextShardIterator"]


def data(records):
    return [record["Data"] for record in records]


def test_put_and_get():
    name = stream("clicks")
    words = [b"user signup", b"user login", b"user logout"]
    puts = [kinesis.put_record(StreamName=name, PartitionKey="user1", Data=word) for word in words]
    numbers = [int(put["SequenceNumber"]) for put in puts]
    assert numbers == sorted(set(numbers)), numbers
    assert all(put["SequenceNumber"].startswith("49") and len(put["SequenceNumber"]) == 56 for put in puts), puts
    described = kinesis.describe_stream(StreamName=name)["StreamDescription"]
    assert described["StreamStatus"] == "ACTIVE" and not described["HasMoreShards"], described
    assert described["StreamARN"] == "arn:aws:kinesis:us-east-1:000000000000:stream/clicks", described
    assert described["RetentionPeriodHours"] == DAY, described
    (shard,) = described["Shards"]
    assert shard_range(shard) == (0, HASH_KEYS - 1), shard
    records, _ = read(name, shard["ShardId"], count=3)
    assert data(records) == words, records
    assert [record["SequenceNumber"] for record in records] == [put["SequenceNumber"] for put in puts]
    assert {record["PartitionKey"] for record in records} == {"user1"}
    assert abs(records[0]["ApproximateArrivalTimestamp"].timestamp() - time.time()) < 60, records[0]
    after, _ = read(name, shard["ShardId"], "AFTER_SEQUENCE_NUMBER", 2, StartingSequenceNumber=str(numbers[0]))
    assert data(after) == words[1:], after
    at, _ = read(name, shard["ShardId"], "AT_SEQUENCE_NUMBER", 3, StartingSequenceNumber=str(numbers[0]))
    assert data(at) == words, at
    by_time, _ = read(name, shard["ShardId"], "AT_TIMESTAMP", 3, Timestamp=records[0]["ApproximateArrivalTimestamp"])
    assert data(by_time) == words, by_time


def test_latest_is_fixed_when_issued():
    name = stream("latest")
    kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"before")
    (shard,) = shards_of(name)
    iterator = kinesis.get_shard_iterator(StreamName=name, ShardId=shard, ShardIteratorType="LATEST")["ShardIterator"]
    kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"after")
    reply = kinesis.get_records(ShardIterator=iterator)
    assert data(reply["Records"]) == [b"after"] and reply["MillisBehindLatest"] == 0, reply


def test_every_byte_and_any_key_comes_back():
    name = stream("bytes")
    blobs = [b"", bytes(range(256)), b"\xff" * 100_000, "größer".encode()]
    for i, blob in enumerate(blobs):
        kinesis.put_record(StreamName=name, PartitionKey="größer \u2028 \U0001f600", Data=blob)
    records, _ = read(name, shards_of(name)[0], count=len(blobs))
    assert data(records) == blobs
    assert {record["PartitionKey"] for record in records} == {"größer \u2028 \U0001f600"}


def test_routing():
    name = stream("routing", 3)
    shards = {shard["ShardId"]: shard_range(shard) for shard in kinesis.list_shards(StreamName=name)["Shards"]}
    ends = sorted(shards.values())
    assert ends[0][0] == 0 and ends[-1][1] == HASH_KEYS - 1 and ends[0][1] == HASH_KEYS // 3 - 1, ends
    for i in range(30):
        put = kinesis.put_record(StreamName=name, PartitionKey=f"key{i}", Data=b"x")
        low, high = shards[put["ShardId"]]
        assert low <= hash_key(f"key{i}") <= high
    for shard, (low, high) in shards.items():
        for explicit in (low, high):
            put = kinesis.put_record(StreamName=name, PartitionKey="k", ExplicitHashKey=str(explicit), Data=b"x")
            assert put["ShardId"] == shard, (put, explicit)


def test_put_records():
    name = stream("batch", 2)
    batch = [{"Data": b"%d" % i, "PartitionKey": f"key{i}"} for i in range(500)]
    reply = kinesis.put_records(StreamName=name, Records=batch)
    assert reply["FailedRecordCount"] == 0 and len(reply["Records"]) == 500
    numbers = {}
    for put in reply["Records"]:
        assert "ErrorCode" not in put, put
        numbers.setdefault(put["ShardId"], []).append(put["SequenceNumber"])
    total = 0
    for shard, expected in numbers.items():
        records, _ = read(name, shard, count=len(expected))
        assert [record["SequenceNumber"] for record in records] == sorted(expected, key=int)
        total += len(records)
    assert total == 500


def test_put_records_fails_in_part():
    limited = client(LIMITED)
    name = stream("throttled", 1, limited)
    batch = [{"Data": b"x" * 400_000, "PartitionKey": f"key{i}"} for i in range(10)]
    reply = limited.put_records(StreamName=name, Records=batch)
    failed = [put for put in reply["Records"] if "ErrorCode" in put]
    assert 0 < len(failed) == reply["FailedRecordCount"] < 10 == len(reply["Records"]), reply
    for put in failed:
        assert put["ErrorCode"] == "ProvisionedThroughputExceededException" and "SequenceNumber" not in put, put
        assert "shardId-000000000000" in put["ErrorMessage"] and name in put["ErrorMessage"], put


def test_waiters():
    name = stream("waited")
    refused("ResourceInUseException", kinesis.create_stream, StreamName=name, ShardCount=1)
    kinesis.delete_stream(StreamName=name)
    kinesis.get_waiter("stream_not_exists").wait(StreamName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    refused("ResourceNotFoundException", kinesis.describe_stream, StreamName=name)


def test_paginators():
    names = [stream(f"page-{i}", 7 if i == 0 else 1) for i in range(5)]
    pages = kinesis.get_paginator("list_streams").paginate(PaginationConfig={"PageSize": 2})
    found = [name for page in pages for name in page["StreamNames"] if name.startswith("page-")]
    assert found == names, found
    expected = [f"shardId-{i:012}" for i in range(7)]
    pages = kinesis.get_paginator("describe_stream").paginate(StreamName=names[0], PaginationConfig={"PageSize": 3})
    pages = [[shard["ShardId"] for shard in page["StreamDescription"]["Shards"]] for page in pages]
    assert [len(page) for page in pages] == [3, 3, 1] and sum(pages, []) == expected, pages
    # boto3's paginator gives the name with the token, which the service refuses (botocore issue 2009).
    page, found = kinesis.list_shards(StreamName=names[0], MaxResults=3), []
    while True:
        found.append([shard["ShardId"] for shard in page["Shards"]])
        if "NextToken" not in page:
            break
        page = kinesis.list_shards(NextToken=page["NextToken"], MaxResults=3)
    assert [len(page) for page in found] == [3, 3, 1] and sum(found, []) == expected, found
    pages = kinesis.get_paginator("list_shards").paginate(StreamName=names[0], PaginationConfig={"PageSize": 7})
    assert [len(page["Shards"]) for page in pages] == [7]
    arn = summary(names[0])["StreamARN"]
    for i in range(3):
        kinesis.register_stream_consumer(StreamARN=arn, ConsumerName=f"consumer{i}")
    pages = kinesis.get_paginator("list_stream_consumers").paginate(StreamARN=arn, PaginationConfig={"PageSize": 2})
    found = sorted(consumer["ConsumerName"] for page in pages for consumer in page["Consumers"])
    assert found == ["consumer0", "consumer1", "consumer2"], found


def test_split_and_merge_while_producing():
    name = stream("resharded", 2)
    written, stop, errors = [], threading.Event(), []

    def produce(worker, own):
        i = 0
        try:
            while not stop.is_set():
                key = f"{worker}-{i}"
                put = own.put_record(StreamName=name, PartitionKey=key, Data=key.encode())
                written.append((put["ShardId"], int(put["SequenceNumber"]), key))
                i += 1
        except Exception as error:  # shown by the test that waits for this thread
            errors.append(error)

    workers = [threading.Thread(target=produce, args=(worker, client())) for worker in range(3)]
    for worker in workers:
        worker.start()
    try:
        first, second = shards_of(name)
        kinesis.split_shard(StreamName=name, ShardToSplit=first, NewStartingHashKey=str(1 << 125))
        active(name)
        kinesis.split_shard(StreamName=name, ShardToSplit=second, NewStartingHashKey=str(3 << 126))
        active(name)
        # The upper half of the lower one, and the lower half of the upper one.
        kinesis.merge_shards(StreamName=name, ShardToMerge="shardId-000000000003", AdjacentShardToMerge="shardId-000000000004")
        active(name)
        before = len(written)
        while len(written) < before + 50 and not errors:
            stop.wait(0.01)
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    assert not errors, errors

    shards = {shard["ShardId"]: shard for shard in kinesis.list_shards(StreamName=name)["Shards"]}
    assert sorted(shards) == [f"shardId-{i:012}" for i in range(7)], sorted(shards)
    merged = shards["shardId-000000000006"]
    assert {merged["ParentShardId"], merged["AdjacentParentShardId"]} == {"shardId-000000000003", "shardId-000000000004"}, merged
    assert shard_range(merged) == (1 << 125, (3 << 126) - 1), merged
    closed = {shard for shard, row in shards.items() if "EndingSequenceNumber" in row["SequenceNumberRange"]}
    assert closed == {first, second, "shardId-000000000003", "shardId-000000000004"}, closed

    # Every shard is walked to its end, children behind their parents, as a consumer does.
    found, seen, due = [], set(), [first, second]
    while due:
        shard = due.pop(0)
        if shard in seen:
            continue
        seen.add(shard)
        expected = sorted(number for of, number, _ in written if of == shard)
        records, children = read(name, shard, count=None if shard in closed else len(expected))
        assert [int(record["SequenceNumber"]) for record in records] == expected, shard
        assert (children is not None) == (shard in closed), (shard, children)
        found += [record["PartitionKey"] for record in records]
        for child in children or []:
            assert shard in child["ParentShards"], child
            assert shard_range(child) == shard_range(shards[child["ShardId"]]), child
            due.append(child["ShardId"])
    assert seen == set(shards), seen
    assert sorted(found) == sorted(key for _, _, key in written)
    for worker in range(3):
        own = [int(key.split("-")[1]) for _, _, key in written if key.startswith(f"{worker}-")]
        assert own == list(range(len(own)))
    refused("InvalidArgumentException", kinesis.split_shard, StreamName=name, ShardToSplit=first,
            NewStartingHashKey=str(1 << 124))


def test_list_shards_filters():
    name = stream("filtered", 2)
    kinesis.split_shard(StreamName=name, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(1 << 126))
    active(name)
    kinds = {
        "AT_TRIM_HORIZON": {}, "FROM_TRIM_HORIZON": {}, "AT_LATEST": {}, "AFTER_SHARD_ID": {"ShardId": "shardId-000000000001"},
        "FROM_TIMESTAMP": {"Timestamp": summary(name)["StreamCreationTimestamp"]},
    }
    found = {}
    for kind, more in kinds.items():
        ids = shards_of(name, ShardFilter={"Type": kind, **more})
        found[kind] = [int(shard.rsplit("-", 1)[1]) for shard in ids]
    assert found == {
        "AT_TRIM_HORIZON": [0, 1], "FROM_TRIM_HORIZON": [0, 1, 2, 3], "AT_LATEST": [1, 2, 3], "AFTER_SHARD_ID": [2, 3],
        "FROM_TIMESTAMP": [0, 1, 2, 3],
    }, found
    token = kinesis.list_shards(StreamName=name, MaxResults=1)["NextToken"]
    refused("InvalidArgumentException", kinesis.list_shards, StreamName=name, NextToken=token)


def test_update_shard_count():
    name = stream("scaled", 2)
    reply = kinesis.update_shard_count(StreamName=name, TargetShardCount=4, ScalingType="UNIFORM_SCALING")
    assert (reply["CurrentShardCount"], reply["TargetShardCount"]) == (2, 4), reply
    active(name)
    assert summary(name)["OpenShardCount"] == 4
    kinesis.update_shard_count(StreamName=name, TargetShardCount=2, ScalingType="UNIFORM_SCALING")
    active(name)
    opened = kinesis.list_shards(StreamName=name, ShardFilter={"Type": "AT_LATEST"})["Shards"]
    assert sorted(map(shard_range, opened)) == [(0, HASH_KEYS // 2 - 1), (HASH_KEYS // 2, HASH_KEYS - 1)], opened
    refused("LimitExceededException", kinesis.update_shard_count, StreamName=name, TargetShardCount=5,
            ScalingType="UNIFORM_SCALING")


def test_retention():
    name = stream("kept")
    kinesis.increase_stream_retention_period(StreamName=name, RetentionPeriodHours=48)
    active(name)
    assert summary(name)["RetentionPeriodHours"] == 48
    refused("InvalidArgumentException", kinesis.increase_stream_retention_period, StreamName=name, RetentionPeriodHours=24)
    kinesis.decrease_stream_retention_period(StreamName=name, RetentionPeriodHours=24)
    active(name)
    assert summary(name)["RetentionPeriodHours"] == 24
    refused("InvalidArgumentException", kinesis.decrease_stream_retention_period, StreamName=name, RetentionPeriodHours=23)
    refused("InvalidArgumentException", kinesis.increase_stream_retention_period, StreamName=name, RetentionPeriodHours=8761)


def test_tags():
    name = stream("tagged")
    arn = summary(name)["StreamARN"]
    kinesis.add_tags_to_stream(StreamName=name, Tags={"team": "größer", "empty": "", "x": "1"})
    kinesis.remove_tags_from_stream(StreamName=name, TagKeys=["x"])
    kinesis.tag_resource(ResourceARN=arn, Tags={"more": "2"})
    tags = {tag["Key"]: tag["Value"] for tag in kinesis.list_tags_for_stream(StreamName=name)["Tags"]}
    assert tags == {"team": "größer", "empty": "", "more": "2"}, tags
    kinesis.untag_resource(ResourceARN=arn, TagKeys=["empty", "more"])
    tags = {tag["Key"]: tag["Value"] for tag in kinesis.list_tags_for_resource(ResourceARN=arn)["Tags"]}
    assert tags == {"team": "größer"}, tags
    page = kinesis.list_tags_for_stream(StreamName=name, Limit=1)
    assert not page["HasMoreTags"] and len(page["Tags"]) == 1, page
    refused("InvalidArgumentException", kinesis.add_tags_to_stream, StreamName=name, Tags={"a*b": "x"})


def consumer(name, consumer_name):
    arn = summary(name)["StreamARN"]
    made = kinesis.register_stream_consumer(StreamARN=arn, ConsumerName=consumer_name)["Consumer"]
    for _ in range(100):
        described = kinesis.describe_stream_consumer(ConsumerARN=made["ConsumerARN"])["ConsumerDescription"]
        if described["ConsumerStatus"] == "ACTIVE":
            return described
        time.sleep(0.1)
    raise AssertionError(described)


def subscribe(described, shard, position, of=None):
    reply = (of or client()).subscribe_to_shard(ConsumerARN=described["ConsumerARN"], ShardId=shard, StartingPosition=position)
    return reply["EventStream"]


def test_consumers():
    name = stream("consumed")
    described = consumer(name, "dashboard")
    arn = summary(name)["StreamARN"]
    assert described["ConsumerARN"].startswith(f"{arn}/consumer/dashboard:") and described["StreamARN"] == arn, described
    assert summary(name)["ConsumerCount"] == 1
    refused("ResourceInUseException", kinesis.register_stream_consumer, StreamARN=arn, ConsumerName="dashboard")
    kinesis.deregister_stream_consumer(ConsumerARN=described["ConsumerARN"])
    for _ in range(100):
        if not kinesis.list_stream_consumers(StreamARN=arn)["Consumers"]:
            break
        time.sleep(0.1)
    refused("ResourceNotFoundException", kinesis.describe_stream_consumer, ConsumerARN=described["ConsumerARN"])


def test_subscribe_to_shard():
    name = stream("pushed")
    described = consumer(name, "dashboard")
    (shard,) = shards_of(name)
    kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"before")
    events = subscribe(described, shard, {"Type": "TRIM_HORIZON"})
    received, behind = [], None
    for event in events:
        event = event["SubscribeToShardEvent"]
        assert event["ContinuationSequenceNumber"] and "MillisBehindLatest" in event, event
        received += data(event["Records"])
        behind = event["ContinuationSequenceNumber"]
        if received == [b"before"]:
            # While the response is open: what is put now is pushed into it.
            kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"during")
        if len(received) >= 2:
            break
    events.close()
    assert received == [b"before", b"during"], received
    kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"later")
    # Where the last one left off. For 5 s after it began the service refuses whoever would take a subscription over.
    for _ in range(60):
        try:
            events = subscribe(described, shard, {"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": behind})
            break
        except ClientError as refusal:
            assert refusal.response["Error"]["Code"] == "ResourceInUseException", refusal
            time.sleep(0.1)
    for event in events:
        if event["SubscribeToShardEvent"]["Records"]:
            break
    events.close()
    assert data(event["SubscribeToShardEvent"]["Records"]) == [b"later"], event


def test_a_subscription_ends_with_the_children_of_its_shard():
    name = stream("pushed-to-the-end")
    described = consumer(name, "dashboard")
    kinesis.put_record(StreamName=name, PartitionKey="k", Data=b"last")
    kinesis.split_shard(StreamName=name, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(1 << 127))
    active(name)
    events = [event["SubscribeToShardEvent"] for event in subscribe(described, "shardId-000000000000", {"Type": "TRIM_HORIZON"})]
    assert data(sum((event["Records"] for event in events), [])) == [b"last"], events
    assert not any(event.get("ChildShards") for event in events[:-1]), events
    assert sorted(child["ShardId"] for child in events[-1]["ChildShards"]) == ["shardId-000000000001", "shardId-000000000002"]


def test_a_second_subscription_is_refused_at_first():
    name = stream("pushed-twice")
    described = consumer(name, "dashboard")
    (shard,) = shards_of(name)
    first = subscribe(described, shard, {"Type": "LATEST"})
    refused("ResourceInUseException", client().subscribe_to_shard, ConsumerARN=described["ConsumerARN"], ShardId=shard,
            StartingPosition={"Type": "LATEST"})
    first.close()


def test_aggregated_records():
    name = stream("aggregated", 2)
    aggregator, expected = RecordAggregator(), []
    for i in range(200):
        key, blob = f"key{i % 7}", b"user record %d" % i
        expected.append((key, blob))
        full = aggregator.add_user_record(key, blob)
        assert full is None
    key, explicit, blob = aggregator.clear_and_get().get_contents()
    put = kinesis.put_record(StreamName=name, PartitionKey=key, Data=blob, **({"ExplicitHashKey": explicit} if explicit else {}))
    kinesis.put_record(StreamName=name, PartitionKey="plain", ExplicitHashKey=str(hash_key(key)), Data=b"not aggregated")
    records, _ = read(name, put["ShardId"], count=2)
    assert records[0]["Data"] == blob
    users = list(iter_deaggregate_records(records, data_format="Boto3"))
    # What it takes apart it gives in Base64, and what isn't aggregated as it was.
    found = [(user["kinesis"]["partitionKey"], user["kinesis"]["data"]) for user in users]
    assert found.pop() == ("plain", b"not aggregated"), found
    assert [(key, base64.b64decode(blob)) for key, blob in found] == expected, found[:3]


def test_errors_are_typed():
    name = stream("refusals")
    arn = summary(name)["StreamARN"]
    (shard,) = shards_of(name)
    try:
        kinesis.describe_stream(StreamName="nowhere")
        raise AssertionError("it is described")
    except kinesis.exceptions.ResourceNotFoundException as refusal:
        assert "nowhere" in refusal.response["Error"]["Message"] and "000000000000" in refusal.response["Error"]["Message"], refusal
    put, iterator = kinesis.put_record, kinesis.get_shard_iterator
    refused("ResourceNotFoundException", put, StreamName="nowhere", PartitionKey="k", Data=b"x")
    refused("ResourceNotFoundException", iterator, StreamName=name, ShardId="shardId-000000000009", ShardIteratorType="LATEST")
    refused("ResourceInUseException", kinesis.create_stream, StreamName=name, ShardCount=1)
    refused("InvalidArgumentException", put, StreamName=name, PartitionKey="k", Data=b"x", ExplicitHashKey=str(HASH_KEYS))
    # The model doesn't ask for a key; a stream that routes by it does.
    refused("InvalidArgumentException", put, StreamName=name, Data=b"x")
    refused("InvalidArgumentException", kinesis.get_records, ShardIterator="AAAAAAAAAAE=")
    refused("InvalidArgumentException", iterator, StreamName=name, ShardId=shard, ShardIteratorType="AT_SEQUENCE_NUMBER",
            StartingSequenceNumber="1")
    refused("InvalidArgumentException", kinesis.split_shard, StreamName=name, ShardToSplit=shard, NewStartingHashKey="1")
    refused("InvalidArgumentException", kinesis.merge_shards, StreamName=name, ShardToMerge=shard, AdjacentShardToMerge=shard)
    for arguments in [
        {"StreamName": "a b", "PartitionKey": "k", "Data": b"x"},
        {"StreamName": "a" * 129, "PartitionKey": "k", "Data": b"x"},
        {"StreamName": name, "PartitionKey": "", "Data": b"x"},
        {"StreamName": name, "PartitionKey": "k" * 257, "Data": b"x"},
        {"StreamName": name, "PartitionKey": "k", "Data": b"x", "ExplicitHashKey": "-1"},
    ]:
        message = refused("ValidationException", put, **arguments)
        assert message.startswith("1 validation error detected: Value ") and " failed to satisfy constraint: " in message, message
    refused("ValidationException", kinesis.put_records, StreamName=name, Records=[])
    refused("ValidationException", kinesis.put_records, StreamName=name, Records=[{"Data": b"x", "PartitionKey": "k"}] * 501)
    refused("ValidationException", kinesis.get_records, ShardIterator="x", Limit=10_001)
    refused("ValidationException", iterator, StreamName=name, ShardId=shard, ShardIteratorType="NEWEST")
    refused("InvalidArgumentException", kinesis.describe_stream_summary, StreamName="other", StreamARN=arn)


def test_what_is_unknown_is_refused_under_strict():
    def add(params, **_):
        params["body"] = params["body"][:-1] + b', "Surprise": 1}'

    surprising = client()
    surprising.meta.events.register("before-call.kinesis.ListStreams", add)
    assert "Surprise" in refused("ValidationException", surprising.list_streams, Limit=1)
    kinesis.list_streams(Limit=1)


def test_cbor_round_trip():
    """What the SDK for Java sends, written and read by botocore's own codec. This protocol counts times in milliseconds."""
    model, codec = kinesis.meta.service_model, RpcV2CBORSerializer()
    reader = RpcV2CBORParser(timestamp_parser=lambda milliseconds: milliseconds / 1000)

    def call(operation, status=200, **arguments):
        body = bytearray()
        codec._serialize_data_item(body, arguments, model.operation_model(operation).input_shape)
        headers = {"Content-Type": "application/x-amz-cbor-1.1", "X-Amz-Target": f"Kinesis_20131202.{operation}"}
        reply = URLLib3Session().send(AWSRequest("POST", OPEN, data=bytes(body), headers=headers).prepare())
        assert reply.status_code == status, reply.content
        assert reply.headers["Content-Type"] == "application/x-amz-cbor-1.1" and reply.headers["x-amzn-RequestId"], reply.headers
        return reader.parse_data_item(reader.get_peekable_stream_from_bytes(reply.content)) if reply.content else {}

    call("CreateStream", StreamName="cbor", ShardCount=1)
    active("cbor")
    blob = bytes(range(256)) * 300
    put = call("PutRecord", StreamName="cbor", PartitionKey="größer", Data=blob)
    kinesis.put_record(StreamName="cbor", PartitionKey="json", Data=blob)
    iterator = call("GetShardIterator", StreamName="cbor", ShardId=put["ShardId"], ShardIteratorType="TRIM_HORIZON")
    reply = call("GetRecords", ShardIterator=iterator["ShardIterator"], Limit=10)
    assert [(record["PartitionKey"], record["Data"]) for record in reply["Records"]] == [("größer", blob), ("json", blob)], reply
    assert reply["MillisBehindLatest"] == 0 and reply["NextShardIterator"], reply
    assert abs(reply["Records"][0]["ApproximateArrivalTimestamp"] - time.time()) < 60, reply["Records"][0]
    records, _ = read("cbor", put["ShardId"], count=2)
    assert records[0]["Data"] == blob and records[0]["SequenceNumber"] == put["SequenceNumber"]
    error = call("DescribeStreamSummary", 400, StreamName="nowhere")
    assert error["__type"] == "ResourceNotFoundException" and "nowhere" in error["message"], error


def test_on_demand_and_mode():
    kinesis.create_stream(StreamName="elastic", StreamModeDetails={"StreamMode": "ON_DEMAND"})
    active("elastic")
    described = summary("elastic")
    assert described["StreamModeDetails"]["StreamMode"] == "ON_DEMAND" and described["OpenShardCount"] == 4, described
    kinesis.update_stream_mode(StreamARN=described["StreamARN"], StreamModeDetails={"StreamMode": "PROVISIONED"})
    active("elastic")
    assert summary("elastic")["StreamModeDetails"]["StreamMode"] == "PROVISIONED"
    limits = kinesis.describe_limits()
    assert limits["OpenShardCount"] >= 4 and "ShardLimit" in limits, limits


def test_signatures():
    known = client(SIGNED, "123456789012", "known")
    stream("signed", 1, known)
    described = known.describe_stream_summary(StreamName="signed")["StreamDescriptionSummary"]
    assert ":stream/signed" in described["StreamARN"], described
    known.put_record(StreamName="signed", PartitionKey="größer", Data=bytes(range(256)))
    refused("InvalidSignatureException", client(SIGNED, "123456789012", "wrong").list_streams)
    refused("UnrecognizedClientException", client(SIGNED, "AKIDSTRANGER", "known").list_streams)
    refused("UnrecognizedClientException", client(SIGNED, "123456789012", "known", aws_session_token="t").list_streams)
    elsewhere = boto3.client("kinesis", endpoint_url=SIGNED, region_name="eu-west-1", aws_access_key_id="123456789012",
                             aws_secret_access_key="known", config=ONCE)
    refused("InvalidSignatureException", elsewhere.list_streams)

    def change(request, **_):
        request.headers["X-Amz-Target"] = "Kinesis_20131202.DescribeLimits"

    changed = client(SIGNED, "123456789012", "known")
    changed.meta.events.register("before-send.kinesis.ListStreams", change)
    refused("InvalidSignatureException", changed.list_streams)
    unsigned = boto3.client("kinesis", endpoint_url=SIGNED, region_name="us-east-1",
                            config=Config(signature_version=botocore.UNSIGNED, retries={"total_max_attempts": 1}))
    refused("MissingAuthenticationTokenException", unsigned.list_streams)


def main():
    chosen = sys.argv[4:]
    tests = {name: test for name, test in globals().items() if name.startswith("test_")}
    failed = 0
    for name, test in tests.items():
        if chosen and name not in chosen:
            continue
        started = time.monotonic()
        try:
            test()
            print(f"ok {name}, {time.monotonic() - started:.1f} s", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED {name}", flush=True)
            traceback.print_exc(file=sys.stdout)
    sys.exit(1 if failed else 0)


main()
