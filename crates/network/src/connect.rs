//! A container's link to a network: made, configured, and removed.

use crate::bridge::mac_of;
use crate::cable::{self, Peer, Settings, Share};
use crate::error::{Cause, Error};
use crate::lease::{Cable, Lease};
use crate::network::Network;
use crate::route::{self, Link, Net};
use crate::shortcut::{self, Joining};
use crate::socket::Netlink;
use crate::sysctl;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use step::step;

impl Network {
    /// Joins the container's network namespace to the network: a veth pair whose other end is made in the namespace, or a
    /// link on one of the host's, with the leased addresses, the default route if this is the way out, and `lo` up. The
    /// caller is back in its own namespace afterwards.
    pub(crate) fn connect_here(&self, lease: &Lease, netns: BorrowedFd<'_>) -> Result<(), Error> {
        let peer = Peer { interface: &lease.interface, mac: lease.mac, netns };
        match &lease.cable {
            Cable::Veth { link, bridge, .. } => step(
                "make-veth",
                "a cable: one end in the bridge, the other is the container's",
                || format!("{link} on {bridge}, peer {} {}", lease.interface, mac_text(lease.mac)),
                || self.make_veth(lease, &peer),
            ),
            Cable::Shared { parent, share, mtu } => step(
                "make-link",
                "the container's own link on one of the host's",
                || format!("{} on link {parent}, {share:?}", lease.interface),
                || {
                    remove_half_made(netns, *parent, *share)?;
                    cable::create_shared(self.route()?, *parent, *share, *mtu, &peer)
                        .map_err(|errno| not_shared(*share, lease, errno))
                },
            ),
        }?;
        step(
            "configure-link",
            "an address, the host as the way to everything else, and a loopback",
            || configured(lease),
            || in_namespace(netns, || configure(lease, self.is_crowded.load(std::sync::atomic::Ordering::Relaxed))),
        )?;
        let Cable::Veth { link, bridge, .. } = &lease.cable else { return Ok(()) };
        let fail = |errno| Error::Veth { link: link.clone(), source: Cause::of(errno, "veth") };
        // In this order: the bridge has a carrier when a port of it has one.
        route::settle_carriers(self.route()?, [link, bridge]).map_err(fail)
    }

    fn make_veth(&self, lease: &Lease, peer: &Peer<'_>) -> Result<(), Error> {
        let Cable::Veth { link, bridge, bridge_index, mtu } = &lease.cable else { return Ok(()) };
        let fail = |errno| Error::Veth { link: link.clone(), source: Cause::of(errno, "veth") };
        let make = || cable::create_veth(self.route()?, link, *bridge_index, *mtu, peer).map_err(fail);
        let made = match make() {
            // Of the same container, which was started before, and whose namespace is not quite gone yet.
            Err(Error::Veth { source: Cause { errno: Errno::EXIST, .. }, .. }) => {
                route::delete_link(self.route()?, link)?;
                make()
            }
            made => made,
        }?;
        // An ordinary user's bridges are in a namespace of theirs, and no program may be there.
        if self.host.is_none() {
            // One that a person gave it may be another's, too.
            let mac = Some(lease.mac).filter(|mac| *mac == mac_of(lease.address));
            shortcut::join(self.route()?, &Joining { bridge, bridge_index: *bridge_index, cable: &made, mac });
        }
        route::set_up(self.route()?, made.index).map_err(fail)?;
        if self.publishes.load(std::sync::atomic::Ordering::Relaxed) { self.reflect(link) } else { Ok(()) }
    }

    /// What a container publishes it can ask itself for, by this cable.
    pub(crate) fn reflect(&self, link: &str) -> Result<(), Error> {
        let fail = |errno| Error::Veth { link: link.to_owned(), source: Cause::of(errno, "veth") };
        cable::reflect(self.route()?, link).map_err(fail)
    }
}

fn not_shared(share: Share, lease: &Lease, errno: Errno) -> Error {
    let (kind, module) = match share {
        Share::Macvlan(_) => ("a macvlan", "macvlan"),
        Share::Ipvlan(_) => ("an ipvlan", "ipvlan"),
    };
    Error::Shared { kind, interface: lease.interface.clone(), source: Cause::of(errno, module) }
}

fn configured(lease: &Lease) -> String {
    let way = if lease.is_way_out { format!(", default via {}", lease.gateway) } else { String::new() };
    let six = lease.six.map(|(address, pool)| format!(", {address}/{}", pool.prefix)).unwrap_or_default();
    format!("{}/{}{six} on {}{way}, lo and {} up", lease.address, lease.prefix, lease.interface, lease.interface)
}

/// What is done inside the container's network namespace.
fn configure(lease: &Lease, is_crowded: bool) -> Result<(), Error> {
    let fail = |errno| Error::Configure { action: "find the link", source: Cause::from(errno) };
    // As the bridge, see there. A kernel without IPv6 has no such file.
    let (file, value) = if lease.six.is_some() { ("accept_ra", "0") } else { ("disable_ipv6", "1") };
    let setting = format!("net/ipv6/conf/{}/{file}", lease.interface);
    // Aside where there are many. An ordinary user may not: a procfs is mounted by who is root over the namespace of processes.
    let is_set = is_crowded && sysctl::set_aside(&setting, value).is_ok();
    let _ = is_set || sysctl::set(&format!("/proc/sys/{setting}"), value).is_ok();
    let netlink = Netlink::route()?;
    let link = route::link(&netlink, &lease.interface).map_err(fail)?.ok_or(fail(Errno::NODEV))?;
    let is_behind_gateway = lease.is_way_out && !lease.is_beyond_gateways();
    let settings = Settings {
        interface: &lease.interface,
        net: Net { address: lease.address, prefix: lease.prefix, link: link.index },
        gateway: is_behind_gateway.then_some(lease.gateway),
        is_way_of_all: lease.is_way_out && lease.is_beyond_gateways(),
        six: lease.six.map(|(address, pool)| (address, pool.prefix)),
        gateway6: lease.six.filter(|_| is_behind_gateway).map(|(_, pool)| pool.gateway),
    };
    cable::configure(&netlink, &settings)?;
    if let Some((address, _)) = lease.six {
        route::settle_address6(&netlink, address);
    }
    Ok(())
}

/// The number of the next link of a container: `eth` and it is nobody's name there.
pub fn free_number(netns: BorrowedFd<'_>) -> Result<u8, Error> {
    let links = in_namespace(netns, || route::links(&Netlink::route()?))?;
    let is_free = |number: &u8| !links.iter().any(|link| link.name == format!("eth{number}"));
    Ok((0..u8::MAX).find(is_free).unwrap_or(u8::MAX))
}

/// Whether anything leads out of a container.
pub fn has_way_out(netns: BorrowedFd<'_>) -> Result<bool, Error> {
    let routes = in_namespace(netns, || route::routes(&Netlink::route()?))?;
    Ok(routes.iter().any(|route| route.prefix == 0))
}

/// Whether a container has the link that belongs to a lease: up, with the address.
pub fn is_connected(lease: &Lease, netns: BorrowedFd<'_>) -> Result<bool, Error> {
    in_namespace(netns, || {
        let netlink = Netlink::route()?;
        let Some(index) = link_with(&netlink, lease.address)? else { return Ok(false) };
        Ok(route::links(&netlink)?.iter().any(|link| link.index == index && link.up))
    })
}

/// Makes one of a container's leases the way out.
pub fn lead_out(lease: &Lease, netns: BorrowedFd<'_>) -> Result<(), Error> {
    let gateway = (!lease.is_beyond_gateways()).then_some(lease.gateway);
    let gateway6 = lease.six.filter(|_| gateway.is_some()).map(|(_, pool)| pool.gateway);
    in_namespace(netns, || {
        let netlink = Netlink::route()?;
        match link_with(&netlink, lease.address)? {
            Some(link) => cable::add_way_out(&netlink, link, gateway, gateway6),
            None => Ok(()),
        }
    })
}

/// Removes links that a killed command made on one of the host's and did not come to configure: they are down, and have no
/// address. A veth of this kind is known by its other end.
pub(crate) fn remove_half_made(netns: BorrowedFd<'_>, parent: u32, share: Share) -> Result<(), Error> {
    in_namespace(netns, || {
        let netlink = Netlink::route()?;
        let is_half_made = |link: &Link| link.kind == share.kind() && link.parent == Some(parent) && !link.up;
        let found: Vec<Link> = route::links(&netlink)?.into_iter().filter(is_half_made).collect();
        for link in found {
            if route::addresses_of(&netlink, link.index)?.is_empty() {
                route::delete_link(&netlink, &link.name)?;
            }
        }
        Ok(())
    })
}

/// Removes the link that has an address, in the container.
pub(crate) fn remove_by_address(netns: BorrowedFd<'_>, address: Ipv4Addr) -> Result<(), Error> {
    in_namespace(netns, || {
        let netlink = Netlink::route()?;
        let Some(link) = link_with(&netlink, address)? else { return Ok(()) };
        let links = route::links(&netlink)?;
        links.iter().filter(|one| one.index == link).try_for_each(|one| route::delete_link(&netlink, &one.name))
    })
}

/// The index of the link that has an address.
fn link_with(netlink: &Netlink, address: Ipv4Addr) -> Result<Option<u32>, Error> {
    let addresses = route::addresses(netlink)?;
    Ok(addresses.iter().find(|net| net.address == address).map(|net| net.link))
}

/// Brings `lo` up in the network namespace in which the caller is: all the network of `--network none`.
pub fn loopback_up() -> Result<(), Error> {
    let fail = |errno| Error::Configure { action: "bring lo up", source: Cause::from(errno) };
    route::loopback_up(&Netlink::route()?).map_err(fail)
}

/// Runs `act` in another network namespace and comes back.
pub(crate) fn in_namespace<T>(netns: BorrowedFd<'_>, act: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let enter = |fd: BorrowedFd<'_>| move_into_link_name_space(fd, Some(LinkNameSpaceType::Network));
    let home = openat(CWD, "/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let home = home.map_err(|source| Error::EnterNamespace { source })?;
    enter(netns).map_err(|source| Error::EnterNamespace { source })?;
    let done = act();
    enter(home.as_fd()).map_err(|source| Error::LeaveNamespace { source })?;
    done
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
