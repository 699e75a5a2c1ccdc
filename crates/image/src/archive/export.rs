//! A tar of a tree, as of `docker export`; and what it shares with a layer of one.

use super::Flaw;
use super::walk::{Node, Xattrs, tree_error, walk};
use crate::error::Error;
use crate::input::CHUNK;
use crate::tar::{Entry, Kind, Time, Writer};
use crate::unpack::attributes::is_kept;
use rustix::fd::BorrowedFd;
use rustix::fs::FileType;
use rustix::io::Errno;
use std::collections::HashMap;
use std::io::{self, BufWriter, Read, Write};

/// Writes the tree below `root` as a tar: in an order that is the same each time, hard links kept, holes as zeros,
/// times in seconds, without sockets and without what is mounted in it. The attributes are those that an unpacked
/// archive gets. The top itself is in it only when it is not 0755 and root's.
///
/// # Errors
/// [`Error::Tree`], with what cannot be read, or written.
pub fn export_tree(root: BorrowedFd<'_>, out: &mut dyn Write) -> Result<(), Error> {
    let mut tar = TreeTar::new(out);
    walk(root, &mut |node| {
        let plain = node.path.is_empty() && node.mode() == 0o755 && node.owner() == (0, 0);
        if plain {
            return Ok(());
        }
        let xattrs = tar.xattrs(node)?;
        tar.add(node, xattrs)
    })?;
    tar.finish()
}

/// A tar that nodes of a tree are put to.
pub(super) struct TreeTar<'a> {
    tar: Writer<BufWriter<&'a mut dyn Write>>,
    /// The first names of files that have several, and how many of these are still to come.
    links: HashMap<(u32, u32, u64), (Vec<u8>, u32)>,
    buffer: Vec<u8>,
}

impl<'a> TreeTar<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> TreeTar<'a> {
        let tar = Writer::new(BufWriter::with_capacity(CHUNK, out));
        TreeTar { tar, links: HashMap::new(), buffer: vec![0; CHUNK] }
    }

    pub(super) fn xattrs(&mut self, node: &Node<'_>) -> Result<Xattrs, Error> {
        let failed = |source| tree_error(node.path, Flaw::system("read the attributes of", &lossy(node.path), source));
        node.xattrs(&mut self.buffer).map_err(failed)
    }

    /// Adds a node, with those of its attributes that a tar may have.
    pub(super) fn add(&mut self, node: &mut Node<'_>, mut xattrs: Xattrs) -> Result<(), Error> {
        // A key of PAX ends at its first `=`.
        xattrs.retain(|(name, _)| is_kept(name) && !name.contains(&b'='));
        let kind = match node.kind() {
            FileType::Socket => return Ok(()),
            FileType::RegularFile => Kind::File { size: node.size() },
            FileType::Directory => Kind::Directory,
            FileType::Symlink => match node.target() {
                Ok(target) => Kind::Symlink(target),
                // It is gone since it was seen, or another thing.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::INVAL) => return Ok(()),
                Err(source) => return Err(tree_error(node.path, Flaw::system("read", &lossy(node.path), source))),
            },
            FileType::Fifo => Kind::Fifo,
            FileType::CharacterDevice => Kind::Char { major: node.device().0, minor: node.device().1 },
            FileType::BlockDevice => Kind::Block { major: node.device().0, minor: node.device().1 },
            FileType::Unknown => return Ok(()),
        };
        let (uid, gid) = node.owner();
        let name = if node.path.is_empty() { b"./".to_vec() } else { node.path.to_vec() };
        let mtime = Time { seconds: node.mtime(), nanoseconds: 0 };
        let mut entry = Entry { name, kind, mode: node.mode(), uid, gid, mtime, xattrs };
        if let Some(first) = self.earlier_name(node) {
            entry.kind = Kind::Hardlink(first);
            entry.xattrs.clear();
        }
        self.write(&entry, node.file.as_mut()).map_err(|flaw| tree_error(node.path, flaw))
    }

    /// An empty file of `root`'s, for marks.
    pub(super) fn mark(&mut self, path: &[u8]) -> Result<(), Error> {
        let entry = Entry { name: path.to_vec(), mode: 0o600, ..Entry::plain("", Kind::File { size: 0 }) };
        self.tar.entry(&entry).map_err(|error| tree_error(path, Flaw::Write(error)))
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

    fn write(&mut self, entry: &Entry, file: Option<&mut std::fs::File>) -> Result<(), Flaw> {
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

    pub(super) fn finish(self) -> Result<(), Error> {
        let ended = self.tar.finish().and_then(|mut out| out.flush());
        ended.map_err(|error| tree_error(b"", Flaw::Write(error)))
    }
}

fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
