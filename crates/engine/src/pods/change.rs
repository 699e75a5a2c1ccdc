//! What is done with all containers of a pod together. The infra container is started first, and ends last.

use super::look::{Member, PodState, members, state_of};
use super::{PodPlace, get, start_infra, store};
use crate::attach::Note;
use crate::containers::{self, StartOrder, StopOrder};
use crate::error::Error;
use crate::options::RunOptions;
use rustix::fs::FlockOperation;
use std::time::Duration;

/// How long a container that is asked to end has, if that is said.
type Patience = Option<Option<Duration>>;

/// Starts every container of a pod that does not run.
pub fn start(words: &str, note: Note<'_>) -> Result<(), Error> {
    let pod = get(words)?;
    let place = Some(PodPlace { pod: pod.id.clone(), ..PodPlace::default() });
    start_infra(&RunOptions { pod: place, ..RunOptions::default() })?;
    each(members(&pod)?.iter().filter(|member| !member.is_infra), |member| {
        containers::start(&member.id, &StartOrder::default(), note).map(drop)
    })
}

/// Ends every container of a pod that runs.
pub fn stop(words: &str, patience: Patience) -> Result<(), Error> {
    stop_members(&members(&get(words)?)?, patience)
}

fn stop_members(members: &[Member], patience: Patience) -> Result<(), Error> {
    let order = StopOrder { timeout: patience, ..StopOrder::default() };
    let mut first = Ok(());
    // The infra container last: what it holds is theirs while they end.
    for is_infra in [false, true] {
        let ids: Vec<String> = members
            .iter()
            .filter(|member| member.is_infra == is_infra && member.is_running())
            .map(|member| member.id.clone())
            .collect();
        containers::stop(&ids, order, &mut |_, done| {
            // One that goes at its end may be gone.
            if !matches!(done, Err(Error::NoSuchContainer { .. })) && first.is_ok() {
                first = done;
            }
        });
    }
    first
}

/// Ends every container of a pod that runs, and starts all.
pub fn restart(words: &str, note: Note<'_>) -> Result<(), Error> {
    stop(words, None)?;
    start(words, note)
}

/// Sends a signal to every container of a pod that runs.
pub fn kill(words: &str, signal: i32) -> Result<(), Error> {
    let mut members = members(&get(words)?)?;
    members.sort_by_key(|member| member.is_infra);
    each(members.iter().filter(|member| member.is_running()), |member| {
        match containers::kill(&member.id, signal) {
            // In a pid namespace that they share the end of one may be that of all.
            Err(Error::NotRunning { .. } | Error::NoSuchContainer { .. } | Error::NoProcess { .. }) => Ok(()),
            done => done,
        }
    })
}

/// Lets all containers of a pod that run stand still, or run on.
pub fn set_paused(words: &str, paused: bool) -> Result<(), Error> {
    let members = members(&get(words)?)?;
    each(members.iter().filter(|member| member.is_running()), |member| {
        match containers::set_paused(&member.id, paused) {
            Err(Error::IsPaused { .. } | Error::NotPaused { .. } | Error::NotRunning { .. }) => Ok(()),
            done => done,
        }
    })
}

/// Removes a pod with its containers; one in which others than the infra container run only with `force`.
pub fn remove(words: &str, force: bool, patience: Patience) -> Result<(), Error> {
    let pod = get(words)?;
    // Who makes a container in it has done by then, and who comes finds it gone.
    let gone = || Error::NoSuchPod { words: words.to_owned() };
    let _lock = store::lock(&pod, FlockOperation::LockExclusive)?.ok_or_else(gone)?;
    let members = members(&pod)?;
    let running: Vec<&Member> = members.iter().filter(|member| !member.is_infra && member.is_running()).collect();
    if let Some(first) = running.first().filter(|_| !force) {
        return Err(Error::PodRuns { pod: pod.name, container: first.name.clone() });
    }
    if patience.is_some() {
        stop_members(&members, patience)?;
    }
    each(members.iter().filter(|member| !member.is_infra), |member| {
        match containers::remove(&member.id, force, true) {
            Err(Error::NoSuchContainer { .. }) => Ok(()),
            done => done,
        }
    })?;
    // From here on it is no pod any more: what a kill leaves the next command removes.
    pod.infra_id().map_or(Ok(()), |infra| containers::remove_infra(&infra))?;
    store::remove(&pod)
}

/// Removes the pod that has this very name, if there is one, with its containers: to make room for another.
pub(super) fn remove_called(name: &str) -> Result<(), Error> {
    // An id may begin with what is meant as a name.
    let Some(pod) = store::all()?.into_iter().find(|pod| pod.name == name) else { return Ok(()) };
    match remove(&pod.id, true, None) {
        Err(Error::NoSuchPod { .. }) => Ok(()),
        done => done,
    }
}

/// Removes every pod in which nothing runs: their ids, and what could not be removed.
pub fn prune() -> Result<(Vec<String>, Vec<Error>), Error> {
    let (mut removed, mut errors) = (Vec::new(), Vec::new());
    for pod in store::all()? {
        if !matches!(state_of(&members(&pod)?), PodState::Exited | PodState::Created | PodState::Stopped) {
            continue;
        }
        match remove(&pod.id, false, None) {
            Ok(()) => removed.push(pod.id),
            Err(error) => errors.push(error),
        }
    }
    Ok((removed, errors))
}

/// Does something with each, and tells the first failure.
fn each<'a>(
    members: impl Iterator<Item = &'a Member>,
    mut act: impl FnMut(&Member) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut first = Ok(());
    for member in members {
        first = first.and(act(member));
    }
    first
}
