//! Several logs as of one journal frame.

use crate::error::{Error, Result};
use crate::id::{FrameNumber, SequenceNumber};
use crate::log::{Bound, Log, Reader, StartAt};

/// Several logs as of one journal frame.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let store = braidlog::Store::open(dir.path())?;
/// let (a, b) = (store.create_log("a", Default::default())?, store.create_log("b", Default::default())?);
/// a.append("before")?;
/// let snapshot = store.snapshot(&[&a, &b]);
/// a.append("after")?;
/// assert_eq!(snapshot.read(&a, braidlog::StartAt::TrimHorizon)?.count(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) frame: FrameNumber,
    pub(crate) ends: Vec<(Log, SequenceNumber)>,
}

impl Snapshot {
    /// The journal frame it shows.
    pub fn frame(&self) -> u64 {
        self.frame
    }

    /// The end of a log in it.
    ///
    /// # Errors
    /// [`Error::NoSuchLog`] for a log that was not named when it was taken.
    pub fn end(&self, log: &Log) -> Result<SequenceNumber> {
        let found = self.ends.iter().find(|(l, _)| l.id() == log.id());
        found.map(|(_, end)| *end).ok_or_else(|| Error::NoSuchLog { name: log.name().to_owned() })
    }

    /// A reader that ends where the snapshot does.
    ///
    /// # Errors
    /// As [`Log::read`] and [`Snapshot::end`].
    pub fn read(&self, log: &Log, start: StartAt) -> Result<Reader> {
        Reader::new(log.clone(), start, Bound::Fixed(self.end(log)?))
    }
}
