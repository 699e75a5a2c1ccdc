//! ROOT, as typed, becomes an open root: the host's own `/`, a directory, an archive, or an image.

use crate::error::Error;
use crate::hostview;
use crate::images;
use crate::options::RunOptions;
use crate::overlay::Layer;
use crate::rootless;
use crate::state::{Facts, RootKind, data_dir};
use crate::userns::{self, Maps};
use image::{Events, Image, Images};
use runtime::{Root, Tree};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
    open_tree,
};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
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
    /// One that a container that stays was made of.
    Unpacked(image::Unpacked),
    /// Nothing: the root is empty, and in memory.
    Empty,
    /// An image of the store.
    Image(Images, Box<Image>),
}

/// A root that is open, and what has to be kept open for it.
#[derive(Debug)]
pub(crate) struct OpenRoot {
    pub(crate) root: Opened,
    pub(crate) trees: Vec<Tree>,
    /// True for a view of the host, which needs its secrets hidden.
    pub(crate) is_host: bool,
    /// Holds what the root is made of, so that nobody removes it while it is used.
    pub(crate) held: Vec<OwnedFd>,
}

/// How far it is.
#[derive(Debug)]
pub(crate) enum Opened {
    /// Ready to be attached.
    Ready(Root),
    /// To be stacked while the container's first process enters its namespaces.
    Layers(Layers),
}

/// What a root will be made of, the whole tree of an image being one mount: what has to be looked up, its users above
/// all, is there before the overlay is.
#[derive(Debug)]
pub(crate) struct Layers {
    layer: Layer,
    /// The lowest first.
    lower: Vec<OwnedFd>,
    tree: Root,
    shown: PathBuf,
}

impl OpenRoot {
    pub(crate) fn plain(root: Root) -> OpenRoot {
        OpenRoot { root: Opened::Ready(root), trees: Vec::new(), is_host: false, held: Vec::new() }
    }
}

impl Opened {
    /// What is in it as long as nobody has written to it.
    pub(crate) fn tree(&self) -> &Root {
        match self {
            Opened::Ready(root) => root,
            Opened::Layers(layers) => &layers.tree,
        }
    }
}

impl Layers {
    /// Mounts the overlay.
    pub(crate) fn stack(&self) -> Result<OwnedFd, Error> {
        self.layer.over(&self.lower, &self.shown, "")
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

/// What the root of a container means that was created.
pub(crate) fn meant_by(facts: &Facts) -> Result<Meant, Error> {
    Ok(match facts.kind {
        RootKind::Host => Meant::Host,
        RootKind::Directory => Meant::Directory,
        RootKind::Empty => Meant::Empty,
        RootKind::Archive => Meant::Unpacked(crate::containers::archive_of(facts)?),
        RootKind::Image => {
            let (images, image) = crate::containers::image_of(facts)?;
            Meant::Image(images, Box::new(image))
        }
    })
}

/// Opens ROOT. `layer` makes or finds the container's own layer, where one is needed.
pub(crate) fn open(
    meant: &Meant,
    options: &RunOptions,
    layer: &dyn Fn() -> Result<Layer, Error>,
    maps: Option<&Maps>,
) -> Result<OpenRoot, Error> {
    let path = Path::new(&options.root);
    if let Some(maps) = maps {
        return open_mapped(meant, options, layer, maps);
    }
    match meant {
        Meant::Host => open_host(&layer()?),
        Meant::Directory if options.ephemeral => over(vec![directory(path)?], path, &layer()?),
        Meant::Directory => in_place(path),
        Meant::Empty => empty((0, 0)),
        Meant::Archive => {
            let unpacked = image::Store::open(data_dir())?.archive(path)?;
            let mut open = over(vec![unpacked.dir], &unpacked.path, &layer()?)?;
            open.held.push(unpacked.guard);
            Ok(open)
        }
        Meant::Unpacked(unpacked) => {
            let unpacked = duplicate(unpacked)?;
            let mut open = over(vec![unpacked.dir], &unpacked.path, &layer()?)?;
            open.held.push(unpacked.guard);
            Ok(open)
        }
        Meant::Image(images, image) => open_image(images, image, path, layer),
    }
}

/// Whether the container has a layer of its own over what ROOT means.
pub(crate) fn has_layer(meant: &Meant, options: &RunOptions) -> bool {
    !matches!(meant, Meant::Empty) && (options.ephemeral || !matches!(meant, Meant::Directory))
}

/// As [`open`], for a container with a user namespace of its own.
fn open_mapped(
    meant: &Meant,
    options: &RunOptions,
    layer: &dyn Fn() -> Result<Layer, Error>,
    maps: &Maps,
) -> Result<OpenRoot, Error> {
    let path = Path::new(&options.root);
    let of_archive = |unpacked: image::Unpacked| (unpacked.digest, vec![unpacked.dir], vec![unpacked.guard]);
    let (tree, lower, held) = match meant {
        Meant::Host => return open(meant, options, layer, None),
        Meant::Empty => return empty(maps.outside(0, 0).unwrap_or_default()),
        Meant::Directory if !options.ephemeral => {
            let open = in_place(path)?;
            userns::root::in_place(open.root.tree(), path, maps)?;
            return Ok(open);
        }
        Meant::Directory if maps.is_copied => return Err(Error::OwnersInPlace(path.to_owned())),
        Meant::Directory => (String::new(), vec![directory(path)?], Vec::new()),
        Meant::Archive => of_archive(image::Store::open(data_dir())?.archive(path)?),
        Meant::Unpacked(unpacked) => of_archive(duplicate(unpacked)?),
        Meant::Image(images, image) => (image.id.to_string(), images.root(image)?, Vec::new()),
    };
    let base = if matches!(meant, Meant::Image(..)) { Some(crate::base::open()?) } else { None };
    let mut parts = userns::root::parts(&tree, lower, base, path, layer()?, maps)?;
    parts.held.extend(held);
    let layers = Layers { layer: parts.layer, lower: parts.lower, tree: Root::new(parts.tree), shown: path.to_owned() };
    Ok(OpenRoot { root: Opened::Layers(layers), trees: Vec::new(), is_host: false, held: parts.held })
}

fn duplicate(unpacked: &image::Unpacked) -> Result<image::Unpacked, Error> {
    let copy = |fd: &OwnedFd| {
        fd.try_clone().map_err(|source| Error::File { what: "open", path: unpacked.path.clone(), source })
    };
    let (dir, guard) = (copy(&unpacked.dir)?, copy(&unpacked.guard)?);
    Ok(image::Unpacked { digest: unpacked.digest.clone(), path: unpacked.path.clone(), dir, guard })
}

pub(crate) fn directory(path: &Path) -> Result<OwnedFd, Error> {
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

/// Room for the places that are mounted on, and for nothing else.
/// Of the container's root.
fn empty(owner: (u32, u32)) -> Result<OpenRoot, Error> {
    let make = || {
        let fs = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (name, value) in [(c"size", c"64k"), (c"nr_inodes", c"64"), (c"mode", c"755")] {
            fsconfig_set_string(&fs, name, value)?;
        }
        fsconfig_set_string(&fs, c"uid", owner.0.to_string())?;
        fsconfig_set_string(&fs, c"gid", owner.1.to_string())?;
        fsconfig_create(&fs)?;
        let sealed =
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, sealed)
    };
    let what = || "mount an empty file system".into();
    let root = step("open-root", "it has no program, and needs no file", what, make);
    Ok(OpenRoot::plain(Root::new(root.map_err(Error::file("mount", "an empty root"))?)))
}

fn over(lower: Vec<OwnedFd>, shown: &Path, layer: &Layer) -> Result<OpenRoot, Error> {
    let root = Root::new(layer.over(&lower, shown, "")?);
    Ok(OpenRoot { held: lower, ..OpenRoot::plain(root) })
}

/// The host's own root, to look something up.
pub(crate) fn host() -> Result<Root, Error> {
    Root::open_host(Path::new("/")).map_err(Error::file("open the root", "/"))
}

fn open_host(layer: &Layer) -> Result<OpenRoot, Error> {
    if rootless::is_rootless() {
        let (root, trees) = hostview::piece_by_piece(layer)?;
        return Ok(OpenRoot { trees, is_host: true, ..OpenRoot::plain(Root::new(root)) });
    }
    let lower = directory(Path::new("/"))?;
    hostview::lock_passwords(layer, "upper", "etc")?;
    let root = Root::new(layer.over(&[lower], Path::new("/"), "")?);
    let trees = hostview::other_filesystems(layer)?;
    Ok(OpenRoot { trees, is_host: true, ..OpenRoot::plain(root) })
}

fn open_image(
    images: &Images,
    image: &Image,
    shown: &Path,
    layer: &dyn Fn() -> Result<Layer, Error>,
) -> Result<OpenRoot, Error> {
    let mut lower = images.root(image)?;
    let tree = match lower.as_slice() {
        [only] => Some(only.try_clone().map_err(|source| Error::File { what: "open", path: shown.into(), source })?),
        _ => None,
    };
    lower.insert(0, crate::base::open()?);
    let Some(tree) = tree else { return over(lower, shown, &layer()?) };
    let layers = Layers { layer: layer()?, lower, tree: Root::new(tree), shown: shown.to_owned() };
    Ok(OpenRoot { root: Opened::Layers(layers), trees: Vec::new(), is_host: false, held: Vec::new() })
}
