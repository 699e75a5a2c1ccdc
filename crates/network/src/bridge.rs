//! A network's bridge: found, or made; the default one with a subnet that the host does not use.

use crate::cidr::Cidr;
use crate::config::{Config, Pool6};
use crate::error::{Cause, Error};
use crate::free;
use crate::route::{self, Link, Net};
use crate::shortcut;
use crate::socket::Netlink;
use crate::subnet::{self, Subnet};
use crate::sysctl;
use crate::uses::Use;
use std::net::{Ipv4Addr, Ipv6Addr};
use step::step;

/// A bridge as it shall be, and what there is of it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) subnet: Subnet,
    six: Option<Pool6>,
    /// What it gets when it is made.
    mtu: u32,
    /// Its containers reach each other past it, where the kernel can.
    has_shortcut: bool,
    pub(crate) found: Option<Link>,
    /// Up, with all its addresses.
    is_ready: bool,
}

/// The bridge as it is now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bridge {
    pub(crate) index: u32,
    pub(crate) mtu: u32,
}

/// Links of Ethernet carry this; a tunnel or a cloud's network carries less, which the containers must know.
const ETHERNET_MTU: u32 = 1500;

/// The address of each bridge that has IPv6 on its own link.
const LINK_LOCAL: (Ipv6Addr, u8) = (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), 64);
/// `IN6_ADDR_GEN_MODE_NONE`.
const NO_ADDRESS: &str = "1";

/// Looks at the bridge of a network. Changes nothing. `made` are the subnets of all networks that people made.
pub(crate) fn plan(netlink: &Netlink, config: &Config, made: fn() -> Vec<Cidr>) -> Result<Plan, Error> {
    let name = config.bridge_name();
    let fail = |errno: rustix::io::Errno| Error::List { objects: "links", source: errno.into() };
    let link = route::link(netlink, &name).map_err(fail)?;
    let found =
        link.map(|link| if link.kind == "bridge" { Ok(link) } else { Err(Error::NotABridge { name: name.clone() }) });
    let found = found.transpose()?;
    let pool = config.ipv4;
    let has_shortcut = !config.no_shortcut;
    // A bridge whose name a person chose may be another's, who would lose it when the network is idle.
    if let (Some(Link { mac, .. }), Some(_)) = (&found, &config.bridge)
        && *mac != mac_of(pool.gateway)
    {
        return Err(Error::NotOurs { name, network: config.name.clone() });
    }
    let fixed = (!config.is_default()).then_some(Subnet { gateway: pool.gateway, prefix: pool.prefix });
    let of_found = found.as_ref().map_or(Ok(Vec::new()), |link| route::addresses_of(netlink, link.index))?;
    let mut own = of_found.iter().map(|net| Subnet { gateway: net.address, prefix: net.prefix });
    let own = own.find(|own| fixed.is_none_or(|wanted| wanted == *own));
    let is_up = found.as_ref().is_some_and(|link| link.up);
    // Who sets it down takes this one away, and who sets it up again does not bring it back.
    let has_six = config.ipv6.is_none_or(|six| addresses6().contains(&six.gateway));
    if let (true, true, Some(subnet)) = (is_up, has_six, own) {
        return Ok(Plan { name, subnet, six: config.ipv6, mtu: ETHERNET_MTU, has_shortcut, found, is_ready: true });
    }
    let (addresses, routes) = (route::addresses(netlink)?, route::routes(netlink)?);
    let subnet = match own.or(fixed) {
        Some(subnet) => subnet,
        None => {
            let used: Vec<Net> = addresses.iter().chain(&routes).copied().chain(free::beyond()).collect();
            subnet::choose(&name, found.as_ref().map(|link| link.index), &used, &made())?
        }
    };
    if found.is_none() && fixed.is_some() {
        // Not `beyond`: there it is in the way of one network only, and root may have come there later.
        is_free(config, subnet, addresses.iter().chain(&routes))?;
    }
    let mtu = match config.mtu {
        Some(mtu) => mtu,
        None => uplink_mtu(netlink, &routes)?,
    };
    Ok(Plan { name, subnet, six: config.ipv6, mtu, has_shortcut, found, is_ready: false })
}

/// The plan of a bridge that was there and that somebody has deleted: as it was, with the MTU that its cables have.
pub(crate) fn again(one: &Use, mtu: u32, has_shortcut: bool) -> Plan {
    Plan { name: one.bridge.clone(), subnet: one.subnet, six: one.six, mtu, has_shortcut, found: None, is_ready: false }
}

/// This host's addresses of IPv6. [proc_net(5), if_inet6]
pub(crate) fn addresses6() -> Vec<Ipv6Addr> {
    let listed = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    let digits = listed.lines().filter_map(|line| u128::from_str_radix(line.split(' ').next()?, 16).ok());
    digits.map(Ipv6Addr::from_bits).collect()
}

/// Whether the host still uses the subnet of a network for nothing else.
fn is_free<'a>(config: &Config, subnet: Subnet, mut used: impl Iterator<Item = &'a Net>) -> Result<(), Error> {
    match used.find(|net| subnet::is_clash(&subnet, net)) {
        None => Ok(()),
        Some(net) => Err(Error::SubnetTaken {
            name: config.name.clone(),
            network: subnet.network(),
            prefix: subnet.prefix,
            by: format!("{}/{}", net.address, net.prefix),
        }),
    }
}

/// Makes what is missing of it.
pub(crate) fn make(netlink: &Netlink, plan: &Plan) -> Result<Bridge, Error> {
    let link = match &plan.found {
        Some(link) => link.clone(),
        None => create(netlink, plan)?,
    };
    if !plan.is_ready {
        address(netlink, &link, plan)?;
    }
    Ok(Bridge { index: link.index, mtu: link.mtu })
}

fn create(netlink: &Netlink, plan: &Plan) -> Result<Link, Error> {
    let Plan { name, subnet, six, mtu, has_shortcut, .. } = plan;
    let fail = |errno| Error::Bridge { name: name.clone(), source: Cause::of(errno, "bridge") };
    let link = step(
        "create-bridge",
        "the containers' switch, and their way to the host",
        || format!("bridge {name}, MTU {mtu}"),
        || {
            route::create_bridge(netlink, name, mac_of(subnet.gateway), *mtu).map_err(fail)?;
            if six.is_none() {
                // A network of IPv4. With link-local addresses alone nobody is reached, but a container could pose as the
                // host's router [CVE-2020-13401], and what each tells of itself goes to all others: with a thousand of
                // them that is most of what a start costs.
                let _ = sysctl::set(&format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
            }
            route::link(netlink, name).map_err(fail)?.ok_or(fail(rustix::io::Errno::NODEV))
        },
    )?;
    if *has_shortcut {
        shortcut::install(netlink, &link);
    }
    Ok(link)
}

fn address(netlink: &Netlink, link: &Link, plan: &Plan) -> Result<(), Error> {
    let Plan { name, subnet: Subnet { gateway: address, prefix }, six, .. } = plan;
    let fail = |errno| Error::BridgeAddress {
        name: name.clone(),
        address: *address,
        prefix: *prefix,
        source: Cause::from(errno),
    };
    step(
        "address-bridge",
        "the host is the containers' gateway; the host uses this subnet for nothing else",
        || format!("{address}/{prefix} on {name}"),
        || {
            if let Some(six) = six {
                // Nobody on it tells the host where to send what.
                let setting =
                    |name: &str, value| sysctl::set(&format!("/proc/sys/net/ipv6/conf/{}/{name}", plan.name), value);
                let _ = setting("accept_ra", "0");
                let _ = setting("disable_ipv6", "0");
                // The kernel would look for a second whether anybody has the one that it makes, and by that address the
                // host asks where a container is: until then nothing from outside would arrive.
                let _ = setting("addr_gen_mode", NO_ADDRESS);
                let (link_local, bits) = LINK_LOCAL;
                route::add_address6(netlink, link.index, link_local, bits).map_err(fail)?;
                route::add_address6(netlink, link.index, six.gateway, six.prefix).map_err(fail)?;
            }
            let net = Net { address: *address, prefix: *prefix, link: link.index };
            route::add_address(netlink, net).map_err(fail)?;
            route::set_up(netlink, link.index).map_err(fail)?;
            if let Some(six) = six {
                route::settle_address6(netlink, six.gateway);
            }
            Ok(())
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
