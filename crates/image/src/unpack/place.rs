//! Where an entry goes: its name made normal, and the directory that holds it found or made.

use super::attributes::Attributes;
use super::{Whiteouts, layer};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, unlinkat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsStr;
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
    last: Option<(Vec<u8>, OwnedFd)>,
}

impl<'a> Places<'a> {
    pub(super) fn new(root: BorrowedFd<'a>, whiteouts: Whiteouts) -> Places<'a> {
        Places { root, whiteouts, last: None }
    }

    /// The directory last entered.
    pub(super) fn here(&self) -> BorrowedFd<'_> {
        self.last.as_ref().map_or(self.root, |(_, directory)| directory.as_fd())
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
        if self.last.as_ref().is_some_and(|(last, _)| last == path) {
            return Ok(());
        }
        let directory = match self.open(path) {
            Err(Errno::NOENT) => self.make_all(path, made)?,
            // A whiteout on the way is nothing, too.
            Err(Errno::NOTDIR) if self.whiteouts == Whiteouts::Apply => self.make_all(path, made)?,
            done => done?,
        };
        self.last = Some((path.to_vec(), directory));
        Ok(())
    }

    /// Opens an existing directory, symlinks being followed as the container would.
    pub(super) fn open(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.open_with(path, OFlags::PATH)
    }

    /// As [`Places::open`], but to change its attributes, and only when the last component is itself a directory.
    pub(super) fn open_last(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.open_with(path, OFlags::RDONLY | OFlags::NOFOLLOW)
    }

    fn open_with(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
        loop {
            match openat2(self.root, OsStr::from_bytes(path), flags, Mode::empty(), resolve) {
                // A rename or mount anywhere on the machine, while a `..` in a symlink was walked. [openat2(2)]
                Err(Errno::AGAIN | Errno::INTR) => {}
                done => return done,
            }
        }
    }

    /// Makes what is missing of `path`, one component after the other.
    fn make_all(&self, path: &[u8], made: &mut BTreeMap<Vec<u8>, Attributes>) -> Result<OwnedFd, Errno> {
        let mut here = self.open(b"")?;
        let mut end = 0;
        for component in path.split(|byte| *byte == b'/') {
            end += component.len() + usize::from(end > 0);
            let name = OsStr::from_bytes(component);
            match mkdirat(&here, name, Mode::RWXU) {
                Ok(()) => drop(made.insert(path[..end].to_vec(), Attributes::of_implied_directory())),
                Err(Errno::EXIST)
                    if self.whiteouts == Whiteouts::Apply && layer::is_whiteout(here.as_fd(), component)? =>
                {
                    unlinkat(&here, name, AtFlags::empty())?;
                    mkdirat(&here, name, Mode::RWXU)?;
                    layer::mark_opaque(here.as_fd(), component)?;
                    made.insert(path[..end].to_vec(), Attributes::of_implied_directory());
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            here = match openat(&here, name, flags, Mode::empty()) {
                // A symlink: where it leads is the kernel's to say, from the root.
                Err(Errno::NOTDIR | Errno::LOOP) => self.open(&path[..end])?,
                done => done?,
            };
        }
        Ok(here)
    }

    /// Forgets the directory last entered, because what its name means may have changed. It stays the current one.
    pub(super) fn forget(&mut self) {
        if let Some((path, _)) = &mut self.last {
            path.clear();
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
