//! `rm`: a container goes. One that runs is killed through its control group; then its tool, which sees that, removes
//! all that belongs to it, as always.

use super::{Found, alive, locked};
use crate::created;
use crate::error::Error;
use crate::events;
use crate::life;
use crate::pods;
use crate::state::{self, Held, Id};
use rustix::fs::FlockOperation;
use std::time::{Duration, Instant};
use step::step;

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// How long until it is looked at again.
const LOOK: Duration = Duration::from_millis(10);

/// How long a tool may take to remove its container.
const PATIENCE: Duration = Duration::from_secs(20);

/// Removes a container; one that runs only with `force`. With `volumes` also those of its volumes that nobody named and
/// no other container uses.
pub fn remove(words: &str, force: bool, volumes: bool) -> Result<(), Error> {
    // Of two at once one waits for nothing: it is told.
    let (found, _lock) = locked(words, FlockOperation::NonBlockingLockExclusive)?;
    let place = found.facts.as_ref().and_then(|facts| facts.options.as_deref()?.pod.as_ref());
    if let Some(place) = place.filter(|place| place.is_infra)
        && pods::exists(&place.pod)?
    {
        return Err(Error::HoldsPod { container: found.shown().to_owned(), pod: place.pod.clone() });
    }
    remove_found(&found, force, volumes)
}

/// Removes the container that has this very name, if there is one, whether it runs or not: to make room for another.
pub(super) fn remove_called(name: &str) -> Result<(), Error> {
    let Some(found) = super::called(name) else { return Ok(()) };
    match remove(found.id.as_str(), true, false) {
        Err(Error::NoSuchContainer { .. }) => Ok(()),
        done => done,
    }
}

/// Removes the infra container of a pod, if it is there; whether it runs or not.
pub(crate) fn remove_infra(id: &Id) -> Result<(), Error> {
    match locked(id.as_str(), FlockOperation::LockExclusive) {
        Ok((found, _lock)) => remove_found(&found, true, false),
        Err(Error::NoSuchContainer { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The caller has it locked.
fn remove_found(found: &Found, force: bool, volumes: bool) -> Result<(), Error> {
    if found.is_running && !force {
        return Err(Error::IsRunning { container: found.shown().to_owned() });
    }
    let what = || format!("remove container {}", found.id.host_name());
    step("remove-container", "it was asked for", what, || {
        if found.is_running {
            if found.stays {
                life::mark_stopped(&found.id)?;
            }
            kill(found)?;
        }
        let name = found.facts.as_ref().and_then(|facts| facts.name.as_deref());
        // Of one that goes when it ends its tool has told.
        if found.stays {
            // Where nothing says what it is called, its names say whose they are.
            if found.facts.is_none() {
                state::forget_names(&found.id).into_iter().next().map_or(Ok(()), Err)?;
            }
            created::remove(&found.id, name)?;
            events::of_gone("destroy", found.facts.as_ref(), &[]);
        }
        Ok::<(), Error>(())
    })?;
    // What a kill leaves here `volume prune` removes.
    let options = found.facts.as_ref().and_then(|facts| facts.options.as_deref()).filter(|_| volumes && found.stays);
    options.map_or(Ok(()), |options| crate::volumes::remove_unused(&options.volumes))
}

/// What killed commands left behind, removed, of a part of the containers where there are many; what could not be.
pub fn tidy() -> Vec<String> {
    told(&crate::sweep::sweep(None))
}

/// As [`tidy`], of all.
pub fn tidy_all() -> Vec<String> {
    told(&crate::sweep::sweep_all())
}

fn told(errors: &[Error]) -> Vec<String> {
    errors.iter().map(|error| format!("cannot clean up: {error}")).collect()
}

/// Kills it until its tool has removed it: it may be only starting, and have no process yet.
fn kill(found: &Found) -> Result<(), Error> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        match state::try_hold(&found.id)? {
            Held::Gone => return Ok(()),
            // Its tool was killed.
            Held::Dead(record) => {
                return crate::sweep::remove_container(&found.id, &record).into_iter().next().map_or(Ok(()), Err);
            }
            Held::Alive => {
                crate::sweep::kill_processes(&found.id, found.cgroup_parent())?;
                // Without a group its first process is killed, with which the others of its namespace end.
                if crate::rootless::is_rootless()
                    && let Ok(first) = alive::first(found)
                {
                    let _ = alive::send(found, &first, SIGKILL);
                }
                match alive::tool(found) {
                    Ok(tool) => {
                        // A monitor that waits for the time of the next start need not.
                        if found.stays {
                            let _ = alive::send(found, &tool, SIGTERM);
                        }
                        // It may be gone before the time is over, and it may be that its process was only being made.
                        let _ = alive::wait(&[&tool], Some(LOOK));
                    }
                    Err(_) => std::thread::sleep(LOOK),
                }
            }
        }
    }
    let tool = found.facts().ok().and_then(|facts| facts.tool_pid).unwrap_or_default();
    Err(Error::NotRemoved { container: found.shown().to_owned(), tool })
}
