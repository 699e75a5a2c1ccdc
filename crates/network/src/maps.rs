//! The maps of our table: from a port of the host to a port of a container.
//!
//! `published` has the ports of one address of the host, by protocol, address and port; `published_any` those of all
//! addresses, by protocol and port; `published6` and `published6_any` are the same of IPv6. A start that publishes adds elements and no rule, so neither that nor what the kernel
//! does with a packet takes longer the more there are.

use crate::nft::{Element, Field, Map};
use crate::ports::Published;
use crate::rule::link_name;
use std::collections::HashSet;
use std::net::IpAddr;

const VALUE: &[Field] = &[Field::Address, Field::Port];
const VALUE6: &[Field] = &[Field::Address6, Field::Port];

/// Ports that are published on one address of the host.
pub(crate) const BY_ADDRESS: Map =
    Map { name: "published", id: 1, key: &[Field::Protocol, Field::Address, Field::Port], value: VALUE };
/// Ports that are published on every address of the host.
pub(crate) const OF_ALL: Map = Map { name: "published_any", id: 2, key: &[Field::Protocol, Field::Port], value: VALUE };
/// Ports that are published on one address of IPv6.
pub(crate) const BY_ADDRESS6: Map =
    Map { name: "published6", id: 3, key: &[Field::Protocol, Field::Address6, Field::Port], value: VALUE6 };
/// Ports that are published on every address of IPv6.
pub(crate) const OF_ALL6: Map =
    Map { name: "published6_any", id: 4, key: &[Field::Protocol, Field::Port], value: VALUE6 };
/// All of them.
pub(crate) const ALL: [&Map; 4] = [&BY_ADDRESS, &OF_ALL, &BY_ADDRESS6, &OF_ALL6];

/// The bridges.
pub(crate) const BRIDGES: Map = Map { name: "bridges", id: 5, key: &[Field::Link], value: &[] };
/// Those of networks that nothing leads out of, or in.
pub(crate) const CLOSED: Map = Map { name: "closed", id: 6, key: &[Field::Link], value: &[] };
/// Each bridge with itself: what stays within a network.
pub(crate) const WITHIN: Map = Map { name: "within", id: 7, key: &[Field::Link, Field::Link], value: &[] };

/// A link's name as an element of a set.
pub(crate) fn link(name: &str) -> Element {
    (link_name(name).to_vec(), Vec::new())
}

/// A link's name, twice.
pub(crate) fn link_twice(name: &str) -> Element {
    ([link_name(name), link_name(name)].concat(), Vec::new())
}

/// The elements of ports, with the map in which they are; of two that are the same the first. No map without elements.
pub(crate) fn of(ports: &[Published]) -> Vec<(&'static Map, Vec<Element>)> {
    let mut seen = HashSet::new();
    let mut elements: Vec<(&'static Map, Vec<Element>)> = ALL.into_iter().map(|map| (map, Vec::new())).collect();
    // Those that lead nowhere wait for another network.
    let led = ports.iter().filter(|port| !port.container.ip().is_unspecified());
    for port in led.filter(|port| seen.insert((port.protocol, port.host))) {
        let octets = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let value = [&octets(port.container.ip())[..], &padded(port.container.port())].concat();
        let (protocol, host) = ([port.protocol as u8, 0, 0, 0], padded(port.host.port()));
        let is_any = port.host.ip().is_unspecified();
        let address = if is_any { Vec::new() } else { octets(port.host.ip()) };
        let nth = usize::from(is_any) + if port.host.is_ipv4() { 0 } else { 2 };
        if let Some((_, elements)) = elements.get_mut(nth) {
            elements.push(([&protocol[..], &address, &host].concat(), value));
        }
    }
    elements.retain(|(_, elements)| !elements.is_empty());
    elements
}

/// As it stands in a register: network order, at the front.
fn padded(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Protocol;

    #[test]
    fn elements_are_as_the_registers_have_them() {
        let port = |protocol, host: &str| Published {
            protocol,
            host: host.parse().unwrap(),
            container: if host.starts_with('[') { "[fd00::2]:258" } else { "172.17.0.2:258" }.parse().unwrap(),
        };
        let value = vec![172, 17, 0, 2, 1, 2, 0, 0];
        let elements = of(&[
            port(Protocol::Tcp, "0.0.0.0:80"),
            port(Protocol::Udp, "127.0.0.1:53"),
            port(Protocol::Tcp, "0.0.0.0:80"),
            port(Protocol::Sctp, "0.0.0.0:80"),
            port(Protocol::Tcp, "[::]:80"),
        ]);
        let six = [&[0xfd_u8][..], &[0; 14], &[2, 1, 2, 0, 0]].concat();
        let expected = vec![
            (&BY_ADDRESS, vec![(vec![17, 0, 0, 0, 127, 0, 0, 1, 0, 53, 0, 0], value.clone())]),
            (&OF_ALL, vec![(vec![6, 0, 0, 0, 0, 80, 0, 0], value.clone()), (vec![132, 0, 0, 0, 0, 80, 0, 0], value)]),
            (&OF_ALL6, vec![(vec![6, 0, 0, 0, 0, 80, 0, 0], six)]),
        ];
        assert_eq!(elements, expected);
        assert_eq!(of(&[]), []);
    }
}
