//! The rules of the network: our own table, and two rules in chains of others that would drop our packets.
//!
//! `table inet mycontainer` is replaced as a whole, in one transaction, so it is always complete. In it:
//!
//! - `forward`: a container may start connections to anywhere; into the bridge come only answers. Nothing is routed
//!   from another link into a container that it did not ask for.
//! - `postrouting`: what leaves the subnet by another link gets the host's address (masquerade).
//! - when the host resolves names through a server on its loopback: `prerouting` sends gateway:53 to it, `input` makes
//!   the question come from 127.0.0.1, for such servers answer local clients only, and `martians` drops whatever else
//!   comes from the bridge with a loopback address. Without it `route_localnet` would open every service that listens
//!   on 127.0.0.1 to the containers [CVE-2020-8558]. It stands before connection tracking, and thus before the
//!   rewriting of the one destination that is allowed.
//!
//! A drop is final in whichever chain it happens, and Docker and many firewalls set the policy of their forward chain
//! to drop, ufw that of its input chain as well. Each such forward chain gets two rules at its head that accept what
//! comes from and goes to our bridge, each such input chain one for questions to the host's resolver, with the comment
//! "mycontainer", by which they are found and removed again. They use only what iptables-nft understands, so that
//! `iptables -L` goes on working. Ours still decides about those packets.
//!
//! Everything here goes with the bridge: [`remove`] is called by the janitor.

use crate::BRIDGE;
use crate::error::{Cause, Error};
use crate::nft::{self, Chain, Hook, Transaction};
use crate::rule::{Rule, TCP, UDP, Verdict};
use crate::socket::Netlink;
use crate::subnet::Subnet;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

/// Our table, of family inet.
pub(crate) const TABLE: &str = "mycontainer";
/// The comment of our rules in other tables.
const MARK: &str = "mycontainer";
/// How often a transaction is planned anew because somebody changed rules at the same time.
const ATTEMPTS: usize = 20;

const DNS: u16 = 53;
const LOOPBACK: (Ipv4Addr, u8) = (Ipv4Addr::new(127, 0, 0, 0), 8);

// Priorities. [linux/netfilter_ipv4.h: NF_IP_PRI_*]
const RAW: i32 = -300;
const DESTINATION_NAT: i32 = -100;
const FILTER: i32 = 0;
const SOURCE_NAT: i32 = 100;

/// What the rules depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) subnet: Subnet,
    /// The host's own name server to which gateway:53 is forwarded.
    pub(crate) resolver: Option<Ipv4Addr>,
}

/// The present generation of the rule set, by which a change of any rule by anybody is seen.
pub(crate) fn generation(netlink: &Netlink) -> Result<u32, Error> {
    nft::generation(netlink).map_err(refused)
}

/// Puts our rules in place, whatever is there now. Returns the generation of the rule set that has them.
pub(crate) fn install(netlink: &Netlink, wanted: &Wanted) -> Result<u32, Error> {
    transaction(netlink, |generation| {
        let mut change = Transaction::new(generation);
        our_table(&mut change, wanted);
        for chain in foreign_chains(netlink)? {
            take_back(netlink, &mut change, &chain)?;
            if chain.drops {
                leave_for_bridge(&mut change, &chain, wanted);
            }
        }
        Ok(change)
    })
    // What has been committed on generation n is generation n + 1, and 0 is left out.
    .map(|planned_on| planned_on.checked_add(1).unwrap_or(1))
}

/// Takes our table and our rules in other tables away again.
pub(crate) fn remove(netlink: &Netlink) -> Result<(), Error> {
    transaction(netlink, |generation| {
        let mut change = Transaction::new(generation);
        for chain in foreign_chains(netlink)? {
            take_back(netlink, &mut change, &chain)?;
        }
        // Made first, for what is not there cannot be deleted.
        change.table(nft::INET, TABLE);
        change.delete_table(nft::INET, TABLE);
        Ok(change)
    })
    .map(|_| ())
}

/// True when iptables-legacy drops what is forwarded: its rules cannot be seen or changed over nf_tables.
pub(crate) fn legacy_drops() -> bool {
    let tables = std::fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default();
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
            Err(errno) if nft::generation(netlink) == Ok(generation) => return Err(refused(errno)),
            Err(_) => {}
        }
    }
    Err(refused(nft::STALE))
}

fn refused(errno: Errno) -> Error {
    // A kernel without nf_tables has no such netlink subsystem.
    let errno = if errno == Errno::INVAL { Errno::OPNOTSUPP } else { errno };
    Error::Rules { table: TABLE, source: Cause::of(errno, "nf_tables nft_chain_nat nft_masq nft_ct") }
}

/// Chains of others that decide about forwarded IPv4, and about IPv4 for the host.
fn foreign_chains(netlink: &Netlink) -> Result<Vec<Chain>, Errno> {
    let ours = |chain: &Chain| chain.family == nft::INET && chain.table == TABLE;
    let sees_ipv4 = |chain: &Chain| chain.family == nft::INET || chain.family == nft::IPV4;
    let decides = |chain: &Chain| chain.hook == Hook::Forward as u32 || chain.hook == Hook::Input as u32;
    let mut chains = nft::base_chains(netlink)?;
    chains.retain(|chain| decides(chain) && sees_ipv4(chain) && !ours(chain));
    Ok(chains)
}

/// Removes our rules from somebody's chain.
fn take_back(netlink: &Netlink, change: &mut Transaction, chain: &Chain) -> Result<(), Errno> {
    for handle in nft::rules_marked(netlink, chain, &nft::comment(MARK))? {
        change.delete_rule(chain, handle);
    }
    Ok(())
}

/// Puts our rules at the head of somebody's chain.
fn leave_for_bridge(change: &mut Transaction, chain: &Chain, wanted: &Wanted) {
    let mut accept = |rule: Rule| change.insert(chain, &rule.counter().verdict(Verdict::Accept), &nft::comment(MARK));
    if chain.hook == Hook::Forward as u32 {
        accept(Rule::default().leaving(BRIDGE));
        accept(Rule::default().entering(BRIDGE));
    } else if let Some(resolver) = wanted.resolver {
        // Of what is sent to a loopback address from the bridge only questions get here: `martians` drops the rest.
        let rule = Rule::default().entering(BRIDGE);
        // iptables-nft shows no rule of family ip that asks whether it is ip.
        let rule = if chain.family == nft::IPV4 { rule } else { rule.ipv4() };
        accept(rule.destination(resolver, 32));
    }
}

fn our_table(change: &mut Transaction, wanted: &Wanted) {
    let rule = Rule::default;
    // Made, deleted, made: replaced, whether it was there or not.
    change.table(nft::INET, TABLE);
    change.delete_table(nft::INET, TABLE);
    change.table(nft::INET, TABLE);

    change.chain(TABLE, "forward", "filter", Hook::Forward, FILTER);
    change.append(TABLE, "forward", &rule().entering(BRIDGE).verdict(Verdict::Accept));
    change.append(TABLE, "forward", &rule().leaving(BRIDGE).established().verdict(Verdict::Accept));
    change.append(TABLE, "forward", &rule().leaving(BRIDGE).verdict(Verdict::Drop));

    let Subnet { gateway, prefix } = wanted.subnet;
    change.chain(TABLE, "postrouting", "nat", Hook::Postrouting, SOURCE_NAT);
    change.append(TABLE, "postrouting", &rule().ipv4().source(gateway, prefix).not_leaving(BRIDGE).masquerade());

    let Some(resolver) = wanted.resolver else { return };
    change.chain(TABLE, "martians", "filter", Hook::Prerouting, RAW);
    change.chain(TABLE, "prerouting", "nat", Hook::Prerouting, DESTINATION_NAT);
    change.chain(TABLE, "input", "nat", Hook::Input, SOURCE_NAT);
    let (loopback, bits) = LOOPBACK;
    change.append(
        TABLE,
        "martians",
        &rule().entering(BRIDGE).ipv4().destination(loopback, bits).verdict(Verdict::Drop),
    );
    change.append(TABLE, "martians", &rule().entering(BRIDGE).ipv4().source(loopback, bits).verdict(Verdict::Drop));
    for protocol in [UDP, TCP] {
        let to_gateway = rule().entering(BRIDGE).ipv4().destination(gateway, 32).destination_port(protocol, DNS);
        change.append(TABLE, "prerouting", &to_gateway.destination_nat(resolver, DNS));
        let to_resolver = rule().entering(BRIDGE).ipv4().destination(resolver, 32).destination_port(protocol, DNS);
        change.append(TABLE, "input", &to_resolver.source_nat(Ipv4Addr::LOCALHOST));
    }
}
