//! What exists, in checkpointed form: pages of log rows in immutable files, and the root that names them.
//!
//! Opening reads the root alone. A page is read when one of its logs is asked for, so idle logs cost nothing.
//!
//! A page that can't be read concerns its logs and no others: the next manifests name it where it is, and its file stays. Rows of its
//! logs that are known all the same go to a page with the same first bucket, behind it, and from then on it is **set aside**: what
//! it has is known to be old in part, so it is not read again, and a log that is not in the page behind it is damaged.

mod write;

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;

use crate::env::real::is_unreadable;
use crate::env::{Access, DirEntry, Disk, DiskFile, Pace, names};
use crate::error::{Error, Result};
use crate::format::Damage;
use crate::format::checksum::Salt;
use crate::format::manifest::{HEADER_BYTES, LogRow, ManifestHeader, PageRef, Root, decode_page};
use crate::id::{LogId, StoreId};
use crate::sync::{Arc, Mutex};

pub(crate) use write::Changes;

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
    /// The file a page was read from last: most of the others lie there, too.
    opened: Mutex<Option<(u64, Arc<dyn DiskFile>)>>,
    /// Files removed, whose space is still taken. Nobody reads them: who reads a page has the manifest to himself.
    removed: Vec<Arc<dyn DiskFile>>,
    /// The buckets of pages that were set aside.
    set_aside: Vec<Range<u16>>,
    /// The number of the one before, which counts where this one can't be read.
    before: Option<u64>,
}

/// What is known of the logs of a page.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) rows: Vec<LogRow>,
    /// Why there may be others.
    pub(crate) damage: Option<Error>,
}

/// What covers a bucket.
pub(crate) struct Covering {
    pub(crate) page: Option<PageRef>,
    /// What is wrong with one that was set aside for it.
    pub(crate) set_aside: Option<Error>,
    /// The first bucket behind it.
    pub(crate) end: u16,
}

fn set_aside(page: &PageRef) -> Error {
    Error::damaged(manifest_path(page.manifest), page.position)(Damage::Unreadable)
}

pub(crate) fn manifest_path(number: u64) -> String {
    format!("manifest/{number:016x}.man")
}

/// The number of a manifest file; `None` for what is none.
pub(crate) fn number_of(entry: &DirEntry) -> Option<u64> {
    names::number_in("manifest", entry, ".man", manifest_path)
}

/// The numbers of the manifest files there are, oldest first.
pub(crate) fn numbers(disk: &dyn Disk) -> Result<Vec<u64>> {
    let entries = names::look(disk, "manifest").map_err(Error::io("list", "manifest"))?;
    let mut numbers: Vec<u64> = entries.iter().filter_map(number_of).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn open(disk: &dyn Disk, path: &str) -> Result<Arc<dyn DiskFile>> {
    opened(path, names::open(disk, path))
}

fn opened(path: &str, file: io::Result<Arc<dyn DiskFile>>) -> Result<Arc<dyn DiskFile>> {
    file.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::damaged(path, 0)(Damage::Missing),
        _ => Error::io("open", path)(error),
    })
}

fn read_range(file: &dyn DiskFile, path: &str, position: u64, len: usize) -> Result<Vec<u8>> {
    let file_len = file.len().map_err(Error::io("measure", path))?;
    if position.saturating_add(len as u64) > file_len {
        return Err(Error::damaged(path, position)(Damage::Short));
    }
    let mut bytes = vec![0; len];
    let n = file.read_at(&mut bytes, position).map_err(|error| match is_unreadable(&error) {
        true => Error::damaged(path, position)(Damage::Unreadable),
        false => Error::io("read", path)(error),
    })?;
    if n < len { Err(Error::damaged(path, position)(Damage::Short)) } else { Ok(bytes) }
}

/// Whether a manifest file has no header yet.
fn is_unfinished(disk: &dyn Disk, number: u64) -> bool {
    let mut header = [0; HEADER_BYTES];
    let read = names::open(disk, &manifest_path(number)).and_then(|file| file.read_at(&mut header, 0));
    matches!(read, Ok(n) if n < HEADER_BYTES || header == [0; HEADER_BYTES])
}

/// Reads the root of one manifest file.
pub(crate) fn read_root(disk: &dyn Disk, origin: StoreId, number: u64) -> Result<Root> {
    let path = manifest_path(number);
    root_in(&*open(disk, &path)?, &path, origin, number)
}

fn root_in(file: &dyn DiskFile, path: &str, origin: StoreId, number: u64) -> Result<Root> {
    let header = read_range(file, path, 0, HEADER_BYTES)?;
    let header = ManifestHeader::parse(&header).map_err(Error::damaged(path, 0))?;
    let at = header.root_position;
    if header.origin != origin || header.number != number {
        return Err(Error::damaged(path, 0)(Damage::Misplaced));
    }
    if at.saturating_add(u64::from(header.root_bytes)) > MANIFEST_BYTES_MAX {
        return Err(Error::damaged(path, 0)(Damage::Bounds));
    }
    let bytes = read_range(file, path, at, header.root_bytes as usize)?;
    if Salt::manifest(origin, number).checksum(&bytes) != header.root_checksum {
        return Err(Error::damaged(path, at)(Damage::Checksum));
    }
    let mut root = Root::decode(&bytes).map_err(Error::damaged(path, at))?;
    first_page_from_the_first_bucket(&mut root);
    Ok(root)
}

fn page_in(file: &dyn DiskFile, origin: StoreId, page: &PageRef) -> Result<Vec<u8>> {
    let path = manifest_path(page.manifest);
    let bytes = read_range(file, &path, page.position, page.bytes as usize)?;
    match Salt::manifest(origin, page.manifest).checksum(&bytes) == page.checksum {
        true => Ok(bytes),
        false => Err(Error::damaged(&path, page.position)(Damage::Checksum)),
    }
}

// What the scrub looks at, by whoever sees to it that the file stays: the manifest's lock is not held while a device is read.

/// Looks at what the device has of a file, and once more where that is not right.
pub(crate) fn look_twice<T>(disk: &dyn Disk, path: &str, look: impl Fn(&dyn DiskFile) -> Result<T>) -> Result<T> {
    let past_cache = || look(&*opened(path, names::open_past_cache(disk, path))?);
    past_cache().or_else(|error| match error {
        // A file system that opens files so may refuse to read them.
        Error::Io(_) => look(&*open(disk, path)?),
        _ => past_cache(),
    })
}

/// Verifies the root of a manifest, as the device has it: its bytes with the header.
///
/// # Errors
/// It is damaged, each time it is asked for; or could not be looked at.
pub(crate) fn scrub_root(disk: &dyn Disk, origin: StoreId, number: u64) -> Result<u64> {
    let path = manifest_path(number);
    let root = look_twice(disk, &path, |file| root_in(file, &path, origin, number))?;
    Ok((HEADER_BYTES + root.encode().len()) as u64)
}

/// Verifies a page, as the device has it.
///
/// # Errors
/// As [`scrub_root`].
pub(crate) fn scrub_page(disk: &dyn Disk, origin: StoreId, page: &PageRef) -> Result<Vec<LogRow>> {
    let path = manifest_path(page.manifest);
    let bytes = look_twice(disk, &path, |file| page_in(file, origin, page))?;
    decode_page(&bytes).map_err(Error::damaged(&path, page.position))
}

/// The first page covers what comes before it, too: an empty one before it may have gone. Wherever a root comes from, this is
/// how it is from then on.
fn first_page_from_the_first_bucket(root: &mut Root) {
    let Some(first) = root.pages.first().map(|page| page.first_bucket) else { return };
    root.pages.iter_mut().take_while(|page| page.first_bucket == first).for_each(|page| page.first_bucket = 0);
}

impl Manifest {
    fn with(disk: Arc<dyn Disk>, origin: StoreId, number: u64, root: Root, previous: BTreeSet<u64>) -> Manifest {
        let (opened, removed, set_aside, before) = Default::default();
        Manifest { disk, origin, number, root, previous, opened, removed, set_aside, before }
    }

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
                    return Ok((Manifest::with(disk, origin, newest, root, previous), damage));
                }
                Err(error @ (Error::TooNew { .. } | Error::Io(_))) => return Err(error),
                // The header is written last: without one, its owner died while writing it.
                Err(_) if is_unfinished(&*disk, number) => {}
                Err(error) => damage = damage.or(Some(error)),
            }
        }
        Err(damage.unwrap_or_else(|| Error::damaged("manifest", 0)(Damage::Missing)))
    }

    /// Whether there is a newer one than the one that was loaded: it can't be read, or its owner died while writing it.
    pub(crate) fn is_before_the_newest(&self) -> bool {
        self.in_force().is_some_and(|loaded| loaded < self.number)
    }

    /// Makes the manifest that was loaded durable, with its name: its writer may have been killed before it did that, or could
    /// not do it, and the next one names pages in it.
    pub(crate) fn sync_loaded(&self) -> Result<()> {
        let Some(number) = self.in_force() else { return Ok(()) };
        let path = manifest_path(number);
        let sync = || {
            self.disk.open(&path, Access::Read)?.sync_data()?;
            names::renew(&*self.disk, &path)?;
            self.disk.sync_dir("manifest")
        };
        sync().map_err(Error::io("sync manifest", &path))
    }

    /// Gives manifests that an open which was cut short left aside their names back; before the first of them is loaded.
    pub(crate) fn restore_names(disk: &dyn Disk) -> Result<()> {
        names::list(disk, "manifest").map(drop).map_err(Error::io("list", "manifest"))
    }

    /// The first manifest of a new store.
    pub(crate) fn create(disk: Arc<dyn Disk>, origin: StoreId, root: Root) -> Result<Manifest> {
        let mut manifest = Manifest::with(disk, origin, 0, Root::default(), BTreeSet::new());
        manifest.write(root, &Changes::default(), &Pace::none())?;
        Ok(manifest)
    }

    fn page_of(&self, bucket: u16) -> Option<&PageRef> {
        let after = self.root.pages.partition_point(|p| p.first_bucket <= bucket);
        self.root.pages[..after].last()
    }

    /// Whether another page stands for this one.
    pub(crate) fn is_set_aside(&self, page: &PageRef) -> bool {
        self.page_of(page.first_bucket)
            .is_some_and(|last| last.position != page.position || last.manifest != page.manifest)
    }

    /// What a log is that the page around its bucket does not have: damaged, if another was set aside for that page.
    fn set_aside_for(&self, page: &PageRef) -> Option<Error> {
        let first = self.root.pages.partition_point(|before| before.first_bucket < page.first_bucket);
        self.root.pages.get(first).filter(|first| self.is_set_aside(first)).map(set_aside)
    }

    /// The bytes of a page, verified.
    fn page_bytes(&self, page: &PageRef) -> Result<Vec<u8>> {
        let mut opened = self.opened.lock();
        let file = match &*opened {
            Some((number, file)) if *number == page.manifest => file.clone(),
            _ => open(&*self.disk, &manifest_path(page.manifest))?,
        };
        *opened = Some((page.manifest, file.clone()));
        drop(opened);
        page_in(&*file, self.origin, page)
    }

    /// The rows of a page, verified.
    pub(crate) fn rows_of(&self, page: &PageRef) -> Result<Vec<LogRow>> {
        if self.is_set_aside(page) {
            return Err(set_aside(page));
        }
        let path = manifest_path(page.manifest);
        decode_page(&self.page_bytes(page)?).map_err(Error::damaged(&path, page.position))
    }

    /// The row of the log with this name.
    pub(crate) fn row_by_name(&self, name: &str) -> Result<Vec<LogRow>> {
        let Some(page) = self.page_of(LogId::bucket_of(name)) else { return Ok(Vec::new()) };
        let mut rows = self.rows_of(page)?;
        rows.retain(|row| row.name == name);
        match self.set_aside_for(page).filter(|_| rows.is_empty()) {
            Some(damage) => Err(damage),
            None => Ok(rows),
        }
    }

    /// The row of the log with this id.
    pub(crate) fn row_by_id(&self, id: LogId) -> Result<Option<LogRow>> {
        let Some(page) = self.page_of(id.bucket()) else { return Ok(None) };
        let row = self.rows_of(page)?.into_iter().find(|row| row.id == id);
        match self.set_aside_for(page).filter(|_| row.is_none()) {
            Some(damage) => Err(damage),
            None => Ok(row),
        }
    }

    /// The first bucket of the page that would hold this log.
    pub(crate) fn page_around(&self, id: LogId) -> u16 {
        self.page_of(id.bucket()).map_or(0, |page| page.first_bucket)
    }

    /// What is known of the logs from this first bucket on, up to the next page's.
    pub(crate) fn known_from(&self, first_bucket: u16) -> Result<Known> {
        let Some(page) = self.page_of(first_bucket) else { return Ok(Known::default()) };
        match self.rows_of(page) {
            Ok(rows) => Ok(Known { rows, damage: self.set_aside_for(page) }),
            Err(damage @ Error::Damaged { .. }) => Ok(Known { rows: Vec::new(), damage: Some(damage) }),
            Err(error) => Err(error),
        }
    }

    /// All rows, a page at a time.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Result<Vec<LogRow>>> + '_ {
        self.root.pages.iter().map(|page| self.rows_of(page))
    }

    /// The number of the manifest in force.
    pub(crate) fn in_force(&self) -> Option<u64> {
        self.previous.last().copied()
    }

    /// The number of the one before it, written in this life or the last.
    pub(crate) fn before(&self) -> Option<u64> {
        self.before
    }

    /// The page that covers a bucket.
    pub(crate) fn covering(&self, bucket: u16) -> Covering {
        let after = self.root.pages.partition_point(|page| page.first_bucket <= bucket);
        let end = self.root.pages.get(after).map_or(LogId::BUCKETS, |next| next.first_bucket);
        let page = self.page_of(bucket).copied();
        Covering { set_aside: page.and_then(|page| self.set_aside_for(&page)), page, end }
    }

    /// The buckets of pages that were set aside since this was asked last. Of their logs, pages have those alone that changed since:
    /// who knows others says so, by a row of each.
    pub(crate) fn take_set_aside(&mut self) -> Vec<Range<u16>> {
        std::mem::take(&mut self.set_aside)
    }

    /// The files removed since this was asked last.
    pub(crate) fn take_removed(&mut self) -> Vec<Arc<dyn DiskFile>> {
        std::mem::take(&mut self.removed)
    }
}
