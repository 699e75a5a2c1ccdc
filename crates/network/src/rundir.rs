//! The run directory and its lock.
//!
//! The lock is `flock` on the directory itself: it needs no file, and what is in the directory may come and go under
//! it. It is held for well under a millisecond, except by the janitor while it removes the bridge.

use crate::error::Error;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, mkdirat, openat};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// The directory, locked for as long as this lives.
pub(crate) struct Locked<D: AsFd = OwnedFd> {
    dir: D,
}

impl Locked {
    /// Opens and locks the directory; makes it (and what is above it) when `create`, else `None` when there is none.
    pub(crate) fn new(path: &Path, create: bool) -> Result<Option<Locked>, Error> {
        let dir = match open(CWD, path) {
            Err(Errno::NOENT) if !create => return Ok(None),
            Err(Errno::NOENT) => {
                make(path)?;
                open(CWD, path)
            }
            opened => opened,
        };
        let dir = dir.map_err(|source| fail("open", path, source))?;
        lock(&dir).map_err(|source| fail("lock", path, source))?;
        Ok(Some(Locked { dir }))
    }

    /// A second descriptor of the directory with a lock of its own.
    pub(crate) fn open_again(&self) -> Result<OwnedFd, Errno> {
        open(self.dir.as_fd(), Path::new("."))
    }
}

impl<'a> Locked<BorrowedFd<'a>> {
    /// Locks a directory that was opened before.
    pub(crate) fn of(dir: &'a OwnedFd) -> Result<Self, Errno> {
        lock(dir)?;
        Ok(Locked { dir: dir.as_fd() })
    }
}

impl<D: AsFd> Drop for Locked<D> {
    fn drop(&mut self) {
        // Said, not left to the closing: a process that was forked meanwhile has a copy of the descriptor.
        let _ = flock(&self.dir, FlockOperation::Unlock);
    }
}

impl<D: AsFd> AsFd for Locked<D> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

fn open(at: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    openat(at, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a directory in the run directory, made if `create`; `None` where there is none. What failed, and why.
pub(crate) fn subdirectory(
    run_dir: BorrowedFd<'_>,
    name: &str,
    create: bool,
) -> Result<Option<OwnedFd>, (&'static str, Errno)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let open = || openat(run_dir, name, flags, Mode::empty());
    let opened = match open() {
        Err(Errno::NOENT) if create => {
            mkdirat(run_dir, name, Mode::from_raw_mode(0o700)).map_err(|source| ("make", source))?;
            open()
        }
        Err(Errno::NOENT) => return Ok(None),
        opened => opened,
    };
    opened.map(Some).map_err(|source| ("open", source))
}

fn lock(dir: &OwnedFd) -> Result<(), Errno> {
    loop {
        match flock(dir, FlockOperation::LockExclusive) {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

fn make(path: &Path) -> Result<(), Error> {
    for part in path.ancestors().collect::<Vec<_>>().into_iter().rev().filter(|part| !part.as_os_str().is_empty()) {
        match mkdirat(CWD, part, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST | Errno::ROFS) => {}
            Err(source) => return Err(fail("create", part, source)),
        }
    }
    Ok(())
}

/// The error of an action on the directory.
pub(crate) fn fail(action: &'static str, path: &Path, source: Errno) -> Error {
    Error::RunDir { action, path: path.to_owned(), source }
}
