//! Why a request is refused before it is read, in the names and words AWS uses for it.

use std::fmt;

use crate::wire::ApiError;

/// The kind of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request isn't signed.
    MissingAuthenticationToken,
    /// Parts of the signature are missing or can't be read.
    IncompleteSignature,
    /// The signature is another, covers too little, or is not of now or here.
    InvalidSignature,
    /// Nobody has this access key, or a session token came along: none are issued here.
    UnrecognizedClient,
}

/// A refusal, and what about. Names no secret, and nothing that would help to guess a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuthError {
    pub(crate) refusal: Refusal,
    pub(crate) message: String,
}

impl AuthError {
    /// The error's name in AWS's JSON and CBOR protocols.
    pub(crate) fn code(&self) -> &'static str {
        match self.refusal {
            Refusal::MissingAuthenticationToken => "MissingAuthenticationTokenException",
            Refusal::IncompleteSignature => "IncompleteSignatureException",
            Refusal::InvalidSignature => "InvalidSignatureException",
            Refusal::UnrecognizedClient => "UnrecognizedClientException",
        }
    }

    pub(super) fn missing() -> Self {
        Self { refusal: Refusal::MissingAuthenticationToken, message: "Missing Authentication Token".to_owned() }
    }

    pub(super) fn incomplete(message: impl Into<String>) -> Self {
        Self { refusal: Refusal::IncompleteSignature, message: message.into() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self { refusal: Refusal::InvalidSignature, message: message.into() }
    }

    pub(super) fn unrecognized() -> Self {
        let message = "The security token included in the request is invalid.".to_owned();
        Self { refusal: Refusal::UnrecognizedClient, message }
    }

    pub(super) fn mismatch() -> Self {
        Self::invalid(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key \
             and signing method. Consult the service documentation for details.",
        )
    }
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code(), self.message)
    }
}

impl std::error::Error for AuthError {}

impl From<AuthError> for ApiError {
    /// These protocols answer 400 for all of them, and leave the difference to the name.
    fn from(error: AuthError) -> ApiError {
        ApiError::new(400, error.code(), error.message)
    }
}
