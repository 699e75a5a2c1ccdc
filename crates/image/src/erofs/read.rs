//! Images of layers, read back: only what we write, and nothing of it believed before it was held against its bounds.

use super::chunks;
use super::directory::{self, Entry};
use super::format::{BLOCK, INODE, Inode, Label, Layout, SLOT, Superblock, kind};
use super::tree::{Attributes, Body, Content, Place};
use super::xattrs::{Unmarked, unmarked};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Why an image cannot be read.
#[derive(Debug)]
pub(super) enum Problem {
    Read(io::Error),
    Damaged(&'static str),
}

impl From<&'static str> for Problem {
    fn from(reason: &'static str) -> Problem {
        Problem::Damaged(reason)
    }
}

/// Reads and checks a layer's superblock.
pub(super) fn superblock(file: &File) -> Result<Superblock, Problem> {
    let mut block = [0; BLOCK];
    file.read_exact_at(&mut block, 0).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Problem::Damaged("it is shorter than a superblock"),
        _ => Problem::Read(error),
    })?;
    let told = Superblock::read(&block)?;
    if told.label == Label::Merged || told.devices != 0 {
        return Err(Problem::Damaged("it is a merged image, not a layer"));
    }
    Ok(told)
}

/// A layer's inodes and directories, in memory.
pub(super) struct Image {
    pub(super) superblock: Superblock,
    /// From the first inode's block to the end.
    bytes: Vec<u8>,
}

/// What a directory's entry leads to.
pub(super) struct Found<'a> {
    pub(super) attributes: Attributes,
    pub(super) opaque: bool,
    pub(super) implied: bool,
    pub(super) what: What<'a>,
}

pub(super) enum What<'a> {
    /// With what is in it, `.` and `..` left out.
    Directory(Vec<Entry<'a>>),
    Other(Body),
}

impl Image {
    pub(super) fn read(file: &File) -> Result<Image, Problem> {
        let superblock = superblock(file)?;
        let length = file.metadata().map_err(Problem::Read)?.len();
        let (start, end) = (u64::from(superblock.first_inode), u64::from(superblock.blocks));
        if end * BLOCK as u64 != length || start == 0 || start >= end {
            return Err(Problem::Damaged("it is not as long as its superblock says"));
        }
        let mut bytes = vec![0; ((end - start) * BLOCK as u64) as usize];
        file.read_exact_at(&mut bytes, start * BLOCK as u64).map_err(Problem::Read)?;
        Ok(Image { superblock, bytes })
    }

    /// What lies at a place that a directory names, or the superblock for the root.
    pub(super) fn at(&self, slot: u64) -> Result<Found<'_>, &'static str> {
        const WRONG: &str = "an inode is wrong";
        let at = usize::try_from(slot).ok().and_then(|slot| slot.checked_mul(SLOT)).ok_or(WRONG)?;
        let rest = self.bytes.get(at..).ok_or(WRONG)?;
        let inode = Inode::read(rest.first_chunk().ok_or(WRONG)?).ok_or(WRONG)?;
        let behind = INODE + inode.xattrs;
        let Unmarked { xattrs, opaque, implied } = unmarked(rest.get(INODE..behind).ok_or(WRONG)?)?;
        let tail = &rest[behind..];
        let what = match inode.mode & kind::MASK {
            kind::DIRECTORY => What::Directory(self.entries(&inode, tail)?),
            kind::FILE => What::Other(Body::File(self.content(&inode, rest, behind)?)),
            kind::SYMLINK => What::Other(Body::Symlink(self.target(&inode, tail)?.into())),
            kind::CHAR if inode.place == 0 => What::Other(Body::Whiteout),
            some @ (kind::CHAR | kind::BLOCK | kind::FIFO) => What::Other(Body::Special(some, inode.place)),
            _ => return Err(WRONG),
        };
        let attributes =
            Attributes { mode: inode.mode & !kind::MASK, uid: inode.uid, gid: inode.gid, mtime: inode.mtime, xattrs };
        Ok(Found { attributes, opaque, implied, what })
    }

    fn entries<'a>(&'a self, inode: &Inode, tail: &'a [u8]) -> Result<Vec<Entry<'a>>, &'static str> {
        let mut entries = Vec::new();
        self.blocks(inode, tail, |block| directory::read(block, &mut entries))?;
        let all = entries.len();
        entries.retain(|entry| entry.name != b"." && entry.name != b"..");
        if entries.len() + 2 != all { Err("a directory lacks `.` or `..`") } else { Ok(entries) }
    }

    fn target<'a>(&'a self, inode: &Inode, tail: &'a [u8]) -> Result<&'a [u8], &'static str> {
        if inode.size == 0 || inode.size >= BLOCK as u64 {
            return Err("a symlink has a wrong length");
        }
        let mut target: &[u8] = &[];
        self.blocks(inode, tail, |block| {
            target = block;
            Ok(())
        })?;
        if target.contains(&0) { Err("a symlink's target is wrong") } else { Ok(target) }
    }

    /// Calls `sink` with each block of a directory or symlink, the last cut to its length.
    fn blocks<'a>(
        &'a self,
        inode: &Inode,
        tail: &'a [u8],
        mut sink: impl FnMut(&'a [u8]) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        const WRONG: &str = "a directory or symlink lies outside of the image";
        let size = usize::try_from(inode.size).map_err(|_| WRONG)?;
        let inline = match inode.layout {
            Layout::Plain => 0,
            Layout::Inline => size % BLOCK,
            Layout::Chunks => return Err(WRONG),
        };
        if size > inline {
            let first = inode.place.checked_sub(self.superblock.first_inode).ok_or(WRONG)? as usize * BLOCK;
            let end = first.checked_add(size - inline).ok_or(WRONG)?;
            self.bytes.get(first..end).ok_or(WRONG)?.chunks(BLOCK).try_for_each(&mut sink)?;
        }
        match tail.get(..inline).ok_or(WRONG)? {
            [] => Ok(()),
            last => sink(last),
        }
    }

    fn content(&self, inode: &Inode, from: &[u8], behind: usize) -> Result<Content, &'static str> {
        const WRONG: &str = "a file's content lies outside of the image";
        let end = self.superblock.first_inode;
        if i64::try_from(inode.size).is_err() {
            return Err(WRONG);
        }
        let place = match inode.layout {
            Layout::Inline => return Err(WRONG),
            Layout::Chunks => {
                let indexes = from.get(behind.next_multiple_of(chunks::INDEX)..).ok_or(WRONG)?;
                Place::Runs(chunks::read(inode.size, inode.place, indexes, end)?)
            }
            Layout::Plain if inode.size == 0 => Place::From(0),
            Layout::Plain => {
                let blocks = chunks::blocks(inode.size);
                if inode.place == 0 || u64::from(inode.place) + blocks > u64::from(end) {
                    return Err(WRONG);
                }
                Place::From(inode.place)
            }
        };
        Ok(Content { size: inode.size, device: 0, place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::Time;

    #[test]
    fn content_lies_between_the_superblock_and_the_inodes() {
        let superblock =
            Superblock { label: Label::Layer, root: 1, inodes: 1, blocks: 11, first_inode: 10, devices: 0 };
        let image = Image { superblock, bytes: vec![0; BLOCK] };
        let mtime = Time::default();
        let table = [
            (Layout::Plain, 9 * 4096, 1, true),
            (Layout::Plain, 9 * 4096 + 1, 1, false),
            (Layout::Plain, 1, 9, true),
            (Layout::Plain, 1, 10, false),
            (Layout::Plain, 1, 0, false),
            (Layout::Plain, 0, 0, true),
            (Layout::Plain, 1, u32::MAX, false),
            (Layout::Plain, u64::MAX, 1, false),
            (Layout::Inline, 1, 1, false),
        ];
        for (layout, size, place, good) in table {
            let inode =
                Inode { layout, xattrs: 0, mode: kind::FILE, size, place, number: 1, uid: 0, gid: 0, mtime, links: 1 };
            assert_eq!(image.content(&inode, &image.bytes, INODE).is_ok(), good, "{layout:?} {size} at {place}");
            // A symlink or directory lies in what was read, behind the first inode's block.
            let inside = layout == Layout::Plain && place == 10 && size == 1;
            let read = image.blocks(&inode, &[], |_| Ok(()));
            assert_eq!(read.is_ok(), inside || size == 0, "{layout:?} {size} at {place}");
        }
    }
}
