//! A process joins a running container: the verb `exec`, of OCI's callers ([`Known::exec`]) and of the engine ([`join()`]).
//!
//! The tool clones a stage into the container's control group; the stage enters the container's namespaces by a pidfd of
//! its first process, which cannot have become another process's, and clones the real one, since a pid namespace is
//! entered by children only. The real one then becomes the program much as a container's first process does: terminal,
//! limits, user, working directory, capabilities, filter, exec.
//!
//! The container is hostile and running. What it could use of the process while that is still the tool: its descriptors,
//! so all but a few are closed before it can be seen; its memory, so it cannot be traced; its binary, so it runs from a
//! read-only clone ([`crate::seal`]). And the working directory is looked at after it was entered. (CVE-2016-9962,
//! CVE-2019-5736, CVE-2024-21626)

use crate::bundle::Stdio;
use crate::channel::{self, Channel};
use crate::error::Error;
use crate::init;
use crate::known::Known;
use crate::notify::Agent;
use crate::plan::{self, PlannedProcess};
use crate::process::Process;
use crate::procfs::Procfs;
use crate::root::Root;
use crate::status::Status;
use crate::{credentials, exec, launch, namespaces, scheduling, terminal};
use cgroup::Cgroup;
use oci_spec::runtime::Spec;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior, set_parent_process_death_signal};
use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use step::step;
use sys::fork::{Namespaces, Side, clone_into, clone_sibling};

/// What `exec` is asked for.
#[derive(Debug)]
pub struct Joining {
    /// The process, by the specification's section of that name.
    pub process: oci_spec::runtime::Process,
    /// Where its terminal's controlling side is sent.
    pub console_socket: Option<PathBuf>,
    /// Where its id is written.
    pub pid_file: Option<PathBuf>,
    /// Where a pidfd of it is sent.
    pub pidfd_socket: Option<PathBuf>,
    /// It lives on when the tool ends.
    pub detach: bool,
    /// How many descriptors after standard error it inherits.
    pub preserve_fds: u32,
    /// A control group inside the container's.
    pub cgroup: Option<String>,
    /// Joins a paused container too, and then waits until that goes on.
    pub ignore_paused: bool,
    /// The caller's window, for a terminal without a size of its own.
    pub window: Option<(u16, u16)>,
}

/// A process that is to join a container, for a caller who knows by himself what the container is.
#[derive(Debug)]
pub struct Newcomer {
    /// The process, by the specification's section of that name.
    pub process: oci_spec::runtime::Process,
    /// The container's first process, whose program runs: before that it may not be in the container's root yet.
    pub init: First,
    /// The namespaces that it shares with the first process.
    pub namespaces: Namespaces,
    /// The container's control group.
    pub cgroup: Cgroup,
    /// The compiled system call filter.
    pub seccomp: Option<seccomp::Program>,
    /// Standard input, output and error.
    pub stdio: Stdio,
    /// It lives on when the tool ends.
    pub detach: bool,
}

/// A container's first process.
#[derive(Debug)]
pub struct First {
    /// Its id, as this process sees it.
    pub pid: i32,
    /// It and no other.
    pub pidfd: OwnedFd,
}

/// All that the child needs.
struct Arrival {
    process: PlannedProcess,
    init: First,
    namespaces: Namespaces,
    cgroup: Cgroup,
    /// The group was asked for by name: it must be this one.
    is_exact: bool,
    filter: Option<seccomp::Program>,
    stdio: Stdio,
    detach: bool,
    preserve_fds: u32,
    rootless: bool,
}

/// Runs one more process in a container that runs. Returns when its program runs, or with the reason why it does not. The
/// caller must be single-threaded.
pub fn join(newcomer: Newcomer) -> Result<Process, Error> {
    let arrival = Arrival {
        process: process_in(&newcomer.process, newcomer.namespaces)?,
        init: newcomer.init,
        namespaces: newcomer.namespaces,
        cgroup: newcomer.cgroup,
        is_exact: false,
        filter: newcomer.seccomp,
        stdio: newcomer.stdio,
        detach: newcomer.detach,
        preserve_fds: 0,
        rootless: false,
    };
    arrive(arrival, None, |_| Ok(()))
}

/// What is planned for a process, with the capabilities that it can be given.
fn process_in(asked: &oci_spec::runtime::Process, namespaces: Namespaces) -> Result<PlannedProcess, Error> {
    let mut process = plan::planned_process(asked)?;
    if !namespaces.contains(Namespaces::USER) {
        process.capabilities = credentials::available(&process.capabilities)?;
    }
    Ok(process)
}

impl Known {
    /// Runs one more process in the container. Returns when its program runs, or with the reason why it does not. The
    /// caller must be single-threaded.
    pub fn exec(&mut self, joining: &Joining) -> Result<Process, Error> {
        launch::check_preserved(joining.preserve_fds)?;
        let status = self.status()?;
        match status {
            Status::Created | Status::Running => {}
            Status::Paused if joining.ignore_paused => {}
            status => return Err(Error::WrongStatus { what: "exec in", id: self.id().to_owned(), status }),
        }
        let (spec, filter) = self.spec_and_filter()?;
        let asked = with_labels(&joining.process, &spec);
        let (pid, pidfd) = (self.pid()?, self.pidfd()?);
        let pidfd = pidfd.ok_or_else(|| Error::NoSuchContainer(self.id().to_owned()))?;
        let namespaces = plan::namespaces(&spec)?;
        let process = process_in(&asked, namespaces)?;
        let agent = Agent::of(&spec, self.state()?)?;
        let cgroup = self.cgroup()?;
        let cgroup = match &joining.cgroup {
            Some(sub) => cgroup.open_inner(sub)?,
            None => cgroup,
        };
        let arrival = Arrival {
            process,
            init: First { pid, pidfd },
            namespaces,
            cgroup,
            is_exact: joining.cgroup.is_some(),
            filter,
            stdio: stdio(&asked, joining)?,
            detach: joining.detach,
            preserve_fds: joining.preserve_fds,
            rootless: self.is_rootless(),
        };
        arrive(arrival, agent, |joined| {
            if let Some(path) = &joining.console_socket {
                launch::send_terminal(path, joined)?;
            }
            if let Some(path) = &joining.pid_file {
                launch::write_pid(path, joined.pid())?;
            }
            joining.pidfd_socket.as_ref().map_or(Ok(()), |path| launch::send_pidfd(path, joined))
        })
    }
}

/// The process with the container's labels, where it has none of its own. [runc]
fn with_labels(process: &oci_spec::runtime::Process, spec: &Spec) -> oci_spec::runtime::Process {
    let mut process = process.clone();
    let first = spec.process().as_ref();
    if process.apparmor_profile().is_none() {
        process.set_apparmor_profile(first.and_then(|first| first.apparmor_profile().clone()));
    }
    if process.selinux_label().is_none() {
        process.set_selinux_label(first.and_then(|first| first.selinux_label().clone()));
    }
    process
}

fn stdio(process: &oci_spec::runtime::Process, joining: &Joining) -> Result<Stdio, Error> {
    if process.terminal() == Some(true) {
        if joining.detach && joining.console_socket.is_none() {
            return Err(Error::Invalid("a terminal is asked for, and no console socket is given to send it to".into()));
        }
        let size = process.console_size().and_then(|size| {
            let side = |n: u64| u16::try_from(n).ok().filter(|n| *n > 0);
            Some((side(size.width())?, side(size.height())?))
        });
        return Ok(Stdio::Terminal { size: size.or(joining.window) });
    }
    if joining.console_socket.is_some() {
        return Err(Error::Invalid("a console socket is given, and no terminal asked for".into()));
    }
    launch::own_streams()
}

/// Gives this process the OOM score that one is to have from it; returns its own. Once a process has entered the container,
/// only root may write to its score. What cannot be had is left out, see [`crate::create::set_oom_score`].
fn lend_oom_score(score: i32) -> Option<i32> {
    let proc = Procfs::host().ok()?;
    let file = proc.open(&format!("{}/oom_score_adj", proc.own().ok()?), OFlags::RDWR).ok()?;
    let mut text = [0; 16];
    let length = rustix::io::read(&file, &mut text).ok()?;
    rustix::io::pwrite(&file, score.to_string().as_bytes(), 0).ok()?;
    std::str::from_utf8(&text[..length]).ok()?.trim().parse().ok()
}

/// Makes the process, has it run its program, and tells whoever is to know; when one of them fails it is ended.
fn arrive(
    mut arrival: Arrival,
    agent: Option<Agent>,
    tell: impl FnOnce(&Process) -> Result<(), Error>,
) -> Result<Process, Error> {
    if let Some(cpus) = &arrival.process.affinity.initial {
        scheduling::set_affinity(cpus)?;
    }
    let lent = arrival.process.oom_score_adj.filter(|_| arrival.rootless).and_then(lend_oom_score);
    let born = bear(&arrival, agent.clone());
    let mut joined = match born {
        // The container has made groups inside its own, as a systemd does, and then none may live in its own.
        // [cgroup-v2.rst "No Internal Process Constraint"]
        Err(Error::Clone(e)) if Errno::from_io_error(&e) == Some(Errno::BUSY) && !arrival.is_exact => {
            arrival.cgroup = group_of(arrival.init.pid, &arrival.cgroup)?;
            bear(&arrival, agent)?
        }
        born => born?,
    };
    if let Some(own) = lent {
        lend_oom_score(own);
    }
    let proc = Procfs::host()?;
    crate::create::set_oom_score(&proc, joined.pid(), arrival.process.oom_score_adj, arrival.rootless)?;
    if let Err(error) = joined.start().and_then(|()| tell(&joined)) {
        let _ = joined.kill(rustix::process::Signal::KILL);
        let _ = joined.wait();
        return Err(error);
    }
    Ok(joined)
}

/// The control group, inside the container's own, that its first process is in.
fn group_of(pid: i32, own: &Cgroup) -> Result<Cgroup, Error> {
    let busy = || Error::Clone(std::io::Error::from(Errno::BUSY));
    let root = own.paths().remove("").ok_or_else(busy)?;
    let listed = Procfs::host()?.read(&format!("{pid}/cgroup")).map_err(Error::Proc)?;
    // `0::PATH` is v2's line. [cgroups(7)]
    let path = listed.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let inner = Path::new("/sys/fs/cgroup").join(path);
    let inner = inner.strip_prefix(&root).ok().and_then(Path::to_str).filter(|inner| !inner.is_empty());
    Ok(own.open_inner(inner.ok_or_else(busy)?)?)
}

/// Clones the stage, which clones the process.
fn bear(arrival: &Arrival, agent: Option<Agent>) -> Result<Process, Error> {
    let (ours, theirs) = channel::pair()?;
    let mut ours = Some(ours);
    let clone = || match clone_into(Namespaces::default(), arrival.cgroup.clone_into())? {
        Side::Parent { pid, pidfd } => Ok((pid, pidfd)),
        Side::Child => {
            drop(ours.take());
            stage(arrival, &theirs)
        }
    };
    let what = || "clone3 into the container's control group".into();
    let (pid, pidfd) =
        step("clone-stage", "a pid namespace is entered by children only", what, clone).map_err(Error::Clone)?;
    drop(theirs);
    let joined = Process::of_stage(pid, pidfd, ours.ok_or(Error::Vanished)?, agent)?;
    joined.send(channel::Order::Placed)?;
    Ok(joined)
}

/// Enters the container, then clones the real process as a child of the tool.
fn stage(arrival: &Arrival, parent: &Channel) -> ! {
    step::enter_container();
    let go = || -> Result<(), Error> {
        init::die_with_parent(parent)?;
        arrival.cgroup.join_after_clone()?;
        set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Error::process("hide from other processes"))?;
        if let Some(cpus) = &arrival.process.affinity.last {
            scheduling::set_affinity(cpus)?;
        }
        enter(arrival)?;
        // Before anything of the container can see this process: who may trace it there could take its descriptors.
        let_go(arrival, parent)?;
        match clone_sibling(Namespaces::default()).map_err(Error::Clone)? {
            Side::Parent { pid, pidfd } => parent.send_born(pid, &pidfd).map_err(Error::Channel),
            Side::Child => {
                let Err(error) = become_program(arrival, parent);
                Err(error)
            }
        }
    };
    if let Err(error) = go() {
        parent.send_failure(&error);
        sys::fork::exit_now(1);
    }
    sys::fork::exit_now(0)
}

/// First with the caller's rights, which on the host are enough for all; else with those of the container's user
/// namespace.
fn enter(arrival: &Arrival) -> Result<(), Error> {
    let (init, all) = (arrival.init.pidfd.as_fd(), arrival.namespaces);
    let user = Namespaces(all.0 & Namespaces::USER.0);
    let enter = |which: Namespaces| if which.is_empty() { Ok(()) } else { sys::fork::enter(init, which) };
    step(
        "join-namespaces",
        "it sees what the container sees",
        || format!("enter the {} namespaces of the first process", namespaces::names(all)),
        || match enter(all.without(user)) {
            Ok(()) => enter(user),
            Err(e) if !user.is_empty() && Errno::from_io_error(&e) == Some(Errno::PERM) => enter(all),
            failed => failed,
        },
    )
    .map_err(Error::Join)
}

fn become_program(arrival: &Arrival, parent: &Channel) -> Result<Infallible, Error> {
    let process = &arrival.process;
    init::die_with_parent(parent)?;
    // Nothing is said before the stage has said who this is.
    init::wait_for(parent, channel::Order::Placed)?;
    rustix::process::umask(rustix::fs::Mode::empty());
    if arrival.namespaces.contains(Namespaces::USER) {
        credentials::become_root_of_namespace()?;
    }
    init::leave_session()?;
    take_streams(arrival, parent)?;
    init::forget_keys()?;
    init::set_process_attributes(process)?;
    credentials::set_limits(process)?;
    credentials::become_user(process)?;
    init::die_with_parent(parent)?;
    init::enter_working_directory(&process.cwd)?;
    let program = exec::find(&process.args[0], &process.env, &process.cwd)?;
    sys::signal::reset_all();
    if parent.next_order() != Some(channel::Order::Start) {
        return Err(Error::Vanished);
    }
    init::seal_descriptors(arrival.preserve_fds)?;
    if arrival.detach {
        set_parent_process_death_signal(None).map_err(Error::process("live on without the tool"))?;
    }
    parent.send_ready().map_err(Error::Channel)?;
    credentials::confine(process, arrival.filter.as_ref(), parent)?;
    exec::exec(&program, &process.args, &process.env)
}

/// Closes what this process does not need and the container must not get at.
fn let_go(arrival: &Arrival, parent: &Channel) -> Result<(), Error> {
    let mut kept = vec![parent.as_fd(), rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    if let Stdio::Fds(fds) = &arrival.stdio {
        kept.extend(fds.iter().map(AsFd::as_fd));
    }
    kept.extend(step::descriptor());
    sys::exec::close_all_but(3 + arrival.preserve_fds, &kept)
        .map_err(|source| Error::Process { what: "close the tool's descriptors".into(), source })
}

fn take_streams(arrival: &Arrival, parent: &Channel) -> Result<(), Error> {
    let root = || Root::open_host(Path::new("/")).map_err(|source| Error::Root { what: "open the root", source });
    let streams = match &arrival.stdio {
        Stdio::Terminal { size } => {
            init::Streams { terminal: Some(terminal::open_unnamed(&root()?, *size)?), null: None }
        }
        fds @ Stdio::Fds(_) => init::Streams { terminal: None, null: init::open_null(&root()?, fds)? },
    };
    init::take_streams(&arrival.stdio, streams, arrival.process.uid, parent)
}
