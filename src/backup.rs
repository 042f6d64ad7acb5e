//! A copy of a store while it is being used.
//!
//! It is what a crash at one moment would have left. The journal and the manifest are copied first, while upkeep rests: nothing is
//! freed and no manifest written meanwhile, and a checkpoint right before leaves little in the journal. Then upkeep goes on, but
//! that no file which a manifest names no more is removed until the segments are copied, too; what they have beyond the journal
//! nobody believes. Frames that were not durable when the copy began are left out: of those that come while a file is read, one
//! might be missed that a later one relies on. A copy of the segments with the manifest's rows alone would be of no one moment, for
//! a row may have more than the frame it is named for.
//!
//! `STORE` comes last, so half a copy is no store. The copy has an id of its own and starts a life of its own. What opening withheld
//! of a damaged journal (`aside`) goes along.

use std::collections::BTreeSet;

use crate::core::Core;
use crate::env::{Access, Disk, DiskFile};
use crate::error::{Error, Result};
use crate::format::journal::FRAME_ALIGNMENT;
use crate::format::store::StoreFile;
use crate::id::{FrameNumber, StoreId};
use crate::journal::{journal_path, survey};
use crate::recovery;
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
    backup_behind(store, path, || store.checkpoint())
}

/// The same behind a checkpoint as the caller makes it.
pub(crate) fn backup_behind(
    store: &Store,
    path: &str,
    checkpoint: impl FnOnce() -> Result<()>,
) -> Result<BackupReport> {
    let core = store.core();
    let target = core.env.disk.sibling(path).map_err(Error::io("open", path))?;
    if let Some(found) = target.list("").map_err(Error::io("list", path))?.first() {
        return Err(Error::NotAStore { root: path.to_owned(), found: found.name.clone() });
    }
    // From here on files that a checkpoint retires stay until the copy is done.
    let _kept = core.keep_files();
    match checkpoint() {
        // Then the copy has what waits in the journal.
        Err(Error::ReadOnly { .. } | Error::Full { .. }) => {}
        Err(Error::Io(fault)) if fault.is_no_space() => {}
        checkpoint => checkpoint?,
    }
    recovery::make_folders(&*target)?;
    let mut report = copy_what_changes(core, &*target)?;
    let disk = &*core.env.disk;
    copy_folder(disk, &*target, "segments", &mut report)?;
    let entries = disk.list("").map_err(Error::io("list", disk.root()))?;
    if entries.iter().any(|entry| entry.name == ASIDE) {
        copy_folder(disk, &*target, ASIDE, &mut report)?;
    }
    recovery::make_lock(&*target)?;
    recovery::write_identity(&*target, &StoreFile { id: StoreId(core.env.random_bytes()), ..core.identity })?;
    Ok(report)
}

/// Copies the journal and the manifest, as of one moment.
fn copy_what_changes(core: &Core, target: &dyn Disk) -> Result<BackupReport> {
    let disk = &*core.env.disk;
    let _held = core.hold_upkeep();
    let frame = core.durable_frame();
    // Of a page that can't be read nobody knows.
    let known = || core.manifest.lock().rows().flatten().map(|rows| rows.len()).sum();
    let logs = core.names().map_or_else(|_| known(), |names| names.len()) as u64;
    let mut report = BackupReport { frame, logs, ..BackupReport::default() };
    if core.health.may_write() {
        let root = core.manifest.lock().root.clone();
        // What it names must be there; the others have no frame that counts.
        let files: BTreeSet<u64> = core.ring.files_after(root.frame).into_iter().chain(root.journal_files).collect();
        for number in files {
            copy_journal_file(core, target, &journal_path(number), frame)?;
        }
        target.sync_dir("journal").map_err(Error::io("sync folder", "journal"))?;
    } else {
        copy_folder(disk, target, "journal", &mut report)?;
    }
    copy_folder(disk, target, "manifest", &mut report)?;
    Ok(report)
}

/// Copies a file of the journal without the frames behind `last`.
fn copy_journal_file(core: &Core, target: &dyn Disk, path: &str, last: FrameNumber) -> Result<()> {
    let file = core.env.disk.open(path, Access::Read).map_err(Error::io("open", path))?;
    let len = file.len().map_err(Error::io("measure", path))?;
    let mut bytes = vec![0; len as usize];
    read(&*file, &mut bytes, 0, path)?;
    let later = survey(&bytes, 0, core.identity.origin).into_iter().filter(|place| place.header.frame > last);
    for place in later {
        bytes[place.offset..][..FRAME_ALIGNMENT].fill(0);
    }
    let copied = target.open(path, Access::CreateNew).map_err(Error::io("create", path))?;
    copied.write_at(&bytes, 0).map_err(Error::io("write", path))?;
    copied.sync_data().map_err(Error::io("sync", path))
}

/// Copies a folder with everything in it.
fn copy_folder(disk: &dyn Disk, target: &dyn Disk, folder: &str, report: &mut BackupReport) -> Result<()> {
    let entries = disk.list(folder).map_err(Error::io("list", folder))?;
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
        read(&*source, &mut buffer[..n], at, path)?;
        target.write_at(&buffer[..n], at).map_err(Error::io("write", path))?;
        at += n as u64;
    }
    target.sync_data().map_err(Error::io("sync", path))
}

fn read(file: &dyn DiskFile, into: &mut [u8], at: u64, path: &str) -> Result<()> {
    let read = file.read_at(into, at).map_err(Error::io("read", path))?;
    match read < into.len() {
        true => Err(Error::damaged(path, at + read as u64)(crate::format::Damage::Short)),
        false => Ok(()),
    }
}
