//! Stopping a group's processes, and letting them go on.
//!
//! Both versions only note the wish; the processes stop when they next leave the kernel, and one in an uninterruptible
//! sleep does not. So each freeze is waited for, and taken back when it does not come about in time: a container is
//! never left half frozen.

use crate::{Error, file};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::time::{Duration, Instant};

/// For a person who asked for it; runc waits as long.
pub(crate) const PATIENTLY: Duration = Duration::from_secs(10);
/// Where standing still only helps.
pub(crate) const BRIEFLY: Duration = Duration::from_millis(50);

const TOO_LONG: &str = "some of them cannot be stopped now (they wait for a disk or a network file system)";

fn failed(act: &'static str, path: &str, why: impl ToString) -> Error {
    let why = why.to_string();
    Error::Freeze { act, path: path.into(), why }
}

/// Freezes the v1 group in the freezer's hierarchy.
pub(crate) fn freeze_v1(path: &str, patience: Duration) -> Result<(), Error> {
    let until = Instant::now() + patience;
    let frozen = wait_v1(path, until);
    if frozen.is_err() {
        let _ = thaw_v1(path);
    }
    frozen
}

fn wait_v1(path: &str, until: Instant) -> Result<(), Error> {
    let state = format!("{path}/freezer.state");
    for round in 1u64.. {
        // Written anew each time: the kernel then looks again at processes that came while it was at it.
        file::write(&state, "FROZEN").map_err(|errno| failed("freeze", path, errno))?;
        if file::read(&state)?.trim() == "FROZEN" {
            return Ok(());
        }
        if Instant::now() > until {
            break;
        }
        if round % 50 == 0 {
            // Processes can wait for each other so that none ever stops; running for a moment lets them get through.
            thaw_v1(path)?;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(failed("freeze", path, TOO_LONG))
}

pub(crate) fn thaw_v1(path: &str) -> Result<(), Error> {
    lift(path, "freezer.state", "THAWED")
}

pub(crate) fn thaw_v2(path: &str) -> Result<(), Error> {
    lift(path, "cgroup.freeze", "0")
}

fn lift(path: &str, file: &str, value: &str) -> Result<(), Error> {
    match file::write(&format!("{path}/{file}"), value) {
        Ok(()) | Err(Errno::NOENT | Errno::NODEV) => Ok(()),
        Err(errno) => Err(failed("thaw", path, errno)),
    }
}

/// Freezes the v2 group.
pub(crate) fn freeze_v2(path: &str, patience: Duration) -> Result<(), Error> {
    let until = Instant::now() + patience;
    file::write(&format!("{path}/cgroup.freeze"), "1").map_err(|errno| failed("freeze", path, errno))?;
    let frozen = match wait_v2(path, until) {
        Ok(true) => Ok(()),
        Ok(false) => Err(failed("freeze", path, TOO_LONG)),
        Err(errno) => Err(failed("freeze", path, errno)),
    };
    if frozen.is_err() {
        let _ = thaw_v2(path);
    }
    frozen
}

/// True when cgroup.events says so in time. The kernel wakes whoever polls the file when it changes.
fn wait_v2(path: &str, until: Instant) -> Result<bool, Errno> {
    let events = rustix::fs::open(format!("{path}/cgroup.events"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    loop {
        let mut text = [0; 256];
        let read = rustix::io::pread(&events, &mut text, 0)?;
        if String::from_utf8_lossy(&text[..read]).lines().any(|line| line == "frozen 1") {
            return Ok(true);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let left = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
