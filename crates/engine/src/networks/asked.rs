//! What a container asks of networks, looked up as it is made: that they are there, and have what it wants.

use crate::error::Error;
use crate::options::{Endpoint, NetworkMode};
use network::{Cidr, Config, Driver};
use std::net::IpAddr;

/// The networks by their names, each looked up; none when no network is named.
pub(crate) fn resolved(mode: &NetworkMode) -> Result<Option<NetworkMode>, Error> {
    let NetworkMode::Named(endpoints) = mode else { return Ok(None) };
    let mut found: Vec<Endpoint> = Vec::new();
    for endpoint in endpoints {
        let config = super::find(&endpoint.network)?;
        if found.iter().any(|other| other.network == config.name) {
            return Err(Error::Conflict(format!("--network names {:?} twice", config.name)));
        }
        found.push(settled(endpoint, &config)?);
    }
    Ok(Some(NetworkMode::Named(found)))
}

/// What is asked of a network that is there. An address of IPv6 is asked for by that of IPv4 which it belongs to: a lease is
/// of both.
pub(crate) fn settled(endpoint: &Endpoint, config: &Config) -> Result<Endpoint, Error> {
    let mut endpoint = Endpoint { network: config.name.clone(), ..endpoint.clone() };
    if let Some(address) = endpoint.address6 {
        let bad = |reason: String| Err(Error::BadValue { flag: "--ip6", value: address.to_string(), reason });
        let Some(pool) = config.ipv6 else { return bad(format!("the network {:?} has no IPv6", config.name)) };
        let subnet = Cidr::new(pool.subnet.into(), pool.prefix);
        if !subnet.has(address.into()) {
            return bad(format!("the network {:?} is {subnet}", config.name));
        }
        let Some(beneath) = pool.beneath(address, &config.ipv4) else {
            return bad(format!(
                "each container has an address of both, the nth with the nth, and {}/{} has not so many",
                config.ipv4.subnet, config.ipv4.prefix
            ));
        };
        if endpoint.address.is_some_and(|other| other != beneath) {
            return bad(format!("it goes with {beneath}, and --ip says another: leave that away"));
        }
        endpoint.address = Some(beneath);
    }
    check(&endpoint, config)?;
    Ok(endpoint)
}

/// Whether the network has the addresses that are wanted.
fn check(endpoint: &Endpoint, config: &Config) -> Result<(), Error> {
    if endpoint.mac.is_some() && config.driver == Driver::Ipvlan {
        let why = "--mac-address cannot be had on ipvlan: all on such a network have that of the host's link";
        return Err(Error::Conflict(why.to_owned()));
    }
    let Some(address) = endpoint.address else { return Ok(()) };
    let subnet = Cidr::new(config.ipv4.subnet.into(), config.ipv4.prefix);
    let flag = if endpoint.address6.is_some() { "--ip6" } else { "--ip" };
    let bad = |reason: String| Err(Error::BadValue { flag, value: address.to_string(), reason });
    match IpAddr::from(address) {
        ip if !subnet.has(ip) => bad(format!("the network {:?} is {subnet}", config.name)),
        ip if ip == subnet.first() || ip == subnet.last() => {
            bad(format!("it is the first or the last one of {subnet}"))
        }
        _ if address == config.ipv4.gateway => bad(format!("it is the gateway of the network {:?}", config.name)),
        _ if config.reserved().contains(&address) => bad("it is kept by --aux-address of the network".into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_the_network() {
        let config = Config { name: "net".into(), ..Config::default() };
        for (address, is_right) in [
            ("172.17.0.2", true),
            ("172.17.255.254", true),
            ("172.17.0.1", false),
            ("172.17.0.0", false),
            ("172.17.255.255", false),
            ("172.18.0.2", false),
        ] {
            let endpoint = Endpoint { address: address.parse().ok(), ..Endpoint::default() };
            assert_eq!(check(&endpoint, &config).is_ok(), is_right, "{address}");
        }
        assert!(check(&Endpoint::default(), &config).is_ok());
        let endpoint = Endpoint { mac: Some([2, 0, 0, 0, 0, 1]), ..Endpoint::default() };
        for (driver, is_right) in [(Driver::Bridge, true), (Driver::Macvlan, true), (Driver::Ipvlan, false)] {
            assert_eq!(check(&endpoint, &Config { driver, ..config.clone() }).is_ok(), is_right, "{driver:?}");
        }
    }

    #[test]
    fn one_of_ipv6_brings_that_of_ipv4() {
        let ipv6 = Some(network::Pool6::around("fd00:9::1".parse().unwrap(), 64));
        let aux = [("a".to_owned(), "172.17.0.9".parse().unwrap()), ("b".to_owned(), "fd00:9::8".parse().unwrap())];
        let config = Config { name: "net".into(), ipv6, aux: aux.into(), ..Config::default() };
        for (address6, address, expected) in [
            ("fd00:9::5", None, Some("172.17.0.5")),
            ("fd00:9::fffe", None, Some("172.17.255.254")),
            ("fd00:9::5", Some("172.17.0.5"), Some("172.17.0.5")),
            ("fd00:9::5", Some("172.17.0.6"), None),
            ("fd00:9::1", None, None),
            ("fd00:9::", None, None),
            ("fd00:9::ffff", None, None),
            ("fd00:9::1:0", None, None),
            ("fd00:8::5", None, None),
            ("fd00:9::9", None, None),
            ("fd00:9::8", None, None),
        ] {
            let (address6, address) = (address6.parse().ok(), address.map(|text| text.parse().unwrap()));
            let endpoint = Endpoint { address6, address, ..Endpoint::default() };
            let found = settled(&endpoint, &config).ok().and_then(|endpoint| endpoint.address);
            assert_eq!(found, expected.map(|text| text.parse().unwrap()), "{address6:?} {address:?}");
        }
        let without = Config { ipv6: None, ..config };
        assert!(settled(&Endpoint { address6: "fd00:9::5".parse().ok(), ..Endpoint::default() }, &without).is_err());
    }
}
