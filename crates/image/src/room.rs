//! Room on disk: an archive that claims (or decompresses to) more than there is fails before the disk is full.

use crate::error::Fault;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// What an entry takes on disk besides its content, roughly: an inode and a name.
pub(crate) const ENTRY_COST: u64 = 512;

/// How much room is left for what is made of an archive.
#[derive(Default)]
pub(crate) struct Room {
    /// Bytes that may be taken before the file system is asked again.
    credit: u64,
    /// Bytes taken so far, content and names.
    taken: u64,
}

impl Room {
    /// Takes `bytes` of the file system that `root` is on, for the entry `label`.
    pub(crate) fn take(&mut self, root: BorrowedFd<'_>, bytes: u64, label: &[u8]) -> Result<(), Fault> {
        /// Asking costs a system call, not asking lets others who write at the same time go unseen.
        const ASK_EVERY: u64 = 64 << 20;
        self.taken = self.taken.saturating_add(bytes);
        if bytes > self.credit {
            let all = rustix::fs::fstatvfs(root).map_err(|error| self.fault("find room for", label, error))?;
            let free = all.f_bavail.saturating_mul(all.f_frsize);
            if bytes > free {
                return Err(self.fault("make", label, Errno::NOSPC));
            }
            self.credit = free.min(bytes.saturating_add(ASK_EVERY));
        }
        self.credit -= bytes;
        Ok(())
    }

    /// A failure with the entry `label`: a full disk is one of its own.
    pub(crate) fn fault(&self, act: &'static str, label: &[u8], source: Errno) -> Fault {
        let entry = shown(label);
        match source {
            Errno::NOSPC | Errno::DQUOT => Fault::NoSpace { entry, written: self.taken },
            source => Fault::Make { act, entry, source },
        }
    }
}

/// A name fit for a message.
pub(crate) fn shown(name: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(name))
}
