//! The store's one write-ahead journal: preallocated files in rotation, and the way back through them after a crash.

mod replay;
mod ring;

pub(crate) use replay::{FramePlace, Plan, Verdict, plan};
pub(crate) use ring::{Found, Ring, is_pristine, journal_path};
