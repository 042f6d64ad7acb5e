//! The tails of buffered logs after an unclean end: worked out from the files, as opening does it.

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;

use crate::env::Access;
use crate::error::Result;
use crate::format::checksum::Salt;
use crate::format::manifest::{Root, SegmentRow};
use crate::format::segment::{HEADER_BYTES, SegmentHeader};
use crate::id::{LogId, SegmentId};
use crate::manifest::Manifest;
use crate::recovery::{Followed, follow};
use crate::segment::walk::dirty;
use crate::segment::{RESERVE_IDS, scan_tail, segment_of, segment_path};

use super::finding::Finding;
use super::inspection::Inspection;
use super::journal::Journal;
use super::replay::{Claim, Claims};

/// Whether a crash may have left this segment before a manifest named it.
pub(super) fn may_be_left_over(root: &Root, id: SegmentId) -> bool {
    let from = root.segments_reserved.saturating_sub(RESERVE_IDS);
    (from..root.segments_reserved).contains(&id.0) || root.unnamed.contains(&id)
}

/// Moves the ends of touched logs over everything behind them that verifies.
pub(super) fn settle(
    ins: &mut Inspection<'_>,
    manifest: &Manifest,
    journal: &Journal,
    claims: &mut Claims,
) -> Result<()> {
    if journal.clean || claims.touched.is_empty() && claims.stranded_touched.is_empty() {
        return Ok(());
    }
    let unnamed = headers(ins, |id| may_be_left_over(&manifest.root, id))?;
    let either: BTreeSet<LogId> = claims.touched.union(&claims.stranded_touched).copied().collect();
    for id in either {
        let claim = match claims.logs.entry(id) {
            Entry::Occupied(claim) => claim.into_mut(),
            // A page that can't be read was told already.
            Entry::Vacant(vacant) => match manifest.row_by_id(id) {
                Ok(Some(row)) => vacant.insert(Claim::new(row)),
                _ => continue,
            },
        };
        if claims.touched.contains(&id) {
            let replaced = settle_log(ins, claim, &unnamed)?;
            claims.replaced.extend(replaced);
        } else {
            stranded(ins, claim, &unnamed)?;
        }
    }
    Ok(())
}

/// The tail of a log of which only a frame that can't be replayed says that it was written.
fn stranded(ins: &mut Inspection<'_>, claim: &mut Claim, unnamed: &[SegmentHeader]) -> Result<()> {
    let mut as_if = Claim::new(claim.row.clone());
    settle_log(ins, &mut as_if, unnamed)?;
    let end = as_if.row.segments.last().map_or(0, |last| last.end);
    if end > claim.next {
        let finding = Finding::damage("journal", "records behind damage are withheld; they can be salvaged");
        let finding = finding.log(claim.row.id, &claim.row.name).records(claim.next..end);
        ins.find(finding.advice("Copy what can be read into a new store with `braidlog check --salvage DEST`."));
        claim.beyond = claim.beyond.max(as_if.row.end);
        claim.stranded_row = Some(as_if.row);
    }
    Ok(())
}

/// What segments say of themselves, those that are asked about.
pub(super) fn headers(ins: &Inspection<'_>, is_asked_about: impl Fn(SegmentId) -> bool) -> Result<Vec<SegmentHeader>> {
    let mut found = Vec::new();
    for folder in ins.list("segments")?.into_iter().filter(|e| e.is_dir) {
        for entry in ins.list(&format!("segments/{}", folder.name))? {
            let Some(id) = segment_of(&folder.name, &entry).filter(|id| is_asked_about(*id)) else { continue };
            let mut bytes = [0; HEADER_BYTES];
            let read = ins.disk.open(&segment_path(id), Access::Read).and_then(|file| file.read_at(&mut bytes, 0));
            let header = read.ok().and_then(|_| SegmentHeader::parse(&bytes).ok());
            found.extend(header.filter(|h| h.origin == ins.origin && h.segment == id));
        }
    }
    Ok(found)
}

/// Answers with the segments that others took over.
fn settle_log(ins: &mut Inspection<'_>, claim: &mut Claim, unnamed: &[SegmentHeader]) -> Result<Vec<SegmentId>> {
    let (known, before) = (claim.row.segments.clone(), claim.row.end);
    let scan = |segment: &mut SegmentRow, _: Option<&SegmentHeader>| Ok(scan(ins, claim, segment));
    let Followed { segments: rows, replaced, readable } = follow(claim.row.id, known, before, unnamed, scan)?;
    let mut end = rows.last().map_or(0, |last| last.end).max(claim.row.end);
    if readable {
        end = end.max(claim.row.reserved);
    }
    claim.row.last_arrival_ms = rows.last().map_or(0, |last| last.last_arrival_ms).max(claim.row.last_arrival_ms);
    claim.row.segments = rows;
    claim.row.end = end;
    claim.next = claim.next.max(end);
    claim.beyond = claim.beyond.max(end);
    if !readable {
        claim.stop();
    }
    Ok(replaced.into_iter().map(|header| header.segment).collect())
}

/// Finds the end of one segment, and says so if what follows it is not nothing. False if a part of its tail can't be read.
fn scan(ins: &mut Inspection<'_>, claim: &Claim, row: &mut SegmentRow) -> bool {
    let path = segment_path(row.id);
    // A file that is missing or can't be opened is told with the segments.
    let Ok(file) = ins.disk.open(&path, Access::Read) else { return true };
    let about = |finding: Finding| finding.log(claim.row.id, &claim.row.name);
    if let Err(error) = scan_tail(&*file, Salt::batches(ins.origin, claim.row.id), row) {
        let what = format!("what lies behind number {} can't be read: {error}", row.end);
        ins.find(about(Finding::damage(path, what).at(row.bytes)).advice(
            "Opening stops the log there, for records may follow, and leaves the others alone. Copy what can be read into a \
             new store with `braidlog check --salvage DEST`.",
        ));
        return false;
    }
    let mut behind = [0; 4096];
    if let Ok(n) = file.read_at(&mut behind, row.bytes)
        && let Some(at) = dirty(&behind, 0, n)
    {
        let what = "behind the last batch that verifies there are bytes that don't";
        ins.find(about(Finding::warning(path, what).at(row.bytes + at as u64)).advice(
            "A buffered log whose store was not closed: a write that a crash cut short, or damage to the tail; the two look \
             the same. Opening goes on behind it.",
        ));
    }
    true
}
