//! What a running command needs although no image names it yet: so that nobody's `prune` takes it away.
//!
//! One file a command in `leases/`, a digest a line, locked as long as the command lives. Whoever removes things reads
//! all that are locked, under the store's exclusive lock; whoever needs something says so first, under the shared lock,
//! and looks whether it is there only then.

use crate::error::Error;
use crate::layout::{Images, names_in};
use registry::Digest;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, openat, unlinkat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering};

/// A command's needs. They end when it is dropped, or its process ends.
#[derive(Debug)]
pub(crate) struct Lease<'a> {
    images: &'a Images,
    file: File,
    name: String,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl<'a> Lease<'a> {
    /// A new one, that needs nothing yet.
    pub(crate) fn new(images: &'a Images) -> Result<Lease<'a>, Error> {
        // Nobody takes it for a dead one's before it is locked: that takes the exclusive lock.
        let _lock = images.lock(FlockOperation::LockShared)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::APPEND;
        loop {
            let name = format!("leases/{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let failed = |source| Error::Lock { path: images.path.join(&name), source };
            match openat(&images.dir, &name, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => {
                    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(failed)?;
                    return Ok(Lease { images, file: File::from(file), name });
                }
                Err(Errno::EXIST) => {}
                Err(Errno::NOENT) => images.make_directories("leases").map_err(failed)?,
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// From now on these are needed. Look whether they are there only after this.
    pub(crate) fn need<'d>(&self, digests: impl Iterator<Item = &'d Digest>) -> Result<(), Error> {
        let text: String = digests.flat_map(|digest| [digest.as_str(), "\n"]).collect();
        let _lock = self.images.lock(FlockOperation::LockShared)?;
        (&self.file)
            .write_all(text.as_bytes())
            .map_err(|source| Error::Write { path: self.images.path.join(&self.name), source })
    }
}

/// Needs that end when the store is closed.
#[derive(Debug)]
pub(crate) struct Held {
    dir: OwnedFd,
    _locked: File,
    name: String,
}

impl Lease<'_> {
    /// From now on this lasts as long as the store is open.
    pub(crate) fn hold(mut self) -> Result<(), Error> {
        let failed = |source| Error::Prepare { path: self.images.path.join(&self.name), source };
        let (dir, locked) = (self.images.dir.try_clone().map_err(failed)?, self.file.try_clone().map_err(failed)?);
        let held = Held { dir, _locked: locked, name: std::mem::take(&mut self.name) };
        self.images.held.lock().unwrap_or_else(PoisonError::into_inner).push(held);
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = unlinkat(&self.dir, &self.name, AtFlags::empty());
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            let _ = unlinkat(&self.images.dir, &self.name, AtFlags::empty());
        }
    }
}

/// Removes the leases of dead commands, unless the store is busy: then another command does it.
pub(crate) fn sweep(images: &Images) -> Result<(), Error> {
    if names_in(images, "leases")?.is_empty() {
        return Ok(());
    }
    match images.lock(FlockOperation::NonBlockingLockExclusive) {
        Ok(_lock) => needed(images).map(drop),
        Err(Error::Lock { source: Errno::WOULDBLOCK, .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What living commands need. Removes the leases of dead ones. The caller holds the store's exclusive lock.
pub(crate) fn needed(images: &Images) -> Result<HashSet<String>, Error> {
    let mut needed = HashSet::new();
    for name in names_in(images, "leases")? {
        let name = format!("leases/{name}");
        let mut file = match images.open_file(&name) {
            Ok(file) => file,
            Err(Errno::NOENT) => continue,
            Err(source) => return Err(Error::Lock { path: images.path.join(name), source }),
        };
        match flock(file.as_fd(), FlockOperation::NonBlockingLockShared) {
            Ok(()) => {
                let _ = unlinkat(&images.dir, &name, AtFlags::empty());
            }
            Err(Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let read = file.read_to_string(&mut text);
                read.map_err(|source| Error::Blob { path: images.path.join(name), source })?;
                needed.extend(text.lines().filter_map(|line| line.split_once(':')).map(|(_, hex)| hex.to_owned()));
            }
            Err(source) => return Err(Error::Lock { path: images.path.join(name), source }),
        }
    }
    Ok(needed)
}
