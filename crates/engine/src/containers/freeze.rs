//! `pause` and `unpause`: a container stands still until it is told to go on.
//!
//! The freezer of its control group is the only state there is: a command that is killed in the middle leaves the container
//! standing or running, and every other command sees which.

use super::{alive, get};
use crate::error::Error;
use crate::events;
use rustix::fs::FlockOperation;

/// Lets a container stand still, or run on.
pub fn set_paused(words: &str, paused: bool) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let found = get(words)?;
    let container = || found.shown().to_owned();
    if !found.is_running {
        return Err(Error::NotRunning { container: container() });
    }
    // Not while `commit` lets it stand still: that would let it run on in the end.
    let _lock = found.lock(FlockOperation::LockShared)?;
    // The group of one that ends meanwhile is gone.
    let wrap = |error| alive::or_ended(&found, runtime::Error::from(error).into());
    let group = found.open_cgroup()?;
    if !group.exists() && crate::rootless::is_rootless() {
        return Err(Error::NoGroup { container: container() });
    }
    if !group.exists() {
        return Err(Error::NoProcess { container: container() });
    }
    match (paused, group.is_frozen().map_err(wrap)?) {
        (true, true) => Err(Error::IsPaused { container: container() }),
        (false, false) => Err(Error::NotPaused { container: container() }),
        (true, false) => {
            group.freeze().map_err(wrap)?;
            events::container("pause", found.facts()?, &[]);
            Ok(())
        }
        (false, true) => {
            group.thaw().map_err(wrap)?;
            events::container("unpause", found.facts()?, &[]);
            Ok(())
        }
    }
}
