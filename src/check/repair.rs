//! Doing what the findings say may be done, one named action at a time.

use std::path::Path;

use crate::env::{Disk, Env, LockMode};
use crate::error::{Error, Result};

use super::finding::{Action, CheckReport};
use super::inspection::take_lock;

pub(super) use crate::withheld::ASIDE;
/// How often a name may have been moved aside before.
const SAME_NAME_MAX: u32 = 1000;

/// What became of one action.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repaired {
    /// The action.
    pub action: Action,
    /// Nothing was changed: this was a dry run.
    pub dry_run: bool,
    /// Why it could not be done, if it could not.
    pub failed: Option<String>,
}

/// The first name tried for a file that is moved aside.
pub(super) fn aside_path(path: &str) -> String {
    format!("{ASIDE}/{}", path.replace('/', "-"))
}

/// Does what [`CheckReport::actions`] lists, and nothing else; with `dry_run`, nothing at all. `each` is called before an
/// action, with `None`, and after it, with its outcome. An action that fails stops no other.
///
/// No data is deleted and none is changed in place: indexes, which are caches, are removed, and files that are not a part of
/// the store are moved into its folder `aside`. What was damaged stays damaged; see [`super::salvage`].
///
/// # Errors
/// [`Error::Locked`]; [`Error::Conflict`] when the store was opened since the check: check again.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use braidlog::check::{CheckOptions, check, repair};
/// use braidlog::Store;
/// Store::open(dir.path())?.close()?;
/// std::fs::write(dir.path().join("segments/notes.txt"), "not a part of a store").unwrap();
/// let report = check(dir.path(), &CheckOptions::new(), &mut |_| {})?;
/// let done = repair(dir.path(), &report, false, &mut |action, _| println!("{action:?}"))?;
/// assert!(done.len() == 1 && done[0].failed.is_none());
/// # Ok(())
/// # }
/// ```
pub fn repair(
    path: impl AsRef<Path>,
    report: &CheckReport,
    dry_run: bool,
    each: &mut dyn FnMut(&Action, Option<&Repaired>),
) -> Result<Vec<Repaired>> {
    repair_in(&super::existing(path.as_ref())?, report, dry_run, each)
}

/// As [`repair`], on given parts.
///
/// # Errors
/// As [`repair`].
pub fn repair_in(
    env: &Env,
    report: &CheckReport,
    dry_run: bool,
    each: &mut dyn FnMut(&Action, Option<&Repaired>),
) -> Result<Vec<Repaired>> {
    let disk = &*env.disk;
    let mode = if dry_run { LockMode::Shared } else { LockMode::Exclusive };
    let _lock = take_lock(disk, mode)?;
    // Every life writes a manifest when it begins, so an unchanged number means that nobody opened the store since.
    let newest = super::manifests::newest(disk);
    if report.manifest.is_some() && newest != report.manifest {
        let why = "the store was opened since it was checked; check it again".to_owned();
        return Err(Error::Conflict { log: disk.root(), why });
    }
    let mut done = Vec::new();
    for action in report.actions() {
        each(&action, None);
        let outcome = if dry_run { Ok(()) } else { perform(disk, &action) };
        let repaired = Repaired { action, dry_run, failed: outcome.err().map(|error| error.to_string()) };
        each(&repaired.action, Some(&repaired));
        done.push(repaired);
    }
    Ok(done)
}

fn perform(disk: &dyn Disk, action: &Action) -> std::io::Result<()> {
    let folder = |path: &str| path.rsplit_once('/').map_or(String::new(), |(folder, _)| folder.to_owned());
    match action {
        Action::RemoveIndex { path } => {
            // Whatever a report says: nothing but an index is ever removed.
            if !path.starts_with("segments/") || !path.ends_with(".idx") {
                return Err(std::io::Error::other("not an index"));
            }
            disk.remove(path)?;
            disk.sync_dir(&folder(path))
        }
        Action::MoveAside { path } => {
            disk.create_dir(ASIDE)?;
            let first = aside_path(path);
            let mut outcome = disk.rename(path, &first);
            for n in 1..SAME_NAME_MAX {
                match &outcome {
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                        outcome = disk.rename(path, &format!("{first}.{n}"));
                    }
                    _ => break,
                }
            }
            outcome?;
            // There first: a crash in between leaves two names rather than none.
            disk.sync_dir(ASIDE)?;
            disk.sync_dir("")?;
            disk.sync_dir(&folder(path))
        }
    }
}
