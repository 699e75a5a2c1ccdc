//! A host with two networks for a test, in namespaces of its own: bridges, containers, servers of names, and servers
//! upstream that behave as a test wants. The judges are `dig` and the C libraries.
//!
//! Network A is 10.1.0.0/16 and fd00:a::/64, B is 10.2.0.0/16; the host is .1 on each.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

pub mod upstream;

use names::{Entry, Names};
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub const A: &str = "aaaaaaaaaaaa";
pub const B: &str = "bbbbbbbbbbbb";

/// A process that sleeps in namespaces of its own, for the network and for mounts, and how often it was told how to
/// resolve names.
pub struct Namespace(Child, AtomicU32);

impl Namespace {
    pub fn new() -> Namespace {
        let script = ["--net", "--mount", "sh", "-c", "ip link set lo up && exec sleep 600"];
        let child = Command::new("unshare").args(script).spawn().expect("unshare");
        let namespace = Namespace(child, AtomicU32::new(0));
        until("a process in its own namespaces", || {
            std::fs::read_to_string(format!("/proc/{}/comm", namespace.pid())).is_ok_and(|name| name == "sleep\n")
        });
        namespace
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// A shell command inside.
    pub fn command(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        let [net, mount] = ["net", "mnt"].map(|kind| format!("/proc/{}/ns/{kind}", self.pid()));
        command.args([format!("--net={net}"), format!("--mount={mount}")]);
        command.args(["sh", "-c", script]).stdin(Stdio::null());
        command
    }

    /// Runs it and returns what it says; it must succeed.
    pub fn sh(&self, script: &str) -> String {
        let output = self.command(script).output().expect("nsenter");
        assert!(output.status.success(), "{script}: {}", both(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Does something in its network namespace, such as to make sockets.
    pub fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
        let ns = std::fs::File::open(format!("/proc/{}/ns/net", self.pid())).unwrap();
        let there = || {
            move_into_link_name_space(ns.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            act()
        };
        // A thread that ends there.
        std::thread::scope(|scope| scope.spawn(there).join().unwrap())
    }

    /// Its /etc/resolv.conf from now on; what is mounted goes with the namespace.
    pub fn resolve_by(&self, text: &str) {
        let nth = self.1.fetch_add(1, Ordering::Relaxed);
        let file = self.resolv_conf(nth);
        std::fs::write(&file, text).unwrap();
        self.sh(&format!("mount --make-rprivate / && mount --bind {} /etc/resolv.conf", file.display()));
    }

    fn resolv_conf(&self, nth: u32) -> PathBuf {
        std::env::temp_dir().join(format!("mycontainer-names-resolv-{}-{nth}", self.pid()))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        for nth in 0..self.1.load(Ordering::Relaxed) {
            let _ = std::fs::remove_file(self.resolv_conf(nth));
        }
    }
}

/// A host.
pub struct Host {
    pub ns: Namespace,
    pub dir: PathBuf,
    pub names: Names,
}

impl Host {
    /// `None`, with a word why, when this machine does not let us make one.
    pub fn new() -> Option<Host> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !need(rustix::process::geteuid().is_root(), "it needs root to make network namespaces") {
            return None;
        }
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("mycontainer-names-net-{}-{nth}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let run_dir = std::fs::File::open(&dir).unwrap();
        let names = Names::open(run_dir.as_fd(), &dir, true).unwrap().unwrap();
        let ns = Namespace::new();
        ns.sh("for n in 1 2; do ip link add br$n type bridge && ip addr add 10.$n.0.1/16 dev br$n && \
               ip link set br$n up; done; ip addr add fd00:a::1/64 dev br1 nodad");
        Some(Host { ns, dir, names })
    }

    /// A container with these names on A.
    pub fn on_a(&self, nth: u8, names: &str) -> Container<'_> {
        let container = Container { host: self, ns: Namespace::new(), nth };
        container.join(1, names);
        container
    }

    /// Writes down a container that nobody has seen.
    pub fn write(&self, network: &str, nth: u8, v4: [u8; 4], names: &str) {
        let names = names.split_whitespace().map(str::to_owned).collect();
        self.names.write(network, &id(nth), &Entry { v4: v4.into(), v6: None, names, servers: Vec::new() }).unwrap();
    }

    /// The server of a network, which asks these upstream.
    pub fn serve(&self, network: &str, upstreams: &[&str]) -> Server {
        let upstreams: Vec<_> = upstreams.iter().map(|server| server.parse().unwrap()).collect();
        self.names.write_upstreams(network, &upstreams).unwrap();
        self.serve_as_the_host(network)
    }

    /// The server of a network, which asks whom the host asks.
    pub fn serve_as_the_host(&self, network: &str) -> Server {
        let program = std::env::current_exe().unwrap();
        let program = program.parent().unwrap().with_file_name("examples").join("server");
        let (address, subnets) = match network {
            A => ("10.1.0.1", "10.1.0.0/16 fd00:a::/64"),
            _ => ("10.2.0.1", "10.2.0.0/16"),
        };
        let dir = self.dir.join("names");
        let script = format!("exec {} {} {network} {address}:53 {subnets}", program.display(), dir.display());
        let mut command = self.ns.command(&script);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n");
        Server(child)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A server of names.
pub struct Server(pub Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A container.
pub struct Container<'a> {
    pub host: &'a Host,
    pub ns: Namespace,
    nth: u8,
}

impl Container<'_> {
    /// Joins network A (1) or B (2), under these names.
    pub fn join(&self, network: u8, names: &str) {
        let Container { host, ns, nth } = self;
        let link = format!("v{network}-{nth}");
        host.ns.sh(&format!(
            "ip link add {link} master br{network} type veth peer name eth{network} netns {} && ip link set {link} up",
            ns.pid()
        ));
        ns.sh(&format!("ip addr add 10.{network}.0.{nth}/16 dev eth{network} && ip link set eth{network} up"));
        if network == 1 {
            ns.sh(&format!("ip route add default via 10.1.0.1; ip addr add fd00:a::{nth}/64 dev eth1 nodad"));
        }
        host.write([A, B][usize::from(network) - 1], *nth, [10, network, 0, *nth], names);
    }

    /// What `dig` says of a question to the server of A: the status and the records' data, in order.
    pub fn dig(&self, question: &str) -> String {
        self.dig_at(question, "10.1.0.1")
    }

    pub fn dig_at(&self, question: &str, server: &str) -> String {
        let script = format!("dig +nocookie +tries=1 +time=8 +noall +comments +answer @{server} {question}");
        let output = self.ns.command(&script).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let Some((_, status)) = said.split_once("status: ") else { return format!("nothing: {}", both(&output)) };
        let mut short = status.split(',').next().unwrap().to_owned();
        for line in said.lines().filter(|line| !line.starts_with(';') && !line.is_empty()) {
            short += " ";
            short += &line.split_ascii_whitespace().skip(4).collect::<Vec<_>>().join(" ");
        }
        short
    }
}

/// Says why a test is skipped, or fails in CI.
pub fn need(met: bool, why: &str) -> bool {
    if !met {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{why}, and in CI nothing is skipped");
        eprintln!("skipped: {why}");
    }
    met
}

/// A container's id.
pub fn id(nth: u8) -> String {
    format!("{nth:064x}")
}

pub fn both(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{} {}{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// Waits for something that must happen, for at most ten seconds; where processors are emulated, for more.
pub fn until(what: &str, happened: impl Fn() -> bool) {
    let patience = if std::env::var_os("MYCONTAINER_VM").is_some() { 120 } else { 10 };
    let end = Instant::now() + Duration::from_secs(patience);
    while !happened() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
