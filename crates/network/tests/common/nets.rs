//! Networks that a person has made, and containers on them, for a test's host.

use super::{Host, Namespace, Publishing, both, id};
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};

/// A network's configuration: 10.NTH.0.0/24, changed as `more` says.
pub(crate) fn net(nth: u8, more: Value) -> Value {
    let gateway = format!("10.{nth}.0.1");
    let mut config = json!({
        "id": format!("{nth:02x}").repeat(32),
        "name": format!("n{nth}"),
        "ipv4": { "subnet": format!("10.{nth}.0.0"), "prefix": 24, "gateway": gateway },
        "no_names": true,
    });
    let more: Vec<(String, Value)> = more.as_object().unwrap().clone().into_iter().collect();
    config.as_object_mut().unwrap().extend(more);
    config
}

/// As [`net`], with nothing changed.
pub(crate) fn plain(nth: u8) -> Value {
    net(nth, json!({}))
}

/// The part of a configuration that gives a network fd00:NTH::/64.
pub(crate) fn six(nth: u8) -> Value {
    json!({ "ipv6": { "subnet": format!("fd00:{nth}::"), "prefix": 64, "gateway": format!("fd00:{nth}::1") } })
}

/// The bridge of such a network.
pub(crate) fn bridge_of(nth: u8) -> String {
    format!("mcn{}", format!("{nth:02x}").repeat(6))
}

/// The probe on a network of a host.
pub(crate) struct On<'a> {
    host: &'a Host,
    variables: Vec<(&'static str, String)>,
}

impl Host {
    /// What is done next is done on this network.
    pub(crate) fn on(&self, network: &Value) -> On<'_> {
        On { host: self, variables: vec![("NETWORK", network.to_string())] }
    }

    /// What is done next is done on the default network.
    pub(crate) fn on_default(&self) -> On<'_> {
        On { host: self, variables: Vec::new() }
    }

    /// The names of the files of networks in use.
    pub(crate) fn uses(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.join("nets")).into_iter().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The links of all; not their states, which the kernel sets a little later.
    pub(crate) fn links(&self) -> String {
        self.ns.sh("ip -br link | cut -d' ' -f1")
    }

    /// The rules of all, but for their counters.
    pub(crate) fn rules(&self) -> String {
        self.ns.sh("nft -j -s list ruleset")
    }
}

impl On<'_> {
    /// With another variable of the probe's.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// The second network of a container, by which nothing leaves.
    pub(crate) fn second(self) -> Self {
        self.with("NTH", "1").with("NOT_OUT", "1")
    }

    /// The probe.
    pub(crate) fn probe(&self, words: &str) -> Command {
        let mut probe = self.host.probe(words);
        probe.envs(self.variables.iter().map(|(name, value)| (*name, value.as_str())));
        probe
    }

    /// It must succeed.
    pub(crate) fn ok(&self, words: &str) -> String {
        let output = self.probe(words).output().unwrap();
        assert!(output.status.success(), "netprobe {words}: {}", both(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// It must fail; what it says.
    pub(crate) fn fails(&self, words: &str) -> String {
        let output = self.probe(words).output().unwrap();
        assert!(!output.status.success(), "netprobe {words} should fail: {}", both(&output));
        both(&output)
    }

    /// Leases an address to a container of the test's own process.
    pub(crate) fn lease(&self, nth: u32) -> String {
        self.ok(&format!("lease {} {}", id(nth), std::process::id())).trim().to_owned()
    }

    /// Starts a container; its namespace and addresses, of IPv6 `-` where there is none.
    pub(crate) fn container(&self, nth: u32) -> (Namespace, String, String) {
        let ns = Namespace::new();
        let (address, six) = self.join(nth, &ns);
        (ns, address, six)
    }

    /// Joins a container to the network; its addresses there.
    pub(crate) fn join(&self, nth: u32, ns: &Namespace) -> (String, String) {
        let said = self.ok(&format!("start {} {} {} /dev/null", id(nth), ns.netns(), ns.pid()));
        let words: Vec<&str> = said.lines().next().unwrap().split(' ').collect();
        (words[0].to_owned(), words[2].to_owned())
    }

    /// Starts a container that publishes ports.
    pub(crate) fn publishing(&self, nth: u32, wishes: &str) -> Publishing {
        let ns = Namespace::new();
        let holder = self.holder(nth, &ns, wishes);
        Publishing::of(ns, holder)
    }

    /// The process that holds such a container, as it begins.
    pub(crate) fn holder(&self, nth: u32, ns: &Namespace, wishes: &str) -> Child {
        let mut command = self.probe(&format!("hold {} {} {wishes}", id(nth), ns.netns()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    }
}
