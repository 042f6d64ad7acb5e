//! Kinesis Data Streams as a service: requests to calls of the engine, answers back.
//!
//! Nothing here decides what a stream does: handlers turn a typed request into calls of the engine and its answer into a typed
//! response. What a request may hold is checked by the model's bounds before a handler sees it.
//!
//! | file | operations |
//! |---|---|
//! | `streams` | of a stream as a whole |
//! | `shards` | listing and changing shards |
//! | `records` | putting, iterators, getting |
//! | `consumers` | registered consumers |
//! | `subscribe` | enhanced fan-out |
//! | `resources` | tags and policies by ARN |

mod consumers;
mod convert;
mod fault;
mod page;
mod records;
mod resources;
mod shards;
mod streams;
mod subscribe;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::engine::Engine;
use crate::server::body::{Budget, Draft, NO_ROOM};
use crate::server::metrics::{Metrics, Refusal};
use crate::stream::Stream;
use crate::wire::check::Shape;
use crate::wire::kinesis::{self as api, ErrorCode, Operation};
use crate::wire::{ApiError, Protocol};

use self::records::Put;

pub(super) use fault::Context;

/// What an operation answers.
pub(super) enum Reply {
    /// A body.
    Whole(Draft),
    /// Of operations that answer nothing.
    Nothing,
    /// Events, pushed as they come.
    Events(Box<subscribe::Events>),
}

/// The stream, consumer or ARN that a request names, once that is read; only where somebody keeps it.
pub(super) type About = Option<String>;

/// The service on an engine.
pub(super) struct Kinesis {
    engine: Engine,
    /// Members that the model doesn't have are refused.
    strict: bool,
    /// What a request is about is noted.
    audited: bool,
    /// Those that were logged already.
    unknown: Mutex<HashSet<(Operation, String)>>,
    metrics: Arc<Metrics>,
}

/// So many different unknown members are told apart; a client that invents more is not logged on.
const UNKNOWN_MAX: usize = 1_000;

type Outcome<T> = Result<T, ApiError>;

impl Kinesis {
    pub(super) fn new(engine: Engine, strict: bool, audited: bool, metrics: Arc<Metrics>) -> Kinesis {
        Kinesis { engine, strict, audited, unknown: Mutex::default(), metrics }
    }

    /// Whether the operation has to run where it may block. Puts wait for the disk without a thread of their own.
    pub(super) fn blocks(operation: Operation) -> bool {
        !matches!(operation, Operation::PutRecord | Operation::PutRecords)
    }

    /// Puts, which don't block: but for room in memory, so with a large body or little room the caller takes the other way.
    pub(super) async fn put(
        self: &Arc<Self>,
        operation: Operation,
        protocol: Protocol,
        body: &Bytes,
        budget: &Budget,
        about: &mut About,
    ) -> Outcome<Reply> {
        let call = Call { kinesis: self, operation, protocol, body, budget, about };
        match operation {
            Operation::PutRecord => call.put::<api::PutRecordInput>(self, body).await,
            _ => call.put::<api::PutRecordsInput>(self, body).await,
        }
    }

    /// Whether a put of so many bytes can be let in without waiting.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        // Its encoding may be a little larger than the request: records have headers.
        self.engine.store().core().has_room(2 * bytes as u64)
    }

    /// Everything but puts. May block.
    pub(super) fn call(
        &self,
        operation: Operation,
        protocol: Protocol,
        body: &[u8],
        budget: &Budget,
        about: &mut About,
    ) -> Outcome<Reply> {
        let call = Call { kinesis: self, operation, protocol, body, budget, about };
        match operation {
            Operation::AddTagsToStream => call.quiet(Kinesis::add_tags_to_stream),
            Operation::CreateStream => call.quiet(Kinesis::create_stream),
            Operation::DecreaseStreamRetentionPeriod => call.quiet(Kinesis::decrease_retention),
            Operation::DeleteResourcePolicy => call.quiet(Kinesis::delete_resource_policy),
            Operation::DeleteStream => call.quiet(Kinesis::delete_stream),
            Operation::DeregisterStreamConsumer => call.quiet(Kinesis::deregister_consumer),
            Operation::DescribeAccountSettings => call.run(Kinesis::describe_account_settings),
            Operation::DescribeLimits => call.run(Kinesis::describe_limits),
            Operation::DescribeStream => call.run(Kinesis::describe_stream),
            Operation::DescribeStreamConsumer => call.run(Kinesis::describe_consumer),
            Operation::DescribeStreamSummary => call.run(Kinesis::describe_summary),
            Operation::DisableEnhancedMonitoring => call.run(Kinesis::disable_monitoring),
            Operation::EnableEnhancedMonitoring => call.run(Kinesis::enable_monitoring),
            Operation::GetRecords => call.get_records(),
            Operation::GetResourcePolicy => call.run(Kinesis::get_resource_policy),
            Operation::GetShardIterator => call.run(Kinesis::get_shard_iterator),
            Operation::IncreaseStreamRetentionPeriod => call.quiet(Kinesis::increase_retention),
            Operation::ListShards => call.run(Kinesis::list_shards),
            Operation::ListStreamConsumers => call.run(Kinesis::list_consumers),
            Operation::ListStreams => call.run(Kinesis::list_streams),
            Operation::ListTagsForResource => call.run(Kinesis::list_tags_for_resource),
            Operation::ListTagsForStream => call.run(Kinesis::list_tags_for_stream),
            Operation::MergeShards => call.quiet(Kinesis::merge_shards),
            Operation::PutRecord => call.run(Kinesis::put_blocking::<api::PutRecordInput>),
            Operation::PutRecords => call.run(Kinesis::put_blocking::<api::PutRecordsInput>),
            Operation::PutResourcePolicy => call.quiet(Kinesis::put_resource_policy),
            Operation::RegisterStreamConsumer => call.run(Kinesis::register_consumer),
            Operation::RemoveTagsFromStream => call.quiet(Kinesis::remove_tags_from_stream),
            Operation::SplitShard => call.quiet(Kinesis::split_shard),
            Operation::StartStreamEncryption => call.quiet(Kinesis::start_encryption),
            Operation::StopStreamEncryption => call.quiet(Kinesis::stop_encryption),
            Operation::SubscribeToShard => {
                let input = call.read()?;
                self.subscribe_to_shard(&input, protocol).map(Box::new).map(Reply::Events)
            }
            Operation::TagResource => call.quiet(Kinesis::tag_resource),
            Operation::UntagResource => call.quiet(Kinesis::untag_resource),
            Operation::UpdateAccountSettings => call.run(Kinesis::update_account_settings),
            Operation::UpdateMaxRecordSize => call.quiet(Kinesis::update_max_record_size),
            Operation::UpdateShardCount => call.run(Kinesis::update_shard_count),
            Operation::UpdateStreamMode => call.quiet(Kinesis::update_stream_mode),
            Operation::UpdateStreamRecordDistributionStrategy => call.quiet(Kinesis::update_distribution),
            Operation::UpdateStreamWarmThroughput => call.run(Kinesis::update_warm_throughput),
            Operation::AcknowledgeDeadLetterQueueRecords
            | Operation::AcknowledgeQueueRecords
            | Operation::CreateChannel
            | Operation::CreateQueue
            | Operation::DeleteChannel
            | Operation::DeleteQueue
            | Operation::DescribeChannel
            | Operation::DescribeQueue
            | Operation::ListChannels
            | Operation::ListQueues
            | Operation::ReceiveDeadLetterQueueRecords
            | Operation::ReceiveQueueRecords
            | Operation::RestoreDeadLetterQueueRecords
            | Operation::UpdateChannel
            | Operation::UpdateDeadLetterQueueRecordsVisibility
            | Operation::UpdateQueue
            | Operation::UpdateQueueRecordsVisibility => Err(not_yet(operation)),
        }
    }

    /// Reads the input of an operation.
    fn read<T: DeserializeOwned + Shape>(
        &self,
        operation: Operation,
        protocol: Protocol,
        body: &[u8],
        about: &mut About,
    ) -> Outcome<T> {
        let decoded = protocol.decode::<T>(body)?;
        if self.audited {
            *about = decoded.input.resource().map(str::to_owned);
        }
        for path in decoded.unknown {
            self.metrics.unknown_member();
            if self.strict {
                let what = format!("{} has no member {path}", operation.name());
                return Err(ApiError::new(400, "ValidationException", what));
            }
            let mut seen = self.unknown.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if seen.len() < UNKNOWN_MAX && seen.insert((operation, path.clone())) {
                tracing::warn!(operation = operation.name(), member = path, "a request has a member that is not known");
            }
        }
        Ok(decoded.input)
    }

    /// The stream that a request names, by name, by ARN, or by both if they agree.
    fn stream(&self, name: Option<&str>, arn: Option<&str>) -> Outcome<Stream> {
        let context = Context(&self.engine);
        let stream = match (name, arn) {
            (_, Some(arn)) => self.engine.stream_by_arn(arn),
            (Some(name), None) => self.engine.stream(name),
            (None, None) => {
                let message = "Either StreamName or StreamARN must be given.";
                return Err(ApiError::of(ErrorCode::InvalidArgumentException, message));
            }
        };
        let stream = stream.map_err(|error| context.error(error))?;
        match name {
            Some(name) if name != stream.name() => {
                let message = format!("StreamName {name} and StreamARN {} name different streams.", stream.arn());
                Err(ApiError::of(ErrorCode::InvalidArgumentException, message))
            }
            _ => Ok(stream),
        }
    }

    /// Writes an answer.
    fn reply(&self, protocol: Protocol, budget: &Budget, output: &impl Serialize) -> Outcome<Reply> {
        self.reply_in(protocol, budget.draft(), output)
    }

    /// Writes an answer where there is room for it.
    fn reply_in(&self, protocol: Protocol, mut draft: Draft, output: &impl Serialize) -> Outcome<Reply> {
        // Of values that all have a form: it is room that is missing.
        protocol.encode_to(output, &mut draft).map_err(|_| self.no_room())?;
        Ok(Reply::Whole(draft))
    }

    fn no_room(&self) -> ApiError {
        self.metrics.refused(Refusal::Memory);
        ApiError::new(503, "ServiceUnavailableException", NO_ROOM)
    }

    /// An engine's error as the service says it.
    fn error(&self, error: crate::Error) -> ApiError {
        Context(&self.engine).error(error)
    }
}

/// One request on its way to a handler.
struct Call<'a> {
    kinesis: &'a Kinesis,
    operation: Operation,
    protocol: Protocol,
    body: &'a [u8],
    budget: &'a Budget,
    about: &'a mut About,
}

impl Call<'_> {
    fn read<T: DeserializeOwned + Shape>(self) -> Outcome<T> {
        self.kinesis.read(self.operation, self.protocol, self.body, self.about)
    }

    fn run<I: DeserializeOwned + Shape, O: Serialize>(self, handler: fn(&Kinesis, I) -> Outcome<O>) -> Outcome<Reply> {
        let Call { kinesis, protocol, budget, .. } = self;
        let output = handler(kinesis, self.read()?)?;
        kinesis.reply(protocol, budget, &output)
    }

    /// The answer that may be large: it has its room before it is written.
    fn get_records(self) -> Outcome<Reply> {
        let Call { kinesis, protocol, budget, .. } = self;
        let output = kinesis.get_records(self.read()?)?;
        let draft = budget.draft_of(records::encoded_len(protocol, &output)).map_err(|_| kinesis.no_room())?;
        kinesis.reply_in(protocol, draft, &output)
    }

    async fn put<I: Put>(self, kinesis: &Arc<Kinesis>, body: &Bytes) -> Outcome<Reply> {
        let Call { protocol, budget, .. } = self;
        let output = kinesis.put_async(self.read::<I>()?, body).await?;
        kinesis.reply(protocol, budget, &output)
    }

    /// Of an operation that answers nothing.
    fn quiet<I: DeserializeOwned + Shape>(self, handler: fn(&Kinesis, I) -> Outcome<()>) -> Outcome<Reply> {
        let kinesis = self.kinesis;
        handler(kinesis, self.read()?).map(|()| Reply::Nothing)
    }
}

/// Runs what waits for the disk where it holds nobody up.
pub(super) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Outcome<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, what, "a request did not come to its end");
        ApiError::of(ErrorCode::InternalFailureException, "The request did not come to its end.")
    })
}

/// What is modelled and not served yet.
fn not_yet(operation: Operation) -> ApiError {
    let message = format!("{} is not available in Braidlog yet.", operation.name());
    // Every one of them names it (`tests` checks).
    ApiError::of(ErrorCode::InvalidArgumentException, message)
}

/// The answer to a request that only asks whether it would succeed.
fn dry_run(asked: Option<bool>) -> Outcome<()> {
    let message = "Request would have succeeded, but DryRun flag is set.";
    if asked == Some(true) { Err(ApiError::of(ErrorCode::DryRunOperationException, message)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_served_answers_with_an_error_that_its_model_names() {
        for operation in Operation::ALL {
            if operation.name().contains("Queue") || operation.name().contains("Channel") {
                assert!(operation.errors().contains(&ErrorCode::InvalidArgumentException), "{}", operation.name());
            }
        }
    }
}
