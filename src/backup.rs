//! A copy of a store while it is being used.
//!
//! A checkpoint names one frame. From then on until the copy is done no segment file is removed; each is copied up to its
//! end as of that frame. The manifest comes after the segments and `STORE` comes last, so half a copy is no store. The copy
//! has an id of its own and starts a life of its own.
//!
//! Where there can be no checkpoint, for the store is read-only or its disk is full, or a page of the manifest can't be read, the
//! files are copied as they are, the journal too, while nothing but appends goes on. The copy is what a crash at that moment would
//! have left: the journal comes first, for what segments have beyond it nobody believes.
//!
//! What opening withheld of a damaged journal (`aside`) goes along with either.

use std::collections::BTreeMap;

use crate::env::{Access, Disk, Pace};
use crate::error::{Error, Result};
use crate::format::manifest::{LogRow, Root};
use crate::format::store::StoreFile;
use crate::id::{SegmentId, StoreId};
use crate::manifest::Manifest;
use crate::recovery;
use crate::segment::segment_path;
use crate::store::Store;
use crate::withheld::ASIDE;

/// What a backup copied.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = braidlog::Store::open(dir.path().join("store"))?;
/// store.create_log("clicks", Default::default())?.append("hello")?;
/// let report = store.backup(dir.path().join("copy"))?;
/// assert_eq!(report.logs, 1);
/// assert_eq!(braidlog::Store::open(dir.path().join("copy"))?.log("clicks")?.end(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BackupReport {
    /// The journal frame it shows.
    pub frame: u64,
    /// Logs copied.
    pub logs: u64,
    /// Files of segments copied.
    pub segments: u64,
    /// Bytes of them.
    pub bytes: u64,
}

pub(crate) fn backup(store: &Store, path: &str) -> Result<BackupReport> {
    let core = store.core();
    let target = core.env.disk.sibling(path).map_err(Error::io("open", path))?;
    if let Some(found) = target.list("").map_err(Error::io("list", path))?.first() {
        return Err(Error::NotAStore { root: path.to_owned(), found: found.name.clone() });
    }
    // From here on files that a checkpoint retires stay until the copy is done.
    let _kept = core.keep_files();
    match store.checkpoint() {
        Err(Error::ReadOnly { .. } | Error::Full { .. }) => return copy_as_it_is(store, &*target),
        Err(Error::Io(fault)) if fault.is_no_space() => return copy_as_it_is(store, &*target),
        checkpoint => checkpoint?,
    }
    let (root, rows) = {
        let manifest = core.manifest.lock();
        (manifest.root.clone(), manifest.rows().collect::<Result<Vec<_>>>())
    };
    let rows: Vec<LogRow> = match rows {
        Err(Error::Damaged { .. }) => return copy_as_it_is(store, &*target),
        rows => rows?.into_iter().flatten().collect(),
    };
    let mut report = BackupReport { frame: root.frame, logs: rows.len() as u64, ..BackupReport::default() };
    recovery::make_folders(&*target)?;
    let mut folders = std::collections::BTreeSet::new();
    // Of a pack up to the last piece that is named.
    let mut ends: BTreeMap<SegmentId, u64> = BTreeMap::new();
    for segment in rows.iter().flat_map(|row| &row.segments) {
        let end = ends.entry(segment.id).or_default();
        *end = segment.bytes.max(*end);
    }
    for (id, bytes) in ends {
        let path = segment_path(id);
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
        if folders.insert(folder.clone()) {
            target.create_dir(&folder).map_err(Error::io("make folder", &folder))?;
        }
        copy(&*core.env.disk, &*target, &path, bytes)?;
        report.segments += 1;
        report.bytes += bytes;
    }
    for folder in folders.iter().map(String::as_str).chain(["segments"]) {
        target.sync_dir(folder).map_err(Error::io("sync folder", folder))?;
    }
    if !core.env.disk.list(ASIDE).unwrap_or_default().is_empty() {
        copy_folder(&*core.env.disk, &*target, ASIDE, &mut BackupReport::default())?;
    }
    let generation = root.generations.last().map_or(0, |g| g.0) + 1;
    let copied = Root {
        generations: vec![(generation, root.frame + 1)],
        clean: true,
        retired: Vec::new(),
        touched: Vec::new(),
        packs: Vec::new(),
        stored_bytes: report.bytes,
        pages: Vec::new(),
        chain: 0,
        ..root
    };
    let mut manifest = Manifest::create(target.clone(), core.identity.origin, copied.clone())?;
    manifest.write(copied, &rows.into_iter().collect(), &Pace::none())?;
    make_store(store, &*target)?;
    Ok(report)
}

/// Makes a store of what was copied: the last step.
fn make_store(store: &Store, target: &dyn Disk) -> Result<()> {
    let core = store.core();
    recovery::make_lock(target)?;
    recovery::write_identity(target, &StoreFile { id: StoreId(core.env.random_bytes()), ..core.identity })
}

/// Copies every file as it is: what waits in the journal can't go to segments, and what can't be read by this life may be by another.
fn copy_as_it_is(store: &Store, target: &dyn Disk) -> Result<BackupReport> {
    let core = store.core();
    let _held = core.hold_upkeep();
    let disk = &*core.env.disk;
    // Of a page that can't be read nobody knows.
    let known = || core.manifest.lock().rows().flatten().map(|rows| rows.len()).sum();
    let logs = core.names().map_or_else(|_| known(), |names| names.len()) as u64;
    let mut report = BackupReport { frame: core.durable_frame(), logs, ..BackupReport::default() };
    recovery::make_folders(target)?;
    for folder in ["journal", "manifest", "segments", ASIDE] {
        copy_folder(disk, target, folder, &mut report)?;
    }
    make_store(store, target)?;
    Ok(report)
}

/// Copies a folder with everything in it; one that is not there is empty.
fn copy_folder(disk: &dyn Disk, target: &dyn Disk, folder: &str, report: &mut BackupReport) -> Result<()> {
    let entries = match disk.list(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::io("list", folder))?,
    };
    target.create_dir(folder).map_err(Error::io("make folder", folder))?;
    for entry in entries {
        let path = format!("{folder}/{}", entry.name);
        if entry.is_dir {
            copy_folder(disk, target, &path, report)?;
            continue;
        }
        let file = disk.open(&path, Access::Read).map_err(Error::io("open", &path))?;
        let bytes = file.len().map_err(Error::io("measure", &path))?;
        copy(disk, target, &path, bytes)?;
        if path.ends_with(".seg") {
            report.segments += 1;
            report.bytes += bytes;
        }
    }
    target.sync_dir(folder).map_err(Error::io("sync folder", folder))
}

fn copy(from: &dyn Disk, to: &dyn Disk, path: &str, bytes: u64) -> Result<()> {
    let source = from.open(path, Access::Read).map_err(Error::io("open", path))?;
    let target = to.open(path, Access::CreateNew).map_err(Error::io("create", path))?;
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < bytes {
        let n = buffer.len().min((bytes - at) as usize);
        let read = source.read_at(&mut buffer[..n], at).map_err(Error::io("read", path))?;
        if read < n {
            return Err(Error::damaged(path, at + read as u64)(crate::format::Damage::Short));
        }
        target.write_at(&buffer[..n], at).map_err(Error::io("write", path))?;
        at += n as u64;
    }
    target.sync_data().map_err(Error::io("sync", path))
}
