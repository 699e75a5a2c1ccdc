//! The lowest layer of a container made of an image: the places where something is mounted in every container.
//!
//! An image need not have them, and without this layer they would be made in the container's own: each of them a file or
//! directory to make and to remove with every container, and something that `commit` would take for the container's
//! work. `/var/lib/mycontainer/base/` is made once, stays, and never changes; it is whole when the last of [`PLACES`] is
//! there, so one that a `kill -9` left incomplete is completed by the next command.

use crate::error::Error;
use crate::state::{data_dir, make_private_directory};
use rustix::fs::{AtFlags, Mode, OFlags, chmodat, fchmod, mkdirat, openat, statat};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::Path;

/// What is mounted on: directories, and files.
const PLACES: [(&str, bool); 7] = [
    ("proc", true),
    ("sys", true),
    ("dev", true),
    ("etc", true),
    ("etc/hosts", false),
    ("etc/hostname", false),
    ("etc/resolv.conf", false),
];

/// Opens the layer, made when it is missing.
pub(crate) fn open() -> Result<OwnedFd, Error> {
    let path = data_dir().join("base");
    let make = || match open_whole(&path) {
        Err(Errno::NOENT) => {
            make_private_directory(data_dir())?;
            make(&path)?;
            open_whole(&path)
        }
        done => done,
    };
    make().map_err(Error::file("make the lowest layer", &path))
}

fn open_whole(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let base = rustix::fs::open(path, flags, Mode::empty())?;
    let [.., (last, _)] = PLACES;
    statat(&base, last, AtFlags::SYMLINK_NOFOLLOW).map(|_| base)
}

fn make(path: &Path) -> Result<(), Errno> {
    let unless_there = |done| if done == Err(Errno::EXIST) { Ok(()) } else { done };
    let rights = Mode::from_raw_mode(0o755);
    unless_there(rustix::fs::mkdir(path, rights))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let base = rustix::fs::open(path, flags, Mode::empty())?;
    // Whatever the caller's umask is: an image without an /etc has this one.
    PLACES.iter().try_for_each(|(name, is_directory)| {
        if *is_directory {
            unless_there(mkdirat(&base, *name, rights))?;
            return chmodat(&base, *name, rights, AtFlags::empty());
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fchmod(openat(&base, *name, flags, Mode::empty())?, Mode::from_raw_mode(0o644))
    })
}
