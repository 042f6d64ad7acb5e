//! Puts the checksums of edited files right, so that what was forged gets past the first door.

use std::collections::BTreeMap;

use crate::format::batch;
use crate::format::checksum::Salt;
use crate::format::journal;
use crate::format::manifest::Root;
use crate::format::segment::BULK_ALIGNMENT;
use crate::id::{LogId, SegmentId, StoreId};

use super::Tree;

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = value.to_le_bytes();
    }
}

/// Puts the sum of `bytes[range]` to `at`, if there are so many bytes.
fn sum(bytes: &mut [u8], range: std::ops::Range<usize>, at: usize, salt: Salt) -> Option<u32> {
    let sum = salt.checksum(bytes.get(range)?);
    put_u32(bytes, at, sum);
    Some(sum)
}

/// Puts a batch's checksums right; its length with padding.
pub(super) fn fix_batch(bytes: &mut [u8], salt: Salt) -> Option<usize> {
    let length = u32_at(bytes, 8)? as usize;
    if bytes.get(40..42)? != b"Bb" {
        return None;
    }
    sum(bytes, batch::HEADER_BYTES..batch::HEADER_BYTES.checked_add(length)?, 4, salt);
    sum(bytes, 4..batch::HEADER_BYTES, 0, salt);
    (batch::HEADER_BYTES + length).checked_next_multiple_of(8)
}

fn fix_segment(bytes: &mut [u8]) -> Option<()> {
    let origin = StoreId(*bytes.get(8..)?.first_chunk()?);
    let (log, segment) = (LogId(u64_at(bytes, 24)?), SegmentId(u64_at(bytes, 32)?));
    sum(bytes, 0..60, 60, Salt::segment(origin, segment));
    let mut at = 64;
    if log == LogId(0) {
        // A pack: each piece is like a segment of its own.
        while let Some(length) = u64_at(bytes, at + 48).filter(|length| *length >= 64) {
            let end = (at as u64).saturating_add(length).min(bytes.len() as u64) as usize;
            fix_segment(bytes.get_mut(at..end)?);
            at = end;
        }
        return Some(());
    }
    while at < bytes.len() {
        at = match fix_batch(&mut bytes[at..], Salt::batches(origin, log)) {
            Some(length) => at.checked_add(length)?,
            None => (at + 1).next_multiple_of(BULK_ALIGNMENT as usize),
        };
    }
    Some(())
}

pub(super) fn fix_index(bytes: &mut [u8], origin: StoreId) -> Option<()> {
    let salt = Salt::segment(origin, SegmentId(u64_at(bytes, 8)?));
    sum(bytes, 64..bytes.len(), 44, salt);
    sum(bytes, 0..60, 60, salt);
    Some(())
}

/// Positions of frames: number, file, offset.
fn frames(files: &[(String, Vec<u8>)]) -> Vec<(u64, usize, usize)> {
    let mut found = Vec::new();
    for (file, (_, bytes)) in files.iter().enumerate() {
        for at in (0..bytes.len()).step_by(journal::FRAME_ALIGNMENT) {
            if journal::looks_like_frame(&bytes[at..]) {
                found.extend(u64_at(bytes, at + 8).map(|number| (number, file, at)));
            }
        }
    }
    found.sort_unstable();
    found
}

fn fix_frame(bytes: &mut [u8], origin: StoreId) -> Option<u32> {
    let salt = Salt::frames(origin, u64_at(bytes, 16)?);
    let entries = u32_at(bytes, 44)? as usize;
    let end = entries.checked_mul(journal::ENTRY_BYTES)?.checked_add(journal::HEADER_BYTES)?;
    let mut payload = end;
    for entry in (journal::HEADER_BYTES..end.min(bytes.len())).step_by(journal::ENTRY_BYTES) {
        let (kind, length) = (*bytes.get(entry)?, u32_at(bytes, entry + 4)? as usize);
        let log = LogId(u64_at(bytes, entry + 8)?);
        let upto = payload.checked_add(length)?;
        if kind == journal::EntryKind::Batch as u8 {
            fix_batch(bytes.get_mut(payload..upto)?, Salt::batches(origin, log));
            let header = u32_at(bytes, payload)?;
            put_u32(bytes, entry + 28, header);
        } else {
            sum(bytes, payload..upto, entry + 28, salt)?;
        }
        payload = payload.checked_add(length.next_multiple_of(8))?;
    }
    sum(bytes, 4..end, 0, salt)
}

fn fix_journal(files: &mut [(String, Vec<u8>)], origin: StoreId) {
    let mut renamed: BTreeMap<u32, u32> = BTreeMap::new();
    for (_, file, at) in frames(files) {
        let bytes = &mut files[file].1[at..];
        // The chain follows a frame whose checksum changed.
        if let Some(now) = u32_at(bytes, 32).and_then(|previous| renamed.get(&previous).copied()) {
            put_u32(bytes, 32, now);
        }
        let before = u32_at(bytes, 0);
        if let (Some(before), Some(now)) = (before, fix_frame(bytes, origin))
            && before != now
        {
            renamed.insert(before, now);
        }
    }
}

fn fix_manifest(tree: &mut Tree, path: &str) -> Option<()> {
    let bytes = tree.get(path)?;
    let origin = StoreId(*bytes.get(8..)?.first_chunk()?);
    let number = u64_at(bytes, 24)?;
    let (root, length) = (usize::try_from(u64_at(bytes, 32)?).ok()?, u32_at(bytes, 40)? as usize);
    let end = root.checked_add(length)?;
    // The pages stand last in a root. One beyond the file's end has no checksum; the header has one all the same.
    let parsed = Root::decode(bytes.get(root..end).unwrap_or_default());
    let pages = parsed.map(|root| root.pages).unwrap_or_default();
    let page_bytes = 30;
    let first = end.saturating_sub(pages.len() * page_bytes);
    let mut sums = Vec::new();
    for (i, page) in pages.iter().enumerate() {
        let (file, position) = (tree.get(&crate::manifest::manifest_path(page.manifest)), page.position as usize);
        let bytes = file.and_then(|file| file.get(position..position.checked_add(page.bytes as usize)?));
        let salt = Salt::manifest(origin, page.manifest);
        sums.extend(bytes.map(|bytes| (first + i * page_bytes + 22, salt.checksum(bytes))));
    }
    let bytes = tree.get_mut(path)?;
    for (at, sum) in sums {
        put_u32(bytes, at, sum);
    }
    let salt = Salt::manifest(origin, number);
    sum(bytes, root..end, 44, salt);
    sum(bytes, 0..60, 60, salt);
    Some(())
}

/// Makes every checksum that can be found right for what it covers.
pub fn fix_checksums(tree: &mut Tree) {
    if let Some(store) = tree.get_mut("STORE") {
        sum(store, 0..68, 68, Salt::STORE);
    }
    let origin = tree.get("STORE").and_then(|bytes| Some(StoreId(*bytes.get(32..)?.first_chunk()?)));
    let origin = origin.unwrap_or(StoreId([0; 16]));
    let paths: Vec<String> = tree.keys().cloned().collect();
    for path in paths.iter().filter(|path| path.ends_with(".man")) {
        fix_manifest(tree, path);
    }
    for path in &paths {
        match tree.get_mut(path) {
            Some(bytes) if path.ends_with(".seg") => drop(fix_segment(bytes)),
            Some(bytes) if path.ends_with(".idx") => drop(fix_index(bytes, origin)),
            _ => {}
        }
    }
    let names: Vec<&String> = paths.iter().filter(|path| path.ends_with(".jnl")).collect();
    let mut files: Vec<_> = names.iter().filter_map(|path| tree.remove_entry(*path)).collect();
    fix_journal(&mut files, origin);
    tree.extend(files);
}
