//! Networks on a link of the host's own: macvlan and ipvlan. The judges are `ping`, `ip -j` and `nc`.

mod common;

use common::nets::{net, plain};
use common::{Host, Namespace, both, id, until};
use serde_json::{Value, json};

/// A network of this kind on the link to the outside, whose addresses it shares.
fn on_uplink(driver: &str, mode: &str) -> Value {
    let ipv4 = json!({ "subnet": "192.0.2.0", "prefix": 24, "gateway": "192.0.2.9", "range": ["192.0.2.64", 28] });
    net(1, json!({ "driver": driver, "mode": mode, "parent": "up0", "ipv4": ipv4 }))
}

fn kind_of(ns: &Namespace) -> (Value, Value) {
    let links: Value = serde_json::from_str(&ns.sh("ip -j -d link show eth0")).unwrap();
    let info = &links[0]["linkinfo"];
    (info["info_kind"].clone(), info["info_data"]["mode"].clone())
}

/// Whether this kernel has such links.
fn has(driver: &str) -> bool {
    let ns = Namespace::new();
    ns.sh("ip link add p0 type veth");
    let has = ns.can(&format!("ip link add l0 link p0 type {driver}"));
    if !has {
        eprintln!("skipped: this kernel has no {driver}");
    }
    has
}

#[test]
fn containers_on_a_macvlan_reach_the_outside_and_each_other_as_its_mode_says() {
    for (mode, each_other) in [("bridge", true), ("private", false), ("vepa", false)] {
        let Some(host) = Host::new() else { return };
        if !has("macvlan") {
            return;
        }
        let outside = host.outside(1500);
        let before = (host.links(), host.rules());
        let network = on_uplink("macvlan", mode);
        let (one, address, _) = host.on(&network).container(1);
        // The very first packet.
        one.sh("ping -c1 -W0.5 192.0.2.9");
        let (two, other, _) = host.on(&network).container(2);
        assert_eq!((address.as_str(), other.as_str()), ("192.0.2.64", "192.0.2.65"));
        assert_eq!(kind_of(&one), ("macvlan".into(), mode.into()));
        assert!(one.sh("ip route").contains("default via 192.0.2.9 dev eth0"));
        assert_eq!(two.can(&format!("ping -c1 -W0.5 {address}")), each_other, "{mode}");
        outside.sh(&format!("ping -c1 -W0.5 {other}"));
        // Nothing on the host is made for it.
        assert_eq!((host.links(), host.rules()), before, "{mode}");
        drop((one, two));
        host.ok("sweep");
        until("the leases to be gone", || !host.dir.join("leases").exists());
    }
}

#[test]
fn containers_on_an_ipvlan_reach_each_other_and_the_outside() {
    if !rustix::process::geteuid().is_root() || !has("ipvlan") {
        return;
    }
    for mode in ["l2", "l3", "l3s"] {
        let Some(host) = Host::new() else { return };
        let outside = host.outside(1500);
        let network = on_uplink("ipvlan", mode);
        let (one, address, _) = host.on(&network).container(1);
        let (two, _, _) = host.on(&network).container(2);
        assert_eq!(kind_of(&one), ("ipvlan".into(), mode.into()));
        let way = if mode == "l2" { "default via 192.0.2.9 dev eth0" } else { "default dev eth0" };
        assert!(one.sh("ip route").contains(way), "{mode}");
        two.sh(&format!("ping -c1 -W1 {address}"));
        if mode != "l2" {
            // Nobody answers who asks for it: whoever is outside has to know the way.
            outside.sh(&format!("ip route add {address} via 192.0.2.2"));
        }
        one.sh("ping -c1 -W1 192.0.2.9");
    }
}

#[test]
fn a_container_may_be_on_a_bridge_and_on_a_macvlan() {
    let Some(host) = Host::new() else { return };
    if !has("macvlan") {
        return;
    }
    let outside = host.outside(1500);
    let shared = on_uplink("macvlan", "bridge");
    let (both_of, own, _) = host.on(&plain(2)).container(1);
    let (there, _) = host.on(&shared).second().join(1, &both_of);
    let (neighbour, _, _) = host.on(&plain(2)).container(2);
    neighbour.sh(&format!("ping -c1 -W0.5 {own}"));
    outside.sh(&format!("ping -c1 -W0.5 {there}"));
    both_of.sh("ping -c1 -W0.5 192.0.2.9");
    // The bridge goes when it is idle, though the other has leases; its rules go with it.
    let (_alone, _, _) = host.on(&shared).container(3);
    drop((both_of, neighbour));
    host.ok("sweep");
    until("the bridge to be gone", || host.uses().is_empty() && !host.rules().contains("mycontainer"));
    assert_eq!(host.leases().len(), 1);
    // And comes back.
    let (again, _, _) = host.on(&plain(2)).container(4);
    again.sh("ping -c1 -W0.5 192.0.2.9");
}

#[test]
fn what_cannot_be_says_why() {
    let Some(host) = Host::new() else { return };
    let lease = format!("lease {} {}", id(1), std::process::id());
    let said = host.on(&on_uplink("macvlan", "bridge")).fails(&lease);
    assert!(said.contains("the network n1 is on the host's link up0, which is not there"), "{said}");
    let _outside = host.outside(1500);
    let ns = Namespace::new();
    // A port on a network that the host does not reach.
    let said =
        host.on(&on_uplink("macvlan", "bridge")).fails(&format!("hold {} {} tcp/0.0.0.0/80/80", id(1), ns.netns()));
    assert!(said.contains("cannot publish ports") && said.contains("macvlan"), "{said}");
    if has("macvlan") {
        // Who has it all to himself lets nobody beside him.
        let (_one, _, _) = host.on(&on_uplink("macvlan", "passthru")).container(1);
        let start = format!("start {} {} {} /dev/null", id(2), ns.netns(), ns.pid());
        let said = host.on(&on_uplink("macvlan", "bridge")).fails(&start);
        assert!(said.contains("cannot create a macvlan link"), "{said}");
    }
    if !has("ipvlan") {
        let host = Host::new().unwrap();
        let _outside = host.outside(1500);
        let start = format!("start {} {} {} /dev/null", id(2), ns.netns(), ns.pid());
        let said = both(&host.on(&on_uplink("ipvlan", "l2")).probe(&start).output().unwrap());
        assert!(said.contains("cannot create an ipvlan link") && said.contains("modprobe ipvlan`"), "{said}");
    }
}
