//! A range of a file on its way to the device, without a sync of it.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Writes what the page cache has of the range and waits for it. Neither the device's own cache is flushed nor what leads to the
/// bytes written: a sync does that, and finds little to do.
pub(super) fn write_back(fd: BorrowedFd<'_>, offset: u64, len: u64) -> io::Result<()> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let (offset, len) = (i64::try_from(offset).map_err(invalid)?, i64::try_from(len).map_err(invalid)?);
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: a call with numbers only; the descriptor is open for as long as it is borrowed.
    if unsafe { libc::sync_file_range(fd.as_raw_fd(), offset, len, flags) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    // Where there is no such call, or none for us, nothing was tried and nothing is known: the sync does it all.
    let refused = [libc::ENOSYS, libc::EPERM, libc::EOPNOTSUPP, libc::EINVAL];
    if error.raw_os_error().is_some_and(|code| refused.contains(&code)) { Ok(()) } else { Err(error) }
}
