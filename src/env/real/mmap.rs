//! Files seen as memory.
//!
//! Who reads a mapping vouches for two things that no check here could: that the bytes asked for exist, because the file
//! may end before the mapping does, and that nobody writes them any more. The log does so by asking only below the high
//! watermark, where bytes are final, and by never shortening a file that is pinned.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw};

use super::super::Mapping;

/// A shared, read-only map of a file's first bytes.
pub(super) struct RealMapping {
    region: Arc<MmapRaw>,
}

impl RealMapping {
    pub(super) fn new(fd: &OwnedFd, len: u64) -> io::Result<RealMapping> {
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::Unsupported))?;
        let region = MmapOptions::new().len(len).map_raw_read_only(fd)?;
        // A child has no business with it, and a fork is spared the page tables. No advice on reading ahead: catching up
        // and tailing want opposite things, and the kernel tells them apart by itself.
        #[cfg(target_os = "linux")]
        if len > 0 {
            region.advise(memmap2::Advice::DontFork)?;
        }
        Ok(RealMapping { region: Arc::new(region) })
    }

    /// Where a range starts, if it lies in the mapping.
    fn start_of(&self, offset: u64, len: usize) -> Option<usize> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(len)?;
        (end <= self.region.len()).then_some(start)
    }
}

impl Mapping for RealMapping {
    fn bytes(&self, offset: u64, len: usize) -> Option<Bytes> {
        let start = self.start_of(offset, len)?;
        Some(Bytes::from_owner(View { region: self.region.clone(), start, len }))
    }

    fn copy_to(&self, offset: u64, out: &mut [u8]) -> bool {
        let Some(start) = self.start_of(offset, out.len()) else { return false };
        // SAFETY: valid for `out.len()` bytes: `start_of` placed the range inside the map, which `self` keeps. A raw copy
        // makes no reference to the mapped bytes, so a writer touching them at the same time can only mix old and new
        // bytes, which the checksum over the copy finds. `out` is ours alone and can't overlap a read-only map. Asking
        // for bytes behind the file's end would break it (the kernel answers with SIGBUS): the contract rules that out.
        unsafe { std::ptr::copy_nonoverlapping(self.region.as_ptr().add(start), out.as_mut_ptr(), out.len()) };
        true
    }

    /// How many results of [`Mapping::bytes`] are alive. Clones and slices of one count as that one, which lives until
    /// the last of them goes, so 0 means that no `Bytes` of this mapping is left anywhere.
    fn pins(&self) -> usize {
        let pins = Arc::strong_count(&self.region) - 1;
        // Whoever gave up the last pin did all its reading before; so what the caller does to the file on seeing 0 comes
        // after those reads.
        fence(Ordering::Acquire);
        pins
    }
}

/// The owner behind one `Bytes`: a range, and the map it lies in.
struct View {
    region: Arc<MmapRaw>,
    start: usize,
    len: usize,
}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: valid while `self` is borrowed: `start` and `len` were checked against the map's length when the view
        // was made, the map never changes its length, and `region` keeps it from being unmapped. Nobody writes the range:
        // this map is read-only, and the log asks only for bytes below the high watermark, which no writer touches again.
        // A file made shorter under the map would break it; only files that nobody has open or mapped are, also when the store
        // has another owner by then.
        unsafe { std::slice::from_raw_parts(self.region.as_ptr().add(self.start), self.len) }
    }
}
