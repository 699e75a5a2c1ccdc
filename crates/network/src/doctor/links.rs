//! Links, routes and addresses, and where names are asked for.

use super::{Around, Finding};
use crate::cidr::Cidr;
use crate::config::{Config, Driver};
use crate::{BRIDGE, LINK_PREFIX};

/// Whether there is a way out of this host.
pub(super) fn default_route(around: &Around<'_>) -> Finding {
    const NAME: &str = "default-route";
    let names: Vec<&str> = around.uplinks().iter().map(|link| link.name.as_str()).collect();
    match names.as_slice() {
        [] => Finding::note(
            NAME,
            "there is no default route of IPv4: containers reach no more than this host does",
            "`ip route add default via ADDRESS`, if this host shall reach the world",
        ),
        names => Finding::ok(NAME, format!("by {}", names.join(", "))),
    }
}

/// Whether what fits on a network fits through the uplink, too.
pub(super) fn mtu(around: &Around<'_>) -> Finding {
    const NAME: &str = "mtu";
    let Some(uplink) = around.uplinks().into_iter().min_by_key(|link| link.mtu) else {
        return Finding::ok(NAME, "there is no uplink");
    };
    let leads_out = |network: &&Config| network.driver == Driver::Bridge && !network.internal;
    let made = around.patient.networks.iter().filter(leads_out);
    let made = made.filter_map(|network| Some((format!("the network {:?}", network.name), network.mtu?)));
    let mut all = around.bridge().map(|bridge| (BRIDGE.to_owned(), bridge.mtu)).into_iter().chain(made);
    match all.find(|(_, mtu)| *mtu > uplink.mtu) {
        Some((name, mtu)) => Finding::broken(
            NAME,
            format!("{name} has an MTU of {mtu}, and {} of {}: large packets get lost", uplink.name, uplink.mtu),
            format!(
                "end its containers, so that the default network is made anew; make any other with -o mtu={}",
                uplink.mtu
            ),
        ),
        None => Finding::ok(NAME, format!("no network carries more than {}, which has {}", uplink.name, uplink.mtu)),
    }
}

/// Whether another container finds a port on the bridge that has most.
pub(super) fn ports(around: &Around<'_>) -> Finding {
    room(around.fullest.as_ref().map(|(bridge, count)| (bridge.as_str(), *count)))
}

fn room(fullest: Option<(&str, usize)>) -> Finding {
    const NAME: &str = "bridge-ports";
    // [net/bridge/br_private.h, BR_MAX_PORTS]
    const MOST: usize = 1023;
    let Some((bridge, count)) = fullest else { return Finding::ok(NAME, "no network is in use") };
    let seen = format!("the bridge {bridge} has {count} containers, and the kernel lets it have {MOST}");
    let remedy = "put further containers on another network, of `mycontainer network create`";
    match count {
        ..800 => Finding::ok(NAME, seen),
        800..MOST => Finding::note(NAME, seen, remedy),
        _ => Finding::broken(NAME, seen, remedy),
    }
}

/// Whether a container can ask whom the host asks.
pub(super) fn resolver(around: &Around<'_>) -> Finding {
    const NAME: &str = "resolver";
    if around.patient.resolver.is_out_of_reach() {
        return Finding::broken(
            NAME,
            "/etc/resolv.conf names servers of IPv6 only, and the containers have IPv4",
            "name one of IPv4 there, or give containers one with --dns",
        );
    }
    Finding::ok(NAME, "the servers in /etc/resolv.conf can be asked from containers")
}

/// Whether networks that were made still have their subnets to themselves: one finding for each that has not.
pub(super) fn subnets(around: &Around<'_>) -> Vec<Finding> {
    const NAME: &str = "subnet";
    let clashes: Vec<Finding> = around.patient.networks.iter().filter_map(|network| clash(around, network)).collect();
    if clashes.is_empty() {
        let seen = match around.patient.networks.len() {
            0 => "no network was made".to_owned(),
            _ => "this host uses the subnet of no network".to_owned(),
        };
        return vec![Finding::ok(NAME, seen)];
    }
    clashes
}

fn clash(around: &Around<'_>, network: &Config) -> Option<Finding> {
    if network.driver != Driver::Bridge {
        // Where the parent is, there the host is as well.
        return None;
    }
    let v4 = Cidr::new(network.ipv4.subnet.into(), network.ipv4.prefix);
    let v6 = network.ipv6.map(|pool| Cidr::new(pool.subnet.into(), pool.prefix));
    // Its own bridge, while containers are on it.
    let is_own = |link: &str| network.bridge.as_deref() == Some(link) || link.starts_with(LINK_PREFIX);
    let mut subnets = std::iter::once(v4).chain(v6);
    subnets.find_map(|subnet| {
        let used = around.host.iter().find(|used| used.subnet.overlaps(&subnet) && !is_own(&used.link))?;
        Some(Finding::broken(
            "subnet",
            format!("{subnet} of the network {:?} overlaps {used}", network.name),
            format!("`mycontainer network rm {0}`, and make it again with another --subnet", network.name),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_that_is_nearly_full_is_told_of() {
        use super::super::State;
        for (count, expected) in
            [(0, State::Ok), (799, State::Ok), (800, State::Note), (1022, State::Note), (1023, State::Broken)]
        {
            assert_eq!(room(Some(("br0", count))).state, expected, "{count}");
        }
    }
}
