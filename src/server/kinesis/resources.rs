//! Tags and policies of what an ARN names: a stream or a consumer.

use crate::error::Error;
use crate::stream::{Consumer, ConsumerStatus, Stream};
use crate::wire::ApiError;
use crate::wire::kinesis::{self as api, ErrorCode};

use super::consumers::CONSUMER_PART;
use super::convert::{invalid, tags};
use super::{Kinesis, Outcome};

enum Resource {
    Stream(Stream),
    Consumer(Stream, Consumer),
}

impl Kinesis {
    /// What an ARN names, unless it is being made or deleted.
    fn resource(&self, arn: Option<&str>) -> Outcome<Resource> {
        let resource = self.resource_by_arn(arn.unwrap_or_default())?;
        let (Resource::Stream(stream) | Resource::Consumer(stream, _)) = &resource;
        stream.check_made().map_err(|error| self.error(error))?;
        match &resource {
            Resource::Consumer(_, consumer) if consumer.consumer_status == ConsumerStatus::Deleting => {
                let what = format!("consumer {}", consumer.consumer_name);
                Err(self.error(Error::ResourceInUse { what, why: "it is being removed".to_owned() }))
            }
            _ => Ok(resource),
        }
    }

    fn resource_by_arn(&self, arn: &str) -> Outcome<Resource> {
        if arn.contains(":channel/") || arn.contains(":queue/") {
            return Err(invalid(format!("{arn}: there are no queues and channels in Braidlog yet.")));
        }
        if arn.contains(CONSUMER_PART) {
            return self.consumer_by_arn(arn).map(|(stream, consumer)| Resource::Consumer(stream, consumer));
        }
        self.stream(None, Some(arn)).map(Resource::Stream)
    }

    pub(super) fn tag_resource(&self, input: api::TagResourceInput) -> Outcome<()> {
        let tags = input.tags.unwrap_or_default();
        let done = match self.resource(input.resource_arn.as_deref())? {
            Resource::Stream(stream) => stream.add_tags(tags),
            Resource::Consumer(stream, consumer) => stream.tag_consumer(&consumer.consumer_name, tags),
        };
        done.map_err(|error| self.error(error))
    }

    pub(super) fn untag_resource(&self, input: api::UntagResourceInput) -> Outcome<()> {
        let keys = input.tag_keys.unwrap_or_default();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let done = match self.resource(input.resource_arn.as_deref())? {
            Resource::Stream(stream) => stream.remove_tags(&keys),
            Resource::Consumer(stream, consumer) => stream.untag_consumer(&consumer.consumer_name, &keys),
        };
        done.map_err(|error| self.error(error))
    }

    pub(super) fn list_tags_for_resource(
        &self,
        input: api::ListTagsForResourceInput,
    ) -> Outcome<api::ListTagsForResourceOutput> {
        let found = match self.resource(input.resource_arn.as_deref())? {
            Resource::Stream(stream) => stream.tags(),
            Resource::Consumer(_, consumer) => consumer.tags,
        };
        Ok(api::ListTagsForResourceOutput { tags: Some(tags(found)) })
    }

    pub(super) fn put_resource_policy(&self, input: api::PutResourcePolicyInput) -> Outcome<()> {
        let policy = input.policy.unwrap_or_default();
        let is_object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&policy).is_ok();
        if !is_object {
            return Err(invalid("Policy must be a JSON object."));
        }
        let done = match self.resource(input.resource_arn.as_deref())? {
            Resource::Stream(stream) => stream.put_resource_policy(&policy),
            Resource::Consumer(stream, consumer) => stream.set_consumer_policy(&consumer.consumer_name, Some(&policy)),
        };
        done.map_err(|error| self.error(error))
    }

    fn policy(&self, resource: &Resource) -> Option<String> {
        match resource {
            Resource::Stream(stream) => stream.resource_policy(),
            Resource::Consumer(_, consumer) => consumer.resource_policy.clone(),
        }
    }

    pub(super) fn get_resource_policy(
        &self,
        input: api::GetResourcePolicyInput,
    ) -> Outcome<api::GetResourcePolicyOutput> {
        let resource = self.resource(input.resource_arn.as_deref())?;
        // Without one the service answers with an empty text.
        Ok(api::GetResourcePolicyOutput { policy: Some(self.policy(&resource).unwrap_or_default()) })
    }

    pub(super) fn delete_resource_policy(&self, input: api::DeleteResourcePolicyInput) -> Outcome<()> {
        let resource = self.resource(input.resource_arn.as_deref())?;
        if self.policy(&resource).is_none() {
            let message = "There is no resource policy to delete.";
            return Err(ApiError::of(ErrorCode::ResourceNotFoundException, message));
        }
        let done = match resource {
            Resource::Stream(stream) => stream.delete_resource_policy(),
            Resource::Consumer(stream, consumer) => stream.set_consumer_policy(&consumer.consumer_name, None),
        };
        done.map_err(|error| self.error(error))
    }
}
