//! Copy-on-write: a writable layer of the container's own over a root that it shares.
//!
//! The overlay is mounted detached: it has no place in the host's mount table, and goes with the last process that
//! holds it. On disk there is `/var/lib/mycontainer/containers/ID/{upper,work}`, removed with the container.
//!
//! Where the layer goes with the container, `volatile` leaves out every sync of it: a crash of the machine can cost
//! nothing. The layer of one that stays is mounted once more at each start, and keeps what was synced.
//! [Documentation/filesystems/overlayfs.rst, volatile: since Linux 5.10]

use crate::error::Error;
use crate::rootless;
use crate::state::{self, Id};
use crate::userns::Maps;
use crate::userns::mounts::Mapper;
use image::archive::Marks;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use step::step;

/// A container's writable layer.
#[derive(Debug)]
pub(crate) struct Layer {
    dir: OwnedFd,
    path: PathBuf,
    stays: bool,
}

impl Layer {
    /// The layer of a container that stays, whose directory is there.
    pub(crate) fn of_kept(id: &Id) -> Result<Layer, Error> {
        let path = state::layer_path(id);
        let dir = open_directory(&path).map_err(Error::file("open the container's layer", &path))?;
        Ok(Layer { dir, path, stays: true })
    }

    /// A layer that goes with its container, in a directory that is there.
    pub(crate) fn at(path: PathBuf) -> Result<Layer, Error> {
        let dir = open_directory(&path).map_err(Error::file("open the layer", &path))?;
        Ok(Layer { dir, path, stays: false })
    }

    /// Makes the directory of a layer that goes with its container.
    pub(crate) fn make(id: &Id) -> Result<Layer, Error> {
        let path = state::layer_path(id);
        let make = || {
            match rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700)) {
                Err(Errno::NOENT) => {
                    state::make_private_directory(&state::layers_dir())?;
                    rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700))
                }
                // What it prints goes there, too.
                Err(Errno::EXIST) => Ok(()),
                done => done,
            }?;
            open_directory(&path)
        };
        let what = || format!("make {}", path.display());
        let dir = step("make-layer", "what the container writes goes here", what, make)
            .map_err(Error::file("make the container's layer", &path))?;
        Ok(Layer { dir, path, stays: false })
    }

    /// The same layer, its owners mapped. What is mounted over it has to lie on one mount, so all of it is.
    pub(crate) fn mapped(self, by: &Mapper) -> Result<Layer, Error> {
        Ok(Layer { dir: by.mount(&self.dir, &self.path)?, ..self })
    }

    /// An overlay of this layer over directories, the lowest first. `part` names the pair of directories on disk.
    pub(crate) fn over(&self, lower: &[OwnedFd], shown: &Path, part: &str) -> Result<OwnedFd, Error> {
        self.mount(shown, || {
            let (upper, work) = self.directories(lower, part)?;
            mount_overlay(lower, &upper, &work, self.stays, MountAttrFlags::empty())
        })
    }

    fn mount(&self, shown: &Path, mount: impl FnOnce() -> Result<OwnedFd, Errno>) -> Result<OwnedFd, Error> {
        let what = || format!("mount an overlay over {}", shown.display());
        step("mount-overlay", "writing changes a layer of its own, not what is shared", what, mount).map_err(|source| {
            match source {
                Errno::NODEV => Error::NoOverlay(shown.to_owned()),
                Errno::PERM => Error::NoAdmin,
                source => Error::Overlay { lower: shown.to_owned(), source },
            }
        })
    }

    /// The pair of directories of one overlay.
    fn directories(&self, lower: &[OwnedFd], part: &str) -> Result<(OwnedFd, OwnedFd), Errno> {
        let upper = self.subdirectory(&format!("{part}upper"))?;
        let work = self.subdirectory(&format!("{part}work"))?;
        // An upper directory hides the mode and owner of the lower one, so it takes them over. One that stays has them
        // since it was created, or by now has others that its programs have set.
        if let Some(top) = lower.last().filter(|_| !self.stays) {
            copy_attributes(top, &self.dir, &format!("{part}upper"))?;
        }
        Ok((upper, work))
    }

    /// The upper directory alone, with the mode and owner of the root's top.
    /// Where its files were copied for other owners, with that of theirs.
    pub(crate) fn upper_like(&self, top: &OwnedFd, maps: Option<&Maps>) -> Result<(), Errno> {
        use rustix::fs::{AtFlags, Gid, Uid, chownat, fstat};
        self.subdirectory("upper")?;
        copy_attributes(top, &self.dir, "upper")?;
        let Some(maps) = maps.filter(|maps| maps.is_copied) else { return Ok(()) };
        let stat = fstat(top)?;
        let owner = maps.outside(stat.st_uid, stat.st_gid).or_else(|| maps.outside(0, 0));
        owner.map_or(Ok(()), |(uid, gid)| {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            chownat(&self.dir, "upper", Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        })
    }

    /// A directory of the layer, made when it is missing. The upper directory's mode and owner are the root's own.
    pub(crate) fn subdirectory(&self, name: &str) -> Result<OwnedFd, Errno> {
        match rustix::fs::mkdirat(&self.dir, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.dir, name, flags, Mode::empty())
    }

    /// Where it is, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Gives a directory the mode and owner of another, with no system call more than needed.
pub(crate) fn copy_attributes(from: &OwnedFd, parent: &OwnedFd, name: &str) -> Result<(), Errno> {
    use rustix::fs::{AtFlags, Gid, Uid, chmodat, chownat, fstat, statat};
    let (like, is) = (fstat(from)?, statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?);
    if (like.st_uid, like.st_gid) != (is.st_uid, is.st_gid) {
        let (uid, gid) = (Uid::from_raw(like.st_uid), Gid::from_raw(like.st_gid));
        match chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW) {
            // Of whom a user has no number, as of root's: then it is the user's, who could not have made the other either.
            Err(Errno::INVAL) if rootless::is_rootless() => {}
            done => done?,
        }
    }
    if like.st_mode != is.st_mode {
        chmodat(parent, name, Mode::from_raw_mode(like.st_mode & 0o7777), AtFlags::empty())?;
    }
    Ok(())
}

fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn mount_overlay(
    lower: &[OwnedFd],
    upper: &OwnedFd,
    work: &OwnedFd,
    stays: bool,
    rights: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    let fs = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, c"source", c"mycontainer")?;
    set_lower(&fs, &lower.iter().rev().collect::<Vec<_>>())?;
    fsconfig_set_string(&fs, c"upperdir", path(upper))?;
    fsconfig_set_string(&fs, c"workdir", path(work))?;
    if !stays {
        fsconfig_set_flag(&fs, c"volatile")?;
    }
    // Where a kernel does these by itself, a renamed directory or a changed mode would be in the upper directory in a
    // way that no layer of an image can say, and `commit` would fail. Docker's overlays are without them, too.
    // "Off" may still follow what is there, which does not go with marks that anyone could set.
    fsconfig_set_string(&fs, c"redirect_dir", c"nofollow")?;
    fsconfig_set_string(&fs, c"metacopy", c"off")?;
    keep_marks_where_allowed(&fs)?;
    fsconfig_create(&fs)?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, rights)
}

/// Opaque directories are marked by an attribute `trusted.overlay.opaque`, which only root of the host may set; in a user
/// namespace it is `user.overlay.opaque`. [overlayfs.rst, userxattr: since Linux 5.11]
fn keep_marks_where_allowed(fs: &OwnedFd) -> Result<(), Errno> {
    if sys::namespace::is_first_user() { Ok(()) } else { fsconfig_set_flag(fs, c"userxattr") }
}

/// How the layers that are mounted here are marked.
pub(crate) fn marks() -> Marks {
    if sys::namespace::is_first_user() { Marks::Trusted } else { Marks::User }
}

/// The layer of a container that stays and does not run, over its root, to be written to; the caller has the container
/// alone.
pub(crate) fn writable(lower: &[OwnedFd], id: &Id, shown: &Path, rights: MountAttrFlags) -> Result<OwnedFd, Error> {
    let layer = Layer::of_kept(id)?;
    layer.mount(shown, || {
        let (upper, work) = layer.directories(lower, "")?;
        mount_overlay(lower, &upper, &work, true, rights)
    })
}

/// One tree of layers, to be read: the lowest first, a mount of a whole tree being one of them. `upper` is the path of a
/// container's own layer above them.
pub(crate) fn read_only(lower: &[OwnedFd], upper: Option<&Path>, shown: &Path) -> Result<OwnedFd, Error> {
    let failed = |source| match source {
        Errno::NODEV => Error::NoOverlay(shown.to_owned()),
        Errno::PERM => Error::NoAdmin,
        source => Error::Overlay { lower: shown.to_owned(), source },
    };
    let mount = || {
        let upper = upper.map(open_directory).transpose()?;
        let fs = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&fs, c"source", c"mycontainer")?;
        set_lower(&fs, &upper.iter().chain(lower.iter().rev()).collect::<Vec<_>>())?;
        keep_marks_where_allowed(&fs)?;
        fsconfig_create(&fs)?;
        fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)
    };
    mount().map_err(failed)
}

/// Names the layers that are only read, from the topmost on; without an upper directory there must be two.
fn set_lower(fs: &OwnedFd, layers: &[&OwnedFd]) -> Result<(), Errno> {
    /// What fsconfig takes in one value, with its end.
    const MOST: usize = 256;
    let all = layers.iter().map(|dir| path(dir)).collect::<Vec<_>>().join(":");
    if all.len() < MOST {
        fsconfig_set_string(fs, c"lowerdir", all)
    } else {
        // Since Linux 6.5.
        layers.iter().try_for_each(|dir| fsconfig_set_string(fs, c"lowerdir+", path(dir)))
    }
}

/// By descriptor: a path may hold the `:` and `,` that overlay's options are split at, or be longer than what fsconfig
/// takes.
fn path(dir: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", dir.as_raw_fd())
}

/// Removes a container's layer, whatever the container put into it.
pub(crate) fn remove_layer(id: &Id) -> Result<(), Error> {
    crate::containers::mount::forget(id)?;
    let dir = match open_directory(&state::layers_dir()) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(Error::file("open", state::layers_dir())(errno)),
    };
    let layer = rustix::fs::statat(&dir, id.as_str(), rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
    if layer.is_err_and(|errno| errno == Errno::NOENT) {
        return Ok(());
    }
    crate::spare::let_go(&state::layer_path(id))?;
    let what = || format!("remove {}", state::layer_path(id).display());
    step("remove-layer", "nothing written stays", what, || {
        image::remove_tree(dir.as_fd(), std::ffi::OsStr::new(id.as_str())).map_err(Error::from)
    })
}
