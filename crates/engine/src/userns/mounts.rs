//! Mounts that map owners: what is 0 on disk is shown as the container's root outside, and so as 0 in it.
//!
//! Only who is root over a file system's own user namespace may map its owners, so root of the host, and only where the
//! file system can: ext4, xfs, btrfs, erofs and tmpfs among others, and no overlay. Each layer is mapped by itself, then,
//! and the overlay over them needs nothing more. [mount_setattr(2), MOUNT_ATTR_IDMAP: since Linux 5.12, layers of an
//! overlay since 5.19, erofs since 5.19, tmpfs since 6.3]

use super::{Maps, Range};
use crate::error::Error;
use runtime::IdMap;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{OpenTreeFlags, open_tree};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// The user namespace whose maps the mounts of a container have, with nobody in it.
#[derive(Debug)]
pub(crate) struct Mapper(OwnedFd);

/// The last one, with the process that made it: another process that began as its copy may have let go of the descriptor.
static LAST: Mutex<Option<Made>> = Mutex::new(None);

struct Made {
    maker: u32,
    ranges: [Vec<Range>; 2],
    namespace: OwnedFd,
}

impl Mapper {
    /// For the files of a container, of which all parts are mapped by one: it takes 0.25 ms to make. For a process of one
    /// thread.
    pub(crate) fn of(maps: &Maps) -> Result<Mapper, Error> {
        let (own, ranges) = (std::process::id(), maps.of_mounts());
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last.as_ref().filter(|made| made.maker == own && made.ranges == ranges);
        if let Some(copy) = known.and_then(|made| made.namespace.try_clone().ok()) {
            return Ok(Mapper(copy));
        }
        let namespace: OwnedFd = runtime::user_namespace(&id_maps(&ranges[0]), &id_maps(&ranges[1]))?;
        if let Ok(copy) = namespace.try_clone()
            && let Some(old) = last.replace(Made { maker: own, ranges, namespace: copy })
            && old.maker != own
        {
            // By now the number may be another file's.
            std::mem::forget(old);
        }
        Ok(Mapper(namespace))
    }

    /// A mount of what a descriptor leads to, attached nowhere, whose owners are mapped.
    pub(crate) fn mount(&self, of: &OwnedFd, shown: &Path) -> Result<OwnedFd, Error> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        let copy = open_tree(of, "", flags).map_err(Error::file("mount once more", shown))?;
        runtime::map_mount(copy.as_fd(), false, self.0.as_fd(), shown)?;
        Ok(copy)
    }
}

/// The last one that this process made, for one that is cloned to go on with.
pub(crate) fn last() -> Option<OwnedFd> {
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    last.as_ref().filter(|made| made.maker == std::process::id())?.namespace.try_clone().ok()
}

/// In the process that was cloned, and owns what [`last`] has told: it need make none.
pub(crate) fn take_over(namespace: OwnedFd) {
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(Made { ranges, namespace: old, .. }) = last.take() {
        // By now the number may be another file's.
        std::mem::forget(old);
        *last = Some(Made { maker: std::process::id(), ranges, namespace });
    }
}

impl Mapper {
    /// Maps the owners of mounts that are there, attached nowhere: of one, and of what is mounted in it.
    pub(crate) fn map(&self, mounts: BorrowedFd<'_>, shown: &Path) -> Result<(), Error> {
        Ok(runtime::map_mount(mounts, true, self.0.as_fd(), shown)?)
    }
}

fn id_maps(ranges: &[Range]) -> Vec<IdMap> {
    ranges.iter().map(|range| IdMap { container: range.inside, host: range.outside, size: range.size }).collect()
}

/// Whether owners of files in this directory can be mapped.
pub(crate) fn can_map(dir: &Path, maps: &Maps) -> Result<bool, Error> {
    crate::state::make_private_directory(dir).map_err(Error::file("make", dir))?;
    let open = rustix::fs::openat(CWD, dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let open = open.map_err(Error::file("open", dir))?;
    match Mapper::of(maps)?.mount(&open, dir) {
        Ok(_) => Ok(true),
        Err(Error::Runtime(runtime::Error::Host { .. })) => Ok(false),
        // Root of a user namespace that is not the file system's.
        Err(Error::Runtime(runtime::Error::IdMap { source, .. }))
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
