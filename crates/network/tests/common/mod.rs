//! A host for a test: a network namespace of its own, and processes that stand for containers.
//!
//! Everything a test makes lives in namespaces that end with it. The judges are `ip`, `nft`, `iptables`, `ping`, `dig`.

#![allow(dead_code, reason = "each test file uses a part of it")]

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

/// Waits for something that must happen, for at most ten seconds.
pub(crate) fn until(what: &str, happened: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !happened() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
