//! The error of a request, as every protocol says it.

use std::borrow::Cow;

use serde::Serialize;

use super::excerpt::excerpt;
use super::kinesis::ErrorCode;

/// What a caller is told when a request fails: status, code, message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// The code, by which SDKs choose the exception.
    pub code: &'static str,
    /// For people.
    pub message: Cow<'static, str>,
}

/// So much is told of why a body can't be read: a decoder quotes what it found, and that may be most of the body.
const WHY_BYTES_MAX: usize = 512;

/// How it looks as JSON or CBOR.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "__type")]
    code: &'a str,
    message: &'a str,
}

impl ApiError {
    /// An error that is common to all services, and so in no model.
    pub fn new(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError { status, code, message: message.into() }
    }

    /// An error of the service's model.
    pub fn of(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(if code.is_fault() { 500 } else { 400 }, code.name(), message)
    }

    /// The body can't be read as what the operation takes.
    pub fn serialization(why: impl std::fmt::Display) -> ApiError {
        ApiError::new(400, "SerializationException", excerpt(why, WHY_BYTES_MAX))
    }

    /// The target names no operation.
    pub fn unknown_operation(target: &str) -> ApiError {
        let shown: String = target.chars().take(100).collect();
        ApiError::new(400, "UnknownOperationException", format!("there is no operation {shown:?}"))
    }

    /// What the body is made of.
    pub(super) fn body(&self) -> impl Serialize + '_ {
        Body { code: self.code, message: &self.message }
    }
}
