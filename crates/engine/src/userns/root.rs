//! The root of a container with a user namespace of its own.

use super::mounts::Mapper;
use super::{Maps, copies};
use crate::error::Error;
use crate::overlay::{self, Layer};
use runtime::Root;
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What such a root is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) layer: Layer,
    /// The layers below, the lowest first, with the owners that they have outside of the container.
    pub(crate) lower: Vec<OwnedFd>,
    /// The tree that they come to, to look something up: with the owners that are on disk.
    pub(crate) tree: OwnedFd,
    /// What has to stay open.
    pub(crate) held: Vec<OwnedFd>,
}

/// Puts together what is mapped. `tree` says which tree `lower` comes to; below them all may lie a `base`.
pub(crate) fn parts(
    tree: &str,
    lower: Vec<OwnedFd>,
    base: Option<OwnedFd>,
    shown: &Path,
    layer: Layer,
    maps: &Maps,
) -> Result<Parts, Error> {
    if maps.is_copied {
        let lower: Vec<OwnedFd> = base.into_iter().chain(lower).collect();
        let (dir, guard) = copied(tree, &lower, shown, maps)?;
        let tree = duplicate(&dir, shown)?;
        return Ok(Parts { layer, lower: vec![dir], tree, held: vec![guard] });
    }
    let mapper = Mapper::of(maps)?;
    let mapped = base.iter().chain(&lower).map(|one| mapper.mount(one, shown)).collect::<Result<_, _>>()?;
    let layer = layer.mapped(&mapper)?;
    Ok(Parts { layer, lower: mapped, tree: merged(&lower, shown)?, held: Vec::new() })
}

/// The copy, of layers of which the lowest is the first, that a container has whose owners no mount maps, and what holds it.
pub(crate) fn copied(tree: &str, lower: &[OwnedFd], shown: &Path, maps: &Maps) -> Result<(OwnedFd, OwnedFd), Error> {
    let copy = copies::of(tree, maps, &|| merged(lower, shown))?;
    Ok((copy.dir, copy.guard))
}

/// A directory used in place: what is mounted in it is mapped, too.
pub(crate) fn in_place(tree: &Root, shown: &Path, maps: &Maps) -> Result<(), Error> {
    if maps.is_copied {
        return Err(Error::OwnersInPlace(shown.to_owned()));
    }
    Mapper::of(maps)?.map(tree.as_fd(), shown)
}

fn merged(lower: &[OwnedFd], shown: &Path) -> Result<OwnedFd, Error> {
    match lower {
        [only] => duplicate(only, shown),
        lower => overlay::read_only(lower, None, shown),
    }
}

fn duplicate(fd: &OwnedFd, shown: &Path) -> Result<OwnedFd, Error> {
    let failed =
        |source: std::io::Error| Error::file("open", shown)(Errno::from_io_error(&source).unwrap_or(Errno::IO));
    fd.try_clone().map_err(failed)
}
