//! A tar of a tree, as of `docker export`; and what it shares with a layer of one, and with `cp`.

use super::Flaw;
use super::walk::{Mounts, Node, Xattrs, tree_error, walk, walk_thing};
use crate::error::Error;
use crate::input::CHUNK;
use crate::tar::{Entry, Kind, Time, Writer};
use crate::unpack::attributes::is_kept;
use rustix::fd::BorrowedFd;
use rustix::fs::FileType;
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};

/// As whom a tar names the user and the group whom a file belongs to on disk: a container may have its own numbers.
pub type Owners<'a> = &'a dyn Fn(u32, u32) -> (u32, u32);

/// By the numbers that are on disk.
pub const AS_ON_DISK: Owners<'static> = &|uid, gid| (uid, gid);

/// Writes the tree below `root` as a tar: in an order that is the same each time, hard links kept, holes as zeros,
/// times in seconds, without sockets and without what is mounted in it. The attributes are those that an unpacked
/// archive gets. The top itself is in it only when it is not 0755 and root's.
///
/// # Errors
/// [`Error::Tree`], with what cannot be read, or written.
pub fn export_tree(root: BorrowedFd<'_>, owners: Owners<'_>, out: &mut dyn Write) -> Result<(), Error> {
    let mut tar = TreeTar::new(owners, out);
    walk(root, Mounts::Left, &mut |node| {
        let (uid, gid) = node.owner();
        let plain = node.path.is_empty() && node.mode() == 0o755 && owners(uid, gid) == (0, 0);
        if plain {
            return Ok(());
        }
        let xattrs = tar.xattrs(node)?;
        tar.add(node, xattrs)
    })?;
    tar.finish()
}

/// What a walk of [`each_entry`] has come to.
#[derive(Debug)]
pub enum Met<'a> {
    /// What a tar can say of it, with its name from the top, which itself has none.
    Entry {
        /// All but its content.
        entry: Entry,
        /// It, if it is a file with content.
        file: Option<&'a mut File>,
        /// What tells it from any other: device, major and minor number, and inode.
        inode: (u32, u32, u64),
    },
    /// A socket, or another thing that only its maker can use.
    Left(&'a [u8]),
}

/// Shows what is open by `O_PATH` in `top`, and all below it, as a tar would have it, times in full: what is mounted
/// there too, but for what is in the kernel's own file systems. A directory comes before what is in it. The tree may be
/// somebody else's who changes it meanwhile: nothing outside of it is ever shown, and no device or pipe opened.
///
/// # Errors
/// [`Error::Tree`], with what cannot be read, and those of `visit`.
pub fn each_entry(top: BorrowedFd<'_>, visit: &mut dyn FnMut(Met<'_>) -> Result<(), Error>) -> Result<(), Error> {
    if super::walk::is_kernels(top) {
        let what = "on a file system of the kernel's own, whose files have no content to copy";
        return Err(tree_error(b"", Flaw::Unsuited { name: "it".into(), what }));
    }
    let (mut entries, mut buffer) = (Entries::new(Times::InFull, AS_ON_DISK), vec![0; CHUNK]);
    walk_thing(top, &mut |node| {
        let xattrs = xattrs(node, &mut buffer)?;
        match entries.of(node, xattrs)? {
            Some(entry) => visit(Met::Entry { entry, inode: node.inode().0, file: node.file.as_mut() }),
            None => visit(Met::Left(node.path)),
        }
    })
}

/// How much of a time is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Times {
    Seconds,
    InFull,
}

/// What a tar says of a tree's nodes.
struct Entries<'a> {
    times: Times,
    owners: Owners<'a>,
    /// The first names of files that have several, and how many of these are still to come.
    links: HashMap<(u32, u32, u64), (Vec<u8>, u32)>,
}

impl<'a> Entries<'a> {
    fn new(times: Times, owners: Owners<'a>) -> Entries<'a> {
        Entries { times, owners, links: HashMap::new() }
    }

    /// A node with those of its attributes that a tar may have; nothing of a socket, or of what is gone by now.
    fn of(&mut self, node: &Node<'_>, mut xattrs: Xattrs) -> Result<Option<Entry>, Error> {
        // A key of PAX ends at its first `=`.
        xattrs.retain(|(name, _)| is_kept(name) && !name.contains(&b'='));
        let kind = match node.kind() {
            FileType::RegularFile => Kind::File { size: node.size() },
            FileType::Directory => Kind::Directory,
            FileType::Symlink => match node.target() {
                Ok(target) => Kind::Symlink(target),
                // It is gone since it was seen, or another thing.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::INVAL) => return Ok(None),
                Err(source) => return Err(tree_error(node.path, Flaw::system("read", &lossy(node.path), source))),
            },
            FileType::Fifo => Kind::Fifo,
            FileType::CharacterDevice => Kind::Char { major: node.device().0, minor: node.device().1 },
            FileType::BlockDevice => Kind::Block { major: node.device().0, minor: node.device().1 },
            FileType::Socket | FileType::Unknown => return Ok(None),
        };
        let (uid, gid) = node.owner();
        let (uid, gid) = (self.owners)(uid, gid);
        let nanoseconds = if self.times == Times::InFull { node.nanoseconds() } else { 0 };
        let mtime = Time { seconds: node.mtime(), nanoseconds };
        let mut entry = Entry { name: node.path.to_vec(), kind, mode: node.mode(), uid, gid, mtime, xattrs };
        if let Some(first) = self.earlier_name(node) {
            entry.kind = Kind::Hardlink(first);
            entry.xattrs.clear();
        }
        Ok(Some(entry))
    }

    /// The name under which the same file is in the tar already.
    fn earlier_name(&mut self, node: &Node<'_>) -> Option<Vec<u8>> {
        let (inode, names) = node.inode();
        if names < 2 || node.kind() == FileType::Directory {
            return None;
        }
        let Some((first, left)) = self.links.get_mut(&inode) else {
            self.links.insert(inode, (node.path.to_vec(), names - 1));
            return None;
        };
        *left -= 1;
        let first = first.clone();
        if *left == 0 {
            self.links.remove(&inode);
        }
        Some(first)
    }
}

fn xattrs(node: &Node<'_>, buffer: &mut [u8]) -> Result<Xattrs, Error> {
    let failed = |source| tree_error(node.path, Flaw::system("read the attributes of", &lossy(node.path), source));
    node.xattrs(buffer).map_err(failed)
}

/// A tar that entries with open files are put to.
pub struct TarOut<'a> {
    tar: Writer<BufWriter<&'a mut dyn Write>>,
    buffer: Vec<u8>,
}

impl<'a> TarOut<'a> {
    /// To this stream.
    pub fn new(out: &'a mut dyn Write) -> TarOut<'a> {
        TarOut { tar: Writer::new(BufWriter::with_capacity(CHUNK, out)), buffer: vec![0; CHUNK] }
    }

    /// Adds an entry, with its content if it has some. A file that has become shorter is filled up with zeros.
    ///
    /// # Errors
    /// [`Error::Tree`], with what cannot be read or written.
    pub fn add(&mut self, entry: &Entry, file: Option<&mut File>) -> Result<(), Error> {
        self.write(entry, file).map_err(|flaw| tree_error(&entry.name, flaw))
    }

    fn write(&mut self, entry: &Entry, file: Option<&mut File>) -> Result<(), Flaw> {
        self.tar.entry(entry).map_err(Flaw::Write)?;
        let Kind::File { size: mut left } = entry.kind else { return Ok(()) };
        let Some(file) = file else { return Ok(()) };
        while left > 0 {
            let most = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
            let length = match file.read(&mut self.buffer[..most]) {
                // It was cut short meanwhile; its size stands in the tar already. GNU tar does the same.
                Ok(0) => {
                    self.buffer[..most].fill(0);
                    most
                }
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Flaw::Read(error)),
            };
            self.tar.write_all(&self.buffer[..length]).map_err(Flaw::Write)?;
            left -= length as u64;
        }
        Ok(())
    }

    /// Ends the tar.
    ///
    /// # Errors
    /// [`Error::Tree`], when it cannot be written.
    pub fn finish(self) -> Result<(), Error> {
        let ended = self.tar.finish().and_then(|mut out| out.flush());
        ended.map_err(|error| tree_error(b"", Flaw::Write(error)))
    }
}

/// A tar that nodes of a tree are put to.
pub(super) struct TreeTar<'a> {
    out: TarOut<'a>,
    entries: Entries<'a>,
}

impl<'a> TreeTar<'a> {
    pub(super) fn new(owners: Owners<'a>, out: &'a mut dyn Write) -> TreeTar<'a> {
        TreeTar { out: TarOut::new(out), entries: Entries::new(Times::Seconds, owners) }
    }

    pub(super) fn xattrs(&mut self, node: &Node<'_>) -> Result<Xattrs, Error> {
        xattrs(node, &mut self.out.buffer)
    }

    /// Adds a node, with those of its attributes that a tar may have.
    pub(super) fn add(&mut self, node: &mut Node<'_>, xattrs: Xattrs) -> Result<(), Error> {
        let Some(mut entry) = self.entries.of(node, xattrs)? else { return Ok(()) };
        if entry.name.is_empty() {
            entry.name = b"./".to_vec();
        }
        self.out.write(&entry, node.file.as_mut()).map_err(|flaw| tree_error(node.path, flaw))
    }

    /// An empty file of `root`'s, for marks.
    pub(super) fn mark(&mut self, path: &[u8]) -> Result<(), Error> {
        let entry = Entry { name: path.to_vec(), mode: 0o600, ..Entry::plain("", Kind::File { size: 0 }) };
        self.out.add(&entry, None)
    }

    pub(super) fn finish(self) -> Result<(), Error> {
        self.out.finish()
    }
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
