//! Links, addresses and routes, over rtnetlink.
//!
//! One function a request or batch of requests; no policy. Requests are typed (`netlink-packet-route`), replies are
//! walked (see [`crate::wire`]). [rtnetlink(7)]

use crate::error::{Cause, Error};
use crate::socket::{Netlink, Refused};
use crate::wire::{self, ACK, APPEND, Batch, CREATE, DUMP, EXCLUSIVE, Message, read_u32};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoKind, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// The index of `lo`, first in every network namespace.
pub(crate) const LOOPBACK: u32 = 1;

/// A link of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// `bridge`, `veth`, ...; empty for hardware.
    pub(crate) kind: String,
    /// Its hardware address, where it has one of six bytes.
    pub(crate) mac: [u8; 6],
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    /// Index of the bridge of which it is a port.
    pub(crate) master: Option<u32>,
    /// Index of the link on which it is, in that one's namespace.
    pub(crate) parent: Option<u32>,
}

/// An IPv4 address of a link, or the destination of a route through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Net {
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
    /// Index of the link; 0 when a route names none.
    pub(crate) link: u32,
}

/// All IPv4 addresses of the host.
pub(crate) fn addresses(netlink: &Netlink) -> Result<Vec<Net>, Error> {
    list_addresses(netlink, 0)
}

/// The IPv4 addresses of a link. With a thousand links to look through they would cost as much as a start has for all.
pub(crate) fn addresses_of(netlink: &Netlink, link: u32) -> Result<Vec<Net>, Error> {
    let mut addresses = list_addresses(netlink, link)?;
    addresses.retain(|net| net.link == link);
    Ok(addresses)
}

fn list_addresses(netlink: &Netlink, link: u32) -> Result<Vec<Net>, Error> {
    let mut addresses = Vec::new();
    let message = RouteNetlinkMessage::GetAddress(address_message(link, None));
    netlink
        .exchange(Batch::default().route(DUMP, &message), |message| addresses.extend(parse_address(message)))
        .map_err(|refused| Error::List { objects: "addresses", source: refused.errno.into() })?;
    Ok(addresses)
}

/// The link called `name`.
pub(crate) fn link(netlink: &Netlink, name: &str) -> Result<Option<Link>, Errno> {
    let mut found = None;
    match netlink.exchange(Batch::default().route(ACK, &get_link(name)), |message| found = parse_link(message)) {
        Ok(()) => Ok(found),
        Err(Refused { errno: Errno::NODEV, .. }) => Ok(None),
        Err(refused) => Err(refused.errno),
    }
}

/// Makes the kernel finish changes of these links' carriers that it has noted but not yet acted upon, in this order: to
/// ask for a link does so (Linux 6.8 and later). Without that a new veth drops packets, and a bridge that got its first
/// port drops what the host sends, until a kernel worker gets round to it, and a lost ARP request costs a whole second.
pub(crate) fn settle_carriers(netlink: &Netlink, names: [&str; 2]) -> Result<(), Errno> {
    let mut batch = Batch::default();
    batch.route(ACK, &get_link(names[0])).route(ACK, &get_link(names[1]));
    netlink.exchange(&batch, |_| ()).map_err(|refused| refused.errno)
}

/// All links.
pub(crate) fn links(netlink: &Netlink) -> Result<Vec<Link>, Error> {
    let mut found = Vec::new();
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    netlink
        .exchange(Batch::default().route(DUMP, &RouteNetlinkMessage::GetLink(message)), |message| {
            found.extend(parse_link(message));
        })
        .map_err(|refused| Error::List { objects: "links", source: refused.errno.into() })?;
    Ok(found)
}

/// The destinations of all IPv4 routes of all tables; the default route is 0.0.0.0/0.
pub(crate) fn routes(netlink: &Netlink) -> Result<Vec<Net>, Error> {
    let mut found = Vec::new();
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    netlink
        .exchange(Batch::default().route(DUMP, &RouteNetlinkMessage::GetRoute(message)), |message| {
            found.extend(parse_route(message));
        })
        .map_err(|refused| Error::List { objects: "routes", source: refused.errno.into() })?;
    Ok(found)
}

/// Makes a bridge and brings it up. Its hardware address is fixed: else it would follow its ports' and change with them.
/// So is its MTU, which only a change of an existing bridge fixes: one that it was made with lasts until its last port
/// goes, and the next container would have Ethernet's on a narrower uplink. [net/bridge/br_if.c, br_mtu_auto_adjust]
/// It does not listen to who wants which multicast: without a router that asks for that it sends everything everywhere all
/// the same, but looks at all its ports whenever one of them changes. [net/bridge/br_stp.c, br_port_state_selection]
pub(crate) fn create_bridge(netlink: &Netlink, name: &str, mac: [u8; 6], mtu: u32) -> Result<(), Errno> {
    let mut message = up(LinkMessage::default());
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        LinkAttribute::Address(mac.to_vec()),
        LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Bridge),
            LinkInfo::Data(InfoData::Bridge(vec![InfoBridge::MulticastSnooping(false)])),
        ]),
    ];
    let mut fixed = LinkMessage::default();
    fixed.attributes = vec![LinkAttribute::IfName(name.to_owned()), LinkAttribute::Mtu(mtu)];
    // In one batch, so that nobody meets the bridge between the two.
    let mut batch = Batch::default();
    batch
        .route(ACK | CREATE | EXCLUSIVE, &RouteNetlinkMessage::NewLink(message))
        .route(ACK, &RouteNetlinkMessage::SetLink(fixed));
    netlink.exchange(&batch, |_| ()).map_err(|refused| refused.errno)
}

/// Brings a link up.
pub(crate) fn set_up(netlink: &Netlink, index: u32) -> Result<(), Errno> {
    one(netlink, ACK, &RouteNetlinkMessage::SetLink(up(by_index(index))))
}

/// Brings `lo` of the current namespace up.
pub(crate) fn loopback_up(netlink: &Netlink) -> Result<(), Errno> {
    set_up(netlink, LOOPBACK)
}

/// Gives a link an IPv4 address; it is no failure when it has it already.
pub(crate) fn add_address(netlink: &Netlink, net: Net) -> Result<(), Errno> {
    match one(netlink, ACK | CREATE | EXCLUSIVE, &RouteNetlinkMessage::NewAddress(address_of(net))) {
        Err(Errno::EXIST) => Ok(()),
        done => done,
    }
}

/// Gives a link an IPv6 address, at once: nobody else can have it. [IFA_F_NODAD]
pub(crate) fn add_address6(netlink: &Netlink, link: u32, address: Ipv6Addr, prefix: u8) -> Result<(), Errno> {
    match one(netlink, ACK | CREATE | EXCLUSIVE, &RouteNetlinkMessage::NewAddress(address6_of(link, address, prefix))) {
        Err(Errno::EXIST) => Ok(()),
        done => done,
    }
}

/// Waits until the kernel has done what it does for a new IPv6 address later, in a worker of its own: there is a route by
/// which packets for it are taken in, and before that it listens to who asks for it. When the machine is busy with links
/// that takes tens of milliseconds, and a lost question costs a whole second. [net/ipv6/addrconf.c, addrconf_dad_work]
pub(crate) fn settle_address6(netlink: &Netlink, address: Ipv6Addr) {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet6;
    message.header.destination_prefix_length = 128;
    message.attributes = vec![RouteAttribute::Destination(RouteAddress::Inet6(address))];
    let message = RouteNetlinkMessage::GetRoute(message);
    for pause in PAUSES {
        let mut is_local = false;
        let asked = netlink.exchange(Batch::default().route(ACK, &message), |message| {
            is_local |= message.kind == RTM_NEWROUTE && message.payload.get(7) == Some(&RTN_LOCAL);
        });
        // What answers no such question is not worth waiting for.
        if is_local || asked.is_err_and(|refused| refused.errno != Errno::NETUNREACH) {
            return;
        }
        std::thread::sleep(pause);
    }
}

/// How long it is waited for an address, some 400 ms in all.
const PAUSES: [Duration; 12] = {
    let mut pauses = [Duration::from_micros(100); 12];
    let mut nth = 1;
    while nth < pauses.len() {
        pauses[nth] = Duration::from_micros(100 << nth);
        nth += 1;
    }
    pauses
};

/// Lets what comes in by the link for ::1 be taken in, as `route_localnet` does for 127.0.0.1: a second route to ::1, after
/// that by `lo`. Only answers come so far that had another destination when they came: what is sent to ::1 by others the
/// kernel drops before it looks at any rule or route. [net/ipv6/ip6_input.c, ip6_rcv_core]
pub(crate) fn take_in_loopback6(netlink: &Netlink, link: u32) -> Result<(), Errno> {
    let mut route = RouteMessage::default();
    route.header = RouteHeader {
        address_family: AddressFamily::Inet6,
        destination_prefix_length: 128,
        table: RT_TABLE_LOCAL,
        protocol: RouteProtocol::Boot,
        scope: RouteScope::Universe,
        kind: RouteType::Local,
        ..RouteHeader::default()
    };
    let loopback = RouteAddress::Inet6(Ipv6Addr::LOCALHOST);
    route.attributes = vec![RouteAttribute::Destination(loopback), RouteAttribute::Oif(link)];
    // Beside those by other bridges.
    match one(netlink, ACK | CREATE | APPEND, &RouteNetlinkMessage::NewRoute(route)) {
        Err(Errno::EXIST) => Ok(()),
        done => done,
    }
}

/// The number by which this network namespace knows another one, which gets one if it has none. It is the same for as long
/// as the other one lives. [rtnetlink: RTM_NEWNSID]
pub(crate) fn number_of(netlink: &Netlink, netns: BorrowedFd<'_>) -> Result<i32, Errno> {
    let fd = netns.as_raw_fd().to_ne_bytes();
    let mut batch = Batch::default();
    batch.raw(RTM_NEWNSID, ACK, &[0; 4], |a| {
        a.put(NETNSA_FD, &fd).put(NETNSA_NSID, &(-1_i32).to_ne_bytes());
    });
    match netlink.exchange(&batch, |_| ()) {
        Ok(()) | Err(Refused { errno: Errno::EXIST, .. }) => {}
        Err(refused) => return Err(refused.errno),
    }
    let mut batch = Batch::default();
    batch.raw(RTM_GETNSID, ACK, &[0; 4], |a| {
        a.put(NETNSA_FD, &fd);
    });
    let mut found = None;
    netlink
        .exchange(&batch, |message| {
            let number = message.attributes(4).find(|(kind, _)| *kind == NETNSA_NSID);
            found = number.and_then(|(_, value)| read_u32(value, 0));
        })
        .map_err(|refused| refused.errno)?;
    found.map(u32::cast_signed).filter(|number| *number >= 0).ok_or(Errno::NOENT)
}

/// Removes the link that has an address, in another namespace known by its number. Where there is none, or the namespace is
/// gone, there is nothing to do.
pub(crate) fn delete_there(netlink: &Netlink, namespace: i32, address: Ipv4Addr) -> Result<(), Errno> {
    let namespace = namespace.to_ne_bytes();
    let mut list = Batch::default();
    list.raw(RTM_GETADDR, DUMP, &[AF_INET, 0, 0, 0, 0, 0, 0, 0], |a| {
        a.put(IFA_TARGET_NETNSID, &namespace);
    });
    let mut index = None;
    let listed = netlink.exchange(&list, |message| {
        let found = parse_address(message).filter(|net| net.address == address);
        index = index.or(found.map(|net| net.link));
    });
    match listed {
        Ok(()) => {}
        Err(Refused { errno: Errno::INVAL | Errno::NOENT, .. }) => return Ok(()),
        Err(refused) => return Err(refused.errno),
    }
    let Some(index) = index else { return Ok(()) };
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut delete = Batch::default();
    delete.raw(RTM_DELLINK, ACK, &header, |a| {
        a.put(IFLA_TARGET_NETNSID, &namespace);
    });
    match netlink.exchange(&delete, |_| ()) {
        Ok(()) | Err(Refused { errno: Errno::NODEV, .. }) => Ok(()),
        Err(refused) => Err(refused.errno),
    }
}

/// Removes a link by name; it is no failure when there is none.
pub(crate) fn delete_link(netlink: &Netlink, name: &str) -> Result<(), Error> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    match one(netlink, ACK, &RouteNetlinkMessage::DelLink(message)) {
        Ok(()) | Err(Errno::NODEV) => Ok(()),
        Err(errno) => Err(Error::Remove { link: name.to_owned(), source: Cause::from(errno) }),
    }
}

pub(crate) fn one(netlink: &Netlink, flags: u16, message: &RouteNetlinkMessage) -> Result<(), Errno> {
    netlink.exchange(Batch::default().route(flags, message), |_| ()).map_err(|refused| refused.errno)
}

pub(crate) fn get_link(name: &str) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![
        LinkAttribute::IfName(name.to_owned()),
        // Counters of all processors would have to be summed up.
        LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]),
    ];
    RouteNetlinkMessage::GetLink(message)
}

pub(crate) fn by_index(index: u32) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message
}

pub(crate) fn up(mut message: LinkMessage) -> LinkMessage {
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    message
}

fn address_message(index: u32, net: Option<Net>) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.index = index;
    message.header.prefix_len = net.map_or(0, |net| net.prefix);
    message
}

pub(crate) fn address_of(net: Net) -> AddressMessage {
    let mut message = address_message(net.link, Some(net));
    let hosts = u32::MAX.checked_shr(net.prefix.into()).unwrap_or(0);
    message.attributes = vec![
        AddressAttribute::Local(IpAddr::V4(net.address)),
        AddressAttribute::Address(IpAddr::V4(net.address)),
        AddressAttribute::Broadcast(Ipv4Addr::from_bits(net.address.to_bits() | hosts)),
    ];
    message
}

pub(crate) fn address6_of(link: u32, address: Ipv6Addr, prefix: u8) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.index = link;
    message.header.prefix_len = prefix;
    message.attributes = vec![
        AddressAttribute::Local(IpAddr::V6(address)),
        AddressAttribute::Address(IpAddr::V6(address)),
        AddressAttribute::Flags(AddressFlags::Nodad),
    ];
    message
}

// Kernel numbers of the messages and attributes that are read. [linux/rtnetlink.h, if_link.h, if_addr.h]
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const RTM_NEWNSID: u16 = 88;
const RTM_GETNSID: u16 = 90;
const RTN_LOCAL: u8 = 2;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_LINK: u16 = 5;
const IFLA_TARGET_NETNSID: u16 = 46;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
const IFA_TARGET_NETNSID: u16 = 10;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const AF_INET: u8 = 2;
/// A route the kernel has for each address of its own; the addresses are looked at themselves.
const RT_TABLE_LOCAL: u8 = 255;

pub(crate) fn parse_link(message: &Message) -> Option<Link> {
    if message.kind != RTM_NEWLINK {
        return None;
    }
    let mut link = Link {
        index: read_u32(message.payload, 4)?,
        up: read_u32(message.payload, 8)? & LinkFlags::Up.bits() != 0,
        ..Link::default()
    };
    for (kind, value) in message.attributes(16) {
        match kind {
            IFLA_IFNAME => link.name = wire::text(value).to_owned(),
            IFLA_ADDRESS => link.mac = value.try_into().unwrap_or_default(),
            IFLA_MTU => link.mtu = read_u32(value, 0)?,
            IFLA_MASTER => link.master = read_u32(value, 0),
            IFLA_LINK => link.parent = read_u32(value, 0),
            IFLA_LINKINFO => {
                let kind = wire::attributes(value).find(|(kind, _)| *kind == IFLA_INFO_KIND);
                link.kind = kind.map_or_else(String::new, |(_, value)| wire::text(value).to_owned());
            }
            _ => {}
        }
    }
    Some(link)
}

fn parse_address(message: &Message) -> Option<Net> {
    if message.kind != RTM_NEWADDR || *message.payload.first()? != AF_INET {
        return None;
    }
    let (prefix, link) = (*message.payload.get(1)?, read_u32(message.payload, 4)?);
    // IFA_ADDRESS is the other side's on a point-to-point link, where IFA_LOCAL is our own.
    let of_kind = |wanted| message.attributes(8).find(|(kind, _)| *kind == wanted).and_then(|(_, value)| ipv4(value));
    Some(Net { address: of_kind(IFA_LOCAL).or_else(|| of_kind(IFA_ADDRESS))?, prefix, link })
}

fn parse_route(message: &Message) -> Option<Net> {
    let header = message.payload.get(..12)?;
    if message.kind != RTM_NEWROUTE || header[0] != AF_INET || header[4] == RT_TABLE_LOCAL {
        return None;
    }
    let mut route = Net { address: Ipv4Addr::UNSPECIFIED, prefix: header[1], link: 0 };
    for (kind, value) in message.attributes(12) {
        match kind {
            RTA_DST => route.address = ipv4(value)?,
            RTA_OIF => route.link = read_u32(value, 0)?,
            _ => {}
        }
    }
    Some(route)
}

fn ipv4(value: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncated_replies_are_no_objects() {
        let mut batch = Batch::default();
        let mut link = by_index(7);
        link.attributes = vec![LinkAttribute::IfName("br0".into()), LinkAttribute::Mtu(1400)];
        batch.route(0, &RouteNetlinkMessage::NewLink(up(link)));
        let net = Net { address: Ipv4Addr::new(172, 17, 0, 1), prefix: 16, link: 7 };
        batch.route(0, &RouteNetlinkMessage::NewAddress(address_of(net)));
        let whole: Vec<Message> = wire::messages(batch.bytes()).collect();
        let expected = Link { index: 7, name: "br0".into(), mtu: 1400, up: true, ..Link::default() };
        assert_eq!(parse_link(&whole[0]), Some(expected));
        assert_eq!(parse_address(&whole[1]), Some(net));
        assert_eq!(parse_link(&whole[1]), None);
        for message in whole {
            for length in 0..message.payload.len() {
                let cut = Message { payload: &message.payload[..length], ..message };
                let _ = (parse_link(&cut), parse_address(&cut));
                let _ = parse_route(&Message { kind: RTM_NEWROUTE, ..cut });
            }
        }
    }
}
