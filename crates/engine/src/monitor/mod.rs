//! A container's monitor: the process that a container in the background belongs to.
//!
//! It is this tool's own process, cloned from the command that starts the container and detached from it: a container has
//! one, and there is no other process of ours while it runs. It holds the container's record and is the parent of its
//! first process, which ends with it (its parent-death signal): so a container without a monitor does not run, whatever
//! happened, and nobody has to guess.
//!
//! What it does, in order (`watch`): takes the record; makes the log and the socket; starts the container, and tells the
//! command that it did or why not; then, in one loop, carries what is printed to the log and to who is attached
//! (`clients`), what is typed to the program (`program`), looks after its health (`health`), and waits for its end; writes
//! how it ended; starts it again, if its policy asks for that; gives the record up; and says how it ended.
//!
//! Until it has the record it has the lock of who starts it, too (flock(2): both hold one open file): whoever comes while
//! it is on its way to the record, and its starter was killed, finds the container locked as before, and cannot remove it
//! or start it a second time.
//!
//! On the host it leaves the record, the socket, and what a container has: all are found by the id, and a sweep removes
//! them, the record last.

mod clients;
mod health;
mod program;
mod watch;
pub(crate) mod wire;

use crate::error::Error;
use crate::state::{Facts, Id};
use crate::userns::mounts;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use step::step;

/// A container that shall run in the background.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: Id,
    /// What it is, with the options that it was made with.
    pub(crate) facts: Facts,
    /// It stays when it ends, and is on disk.
    pub(crate) stays: bool,
    /// Columns and rows of the terminal of who starts it.
    pub(crate) size: Option<(u16, u16)>,
    /// `--pidfile`: where the number of its first process is written.
    pub(crate) pid_file: Option<PathBuf>,
}

/// Starts a container's monitor. What becomes of the container is told through the line that is returned: first that it
/// runs, or why it does not. `lock` is that of the container, if it stays: the monitor shares it until it has the record. The caller is
/// single-threaded.
pub(crate) fn spawn(job: Job, lock: Option<&OwnedFd>) -> Result<OwnedFd, Error> {
    let failed =
        |source| Error::Process { what: "start the monitor of", container: job.facts.shown().to_owned(), source };
    let (ours, theirs) = wire::pair().map_err(|error| failed(error.into()))?;
    let lock = lock.map(OwnedFd::try_clone).transpose().map_err(failed)?;
    let what = || format!("clone the monitor of {}", job.facts.shown());
    // Its owners are mapped by what the command made to see that they can be.
    let mapper = job.facts.maps.as_ref().and_then(|_| mounts::last());
    let (has_lock, has_mapper) = (lock.is_some(), mapper.is_some());
    let watch = |mut kept: Vec<OwnedFd>| {
        let Some(line) = kept.pop() else { return };
        let lock = has_lock.then(|| kept.pop()).flatten();
        if let Some(mapper) = has_mapper.then(|| kept.pop()).flatten() {
            mounts::take_over(mapper);
        }
        watch::main(&job, line, lock);
    };
    let kept = mapper.into_iter().chain(lock).chain([theirs]).collect();
    step("spawn-monitor", "the container lives on when this command has ended", what, || {
        sys::detach::spawn_detached_with(c"mc-monitor", kept, &step::descriptors(), watch)
    })
    .map_err(failed)?;
    Ok(ours)
}
