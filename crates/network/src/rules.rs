//! The rules of the network: our own table, and two rules in chains of others that would drop our packets.
//!
//! `table inet mycontainer` is replaced as a whole, in one transaction, so it is always complete. In it:
//!
//! - `forward`: a container may start connections to anywhere but other networks of ours; into a network come only
//!   answers, and connections to published ports. Nothing else is routed from another link into a container that it did
//!   not ask for. What belongs to an internal network stays within it. The bridges stand in sets (`maps.rs`), so that a
//!   packet meets as many rules whatever the number of networks.
//! - `prerouting` and `output`: what is sent to an address of this host, by others or by the host itself, goes to the
//!   container that publishes the port, as the maps have it (`maps.rs`). These and the next chain see the first packet of
//!   a connection only.
//! - `postrouting`: what leaves a network's subnet by another link gets the host's address (masquerade), unless the network
//!   is a routed one. So does what would be answered past us: a published port that is reached from the subnet itself, and
//!   from the host's loopback. All others keep their address, and a server sees who its clients are.
//! - `martians` drops whatever comes from another link than `lo` with a loopback address. The kernel does so too, but not
//!   on a link with `route_localnet`, which the bridge needs for ports on 127.0.0.1 and for the host's resolver: without
//!   this it would open every service that listens on 127.0.0.1 to the containers [CVE-2020-8558]. It stands before
//!   connection tracking, and thus before the rewriting of destinations: what is published on 127.0.0.1 is for this host,
//!   and not for whoever sends us packets for that address.
//!   It drops as well what is sent to a network's gateway from within and under an address of elsewhere, where names are
//!   told by who asks.
//!   IPv6 has no such setting and needs no such rule: the kernel drops what comes for `::1` from another link before it asks
//!   anybody. An answer to the host's own `::1` had another destination when it came, and is let in by a route of the
//!   bridge's to `::1` (`route.rs`). Where bridges' packets pass through the rules (`bridge-nf-call-ip6tables`) it is turned
//!   back into one to `::1` too early, and is dropped: there a port is reached at `127.0.0.1` and not at `::1`.
//! - where names are told on a network, `prerouting` sends port 53 of its gateway to the process that tells them. On one
//!   without, when the host resolves names through a server on its loopback, `prerouting` sends gateway:53 to it, and
//!   `input` makes the question come from 127.0.0.1, for such servers answer local clients only.
//!
//! A drop is final in whichever chain it happens, and Docker and many firewalls set the policy of their forward chain
//! to drop, ufw that of its input chain as well. Each such forward chain gets two rules at its head that accept what
//! comes from and goes to each bridge, each such input chain those for questions about names, with the comment
//! "mycontainer", by which they are found and removed again. They use only what iptables-nft understands, so that
//! `iptables -L` goes on working. Ours still decides about those packets.
//!
//! Who flushes all rules takes `martians` away and leaves `route_localnet`: until the next start or `network reload` a
//! container that can send raw packets reaches what listens on 127.0.0.1. A forward chain that rejects by a rule at its
//! end and not by its policy is not seen to drop. One in a table that only its owner may change (`flags owner`) is left as it
//! is, and told of.
//!
//! Everything here goes with the last bridge: [`remove`] is called by the janitor.

use crate::error::{Cause, Error};
use crate::maps;
use crate::nft::{self, Chain, Element, Hook, Transaction};
use crate::ports::Published;
use crate::rule::{Rule, TCP, UDP, Verdict};
use crate::socket::Netlink;
use crate::subnet::Subnet;
use crate::uses::Use;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use std::cell::Cell;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

/// Our table, of family inet.
pub(crate) const TABLE: &str = "mycontainer";
/// The comment of our rules in other tables.
pub(crate) const MARK: &str = "mycontainer";
/// How often a transaction is planned anew because somebody changed rules at the same time.
const ATTEMPTS: usize = 20;

const DNS: u16 = 53;
/// The host's own loopback link.
const LO: &str = "lo";
const LOOPBACK: (Ipv4Addr, u8) = (Ipv4Addr::new(127, 0, 0, 0), 8);

// Priorities. [linux/netfilter_ipv4.h: NF_IP_PRI_*]
const RAW: i32 = -300;
const DESTINATION_NAT: i32 = -100;
const FILTER: i32 = 0;
const SOURCE_NAT: i32 = 100;

/// What the rules depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted<'a> {
    /// The networks that are in use.
    pub(crate) networks: &'a [Use],
    /// All that is published.
    pub(crate) ports: &'a [Published],
    /// The host's own name server to which gateway:53 is forwarded.
    pub(crate) resolver: Option<Ipv4Addr>,
}

/// The present generation of the rule set, by which a change of any rule by anybody is seen.
pub(crate) fn generation(netlink: &Netlink) -> Result<u32, Error> {
    nft::generation(netlink).map_err(refused)
}

/// What has been put in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Installed {
    /// The generation of the rule set that has our rules.
    pub(crate) generation: u32,
    /// A chain drops in which we cannot have any: only its owner may change its table.
    pub(crate) is_closed: bool,
}

/// Puts our rules in place, whatever is there now.
pub(crate) fn install(netlink: &Netlink, wanted: &Wanted<'_>) -> Result<Installed, Error> {
    let is_closed = Cell::new(false);
    let planned_on = transaction(netlink, |generation| {
        let mut change = Transaction::new(generation);
        our_table(&mut change, wanted);
        let (open, closed) = foreign_chains(netlink)?;
        is_closed.set(closed.iter().any(|chain| chain.drops && chain.hook == Hook::Forward as u32));
        for chain in open {
            take_back(netlink, &mut change, &chain)?;
            if chain.drops {
                wanted.networks.iter().for_each(|network| leave_for(&mut change, &chain, network, wanted.resolver));
            }
        }
        Ok(change)
    })?;
    Ok(Installed { generation: after(planned_on), is_closed: is_closed.get() })
}

/// Publishes ports, on the rule set of this generation, which has our rules. Returns the next one. Of another
/// generation, or where one of them is published already, nothing happens.
pub(crate) fn publish(netlink: &Netlink, generation: u32, ports: &[Published]) -> Result<u32, Errno> {
    let mut change = Transaction::new(generation);
    for (map, elements) in maps::of(ports) {
        change.add_elements(TABLE, map, &elements);
    }
    change.commit(netlink).map(|()| after(generation))
}

/// Ends the publishing of ports, whatever is there of it. Returns the generation before and after, if it was all there.
pub(crate) fn withdraw(netlink: &Netlink, ports: &[Published]) -> Result<Option<(u32, u32)>, Error> {
    let remove = |ports: &[Published]| {
        transaction(netlink, |generation| {
            let mut change = Transaction::new(generation);
            for (map, elements) in maps::of(ports) {
                change.delete_elements(TABLE, map, &elements);
            }
            Ok(change)
        })
    };
    let is_missing = |error: &Error| matches!(error, Error::Rules { source: Cause { errno: Errno::NOENT, .. }, .. });
    match remove(ports) {
        Ok(planned_on) => return Ok(Some((planned_on, after(planned_on)))),
        Err(error) if is_missing(&error) => {}
        Err(error) => return Err(error),
    }
    // Somebody has flushed the rules, or a part of them.
    for port in ports {
        match remove(std::slice::from_ref(port)) {
            Err(error) if !is_missing(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(None)
}

/// What has been committed on generation n is generation n + 1, and 0 is left out.
fn after(generation: u32) -> u32 {
    generation.checked_add(1).unwrap_or(1)
}

/// Takes our table and our rules in other tables away again.
pub(crate) fn remove(netlink: &Netlink) -> Result<(), Error> {
    transaction(netlink, |generation| {
        let mut change = Transaction::new(generation);
        for chain in foreign_chains(netlink)?.0 {
            take_back(netlink, &mut change, &chain)?;
        }
        // Made first, for what is not there cannot be deleted.
        change.table(nft::INET, TABLE);
        change.delete_table(nft::INET, TABLE);
        Ok(change)
    })
    .map(|_| ())
}

/// True when the policy of iptables-legacy is to drop what is forwarded: its rules cannot be seen or changed over nf_tables.
pub(crate) fn legacy_drops() -> bool {
    let tables = std::fs::read_to_string("/proc/thread-self/net/ip_tables_names").unwrap_or_default();
    tables.lines().any(|line| line == "filter")
        && socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::RAW))
            .is_ok_and(|socket| sys::iptables::forward_policy_drops(socket.as_fd()).unwrap_or(false))
}

/// Plans and commits until nobody came between. Returns the generation on which it was planned.
fn transaction(netlink: &Netlink, plan: impl Fn(u32) -> Result<Transaction, Errno>) -> Result<u32, Error> {
    for _ in 0..ATTEMPTS {
        let generation = nft::generation(netlink).map_err(refused)?;
        // A rule or chain that vanished while we listed is ENOENT; a listing that was disturbed is EINTR.
        match plan(generation).and_then(|change| change.commit(netlink)) {
            Ok(()) => return Ok(generation),
            Err(nft::STALE | Errno::INTR) => {}
            // What the kernel answered is not known: whether it was done is.
            Err(Errno::NOBUFS) if nft::generation(netlink) == Ok(after(generation)) => return Ok(generation),
            Err(errno) if nft::generation(netlink) == Ok(generation) => return Err(refused(errno)),
            Err(_) => {}
        }
    }
    Err(refused(nft::STALE))
}

fn refused(errno: Errno) -> Error {
    // A kernel without nf_tables has no such netlink subsystem.
    let errno = if errno == Errno::INVAL { Errno::OPNOTSUPP } else { errno };
    Error::Rules {
        table: TABLE,
        source: Cause::of(errno, "nf_tables nft_chain_nat nft_nat nft_masq nft_ct nft_fib_inet"),
    }
}

/// Chains of others that decide about what is forwarded, and about what is for the host: those that anybody may change, and
/// those of tables that only their owner may.
fn foreign_chains(netlink: &Netlink) -> Result<(Vec<Chain>, Vec<Chain>), Errno> {
    let ours = |chain: &Chain| chain.family == nft::INET && chain.table == TABLE;
    let sees_ip = |chain: &Chain| [nft::INET, nft::IPV4, nft::IPV6].contains(&chain.family);
    let decides = |chain: &Chain| chain.hook == Hook::Forward as u32 || chain.hook == Hook::Input as u32;
    let mut chains = nft::base_chains(netlink)?;
    chains.retain(|chain| decides(chain) && sees_ip(chain) && !ours(chain));
    let owned = if chains.is_empty() { Vec::new() } else { nft::owned_tables(netlink)? };
    let is_owned = |chain: &Chain| owned.iter().any(|(family, name)| *family == chain.family && *name == chain.table);
    Ok(chains.into_iter().partition(|chain| !is_owned(chain)))
}

/// Removes our rules from somebody's chain.
fn take_back(netlink: &Netlink, change: &mut Transaction, chain: &Chain) -> Result<(), Errno> {
    for handle in nft::rules_marked(netlink, chain, &nft::comment(MARK))? {
        change.delete_rule(chain, handle);
    }
    Ok(())
}

/// Puts our rules at the head of somebody's chain.
fn leave_for(change: &mut Transaction, chain: &Chain, network: &Use, resolver: Option<Ipv4Addr>) {
    let mut accept = |rule: Rule| change.insert(chain, &rule.counter().verdict(Verdict::Accept), &nft::comment(MARK));
    let entering = || Rule::default().entering(&network.bridge);
    // iptables-nft shows no rule of family ip that asks whether it is ip.
    let asking = || if chain.family == nft::IPV4 { entering() } else { entering().ipv4() };
    if chain.family == nft::IPV6 && network.six.is_none() {
        return;
    }
    if chain.hook == Hook::Forward as u32 {
        accept(Rule::default().leaving(&network.bridge));
        accept(entering());
    } else if chain.family == nft::IPV6 {
        // Questions are asked over IPv4.
    } else if let Some(port) = network.names {
        for protocol in [UDP, TCP] {
            accept(asking().destination(network.subnet.gateway, 32).destination_port(protocol, port));
        }
    } else if let Some(resolver) = resolver.filter(|_| !network.internal) {
        // Of what is sent to a loopback address from the bridge only questions get here: `martians` drops the rest.
        accept(asking().destination(resolver, 32));
    }
}

fn our_table(change: &mut Transaction, wanted: &Wanted<'_>) {
    // Made, deleted, made: replaced, whether it was there or not.
    change.table(nft::INET, TABLE);
    change.delete_table(nft::INET, TABLE);
    change.table(nft::INET, TABLE);
    forwarding(change, wanted.networks);
    sources(change, wanted.networks);
    martians(change, wanted.networks);
    destinations(change, wanted);
}

fn forwarding(change: &mut Transaction, networks: &[Use]) {
    let of = |which: fn(&&Use) -> bool, element: fn(&str) -> Element| -> Vec<Element> {
        networks.iter().filter(which).map(|network| element(&network.bridge)).collect()
    };
    for (set, elements) in [
        (&maps::BRIDGES, of(|_| true, maps::link)),
        (&maps::CLOSED, of(|network| network.internal, maps::link)),
        (&maps::WITHIN, of(|_| true, maps::link_twice)),
    ] {
        change.map(TABLE, set);
        change.add_elements(TABLE, set, &elements);
    }
    change.chain(TABLE, "forward", "filter", Hook::Forward, FILTER);
    let into = || Rule::default().leaving_any(&maps::BRIDGES);
    for (rule, verdict) in [
        (Rule::default().passing_any(&maps::WITHIN), Verdict::Accept),
        (Rule::default().leaving_any(&maps::CLOSED), Verdict::Drop),
        (Rule::default().entering_any(&maps::CLOSED), Verdict::Drop),
        (into().established(), Verdict::Accept),
        (into().redirected(), Verdict::Accept),
        (into(), Verdict::Drop),
        (Rule::default().entering_any(&maps::BRIDGES), Verdict::Accept),
    ] {
        change.append(TABLE, "forward", &rule.verdict(verdict));
    }
}

fn sources(change: &mut Transaction, networks: &[Use]) {
    change.chain(TABLE, "postrouting", "nat", Hook::Postrouting, SOURCE_NAT);
    for Use { bridge, subnet: Subnet { gateway, prefix }, six, internal, routed, .. } in networks {
        let (loopback, bits) = LOOPBACK;
        let from_subnet = || Rule::default().ipv4().source(*gateway, *prefix);
        let from_subnet6 = six.map(|six| move || Rule::default().ipv6().source6(six.subnet, six.prefix));
        let is_hidden = !routed && !internal;
        let rules = [
            is_hidden.then(|| from_subnet().not_leaving(bridge)),
            Some(from_subnet().leaving(bridge).redirected()),
            Some(Rule::default().ipv4().source(loopback, bits).leaving(bridge)),
            from_subnet6.filter(|_| is_hidden).map(|from_subnet| from_subnet().not_leaving(bridge)),
            from_subnet6.map(|from_subnet| from_subnet().leaving(bridge).redirected()),
            six.map(|_| Rule::default().ipv6().source6(Ipv6Addr::LOCALHOST, 128).leaving(bridge)),
        ];
        for rule in rules.into_iter().flatten() {
            change.append(TABLE, "postrouting", &rule.masquerade());
        }
    }
}

fn martians(change: &mut Transaction, networks: &[Use]) {
    let (loopback, bits) = LOOPBACK;
    let from_outside = || Rule::default().not_entering(LO).ipv4();
    change.chain(TABLE, "martians", "filter", Hook::Prerouting, RAW);
    change.append(TABLE, "martians", &from_outside().destination(loopback, bits).verdict(Verdict::Drop));
    change.append(TABLE, "martians", &from_outside().source(loopback, bits).verdict(Verdict::Drop));
    for Use { bridge, subnet: Subnet { gateway, prefix }, .. } in networks.iter().filter(|one| one.names.is_some()) {
        let to_gateway = Rule::default().entering(bridge).ipv4().destination(*gateway, 32);
        change.append(TABLE, "martians", &to_gateway.not_source(*gateway, *prefix).verdict(Verdict::Drop));
    }
}

fn destinations(change: &mut Transaction, wanted: &Wanted<'_>) {
    change.chain(TABLE, "prerouting", "nat", Hook::Prerouting, DESTINATION_NAT);
    let asks_host = |network: &Use| network.names.is_none() && !network.internal;
    if wanted.resolver.is_some() && wanted.networks.iter().any(asks_host) {
        change.chain(TABLE, "input", "nat", Hook::Input, SOURCE_NAT);
    }
    for network in wanted.networks {
        let gateway = network.subnet.gateway;
        let entering = || Rule::default().entering(&network.bridge).ipv4();
        for protocol in [UDP, TCP] {
            let to_gateway = entering().destination(gateway, 32).destination_port(protocol, DNS);
            if let Some(port) = network.names {
                change.append(TABLE, "prerouting", &to_gateway.destination_nat(gateway, port));
            } else if let Some(resolver) = wanted.resolver.filter(|_| asks_host(network)) {
                change.append(TABLE, "prerouting", &to_gateway.destination_nat(resolver, DNS));
                let to_resolver = entering().destination(resolver, 32).destination_port(protocol, DNS);
                change.append(TABLE, "input", &to_resolver.source_nat(Ipv4Addr::LOCALHOST));
            }
        }
    }
    // After the questions to the resolver: a container that publishes port 53 must not get those of all others.
    for map in maps::ALL {
        change.map(TABLE, map);
    }
    change.chain(TABLE, "output", "nat", Hook::Output, DESTINATION_NAT);
    for chain in ["prerouting", "output"] {
        for (family, by_address, of_all) in
            [(nft::IPV4, &maps::BY_ADDRESS, &maps::OF_ALL), (nft::IPV6, &maps::BY_ADDRESS6, &maps::OF_ALL6)]
        {
            let of_family =
                || if family == nft::IPV4 { Rule::default().ipv4() } else { Rule::default().ipv6() }.for_this_host();
            change.append(TABLE, chain, &of_family().destination_nat_by(by_address, family, true));
            change.append(TABLE, chain, &of_family().destination_nat_by(of_all, family, false));
        }
    }
    for (map, elements) in maps::of(wanted.ports) {
        change.add_elements(TABLE, map, &elements);
    }
}
