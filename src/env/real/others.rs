//! Whether a file is anybody else's too.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};

/// Whether nothing but this open file refers to the file: no other descriptor and no mapping, of whatever process. Only of use for a
/// file without a name, which nobody can open any more. Where the system can't tell, the answer is no.
///
/// It is what the kernel gives a write lease for, which goes back at once.
pub(super) fn is_alone(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: calls with numbers only; the descriptor is open for as long as it is borrowed.
    let lease = |kind: libc::c_int| unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETLEASE, kind) } == 0;
    lease(libc::F_WRLCK) && lease(libc::F_UNLCK)
}
