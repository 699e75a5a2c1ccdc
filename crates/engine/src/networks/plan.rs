//! What a network will be: what the person said, checked against what is around it, and chosen where the person is silent.
//! Nothing is looked for and nothing is made here.

use super::create::CreateOrder;
use super::driver_options::{self, DriverOptions};
use crate::error::Error;
use network::{Cidr, Config, Driver, Pool4, Pool6, Used};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a new network has to get along with.
pub(super) struct Around<'a> {
    /// What the host uses.
    pub(super) host: &'a [Used],
    /// Where the default network is, or would be if it were used now: no other is put there, but by a person's wish.
    pub(super) default: Option<Cidr>,
    /// The networks there are.
    pub(super) others: &'a [Config],
    /// Seven random bytes.
    pub(super) random: &'a dyn Fn() -> Result<[u8; 7], Error>,
}

/// The network, but for its id, name and time.
pub(super) fn plan(order: &CreateOrder, around: &Around<'_>) -> Result<Config, Error> {
    let mut config = drivers_part(order, around)?;
    let subnet = match order.subnet {
        Some(subnet) => {
            check_subnet(subnet, order.driver, around)?;
            subnet
        }
        None if order.driver == Driver::Bridge => free_ipv4(around)?,
        None => {
            let driver = order.driver.name();
            return Err(conflict(format!(
                "{driver} needs --subnet, that of the network which its parent is on: there is no DHCP here"
            )));
        }
    };
    config.ipv4 = pool4(order, subnet)?;
    config.ipv6 = pool6(order, &config, around)?;
    if config.ipv6.is_some()
        && let Some(mtu) = config.mtu.filter(|mtu| *mtu < LEAST_MTU_OF_IPV6)
    {
        return Err(bad("mtu", mtu, format!("IPv6 needs {LEAST_MTU_OF_IPV6} at least")));
    }
    config.aux = aux(order, &config)?;
    config.attachable = order.attachable;
    config.internal = order.internal;
    config.no_names = order.no_names;
    config.labels = order.labels.iter().cloned().collect();
    Ok(config)
}

/// The addresses that somebody outside has: of the network's subnets, and not its own gateways.
fn aux(order: &CreateOrder, config: &Config) -> Result<BTreeMap<String, IpAddr>, Error> {
    let v4 = Cidr::new(config.ipv4.subnet.into(), config.ipv4.prefix);
    let v6 = config.ipv6.map(|pool| Cidr::new(pool.subnet.into(), pool.prefix));
    let gateways = [Some(IpAddr::from(config.ipv4.gateway)), config.ipv6.map(|pool| pool.gateway.into())];
    for (name, address) in &order.aux {
        let shown = format!("{name}={address}");
        if !v4.has(*address) && !v6.is_some_and(|v6| v6.has(*address)) {
            return Err(bad("--aux-address", shown, "it is in no subnet of the network".into()));
        }
        if gateways.contains(&Some(*address)) {
            return Err(bad("--aux-address", shown, "it is the gateway of the network".into()));
        }
    }
    Ok(order.aux.clone())
}

/// [RFC 8200, 5]
const LEAST_MTU_OF_IPV6: u32 = 1280;

/// Driver, its options, and the names of links.
fn drivers_part(order: &CreateOrder, around: &Around<'_>) -> Result<Config, Error> {
    let (driver, options) = (order.driver, &order.options);
    if let Some((name, reason)) = DriverOptions::refused(driver, order.typed.keys()) {
        return Err(Error::BadValue { flag: "--opt", value: name.to_owned(), reason });
    }
    let is_bridge = driver == Driver::Bridge;
    let (mut bridge, mut parent) = (options.bridge.clone(), options.parent.clone());
    if let Some(link) = &order.link {
        let own = if is_bridge { &mut bridge } else { &mut parent };
        if own.as_ref().is_some_and(|own| own != link) {
            return Err(conflict(format!("--interface-name {link} and --opt name two links")));
        }
        *own = Some(link.clone());
    }
    if let Some(name) = &bridge {
        driver_options::bridge_name(name).map_err(|why| conflict(format!("the bridge cannot have the name {why}")))?;
        if let Some(other) = around.others.iter().find(|other| other.bridge_name() == *name) {
            return Err(conflict(format!("the network {:?} has a bridge of the name {name}", other.name)));
        }
    }
    if !is_bridge {
        let name = driver.name();
        let parent =
            parent.as_deref().ok_or_else(|| conflict(format!("{name} needs `-o parent=LINK`, a link of this host")))?;
        if parent == "lo" {
            return Err(conflict(format!("{name} cannot be on lo: nothing is behind it")));
        }
        if order.internal {
            return Err(conflict(format!("--internal is for bridge: {name} leads to whatever is behind its parent")));
        }
        if let Some(why) = options.refused_mode(driver) {
            return Err(conflict(why));
        }
    }
    Ok(Config {
        driver,
        routed: options.routed,
        no_shortcut: options.no_shortcut,
        mtu: options.mtu,
        mode: options.mode.clone(),
        options: order.typed.clone(),
        bridge,
        parent,
        ..Config::default()
    })
}

/// Whether a network can have this subnet.
fn check_subnet(subnet: Cidr, driver: Driver, around: &Around<'_>) -> Result<(), Error> {
    let (least, most) = if subnet.is_ipv4() { (8, 30) } else { (8, 126) };
    if !(least..=most).contains(&subnet.prefix()) {
        return Err(bad("--subnet", subnet, format!("its mask has {least} to {most} bits")));
    }
    let is_for_hosts = match subnet.first() {
        IpAddr::V4(first) => {
            !first.is_loopback() && !first.is_multicast() && first.octets()[0] != 0 && first.octets()[0] < 240
        }
        IpAddr::V6(first) => !first.is_multicast() && !first.is_unicast_link_local() && !first.is_unspecified(),
    };
    if !is_for_hosts {
        return Err(bad("--subnet", subnet, "its addresses cannot be those of containers".into()));
    }
    let taken = |by: String| Error::SubnetTaken { subnet: subnet.to_string(), by };
    if let Some((of_other, other)) = subnets(around.others).find(|(other, _)| other.overlaps(&subnet)) {
        return Err(taken(format!("{of_other} of the network {:?}", other.name)));
    }
    // Where the parent is, there the host is as well.
    let used = around.host.iter().find(|used| driver == Driver::Bridge && used.subnet.overlaps(&subnet));
    used.map_or(Ok(()), |used| Err(taken(used.to_string())))
}

fn free_ipv4(around: &Around<'_>) -> Result<Cidr, Error> {
    let used: Vec<Cidr> = used(around).into_iter().chain(around.default).collect();
    network::free_ipv4(&used).ok_or(Error::NoFreeSubnet)
}

fn used(around: &Around<'_>) -> Vec<Cidr> {
    let of_host = around.host.iter().map(|used| used.subnet);
    of_host.chain(subnets(around.others).map(|(subnet, _)| subnet)).collect()
}

/// The subnets of networks, also of those that are not in use.
fn subnets(others: &[Config]) -> impl Iterator<Item = (Cidr, &Config)> {
    others.iter().flat_map(|other| {
        let v4 = Cidr::new(other.ipv4.subnet.into(), other.ipv4.prefix);
        let v6 = other.ipv6.map(|pool| Cidr::new(pool.subnet.into(), pool.prefix));
        std::iter::once(v4).chain(v6).map(move |subnet| (subnet, other))
    })
}

fn pool4(order: &CreateOrder, subnet: Cidr) -> Result<Pool4, Error> {
    let gateway = order.gateway.map_or_else(|| subnet.nth(1), IpAddr::from);
    check_gateway(subnet, gateway)?;
    if let Some(range) = order.range {
        if !subnet.overlaps(&range) || range.prefix() < subnet.prefix() {
            return Err(bad("--ip-range", range, format!("it is not in the subnet {subnet}")));
        }
        let can_be_given = |nth: u128| ![subnet.first(), subnet.last(), gateway].contains(&range.nth(nth));
        // Of four addresses no more than three are not to be given.
        if !(0..4).any(can_be_given) {
            return Err(bad("--ip-range", range, "no address of it is left for a container".into()));
        }
    }
    Ok(Pool4 {
        subnet: v4(subnet.first()),
        prefix: subnet.prefix(),
        gateway: v4(gateway),
        range: order.range.map(|range| (v4(range.first()), range.prefix())),
    })
}

fn pool6(order: &CreateOrder, config: &Config, around: &Around<'_>) -> Result<Option<Pool6>, Error> {
    let subnet4 = Cidr::new(config.ipv4.subnet.into(), config.ipv4.prefix);
    let subnet = match order.subnet6 {
        Some(subnet) => subnet,
        None if order.ipv6 => free_ipv6(around)?,
        None => {
            return match order.gateway6 {
                None => Ok(None),
                Some(gateway) => Err(bad("--gateway", gateway, "the network has no subnet of IPv6".into())),
            };
        }
    };
    check_subnet(subnet, order.driver, around)?;
    if subnet.host_bits() < subnet4.host_bits() {
        let reason =
            format!("it has fewer addresses than {subnet4}: each container has one of both, the nth with the nth");
        return Err(bad("--subnet", subnet, reason));
    }
    let position = subnet4.position(config.ipv4.gateway.into()).unwrap_or(1);
    let gateway = order.gateway6.map_or_else(|| subnet.nth(position), IpAddr::from);
    check_gateway(subnet, gateway)?;
    // Else a container would have it: its address of IPv6 stands where that of IPv4 does.
    let is_free = subnet.position(gateway).is_some_and(|own| own == position || own > (1 << subnet4.host_bits()) - 2);
    if !is_free {
        let reason = format!(
            "a container would have it, where {} is the gateway of IPv4: take {} or one beyond all containers'",
            config.ipv4.gateway,
            subnet.nth(position)
        );
        return Err(bad("--gateway", gateway, reason));
    }
    Ok(Some(Pool6 { subnet: v6(subnet.first()), prefix: subnet.prefix(), gateway: v6(gateway) }))
}

/// How many random subnets are tried: of 2^56 the first one is free, unless there is a route to all of them.
const TRIES: u32 = 16;

fn free_ipv6(around: &Around<'_>) -> Result<Cidr, Error> {
    let used = used(around);
    for _ in 0..TRIES {
        let subnet = network::local_ipv6((around.random)()?);
        if !used.iter().any(|used| used.overlaps(&subnet)) {
            return Ok(subnet);
        }
    }
    Err(Error::NoFreeSubnet)
}

fn check_gateway(subnet: Cidr, gateway: IpAddr) -> Result<(), Error> {
    if !subnet.has(gateway) {
        return Err(bad("--gateway", gateway, format!("it is not in the subnet {subnet}")));
    }
    if gateway == subnet.first() || gateway == subnet.last() {
        return Err(bad("--gateway", gateway, format!("it is the first or the last address of {subnet}")));
    }
    Ok(())
}

fn bad(flag: &'static str, value: impl ToString, reason: String) -> Error {
    Error::BadValue { flag, value: value.to_string(), reason }
}

fn conflict(what: String) -> Error {
    Error::Conflict(what)
}

fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(address) => address.to_ipv6_mapped(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `network create WORDS` on a host with an uplink and a network, which is nothing on it now.
    fn planned(words: &str) -> Result<Config, String> {
        let used = |subnet: &str, link: &str| Used { subnet: subnet.parse().unwrap(), link: link.into() };
        let host = [used("10.0.2.0/24", "eth0"), used("172.18.0.0/16", "docker1"), used("2001:db8::/64", "eth0")];
        let ipv4 = Pool4 {
            subnet: Ipv4Addr::new(172, 19, 0, 0),
            prefix: 16,
            gateway: Ipv4Addr::new(172, 19, 0, 1),
            range: None,
        };
        let ipv6 =
            Pool6 { subnet: "fd01:203:405:607::".parse().unwrap(), prefix: 64, gateway: "fd01::1".parse().unwrap() };
        let other =
            Config { name: "other".into(), ipv4, ipv6: Some(ipv6), bridge: Some("br9".into()), ..Config::default() };
        let tries = std::cell::Cell::new(0);
        let random = || {
            tries.set(tries.get() + 1);
            // The first one is the other's.
            Ok(if tries.get() == 1 { [1, 2, 3, 4, 5, 6, 7] } else { [9; 7] })
        };
        let mut order = CreateOrder::default();
        for word in words.split_whitespace() {
            let (flag, value) = word.split_once('=').unwrap_or((word, ""));
            let said = match flag {
                "driver" => order.set_driver(value),
                "subnet" => order.add_subnet(value),
                "gateway" => order.add_gateway(value),
                "range" => order.add_range(value),
                "link" => order.set_link(value),
                "internal" => {
                    order.internal = true;
                    Ok(())
                }
                "ipv6" => {
                    order.ipv6 = true;
                    Ok(())
                }
                _ => order.add_option(word),
            };
            said.unwrap_or_else(|error| panic!("{word}: {error}"));
        }
        let default = Some("172.20.0.0/16".parse().unwrap());
        let around = Around { host: &host, default, others: &[other], random: &random };
        plan(&order, &around).map_err(|error| error.to_string())
    }

    /// The pools, in one line.
    fn pools(config: &Config) -> String {
        let Config { ipv4, ipv6, .. } = config;
        let range = ipv4.range.map(|(first, prefix)| format!(" {first}/{prefix}")).unwrap_or_default();
        let ipv6 = ipv6.map(|v6| format!(", {}/{} {}", v6.subnet, v6.prefix, v6.gateway)).unwrap_or_default();
        format!("{}/{} {}{range}{ipv6}", ipv4.subnet, ipv4.prefix, ipv4.gateway)
    }

    #[test]
    fn what_is_not_said_is_chosen() {
        for (words, expected) in [
            ("", "172.21.0.0/16 172.21.0.1"),
            // Where the default network would be.
            ("subnet=172.20.0.0/16", "172.20.0.0/16 172.20.0.1"),
            ("subnet=10.9.0.0/24", "10.9.0.0/24 10.9.0.1"),
            ("subnet=10.9.0.0/24 gateway=10.9.0.254", "10.9.0.0/24 10.9.0.254"),
            ("subnet=10.9.0.0/30", "10.9.0.0/30 10.9.0.1"),
            ("subnet=11.0.0.0/8 range=11.9.0.0/16", "11.0.0.0/8 11.0.0.1 11.9.0.0/16"),
            ("gateway=172.21.9.9", "172.21.0.0/16 172.21.9.9"),
            ("ipv6", "172.21.0.0/16 172.21.0.1, fd09:909:909:909::/64 fd09:909:909:909::1"),
            ("subnet=fd00:9::/64", "172.21.0.0/16 172.21.0.1, fd00:9::/64 fd00:9::1"),
            ("subnet=10.9.0.0/24 subnet=fd00:9::/120", "10.9.0.0/24 10.9.0.1, fd00:9::/120 fd00:9::1"),
            (
                "subnet=10.9.0.0/24 gateway=10.9.0.254 subnet=fd00:9::/64",
                "10.9.0.0/24 10.9.0.254, fd00:9::/64 fd00:9::fe",
            ),
            (
                "subnet=10.9.0.0/24 subnet=fd00:9::/64 gateway=fd00:9::ffff",
                "10.9.0.0/24 10.9.0.1, fd00:9::/64 fd00:9::ffff",
            ),
            ("driver=macvlan parent=eth0 subnet=10.0.2.0/24 gateway=10.0.2.2", "10.0.2.0/24 10.0.2.2"),
        ] {
            let planned = planned(words).unwrap_or_else(|error| panic!("{words}: {error}"));
            assert_eq!(pools(&planned), expected, "{words}");
        }
    }

    #[test]
    fn what_cannot_be_is_told() {
        for (words, expected) in [
            ("subnet=10.9.0.0/31", "8 to 30 bits"),
            ("subnet=10.0.0.0/7", "8 to 30 bits"),
            ("subnet=127.9.0.0/16", "cannot be those of containers"),
            ("subnet=224.0.0.0/8", "cannot be those of containers"),
            ("subnet=0.0.0.0/8", "cannot be those of containers"),
            ("subnet=fe80::/64", "cannot be those of containers"),
            ("subnet=10.0.0.0/16", "overlaps 10.0.2.0/24, which this host reaches through eth0"),
            ("subnet=172.18.3.0/24", "overlaps 172.18.0.0/16"),
            ("subnet=172.19.3.0/24", "overlaps 172.19.0.0/16 of the network \"other\""),
            ("subnet=fd01:203:405:607::/80", "of the network \"other\""),
            ("subnet=2001:db8::/96", "through eth0"),
            ("subnet=10.9.0.0/24 gateway=10.9.1.1", "not in the subnet 10.9.0.0/24"),
            ("subnet=10.9.0.0/24 gateway=10.9.0.0", "first or the last"),
            ("subnet=10.9.0.0/24 gateway=10.9.0.255", "first or the last"),
            ("gateway=fd00:9::1", "no subnet of IPv6"),
            ("subnet=fd00:9::/64 gateway=fd00:8::1", "not in the subnet fd00:9::/64"),
            ("subnet=fd00:9::/64 gateway=fd00:9::2", "a container would have it"),
            ("subnet=10.9.0.0/16 subnet=fd00:9::/120", "fewer addresses than 10.9.0.0/16"),
            ("subnet=10.9.0.0/24 range=10.9.1.0/25", "not in the subnet 10.9.0.0/24"),
            ("subnet=10.9.0.0/24 range=10.9.0.0/23", "not in the subnet 10.9.0.0/24"),
            ("subnet=10.9.0.0/24 range=10.9.0.0/31", "no address of it is left"),
            ("subnet=10.9.0.0/24 range=10.9.0.1/32", "no address of it is left"),
            ("mtu=1000 ipv6", "IPv6 needs 1280"),
            ("parent=eth0", "the options of bridge are"),
            ("driver=macvlan parent=eth0", "macvlan needs --subnet"),
            ("driver=ipvlan subnet=10.9.0.0/24", "ipvlan needs `-o parent=LINK`"),
            ("driver=macvlan parent=lo subnet=10.9.0.0/24", "cannot be on lo"),
            ("driver=macvlan parent=eth0 subnet=10.9.0.0/24 internal", "--internal is for bridge"),
            ("driver=macvlan parent=eth0 subnet=10.9.0.0/24 mode=l2", "macvlan has no mode \"l2\""),
            ("driver=ipvlan parent=eth0 subnet=10.9.0.0/24 macvlan_mode=vepa", "the options of ipvlan are"),
            ("driver=macvlan parent=eth0 link=eth1 subnet=10.9.0.0/24", "name two links"),
            ("link=br9", "\"other\" has a bridge of the name br9"),
            ("link=mycontainer0", "link of the default network"),
        ] {
            let said = planned(words).expect_err(words);
            assert!(said.contains(expected), "{words}: {said}");
        }
    }

    #[test]
    fn the_drivers_part_is_kept() {
        let config =
            planned("mtu=1400 com.docker.network.bridge.enable_ip_masquerade=false link=br-mine internal").unwrap();
        assert_eq!(
            (config.mtu, config.routed, config.bridge.as_deref(), config.internal),
            (Some(1400), true, Some("br-mine"), true)
        );
        assert_eq!(
            config.options.keys().collect::<Vec<_>>(),
            ["com.docker.network.bridge.enable_ip_masquerade", "mtu"]
        );
        let config = planned("driver=ipvlan link=eth0 mode=l3 subnet=10.9.0.0/24").unwrap();
        assert_eq!((config.parent.as_deref(), config.mode.as_deref(), config.bridge), (Some("eth0"), Some("l3"), None));
    }
}
