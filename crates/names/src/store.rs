//! The files of names, as the engine writes them.
//!
//! ```text
//! /run/mycontainer/network/names/<first 12 digits of the network's id>/<the container's id>    see `entry.rs`
//! /run/mycontainer/network/names/<first 12 digits of the network's id>/upstreams               see `upstreams.rs`
//! ```
//!
//! A file is written under another name and renamed, so that a server, which takes no lock, reads all of it or nothing,
//! and its directory tells by its time that something has changed. Whoever writes holds the lock of the directory above.
//! A draft that a crash has left is overwritten by the next write of the same file, and goes with the network's
//! directory; nobody else looks at it. `names` itself stays: servers have it open.

use crate::entry::{Entry, LONGEST, is_id, is_name, is_network};
use crate::error::Error;
use crate::files::{names_in, open_dir, read_file, write_file};
use crate::upstreams::FILE as UPSTREAMS;
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, renameat, unlinkat};
use rustix::io::Errno;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The directory's name in the run directory.
const DIR: &str = "names";
/// Before the name of a file that is being written.
const DRAFT: &str = "new-";

/// The directory of all networks' names.
#[derive(Debug)]
pub struct Names {
    dir: OwnedFd,
    path: PathBuf,
}

impl Names {
    /// The directory in the run directory, whose path is for messages; made if `create`, `None` where there is none.
    pub fn open(run_dir: BorrowedFd<'_>, path: &Path, create: bool) -> Result<Option<Names>, Error> {
        let path = path.join(DIR);
        let dir = dir_in(run_dir, DIR, create).map_err(|(action, source)| fail(action, &path, source))?;
        Ok(dir.map(|dir| Names { dir, path }))
    }

    /// The open directory, for a server.
    pub fn into_fd(self) -> OwnedFd {
        self.dir
    }

    /// Writes down what a container is called on a network, in place of what was there.
    pub fn write(&self, network: &str, id: &str, entry: &Entry) -> Result<(), Error> {
        if let Some(name) = entry.names.iter().find(|name| !is_name(name)) {
            return Err(Error::BadName { id: id.into(), name: name.clone() });
        }
        let text = entry.to_string();
        if text.len() > LONGEST {
            return Err(Error::TooManyNames { id: id.into(), count: entry.names.len(), most: LONGEST });
        }
        self.replace(network, check_id(id)?, &text)
    }

    /// Writes down whom a network's server asks for all other names, in place of those of the host.
    pub fn write_upstreams(&self, network: &str, servers: &[IpAddr]) -> Result<(), Error> {
        let text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
        self.replace(network, UPSTREAMS, &text)
    }

    fn replace(&self, network: &str, name: &str, text: &str) -> Result<(), Error> {
        let path = self.path.join(network).join(name);
        let Some(dir) = self.network(network, true)? else { return Err(fail("make", &path, Errno::NOENT)) };
        let draft = format!("{DRAFT}{name}");
        write_file(&dir, &draft, text.as_bytes())
            .and_then(|()| renameat(&dir, &draft, &dir, name))
            .map_err(|source| fail("write", &path, source))
    }

    /// Forgets a container on a network, if it is known there.
    pub fn remove(&self, network: &str, id: &str) -> Result<(), Error> {
        let id = check_id(id)?;
        let Some(dir) = self.network(network, false)? else { return Ok(()) };
        for name in [id, &format!("{DRAFT}{id}")] {
            remove_file(&dir, name).map_err(|source| fail("remove", &self.path.join(network).join(name), source))?;
        }
        Ok(())
    }

    /// Forgets a network and all that is on it.
    pub fn remove_network(&self, network: &str) -> Result<(), Error> {
        let Some(dir) = self.network(network, false)? else { return Ok(()) };
        let path = self.path.join(network);
        for name in names_in(&dir).map_err(|source| fail("list", &path, source))? {
            remove_file(&dir, &name).map_err(|source| fail("remove", &path.join(name), source))?;
        }
        match unlinkat(&self.dir, network, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(fail("remove", &path, source)),
        }
    }

    /// The networks that have a directory.
    pub fn networks(&self) -> Result<Vec<String>, Error> {
        let names = names_in(&self.dir).map_err(|source| fail("list", &self.path, source))?;
        Ok(names.into_iter().filter(|name| is_network(name)).collect())
    }

    /// The containers on a network, in no order.
    pub fn list(&self, network: &str) -> Result<Vec<(String, Entry)>, Error> {
        let Some(dir) = self.network(network, false)? else { return Ok(Vec::new()) };
        entries_in(&dir).map_err(|source| fail("read", &self.path.join(network), source))
    }

    fn network(&self, network: &str, create: bool) -> Result<Option<OwnedFd>, Error> {
        if !is_network(network) {
            return Err(Error::BadNetwork { network: network.into() });
        }
        dir_in(self.dir.as_fd(), network, create)
            .map_err(|(action, source)| fail(action, &self.path.join(network), source))
    }
}

impl AsFd for Names {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// The containers that have a file in a network's directory. One that is removed meanwhile, and one whose file is no
/// such file, is none.
pub(crate) fn entries_in(dir: &OwnedFd) -> Result<Vec<(String, Entry)>, Errno> {
    let read = |id: String| {
        let text = read_file(dir, &id, LONGEST, OFlags::NOFOLLOW).ok()??;
        Some((id, Entry::parse(&text)?))
    };
    Ok(names_in(dir)?.into_iter().filter(|name| is_id(name)).filter_map(read).collect())
}

fn dir_in(at: BorrowedFd<'_>, name: &str, create: bool) -> Result<Option<OwnedFd>, (&'static str, Errno)> {
    match open_dir(at, name) {
        Err(Errno::NOENT) if create => match mkdirat(at, name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => open_dir(at, name).map(Some).map_err(|source| ("open", source)),
            Err(source) => Err(("make", source)),
        },
        Err(Errno::NOENT) => Ok(None),
        opened => opened.map(Some).map_err(|source| ("open", source)),
    }
}

fn remove_file(dir: &OwnedFd, name: &str) -> Result<(), Errno> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        done => done,
    }
}

fn check_id(id: &str) -> Result<&str, Error> {
    if is_id(id) { Ok(id) } else { Err(Error::BadId { id: id.into() }) }
}

fn fail(action: &'static str, path: &Path, source: Errno) -> Error {
    Error::Files { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    const NET: &str = "0123456789ab";

    fn id(nth: u32) -> String {
        format!("{nth:064x}")
    }

    fn entry(last: u8, names: &[&str]) -> Entry {
        Entry {
            v4: [10, 0, 0, last].into(),
            v6: None,
            names: names.iter().map(ToString::to_string).collect(),
            servers: Vec::new(),
        }
    }

    #[test]
    fn what_is_written_is_listed_and_goes() {
        let scratch = Scratch::new();
        assert!(Names::open(scratch.as_fd(), scratch.path(), false).unwrap().is_none());
        let names = Names::open(scratch.as_fd(), scratch.path(), true).unwrap().unwrap();
        assert_eq!(names.list(NET).unwrap(), []);
        names.write(NET, &id(1), &entry(2, &["a", "b"])).unwrap();
        names.write(NET, &id(2), &entry(3, &[])).unwrap();
        names.write(NET, &id(1), &entry(2, &["c"])).unwrap();
        names.write_upstreams(NET, &["10.9.9.9".parse().unwrap(), "::1".parse().unwrap()]).unwrap();
        let dir = scratch.path().join(DIR).join(NET);
        assert_eq!(std::fs::read_to_string(dir.join(UPSTREAMS)).unwrap(), "nameserver 10.9.9.9\nnameserver ::1\n");
        // What a crash leaves, what is no file of ours, and what is no file.
        std::fs::write(dir.join(format!("{DRAFT}{}", id(3))), "10.0.0.9 -\n").unwrap();
        std::fs::write(dir.join(id(4)), "\0").unwrap();
        std::fs::create_dir(dir.join(id(5))).unwrap();
        std::os::unix::fs::symlink(dir.join(id(1)), dir.join(id(6))).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.join(id(7)),
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let mut listed = names.list(NET).unwrap();
        listed.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(listed, [(id(1), entry(2, &["c"])), (id(2), entry(3, &[]))]);
        names.remove(NET, &id(1)).unwrap();
        names.remove(NET, &id(1)).unwrap();
        names.remove("ffffffffffff", &id(1)).unwrap();
        assert_eq!(names.list(NET).unwrap().len(), 1);
        assert_eq!(names.networks().unwrap(), [NET]);
        std::fs::remove_dir(dir.join(id(5))).unwrap();
        names.remove_network(NET).unwrap();
        names.remove_network(NET).unwrap();
        assert_eq!(names.networks().unwrap(), [""; 0]);
    }

    #[test]
    fn what_cannot_be_read_again_is_not_written() {
        let scratch = Scratch::new();
        let names = Names::open(scratch.as_fd(), scratch.path(), true).unwrap().unwrap();
        for (network, id, name, expected) in [
            ("..", id(1), "a", "cannot keep names of network \"..\""),
            (NET, "../x".into(), "a", "cannot keep names of \"../x\""),
            (NET, id(1), "a\n10.0.0.1", "cannot keep the name \"a\\n10.0.0.1\""),
            (NET, id(1), "", "cannot keep the name \"\""),
            (NET, id(1), &"x".repeat(LONGEST), "cannot keep the 1 names"),
        ] {
            let error = names.write(network, &id, &entry(2, &[name])).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        assert_eq!(names.list(NET).unwrap(), []);
    }
}
