//! Named files, in a directory or in a tar: what a layout is made of, wherever it lies.
//!
//! Names are relative and plain. In a directory the kernel resolves them beneath its descriptor, through no symlink; in
//! a tar they are looked up among its entries, so there is nothing outside that they could mean.

use super::Flaw;
use super::tarindex::TarIndex;
use registry::Digest;
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// A directory or a tar.
pub(super) enum Files {
    Directory(OwnedFd),
    Tar(TarIndex),
}

impl Files {
    /// The file of this name.
    pub(super) fn open(&self, name: &str) -> Result<Piece, Flaw> {
        match self {
            Files::Directory(directory) => open_beneath(directory, name),
            Files::Tar(index) => index.open(name),
        }
    }

    /// Its whole content, when it is no longer than `max`.
    pub(super) fn read(&self, name: &str, max: u64) -> Result<Vec<u8>, Flaw> {
        let piece = self.open(name)?;
        if piece.left > max {
            return Err(Flaw::TooBig { name: super::flaw::cut(name), size: piece.left, max });
        }
        let mut content = Vec::new();
        piece.take(max).read_to_end(&mut content).map_err(Flaw::Read)?;
        Ok(content)
    }

    /// True when there is something of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        !matches!(self.open(name), Err(Flaw::Missing { .. }))
    }
}

/// The name of a blob in a layout.
pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

pub(super) fn open_beneath(directory: &OwnedFd, name: &str) -> Result<Piece, Flaw> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    // Not blocking: a pipe without a writer would wait for ever, only to be refused.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let not_a_file = |what| Flaw::NotAFile { name: super::flaw::cut(name), what };
    let file = loop {
        match openat2(directory, name, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::NOENT | Errno::NOTDIR) => return Err(Flaw::missing(name)),
            Err(Errno::LOOP) => return Err(not_a_file("behind a symlink")),
            Err(Errno::NXIO | Errno::NODEV) => return Err(not_a_file("a device or a socket")),
            done => break done.map_err(|source| Flaw::system("open", name, source))?,
        }
    };
    let stat = fstat(&file).map_err(|source| Flaw::system("look at", name, source))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(not_a_file("a directory")),
        FileType::Fifo => return Err(not_a_file("a pipe")),
        _ => return Err(not_a_file("a device or a socket")),
    }
    let left = u64::try_from(stat.st_size).unwrap_or(0);
    Ok(Piece { file: Arc::new(File::from(file)), offset: 0, left })
}

/// Some bytes of a file, being read. Several may be of one file: each keeps its own place.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) file: Arc<File>,
    pub(super) offset: u64,
    pub(super) left: u64,
}

impl Piece {
    /// The same without its first bytes.
    pub(super) fn from(self, offset: u64) -> Piece {
        let passed = offset.min(self.left);
        Piece { offset: self.offset + passed, left: self.left - passed, ..self }
    }

    /// Its first bytes, at most as many as `to` has.
    pub(super) fn start(&self, to: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        let mut piece = self.clone();
        while filled < to.len() {
            match piece.read(&mut to[filled..])? {
                0 => break,
                length => filled += length,
            }
        }
        Ok(filled)
    }
}

impl Read for Piece {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let length = usize::try_from(self.left).map_or(to.len(), |left| left.min(to.len()));
        let length = self.file.read_at(&mut to[..length], self.offset)?;
        self.offset += length as u64;
        self.left -= length as u64;
        Ok(length)
    }
}
