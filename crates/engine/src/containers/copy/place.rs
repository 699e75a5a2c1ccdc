//! Paths of SRC and DEST become descriptors: in a container below its root alone, on the host as for any program.

use super::super::tree::OpenTree;
use super::error::CopyError;
use super::rules::There;
use super::words;
use crate::userns::{self, Maps};
use runtime::Root;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags, openat, readlinkat, statx};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// How many symlinks DEST may lead through, as the kernel's own limit.
const MAX_SYMLINKS: usize = 40;

/// A tree that paths are in.
pub(super) struct Tree {
    /// None is the host's.
    root: Option<Root>,
    /// What its paths have before them in messages.
    container: String,
    /// Where something is mounted while the container runs, and now is not.
    unmounted: Vec<PathBuf>,
    _held: Vec<OwnedFd>,
    /// Its files have the owners that the container's have outside.
    maps: Option<Maps>,
}

/// What is to be copied.
pub(super) struct Source {
    /// By `O_PATH`.
    pub(super) thing: OwnedFd,
    pub(super) is_directory: bool,
    /// None when it is what is in it that is copied.
    pub(super) name: Option<String>,
}

/// Where it goes.
pub(super) struct Destination {
    pub(super) there: There,
    /// DEST, if it is a directory, or else the one that it is or will be in.
    pub(super) dir: OwnedFd,
    /// Its name there; none of a directory that is there.
    pub(super) name: Option<OsString>,
}

impl Tree {
    pub(super) fn host() -> Tree {
        Tree { root: None, container: String::new(), unmounted: Vec::new(), _held: Vec::new(), maps: None }
    }

    pub(super) fn of_container(tree: OpenTree, container: &str, unmounted: Vec<PathBuf>) -> Tree {
        let OpenTree { top, held, maps } = tree;
        Tree { root: Some(Root::new(top)), container: format!("{container}:"), unmounted, _held: held, maps }
    }

    /// As whom it knows an owner who is on disk.
    pub(super) fn inside(&self, uid: u32, gid: u32) -> (u32, u32) {
        userns::seen_by(self.maps.as_ref(), uid, gid)
    }

    /// Who an owner is on disk. Whom its user namespace leaves out its root stands for.
    pub(super) fn on_disk(&self, uid: u32, gid: u32) -> (u32, u32) {
        let Some(maps) = &self.maps else { return (uid, gid) };
        maps.outside(uid, gid).or_else(|| maps.outside(0, 0)).unwrap_or((uid, gid))
    }

    /// A path as it was typed.
    pub(super) fn shown(&self, path: &str) -> String {
        format!("{}{path}", self.container)
    }

    pub(super) fn is_host(&self) -> bool {
        self.root.is_none()
    }

    /// Whether this is the root of the tree.
    pub(super) fn is_root(&self, dir: BorrowedFd<'_>) -> bool {
        let inode = |fd: BorrowedFd<'_>| inode(fd).ok();
        self.root.as_ref().is_some_and(|root| inode(root.as_fd()) == inode(dir))
    }

    fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        match &self.root {
            Some(root) => root.open(path, flags),
            None => openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty()),
        }
    }

    /// Finds what is to be copied. A symlink is itself that, unless it is followed, or its name ends as a directory's.
    pub(super) fn source(&self, path: &str, follow: bool) -> Result<Source, CopyError> {
        let failed = |source| CopyError::Source { shown: self.shown(path), source };
        let here = match self.is_host() {
            true => std::env::current_dir().unwrap_or_else(|_| "/".into()),
            false => PathBuf::from("/"),
        };
        let ending = words::ending(path, &here);
        let nofollow = if follow || ending.as_directory { OFlags::empty() } else { OFlags::NOFOLLOW };
        let thing = self.open(Path::new(path), OFlags::PATH | nofollow).map_err(failed)?;
        self.check_mounted(path, thing.as_fd(), None)?;
        let is_directory = kind(thing.as_fd()).map_err(failed)? == FileType::Directory;
        Ok(Source { thing, is_directory, name: ending.name })
    }

    /// Finds where it goes. Symlinks are followed, also one that leads to what is not there yet.
    pub(super) fn destination(&self, typed: &str) -> Result<Destination, CopyError> {
        let failed = |source| CopyError::Destination { shown: self.shown(typed), source };
        let as_directory = words::ending(typed, Path::new("/")).as_directory;
        let mut path = typed.to_owned().into_bytes();
        for _ in 0..=MAX_SYMLINKS {
            let there = match self.open(as_path(&path), OFlags::PATH) {
                Ok(thing) => match kind(thing.as_fd()).map_err(failed)? {
                    FileType::Directory => {
                        self.check_mounted(typed, thing.as_fd(), None)?;
                        return Ok(Destination { there: There::Directory, dir: thing, name: None });
                    }
                    FileType::RegularFile => There::File,
                    _ => {
                        let what = "a directory or a regular file";
                        return Err(CopyError::BadDestination { shown: self.shown(typed), what });
                    }
                },
                Err(Errno::NOENT) if as_directory => There::NoDirectory,
                Err(Errno::NOENT) => There::Nothing,
                Err(error) => return Err(failed(error)),
            };
            let (parent, name) = words::split(&path).ok_or_else(|| failed(Errno::NOENT))?;
            let (parent, name) = (as_path(parent), as_path(name).as_os_str().to_owned());
            let dir = match self.open(parent, OFlags::PATH | OFlags::DIRECTORY) {
                Err(Errno::NOENT) => {
                    let shown = self.shown(&parent.to_string_lossy());
                    return Err(CopyError::NoDirectory { shown });
                }
                done => done.map_err(failed)?,
            };
            match readlinkat(&dir, &name, Vec::new()) {
                Ok(target) => {
                    path = parent.join(as_path(target.as_bytes())).into_os_string().into_vec();
                }
                Err(Errno::INVAL | Errno::NOENT) => {
                    self.check_mounted(typed, dir.as_fd(), Some(&name))?;
                    return Ok(Destination { there, dir, name: Some(name) });
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Err(failed(Errno::LOOP))
    }

    /// That something of a container does not lie where something else is while that runs.
    fn check_mounted(&self, typed: &str, thing: BorrowedFd<'_>, name: Option<&OsStr>) -> Result<(), CopyError> {
        let Some(root) = self.root.as_ref().filter(|_| !self.unmounted.is_empty()) else { return Ok(()) };
        let failed = |source| CopyError::Destination { shown: self.shown(typed), source };
        let path = |fd: BorrowedFd<'_>| {
            let link = readlinkat(CWD, format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new()).map_err(failed)?;
            Ok::<_, CopyError>(PathBuf::from(OsString::from_vec(link.into_bytes())))
        };
        let (root, mut path) = (path(root.as_fd())?, path(thing)?);
        path.extend(name);
        let path = Path::new("/").join(path.strip_prefix(root).unwrap_or(&path));
        match self.unmounted.iter().find(|mount| path.starts_with(mount)) {
            Some(mount) => Err(CopyError::NotMounted { shown: self.shown(typed), mount: mount.clone() }),
            None => Ok(()),
        }
    }
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn kind(thing: BorrowedFd<'_>) -> Result<FileType, Errno> {
    let stat = statx(thing, "", AtFlags::EMPTY_PATH, StatxFlags::TYPE)?;
    Ok(FileType::from_raw_mode(stat.stx_mode.into()))
}

/// What tells a file from any other: device, major and minor number, and inode.
pub(super) fn inode(thing: BorrowedFd<'_>) -> Result<(u32, u32, u64), Errno> {
    let stat = statx(thing, "", AtFlags::EMPTY_PATH, StatxFlags::INO)?;
    Ok((stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino))
}
