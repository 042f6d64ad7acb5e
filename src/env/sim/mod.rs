//! A disk in memory that crashes, lies, fills up and rots on demand, a clock one winds, and seeded bugs.
//!
//! Three rules hold throughout:
//!
//! - **One tape.** Every choice the simulation makes is drawn from a [`Tape`], so a run is its tape: seeded, replayed,
//!   or enumerated.
//! - **Never kinder than a real disk.** Where file systems differ, the [`Profile`] says which promise is kept; the
//!   default keeps only what POSIX promises.
//! - **Breaking the contract of [`Disk`](super::Disk) panics.** Asking a mapping for bytes the file doesn't have, or
//!   shortening a file that is still named, would be a SIGBUS or lost data on a real disk.
//!
//! This module stands outside semver.

mod blocks;
pub mod bugs;
mod clock;
mod control;
mod crash;
mod disk;
mod durability;
mod fault;
mod file;
mod image;
mod inode;
mod names;
mod pick;
mod profile;
mod queue;
mod rot;
mod tape;
#[cfg(test)]
mod tests;

pub use blocks::SECTOR;
pub use clock::{ManualClock, SeededRandom};
pub use crash::{Crash, Unit};
pub use disk::SimDisk;
pub use fault::{AfterFailedSync, Errno, FaultKind, SITES, WriteFault};
pub use file::{SimFile, SimMapping};
pub use profile::Profile;
pub use queue::{SimLock, SimQueue};
pub use tape::{Choice, Tape, parse_choices, shrink};
