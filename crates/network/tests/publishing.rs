//! Published ports: who reaches a container through the host, and who does not. The judges are `nc`, `nft -j`, `ss`.

mod common;

use common::{Host, Namespace, Publishing, ask, both, id, serve};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

/// A host joined to an outside machine, with a container that publishes its port 80 at 8080 of all addresses.
fn published() -> Option<(Host, Namespace, Publishing)> {
    let host = Host::new()?;
    let outside = host.outside(1500);
    let one = host.publishing(1, "tcp/0.0.0.0/8080/80 udp/0.0.0.0/8080/80");
    Some((host, outside, one))
}

const BOTH: [&str; 2] = ["tcp", "udp"];

#[test]
fn from_outside_a_server_sees_its_clients() {
    let Some((host, outside, one)) = published() else { return };
    assert_eq!(one.ports, ["tcp 0.0.0.0:8080 172.17.0.2:80", "udp 0.0.0.0:8080 172.17.0.2:80"]);
    let _server = one.serve(80);
    for protocol in BOTH {
        let seen = ask(&outside, protocol, "192.0.2.2", 8080);
        assert_eq!(seen.as_deref(), Some("192.0.2.9"), "{protocol}");
    }
    assert_eq!(ask(&outside, "tcp", "192.0.2.2", 80), None, "the container's port is none of the host's");
    outside.sh("ip route add 172.17.0.0/16 via 192.0.2.2");
    for protocol in BOTH {
        assert_eq!(ask(&outside, protocol, one.address(), 80), None, "{protocol}: only by the published port");
    }
    drop(host);
}

#[test]
fn the_host_reaches_it_at_each_of_its_addresses() {
    let Some((host, _outside, one)) = published() else { return };
    let _server = one.serve(80);
    for protocol in BOTH {
        for (address, seen) in [
            ("127.0.0.1", "172.17.0.1"),
            ("127.1.2.3", "172.17.0.1"),
            ("192.0.2.2", "192.0.2.2"),
            ("172.17.0.1", "172.17.0.1"),
        ] {
            assert_eq!(ask(&host.ns, protocol, address, 8080).as_deref(), Some(seen), "{protocol} {address}");
        }
    }
    assert_eq!(ask(&host.ns, "tcp", "192.0.2.9", 8080), None, "another machine's address is not ours");
}

#[test]
fn containers_reach_it_through_the_host_and_it_reaches_itself() {
    let Some((host, _outside, one)) = published() else { return };
    let _server = one.serve(80);
    let (other, _) = host.container(2);
    // Whether what the bridge passes on is seen by the rules, too.
    let setting = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    let settings = if host.ns.can(&format!("test -e {setting}")) { &["0", "1"][..] } else { &["0"] };
    for (protocol, value) in BOTH.into_iter().flat_map(|protocol| settings.iter().map(move |value| (protocol, value))) {
        if settings.len() > 1 {
            host.ns.sh(&format!("echo {value} > {setting}"));
        }
        for address in ["192.0.2.2", "172.17.0.1"] {
            for (who, ns) in [("other", &other), ("itself", &one.ns)] {
                let seen = ask(ns, protocol, address, 8080);
                assert_eq!(seen.as_deref(), Some("172.17.0.1"), "{protocol} {address} {who} {value}");
            }
        }
        let direct = ask(&other, protocol, one.address(), 80);
        assert_eq!(direct.as_deref(), Some("172.17.0.3"), "{protocol}: beside the host as before");
    }
}

#[test]
fn on_one_address_it_is_not_on_another() {
    let Some(host) = Host::new() else { return };
    let outside = host.outside(1500);
    host.ns.sh("ip address add 192.0.2.3/24 dev up0");
    let one =
        host.publishing(1, "tcp/192.0.2.3/8080/80 udp/192.0.2.3/8080/80 tcp/127.0.0.1/8081/80 udp/127.0.0.1/8081/80");
    let _server = one.serve(80);
    for protocol in BOTH {
        assert_eq!(ask(&outside, protocol, "192.0.2.3", 8080).as_deref(), Some("192.0.2.9"), "{protocol}");
        assert_eq!(ask(&outside, protocol, "192.0.2.2", 8080), None, "{protocol}");
        assert_eq!(ask(&outside, protocol, "192.0.2.3", 8081), None, "{protocol}");
        assert_eq!(ask(&host.ns, protocol, "127.0.0.1", 8081).as_deref(), Some("172.17.0.1"), "{protocol}");
        assert_eq!(ask(&host.ns, protocol, "127.0.0.1", 8080), None, "{protocol}");
        assert_eq!(ask(&host.ns, protocol, "192.0.2.3", 8081), None, "{protocol}");
    }
    // Another container can have the port on the other address.
    let two = host.publishing(2, "tcp/192.0.2.2/8080/80");
    let _other = two.serve(80);
    assert_eq!(ask(&outside, "tcp", "192.0.2.2", 8080).as_deref(), Some("192.0.2.9"));
}

#[test]
fn what_is_published_on_loopback_is_not_for_those_who_send_to_loopback_from_outside() {
    let Some(host) = Host::new() else { return };
    let outside = host.outside(1500);
    let one = host.publishing(1, "tcp/127.0.0.1/8080/80");
    let _server = one.serve(80);
    let _service = serve(&host.ns, "127.0.0.1", 8081);
    // A neighbour on the wire, and a root in another container, send packets for 127.0.0.1 to this host.
    let (container, _) = host.container(2);
    for (ns, link, via, own) in
        [(&outside, "out0", "192.0.2.2", "192.0.2.9"), (&container, "eth0", "172.17.0.1", "172.17.0.3")]
    {
        ns.sh(&format!(
            "echo 1 > /proc/sys/net/ipv4/conf/{link}/route_localnet; ip address del 127.0.0.1/8 dev lo; \
             ip route flush table local 127.0.0.0/8; ip route add 127.0.0.1 via {via} src {own}"
        ));
        for port in [8080, 8081] {
            assert_eq!(ask(ns, "tcp", "127.0.0.1", port), None, "{link} {port}: the host's loopback is open");
        }
    }
    host.ns.sh("echo 1 > /proc/sys/net/ipv4/conf/up0/route_localnet; nft flush chain inet mycontainer martians");
    assert!(ask(&outside, "tcp", "127.0.0.1", 8080).is_some(), "the attack of this test does not work at all");
    assert!(ask(&container, "tcp", "127.0.0.1", 8081).is_some(), "the attack of this test does not work at all");
}

#[test]
fn what_is_gone_is_not_reached_and_leaves_nothing() {
    let Some(host) = Host::new() else { return };
    let outside = host.outside(1500);
    host.ns.sh("nft 'table ip theirs { chain f { type filter hook forward priority 5; policy drop; }; }'");
    let before = host.ns.sh("nft -j -s list ruleset");
    let links = host.ns.sh("ip -br link");
    let one = host.publishing(1, "tcp/0.0.0.0/8080/80");
    let server = one.serve(80);
    assert_eq!(
        ask(&outside, "tcp", "192.0.2.2", 8080).as_deref(),
        Some("192.0.2.9"),
        "a foreign chain drops what is forwarded"
    );
    let listed = host.ns.sh("nft list map inet mycontainer published_any");
    assert!(listed.contains("tcp . 8080 : 172.17.0.2 . 80"), "{listed}");
    assert_eq!(host.ok(&format!("ports {}", id(1))), "tcp 0.0.0.0:8080 172.17.0.2:80\n");
    one.end();
    drop(server);
    assert_eq!(ask(&outside, "tcp", "192.0.2.2", 8080), None);
    assert_eq!(host.ok(&format!("ports {}", id(1))), "");
    host.until_gone();
    assert!(!host.dir.join("ports").exists());
    assert_eq!(host.ns.sh("nft -j -s list ruleset"), before);
    assert_eq!(host.ns.sh("ip -br link"), links);
}

#[test]
fn one_of_two_containers_has_a_port() {
    let Some(host) = Host::new() else { return };
    for round in 0..5 {
        let (first, second) = (Namespace::new(), Namespace::new());
        let holders = [host.holder(1, &first, "tcp/0.0.0.0/8080/80"), host.holder(2, &second, "tcp/127.0.0.1/8080/80")];
        // Who has it says so first, and goes on living; who does not, ends.
        let mut lines = Vec::new();
        let holders = holders.map(|mut holder| {
            let mut line = String::new();
            let mut said = BufReader::new(holder.stdout.take().unwrap());
            said.read_line(&mut line).unwrap();
            lines.push(line);
            (holder, said)
        });
        assert_eq!(lines.iter().filter(|line| line.is_empty()).count(), 1, "round {round}: {lines:?}");
        for (mut holder, _said) in holders {
            drop(holder.stdin.take());
            holder.wait().unwrap();
        }
    }
    let _one = host.publishing(1, "tcp/0.0.0.0/8080/80");
    let ns = Namespace::new();
    for (wish, expected) in [
        ("tcp/0.0.0.0/8080/80", Some("0.0.0.0:8080/tcp")),
        ("tcp/127.0.0.1/8080/80", Some("127.0.0.1:8080/tcp")),
        ("tcp/0.0.0.0/8079/80 tcp/127.0.0.1/8080/80", Some("127.0.0.1:8080/tcp")),
        ("tcp/0.0.0.0/8079/80 tcp/127.0.0.1/8079/81", Some("127.0.0.1:8079/tcp")),
        ("udp/0.0.0.0/8080/80", None),
    ] {
        let mut holder = host.probe(&format!("hold {} {} {wish}", id(2), ns.netns()));
        let output = holder.stdin(Stdio::null()).output().unwrap();
        match expected {
            Some(place) => {
                let said = both(&output);
                assert!(
                    !output.status.success() && said.contains(&format!("cannot publish {place}")),
                    "{wish}: {said}"
                );
            }
            None => assert!(output.status.success(), "{wish}: {}", both(&output)),
        }
        assert_eq!(host.ok(&format!("ports {}", id(2))), "", "{wish}");
    }
    assert_eq!(host.ns.sh("nft list map inet mycontainer published_any").matches("172.17").count(), 1);
}

#[test]
fn a_server_of_the_host_keeps_its_port_and_none_takes_a_published_one() {
    let Some(host) = Host::new() else { return };
    let outside = host.outside(1500);
    let service = serve(&host.ns, "127.0.0.1", 8080);
    let ns = Namespace::new();
    for wish in ["tcp/0.0.0.0/8080/80", "udp/0.0.0.0/8080/80", "tcp/192.0.2.2/8080/80"] {
        let said = host.fails(&format!("hold {} {} {wish}", id(1), ns.netns()));
        assert!(said.contains("cannot publish") && said.contains(":8080/") && said.contains("this host"), "{said}");
    }
    assert!(host.leases().is_empty());
    let said = host.fails(&format!("hold {} {} tcp/10.9.8.7/8080/80", id(1), ns.netns()));
    assert!(said.contains("cannot publish 10.9.8.7:8080/tcp: this host does not have the address 10.9.8.7"), "{said}");
    // Connections that the server ended itself linger for a minute, and are no reason to fail.
    assert!(ask(&outside, "tcp", "192.0.2.2", 8080).is_some());
    drop(service);
    assert!(host.ns.sh("ss -Htan state time-wait").contains(":8080"), "the case of this test does not arise");
    for round in 0..2 {
        let one = host.publishing(1, "tcp/0.0.0.0/8080/80 tcp/0.0.0.0/8081/80");
        let _server = one.serve(80);
        assert_eq!(ask(&outside, "tcp", "192.0.2.2", 8080).as_deref(), Some("192.0.2.9"), "{round}");
        for port in [8080, 8081] {
            let bind = format!(
                "python3 -c 'import socket; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((\"\", {port})); s.listen()'"
            );
            assert!(!host.ns.can(&bind), "{round} {port}");
        }
    }
}

#[test]
fn any_port_and_the_first_that_is_free() {
    let Some(host) = Host::new() else { return };
    host.ns.sh("echo 40000 40003 > /proc/sys/net/ipv4/ip_local_port_range");
    let _service = serve(&host.ns, "127.0.0.1", 8001);
    // The one that must be 8000 is first, wherever it stands.
    let one = host.publishing(1, "tcp/0.0.0.0/0/80 tcp/0.0.0.0/8000-8003/81 tcp/0.0.0.0/8000/82 udp/127.0.0.1/0/83");
    let ports = one.host_ports();
    assert!((40000..=40003).contains(&ports[0]) && (40000..=40003).contains(&ports[3]), "{:?}", one.ports);
    assert_eq!(ports[1..3], [8002, 8000], "{:?}", one.ports);
    assert!(one.ports[3].starts_with("udp 127.0.0.1:40"), "{:?}", one.ports);
    let two = host.publishing(2, "tcp/0.0.0.0/8000-8003/80");
    assert_eq!(two.host_ports(), [8003]);
    let ns = Namespace::new();
    let said = host.fails(&format!("hold {} {} tcp/0.0.0.0/8000-8003/80", id(3), ns.netns()));
    assert!(said.contains("cannot publish one of 0.0.0.0:8000-8003/tcp"), "{said}");
}

#[test]
fn who_goes_on_sending_by_udp_reaches_the_container_that_has_the_port_now() {
    let Some(host) = Host::new() else { return };
    let outside = host.outside(1500);
    // The network is there, and the host itself is asked before anybody has the port.
    let (_other, _) = host.container(9);
    let send = |port: u16, address: &str, from: &Namespace| {
        from.sh(&format!("echo x | nc -u -w1 -p {port} {address} 8080 || true")).starts_with("from ")
    };
    assert!(!send(5555, "192.0.2.2", &outside) && !send(5556, "127.0.0.1", &host.ns));
    for nth in 1..3 {
        let one = host.publishing(nth, "udp/0.0.0.0/8080/80");
        let server = one.serve(80);
        assert!(send(5555, "192.0.2.2", &outside), "container {nth}");
        assert!(send(5556, "127.0.0.1", &host.ns), "container {nth}");
        drop(server);
        one.end();
        let _server = serve(&host.ns, "127.0.0.1", 8080);
        assert!(send(5555, "192.0.2.2", &outside), "the host itself after container {nth}");
        assert!(send(5556, "127.0.0.1", &host.ns), "the host itself after container {nth}");
    }
}

#[test]
fn sctp_is_published() {
    let Some(host) = Host::new() else { return };
    let _one = host.publishing(1, "sctp/0.0.0.0/5000/5000 sctp/127.0.0.1/5001/5000");
    let listed = host.ns.sh("nft list table inet mycontainer");
    for element in ["sctp . 5000 : 172.17.0.2 . 5000", "sctp . 127.0.0.1 . 5001 : 172.17.0.2 . 5000"] {
        assert!(listed.contains(element), "{listed}");
    }
    let ns = Namespace::new();
    let said = host.fails(&format!("hold {} {} sctp/127.0.0.1/5000/80", id(2), ns.netns()));
    assert!(said.contains("cannot publish 127.0.0.1:5000/sctp"), "{said}");
}

#[test]
fn rules_that_were_flushed_come_back_with_all_that_is_published() {
    let Some(host) = Host::new() else { return };
    let outside = host.outside(1500);
    host.ok("reload");
    assert!(!host.has_bridge(), "where nothing runs there is nothing to load");
    let one = host.publishing(1, "tcp/0.0.0.0/8080/80 udp/127.0.0.1/8080/80");
    let two = host.publishing(2, "tcp/0.0.0.0/8081/80");
    let _servers = [one.serve(80), two.serve(80)];
    let reached = || [8080, 8081].map(|port| ask(&outside, "tcp", "192.0.2.2", port).is_some());
    assert_eq!(reached(), [true, true]);
    let rules = || host.ns.sh("nft -s list table inet mycontainer");
    let sorted = |text: String| {
        let mut words: Vec<String> = text.split([' ', ',', '\n', '\t']).map(str::to_owned).collect();
        words.sort();
        words.retain(|word| !word.is_empty());
        words
    };
    let before = sorted(rules());
    host.ns.sh("nft flush ruleset");
    assert_eq!(reached(), [false, false]);
    host.ok("reload");
    assert_eq!(sorted(rules()), before);
    assert_eq!(reached(), [true, true]);
    host.ok("reload");
    assert_eq!(sorted(rules()), before, "once more changes nothing");
    // The next container mends it, too; and one that ends in between does no harm.
    host.ns.sh("nft flush ruleset");
    one.end();
    let three = host.publishing(3, "tcp/0.0.0.0/8080/80");
    let _third = three.serve(80);
    assert_eq!(reached(), [true, true]);
    assert_eq!(sorted(rules()).iter().filter(|word| word.starts_with("172.17.0.") && !word.contains('/')).count(), 2);
    three.end();
    two.end();
    host.until_gone();
    host.ok("reload");
    assert!(!host.has_bridge());
}

#[test]
fn a_generation_that_we_made_is_known() {
    let Some(host) = Host::new() else { return };
    let one = host.publishing(1, "tcp/0.0.0.0/8080/80");
    let output = host.probe(&format!("lease {} {}", id(2), std::process::id())).env("EXPLAIN", "1").output().unwrap();
    assert!(output.status.success() && !both(&output).contains("install-rules"), "{}", both(&output));
    one.end();
    let output = host.probe(&format!("lease {} {}", id(3), std::process::id())).env("EXPLAIN", "1").output().unwrap();
    assert!(output.status.success() && !both(&output).contains("install-rules"), "{}", both(&output));
}

#[test]
fn what_a_killed_holder_published_is_swept() {
    let Some(host) = Host::new() else { return };
    let (mut one, two) =
        (host.publishing(1, "tcp/0.0.0.0/8080/80 udp/0.0.0.0/1-3/80"), host.publishing(2, "tcp/0.0.0.0/8081/80"));
    one.holder.kill().unwrap();
    one.holder.wait().unwrap();
    assert!(host.ns.sh("nft list table inet mycontainer").contains("172.17.0.2 . 80"));
    host.ok("sweep");
    let listed = host.ns.sh("nft list table inet mycontainer");
    assert!(!listed.contains("172.17.0.2 . 80") && listed.contains("172.17.0.3 . 80"), "{listed}");
    assert_eq!(host.ok(&format!("ports {}", id(1))), "");
    // What is in the way of another and was not swept yet does not stop it either.
    let mut three = host.publishing(3, "tcp/0.0.0.0/8080/80");
    three.holder.kill().unwrap();
    three.holder.wait().unwrap();
    let four = host.publishing(4, "tcp/0.0.0.0/8080/80");
    let _server = four.serve(80);
    assert_eq!(ask(&host.ns, "tcp", "127.0.0.1", 8080).as_deref(), Some("172.17.0.1"));
    drop(three);
    four.end();
    two.end();
    host.until_gone();
}

#[test]
fn what_a_killed_holder_wrote_down_is_not_taken_from_who_has_it_now() {
    let Some(host) = Host::new() else { return };
    let mut one = host.publishing(1, "tcp/0.0.0.0/8080/80");
    // As if it had been killed between the file and the map.
    host.ns.sh("nft delete element inet mycontainer published_any { tcp . 8080 }");
    one.holder.kill().unwrap();
    one.holder.wait().unwrap();
    let two = host.publishing(2, "tcp/0.0.0.0/8080/80");
    let _server = two.serve(80);
    host.ok("sweep");
    assert_eq!(host.leases().len(), 1);
    assert_eq!(ask(&host.ns, "tcp", "127.0.0.1", 8080).as_deref(), Some("172.17.0.1"));
    host.ok("reload");
    assert_eq!(ask(&host.ns, "tcp", "127.0.0.1", 8080).as_deref(), Some("172.17.0.1"));
    // What a dead one publishes is not loaded again.
    let mut three = host.publishing(3, "tcp/0.0.0.0/8082/80");
    three.holder.kill().unwrap();
    three.holder.wait().unwrap();
    host.ok("reload");
    assert!(!host.ns.sh("nft list table inet mycontainer").contains("8082"));
    // Nor is a file that no lease leads to.
    std::fs::write(host.dir.join("ports").join(id(7)), "tcp 0.0.0.0:8083 172.17.0.9:80\n").unwrap();
    host.ok("reload");
    assert!(!host.ns.sh("nft list table inet mycontainer").contains("8083"));
    two.end();
    host.until_gone();
}

#[test]
fn killed_at_any_step_of_publishing_nothing_stays() {
    let steps = ["claim-ports", "route-loopback", "publish-ports", "make-veth", "withdraw-ports"];
    std::thread::scope(|scope| {
        for step in steps {
            scope.spawn(move || {
                for when in ["before", "after"] {
                    let Some(host) = Host::new() else { return };
                    let ns = Namespace::new();
                    let fault = format!("self:{when}:{step}");
                    let mut holder = host.probe(&format!("hold {} {} tcp/0.0.0.0/8080/80", id(1), ns.netns()));
                    let output = holder.stdin(Stdio::null()).env("MYCONTAINER_FAULT", &fault).output().unwrap();
                    assert_eq!(output.status.signal(), Some(9), "{fault}: {}", both(&output));
                    drop(ns);
                    host.ok("sweep");
                    assert!(host.leases().is_empty(), "{fault}");
                    assert_eq!(host.ok(&format!("ports {}", id(1))), "", "{fault}");
                    assert!(!host.ns.sh("nft list ruleset").contains("8080"), "{fault}");
                    host.until_gone();
                    assert!(!host.dir.join("ports").exists(), "{fault}");
                }
            });
        }
    });
}

/// What the kernel answers to what is forgotten must not be taken for an answer to what is asked next.
#[test]
fn whose_clients_were_many_ends_without_a_trace() {
    let Some((host, outside, first)) = published() else { return };
    // Of one that has the port already, and before another has it.
    let send =
        |port: u16| outside.sh(&format!("bash -c 'for _ in $(seq 400); do echo x >/dev/udp/192.0.2.2/{port}; done'"));
    send(8080);
    send(8081);
    let second = host.publishing(2, "udp/0.0.0.0/8081/80");
    first.end();
    second.end();
    assert!(host.leases().is_empty(), "{:?}", host.leases());
    assert!(!host.ns.sh("nft list ruleset").contains("8080"));
    host.until_gone();
}

#[test]
fn many_ports_are_published_and_loaded_again() {
    let Some(host) = Host::new() else { return };
    // More, all in all, than a socket's buffer takes unless it is made larger.
    let wishes = |nth: u32| -> String {
        (1..=950).map(|port| format!("tcp/0.0.0.0/{}/{port} ", 8000 + 1000 * nth + port)).collect()
    };
    let holders = [1, 2, 3, 4, 5, 6, 7].map(|nth| host.publishing(nth, &wishes(nth)));
    let count = || host.ns.sh("nft list map inet mycontainer published_any").matches("172.17.0.").count();
    assert_eq!(count(), 7 * 950);
    host.ns.sh("nft flush ruleset");
    host.ok("reload");
    assert_eq!(count(), 7 * 950);
    for holder in holders {
        holder.end();
    }
    assert_eq!(count(), 0);
}
