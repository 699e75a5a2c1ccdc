//! `ps`: the containers that there are, as a list shows them.
//!
//! A container costs one file read, and one that runs a test of its record's lock and a look at its freezer. Nothing is
//! cleaned up here: a list has to be fast, and shows nothing that is dead.

use super::{Found, all, running};
use crate::error::Error;
use std::collections::BTreeMap;

/// A container in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id in full.
    pub id: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// ROOT as it was typed.
    pub image: String,
    /// The name of the image that it is made of, if it has one.
    pub image_name: Option<String>,
    /// The digest of that image's manifest.
    pub manifest: Option<String>,
    /// What it runs.
    pub command: Vec<String>,
    /// RFC 3339.
    pub created: String,
    /// What it does.
    pub state: State,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Ports that its image says it listens at, where others can reach them: as `80/tcp`.
    pub ports: Vec<String>,
    /// `bridge`, `none` or `host`; empty where its record does not say.
    pub network: String,
    /// Paths of the host that it shows, and named volumes.
    pub mounts: Vec<String>,
}

/// What a container does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does not run as yet.
    Created,
    /// It runs.
    Running,
    /// It stands still.
    Paused,
}

impl State {
    /// As Docker names it.
    pub fn name(self) -> &'static str {
        match self {
            State::Created => "created",
            State::Running => "running",
            State::Paused => "paused",
        }
    }
}

/// Those that run, or every one; the newest first.
pub fn list(every: bool) -> Result<Vec<Listed>, Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let found = if every { all() } else { running(|_| false) };
    let host = if found.iter().any(|found| found.is_running) { cgroup::Host::detect().ok() } else { None };
    let mut listed: Vec<Listed> = found.into_iter().map(|found| listed(found, host.as_ref())).collect();
    listed.sort_unstable_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
    Ok(listed)
}

/// The id of the container that words mean.
pub fn id_of(words: &str) -> Result<String, Error> {
    super::get(words).map(|found| found.id.as_str().to_owned())
}

// By value: of a thousand containers the copies would be what takes the time.
fn listed(found: Found, host: Option<&cgroup::Host>) -> Listed {
    let state = state(&found, host);
    let nothing = Listed {
        id: found.id.as_str().to_owned(),
        name: None,
        image: String::new(),
        image_name: None,
        manifest: None,
        command: Vec::new(),
        created: String::new(),
        state,
        labels: BTreeMap::new(),
        ports: Vec::new(),
        network: String::new(),
        mounts: Vec::new(),
    };
    let Some(facts) = found.facts else { return nothing };
    let given = facts.given.unwrap_or_default();
    let is_reached = found.is_running && given.network == "bridge";
    Listed {
        name: facts.name,
        image: facts.root,
        image_name: facts.image_name,
        manifest: facts.image,
        command: facts.command,
        created: facts.created,
        labels: facts.labels,
        ports: if is_reached { facts.config.exposed_ports.into_iter().collect() } else { Vec::new() },
        network: given.network,
        mounts: given.mounts.into_iter().filter_map(|mount| mount.source.or(mount.volume)).collect(),
        ..nothing
    }
}

/// What it does; one whose freezer cannot be read is taken to run.
pub(super) fn state(found: &Found, host: Option<&cgroup::Host>) -> State {
    match host {
        _ if !found.is_running => State::Created,
        Some(host) if host.is_frozen(&found.id.cgroup()).unwrap_or(false) => State::Paused,
        _ => State::Running,
    }
}
