//! The engine's errors as the service names them.

use std::borrow::Cow;

use crate::Error;
use crate::engine::Engine;
use crate::wire::ApiError;
use crate::wire::kinesis::ErrorCode;

/// Whose errors they are: messages name the account.
pub(in crate::server) struct Context<'a>(pub(in crate::server) &'a Engine);

impl Context<'_> {
    /// What a caller is told.
    pub(in crate::server) fn error(&self, error: Error) -> ApiError {
        let account = &self.0.options().account;
        match error {
            Error::ResourceNotFound { what } => {
                let message = format!("{} under account {account} not found.", capitalized(&what));
                ApiError::of(ErrorCode::ResourceNotFoundException, message)
            }
            Error::ResourceInUse { ref what, .. } if what.starts_with("stream ") => {
                let message = format!("{} under account {account}: {error}.", capitalized(what));
                ApiError::of(ErrorCode::ResourceInUseException, message)
            }
            Error::ResourceInUse { .. } => ApiError::of(ErrorCode::ResourceInUseException, sentence(&error)),
            Error::OnDemand { stream } => {
                let message =
                    format!("Request is invalid. Stream {stream} under account {account} is in On-Demand mode.");
                ApiError::of(ErrorCode::ValidationException, message)
            }
            Error::LimitExceeded { .. } => ApiError::of(ErrorCode::LimitExceededException, sentence(&error)),
            Error::ThroughputExceeded { what } => {
                ApiError::of(ErrorCode::ProvisionedThroughputExceededException, format!("Rate exceeded for {what}."))
            }
            Error::ExpiredIterator { .. } => ApiError::of(ErrorCode::ExpiredIteratorException, sentence(&error)),
            Error::InvalidArgument { .. }
            | Error::InvalidName { .. }
            | Error::InvalidOption { .. }
            | Error::RecordTooLarge { .. }
            | Error::TransactionTooLarge { .. }
            | Error::EmptyBatch
            | Error::Trimmed { .. }
            | Error::BeyondEnd { .. } => ApiError::of(ErrorCode::InvalidArgumentException, sentence(&error)),
            // SDKs wait longer and longer between tries of it, which is what helps.
            Error::Busy { .. } => ApiError::of(ErrorCode::ProvisionedThroughputExceededException, sentence(&error)),
            // Everything else is ours. SDKs try these again as well.
            _ => {
                tracing::error!(%error, "a request failed");
                ApiError::of(ErrorCode::InternalFailureException, sentence(&error))
            }
        }
    }
}

fn capitalized(what: &str) -> String {
    let mut chars = what.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn sentence(error: &Error) -> Cow<'static, str> {
    format!("{}.", capitalized(&error.to_string())).into()
}
