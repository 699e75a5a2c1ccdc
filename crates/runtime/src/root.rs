//! The one choke point for paths inside a root file system.
//!
//! A root is hostile: any component of any path may be a symlink, may lead to `..` or to a magic link, and another
//! container may swap it while we look. So a path inside a root is never used as a string of the host. It is resolved
//! by the kernel with `openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)` below a descriptor of the root, and what comes
//! out is a descriptor. (CVE-2021-30465, CVE-2024-45310: mount targets and mkdir raced through symlinks.)

use crate::error::Error;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// How many symlinks one path may lead through, as the kernel's own limit.
const MAX_SYMLINKS: usize = 40;
/// How often a resolution is tried again when the kernel says that the tree moved under it.
const MAX_RACES: usize = 128;

/// An open root file system. The descriptor names a mount (detached or attached) or a plain directory.
#[derive(Debug)]
pub struct Root {
    dir: OwnedFd,
    // The kernel's own file systems in it, as they were mounted: see `Root::anchor`.
    anchors: RefCell<Vec<Anchor>>,
}

/// A mount of ours with its place in the root.
#[derive(Debug)]
struct Anchor {
    place: PathBuf,
    mount: OwnedFd,
}

/// What a mount target must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
}

impl Root {
    /// Takes over an open directory.
    pub fn new(dir: OwnedFd) -> Root {
        Root { dir, anchors: RefCell::new(Vec::new()) }
    }

    /// Opens a path of the host as a root, for programs that look inside before anything runs.
    pub fn open_host(path: &Path) -> Result<Root, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Root::new(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
    }

    /// The root of a process, by descriptor. It was that process's, and not one's that got its number later, if the process
    /// lives still when this returns.
    pub fn of_process(pid: i32) -> Result<Root, Error> {
        crate::procfs::Procfs::host()?.root(pid).map_err(Error::Proc)
    }

    /// Remembers what was mounted at `place`. From now on, paths below it are resolved below this very mount, and not by
    /// asking the root once more: in a directory that others can write to, `/proc` may be something else by then, and
    /// what was to be masked would stay open.
    pub(crate) fn anchor(&self, place: &Path, mount: OwnedFd) {
        self.anchors.borrow_mut().push(Anchor { place: place.to_owned(), mount });
    }

    /// Opens what `path` names inside the root, following symlinks as a process in the container would.
    pub fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.resolve(path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    }

    /// As [`Root::open`], but any symlink on the way is an error.
    pub(crate) fn open_without_symlinks(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.resolve(path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)
    }

    fn resolve(&self, path: &Path, flags: OFlags, how: ResolveFlags) -> Result<OwnedFd, Errno> {
        let anchors = self.anchors.borrow();
        let path = &Path::new("/").join(path);
        // The last mount at a place covers those before it, and the deepest place is the nearest.
        let below = anchors.iter().rev().filter_map(|a| Some((a, path.strip_prefix(&a.place).ok()?)));
        let nearest = below.min_by_key(|(_, rest)| rest.components().count());
        let (dir, path) = nearest.map_or((&self.dir, path.as_path()), |(anchor, rest)| (&anchor.mount, rest));
        // An empty path is the root itself; openat2 would refuse it.
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        for _ in 0..MAX_RACES {
            match rustix::fs::openat2(dir, path, flags | OFlags::CLOEXEC, Mode::empty(), how) {
                // A rename crossed a `..` of this path: the kernel cannot tell whether it left the root. [openat2(2)]
                Err(Errno::AGAIN) => {}
                done => return done,
            }
        }
        Err(Errno::AGAIN)
    }

    /// The place to mount something on: opens `path`, after making it and the directories above it where missing.
    /// A dangling symlink is followed inside the root and its end is made, as Docker does.
    pub(crate) fn target(&self, path: &Path, kind: Kind) -> Result<OwnedFd, Error> {
        let wrap = |source| Error::Target { path: path.to_owned(), source };
        match self.open(path, OFlags::PATH) {
            Ok(fd) => return check_kind(fd, kind, path),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(wrap(errno)),
        }
        let real = self.make(path, kind).map_err(wrap)?;
        let fd = self.open_without_symlinks(&real, OFlags::PATH).map_err(wrap)?;
        check_kind(fd, kind, path)
    }

    /// As [`Root::target`] for a directory, but a symlink at or above it is an error.
    pub(crate) fn target_without_symlinks(&self, path: &Path) -> Result<OwnedFd, Error> {
        let wrap = |source| Error::Target { path: path.to_owned(), source };
        let open = || self.open_without_symlinks(path, OFlags::PATH | OFlags::DIRECTORY);
        match open() {
            Err(Errno::NOENT) => {
                self.make(path, Kind::Directory).map_err(wrap)?;
                open().map_err(wrap)
            }
            done => done.map_err(wrap),
        }
    }

    /// As [`Root::target`], but a symlink as last component is itself the place. It must be there: a link is not made.
    pub(crate) fn target_nofollow(&self, path: &Path, kind: Kind) -> Result<OwnedFd, Error> {
        let wrap = |source| Error::Target { path: path.to_owned(), source };
        let parent = self.target(path.parent().unwrap_or(Path::new("/")), Kind::Directory)?;
        let name = path.file_name().ok_or_else(|| wrap(Errno::INVAL))?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(&parent, name, flags, Mode::empty());
        let fd = match open() {
            Err(Errno::NOENT) => {
                make_one(parent.as_fd(), name, true, kind).map_err(wrap)?;
                open().map_err(wrap)?
            }
            done => done.map_err(wrap)?,
        };
        check_kind(fd, kind, path)
    }

    /// Walks `path`, making what is missing; returns the path without symlinks.
    fn make(&self, path: &Path, kind: Kind) -> Result<PathBuf, Errno> {
        let mut ahead: VecDeque<OsString> = components(path);
        // Absolute throughout, so that anchors are met on the way.
        let mut real = PathBuf::from("/");
        let mut symlinks = 0;
        while let Some(name) = ahead.pop_front() {
            if name == ".." {
                real.pop();
                continue;
            }
            let parent = self.open_without_symlinks(&real, OFlags::PATH | OFlags::DIRECTORY)?;
            match read_link(parent.as_fd(), &name) {
                Ok(Some(link)) => {
                    symlinks += 1;
                    if symlinks > MAX_SYMLINKS {
                        return Err(Errno::LOOP);
                    }
                    if link.is_absolute() {
                        real = PathBuf::from("/");
                    }
                    for part in components(&link).into_iter().rev() {
                        ahead.push_front(part);
                    }
                    continue;
                }
                Ok(None) => {}
                Err(Errno::NOENT) => make_one(parent.as_fd(), &name, ahead.is_empty(), kind)?,
                Err(errno) => return Err(errno),
            }
            real.push(&name);
        }
        Ok(real)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

/// The target of a symlink, `None` for anything else that exists.
fn read_link(parent: BorrowedFd<'_>, name: &OsStr) -> Result<Option<PathBuf>, Errno> {
    match rustix::fs::readlinkat(parent, name, Vec::new()) {
        Ok(link) => Ok(Some(PathBuf::from(OsString::from_vec(link.into_bytes())))),
        Err(Errno::INVAL) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn make_one(parent: BorrowedFd<'_>, name: &OsStr, last: bool, kind: Kind) -> Result<(), Errno> {
    let made = if last && kind == Kind::File {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
    } else {
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))
    };
    match made {
        // Somebody else made it first; whatever it is, the final open decides.
        Err(Errno::EXIST) => Ok(()),
        done => done,
    }
}

fn check_kind(fd: OwnedFd, kind: Kind, path: &Path) -> Result<OwnedFd, Error> {
    let is_directory = is_directory(fd.as_fd()).map_err(|source| Error::Target { path: path.to_owned(), source })?;
    if is_directory == (kind == Kind::Directory) { Ok(fd) } else { Err(Error::Kinds { path: path.to_owned() }) }
}

/// True when the descriptor names a directory.
pub(crate) fn is_directory(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let stat = rustix::fs::statx(fd, c"", rustix::fs::AtFlags::EMPTY_PATH, StatxFlags::TYPE)?;
    Ok(rustix::fs::FileType::from_raw_mode(stat.stx_mode.into()) == rustix::fs::FileType::Directory)
}

/// A path as people write it for the inside of a container: `/etc/x`, whatever it looked like.
pub(crate) fn shown(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    if bytes.starts_with(b"/") { path.to_owned() } else { Path::new("/").join(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> (PathBuf, Root) {
        let path = std::env::temp_dir().join(format!("mycontainer-root-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        let root = Root::open_host(&path).unwrap();
        (path, root)
    }

    #[test]
    fn targets_are_made_inside_the_root_whatever_the_symlinks_say() {
        let cases: &[(&str, &str, &str, &str)] = &[
            // (name, symlink, its target, what must exist below the root afterwards)
            ("absolute", "etc", "/elsewhere", "elsewhere/file"),
            ("climbing", "etc", "../../../../../../elsewhere", "elsewhere/file"),
            ("relative", "etc", "usr/etc", "usr/etc/file"),
            ("to the root", "etc", "/", "file"),
        ];
        for (name, link, target, expected) in cases {
            let (path, root) = scratch(&name.replace(' ', "-"));
            std::os::unix::fs::symlink(target, path.join(link)).unwrap();
            root.target(Path::new("/etc/file"), Kind::File).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(path.join(expected).is_file(), "{name}: {expected} is missing");
            std::fs::remove_dir_all(&path).unwrap();
        }
    }

    #[test]
    fn a_loop_of_symlinks_is_an_error() {
        let (path, root) = scratch("loop");
        std::os::unix::fs::symlink("b", path.join("a")).unwrap();
        std::os::unix::fs::symlink("a", path.join("b")).unwrap();
        assert!(matches!(root.target(Path::new("a/file"), Kind::File), Err(Error::Target { source: Errno::LOOP, .. })));
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_magic_link_is_never_followed() {
        let (path, root) = scratch("magic");
        std::os::unix::fs::symlink("/proc/self/root/etc", path.join("etc")).unwrap();
        // `proc` does not exist in this root, so the link is an ordinary dangling one and is made inside.
        root.target(Path::new("etc/file"), Kind::File).unwrap();
        assert!(path.join("proc/self/root/etc/file").is_file());
        // The host's own /proc has real magic links.
        let host = Root::open_host(Path::new("/")).unwrap();
        assert_eq!(host.open(Path::new("proc/self/root/etc"), OFlags::PATH).unwrap_err(), Errno::LOOP);
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn the_kind_of_an_existing_target_is_checked() {
        let (path, root) = scratch("kind");
        std::fs::create_dir(path.join("d")).unwrap();
        std::fs::write(path.join("f"), "").unwrap();
        assert!(root.target(Path::new("d"), Kind::File).is_err());
        assert!(root.target(Path::new("f"), Kind::Directory).is_err());
        assert!(root.target(Path::new("d"), Kind::Directory).is_ok());
        assert!(root.target(Path::new("f/x"), Kind::File).is_err());
        std::fs::remove_dir_all(&path).unwrap();
    }
}
