//! What exists, in checkpointed form: pages of log rows in immutable files, and the root that names them.
//!
//! Opening reads the root alone. A page is read when one of its logs is asked for, so idle logs cost nothing.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::env::{Access, Disk};
use crate::error::{Error, Result};
use crate::format::Damage;
use crate::format::checksum::Salt;
use crate::format::manifest::{
    HEADER_BYTES, LogRow, ManifestHeader, PageRef, Root, SEGMENT_ROW_BYTES, decode_page, encode_page,
};
use crate::id::{LogId, SegmentId, StoreId};
use crate::segment::segment_path;
use crate::sync::{Arc, give_way};

/// A page is split once it is longer than this, if it has more than one bucket.
const PAGE_BYTES: usize = 16 << 10;
/// Everything is rewritten into one file once pages lie in more files than this.
const FILES_MAX: usize = 24;
/// A large manifest is synced in steps of so many bytes: a device that gets it all at once keeps the journal's writes waiting for
/// as long as that takes.
const SYNC_STEP_BYTES: usize = 4 << 20;
/// No manifest is read beyond this size.
const MANIFEST_BYTES_MAX: u64 = 4 << 30;

/// The manifest of an open store.
pub(crate) struct Manifest {
    disk: Arc<dyn Disk>,
    origin: StoreId,
    number: u64,
    pub(crate) root: Root,
    /// Files the root before still needs.
    previous: BTreeSet<u64>,
}

pub(crate) fn manifest_path(number: u64) -> String {
    format!("manifest/{number:016x}.man")
}

/// The numbers of the manifest files there are, oldest first.
pub(crate) fn numbers(disk: &dyn Disk) -> Result<Vec<u64>> {
    let entries = disk.list("manifest").map_err(Error::io("list", "manifest"))?;
    let number = |name: &str| u64::from_str_radix(name.strip_suffix(".man")?, 16).ok();
    let mut numbers: Vec<u64> = entries.iter().filter_map(|e| number(&e.name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn read_range(disk: &dyn Disk, path: &str, position: u64, len: usize) -> Result<Vec<u8>> {
    let file = disk.open(path, Access::Read).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::damaged(path, 0)(Damage::Missing),
        _ => Error::io("open", path)(error),
    })?;
    let file_len = file.len().map_err(Error::io("measure", path))?;
    if position.saturating_add(len as u64) > file_len {
        return Err(Error::damaged(path, position)(Damage::Short));
    }
    let mut bytes = vec![0; len];
    let n = file.read_at(&mut bytes, position).map_err(|_| Error::damaged(path, position)(Damage::Unreadable))?;
    if n < len { Err(Error::damaged(path, position)(Damage::Short)) } else { Ok(bytes) }
}

/// Whether a manifest file has no header yet.
fn is_unfinished(disk: &dyn Disk, number: u64) -> bool {
    let mut header = [0; HEADER_BYTES];
    let read = disk.open(&manifest_path(number), Access::Read).and_then(|file| file.read_at(&mut header, 0));
    matches!(read, Ok(n) if n < HEADER_BYTES || header == [0; HEADER_BYTES])
}

/// Reads the root of one manifest file.
pub(crate) fn read_root(disk: &dyn Disk, origin: StoreId, number: u64) -> Result<Root> {
    let path = manifest_path(number);
    let header = ManifestHeader::parse(&read_range(disk, &path, 0, HEADER_BYTES)?).map_err(Error::damaged(&path, 0))?;
    let at = header.root_position;
    if header.origin != origin || header.number != number {
        return Err(Error::damaged(&path, 0)(Damage::Misplaced));
    }
    if at.saturating_add(u64::from(header.root_bytes)) > MANIFEST_BYTES_MAX {
        return Err(Error::damaged(&path, 0)(Damage::Bounds));
    }
    let bytes = read_range(disk, &path, at, header.root_bytes as usize)?;
    if Salt::manifest(origin, number).checksum(&bytes) != header.root_checksum {
        return Err(Error::damaged(&path, at)(Damage::Checksum));
    }
    Root::decode(&bytes).map_err(Error::damaged(&path, at))
}

impl Manifest {
    /// The newest manifest that is whole; if that is not the newest there is, then also the damage of the newest. Whether the
    /// journal reaches back far enough for an older one is for the journal to say.
    pub(crate) fn load(disk: Arc<dyn Disk>, origin: StoreId) -> Result<(Manifest, Option<Error>)> {
        let numbers = numbers(&*disk)?;
        let mut damage = None;
        // More than one may be half-written: each crash while opening leaves another.
        for &number in numbers.iter().rev() {
            match read_root(&*disk, origin, number) {
                Ok(root) => {
                    let previous = root.pages.iter().map(|p| p.manifest).chain([number]).collect();
                    let newest = numbers.last().copied().unwrap_or(number);
                    return Ok((Manifest { disk, origin, number: newest, root, previous }, damage));
                }
                Err(error @ (Error::TooNew { .. } | Error::Io(_))) => return Err(error),
                // The header is written last: without one, its owner died while writing it.
                Err(_) if is_unfinished(&*disk, number) => {}
                Err(error) => damage = damage.or(Some(error)),
            }
        }
        Err(damage.unwrap_or_else(|| Error::damaged("manifest", 0)(Damage::Missing)))
    }

    /// Makes the manifest that was loaded durable: its writer may have been killed before it did that, and the next one names
    /// pages in it.
    pub(crate) fn sync_loaded(&self) -> Result<()> {
        let Some(number) = self.previous.iter().next_back() else { return Ok(()) };
        let path = manifest_path(*number);
        let sync = || self.disk.open(&path, Access::Read)?.sync_data().and_then(|()| self.disk.sync_dir("manifest"));
        sync().map_err(Error::io("sync manifest", &path))
    }

    /// The first manifest of a new store.
    pub(crate) fn create(disk: Arc<dyn Disk>, origin: StoreId, root: Root) -> Result<Manifest> {
        let mut manifest = Manifest { disk, origin, number: 0, root: Root::default(), previous: BTreeSet::new() };
        manifest.write(root, &BTreeMap::new())?;
        Ok(manifest)
    }

    fn page_of(&self, bucket: u16) -> Option<&PageRef> {
        let after = self.root.pages.partition_point(|p| p.first_bucket <= bucket);
        self.root.pages[..after].last()
    }

    /// The rows of a page, verified.
    pub(crate) fn rows_of(&self, page: &PageRef) -> Result<Vec<LogRow>> {
        let path = manifest_path(page.manifest);
        let bytes = read_range(&*self.disk, &path, page.position, page.bytes as usize)?;
        let damaged = |what| Error::damaged(&path, page.position)(what);
        if Salt::manifest(self.origin, page.manifest).checksum(&bytes) != page.checksum {
            return Err(damaged(Damage::Checksum));
        }
        decode_page(&bytes).map_err(damaged)
    }

    /// The row of the log with this name.
    pub(crate) fn row_by_name(&self, name: &str) -> Result<Vec<LogRow>> {
        let Some(page) = self.page_of(LogId::bucket_of(name)) else { return Ok(Vec::new()) };
        Ok(self.rows_of(page)?.into_iter().filter(|row| row.name == name).collect())
    }

    /// The row of the log with this id.
    pub(crate) fn row_by_id(&self, id: LogId) -> Result<Option<LogRow>> {
        let Some(page) = self.page_of(id.bucket()) else { return Ok(None) };
        Ok(self.rows_of(page)?.into_iter().find(|row| row.id == id))
    }

    /// The first bucket of the page that would hold this log.
    pub(crate) fn page_around(&self, id: LogId) -> u16 {
        self.page_of(id.bucket()).map_or(0, |page| page.first_bucket)
    }

    /// The rows of the page with this first bucket.
    pub(crate) fn rows_of_page(&self, first_bucket: u16) -> Result<Vec<LogRow>> {
        match self.root.pages.iter().find(|page| page.first_bucket == first_bucket) {
            Some(page) => self.rows_of(page),
            None => Ok(Vec::new()),
        }
    }

    /// All rows, a page at a time.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Result<Vec<LogRow>>> + '_ {
        self.root.pages.iter().map(|page| self.rows_of(page))
    }

    /// Writes the next manifest: `root` with its pages worked out from today's and `changes` (a row, or `None` for a log that
    /// is gone). What its packs have left follows from the same rows; a pack that has nothing left joins those retired, and no
    /// longer counts as stored.
    /// Durable when it returns. On an error today's manifest stays in force.
    pub(crate) fn write(&mut self, mut root: Root, changes: &BTreeMap<LogId, Option<LogRow>>) -> Result<()> {
        let number = self.number + 1;
        let salt = Salt::manifest(self.origin, number);
        let files: BTreeSet<u64> = self.root.pages.iter().map(|p| p.manifest).collect();
        let rewrite_all = files.len() > FILES_MAX;
        let mut packs: BTreeMap<SegmentId, u64> = root.packs.iter().copied().collect();
        let mut by_page: BTreeMap<u16, Vec<(LogId, Option<&LogRow>)>> = BTreeMap::new();
        for (step, (id, row)) in changes.iter().enumerate() {
            give_way(step);
            let page = self.page_of(id.bucket()).map_or(0, |p| p.first_bucket);
            by_page.entry(page).or_default().push((*id, row.as_ref()));
        }
        let mut pages = Vec::new();
        let pages_bytes: usize = self.root.pages.iter().map(|page| page.bytes as usize).sum();
        let mut body: Vec<u8> = Vec::with_capacity(HEADER_BYTES + pages_bytes / 8 * 9);
        body.resize(HEADER_BYTES, 0);
        let put = |body: &mut Vec<u8>, pages: &mut Vec<PageRef>, first_bucket: u16, rows: &[Cow<'_, LogRow>]| {
            let bytes = encode_page(rows);
            pages.push(PageRef {
                first_bucket,
                manifest: number,
                position: body.len() as u64,
                bytes: bytes.len() as u32,
                checksum: salt.checksum(&bytes),
                logs: rows.len() as u32,
            });
            body.extend_from_slice(&bytes);
        };
        let none = PageRef { first_bucket: 0, manifest: 0, position: 0, bytes: 0, checksum: 0, logs: 0 };
        let today = if self.root.pages.is_empty() { vec![none] } else { self.root.pages.clone() };
        for (step, page) in today.iter().enumerate() {
            // A page has as many rows as are a step elsewhere.
            give_way(step * 32 + 31);
            let changed = by_page.remove(&page.first_bucket);
            if changed.is_none() && !rewrite_all {
                if page.logs > 0 {
                    pages.push(*page);
                }
                continue;
            }
            let mut rows: BTreeMap<(u16, LogId), Cow<'_, LogRow>> = BTreeMap::new();
            if page.logs > 0 {
                rows.extend(self.rows_of(page)?.into_iter().map(|row| ((row.id.bucket(), row.id), Cow::Owned(row))));
            }
            for (id, row) in changed.into_iter().flatten() {
                let before = match row {
                    Some(row) => rows.insert((id.bucket(), id), Cow::Borrowed(row)),
                    None => rows.remove(&(id.bucket(), id)),
                };
                for piece in row.iter().flat_map(|row| &row.segments).filter(|segment| segment.is_piece()) {
                    *packs.entry(piece.id).or_default() += piece.stored_bytes();
                }
                for piece in before.iter().flat_map(|row| &row.segments).filter(|segment| segment.is_piece()) {
                    let left = packs.entry(piece.id).or_default();
                    *left = left.saturating_sub(piece.stored_bytes());
                }
            }
            let rows: Vec<Cow<'_, LogRow>> = rows.into_values().collect();
            let mut start = 0;
            let mut first_bucket = page.first_bucket;
            let mut bytes = 0;
            for i in 0..rows.len() {
                let new_bucket = i > start && rows[i].id.bucket() != rows[i - 1].id.bucket();
                if new_bucket && bytes >= PAGE_BYTES / 2 {
                    put(&mut body, &mut pages, first_bucket, &rows[start..i]);
                    (start, first_bucket, bytes) = (i, rows[i].id.bucket(), 0);
                }
                bytes += 130 + rows[i].name.len() + rows[i].segments.len() * SEGMENT_ROW_BYTES;
            }
            // A page that is left empty stays, to cover its buckets.
            put(&mut body, &mut pages, first_bucket, &rows[start..]);
        }
        root.pages = pages;
        for pack in packs.iter().filter(|(_, left)| **left == 0).map(|(pack, _)| *pack) {
            root.retired.push(pack);
            let bytes = self.disk.open(&segment_path(pack), Access::Read).and_then(|file| file.len()).unwrap_or(0);
            root.stored_bytes = root.stored_bytes.saturating_sub(bytes);
        }
        packs.retain(|_, left| *left > 0);
        root.packs = packs.into_iter().collect();
        let root_bytes = root.encode();
        let header = ManifestHeader {
            origin: self.origin,
            number,
            root_position: body.len() as u64,
            root_bytes: root_bytes.len() as u32,
            root_checksum: salt.checksum(&root_bytes),
        };
        body[..HEADER_BYTES].copy_from_slice(&header.encode());
        body.extend_from_slice(&root_bytes);
        let path = manifest_path(number);
        // The number is used up whatever happens next: a file is written once.
        self.number = number;
        let write = || -> io::Result<()> {
            let file = self.disk.open(&path, Access::CreateNew)?;
            // The header comes last: where it verifies, everything it leads to is on stable storage. Open reads no page.
            let mut at = HEADER_BYTES;
            for piece in body[HEADER_BYTES..].chunks(SYNC_STEP_BYTES) {
                file.write_at(piece, at as u64)?;
                file.sync_data()?;
                at += piece.len();
            }
            file.write_at(&body[..HEADER_BYTES], 0)?;
            file.sync_data()?;
            self.disk.sync_dir("manifest")
        };
        if let Err(error) = write() {
            // A half-written manifest must not become the newest. If it can't be taken away either, it still doesn't verify,
            // unless only the folder's sync failed: then it is a manifest like any other, and names a durable state.
            let _ = self.disk.remove(&path);
            return Err(Error::io("write manifest", path)(error));
        }
        let before = std::mem::replace(&mut self.root, root);
        let mut needed: BTreeSet<u64> = self.root.pages.iter().map(|p| p.manifest).chain([number]).collect();
        needed.extend(before.pages.iter().map(|p| p.manifest));
        needed.extend(self.previous.iter().next_back());
        let next_previous = self.root.pages.iter().map(|p| p.manifest).chain([number]).collect();
        self.previous = next_previous;
        // Old files are only a matter of space: a failure here is looked at again with the next manifest.
        for old in numbers(&*self.disk).unwrap_or_default() {
            if old < number && !needed.contains(&old) {
                let _ = self.disk.remove(&manifest_path(old));
            }
        }
        Ok(())
    }
}
