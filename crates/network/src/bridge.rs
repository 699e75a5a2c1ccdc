//! The bridge: found, or made with a subnet that the host does not use.

use crate::BRIDGE;
use crate::error::{Cause, Error};
use crate::route::{self, Link, Net};
use crate::socket::Netlink;
use crate::subnet::{self, Subnet};
use std::net::Ipv4Addr;
use step::step;

/// The bridge as it is now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bridge {
    pub(crate) index: u32,
    pub(crate) mtu: u32,
    pub(crate) subnet: Subnet,
}

/// Links of Ethernet carry this; a tunnel or a cloud's network carries less, which the containers must know.
const ETHERNET_MTU: u32 = 1500;

/// Finds the bridge, or makes what is missing of it.
pub(crate) fn ensure(netlink: &Netlink) -> Result<Bridge, Error> {
    let (link, addresses) = route::link_and_addresses(netlink, BRIDGE)?;
    let found = link.map(|link| if link.kind == "bridge" { Ok(link) } else { Err(Error::NotABridge { name: BRIDGE }) });
    let found = found.transpose()?;
    let own = found.as_ref().and_then(|link| addresses.iter().find(|net| net.link == link.index));
    if let (Some(link), Some(net)) = (&found, own)
        && link.up
    {
        return Ok(Bridge {
            index: link.index,
            mtu: link.mtu,
            subnet: Subnet { gateway: net.address, prefix: net.prefix },
        });
    }
    let routes = route::routes(netlink)?;
    let subnet = match own {
        Some(net) => Subnet { gateway: net.address, prefix: net.prefix },
        None => {
            let used: Vec<Net> = addresses.iter().chain(&routes).copied().collect();
            subnet::choose(BRIDGE, found.as_ref().map(|link| link.index), &used)?
        }
    };
    let link = match found {
        Some(link) => link,
        None => create(netlink, subnet.gateway, uplink_mtu(netlink, &routes)?)?,
    };
    address(netlink, &link, subnet)?;
    Ok(Bridge { index: link.index, mtu: link.mtu, subnet })
}

fn create(netlink: &Netlink, gateway: Ipv4Addr, mtu: u32) -> Result<Link, Error> {
    let fail = |errno| Error::Bridge { name: BRIDGE, source: Cause::of(errno, "bridge") };
    step(
        "create-bridge",
        "the containers' switch, and their way to the host",
        || format!("bridge {BRIDGE}, MTU {mtu}"),
        || {
            route::create_bridge(netlink, BRIDGE, mac_of(gateway), mtu).map_err(fail)?;
            route::link(netlink, BRIDGE).map_err(fail)?.ok_or(fail(rustix::io::Errno::NODEV))
        },
    )
}

fn address(netlink: &Netlink, link: &Link, subnet: Subnet) -> Result<(), Error> {
    let Subnet { gateway: address, prefix } = subnet;
    let fail = |errno| Error::BridgeAddress { name: BRIDGE, address, prefix, source: Cause::from(errno) };
    step(
        "address-bridge",
        "the host is the containers' gateway; the host uses this subnet for nothing else",
        || format!("{address}/{prefix} on {BRIDGE}"),
        || {
            route::add_address(netlink, Net { address, prefix, link: link.index }).map_err(fail)?;
            route::set_up(netlink, link.index).map_err(fail)
        },
    )
}

/// The MTU of the link of the default route when it is less than Ethernet's. Without a default route, Ethernet's.
fn uplink_mtu(netlink: &Netlink, routes: &[Net]) -> Result<u32, Error> {
    let Some(uplink) = routes.iter().find(|route| route.prefix == 0 && route.link != 0) else {
        return Ok(ETHERNET_MTU);
    };
    let mtu = route::links(netlink)?.iter().find(|link| link.index == uplink.link).map(|link| link.mtu);
    // 1280 is the least that IPv6 works with.
    Ok(mtu.unwrap_or(ETHERNET_MTU).clamp(1280, ETHERNET_MTU))
}

/// The hardware address of whoever has this IPv4 address: made from it, so that no neighbour's cache ever goes stale
/// when an address gets another owner. 02 marks it as locally administered; Docker does the same.
pub(crate) fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}
