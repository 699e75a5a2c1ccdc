//! Where an ordinary user's containers are kept. [XDG Base Directory Specification]

use crate::error::Error;
use rustix::fs::{FileType, Mode, lstat, mkdir};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::path::{Path, PathBuf};

/// The two directories of a user, of which the first one is there.
pub(super) struct Dirs {
    pub(super) run: PathBuf,
    pub(super) data: PathBuf,
}

/// Those of who calls, whose number on the host is `uid`.
pub(super) fn of_user(uid: u32) -> Result<Dirs, Error> {
    Ok(Dirs { run: run(uid)?, data: data(uid).ok_or(Error::NoHome)? })
}

/// Makes the second one.
pub(super) fn make_data(uid: u32) -> Result<(), Error> {
    let path = data(uid).ok_or(Error::NoHome)?;
    crate::state::make_private_directory(&path).map_err(|source| Error::DataDir { path, source })
}

/// `$XDG_RUNTIME_DIR`, else where systemd makes it, else a directory of /tmp that nobody but the user may enter.
fn run(uid: u32) -> Result<PathBuf, Error> {
    let named = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let usual = PathBuf::from(format!("/run/user/{uid}"));
    let known = named.into_iter().chain([usual]).find(|dir| dir.is_absolute() && is_own(dir) == Ok(true));
    let dir = match known {
        Some(dir) => dir.join("mycontainer"),
        None => PathBuf::from(format!("/tmp/mycontainer-{uid}")),
    };
    match mkdir(&dir, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(Error::file("make", dir)(errno)),
    }
    // In /tmp anyone can be first.
    match is_own(&dir) {
        Ok(true) => Ok(dir),
        Ok(false) => Err(Error::NotOurs { path: dir }),
        Err(errno) => Err(Error::file("look at", dir)(errno)),
    }
}

/// True of a directory of the user's that nobody else can write to.
fn is_own(dir: &Path) -> Result<bool, Errno> {
    let stat = lstat(dir)?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    Ok(is_directory && stat.st_uid == geteuid().as_raw() && stat.st_mode & 0o022 == 0)
}

/// `$XDG_DATA_HOME`, else `~/.local/share`.
fn data(uid: u32) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|dir| dir.is_absolute());
    let home = || absolute("HOME").or_else(|| super::ids::account(uid).map(|account| account.home.into()));
    let share = absolute("XDG_DATA_HOME").or_else(|| home().map(|home| home.join(".local/share")))?;
    Some(share.join("mycontainer"))
}
