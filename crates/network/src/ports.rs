//! Published ports, and the files that say which there are.
//!
//! ```text
//! /run/mycontainer/network/ports/<64 hex digits of the container's id>
//!     tcp 0.0.0.0:8080 172.17.0.2:80
//!     udp 127.0.0.1:53 172.17.0.2:53
//!     tcp [::]:8080 [fd00::2]:80
//! ```
//!
//! One file a container that publishes something, a line a port: where it is on the host, and where it leads. It is
//! there before the first element of the rules' maps and goes after the last, so whatever a crash leaves in the maps is
//! found here. Written under another name and renamed: who reads, without a lock, finds all of it or nothing. Whoever
//! changes something holds the lock of the directory above. What does not read as such a line is nobody's port. The
//! janitor removes the directory.

use crate::error::Error;
use crate::leases::{Leases, is_id};
use crate::owner::Owner;
use crate::rundir;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::{Errno, read, write};
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The directory's name in the run directory.
const DIR: &str = "ports";
/// Before the name of a file that is being written.
const DRAFT: &str = "new-";
/// A longer file was not written by us: every port of every protocol has room in it.
const LONGEST: usize = 16 << 20;

/// A transport protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// `IPPROTO_TCP`.
    Tcp = 6,
    /// `IPPROTO_UDP`.
    Udp = 17,
    /// `IPPROTO_SCTP`.
    Sctp = 132,
}

impl Protocol {
    /// The protocol by its name, in lower case.
    pub fn from_name(name: &str) -> Option<Protocol> {
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|protocol| protocol.name() == name)
    }

    /// Its name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A port of a container that shall be reached through the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Of both ports.
    pub protocol: Protocol,
    /// An address of the host; 0.0.0.0 is all of IPv4, `::` all of IPv6.
    pub address: IpAddr,
    /// It is all of IPv4, and all of IPv6 as well where the container has an address of that.
    pub and_six: bool,
    /// One of these ports of the host, the first that is free; 0 to 0 is any, as the kernel chooses.
    pub host_ports: RangeInclusive<u16>,
    /// The container's.
    pub port: u16,
}

/// A port of a container that is reached through the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Published {
    /// Of both ports.
    pub protocol: Protocol,
    /// Where on the host; 0.0.0.0 is all of its addresses, `::` all of IPv6.
    pub host: SocketAddr,
    /// Address and port of the container.
    pub container: SocketAddr,
}

impl fmt::Display for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.protocol, self.host, self.container)
    }
}

fn parse(line: &str) -> Option<Published> {
    let mut words = line.split(' ');
    let protocol = Protocol::from_name(words.next()?)?;
    let (host, container): (SocketAddr, SocketAddr) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let is_whole = words.next().is_none() && host.port() != 0 && container.port() != 0;
    let is_whole = is_whole && host.is_ipv4() == container.is_ipv4();
    is_whole.then_some(Published { protocol, host, container })
}

/// The directory of these files.
pub(crate) struct Ports {
    dir: OwnedFd,
    path: PathBuf,
}

impl Ports {
    /// The directory in the run directory, made if `create`; `None` where there is none.
    pub(crate) fn open(run_dir: BorrowedFd<'_>, path: &Path, create: bool) -> Result<Option<Ports>, Error> {
        let path = path.join(DIR);
        let dir = rundir::subdirectory(run_dir, DIR, create).map_err(|(action, source)| fail(action, &path, source))?;
        Ok(dir.map(|dir| Ports { dir, path }))
    }

    /// What a container publishes; nothing where there is no such file.
    pub(crate) fn of(&self, container: &str) -> Result<Vec<Published>, Error> {
        let fail = |action| move |source| fail(action, &self.path.join(container), source);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match openat(&self.dir, container, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            opened => opened.map_err(fail("open"))?,
        };
        let text = read_all(&file).map_err(fail("read"))?;
        Ok(String::from_utf8_lossy(&text).lines().filter_map(parse).collect())
    }

    /// Writes down what a container publishes.
    pub(crate) fn write(&self, container: &str, ports: &[Published]) -> Result<(), Error> {
        let path = self.path.join(container);
        let text: String = ports.iter().map(|port| format!("{port}\n")).collect();
        let draft = format!("{DRAFT}{container}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = openat(&self.dir, &draft, flags, Mode::from_raw_mode(0o600));
        let file = file.map_err(|source| fail("make", &path, source))?;
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let written = rustix::io::retry_on_intr(|| write(&file, rest));
            let written = written.map_err(|source| fail("write", &path, source))?;
            rest = rest.get(written..).unwrap_or_default();
        }
        renameat(&self.dir, &draft, &self.dir, container).map_err(|source| fail("write", &path, source))
    }

    /// Removes the file of a container, if there is one.
    pub(crate) fn remove(&self, container: &str) -> Result<(), Error> {
        match unlinkat(&self.dir, container, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(fail("remove", &self.path.join(container), source)),
        }
    }

    /// The containers that have a file.
    pub(crate) fn containers(&self) -> Result<Vec<String>, Error> {
        Ok(self.names()?.into_iter().filter(|name| is_id(name.as_bytes())).collect())
    }

    /// Every port that is published, by any container but this one.
    pub(crate) fn all_but(&self, container: &str) -> Result<Vec<Published>, Error> {
        self.all_of(self.containers()?.into_iter().filter(|one| one != container))
    }

    /// Every port of a container whose owner lives. Files of no lease, which nobody would find, are removed.
    pub(crate) fn of_living(&self, leases: &Leases) -> Result<Vec<Published>, Error> {
        let owners: HashMap<&str, &Owner> =
            leases.entries().map(|(_, entry)| (entry.container.as_str(), &entry.owner)).collect();
        let mut living = Vec::new();
        for container in self.containers()? {
            match owners.get(container.as_str()) {
                None => self.remove(&container)?,
                Some(owner) if owner.is_gone() => {}
                Some(_) => living.push(container),
            }
        }
        self.all_of(living)
    }

    fn all_of(&self, containers: impl IntoIterator<Item = String>) -> Result<Vec<Published>, Error> {
        let mut all = Vec::new();
        for container in containers {
            all.extend(self.of(&container)?);
        }
        Ok(all)
    }

    /// Removes the directory and what is in it.
    pub(crate) fn remove_all(self, run_dir: BorrowedFd<'_>) -> Result<(), Error> {
        for name in self.names()? {
            self.remove(&name)?;
        }
        unlinkat(run_dir, DIR, AtFlags::REMOVEDIR).map_err(|source| fail("remove", &self.path, source))
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        let fail = |source| fail("list", &self.path, source);
        let mut names = Vec::new();
        for entry in Dir::read_from(self.dir.as_fd()).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }
}

fn read_all(file: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut text = Vec::new();
    let mut space = [0; 4096];
    loop {
        match rustix::io::retry_on_intr(|| read(file, &mut space))? {
            0 => return Ok(text),
            got => text.extend_from_slice(space.get(..got).unwrap_or_default()),
        }
        if text.len() > LONGEST {
            return Err(Errno::FBIG);
        }
    }
}

fn fail(action: &'static str, path: &Path, source: Errno) -> Error {
    Error::Ports { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::CWD;

    #[test]
    fn a_line_is_read_as_it_was_written_and_rubbish_is_not() {
        for line in ["tcp 0.0.0.0:8080 172.17.0.2:80", "udp 127.0.0.1:1 10.0.0.1:65535", "sctp [::1]:5 [fd00::2]:10"] {
            assert_eq!(parse(line).map(|port| port.to_string()).as_deref(), Some(line));
        }
        for line in [
            "",
            "tcp",
            "tcp 0.0.0.0:8080",
            "icmp 0.0.0.0:1 1.1.1.1:1",
            "tcp 0.0.0.0:0 1.1.1.1:1",
            "tcp 0.0.0.0:1 1.1.1.1:0",
            "tcp 0.0.0.0:65536 1.1.1.1:1",
            "tcp [::]:1 1.1.1.1:1",
            "tcp 0.0.0.0:1 1.1.1.1:1 x",
            "tcp  0.0.0.0:1 1.1.1.1:1",
        ] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn files_are_those_of_containers_and_all_of_them_go() {
        let path = std::env::temp_dir().join(format!("mycontainer-ports-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let run_dir = openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let open = |create| Ports::open(run_dir.as_fd(), &path, create).unwrap();
        assert!(open(false).is_none());
        let ports = open(true).unwrap();
        let id = |nth| format!("{nth:064x}");
        let many: Vec<Published> = (1..=500)
            .map(|n| Published {
                protocol: Protocol::Tcp,
                host: SocketAddr::from(([0, 0, 0, 0], n)),
                container: SocketAddr::from(([172, 17, 0, 2], n)),
            })
            .collect();
        ports.write(&id(1), &many).unwrap();
        ports.write(&id(2), &many[..1]).unwrap();
        std::fs::write(path.join("ports").join(format!("{DRAFT}{}", id(3))), "tcp 0.0.0.0:1 1.1.1.1:1\n").unwrap();
        std::fs::write(path.join("ports").join(id(4)), b"\xff\xfe tcp\ntcp 0.0.0.0:9 1.1.1.1:9\n").unwrap();
        assert_eq!(ports.of(&id(1)).unwrap(), many);
        assert_eq!(ports.of(&id(9)).unwrap(), []);
        let mut containers = ports.containers().unwrap();
        containers.sort();
        assert_eq!(containers, [id(1), id(2), id(4)], "none that is being written");
        assert_eq!(ports.all_but("").unwrap().len(), 502);
        assert_eq!(ports.all_but(&id(1)).unwrap().len(), 2);
        ports.remove(&id(1)).unwrap();
        ports.remove(&id(1)).unwrap();
        assert_eq!(ports.of(&id(1)).unwrap(), []);
        ports.remove_all(run_dir.as_fd()).unwrap();
        assert!(open(false).is_none());
        std::fs::remove_dir(&path).unwrap();
    }
}
