//! The network's life beside a container's: lease, connect, release, and the sweep after crashes.

use crate::bridge::{self, Bridge, mac_of};
use crate::error::{Cause, Error};
use crate::leases::{Leases, is_id};
use crate::owner::Owner;
use crate::resolver::HostResolver;
use crate::route::{self, Net};
use crate::rules::{self, Wanted};
use crate::rundir::Locked;
use crate::socket::Netlink;
use crate::{BRIDGE, LINK_PREFIX, janitor, sysctl};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::cell::OnceCell;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use step::step;

/// The default network of this host. Costs nothing until it is used.
pub struct Network {
    run_dir: PathBuf,
    route: OnceCell<Netlink>,
    netfilter: OnceCell<Netlink>,
}

/// A container's address and what [`Network::connect`] needs to give it to the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The container's id: 64 hex digits.
    pub container: String,
    /// Its IPv4 address.
    pub address: Ipv4Addr,
    /// Bits of the subnet's mask.
    pub prefix: u8,
    /// The bridge's address: the container's default route.
    pub gateway: Ipv4Addr,
    /// Hardware address of eth0 in the container, made from the address.
    pub mac: [u8; 6],
    /// Largest packet that the host's uplink carries.
    pub mtu: u32,
    /// Name of the bridge.
    pub bridge: &'static str,
    /// Its index.
    pub bridge_index: u32,
    /// Name of the host's end of the veth pair: "mc" and 12 hex digits of the id.
    pub host_link: String,
    /// Something about this host that may break the network and that we cannot mend, for the person to read.
    pub warning: Option<&'static str>,
}

/// Where a container is in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Of its eth0.
    pub address: Ipv4Addr,
    /// Bits of the subnet's mask.
    pub prefix: u8,
    /// Its way to everything else: the bridge.
    pub gateway: Ipv4Addr,
    /// Hardware address of its eth0.
    pub mac: [u8; 6],
}

/// Whether this host routes packets of others.
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

const LEGACY: &str = "iptables-legacy drops what this host forwards, and its rules cannot be changed over nf_tables: \
     containers reach nothing but the host until you run `iptables-legacy -I FORWARD -i mycontainer0 -j ACCEPT` and \
     `iptables-legacy -I FORWARD -o mycontainer0 -j ACCEPT`";

impl Network {
    /// The network whose state is in `run_dir`, by custom /run/mycontainer/network. Touches nothing.
    pub fn open(run_dir: &Path) -> Network {
        Network { run_dir: run_dir.to_owned(), route: OnceCell::new(), netfilter: OnceCell::new() }
    }

    /// Makes sure that bridge and rules are there and leases an address to the container, for as long as `owner` lives
    /// or until it is released. The same container gets the address again that it has.
    pub fn lease(&self, container: &str, owner: Owner, host: &HostResolver) -> Result<Lease, Error> {
        if !is_id(container) {
            return Err(Error::BadId { id: container.to_owned() });
        }
        let lock = Locked::new(&self.run_dir, true)?.ok_or_else(|| self.vanished())?;
        let mut leases = Leases::open(lock.as_fd(), &self.run_dir, true)?.ok_or_else(|| self.vanished())?;
        let bridge = step(
            "ensure-bridge",
            "containers meet there, and leave the host through it",
            || format!("bridge {BRIDGE}"),
            || bridge::ensure(self.route()?),
        )?;
        let warning = step(
            "ensure-nat",
            "the world sees the host's address; nothing but answers comes in",
            || format!("nf_tables table inet {}, forwarding", rules::TABLE),
            || self.ensure_rules(&mut leases, &bridge, host.forward_to()),
        )?;
        let address = step(
            "lease-address",
            "no two containers may have the same",
            || format!("an address of {}/{} for {container:.12}", bridge.subnet.network(), bridge.subnet.prefix),
            || leases.give(container, owner, bridge.subnet),
        )?;
        Ok(Lease {
            container: container.to_owned(),
            address,
            prefix: bridge.subnet.prefix,
            gateway: bridge.subnet.gateway,
            mac: mac_of(address),
            mtu: bridge.mtu,
            bridge: BRIDGE,
            bridge_index: bridge.index,
            host_link: host_link(container),
            warning,
        })
    }

    /// Joins the container's network namespace to the bridge: a veth pair whose end `eth0` is made in the namespace,
    /// with the leased address, a default route, and `lo` up. The caller is back in its own namespace afterwards.
    pub fn connect(&self, lease: &Lease, netns: BorrowedFd<'_>) -> Result<(), Error> {
        let Lease { host_link, bridge_index, mtu, mac, .. } = lease;
        let fail = |errno| Error::Veth { link: host_link.clone(), source: Cause::of(errno, "veth") };
        step(
            "make-veth",
            "a cable: one end in the bridge, the other is the container's eth0",
            || format!("{host_link} on {BRIDGE}, peer eth0 {}", mac_text(*mac)),
            || {
                let make =
                    || route::create_veth(self.route()?, host_link, *bridge_index, *mtu, *mac, netns).map_err(fail);
                match make() {
                    // Of the same container, which was started before, and whose namespace is not quite gone yet.
                    Err(Error::Veth { source: Cause { errno: Errno::EXIST, .. }, .. }) => {
                        route::delete_link(self.route()?, host_link)?;
                        make()
                    }
                    made => made,
                }
            },
        )?;
        step(
            "configure-eth0",
            "an address on eth0, the host as the way to everything else, and a loopback",
            || format!("{}/{} on eth0, default via {}, lo and eth0 up", lease.address, lease.prefix, lease.gateway),
            || in_namespace(netns, || configure(lease)),
        )?;
        // In this order: the bridge has a carrier when a port of it has one.
        route::settle_carriers(self.route()?, [host_link, BRIDGE]).map_err(fail)
    }

    /// The address that the container has; none when it has no lease. Makes nothing.
    pub fn address_of(&self, container: &str) -> Result<Option<Address>, Error> {
        let Some(lock) = Locked::new(&self.run_dir, false)? else { return Ok(None) };
        let Some(leases) = Leases::open(lock.as_fd(), &self.run_dir, false)? else { return Ok(None) };
        let Some((_, entry)) = leases.entries().find(|(_, entry)| entry.container == container) else {
            return Ok(None);
        };
        let (link, addresses) = route::link_and_addresses(self.route()?, BRIDGE)?;
        let own = link.and_then(|link| addresses.into_iter().find(|net| net.link == link.index));
        let address = entry.address;
        Ok(own.map(|own| Address { address, prefix: own.prefix, gateway: own.address, mac: mac_of(address) }))
    }

    /// Gives the container's lease back. The veth goes with the container's namespace, and removing it here would wait
    /// for RCU. When no lease remains, a janitor is started.
    pub fn release(&self, container: &str) -> Vec<Error> {
        self.tidy(|_, leases, errors| {
            let Some(at) = leases.find(container) else { return };
            let freed = step(
                "release-address",
                "the container is gone",
                || format!("the address of {container:.12}"),
                || leases.free(at),
            );
            errors.extend(freed.err());
        })
    }

    /// Frees what crashed commands left: leases whose process is gone, and their veths.
    pub fn sweep(&self) -> Vec<Error> {
        self.tidy(Network::free_gone)
    }

    fn free_gone(&self, leases: &mut Leases, errors: &mut Vec<Error>) {
        for (at, container) in gone(leases) {
            let swept = step(
                "sweep-lease",
                "its process was killed and could not give it back",
                || format!("lease and veth of {container:.12}"),
                || {
                    // The link first: while the lease stands, the next sweep would still find it.
                    route::delete_link(self.route()?, &host_link(&container))?;
                    leases.free(at)
                },
            );
            errors.extend(swept.err());
        }
    }

    /// Does something to the leases, if there are any, and starts a janitor when none is left.
    fn tidy(&self, act: impl FnOnce(&Network, &mut Leases, &mut Vec<Error>)) -> Vec<Error> {
        let mut errors = Vec::new();
        let opened = Locked::new(&self.run_dir, false).and_then(|lock| {
            lock.map_or(Ok(None), |l| Ok(Leases::open(l.as_fd(), &self.run_dir, false)?.map(|f| (l, f))))
        });
        match opened {
            Ok(Some((lock, mut leases))) => {
                act(self, &mut leases, &mut errors);
                if leases.entries().next().is_none() {
                    errors.extend(janitor::start(&lock, &leases, &self.run_dir).err());
                }
            }
            Ok(None) => {}
            Err(error) => errors.push(error),
        }
        errors
    }

    /// Rules and forwarding. Returns a warning when this host has what we cannot change.
    fn ensure_rules(
        &self,
        leases: &mut Leases,
        bridge: &Bridge,
        resolver: Option<Ipv4Addr>,
    ) -> Result<Option<&'static str>, Error> {
        if !sysctl::is_on(FORWARDING)? {
            step(
                "enable-forwarding",
                "else the host routes nothing for the containers; it stays on, for others may rely on it by then",
                || FORWARDING.to_owned(),
                || sysctl::turn_on(FORWARDING),
            )?;
        }
        // Once forwarded, forwarded until the network is gone: containers that run were told to ask the gateway.
        let resolver = resolver.or(leases.head.resolver);
        let netfilter = self.netfilter()?;
        let is_known = leases.head.rules.is_some() && leases.head.resolver == resolver;
        if is_known && leases.head.rules == Some(rules::generation(netfilter)?) {
            return Ok(None);
        }
        if resolver.is_some() {
            step(
                "route-loopback",
                "the host's name server listens on its loopback only; the rules let nothing else through",
                || format!("route_localnet of {BRIDGE}"),
                || sysctl::turn_on(&format!("/proc/sys/net/ipv4/conf/{BRIDGE}/route_localnet")),
            )?;
        }
        let generation = step(
            "install-rules",
            "they are not there, or somebody changed the host's rules since they were",
            || format!("nf_tables table inet {}, and leave for {BRIDGE} in chains that drop", rules::TABLE),
            || rules::install(netfilter, &Wanted { subnet: bridge.subnet, resolver }),
        )?;
        leases.head.rules = Some(generation);
        leases.head.resolver = resolver;
        leases.write_head()?;
        Ok(rules::legacy_drops().then_some(LEGACY))
    }

    fn route(&self) -> Result<&Netlink, Error> {
        opened(&self.route, Netlink::route)
    }

    fn netfilter(&self) -> Result<&Netlink, Error> {
        opened(&self.netfilter, Netlink::netfilter)
    }

    fn vanished(&self) -> Error {
        Error::RunDir { action: "open", path: self.run_dir.clone(), source: Errno::NOENT }
    }
}

/// Brings `lo` up in the network namespace in which the caller is: all the network of `--network none`.
pub fn loopback_up() -> Result<(), Error> {
    let fail = |errno| Error::Configure { action: "bring lo up", source: Cause::from(errno) };
    route::loopback_up(&Netlink::route()?).map_err(fail)
}

fn opened(cell: &OnceCell<Netlink>, open: impl FnOnce() -> Result<Netlink, Error>) -> Result<&Netlink, Error> {
    if let Some(netlink) = cell.get() {
        return Ok(netlink);
    }
    let netlink = open()?;
    Ok(cell.get_or_init(|| netlink))
}

/// How many leases a sweep looks at closely; see [`gone`].
const CLOSELY: usize = 16;

/// Leases whose process is gone. That a process id is nobody's costs 0.2 µs to see; that it is somebody else's by now
/// costs a file in /proc. So with many leases each sweep does the latter for a sixteenth of them, another one each time.
pub(crate) fn gone(leases: &Leases) -> Vec<(usize, String)> {
    let few = leases.entries().count() <= CLOSELY;
    let turn = (leases.head.given % CLOSELY as u64) as usize;
    let is_gone = |at: usize, owner: &Owner| {
        if few || at % CLOSELY == turn { owner.is_gone() } else { owner.has_vanished() }
    };
    let gone = leases.entries().filter(|(at, entry)| is_gone(*at, &entry.owner));
    gone.map(|(at, entry)| (at, entry.container.clone())).collect()
}

/// The host's end of a container's veth pair. [IFNAMSIZ: 15 characters]
pub(crate) fn host_link(container: &str) -> String {
    format!("{LINK_PREFIX}{container:.12}")
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// What is done inside the container's network namespace.
fn configure(lease: &Lease) -> Result<(), Error> {
    let fail = |errno| Error::Configure { action: "find eth0", source: Cause::from(errno) };
    // Nobody else can have the link-local address, made from a leased hardware address: without this it could not be
    // used for more than a second. A kernel without IPv6 has no such file.
    let _ = sysctl::set("/proc/sys/net/ipv6/conf/eth0/accept_dad", "0");
    let netlink = Netlink::route()?;
    let eth0 = route::link(&netlink, "eth0").map_err(fail)?.ok_or(fail(Errno::NODEV))?;
    let net = Net { address: lease.address, prefix: lease.prefix, link: eth0.index };
    route::configure(&netlink, net, lease.gateway)
}

/// Runs `act` in another network namespace and comes back.
fn in_namespace<T>(netns: BorrowedFd<'_>, act: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let enter = |fd: BorrowedFd<'_>| move_into_link_name_space(fd, Some(LinkNameSpaceType::Network));
    let home = openat(CWD, "/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let home = home.map_err(|source| Error::EnterNamespace { source })?;
    enter(netns).map_err(|source| Error::EnterNamespace { source })?;
    let done = act();
    enter(home.as_fd()).map_err(|source| Error::LeaveNamespace { source })?;
    done
}
