//! A time namespace: clocks that count from boot, moved. `linux.timeOffsets`.
//!
//! `unshare(CLONE_NEWTIME)` leaves the caller where it is and gives the new namespace to its children only; its offsets
//! can be written until somebody is in it. That an exec moves into it came with Linux 6.3, so it is not relied on: the
//! caller goes in by itself, by `setns` to its own `time_for_children`, and is then in the namespace with all that it
//! starts. [time_namespaces(7); measured on 6.18: after unshare alone only an exec sees the moved clock]
//!
//! A namespace given by `clone3(CLONE_NEWTIME)` is no way round that: the child is born into it, and its offsets can no
//! longer be written. So a time namespace of the container's own is always made by [`enter`], in its first process,
//! which has one thread, CAP_SYS_ADMIN and CAP_SYS_TIME in its user namespace, and a procfs that shows it. Nothing is
//! left on the host.

use crate::error::Error;
use crate::procfs::Procfs;
use oci_spec::runtime::Linux;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::os::fd::AsFd;
use step::step;
use sys::fork::Namespaces;

/// By how much one clock is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offset {
    clock: &'static str,
    seconds: i64,
    nanoseconds: u32,
}

/// The clocks that a time namespace has.
const CLOCKS: [&str; 2] = ["monotonic", "boottime"];

/// Checks the section. `has_namespace`: whether the container is to have a time namespace of its own.
pub(crate) fn plan(linux: &Linux, has_namespace: bool) -> Result<Vec<Offset>, Error> {
    let Some(offsets) = linux.time_offsets() else { return Ok(Vec::new()) };
    if !has_namespace && !offsets.is_empty() {
        return Err(Error::Invalid("linux.timeOffsets needs a time namespace of the container's own".into()));
    }
    if let Some(name) = offsets.keys().find(|name| !CLOCKS.contains(&name.as_str())) {
        return Err(Error::Invalid(format!("linux.timeOffsets has no clock {name:?}, only monotonic and boottime")));
    }
    let of = |clock: &'static str| {
        let offset = offsets.get(clock)?;
        let (seconds, nanoseconds) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        Some(if nanoseconds > 999_999_999 {
            Err(Error::Invalid(format!("linux.timeOffsets.{clock} has {nanoseconds} ns, more than a second")))
        } else {
            Ok(Offset { clock, seconds, nanoseconds })
        })
    };
    CLOCKS.into_iter().filter_map(of).collect()
}

/// Puts the calling process, which has one thread, into a new time namespace with these offsets.
pub(crate) fn enter(proc: &Procfs, offsets: &[Offset]) -> Result<(), Error> {
    let what = || format!("unshare the time namespace{}", offsets.iter().map(told).collect::<String>());
    step("time-namespace", "clocks of its own", what, || {
        sys::fork::unshare(Namespaces::TIME).map_err(|source| Error::Unshare { kind: "time", source })?;
        let own = proc.own().map_err(Error::Proc)?;
        write(proc, &own, offsets)?;
        let enter = || {
            let namespace = proc.own_namespace(&own, "time_for_children")?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Time))
        };
        enter().map_err(|source| Error::Unshare { kind: "time", source: source.into() })
    })
}

fn told(offset: &Offset) -> String {
    format!(", {} + {}.{:09} s", offset.clock, offset.seconds, offset.nanoseconds)
}

/// The lines of `timens_offsets`.
fn text(offsets: &[Offset]) -> String {
    offsets.iter().map(|o| format!("{} {} {}\n", o.clock, o.seconds, o.nanoseconds)).collect()
}

/// Writes the offsets of the namespace that the process's children will be in.
fn write(proc: &Procfs, own: &str, offsets: &[Offset]) -> Result<(), Error> {
    if offsets.is_empty() {
        return Ok(());
    }
    let write = || {
        let file = proc.open(&format!("{own}/timens_offsets"), OFlags::WRONLY)?;
        rustix::io::write(&file, text(offsets).as_bytes()).map(drop)
    };
    let write = || match write() {
        // In a user namespace of its own it has begun no program yet, and its files are root's of the host unless others may
        // look into it: so that they may, for so long. Nothing of the container runs there, and who shares a user namespace
        // with it has fewer capabilities, which is refused as well. [proc(5), "/proc/pid"; ptrace(2)]
        Err(Errno::ACCESS) => {
            let before = dumpable_behavior()?;
            set_dumpable_behavior(DumpableBehavior::Dumpable)?;
            let written = write();
            set_dumpable_behavior(before)?;
            written
        }
        written => written,
    };
    let moved = || offsets.iter().map(told).collect::<String>();
    write().map_err(|source| match source {
        // Before the machine's boot, or further than the kernel counts.
        Errno::RANGE => Error::Invalid(format!("linux.timeOffsets is out of the clock's range: {}", &moved()[2..])),
        _ => Error::process(format!("set the clocks of the time namespace ({})", &moved()[2..]))(source),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{in_child, is_root};
    use rustix::time::{ClockId, clock_gettime};

    fn of(json: &str, has_namespace: bool) -> Result<Vec<Offset>, Error> {
        let mut linux = Linux::default();
        linux.set_time_offsets(Some(serde_json::from_str(json).unwrap()));
        plan(&linux, has_namespace)
    }

    #[test]
    fn clocks_and_their_ranges() {
        let table: &[(&str, bool, Result<&str, &str>)] = &[
            ("{}", false, Ok("")),
            (r#"{"monotonic": {"secs": 1}}"#, false, Err("needs a time namespace")),
            (r#"{"monotonic": {"secs": -1, "nanosecs": 5}}"#, true, Ok("monotonic -1 5\n")),
            (
                r#"{"boottime": {"secs": 7}, "monotonic": {"nanosecs": 999999999}}"#,
                true,
                Ok("monotonic 0 999999999\nboottime 7 0\n"),
            ),
            (r#"{"monotonic": {"nanosecs": 1000000000}}"#, true, Err("more than a second")),
            (r#"{"realtime": {"secs": 1}}"#, true, Err("no clock \"realtime\"")),
            (r#"{"monotonic\nboottime": {"secs": 1}}"#, true, Err("no clock")),
        ];
        for (section, has_namespace, expected) in table {
            match (of(section, *has_namespace), expected) {
                (Ok(offsets), Ok(lines)) => assert_eq!(text(&offsets), *lines, "{section}"),
                (Err(error), Err(word)) => assert!(error.to_string().contains(word), "{section}: {error}"),
                (got, _) => panic!("{section}: {got:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn the_calling_process_itself_is_in_the_namespace() {
        if !is_root("the_calling_process_itself_is_in_the_namespace") {
            return;
        }
        let offsets =
            of(r#"{"boottime": {"secs": 604800}, "monotonic": {"secs": 86400, "nanosecs": 1}}"#, true).unwrap();
        in_child(|| {
            let proc = Procfs::host().unwrap();
            let inode = |name: &str| {
                let own = proc.own().unwrap();
                rustix::fs::fstat(proc.own_namespace(&own, name).unwrap()).unwrap().st_ino
            };
            let (before, clocks) = (inode("time"), [ClockId::Boottime, ClockId::Monotonic].map(clock_gettime));
            enter(&proc, &offsets).unwrap();
            assert_ne!(inode("time"), before);
            assert_eq!(inode("time"), inode("time_for_children"));
            for (clock, was, moved) in
                [(ClockId::Boottime, clocks[0], 604_800), (ClockId::Monotonic, clocks[1], 86_400)]
            {
                let by = clock_gettime(clock).tv_sec - was.tv_sec;
                assert!((moved..moved + 5).contains(&by), "{clock:?} moved by {by} s");
            }
        });
    }

    #[test]
    fn a_first_process_of_a_pid_namespace_finds_itself_in_the_hosts_procfs() {
        if !is_root("a_first_process_of_a_pid_namespace_finds_itself_in_the_hosts_procfs") {
            return;
        }
        in_child(|| {
            let proc = Procfs::host().unwrap();
            match sys::fork::clone_into(Namespaces::PID, None).unwrap() {
                sys::fork::Side::Child => {
                    let found = proc.own().is_ok_and(|own| own != "1");
                    let entered = enter(&proc, &of(r#"{"boottime": {"secs": 604800}}"#, true).unwrap());
                    let moved = clock_gettime(ClockId::Boottime).tv_sec > 604_800;
                    sys::fork::exit_now(i32::from(!(found && entered.is_ok() && moved)));
                }
                sys::fork::Side::Parent { pidfd, .. } => {
                    use rustix::process::{WaitId, WaitIdOptions, waitid};
                    let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).unwrap().unwrap();
                    assert_eq!(status.exit_status(), Some(0));
                }
            }
        });
    }

    #[test]
    fn a_clock_before_boot_is_refused_by_name() {
        if !is_root("a_clock_before_boot_is_refused_by_name") {
            return;
        }
        in_child(|| {
            let offsets = of(r#"{"boottime": {"secs": -999999999}}"#, true).unwrap();
            let error = enter(&Procfs::host().unwrap(), &offsets).unwrap_err().to_string();
            assert!(error.contains("out of the clock's range: boottime + -999999999"), "{error}");
        });
    }
}
