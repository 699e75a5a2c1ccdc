//! Layers as EROFS images: one file a layer, mounted from where it lies, never unpacked.
//!
//! [`write_layer`] turns a layer's tar into an image while the tar streams in; [`merge`] makes, of the images of several
//! layers, one more image that shows their final tree and points into them for every file's content, so that sixty
//! layers are mounted and read like one. [`crate::mount_erofs`] mounts either.
//!
//! ```text
//! block 0         superblock (at byte 1024), written last: a file without one is half made
//! block 1..       a layer: content of files, block by block, as it came; a merged image: the table of its devices
//! then            inodes with attributes, link targets, maps of holes and small directories in them, the root first
//! then            blocks of directories that are larger
//! ```
//!
//! Blocks are 4 KiB, nothing is compressed, every file's content starts at a block of its own: that is what lets a
//! merged image point into a layer. Times, owners and all else are the archive's, and the images hold nothing of the
//! time or place they were made: the same archive makes the same bytes.
//!
//! What holds at all times: an archive is hostile, so its names are resolved in a tree in memory which nothing outside
//! is part of, and what memory and disk that may take is limited ([`Limits`]). An image is ours but may be damaged, so
//! what is read of one is held against its bounds. [Documentation/filesystems/erofs.rst, fs/erofs/erofs_fs.h]

mod chunks;
mod directory;
mod format;
mod layer;
mod merge;
mod metadata;
mod output;
mod read;
mod tree;
mod xattrs;

use crate::error::{Fault, MergeFault};
use std::fs::File;
use std::io::BufRead;

/// What one layer may take. What the file system has free limits it, too.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the image.
    pub bytes: u64,
    /// Entries of the archive.
    pub entries: u64,
    /// Bytes of names, link targets, attributes and maps of holes, which are held in memory until the archive ends.
    pub names: u64,
}

impl Default for Limits {
    /// As much as the disk holds, four million entries, and 512 MiB of names.
    fn default() -> Limits {
        Limits { bytes: u64::MAX, entries: 4_000_000, names: 512 << 20 }
    }
}

/// A layer that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Bytes of the image.
    pub bytes: u64,
    /// Bytes of file content in it.
    pub content: u64,
    /// Entries that the archive had.
    pub entries: u64,
    /// True when it has whiteouts or opaque directories: they are for [`merge`], and nothing that a container may see,
    /// so that not even a single such layer can be mounted as it is.
    pub needs_merge: bool,
}

/// Writes the layer that the uncompressed archive `tar` holds to the empty file `out`, as it streams in.
///
/// # Errors
/// What is wrong with the archive, or that there is no room. What is in `out` then is no image.
pub fn write_layer<R: BufRead>(tar: R, out: &File, limits: &Limits) -> Result<Layer, Fault> {
    layer::write(tar, out, limits)
}

/// Whether the layer has whiteouts or opaque directories, so that it cannot be mounted alone: see
/// [`Layer::needs_merge`].
///
/// # Errors
/// That it is no layer of ours.
pub fn needs_merge(layer: &File) -> Result<bool, MergeFault> {
    match read::superblock(layer) {
        Ok(superblock) => Ok(superblock.label == format::Label::Marked),
        Err(read::Problem::Read(source)) => Err(MergeFault::Read { layer: 1, source }),
        Err(read::Problem::Damaged(reason)) => Err(MergeFault::Damaged { layer: 1, reason }),
    }
}

/// Whether the file is an image that this version wrote, layer or merged, in its full length. The kernel mounts
/// one that is cut short, too, and fails in the middle of a program.
pub fn is_whole(image: &File) -> bool {
    let mut block = [0; format::BLOCK];
    let read = std::os::unix::fs::FileExt::read_exact_at(image, &mut block, 0);
    let Ok(told) = read.map_err(drop).and_then(|()| format::Superblock::read(&block).map_err(drop)) else {
        return false;
    };
    image.metadata().is_ok_and(|file| file.len() == u64::from(told.blocks) * format::BLOCK as u64)
}

/// Writes to the empty file `out` an image of the tree that `layers` (the lowest first) make together. It holds no
/// content but points into the layers: it is mounted with them as its devices, all of them and in this order.
///
/// # Errors
/// That a layer cannot be read or is damaged, or `out` not be written.
pub fn merge(layers: &[&File], out: &File) -> Result<(), MergeFault> {
    merge::merge(layers, out)
}
