//! The server of one network: one thread, one loop, no socket that anybody could make it wait for.
//!
//! A packet is answered from the files of names, else from what is kept of earlier answers, else it is passed on and
//! answered when the answer comes. Whatever a client, a server upstream or a file does, the loop goes on; only what is
//! wrong with the loop's own sockets ends it.

use crate::answer::{Subnet, answer};
use crate::cache::{Cache, is_whole};
use crate::clients::{Client, Clients, Next};
use crate::error::Error;
use crate::flights::{Asker, Flight, Flights, Waiting};
use crate::query::{Heard, Query, hear};
use crate::reader::Reader;
use crate::upstreams::{PORT, Upstreams};
use domain::base::Message;
use domain::base::iana::{OptRcode, Rcode, Rtype};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, acceptfrom_with, getsockname, recvfrom, sendto, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// What a server is asked to do.
pub struct Server {
    /// Where it is asked by UDP: bound to an address of the network's bridge, at any port.
    pub udp: OwnedFd,
    /// Where it is asked by TCP: likewise, and listening.
    pub tcp: OwnedFd,
    /// The directory of all networks' names ([`crate::Names`]).
    pub names: OwnedFd,
    /// Its network: the first 12 digits of the id.
    pub network: String,
    /// The network's subnets: names of their addresses are asked of nobody else.
    pub subnets: Vec<Subnet>,
    /// What is asked in place of the host's loopback, where that is not this process's.
    pub loopback: Option<IpAddr>,
    /// Whether it is to end; asked each second.
    pub is_over: Box<dyn FnMut() -> bool>,
}

/// How often `is_over` is asked.
const SECOND: Duration = Duration::from_secs(1);
/// How late it may be noticed that somebody's time is over.
const TICK: Duration = Duration::from_millis(100);
/// Packets, connections, and questions of a connection that are taken before others get their turn.
const AT_ONCE: usize = 64;
/// The longest message there is.
const LONGEST: usize = 65_535;
/// Descriptors for all that may be on its way, and some more.
const DESCRIPTORS: u64 = 2048;
/// For some 2,700 small packets: the kernel takes it twice, and counts 768 bytes for one.
const RECEIVE_BUFFER: usize = 1 << 20;
const UDP: u64 = 0;
const TCP: u64 = 1;

/// Answers until `is_over` says so. It is the life of a process of its own, whose limit of open files it raises.
pub fn serve(server: Server) -> Result<(), Error> {
    let network = server.network.clone();
    Running::new(server).and_then(Running::run).map_err(|(action, source)| Error::Server { action, network, source })
}

type Failure = (&'static str, Errno);

struct Running {
    server: Server,
    epoll: OwnedFd,
    reader: Reader,
    upstreams: Upstreams,
    cache: Cache,
    flights: Flights,
    clients: Clients,
    /// Connections that can go on.
    answered: Vec<u64>,
    space: Vec<u8>,
    /// Of the kind of questions that is AAAA, and of all others.
    turns: [usize; 2],
    next_id: u64,
}

impl Running {
    fn new(server: Server) -> Result<Running, Failure> {
        raise_limit();
        let own =
            getsockname(&server.udp).and_then(SocketAddr::try_from).map_err(|errno| ("tell the address", errno))?;
        // As many questions as may come while one is answered; memory only while they are there. More than others may
        // have takes CAP_NET_ADMIN.
        let _ = sockopt::set_socket_recv_buffer_size_force(&server.udp, RECEIVE_BUFFER)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&server.udp, RECEIVE_BUFFER));
        let names = rustix::io::fcntl_dupfd_cloexec(&server.names, 0).map_err(|errno| ("open the directory", errno))?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|errno| ("poll the sockets", errno))?;
        for (socket, id, flags) in [
            (&server.udp, UDP, epoll::EventFlags::IN),
            // On edges: where there is no descriptor for it, a connection that waits must not keep us busy.
            (&server.tcp, TCP, epoll::EventFlags::IN | epoll::EventFlags::ET),
        ] {
            rustix::io::ioctl_fionbio(socket, true).map_err(|errno| ("make the sockets not block", errno))?;
            epoll::add(&epoll, socket, epoll::EventData::new_u64(id), flags)
                .map_err(|errno| ("poll the sockets", errno))?;
        }
        Ok(Running {
            epoll,
            reader: Reader::new(names),
            upstreams: Upstreams::new(&server.network, own.ip().to_canonical(), server.loopback),
            server,
            cache: Cache::default(),
            flights: Flights::default(),
            clients: Clients::default(),
            answered: Vec::new(),
            space: vec![0; LONGEST],
            turns: [0; 2],
            next_id: TCP + 1,
        })
    }

    fn run(mut self) -> Result<(), Failure> {
        let mut events = Vec::with_capacity(AT_ONCE);
        let (mut asked, mut ticked) = (Instant::now(), Instant::now());
        loop {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&self.pause())) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(("poll the sockets", errno)),
            }
            for event in &events {
                self.happened(event.data.u64())?;
            }
            self.go_on_answered();
            let now = Instant::now();
            if now - ticked >= TICK {
                ticked = now;
                self.tick(now);
            }
            if now - asked >= SECOND {
                asked = now;
                if (self.server.is_over)() {
                    return Ok(());
                }
            }
        }
    }

    fn happened(&mut self, id: u64) -> Result<(), Failure> {
        match id {
            UDP => self.take_packets()?,
            TCP => self.take_connections(),
            id if self.flights.0.contains_key(&id) => self.hear_upstream(id),
            id => self.go_on(id),
        }
        Ok(())
    }

    /// How long to wait for something to happen.
    fn pause(&self) -> Timespec {
        let is_idle = self.flights.0.is_empty() && self.clients.0.is_empty();
        let pause = match self.answered.is_empty() {
            false => Duration::ZERO,
            true if is_idle => SECOND,
            true => TICK,
        };
        Timespec { tv_sec: pause.as_secs() as _, tv_nsec: pause.subsec_nanos().into() }
    }

    fn take_packets(&mut self) -> Result<(), Failure> {
        let mut space = std::mem::take(&mut self.space);
        let mut done = Ok(());
        for _ in 0..AT_ONCE {
            match recvfrom(&self.server.udp, space.as_mut_slice(), RecvFlags::empty()) {
                Ok((got, _, from)) => {
                    let Some(from) = from.and_then(|from| SocketAddr::try_from(from).ok()) else { continue };
                    self.take(space.get(..got).unwrap_or_default(), Asker::Udp(from), from.ip());
                }
                Err(Errno::AGAIN) => break,
                Err(errno @ (Errno::BADF | Errno::NOTSOCK | Errno::INVAL)) => {
                    done = Err(("read from the sockets", errno));
                    break;
                }
                // What an earlier answer has met; it is told once.
                Err(_) => {}
            }
        }
        self.space = space;
        done
    }

    fn take_connections(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        for _ in 0..AT_ONCE {
            match acceptfrom_with(&self.server.tcp, flags) {
                Ok((socket, from)) => {
                    let Some(from) = from.and_then(|from| SocketAddr::try_from(from).ok()) else { continue };
                    self.take_connection(socket, from.ip().to_canonical());
                }
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                // When it is for want of descriptors, the next tick tries again; so it does when there are more.
                Err(_) => return,
            }
        }
    }

    fn take_connection(&mut self, socket: OwnedFd, from: IpAddr) {
        let id = self.next_id();
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        if epoll::add(&self.epoll, &socket, epoll::EventData::new_u64(id), flags).is_ok()
            && self.clients.add(id, Client::new(socket, from, Instant::now()))
        {
            self.go_on(id);
        }
    }

    /// Lets a connection go on, question by question.
    fn go_on(&mut self, id: u64) {
        for _ in 0..AT_ONCE {
            let Some(client) = self.clients.0.get_mut(&id) else { return };
            match client.go_on(&mut self.space, Instant::now()) {
                Next::Answer(message) => {
                    let address = client.address;
                    self.take(&message, Asker::Tcp(id), address);
                }
                Next::Wait => return,
                Next::Close => drop(self.clients.0.remove(&id)),
            }
        }
        self.answered.push(id);
    }

    /// Lets those go on that have got answers, or have had their turn and want more.
    fn go_on_answered(&mut self) {
        let mut ids = std::mem::take(&mut self.answered);
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().for_each(|id| self.go_on(id));
    }

    /// Answers a client's packet, now or later.
    fn take(&mut self, packet: &[u8], asker: Asker, client: IpAddr) {
        let client = client.to_canonical();
        let query = match hear(packet) {
            Heard::Nothing => return self.send(asker, None),
            Heard::Wrong(reply) => return self.send(asker, Some(reply)),
            Heard::Query(query) => query,
        };
        let limit = limit(&query, asker, true);
        let view = self.reader.zone().view(&self.server.network, client);
        // Who asks for both kinds of addresses each time would with one count for both get of two always the same first.
        let turn = &mut self.turns[usize::from(query.rtype == Rtype::AAAA)];
        *turn = turn.wrapping_add(1);
        match answer(&query, &view, &self.server.subnets, *turn, limit) {
            Some(reply) => self.send(asker, Some(reply)),
            None => self.pass_on(&query, asker, client),
        }
    }

    /// Answers from what is kept, or asks upstream.
    fn pass_on(&mut self, query: &Query<'_>, asker: Asker, client: IpAddr) {
        let now = Instant::now();
        if self.upstreams.refresh(self.reader.as_fd()) {
            self.cache.clear();
        }
        let mut servers = self.upstreams.in_order(now);
        // An internal network asks nobody, whoever wishes for what.
        let own = self.reader.zone().servers(&self.server.network, client);
        let has_own = !own.is_empty() && !servers.is_empty();
        if has_own {
            servers = own.iter().map(|address| SocketAddr::new(*address, PORT)).collect();
        }
        // What is kept are answers of the network's servers, and those that are asked together ask those.
        let key = (query.is_anybodys() && !has_own).then(|| query.key());
        if let Some(kept) = key.as_ref().and_then(|key| self.cache.get(key, now)) {
            return self.send(asker, query.pass_on(kept, limit(query, asker, false)));
        }
        let Some(bytes) = query.to_send() else { return self.send(asker, None) };
        let (is_admitted, loser) = self.flights.admit(asker, client);
        loser.into_iter().for_each(|loser| self.tell(&loser, None));
        let waiting = Waiting { asker, client, query: bytes };
        if !is_admitted {
            return self.tell(&waiting, None);
        }
        if let Some(waiting) = self.flights.join(key.as_ref(), waiting) {
            let id = self.next_id();
            self.flights.0.insert(id, Flight::new(key, waiting, servers, now));
            self.ask(id, now);
        }
    }

    /// Asks the servers in turn until one can be asked.
    fn ask(&mut self, id: u64, now: Instant) {
        while let Some(flight) = self.flights.0.get_mut(&id) {
            let Some(server) = flight.server() else { return self.land(id, None) };
            let asked = flight
                .ask(server, now)
                .and_then(|line| epoll::add(&self.epoll, line, epoll::EventData::new_u64(id), line.events()));
            if asked.is_ok() {
                return;
            }
            flight.give_up_server();
            self.upstreams.silent(server, now);
        }
    }

    /// Something has come from a server, or cannot come.
    fn hear_upstream(&mut self, id: u64) {
        let now = Instant::now();
        let Some(flight) = self.flights.0.get_mut(&id) else { return };
        let (Some(server), Some(line)) = (flight.server(), &mut flight.line) else { return };
        match line.hear(&mut self.space) {
            Ok(None) => return,
            Ok(Some(answer)) => {
                self.upstreams.answering(server);
                if is_help(&answer) {
                    return self.land(id, Some(answer));
                }
                flight.refusal = flight.refusal.take().or(Some(answer).filter(|answer| is_whole(answer)));
            }
            Err(_) => self.upstreams.silent(server, now),
        }
        flight.give_up_server();
        self.ask(id, now);
    }

    /// Tells all who wait for it.
    fn land(&mut self, id: u64, answer: Option<Vec<u8>>) {
        let Some(flight) = self.flights.0.remove(&id) else { return };
        if let (Some(key), Some(answer)) = (flight.key, &answer) {
            self.cache.put(key, answer, Instant::now());
        }
        let answer = answer.or(flight.refusal);
        for waiting in &flight.waiting {
            self.tell(waiting, answer.as_deref());
        }
    }

    /// Tells one what came from upstream, or that nothing did.
    fn tell(&mut self, waiting: &Waiting, answer: Option<&[u8]>) {
        // It was read before.
        let Heard::Query(query) = hear(&waiting.query) else { return self.send(waiting.asker, None) };
        let reply = match answer {
            Some(answer) => query.pass_on(answer.to_vec(), limit(&query, waiting.asker, false)),
            None => query.reply(OptRcode::SERVFAIL, &[], limit(&query, waiting.asker, true)),
        };
        self.send(waiting.asker, reply);
    }

    /// Sends an answer, or settles that there is none.
    fn send(&mut self, asker: Asker, message: Option<Vec<u8>>) {
        match asker {
            // One that cannot be sent is lost, as any may be on its way.
            Asker::Udp(to) => {
                message.map(|message| sendto(&self.server.udp, &message, SendFlags::NOSIGNAL, &to));
            }
            Asker::Tcp(id) => {
                let Some(client) = self.clients.0.get_mut(&id) else { return };
                if client.answer(message.as_deref()) {
                    self.answered.push(id);
                } else {
                    self.clients.0.remove(&id);
                }
            }
        }
    }

    /// Sees to those whose time is over.
    fn tick(&mut self, now: Instant) {
        self.take_connections();
        self.clients.close_idle(now);
        let late = |(id, flight): (&u64, &Flight)| flight.turn_is_over(now).then_some(*id);
        let late: Vec<u64> = self.flights.0.iter().filter_map(late).collect();
        for id in late {
            let Some(flight) = self.flights.0.get_mut(&id) else { continue };
            if let Some(server) = flight.server() {
                self.upstreams.silent(server, now);
            }
            if flight.is_over(now) {
                self.land(id, None);
            } else if flight.next_turn(now) {
                self.ask(id, now);
            }
        }
    }

    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

/// True for an answer that ends the search: one that can be read and is no failure of the server's own.
fn is_help(answer: &[u8]) -> bool {
    let code = Message::from_slice(answer).map(|message| message.header().rcode());
    is_whole(answer) && !matches!(code, Ok(Rcode::SERVFAIL | Rcode::REFUSED))
}

/// How long an answer may be, by what way it goes back.
fn limit(query: &Query<'_>, asker: Asker, is_ours: bool) -> usize {
    match asker {
        Asker::Tcp(_) => LONGEST,
        Asker::Udp(_) if is_ours => query.our_size(),
        Asker::Udp(_) => query.udp_size(),
    }
}

fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
    if current.is_some_and(|current| current < wanted) {
        // Without it, fewer questions are on their way at a time.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
}
