//! Journal files that hold records which opening withholds, because of damage before them, and which a salvage may still read. A
//! checkpoint frees the files of the journal, so a copy of these is kept in the folder `aside`.
//!
//! They are copied before an open writes anything else, and are the same at every open until a checkpoint covers their frames.

use std::io;

use crate::env::{Access, Disk};
use crate::error::{Error, Result};

/// The folder for what is not a part of the store and is not thrown away.
pub(crate) const ASIDE: &str = "aside";

/// Where a copy of a journal file is kept: of one that is used again, and damaged again, there may be another.
fn path(number: u64, first_frame: u64) -> String {
    format!("{ASIDE}/withheld-{number:08x}-{first_frame:016x}.jnl")
}

/// Whether it is the name, in the folder, of such a copy.
pub(crate) fn is_copy(name: &str) -> bool {
    name.starts_with("withheld-") && name.ends_with(".jnl")
}

/// Keeps a copy of a journal file, durably. One that is there is not written again.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn keep(disk: &dyn Disk, number: u64, first_frame: u64, bytes: &[u8]) -> Result<()> {
    let path = path(number, first_frame);
    copy(disk, &path, bytes).map_err(Error::io("keep damaged journal file", path))
}

fn copy(disk: &dyn Disk, path: &str, bytes: &[u8]) -> io::Result<()> {
    if let Ok(file) = disk.open(path, Access::Read) {
        let mut there = vec![0; bytes.len()];
        if file.len()? == bytes.len() as u64 && file.read_at(&mut there, 0).is_ok() && there == bytes {
            return Ok(());
        }
        // An open that was cut short.
        drop(file);
        disk.remove(path)?;
    }
    disk.create_dir(ASIDE)?;
    disk.sync_dir("")?;
    let file = disk.open(path, Access::CreateNew)?;
    file.write_at(bytes, 0)?;
    file.sync_data()?;
    disk.sync_dir(ASIDE)
}
