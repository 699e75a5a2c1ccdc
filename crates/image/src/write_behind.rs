//! A large file that is to be on disk at the end is sent there while it is written, so that the sync at its end has little
//! left to wait for: the disk and the processors work side by side.

use rustix::fd::AsFd;
use std::fs::File;

/// How much is written to the page cache before the disk is told to take it.
const STEP: u64 = 16 << 20;

/// How far a file is on its way to the disk.
#[derive(Debug, Default)]
pub(crate) struct WriteBehind {
    begun: u64,
}

impl WriteBehind {
    /// `file` is written up to `end`.
    pub(crate) fn written(&mut self, file: &File, end: u64) {
        if end >= self.begun + STEP {
            // It is only a hint: the sync at the end tells of errors.
            let _ = sys::writeback::begin(file.as_fd(), self.begun, end - self.begun);
            self.begun = end;
        }
    }
}
