//! Putting and getting records.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::stream::{
    Begun, GetRecords, Part, PutRecord, PutRecords, PutRecordsEntry, PutTicket, SequenceNumber, Stream,
};
use crate::wire::check::Shape;
use crate::wire::kinesis as api;
use crate::wire::kinesis::Operation;
use crate::wire::scalar::Blob;
use crate::wire::{ApiError, Protocol};

use super::convert::{child_shards, count, encryption, record};
use super::streams::limit;
use super::{Context, Kinesis, Outcome, blocking, dry_run};

const GET_RECORDS_MAX: i32 = 10_000;

/// Beside its data and key a record has a number, a time and the names of all of these.
const RECORD_BYTES: usize = 192;

/// How long an answer is when it is written, or a little less than this.
pub(super) fn encoded_len(protocol: Protocol, output: &api::GetRecordsOutput) -> usize {
    let data = |record: &api::Record| record.data.as_ref().map_or(0, |data| data.0.len());
    let key = |record: &api::Record| record.partition_key.as_ref().map_or(0, String::len);
    let record = |record: &api::Record| match protocol {
        Protocol::Json => data(record).div_ceil(3) * 4 + key(record) + RECORD_BYTES,
        Protocol::Cbor => data(record) + key(record) + RECORD_BYTES,
    };
    1024 + output.records.iter().flatten().map(record).sum::<usize>()
}

/// The input of a put, of one record or several.
pub(super) trait Put: DeserializeOwned + Shape + Send + 'static {
    type Output: Serialize;

    const OPERATION: Operation;

    /// The stream, and what the numbers of the records must be above.
    fn target(&self, kinesis: &Kinesis) -> Outcome<(Stream, Option<SequenceNumber>)>;

    fn entries(&self, kinesis: &Kinesis) -> Outcome<Vec<PutRecordsEntry<'_>>>;

    /// Whether it only asks whether it would succeed.
    fn dry_run(&self) -> Option<bool>;

    fn output(kinesis: &Kinesis, stream: &Stream, put: PutRecords) -> Outcome<Self::Output>;
}

impl Put for api::PutRecordInput {
    type Output = api::PutRecordOutput;

    const OPERATION: Operation = Operation::PutRecord;

    fn target(&self, kinesis: &Kinesis) -> Outcome<(Stream, Option<SequenceNumber>)> {
        let stream = kinesis.stream(self.stream_name.as_deref(), self.stream_arn.as_deref())?;
        let minimum = self.sequence_number_for_ordering.as_deref();
        Ok((stream, minimum.map(|number| kinesis.sequence_number(number)).transpose()?))
    }

    fn entries(&self, kinesis: &Kinesis) -> Outcome<Vec<PutRecordsEntry<'_>>> {
        let (key, hash_key) = (self.partition_key.as_deref(), self.explicit_hash_key.as_deref());
        Ok(vec![kinesis.entry(key, hash_key, self.data.as_ref())?])
    }

    fn dry_run(&self) -> Option<bool> {
        self.dry_run
    }

    fn output(kinesis: &Kinesis, stream: &Stream, put: PutRecords) -> Outcome<api::PutRecordOutput> {
        put_output(kinesis, stream, put.only())
    }
}

impl Put for api::PutRecordsInput {
    type Output = api::PutRecordsOutput;

    const OPERATION: Operation = Operation::PutRecords;

    fn target(&self, kinesis: &Kinesis) -> Outcome<(Stream, Option<SequenceNumber>)> {
        Ok((kinesis.stream(self.stream_name.as_deref(), self.stream_arn.as_deref())?, None))
    }

    fn entries(&self, kinesis: &Kinesis) -> Outcome<Vec<PutRecordsEntry<'_>>> {
        let records = self.records.iter().flatten();
        records
            .map(|record| {
                let (key, hash_key) = (record.partition_key.as_deref(), record.explicit_hash_key.as_deref());
                kinesis.entry(key, hash_key, record.data.as_ref())
            })
            .collect()
    }

    fn dry_run(&self) -> Option<bool> {
        self.dry_run
    }

    fn output(kinesis: &Kinesis, stream: &Stream, put: PutRecords) -> Outcome<api::PutRecordsOutput> {
        Ok(puts_output(kinesis, stream, put))
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

fn puts_output(kinesis: &Kinesis, stream: &Stream, put: PutRecords) -> api::PutRecordsOutput {
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
    fn entry<'a>(
        &self,
        partition_key: Option<&'a str>,
        explicit_hash_key: Option<&str>,
        data: Option<&'a Blob>,
    ) -> Outcome<PutRecordsEntry<'a>> {
        let hash_key = explicit_hash_key.map(|text| text.parse().map_err(|error| self.error(error))).transpose()?;
        Ok(PutRecordsEntry { partition_key, explicit_hash_key: hash_key, data: data.map_or(&[], |data| &data.0) })
    }

    /// Begins a put; waits neither for the disk nor for a reshard.
    fn begin<I: Put>(&self, input: &I) -> Outcome<(Stream, Begun)> {
        let (stream, minimum) = input.target(self)?;
        let entries = input.entries(self)?;
        if input.dry_run() == Some(true) {
            stream.check_put(&entries, minimum).map_err(|error| self.error(error))?;
            dry_run(input.dry_run())?;
        }
        let begun = stream.put_at_once(&entries, minimum).map_err(|error| self.error(error))?;
        Ok((stream, begun))
    }

    /// Puts the records of a call that wait for a reshard; waits for it.
    fn go_on<I: Put>(&self, input: &I, part: Part) -> Outcome<PutTicket> {
        part.go_on(&input.entries(self)?).map_err(|error| self.error(error))
    }

    /// Puts without holding up the thread, unless there is no room in memory. `body` is what the input was read from.
    pub(super) async fn put_async<I: Put>(self: &Arc<Self>, input: I, body: &Bytes) -> Outcome<I::Output> {
        let (stream, begun) = self.begin(&input)?;
        let ticket = match begun {
            Begun::All(ticket) => {
                // What was read is let go of before the wait for the disk.
                drop(input);
                ticket
            }
            Begun::Part(part) => {
                // With the share that stands for the input, too.
                let (kinesis, body) = (self.clone(), body.clone());
                let go_on = move || {
                    let _body = body;
                    kinesis.go_on(&input, part)
                };
                blocking(I::OPERATION.name(), go_on).await??
            }
        };
        I::output(self, &stream, ticket.await)
    }

    pub(super) fn put_blocking<I: Put>(&self, input: I) -> Outcome<I::Output> {
        let (stream, begun) = self.begin(&input)?;
        let ticket = match begun {
            Begun::All(ticket) => ticket,
            Begun::Part(part) => self.go_on(&input, part)?,
        };
        I::output(self, &stream, ticket.wait())
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
