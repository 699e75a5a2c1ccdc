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
pub(crate) struct Room {
    /// Bytes that may be taken at most, however much there is.
    most: u64,
    /// Bytes that may be taken before the file system is asked again.
    credit: u64,
    /// Bytes taken so far, content and names.
    taken: u64,
}

impl Default for Room {
    /// As much as there is.
    fn default() -> Room {
        Room::up_to(u64::MAX)
    }
}

impl Room {
    /// As much as there is, but no more than `most` bytes.
    pub(crate) fn up_to(most: u64) -> Room {
        Room { most, credit: 0, taken: 0 }
    }

    /// Takes `bytes` of the file system that `root` is on, for the entry `label`.
    pub(crate) fn take(&mut self, root: BorrowedFd<'_>, bytes: u64, label: &[u8]) -> Result<(), Fault> {
        /// Asking costs a system call, not asking lets others who write at the same time go unseen.
        const ASK_EVERY: u64 = 64 << 20;
        self.taken = self.taken.saturating_add(bytes);
        if self.taken > self.most {
            return Err(Fault::TooBig { entry: shown(label), limit: self.most });
        }
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
