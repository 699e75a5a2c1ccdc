//! A container's root as a tree to be read: without what is mounted in it, be it `/proc` or a volume.
//!
//! Of one that was created: its layer over its root, mounted read-only and nowhere. Of one that runs: a copy of its root
//! mount, taken in its mount namespace, to which its first process's pidfd leads; the copy has no mounts below it (but for
//! `cp`, which wants them: see `copy`).

use super::{Found, process};
use crate::error::Error;
use crate::overlay;
use crate::state::{self, Facts, Id, RootKind, data_dir};
use crate::userns::{self, Maps};
use image::{Image, Images, Store};
use registry::Digest;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use step::step;
use sys::fork::Namespaces;

/// A tree, and what has to stay open while it is read.
pub(super) struct OpenTree {
    pub(super) top: OwnedFd,
    /// What has to stay open.
    pub(super) held: Vec<OwnedFd>,
    /// Its files have the owners that the container's have outside, if its user namespace is its own.
    pub(super) maps: Option<Maps>,
}

impl OpenTree {
    pub(super) fn plain(top: OwnedFd) -> OpenTree {
        OpenTree { top, held: Vec::new(), maps: None }
    }

    /// As whom the container knows an owner.
    pub(super) fn inside(&self, uid: u32, gid: u32) -> (u32, u32) {
        userns::seen_by(self.maps.as_ref(), uid, gid)
    }
}

/// The ids by which to know the owners of a container's files, if they are not those on disk: of one that runs, or whose
/// files were copied for it.
pub(super) fn maps_of(found: &Found, facts: &Facts) -> Option<Maps> {
    facts.maps.clone().filter(|maps| found.is_running || maps.is_copied)
}

/// What becomes of what is mounted in the root of a container that runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mounted {
    /// It stays out.
    Left,
    /// It is copied, too.
    Kept,
}

/// The whole root of a container, which the caller has locked. For a process of one thread.
pub(super) fn of_container(found: &Found) -> Result<OpenTree, Error> {
    let facts = found.facts()?;
    if found.is_running {
        let top = of_running(&found.id, facts, Mounted::Left)?;
        return Ok(OpenTree { maps: maps_of(found, facts), ..OpenTree::plain(top) });
    }
    if let Some(mounted) = super::mount::copy(&found.id)? {
        let maps = facts.maps.clone();
        return Ok(OpenTree { maps, ..OpenTree::plain(mounted) });
    }
    match below(facts)? {
        Some(below) => {
            let upper = state::layer_path(&found.id).join("upper");
            let top = overlay::read_only(below.layers(), Some(&upper), Path::new(&facts.root))?;
            Ok(OpenTree { top, held: below.held, maps: maps_of(found, facts) })
        }
        None => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let top = rustix::fs::open(facts.root.as_str(), flags, Mode::empty());
            top.map(OpenTree::plain).map_err(Error::file("open the root", &facts.root))
        }
    }
}

/// What lies below a container's own layer.
pub(super) struct Below {
    /// The layers, the lowest first, and what has to stay open for them.
    pub(super) held: Vec<OwnedFd>,
    count: usize,
}

impl Below {
    pub(super) fn layers(&self) -> &[OwnedFd] {
        self.held.get(..self.count).unwrap_or_default()
    }
}

/// What lies below the layer of a container that stays; nothing of one whose root is a directory in place.
pub(super) fn below(facts: &Facts) -> Result<Option<Below>, Error> {
    match facts.kind {
        RootKind::Image => {
            let (images, image) = image_of(facts)?;
            let mut held = images.root(&image)?;
            held.insert(0, crate::base::open()?);
            if let Some(maps) = copied(facts) {
                let (dir, guard) = userns::root::copied(image.id.as_str(), &held, Path::new(&facts.root), maps)?;
                return Ok(Some(Below { count: 1, held: vec![dir, guard] }));
            }
            Ok(Some(Below { count: held.len(), held }))
        }
        RootKind::Archive => {
            let unpacked = archive_of(facts)?;
            if let Some(maps) = copied(facts) {
                let lower = [unpacked.dir];
                let (dir, guard) = userns::root::copied(&unpacked.digest, &lower, Path::new(&facts.root), maps)?;
                return Ok(Some(Below { count: 1, held: vec![dir, guard] }));
            }
            Ok(Some(Below { count: 1, held: vec![unpacked.dir, unpacked.guard] }))
        }
        RootKind::Directory if facts.options.as_deref().is_some_and(|options| options.ephemeral) => {
            let held = vec![crate::rootfs::directory(Path::new(&facts.root))?];
            Ok(Some(Below { count: 1, held }))
        }
        RootKind::Empty => {
            Err(Error::Conflict(format!("the container {} holds a pod together, and has no files", facts.shown())))
        }
        RootKind::Directory | RootKind::Host => Ok(None),
    }
}

/// The maps of a container whose files were copied for it.
fn copied(facts: &Facts) -> Option<&Maps> {
    facts.maps.as_ref().filter(|maps| maps.is_copied)
}

/// The tree of an image.
pub(super) fn of_image(images: &Images, image: &Image) -> Result<OpenTree, Error> {
    let mut lower = images.root(image)?;
    if lower.len() == 1
        && let Some(top) = lower.pop()
    {
        return Ok(OpenTree::plain(top));
    }
    let top = overlay::read_only(&lower, None, Path::new(image.id.short()))?;
    Ok(OpenTree { held: lower, ..OpenTree::plain(top) })
}

/// The image that a container is made of.
pub(crate) fn image_of(facts: &Facts) -> Result<(Images, Image), Error> {
    let images = crate::images::store()?;
    let digest = facts.image.as_deref().and_then(|digest| Digest::parse(digest).ok());
    let missing = || image::Error::NoSuchImage { words: facts.root.clone() };
    let image = images.of_manifest(&digest.ok_or_else(missing)?)?;
    Ok((images, image))
}

/// The unpacked archive that a container is made of; unpacked once more when somebody removed it.
pub(crate) fn archive_of(facts: &Facts) -> Result<image::Unpacked, Error> {
    let store = Store::open(data_dir())?;
    let digest = facts.archive.as_deref().unwrap_or_default();
    if let Some(unpacked) = store.tree(digest)? {
        return Ok(unpacked);
    }
    let unpacked = store.archive(Path::new(&facts.root))?;
    if unpacked.digest != digest {
        let (container, what) = (facts.shown().to_owned(), facts.root.clone().into());
        return Err(Error::RootChanged { container, what, gone: "which has changed since then" });
    }
    Ok(unpacked)
}

/// A copy of the root mount of a container that runs. Nothing that the container mounts, unmounts or moves from now on
/// changes it.
pub(super) fn of_running(id: &Id, facts: &Facts, mounted: Mounted) -> Result<OwnedFd, Error> {
    let init = process::first(id, &id.open_cgroup(facts.cgroup_parent())?, facts)?.pidfd;
    let what = || format!("copy the root mount of {}", id.host_name());
    let (why, recursive) = match mounted {
        Mounted::Left => ("what is mounted in it stays out", OpenTreeFlags::empty()),
        Mounted::Kept => ("with what is mounted in it, as it is now", OpenTreeFlags::AT_RECURSIVE),
    };
    step("copy-root", why, what, || {
        // In there `/` is the container's root, and nothing else is looked at.
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | recursive;
        let copied = in_mounts_of(&init, || open_tree(CWD, "/", flags))?;
        copied.map_err(Error::file("copy", "the container's root mount"))
    })
}

/// Enters the mount namespace of a container, whose first process this is. The kernel refuses that to who shares root and
/// working directory with another, and a thread that was waited for may have them a moment longer. [setns(2), EINVAL]
fn enter_alone(init: &OwnedFd) -> Result<(), std::io::Error> {
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(1);
    for _ in 0..100 {
        match sys::fork::enter(init.as_fd(), Namespaces::MOUNT) {
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => std::thread::sleep(PAUSE),
            done => return done,
        }
    }
    sys::fork::enter(init.as_fd(), Namespaces::MOUNT)
}

/// Does something in the mount namespace of a container, whose first process this is, and comes back. For a process of one
/// thread.
pub(super) fn in_mounts_of<T>(init: &OwnedFd, work: impl FnOnce() -> T) -> Result<T, Error> {
    let failed = |what| Error::file(what, "the container's mount namespace");
    let system = |error: std::io::Error| rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO);
    let own = rustix::fs::open("/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let own = own.map_err(Error::file("open", "/proc/self/ns/mnt"))?;
    let here = rustix::fs::open(".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let here = here.map_err(Error::file("open", "the working directory"))?;
    // By its pidfd: were the process gone, this would fail, and never lead to another one's.
    enter_alone(init).map_err(|e| failed("enter")(system(e)))?;
    let done = work();
    move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Mount)).map_err(failed("leave"))?;
    rustix::process::fchdir(&here).map_err(Error::file("go back to", "the working directory"))?;
    Ok(done)
}
