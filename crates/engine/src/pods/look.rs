//! What there is to be seen of pods: `pod ps` and `pod inspect`. The names are Podman's.

use super::{Pod, get, store};
use crate::containers::{self, Listed, ShownBinding, State};
use crate::error::Error;
use serde::Serialize;
use std::collections::BTreeMap;

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Member {
    /// Its id in full.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `running` and so on.
    pub state: &'static str,
    /// It is the infra container.
    #[serde(skip)]
    pub is_infra: bool,
}

impl Member {
    /// Whether it has a process, or will have one in a moment.
    pub(super) fn is_running(&self) -> bool {
        [State::Running, State::Paused, State::Restarting].iter().any(|state| state.name() == self.state)
    }
}

/// What a pod does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodState {
    /// None of its containers was ever started.
    Created,
    /// All of them run.
    Running,
    /// Some run.
    Degraded,
    /// All stand still.
    Paused,
    /// All have ended.
    Exited,
    /// Some have ended, and none runs.
    Stopped,
}

impl PodState {
    /// As Podman names it.
    pub fn name(self) -> &'static str {
        match self {
            PodState::Created => "Created",
            PodState::Running => "Running",
            PodState::Degraded => "Degraded",
            PodState::Paused => "Paused",
            PodState::Exited => "Exited",
            PodState::Stopped => "Stopped",
        }
    }
}

/// The containers of a pod, the infra container first.
pub(super) fn members(pod: &Pod) -> Result<Vec<Member>, Error> {
    Ok(members_of(pod, &containers::list(true)?))
}

fn members_of(pod: &Pod, listed: &[Listed]) -> Vec<Member> {
    let of_pod = listed.iter().filter(|one| one.pod.as_deref() == Some(&pod.id)).map(|one| Member {
        id: one.id.clone(),
        name: one.name.clone().unwrap_or_else(|| one.id.clone()),
        state: one.state.name(),
        is_infra: one.id == pod.infra,
    });
    let mut members: Vec<Member> = of_pod.collect();
    members.sort_by_key(|member| !member.is_infra);
    members
}

/// [libpod/pod_status.go]
pub(super) fn state_of(members: &[Member]) -> PodState {
    let count = |state: State| members.iter().filter(|member| member.state == state.name()).count();
    let all = members.len();
    let (running, paused, ended) =
        (count(State::Running) + count(State::Restarting), count(State::Paused), count(State::Exited));
    match () {
        () if all == 0 => PodState::Created,
        () if running == all => PodState::Running,
        () if running > 0 => PodState::Degraded,
        () if paused == all => PodState::Paused,
        () if ended == all => PodState::Exited,
        () if ended > 0 => PodState::Stopped,
        () if paused > 0 => PodState::Degraded,
        () => PodState::Created,
    }
}

/// All pods with their containers and states, the newest first.
pub fn list() -> Result<Vec<(Pod, Vec<Member>, PodState)>, Error> {
    let listed = containers::list(true)?;
    let with_members = |pod: Pod| {
        let members = members_of(&pod, &listed);
        let state = state_of(&members);
        (pod, members, state)
    };
    let mut pods: Vec<_> = store::all()?.into_iter().map(with_members).collect();
    pods.sort_by(|(a, ..), (b, ..)| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
    Ok(pods)
}

/// The containers of a pod that run, the infra container first.
pub fn running(words: &str) -> Result<Vec<Member>, Error> {
    let mut members = members(&get(words)?)?;
    members.retain(Member::is_running);
    Ok(members)
}

/// The id of the pod that was made last.
pub fn newest() -> Result<Option<String>, Error> {
    Ok(list()?.into_iter().next().map(|(pod, ..)| pod.id))
}

/// Whether there is such a pod.
pub fn exists(words: &str) -> Result<bool, Error> {
    match get(words) {
        Ok(_) => Ok(true),
        Err(Error::NoSuchPod { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The names of all pods, by their ids. What cannot be read is left out.
pub fn named() -> BTreeMap<String, String> {
    store::all().unwrap_or_default().into_iter().map(|pod| (pod.id, pod.name)).collect()
}

/// What `pod inspect` shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the names are Podman's")]
pub struct ShownPod {
    pub id: String,
    pub name: String,
    pub created: String,
    pub create_command: Vec<String>,
    pub state: &'static str,
    pub hostname: String,
    pub labels: BTreeMap<String, String>,
    pub create_infra: bool,
    #[serde(rename = "InfraContainerID")]
    pub infra_container_id: String,
    pub infra_config: ShownInfra,
    pub shared_namespaces: Vec<&'static str>,
    pub num_containers: usize,
    pub containers: Vec<Member>,
}

/// What its infra container has.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[expect(missing_docs, reason = "the names are Podman's")]
pub struct ShownInfra {
    pub port_bindings: BTreeMap<String, Vec<ShownBinding>>,
    pub host_network: bool,
    pub networks: Vec<String>,
}

/// What is known of a pod.
pub fn inspect(words: &str) -> Result<ShownPod, Error> {
    let pod = get(words)?;
    let members = members(&pod)?;
    let gone = || Error::NoSuchPod { words: words.to_owned() };
    let infra = match pod.infra_id() {
        Some(_) => Some(containers::inspect(&pod.infra)?.ok_or_else(gone)?),
        None => None,
    };
    let (hostname, infra_config) = match infra {
        Some(infra) => {
            let host = infra.host_config;
            let of_infra = ShownInfra {
                port_bindings: host.port_bindings,
                host_network: host.network_mode == "host",
                networks: vec![host.network_mode],
            };
            (infra.config.hostname, of_infra)
        }
        None => (String::new(), ShownInfra::default()),
    };
    Ok(ShownPod {
        state: state_of(&members).name(),
        hostname,
        create_infra: pod.infra_id().is_some(),
        infra_container_id: pod.infra,
        infra_config,
        shared_namespaces: pod.share.iter().map(|share| share.name()).collect(),
        num_containers: members.len(),
        containers: members,
        id: pod.id,
        name: pod.name,
        created: pod.created,
        create_command: pod.made_by,
        labels: pod.labels,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_does_what_its_containers_do() {
        for (states, expected) in [
            (&[][..], PodState::Created),
            (&["created"], PodState::Created),
            (&["running", "running"], PodState::Running),
            (&["running", "exited"], PodState::Degraded),
            (&["running", "paused"], PodState::Degraded),
            (&["running", "created"], PodState::Degraded),
            (&["paused", "paused"], PodState::Paused),
            (&["exited", "exited"], PodState::Exited),
            (&["exited", "created"], PodState::Stopped),
        ] {
            let member = |state: &&'static str| Member { id: "a".into(), name: "a".into(), state, is_infra: false };
            let members: Vec<Member> = states.iter().map(member).collect();
            assert_eq!(state_of(&members), expected, "{states:?}");
        }
    }
}
