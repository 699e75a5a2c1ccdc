//! The upper directory of an overlay as a layer. [OCI image-spec, layer.md; kernel, filesystems/overlayfs.rst]
//!
//! What overlayfs keeps there in its own way is told in the way of layers: a character device 0/0 (or an empty file
//! with the attribute `overlay.whiteout`) is `.wh.NAME`; a directory whose `overlay.opaque` is `y` has `.wh..wh..opq`
//! beside its files. The rest of its attributes mean nothing elsewhere and are left out, but for two: a directory with
//! `overlay.redirect` and a file with `overlay.metacopy` have their content below under other names. Our mounts make
//! none of these; an upper directory that has them was mounted by somebody else, and cannot be told as a layer.

use super::Flaw;
use super::export::{Owners, TreeTar};
use super::flaw::cut;
use super::walk::{Mounts, Node, Xattrs, open_at, tree_error, walk};
use crate::error::Error;
use rustix::fd::BorrowedFd;
use rustix::fs::{FileType, OFlags, fstat};
use std::io::Write;

/// In which attributes overlayfs keeps its marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// `trusted.overlay.*`.
    Trusted,
    /// `user.overlay.*`, when it is mounted with `userxattr`, as without privileges.
    User,
}

/// Writes the upper directory `upper` as a layer's tar, uncompressed. With `lower`, the tree that it lay on, no whiteout
/// is written for what is not there, and the top itself only when it differs from that of `lower`; without, only when it
/// is not 0755 and root's.
///
/// # Errors
/// [`Error::Tree`], with what cannot be read, written, or said in a layer.
pub fn diff_layer(
    upper: BorrowedFd<'_>,
    lower: Option<BorrowedFd<'_>>,
    marks: Marks,
    owners: Owners<'_>,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let mut diff = Diff { tar: TreeTar::new(owners, out), lower, marks };
    walk(upper, Mounts::Left, &mut |node| diff.add(node))?;
    diff.tar.finish()
}

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

struct Diff<'a> {
    tar: TreeTar<'a>,
    lower: Option<BorrowedFd<'a>>,
    marks: Marks,
}

impl Diff<'_> {
    fn add(&mut self, node: &mut Node<'_>) -> Result<(), Error> {
        let unsuited = |what| Flaw::Unsuited { name: cut(&String::from_utf8_lossy(node.path)), what };
        let (parent, name) = crate::unpack::place::split(node.path);
        let xattrs = self.tar.xattrs(node)?;
        let mark = |wanted| self.marks.find(&xattrs, wanted);
        if is_whiteout(node, &xattrs, self.marks) {
            if self.is_below(node.path) {
                let name = [WHITEOUT, name].concat();
                let path = if parent.is_empty() { name } else { [parent, b"/", &name].concat() };
                self.tar.mark(&path)?;
            }
            return Ok(());
        }
        if name.starts_with(WHITEOUT) {
            let what = "a name that means a deleted file in a layer";
            return Err(tree_error(node.path, unsuited(what)));
        }
        if mark(b"redirect").is_some() || mark(b"metacopy").is_some() {
            let what = "kept in part under another name below (redirect_dir, metacopy), which a layer cannot say";
            return Err(tree_error(node.path, unsuited(what)));
        }
        let is_opaque = node.kind() == FileType::Directory && is_opaque(&xattrs, self.marks);
        if !node.path.is_empty() || !self.is_top_of_lower(node) {
            self.tar.add(node, xattrs)?;
        }
        if is_opaque && self.is_below(node.path) {
            let path = if node.path.is_empty() { OPAQUE.to_vec() } else { [node.path, b"/", OPAQUE].concat() };
            self.tar.mark(&path)?;
        }
        Ok(())
    }

    /// Whether the tree below has this name; true when nobody knows.
    fn is_below(&self, path: &[u8]) -> bool {
        self.lower.is_none_or(|lower| open_at(lower, path, OFlags::PATH | OFlags::NOFOLLOW).is_ok())
    }

    fn is_top_of_lower(&self, node: &Node<'_>) -> bool {
        let usual = (0o755, (0, 0));
        let below = match self.lower.map(fstat) {
            Some(Ok(stat)) => (stat.st_mode & 0o7777, (stat.st_uid, stat.st_gid)),
            _ => usual,
        };
        (node.mode(), node.owner()) == below
    }
}

/// Whether it stands for a name that is deleted.
pub(super) fn is_whiteout(node: &Node<'_>, xattrs: &Xattrs, marks: Marks) -> bool {
    let is_empty_file = node.kind() == FileType::RegularFile && node.size() == 0;
    node.kind() == FileType::CharacterDevice && node.device() == (0, 0)
        || is_empty_file && marks.find(xattrs, b"whiteout").is_some()
}

/// Whether a directory hides what is below it.
pub(super) fn is_opaque(xattrs: &Xattrs, marks: Marks) -> bool {
    marks.find(xattrs, b"opaque").is_some_and(|value| value == b"y")
}

impl Marks {
    /// The value of a mark.
    fn find<'a>(self, xattrs: &'a Xattrs, wanted: &[u8]) -> Option<&'a [u8]> {
        let (_, value) = xattrs.iter().find(|(name, _)| self.strip(name) == Some(wanted))?;
        Some(value)
    }

    /// The mark's own name.
    fn strip(self, name: &[u8]) -> Option<&[u8]> {
        name.strip_prefix(match self {
            Marks::Trusted => b"trusted.overlay.".as_slice(),
            Marks::User => b"user.overlay.".as_slice(),
        })
    }
}
