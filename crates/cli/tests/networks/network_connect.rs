//! Containers on networks that were made: names, isolation, published ports; `network connect` and `network disconnect`.
//!
//! Who reaches whom in detail is tested in `crates/network/tests`, and the DNS server in `crates/names/tests`. Each test has
//! a host of its own (see `common/host.rs`), which must be at the end as it was before.

use crate::common::host::Host;
use crate::common::{Scratch, busybox_root, stderr, wait_until};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Serves the page `a page` at port 80, for ever.
const SERVE: &str = "mkdir -p /tmp/$$; echo a page > /tmp/$$/page; exec httpd -f -p 80 -h /tmp/$$";
const SLEEP: &str = "exec sleep 1000";

fn root() -> &'static str {
    busybox_root().to_str().unwrap()
}

/// A container in the background, which goes with the test, however that ends.
struct Detached<'a>(&'a Host, &'a str);

impl Drop for Detached<'_> {
    fn drop(&mut self) {
        let _ = self.0.ours(&["rm", "-f", self.1]);
    }
}

#[must_use]
fn detached<'a>(host: &'a Host, name: &'a str, flags: &[&str], script: &str) -> Detached<'a> {
    let guard = Detached(host, name);
    host.ours_ok(&[&["run", "-d", "--ephemeral", "--name", name], flags, &[root(), "sh", "-c", script]].concat());
    guard
}

fn create(host: &Host, names: &[&str]) {
    for name in names {
        host.ours_ok(&["network", "create", name]);
    }
}

/// The addresses that a name has for a container, in order.
fn resolved(host: &Host, from: &str, name: &str) -> Vec<String> {
    let said = host.ours(&["exec", from, "nslookup", name]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    // The first address is the server's.
    let mut found: Vec<String> =
        said.lines().filter_map(|line| line.strip_prefix("Address: ")).map(|a| a.trim().to_owned()).collect();
    found.sort();
    found
}

/// Whether a container has a link with such an address. (Another network's gateway it reaches without, by the host.)
fn is_linked(host: &Host, name: &str, beginning: &str) -> bool {
    host.ours_ok(&["exec", name, "ip", "-4", "-o", "addr"]).contains(&format!("inet {beginning}"))
}

fn reaches(host: &Host, from: &str, to: &str) -> bool {
    host.ours(&["exec", from, "ping", "-c1", "-W1", to]).status.success()
}

fn endpoint(host: &Host, name: &str, network: &str) -> Value {
    let all: Value = serde_json::from_str(&host.ours_ok(&["inspect", name])).unwrap();
    all[0]["NetworkSettings"]["Networks"][network].clone()
}

fn address(host: &Host, name: &str, network: &str) -> String {
    endpoint(host, name, network)["IPAddress"].as_str().unwrap_or_default().to_owned()
}

/// Ends the program of a container, as if it did so by itself.
fn end(host: &Host, name: &str) {
    let pid = host.ours_ok(&["inspect", "-f", "{{.State.Pid}}", name]);
    crate::common::kill("KILL", pid.trim().parse().unwrap());
}

fn page(host: &Host, address: &str, port: u16) -> bool {
    let fetch = format!("printf 'GET /page HTTP/1.0\r\n\r\n' | busybox nc -w 2 {address} {port} | grep -qx 'a page'");
    host.try_sh(&fetch).status.success()
}

#[test]
fn containers_of_a_network_find_each_other_by_name_and_no_others() {
    let Some(host) = Host::new("containers_of_a_network_find_each_other_by_name_and_no_others", "") else { return };
    create(&host, &["front", "back"]);
    let _web = detached(&host, "web", &["--network", "front"], SLEEP);
    let both = ["--network", "name=front,alias=shared", "--network", "name=back,alias=db", "-h", "base"];
    let _db = detached(&host, "store", &both, SLEEP);
    let _other = detached(&host, "other", &["--network", "back", "--network-alias", "shared"], SLEEP);
    let (at_front, at_back) = (address(&host, "store", "front"), address(&host, "store", "back"));
    for (from, name, expected) in [
        ("web", "store", vec![&at_front]),
        ("web", "STORE", vec![&at_front]),
        ("web", "shared", vec![&at_front]),
        ("web", "base", vec![&at_front]),
        // An alias is one network's.
        ("web", "db", vec![]),
        ("web", "other", vec![]),
        ("other", "db", vec![&at_back]),
        ("other", "web", vec![]),
    ] {
        assert_eq!(resolved(&host, from, name).iter().collect::<Vec<_>>(), expected, "{name} of {from}");
    }
    assert_eq!(resolved(&host, "store", "web"), [address(&host, "web", "front")]);
    assert_eq!(resolved(&host, "store", "other"), [address(&host, "other", "back")]);
    let id = host.ours_ok(&["inspect", "-f", "{{.Id}}", "web"]);
    assert_eq!(resolved(&host, "store", &id[..12]), [address(&host, "web", "front")]);
    assert!(reaches(&host, "web", "store") && reaches(&host, "store", "other"));
    assert!(!reaches(&host, "web", &at_back) && !reaches(&host, "web", &address(&host, "other", "back")));
    let said = host.ours_fails(1, &["network", "rm", "front"]);
    assert!(said.contains("is used by container"), "{said}");
}

#[test]
fn names_are_told_again_when_who_told_them_was_killed() {
    let Some(host) = Host::new("names_are_told_again_when_who_told_them_was_killed", "") else { return };
    create(&host, &["net"]);
    let _web = detached(&host, "web", &["--network", "net"], SLEEP);
    assert_eq!(resolved(&host, "web", "web").len(), 1);
    let killed = telling(&host).expect("a process mc-names");
    crate::common::kill("KILL", killed);
    assert!(wait_until(5, || telling(&host).is_none()));
    assert_eq!(resolved(&host, "web", "web"), Vec::<String>::new());
    let _db = detached(&host, "db", &["--network", "net"], SLEEP);
    assert_eq!(resolved(&host, "web", "db"), [address(&host, "db", "net")]);
    assert_eq!(resolved(&host, "web", "web").len(), 1, "those that were there before are told, too");
}

/// The process of a host that tells names.
fn telling(host: &Host) -> Option<u32> {
    let netns = host.net("readlink /proc/self/ns/net");
    let is_it = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "mc-names\n")
            && std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|of| of.as_os_str() == netns.trim_end())
    };
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_it)
}

/// A control group of this machine's, for a test.
struct Group(String);

impl Group {
    fn new(name: &str) -> Group {
        let base = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].into_iter().find(|base| Path::new(base).is_dir()).unwrap();
        let path = format!("{base}/{name}-{}", std::process::id());
        std::fs::create_dir(&path).unwrap();
        Group(path)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        assert!(wait_until(10, || std::fs::remove_dir(&self.0).is_ok()), "somebody is left in {}", self.0);
    }
}

/// Who started the first container of a network may be killed with all that is in its control group (as a unit of systemd
/// is): the others of the network go on finding each other.
#[test]
fn who_tells_names_is_in_nobodys_control_group() {
    let Some(host) = Host::new("who_tells_names_is_in_nobodys_control_group", "") else { return };
    create(&host, &["net"]);
    let group = Group::new("mycontainer-test-names");
    let _web = Detached(&host, "web");
    let run = format!("{} run -d --ephemeral --name web --network net {} sleep 1000", crate::common::tool(), root());
    host.sh(&format!("echo 0 >{}/cgroup.procs; {run}", group.0));
    let is_in_it = |pid: u32| {
        let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        own.contains("mycontainer-test-names")
    };
    assert!(wait_until(5, || telling(&host).is_some_and(|pid| !is_in_it(pid))));
    host.ours_ok(&["rm", "-f", "web"]);
}

#[test]
fn a_container_joins_and_leaves_while_it_runs() {
    let Some(host) = Host::new("a_container_joins_and_leaves_while_it_runs", "") else { return };
    create(&host, &["one", "two"]);
    let _web = detached(&host, "web", &["--network", "one", "-p", "8080:80"], SERVE);
    let _two = detached(&host, "peer", &["--network", "two"], SLEEP);
    assert!(wait_until(10, || page(&host, "127.0.0.1", 8080)));
    host.ours_ok(&["exec", "web", "sh", "-c", "echo 10.9.9.9 mine >> /etc/hosts"]);
    host.ours_ok(&["network", "connect", "--alias", "www", "--ip", "172.19.0.77", "two", "web"]);
    let said = host.ours_fails(1, &["network", "connect", "two", "web"]);
    assert!(said.contains("web is on the network two already"), "{said}");
    assert_eq!(endpoint(&host, "web", "two")["IPAddress"], "172.19.0.77");
    assert_eq!(resolved(&host, "peer", "www"), ["172.19.0.77"]);
    assert!(reaches(&host, "peer", "web") && reaches(&host, "web", "peer"));
    let hosts = host.ours_ok(&["exec", "web", "cat", "/etc/hosts"]);
    assert!(hosts.contains("10.9.9.9 mine") && hosts.contains("172.19.0.77\t"), "{hosts}");
    let servers = host.ours_ok(&["exec", "web", "cat", "/etc/resolv.conf"]);
    assert_eq!(servers.lines().filter(|line| line.starts_with("nameserver 172.")).count(), 2, "{servers}");

    // What was the way out is gone, and the other network is it.
    host.ours_ok(&["network", "disconnect", "one", "web"]);
    let said = host.ours_fails(1, &["network", "disconnect", "one", "web"]);
    assert!(said.contains("web is not on the network one"), "{said}");
    host.ours_ok(&["network", "disconnect", "-f", "one", "web"]);
    assert!(page(&host, "127.0.0.1", 8080), "what it publishes leads to its other network");
    let routes = host.ours_ok(&["exec", "web", "ip", "route"]);
    assert!(routes.starts_with("default via 172.19.0.1 "), "{routes}");
    let hosts = host.ours_ok(&["exec", "web", "cat", "/etc/hosts"]);
    assert!(hosts.contains("10.9.9.9 mine") && !hosts.contains("172.18."), "{hosts}");
    assert_eq!(resolved(&host, "web", "peer").len(), 1);

    host.ours_ok(&["network", "disconnect", "two", "web"]);
    assert!(!page(&host, "127.0.0.1", 8080), "it is on no network");
    assert_eq!(host.ours_ok(&["exec", "web", "ip", "-o", "link"]).lines().count(), 1, "but for lo");
    // Nor is it when all networks have been idle, and rules were put in place anew for another.
    host.ours_ok(&["rm", "-f", "peer"]);
    assert!(wait_until(10, || !host.try_sh("ip link show type bridge | grep -q .").status.success()));
    host.busybox_ok(&["--network", "two"], "true");
    host.ours_ok(&["network", "connect", "one", "web"]);
    assert!(page(&host, "127.0.0.1", 8080), "the port was kept for it");
    host.ours_ok(&["network", "connect", "bridge", "web"]);
    assert!(reaches(&host, "web", "172.17.0.1"));
    assert_eq!(host.ours_ok(&["ps", "--format", "{{.Networks}}", "-f", "name=web"]), "one,bridge\n");
}

/// As a command leaves it that was killed between the two.
#[test]
fn who_has_an_address_and_no_link_can_be_connected_once_more() {
    let Some(host) = Host::new("who_has_an_address_and_no_link_can_be_connected_once_more", "") else { return };
    create(&host, &["one", "two"]);
    let _web = detached(&host, "web", &["--network", "one"], SLEEP);
    host.ours_ok(&["network", "connect", "two", "web"]);
    let bridge = host.ours_ok(&["network", "inspect", "-f", "{{.Id}}", "two"]);
    host.net(&format!(
        "ip -o link show master mcn{} | sed 's/^[0-9]*: //; s/@.*//' | xargs -n1 ip link del",
        &bridge[..12]
    ));
    assert!(!is_linked(&host, "web", "172.19.0."));
    host.ours_ok(&["network", "connect", "two", "web"]);
    assert!(is_linked(&host, "web", "172.19.0."));
    host.ours_fails(1, &["network", "connect", "two", "web"]);
}

#[test]
fn what_it_is_on_outlives_a_stop_and_a_policy() {
    let Some(host) = Host::new("what_it_is_on_outlives_a_stop_and_a_policy", "") else { return };
    create(&host, &["one", "two"]);
    let _web = detached(&host, "web", &["--network", "one", "--restart", "always"], SLEEP);
    host.ours_ok(&["network", "connect", "--alias", "www", "two", "web"]);
    host.ours_ok(&["network", "disconnect", "one", "web"]);
    let _peer = detached(&host, "peer", &["--network", "two"], SLEEP);
    end(&host, "web");
    let started = || host.ours_ok(&["inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "web"]) == "1 running\n";
    assert!(wait_until(10, started));
    assert!(wait_until(5, || resolved(&host, "peer", "www").len() == 1));
    assert_eq!(endpoint(&host, "web", "one"), Value::Null);
    host.ours_ok(&["stop", "-t", "0", "web"]);
    assert_eq!(resolved(&host, "peer", "www"), Vec::<String>::new(), "a name goes with who has it");
    host.ours_ok(&["network", "connect", "one", "web"]);
    host.ours_ok(&["network", "disconnect", "two", "web"]);
    host.ours_ok(&["start", "web"]);
    assert!(!address(&host, "web", "one").is_empty());
    assert_eq!(endpoint(&host, "web", "two"), Value::Null);
}

#[test]
fn the_name_that_a_container_has_now_is_told() {
    let Some(host) = Host::new("the_name_that_a_container_has_now_is_told", "") else { return };
    create(&host, &["net"]);
    let _peer = detached(&host, "peer", &["--network", "net"], SLEEP);
    // One that stays, and one that goes when it ends.
    let flags = ["--network", "net", "--network-alias", "www", "--restart", "always"];
    let _site = (detached(&host, "web", &flags, SLEEP), Detached(&host, "site"));
    let _base = (detached(&host, "db", &["--rm", "--network", "net"], SLEEP), Detached(&host, "base"));
    for (old, new) in [("web", "site"), ("db", "base")] {
        host.ours_ok(&["rename", old, new]);
        assert_eq!(resolved(&host, "peer", new), [address(&host, new, "net")]);
        assert_eq!(resolved(&host, "peer", old), Vec::<String>::new(), "{old}");
    }
    assert_eq!(resolved(&host, "peer", "www"), [address(&host, "site", "net")], "its other names stay");
    end(&host, "site");
    let started = || host.ours_ok(&["inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "site"]) == "1 running\n";
    assert!(wait_until(10, started));
    assert!(wait_until(5, || resolved(&host, "peer", "site").len() == 1));
    assert_eq!(resolved(&host, "peer", "web"), Vec::<String>::new(), "nor after it was started anew");
}

#[test]
fn files_that_are_not_the_tools_stay_as_they_are() {
    let setup =
        "mkdir /run/etc; echo 10.1.1.1 mine | tee /run/hosts > /run/etc/hosts; cp /run/hosts /run/etc/resolv.conf";
    let Some(host) = Host::new("files_that_are_not_the_tools_stay_as_they_are", setup) else { return };
    create(&host, &["one", "two"]);
    let unmount = "umount /etc/hosts; ln -sf /run/hosts /etc/resolv.conf; exec sleep 1000";
    for (flags, script, notes) in [
        (&["-v", "/run/hosts:/etc/hosts"][..], SLEEP, 0),
        (&["--mount", "type=bind,src=/run/hosts,dst=/etc//hosts"], SLEEP, 0),
        (&["--no-hosts"], SLEEP, 0),
        (&["-v", "/run/etc:/etc"], SLEEP, 0),
        (&["--tmpfs", "/etc"], SLEEP, 0),
        (&["--read-only"], SLEEP, 2),
        // What is there now is the host's own.
        (&["-v", "/run/etc:/etc", "--privileged"], unmount, 1),
    ] {
        let web = detached(&host, "web", &[&["--network", "one"], flags].concat(), script);
        // By --no-hosts there is none.
        let hosts = || host.ours_ok(&["exec", "web", "sh", "-c", "cat /etc/hosts 2>&1; true"]);
        let is_ready = || !script.contains("umount") || hosts() == "10.1.1.1 mine\n";
        assert!(wait_until(10, is_ready), "{flags:?}: {}", hosts());
        let before = hosts();
        let connected = host.ours(&["network", "connect", "two", "web"]);
        let said = stderr(&connected);
        assert!(connected.status.success(), "{flags:?}: {said}");
        assert_eq!(said.lines().filter(|line| line.contains("is as it was")).count(), notes, "{flags:?}: {said}");
        let is_ours = matches!(flags, ["-v", "/run/etc:/etc"] | ["--tmpfs", "/etc"]);
        assert_eq!(hosts() != before, is_ours, "{flags:?}: {}", hosts());
        assert_eq!(
            host.sh("cat /run/hosts /run/etc/hosts /run/etc/resolv.conf"),
            "10.1.1.1 mine\n".repeat(3),
            "{flags:?}"
        );
        drop(web);
    }
}

#[test]
fn what_is_about_to_be_started_again_joins_then() {
    let Some(host) = Host::new("what_is_about_to_be_started_again_joins_then", "") else { return };
    create(&host, &["one", "two"]);
    let dir = Scratch::new("go");
    let volume = format!("{}:/srv", dir.0.display());
    let fails = "test -e /srv/go && exec sleep 1000; exit 1";
    let _web = detached(&host, "web", &["--network", "one", "--restart", "always", "-v", &volume], fails);
    // By then the pause before the next start is seconds long.
    let waits = || {
        let said = host.ours_ok(&["inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "web"]);
        said.ends_with(" restarting\n") && said.trim_start().chars().next() >= Some('5')
    };
    assert!(wait_until(20, waits));
    host.ours_ok(&["network", "connect", "two", "web"]);
    let said = host.ours_fails(1, &["network", "connect", "two", "web"]);
    assert!(said.contains("web is on the network two already"), "{said}");
    host.ours_ok(&["network", "disconnect", "one", "web"]);
    dir.file("go", "", 0o644);
    assert!(wait_until(20, || host.ours_ok(&["inspect", "-f", "{{.State.Status}}", "web"]) == "running\n"));
    assert!(wait_until(5, || !address(&host, "web", "two").is_empty()));
    assert_eq!(endpoint(&host, "web", "one"), Value::Null);
}

#[test]
fn what_cannot_be_is_said() {
    let Some(host) = Host::new("what_cannot_be_is_said", "") else { return };
    create(&host, &["net"]);
    host.ours_ok(&["network", "create", "--internal", "--subnet", "10.9.0.0/29", "inside"]);
    let _web = detached(&host, "web", &["--network", "net"], SLEEP);
    let _none = detached(&host, "alone", &["--network", "none"], SLEEP);
    let taken = address(&host, "web", "net");
    for (words, expected) in [
        (&["network", "connect", "net", "alone"][..], "alone has no network by its own wish"),
        (&["network", "connect", "nonesuch", "web"], "there is no network \"nonesuch\""),
        (&["network", "connect", "--ip", "10.1.1.1", "inside", "web"], "10.1.1.1"),
        (&["network", "connect", "--ip", "10.9.0.1", "inside", "web"], "10.9.0.1"),
        (&["network", "connect", "--alias", "x", "bridge", "web"], "networks that are made"),
        (&["network", "connect", "net", "nobody"], "there is no container"),
        (&["run", "--rm", "--network", "net", "--ip", &taken, root(), "true"], "is the address of the container"),
        (&["run", "--rm", "--network", "inside", "-p", "80", root(), "true"], "is internal"),
        (&["run", "--rm", "--network", "net", "-p", "[::1]:80:80", root(), "true"], "no network with IPv6"),
    ] {
        let output = host.ours(words);
        let said = stderr(&output);
        assert!(!output.status.success() && said.contains(expected), "{words:?}: {said}");
    }
    let aliases: Vec<String> = (0..1200).map(|nth| format!("--alias={nth:060}")).collect();
    let aliases: Vec<&str> = aliases.iter().map(String::as_str).collect();
    let said = stderr(&host.ours(&[&["network", "connect"], &aliases[..], &["inside", "web"]].concat()));
    assert!(said.contains("names"), "{said}");
    // What failed has left nothing of itself.
    let leases = host.sh("cat /run/mycontainer/network/leases");
    assert_eq!(leases.matches("10.9.0.").count(), usize::from(leases.contains("last 10.9.0.")), "{leases}");
    assert_eq!(endpoint(&host, "web", "inside"), Value::Null);
    let five: Vec<_> =
        ["aa", "bb", "cc", "dd", "ee"].map(|name| detached(&host, name, &["--network", "inside"], SLEEP)).into();
    let said = stderr(&host.ours(&["run", "--rm", "--network", "inside", root(), "true"]));
    assert!(said.contains("no free address in 10.9.0.0/29"), "{said}");
    assert!(reaches(&host, "aa", "bb"));
    assert_eq!(host.ours_ok(&["exec", "aa", "ip", "route"]).lines().count(), 1, "nothing leads out");
    drop(five);
}

#[test]
fn ipv6_and_servers_of_its_own() {
    let Some(host) = Host::new("ipv6_and_servers_of_its_own", "") else { return };
    host.ours_ok(&["network", "create", "--ipv6", "--subnet", "fd00:9::/64", "six"]);
    let _web = detached(&host, "web", &["--network", "six", "-p", "8080:80", "--dns", "192.0.2.9"], SERVE);
    let _peer = detached(&host, "peer", &["--network", "six"], SLEEP);
    assert_eq!(endpoint(&host, "web", "six")["GlobalIPv6Address"], "fd00:9::2");
    assert!(wait_until(10, || page(&host, "127.0.0.1", 8080)));
    host.ours_ok(&["exec", "peer", "ping", "-6", "-c1", "-W1", "web"]);
    let own = host.sh("ip -6 -o addr show scope global | sed -n 's/.* inet6 \\([^/]*\\).*/\\1/p'");
    assert!(page(&host, own.trim(), 8080), "on the host's own address of IPv6, {own}");
    assert_eq!(host.ours_ok(&["port", "web"]).lines().count(), 2);
    // Its own servers are asked by the network's, which knows the names.
    let servers = host.ours_ok(&["exec", "web", "cat", "/etc/resolv.conf"]);
    assert!(servers.starts_with("nameserver 172.18.0.1\n") && servers.contains("ndots:0"), "{servers}");
    assert!(host.sh("cat /run/mycontainer/network/names/*/*").contains("172.18.0.2 fd00:9::2 192.0.2.9\n"));
}

#[test]
fn killed_in_the_middle_it_can_be_done_again_and_undone() {
    let test = "killed_in_the_middle_it_can_be_done_again_and_undone";
    let Some(host) = Host::new(test, "") else { return };
    let Some(tool) = std::env::var_os("MYCONTAINER_FAULT_BIN").map(PathBuf::from) else {
        assert!(std::env::var("CI").is_err(), "MYCONTAINER_FAULT_BIN is not set");
        eprintln!("skipped: {test}: MYCONTAINER_FAULT_BIN is not set");
        return;
    };
    create(&host, &["one", "two"]);
    let _web = detached(&host, "web", &["--network", "one", "-p", "8080:80"], SERVE);
    assert!(wait_until(10, || page(&host, "127.0.0.1", 8080)));
    let connect = [
        "ensure-bridge",
        "create-bridge",
        "install-shortcut",
        "address-bridge",
        "start-names",
        "ensure-nat",
        "install-rules",
        "lease-address",
        "make-veth",
        "configure-link",
        "join-shortcut",
        "rewrite-file",
    ];
    let disconnect = ["remove-link", "lead-elsewhere", "install-rules", "start-janitor", "rewrite-file"];
    let faulty = |fault: &str, words: &[&str]| {
        let mut command = host.command(tool.to_str().unwrap(), words);
        let _ = command.env("MYCONTAINER_FAULT", fault).output().unwrap();
    };
    for when in ["before", "after"] {
        for step in connect {
            faulty(&format!("tool:{when}:{step}"), &["network", "connect", "two", "web"]);
            // Done again, or it was done.
            let again = host.ours(&["network", "connect", "two", "web"]);
            let said = stderr(&again);
            assert!(again.status.success() || said.contains("already"), "{when} {step}: {said}");
            assert!(is_linked(&host, "web", "172.19.0."), "{when} {step}");
            assert!(!resolved(&host, "web", "web").is_empty(), "{when} {step}");
            host.ours_ok(&["network", "disconnect", "two", "web"]);
            assert!(page(&host, "127.0.0.1", 8080), "{when} {step}");
        }
        for step in disconnect {
            host.ours_ok(&["network", "connect", "two", "web"]);
            faulty(&format!("tool:{when}:{step}"), &["network", "disconnect", "one", "web"]);
            host.ours_ok(&["network", "disconnect", "-f", "one", "web"]);
            assert_eq!(endpoint(&host, "web", "one"), Value::Null, "{when} {step}");
            assert!(page(&host, "127.0.0.1", 8080), "{when} {step}");
            host.ours_ok(&["network", "connect", "one", "web"]);
            host.ours_ok(&["network", "disconnect", "two", "web"]);
        }
    }
}

#[test]
fn an_address_goes_with_who_had_it_though_others_share_the_namespace() {
    let test = "an_address_goes_with_who_had_it_though_others_share_the_namespace";
    let Some(host) = Host::new(test, "") else { return };
    create(&host, &["net"]);
    let owner = detached(&host, "owner", &["--network", "net"], SLEEP);
    let _sharer = detached(&host, "sharer", &["--network", "container:owner"], SLEEP);
    let links = || host.ours_ok(&["exec", "sharer", "ip", "-o", "link"]).lines().count();
    assert_eq!(links(), 2);
    drop(owner);
    assert_eq!(links(), 1, "the address may be another's by now");
    let _next = detached(&host, "next", &["--network", "net"], SLEEP);
    assert!(!reaches(&host, "sharer", &address(&host, "next", "net")));
}

#[test]
fn a_link_on_the_hosts_goes_with_who_had_it_though_others_share_the_namespace() {
    let test = "a_link_on_the_hosts_goes_with_who_had_it_though_others_share_the_namespace";
    let Some(host) = Host::new(test, PARENT) else { return };
    if !host.try_sh("ip link add m0 link lan0 type macvlan && ip link del m0").status.success() {
        eprintln!("skipped: {test}: this kernel has no macvlan");
        return;
    }
    host.ours_ok(&["network", "create", "-d", "macvlan", "-o", "parent=lan0", "--subnet", "10.88.0.0/24", "lan"]);
    create(&host, &["net"]);
    for by_kill in [false, true] {
        let owner = detached(&host, "owner", &["--network", "lan", "--network", "net"], SLEEP);
        let _sharer = detached(&host, "sharer", &["--network", "container:owner"], SLEEP);
        let links = || host.ours_ok(&["exec", "sharer", "ip", "-o", "link"]).lines().count();
        assert_eq!(links(), 3);
        if by_kill {
            kill_monitor(&host, "owner");
        }
        drop(owner);
        assert_eq!(links(), 1, "by a kill: {by_kill}: the addresses may be another's by now");
    }
    host.ours_ok(&["network", "rm", "lan", "net"]);
}

/// A link of the host's that others may be on.
const PARENT: &str = "ip link add lan0 type veth peer name lan1; ip link set lan0 up; ip link set lan1 up";

/// Kills the process to whose life a container's leases are bound.
fn kill_monitor(host: &Host, name: &str) {
    let id = host.ours_ok(&["inspect", "-f", "{{.Id}}", name]);
    let leases = host.sh("cat /run/mycontainer/network/leases");
    let line = leases.lines().find(|line| line.contains(id.trim())).unwrap();
    crate::common::kill("KILL", line.split_whitespace().nth(2).unwrap().parse().unwrap());
}

#[test]
fn killed_on_a_link_of_the_hosts_it_can_be_done_again_and_undone() {
    let test = "killed_on_a_link_of_the_hosts_it_can_be_done_again_and_undone";
    let Some(host) = Host::new(test, PARENT) else { return };
    let Some(tool) = std::env::var_os("MYCONTAINER_FAULT_BIN").map(PathBuf::from) else {
        assert!(std::env::var("CI").is_err(), "MYCONTAINER_FAULT_BIN is not set");
        eprintln!("skipped: {test}: MYCONTAINER_FAULT_BIN is not set");
        return;
    };
    create(&host, &["net"]);
    for (driver, subnet) in [("macvlan", "10.88.0.0/24"), ("ipvlan", "10.89.0.0/24")] {
        if !host.try_sh(&format!("ip link add m0 link lan0 type {driver} && ip link del m0")).status.success() {
            eprintln!("skipped: {test}: this kernel has no {driver}");
            continue;
        }
        host.ours_ok(&["network", "create", "-d", driver, "-o", "parent=lan0", "--subnet", subnet, "lan"]);
        let web = detached(&host, "web", &["--network", "net"], SLEEP);
        let links = || host.ours_ok(&["exec", "web", "ip", "-o", "link"]).lines().count();
        let faulty = |fault: &str| {
            let mut command = host.command(tool.to_str().unwrap(), &["network", "connect", "lan", "web"]);
            let _ = command.env("MYCONTAINER_FAULT", fault).output().unwrap();
        };
        for fault in ["before:make-link", "after:make-link", "before:configure-link", "after:configure-link"] {
            faulty(&format!("tool:{fault}"));
            let again = host.ours(&["network", "connect", "lan", "web"]);
            let said = stderr(&again);
            assert!(again.status.success() || said.contains("already"), "{driver} {fault}: {said}");
            assert_eq!(links(), 3, "{driver} {fault}: connected");
            host.ours_ok(&["network", "disconnect", "lan", "web"]);
            assert_eq!(links(), 2, "{driver} {fault}: disconnected");
            faulty(&format!("tool:{fault}"));
            host.ours_ok(&["network", "disconnect", "-f", "lan", "web"]);
            assert_eq!(links(), 2, "{driver} {fault}: disconnected at once");
        }
        drop(web);
        host.ours_ok(&["network", "rm", "lan"]);
    }
    host.ours_ok(&["network", "rm", "net"]);
}

#[test]
fn a_network_that_was_removed_is_named_and_left() {
    let Some(host) = Host::new("a_network_that_was_removed_is_named_and_left", "") else { return };
    create(&host, &["one", "two", "three"]);
    let _web = detached(&host, "web", &["--network", "one", "--network", "two", "--network", "three"], SLEEP);
    // No verb removes one that a container is on.
    host.sh("rm /var/lib/mycontainer/networks/three.json");
    host.ours_ok(&["network", "disconnect", "two", "web"]);
    assert!(is_linked(&host, "web", "172.18.0.") && !is_linked(&host, "web", "172.19.0."));
    host.ours_ok(&["network", "connect", "two", "web"]);
    assert!(is_linked(&host, "web", "172.19.0."));
    host.ours_ok(&["stop", "-t", "0", "web"]);
    let said = host.ours_fails(1, &["start", "web"]);
    assert!(said.contains("there is no network \"three\" any more, and container web"), "{said}");
    assert!(said.contains("`mycontainer network disconnect three web`"), "{said}");
    host.ours_ok(&["network", "disconnect", "three", "web"]);
    host.ours_ok(&["start", "web"]);
    assert!(reaches(&host, "web", "web"));
}

/// What a container has of a network goes on to be known, and can be given back, though nothing is behind it any more.
#[test]
fn the_link_of_the_hosts_is_gone() {
    let Some(host) = Host::new("the_link_of_the_hosts_is_gone", "") else { return };
    host.sh("ip link add p0 type veth peer name p1 && ip link set p0 up");
    host.ours_ok(&["network", "create", "-d", "macvlan", "-o", "parent=p0", "--subnet", "10.0.9.0/24", "lan"]);
    create(&host, &["nn"]);
    let _one = detached(&host, "one", &["--network", "lan"], SLEEP);
    host.sh("ip link del p0");
    assert!(host.ours_ok(&["inspect", "one"]).contains("10.0.9.2"));
    host.ours_ok(&["rename", "one", "two"]);
    host.ours_ok(&["rename", "two", "one"]);
    host.ours_ok(&["network", "connect", "nn", "one"]);
    host.ours_ok(&["network", "disconnect", "lan", "one"]);
    host.ours_ok(&["rm", "-f", "one"]);
    host.ours_ok(&["network", "rm", "nn", "lan"]);
}

/// The same command once more does what a killed one has left to do.
#[test]
fn what_a_killed_command_has_left_to_do_is_done() {
    let Some(host) = Host::new("what_a_killed_command_has_left_to_do_is_done", "") else { return };
    for (name, subnet) in [("aa", "10.77.0.0/24"), ("bb", "10.78.0.0/24")] {
        host.ours_ok(&["network", "create", "--subnet", subnet, name]);
    }
    let flags = ["--network", "aa", "--network", "bb", "--cap-add", "NET_ADMIN"];
    let one = detached(&host, "one", &flags, SLEEP);
    let inside = |script: &str| host.ours_ok(&["exec", "one", "sh", "-c", script]);
    assert!(inside("ip route; cat /etc/hosts").contains("default via 10.77.0.1"));
    // `connect`, after the link was there.
    inside("sed '/^10.78/d' /etc/hosts >/tmp/hosts; cat /tmp/hosts >/etc/hosts");
    assert!(host.ours_fails(1, &["network", "connect", "bb", "one"]).contains("already"));
    assert!(inside("cat /etc/hosts").contains("10.78.0.2"));
    // `disconnect`, after the lease was given back.
    inside("ip link del eth0");
    let leases = "/run/mycontainer/network/leases";
    host.sh(&format!(
        "awk '{{ if ($1 == \"10.77.0.2\") printf \"%-127s\\n\", \"free\"; else print }}' {leases} >/tmp/leases.$$; \
         cat /tmp/leases.$$ >{leases}; rm /tmp/leases.$$"
    ));
    host.ours_ok(&["network", "disconnect", "aa", "one"]);
    let now = inside("ip route; cat /etc/hosts");
    assert!(now.contains("default via 10.78.0.1") && !now.contains("10.77.0.2"), "{now}");
    // What somebody has made of the file stays, and he is told.
    inside("echo nameserver 192.0.2.1 >/etc/resolv.conf");
    let told = host.ours(&["network", "connect", "aa", "one"]);
    assert!(stderr(&told).contains("/etc/resolv.conf in the container is as it was"), "{}", stderr(&told));
    drop(one);
    host.ours_ok(&["network", "rm", "aa", "bb"]);
}
