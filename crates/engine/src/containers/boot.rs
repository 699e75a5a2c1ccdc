//! `system boot`: after the machine has started, the containers that shall run do.
//!
//! Nothing of the boot before can confuse it: records, sockets and leases are in /run, which is new, and what is left there
//! of another boot all the same belongs to nobody that lives, and is swept away.

use super::{Found, StartOrder, all, start};
use crate::attach::Note;
use crate::error::Error;
use crate::life;
use crate::passing;

/// Removes what should have gone when the machine went down, and starts every container that stays, has run before and does not run, and has a policy that wants it to run after a boot.
/// Tells of each what became of it, by name, and `note` what is worth knowing of a start.
pub fn boot(told: &mut dyn FnMut(&str, Result<(), Error>), note: Note<'_>) -> Result<(), Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let is_wanted = |found: &Found| {
        let policy = found.facts.as_ref().and_then(|facts| facts.options.as_deref()).map(|options| options.restart);
        let has_run = || life::read(&found.id).is_some_and(|life| life.started.is_some());
        !found.is_running && has_run() && policy.is_some_and(|policy| policy.wants_at_boot(life::is_stopped(&found.id)))
    };
    let all = all();
    // What is in nobody's way is no reason not to go on.
    let of_stopped = all.iter().filter(|found| !found.is_running && found.stays);
    of_stopped.for_each(|found| drop(found.facts.as_ref().map(|facts| passing::tidy(&found.id, facts))));
    let mut wanted: Vec<Found> = all.into_iter().filter(is_wanted).collect();
    // In the order in which they were made: one that needs another was made after it.
    wanted.sort_by(|a, b| {
        a.facts.as_ref().map(|facts| &facts.created).cmp(&b.facts.as_ref().map(|facts| &facts.created))
    });
    for found in wanted {
        let started = start(found.id.as_str(), &StartOrder::default(), note).map(drop);
        told(found.shown(), started);
    }
    Ok(())
}
