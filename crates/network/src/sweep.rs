//! Leases given back: by who ends a container, and after crashes by whoever comes next.

use crate::error::Error;
use crate::janitor;
use crate::leases::Leases;
use crate::network::Network;
use crate::owner::Owner;
use crate::route;
use crate::rundir::Locked;
use crate::tag::Tag;
use crate::uses::Uses;
use names::Names;
use std::os::fd::AsFd;
use step::step;

impl Network {
    /// Gives the container's leases back. The veths go with the container's namespace, and removing them here would
    /// wait for RCU; but where others are in that namespace. When no lease of a network remains, a janitor is started.
    pub(crate) fn release_here(&self, container: &str) -> Vec<Error> {
        self.tidy(|_, lock, leases, errors| {
            let held: Vec<(usize, Tag)> = leases
                .entries()
                .filter(|(_, entry)| entry.container == container)
                .map(|(at, entry)| (at, entry.network))
                .collect();
            if held.is_empty() {
                return true;
            }
            let freed = step(
                "release-address",
                "the container is gone",
                || format!("what {container:.12} has of {} networks", held.len()),
                || {
                    self.remove_shared(lock, leases, container, &held)?;
                    held.iter().copied().try_for_each(|(at, tag)| self.free(lock, leases, at, container, tag))
                },
            );
            errors.extend(freed.err());
            // What others have left idle the next sweep finds.
            held.iter().any(|(_, tag)| leases.of(*tag).next().is_none())
        })
    }

    /// Frees what crashed commands left: leases whose process is gone, their published ports, and their veths.
    pub(crate) fn sweep_here(&self) -> Vec<Error> {
        self.tidy(|network, lock, leases, errors| {
            network.free_gone(lock, leases, errors, &gone);
            true
        })
    }

    /// Frees those leases that `which` finds, and all that belongs to them.
    pub(crate) fn free_gone(
        &self,
        lock: &impl AsFd,
        leases: &mut Leases,
        errors: &mut Vec<Error>,
        which: &dyn Fn(&Leases) -> Vec<Gone>,
    ) {
        for (at, container, tag) in which(leases) {
            let swept = step(
                "sweep-lease",
                "its process was killed and could not give it back",
                || format!("lease, ports and veth of {container:.12}"),
                || {
                    // These first: while the lease stands, the next sweep would still find it.
                    let _ports = self.withdraw_locked(lock, leases, &container)?;
                    route::delete_link(self.route()?, &tag.host_link(&container))?;
                    self.remove_shared(lock, leases, &container, &[(at, tag)])?;
                    self.free(lock, leases, at, &container, tag)
                },
            );
            errors.extend(swept.err());
        }
    }

    /// Frees a lease, and first the names that lead to it.
    pub(crate) fn free(
        &self,
        lock: &impl AsFd,
        leases: &mut Leases,
        at: usize,
        container: &str,
        tag: Tag,
    ) -> Result<(), Error> {
        self.forget_name(lock, container, tag)?;
        leases.free(at)
    }

    pub(crate) fn forget_name(&self, lock: &impl AsFd, container: &str, tag: Tag) -> Result<(), Error> {
        if tag != Tag::DEFAULT
            && let Some(files) = Names::open(lock.as_fd(), &self.run_dir, false)?
        {
            files.remove(&tag.to_string(), container)?;
        }
        Ok(())
    }

    /// Does something to the leases, if there are any, and if it says so looks for networks that have none, for which it
    /// starts a janitor, be it that an earlier command failed or a janitor was killed.
    fn tidy(&self, act: impl FnOnce(&Network, &Locked, &mut Leases, &mut Vec<Error>) -> bool) -> Vec<Error> {
        let mut errors = Vec::new();
        let opened = Locked::new(&self.run_dir, false).and_then(|lock| {
            lock.map_or(Ok(None), |l| Ok(Leases::open(l.as_fd(), &self.run_dir, false)?.map(|f| (l, f))))
        });
        match opened {
            Ok(Some((lock, mut leases))) => {
                if act(self, &lock, &mut leases, &mut errors) {
                    errors.extend(self.leave_idle(&lock, &leases).err());
                }
            }
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
        errors
    }

    /// Starts a janitor when a network has no lease.
    pub(crate) fn leave_idle(&self, lock: &Locked, leases: &Leases) -> Result<(), Error> {
        if self.has_idle(lock, leases)? { janitor::start(lock, leases, &self.run_dir) } else { Ok(()) }
    }

    /// Whether a network has no lease, or none is left at all.
    fn has_idle(&self, lock: &impl AsFd, leases: &Leases) -> Result<bool, Error> {
        let used = leases.networks();
        let uses = Uses::open(lock.as_fd(), &self.run_dir, false)?;
        let known = uses.map_or(Ok(Vec::new()), |uses| uses.tags())?;
        Ok(used.is_empty() || known.iter().any(|tag| !used.contains(tag)))
    }
}

/// A lease whose process is gone: its place, its container, its network.
pub(crate) type Gone = (usize, String, Tag);

/// How many leases a sweep looks at, and at how many of these closely; see [`gone`].
const LOOKED_AT: usize = 128;
const CLOSELY: usize = 16;

/// Leases whose process is gone. That a process id is nobody's costs 0.7 µs to see; that it is somebody else's by now
/// costs a file in /proc. So of many leases a sweep looks at some, and at others once another lease has been given.
pub(crate) fn gone(leases: &Leases) -> Vec<Gone> {
    if !leases.can_tell_owners() {
        return Vec::new();
    }
    let count = leases.entries().count();
    let is_turn_of = |at: usize, most: usize| {
        let turns = count.div_ceil(most).max(1);
        at % turns == (leases.head.given % turns as u64) as usize
    };
    let is_gone = |at: usize, owner: &Owner| {
        (is_turn_of(at, CLOSELY) && owner.is_gone()) || (is_turn_of(at, LOOKED_AT) && owner.has_vanished())
    };
    let gone = leases.entries().filter(|(at, entry)| is_gone(*at, &entry.owner));
    gone.map(|(at, entry)| (at, entry.container.to_string(), entry.network)).collect()
}

/// Every lease whose process is gone.
pub(crate) fn every_gone(leases: &Leases) -> Vec<Gone> {
    let gone = leases.entries().filter(|(_, entry)| leases.can_tell_owners() && entry.owner.is_gone());
    gone.map(|(at, entry)| (at, entry.container.to_string(), entry.network)).collect()
}
