//! A process that is known for ever: its number, and when it started.
//!
//! A number alone may belong to another process by the time it is used. With the time of the start, in the kernel's
//! ticks since boot, it is the same process or none; and once that is certain by a pidfd that was opened before, it stays
//! certain.

use crate::error::Error;
use crate::procfs::Procfs;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use std::os::fd::OwnedFd;

/// A process, by number and start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pinned {
    pub(crate) pid: i32,
    pub(crate) start: u64,
}

impl Pinned {
    /// The process that has this number now. None when there is none, or just what is left of one.
    pub(crate) fn of(proc: &Procfs, pid: i32) -> Result<Option<Pinned>, Error> {
        match proc.read(&format!("{pid}/stat")) {
            Ok(stat) => Ok(start_of_living(&stat).map(|start| Pinned { pid, start })),
            Err(Errno::NOENT | Errno::SRCH) => Ok(None),
            Err(errno) => Err(Error::Proc(errno)),
        }
    }

    /// This process.
    pub(crate) fn this(proc: &Procfs) -> Result<Pinned, Error> {
        let pid = rustix::process::getpid().as_raw_pid();
        Pinned::of(proc, pid)?.ok_or(Error::Proc(Errno::SRCH))
    }

    /// True while it lives; what waits to be reaped does not.
    pub(crate) fn is_alive(&self, proc: &Procfs) -> Result<bool, Error> {
        Ok(Pinned::of(proc, self.pid)? == Some(*self))
    }

    /// A descriptor of it, if it lives. The look comes after the opening, so that it is about what was opened.
    pub(crate) fn open(&self, proc: &Procfs) -> Result<Option<OwnedFd>, Error> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(self.is_alive(proc)?.then_some(pidfd)),
            Err(Errno::SRCH | Errno::INVAL) => Ok(None),
            Err(errno) => Err(Error::process(format!("open process {}", self.pid))(errno)),
        }
    }
}

/// The time of the start in /proc/PID/stat, whose second word is the name in brackets and may hold anything; none for a
/// zombie. [proc_pid_stat(5): state is the 3rd word, starttime the 22nd]
fn start_of_living(stat: &str) -> Option<u64> {
    let mut words = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
    let state = words.next()?;
    if matches!(state, "Z" | "X" | "x") { None } else { words.nth(18)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_disturb_the_reading() {
        let rest = "1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1 2";
        let cases = [
            (format!("7 (sh) S {rest}"), Some(4711)),
            (format!("7 (a) Z (b) S {rest}"), Some(4711)),
            (format!("7 (x) Z {rest}"), None),
            ("7 (x) S 1 2".into(), None),
            ("7 (x".into(), None),
            (String::new(), None),
        ];
        for (text, expected) in cases {
            assert_eq!(start_of_living(&text), expected, "{text}");
        }
    }

    #[test]
    fn another_process_with_the_number_is_not_it() {
        let proc = Procfs::host().unwrap();
        let this = Pinned::this(&proc).unwrap();
        assert!(this.is_alive(&proc).unwrap() && this.open(&proc).unwrap().is_some());
        let earlier = Pinned { start: this.start - 1, ..this };
        assert!(!earlier.is_alive(&proc).unwrap() && earlier.open(&proc).unwrap().is_none());
        let nobody = Pinned { pid: i32::MAX, start: 1 };
        assert!(nobody.open(&proc).unwrap().is_none());
    }
}
