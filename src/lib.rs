//! Braidlog: many durable, ordered, append-only logs in one directory.
//!
//! Everything durable is a log; everything else is a view of one. A [`Store`] is one directory, opened by one process. It
//! holds any number of [`Log`]s. Appends from any number of threads share one sync; readers get records as slices of mapped
//! files and cost the writer nothing.
//!
//! ```
//! use braidlog::{LogOptions, StartAt, Store};
//!
//! fn main() -> braidlog::Result<()> {
//! #   let dir = tempfile::tempdir().unwrap(); std::env::set_current_dir(&dir).unwrap();
//!     let store = Store::open("data")?; // recovers, then serves
//!     let clicks = store.open_or_create_log("clicks", LogOptions::new())?;
//!     let put = clicks.append("page=/home")?; // returns once durable
//!     for record in clicks.read(StartAt::Sequence(put.first))? {
//!         println!("{:?}", record?.data);
//!     }
//!     store.close()
//! }
//! ```
//!
//! An [`Engine`] is a store with streams as Kinesis Data Streams has them: see [`mod@stream`].
//!
//! # What is promised
//!
//! - An acknowledged append to a [`Durability::Durable`] log is on stable storage, whole, once, in its place.
//! - After any crash a log holds a front part of what was appended, in order, without a hole.
//! - Nothing is readable that a crash could take back.
//! - A number that was acknowledged or readable is never used for another record of the log.
//! - A [`Transaction`] happens on all of its logs or on none.
//! - Bytes that are not what was written are never handed out: there is an error that says where.
//!
//! # Where to read on
//!
//! [`mod@format`] is the specification of every byte on disk; `ARCHITECTURE.md` shows the house.

#![deny(missing_docs)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;

macro_rules! seeded_bug {
    ($bug:ident) => {
        $crate::bug_is_active!($bug)
    };
}

#[cfg(any(test, feature = "sim"))]
macro_rules! bug_is_active {
    ($bug:ident) => {
        $crate::env::sim::bugs::is_active($crate::env::sim::bugs::SeededBug::$bug)
    };
}

#[cfg(not(any(test, feature = "sim")))]
macro_rules! bug_is_active {
    ($bug:ident) => {
        false
    };
}

pub(crate) use bug_is_active;
pub(crate) use seeded_bug;

mod backup;
pub mod check;
#[cfg(feature = "cli")]
#[doc(hidden)]
#[allow(clippy::disallowed_methods)] // it opens what its user names
pub mod cli;
mod core;
mod driver;
mod engine;
#[allow(clippy::disallowed_methods)] // the door
pub mod env;
mod error;
pub mod format;
#[cfg(any(test, feature = "sim"))]
#[doc(hidden)]
pub mod fuzzing;
mod id;
mod journal;
pub mod limits;
mod log;
mod manifest;
#[cfg(any(test, feature = "sim"))]
pub mod manual;
mod metrics;
mod options;
mod record;
mod recovery;
mod scrub;
mod segment;
#[cfg(feature = "server")]
pub mod server;
mod snapshot;
mod store;
pub mod stream;
mod sync;
mod table;
mod ticket;
mod transaction;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod wire;
mod withheld;

pub use backup::BackupReport;
pub use engine::{Engine, EngineOptions};
pub use error::{Error, Fault, LostRecord, Result};
pub use format::Damage;
pub use format::batch::{RecordParts, RecordRef};
pub use id::{LogId, SegmentId, SequenceNumber, StoreId};
pub use log::{Batch, Floor, Log, LogInfo, Reader, Record, StartAt};
pub use metrics::{Health, Stats};
pub use options::{DiskChoice, Durability, LogOptions, ReadMode, StoreOptions};
pub use recovery::OpenReport;
pub use scrub::ScrubFinding;
pub use snapshot::Snapshot;
pub use store::Store;
pub use ticket::{Appended, Pending, Ticket};
pub use transaction::{Committed, Transaction};
