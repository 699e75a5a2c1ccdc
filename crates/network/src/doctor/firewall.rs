//! Rules: our own, and those of others that drop what is forwarded.

use super::{Around, Finding};
use crate::BRIDGE;
use crate::config::Config;
use crate::forwarding;
use crate::nft::{self, Chain, Hook, Last};
use crate::rules::{self, TABLE};

/// Whether what we have put there is there, while containers need it.
pub(super) fn own_rules(around: &Around<'_>) -> Finding {
    const NAME: &str = "rules";
    const REMEDY: &str =
        "`mycontainer network reload` puts them in place anew; the next container that starts does so, too";
    if around.uses.is_empty() {
        return Finding::ok(NAME, "no container is on a network, and nothing has to be there");
    }
    let chains = match nft::base_chains(&around.netfilter) {
        Ok(chains) => chains,
        Err(errno) => return Finding::broken(NAME, format!("the rules cannot be listed: {errno}"), REMEDY),
    };
    let ours = |chain: &&Chain| chain.family == nft::INET && chain.table == TABLE;
    let is_empty = |chain: &Chain| nft::rules_of(&around.netfilter, chain).is_ok_and(|rules| rules.is_empty());
    if let Some(one) = around.uses.iter().find(|one| !around.links.iter().any(|link| link.name == one.bridge)) {
        let seen = format!("containers run, and there is no bridge {}", one.bridge);
        return Finding::broken(NAME, seen, "`mycontainer network reload` makes it anew, with the containers on it");
    }
    // Each of them has rules from the beginning.
    let missing = ["forward", "postrouting", "martians", "prerouting", "output"].into_iter().find(|name| {
        let chain = chains.iter().filter(ours).find(|chain| chain.name == *name);
        chain.is_none_or(is_empty)
    });
    if let Some(name) = missing {
        return Finding::broken(
            NAME,
            format!("the rules of {name} in table inet {TABLE} are gone, and containers run"),
            REMEDY,
        );
    }
    let mark = nft::comment(rules::MARK);
    let left = |chain: &Chain| nft::rules_marked(&around.netfilter, chain, &mark).is_ok_and(|rules| !rules.is_empty());
    let asks_host = around.uses.iter().any(|one| around.asks_host(one));
    let is_met = |chain: &&Chain| is_of_others(chain, Hook::Forward) || (asks_host && is_of_others(chain, Hook::Input));
    let mut dropping = chains.iter().filter(is_met).filter(|chain| chain.drops);
    match dropping.find(|chain| !left(chain)) {
        Some(chain) => Finding::broken(
            NAME,
            format!(
                "the chain {} in table {} drops what is {}, and our rules are not in it",
                chain.name,
                chain.table,
                if chain.hook == Hook::Forward as u32 { "forwarded" } else { "for this host" }
            ),
            REMEDY,
        ),
        None => Finding::ok(NAME, format!("table inet {TABLE} is complete")),
    }
}

/// Whether a firewall of somebody else's refuses what containers send.
pub(super) fn foreign_chains(around: &Around<'_>) -> Finding {
    const NAME: &str = "firewall";
    let chains = match nft::base_chains(&around.netfilter) {
        Ok(chains) => chains,
        Err(errno) => return Finding::broken(NAME, format!("the rules cannot be listed: {errno}"), "see kernel"),
    };
    let mut dropping = None;
    let mut bridges: Vec<&str> = around.uses.iter().map(|one| one.bridge.as_str()).collect();
    if bridges.is_empty() {
        bridges.push(BRIDGE);
    }
    for chain in chains.iter().filter(|chain| is_of_others(chain, Hook::Forward)) {
        if let Some(bridge) = refused(around, chain, &bridges) {
            return Finding::broken(
                NAME,
                format!(
                    "the last rule of {} in table {} refuses what is forwarded, whatever it is",
                    chain.name, chain.table
                ),
                format!(
                    "with firewalld `firewall-cmd --permanent --zone=trusted --add-interface={bridge}` and `--reload`; else \
                     accept what enters and leaves {bridge} before that rule"
                ),
            );
        }
        if chain.drops {
            dropping = Some(chain);
        }
    }
    match dropping {
        Some(chain) => Finding::ok(
            NAME,
            format!(
                "{} in table {} drops what is forwarded; each start leaves rules for containers in it",
                chain.name, chain.table
            ),
        ),
        None => Finding::ok(NAME, "no chain of others drops all that is forwarded"),
    }
}

/// Whether a firewall of somebody else's refuses what containers ask this host: names, of the process that tells them or of
/// the host's own server. Published ports are another matter: whoever asks for one, what comes is forwarded.
pub(super) fn questions(around: &Around<'_>) -> Finding {
    const NAME: &str = "firewall-input";
    let chains = match nft::base_chains(&around.netfilter) {
        Ok(chains) => chains,
        Err(errno) => return Finding::broken(NAME, format!("the rules cannot be listed: {errno}"), "see kernel"),
    };
    let asking: Vec<&str> =
        around.uses.iter().filter(|one| around.asks_host(one)).map(|one| one.bridge.as_str()).collect();
    let of_networks = around.patient.networks.iter().filter(|config| config.tells_names()).map(Config::bridge_name);
    let later: Vec<String> =
        of_networks.chain(around.patient.resolver.forward_to().map(|_| BRIDGE.to_owned())).collect();
    let mut chains = chains.iter().filter(|chain| is_of_others(chain, Hook::Input));
    let found = chains.find_map(|chain| {
        let now = refused(around, chain, &asking).map(|bridge| (chain, bridge.to_owned(), true));
        let later: Vec<&str> = later.iter().map(String::as_str).collect();
        now.or_else(|| refused(around, chain, &later).map(|bridge| (chain, bridge.to_owned(), false)))
    });
    let Some((chain, bridge, is_asking)) = found else {
        return Finding::ok(NAME, "no chain of others refuses what containers ask this host");
    };
    let seen = format!(
        "the last rule of {} in table {} refuses what comes for this host: containers on {bridge} resolve no names{}",
        chain.name,
        chain.table,
        if is_asking { "" } else { ", once there are any" }
    );
    let remedy = format!(
        "with firewalld `firewall-cmd --permanent --zone=trusted --add-interface={bridge}` and `--reload`; else accept what \
         enters by {bridge} before that rule"
    );
    if is_asking { Finding::broken(NAME, seen, remedy) } else { Finding::note(NAME, seen, remedy) }
}

/// Whether iptables-legacy drops what is forwarded.
pub(super) fn legacy(around: &Around<'_>) -> Finding {
    const NAME: &str = "iptables-legacy";
    if rules::legacy_drops() {
        let mut bridges: Vec<&str> =
            around.uses.iter().filter(|one| !one.internal).map(|one| one.bridge.as_str()).collect();
        if bridges.is_empty() {
            bridges.push(BRIDGE);
        }
        let told = forwarding::legacy(&bridges);
        let (seen, remedy) = told.split_once(": ").unwrap_or((&told, ""));
        return Finding::broken(NAME, seen, remedy);
    }
    Finding::ok(NAME, "it does not drop what is forwarded")
}

fn is_of_others(chain: &Chain, hook: Hook) -> bool {
    let sees_ipv4 = chain.family == nft::INET || chain.family == nft::IPV4;
    sees_ipv4 && chain.hook == hook as u32 && !(chain.family == nft::INET && chain.table == TABLE)
}

/// The first of these bridges of which no rule of the chain's table speaks, where its last one drops or rejects everything.
fn refused<'a>(around: &Around<'_>, chain: &Chain, bridges: &[&'a str]) -> Option<&'a str> {
    let rules = nft::rules_of(&around.netfilter, chain).unwrap_or_default();
    rules.last().filter(|rule| nft::last_of(rule) == Last::RefusesAll)?;
    // Zones and the like are chains of their own.
    let in_table =
        nft::rules_of(&around.netfilter, &Chain { name: String::new(), ..chain.clone() }).unwrap_or_default();
    bridges.iter().copied().find(|bridge| !in_table.iter().any(|rule| nft::names(rule, bridge)))
}
