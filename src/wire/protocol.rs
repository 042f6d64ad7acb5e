//! AWS JSON 1.1 and CBOR 1.1: the same shapes, two kinds of bytes.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::ser::{Formatter, Serializer};

use super::check::{Report, Shape};
use super::error::ApiError;
use super::excerpt::excerpt;

/// How requests and responses are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// AWS JSON 1.1.
    Json,
    /// AWS CBOR 1.1, which the Java SDK sends unless told not to.
    Cbor,
}

/// What a body held.
#[derive(Debug)]
pub struct Decoded<T> {
    /// What the operation takes.
    pub input: T,
    /// Paths of members that the model doesn't have, each cut where it is long.
    pub unknown: Vec<String>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Decoded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut unknown = Vec::new();
        let input = serde_ignored::deserialize(deserializer, |path| {
            if unknown.len() < UNKNOWN_MAX {
                unknown.push(excerpt(path, PATH_BYTES_MAX));
            }
        })?;
        Ok(Decoded { input, unknown })
    }
}

/// Members that are named in [`Decoded::unknown`] at most.
const UNKNOWN_MAX: usize = 16;
/// So much is told of the path of each. A client makes up its names, and what is told is logged, and kept to be logged once.
const PATH_BYTES_MAX: usize = 128;

impl Protocol {
    /// The one a `Content-Type` asks for, parameters aside.
    pub fn of_content_type(value: &str) -> Option<Protocol> {
        let kind = value.split(';').next().unwrap_or_default().trim();
        let is_one_of = |names: &[&str]| names.iter().any(|name| kind.eq_ignore_ascii_case(name));
        if is_one_of(&["application/x-amz-json-1.1", "application/x-amz-json-1.0", "application/json"]) {
            Some(Protocol::Json)
        } else {
            is_one_of(&["application/x-amz-cbor-1.1", "application/cbor"]).then_some(Protocol::Cbor)
        }
    }

    /// The `Content-Type` of what it writes.
    pub fn content_type(self) -> &'static str {
        match self {
            Protocol::Json => "application/x-amz-json-1.1",
            Protocol::Cbor => "application/x-amz-cbor-1.1",
        }
    }

    /// Reads a body and checks it against the model.
    ///
    /// # Errors
    /// `SerializationException` for what is no such value, `ValidationException` for broken bounds.
    pub fn decode<T: DeserializeOwned + Shape>(self, body: &[u8]) -> Result<Decoded<T>, ApiError> {
        let decoded: Decoded<T> = self.read(body)?;
        Report::on(&decoded.input)?;
        Ok(decoded)
    }

    /// Reads a value, as a client reads an answer.
    ///
    /// # Errors
    /// `SerializationException` for what is no such value.
    pub fn read<T: DeserializeOwned>(self, body: &[u8]) -> Result<T, ApiError> {
        match self {
            Protocol::Json => serde_json::from_slice(body).map_err(ApiError::serialization),
            Protocol::Cbor => {
                let mut rest = body;
                let value = ciborium::from_reader(&mut rest).map_err(ApiError::serialization)?;
                if rest.is_empty() {
                    Ok(value)
                } else {
                    Err(ApiError::serialization("there are bytes after the value"))
                }
            }
        }
    }

    /// Writes a value.
    pub fn encode(self, value: &impl Serialize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(128);
        // Into memory, of values that all have a form: it can't fail.
        let _ = self.encode_to(value, &mut bytes);
        bytes
    }

    /// Writes a value piece by piece.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn encode_to(self, value: &impl Serialize, writer: &mut impl io::Write) -> io::Result<()> {
        match self {
            Protocol::Json => Ok(value.serialize(&mut Serializer::with_formatter(writer, Base64))?),
            Protocol::Cbor => ciborium::into_writer(value, writer).map_err(io::Error::other),
        }
    }

    /// Writes an error.
    pub fn encode_error(self, error: &ApiError) -> Vec<u8> {
        self.encode(&error.body())
    }
}

/// Compact JSON with bytes in base64, put where they belong at once: text of no other kind is so long, and none of its characters
/// has to be looked at again.
struct Base64;

impl Formatter for Base64 {
    fn write_byte_array<W: ?Sized + io::Write>(&mut self, writer: &mut W, bytes: &[u8]) -> io::Result<()> {
        let mut text = [0; 4 << 10];
        writer.write_all(b"\"")?;
        // Pieces of three bytes make four characters each, and only the last needs padding.
        for piece in bytes.chunks(text.len() / 4 * 3) {
            let length = STANDARD.encode_slice(piece, &mut text).map_err(io::Error::other)?;
            writer.write_all(text.get(..length).unwrap_or_default())?;
        }
        writer.write_all(b"\"")
    }
}

#[cfg(test)]
mod tests;
