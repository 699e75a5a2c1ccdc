//! `healthcheck run`: a container's check once, at this moment, for who asks. What its monitor knows of its health is its
//! own, and stays as it is.

use super::{alive, get};
use crate::error::Error;
use crate::health::{Check, command};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::AsFd;
use std::process::Stdio;
use sys::signal::send_to_pidfd;

const SIGKILL: i32 = 9;

/// Runs it, to its end or as long as it may take. True when it has succeeded. What it prints, and what is said of a check
/// that cannot be executed, goes to standard error.
pub fn healthcheck(words: &str) -> Result<bool, Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let found = get(words)?;
    let container = found.shown().to_owned();
    let facts = found.facts()?;
    let Some(check) = Check::of(&facts.config) else { return Err(Error::NoCheck { container }) };
    if !found.is_running {
        return Err(Error::NotRunning { container });
    }
    if found.open_cgroup()?.is_frozen().map_err(runtime::Error::from)? {
        return Err(Error::IsPaused { container });
    }
    let failed = |source| Error::Process { what: "run the health check of", container: container.clone(), source };
    let output = rustix::stdio::stderr().try_clone_to_owned().map_err(failed)?;
    let mut child = command(&found.id, &check).stdout(Stdio::from(output)).spawn().map_err(failed)?;
    // It is not waited for as yet, so the number is its own.
    let has_ended = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).and_then(|pidfd| {
        let has_ended = alive::wait(&[&pidfd], Some(check.timeout))? == [true];
        if !has_ended {
            let _ = send_to_pidfd(pidfd.as_fd(), SIGKILL);
        }
        Ok(has_ended)
    });
    if has_ended.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(failed)?;
    Ok(has_ended.map_err(|error| failed(error.into()))? && status.success())
}
