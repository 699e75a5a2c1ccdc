//! IPv6: addresses, the way out, published ports. The judges are `ping`, `nc`, `ip -j` and `nft`.

mod common;

use common::nets::{bridge_of, net, six};
use common::{Host, Namespace, Publishing, Server, ask, id, serve, until};
use serde_json::{Value, json};

const BOTH: [&str; 2] = ["tcp", "udp"];

/// A host joined to an outside machine by IPv6, too: 2001:db8::2 here, 2001:db8::9 there.
fn host_and_outside() -> Option<(Host, Namespace)> {
    let host = Host::new()?;
    let outside = host.outside(1500);
    outside.sh("ip address add 2001:db8::9/64 dev out0 nodad");
    host.ns.sh("ip address add 2001:db8::2/64 dev up0 nodad; ip -6 route add default via 2001:db8::9");
    // Where bridges' packets pass through the rules, an answer to ::1 is that before the kernel looks whence it came.
    host.ns.sh("cd /proc/sys/net/bridge && echo 0 > bridge-nf-call-ip6tables || true");
    Some((host, outside))
}

#[test]
fn the_first_packet_arrives() {
    let Some((host, _outside)) = host_and_outside() else { return };
    let network = net(1, six(1));
    let (one, address, own) = host.on(&network).container(1);
    one.sh("ping -c1 -W0.5 2001:db8::9");
    one.sh("ping -c1 -W0.5 fd00:1::1");
    assert_eq!((address.as_str(), own.as_str()), ("10.1.0.2", "fd00:1::2"));
    let (two, _, other) = host.on(&network).container(2);
    two.sh(&format!("ping -c1 -W0.5 {own}"));
    host.ns.sh(&format!("ping -c1 -W0.5 {other}"));
    let links: Value = serde_json::from_str(&one.sh("ip -j -6 address show dev eth0 scope global")).unwrap();
    let found = &links[0]["addr_info"][0];
    assert_eq!((&found["local"], &found["prefixlen"], &found["tentative"]), (&own.into(), &64.into(), &Value::Null));
    assert!(one.sh("ip -6 route").contains("default via fd00:1::1 dev eth0"));
}

#[test]
fn a_network_is_apart_from_others_in_both_families() {
    let Some((host, outside)) = host_and_outside() else { return };
    let (one, _, own) = host.on(&net(1, six(1))).container(1);
    let (two, _, other) = host.on(&net(2, six(2))).container(2);
    let mut closed = six(3);
    closed["internal"] = true.into();
    let (three, _, inner) = host.on(&net(3, closed.clone())).container(3);
    let (four, _, _) = host.on(&net(3, closed)).container(4);
    outside.sh("ip -6 route add fd00::/16 via 2001:db8::2");
    three.sh("ip -6 route add default via fd00:3::1");
    let servers = [(&one, &own), (&two, &other), (&three, &inner)].map(|(ns, address)| serve(ns, address, 80));
    std::thread::scope(|scope| {
        for (from, to) in
            [(&one, &other), (&two, &own), (&one, &inner), (&three, &own), (&outside, &own), (&outside, &inner)]
        {
            scope.spawn(move || {
                assert!(!from.can(&format!("ping -c1 -W0.5 {to}")), "{to}");
                for protocol in BOTH {
                    assert_eq!(ask(from, protocol, to, 80), None, "{protocol} {to}");
                }
            });
        }
    });
    assert!(!three.can("ping -c1 -W0.5 2001:db8::9"), "internal");
    assert_eq!(ask(&four, "tcp", &inner, 80).as_deref(), Some("fd00:3::3"));
    drop(servers);
    host.ns.sh("nft insert rule inet mycontainer forward accept");
    one.sh(&format!("ping -c1 -W0.5 {other}"));
    outside.sh(&format!("ping -c1 -W0.5 {inner}"));
}

#[test]
fn the_outside_sees_the_host_and_of_a_routed_network_the_container() {
    let Some((host, outside)) = host_and_outside() else { return };
    let _server = serve(&outside, "2001:db8::9", 80);
    outside.sh("ip -6 route add fd00::/16 via 2001:db8::2");
    let mut routed = six(2);
    routed["routed"] = true.into();
    let (hidden, _, _) = host.on(&net(1, six(1))).container(1);
    let (routed, _, address) = host.on(&net(2, routed)).container(2);
    for protocol in BOTH {
        assert_eq!(ask(&hidden, protocol, "2001:db8::9", 80).as_deref(), Some("2001:db8::2"), "{protocol}");
        assert_eq!(ask(&routed, protocol, "2001:db8::9", 80), Some(address.clone()), "{protocol}");
    }
}

/// A container on a network with IPv6 that publishes its port 80 at 8080 of all addresses of both.
fn published(host: &Host) -> (Publishing, Server) {
    let one = host.on(&net(1, six(1))).publishing(1, "tcp/any/8080/80 udp/any/8080/80");
    let lines = ["tcp 0.0.0.0:8080 10.1.0.2:80", "tcp [::]:8080 [fd00:1::2]:80"];
    assert_eq!(one.ports[..2], lines);
    assert_eq!(one.ports[2..], lines.map(|line| line.replace("tcp", "udp")));
    let server = one.serve(80);
    (one, server)
}

#[test]
fn a_published_port_is_reached_and_each_is_seen_as_told() {
    let Some((host, outside)) = host_and_outside() else { return };
    let (one, _server) = published(&host);
    let (same, _, _) = host.on(&net(1, six(1))).container(2);
    let (other, _, _) = host.on(&net(2, six(2))).container(3);
    let table: [(&str, &Namespace, &str, &str); 10] = [
        ("outside", &outside, "2001:db8::2", "2001:db8::9"),
        ("outside, IPv4", &outside, "192.0.2.2", "192.0.2.9"),
        ("the host", &host.ns, "2001:db8::2", "2001:db8::2"),
        ("the host, its bridge", &host.ns, "fd00:1::1", "fd00:1::1"),
        ("the host, loopback", &host.ns, "::1", "fd00:1::1"),
        ("the host, loopback, IPv4", &host.ns, "127.0.0.1", "10.1.0.1"),
        ("same network", &same, "2001:db8::2", "fd00:1::1"),
        ("another network", &other, "2001:db8::2", "fd00:1::1"),
        ("another network, its own gateway", &other, "fd00:2::1", "fd00:1::1"),
        ("itself", &one.ns, "2001:db8::2", "fd00:1::1"),
    ];
    std::thread::scope(|scope| {
        for (who, from, to, expected) in table {
            scope.spawn(move || {
                for protocol in BOTH {
                    assert_eq!(ask(from, protocol, to, 8080).as_deref(), Some(expected), "{who} {protocol}");
                }
            });
        }
    });
    outside.sh("ip -6 route add fd00::/16 via 2001:db8::2");
    assert_eq!(ask(&outside, "tcp", "fd00:1::2", 80), None, "only by the published port");
}

#[test]
fn where_a_port_of_ipv6_may_be() {
    let Some((host, outside)) = host_and_outside() else { return };
    let ns = Namespace::new();
    // Without an address of IPv6 `any` is all of IPv4, and an address of IPv6 an error.
    let plain = host.on(&net(2, json!({})));
    assert_eq!(plain.publishing(9, "tcp/any/8080/80").ports, ["tcp 0.0.0.0:8080 10.2.0.2:80"]);
    let said = plain.fails(&format!("hold {} {} tcp/::/8080/80", id(8), ns.netns()));
    assert!(said.contains("[::]:8080/tcp: the container is on no network with IPv6"), "{said}");
    host.ok("sweep");
    let on = host.on(&net(1, six(1)));
    let one = on.publishing(1, "tcp/2001:db8::2/8080/80 tcp/::1/8081/80");
    assert_eq!(one.ports, ["tcp [2001:db8::2]:8080 [fd00:1::2]:80", "tcp [::1]:8081 [fd00:1::2]:80"]);
    let _server = serve(&one.ns, "10.1.0.2", 80);
    assert_eq!(ask(&outside, "tcp", "2001:db8::2", 8080).as_deref(), Some("2001:db8::9"));
    assert_eq!(ask(&outside, "tcp", "192.0.2.2", 8080), None);
    assert_eq!(ask(&outside, "tcp", "2001:db8::2", 8081), None);
    // The port of the other family is another claim, and that of the same one is taken.
    assert_eq!(on.publishing(2, "tcp/0.0.0.0/8080/80").ports.len(), 1);
    let said = on.fails(&format!("hold {} {} tcp/any/8080/80", id(3), ns.netns()));
    assert!(said.contains("cannot publish [::]:8080/tcp"), "{said}");
}

#[test]
fn any_port_is_one_that_both_families_have() {
    let Some((host, _outside)) = host_and_outside() else { return };
    host.ns.sh("echo 40000 40003 > /proc/sys/net/ipv4/ip_local_port_range");
    let script = "exec python3 -c '
import socket, threading
held = [socket.socket(socket.AF_INET6) for _ in range(3)]
for nth, s in enumerate(held): s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1); s.bind((\"::\", 40000 + nth)); s.listen()
threading.Event().wait()
'";
    let _taken = Server(host.ns.command(script).spawn().unwrap());
    // Not asked by connecting, for who does so may have that port itself.
    until("the servers", || host.ns.can("ss -Hltn | grep -q :40002"));
    for (nth, wish) in [(1, "tcp/any/0/80"), (2, "tcp/any/40000-40003/80")] {
        let one = host.on(&net(1, six(1))).publishing(nth, wish);
        assert_eq!(one.host_ports(), [40003, 40003], "{wish}");
        one.end();
    }
}

#[test]
fn who_goes_on_sending_by_udp_reaches_the_container_that_has_the_port_now() {
    let Some((host, outside)) = host_and_outside() else { return };
    let network = net(1, six(1));
    host.on(&network).lease(9);
    let send = |from: &Namespace, port: u16, to: &str| {
        from.sh(&format!("echo x | nc -u -w1 -p {port} {to} 8080 || true")).starts_with("from ")
    };
    assert!(!send(&outside, 5555, "2001:db8::2") && !send(&host.ns, 5556, "::1"));
    let one = host.on(&network).publishing(1, "udp/any/8080/80");
    let server = one.serve(80);
    assert!(send(&outside, 5555, "2001:db8::2") && send(&host.ns, 5556, "::1"), "the container");
    drop(server);
    one.end();
    let _server = serve(&host.ns, "127.0.0.1", 8080);
    assert!(send(&outside, 5555, "2001:db8::2") && send(&host.ns, 5556, "::1"), "the host after it");
}

#[test]
fn what_listens_on_the_hosts_loopback_is_not_for_containers() {
    let Some((host, outside)) = host_and_outside() else { return };
    let (_one, _server) = published(&host);
    let _service = serve(&host.ns, "127.0.0.1", 8081);
    let (container, _, _) = host.on(&net(1, six(1))).container(2);
    for (ns, link, via, own) in
        [(&outside, "out0", "2001:db8::2", "2001:db8::9"), (&container, "eth0", "fd00:1::1", "fd00:1::3")]
    {
        ns.sh(&format!(
            "ip address del ::1/128 dev lo; ip -6 route flush table local ::1; \
             ip -6 route add ::1 via {via} dev {link} src {own}"
        ));
        for port in [8080, 8081] {
            assert_eq!(ask(ns, "tcp", "::1", port), None, "{link} {port}");
        }
    }
}

#[test]
fn foreign_chains_of_ipv6_that_drop_are_coped_with() {
    for setup in [
        "ip6tables-nft -P FORWARD DROP",
        "nft 'table ip6 own { chain f { type filter hook forward priority 5; policy drop; }; }'",
        "nft 'table inet own { chain f { type filter hook forward priority 5; policy drop; }; }'",
    ] {
        let Some((host, outside)) = host_and_outside() else { return };
        host.ns.sh(setup);
        let (one, _server) = published(&host);
        one.ns.sh("ping -c1 -W0.5 2001:db8::9");
        assert_eq!(ask(&outside, "tcp", "2001:db8::2", 8080).as_deref(), Some("2001:db8::9"), "{setup}");
        if setup.starts_with("ip6tables") {
            let listed = host.ns.sh("ip6tables-nft -S FORWARD");
            assert_eq!(listed.matches(&bridge_of(1)).count(), 2, "{listed}");
        }
    }
}

/// A router outside that tells of itself and of 2001:db8:7::/64, each half second.
fn router(outside: &Namespace) -> Server {
    let script = "exec python3 -c '
import socket, struct, time
s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
link = socket.if_nametoindex(\"out0\")
prefix = struct.pack(\"!BBBBIII\", 3, 4, 64, 0xc0, 3600, 3600, 0) + socket.inet_pton(socket.AF_INET6, \"2001:db8:7::\")
while True:
    try: s.sendto(struct.pack(\"!BBHBBHII\", 134, 0, 0, 64, 0, 1800, 0, 0) + prefix, (\"ff02::1\", 0, 0, link))
    except OSError: pass
    time.sleep(0.5)
'";
    Server(outside.command(script).spawn().unwrap())
}

#[test]
fn the_host_goes_on_listening_to_its_router_and_nobody_to_those_of_containers() {
    let Some(host) = Host::new() else { return };
    let outside = host.outside(1500);
    let router = router(&outside);
    let route = || host.ns.can("ip -6 route show default dev up0 proto ra | grep -q via");
    until("the router", route);
    let (container, _, _) = host.on(&net(1, six(1))).container(1);
    assert_eq!(host.ns.sh("cat /proc/sys/net/ipv6/conf/all/forwarding").trim(), "1");
    assert!(route(), "what the router told is forgotten");
    host.ns.sh("ip -6 route flush proto ra");
    until("the router, once more", route);
    drop(router);
    let accepts =
        |ns: &Namespace, link: &str| ns.sh(&format!("cat /proc/sys/net/ipv6/conf/{link}/accept_ra")).trim().to_owned();
    let found =
        [("up0", "2"), (bridge_of(1).as_str(), "0")].map(|(link, expected)| (accepts(&host.ns, link), expected));
    assert!(found.iter().all(|(is, shall)| is == shall), "{found:?}");
    assert_eq!(accepts(&container, "eth0"), "0");
    host.ns.sh("ip link add later type bridge");
    assert_eq!(accepts(&host.ns, "later"), "1", "a bridge of another's must not listen to its containers");
}
