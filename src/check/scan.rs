//! The last resort of a salvage: logs that no manifest tells of, pieced together from what segments and journal frames say
//! of themselves. What was deleted but not removed yet may come back by it; a salvage says which logs it made up.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::env::Access;
use crate::error::Result;
use crate::format::batch;
use crate::format::checksum::Salt;
use crate::format::journal::{self, EntryKind};
use crate::format::manifest::{LogRow, SegmentRow, decode_page};
use crate::format::segment::{HEADER_BYTES, SegmentHeader};
use crate::id::{LogId, SegmentId};
use crate::manifest::{manifest_path, read_root};
use crate::options::LogOptions;
use crate::segment::walk::{Event, walk};
use crate::segment::{segment_of, segment_path};

use super::inspection::Inspection;
use super::journal::Journal;
use super::manifests;
use super::replay::InJournal;
use super::salvage::Salvager;

/// Pieces are looked for in so many bytes at a time.
const SEARCH_BYTES: u64 = 64 << 10;

/// What is known of one log.
#[derive(Default)]
struct Pieces {
    row: Option<LogRow>,
    /// Segments and pieces of packs, with where they start.
    segments: Vec<(u64, SegmentHeader)>,
    batches: Vec<InJournal>,
}

/// Hands the salvager every log that it does not have yet, if what would name them can't be read.
pub(super) fn salvage(ins: &mut Inspection<'_>, journal: &Journal, salvager: &mut Salvager) -> Result<()> {
    salvager.end_log();
    if !ins.is_uncertain() {
        return Ok(());
    }
    if journal.plan.is_none() {
        salvager.begin_without(journal);
    }
    let mut logs: BTreeMap<LogId, Pieces> = BTreeMap::new();
    for folder in ins.list("segments")?.into_iter().filter(|e| e.is_dir) {
        for entry in ins.list(&format!("segments/{}", folder.name))? {
            let Some(id) = segment_of(&folder.name, &entry) else { continue };
            let mut bytes = [0; HEADER_BYTES];
            let read = ins.disk.open(&segment_path(id), Access::Read).and_then(|file| file.read_at(&mut bytes, 0));
            let header = read.ok().and_then(|_| SegmentHeader::parse(&bytes).ok());
            let origin = ins.origin;
            let ours = |h: &SegmentHeader| h.origin == origin && h.segment == id;
            let found = match header {
                Some(header) if ours(&header) && !header.is_pack() => vec![(0, header)],
                // A pack, or a file whose front can't be read and may be one.
                _ => pieces(ins, id),
            };
            for (start, header) in found.into_iter().filter(|(_, header)| ours(header) && !salvager.has(header.log)) {
                logs.entry(header.log).or_default().segments.push((start, header));
            }
        }
    }
    // Opening passes over what frames that it replays have of a log that nothing names.
    for place in journal.plan.iter().flat_map(|plan| &plan.frames).chain(&journal.stranded) {
        frame(ins, &journal.bytes_of(place), &mut logs, salvager);
    }
    rows(ins, &mut logs)?;
    for (id, mut pieces) in logs {
        let row = pieces.row.take().unwrap_or_else(|| unknown(id));
        let end = row.segments.iter().map(|segment| segment.end).max().unwrap_or(0).max(row.end);
        salvager.begin_log(&row, end, ins.origin);
        pieces.segments.sort_by_key(|(start, h)| (h.base, h.segment, *start));
        for (start, header) in &pieces.segments {
            segment(ins, *start, header, salvager);
        }
        pieces.batches.sort_by_key(|batch| batch.header.first);
        for batch in &pieces.batches {
            salvager.batch(&batch.header, &batch.bytes[..batch.header.len()]);
        }
        salvager.end_log();
    }
    Ok(())
}

/// The pieces of a pack, with where they start. Behind a header that can't be read every place is tried.
fn pieces(ins: &mut Inspection<'_>, id: SegmentId) -> Vec<(u64, SegmentHeader)> {
    let mut found = Vec::new();
    let Ok((file, len)) = ins.open(&segment_path(id)) else { return found };
    let mut at = HEADER_BYTES as u64;
    while at + HEADER_BYTES as u64 <= len {
        let n = (len - at).min(SEARCH_BYTES) as usize;
        let bytes = ins.read(&*file, at, n).unwrap_or_default();
        let piece = |front: &[u8]| SegmentHeader::parse(front).ok().filter(|h| h.bytes > HEADER_BYTES as u64);
        let fronts = bytes.windows(HEADER_BYTES).step_by(8).map(piece);
        match fronts.enumerate().find_map(|(step, header)| Some((step as u64 * 8, header?))) {
            Some((offset, header)) => {
                found.push((at + offset, header));
                at += offset + header.bytes.next_multiple_of(8);
            }
            None => at += (n as u64).saturating_sub(HEADER_BYTES as u64) / 8 * 8 + 8,
        }
    }
    found
}

fn segment(ins: &mut Inspection<'_>, start: u64, header: &SegmentHeader, salvager: &mut Salvager) {
    let Ok((file, len)) = ins.open(&segment_path(header.segment)) else { return };
    let bytes = if start > 0 { len.min(start.saturating_add(header.bytes)) } else { len };
    let row = SegmentRow { start, end: u64::MAX, bytes, ..header.empty_row() };
    let salt = Salt::batches(ins.origin, header.log);
    walk(&*file, len, salt, &row, true, &mut |event| match event {
        Event::Batch { header, bytes, .. } => {
            ins.report.batches += 1;
            ins.report.records += u64::from(header.count);
            salvager.batch(&header, bytes);
        }
        Event::Read(bytes) => ins.verified(bytes),
        Event::Searched { .. } => ins.verified(0),
        _ => {}
    });
}

/// Rows and batches of a frame that verifies.
fn frame(ins: &Inspection<'_>, bytes: &Bytes, logs: &mut BTreeMap<LogId, Pieces>, salvager: &Salvager) {
    let Ok(frame) = journal::decode(bytes, ins.origin) else { return };
    for (entry, payload) in frame.entries.iter().filter(|(entry, _)| !salvager.has(entry.log)) {
        match entry.kind {
            EntryKind::Batch => {
                if let Ok((header, _)) = batch::decode(payload, Salt::batches(ins.origin, entry.log)) {
                    let batch = InJournal { header, bytes: bytes.slice_ref(payload) };
                    logs.entry(entry.log).or_default().batches.push(batch);
                }
            }
            EntryKind::CreateLog | EntryKind::Settle | EntryKind::Touch | EntryKind::SetOptions => {
                if entry.verify(payload, ins.origin, frame.header.generation).is_ok()
                    && let Ok(row) = LogRow::decode_only(payload)
                {
                    logs.entry(entry.log).or_default().row = Some(row);
                }
            }
            EntryKind::DeleteLog => {
                logs.remove(&entry.log);
            }
            EntryKind::CloseLog => {
                if let Some(row) = logs.get_mut(&entry.log).and_then(|pieces| pieces.row.as_mut()) {
                    row.closed = true;
                }
            }
            EntryKind::Trim | EntryKind::Mark => {}
        }
    }
}

/// Rows of any page of any manifest that verifies, the newest last; only for logs that something else tells of.
fn rows(ins: &mut Inspection<'_>, logs: &mut BTreeMap<LogId, Pieces>) -> Result<()> {
    for number in manifests::files(&*ins.disk) {
        let Ok(root) = read_root(&*ins.disk, ins.origin, number) else { continue };
        for page in root.pages {
            let Ok((file, _)) = ins.open(&manifest_path(page.manifest)) else { continue };
            let Ok(bytes) = ins.read(&*file, page.position, page.bytes as usize) else { continue };
            if Salt::manifest(ins.origin, page.manifest).checksum(&bytes) != page.checksum {
                continue;
            }
            for row in decode_page(&bytes).unwrap_or_default() {
                if let Some(pieces) = logs.get_mut(&row.id)
                    && pieces.row.as_ref().is_none_or(|known| known.end <= row.end)
                {
                    pieces.row = Some(row);
                }
            }
        }
    }
    Ok(())
}

/// A row for a log of which nothing but its id is known, under a name that belongs to the id.
fn unknown(id: LogId) -> LogRow {
    let mut names = (0u32..).map(|n| format!("salvaged-{:x}-{n}", id.0));
    let name = names.find(|name| LogId::bucket_of(name) == id.bucket()).unwrap_or_default();
    let options = LogOptions::default();
    let mut row = LogRow { id, name, ..LogRow::default() };
    crate::log::put_options(&mut row, &options);
    row
}
