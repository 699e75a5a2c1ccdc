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
        check(endpoint, &config)?;
        found.push(Endpoint { network: config.name, ..endpoint.clone() });
    }
    Ok(Some(NetworkMode::Named(found)))
}

/// Whether the network has the addresses that are wanted.
pub(crate) fn check(endpoint: &Endpoint, config: &Config) -> Result<(), Error> {
    if endpoint.mac.is_some() && config.driver == Driver::Ipvlan {
        let why = "--mac-address cannot be had on ipvlan: all on such a network have that of the host's link";
        return Err(Error::Conflict(why.to_owned()));
    }
    let Some(address) = endpoint.address else { return Ok(()) };
    let subnet = Cidr::new(config.ipv4.subnet.into(), config.ipv4.prefix);
    let bad = |reason: String| Err(Error::BadValue { flag: "--ip", value: address.to_string(), reason });
    match IpAddr::from(address) {
        ip if !subnet.has(ip) => bad(format!("the network {:?} is {subnet}", config.name)),
        ip if ip == subnet.first() || ip == subnet.last() => {
            bad(format!("it is the first or the last one of {subnet}"))
        }
        _ if address == config.ipv4.gateway => bad(format!("it is the gateway of the network {:?}", config.name)),
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
}
