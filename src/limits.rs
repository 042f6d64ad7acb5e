//! Bounds that hold everywhere, each with its reason.

/// Largest data of one record, in bytes: 10 MiB, the maximum record size of Kinesis Data Streams
/// (`PutRecord`, `Data`; service model read 2026-11-17).
pub const RECORD_DATA_BYTES_MAX: usize = 10 << 20;

/// Largest key of one record, in bytes. A Kinesis partition key has at most 256 characters of up to four bytes each.
pub const KEY_BYTES_MAX: usize = 1024;

/// Largest attributes of one record, in bytes: 1 MiB, as a whole SQS or SNS message may have today.
pub const ATTRIBUTES_BYTES_MAX: usize = 1 << 20;

/// Longest log name, in bytes.
pub const LOG_NAME_BYTES_MAX: usize = 255;

/// A batch is closed once its records fill this many bytes, so that a seek walks a bounded number of records: at most
/// about 300 of 100 bytes.
pub const BATCH_BYTES_TARGET: usize = 32 << 10;

/// No batch is longer than this: one largest record with its key, attributes and headers, rounded up. Decoders refuse a
/// longer one before they allocate anything for it.
pub const BATCH_BYTES_MAX: usize = 12 << 20;

/// Most records in one batch, and so in one frame entry.
pub const BATCH_RECORDS_MAX: u32 = 1 << 20;

/// Most records in one append call.
pub const APPEND_RECORDS_MAX: usize = 1 << 20;

/// Most bytes in one append call or transaction, headers included: what fits one journal frame of the default size.
pub const APPEND_BYTES_MAX: usize = 14 << 20;

/// Smallest and largest journal file, in bytes. A frame never spans two files.
pub const JOURNAL_FILE_BYTES_MIN: u64 = 64 << 10;
/// See [`JOURNAL_FILE_BYTES_MIN`].
pub const JOURNAL_FILE_BYTES_MAX: u64 = 1 << 30;

/// Smallest and largest value of `segment_bytes_max`, in bytes. Positions within a segment fit 32 bits in the index.
pub const SEGMENT_BYTES_MIN: u64 = 16 << 10;
/// See [`SEGMENT_BYTES_MIN`].
pub const SEGMENT_BYTES_MAX: u64 = 2 << 30;

/// Distance between entries of the sparse index, in bytes of segment: 16 bytes of index for every 16 KiB and more of data
/// keep the index at or below 0.1 %.
pub const INDEX_INTERVAL_BYTES: u64 = 16 << 10;

// Of Kinesis Data Streams: service model and developer guide, read 2026-11-17.

/// Longest page of streams or shards (`ListStreams` Limit, `ListShards` MaxResults, `DescribeStream` Limit).
pub const PAGE_MAX: usize = 10_000;
/// Longest stream or consumer name, in characters (`StreamName`, `ConsumerName`).
pub const STREAM_NAME_MAX: usize = 128;
/// Most shards of a stream (`UpdateShardCount`).
pub const SHARDS_PER_STREAM_MAX: u32 = 10_000;
/// How often the shard count of a stream may be updated within 24 hours (`UpdateShardCount`).
pub const SCALINGS_PER_DAY: u32 = 10;
/// How often a key may be set, and how often none, for a stream within 24 hours (developer guide, server-side encryption).
pub const ENCRYPTION_CHANGES_PER_DAY: usize = 25;
/// Shards an on-demand stream begins with: 4 MB/s of writes at 1 MB/s a shard (developer guide, on-demand mode).
pub const ON_DEMAND_SHARDS: u32 = 4;
/// Shortest and longest retention of a stream, in hours (`IncreaseStreamRetentionPeriod`).
pub const RETENTION_HOURS_MIN: u32 = 24;
/// See [`RETENTION_HOURS_MIN`].
pub const RETENTION_HOURS_MAX: u32 = 8_760;
/// Smallest and largest value of a stream's largest record, in KiB (`UpdateMaxRecordSize`).
pub const RECORD_KIB_MIN: u32 = 1_024;
/// See [`RECORD_KIB_MIN`].
pub const RECORD_KIB_MAX: u32 = 10_240;
/// Largest warm throughput, in MiB a second (`UpdateStreamWarmThroughput`).
pub const WARM_THROUGHPUT_MIB_MAX: u32 = 10_240;
/// Longest partition key, in characters (`PutRecord`).
pub const PARTITION_KEY_CHARS_MAX: usize = 256;
/// Most records in one call (`PutRecords`).
pub const PUT_RECORDS_MAX: usize = 500;
/// Most bytes in one call, data and partition keys (`PutRecords`): 10 MiB.
pub const PUT_RECORDS_BYTES_MAX: usize = 10 << 20;
/// Most records in one answer (`GetRecords`).
pub const GET_RECORDS_MAX: usize = 10_000;
/// Most bytes in one answer (`GetRecords`): 10 MiB.
pub const GET_RECORDS_BYTES_MAX: usize = 10 << 20;
/// Most tags of a resource (`TagResource`).
pub const TAGS_MAX: usize = 50;
/// Longest key of a tag, in characters (`TagKey`).
pub const TAG_KEY_MAX: usize = 128;
/// Longest value of a tag, in characters (`TagValue`).
pub const TAG_VALUE_MAX: usize = 256;
/// Longest name of an encryption key, in bytes (`StartStreamEncryption`).
pub const ENCRYPTION_KEY_BYTES_MAX: usize = 2_048;
/// Longest resource policy, in bytes (`PutResourcePolicy`).
pub const POLICY_BYTES_MAX: usize = 20_480;
/// Most registered consumers of a stream (`RegisterStreamConsumer`). 50 of an on-demand stream are for accounts with a minimum
/// throughput commitment, which there is none of here.
pub const CONSUMERS_MAX: usize = 20;
/// Most streams, and consumers of a stream, that may be `CREATING` at a time (`CreateStream`, `RegisterStreamConsumer`).
pub const CREATING_MAX: usize = 5;
/// What a shard takes in a second: 1 MiB and 1,000 records; and gives: 2 MiB in 5 reads.
pub const SHARD_BYTES_IN: u64 = 1 << 20;
/// See [`SHARD_BYTES_IN`].
pub const SHARD_RECORDS_IN: u64 = 1_000;
/// See [`SHARD_BYTES_IN`].
pub const SHARD_BYTES_OUT: u64 = 2 << 20;
/// See [`SHARD_BYTES_IN`].
pub const SHARD_READS: u64 = 5;
