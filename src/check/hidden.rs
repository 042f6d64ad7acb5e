//! Large shares whose frame is damaged: the records are in a segment, and the row that says so can't be read.
//!
//! A batch carries the number of its frame, so one of such a frame that verifies is a part of the share. An earlier life may have
//! written another under the same number and crashed before that was durable: that one is in a segment with a lower id, for no life
//! writes a large share to a segment of an earlier one.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use bytes::Bytes;

use crate::error::Result;
use crate::format::checksum::Salt;
use crate::format::manifest::SegmentRow;
use crate::format::segment::SegmentHeader;
use crate::id::LogId;
use crate::segment::segment_path;
use crate::segment::walk::{Event, walk};

use super::inspection::Inspection;
use super::replay::{Claim, Claims, InJournal};
use super::tails;

/// Looks for them in every segment of the logs that lack one.
pub(super) fn find(ins: &mut Inspection<'_>, claims: &mut Claims) -> Result<()> {
    let lacking = claims.logs.iter().filter(|(_, claim)| !claim.hidden_frames.is_empty());
    let lacking: BTreeSet<LogId> = lacking.map(|(id, _)| *id).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let mut segments = tails::headers(ins, |_| true)?;
    segments.retain(|header| lacking.contains(&header.log));
    segments.sort_unstable_by_key(|header| Reverse(header.segment));
    for header in segments {
        let Some(claim) = claims.logs.get_mut(&header.log) else { continue };
        // Behind the end of one that a row names, too: what the log had in memory before the share came to another one since.
        let is_named = claim.row.segments.iter().any(|segment| segment.id == header.segment);
        if look_into(ins, claim, &header) && !is_named {
            claims.named.insert(header.segment);
        }
    }
    for id in lacking {
        if let Some(claim) = claims.logs.get_mut(&id) {
            claim.stranded.sort_by_key(|batch| batch.header.first);
        }
    }
    Ok(())
}

/// Whether a segment has a part of a share that newer ones do not have.
fn look_into(ins: &mut Inspection<'_>, claim: &mut Claim, header: &SegmentHeader) -> bool {
    let Ok((file, len)) = ins.open(&segment_path(header.segment)) else { return false };
    let row = SegmentRow { bytes: len, ..header.empty_row() };
    let from = claim.stopped_at.unwrap_or(claim.next);
    let before = claim.stranded.len();
    walk(&*file, len, Salt::batches(ins.origin, header.log), &row, true, &mut |event| {
        let Event::Batch { header, bytes, .. } = event else { return };
        let overlaps = |known: &InJournal| known.header.first < header.end() && header.first < known.header.end();
        if claim.hidden_frames.contains(&header.frame) && header.first >= from && !claim.stranded.iter().any(overlaps) {
            claim.beyond = claim.beyond.max(header.end());
            claim.stranded.push(InJournal { header, bytes: Bytes::copy_from_slice(bytes) });
        }
    });
    claim.stranded.len() > before
}
