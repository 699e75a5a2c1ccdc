//! A process that was made for a container, as the tool holds it: the container's first one, or one that joined.

use crate::channel::{Channel, Order, Told};
use crate::error::Error;
use crate::notify::Agent;
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use step::step;

/// A process of a container. Dropping it leaves it running.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    pidfd: OwnedFd,
    channel: Channel,
    terminal: Option<OwnedFd>,
    agent: Option<Agent>,
}

/// How a process ended.
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

impl Process {
    pub(crate) fn new(pid: i32, pidfd: OwnedFd, channel: Channel, agent: Option<Agent>) -> Process {
        Process { pid, pidfd, channel, terminal: None, agent }
    }

    /// One that runs already, and was made by another than this tool.
    pub(crate) fn running(pid: i32, pidfd: OwnedFd, terminal: Option<OwnedFd>) -> Result<Process, Error> {
        let (channel, _) = crate::channel::pair()?;
        Ok(Process { pid, pidfd, channel, terminal, agent: None })
    }

    /// The process that a stage cloned, in place of the stage. [`crate::namespaces`]
    pub(crate) fn of_stage(pid: i32, pidfd: OwnedFd, channel: Channel, agent: Option<Agent>) -> Result<Process, Error> {
        let mut stage = Process::new(pid, pidfd, channel, agent);
        let told = stage.channel.receive();
        let waited = stage.wait();
        match told? {
            Told::Born(pid, pidfd) => {
                waited?;
                (stage.pid, stage.pidfd) = (pid, pidfd);
                Ok(stage)
            }
            Told::Failed(failure) => Err(failure.into()),
            _ => Err(Error::Vanished),
        }
    }

    /// The process id, as the host sees it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// A descriptor of the process: readable when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The controlling side of its terminal, when it was asked for and has been handed over.
    pub fn terminal(&self) -> Option<BorrowedFd<'_>> {
        self.terminal.as_ref().map(|t| t.as_fd())
    }

    /// Sends a signal to this process, never to another one that got its number later.
    pub fn kill(&self, signal: Signal) -> Result<(), Errno> {
        pidfd_send_signal(&self.pidfd, signal)
    }

    /// Waits until it has ended. It must be a child of the calling process.
    pub fn wait(&self) -> Result<Exit, Error> {
        loop {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::process("wait for the process")(errno)),
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

    pub(crate) fn send(&self, order: Order) -> Result<(), Error> {
        match self.channel.send(order) {
            // It died before: what it said is read next.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(Error::Channel(errno)),
        }
    }

    /// Reads on until it says that its root is built.
    pub(crate) fn wait_built(&mut self) -> Result<(), Error> {
        self.read_until(|told| matches!(told, Told::Built))
    }

    /// Reads on until it says that only the start is missing.
    pub(crate) fn wait_created(&mut self) -> Result<(), Error> {
        self.read_until(|told| matches!(told, Told::Created))
    }

    fn read_until(&mut self, wanted: impl Fn(&Told) -> bool) -> Result<(), Error> {
        loop {
            match self.channel.receive()? {
                told if wanted(&told) => return Ok(()),
                Told::Terminal(terminal) => self.terminal = Some(terminal),
                Told::Failed(failure) => return Err(failure.into()),
                Told::Closed => return Err(Error::Vanished),
                _ => {}
            }
        }
    }

    /// Tells it that this process ends, and that the start comes from another. Returns when it has heard it.
    pub(crate) fn let_live_on(mut self) -> Result<(), Error> {
        self.send(Order::LiveOn)?;
        match self.read_until(|told| matches!(told, Told::Closed)) {
            // It closes its end when it has heard.
            Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Lets the program run. Returns when it runs, or with the reason why it does not.
    pub(crate) fn start(&mut self) -> Result<(), Error> {
        step(
            "start",
            "everything it needs is there",
            || "tell the first process to go on".into(),
            || self.send(Order::Start),
        )?;
        let mut ready = false;
        loop {
            match self.channel.receive()? {
                Told::Terminal(terminal) => self.terminal = Some(terminal),
                Told::Listener(listener) => self.hand_over(&listener)?,
                Told::Ready => ready = true,
                Told::Born(..) | Told::Built | Told::Created | Told::Socket(_) => {}
                Told::Failed(failure) => return Err(failure.into()),
                Told::Closed if ready => return Ok(()),
                // Killed on its way, by somebody or for want of memory.
                Told::Closed => return Err(Error::Vanished),
            }
        }
    }

    fn hand_over(&self, listener: &OwnedFd) -> Result<(), Error> {
        match &self.agent {
            Some(agent) => agent.take(listener.as_fd(), self.pid),
            // Nobody will answer, and the program would wait for ever at its first question.
            None => Err(Error::Invalid("its filter asks questions and names nobody to answer them".into())),
        }
    }

    /// One more descriptor of the line to it.
    pub(crate) fn line(&self) -> Result<Channel, Error> {
        self.channel.try_clone().map_err(Error::Channel)
    }

    /// The failure that it told before it ended, if it has ended or is about to.
    pub(crate) fn why_it_died(&self) -> Option<Error> {
        // It waits for its start on this channel, so closing our side of the conversation ends it at once.
        let _ = rustix::net::shutdown(self.channel.as_fd(), rustix::net::Shutdown::Write);
        loop {
            match self.channel.receive() {
                Ok(Told::Failed(failure)) => {
                    let error = Error::from(failure);
                    let vanished = matches!(&error, Error::InContainer(text) if *text == Error::Vanished.to_string());
                    return (!vanished).then_some(error);
                }
                Ok(Told::Closed) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}
