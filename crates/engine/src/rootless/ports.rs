//! Published ports of an ordinary user's container: a process that passes on what comes to them.
//!
//! Root's ports are published by rules, which no packet of the host's passes through a process for. An ordinary user's rules
//! are in a network namespace that the host's packets do not see. So the sockets that claim the ports (`network`, `claim`)
//! listen, and a process `mc-ports` a container, with one foot in each namespace, passes on what they get: its
//! listening sockets were made on the host, and it has gone to the bridges for good. To the container it talks with
//! the client's own address (`network::take_answers`), so that a server's log tells who asked. What comes from the
//! host's loopback comes from the bridge's gateway, as with root's ports.
//!
//! Where a port leads can change while the container runs (`network connect`, `disconnect`): the network's file of its ports
//! says it, and is read for each connection.
//!
//! The process ends with the pipe that its maker holds: when the ports are withdrawn, and with the maker's life. Its
//! claims are its maker's, too, so that nobody else gets a port before both have let go.

use super::{ENTERED, Entered};
use crate::error::Error;
use crate::state::Id;
use network::{Network, Protocol, Published};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, listen, socket_with};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::collections::HashMap;
use std::io::{self, Read};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use step::step;
use sys::fork::Namespaces;

/// What this process has of its container's.
static PASSING_ON: Mutex<Vec<Process>> = Mutex::new(Vec::new());

struct Process {
    /// It ends when this is closed.
    ask: OwnedFd,
    pidfd: OwnedFd,
    ports: Vec<Published>,
}

/// How long a client of UDP is remembered that says nothing.
const SILENCE: Duration = Duration::from_secs(60);
/// How long its end is waited for.
const ENDING: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// Connections that the kernel keeps until they are taken.
const WAITING: i32 = 4096;

/// A socket, and the port of the host that it is.
struct Way {
    protocol: Protocol,
    socket: OwnedFd,
    host: SocketAddr,
}

/// How long what was read of a port is believed by datagrams.
const BELIEVED: Duration = Duration::from_millis(100);

/// Where the ports lead, as it is now.
struct Leading {
    id: Id,
    led: Mutex<Vec<Published>>,
}

impl Leading {
    /// The container's side of a port; none while the container is on no network that the host reaches.
    fn to(&self, protocol: Protocol, host: SocketAddr) -> Option<SocketAddr> {
        let mut led = self.led.lock().unwrap_or_else(PoisonError::into_inner);
        // What cannot be read is as it was.
        if let Ok(now) = crate::sweep::network().ports_of(self.id.as_str())
            && now != *led
        {
            let gone: Vec<Published> = led.iter().filter(|port| !now.contains(port)).copied().collect();
            // Who cannot be answered is not led there: the next one tries again.
            network::take_answers(&now).ok()?;
            let _ = network::leave_answers(&gone);
            *led = now;
        }
        led.iter().find(|port| port.protocol == protocol && port.host == host).map(|port| port.container)
    }

    /// Takes back what was done for it.
    fn end(&self) {
        let _ = network::leave_answers(&self.led.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Passes on what comes to the ports that the network has claimed for this process's container. Nothing is to do for root.
pub(crate) fn pass_on(network: &Network, id: &Id, ports: &[Published]) -> Result<(), Error> {
    let Some(entered) = ENTERED.get().filter(|_| !ports.is_empty()) else { return Ok(()) };
    let what = || ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    step("pass-on-ports", "an ordinary user's rules do not see what comes to the host", what, || {
        let failed = |source| Error::File { what: "pass on", path: "published ports".into(), source };
        let ways = ways(network.claimed().map_err(failed)?, ports).map_err(failed)?;
        super::on_host(|| network::take_answers(ports))?;
        let pipes = || Ok::<_, Errno>((pipe_with(PipeFlags::CLOEXEC)?, pipe_with(PipeFlags::CLOEXEC)?));
        let ((told, ask), (number, say)) = pipes().map_err(|errno| failed(errno.into()))?;
        let kept = [told, say].into_iter();
        let (kinds, sockets): (Vec<_>, Vec<_>) =
            ways.into_iter().map(|way| ((way.protocol, way.host), way.socket)).unzip();
        let leading = Arc::new(Leading { id: id.clone(), led: Mutex::new(ports.to_vec()) });
        sys::detach::spawn_detached_with(c"mc-ports", kept.chain(sockets).collect(), &[], |mut kept| {
            let sockets = kept.split_off(2);
            let ways = kinds.into_iter().zip(sockets);
            let ways = ways.map(|((protocol, host), socket)| Way { protocol, socket, host });
            if let Some(say) = kept.pop() {
                let _ = rustix::io::write(&say, &std::process::id().to_ne_bytes());
            }
            let _ = serve(entered, &kept, ways.collect(), &leading);
            // Threads that still pass something on end with the process.
            sys::fork::exit_now(0)
        })
        .map_err(failed)?;
        let mut pid = [0; 4];
        std::fs::File::from(number).read_exact(&mut pid).map_err(failed)?;
        let pid = Pid::from_raw(i32::from_ne_bytes(pid)).ok_or(Errno::SRCH);
        let pidfd = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty())).map_err(|errno| failed(errno.into()))?;
        let mut all = PASSING_ON.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Process { ask, pidfd, ports: ports.to_vec() });
        Ok(())
    })
}

/// Ends that, and waits for it: from then on the ports are free.
pub(crate) fn withdraw() -> Option<Error> {
    let all = std::mem::take(&mut *PASSING_ON.lock().unwrap_or_else(PoisonError::into_inner));
    let mut failed = None;
    for Process { ask, pidfd, ports } in all {
        drop(ask);
        // Of a process that has ended all sockets are closed.
        let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&ENDING));
        failed = super::on_host(|| network::leave_answers(&ports)).err().or(failed);
    }
    failed.map(Error::from)
}

/// Which socket is which port's.
fn ways(sockets: Vec<OwnedFd>, ports: &[Published]) -> io::Result<Vec<Way>> {
    let mut ways = Vec::new();
    for socket in sockets {
        let kind = rustix::net::sockopt::socket_type(&socket)?;
        let Ok(host) = SocketAddr::try_from(getsockname(&socket)?) else { continue };
        let protocol = match kind {
            SocketType::STREAM => Protocol::Tcp,
            SocketType::DGRAM => Protocol::Udp,
            _ => continue,
        };
        if let Some(port) = ports.iter().find(|port| port.host == host && port.protocol == protocol) {
            ways.push(Way { protocol, socket, host: port.host });
        }
    }
    Ok(ways)
}

/// The life of the process.
fn serve(entered: &Entered, until: &[OwnedFd], ways: Vec<Way>, leading: &Arc<Leading>) -> io::Result<()> {
    sys::fork::enter(entered.network.as_fd(), Namespaces::NETWORK)?;
    for Way { protocol, socket, host } in ways {
        let leading = leading.clone();
        match protocol {
            Protocol::Tcp => {
                // Its connections have it from here, and what lingers of them (TIME_WAIT) is then in nobody's way.
                rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
                listen(&socket, WAITING)?;
                let listener = TcpListener::from(socket);
                std::thread::Builder::new().spawn(move || take_connections(&listener, host, &leading))?;
            }
            Protocol::Udp => {
                let socket = Arc::new(UdpSocket::from(socket));
                std::thread::Builder::new().spawn(move || take_datagrams(&socket, host, &leading))?;
            }
            Protocol::Sctp => {}
        }
    }
    if let Some(told) = until.first() {
        while let Err(Errno::INTR) = poll(&mut [PollFd::new(told, PollFlags::IN)], None) {}
    }
    leading.end();
    Ok(())
}

fn take_connections(listener: &TcpListener, host: SocketAddr, leading: &Leading) {
    loop {
        let Ok((client, from)) = listener.accept() else {
            // There are no more descriptors: some come back when a connection ends.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        // The end of its connection tells a client that it leads nowhere, and that no thread can be had.
        let Some(to) = leading.to(Protocol::Tcp, host) else { continue };
        let _ = std::thread::Builder::new().spawn(move || {
            if let Ok(server) = joined(SocketType::STREAM, from, to) {
                both_ways(client, TcpStream::from(server));
            }
        });
    }
}

/// Until both have said all that they have to say.
fn both_ways(client: TcpStream, server: TcpStream) {
    let one_way = |from: &TcpStream, to: &TcpStream| {
        let (mut reader, mut writer) = (from, to);
        // By splice: the bytes stay in the kernel.
        if io::copy(&mut reader, &mut writer).is_err() {
            let _ = from.shutdown(Shutdown::Both);
        }
        let _ = to.shutdown(Shutdown::Write);
    };
    std::thread::scope(|scope| {
        let back = std::thread::Builder::new().spawn_scoped(scope, || one_way(&server, &client));
        if back.is_ok() {
            one_way(&client, &server);
        }
    });
}

/// A socket from the client's address, or where that cannot be from this host's, to the container's port.
fn joined(kind: SocketType, from: SocketAddr, to: SocketAddr) -> io::Result<OwnedFd> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let make = || socket_with(family, kind, SocketFlags::CLOEXEC, None);
    let as_client = || -> io::Result<OwnedFd> {
        let socket = make()?;
        sys::net::set_transparent(socket.as_fd(), to.is_ipv4())?;
        bind(&socket, &from)?;
        connect(&socket, &to)?;
        Ok(socket)
    };
    if speaks_for_itself(from.ip(), to.ip())
        && let Ok(socket) = as_client()
    {
        return Ok(socket);
    }
    let socket = make()?;
    connect(&socket, &to)?;
    Ok(socket)
}

/// Whether a container can answer to a client's address.
fn speaks_for_itself(client: IpAddr, container: IpAddr) -> bool {
    client.is_ipv4() == container.is_ipv4() && !client.is_loopback() && !client.is_unspecified() && client != container
}

/// Each client has a socket of its own, from its own address, for as long as it or the container says something.
fn take_datagrams(socket: &Arc<UdpSocket>, host: SocketAddr, leading: &Leading) {
    let known: Arc<Mutex<HashMap<SocketAddr, Arc<UdpSocket>>>> = Arc::default();
    let mut piece = vec![0u8; 1 << 16];
    let mut led = (leading.to(Protocol::Udp, host), Instant::now());
    loop {
        let Ok((length, from)) = socket.recv_from(&mut piece) else { continue };
        let lock = || known.lock().unwrap_or_else(PoisonError::into_inner);
        if led.1.elapsed() > BELIEVED {
            led = (leading.to(Protocol::Udp, host), Instant::now());
        }
        let Some(to) = led.0 else { continue };
        let old = lock().get(&from).filter(|server| server.peer_addr().is_ok_and(|there| there == to)).cloned();
        let server = match old {
            Some(server) => server,
            None => {
                let Ok(server) = joined(SocketType::DGRAM, from, to) else { continue };
                let server = Arc::new(UdpSocket::from(server));
                let (answers, socket, known) = (server.clone(), socket.clone(), known.clone());
                lock().insert(from, server.clone());
                let back = std::thread::Builder::new().spawn(move || {
                    give_answers(&answers, &socket, from);
                    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                    // Another one has its place when the port leads elsewhere.
                    if known.get(&from).is_some_and(|server| Arc::ptr_eq(server, &answers)) {
                        known.remove(&from);
                    }
                });
                if back.is_err() {
                    lock().remove(&from);
                    continue;
                }
                server
            }
        };
        let _ = server.send(piece.get(..length).unwrap_or_default());
    }
}

fn give_answers(server: &UdpSocket, socket: &UdpSocket, client: SocketAddr) {
    let mut piece = vec![0u8; 1 << 16];
    let _ = server.set_read_timeout(Some(SILENCE));
    loop {
        match server.recv(&mut piece) {
            Ok(length) => drop(socket.send_to(piece.get(..length).unwrap_or_default(), client)),
            // Nobody listens there, as yet.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(_) => return,
        }
    }
}
