//! Looking a store over: every byte of it, while nobody has it open.
//!
//! [`check`] reads all of a store and writes nothing. It says what it finds as a list of [`Finding`]s, each with its place,
//! the records it is about, and what to do. [`repair`] then does what the findings say it may do, and no more: it removes
//! index files, which are caches, and moves files that are not a part of the store into the folder `aside`. [`salvage`]
//! copies every record that can still be read into a new store and leaves the old one as it is.
//!
//! Three rules hold here:
//!
//! 1. Data is never changed in place and never deleted.
//! 2. What exists is worked out the way opening does it: the manifest in force, the journal behind it, the tails of buffered
//!    logs. The code is written a second time on purpose, so that a slip in one shows as a difference.
//! 3. Memory stays bounded whatever the files say: segments are read a piece at a time, and no length is believed before
//!    its checksum. What opening reads whole, the journal's live files and one manifest page at a time, is read whole.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir().unwrap();
//! use braidlog::check::{CheckOptions, check};
//! let store = braidlog::Store::open(dir.path())?;
//! store.create_log("clicks", Default::default())?.append("hello")?;
//! store.close()?;
//! let report = check(dir.path(), &CheckOptions::new(), &mut |_| {})?;
//! assert_eq!((report.is_sound(), report.records), (true, 1));
//! # Ok(())
//! # }
//! ```

mod finding;
mod hidden;
mod identity;
mod index;
mod inspection;
mod journal;
mod logs;
mod manifests;
mod names;
mod repair;
mod replay;
mod salvage;
mod scan;
mod tails;
mod unnamed;

use std::path::Path;

pub use finding::{Action, CheckOptions, CheckReport, Finding, Progress, Severity};
pub use repair::{Repaired, repair, repair_in};
pub use salvage::{SalvageReport, SalvagedLog, salvage, salvage_in};

use crate::env::Env;
use crate::error::{Error, Result};
use crate::options::{ReadMode, StoreOptions};
use inspection::Inspection;

/// Verifies every byte of the store in `path`, which nobody may have open for writing. Reads only.
///
/// `progress` is called about once a megabyte. Blocks for as long as reading everything takes.
///
/// # Errors
/// [`Error::Locked`] while an owner lives, [`Error::NotAStore`], [`Error::TooNew`], [`Error::Io`] when a folder can't be
/// listed. Damage is no error but a finding.
pub fn check(
    path: impl AsRef<Path>,
    options: &CheckOptions,
    progress: &mut dyn FnMut(&Progress),
) -> Result<CheckReport> {
    check_in(&existing(path.as_ref())?, options, progress)
}

/// As [`check`], on given parts.
///
/// # Errors
/// As [`check`].
pub fn check_in(env: &Env, options: &CheckOptions, progress: &mut dyn FnMut(&Progress)) -> Result<CheckReport> {
    let _lock = inspection::take_lock(&*env.disk, crate::env::LockMode::Shared)?;
    let mut inspection = Inspection::new(env, options, progress);
    inspection.run(None)?;
    Ok(inspection.finish())
}

/// The parts for a store that exists; a real disk makes the folder it is pointed at otherwise.
fn existing(path: &Path) -> Result<Env> {
    if !path.is_dir() {
        return Err(Error::NotAStore { root: path.display().to_string(), found: "nothing: no such folder".into() });
    }
    let options = StoreOptions::default().read_mode(ReadMode::Copy);
    Env::for_options(path, &options).map_err(Error::io("open store", path.display().to_string()))
}
