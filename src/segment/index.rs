//! Where to begin: the sparse index of one segment, grown while it is written, loaded or rebuilt when it is asked for.

use crate::error::{Error, Result};
use crate::format::batch::BatchHeader;
use crate::format::index::{IndexEntry, SegmentIndex};
use crate::limits::INDEX_INTERVAL_BYTES;
use crate::sync::Arc;

use super::reader::Readable;
use super::walk::WalkFrom;
use super::{Segment, SegmentFiles, index_path};

/// Segments below this size have no index file: walking one takes microseconds.
pub(super) const INDEX_FILE_FROM_BYTES: u64 = 1 << 20;

/// The index in memory.
pub(super) enum IndexCell {
    /// Not loaded.
    Absent,
    /// Complete, and can be loaded again.
    Loaded(Vec<IndexEntry>),
    /// Of a segment that this life writes: only here until it is sealed.
    Growing(Vec<IndexEntry>),
}

impl IndexCell {
    fn entries(&self) -> Option<&[IndexEntry]> {
        match self {
            IndexCell::Absent => None,
            IndexCell::Loaded(entries) | IndexCell::Growing(entries) => Some(entries),
        }
    }
}

/// Adds a batch to a growing index, if it is far enough from the last entry.
pub(super) fn note(segment: &Segment, position: u64, header: &BatchHeader) {
    let mut cell = segment.index.write().unwrap_or_else(|p| p.into_inner());
    if let IndexCell::Growing(entries) = &mut *cell {
        push(entries, segment.base, segment.first_arrival_ms(), position, header);
    }
}

fn push(entries: &mut Vec<IndexEntry>, base: u64, base_arrival_ms: u64, position: u64, header: &BatchHeader) {
    let due = entries.last().is_none_or(|last| position >= u64::from(last.position) + INDEX_INTERVAL_BYTES);
    if due {
        entries.push(IndexEntry {
            number: (header.first - base) as u32,
            position: position as u32,
            arrival: header.first_arrival_ms.saturating_sub(base_arrival_ms),
        });
    }
}

/// Forgets entries at and behind a position.
pub(super) fn cut(segment: &Segment, position: u64) {
    let mut cell = segment.index.write().unwrap_or_else(|p| p.into_inner());
    if let IndexCell::Growing(entries) = &mut *cell {
        entries.retain(|entry| u64::from(entry.position) < position);
    }
}

/// The segment is sealed: writes the index file. It is a cache, so a failure is no failure.
pub(super) fn seal(segment: &Segment, files: &SegmentFiles) {
    let mut cell = segment.index.write().unwrap_or_else(|p| p.into_inner());
    let IndexCell::Growing(entries) = &mut *cell else { return };
    let entries = std::mem::take(entries);
    if segment.stored_bytes() >= INDEX_FILE_FROM_BYTES {
        let index = SegmentIndex {
            segment: segment.id,
            base: segment.base,
            base_arrival_ms: segment.first_arrival_ms(),
            covered: segment.bytes(),
            entries,
        };
        let written = files
            .disk
            .open(&index_path(segment.id), crate::env::Access::CreateNew)
            .and_then(|file| file.write_at(&index.encode(files.origin), 0));
        drop(written);
        *cell = IndexCell::Loaded(index.entries);
    } else {
        *cell = IndexCell::Loaded(entries);
    }
}

/// Drops an index that can be had again.
pub(super) fn forget(segment: &Segment) {
    let mut cell = segment.index.write().unwrap_or_else(|p| p.into_inner());
    if let IndexCell::Loaded(_) = &*cell {
        *cell = IndexCell::Absent;
    }
}

/// The place of the last indexed batch for which `before` holds; of the first batch if it holds for none. `before` must
/// hold for a front part of the entries only.
pub(super) fn start(
    segment: &Arc<Segment>,
    files: &SegmentFiles,
    before: impl Fn(&IndexEntry) -> bool,
) -> Result<WalkFrom> {
    let look = |entries: &[IndexEntry]| match entries.partition_point(&before).checked_sub(1) {
        None => segment.front(),
        Some(n) => {
            let IndexEntry { position, number, .. } = entries[n];
            WalkFrom { position: u64::from(position), next: segment.base + u64::from(number) }
        }
    };
    if let Some(entries) = segment.index.read().unwrap_or_else(|p| p.into_inner()).entries() {
        return Ok(look(entries));
    }
    let entries = match load(segment, files)? {
        Some(entries) => entries,
        None => rebuild(segment, files)?,
    };
    let from = look(&entries);
    let mut cell = segment.index.write().unwrap_or_else(|p| p.into_inner());
    if let IndexCell::Absent = &*cell {
        *cell = IndexCell::Loaded(entries);
    }
    Ok(from)
}

/// Loads the index file, if there is one that is whole and about this very segment.
fn load(segment: &Segment, files: &SegmentFiles) -> Result<Option<Vec<IndexEntry>>> {
    // A piece of a pack has none: it is small, and the file is not its own.
    if segment.is_piece() || segment.stored_bytes() < INDEX_FILE_FROM_BYTES {
        return Ok(None);
    }
    let bytes_max = 64 + segment.bytes() / INDEX_INTERVAL_BYTES * 16 + 64;
    let Ok(Some(bytes)) = files.read_small(&index_path(segment.id), bytes_max) else { return Ok(None) };
    let index = SegmentIndex::decode(&bytes, files.origin).ok();
    let fits = |index: &SegmentIndex| {
        crate::seeded_bug!(IndexTrusted)
            || (index.segment == segment.id && index.base == segment.base && index.covered == segment.bytes())
    };
    Ok(index.filter(fits).map(|index| index.entries))
}

/// Walks the segment's batch headers, over what is damaged: whatever else is in it must be found all the same.
fn rebuild(segment: &Arc<Segment>, files: &SegmentFiles) -> Result<Vec<IndexEntry>> {
    let mut entries = Vec::new();
    let mut walk = segment.walk(files, segment.front())?;
    loop {
        match walk.next_readable() {
            Ok(Some(Readable { position, header, .. })) => {
                push(&mut entries, segment.base, segment.first_arrival_ms(), position, &header);
            }
            Ok(None) | Err(Error::Damaged { .. }) => return Ok(entries),
            Err(error) => return Err(error),
        }
    }
}
