//! Layers become one tree: what a container sees when each lies over the one before.
//!
//! A layer's directory is laid over the lower one of the same name, its attributes count unless no entry spoke of it;
//! whatever else has a name takes its place. Whiteouts and opaque marks act and are gone. Hard links are told by their
//! inode, so they stay links within their layer, as many as are still seen.

use super::format::Label;
use super::metadata::{Plan, write_devices};
use super::output::Output;
use super::read::{Found, Image, Problem, What};
use super::tree::{Body, Id, Tree};
use crate::error::MergeFault;
use rustix::io::Errno;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fs::File;

/// More than any image has: Docker stops at 127 layers, overlayfs at 500.
const LAYERS_MAX: usize = 500;

pub(super) fn merge(layers: &[&File], out: &File) -> Result<(), MergeFault> {
    if layers.len() > LAYERS_MAX {
        return Err(MergeFault::Layers(layers.len()));
    }
    let mut tree = Tree::new();
    let mut blocks = Vec::with_capacity(layers.len());
    for (file, device) in layers.iter().zip(1..) {
        let problem = |problem| match problem {
            Problem::Read(source) => MergeFault::Read { layer: device.into(), source },
            Problem::Damaged(reason) => MergeFault::Damaged { layer: device.into(), reason },
        };
        let image = Image::read(file).map_err(problem)?;
        blocks.push(image.superblock.blocks);
        Over { tree: &mut tree, image: &image, device, seen: HashMap::new() }
            .lay()
            .map_err(|reason| problem(Problem::Damaged(reason)))?;
    }
    write(&tree, &blocks, out).map_err(|source| MergeFault::Write { source })
}

fn write(tree: &Tree, blocks: &[u32], out: &File) -> Result<(), Errno> {
    let mut out = Output::new(out);
    write_devices(blocks, &mut out)?;
    Plan::of(tree).write(tree, Label::Merged, blocks.len() as u16, out).map(drop)
}

/// One layer on its way over the tree of those below.
struct Over<'a> {
    tree: &'a mut Tree,
    image: &'a Image,
    device: u16,
    /// What the layer's inodes have become.
    seen: HashMap<u64, Id>,
}

impl Over<'_> {
    fn lay(mut self) -> Result<(), &'static str> {
        let root = u64::from(self.image.superblock.root);
        // Directories whose entries are to be laid over what is in the tree.
        let mut left = vec![(Id::ROOT, root)];
        self.seen.insert(root, Id::ROOT);
        let found = self.image.at(root)?;
        let What::Directory(_) = found.what else { return Err("its root is no directory") };
        self.directory(Id::ROOT, found);
        while let Some((here, slot)) = left.pop() {
            let What::Directory(entries) = self.image.at(slot)?.what else { return Err("a directory is none") };
            for entry in entries {
                if let Some(below) = self.entry(here, entry.name, entry.inode)? {
                    left.push((below, entry.inode));
                }
            }
        }
        Ok(())
    }

    /// Lays one name over the tree; for a directory, what it has become.
    fn entry(&mut self, here: Id, name: &[u8], slot: u64) -> Result<Option<Id>, &'static str> {
        const NO_NAME: &str = "a name is too long";
        let seen = match self.seen.entry(slot) {
            Slot::Occupied(seen) => Some(*seen.get()),
            Slot::Vacant(_) => None,
        };
        if let Some(id) = seen {
            if self.tree.get(id).directory().is_some() {
                return Err("a directory is in two places");
            }
            self.tree.link(here, name, id).map_err(|_| NO_NAME)?;
            return Ok(None);
        }
        let found = self.image.at(slot)?;
        match found.what {
            What::Directory(_) => {
                let there = self.tree.named(here, name);
                let id = match there.filter(|id| self.tree.get(*id).directory().is_some()) {
                    Some(id) => id,
                    None => self.tree.make_directory(here, name, Default::default(), true).map_err(|_| NO_NAME)?,
                };
                self.seen.insert(slot, id);
                self.directory(id, found);
                Ok(Some(id))
            }
            What::Other(Body::Whiteout) => {
                self.tree.unlink(here, name);
                Ok(None)
            }
            What::Other(mut body) => {
                if let Body::File(content) = &mut body {
                    content.device = self.device;
                }
                let id = self.tree.add(found.attributes, body);
                self.seen.insert(slot, id);
                self.tree.link(here, name, id).map_err(|_| NO_NAME)?;
                Ok(None)
            }
        }
    }

    /// Lays a directory over the one that is there, or was just made and is implied.
    fn directory(&mut self, id: Id, found: Found<'_>) {
        if found.opaque {
            self.tree.clear(id);
        }
        let node = self.tree.get_mut(id);
        if let Body::Directory(directory) = &mut node.body {
            directory.opaque = false;
            if !found.implied || found.opaque || directory.implied {
                node.attributes = found.attributes;
            }
            directory.implied &= found.implied;
        }
    }
}
