//! What may be appended, and what it may be made of.

use crate::error::{Error, Result};
use crate::format::batch::RecordParts;
use crate::limits::{ATTRIBUTES_BYTES_MAX, KEY_BYTES_MAX, RECORD_DATA_BYTES_MAX};

/// What several records take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) count: usize,
    /// Bytes as encoded, without what a batch adds.
    pub(crate) bytes: usize,
}

/// What records take that are all within their limits; at least one.
#[inline]
pub(crate) fn size_of<'a>(records: impl Iterator<Item = RecordParts<'a>>) -> Result<Size> {
    let mut size = Size { count: 0, bytes: 0 };
    for record in records {
        if !record.within_limits() {
            check_record(&record)?;
        }
        size.bytes += record.encoded_len();
        size.count += 1;
    }
    if size.count == 0 { Err(Error::EmptyBatch) } else { Ok(size) }
}

/// Checks a record against its limits.
pub(crate) fn check_record(record: &RecordParts<'_>) -> Result<()> {
    let too_large = |part, bytes: usize, max: usize| Err(Error::RecordTooLarge { part, bytes, max });
    match record {
        r if r.within_limits() => Ok(()),
        r if r.data.len() > RECORD_DATA_BYTES_MAX => too_large("data", r.data.len(), RECORD_DATA_BYTES_MAX),
        RecordParts { key: Some(key), .. } if key.len() > KEY_BYTES_MAX => too_large("key", key.len(), KEY_BYTES_MAX),
        r => too_large("attributes", r.attributes.map_or(0, <[u8]>::len), ATTRIBUTES_BYTES_MAX),
    }
}

impl<'a> From<&'a [u8]> for RecordParts<'a> {
    fn from(data: &'a [u8]) -> Self {
        RecordParts { data, ..RecordParts::default() }
    }
}

impl<'a> From<&'a str> for RecordParts<'a> {
    fn from(data: &'a str) -> Self {
        data.as_bytes().into()
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for RecordParts<'a> {
    fn from(data: &'a [u8; N]) -> Self {
        data[..].into()
    }
}

impl<'a> From<&'a String> for RecordParts<'a> {
    fn from(data: &'a String) -> Self {
        data.as_bytes().into()
    }
}

impl<'a> From<&'a Vec<u8>> for RecordParts<'a> {
    fn from(data: &'a Vec<u8>) -> Self {
        data.as_slice().into()
    }
}
