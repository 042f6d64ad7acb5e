//! Putting and getting records.

use crate::stream::{GetRecords, HashKey, PutRecord, PutRecordsEntry, PutTicket, Stream};
use crate::wire::ApiError;
use crate::wire::kinesis as api;

use super::convert::{child_shards, count, encryption, record};
use super::streams::limit;
use super::{Context, Kinesis, Outcome, dry_run};

const GET_RECORDS_MAX: i32 = 10_000;

/// A put, of one record or several, on its way to the disk.
pub(super) struct Put {
    stream: Stream,
    ticket: PutTicket,
}

impl Put {
    pub(super) async fn one(self, kinesis: &Kinesis) -> Outcome<api::PutRecordOutput> {
        put_output(kinesis, &self.stream, self.ticket.await.only())
    }

    pub(super) async fn all(self, kinesis: &Kinesis) -> Outcome<api::PutRecordsOutput> {
        Ok(puts_output(kinesis, &self.stream, self.ticket.await))
    }
}

fn put_output(kinesis: &Kinesis, stream: &Stream, put: crate::Result<PutRecord>) -> Outcome<api::PutRecordOutput> {
    let put = put.map_err(|error| kinesis.error(error))?;
    Ok(api::PutRecordOutput {
        shard_id: Some(put.shard_id.to_string()),
        sequence_number: Some(put.sequence_number.to_string()),
        encryption_type: encryption(stream).map(str::to_owned),
    })
}

fn puts_output(kinesis: &Kinesis, stream: &Stream, put: crate::stream::PutRecords) -> api::PutRecordsOutput {
    let failed = put.failed_record_count();
    let entry = |put: crate::Result<PutRecord>| match put {
        Ok(put) => api::PutRecordsResultEntry {
            sequence_number: Some(put.sequence_number.to_string()),
            shard_id: Some(put.shard_id.to_string()),
            ..Default::default()
        },
        Err(error) => {
            let ApiError { code, message, .. } = Context(&kinesis.engine).error(error);
            // The service knows two codes here.
            let code = match code {
                "ProvisionedThroughputExceededException" => code,
                _ => "InternalFailure",
            };
            api::PutRecordsResultEntry {
                error_code: Some(code.to_owned()),
                error_message: Some(message.into_owned()),
                ..Default::default()
            }
        }
    };
    api::PutRecordsOutput {
        failed_record_count: Some(count(failed)),
        records: Some(put.records.into_iter().map(entry).collect()),
        encryption_type: encryption(stream).map(str::to_owned),
    }
}

impl Kinesis {
    fn explicit_hash_key(&self, text: Option<&str>) -> Outcome<Option<HashKey>> {
        text.map(|text| text.parse().map_err(|error| self.error(error))).transpose()
    }

    pub(super) fn begin_put(&self, input: &api::PutRecordInput) -> Outcome<Put> {
        let stream = self.stream(input.stream_name.as_deref(), input.stream_arn.as_deref())?;
        let minimum = input.sequence_number_for_ordering.as_deref();
        let minimum = minimum.map(|number| self.sequence_number(number)).transpose()?;
        let entry = PutRecordsEntry {
            partition_key: input.partition_key.as_deref(),
            explicit_hash_key: self.explicit_hash_key(input.explicit_hash_key.as_deref())?,
            data: input.data.as_ref().map_or(&[], |data| &data.0),
        };
        if input.dry_run == Some(true) {
            stream.check_put(&[entry], minimum).map_err(|error| self.error(error))?;
            dry_run(input.dry_run)?;
        }
        let ticket = stream.put_ticket(entry, minimum).map_err(|error| self.error(error))?;
        Ok(Put { stream, ticket })
    }

    pub(super) fn begin_puts(&self, input: &api::PutRecordsInput) -> Outcome<Put> {
        let stream = self.stream(input.stream_name.as_deref(), input.stream_arn.as_deref())?;
        let entries = input.records.iter().flatten().map(|record| {
            Ok(PutRecordsEntry {
                partition_key: record.partition_key.as_deref(),
                explicit_hash_key: self.explicit_hash_key(record.explicit_hash_key.as_deref())?,
                data: record.data.as_ref().map_or(&[], |data| &data.0),
            })
        });
        let entries: Vec<PutRecordsEntry<'_>> = entries.collect::<Outcome<_>>()?;
        if input.dry_run == Some(true) {
            stream.check_put(&entries, None).map_err(|error| self.error(error))?;
            dry_run(input.dry_run)?;
        }
        let ticket = stream.put_records_ticket(&entries).map_err(|error| self.error(error))?;
        Ok(Put { stream, ticket })
    }

    pub(super) fn put_record_blocking(&self, input: api::PutRecordInput) -> Outcome<api::PutRecordOutput> {
        let Put { stream, ticket } = self.begin_put(&input)?;
        put_output(self, &stream, ticket.wait().only())
    }

    pub(super) fn put_records_blocking(&self, input: api::PutRecordsInput) -> Outcome<api::PutRecordsOutput> {
        let Put { stream, ticket } = self.begin_puts(&input)?;
        Ok(puts_output(self, &stream, ticket.wait()))
    }

    pub(super) fn get_shard_iterator(&self, input: api::GetShardIteratorInput) -> Outcome<api::GetShardIteratorOutput> {
        let stream = self.stream(input.stream_name.as_deref(), input.stream_arn.as_deref())?;
        let shard = self.shard_id(input.shard_id.as_deref())?;
        let number = input.starting_sequence_number.as_deref();
        let position = self.position(input.shard_iterator_type.as_deref(), number, input.timestamp)?;
        let iterator = stream.shard_iterator(shard, position).map_err(|error| self.error(error))?;
        dry_run(input.dry_run)?;
        Ok(api::GetShardIteratorOutput { shard_iterator: Some(iterator) })
    }

    pub(super) fn get_records(&self, input: api::GetRecordsInput) -> Outcome<api::GetRecordsOutput> {
        let limit = limit(input.limit, GET_RECORDS_MAX, GET_RECORDS_MAX);
        let iterator = input.shard_iterator.unwrap_or_default();
        let (stream, token) = self.engine.position(&iterator).map_err(|error| self.error(error))?;
        if let Some(arn) = input.stream_arn.filter(|arn| *arn != stream.arn()) {
            return Err(super::convert::invalid(format!("ShardIterator is of another stream than {arn}.")));
        }
        if input.dry_run == Some(true) {
            stream.check_token(&token).map_err(|error| self.error(error))?;
            dry_run(input.dry_run)?;
        }
        let got = stream.get(token, limit).map_err(|error| self.error(error))?;
        let GetRecords { records, next_shard_iterator, millis_behind_latest, child_shards: children, .. } = got;
        let encryption = encryption(&stream);
        Ok(api::GetRecordsOutput {
            records: Some(records.into_iter().map(|one| record(one, encryption)).collect()),
            next_shard_iterator,
            millis_behind_latest: Some(i64::try_from(millis_behind_latest).unwrap_or(i64::MAX)),
            child_shards: child_shards(&children),
        })
    }
}
