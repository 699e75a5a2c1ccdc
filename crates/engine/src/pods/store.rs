//! What is known of pods, on disk.
//!
//! ```text
//! DATA/pods/           0700
//!   NAME.json          what the pod is; locked (flock) by who makes or removes it, exclusive, or makes a container in it, shared
//!   ID.new             a draft of one that is being made
//! ```
//!
//! A record is written as a draft and renamed, which fails where the name is taken, and is never written again. It names the
//! infra container, which is made after it and removed before it: where it is missing, and nobody has the record locked, that
//! is what a `kill -9` in the middle of either left, and goes with the next command's sweep, as a draft does. A record that
//! names none is whole from the moment that it is renamed.

use super::Pod;
use crate::error::Error;
use crate::state::{self, Id, data_dir};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags, flock, fstat, fsync, openat, renameat_with};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use step::step;

const RECORD: &str = ".json";
const DRAFT: &str = ".new";
/// How often a draft that a sweep has taken for a dead one's is written again.
const MOST_SWEEPS: usize = 100;

fn dir() -> PathBuf {
    data_dir().join("pods")
}

fn path_of(name: &str) -> PathBuf {
    dir().join(format!("{name}{RECORD}"))
}

/// Writes a pod's record; nobody takes it away until the result is dropped.
pub(super) fn claim(pod: &Pod) -> Result<OwnedFd, Error> {
    let path = path_of(&pod.name);
    let what = || format!("write {}", path.display());
    step("write-pod", "a pod whose infra container is missing goes with the next command", what, || {
        for _ in 0..MOST_SWEEPS {
            match write(pod, &path) {
                Ok(lock) => return Ok(lock),
                // A sweep has taken the draft.
                Err(Errno::NOENT) => {}
                Err(Errno::EXIST) if is_left(&pod.name) => remove_left(&pod.name)?,
                Err(Errno::EXIST) => return Err(Error::PodExists { name: pod.name.clone() }),
                Err(error) => return Err(Error::file("write", &path)(error)),
            }
        }
        Err(Error::file("write", &path)(Errno::AGAIN))
    })
}

fn write(pod: &Pod, path: &Path) -> Result<OwnedFd, Errno> {
    let draft = dir().join(format!("{}{DRAFT}", pod.id));
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let open = || openat(CWD, &draft, flags, Mode::RUSR | Mode::WUSR);
    let file = state::with_directory(&dir(), open)?;
    rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
    let text = serde_json::to_vec_pretty(pod).unwrap_or_default();
    let file = std::fs::File::from(file);
    std::io::Write::write_all(&mut &file, &text).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    fsync(&file)?;
    let renamed = renameat_with(CWD, &draft, CWD, path, RenameFlags::NOREPLACE);
    if renamed == Err(Errno::EXIST) {
        let _ = rustix::fs::unlink(&draft);
    }
    renamed?;
    fsync(openat(CWD, dir(), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)?;
    Ok(file.into())
}

/// Locks a pod's record, until the result is dropped. None when it is no more that pod's.
pub(super) fn lock(pod: &Pod, how: FlockOperation) -> Result<Option<OwnedFd>, Error> {
    let path = path_of(&pod.name);
    let Some(file) = open_and_lock(&path, how)? else { return Ok(None) };
    Ok(read(&pod.name)?.filter(|now| now.id == pod.id).map(|_| file))
}

/// None when it is not there, or another has it and we do not wait.
fn open_and_lock(path: &Path, how: FlockOperation) -> Result<Option<OwnedFd>, Error> {
    let file = match openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(Error::file("open", path)(error)),
    };
    match rustix::io::retry_on_intr(|| flock(&file, how)) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(Error::file("lock", path)(error)),
    }
    let links = fstat(&file).map_err(Error::file("look at", path))?.st_nlink;
    Ok((links > 0).then_some(file))
}

/// What is known of the pod of this name.
pub(super) fn read(name: &str) -> Result<Option<Pod>, Error> {
    let path = path_of(name);
    match state::with_text(&path, |text| serde_json::from_slice(text)) {
        Ok(Ok(pod)) => Ok(Some(pod)),
        Ok(Err(source)) => Err(Error::BadRecord { path, source }),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(Error::file("read", path)(error)),
    }
}

/// All pods that are whole, by name.
pub(super) fn all() -> Result<Vec<Pod>, Error> {
    let mut all = Vec::new();
    for name in names() {
        all.extend(read(&name)?.filter(Pod::is_whole));
    }
    Ok(all)
}

fn names() -> Vec<String> {
    let files = state::file_names(&dir()).into_iter().filter_map(|name| name.into_string().ok());
    let mut names: Vec<String> = files.filter_map(|name| Some(name.strip_suffix(RECORD)?.to_owned())).collect();
    names.sort();
    names
}

/// Removes a pod's record. The caller has it locked, and its containers are gone.
pub(super) fn remove(pod: &Pod) -> Result<(), Error> {
    let what = || format!("remove {}", path_of(&pod.name).display());
    step("remove-pod", "its containers are gone", what, || state::unlink(&path_of(&pod.name)))
}

/// Whether it has no infra container; that of one that is being made is not there yet.
fn is_left(name: &str) -> bool {
    matches!(read(name), Ok(Some(pod)) if !pod.is_whole())
}

/// Removes one that a killed command left, unless somebody is at work on it.
fn remove_left(name: &str) -> Result<(), Error> {
    let path = path_of(name);
    match open_and_lock(&path, FlockOperation::NonBlockingLockExclusive)? {
        // Looked at once more under the lock.
        Some(_lock) if is_left(name) => state::unlink(&path),
        Some(_lock) => Ok(()),
        None if is_left(name) => Err(Error::PodExists { name: name.to_owned() }),
        None => Ok(()),
    }
}

/// Removes what killed commands left.
pub(crate) fn sweep() -> Vec<Error> {
    let mut errors = Vec::new();
    for file in state::file_names(&dir()) {
        let Some(file) = file.to_str() else { continue };
        let path = dir().join(file);
        let is_draft = file.strip_suffix(DRAFT).is_some_and(|id| Id::from_file_name(id.as_bytes()).is_some());
        let is_dead = || match file.strip_suffix(RECORD) {
            Some(name) => is_left(name),
            None => is_draft,
        };
        if !is_dead() {
            continue;
        }
        match open_and_lock(&path, FlockOperation::NonBlockingLockExclusive) {
            Ok(Some(_lock)) if is_dead() => errors.extend(state::unlink(&path).err()),
            Ok(_) => {}
            Err(error) => errors.push(error),
        }
    }
    errors
}
