//! The store's one write-ahead journal: preallocated files in rotation, and the way back through them after a crash.

mod read;
mod replay;
mod ring;

pub(crate) use read::{Contents, read, read_blocks};
pub(crate) use replay::{FramePlace, Plan, Verdict, hides_a_frame, payload_is_whole, plan, survey, withheld_logs};
pub(crate) use ring::{Found, Ring, is_pristine, journal_path, number_of};
