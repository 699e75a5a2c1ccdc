//! Our side of a container's terminal: raw mode, window size, and a guard that gives the person's terminal back.
//!
//! In raw mode every key goes to the container, Ctrl-C and Ctrl-Z too. If the tool is killed the terminal would stay
//! so, without echo: a small child of ours in a session of its own holds the end of a pipe, and when that closes (the
//! tool is gone, however it went) it sets the terminal back and ends.

use crate::detach_keys::DetachKeys;
use crate::error::Error;
use crate::relay::{Pump, Way};
use crate::streams::writer_of;
use runtime::Process;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::termios::{
    OptionalActions, OutputModes, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The person's terminal while a container uses it.
#[derive(Debug)]
pub(crate) struct Console {
    raw: Option<Raw>,
}

#[derive(Debug)]
struct Raw {
    terminal: BorrowedFd<'static>,
    before: Termios,
    // A byte here sends the guard home; closing it without one tells it that we are gone.
    alive: OwnedFd,
}

/// Columns and rows of the person's terminal, if there is one.
pub(crate) fn size() -> Option<(u16, u16)> {
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    let size = streams.iter().find_map(|stream| tcgetwinsize(stream).ok())?;
    Some((size.ws_col, size.ws_row))
}

impl Console {
    /// Connects a started container's terminal with ours; with `interactive` ours becomes raw, and `keys` are looked for in
    /// what is typed.
    pub(crate) fn connect(
        process: &Process,
        interactive: bool,
        keys: &DetachKeys,
    ) -> Result<(Console, Vec<Pump>), Error> {
        let duplicate = |fd: BorrowedFd<'_>| {
            rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(Error::terminal("duplicate a standard stream"))
        };
        let terminal = process.terminal().ok_or(Error::NotATerminal)?;
        // A program that does not read what is pasted must not stop everything else.
        let flags = fcntl_getfl(terminal).map_err(Error::terminal("look at the container's terminal"))?;
        fcntl_setfl(terminal, flags | OFlags::NONBLOCK).map_err(Error::terminal("set the container's terminal up"))?;
        let mut pumps = Vec::new();
        let mut raw = None;
        if interactive {
            let typed = Pump::new(Way::Into, duplicate(rustix::stdio::stdin())?, duplicate(terminal)?);
            pumps.push(if keys.is_empty() { typed } else { typed.with_keys(keys) });
            if isatty(rustix::stdio::stdin()) {
                raw = Some(Raw::enter(rustix::stdio::stdin(), Termios::make_raw)?);
            }
        } else if isatty(rustix::stdio::stdout()) {
            // The container's terminal has made its line ends already; ours must not make them again.
            let unprocessed = |settings: &mut Termios| settings.output_modes.remove(OutputModes::OPOST);
            raw = Some(Raw::enter(rustix::stdio::stdout(), unprocessed)?);
        }
        pumps.push(Pump::new(Way::OutOfTerminal, duplicate(terminal)?, writer_of(rustix::stdio::stdout())?));
        let console = Console { raw };
        // It may have changed since the container's terminal was made.
        console.resize(process);
        Ok((console, pumps))
    }

    /// Gives the container's terminal the size of ours.
    pub(crate) fn resize(&self, process: &Process) {
        let size = [rustix::stdio::stdin(), rustix::stdio::stdout()].iter().find_map(|s| tcgetwinsize(s).ok());
        if let (Some(size), Some(terminal)) = (size, process.terminal()) {
            let _ = tcsetwinsize(terminal, size);
        }
    }

    /// True when the person's terminal was closed.
    pub(crate) fn is_gone(&self) -> bool {
        let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
        streams.iter().any(|stream| tcgetattr(stream).is_err_and(|errno| errno == rustix::io::Errno::IO))
    }

    /// Gives the person's terminal back.
    pub(crate) fn leave(self) {
        if let Some(raw) = self.raw {
            raw.leave();
        }
    }
}

/// Keeps a terminal open to which nobody attends, and reads what is printed there, until no program has it open any more:
/// without its controlling side the programs on it would be hung up. By a small process of its own, for this one ends.
pub(crate) fn keep_open(process: &Process) -> Result<(), Error> {
    let terminal = process.terminal().ok_or(Error::NotATerminal)?;
    let read_on = || {
        let mut space = [0u8; 4096];
        while !matches!(rustix::io::retry_on_intr(|| rustix::io::read(terminal, &mut space)), Ok(0) | Err(_)) {}
    };
    sys::detach::spawn_detached(c"mc-terminal", &[terminal], read_on)
        .map_err(|source| Error::Terminal { what: "start who keeps the terminal open", source })
}

/// The person's terminal, raw: every key goes to the container.
#[derive(Debug)]
pub(crate) struct RawInput(Raw);

impl RawInput {
    /// Makes standard input raw, if it is a terminal.
    pub(crate) fn enter() -> Result<Option<RawInput>, Error> {
        let stdin = rustix::stdio::stdin();
        if isatty(stdin) { Raw::enter(stdin, Termios::make_raw).map(|raw| Some(RawInput(raw))) } else { Ok(None) }
    }

    /// Gives the terminal back.
    pub(crate) fn leave(self) {
        self.0.leave();
    }
}

impl Raw {
    fn enter(terminal: BorrowedFd<'static>, change: impl FnOnce(&mut Termios)) -> Result<Raw, Error> {
        let before = tcgetattr(terminal).map_err(Error::terminal("read the terminal's settings"))?;
        // The guard stands before anything is changed.
        let alive = guard(terminal, &before)?;
        let mut raw = before.clone();
        change(&mut raw);
        tcsetattr(terminal, OptionalActions::Now, &raw).map_err(Error::terminal("set the terminal to raw mode"))?;
        Ok(Raw { terminal, before, alive })
    }

    fn leave(self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.before);
        let _ = rustix::io::write(&self.alive, b"!");
    }
}

/// Starts the guard and returns our end of its pipe. It stands in a session of its own, so that what is sent to the
/// tool's group (Ctrl-C, a kill of the whole group) does not reach it, and holds nothing else of ours open.
fn guard(terminal: BorrowedFd<'_>, before: &Termios) -> Result<OwnedFd, Error> {
    let (wait, alive) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(Error::terminal("make a pipe"))?;
    let stand = || {
        let told = rustix::io::retry_on_intr(|| rustix::io::read(&wait, &mut [0u8; 1]));
        if told != Ok(1) {
            let _ = tcsetattr(terminal, OptionalActions::Now, before);
        }
    };
    sys::detach::spawn_detached(c"mc-terminal", &[terminal, wait.as_fd()], stand)
        .map_err(|source| Error::Terminal { what: "start the terminal's guard", source })?;
    Ok(alive)
}
