//! The aggregated record of the Kinesis Producer Library: many user records in one record of a stream.
//!
//! ```text
//! f3 89 9a c2 | protobuf message | MD5 of the message alone: 16
//!
//! message            record                                    tag
//! 1 partition keys   1 index of its partition key              1 key
//! 2 hash keys        2 index of its explicit hash key, if any  2 value, if any
//! 3 records          3 data
//!                    4 tags
//! ```
//!
//! Source: `aggregation-format.md` of awslabs/amazon-kinesis-producer, and the encoding page of protobuf. One user record, in
//! hexadecimal: partition key `a`, data `hi`.
//!
//! ```text
//! f3899ac2  0a 01 61  1a 06 (08 00  1a 02 68 69)  ed4ff28777966ae6df59911cb0530cc2
//! ```
//!
//! Whoever reads it: it is no aggregated record unless the magic number matches, more than a checksum follows, the checksum
//! matches, and every user record in it can be read. What is not one is handed on as it is. Nothing is copied.

mod aggregator;
mod deaggregate;
mod reader;
#[cfg(test)]
mod tests;
mod wire;

pub use aggregator::{AggregatedRecord, Aggregator};
pub(crate) use deaggregate::is_aggregated;
pub use deaggregate::{UserRecord, UserRecords, deaggregate};
pub use reader::UserRecordReader;

/// How an aggregated record begins: no text in UTF-8 does.
const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];
/// Of the MD5 at its end.
const DIGEST_BYTES: usize = 16;

/// Fields of the message.
const PARTITION_KEY: u32 = 1;
const EXPLICIT_HASH_KEY: u32 = 2;
const RECORD: u32 = 3;
/// Fields of a record.
const PARTITION_KEY_INDEX: u32 = 1;
const EXPLICIT_HASH_KEY_INDEX: u32 = 2;
const DATA: u32 = 3;
const TAG: u32 = 4;
/// Fields of a tag.
const TAG_KEY: u32 = 1;
