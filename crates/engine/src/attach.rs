//! Attached to a container in the background: its streams are this process's own, and signals go to it.

use crate::detach_keys::{DetachKeys, Watcher};
use crate::error::Error;
use crate::log::Stream;
use crate::monitor::wire::{self, Asked, Told};
use crate::relay::Signals;
use crate::streams::writer_of;
use crate::tty::{self, RawInput};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use sys::signal::send_to_pidfd;

/// No write is larger: what polls as writable takes this much without blocking. [pipe(7)]
const CHUNK: usize = 4096;
const SIGWINCH: i32 = 28;

/// Which streams are connected, and how.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Standard input.
    pub input: bool,
    /// Standard output.
    pub output: bool,
    /// Standard error.
    pub error: bool,
    /// The container has a terminal.
    pub tty: bool,
    /// Signals to this process go to the program.
    pub sig_proxy: bool,
    /// What ends it.
    pub detach_keys: DetachKeys,
}

impl Default for Attachment {
    fn default() -> Attachment {
        let detach_keys = DetachKeys::default();
        Attachment { input: false, output: false, error: false, tty: false, sig_proxy: true, detach_keys }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// The program has ended, with this status.
    Ended(i32),
    /// By the keys, or by a signal that is not passed on: the container runs on.
    Detached,
    /// Nobody reads what it prints any more: the container runs on.
    Unread,
}

impl Left {
    /// The exit code to end with; none of one that runs on because it was left.
    pub(crate) fn exit_code(self) -> Option<i32> {
        match self {
            Left::Ended(code) => Some(code),
            Left::Detached => None,
            Left::Unread => Some(UNREAD),
        }
    }
}

/// What a shell says of a program that has printed to nobody: 128 and SIGPIPE.
pub(crate) const UNREAD: i32 = 141;

/// Bytes that go out when they are taken.
#[derive(Debug)]
struct Out {
    to: Option<OwnedFd>,
    held: Vec<u8>,
}

impl Out {
    fn new(stream: Option<std::os::fd::BorrowedFd<'static>>) -> Result<Out, Error> {
        Ok(Out { to: stream.map(writer_of).transpose()?, held: Vec::new() })
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.to.is_some() {
            self.held.extend_from_slice(bytes);
        }
    }

    fn interest(&self) -> Option<&OwnedFd> {
        self.to.as_ref().filter(|_| !self.held.is_empty())
    }

    /// Writes what is taken without waiting.
    fn go(&mut self) -> Option<Left> {
        let to = self.interest()?;
        match rustix::io::write(to, &self.held[..self.held.len().min(CHUNK)]) {
            Ok(wrote) => drop(self.held.drain(..wrote)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(Errno::PIPE) => return Some(Left::Unread),
            // As a terminal that is gone, or a full disk.
            Err(_) => (self.to, self.held) = (None, Vec::new()),
        }
        None
    }
}

/// Called with each thing that did not keep a container from being started, and that a person should know.
pub type Note<'a> = &'a mut dyn FnMut(&str);

/// Waits for the monitor's word that the container runs: the pidfd of its program, or why it does not. Tells `note` what did
/// not keep it from that.
pub(crate) fn wait_for_start(line: &OwnedFd, note: Note<'_>) -> Result<OwnedFd, Error> {
    let mut space = Vec::new();
    loop {
        rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(line, PollFlags::IN)], None)).map_err(broken)?;
        match wire::hear(line.as_fd(), &mut space) {
            Ok(Told::Began(pidfd)) => return Ok(pidfd),
            Ok(Told::Noted(text)) => note(text),
            Ok(Told::Failed(failure)) => return Err(failure.into()),
            Ok(Told::Closed) => return Err(Error::MonitorGone),
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(error) => return Err(broken(error)),
        }
    }
}

/// Attends to the container until its program has ended or somebody wants to leave it. `program` is the program's pidfd, if
/// it runs already. `signals` are held back since before it was started.
pub(crate) fn attend(
    line: &OwnedFd,
    program: Option<OwnedFd>,
    how: &Attachment,
    signals: &Signals,
) -> Result<Left, Error> {
    let raw = if how.tty && how.input { RawInput::enter()? } else { None };
    let left = Relay::new(line, program, how, signals).and_then(Relay::run);
    raw.into_iter().for_each(RawInput::leave);
    left
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Signals,
    Line,
    Stdin,
    Stdout,
    Stderr,
}

/// The loop of one who is attached. The line is read only when what came before has been written, so a slow reader slows
/// the program down and loses nothing.
struct Relay<'a> {
    line: &'a OwnedFd,
    how: &'a Attachment,
    signals: &'a Signals,
    /// The program's pidfd, once it runs.
    program: Option<OwnedFd>,
    output: Out,
    error: Out,
    watcher: Watcher,
    /// Was typed, and is not told as yet.
    typed: Vec<u8>,
    is_input_open: bool,
    /// That the input has ended is not told as yet.
    tells_end: bool,
    /// The size of our terminal, which is not told as yet.
    size: Option<(u16, u16)>,
    ended: Option<i32>,
    space: Vec<u8>,
}

impl<'a> Relay<'a> {
    fn new(
        line: &'a OwnedFd,
        program: Option<OwnedFd>,
        how: &'a Attachment,
        signals: &'a Signals,
    ) -> Result<Relay<'a>, Error> {
        Ok(Relay {
            line,
            how,
            signals,
            program,
            output: Out::new(how.output.then(rustix::stdio::stdout))?,
            error: Out::new(how.error.then(rustix::stdio::stderr))?,
            watcher: Watcher::new(&how.detach_keys),
            typed: Vec::new(),
            is_input_open: how.input,
            tells_end: false,
            size: if how.tty { tty::size() } else { None },
            ended: None,
            space: Vec::new(),
        })
    }

    fn run(mut self) -> Result<Left, Error> {
        loop {
            self.ask();
            if let (Some(code), false) = (self.ended, self.owes()) {
                return Ok(Left::Ended(code));
            }
            for (place, flags) in self.wait()? {
                let left = match place {
                    Place::Signals => self.pass_signals()?,
                    Place::Line => self.go_on(flags)?,
                    Place::Stdin => self.read(),
                    Place::Stdout => self.output.go(),
                    Place::Stderr => self.error.go(),
                };
                if let Some(left) = left {
                    return Ok(left);
                }
            }
        }
    }

    /// Whether something printed has not been written as yet.
    fn owes(&self) -> bool {
        self.output.interest().is_some() || self.error.interest().is_some()
    }

    /// Tells the monitor what it can be told at once.
    fn ask(&mut self) {
        if let Some((columns, rows)) = self.size.take() {
            // When the line is full it does not matter: the next change tells it.
            let _ = wire::ask(self.line.as_fd(), &Asked::Size(columns, rows));
        }
        if self.tells_end && self.typed.is_empty() {
            self.tells_end = wire::ask(self.line.as_fd(), &Asked::InputEnded) == Err(Errno::AGAIN);
        }
    }

    /// Waits until something can be done; what.
    fn wait(&self) -> Result<Vec<(Place, PollFlags)>, Error> {
        let stdin = rustix::stdio::stdin();
        let mut places = vec![Place::Signals];
        let mut watched = vec![PollFd::new(self.signals, PollFlags::IN)];
        let mut line = PollFlags::empty();
        line.set(PollFlags::IN, !self.owes() && self.ended.is_none());
        line.set(PollFlags::OUT, !self.typed.is_empty() || self.tells_end);
        if !line.is_empty() {
            watched.push(PollFd::new(self.line, line));
            places.push(Place::Line);
        }
        if self.is_input_open && self.typed.is_empty() {
            watched.push(PollFd::new(&stdin, PollFlags::IN));
            places.push(Place::Stdin);
        }
        for (out, place) in [(&self.output, Place::Stdout), (&self.error, Place::Stderr)] {
            if let Some(fd) = out.interest() {
                watched.push(PollFd::new(fd, PollFlags::OUT));
                places.push(place);
            }
        }
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(broken(error)),
        }
        let happened = places.into_iter().zip(watched.iter().map(PollFd::revents));
        Ok(happened.filter(|(_, flags)| !flags.is_empty()).collect())
    }

    fn pass_signals(&mut self) -> Result<Option<Left>, Error> {
        while let Some(signal) = self.signals.next()? {
            match (signal, &self.program) {
                (SIGWINCH, _) => self.size = if self.how.tty { tty::size() } else { None },
                // It may have ended in this moment.
                (signal, Some(program)) if self.how.sig_proxy => drop(send_to_pidfd(program.as_fd(), signal)),
                _ => return Ok(Some(Left::Detached)),
            }
        }
        Ok(None)
    }

    /// Goes on with the line, which has something to read, or takes something.
    fn go_on(&mut self, flags: PollFlags) -> Result<Option<Left>, Error> {
        if flags.contains(PollFlags::OUT) && !self.typed.is_empty() {
            match wire::ask(self.line.as_fd(), &Asked::Typed(&self.typed)) {
                Ok(()) => self.typed.clear(),
                Err(Errno::AGAIN | Errno::NOBUFS) => {}
                // What it told before is still to be heard.
                Err(_) => (self.is_input_open, self.tells_end, self.typed) = (false, false, Vec::new()),
            }
        }
        if !flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) || self.owes() || self.ended.is_some() {
            return Ok(None);
        }
        match wire::hear(self.line.as_fd(), &mut self.space) {
            Ok(Told::Began(pidfd)) => self.program = Some(pidfd),
            Ok(Told::Printed(Stream::Stdout, bytes)) => self.output.take(bytes),
            Ok(Told::Printed(Stream::Stderr, bytes)) => self.error.take(bytes),
            Ok(Told::Ended(code)) => self.ended = Some(code),
            // Of a later start: that is nobody's own.
            Ok(Told::Noted(_)) => {}
            Ok(Told::Failed(failure)) => return Err(failure.into()),
            Ok(Told::Closed) => return Err(Error::MonitorGone),
            Err(Errno::AGAIN) => {}
            Err(error) => return Err(broken(error)),
        }
        Ok(None)
    }

    /// Reads what is typed.
    fn read(&mut self) -> Option<Left> {
        let mut bytes = [0; CHUNK];
        match rustix::io::read(rustix::stdio::stdin(), &mut bytes) {
            Ok(got) if got > 0 && self.how.tty => {
                return self.watcher.pass(&bytes[..got], &mut self.typed).then_some(Left::Detached);
            }
            Ok(got) if got > 0 => self.typed.extend_from_slice(&bytes[..got]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            _ => (self.is_input_open, self.tells_end) = (false, true),
        }
        None
    }
}

fn broken(error: Errno) -> Error {
    Error::terminal("hear of the container")(error)
}
