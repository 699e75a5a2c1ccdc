//! What one container sends another of its network goes by no bridge (`crates/network/src/shortcut.rs`): what the cables have
//! carried tells. And all that is not that goes as it would without.

use crate::common::host::Host;
use crate::common::{busybox_root, wait_until};

const SLEEP: &str = "exec sleep 1000";

/// A container in the background, which goes with the test, however that ends.
struct Detached<'a> {
    host: &'a Host,
    name: &'a str,
}

impl Drop for Detached<'_> {
    fn drop(&mut self) {
        let _ = self.host.ours(&["rm", "-f", self.name]);
    }
}

impl<'a> Detached<'a> {
    #[must_use]
    fn start(host: &'a Host, name: &'a str, flags: &[&str]) -> Detached<'a> {
        let guard = Detached { host, name };
        let root = busybox_root().to_str().unwrap();
        host.ours_ok(&[&["run", "-d", "--ephemeral", "--name", name], flags, &[root, "sh", "-c", SLEEP]].concat());
        guard
    }

    fn told(&self, template: &str) -> String {
        self.host.ours_ok(&["inspect", "-f", template, self.name]).trim().to_owned()
    }

    fn address(&self) -> String {
        self.told("{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}").split(' ').next().unwrap().to_owned()
    }

    /// The host's end of its first cable.
    fn link(&self) -> String {
        let index = self.inside("cat /sys/class/net/eth0/iflink");
        self.host.sh(&format!("ip -o link | sed -n 's/^{}: \\([^@:]*\\).*/\\1/p'", index.trim())).trim().to_owned()
    }

    /// Its cable has the program.
    fn settled(self) -> Detached<'a> {
        let has_program = self.host.sh(&format!("tc qdisc show dev {}", self.link())).contains("ingress_block");
        assert!(has_program, "{} has no shortcut", self.name);
        self
    }

    /// Packets that the host has sent it by its first cable.
    fn got_by_bridge(&self) -> u64 {
        let script =
            format!("ip -s -o link show {} | sed 's/.*TX:[^\\\\]*\\\\ *[0-9]* *\\([0-9]*\\).*/\\1/'", self.link());
        self.host.sh(&script).trim().parse().unwrap()
    }

    fn inside(&self, script: &str) -> String {
        self.host.ours_ok(&["exec", self.name, "sh", "-c", script])
    }

    fn reaches(&self, address: &str) -> bool {
        self.host.ours(&["exec", self.name, "ping", "-c1", "-W1", address]).status.success()
    }

    /// Asks so often for an answer; each has to come, and once.
    fn pings(&self, address: &str, times: u64) {
        let said = self.inside(&format!("ping -c {times} -i 0.05 -W 2 {address}"));
        assert!(
            said.contains(&format!("{times} packets transmitted, {times} packets received, 0% packet loss")),
            "{said}"
        );
        assert!(!said.contains("duplicates"), "{said}");
    }
}

const PINGS: u64 = 20;

#[test]
fn containers_of_a_network_send_each_other_nothing_by_the_bridge() {
    let Some(host) = Host::new("containers_of_a_network_send_each_other_nothing_by_the_bridge", "") else { return };
    host.ours_ok(&["network", "create", "--ipv6", "fast"]);
    host.ours_ok(&["network", "create", "-o", "shortcut=false", "slow"]);
    for (network, goes_by_bridge) in [("fast", false), ("bridge", false), ("slow", true)] {
        let start = |name| Detached::start(&host, name, &["--network", network]);
        let start = |name| if goes_by_bridge { start(name) } else { start(name).settled() };
        let (one, two) = (start("one"), start("two"));
        let before = two.got_by_bridge();
        one.pings(&two.address(), PINGS);
        let by_bridge = two.got_by_bridge() - before;
        // Who has this address is asked of all.
        assert_eq!(by_bridge >= PINGS, goes_by_bridge, "{by_bridge} packets on {network}");
        assert!(goes_by_bridge || by_bridge < PINGS / 2, "{by_bridge} packets on {network}");
    }
    let start = |name| Detached::start(&host, name, &["--network", "fast"]).settled();
    let (one, two) = (start("one"), start("two"));
    let six = two.told("{{.NetworkSettings.Networks.fast.GlobalIPv6Address}}");
    let before = two.got_by_bridge();
    one.pings(&six, PINGS);
    assert!(two.got_by_bridge() - before < PINGS / 2);
}

/// Who gets an address that another had is who gets what is sent there, also of those who have known the other.
#[test]
fn an_address_leads_to_who_has_it_now() {
    let Some(host) = Host::new("an_address_leads_to_who_has_it_now", "") else { return };
    host.ours_ok(&["network", "create", "--subnet", "10.9.0.0/24", "net"]);
    host.ours_ok(&["network", "create", "other"]);
    let one = Detached::start(&host, "one", &["--network", "net"]).settled();
    let flags = ["--network", "net:ip=10.9.0.9"];
    for _ in 0..3 {
        let two = Detached::start(&host, "two", &flags);
        one.pings("10.9.0.9", 3);
        drop(two);
        // The kernel takes its namespace away in its own time.
        assert!(wait_until(10, || !one.reaches("10.9.0.9")));
    }
    let two = Detached::start(&host, "two", &flags);
    host.ours_ok(&["network", "connect", "other", "two"]);
    host.ours_ok(&["network", "disconnect", "net", "two"]);
    assert!(!one.reaches("10.9.0.9"));
    host.ours_ok(&["network", "connect", "--ip", "10.9.0.9", "net", "two"]);
    let before = one.got_by_bridge();
    one.pings("10.9.0.9", PINGS);
    assert!(one.got_by_bridge() - before < PINGS / 2);
    drop(two);
    // Of a container that ends and is started again.
    let three = Detached::start(&host, "three", &flags);
    host.ours_ok(&["restart", "-t", "0", "three"]);
    one.pings("10.9.0.9", 3);
    drop((one, three));
}

/// Who listens to the bridge sees what goes by it, and nobody gets anything twice.
#[test]
fn a_bridge_that_is_listened_to_sends_nothing_twice() {
    let Some(host) = Host::new("a_bridge_that_is_listened_to_sends_nothing_twice", "") else { return };
    host.ours_ok(&[
        "network",
        "create",
        "--subnet",
        "10.9.0.0/24",
        "-o",
        "com.docker.network.bridge.name=br-net",
        "net",
    ]);
    let one = Detached::start(&host, "one", &["--network", "net"]).settled();
    let two = Detached::start(&host, "two", &["--network", "net", "-p", "8080:80"]).settled();
    host.sh("ip link set br-net promisc on");
    // As long as the cable of the one has no program: what it sends goes by the bridge, which has one.
    host.sh(&format!("tc qdisc del dev {} ingress", one.link()));
    one.pings(&two.address(), PINGS);
    two.pings(&one.address(), PINGS);
    one.pings("10.9.0.1", PINGS);
    host.sh("ping -c 3 -i 0.1 10.9.0.2");
}

/// A container that calls itself what another is called by hardware address gets nothing of what is meant for that one.
#[test]
fn a_stolen_hardware_address_gets_nothing() {
    let Some(host) = Host::new("a_stolen_hardware_address_gets_nothing", "") else { return };
    host.ours_ok(&["network", "create", "--subnet", "10.9.0.0/24", "net"]);
    let one = Detached::start(&host, "one", &["--network", "net"]).settled();
    let two = Detached::start(&host, "two", &["--network", "net"]).settled();
    let thief = Detached::start(&host, "thief", &["--network", "net", "--cap-add", "NET_ADMIN"]).settled();
    let mac = two.inside("cat /sys/class/net/eth0/address");
    one.pings(&two.address(), 1);
    thief.inside(&format!("ip link set eth0 down; ip link set eth0 address {}; ip link set eth0 up", mac.trim()));
    // Says so to everybody; a bridge learns from that where the address is.
    let _ = thief.reaches("10.9.0.1");
    let received = || thief.inside("cat /sys/class/net/eth0/statistics/rx_packets").trim().parse::<u64>().unwrap();
    let before = received();
    one.pings(&two.address(), PINGS);
    assert!(received() - before < PINGS / 2, "{} packets", received() - before);
}

/// Nor does one that a person gives another's.
#[test]
fn a_hardware_address_given_twice_cuts_nobody_off() {
    let Some(host) = Host::new("a_hardware_address_given_twice_cuts_nobody_off", "") else { return };
    host.ours_ok(&["network", "create", "--subnet", "10.9.0.0/24", "net"]);
    let one = Detached::start(&host, "one", &["--network", "net"]).settled();
    let two = Detached::start(&host, "two", &["--network", "net"]).settled();
    let mac = two.inside("cat /sys/class/net/eth0/address");
    let other = Detached::start(&host, "other", &["--network", "net", "--mac-address", mac.trim()]).settled();
    assert_eq!(other.inside("cat /sys/class/net/eth0/address"), mac);
    one.pings(&two.address(), PINGS);
    drop(other);
    one.pings(&two.address(), PINGS);
}
