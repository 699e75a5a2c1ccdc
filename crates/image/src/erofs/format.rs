//! The picture on disk: what a superblock and an inode look like, for writing and for reading.
//!
//! Of all that EROFS can be, only what we write: 4 KiB blocks, inodes of 64 bytes, no compression, no shared attributes.
//! A number is little endian. [fs/erofs/erofs_fs.h; Documentation/filesystems/erofs.rst]

use crate::tar::Time;

/// Bytes of a block.
pub(super) const BLOCK: usize = 4096;
/// Bytes of an inode without what follows it.
pub(super) const INODE: usize = 64;
/// Inodes are named by their place, counted in these from the start of the inodes.
pub(super) const SLOT: usize = 32;
/// Bytes of one entry of the table of devices.
pub(super) const DEVICE: usize = 128;
/// The block where the table of devices begins.
pub(super) const DEVICE_TABLE: u32 = 1;
/// The block address that means a hole.
pub(super) const HOLE: u32 = u32::MAX;

const SUPERBLOCK: usize = 1024;
const MAGIC: u32 = 0xE0F5_E1E2;
const CHECKSUMMED: u32 = 0x1;
const CHUNKED_FILES: u32 = 0x4;
const DEVICES: u32 = 0x8;

/// What an image is, which its volume name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Label {
    /// A layer that can be mounted.
    Layer,
    /// A layer with whiteouts or opaque directories.
    Marked,
    /// A tree whose content is in other images.
    Merged,
}

impl Label {
    /// With the version of what we make of the format, so that a later one is not taken for this.
    const NAMES: [(Label, &[u8; 16]); 3] = [
        (Label::Layer, b"mc-layer-1\0\0\0\0\0\0"),
        (Label::Marked, b"mc-layer-wh-1\0\0\0"),
        (Label::Merged, b"mc-merged-1\0\0\0\0\0"),
    ];
}

/// What the superblock says of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Superblock {
    pub(super) label: Label,
    /// Where the root's inode is.
    pub(super) root: u16,
    pub(super) inodes: u64,
    /// Of the whole image.
    pub(super) blocks: u32,
    /// The block where the inodes begin.
    pub(super) first_inode: u32,
    pub(super) devices: u16,
}

impl Superblock {
    /// Block 0.
    pub(super) fn block(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| block[SUPERBLOCK + at..][..bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC.to_le_bytes());
        put(8, &CHECKSUMMED.to_le_bytes());
        put(12, &[BLOCK.trailing_zeros() as u8]);
        put(14, &self.root.to_le_bytes());
        put(16, &self.inodes.to_le_bytes());
        put(36, &self.blocks.to_le_bytes());
        put(40, &self.first_inode.to_le_bytes());
        for (label, name) in Label::NAMES {
            if label == self.label {
                put(64, name);
            }
        }
        let devices = if self.devices > 0 { DEVICES } else { 0 };
        put(80, &(CHUNKED_FILES | devices).to_le_bytes());
        put(86, &self.devices.to_le_bytes());
        let table = if self.devices > 0 { DEVICE_TABLE as usize * BLOCK / DEVICE } else { 0 };
        put(88, &(table as u16).to_le_bytes());
        let sum = checksum(&block[SUPERBLOCK..]);
        block[SUPERBLOCK + 4..][..4].copy_from_slice(&sum.to_le_bytes());
        block
    }

    /// What block 0 says, or what is wrong with it: nothing but what [`Superblock::block`] makes is taken.
    pub(super) fn read(block: &[u8; BLOCK]) -> Result<Superblock, &'static str> {
        let field = |at: usize| SUPERBLOCK + at;
        if u32_at(block, field(0)) != Some(MAGIC) {
            return Err("it is no EROFS image");
        }
        let name = &block[field(64)..field(80)];
        let label = Label::NAMES.iter().find(|(_, known)| known.as_slice() == name).map(|(label, _)| *label);
        let number = |at| u32_at(block, field(at)).ok_or("its superblock is wrong");
        let short = |at| u16_at(block, field(at)).ok_or("its superblock is wrong");
        let told = Superblock {
            label: label.ok_or("it was not made by mycontainer, or by another version")?,
            root: short(14)?,
            inodes: u64_at(block, field(16)).ok_or("its superblock is wrong")?,
            blocks: number(36)?,
            first_inode: number(40)?,
            devices: short(86)?,
        };
        if told.block() != *block {
            return Err("its superblock does not match its checksum");
        }
        Ok(told)
    }
}

/// CRC-32C without the final inversion, of the superblock to its block's end, the checksum itself being zero.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82F6_3B78 & (sum & 1).wrapping_neg()))
    })
}

/// How an inode's content is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Blocks, one after the other.
    Plain = 0,
    /// As [`Layout::Plain`], but the last one, unless it is full, right behind the inode.
    Inline = 2,
    /// Chunks, with a map of where each is.
    Chunks = 4,
}

/// An inode's own 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inode {
    pub(super) layout: Layout,
    /// Bytes of attributes behind it.
    pub(super) xattrs: usize,
    /// Type and permissions.
    pub(super) mode: u16,
    pub(super) size: u64,
    /// The first block, the device number or the format of chunks.
    pub(super) place: u32,
    /// A number for 32-bit programs.
    pub(super) number: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Time,
    pub(super) links: u32,
}

impl Inode {
    pub(super) fn bytes(&self) -> [u8; INODE] {
        let mut bytes = [0; INODE];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &(1 | (self.layout as u16) << 1).to_le_bytes());
        // A header of 12 bytes counts as one, all behind it as one for four bytes.
        let count = if self.xattrs == 0 { 0 } else { 1 + (self.xattrs - XATTR_HEADER) / 4 };
        put(2, &(count as u16).to_le_bytes());
        put(4, &self.mode.to_le_bytes());
        put(8, &self.size.to_le_bytes());
        put(16, &self.place.to_le_bytes());
        put(20, &self.number.to_le_bytes());
        put(24, &self.uid.to_le_bytes());
        put(28, &self.gid.to_le_bytes());
        put(32, &self.mtime.seconds.to_le_bytes());
        put(40, &self.mtime.nanoseconds.to_le_bytes());
        put(44, &self.links.to_le_bytes());
        bytes
    }

    pub(super) fn read(bytes: &[u8; INODE]) -> Option<Inode> {
        let layout = match u16_at(bytes, 0)? {
            0b0001 => Layout::Plain,
            0b0101 => Layout::Inline,
            0b1001 => Layout::Chunks,
            _ => return None,
        };
        let xattrs = match usize::from(u16_at(bytes, 2)?) {
            0 => 0,
            count => XATTR_HEADER + (count - 1) * 4,
        };
        let told = Inode {
            layout,
            xattrs,
            mode: u16_at(bytes, 4)?,
            size: u64_at(bytes, 8)?,
            place: u32_at(bytes, 16)?,
            number: u32_at(bytes, 20)?,
            uid: u32_at(bytes, 24)?,
            gid: u32_at(bytes, 28)?,
            mtime: Time { seconds: u64_at(bytes, 32)?.cast_signed(), nanoseconds: u32_at(bytes, 40)? },
            links: u32_at(bytes, 44)?,
        };
        (told.bytes() == *bytes && told.mtime.nanoseconds < 1_000_000_000).then_some(told)
    }
}

/// Bytes before the first attribute of an inode.
pub(super) const XATTR_HEADER: usize = 12;

/// The type bits of a mode.
pub(super) mod kind {
    pub(in super::super) const MASK: u16 = 0o170_000;
    pub(in super::super) const FIFO: u16 = 0o010_000;
    pub(in super::super) const CHAR: u16 = 0o020_000;
    pub(in super::super) const DIRECTORY: u16 = 0o040_000;
    pub(in super::super) const BLOCK: u16 = 0o060_000;
    pub(in super::super) const FILE: u16 = 0o100_000;
    pub(in super::super) const SYMLINK: u16 = 0o120_000;
}

/// What a directory calls the type of an entry with this mode.
pub(super) fn entry_type(mode: u16) -> u8 {
    match mode & kind::MASK {
        kind::FILE => 1,
        kind::DIRECTORY => 2,
        kind::CHAR => 3,
        kind::BLOCK => 4,
        kind::FIFO => 5,
        _ => 7,
    }
}

/// A device number as inodes hold it.
pub(super) fn device_number(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc32c_of_the_known_string() {
        assert_eq!(!checksum(b"123456789"), 0xE306_9283);
    }

    #[test]
    fn what_is_written_is_read() {
        let superblock =
            Superblock { label: Label::Marked, root: 1, inodes: 7, blocks: 99, first_inode: 12, devices: 3 };
        let mut block = superblock.block();
        assert_eq!(Superblock::read(&block), Ok(superblock));
        block[SUPERBLOCK + 200] ^= 1;
        assert!(Superblock::read(&block).is_err());
        let mtime = Time { seconds: -5, nanoseconds: 999_999_999 };
        let inode = Inode {
            layout: Layout::Inline,
            xattrs: 40,
            mode: kind::SYMLINK | 0o777,
            size: 1 << 40,
            place: 5,
            number: 6,
            uid: 1 << 31,
            gid: u32::MAX - 1,
            mtime,
            links: 70_000,
        };
        assert_eq!(Inode::read(&inode.bytes()), Some(inode));
    }
}
