//! The only door to disk, clock and randomness.
//!
//! Everything above this module is deterministic: it opens no file, reads no clock and draws no random number except
//! through an [`Env`]. Tests hand the store a simulated disk, a clock they wind and a seeded generator, and whole
//! histories then run from one seed.

mod buffer;
mod clock;
mod disk;
pub(crate) mod names;
mod pace;
pub(crate) mod real;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
#[cfg(feature = "server")]
mod test_clock;

use std::path::Path;
use std::sync::Arc;

pub(crate) use buffer::SparseBuf;
pub use buffer::{AlignedBuf, BLOCK};
pub use clock::{Clock, SystemClock};
pub use disk::{
    Access, Completion, DirEntry, Disk, DiskFile, DiskKind, DiskLock, DiskOp, FileWindow, LockMode, Mapping, Space,
    Wait, WriteQueue,
};
pub(crate) use pace::Pace;
pub use real::RealDisk;
#[cfg(feature = "server")]
pub use test_clock::TestClock;

/// Where salts, store ids and log identities come from.
pub trait Random: Send + Sync {
    /// The next 64 random bits.
    fn next_u64(&self) -> u64;
}

/// The system's own source of randomness.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn next_u64(&self) -> u64 {
        real::random_u64()
    }
}

/// The parts a store runs on: a disk rooted at the store's directory, a clock, and randomness.
///
/// Embedders never build one: [`crate::Store::open`] does. Tests do, to put a simulated disk or a manual clock below
/// the engine.
///
/// ```
/// # fn main() -> braidlog::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// use braidlog::env::Env;
/// use braidlog::{Store, StoreOptions};
/// // The parts as `Store::open` takes them; any of them may be another.
/// let env = Env::system(dir.path()).unwrap();
/// let store = Store::open_in(env, StoreOptions::new())?;
/// assert!(store.open_report().created);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Env {
    /// Files and folders below the store's directory.
    pub disk: Arc<dyn Disk>,
    /// Wall and monotonic time.
    pub clock: Arc<dyn Clock>,
    /// Salts and identities.
    pub random: Arc<dyn Random>,
}

impl Env {
    /// What nothing else in the world is likely to have: an identity, or a secret.
    pub(crate) fn random_bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.random.next_u64().to_le_bytes());
        bytes[8..].copy_from_slice(&self.random.next_u64().to_le_bytes());
        bytes
    }

    pub(crate) fn for_options(root: &Path, options: &crate::options::StoreOptions) -> std::io::Result<Env> {
        let disk = match options.disk {
            crate::options::DiskChoice::Auto => RealDisk::open(root)?,
            crate::options::DiskChoice::Portable => RealDisk::portable(root)?,
        };
        Ok(Env { disk: Arc::new(disk), clock: Arc::new(SystemClock::new()), random: Arc::new(SystemRandom) })
    }

    /// The real disk below `root`, the system clock and the system's randomness.
    ///
    /// io_uring is used where the kernel permits it, positioned writes elsewhere.
    ///
    /// # Errors
    /// The directory can't be made or opened.
    pub fn system(root: &Path) -> std::io::Result<Env> {
        Ok(Env {
            disk: Arc::new(RealDisk::open(root)?),
            clock: Arc::new(SystemClock::new()),
            random: Arc::new(SystemRandom),
        })
    }
}
