//! Networks: what one adds to a start, what passes through it, and how fast names are answered, against podman, docker
//! and two bare namespaces with a link.
//!
//! Each tool has a host of its own (`host.rs`) on which the same containers stay for the whole bench: `other` on the
//! default bridge, `web` and `client` on the network `net`, where `web` publishes a port. mycontainer has three more: one
//! on which nothing stays, and two on which many ports are published.

mod flows;
pub(crate) mod host;
mod interrupt;
mod page;
mod starts;

use crate::Options;
use crate::contenders::{version, which};
use crate::machine::Machine;
use crate::rootfs::{self, Scratch};
use anyhow::{Context, Result, bail};
use host::{Host, PORT};
use interrupt::Interrupt;
use std::fs;
use std::process::Command;

/// As many ports as one container publishes on the hosts with many.
const PORTS_OF_ONE: u16 = 250;
/// Copies a program and its libraries into a root.
const COPY: &str =
    r#"for file in "$1" $(ldd "$1" | grep -o '/[^ )]*'); do cp --parents --dereference "$file" "$2"; done"#;

/// All hosts; some have their places.
pub(crate) struct Hosts(Vec<Host>);

impl Hosts {
    const BARE: usize = 0;
    const FIRST: usize = 1;
    const BESIDE: [usize; 2] = [2, 3];

    /// Those where each tool has the same containers; mycontainer's is the first of them.
    fn of_tools(&self) -> Vec<usize> {
        (Hosts::BESIDE[1] + 1..self.0.len()).collect()
    }
}

/// Measures all, and writes networks.md.
pub(crate) fn bench(options: &Options) -> Result<()> {
    let rounds = options.rounds.unwrap_or(60);
    let machine = Machine::here();
    if machine.is_busy() {
        eprintln!("this machine is busy with something else: the figures will be worse than they should be");
    }
    let interrupt = Interrupt::new()?;
    let scratch = Scratch::new()?;
    make_root(&scratch)?;
    let tool = fs::canonicalize(&options.tool).with_context(|| format!("{} is not built", options.tool.display()))?;
    let mut versions = vec![version(&tool.to_string_lossy())];
    // Declared after `scratch`, so that the hosts are gone before it is removed.
    let mut hosts = make_hosts(&scratch, &tool.to_string_lossy(), &mut versions, &interrupt)?;
    let mut starts = starts::all(&hosts);
    starts::measure(&mut starts, &mut hosts, rounds, &interrupt)?;
    let mut flows = flows::all(&hosts);
    let rounds_of_flows = rounds.div_ceil(10).max(5);
    flows::measure(&mut flows, &mut hosts, rounds_of_flows, &scratch.path("questions"), &interrupt)?;
    drop(hosts);

    let page = page::Page { machine, versions, starts, flows, rounds, rounds_of_flows }.text();
    print!("{page}");
    fs::create_dir_all(&options.out).with_context(|| format!("cannot make {}", options.out.display()))?;
    let path = options.out.join("networks.md");
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))
}

fn make_root(scratch: &Scratch) -> Result<()> {
    rootfs::make_busybox(scratch)?;
    let iperf = which("iperf3").context("iperf3 is not installed (scripts/setup-bench)")?;
    which("dnsperf").context("dnsperf is not installed (scripts/setup-bench)")?;
    let copied = Command::new("sh").args(["-ec", COPY, "sh", &iperf]).arg(scratch.path("root")).status()?;
    if !copied.success() {
        bail!("cannot copy iperf3: {copied}");
    }
    Ok(())
}

fn make_hosts(scratch: &Scratch, tool: &str, versions: &mut Vec<String>, interrupt: &Interrupt) -> Result<Hosts> {
    let mut hosts = Hosts(vec![Host::bare(scratch)?, Host::ours(scratch, "first", tool)?]);
    for (_, ports) in starts::BESIDE {
        interrupt.check()?;
        hosts.0.push(Host::ours(scratch, &format!("beside-{ports}"), tool)?);
        if let Some(host) = hosts.0.last_mut() {
            publish(host, ports)?;
        }
    }
    hosts.0.push(Host::ours(scratch, "mycontainer", tool)?);
    if let Some(podman) = installed("podman", "podman", "scripts/setup-bench") {
        versions.push(version(&podman));
        hosts.0.push(Host::podman(scratch, &podman)?);
    }
    // The distribution's client, should there be a newer one that its daemon is too old for.
    let client = which("/usr/bin/docker").or_else(|| which("docker"));
    if let (Some(docker), Some(_)) = (client, installed("docker", "dockerd", "scripts/setup-bench --docker")) {
        interrupt.check()?;
        match Host::docker(scratch, &docker) {
            Ok(mut host) => {
                versions.push(format!("docker {}", host.ask(&["version", "--format", "{{.Server.Version}}"])?.trim()));
                hosts.0.push(host);
            }
            Err(why) => eprintln!("not measured: docker: {why:#}"),
        }
    }
    for index in hosts.of_tools() {
        interrupt.check()?;
        keep(&mut hosts.0[index])?;
    }
    Ok(hosts)
}

fn installed(name: &str, program: &str, by: &str) -> Option<String> {
    let path = which(program);
    if path.is_none() {
        eprintln!("not measured: {name}: not installed ({by})");
    }
    path
}

/// Publishes so many ports.
fn publish(host: &mut Host, ports: u16) -> Result<()> {
    for first in (20_000..20_000 + ports).step_by(usize::from(PORTS_OF_ONE)) {
        let last = (first + PORTS_OF_ONE).min(20_000 + ports) - 1;
        let range = format!("{first}-{last}:{first}-{last}");
        host.keep(&format!("from-{first}"), &["-p", &range], &["sleep", "1000000"])?;
    }
    Ok(())
}

/// Starts the containers that stay.
fn keep(host: &mut Host) -> Result<()> {
    host.ask(&["network", "create", "net"])?;
    host.keep("other", &[], &["sleep", "1000000"])?;
    let publish = format!("{PORT}:{PORT}");
    host.keep("web", &["--network", "net", "-p", &publish], &["iperf3", "-s", "-p", PORT])?;
    host.keep("client", &["--network", "net"], &["sleep", "1000000"])
}
