//! The engines: one file each, one cargo feature each.
//!
//! To add one: give it an optional dependency and a feature in `Cargo.toml`, write a file here with
//! one type that implements [`Peer`], and name it in [`all`], whose order is the order of the table.
//! `braidlog` itself comes first.

#[cfg(feature = "braidlog")]
mod braidlog;
#[cfg(feature = "commitlog")]
mod commitlog;
#[cfg(feature = "fjall")]
mod fjall;
#[cfg(feature = "heed")]
mod heed;
#[cfg(feature = "okaywal")]
mod okaywal;
#[cfg(feature = "raft-engine")]
mod raft_engine;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "seqlog")]
mod seqlog;
#[cfg(feature = "shardlog")]
mod shardlog;
#[cfg(feature = "walrus-rust")]
mod walrus;
#[cfg(feature = "yaque")]
mod yaque;

use std::ffi::OsString;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Result;
use crate::cell::{self, Cell, Outcome};
use crate::measure::Scan;
use crate::workload::{Durability, Workload};

/// Every engine that is built in, in the order of the table.
pub fn all() -> Vec<Entry> {
    vec![
        #[cfg(feature = "braidlog")]
        Entry::of::<braidlog::Braidlog>(),
        #[cfg(feature = "raft-engine")]
        Entry::of::<raft_engine::RaftEngine>(),
        #[cfg(feature = "walrus-rust")]
        Entry::of::<walrus::Wal>(),
        #[cfg(feature = "commitlog")]
        Entry::of::<commitlog::Commitlog>(),
        #[cfg(feature = "okaywal")]
        Entry::of::<okaywal::OkayWal>(),
        #[cfg(feature = "seqlog")]
        Entry::of::<seqlog::Seqlog>(),
        #[cfg(feature = "shardlog")]
        Entry::of::<shardlog::Shardlog>(),
        #[cfg(feature = "yaque")]
        Entry::of::<yaque::Yaque>(),
        #[cfg(feature = "fjall")]
        Entry::of::<fjall::Fjall>(),
        #[cfg(feature = "redb")]
        Entry::of::<redb::Redb>(),
        #[cfg(feature = "heed")]
        Entry::of::<heed::Heed>(),
        #[cfg(feature = "rocksdb")]
        Entry::of::<rocksdb::RocksDb>(),
    ]
}

/// One engine, opened on one directory and used as one append-only log.
///
/// The rule for implementors: do with the engine's public interface what a careful user would do
/// for speed, and promise no more than it keeps. What [`Peer::cannot`] names is never called.
pub trait Peer: Send + Sync + Sized {
    /// The crate's name, which is its name on the command line as well.
    const NAME: &'static str;

    /// Why the engine has no honest answer to `workload`, if it has none.
    fn cannot(workload: Workload) -> Option<&'static str>;

    /// What a reader of the figure should know, where the engine does `workload` in a way of its own.
    fn note(_workload: Workload) -> Option<&'static str> {
        None
    }

    /// Environment variables the process must be started with, for engines configured that way.
    fn environment(_dir: &Path) -> Vec<(&'static str, OsString)> {
        Vec::new()
    }

    /// Creates the log in `dir`, an empty directory, for appends under `durability`.
    fn open(dir: &Path, durability: Durability) -> Result<Self>;

    /// Appends one record by a call of its own, unsynced.
    fn append(&self, record: &[u8]) -> Result<()>;

    /// Appends all of `records` by one call, unsynced.
    fn append_batch(&self, _records: &[&[u8]]) -> Result<()> {
        Err(format!("{} has no unsynced batch", Self::NAME).into())
    }

    /// Appends `records`, one a call where that does not sync each, and returns once the device
    /// holds all of them. `writer` tells the calling threads apart.
    fn append_then_sync(&self, _writer: usize, _records: &[&[u8]]) -> Result<()> {
        Err(format!("{} cannot sync", Self::NAME).into())
    }

    /// Opens the log that was written to `dir` and reads it from the first record to the last
    /// inside [`Scan::time`].
    fn scan(dir: &Path, scan: &mut Scan) -> Result<()>;
}

/// One row of the table: a [`Peer`] as a value.
pub struct Entry {
    /// See [`Peer::NAME`].
    pub name: &'static str,
    /// See [`Peer::cannot`].
    pub cannot: fn(Workload) -> Option<&'static str>,
    /// See [`Peer::note`].
    pub note: fn(Workload) -> Option<&'static str>,
    /// See [`Peer::environment`].
    pub environment: fn(&Path) -> Vec<(&'static str, OsString)>,
    /// Runs one step of a cell in this process.
    pub step: fn(&Cell, cell::Step, &Path) -> Result<Outcome>,
}

impl Entry {
    fn of<P: Peer>() -> Self {
        Self { name: P::NAME, cannot: P::cannot, note: P::note, environment: P::environment, step: cell::step::<P> }
    }

    /// The version that was built, as the lock file has it.
    pub fn version(&self) -> &'static str {
        version_of(self.name).unwrap_or("unknown")
    }
}

/// The version of a crate in this crate's lock file.
fn version_of(name: &str) -> Option<&'static str> {
    let lock = include_str!("../../Cargo.lock");
    let wanted = format!("name = \"{name}\"");
    let mut lines = lock.lines().skip_while(|line| *line != wanted);
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

/// The lock, also after a panic elsewhere: that panic has failed the cell already.
#[allow(dead_code, reason = "only engines with `&mut` methods need it")]
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
