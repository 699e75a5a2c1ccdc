//! Who reaches whom with several networks on a host, and as whom. The judges are `ping` and `nc`.

mod common;

use common::nets::{bridge_of, net, plain};
use common::{Host, Namespace, Publishing, ask, serve};
use serde_json::json;

const BOTH: [&str; 2] = ["tcp", "udp"];

/// Whether what bridges pass on is seen by the rules; set both ways where this kernel can.
fn with_bridges_seen_and_not(host: &Host, act: impl Fn(&str)) {
    let setting = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    if !host.ns.can(&format!("test -e {setting}")) {
        return act("not seen");
    }
    for value in ["0", "1"] {
        host.ns.sh(&format!("echo {value} > {setting}; echo {value} > /proc/sys/net/bridge/bridge-nf-call-ip6tables"));
        act(value);
    }
}

#[test]
fn containers_of_one_network_reach_each_other_at_once_and_no_others() {
    let Some(host) = Host::new() else { return };
    let outside = host.outside(1500);
    let members: Vec<(u8, Namespace, String)> = [(0, 1), (0, 2), (1, 3), (1, 4), (2, 5), (2, 6)]
        .into_iter()
        .map(|(network, nth)| {
            let on = if network == 0 { host.on_default() } else { host.on(&plain(network)) };
            let (ns, address, _) = on.container(nth);
            (network, ns, address)
        })
        .collect();
    let _servers: Vec<_> = members.iter().map(|(_, ns, address)| serve(ns, address, 80)).collect();
    with_bridges_seen_and_not(&host, |seen| {
        let reaches = |(mine, ns, own): &(u8, Namespace, String), (network, _, address): &(u8, Namespace, String)| {
            let case = format!("{own} to {address}, bridges {seen}");
            // The very first packet, with less patience than the second that a lost ARP request costs.
            assert_eq!(ns.can(&format!("ping -c1 -W0.5 {address}")), network == mine, "{case}");
            let expected = (network == mine).then_some(own.as_str());
            for protocol in BOTH {
                assert_eq!(ask(ns, protocol, address, 80).as_deref(), expected, "{protocol} {case}");
            }
        };
        std::thread::scope(|scope| {
            // One of each network asks.
            for one in members.iter().step_by(2) {
                one.1.sh("ping -c1 -W0.5 192.0.2.9");
                for other in members.iter().filter(|other| other.2 != one.2) {
                    scope.spawn(move || reaches(one, other));
                }
            }
        });
    });
    outside.sh("ip route add 10.0.0.0/8 via 192.0.2.2; ip route add 172.17.0.0/16 via 192.0.2.2");
    for (_, _, address) in members.iter().step_by(2) {
        assert!(!outside.can(&format!("ping -c1 -W0.5 {address}")), "{address} from outside");
        host.ns.sh(&format!("ping -c1 -W0.5 {address}"));
    }
    // That the rules are what keeps them apart shows when they are away.
    host.ns.sh("nft insert rule inet mycontainer forward accept");
    members[2].1.sh(&format!("ping -c1 -W0.5 {}", members[4].2));
    outside.sh(&format!("ping -c1 -W0.5 {}", members[4].2));
}

#[test]
fn the_outside_sees_the_host_and_of_a_routed_network_the_container() {
    let Some(host) = Host::new() else { return };
    let outside = host.outside(1500);
    let _server = serve(&outside, "192.0.2.9", 80);
    outside.sh("ip route add 10.0.0.0/8 via 192.0.2.2");
    let (hidden, _, _) = host.on(&plain(1)).container(1);
    let (routed, address, _) = host.on(&net(2, json!({ "routed": true }))).container(2);
    for protocol in BOTH {
        assert_eq!(ask(&hidden, protocol, "192.0.2.9", 80).as_deref(), Some("192.0.2.2"), "{protocol}");
        assert_eq!(ask(&routed, protocol, "192.0.2.9", 80), Some(address.clone()), "{protocol}");
    }
    let _inside = serve(&routed, &address, 81);
    assert_eq!(ask(&outside, "tcp", &address, 81), None, "what is routed is not open");
}

#[test]
fn an_internal_network_leads_nowhere_but_within() {
    let Some(host) = Host::new() else { return };
    let outside = host.outside(1500);
    outside.sh("ip route add 10.0.0.0/8 via 192.0.2.2");
    let closed = net(1, json!({ "internal": true }));
    let (one, address, _) = host.on(&closed).container(1);
    let (two, _, _) = host.on(&closed).container(2);
    let published = host.on(&plain(2)).publishing(3, "tcp/0.0.0.0/8080/80");
    let _servers = [serve(&one, &address, 80), published.serve(80), serve(&outside, "192.0.2.9", 80)];
    let shut = |how: &str| {
        std::thread::scope(|scope| {
            for (from, to, port) in [
                (&one, "192.0.2.9", 80),
                (&one, "192.0.2.2", 8080),
                (&two, published.address(), 80),
                (&outside, &address, 80),
                (&published.ns, &address, 80),
            ] {
                scope.spawn(move || {
                    assert!(!from.can(&format!("ping -c1 -W0.5 {to}")) || to == "192.0.2.2", "{to} {how}");
                    for protocol in BOTH {
                        assert_eq!(ask(from, protocol, to, port), None, "{protocol} {to} {how}");
                    }
                });
            }
        });
        assert_eq!(ask(&two, "tcp", &address, 80).as_deref(), Some("10.1.0.3"), "{how}");
    };
    assert_eq!(one.sh("ip route").lines().count(), 1, "no way out");
    shut("as it is");
    // A root in it adds the way that it was not given.
    one.sh("ip route add default via 10.1.0.1");
    two.sh("ip route add default via 10.1.0.1");
    shut("with a route");
    let ns = Namespace::new();
    let said = host.on(&closed).fails(&format!("hold {} {} tcp/0.0.0.0/8081/80", common::id(4), ns.netns()));
    assert!(said.contains("cannot publish ports") && said.contains("internal"), "{said}");
    host.ns.sh("nft insert rule inet mycontainer forward accept");
    assert!(outside.can(&format!("ping -c1 -W0.5 {address}")), "the attack of this test does not work at all");
}

/// Two networks and an outside machine; a container on the first publishes its port 80 at 8080 of all addresses.
fn published() -> Option<(Host, Namespace, Publishing)> {
    let host = Host::new()?;
    let outside = host.outside(1500);
    let one = host.on(&plain(1)).publishing(1, "tcp/0.0.0.0/8080/80 udp/0.0.0.0/8080/80");
    assert_eq!(one.ports, ["tcp 0.0.0.0:8080 10.1.0.2:80", "udp 0.0.0.0:8080 10.1.0.2:80"]);
    Some((host, outside, one))
}

#[test]
fn a_published_port_is_reached_from_everywhere_and_each_is_seen_as_told() {
    let Some((host, outside, one)) = published() else { return };
    let _server = one.serve(80);
    let (same, _, _) = host.on(&plain(1)).container(2);
    let (other, _, _) = host.on(&plain(2)).container(3);
    let (first, _, _) = host.on_default().container(4);
    let (routed, _, _) = host.on(&net(3, json!({ "routed": true }))).container(5);
    let table: [(&str, &Namespace, &str, &str); 11] = [
        ("outside", &outside, "192.0.2.2", "192.0.2.9"),
        ("the host, loopback", &host.ns, "127.0.0.1", "10.1.0.1"),
        ("the host", &host.ns, "192.0.2.2", "192.0.2.2"),
        ("the host, its bridge", &host.ns, "10.1.0.1", "10.1.0.1"),
        ("same network", &same, "192.0.2.2", "10.1.0.1"),
        ("same network, its gateway", &same, "10.1.0.1", "10.1.0.1"),
        ("another network", &other, "192.0.2.2", "10.1.0.1"),
        ("another network, its own gateway", &other, "10.2.0.1", "10.1.0.1"),
        ("the default one", &first, "192.0.2.2", "10.1.0.1"),
        ("a routed one", &routed, "192.0.2.2", "10.3.0.2"),
        ("itself", &one.ns, "192.0.2.2", "10.1.0.1"),
    ];
    with_bridges_seen_and_not(&host, |seen| {
        std::thread::scope(|scope| {
            for (who, from, to, expected) in table {
                scope.spawn(move || {
                    for protocol in BOTH {
                        let said = ask(from, protocol, to, 8080);
                        assert_eq!(said.as_deref(), Some(expected), "{who} {protocol}, bridges {seen}");
                    }
                });
            }
        });
        for from in [&other, &outside] {
            assert_eq!(ask(from, "tcp", one.address(), 80), None, "bridges {seen}: only by the published port");
        }
    });
}

#[test]
fn a_container_on_two_networks_reaches_both_and_is_reached_from_both() {
    let Some(host) = Host::new() else { return };
    let outside = host.outside(1500);
    let (first, second) = (plain(1), plain(2));
    let (both, own, _) = host.on(&first).container(1);
    let (there, _) = host.on(&second).second().join(1, &both);
    let (left, address, _) = host.on(&first).container(2);
    let (right, other, _) = host.on(&second).container(3);
    assert_eq!((own.as_str(), there.as_str()), ("10.1.0.2", "10.2.0.2"));
    both.sh(&format!("ping -c1 -W0.5 {address} && ping -c1 -W0.5 {other} && ping -c1 -W0.5 192.0.2.9"));
    left.sh(&format!("ping -c1 -W0.5 {own}"));
    right.sh(&format!("ping -c1 -W0.5 {there}"));
    assert!(!right.can(&format!("ping -c1 -W0.5 {own}")) && !left.can(&format!("ping -c1 -W0.5 {other}")));
    let routes = both.sh("ip route");
    assert!(routes.starts_with("default via 10.1.0.1 dev eth0") && routes.matches("default").count() == 1, "{routes}");
    assert!(both.sh("ip -br address").contains("eth1"), "the second link");
    drop(outside);
    // It ends: both of its leases go.
    host.ok(&format!("release {}", common::id(1)));
    assert_eq!(host.leases().len(), 2);
    assert!(host.ns.can(&format!("ip link show {}", bridge_of(2))));
}
