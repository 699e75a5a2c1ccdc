//! Clients that ask by TCP: many questions a connection, each answered as its answer comes. [RFC 7766]
//!
//! A connection takes memory only for what is half heard, which is at most one question and a little more, and for what
//! is not sent yet. From one that does not take its answers, or waits for several, no more is read. One that has not
//! asked a whole question for ten seconds is closed; so is the oldest of whoever has most, when there are too many.

use crate::fair::{Room, room};
use crate::line::{announced, framed, send_all, take_message};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Connections, in all and of one client.
const MOST: [usize; 2] = [128, 16];
/// Questions of one connection that are on their way.
const MOST_WAITING: usize = 8;
/// As long a question as by UDP.
const LONGEST: usize = 1232;
/// What is read at once.
const PIECE: usize = 2048;
/// Answers that may lie here for a client that does not take them.
const MOST_SAID: usize = 128 << 10;
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    socket: OwnedFd,
    pub(crate) address: IpAddr,
    heard: Vec<u8>,
    said: Vec<u8>,
    waiting: usize,
    since: Instant,
    has_said_all: bool,
}

/// What a connection wants next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// This is to be answered.
    Answer(Vec<u8>),
    Wait,
    Close,
}

impl Client {
    pub(crate) fn new(socket: OwnedFd, address: IpAddr, now: Instant) -> Client {
        let (heard, said) = Default::default();
        Client { socket, address, heard, said, waiting: 0, since: now, has_said_all: false }
    }

    /// Goes on as far as possible without waiting.
    pub(crate) fn go_on(&mut self, space: &mut [u8], now: Instant) -> Next {
        self.try_go_on(space, now).unwrap_or(Next::Close)
    }

    fn try_go_on(&mut self, space: &mut [u8], now: Instant) -> Result<Next, Errno> {
        loop {
            if !send_all(&self.socket, &mut self.said)? || self.waiting >= MOST_WAITING {
                return Ok(Next::Wait);
            }
            if let Some(message) = take_message(&mut self.heard) {
                self.since = now;
                self.waiting += 1;
                return Ok(Next::Answer(message));
            }
            if announced(&self.heard).is_some_and(|length| length > LONGEST) {
                return Ok(Next::Close);
            }
            if self.has_said_all {
                return Ok(if self.waiting > 0 { Next::Wait } else { Next::Close });
            }
            let piece = PIECE.min(space.len());
            match recv(&self.socket, space.get_mut(..piece).unwrap_or_default(), RecvFlags::empty()) {
                Ok((0, _)) => self.has_said_all = true,
                Ok((got, _)) => self.heard.extend_from_slice(space.get(..got).unwrap_or_default()),
                Err(Errno::AGAIN) => {
                    self.heard.shrink_to_fit();
                    return Ok(Next::Wait);
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Takes the answer to one of its questions; nothing is one, too. False when it has too many already.
    pub(crate) fn answer(&mut self, message: Option<&[u8]>) -> bool {
        self.waiting = self.waiting.saturating_sub(1);
        self.said.extend(message.map(framed).unwrap_or_default());
        self.said.len() <= MOST_SAID
    }
}

/// All of them, by their numbers, which rise.
#[derive(Debug, Default)]
pub(crate) struct Clients(pub(crate) BTreeMap<u64, Client>);

impl Clients {
    /// Takes one more, if there is room.
    pub(crate) fn add(&mut self, id: u64, client: Client) -> bool {
        let holders = self.0.iter().map(|(id, client)| (client.address, *id));
        let [all, share] = MOST;
        match room(holders, client.address, share, all) {
            Room::None => return false,
            Room::Instead(oldest) => drop(self.0.remove(&oldest)),
            Room::Free => {}
        }
        self.0.insert(id, client);
        true
    }

    /// Closes those that have said nothing for too long.
    pub(crate) fn close_idle(&mut self, now: Instant) {
        self.0.retain(|_, client| now < client.since + PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};

    fn pair(now: Instant) -> (Client, OwnedFd) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        (Client::new(ours, [10, 0, 0, 1].into(), now), theirs)
    }

    #[test]
    fn questions_are_cut_out_and_answers_go_back() {
        let now = Instant::now();
        let (mut client, theirs) = pair(now);
        let mut space = [0; 65535];
        let mut said = |client: &mut Client, bytes: &[u8]| {
            send(&theirs, bytes, SendFlags::empty()).unwrap();
            client.go_on(&mut space, now)
        };
        assert_eq!(said(&mut client, b"\0\x02a"), Next::Wait);
        assert_eq!(said(&mut client, b"b\0\x01c"), Next::Answer(b"ab".to_vec()));
        assert_eq!(said(&mut client, b"\0"), Next::Answer(b"c".to_vec()));
        assert!(client.answer(Some(b"xy")) && client.answer(None));
        assert_eq!(said(&mut client, &[0]), Next::Answer(b"".to_vec()));
        let mut back = [0; 9];
        assert_eq!(recv(&theirs, &mut back, RecvFlags::empty()).unwrap().0, 4);
        assert_eq!(&back[..4], b"\0\x02xy");
        drop(theirs);
        assert_eq!(client.go_on(&mut space, now), Next::Wait, "one is still to be answered");
        client.answer(None);
        assert_eq!(client.go_on(&mut space, now), Next::Close);
    }

    #[test]
    fn who_takes_nothing_is_not_listened_to() {
        let now = Instant::now();
        let (mut client, theirs) = pair(now);
        let mut space = [0; 65535];
        for _ in 0..=MOST_WAITING {
            send(&theirs, b"\0\x01a", SendFlags::empty()).unwrap();
        }
        for _ in 0..MOST_WAITING {
            assert_eq!(client.go_on(&mut space, now), Next::Answer(b"a".to_vec()));
        }
        assert_eq!(client.go_on(&mut space, now), Next::Wait, "for its answers");
        let mut answers = 0;
        while client.answer(Some(&[0; 60_000])) {
            answers += 1;
            assert!(answers < 99, "there is an end to what is kept");
            if client.go_on(&mut space, now) == Next::Wait && !client.said.is_empty() {
                assert!(client.heard.len() < PIECE);
            }
        }
    }

    #[test]
    fn too_long_a_question_ends_it() {
        let now = Instant::now();
        let (mut client, theirs) = pair(now);
        send(&theirs, &[0xff, 0xff, 0], SendFlags::empty()).unwrap();
        assert_eq!(client.go_on(&mut [0; 65535], now), Next::Close);
    }

    #[test]
    fn connections_have_an_end() {
        let now = Instant::now();
        let mut clients = Clients::default();
        let mut other_ends = Vec::new();
        let mut add = |clients: &mut Clients, nth: u64, address: [u8; 4]| {
            let (mut client, theirs) = pair(now);
            client.address = address.into();
            other_ends.push(theirs);
            clients.add(nth, client)
        };
        let [all, share] = MOST;
        for nth in 0..all {
            assert!(add(&mut clients, nth as u64, [10, 0, 1, (nth / share) as u8]));
        }
        assert!(!add(&mut clients, 900, [10, 0, 1, 0]));
        assert!(add(&mut clients, 901, [10, 0, 2, 0]));
        assert_eq!(clients.0.len(), all);
        clients.close_idle(now + PATIENCE - Duration::from_millis(1));
        assert_eq!(clients.0.len(), all);
        clients.close_idle(now + PATIENCE);
        assert_eq!(clients.0.len(), 0);
    }
}
