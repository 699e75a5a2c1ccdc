//! A question's way to a server upstream and the answer's way back: one socket for one question.
//!
//! Each has a port that the kernel picks at random and an id of its own, and is connected: what comes from elsewhere,
//! the kernel drops; what comes from there and is not the answer to this question, we do. A server that is not there
//! says so at once. [RFC 5452]

use crate::query::is_answer;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Packets that are looked at before others get their turn.
const PACKETS: usize = 16;
/// The length before a message. [RFC 1035, 4.2.2]
const PREFIX: usize = 2;

/// By what a question goes out: as it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// A socket to a server that was asked something.
#[derive(Debug)]
pub(crate) struct Line {
    socket: OwnedFd,
    sent: Vec<u8>,
    tcp: Option<Stream>,
}

#[derive(Debug)]
struct Stream {
    /// Bytes that are still to be sent.
    out: Vec<u8>,
    heard: Vec<u8>,
}

impl Line {
    /// Asks a server.
    pub(crate) fn open(server: SocketAddr, transport: Transport, message: Vec<u8>) -> Result<Line, Errno> {
        let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let (kind, tcp) = match transport {
            Transport::Udp => (SocketType::DGRAM, None),
            Transport::Tcp => (SocketType::STREAM, Some(Stream { out: framed(&message), heard: Vec::new() })),
        };
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
        match connect(&socket, &server) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(errno),
        }
        let line = Line { socket, sent: message, tcp };
        if line.tcp.is_none() {
            line.ask_again()?;
        }
        Ok(line)
    }

    /// What it is to be woken by.
    pub(crate) fn events(&self) -> EventFlags {
        match self.tcp {
            // As long as there is something: not all packets are read at once.
            None => EventFlags::IN,
            Some(_) => EventFlags::IN | EventFlags::OUT | EventFlags::ET,
        }
    }

    /// By UDP, the same once more: one of the two may have been lost, and either's answer will do.
    pub(crate) fn ask_again(&self) -> Result<(), Errno> {
        send(&self.socket, &self.sent, SendFlags::NOSIGNAL).map(|_| ())
    }

    /// The answer, once it is there.
    pub(crate) fn hear(&mut self, space: &mut [u8]) -> Result<Option<Vec<u8>>, Errno> {
        let answer = match &mut self.tcp {
            None => return self.hear_packet(space),
            Some(stream) => stream.hear(&self.socket, space)?,
        };
        match answer {
            Some(answer) if !is_answer(&answer, &self.sent) => Err(Errno::PROTO),
            answer => Ok(answer),
        }
    }

    fn hear_packet(&self, space: &mut [u8]) -> Result<Option<Vec<u8>>, Errno> {
        for _ in 0..PACKETS {
            match recv(&self.socket, &mut *space, RecvFlags::empty()) {
                Ok((got, _)) => {
                    let packet = space.get(..got).unwrap_or_default();
                    if is_answer(packet, &self.sent) {
                        return Ok(Some(packet.to_vec()));
                    }
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(None)
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Stream {
    fn hear(&mut self, socket: &OwnedFd, space: &mut [u8]) -> Result<Option<Vec<u8>>, Errno> {
        if !send_all(socket, &mut self.out)? {
            return Ok(None);
        }
        loop {
            if let Some(message) = take_message(&mut self.heard) {
                return Ok(Some(message));
            }
            match recv(socket, &mut *space, RecvFlags::empty()) {
                Ok((0, _)) => return Err(Errno::CONNRESET),
                Ok((got, _)) => self.heard.extend_from_slice(space.get(..got).unwrap_or_default()),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// A message with its length before it.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    [length.to_be_bytes().as_slice(), message].concat()
}

/// The length of the message that begins here, once it is known.
pub(crate) fn announced(heard: &[u8]) -> Option<usize> {
    let prefix = heard.get(..PREFIX)?.try_into().ok()?;
    Some(u16::from_be_bytes(prefix).into())
}

/// Takes the first message out of what has been heard, once it is whole.
pub(crate) fn take_message(heard: &mut Vec<u8>) -> Option<Vec<u8>> {
    let end = PREFIX + announced(heard)?;
    let message = heard.get(PREFIX..end)?.to_vec();
    heard.drain(..end);
    Some(message)
}

/// Sends what can be sent now; true when nothing is left, and then there is no memory held for it.
pub(crate) fn send_all(socket: &OwnedFd, out: &mut Vec<u8>) -> Result<bool, Errno> {
    while !out.is_empty() {
        match send(socket, out, SendFlags::NOSIGNAL) {
            Ok(sent) => drop(out.drain(..sent)),
            Err(Errno::AGAIN) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    *out = Vec::new();
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_out_of_a_stream() {
        let mut heard = Vec::new();
        for (bytes, expected) in [
            (&b"\0"[..], None),
            (b"\x03", None),
            (b"ab", None),
            (b"c\0\0\0\x01d\0", Some(&b"abc"[..])),
            (b"", Some(b"")),
            (b"", Some(b"d")),
            (b"", None),
        ] {
            heard.extend_from_slice(bytes);
            assert_eq!(take_message(&mut heard).as_deref(), expected);
        }
        assert_eq!(heard, [0]);
        assert_eq!(framed(b"abc"), b"\0\x03abc");
    }
}
