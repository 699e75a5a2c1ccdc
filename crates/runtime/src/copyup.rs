//! `tmpcopyup`: a new tmpfs starts with a copy of what the root has at its place.
//!
//! Both sides are held by descriptor and every name is opened without following a symlink, so whatever the root holds is
//! copied from inside it and into the tmpfs, and nowhere else. Files, directories, symlinks, pipes and device nodes are
//! copied with mode, owner and times of the last change; sockets are not, since nobody listens on a copy.

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Timespec, Timestamps, fstat, openat, statat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Deeper than this nothing is copied: each level holds two descriptors.
const DEEPEST: usize = 128;
const CHUNK: usize = 1 << 20;

/// Copies what is in the directory `from` into the directory `to`, and gives `to` the mode and owner of `from`.
pub fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    // Both may be held by O_PATH, with which neither lists nor changes anything.
    let open = |dir| openat(dir, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    copy_directory(&open(from)?, open(to)?.as_fd(), 0)
}

fn copy_directory(from: &OwnedFd, to: BorrowedFd<'_>, depth: usize) -> Result<(), Errno> {
    if depth > DEEPEST {
        return Err(Errno::LOOP);
    }
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            copy_entry(from, to, name, depth)?;
        }
    }
    let stat = fstat(from)?;
    rustix::fs::fchown(to, Some(owner(&stat)), Some(group(&stat)))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777))
}

fn copy_entry(from: &OwnedFd, to: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<(), Errno> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let kind = FileType::from_raw_mode(stat.st_mode);
    let nofollow = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match kind {
        FileType::Directory => {
            let source = openat(from, name, OFlags::RDONLY | OFlags::DIRECTORY | nofollow, Mode::empty())?;
            rustix::fs::mkdirat(to, name, Mode::RWXU)?;
            let made = openat(to, name, OFlags::RDONLY | OFlags::DIRECTORY | nofollow, Mode::empty())?;
            copy_directory(&source, made.as_fd(), depth + 1)?;
        }
        FileType::RegularFile => {
            let source = openat(from, name, OFlags::RDONLY | OFlags::NONBLOCK | nofollow, Mode::empty())?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | nofollow;
            let made = openat(to, name, flags, Mode::RUSR)?;
            while rustix::fs::sendfile(&made, &source, None, CHUNK)? > 0 {}
            // The owner first: a change of owner clears set-uid bits.
            rustix::fs::fchown(&made, Some(owner(&stat)), Some(group(&stat)))?;
            rustix::fs::fchmod(&made, mode)?;
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(&target, to, name)?;
            rustix::fs::chownat(to, name, Some(owner(&stat)), Some(group(&stat)), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        FileType::Fifo | FileType::CharacterDevice | FileType::BlockDevice => {
            rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev)?;
            rustix::fs::chownat(to, name, Some(owner(&stat)), Some(group(&stat)), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        _ => return Ok(()),
    }
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps {
        last_access: time(stat.st_atime as _, stat.st_atime_nsec as _),
        last_modification: time(stat.st_mtime as _, stat.st_mtime_nsec as _),
    };
    rustix::fs::utimensat(to, name, &times, AtFlags::SYMLINK_NOFOLLOW)
}

fn owner(stat: &rustix::fs::Stat) -> rustix::fs::Uid {
    rustix::fs::Uid::from_raw(stat.st_uid)
}

fn group(stat: &rustix::fs::Stat) -> rustix::fs::Gid {
    rustix::fs::Gid::from_raw(stat.st_gid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    #[test]
    fn a_copy_is_like_its_source_and_follows_nothing() {
        let top = std::env::temp_dir().join(format!("mycontainer-copyup-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&top);
        let (from, to) = (top.join("from"), top.join("to"));
        std::fs::create_dir_all(from.join("deep/er")).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(from.join("deep/file"), "content").unwrap();
        std::fs::set_permissions(from.join("deep/file"), std::fs::Permissions::from_mode(0o4750)).unwrap();
        symlink("/etc/shadow", from.join("link")).unwrap();
        symlink("/etc", from.join("dirlink")).unwrap();
        let open = |path: &Path| {
            openat(rustix::fs::CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
        };
        // A file system's root is readable and not O_PATH in use; here a plain directory stands for it.
        let target = openat(rustix::fs::CWD, &to, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        copy(open(&from).as_fd(), target.as_fd()).unwrap();
        assert_eq!(std::fs::read_to_string(to.join("deep/file")).unwrap(), "content");
        assert_eq!(std::fs::metadata(to.join("deep/file")).unwrap().permissions().mode() & 0o7777, 0o4750);
        assert!(to.join("deep/er").is_dir());
        assert_eq!(std::fs::read_link(to.join("link")).unwrap(), Path::new("/etc/shadow"));
        assert_eq!(std::fs::read_link(to.join("dirlink")).unwrap(), Path::new("/etc"));
        std::fs::remove_dir_all(&top).unwrap();
    }
}
