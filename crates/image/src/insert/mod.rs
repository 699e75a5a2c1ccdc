//! Entries become files in a tree that is there already, and in which others are at work: what `cp` does.
//!
//! The entries are hostile, and so may be whoever owns the tree. These hold at all times:
//! - Every directory is found by the kernel from the descriptor of the one that all goes to (`openat2`), and how symlinks
//!   on the way are taken is the caller's choice ([`Links`]); `..` in a name is refused. So nothing is made or changed
//!   outside, whatever the names, the links among the entries, and the links that somebody makes meanwhile.
//!   (CVE-2018-15664)
//! - The last component of a name is never followed. A file is made anew and exclusively, after what had its name was
//!   unlinked, so that nothing is ever written through an old link or into a device. A directory is never replaced by a
//!   file, nor the reverse: that is [`Error::Clash`].
//! - What was made gets its owner, mode, attributes and time by a descriptor of itself: by its name it might be another
//!   thing by then. See `dress.rs`.
//! - Nothing goes into the kernel's own file systems.
//!
//! Directories get theirs when the entries have left them, for a file that is made in one changes its time. Only those
//! that lead to the current entry are remembered: memory does not grow with what comes in.

mod dress;

use crate::archive::walk::{is_kernels, look};
use crate::archive::{AS_ON_DISK, Owners};
use crate::error::Error;
use crate::input::{CHUNK, decoded};
use crate::room::shown;
use crate::tar::{Entry, Kind, Reader};
use crate::unpack::place::{normal, split};
use dress::Dress;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, SeekFrom};
use rustix::fs::{ftruncate, linkat, makedev, mkdirat, mknodat, openat, openat2, seek, statat, symlinkat, unlinkat};
use rustix::io::{Errno, pread, pwrite};
use std::ffi::OsStr;
use std::fs::File;
use std::io::BufRead;
use std::os::unix::ffi::OsStrExt;

/// How symlinks on the way to an entry's directory are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// One is an error.
    Refused,
    /// One is followed as long as it stays below the directory that all goes to.
    Beneath,
    /// One is followed, that directory being the root of all paths.
    InRoot,
}

/// What was put somewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inserted {
    /// Entries of any kind.
    pub entries: u64,
    /// Bytes of the files among them, holes included.
    pub bytes: u64,
    /// Names of devices that were left out: in a user namespace nobody can make them.
    pub devices: Vec<Vec<u8>>,
}

/// Puts entries into a directory.
pub struct Inserter<'a> {
    top: BorrowedFd<'a>,
    links: Links,
    /// Who everything shall belong to, if not to whom the entry says.
    owner: Option<(u32, u32)>,
    /// Whose they are on disk then.
    on_disk: Owners<'a>,
    /// The directory of the last entry, by its normal name.
    here: Option<(Vec<u8>, OwnedFd)>,
    /// The directories that lead to the last entry and are still to get what their entries say.
    open: Vec<Open>,
    first: Option<Inode>,
    done: Inserted,
    buffer: Vec<u8>,
}

/// A device and an inode on it.
type Inode = (u32, u32, u64);

struct Open {
    path: Vec<u8>,
    inode: Inode,
    dress: Dress,
}

impl<'a> Inserter<'a> {
    /// Into this directory, however it is open.
    pub fn new(top: BorrowedFd<'a>, links: Links, owner: Option<(u32, u32)>) -> Inserter<'a> {
        let (open, done, buffer) = (Vec::new(), Inserted::default(), vec![0; CHUNK]);
        Inserter { top, links, owner, on_disk: AS_ON_DISK, here: None, open, first: None, done, buffer }
    }

    /// With other numbers on disk for the owners that entries say, and for that of everything.
    pub fn with_owners(self, on_disk: Owners<'a>) -> Inserter<'a> {
        Inserter { on_disk, ..self }
    }

    /// The directory that was made or entered first, by device and inode.
    pub fn first_directory(&self) -> Option<(u32, u32, u64)> {
        self.first
    }

    /// Puts all that is in the tar `input`, which may be compressed.
    ///
    /// # Errors
    /// What is wrong with the tar, or cannot be made; what came before it is there.
    pub fn archive(&mut self, input: impl BufRead) -> Result<(), Error> {
        let input = decoded(input).map_err(|error| crate::error::Fault::read(0, error))?;
        let mut reader = Reader::new(input);
        while let Some(entry) = reader.next()? {
            self.put(&entry, &mut |sink| reader.data(&mut *sink))?;
        }
        Ok(())
    }

    /// Puts an entry, and if it is a file its content, holes staying holes. `file` may be changed meanwhile.
    ///
    /// # Errors
    /// What is wrong with the entry, or cannot be made.
    pub fn add(&mut self, entry: &Entry, file: Option<&mut File>) -> Result<(), Error> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let done = self.put(entry, &mut |sink| match (&entry.kind, &file) {
            (Kind::File { size }, Some(file)) => pieces(file, *size, &mut buffer, sink)
                .unwrap_or_else(|source| Err(Error::Insert { act: "read", path: shown(&entry.name), source })),
            _ => Ok(()),
        });
        self.buffer = buffer;
        done
    }

    /// Gives the last directories what their entries say.
    ///
    /// # Errors
    /// What cannot be set.
    pub fn finish(mut self) -> Result<Inserted, Error> {
        self.leave(None)?;
        Ok(self.done)
    }

    fn put(&mut self, entry: &Entry, content: &mut Content<'_>) -> Result<(), Error> {
        let label = &entry.name;
        let path = normal(label).map_err(|reason| Error::Astray { path: shown(label), reason })?;
        if path.is_empty() {
            // The directory that all goes to, which stays as it is. [Docker]
            return match entry.kind {
                Kind::Directory => Ok(()),
                _ => Err(Error::Astray { path: shown(label), reason: "it has no name" }),
            };
        }
        self.leave(Some(&path))?;
        let (parent, name) = split(&path);
        self.enter(parent).map_err(failed("find the directory of", label))?;
        let dress = Dress::of(entry, self.owner, self.on_disk);
        let at_name = OsStr::from_bytes(name);
        match &entry.kind {
            Kind::File { size } => self.file(name, *size, &dress, label, content)?,
            Kind::Directory => self.directory(path.clone(), name, dress, label)?,
            Kind::Hardlink(target) => self.hardlink(name, target, label)?,
            Kind::Symlink(target) => {
                let make = |at: BorrowedFd<'_>| symlinkat(OsStr::from_bytes(target), at, at_name);
                self.node(name, FileType::Symlink, &make, &dress, label)?;
            }
            Kind::Fifo => self.special(name, FileType::Fifo, (0, 0), &dress, label)?,
            Kind::Char { major, minor } => {
                self.special(name, FileType::CharacterDevice, (*major, *minor), &dress, label)?;
            }
            Kind::Block { major, minor } => {
                self.special(name, FileType::BlockDevice, (*major, *minor), &dress, label)?;
            }
        }
        self.done.entries += 1;
        Ok(())
    }

    fn file(
        &mut self,
        name: &[u8],
        size: u64,
        dress: &Dress,
        label: &[u8],
        content: &mut Content<'_>,
    ) -> Result<(), Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let make = |at: BorrowedFd<'_>| openat(at, OsStr::from_bytes(name), flags, Mode::RUSR | Mode::WUSR);
        let file = self.make(name, label, &make)?;
        let mut end = 0;
        content(&mut |mut offset, mut piece| {
            while !piece.is_empty() {
                let written = pwrite(&file, piece, offset).map_err(failed("write", label))?;
                piece = &piece[written..];
                offset += written as u64;
            }
            end = offset;
            Ok(())
        })?;
        if end < size {
            ftruncate(&file, size).map_err(failed("write", label))?;
        }
        self.done.bytes += size;
        dress.open(file.as_fd()).map_err(|failure| failure.of(label))
    }

    fn directory(&mut self, path: Vec<u8>, name: &[u8], dress: Dress, label: &[u8]) -> Result<(), Error> {
        let at_name = OsStr::from_bytes(name);
        match mkdirat(self.here(), at_name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed("make", label)(error)),
        }
        let stat = look(self.here(), at_name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("look at", label))?;
        if FileType::from_raw_mode(stat.stx_mode.into()) != FileType::Directory {
            return Err(Error::Clash { path: shown(label), there: "non-directory", with: "directory" });
        }
        let inode = (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino);
        self.first.get_or_insert(inode);
        self.open.push(Open { path, inode, dress });
        Ok(())
    }

    fn hardlink(&mut self, name: &[u8], target: &[u8], label: &[u8]) -> Result<(), Error> {
        let normal = normal(target).map_err(|reason| Error::Astray { path: shown(target), reason })?;
        let (directory, target_name) = split(&normal);
        let from = self.open_directory(directory, OFlags::PATH).map_err(failed("find what is linked to by", label))?;
        let (old, new) = (OsStr::from_bytes(target_name), OsStr::from_bytes(name));
        match linkat(&from, old, self.here(), new, AtFlags::empty()) {
            Err(Errno::EXIST) => {}
            done => return done.map_err(failed("link", label)),
        }
        let inode = |at: BorrowedFd<'_>, name| {
            let stat = statat(at, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("look at", label))?;
            Ok::<_, Error>((stat.st_dev, stat.st_ino))
        };
        if inode(from.as_fd(), old)? == inode(self.here(), new)? {
            return Ok(());
        }
        self.make(name, label, &|at| linkat(&from, old, at, new, AtFlags::empty()))
    }

    fn special(
        &mut self,
        name: &[u8],
        kind: FileType,
        (major, minor): (u32, u32),
        dress: &Dress,
        label: &[u8],
    ) -> Result<(), Error> {
        if kind != FileType::Fifo && !sys::namespace::is_first_user() {
            self.done.devices.push(label.to_vec());
            return Ok(());
        }
        let device = makedev(major, minor);
        let make = |at: BorrowedFd<'_>| mknodat(at, OsStr::from_bytes(name), kind, Mode::empty(), device);
        self.node(name, kind, &make, dress, label)
    }

    /// What is never opened: a symlink, pipe or device.
    fn node(
        &mut self,
        name: &[u8],
        kind: FileType,
        make: &dyn Fn(BorrowedFd<'_>) -> Result<(), Errno>,
        dress: &Dress,
        label: &[u8],
    ) -> Result<(), Error> {
        self.make(name, label, make)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(self.here(), OsStr::from_bytes(name), flags, Mode::empty());
        let made = made.map_err(failed("look at", label))?;
        let stat = look(made.as_fd(), "", AtFlags::EMPTY_PATH).map_err(failed("look at", label))?;
        if FileType::from_raw_mode(stat.stx_mode.into()) != kind {
            // Somebody has put another thing there meanwhile: that one is his.
            return Err(failed("make", label)(Errno::AGAIN));
        }
        dress.path(made.as_fd(), kind).map_err(|failure| failure.of(label))
    }

    /// Makes `name` in the current directory by `act`, which must not take what is there already; that is unlinked first.
    fn make<T>(&self, name: &[u8], label: &[u8], act: &dyn Fn(BorrowedFd<'_>) -> Result<T, Errno>) -> Result<T, Error> {
        /// How often somebody else may make it again.
        const ATTEMPTS: usize = 64;
        for _ in 0..ATTEMPTS {
            match act(self.here()) {
                Err(Errno::EXIST) => {}
                done => return done.map_err(failed("make", label)),
            }
            match unlinkat(self.here(), OsStr::from_bytes(name), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => {
                    return Err(Error::Clash { path: shown(label), there: "directory", with: "non-directory" });
                }
                Err(error) => return Err(failed("replace", label)(error)),
            }
        }
        Err(failed("make", label)(Errno::EXIST))
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.here.as_ref().map_or(self.top, |(_, directory)| directory.as_fd())
    }

    /// Makes a directory, by its normal name, the current one. What is missing of it is made.
    fn enter(&mut self, path: &[u8]) -> Result<(), Errno> {
        if self.here.as_ref().map_or(path.is_empty() && self.done.entries > 0, |(last, _)| last == path) {
            return Ok(());
        }
        let directory = match self.open_directory(path, OFlags::PATH) {
            Err(Errno::NOENT) => self.make_all(path)?,
            done => done?,
        };
        if is_kernels(directory.as_fd()) {
            return Err(Errno::PERM);
        }
        self.here = (!path.is_empty()).then(|| (path.to_vec(), directory));
        Ok(())
    }

    fn make_all(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let mut here = self.open_directory(b"", OFlags::PATH)?;
        let mut end = 0;
        for component in path.split(|byte| *byte == b'/') {
            end += component.len() + usize::from(end > 0);
            match mkdirat(&here, OsStr::from_bytes(component), Mode::RWXU) {
                Ok(()) => {
                    let made = self.open_directory(&path[..end], OFlags::RDONLY | OFlags::NOFOLLOW)?;
                    Dress::of_implied_directory(self.owner, self.on_disk)
                        .open(made.as_fd())
                        .map_err(|failure| failure.source())?;
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            here = self.open_directory(&path[..end], OFlags::PATH)?;
        }
        Ok(here)
    }

    /// Opens a directory by its normal name.
    fn open_directory(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let how = match self.links {
            Links::Refused => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
            Links::Beneath => ResolveFlags::BENEATH,
            Links::InRoot => ResolveFlags::IN_ROOT,
        };
        let flags = flags | OFlags::DIRECTORY | OFlags::CLOEXEC;
        loop {
            let how = how | ResolveFlags::NO_MAGICLINKS;
            match openat2(self.top, OsStr::from_bytes(path), flags, Mode::empty(), how) {
                // A rename or mount anywhere on the machine, while a `..` in a symlink was walked. [openat2(2)]
                Err(Errno::AGAIN | Errno::INTR) => {}
                done => return done,
            }
        }
    }

    /// Leaves the directories that do not lead to `path`.
    fn leave(&mut self, path: Option<&[u8]>) -> Result<(), Error> {
        let leads = |open: &Open| path.is_some_and(|path| is_below(path, &open.path));
        while let Some(last) = self.open.pop_if(|open| !leads(open)) {
            let label = &last.path;
            let directory = match self.open_directory(&last.path, OFlags::RDONLY | OFlags::NOFOLLOW) {
                Ok(directory) => directory,
                // Somebody has moved it away, or put another thing there.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => continue,
                Err(error) => return Err(failed("open", label)(error)),
            };
            let stat = look(directory.as_fd(), "", AtFlags::EMPTY_PATH).map_err(failed("look at", label))?;
            if (stat.stx_dev_major, stat.stx_dev_minor, stat.stx_ino) == last.inode {
                last.dress.open(directory.as_fd()).map_err(|failure| failure.of(label))?;
            }
        }
        Ok(())
    }
}

/// Takes a piece of a file: where, and its bytes.
type Sink<'s> = dyn FnMut(u64, &[u8]) -> Result<(), Error> + 's;

/// Gives a file's content to a sink.
type Content<'c> = dyn FnMut(&mut Sink<'_>) -> Result<(), Error> + 'c;

/// The data of a file up to `size`, without its holes. The outer error is of reading it.
fn pieces(file: &File, size: u64, buffer: &mut [u8], sink: &mut Sink<'_>) -> Result<Result<(), Error>, Errno> {
    let (mut at, mut end) = (0, 0);
    while at < size {
        if at == end {
            at = match seek(file, SeekFrom::Data(at)) {
                // Nothing but a hole up to its end.
                Err(Errno::NXIO) => break,
                // A file system that cannot tell.
                Err(Errno::INVAL) => at,
                done => done?,
            };
            end = seek(file, SeekFrom::Hole(at)).unwrap_or(size).clamp(at + 1, size.max(at + 1));
            continue;
        }
        let most = usize::try_from(end.min(size) - at).map_or(buffer.len(), |left| left.min(buffer.len()));
        let length = match pread(file, &mut buffer[..most], at) {
            // It was cut short meanwhile.
            Ok(0) => break,
            Ok(length) => length,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error),
        };
        if let Err(error) = sink(at, &buffer[..length]) {
            return Ok(Err(error));
        }
        at += length as u64;
    }
    Ok(Ok(()))
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

fn failed(act: &'static str, label: &[u8]) -> impl FnOnce(Errno) -> Error {
    let path = shown(label);
    move |source| match source {
        Errno::XDEV | Errno::LOOP => Error::Astray { path, reason: "a symbolic link on its way leads elsewhere" },
        source => Error::Insert { act, path, source },
    }
}
