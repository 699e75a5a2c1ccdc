//! `info`: this machine, as far as it matters to containers, in Docker's terms.
//!
//! What Docker says of its daemon, of swarms and of plugins is left out: there are none. A field has Docker's name and is
//! there because what it says is true here.

use crate::begin::has_swap_limit;
use crate::containers::{self, State};
use crate::error::Error;
use crate::images;
use crate::rootless;
use crate::state::data_dir;
use rustix::fs::statfs;
use serde::Serialize;
use std::path::Path;

/// What there is to say.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Info {
    /// All containers.
    pub containers: usize,
    /// Those that run, or will again in a moment.
    pub containers_running: usize,
    /// Those that stand still.
    pub containers_paused: usize,
    /// The others.
    pub containers_stopped: usize,
    /// Images in the store.
    pub images: usize,
    /// What roots are made with.
    pub driver: String,
    /// Pairs of a name and what there is to say.
    pub driver_status: Vec<[String; 2]>,
    /// What a container can be given, by kind.
    pub plugins: Plugins,
    /// Whether memory can be limited.
    pub memory_limit: bool,
    /// Whether swap can be.
    pub swap_limit: bool,
    /// Whether CPU time can be.
    pub cpu_cfs_quota: bool,
    /// Whether it can be weighed.
    #[serde(rename = "CPUShares")]
    pub cpu_shares: bool,
    /// Whether processors can be chosen.
    #[serde(rename = "CPUSet")]
    pub cpu_set: bool,
    /// Whether the number of processes can be limited.
    pub pids_limit: bool,
    /// Whether packets are forwarded from containers.
    #[serde(rename = "IPv4Forwarding")]
    pub ipv4_forwarding: bool,
    /// Now, RFC 3339.
    pub system_time: String,
    /// Where output goes by default.
    pub logging_driver: String,
    /// Who makes control groups: `cgroupfs`, which is the tool itself, or a user's `systemd`; `none` where a user has none.
    pub cgroup_driver: String,
    /// `1` or `2`.
    pub cgroup_version: String,
    /// Of the kernel.
    pub kernel_version: String,
    /// The distribution's name.
    pub operating_system: String,
    /// Its version.
    #[serde(rename = "OSVersion")]
    pub os_version: String,
    /// `linux`.
    #[serde(rename = "OSType")]
    pub os_type: String,
    /// As the kernel names it.
    pub architecture: String,
    /// Processors.
    #[serde(rename = "NCPU")]
    pub cpus: u64,
    /// Bytes.
    pub mem_total: u64,
    /// Where what stays is.
    pub docker_root_dir: String,
    /// Where names without a registry are looked for, in order.
    pub registries: Vec<String>,
    /// The machine's name.
    pub name: String,
    /// What runs containers by default.
    pub default_runtime: String,
    /// Of this tool.
    pub server_version: String,
    /// What keeps containers from the host.
    pub security_options: Vec<String>,
    /// What cannot be done here, for a person to know.
    pub warnings: Vec<String>,
}

/// What a container can be given.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Plugins {
    /// Drivers of volumes.
    pub volume: Vec<String>,
    /// Networks.
    pub network: Vec<String>,
    /// Drivers of logs.
    pub log: Vec<String>,
}

/// Looks at this machine.
pub fn info() -> Result<Info, Error> {
    let listed = containers::list(true)?;
    let of = |states: &[State]| listed.iter().filter(|one| states.contains(&one.state)).count();
    let host = cgroup::Host::detect().map_err(runtime::Error::from)?;
    let (cgroup_driver, controllers) = groups(&host);
    let has = |controller: &str| controllers.iter().any(|known| known == controller);
    let swap_limit = has("memory") && has_swap_limit();
    let missing = [
        ("memory", has("memory")),
        ("swap", swap_limit),
        ("cpu", has("cpu")),
        ("cpuset", has("cpuset")),
        ("pids", has("pids")),
    ];
    let warnings =
        missing.iter().filter(|(_, is_there)| !is_there).map(|(what, _)| format!("WARNING: No {what} limit support"));
    let uname = rustix::system::uname();
    let told = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let (operating_system, os_version) = distribution();
    Ok(Info {
        containers: listed.len(),
        containers_running: of(&[State::Running, State::Restarting]),
        containers_paused: of(&[State::Paused]),
        containers_stopped: of(&[State::Created, State::Exited]),
        images: images::existing()?.map_or(Ok(0), |store| store.list().map(|(images, _)| images.len()))?,
        driver: "overlay".into(),
        driver_status: vec![
            ["Backing Filesystem".into(), file_system()],
            ["Layers".into(), if rootless::is_rootless() { "directories" } else { "EROFS" }.into()],
        ],
        plugins: Plugins {
            volume: words(&["local"]),
            network: words(&["bridge", "host", "none"]),
            log: words(&["journald", "json-file", "k8s-file", "none"]),
        },
        memory_limit: has("memory"),
        swap_limit,
        cpu_cfs_quota: has("cpu"),
        cpu_shares: has("cpu"),
        cpu_set: has("cpuset"),
        pids_limit: has("pids"),
        ipv4_forwarding: read("/proc/sys/net/ipv4/ip_forward") == "1",
        system_time: crate::when::Time::now().rfc3339(),
        logging_driver: "json-file".into(),
        cgroup_driver: cgroup_driver.into(),
        cgroup_version: if host.is_v2() { "2" } else { "1" }.into(),
        kernel_version: told(uname.release()),
        operating_system,
        os_version,
        os_type: "linux".into(),
        architecture: told(uname.machine()),
        cpus: crate::run::online_cpus(),
        mem_total: memory(),
        docker_root_dir: data_dir().display().to_string(),
        registries: registries()?,
        name: told(uname.nodename()),
        default_runtime: "mycontainer".into(),
        server_version: env!("CARGO_PKG_VERSION").into(),
        security_options: security(),
        warnings: warnings.collect(),
    })
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Any name may be one of each of these.
fn registries() -> Result<Vec<String>, Error> {
    let names = images::registries()?.candidates("name").map_err(image::Error::from)?;
    Ok(names.iter().map(|name| name.registry().to_owned()).collect())
}

/// Who makes control groups, and the controllers that limits can be set with.
fn groups(host: &cgroup::Host) -> (&'static str, Vec<String>) {
    if !rootless::is_rootless() {
        return ("cgroupfs", controllers(host.is_v2()));
    }
    match cgroup::Subtree::offer(host) {
        Ok(offer) => (if offer.is_systemds() { "systemd" } else { "cgroupfs" }, offer.controllers),
        Err(_) => ("none", Vec::new()),
    }
}

/// The controllers of this machine.
fn controllers(is_v2: bool) -> Vec<String> {
    if is_v2 {
        return read("/sys/fs/cgroup/cgroup.controllers").split_whitespace().map(str::to_owned).collect();
    }
    // A line each: name, hierarchy, groups, enabled. One without a hierarchy is not mounted. [cgroups(7)]
    let of_line = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, hierarchy) = (words.next()?, words.next()?);
        (hierarchy != "0" && words.nth(1) == Some("1")).then(|| name.to_owned())
    };
    read("/proc/cgroups").lines().filter_map(of_line).collect()
}

/// What lies below the data.
fn file_system() -> String {
    // The directory is made with the first image or container.
    let there = data_dir().ancestors().find_map(|dir| statfs(dir).ok());
    match there.map(|there| there.f_type as u64) {
        Some(0xef53) => "extfs".into(),
        Some(0x5846_5342) => "xfs".into(),
        Some(0x9123_683e) => "btrfs".into(),
        Some(0x0102_1994) => "tmpfs".into(),
        Some(0x794c_7630) => "overlayfs".into(),
        Some(0x2fc1_2fc1) => "zfs".into(),
        Some(0xf2f5_2010) => "f2fs".into(),
        Some(other) => format!("{other:#x}"),
        None => "unknown".into(),
    }
}

/// Name and version. [os-release(5)]
fn distribution() -> (String, String) {
    let text = ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| std::fs::read_to_string(path).ok());
    let text = text.unwrap_or_default();
    let of = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
    };
    let name = of("PRETTY_NAME");
    (if name.is_empty() { "Linux".into() } else { name }, of("VERSION_ID"))
}

fn memory() -> u64 {
    let text = read("/proc/meminfo");
    let kib =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

fn security() -> Vec<String> {
    let actions = Path::new("/proc/sys/kernel/seccomp/actions_avail");
    let seccomp = actions.exists().then(|| "name=seccomp,profile=builtin".to_owned());
    let namespace = Path::new("/proc/self/ns/cgroup").exists().then(|| "name=cgroupns".to_owned());
    let rootless = rootless::is_rootless().then(|| "name=rootless".to_owned());
    seccomp.into_iter().chain(rootless).chain(namespace).collect()
}
