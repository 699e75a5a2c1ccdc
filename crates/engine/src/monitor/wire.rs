//! The line between a container's monitor and who is attached to it: one packet a message, its first byte says what.
//!
//! A socket of whole packets (SOCK_SEQPACKET, unix(7)). At one end is the monitor, at the other a command of ours: the one
//! that started the container has a pair of sockets, any other connects to `/run/mycontainer/attach/ID`, which only root
//! can reach. What is printed goes to every line; nothing more is printed as long as one of them is full, so nothing is
//! lost by who reads slowly.

use crate::error::Error;
use crate::log::Stream;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The most that one packet carries beside its first byte.
pub(crate) const LONGEST: usize = 32 << 10;

/// What is told to who is attached.
#[derive(Debug)]
pub(crate) enum Told<'a> {
    /// The program runs; by pidfd, so that who is attached can send it signals.
    Began(OwnedFd),
    /// Something that did not keep it from being started.
    Noted(&'a str),
    /// It could not be started.
    Failed(Failure),
    /// It has printed this.
    Printed(Stream, &'a [u8]),
    /// It has ended, with this status.
    Ended(i32),
    /// The monitor is gone.
    Closed,
}

/// What is told to the monitor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked<'a> {
    /// For the program's standard input.
    Typed(&'a [u8]),
    /// Nothing more is typed.
    InputEnded,
    /// The terminal has so many columns and rows now.
    Size(u16, u16),
    /// Who was attached is gone.
    Closed,
}

/// Why a container could not be started, for who waits for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) text: String,
    pub(crate) hint: Option<String>,
    pub(crate) code: u8,
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Failure {
        Failure { text: error.to_string(), hint: error.hint(), code: error.exit_code() }
    }
}

impl From<Failure> for Error {
    fn from(Failure { text, hint, code }: Failure) -> Error {
        Error::NotStarted { text, hint, code }
    }
}

const BEGAN: u8 = b'B';
const NOTED: u8 = b'N';
const FAILED: u8 = b'F';
const OUTPUT: u8 = b'O';
const ERROR: u8 = b'E';
const ENDED: u8 = b'X';
const TYPED: u8 = b'I';
const INPUT_ENDED: u8 = b'Z';
const SIZE: u8 = b'W';

/// A connected pair: the monitor's end and the other.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Tells the other end, without waiting: [`Errno::AGAIN`] when it has not read what was told before.
pub(crate) fn tell(line: BorrowedFd<'_>, told: &Told<'_>) -> Result<(), Errno> {
    match told {
        Told::Began(pidfd) => {
            let fds = [pidfd.as_fd()];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&fds));
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            rustix::net::sendmsg(line, &[IoSlice::new(&[BEGAN])], &mut control, flags).map(drop)
        }
        Told::Noted(note) => send(line, NOTED, note.as_bytes()),
        Told::Failed(failure) => {
            let mut text = serde_json::to_vec(failure).unwrap_or_default();
            text.truncate(LONGEST);
            send(line, FAILED, &text)
        }
        Told::Printed(Stream::Stdout, bytes) => send(line, OUTPUT, bytes),
        Told::Printed(Stream::Stderr, bytes) => send(line, ERROR, bytes),
        Told::Ended(code) => send(line, ENDED, &code.to_le_bytes()),
        Told::Closed => Ok(()),
    }
}

/// Asks the monitor, without waiting.
pub(crate) fn ask(line: BorrowedFd<'_>, asked: &Asked<'_>) -> Result<(), Errno> {
    match asked {
        Asked::Typed(bytes) => send(line, TYPED, bytes),
        Asked::InputEnded => send(line, INPUT_ENDED, &[]),
        Asked::Size(columns, rows) => send(line, SIZE, &[columns.to_le_bytes(), rows.to_le_bytes()].concat()),
        Asked::Closed => Ok(()),
    }
}

fn send(line: BorrowedFd<'_>, what: u8, bytes: &[u8]) -> Result<(), Errno> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let parts = [IoSlice::new(std::slice::from_ref(&what)), IoSlice::new(bytes)];
    rustix::io::retry_on_intr(|| rustix::net::sendmsg(line, &parts, &mut SendAncillaryBuffer::default(), flags))
        .map(drop)
}

/// The next thing that the monitor tells; `space` is for what it carries.
pub(crate) fn hear<'a>(line: BorrowedFd<'_>, space: &'a mut Vec<u8>) -> Result<Told<'a>, Errno> {
    let mut pidfd = None;
    let Some((what, bytes)) = receive(line, space, &mut pidfd)? else { return Ok(Told::Closed) };
    Ok(match (what, pidfd) {
        (BEGAN, Some(pidfd)) => Told::Began(pidfd),
        (NOTED, _) => Told::Noted(std::str::from_utf8(bytes).map_err(|_| Errno::BADMSG)?),
        (FAILED, _) => Told::Failed(serde_json::from_slice(bytes).map_err(|_| Errno::BADMSG)?),
        (OUTPUT, _) => Told::Printed(Stream::Stdout, bytes),
        (ERROR, _) => Told::Printed(Stream::Stderr, bytes),
        (ENDED, _) => Told::Ended(i32::from_le_bytes(bytes.try_into().map_err(|_| Errno::BADMSG)?)),
        _ => return Err(Errno::BADMSG),
    })
}

/// The next thing that the monitor is asked.
pub(crate) fn listen<'a>(line: BorrowedFd<'_>, space: &'a mut Vec<u8>) -> Result<Asked<'a>, Errno> {
    Ok(match receive(line, space, &mut None)? {
        None => Asked::Closed,
        Some((TYPED, bytes)) => Asked::Typed(bytes),
        Some((INPUT_ENDED, _)) => Asked::InputEnded,
        Some((SIZE, &[c0, c1, r0, r1])) => Asked::Size(u16::from_le_bytes([c0, c1]), u16::from_le_bytes([r0, r1])),
        Some(_) => return Err(Errno::BADMSG),
    })
}

/// One packet, without waiting. None at the end.
fn receive<'a>(
    line: BorrowedFd<'_>,
    space: &'a mut Vec<u8>,
    pidfd: &mut Option<OwnedFd>,
) -> Result<Option<(u8, &'a [u8])>, Errno> {
    space.resize(LONGEST + 1, 0);
    let mut control = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut control);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received =
        rustix::io::retry_on_intr(|| rustix::net::recvmsg(line, &mut [IoSliceMut::new(space)], &mut control, flags));
    let got = match received {
        Ok(message) => message.bytes,
        Err(Errno::CONNRESET) => 0,
        Err(error) => return Err(error),
    };
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message {
            *pidfd = fds.next();
        }
    }
    let packet = space.get(..got).unwrap_or_default();
    Ok(packet.split_first().map(|(what, bytes)| (*what, bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_heard() {
        let (ours, theirs) = pair().unwrap();
        let mut space = Vec::new();
        let failure = Failure { text: "no".into(), hint: Some("try".into()), code: 127 };
        tell(ours.as_fd(), &Told::Noted("mind")).unwrap();
        tell(ours.as_fd(), &Told::Failed(failure.clone())).unwrap();
        tell(ours.as_fd(), &Told::Printed(Stream::Stderr, b"")).unwrap();
        tell(ours.as_fd(), &Told::Printed(Stream::Stdout, &[7; LONGEST])).unwrap();
        tell(ours.as_fd(), &Told::Ended(-1)).unwrap();
        tell(ours.as_fd(), &Told::Began(theirs.try_clone().unwrap())).unwrap();
        drop(ours);
        let mut hear = |test: &dyn Fn(&Told<'_>) -> bool| {
            let told = super::hear(theirs.as_fd(), &mut space).unwrap();
            assert!(test(&told), "{told:?}");
        };
        hear(&|told| matches!(told, Told::Noted("mind")));
        hear(&|told| matches!(told, Told::Failed(heard) if *heard == failure));
        hear(&|told| matches!(told, Told::Printed(Stream::Stderr, b"")));
        hear(&|told| matches!(told, Told::Printed(Stream::Stdout, bytes) if bytes.len() == LONGEST));
        hear(&|told| matches!(told, Told::Ended(-1)));
        hear(&|told| matches!(told, Told::Began(_)));
        hear(&|told| matches!(told, Told::Closed));
    }

    #[test]
    fn what_is_asked_is_heard() {
        let (ours, theirs) = pair().unwrap();
        let mut space = Vec::new();
        let all = [Asked::Typed(b"ls\n"), Asked::InputEnded, Asked::Size(80, 24)];
        all.iter().for_each(|asked| ask(theirs.as_fd(), asked).unwrap());
        for asked in &all {
            assert_eq!(listen(ours.as_fd(), &mut space).unwrap(), *asked);
        }
        assert_eq!(listen(ours.as_fd(), &mut space).unwrap_err(), Errno::AGAIN);
        // Hostile words end the line and nothing else.
        for packet in [&b"?"[..], b"W123", b"W12345"] {
            rustix::net::send(&theirs, packet, SendFlags::empty()).unwrap();
            assert_eq!(listen(ours.as_fd(), &mut space).unwrap_err(), Errno::BADMSG, "{packet:?}");
        }
        drop(theirs);
        assert_eq!(listen(ours.as_fd(), &mut space).unwrap(), Asked::Closed);
    }

    #[test]
    fn who_does_not_read_is_not_waited_for() {
        let (ours, _theirs) = pair().unwrap();
        let told = Told::Printed(Stream::Stdout, &[0; LONGEST]);
        assert!((0..1000).any(|_| tell(ours.as_fd(), &told) == Err(Errno::AGAIN)));
    }
}
