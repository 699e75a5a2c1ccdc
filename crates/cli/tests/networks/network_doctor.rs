//! `network doctor`: how it tells what it found. What it finds is looked at in the network crate's own tests.
//!
//! Each test has a host of its own (see `common/host.rs`).

use crate::common::host::Host;
use crate::common::{stderr, stdout};
use serde_json::Value;

#[test]
fn it_tells_what_is_broken_and_what_to_do() {
    let Some(host) = Host::new("it_tells_what_is_broken_and_what_to_do", "") else { return };
    host.ours_ok(&["network", "create", "--subnet", "10.9.0.0/24", "net"]);
    let line = |text: &str, name: &str| {
        text.lines().find(|line| line.split_whitespace().nth(1) == Some(name)).unwrap_or_default().to_owned()
    };
    let said = host.ours_ok(&["network", "doctor"]);
    assert!(line(&said, "kernel").starts_with("ok  "), "{said}");
    assert!(line(&said, "default-route").starts_with("note  ") && said.contains("-> `ip route add default"), "{said}");
    assert!(!said.contains("broken"), "{said}");
    assert_eq!(host.sh("ls -A /run/mycontainer 2>/dev/null || true"), "events\n", "it leaves nothing");
    host.sh("ip link add eth0 type veth peer name far0; ip link set eth0 up; ip address add 10.9.0.7/25 dev eth0");
    let output = host.ours(&["network", "doctor"]);
    let said = stdout(&output);
    assert_eq!((output.status.code(), stderr(&output)), (Some(1), String::new()), "{said}");
    assert!(line(&said, "subnet").starts_with("broken    subnet  "), "{said}");
    assert!(said.contains("-> `mycontainer network rm net`"), "{said}");
    let output = host.ours(&["network", "doctor", "--format", "json"]);
    let findings: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let subnet = findings.as_array().unwrap().iter().find(|finding| finding["Name"] == "subnet").unwrap();
    assert!(subnet["State"] == "broken" && output.status.code() == Some(1), "{findings}");
    host.ours_fails(125, &["network", "doctor", "--format", "xml"]);
    host.sh("ip link del eth0");
}
