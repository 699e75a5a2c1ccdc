//! The streams of a container's program, as its monitor holds them: pipes, or the controlling side of a terminal.

use crate::error::Error;
use crate::log::Stream;
use runtime::{Process, Stdio};
use rustix::event::PollFlags;
use rustix::fs::{CWD, Mode, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::{Winsize, tcsetwinsize};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How much of what was typed is held for a program that does not read.
const MOST_TYPED: usize = 64 << 10;
/// How long a terminal that no program has open is left alone before it is looked at again.
const TERMINAL_PAUSE: Duration = Duration::from_millis(20);

/// Our ends.
#[derive(Debug, Default)]
pub(super) struct Program {
    input: Option<OwnedFd>,
    outputs: Vec<(Stream, OwnedFd)>,
    is_terminal: bool,
    typed: Vec<u8>,
    /// No more is typed: the input closes when all is written.
    input_ends: bool,
    paused_until: Option<Instant>,
}

/// What reading gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// So many bytes.
    Some(usize),
    /// Nothing at this moment.
    Nothing,
    /// The stream is closed.
    End,
}

impl Program {
    /// The program's streams, and ours: pipes, or a terminal that is there when it [began](Program::began).
    pub(super) fn new(tty: bool, interactive: bool, size: Option<(u16, u16)>) -> Result<(Stdio, Program), Error> {
        if tty {
            let program = Program { is_terminal: true, ..Program::default() };
            return Ok((Stdio::Terminal { size }, program));
        }
        let (input, ours) = if interactive {
            let (theirs, ours) = pipe()?;
            without_waiting(&ours)?;
            (theirs, Some(ours))
        } else {
            let null = rustix::fs::openat(CWD, c"/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            (null.map_err(Error::file("open", "/dev/null"))?, None)
        };
        let ((our_output, output), (our_error, error)) = (pipe()?, pipe()?);
        without_waiting(&our_output)?;
        without_waiting(&our_error)?;
        let outputs = vec![(Stream::Stdout, our_output), (Stream::Stderr, our_error)];
        Ok((Stdio::Fds([input, output, error]), Program { input: ours, outputs, ..Program::default() }))
    }

    /// The program runs: takes its terminal over, if it has one.
    pub(super) fn began(&mut self, process: &Process) -> Result<(), Error> {
        if !self.is_terminal {
            return Ok(());
        }
        let terminal = process.terminal().ok_or(Error::NotATerminal)?;
        let copy = || rustix::io::fcntl_dupfd_cloexec(terminal, 3).map_err(Error::terminal("duplicate a terminal"));
        let output = copy()?;
        without_waiting(&output)?;
        (self.input, self.outputs) = (Some(copy()?), vec![(Stream::Stdout, output)]);
        Ok(())
    }

    /// What to wait for: room for what was typed, and something printed, if that `can_print`.
    pub(super) fn interests(&self, can_print: bool) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        use std::os::fd::AsFd;
        let mut all = Vec::with_capacity(3);
        if let Some(input) = self.input.as_ref().filter(|_| !self.typed.is_empty()) {
            all.push((Source::Input, input.as_fd(), PollFlags::OUT));
        }
        let is_paused = self.paused_until.is_some_and(|until| Instant::now() < until);
        if can_print && !is_paused {
            let outputs = self.outputs.iter().map(|(stream, fd)| (Source::Output(*stream), fd.as_fd(), PollFlags::IN));
            all.extend(outputs);
        }
        all
    }

    /// When to look again, whatever happens.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Whether more can be typed.
    pub(super) fn takes_input(&self) -> bool {
        self.typed.len() < MOST_TYPED
    }

    /// What somebody has typed; dropped when the program has no input.
    pub(super) fn type_in(&mut self, bytes: &[u8]) {
        if self.input.is_some() && !self.input_ends {
            self.typed.extend_from_slice(bytes);
            self.write();
        }
    }

    /// Nothing more is typed. A terminal stays open: more may come from others.
    pub(super) fn end_input(&mut self) {
        if !self.is_terminal {
            self.input_ends = true;
            self.write();
        }
    }

    /// Gives the terminal a size.
    pub(super) fn resize(&self, columns: u16, rows: u16) {
        if let Some(terminal) = self.input.as_ref().filter(|_| self.is_terminal) {
            let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
            let _ = tcsetwinsize(terminal, size);
        }
    }

    /// Hands on what was typed, as far as the program takes it.
    pub(super) fn write(&mut self) {
        if let Some(input) = self.input.as_ref().filter(|_| !self.typed.is_empty()) {
            match rustix::io::write(input, &self.typed) {
                Ok(wrote) => drop(self.typed.drain(..wrote)),
                Err(Errno::INTR | Errno::AGAIN) => {}
                // It reads no more.
                Err(_) => {
                    self.typed = Vec::new();
                    self.input_ends = !self.is_terminal;
                }
            }
        }
        if self.input_ends && self.typed.is_empty() {
            self.input = None;
        }
    }

    /// Reads what was printed, without waiting.
    pub(super) fn read(&mut self, stream: Stream, space: &mut [u8]) -> Read {
        let Some(at) = self.outputs.iter().position(|(one, _)| *one == stream) else { return Read::End };
        match rustix::io::read(&self.outputs[at].1, space) {
            Ok(got) if got > 0 => {
                self.paused_until = None;
                Read::Some(got)
            }
            Err(Errno::INTR | Errno::AGAIN) => Read::Nothing,
            // No program has the terminal open at this moment; one may again.
            _ if self.is_terminal => {
                self.paused_until = Some(Instant::now() + TERMINAL_PAUSE);
                Read::Nothing
            }
            _ => {
                self.outputs.remove(at);
                Read::End
            }
        }
    }

    /// The streams that it prints to.
    pub(super) fn streams(&self) -> Vec<Stream> {
        self.outputs.iter().map(|(stream, _)| *stream).collect()
    }
}

/// One of a program's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Input,
    Output(Stream),
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    pipe_with(PipeFlags::CLOEXEC).map_err(Error::terminal("make a pipe"))
}

/// Of our end alone: the program's is another open file.
fn without_waiting(fd: &OwnedFd) -> Result<(), Error> {
    let set = || fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK);
    set().map_err(Error::terminal("set a stream up"))
}
