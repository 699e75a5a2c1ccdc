//! Directories and small files, opened so that nothing that lies in wait there is followed or waited for.

use rustix::fs::{Dir, FileType, Mode, OFlags, fstat, openat};
use rustix::io::{Errno, read, write};
use std::os::fd::{AsFd, OwnedFd};

/// Opens a directory; a symlink is none.
pub(crate) fn open_dir(at: impl AsFd, name: &str) -> Result<OwnedFd, Errno> {
    openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
}

/// Reads a regular file of at most `longest` bytes; `None` when there is none.
pub(crate) fn read_file(at: impl AsFd, name: &str, longest: usize, flags: OFlags) -> Result<Option<Vec<u8>>, Errno> {
    // Without waiting: what is a pipe is found out after it has been opened.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | flags;
    let file = match openat(at, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        opened => opened?,
    };
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    let (mut text, mut space) = (Vec::new(), [0; 1024]);
    while text.len() <= longest {
        match rustix::io::retry_on_intr(|| read(&file, &mut space))? {
            0 => return Ok(Some(text)),
            got => text.extend_from_slice(space.get(..got).unwrap_or_default()),
        }
    }
    Err(Errno::FBIG)
}

/// Makes a file with this text in it, or empties one that is there.
pub(crate) fn write_file(at: impl AsFd, name: &str, text: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = openat(at, name, flags, Mode::from_raw_mode(0o600))?;
    let mut rest = text;
    while !rest.is_empty() {
        let written = rustix::io::retry_on_intr(|| write(&file, rest))?;
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// The names in a directory.
pub(crate) fn names_in(dir: impl AsFd) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}
