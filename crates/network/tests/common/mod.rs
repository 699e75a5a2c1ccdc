//! A host for a test: a network namespace of its own, and processes that stand for containers.
//!
//! Everything a test makes lives in namespaces that end with it. The judges are `ip`, `nft`, `iptables`, `ping`, `dig`.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod nets;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A process that sleeps in a network namespace of its own.
pub(crate) struct Namespace(Child);

impl Namespace {
    pub(crate) fn new() -> Namespace {
        let child = Command::new("unshare").args(["--net", "sleep", "600"]).spawn().expect("unshare");
        let namespace = Namespace(child);
        let ours = std::fs::read_link("/proc/self/ns/net").unwrap();
        until("a process in its own network namespace", || {
            std::fs::read_link(namespace.netns()).is_ok_and(|theirs| theirs != ours)
                && std::fs::read_to_string(format!("/proc/{}/comm", namespace.pid()))
                    .is_ok_and(|name| name == "sleep\n")
        });
        namespace
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn netns(&self) -> String {
        format!("/proc/{}/ns/net", self.pid())
    }

    /// A shell command inside.
    pub(crate) fn command(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.netns())).args(["sh", "-c", script]).stdin(Stdio::null());
        command
    }

    /// Runs it and returns what it says; it must succeed.
    pub(crate) fn sh(&self, script: &str) -> String {
        let output = self.command(script).output().expect("nsenter");
        assert!(output.status.success(), "{script}: {}", both(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// True when it succeeds.
    pub(crate) fn can(&self, script: &str) -> bool {
        self.command(script).output().expect("nsenter").status.success()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A host with a run directory.
pub(crate) struct Host {
    pub(crate) ns: Namespace,
    pub(crate) dir: PathBuf,
}

impl Host {
    /// `None`, with a word why, when this machine does not let us make one.
    pub(crate) fn new() -> Option<Host> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: it needs root to make network namespaces");
            return None;
        }
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("mycontainer-network-{}-{nth}", std::process::id()));
        let ns = Namespace::new();
        ns.sh("ip link set lo up");
        Some(Host { ns, dir })
    }

    /// The probe, as a command inside this host.
    pub(crate) fn probe(&self, words: &str) -> Command {
        let program = std::env::current_exe().unwrap();
        let program = program.parent().unwrap().with_file_name("examples").join("netprobe");
        let (verb, rest) = words.split_once(' ').unwrap_or((words, ""));
        self.ns.command(&format!("exec {} {verb} {} {rest}", program.display(), self.dir.display()))
    }

    /// Runs the probe, which must succeed.
    pub(crate) fn ok(&self, words: &str) -> String {
        let output = self.probe(words).output().unwrap();
        assert!(output.status.success(), "netprobe {words}: {}", both(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs the probe, which must fail, and returns what it says.
    pub(crate) fn fails(&self, words: &str) -> String {
        let output = self.probe(words).output().unwrap();
        assert!(!output.status.success(), "netprobe {words} should fail: {}", both(&output));
        both(&output)
    }

    /// Starts a container; returns its namespace and address.
    pub(crate) fn container(&self, nth: u32) -> (Namespace, String) {
        self.container_resolving(nth, "nameserver 192.0.2.53").0
    }

    /// Starts a container on a host with this resolv.conf; returns also the container's.
    pub(crate) fn container_resolving(&self, nth: u32, resolv_conf: &str) -> ((Namespace, String), String) {
        let file = self.dir.with_extension("resolv.conf");
        std::fs::write(&file, resolv_conf).unwrap();
        let ns = Namespace::new();
        let said = self.ok(&format!("start {} {} {} {}", id(nth), ns.netns(), ns.pid(), file.display()));
        let (first, resolv_conf) = said.split_once('\n').unwrap();
        let address = first.split(' ').next().unwrap().to_owned();
        ((ns, address), resolv_conf.to_owned())
    }

    /// Starts a container that publishes ports, held by a process of its own; the wishes are the probe's.
    pub(crate) fn publishing(&self, nth: u32, wishes: &str) -> Publishing {
        let ns = Namespace::new();
        let holder = self.holder(nth, &ns, wishes);
        Publishing::of(ns, holder)
    }

    /// The process that holds such a container, as it begins.
    pub(crate) fn holder(&self, nth: u32, ns: &Namespace, wishes: &str) -> Child {
        let mut command = self.probe(&format!("hold {} {} {wishes}", id(nth), ns.netns()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// Joins the host to an outside machine: 192.0.2.2 here, 192.0.2.9 there. The outside knows no way to containers.
    pub(crate) fn outside(&self, mtu: u32) -> Namespace {
        let outside = Namespace::new();
        let other = outside.pid();
        self.ns.sh(&format!("ip link add up0 mtu {mtu} type veth peer name out0 mtu {mtu} netns {other}"));
        self.ns.sh("ip address add 192.0.2.2/24 dev up0 && ip link set up0 up && ip route add default via 192.0.2.9");
        outside.sh("ip address add 192.0.2.9/24 dev out0 && ip link set out0 up && ip link set lo up");
        outside
    }

    pub(crate) fn has_bridge(&self) -> bool {
        self.ns.can("ip link show mycontainer0")
    }

    /// Waits until nothing is left of the network.
    pub(crate) fn until_gone(&self) {
        until("the network to be gone", || !self.has_bridge() && !self.dir.join("leases").exists());
        assert!(!self.ns.can("nft list table inet mycontainer"), "the table is left");
        assert!(!self.ns.sh("nft list ruleset").contains("mycontainer"), "a rule is left");
        assert!(!self.ns.sh("ip -br link").contains("\nmc"), "a link is left");
    }

    /// The leases that stand in the file.
    pub(crate) fn leases(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.join("leases")).unwrap_or_default();
        text.lines().skip(1).map(|line| line.trim_end().to_owned()).filter(|line| line != "free").collect()
    }
}

/// A container that publishes ports.
pub(crate) struct Publishing {
    pub(crate) ns: Namespace,
    pub(crate) holder: Child,
    /// What it publishes: `tcp 0.0.0.0:8080 172.17.0.2:80`.
    pub(crate) ports: Vec<String>,
}

impl Publishing {
    /// That of a process which holds a container and will say that it is ready.
    pub(crate) fn of(ns: Namespace, mut holder: Child) -> Publishing {
        let mut said = BufReader::new(holder.stdout.take().unwrap());
        let mut ports = Vec::new();
        loop {
            let mut line = String::new();
            assert!(said.read_line(&mut line).unwrap() > 0, "the holder ended: {ports:?}");
            match line.trim_end() {
                "ready" => return Publishing { ns, holder, ports },
                port => ports.push(port.to_owned()),
            }
        }
    }

    /// Its address.
    pub(crate) fn address(&self) -> &str {
        let last = self.ports[0].split(' ').nth(2).unwrap();
        last.split(':').next().unwrap()
    }

    /// The ports of the host.
    pub(crate) fn host_ports(&self) -> Vec<u16> {
        let port = |line: &String| line.split(' ').nth(1)?.rsplit(':').next()?.parse().ok();
        self.ports.iter().map(|line| port(line).unwrap()).collect()
    }

    /// Starts a TCP server in it that says what its clients' addresses are.
    pub(crate) fn serve(&self, port: u16) -> Server {
        serve(&self.ns, self.address(), port)
    }

    /// Ends it in good order.
    pub(crate) fn end(mut self) {
        drop(self.holder.stdin.take());
        assert!(self.holder.wait().unwrap().success());
    }
}

impl Drop for Publishing {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A server that ends with the test.
pub(crate) struct Server(pub(crate) Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Servers of TCP and UDP on all addresses of a namespace, which answer whom they see: `from ADDRESS`.
pub(crate) fn serve(ns: &Namespace, address: &str, port: u16) -> Server {
    let script = format!(
        "exec python3 -c '
import socket, threading
def answers(u):
    while True:
        _, who = u.recvfrom(99); u.sendto(b\"from \" + who[0].encode(), who)
def serves(t):
    while True:
        c, who = t.accept(); c.sendall(b\"from \" + who[0].encode()); c.close()
for family in (socket.AF_INET6, socket.AF_INET):
    t, u = socket.socket(family), socket.socket(family, socket.SOCK_DGRAM)
    t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        for s in (t, u): s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    for s in (t, u): s.bind((\"\", {port}))
    t.listen()
    for act, s in ((serves, t), (answers, u)): threading.Thread(target=act, args=(s,), daemon=True).start()
threading.Event().wait()
'"
    );
    let server = Server(ns.command(&script).spawn().unwrap());
    until("the server", || ns.can(&format!("nc -z {address} {port}")));
    server
}

/// What such a server says to a client in this namespace; nothing when it cannot be reached.
pub(crate) fn ask(from: &Namespace, protocol: &str, to: &str, port: u16) -> Option<String> {
    let script = match protocol {
        "tcp" => format!("nc -w1 {to} {port} </dev/null"),
        _ => format!("echo x | nc -u -w1 {to} {port}"),
    };
    let output = from.command(&script).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.strip_prefix("from ").map(str::to_owned)
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
        let _ = std::fs::remove_file(self.dir.with_extension("resolv.conf"));
    }
}

/// A container's id; the links are named by its beginning.
pub(crate) fn id(nth: u32) -> String {
    format!("{nth:012x}{:052}", 0)
}

pub(crate) fn both(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{} {}{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// Waits for something that must happen, for at most ten seconds; where processors are emulated, for more.
pub(crate) fn until(what: &str, happened: impl Fn() -> bool) {
    let patience = if std::env::var_os("MYCONTAINER_VM").is_some() { 120 } else { 10 };
    let end = Instant::now() + Duration::from_secs(patience);
    while !happened() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
