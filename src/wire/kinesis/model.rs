//! The operations and types of Kinesis Data Streams.
//!
//! Written by `tools/wire_model.py` from the service model of 2013-12-02 in botocore 1.44.5; not by hand.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::wire::bounded;
use crate::wire::check::{Bounds, Report, Shape, Text};
use crate::wire::scalar::{Blob, Timestamp};

/// What `X-Amz-Target` begins with, before a dot and the operation.
pub const TARGET_PREFIX: &str = "Kinesis_20131202";

/// An operation of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// `AcknowledgeDeadLetterQueueRecords`.
    AcknowledgeDeadLetterQueueRecords,
    /// `AcknowledgeQueueRecords`.
    AcknowledgeQueueRecords,
    /// `AddTagsToStream`.
    AddTagsToStream,
    /// `CreateChannel`.
    CreateChannel,
    /// `CreateQueue`.
    CreateQueue,
    /// `CreateStream`.
    CreateStream,
    /// `DecreaseStreamRetentionPeriod`.
    DecreaseStreamRetentionPeriod,
    /// `DeleteChannel`.
    DeleteChannel,
    /// `DeleteQueue`.
    DeleteQueue,
    /// `DeleteResourcePolicy`.
    DeleteResourcePolicy,
    /// `DeleteStream`.
    DeleteStream,
    /// `DeregisterStreamConsumer`.
    DeregisterStreamConsumer,
    /// `DescribeAccountSettings`.
    DescribeAccountSettings,
    /// `DescribeChannel`.
    DescribeChannel,
    /// `DescribeLimits`.
    DescribeLimits,
    /// `DescribeQueue`.
    DescribeQueue,
    /// `DescribeStream`.
    DescribeStream,
    /// `DescribeStreamConsumer`.
    DescribeStreamConsumer,
    /// `DescribeStreamSummary`.
    DescribeStreamSummary,
    /// `DisableEnhancedMonitoring`.
    DisableEnhancedMonitoring,
    /// `EnableEnhancedMonitoring`.
    EnableEnhancedMonitoring,
    /// `GetRecords`.
    GetRecords,
    /// `GetResourcePolicy`.
    GetResourcePolicy,
    /// `GetShardIterator`.
    GetShardIterator,
    /// `IncreaseStreamRetentionPeriod`.
    IncreaseStreamRetentionPeriod,
    /// `ListChannels`.
    ListChannels,
    /// `ListQueues`.
    ListQueues,
    /// `ListShards`.
    ListShards,
    /// `ListStreamConsumers`.
    ListStreamConsumers,
    /// `ListStreams`.
    ListStreams,
    /// `ListTagsForResource`.
    ListTagsForResource,
    /// `ListTagsForStream`.
    ListTagsForStream,
    /// `MergeShards`.
    MergeShards,
    /// `PutRecord`.
    PutRecord,
    /// `PutRecords`.
    PutRecords,
    /// `PutResourcePolicy`.
    PutResourcePolicy,
    /// `ReceiveDeadLetterQueueRecords`.
    ReceiveDeadLetterQueueRecords,
    /// `ReceiveQueueRecords`.
    ReceiveQueueRecords,
    /// `RegisterStreamConsumer`.
    RegisterStreamConsumer,
    /// `RemoveTagsFromStream`.
    RemoveTagsFromStream,
    /// `RestoreDeadLetterQueueRecords`.
    RestoreDeadLetterQueueRecords,
    /// `SplitShard`.
    SplitShard,
    /// `StartStreamEncryption`.
    StartStreamEncryption,
    /// `StopStreamEncryption`.
    StopStreamEncryption,
    /// `SubscribeToShard`.
    SubscribeToShard,
    /// `TagResource`.
    TagResource,
    /// `UntagResource`.
    UntagResource,
    /// `UpdateAccountSettings`.
    UpdateAccountSettings,
    /// `UpdateChannel`.
    UpdateChannel,
    /// `UpdateDeadLetterQueueRecordsVisibility`.
    UpdateDeadLetterQueueRecordsVisibility,
    /// `UpdateMaxRecordSize`.
    UpdateMaxRecordSize,
    /// `UpdateQueue`.
    UpdateQueue,
    /// `UpdateQueueRecordsVisibility`.
    UpdateQueueRecordsVisibility,
    /// `UpdateShardCount`.
    UpdateShardCount,
    /// `UpdateStreamMode`.
    UpdateStreamMode,
    /// `UpdateStreamRecordDistributionStrategy`.
    UpdateStreamRecordDistributionStrategy,
    /// `UpdateStreamWarmThroughput`.
    UpdateStreamWarmThroughput,
}

impl Operation {
    /// All of them, in alphabetical order.
    pub const ALL: &[Operation] = &[
        Operation::AcknowledgeDeadLetterQueueRecords,
        Operation::AcknowledgeQueueRecords,
        Operation::AddTagsToStream,
        Operation::CreateChannel,
        Operation::CreateQueue,
        Operation::CreateStream,
        Operation::DecreaseStreamRetentionPeriod,
        Operation::DeleteChannel,
        Operation::DeleteQueue,
        Operation::DeleteResourcePolicy,
        Operation::DeleteStream,
        Operation::DeregisterStreamConsumer,
        Operation::DescribeAccountSettings,
        Operation::DescribeChannel,
        Operation::DescribeLimits,
        Operation::DescribeQueue,
        Operation::DescribeStream,
        Operation::DescribeStreamConsumer,
        Operation::DescribeStreamSummary,
        Operation::DisableEnhancedMonitoring,
        Operation::EnableEnhancedMonitoring,
        Operation::GetRecords,
        Operation::GetResourcePolicy,
        Operation::GetShardIterator,
        Operation::IncreaseStreamRetentionPeriod,
        Operation::ListChannels,
        Operation::ListQueues,
        Operation::ListShards,
        Operation::ListStreamConsumers,
        Operation::ListStreams,
        Operation::ListTagsForResource,
        Operation::ListTagsForStream,
        Operation::MergeShards,
        Operation::PutRecord,
        Operation::PutRecords,
        Operation::PutResourcePolicy,
        Operation::ReceiveDeadLetterQueueRecords,
        Operation::ReceiveQueueRecords,
        Operation::RegisterStreamConsumer,
        Operation::RemoveTagsFromStream,
        Operation::RestoreDeadLetterQueueRecords,
        Operation::SplitShard,
        Operation::StartStreamEncryption,
        Operation::StopStreamEncryption,
        Operation::SubscribeToShard,
        Operation::TagResource,
        Operation::UntagResource,
        Operation::UpdateAccountSettings,
        Operation::UpdateChannel,
        Operation::UpdateDeadLetterQueueRecordsVisibility,
        Operation::UpdateMaxRecordSize,
        Operation::UpdateQueue,
        Operation::UpdateQueueRecordsVisibility,
        Operation::UpdateShardCount,
        Operation::UpdateStreamMode,
        Operation::UpdateStreamRecordDistributionStrategy,
        Operation::UpdateStreamWarmThroughput,
    ];

    /// Its name in the model.
    pub fn name(self) -> &'static str {
        match self {
            Operation::AcknowledgeDeadLetterQueueRecords => "AcknowledgeDeadLetterQueueRecords",
            Operation::AcknowledgeQueueRecords => "AcknowledgeQueueRecords",
            Operation::AddTagsToStream => "AddTagsToStream",
            Operation::CreateChannel => "CreateChannel",
            Operation::CreateQueue => "CreateQueue",
            Operation::CreateStream => "CreateStream",
            Operation::DecreaseStreamRetentionPeriod => "DecreaseStreamRetentionPeriod",
            Operation::DeleteChannel => "DeleteChannel",
            Operation::DeleteQueue => "DeleteQueue",
            Operation::DeleteResourcePolicy => "DeleteResourcePolicy",
            Operation::DeleteStream => "DeleteStream",
            Operation::DeregisterStreamConsumer => "DeregisterStreamConsumer",
            Operation::DescribeAccountSettings => "DescribeAccountSettings",
            Operation::DescribeChannel => "DescribeChannel",
            Operation::DescribeLimits => "DescribeLimits",
            Operation::DescribeQueue => "DescribeQueue",
            Operation::DescribeStream => "DescribeStream",
            Operation::DescribeStreamConsumer => "DescribeStreamConsumer",
            Operation::DescribeStreamSummary => "DescribeStreamSummary",
            Operation::DisableEnhancedMonitoring => "DisableEnhancedMonitoring",
            Operation::EnableEnhancedMonitoring => "EnableEnhancedMonitoring",
            Operation::GetRecords => "GetRecords",
            Operation::GetResourcePolicy => "GetResourcePolicy",
            Operation::GetShardIterator => "GetShardIterator",
            Operation::IncreaseStreamRetentionPeriod => "IncreaseStreamRetentionPeriod",
            Operation::ListChannels => "ListChannels",
            Operation::ListQueues => "ListQueues",
            Operation::ListShards => "ListShards",
            Operation::ListStreamConsumers => "ListStreamConsumers",
            Operation::ListStreams => "ListStreams",
            Operation::ListTagsForResource => "ListTagsForResource",
            Operation::ListTagsForStream => "ListTagsForStream",
            Operation::MergeShards => "MergeShards",
            Operation::PutRecord => "PutRecord",
            Operation::PutRecords => "PutRecords",
            Operation::PutResourcePolicy => "PutResourcePolicy",
            Operation::ReceiveDeadLetterQueueRecords => "ReceiveDeadLetterQueueRecords",
            Operation::ReceiveQueueRecords => "ReceiveQueueRecords",
            Operation::RegisterStreamConsumer => "RegisterStreamConsumer",
            Operation::RemoveTagsFromStream => "RemoveTagsFromStream",
            Operation::RestoreDeadLetterQueueRecords => "RestoreDeadLetterQueueRecords",
            Operation::SplitShard => "SplitShard",
            Operation::StartStreamEncryption => "StartStreamEncryption",
            Operation::StopStreamEncryption => "StopStreamEncryption",
            Operation::SubscribeToShard => "SubscribeToShard",
            Operation::TagResource => "TagResource",
            Operation::UntagResource => "UntagResource",
            Operation::UpdateAccountSettings => "UpdateAccountSettings",
            Operation::UpdateChannel => "UpdateChannel",
            Operation::UpdateDeadLetterQueueRecordsVisibility => "UpdateDeadLetterQueueRecordsVisibility",
            Operation::UpdateMaxRecordSize => "UpdateMaxRecordSize",
            Operation::UpdateQueue => "UpdateQueue",
            Operation::UpdateQueueRecordsVisibility => "UpdateQueueRecordsVisibility",
            Operation::UpdateShardCount => "UpdateShardCount",
            Operation::UpdateStreamMode => "UpdateStreamMode",
            Operation::UpdateStreamRecordDistributionStrategy => "UpdateStreamRecordDistributionStrategy",
            Operation::UpdateStreamWarmThroughput => "UpdateStreamWarmThroughput",
        }
    }

    /// The errors that the model names for it.
    pub fn errors(self) -> &'static [ErrorCode] {
        match self {
            Operation::AcknowledgeDeadLetterQueueRecords => &[
                ErrorCode::AccessDeniedException,
                ErrorCode::InternalFailureException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::ThrottlingException,
            ],
            Operation::AcknowledgeQueueRecords => &[
                ErrorCode::AccessDeniedException,
                ErrorCode::InternalFailureException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::ThrottlingException,
            ],
            Operation::AddTagsToStream => &[
                ErrorCode::ResourceNotFoundException,
                ErrorCode::ResourceInUseException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::LimitExceededException,
                ErrorCode::AccessDeniedException,
            ],
            Operation::CreateChannel => &[
                ErrorCode::ValidationException,
                ErrorCode::ResourceInUseException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::LimitExceededException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::KMSDisabledException,
                ErrorCode::KMSInvalidStateException,
                ErrorCode::KMSAccessDeniedException,
                ErrorCode::KMSNotFoundException,
                ErrorCode::KMSOptInRequired,
                ErrorCode::KMSThrottlingException,
                ErrorCode::AccessDeniedException,
            ],
            Operation::CreateQueue => &[
                ErrorCode::ValidationException,
                ErrorCode::ResourceInUseException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::LimitExceededException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::AccessDeniedException,
                ErrorCode::InternalFailureException,
            ],
            Operation::CreateStream => &[
                ErrorCode::ResourceInUseException,
                ErrorCode::LimitExceededException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::ValidationException,
            ],
            Operation::DecreaseStreamRetentionPeriod => &[
                ErrorCode::ResourceInUseException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::LimitExceededException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::AccessDeniedException,
            ],
            Operation::DeleteChannel => &[
                ErrorCode::ValidationException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::LimitExceededException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::AccessDeniedException,
            ],
            Operation::DeleteQueue => &[
                ErrorCode::ValidationException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::LimitExceededException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::AccessDeniedException,
                ErrorCode::InternalFailureException,
            ],
            Operation::DeleteResourcePolicy => &[
                ErrorCode::ValidationException,
                ErrorCode::AccessDeniedException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::LimitExceededException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::ResourceInUseException,
                ErrorCode::InternalFailureException,
            ],
            Operation::DeleteStream => &[
                ErrorCode::ResourceNotFoundException,
                ErrorCode::LimitExceededException,
                ErrorCode::ResourceInUseException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::AccessDeniedException,
            ],
            Operation::DeregisterStreamConsumer => &[
                ErrorCode::LimitExceededException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::InvalidArgumentException,
            ],
            Operation::DescribeAccountSettings => &[ErrorCode::LimitExceededException],
            Operation::DescribeChannel => &[
                ErrorCode::ValidationException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::LimitExceededException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::AccessDeniedException,
            ],
            Operation::DescribeLimits => &[ErrorCode::LimitExceededException],
            Operation::DescribeQueue => &[
                ErrorCode::ValidationException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::LimitExceededException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::AccessDeniedException,
                ErrorCode::InternalFailureException,
            ],
            Operation::DescribeStream => &[
                ErrorCode::ResourceNotFoundException,
                ErrorCode::LimitExceededException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::AccessDeniedException,
            ],
            Operation::DescribeStreamConsumer => &[
                ErrorCode::LimitExceededException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::InvalidArgumentException,
            ],
            Operation::DescribeStreamSummary => &[
                ErrorCode::ResourceNotFoundException,
                ErrorCode::LimitExceededException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::AccessDeniedException,
            ],
            Operation::DisableEnhancedMonitoring => &[
                ErrorCode::InvalidArgumentException,
                ErrorCode::LimitExceededException,
                ErrorCode::ResourceInUseException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::AccessDeniedException,
            ],
            Operation::EnableEnhancedMonitoring => &[
                ErrorCode::InvalidArgumentException,
                ErrorCode::LimitExceededException,
                ErrorCode::ResourceInUseException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::AccessDeniedException,
            ],
            Operation::GetRecords => &[
                ErrorCode::ResourceNotFoundException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::ProvisionedThroughputExceededException,
                ErrorCode::ExpiredIteratorException,
                ErrorCode::KMSDisabledException,
                ErrorCode::KMSInvalidStateException,
                ErrorCode::KMSAccessDeniedException,
                ErrorCode::KMSNotFoundException,
                ErrorCode::KMSOptInRequired,
                ErrorCode::KMSThrottlingException,
                ErrorCode::AccessDeniedException,
                ErrorCode::InternalFailureException,
                ErrorCode::DryRunOperationException,
            ],
            Operation::GetResourcePolicy => &[
                ErrorCode::ValidationException,
                ErrorCode::AccessDeniedException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::LimitExceededException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::ResourceInUseException,
                ErrorCode::InternalFailureException,
            ],
            Operation::GetShardIterator => &[
                ErrorCode::ResourceNotFoundException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::ProvisionedThroughputExceededException,
                ErrorCode::AccessDeniedException,
                ErrorCode::InternalFailureException,
                ErrorCode::DryRunOperationException,
            ],
            Operation::IncreaseStreamRetentionPeriod => &[
                ErrorCode::ResourceInUseException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::LimitExceededException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::AccessDeniedException,
            ],
            Operation::ListChannels => &[
                ErrorCode::ValidationException,
                ErrorCode::ExpiredNextTokenException,
                ErrorCode::LimitExceededException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::AccessDeniedException,
            ],
            Operation::ListQueues => &[
                ErrorCode::ValidationException,
                ErrorCode::ExpiredNextTokenException,
                ErrorCode::LimitExceededException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::AccessDeniedException,
                ErrorCode::InternalFailureException,
            ],
            Operation::ListShards => &[
                ErrorCode::ResourceNotFoundException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::LimitExceededException,
                ErrorCode::ExpiredNextTokenException,
                ErrorCode::ResourceInUseException,
                ErrorCode::AccessDeniedException,
            ],
            Operation::ListStreamConsumers => &[
                ErrorCode::ResourceNotFoundException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::LimitExceededException,
                ErrorCode::ExpiredNextTokenException,
                ErrorCode::ResourceInUseException,
            ],
            Operation::ListStreams => &[
                ErrorCode::LimitExceededException,
                ErrorCode::ExpiredNextTokenException,
                ErrorCode::InvalidArgumentException,
            ],
            Operation::ListTagsForResource => &[
                ErrorCode::ValidationException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::ResourceInUseException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::LimitExceededException,
                ErrorCode::AccessDeniedException,
                ErrorCode::InternalFailureException,
            ],
            Operation::ListTagsForStream => &[
                ErrorCode::ResourceNotFoundException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::LimitExceededException,
                ErrorCode::AccessDeniedException,
            ],
            Operation::MergeShards => &[
                ErrorCode::ResourceNotFoundException,
                ErrorCode::ResourceInUseException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::LimitExceededException,
                ErrorCode::ValidationException,
                ErrorCode::AccessDeniedException,
            ],
            Operation::PutRecord => &[
                ErrorCode::ResourceNotFoundException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::ProvisionedThroughputExceededException,
                ErrorCode::KMSDisabledException,
                ErrorCode::KMSInvalidStateException,
                ErrorCode::KMSAccessDeniedException,
                ErrorCode::KMSNotFoundException,
                ErrorCode::KMSOptInRequired,
                ErrorCode::KMSThrottlingException,
                ErrorCode::AccessDeniedException,
                ErrorCode::InternalFailureException,
                ErrorCode::DryRunOperationException,
            ],
            Operation::PutRecords => &[
                ErrorCode::ResourceNotFoundException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::ProvisionedThroughputExceededException,
                ErrorCode::KMSDisabledException,
                ErrorCode::KMSInvalidStateException,
                ErrorCode::KMSAccessDeniedException,
                ErrorCode::KMSNotFoundException,
                ErrorCode::KMSOptInRequired,
                ErrorCode::KMSThrottlingException,
                ErrorCode::AccessDeniedException,
                ErrorCode::InternalFailureException,
                ErrorCode::DryRunOperationException,
            ],
            Operation::PutResourcePolicy => &[
                ErrorCode::ValidationException,
                ErrorCode::AccessDeniedException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::LimitExceededException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::ResourceInUseException,
                ErrorCode::InternalFailureException,
            ],
            Operation::ReceiveDeadLetterQueueRecords => &[
                ErrorCode::AccessDeniedException,
                ErrorCode::InternalFailureException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::KMSAccessDeniedException,
                ErrorCode::KMSDisabledException,
                ErrorCode::KMSInvalidStateException,
                ErrorCode::KMSNotFoundException,
                ErrorCode::KMSOptInRequired,
                ErrorCode::KMSThrottlingException,
                ErrorCode::ThrottlingException,
            ],
            Operation::ReceiveQueueRecords => &[
                ErrorCode::AccessDeniedException,
                ErrorCode::InternalFailureException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::KMSAccessDeniedException,
                ErrorCode::KMSDisabledException,
                ErrorCode::KMSInvalidStateException,
                ErrorCode::KMSNotFoundException,
                ErrorCode::KMSOptInRequired,
                ErrorCode::KMSThrottlingException,
                ErrorCode::ThrottlingException,
            ],
            Operation::RegisterStreamConsumer => &[
                ErrorCode::InvalidArgumentException,
                ErrorCode::LimitExceededException,
                ErrorCode::ResourceInUseException,
                ErrorCode::ResourceNotFoundException,
            ],
            Operation::RemoveTagsFromStream => &[
                ErrorCode::ResourceNotFoundException,
                ErrorCode::ResourceInUseException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::LimitExceededException,
                ErrorCode::AccessDeniedException,
            ],
            Operation::RestoreDeadLetterQueueRecords => &[
                ErrorCode::AccessDeniedException,
                ErrorCode::InternalFailureException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::ThrottlingException,
            ],
            Operation::SplitShard => &[
                ErrorCode::ResourceNotFoundException,
                ErrorCode::ResourceInUseException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::LimitExceededException,
                ErrorCode::ValidationException,
                ErrorCode::AccessDeniedException,
            ],
            Operation::StartStreamEncryption => &[
                ErrorCode::InvalidArgumentException,
                ErrorCode::LimitExceededException,
                ErrorCode::ResourceInUseException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::KMSDisabledException,
                ErrorCode::KMSInvalidStateException,
                ErrorCode::KMSAccessDeniedException,
                ErrorCode::KMSNotFoundException,
                ErrorCode::KMSOptInRequired,
                ErrorCode::KMSThrottlingException,
                ErrorCode::AccessDeniedException,
            ],
            Operation::StopStreamEncryption => &[
                ErrorCode::InvalidArgumentException,
                ErrorCode::LimitExceededException,
                ErrorCode::ResourceInUseException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::AccessDeniedException,
            ],
            Operation::SubscribeToShard => &[
                ErrorCode::ResourceNotFoundException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::ResourceInUseException,
                ErrorCode::LimitExceededException,
                ErrorCode::AccessDeniedException,
                ErrorCode::DryRunOperationException,
            ],
            Operation::TagResource => &[
                ErrorCode::ValidationException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::ResourceInUseException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::LimitExceededException,
                ErrorCode::AccessDeniedException,
                ErrorCode::InternalFailureException,
            ],
            Operation::UntagResource => &[
                ErrorCode::ValidationException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::ResourceInUseException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::LimitExceededException,
                ErrorCode::AccessDeniedException,
                ErrorCode::InternalFailureException,
            ],
            Operation::UpdateAccountSettings => &[
                ErrorCode::InvalidArgumentException,
                ErrorCode::ValidationException,
                ErrorCode::LimitExceededException,
            ],
            Operation::UpdateChannel => &[
                ErrorCode::ValidationException,
                ErrorCode::ResourceInUseException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::LimitExceededException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::AccessDeniedException,
            ],
            Operation::UpdateDeadLetterQueueRecordsVisibility => &[
                ErrorCode::AccessDeniedException,
                ErrorCode::InternalFailureException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::ThrottlingException,
            ],
            Operation::UpdateMaxRecordSize => &[
                ErrorCode::ResourceInUseException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::LimitExceededException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::AccessDeniedException,
                ErrorCode::ValidationException,
            ],
            Operation::UpdateQueue => &[
                ErrorCode::ValidationException,
                ErrorCode::ResourceInUseException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::LimitExceededException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::AccessDeniedException,
                ErrorCode::InternalFailureException,
            ],
            Operation::UpdateQueueRecordsVisibility => &[
                ErrorCode::AccessDeniedException,
                ErrorCode::InternalFailureException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::ThrottlingException,
            ],
            Operation::UpdateShardCount => &[
                ErrorCode::InvalidArgumentException,
                ErrorCode::LimitExceededException,
                ErrorCode::ResourceInUseException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::ValidationException,
                ErrorCode::AccessDeniedException,
            ],
            Operation::UpdateStreamMode => &[
                ErrorCode::InvalidArgumentException,
                ErrorCode::LimitExceededException,
                ErrorCode::ResourceInUseException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::ValidationException,
            ],
            Operation::UpdateStreamRecordDistributionStrategy => &[
                ErrorCode::ResourceNotFoundException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::ResourceInUseException,
                ErrorCode::LimitExceededException,
                ErrorCode::AccessDeniedException,
                ErrorCode::ValidationException,
            ],
            Operation::UpdateStreamWarmThroughput => &[
                ErrorCode::AccessDeniedException,
                ErrorCode::ResourceNotFoundException,
                ErrorCode::LimitExceededException,
                ErrorCode::InvalidArgumentException,
                ErrorCode::ResourceInUseException,
                ErrorCode::ValidationException,
            ],
        }
    }
}

/// An error that the model names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorCode {
    /// `AccessDeniedException`.
    AccessDeniedException,
    /// `DryRunOperationException`.
    DryRunOperationException,
    /// `ExpiredIteratorException`.
    ExpiredIteratorException,
    /// `ExpiredNextTokenException`.
    ExpiredNextTokenException,
    /// `InternalFailureException`.
    InternalFailureException,
    /// `InvalidArgumentException`.
    InvalidArgumentException,
    /// `KMSAccessDeniedException`.
    KMSAccessDeniedException,
    /// `KMSDisabledException`.
    KMSDisabledException,
    /// `KMSInvalidStateException`.
    KMSInvalidStateException,
    /// `KMSNotFoundException`.
    KMSNotFoundException,
    /// `KMSOptInRequired`.
    KMSOptInRequired,
    /// `KMSThrottlingException`.
    KMSThrottlingException,
    /// `LimitExceededException`.
    LimitExceededException,
    /// `ProvisionedThroughputExceededException`.
    ProvisionedThroughputExceededException,
    /// `ResourceInUseException`.
    ResourceInUseException,
    /// `ResourceNotFoundException`.
    ResourceNotFoundException,
    /// `ThrottlingException`.
    ThrottlingException,
    /// `ValidationException`.
    ValidationException,
}

impl ErrorCode {
    /// Its name in the model.
    pub fn name(self) -> &'static str {
        match self {
            ErrorCode::AccessDeniedException => "AccessDeniedException",
            ErrorCode::DryRunOperationException => "DryRunOperationException",
            ErrorCode::ExpiredIteratorException => "ExpiredIteratorException",
            ErrorCode::ExpiredNextTokenException => "ExpiredNextTokenException",
            ErrorCode::InternalFailureException => "InternalFailureException",
            ErrorCode::InvalidArgumentException => "InvalidArgumentException",
            ErrorCode::KMSAccessDeniedException => "KMSAccessDeniedException",
            ErrorCode::KMSDisabledException => "KMSDisabledException",
            ErrorCode::KMSInvalidStateException => "KMSInvalidStateException",
            ErrorCode::KMSNotFoundException => "KMSNotFoundException",
            ErrorCode::KMSOptInRequired => "KMSOptInRequired",
            ErrorCode::KMSThrottlingException => "KMSThrottlingException",
            ErrorCode::LimitExceededException => "LimitExceededException",
            ErrorCode::ProvisionedThroughputExceededException => "ProvisionedThroughputExceededException",
            ErrorCode::ResourceInUseException => "ResourceInUseException",
            ErrorCode::ResourceNotFoundException => "ResourceNotFoundException",
            ErrorCode::ThrottlingException => "ThrottlingException",
            ErrorCode::ValidationException => "ValidationException",
        }
    }

    /// Whether it is the server's fault (status 500) and not the caller's (400).
    pub fn is_fault(self) -> bool {
        matches!(self, ErrorCode::InternalFailureException)
    }
}

static CONSUMER_ARN: Text =
    Text::like(1, 2_048, r"^(arn):aws.*:kinesis:.*:\d{12}:.*stream\/[a-zA-Z0-9_.-]+\/consumer\/[a-zA-Z0-9_.-]+:[0-9]+");
static CONSUMER_NAME: Text = Text::like(1, 128, r"[a-zA-Z0-9_.-]+");
static DATA: Bounds = Bounds(0, 10_485_760);
static DESCRIBE_STREAM_INPUT_LIMIT: Bounds = Bounds(1, 10_000);
static ENCRYPTION_TYPE: Text = Text::one_of(&["NONE", "KMS"]);
static GET_RECORDS_INPUT_LIMIT: Bounds = Bounds(1, 10_000);
static HASH_KEY: Text = Text::like(0, usize::MAX, r"^(0|([1-9]\d{0,38}))$");
static KEY_ID: Text = Text::of(1, 2_048);
static LIST_SHARDS_INPUT_LIMIT: Bounds = Bounds(1, 10_000);
static LIST_STREAMS_INPUT_LIMIT: Bounds = Bounds(1, 10_000);
static LIST_STREAM_CONSUMERS_INPUT_LIMIT: Bounds = Bounds(1, 10_000);
static LIST_TAGS_FOR_STREAM_INPUT_LIMIT: Bounds = Bounds(1, 50);
static MAX_RECORD_SIZE_IN_KIB: Bounds = Bounds(1_024, 10_240);
static METRICS_NAME: Text = Text::one_of(&[
    "IncomingBytes",
    "IncomingRecords",
    "OutgoingBytes",
    "OutgoingRecords",
    "WriteProvisionedThroughputExceeded",
    "ReadProvisionedThroughputExceeded",
    "IteratorAgeMilliseconds",
    "ALL",
]);
static METRICS_NAME_LIST: Bounds = Bounds(1, 7);
static MINIMUM_THROUGHPUT_BILLING_COMMITMENT_INPUT_STATUS: Text = Text::one_of(&["ENABLED", "DISABLED"]);
static NATURAL_INTEGER_OBJECT: Bounds = Bounds(0, i64::MAX);
static NEXT_TOKEN: Text = Text::of(1, 1_048_576);
static PARTITION_KEY: Text = Text::of(1, 256);
static POSITIVE_INTEGER_OBJECT: Bounds = Bounds(1, i64::MAX);
static PUT_RECORDS_REQUEST_ENTRY_LIST: Bounds = Bounds(1, 500);
static RECORD_DISTRIBUTION_STRATEGY: Text = Text::one_of(&["AUTO", "USER_PARTITION_KEY"]);
static RESOURCE_ARN: Text = Text::like(1, 2_048, r"arn:aws.*:kinesis:.*:\d{12}:.*(stream|channel|queue)/\S+");
static SCALING_TYPE: Text = Text::one_of(&["UNIFORM_SCALING"]);
static SEQUENCE_NUMBER: Text = Text::like(0, usize::MAX, r"^(0|([1-9]\d{0,128}))$");
static SHARD_FILTER_TYPE: Text = Text::one_of(&[
    "AFTER_SHARD_ID",
    "AT_TRIM_HORIZON",
    "FROM_TRIM_HORIZON",
    "AT_LATEST",
    "AT_TIMESTAMP",
    "FROM_TIMESTAMP",
]);
static SHARD_ID: Text = Text::like(1, 128, r"[a-zA-Z0-9_.-]+");
static SHARD_ITERATOR: Text = Text::of(1, 512);
static SHARD_ITERATOR_TYPE: Text =
    Text::one_of(&["AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER", "TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"]);
static STREAM_ARN: Text = Text::like(1, 2_048, r"arn:aws.*:kinesis:.*:\d{12}:stream/\S+");
static STREAM_ID: Text = Text::like(1, 24, r"[a-z0-9]{20}-[a-z0-9]{3}");
static STREAM_MODE: Text = Text::one_of(&["PROVISIONED", "ON_DEMAND"]);
static STREAM_NAME: Text = Text::like(1, 128, r"[a-zA-Z0-9_.-]+");
static TAG_KEY: Text = Text::of(1, 128);
static TAG_KEY_LIST: Bounds = Bounds(1, 50);
static TAG_MAP: Bounds = Bounds(1, 200);
static TAG_VALUE: Text = Text::of(0, 256);

/// The input of `AddTagsToStream`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AddTagsToStreamInput {
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Required: 1 to 200 entries.
    #[serde(
        rename = "Tags",
        deserialize_with = "bounded::map::<200, _, _, _>",
        skip_serializing_if = "Option::is_none"
    )]
    pub tags: Option<BTreeMap<String, String>>,
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
}

impl Shape for AddTagsToStreamInput {
    fn check(&self, report: &mut Report) {
        report.text("streamName", self.stream_name.as_deref(), &STREAM_NAME);
        report.required("tags", self.tags.is_some());
        report.length("tags", self.tags.as_ref().map(BTreeMap::len), &TAG_MAP);
        report.entries("tags", self.tags.as_ref(), &TAG_KEY, &TAG_VALUE);
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref().or(self.stream_name.as_deref())
    }
}

/// `ChildShard` of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChildShard {
    /// Required: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "ShardId", skip_serializing_if = "Option::is_none")]
    pub shard_id: Option<String>,
    /// Required.
    #[serde(rename = "ParentShards", skip_serializing_if = "Option::is_none")]
    pub parent_shards: Option<Vec<String>>,
    /// Required.
    #[serde(rename = "HashKeyRange", skip_serializing_if = "Option::is_none")]
    pub hash_key_range: Option<HashKeyRange>,
}

/// `Consumer` of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Consumer {
    /// Required: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "ConsumerName", skip_serializing_if = "Option::is_none")]
    pub consumer_name: Option<String>,
    /// Required: 1 to 2048 characters, like `^(arn):aws.*:kinesis:.*:\d{12}:.*stream\/[a-zA-Z0-9_.-]+\/consumer\/[a-zA-Z0-9_.-]+:[0-9]+`.
    #[serde(rename = "ConsumerARN", skip_serializing_if = "Option::is_none")]
    pub consumer_arn: Option<String>,
    /// Required: `CREATING` or `DELETING` or `ACTIVE`.
    #[serde(rename = "ConsumerStatus", skip_serializing_if = "Option::is_none")]
    pub consumer_status: Option<String>,
    /// Required.
    #[serde(rename = "ConsumerCreationTimestamp", skip_serializing_if = "Option::is_none")]
    pub consumer_creation_timestamp: Option<Timestamp>,
}

/// `ConsumerDescription` of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsumerDescription {
    /// Required: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "ConsumerName", skip_serializing_if = "Option::is_none")]
    pub consumer_name: Option<String>,
    /// Required: 1 to 2048 characters, like `^(arn):aws.*:kinesis:.*:\d{12}:.*stream\/[a-zA-Z0-9_.-]+\/consumer\/[a-zA-Z0-9_.-]+:[0-9]+`.
    #[serde(rename = "ConsumerARN", skip_serializing_if = "Option::is_none")]
    pub consumer_arn: Option<String>,
    /// Required: `CREATING` or `DELETING` or `ACTIVE`.
    #[serde(rename = "ConsumerStatus", skip_serializing_if = "Option::is_none")]
    pub consumer_status: Option<String>,
    /// Required.
    #[serde(rename = "ConsumerCreationTimestamp", skip_serializing_if = "Option::is_none")]
    pub consumer_creation_timestamp: Option<Timestamp>,
    /// Required: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
}

/// The input of `CreateStream`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CreateStreamInput {
    /// Required: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Optional: at least 1.
    #[serde(rename = "ShardCount", skip_serializing_if = "Option::is_none")]
    pub shard_count: Option<i32>,
    /// Optional.
    #[serde(rename = "StreamModeDetails", skip_serializing_if = "Option::is_none")]
    pub stream_mode_details: Option<StreamModeDetails>,
    /// Optional: 1 to 200 entries.
    #[serde(
        rename = "Tags",
        deserialize_with = "bounded::map::<200, _, _, _>",
        skip_serializing_if = "Option::is_none"
    )]
    pub tags: Option<BTreeMap<String, String>>,
    /// Optional: at least 0.
    #[serde(rename = "WarmThroughputMiBps", skip_serializing_if = "Option::is_none")]
    pub warm_throughput_mibps: Option<i32>,
    /// Optional: 1024 to 10240.
    #[serde(rename = "MaxRecordSizeInKiB", skip_serializing_if = "Option::is_none")]
    pub max_record_size_in_kib: Option<i32>,
    /// Optional: `AUTO` or `USER_PARTITION_KEY`.
    #[serde(rename = "RecordDistributionStrategy", skip_serializing_if = "Option::is_none")]
    pub record_distribution_strategy: Option<String>,
}

impl Shape for CreateStreamInput {
    fn check(&self, report: &mut Report) {
        report.required("streamName", self.stream_name.is_some());
        report.text("streamName", self.stream_name.as_deref(), &STREAM_NAME);
        report.number("shardCount", self.shard_count.map(i64::from), &POSITIVE_INTEGER_OBJECT);
        report.shape("streamModeDetails", self.stream_mode_details.as_ref());
        report.length("tags", self.tags.as_ref().map(BTreeMap::len), &TAG_MAP);
        report.entries("tags", self.tags.as_ref(), &TAG_KEY, &TAG_VALUE);
        report.number("warmThroughputMiBps", self.warm_throughput_mibps.map(i64::from), &NATURAL_INTEGER_OBJECT);
        report.number("maxRecordSizeInKiB", self.max_record_size_in_kib.map(i64::from), &MAX_RECORD_SIZE_IN_KIB);
        report.text(
            "recordDistributionStrategy",
            self.record_distribution_strategy.as_deref(),
            &RECORD_DISTRIBUTION_STRATEGY,
        );
    }

    fn resource(&self) -> Option<&str> {
        self.stream_name.as_deref()
    }
}

/// The input of `DecreaseStreamRetentionPeriod`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DecreaseStreamRetentionPeriodInput {
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Required.
    #[serde(rename = "RetentionPeriodHours", skip_serializing_if = "Option::is_none")]
    pub retention_period_hours: Option<i32>,
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
}

impl Shape for DecreaseStreamRetentionPeriodInput {
    fn check(&self, report: &mut Report) {
        report.text("streamName", self.stream_name.as_deref(), &STREAM_NAME);
        report.required("retentionPeriodHours", self.retention_period_hours.is_some());
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref().or(self.stream_name.as_deref())
    }
}

/// The input of `DeleteResourcePolicy`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeleteResourcePolicyInput {
    /// Required: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:.*(stream|channel|queue)/\S+`.
    #[serde(rename = "ResourceARN", skip_serializing_if = "Option::is_none")]
    pub resource_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
}

impl Shape for DeleteResourcePolicyInput {
    fn check(&self, report: &mut Report) {
        report.required("resourceARN", self.resource_arn.is_some());
        report.text("resourceARN", self.resource_arn.as_deref(), &RESOURCE_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.resource_arn.as_deref()
    }
}

/// The input of `DeleteStream`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeleteStreamInput {
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Optional.
    #[serde(rename = "EnforceConsumerDeletion", skip_serializing_if = "Option::is_none")]
    pub enforce_consumer_deletion: Option<bool>,
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
}

impl Shape for DeleteStreamInput {
    fn check(&self, report: &mut Report) {
        report.text("streamName", self.stream_name.as_deref(), &STREAM_NAME);
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref().or(self.stream_name.as_deref())
    }
}

/// The input of `DeregisterStreamConsumer`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeregisterStreamConsumerInput {
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "ConsumerName", skip_serializing_if = "Option::is_none")]
    pub consumer_name: Option<String>,
    /// Optional: 1 to 2048 characters, like `^(arn):aws.*:kinesis:.*:\d{12}:.*stream\/[a-zA-Z0-9_.-]+\/consumer\/[a-zA-Z0-9_.-]+:[0-9]+`.
    #[serde(rename = "ConsumerARN", skip_serializing_if = "Option::is_none")]
    pub consumer_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
}

impl Shape for DeregisterStreamConsumerInput {
    fn check(&self, report: &mut Report) {
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("consumerName", self.consumer_name.as_deref(), &CONSUMER_NAME);
        report.text("consumerARN", self.consumer_arn.as_deref(), &CONSUMER_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.consumer_arn.as_deref().or(self.stream_arn.as_deref())
    }
}

/// The input of `DescribeAccountSettings`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DescribeAccountSettingsInput {}

impl Shape for DescribeAccountSettingsInput {
    fn check(&self, _report: &mut Report) {}
}

/// The output of `DescribeAccountSettings`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DescribeAccountSettingsOutput {
    /// Optional.
    #[serde(rename = "MinimumThroughputBillingCommitment", skip_serializing_if = "Option::is_none")]
    pub minimum_throughput_billing_commitment: Option<MinimumThroughputBillingCommitmentOutput>,
}

/// The input of `DescribeLimits`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DescribeLimitsInput {}

impl Shape for DescribeLimitsInput {
    fn check(&self, _report: &mut Report) {}
}

/// The output of `DescribeLimits`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DescribeLimitsOutput {
    /// Required: 0 to 1000000.
    #[serde(rename = "ShardLimit", skip_serializing_if = "Option::is_none")]
    pub shard_limit: Option<i32>,
    /// Required: 0 to 1000000.
    #[serde(rename = "OpenShardCount", skip_serializing_if = "Option::is_none")]
    pub open_shard_count: Option<i32>,
    /// Required: 0 to 1000000.
    #[serde(rename = "OnDemandStreamCount", skip_serializing_if = "Option::is_none")]
    pub on_demand_stream_count: Option<i32>,
    /// Required: 0 to 1000000.
    #[serde(rename = "OnDemandStreamCountLimit", skip_serializing_if = "Option::is_none")]
    pub on_demand_stream_count_limit: Option<i32>,
    /// Optional: 0 to 1000000.
    #[serde(rename = "ChannelCount", skip_serializing_if = "Option::is_none")]
    pub channel_count: Option<i32>,
    /// Optional: 0 to 1000000.
    #[serde(rename = "ChannelCountLimit", skip_serializing_if = "Option::is_none")]
    pub channel_count_limit: Option<i32>,
}

/// The input of `DescribeStreamConsumer`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DescribeStreamConsumerInput {
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "ConsumerName", skip_serializing_if = "Option::is_none")]
    pub consumer_name: Option<String>,
    /// Optional: 1 to 2048 characters, like `^(arn):aws.*:kinesis:.*:\d{12}:.*stream\/[a-zA-Z0-9_.-]+\/consumer\/[a-zA-Z0-9_.-]+:[0-9]+`.
    #[serde(rename = "ConsumerARN", skip_serializing_if = "Option::is_none")]
    pub consumer_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
}

impl Shape for DescribeStreamConsumerInput {
    fn check(&self, report: &mut Report) {
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("consumerName", self.consumer_name.as_deref(), &CONSUMER_NAME);
        report.text("consumerARN", self.consumer_arn.as_deref(), &CONSUMER_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.consumer_arn.as_deref().or(self.stream_arn.as_deref())
    }
}

/// The output of `DescribeStreamConsumer`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DescribeStreamConsumerOutput {
    /// Required.
    #[serde(rename = "ConsumerDescription", skip_serializing_if = "Option::is_none")]
    pub consumer_description: Option<ConsumerDescription>,
}

/// The input of `DescribeStream`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DescribeStreamInput {
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Optional: 1 to 10000.
    #[serde(rename = "Limit", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i32>,
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "ExclusiveStartShardId", skip_serializing_if = "Option::is_none")]
    pub exclusive_start_shard_id: Option<String>,
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
}

impl Shape for DescribeStreamInput {
    fn check(&self, report: &mut Report) {
        report.text("streamName", self.stream_name.as_deref(), &STREAM_NAME);
        report.number("limit", self.limit.map(i64::from), &DESCRIBE_STREAM_INPUT_LIMIT);
        report.text("exclusiveStartShardId", self.exclusive_start_shard_id.as_deref(), &SHARD_ID);
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref().or(self.stream_name.as_deref())
    }
}

/// The output of `DescribeStream`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DescribeStreamOutput {
    /// Required.
    #[serde(rename = "StreamDescription", skip_serializing_if = "Option::is_none")]
    pub stream_description: Option<StreamDescription>,
}

/// The input of `DescribeStreamSummary`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DescribeStreamSummaryInput {
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
}

impl Shape for DescribeStreamSummaryInput {
    fn check(&self, report: &mut Report) {
        report.text("streamName", self.stream_name.as_deref(), &STREAM_NAME);
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref().or(self.stream_name.as_deref())
    }
}

/// The output of `DescribeStreamSummary`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DescribeStreamSummaryOutput {
    /// Required.
    #[serde(rename = "StreamDescriptionSummary", skip_serializing_if = "Option::is_none")]
    pub stream_description_summary: Option<StreamDescriptionSummary>,
}

/// The input of `DisableEnhancedMonitoring`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DisableEnhancedMonitoringInput {
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Required: 1 to 7 elements.
    #[serde(
        rename = "ShardLevelMetrics",
        deserialize_with = "bounded::list::<7, _, _>",
        skip_serializing_if = "Option::is_none"
    )]
    pub shard_level_metrics: Option<Vec<String>>,
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
}

impl Shape for DisableEnhancedMonitoringInput {
    fn check(&self, report: &mut Report) {
        report.text("streamName", self.stream_name.as_deref(), &STREAM_NAME);
        report.required("shardLevelMetrics", self.shard_level_metrics.is_some());
        report.length("shardLevelMetrics", self.shard_level_metrics.as_ref().map(Vec::len), &METRICS_NAME_LIST);
        report.texts("shardLevelMetrics", self.shard_level_metrics.as_deref(), &METRICS_NAME);
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref().or(self.stream_name.as_deref())
    }
}

/// The input of `EnableEnhancedMonitoring`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnableEnhancedMonitoringInput {
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Required: 1 to 7 elements.
    #[serde(
        rename = "ShardLevelMetrics",
        deserialize_with = "bounded::list::<7, _, _>",
        skip_serializing_if = "Option::is_none"
    )]
    pub shard_level_metrics: Option<Vec<String>>,
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
}

impl Shape for EnableEnhancedMonitoringInput {
    fn check(&self, report: &mut Report) {
        report.text("streamName", self.stream_name.as_deref(), &STREAM_NAME);
        report.required("shardLevelMetrics", self.shard_level_metrics.is_some());
        report.length("shardLevelMetrics", self.shard_level_metrics.as_ref().map(Vec::len), &METRICS_NAME_LIST);
        report.texts("shardLevelMetrics", self.shard_level_metrics.as_deref(), &METRICS_NAME);
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref().or(self.stream_name.as_deref())
    }
}

/// `EnhancedMetrics` of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnhancedMetrics {
    /// Optional: 1 to 7 elements.
    #[serde(rename = "ShardLevelMetrics", skip_serializing_if = "Option::is_none")]
    pub shard_level_metrics: Option<Vec<String>>,
}

/// The output of `EnableEnhancedMonitoring`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnhancedMonitoringOutput {
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Optional: 1 to 7 elements.
    #[serde(rename = "CurrentShardLevelMetrics", skip_serializing_if = "Option::is_none")]
    pub current_shard_level_metrics: Option<Vec<String>>,
    /// Optional: 1 to 7 elements.
    #[serde(rename = "DesiredShardLevelMetrics", skip_serializing_if = "Option::is_none")]
    pub desired_shard_level_metrics: Option<Vec<String>>,
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
}

/// The input of `GetRecords`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GetRecordsInput {
    /// Required: 1 to 512 characters.
    #[serde(rename = "ShardIterator", skip_serializing_if = "Option::is_none")]
    pub shard_iterator: Option<String>,
    /// Optional: 1 to 10000.
    #[serde(rename = "Limit", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i32>,
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
    /// Optional.
    #[serde(rename = "DryRun", skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

impl Shape for GetRecordsInput {
    fn check(&self, report: &mut Report) {
        report.required("shardIterator", self.shard_iterator.is_some());
        report.text("shardIterator", self.shard_iterator.as_deref(), &SHARD_ITERATOR);
        report.number("limit", self.limit.map(i64::from), &GET_RECORDS_INPUT_LIMIT);
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref()
    }
}

/// The output of `GetRecords`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GetRecordsOutput {
    /// Required.
    #[serde(rename = "Records", skip_serializing_if = "Option::is_none")]
    pub records: Option<Vec<Record>>,
    /// Optional: 1 to 512 characters.
    #[serde(rename = "NextShardIterator", skip_serializing_if = "Option::is_none")]
    pub next_shard_iterator: Option<String>,
    /// Optional: at least 0.
    #[serde(rename = "MillisBehindLatest", skip_serializing_if = "Option::is_none")]
    pub millis_behind_latest: Option<i64>,
    /// Optional.
    #[serde(rename = "ChildShards", skip_serializing_if = "Option::is_none")]
    pub child_shards: Option<Vec<ChildShard>>,
}

/// The input of `GetResourcePolicy`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GetResourcePolicyInput {
    /// Required: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:.*(stream|channel|queue)/\S+`.
    #[serde(rename = "ResourceARN", skip_serializing_if = "Option::is_none")]
    pub resource_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
}

impl Shape for GetResourcePolicyInput {
    fn check(&self, report: &mut Report) {
        report.required("resourceARN", self.resource_arn.is_some());
        report.text("resourceARN", self.resource_arn.as_deref(), &RESOURCE_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.resource_arn.as_deref()
    }
}

/// The output of `GetResourcePolicy`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GetResourcePolicyOutput {
    /// Required.
    #[serde(rename = "Policy", skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// The input of `GetShardIterator`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GetShardIteratorInput {
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Required: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "ShardId", skip_serializing_if = "Option::is_none")]
    pub shard_id: Option<String>,
    /// Required: `AT_SEQUENCE_NUMBER` or `AFTER_SEQUENCE_NUMBER` or `TRIM_HORIZON` or `LATEST` or `AT_TIMESTAMP`.
    #[serde(rename = "ShardIteratorType", skip_serializing_if = "Option::is_none")]
    pub shard_iterator_type: Option<String>,
    /// Optional: like `^(0|([1-9]\d{0,128}))$`.
    #[serde(rename = "StartingSequenceNumber", skip_serializing_if = "Option::is_none")]
    pub starting_sequence_number: Option<String>,
    /// Optional.
    #[serde(rename = "Timestamp", skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
    /// Optional.
    #[serde(rename = "DryRun", skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

impl Shape for GetShardIteratorInput {
    fn check(&self, report: &mut Report) {
        report.text("streamName", self.stream_name.as_deref(), &STREAM_NAME);
        report.required("shardId", self.shard_id.is_some());
        report.text("shardId", self.shard_id.as_deref(), &SHARD_ID);
        report.required("shardIteratorType", self.shard_iterator_type.is_some());
        report.text("shardIteratorType", self.shard_iterator_type.as_deref(), &SHARD_ITERATOR_TYPE);
        report.text("startingSequenceNumber", self.starting_sequence_number.as_deref(), &SEQUENCE_NUMBER);
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref().or(self.stream_name.as_deref())
    }
}

/// The output of `GetShardIterator`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GetShardIteratorOutput {
    /// Optional: 1 to 512 characters.
    #[serde(rename = "ShardIterator", skip_serializing_if = "Option::is_none")]
    pub shard_iterator: Option<String>,
}

/// `HashKeyRange` of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HashKeyRange {
    /// Required: like `^(0|([1-9]\d{0,38}))$`.
    #[serde(rename = "StartingHashKey", skip_serializing_if = "Option::is_none")]
    pub starting_hash_key: Option<String>,
    /// Required: like `^(0|([1-9]\d{0,38}))$`.
    #[serde(rename = "EndingHashKey", skip_serializing_if = "Option::is_none")]
    pub ending_hash_key: Option<String>,
}

/// The input of `IncreaseStreamRetentionPeriod`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IncreaseStreamRetentionPeriodInput {
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Required.
    #[serde(rename = "RetentionPeriodHours", skip_serializing_if = "Option::is_none")]
    pub retention_period_hours: Option<i32>,
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
}

impl Shape for IncreaseStreamRetentionPeriodInput {
    fn check(&self, report: &mut Report) {
        report.text("streamName", self.stream_name.as_deref(), &STREAM_NAME);
        report.required("retentionPeriodHours", self.retention_period_hours.is_some());
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref().or(self.stream_name.as_deref())
    }
}

/// The input of `ListShards`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListShardsInput {
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Optional: 1 to 1048576 characters.
    #[serde(rename = "NextToken", skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "ExclusiveStartShardId", skip_serializing_if = "Option::is_none")]
    pub exclusive_start_shard_id: Option<String>,
    /// Optional: 1 to 10000.
    #[serde(rename = "MaxResults", skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i32>,
    /// Optional.
    #[serde(rename = "StreamCreationTimestamp", skip_serializing_if = "Option::is_none")]
    pub stream_creation_timestamp: Option<Timestamp>,
    /// Optional.
    #[serde(rename = "ShardFilter", skip_serializing_if = "Option::is_none")]
    pub shard_filter: Option<ShardFilter>,
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
}

impl Shape for ListShardsInput {
    fn check(&self, report: &mut Report) {
        report.text("streamName", self.stream_name.as_deref(), &STREAM_NAME);
        report.text("nextToken", self.next_token.as_deref(), &NEXT_TOKEN);
        report.text("exclusiveStartShardId", self.exclusive_start_shard_id.as_deref(), &SHARD_ID);
        report.number("maxResults", self.max_results.map(i64::from), &LIST_SHARDS_INPUT_LIMIT);
        report.shape("shardFilter", self.shard_filter.as_ref());
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref().or(self.stream_name.as_deref())
    }
}

/// The output of `ListShards`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListShardsOutput {
    /// Optional.
    #[serde(rename = "Shards", skip_serializing_if = "Option::is_none")]
    pub shards: Option<Vec<Shard>>,
    /// Optional: 1 to 1048576 characters.
    #[serde(rename = "NextToken", skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// The input of `ListStreamConsumers`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListStreamConsumersInput {
    /// Required: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 1048576 characters.
    #[serde(rename = "NextToken", skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    /// Optional: 1 to 10000.
    #[serde(rename = "MaxResults", skip_serializing_if = "Option::is_none")]
    pub max_results: Option<i32>,
    /// Optional.
    #[serde(rename = "StreamCreationTimestamp", skip_serializing_if = "Option::is_none")]
    pub stream_creation_timestamp: Option<Timestamp>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
}

impl Shape for ListStreamConsumersInput {
    fn check(&self, report: &mut Report) {
        report.required("streamARN", self.stream_arn.is_some());
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("nextToken", self.next_token.as_deref(), &NEXT_TOKEN);
        report.number("maxResults", self.max_results.map(i64::from), &LIST_STREAM_CONSUMERS_INPUT_LIMIT);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref()
    }
}

/// The output of `ListStreamConsumers`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListStreamConsumersOutput {
    /// Optional.
    #[serde(rename = "Consumers", skip_serializing_if = "Option::is_none")]
    pub consumers: Option<Vec<Consumer>>,
    /// Optional: 1 to 1048576 characters.
    #[serde(rename = "NextToken", skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// The input of `ListStreams`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListStreamsInput {
    /// Optional: 1 to 10000.
    #[serde(rename = "Limit", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i32>,
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "ExclusiveStartStreamName", skip_serializing_if = "Option::is_none")]
    pub exclusive_start_stream_name: Option<String>,
    /// Optional: 1 to 1048576 characters.
    #[serde(rename = "NextToken", skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

impl Shape for ListStreamsInput {
    fn check(&self, report: &mut Report) {
        report.number("limit", self.limit.map(i64::from), &LIST_STREAMS_INPUT_LIMIT);
        report.text("exclusiveStartStreamName", self.exclusive_start_stream_name.as_deref(), &STREAM_NAME);
        report.text("nextToken", self.next_token.as_deref(), &NEXT_TOKEN);
    }
}

/// The output of `ListStreams`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListStreamsOutput {
    /// Required.
    #[serde(rename = "StreamNames", skip_serializing_if = "Option::is_none")]
    pub stream_names: Option<Vec<String>>,
    /// Required.
    #[serde(rename = "HasMoreStreams", skip_serializing_if = "Option::is_none")]
    pub has_more_streams: Option<bool>,
    /// Optional: 1 to 1048576 characters.
    #[serde(rename = "NextToken", skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
    /// Optional.
    #[serde(rename = "StreamSummaries", skip_serializing_if = "Option::is_none")]
    pub stream_summaries: Option<Vec<StreamSummary>>,
}

/// The input of `ListTagsForResource`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListTagsForResourceInput {
    /// Required: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:.*(stream|channel|queue)/\S+`.
    #[serde(rename = "ResourceARN", skip_serializing_if = "Option::is_none")]
    pub resource_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
}

impl Shape for ListTagsForResourceInput {
    fn check(&self, report: &mut Report) {
        report.required("resourceARN", self.resource_arn.is_some());
        report.text("resourceARN", self.resource_arn.as_deref(), &RESOURCE_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.resource_arn.as_deref()
    }
}

/// The output of `ListTagsForResource`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListTagsForResourceOutput {
    /// Optional: 0 to 200 elements.
    #[serde(rename = "Tags", skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<Tag>>,
}

/// The input of `ListTagsForStream`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListTagsForStreamInput {
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Optional: 1 to 128 characters.
    #[serde(rename = "ExclusiveStartTagKey", skip_serializing_if = "Option::is_none")]
    pub exclusive_start_tag_key: Option<String>,
    /// Optional: 1 to 50.
    #[serde(rename = "Limit", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i32>,
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
}

impl Shape for ListTagsForStreamInput {
    fn check(&self, report: &mut Report) {
        report.text("streamName", self.stream_name.as_deref(), &STREAM_NAME);
        report.text("exclusiveStartTagKey", self.exclusive_start_tag_key.as_deref(), &TAG_KEY);
        report.number("limit", self.limit.map(i64::from), &LIST_TAGS_FOR_STREAM_INPUT_LIMIT);
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref().or(self.stream_name.as_deref())
    }
}

/// The output of `ListTagsForStream`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListTagsForStreamOutput {
    /// Required: 0 to 200 elements.
    #[serde(rename = "Tags", skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<Tag>>,
    /// Required.
    #[serde(rename = "HasMoreTags", skip_serializing_if = "Option::is_none")]
    pub has_more_tags: Option<bool>,
}

/// The input of `MergeShards`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MergeShardsInput {
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Required: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "ShardToMerge", skip_serializing_if = "Option::is_none")]
    pub shard_to_merge: Option<String>,
    /// Required: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "AdjacentShardToMerge", skip_serializing_if = "Option::is_none")]
    pub adjacent_shard_to_merge: Option<String>,
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
}

impl Shape for MergeShardsInput {
    fn check(&self, report: &mut Report) {
        report.text("streamName", self.stream_name.as_deref(), &STREAM_NAME);
        report.required("shardToMerge", self.shard_to_merge.is_some());
        report.text("shardToMerge", self.shard_to_merge.as_deref(), &SHARD_ID);
        report.required("adjacentShardToMerge", self.adjacent_shard_to_merge.is_some());
        report.text("adjacentShardToMerge", self.adjacent_shard_to_merge.as_deref(), &SHARD_ID);
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref().or(self.stream_name.as_deref())
    }
}

/// `MinimumThroughputBillingCommitmentInput` of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MinimumThroughputBillingCommitmentInput {
    /// Required: `ENABLED` or `DISABLED`.
    #[serde(rename = "Status", skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

impl Shape for MinimumThroughputBillingCommitmentInput {
    fn check(&self, report: &mut Report) {
        report.required("status", self.status.is_some());
        report.text("status", self.status.as_deref(), &MINIMUM_THROUGHPUT_BILLING_COMMITMENT_INPUT_STATUS);
    }
}

/// `MinimumThroughputBillingCommitmentOutput` of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MinimumThroughputBillingCommitmentOutput {
    /// Required: `ENABLED` or `DISABLED` or `ENABLED_UNTIL_EARLIEST_ALLOWED_END`.
    #[serde(rename = "Status", skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Optional.
    #[serde(rename = "StartedAt", skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Optional.
    #[serde(rename = "EndedAt", skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Optional.
    #[serde(rename = "EarliestAllowedEndAt", skip_serializing_if = "Option::is_none")]
    pub earliest_allowed_end_at: Option<Timestamp>,
}

/// The input of `PutRecord`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PutRecordInput {
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Required: 0 to 10485760 bytes.
    #[serde(rename = "Data", skip_serializing_if = "Option::is_none")]
    pub data: Option<Blob>,
    /// Optional: 1 to 256 characters.
    #[serde(rename = "PartitionKey", skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
    /// Optional: like `^(0|([1-9]\d{0,38}))$`.
    #[serde(rename = "ExplicitHashKey", skip_serializing_if = "Option::is_none")]
    pub explicit_hash_key: Option<String>,
    /// Optional: like `^(0|([1-9]\d{0,128}))$`.
    #[serde(rename = "SequenceNumberForOrdering", skip_serializing_if = "Option::is_none")]
    pub sequence_number_for_ordering: Option<String>,
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
    /// Optional.
    #[serde(rename = "DryRun", skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

impl Shape for PutRecordInput {
    fn check(&self, report: &mut Report) {
        report.text("streamName", self.stream_name.as_deref(), &STREAM_NAME);
        report.required("data", self.data.is_some());
        report.length("data", self.data.as_ref().map(|blob| blob.0.len()), &DATA);
        report.text("partitionKey", self.partition_key.as_deref(), &PARTITION_KEY);
        report.text("explicitHashKey", self.explicit_hash_key.as_deref(), &HASH_KEY);
        report.text("sequenceNumberForOrdering", self.sequence_number_for_ordering.as_deref(), &SEQUENCE_NUMBER);
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref().or(self.stream_name.as_deref())
    }
}

/// The output of `PutRecord`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PutRecordOutput {
    /// Required: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "ShardId", skip_serializing_if = "Option::is_none")]
    pub shard_id: Option<String>,
    /// Required: like `^(0|([1-9]\d{0,128}))$`.
    #[serde(rename = "SequenceNumber", skip_serializing_if = "Option::is_none")]
    pub sequence_number: Option<String>,
    /// Optional: `NONE` or `KMS`.
    #[serde(rename = "EncryptionType", skip_serializing_if = "Option::is_none")]
    pub encryption_type: Option<String>,
}

/// The input of `PutRecords`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PutRecordsInput {
    /// Required: 1 to 500 elements.
    #[serde(
        rename = "Records",
        deserialize_with = "bounded::list::<500, _, _>",
        skip_serializing_if = "Option::is_none"
    )]
    pub records: Option<Vec<PutRecordsRequestEntry>>,
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
    /// Optional.
    #[serde(rename = "DryRun", skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

impl Shape for PutRecordsInput {
    fn check(&self, report: &mut Report) {
        report.required("records", self.records.is_some());
        report.length("records", self.records.as_ref().map(Vec::len), &PUT_RECORDS_REQUEST_ENTRY_LIST);
        report.shapes("records", self.records.as_deref());
        report.text("streamName", self.stream_name.as_deref(), &STREAM_NAME);
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref().or(self.stream_name.as_deref())
    }
}

/// The output of `PutRecords`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PutRecordsOutput {
    /// Optional: at least 1.
    #[serde(rename = "FailedRecordCount", skip_serializing_if = "Option::is_none")]
    pub failed_record_count: Option<i32>,
    /// Required: 1 to 500 elements.
    #[serde(rename = "Records", skip_serializing_if = "Option::is_none")]
    pub records: Option<Vec<PutRecordsResultEntry>>,
    /// Optional: `NONE` or `KMS`.
    #[serde(rename = "EncryptionType", skip_serializing_if = "Option::is_none")]
    pub encryption_type: Option<String>,
}

/// `PutRecordsRequestEntry` of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PutRecordsRequestEntry {
    /// Required: 0 to 10485760 bytes.
    #[serde(rename = "Data", skip_serializing_if = "Option::is_none")]
    pub data: Option<Blob>,
    /// Optional: like `^(0|([1-9]\d{0,38}))$`.
    #[serde(rename = "ExplicitHashKey", skip_serializing_if = "Option::is_none")]
    pub explicit_hash_key: Option<String>,
    /// Optional: 1 to 256 characters.
    #[serde(rename = "PartitionKey", skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
}

impl Shape for PutRecordsRequestEntry {
    fn check(&self, report: &mut Report) {
        report.required("data", self.data.is_some());
        report.length("data", self.data.as_ref().map(|blob| blob.0.len()), &DATA);
        report.text("explicitHashKey", self.explicit_hash_key.as_deref(), &HASH_KEY);
        report.text("partitionKey", self.partition_key.as_deref(), &PARTITION_KEY);
    }
}

/// `PutRecordsResultEntry` of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PutRecordsResultEntry {
    /// Optional: like `^(0|([1-9]\d{0,128}))$`.
    #[serde(rename = "SequenceNumber", skip_serializing_if = "Option::is_none")]
    pub sequence_number: Option<String>,
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "ShardId", skip_serializing_if = "Option::is_none")]
    pub shard_id: Option<String>,
    /// Optional.
    #[serde(rename = "ErrorCode", skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// Optional.
    #[serde(rename = "ErrorMessage", skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
}

/// The input of `PutResourcePolicy`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PutResourcePolicyInput {
    /// Required: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:.*(stream|channel|queue)/\S+`.
    #[serde(rename = "ResourceARN", skip_serializing_if = "Option::is_none")]
    pub resource_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
    /// Required.
    #[serde(rename = "Policy", skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

impl Shape for PutResourcePolicyInput {
    fn check(&self, report: &mut Report) {
        report.required("resourceARN", self.resource_arn.is_some());
        report.text("resourceARN", self.resource_arn.as_deref(), &RESOURCE_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
        report.required("policy", self.policy.is_some());
    }

    fn resource(&self) -> Option<&str> {
        self.resource_arn.as_deref()
    }
}

/// `Record` of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Required: like `^(0|([1-9]\d{0,128}))$`.
    #[serde(rename = "SequenceNumber", skip_serializing_if = "Option::is_none")]
    pub sequence_number: Option<String>,
    /// Optional.
    #[serde(rename = "ApproximateArrivalTimestamp", skip_serializing_if = "Option::is_none")]
    pub approximate_arrival_timestamp: Option<Timestamp>,
    /// Required: 0 to 10485760 bytes.
    #[serde(rename = "Data", skip_serializing_if = "Option::is_none")]
    pub data: Option<Blob>,
    /// Optional: 1 to 256 characters.
    #[serde(rename = "PartitionKey", skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<String>,
    /// Optional: `NONE` or `KMS`.
    #[serde(rename = "EncryptionType", skip_serializing_if = "Option::is_none")]
    pub encryption_type: Option<String>,
}

/// The input of `RegisterStreamConsumer`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegisterStreamConsumerInput {
    /// Required: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Required: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "ConsumerName", skip_serializing_if = "Option::is_none")]
    pub consumer_name: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
    /// Optional: 1 to 200 entries.
    #[serde(
        rename = "Tags",
        deserialize_with = "bounded::map::<200, _, _, _>",
        skip_serializing_if = "Option::is_none"
    )]
    pub tags: Option<BTreeMap<String, String>>,
}

impl Shape for RegisterStreamConsumerInput {
    fn check(&self, report: &mut Report) {
        report.required("streamARN", self.stream_arn.is_some());
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.required("consumerName", self.consumer_name.is_some());
        report.text("consumerName", self.consumer_name.as_deref(), &CONSUMER_NAME);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
        report.length("tags", self.tags.as_ref().map(BTreeMap::len), &TAG_MAP);
        report.entries("tags", self.tags.as_ref(), &TAG_KEY, &TAG_VALUE);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref()
    }
}

/// The output of `RegisterStreamConsumer`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegisterStreamConsumerOutput {
    /// Required.
    #[serde(rename = "Consumer", skip_serializing_if = "Option::is_none")]
    pub consumer: Option<Consumer>,
}

/// The input of `RemoveTagsFromStream`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RemoveTagsFromStreamInput {
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Required: 1 to 50 elements.
    #[serde(
        rename = "TagKeys",
        deserialize_with = "bounded::list::<50, _, _>",
        skip_serializing_if = "Option::is_none"
    )]
    pub tag_keys: Option<Vec<String>>,
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
}

impl Shape for RemoveTagsFromStreamInput {
    fn check(&self, report: &mut Report) {
        report.text("streamName", self.stream_name.as_deref(), &STREAM_NAME);
        report.required("tagKeys", self.tag_keys.is_some());
        report.length("tagKeys", self.tag_keys.as_ref().map(Vec::len), &TAG_KEY_LIST);
        report.texts("tagKeys", self.tag_keys.as_deref(), &TAG_KEY);
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref().or(self.stream_name.as_deref())
    }
}

/// `SequenceNumberRange` of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SequenceNumberRange {
    /// Required: like `^(0|([1-9]\d{0,128}))$`.
    #[serde(rename = "StartingSequenceNumber", skip_serializing_if = "Option::is_none")]
    pub starting_sequence_number: Option<String>,
    /// Optional: like `^(0|([1-9]\d{0,128}))$`.
    #[serde(rename = "EndingSequenceNumber", skip_serializing_if = "Option::is_none")]
    pub ending_sequence_number: Option<String>,
}

/// `Shard` of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shard {
    /// Required: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "ShardId", skip_serializing_if = "Option::is_none")]
    pub shard_id: Option<String>,
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "ParentShardId", skip_serializing_if = "Option::is_none")]
    pub parent_shard_id: Option<String>,
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "AdjacentParentShardId", skip_serializing_if = "Option::is_none")]
    pub adjacent_parent_shard_id: Option<String>,
    /// Required.
    #[serde(rename = "HashKeyRange", skip_serializing_if = "Option::is_none")]
    pub hash_key_range: Option<HashKeyRange>,
    /// Required.
    #[serde(rename = "SequenceNumberRange", skip_serializing_if = "Option::is_none")]
    pub sequence_number_range: Option<SequenceNumberRange>,
}

/// `ShardFilter` of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShardFilter {
    /// Required: `AFTER_SHARD_ID` or `AT_TRIM_HORIZON` or `FROM_TRIM_HORIZON` or `AT_LATEST` or `AT_TIMESTAMP` or `FROM_TIMESTAMP`.
    #[serde(rename = "Type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "ShardId", skip_serializing_if = "Option::is_none")]
    pub shard_id: Option<String>,
    /// Optional.
    #[serde(rename = "Timestamp", skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
}

impl Shape for ShardFilter {
    fn check(&self, report: &mut Report) {
        report.required("type", self.kind.is_some());
        report.text("type", self.kind.as_deref(), &SHARD_FILTER_TYPE);
        report.text("shardId", self.shard_id.as_deref(), &SHARD_ID);
    }
}

/// The input of `SplitShard`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SplitShardInput {
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Required: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "ShardToSplit", skip_serializing_if = "Option::is_none")]
    pub shard_to_split: Option<String>,
    /// Required: like `^(0|([1-9]\d{0,38}))$`.
    #[serde(rename = "NewStartingHashKey", skip_serializing_if = "Option::is_none")]
    pub new_starting_hash_key: Option<String>,
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
}

impl Shape for SplitShardInput {
    fn check(&self, report: &mut Report) {
        report.text("streamName", self.stream_name.as_deref(), &STREAM_NAME);
        report.required("shardToSplit", self.shard_to_split.is_some());
        report.text("shardToSplit", self.shard_to_split.as_deref(), &SHARD_ID);
        report.required("newStartingHashKey", self.new_starting_hash_key.is_some());
        report.text("newStartingHashKey", self.new_starting_hash_key.as_deref(), &HASH_KEY);
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref().or(self.stream_name.as_deref())
    }
}

/// The input of `StartStreamEncryption`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StartStreamEncryptionInput {
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Required: `NONE` or `KMS`.
    #[serde(rename = "EncryptionType", skip_serializing_if = "Option::is_none")]
    pub encryption_type: Option<String>,
    /// Required: 1 to 2048 characters.
    #[serde(rename = "KeyId", skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
}

impl Shape for StartStreamEncryptionInput {
    fn check(&self, report: &mut Report) {
        report.text("streamName", self.stream_name.as_deref(), &STREAM_NAME);
        report.required("encryptionType", self.encryption_type.is_some());
        report.text("encryptionType", self.encryption_type.as_deref(), &ENCRYPTION_TYPE);
        report.required("keyId", self.key_id.is_some());
        report.text("keyId", self.key_id.as_deref(), &KEY_ID);
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref().or(self.stream_name.as_deref())
    }
}

/// `StartingPosition` of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StartingPosition {
    /// Required: `AT_SEQUENCE_NUMBER` or `AFTER_SEQUENCE_NUMBER` or `TRIM_HORIZON` or `LATEST` or `AT_TIMESTAMP`.
    #[serde(rename = "Type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Optional: like `^(0|([1-9]\d{0,128}))$`.
    #[serde(rename = "SequenceNumber", skip_serializing_if = "Option::is_none")]
    pub sequence_number: Option<String>,
    /// Optional.
    #[serde(rename = "Timestamp", skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
}

impl Shape for StartingPosition {
    fn check(&self, report: &mut Report) {
        report.required("type", self.kind.is_some());
        report.text("type", self.kind.as_deref(), &SHARD_ITERATOR_TYPE);
        report.text("sequenceNumber", self.sequence_number.as_deref(), &SEQUENCE_NUMBER);
    }
}

/// The input of `StopStreamEncryption`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StopStreamEncryptionInput {
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Required: `NONE` or `KMS`.
    #[serde(rename = "EncryptionType", skip_serializing_if = "Option::is_none")]
    pub encryption_type: Option<String>,
    /// Required: 1 to 2048 characters.
    #[serde(rename = "KeyId", skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
}

impl Shape for StopStreamEncryptionInput {
    fn check(&self, report: &mut Report) {
        report.text("streamName", self.stream_name.as_deref(), &STREAM_NAME);
        report.required("encryptionType", self.encryption_type.is_some());
        report.text("encryptionType", self.encryption_type.as_deref(), &ENCRYPTION_TYPE);
        report.required("keyId", self.key_id.is_some());
        report.text("keyId", self.key_id.as_deref(), &KEY_ID);
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref().or(self.stream_name.as_deref())
    }
}

/// `StreamDescription` of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamDescription {
    /// Required: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Required: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Required: `CREATING` or `DELETING` or `ACTIVE` or `UPDATING`.
    #[serde(rename = "StreamStatus", skip_serializing_if = "Option::is_none")]
    pub stream_status: Option<String>,
    /// Optional.
    #[serde(rename = "StreamModeDetails", skip_serializing_if = "Option::is_none")]
    pub stream_mode_details: Option<StreamModeDetails>,
    /// Required.
    #[serde(rename = "Shards", skip_serializing_if = "Option::is_none")]
    pub shards: Option<Vec<Shard>>,
    /// Required.
    #[serde(rename = "HasMoreShards", skip_serializing_if = "Option::is_none")]
    pub has_more_shards: Option<bool>,
    /// Required.
    #[serde(rename = "RetentionPeriodHours", skip_serializing_if = "Option::is_none")]
    pub retention_period_hours: Option<i32>,
    /// Required.
    #[serde(rename = "StreamCreationTimestamp", skip_serializing_if = "Option::is_none")]
    pub stream_creation_timestamp: Option<Timestamp>,
    /// Required.
    #[serde(rename = "EnhancedMonitoring", skip_serializing_if = "Option::is_none")]
    pub enhanced_monitoring: Option<Vec<EnhancedMetrics>>,
    /// Optional: `NONE` or `KMS`.
    #[serde(rename = "EncryptionType", skip_serializing_if = "Option::is_none")]
    pub encryption_type: Option<String>,
    /// Optional: 1 to 2048 characters.
    #[serde(rename = "KeyId", skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
}

/// `StreamDescriptionSummary` of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamDescriptionSummary {
    /// Required: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Required: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
    /// Required: `CREATING` or `DELETING` or `ACTIVE` or `UPDATING`.
    #[serde(rename = "StreamStatus", skip_serializing_if = "Option::is_none")]
    pub stream_status: Option<String>,
    /// Optional.
    #[serde(rename = "StreamModeDetails", skip_serializing_if = "Option::is_none")]
    pub stream_mode_details: Option<StreamModeDetails>,
    /// Required.
    #[serde(rename = "RetentionPeriodHours", skip_serializing_if = "Option::is_none")]
    pub retention_period_hours: Option<i32>,
    /// Required.
    #[serde(rename = "StreamCreationTimestamp", skip_serializing_if = "Option::is_none")]
    pub stream_creation_timestamp: Option<Timestamp>,
    /// Required.
    #[serde(rename = "EnhancedMonitoring", skip_serializing_if = "Option::is_none")]
    pub enhanced_monitoring: Option<Vec<EnhancedMetrics>>,
    /// Optional: `NONE` or `KMS`.
    #[serde(rename = "EncryptionType", skip_serializing_if = "Option::is_none")]
    pub encryption_type: Option<String>,
    /// Optional: 1 to 2048 characters.
    #[serde(rename = "KeyId", skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Required: 0 to 1000000.
    #[serde(rename = "OpenShardCount", skip_serializing_if = "Option::is_none")]
    pub open_shard_count: Option<i32>,
    /// Optional: 0 to 1000000.
    #[serde(rename = "ConsumerCount", skip_serializing_if = "Option::is_none")]
    pub consumer_count: Option<i32>,
    /// Optional.
    #[serde(rename = "WarmThroughput", skip_serializing_if = "Option::is_none")]
    pub warm_throughput: Option<WarmThroughputObject>,
    /// Optional: 1024 to 10240.
    #[serde(rename = "MaxRecordSizeInKiB", skip_serializing_if = "Option::is_none")]
    pub max_record_size_in_kib: Option<i32>,
    /// Optional: 0 to 1000000.
    #[serde(rename = "ChannelCount", skip_serializing_if = "Option::is_none")]
    pub channel_count: Option<i32>,
    /// Optional: `AUTO` or `USER_PARTITION_KEY`.
    #[serde(rename = "RecordDistributionStrategy", skip_serializing_if = "Option::is_none")]
    pub record_distribution_strategy: Option<String>,
    /// Optional: 0 to 1000000.
    #[serde(rename = "QueueCount", skip_serializing_if = "Option::is_none")]
    pub queue_count: Option<i32>,
}

/// `StreamModeDetails` of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamModeDetails {
    /// Required: `PROVISIONED` or `ON_DEMAND`.
    #[serde(rename = "StreamMode", skip_serializing_if = "Option::is_none")]
    pub stream_mode: Option<String>,
}

impl Shape for StreamModeDetails {
    fn check(&self, report: &mut Report) {
        report.required("streamMode", self.stream_mode.is_some());
        report.text("streamMode", self.stream_mode.as_deref(), &STREAM_MODE);
    }
}

/// `StreamSummary` of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamSummary {
    /// Required: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Required: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Required: `CREATING` or `DELETING` or `ACTIVE` or `UPDATING`.
    #[serde(rename = "StreamStatus", skip_serializing_if = "Option::is_none")]
    pub stream_status: Option<String>,
    /// Optional.
    #[serde(rename = "StreamModeDetails", skip_serializing_if = "Option::is_none")]
    pub stream_mode_details: Option<StreamModeDetails>,
    /// Optional.
    #[serde(rename = "StreamCreationTimestamp", skip_serializing_if = "Option::is_none")]
    pub stream_creation_timestamp: Option<Timestamp>,
}

/// `SubscribeToShardEvent` of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubscribeToShardEvent {
    /// Required.
    #[serde(rename = "Records", skip_serializing_if = "Option::is_none")]
    pub records: Option<Vec<Record>>,
    /// Required: like `^(0|([1-9]\d{0,128}))$`.
    #[serde(rename = "ContinuationSequenceNumber", skip_serializing_if = "Option::is_none")]
    pub continuation_sequence_number: Option<String>,
    /// Required: at least 0.
    #[serde(rename = "MillisBehindLatest", skip_serializing_if = "Option::is_none")]
    pub millis_behind_latest: Option<i64>,
    /// Optional.
    #[serde(rename = "ChildShards", skip_serializing_if = "Option::is_none")]
    pub child_shards: Option<Vec<ChildShard>>,
}

/// The input of `SubscribeToShard`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubscribeToShardInput {
    /// Required: 1 to 2048 characters, like `^(arn):aws.*:kinesis:.*:\d{12}:.*stream\/[a-zA-Z0-9_.-]+\/consumer\/[a-zA-Z0-9_.-]+:[0-9]+`.
    #[serde(rename = "ConsumerARN", skip_serializing_if = "Option::is_none")]
    pub consumer_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
    /// Required: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "ShardId", skip_serializing_if = "Option::is_none")]
    pub shard_id: Option<String>,
    /// Required.
    #[serde(rename = "StartingPosition", skip_serializing_if = "Option::is_none")]
    pub starting_position: Option<StartingPosition>,
    /// Optional.
    #[serde(rename = "DryRun", skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

impl Shape for SubscribeToShardInput {
    fn check(&self, report: &mut Report) {
        report.required("consumerARN", self.consumer_arn.is_some());
        report.text("consumerARN", self.consumer_arn.as_deref(), &CONSUMER_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
        report.required("shardId", self.shard_id.is_some());
        report.text("shardId", self.shard_id.as_deref(), &SHARD_ID);
        report.required("startingPosition", self.starting_position.is_some());
        report.shape("startingPosition", self.starting_position.as_ref());
    }

    fn resource(&self) -> Option<&str> {
        self.consumer_arn.as_deref()
    }
}

/// The output of `SubscribeToShard`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubscribeToShardOutput {}

/// `Tag` of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tag {
    /// Required: 1 to 128 characters.
    #[serde(rename = "Key", skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Optional: 0 to 256 characters.
    #[serde(rename = "Value", skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// The input of `TagResource`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TagResourceInput {
    /// Required: 1 to 200 entries.
    #[serde(
        rename = "Tags",
        deserialize_with = "bounded::map::<200, _, _, _>",
        skip_serializing_if = "Option::is_none"
    )]
    pub tags: Option<BTreeMap<String, String>>,
    /// Required: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:.*(stream|channel|queue)/\S+`.
    #[serde(rename = "ResourceARN", skip_serializing_if = "Option::is_none")]
    pub resource_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
}

impl Shape for TagResourceInput {
    fn check(&self, report: &mut Report) {
        report.required("tags", self.tags.is_some());
        report.length("tags", self.tags.as_ref().map(BTreeMap::len), &TAG_MAP);
        report.entries("tags", self.tags.as_ref(), &TAG_KEY, &TAG_VALUE);
        report.required("resourceARN", self.resource_arn.is_some());
        report.text("resourceARN", self.resource_arn.as_deref(), &RESOURCE_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.resource_arn.as_deref()
    }
}

/// The input of `UntagResource`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UntagResourceInput {
    /// Required: 1 to 50 elements.
    #[serde(
        rename = "TagKeys",
        deserialize_with = "bounded::list::<50, _, _>",
        skip_serializing_if = "Option::is_none"
    )]
    pub tag_keys: Option<Vec<String>>,
    /// Required: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:.*(stream|channel|queue)/\S+`.
    #[serde(rename = "ResourceARN", skip_serializing_if = "Option::is_none")]
    pub resource_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
}

impl Shape for UntagResourceInput {
    fn check(&self, report: &mut Report) {
        report.required("tagKeys", self.tag_keys.is_some());
        report.length("tagKeys", self.tag_keys.as_ref().map(Vec::len), &TAG_KEY_LIST);
        report.texts("tagKeys", self.tag_keys.as_deref(), &TAG_KEY);
        report.required("resourceARN", self.resource_arn.is_some());
        report.text("resourceARN", self.resource_arn.as_deref(), &RESOURCE_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.resource_arn.as_deref()
    }
}

/// The input of `UpdateAccountSettings`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateAccountSettingsInput {
    /// Required.
    #[serde(rename = "MinimumThroughputBillingCommitment", skip_serializing_if = "Option::is_none")]
    pub minimum_throughput_billing_commitment: Option<MinimumThroughputBillingCommitmentInput>,
}

impl Shape for UpdateAccountSettingsInput {
    fn check(&self, report: &mut Report) {
        report.required("minimumThroughputBillingCommitment", self.minimum_throughput_billing_commitment.is_some());
        report.shape("minimumThroughputBillingCommitment", self.minimum_throughput_billing_commitment.as_ref());
    }
}

/// The output of `UpdateAccountSettings`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateAccountSettingsOutput {
    /// Optional.
    #[serde(rename = "MinimumThroughputBillingCommitment", skip_serializing_if = "Option::is_none")]
    pub minimum_throughput_billing_commitment: Option<MinimumThroughputBillingCommitmentOutput>,
}

/// The input of `UpdateMaxRecordSize`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateMaxRecordSizeInput {
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
    /// Required: 1024 to 10240.
    #[serde(rename = "MaxRecordSizeInKiB", skip_serializing_if = "Option::is_none")]
    pub max_record_size_in_kib: Option<i32>,
}

impl Shape for UpdateMaxRecordSizeInput {
    fn check(&self, report: &mut Report) {
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
        report.required("maxRecordSizeInKiB", self.max_record_size_in_kib.is_some());
        report.number("maxRecordSizeInKiB", self.max_record_size_in_kib.map(i64::from), &MAX_RECORD_SIZE_IN_KIB);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref()
    }
}

/// The input of `UpdateShardCount`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateShardCountInput {
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Required: at least 1.
    #[serde(rename = "TargetShardCount", skip_serializing_if = "Option::is_none")]
    pub target_shard_count: Option<i32>,
    /// Required: `UNIFORM_SCALING`.
    #[serde(rename = "ScalingType", skip_serializing_if = "Option::is_none")]
    pub scaling_type: Option<String>,
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
}

impl Shape for UpdateShardCountInput {
    fn check(&self, report: &mut Report) {
        report.text("streamName", self.stream_name.as_deref(), &STREAM_NAME);
        report.required("targetShardCount", self.target_shard_count.is_some());
        report.number("targetShardCount", self.target_shard_count.map(i64::from), &POSITIVE_INTEGER_OBJECT);
        report.required("scalingType", self.scaling_type.is_some());
        report.text("scalingType", self.scaling_type.as_deref(), &SCALING_TYPE);
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref().or(self.stream_name.as_deref())
    }
}

/// The output of `UpdateShardCount`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateShardCountOutput {
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Optional: at least 1.
    #[serde(rename = "CurrentShardCount", skip_serializing_if = "Option::is_none")]
    pub current_shard_count: Option<i32>,
    /// Optional: at least 1.
    #[serde(rename = "TargetShardCount", skip_serializing_if = "Option::is_none")]
    pub target_shard_count: Option<i32>,
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
}

/// The input of `UpdateStreamMode`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateStreamModeInput {
    /// Required: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
    /// Required.
    #[serde(rename = "StreamModeDetails", skip_serializing_if = "Option::is_none")]
    pub stream_mode_details: Option<StreamModeDetails>,
    /// Optional: at least 0.
    #[serde(rename = "WarmThroughputMiBps", skip_serializing_if = "Option::is_none")]
    pub warm_throughput_mibps: Option<i32>,
}

impl Shape for UpdateStreamModeInput {
    fn check(&self, report: &mut Report) {
        report.required("streamARN", self.stream_arn.is_some());
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
        report.required("streamModeDetails", self.stream_mode_details.is_some());
        report.shape("streamModeDetails", self.stream_mode_details.as_ref());
        report.number("warmThroughputMiBps", self.warm_throughput_mibps.map(i64::from), &NATURAL_INTEGER_OBJECT);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref()
    }
}

/// The input of `UpdateStreamRecordDistributionStrategy`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateStreamRecordDistributionStrategyInput {
    /// Required: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
    /// Required: `AUTO` or `USER_PARTITION_KEY`.
    #[serde(rename = "RecordDistributionStrategy", skip_serializing_if = "Option::is_none")]
    pub record_distribution_strategy: Option<String>,
}

impl Shape for UpdateStreamRecordDistributionStrategyInput {
    fn check(&self, report: &mut Report) {
        report.required("streamARN", self.stream_arn.is_some());
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
        report.required("recordDistributionStrategy", self.record_distribution_strategy.is_some());
        report.text(
            "recordDistributionStrategy",
            self.record_distribution_strategy.as_deref(),
            &RECORD_DISTRIBUTION_STRATEGY,
        );
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref()
    }
}

/// The input of `UpdateStreamWarmThroughput`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateStreamWarmThroughputInput {
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Optional: 1 to 24 characters, like `[a-z0-9]{20}-[a-z0-9]{3}`.
    #[serde(rename = "StreamId", skip_serializing_if = "Option::is_none")]
    pub stream_id: Option<String>,
    /// Required: at least 0.
    #[serde(rename = "WarmThroughputMiBps", skip_serializing_if = "Option::is_none")]
    pub warm_throughput_mibps: Option<i32>,
}

impl Shape for UpdateStreamWarmThroughputInput {
    fn check(&self, report: &mut Report) {
        report.text("streamARN", self.stream_arn.as_deref(), &STREAM_ARN);
        report.text("streamName", self.stream_name.as_deref(), &STREAM_NAME);
        report.text("streamId", self.stream_id.as_deref(), &STREAM_ID);
        report.required("warmThroughputMiBps", self.warm_throughput_mibps.is_some());
        report.number("warmThroughputMiBps", self.warm_throughput_mibps.map(i64::from), &NATURAL_INTEGER_OBJECT);
    }

    fn resource(&self) -> Option<&str> {
        self.stream_arn.as_deref().or(self.stream_name.as_deref())
    }
}

/// The output of `UpdateStreamWarmThroughput`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpdateStreamWarmThroughputOutput {
    /// Optional: 1 to 2048 characters, like `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`.
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    pub stream_arn: Option<String>,
    /// Optional: 1 to 128 characters, like `[a-zA-Z0-9_.-]+`.
    #[serde(rename = "StreamName", skip_serializing_if = "Option::is_none")]
    pub stream_name: Option<String>,
    /// Optional.
    #[serde(rename = "WarmThroughput", skip_serializing_if = "Option::is_none")]
    pub warm_throughput: Option<WarmThroughputObject>,
}

/// `WarmThroughputObject` of the model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WarmThroughputObject {
    /// Optional: at least 0.
    #[serde(rename = "TargetMiBps", skip_serializing_if = "Option::is_none")]
    pub target_mibps: Option<i32>,
    /// Optional: at least 0.
    #[serde(rename = "CurrentMiBps", skip_serializing_if = "Option::is_none")]
    pub current_mibps: Option<i32>,
}
