//! The process that removes a network when nobody has used it for a second.
//!
//! Removing a bridge takes the kernel some 50 ms, and the next container would have to make it again. So no command
//! does it: the one that gives the last lease of a network back leaves a small process behind, `mc-idle`, forked without
//! exec, in a session of its own and with none of its maker's descriptors. It waits; when leases were given meanwhile, of
//! whichever network, it waits again. Then it removes each network that has none: leftover veths, the bridge, the word of
//! its use; and puts the rules in place anew for those that stay. When no lease is left it removes our rules and at last
//! the file of leases. All that under the directory's lock.
//!
//! There is one at a time: it holds a lock on the file of leases. Its maker takes that lock, the fork inherits it, and
//! it ends with the process however that ends. To try for it costs a command one system call. Whether to end is decided
//! under the directory's lock, and the lock on the file is gone before that one, so that a command which finds the file
//! locked knows that the janitor will look again.

use crate::LINK_PREFIX;
use crate::config::Config;
use crate::error::Error;
use crate::leases::{self, Leases};
use crate::network::Network;
use crate::ports::Ports;
use crate::route::{self, Link};
use crate::rules;
use crate::rundir::{self, Locked};
use crate::shared;
use crate::socket::Netlink;
use crate::sweep::every_gone;
use crate::tag::Tag;
use crate::uses::{Use, Uses};
use names::Names;
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

/// Starts a janitor, unless there is one. The caller holds the directory's lock and has seen that a network has no lease.
pub(crate) fn start(lock: &Locked, leases: &Leases, run_dir: &Path) -> Result<(), Error> {
    let fail = |source: std::io::Error| Error::Janitor { source };
    match flock(leases.file(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(()),
        Err(errno) => return Err(fail(errno.into())),
    }
    step(
        "start-janitor",
        "no container is left on a network: a second from now it goes, unless it is used again",
        || "process mc-idle, which removes the bridge and its rules".to_owned(),
        || {
            let (dir, file) = (lock.open_again()?, leases.file().try_clone()?);
            let given = leases.head.given;
            sys::detach::spawn_detached(NAME, &[dir.as_fd(), file.as_fd()], || {
                // Whoever ends what the maker is a part of does not end this.
                cgroup::leave();
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
            let mut errors = Vec::new();
            // Leases of dead processes do not keep the network.
            Network::open(run_dir).free_gone(&lock, &mut leases, &mut errors, &every_gone);
            errors.into_iter().next().map_or(Ok(()), Err)?;
        }
        if leases.head.given == given {
            let done = remove_idle(&lock, run_dir, &mut leases);
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

/// Removes the networks that have no lease, and everything when there is none at all.
fn remove_idle(lock: &impl AsFd, run_dir: &Path, leases: &mut Leases) -> Result<(), Error> {
    let used = leases.networks();
    let uses = Uses::open(lock.as_fd(), run_dir, false)?;
    let known = uses.as_ref().map_or(Ok(Vec::new()), Uses::tags)?;
    let (kept, idle): (Vec<Tag>, Vec<Tag>) = known.iter().partition(|tag| used.contains(tag));
    if !idle.is_empty() && !used.is_empty() {
        // First: the rules know of networks that will be gone.
        leases.head.rules = None;
        leases.write_head()?;
    }
    // What shares a link of the host's has no rules.
    if kept.is_empty() {
        let removed = || format!("table inet {}, and our rules in other tables", rules::TABLE);
        step("remove-rules", "no network is used", removed, || rules::remove(&Netlink::netfilter()?))?;
    }
    for (tag, uses) in idle.iter().filter_map(|tag| Some((*tag, uses.as_ref()?))) {
        remove_one(lock, run_dir, uses, tag)?;
    }
    if used.is_empty() {
        return remove_rest(lock, run_dir, uses);
    }
    if kept.is_empty() || idle.is_empty() {
        return Ok(());
    }
    let resolver = leases.head.resolver;
    Network::open(run_dir).install(lock, leases, resolver).map(|_| ())
}

/// A network that has no lease: its bridge, its names, and last the word of its use.
fn remove_one(lock: &impl AsFd, run_dir: &Path, uses: &Uses, tag: Tag) -> Result<(), Error> {
    // One whose file says nothing was not made yet.
    if let Some(Use { bridge, .. }) = uses.get(tag)? {
        let removed = || format!("{bridge} and what is left on it");
        step("remove-bridge", "the network is idle", removed, || remove_links(&bridge))?;
    }
    if let Some(names) = Names::open(lock.as_fd(), run_dir, false)? {
        names.remove_network(&tag.to_string())?;
    }
    uses.remove(tag)
}

impl Network {
    /// Removes what the host has of a network on which nobody is, in place of the janitor and at once: what it was named,
    /// and its addresses, may be another's next. Nothing is to do for one that was not used for a second. False
    /// where somebody has an address of it, by whatever record: then it stays.
    pub(crate) fn remove_idle_here(&self, config: &Config) -> Result<bool, Error> {
        let Some(lock) = Locked::new(&self.run_dir, false)? else { return Ok(true) };
        let Some(mut leases) = Leases::open(lock.as_fd(), &self.run_dir, false)? else { return Ok(true) };
        let tag = config.tag();
        let mut errors = Vec::new();
        self.free_gone(&lock, &mut leases, &mut errors, &every_gone);
        errors.into_iter().next().map_or(Ok(()), Err)?;
        if leases.of(tag).next().is_some() {
            return Ok(false);
        }
        let Some(uses) = Uses::open(lock.as_fd(), &self.run_dir, false)? else { return Ok(true) };
        if !uses.tags()?.contains(&tag) {
            return Ok(true);
        }
        // First, as the janitor does it.
        leases.head.rules = None;
        leases.write_head()?;
        remove_one(&lock, &self.run_dir, &uses, tag)?;
        if !uses.tags()?.is_empty() {
            let resolver = leases.head.resolver;
            self.install(&lock, &mut leases, resolver)?;
        }
        // The rest is the janitor's, who may have been killed.
        self.leave_idle(&lock, &leases).map(|()| true)
    }
}

/// What is left in the run directory. The file of leases goes last, and only when all the rest has gone.
fn remove_rest(lock: &impl AsFd, run_dir: &Path, uses: Option<Uses>) -> Result<(), Error> {
    if let Some(files) = Ports::open(lock.as_fd(), run_dir, false)? {
        files.remove_all(lock.as_fd())?;
    }
    uses.map_or(Ok(()), |uses| uses.remove_all(lock.as_fd()))?;
    shared::remove_all(lock.as_fd());
    // Those of a network that was in nobody's use stay until then.
    let _ = unlinkat(lock, "names", AtFlags::REMOVEDIR);
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

/// A bridge, and the veths of ours on it.
fn remove_links(name: &str) -> Result<(), Error> {
    let netlink = Netlink::route()?;
    let links = route::links(&netlink)?;
    let Some(bridge) = links.iter().find(|link| link.name == name && link.kind == "bridge") else { return Ok(()) };
    let is_ours =
        |link: &&Link| link.master == Some(bridge.index) && link.kind == "veth" && link.name.starts_with(LINK_PREFIX);
    for link in links.iter().filter(is_ours) {
        route::delete_link(&netlink, &link.name)?;
    }
    route::delete_link(&netlink, name)
}
