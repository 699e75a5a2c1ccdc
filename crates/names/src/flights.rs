//! Questions that are on their way upstream, and who waits for their answers.
//!
//! The servers are asked one after the other: the next one when one is not there, fails or refuses, or has not answered
//! after two seconds; then those that were only silent once more. After 4.5 seconds in all the client is told that it
//! failed: a C library asks again after 5, and is not to wait for nothing. Who asks what is being asked already waits
//! for the same answer, so that a crowd costs one question, and guessing answers is no easier for asking often.

use crate::fair::{Room, room};
use crate::line::{Line, Transport};
use crate::query::Key;
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// How long a server has to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long all of them have together.
const PATIENCE_IN_ALL: Duration = Duration::from_millis(4500);
/// Who waits, in all and of one client; of those by TCP, which take more memory.
const MOST: [usize; 2] = [1024, 256];
const MOST_TCP: [usize; 2] = [128, 32];

/// To whom an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    Udp(SocketAddr),
    /// A connection, by its number.
    Tcp(u64),
}

impl Asker {
    fn transport(self) -> Transport {
        match self {
            Asker::Udp(_) => Transport::Udp,
            Asker::Tcp(_) => Transport::Tcp,
        }
    }
}

/// A client that waits for an answer.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) asker: Asker,
    pub(crate) client: IpAddr,
    /// Its question, with its id, as it may be sent on.
    pub(crate) query: Vec<u8>,
}

/// A question on its way.
#[derive(Debug)]
pub(crate) struct Flight {
    /// Present when the answer is anybody's.
    pub(crate) key: Option<Key>,
    pub(crate) waiting: Vec<Waiting>,
    transport: Transport,
    query: Vec<u8>,
    servers: VecDeque<SocketAddr>,
    pub(crate) line: Option<Line>,
    /// The best of what servers said who could not answer.
    pub(crate) refusal: Option<Vec<u8>>,
    turn_ends: Instant,
    ends: Instant,
}

impl Flight {
    pub(crate) fn new(key: Option<Key>, waiting: Waiting, servers: Vec<SocketAddr>, now: Instant) -> Flight {
        Flight {
            key,
            transport: waiting.asker.transport(),
            query: waiting.query.clone(),
            waiting: vec![waiting],
            servers: servers.into(),
            line: None,
            refusal: None,
            turn_ends: now,
            ends: now + PATIENCE_IN_ALL,
        }
    }

    /// The server that is being asked.
    pub(crate) fn server(&self) -> Option<SocketAddr> {
        self.servers.front().copied()
    }

    /// Asks the server whose turn it is.
    pub(crate) fn ask(&mut self, server: SocketAddr, now: Instant) -> Result<&Line, Errno> {
        // An id of its own: the client's may be known to others.
        let mut message = self.query.clone();
        getrandom(message.get_mut(..2).unwrap_or_default(), GetRandomFlags::empty())?;
        self.turn_ends = self.ends.min(now + PATIENCE);
        // The one before is closed first.
        self.line = None;
        Ok(self.line.insert(Line::open(server, self.transport, message)?))
    }

    /// It is not to be asked again.
    pub(crate) fn give_up_server(&mut self) {
        self.line = None;
        self.servers.pop_front();
    }

    /// The server has had its time. True when the next is to be asked; a lonely one is asked again on the same line.
    pub(crate) fn next_turn(&mut self, now: Instant) -> bool {
        if self.servers.len() > 1 {
            self.servers.rotate_left(1);
            return true;
        }
        self.turn_ends = self.ends.min(now + PATIENCE);
        match &self.line {
            Some(line) if self.transport == Transport::Udp => line.ask_again().is_err(),
            _ => false,
        }
    }

    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.ends <= now
    }

    pub(crate) fn turn_is_over(&self, now: Instant) -> bool {
        self.turn_ends <= now
    }
}

/// All of them, by their numbers, which rise.
#[derive(Debug, Default)]
pub(crate) struct Flights(pub(crate) BTreeMap<u64, Flight>);

impl Flights {
    /// Lets a client wait for what is being asked already, or gives it back when nobody asks that. Who asks the same
    /// twice, by UDP, waits once.
    pub(crate) fn join(&mut self, key: Option<&Key>, waiting: Waiting) -> Option<Waiting> {
        let transport = waiting.asker.transport();
        let is_again = |other: &Waiting| {
            transport == Transport::Udp && other.asker == waiting.asker && other.query == waiting.query
        };
        for flight in self.0.values_mut().filter(|flight| flight.transport == transport) {
            if flight.waiting.iter().any(is_again) {
                return None;
            }
            if key.is_some() && flight.key.as_ref() == key {
                flight.waiting.push(waiting);
                return None;
            }
        }
        Some(waiting)
    }

    /// Makes room for one more who waits. True when there is; the one who lost its place for it comes with that.
    pub(crate) fn admit(&mut self, asker: Asker, client: IpAddr) -> (bool, Option<Waiting>) {
        let [all, share] = if asker.transport() == Transport::Tcp { MOST_TCP } else { MOST };
        let flights = self.0.iter().filter(|(_, flight)| flight.transport == asker.transport());
        let holders = flights.flat_map(|(id, flight)| {
            flight.waiting.iter().enumerate().map(|(nth, waiting)| (waiting.client, (*id, nth)))
        });
        match room(holders, client, share, all) {
            Room::Free => (true, None),
            Room::None => (false, None),
            Room::Instead((id, nth)) => (true, self.remove_waiting(id, nth)),
        }
    }

    fn remove_waiting(&mut self, id: u64, nth: usize) -> Option<Waiting> {
        let flight = self.0.get_mut(&id)?;
        let waiting = flight.waiting.remove(nth);
        if flight.waiting.is_empty() {
            self.0.remove(&id);
        }
        Some(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(client: u8, port: u16, query: &[u8]) -> Waiting {
        let client = IpAddr::from([10, 0, 0, client]);
        Waiting { asker: Asker::Udp((client, port).into()), client, query: query.to_vec() }
    }

    fn flight(client: u8, port: u16) -> Flight {
        Flight::new(None, waiting(client, port, b"q"), Vec::new(), Instant::now())
    }

    #[test]
    fn the_same_question_from_the_same_client_waits_once() {
        let mut flights = Flights::default();
        flights.0.insert(1, flight(1, 1));
        assert!(flights.join(None, waiting(1, 1, b"q")).is_none());
        assert!(flights.join(None, waiting(1, 1, b"other")).is_some());
        assert!(flights.join(None, waiting(1, 2, b"q")).is_some());
        assert_eq!(flights.0[&1].waiting.len(), 1);
    }

    #[test]
    fn a_crowd_takes_no_place_from_others() {
        let mut flights = Flights::default();
        let [all, share] = MOST;
        let mut port = 0;
        for client in 1..=4 {
            for _ in 0..share {
                port += 1;
                let asker = Asker::Udp(SocketAddr::from(([10, 0, 0, client], port)));
                assert!(flights.admit(asker, [10, 0, 0, client].into()).0);
                flights.0.insert(port.into(), flight(client, port));
            }
            let asker = Asker::Udp(SocketAddr::from(([10, 0, 0, client], 9)));
            assert!(!flights.admit(asker, [10, 0, 0, client].into()).0, "a share is enough");
        }
        assert_eq!(flights.0.len(), all);
        let (admitted, lost) = flights.admit(Asker::Udp(SocketAddr::from(([10, 0, 0, 9], 9))), [10, 0, 0, 9].into());
        assert!(admitted && lost.is_some());
        assert_eq!(flights.0.len(), all - 1);
        let tcp = flights.admit(Asker::Tcp(7), [10, 0, 0, 1].into());
        assert!(tcp.0 && tcp.1.is_none(), "TCP is counted by itself");
    }

    #[test]
    fn servers_take_turns() {
        let now = Instant::now();
        let servers: Vec<SocketAddr> = ["10.0.0.1:53", "10.0.0.2:53"].map(|server| server.parse().unwrap()).to_vec();
        let mut flight = Flight::new(None, waiting(1, 1, b"q"), servers.clone(), now);
        assert_eq!(flight.server(), Some(servers[0]));
        assert!(flight.next_turn(now) && flight.server() == Some(servers[1]));
        assert!(flight.next_turn(now) && flight.server() == Some(servers[0]));
        flight.give_up_server();
        assert_eq!(flight.server(), Some(servers[1]));
        assert!(!flight.next_turn(now) && !flight.turn_is_over(now) && flight.turn_is_over(now + PATIENCE));
        let late = now + PATIENCE_IN_ALL - Duration::from_millis(100);
        assert!(!flight.next_turn(late) && !flight.turn_is_over(late) && flight.turn_is_over(now + PATIENCE_IN_ALL));
        flight.give_up_server();
        assert_eq!(flight.server(), None);
        assert!(!flight.is_over(now) && flight.is_over(now + PATIENCE_IN_ALL));
    }
}
