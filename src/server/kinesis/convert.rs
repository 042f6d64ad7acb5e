//! Values of the engine as the wire has them, and back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::stream::{self, SequenceNumber, ShardFilter, ShardId, ShardMetric, StartingPosition};
use crate::wire::ApiError;
use crate::wire::kinesis as api;
use crate::wire::kinesis::ErrorCode;
use crate::wire::scalar::{Blob, Timestamp};

use super::{Kinesis, Outcome};

pub(super) fn timestamp(ms: u64) -> Timestamp {
    Timestamp(i64::try_from(ms).unwrap_or(i64::MAX))
}

pub(super) fn time(timestamp: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(timestamp.0.max(0).unsigned_abs())
}

pub(super) fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// An argument that the bounds of the model let through and the operation does not.
pub(super) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> ApiError {
    ApiError::of(ErrorCode::InvalidArgumentException, message)
}

fn hash_key_range(range: stream::HashKeyRange) -> api::HashKeyRange {
    api::HashKeyRange { starting_hash_key: Some(range.start.to_string()), ending_hash_key: Some(range.end.to_string()) }
}

pub(super) fn shard(shard: &stream::Shard) -> api::Shard {
    api::Shard {
        shard_id: Some(shard.shard_id.to_string()),
        parent_shard_id: shard.parent_shard_id.map(|id| id.to_string()),
        adjacent_parent_shard_id: shard.adjacent_parent_shard_id.map(|id| id.to_string()),
        hash_key_range: Some(hash_key_range(shard.hash_key_range)),
        sequence_number_range: Some(api::SequenceNumberRange {
            starting_sequence_number: Some(shard.starting_sequence_number.to_string()),
            ending_sequence_number: shard.ending_sequence_number.map(|number| number.to_string()),
        }),
    }
}

/// What came of a closed shard; no list at all where there is nothing to tell.
pub(super) fn child_shards(children: &[stream::ChildShard]) -> Option<Vec<api::ChildShard>> {
    let child = |child: &stream::ChildShard| api::ChildShard {
        shard_id: Some(child.shard_id.to_string()),
        parent_shards: Some(child.parent_shards.iter().map(ShardId::to_string).collect()),
        hash_key_range: Some(hash_key_range(child.hash_key_range)),
    };
    Some(children.iter().map(child).collect()).filter(|children: &Vec<_>| !children.is_empty())
}

pub(super) fn record(record: stream::Record, encryption: Option<&str>) -> api::Record {
    api::Record {
        sequence_number: Some(record.sequence_number.to_string()),
        approximate_arrival_timestamp: Some(timestamp(record.arrival_ms)),
        partition_key: record.partition_key().map(str::to_owned),
        data: Some(Blob(record.data)),
        encryption_type: encryption.map(str::to_owned),
    }
}

/// What the service names the encryption of a stream that has a key; none of one without.
pub(super) fn encryption(stream: &stream::Stream) -> Option<&'static str> {
    stream.encryption_key().map(|_| "KMS")
}

pub(super) fn tags(tags: Vec<(String, String)>) -> Vec<api::Tag> {
    tags.into_iter().map(|(key, value)| api::Tag { key: Some(key), value: Some(value) }).collect()
}

pub(super) fn metric_names(metrics: &[ShardMetric]) -> Vec<String> {
    metrics.iter().map(|metric| metric.name().to_owned()).collect()
}

/// Metrics by name, of which the model allowed no other.
pub(super) fn metrics(names: &[String]) -> Vec<ShardMetric> {
    if names.iter().any(|name| name == "ALL") {
        return ShardMetric::ALL.to_vec();
    }
    ShardMetric::ALL.into_iter().filter(|metric| names.iter().any(|name| name == metric.name())).collect()
}

impl Kinesis {
    pub(super) fn shard_id(&self, text: Option<&str>) -> Outcome<ShardId> {
        // A well-formed id of no shard is not there; the service says the same of any other text.
        text.unwrap_or_default().parse().map_err(|_| {
            let message = format!("Could not find shard {}.", text.unwrap_or_default());
            ApiError::of(ErrorCode::ResourceNotFoundException, message)
        })
    }

    pub(super) fn sequence_number(&self, text: &str) -> Outcome<SequenceNumber> {
        text.parse().map_err(|error| self.error(error))
    }

    /// Where to start, from its type and what belongs to it. What belongs to another type is refused.
    pub(super) fn position(
        &self,
        kind: Option<&str>,
        number: Option<&str>,
        at: Option<Timestamp>,
    ) -> Outcome<StartingPosition> {
        let kind = kind.unwrap_or_default();
        let by_number = kind == "AT_SEQUENCE_NUMBER" || kind == "AFTER_SEQUENCE_NUMBER";
        if number.is_some() && !by_number {
            return Err(invalid(format!("A sequence number was given for a position of type {kind}, which has none.")));
        }
        if at.is_some() && kind != "AT_TIMESTAMP" {
            return Err(invalid(format!("A timestamp was given for a position of type {kind}, which has none.")));
        }
        let number = || {
            let missing = || invalid(format!("A position of type {kind} needs a sequence number."));
            self.sequence_number(number.ok_or_else(missing)?)
        };
        Ok(match kind {
            "TRIM_HORIZON" => StartingPosition::TrimHorizon,
            "LATEST" => StartingPosition::Latest,
            "AT_SEQUENCE_NUMBER" => StartingPosition::AtSequenceNumber(number()?),
            "AFTER_SEQUENCE_NUMBER" => StartingPosition::AfterSequenceNumber(number()?),
            _ => {
                let missing = || invalid("A position of type AT_TIMESTAMP needs a timestamp.");
                StartingPosition::AtTimestamp(time(at.ok_or_else(missing)?))
            }
        })
    }

    pub(super) fn shard_filter(&self, filter: Option<&api::ShardFilter>) -> Outcome<ShardFilter> {
        let Some(filter) = filter else { return Ok(ShardFilter::default()) };
        let kind = filter.kind.as_deref().unwrap_or_default();
        let at = || {
            let missing = || invalid(format!("A shard filter of type {kind} needs a timestamp."));
            filter.timestamp.map(time).ok_or_else(missing)
        };
        if filter.timestamp.is_some() && !kind.ends_with("_TIMESTAMP") {
            return Err(invalid(format!("A timestamp was given for a shard filter of type {kind}, which has none.")));
        }
        if filter.shard_id.is_some() && kind != "AFTER_SHARD_ID" {
            return Err(invalid(format!("A shard id was given for a shard filter of type {kind}, which has none.")));
        }
        Ok(match kind {
            "AT_TRIM_HORIZON" => ShardFilter::AtTrimHorizon,
            "FROM_TRIM_HORIZON" => ShardFilter::FromTrimHorizon,
            "AT_LATEST" => ShardFilter::AtLatest,
            "AT_TIMESTAMP" => ShardFilter::AtTimestamp(at()?),
            "FROM_TIMESTAMP" => ShardFilter::FromTimestamp(at()?),
            _ => {
                let missing = || invalid("A shard filter of type AFTER_SHARD_ID needs a shard id.");
                ShardFilter::AfterShardId(self.shard_id(Some(filter.shard_id.as_deref().ok_or_else(missing)?))?)
            }
        })
    }
}
