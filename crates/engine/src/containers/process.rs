//! The first process of a container that runs.
//!
//! In a pid namespace of its own it is process 1. In one of others it is the only process of the container's group whose
//! parent is the tool: what joins a container has the `exec` that brought it for a parent, also that of a health check,
//! and an orphan goes to process 1 of the namespace.

use super::Found;
use crate::error::Error;
use crate::options::RunOptions;
use crate::state::{Facts, Id};
use cgroup::Cgroup;
use runtime::First;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// A process that was cloned and has not become another program yet: the kernel's PF_FORKNOEXEC. [proc_pid_stat(5), flags]
const NO_PROGRAM_YET: u64 = 0x40;

/// The process, by pidfd: in the container's group, a child of its tool, process 1 of a namespace of its own, and no longer
/// the tool itself: while it is that, its root may still be the host's.
pub(super) fn first(id: &Id, group: &Cgroup, facts: &Facts) -> Result<First, Error> {
    let known = |pid: i32| open(pid, id, facts);
    // To ask for the group's processes is to walk all hierarchies of v1. A list of children can miss one while another
    // ends. [proc_tid_children(5)]
    if let Some(first) = facts.tool_pid.and_then(|tool| children(tool).into_iter().find_map(known)) {
        return Ok(first);
    }
    let all = group.processes().map_err(|error| Error::from(runtime::Error::from(error)))?;
    all.into_iter().find_map(known).ok_or_else(|| Error::NoProcess { container: facts.shown().to_owned() })
}

/// How long who joins waits for the first process of a container that is being started.
const STARTING: Duration = Duration::from_secs(2);

/// The container's group and first process. `ps` says of a container that it runs from the moment that its monitor holds it;
/// its program is there a few milliseconds later, and who has read `ps` shall not be refused meanwhile.
pub(super) fn joinable(found: &Found) -> Result<(Cgroup, First), Error> {
    let until = Instant::now() + STARTING;
    let mut is_settled = false;
    loop {
        let group = found.open_cgroup();
        let both = group.and_then(|group| first(&found.id, &group, found.facts()?).map(|first| (group, first)));
        if both.is_ok() || is_settled || Instant::now() > until {
            return both;
        }
        is_settled = !is_being_started(found);
        if !is_settled {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// By its record: it is held, and nobody has said that it was started.
fn is_being_started(found: &Found) -> bool {
    found.stays && Found::load(&found.id).is_some_and(|now| now.is_running && now.news.started.is_none())
}

/// None on a kernel that does not list them.
fn children(tool: u32) -> Vec<i32> {
    let listed = std::fs::read_to_string(format!("/proc/{tool}/task/{tool}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// This process, if it is the container's first one.
fn open(pid: i32, id: &Id, facts: &Facts) -> Option<First> {
    let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let status = read("status");
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let is_child = field("PPid:").and_then(|ppid| ppid.parse().ok()) == facts.tool_pid;
    let has_own = facts.options.as_deref().is_none_or(|options| options.pid.is_own());
    let is_first = !has_own || field("NSpid:").is_some_and(|pids| pids.split_whitespace().skip(1).last() == Some("1"));
    let is_infra = facts.options.as_deref().is_some_and(RunOptions::is_infra);
    let begun = if is_infra { holds(&read("comm")) } else { has_program(&read("stat")) };
    // An ordinary user's containers may have no group of their own.
    let is_inside = crate::rootless::is_rootless() || is_in_group(&read("cgroup"), id);
    let is_it = is_child && is_first && begun && is_inside;
    // Were it gone by now, what was read might be of another process with its number.
    (is_it && is_alive(&pidfd)).then_some(First { pid, pidfd })
}

/// By /proc/PID/cgroup. The container may have made groups inside its own.
fn is_in_group(listed: &str, id: &Id) -> bool {
    let name = id.group_name();
    listed.lines().any(|line| line.split('/').any(|part| part == name))
}

/// Whether it is the clone of the tool that is all there is of an infra container, and is in its place.
fn holds(comm: &str) -> bool {
    comm.trim_end().as_bytes() == runtime::pause::NAME.to_bytes()
}

/// By the 9th word of /proc/PID/stat, whose second is the name in brackets and may hold anything.
fn has_program(stat: &str) -> bool {
    let rest = stat.rfind(')').and_then(|end| stat.get(end + 1..)).unwrap_or_default();
    let flags = rest.split_whitespace().nth(6).and_then(|word| word.parse::<u64>().ok());
    flags.is_some_and(|flags| flags & NO_PROGRAM_YET == 0)
}

/// Whether the process has not ended.
pub(super) fn is_alive(pidfd: &OwnedFd) -> bool {
    let mut wanted = [PollFd::new(pidfd, PollFlags::IN)];
    matches!(poll(&mut wanted, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_known_by_its_whole_name() {
        let id = Id::from_file_name(&[b'a'; 64]).unwrap();
        let name = id.group_name();
        for (listed, expected) in [
            (format!("9:pids:/{name}\n0::/\n"), true),
            (format!("0::/{name}/init.scope\n"), true),
            (format!("0::/above/{name}\n"), true),
            (format!("0::/{name}0\n"), false),
            ("0::/\n".into(), false),
            (String::new(), false),
        ] {
            assert_eq!(is_in_group(&listed, &id), expected, "{listed}");
        }
    }

    #[test]
    fn a_clone_has_no_program_yet() {
        let cases = [
            ("7 (sh) S 1 1 1 0 -1 4194560 1 2", true),
            ("7 (tool) S 1 1 1 0 -1 4194624 1 2", false),
            ("7 (a) S 1 1 1 0 -1 64 9) S 1 1 1 0 -1 0 9", true),
            ("7 (x) S 1", false),
            ("", false),
        ];
        for (stat, expected) in cases {
            assert_eq!(has_program(stat), expected, "{stat}");
        }
        // In the kernel's own words.
        assert!(has_program(&std::fs::read_to_string("/proc/self/stat").unwrap()));
    }
}
