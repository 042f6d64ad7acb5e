//! Registered consumers.

use crate::stream::{Consumer, Stream};
use crate::wire::kinesis as api;

use super::convert::{invalid, timestamp};
use super::page::{Listing, PageToken};
use super::streams::limit;
use super::{Kinesis, Outcome};

/// Consumers on a page of `ListStreamConsumers` unless asked for less; more may be asked for, and are not given.
const PAGE: i32 = 100;

/// What stands in a consumer's ARN between that of its stream and its name.
pub(super) const CONSUMER_PART: &str = "/consumer/";

fn described(consumer: Consumer) -> api::Consumer {
    api::Consumer {
        consumer_name: Some(consumer.consumer_name),
        consumer_arn: Some(consumer.consumer_arn),
        consumer_status: Some(consumer.consumer_status.name().to_owned()),
        consumer_creation_timestamp: Some(timestamp(consumer.created_ms)),
    }
}

impl Kinesis {
    pub(super) fn register_consumer(
        &self,
        input: api::RegisterStreamConsumerInput,
    ) -> Outcome<api::RegisterStreamConsumerOutput> {
        let stream = self.stream(None, input.stream_arn.as_deref())?;
        let name = input.consumer_name.unwrap_or_default();
        let consumer = stream.register_consumer(&name, input.tags.unwrap_or_default());
        let consumer = consumer.map_err(|error| self.error(error))?;
        // As the service answers, also where it is active already when it is asked for next.
        let status = Some("CREATING".to_owned());
        Ok(api::RegisterStreamConsumerOutput {
            consumer: Some(api::Consumer { consumer_status: status, ..described(consumer) }),
        })
    }

    /// The consumer with this ARN and its stream.
    pub(super) fn consumer_by_arn(&self, arn: &str) -> Outcome<(Stream, Consumer)> {
        let Some((stream, _)) = arn.split_once(CONSUMER_PART) else {
            return Err(invalid(format!("{arn} is no ARN of a consumer.")));
        };
        let stream = self.stream(None, Some(stream))?;
        let consumer = stream.consumer_by_arn(arn).map_err(|error| self.error(error))?;
        Ok((stream, consumer))
    }

    /// By its own ARN, or by its stream's and its name; by all of them if they agree.
    fn consumer(&self, stream: Option<&str>, name: Option<&str>, arn: Option<&str>) -> Outcome<(Stream, Consumer)> {
        match (stream, name, arn) {
            (_, _, Some(arn)) => {
                let (of, consumer) = self.consumer_by_arn(arn)?;
                let agree = stream.is_none_or(|stream| stream == of.arn())
                    && name.is_none_or(|name| name == consumer.consumer_name);
                if agree {
                    Ok((of, consumer))
                } else {
                    Err(invalid("ConsumerARN, ConsumerName and StreamARN do not agree."))
                }
            }
            (Some(stream), Some(name), None) => {
                let stream = self.stream(None, Some(stream))?;
                let consumer = stream.consumer(name).map_err(|error| self.error(error))?;
                Ok((stream, consumer))
            }
            _ => Err(invalid("Either ConsumerARN, or StreamARN and ConsumerName must be given.")),
        }
    }

    pub(super) fn deregister_consumer(&self, input: api::DeregisterStreamConsumerInput) -> Outcome<()> {
        let (stream, name, arn) = (&input.stream_arn, &input.consumer_name, &input.consumer_arn);
        let (stream, consumer) = self.consumer(stream.as_deref(), name.as_deref(), arn.as_deref())?;
        stream.deregister_consumer(&consumer.consumer_name).map_err(|error| self.error(error))
    }

    pub(super) fn describe_consumer(
        &self,
        input: api::DescribeStreamConsumerInput,
    ) -> Outcome<api::DescribeStreamConsumerOutput> {
        let (stream, name, arn) = (&input.stream_arn, &input.consumer_name, &input.consumer_arn);
        let (stream, consumer) = self.consumer(stream.as_deref(), name.as_deref(), arn.as_deref())?;
        let consumer = described(consumer);
        Ok(api::DescribeStreamConsumerOutput {
            consumer_description: Some(api::ConsumerDescription {
                consumer_name: consumer.consumer_name,
                consumer_arn: consumer.consumer_arn,
                consumer_status: consumer.consumer_status,
                consumer_creation_timestamp: consumer.consumer_creation_timestamp,
                stream_arn: Some(stream.arn()),
            }),
        })
    }

    pub(super) fn list_consumers(
        &self,
        input: api::ListStreamConsumersInput,
    ) -> Outcome<api::ListStreamConsumersOutput> {
        if input.next_token.is_some() && input.stream_creation_timestamp.is_some() {
            return Err(invalid("NextToken can't be given together with what it already says."));
        }
        let stream = self.stream(None, input.stream_arn.as_deref())?;
        self.check_created(&stream, input.stream_creation_timestamp)?;
        stream.check_made().map_err(|error| self.error(error))?;
        let listing = Listing::Consumers { stream: stream.arn(), created_ms: stream.describe().created_ms };
        let start = input.next_token.as_deref().map(|token| self.page(token, &listing)).transpose()?;
        // Sorted by name.
        let after = |consumer: &Consumer| start.as_ref().is_none_or(|start| consumer.consumer_name > *start);
        let mut consumers: Vec<Consumer> = stream.consumers().into_iter().filter(after).collect();
        let limit = limit(input.max_results, PAGE, PAGE);
        let has_more = consumers.len() > limit;
        consumers.truncate(limit);
        let last = consumers.last().filter(|_| has_more).map(|last| last.consumer_name.clone());
        Ok(api::ListStreamConsumersOutput {
            next_token: last.map(|last| self.page_token(PageToken::after(listing, &last))),
            consumers: Some(consumers.into_iter().map(described).collect()),
        })
    }
}
