//! Files that have no name: whatever becomes of us, nothing is left over.

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open, unlink};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// An empty file on the file system of a directory.
pub(crate) fn temporary(directory: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::EXCL;
    let file = match open(directory, flags, Mode::RUSR | Mode::WUSR) {
        // Overlayfs before Linux 6.1, NFS and others cannot: then it has a name for a moment.
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => named_for_a_moment(directory),
        done => done,
    };
    Ok(File::from(file?))
}

fn named_for_a_moment(directory: &Path) -> Result<OwnedFd, Errno> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    loop {
        let path = directory.join(format!(".tmp-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match open(&path, flags, Mode::RUSR | Mode::WUSR) {
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
            Ok(file) => return unlink(&path).map(|()| file),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, SeekFrom, Write};

    #[test]
    fn temporary_files_have_no_names() {
        let directory = std::env::temp_dir().join(format!("image-scratch-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        for file in [temporary(&directory).unwrap(), named_for_a_moment(&directory).map(File::from).unwrap()] {
            assert!(std::fs::read_dir(&directory).unwrap().next().is_none());
            let mut text = String::new();
            (&file).write_all(b"kept").unwrap();
            (&file).seek(SeekFrom::Start(0)).unwrap();
            (&file).read_to_string(&mut text).unwrap();
            assert_eq!(text, "kept");
        }
        std::fs::remove_dir(&directory).unwrap();
    }
}
