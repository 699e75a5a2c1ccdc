//! Settings of the kernel below /proc/sys/net.

use super::{Around, Finding};

const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// What a file says; nothing when it is not there.
fn text(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn number(path: &str) -> Option<u64> {
    text(path)?.parse().ok()
}

/// Whether this host routes what is not its own.
pub(super) fn forwarding(around: &Around<'_>) -> Finding {
    const NAME: &str = "forwarding";
    match (text(FORWARDING).as_deref(), !around.uses.is_empty()) {
        (Some("1"), _) => Finding::ok(NAME, "net.ipv4.ip_forward is 1"),
        (Some(_), true) => Finding::broken(
            NAME,
            "net.ipv4.ip_forward is not 1, and containers run: somebody has turned it off",
            "`sysctl -w net.ipv4.ip_forward=1`, and look below /etc/sysctl.d for who says otherwise",
        ),
        (Some(_), false) => Finding::note(
            NAME,
            "net.ipv4.ip_forward is not 1",
            "nothing: the first container that needs it turns it on",
        ),
        (None, _) => Finding::broken(NAME, format!("{FORWARDING} cannot be read"), "mount /proc"),
    }
}

/// Whether answers that come in by another uplink than the question left by are dropped. [ip-sysctl.rst: rp_filter]
pub(super) fn reverse_path(around: &Around<'_>) -> Finding {
    const NAME: &str = "reverse-path";
    let filter = |name: &str| number(&format!("/proc/sys/net/ipv4/conf/{name}/rp_filter")).unwrap_or(0);
    let uplinks = around.uplinks();
    // The kernel takes the greater one: 2 is loose.
    let mut strict = uplinks.iter().filter(|link| filter("all").max(filter(&link.name)) == 1);
    match strict.next() {
        Some(link) if uplinks.len() > 1 => Finding::note(
            NAME,
            format!(
                "rp_filter of {0} is strict, and there are {1} uplinks: what comes back by another is dropped",
                link.name,
                uplinks.len()
            ),
            format!("`sysctl -w net.ipv4.conf.{}.rp_filter=2`, if answers are missing", link.name),
        ),
        Some(_) => Finding::ok(NAME, "rp_filter is strict, and there is one uplink"),
        None => Finding::ok(NAME, "rp_filter drops nothing that comes back by another uplink"),
    }
}

/// Whether what containers send each other on one bridge passes the host's rules.
pub(super) fn bridge_packets() -> Finding {
    const NAME: &str = "bridge-netfilter";
    match text("/proc/sys/net/bridge/bridge-nf-call-iptables").as_deref() {
        Some("1") => Finding::note(
            NAME,
            "bridge-nf-call-iptables is 1: what containers of one network send each other passes this host's rules, too, unless by the shortcut",
            "`sysctl -w net.bridge.bridge-nf-call-iptables=0`, if a rule drops it (Kubernetes wants it to be 1)",
        ),
        _ => Finding::ok(NAME, "what containers of one network send each other passes no rules"),
    }
}

/// Whether they do over IPv6. There an answer to this host's own `::1` is turned back into one to it before it has been
/// routed, and the kernel drops it (`rules.rs`).
pub(super) fn bridge_packets6(around: &Around<'_>) -> Finding {
    const NAME: &str = "bridge-netfilter6";
    let network = around.patient.networks.iter().find(|network| network.ipv6.is_some());
    match (text("/proc/sys/net/bridge/bridge-nf-call-ip6tables").as_deref(), network) {
        (Some("1"), Some(network)) => Finding::broken(
            NAME,
            format!(
                "bridge-nf-call-ip6tables is 1, and the network {:?} has IPv6: what is published there is not reached at \
                 [::1], and who tries waits in vain",
                network.name
            ),
            "`sysctl -w net.bridge.bridge-nf-call-ip6tables=0`, or use 127.0.0.1 (Kubernetes wants it to be 1)",
        ),
        (Some("1"), None) => Finding::ok(NAME, "bridge-nf-call-ip6tables is 1, and no network has IPv6"),
        _ => Finding::ok(NAME, "over IPv6 it passes no rules either"),
    }
}

/// Whether a network with IPv6 can have it.
pub(super) fn ipv6(around: &Around<'_>) -> Finding {
    const NAME: &str = "ipv6";
    let Some(network) = around.patient.networks.iter().find(|network| network.ipv6.is_some()) else {
        return Finding::ok(NAME, "no network has IPv6");
    };
    let disabled = |which: &str| text(&format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6"));
    let forwarding = text("/proc/sys/net/ipv6/conf/all/forwarding");
    match (disabled("all").as_deref(), forwarding.as_deref()) {
        (None, _) => Finding::broken(
            NAME,
            format!("this kernel has no IPv6, and the network {:?} has", network.name),
            "boot without ipv6.disable=1, or make the network without --ipv6",
        ),
        (Some("1"), _) => Finding::broken(
            NAME,
            format!("net.ipv6.conf.all.disable_ipv6 is 1, and the network {:?} has IPv6", network.name),
            "`sysctl -w net.ipv6.conf.all.disable_ipv6=0`",
        ),
        (_, Some("1")) => Finding::ok(NAME, "net.ipv6.conf.all.forwarding is 1"),
        _ if network.internal => Finding::ok(NAME, format!("the network {:?} needs no forwarding", network.name)),
        _ => Finding::note(
            NAME,
            format!("net.ipv6.conf.all.forwarding is not 1: over IPv6 nothing leaves the network {:?}", network.name),
            "`sysctl -w net.ipv6.conf.all.forwarding=1` (an uplink that takes its address from a router then needs accept_ra=2)",
        ),
    }
}

/// Whether there is room for more connections.
pub(super) fn connections() -> Finding {
    let of = |name: &str| number(&format!("/proc/sys/net/netfilter/nf_conntrack_{name}"));
    match (of("count"), of("max")) {
        (Some(count), Some(most)) => fullness(&CONNECTIONS, count, most),
        // Nothing has asked for connections yet.
        _ => Finding::ok("connections", "the kernel keeps track of none yet"),
    }
}

/// Whether the kernel has room for the hardware addresses of all that containers and host talk to, of which the table is one
/// for all network namespaces. [arp(7), gc_thresh3]
pub(super) fn neighbours() -> Finding {
    let table = std::fs::read_to_string("/proc/net/stat/arp_cache").unwrap_or_default();
    // The whole table's are on each processor's line. [net/core/neighbour.c, neigh_stat_seq_show]
    let count = table.lines().nth(1).and_then(|line| u64::from_str_radix(line.split_whitespace().next()?, 16).ok());
    match (count, number("/proc/sys/net/ipv4/neigh/default/gc_thresh3")) {
        (Some(count), Some(most)) => fullness(&NEIGHBOURS, count, most),
        _ => Finding::ok(NEIGHBOURS.name, "the table's limit cannot be seen from this network namespace"),
    }
}

/// A table of the kernel's that can be full.
struct Table {
    name: &'static str,
    of: &'static str,
    setting: &'static str,
}

const CONNECTIONS: Table = Table { name: "connections", of: "connections", setting: "net.netfilter.nf_conntrack_max" };
const NEIGHBOURS: Table =
    Table { name: "neighbours", of: "neighbours' hardware addresses", setting: "net.ipv4.neigh.default.gc_thresh3" };

fn fullness(table: &Table, count: u64, most: u64) -> Finding {
    let Table { name, of, setting } = *table;
    let seen = format!("the kernel knows {count} {of} and has room for {most}");
    let remedy = format!("`sysctl -w {setting}={}`", most.saturating_mul(2));
    match count.saturating_mul(100).checked_div(most) {
        // 0 is no limit.
        None | Some(..80) => Finding::ok(name, seen),
        Some(80..95) => Finding::note(name, seen, remedy),
        Some(95..) => Finding::broken(name, format!("{seen}: new ones are dropped"), remedy),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_table_that_is_nearly_full_is_told_of() {
        for (count, most, expected) in [
            (0, 1000, State::Ok),
            (799, 1000, State::Ok),
            (800, 1000, State::Note),
            (949, 1000, State::Note),
            (950, 1000, State::Broken),
            (2000, 1000, State::Broken),
            (5, 0, State::Ok),
        ] {
            assert_eq!(fullness(&CONNECTIONS, count, most).state, expected, "{count} of {most}");
        }
        assert!(fullness(&CONNECTIONS, 1000, 1000).remedy.contains("nf_conntrack_max=2000"));
    }
}
