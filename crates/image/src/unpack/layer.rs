//! A layer as a directory, for kernels and users without EROFS: what it takes from lower layers becomes overlayfs's marks.
//!
//! `.wh.NAME` becomes a character device 0/0 called `NAME`, unless the layer has that name itself: then a directory is
//! made opaque, and anything else hides what is below it anyway. `.wh..wh..opq` makes its directory opaque. Which names
//! are such marks is told in `marks.rs`, that the archive cannot make either mark in another way in `mod.rs`.
//!
//! An opaque directory has `trusted.overlay.opaque`; without the privilege for that `user.overlay.opaque`, which
//! overlayfs reads when it is mounted with `userxattr`, as such a user must. [Documentation/filesystems/overlayfs.rst]

use super::Unpacker;
use crate::error::Fault;
use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, XattrFlags, fsetxattr, mknodat, openat, statat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

impl Unpacker<'_> {
    /// Takes `name` of lower layers away from the current directory.
    pub(super) fn whiteout(&mut self, name: &[u8], label: &[u8]) -> Result<(), Fault> {
        let here = self.places.here();
        let made = mknodat(here, OsStr::from_bytes(name), FileType::CharacterDevice, Mode::empty(), 0);
        let made = match made {
            Err(Errno::EXIST) => match statat(here, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(there) if FileType::from_raw_mode(there.st_mode) == FileType::Directory => mark_opaque(here, name),
                there => there.map(drop),
            },
            done => done,
        };
        made.map_err(|error| self.room.fault("make", label, error))
    }

    /// Hides what lower layers have in a directory of the current one.
    pub(super) fn opaque(&mut self, name: &[u8], label: &[u8]) -> Result<(), Fault> {
        mark_opaque(self.places.here(), name).map_err(|error| self.room.fault("make opaque with", label, error))
    }
}

/// Whether `name` is a whiteout.
pub(super) fn is_whiteout(directory: BorrowedFd<'_>, name: &[u8]) -> Result<bool, Errno> {
    let there = statat(directory, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(there.st_mode) == FileType::CharacterDevice && there.st_rdev == 0)
}

/// Whether there is nothing of this name in the layer.
pub(super) fn is_gone(directory: BorrowedFd<'_>, name: &[u8]) -> Result<bool, Errno> {
    match is_whiteout(directory, name) {
        Err(Errno::NOENT) => Ok(true),
        done => done,
    }
}

/// Makes a directory opaque.
pub(super) fn mark_opaque(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(parent, OsStr::from_bytes(name), flags, Mode::empty())?;
    let set = |attribute| fsetxattr(&directory, attribute, b"y", XattrFlags::empty());
    match set("trusted.overlay.opaque") {
        Err(Errno::PERM) => set("user.overlay.opaque"),
        done => done,
    }
}
