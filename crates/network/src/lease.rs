//! What a container asks of a network, and what it gets.

use crate::bridge::mac_of;
use crate::cable::Share;
use crate::cidr::Cidr;
use crate::config::{Config, Pool6};
use crate::owner::Owner;
use crate::resolver::HostResolver;
use crate::subnet::Pool;
use crate::tag::Tag;
use netlink_packet_route::link::IpVlanMode;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A container's wish to be on a network.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The network.
    pub network: &'a Config,
    /// The container's id: 64 hex digits.
    pub container: &'a str,
    /// To whose life the lease is bound.
    pub owner: Owner,
    /// How the host resolves names.
    pub host: &'a HostResolver,
    /// The address that it wants; none is any.
    pub address: Option<Ipv4Addr>,
    /// Its hardware address; none is made from the other one.
    pub mac: Option<[u8; 6]>,
    /// How others on the network find it, where names are told.
    pub names: &'a [String],
    /// Whom to ask for other names, in place of those that the host asks.
    pub servers: &'a [IpAddr],
    /// Its link there is `eth` and this number.
    pub nth: u8,
    /// What is nowhere else is this way.
    pub is_way_out: bool,
    /// The subnets of all networks that people made, in use or not: the default one goes where none of them is. Asked only
    /// when it has no place yet.
    pub made: fn() -> Vec<Cidr>,
}

/// A container's address on a network and what [`Network::connect`] needs to give it to the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The container's id: 64 hex digits.
    pub container: String,
    /// The network.
    pub network: Tag,
    /// Its IPv4 address.
    pub address: Ipv4Addr,
    /// Bits of the subnet's mask.
    pub prefix: u8,
    /// The bridge's address: the container's default route.
    pub gateway: Ipv4Addr,
    /// Its IPv6 address, and the network's subnet of that.
    pub six: Option<(Ipv6Addr, Pool6)>,
    /// Hardware address of its link, by custom made from the address.
    pub mac: [u8; 6],
    /// The container's link: eth0.
    pub interface: String,
    /// What is nowhere else is this way.
    pub is_way_out: bool,
    /// Nothing leads out of the network, or in.
    pub internal: bool,
    /// Names are told on this network, at its gateway.
    pub has_names: bool,
    /// What joins the two.
    pub(crate) cable: Cable,
    /// Something about this host that may break the network and that we cannot mend, for the person to read.
    pub warning: Option<String>,
}

impl Lease {
    /// The host is the gateway of the network.
    pub fn is_behind_bridge(&self) -> bool {
        matches!(self.cable, Cable::Veth { .. })
    }

    /// Everything is reached without a gateway: the host's link routes by itself.
    pub(crate) fn is_beyond_gateways(&self) -> bool {
        let is_routed = |share: &Share| matches!(share, Share::Ipvlan(IpVlanMode::L3 | IpVlanMode::L3S));
        matches!(&self.cable, Cable::Shared { share, .. } if is_routed(share))
    }
}

/// What joins a container to its network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cable {
    /// A veth pair whose other end is a port of the bridge.
    Veth { link: String, bridge: String, bridge_index: u32, mtu: u32 },
    /// A link on one of the host's.
    Shared { parent: u32, share: Share, mtu: Option<u32> },
}

/// The lease of an address.
pub(crate) fn leased(request: &Request<'_>, pool: &Pool, address: Ipv4Addr, cable: Cable) -> Lease {
    Lease {
        container: request.container.to_owned(),
        network: pool.network,
        address,
        prefix: pool.subnet.prefix,
        gateway: pool.subnet.gateway,
        six: request.network.ipv6.map(|six| (six.beside(address, pool.subnet.network()), six)),
        mac: request.mac.unwrap_or_else(|| mac_of(address)),
        interface: format!("eth{}", request.nth),
        is_way_out: request.is_way_out && !request.network.internal,
        internal: request.network.internal,
        has_names: false,
        cable,
        warning: None,
    }
}
