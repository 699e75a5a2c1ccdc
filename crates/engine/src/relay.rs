//! While a container runs: bytes between its streams and ours, signals to it, and its end.
//!
//! One loop over `poll`. A pump reads only when it holds nothing and writes only when the other side takes something,
//! so a slow reader stops its own stream and nothing else.

use crate::detach_keys::{DetachKeys, Watcher};
use crate::error::Error;
use crate::tty::Console;
use runtime::Process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use sys::signal::{SignalFd, SignalSet, send_to_pidfd};

/// No write is larger: a pipe that polls as writable takes this much without blocking [pipe(7)]. A terminal may not, so
/// terminals are written to by descriptors that never block.
const CHUNK: usize = 4096;
/// The interrupt by hand that kills a program which ignored those before it, as Docker's client gives up then.
const PATIENCE: u32 = 3;
/// What lies further apart is not impatience.
const SUCCESSION: Duration = Duration::from_secs(2);
/// How long to look whether a terminal that was announced to be closed is.
const LOOK: Duration = Duration::from_secs(1);
/// How long a program may go on after the person's terminal was closed: long enough to save its work.
const LAST_CALL: Duration = Duration::from_secs(1);
/// How long a terminal that nobody in the container has open is left alone before it is looked at again.
const TERMINAL_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
const SIGWINCH: i32 = 28;

/// Signals that are not passed on: those that cannot be, those about our own children, pipes and job control (Ctrl-Z
/// stops the tool), and faults of our own.
const OURS: &[i32] = &[4, 5, 7, 8, 9, 11, 13, 17, 18, 19, 20, 21, 22, 23, 31, 32, 33];

/// Which way a pump carries bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// What is typed: pointless once the container has ended.
    Into,
    /// What is printed: passed on to the last byte.
    OutOf,
    /// What is printed to the container's terminal. It ends whenever no program has the terminal open, and comes back
    /// when one opens it again.
    OutOfTerminal,
}

/// Bytes from one descriptor to another.
#[derive(Debug)]
pub(crate) struct Pump {
    way: Way,
    from: OwnedFd,
    to: Option<OwnedFd>,
    held: Vec<u8>,
    ended: bool,
    /// Of what is typed: the keys that leave the program running, and whether they have come.
    keys: Option<Watcher>,
    is_left: bool,
}

impl Pump {
    /// Relays what can be read from `from` to `to`, and closes `to` at the end.
    pub(crate) fn new(way: Way, from: OwnedFd, to: OwnedFd) -> Pump {
        Pump { way, from, to: Some(to), held: Vec::new(), ended: false, keys: None, is_left: false }
    }

    /// The same, that looks for the keys.
    pub(crate) fn with_keys(self, keys: &DetachKeys) -> Pump {
        Pump { keys: Some(Watcher::new(keys)), ..self }
    }

    /// What to wait for: room to write when something is held, else something to read.
    fn interest(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match &self.to {
            Some(to) if !self.held.is_empty() => Some((to.as_fd(), PollFlags::OUT)),
            Some(_) if !self.ended => Some((self.from.as_fd(), PollFlags::IN)),
            _ => None,
        }
    }

    /// Moves what can be moved without waiting.
    fn go(&mut self) {
        if !self.held.is_empty() {
            self.write();
        } else if !self.ended {
            self.read();
        }
        if self.ended && self.held.is_empty() && self.way != Way::OutOfTerminal {
            self.to = None;
        }
    }

    fn read(&mut self) {
        let mut space = [0u8; CHUNK];
        match rustix::io::read(&self.from, &mut space) {
            Ok(0) => self.ended = true,
            Ok(got) => match &mut self.keys {
                Some(keys) => self.is_left |= keys.pass(&space[..got], &mut self.held),
                None => self.held.extend_from_slice(&space[..got]),
            },
            Err(Errno::INTR | Errno::AGAIN) => {}
            // EIO is how a terminal says that its other side is closed.
            Err(_) => self.ended = true,
        }
    }

    fn write(&mut self) {
        let Some(to) = &self.to else { return };
        match rustix::io::write(to, &self.held) {
            Ok(wrote) => drop(self.held.drain(..wrote)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            // Nobody reads any more: what is still to come has nowhere to go, and the writer is told by its own pipe.
            Err(_) => {
                self.held.clear();
                (self.to, self.ended) = (None, true);
            }
        }
    }

    fn has_output_left(&self) -> bool {
        self.way != Way::Into && self.to.is_some() && !(self.ended && self.held.is_empty())
    }

    /// True when our side of it is gone.
    fn is_cut_off(&self) -> bool {
        match self.way {
            Way::Into => self.ended,
            Way::OutOf | Way::OutOfTerminal => self.to.is_none(),
        }
    }

    fn is_paused_terminal(&self) -> bool {
        self.way == Way::OutOfTerminal && self.ended
    }
}

/// Signals that arrive while a container runs, blocked since before it was made.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

impl Signals {
    /// Holds back every signal that is passed on, from here on.
    pub(crate) fn hold() -> Result<Signals, Error> {
        let passed: Vec<i32> = (1..=64).filter(|signal| !OURS.contains(signal)).collect();
        let set = SignalSet::of(&passed);
        let hold = || -> std::io::Result<SignalFd> {
            sys::signal::block(set)?;
            SignalFd::new(set)
        };
        hold().map(Signals).map_err(|source| Error::Terminal { what: "hold signals back", source })
    }

    /// The next one that is waiting.
    pub(crate) fn next(&self) -> Result<Option<i32>, Error> {
        self.0.next().map_err(|source| Error::Terminal { what: "read signals", source })
    }

    /// The next one, and whether a process sent it.
    pub(crate) fn next_and_sender(&self) -> Result<Option<(i32, bool)>, Error> {
        self.0.next_and_sender().map_err(|source| Error::Terminal { what: "read signals", source })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Interrupts by hand, in quick succession.
#[derive(Debug, Default)]
struct Interrupts {
    count: u32,
    last: Option<Instant>,
}

impl Interrupts {
    /// Counts one; true when it is the one that ends patience.
    fn add(&mut self) -> bool {
        let now = Instant::now();
        let quick = self.last.is_some_and(|last| now.duration_since(last) < SUCCESSION);
        self.count = if quick { self.count + 1 } else { 1 };
        self.last = Some(now);
        self.count >= PATIENCE
    }
}

/// Why nothing is relayed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// The program has ended.
    Ended,
    /// By the keys: it runs on.
    Detached,
}

/// What signals asked for, beside being passed on.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    /// To end: by hand or by a supervisor.
    end: bool,
    /// To look whether our terminal is still there.
    look: bool,
}

/// Whether the person's terminal was closed. The kernel says SIGHUP a moment before it takes the terminal away, so it is
/// looked at for a while.
#[derive(Debug, Default)]
struct HangUp {
    look_until: Option<Instant>,
    // The program is told; as PID 1 it may not feel it, and nobody else would end it.
    last_call: Option<Instant>,
}

impl HangUp {
    fn suspect(&mut self) {
        self.look_until = Some(Instant::now() + LOOK);
    }

    /// True while something happens by time alone.
    fn is_waiting(&self) -> bool {
        self.look_until.is_some() || self.last_call.is_some()
    }

    /// Looks; true when the program's time is over.
    fn is_over(&mut self, console: Option<&Console>) -> bool {
        let now = Instant::now();
        if self.last_call.is_none() && self.look_until.is_some() && console.is_some_and(Console::is_gone) {
            self.last_call = Some(now + LAST_CALL);
        }
        self.look_until = self.look_until.filter(|until| now < *until && self.last_call.is_none());
        self.last_call.is_some_and(|end| now > end)
    }
}

/// Runs the relays until the container's first process has ended and all that it wrote has been passed on, or until the
/// keys are typed that leave it.
pub(crate) fn run(
    process: &Process,
    signals: &Signals,
    pumps: &mut [Pump],
    mut console: Option<&mut Console>,
) -> Result<Left, Error> {
    let mut interrupts = Interrupts::default();
    let mut alive = true;
    let mut hang_up = HangUp::default();
    while alive || pumps.iter().any(Pump::has_output_left) {
        let paused = alive && pumps.iter().any(Pump::is_paused_terminal);
        let (ended, ready) = wait(process, signals, pumps, alive, paused || hang_up.is_waiting())?;
        for n in ready {
            pumps[n].go();
            // Whoever started us with SIGHUP ignored, as nohup does, is not told of it.
            if console.is_some() && pumps[n].is_cut_off() {
                hang_up.suspect();
            }
        }
        if paused {
            pumps.iter_mut().filter(|pump| pump.way == Way::OutOfTerminal).for_each(|pump| pump.ended = false);
        }
        let asked = pass_signals(process, signals, console.as_deref_mut(), &mut interrupts)?;
        if !alive && (asked.end || asked.look) {
            // Nobody takes the rest of the output, and we are asked to go.
            return Ok(Left::Ended);
        }
        if asked.look {
            hang_up.suspect();
        }
        if hang_up.is_over(console.as_deref()) {
            let _ = send_to_pidfd(process.pidfd(), SIGKILL);
        }
        alive = alive && !ended;
        if let Some(left) = pumps.iter_mut().find(|pump| alive && pump.is_left) {
            // What was typed before the keys is the program's.
            left.write();
            return Ok(Left::Detached);
        }
    }
    Ok(Left::Ended)
}

/// Waits for something to do, with `in_time` not for long: whether the container has ended, and the pumps that can go on.
fn wait(
    process: &Process,
    signals: &Signals,
    pumps: &[Pump],
    alive: bool,
    in_time: bool,
) -> Result<(bool, Vec<usize>), Error> {
    let mut watched: Vec<PollFd<'_>> = Vec::with_capacity(pumps.len() + 2);
    watched.push(PollFd::new(&signals.0, PollFlags::IN));
    if alive {
        watched.push(PollFd::from_borrowed_fd(process.pidfd(), PollFlags::IN));
    }
    let before = watched.len();
    let mut asked = Vec::with_capacity(pumps.len());
    for (n, pump) in pumps.iter().enumerate() {
        let wanted = pump.interest().filter(|_| alive || pump.way != Way::Into);
        if let Some((fd, flags)) = wanted {
            watched.push(PollFd::from_borrowed_fd(fd, flags));
            asked.push(n);
        }
    }
    match poll(&mut watched, in_time.then_some(&TERMINAL_PAUSE)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(Error::terminal("wait for the container")(errno)),
    }
    let happened = |fd: &PollFd<'_>| !fd.revents().is_empty();
    let ready = asked.iter().zip(&watched[before..]).filter(|(_, fd)| happened(fd)).map(|(n, _)| *n).collect();
    Ok((alive && happened(&watched[1]), ready))
}

/// Passes signals on.
fn pass_signals(
    process: &Process,
    signals: &Signals,
    mut console: Option<&mut Console>,
    interrupts: &mut Interrupts,
) -> Result<Asked, Error> {
    let mut asked = Asked::default();
    while let Some(signal) = signals.next()? {
        match (signal, console.as_deref_mut()) {
            (SIGWINCH, Some(console)) => console.resize(process),
            (SIGWINCH, None) => {}
            (signal, console) => {
                asked.look |= signal == SIGHUP && console.is_some();
                let by_hand = matches!(signal, SIGINT | SIGTERM);
                asked.end |= by_hand;
                let signal = if by_hand && interrupts.add() { SIGKILL } else { signal };
                // It may have ended in this moment; then the loop sees that.
                let _ = send_to_pidfd(process.pidfd(), signal);
            }
        }
    }
    Ok(asked)
}
