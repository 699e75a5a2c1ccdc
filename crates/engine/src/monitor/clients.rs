//! Who is attached to a container.

use super::wire::{self, Asked, Told};
use crate::error::Error;
use crate::log::Stream;
use crate::state::{self, Id};
use rustix::event::PollFlags;
use rustix::fs::{Mode, chmod};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Everybody who is attached, and the socket at which more may come.
pub(super) struct Clients {
    socket: OwnedFd,
    lines: Vec<Line>,
    /// What a packet carries.
    space: Vec<u8>,
}

struct Line {
    fd: OwnedFd,
    owed: Owed,
    is_gone: bool,
}

/// What a line has not taken as yet. It is never more than one packet, for nothing more is told meanwhile.
enum Owed {
    Nothing,
    Printed(Stream, Vec<u8>),
    Ended(i32),
}

impl Line {
    /// Sends, or owes `otherwise`.
    fn send(&mut self, told: &Told<'_>, otherwise: impl FnOnce() -> Owed) {
        match wire::tell(self.fd.as_fd(), told) {
            Ok(()) => self.owed = Owed::Nothing,
            Err(Errno::AGAIN | Errno::NOBUFS) => self.owed = otherwise(),
            Err(_) => self.is_gone = true,
        }
    }

    /// Tries once more to send what is owed.
    fn pay(&mut self) {
        match std::mem::replace(&mut self.owed, Owed::Nothing) {
            Owed::Nothing => {}
            Owed::Ended(code) => self.send(&Told::Ended(code), || Owed::Ended(code)),
            Owed::Printed(stream, bytes) => match wire::tell(self.fd.as_fd(), &Told::Printed(stream, &bytes)) {
                Ok(()) => {}
                Err(Errno::AGAIN | Errno::NOBUFS) => self.owed = Owed::Printed(stream, bytes),
                Err(_) => self.is_gone = true,
            },
        }
    }
}

impl Clients {
    /// Makes the socket. One that is there belongs to a monitor that was killed: the caller holds the record.
    pub(super) fn new(id: &Id) -> Result<Clients, Error> {
        let path = state::socket_path(id);
        state::unlink(&path)?;
        let make = || {
            let socket =
                rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
            let address = SocketAddrUnix::new(&path)?;
            let dir = path.parent().unwrap_or(&path);
            state::with_directory(dir, || rustix::net::bind(&socket, &address))?;
            chmod(&path, Mode::RUSR | Mode::WUSR)?;
            rustix::net::listen(&socket, 16)?;
            Ok(socket)
        };
        let socket = make().map_err(Error::file("make the socket", &path))?;
        Ok(Clients { socket, lines: Vec::new(), space: Vec::new() })
    }

    /// One more, who is told of everything from here on.
    pub(super) fn add(&mut self, fd: OwnedFd) {
        self.lines.push(Line { fd, owed: Owed::Nothing, is_gone: false });
    }

    /// Takes in who has come, and tells him that the program runs, if it does.
    pub(super) fn accept(&mut self, program: Option<BorrowedFd<'_>>) {
        let Ok(fd) = rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC) else { return };
        let told = match program.map(|pidfd| pidfd.try_clone_to_owned()) {
            Some(Ok(pidfd)) => wire::tell(fd.as_fd(), &Told::Began(pidfd)),
            Some(Err(_)) => Err(Errno::MFILE),
            None => Ok(()),
        };
        if told.is_ok() {
            self.add(fd);
        }
    }

    /// What to wait for: at the socket, and of each line. Nothing is heard of them as long as the program takes no input.
    pub(super) fn interests(&self, takes_input: bool) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let input = if takes_input { PollFlags::IN } else { PollFlags::empty() };
        let of_line = move |line: &Line| match line.owed {
            Owed::Nothing => input,
            _ => input | PollFlags::OUT,
        };
        let lines = self.lines.iter().map(move |line| (line.fd.as_fd(), of_line(line)));
        std::iter::once((self.socket.as_fd(), PollFlags::IN)).chain(lines)
    }

    /// Whether everybody has taken what was printed, so that more can be.
    pub(super) fn are_ready(&self) -> bool {
        self.lines.iter().all(|line| matches!(line.owed, Owed::Nothing))
    }

    /// Passes on what was printed. Only when they [are ready](Clients::are_ready).
    pub(super) fn print(&mut self, stream: Stream, bytes: &[u8]) {
        let told = Told::Printed(stream, bytes);
        self.lines.iter_mut().for_each(|line| line.send(&told, || Owed::Printed(stream, bytes.to_vec())));
        self.forget();
    }

    /// Tells everybody how the program has ended.
    pub(super) fn ended(&mut self, code: i32) {
        self.lines.iter_mut().for_each(|line| line.send(&Told::Ended(code), || Owed::Ended(code)));
        self.forget();
    }

    /// Tells everybody that the program runs, or why it does not. Who cannot take that has not read for long: he is let
    /// go.
    pub(super) fn tell(&mut self, told: &Told<'_>) {
        self.lines.retain(|line| wire::tell(line.fd.as_fd(), told).is_ok());
    }

    /// Lets everybody go.
    pub(super) fn dismiss(&mut self) {
        self.lines.clear();
    }

    /// Goes on with the lines that poll has found ready, by their places in [`interests`](Clients::interests); tells `heard`
    /// what each asks.
    pub(super) fn go_on(&mut self, ready: &[(usize, PollFlags)], heard: &mut dyn FnMut(Asked<'_>)) {
        for (place, flags) in ready {
            let Some(line) = place.checked_sub(1).and_then(|n| self.lines.get_mut(n)) else { continue };
            if flags.contains(PollFlags::OUT) {
                line.pay();
            }
            if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                match wire::listen(line.fd.as_fd(), &mut self.space) {
                    Ok(Asked::Closed) => line.is_gone = true,
                    Ok(asked) => heard(asked),
                    Err(Errno::AGAIN) => {}
                    Err(_) => line.is_gone = true,
                }
            }
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.lines.retain(|line| !line.is_gone);
        if self.lines.is_empty() {
            // It is a good part of what a monitor has of memory for itself.
            self.space = Vec::new();
        }
    }
}
