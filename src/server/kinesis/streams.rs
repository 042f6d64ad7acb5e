//! Operations of a stream as a whole, and of the account.

use crate::stream::{Distribution, ShardPage, StreamDescription, StreamMode, StreamOptions, StreamStatus};
use crate::wire::kinesis as api;

use super::convert::{count, encryption, invalid, metric_names, metrics, shard, tags, timestamp};
use super::page::{Listing, PageToken};
use super::{Kinesis, Outcome};

/// Names on a page of `ListStreams`, and shards on one of `DescribeStream`, unless asked for less.
const PAGE: i32 = 100;
const TAGS_PAGE: i32 = 50;

fn mode(details: Option<&api::StreamModeDetails>) -> StreamMode {
    match details.and_then(|details| details.stream_mode.as_deref()) {
        Some("ON_DEMAND") => StreamMode::OnDemand,
        _ => StreamMode::Provisioned,
    }
}

fn mode_details(mode: StreamMode) -> api::StreamModeDetails {
    let name = if mode == StreamMode::OnDemand { "ON_DEMAND" } else { "PROVISIONED" };
    api::StreamModeDetails { stream_mode: Some(name.to_owned()) }
}

fn distribution(strategy: Option<&str>) -> Distribution {
    if strategy == Some("AUTO") { Distribution::Auto } else { Distribution::ByKey }
}

/// A number that the model bounds below by zero.
fn unsigned(n: i32) -> u32 {
    n.max(0).unsigned_abs()
}

/// How many a page has: asked for, or as usual.
pub(super) fn limit(asked: Option<i32>, usual: i32, most: i32) -> usize {
    unsigned(asked.unwrap_or(usual).min(most)) as usize
}

/// Nothing is scaled towards it: what a stream takes, it takes from the start. The service has it only in accounts with a
/// `MinimumThroughputBillingCommitment`, which nobody is asked for where nothing is billed.
fn warm_throughput(mib: u32) -> api::WarmThroughputObject {
    let mib = i32::try_from(mib).unwrap_or(i32::MAX);
    api::WarmThroughputObject { target_mibps: Some(mib), current_mibps: Some(mib) }
}

fn monitoring(description: &StreamDescription) -> Vec<api::EnhancedMetrics> {
    vec![api::EnhancedMetrics { shard_level_metrics: Some(metric_names(&description.shard_metrics)) }]
}

impl Kinesis {
    pub(super) fn create_stream(&self, input: api::CreateStreamInput) -> Outcome<()> {
        let mode = mode(input.stream_mode_details.as_ref());
        let mut options =
            StreamOptions::new().mode(mode).distribution(distribution(input.record_distribution_strategy.as_deref()));
        match input.shard_count {
            Some(shards) => options = options.shards(unsigned(shards)),
            None if mode == StreamMode::Provisioned => {
                return Err(invalid("ShardCount is needed for a stream in provisioned mode."));
            }
            None => {}
        }
        if let Some(mib) = input.warm_throughput_mibps {
            options = options.warm_throughput_mib(unsigned(mib));
        }
        if let Some(kib) = input.max_record_size_in_kib {
            options = options.max_record_kib(unsigned(kib));
        }
        for (key, value) in input.tags.unwrap_or_default() {
            options = options.tag(key, value);
        }
        let name = input.stream_name.unwrap_or_default();
        self.engine.create_stream(&name, options).map(drop).map_err(|error| self.error(error))
    }

    pub(super) fn delete_stream(&self, input: api::DeleteStreamInput) -> Outcome<()> {
        let stream = self.stream(input.stream_name.as_deref(), input.stream_arn.as_deref())?;
        let enforce = input.enforce_consumer_deletion == Some(true);
        self.engine.delete_stream(stream.name(), enforce).map_err(|error| self.error(error))
    }

    pub(super) fn describe_stream(&self, input: api::DescribeStreamInput) -> Outcome<api::DescribeStreamOutput> {
        let stream = self.stream(input.stream_name.as_deref(), input.stream_arn.as_deref())?;
        let start = input.exclusive_start_shard_id.as_deref().map(|id| self.shard_id(Some(id))).transpose()?;
        let limit = limit(input.limit, PAGE, PAGE);
        let description = stream.describe();
        let page = match description.stream_status {
            StreamStatus::Creating | StreamStatus::Deleting => ShardPage { shards: Vec::new(), has_more: false },
            _ => stream.list_shards(Default::default(), start, limit).map_err(|error| self.error(error))?,
        };
        Ok(api::DescribeStreamOutput {
            stream_description: Some(api::StreamDescription {
                stream_name: Some(description.stream_name.clone()),
                stream_arn: Some(description.stream_arn.clone()),
                stream_status: Some(description.stream_status.name().to_owned()),
                stream_mode_details: Some(mode_details(description.mode)),
                shards: Some(page.shards.iter().map(shard).collect()),
                has_more_shards: Some(page.has_more),
                retention_period_hours: Some(count(description.retention_hours as usize)),
                stream_creation_timestamp: Some(timestamp(description.created_ms)),
                enhanced_monitoring: Some(monitoring(&description)),
                encryption_type: Some(encryption(&stream).unwrap_or("NONE").to_owned()),
                key_id: stream.encryption_key(),
            }),
        })
    }

    pub(super) fn describe_summary(
        &self,
        input: api::DescribeStreamSummaryInput,
    ) -> Outcome<api::DescribeStreamSummaryOutput> {
        let stream = self.stream(input.stream_name.as_deref(), input.stream_arn.as_deref())?;
        let description = stream.describe();
        let auto = description.distribution == Distribution::Auto;
        Ok(api::DescribeStreamSummaryOutput {
            stream_description_summary: Some(api::StreamDescriptionSummary {
                stream_name: Some(description.stream_name.clone()),
                stream_arn: Some(description.stream_arn.clone()),
                stream_status: Some(description.stream_status.name().to_owned()),
                stream_mode_details: Some(mode_details(description.mode)),
                retention_period_hours: Some(count(description.retention_hours as usize)),
                stream_creation_timestamp: Some(timestamp(description.created_ms)),
                enhanced_monitoring: Some(monitoring(&description)),
                encryption_type: Some(encryption(&stream).unwrap_or("NONE").to_owned()),
                key_id: stream.encryption_key(),
                open_shard_count: Some(count(description.open_shard_count)),
                consumer_count: Some(count(description.consumer_count)),
                warm_throughput: description.warm_throughput_mib.map(warm_throughput),
                max_record_size_in_kib: Some(count(description.max_record_kib as usize)),
                record_distribution_strategy: Some(if auto { "AUTO" } else { "USER_PARTITION_KEY" }.to_owned()),
                ..Default::default()
            }),
        })
    }

    pub(super) fn list_streams(&self, input: api::ListStreamsInput) -> Outcome<api::ListStreamsOutput> {
        let start = match input.next_token.as_deref() {
            Some(token) => Some(self.page(token, &Listing::Streams)?),
            None => input.exclusive_start_stream_name,
        };
        let page = self.engine.list_streams(start.as_deref(), limit(input.limit, PAGE, PAGE));
        let page = page.map_err(|error| self.error(error))?;
        let summary = |name: &String| {
            // One deleted meanwhile is left out.
            let description = self.engine.stream(name).ok()?.describe();
            Some(api::StreamSummary {
                stream_name: Some(description.stream_name),
                stream_arn: Some(description.stream_arn),
                stream_status: Some(description.stream_status.name().to_owned()),
                stream_mode_details: Some(mode_details(description.mode)),
                stream_creation_timestamp: Some(timestamp(description.created_ms)),
            })
        };
        let next = page.stream_names.last().filter(|_| page.has_more);
        Ok(api::ListStreamsOutput {
            has_more_streams: Some(page.has_more),
            next_token: next.map(|last| self.page_token(PageToken::after(Listing::Streams, last))),
            stream_summaries: Some(page.stream_names.iter().filter_map(summary).collect()),
            stream_names: Some(page.stream_names),
        })
    }

    pub(super) fn increase_retention(&self, input: api::IncreaseStreamRetentionPeriodInput) -> Outcome<()> {
        let stream = self.stream(input.stream_name.as_deref(), input.stream_arn.as_deref())?;
        let hours = unsigned(input.retention_period_hours.unwrap_or_default());
        stream.increase_retention_hours(hours).map_err(|error| self.error(error))
    }

    pub(super) fn decrease_retention(&self, input: api::DecreaseStreamRetentionPeriodInput) -> Outcome<()> {
        let stream = self.stream(input.stream_name.as_deref(), input.stream_arn.as_deref())?;
        let hours = unsigned(input.retention_period_hours.unwrap_or_default());
        stream.decrease_retention_hours(hours).map_err(|error| self.error(error))
    }

    pub(super) fn enable_monitoring(
        &self,
        input: api::EnableEnhancedMonitoringInput,
    ) -> Outcome<api::EnhancedMonitoringOutput> {
        let stream = self.stream(input.stream_name.as_deref(), input.stream_arn.as_deref())?;
        let wanted = metrics(input.shard_level_metrics.as_deref().unwrap_or_default());
        let (were, are) = stream.enable_shard_metrics(&wanted).map_err(|error| self.error(error))?;
        Ok(monitoring_output(&stream, &were, &are))
    }

    pub(super) fn disable_monitoring(
        &self,
        input: api::DisableEnhancedMonitoringInput,
    ) -> Outcome<api::EnhancedMonitoringOutput> {
        let stream = self.stream(input.stream_name.as_deref(), input.stream_arn.as_deref())?;
        let unwanted = metrics(input.shard_level_metrics.as_deref().unwrap_or_default());
        let (were, are) = stream.disable_shard_metrics(&unwanted).map_err(|error| self.error(error))?;
        Ok(monitoring_output(&stream, &were, &are))
    }

    pub(super) fn start_encryption(&self, input: api::StartStreamEncryptionInput) -> Outcome<()> {
        let stream = self.stream(input.stream_name.as_deref(), input.stream_arn.as_deref())?;
        if input.encryption_type.as_deref() != Some("KMS") {
            return Err(invalid("EncryptionType must be KMS."));
        }
        stream.set_encryption_key(input.key_id.as_deref()).map_err(|error| self.error(error))
    }

    pub(super) fn stop_encryption(&self, input: api::StopStreamEncryptionInput) -> Outcome<()> {
        let stream = self.stream(input.stream_name.as_deref(), input.stream_arn.as_deref())?;
        if input.encryption_type.as_deref() != Some("KMS") {
            return Err(invalid("EncryptionType must be KMS."));
        }
        stream.set_encryption_key(None).map_err(|error| self.error(error))
    }

    pub(super) fn update_max_record_size(&self, input: api::UpdateMaxRecordSizeInput) -> Outcome<()> {
        let stream = self.stream(None, input.stream_arn.as_deref())?;
        let kib = unsigned(input.max_record_size_in_kib.unwrap_or_default());
        stream.set_max_record_kib(kib).map_err(|error| self.error(error))
    }

    pub(super) fn update_stream_mode(&self, input: api::UpdateStreamModeInput) -> Outcome<()> {
        let stream = self.stream(None, input.stream_arn.as_deref())?;
        let mode = mode(input.stream_mode_details.as_ref());
        if input.warm_throughput_mibps.is_some() && mode == StreamMode::Provisioned {
            return Err(invalid("WarmThroughputMiBps is for streams in on-demand mode."));
        }
        let mib = input.warm_throughput_mibps.map(unsigned);
        stream.set_mode_and_warm_throughput(mode, mib).map_err(|error| self.error(error))
    }

    pub(super) fn update_distribution(&self, input: api::UpdateStreamRecordDistributionStrategyInput) -> Outcome<()> {
        let stream = self.stream(None, input.stream_arn.as_deref())?;
        let distribution = distribution(input.record_distribution_strategy.as_deref());
        stream.set_distribution(distribution).map_err(|error| self.error(error))
    }

    pub(super) fn update_warm_throughput(
        &self,
        input: api::UpdateStreamWarmThroughputInput,
    ) -> Outcome<api::UpdateStreamWarmThroughputOutput> {
        let stream = self.stream(input.stream_name.as_deref(), input.stream_arn.as_deref())?;
        let mib = unsigned(input.warm_throughput_mibps.unwrap_or_default());
        stream.set_warm_throughput_mib(mib).map_err(|error| self.error(error))?;
        Ok(api::UpdateStreamWarmThroughputOutput {
            stream_arn: Some(stream.arn()),
            stream_name: Some(stream.name().to_owned()),
            warm_throughput: Some(warm_throughput(mib)),
        })
    }

    pub(super) fn add_tags_to_stream(&self, input: api::AddTagsToStreamInput) -> Outcome<()> {
        let stream = self.stream(input.stream_name.as_deref(), input.stream_arn.as_deref())?;
        stream.add_tags(input.tags.unwrap_or_default()).map_err(|error| self.error(error))
    }

    pub(super) fn remove_tags_from_stream(&self, input: api::RemoveTagsFromStreamInput) -> Outcome<()> {
        let stream = self.stream(input.stream_name.as_deref(), input.stream_arn.as_deref())?;
        let keys = input.tag_keys.unwrap_or_default();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        stream.remove_tags(&keys).map_err(|error| self.error(error))
    }

    pub(super) fn list_tags_for_stream(
        &self,
        input: api::ListTagsForStreamInput,
    ) -> Outcome<api::ListTagsForStreamOutput> {
        let stream = self.stream(input.stream_name.as_deref(), input.stream_arn.as_deref())?;
        let start = input.exclusive_start_tag_key.unwrap_or_default();
        let mut page: Vec<_> = stream.tags().into_iter().filter(|(key, _)| *key > start).collect();
        let limit = limit(input.limit, TAGS_PAGE, TAGS_PAGE);
        let has_more = page.len() > limit;
        page.truncate(limit);
        Ok(api::ListTagsForStreamOutput { tags: Some(tags(page)), has_more_tags: Some(has_more) })
    }

    pub(super) fn describe_limits(&self, _: api::DescribeLimitsInput) -> Outcome<api::DescribeLimitsOutput> {
        let (mut open_shards, mut on_demand) = (0, 0);
        for description in self.engine.all_streams().iter().map(crate::stream::Stream::describe) {
            open_shards += description.open_shard_count;
            on_demand += usize::from(description.mode == StreamMode::OnDemand);
        }
        Ok(api::DescribeLimitsOutput {
            shard_limit: Some(count(self.engine.options().open_shards_max as usize)),
            open_shard_count: Some(count(open_shards)),
            on_demand_stream_count: Some(count(on_demand)),
            // There is no such limit here; the largest number that the model allows.
            on_demand_stream_count_limit: Some(1_000_000),
            channel_count: Some(0),
            channel_count_limit: Some(0),
        })
    }

    pub(super) fn describe_account_settings(
        &self,
        _: api::DescribeAccountSettingsInput,
    ) -> Outcome<api::DescribeAccountSettingsOutput> {
        Ok(api::DescribeAccountSettingsOutput { minimum_throughput_billing_commitment: Some(no_commitment()) })
    }

    pub(super) fn update_account_settings(
        &self,
        input: api::UpdateAccountSettingsInput,
    ) -> Outcome<api::UpdateAccountSettingsOutput> {
        let status = input.minimum_throughput_billing_commitment.and_then(|commitment| commitment.status);
        if status.as_deref() == Some("ENABLED") {
            return Err(invalid("Nothing is billed here, so there is nothing to commit to."));
        }
        Ok(api::UpdateAccountSettingsOutput { minimum_throughput_billing_commitment: Some(no_commitment()) })
    }

    /// A stream's time of creation against the one a request names, which tells namesakes apart.
    pub(super) fn check_created(
        &self,
        stream: &crate::stream::Stream,
        created: Option<crate::wire::scalar::Timestamp>,
    ) -> Outcome<()> {
        let Some(created) = created else { return Ok(()) };
        // Clients keep seconds or milliseconds of it.
        if created.0 / 1000 == timestamp(stream.describe().created_ms).0 / 1000 {
            return Ok(());
        }
        let what = format!("stream {} created at {}", stream.name(), created.0 as f64 / 1000.0);
        Err(self.error(crate::Error::ResourceNotFound { what }))
    }
}

fn no_commitment() -> api::MinimumThroughputBillingCommitmentOutput {
    api::MinimumThroughputBillingCommitmentOutput { status: Some("DISABLED".to_owned()), ..Default::default() }
}

fn monitoring_output(
    stream: &crate::stream::Stream,
    were: &[crate::stream::ShardMetric],
    are: &[crate::stream::ShardMetric],
) -> api::EnhancedMonitoringOutput {
    api::EnhancedMonitoringOutput {
        stream_name: Some(stream.name().to_owned()),
        current_shard_level_metrics: Some(metric_names(were)),
        desired_shard_level_metrics: Some(metric_names(are)),
        stream_arn: Some(stream.arn()),
    }
}
