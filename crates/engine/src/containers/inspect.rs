//! `inspect` of a container: the fields and their names are Docker's. What nobody knows is left out, not made up.

use super::list::{self, State, state};
use super::{Found, alive, find, port};
use crate::endpoints;
use crate::error::Error;
use crate::given::{Given, GivenMount};
use crate::health::{self, Health};
use crate::images::{ShownConfig, shown_config};
use crate::life::{self, Life};
use crate::networks;
use crate::options::{Endpoint, NetworkMode};
use crate::parse::publish;
use crate::state::{self, Facts, RootKind};
use image::{Healthcheck, Images};
use registry::Digest;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What `inspect` shows of a container.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the names are Docker's")]
pub struct ShownContainer {
    pub id: String,
    pub created: String,
    pub path: String,
    pub args: Vec<String>,
    pub state: ShownState,
    /// The image's id; empty when it is made of none.
    pub image: String,
    /// With a slash before it; empty when it has none.
    pub name: String,
    pub host_config: ShownHost,
    /// The id of the pod that it is in; empty when it is in none.
    pub pod: String,
    pub mounts: Vec<ShownMount>,
    pub config: ShownWords,
    pub network_settings: ShownNetwork,
    /// How often its policy has started it again.
    pub restart_count: u32,
    /// The file that holds what it has printed; empty where there is none.
    pub log_path: String,
}

/// What it does.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the names are Docker's")]
pub struct ShownState {
    pub status: &'static str,
    pub running: bool,
    pub paused: bool,
    pub restarting: bool,
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    pub dead: bool,
    /// 0 when it does not run, or its first process is only being made.
    pub pid: i32,
    pub exit_code: i32,
    pub error: String,
    pub started_at: String,
    pub finished_at: String,
    /// Of one that has a check, once it was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// What it was asked to have of the host. No limit is 0, as with Docker.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the names are Docker's")]
pub struct ShownHost {
    pub binds: Option<Vec<String>>,
    pub volumes_from: Option<Vec<String>>,
    pub network_mode: String,
    pub ipc_mode: String,
    pub pid_mode: String,
    #[serde(rename = "UTSMode")]
    pub uts_mode: String,
    pub cgroupns_mode: String,
    pub userns_mode: String,
    pub cgroup_parent: String,
    /// What shall be published, by the container's port as `80/tcp`.
    pub port_bindings: BTreeMap<String, Vec<ShownBinding>>,
    pub publish_all_ports: bool,
    pub privileged: bool,
    pub readonly_rootfs: bool,
    pub tmpfs: Option<BTreeMap<String, String>>,
    pub init: bool,
    pub auto_remove: bool,
    pub restart_policy: ShownPolicy,
    pub memory: u64,
    pub memory_swap: i64,
    pub nano_cpus: u64,
    pub cpu_shares: u64,
    pub cpuset_cpus: String,
    pub pids_limit: Option<i64>,
    pub cpu_period: u64,
    pub cpu_quota: i64,
    pub cpuset_mems: String,
    pub memory_reservation: u64,
    pub memory_swappiness: Option<u64>,
    pub blkio_weight: u16,
    pub annotations: Option<BTreeMap<String, String>>,
}

/// A port of the host.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the names are Docker's")]
pub struct ShownBinding {
    pub host_ip: String,
    pub host_port: String,
}

/// When it is started again.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the names are Docker's")]
pub struct ShownPolicy {
    pub name: &'static str,
    pub maximum_retry_count: u32,
}

/// What is mounted in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the names are Docker's")]
pub struct ShownMount {
    #[serde(rename = "Type")]
    pub kind: &'static str,
    /// Of a named volume.
    pub name: String,
    pub source: String,
    /// Of a volume.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub driver: &'static str,
    pub destination: String,
    pub mode: &'static str,
    #[serde(rename = "RW")]
    pub rw: bool,
    pub propagation: String,
}

/// How it is run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the names are Docker's")]
pub struct ShownWords {
    pub hostname: String,
    pub domainname: String,
    pub user: String,
    pub exposed_ports: Value,
    pub tty: bool,
    pub open_stdin: bool,
    pub env: Vec<String>,
    pub cmd: Option<Vec<String>>,
    pub image: String,
    pub volumes: Value,
    pub working_dir: String,
    pub entrypoint: Option<Vec<String>>,
    pub labels: BTreeMap<String, String>,
    pub stop_signal: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
}

/// Its network.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the names are Docker's")]
pub struct ShownNetwork {
    /// Where it listens, and the ports of the host that lead there.
    pub ports: BTreeMap<String, Option<Vec<ShownBinding>>>,
    pub gateway: String,
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    pub mac_address: String,
    pub networks: BTreeMap<String, ShownEndpoint>,
}

/// Its address in a network.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the names are Docker's")]
pub struct ShownEndpoint {
    pub gateway: String,
    #[serde(rename = "IPAddress")]
    pub ip_address: String,
    #[serde(rename = "IPPrefixLen")]
    pub ip_prefix_len: u8,
    #[serde(rename = "IPv6Gateway")]
    pub ipv6_gateway: String,
    #[serde(rename = "GlobalIPv6Address")]
    pub global_ipv6_address: String,
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub global_ipv6_prefix_len: u8,
    pub mac_address: String,
    #[serde(rename = "NetworkID")]
    pub network_id: String,
    pub aliases: Vec<String>,
    #[serde(rename = "DNSNames")]
    pub dns_names: Vec<String>,
}

/// What Go writes for a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What is known of the container that these words mean; none if there is no such.
pub fn inspect(words: &str) -> Result<Option<ShownContainer>, Error> {
    find(words)?.map(|found| shown(&found)).transpose()
}

fn shown(found: &Found) -> Result<ShownContainer, Error> {
    let facts = found.facts()?;
    let given = &facts.options.as_deref().map(Given::of).unwrap_or_default();
    let life = list::of(found);
    let restart_count = life.as_ref().map_or(0, |life| life.restarts);
    Ok(ShownContainer {
        id: facts.id.clone(),
        created: facts.created.clone(),
        path: facts.command.first().cloned().unwrap_or_default(),
        args: facts.command.iter().skip(1).cloned().collect(),
        state: shown_state(found, life),
        image: image_id(facts).unwrap_or_default(),
        name: facts.name.as_ref().map_or_else(String::new, |name| format!("/{name}")),
        host_config: host(given),
        pod: facts
            .options
            .as_ref()
            .and_then(|options| options.pod.as_ref())
            .map_or_else(String::new, |p| p.pod.clone()),
        mounts: mounts(found, facts, given),
        config: words(found, facts, given),
        network_settings: network(found, facts, given)?,
        restart_count,
        log_path: log_path(found, facts),
    })
}

/// Where its monitor writes what it prints. One in the foreground of another command has none.
fn log_path(found: &Found, facts: &Facts) -> String {
    let file = facts.options.as_deref().and_then(|options| options.log.driver.file());
    match file.filter(|_| found.has_monitor()) {
        Some(file) => state::layer_path(&found.id).join(file).to_string_lossy().into_owned(),
        None => String::new(),
    }
}

fn shown_state(found: &Found, life: Option<Life>) -> ShownState {
    let freezer = if found.is_running { list::freezer_of_host() } else { None };
    let state = state(found, life.as_ref(), freezer.as_ref());
    // It may be ending at this moment.
    let pid = alive::first(found).ok().and_then(|first| alive::pid_of(&first));
    let never_started = || life::of_stopped(&found.id).unwrap_or_default();
    let life = life.unwrap_or_else(never_started);
    ShownState {
        status: state.name(),
        running: found.is_running,
        paused: state == State::Paused,
        restarting: state == State::Restarting,
        oom_killed: life.oom_killed,
        dead: false,
        pid: pid.unwrap_or_default(),
        exit_code: life.exit_code,
        error: life.error,
        started_at: life.started.unwrap_or_else(|| NEVER.into()),
        finished_at: life.finished.unwrap_or_else(|| NEVER.into()),
        health: found.facts.as_ref().and_then(|facts| health::read(&found.id, &facts.config, found.is_running)),
    }
}

/// The id of the image; none of one that was removed all the same.
fn image_id(facts: &Facts) -> Option<String> {
    let digest = Digest::parse(facts.image.as_deref()?).ok()?;
    let images = Images::existing(state::data_dir()).ok()??;
    images.of_manifest(&digest).ok().map(|image| image.id.to_string())
}

fn host(given: &Given) -> ShownHost {
    let bind = |mount: &GivenMount| {
        let mode = if mount.read_only { ":ro" } else { "" };
        let source = mount.source.as_ref().or(mount.volume.as_ref());
        source.map(|source| format!("{source}:{}{mode}", mount.target))
    };
    let binds: Vec<String> = given.mounts.iter().filter_map(bind).collect();
    let in_memory = given.mounts.iter().filter(|mount| mount.is_in_memory());
    let tmpfs: BTreeMap<String, String> = in_memory.map(|mount| (mount.target.clone(), String::new())).collect();
    let twice = |memory: u64| i64::try_from(memory.saturating_mul(2)).unwrap_or(i64::MAX);
    ShownHost {
        binds: (!binds.is_empty()).then_some(binds),
        volumes_from: Some(given.volumes_from.clone()).filter(|others| !others.is_empty()),
        network_mode: given.network.clone(),
        ipc_mode: given.ipc.clone(),
        pid_mode: given.pid.clone(),
        uts_mode: given.uts.clone(),
        cgroupns_mode: given.cgroupns.clone(),
        userns_mode: given.userns.clone(),
        cgroup_parent: given.cgroup_parent.clone().unwrap_or_default(),
        port_bindings: bindings(given),
        publish_all_ports: given.publish_all,
        privileged: given.privileged,
        readonly_rootfs: given.read_only,
        tmpfs: (!tmpfs.is_empty()).then_some(tmpfs),
        init: given.init,
        auto_remove: given.auto_remove,
        restart_policy: ShownPolicy { name: given.restart.name(), maximum_retry_count: given.restart.most() },
        memory: given.memory.unwrap_or_default(),
        memory_swap: given
            .memory_swap
            .or_else(|| given.memory.filter(|_| crate::begin::has_swap_limit()).map(twice))
            .unwrap_or_default(),
        nano_cpus: given.nano_cpus.unwrap_or_default(),
        cpu_shares: given.cpu_shares.unwrap_or_default(),
        cpuset_cpus: given.cpuset_cpus.clone().unwrap_or_default(),
        pids_limit: given.pids_limit,
        cpu_period: given.more.cpu_period.unwrap_or_default(),
        cpu_quota: given.more.cpu_quota.unwrap_or_default(),
        cpuset_mems: given.more.cpuset_mems.clone().unwrap_or_default(),
        memory_reservation: given.more.memory_reservation.unwrap_or_default(),
        memory_swappiness: given.more.swappiness,
        blkio_weight: given.more.blkio_weight.unwrap_or_default(),
        annotations: (!given.annotations.is_empty()).then(|| given.annotations.iter().cloned().collect()),
    }
}

fn bindings(given: &Given) -> BTreeMap<String, Vec<ShownBinding>> {
    let mut bindings: BTreeMap<String, Vec<ShownBinding>> = BTreeMap::new();
    for publish in &given.publish {
        let host_ip = publish.address.map_or_else(String::new, |address| address.to_string());
        let is_one = publish.container.len() == 1;
        for (nth, port) in publish.container.clone().enumerate() {
            let host_port = match &publish.host {
                None => String::new(),
                Some(host) if is_one => publish::shown(host),
                Some(host) => host.clone().nth(nth).map_or_else(String::new, |port| port.to_string()),
            };
            let of_port = bindings.entry(format!("{port}/{}", publish.protocol)).or_default();
            of_port.push(ShownBinding { host_ip: host_ip.clone(), host_port });
        }
    }
    bindings
}

fn mounts(found: &Found, facts: &Facts, given: &Given) -> Vec<ShownMount> {
    let asked_for = given.mounts.iter().map(|mount| ShownMount {
        kind: match (&mount.source, &mount.volume) {
            (Some(_), _) => "bind",
            (None, Some(_)) => "volume",
            (None, None) => "tmpfs",
        },
        name: mount.volume.clone().unwrap_or_default(),
        source: match (&mount.source, &mount.volume) {
            (Some(source), _) => source.clone(),
            (None, Some(name)) => crate::volumes::mountpoint(name).to_string_lossy().into_owned(),
            (None, None) => String::new(),
        },
        driver: if mount.volume.is_some() { "local" } else { "" },
        destination: mount.target.clone(),
        mode: if mount.read_only { "ro" } else { "" },
        rw: !mount.read_only,
        propagation: match mount.propagation.as_str() {
            "" if mount.source.is_some() => "rprivate".into(),
            propagation => propagation.to_owned(),
        },
    });
    let taken = |target: &Path| given.mounts.iter().any(|mount| Path::new(&mount.target) == target);
    // Numbered in the order of their places: see `image_volumes`.
    let of_image = facts.config.volumes.iter().filter(|_| facts.kind == RootKind::Image);
    let places: BTreeSet<PathBuf> = of_image.chain(&given.anonymous).map(PathBuf::from).collect();
    let unnamed = places.iter().enumerate().filter_map(|(n, target)| {
        let target = Path::new("/").join(target);
        let source = state::layer_path(&found.id).join(format!("volume-{n}"));
        (found.is_running && !taken(&target)).then(|| ShownMount {
            kind: "volume",
            name: String::new(),
            source: source.to_string_lossy().into_owned(),
            driver: "local",
            destination: target.to_string_lossy().into_owned(),
            mode: "",
            rw: true,
            propagation: String::new(),
        })
    });
    asked_for.chain(unnamed).collect()
}

fn words(found: &Found, facts: &Facts, given: &Given) -> ShownWords {
    let ShownConfig { exposed_ports, volumes, entrypoint, cmd, .. } = shown_config(&facts.config);
    let config = &facts.config;
    ShownWords {
        hostname: given.hostname.clone().unwrap_or_else(|| found.id.host_name().to_owned()),
        domainname: given.domainname.clone().unwrap_or_default(),
        user: config.user.clone(),
        exposed_ports: serde_json::to_value(exposed_ports).unwrap_or_default(),
        tty: given.tty,
        open_stdin: given.interactive,
        env: config.env.clone(),
        cmd,
        image: facts.root.clone(),
        volumes: serde_json::to_value(volumes).unwrap_or_default(),
        working_dir: config.working_dir.clone(),
        entrypoint,
        labels: facts.labels.clone(),
        stop_signal: config.stop_signal.clone(),
        healthcheck: config.healthcheck.clone(),
    }
}

fn network(found: &Found, facts: &Facts, given: &Given) -> Result<ShownNetwork, Error> {
    let mode = facts.options.as_deref().map(|options| &options.network);
    let networks = match mode {
        Some(NetworkMode::Named(endpoints)) => endpoints
            .iter()
            .map(|one| Ok((one.network.clone(), endpoint(found, facts, one)?)))
            .collect::<Result<_, Error>>()?,
        Some(NetworkMode::Bridge) => {
            let one = Endpoint { network: given.network.clone(), ..Endpoint::default() };
            vec![(one.network.clone(), endpoint(found, facts, &one)?)]
        }
        _ => Some(given.network.clone())
            .filter(|name| !name.is_empty() && !name.contains(':'))
            .map(|name| (name, ShownEndpoint::default()))
            .into_iter()
            .collect(),
    };
    let is_joined =
        found.is_running && mode.is_some_and(|mode| matches!(mode, NetworkMode::Bridge | NetworkMode::Named(_)));
    let exposed = facts.config.exposed_ports.iter().filter(|_| is_joined);
    let mut ports: BTreeMap<String, Option<Vec<ShownBinding>>> = exposed.map(|port| (port.clone(), None)).collect();
    for one in if is_joined { port::published(found)? } else { Vec::new() } {
        let binding = ShownBinding { host_ip: one.host.ip().to_string(), host_port: one.host.port().to_string() };
        let of_port = ports.entry(format!("{}/{}", one.container.port(), one.protocol)).or_default();
        of_port.get_or_insert_default().push(binding);
    }
    // The fields beside the networks are the default one's: nobody else has them at Docker either.
    let first = networks.iter().find(|_| mode == Some(&NetworkMode::Bridge)).map(|(_, first)| first.clone());
    let first = first.unwrap_or_default();
    Ok(ShownNetwork {
        ports,
        gateway: first.gateway,
        ip_address: first.ip_address,
        ip_prefix_len: first.ip_prefix_len,
        mac_address: first.mac_address,
        networks: networks.into_iter().collect(),
    })
}

/// A container's place on one network, which may be gone by now.
fn endpoint(found: &Found, facts: &Facts, asked: &Endpoint) -> Result<ShownEndpoint, Error> {
    let config = match networks::find(&asked.network) {
        Ok(config) => config,
        Err(Error::NoSuchNetwork { .. }) => return Ok(ShownEndpoint::default()),
        Err(error) => return Err(error),
    };
    let at = if found.is_running { crate::sweep::network().lease_of(found.id.as_str(), &config)? } else { None };
    let hostname = facts.options.as_deref().and_then(|options| options.hostname.as_deref());
    let names = if !config.tells_names() {
        Vec::new()
    } else {
        endpoints::names(&found.id, facts.name.as_deref(), hostname, asked)
    };
    let shown = ShownEndpoint {
        aliases: asked.aliases.clone(),
        dns_names: names,
        network_id: config.id.clone(),
        ..ShownEndpoint::default()
    };
    let Some(at) = at else { return Ok(shown) };
    let mac = asked.mac.unwrap_or(at.mac);
    let six = at.six.map(|(address, pool)| (address.to_string(), pool.prefix, pool.gateway.to_string()));
    let (global_ipv6_address, global_ipv6_prefix_len, ipv6_gateway) = six.unwrap_or_default();
    Ok(ShownEndpoint {
        gateway: at.gateway.to_string(),
        ip_address: at.address.to_string(),
        ip_prefix_len: at.prefix,
        ipv6_gateway,
        global_ipv6_address,
        global_ipv6_prefix_len,
        mac_address: mac.map(|byte| format!("{byte:02x}")).join(":"),
        ..shown
    })
}
