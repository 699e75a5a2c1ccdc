//! A blob that is being fetched, in `partial/`, until it is whole and right and gets its name among the blobs.
//!
//! What an earlier fetch left there is gone on with. Locked by who fetches it; others wait, and find the blob.

use crate::draft::sync_directory;
use crate::error::Error;
use crate::layer::known_to_be;
use crate::layout::{Images, blob_name, is_named};
use registry::{Descriptor, Digest};
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, fdatasync, flock, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};

/// A blob that is being fetched: `partial/HEX`, locked.
pub(crate) struct Partial<'a> {
    images: &'a Images,
    descriptor: &'a Descriptor,
    name: String,
    file: File,
    /// How much of it is there, from whoever began it.
    pub(crate) have: u64,
}

impl<'a> Partial<'a> {
    /// Opens or begins it; waits for whoever is fetching it. `None` when it is a blob by then, unless that is damaged.
    pub(crate) fn open(
        images: &'a Images,
        descriptor: &'a Descriptor,
        damaged: bool,
    ) -> Result<Option<Partial<'a>>, Error> {
        let name = format!("partial/{}", descriptor.digest.hex());
        let failed = |source: Errno| Error::Prepare { path: images.path.join(&name), source: source.into() };
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        loop {
            let file = match openat(&images.dir, &name, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => file,
                Err(Errno::NOENT) => {
                    images.make_directories("partial").map_err(failed)?;
                    continue;
                }
                Err(error) => return Err(failed(error)),
            };
            flock(&file, FlockOperation::LockExclusive).map_err(failed)?;
            if !is_named(images.dir.as_fd(), &name, file.as_fd()).map_err(failed)? {
                if !damaged && images.has_blob(descriptor) {
                    return Ok(None);
                }
                continue;
            }
            if !damaged && images.has_blob(descriptor) {
                // We have only just made it.
                let _ = unlinkat(&images.dir, &name, AtFlags::empty());
                return Ok(None);
            }
            let file = File::from(file);
            let have = rustix::fs::fstat(&file).map_err(failed)?.st_size as u64;
            // More than all of it is something else.
            let have = if have <= descriptor.size { have } else { 0 };
            if have == 0 {
                rustix::fs::ftruncate(&file, 0).map_err(failed)?;
            }
            return Ok(Some(Partial { images, descriptor, name, file, have }));
        }
    }

    pub(crate) fn failed(&self, source: io::Error) -> Error {
        Error::Prepare { path: self.images.path.join(&self.name), source }
    }

    pub(crate) fn at_its_start(&self) -> io::Result<File> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    }

    /// Forgets what is there of it.
    pub(crate) fn begin_again(&mut self) -> Result<(), Error> {
        self.have = 0;
        self.file.set_len(0).map_err(|error| self.failed(error))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.file.metadata().is_ok_and(|file| file.len() == 0)
    }

    /// It is whole and right: it becomes a blob.
    pub(crate) fn keep(self, diff_id: &Digest) -> Result<(), Error> {
        known_to_be(&self.file, diff_id);
        let name = blob_name(&self.descriptor.digest);
        let failed = |source| Error::Keep { path: self.images.path.join(&name), source };
        fdatasync(&self.file).map_err(failed)?;
        let rename = || renameat(&self.images.dir, &self.name, &self.images.dir, &name);
        match rename() {
            Err(Errno::NOENT) => {
                let directory = format!("blobs/{}", self.descriptor.digest.algorithm());
                self.images.make_directories(&directory).and_then(|()| rename()).map_err(failed)?;
            }
            done => done.map_err(failed)?,
        }
        sync_directory(self.images, &name).map_err(failed)
    }

    pub(crate) fn remove(self) {
        let _ = unlinkat(&self.images.dir, &self.name, AtFlags::empty());
    }
}
