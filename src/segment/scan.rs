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
    let mut header_bytes = [0; HEADER_BYTES];
    loop {
        let position = row.bytes;
        if file.read_at(&mut header_bytes, position)? < HEADER_BYTES {
            return Ok(());
        }
        let Ok(header) = batch::BatchHeader::parse(&header_bytes, salt) else { return Ok(()) };
        if header.first != row.end || header.kind != batch::KIND_RECORDS {
            return Ok(());
        }
        let mut records = vec![0; header.records_bytes as usize];
        let read = file.read_at(&mut records, position + HEADER_BYTES as u64)?;
        if read < records.len() || header.verify_records(&records, salt).is_err() {
            return Ok(());
        }
        if row.base == row.end {
            row.first_arrival_ms = header.first_arrival_ms;
        }
        row.end = header.end();
        row.bytes = position + header.padded_len() as u64;
        row.last_arrival_ms = row.last_arrival_ms.max(header.last_arrival_ms);
    }
}
