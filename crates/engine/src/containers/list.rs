//! `ps`: the containers that there are, as a list shows them.
//!
//! A container costs one file read, one that has a health check another, and one that runs a look at its freezer. Nothing is
//! looked for that could be cleaned up: a list has to be fast. But what a killed tool has left of one that would be listed
//! goes first, so that nothing runs that is shown as ended.

use super::{Found, Left, port};
use crate::created;
use crate::endpoints;
use crate::error::Error;
use crate::health;
use crate::life::{self, Life};
use crate::options::{RunOptions, Volume};
use crate::state::{self, Id};
use cgroup::Freezer;
use std::collections::{BTreeMap, BTreeSet};

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
    let freezer = freezer_of_host();
    let look = |id: &Id| match Found::peek(id) {
        Ok(found) => found.map(|found| Ok(listed(found, freezer.as_ref()))),
        Err(left) => Some(Err(left)),
    };
    // What a killed tool has left is removed by one thread; what then is there is no container that runs.
    let swept = |looked: Result<Listed, Left>| match looked {
        Ok(listed) => Some(listed),
        Err(Left(id)) => Found::load(&id).map(|found| listed(found, freezer.as_ref())),
    };
    // First those that run, so that none is missed on its way.
    let mut all: Vec<Listed> = by_two(&state::all(), look).into_iter().filter_map(swept).collect();
    all.retain(Listed::is_running);
    if every {
        let known: BTreeSet<&str> = all.iter().map(|one| one.id.as_str()).collect();
        let others: Vec<Id> = created::ids().into_iter().filter(|id| !known.contains(id.as_str())).collect();
        all.extend(by_two(&others, look).into_iter().filter_map(swept));
    }
    all.sort_unstable_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
    Ok(all)
}

/// How many containers are worth a second thread, which costs as much as two or three of them.
const MANY: usize = 64;

/// Looks at each, in no order: at many with two threads, for most of the time goes into waiting for memory that was not
/// looked at for a while. They make no process, and change nothing.
fn by_two<T: Send>(ids: &[Id], look: impl Fn(&Id) -> Option<T> + Sync) -> Vec<T> {
    let some = |ids: &[Id]| -> Vec<T> { ids.iter().filter_map(&look).collect() };
    if ids.len() < MANY {
        return some(ids);
    }
    let (ours, others) = ids.split_at(ids.len() / 2);
    std::thread::scope(|scope| {
        let second = std::thread::Builder::new().spawn_scoped(scope, || some(others));
        let mut all = some(ours);
        // There may be no room for another.
        all.extend(second.ok().and_then(|second| second.join().ok()).unwrap_or_else(|| some(others)));
        all
    })
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
fn listed(found: Found, freezer: Option<&Freezer>) -> Listed {
    let life = of(&found);
    let state = state(&found, life.as_ref(), freezer);
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
    let health = health::read(&found.id, &facts.config, found.is_running).map(|health| health.status);
    let is_reached = found.is_running && facts.options.as_deref().is_some_and(endpoints::has_addresses);
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
        networks: facts.options.as_deref().map(|options| options.network.names()).unwrap_or_default(),
        mounts: facts.options.as_deref().map(mounts).unwrap_or_default(),
        pod: facts.options.and_then(|options| options.pod).map(|place| place.pod),
        health,
        ..nothing
    }
}

/// The paths of the host and the named volumes that it shows.
fn mounts(options: &RunOptions) -> Vec<String> {
    let source = |volume: &Volume| volume.name.clone().unwrap_or_else(|| volume.source.to_string_lossy().into_owned());
    options.volumes.iter().map(source).collect()
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

/// Where it is seen what stands still.
pub(super) fn freezer_of_host() -> Option<Freezer> {
    cgroup::Host::detect().ok()?.freezer()
}

/// What it does; one whose freezer cannot be read is taken to run.
pub(super) fn state(found: &Found, life: Option<&Life>, freezer: Option<&Freezer>) -> State {
    match freezer {
        _ if !found.is_running => life.map_or(State::Created, |_| State::Exited),
        _ if found.news.restarting == Some(true) => State::Restarting,
        Some(freezer) if found.location().is_ok_and(|group| freezer.holds(&group).unwrap_or(false)) => State::Paused,
        _ => State::Running,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_threads_leave_none_out() {
        for count in [0, 1, MANY - 1, MANY, MANY + 1, 1000] {
            let ids: Vec<Id> = (0..count).map(|_| Id::random().unwrap()).collect();
            let is_wanted = |id: &Id| id.as_str().bytes().next().is_some_and(|first| first < b'8');
            let mut found = by_two(&ids, |id| is_wanted(id).then(|| id.clone()));
            let mut expected: Vec<Id> = ids.into_iter().filter(is_wanted).collect();
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{count}");
        }
    }
}
