//! The link that joins a container to a network, over rtnetlink: made, and given what it needs. As `route.rs`, without policy.

use crate::error::Error;
use crate::route::{LOOPBACK, Link, Net, address_of, address6_of, by_index, get_link, one, parse_link, up};
use crate::socket::{Netlink, Refused};
use crate::wire::{ACK, Batch, CREATE, EXCLUSIVE};
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridgePort, InfoData, InfoIpVlan, InfoKind, InfoMacVlan,
    InfoPortData, InfoPortKind, InfoVeth, IpVlanMode, LinkAttribute, LinkInfo, LinkMessage, MacVlanMode,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

/// A container's end of a cable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer<'a> {
    pub(crate) interface: &'a str,
    pub(crate) mac: [u8; 6],
    pub(crate) netns: BorrowedFd<'a>,
}

/// How a container's link shares one of the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    Macvlan(MacVlanMode),
    Ipvlan(IpVlanMode),
}

impl Share {
    /// What such a link is to the kernel.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Share::Macvlan(_) => "macvlan",
            Share::Ipvlan(_) => "ipvlan",
        }
    }

    /// By the name of its mode.
    pub(crate) fn of(is_ipvlan: bool, mode: Option<&str>) -> Option<Share> {
        Some(match (is_ipvlan, mode) {
            (false, None | Some("bridge")) => Share::Macvlan(MacVlanMode::Bridge),
            (false, Some("private")) => Share::Macvlan(MacVlanMode::Private),
            (false, Some("vepa")) => Share::Macvlan(MacVlanMode::Vepa),
            (false, Some("passthru")) => Share::Macvlan(MacVlanMode::Passthrough),
            (true, None | Some("l2")) => Share::Ipvlan(IpVlanMode::L2),
            (true, Some("l3")) => Share::Ipvlan(IpVlanMode::L3),
            (true, Some("l3s")) => Share::Ipvlan(IpVlanMode::L3S),
            _ => return None,
        })
    }
}

/// Makes a link on one of the host's, still down, directly in the container's namespace.
pub(crate) fn create_shared(
    netlink: &Netlink,
    parent: u32,
    share: Share,
    mtu: Option<u32>,
    peer: &Peer<'_>,
) -> Result<(), Errno> {
    let (kind, data) = match share {
        Share::Macvlan(mode) => (InfoKind::MacVlan, InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)])),
        Share::Ipvlan(mode) => (InfoKind::IpVlan, InfoData::IpVlan(vec![InfoIpVlan::Mode(mode)])),
    };
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(peer.interface.to_owned()),
        LinkAttribute::Link(parent),
        LinkAttribute::NetNsFd(peer.netns.as_raw_fd()),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]),
    ];
    // That of the parent is ipvlan's.
    if matches!(share, Share::Macvlan(_)) {
        message.attributes.push(LinkAttribute::Address(peer.mac.to_vec()));
    }
    message.attributes.extend(mtu.map(LinkAttribute::Mtu));
    one(netlink, ACK | CREATE | EXCLUSIVE, &RouteNetlinkMessage::NewLink(message))
}

/// Makes a veth pair in one batch: the host's end is a port of the bridge, its peer is directly in the container's
/// namespace, and both are down. The host's end, which comes back, has no address, of IPv6 neither: else the kernel would
/// make it one, with a route among those of all other such links, and announce it to the container.
pub(crate) fn create_veth(
    netlink: &Netlink,
    name: &str,
    bridge: u32,
    mtu: u32,
    peer: &Peer<'_>,
) -> Result<Link, Errno> {
    let Peer { interface, mac, netns } = *peer;
    let mut peer = LinkMessage::default();
    peer.attributes = vec![
        LinkAttribute::IfName(interface.to_owned()),
        LinkAttribute::Address(mac.to_vec()),
        LinkAttribute::Mtu(mtu),
        LinkAttribute::NetNsFd(netns.as_raw_fd()),
    ];
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Mtu(mtu),
        LinkAttribute::Controller(bridge),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
        ]),
    ];
    let no_address = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
    let mut addressless = LinkMessage::default();
    addressless.attributes =
        vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::AfSpecUnspec(vec![no_address])];
    let mut batch = Batch::default();
    batch
        .route(ACK | CREATE | EXCLUSIVE, &RouteNetlinkMessage::NewLink(message))
        .route(ACK, &RouteNetlinkMessage::SetLink(addressless))
        .route(ACK, &get_link(name));
    let mut made = None;
    match netlink.exchange(&batch, |message| made = parse_link(message)) {
        // A kernel without IPv6 has nothing of it to set.
        Ok(()) | Err(Refused { request: 1, errno: Errno::AFNOSUPPORT }) => made.ok_or(Errno::NODEV),
        Err(refused) => Err(refused.errno),
    }
}

/// Puts the host's end of a cable into a bridge.
pub(crate) fn plug(netlink: &Netlink, name: &str, bridge: u32) -> Result<(), Errno> {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::Controller(bridge)];
    one(netlink, ACK, &RouteNetlinkMessage::SetLink(up(message)))
}

/// Lets a port of the bridge have back what came in by it. Where the bridge's packets pass through the rules
/// (`bridge-nf-call-iptables`) they are rewritten there, and then a container that asks for a port which it publishes
/// itself is its own neighbour.
pub(crate) fn reflect(netlink: &Netlink, name: &str) -> Result<(), Errno> {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(true)])),
        ]),
    ];
    one(netlink, ACK, &RouteNetlinkMessage::NewLink(message))
}

/// What a link in a container is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings<'a> {
    pub(crate) interface: &'a str,
    pub(crate) net: Net,
    /// Where everything else is, if that way is this link's.
    pub(crate) gateway: Option<Ipv4Addr>,
    /// There is no gateway: everything is reached by the link itself.
    pub(crate) is_way_of_all: bool,
    pub(crate) six: Option<(Ipv6Addr, u8)>,
    pub(crate) gateway6: Option<Ipv6Addr>,
}

/// In the container's namespace: `lo` and the link up, its addresses, the default routes. One batch. Its end settles the
/// link's carrier as [`settle_carriers`] does, or the container could see it down.
pub(crate) fn configure(netlink: &Netlink, settings: &Settings<'_>) -> Result<(), Error> {
    let Settings { interface, net, gateway, is_way_of_all, six, gateway6 } = *settings;
    let new = ACK | CREATE | EXCLUSIVE;
    let link = net.link;
    let mut requests = vec![
        ("bring lo up", ACK, RouteNetlinkMessage::SetLink(up(by_index(LOOPBACK)))),
        ("bring the link up", ACK, RouteNetlinkMessage::SetLink(up(by_index(link)))),
        ("give the link its address", new, RouteNetlinkMessage::NewAddress(address_of(net))),
    ];
    if let Some((address, prefix)) = six {
        let message = RouteNetlinkMessage::NewAddress(address6_of(link, address, prefix));
        requests.push(("give the link its address of IPv6", new, message));
    }
    let way = gateway.map(|gateway| (AddressFamily::Inet, Some(RouteAddress::Inet(gateway))));
    let way = way.or(is_way_of_all.then_some((AddressFamily::Inet, None)));
    let way6 = gateway6.map(|gateway| (AddressFamily::Inet6, Some(RouteAddress::Inet6(gateway))));
    for (family, gateway) in [way, way6].into_iter().flatten() {
        requests.push(("add the default route", new, RouteNetlinkMessage::NewRoute(way_out(family, gateway, link))));
    }
    requests.push(("look at the link", ACK, get_link(interface)));
    let mut batch = Batch::default();
    for (_, flags, message) in &requests {
        batch.route(*flags, message);
    }
    netlink.exchange(&batch, |_| ()).map_err(|refused| Error::Configure {
        action: requests.get(refused.request).map_or("configure the link", |(action, _, _)| action),
        source: refused.errno.into(),
    })
}

/// Makes a link that was configured the way to everything else, in the container's namespace; without a gateway by itself.
pub(crate) fn add_way_out(
    netlink: &Netlink,
    link: u32,
    gateway: Option<Ipv4Addr>,
    gateway6: Option<Ipv6Addr>,
) -> Result<(), Error> {
    let fail = |errno: Errno| Error::Configure { action: "add the default route", source: errno.into() };
    let way = Some((AddressFamily::Inet, gateway.map(RouteAddress::Inet)));
    let way6 = gateway6.map(|gateway| (AddressFamily::Inet6, Some(RouteAddress::Inet6(gateway))));
    for (family, gateway) in [way, way6].into_iter().flatten() {
        let message = RouteNetlinkMessage::NewRoute(way_out(family, gateway, link));
        match one(netlink, ACK | CREATE | EXCLUSIVE, &message) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(fail(errno)),
        }
    }
    Ok(())
}

fn way_out(family: AddressFamily, gateway: Option<RouteAddress>, link: u32) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header = RouteHeader {
        address_family: family,
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Boot,
        scope: if gateway.is_some() { RouteScope::Universe } else { RouteScope::Link },
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    route.attributes = gateway.map(RouteAttribute::Gateway).into_iter().chain([RouteAttribute::Oif(link)]).collect();
    route
}
