//! A container stands still while its layer is read.
//!
//! Whatever becomes of us, it runs on: a second process waits for our end, by a pipe that the kernel closes however we
//! die, and thaws it. Until it has, it also holds the container's lock, so that nobody else takes this for a stop of
//! somebody's own.

use crate::error::Error;
use cgroup::Cgroup;
use rustix::process::{Pid, WaitOptions, waitpid};
use std::os::fd::OwnedFd;

/// Ends with the value.
pub(super) struct Paused {
    group: Cgroup,
    watcher: Option<(Pid, OwnedFd)>,
}

/// Stops the container of a group. None when somebody else has stopped it. For a process of one thread; `_lock` is shared with the
/// second one by the fork itself.
pub(super) fn pause(group: Cgroup, _lock: &OwnedFd) -> Result<Option<Paused>, Error> {
    let wrap = |error| Error::from(runtime::Error::from(error));
    // An ordinary user's has none, and is read while it runs.
    if !group.exists() {
        return Ok(None);
    }
    if group.is_frozen().map_err(wrap)? {
        return Ok(None);
    }
    let failed = |what| Error::file(what, "who lets the container run on");
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(failed("talk to"))?;
    let system = |error: std::io::Error| rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO);
    let watcher = match sys::fork::fork().map_err(|error| failed("make")(system(error)))? {
        None => {
            drop(theirs);
            watch(&group, &ours)
        }
        Some(pid) => Pid::from_raw(pid).map(|pid| (pid, theirs)),
    };
    // From here on it is thawed when this is dropped.
    let paused = Paused { group, watcher };
    paused.group.freeze().map_err(wrap)?;
    Ok(Some(paused))
}

/// The second process.
fn watch(group: &Cgroup, pipe: &OwnedFd) -> ! {
    // What a terminal sends to those in front of it is not for this one.
    let _ = rustix::process::setsid();
    let mut byte = [0u8; 1];
    while !matches!(rustix::io::retry_on_intr(|| rustix::io::read(pipe, &mut byte)), Ok(0) | Err(_)) {}
    let _ = group.thaw();
    sys::fork::exit_now(0)
}

impl Drop for Paused {
    fn drop(&mut self) {
        let _ = self.group.thaw();
        if let Some((pid, pipe)) = self.watcher.take() {
            drop(pipe);
            let _ = rustix::io::retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()));
        }
    }
}
