//! Where the valid tail of a *buffered* log's segment ends. Its bytes are in no journal, so they are looked at one batch
//! after the other: a batch counts if it verifies under the log's salt and carries the very next number.

use crate::env::DiskFile;
use crate::format::batch::{self, HEADER_BYTES};
use crate::format::checksum::Salt;
use crate::format::manifest::SegmentRow;

/// Moves the row's end over every whole batch behind it.
///
/// # Errors
/// A read failed: where the tail ends can't be told, and the row is as far as it could be read.
pub(crate) fn scan_tail(file: &dyn DiskFile, salt: Salt, row: &mut SegmentRow) -> std::io::Result<()> {
    let mut batch = Vec::new();
    while next_batch(file, salt, row, &mut batch)? {}
    Ok(())
}

/// Moves the row's end over the next whole batch behind it, which is left in `bytes` with its padding. False at the end of the tail.
///
/// # Errors
/// A read failed, and the row is as it was.
pub(crate) fn next_batch(
    file: &dyn DiskFile,
    salt: Salt,
    row: &mut SegmentRow,
    bytes: &mut Vec<u8>,
) -> std::io::Result<bool> {
    let position = row.bytes;
    bytes.resize(HEADER_BYTES, 0);
    if file.read_at(bytes, position)? < HEADER_BYTES {
        return Ok(false);
    }
    let header = bytes.first_chunk().and_then(|header| batch::BatchHeader::parse(header, salt).ok());
    let Some(header) = header.filter(|h| h.first == row.end && h.kind == batch::KIND_RECORDS) else {
        return Ok(false);
    };
    bytes.resize(header.len(), 0);
    let records = &mut bytes[HEADER_BYTES..];
    let read = file.read_at(records, position + HEADER_BYTES as u64)?;
    if read < records.len() || header.verify_records(records, salt).is_err() {
        return Ok(false);
    }
    bytes.resize(header.padded_len(), 0);
    if row.base == row.end {
        row.first_arrival_ms = header.first_arrival_ms;
    }
    row.end = header.end();
    row.bytes = position + header.padded_len() as u64;
    row.last_arrival_ms = row.last_arrival_ms.max(header.last_arrival_ms);
    Ok(true)
}
