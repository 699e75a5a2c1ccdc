//! Servers and clients as people have them, on networks that were made: nginx, Redis, curl, dig and glibc's resolver, all of
//! this machine, in views of it.
//!
//! Each test has a host of its own (see `common/host.rs`), which must be at the end as it was before.

use crate::common::host::{Host, Place};
use crate::common::{Scratch, busybox_root, need, stderr, stdout, tool, wait_until};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Answers every question on IPv4 and IPv6, and writes down who asked.
const NGINX: &str = "user root; daemon off; pid /tmp/nginx.pid; error_log stderr; events {}
    http {
        log_format who '$remote_addr $request_uri'; access_log /srv/log who; keepalive_timeout 600;
        server { listen 80; listen [::]:80; location / { return 200 'a page\n'; } }
    }";
const REDIS: &[&str] = &["redis-server", "--protected-mode", "no", "--save", "", "--dir", "/tmp"];

/// A host with servers to be had; `None` where a test cannot run.
fn host(test: &str, setup: &str) -> Option<Host> {
    has_servers(test).then(|| Host::new(test, setup)).flatten()
}

fn has_servers(test: &str) -> bool {
    let has = |program: &str| Command::new(program).arg("-v").output().is_ok();
    let all = ["nginx", "redis-server", "redis-cli", "curl", "dig", "dnsmasq", "python3"];
    need(test, all.into_iter().all(has), "it needs nginx, Redis, curl, dig, dnsmasq and Python")
}

/// A container in the background, which goes with the test, however that ends.
struct Detached<'a>(&'a Host, String);

impl Drop for Detached<'_> {
    fn drop(&mut self) {
        let _ = self.0.ours(&["rm", "-f", &self.1]);
    }
}

#[must_use]
fn detached<'a>(host: &'a Host, name: &str, flags: &[&str], root_and_command: &[&str]) -> Detached<'a> {
    let guard = Detached(host, name.to_owned());
    host.ours_ok(&[&["run", "-d", "--name", name], flags, root_and_command].concat());
    guard
}

/// An nginx, which answers by now. Its log is `log` in the directory.
#[must_use]
fn nginx<'a>(host: &'a Host, name: &str, flags: &[&str], dir: &Scratch) -> Detached<'a> {
    std::fs::write(dir.0.join("nginx.conf"), NGINX).unwrap();
    let volume = format!("{}:/srv", dir.0.display());
    let own = ["-v", &volume, "--tmpfs", "/var/lib/nginx"];
    let guard = detached(host, name, &[&own, flags].concat(), &["host", "nginx", "-c", "/srv/nginx.conf"]);
    until_it_says(host, &["exec", name, "curl", "-s", "http://127.0.0.1/ready"], "a page\n");
    guard
}

#[must_use]
fn redis<'a>(host: &'a Host, name: &str, flags: &[&str]) -> Detached<'a> {
    let guard = detached(host, name, flags, &[&["host"], REDIS].concat());
    until_it_says(host, &["exec", name, "redis-cli", "ping"], "PONG\n");
    guard
}

#[track_caller]
fn until_it_says(host: &Host, words: &[&str], expected: &str) {
    assert!(wait_until(10, || stdout(&host.ours(words)) == expected), "{words:?} does not say {expected}");
}

/// A client in a container of its own on a network, to its end.
fn on(host: &Host, network: &str, words: &[&str]) -> Output {
    host.run(&[&["--network", network, "host"], words].concat())
}

/// As [`on`]: its exit code and standard output.
fn said(host: &Host, network: &str, words: &[&str]) -> (Option<i32>, String) {
    let output = on(host, network, words);
    (output.status.code(), stdout(&output))
}

fn address(host: &Host, name: &str, network: &str) -> String {
    let format = format!("{{{{.NetworkSettings.Networks.{network}.IPAddress}}}}");
    host.ours_ok(&["inspect", "-f", &format, name]).trim().to_owned()
}

fn create(host: &Host, names: &[&str]) {
    for name in names {
        host.ours_ok(&["network", "create", name]);
    }
}

const FETCH: [&str; 4] = ["curl", "-s", "-m", "3"];

/// The page at a URL, as a place sees it.
fn fetched(from: &Place, url: &str) -> String {
    stdout(&from.command("curl", &["-g", "-s", "-m", "3", url]).output().unwrap())
}

#[test]
fn servers_are_found_on_their_networks_and_nowhere_else() {
    let Some(host) = host("servers_are_found_on_their_networks_and_nowhere_else", "") else { return };
    create(&host, &["front", "back"]);
    let dir = Scratch::new("nginx");
    let _web = nginx(&host, "web", &["--network", "front"], &dir);
    let _db = redis(&host, "db", &["--network", "front"]);
    let at = address(&host, "db", "front");
    let found = (Some(0), "a page\n".to_owned());
    assert_eq!(said(&host, "front", &[&FETCH[..], &["http://web/"]].concat()), found);
    assert_eq!(said(&host, "front", &["redis-cli", "-h", "db", "set", "key", "value"]).1, "OK\n");
    let ask = "getent ahostsv4 DB | cut -d' ' -f1 | sort -u; dig +short db; dig +short +tcp db; dig +short db AAAA; dig +short -x $(dig +short db)";
    assert_eq!(
        said(&host, "front", &["sh", "-c", ask]).1,
        format!("{at}\n{at}\n{at}\ndb.front.\n").replace("db.front.", "db.")
    );
    // 6: no such name; 28: nobody answers.
    let web = format!("http://{}/", address(&host, "web", "front"));
    assert_eq!(said(&host, "back", &[&FETCH[..], &["http://web/"]].concat()).0, Some(6));
    assert_eq!(said(&host, "back", &[&FETCH[..], &[&web]].concat()).0, Some(28));
    assert_eq!(said(&host, "back", &["getent", "hosts", "db"]), (Some(2), String::new()));

    host.ours_ok(&["network", "connect", "--alias", "cache", "back", "db"]);
    for name in ["cache", "db"] {
        assert_eq!(said(&host, "back", &["redis-cli", "-h", name, "get", "key"]).1, "value\n", "{name} of back");
    }
    assert_eq!(said(&host, "front", &["getent", "hosts", "cache"]).0, Some(2), "an alias is one network's");
    assert_eq!(said(&host, "back", &["dig", "+short", "db"]).1.trim(), address(&host, "db", "back"));
    host.ours_ok(&["network", "disconnect", "back", "db"]);
    assert_eq!(said(&host, "back", &["getent", "hosts", "db"]).0, Some(2));
    assert_eq!(said(&host, "front", &["redis-cli", "-h", "db", "get", "key"]).1, "value\n");
}

#[test]
fn a_published_server_sees_who_asks() {
    let test = "a_published_server_sees_who_asks";
    let Some(host) = has_servers(test).then(|| Host::with_outside(test, "")).flatten() else { return };
    host.sh("ip -6 addr add 2001:db8::2/64 dev up0 nodad");
    // Where bridges ask the firewall, the kernel drops what comes back to ::1.
    host.sh("sysctl -q -w net.bridge.bridge-nf-call-ip6tables=0 2>&1 || true");
    host.outside().sh("ip -6 addr add 2001:db8::9/64 dev out0 nodad");
    host.ours_ok(&["network", "create", "--ipv6", "--subnet", "fd00:9::/64", "six"]);
    let dir = Scratch::new("nginx");
    let _web = nginx(&host, "web", &["--network", "six", "-p", "8080:80"], &dir);
    assert_eq!(host.ours_ok(&["ps", "--format", "{{.Ports}}"]), "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp\n");
    for (place, url) in [
        (&*host, "http://127.0.0.1:8080/host"),
        (&host, "http://[::1]:8080/host"),
        (&host, "http://203.0.113.2:8080/host"),
        (&host, "http://[2001:db8::2]:8080/host"),
        (host.outside(), "http://203.0.113.2:8080/outside4"),
        (host.outside(), "http://[2001:db8::2]:8080/outside6"),
    ] {
        assert_eq!(fetched(place, url), "a page\n", "{url}");
    }
    let asked = [&FETCH[..], &["-g", "http://[fd00:9::2]/inside", "http://web/inside"]].concat();
    assert_eq!(said(&host, "six", &asked).1, "a page\na page\n");
    let log = std::fs::read_to_string(dir.0.join("log")).unwrap();
    for line in ["203.0.113.9 /outside4", "2001:db8::9 /outside6", "fd00:9::3 /inside"] {
        assert!(log.lines().any(|logged| logged == line), "{line} in {log}");
    }
    host.ours_ok(&["stop", "-t", "3", "web"]);
    assert_eq!(fetched(host.outside(), "http://203.0.113.2:8080/"), "");
}

/// A client that keeps its connection: it fetches a page a line that it reads.
struct Keeping {
    client: Child,
    lines: ChildStdin,
    answers: BufReader<ChildStdout>,
}

const KEEPING: &str = "
import http.client, sys
one = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=5)
one.connect()
one.auto_open = 0
for line in sys.stdin:
    one.request('GET', '/kept')
    print(one.getresponse().read().decode().strip(), *one.sock.getsockname()[:2], flush=True)
";

impl Keeping {
    fn start(mut command: Command) -> Keeping {
        let mut client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (lines, answers) = (client.stdin.take().unwrap(), BufReader::new(client.stdout.take().unwrap()));
        Keeping { client, lines, answers }
    }

    /// The page, and the client's end of the connection.
    fn fetch(&mut self) -> String {
        writeln!(self.lines, "once more").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

#[test]
fn connections_live_on_when_their_server_joins_another_network() {
    let test = "connections_live_on_when_their_server_joins_another_network";
    let Some(host) = has_servers(test).then(|| Host::with_outside(test, "")).flatten() else { return };
    create(&host, &["one", "two"]);
    let dir = Scratch::new("nginx");
    let _web = nginx(&host, "web", &["--network", "one", "-p", "8080:80"], &dir);
    let inside = ["run", "--rm", "-i", "--network", "one", "host", "python3", "-c", KEEPING, "web", "80"];
    let mut clients = [
        Keeping::start(host.command(tool(), &inside)),
        Keeping::start(host.command("python3", &["-c", KEEPING, "127.0.0.1", "8080"])),
        Keeping::start(host.outside().command("python3", &["-c", KEEPING, "203.0.113.2", "8080"])),
    ];
    let before = clients.each_mut().map(Keeping::fetch);
    assert!(before.iter().all(|line| line.starts_with("a page ")), "{before:?}");
    for (verb, network) in [("connect", "two"), ("disconnect", "two"), ("connect", "bridge")] {
        host.ours_ok(&["network", verb, network, "web"]);
        assert_eq!(clients.each_mut().map(Keeping::fetch), before, "after {verb} {network}");
    }
}

/// Words for a dnsmasq that knows one name.
fn knows<'a>(listen: &'a str, name: &'a str) -> [&'a str; 9] {
    let fixed = ["-k", "--conf-file=/dev/null", "--port=53", "--bind-interfaces", "--no-resolv", "--no-hosts"];
    let [k, conf, port, bind, resolv, hosts] = fixed;
    [k, conf, port, bind, resolv, hosts, "--pid-file=", listen, name]
}

#[test]
fn other_names_are_asked_where_the_host_asks() {
    let test = "other_names_are_asked_where_the_host_asks";
    if !has_servers(test) {
        return;
    }
    let dir = Scratch::new("resolv");
    // What is sent to 192.0.2.0/24 is lost, and nobody says so.
    let lost = "ip link add lost type veth peer name nowhere; ip link set lost up; ip link set nowhere up; ip route add 192.0.2.0/24 dev lost
                ip neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev lost; ip addr add 10.77.0.1/32 dev lo";
    for (servers, patience) in [("nameserver 127.0.0.1\n", 2), ("nameserver 192.0.2.1\nnameserver 127.0.0.1\n", 6)] {
        let file = dir.file("resolv.conf", format!("{servers}search lan.test\n"), 0o644);
        let Some(host) = Host::new(test, &format!("mount --bind {file} /etc/resolv.conf; {lost}")) else { return };
        let words = [&knows("--listen-address=127.0.0.1", "--address=/lan.test/198.51.100.7")[..], &["--user=root"]];
        let _dnsmasq = host.serve("dnsmasq", &words.concat(), "127.0.0.1", 53);
        let words = [&knows("--listen-address=10.77.0.1", "--address=/other.test/198.51.100.8")[..], &["--user=root"]];
        let _other = host.serve("dnsmasq", &words.concat(), "10.77.0.1", 53);
        create(&host, &["net"]);
        host.ours_ok(&["network", "create", "--internal", "inside"]);
        let _web = detached(&host, "web", &["--network", "net", "--network", "inside"], &["host", "sleep", "600"]);
        let began = Instant::now();
        for ask in ["dig +short www.lan.test", "getent ahostsv4 www | head -1 | cut -d' ' -f1"] {
            assert_eq!(said(&host, "net", &["sh", "-c", ask]).1, "198.51.100.7\n", "{ask}, {servers}");
        }
        assert!(began.elapsed() < Duration::from_secs(patience), "{:?} with {servers}", began.elapsed());
        // Names of its own cost nothing of that.
        let began = Instant::now();
        assert_eq!(said(&host, "net", &["dig", "+short", "web"]).1.trim(), address(&host, "web", "net"));
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        let own =
            host.run_ok(&["--network", "net", "--dns", "10.77.0.1", "host", "dig", "+short", "www.other.test", "web"]);
        assert_eq!(own, format!("198.51.100.8\n{}\n", address(&host, "web", "net")), "by --dns");
        let inside = said(&host, "inside", &["dig", "+short", "+tries=1", "+time=3", "www.lan.test", "web"]).1;
        assert_eq!(inside.trim(), address(&host, "web", "inside"), "an internal network asks nobody");
    }
}

#[test]
fn a_pod_of_a_server_and_its_client() {
    let Some(host) = host("a_pod_of_a_server_and_its_client", "") else { return };
    create(&host, &["net"]);
    let dir = Scratch::new("nginx");
    host.ours_ok(&["pod", "create", "--name", "site", "--network", "net", "-p", "8080:80"]);
    let _web = nginx(&host, "server", &["--pod", "site"], &dir);
    let _db = redis(&host, "store", &["--pod", "site"]);
    let asked = "curl -s http://127.0.0.1/; redis-cli set key value; redis-cli get key";
    assert_eq!(host.run_ok(&["--pod", "site", "host", "sh", "-c", asked]), "a page\nOK\nvalue\n");
    assert_eq!(fetched(&host, "http://127.0.0.1:8080/"), "a page\n");
    assert_eq!(
        said(&host, "net", &[&FETCH[..], &["http://site/"]].concat()).1,
        "a page\n",
        "a pod is found by its name"
    );
    host.ours_ok(&["pod", "rm", "-f", "site"]);
    assert_eq!(fetched(&host, "http://127.0.0.1:8080/"), "");
}

#[test]
fn many_that_are_started_at_once_find_each_other() {
    const MANY: usize = 40;
    let Some(host) = host("many_that_are_started_at_once_find_each_other", "") else { return };
    host.ours_ok(&["network", "create", "--subnet", "10.9.0.0/26", "net"]);
    let root = busybox_root().to_str().unwrap();
    let names: Vec<String> = (0..MANY).map(|nth| format!("c{nth}")).collect();
    let _all: Vec<_> = names.iter().map(|name| Detached(&host, name.clone())).collect();
    let start = |name: &String| {
        let words = ["run", "-d", "--ephemeral", "--name", name, "--network", "net", root, "sleep", "600"];
        let output = host.ours(&words);
        assert!(output.status.success(), "{name}: {}", stderr(&output));
    };
    std::thread::scope(|scope| {
        let eighth = |nth: usize| names.iter().skip(nth).step_by(8).for_each(start);
        (0..8).for_each(|nth| drop(scope.spawn(move || eighth(nth))));
    });
    let mut addresses: Vec<String> = names.iter().map(|name| address(&host, name, "net")).collect();
    let expected = addresses.join("\n");
    // Each asks for all, by one process that has its network and this machine's programs.
    for name in &names {
        let network = format!("container:{name}");
        let asked = [
            &["--network", &network, "host", "dig", "+short"][..],
            &names.iter().map(String::as_str).collect::<Vec<_>>(),
        ];
        assert_eq!(host.run_ok(&asked.concat()).trim(), expected, "as {name} sees it");
    }
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), MANY);
}
