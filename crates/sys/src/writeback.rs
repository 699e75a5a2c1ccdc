//! Writing back: what is in the page cache goes to the disk. [sync_file_range(2)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Begins to write back a range of a file, and does not wait for it. It says nothing of whether that came to pass: fsync
/// does.
pub fn begin(file: BorrowedFd<'_>, offset: u64, length: u64) -> io::Result<()> {
    let out_of_range = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let (offset, length) = (i64::try_from(offset).map_err(out_of_range)?, i64::try_from(length).map_err(out_of_range)?);
    // SAFETY: the call takes numbers only; the kernel reads and writes no memory of ours.
    let done = unsafe { libc::sync_file_range(file.as_raw_fd(), offset, length, libc::SYNC_FILE_RANGE_WRITE) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
