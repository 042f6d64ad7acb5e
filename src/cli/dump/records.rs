//! Batches, in segments and in the journal.

use super::change;
use super::fields::{Fields, Walk, when, whole};
use super::printer::{Check, Printer, preview};
use crate::cli::Failure;
use crate::format::batch::{BatchHeader, HEADER_BYTES, KIND_BULK, KIND_RECORDS};
use crate::format::checksum::Salt;
use crate::limits::BATCH_BYTES_MAX;

/// One entry of a batch's directory for so many records.
const DIRECTORY_STEP: u64 = 8;

/// What a batch's bytes say, whether they verify or not.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Batch {
    pub(super) records_bytes: u32,
    pub(super) bulk: bool,
    /// Whether its header verifies.
    pub(super) header: Option<bool>,
}

impl Batch {
    /// Bytes with their padding.
    pub(super) fn padded_len(&self) -> usize {
        (HEADER_BYTES + self.records_bytes as usize).next_multiple_of(8)
    }

    /// Whether its length is to be believed.
    pub(super) fn is_plausible(&self) -> bool {
        self.header == Some(true)
            || (self.header.is_none() && self.records_bytes as usize <= BATCH_BYTES_MAX - HEADER_BYTES)
    }
}

/// Prints the batch at the front of `bytes`, which lie at `at`. `None` if even its header is cut off.
pub(super) fn batch(
    printer: &mut Printer<'_>,
    at: u64,
    bytes: &[u8],
    salt: Option<Salt>,
    records: bool,
    part: &str,
) -> Result<Option<Batch>, Failure> {
    printer.part(at, part)?;
    let mut f = Fields::new(printer, at, bytes);
    whole(fields(&mut f, bytes, salt, records, part))
}

fn fields(f: &mut Fields<'_, '_>, bytes: &[u8], salt: Option<Salt>, records: bool, part: &str) -> Walk<Batch> {
    let front: Option<&[u8; HEADER_BYTES]> = bytes.first_chunk();
    let parsed = front.zip(salt).map(|(front, salt)| BatchHeader::parse(front, salt));
    let word = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let summed = salt.and_then(|salt| bytes.get(4..HEADER_BYTES).map(|b| Some(salt.checksum(b)) == word(0)));
    f.checksum("header checksum", Check::of(summed))?;
    let records_bytes = word(8).unwrap_or(0);
    let body = bytes.get(HEADER_BYTES..HEADER_BYTES.saturating_add(records_bytes as usize));
    let good = salt.map(|salt| body.is_some_and(|body| Some(salt.checksum(body)) == word(4)));
    f.checksum("records checksum", Check::of(good))?;
    f.u32("bytes of records")?;
    let count = f.u32("number of records")?;
    let first = f.u64("first sequence number")?;
    f.u64("frame")?;
    let first_arrival = f.word("arrival of the first", 6, when)?;
    f.word("arrival of the last", 2, |after| format!("+ {after} ms"))?;
    f.magic(b"Bb")?;
    f.u8("version")?;
    let kind = f.word("kind", 1, |kind| match kind as u8 {
        KIND_RECORDS => "1: records".to_owned(),
        KIND_BULK => "2: records, the last of a bulk write".to_owned(),
        other => format!("{other}: unknown"),
    })?;
    f.word("compressed", 1, |n| if n == 0 { "0: no".to_owned() } else { format!("{n}: unknown") })?;
    f.word("encrypted", 1, |n| if n == 0 { "0: no".to_owned() } else { format!("{n}: unknown") })?;
    f.zero(2)?;
    let header = parsed.map(|parsed| parsed.is_ok());
    if let Some(Err(what)) = parsed {
        f.note(&format!("the header is not valid: {what}"))?;
    }
    let batch = Batch { records_bytes, bulk: kind == u64::from(KIND_BULK), header };
    match body {
        None if batch.is_plausible() => {
            let left = f.remaining();
            f.note(&format!("cut off: {records_bytes} bytes of records, {left} are left"))?;
            if records {
                let rest = f.peek(left);
                let at = f.position();
                walk_records(f.printer(), at, rest, (first, count, first_arrival), part)?;
            }
        }
        None => {}
        Some(body) => {
            if records {
                let at = f.position();
                walk_records(f.printer(), at, body, (first, count, first_arrival), part)?;
            } else {
                let what = format!("{count} records; --records prints them");
                let at = f.position();
                f.printer().field(at, body, "records", &what, None)?;
            }
            f.skip(body.len());
            let padding = batch.padded_len() - HEADER_BYTES - body.len();
            f.padding(padding.min(f.remaining()))?;
        }
    }
    Ok(batch)
}

/// Prints each record, as far as the bytes make sense.
fn walk_records(
    printer: &mut Printer<'_>,
    at: u64,
    bytes: &[u8],
    (first, count, arrival): (u64, u32, u64),
    part: &str,
) -> Result<(), Failure> {
    let mut done = 0;
    for n in 0..u64::from(count) {
        let here = at + done as u64;
        if done >= bytes.len() || printer.is_over(here) {
            break;
        }
        printer.part(here, format!("{part}, record {}", first.saturating_add(n)))?;
        let mut f = Fields::new(printer, here, &bytes[done..]);
        let before = f.remaining();
        if whole(record(&mut f, arrival))?.is_none() {
            return Ok(());
        }
        done += before - f.remaining();
    }
    let here = at + done as u64;
    if done >= bytes.len() || printer.is_over(here) {
        return Ok(());
    }
    printer.part(here, format!("{part}, directory"))?;
    let mut f = Fields::new(printer, here, &bytes[done..]);
    for number in (1..).map(|n| first.saturating_add(n * DIRECTORY_STEP)) {
        if f.remaining() < 4 || whole(f.u32(&format!("position of record {number}")))?.is_none() {
            break;
        }
    }
    Ok(())
}

fn record(f: &mut Fields<'_, '_>, arrival: u64) -> Walk {
    let data = f.u24("bytes of data")?;
    let flags = f.word("flags", 1, |flags| match flags {
        0 => "0".to_owned(),
        1 => "1: key".to_owned(),
        2 => "2: attributes".to_owned(),
        3 => "3: key, attributes".to_owned(),
        other => format!("{other:#x}: unknown"),
    })?;
    let key = f.u16("bytes of key")?;
    f.word("arrival", 2, |after| format!("+ {after} ms: {}", when(arrival.saturating_add(after))))?;
    let attributes = if flags & 2 != 0 { f.u32("bytes of attributes")? } else { 0 };
    for (name, len, present) in [
        ("key", usize::from(key), flags & 1 != 0 || key > 0),
        ("attributes", attributes as usize, flags & 2 != 0),
        ("data", data as usize, true),
    ] {
        if present {
            let bytes = f.peek(len);
            f.data(name, len)?;
            if name == "data" {
                change::rows(bytes).iter().try_for_each(|row| f.note(row))?;
            }
        }
    }
    Ok(())
}

/// A short word for bytes that are nothing in particular.
pub(super) fn glimpse(bytes: &[u8]) -> String {
    preview(bytes, 16)
}
