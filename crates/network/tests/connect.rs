//! What a container on the default network has and reaches, judged by `ip -j` and `ping`.

mod common;

use common::{Host, Namespace, id};
use serde_json::Value;

fn json(ns: &Namespace, command: &str) -> Value {
    serde_json::from_str(&ns.sh(command)).expect("JSON")
}

#[test]
fn a_container_has_eth0_an_address_and_a_route() {
    let Some(host) = Host::new() else { return };
    let (container, address) = host.container(1);
    assert_eq!(address, "172.17.0.2");
    let links = json(&container, "ip -j address");
    let names: Vec<&str> = links.as_array().unwrap().iter().map(|link| link["ifname"].as_str().unwrap()).collect();
    assert_eq!(names, ["lo", "eth0"]);
    let eth0 = &links[1];
    assert_eq!(eth0["operstate"], "UP");
    assert_eq!(eth0["address"], "02:42:ac:11:00:02");
    let addresses = eth0["addr_info"].as_array().unwrap();
    assert_eq!((&addresses[0]["local"], &addresses[0]["prefixlen"]), (&"172.17.0.2".into(), &16.into()));
    assert_eq!(addresses[0]["broadcast"], "172.17.255.255");
    assert_eq!(addresses.len(), 1, "no IPv6, by which others would be reached past the rules: {addresses:?}");
    assert!(links[0]["flags"].as_array().unwrap().contains(&"UP".into()));
    let routes = json(&container, "ip -j route");
    assert_eq!((&routes[0]["dst"], &routes[0]["gateway"]), (&"default".into(), &"172.17.0.1".into()));
    let port = json(&host.ns, &format!("ip -j link show mc{:.12}", id(1)));
    assert_eq!((&port[0]["master"], &port[0]["operstate"]), (&"mycontainer0".into(), &"UP".into()));
}

#[test]
fn bridge_host_and_containers_reach_each_other_at_once() {
    let Some(host) = Host::new() else { return };
    let (one, address) = host.container(1);
    // The very first packet, with less patience than the second that a lost ARP request costs.
    one.sh("ping -c1 -W0.5 172.17.0.1");
    let (two, other) = host.container(2);
    two.sh(&format!("ping -c1 -W0.5 {address}"));
    one.sh(&format!("ping -c1 -W0.5 {other}"));
    host.ns.sh(&format!("ping -c1 -W0.5 {other}"));
}

#[test]
fn nobody_on_the_network_speaks_ipv6_so_that_none_can_pose_as_a_router() {
    let Some(host) = Host::new() else { return };
    let (one, _) = host.container(1);
    let port = format!("mc{:.12}", id(1));
    for (place, link) in [(&host.ns, "mycontainer0"), (&one, "eth0"), (&host.ns, port.as_str())] {
        let said = json(place, &format!("ip -j -6 address show dev {link}"));
        let addresses: Vec<_> = said.as_array().unwrap().iter().filter(|link| link.get("ifname").is_some()).collect();
        assert!(addresses.is_empty(), "{link}: {said}");
        if link == port {
            continue;
        }
        assert_eq!(place.sh(&format!("cat /proc/sys/net/ipv6/conf/{link}/disable_ipv6")).trim(), "1", "{link}");
    }
}

#[test]
fn the_outside_is_reached_through_nat_and_does_not_reach_in() {
    let Some(host) = Host::new() else { return };
    let outside = host.outside(1400);
    host.ns.sh("echo 0 > /proc/sys/net/ipv4/ip_forward");
    let (container, address) = host.container(1);
    container.sh("ping -c1 -W1 192.0.2.9");
    assert_eq!(json(&container, "ip -j link show eth0")[0]["mtu"], 1400, "the uplink's");
    assert_eq!(json(&host.ns, "ip -j link show mycontainer0")[0]["mtu"], 1400);
    outside.sh("ip route add 172.17.0.0/16 via 192.0.2.2");
    assert!(!outside.can(&format!("ping -c1 -W1 {address}")), "nobody outside may start a connection to a container");
    host.ns.sh("nft insert rule inet mycontainer forward accept");
    outside.sh(&format!("ping -c1 -W1 {address}"));
    // The MTU stays when the last port goes: the next container needs it.
    host.ns.sh(&format!("ip link del mc{:.12}", id(1)));
    assert_eq!(json(&host.ns, "ip -j link show mycontainer0")[0]["mtu"], 1400, "without a port");
}

#[test]
fn the_subnet_is_one_that_the_host_does_not_use() {
    let table = [
        ("true", "172.17.0.1"),
        ("ip link add d0 type veth && ip link set d0 up && ip address add 172.17.5.1/24 dev d0", "172.18.0.1"),
        ("ip link add d0 type veth && ip link set d0 up && ip route add 172.16.0.0/14 dev d0", "172.20.0.1"),
        ("ip route add unreachable 172.17.0.0/16 && ip route add blackhole 172.18.3.0/24 table 77", "172.19.0.1"),
    ];
    for (setup, gateway) in table {
        let Some(host) = Host::new() else { return };
        host.ns.sh(setup);
        let (container, _) = host.container(1);
        container.sh(&format!("ping -c1 -W1 {gateway}"));
    }
    let Some(host) = Host::new() else { return };
    host.ns.sh("ip link add d0 type veth && ip link set d0 up && ip route add 172.16.0.0/12 dev d0");
    let said = host.fails(&format!("lease {} {}", id(1), std::process::id()));
    assert!(said.contains("172.16.0.0/12") && said.contains("--network none"), "{said}");
    assert!(!host.has_bridge());
}

#[test]
fn wrong_use_says_what_is_wrong() {
    let Some(host) = Host::new() else { return };
    let me = std::process::id();
    let said = host.fails(&format!("lease abc {me}"));
    assert!(said.contains("\"abc\"") && said.contains("64"), "{said}");
    let program = host.probe(&format!("lease {} {me}", id(1)));
    let script = program.get_args().last().unwrap().to_str().unwrap().to_owned();
    let output = host.ns.command(&format!("setpriv --bounding-set -net_admin sh -c '{script}'")).output().unwrap();
    let said = common::both(&output);
    assert!(!output.status.success() && said.contains("create bridge") && said.contains("CAP_NET_ADMIN"), "{said}");
    host.ns.sh("ip link add mycontainer0 type veth");
    let said = host.fails(&format!("lease {} {me}", id(1)));
    assert!(said.contains("mycontainer0") && said.contains("no bridge"), "{said}");
}

#[test]
fn loopback_comes_up_alone() {
    let Some(host) = Host::new() else { return };
    host.ns.sh("ip link set lo down");
    host.ok("loopback");
    host.ns.sh("ping -c1 -W1 127.0.0.1");
}
