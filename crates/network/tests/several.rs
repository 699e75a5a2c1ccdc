//! Several networks on one host: their addresses, what each leaves, and that it goes. The judges are `ip -j`, `nft -j`.

mod common;

use common::nets::{bridge_of, net, plain, six};
use common::{Host, Namespace, ask, id, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Mutex;

/// Does something for each number, sixteen at a time.
fn many(count: u32, act: impl Fn(u32) + Sync) {
    let numbers = Mutex::new(1..=count);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while let Some(nth) = { numbers.lock().unwrap().next() } {
                    act(nth);
                }
            });
        }
    });
}

#[test]
fn a_wish_is_granted_once_and_taken_over_from_the_dead() {
    let Some(host) = Host::new() else { return };
    let network = plain(1);
    let wish = |address: &str| host.on(&network).with("ADDRESS", address);
    assert_eq!(wish("10.1.0.77").lease(1), "10.1.0.77");
    assert_eq!(wish("10.1.0.77").lease(1), "10.1.0.77", "once more");
    let said = wish("10.1.0.77").fails(&format!("lease {} {}", id(2), std::process::id()));
    assert!(said.contains("10.1.0.77 is the address of the container 000000000001"), "{said}");
    for (address, name) in
        [("10.1.0.1", "gateway"), ("10.1.0.0", "first"), ("10.1.0.255", "last"), ("10.2.0.9", "another's")]
    {
        let said = wish(address).fails(&format!("lease {} {}", id(2), std::process::id()));
        assert!(said.contains(&format!("{address} cannot be a container's")), "{name}: {said}");
    }
    assert_eq!(host.leases().len(), 1, "who is refused has none");
}

#[test]
fn who_takes_a_dead_ones_address_over_does_not_get_its_published_ports() {
    let Some(host) = Host::new() else { return };
    let outside = host.outside(1500);
    let network = plain(1);
    let mut dead = host.on(&network).with("ADDRESS", "10.1.0.7").publishing(1, "tcp/0.0.0.0/8080/80");
    dead.holder.kill().unwrap();
    dead.holder.wait().unwrap();
    let (heir, address, _) = host.on(&network).with("ADDRESS", "10.1.0.7").container(2);
    assert_eq!(address, "10.1.0.7");
    let _server = common::serve(&heir, &address, 80);
    assert_eq!(ask(&outside, "tcp", "192.0.2.2", 8080), None, "nobody published that one's port");
    assert_eq!(host.ok(&format!("ports {}", id(1))), "");
    heir.sh("ping -c1 -W0.5 10.1.0.1");
}

#[test]
fn of_a_range_only_that_is_given_and_an_exhausted_one_says_so() {
    let Some(host) = Host::new() else { return };
    let network = net(1, {
        let gateway = "10.1.0.1";
        json!({ "ipv4": { "subnet": "10.1.0.0", "prefix": 24, "gateway": gateway, "range": ["10.1.0.64", 30] } })
    });
    let given: Vec<String> = (1..=4).map(|nth| host.on(&network).lease(nth)).collect();
    assert_eq!(given, ["10.1.0.64", "10.1.0.65", "10.1.0.66", "10.1.0.67"]);
    let said = host.on(&network).fails(&format!("lease {} {}", id(5), std::process::id()));
    assert!(said.contains("no free address in 10.1.0.64/30: all 4 are leased"), "{said}");
    assert_eq!(host.on(&network).with("ADDRESS", "10.1.0.9").lease(5), "10.1.0.9", "a wish may be for any other");
    host.ok(&format!("release {}", id(2)));
    assert_eq!(host.on(&network).lease(6), "10.1.0.65");
    assert_eq!(host.on(&plain(2)).lease(5), "10.2.0.2", "others have theirs");
}

#[test]
fn a_subnet_of_510_gives_510_and_no_more() {
    let Some(host) = Host::new() else { return };
    let network = net(1, json!({ "ipv4": { "subnet": "10.1.0.0", "prefix": 23, "gateway": "10.1.0.1" } }));
    let addresses = Mutex::new(BTreeSet::new());
    // All but the first, the last and the gateway's.
    many(509, |nth| {
        assert!(addresses.lock().unwrap().insert(host.on(&network).lease(nth)), "given twice");
    });
    assert_eq!(addresses.into_inner().unwrap().len(), 509);
    let said = host.on(&network).fails(&format!("lease {} {}", id(510), std::process::id()));
    assert!(said.contains("no free address in 10.1.0.0/23: all 509 are leased"), "{said}");
    host.ok(&format!("release {}", id(77)));
    host.on(&network).lease(510);
}

#[test]
fn leases_of_three_networks_race_and_none_is_given_twice() {
    let Some(host) = Host::new() else { return };
    let networks = [1, 2, 3].map(plain);
    let given = Mutex::new(BTreeSet::new());
    many(96, |nth| {
        let network = &networks[nth as usize % 3];
        assert!(given.lock().unwrap().insert(host.on(network).lease(nth)), "given twice");
    });
    let given = given.into_inner().unwrap();
    for nth in 1..=3 {
        let prefix = format!("10.{nth}.0.");
        assert_eq!(given.iter().filter(|address| address.starts_with(&prefix)).count(), 32, "{given:?}");
        let table = host.ns.sh("nft list table inet mycontainer");
        assert!(table.matches(&bridge_of(nth)).count() >= 3, "{table}");
    }
    many(96, |nth| drop(host.ok(&format!("release {}", id(nth)))));
    until_all_gone(&host);
}

#[test]
fn of_two_that_race_for_one_address_and_one_port_one_wins() {
    let Some(host) = Host::new() else { return };
    let network = plain(1);
    for round in 0..3 {
        let racers = || -> Vec<_> { (1..=6).map(|nth| (nth, Namespace::new())).collect() };
        let first = racers();
        let begun: Vec<_> = first
            .iter()
            .map(|(nth, ns)| host.on(&network).with("ADDRESS", "10.1.0.9").holder(*nth, ns, "tcp/0.0.0.0/8080/80"))
            .collect();
        let winners = |begun: Vec<std::process::Child>| -> usize {
            let won = begun.into_iter().map(|mut holder| {
                let mut line = String::new();
                let mut said = std::io::BufReader::new(holder.stdout.take().unwrap());
                std::io::BufRead::read_line(&mut said, &mut line).unwrap();
                (holder, said, !line.is_empty())
            });
            let won: Vec<_> = won.collect();
            let count = won.iter().filter(|(_, _, won)| *won).count();
            for (mut holder, _said, _) in won {
                drop(holder.stdin.take());
                holder.wait().unwrap();
            }
            count
        };
        assert_eq!(winners(begun), 1, "address, round {round}");
        // In namespaces of their own: the winner's has a link still.
        let second = racers();
        let others = second.iter().map(|(nth, ns)| host.on(&plain(*nth as u8)).holder(*nth, ns, "udp/0.0.0.0/53/53"));
        assert_eq!(winners(others.collect()), 1, "port, round {round}");
        assert!(host.leases().is_empty());
    }
}

#[test]
fn names_and_mtus_of_bridges_are_as_wished() {
    let Some(host) = Host::new() else { return };
    let _outside = host.outside(1400);
    for (nth, more, name, mtu) in [
        (1, json!({ "bridge": "blue" }), "blue".to_owned(), 1400),
        (2, json!({ "mtu": 1300 }), bridge_of(2), 1300),
        (3, json!({ "mtu": 9000 }), bridge_of(3), 9000),
    ] {
        let (container, _, _) = host.on(&net(nth, more)).container(nth.into());
        let mtu_of = |ns: &Namespace, link: &str| -> Value {
            let said: Value = serde_json::from_str(&ns.sh(&format!("ip -j link show {link}"))).unwrap();
            said[0]["mtu"].clone()
        };
        assert_eq!((mtu_of(&host.ns, &name), mtu_of(&container, "eth0")), (mtu.into(), mtu.into()), "{name}");
        host.ok(&format!("release {}", id(nth.into())));
    }
    until_all_gone(&host);
}

#[test]
fn a_bridge_that_is_somebody_elses_is_not_taken_and_not_removed() {
    let Some(host) = Host::new() else { return };
    host.ns.sh("ip link add blue type bridge && ip address add 10.9.0.1/24 dev blue && ip link set blue up");
    let network = net(1, json!({ "bridge": "blue" }));
    let said = host.on(&network).fails(&format!("lease {} {}", id(1), std::process::id()));
    assert!(said.contains("blue") && said.contains("not this network's"), "{said}");
    host.on(&plain(2)).lease(2);
    host.ok(&format!("release {}", id(2)));
    until("the rest to be gone", || !host.dir.join("leases").exists());
    assert_eq!(host.ns.sh("ip -br -4 address show blue").split_whitespace().last(), Some("10.9.0.1/24"));
}

#[test]
fn a_subnet_that_the_host_has_come_to_use_is_refused() {
    let Some(host) = Host::new() else { return };
    host.ns.sh("ip link add d0 type veth && ip link set d0 up && ip address add 10.1.0.200/25 dev d0");
    let said = host.on(&plain(1)).fails(&format!("lease {} {}", id(1), std::process::id()));
    assert!(said.contains("its subnet 10.1.0.0/24 overlaps 10.1.0.") && said.contains("n1"), "{said}");
    let said = host.on(&plain(2)).lease(2);
    assert_eq!(said, "10.2.0.2");
    let wider = net(3, json!({ "ipv4": { "subnet": "10.2.0.0", "prefix": 16, "gateway": "10.2.0.1" } }));
    let said = host.on(&wider).fails(&format!("lease {} {}", id(3), std::process::id()));
    assert!(said.contains("overlaps 10.2.0."), "another network of ours: {said}");
}

/// Waits until no network is left, and nothing of any.
fn until_all_gone(host: &Host) {
    until("the networks to be gone", || !host.dir.join("leases").exists());
    host.until_gone();
    assert!(!host.ns.sh("ip -br link").contains("mcn"), "a bridge is left");
    let left: Vec<_> = std::fs::read_dir(&host.dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_idle_one_of_two_networks_goes_and_the_other_stays() {
    let Some(host) = Host::new() else { return };
    let outside = host.outside(1500);
    host.ns.sh("nft 'table inet own { chain f { type filter hook forward priority 5; policy drop; }; }'");
    let kept = host.on(&plain(1)).publishing(1, "tcp/0.0.0.0/8080/80");
    let _server = kept.serve(80);
    let (idle, _, _) = host.on(&net(2, six(2))).container(2);
    idle.sh("ping -c1 -W0.5 192.0.2.9");
    assert_eq!(host.uses(), ["010101010101", "020202020202"]);
    host.ok(&format!("release {}", id(2)));
    let began = std::time::Instant::now();
    until("the idle one to be gone", || host.uses() == ["010101010101"] && !host.rules().contains(&bridge_of(2)));
    assert!(began.elapsed().as_secs_f32() < 4.0, "it took {:?}", began.elapsed());
    assert!(!host.ns.can(&format!("ip link show {}", bridge_of(2))));
    assert!(host.rules().contains(&bridge_of(1)));
    kept.ns.sh("ping -c1 -W0.5 192.0.2.9");
    assert_eq!(ask(&outside, "tcp", "192.0.2.2", 8080).as_deref(), Some("192.0.2.9"));
    // It comes back.
    let (again, _, _) = host.on(&plain(2)).container(3);
    again.sh("ping -c1 -W0.5 192.0.2.9");
}

#[test]
fn when_all_are_gone_the_host_is_as_it_was() {
    let table = [
        ("nothing", "true"),
        (
            "iptables",
            "iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -i x -j ACCEPT; ip6tables-nft -P FORWARD DROP",
        ),
        (
            "inet",
            "nft 'table inet own { chain f { type filter hook forward priority 5; policy drop; }; chain i { type filter hook input priority 5; policy drop; icmpv6 type != 1 accept; iifname lo accept; ct state established accept; }; }'",
        ),
        (
            "ip and ip6",
            "nft 'table ip own { chain f { type filter hook forward priority 5; policy drop; }; }; table ip6 own { chain f { type filter hook forward priority 5; policy drop; }; }'",
        ),
    ];
    std::thread::scope(|scope| {
        for (name, setup) in table {
            scope.spawn(move || {
                let Some(host) = Host::new() else { return };
                let outside = host.outside(1500);
                outside.sh("ip address add 2001:db8::9/64 dev out0 nodad");
                host.ns.sh("ip address add 2001:db8::2/64 dev up0 nodad; ip -6 route add default via 2001:db8::9");
                host.ns.sh(setup);
                let (rules, links) = (host.rules(), host.links());
                let networks = [plain(1), net(2, six(2)), net(3, json!({ "internal": true }))];
                let held: Vec<_> = networks.iter().zip(1..).map(|(n, nth)| host.on(n).container(nth)).collect();
                let six = host.on(&networks[1]).publishing(4, "tcp/any/8080/80");
                let first = host.container(5);
                for (ns, _, _) in &held[..2] {
                    ns.sh("ping -c1 -W1 192.0.2.9");
                }
                held[1].0.sh("ping -c1 -W1 2001:db8::9");
                assert_ne!(host.rules(), rules, "{name}");
                six.end();
                drop((held, first));
                host.ok("sweep");
                until_all_gone(&host);
                assert_eq!(host.rules(), rules, "{name}");
                assert_eq!(host.links(), links, "{name}");
            });
        }
    });
}

#[test]
fn what_others_break_the_next_lease_or_reload_mends_for_all_networks() {
    let table = [
        ("flushed", "nft flush ruleset"),
        ("our table emptied", "nft flush table inet mycontainer"),
        ("forwarding off", "echo 0 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv6/conf/all/forwarding"),
        ("a firewall that comes later", "iptables-nft -P FORWARD DROP; ip6tables-nft -P FORWARD DROP"),
    ];
    std::thread::scope(|scope| {
        for (name, damage) in table {
            scope.spawn(move || mended(name, damage));
        }
    });
}

/// Two networks on which everything works, is broken, and works again.
fn mended(name: &str, damage: &str) {
    let Some(host) = Host::new() else { return };
    let outside = host.outside(1500);
    outside.sh("ip address add 2001:db8::9/64 dev out0 nodad");
    host.ns.sh("ip address add 2001:db8::2/64 dev up0 nodad; ip -6 route add default via 2001:db8::9");
    let one = host.on(&net(1, six(1))).publishing(1, "tcp/any/8080/80");
    let _server = one.serve(80);
    let (two, _, _) = host.on(&plain(2)).container(2);
    let works = || {
        two.can("ping -c1 -W0.5 192.0.2.9")
            && one.ns.can("ping -c1 -W0.5 192.0.2.9")
            && one.ns.can("ping -c1 -W0.5 2001:db8::9")
            && ask(&outside, "tcp", "192.0.2.2", 8080).is_some()
            && ask(&outside, "tcp", "2001:db8::2", 8080).is_some()
    };
    let closed = || !two.can(&format!("ping -c1 -W0.5 {}", one.address()));
    assert!(works() && closed(), "{name}");
    for (nth, mends) in ["reload", "lease"].into_iter().enumerate() {
        host.ns.sh(damage);
        assert!(!works(), "{name}: nothing is broken");
        match mends {
            "reload" => drop(host.ok("reload")),
            _ => drop(host.on(&net(1, six(1))).lease(9 + nth as u32)),
        }
        assert!(works() && closed(), "{name}: {mends}");
        if name.starts_with("a firewall") {
            host.ns.sh("iptables-nft -F FORWARD; ip6tables-nft -F FORWARD");
        }
    }
}

#[test]
fn a_bridge_that_was_deleted_comes_back_with_all_that_it_had() {
    let Some(host) = Host::new() else { return };
    for (on, bridge, loopback) in
        [(host.on(&net(1, six(1))), bridge_of(1), "10.1.0.1"), (host.on_default(), "mycontainer0".into(), "172.17.0.1")]
    {
        let first = on.publishing(1, "tcp/0.0.0.0/8080/80");
        host.ns.sh(&format!("ip link del {bridge}"));
        let second = on.publishing(2, "tcp/0.0.0.0/8081/80");
        let _server = second.serve(80);
        assert_eq!(ask(&host.ns, "tcp", "127.0.0.1", 8081).as_deref(), Some(loopback), "{bridge}");
        // Who is on it only by a port that is on no loopback gets that as well.
        host.ns.sh(&format!("ip link del {bridge}"));
        let _third = on.container(3);
        assert_eq!(host.ns.sh(&format!("cat /proc/sys/net/ipv4/conf/{bridge}/route_localnet")).trim(), "1", "{bridge}");
        first.end();
        second.end();
        host.ok(&format!("release {}", id(3)));
    }
    // Down takes the addresses of IPv6 away, and up does not bring them back.
    let network = net(2, six(2));
    host.on(&network).lease(4);
    host.ns.sh(&format!("ip link set {0} down && ip link set {0} up", bridge_of(2)));
    let (ns, _, _) = host.on(&network).container(5);
    ns.sh("ping -c1 -W0.5 fd00:2::1");
}

#[test]
fn a_lease_that_fails_leaves_a_network_that_the_next_command_sees_to() {
    let Some(host) = Host::new() else { return };
    host.on(&plain(1)).lease(1);
    host.on(&plain(2)).with("ADDRESS", "10.1.0.9").fails(&format!("lease {} {}", id(2), std::process::id()));
    host.ok("sweep");
    until("the second to be gone", || host.uses() == ["010101010101"]);
    assert!(!host.ns.can(&format!("ip link show {}", bridge_of(2))));
    assert!(host.ns.can(&format!("ip link show {}", bridge_of(1))));
}

#[test]
fn what_a_killed_owner_held_of_two_networks_is_swept() {
    let Some(host) = Host::new() else { return };
    let networks = [plain(1), plain(2)];
    let (owner, container) = (Namespace::new(), Namespace::new());
    let start = format!("start {} {} {} /dev/null", id(1), container.netns(), owner.pid());
    host.on(&networks[0]).ok(&start);
    host.on(&networks[1]).second().ok(&start);
    host.on(&networks[0]).lease(2);
    drop(owner);
    host.ok("sweep");
    let leases = host.leases();
    assert!(leases.len() == 1 && leases[0].contains(&id(2)), "{leases:?}");
    assert!(!host.ns.sh("ip -br link").lines().any(|line| line.starts_with("mc") && line.contains("@if")), "a veth");
    until("the second to be gone", || host.uses() == ["010101010101"]);
    let mut again = host.on(&networks[1]).probe(&format!("hold {} {}", id(3), container.netns()));
    assert!(again.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap().success());
    host.ok(&format!("release {}", id(2)));
    until_all_gone(&host);
}

/// Each change of the rules is one message to the kernel, and what it answers must fit into a socket's buffer.
#[test]
fn a_hundred_networks_are_in_use_where_the_host_drops() {
    let Some(host) = Host::new() else { return };
    host.ns.sh("nft 'table inet own { chain f { type filter hook forward priority 5; policy drop; }; }'");
    for nth in 1..=100 {
        host.on(&net(nth, six(nth))).lease(nth.into());
    }
    assert_eq!(host.ns.sh("nft list set inet mycontainer bridges").matches("mcn").count(), 100);
    assert_eq!(host.ns.sh("nft list chain inet own f").matches("mycontainer").count(), 2 * 100);
    let rules = || host.rules().matches("\"rule\"").count();
    let before = rules();
    host.ok("reload");
    assert_eq!(rules(), before);
}

#[test]
fn one_that_somebody_has_an_address_of_is_not_removed() {
    let Some(host) = Host::new() else { return };
    let shared = net(2, json!({ "driver": "macvlan", "parent": "up0" }));
    let _outside = host.outside(1500);
    for network in [plain(1), shared] {
        let on = || host.on(&network);
        assert_eq!(on().ok("remove"), "true\n", "nobody has used it yet");
        on().lease(1);
        assert_eq!(on().ok("remove"), "false\n");
        on().ok(&format!("release {}", id(1)));
        assert_eq!(on().ok("remove"), "true\n");
    }
    host.until_gone();
}

/// The process `mc-names` of a host.
fn teller(host: &Host) -> Option<u32> {
    let netns = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find(|pid| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name == "mc-names\n") && netns(*pid) == netns(host.ns.pid())
    })
}

#[test]
fn who_tells_names_and_was_killed_is_missed_and_started_again() {
    let Some(host) = Host::new() else { return };
    let network = net(1, json!({ "no_names": false }));
    let (ns, ..) = host.on(&network).with("NAMES", "web").container(1);
    let found = || {
        let said = host.ok("doctor /dev/null");
        said.lines().find(|line| line.contains(" names:")).expect("it is looked at").to_owned()
    };
    assert!(found().starts_with("ok "), "{}", found());
    let pid = teller(&host).expect("it lives");
    host.ns.sh(&format!("kill -9 {pid}"));
    until("its end", || teller(&host).is_none());
    assert!(found().starts_with("broken ") && found().contains("network reload"), "{}", found());
    host.ok("reload");
    assert!(found().starts_with("ok "), "{}", found());
    assert!(ns.sh("dig +short +time=2 web @10.1.0.1").contains("10.1.0.2"));
    // Whoever asks is told by his address, which must be one of the network.
    ns.sh("ip address add 10.9.9.9/32 dev eth0");
    assert!(!ns.can("dig -b 10.9.9.9 +short +time=1 +tries=1 web @10.1.0.1"), "under a foreign address");
}

#[test]
fn what_shares_a_link_of_the_hosts_needs_no_forwarding() {
    let Some(host) = Host::new() else { return };
    let _outside = host.outside(1500);
    host.ns.sh("echo 0 >/proc/sys/net/ipv4/ip_forward");
    host.on(&net(2, json!({ "driver": "macvlan", "parent": "up0" }))).lease(1);
    host.ok("reload");
    assert_eq!(host.ns.sh("cat /proc/sys/net/ipv4/ip_forward"), "0\n");
    assert!(!host.rules().contains("mycontainer"));
}
