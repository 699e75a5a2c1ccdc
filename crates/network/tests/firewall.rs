//! Our rules beside those of others, and names through the host's own resolver. Judges: `nft -j`, `iptables`, `dig`.

mod common;

use common::{Host, Namespace, both, id, until};

/// Two containers and an outside machine; each must reach the others as it should.
fn all_reach(host: &Host, outside: &Namespace) {
    let (one, address) = host.container(1);
    let (two, _) = host.container(2);
    two.sh(&format!("ping -c1 -W1 {address}"));
    one.sh("ping -c1 -W1 192.0.2.9");
    assert!(outside.can("ping -c1 -W1 192.0.2.2"));
    drop((one, two));
    host.ok("sweep");
}

/// Such a table is its program's alone: nobody else may put a rule there.
#[test]
fn a_table_that_only_its_owner_may_change_is_told_of_and_stops_nothing() {
    use std::io::{BufRead, Write};
    use std::process::Stdio;
    let Some(host) = Host::new() else { return };
    let mut owner = host.ns.command("exec nft -i").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut told = owner.stdin.take().unwrap();
    told.write_all(
        b"add table inet theirs { flags owner; }\n\
          add chain inet theirs f { type filter hook forward priority 5; policy drop; }\nlist tables\n",
    )
    .unwrap();
    let mut said = String::new();
    let mut lines = std::io::BufReader::new(owner.stdout.take().unwrap());
    while !said.contains("inet theirs") {
        assert!(lines.read_line(&mut said).unwrap() > 0, "nft ended: {said}");
    }
    let (own, ns) = (std::process::id(), Namespace::new());
    let output = host.probe(&format!("start {} {} {own} /dev/null", id(1), ns.netns())).output().unwrap();
    assert!(output.status.success() && both(&output).contains("only its owner may change"), "{}", both(&output));
    host.ok("reload");
    drop((told, lines));
    owner.wait().unwrap();
}

#[test]
fn a_forward_policy_of_drop_is_coped_with_and_left_as_it_was() {
    let table = [
        ("iptables-nft", "iptables-nft -P FORWARD DROP && iptables-nft -A FORWARD -i other0 -j ACCEPT"),
        (
            "nft inet",
            "nft 'table inet own { chain f { type filter hook forward priority 5; policy drop; ct state invalid drop; }; }'",
        ),
        (
            "nft ip",
            "nft 'table ip own { chain f { type filter hook forward priority 5; policy drop; }; chain g { type filter hook forward priority 9; policy drop; }; }'",
        ),
    ];
    for (name, setup) in table {
        let Some(host) = Host::new() else { return };
        let outside = host.outside(1500);
        host.ns.sh(setup);
        let before = host.ns.sh("nft -j list ruleset");
        all_reach(&host, &outside);
        if name == "iptables-nft" {
            let listed = host.ns.sh("iptables-nft -S FORWARD && iptables-nft -L -v -n");
            let ours: Vec<&str> = listed.lines().take(3).collect();
            assert!(ours[1].contains("-i mycontainer0") && ours[1].ends_with("-j ACCEPT"), "{listed}");
            assert!(ours[2].contains("-o mycontainer0") && ours[2].ends_with("-j ACCEPT"), "{listed}");
        }
        host.until_gone();
        assert_eq!(host.ns.sh("nft -j list ruleset"), before, "{name}: the host's rules are as they were");
    }
}

#[test]
fn what_others_break_the_next_lease_mends() {
    let table = [
        ("flushed", "nft flush ruleset"),
        ("our table emptied", "nft flush table inet mycontainer"),
        ("bridge deleted", "ip link del mycontainer0"),
        ("address deleted", "ip address flush dev mycontainer0"),
        ("bridge down", "ip link set mycontainer0 down"),
        ("forwarding off", "echo 0 > /proc/sys/net/ipv4/ip_forward"),
        ("a firewall that comes later", "iptables-nft -P FORWARD DROP"),
        ("a firewall that was reloaded", "iptables-nft -P FORWARD DROP; iptables-nft -F FORWARD"),
    ];
    for (name, damage) in table {
        let Some(host) = Host::new() else { return };
        let outside = host.outside(1500);
        let (_first, _) = host.container(9);
        host.ns.sh(damage);
        eprintln!("{name}");
        all_reach(&host, &outside);
    }
}

#[test]
fn a_drop_of_iptables_legacy_is_told_of() {
    for (setup, warns) in [("iptables-legacy -P FORWARD DROP", true), ("iptables-legacy -S FORWARD", false)] {
        let Some(host) = Host::new() else { return };
        if !host.ns.can(setup) {
            eprintln!("skipped: this kernel has no ip_tables");
            return;
        }
        let container = Namespace::new();
        let start = format!("start {} {} {} /dev/null", id(1), container.netns(), container.pid());
        let said = both(&host.probe(&start).output().unwrap());
        assert_eq!(said.contains("iptables-legacy -I FORWARD -i mycontainer0 -j ACCEPT"), warns, "{said}");
    }
}

#[test]
fn marked_rules_are_not_doubled() {
    let Some(host) = Host::new() else { return };
    host.ns.sh("iptables-nft -P FORWARD DROP");
    let (_one, _) = host.container(1);
    for nth in 2..6 {
        host.ns.sh("nft add table ip something && nft delete table ip something");
        host.ok(&format!("lease {} {}", id(nth), std::process::id()));
    }
    let listed = host.ns.sh("iptables-nft -S FORWARD");
    assert_eq!(listed.matches("mycontainer0").count(), 2, "{listed}");
}

/// A dnsmasq that answers on the host's loopback only, and only to local clients.
fn dnsmasq(host: &Host, listen: &str) -> Killed {
    let script = format!(
        "exec dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= --no-resolv --no-hosts --user=root \
         --bind-interfaces --listen-address={listen} --local-service --address=/probe.test/203.0.113.7"
    );
    let child = Killed(host.ns.command(&script).spawn().unwrap());
    until("dnsmasq", || {
        host.ns.can(&format!("dig +short +time=1 +tries=1 @{listen} probe.test | grep -q 203.0.113.7"))
    });
    child
}

struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_resolver_on_the_hosts_loopback_answers_containers() {
    for listen in ["127.0.0.1", "127.0.0.53"] {
        let Some(host) = Host::new() else { return };
        let _server = dnsmasq(&host, listen);
        let text = format!("nameserver {listen}\nsearch example.org\n");
        let ((container, _), resolv_conf) = host.container_resolving(1, &text);
        assert_eq!(resolv_conf, "nameserver 172.17.0.1\nsearch example.org\n");
        for how in ["", "+tcp"] {
            let answer = container.sh(&format!("dig {how} +short +time=2 +tries=1 @172.17.0.1 probe.test"));
            assert_eq!(answer.trim(), "203.0.113.7", "{listen} {how}");
        }
    }
}

#[test]
fn a_firewall_on_the_hosts_input_lets_questions_through() {
    let table = [
        ("iptables-nft", "iptables-nft -P INPUT DROP; iptables-nft -A INPUT -i lo -j ACCEPT"),
        (
            "nft",
            "nft 'table inet own { chain i { type filter hook input priority 0; policy drop; iifname lo accept; }; }'",
        ),
    ];
    for (name, setup) in table {
        let Some(host) = Host::new() else { return };
        host.ns.sh(setup);
        let before = host.ns.sh("nft list ruleset");
        let server = dnsmasq(&host, "127.0.0.53");
        let ((container, _), _) = host.container_resolving(1, "nameserver 127.0.0.53");
        let answer = container.sh("dig +short +time=2 +tries=1 @172.17.0.1 probe.test");
        assert_eq!(answer.trim(), "203.0.113.7", "{name}");
        assert!(!container.can("ping -c1 -W1 172.17.0.1"), "{name}: nothing but questions");
        if name == "iptables-nft" {
            let listed = host.ns.sh("iptables-nft -S INPUT && iptables-nft -L -v -n");
            assert!(listed.contains("-A INPUT -d 127.0.0.53/32 -i mycontainer0"), "{listed}");
        }
        drop((server, container));
        host.ok("sweep");
        host.until_gone();
        assert_eq!(without_counters(&host.ns.sh("nft list ruleset")), without_counters(&before), "{name}");
    }
}

fn without_counters(rules: &str) -> String {
    let words = rules.split(' ').scan(0, |skip, word| {
        *skip = if word == "counter" { 5 } else { *skip - i32::from(*skip > 0) };
        Some(if *skip > 0 { "" } else { word })
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn nothing_else_on_the_hosts_loopback_is_open_to_containers() {
    let Some(host) = Host::new() else { return };
    let _server = dnsmasq(&host, "127.0.0.1");
    let _service = Killed(host.ns.command("exec nc -lk 127.0.0.1 8080").spawn().unwrap());
    until("the service", || host.ns.can("nc -z 127.0.0.1 8080"));
    let ((container, _), _) = host.container_resolving(1, "nameserver 127.0.0.1");
    // A root in the container sends packets for 127.0.0.1 to the gateway.
    container.sh("echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet; ip address del 127.0.0.1/8 dev lo; \
         ip route flush table local 127.0.0.0/8; ip route add 127.0.0.1 via 172.17.0.1 src 172.17.0.2");
    assert!(!container.can("nc -z -w1 127.0.0.1 8080"), "the host's loopback is open");
    // That the attack is one shows when our rule is away.
    host.ns.sh("nft flush chain inet mycontainer martians");
    assert!(container.can("nc -z -w1 127.0.0.1 8080"), "the attack of this test does not work at all");
}
