//! Listing shards and changing how many there are.

use crate::wire::kinesis as api;

use super::convert::{count, invalid, shard};
use super::page::{Listing, PageToken};
use super::streams::limit;
use super::{Kinesis, Outcome};

/// Shards on a page of `ListShards` unless asked for less; more may be asked for, and are not given.
const PAGE: i32 = 1_000;

impl Kinesis {
    pub(super) fn list_shards(&self, input: api::ListShardsInput) -> Outcome<api::ListShardsOutput> {
        let limit = limit(input.max_results, PAGE, PAGE);
        let (stream, filter, start) = match input.next_token.as_deref() {
            Some(token) => {
                let given = input.stream_name.is_some()
                    || input.stream_creation_timestamp.is_some()
                    || input.exclusive_start_shard_id.is_some()
                    || input.shard_filter.is_some();
                if given {
                    return Err(invalid("NextToken can't be given together with what it already says."));
                }
                let (stream, filter, after) = self.shards_page(token)?;
                // Of the ARN there may be both, as long as they agree.
                if input.stream_arn.is_some_and(|arn| arn != stream.arn()) {
                    return Err(invalid("NextToken is of another stream than StreamARN."));
                }
                (stream, filter, Some(after))
            }
            None => {
                let stream = self.stream(input.stream_name.as_deref(), input.stream_arn.as_deref())?;
                self.check_created(&stream, input.stream_creation_timestamp)?;
                (stream, input.shard_filter, input.exclusive_start_shard_id)
            }
        };
        let start = start.as_deref().map(|id| self.shard_id(Some(id))).transpose()?;
        let page = stream.list_shards(self.shard_filter(filter.as_ref())?, start, limit);
        let page = page.map_err(|error| self.error(error))?;
        let last = page.shards.last().filter(|_| page.has_more).map(|shard| shard.shard_id.to_string());
        let token = |last: String| {
            let created_ms = stream.describe().created_ms;
            let listing = Listing::Shards { stream: stream.name().to_owned(), created_ms, filter };
            self.page_token(PageToken::after(listing, &last))
        };
        Ok(api::ListShardsOutput { next_token: last.map(token), shards: Some(page.shards.iter().map(shard).collect()) })
    }

    pub(super) fn split_shard(&self, input: api::SplitShardInput) -> Outcome<()> {
        let stream = self.stream(input.stream_name.as_deref(), input.stream_arn.as_deref())?;
        let id = self.shard_id(input.shard_to_split.as_deref())?;
        let at = input.new_starting_hash_key.unwrap_or_default().parse().map_err(|error| self.error(error))?;
        stream.split_shard(id, at).map_err(|error| self.error(error))
    }

    pub(super) fn merge_shards(&self, input: api::MergeShardsInput) -> Outcome<()> {
        let stream = self.stream(input.stream_name.as_deref(), input.stream_arn.as_deref())?;
        let id = self.shard_id(input.shard_to_merge.as_deref())?;
        let adjacent = self.shard_id(input.adjacent_shard_to_merge.as_deref())?;
        stream.merge_shards(id, adjacent).map_err(|error| self.error(error))
    }

    pub(super) fn update_shard_count(&self, input: api::UpdateShardCountInput) -> Outcome<api::UpdateShardCountOutput> {
        let stream = self.stream(input.stream_name.as_deref(), input.stream_arn.as_deref())?;
        let target = input.target_shard_count.unwrap_or_default();
        let current = stream.describe().open_shard_count;
        stream.update_shard_count(target.max(0).unsigned_abs()).map_err(|error| self.error(error))?;
        Ok(api::UpdateShardCountOutput {
            stream_name: Some(stream.name().to_owned()),
            current_shard_count: Some(count(current)),
            target_shard_count: Some(target),
            stream_arn: Some(stream.arn()),
        })
    }
}
