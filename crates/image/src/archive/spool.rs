//! Streams kept in temporary files that have no name: whatever becomes of us, nothing is left over.

use super::Flaw;
use super::verify::pump;
use crate::error::Error;
use crate::input::{CHUNK, decoded};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open, unlink};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// Keeps a stream (standard input, say) in an unlinked file in `scratch`, decompressed, so that it can be read in any
/// order.
///
/// # Errors
/// When the stream cannot be read or there is no room.
pub fn spool(input: &mut (dyn Read + Send), scratch: &Path) -> Result<File, Error> {
    decompress(input, scratch).map_err(|flaw| flaw.reading("standard input"))
}

/// The uncompressed stream in an unlinked file, read from its start.
pub(super) fn decompress(input: impl Read, scratch: &Path) -> Result<File, Flaw> {
    let mut file = temporary(scratch)?;
    let mut plain = decoded(BufReader::with_capacity(CHUNK, input)).map_err(Flaw::Read)?;
    match pump(&mut plain, &mut file) {
        Err(Flaw::Write(source)) => return Err(failed(scratch, source)),
        done => drop(done?),
    }
    file.seek(SeekFrom::Start(0)).map_err(|source| failed(scratch, source))?;
    Ok(file)
}

/// An empty file without a name.
pub(super) fn temporary(scratch: &Path) -> Result<File, Flaw> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::EXCL;
    let file = match open(scratch, flags, Mode::RUSR | Mode::WUSR) {
        // Overlayfs before Linux 6.1, NFS and others cannot: then it has a name for a moment.
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => named_for_a_moment(scratch),
        done => done,
    };
    file.map(File::from).map_err(|source| failed(scratch, source.into()))
}

fn named_for_a_moment(scratch: &Path) -> Result<OwnedFd, Errno> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        let path = scratch.join(format!(".tmp-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match open(&path, flags, Mode::RUSR | Mode::WUSR) {
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
            Ok(file) => return unlink(&path).map(|()| file),
        }
    }
}

fn failed(scratch: &Path, source: io::Error) -> Flaw {
    Flaw::Spool { scratch: scratch.to_string_lossy().into_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn temporary_files_have_no_names() {
        let scratch = std::env::temp_dir().join(format!("image-spool-{}", std::process::id()));
        std::fs::create_dir(&scratch).unwrap();
        for file in [temporary(&scratch).unwrap(), named_for_a_moment(&scratch).map(File::from).unwrap()] {
            assert!(std::fs::read_dir(&scratch).unwrap().next().is_none());
            let mut text = String::new();
            (&file).write_all(b"kept").unwrap();
            (&file).seek(SeekFrom::Start(0)).unwrap();
            (&file).read_to_string(&mut text).unwrap();
            assert_eq!(text, "kept");
        }
        std::fs::remove_dir(&scratch).unwrap();
    }
}
