//! `mount` and `unmount`: the root of a container at a path of the host.
//!
//! It is mounted at `RUN/mounts/ID` until it is unmounted, the container is removed, or the machine is started anew. Of a
//! container that runs it is a copy of its root mount, without what is mounted in that; of one that does not, the mount that
//! its next start would make, and does not make then: two overlays over one layer would not know of each other, so the
//! start takes a copy of this one.
//!
//! A command that was killed leaves a directory, with or without the mount on it. Another `mount` takes either; `unmount`
//! and whatever removes the container's layer, a sweep too, remove both.

use super::{Found, all, ids, locked, tree};
use crate::created;
use crate::error::Error;
use crate::overlay::Layer;
use crate::rootfs::{self, OpenRoot, Opened};
use crate::rootless;
use crate::state::{self, Held, Id};
use rustix::fs::{AtFlags, CWD, FlockOperation, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount as umount};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use step::step;

/// A container's root that is mounted.
#[derive(Clone, Debug)]
pub struct Mounted {
    /// The container's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where.
    pub path: PathBuf,
}

/// Mounts the root of the container that `words` mean, and says where. One that is mounted stays as it is. For a process of
/// one thread.
pub fn mount(words: &str) -> Result<PathBuf, Error> {
    check_place()?;
    let (found, _lock) = locked(words, FlockOperation::LockExclusive)?;
    let path = place(&found.id);
    if is_mounted(&path) {
        return Ok(path);
    }
    let what = || format!("mount the root of {} at {}", found.shown(), path.display());
    step("mount-root", "to be looked at and changed until it is unmounted", what, || {
        let root = open(&found)?;
        state::make_private_directory(&path).map_err(Error::file("make", &path))?;
        let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&root, "", CWD, &path, empty).map_err(Error::file("mount on", &path))
    })?;
    Ok(path)
}

/// Unmounts it. That it is not mounted is no failure.
pub fn unmount(words: &str) -> Result<(), Error> {
    check_place()?;
    let (found, _lock) = locked(words, FlockOperation::LockExclusive)?;
    forget(&found.id)
}

/// Those that are mounted.
pub fn mounted() -> Result<Vec<Mounted>, Error> {
    check_place()?;
    let of = |found: &Found| {
        let path = place(&found.id);
        is_mounted(&path).then(|| Mounted { id: found.id.as_str().to_owned(), name: found.shown().to_owned(), path })
    };
    Ok(all().iter().filter_map(of).collect())
}

/// Whether any container's root is mounted.
pub(crate) fn is_any() -> bool {
    ids().iter().any(|id| is_mounted(&place(id)))
}

/// A copy of the mount of a container's root, if it is mounted.
pub(crate) fn copy(id: &Id) -> Result<Option<OwnedFd>, Error> {
    let path = place(id);
    if !is_mounted(&path) {
        return Ok(None);
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, &path, flags).map(Some).map_err(Error::file("mount once more", &path))
}

/// Unmounts the root of a container that is removed, and removes where it was.
pub(crate) fn forget(id: &Id) -> Result<(), Error> {
    let path = place(id);
    // Most have none, and pay for one call.
    match rustix::fs::rmdir(&path) {
        Err(Errno::BUSY) => {
            umount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).map_err(Error::file("unmount", &path))?;
            rustix::fs::rmdir(&path).map_err(Error::file("remove", &path))
        }
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::file("remove", &path)(error)),
    }
}

/// Unmounts the roots of what is no container any more: one that ended while it was mounted had removed its own before.
pub(crate) fn sweep() -> Vec<Error> {
    let names = state::file_names(&directory());
    let ids = names.iter().filter_map(|name| Id::from_file_name(name.as_encoded_bytes()));
    let gone = ids.filter(|id| !created::is_there(id) && matches!(state::try_hold(id), Ok(Held::Gone)));
    gone.filter_map(|id| forget(&id).err()).collect()
}

fn directory() -> PathBuf {
    state::run_dir().join("mounts")
}

fn place(id: &Id) -> PathBuf {
    directory().join(id.as_str())
}

/// Whether something is mounted there. [statx(2): STATX_ATTR_MOUNT_ROOT, since Linux 5.8]
pub(crate) fn is_mounted(path: &Path) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    statx(CWD, path, flags, StatxFlags::empty())
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// What an ordinary user's command mounts is seen where it runs, in the user's namespaces, and nowhere else.
fn check_place() -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    if rootless::is_rootless() && !rootless::is_seen_by_caller() { Err(Error::NotUnshared) } else { Ok(()) }
}

/// The root, attached nowhere.
fn open(found: &Found) -> Result<OwnedFd, Error> {
    let facts = found.facts()?;
    if found.is_running {
        return tree::of_running(&found.id, facts, tree::Mounted::Left);
    }
    let meant = rootfs::meant_by(facts)?;
    let mut options = super::start::options_of(found)?.clone();
    options.root.clone_from(&facts.root);
    let OpenRoot { root, .. } = rootfs::open(&meant, &options, &|| Layer::of_kept(&found.id), facts.maps.as_ref())?;
    match root {
        Opened::Layers(layers) => layers.stack(),
        Opened::Ready(root) => {
            let copied = root.as_fd().try_clone_to_owned();
            copied.map_err(|source| Error::File { what: "open the root", path: facts.root.clone().into(), source })
        }
    }
}
