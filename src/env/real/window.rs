//! The end of a file as memory that is stored to.
//!
//! Who stores through a window vouches that the file is as long as the window says, for as long as it has it, and is the only one
//! who writes there.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

use memmap2::{Advice, MmapOptions, MmapRaw};

use super::super::FileWindow;

/// Pages are made ready for so many bytes at a time: for a store to each of them in turn the system needs three times as long.
const READY_BYTES: usize = 64 << 10;

/// A shared map of a part of a file that is stored to.
pub(super) struct RealWindow {
    region: MmapRaw,
    /// Where in the file it begins.
    offset: u64,
    /// So many bytes have pages behind them.
    ready: usize,
}

impl RealWindow {
    /// The range must exist, and have room reserved.
    pub(super) fn new(fd: &OwnedFd, offset: u64, len: usize) -> io::Result<RealWindow> {
        let region = MmapOptions::new().offset(offset).len(len).map_raw(fd)?;
        region.advise(Advice::DontFork)?;
        Ok(RealWindow { region, offset, ready: 0 })
    }

    /// Has the system find pages for the next bytes. Where it can't, that is an error here, and at a store it would be the end
    /// of the process.
    #[cold]
    fn make_ready(&mut self, end: usize) -> io::Result<()> {
        let upto = end.next_multiple_of(READY_BYTES).min(self.region.len());
        self.region.advise_range(Advice::PopulateWrite, self.ready, upto - self.ready)?;
        self.ready = upto;
        Ok(())
    }
}

impl FileWindow for RealWindow {
    #[inline]
    fn put(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        let start = offset.checked_sub(self.offset).and_then(|start| usize::try_from(start).ok());
        let end = start.and_then(|start| start.checked_add(data.len())).filter(|end| *end <= self.region.len());
        let (Some(start), Some(end)) = (start, end) else { return Err(io::ErrorKind::InvalidInput.into()) };
        if end > self.ready {
            self.make_ready(end)?;
        }
        // SAFETY: valid for `data.len()` bytes: the range was placed inside the map above, which `self` keeps. A raw copy makes
        // no reference to the mapped bytes. Nobody else writes them: there is one window on an end of a file, and it is `&mut`
        // here; nobody reads them before the log moved its high watermark over them. `data` is somebody's memory, and no part
        // of a map that nothing hands out. A file made shorter under the map would break it; the one who writes a segment lets
        // go of its window before the segment is removed.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), self.region.as_mut_ptr().add(start), data.len()) };
        Ok(())
    }
}
