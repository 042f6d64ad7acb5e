//! `*.seg`: segments, and packs with their pieces.

use super::fields::{Fields, Walk, whole};
use super::printer::{Check, Printer};
use super::records::{batch, glimpse};
use super::source::Source;
use crate::cli::Failure;
use crate::format::batch::{BatchHeader, HEADER_BYTES as BATCH_HEADER_BYTES};
use crate::format::checksum::Salt;
use crate::format::segment::{BULK_ALIGNMENT, HEADER_BYTES, SegmentHeader};
use crate::id::{SegmentId, StoreId};
use crate::limits::BATCH_BYTES_MAX;

const WINDOW_BYTES: usize = 256 << 10;

pub(super) fn dump(
    printer: &mut Printer<'_>,
    source: &Source,
    origin: Option<StoreId>,
    records: bool,
) -> Result<(), Failure> {
    let bytes = source.get(0, HEADER_BYTES);
    printer.part(0, "segment")?;
    if whole(header(&mut Fields::new(printer, 0, &bytes), &bytes, origin))?.is_none() {
        return Ok(());
    }
    // The header says which log it is of, and a header that verifies says of which store, so it is enough by itself.
    let salt = match SegmentHeader::parse(&bytes) {
        Ok(header) => Some(Salt::batches(origin.unwrap_or(header.origin), header.log)),
        Err(what) => {
            printer.note(
                0,
                &format!("the header is not valid ({what}), so the log and the salt of its batches are not known"),
            )?;
            None
        }
    };
    if SegmentHeader::parse(&bytes).is_ok_and(|header| header.is_pack()) {
        return pieces(printer, source, origin, records);
    }
    batches(printer, source, salt, records, HEADER_BYTES as u64..source.len())
}

/// The pieces of a pack, one behind the other.
fn pieces(printer: &mut Printer<'_>, source: &Source, origin: Option<StoreId>, records: bool) -> Result<(), Failure> {
    let mut at = HEADER_BYTES as u64;
    let mut n = 0;
    while at < source.len() && !printer.is_over(at) {
        let bytes = source.get(at, HEADER_BYTES);
        let parsed = SegmentHeader::parse(&bytes).ok().filter(|header| header.bytes >= HEADER_BYTES as u64);
        let Some(found) = parsed else {
            let next = resync_piece(source, at + 8);
            printer.stretch(at, next, &format!("no piece: {}", glimpse(&bytes)))?;
            at = next;
            continue;
        };
        printer.part(at, format!("piece {n}"))?;
        if whole(header(&mut Fields::new(printer, at, &bytes), &bytes, origin))?.is_none() {
            return Ok(());
        }
        let salt = Salt::batches(origin.unwrap_or(found.origin), found.log);
        let end = at.saturating_add(found.bytes).min(source.len());
        batches(printer, source, Some(salt), records, at + HEADER_BYTES as u64..end)?;
        (at, n) = (end, n + 1);
    }
    Ok(())
}

/// The next position, on 8 bytes, where a header verifies.
fn resync_piece(source: &Source, from: u64) -> u64 {
    let mut at = from.next_multiple_of(8);
    while at < source.len() {
        let bytes = source.get(at, WINDOW_BYTES);
        let found = bytes.windows(HEADER_BYTES).step_by(8).position(|front| SegmentHeader::parse(front).is_ok());
        match found {
            Some(steps) => return at + steps as u64 * 8,
            None if bytes.len() < WINDOW_BYTES => break,
            None => at += (WINDOW_BYTES - HEADER_BYTES) as u64,
        }
    }
    source.len()
}

fn header(f: &mut Fields<'_, '_>, bytes: &[u8], origin: Option<StoreId>) -> Walk {
    f.magic(b"BLSG")?;
    f.u16("version")?;
    f.zero(2)?;
    let own = f.store_id("origin id of the store")?;
    if origin.is_some_and(|origin| origin != own) {
        f.note("this is not the store whose STORE file was found")?;
    }
    f.id("log id")?;
    let segment = SegmentId(f.word("segment id", 8, |id| format!("{id} ({})", SegmentId(id)))?);
    f.u64("first sequence number")?;
    f.word("bytes of the piece", 8, |n| if n == 0 { "0: not a piece".to_owned() } else { n.to_string() })?;
    f.zero(4)?;
    let stored = bytes.get(60..64).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let good = bytes.get(..60).map(|front| Some(Salt::segment(own, segment).checksum(front)) == stored);
    f.checksum("checksum of bytes 0..60", Check::of(good))?;
    Ok(())
}

fn batches(
    printer: &mut Printer<'_>,
    source: &Source,
    salt: Option<Salt>,
    records: bool,
    range: std::ops::Range<u64>,
) -> Result<(), Failure> {
    let mut at = range.start;
    let mut n = 0;
    while at < range.end && !printer.is_over(at) {
        let front = source.get(at, BATCH_HEADER_BYTES);
        if front.iter().all(|b| *b == 0) && !front.is_empty() {
            // Zeros: padding before or behind a bulk write, or room that nothing was written to.
            let upto = source.first_not_zero(at, range.end).unwrap_or(range.end);
            let upto = if upto < range.end { upto - upto % 8 } else { upto };
            printer.stretch(at, upto, "zeros")?;
            at = upto;
            continue;
        }
        if front.len() < BATCH_HEADER_BYTES || &front[40..42] != b"Bb" {
            let next = resync(source, at + 8, salt).min(range.end);
            let what = format!("no batch: {}", glimpse(&front));
            printer.stretch(at, next, &what)?;
            at = next;
            continue;
        }
        let length = u32::from_le_bytes([front[8], front[9], front[10], front[11]]) as usize;
        let bytes = source.get(at, (BATCH_HEADER_BYTES + length + 8).min(BATCH_BYTES_MAX + 8));
        let Some(found) = batch(printer, at, &bytes, salt, records, &format!("batch {n}"))? else { break };
        n += 1;
        if !found.is_plausible() {
            let next = resync(source, at + 8, salt).min(range.end);
            printer.stretch(at, next, "skipped up to the next batch that verifies")?;
            at = next;
            continue;
        }
        let end = at + found.padded_len() as u64;
        at = end;
        if found.bulk {
            at = end.next_multiple_of(BULK_ALIGNMENT).min(source.len().max(end));
            let clean = source.first_not_zero(end, at).is_none();
            let what =
                if clean { "zeros up to a boundary" } else { "not all zero up to a boundary; nothing reads them" };
            printer.stretch(end, at, what)?;
        }
    }
    Ok(())
}

/// The next position, on 8 bytes, where a batch may start: one whose header verifies, as far as that can be told.
fn resync(source: &Source, from: u64, salt: Option<Salt>) -> u64 {
    let mut at = from.next_multiple_of(8);
    while at < source.len() {
        let bytes = source.get(at, WINDOW_BYTES);
        if bytes.len() < BATCH_HEADER_BYTES {
            break;
        }
        for offset in (0..=bytes.len() - BATCH_HEADER_BYTES).step_by(8) {
            let Some(front) = bytes[offset..].first_chunk::<BATCH_HEADER_BYTES>() else { break };
            let looks = &front[40..42] == b"Bb";
            if looks && salt.is_none_or(|salt| BatchHeader::parse(front, salt).is_ok()) {
                return at + offset as u64;
            }
        }
        at += (bytes.len() - BATCH_HEADER_BYTES + 8) as u64 & !7;
    }
    source.len()
}
