//! The process that tells names on a network: made when the first container comes, gone with the last.
//!
//! `mc-names` is forked without exec, in a session of its own, as the janitor is. It holds a lock on the file of its
//! network's use (`uses.rs`), by which whoever starts a container on the network sees that it lives; a killed one is
//! replaced by the next start, or by [`Network::reload`]. It ends within a second when that file is removed, which the janitor does.
//!
//! It listens on the gateway's address, at a port that the kernel chose, and only to what comes in by the bridge: so it is
//! in nobody's way who listens at port 53 of this host, and no other network can ask it. The rules lead port 53 there.

use crate::config::Config;
use crate::error::Error;
use crate::lease::Request;
use crate::leases::Leases;
use crate::network::Network;
use crate::rundir::Locked;
use crate::uses::{Use, Uses};
use names::{Entry, Names, Server, Subnet};
use rustix::fs::{FlockOperation, OFlags, flock, fstat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use step::step;

/// Its name in `ps`.
const NAME: &std::ffi::CStr = c"mc-names";
/// Connections that wait to be taken.
const BACKLOG: i32 = 64;
/// How often another port is tried, when UDP's is not free for TCP.
const ATTEMPTS: usize = 20;

impl Network {
    /// Makes sure that names are told on a network, if they shall be.
    pub(crate) fn ensure_names(
        &self,
        config: &Config,
        run_dir: BorrowedFd<'_>,
        leases: &mut Leases,
        uses: &Uses,
        one: &mut Use,
    ) -> Result<(), Error> {
        if config.tells_names() { self.keep_names(config.internal, run_dir, leases, uses, one) } else { Ok(()) }
    }

    /// Makes sure that names are told where they shall be.
    pub(crate) fn keep_names(
        &self,
        is_internal: bool,
        run_dir: BorrowedFd<'_>,
        leases: &mut Leases,
        uses: &Uses,
        one: &mut Use,
    ) -> Result<(), Error> {
        let Some(file) = uses.file(one.tag, OFlags::RDONLY)? else { return Err(self.vanished()) };
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) if one.names.is_some() => return Ok(()),
            Err(source) => return Err(fail("lock its file", source.into())),
        }
        let where_to = format!("process mc-names, at {} on {}", one.subnet.gateway, one.bridge);
        step(
            "start-names",
            "containers find each other by name",
            || where_to.clone(),
            || {
                let (udp, tcp, port) =
                    sockets(&one.bridge, one.subnet.gateway).map_err(|e| fail("bind its ports", e.into()))?;
                one.names = Some(port);
                self.record(uses, leases, one)?;
                let names = Names::open(run_dir, &self.run_dir, true)?.ok_or_else(|| self.vanished())?;
                let tag = one.tag.to_string();
                if is_internal {
                    names.write_upstreams(&tag, &[])?;
                }
                let subnets = subnets(one);
                let loopback = self.loopback;
                let kept = vec![udp, tcp, names.into_fd(), file];
                sys::detach::spawn_detached_with(NAME, kept, &[], |kept| tell(kept, tag, subnets, loopback))
                    .map_err(|e| fail("fork it", e))
            },
        )
    }

    /// Writes down what a container is called on a network.
    pub(crate) fn name(
        &self,
        run_dir: BorrowedFd<'_>,
        one: &Use,
        (v4, v6): (Ipv4Addr, Option<Ipv6Addr>),
        request: &Request<'_>,
    ) -> Result<(), Error> {
        if one.names.is_none() {
            return Ok(());
        }
        let files = Names::open(run_dir, &self.run_dir, true)?.ok_or_else(|| self.vanished())?;
        let (names, servers) = (request.names.to_vec(), request.servers.to_vec());
        files.write(&one.tag.to_string(), request.container, &Entry { v4, v6, names, servers })?;
        Ok(())
    }
}

impl Network {
    /// Tells a container by other names on a network that it is on, if names are told there.
    pub(crate) fn rename_here(
        &self,
        container: &str,
        config: &Config,
        names: &[String],
        servers: &[IpAddr],
    ) -> Result<(), Error> {
        let Some(lock) = Locked::new(&self.run_dir, false)? else { return Ok(()) };
        let Some(leases) = Leases::open(lock.as_fd(), &self.run_dir, false)? else { return Ok(()) };
        let Some(lease) = self.found_lease(&lock, &leases, container, config)?.filter(|lease| lease.has_names) else {
            return Ok(());
        };
        let Some(files) = Names::open(lock.as_fd(), &self.run_dir, false)? else { return Ok(()) };
        let (v4, v6) = (lease.address, lease.six.map(|(address, _)| address));
        let entry = Entry { v4, v6, names: names.to_vec(), servers: servers.to_vec() };
        files.write(&lease.network.to_string(), container, &entry)?;
        Ok(())
    }
}

/// Whether names shall be told on a network and nobody does. The caller has the lock of the run directory: for a moment
/// this looks like one who does.
pub(crate) fn is_silent(uses: &Uses, one: &Use) -> Result<bool, Error> {
    if one.names.is_none() {
        return Ok(false);
    }
    let Some(file) = uses.file(one.tag, OFlags::RDONLY)? else { return Ok(false) };
    Ok(flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok())
}

/// The life of the process.
fn tell(kept: Vec<OwnedFd>, network: String, subnets: Vec<Subnet>, loopback: Option<IpAddr>) {
    let Ok([udp, tcp, names, file]) = <[OwnedFd; 4]>::try_from(kept) else { return };
    cgroup::leave();
    let is_over = Box::new(move || fstat(&file).map_or(true, |stat| stat.st_nlink == 0));
    // Nobody is there to be told why it ended; the next start sees that it did.
    let _ = names::serve(Server { udp, tcp, names, network, subnets, loopback, is_over });
}

fn subnets(one: &Use) -> Vec<Subnet> {
    let of_v4: Subnet = (one.subnet.network().into(), one.subnet.prefix);
    let of_v6 = one.six.map(|six| (six.subnet.into(), six.prefix));
    [of_v4].into_iter().chain(of_v6).collect()
}

/// UDP and TCP at the same port of an address, for what comes in by one link.
fn sockets(link: &str, address: Ipv4Addr) -> Result<(OwnedFd, OwnedFd, u16), Errno> {
    let bound = |kind, port| -> Result<OwnedFd, Errno> {
        let socket = socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None)?;
        sys::net::bind_to_link(socket.as_fd(), link)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        bind(&socket, &SocketAddr::new(IpAddr::V4(address), port))?;
        Ok(socket)
    };
    for _ in 0..ATTEMPTS {
        let udp = bound(SocketType::DGRAM, 0)?;
        let port = SocketAddr::try_from(getsockname(&udp)?).map_err(|_| Errno::AFNOSUPPORT)?.port();
        match bound(SocketType::STREAM, port) {
            Ok(tcp) => return listen(&tcp, BACKLOG).map(|()| (udp, tcp, port)),
            Err(Errno::ADDRINUSE) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::ADDRINUSE)
}

fn fail(action: &'static str, source: std::io::Error) -> Error {
    Error::Telling { action, source }
}
