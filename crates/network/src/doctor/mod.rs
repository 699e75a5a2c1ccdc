//! What on this host breaks, or may break, the containers' network: looked at, and never changed.
//!
//! Each check is a function that looks at one thing and tells its [`Finding`]: what it is, how it is, what was seen, and
//! what to do. What cannot be looked at is told as broken, with the reason: a check that nobody could make is no good
//! news. Nothing stays on the host: what has to be tried is tried in a network namespace of its own, which ends with the
//! thread that made it (`kernel.rs`).

mod firewall;
mod kernel;
mod links;
mod settings;

use crate::BRIDGE;
use crate::config::Config;
use crate::error::Error;
use crate::free::{Used, used_by_host};
use crate::leases::Leases;
use crate::resolver::HostResolver;
use crate::route::{self, Link, Net};
use crate::rundir::Locked;
use crate::socket::Netlink;
use crate::telling;
use crate::uses::{Use, Uses};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, or will; but who looks for a reason should know.
    Note,
    /// Containers do not reach what they should.
    Broken,
}

impl State {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Note => "note",
            State::Broken => "broken",
        }
    }
}

/// What was found of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which thing.
    pub name: &'static str,
    /// How it is.
    pub state: State,
    /// What was seen.
    pub seen: String,
    /// What to do; empty where there is nothing to be done.
    pub remedy: String,
}

impl Finding {
    fn ok(name: &'static str, seen: impl Into<String>) -> Finding {
        Finding { name, state: State::Ok, seen: seen.into(), remedy: String::new() }
    }

    fn note(name: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { name, state: State::Note, seen: seen.into(), remedy: remedy.into() }
    }

    fn broken(name: &'static str, seen: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { name, state: State::Broken, seen: seen.into(), remedy: remedy.into() }
    }
}

/// What is to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Patient<'a> {
    /// The run directory of the network.
    pub run_dir: &'a Path,
    /// The networks that were made.
    pub networks: &'a [Config],
    /// How the host resolves names.
    pub resolver: &'a HostResolver,
}

/// What several checks look at.
struct Around<'a> {
    patient: Patient<'a>,
    netfilter: Netlink,
    /// The networks on which containers have addresses.
    uses: Vec<Use>,
    /// The host's name server that those without names of their own ask.
    forwards_to: Option<Ipv4Addr>,
    /// Bridges of those of them on which names shall be told, and nobody does.
    silent: Vec<String>,
    /// How many containers are on the network that has most, by the name of its bridge.
    fullest: Option<(String, usize)>,
    links: Vec<Link>,
    routes: Vec<Net>,
    host: Vec<Used>,
}

impl Around<'_> {
    fn bridge(&self) -> Option<&Link> {
        self.links.iter().find(|link| link.name == BRIDGE && link.kind == "bridge")
    }

    /// Whether containers on a network ask this host for names.
    fn asks_host(&self, one: &Use) -> bool {
        one.names.is_some() || (self.forwards_to.is_some() && !one.internal)
    }

    /// The links by which packets leave this host.
    fn uplinks(&self) -> Vec<&Link> {
        let default = self.routes.iter().filter(|route| route.prefix == 0);
        let mut uplinks: Vec<&Link> =
            default.filter_map(|route| self.links.iter().find(|link| link.index == route.link)).collect();
        uplinks.sort_by_key(|link| link.index);
        uplinks.dedup_by_key(|link| link.index);
        uplinks
    }
}

/// Looks at everything.
pub fn examine(patient: Patient<'_>) -> Result<Vec<Finding>, Error> {
    let netlink = Netlink::route()?;
    let (uses, silent, fullest, forwards_to) = uses(patient.run_dir)?;
    let around = Around {
        patient,
        netfilter: Netlink::netfilter()?,
        uses,
        forwards_to,
        silent,
        fullest,
        links: route::links(&netlink)?,
        routes: route::routes(&netlink)?,
        host: used_by_host()?,
    };
    let mut findings = vec![
        kernel::probe(),
        settings::forwarding(&around),
        firewall::own_rules(&around),
        firewall::foreign_chains(&around),
        firewall::questions(&around),
        firewall::legacy(&around),
        settings::reverse_path(&around),
        settings::bridge_packets(),
        settings::bridge_packets6(&around),
        settings::ipv6(&around),
        settings::connections(),
        settings::neighbours(),
        links::ports(&around),
        links::default_route(&around),
        links::mtu(&around),
        links::resolver(&around),
    ];
    findings.extend(names(&around));
    findings.extend(links::subnets(&around));
    Ok(findings)
}

/// Whether somebody tells names, where a network is on which they are told.
fn names(around: &Around<'_>) -> Option<Finding> {
    const NAME: &str = "names";
    if around.uses.iter().all(|one| one.names.is_none()) {
        return None;
    }
    Some(match around.silent.first() {
        Some(bridge) => Finding::broken(
            NAME,
            format!("the process mc-names of the bridge {bridge} is gone, and containers there resolve nothing"),
            "`mycontainer network reload` starts it again",
        ),
        None => Finding::ok(NAME, "on each network that tells names somebody does"),
    })
}

type InUse = (Vec<Use>, Vec<String>, Option<(String, usize)>, Option<Ipv4Addr>);

fn uses(run_dir: &Path) -> Result<InUse, Error> {
    let Some(lock) = Locked::new(run_dir, false)? else { return Ok(Default::default()) };
    let Some(leases) = Leases::open(lock.as_fd(), run_dir, false)? else { return Ok(Default::default()) };
    let Some(files) = Uses::open(lock.as_fd(), run_dir, false)? else { return Ok(Default::default()) };
    let used = leases.networks();
    let mut uses = files.all()?;
    uses.retain(|one| used.contains(&one.tag));
    let mut silent = Vec::new();
    for one in &uses {
        if telling::is_silent(&files, one)? {
            silent.push(one.bridge.clone());
        }
    }
    let counted = uses.iter().map(|one| (one.bridge.clone(), leases.of(one.tag).count()));
    let fullest = counted.max_by_key(|(_, count)| *count);
    Ok((uses, silent, fullest, leases.head.resolver))
}
