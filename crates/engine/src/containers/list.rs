//! `ps`: the containers that there are, as a list shows them.
//!
//! A container costs one file read, one that has a health check another, and one that runs a look at its freezer. Nothing is
//! looked for that could be cleaned up: a list has to be fast. But what a killed tool has left of one that would be listed
//! goes first, so that nothing runs that is shown as ended.

use super::{Found, each, each_running, port};
use crate::endpoints;
use crate::error::Error;
use crate::given::Given;
use crate::health;
use crate::life::{self, Life};
use std::cell::OnceCell;
use std::collections::BTreeMap;

/// A container in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// What its health check has found, if it has one.
    pub health: Option<health::Status>,
    /// When it was started last, RFC 3339; of one that never was, nothing.
    pub started: Option<String>,
    /// When it ended.
    pub finished: Option<String>,
    /// How it ended, if it has.
    pub exit_code: i32,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Ports at which it listens while it runs, as Docker shows them: `80/tcp`, or `0.0.0.0:8080->80/tcp` of one that is
    /// published.
    pub ports: Vec<String>,
    /// The ports of the host that lead to it, as `8080/tcp`.
    pub public_ports: Vec<String>,
    /// The ports at which it listens while it runs, as `80/tcp`.
    pub private_ports: Vec<String>,
    /// The names of its networks, `none` or `host`; empty where its record does not say.
    pub networks: Vec<String>,
    /// The id of the pod that it is in.
    pub pod: Option<String>,
    /// Paths of the host that it shows, and named volumes.
    pub mounts: Vec<String>,
}

/// What a container does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It was never started.
    #[default]
    Created,
    /// It runs.
    Running,
    /// It stands still.
    Paused,
    /// It has ended, and its policy starts it again in a moment.
    Restarting,
    /// It has ended.
    Exited,
}

impl Listed {
    /// Whether it has a process, or will have one in a moment.
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running | State::Paused | State::Restarting)
    }
}

impl State {
    /// As Docker names it.
    pub fn name(self) -> &'static str {
        match self {
            State::Created => "created",
            State::Running => "running",
            State::Paused => "paused",
            State::Restarting => "restarting",
            State::Exited => "exited",
        }
    }
}

/// Those that run, or every one; the newest first.
pub fn list(every: bool) -> Result<Vec<Listed>, Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let (host, mut all) = (OnceCell::new(), Vec::new());
    let mut take = |found: Found| {
        let host = if found.is_running { host.get_or_init(|| cgroup::Host::detect().ok()).as_ref() } else { None };
        all.push(listed(found, host));
    };
    if every {
        each(&mut take)
    } else {
        each_running(&mut take)
    }
    all.sort_unstable_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
    Ok(all)
}

/// The id of the container that was made last.
pub fn newest() -> Result<Option<String>, Error> {
    Ok(list(true)?.into_iter().next().map(|one| one.id))
}

/// The id of the container that words mean.
pub fn id_of(words: &str) -> Result<String, Error> {
    super::get(words).map(|found| found.id.as_str().to_owned())
}

// By value: of a thousand containers the copies would be what takes the time.
fn listed(found: Found, host: Option<&cgroup::Host>) -> Listed {
    let life = of(&found);
    let state = state(&found, life.as_ref(), host);
    let life = life.unwrap_or_default();
    let nothing = Listed {
        id: found.id.as_str().to_owned(),
        state,
        started: life.started,
        finished: life.finished,
        exit_code: life.exit_code,
        ..Listed::default()
    };
    // What is not to be read is not shown: a list must not end at one of many.
    let published = port::published(&found).unwrap_or_default();
    let Some(facts) = found.facts else { return nothing };
    let given = facts.options.as_ref().map(Given::of).unwrap_or_default();
    let health = health::read(&found.id, &facts.config, found.is_running).map(|health| health.status);
    let is_reached = found.is_running && facts.options.as_ref().is_some_and(endpoints::has_addresses);
    Listed {
        name: facts.name,
        image: facts.root,
        image_name: facts.image_name,
        manifest: facts.image,
        command: facts.command,
        created: facts.created,
        labels: facts.labels,
        ports: if is_reached { port::in_a_line(&facts.config.exposed_ports, &published) } else { Vec::new() },
        public_ports: published.iter().map(|one| format!("{}/{}", one.host.port(), one.protocol)).collect(),
        private_ports: if is_reached { facts.config.exposed_ports.into_iter().collect() } else { Vec::new() },
        networks: given.networks,
        pod: facts.options.and_then(|options| options.pod).map(|place| place.pod),
        health,
        mounts: given.mounts.into_iter().filter_map(|mount| mount.source.or(mount.volume)).collect(),
        ..nothing
    }
}

/// What is known of its last run, or of this one; nothing of one that was never started.
pub(super) fn of(found: &Found) -> Option<Life> {
    if !found.is_running {
        return life::of_stopped(&found.id).filter(|life| life.started.is_some());
    }
    if found.news.restarting == Some(true) {
        // How it ended, and when, is what there is to tell.
        return life::read(&found.id);
    }
    let news = found.news.clone();
    // One in the foreground is started as its record is written.
    let written = || found.facts.as_ref().map(|facts| facts.created.clone());
    let started = if found.stays { news.started } else { news.started.or_else(written) };
    Some(Life { started, restarts: news.restarts.unwrap_or_default(), ..Life::default() })
}

/// What it does; one whose freezer cannot be read is taken to run.
pub(super) fn state(found: &Found, life: Option<&Life>, host: Option<&cgroup::Host>) -> State {
    match host {
        _ if !found.is_running => life.map_or(State::Created, |_| State::Exited),
        _ if found.news.restarting == Some(true) => State::Restarting,
        Some(host) if found.location().is_ok_and(|group| host.is_frozen(&group).unwrap_or(false)) => State::Paused,
        _ => State::Running,
    }
}
