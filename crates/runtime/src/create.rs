//! The parent's side of a start: control group, clone, start, wait, remove. Its twin is `init`.

use crate::bundle::Bundle;
use crate::channel::{self, Channel, Told};
use crate::credentials;
use crate::error::Error;
use crate::init::{self, Birth};
use crate::plan::{self, Plan};
use crate::procfs::Procfs;
use crate::sysctl;
use cgroup::Cgroup;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use step::step;
use sys::fork::{Namespaces, Side, clone_into};

/// A container that was made. Dropping it leaves it running; [`Container::remove`] takes it away.
#[derive(Debug)]
pub struct Container {
    pid: i32,
    pidfd: OwnedFd,
    cgroup: Cgroup,
    channel: Channel,
    terminal: Option<OwnedFd>,
}

/// How the container's first process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// The status as a shell gives it: 128 and the signal's number for a death by signal.
    pub fn shell_status(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
        }
    }
}

/// A container between clone and start: what the network needs of it.
#[derive(Debug)]
pub struct Newborn {
    pid: i32,
    proc: Procfs,
}

impl Newborn {
    /// The process id of the container's first process, as the host sees it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The container's network namespace.
    pub fn network_namespace(&self) -> Result<OwnedFd, Error> {
        self.proc.namespace(self.pid, "net").map_err(Error::Proc)
    }
}

/// Makes a container up to the point where only the start is missing, and runs `meanwhile` (the network) at the same
/// time as the container's first process builds its root.
///
/// The caller must be single-threaded. On failure nothing is left.
pub fn create<E: From<Error>>(
    bundle: Bundle,
    meanwhile: impl FnOnce(&Newborn) -> Result<(), E>,
) -> Result<Container, E> {
    let mut plan = plan::plan(&bundle.spec)?;
    plan.process.capabilities = credentials::available(&plan.process.capabilities)?;
    check_sysctls(&plan)?;
    let filter = filter(&bundle)?;
    let init = bundle.init.then(clone_own_binary).transpose()?;
    let proc = Procfs::host()?;
    let cgroup = make_cgroup(&bundle)?;
    let birth = Birth {
        plan: &plan,
        root: &bundle.root,
        trees: &bundle.trees,
        files: &bundle.files,
        cgroup: &cgroup,
        filter: filter.as_ref(),
        init: init.as_ref(),
        stdio: &bundle.stdio,
    };
    let born = bear(&birth);
    let (pid, pidfd, channel) = match born {
        Ok(born) => born,
        Err(error) => {
            cgroup.remove();
            return Err(error.into());
        }
    };
    let container = Container { pid, pidfd, cgroup, channel, terminal: None };
    let oom_score = set_oom_score(&proc, pid, plan.process.oom_score_adj);
    let newborn = Newborn { pid, proc };
    if let Err(error) = oom_score.map_err(E::from).and_then(|()| meanwhile(&newborn)) {
        // What the child has to say first is the better reason: the network fails when its namespace is gone.
        let said = container.why_it_died();
        container.abandon();
        return Err(said.map_or(error, E::from));
    }
    Ok(container)
}

/// Clones the child into its namespaces. In the child this does not return.
fn bear(birth: &Birth<'_>) -> Result<(i32, OwnedFd, Channel), Error> {
    let (ours, theirs) = channel::pair()?;
    let wanted = birth.plan.namespaces;
    // The cgroup namespace is entered by the child itself, once it is in its group.
    let namespaces = Namespaces(wanted.0 & !Namespaces::CGROUP.0);
    let mut ours = Some(ours);
    let clone = || match clone_into(namespaces, birth.cgroup.clone_into())? {
        Side::Parent { pid, pidfd } => Ok((pid, pidfd)),
        Side::Child => {
            // While the child held the tool's end too, it would never see it close.
            drop(ours.take());
            init::run(birth, &theirs)
        }
    };
    let (pid, pidfd) = step(
        "clone-namespaces",
        "a process that sees nothing of the host but what it is given",
        || format!("clone3 with {}", names(namespaces)),
        clone,
    )
    .map_err(Error::Clone)?;
    let ours = ours.ok_or(Error::Vanished)?;
    Ok((pid, pidfd, ours))
}

fn names(namespaces: Namespaces) -> String {
    let all = [
        (Namespaces::PID, "pid"),
        (Namespaces::MOUNT, "mount"),
        (Namespaces::UTS, "uts"),
        (Namespaces::IPC, "ipc"),
        (Namespaces::NETWORK, "network"),
    ];
    let wanted = all.iter().filter(|(bit, _)| namespaces.contains(*bit)).map(|(_, name)| *name);
    format!("new {} namespaces", wanted.collect::<Vec<_>>().join(", "))
}

fn check_sysctls(plan: &Plan) -> Result<(), Error> {
    let own = |namespace| plan.namespaces.contains(namespace);
    plan.sysctl.iter().try_for_each(|(name, _)| {
        sysctl::check(name, own(Namespaces::NETWORK), own(Namespaces::IPC), own(Namespaces::UTS))
    })
}

fn filter(bundle: &Bundle) -> Result<Option<seccomp::Program>, Error> {
    if let Some(program) = &bundle.seccomp {
        return Ok(Some(program.clone()));
    }
    let section = bundle.spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let Some(section) = section else { return Ok(None) };
    let native = seccomp::Arch::native()
        .ok_or_else(|| Error::Unsupported("a seccomp filter on this kind of processor".into()))?;
    Ok(Some(seccomp::compile(section, native)?))
}

/// A detached, read-only mount of this very binary: an init that runs from it cannot be used to overwrite the file on
/// the host, whatever capabilities the container has. (CVE-2019-5736)
fn clone_own_binary() -> Result<OwnedFd, Error> {
    let clone = || -> Result<OwnedFd, Errno> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let binary = open_tree(CWD, c"/proc/self/exe", flags)?;
        let readonly = sys::mount::Attributes { set: sys::mount::RDONLY, ..Default::default() };
        sys::mount::set_attributes(binary.as_fd(), c"", false, readonly).map_err(crate::mounts::errno)?;
        Ok(binary)
    };
    step("clone-init", "--init runs this binary, sealed", || "clone this binary read-only".into(), clone)
        .map_err(|source| Error::Root { what: "prepare the init program", source })
}

fn make_cgroup(bundle: &Bundle) -> Result<Cgroup, Error> {
    let resources = bundle.spec.linux().as_ref().and_then(|linux| linux.resources().clone());
    let resources = resources.unwrap_or_default();
    Ok(Cgroup::create(&cgroup::Host::detect()?, &bundle.cgroup, &resources, &[])?)
}

fn set_oom_score(proc: &Procfs, pid: i32, score: Option<i32>) -> Result<(), Error> {
    let Some(score) = score else { return Ok(()) };
    let write = || {
        let file = proc.open(&format!("{pid}/oom_score_adj"), rustix::fs::OFlags::WRONLY)?;
        rustix::io::write(&file, score.to_string().as_bytes()).map(drop)
    };
    write().map_err(Error::process(format!("set the OOM score to {score}")))
}

impl Container {
    /// Lets the program run. Returns when it runs, or with the reason why it does not.
    pub fn start(&mut self) -> Result<(), Error> {
        step(
            "start",
            "everything it needs is there",
            || "tell the first process to go on".into(),
            || {
                match self.channel.send_start() {
                    // It died before: what it said is read below.
                    Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
                    Err(errno) => Err(Error::Channel(errno)),
                }
            },
        )?;
        let mut ready = false;
        loop {
            match self.channel.receive()? {
                Told::Terminal(terminal) => self.terminal = Some(terminal),
                Told::Ready => ready = true,
                Told::Failed(failure) => return Err(failure.into()),
                Told::Closed if ready => return Ok(()),
                // Killed on its way, by somebody or for want of memory.
                Told::Closed => return Err(Error::Vanished),
            }
        }
    }

    /// The failure that the child told before it ended, if it has ended or is about to.
    fn why_it_died(&self) -> Option<Error> {
        // The child waits for the start on this channel, so closing our side of the conversation ends it at once.
        let _ = rustix::net::shutdown(self.channel.as_fd(), rustix::net::Shutdown::Write);
        loop {
            match self.channel.receive() {
                Ok(Told::Terminal(_) | Told::Ready) => {}
                Ok(Told::Failed(failure)) => {
                    let error = Error::from(failure);
                    return if matches!(&error, Error::InContainer(text) if *text == Error::Vanished.to_string()) {
                        None
                    } else {
                        Some(error)
                    };
                }
                Ok(Told::Closed) | Err(_) => return None,
            }
        }
    }

    /// The process id of the container's first process, as the host sees it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// A descriptor of the first process: readable when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The controlling side of the container's terminal, when it was asked for and the container was started.
    pub fn terminal(&self) -> Option<BorrowedFd<'_>> {
        self.terminal.as_ref().map(|t| t.as_fd())
    }

    /// Sends a signal to the first process, never to another one that got its number later.
    pub fn kill(&self, signal: Signal) -> Result<(), Errno> {
        pidfd_send_signal(&self.pidfd, signal)
    }

    /// Waits until the first process has ended; with it every process of its pid namespace is gone.
    pub fn wait(&self) -> Result<Exit, Error> {
        loop {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::process("wait for the first process")(errno)),
                Ok(None) => {}
                Ok(Some(status)) => {
                    return Ok(match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => Exit::Code(code),
                        (None, Some(signal)) => Exit::Signal(signal),
                        (None, None) => Exit::Code(1),
                    });
                }
            }
        }
    }

    /// True when the kernel killed a process of the container because the container's memory limit was reached.
    pub fn oom_killed(&self) -> Result<bool, Error> {
        Ok(self.cgroup.oom_killed()?)
    }

    /// Removes what is left on the host of a container that has ended. Goes on after an error and returns them all.
    pub fn remove(self) -> Vec<Error> {
        self.cgroup.remove().into_iter().map(Error::from).collect()
    }

    /// Ends a container that did not get to its start, or must not go on, and removes it.
    pub fn abandon(self) -> Vec<Error> {
        let _ = self.kill(Signal::KILL);
        let waited = self.wait().err();
        waited.into_iter().chain(self.remove()).collect()
    }
}
