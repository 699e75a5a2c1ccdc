//! ROOT, as typed, becomes an open root: the host's own `/`, a directory, an archive, or an image.

use crate::error::Error;
use crate::hostview;
use crate::images;
use crate::options::RunOptions;
use crate::overlay::Layer;
use crate::state::{DATA_DIR, Id};
use image::{Events, Image, Images};
use runtime::{Root, Tree};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::os::fd::OwnedFd;
use std::path::Path;
use step::step;

/// What ROOT means.
#[derive(Debug)]
pub(crate) enum Meant {
    /// The view of this machine's own `/`.
    Host,
    /// A directory of the host.
    Directory,
    /// A tar of a root file system.
    Archive,
    /// An image of the store.
    Image(Images, Box<Image>),
}

/// A root that is ready to be attached, and what has to be kept open for it.
#[derive(Debug)]
pub(crate) struct OpenRoot {
    pub(crate) root: Root,
    pub(crate) trees: Vec<Tree>,
    /// True for a view of the host, which needs its secrets hidden.
    pub(crate) is_host: bool,
    /// Holds what the root is made of, so that nobody removes it while it is used.
    pub(crate) held: Vec<OwnedFd>,
}

impl OpenRoot {
    fn plain(root: Root) -> OpenRoot {
        OpenRoot { root, trees: Vec::new(), is_host: false, held: Vec::new() }
    }
}

/// Finds out what ROOT means. A word that could be a path and an image is the image if the store has it, the path if
/// that is there, and else an image, which is pulled; with a `/`, `./` or `../` before it it is a path.
pub(crate) fn resolve(options: &RunOptions, events: &dyn Events) -> Result<Meant, Error> {
    let root = options.root.as_str();
    if root == "host" {
        return Ok(Meant::Host);
    }
    let is_path = ["/", "./", "../"].iter().any(|start| root.starts_with(start)) || matches!(root, "." | "..");
    if !is_path && let Some((images, image)) = images::wanted(options, events)? {
        return Ok(Meant::Image(images, Box::new(image)));
    }
    let path = Path::new(root);
    let stat = match rustix::fs::stat(path) {
        Ok(stat) => stat,
        Err(Errno::NOENT | Errno::NOTDIR) if is_path => return Err(Error::NoSuchRoot(options.root.clone())),
        Err(Errno::NOENT | Errno::NOTDIR) => {
            let (images, image) = images::missing(options, events)?;
            return Ok(Meant::Image(images, Box::new(image)));
        }
        Err(errno) => return Err(Error::file("open the root", path)(errno)),
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory if path.join("oci-layout").exists() && path.join("index.json").exists() => {
            let (images, image) = images::of_layout(path, options, events)?;
            Ok(Meant::Image(images, Box::new(image)))
        }
        FileType::Directory => Ok(Meant::Directory),
        FileType::RegularFile => Ok(Meant::Archive),
        FileType::Fifo => Err(Error::BadRoot { path: path.into(), what: "a pipe" }),
        FileType::Socket => Err(Error::BadRoot { path: path.into(), what: "a socket" }),
        _ => Err(Error::BadRoot { path: path.into(), what: "a device" }),
    }
}

/// Opens ROOT.
pub(crate) fn open(meant: &Meant, options: &RunOptions, id: &Id) -> Result<OpenRoot, Error> {
    let path = Path::new(&options.root);
    match meant {
        Meant::Host => open_host(id),
        Meant::Directory if options.ephemeral => over(vec![directory(path)?], path, id),
        Meant::Directory => in_place(path),
        Meant::Archive => open_archive(path, id),
        Meant::Image(images, image) => open_image(images, image, path, id),
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
    Ok(OpenRoot::plain(Root::new(tree)))
}

fn over(lower: Vec<OwnedFd>, shown: &Path, id: &Id) -> Result<OpenRoot, Error> {
    let layer = Layer::make(id)?;
    let root = Root::new(layer.over(&lower, shown, "")?);
    Ok(OpenRoot { held: lower, ..OpenRoot::plain(root) })
}

fn open_host(id: &Id) -> Result<OpenRoot, Error> {
    let lower = directory(Path::new("/"))?;
    let layer = Layer::make(id)?;
    hostview::lock_passwords(&layer, "upper", "etc")?;
    let root = Root::new(layer.over(&[lower], Path::new("/"), "")?);
    let trees = hostview::other_filesystems(&layer)?;
    Ok(OpenRoot { trees, is_host: true, ..OpenRoot::plain(root) })
}

fn open_archive(path: &Path, id: &Id) -> Result<OpenRoot, Error> {
    let unpacked = image::Store::open(Path::new(DATA_DIR))?.archive(path)?;
    let shown = unpacked.path.clone();
    let mut open = over(vec![unpacked.dir], &shown, id)?;
    open.held.push(unpacked.guard);
    Ok(open)
}

fn open_image(images: &Images, image: &Image, shown: &Path, id: &Id) -> Result<OpenRoot, Error> {
    let lower = images.root(image)?;
    let layer = Layer::make(id)?;
    let root = Root::new(match lower.is_mount {
        true => layer.over_mount(&lower.lower, shown)?,
        false => layer.over(&lower.lower, shown, "")?,
    });
    Ok(OpenRoot { held: lower.lower, ..OpenRoot::plain(root) })
}
