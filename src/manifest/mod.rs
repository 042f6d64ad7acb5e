//! What exists, in checkpointed form: pages of log rows in immutable files, and the root that names them.
//!
//! Opening reads the root alone. A page is read when one of its logs is asked for, so idle logs cost nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use crate::env::{Access, Disk, DiskFile, Pace};
use crate::error::{Error, Result};
use crate::format::Damage;
use crate::format::checksum::Salt;
use crate::format::manifest::{
    HEADER_BYTES, LogRow, ManifestHeader, PageRef, Root, decode_page, page_begin, skim_page,
};
use crate::id::{LogId, SegmentId, StoreId};
use crate::segment::segment_path;
use crate::sync::{Arc, give_way};

/// A page with so many bytes ends where the next bucket begins.
const PAGE_BYTES: usize = 8 << 10;
/// Everything is rewritten into one file once pages lie in more files than this.
const FILES_MAX: usize = 24;
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
    /// Files removed, whose space is still taken. Nobody reads them: who reads a page has the manifest to himself.
    removed: Vec<Arc<dyn DiskFile>>,
}

/// Pages on their way into a manifest file.
struct PageWriter {
    body: Vec<u8>,
    /// All that are there, and last the one being written.
    pages: Vec<PageRef>,
    manifest: u64,
    salt: Salt,
    /// The bucket of the last row.
    last_bucket: u16,
}

impl PageWriter {
    fn begin(&mut self, first_bucket: u16) {
        let position = self.body.len() as u64;
        self.pages.push(PageRef { first_bucket, manifest: self.manifest, position, bytes: 0, checksum: 0, logs: 0 });
        self.body.extend_from_slice(&page_begin(0));
    }

    /// Adds a row of a bucket; in another page, if it is the bucket's first and the one being written has enough.
    fn put(&mut self, bucket: u16, encode: impl FnOnce(&mut Vec<u8>)) {
        let enough = |page: &PageRef| page.logs > 0 && self.body.len() - page.position as usize >= PAGE_BYTES;
        if self.last_bucket != bucket && self.pages.last().is_some_and(enough) {
            self.end();
            self.begin(bucket);
        }
        self.last_bucket = bucket;
        encode(&mut self.body);
        self.pages.last_mut().into_iter().for_each(|page| page.logs += 1);
    }

    fn end(&mut self) {
        let Some(page) = self.pages.last_mut() else { return };
        let at = page.position as usize;
        let begin = page_begin(page.logs);
        self.body[at..at + begin.len()].copy_from_slice(&begin);
        page.bytes = (self.body.len() - at) as u32;
        page.checksum = self.salt.checksum(&self.body[at..]);
    }
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
                    return Ok((
                        Manifest { disk, origin, number: newest, root, previous, removed: Vec::new() },
                        damage,
                    ));
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
        let (root_before, previous) = (Root::default(), BTreeSet::new());
        let mut manifest = Manifest { disk, origin, number: 0, root: root_before, previous, removed: Vec::new() };
        manifest.write(root, &BTreeMap::new(), &Pace::none())?;
        Ok(manifest)
    }

    fn page_of(&self, bucket: u16) -> Option<&PageRef> {
        let after = self.root.pages.partition_point(|p| p.first_bucket <= bucket);
        // The first one covers what comes before it, too: an empty one before it may have gone.
        self.root.pages[..after.max(1).min(self.root.pages.len())].last()
    }

    /// The bytes of a page, verified.
    fn page_bytes(&self, page: &PageRef) -> Result<Vec<u8>> {
        let path = manifest_path(page.manifest);
        let bytes = read_range(&*self.disk, &path, page.position, page.bytes as usize)?;
        match Salt::manifest(self.origin, page.manifest).checksum(&bytes) == page.checksum {
            true => Ok(bytes),
            false => Err(Error::damaged(&path, page.position)(Damage::Checksum)),
        }
    }

    /// The rows of a page, verified.
    pub(crate) fn rows_of(&self, page: &PageRef) -> Result<Vec<LogRow>> {
        let path = manifest_path(page.manifest);
        decode_page(&self.page_bytes(page)?).map_err(Error::damaged(&path, page.position))
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
    pub(crate) fn write(
        &mut self,
        mut root: Root,
        changes: &BTreeMap<LogId, Option<LogRow>>,
        pace: &Pace,
    ) -> Result<()> {
        let number = self.number + 1;
        let salt = Salt::manifest(self.origin, number);
        let files: BTreeSet<u64> = self.root.pages.iter().map(|p| p.manifest).collect();
        let rewrite_all = files.len() > FILES_MAX;
        let mut packs: BTreeMap<SegmentId, u64> = root.packs.iter().copied().collect();
        let mut changes: Vec<(LogId, Option<&LogRow>)> = changes.iter().map(|(id, row)| (*id, row.as_ref())).collect();
        // As the rows lie in pages.
        changes.sort_unstable_by_key(|(id, _)| (id.bucket(), *id));
        let mut changes = &changes[..];
        let pages_bytes: usize = self.root.pages.iter().map(|page| page.bytes as usize).sum();
        let mut body: Vec<u8> = Vec::with_capacity(HEADER_BYTES + pages_bytes / 8 * 9);
        body.resize(HEADER_BYTES, 0);
        let mut writer = PageWriter { body, pages: Vec::new(), manifest: number, salt, last_bucket: 0 };
        let none = PageRef { first_bucket: 0, manifest: 0, position: 0, bytes: 0, checksum: 0, logs: 0 };
        let today = if self.root.pages.is_empty() { vec![none] } else { self.root.pages.clone() };
        for (step, page) in today.iter().enumerate() {
            // A page has as many rows as are a step elsewhere.
            give_way(step * 32 + 31);
            let end = today.get(step + 1).map_or(LogId::BUCKETS, |next| next.first_bucket);
            let (changed, later) = changes.split_at(changes.partition_point(|(id, _)| id.bucket() < end));
            changes = later;
            if changed.is_empty() && !rewrite_all {
                if page.logs > 0 {
                    writer.pages.push(*page);
                }
                continue;
            }
            let bytes = if page.logs > 0 { self.page_bytes(page)? } else { page_begin(0).to_vec() };
            let rows = skim_page(&bytes).map_err(Error::damaged(manifest_path(page.manifest), page.position))?;
            writer.begin(if step == 0 { 0 } else { page.first_bucket });
            let mut old = rows.iter().peekable();
            let order = |id: LogId| (id.bucket(), id);
            for (id, row) in changed {
                while let Some(kept) = old.next_if(|old| order(old.id) < order(*id)) {
                    writer.put(kept.id.bucket(), |body| body.extend_from_slice(kept.bytes));
                }
                let before = old.next_if(|old| old.id == *id);
                if let Some(row) = row {
                    writer.put(id.bucket(), |body| row.encode(body));
                }
                for piece in row.iter().flat_map(|row| &row.segments).filter(|segment| segment.is_piece()) {
                    *packs.entry(piece.id).or_default() += piece.stored_bytes();
                }
                for (pack, bytes) in before.iter().flat_map(|row| row.pieces()) {
                    let left = packs.entry(pack).or_default();
                    *left = left.saturating_sub(bytes);
                }
            }
            old.for_each(|kept| writer.put(kept.id.bucket(), |body| body.extend_from_slice(kept.bytes)));
            // A page that is left empty stays, to cover its buckets.
            writer.end();
        }
        let PageWriter { mut body, pages, .. } = writer;
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
            file.write_at(&body[HEADER_BYTES..], HEADER_BYTES as u64)?;
            pace.write_back(&*file, HEADER_BYTES as u64..body.len() as u64)?;
            file.sync_data()?;
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
                let file = self.disk.open(&manifest_path(old), Access::Write);
                if self.disk.remove(&manifest_path(old)).is_ok() {
                    self.removed.extend(file);
                }
            }
        }
        Ok(())
    }

    /// The files removed since this was asked last.
    pub(crate) fn take_removed(&mut self) -> Vec<Arc<dyn DiskFile>> {
        std::mem::take(&mut self.removed)
    }
}
