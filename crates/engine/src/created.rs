//! Containers that stay when they end: until `rm`, over reboots, too.
//!
//! ```text
//! DATA/containers/ID/            0700; locked (flock) by who makes, starts or removes it, exclusive, or reads it, shared
//!   created.json                 what the container is: what makes the directory a container that stays
//!   life.json                    what has become of it, see `life`; none of one that was never started
//!   health.json                  what its health check has found, see `health`
//!   stopped                      somebody has stopped it: no restart policy starts it again
//!   upper/ work/                 its writable layer; none where the root is a directory, used in place
//!   log.json ...                 what it has printed
//! ```
//!
//! `created.json` is written beside and renamed, last of all: what has it is whole, and nobody but `rm` removes it; what
//! has none, and is not locked by who makes it, goes with the next command's sweep. `rm` takes it away first of all.

use crate::error::Error;
use crate::options::RunOptions;
use crate::state::{self, Facts, Id};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, fsync, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use serde_json::Value;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const RECORD: &str = "created.json";
const DRAFT: &str = "created.json.new";

/// Makes the directory of a new container, locked until the result is dropped. Nobody takes it away until then.
pub(crate) fn make(id: &Id) -> Result<OwnedFd, Error> {
    let path = state::layer_path(id);
    let layers = state::layers_dir();
    let make = || {
        match state::with_directory(&layers, || rustix::fs::mkdir(&path, Mode::from_raw_mode(0o700))) {
            // It is ours, from the last try: nobody else has this id.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        let dir = open_directory(&path)?;
        rustix::io::retry_on_intr(|| flock(&dir, FlockOperation::LockExclusive))?;
        // A sweep that came between the two has taken it for what a killed command left, and removed it by now.
        if rustix::fs::stat(&path)?.st_ino == rustix::fs::fstat(&dir)?.st_ino { Ok(dir) } else { Err(Errno::NOENT) }
    };
    for _ in 0..MOST_SWEEPS {
        match make() {
            Err(Errno::NOENT) => {}
            made => return made.map_err(Error::file("make the container's directory", &path)),
        }
    }
    Err(Error::file("make the container's directory", &path)(Errno::AGAIN))
}

/// How often a directory is made again before we give up.
const MOST_SWEEPS: usize = 1000;

/// Writes what the container is. What is there is replaced; the caller has the container locked. It is on disk when
/// [`sync`] has returned.
pub(crate) fn write(id: &Id, facts: &Facts) -> Result<(), Error> {
    let path = record_path(id);
    let dir = open_directory(&state::layer_path(id)).map_err(Error::file("open", state::layer_path(id)))?;
    let text = text_of(facts).map_err(|source| Error::BadRecord { path: path.clone(), source })?;
    let write = || {
        // A draft of a command that was killed.
        match unlinkat(&dir, DRAFT, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = std::fs::File::from(openat(&dir, DRAFT, flags, Mode::RUSR | Mode::WUSR)?);
        std::io::Write::write_all(&mut &file, &text).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
        renameat(&dir, DRAFT, &dir, RECORD)
    };
    write().map_err(Error::file("write", path))
}

/// The record for a person to read, and for a list of a thousand to be read fast: without the options that nobody gave.
fn text_of(facts: &Facts) -> Result<Vec<u8>, serde_json::Error> {
    let mut value = serde_json::to_value(facts)?;
    let defaults = serde_json::to_value(RunOptions::default())?;
    if let (Some(Value::Object(options)), Value::Object(defaults)) = (value.get_mut("options"), &defaults) {
        options.retain(|name, option| defaults.get(name) != Some(option));
    }
    serde_json::to_vec_pretty(&value)
}

/// Waits until the container is on disk: what is not there does not outlive a failure of power.
pub(crate) fn sync(id: &Id) -> Result<(), Error> {
    let path = state::layer_path(id);
    let sync = || {
        let dir = open_directory(&path)?;
        fsync(openat(&dir, RECORD, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?)?;
        match openat(&dir, "upper", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(upper) => fsync(upper)?,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        fsync(&dir)?;
        fsync(open_directory(&state::layers_dir())?)
    };
    sync().map_err(Error::file("write to disk", &path))
}

/// Whether there is such a container.
pub(crate) fn exists(id: &Id) -> bool {
    // What cannot be looked at is not taken for gone: it would be removed.
    !matches!(statat(CWD, record_path(id), AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT | Errno::NOTDIR))
}

/// Whether there is such a container, or somebody is making it.
pub(crate) fn is_there(id: &Id) -> bool {
    let is_free = || matches!(lock(id, FlockOperation::NonBlockingLockExclusive), Ok(Some(_)));
    let has_directory = || statat(CWD, state::layer_path(id), AtFlags::SYMLINK_NOFOLLOW).is_ok();
    exists(id) || (has_directory() && !is_free()) || exists(id)
}

/// Whether it is a container that has another name, and is not being renamed: a killed command has left this one.
pub(crate) fn is_called_otherwise(id: &Id, name: &str) -> bool {
    let has_other = || matches!(read(id), Ok(Some(facts)) if facts.name.as_deref() != Some(name));
    has_other() && matches!(lock(id, FlockOperation::NonBlockingLockExclusive), Ok(Some(_))) && has_other()
}

/// All of them, with what their records say.
pub(crate) fn all() -> Vec<(Id, Result<Facts, Error>)> {
    ids().into_iter().filter_map(|id| read(&id).transpose().map(|facts| (id, facts))).collect()
}

/// The ids of all of them, and of what is being made or removed.
pub(crate) fn ids() -> Vec<Id> {
    let names = state::file_names(&state::layers_dir());
    names.iter().filter_map(|name| Id::from_file_name(name.as_encoded_bytes())).collect()
}

/// What it is, if there is such a container.
pub(crate) fn read(id: &Id) -> Result<Option<Facts>, Error> {
    let path = record_path(id);
    match state::with_text(&path, |text| serde_json::from_slice(text)) {
        Ok(Ok(facts)) => Ok(Some(facts)),
        Ok(Err(source)) => Err(Error::BadRecord { path, source }),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(Error::file("read", path)(error)),
    }
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

/// Removes it, and gives up its name. The caller has it locked.
pub(crate) fn remove(id: &Id, name: Option<&str>) -> Result<(), Error> {
    let path = record_path(id);
    match unlinkat(CWD, &path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(Error::file("remove", path)(error)),
    }
    // From here on it is nobody's, and a sweep finishes it if we do not.
    if let Some(name) = name {
        state::give_up_name(name, id)?;
    }
    crate::overlay::remove_layer(id)
}

fn record_path(id: &Id) -> PathBuf {
    state::layer_path(id).join(RECORD)
}

fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
}
