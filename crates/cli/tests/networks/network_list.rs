//! `network ls`, `network inspect` and `network exists`.
//!
//! Each test has a host of its own (see `common/host.rs`).

use crate::common::host::Host;
use serde_json::{Value, json};

#[test]
fn networks_are_listed_as_docker_lists_them() {
    let setup = "ip link add eth0 type veth peer name far0; ip link set far0 up; ip link set eth0 up";
    let Some(host) = Host::new("networks_are_listed_as_docker_lists_them", setup) else { return };
    let names = |flags: &[&str]| {
        let words = [&["network", "ls", "--format", "{{.Name}}"], flags].concat();
        host.ours_ok(&words).lines().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(&[]), "bridge host none", "they are there always");
    let id = host.ours_ok(&["network", "create", "--label", "a=b", "--internal", "zoo"]);
    host.ours_ok(&[
        "network",
        "create",
        "-d",
        "ipvlan",
        "-o",
        "parent=eth0",
        "--subnet",
        "10.9.0.0/24",
        "--label",
        "c",
        "net",
    ]);
    let table = host.ours_ok(&["network", "ls"]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "NETWORK ID     NAME      DRIVER    SCOPE");
    assert_eq!(lines[5], format!("{}   zoo       bridge    local", &id[..12]));
    let line =
        |name: &str| lines.iter().find(|line| line.contains(&format!(" {name} "))).unwrap().split_whitespace().nth(2);
    assert_eq!(
        [line("bridge"), line("host"), line("none"), line("net")].map(Option::unwrap),
        ["bridge", "host", "null", "ipvlan"]
    );
    assert_eq!(host.ours_ok(&["network", "ls", "-q", "--no-trunc", "-f", "name=zoo"]), id);
    for (filter, expected) in [
        ("name=o", "host none zoo"),
        ("driver=bridge", "bridge zoo"),
        ("driver=null", "none"),
        ("type=custom", "net zoo"),
        ("type=builtin", "bridge host none"),
        ("label=a", "zoo"),
        ("label=a=c", ""),
        ("dangling=true", "net zoo"),
        ("dangling=false", "bridge host none"),
        ("scope=local", "bridge host net none zoo"),
        (&format!("id={}", &id[..5]), "zoo"),
    ] {
        assert_eq!(names(&["--filter", filter]), expected, "{filter}");
    }
    assert_eq!(names(&["-f", "driver=host", "-f", "driver=null", "-f", "name=n"]), "none");
    let format = "{{.ID}} {{.Driver}} {{.Scope}} {{.Labels}} {{.Label \"a\"}} {{.Internal}} {{.IPv6}}";
    let said = host.ours_ok(&["network", "ls", "-f", "name=zoo", "--format", format]);
    assert_eq!(said, format!("{} bridge local a=b b true false\n", &id[..12]));
    let line: Value =
        serde_json::from_str(&host.ours_ok(&["network", "ls", "-f", "name=zoo", "--format", "json"])).unwrap();
    assert_eq!((&line["Name"], &line["IPv4"], &line["Internal"]), (&json!("zoo"), &json!("true"), &json!("true")));
    for wrong in ["type=mine", "color=red", "dangling=maybe"] {
        host.ours_fails(125, &["network", "ls", "-f", wrong]);
    }
    // A container that does not run names it, too.
    let root = crate::common::busybox_root().to_str().unwrap();
    let container = host.ours_ok(&["create", "--network", "zoo", root, "true"]);
    assert_eq!(names(&["-f", "dangling=true"]), "net");
    host.ours_ok(&["rm", container.trim()]);
}

#[test]
fn the_built_in_ones_are_shown() {
    let Some(host) = Host::new("the_built_in_ones_are_shown", "") else { return };
    let shown = |words: &[&str]| -> Value {
        serde_json::from_str(&host.ours_ok(&[&["network", "inspect"], words].concat())).unwrap()
    };
    let all = shown(&["bridge", "host", "none"]);
    assert_eq!(
        all[0]["IPAM"]["Config"],
        json!([{ "Subnet": "172.17.0.0/16", "IPRange": "", "Gateway": "172.17.0.1" }])
    );
    assert_eq!(all[0]["Options"]["com.docker.network.bridge.name"], "mycontainer0");
    assert_eq!(
        (&all[1]["Driver"], &all[2]["Driver"], &all[1]["IPAM"]["Config"]),
        (&json!("host"), &json!("null"), &json!([]))
    );
    for name in ["bridge", "host", "none"] {
        let id = host.ours_ok(&["network", "ls", "-q", "-f", &format!("name={name}")]);
        assert_eq!(shown(&[id.trim()])[0]["Name"], name, "{id}");
    }
    // Those that are on it.
    let mut guest = host.start(&["--name", "web"], "read x || true");
    let bridge = shown(&["bridge"]);
    let members = bridge[0]["Containers"].as_object().unwrap();
    let (id, member) = members.iter().next().unwrap();
    assert!(id.starts_with(&guest.id) && members.len() == 1, "{bridge}");
    assert_eq!((&member["Name"], &member["IPv4Address"]), (&json!("web"), &json!(format!("{}/16", guest.address))));
    assert_eq!(member["MacAddress"], "02:42:ac:11:00:02");
    let said = host.ours_ok(&["network", "inspect", "-f", "{{range .Containers}}{{.Name}}{{end}}", "bridge"]);
    assert_eq!(said, "web\n");
    guest.end_ok();
    assert_eq!(shown(&["bridge"])[0]["Containers"], json!({}));
    let output = host.ours(&["network", "inspect", "gone", "host"]);
    let (said, told) = (crate::common::stdout(&output), crate::common::stderr(&output));
    assert!(
        output.status.code() == Some(1) && told.contains("there is no network \"gone\"") && said.contains("\"host\""),
        "{told}"
    );
}

#[test]
fn whether_it_exists_is_told_by_the_exit_code() {
    let Some(host) = Host::new("whether_it_exists_is_told_by_the_exit_code", "") else { return };
    host.ours_ok(&["network", "create", "net"]);
    for (name, expected) in [("net", 0), ("bridge", 0), ("none", 0), ("gone", 1), ("../net", 1), ("", 1)] {
        let output = host.ours(&["network", "exists", name]);
        assert_eq!((output.status.code(), crate::common::stderr(&output)), (Some(expected), String::new()), "{name}");
    }
}
