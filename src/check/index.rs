//! An index file against the index that the segment itself gives.

use crate::format::batch::BatchHeader;
use crate::format::index::{ENTRY_BYTES, HEADER_BYTES, IndexEntry, SegmentIndex};
use crate::format::manifest::SegmentRow;
use crate::id::LogId;
use crate::limits::INDEX_INTERVAL_BYTES;
use crate::segment::index_path;

use super::finding::{Action, Finding};
use super::inspection::Inspection;

/// The index as the walk over a segment gives it.
#[derive(Default)]
pub(super) struct Rebuilt {
    entries: Vec<IndexEntry>,
    base_arrival_ms: Option<u64>,
}

impl Rebuilt {
    pub(super) fn note(&mut self, base: u64, position: u64, header: &BatchHeader) {
        let base_arrival_ms = *self.base_arrival_ms.get_or_insert(header.first_arrival_ms);
        let due = |last: &IndexEntry| position >= u64::from(last.position) + INDEX_INTERVAL_BYTES;
        if self.entries.last().is_none_or(due) {
            self.entries.push(IndexEntry {
                number: header.first.saturating_sub(base) as u32,
                position: position as u32,
                arrival: header.first_arrival_ms.saturating_sub(base_arrival_ms),
            });
        }
    }
}

/// Verifies the index file beside a segment, if there is one. `rebuilt` is `None` where the segment itself is damaged.
pub(super) fn inspect(ins: &mut Inspection<'_>, row: &SegmentRow, log: (LogId, &str), rebuilt: Option<&Rebuilt>) {
    let path = index_path(row.id);
    let file = match ins.disk.open(&path, crate::env::Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        Err(error) => {
            let finding = Finding::warning(&path, format!("it can't be opened: {error}")).log(log.0, log.1);
            return ins.find(finding.advice("Reads go without it."));
        }
    };
    ins.begin_file(&path);
    let action = Action::RemoveIndex { path: path.clone() };
    let len = file.len().unwrap_or(u64::MAX);
    // No index of this segment is longer: what is longer isn't read.
    let most = HEADER_BYTES as u64 + (row.bytes / INDEX_INTERVAL_BYTES + 2) * ENTRY_BYTES as u64;
    let decoded = ins.read(&*file, 0, len.min(most + 1) as usize).and_then(|b| SegmentIndex::decode(&b, ins.origin));
    let finding = match decoded {
        Err(what) => Finding::warning(&path, what.to_string())
            .at(0)
            .advice("No record is affected: an index is a cache. `braidlog check --repair` removes it; it is rebuilt."),
        Ok(index) if index.segment != row.id || index.base != row.base => {
            Finding::warning(&path, "it is the index of another segment")
                .at(8)
                .advice("Reads ignore it. `braidlog check --repair` removes it.")
        }
        Ok(index) if index.covered != row.bytes => {
            let what = format!("it covers {} bytes; the segment has {}", index.covered, row.bytes);
            let advice = "A crash leaves this, and reads ignore it. `braidlog check --repair` removes it.";
            Finding::note(&path, what).at(32).advice(advice)
        }
        Ok(index) => {
            let Some(rebuilt) = rebuilt else { return };
            let differs = index.entries.iter().zip(&rebuilt.entries).position(|(a, b)| a != b);
            let at = match differs {
                None if index.entries.len() == rebuilt.entries.len() => {
                    if Some(index.base_arrival_ms) == rebuilt.base_arrival_ms {
                        return;
                    }
                    24
                }
                None => HEADER_BYTES + index.entries.len().min(rebuilt.entries.len()) * ENTRY_BYTES,
                Some(entry) => HEADER_BYTES + entry * ENTRY_BYTES,
            };
            let what = "it verifies, but is not the index of the segment beside it";
            Finding::damage(&path, what).at(at as u64).advice(
                "Reads that use it may begin in the wrong place. `braidlog check --repair` removes it; it is rebuilt. \
                 Please report this: no flipped bit does it.",
            )
        }
    };
    ins.find(finding.log(log.0, log.1).action(action));
}
