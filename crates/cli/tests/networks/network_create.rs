//! `network create`: what is made, what is chosen, what is refused; and of many at once each name and each subnet once.
//!
//! Each test has a host of its own (see `common/host.rs`).

use crate::common::busybox_root;
use crate::common::host::Host;
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// What `network inspect` says of one.
#[track_caller]
fn shown(host: &Host, name: &str) -> Value {
    let all: Value = serde_json::from_str(&host.ours_ok(&["network", "inspect", name])).unwrap();
    all[0].clone()
}

#[track_caller]
fn subnet(host: &Host, name: &str) -> String {
    host.ours_ok(&["network", "inspect", "-f", "{{range .IPAM.Config}}{{.Subnet}} {{.Gateway}} {{end}}", name])
        .trim()
        .to_owned()
}

#[test]
fn a_network_is_kept_as_it_was_said() {
    let Some(host) = Host::new("a_network_is_kept_as_it_was_said", "") else { return };
    let id = host.ours_ok(&["network", "create", "--label", "a=b", "--label", "c", "-o", "mtu=1400", "net"]);
    assert!(id.trim().len() == 64 && id.trim().bytes().all(|digit| digit.is_ascii_hexdigit()), "{id}");
    let one = shown(&host, "net");
    assert_eq!((&one["Name"], &one["Id"], &one["Driver"]), (&json!("net"), &json!(id.trim()), &json!("bridge")));
    assert_eq!(one["Labels"], json!({ "a": "b", "c": "" }));
    assert_eq!(one["Options"], json!({ "mtu": "1400" }));
    assert_eq!((&one["Internal"], &one["EnableIPv6"], &one["Containers"]), (&json!(false), &json!(false), &json!({})));
    // By its id, and by the beginning of that.
    for words in [id.trim(), &id[..7]] {
        assert_eq!(host.ours_ok(&["network", "inspect", "-f", "{{.Name}}", words]), "net\n");
    }
    let words = ["network", "create", "--internal", "--subnet", "10.9.0.0/24", "--gateway", "10.9.0.9"];
    host.ours_ok(
        &[&words[..], &["--ip-range", "10.9.0.128/25", "--ipv6", "--interface-name", "br-mine", "second"]].concat(),
    );
    let two = shown(&host, "second");
    let pools = two["IPAM"]["Config"].as_array().unwrap();
    assert_eq!(pools[0], json!({ "Subnet": "10.9.0.0/24", "IPRange": "10.9.0.128/25", "Gateway": "10.9.0.9" }));
    let v6 = pools[1]["Subnet"].as_str().unwrap();
    assert!(
        v6.starts_with("fd") && v6.ends_with("/64") && two["EnableIPv6"] == true && two["Internal"] == true,
        "{two}"
    );
    assert!(pools[1]["Gateway"].as_str().unwrap().ends_with("::9"), "{two}");
    // It is a file that a person can read, and nobody else.
    assert_eq!(
        host.sh("stat -c %a /var/lib/mycontainer/networks /var/lib/mycontainer/networks/net.json"),
        "700\n600\n"
    );
    assert!(host.sh("cat /var/lib/mycontainer/networks/second.json").contains("\"bridge\": \"br-mine\""));
    // Nothing of it is on the host.
    assert!(!host.sh("ip -o link").contains("br-mine"));
    // Nobody has to name it.
    host.ours_ok(&["network", "create"]);
    assert_eq!(host.ours_ok(&["network", "inspect", "-f", "{{.Name}}", "mycontainer1"]), "mycontainer1\n");
}

#[test]
fn a_subnet_is_chosen_that_nobody_uses() {
    let setup = "ip link add eth0 type veth peer name far0; ip link set far0 up; ip link set eth0 up; ip address add 172.18.5.1/24 dev eth0
                 ip route add 172.20.0.0/15 dev eth0; ip route add default dev eth0; ip route add 0.0.0.0/1 dev eth0";
    let Some(host) = Host::new("a_subnet_is_chosen_that_nobody_uses", setup) else { return };
    for (name, expected) in [("one", "172.19.0.0/16 172.19.0.1"), ("two", "172.22.0.0/16 172.22.0.1")] {
        host.ours_ok(&["network", "create", name]);
        assert_eq!(subnet(&host, name), expected);
    }
    // One that is removed is free again.
    host.ours_ok(&["network", "rm", "one"]);
    host.ours_ok(&["network", "create", "three"]);
    assert_eq!(subnet(&host, "three"), "172.19.0.0/16 172.19.0.1");
    // The default one goes where it can, too.
    assert_eq!(subnet(&host, "bridge"), "172.17.0.0/16 172.17.0.1");
    host.sh("ip route add 172.23.0.0/16 dev eth0; ip route add 172.24.0.0/13 dev eth0; ip route add 192.168.0.0/17 dev eth0");
    host.ours_ok(&["network", "create", "four"]);
    assert_eq!(subnet(&host, "four"), "192.168.128.0/20 192.168.128.1");
    host.sh("ip route add 192.168.128.0/17 dev eth0");
    let said = host.ours_fails(1, &["network", "create", "five"]);
    assert!(said.contains("no subnet is free") && said.contains("choose one with --subnet"), "{said}");
    host.sh("for net in 172.23.0.0/16 172.24.0.0/13 192.168.0.0/17 192.168.128.0/17; do ip route del $net; done");
}

#[test]
fn what_cannot_be_is_told() {
    let setup = "ip link add eth0 type veth peer name far0; ip link set far0 up; ip link set eth0 up; ip address add 10.0.2.15/24 dev eth0
                 ip -6 address add 2001:db8::15/64 dev eth0 nodad";
    let Some(host) = Host::new("what_cannot_be_is_told", setup) else { return };
    host.ours_ok(&["network", "create", "--subnet", "10.9.0.0/24", "net"]);
    for (words, code, why) in [
        (&["net"][..], 1, "there is a network \"net\"\n  hint: choose another name, or let it be with --ignore"),
        (&["bridge"], 125, "these names mean something else"),
        (&["a/b"], 125, "the name of a network is"),
        (&["../net"], 125, "the name of a network is"),
        (&["one", "two"], 125, "one too many"),
        (&["-d", "overlay", "x"], 125, "the drivers are bridge, macvlan and ipvlan"),
        (
            &["--subnet", "10.9.0.128/25", "x"],
            1,
            "overlaps 10.9.0.0/24 of the network \"net\"\n  hint: choose another --subnet",
        ),
        (&["--subnet", "10.0.2.0/25", "x"], 1, "overlaps 10.0.2.0/24, which this host reaches through eth0"),
        (&["--subnet", "2001:db8::/64", "x"], 1, "reaches through eth0"),
        (&["--subnet", "10.8.0.1/24", "x"], 125, "bits beyond the mask"),
        (&["--subnet", "10.8.0.0/24", "--subnet", "10.7.0.0/24", "x"], 125, "one subnet of IPv4"),
        (&["--gateway", "10.8.0.1", "x"], 1, "not in the subnet"),
        (&["-o", "vlan=7", "x"], 125, "the options are mtu, com.docker.network.driver.mtu"),
        (&["-o", "parent=eth0", "x"], 1, "the options of bridge are"),
        (&["-o", "com.docker.network.bridge.name=eth0", "x"], 1, "has a link of that name"),
        (&["-d", "macvlan", "-o", "parent=eth9", "--subnet", "10.0.2.0/24", "x"], 1, "no such link"),
        (&["-d", "ipvlan", "-o", "parent=eth0", "x"], 1, "there is no DHCP here"),
        (&["--scope", "swarm", "x"], 125, "there is only local"),
        (&["--ipam-driver", "dhcp", "x"], 125, "there is only default and host-local"),
        (&["--ingress", "x"], 125, "network create has no flag --ingress"),
        (&["--config-only", "x"], 125, "network create has no flag --config-only"),
        (&["--aux-address", "10.9.0.9", "x"], 125, "write NAME=ADDRESS"),
        (&["--aux-address", "a=10.8.0.9", "--aux-address", "a=10.8.0.8", "x"], 125, "has an address already"),
        (&["--subnet", "10.8.0.0/24", "--aux-address", "a=10.7.0.9", "x"], 1, "it is in no subnet of the network"),
        (&["--subnet", "10.8.0.0/24", "--aux-address", "a=10.8.0.1", "x"], 1, "it is the gateway of the network"),
        (&["--subnet", "10.8.0.0/24", "--aux-address", "a=fd00::9", "x"], 1, "it is in no subnet of the network"),
    ] {
        let said = host.ours_fails(code, &[&["network", "create"], words].concat());
        assert!(said.contains(why), "{words:?}: {said}");
    }
    assert_eq!(
        host.ours_ok(&["network", "ls", "-q", "--filter", "type=custom"]).lines().count(),
        1,
        "nothing was made"
    );
    // That it is there already may be what one wants.
    let there = host.ours_ok(&["network", "inspect", "-f", "{{.Id}}", "net"]);
    assert_eq!(host.ours_ok(&["network", "create", "--ignore", "net"]), there);
    // Where the parent is, there is the host.
    host.ours_ok(&["network", "create", "-d", "macvlan", "-o", "parent=eth0", "--subnet", "10.0.2.0/24", "lan"]);
}

#[test]
fn of_many_at_once_each_has_its_own() {
    let Some(host) = Host::new("of_many_at_once_each_has_its_own", "") else { return };
    let tool = crate::common::tool();
    // One name: one wins, and the others are told.
    let script =
        format!("for n in $(seq 20); do {tool} network create same >out.$n 2>&1 && echo made >>out.$n & done; wait");
    let said = host.sh(&format!("cd $(mktemp -d); {script}; cat out.*; rm -r $PWD"));
    assert_eq!(said.matches("made").count(), 1, "{said}");
    assert_eq!(said.matches("there is a network \"same\"").count(), 19, "{said}");
    // Many names: no subnet is anybody else's.
    host.sh(&format!("for n in $(seq 20); do {tool} network create net$n & done; wait"));
    let mut subnets: Vec<String> = (1..=20).map(|n| subnet(&host, &format!("net{n}"))).collect();
    subnets.sort();
    subnets.dedup();
    assert_eq!(subnets.len(), 20, "{subnets:?}");
    assert_eq!(host.sh("ls -A /var/lib/mycontainer/networks | grep -v -e json"), ".lock\n");
}

#[test]
fn what_a_kill_left_is_no_network() {
    let Some(host) = Host::new("what_a_kill_left_is_no_network", "") else { return };
    host.ours_ok(&["network", "create", "net"]);
    host.sh("cd /var/lib/mycontainer/networks; head -c 30 net.json >.new");
    assert_eq!(host.ours_ok(&["network", "ls", "-q", "-f", "type=custom"]).lines().count(), 1);
    host.ours_ok(&["network", "create", "other"]);
    assert_eq!(host.sh("ls -A /var/lib/mycontainer/networks"), ".lock\nnet.json\nother.json\n");
    host.sh("echo x >/var/lib/mycontainer/networks/.new");
    host.ours_ok(&["network", "prune", "-f", "--filter", "label=none"]);
    assert_eq!(host.sh("ls -A /var/lib/mycontainer/networks"), ".lock\nnet.json\nother.json\n");
    // One that somebody has spoilt is told of, its subnet is not given away, and it can be removed.
    host.sh("echo '{' >/var/lib/mycontainer/networks/net.json");
    for words in [&["network", "ls"][..], &["network", "create", "more"], &["network", "inspect", "net"]] {
        let said = host.ours_fails(1, words);
        assert!(said.contains("cannot understand /var/lib/mycontainer/networks/net.json"), "{words:?}: {said}");
    }
    host.ours_ok(&["network", "rm", "net"]);
    host.ours_ok(&["network", "create", "more"]);
}

#[test]
fn one_that_is_killed_has_made_it_or_not() {
    let Some(host) = Host::new("one_that_is_killed_has_made_it_or_not", "") else { return };
    let (mut made, mut not_made) = (0, 0);
    // The instants are spread over somewhat more than it takes: as a user the tool begins later.
    let begun = Instant::now();
    host.ours_ok(&["network", "create", "first"]);
    let step = (begun.elapsed() / 40).max(Duration::from_micros(300));
    host.ours_ok(&["network", "rm", "first"]);
    for n in 0..60 {
        let name = format!("net{n}");
        let mut tool =
            host.command(crate::common::tool(), &["network", "create", &name]).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(step * n);
        let _ = tool.kill();
        let _ = tool.wait();
        let names = host.ours_ok(&["network", "ls", "--format", "{{.Name}}"]);
        if names.lines().any(|line| line == name) {
            made += 1;
        } else {
            not_made += 1;
            host.ours_ok(&["network", "create", &name]);
        }
        assert_eq!(subnet(&host, &name).split(' ').count(), 2, "it is whole");
        host.ours_ok(&["network", "rm", &name]);
    }
    assert!(made > 0 && not_made > 0, "{made} {not_made}");
    assert_eq!(host.sh("ls -A /var/lib/mycontainer/networks"), ".lock\n");
}

#[test]
fn a_container_names_its_networks() {
    let Some(host) = Host::new("a_container_names_its_networks", "") else { return };
    let root = busybox_root().to_str().unwrap();
    let create = |flags: &[&str]| host.ours_ok(&[&["create"], flags, &[root, "true"]].concat()).trim().to_owned();
    let id = host.ours_ok(&["network", "create", "--subnet", "10.9.0.0/24", "net"]);
    host.ours_ok(&["network", "create", "other"]);
    let one = create(&[
        "--network",
        "net",
        "--ip",
        "10.9.0.5",
        "--mac-address",
        "02:42:0a:09:00:05",
        "--network-alias",
        "db",
    ]);
    // By its id, too; and several.
    let two = create(&["--network", "bridge", "--network", &id[..9], "--network", "name=other,alias=x"]);
    let three = create(&["--network", "bridge"]);
    for (container, mode, names) in
        [(&one, "net", "net"), (&two, "bridge", "bridge,net,other"), (&three, "bridge", "bridge")]
    {
        let format = "{{.HostConfig.NetworkMode}} {{range $name, $one := .NetworkSettings.Networks}}{{$name}} {{end}}";
        let said = host.ours_ok(&["inspect", "-f", format, container]);
        assert_eq!(said.trim(), format!("{mode} {}", names.replace(',', " ")), "{container}");
        let filter = format!("id={container}");
        assert_eq!(host.ours_ok(&["ps", "-a", "-f", &filter, "--format", "{{.Networks}}"]).trim(), names);
    }
    for (words, expected) in [("net", 2), ("other", 1), ("bridge", 2), ("none", 0), (&id[..9], 2), ("gone", 0)] {
        let filter = format!("network={words}");
        assert_eq!(host.ours_ok(&["ps", "-aq", "-f", &filter]).lines().count(), expected, "{words}");
    }
    for (flags, code, why) in [
        (&["--network", "gone"][..], 125, "there is no network \"gone\"\n  hint: `mycontainer network ls` shows those"),
        (&["--network", "net", "--network", &id[..9]], 125, "names \"net\" twice"),
        (&["--network", "net", "--network", "none"], 125, "there is no other network"),
        (&["--network", "net", "--ip", "10.8.0.5"], 125, "the network \"net\" is 10.9.0.0/24"),
        (&["--network", "net", "--ip", "10.9.0.1"], 125, "it is the gateway"),
        (&["--ip", "172.17.0.9"], 125, "only in a network that was made"),
        (&["--network-alias", "db"], 125, "only in a network that was made"),
        (&["--network", "net", "--mac-address", "03:00:00:00:00:01"], 125, "an address of many"),
    ] {
        for verb in [&["create"][..], &["run", "--rm"]] {
            let said = host.ours_fails(code, &[verb, flags, &[root, "true"]].concat());
            assert!(said.contains(why), "{verb:?} {flags:?}: {said}");
        }
    }
    host.ours_ok(&["rm", &one, &two, &three]);
}

#[test]
fn the_default_network_leaves_a_made_one_its_place() {
    let Some(host) = Host::new("the_default_network_leaves_a_made_one_its_place", "") else { return };
    let root = crate::common::busybox_root().to_str().unwrap();
    host.ours_ok(&["network", "create", "--subnet", "172.17.0.0/16", "mine"]);
    assert!(subnet(&host, "bridge").starts_with("172.18.0.0/16 "), "as it would be");
    let said = host.run_ok(&[root, "ip", "-4", "-o", "addr", "show", "dev", "eth0"]);
    assert!(said.contains("inet 172.18.0."), "{said}");
    // Now both are used.
    let said = host.run_ok(&["--network", "mine", root, "ip", "-4", "-o", "addr", "show", "dev", "eth0"]);
    assert!(said.contains("inet 172.17.0."), "{said}");
    host.ours_ok(&["network", "rm", "mine"]);
}

#[test]
fn an_address_of_somebody_outside_is_given_to_nobody() {
    let Some(host) = Host::new("an_address_of_somebody_outside_is_given_to_nobody", "") else { return };
    let words = ["network", "create", "--attachable", "--subnet", "10.9.0.0/29", "--subnet", "fd00:9::/64"];
    let aux = ["--aux-address", "router=10.9.0.3", "--aux-address", "printer=fd00:9::5", "net"];
    host.ours_ok(&[&words[..], &aux].concat());
    let net = shown(&host, "net");
    assert_eq!(net["Attachable"], true);
    assert_eq!(net["IPAM"]["Config"][0]["AuxiliaryAddresses"], json!({ "router": "10.9.0.3" }));
    assert_eq!(net["IPAM"]["Config"][1]["AuxiliaryAddresses"], json!({ "printer": "fd00:9::5" }));
    let root = busybox_root().to_str().unwrap();
    let run = |name: &str, flags: &[&str]| {
        let words =
            [&["run", "-d", "--rm", "--name", name, "--network", "net"], flags, &[root, "sleep", "1000"]].concat();
        host.ours_ok(&words);
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}";
        host.ours_ok(&["inspect", "-f", format, name]).trim().to_owned()
    };
    // Of five addresses three are left, and then none.
    assert_eq!(run("one", &[]), "10.9.0.2 fd00:9::2");
    assert_eq!(run("two", &["--ip6", "fd00:9::6"]), "10.9.0.6 fd00:9::6");
    assert_eq!(run("three", &[]), "10.9.0.4 fd00:9::4");
    let said = host.ours_fails(125, &["run", "--rm", "--network", "net", root, "true"]);
    assert!(said.contains("no free address in 10.9.0.0/29"), "{said}");
    for (flags, why) in [
        (&["--ip", "10.9.0.3"][..], "it is kept by --aux-address of the network"),
        (&["--ip6", "fd00:9::5"], "it is kept by --aux-address of the network"),
        (&["--ip6", "fd00:9::3"], "it is kept by --aux-address of the network"),
        (&["--ip6", "fd00:9::1"], "it is the gateway"),
        (&["--ip6", "fd00:9::9"], "10.9.0.0/29 has not so many"),
        (&["--ip6", "fd00:8::2"], "the network \"net\" is fd00:9::/64"),
        (&["--ip6", "10.9.0.4"], "it is no address of IPv6"),
        (&["--ip6", "fd00:9::4", "--ip", "10.9.0.5"], "it goes with 10.9.0.4, and --ip says another"),
        (&["--ip6", "fd00:9::2"], "is the address of the container"),
    ] {
        let words = [&["run", "--rm", "--network", "net"], flags, &[root, "true"]].concat();
        let said = host.ours_fails(125, &words);
        assert!(said.contains(why), "{flags:?}: {said}");
    }
    host.ours_ok(&["rm", "-f", "one", "two", "three"]);
    for network in ["net:ip6=fd00:9::6", "name=net,ip6=fd00:9::6"] {
        host.ours_ok(&["run", "-d", "--rm", "--name", "six", "--network", network, root, "sleep", "1000"]);
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}";
        assert_eq!(host.ours_ok(&["inspect", "-f", format, "six"]), "10.9.0.6 fd00:9::6\n", "{network}");
        host.ours_ok(&["rm", "-f", "six"]);
    }
    // One that is put there later.
    host.ours_ok(&["run", "-d", "--rm", "--name", "late", root, "sleep", "1000"]);
    host.ours_ok(&["network", "connect", "--ip6", "fd00:9::4", "net", "late"]);
    let format = "{{.NetworkSettings.Networks.net.IPAddress}} {{.NetworkSettings.Networks.net.GlobalIPv6Address}}";
    assert_eq!(host.ours_ok(&["inspect", "-f", format, "late"]), "10.9.0.4 fd00:9::4\n");
    host.ours_ok(&["rm", "-f", "late"]);
    host.ours_ok(&["network", "create", "four"]);
    let said = host.ours_fails(125, &["run", "--rm", "--network", "four", "--ip6", "fd00::2", root, "true"]);
    assert!(said.contains("the network \"four\" has no IPv6"), "{said}");
}
