//! `inspect` of a container: the fields and their names are Docker's. What nobody knows is left out, not made up.

use super::list::{State, state};
use super::{Found, alive, find};
use crate::error::Error;
use crate::given::{Given, GivenMount};
use crate::images::{ShownConfig, shown_config};
use crate::state::{self, Facts, RootKind};
use image::Images;
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
    pub mounts: Vec<ShownMount>,
    pub config: ShownWords,
    pub network_settings: ShownNetwork,
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
    pub dead: bool,
    /// 0 when it does not run, or its first process is only being made.
    pub pid: i32,
    pub exit_code: i32,
    pub error: String,
    pub started_at: String,
    pub finished_at: String,
}

/// What it was asked to have of the host. No limit is 0, as with Docker.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the names are Docker's")]
pub struct ShownHost {
    pub binds: Option<Vec<String>>,
    pub network_mode: String,
    pub privileged: bool,
    pub readonly_rootfs: bool,
    pub tmpfs: Option<BTreeMap<String, String>>,
    pub init: bool,
    pub memory: u64,
    pub memory_swap: i64,
    pub nano_cpus: u64,
    pub cpu_shares: u64,
    pub cpuset_cpus: String,
    pub pids_limit: Option<i64>,
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
}

/// Its network.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the names are Docker's")]
pub struct ShownNetwork {
    /// Where it listens, and who leads there from the host: so far nobody.
    pub ports: BTreeMap<String, Option<()>>,
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
    pub mac_address: String,
}

/// What Go writes for a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What is known of the container that these words mean; none if there is no such.
pub fn inspect(words: &str) -> Result<Option<ShownContainer>, Error> {
    find(words)?.map(|found| shown(&found)).transpose()
}

fn shown(found: &Found) -> Result<ShownContainer, Error> {
    let facts = found.facts()?;
    let nothing = Given::default();
    let given = facts.given.as_ref().unwrap_or(&nothing);
    Ok(ShownContainer {
        id: facts.id.clone(),
        created: facts.created.clone(),
        path: facts.command.first().cloned().unwrap_or_default(),
        args: facts.command.iter().skip(1).cloned().collect(),
        state: shown_state(found, facts),
        image: image_id(facts).unwrap_or_default(),
        name: facts.name.as_ref().map_or_else(String::new, |name| format!("/{name}")),
        host_config: host(given),
        mounts: mounts(found, facts, given),
        config: words(found, facts, given),
        network_settings: network(found, facts, given)?,
    })
}

fn shown_state(found: &Found, facts: &Facts) -> ShownState {
    let host = if found.is_running { cgroup::Host::detect().ok() } else { None };
    let state = state(found, host.as_ref());
    // It may be ending at this moment.
    let pid = alive::first(found).ok().and_then(|first| alive::pid_of(&first));
    ShownState {
        status: state.name(),
        running: found.is_running,
        paused: state == State::Paused,
        pid: pid.unwrap_or_default(),
        // The record is written when it starts.
        started_at: if found.is_running { facts.created.clone() } else { NEVER.into() },
        finished_at: NEVER.into(),
        ..ShownState::default()
    }
}

/// The id of the image; none of one that was removed all the same.
fn image_id(facts: &Facts) -> Option<String> {
    let digest = Digest::parse(facts.image.as_deref()?).ok()?;
    let images = Images::existing(Path::new(state::DATA_DIR)).ok()??;
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
        network_mode: given.network.clone(),
        privileged: given.privileged,
        readonly_rootfs: given.read_only,
        tmpfs: (!tmpfs.is_empty()).then_some(tmpfs),
        init: given.init,
        memory: given.memory.unwrap_or_default(),
        memory_swap: given
            .memory_swap
            .or_else(|| given.memory.filter(|_| crate::run::has_swap_limit()).map(twice))
            .unwrap_or_default(),
        nano_cpus: given.nano_cpus.unwrap_or_default(),
        cpu_shares: given.cpu_shares.unwrap_or_default(),
        cpuset_cpus: given.cpuset_cpus.clone().unwrap_or_default(),
        pids_limit: given.pids_limit,
    }
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
    }
}

fn network(found: &Found, facts: &Facts, given: &Given) -> Result<ShownNetwork, Error> {
    let is_joined = found.is_running && given.network == "bridge";
    let address = if is_joined { crate::sweep::network().address_of(found.id.as_str())? } else { None };
    let endpoint = address.map_or_else(ShownEndpoint::default, |at| ShownEndpoint {
        gateway: at.gateway.to_string(),
        ip_address: at.address.to_string(),
        ip_prefix_len: at.prefix,
        mac_address: at.mac.map(|byte| format!("{byte:02x}")).join(":"),
    });
    let ports = facts.config.exposed_ports.iter().filter(|_| is_joined).map(|port| (port.clone(), None));
    let networks = Some(given.network.clone()).filter(|name| !name.is_empty()).map(|name| (name, endpoint.clone()));
    Ok(ShownNetwork {
        ports: ports.collect(),
        gateway: endpoint.gateway,
        ip_address: endpoint.ip_address,
        ip_prefix_len: endpoint.ip_prefix_len,
        mac_address: endpoint.mac_address,
        networks: networks.into_iter().collect(),
    })
}
