//! Containers that were created and do not run.
//!
//! ```text
//! DATA/containers/ID/            0700; locked (flock) by who reads it, shared, or removes it, exclusive
//!   created.json                 the record: what makes the directory a container that stays
//!   upper/                       its writable layer, empty as yet; none where the root is a directory, used in place
//! ```
//!
//! `created.json` is written beside, to disk, and renamed, last of all: what has it is whole, and nobody but `rm` removes
//! it; what has none goes with the next command's sweep. `rm` takes it away first of all. While a container is made it
//! has a record in /run as one that runs, and its name there; so a name is always taken either there or here.

use crate::error::Error;
use crate::state::{self, Facts, Id};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, fsync, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const RECORD: &str = "created.json";
const DRAFT: &str = "created.json.new";

/// Writes the record, and all of the container, to disk. A record that is there is replaced; then the caller has the
/// container locked.
pub(crate) fn write(id: &Id, facts: &Facts) -> Result<(), Error> {
    let path = record_path(id);
    let dir = open_directory(&state::layer_path(id)).map_err(Error::file("open", state::layer_path(id)))?;
    let text = serde_json::to_vec_pretty(facts).map_err(|source| Error::BadRecord { path: path.clone(), source })?;
    let write = || {
        // A draft of a command that was killed.
        match unlinkat(&dir, DRAFT, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = std::fs::File::from(openat(&dir, DRAFT, flags, Mode::RUSR | Mode::WUSR)?);
        std::io::Write::write_all(&mut &file, &text).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
        fsync(&file)?;
        match open_directory(&state::layer_path(id).join("upper")) {
            Ok(upper) => fsync(upper)?,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        fsync(open_directory(&state::layers_dir())?)?;
        renameat(&dir, DRAFT, &dir, RECORD)?;
        fsync(&dir)
    };
    write().map_err(Error::file("write", path))
}

/// Whether there is such a container.
pub(crate) fn exists(id: &Id) -> bool {
    // What cannot be looked at is not taken for gone: it would be removed.
    !matches!(statat(CWD, record_path(id), AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT | Errno::NOTDIR))
}

/// All of them, with what their records say.
pub(crate) fn all() -> Vec<(Id, Result<Facts, Error>)> {
    let names = state::file_names(&state::layers_dir());
    let ids = names.iter().filter_map(|name| Id::from_file_name(name.as_encoded_bytes()));
    ids.filter_map(|id| read(&id).transpose().map(|facts| (id, facts))).collect()
}

/// Its record, if there is such a container.
fn read(id: &Id) -> Result<Option<Facts>, Error> {
    let path = record_path(id);
    match std::fs::read(&path) {
        Ok(text) => match serde_json::from_slice(&text) {
            Ok(facts) => Ok(Some(facts)),
            Err(source) => Err(Error::BadRecord { path, source }),
        },
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::NOTDIR)) => Ok(None),
        Err(source) => Err(Error::File { what: "read", path, source }),
    }
}

/// Who has this name.
pub(crate) fn holder_of(name: &str) -> Option<Id> {
    let has = |facts: &Result<Facts, Error>| facts.as_ref().is_ok_and(|facts| facts.name.as_deref() == Some(name));
    all().into_iter().find(|(_, facts)| has(facts)).map(|(id, _)| id)
}

/// Locks its directory, until the result is dropped. None when it is not there, or another has it and we do not wait.
pub(crate) fn lock(id: &Id, how: FlockOperation) -> Result<Option<OwnedFd>, Error> {
    let path = state::layer_path(id);
    let dir = match open_directory(&path) {
        Ok(dir) => dir,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(Error::file("open", path)(error)),
    };
    match rustix::io::retry_on_intr(|| flock(&dir, how)) {
        Ok(()) => Ok(Some(dir)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(Error::file("lock", path)(error)),
    }
}

/// Removes it. The caller has it locked.
pub(crate) fn remove(id: &Id) -> Result<(), Error> {
    let path = record_path(id);
    match unlinkat(CWD, &path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(Error::file("remove", path)(error)),
    }
    // From here on it is nobody's, and a sweep finishes it if we do not.
    crate::overlay::remove_layer(id)
}

fn record_path(id: &Id) -> PathBuf {
    state::layer_path(id).join(RECORD)
}

fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
}
