//! `*.jnl`.

use super::fields::{Fields, Walk, whole};
use super::manifest::row;
use super::printer::{Check, Printer};
use super::records::{batch, glimpse};
use super::source::Source;
use crate::cli::Failure;
use crate::format::checksum::Salt;
use crate::format::journal::{ENTRY_BYTES, EntryKind, FRAME_ALIGNMENT, HEADER_BYTES, looks_like_frame};
use crate::id::{LogId, StoreId};

const KINDS: [EntryKind; 9] = [
    EntryKind::Batch,
    EntryKind::CreateLog,
    EntryKind::DeleteLog,
    EntryKind::Trim,
    EntryKind::Settle,
    EntryKind::Touch,
    EntryKind::CloseLog,
    EntryKind::Mark,
    EntryKind::SetOptions,
];

/// An entry as it is on disk.
struct RawEntry {
    kind: Option<EntryKind>,
    log: LogId,
    length: u32,
    checksum: u32,
}

pub(super) fn dump(
    printer: &mut Printer<'_>,
    source: &Source,
    origin: Option<StoreId>,
    records: bool,
) -> Result<(), Failure> {
    let step = FRAME_ALIGNMENT as u64;
    let mut at = 0;
    while at < source.len() && !printer.is_over(at) {
        let block = source.get(at, FRAME_ALIGNMENT);
        if block.is_empty() {
            return printer.note(at, "it can't be read from here on");
        }
        if looks_like_frame(&block) {
            at = frame(printer, source, at, origin, records)?;
            continue;
        }
        let zeros = block.iter().all(|b| *b == 0);
        let start = at;
        let mut next = block.clone();
        while !next.is_empty() && !looks_like_frame(&next) && next.iter().all(|b| *b == 0) == zeros {
            at += step;
            next = source.get(at, FRAME_ALIGNMENT);
        }
        let upto = at.min(source.len());
        if zeros {
            printer.stretch(start, upto, "zeros")?;
        } else {
            printer.stretch(start, upto, &format!("no frame: {}", glimpse(&block)))?;
        }
    }
    Ok(())
}

/// Prints the frame at `at` and answers where to go on: behind it if its header verifies, or may be right.
fn frame(
    printer: &mut Printer<'_>,
    source: &Source,
    at: u64,
    origin: Option<StoreId>,
    records: bool,
) -> Result<u64, Failure> {
    let next_block = at + FRAME_ALIGNMENT as u64;
    let front = source.get(at, HEADER_BYTES);
    let word = |offset: usize| front.get(offset..offset + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
    let number = front.get(8..16).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    let generation = front.get(16..24).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    printer.part(at, format!("frame {number}"))?;
    let (length, count) = (word(40).unwrap_or(0), word(44).unwrap_or(0));
    let room = (length as usize).saturating_sub(HEADER_BYTES) / ENTRY_BYTES;
    let sane = (length as usize).is_multiple_of(FRAME_ALIGNMENT) && length > 0 && count as usize <= room;
    let directory = if sane { source.get(at + HEADER_BYTES as u64, count as usize * ENTRY_BYTES) } else { Vec::new() };
    let salt = origin.map(|origin| Salt::frames(origin, generation));
    let verifies = salt.map(|salt| {
        let mut hasher = salt.hasher();
        hasher.update(front.get(4..).unwrap_or_default());
        hasher.update(&directory);
        sane && directory.len() == count as usize * ENTRY_BYTES && Some(hasher.finalize()) == word(0)
    });
    let mut f = Fields::new(printer, at, &front);
    if whole(header(&mut f, Check::of(verifies)))?.is_none() {
        return Ok(next_block);
    }
    if !sane {
        printer.note(at, "its length or number of entries is out of bounds; going on with the next block")?;
        return Ok(next_block);
    }
    let mut entries = Vec::new();
    for (i, bytes) in directory.chunks(ENTRY_BYTES).enumerate() {
        let here = at + (HEADER_BYTES + i * ENTRY_BYTES) as u64;
        printer.part(here, format!("frame {number}, entry {i}"))?;
        match whole(entry(&mut Fields::new(printer, here, bytes)))? {
            Some(entry) => entries.push(entry),
            None => return Ok(next_block),
        }
    }
    let end = at + u64::from(length);
    let mut here = at + (HEADER_BYTES + count as usize * ENTRY_BYTES) as u64;
    for (i, entry) in entries.iter().enumerate() {
        let padded = u64::from(entry.length).next_multiple_of(8);
        if here + padded > end || printer.is_over(here) {
            printer.note(here, &format!("the payload of entry {i} doesn't fit the frame"))?;
            break;
        }
        let bytes = source.get(here, entry.length as usize);
        let part = format!("frame {number}, payload {i}");
        payload(printer, here, &bytes, entry, (origin, generation), records, &part)?;
        here += padded;
    }
    if verifies == Some(false) {
        printer.note(at, "it doesn't verify; going on with the next block")?;
        return Ok(next_block);
    }
    if here < end {
        let what = match source.first_not_zero(here, end) {
            None => "zeros up to the end of the frame",
            Some(_) => "not all zero up to the end of the frame; nothing reads them",
        };
        printer.stretch(here, end.min(source.len()), what)?;
    }
    Ok(end)
}

fn header(f: &mut Fields<'_, '_>, check: Check) -> Walk {
    f.checksum("checksum", check)?;
    f.magic(b"BLJF")?;
    f.u64("frame number")?;
    f.u64("generation")?;
    f.u64("highest durable frame")?;
    f.word("checksum of the frame before", 4, |sum| format!("{sum:#010x}"))?;
    f.u16("version")?;
    f.zero(2)?;
    f.u32("bytes of the frame")?;
    f.u32("number of entries")?;
    f.time("highest time stamp")?;
    f.zero(8)
}

fn entry(f: &mut Fields<'_, '_>) -> Walk<RawEntry> {
    let kind = |kind: u64| KINDS.into_iter().find(|k| *k as u64 == kind);
    let raw = f.word("kind", 1, |n| kind(n).map_or(format!("{n}: unknown"), |kind| format!("{n}: {kind:?}")))?;
    f.u8("group")?;
    f.zero(2)?;
    let length = f.u32("bytes of payload")?;
    let log = LogId(f.id("log id")?);
    let first = match kind(raw) {
        Some(EntryKind::Trim) => "trim horizon",
        Some(EntryKind::CloseLog) => "end",
        _ => "first sequence number",
    };
    f.u64(first)?;
    f.u32("number of records")?;
    let checksum = f.word("checksum of payload", 4, |sum| format!("{sum:#010x}"))? as u32;
    Ok(RawEntry { kind: kind(raw), log, length, checksum })
}

fn payload(
    printer: &mut Printer<'_>,
    at: u64,
    bytes: &[u8],
    entry: &RawEntry,
    (origin, generation): (Option<StoreId>, u64),
    records: bool,
    part: &str,
) -> Result<(), Failure> {
    if bytes.len() < entry.length as usize {
        printer.note(at, &format!("cut off: {} bytes of payload, {} are left", entry.length, bytes.len()))?;
    }
    if entry.kind == Some(EntryKind::Batch) {
        let salt = origin.map(|origin| Salt::batches(origin, entry.log));
        batch(printer, at, bytes, salt, records, part)?;
        return Ok(());
    }
    if entry.length == 0 {
        return Ok(());
    }
    printer.part(at, part)?;
    let good = origin.map(|origin| Salt::frames(origin, generation).checksum(bytes) == entry.checksum);
    printer.field(at, bytes, "payload", &format!("{} bytes", bytes.len()), Some(Check::of(good)))?;
    if matches!(entry.kind, Some(EntryKind::CreateLog | EntryKind::Settle | EntryKind::Touch | EntryKind::SetOptions)) {
        let mut f = Fields::new(printer, at, bytes);
        whole(row(&mut f, part))?;
    }
    Ok(())
}
