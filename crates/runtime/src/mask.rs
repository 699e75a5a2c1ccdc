//! Paths that a container must not see, or must not write.
//!
//! A masked directory gets an empty read-only tmpfs over it, a masked file the null device; a read-only path is bound
//! onto itself and sealed. A path that the root does not have needs no mask. [runtime-spec config-linux.md]

use crate::devices::host_null;
use crate::error::Error;
use crate::mounts::{attach, errno, make};
use crate::options::Options;
use crate::root::{Root, is_directory};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use step::step;
use sys::mount::{Attributes, NODEV, NOEXEC, NOSUID, RDONLY, set_attributes};

/// Hides each of `paths`. Must run before the host's root is detached: the null device is the host's.
pub(crate) fn mask(root: &Root, paths: &[PathBuf]) -> Result<(), Error> {
    if paths.is_empty() {
        return Ok(());
    }
    step(
        "mask-paths",
        "they show what is the host's alone",
        || format!("hide {}", list(paths)),
        || {
            let mut covers = Covers::default();
            paths.iter().try_for_each(|path| {
                mask_one(root, path, &mut covers).map_err(|source| Error::Mask { path: path.clone(), source })
            })
        },
    )
}

/// Seals each of `paths` against writing.
pub(crate) fn make_readonly(root: &Root, paths: &[PathBuf]) -> Result<(), Error> {
    if paths.is_empty() {
        return Ok(());
    }
    step(
        "seal-paths",
        "writing there changes the host's kernel",
        || format!("make {} read-only", list(paths)),
        || {
            paths
                .iter()
                .try_for_each(|path| seal_one(root, path).map_err(|source| Error::Mask { path: path.clone(), source }))
        },
    )
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
}

/// What goes over the masked: made when first needed, then cloned for each path.
#[derive(Default)]
struct Covers {
    directory: Option<OwnedFd>,
    file: Option<OwnedFd>,
}

fn mask_one(root: &Root, path: &Path, covers: &mut Covers) -> Result<(), Errno> {
    let target = match root.open(path, OFlags::PATH) {
        Ok(target) => target,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let is_directory = is_directory(target.as_fd())?;
    let kept = if is_directory { &mut covers.directory } else { &mut covers.file };
    // Only the first is attached itself. Attached once more it would move, and uncover what it hid before.
    if let Some(cover) = kept {
        return attach(clone(cover)?.as_fd(), target.as_fd());
    }
    let cover = if is_directory { empty_directory()? } else { host_null()? };
    attach(cover.as_fd(), target.as_fd())?;
    *kept = Some(cover);
    Ok(())
}

fn empty_directory() -> Result<OwnedFd, Errno> {
    let attributes = Attributes { set: RDONLY | NOSUID | NODEV | NOEXEC, ..Attributes::default() };
    let options = Options { data: vec!["nr_inodes=1".into(), "mode=755".into()], attributes, ..Options::default() };
    make("tmpfs", Path::new("tmpfs"), &options, Path::new("")).map_err(|error| match error {
        Error::Mount { source, .. } | Error::MountOption { source, .. } => source,
        _ => Errno::INVAL,
    })
}

fn clone(mount: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(mount, c"", flags)
}

fn seal_one(root: &Root, path: &Path) -> Result<(), Errno> {
    let target = match root.open(path, OFlags::PATH) {
        Ok(target) => target,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let sealed = open_tree(&target, c"", flags)?;
    let attributes = Attributes { set: RDONLY, ..Attributes::default() };
    set_attributes(sealed.as_fd(), c"", true, attributes).map_err(errno)?;
    attach(sealed.as_fd(), target.as_fd())
}
