//! Published ports in a container's life: claimed and published before it starts, withdrawn when it has ended.
//!
//! The order of things, under the lock of the run directory: the sockets that claim the ports (`claim.rs`), the file that
//! says what is published (`ports.rs`), the elements of the maps. Withdrawn in the reverse order, and before the lease
//! of the address is given back: while that stands, whoever finds it without its owner finds the file. The claims live
//! in the [`Network`] of the process to whose life the lease is bound.

use crate::claim::{self, Claim};
use crate::config::Config;
use crate::error::Error;
use crate::lease::{Cable, Lease};
use crate::leases::Leases;
use crate::network::Network;
use crate::ports::{Ports, Protocol, Published, Wish};
use crate::rundir::{self, Locked};
use crate::sweep::every_gone;
use crate::uses::Uses;
use crate::{bridge, conntrack, route, rules};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering::Relaxed;
use step::step;

impl Network {
    /// Publishes ports of the container that has the lease: claims them on the host, where another's claim or server is an
    /// error, and leads there to here what is sent to them. What is wished for goes first that can be only in one place,
    /// then what may be in several, then what may be anywhere. Only after [`Network::lease`]; of several leases those are
    /// led to that the host reaches.
    pub fn publish(&self, leases: &[Lease], wishes: &[Wish]) -> Result<Vec<Published>, Error> {
        if wishes.is_empty() {
            return Ok(Vec::new());
        }
        let target = Target::of(leases).ok_or(Error::Unpublishable)?;
        let lock = Locked::new(&self.run_dir, true)?.ok_or_else(|| self.vanished())?;
        let mut leases = Leases::open(lock.as_fd(), &self.run_dir, true)?.ok_or_else(|| self.vanished())?;
        let files = Ports::open(lock.as_fd(), &self.run_dir, true)?.ok_or_else(|| self.vanished())?;
        let ports = step(
            "claim-ports",
            "a port of the host is one container's, or one program's",
            || format!("{} ports of the host, each by a socket", wishes.len()),
            || self.claim(&target, wishes, &leases, &files),
        )?;
        step(
            "publish-ports",
            "who connects to these ports of the host reaches the container",
            || ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            || self.on_host(|| self.lead(&target, &lock, &mut leases, &files, &ports)),
        )?;
        self.publishes.store(true, Relaxed);
        // Without the lock: a busy host knows a hundred thousand connections.
        drop((files, leases, lock));
        if ports.iter().any(|port| port.protocol == Protocol::Udp) {
            self.on_host(|| self.forget_others(&ports))?;
        }
        Ok(ports)
    }

    fn claim(&self, target: &Target, wishes: &[Wish], leases: &Leases, files: &Ports) -> Result<Vec<Published>, Error> {
        let mut order: Vec<usize> = (0..wishes.len()).collect();
        order.sort_by_key(|at| match (*wishes[*at].host_ports.start(), *wishes[*at].host_ports.end()) {
            (0, _) => 2,
            (first, last) => i32::from(first != last),
        });
        let mut ports: Vec<(usize, Published)> = Vec::new();
        for at in order {
            let wish = &wishes[at];
            let known = || Ok([files.of_living(leases)?, ports.iter().map(|(_, port)| *port).collect()].concat());
            let container = target.at(wish)?;
            let (claims, targets) = match &target.six {
                Some((six, _)) if wish.and_six => (
                    claim::claim_both(wish, &known)?.into(),
                    vec![container, SocketAddr::new((*six).into(), wish.port)],
                ),
                _ => (vec![claim::claim(wish, &known)?], vec![container]),
            };
            for (Claim { host, socket }, container) in claims.into_iter().zip(targets) {
                self.claims().extend(socket);
                ports.push((at, Published { protocol: wish.protocol, host, container }));
            }
        }
        ports.sort_by_key(|(at, _)| *at);
        Ok(ports.into_iter().map(|(_, port)| port).collect())
    }

    fn lead(
        &self,
        target: &Target,
        lock: &Locked,
        leases: &mut Leases,
        files: &Ports,
        ports: &[Published],
    ) -> Result<(), Error> {
        if ports.iter().any(is_on_loopback) {
            let bridge6 = target.six.as_ref().map(|(_, bridge)| bridge);
            self.route_loopback(&target.bridge, bridge6 == Some(&target.bridge))?;
            if let Some(bridge6) = bridge6.filter(|bridge6| **bridge6 != target.bridge) {
                self.route_loopback(bridge6, true)?;
            }
        }
        files.write(&target.container, ports)?;
        if let Some(generation) = leases.head.rules
            && let Ok(generation) = rules::publish(self.netfilter()?, generation, ports)
        {
            leases.head.rules = Some(generation);
            return leases.write_head();
        }
        // Somebody has changed the host's rules since the lease, or a dead container's elements are in the way. That
        // something of another's cannot be removed is for the next sweep to tell.
        self.free_gone(lock, leases, &mut Vec::new(), &every_gone);
        let resolver = leases.head.resolver;
        self.install(lock, leases, resolver).map(|_| ())
    }

    /// Packets of UDP that led elsewhere until now.
    fn forget_others(&self, ports: &[Published]) -> Result<(), Error> {
        let addresses = route::addresses(self.route()?)?;
        let six = if ports.iter().any(|port| port.host.is_ipv6()) { bridge::addresses6() } else { Vec::new() };
        let ours = |address: IpAddr| match address {
            IpAddr::V4(address) => address.is_loopback() || addresses.iter().any(|net| net.address == address),
            IpAddr::V6(address) => six.contains(&address),
        };
        step(
            "forget-connections",
            "who sends to these ports by UDP already would go on to reach whoever had them before",
            || "entries of the kernel's connection tracking".to_owned(),
            // A kernel that cannot say what it knows (no nf_conntrack_netlink) forgets it in half a minute of silence.
            || {
                let _ = conntrack::forget_others(self.netfilter()?, ports, ours);
                Ok(())
            },
        )
    }

    /// Ends the publishing of a container's ports, and gives the claims of this process back. Nothing is to do where none
    /// is published. Before [`Network::release`], and when it fails the lease has to stay: by that the next sweep finds
    /// what is left to do.
    pub(crate) fn withdraw_here(&self, container: &str) -> Vec<Error> {
        let mut errors = Vec::new();
        let withdraw = || -> Result<Vec<Published>, Error> {
            let Some(lock) = Locked::new(&self.run_dir, false)? else { return Ok(Vec::new()) };
            let leases = Leases::open(lock.as_fd(), &self.run_dir, false)?;
            leases.map_or(Ok(Vec::new()), |mut leases| self.withdraw_locked(&lock, &mut leases, container))
        };
        match withdraw() {
            Ok(ports) => self.forget_to(&ports),
            Err(error) => errors.push(error),
        }
        self.claims().clear();
        self.publishes.store(false, Relaxed);
        errors
    }

    /// As [`Network::withdraw`], of a container of any process. What it published.
    pub(crate) fn withdraw_locked(
        &self,
        lock: &impl AsFd,
        leases: &mut Leases,
        container: &str,
    ) -> Result<Vec<Published>, Error> {
        let Some(files) = Ports::open(lock.as_fd(), &self.run_dir, false)? else { return Ok(Vec::new()) };
        let ports = files.of(container)?;
        if ports.is_empty() {
            return files.remove(container).map(|()| Vec::new());
        }
        // The claims of a dead holder are gone, and somebody else may have its ports: then their elements are his.
        let others = if self.publishes.load(Relaxed) { Vec::new() } else { files.all_but(container)? };
        let others: HashSet<_> = others.iter().map(|port| (port.protocol, port.host)).collect();
        let own: Vec<Published> =
            ports.iter().filter(|port| !others.contains(&(port.protocol, port.host))).copied().collect();
        step(
            "withdraw-ports",
            "the container is gone",
            || ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            || {
                if let Some((before, after)) = rules::withdraw(self.netfilter()?, &own)?
                    && leases.head.rules == Some(before)
                {
                    leases.head.rules = Some(after);
                    leases.write_head()?;
                }
                files.remove(container)
            },
        )?;
        Ok(ports)
    }

    /// Packets of UDP that go on to where nobody is any more: the address may be another container's soon.
    fn forget_to(&self, ports: &[Published]) {
        if ports.iter().any(|port| port.protocol == Protocol::Udp)
            && let Ok(netfilter) = self.netfilter()
        {
            let _ = conntrack::forget_to(netfilter, ports);
        }
    }

    /// Leads what the container publishes to the first of these leases that the host reaches, or nowhere: then its ports
    /// stay its own, and wait.
    pub(crate) fn lead_elsewhere(
        &self,
        lock: &impl AsFd,
        leases: &mut Leases,
        container: &str,
        to: &[Lease],
    ) -> Result<(), Error> {
        let Some(files) = Ports::open(lock.as_fd(), &self.run_dir, false)? else { return Ok(()) };
        let before = files.of(container)?;
        let target = Target::of(to);
        let led = |port: &Published| {
            let address = match port.container.ip() {
                IpAddr::V4(_) => IpAddr::V4(target.as_ref().map_or(Ipv4Addr::UNSPECIFIED, |to| to.address)),
                IpAddr::V6(_) => {
                    let six = target.as_ref().and_then(|to| to.six.as_ref()).map(|(six, _)| *six);
                    IpAddr::V6(six.unwrap_or(Ipv6Addr::UNSPECIFIED))
                }
            };
            Published { container: SocketAddr::new(address, port.container.port()), ..*port }
        };
        let after: Vec<Published> = before.iter().map(led).collect();
        if after == before {
            return Ok(());
        }
        step(
            "lead-elsewhere",
            "the container is on other networks now",
            || after.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            || {
                leases.head.rules = None;
                leases.write_head()?;
                files.write(container, &after)?;
                let resolver = leases.head.resolver;
                self.install(lock, leases, resolver)?;
                target.as_ref().map_or(Ok(()), |target| self.reflect(&target.link))
            },
        )?;
        self.forget_to(&before);
        Ok(())
    }

    pub(crate) fn has_ports(&self, lock: &impl AsFd, container: &str) -> Result<bool, Error> {
        let files = Ports::open(lock.as_fd(), &self.run_dir, false)?;
        files.map_or(Ok(false), |files| Ok(!files.of(container)?.is_empty()))
    }

    /// What the container publishes now. Makes nothing, and waits for nobody.
    pub fn ports_of(&self, container: &str) -> Result<Vec<Published>, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = match openat(CWD, &self.run_dir, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(Vec::new()),
            opened => opened.map_err(|source| rundir::fail("open", &self.run_dir, source))?,
        };
        Ports::open(dir.as_fd(), &self.run_dir, false)?.map_or(Ok(Vec::new()), |files| files.of(container)).map(
            |mut ports| {
                ports.retain(|port| !port.container.ip().is_unspecified());
                ports
            },
        )
    }

    /// Puts the network's rules in place anew, with all that is published, whatever became of them, makes bridges that
    /// somebody has deleted, with the containers on them, and starts who tells names where none does any more; where no
    /// container is on the network, nothing. `made` are the networks that people made. What cannot be mended on this host is
    /// returned for the person to read.
    pub(crate) fn reload_here(&self, made: &[Config]) -> Result<Option<String>, Error> {
        let Some(lock) = Locked::new(&self.run_dir, false)? else { return Ok(None) };
        let Some(mut leases) = Leases::open(lock.as_fd(), &self.run_dir, false)? else { return Ok(None) };
        let mut errors = Vec::new();
        self.free_gone(&lock, &mut leases, &mut errors, &every_gone);
        errors.into_iter().next().map_or(Ok(()), Err)?;
        if leases.entries().next().is_none() {
            return Ok(None);
        }
        leases.head.rules = None;
        // What shares a link of the host's has no rules, and needs no forwarding.
        let Some(uses) = Uses::open(lock.as_fd(), &self.run_dir, false)? else { return Ok(None) };
        let mut all = uses.all()?;
        if all.is_empty() {
            return Ok(None);
        }
        for one in &mut all {
            let config = made.iter().find(|config| config.tag() == one.tag);
            let has_shortcut = config.is_none_or(|config| !config.no_shortcut);
            self.bring_back(&lock, &mut leases, &uses, one, has_shortcut)?;
        }
        for one in all.iter_mut().filter(|one| one.names.is_some()) {
            self.keep_names(one.internal, lock.as_fd(), &mut leases, &uses, one)?;
        }
        self.ensure_rules(&lock, &mut leases, all.iter().any(|one| one.six.is_some()), None)
    }
}

/// Where in a container what is published leads to.
struct Target {
    container: String,
    /// The host's end of its cable.
    link: String,
    bridge: String,
    address: Ipv4Addr,
    /// And the bridge of the network where it has this.
    six: Option<(Ipv6Addr, String)>,
}

impl Target {
    /// On the first of its networks that the host reaches, and that is not an internal one.
    fn of(leases: &[Lease]) -> Option<Target> {
        let mut reached = leases.iter().filter(|lease| !lease.internal).filter_map(|lease| match &lease.cable {
            Cable::Veth { link, bridge, .. } => Some((lease, link, bridge)),
            Cable::Shared { .. } => None,
        });
        let (first, link, bridge) = reached.clone().next()?;
        let six = reached.find_map(|(lease, _, bridge)| lease.six.map(|(address, _)| (address, bridge.clone())));
        let (container, link, bridge) = (first.container.clone(), link.clone(), bridge.clone());
        Some(Target { container, link, bridge, address: first.address, six })
    }

    fn at(&self, wish: &Wish) -> Result<SocketAddr, Error> {
        let Wish { protocol, address, ref host_ports, port, .. } = *wish;
        match (address, &self.six) {
            (IpAddr::V4(_), _) => Ok(SocketAddr::new(self.address.into(), port)),
            (IpAddr::V6(_), Some((six, _))) => Ok(SocketAddr::new((*six).into(), port)),
            (IpAddr::V6(_), None) => Err(Error::NoSix { protocol, address, port: *host_ports.start() }),
        }
    }
}

/// Whether the host's own connections to a loopback address lead to it.
pub(crate) fn is_on_loopback(port: &Published) -> bool {
    port.host.ip().is_unspecified() || port.host.ip().is_loopback()
}
