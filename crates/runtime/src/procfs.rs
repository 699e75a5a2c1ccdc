//! The host's /proc, opened once, verified, and used by descriptor.
//!
//! A path below /proc that is looked up as a string can be led elsewhere by whatever is mounted over it
//! (CVE-2019-16884 and its kind). Here the descriptor is known to be a procfs, and nothing below it may cross a mount.

use crate::error::Error;
use rustix::fs::{CWD, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A verified procfs.
#[derive(Debug)]
pub(crate) struct Procfs(OwnedFd);

impl Procfs {
    /// The host's, at /proc.
    pub(crate) fn host() -> Result<Procfs, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, c"/proc", flags, Mode::empty()).map_err(Error::Proc)?;
        Procfs::verified(dir)
    }

    /// Takes a descriptor that must be of a procfs.
    pub(crate) fn verified(dir: OwnedFd) -> Result<Procfs, Error> {
        let stat = rustix::fs::fstatfs(&dir).map_err(Error::Proc)?;
        if stat.f_type != PROC_SUPER_MAGIC {
            return Err(Error::Proc(Errno::NODEV));
        }
        Ok(Procfs(dir))
    }

    /// Opens a path below it, never over a mount or a symlink on the way.
    pub(crate) fn open(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), how)
    }

    /// The text of a small file below it.
    pub(crate) fn read(&self, path: &str) -> Result<String, Errno> {
        let file = self.open(path, OFlags::RDONLY)?;
        let mut bytes = Vec::new();
        let mut chunk = [0u8; 4096];
        loop {
            match rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut chunk[..]))? {
                0 => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
                got => bytes.extend_from_slice(&chunk[..got]),
            }
        }
    }

    /// The calling process's own directory, by its number in the pid namespace that this procfs shows. Not `getpid()`:
    /// in a pid namespace of its own that is another number, and in the host's procfs another process.
    pub(crate) fn own(&self) -> Result<String, Errno> {
        // The link itself, which as the last component is no symlink on the way.
        let link = self.open("self", OFlags::PATH | OFlags::NOFOLLOW)?;
        let number = rustix::fs::readlinkat(&link, c"", Vec::new())?;
        number.into_string().map_err(|_| Errno::INVAL)
    }

    /// Opens the root directory of a process, which is a magic link.
    pub(crate) fn root(&self, pid: i32) -> Result<crate::root::Root, Errno> {
        let dir = self.open(&pid.to_string(), OFlags::PATH | OFlags::DIRECTORY)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(dir.as_fd(), "root", flags, Mode::empty()).map(crate::root::Root::new)
    }

    /// Opens a namespace file, which is a magic link: only its last component is followed.
    pub(crate) fn namespace(&self, pid: i32, kind: &str) -> Result<OwnedFd, Errno> {
        self.own_namespace(&pid.to_string(), kind)
    }

    /// As [`Procfs::namespace`], with the process's directory as [`Procfs::own`] has it.
    pub(crate) fn own_namespace(&self, own: &str, kind: &str) -> Result<OwnedFd, Errno> {
        let dir = self.open(&format!("{own}/ns"), OFlags::PATH | OFlags::DIRECTORY)?;
        rustix::fs::openat(dir.as_fd(), kind, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    }
}

impl AsFd for Procfs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
