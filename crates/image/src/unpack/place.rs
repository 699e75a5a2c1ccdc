//! Where an entry goes: its name made normal, and the directory that holds it found or made.

use super::attributes::Attributes;
use super::{Whiteouts, layer};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, readlinkat, unlinkat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;

/// The name's components with one slash between each two, none before and none after: empty for the root itself.
pub(crate) fn normal(name: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut normal = Vec::with_capacity(name.len());
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err("it climbs with `..`"),
            component => {
                if !normal.is_empty() {
                    normal.push(b'/');
                }
                normal.extend_from_slice(component);
            }
        }
    }
    Ok(normal)
}

/// The directory of a normal name, and its last component.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// The normal name of `name` in the directory `path`.
fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() }
}

/// The first component of a normal name, and the rest.
pub(crate) fn first(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().position(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (path, b""),
    }
}

/// The directories of a tree, the last one kept open: entries of one directory mostly come together.
pub(super) struct Places<'a> {
    root: BorrowedFd<'a>,
    whiteouts: Whiteouts,
    last: Option<Last>,
}

struct Last {
    /// Its name in the archive.
    path: Vec<u8>,
    /// Its name without symlinks: see [`Places::real`].
    real: Vec<u8>,
    directory: OwnedFd,
}

impl<'a> Places<'a> {
    pub(super) fn new(root: BorrowedFd<'a>, whiteouts: Whiteouts) -> Places<'a> {
        Places { root, whiteouts, last: None }
    }

    /// The directory last entered.
    pub(super) fn here(&self) -> BorrowedFd<'_> {
        self.last.as_ref().map_or(self.root, |last| last.directory.as_fd())
    }

    /// The name of `name` in the current directory, without symlinks: what is noted of a directory for the end must not
    /// depend on what a symlink that led to it means by then.
    pub(super) fn real(&self, name: &[u8]) -> Vec<u8> {
        self.last.as_ref().map_or_else(|| name.to_vec(), |last| join(&last.real, name))
    }

    /// Opens a directory and makes it the current one; those that are missing are made, and noted in `made`.
    ///
    /// What was entered last is asked for by name again only when the name is another: an entry that takes the place of
    /// a directory must call [`Places::forget`].
    pub(super) fn enter(&mut self, path: &[u8], made: &mut BTreeMap<Vec<u8>, Attributes>) -> Result<(), Errno> {
        if path.is_empty() {
            self.last = None;
            return Ok(());
        }
        if self.last.as_ref().is_some_and(|last| last.path == path) {
            return Ok(());
        }
        let (directory, real) = match self.open_with(path, OFlags::PATH, ResolveFlags::NO_SYMLINKS) {
            Ok(directory) => (directory, path.to_vec()),
            // A symlink, or (and then it is nothing) a whiteout on the way.
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => self.make_all(path, made)?,
            Err(error) => return Err(error),
        };
        self.last = Some(Last { path: path.to_vec(), real, directory });
        Ok(())
    }

    /// Opens an existing directory, symlinks being followed as the container would.
    pub(super) fn open(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.open_with(path, OFlags::PATH, ResolveFlags::empty())
    }

    /// As [`Places::open`], but to change its attributes, and only when the last component is itself a directory.
    pub(super) fn open_last(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.open_with(path, OFlags::RDONLY | OFlags::NOFOLLOW, ResolveFlags::empty())
    }

    fn open_with(&self, path: &[u8], flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let resolve = resolve | ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
        loop {
            match openat2(self.root, OsStr::from_bytes(path), flags, Mode::empty(), resolve) {
                // A rename or mount anywhere on the machine, while a `..` in a symlink was walked. [openat2(2)]
                Err(Errno::AGAIN | Errno::INTR) => {}
                done => return done,
            }
        }
    }

    /// Makes what is missing of `path`, one component after the other; the directory and its real name.
    fn make_all(&self, path: &[u8], made: &mut BTreeMap<Vec<u8>, Attributes>) -> Result<(OwnedFd, Vec<u8>), Errno> {
        let (mut here, mut real) = (self.open(b"")?, Vec::new());
        let mut end = 0;
        for component in path.split(|byte| *byte == b'/') {
            end += component.len() + usize::from(end > 0);
            let name = OsStr::from_bytes(component);
            real = join(&real, component);
            if self.make_one(here.as_fd(), component)? {
                made.insert(real.clone(), Attributes::of_implied_directory());
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            here = match openat(&here, name, flags, Mode::empty()) {
                // A symlink: where it leads is the kernel's to say, from the root.
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let there = self.open(&path[..end])?;
                    // Deeper than a path is long, it keeps the name that it has in the archive.
                    real = self.name_of(there.as_fd()).unwrap_or_else(|| path[..end].to_vec());
                    there
                }
                done => done?,
            };
        }
        Ok((here, real))
    }

    /// Makes a directory where there is nothing, or a whiteout; whether it did.
    fn make_one(&self, here: BorrowedFd<'_>, component: &[u8]) -> Result<bool, Errno> {
        let name = OsStr::from_bytes(component);
        match mkdirat(here, name, Mode::RWXU) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) if self.whiteouts == Whiteouts::Apply && layer::is_whiteout(here, component)? => {
                unlinkat(here, name, AtFlags::empty())?;
                mkdirat(here, name, Mode::RWXU)?;
                layer::mark_opaque(here, component).map(|()| true)
            }
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The normal name of an open directory, as the kernel knows it.
    fn name_of(&self, directory: BorrowedFd<'_>) -> Option<Vec<u8>> {
        let path = |of: BorrowedFd<'_>| {
            let link = format!("/proc/self/fd/{}", of.as_raw_fd());
            readlinkat(CWD, link, Vec::new()).ok().map(CString::into_bytes)
        };
        let below = path(directory)?.strip_prefix(path(self.root)?.as_slice())?.to_vec();
        Some(below.strip_prefix(b"/").map(<[u8]>::to_vec).unwrap_or(below))
    }

    /// Forgets the directory last entered, because what its name means may have changed. It stays the current one.
    pub(super) fn forget(&mut self) {
        if let Some(last) = &mut self.last {
            last.path.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_normal_or_are_refused() {
        let table: [(&[u8], Option<&[u8]>); 10] = [
            (b"a/b", Some(b"a/b")),
            (b"./a//b/./", Some(b"a/b")),
            (b"/etc/passwd", Some(b"etc/passwd")),
            (b"./", Some(b"")),
            (b"/", Some(b"")),
            (b"..", None),
            (b"a/../b", None),
            (b"/..", None),
            (b"..a/b..", Some(b"..a/b..")),
            (b"\xff\n", Some(b"\xff\n")),
        ];
        for (name, expected) in table {
            assert_eq!(normal(name).ok().as_deref(), expected, "{}", name.escape_ascii());
        }
    }
}
