//! What the host does for all networks: it forwards, with our rules in place.

use crate::error::{Cause, Error};
use crate::leases::Leases;
use crate::network::Network;
use crate::ports::Ports;
use crate::publish::is_on_loopback;
use crate::rules::{self, Wanted};
use crate::uses::{Use, Uses};
use crate::{route, sysctl};
use rustix::io::Errno;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use step::step;

/// What to tell where iptables-legacy drops what is forwarded from and to these bridges.
pub(crate) fn legacy(bridges: &[&str]) -> String {
    let accept = |bridge: &&str| {
        ["i", "o"].map(|way| format!("`iptables-legacy -I FORWARD -{way} {bridge} -j ACCEPT`")).join(" and ")
    };
    let remedy: Vec<String> = bridges.iter().map(accept).collect();
    format!(
        "iptables-legacy drops what this host forwards, and its rules cannot be changed over nf_tables: containers reach \
         nothing but the host until you run {}",
        remedy.join(", ")
    )
}

const OWNED: &str = "an nf_tables table that only its owner may change drops what this host forwards: containers reach \
     nothing but the host until its program lets through what comes from and goes to their bridges (`nft list tables` shows \
     the flag owner)";

impl Network {
    /// Rules and forwarding. Returns a warning when this host has what we cannot change.
    pub(crate) fn ensure_rules(
        &self,
        lock: &impl AsFd,
        leases: &mut Leases,
        has_six: bool,
        resolver: Option<Ipv4Addr>,
    ) -> Result<Option<String>, Error> {
        sysctl::ensure_forwarding(has_six)?;
        // Once forwarded, forwarded until the network is gone: containers that run were told to ask the gateway.
        let resolver = resolver.or(leases.head.resolver);
        let netfilter = self.netfilter()?;
        let is_known = leases.head.rules.is_some() && leases.head.resolver == resolver;
        if is_known && leases.head.rules == Some(rules::generation(netfilter)?) {
            return Ok(None);
        }
        self.install(lock, leases, resolver)
    }

    /// Puts the rules in place anew, for all networks in use and with all that is published.
    pub(crate) fn install(
        &self,
        lock: &impl AsFd,
        leases: &mut Leases,
        resolver: Option<Ipv4Addr>,
    ) -> Result<Option<String>, Error> {
        let files = Ports::open(lock.as_fd(), &self.run_dir, false)?;
        let ports = files.map_or(Ok(Vec::new()), |files| files.of_living(leases))?;
        let uses = Uses::open(lock.as_fd(), &self.run_dir, false)?;
        let networks = uses.map_or(Ok(Vec::new()), |uses| uses.all())?;
        let installed = step(
            "install-rules",
            "they are not there, or somebody changed the host's rules since they were",
            || {
                format!(
                    "nf_tables table inet {}, and leave for {} bridges in chains that drop",
                    rules::TABLE,
                    networks.len()
                )
            },
            || rules::install(self.netfilter()?, &Wanted { networks: &networks, ports: &ports, resolver }),
        )?;
        // Only now that nothing else is let through.
        let asks_host = |network: &&Use| resolver.is_some() && network.names.is_none() && !network.internal;
        let publishes = |network: &&Use| ports.iter().any(|port| is_on_loopback(port) && network.has(port));
        for network in networks.iter().filter(|network| asks_host(network) || publishes(network)) {
            self.route_loopback(&network.bridge, network.six.is_some())?;
        }
        leases.head.rules = Some(installed.generation);
        leases.head.resolver = resolver;
        leases.write_head()?;
        if installed.is_closed {
            return Ok(Some(OWNED.to_owned()));
        }
        let bridges: Vec<&str> = networks.iter().filter(|one| !one.internal).map(|one| one.bridge.as_str()).collect();
        Ok((!bridges.is_empty() && rules::legacy_drops()).then(|| legacy(&bridges)))
    }

    /// Lets through what goes between the host's loopback addresses and a bridge, which else the kernel drops.
    pub(crate) fn route_loopback(&self, bridge: &str, has_six: bool) -> Result<(), Error> {
        let path = format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet");
        let way_back = || {
            let fail = |errno| Error::Loopback6 { bridge: bridge.to_owned(), source: Cause::from(errno) };
            let link = route::link(self.route()?, bridge).map_err(fail)?.ok_or(fail(Errno::NODEV))?;
            route::take_in_loopback6(self.route()?, link.index).map_err(fail)
        };
        step(
            "route-loopback",
            "for ports that are published on 127.0.0.1, and the host's own name server; the rules let nothing else through",
            || format!("route_localnet of {bridge}{}", if has_six { ", and a route to ::1" } else { "" }),
            || {
                sysctl::turn_on(&path)?;
                if has_six { way_back() } else { Ok(()) }
            },
        )
    }
}
