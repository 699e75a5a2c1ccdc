//! What the upper directory of an overlay changes of the tree that it lies on, name by name: `docker diff`.

use super::Flaw;
use super::diff::{Marks, is_opaque, is_whiteout};
use super::walk::{Mounts, Node, names, open_at, open_directory, tree_error, walk};
use crate::error::Error;
use crate::input::CHUNK;
use rustix::fd::BorrowedFd;
use rustix::fs::{FileType, Mode, OFlags, fstat};
use std::collections::BTreeMap;

/// What became of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is new.
    Added,
    /// It, or something below it, is another thing, or has other attributes.
    Changed,
    /// It is gone, with all below it.
    Deleted,
}

/// The changes, in the order of their names, each from the tree's top without a slash before it. The top itself is not
/// among them; a directory is when something below it is.
///
/// # Errors
/// [`Error::Tree`], with what cannot be read.
pub fn changes(
    upper: BorrowedFd<'_>,
    lower: BorrowedFd<'_>,
    marks: Marks,
) -> Result<BTreeMap<Vec<u8>, Changed>, Error> {
    let mut found = Found { all: BTreeMap::new(), upper, lower, marks, buffer: vec![0; CHUNK] };
    walk(upper, Mounts::Left, &mut |node| found.add(node))?;
    Ok(found.all)
}

struct Found<'a> {
    all: BTreeMap<Vec<u8>, Changed>,
    upper: BorrowedFd<'a>,
    lower: BorrowedFd<'a>,
    marks: Marks,
    buffer: Vec<u8>,
}

impl Found<'_> {
    fn add(&mut self, node: &mut Node<'_>) -> Result<(), Error> {
        let failed = |source| {
            let name = String::from_utf8_lossy(node.path).into_owned();
            tree_error(node.path, Flaw::system("read the attributes of", &name, source))
        };
        let xattrs = node.xattrs(&mut self.buffer).map_err(failed)?;
        let below = open_at(self.lower, node.path, OFlags::PATH | OFlags::NOFOLLOW).ok();
        if is_whiteout(node, &xattrs, self.marks) {
            if below.is_some() {
                self.tell(node.path, Changed::Deleted);
            }
            return Ok(());
        }
        if node.kind() == FileType::Directory && is_opaque(&xattrs, self.marks) {
            self.deleted_under(node.path);
        }
        if node.path.is_empty() {
            return Ok(());
        }
        let Some(below) = below.map(fstat) else {
            self.tell(node.path, Changed::Added);
            return Ok(());
        };
        // A directory is copied up for what is in it: that alone is no change of its own.
        let is_same = below.is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                && node.kind() == FileType::Directory
                && (Mode::from_raw_mode(stat.st_mode).bits() & 0o7777, (stat.st_uid, stat.st_gid))
                    == (node.mode(), node.owner())
        });
        if !is_same {
            self.tell(node.path, Changed::Changed);
        }
        Ok(())
    }

    /// A change, and with it those of the directories that it is in.
    fn tell(&mut self, path: &[u8], change: Changed) {
        self.all.insert(path.to_vec(), change);
        let mut path = path;
        while let Some(at) = path.iter().rposition(|byte| *byte == b'/') {
            path = &path[..at];
            self.all.entry(path.to_vec()).or_insert(Changed::Changed);
        }
    }

    /// An opaque directory hides what is below it.
    fn deleted_under(&mut self, path: &[u8]) {
        let Ok(hidden) = open_directory(self.lower, path) else { return };
        for name in names(&hidden).unwrap_or_default() {
            let path = if path.is_empty() { name } else { [path, b"/", &name].concat() };
            if open_at(self.upper, &path, OFlags::PATH | OFlags::NOFOLLOW).is_err() {
                self.tell(&path, Changed::Deleted);
            }
        }
    }
}
