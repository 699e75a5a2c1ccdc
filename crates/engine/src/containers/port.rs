//! `port`: where the ports of a container can be reached from outside; and how `ps` shows that.

use super::{Found, get};
use crate::error::Error;
use crate::parse::ParseError;
use network::Published;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// A port of a container, as typed: `80` or `80/tcp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port(String);

impl Port {
    /// Reads it; without a protocol it is TCP.
    pub fn parse(text: &str) -> Result<Port, ParseError> {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = protocol.to_lowercase();
        if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
            return Err(ParseError::new(text, "a protocol is one of tcp, udp and sctp"));
        }
        match number.parse::<u16>() {
            Ok(number) if number > 0 => Ok(Port(format!("{number}/{protocol}"))),
            _ => Err(ParseError::new(text, "write PORT or PORT/PROTOCOL, as 80/tcp")),
        }
    }
}

/// The places at which a container's ports can be reached: with the port before each, unless it was named. That a port
/// which was named has no such place is an error.
pub fn ports(words: &str, port: Option<&Port>) -> Result<Vec<String>, Error> {
    let found = get(words)?;
    let mut published = published(&found)?;
    published.sort_by_key(|one| (one.container.port(), one.protocol.name(), one.host));
    let named = |one: &Published| format!("{}/{}", one.container.port(), one.protocol);
    let Some(Port(port)) = port else {
        return Ok(published.iter().map(|one| format!("{} -> {}", named(one), one.host)).collect());
    };
    published.retain(|one| named(one) == *port);
    if published.is_empty() {
        return Err(Error::NotPublished { port: port.clone(), container: found.shown().to_owned() });
    }
    Ok(published.iter().map(|one| one.host.to_string()).collect())
}

/// What a container publishes at this moment.
pub(super) fn published(found: &Found) -> Result<Vec<Published>, Error> {
    let options = found.facts.as_ref().and_then(|facts| facts.options.as_deref());
    if !found.is_running || !options.is_some_and(crate::RunOptions::publishes) {
        return Ok(Vec::new());
    }
    Ok(crate::sweep::network().ports_of(found.id.as_str())?)
}

/// Ports as Docker lists them in one line: those that are the same on both sides as ranges, then the others.
pub(super) fn in_a_line(exposed: &BTreeSet<String>, published: &[Published]) -> Vec<String> {
    let mut ports: Vec<(u16, Option<IpAddr>, u16, &str)> = published
        .iter()
        .map(|one| (one.container.port(), Some(one.host.ip()), one.host.port(), one.protocol.name()))
        .collect();
    let has = |port, protocol: &str| {
        published.iter().any(|one| one.container.port() == port && one.protocol.name() == protocol)
    };
    for text in exposed {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        match number.parse() {
            Ok(port) if !has(port, protocol) => ports.push((port, None, 0, protocol)),
            _ => {}
        }
    }
    ports.sort_unstable();
    let (mut done, mut elsewhere) = (Vec::new(), Vec::new());
    let mut groups: BTreeMap<(Option<IpAddr>, &str), (u16, u16)> = BTreeMap::new();
    let mut order = Vec::new();
    for (port, address, host_port, protocol) in ports {
        if let Some(address) = address.filter(|_| host_port != port) {
            elsewhere.push(format!("{}->{port}/{protocol}", SocketAddr::new(address, host_port)));
            continue;
        }
        let key = (address, protocol);
        match groups.get_mut(&key) {
            None => {
                groups.insert(key, (port, port));
                order.push(key);
            }
            Some((_, last)) if last.checked_add(1) == Some(port) => *last = port,
            Some(group) => {
                done.push(group_text(key, *group));
                *group = (port, port);
            }
        }
    }
    done.extend(order.into_iter().filter_map(|key| Some(group_text(key, *groups.get(&key)?))));
    done.extend(elsewhere);
    done
}

fn group_text((address, protocol): (Option<IpAddr>, &str), (first, last): (u16, u16)) -> String {
    let ports = if first == last { first.to_string() } else { format!("{first}-{last}") };
    match address {
        Some(IpAddr::V4(address)) => format!("{address}:{ports}->{ports}/{protocol}"),
        Some(IpAddr::V6(address)) => format!("[{address}]:{ports}->{ports}/{protocol}"),
        None => format!("{ports}/{protocol}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_as_people_type_them() {
        for (text, expected) in [
            ("80", Some("80/tcp")),
            ("80/TCP", Some("80/tcp")),
            ("53/udp", Some("53/udp")),
            ("0", None),
            ("65536", None),
            ("http", None),
            ("80/icmp", None),
            ("", None),
        ] {
            assert_eq!(Port::parse(text).ok(), expected.map(|port| Port(port.to_owned())), "{text}");
        }
    }

    #[test]
    fn a_line_of_ports_is_dockers() {
        let port = |text: &str| {
            let (places, protocol) = text.split_once('/').unwrap();
            let (host, port) = places.split_once("->").unwrap();
            Published {
                protocol: network::Protocol::from_name(protocol).unwrap(),
                host: host.parse().unwrap(),
                container: if host.starts_with('[') {
                    format!("[fd00::2]:{port}")
                } else {
                    format!("172.17.0.2:{port}")
                }
                .parse()
                .unwrap(),
            }
        };
        let cases: [(&[&str], &[&str], &str); 8] = [
            (
                &[],
                &["0.0.0.0:80->80/tcp", "[::]:80->80/tcp", "[::]:8443->443/tcp"],
                "0.0.0.0:80->80/tcp, [::]:80->80/tcp, [::]:8443->443/tcp",
            ),
            (&["80/tcp"], &[], "80/tcp"),
            (&["80/tcp", "443/tcp", "81/tcp", "82/udp"], &[], "80-81/tcp, 443/tcp, 82/udp"),
            (&["80/tcp"], &["0.0.0.0:8080->80/tcp"], "0.0.0.0:8080->80/tcp"),
            (&["80/tcp", "443/tcp"], &["0.0.0.0:8080->80/tcp"], "443/tcp, 0.0.0.0:8080->80/tcp"),
            (&[], &["0.0.0.0:80->80/tcp", "0.0.0.0:81->81/tcp"], "0.0.0.0:80-81->80-81/tcp"),
            (&[], &["127.0.0.1:80->80/tcp", "0.0.0.0:80->80/udp"], "0.0.0.0:80->80/udp, 127.0.0.1:80->80/tcp"),
            (&["65535/tcp", "no"], &["1.1.1.1:1->65535/udp"], "65535/tcp, 1.1.1.1:1->65535/udp"),
        ];
        for (exposed, published, expected) in cases {
            let exposed = exposed.iter().map(|port| (*port).to_owned()).collect();
            let published: Vec<Published> = published.iter().map(|text| port(text)).collect();
            assert_eq!(in_a_line(&exposed, &published).join(", "), expected, "{exposed:?} {published:?}");
        }
    }
}
