//! Names that the disk may not have although a folder lists them.
//!
//! A sync of a folder that fails may leave its entries in the cache and call them clean: a later sync then succeeds and writes
//! nothing. Within a life nobody relies on a folder again whose sync failed. The next life of the same boot can't tell which these
//! are, so it makes the name of whatever nothing proves durable anew, and syncs that.

use std::io;

use super::{DirEntry, Disk};

/// Behind a name that is being made anew.
const ASIDE: &str = ".renewed";

/// Makes an entry of a folder anew, to be synced by the caller. Of what has no other proof of being durable only: until the second
/// step nobody but [`list`] finds it.
pub(crate) fn renew(disk: &dyn Disk, path: &str) -> io::Result<()> {
    let aside = format!("{path}{ASIDE}");
    match disk.rename(path, &aside) {
        // A full disk is no reason not to open, and nearly always the name is durable as it is.
        Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Ok(()),
        renamed => renamed.and_then(|()| disk.rename(&aside, path)),
    }
}

/// The entries of a folder, after those that a crash caught between the two steps of [`renew`] got their names back.
pub(crate) fn list(disk: &dyn Disk, folder: &str) -> io::Result<Vec<DirEntry>> {
    let mut entries = disk.list(folder)?;
    for entry in &mut entries {
        if let Some(name) = name_of_aside(&entry.name) {
            let name = name.to_owned();
            match disk.rename(&format!("{folder}/{}", entry.name), &format!("{folder}/{name}")) {
                // Both are there: nothing of ours ends so.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                renamed => renamed.map(|()| entry.name = name)?,
            }
        }
    }
    Ok(entries)
}

/// The name that an entry had before it was to be made anew.
pub(crate) fn name_of_aside(name: &str) -> Option<&str> {
    name.strip_suffix(ASIDE)
}
