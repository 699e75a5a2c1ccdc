//! Where the tree of an image is mounted: once, from its first container to its removal or the end of the boot.
//!
//! All containers of an image read it through this one mount. So they share its page cache (a program that a hundred
//! containers run is in memory once), and only the first of them pays for the mount and for reading the program anew.
//!
//! The place is `DATA/images/mounts/HEX`, by the id of the image. Nobody but root gets there (the store is 0700),
//! and what is mounted gives no rights of its own (nosuid, nodev: the overlay on top decides about those). A mount is
//! made under the lock (flock) of the directory that it covers. It goes with the tree, in `gc`, which also takes away
//! what a `kill -9` left: a directory without a mount. In other mount namespaces it ends with the removal of the
//! directory. [umount(2); rename(2) and rmdir(2) of a mount point in another namespace, since Linux 3.18]

use crate::error::Error;
use crate::images::Image;
use crate::layer::Form;
use crate::layout::{Images, names_in, open_directory};
use crate::mount::MountError;
use crate::receive::form_asked_for;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, StatxAttributes, StatxFlags, flock, openat, statx, unlinkat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};
use std::path::Path;

/// The directory of the places.
const PLACES: &str = "mounts";
/// How often a removal of the place by another process is met with a new one.
const ATTEMPTS: usize = 8;

impl Images {
    /// The tree of an image, if it is mounted.
    pub fn mounted(&self, image: &Image) -> Option<OwnedFd> {
        let is_wanted = !matches!(form_asked_for(), Ok(Some(Form::Directory)));
        if is_wanted { self.kept(image.id.hex()) } else { None }
    }

    /// Whether the tree of the image with this id, without `sha256:`, is mounted.
    pub fn is_mounted(&self, hex: &str) -> bool {
        self.kept(hex).is_some()
    }

    /// The kept mount of the image with this id, if there is one.
    pub(crate) fn kept(&self, hex: &str) -> Option<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = openat(&self.dir, format!("{PLACES}/{hex}"), flags, Mode::empty()).ok()?;
        is_mount(&place).then_some(place)
    }

    /// Attaches a new mount of the tree where the next container finds it; that of another process, if it was faster.
    pub(crate) fn keep(&self, hex: &str, mount: OwnedFd) -> Result<OwnedFd, MountError> {
        let failed = |source| MountError { act: "attach the image in the store", source };
        let name = format!("{PLACES}/{hex}");
        for _ in 0..ATTEMPTS {
            self.make_directories(&name).map_err(failed)?;
            match open_directory(self.dir.as_fd(), Path::new(&name)) {
                Ok(place) => flock(place.as_fd(), FlockOperation::LockExclusive).map(|()| place),
                Err(error) => Err(error),
            }
            .and_then(|_locked| match self.kept(hex) {
                Some(_) => Ok(()),
                None => move_mount(&mount, "", &self.dir, &name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH),
            })
            .or_else(|error| if error == Errno::NOENT { Ok(()) } else { Err(failed(error)) })?;
            if let Some(kept) = self.kept(hex) {
                return Ok(kept);
            }
        }
        Err(failed(Errno::NOENT))
    }

    /// Takes a mount away, if there is one: containers that run keep what they have.
    pub(crate) fn drop_kept(&self, hex: &str) -> Result<(), Error> {
        let path = self.path.join(PLACES).join(hex);
        let failed = |source| Error::Remove { path: path.clone(), source };
        while self.kept(hex).is_some() {
            unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).map_err(failed)?;
        }
        match unlinkat(&self.dir, format!("{PLACES}/{hex}"), AtFlags::REMOVEDIR) {
            // Another process has mounted it meanwhile, and will find out that its files are gone when they are needed.
            Ok(()) | Err(Errno::NOENT | Errno::BUSY) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    /// Takes away the mounts of all trees that are not needed. Goes on after an error and returns them all.
    pub(crate) fn drop_kept_but(&self, is_needed: impl Fn(&str) -> bool) -> Result<Vec<Error>, Error> {
        let names = names_in(self, PLACES)?;
        Ok(names.iter().filter(|hex| !is_needed(hex)).filter_map(|hex| self.drop_kept(hex).err()).collect())
    }
}

/// [statx(2): STATX_ATTR_MOUNT_ROOT, since Linux 5.8]
fn is_mount(place: &OwnedFd) -> bool {
    statx(place, "", AtFlags::EMPTY_PATH, StatxFlags::empty())
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}
