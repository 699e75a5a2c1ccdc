//! Reading, writing and walking the files of control groups.
//!
//! Groups are named by path, not held by descriptor: whoever removes one may be another process than the one that made
//! it, and has only its name.

use crate::Error;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
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

/// Makes the group `path`, in which `name` is what lies below the hierarchy's root, and the groups on the way to it;
/// false when it was there.
pub(crate) fn make(path: &str, name: &str) -> Result<bool, Error> {
    let make = |path: &str| match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(errno) => Err(errno),
    };
    let failed = |path: &str, source| Error::Make { path: path.into(), source };
    match make(path) {
        // Only now: most groups have no parents to be made.
        Err(Errno::NOENT) => {}
        done => return done.map_err(|source| failed(path, source)),
    }
    for parent in parents(path, name) {
        make(parent).map_err(|source| failed(parent, source))?;
    }
    make(path).map_err(|source| failed(path, source))
}

/// The groups between the root of the hierarchy and `path`, in which `name` is what lies below the root.
pub(crate) fn parents<'a>(path: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let root = path.len() - name.len();
    name.match_indices('/').map(|(at, _)| root + at).collect::<Vec<_>>().into_iter().map(|end| &path[..end])
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

/// Sends a signal to every process of the group and of those inside it; how many there were. Missing is empty.
pub(crate) fn signal_listed(path: &str, signal: i32) -> Result<usize, Error> {
    match open_dir(rustix::fs::CWD, path).and_then(|dir| signal_tree(dir.as_fd(), signal, 0)) {
        Ok(count) => Ok(count),
        // Gone: ENOENT from its directory, ENODEV from a file of it that was open.
        Err(Errno::NOENT | Errno::NODEV) => Ok(0),
        Err(source) => Err(Error::Kill { path: path.into(), source }),
    }
}

fn signal_tree(dir: BorrowedFd<'_>, signal: i32, depth: usize) -> Result<usize, Errno> {
    if depth > DEEPEST {
        return Err(Errno::LOOP);
    }
    let mut count = 0;
    for batch in processes(dir)?.chunks(BATCH) {
        // A process that ends between the list and its pidfd may have given its number to a stranger: so open first,
        // then signal only what the group still lists, which can no longer be another process than the opened one.
        let held: Vec<_> = batch
            .iter()
            .filter_map(|&pid| Some((pid, pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?)))
            .collect();
        let still = processes(dir)?;
        for (_, pidfd) in held.iter().filter(|(pid, _)| still.binary_search(pid).is_ok()) {
            match sys::signal::send_to_pidfd(pidfd.as_fd(), signal) {
                // No such signal: that must not look like success.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => return Err(Errno::INVAL),
                _ => count += 1,
            }
        }
    }
    for name in inner_groups(dir)? {
        match open_dir(dir, &name).and_then(|inner| signal_tree(inner.as_fd(), signal, depth + 1)) {
            Ok(inner) => count += inner,
            Err(Errno::NOENT | Errno::NODEV) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(count)
}

/// The processes of the group and of those inside it. Missing is empty.
pub(crate) fn processes_in(path: &str) -> Result<Vec<i32>, Error> {
    let mut all = Vec::new();
    match open_dir(rustix::fs::CWD, path).and_then(|dir| collect(dir.as_fd(), &mut all, 0)) {
        Ok(()) | Err(Errno::NOENT | Errno::NODEV) => Ok(all),
        Err(source) => Err(Error::Read { path: path.into(), source }),
    }
}

fn collect(dir: BorrowedFd<'_>, all: &mut Vec<i32>, depth: usize) -> Result<(), Errno> {
    if depth > DEEPEST {
        return Err(Errno::LOOP);
    }
    all.extend(processes(dir)?);
    for name in inner_groups(dir)? {
        match open_dir(dir, &name).and_then(|inner| collect(inner.as_fd(), all, depth + 1)) {
            Ok(()) | Err(Errno::NOENT | Errno::NODEV) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The processes of one group, sorted. Those outside of our pid namespace are listed as 0 and left out.
fn processes(dir: BorrowedFd<'_>) -> Result<Vec<i32>, Errno> {
    let text = match read_at(dir, "cgroup.procs") {
        // A group of threads: their processes are listed in the group above.
        Err(Errno::OPNOTSUPP) => String::new(),
        read => read?,
    };
    let mut pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).filter(|&pid| pid > 0).collect();
    pids.sort_unstable();
    Ok(pids)
}

/// Refuses a group that was there with processes in it: they would share the new container's limits and its end.
pub(crate) fn check_empty(path: &str) -> Result<(), Error> {
    match processes_in(path)?.first() {
        None => Ok(()),
        Some(&pid) => Err(Error::InUse { path: path.into(), pid }),
    }
}

/// The content of a file that may be missing.
pub(crate) fn read_if_there(path: &str) -> Result<Option<String>, Error> {
    match read_at(rustix::fs::CWD, path) {
        Ok(text) => Ok(Some(text)),
        Err(Errno::NOENT | Errno::NODEV) => Ok(None),
        Err(source) => Err(Error::Read { path: path.into(), source }),
    }
}

/// Whether a file says 1, all of which comes with one read; one that is missing does not.
pub(crate) fn says_one(dir: BorrowedFd<'_>, path: &str) -> Result<bool, Error> {
    let read = || {
        let fd = rustix::fs::openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut text = [0; 8];
        let read = rustix::io::retry_on_intr(|| rustix::io::read(&fd, &mut text))?;
        Ok(text[..read].trim_ascii() == b"1")
    };
    match read() {
        Err(Errno::NOENT | Errno::NODEV) => Ok(false),
        read => read.map_err(|source| Error::Read { path: path.into(), source }),
    }
}

/// The number after `key` in a file of `key number` lines, such as memory.events. None when the file or the key is
/// missing.
pub(crate) fn counter(path: &str, key: &str) -> Result<Option<u64>, Error> {
    Ok(read_if_there(path)?.and_then(|text| value_of(&text, key)))
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
