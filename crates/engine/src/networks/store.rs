//! The files of the networks that people make; see the room's header.

use crate::error::Error;
use crate::events;
use crate::state::{self, data_dir};
use network::Config;
use rustix::fs::{
    AtFlags, CWD, FlockOperation, Mode, OFlags, RenameFlags, flock, fstat, fsync, openat, renameat_with, unlinkat,
};
use rustix::io::Errno;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use step::step;

const LOCK: &str = ".lock";
const DRAFT: &str = ".new";
const SUFFIX: &str = ".json";

/// The directory of all of them.
pub(super) struct Store(OwnedFd);

impl Store {
    /// Opens it; none when nobody has made a network yet.
    pub(super) fn existing() -> Result<Option<Store>, Error> {
        super::root()?;
        match open_directory() {
            Ok(dir) => Ok(Some(Store(dir))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::file("open", path())(error)),
        }
    }

    /// Opens it; made when it is missing.
    pub(super) fn open() -> Result<Store, Error> {
        super::root()?;
        state::with_directory(&path(), open_directory).map(Store).map_err(Error::file("open", path()))
    }

    /// The lock of who makes or removes one.
    pub(super) fn lock(&self) -> Result<OwnedFd, Error> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let lock = || {
            let lock = openat(&self.0, LOCK, flags, Mode::RUSR | Mode::WUSR)?;
            rustix::io::retry_on_intr(|| flock(&lock, FlockOperation::LockExclusive))?;
            Ok(lock)
        };
        lock().map_err(Error::file("lock", path().join(LOCK)))
    }

    /// The names of all, in order.
    pub(super) fn names(&self) -> Vec<String> {
        let files = state::file_names(&path()).into_iter().filter_map(|name| name.into_string().ok());
        let names = files.filter_map(|file| file.strip_suffix(SUFFIX).map(str::to_owned));
        let mut names: Vec<String> = names.filter(|name| super::is_name(name)).collect();
        names.sort();
        names
    }

    /// What is known of one, if there is one of that name, which is one.
    pub(super) fn read(&self, name: &str) -> Result<Option<Config>, Error> {
        let file = path_of(name);
        match state::with_text(&file, |text| serde_json::from_slice::<Config>(text)) {
            // The file's name is what makes it unique.
            Ok(Ok(config)) => Ok(Some(Config { name: name.to_owned(), ..config })),
            Ok(Err(source)) => Err(Error::BadRecord { path: file, source }),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::file("read", file)(error)),
        }
    }

    /// Its file, locked; none when there is none, or no longer.
    pub(super) fn hold(&self, name: &str, how: FlockOperation) -> Result<Option<OwnedFd>, Error> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let hold = || {
            let file = openat(&self.0, file_name(name), flags, Mode::empty())?;
            rustix::io::retry_on_intr(|| flock(&file, how))?;
            // Who had it before may have removed it.
            Ok(Some(file).filter(|file| fstat(file).is_ok_and(|stat| stat.st_nlink > 0)))
        };
        match hold() {
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::WOULDBLOCK) => Err(Error::NetworkBusy { name: name.to_owned() }),
            held => held.map_err(Error::file("lock", path_of(name))),
        }
    }

    /// Makes one: whole, or not at all. The caller has the lock.
    pub(super) fn make(&self, config: &Config) -> Result<(), Error> {
        let what = || format!("make {}", path_of(&config.name).display());
        step("make-network", "it stays when its containers are gone", what, || {
            self.sweep()?;
            let mut text = serde_json::to_vec_pretty(config).unwrap_or_default();
            text.push(b'\n');
            let make = || {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                let file = File::from(openat(&self.0, DRAFT, flags, Mode::RUSR | Mode::WUSR)?);
                (&file).write_all(&text).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
                fsync(&file)?;
                renameat_with(&self.0, DRAFT, &self.0, file_name(&config.name), RenameFlags::NOREPLACE)?;
                fsync(&self.0)
            };
            match make() {
                Ok(()) => {}
                Err(Errno::EXIST) => return Err(Error::NetworkExists { name: config.name.clone() }),
                Err(error) => return Err(Error::file("make the network", path_of(&config.name))(error)),
            }
            events::network("create", config);
            Ok(())
        })
    }

    /// Removes one, whose file the caller holds alone, with the lock.
    pub(super) fn remove(&self, name: &str, held: OwnedFd) -> Result<(), Error> {
        let what = || format!("remove {}", path_of(name).display());
        step("remove-network", "no container is on it", what, || {
            let config = self.read(name).ok().flatten();
            let remove = || {
                unlinkat(&self.0, file_name(name), AtFlags::empty())?;
                fsync(&self.0)
            };
            remove().map_err(Error::file("remove", path_of(name)))?;
            events::network(
                "destroy",
                &config.unwrap_or_else(|| Config { name: name.to_owned(), ..Config::default() }),
            );
            Ok::<(), Error>(())
        })?;
        drop(held);
        Ok(())
    }

    /// Removes what a killed command has not made to its end. The caller has the lock.
    pub(super) fn sweep(&self) -> Result<(), Error> {
        match unlinkat(&self.0, DRAFT, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(Error::file("remove", path().join(DRAFT))(error)),
        }
    }
}

fn path() -> PathBuf {
    data_dir().join("networks")
}

fn path_of(name: &str) -> PathBuf {
    path().join(file_name(name))
}

fn file_name(name: &str) -> String {
    format!("{name}{SUFFIX}")
}

fn open_directory() -> Result<OwnedFd, Errno> {
    openat(CWD, path(), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
}
