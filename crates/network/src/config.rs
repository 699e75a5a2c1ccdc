//! A network as it was created: what lasts. Where it is kept is the engine's matter.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network that a person has made, and what was chosen where the person was silent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// 64 lower-case hex digits.
    pub id: String,
    /// Its name; no two networks have the same.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// What joins its containers.
    pub driver: Driver,
    /// Its addresses of IPv4.
    pub ipv4: Pool4,
    /// Its addresses of IPv6; none has no IPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Pool6>,
    /// Nothing leads out of it, or in.
    pub internal: bool,
    /// What leaves it keeps the containers' addresses, which the routers around have to know.
    pub routed: bool,
    /// Largest packet; none is the uplink's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The link of the host that macvlan and ipvlan share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Of macvlan bridge, private, vepa or passthru; of ipvlan l2, l3 or l3s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The bridge's name on the host; none is made from the id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<String>,
    /// Addresses that are not given out, by the name of who has them outside: `--aux-address`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub aux: BTreeMap<String, IpAddr>,
    /// Docker's word of overlay networks, of which there are none here: it is kept for `inspect`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub attachable: bool,
    /// No names are told on it.
    pub no_names: bool,
    /// What its containers send each other all goes through the bridge, where rules of the host's may see it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_shortcut: bool,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The options of the driver as they were typed, for `inspect`.
    pub options: BTreeMap<String, String>,
}

/// What joins the containers of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge of the host's, with a veth pair for each container.
    #[default]
    Bridge,
    /// Links of their own hardware address on a link of the host's.
    Macvlan,
    /// Links on a link of the host's, with its hardware address.
    Ipvlan,
}

impl Driver {
    /// The driver by its name.
    pub fn from_name(name: &str) -> Option<Driver> {
        match name {
            "bridge" => Some(Driver::Bridge),
            "macvlan" => Some(Driver::Macvlan),
            "ipvlan" => Some(Driver::Ipvlan),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Driver::Bridge => "bridge",
            Driver::Macvlan => "macvlan",
            Driver::Ipvlan => "ipvlan",
        }
    }
}

impl Config {
    /// The addresses of IPv4 that no container gets by itself: one of IPv6 keeps the one that it would be beside.
    pub fn reserved(&self) -> Vec<Ipv4Addr> {
        let beside = |address: &IpAddr| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(address) => self.ipv6?.beneath(*address, &self.ipv4),
        };
        self.aux.values().filter_map(beside).collect()
    }
}

/// Addresses of IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool4 {
    /// The subnet's first address.
    pub subnet: Ipv4Addr,
    /// Bits of its mask.
    pub prefix: u8,
    /// The bridge's own address, or that of the router on the parent's network.
    pub gateway: Ipv4Addr,
    /// The part of it that is given out: first address and bits; none is all of it. `--ip` may ask for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<(Ipv4Addr, u8)>,
}

impl Default for Pool4 {
    fn default() -> Pool4 {
        let (subnet, gateway) = (Ipv4Addr::new(172, 17, 0, 0), Ipv4Addr::new(172, 17, 0, 1));
        Pool4 { subnet, prefix: 16, gateway, range: None }
    }
}

/// Addresses of IPv6. A container has as many from the subnet's start as its address of IPv4 is from its own's: so one
/// lease gives both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool6 {
    /// The subnet's first address.
    pub subnet: Ipv6Addr,
    /// Bits of its mask.
    pub prefix: u8,
    /// The bridge's own address.
    pub gateway: Ipv6Addr,
}

impl Pool6 {
    /// The subnet with this gateway.
    pub fn around(gateway: Ipv6Addr, prefix: u8) -> Pool6 {
        let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0);
        Pool6 { subnet: Ipv6Addr::from_bits(gateway.to_bits() & mask), prefix, gateway }
    }

    /// The address of IPv4 that one of this subnet belongs to; none where it stands beyond the last of them.
    pub fn beneath(&self, address: Ipv6Addr, ipv4: &Pool4) -> Option<Ipv4Addr> {
        let nth = address.to_bits().checked_sub(self.subnet.to_bits())?;
        let hosts = u32::MAX.checked_shr(ipv4.prefix.into()).unwrap_or(0);
        let nth = u32::try_from(nth).ok().filter(|nth| *nth <= hosts)?;
        Some(Ipv4Addr::from_bits(ipv4.subnet.to_bits() | nth))
    }

    /// The address that belongs to one of IPv4 in this subnet.
    pub fn beside(&self, address: Ipv4Addr, network: Ipv4Addr) -> Ipv6Addr {
        let nth = address.to_bits().wrapping_sub(network.to_bits());
        Ipv6Addr::from_bits(self.subnet.to_bits().wrapping_add(nth.into()))
    }
}
