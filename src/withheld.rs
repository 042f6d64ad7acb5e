//! Journal files that hold records which opening withholds, because of damage before them, and which a salvage may still read. A
//! checkpoint frees the files of the journal, so a copy of these is kept in the folder `aside`.
//!
//! They are copied before an open writes anything else, and are the same at every open until a checkpoint covers their frames, unless
//! the device reads a file differently each time. A copy is whole and synced before it has its name, and is not taken back.

use std::io;

use crate::env::names::{self, name_of_aside};
use crate::env::{Access, Disk, DiskFile};
use crate::error::{Error, Result};

/// The folder for what is not a part of the store and is not thrown away.
pub(crate) const ASIDE: &str = "aside";
/// So many copies of one file are kept, if it is read differently each time.
const COPIES_MAX: u32 = 4;

/// Where a copy of a journal file is kept: of one that is used again, and damaged again, there may be another.
fn path(number: u64, first_frame: u64, copy: u32) -> String {
    let again = if copy > 0 { format!("-{copy}") } else { String::new() };
    format!("{ASIDE}/withheld-{number:08x}-{first_frame:016x}{again}.jnl")
}

/// Whether it is the name, in the folder, of such a copy.
pub(crate) fn is_copy(name: &str) -> bool {
    let name = name_of_aside(name).unwrap_or(name);
    name.starts_with("withheld-") && name.ends_with(".jnl")
}

/// Keeps a copy of a journal file, durably. One that is there is not written again.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn keep(disk: &dyn Disk, number: u64, first_frame: u64, bytes: &[u8]) -> Result<()> {
    let prepared = disk.create_dir(ASIDE).and_then(|()| names::list(disk, ASIDE));
    prepared.map_err(Error::io("make folder", ASIDE))?;
    for copy in 0..COPIES_MAX {
        let path = path(number, first_frame, copy);
        if keep_as(disk, &path, bytes).map_err(Error::io("keep damaged journal file", path))? {
            break;
        }
    }
    disk.sync_dir("").and_then(|()| disk.sync_dir(ASIDE)).map_err(Error::io("sync folder", ASIDE))
}

/// Whether the copy has this name, to be made durable by the caller, and not another file.
fn keep_as(disk: &dyn Disk, path: &str, bytes: &[u8]) -> io::Result<bool> {
    match disk.open(path, Access::Read) {
        Ok(file) => {
            let same = is_same(&*file, bytes)?;
            if same {
                // What lasts is not known of its name.
                names::renew(disk, path)?;
            }
            return Ok(same);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let new = format!("{path}.new");
    match disk.remove(&new) {
        // An open that was cut short.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let write = || {
        let file = disk.open(&new, Access::CreateNew)?;
        file.write_at(bytes, 0)?;
        file.sync_data()
    };
    write().inspect_err(|_| {
        // A part of it is of no use, and may be the last room there is.
        let _ = disk.remove(&new);
    })?;
    disk.rename(&new, path)?;
    Ok(true)
}

fn is_same(file: &dyn DiskFile, bytes: &[u8]) -> io::Result<bool> {
    let mut there = vec![0; bytes.len()];
    Ok(file.len()? == bytes.len() as u64
        && file.read_at(&mut there, 0).is_ok_and(|n| n == there.len())
        && there == bytes)
}
