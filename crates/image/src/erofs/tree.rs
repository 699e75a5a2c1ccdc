//! The tree that a layer's entries make, in memory, and what its names mean.
//!
//! Nothing outside is part of the tree, so nothing outside can be named. A name is resolved as the kernel would for a
//! container that has this tree as its root: symlinks on the way are followed, `..` in their targets ends at the root.
//! A tree may be deeper than any path is long, so nothing here calls itself.
//!
//! What an entry takes: a [`Node`] of some 80 bytes, its name, and some 40 bytes in its directory's map. A node that
//! was replaced stays behind until the tree goes.

use super::format::kind;
use super::xattrs;
use crate::tar::Time;
use rustix::io::Errno;
use std::collections::BTreeMap;

/// The longest name of one file.
pub(super) const NAME_MAX: usize = 255;
/// How many symlinks may be on the way, as the kernel has it.
const LINKS_MAX: u32 = 40;

/// A node's place in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id(u32);

impl Id {
    pub(super) const ROOT: Id = Id(0);

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// One file, whatever its kind and however many names it has.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) attributes: Attributes,
    pub(super) body: Body,
}

/// What a file has besides its name and content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    /// The lower twelve bits.
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
    pub(super) xattrs: Option<Box<[u8]>>,
}

#[derive(Debug)]
pub(super) enum Body {
    Directory(Box<Directory>),
    File(Content),
    Symlink(Box<[u8]>),
    /// A pipe or a device: its type bits and its number.
    Special(u16, u32),
    /// Takes away what lower layers have of this name.
    Whiteout,
}

#[derive(Debug)]
pub(super) struct Directory {
    pub(super) parent: Id,
    /// Hides what lower layers have in it.
    pub(super) opaque: bool,
    /// No entry spoke of it.
    pub(super) implied: bool,
    pub(super) children: BTreeMap<Box<[u8]>, Id>,
}

/// Where a regular file's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) size: u64,
    /// 0 for the image itself, else the layer, counted from 1.
    pub(super) device: u16,
    pub(super) place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// All of it, from this block on. Of no meaning for an empty file.
    From(u32),
    /// With holes.
    Runs(Box<[Run]>),
}

/// Blocks of a file that lie one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The first block, counted in the file.
    pub(super) at: u64,
    pub(super) blocks: u32,
    /// The first block, counted in the image.
    pub(super) from: u32,
}

impl Node {
    pub(super) fn mode(&self) -> u16 {
        let kind = match &self.body {
            Body::Directory(_) => kind::DIRECTORY,
            Body::File(_) => kind::FILE,
            Body::Symlink(_) => kind::SYMLINK,
            Body::Special(kind, _) => *kind,
            Body::Whiteout => kind::CHAR,
        };
        kind | self.attributes.mode
    }

    pub(super) fn directory(&self) -> Option<&Directory> {
        match &self.body {
            Body::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    fn directory_mut(&mut self) -> Option<&mut Directory> {
        match &mut self.body {
            Body::Directory(directory) => Some(directory),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    /// A root that no entry has spoken of.
    pub(super) fn new() -> Tree {
        let mut tree = Tree { nodes: Vec::new() };
        tree.add_directory(Id::ROOT, implied_attributes(), true);
        tree
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn get(&self, id: Id) -> &Node {
        &self.nodes[id.index()]
    }

    pub(super) fn get_mut(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[id.index()]
    }

    /// Adds a node that has no name yet.
    pub(super) fn add(&mut self, attributes: Attributes, body: Body) -> Id {
        // Entries are counted, and there are less of them: see `Limits` and the number of inodes of an image.
        let id = Id(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(Node { attributes, body });
        id
    }

    fn add_directory(&mut self, parent: Id, attributes: Attributes, implied: bool) -> Id {
        let directory = Directory { parent, opaque: false, implied, children: BTreeMap::new() };
        self.add(attributes, Body::Directory(Box::new(directory)))
    }

    /// What `name` is in `parent`, whiteouts too.
    pub(super) fn named(&self, parent: Id, name: &[u8]) -> Option<Id> {
        self.get(parent).directory()?.children.get(name).copied()
    }

    /// As [`Tree::named`], but a whiteout is nothing.
    pub(super) fn child(&self, parent: Id, name: &[u8]) -> Option<Id> {
        self.named(parent, name).filter(|id| !matches!(self.get(*id).body, Body::Whiteout))
    }

    /// Gives `id` this name in `parent`, in the place of what has it.
    pub(super) fn link(&mut self, parent: Id, name: &[u8], id: Id) -> Result<(), Errno> {
        if name.len() > NAME_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        let directory = self.get_mut(parent).directory_mut().ok_or(Errno::NOTDIR)?;
        // The key stays when there is one, and with it its memory.
        match directory.children.get_mut(name) {
            Some(there) => *there = id,
            None => drop(directory.children.insert(name.into(), id)),
        }
        Ok(())
    }

    pub(super) fn unlink(&mut self, parent: Id, name: &[u8]) {
        if let Some(directory) = self.get_mut(parent).directory_mut() {
            directory.children.remove(name);
        }
    }

    pub(super) fn clear(&mut self, parent: Id) {
        if let Some(directory) = self.get_mut(parent).directory_mut() {
            directory.children.clear();
        }
    }

    /// Makes a directory of this name, or gives the one that is there other attributes. When something else had the
    /// name, the directory is opaque: that had already hidden what lower layers have there.
    pub(super) fn make_directory(
        &mut self,
        parent: Id,
        name: &[u8],
        attributes: Attributes,
        implied: bool,
    ) -> Result<Id, Errno> {
        let there = self.named(parent, name);
        if let Some(id) = there
            && let Node { attributes: old, body: Body::Directory(directory) } = self.get_mut(id)
        {
            *old = attributes;
            directory.implied = implied;
            return Ok(id);
        }
        let id = self.add_directory(parent, attributes, implied);
        if let Some(directory) = self.get_mut(id).directory_mut() {
            directory.opaque = there.is_some();
        }
        self.link(parent, name, id)?;
        Ok(id)
    }

    /// Writes what directories hide, and which of them are implied, into their attributes.
    pub(super) fn write_marks(&mut self) {
        for node in &mut self.nodes {
            if let Body::Directory(directory) = &node.body
                && (directory.opaque || directory.implied)
            {
                let xattrs = node.attributes.xattrs.as_deref();
                node.attributes.xattrs = xattrs::marked(xattrs, directory.opaque, directory.implied);
            }
        }
    }

    /// The directory of this normal name, symlinks followed; what is missing is made.
    pub(super) fn enter(&mut self, path: &[u8]) -> Result<Id, Errno> {
        let mut links = 0;
        let mut here = Id::ROOT;
        for name in components(path) {
            here = match self.child(here, name) {
                Some(_) => self.walk(here, name, &mut links)?,
                None => self.make_directory(here, name, implied_attributes(), true)?,
            };
        }
        Ok(here)
    }

    /// The directory of this normal name, symlinks followed.
    pub(super) fn find_directory(&self, path: &[u8]) -> Result<Id, Errno> {
        self.walk(Id::ROOT, path, &mut 0)
    }

    /// Follows a path as the kernel does, its last component too.
    fn walk(&self, mut here: Id, path: &[u8], links: &mut u32) -> Result<Id, Errno> {
        // What is still to go, the innermost symlink's target last.
        let mut rest = vec![path];
        if path.starts_with(b"/") {
            here = Id::ROOT;
        }
        while let Some(path) = rest.pop() {
            let start = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
            let path = &path[start..];
            let end = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
            let (name, below) = path.split_at(end);
            if name.is_empty() {
                continue;
            }
            rest.push(below);
            let directory = self.get(here).directory().ok_or(Errno::NOTDIR)?;
            let next = match name {
                b"." => continue,
                b".." => directory.parent,
                name if name.len() > NAME_MAX => return Err(Errno::NAMETOOLONG),
                name => self.child(here, name).ok_or(Errno::NOENT)?,
            };
            match &self.get(next).body {
                Body::Directory(_) => here = next,
                Body::Symlink(_) if *links == LINKS_MAX => return Err(Errno::LOOP),
                Body::Symlink(target) => {
                    *links += 1;
                    rest.push(target);
                    if target.starts_with(b"/") {
                        here = Id::ROOT;
                    }
                }
                _ => return Err(Errno::NOTDIR),
            }
        }
        Ok(here)
    }
}

/// The components of a normal name: none for the root.
fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
}

fn implied_attributes() -> Attributes {
    Attributes { mode: 0o755, ..Attributes::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symlink(tree: &mut Tree, parent: Id, name: &str, target: &str) {
        let id = tree.add(Attributes::default(), Body::Symlink(target.as_bytes().into()));
        tree.link(parent, name.as_bytes(), id).unwrap();
    }

    #[test]
    fn names_mean_what_they_mean_to_a_container() {
        let mut tree = Tree::new();
        let deep = tree.enter(b"a/b").unwrap();
        let a = tree.find_directory(b"a").unwrap();
        symlink(&mut tree, Id::ROOT, "abs", "/a/b");
        symlink(&mut tree, deep, "up", "../../../../a//b/./");
        symlink(&mut tree, deep, "root", "/");
        symlink(&mut tree, Id::ROOT, "two", "abs/up");
        symlink(&mut tree, Id::ROOT, "dangling", "nowhere");
        symlink(&mut tree, Id::ROOT, "x", "y");
        symlink(&mut tree, Id::ROOT, "y", "x");
        let file = tree.add(Attributes::default(), Body::Special(kind::FIFO, 0));
        tree.link(Id::ROOT, b"file", file).unwrap();
        let table: [(&str, Result<Id, Errno>); 11] = [
            ("", Ok(Id::ROOT)),
            ("a/b", Ok(deep)),
            ("abs", Ok(deep)),
            ("two", Ok(deep)),
            ("a/b/up/up/root/two", Ok(deep)),
            ("abs/root/a", Ok(a)),
            ("dangling", Err(Errno::NOENT)),
            ("dangling/more", Err(Errno::NOENT)),
            ("x/more", Err(Errno::LOOP)),
            ("file", Err(Errno::NOTDIR)),
            ("file/more", Err(Errno::NOTDIR)),
        ];
        for (path, expected) in table {
            assert_eq!(tree.enter(path.as_bytes()), expected, "{path}");
            assert_eq!(tree.find_directory(path.as_bytes()), expected, "{path}");
        }
        assert_eq!(tree.find_directory(b"a/new"), Err(Errno::NOENT));
        assert!(tree.enter(b"abs/new").is_ok() && tree.find_directory(b"a/b/new").is_ok());
        assert_eq!(tree.enter("n".repeat(256).as_bytes()), Err(Errno::NAMETOOLONG));
    }
}
