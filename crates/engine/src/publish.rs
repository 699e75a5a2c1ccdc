//! What the flags of ports mean, with what an image says of its ports.

use crate::error::Error;
use crate::options::{NetworkMode, RunOptions};
use crate::parse::publish::{self, Publish};
use image::RunConfig;
use network::{Protocol, Wish};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether they can be meant.
pub(crate) fn check(options: &RunOptions) -> Result<(), Error> {
    let is_v6 = |publish: &&Publish| publish.address.is_some_and(|address| address.is_ipv6());
    match options.publish.iter().find(is_v6).filter(|_| options.network == NetworkMode::Bridge) {
        None => is_each_asked_for_once(options),
        Some(publish) => Err(Error::BadValue {
            flag: "--publish",
            value: publish.to_string(),
            reason: "the default network has no IPv6; one that has it is made by `network create --ipv6`".into(),
        }),
    }
}

/// No port of the host leads to two places: what would be told of it later is that another has it.
fn is_each_asked_for_once(options: &RunOptions) -> Result<(), Error> {
    let fixed = options.publish.iter().flat_map(wishes_of);
    let fixed = fixed.filter(|wish| *wish.host_ports.start() != 0 && wish.host_ports.start() == wish.host_ports.end());
    let mut known: HashMap<(Protocol, u16), Vec<Wish>> = HashMap::new();
    for wish in fixed {
        let others = known.entry((wish.protocol, *wish.host_ports.start())).or_default();
        let meets = |other: &Wish| {
            let is_any = other.address.is_unspecified() || wish.address.is_unspecified();
            let is_same_family = other.address.is_ipv4() == wish.address.is_ipv4();
            let is_both = (other.and_six && wish.address.is_ipv6()) || (wish.and_six && other.address.is_ipv6());
            other.address == wish.address || (is_any && is_same_family) || is_both
        };
        let is_same = |other: &Wish| {
            let is_any = other.address.is_unspecified() && wish.address.is_unspecified();
            other.port == wish.port && (other.address == wish.address || is_any)
        };
        if others.iter().any(is_same) {
            continue;
        }
        if others.iter().any(meets) {
            let at = std::net::SocketAddr::new(wish.address, *wish.host_ports.start());
            let port = format!("{at}/{}", wish.protocol);
            return Err(Error::Conflict(format!("--publish asks for {port} twice")));
        }
        others.push(wish);
    }
    Ok(())
}

/// Of the ports at which a container listens those that no flag publishes: each at any port of the host.
pub(crate) fn others(options: &RunOptions, config: &RunConfig) -> Vec<Publish> {
    let is_published = |port: u16, protocol| {
        options.publish.iter().any(|one| one.container.contains(&port) && one.protocol == protocol)
    };
    let exposed = config.exposed_ports.iter().filter_map(|text| publish::exposed(text).ok());
    let each = exposed.flat_map(|(ports, protocol)| ports.map(move |port| (port, protocol)));
    let others = each.filter(|(port, protocol)| !is_published(*port, *protocol));
    let anywhere = |(port, protocol)| Publish { address: None, host: None, container: port..=port, protocol };
    others.map(anywhere).collect()
}

/// What shall be published when the container starts, each once.
pub(crate) fn wishes(options: &RunOptions, config: &RunConfig) -> Vec<Wish> {
    let mut wishes: Vec<Wish> = options.publish.iter().flat_map(wishes_of).collect();
    if options.publish_all {
        wishes.extend(others(options, config).iter().flat_map(wishes_of));
    }
    let mut once: Vec<Wish> = Vec::with_capacity(wishes.len());
    let mut known: HashMap<_, usize> = HashMap::new();
    for wish in wishes {
        let key = (wish.protocol, wish.address, wish.host_ports.clone(), wish.port);
        let is_anywhere = *wish.host_ports.start() == 0;
        match known.get(&key).and_then(|at| once.get_mut(*at)).filter(|_| !is_anywhere) {
            Some(same) => same.and_six |= wish.and_six,
            None => {
                known.insert(key, once.len());
                once.push(wish);
            }
        }
    }
    // What is asked for by itself as well is asked for once.
    let is_six = |wish: &&Wish| wish.address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && *wish.host_ports.start() != 0;
    let six: HashSet<_> = once.iter().filter(is_six).map(|wish| (wish.protocol, wish.host_ports.clone())).collect();
    for wish in once.iter_mut().filter(|wish| wish.and_six) {
        wish.and_six = !six.contains(&(wish.protocol, wish.host_ports.clone()));
    }
    once
}

fn wishes_of(publish: &Publish) -> impl Iterator<Item = Wish> {
    let Publish { address, ref host, ref container, protocol } = *publish;
    let and_six = address.is_none();
    let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let host = host.clone();
    let is_one = container.len() == 1;
    container.clone().zip(0_u16..).map(move |(port, nth)| {
        let host_ports = match &host {
            None => 0..=0,
            Some(host) if is_one => host.clone(),
            Some(host) => host.start().saturating_add(nth)..=host.start().saturating_add(nth),
        };
        Wish { protocol, address, and_six, host_ports, port }
    })
}

/// The ports at which the container listens by the flags, as `80/tcp`.
pub(crate) fn exposed_by(options: &RunOptions) -> impl Iterator<Item = String> {
    let published = options
        .publish
        .iter()
        .flat_map(|publish| publish.container.clone().map(|port| format!("{port}/{}", publish.protocol)));
    options.expose.iter().cloned().chain(published)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_what_flags_and_image_say() {
        let shown = |wish: &Wish| {
            let Wish { protocol, address, host_ports, port, .. } = wish;
            format!("{address}:{}:{port}/{protocol}", publish::shown(host_ports))
        };
        let cases: [(&[&str], bool, &[&str]); 6] = [
            (&["8080:80"], false, &["0.0.0.0:8080:80/tcp"]),
            (&["127.0.0.1::80/udp", "80"], false, &["127.0.0.1:0:80/udp", "0.0.0.0:0:80/tcp"]),
            (&["8000-8001:80-81"], false, &["0.0.0.0:8000:80/tcp", "0.0.0.0:8001:81/tcp"]),
            (&["8000-8009:80"], false, &["0.0.0.0:8000-8009:80/tcp"]),
            (&["1:80", "1:80", "2:80"], false, &["0.0.0.0:1:80/tcp", "0.0.0.0:2:80/tcp"]),
            (
                &["8080:80"],
                true,
                &[
                    "0.0.0.0:8080:80/tcp",
                    "0.0.0.0:0:443/tcp",
                    "0.0.0.0:0:53/udp",
                    "0.0.0.0:0:54/udp",
                    "0.0.0.0:0:80/udp",
                ],
            ),
        ];
        for (flags, publish_all, expected) in cases {
            let publish = flags.iter().map(|text| Publish::parse(text).unwrap()).collect();
            let options = RunOptions { publish, publish_all, ..RunOptions::default() };
            let ports = ["80/tcp", "443", "53-54/udp", "80/udp", "no port", "0/tcp"];
            let config = RunConfig { exposed_ports: ports.map(str::to_owned).into(), ..RunConfig::default() };
            let wishes: Vec<String> = wishes(&options, &config).iter().map(shown).collect();
            assert_eq!(wishes, expected, "{flags:?}");
        }
    }

    #[test]
    fn addresses_of_ipv6_are_for_networks_that_have_it() {
        let publish = vec![Publish::parse("[::1]:8080:80").unwrap()];
        for (network, is_right) in [(NetworkMode::Bridge, false), (NetworkMode::Host, true), (NetworkMode::None, true)]
        {
            let options = RunOptions { publish: publish.clone(), network: network.clone(), ..RunOptions::default() };
            assert_eq!(check(&options).is_ok(), is_right, "{network:?}");
        }
    }

    #[test]
    fn a_port_of_the_host_is_asked_for_once() {
        for (flags, is_right) in [
            (&["8080:80", "8080:80/tcp"][..], true),
            (&["8080:80", "0.0.0.0:8080:80"], true),
            (&["8080:80", "[::]:8080:80"], true),
            (&["8080:80", "[::]:8080:81"], false),
            (&["0.0.0.0:8080:80", "[::]:8080:81"], true),
            (&["8080:80", "8080:81"], false),
            (&["8080:80", "8080:81/udp"], true),
            (&["8080:80", "127.0.0.1:8080:80"], false),
            (&["10.0.0.1:8080:80", "127.0.0.1:8080:80"], true),
            (&["80", "80", "8080:80"], true),
            (&["8000-8002:80-82", "8002:90"], false),
            (&["8000-8002:80", "8002:90"], true),
        ] {
            let publish = flags.iter().map(|text| Publish::parse(text).unwrap()).collect();
            let options = RunOptions { publish, ..RunOptions::default() };
            assert_eq!(is_each_asked_for_once(&options).is_ok(), is_right, "{flags:?}");
        }
    }

    #[test]
    fn a_container_listens_where_it_is_told() {
        let mut options = RunOptions::default();
        options.add_exposed("90-91/udp").unwrap();
        options.add_publish("8080:80").unwrap();
        assert_eq!(exposed_by(&options).collect::<Vec<_>>(), ["90/udp", "91/udp", "80/tcp"]);
    }
}
