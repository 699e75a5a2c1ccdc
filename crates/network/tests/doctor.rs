//! What `doctor` finds on a host that was made ill on purpose, and that it finds nothing on one that is well.

mod common;

use common::{Host, Namespace};

/// What it says of one thing: state, what was seen, remedy.
fn told(host: &Host, name: &str, resolv_conf: &str, networks: &str) -> String {
    let file = host.dir.with_extension("resolv.conf");
    std::fs::write(&file, resolv_conf).unwrap();
    let said = host.ok(&format!("doctor {} '{networks}'", file.display()));
    let mut lines = said.lines().filter(|line| line.split(' ').nth(1) == Some(&format!("{name}:")));
    let line = lines.next().unwrap_or_else(|| panic!("nothing is said of {name}: {said}"));
    line.to_owned()
}

/// A host with an uplink, and forwarding on.
fn host() -> Option<(Host, Namespace)> {
    let host = Host::new()?;
    let outside = host.outside(1500);
    host.ns.sh("echo 1 >/proc/sys/net/ipv4/ip_forward; echo 2 >/proc/sys/net/ipv4/conf/all/rp_filter");
    Some((host, outside))
}

const WELL: &str = "nameserver 192.0.2.53";
const NET: &str = r#"[{"name":"net","id":"ab","driver":"bridge","ipv4":{"subnet":"10.9.0.0","prefix":24,"gateway":"10.9.0.1"},"bridge":"br9"}]"#;

#[test]
fn a_host_that_is_well() {
    let Some((host, _outside)) = host() else { return };
    let before = host.ns.sh("ip -o link; ip -4 address; nft list ruleset");
    let file = host.dir.with_extension("resolv.conf");
    for with_container in [false, true] {
        let held = with_container.then(|| host.container(1));
        std::fs::write(&file, WELL).unwrap();
        let said = host.ok(&format!("doctor {} '{NET}'", file.display()));
        assert!(
            said.lines().count() == 17
                && said.lines().all(|line| line.starts_with("ok ") || line.contains("bridge-netfilter")),
            "{said}"
        );
        drop(held);
        host.ok("sweep");
        host.until_gone();
    }
    assert_eq!(host.ns.sh("ip -o link; ip -4 address; nft list ruleset"), before, "nothing is changed");
}

#[test]
fn what_is_wrong_while_nothing_runs() {
    let v6 = NET.replace(r#","bridge""#, r#","ipv6":{"subnet":"fd00:9::","prefix":64,"gateway":"fd00:9::1"},"bridge""#);
    let wide = NET.replace(r#","bridge""#, r#","mtu":1500,"bridge""#);
    let input = "nft 'table inet firewalld { chain own_input { type filter hook input priority 10;";
    let last = "nft 'table inet firewalld { chain own_forward { type filter hook forward priority 10;";
    for (name, damage, resolv_conf, networks, expected, seen) in [
        ("forwarding", "echo 0 >/proc/sys/net/ipv4/ip_forward", WELL, "[]", "note", "the first container that needs it turns it on"),
        ("firewall", "nft 'table ip own { chain f { type filter hook forward priority 5; policy drop; }; }'", WELL, "[]", "ok", "each start leaves rules"),
        ("firewall", &format!("{last} ct state established accept; reject with icmpx admin-prohibited; }}; }}'"), WELL, "[]", "broken", "the last rule of own_forward in table firewalld"),
        ("firewall", &format!("{last} iifname lo accept; counter drop; }}; }}'"), WELL, "[]", "broken", "firewall-cmd --permanent"),
        ("firewall", &format!("{last} iifname mycontainer0 accept; counter drop; }}; }}'"), WELL, "[]", "ok", "no chain"),
        ("firewall", &format!("{last} iifname lo drop; }}; }}'"), WELL, "[]", "ok", "no chain"),
        ("firewall", &format!("{last} drop; accept; }}; }}'"), WELL, "[]", "ok", "no chain"),
        ("firewall-input", &format!("{input} iifname lo accept; tcp dport 22 accept; reject; }}; }}'"), WELL, NET, "note", "containers on br9 resolve no names, once there are any"),
        ("firewall-input", &format!("{input} drop; }}; }}'"), "nameserver 127.0.0.53", "[]", "note", "on mycontainer0 resolve no names"),
        ("firewall-input", &format!("{input} drop; }}; }}'"), WELL, "[]", "ok", "no chain of others"),
        ("firewall-input", &format!("{input} iifname br9 accept; drop; }}; }}'"), WELL, NET, "ok", "no chain of others"),
        ("firewall-input", "nft 'table inet own { chain i { type filter hook input priority 0; policy drop; }; }'", WELL, NET, "ok", "no chain of others"),
        (
            "reverse-path",
            "echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter; echo 1 >/proc/sys/net/ipv4/conf/up0/rp_filter
             ip link add up1 type veth peer name far1; ip address add 198.51.100.2/24 dev up1; ip link set up1 up; ip link set far1 up
             ip route add default via 198.51.100.1 metric 9",
            WELL, "[]", "note", "rp_filter of up0 is strict, and there are 2 uplinks",
        ),
        ("reverse-path", "echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter", WELL, "[]", "ok", "one uplink"),
        ("ipv6", "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6", WELL, &v6, "broken", "disable_ipv6=0"),
        ("ipv6", "echo 0 >/proc/sys/net/ipv6/conf/all/forwarding", WELL, &v6, "note", "forwarding=1"),
        ("ipv6", "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding", WELL, &v6, "ok", "forwarding is 1"),
        ("ipv6", "echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6", WELL, NET, "ok", "no network has IPv6"),
        ("default-route", "ip route del default", WELL, "[]", "note", "no default route"),
        ("mtu", "ip link set up0 mtu 1400", WELL, &wide, "broken", "make any other with -o mtu=1400"),
        ("mtu", "ip link set up0 mtu 1400", WELL, NET, "ok", "1400"),
        ("resolver", "true", "nameserver 2001:db8::53\nnameserver fe80::1%up0", "[]", "broken", "give containers one with --dns"),
        ("resolver", "true", "nameserver ::1", "[]", "ok", "can be asked"),
        ("subnet", "ip route add 10.9.0.128/25 via 192.0.2.9", WELL, NET, "broken", "10.9.0.0/24 of the network \"net\" overlaps 10.9.0.128/25"),
        ("subnet", "ip link add br9 type bridge; ip address add 10.9.0.1/24 dev br9; ip link set br9 up", WELL, NET, "ok", "of no network"),
        ("subnet", "ip link add br8 type bridge; ip address add 10.9.0.1/24 dev br8; ip link set br8 up", WELL, NET, "broken", "through br8"),
    ] {
        let Some((host, _outside)) = host() else { return };
        host.ns.sh(damage);
        let said = told(&host, name, resolv_conf, networks);
        assert!(said.starts_with(&format!("{expected} ")) && said.contains(seen), "{name}: {damage}: {said}");
    }
}

#[test]
fn what_is_wrong_while_a_container_runs() {
    for (name, damage, seen) in [
        ("rules", "nft flush ruleset", "the rules of forward in table inet mycontainer are gone"),
        ("rules", "nft flush table inet mycontainer", "`mycontainer network reload`"),
        ("rules", "nft flush chain inet mycontainer martians", "the rules of martians"),
        ("rules", "ip link del mycontainer0", "there is no bridge mycontainer0"),
        (
            "rules",
            "nft 'table ip own { chain f { type filter hook forward priority 5; policy drop; }; }'",
            "our rules are not in it",
        ),
        ("forwarding", "echo 0 >/proc/sys/net/ipv4/ip_forward", "somebody has turned it off"),
        ("mtu", "ip link set up0 mtu 1400", "mycontainer0 has an MTU of 1500, and up0 of 1400"),
    ] {
        let Some((host, _outside)) = host() else { return };
        let container = host.container(1);
        assert!(told(&host, name, WELL, "[]").starts_with("ok "), "{name}");
        host.ns.sh(damage);
        let said = told(&host, name, WELL, "[]");
        assert!(said.starts_with("broken ") && said.contains(seen), "{name}: {damage}: {said}");
        drop(container);
        host.ok("sweep");
        host.until_gone();
    }
}

#[test]
fn iptables_legacy_that_drops() {
    let Some((host, _outside)) = host() else { return };
    if !host.ns.can("iptables-legacy -P FORWARD DROP") {
        eprintln!("skipped: this kernel has no ip_tables");
        return;
    }
    let said = told(&host, "iptables-legacy", WELL, "[]");
    assert!(
        said.starts_with("broken ") && said.contains("iptables-legacy -I FORWARD -i mycontainer0 -j ACCEPT"),
        "{said}"
    );
}

#[test]
fn packets_of_a_bridge_that_pass_the_rules() {
    let Some((host, _outside)) = host() else { return };
    let path = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    if !host.ns.can(&format!("test -e {path}")) {
        eprintln!("skipped: br_netfilter is not loaded");
        return;
    }
    for (value, expected) in [("1", "note "), ("0", "ok ")] {
        host.ns.sh(&format!("echo {value} >{path}"));
        let said = told(&host, "bridge-netfilter", WELL, "[]");
        assert!(said.starts_with(expected), "{value}: {said}");
    }
}

#[test]
fn packets_of_ipv6_that_pass_the_rules() {
    let Some((host, _outside)) = host() else { return };
    let path = "/proc/sys/net/bridge/bridge-nf-call-ip6tables";
    if !host.ns.can(&format!("test -e {path}")) {
        eprintln!("skipped: br_netfilter is not loaded");
        return;
    }
    let v6 = NET.replace(r#","bridge""#, r#","ipv6":{"subnet":"fd00:9::","prefix":64,"gateway":"fd00:9::1"},"bridge""#);
    let remedy = "`sysctl -w net.bridge.bridge-nf-call-ip6tables=0`";
    for (value, networks, expected, seen) in [
        ("1", v6.as_str(), "broken ", remedy),
        ("1", NET, "ok ", "no network has IPv6"),
        ("0", &v6, "ok ", "passes no rules"),
    ] {
        host.ns.sh(&format!("echo {value} >{path}"));
        let said = told(&host, "bridge-netfilter6", WELL, networks);
        assert!(said.starts_with(expected) && said.contains(seen), "{value}: {said}");
    }
}

/// The limit is of all namespaces, and not a test's to change: here it is a file over the kernel's own.
#[test]
fn connections_for_which_there_is_no_room() {
    let Some((host, _outside)) = host() else { return };
    let path = "/proc/sys/net/netfilter/nf_conntrack";
    if !host.ns.can(&format!("test -e {path}_max")) {
        eprintln!("skipped: nf_conntrack is not loaded");
        return;
    }
    std::fs::create_dir_all(&host.dir).unwrap();
    let program = std::env::current_exe().unwrap();
    let program = program.parent().unwrap().with_file_name("examples").join("netprobe");
    for (count, most, expected) in
        [(10, 100, "ok connections: "), (80, 100, "note connections: "), (99, 100, "broken connections: ")]
    {
        let file = |name: &str, number: i32| {
            let file = host.dir.with_extension(name);
            std::fs::write(&file, format!("{number}\n")).unwrap();
            format!("mount --bind {} {path}_{name}", file.display())
        };
        let mounts = format!("{} && {}", file("count", count), file("max", most));
        let doctor = format!("{} doctor {} /dev/null '[]'", program.display(), host.dir.display());
        let said = host.ns.sh(&format!("unshare --mount sh -c \"{mounts} && {doctor}\""));
        let line = said.lines().find(|line| line.contains(" connections: ")).unwrap_or_default();
        assert!(line.starts_with(expected), "{count} of {most}: {line}");
        assert_eq!(line.contains("nf_conntrack_max=200"), count >= 80, "{line}");
    }
}

/// As an unprivileged user the kernel gives nothing.
#[test]
fn a_kernel_that_gives_nothing() {
    let Some((host, _outside)) = host() else { return };
    std::fs::create_dir_all(&host.dir).unwrap();
    let program = std::env::current_exe().unwrap();
    let program = program.parent().unwrap().with_file_name("examples").join("netprobe");
    let script =
        format!("setpriv --bounding-set -sys_admin {} doctor {} /dev/null", program.display(), host.dir.display());
    let said = host.ns.sh(&script);
    assert!(said.contains("broken kernel: ") && said.contains("Operation not permitted"), "{said}");
}
