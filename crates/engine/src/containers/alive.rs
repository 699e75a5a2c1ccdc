//! A container that runs: its first process and the tool that holds it, each by pidfd, so that no signal and no wait ever
//! meets another process that got the number.

use super::{Found, process};
use crate::error::Error;
use crate::state::{self, Held};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;
use step::step;

/// Its first process.
pub(super) fn first(found: &Found) -> Result<OwnedFd, Error> {
    if !found.is_running {
        return Err(Error::NotRunning { container: found.shown().to_owned() });
    }
    Ok(process::first(&found.id, &found.open_cgroup()?, found.facts()?)?.pidfd)
}

/// What to say when something failed with `error`: that the container does not run, or has no process, if that is so by now.
/// It was running when it was found, and others may end it, remove it and start it again at any time.
pub(super) fn or_ended(found: &Found, error: Error) -> Error {
    let container = || found.shown().to_owned();
    match Found::load(&found.id).filter(|now| now.is_running) {
        None => Error::NotRunning { container: container() },
        Some(now) if now.news.started == found.news.started && first(&now).is_ok() => error,
        Some(_) => Error::NoProcess { container: container() },
    }
}

/// The number of a pidfd's process, while it lives. [proc_pid_fdinfo(5)]
pub(super) fn pid_of(pidfd: &OwnedFd) -> Option<i32> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
    (pid > 0).then_some(pid)
}

/// The tool that runs it.
pub(super) fn tool(found: &Found) -> Result<OwnedFd, Error> {
    let ended = || Error::NotRunning { container: found.shown().to_owned() };
    let pid = found.facts()?.tool_pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let tool = match pidfd_open(pid.ok_or_else(ended)?, PidfdFlags::empty()) {
        Ok(tool) => tool,
        Err(Errno::SRCH) => return Err(ended()),
        Err(error) => return Err(Error::process("find the tool that runs", found.shown())(error)),
    };
    // It holds its record still: so the number was its own when the pidfd was made.
    if matches!(state::try_hold(&found.id)?, Held::Alive) { Ok(tool) } else { Err(ended()) }
}

/// Sends a signal. False when the process is gone.
pub(super) fn send(found: &Found, process: &OwnedFd, signal: i32) -> Result<bool, Error> {
    let what = || format!("signal {signal} to the first process of {}", found.shown());
    step("send-signal", "by its pidfd: no other process can get it", what, || {
        match sys::signal::send_to_pidfd(process.as_fd(), signal) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(false),
            Err(source) => Err(Error::Process { what: "signal", container: found.shown().to_owned(), source }),
        }
    })
}

/// Waits until one of the processes has ended, or for so long: none of an unlimited time. Whether each has ended.
pub(super) fn wait(processes: &[&OwnedFd], time: Option<Duration>) -> Result<Vec<bool>, Errno> {
    let mut wanted: Vec<PollFd<'_>> = processes.iter().map(|process| PollFd::new(*process, PollFlags::IN)).collect();
    let time = time.map(|time| Timespec { tv_sec: time.as_secs() as _, tv_nsec: time.subsec_nanos().into() });
    match poll(&mut wanted, time.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(wanted.iter().map(|process| !process.revents().is_empty()).collect()),
        Err(error) => Err(error),
    }
}
