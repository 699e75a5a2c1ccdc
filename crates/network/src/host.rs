//! Where the bridges are: in the network namespace of who calls, or in another one.
//!
//! Root's bridges are where root's commands are. An ordinary user has rights over network namespaces of their own only:
//! the user's bridges are in one of those, while the commands stay on the host, from where images are fetched and ports
//! are claimed, and to which nobody who left it can return. So whatever has to do with bridges, links and rules is
//! done by a thread that is moved there, and ends with that; the processes that it starts (janitor, names) are born
//! there. Nothing else runs meanwhile: whoever started it waits for it.

use crate::config::Config;
use crate::error::Error;
use crate::lease::{Lease, Request};
use crate::network::Network;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{MutexGuard, PoisonError};

/// Runs `act` in the network namespace `host`, by a thread of its own; as it is where there is none.
pub fn on_host<T: Send>(
    host: Option<BorrowedFd<'_>>,
    act: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    let Some(host) = host else { return act() };
    let there = || {
        let moved = move_into_link_name_space(host, Some(LinkNameSpaceType::Network));
        moved.map_err(|source| Error::EnterNamespace { source })?;
        act()
    };
    std::thread::scope(|scope| match scope.spawn(there).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

impl Network {
    /// The same, with its bridges in another network namespace, where `loopback` leads to the name server on the loopback of
    /// this one.
    pub fn at(mut self, host: Option<&'static OwnedFd>, loopback: Option<IpAddr>) -> Network {
        self.loopback = loopback;
        self.host = host.map(std::os::fd::AsFd::as_fd);
        self
    }

    /// Copies of the sockets that claim what this process's container publishes.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub fn claimed(&self) -> std::io::Result<Vec<OwnedFd>> {
        self.claims().iter().map(OwnedFd::try_clone).collect()
    }

    pub(crate) fn on_host<T: Send>(&self, act: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
        on_host(self.host, act)
    }

    /// What goes on after an error returns all of them.
    fn all_on_host(&self, act: impl FnOnce() -> Vec<Error> + Send) -> Vec<Error> {
        self.on_host(|| Ok(act())).unwrap_or_else(|error| vec![error])
    }

    /// The sockets that claim what this process's container publishes.
    pub(crate) fn claims(&self) -> MutexGuard<'_, Vec<OwnedFd>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure that bridge and rules are there and leases an address to the container, for as long as the owner lives
    /// or until it is released. The same container gets the address again that it has.
    pub fn lease(&self, request: &Request<'_>) -> Result<Lease, Error> {
        self.on_host(|| self.lease_here(request))
    }

    /// The lease that the container has on a network; none when it has none there. Makes nothing.
    pub fn lease_of(&self, container: &str, network: &Config) -> Result<Option<Lease>, Error> {
        self.on_host(|| self.lease_of_here(container, network))
    }

    /// Connects the container's network namespace to the network: a link, the address, routes. Only after
    /// [`Network::lease`].
    pub fn connect(&self, lease: &Lease, netns: BorrowedFd<'_>) -> Result<(), Error> {
        self.on_host(|| self.connect_here(lease, netns))
    }

    /// Takes a container off a network, while it runs: its link, its names, its lease. What it publishes is led to the other
    /// of its leases, or nowhere until it has one. Where nothing is left of it there, there is nothing to do.
    pub fn disconnect(&self, lease: &Lease, others: &[Lease], netns: BorrowedFd<'_>) -> Result<(), Error> {
        self.on_host(|| self.disconnect_here(lease, others, netns))
    }

    /// Leads what the container publishes to the first of its leases that the host reaches.
    pub fn lead_to(&self, container: &str, all: &[Lease]) -> Result<(), Error> {
        self.on_host(|| self.lead_to_here(container, all))
    }

    /// Tells other names of a container, in place of those that it had.
    pub fn rename(&self, container: &str, config: &Config, names: &[String], servers: &[IpAddr]) -> Result<(), Error> {
        self.on_host(|| self.rename_here(container, config, names, servers))
    }

    /// Notes that others share the container's network namespace, which is there as long as one of them lives.
    pub fn share(&self, container: &str, netns: BorrowedFd<'_>) -> Result<(), Error> {
        self.on_host(|| self.share_here(container, netns))
    }

    /// Ends the publishing of a container's ports, and gives the claims of this process back. Nothing is to do where none
    /// is published. Before [`Network::release`], and when it fails the lease has to stay: by that the next sweep finds
    /// what is left. Goes on after an error.
    pub fn withdraw(&self, container: &str) -> Vec<Error> {
        self.all_on_host(|| self.withdraw_here(container))
    }

    /// Gives a container's addresses back, after it has ended. Goes on after an error.
    pub fn release(&self, container: &str) -> Vec<Error> {
        self.all_on_host(|| self.release_here(container))
    }

    /// Frees what crashed containers left. Goes on after an error.
    pub fn sweep(&self) -> Vec<Error> {
        self.all_on_host(|| self.sweep_here())
    }

    /// Writes all rules anew, for a host whose rules somebody has flushed, and makes the bridges anew that somebody has
    /// deleted; nothing where no container is on a network. `made` are the networks that people made. A warning is for the
    /// person to read.
    pub fn reload(&self, made: &[Config]) -> Result<Option<String>, Error> {
        self.on_host(|| self.reload_here(made))
    }

    /// Removes the bridge of a network that no container is on, without waiting for the janitor. False where somebody has
    /// an address of it: then it stays.
    pub fn remove_idle(&self, config: &Config) -> Result<bool, Error> {
        self.on_host(|| self.remove_idle_here(config))
    }
}
