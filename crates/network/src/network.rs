//! A container on a network: it gets an address there, and leaves while it runs. What else belongs to that: its link
//! (`connect.rs`), how it ends (`sweep.rs`), and what all networks have in common (`forwarding.rs`).

use crate::bridge::{self, Bridge, mac_of};
use crate::cable::{self, Share};
use crate::config::{Config, Driver};
use crate::error::Error;
use crate::lease::{Cable, Lease, Request, leased};
use crate::leases::{Leases, is_id};
use crate::ports::Ports;
use crate::route;
use crate::rundir::Locked;
use crate::socket::Netlink;
use crate::subnet::{Pool, Subnet};
use crate::sweep::every_gone;
use crate::uses::{Use, Uses};
use crate::{connect, janitor, rules};
use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, OnceLock};
use step::step;

/// With more leases than these a setting of a container is made in another way, see [`crate::sysctl::set_aside`].
pub(crate) const MANY: usize = 32;

/// The networks of this host. Costs nothing until it is used.
pub struct Network {
    pub(crate) run_dir: PathBuf,
    route: OnceLock<Netlink>,
    pub(crate) netfilter: OnceLock<Netlink>,
    /// Sockets that claim the ports which this process's container publishes.
    pub(crate) claims: Mutex<Vec<OwnedFd>>,
    /// It publishes some.
    pub(crate) publishes: AtomicBool,
    /// Where the bridges are, if that is not where the caller is (`host.rs`).
    pub(crate) host: Option<BorrowedFd<'static>>,
    /// What stands in there for the loopback of who calls.
    pub(crate) loopback: Option<IpAddr>,
    /// There are more than [`MANY`] leases.
    pub(crate) is_crowded: AtomicBool,
}

impl Network {
    /// The network whose state is in `run_dir`, by custom /run/mycontainer/network. Touches nothing.
    pub fn open(run_dir: &Path) -> Network {
        let (route, netfilter, claims, publishes, is_crowded) = Default::default();
        Network {
            run_dir: run_dir.to_owned(),
            route,
            netfilter,
            claims,
            publishes,
            is_crowded,
            host: None,
            loopback: None,
        }
    }

    /// Makes sure that bridge and rules are there and leases an address to the container, for as long as the owner lives
    /// or until it is released. The same container gets the address again that it has.
    pub(crate) fn lease_here(&self, request: &Request<'_>) -> Result<Lease, Error> {
        if !is_id(request.container.as_bytes()) {
            return Err(Error::BadId { id: request.container.to_owned() });
        }
        let lock = Locked::new(&self.run_dir, true)?.ok_or_else(|| self.vanished())?;
        let mut leases = Leases::open(lock.as_fd(), &self.run_dir, true)?.ok_or_else(|| self.vanished())?;
        match request.network.driver {
            Driver::Bridge => self.lease_on_bridge(request, &lock, &mut leases),
            Driver::Macvlan | Driver::Ipvlan => self.lease_on_link(request, &lock, &mut leases),
        }
    }

    fn lease_on_bridge(&self, request: &Request<'_>, lock: &Locked, leases: &mut Leases) -> Result<Lease, Error> {
        let config = request.network;
        let (bridge, one) = step(
            "ensure-bridge",
            "containers meet there, and leave the host through it",
            || format!("bridge {}", config.bridge_name()),
            || self.ensure_bridge(request, lock, leases),
        )?;
        let warning = step(
            "ensure-nat",
            "the world sees the host's address; nothing but answers comes in",
            || format!("nf_tables table inet {}, forwarding", rules::TABLE),
            || self.ensure_rules(lock, leases, one.six.is_some(), request.host.forward_to()),
        )?;
        let range = config.ipv4.range.filter(|_| !config.is_default());
        let pool = Pool { network: one.tag, subnet: one.subnet, range, reserved: config.reserved() };
        let address = self.lease_address(request, lock, leases, &pool)?;
        let six = one.six.map(|six| six.beside(address, one.subnet.network()));
        self.name(lock.as_fd(), &one, (address, six), request)?;
        let link = one.tag.host_link(request.container);
        let cable = Cable::Veth { link, bridge: one.bridge.clone(), bridge_index: bridge.index, mtu: bridge.mtu };
        Ok(Lease { warning, has_names: one.names.is_some(), ..leased(request, &pool, address, cable) })
    }

    /// On a link of the host's there is nothing to prepare, and the host's rules do not see what passes.
    fn lease_on_link(&self, request: &Request<'_>, lock: &Locked, leases: &mut Leases) -> Result<Lease, Error> {
        let ipv4 = request.network.ipv4;
        let cable = self.shared(request.network)?;
        let subnet = Subnet { gateway: ipv4.gateway, prefix: ipv4.prefix };
        let reserved = request.network.reserved();
        let pool = Pool { network: request.network.tag(), subnet, range: ipv4.range, reserved };
        let address = self.lease_address(request, lock, leases, &pool)?;
        Ok(leased(request, &pool, address, cable))
    }

    fn lease_address(
        &self,
        request: &Request<'_>,
        lock: &Locked,
        leases: &mut Leases,
        pool: &Pool,
    ) -> Result<Ipv4Addr, Error> {
        let Request { container, owner, address, .. } = *request;
        let is_held =
            |wish| leases.of(pool.network).any(|(_, held)| held.address == wish && held.container != container);
        if leases.of(pool.network).count() >= pool.size() || address.is_some_and(is_held) {
            // Only now is it worth asking for each lease whether its owner still lives. A dead one's ports go with it: they
            // lead to the address.
            let mut errors = Vec::new();
            self.free_gone(lock, leases, &mut errors, &every_gone);
            errors.into_iter().next().map_or(Ok(()), Err)?;
        }
        self.is_crowded.store(leases.entries().nth(MANY).is_some(), std::sync::atomic::Ordering::Relaxed);
        step(
            "lease-address",
            "no two containers may have the same",
            || format!("an address of {}/{} for {container:.12}", pool.subnet.network(), pool.subnet.prefix),
            || leases.give(container, owner, pool, address),
        )
    }

    /// The bridge of a network, and what the rules have to know of that, which is on record before it is there.
    fn ensure_bridge(&self, request: &Request<'_>, lock: &Locked, leases: &mut Leases) -> Result<(Bridge, Use), Error> {
        let config = request.network;
        let uses = Uses::open(lock.as_fd(), &self.run_dir, true)?.ok_or_else(|| self.vanished())?;
        let plan = bridge::plan(self.route()?, config, request.made)?;
        let mut known = uses.get(config.tag())?;
        if known.is_some() && plan.found.is_none() {
            // Who told names listened to the bridge that was there: it ends by this, and another one begins.
            uses.remove(config.tag())?;
            known = None;
        }
        let mut one = Use {
            tag: config.tag(),
            bridge: plan.name.clone(),
            subnet: plan.subnet,
            six: config.ipv6,
            internal: config.internal,
            routed: config.routed,
            names: known.as_ref().and_then(|known| known.names),
        };
        // So it is of a bridge that somebody has deleted: it comes back without its settings, which are set with the rules.
        if known.as_ref() != Some(&one) {
            self.record(&uses, leases, &one)?;
        }
        let bridge = bridge::make(self.route()?, &plan)?;
        if plan.found.is_none() {
            self.plug_again(lock, leases, &one, bridge)?;
        }
        self.ensure_names(config, lock.as_fd(), leases, &uses, &mut one)?;
        Ok((bridge, one))
    }

    /// The bridge of a network on which containers are, if somebody has deleted it: with them on it, and who tells names.
    pub(crate) fn bring_back(
        &self,
        lock: &Locked,
        leases: &mut Leases,
        uses: &Uses,
        one: &mut Use,
        has_shortcut: bool,
    ) -> Result<(), Error> {
        let netlink = self.route()?;
        let links = route::links(netlink)?;
        if links.iter().any(|link| link.name == one.bridge) {
            return Ok(());
        }
        let cable_of = |container: &str| links.iter().find(|link| link.name == one.tag.host_link(container));
        let mtu = leases.of(one.tag).find_map(|(_, entry)| cable_of(entry.container.as_str())).map(|link| link.mtu);
        // Of a network that nobody has a cable to any more there is no bridge to be missed.
        let Some(mtu) = mtu else { return Ok(()) };
        let plan = bridge::again(one, mtu, has_shortcut);
        // As where a container starts, see there.
        uses.remove(one.tag)?;
        let told_names = one.names.take().is_some();
        self.record(uses, leases, one)?;
        let bridge = bridge::make(netlink, &plan)?;
        self.plug_again(lock, leases, one, bridge)?;
        if told_names { self.keep_names(one.internal, lock.as_fd(), leases, uses, one) } else { Ok(()) }
    }

    /// Puts the cables of the containers on a network into its bridge: somebody has deleted the one that they were in. One
    /// that is gone itself comes back with its container's next start.
    fn plug_again(&self, lock: &Locked, leases: &Leases, one: &Use, bridge: Bridge) -> Result<(), Error> {
        let ports = Ports::open(lock.as_fd(), &self.run_dir, false)?;
        for (_, entry) in leases.of(one.tag) {
            let link = one.tag.host_link(entry.container.as_str());
            match cable::plug(self.route()?, &link, bridge.index) {
                Err(Errno::NODEV) => continue,
                plugged => plugged.map_err(|errno| Error::Veth { link: link.clone(), source: errno.into() })?,
            }
            let published = ports.as_ref().map_or(Ok(Vec::new()), |ports| ports.of(entry.container.as_str()))?;
            if !published.is_empty() {
                self.reflect(&link)?;
            }
        }
        Ok(())
    }

    /// Puts on record what the rules do not have yet.
    pub(crate) fn record(&self, uses: &Uses, leases: &mut Leases, one: &Use) -> Result<(), Error> {
        leases.head.rules = None;
        leases.write_head()?;
        uses.write(one)
    }

    /// The lease that the container has on a network; none when it has none there. Makes nothing.
    pub(crate) fn lease_of_here(&self, container: &str, network: &Config) -> Result<Option<Lease>, Error> {
        let Some(lock) = Locked::new(&self.run_dir, false)? else { return Ok(None) };
        let Some(leases) = Leases::open(lock.as_fd(), &self.run_dir, false)? else { return Ok(None) };
        self.found_lease(&lock, &leases, container, network)
    }

    pub(crate) fn found_lease(
        &self,
        lock: &impl AsFd,
        leases: &Leases,
        container: &str,
        config: &Config,
    ) -> Result<Option<Lease>, Error> {
        let tag = config.tag();
        let Some((_, entry)) = leases.of(tag).find(|(_, entry)| entry.container == container) else {
            return Ok(None);
        };
        let known = Uses::open(lock.as_fd(), &self.run_dir, false)?.map_or(Ok(None), |uses| uses.get(tag))?;
        let made = Subnet { gateway: config.ipv4.gateway, prefix: config.ipv4.prefix };
        let subnet = known.as_ref().map_or(made, |known| known.subnet);
        let (link, bridge) = (tag.host_link(container), config.bridge_name());
        Ok(Some(Lease {
            container: container.to_owned(),
            network: tag,
            address: entry.address,
            prefix: subnet.prefix,
            gateway: subnet.gateway,
            six: config.ipv6.map(|six| (six.beside(entry.address, subnet.network()), six)),
            mac: mac_of(entry.address),
            interface: String::new(),
            is_way_out: false,
            internal: config.internal,
            has_names: known.is_some_and(|known| known.names.is_some()),
            cable: match config.driver {
                Driver::Bridge => Cable::Veth { link, bridge, bridge_index: 0, mtu: 0 },
                // The host may have lost that link; of one that is there already it is not asked for.
                Driver::Macvlan | Driver::Ipvlan => shared_on(config, 0)?,
            },
            warning: None,
        }))
    }

    /// How links on the network share one of the host's, which has to be there.
    fn shared(&self, config: &Config) -> Result<Cable, Error> {
        let parent = config.parent.as_deref().unwrap_or_default();
        let found = route::link(self.route()?, parent).map_err(|_| no_parent(config))?;
        shared_on(config, found.ok_or_else(|| no_parent(config))?.index)
    }

    /// Takes a container off a network, while it runs: its link, its names, its lease. What it publishes is led to the other
    /// of its leases, or nowhere until it has one. Where nothing is left of it there, there is nothing to do.
    pub(crate) fn disconnect_here(&self, lease: &Lease, others: &[Lease], netns: BorrowedFd<'_>) -> Result<(), Error> {
        let container = &lease.container;
        step(
            "remove-link",
            "the container leaves the network",
            || format!("the link of {container:.12} with {}", lease.address),
            || match &lease.cable {
                Cable::Veth { link, .. } => route::delete_link(self.route()?, link),
                Cable::Shared { parent, share, .. } => {
                    connect::remove_half_made(netns, *parent, *share)?;
                    connect::remove_by_address(netns, lease.address)
                }
            },
        )?;
        let Some(lock) = Locked::new(&self.run_dir, false)? else { return Ok(()) };
        let Some(mut leases) = Leases::open(lock.as_fd(), &self.run_dir, false)? else { return Ok(()) };
        self.lead_elsewhere(&lock, &mut leases, container, others)?;
        if let Some(at) = leases.find(container, lease.network) {
            let is_last = leases.entries().filter(|(_, entry)| entry.container == container.as_str()).count() == 1;
            if is_last && self.has_ports(&lock, container)? {
                self.forget_name(&lock, container, lease.network)?;
                leases.wait(at)?;
            } else {
                self.free(&lock, &mut leases, at, container, lease.network)?;
            }
        }
        if leases.of(lease.network).next().is_none() {
            janitor::start(&lock, &leases, &self.run_dir)?;
        }
        Ok(())
    }

    /// Leads what the container publishes to the first of its leases that the host reaches.
    pub(crate) fn lead_to_here(&self, container: &str, all: &[Lease]) -> Result<(), Error> {
        let Some(lock) = Locked::new(&self.run_dir, false)? else { return Ok(()) };
        let Some(mut leases) = Leases::open(lock.as_fd(), &self.run_dir, false)? else { return Ok(()) };
        self.lead_elsewhere(&lock, &mut leases, container, all)
    }

    pub(crate) fn route(&self) -> Result<&Netlink, Error> {
        opened(&self.route, Netlink::route)
    }

    pub(crate) fn netfilter(&self) -> Result<&Netlink, Error> {
        opened(&self.netfilter, Netlink::netfilter)
    }

    pub(crate) fn vanished(&self) -> Error {
        Error::RunDir { action: "open", path: self.run_dir.clone(), source: Errno::NOENT }
    }
}

fn no_parent(config: &Config) -> Error {
    Error::NoParent { name: config.name.clone(), parent: config.parent.clone().unwrap_or_default() }
}

/// How links on the network share the one of the host's that has this index.
fn shared_on(config: &Config, parent: u32) -> Result<Cable, Error> {
    let share = Share::of(config.driver == Driver::Ipvlan, config.mode.as_deref()).ok_or_else(|| no_parent(config))?;
    Ok(Cable::Shared { parent, share, mtu: config.mtu })
}

fn opened(cell: &OnceLock<Netlink>, open: impl FnOnce() -> Result<Netlink, Error>) -> Result<&Netlink, Error> {
    if let Some(netlink) = cell.get() {
        return Ok(netlink);
    }
    let netlink = open()?;
    Ok(cell.get_or_init(|| netlink))
}
