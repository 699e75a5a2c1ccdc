//! What is being written: a file or a directory in the store's `new/`, locked until it has its final name.
//!
//! Dropped, it goes. Left behind by a killed process, it is not locked, and [`Images::sweep`] removes it.

use crate::error::Error;
use crate::layout::{Images, is_named, names_in, open_directory};
use crate::lease;
use crate::remove::remove_tree;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{
    FlockOperation, IFlags, Mode, OFlags, RenameFlags, fdatasync, flock, fsync, ioctl_getflags, ioctl_setflags,
    mkdirat, openat, renameat, renameat_with, syncfs,
};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// Something in `new/`.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    images: &'a Images,
    name: String,
    /// The file, or the directory.
    pub(crate) file: File,
    is_directory: bool,
    kept: bool,
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl<'a> Draft<'a> {
    /// A new empty file, open for reading and writing.
    pub(crate) fn file(images: &'a Images) -> Result<Draft<'a>, Error> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Draft::new(images, false, |dir, name| openat(dir, name, flags, Mode::RUSR | Mode::WUSR))
    }

    /// A new empty directory of mode 0777, for a tree that others could enter if they could come here.
    pub(crate) fn directory(images: &'a Images) -> Result<Draft<'a>, Error> {
        Draft::new(images, true, |dir, name| {
            spread(dir);
            mkdirat(dir, name, Mode::from_raw_mode(0o777))?;
            open_directory(dir, Path::new(name))
        })
    }

    fn new(
        images: &'a Images,
        is_directory: bool,
        make: impl Fn(BorrowedFd<'_>, &str) -> Result<OwnedFd, Errno>,
    ) -> Result<Draft<'a>, Error> {
        let failed = |source: Errno| Error::Prepare { path: images.path.join("new"), source: source.into() };
        // Between its making and its locking a sweep may lock or even remove it: then another is made.
        loop {
            let name = format!("new/{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let file = match make(images.dir.as_fd(), &name) {
                Ok(file) => file,
                Err(Errno::EXIST) => continue,
                Err(Errno::NOENT) => {
                    images.make_directories("new").map_err(failed)?;
                    continue;
                }
                Err(error) => return Err(failed(error)),
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if is_named(images.dir.as_fd(), &name, file.as_fd()).map_err(failed)? => {
                    return Ok(Draft { images, name, file: File::from(file), is_directory, kept: false });
                }
                Ok(()) | Err(Errno::WOULDBLOCK) => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Writes it to disk and gives it its final name in the store. What has that name already is the same content: a
    /// file is replaced by it, a directory left.
    pub(crate) fn keep(mut self, name: &str) -> Result<(), Error> {
        let path = self.images.path.join(name);
        let failed = |source| Error::Keep { path: path.clone(), source };
        if self.is_directory { syncfs(&self.file) } else { fdatasync(&self.file) }.map_err(failed)?;
        let dir = self.images.dir.as_fd();
        let rename = || renameat(dir, &self.name, dir, name);
        match rename() {
            Ok(()) => self.kept = true,
            Err(Errno::NOENT) => {
                let parent = Path::new(name).parent().and_then(Path::to_str).unwrap_or_default();
                self.images.make_directories(parent).and_then(|()| rename()).map_err(failed)?;
                self.kept = true;
            }
            Err(Errno::EXIST | Errno::NOTEMPTY) if self.is_directory => {}
            Err(error) => return Err(failed(error)),
        }
        sync_directory(self.images, name).map_err(failed)
    }
}

/// Tells the file system that the trees in `new/` have nothing to do with each other: ext2 to ext4 then put each where
/// the disk is emptiest (elsewhere it is an error, and of no consequence). Several that are written at once are out of
/// each other's way; and without a journal, ext4 passes over every inode that was freed in the last minutes, one by one,
/// for each file that it makes: where a layer of 13,000 files had just been removed, each file of the next cost 0.9 ms
/// instead of 0.04.
fn spread(dir: BorrowedFd<'_>) {
    /// `FS_TOPDIR_FL` of the kernel's headers. [chattr(1), T]
    const TOP: IFlags = IFlags::from_bits_retain(0x0002_0000);
    let Ok(new) = open_directory(dir, Path::new("new")) else { return };
    let Ok(flags) = ioctl_getflags(&new) else { return };
    if !flags.contains(TOP) {
        let _ = ioctl_setflags(&new, flags | TOP);
    }
}

/// Writes to disk that a file of the store has its name.
pub(crate) fn sync_directory(images: &Images, name: &str) -> Result<(), Errno> {
    let parent = Path::new(name).parent().filter(|parent| !parent.as_os_str().is_empty());
    fsync(open_directory(images.dir.as_fd(), parent.unwrap_or(Path::new(".")))?)
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed now is tried again, and told, by the next command's sweep.
            let _ = remove(self.images, &self.name);
        }
    }
}

/// Moves something that the caller has locked to where unfinished things are; its name there.
pub(crate) fn rename_into_new(images: &Images, name: &str) -> Result<String, Errno> {
    images.make_directories("new")?;
    loop {
        let new = format!("new/{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        match renameat_with(&images.dir, name, &images.dir, &new, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(new),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Removes something in `new/`.
pub(crate) fn remove(images: &Images, name: &str) -> Result<(), Error> {
    let (parent, name) = name.rsplit_once('/').unwrap_or((".", name));
    let dir = open_directory(images.dir.as_fd(), Path::new(parent))
        .map_err(|source| Error::Remove { path: images.path.join(parent), source })?;
    remove_tree(dir.as_fd(), OsStr::new(name))
}

impl Images {
    /// Removes what killed processes left in `new/` and `leases/`. Goes on after an error and returns them all.
    pub fn sweep(&self) -> Vec<Error> {
        let mut errors: Vec<Error> = lease::sweep(self).err().into_iter().collect();
        match names_in(self, "new") {
            Ok(names) => {
                errors.extend(names.iter().filter_map(|name| sweep_one(self, &format!("new/{name}")).err()));
            }
            Err(error) => errors.push(error),
        }
        errors
    }
}

fn sweep_one(images: &Images, name: &str) -> Result<(), Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let path = || images.path.join(name);
    let file = match openat(&images.dir, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(()),
        Err(source) => return Err(Error::Remove { path: path(), source }),
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(()),
        Err(source) => return Err(Error::Lock { path: path(), source }),
    }
    // It may have been given its name since it was opened: then it is no longer ours to remove.
    match is_named(images.dir.as_fd(), name, file.as_fd()) {
        Ok(true) => step::step(
            "sweep-image",
            "whoever wrote it is gone",
            || format!("remove {:?}", path()),
            || remove(images, name),
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_spread_over_the_disk() {
        const EXT4: i64 = 0xef53;
        let data = std::env::temp_dir().join(format!("image-draft-{}", std::process::id()));
        let images = Images::open(&data).unwrap();
        let new = open_directory(images.dir.as_fd(), Path::new("new")).unwrap();
        for _ in 0..2 {
            let draft = Draft::directory(&images).unwrap();
            let draft = ioctl_getflags(&draft.file).unwrap_or(IFlags::empty()).bits();
            assert_eq!(draft & 0x2_0000, 0, "what belongs to one tree stays together");
            if rustix::fs::fstatfs(&new).unwrap().f_type == EXT4 {
                assert_ne!(ioctl_getflags(&new).unwrap().bits() & 0x2_0000, 0);
            }
        }
        std::fs::remove_dir_all(&data).unwrap();
    }
}
