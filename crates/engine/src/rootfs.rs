//! ROOT, as typed, becomes an open root: the host's own `/`, a directory, or an archive.

use crate::error::Error;
use crate::hostview;
use crate::options::RunOptions;
use crate::overlay::Layer;
use crate::state::{DATA_DIR, Id};
use runtime::{Root, Tree};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::os::fd::OwnedFd;
use std::path::Path;
use step::step;

/// A root that is ready to be attached, and what has to be kept open for it.
#[derive(Debug)]
pub(crate) struct OpenRoot {
    pub(crate) root: Root,
    pub(crate) trees: Vec<Tree>,
    /// True for a view of the host, which needs its secrets hidden.
    pub(crate) is_host: bool,
    /// Holds an unpacked archive, so that nobody removes it while it is used.
    pub(crate) archive: Option<image::Unpacked>,
}

/// Opens ROOT.
pub(crate) fn open(options: &RunOptions, id: &Id) -> Result<OpenRoot, Error> {
    if options.root == "host" {
        return open_host(id);
    }
    let path = Path::new(&options.root);
    let stat = match rustix::fs::stat(path) {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NOTDIR) => return Err(Error::NoSuchRoot(options.root.clone())),
        Err(errno) => return Err(Error::file("open the root", path)(errno)),
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory if options.ephemeral => {
            let lower = directory(path)?;
            over(&lower, path, id, None)
        }
        FileType::Directory => in_place(path),
        FileType::RegularFile => open_archive(path, id),
        FileType::Fifo => Err(Error::BadRoot { path: path.into(), what: "a pipe" }),
        FileType::Socket => Err(Error::BadRoot { path: path.into(), what: "a socket" }),
        _ => Err(Error::BadRoot { path: path.into(), what: "a device" }),
    }
}

fn directory(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(Error::file("open the root", path))
}

fn in_place(path: &Path) -> Result<OpenRoot, Error> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let what = || format!("clone the mount at {}", path.display());
    let tree = step("open-root", "the directory is used in place", what, || open_tree(CWD, path, flags));
    let tree = tree.map_err(|errno| match errno {
        Errno::PERM => Error::NoAdmin,
        errno => Error::file("open the root", path)(errno),
    })?;
    Ok(OpenRoot { root: Root::new(tree), trees: Vec::new(), is_host: false, archive: None })
}

fn over(lower: &OwnedFd, shown: &Path, id: &Id, archive: Option<image::Unpacked>) -> Result<OpenRoot, Error> {
    let layer = Layer::make(id)?;
    let root = Root::new(layer.over(lower, shown, "")?);
    Ok(OpenRoot { root, trees: Vec::new(), is_host: false, archive })
}

fn open_host(id: &Id) -> Result<OpenRoot, Error> {
    let lower = directory(Path::new("/"))?;
    let layer = Layer::make(id)?;
    hostview::lock_passwords(&layer, "upper", "etc")?;
    let root = Root::new(layer.over(&lower, Path::new("/"), "")?);
    let trees = hostview::other_filesystems(&layer)?;
    Ok(OpenRoot { root, trees, is_host: true, archive: None })
}

fn open_archive(path: &Path, id: &Id) -> Result<OpenRoot, Error> {
    let unpacked = image::Store::open(Path::new(DATA_DIR))?.archive(path)?;
    let lower = unpacked.dir.try_clone().map_err(|source| Error::File {
        what: "open the unpacked archive",
        path: unpacked.path.clone(),
        source,
    })?;
    let shown = unpacked.path.clone();
    over(&lower, &shown, id, Some(unpacked))
}
