//! `mycontainer run` and the network: what the container has and reaches, what the host keeps, what the outside sees.
//!
//! Each test has a host of its own (see `common/host.rs`), which must be at the end as it was before: links, addresses,
//! routes, ip rules, firewall, state files. The judges are `ip -j`, `nft`, `iptables`, `ping`, `getent`, and servers
//! and clients of busybox. Faults at single steps are in `faults.rs`, many containers at a time in `parallel.rs`.

use crate::common::host::{Guest, Host, Place, Server, control_groups};
use crate::common::{
    Clean, Scratch, busybox_root, can_run, kill, need, run_ok, stderr, stdout, user_of_tool, wait_until,
};
use serde_json::Value;
use std::process::Command;

/// A script for [`Host::start`]: does what it is told, and says how that ended.
const OBEY: &str = "while read -r line; do (eval \"$line\") >/tmp/said 2>&1 && echo yes || echo no; done";

// --- what is inside --------------------------------------------------------------------------------------------------

#[test]
fn a_container_has_lo_and_eth0_up_with_addresses_and_a_default_route() {
    let Some(host) = Host::new("a_container_has_lo_and_eth0_up_with_addresses_and_a_default_route", "") else { return };
    let said = host.run_ok(&["host", "sh", "-ec", "ip -j address; ip -j route; ping -c1 -W1 172.17.0.1 >&2; ip a"]);
    let mut lines = said.lines();
    let links: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    let routes: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(names(&links), ["lo", "eth0"]);
    assert!(links.as_array().unwrap().iter().all(has_flag_up), "{links}");
    assert_eq!(links[0]["addr_info"][0]["local"], "127.0.0.1");

    let eth0 = &links[1];
    assert_eq!(eth0["operstate"], "UP");
    // No IPv6: one could reach others past the rules, and pose as the host's router [CVE-2020-13401].
    let [v4] = &eth0["addr_info"].as_array().unwrap()[..] else { panic!("one address: {eth0}") };
    assert_eq!((&v4["local"], &v4["prefixlen"], &v4["scope"]), (&"172.17.0.2".into(), &16.into(), &"global".into()));
    assert_eq!((&routes[0]["dst"], &routes[0]["gateway"]), (&"default".into(), &"172.17.0.1".into()));

    let text: Vec<&str> = lines.collect();
    let numbers: Vec<&str> =
        text.iter().filter_map(|line| line.split_once(": eth0@if")).map(|(_, rest)| rest).collect();
    assert_eq!(numbers.len(), 1, "`ip a` shows eth0@ifN: {text:?}");
    assert!(numbers[0].starts_with(|first: char| first.is_ascii_digit()), "{numbers:?}");
}

#[test]
fn host_and_containers_reach_each_other_by_address() {
    let Some(host) = Host::new("host_and_containers_reach_each_other_by_address", "") else { return };
    let mut one = host.start(&[], &web_server());
    let mut two = host.start(&[], OBEY);
    assert_eq!((one.address.as_str(), two.address.as_str()), ("172.17.0.2", "172.17.0.3"));
    // The very first packets, with less patience than the second that a lost one costs.
    host.net(&format!("ping -c1 -W0.5 {}", one.address));
    host.net(&format!("ping -c1 -W0.5 {}", two.address));
    assert_eq!(two.ask(&format!("ping -c1 -W1 {}", one.address)), "yes");
    assert_eq!(two.ask("ping -c1 -W1 172.17.0.1"), "yes");
    assert_eq!(two.ask("ping -c1 -W1 172.17.0.9"), "no", "nobody is there");
    let page = fetch(&one.address);
    assert!(wait_until(5, || two.ask(&says(&page, "a page")) == "yes"), "two containers reach each other over TCP");
    assert_eq!(host.net(&page), "a page\n");
    let port = json(&host.net(&format!("ip -j link show {}", veth(&host, &one))));
    assert_eq!((&port[0]["master"], &port[0]["operstate"]), (&"mycontainer0".into(), &"UP".into()));
    one.end_ok();
    two.end_ok();
}

#[test]
fn network_none_has_only_lo_and_leaves_the_host_alone() {
    let Some(host) = Host::new("network_none_has_only_lo_and_leaves_the_host_alone", "") else { return };
    let said = host.run_ok(&[
        "--network",
        "none",
        "host",
        "sh",
        "-ec",
        "ip -j address; ip -j route; ping -c1 -W1 127.0.0.1 >&2",
    ]);
    let (links, routes) = said.split_once('\n').unwrap();
    let links: Value = serde_json::from_str(links).unwrap();
    assert_eq!(names(&links), ["lo"]);
    assert!(has_flag_up(&links[0]) && links[0]["addr_info"][0]["local"] == "127.0.0.1", "{links}");
    assert_eq!(routes.trim(), "[]");
    host.sh("! ip link show mycontainer0 2>/dev/null; test ! -e /run/mycontainer/network/leases");
    assert_eq!(host.sh("nft list ruleset"), "");
}

#[test]
fn network_host_is_the_hosts_own() {
    let scratch = Scratch::new("resolv");
    let file =
        scratch.file("resolv.conf", "nameserver 127.0.0.1\nnameserver 198.51.100.7\nsearch example.org\n", 0o644);
    let setup = format!(
        "mount --bind {file} /etc/resolv.conf; ip link add dummy7 type bridge; ip addr add 10.7.7.7/24 dev dummy7"
    );
    let Some(host) = Host::new("network_host_is_the_hosts_own", &setup) else { return };
    let said = host.run_ok(&["--network", "host", "host", "sh", "-ec", "ip -j address; cat /etc/resolv.conf"]);
    let (links, resolv_conf) = said.split_once('\n').unwrap();
    let links: Value = serde_json::from_str(links).unwrap();
    assert_eq!(links, host.json("ip -j address"));
    // Beside what else a host has on which tests are run as an ordinary user.
    match crate::common::user_of_tool() {
        None => assert_eq!(names(&links), ["lo", "dummy7"]),
        Some(_) => assert!(names(&links).contains(&"dummy7".to_owned())),
    }
    assert_eq!(resolv_conf, std::fs::read_to_string(&file).unwrap());
}

#[test]
fn a_container_with_net_admin_has_no_power_over_the_hosts_network() {
    let setup = "ip link add dummy7 type bridge; ip link set dummy7 up; nft add table inet theirs
                 nft add chain inet theirs input '{ type filter hook input priority 0; policy accept; }'";
    let Some(host) = Host::new("a_container_with_net_admin_has_no_power_over_the_hosts_network", setup) else { return };
    let mut other = host.start(&[], OBEY);
    let before = host.picture();
    // It may do all of this to itself: without CAP_NET_ADMIN it may not even that.
    let own = "ip link set lo down && ip link set lo up && ip link add dummy9 type bridge &&
               ip address add 10.9.9.9/24 dev dummy9";
    for (flags, may) in [(&[][..], false), (&["--cap-add", "NET_ADMIN"], true)] {
        let said =
            host.run_ok(&[flags, &["host", "sh", "-c", &format!("({own}) >&2 && echo may || echo may not")]].concat());
        assert_eq!(said.trim() == "may", may, "{flags:?}: {said}");
    }
    let foreign = "for link in dummy7 mycontainer0 up0; do ip link set $link down; ip link delete $link; done
                   ip link set eth0 master mycontainer0; ip link delete eth0; ip route flush table all; ip rule flush
                   nft flush ruleset; echo 0 > /proc/sys/net/ipv4/ip_forward
                   nsenter --net=/proc/1/ns/net ip link delete dummy7
                   echo 0 > /proc/sys/net/ipv4/conf/all/forwarding; ip link show dummy7 && echo sees; echo done";
    let said = host.run_ok(&["--cap-add", "NET_ADMIN", "host", "sh", "-c", foreign]);
    assert_eq!(said, "done\n");
    let gone = || host.picture() == before;
    assert!(wait_until(3, gone), "before:\n{before}\nnow:\n{}", host.picture());
    // A user's containers are forwarded in the user's namespace.
    assert_eq!(host.net("cat /proc/sys/net/ipv4/ip_forward"), "1\n");
    assert_eq!(other.ask("ping -c1 -W1 172.17.0.1"), "yes", "and its neighbours do not notice");
    other.end_ok();
}

// --- the world -------------------------------------------------------------------------------------------------------

#[test]
fn the_outside_is_reached_through_nat_and_cannot_reach_in() {
    let Some(host) = Host::with_outside("the_outside_is_reached_through_nat_and_cannot_reach_in", "") else { return };
    let outside = host.outside();
    let scratch = Scratch::new("cgi");
    let _server = peer_server(outside, &scratch);
    host.sh("echo 0 > /proc/sys/net/ipv4/ip_forward");
    assert_eq!(host.busybox_ok(&[], PEER), "203.0.113.2\n", "the outside sees the host's address");

    let mut inside = host.start(&[], &web_server());
    let page = fetch(&inside.address);
    let tries = [says(&page, "a page"), format!("ping -c1 -W1 {}", inside.address)];
    assert!(wait_until(5, || host.try_sh(&tries[0]).status.success()), "the host reaches it");
    outside.sh("ip route add 172.17.0.0/16 via 203.0.113.2");
    for attempt in &tries {
        assert!(!outside.try_sh(attempt).status.success(), "the outside opens a connection inwards: {attempt}");
    }
    host.sh("nft insert rule inet mycontainer forward accept");
    for attempt in &tries {
        outside.sh(attempt);
    }
    inside.end_ok();
}

#[test]
fn a_forward_policy_of_drop_is_coped_with_and_left_as_it_was() {
    let test = "a_forward_policy_of_drop_is_coped_with_and_left_as_it_was";
    if !can_run(test) || !need(test, Command::new("iptables-nft").arg("-V").output().is_ok(), "it needs iptables-nft") {
        return;
    }
    // As Docker sets it, with rules of somebody's own, in IPv4 and in a table of family inet.
    let setup =
        "iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -s 10.9.0.0/16 -m comment --comment theirs -j ACCEPT
                 iptables-nft -t nat -A POSTROUTING -s 10.9.0.0/16 -j MASQUERADE
                 nft add table inet theirs; nft add set inet theirs good '{ type ipv4_addr; elements = { 192.0.2.1 }; }'
                 nft add chain inet theirs onward '{ type filter hook forward priority 10; policy drop; }'
                 nft add rule inet theirs onward ip saddr @good accept";
    let Some(host) = Host::with_outside(test, setup) else { return };
    let outside = host.outside();
    let scratch = Scratch::new("cgi");
    let _server = peer_server(outside, &scratch);
    let theirs = host.sh("iptables-nft -S; iptables-nft -t nat -S");
    let mut inside = host.start(&[], OBEY);
    let mut second = host.start(&[], OBEY);
    assert_eq!(inside.ask(&says(PEER, "203.0.113.2")), "yes");
    assert_eq!(second.ask(&format!("ping -c1 -W1 {}", inside.address)), "yes");
    let now = host.sh("iptables-nft -S; iptables-nft -t nat -S");
    let kept: Vec<&str> = now.lines().filter(|line| !line.contains("mycontainer")).collect();
    assert_eq!(kept, theirs.lines().collect::<Vec<_>>(), "iptables still shows all that was there");
    outside.sh("ip route add 172.17.0.0/16 via 203.0.113.2");
    assert!(!outside.try_sh(&format!("ping -c1 -W1 {}", inside.address)).status.success());
    inside.end_ok();
    second.end_ok();
    host.until_idle();
    assert_eq!(host.sh("iptables-nft -S; iptables-nft -t nat -S"), theirs);
}

#[test]
fn a_flushed_firewall_is_mended_by_the_next_run() {
    let Some(host) = Host::with_outside("a_flushed_firewall_is_mended_by_the_next_run", "") else { return };
    let outside = host.outside();
    let scratch = Scratch::new("cgi");
    let _server = peer_server(outside, &scratch);
    let mut old = host.start(&[], OBEY);
    assert_eq!(old.ask(&says(PEER, "203.0.113.2")), "yes");
    host.net("nft flush ruleset");
    assert_eq!(old.ask(&says(PEER, "203.0.113.2")), "no", "without NAT the answer does not find the way back");
    assert_eq!(host.busybox_ok(&[], PEER), "203.0.113.2\n");
    assert_eq!(old.ask(&says(PEER, "203.0.113.2")), "yes", "also for those that run");
    old.end_ok();
}

/// What a container sends first is answered: whoever must ask twice for an address waits a second.
#[test]
fn the_first_packet_arrives() {
    let Some(host) = Host::new("the_first_packet_arrives", "") else { return };
    for nth in 0..40 {
        let sent = "ping -c1 -W5 172.17.0.1 >/dev/null; cat /sys/class/net/eth0/statistics/tx_packets";
        assert_eq!(
            host.busybox_ok(&[], sent),
            "2\n",
            "packets of the {nth}th: who has 172.17.0.1, and an echo request"
        );
    }
}

#[test]
fn a_deleted_bridge_is_made_anew_by_the_next_run() {
    let Some(host) = Host::new("a_deleted_bridge_is_made_anew_by_the_next_run", "") else { return };
    host.busybox_ok(&[], "ping -c1 -W1 172.17.0.1");
    host.net("ip link delete mycontainer0");
    host.busybox_ok(&[], "ping -c1 -W1 172.17.0.1");
}

#[test]
fn a_deleted_bridge_comes_back_under_those_that_run() {
    let Some(host) = Host::new("a_deleted_bridge_comes_back_under_those_that_run", "") else { return };
    host.ours_ok(&["network", "create", "--subnet", "10.9.0.0/16", "net"]);
    let (root, flags) = (busybox_root(), ["--network", "net", "--name"]);
    let mut one = host.start(&[&flags[..], &["one", "-p", "8080:80"]].concat(), OBEY);
    let mut two = host.start(&[&flags[..], &["two"]].concat(), OBEY);
    let bridge = host.net("ip -o link show type bridge | grep -o 'mcn[0-9a-f]*' | head -n 1").trim_end().to_owned();
    let mut reaches = |told: &str| {
        assert_eq!(two.ask("timeout 4 ping -c1 -W2 one"), told, "by name");
        let gateway = format!("ping -c1 -W2 {}", one.address);
        assert_eq!(host.try_net(&gateway).status.success(), told == "yes", "from the host");
    };
    reaches("yes");
    let look = format!(
        "ip -o -4 address show {bridge} | sed 's/^[0-9]*//'; ip -o link show {bridge} | grep -o 'ether [0-9a-f:]*'"
    );
    let before = host.net(&look);
    for mends in [&["network", "reload"][..], &["run", "--rm", "--network", "net", root.to_str().unwrap(), "true"]] {
        host.net(&format!("ip link delete {bridge}"));
        reaches("no");
        let told = host.ours(&["network", "doctor"]);
        let said = stdout(&told);
        assert!(said.contains(&format!("there is no bridge {bridge}")) && said.contains("network reload"), "{said}");
        host.ours_ok(mends);
        reaches("yes");
        assert_eq!(host.net(&look), before, "{mends:?}");
        assert!(!stdout(&host.ours(&["network", "doctor"])).contains("broken"), "{mends:?}");
        // What it publishes it can ask itself for.
        let cable = host.net(&format!("bridge -d link show master {bridge} | grep -c 'hairpin on'"));
        assert_eq!(cable, "1\n", "{mends:?}");
    }
    one.end_ok();
    two.end_ok();
    host.ours_ok(&["network", "rm", "net"]);
}

#[test]
fn the_network_goes_with_its_last_container() {
    let setup = "ip link add dummy7 type bridge; ip link set dummy7 up; ip addr add 10.7.7.7/24 dev dummy7
                 ip rule add from 10.7.7.0/24 table 77; ip route add 10.8.0.0/16 dev dummy7 table 77";
    let Some(host) = Host::new("the_network_goes_with_its_last_container", setup) else { return };
    let rules = host.sh("ip rule; ip -6 rule; ip route show table 77");
    let (mut first, mut last) = (host.start(&[], "read x; true"), host.start(&[], "read x; true"));
    first.end_ok();
    // Longer than the janitor waits: while one is left, all stays.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(json(&host.net("ip -j address show mycontainer0"))[0]["addr_info"][0]["local"], "172.17.0.1");
    host.net("nft list table inet mycontainer");
    host.net(&format!("ping -c1 -W1 {}", last.address));
    assert_eq!(host.sh("ip rule; ip -6 rule; ip route show table 77"), rules, "the host's ip rules are its own");
    let has_groups = user_of_tool().is_none();
    assert_eq!(!control_groups(&last.id).is_empty(), has_groups, "where its control groups are looked for, they are");
    last.end_ok();
    assert_eq!(control_groups(&first.id).len() + control_groups(&last.id).len(), 0);
    host.until_idle();
    // A user's namespace is there for some seconds more: it is empty before it goes.
    let is_gone = || {
        host.net("ip link show mycontainer0 || nft list table inet mycontainer || ip route | grep 172.17 || echo gone")
            == "gone\n"
    };
    assert!(wait_until(4, is_gone), "the network stays");
    host.sh("test ! -e /run/mycontainer/network/leases");
}

// --- the subnet ------------------------------------------------------------------------------------------------------

#[test]
fn a_subnet_that_the_host_uses_is_stepped_over() {
    let dummy = "ip link add dummy7 type bridge; ip link set dummy7 up;";
    let table = [
        ("ip addr add 172.17.0.1/16 dev dummy7", "172.18.0."),
        ("ip route add 172.17.200.0/24 dev dummy7", "172.18.0."),
        ("ip route add 172.16.0.0/14 dev dummy7", "172.20.0."),
        ("for n in $(seq 17 30); do ip route add 172.$n.0.0/16 dev dummy7; done", "172.31.0."),
    ];
    for (setup, subnet) in table {
        let setup = format!("{dummy} {setup}");
        let Some(host) = Host::new("a_subnet_that_the_host_uses_is_stepped_over", &setup) else { return };
        let mut guest = host.start(&[], OBEY);
        assert_eq!(guest.address, format!("{subnet}2"), "{setup}");
        assert_eq!(guest.ask(&format!("ping -c1 -W1 {subnet}1")), "yes", "{setup}");
        guest.end_ok();
    }
}

#[test]
fn without_a_free_subnet_it_says_so_and_leaves_nothing() {
    let setup = "ip link add dummy7 type bridge; ip link set dummy7 up
                 for n in $(seq 17 31); do ip route add 172.$n.0.0/16 dev dummy7; done";
    let Some(host) = Host::new("without_a_free_subnet_it_says_so_and_leaves_nothing", setup) else { return };
    let output = host.run(&[busybox_root().to_str().unwrap(), "true"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(125), "{said}");
    for word in ["172.17.0.0/16", "172.31.0.0/16", "--network none"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(said.lines().count() <= 2, "{said}");
    host.until_idle();
    host.busybox_ok(&["--network", "none"], "true");
}

#[test]
fn a_link_that_has_the_bridges_name_is_not_touched() {
    let Some(host) = Host::new("a_link_that_has_the_bridges_name_is_not_touched", "") else { return };
    // As long as one runs a user's namespace is there, too.
    let mut one = host.start(&["--network", "none"], "read x; true");
    host.net(
        "ip link add mycontainer0 type veth peer name other0
         ip addr add 10.1.1.1/24 dev mycontainer0; ip link set mycontainer0 up",
    );
    let look = "ip -o address show mycontainer0; ip -o link show mycontainer0";
    let before = host.net(look);
    let output = host.run(&[busybox_root().to_str().unwrap(), "true"]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("mycontainer0") && said.lines().count() <= 2, "{said}");
    assert_eq!(host.net(look), before);
    host.net("ip link delete mycontainer0");
    one.end_ok();
    host.until_idle();
}

// --- names -----------------------------------------------------------------------------------------------------------

#[test]
fn names_resolve_as_on_a_host_whose_resolver_is_on_its_loopback() {
    let test = "names_resolve_as_on_a_host_whose_resolver_is_on_its_loopback";
    if !can_run(test) || !need(test, Command::new("dnsmasq").arg("-v").output().is_ok(), "it needs dnsmasq") {
        return;
    }
    let scratch = Scratch::new("resolv");
    for (address, firewall) in [
        ("127.0.0.1", "true"),
        ("127.0.0.53", "true"),
        ("127.0.0.1", "iptables-nft -P INPUT DROP; iptables-nft -A INPUT -i lo -j ACCEPT"),
    ] {
        let file = scratch.file("resolv.conf", format!("nameserver {address}\nsearch lan.test\n"), 0o644);
        let Some(host) = Host::new(test, &format!("mount --bind {file} /etc/resolv.conf; {firewall}")) else { return };
        let listen = format!("--listen-address={address}");
        let words = [
            "-k",
            "--conf-file=/dev/null",
            "--port=53",
            &listen,
            "--bind-interfaces",
            "--no-resolv",
            "--no-hosts",
            "--user=root",
            "--pid-file=",
            "--address=/www.lan.test/192.0.2.77",
        ];
        let _dnsmasq = host.serve("dnsmasq", &words, address, 53);
        // Short names by the search list as well.
        let ask = "getent hosts www.lan.test; getent hosts www";
        let expected = "192.0.2.77 www.lan.test 192.0.2.77 www.lan.test";
        assert_eq!(squeezed(&host.sh(ask)), expected, "on the host itself");
        assert_eq!(squeezed(&host.run_ok(&["host", "sh", "-c", ask])), expected, "{address}, {firewall}");
        let conf = host.run_ok(&["host", "cat", "/etc/resolv.conf"]);
        assert_eq!(conf, "nameserver 172.17.0.1\nsearch lan.test\n");
        let busybox = host.busybox_ok(&[], "nslookup www.lan.test || true");
        assert!(busybox.contains("192.0.2.77"), "{busybox}");
        let missing = host.run(&["host", "getent", "hosts", "missing.example.org"]);
        assert_eq!(missing.status.code(), Some(2), "what is not there is not found: {}", stderr(&missing));
        let said = host.run_ok(&["--network", "host", "host", "sh", "-c", ask]);
        assert_eq!(squeezed(&said), expected, "--network host");
    }
}

#[test]
fn what_else_listens_on_the_hosts_loopback_is_closed_to_containers() {
    let scratch = Scratch::new("loopback");
    let file = scratch.file("resolv.conf", "nameserver 127.0.0.1\n", 0o644);
    let setup = format!("mount --bind {file} /etc/resolv.conf");
    let test = "what_else_listens_on_the_hosts_loopback_is_closed_to_containers";
    let Some(host) = Host::new(test, &setup) else { return };
    scratch.file("www/page", "secret\n", 0o644);
    let words = ["httpd", "-f", "-p", "127.0.0.1:8000", "-h", &scratch.path("www")];
    let _server = host.serve("busybox", &words, "127.0.0.1", 8000);
    let secret = |address: &str| says(&fetch(address), "secret");
    host.sh(&secret("127.0.0.1"));
    let flags = ["--cap-add", "NET_ADMIN", "--sysctl", "net.ipv4.conf.all.route_localnet=1"];
    let mut guest = host.start(&flags, OBEY);
    assert_eq!(guest.ask(&secret("172.17.0.1")), "no");
    // A container that may change its own routes sends what it likes to the host. [CVE-2020-8558]
    let routes = "ip address del 127.0.0.1/8 dev lo; ip route del table local 127.0.0.0/8 dev lo";
    let route = format!("{routes}; ip route add 127.0.0.1 via 172.17.0.1 src {}", guest.address);
    assert_eq!(guest.ask(&route), "yes");
    assert_eq!(guest.ask(&secret("127.0.0.1")), "no");
    host.sh("nft flush chain inet mycontainer martians");
    assert_eq!(guest.ask(&secret("127.0.0.1")), "yes", "it is these rules that keep it out");
    guest.end_ok();
}

#[test]
fn dns_and_add_host_are_dockers() {
    let scratch = Scratch::new("resolv");
    let file = scratch.file("resolv.conf", "nameserver 192.0.2.53\nsearch lan.test\noptions ndots:2\n", 0o644);
    let setup = format!("mount --bind {file} /etc/resolv.conf");
    let Some(host) = Host::new("dns_and_add_host_are_dockers", &setup) else { return };
    let conf = |flags: &[&str]| host.run_ok(&[flags, &["host", "cat", "/etc/resolv.conf"]].concat());
    assert_eq!(conf(&[]), std::fs::read_to_string(&file).unwrap());
    for network in ["bridge", "none", "host"] {
        assert_eq!(
            conf(&["--network", network, "--dns", "9.9.9.9", "--dns=2001:db8::9"]),
            "nameserver 9.9.9.9\nnameserver 2001:db8::9\nsearch lan.test\noptions ndots:2\n",
            "{network}"
        );
    }
    let flags = ["--add-host", "db:10.0.0.5", "--add-host=six:2001:db8::5", "--add-host", "docker.host:host-gateway"];
    let ask = |network: &str, names: &str| {
        let flags = [&["--network", network, "--name", "hosts", "--hostname", "me"], &flags[..]].concat();
        squeezed(&host.run_ok(&[&flags[..], &["host", "sh", "-c", &format!("getent hosts {names}")]].concat()))
    };
    assert_eq!(ask("bridge", "db six docker.host"), "10.0.0.5 db 2001:db8::5 six 172.17.0.1 docker.host");
    let own = ask("bridge", "me");
    assert!(own.starts_with("172.17.0.") && own.contains("me hosts"), "its own name is its address: {own}");
    assert_eq!(ask("none", "db six"), "10.0.0.5 db 2001:db8::5 six");
    assert_eq!(ask("host", "db six"), "10.0.0.5 db 2001:db8::5 six");
    for bad in ["db", "db:", ":10.0.0.1", "db:10.0.0.300", "db:nowhere"] {
        let output = host.run(&["--add-host", bad, "host", "true"]);
        assert_eq!(output.status.code(), Some(125), "{bad}");
        assert!(stderr(&output).contains("--add-host"), "{bad}: {}", stderr(&output));
    }
    let output = host.run(&["--dns", "dns.example.org", "host", "true"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(stderr(&output).contains("--dns"), "{}", stderr(&output));
}

// --- crashes ---------------------------------------------------------------------------------------------------------

#[test]
fn what_a_killed_tool_held_goes_with_the_next_command_and_its_neighbours_stay() {
    let test = "what_a_killed_tool_held_goes_with_the_next_command_and_its_neighbours_stay";
    let Some(host) = Host::new(test, "") else { return };
    let mut neighbour = host.start(&[], OBEY);
    let mut killed = host.start(&["--name", "killed"], "sleep 1000");
    let (id, link) = (killed.id.clone(), veth(&host, &killed));
    kill("KILL", killed.tool.id());
    let _ = killed.tool.wait();
    // The same name and a network: the crashed container is in the way of both.
    let mut next = host.start(&["--name", "killed"], OBEY);
    assert!(next.address != neighbour.address, "{}", next.address);
    let left = || {
        host.sh("ls /run/mycontainer/containers; cut -c17-24 /run/mycontainer/network/leases; ls /var/lib/mycontainer")
    };
    assert!(wait_until(5, || !left().contains(&id)), "{}", left());
    assert!(wait_until(5, || control_groups(&id).is_empty()), "{:?}", control_groups(&id));
    assert!(wait_until(5, || !host.try_net(&format!("ip link show {link}")).status.success()), "{link} is left");
    assert_eq!(next.ask(&format!("ping -c1 -W1 {}", neighbour.address)), "yes");
    assert_eq!(neighbour.ask(&format!("ping -c1 -W1 {}", next.address)), "yes");
    next.end_ok();
    neighbour.end_ok();
}

#[test]
fn the_default_network_leaves_nothing_on_this_machine_either() {
    if !can_run("the_default_network_leaves_nothing_on_this_machine_either") {
        return;
    }
    let _clean = Clean::watch();
    let root = busybox_root().to_str().unwrap();
    let said = run_ok(&[
        root,
        "sh",
        "-c",
        "ip -4 -o addr show dev eth0; ip route; ping -c1 -W1 $(ip route | awk '/default/ {print $3}')",
    ]);
    assert!(said.contains("default via 172.") && said.contains("1 packets received"), "{said}");
}

// --- what the tests share --------------------------------------------------------------------------------------------

/// Asks the outside machine who it sees. Not with wget, for that of a static busybox wants glibc's shared libraries. With an
/// end, for some versions of pasta forget the end of a connection of which one half was closed before.
const PEER: &str =
    "printf 'GET /cgi-bin/peer HTTP/1.0\\r\\n\\r\\n' | busybox timeout 2 busybox nc -w 1 203.0.113.9 8000 | tail -n 1";

/// Asks such a server for a page.
fn fetch(address: &str) -> String {
    format!("printf 'GET /page HTTP/1.0\\r\\n\\r\\n' | busybox timeout 2 busybox nc -w 1 {address} 8000 | tail -n 1")
}

/// A script that tells whether another says what is expected.
fn says(script: &str, expected: &str) -> String {
    format!("[ \"$({script})\" = '{expected}' ]")
}

/// A server outside that says what address its client has.
fn peer_server(outside: &Place, scratch: &Scratch) -> Server {
    scratch.file(
        "cgi-bin/peer",
        "#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n%s\\n' \"$REMOTE_ADDR\"\n",
        0o755,
    );
    let dir = scratch.0.display().to_string();
    outside.serve("busybox", &["httpd", "-f", "-p", "0.0.0.0:8000", "-h", &dir], "127.0.0.1", 8000)
}

/// A script for [`Host::start`]: serves a page until its input ends.
fn web_server() -> String {
    "mkdir -p /tmp/$$; echo a page > /tmp/$$/page; httpd -p 8000 -h /tmp/$$; read x; true".to_owned()
}

/// The host's end of a container's cable.
fn veth(host: &Host, guest: &Guest) -> String {
    let prefix = format!("mc{}", guest.id);
    let links = json(&host.net("ip -j link"));
    let found = names(&links).into_iter().find(|name| name.starts_with(&prefix));
    found.unwrap_or_else(|| panic!("a link {prefix}...: {links}"))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

fn names(links: &Value) -> Vec<String> {
    links.as_array().unwrap().iter().map(|link| link["ifname"].as_str().unwrap().to_owned()).collect()
}

fn has_flag_up(link: &Value) -> bool {
    link["flags"].as_array().unwrap().contains(&"UP".into())
}

/// Words with one blank between them.
fn squeezed(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_new_name_is_in_its_hosts_file_from_the_next_start_on() {
    let Some(host) = Host::new("a_new_name_is_in_its_hosts_file_from_the_next_start_on", "") else { return };
    let root = busybox_root().to_str().unwrap();
    host.ours_ok(&["run", "-d", "--name", "old", root, "sleep", "1000"]);
    host.ours_ok(&["rename", "old", "young"]);
    host.ours_ok(&["restart", "-t", "0", "young"]);
    let hosts = host.ours_ok(&["exec", "young", "cat", "/etc/hosts"]);
    host.ours_ok(&["rm", "-f", "young"]);
    assert!(hosts.ends_with(" young\n") && !hosts.contains("old"), "{hosts}");
}
