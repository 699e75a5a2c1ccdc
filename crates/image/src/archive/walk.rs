//! A walk over a tree that somebody else made, and may be changing.
//!
//! One directory is open at a time, found from the tree's top by the kernel (`openat2`, beneath it, through no symlink
//! and no mount), so that no depth needs descriptors and no change of the tree leads out of it. A directory comes before
//! what is in it, then its files in the order of their bytes, then its directories: the same tree gives the same walk.
//! What goes away meanwhile is passed over. What is mounted somewhere in the tree is not the tree's: a directory is
//! shown empty, and a file is shown so, too.

use super::Flaw;
use crate::error::Error;
use crate::room::shown;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Statx, StatxAttributes, StatxFlags};
use rustix::fs::{fgetxattr, flistxattr, lgetxattr, llistxattr, openat, openat2, readlinkat, statx};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

/// Extended attributes: names and values.
pub(super) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Something in a tree.
pub(super) struct Node<'a> {
    /// Its name from the top; empty for the top itself.
    pub(super) path: &'a [u8],
    stat: Statx,
    /// Open, if it is a directory or a file.
    pub(super) file: Option<File>,
    /// Else where it is, and its name there.
    at: Option<(BorrowedFd<'a>, &'a OsStr)>,
}

impl Node<'_> {
    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.stx_mode.into())
    }

    pub(super) fn mode(&self) -> u32 {
        u32::from(self.stat.stx_mode) & 0o7777
    }

    pub(super) fn owner(&self) -> (u32, u32) {
        (self.stat.stx_uid, self.stat.stx_gid)
    }

    /// Seconds since 1970, rounded down.
    pub(super) fn mtime(&self) -> i64 {
        self.stat.stx_mtime.tv_sec
    }

    pub(super) fn device(&self) -> (u32, u32) {
        (self.stat.stx_rdev_major, self.stat.stx_rdev_minor)
    }

    /// Bytes of a file; none of one that is mounted here.
    pub(super) fn size(&self) -> u64 {
        if is_mount(&self.stat) { 0 } else { self.stat.stx_size }
    }

    /// What tells that two names are of one file, and how many such names there are.
    pub(super) fn inode(&self) -> ((u32, u32, u64), u32) {
        ((self.stat.stx_dev_major, self.stat.stx_dev_minor, self.stat.stx_ino), self.stat.stx_nlink)
    }

    pub(super) fn target(&self) -> Result<Vec<u8>, Errno> {
        let (directory, name) = self.at.ok_or(Errno::INVAL)?;
        Ok(readlinkat(directory, name, Vec::new())?.into_bytes())
    }

    /// All its extended attributes, in the order of their names.
    pub(super) fn xattrs(&self, buffer: &mut [u8]) -> Result<Xattrs, Errno> {
        // There is no call that takes a directory and a name before Linux 6.13; the directory's own link in /proc leads
        // to it whatever its path is.
        let path = self.at.map(|(directory, name)| {
            let link = format!("/proc/self/fd/{}/", directory.as_raw_fd());
            [link.as_bytes(), name.as_bytes()].concat()
        });
        let path = path.as_deref().map(OsStr::from_bytes).unwrap_or_default();
        let list = match &self.file {
            Some(file) => flistxattr(file, &mut *buffer),
            None => llistxattr(path, &mut *buffer),
        };
        let length = match list {
            Err(Errno::NOTSUP) => return Ok(Vec::new()),
            // What is found by its name may be gone since it was seen.
            Err(Errno::NOENT | Errno::NOTDIR) if self.file.is_none() => return Ok(Vec::new()),
            done => done?,
        };
        let mut names: Vec<Vec<u8>> = buffer[..length].split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
        names.retain(|name| !name.is_empty());
        names.sort();
        let mut all = Vec::with_capacity(names.len());
        for name in names {
            let key = OsStr::from_bytes(&name);
            let value = match &self.file {
                Some(file) => fgetxattr(file, key, &mut *buffer),
                None => lgetxattr(path, key, &mut *buffer),
            };
            match value {
                Ok(length) => all.push((name, buffer[..length].to_vec())),
                // It was taken away meanwhile, or is hidden from us.
                Err(Errno::NODATA | Errno::NOTSUP | Errno::PERM | Errno::ACCESS) => {}
                Err(Errno::NOENT | Errno::NOTDIR) if self.file.is_none() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }
}

/// Walks over the tree below `root`, which comes first.
pub(super) fn walk(
    root: BorrowedFd<'_>,
    visit: &mut dyn FnMut(&mut Node<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut left: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(path) = left.pop() {
        let failed = |act: &'static str| {
            let path = path.clone();
            move |source| tree_error(&path, Flaw::system(act, &shown(&path).to_string_lossy(), source))
        };
        let directory = match open_directory(root, &path) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) if !path.is_empty() => continue,
            done => done.map_err(failed("open"))?,
        };
        let stat = look(directory.as_fd(), "", AtFlags::EMPTY_PATH).map_err(failed("look at"))?;
        let file =
            directory.try_clone().map_err(|e| failed("open")(Errno::from_io_error(&e).unwrap_or(Errno::MFILE)))?;
        visit(&mut Node { path: &path, stat, file: Some(File::from(file)), at: None })?;
        let names = names(&directory).map_err(failed("read"))?;
        let mut below = Vec::new();
        for name in names {
            let whole = if path.is_empty() { name.clone() } else { [path.as_slice(), b"/", &name].concat() };
            let name = OsStr::from_bytes(&name);
            match node(directory.as_fd(), name, &whole) {
                Ok(None) => below.push(whole),
                Ok(Some(mut node)) => visit(&mut node)?,
                Err(Errno::NOENT) => {}
                Err(source) => {
                    let flaw = Flaw::system("open", &shown(&whole).to_string_lossy(), source);
                    return Err(tree_error(&whole, flaw));
                }
            }
        }
        left.extend(below.into_iter().rev());
    }
    Ok(())
}

/// What has this name; `None` for a directory to be walked, too.
fn node<'a>(directory: BorrowedFd<'a>, name: &'a OsStr, path: &'a [u8]) -> Result<Option<Node<'a>>, Errno> {
    let stat = look(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(stat.stx_mode.into());
    if kind == FileType::Directory && !is_mount(&stat) {
        return Ok(None);
    }
    if kind != FileType::RegularFile || is_mount(&stat) {
        return Ok(Some(Node { path, stat, file: None, at: Some((directory, name)) }));
    }
    // What is a pipe by now must not make us wait.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match openat(directory, name, flags, Mode::empty()) {
        Err(Errno::LOOP | Errno::NXIO) => return Err(Errno::NOENT),
        done => done?,
    };
    let stat = look(file.as_fd(), "", AtFlags::EMPTY_PATH)?;
    let is_file = FileType::from_raw_mode(stat.stx_mode.into()) == FileType::RegularFile;
    if !is_file || is_mount(&stat) {
        // It became another thing between the two calls.
        return Err(Errno::NOENT);
    }
    Ok(Some(Node { path, stat, file: Some(File::from(file)), at: None }))
}

fn is_mount(stat: &Statx) -> bool {
    stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
}

fn look(at: BorrowedFd<'_>, name: impl rustix::path::Arg, flags: AtFlags) -> Result<Statx, Errno> {
    statx(at, name, flags | AtFlags::NO_AUTOMOUNT, StatxFlags::BASIC_STATS)
}

pub(super) fn open_directory(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    open_at(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Opens what is beneath `root`, through no symlink and no mount.
pub(super) fn open_at(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    loop {
        match openat2(root, OsStr::from_bytes(path), flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return done,
        }
    }
}

pub(super) fn names(directory: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

pub(super) fn tree_error(path: &[u8], flaw: Flaw) -> Error {
    let path: &[u8] = if path.is_empty() { b"/" } else { path };
    Error::Tree { path: shown(path), source: Box::new(flaw) }
}
