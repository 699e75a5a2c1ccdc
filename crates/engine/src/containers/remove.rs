//! `rm`: a container goes. One that runs is killed through its control group; then its tool, which sees that, removes
//! all that belongs to it, as always.

use super::{Found, get};
use crate::created;
use crate::error::Error;
use crate::state::{self, Held};
use rustix::fs::FlockOperation;
use std::time::{Duration, Instant};
use step::step;

/// How long a tool may take to remove its container.
const PATIENCE: Duration = Duration::from_secs(20);

/// Removes a container; one that runs only with `force`.
pub fn remove(words: &str, force: bool) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let found = get(words)?;
    if found.is_running && !force {
        return Err(Error::IsRunning { container: found.shown().to_owned() });
    }
    // Of two at once one waits for nothing: it is told.
    let _lock = found.lock(FlockOperation::NonBlockingLockExclusive)?;
    let what = || format!("remove container {}", found.id.host_name());
    step("remove-container", "it was asked for", what, || match found.is_running {
        true => kill(&found),
        false => created::remove(&found.id),
    })
}

/// What killed commands left behind, removed; what could not be.
pub fn tidy() -> Vec<String> {
    crate::sweep::sweep_all().iter().map(|error| format!("cannot clean up: {error}")).collect()
}

/// Kills it until its tool has removed it: it may be only starting, and have no process yet.
fn kill(found: &Found) -> Result<(), Error> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        match state::try_hold(&found.id)? {
            Held::Gone => return Ok(()),
            // Its tool was killed.
            Held::Dead(_lock) => {
                return crate::sweep::remove_container(&found.id).into_iter().next().map_or(Ok(()), Err);
            }
            Held::Alive => crate::sweep::kill_processes(&found.id)?,
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let tool = found.facts().ok().and_then(|facts| facts.tool_pid).unwrap_or_default();
    Err(Error::NotRemoved { container: found.shown().to_owned(), tool })
}
