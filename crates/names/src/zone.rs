//! Names and addresses in memory, and who sees which of them.
//!
//! A container sees the names of the networks that it is on, and no others: that it is on a network is one file with its
//! id there. Who asks is known by the address that the question comes from, which is one container's on the network of
//! the server that is asked. Anybody else, such as the host, sees that network alone.

use crate::entry::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// All networks, each by the first 12 digits of its id.
#[derive(Debug, Default)]
pub(crate) struct Zone {
    networks: BTreeMap<String, Network>,
}

/// The containers of one network.
#[derive(Debug, Default)]
pub(crate) struct Network {
    ids: HashSet<String>,
    by_name: HashMap<String, Vec<Addresses>>,
    by_address: HashMap<IpAddr, Owner>,
}

/// What a container has on a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) v4: Ipv4Addr,
    pub(crate) v6: Option<Ipv6Addr>,
}

#[derive(Debug)]
struct Owner {
    id: String,
    name: Option<String>,
    servers: Vec<IpAddr>,
}

impl Network {
    pub(crate) fn new(entries: Vec<(String, Entry)>) -> Network {
        let mut network = Network::default();
        for (id, Entry { v4, v6, names, servers }) in entries {
            for name in &names {
                let holders = network.by_name.entry(name.to_ascii_lowercase()).or_default();
                let addresses = Addresses { v4, v6 };
                // The same name twice in a file is one.
                if !holders.contains(&addresses) {
                    holders.push(addresses);
                }
            }
            for address in [Some(IpAddr::V4(v4)), v6.map(IpAddr::V6)].into_iter().flatten() {
                let name = names.first().cloned();
                network.by_address.insert(address, Owner { id: id.clone(), name, servers: servers.clone() });
            }
            network.ids.insert(id);
        }
        network
    }
}

impl Zone {
    /// A zone of these containers: network, id and what is known of it there.
    pub(crate) fn of(entries: impl IntoIterator<Item = (String, String, Entry)>) -> Zone {
        let mut networks: BTreeMap<String, Vec<(String, Entry)>> = BTreeMap::new();
        for (network, id, entry) in entries {
            networks.entry(network).or_default().push((id, entry));
        }
        Zone { networks: networks.into_iter().map(|(name, entries)| (name, Network::new(entries))).collect() }
    }

    pub(crate) fn put(&mut self, name: &str, network: Network) {
        self.networks.insert(name.to_owned(), network);
    }

    pub(crate) fn keep(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.networks.retain(|name, _| is_kept(name));
    }

    /// Whom to ask for a client of network `own` in place of those that the network asks; empty if it has no wish.
    pub(crate) fn servers(&self, own: &str, client: IpAddr) -> &[IpAddr] {
        let owner = self.networks.get(own).and_then(|network| network.by_address.get(&client));
        owner.map_or(&[], |owner| &owner.servers)
    }

    /// What who asks from `client` on network `own` sees.
    pub(crate) fn view(&self, own: &str, client: IpAddr) -> View<'_> {
        let own_network = self.networks.get(own);
        let id = own_network.and_then(|network| network.by_address.get(&client)).map(|owner| owner.id.as_str());
        let others = self
            .networks
            .iter()
            .filter(|(name, network)| name.as_str() != own && id.is_some_and(|id| network.ids.contains(id)));
        View(own_network.into_iter().chain(others.map(|(_, network)| network)).collect())
    }
}

/// The networks that somebody sees: first the one on which is asked.
#[derive(Debug, Default)]
pub(crate) struct View<'a>(Vec<&'a Network>);

impl<'a> View<'a> {
    /// The addresses of a name in lower case, network by network; empty when there is no such name.
    pub(crate) fn find(&self, name: &str) -> Vec<&'a [Addresses]> {
        self.0.iter().filter_map(|network| network.by_name.get(name)).map(Vec::as_slice).collect()
    }

    /// The name of the container that has an address; nothing in it when it has no name.
    pub(crate) fn name_of(&self, address: IpAddr) -> Option<&'a str> {
        let owner = self.0.iter().find_map(|network| network.by_address.get(&address))?;
        Some(owner.name.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbb";

    fn zone() -> Zone {
        Zone::of(
            [
                (A, 1, "10.1.0.2", None, "one web"),
                (A, 2, "10.1.0.3", Some("fd00::3"), "two web"),
                (B, 2, "10.2.0.3", None, "two second"),
                (B, 3, "10.2.0.4", None, "Three web web"),
                // The same address as on the other network.
                (B, 4, "10.1.0.2", None, ""),
            ]
            .map(|(network, id, v4, v6, names)| {
                let names = names.split_whitespace().map(str::to_owned).collect();
                let entry =
                    Entry { v4: v4.parse().unwrap(), v6: v6.map(|v6| v6.parse().unwrap()), names, servers: Vec::new() };
                (network.to_owned(), format!("{id:064x}"), entry)
            }),
        )
    }

    #[test]
    fn a_container_sees_the_networks_that_it_is_on() {
        let zone = zone();
        for (own, client, name, expected) in [
            (A, "10.1.0.2", "web", "10.1.0.2 10.1.0.3"),
            (A, "10.1.0.2", "three", ""),
            (A, "10.1.0.2", "second", ""),
            (A, "10.1.0.3", "three", "10.2.0.4"),
            (A, "10.1.0.3", "web", "10.1.0.2 10.1.0.3 10.2.0.4"),
            (A, "fd00::3", "three", "10.2.0.4"),
            (A, "10.1.0.3", "two", "10.1.0.3 10.2.0.3"),
            (B, "10.2.0.3", "two", "10.2.0.3 10.1.0.3"),
            (B, "10.2.0.4", "one", ""),
            (B, "10.1.0.2", "one", ""),
            ("an unknown one", "10.1.0.2", "one", ""),
            // The host, and whoever takes an address of another network.
            (A, "10.1.0.1", "web", "10.1.0.2 10.1.0.3"),
            (A, "10.2.0.4", "three", ""),
        ] {
            let view = zone.view(own, client.parse().unwrap());
            let found: Vec<String> =
                view.find(name).concat().iter().map(|addresses| addresses.v4.to_string()).collect();
            assert_eq!(found.join(" "), expected, "{client} on {own}: {name}");
        }
    }

    #[test]
    fn an_address_leads_to_the_first_name() {
        let zone = zone();
        for (own, client, address, expected) in [
            (A, "10.1.0.2", "10.1.0.3", Some("two")),
            (A, "10.1.0.2", "fd00::3", Some("two")),
            (A, "10.1.0.2", "10.2.0.4", None),
            (A, "10.1.0.3", "10.2.0.4", Some("Three")),
            (A, "10.1.0.3", "10.1.0.2", Some("one")),
            (B, "10.2.0.4", "10.1.0.2", Some("")),
        ] {
            let name = zone.view(own, client.parse().unwrap()).name_of(address.parse().unwrap());
            assert_eq!(name, expected, "{client} on {own}: {address}");
        }
    }
}
