//! The process whose life a lease is bound to.

use crate::error::Error;
use rustix::io::Errno;
use rustix::process::{Pid, getpid, test_kill_process};

/// A process, told from a later one with the same id by when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Process id in the host's pid namespace.
    pub pid: i32,
    /// Start time in clock ticks since boot: field 22 of /proc/PID/stat. [proc_pid_stat(5)]
    pub start_time: u64,
}

impl Owner {
    /// The process that calls.
    pub fn this_process() -> Result<Owner, Error> {
        Owner::of(getpid().as_raw_nonzero().get())
    }

    /// The process that has this id now.
    pub fn of(pid: i32) -> Result<Owner, Error> {
        let start_time = look(pid).map_err(|e| Error::Owner { pid, reason: e.to_string() })?;
        let reason = || "it has ended, or the file has no 22nd field".to_owned();
        let start_time = start_time.ok_or_else(|| Error::Owner { pid, reason: reason() })?;
        Ok(Owner { pid, start_time })
    }

    /// True when the id is nobody's: one cheap system call, blind to an id that was given out again. Only from the pid
    /// namespace in which it is one; see [`Leases`](crate::leases::Leases).
    pub(crate) fn has_vanished(&self) -> bool {
        Pid::from_raw(self.pid).is_none_or(|pid| test_kill_process(pid) == Err(Errno::SRCH))
    }

    /// True when this very process is gone; where that cannot be told (no descriptor is free), it is not. As that.
    pub(crate) fn is_gone(&self) -> bool {
        self.has_vanished() || is_other(look(self.pid), self.start_time)
    }
}

/// When the process that has an id now was started; none of one that has ended.
fn look(pid: i32) -> std::io::Result<Option<u64>> {
    std::fs::read(format!("/proc/{pid}/stat")).map(|stat| start_time(&stat))
}

/// Whether what was seen is not the process that was started then.
fn is_other(seen: std::io::Result<Option<u64>>, start_time: u64) -> bool {
    match seen {
        Ok(now) => now != Some(start_time),
        Err(error) => matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::SRCH)),
    }
}

/// The pid namespace of this process, by the number of its inode; none where that cannot be told.
pub(crate) fn pid_namespace() -> Option<u64> {
    rustix::fs::stat("/proc/self/ns/pid").ok().map(|stat| stat.st_ino)
}

/// Field 22; `None` also for a process that has ended and only waits to be reaped. The second field is the program's name in parentheses and may itself hold spaces and parentheses.
fn start_time(stat: &[u8]) -> Option<u64> {
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let rest = std::str::from_utf8(stat.get(after_name..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(22 - 4)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let fields = "S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2";
        for name in ["sh", "a b", ") R 1 (", ""] {
            assert_eq!(start_time(format!("12 ({name}) {fields}").as_bytes()), Some(987_654), "{name:?}");
        }
        for bad in [
            "",
            "12",
            "12 (sh",
            "12 (sh) S 1 2",
            "12 (sh) Z 1 1 1 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 5",
            "12 (sh) S 1 1 1 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 x",
        ] {
            assert_eq!(start_time(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn this_process_lives_and_its_namesake_does_not() {
        let owner = Owner::this_process().unwrap();
        assert!(!owner.is_gone());
        assert!(Owner { start_time: owner.start_time + 1, ..owner }.is_gone());
        assert!(Owner { pid: i32::MAX, ..owner }.has_vanished());
        assert!(Owner { pid: 0, ..owner }.is_gone());
        for (errno, is_gone) in
            [(Errno::NOENT, true), (Errno::SRCH, true), (Errno::NFILE, false), (Errno::ACCESS, false)]
        {
            assert_eq!(is_other(Err(errno.into()), 5), is_gone, "{errno}");
        }
        assert!(is_other(Ok(None), 5) && is_other(Ok(Some(4)), 5) && !is_other(Ok(Some(5)), 5));
    }
}
