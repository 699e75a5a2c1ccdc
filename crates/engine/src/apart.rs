//! An `exec` at a terminal, in a process of its own, so that it can be left by its keys and its program lives on.
//!
//! The tool forks. The new process, the keeper, does all that the tool would do: it joins the container, its child is the
//! program, and it has the terminal. The tool passes signals on to it and ends as it ends. While both are there a tool that
//! is killed takes the keeper with it, and that the program: each has asked the kernel for it. When the keys are typed the
//! keeper asks the kernel not to, tells the tool to end, and reads what the program prints to nobody until that has ended.
//! Nothing is left on the host: the keeper ends with the program, and that with the container at the latest.

use crate::error::Error;
use crate::relay::{self, Pump, Signals, Way};
use runtime::Process;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitId, WaitIdOptions, set_parent_process_death_signal, waitid};
use std::os::fd::{AsFd, OwnedFd};
use sys::fork::{Namespaces, Side, clone_into};
use sys::signal::send_to_pidfd;

const SIGWINCH: i32 = 28;

/// Which of the two this process is.
#[derive(Debug)]
pub(crate) enum Apart {
    /// The tool: the exit code to end with.
    Tool(i32),
    /// The keeper.
    Keeper(Keeper),
}

/// In the keeper: its way to the tool.
#[derive(Debug)]
pub(crate) struct Keeper(OwnedFd);

/// Forks this process, which has one thread. The tool returns when the keeper has ended or lets it go.
pub(crate) fn apart() -> Result<Apart, Error> {
    let failed = |source| Error::Terminal { what: "start who keeps the terminal", source };
    let (from_keeper, to_tool) = pipe_with(PipeFlags::CLOEXEC).map_err(Error::terminal("make a pipe"))?;
    // Before there is anybody to pass them on to, so that none is lost.
    let signals = Signals::hold()?;
    let tool = rustix::process::getpid();
    match clone_into(Namespaces::default(), None).map_err(failed)? {
        Side::Parent { pidfd, .. } => {
            drop(to_tool);
            attend(&pidfd, &from_keeper, &signals).map(Apart::Tool)
        }
        Side::Child => {
            drop((from_keeper, signals));
            set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| failed(error.into()))?;
            if rustix::process::getppid() != Some(tool) {
                sys::fork::exit_now(1);
            }
            Ok(Apart::Keeper(Keeper(to_tool)))
        }
    }
}

/// The tool's part.
fn attend(keeper: &OwnedFd, from_keeper: &OwnedFd, signals: &Signals) -> Result<i32, Error> {
    loop {
        let mut watched = [signals.as_fd(), keeper.as_fd(), from_keeper.as_fd()]
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(Error::terminal("wait for who keeps the terminal")(error)),
        }
        let [_, ended, told] = watched.map(|fd| fd.revents());
        while let Some((signal, is_sent)) = signals.next_and_sender()? {
            // What the kernel tells of the terminal it tells the keeper, too: both are the same job.
            if is_sent && signal != SIGWINCH {
                let _ = send_to_pidfd(keeper.as_fd(), signal);
            }
        }
        if told.contains(PollFlags::IN) {
            return Ok(0);
        }
        // Also when the pipe is closed, which is an end, or will be one in a moment.
        if !ended.is_empty() || !told.is_empty() {
            return exit_code(keeper);
        }
    }
}

fn exit_code(keeper: &OwnedFd) -> Result<i32, Error> {
    let ended = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(keeper.as_fd()), WaitIdOptions::EXITED))
        .map_err(Error::terminal("wait for who keeps the terminal"))?;
    let of_signal = |status: &rustix::process::WaitIdStatus| status.terminating_signal().map(|signal| 128 + signal);
    Ok(ended.and_then(|status| status.exit_status().or_else(|| of_signal(&status))).unwrap_or(1))
}

impl Keeper {
    /// Lets the tool go, and attends to the program until its end.
    pub(crate) fn stay(self, process: &Process, signals: &Signals) -> Result<(), Error> {
        let failed = |source| Error::Terminal { what: "let go of the terminal", source };
        set_parent_process_death_signal(None).map_err(|error| failed(error.into()))?;
        // It leads no group: that is the tool's.
        rustix::process::setsid().map_err(|error| failed(error.into()))?;
        let _ = rustix::process::chdir("/");
        let own = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
        for fd in own.into_iter().chain(step::descriptor()) {
            sys::detach::let_go_of(fd).map_err(failed)?;
        }
        // Where the tool is gone nobody needs to be told.
        let _ = rustix::io::write(&self.0, b"!");
        drop(self);
        let null = rustix::fs::openat(CWD, c"/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(Error::file("open", "/dev/null"))?;
        let terminal = process.terminal().ok_or(Error::NotATerminal)?;
        let terminal = rustix::io::fcntl_dupfd_cloexec(terminal, 3)
            .map_err(Error::terminal("duplicate the container's terminal"))?;
        let unread = Pump::new(Way::OutOfTerminal, terminal, null);
        relay::run(process, signals, &mut [unread], None).map(drop)
    }
}
