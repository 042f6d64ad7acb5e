//! Writing the next manifest: today's pages with what changed, in a file that is written as they are worked out.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;

use crate::env::{Access, DiskFile, Pace};
use crate::error::{Error, Result};
use crate::format::checksum::Salt;
use crate::format::manifest::{HEADER_BYTES, LogRow, ManifestHeader, PageRef, Root, SegmentRow, page_begin, skim_page};
use crate::id::{LogId, SegmentId, StoreId};
use crate::segment::segment_path;
use crate::sync::{Arc, give_way};

use super::{Manifest, first_page_from_the_first_bucket, manifest_path, numbers};

/// A page with so many bytes ends where the next bucket begins.
const PAGE_BYTES: usize = 8 << 10;
/// Everything is rewritten into one file once pages lie in more files than this.
const FILES_MAX: usize = 24;
/// Pages are written together once they have so many bytes. A call that writes many megabytes keeps a processor from everybody
/// else for as long as it takes.
const WRITE_BYTES: usize = 256 << 10;

/// What becomes of rows, in the order in which they lie in pages.
#[derive(Default)]
pub(crate) struct Changes {
    rows: BTreeMap<(u16, LogId), Option<LogRow>>,
    /// See [`Changes::keep_pages`].
    keeps_pages: bool,
}

/// By bucket, then by id.
fn place(id: LogId) -> (u16, LogId) {
    (id.bucket(), id)
}

impl Changes {
    /// The log has this row now.
    pub(crate) fn put(&mut self, row: LogRow) {
        self.rows.insert(place(row.id), Some(row));
    }

    /// The log is gone.
    pub(crate) fn remove(&mut self, id: LogId) {
        self.rows.insert(place(id), None);
    }

    /// Where a page that changes can't be read nothing is written, instead of a page that stands for it with the changed rows alone:
    /// for a manifest at the frame of the one before, on which the journal has changes of its other logs, too.
    pub(crate) fn keep_pages(&mut self) {
        self.keeps_pages = true;
    }

    /// The log's new row.
    pub(crate) fn row(&self, id: LogId) -> Option<&LogRow> {
        self.rows.get(&place(id))?.as_ref()
    }

    /// The segments that the log has now: none, if it is gone. `None` if nothing is said of it.
    pub(crate) fn segments(&self, id: LogId) -> Option<&[SegmentRow]> {
        self.rows.get(&place(id)).map(|row| row.as_ref().map_or(&[][..], |row| &row.segments))
    }

    /// The new rows.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &LogRow> {
        self.rows.values().flatten()
    }

    /// Lets go of them, a few at a time.
    pub(crate) fn let_go(self) {
        self.rows.into_iter().enumerate().for_each(|(step, _)| give_way(step));
    }
}

impl FromIterator<LogRow> for Changes {
    fn from_iter<T: IntoIterator<Item = LogRow>>(rows: T) -> Changes {
        let rows = rows.into_iter().map(|row| (place(row.id), Some(row))).collect();
        Changes { rows, keeps_pages: false }
    }
}

/// A manifest file on its way to the disk, front to end but for its header.
struct FileWriter<'a> {
    file: Arc<dyn DiskFile>,
    pace: &'a Pace,
    salt: Salt,
    number: u64,
    /// All pages that are there, and last the one being put together.
    pages: Vec<PageRef>,
    /// The bucket of its last row.
    last_bucket: u16,
    /// It stands for one that was set aside, whose buckets are all its own: it ends where that did.
    stands_in: bool,
    /// The buckets of those set aside by this manifest.
    set_aside: Vec<Range<u16>>,
    /// What is not written yet.
    buffer: Vec<u8>,
    /// Where that goes.
    position: u64,
}

impl FileWriter<'_> {
    fn begin_page(&mut self, first_bucket: u16) {
        let position = self.position + self.buffer.len() as u64;
        self.pages.push(PageRef { first_bucket, manifest: self.number, position, bytes: 0, checksum: 0, logs: 0 });
        self.buffer.extend_from_slice(&page_begin(0));
    }

    /// Adds a row of a bucket; in another page, if it is the bucket's first and the one being put together has enough.
    fn put(&mut self, bucket: u16, encode: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let end = self.position + self.buffer.len() as u64;
        let enough = |page: &PageRef| page.logs > 0 && end - page.position >= PAGE_BYTES as u64;
        if !self.stands_in && self.last_bucket != bucket && self.pages.last().is_some_and(enough) {
            self.end_page()?;
            self.begin_page(bucket);
        }
        self.last_bucket = bucket;
        encode(&mut self.buffer);
        self.pages.last_mut().into_iter().for_each(|page| page.logs += 1);
        Ok(())
    }

    fn end_page(&mut self) -> io::Result<()> {
        let Some(page) = self.pages.last_mut() else { return Ok(()) };
        let bytes = &mut self.buffer[(page.position - self.position) as usize..];
        let begin = page_begin(page.logs);
        bytes[..begin.len()].copy_from_slice(&begin);
        page.bytes = bytes.len() as u32;
        page.checksum = self.salt.checksum(bytes);
        if self.buffer.len() >= WRITE_BYTES { self.write_out() } else { Ok(()) }
    }

    fn write_out(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.position)?;
        let end = self.position + self.buffer.len() as u64;
        self.pace.write_back(&*self.file, self.position..end)?;
        self.position = end;
        self.buffer.clear();
        Ok(())
    }

    /// The root comes behind the pages, and the header last: where it verifies, everything it leads to is on stable storage. Open
    /// reads no page.
    fn finish(mut self, root: &Root, origin: StoreId) -> io::Result<()> {
        let root = root.encode();
        let header = ManifestHeader {
            origin,
            number: self.number,
            root_position: self.position + self.buffer.len() as u64,
            root_bytes: root.len() as u32,
            root_checksum: self.salt.checksum(&root),
        };
        self.buffer.extend_from_slice(&root);
        self.write_out()?;
        self.file.sync_data()?;
        self.file.write_at(&header.encode(), 0)?;
        self.file.sync_data()
    }
}

/// The bytes of the pieces that rows name, for each pack.
struct Packs(BTreeMap<SegmentId, u64>);

impl Packs {
    fn add(&mut self, row: &LogRow) {
        for piece in row.segments.iter().filter(|segment| segment.is_piece()) {
            *self.0.entry(piece.id).or_default() += piece.stored_bytes();
        }
    }

    fn take(&mut self, pieces: impl Iterator<Item = (SegmentId, u64)>) {
        for (pack, bytes) in pieces {
            let left = self.0.entry(pack).or_default();
            *left = left.saturating_sub(bytes);
        }
    }
}

impl Manifest {
    /// Writes the next manifest: `root` with its pages worked out from today's and `changes`. What its packs have left follows
    /// from the same rows; a pack that has nothing left joins those retired, and no longer counts as stored.
    /// Durable when it returns. On an error today's manifest stays in force.
    pub(crate) fn write(&mut self, mut root: Root, changes: &Changes, pace: &Pace) -> Result<()> {
        // The number is used up whatever happens: a file is written once. It does not run over: no name counts that is near the end.
        self.number += 1;
        let path = manifest_path(self.number);
        let written = self.write_file(&path, &mut root, changes, pace).and_then(|set_aside| {
            self.disk.sync_dir("manifest").map_err(Error::io("write manifest", &path))?;
            Ok(set_aside)
        });
        // A half-written manifest must not become the newest. If it can't be taken away either, it still doesn't verify, unless only
        // the folder's sync failed: then it is a manifest like any other, and names a durable state.
        let set_aside = written.inspect_err(|_| drop(self.disk.remove(&path)))?;
        self.set_aside.extend(set_aside);
        let before = std::mem::replace(&mut self.root, root);
        // It may be one that goes now.
        *self.opened.lock() = None;
        self.remove_before(&before);
        Ok(())
    }

    /// Answers with the buckets of the pages that it set aside.
    fn write_file(&self, path: &str, root: &mut Root, changes: &Changes, pace: &Pace) -> Result<Vec<Range<u16>>> {
        let fault = || Error::io("write manifest", path);
        let number = self.number;
        let mut writer = FileWriter {
            file: self.disk.open(path, Access::CreateNew).map_err(fault())?,
            pace,
            salt: Salt::manifest(self.origin, number),
            number,
            pages: Vec::new(),
            last_bucket: 0,
            stands_in: false,
            set_aside: Vec::new(),
            buffer: Vec::with_capacity(WRITE_BYTES + 2 * PAGE_BYTES),
            position: HEADER_BYTES as u64,
        };
        let mut packs = Packs(root.packs.iter().copied().collect());
        self.write_pages(&mut writer, changes, &mut packs, path)?;
        root.pages = std::mem::take(&mut writer.pages);
        first_page_from_the_first_bucket(root);
        self.settle_packs(root, packs);
        let set_aside = std::mem::take(&mut writer.set_aside);
        writer.finish(root, self.origin).map_err(fault())?;
        Ok(set_aside)
    }

    /// Today's pages with what changes; those in which nothing does are named where they are.
    fn write_pages(&self, writer: &mut FileWriter<'_>, changes: &Changes, packs: &mut Packs, path: &str) -> Result<()> {
        let fault = || Error::io("write manifest", path);
        let files: BTreeSet<u64> = self.root.pages.iter().map(|page| page.manifest).collect();
        let rewrite_all = files.len() > FILES_MAX;
        let none = PageRef { first_bucket: 0, manifest: 0, position: 0, bytes: 0, checksum: 0, logs: 0 };
        let today = if self.root.pages.is_empty() { vec![none] } else { self.root.pages.clone() };
        let keeps_pages = changes.keeps_pages;
        let mut changes = changes.rows.iter().peekable();
        for (step, page) in today.iter().enumerate() {
            // A page has as many rows as are a step elsewhere.
            give_way(step * 32 + 31);
            let end = today.get(step + 1).map_or(LogId::BUCKETS, |next| next.first_bucket);
            let changed = changes.peek().is_some_and(|((bucket, _), _)| *bucket < end);
            let next_to = |other: Option<&PageRef>| other.is_some_and(|other| other.first_bucket == page.first_bucket);
            let is_set_aside = next_to(today.get(step + 1));
            writer.stands_in = next_to(step.checked_sub(1).and_then(|before| today.get(before)));
            if is_set_aside || !changed && !rewrite_all {
                writer.pages.extend((page.logs > 0 || writer.stands_in).then_some(*page));
                continue;
            }
            let bytes = match self.bytes_to_rewrite(page) {
                Err(error @ Error::Damaged { .. }) if changed && keeps_pages => return Err(error),
                // Its logs are not known, and nobody else is to suffer for that. Pieces that changed rows had in packs stay counted.
                Err(Error::Damaged { .. }) => {
                    writer.pages.push(*page);
                    if !changed {
                        continue;
                    }
                    writer.stands_in = true;
                    writer.set_aside.push(page.first_bucket..end);
                    page_begin(0).to_vec()
                }
                bytes => bytes?,
            };
            let rows = skim_page(&bytes).map_err(Error::damaged(manifest_path(page.manifest), page.position))?;
            let mut old = rows.iter().peekable();
            let mut keep = |writer: &mut FileWriter<'_>, upto: Option<(u16, LogId)>| {
                while let Some(kept) = old.next_if(|old| upto.is_none_or(|upto| place(old.id) < upto)) {
                    writer.put(kept.id.bucket(), |buffer| buffer.extend_from_slice(kept.bytes))?;
                }
                Ok::<_, io::Error>(old.next_if(|old| Some(place(old.id)) == upto))
            };
            writer.begin_page(page.first_bucket);
            while let Some((at, row)) = changes.next_if(|((bucket, _), _)| *bucket < end) {
                let before = keep(writer, Some(*at)).map_err(fault())?;
                if let Some(row) = row {
                    writer.put(at.0, |buffer| row.encode(buffer)).map_err(fault())?;
                    packs.add(row);
                }
                packs.take(before.into_iter().flat_map(|row| row.pieces()));
            }
            keep(writer, None).map_err(fault())?;
            // A page that is left empty stays, to cover its buckets.
            writer.end_page().map_err(fault())?;
        }
        Ok(())
    }

    /// The bytes of a page. A device may think better of it, and a page that is set aside stays so.
    fn bytes_to_rewrite(&self, page: &PageRef) -> Result<Vec<u8>> {
        if page.logs == 0 {
            return Ok(page_begin(0).to_vec());
        }
        self.page_bytes(page).or_else(|_| {
            *self.opened.lock() = None;
            self.page_bytes(page)
        })
    }

    /// What the packs have left, and which have nothing.
    fn settle_packs(&self, root: &mut Root, packs: Packs) {
        let (left, empty): (Vec<_>, Vec<_>) = packs.0.into_iter().partition(|(_, left)| *left > 0);
        root.packs = left;
        for (pack, _) in empty {
            root.retired.push(pack);
            let bytes = self.disk.open(&segment_path(pack), Access::Read).and_then(|file| file.len()).unwrap_or(0);
            root.stored_bytes = root.stored_bytes.saturating_sub(bytes);
        }
    }

    /// Removes the files that neither today's root nor the one before needs.
    fn remove_before(&mut self, before: &Root) {
        let of = |root: &Root| root.pages.iter().map(|page| page.manifest).collect::<BTreeSet<u64>>();
        let mut today = of(&self.root);
        today.insert(self.number);
        let mut needed = of(before);
        self.before = self.in_force();
        needed.extend(self.before);
        needed.extend(&today);
        self.previous = today;
        // Old files are only a matter of space: a failure here is looked at again with the next manifest.
        for old in numbers(&*self.disk).unwrap_or_default() {
            if old < self.number && !needed.contains(&old) {
                let file = self.disk.open(&manifest_path(old), Access::Write);
                if self.disk.remove(&manifest_path(old)).is_ok() {
                    self.removed.extend(file);
                }
            }
        }
    }
}
