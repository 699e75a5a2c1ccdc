//! The networks that a container is on, from its options to its leases.

use crate::error::Error;
use crate::networks;
use crate::options::{Endpoint, NetworkMode, RunOptions};
use crate::state::Id;
use network::{Config, HostResolver, Lease, Network, Owner, Request};
use std::os::fd::OwnedFd;

/// A network and a container's place in it.
pub(crate) struct Place {
    pub(crate) config: Config,
    pub(crate) endpoint: Endpoint,
    /// How others find it there.
    pub(crate) names: Vec<String>,
    /// The network stays while this is held.
    _held: Option<OwnedFd>,
}

/// The networks of a container as its options name them, in order; each has to be there.
pub(crate) fn places(asking: &Asking<'_>) -> Result<Vec<Place>, Error> {
    let Asking { id, options, name, .. } = *asking;
    match &options.network {
        NetworkMode::Bridge => Ok(vec![default_place()]),
        NetworkMode::Named(endpoints) => {
            let held = networks::held(endpoints)?;
            let place = |((config, held), endpoint): ((Config, Option<OwnedFd>), &Endpoint)| {
                let names = names(id, name, options.hostname.as_deref(), endpoint);
                Place { config, endpoint: endpoint.clone(), names, _held: held }
            };
            Ok(held.into_iter().zip(endpoints).map(place).collect())
        }
        NetworkMode::None | NetworkMode::Host | NetworkMode::Container(_) | NetworkMode::Namespace(_) => Ok(Vec::new()),
    }
}

/// As [`places`], of a container that is on them already: one that was removed from under it is left out.
pub(crate) fn places_there(asking: &Asking<'_>) -> Result<Vec<Place>, Error> {
    let NetworkMode::Named(endpoints) = &asking.options.network else { return places(asking) };
    let mut found = Vec::new();
    for endpoint in endpoints {
        let network = NetworkMode::Named(vec![endpoint.clone()]);
        match places(&Asking { options: &RunOptions { network, ..asking.options.clone() }, ..*asking }) {
            Ok(place) => found.extend(place),
            Err(Error::NoSuchNetwork { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn default_place() -> Place {
    let config = Config::of_default();
    let endpoint = Endpoint { network: config.name.clone(), ..Endpoint::default() };
    Place { config, endpoint, names: Vec::new(), _held: None }
}

/// Whether what is asked of a network can be had there.
pub(crate) fn check(endpoint: &Endpoint) -> Result<(), Error> {
    let asks = endpoint.address.is_some() || endpoint.address6.is_some() || !endpoint.aliases.is_empty();
    if endpoint.network == networks::DEFAULT && asks {
        let reason = "an address and aliases are for networks that are made by `network create`";
        return Err(Error::Conflict(format!("{reason}: the default one has none")));
    }
    Ok(())
}

/// Whether a container has addresses of its own on networks of ours.
pub(crate) fn has_addresses(options: &RunOptions) -> bool {
    matches!(options.network, NetworkMode::Bridge | NetworkMode::Named(_))
}

/// The names by which others on a network that tells names find a container: its own, its aliases, the first digits of its
/// id, and the host name that it was given.
pub(crate) fn names(id: &Id, name: Option<&str>, hostname: Option<&str>, endpoint: &Endpoint) -> Vec<String> {
    let short = id.as_str().get(..12);
    let all = name.into_iter().chain(endpoint.aliases.iter().map(String::as_str)).chain(short).chain(hostname);
    let mut names: Vec<String> = Vec::new();
    for one in all {
        if !names.iter().any(|known| known.eq_ignore_ascii_case(one)) {
            names.push(one.to_owned());
        }
    }
    names
}

/// Who asks for addresses.
pub(crate) struct Asking<'a> {
    pub(crate) id: &'a Id,
    pub(crate) options: &'a RunOptions,
    pub(crate) name: Option<&'a str>,
    pub(crate) host: &'a HostResolver,
}

/// An address on each of the networks. The first that leads anywhere is the way out.
pub(crate) fn lease(network: &Network, asking: &Asking<'_>) -> Result<Vec<Lease>, Error> {
    let places = places(asking).map_err(|error| gone(asking, error))?;
    let owner = Owner::this_process()?;
    let way_out = places.iter().position(|place| !place.config.internal);
    // Without it they reach each other still.
    let no_way_out = way_out.and_then(|_| crate::rootless::uplink::ensure().err());
    let mut leases = Vec::with_capacity(places.len());
    for (nth, place) in places.iter().enumerate() {
        let link = u8::try_from(nth).unwrap_or(u8::MAX);
        leases.push(network.lease(&request(asking, place, owner, link, way_out == Some(nth)))?);
    }
    if let (Some(why), Some(lease)) = (no_way_out, leases.first_mut()) {
        lease.warning.get_or_insert(why.to_string());
    }
    Ok(leases)
}

/// What a container names was there when it was made.
fn gone(asking: &Asking<'_>, error: Error) -> Error {
    match error {
        Error::NoSuchNetwork { words } => {
            let container = asking.name.map_or_else(|| asking.id.as_str()[..12].to_owned(), str::to_owned);
            Error::NetworkGone { network: words, container }
        }
        other => other,
    }
}

/// Tells the name that a container has now, in place of the one that it had, on each network that it is on.
pub(crate) fn rename(network: &Network, asking: &Asking<'_>) -> Result<(), Error> {
    let servers = &asking.options.dns;
    let rename = |place: &Place| network.rename(asking.id.as_str(), &place.config, &place.names, servers);
    Ok(places(asking)?.iter().try_for_each(rename)?)
}

/// What one network is asked for.
pub(crate) fn request<'a>(
    asking: &Asking<'a>,
    place: &'a Place,
    owner: Owner,
    nth: u8,
    is_way_out: bool,
) -> Request<'a> {
    let Place { config, endpoint, names, .. } = place;
    Request {
        network: config,
        container: asking.id.as_str(),
        owner,
        host: asking.host,
        address: endpoint.address,
        mac: endpoint.mac,
        names,
        servers: &asking.options.dns,
        nth,
        is_way_out,
        made: networks::subnets,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_found_by_each_of_its_names_once() {
        let id = Id::from_file_name(&[b'a'; 64]).unwrap();
        let aliases = vec!["db".to_owned(), "Web".to_owned()];
        let endpoint = Endpoint { aliases, ..Endpoint::default() };
        for (name, hostname, expected) in [
            (Some("web"), None, vec!["web", "db", "aaaaaaaaaaaa"]),
            (None, Some("h"), vec!["db", "Web", "aaaaaaaaaaaa", "h"]),
        ] {
            assert_eq!(names(&id, name, hostname, &endpoint), expected);
        }
    }
}
