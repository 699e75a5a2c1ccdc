//! Ports of the host that are claimed for a container: sockets that nobody talks to.
//!
//! Before a port is published a socket is bound to it, in the host's network namespace, and held for as long as the
//! container runs. So the kernel decides who has a port, between two containers as between a container and a server of
//! the host, whichever comes first; and whatever happens to the holder, a port that it claimed is free when it is gone.
//!
//! A claim does not listen: when somebody flushes the rules, a client is refused at once in place of waiting for a
//! server that does not answer. And it is without SO_REUSEADDR, for a server that sets it could bind the port beside
//! one that has it, too. Only where connections of an earlier server still linger (TIME_WAIT, a minute) are both
//! turned round: they are passed over by SO_REUSEADDR alone, and then a claim is one only if it listens.
//!
//! A kernel without SCTP has no sockets of it, and no servers either: its ports are told apart by what is published.

use crate::error::Error;
use crate::ports::{Protocol, Published, Wish};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, ipproto, listen, socket_with, sockopt};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// A port of the host that is a container's; none has a socket whose protocol the kernel does not have.
pub(crate) struct Claim {
    pub(crate) host: SocketAddr,
    pub(crate) socket: Option<OwnedFd>,
}

/// Claims a port of those that are wished for. `others` tells what is published already.
pub(crate) fn claim(wish: &Wish, others: &dyn Fn() -> Result<Vec<Published>, Error>) -> Result<Claim, Error> {
    let Wish { protocol, address, ref host_ports, .. } = *wish;
    let fail = |port, source| Error::Claim { protocol, address, port, source };
    if protocol == Protocol::Sctp && !has_sctp() {
        return without_socket(wish, &others()?);
    }
    let (first, last) = (*host_ports.start(), *host_ports.end());
    for port in host_ports.clone() {
        match bound(protocol, SocketAddr::new(address, port)) {
            Ok(claim) => return Ok(claim),
            Err(Errno::ADDRINUSE) if port == 0 || first == last => {
                return Err(Error::PortTaken { protocol, address, first, last });
            }
            Err(Errno::ADDRINUSE) => {}
            Err(source) => return Err(fail(port, source)),
        }
    }
    Err(Error::PortTaken { protocol, address, first, last })
}

/// Claims the same port of both families, of those that are wished for at all addresses.
pub(crate) fn claim_both(wish: &Wish, others: &dyn Fn() -> Result<Vec<Published>, Error>) -> Result<[Claim; 2], Error> {
    let Wish { protocol, address, ref host_ports, .. } = *wish;
    let (mut first, last) = (*host_ports.start(), *host_ports.end());
    let mut tries = 0;
    loop {
        let four = claim(&Wish { host_ports: first..=last, ..wish.clone() }, others);
        let six = |port| Wish { address: Ipv6Addr::UNSPECIFIED.into(), host_ports: port..=port, ..wish.clone() };
        let port = four.as_ref().map_or(last, |four| four.host.port());
        match four.and_then(|four| Ok([four, claim(&six(port), others)?])) {
            // The kernel chose one that is free in one family only; it chooses at random.
            Err(Error::PortTaken { .. }) if last == 0 && tries < TRIES => tries += 1,
            Err(Error::PortTaken { .. }) if port < last => first = port + 1,
            Err(Error::PortTaken { .. }) if host_ports.start() != host_ports.end() => {
                return Err(Error::PortTaken { protocol, address, first: *host_ports.start(), last });
            }
            done => return done,
        }
    }
}

/// How often the kernel is asked for any port that both families have.
const TRIES: u32 = 100;

fn socket(protocol: Protocol, address: IpAddr) -> Result<OwnedFd, Errno> {
    let (kind, protocol) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    if address.is_ipv4() {
        return socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, Some(protocol));
    }
    let socket = socket_with(AddressFamily::INET6, kind, SocketFlags::CLOEXEC, Some(protocol))?;
    // The same port of IPv4 is another claim.
    sockopt::set_ipv6_v6only(&socket, true)?;
    Ok(socket)
}

fn has_sctp() -> bool {
    !matches!(
        socket(Protocol::Sctp, IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)),
        Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT | Errno::AFNOSUPPORT)
    )
}

fn bound(protocol: Protocol, host: SocketAddr) -> Result<Claim, Errno> {
    let claim = socket(protocol, host.ip())?;
    match bind(&claim, &host) {
        Ok(()) => {}
        Err(Errno::ADDRINUSE) if protocol == Protocol::Tcp && host.port() != 0 => return beside_lingering(host),
        Err(errno) => return Err(errno),
    }
    let host = if host.port() == 0 {
        let port = SocketAddr::try_from(getsockname(&claim)?).map_err(|_| Errno::AFNOSUPPORT)?.port();
        SocketAddr::new(host.ip(), port)
    } else {
        host
    };
    Ok(Claim { host, socket: Some(claim) })
}

/// A claim of a port on which connections linger, but nobody listens.
fn beside_lingering(host: SocketAddr) -> Result<Claim, Errno> {
    let claim = socket(Protocol::Tcp, host.ip())?;
    sockopt::set_socket_reuseaddr(&claim, true)?;
    bind(&claim, &host)?;
    listen(&claim, 0)?;
    Ok(Claim { host, socket: Some(claim) })
}

/// What a program gets that asks for any port. [net.ipv4.ip_local_port_range]
const ANY: std::ops::RangeInclusive<u16> = 32_768..=60_999;

fn without_socket(wish: &Wish, others: &[Published]) -> Result<Claim, Error> {
    let Wish { protocol, address, ref host_ports, .. } = *wish;
    let meets = |one: IpAddr| {
        let is_any = one.is_unspecified() || address.is_unspecified();
        one == address || (is_any && one.is_ipv4() == address.is_ipv4())
    };
    let is_taken = |port: u16| {
        others.iter().any(|other| other.protocol == protocol && other.host.port() == port && meets(other.host.ip()))
    };
    let ports = if *host_ports.start() == 0 { ANY } else { host_ports.clone() };
    let (first, last) = (*ports.start(), *ports.end());
    let port = ports.into_iter().find(|port| !is_taken(*port));
    let port = port.ok_or(Error::PortTaken { protocol, address, first, last })?;
    Ok(Claim { host: SocketAddr::new(address, port), socket: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_socket_is_told_apart_by_what_is_published() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let other = |protocol, host| Published { protocol, host: at(host), container: at("172.17.0.2:9") };
        let others = [
            other(Protocol::Sctp, "0.0.0.0:5000"),
            other(Protocol::Sctp, "10.0.0.1:5001"),
            other(Protocol::Tcp, "0.0.0.0:5002"),
        ];
        for (address, ports, expected) in [
            ("0.0.0.0", 5000..=5000, None),
            ("10.0.0.1", 5000..=5000, None),
            ("0.0.0.0", 5001..=5001, None),
            ("10.0.0.2", 5001..=5001, Some("10.0.0.2:5001")),
            ("0.0.0.0", 5002..=5002, Some("0.0.0.0:5002")),
            ("0.0.0.0", 5000..=5003, Some("0.0.0.0:5002")),
            ("10.0.0.2", 5000..=5003, Some("10.0.0.2:5001")),
            ("0.0.0.0", 0..=0, Some("0.0.0.0:32768")),
        ] {
            let (address, and_six) = (address.parse().unwrap(), false);
            let wish = Wish { protocol: Protocol::Sctp, address, and_six, host_ports: ports, port: 9 };
            let claimed = without_socket(&wish, &others).ok().map(|claim| claim.host.to_string());
            assert_eq!(claimed.as_deref(), expected, "{wish:?}");
        }
    }
}
