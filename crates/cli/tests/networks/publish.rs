//! `run --publish` and what belongs to it: forms, errors, and what `port`, `ps` and `inspect` show.
//!
//! Who reaches whom is tested where it is done, in `crates/network/tests/publishing.rs`. Each test has a host of its own (see
//! `common/host.rs`), which must be at the end as it was before.

use crate::common::host::{Host, Place};
use crate::common::{busybox_root, kill, stderr, stdout, tool, wait_until};
use serde_json::{Value, json};

/// A script that serves the page `a page` at port 80 for as long as its input is open.
const SERVE: &str = "mkdir -p /tmp/$$; echo a page > /tmp/$$/page; httpd -p 80 -h /tmp/$$; read x; true";
/// The same, for ever.
const SERVE_ON: &str = "mkdir -p /tmp/$$; echo a page > /tmp/$$/page; exec httpd -f -p 80 -h /tmp/$$";

fn page(from: &Place, address: &str, port: u16) -> bool {
    let fetch =
        format!("printf 'GET /page HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 2 {address} {port} | grep -qx 'a page'");
    from.try_sh(&fetch).status.success()
}

/// Runs the tool with the words, which must succeed: its standard output.
fn ok(host: &Host, words: &[&str]) -> String {
    let output = host.command(tool(), words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}{}", stdout(&output), stderr(&output));
    stdout(&output)
}

/// Runs the tool with the words, which must fail with this code: its standard error.
fn fails(host: &Host, code: i32, words: &[&str]) -> String {
    let output = host.command(tool(), words).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{words:?}: {}{}", stdout(&output), stderr(&output));
    stderr(&output)
}

fn root() -> &'static str {
    busybox_root().to_str().unwrap()
}

/// A container in the background, which goes with the test, however that ends.
struct Detached<'a>(&'a Host, &'a str);

impl Drop for Detached<'_> {
    fn drop(&mut self) {
        let _ = self.0.command(tool(), &["rm", "-f", self.1]).output();
    }
}

/// Starts a container in the background.
#[must_use]
fn detached<'a>(host: &'a Host, name: &'a str, flags: &[&str], script: &str) -> Detached<'a> {
    let guard = Detached(host, name);
    let words = [&["run", "-d", "--name", name], flags, &[root(), "sh", "-c", script]].concat();
    ok(host, &words);
    guard
}

fn inspected(host: &Host, name: &str, pointer: &str) -> Value {
    let all: Value = serde_json::from_str(&ok(host, &["inspect", name])).unwrap();
    all[0].pointer(pointer).unwrap_or_else(|| panic!("{pointer} in {all}")).clone()
}

#[test]
fn a_port_is_reached_from_outside_and_on_the_host_until_the_container_ends() {
    let Some(host) = Host::with_outside("a_port_is_reached_from_outside_and_on_the_host_until_the_container_ends", "")
    else {
        return;
    };
    let mut guest = host.start(&["-p", "8080:80", "-p", "127.0.0.1:8081:80"], SERVE);
    assert!(wait_until(5, || page(&host, "127.0.0.1", 8080)), "from the host");
    assert!(page(host.outside(), "203.0.113.2", 8080), "from outside");
    assert!(page(&host, "127.0.0.1", 8081) && page(&host, "203.0.113.2", 8080));
    assert!(!page(host.outside(), "203.0.113.2", 8081), "only on the loopback");
    assert_eq!(ok(&host, &["port", &guest.id]), "80/tcp -> 0.0.0.0:8080\n80/tcp -> 127.0.0.1:8081\n");
    assert_eq!(host.sh("ss -Htln 'sport = :8080'"), "", "the port is claimed, and nobody listens there");
    guest.end_ok();
    assert!(!page(&host, "127.0.0.1", 8080) && !page(host.outside(), "203.0.113.2", 8080));
}

#[test]
fn what_cannot_be_published_is_an_error_before_anything_runs() {
    let Some(host) = Host::new("what_cannot_be_published_is_an_error_before_anything_runs", "") else { return };
    let server = host.serve("busybox", &["httpd", "-f", "-p", "127.0.0.1:8080", "-h", "/proc/self"], "127.0.0.1", 8080);
    for (flag, said) in [
        ("8080:80", "cannot publish 0.0.0.0:8080/tcp: a program or another container on this host has that port"),
        ("127.0.0.1:8080:80", "cannot publish 127.0.0.1:8080/tcp: a program or another"),
        ("8080-8080:80", "cannot publish 0.0.0.0:8080/tcp"),
        ("10.9.8.7:8081:80", "cannot publish 10.9.8.7:8081/tcp: this host does not have the address 10.9.8.7"),
        ("[::1]:8081:80", "--publish [::1]:8081:80/tcp: the default network has no IPv6"),
        ("8081:http", "\"8081:http\": a port is a number"),
        ("8081-8082:80-82", "there must be as many ports of the host as of the container"),
        ("8081:80/icmp", "a protocol is one of tcp, udp and sctp"),
    ] {
        for words in [&["run", "--rm", "-p", flag][..], &["run", "-d", "--rm", "-p", flag]] {
            let heard = fails(&host, 125, &[words, &[root(), "echo", "it runs"]].concat());
            assert!(heard.contains(said), "{flag}: {heard}");
        }
    }
    let said = fails(&host, 125, &["run", "--rm", "-p", "8080:80", root(), "true"]);
    assert!(said.contains("\n  hint: "), "{said}");
    // One that stays and cannot be started stays as it was made.
    let _guard = Detached(&host, "kept");
    let said = fails(&host, 125, &["run", "-d", "--name", "kept", "-p", "8080:80", root(), "sleep", "600"]);
    assert!(said.contains("cannot publish 0.0.0.0:8080/tcp"), "{said}");
    drop(server);
    ok(&host, &["start", "kept"]);
    let said = fails(&host, 125, &["run", "--rm", "-p", "8080:80", root(), "true"]);
    assert!(said.contains("cannot publish 0.0.0.0:8080/tcp"), "another container has it: {said}");
    ok(&host, &["rm", "-f", "kept"]);
    host.run_ok(&["-p", "8080:80", root(), "true"]);
}

#[test]
fn ports_are_shown_as_docker_shows_them() {
    let Some(host) = Host::new("ports_are_shown_as_docker_shows_them", "") else { return };
    let flags = ["-p", "8080:80", "-p", "127.0.0.1:53:53/udp", "-p", "9000-9001:9000-9001", "--expose", "443"];
    let _one = detached(&host, "one", &flags, "exec sleep 600");
    let lines = "53/udp -> 127.0.0.1:53\n80/tcp -> 0.0.0.0:8080\n9000/tcp -> 0.0.0.0:9000\n9001/tcp -> 0.0.0.0:9001\n";
    assert_eq!(ok(&host, &["port", "one"]), lines);
    assert_eq!(ok(&host, &["port", "one", "80"]), "0.0.0.0:8080\n");
    assert_eq!(ok(&host, &["container", "port", "one", "53/udp"]), "127.0.0.1:53\n");
    assert!(fails(&host, 1, &["port", "one", "53"]).contains("no public port \"53/tcp\" published for one"));
    let listed = "443/tcp, 127.0.0.1:53->53/udp, 0.0.0.0:9000-9001->9000-9001/tcp, 0.0.0.0:8080->80/tcp\n";
    assert_eq!(
        ok(&host, &["ps", "--format", "{{.Ports}}"]),
        listed.replace("443/tcp, 127.0.0.1:53->53/udp", "127.0.0.1:53->53/udp, 443/tcp")
    );
    for (filters, is_shown) in [
        (&["publish=8080"][..], true),
        (&["publish=8000-8999/tcp"], true),
        (&["publish=80"], false),
        (&["publish=53"], false),
        (&["publish=53/udp"], true),
        (&["expose=80"], true),
        (&["expose=443/tcp"], true),
        (&["expose=8080"], false),
        (&["publish=1", "expose=80"], true),
    ] {
        let flags: Vec<String> = filters.iter().map(|filter| format!("--filter={filter}")).collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        assert_eq!(!ok(&host, &[&["ps", "-q"], &flags[..]].concat()).is_empty(), is_shown, "{filters:?}");
    }
    let place = |ip: &str, port: &str| json!({ "HostIp": ip, "HostPort": port });
    for (pointer, expected) in [
        (
            "/NetworkSettings/Ports",
            json!({
                "443/tcp": null,
                "53/udp": [place("127.0.0.1", "53")],
                "80/tcp": [place("0.0.0.0", "8080")],
                "9000/tcp": [place("0.0.0.0", "9000")],
                "9001/tcp": [place("0.0.0.0", "9001")],
            }),
        ),
        (
            "/HostConfig/PortBindings",
            json!({
                "53/udp": [place("127.0.0.1", "53")],
                "80/tcp": [place("", "8080")],
                "9000/tcp": [place("", "9000")],
                "9001/tcp": [place("", "9001")],
            }),
        ),
        ("/HostConfig/PublishAllPorts", json!(false)),
        ("/Config/ExposedPorts", json!({ "443/tcp": {}, "53/udp": {}, "80/tcp": {}, "9000/tcp": {}, "9001/tcp": {} })),
    ] {
        assert_eq!(inspected(&host, "one", pointer), expected, "{pointer}");
    }
    ok(&host, &["stop", "-t", "0", "one"]);
    assert_eq!(ok(&host, &["port", "one"]), "");
    assert_eq!(ok(&host, &["ps", "-a", "--format", "{{.Ports}}"]), "\n");
    assert_eq!(inspected(&host, "one", "/NetworkSettings/Ports"), json!({}));
    ok(&host, &["rm", "one"]);
}

#[test]
fn any_port_is_a_new_one_at_each_start() {
    let Some(host) = Host::new("any_port_is_a_new_one_at_each_start", "") else { return };
    let _one = detached(&host, "one", &["-p", "80", "-p", "127.0.0.1::81/udp", "-p", "8000-8003:82"], SERVE_ON);
    let _two = detached(&host, "two", &["-p", "8000-8003:82"], "exec sleep 600");
    assert_eq!(ok(&host, &["port", "one", "82"]), "0.0.0.0:8000\n");
    assert_eq!(ok(&host, &["port", "two"]), "82/tcp -> 0.0.0.0:8001\n");
    assert_eq!(inspected(&host, "two", "/HostConfig/PortBindings/82~1tcp/0/HostPort"), "8000-8003");
    assert_eq!(inspected(&host, "one", "/HostConfig/PortBindings/80~1tcp/0/HostPort"), "");
    let port = || -> u16 {
        let said = ok(&host, &["port", "one", "80"]);
        said.trim_end().strip_prefix("0.0.0.0:").and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("{said}"))
    };
    let mut ports = vec![port()];
    assert!(ok(&host, &["port", "one", "81/udp"]).starts_with("127.0.0.1:"));
    for verb in [&["restart", "-t", "0", "one"][..], &["stop", "-t", "0", "one"], &["start", "one"]] {
        ok(&host, verb);
        if verb[0] != "stop" {
            ports.push(port());
        }
    }
    assert!(ports.iter().all(|port| *port >= 32768) && ports.iter().any(|port| *port != ports[0]), "{ports:?}");
    assert!(wait_until(5, || page(&host, "127.0.0.1", *ports.last().unwrap())), "{ports:?}");
    assert!(!page(&host, "127.0.0.1", ports[1]), "{ports:?}");
    ok(&host, &["rm", "-f", "one", "two"]);
}

#[test]
fn all_ports_of_an_image_are_published() {
    let Some(host) = Host::new("all_ports_of_an_image_are_published", "") else { return };
    let import = format!("tar -C {} -c . | {} import --change 'EXPOSE 80 53/udp' - listens", root(), tool());
    host.sh(&import);
    let _guards = [Detached(&host, "one"), Detached(&host, "two")];
    let words = ["run", "-d", "--name", "one", "-P", "-p", "8080:80", "--expose", "9000", "listens", "sleep", "600"];
    ok(&host, &words);
    let said = ok(&host, &["port", "one"]);
    let places: Vec<&str> = said.lines().map(|line| line.rsplit_once(':').unwrap().0).collect();
    assert_eq!(places, ["53/udp -> 0.0.0.0", "80/tcp -> 0.0.0.0", "9000/tcp -> 0.0.0.0"], "{said}");
    assert!(said.contains("80/tcp -> 0.0.0.0:8080\n"), "{said}");
    assert_eq!(inspected(&host, "one", "/HostConfig/PublishAllPorts"), true);
    ok(&host, &["rm", "-f", "one"]);
    ok(&host, &["run", "-d", "--name", "two", "listens", "sleep", "600"]);
    assert_eq!(ok(&host, &["ps", "--format", "{{.Ports}}"]), "53/udp, 80/tcp\n", "none is published unasked");
    assert_eq!(ok(&host, &["port", "two"]), "");
    ok(&host, &["rm", "-f", "two"]);
    ok(&host, &["rmi", "listens"]);
}

#[test]
fn without_a_network_of_its_own_nothing_is_published_and_that_is_said() {
    let Some(host) = Host::new("without_a_network_of_its_own_nothing_is_published_and_that_is_said", "") else {
        return;
    };
    for (network, said) in [("none", "with --network none nobody"), ("host", "with --network host the container")] {
        for ports in [&["-p", "8080:80"][..], &["-P"]] {
            let output = host.run(&[ports, &["--network", network, root(), "true"]].concat());
            assert!(output.status.success() && stderr(&output).contains(said), "{network}: {}", stderr(&output));
        }
        let output = host.run(&["--network", network, root(), "true"]);
        assert_eq!(stderr(&output), "", "{network}");
    }
}

#[test]
fn what_a_killed_tool_published_goes_with_the_next_command() {
    let Some(host) = Host::new("what_a_killed_tool_published_goes_with_the_next_command", "") else { return };
    let guest = host.start(&["-p", "8080:80"], "exec sleep 600");
    let _two = detached(&host, "two", &["-p", "8081:80"], "exec sleep 600");
    let id = ok(&host, &["ps", "-q", "--no-trunc", "--filter", "name=two"]);
    let record = format!("/run/mycontainer/containers/{}", id.trim());
    let monitor = host.sh(&format!("grep -o '\"tool_pid\":[0-9]*' {record} | tail -n 1 | cut -d: -f2"));
    kill("KILL", guest.tool.id());
    kill("KILL", monitor.trim().parse().unwrap());
    // Their ports are free at once, and nothing of them is in the way.
    for port in ["8080:80", "8081:80"] {
        assert!(wait_until(5, || host.run(&["-p", port, root(), "true"]).status.success()), "{port}");
    }
    let ports =
        host.sh("ls -A /run/mycontainer/network/ports 2>/dev/null || true; nft list ruleset | grep 808 || true");
    assert_eq!(ports, "");
    ok(&host, &["rm", "two"]);
}

#[test]
fn flushed_rules_come_back_by_network_reload() {
    let Some(host) = Host::new("flushed_rules_come_back_by_network_reload", "") else { return };
    assert_eq!(ok(&host, &["network", "reload"]), "");
    let mut guest = host.start(&["-p", "8080:80"], SERVE);
    assert!(wait_until(5, || page(&host, "127.0.0.1", 8080)));
    host.sh("nft flush ruleset");
    assert!(!page(&host, "127.0.0.1", 8080));
    for _ in 0..2 {
        assert_eq!(ok(&host, &["network", "reload"]), "");
        assert!(page(&host, "127.0.0.1", 8080));
    }
    guest.end_ok();
}

#[test]
fn a_container_without_published_ports_costs_nothing_for_them() {
    let Some(host) = Host::new("a_container_without_published_ports_costs_nothing_for_them", "") else { return };
    let told = |flags: &[&str]| {
        let output = host.run(&[&["--explain"], flags, &[root(), "true"]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        stderr(&output)
    };
    let mut guest = host.start(&["-p", "8080:80"], "read x; true");
    let plain = told(&[]);
    let publishing = told(&["-p", "8081:80"]);
    for step in ["claim-ports", "publish-ports", "withdraw-ports"] {
        assert!(!plain.contains(step) && publishing.contains(step), "{step}: {publishing}");
    }
    // What is published by the one is no change of the rules for the next.
    assert!(!told(&[]).contains("install-rules"), "they are known to be in place");
    guest.end_ok();
}
