//! Reading, writing and walking the files of control groups.
//!
//! Groups are named by path, not held by descriptor: whoever removes one may be another process than the one that made
//! it, and has only its name.

use crate::Error;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// A container may have made groups inside its own; deeper than this they are given up (each level holds one fd).
const DEEPEST: usize = 200;
/// How long the last processes of a group are given to be gone before its removal is called failed.
const DRAIN: Duration = Duration::from_secs(2);
/// How many pidfds are open at once while a group is killed.
const BATCH: usize = 128;

/// The whole of a small file of the kernel's.
pub(crate) fn read(path: &str) -> Result<String, Error> {
    read_at(rustix::fs::CWD, path).map_err(|source| Error::Read { path: path.into(), source })
}

pub(crate) fn read_at(dir: BorrowedFd<'_>, name: &str) -> Result<String, Errno> {
    let fd = rustix::fs::openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match rustix::io::retry_on_intr(|| rustix::io::read(&fd, &mut chunk))? {
            0 => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}

/// Opens an existing file for writing; nothing can be created in a cgroup file system.
pub(crate) fn open_for_writing(path: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
}

/// Writes a value in one write, as the kernel's control files need it.
pub(crate) fn write(path: &str, value: &str) -> Result<(), Errno> {
    let fd = open_for_writing(path)?;
    rustix::io::retry_on_intr(|| rustix::io::write(&fd, value.as_bytes())).map(|_| ())
}

/// Makes the directory of a group.
pub(crate) fn make(path: &str) -> Result<(), Error> {
    rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)).map_err(|source| Error::Make { path: path.into(), source })
}

fn open_dir(dir: BorrowedFd<'_>, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// The directory of a group, for clone3(2) and bpf(2). None when it is not there.
pub(crate) fn open_group(path: &str) -> Result<Option<OwnedFd>, Error> {
    match open_dir(rustix::fs::CWD, path) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT) => Ok(None),
        Err(source) => Err(Error::Open { path: path.into(), source }),
    }
}

/// Removes a group and those that the container made inside it. Missing is as good as removed. Processes that are dying
/// still hold it (EBUSY), so it is tried again for a while.
pub(crate) fn remove(path: &str) -> Result<(), Error> {
    let until = Instant::now() + DRAIN;
    let mut pause = Duration::from_micros(100);
    loop {
        match rustix::fs::rmdir(path) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) if Instant::now() < until => {}
            Err(source) => return Err(Error::Remove { path: path.into(), source }),
        }
        // Only now: asking for inner groups costs more than the removal itself, and there are seldom any.
        match open_dir(rustix::fs::CWD, path).and_then(|dir| remove_inner(dir.as_fd(), 0)) {
            Ok(true) => continue,
            Ok(false) | Err(Errno::NOENT | Errno::BUSY) => {}
            Err(source) => return Err(Error::Remove { path: path.into(), source }),
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Removes the groups inside `dir`; true when there were some and all are gone.
fn remove_inner(dir: BorrowedFd<'_>, depth: usize) -> Result<bool, Errno> {
    let inner = inner_groups(dir)?;
    for name in &inner {
        if rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) == Err(Errno::BUSY) {
            if depth == DEEPEST {
                return Err(Errno::LOOP);
            }
            remove_inner(open_dir(dir, name)?.as_fd(), depth + 1)?;
            rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?;
        }
    }
    Ok(!inner.is_empty())
}

fn inner_groups(dir: BorrowedFd<'_>) -> Result<Vec<std::ffi::CString>, Errno> {
    let mut buffer = [MaybeUninit::uninit(); 8192];
    // Read through a descriptor of its own: the directory's position belongs to whoever opened `dir`.
    let reader = open_dir(dir, ".")?;
    let mut entries = RawDir::new(reader, &mut buffer);
    let mut groups = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if entry.file_type() == FileType::Directory && !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            groups.push(entry.file_name().to_owned());
        }
    }
    Ok(groups)
}

/// Sends SIGKILL to every process of the group and of those inside it; how many there were. Missing is empty.
pub(crate) fn kill_listed(path: &str) -> Result<usize, Error> {
    match open_dir(rustix::fs::CWD, path).and_then(|dir| kill_tree(dir.as_fd(), 0)) {
        Ok(killed) => Ok(killed),
        // Gone: ENOENT from its directory, ENODEV from a file of it that was open.
        Err(Errno::NOENT | Errno::NODEV) => Ok(0),
        Err(source) => Err(Error::Kill { path: path.into(), source }),
    }
}

fn kill_tree(dir: BorrowedFd<'_>, depth: usize) -> Result<usize, Errno> {
    if depth > DEEPEST {
        return Err(Errno::LOOP);
    }
    let mut killed = 0;
    for batch in processes(dir)?.chunks(BATCH) {
        // A process that ends between the list and its pidfd may have given its number to a stranger: so open first,
        // then signal only what the group still lists, which can no longer be another process than the opened one.
        let held: Vec<_> = batch
            .iter()
            .filter_map(|&pid| Some((pid, pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?)))
            .collect();
        let still = processes(dir)?;
        for (_, pidfd) in held.iter().filter(|(pid, _)| still.binary_search(pid).is_ok()) {
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
            killed += 1;
        }
    }
    for name in inner_groups(dir)? {
        match open_dir(dir, &name) {
            Ok(inner) => killed += kill_tree(inner.as_fd(), depth + 1)?,
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(killed)
}

/// The processes of one group, sorted. Those outside of our pid namespace are listed as 0 and left out.
fn processes(dir: BorrowedFd<'_>) -> Result<Vec<i32>, Errno> {
    let text = read_at(dir, "cgroup.procs")?;
    let mut pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).filter(|&pid| pid > 0).collect();
    pids.sort_unstable();
    Ok(pids)
}

/// The number after `key` in a file of `key number` lines, such as memory.events. None when the file or the key is
/// missing.
pub(crate) fn counter(path: &str, key: &str) -> Result<Option<u64>, Error> {
    match read_at(rustix::fs::CWD, path) {
        Ok(text) => Ok(value_of(&text, key)),
        Err(Errno::NOENT | Errno::NODEV) => Ok(None),
        Err(source) => Err(Error::Read { path: path.into(), source }),
    }
}

fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_by_its_whole_key() {
        let text = "low 0\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(value_of(text, "oom_kill"), Some(2));
        assert_eq!(value_of(text, "oom"), Some(3));
        assert_eq!(value_of("oom_kill_disable 0\nunder_oom 0\n", "oom_kill"), None);
        assert_eq!(value_of("oom_kill many\n", "oom_kill"), None);
    }
}
