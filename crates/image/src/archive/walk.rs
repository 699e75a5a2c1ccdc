//! A walk over a tree that somebody else made, and may be changing.
//!
//! One directory is open at a time, found from the tree's top by the kernel (`openat2`, beneath it, through no symlink
//! and no mount), so that no depth needs descriptors and no change of the tree leads out of it. A directory comes before
//! what is in it, then its files in the order of their bytes, then its directories: the same tree gives the same walk.
//! What goes away meanwhile is passed over. What is mounted somewhere in the tree is not the tree's, unless the caller
//! wants it ([`Mounts`]): a directory is shown empty, and a file is shown so, too.
//!
//! A file is looked at before it is opened to be read, by the same descriptor: a device or a pipe is never opened.

use super::Flaw;
use crate::error::Error;
use crate::room::shown;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Statx, StatxAttributes, StatxFlags};
use rustix::fs::{fgetxattr, flistxattr, getxattr, lgetxattr, listxattr, llistxattr, open, openat, openat2};
use rustix::fs::{fstatfs, readlinkat, statx};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

/// What becomes of what is mounted in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mounts {
    /// It is left out.
    Left,
    /// It is part of the tree, but for the kernel's own file systems ([`is_kernels`]).
    Crossed,
}

/// Extended attributes: names and values.
pub(super) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Something in a tree.
pub(super) struct Node<'a> {
    /// Its name from the top; empty for the top itself.
    pub(super) path: &'a [u8],
    stat: Statx,
    /// Open, if it is a directory or a file.
    pub(super) file: Option<File>,
    /// Else where it is.
    at: At<'a>,
    /// What is in it is not shown.
    is_shut: bool,
}

/// Where something is that is never opened.
#[derive(Clone, Copy)]
enum At<'a> {
    /// It is open.
    File,
    /// A directory, and the name there.
    Name(BorrowedFd<'a>, &'a OsStr),
    /// By `O_PATH`.
    Path(BorrowedFd<'a>),
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

    /// What is to be added to these.
    pub(super) fn nanoseconds(&self) -> u32 {
        self.stat.stx_mtime.tv_nsec
    }

    pub(super) fn device(&self) -> (u32, u32) {
        (self.stat.stx_rdev_major, self.stat.stx_rdev_minor)
    }

    /// Bytes of a file; none of one that is mounted here and left out.
    pub(super) fn size(&self) -> u64 {
        if self.is_shut { 0 } else { self.stat.stx_size }
    }

    /// What tells that two names are of one file, and how many such names there are.
    pub(super) fn inode(&self) -> ((u32, u32, u64), u32) {
        ((self.stat.stx_dev_major, self.stat.stx_dev_minor, self.stat.stx_ino), self.stat.stx_nlink)
    }

    pub(super) fn target(&self) -> Result<Vec<u8>, Errno> {
        let target = match self.at {
            At::Name(directory, name) => readlinkat(directory, name, Vec::new()),
            At::Path(link) => readlinkat(link, "", Vec::new()),
            At::File => Err(Errno::INVAL),
        };
        Ok(target?.into_bytes())
    }

    /// All its extended attributes, in the order of their names.
    pub(super) fn xattrs(&self, buffer: &mut [u8]) -> Result<Xattrs, Errno> {
        // There is no call that takes a directory and a name before Linux 6.13; the directory's own link in /proc leads
        // to it whatever its path is.
        let path = match self.at {
            At::File => Vec::new(),
            At::Name(directory, name) => [link_to(directory).as_bytes(), b"/", name.as_bytes()].concat(),
            At::Path(thing) => link_to(thing).into_bytes(),
        };
        let path = OsStr::from_bytes(&path);
        let list = match (&self.file, self.at) {
            (Some(file), _) => flistxattr(file, &mut *buffer),
            // The link in /proc leads to the thing itself, and no further if that is a symlink.
            (None, At::Path(_)) => listxattr(path, &mut *buffer),
            (None, _) => llistxattr(path, &mut *buffer),
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
            let value = match (&self.file, self.at) {
                (Some(file), _) => fgetxattr(file, key, &mut *buffer),
                (None, At::Path(_)) => getxattr(path, key, &mut *buffer),
                (None, _) => lgetxattr(path, key, &mut *buffer),
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
    mounts: Mounts,
    visit: &mut dyn FnMut(&mut Node<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut left: Vec<Vec<u8>> = vec![Vec::new()];
    while let Some(path) = left.pop() {
        let failed = |act: &'static str| {
            let path = path.clone();
            move |source| tree_error(&path, Flaw::system(act, &shown(&path).to_string_lossy(), source))
        };
        let directory = match open_below(root, &path, OFlags::RDONLY | OFlags::DIRECTORY, mounts) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) if !path.is_empty() => continue,
            done => done.map_err(failed("open"))?,
        };
        let stat = look(directory.as_fd(), "", AtFlags::EMPTY_PATH).map_err(failed("look at"))?;
        let is_shut = mounts == Mounts::Crossed && is_mount(&stat) && is_kernels(directory.as_fd());
        let file =
            directory.try_clone().map_err(|e| failed("open")(Errno::from_io_error(&e).unwrap_or(Errno::MFILE)))?;
        visit(&mut Node { path: &path, stat, file: Some(File::from(file)), at: At::File, is_shut })?;
        if is_shut {
            continue;
        }
        let names = names(&directory).map_err(failed("read"))?;
        let mut below = Vec::new();
        for name in names {
            let whole = if path.is_empty() { name.clone() } else { [path.as_slice(), b"/", &name].concat() };
            let name = OsStr::from_bytes(&name);
            match node(directory.as_fd(), name, &whole, mounts) {
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

/// As [`walk`], from anything that is open by `O_PATH`, if only a file.
pub(super) fn walk_thing(
    thing: BorrowedFd<'_>,
    visit: &mut dyn FnMut(&mut Node<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let failed = |source| tree_error(b"", Flaw::system("open", "it", source));
    let stat = look(thing, "", AtFlags::EMPTY_PATH).map_err(failed)?;
    match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::Directory => walk(thing, Mounts::Crossed, visit),
        FileType::RegularFile => {
            let file = Some(File::from(reopened(thing).map_err(failed)?));
            visit(&mut Node { path: b"", stat, file, at: At::File, is_shut: false })
        }
        _ => visit(&mut Node { path: b"", stat, file: None, at: At::Path(thing), is_shut: false }),
    }
}

/// What has this name; `None` for a directory to be walked, too.
fn node<'a>(
    directory: BorrowedFd<'a>,
    name: &'a OsStr,
    path: &'a [u8],
    mounts: Mounts,
) -> Result<Option<Node<'a>>, Errno> {
    let stat = look(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let is_left = |stat: &Statx| mounts == Mounts::Left && is_mount(stat);
    let kind = FileType::from_raw_mode(stat.stx_mode.into());
    if kind == FileType::Directory && !is_left(&stat) {
        return Ok(None);
    }
    let is_shut = is_left(&stat);
    let closed = |stat, is_shut| Node { path, stat, file: None, at: At::Name(directory, name), is_shut };
    if kind != FileType::RegularFile || is_shut {
        return Ok(Some(closed(stat, is_shut)));
    }
    let file = openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let stat = look(file.as_fd(), "", AtFlags::EMPTY_PATH)?;
    if FileType::from_raw_mode(stat.stx_mode.into()) != FileType::RegularFile || is_left(&stat) {
        // It became another thing between the two calls.
        return Err(Errno::NOENT);
    }
    if is_mount(&stat) && is_kernels(file.as_fd()) {
        return Ok(Some(closed(stat, true)));
    }
    let file = Some(File::from(reopened(file.as_fd())?));
    Ok(Some(Node { path, stat, file, at: At::File, is_shut: false }))
}

/// The same file, open to be read. The caller knows that it is one.
fn reopened(file: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    open(link_to(file), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())
}

/// A descriptor's own link in /proc, which leads to what it is open on, whatever its path is by now.
fn link_to(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Whether something is on a file system whose files are views of the kernel: they have no size, and to read or write one
/// can do anything.
pub(crate) fn is_kernels(thing: BorrowedFd<'_>) -> bool {
    /// proc, sysfs, cgroup, cgroup2, devpts, mqueue, debugfs, tracefs, securityfs, bpf, efivarfs, configfs, fusectl,
    /// binfmt_misc, pstore, nsfs, autofs, resctrl, selinuxfs, smackfs. [linux/magic.h]
    const MAGIC: [u32; 20] = [
        0x9fa0,
        0x6265_6572,
        0x0027_e0eb,
        0x6367_7270,
        0x1cd1,
        0x1980_0202,
        0x6462_6720,
        0x7472_6163,
        0x7363_6673,
        0xcafe_4a11,
        0xde5e_81e4,
        0x6265_6570,
        0x6573_5543,
        0x4249_4e4d,
        0x6165_676c,
        0x6e73_6673,
        0x0187,
        0x0765_5821,
        0xf97c_ff8c,
        0x4341_5d53,
    ];
    fstatfs(thing).is_ok_and(|all| MAGIC.contains(&(all.f_type as u32)))
}

fn is_mount(stat: &Statx) -> bool {
    stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
}

pub(crate) fn look(at: BorrowedFd<'_>, name: impl rustix::path::Arg, flags: AtFlags) -> Result<Statx, Errno> {
    statx(at, name, flags | AtFlags::NO_AUTOMOUNT, StatxFlags::BASIC_STATS)
}

pub(super) fn open_directory(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    open_at(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Opens what is beneath `root`, through no symlink and no mount.
pub(super) fn open_at(root: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    open_below(root, path, flags, Mounts::Left)
}

fn open_below(root: BorrowedFd<'_>, path: &[u8], flags: OFlags, mounts: Mounts) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    if mounts == Mounts::Left {
        resolve |= ResolveFlags::NO_XDEV;
    }
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
