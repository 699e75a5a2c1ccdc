//! The second half of an image: a tree in memory becomes inodes and directories on disk.
//!
//! First everything gets its place, which takes its size only; then it is written, in the order of the places, in one
//! go. The inodes of a directory's files lie side by side, in the order of their names: who lists it reads them in one
//! piece. What is not reached from the root (it was replaced) gets no place.
//!
//! A directory's last block, and a symlink's target, lie behind their inode when all of it fits a block, which they
//! must not cross; that is what lets the kernel read a small directory or a symlink together with its inode.

use super::chunks;
use super::directory::{self, Entry};
use super::format::{
    BLOCK, DEVICE, DEVICE_TABLE, INODE, Inode, Label, Layout, SLOT, Superblock, XATTR_HEADER, entry_type,
};
use super::output::Output;
use super::tree::{Body, Content, Id, Place, Tree};
use rustix::io::Errno;

/// Where everything goes.
pub(super) struct Plan {
    /// What has a place, in its order.
    order: Vec<Id>,
    /// By node: its inode's place in slots, 0 for none.
    slots: Vec<u32>,
    /// By node: how many names it has.
    links: Vec<u32>,
    /// Bytes of all inodes and what is behind them.
    inodes: u64,
    /// Blocks of directories.
    blocks: u64,
    /// Whether there are whiteouts or opaque directories.
    pub(super) marked: bool,
}

/// The root is not at 0: programs take inode number 0 for "none".
const ROOT_SLOT: u32 = 1;

impl Plan {
    pub(super) fn of(tree: &Tree) -> Plan {
        let mut plan = Plan {
            order: Vec::with_capacity(tree.len()),
            slots: vec![0; tree.len()],
            links: vec![0; tree.len()],
            inodes: u64::from(ROOT_SLOT) * SLOT as u64,
            blocks: 0,
            marked: false,
        };
        plan.place(tree, Id::ROOT);
        let mut left = vec![Id::ROOT];
        while let Some(id) = left.pop() {
            let Some(directory) = tree.get(id).directory() else { continue };
            plan.marked |= directory.opaque;
            plan.links[id.index()] += 2;
            for child in directory.children.values() {
                match tree.get(*child).body {
                    Body::Directory(_) => {
                        plan.links[id.index()] += 1;
                        left.push(*child);
                    }
                    ref other => {
                        plan.links[child.index()] += 1;
                        plan.marked |= matches!(other, Body::Whiteout);
                    }
                }
                if plan.slots[child.index()] == 0 {
                    plan.place(tree, *child);
                }
            }
        }
        // fsck.erofs 1.5 reads the start of attributes behind each inode, whether there are any or not.
        plan.inodes += XATTR_HEADER as u64;
        plan
    }

    /// Bytes of all that is to be written.
    pub(super) fn bytes(&self) -> u64 {
        self.inodes.next_multiple_of(BLOCK as u64) + self.blocks * BLOCK as u64
    }

    fn place(&mut self, tree: &Tree, id: Id) {
        let shape = Shape::of(tree, id);
        let block = BLOCK as u64;
        let mut at = self.inodes.next_multiple_of(SLOT as u64);
        let room = block - at % block;
        if room < shape.together as u64 {
            at += room;
        }
        // That there are less than 2^32 slots is seen to before any is written.
        self.slots[id.index()] = u32::try_from(at / SLOT as u64).unwrap_or(u32::MAX);
        self.inodes = at + shape.bytes;
        self.blocks += shape.blocks;
        self.order.push(id);
    }

    /// Writes the tree: inodes from the output's position on, then directories, then block 0. The image's bytes.
    pub(super) fn write(&self, tree: &Tree, label: Label, devices: u16, mut out: Output<'_>) -> Result<u64, Errno> {
        if self.inodes > u64::from(u32::MAX) * SLOT as u64 {
            return Err(Errno::FBIG);
        }
        out.fill_block()?;
        let first_inode = out.block()?;
        let start = out.position();
        let inodes_end = start + self.inodes.next_multiple_of(BLOCK as u64);
        let mut directories = inodes_end;
        for (id, number) in self.order.iter().zip(1..) {
            out.zeros_to(start + u64::from(self.slots[id.index()]) * SLOT as u64)?;
            let first_block = u32::try_from(directories / BLOCK as u64).map_err(|_| Errno::FBIG)?;
            self.write_inode(tree, *id, number, first_block, &mut out)?;
            directories += Shape::of(tree, *id).blocks * BLOCK as u64;
        }
        out.zeros_to(inodes_end)?;
        for id in &self.order {
            self.write_blocks(tree, *id, &mut out)?;
        }
        let superblock = Superblock {
            label,
            root: ROOT_SLOT as u16,
            inodes: self.order.len() as u64,
            blocks: out.block()?,
            first_inode,
            devices,
        };
        let bytes = out.position();
        out.finish(&superblock.block())?;
        Ok(bytes)
    }

    fn write_inode(&self, tree: &Tree, id: Id, number: u32, block: u32, out: &mut Output<'_>) -> Result<(), Errno> {
        let node = tree.get(id);
        let shape = Shape::of(tree, id);
        let attributes = &node.attributes;
        let xattrs = attributes.xattrs.as_deref().unwrap_or_default();
        let place = match &node.body {
            Body::File(content) if shape.layout == Layout::Chunks => chunks::format(content),
            Body::File(Content { place: Place::From(first), size: 1.., .. }) => *first,
            Body::Special(_, device) => *device,
            _ if shape.blocks > 0 => block,
            _ => 0,
        };
        let inode = Inode {
            layout: shape.layout,
            xattrs: xattrs.len(),
            mode: node.mode(),
            size: shape.size,
            place,
            number,
            uid: attributes.uid,
            gid: attributes.gid,
            mtime: attributes.mtime,
            links: self.links[id.index()],
        };
        out.append(&inode.bytes())?;
        out.append(xattrs)?;
        match &node.body {
            Body::File(content) if shape.layout == Layout::Chunks => {
                out.zeros_to(out.position().next_multiple_of(chunks::INDEX as u64))?;
                chunks::write(content, |index| out.append(&index))
            }
            Body::Symlink(target) if shape.layout == Layout::Inline => out.append(target),
            Body::Directory(_) if shape.layout == Layout::Inline => {
                let mut left = shape.blocks;
                directory::write(&self.entries(tree, id), |block| {
                    if left == 0 {
                        return out.append(block);
                    }
                    left -= 1;
                    Ok(())
                })
            }
            _ => Ok(()),
        }
    }

    /// What of a directory or symlink is in blocks of its own.
    fn write_blocks(&self, tree: &Tree, id: Id, out: &mut Output<'_>) -> Result<(), Errno> {
        let mut left = Shape::of(tree, id).blocks;
        if left == 0 {
            return Ok(());
        }
        match &tree.get(id).body {
            Body::Symlink(target) => out.append(target)?,
            _ => directory::write(&self.entries(tree, id), |block| {
                if left > 0 {
                    left -= 1;
                    out.append(block)?;
                }
                Ok::<(), Errno>(())
            })?,
        }
        out.fill_block()
    }

    fn entries<'a>(&self, tree: &'a Tree, id: Id) -> Vec<Entry<'a>> {
        let Some(directory) = tree.get(id).directory() else { return Vec::new() };
        let entry =
            |name, id: Id| Entry { name, inode: self.slots[id.index()].into(), kind: entry_type(tree.get(id).mode()) };
        let children = || directory.children.iter().map(|(name, child)| entry(name, *child));
        let dots = [entry(b".".as_slice(), id), entry(b"..".as_slice(), directory.parent)];
        let mut all = Vec::with_capacity(directory.children.len() + dots.len());
        all.extend(children().filter(|child| child.name < dots[0].name));
        all.push(dots[0]);
        all.extend(children().filter(|child| child.name > dots[0].name && child.name < dots[1].name));
        all.push(dots[1]);
        all.extend(children().filter(|child| child.name > dots[1].name));
        all
    }
}

/// What a node takes on disk.
struct Shape {
    layout: Layout,
    size: u64,
    /// Bytes of the inode and what is behind it.
    bytes: u64,
    /// How many of them must lie in one block.
    together: usize,
    /// Blocks elsewhere among the directories.
    blocks: u64,
}

impl Shape {
    fn of(tree: &Tree, id: Id) -> Shape {
        let node = tree.get(id);
        let fixed = INODE + node.attributes.xattrs.as_deref().unwrap_or_default().len();
        let plain = |size| Shape { layout: Layout::Plain, size, bytes: fixed as u64, together: INODE, blocks: 0 };
        match &node.body {
            Body::File(content) if chunks::count(content) > 0 => {
                let map = fixed.next_multiple_of(chunks::INDEX) as u64;
                let bytes = map + chunks::count(content) * chunks::INDEX as u64;
                Shape { layout: Layout::Chunks, bytes, ..plain(content.size) }
            }
            Body::File(content) => plain(content.size),
            Body::Symlink(target) => Shape::inline(fixed, target.len() as u64),
            Body::Directory(directory) => {
                // Where `.` and `..` are among the names is of no consequence, unless a block ends there.
                let dots = [(b".".as_slice(), 1), (b"..".as_slice(), 2)];
                let mut dots = dots.into_iter().peekable();
                let mut lengths = Vec::with_capacity(directory.children.len() + 2);
                for name in directory.children.keys() {
                    while let Some((_, length)) = dots.next_if(|(dot, _)| *dot < name.as_ref()) {
                        lengths.push(length);
                    }
                    lengths.push(name.len());
                }
                lengths.extend(dots.map(|(_, length)| length));
                Shape::inline(fixed, directory::size(lengths.into_iter()))
            }
            Body::Special(..) | Body::Whiteout => plain(0),
        }
    }

    /// With the last block behind the inode, if it fits there.
    fn inline(fixed: usize, size: u64) -> Shape {
        let block = BLOCK as u64;
        let whole = (size - 1) / block;
        let tail = (size - whole * block) as usize;
        let bytes = fixed + tail;
        if bytes <= BLOCK {
            return Shape { layout: Layout::Inline, size, bytes: bytes as u64, together: bytes, blocks: whole };
        }
        Shape { layout: Layout::Plain, size, bytes: fixed as u64, together: INODE, blocks: whole + 1 }
    }
}

/// Writes the table of devices: how many blocks each has, and nothing by which the kernel would find one by itself.
pub(super) fn write_devices(blocks: &[u32], out: &mut Output<'_>) -> Result<(), Errno> {
    out.zeros_to(u64::from(DEVICE_TABLE) * BLOCK as u64)?;
    for blocks in blocks {
        let mut slot = [0; DEVICE];
        slot[64..68].copy_from_slice(&blocks.to_le_bytes());
        out.append(&slot)?;
    }
    out.fill_block()
}
