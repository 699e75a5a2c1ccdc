//! Which subnets are free: what the host uses, and where a new network goes that nobody chose a place for.
//!
//! 172.17.0.0/16 is left to the default network. The candidates are Docker's, so that whoever knows where those are
//! knows where these are.

use crate::cidr::Cidr;
use crate::config::Pool4;
use crate::error::Error;
use crate::route::{self, Link, Net};
use crate::socket::Netlink;
use crate::subnet::{self, Subnet};
use crate::wire::{self, Batch, DUMP, read_u32};
use crate::{BRIDGE, LINK_PREFIX};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A subnet that the host uses: of an address, or the destination of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// Which.
    pub subnet: Cidr,
    /// Name of the link; empty when a route names none.
    pub link: String,
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.link.as_str() {
            "" => write!(f, "{}, a route of this host", self.subnet),
            link => write!(f, "{}, which this host reaches through {link}", self.subnet),
        }
    }
}

/// Everything that the host uses, of both families. Default routes are not among it, neither as VPNs write them (two
/// halves of everything), nor link-local and multicast addresses: a network clashes with none of these.
pub fn used_by_host() -> Result<Vec<Used>, Error> {
    let netlink = Netlink::route()?;
    let links = route::links(&netlink)?;
    let mut found: Vec<(Cidr, u32)> = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let (mut addresses, mut routes) = (AddressMessage::default(), RouteMessage::default());
        addresses.header.family = family;
        routes.header.address_family = family;
        // One after the other: a socket lists one thing at a time.
        for dump in [RouteNetlinkMessage::GetAddress(addresses), RouteNetlinkMessage::GetRoute(routes)] {
            let listed = netlink.exchange(Batch::default().route(DUMP, &dump), |message| {
                found.extend(parse_address(message).or_else(|| parse_route(message)));
            });
            match listed {
                Ok(()) => {}
                // A kernel without IPv6 uses none of it.
                Err(_) if family == AddressFamily::Inet6 => {}
                Err(refused) => {
                    return Err(Error::List { objects: "addresses and routes", source: refused.errno.into() });
                }
            }
        }
    }
    let name = |index: u32| links.iter().find(|link| link.index == index).map(|link| link.name.clone());
    let meant = found.into_iter().filter(|(subnet, _)| can_clash(subnet));
    let mut used: Vec<Used> = Vec::new();
    for (subnet, index) in meant {
        let one = Used { subnet, link: name(index).unwrap_or_default() };
        if !used.contains(&one) {
            used.push(one);
        }
    }
    Ok(used)
}

fn can_clash(subnet: &Cidr) -> bool {
    let is_everything = subnet.prefix() <= 1;
    let is_special = match subnet.first() {
        IpAddr::V4(first) => first.is_loopback() || first.is_multicast(),
        IpAddr::V6(first) => first.is_multicast() || first.is_unicast_link_local() || first.is_loopback(),
    };
    !is_everything && !is_special
}

/// The first of 172.18.0.0/16 to 172.31.0.0/16 and then 192.168.0.0/20 to 192.168.240.0/20 that overlaps none of these.
pub fn free_ipv4(used: &[Cidr]) -> Option<Cidr> {
    let wide = (18..=31).map(|second| Cidr::new(Ipv4Addr::new(172, second, 0, 0).into(), 16));
    let narrow = (0..=15_u8).map(|third| Cidr::new(Ipv4Addr::new(192, 168, third << 4, 0).into(), 20));
    wide.chain(narrow).find(|candidate| !used.iter().any(|one| one.overlaps(candidate)))
}

/// A /64 of the addresses that everybody may use at home: fd, and 56 bits that are to be random. [RFC 4193]
pub fn local_ipv6(random: [u8; 7]) -> Cidr {
    let [a, b, c, d, e, f, g] = random;
    let octets = [0xfd, a, b, c, d, e, f, g, 0, 0, 0, 0, 0, 0, 0, 0];
    Cidr::new(Ipv6Addr::from(octets).into(), 64)
}

/// The default network's addresses: those that its bridge has now, or would get now beside networks with the subnets `made`.
pub fn default_pool(made: fn() -> Vec<Cidr>) -> Result<Pool4, Error> {
    let netlink = Netlink::route()?;
    let link = link_of(&netlink, BRIDGE)?;
    let own = link.map_or(Ok(Vec::new()), |link| route::addresses_of(&netlink, link.index))?.first().copied();
    let subnet = match own {
        Some(net) => Subnet { gateway: net.address, prefix: net.prefix },
        None => {
            let used = [route::addresses(&netlink)?, route::routes(&netlink)?, beyond()].concat();
            subnet::choose(BRIDGE, None, &used, &made())?
        }
    };
    Ok(Pool4 { subnet: subnet.network(), prefix: subnet.prefix, gateway: subnet.gateway, range: None })
}

/// What the host uses of IPv4 where the bridges are not on it but in a network namespace that this thread was moved to: its
/// process is still on the host. Nothing where the bridges are the host's own. [proc_pid_net(5): a process's files are of
/// the namespace of its first thread; Documentation/networking/fib_trie.rst]
pub(crate) fn beyond() -> Vec<Net> {
    let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).ok();
    if namespace("self") == namespace("thread-self") {
        return Vec::new();
    }
    parse_trie(&std::fs::read_to_string("/proc/self/net/fib_trie").unwrap_or_default())
}

/// The leaves of the tree of routes, among which are the addresses: `|-- ADDRESS`, and below it `/PREFIX SCOPE TYPE` for each.
fn parse_trie(text: &str) -> Vec<Net> {
    let mut leaf: Option<Ipv4Addr> = None;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim_start) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.trim().parse().ok();
        } else if let (Some(address), Some(rest)) = (leaf, line.strip_prefix('/'))
            && let Some(prefix) = rest.split(' ').next().and_then(|prefix| prefix.parse().ok())
        {
            let net = Net { address, prefix, link: 0 };
            if !found.contains(&net) {
                found.push(net);
            }
        }
    }
    found
}

/// Whether there is a link of this name on the host.
pub fn has_link(name: &str) -> Result<bool, Error> {
    Ok(link_of(&Netlink::route()?, name)?.is_some())
}

fn link_of(netlink: &Netlink, name: &str) -> Result<Option<Link>, Error> {
    route::link(netlink, name).map_err(|errno| Error::List { objects: "links", source: errno.into() })
}

/// Whether a link of this name is, or could be, a container's on the host.
pub fn is_veth_name(name: &str) -> bool {
    let digits = name.strip_prefix(LINK_PREFIX);
    digits.is_some_and(|digits| digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

// As in `route`, for both families.
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RT_TABLE_LOCAL: u8 = 255;

fn parse_address(message: &wire::Message) -> Option<(Cidr, u32)> {
    if message.kind != RTM_NEWADDR {
        return None;
    }
    let (prefix, link) = (*message.payload.get(1)?, read_u32(message.payload, 4)?);
    let of_kind = |wanted| message.attributes(8).find(|(kind, _)| *kind == wanted).and_then(|(_, value)| ip(value));
    let address = of_kind(IFA_LOCAL).or_else(|| of_kind(IFA_ADDRESS))?;
    Some((Cidr::new(address, prefix), link))
}

fn parse_route(message: &wire::Message) -> Option<(Cidr, u32)> {
    let header = message.payload.get(..12)?;
    if message.kind != RTM_NEWROUTE || header[4] == RT_TABLE_LOCAL {
        return None;
    }
    let of_kind = |wanted| message.attributes(12).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let link = of_kind(RTA_OIF).and_then(|value| read_u32(value, 0)).unwrap_or(0);
    Some((Cidr::new(ip(of_kind(RTA_DST)?)?, header[1]), link))
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(<[u8; 4]>::try_from(value).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(value).ok()?.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidrs(texts: &[&str]) -> Vec<Cidr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_first_free_one_is_given() {
        for (name, used, expected) in [
            ("nothing used", &[][..], Some("172.18.0.0/16")),
            ("the default network's", &["172.17.0.0/16"], Some("172.18.0.0/16")),
            ("one host of it", &["172.18.3.4/32"], Some("172.19.0.0/16")),
            ("a wide one", &["172.16.0.0/13"], Some("172.24.0.0/16")),
            ("all of the first", &["172.16.0.0/12"], Some("192.168.0.0/20")),
            ("and somebody's home", &["172.16.0.0/12", "192.168.0.0/24", "192.168.17.0/24"], Some("192.168.32.0/20")),
            (
                "all but the last",
                &["172.16.0.0/12", "192.168.0.0/17", "192.168.128.0/18", "192.168.192.0/19", "192.168.224.0/20"],
                Some("192.168.240.0/20"),
            ),
            ("all", &["172.16.0.0/12", "192.168.0.0/16"], None),
            ("IPv6 does not count", &["::/0"], Some("172.18.0.0/16")),
        ] {
            assert_eq!(free_ipv4(&cidrs(used)).map(|free| free.to_string()).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn what_can_clash() {
        for (subnet, expected) in [
            ("10.0.0.0/8", true),
            ("0.0.0.0/0", false),
            ("128.0.0.0/1", false),
            ("127.0.0.0/8", false),
            ("169.254.0.0/16", true),
            ("fe80::/64", false),
            ("ff00::/8", false),
            ("::1/128", false),
            ("2000::/3", true),
            ("fd00::/64", true),
        ] {
            assert_eq!(can_clash(&subnet.parse().unwrap()), expected, "{subnet}");
        }
    }

    #[test]
    fn routes_are_the_leaves_of_the_kernels_tree() {
        let text = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 172.16.0.0/12 2 0 2\n        \
                    |-- 172.18.0.0\n           /16 link UNICAST\n           /15 universe UNREACHABLE\nLocal:\n  \
                    +-- 0.0.0.0/0 3 0 5\n     |-- 172.18.5.1\n        /32 host LOCAL\n     |-- x\n        /8 host LOCAL\n";
        let shown: Vec<_> = parse_trie(text).iter().map(|net| format!("{}/{}", net.address, net.prefix)).collect();
        assert_eq!(shown, ["0.0.0.0/0", "172.18.0.0/16", "172.18.0.0/15", "172.18.5.1/32"]);
        // What the kernel of this machine says is understood: loopback is always there.
        let here = parse_trie(&std::fs::read_to_string("/proc/self/net/fib_trie").unwrap());
        assert!(here.iter().any(|net| net.address == Ipv4Addr::new(127, 0, 0, 1) && net.prefix == 32), "{here:?}");
    }

    #[test]
    fn a_local_subnet_has_all_that_is_random() {
        assert_eq!(local_ipv6([1, 2, 3, 4, 5, 6, 7]).to_string(), "fd01:203:405:607::/64");
    }

    #[test]
    fn truncated_replies_are_no_subnets() {
        let mut batch = Batch::default();
        let mut message = AddressMessage::default();
        message.header.prefix_len = 64;
        let address: IpAddr = "fd00::1".parse().unwrap();
        message.attributes = vec![netlink_packet_route::address::AddressAttribute::Address(address)];
        batch.route(0, &RouteNetlinkMessage::NewAddress(message));
        let whole = wire::messages(batch.bytes()).next().unwrap();
        assert_eq!(parse_address(&whole).unwrap().0.to_string(), "fd00::/64");
        for length in 0..whole.payload.len() {
            let cut = wire::Message { payload: &whole.payload[..length], ..whole };
            let _ = (parse_address(&cut), parse_route(&wire::Message { kind: RTM_NEWROUTE, ..cut }));
        }
    }
}
