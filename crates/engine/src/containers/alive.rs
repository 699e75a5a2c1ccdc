//! A container that runs: its first process and the tool that holds it, each by pidfd, so that no signal and no wait ever
//! meets another process that got the number.

use super::{Found, tree};
use crate::error::Error;
use std::os::fd::{AsRawFd, OwnedFd};

/// Its first process.
pub(super) fn first(found: &Found) -> Result<OwnedFd, Error> {
    if !found.is_running {
        return Err(Error::NotRunning { container: found.shown().to_owned() });
    }
    tree::first_process(&found.id, found.facts()?)
}

/// The number of a pidfd's process, while it lives. [proc_pid_fdinfo(5)]
pub(super) fn pid_of(pidfd: &OwnedFd) -> Option<i32> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
    (pid > 0).then_some(pid)
}
