//! The networks that are in use, and what the rules and the janitor have to know of each.
//!
//! ```text
//! /run/mycontainer/network/nets/<12 hex digits>
//!     bridge mcn0123456789ab subnet 172.18.0.1/16 six fd00::1/64 internal no routed no names 40123
//! ```
//!
//! A file a network, there before its bridge and gone after it: so whatever a crash leaves of a network is found by its
//! file. It is 256 bytes, padded, and written by one `pwrite`, as a lease is. Where rules that have been installed do not
//! know of it yet, the file of leases says first that no rules are complete. Whoever changes something holds the lock of
//! the run directory; the process that tells names holds a lock on the file itself, by which it is seen to live.

use crate::config::Pool6;
use crate::error::Error;
use crate::ports::Published;
use crate::rundir;
use crate::subnet::Subnet;
use crate::tag::Tag;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, unlinkat};
use rustix::io::{Errno, pread, pwrite};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The directory's name in the run directory.
const DIR: &str = "nets";
const LENGTH: usize = 256;

/// A network that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) tag: Tag,
    /// The bridge's name.
    pub(crate) bridge: String,
    pub(crate) subnet: Subnet,
    pub(crate) six: Option<Pool6>,
    /// Nothing leads out of it, or in.
    pub(crate) internal: bool,
    /// What leaves it keeps its address.
    pub(crate) routed: bool,
    /// The port of the gateway at which names are told; none where none are.
    pub(crate) names: Option<u16>,
}

impl Use {
    /// Whether a published port leads to it.
    pub(crate) fn has(&self, port: &Published) -> bool {
        match port.container.ip() {
            IpAddr::V4(address) => self.subnet.offers(address),
            IpAddr::V6(address) => self.six.is_some_and(|six| Pool6::around(address, six.prefix).subnet == six.subnet),
        }
    }
}

/// The directory of these files.
pub(crate) struct Uses {
    dir: OwnedFd,
    path: PathBuf,
}

impl Uses {
    /// The directory in the run directory, made if `create`; `None` where there is none.
    pub(crate) fn open(run_dir: BorrowedFd<'_>, path: &Path, create: bool) -> Result<Option<Uses>, Error> {
        let path = path.join(DIR);
        let dir = rundir::subdirectory(run_dir, DIR, create).map_err(|(action, source)| fail(action, &path, source))?;
        Ok(dir.map(|dir| Uses { dir, path }))
    }

    /// What is known of a network; none of one that is not in use, or whose file says nothing.
    pub(crate) fn get(&self, tag: Tag) -> Result<Option<Use>, Error> {
        let Some(file) = self.file(tag, OFlags::RDONLY)? else { return Ok(None) };
        let mut text = [0; LENGTH];
        let length = pread(&file, &mut text, 0).map_err(|source| fail("read", &self.path, source))?;
        Ok(parse(tag, text.get(..length).unwrap_or_default()))
    }

    /// All that are in use.
    pub(crate) fn all(&self) -> Result<Vec<Use>, Error> {
        let mut all = Vec::new();
        for tag in self.tags()? {
            all.extend(self.get(tag)?);
        }
        all.sort_by_key(|one| one.tag);
        Ok(all)
    }

    /// The file of one, for a lock on it.
    pub(crate) fn file(&self, tag: Tag, flags: OFlags) -> Result<Option<OwnedFd>, Error> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match openat(&self.dir, tag.to_string(), flags, Mode::from_raw_mode(0o600)) {
            Ok(file) => Ok(Some(file)),
            Err(Errno::NOENT) => Ok(None),
            Err(source) => Err(fail("open", &self.path.join(tag.to_string()), source)),
        }
    }

    /// Writes one, new or over what is there.
    pub(crate) fn write(&self, one: &Use) -> Result<(), Error> {
        let fail = |source| fail("write", &self.path.join(one.tag.to_string()), source);
        let file = self.file(one.tag, OFlags::WRONLY | OFlags::CREATE)?.ok_or_else(|| fail(Errno::NOENT))?;
        let text = format!("{:<width$}\n", line_of(one), width = LENGTH - 1);
        match pwrite(&file, text.as_bytes(), 0) {
            Ok(length) if length == text.len() => Ok(()),
            Ok(_) => Err(fail(Errno::NOSPC)),
            Err(errno) => Err(fail(errno)),
        }
    }

    /// Removes one. The process that tells names there ends by that.
    pub(crate) fn remove(&self, tag: Tag) -> Result<(), Error> {
        match unlinkat(&self.dir, tag.to_string(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(fail("remove", &self.path.join(tag.to_string()), source)),
        }
    }

    /// Removes the directory and what is in it.
    pub(crate) fn remove_all(self, run_dir: BorrowedFd<'_>) -> Result<(), Error> {
        for tag in self.tags()? {
            self.remove(tag)?;
        }
        unlinkat(run_dir, DIR, AtFlags::REMOVEDIR).map_err(|source| fail("remove", &self.path, source))
    }

    /// The networks that have a file, whatever that says.
    pub(crate) fn tags(&self) -> Result<Vec<Tag>, Error> {
        let fail = |source| fail("list", &self.path, source);
        let mut tags = Vec::new();
        for entry in Dir::read_from(self.dir.as_fd()).map_err(fail)? {
            tags.extend(entry.map_err(fail)?.file_name().to_str().ok().and_then(Tag::parse));
        }
        Ok(tags)
    }
}

fn line_of(one: &Use) -> String {
    let Use { bridge, subnet, six, internal, routed, names, .. } = one;
    let word = |yes: bool| if yes { "yes" } else { "no" };
    let six = six.map_or_else(|| "-".to_owned(), |six| format!("{}/{}", six.gateway, six.prefix));
    let names = names.map_or_else(|| "-".to_owned(), |port| port.to_string());
    let Subnet { gateway, prefix } = subnet;
    let (internal, routed) = (word(*internal), word(*routed));
    format!("bridge {bridge} subnet {gateway}/{prefix} six {six} internal {internal} routed {routed} names {names}")
}

fn parse(tag: Tag, line: &[u8]) -> Option<Use> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let mut value = |key: &str| words.next().filter(|word| *word == key).and_then(|_| words.next());
    let bridge = value("bridge").filter(|name| name.len() < 16)?.to_owned();
    let (gateway, prefix) = value("subnet")?.split_once('/')?;
    let subnet = Subnet { gateway: gateway.parse().ok()?, prefix: prefix.parse().ok().filter(|bits| *bits <= 32)? };
    let six = match value("six")? {
        "-" => None,
        six => {
            let (gateway, prefix) = six.split_once('/')?;
            let prefix = prefix.parse().ok().filter(|bits| *bits <= 128)?;
            Some(Pool6::around(gateway.parse().ok()?, prefix))
        }
    };
    let (internal, routed) = (value("internal")? == "yes", value("routed")? == "yes");
    let names = match value("names")? {
        "-" => None,
        port => Some(port.parse().ok()?),
    };
    Some(Use { tag, bridge, subnet, six, internal, routed, names })
}

fn fail(action: &'static str, path: &Path, source: Errno) -> Error {
    Error::Uses { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_read_as_it_was_written_and_rubbish_is_not() {
        let tag = Tag::parse("0123456789ab").unwrap();
        let subnet = Subnet { gateway: [172, 18, 0, 1].into(), prefix: 16 };
        let six = Some(Pool6::around("fd00:1::1".parse().unwrap(), 64));
        let plain = Use { tag, bridge: "b".into(), subnet, six: None, internal: false, routed: true, names: None };
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap();
        for one in [
            plain.clone(),
            Use { six, internal: true, routed: false, names: Some(40_123), ..plain.clone() },
            Use { bridge: "x".repeat(15), six: Some(Pool6::around(longest, 128)), names: Some(u16::MAX), ..plain },
        ] {
            let line = line_of(&one);
            assert!(line.len() < LENGTH, "{line}");
            assert_eq!(parse(tag, format!("{line}   \n").as_bytes()), Some(one), "{line}");
            for length in 0..line.len() {
                let _ = parse(tag, &line.as_bytes()[..length]);
            }
            assert_eq!(parse(tag, line.replace("/16", "/33").as_bytes()), None);
            assert_eq!(parse(tag, line.replace("subnet", "sub").as_bytes()), None);
        }
        assert_eq!(parse(tag, &[0xff; LENGTH]), None);
    }
}
