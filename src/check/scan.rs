//! The last resort of a salvage: logs that no manifest tells of, pieced together from what segments and journal frames say
//! of themselves. What was deleted but not removed yet may come back by it; a salvage says which logs it made up.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::error::Result;
use crate::format::batch;
use crate::format::checksum::Salt;
use crate::format::journal::{self, EntryKind};
use crate::format::manifest::{LogRow, decode_page};
use crate::id::{LogId, SequenceNumber};
use crate::manifest::{manifest_path, read_root};
use crate::options::LogOptions;

use super::finding::Finding;
use super::inspection::Inspection;
use super::journal::Journal;
use super::manifests;
use super::replay::InJournal;
use super::salvage::Salvager;
use super::unnamed::{self, Place, Unnamed};

/// What is known of one log.
#[derive(Default)]
struct Pieces {
    row: Option<LogRow>,
    /// Segments and pieces of packs.
    places: Vec<Place>,
    batches: Vec<InJournal>,
    /// It was trimmed up to here, as far as is known.
    horizon: SequenceNumber,
}

/// Hands the salvager every log that it does not have yet, if what would name them can't be read.
pub(super) fn salvage(ins: &mut Inspection<'_>, journal: &Journal, salvager: &mut Salvager) -> Result<()> {
    salvager.end_log();
    if !ins.is_uncertain_of_logs() {
        return Ok(());
    }
    if journal.plan.is_none() {
        salvager.begin_without(journal);
    }
    let places = unnamed::places(ins)?.into_iter().filter(|(log, _)| !salvager.has(*log));
    let mut logs: BTreeMap<LogId, Pieces> =
        places.map(|(log, places)| (log, Pieces { places, ..Pieces::default() })).collect();
    // Opening passes over what frames that it replays have of a log that nothing names.
    for place in journal.plan.iter().flat_map(|plan| &plan.frames).chain(&journal.stranded) {
        frame(ins, &journal.bytes_of(place), &mut logs, salvager);
    }
    rows(ins, &mut logs)?;
    for (id, mut pieces) in logs {
        let mut row = pieces.row.take().unwrap_or_else(|| unknown(id));
        row.horizon = row.horizon.max(pieces.horizon);
        let end = row.segments.iter().map(|segment| segment.end).max().unwrap_or(0).max(row.end);
        salvager.begin_log(&row, end, ins.origin);
        salvager.take_unnamed(Unnamed::new(ins, pieces.places, &[], true));
        pieces.batches.sort_by_key(|batch| batch.header.first);
        for batch in &pieces.batches {
            salvager.batch(&batch.header, &batch.bytes[..batch.header.len()]);
        }
        salvager.end_log();
        for taken in salvager.taken() {
            ins.report.records += taken.records;
            ins.report.batches += taken.batches;
            ins.verified(taken.bytes);
        }
        let what = "nothing that counts names this log; it is put together from what segments and the journal say of themselves";
        let finding = Finding::warning("segments", what).log(id, &row.name);
        ins.find(finding.advice("It may have been deleted: delete it in the copy if it is not wanted."));
    }
    Ok(())
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
            EntryKind::Trim => {
                if let Some(pieces) = logs.get_mut(&entry.log) {
                    pieces.horizon = pieces.horizon.max(entry.first);
                }
            }
            EntryKind::Mark => {}
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
