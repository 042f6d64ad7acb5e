//! `*.idx`.

use super::fields::{Fields, Walk, whole};
use super::printer::{Check, Printer};
use super::source::Source;
use crate::cli::Failure;
use crate::format::checksum::Salt;
use crate::format::index::{ENTRY_BYTES, HEADER_BYTES};
use crate::id::{SegmentId, StoreId};

/// Entries read at a time.
const ENTRIES: usize = 4096;

pub(super) fn dump(printer: &mut Printer<'_>, source: &Source, origin: Option<StoreId>) -> Result<(), Failure> {
    let bytes = source.get(0, HEADER_BYTES);
    printer.part(0, "index")?;
    let Some((count, base)) = whole(header(&mut Fields::new(printer, 0, &bytes), &bytes, source, origin))? else {
        return Ok(());
    };
    let mut at = HEADER_BYTES as u64;
    let end = at.saturating_add(u64::from(count) * ENTRY_BYTES as u64).min(source.len());
    let mut n = 0;
    while at < end && !printer.is_over(at) {
        let bytes = source.get(at, ((end - at) as usize).min(ENTRIES * ENTRY_BYTES));
        if bytes.is_empty() {
            return printer.note(at, "it can't be read from here on");
        }
        for entry in bytes.chunks(ENTRY_BYTES) {
            printer.part(at, format!("entry {n}"))?;
            let mut f = Fields::new(printer, at, entry);
            let walked = |f: &mut Fields<'_, '_>| -> Walk {
                f.word("number - base", 4, |number| format!("{number}: record {}", base.saturating_add(number)))?;
                f.u32("position")?;
                f.word("arrival - first arrival", 8, |ms| format!("{ms} ms"))?;
                Ok(())
            };
            whole(walked(&mut f))?;
            at += entry.len() as u64;
            n += 1;
        }
    }
    printer.stretch(end, source.len(), "behind the entries; they don't belong here")
}

fn header(f: &mut Fields<'_, '_>, bytes: &[u8], source: &Source, origin: Option<StoreId>) -> Walk<(u32, u64)> {
    f.magic(b"BLIX")?;
    f.u16("version")?;
    f.zero(2)?;
    let segment = f.id("segment id")?;
    let base = f.u64("first sequence number")?;
    f.time("arrival of its first record")?;
    f.u64("end of the bytes it covers")?;
    let count = f.u32("number of entries")?;
    let salt = origin.map(|origin| Salt::segment(origin, SegmentId(segment)));
    let stored = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    // Piece by piece: a damaged count may cover all of a large file.
    let entries = |salt: Salt| {
        let mut hasher = salt.hasher();
        let mut at = HEADER_BYTES as u64;
        let end = at + u64::from(count) * ENTRY_BYTES as u64;
        while at < end {
            let piece = source.get(at, ((end - at) as usize).min(ENTRIES * ENTRY_BYTES));
            if piece.is_empty() {
                return false;
            }
            hasher.update(&piece);
            at += piece.len() as u64;
        }
        Some(hasher.finalize()) == stored(44)
    };
    f.checksum("checksum of entries", Check::of(salt.map(entries)))?;
    f.zero(8)?;
    f.zero(4)?;
    let front = bytes.get(..60).unwrap_or_default();
    f.checksum("checksum of bytes 0..60", Check::of(salt.map(|salt| Some(salt.checksum(front)) == stored(60))))?;
    Ok((count, base))
}
