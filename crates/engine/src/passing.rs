//! Containers that are on disk and go when they have ended: those of `create --rm`. (One of `run --rm` is never there.)
//!
//! Its monitor removes it, before it gives its record up, so that a kill in between leaves a record, by which a sweep finds
//! the rest. While somebody else has the container locked, as `cp` and `commit` have, it is removed when he has done: then
//! the record is gone, for `rm --force` has it locked, too, and waits for that. A kill of the monitor in this moment, or a
//! machine that goes down, leaves a container that has ended; `system boot` and `prune` remove it.

use crate::created;
use crate::error::Error;
use crate::events;
use crate::life;
use crate::state::{self, Facts, Held, Id};
use crate::volumes;
use rustix::fs::FlockOperation;

/// Whether it goes when it has ended.
pub(crate) fn is_passing(facts: &Facts) -> bool {
    facts.options.as_deref().is_some_and(|options| options.auto_remove)
}

/// Removes one that has ended, if nobody has it locked. True when it is gone.
pub(crate) fn try_remove(id: &Id) -> Result<bool, Error> {
    match created::lock(id, FlockOperation::NonBlockingLockExclusive)? {
        Some(_lock) => remove_locked(id).map(|()| true),
        None => Ok(!created::exists(id)),
    }
}

/// Removes one that has ended, and has no record any more, when whoever has it locked has done.
pub(crate) fn remove_in_time(id: &Id) -> Result<(), Error> {
    match created::lock(id, FlockOperation::LockExclusive)? {
        // Unless he has started it.
        Some(_lock) if matches!(state::try_hold(id)?, Held::Gone) => remove_locked(id),
        _ => Ok(()),
    }
}

/// Removes it. The caller has it locked.
pub(crate) fn remove_locked(id: &Id) -> Result<(), Error> {
    // A rename has written it anew.
    let Some(facts) = created::read(id)? else { return Ok(()) };
    created::remove(id, facts.name.as_deref())?;
    events::container("destroy", &facts, &[]);
    facts.options.as_deref().map_or(Ok(()), |options| volumes::remove_unused(&options.volumes))
}

/// Removes what a machine that went down has left of one.
pub(crate) fn tidy(id: &Id, facts: &Facts) -> Result<(), Error> {
    if !is_passing(facts) {
        return Ok(());
    }
    match created::lock(id, FlockOperation::NonBlockingLockExclusive)? {
        // Looked at under the lock: it may just be started.
        Some(_lock) if life::read(id).is_some() && matches!(state::try_hold(id)?, Held::Gone) => remove_locked(id),
        _ => Ok(()),
    }
}
