//! A container's health, as its monitor looks after it: probes at their times, one at a time, and what comes of them.
//!
//! A probe is `mycontainer exec ID COMMAND...`, this tool's own binary in a process of its own: what joins a container
//! has to be sealed first (CVE-2019-5736, see `runtime::seal`), and the monitor is not. Its program has no input, and
//! the first bytes of what it prints are kept. What takes too long is killed, and the program in the container with it:
//! that is the probe's child, and dies with it by its parent-death signal. A container that stands still is not probed.

use crate::health::{self, Check, Health, Probed};
use crate::state::Id;
use rustix::event::PollFlags;
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::Child;
use std::time::Instant;
use sys::signal::send_to_pidfd;

const SIGKILL: i32 = 9;

/// How much of a probe's output is kept, as Docker does.
const MOST_OUTPUT: usize = 4096;
/// The exit code of a probe that did not end by itself.
const NO_CODE: i32 = -1;

/// A container's check while it runs.
pub(super) struct Prober<'a> {
    id: &'a Id,
    cgroup_parent: Option<&'a str>,
    check: Check,
    health: Health,
    started: Instant,
    next: Instant,
    probe: Option<Probe>,
}

/// A probe that runs.
struct Probe {
    child: Child,
    pidfd: OwnedFd,
    /// None when it is closed.
    output: Option<OwnedFd>,
    kept: Vec<u8>,
    /// It has printed more.
    is_cut: bool,
    start: String,
    until: Instant,
    /// Whether a failure counts only when one has succeeded before.
    is_start_period: bool,
    /// It was killed, and whether that is its result.
    killed: Option<bool>,
}

impl<'a> Prober<'a> {
    /// Of a container that starts at this moment. What was known of it is over.
    pub(super) fn new(id: &'a Id, cgroup_parent: Option<&'a str>, check: Check) -> Prober<'a> {
        let now = Instant::now();
        let health = Health::default();
        let mut prober = Prober { id, cgroup_parent, check, health, started: now, next: now, probe: None };
        prober.write();
        prober.wait_for_next();
        prober
    }

    /// What to wait for.
    pub(super) fn interests(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.probe.iter().flat_map(|probe| std::iter::once(&probe.pidfd).chain(&probe.output)).map(AsFd::as_fd)
    }

    /// What [`interests`](Prober::interests) are waited for.
    pub(super) const READY: PollFlags = PollFlags::IN;

    /// When to look again, whatever happens.
    pub(super) fn next_look(&self) -> Option<Instant> {
        match &self.probe {
            Some(probe) => Some(probe.until).filter(|_| probe.killed.is_none()),
            None => Some(self.next),
        }
    }

    /// Goes on after one of the interests has become ready, if one has, or its time has come. `space` is to read into.
    pub(super) fn go_on(&mut self, is_ready: bool, space: &mut [u8]) {
        let is_due = self.next_look().is_some_and(|at| at <= Instant::now());
        if !is_ready && !is_due {
            return;
        }
        match &mut self.probe {
            None => self.begin(),
            Some(probe) => {
                probe.read(space);
                match probe.child.try_wait() {
                    Ok(None) if is_due => probe.kill(!is_frozen(self.id, self.cgroup_parent)),
                    Ok(None) => {}
                    Ok(Some(status)) => self.end(status.code(), space),
                    Err(_) => self.end(None, space),
                }
            }
        }
    }

    fn begin(&mut self) {
        if is_frozen(self.id, self.cgroup_parent) {
            return self.wait_for_next();
        }
        let is_start_period = self.started.elapsed() < self.check.start_period;
        match Probe::spawn(self.id, &self.check, is_start_period) {
            Ok(probe) => self.probe = Some(probe),
            Err(error) => {
                let output = format!("cannot run the health check: {error}");
                let (start, end) = (health::now(), health::now());
                self.add(Probed { start, end, exit_code: NO_CODE, output }, is_start_period);
            }
        }
    }

    fn end(&mut self, exit_code: Option<i32>, space: &mut [u8]) {
        let Some(mut probe) = self.probe.take() else { return };
        // A process that it left behind may have the pipe, and go on printing.
        while probe.kept.len() < MOST_OUTPUT && probe.read(space) {}
        let mut output = String::from_utf8_lossy(&probe.kept).into_owned();
        if probe.is_cut {
            output.push_str("...");
        }
        let exit_code = match probe.killed {
            None => exit_code.unwrap_or(NO_CODE),
            // The container stood still: that says nothing of its health.
            Some(false) => return self.wait_for_next(),
            Some(true) => {
                let late = format!("Health check exceeded timeout ({:?})", self.check.timeout);
                output = if output.is_empty() { late } else { format!("{late}: {output}") };
                NO_CODE
            }
        };
        let start = std::mem::take(&mut probe.start);
        self.add(Probed { start, end: health::now(), exit_code, output }, probe.is_start_period);
    }

    fn add(&mut self, probed: Probed, is_start_period: bool) {
        self.health.add(probed, &self.check, is_start_period);
        self.write();
        self.wait_for_next();
    }

    fn write(&self) {
        // A full disk is no reason to end a container; the next result is written anew.
        let _ = self.health.write(self.id);
    }

    fn wait_for_next(&mut self) {
        let is_starting = self.health.status == health::Status::Starting;
        let is_start = is_starting && self.started.elapsed() < self.check.start_period;
        self.next = Instant::now() + if is_start { self.check.start_interval } else { self.check.interval };
    }
}

impl Probe {
    fn spawn(id: &Id, check: &Check, is_start_period: bool) -> io::Result<Probe> {
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        fcntl_setfl(&ours, OFlags::NONBLOCK)?;
        let (start, until) = (health::now(), Instant::now() + check.timeout);
        let mut command = health::command(id, check);
        command.stdout(theirs.try_clone()?).stderr(theirs);
        let mut child = command.spawn()?;
        // It is not waited for as yet, so the number is its own.
        let pidfd = match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error.into());
            }
        };
        let (output, kept) = (Some(ours), Vec::new());
        Ok(Probe { child, pidfd, output, kept, is_cut: false, start, until, is_start_period, killed: None })
    }

    /// Reads what was printed, without waiting; true when something was. What is more than is kept is dropped: the
    /// program shall not stop at it.
    fn read(&mut self, space: &mut [u8]) -> bool {
        let Some(output) = &self.output else { return false };
        match rustix::io::read(output, &mut *space) {
            Ok(0) => {
                self.output = None;
                false
            }
            Ok(got) => {
                let room = MOST_OUTPUT - self.kept.len();
                let printed = space.get(..got).unwrap_or_default();
                self.kept.extend_from_slice(printed.get(..room).unwrap_or(printed));
                self.is_cut |= got > room;
                true
            }
            Err(_) => false,
        }
    }

    fn kill(&mut self, is_result: bool) {
        self.killed = Some(is_result);
        let _ = send_to_pidfd(self.pidfd.as_fd(), SIGKILL);
    }
}

impl Drop for Probe {
    /// It ends with the container.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = send_to_pidfd(self.pidfd.as_fd(), SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// Whether the container stands still. What cannot be found out does not keep it from being probed.
fn is_frozen(id: &Id, cgroup_parent: Option<&str>) -> bool {
    id.open_cgroup(cgroup_parent).is_ok_and(|group| group.is_frozen().unwrap_or(false))
}
