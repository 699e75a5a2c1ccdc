//! The process that removes the network when nobody has used it for a second.
//!
//! Removing a bridge takes the kernel some 50 ms, and the next container would have to make it again. So no command
//! does it: the one that gives the last lease back leaves a small process behind, `mc-idle`, forked without exec, in a
//! session of its own and with none of its maker's descriptors. It waits; when leases were given meanwhile it waits
//! again, when there are leases it ends (the last of them will start another), else it removes our rules, leftover veths,
//! the bridge and at last the file of leases, under the directory's lock.
//!
//! There is one at a time: it holds a lock on the file of leases. Its maker takes that lock, the fork inherits it, and
//! it ends with the process however that ends. To try for it costs a command one system call. Whether to end is decided
//! under the directory's lock, and the lock on the file is gone before that one, so that a command which finds the file
//! locked knows that the janitor will look again.

use crate::BRIDGE;
use crate::LINK_PREFIX;
use crate::error::Error;
use crate::leases::{self, Leases};
use crate::network::host_link;
use crate::route::{self, Link};
use crate::rules;
use crate::rundir::{self, Locked};
use crate::socket::Netlink;
use rustix::fs::{AtFlags, FlockOperation, flock, unlinkat};
use rustix::io::Errno;
use rustix::thread::{NanosleepRelativeResult, Timespec, nanosleep};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use step::step;

/// How long the network must have been idle, in seconds.
const IDLE_SECONDS: i64 = 1;
/// Its name in `ps`.
const NAME: &std::ffi::CStr = c"mc-idle";

/// Starts a janitor, unless there is one. The caller holds the directory's lock and has seen that there is no lease.
pub(crate) fn start(lock: &Locked, leases: &Leases, run_dir: &Path) -> Result<(), Error> {
    let fail = |source: std::io::Error| Error::Janitor { bridge: BRIDGE, source };
    match flock(leases.file(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(()),
        Err(errno) => return Err(fail(errno.into())),
    }
    step(
        "start-janitor",
        "no container is left: a second from now the network goes, unless it is used again",
        || format!("process mc-idle, which removes {BRIDGE} and its rules"),
        || {
            let (dir, file) = (lock.open_again()?, leases.file().try_clone()?);
            let given = leases.head.given;
            sys::detach::spawn_detached(NAME, &[dir.as_fd(), file.as_fd()], || {
                // Ends the process, so that nothing of the maker's is dropped in this copy of it.
                let _ = wait_and_remove(&dir, &file, run_dir, given);
                sys::fork::exit_now(0)
            })
        },
    )
    .map_err(|source| {
        let _ = flock(leases.file(), FlockOperation::Unlock);
        fail(source)
    })
}

/// The janitor's life. What it fails at, the next one tries again: its lock ends with it and the file is still there.
fn wait_and_remove(dir: &OwnedFd, file: &OwnedFd, run_dir: &Path, mut given: u64) -> Result<(), Error> {
    loop {
        sleep();
        let lock = Locked::of(dir).map_err(|source| rundir::fail("lock", run_dir, source))?;
        let Some(mut leases) = Leases::open(lock.as_fd(), run_dir, false)? else { return Ok(()) };
        if leases.head.given == given {
            free_gone(&mut leases)?;
        }
        let in_use = leases.entries().next().is_some();
        if in_use || leases.head.given == given {
            let done = if in_use { Ok(()) } else { remove(&lock) };
            // Before the directory's lock goes, see above.
            let _ = flock(file, FlockOperation::Unlock);
            return done;
        }
        given = leases.head.given;
    }
}

fn sleep() {
    let mut left = Timespec { tv_sec: IDLE_SECONDS, tv_nsec: 0 };
    while let NanosleepRelativeResult::Interrupted(rest) = nanosleep(&left) {
        left = rest;
    }
}

/// Leases of dead processes do not keep the network.
fn free_gone(leases: &mut Leases) -> Result<(), Error> {
    let gone: Vec<(usize, String)> = leases
        .entries()
        .filter(|(_, entry)| entry.owner.is_gone())
        .map(|(at, entry)| (at, entry.container.clone()))
        .collect();
    let netlink = Netlink::route()?;
    for (at, container) in gone {
        route::delete_link(&netlink, &host_link(&container))?;
        leases.free(at)?;
    }
    Ok(())
}

/// Takes everything away, whatever there is of it. The file of leases goes last, and only when all the rest has gone.
fn remove(lock: &impl AsFd) -> Result<(), Error> {
    let removed = || format!("table inet {}, and our rules in other tables", rules::TABLE);
    let rules = step("remove-rules", "the network is idle", removed, || rules::remove(&Netlink::netfilter()?));
    step("remove-bridge", "the network is idle", || format!("{BRIDGE} and what is left on it"), remove_links)?;
    rules?;
    step(
        "remove-leases",
        "nothing is left that it would tell of",
        || leases::NAME.to_owned(),
        || {
            unlinkat(lock, leases::NAME, AtFlags::empty()).map_err(|source| Error::Leases {
                action: "remove",
                path: leases::NAME.into(),
                source,
            })
        },
    )
}

fn remove_links() -> Result<(), Error> {
    let netlink = Netlink::route()?;
    let links = route::links(&netlink)?;
    let Some(bridge) = links.iter().find(|link| link.name == BRIDGE && link.kind == "bridge") else { return Ok(()) };
    let is_ours =
        |link: &&Link| link.master == Some(bridge.index) && link.kind == "veth" && link.name.starts_with(LINK_PREFIX);
    for link in links.iter().filter(is_ours) {
        route::delete_link(&netlink, &link.name)?;
    }
    route::delete_link(&netlink, BRIDGE)
}
