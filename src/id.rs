//! Identities that must not be mixed up.

use std::fmt;

/// Order of a record within its log: dense from 0, never used twice.
pub type SequenceNumber = u64;

/// Number of a journal frame. Frames are numbered through the whole life of a store, across generations.
pub(crate) type FrameNumber = u64;

/// Identity of a log. A deleted name that is created again is another log with another id.
///
/// The low 12 bits are a hash of the name and the rest a counter, so that name and id lead to the same
/// page of the manifest.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// let store = braidlog::Store::open(dir.path())?;
/// let first = store.create_log("clicks", Default::default())?.id();
/// store.delete_log("clicks")?;
/// assert_ne!(store.create_log("clicks", Default::default())?.id(), first);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogId(pub(crate) u64);

impl LogId {
    /// How many low bits of an id are its bucket.
    pub(crate) const BUCKET_BITS: u32 = 12;
    /// How many buckets there are.
    pub(crate) const BUCKETS: u16 = 1 << Self::BUCKET_BITS;

    pub(crate) fn new(counter: u64, name: &str) -> LogId {
        LogId(counter << Self::BUCKET_BITS | u64::from(Self::bucket_of(name)))
    }

    /// The bucket of a name: a hash that never changes, because it is on disk.
    pub(crate) fn bucket_of(name: &str) -> u16 {
        // FNV-1a with a final fold; names are chosen by the store's owner, so flooding one bucket harms only its author.
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for byte in name.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        ((hash ^ hash >> 24 ^ hash >> 48) & u64::from(Self::BUCKETS - 1)) as u16
    }

    pub(crate) fn bucket(self) -> u16 {
        (self.0 & u64::from(Self::BUCKETS - 1)) as u16
    }

    /// The id as a number, as `braidlog dump` prints it.
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogId({:#x})", self.0)
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Identity of a segment: unique in its store, never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SegmentId(pub(crate) u64);

impl SegmentId {
    /// The id as a number, as it appears in file names.
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// 128 random bits that say which store a file came from. A backup gets a new store id but keeps the origin id, under
/// which its files were checksummed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoreId(pub(crate) [u8; 16]);

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreId({self})")
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
