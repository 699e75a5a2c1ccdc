//! Network namespaces that other containers have come into: their veths are removed with the lease.
//!
//! A veth goes with its namespace, and that with the last process in it. Where another container is in a namespace
//! (`--network container:NAME`, and the containers of a pod) it outlives the container that had the lease, and with it would
//! the address that is given to somebody else by then. So who comes into a namespace leaves a mark, an empty file
//! `shared/<the container's id>` in the run directory, while the container whose it is still lives; who gives the leases
//! back removes the veths first, where there is one. The janitor removes what a crash leaves of marks.

use crate::error::Error;
use crate::leases::Leases;
use crate::network::Network;
use crate::route;
use crate::rundir::{self, Locked};
use crate::tag::Tag;
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, statat, unlinkat};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};

/// The directory's name in the run directory.
const DIR: &str = "shared";

impl Network {
    /// Marks that another container comes into the namespace of this one. One that has no address needs no mark.
    pub(crate) fn share_here(&self, container: &str) -> Result<(), Error> {
        let Some(lock) = Locked::new(&self.run_dir, false)? else { return Ok(()) };
        let Some(leases) = Leases::open(lock.as_fd(), &self.run_dir, false)? else { return Ok(()) };
        if !leases.entries().any(|(_, entry)| entry.container == container) {
            return Ok(());
        }
        let mark = || {
            match mkdirat(&lock, DIR, Mode::from_raw_mode(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            openat(&lock, format!("{DIR}/{container}"), flags, Mode::from_raw_mode(0o600)).map(drop)
        };
        mark().map_err(|source| rundir::fail("mark a shared namespace in", &self.run_dir, source))
    }

    /// Removes the veths of a container whose namespace others are in.
    pub(crate) fn remove_shared(&self, lock: &impl AsFd, container: &str, held: &[(usize, Tag)]) -> Result<(), Error> {
        let mark = format!("{DIR}/{container}");
        if statat(lock, &mark, AtFlags::SYMLINK_NOFOLLOW).is_err() {
            return Ok(());
        }
        for (_, tag) in held {
            route::delete_link(self.route()?, &tag.host_link(container))?;
        }
        let _ = unlinkat(lock, &mark, AtFlags::empty());
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
