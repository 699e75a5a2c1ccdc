//! Faults for tests: `MYCONTAINER_FAULT=WHO:WHEN:STEP` ends a process with SIGKILL at a step.
//!
//! WHO is `tool` (whichever side reaches the step, the tool dies), `self` (the side that takes the step dies) or `stop` (the
//! side that takes the step stands still until it gets SIGCONT); WHEN is
//! `before` or `after`. Compiled only with the feature `fault-injection`.

use rustix::process::{Pid, PidfdFlags, Signal, getpid, kill_process, pidfd_open, pidfd_send_signal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Tool,
    Itself,
    /// Stands still, and does not die.
    Halted,
}

struct Fault {
    tool: OwnedFd,
    tool_pid: Pid,
    victim: Victim,
    when: When,
    step: String,
}

static FAULT: OnceLock<Fault> = OnceLock::new();

pub(crate) fn arm() {
    let Ok(wish) = std::env::var("MYCONTAINER_FAULT") else { return };
    let mut words = wish.splitn(3, ':');
    let (Some(who), Some(when), Some(step)) = (words.next(), words.next(), words.next()) else {
        panic!("MYCONTAINER_FAULT={wish}: expected WHO:WHEN:STEP");
    };
    let victim = match who {
        "tool" => Victim::Tool,
        "self" => Victim::Itself,
        "stop" => Victim::Halted,
        _ => panic!("MYCONTAINER_FAULT: WHO is tool, self or stop, not {who}"),
    };
    let when = match when {
        "before" => When::Before,
        "after" => When::After,
        _ => panic!("MYCONTAINER_FAULT: WHEN is before or after, not {when}"),
    };
    let tool_pid = getpid();
    let tool = pidfd_open(tool_pid, PidfdFlags::empty()).expect("pidfd of this process");
    let _ = FAULT.set(Fault { tool, tool_pid, victim, when, step: step.to_owned() });
}

/// What stands for the tool in every process that is cloned from it.
pub(crate) fn descriptor() -> Option<BorrowedFd<'static>> {
    FAULT.get().map(|fault| fault.tool.as_fd())
}

pub(crate) fn strike(step: &str, when: When) {
    let Some(fault) = FAULT.get() else { return };
    if fault.step != step || fault.when != when {
        return;
    }
    match fault.victim {
        Victim::Halted => drop(kill_process(getpid(), Signal::STOP)),
        Victim::Tool => {
            let _ = pidfd_send_signal(&fault.tool, Signal::KILL);
            // In the tool this line is not reached. The container's side goes on, as it would after a real kill, until
            // its parent-death signal or its closed channel ends it; give the kill time to be seen first.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Victim::Itself => {
            // Inside the container's pid namespace this process is 1 and SIGKILL from itself is ignored, so leave instead.
            let _ = kill_process(getpid(), Signal::KILL);
            std::process::exit(if getpid() == fault.tool_pid { 137 } else { 134 });
        }
    }
}
