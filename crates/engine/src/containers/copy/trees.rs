//! The trees of containers to copy from and to.
//!
//! One that runs: a copy of all that is mounted in its mount namespace, as it sees it. One that does not: its layer over
//! its root, or the directory that is its root. Either is mounted nowhere and goes with its descriptor; none lets a device
//! be opened, and one to be read from cannot be written to.

use super::super::Found;
use super::super::tree::{Mounted, OpenTree, below, maps_of, of_running};
use crate::error::Error;
use crate::overlay;
use crate::state::{self, Facts};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use sys::mount::{Attributes, NODEV, RDONLY, set_attributes};

/// What is done with a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Read,
    Write,
}

/// The tree of a container, which the caller has locked: alone, if one that does not run is to be written to. For a process
/// of one thread.
pub(super) fn open(found: &Found, what_for: Use) -> Result<OpenTree, Error> {
    let facts = found.facts()?;
    if found.is_running {
        let copy = of_running(&found.id, facts, Mounted::Kept)?;
        let top = restricted(copy, what_for == Use::Read)?;
        return Ok(OpenTree { maps: maps_of(found, facts), ..OpenTree::plain(top) });
    }
    let read_only = what_for == Use::Read || facts.options.as_deref().is_some_and(|options| options.read_only);
    let shown = Path::new(&facts.root);
    if let Some(mounted) = super::super::mount::copy(&found.id)? {
        return Ok(OpenTree { maps: facts.maps.clone(), ..OpenTree::plain(restricted(mounted, read_only)?) });
    }
    let Some(below) = below(facts)? else {
        let recursive = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE;
        let copy = open_tree(CWD, shown, recursive | OpenTreeFlags::OPEN_TREE_CLOEXEC);
        return restricted(copy.map_err(Error::file("open the root", shown))?, read_only).map(OpenTree::plain);
    };
    let top = match what_for {
        Use::Read => {
            let upper = state::layer_path(&found.id).join("upper");
            restricted(overlay::read_only(below.layers(), Some(&upper), shown)?, true)?
        }
        Use::Write => {
            let rights = if read_only { MountAttrFlags::MOUNT_ATTR_RDONLY } else { MountAttrFlags::empty() };
            overlay::writable(below.layers(), &found.id, shown, rights | MountAttrFlags::MOUNT_ATTR_NODEV)?
        }
    };
    Ok(OpenTree { top, held: below.held, maps: maps_of(found, facts) })
}

/// The same mounts with fewer rights.
fn restricted(mounts: OwnedFd, read_only: bool) -> Result<OwnedFd, Error> {
    let set = if read_only { NODEV | RDONLY } else { NODEV };
    let done = set_attributes(mounts.as_fd(), c"", true, Attributes { set, ..Attributes::default() });
    let system = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    done.map_err(|error| Error::file("restrict", "the mounts of the container")(system(error)))?;
    Ok(mounts)
}

/// Where something is mounted in a container while it runs, and now is not.
pub(super) fn unmounted(found: &Found, facts: &Facts) -> Vec<PathBuf> {
    if found.is_running {
        return Vec::new();
    }
    let Some(options) = &facts.options else { return Vec::new() };
    let in_memory = options.tmpfs.iter().map(|tmpfs| &tmpfs.target);
    let targets = options.volumes.iter().map(|volume| &volume.target).chain(in_memory);
    targets.map(|target| Path::new("/").join(target)).collect()
}
