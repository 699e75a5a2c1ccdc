//! Network namespaces that other containers have come into: their links are removed with the lease.
//!
//! A link goes with its namespace, and that with the last process in it. Where another container is in a namespace
//! (`--network container:NAME`, and the containers of a pod) it outlives the container that had the lease, and with it would
//! the address that is given to somebody else by then. So who comes into a namespace leaves a mark while the container whose
//! it is still lives, the file `shared/<the container's id>` in the run directory; who gives the leases back removes the
//! links first, where there is one. A veth is known by its end on the host. A link of macvlan or ipvlan has none: for it the
//! mark says by which number the host's namespace knows the other one, by which the kernel is asked for the link that has
//! the address. The janitor removes what a crash leaves of marks.

use crate::error::Error;
use crate::leases::{Entry, Leases};
use crate::network::Network;
use crate::route;
use crate::rundir::{self, Locked};
use crate::tag::Tag;
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::{Errno, pread, pwrite};
use std::os::fd::{AsFd, BorrowedFd};

/// The directory's name in the run directory.
const DIR: &str = "shared";
/// Of what is in a mark: a number, padded.
const LENGTH: usize = 15;

impl Network {
    /// Marks that another container comes into the namespace of this one. One that has no address needs no mark.
    pub(crate) fn share_here(&self, container: &str, netns: BorrowedFd<'_>) -> Result<(), Error> {
        let Some(lock) = Locked::new(&self.run_dir, false)? else { return Ok(()) };
        let Some(leases) = Leases::open(lock.as_fd(), &self.run_dir, false)? else { return Ok(()) };
        if !leases.entries().any(|(_, entry)| entry.container == container) {
            return Ok(());
        }
        let number = route::number_of(self.route()?, netns);
        let number = number.map_err(|source| rundir::fail("find the namespace to mark in", &self.run_dir, source))?;
        let mark = || {
            match mkdirat(&lock, DIR, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = openat(&lock, format!("{DIR}/{container}"), flags, Mode::from_raw_mode(0o600))?;
            pwrite(&file, format!("{:<LENGTH$}\n", number).as_bytes(), 0).map(drop)
        };
        mark().map_err(|source| rundir::fail("mark a shared namespace in", &self.run_dir, source))
    }

    /// Removes the links of a container whose namespace others are in, for these of its leases.
    pub(crate) fn remove_shared(
        &self,
        lock: &impl AsFd,
        leases: &Leases,
        container: &str,
        held: &[(usize, Tag)],
    ) -> Result<(), Error> {
        let mark = format!("{DIR}/{container}");
        let file = match openat(lock, &mark, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(()),
            opened => opened.map_err(|source| rundir::fail("open a mark in", &self.run_dir, source))?,
        };
        let mut text = [0; LENGTH];
        let length = pread(&file, &mut text, 0).unwrap_or(0);
        let number: Option<i32> =
            std::str::from_utf8(&text[..length]).ok().and_then(|text| text.trim_end().parse().ok());
        for (at, tag) in held {
            let link = tag.host_link(container);
            route::delete_link(self.route()?, &link)?;
            let entry = leases.entries().find(|(there, _)| there == at).map(|(_, entry)| entry);
            if let (Some(number), Some(entry)) = (number, entry) {
                let fail = |errno: Errno| Error::Remove { link: entry.address.to_string(), source: errno.into() };
                route::delete_there(self.route()?, number, entry.address).map_err(fail)?;
            }
        }
        let others =
            |(at, entry): (usize, &Entry)| entry.container == container && !held.iter().any(|(one, _)| *one == at);
        if !leases.entries().any(others) {
            let _ = unlinkat(lock, &mark, AtFlags::empty());
        }
        Ok(())
    }
}

/// Removes all marks.
pub(crate) fn remove_all(run_dir: BorrowedFd<'_>) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let Ok(dir) = openat(run_dir, DIR, flags, Mode::empty()) else { return };
    for entry in rustix::fs::Dir::read_from(&dir).into_iter().flatten().flatten() {
        let _ = unlinkat(&dir, entry.file_name(), AtFlags::empty());
    }
    let _ = unlinkat(run_dir, DIR, AtFlags::REMOVEDIR);
}
