//! The layer of an image's next container is made while one of its containers runs.
//!
//! To make a writable layer, to mount an overlay over it and to remove both is most of what a container of an image costs
//! more than one of a directory: on a file system that tells its device about each directory that it frees (`discard`,
//! without a journal) milliseconds, most of them waiting. So a small process does both, `mc-spare`, forked without exec when
//! the program has begun, as the network's janitor is: the next container finds its layer ready, and one that has written
//! nothing leaves its own to the next such process. It lives for as long as that takes, and nobody waits for it. What was
//! written is removed at once, as ever, and no layer is used a second time: somebody may hold the overlay of the first.
//!
//! ```text
//! DATA/spare/ready-IMAGE/{upper,work,root}   on root is the overlay over the image, in no other place
//! DATA/spare/new-IMAGE/                      the same, being made, under the lock of DATA/spare
//! DATA/spare/used-ID/{upper,work,root}       what a container was that wrote nothing
//! ```
//!
//! It is taken by renaming it to `DATA/containers/ID`, so one wins; there a sweep finds it with the container, whatever was
//! killed. What is left of `new` goes with the next that is made, and so does one whose image was removed, or that was
//! mounted before the machine's last start, when somebody wants it.
//!
//! Only for root of the host, who mounts images at all, and for containers that go when they end: the layers of others must
//! outlive the machine, and are mounted in another way.

use crate::base;
use crate::containers::mount::is_mounted;
use crate::error::Error;
use crate::overlay::{self, Layer};
use crate::state::{self, Id};
use image::{Image, Images};
use rustix::fs::{AtFlags, CWD, Dir, FlockOperation, Mode, OFlags, RenameFlags, flock, openat, renameat_with};
use rustix::io::Errno;
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_change, move_mount, open_tree, unmount,
};
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use step::step;

const READY: &str = "ready-";
const NEW: &str = "new-";
const USED: &str = "used-";
/// Where in a layer the overlay is mounted.
const ROOT: &str = "root";
/// Of how many images there is one. Each is a mount of the host, and a container's start copies all those.
const MOST: usize = 8;
/// How many used ones wait at most.
const WAITING: usize = 64;
/// The process's name in `ps`.
const NAME: &CStr = c"mc-spare";

/// The overlay of a layer that was ready, which is the container's from here on. None if there is none.
pub(crate) fn take(image: &Image, id: &Id) -> Result<Option<OwnedFd>, Error> {
    let (ready, layer) = (directory().join(format!("{READY}{}", image.id.hex())), state::layer_path(id));
    match rustix::fs::rename(&ready, &layer) {
        Ok(()) => {}
        // There is none; or no container was ever made here; or this one has a layer, for what it prints.
        Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => return Ok(None),
        Err(error) => return Err(Error::file("take the layer", &ready)(error)),
    }
    let root = layer.join(ROOT);
    if !is_mounted(&root) {
        // The machine was started anew.
        overlay::remove_layer(id)?;
        return Ok(None);
    }
    let what = || format!("take the layer {}", ready.display());
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let copy = || open_tree(CWD, &root, flags);
    step("take-layer", "it was made while another container of this image ran", what, copy)
        .map(Some)
        .map_err(Error::file("mount once more", &root))
}

/// Takes the overlay of a container's layer from where it was kept: from here on the container alone has it.
pub(crate) fn let_go(layer: &Path) -> Result<(), Error> {
    let root = layer.join(ROOT);
    // Most have none, and pay for one call.
    match unmount(&root, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::NOENT | Errno::INVAL) => Ok(()),
        Err(error) => Err(Error::file("unmount", &root)(error)),
    }
}

/// While a container of this image runs: has the layer of the next made, and those removed that were set aside, unless
/// somebody is at it. That this fails takes nothing from anybody; what was begun is removed by the next.
pub(crate) fn prepare(images: &Images, image: &Image) {
    let (Some(tree), Ok(spare)) = (images.mounted(image), open_locked()) else { return };
    let what = || "process mc-spare".to_owned();
    let why = "it makes the layer of the image's next container, and removes what such had that wrote nothing";
    let _ = step("start-spare", why, what, || {
        sys::detach::spawn_detached_with(NAME, vec![tree, spare], &[images.as_fd()], |kept| {
            let Ok([tree, spare]) = <[OwnedFd; 2]>::try_from(kept) else { return };
            let names = names_in(&spare);
            let _ = make_missing(images, image, &spare, &names, tree);
            let used = names.iter().filter(|name| name.starts_with(USED));
            used.for_each(|name| drop(remove(&spare, name)));
            // Ends the process, so that nothing of the maker's is dropped in this copy of it.
            sys::fork::exit_now(0)
        })
    });
}

fn make_missing(images: &Images, image: &Image, spare: &OwnedFd, names: &[String], tree: OwnedFd) -> Result<(), Error> {
    let (new, ready) = (format!("{NEW}{}", image.id.hex()), format!("{READY}{}", image.id.hex()));
    if names.contains(&ready) {
        return Ok(());
    }
    make_room(images, spare, names)?;
    make(spare, &new, tree, &ready).inspect_err(|_| drop(remove(spare, &new)))
}

/// Sets the layer of a container aside that has ended, to be removed by whoever has the time, if there is nothing in it and
/// not too many wait already.
pub(crate) fn set_aside(id: &Id) -> Result<(), Error> {
    let layer = state::layer_path(id);
    let Ok(dir) = open_directory(CWD, &layer) else { return Ok(()) };
    let is_bare = |names: Vec<String>| names.iter().all(|name| ["upper", "work", ROOT].contains(&name.as_str()));
    let is_empty = |name| open_directory(&dir, name).is_ok_and(|dir| names_in(&dir).is_empty());
    let is_room = || open().is_ok_and(|spare| names_in(&spare).len() < WAITING);
    if !is_bare(names_in(&dir)) || !is_empty("upper") || !is_room() {
        return Ok(());
    }
    let_go(&layer)?;
    let what = || format!("move {} to those that a later run removes", layer.display());
    let used = || directory().join(format!("{USED}{}", id.as_str()));
    match step("set-layer-aside", "nothing was written", what, || rustix::fs::rename(&layer, used())) {
        // Nobody has made one here.
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(Error::file("set aside the layer", &layer)(error)),
    }
}

/// Removes what nobody needs: the layers of before, and those of images that are gone.
pub(crate) fn clear(images: &Images) -> Result<(), Error> {
    let failed = |source| Error::file("open", directory())(source);
    let spare = match open() {
        Ok(spare) => spare,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    flock(&spare, FlockOperation::LockExclusive).map_err(failed)?;
    clear_locked(images, &spare)
}

/// The same for who has something else to do, unless somebody is at it.
pub(crate) fn sweep(images: &Images) -> Result<(), Error> {
    let open = open().and_then(|spare| flock(&spare, FlockOperation::NonBlockingLockExclusive).map(|()| spare));
    match open {
        Ok(spare) => clear_locked(images, &spare),
        Err(Errno::NOENT | Errno::WOULDBLOCK) => Ok(()),
        Err(error) => Err(Error::file("open", directory())(error)),
    }
}

fn clear_locked(images: &Images, spare: &OwnedFd) -> Result<(), Error> {
    let is_needed = |name: &str| name.strip_prefix(READY).is_some_and(|hex| images.is_mounted(hex));
    let names = names_in(spare);
    let removed = names.iter().filter(|name| !is_needed(name)).map(|name| remove(spare, name));
    // All are tried.
    removed.fold(Ok(()), Result::and)
}

fn directory() -> PathBuf {
    state::data_dir().join("spare")
}

fn open() -> Result<OwnedFd, Errno> {
    open_directory(CWD, directory())
}

/// The directory, with its lock, if nobody has that.
fn open_locked() -> Result<OwnedFd, Errno> {
    let spare = state::with_directory(&directory(), open)?;
    flock(&spare, FlockOperation::NonBlockingLockExclusive)?;
    Ok(spare)
}

fn open_directory(at: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn names_in(dir: &OwnedFd) -> Vec<String> {
    let entries = Dir::read_from(dir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name != "." && name != "..").collect()
}

/// Removes those whose image is gone, and where there are many the oldest.
fn make_room(images: &Images, spare: &OwnedFd, names: &[String]) -> Result<(), Error> {
    let ready = names.iter().filter_map(|name| name.strip_prefix(READY).map(|hex| (name, hex)));
    let (mut here, gone): (Vec<_>, Vec<_>) = ready.partition(|(_, hex)| images.is_mounted(hex));
    gone.iter().try_for_each(|(name, _)| remove(spare, name))?;
    if here.len() < MOST {
        return Ok(());
    }
    let made = |name: &str| rustix::fs::statat(spare, name, AtFlags::SYMLINK_NOFOLLOW).map_or(0, |stat| stat.st_mtime);
    here.sort_by_key(|(name, _)| made(name));
    here.iter().take(here.len() + 1 - MOST).try_for_each(|(name, _)| remove(spare, name))
}

fn make(spare: &OwnedFd, new: &str, tree: OwnedFd, ready: &str) -> Result<(), Error> {
    let path = directory().join(new);
    let failed = |source| Error::file("make the layer", &path)(source);
    let rights = Mode::from_raw_mode(0o700);
    match rustix::fs::mkdirat(spare, new, rights) {
        // Nobody makes it now.
        Err(Errno::EXIST) => {
            remove(spare, new)?;
            rustix::fs::mkdirat(spare, new, rights)
        }
        done => done,
    }
    .map_err(failed)?;
    let layer = Layer::at(path.clone())?;
    let place = layer.subdirectory(ROOT).map_err(failed)?;
    let overlay = layer.over(&[base::open()?, tree], &path, "")?;
    let attach = || {
        let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(&overlay, "", &place, "", empty)?;
        // What a container mounts on its copy must not come up here.
        mount_change(path.join(ROOT), MountPropagationFlags::PRIVATE)?;
        renameat_with(spare, new, spare, ready, RenameFlags::NOREPLACE)
    };
    attach().map_err(failed)
}

fn remove(spare: &OwnedFd, name: &str) -> Result<(), Error> {
    let_go(&directory().join(name))?;
    Ok(image::remove_tree(spare.as_fd(), OsStr::new(name))?)
}
