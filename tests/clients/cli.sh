#!/usr/bin/env bash
# The lines that a user of the AWS CLI types first: tests/clients/cli.sh ENDPOINT
#
# PyPI has version 1, which takes data as it is; version 2 does so with `--cli-binary-format raw-in-base64-out`.
set -euo pipefail
export AWS_ENDPOINT_URL=$1

fail() {
    echo "FAILED cli: $1"
    exit 1
}

aws kinesis create-stream --stream-name cli-clicks --shard-count 1
aws kinesis wait stream-exists --stream-name cli-clicks
for data in "user signup" "user login" "user logout"; do
    aws kinesis put-record --stream-name cli-clicks --partition-key user1 --data "$data" \
        --query ShardId --output text | grep -qx shardId-000000000000 || fail "put-record $data"
done
status=$(aws kinesis describe-stream --stream-name cli-clicks --query StreamDescription.StreamStatus --output text)
[ "$status" = ACTIVE ] || fail "describe-stream says $status"

iterator=$(aws kinesis get-shard-iterator --stream-name cli-clicks --shard-id shardId-000000000000 \
    --shard-iterator-type TRIM_HORIZON --query ShardIterator --output text)
read_back=$(aws kinesis get-records --shard-iterator "$iterator" --query 'Records[].[PartitionKey,Data]' --output text |
    while read -r key data; do printf '%s %s\n' "$key" "$(printf %s "$data" | base64 -d)"; done)
[ "$read_back" = $'user1 user signup\nuser1 user login\nuser1 user logout' ] || fail "get-records gave: $read_back"

aws kinesis put-records --stream-name cli-clicks --records Data=one,PartitionKey=a Data=two,PartitionKey=b \
    --query FailedRecordCount --output text | grep -qx 0 || fail put-records
aws kinesis list-streams --query StreamNames --output text | grep -qw cli-clicks || fail list-streams
aws kinesis list-shards --stream-name cli-clicks --query 'length(Shards)' --output text | grep -qx 1 || fail list-shards

error=$(aws kinesis describe-stream-summary --stream-name nowhere 2>&1) && fail "a stream that isn't there is described"
[[ $error == *ResourceNotFoundException* ]] || fail "the error is $error"

aws kinesis delete-stream --stream-name cli-clicks
aws kinesis wait stream-not-exists --stream-name cli-clicks
echo "ok cli"
