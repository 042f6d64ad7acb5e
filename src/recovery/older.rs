//! What an older manifest names and that is not there any more.
//!
//! Where the newest manifest can't be read the one before it counts, with the journal, and everything that it names is there: files
//! go when two manifests lack them. But for those of a full disk, which go with the first; and where two manifests can't be read. Then
//! what is missing was copied to files that only a manifest names which can't be read. To go on would give those up as left over, so
//! nothing may be written.

use std::collections::{HashMap, HashSet};

use crate::env::{Disk, names};
use crate::error::{Error, Result};
use crate::format::manifest::{LogRow, SegmentRow};
use crate::id::{LogId, SegmentId};
use crate::log::LogState;
use crate::manifest::Manifest;
use crate::segment::{is_folder, segment_of, segment_path};
use crate::sync::Arc;

/// The segments there are, by their names.
fn present(disk: &dyn Disk) -> Result<HashSet<SegmentId>> {
    let look = |folder: &str| names::look(disk, folder).map_err(Error::io("list", folder));
    let mut found = HashSet::new();
    for folder in look("segments")?.into_iter().filter(is_folder) {
        let entries = look(&format!("segments/{}", folder.name))?;
        found.extend(entries.iter().filter_map(|entry| segment_of(&folder.name, entry)));
    }
    Ok(found)
}

/// The path of a segment or pack with records that can be read by their logs' rows, and that is not there. `logs` and `gone` are
/// those that the journal changed: their rows are no longer the manifest's.
pub(super) fn missing(
    disk: &dyn Disk,
    manifest: &Manifest,
    logs: &HashMap<LogId, Arc<LogState>>,
    gone: &[(LogId, Option<Arc<LogState>>)],
) -> Result<Option<String>> {
    let present = present(disk)?;
    let first_missing = |row: &LogRow| {
        let is_missing =
            |segment: &&SegmentRow| segment.end > row.horizon.max(segment.base) && !present.contains(&segment.id);
        row.segments.iter().find(is_missing).map(|segment| segment_path(segment.id))
    };
    let replayed = logs.values().filter_map(|log| first_missing(&log.row())).min();
    let gone: HashSet<LogId> = gone.iter().map(|(id, _)| *id).collect();
    let is_old = |row: &LogRow| !logs.contains_key(&row.id) && !gone.contains(&row.id);
    // Of a page that can't be read nothing is known.
    let mut old = manifest.rows().filter_map(Result::ok).flatten().filter(is_old);
    Ok(replayed.or_else(|| old.find_map(|row| first_missing(&row))))
}
