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
