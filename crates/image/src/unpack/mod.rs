//! An archive's entries become files below one directory.
//!
//! The archive is hostile, the directory is ours alone: it was just made, in a directory that only we may enter. Every
//! name is resolved by the kernel from the tree's own descriptor (`openat2` with `RESOLVE_IN_ROOT`), so that nothing in
//! the archive can name a thing outside. What that means for each trick:
//! - A leading `/` is of no consequence: names are relative to the tree. `..` in a name is refused; in a symlink's
//!   target it is kept, for it only ever acts inside the root that the container sees.
//! - A symlink where a name has a directory (`a -> /etc`, then `a/passwd`) is followed as the container would, the tree
//!   being its root, which is what Docker does. The last component of a name is never followed: it is replaced.
//! - A hard link goes to the entry itself, never through a symlink in its last place; its target is named from the
//!   tree's root, too.
//! - A later entry of the same name replaces the earlier one, whatever the two are, except that a directory keeps what
//!   is in it when another directory comes. So the last one wins, and no file is ever written through an old link.
//! - A parent that no entry names, or whose entry comes later, is made: mode 0755, owned by us.
//! - Devices are made, for nothing here opens them, but not character device 0/0: to overlayfs that is a whiteout.
//! - Attributes are those of [`attributes::Keep`]; none that overlayfs acts on.
//!
//! Directories are made with mode 0700 and get their owner, mode, attributes and times last, so that neither a closed
//! mode nor an inherited group or access list, nor the files made in them, spoil what the archive says.
//!
//! A layer ([`Whiteouts::Apply`]) is unpacked by the same rules into a directory that overlayfs mounts over those of lower
//! layers: see `layer.rs` for its whiteouts and opaque directories.
//!
//! Room: before a file is made, its size is held against what the file system has free for ordinary users, so that an
//! archive that claims (or decompresses to) more than there is fails before the disk is full rather than after.

pub(crate) mod attributes;
mod layer;
pub(crate) mod marks;
pub(crate) mod place;

use crate::error::Fault;
use crate::room::{ENTRY_COST, Room, shown};
use crate::tar::{Entry, Kind, Reader};
use attributes::Attributes;
use marks::Mark;
use place::Places;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::fs::{ftruncate, linkat, makedev, mkdirat, mknodat, openat, statat, symlinkat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::BufRead;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Unpacks the uncompressed archive `tar`, one layer of an image, into the empty directory `root`, for overlayfs to mount
/// over the directories of lower layers. `root` is one that only the caller can reach, just made with mode 0777.
///
/// For kernels and users that cannot mount images: see [`crate::erofs`]. It may take `most` bytes.
///
/// # Errors
/// What is wrong with the archive, or cannot be made. What is in `root` then is to be removed.
pub fn unpack_layer<R: BufRead>(tar: R, root: BorrowedFd<'_>, most: u64) -> Result<(), Fault> {
    unpack(tar, root, Whiteouts::Apply, Room::up_to(most))
}

/// Unpacks the (uncompressed) archive in `input` into the empty directory `root`, which only the caller can reach and
/// has just made with mode 0777.
pub(crate) fn unpack<R: BufRead>(
    input: R,
    root: BorrowedFd<'_>,
    whiteouts: Whiteouts,
    room: Room,
) -> Result<(), Fault> {
    let mut reader = match whiteouts {
        Whiteouts::Keep => Reader::new(input),
        Whiteouts::Apply => Reader::of_layer(input),
    };
    let mut unpacker = Unpacker::new(root, whiteouts, room)?;
    while let Some(entry) = reader.next()? {
        unpacker.add(entry, &mut reader)?;
    }
    unpacker.finish()
}

/// What becomes of names that speak of lower layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whiteouts {
    /// Nothing: the archive is a whole root file system, and they are names as any other.
    Keep,
    /// They become overlayfs's marks: the archive is one layer of an image.
    Apply,
}

struct Unpacker<'a> {
    whiteouts: Whiteouts,
    root: BorrowedFd<'a>,
    places: Places<'a>,
    maker: attributes::Maker,
    /// What directories get in the end, by their normal names without symlinks. Ordered, so that children come after their parents.
    directories: BTreeMap<Vec<u8>, Attributes>,
    room: Room,
    any: bool,
    looks: Looks,
}

/// Whether this is an image archive instead of a root file system.
#[derive(Default)]
struct Looks {
    image_file: Option<&'static str>,
    root: bool,
}

impl<'a> Unpacker<'a> {
    fn new(root: BorrowedFd<'a>, whiteouts: Whiteouts, room: Room) -> Result<Unpacker<'a>, Fault> {
        let maker = attributes::Maker::new(root).map_err(|error| room.fault("look at", b"/", error))?;
        Ok(Unpacker {
            whiteouts,
            root,
            places: Places::new(root, whiteouts),
            maker,
            directories: BTreeMap::from([(Vec::new(), Attributes::of_implied_directory())]),
            room,
            any: false,
            looks: Looks::default(),
        })
    }

    fn add<R: BufRead>(&mut self, entry: Entry, reader: &mut Reader<R>) -> Result<(), Fault> {
        self.any = true;
        let path = place::normal(&entry.name).map_err(|reason| Fault::Name { entry: shown(&entry.name), reason })?;
        self.look(&path, &entry.kind);
        let attributes = Attributes::of(&entry);
        if path.is_empty() {
            if entry.kind != Kind::Directory {
                let reason = "it is the root's, but the entry is no directory";
                return Err(Fault::Name { entry: shown(&entry.name), reason });
            }
            self.directories.insert(path, attributes);
            return Ok(());
        }
        let label = &entry.name;
        let mark = match self.whiteouts {
            Whiteouts::Keep => Mark::None,
            Whiteouts::Apply => marks::mark(&path).map_err(|reason| Fault::Name { entry: shown(label), reason })?,
        };
        if mark == Mark::Ignored {
            return Ok(());
        }
        self.room.take(self.root, ENTRY_COST, label)?;
        let (parent, name) = place::split(&path);
        self.places
            .enter(parent, &mut self.directories)
            .map_err(|e| self.room.fault("find the directory of", label, e))?;
        match mark {
            Mark::Whiteout(gone) => return self.whiteout(gone, label),
            Mark::Opaque => return self.opaque(b".", label),
            _ => {}
        }
        match &entry.kind {
            Kind::File { size } => self.file(name, *size, &attributes, label, reader),
            Kind::Directory => self.directory(name, attributes, label),
            Kind::Hardlink(target) => self.hardlink(name, target, label),
            Kind::Symlink(target) => {
                self.make(name, "make", label, |at| symlinkat(OsStr::from_bytes(target), at, OsStr::from_bytes(name)))?;
                self.dress(name, FileType::Symlink, &attributes, label)
            }
            Kind::Fifo => self.special(name, FileType::Fifo, (0, 0), &attributes, label),
            Kind::Char { major: 0, minor: 0 } => Err(Fault::Whiteout { entry: shown(label) }),
            Kind::Char { major, minor } => {
                self.special(name, FileType::CharacterDevice, (*major, *minor), &attributes, label)
            }
            Kind::Block { major, minor } => {
                self.special(name, FileType::BlockDevice, (*major, *minor), &attributes, label)
            }
        }
    }

    fn file<R: BufRead>(
        &mut self,
        name: &[u8],
        size: u64,
        attributes: &Attributes,
        label: &[u8],
        reader: &mut Reader<R>,
    ) -> Result<(), Fault> {
        self.room.take(self.root, reader.stored(), label)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Without setuid and the like until the owner is right.
        let mode = Mode::from_raw_mode(attributes.mode & 0o777);
        let file = self.make(name, "make", label, |at| openat(at, OsStr::from_bytes(name), flags, mode))?;
        let mut end = 0;
        reader.data(|mut offset, mut piece| {
            while !piece.is_empty() {
                let written = rustix::io::pwrite(&file, piece, offset);
                let written = written.map_err(|error| self.room.fault("write", label, error))?;
                piece = &piece[written..];
                offset += written as u64;
            }
            end = offset;
            Ok::<(), Fault>(())
        })?;
        if end < size {
            ftruncate(&file, size).map_err(|error| self.room.fault("write", label, error))?;
        }
        let made = self.maker.dress_open(file.as_fd(), FileType::RegularFile, attributes);
        made.map_err(|error| error.of(label, &self.room))
    }

    fn directory(&mut self, name: &[u8], attributes: Attributes, label: &[u8]) -> Result<(), Fault> {
        let at_name = OsStr::from_bytes(name);
        let made = match mkdirat(self.places.here(), at_name, Mode::RWXU) {
            Err(Errno::EXIST) => {
                let old = statat(self.places.here(), at_name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|error| self.room.fault("look at", label, error))?;
                if FileType::from_raw_mode(old.st_mode) != FileType::Directory {
                    self.make(name, "make", label, |at| mkdirat(at, at_name, Mode::RWXU))?;
                    if self.whiteouts == Whiteouts::Apply {
                        // What was here had already hidden what lower layers have.
                        self.opaque(name, label)?;
                    }
                }
                Ok(())
            }
            done => done,
        };
        made.map_err(|error| self.room.fault("make", label, error))?;
        self.directories.insert(self.places.real(name), attributes);
        Ok(())
    }

    fn hardlink(&mut self, name: &[u8], target: &[u8], label: &[u8]) -> Result<(), Fault> {
        let bad = |reason| Fault::Target { entry: shown(label), reason };
        let failed = |source| Fault::Link { entry: shown(label), target: shown(target), source };
        let below = || Fault::LinkBelow { entry: shown(label), target: shown(target) };
        let normal = place::normal(target).map_err(bad)?;
        let (directory, target_name) = place::split(&normal);
        if target_name.is_empty() {
            return Err(bad("it is the root itself"));
        }
        let from = match self.places.open(directory) {
            Err(Errno::NOENT) if self.whiteouts == Whiteouts::Apply => return Err(below()),
            done => done.map_err(failed)?,
        };
        if self.whiteouts == Whiteouts::Apply && layer::is_gone(from.as_fd(), target_name).map_err(failed)? {
            return Err(below());
        }
        let (old, new) = (OsStr::from_bytes(target_name), OsStr::from_bytes(name));
        let link = |at: BorrowedFd<'_>| linkat(&from, old, at, new, AtFlags::empty());
        match link(self.places.here()) {
            Err(Errno::EXIST) => {
                let stat = |at: BorrowedFd<'_>, name| statat(at, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed);
                let (target, existing) = (stat(from.as_fd(), old)?, stat(self.places.here(), new)?);
                if (target.st_dev, target.st_ino) == (existing.st_dev, existing.st_ino) {
                    return Ok(());
                }
                self.replace(name, label)?;
                link(self.places.here()).map_err(failed)
            }
            done => done.map_err(failed),
        }
    }

    fn special(
        &mut self,
        name: &[u8],
        kind: FileType,
        (major, minor): (u32, u32),
        attributes: &Attributes,
        label: &[u8],
    ) -> Result<(), Fault> {
        let mode = Mode::from_raw_mode(attributes.mode & 0o777);
        let device = makedev(major, minor);
        let is_device = kind != FileType::Fifo;
        // Nobody could open it: a user namespace makes no devices, and lets none be opened that are in its files.
        if is_device && !sys::namespace::is_first_user() {
            return Ok(());
        }
        self.make(name, "make", label, |at| mknodat(at, OsStr::from_bytes(name), kind, mode, device))?;
        self.dress(name, kind, attributes, label)
    }

    fn dress(&mut self, name: &[u8], kind: FileType, attributes: &Attributes, label: &[u8]) -> Result<(), Fault> {
        let made = self.maker.dress_named(self.places.here(), name, kind, attributes);
        made.map_err(|error| error.of(label, &self.room))
    }

    /// Makes `name` in the current directory by `act`; when there is one already, it is removed first.
    fn make<T>(
        &mut self,
        name: &[u8],
        what: &'static str,
        label: &[u8],
        act: impl Fn(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, Fault> {
        let made = match act(self.places.here()) {
            Err(Errno::EXIST) => {
                self.replace(name, label)?;
                act(self.places.here())
            }
            done => done,
        };
        made.map_err(|error| self.room.fault(what, label, error))
    }

    /// Removes what an earlier entry made.
    fn replace(&mut self, name: &[u8], label: &[u8]) -> Result<(), Fault> {
        self.places.forget();
        // What is noted of it, and of what is below it, must not meet what comes in its place.
        let gone = self.places.real(name);
        self.directories.remove(&gone);
        let below = [gone.as_slice(), b"/"].concat();
        let below =
            self.directories.range(below.clone()..).map(|(path, _)| path).take_while(|path| path.starts_with(&below));
        for path in below.cloned().collect::<Vec<_>>() {
            self.directories.remove(&path);
        }
        crate::remove::remove_tree(self.places.here(), OsStr::from_bytes(name))
            .map_err(|source| Fault::Replace { entry: shown(label), source: Box::new(source) })
    }

    fn look(&mut self, path: &[u8], kind: &Kind) {
        let (top, below) = place::first(path);
        match top {
            b"oci-layout" if below.is_empty() => self.looks.image_file = Some("oci-layout"),
            b"manifest.json" if below.is_empty() && matches!(kind, Kind::File { .. }) => {
                self.looks.image_file = Some("manifest.json");
            }
            b"bin" | b"etc" | b"usr" | b"sbin" | b"lib" | b"dev" => self.looks.root = true,
            _ => {}
        }
    }

    fn finish(mut self) -> Result<(), Fault> {
        // An empty layer is a layer.
        if !self.any && self.whiteouts == Whiteouts::Keep {
            return Err(Fault::NoEntries);
        }
        if let (Some(file), false) = (self.looks.image_file, self.looks.root)
            && self.whiteouts == Whiteouts::Keep
        {
            return Err(Fault::ImageArchive { entry: PathBuf::from(file) });
        }
        // Children first: a parent whose mode is closed would be in the way of anyone but root.
        for (path, attributes) in std::mem::take(&mut self.directories).iter().rev() {
            let directory: OwnedFd = match self.places.open_last(path) {
                Ok(directory) => directory,
                // Another entry replaced it, or one above it.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(error) => return Err(self.room.fault("open", path, error)),
            };
            let label: &[u8] = if path.is_empty() { b"/" } else { path };
            let made = self.maker.dress_open(directory.as_fd(), FileType::Directory, attributes);
            made.map_err(|error| error.of(label, &self.room))?;
        }
        Ok(())
    }
}
