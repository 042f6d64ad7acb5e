//! Segments that no manifest names, and where buffered logs end in them.

use std::collections::HashSet;

use crate::env::real::is_unreadable;
use crate::env::{Access, Disk, names};
use crate::error::{Error, Result};
use crate::format::manifest::{Root, SegmentRow};
use crate::format::segment::{HEADER_BYTES as SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::id::{LogId, SegmentId, SequenceNumber, StoreId};
use crate::log::LogState;
use crate::segment::{RESERVE_IDS, is_folder, next_batch, segment_of, segment_path};
use crate::sync::Arc;

use super::replay::Replay;

/// Segments of the dead life that no manifest names, with what they say of themselves; and the paths of those that don't say it, for
/// the device can't read their headers. With `sync` a folder that has no segment
/// known to be durable, here or in the journal, gets its name anew: this life may put segments there.
pub(super) fn unnamed_segments(
    disk: &dyn Disk,
    origin: StoreId,
    root: &Root,
    replay: &Replay<'_>,
    sync: bool,
) -> Result<(Vec<SegmentHeader>, Vec<String>)> {
    let from = root.segments_reserved.saturating_sub(RESERVE_IDS);
    let noted: HashSet<SegmentId> = root.unnamed.iter().copied().collect();
    let is_unnamed = |id: &SegmentId| id.0 >= from || noted.contains(id);
    let named = replay.segments_in_use(is_unnamed);
    let (mut found, mut hidden) = (Vec::new(), Vec::new());
    let list = |folder: &str| {
        let entries = if sync { names::list(disk, folder) } else { names::look(disk, folder) };
        entries.map_err(Error::io("list", folder))
    };
    for shard in list("segments")?.into_iter().filter(is_folder) {
        let folder = format!("segments/{}", shard.name);
        let ids: Vec<_> = list(&folder)?.iter().filter_map(|entry| segment_of(&shard.name, entry)).collect();
        if sync && ids.iter().all(|id| is_unnamed(id) && !named.contains(id)) {
            names::renew(disk, &folder).map_err(Error::io("make name anew", &folder))?;
        }
        for id in ids.into_iter().filter(is_unnamed) {
            let mut bytes = [0; SEGMENT_HEADER_BYTES];
            let path = segment_path(id);
            // A buffered log may go on in it: what can't be looked at now must not be given up for good.
            let file = names::open(disk, &path).map_err(Error::io("open segment", &path))?;
            match file.read_at(&mut bytes, 0) {
                Err(error) if is_unreadable(&error) => {
                    hidden.push(path);
                    continue;
                }
                read => read.map_err(Error::io("read segment", path))?,
            };
            let header = SegmentHeader::parse(&bytes).ok();
            let nobody = SegmentHeader::of_pack(origin, id);
            found.push(header.filter(|h| h.origin == origin && h.segment == id).unwrap_or(nobody));
        }
    }
    Ok((found, hidden))
}

/// Segments that a life which was closed could not take back, of those that its last manifest tells of.
pub(super) fn left_by_the_closed(disk: &dyn Disk, origin: StoreId, root: &Root) -> Result<Vec<SegmentHeader>> {
    let mut found = Vec::new();
    for id in &root.unnamed {
        let path = segment_path(*id);
        match names::open(disk, &path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            opened => {
                opened.map_err(Error::io("open segment", path))?;
                found.push(SegmentHeader::of_pack(origin, *id));
            }
        }
    }
    Ok(found)
}

/// A buffered log as it is found after an unclean end.
pub(crate) struct Followed {
    pub(crate) segments: Vec<SegmentRow>,
    /// Segments that others took over.
    pub(crate) replaced: Vec<SegmentHeader>,
    /// Whether all of its tail can be read. Otherwise records that were acknowledged may follow.
    pub(crate) readable: bool,
}

/// Follows a buffered log over the tail of its known segments, which ends at `end` by what is known, then segment by segment for as
/// long as each goes on exactly where the one before ends, or took over what that has. `scan` moves a segment's end over its tail, with
/// its header if no manifest has its name, and says whether all of it can be read.
pub(crate) fn follow(
    log: LogId,
    mut segments: Vec<SegmentRow>,
    end: SequenceNumber,
    unnamed: &[SegmentHeader],
    mut scan: impl FnMut(&mut SegmentRow, Option<&SegmentHeader>) -> Result<bool>,
) -> Result<Followed> {
    let mut replaced = Vec::new();
    let mut readable = true;
    if let Some(last) = segments.last_mut() {
        readable = scan(last, None)?;
    }
    let mut tried: HashSet<SegmentId> = segments.iter().map(|segment| segment.id).collect();
    loop {
        // Exactly behind the last, or, if that ends in a gap, behind the gap; or from where the last begins.
        let last = segments.last().copied();
        let bases = [last.map_or(0, |last| last.end), end, last.map_or(0, |last| last.base)];
        let fits = |h: &&SegmentHeader| h.log == log && bases.contains(&h.base) && !tried.contains(&h.segment);
        let next = unnamed.iter().filter(|_| readable).filter(fits).max_by_key(|h| h.segment);
        let Some(next) = next else { return Ok(Followed { segments, replaced, readable }) };
        tried.insert(next.segment);
        let mut row = next.empty_row();
        readable = scan(&mut row, Some(next))?;
        match last {
            _ if row.end == row.base => {}
            Some(last) if row.base < last.end => {
                if row.base == last.base && row.end >= last.end {
                    segments.pop();
                    segments.push(row);
                    replaced.push(SegmentHeader { segment: last.id, ..*next });
                }
            }
            _ => segments.push(row),
        }
    }
}

/// Finds the end of a buffered log after an unclean end. Numbers go on above what was reserved; where a part of the tail can't be read,
/// the log stops there. Answers with the segments that others took over.
pub(super) fn settle_tail(
    disk: &dyn Disk,
    log: &Arc<LogState>,
    unnamed: &[SegmentHeader],
    sync: bool,
) -> Result<Vec<SegmentHeader>> {
    let known: Vec<SegmentRow> = {
        let view = log.view.read().unwrap_or_else(|p| p.into_inner());
        view.segments.iter().map(|s| s.row()).collect()
    };
    let mut row = log.row();
    let scan =
        |segment: &mut SegmentRow, header: Option<&SegmentHeader>| scan_segment(disk, log, segment, header, sync);
    let Followed { segments, replaced, readable } = follow(log.id, known, row.end, unnamed, scan)?;
    row.end = segments.last().map_or(row.end, |last| last.end.max(row.end));
    if readable {
        row.end = row.end.max(row.reserved);
    } else {
        log.stop_at(row.end);
    }
    row.last_arrival_ms = segments.last().map_or(0, |last| last.last_arrival_ms).max(row.last_arrival_ms);
    row.segments = segments;
    log.replace_segments(&row);
    Ok(replaced)
}

/// Moves a segment's end over its tail; an `unnamed` one's name is in no manifest. False if a part of it can't be read.
///
/// With `sync` what was found is about to be served, and only the page cache may have it: it is written again, same bytes
/// to the same places, and synced, for after a failed sync the cache calls clean what the disk has not. So may be the name.
fn scan_segment(
    disk: &dyn Disk,
    log: &LogState,
    row: &mut SegmentRow,
    unnamed: Option<&SegmentHeader>,
    sync: bool,
) -> Result<bool> {
    let path = segment_path(row.id);
    if unnamed.is_some() && sync {
        names::renew(disk, &path).map_err(Error::io("make name anew", &path))?;
    }
    let opened = if sync { disk.open(&path, Access::Write) } else { names::open(disk, &path) };
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(Error::io("open segment", path)(error)),
    };
    let write_again = |bytes: &[u8], at: u64| file.write_at(bytes, at).map_err(Error::io("write segment again", &path));
    if let Some(header) = unnamed.filter(|_| sync) {
        write_again(&header.encode(), 0)?;
    }
    let mut batch = Vec::new();
    let mut failed_at = None;
    let readable = loop {
        let position = row.bytes;
        match next_batch(&*file, log.salt, row, &mut batch) {
            Ok(true) if sync => write_again(&batch, position)?,
            Ok(true) => {}
            Ok(false) => break true,
            Err(error) if !is_unreadable(&error) => return Err(Error::io("read segment", &path)(error)),
            // A device may think better of it, and a log that stopped stays so.
            Err(_) if failed_at != Some(position) => failed_at = Some(position),
            Err(_) => break false,
        }
    };
    if sync {
        file.sync_data().map_err(Error::io("sync segment", &path))?;
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        if unnamed.is_some() {
            ["segments", folder].iter().try_for_each(|f| disk.sync_dir(f)).map_err(Error::io("sync folder", folder))?;
        }
    }
    Ok(readable)
}
