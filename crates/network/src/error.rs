//! What can go wrong with a network, a variant a step.

use crate::ports::Protocol;
use rustix::io::Errno;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Why a network step failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory of the network's state cannot be made, opened or locked.
    #[error("cannot {action} the network's run directory {path}: {source}")]
    RunDir {
        /// open, create or lock.
        action: &'static str,
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// The file of leases cannot be used.
    #[error("cannot {action} {path}: {source}")]
    Leases {
        /// open, read or write.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// The id cannot stand in the file of leases.
    #[error("cannot lease an address to {id:?}: a container's id is 64 lower-case hex digits")]
    BadId {
        /// What was given.
        id: String,
    },
    /// The process that is to own a lease cannot be looked at.
    #[error("cannot tell when process {pid} started from /proc/{pid}/stat: {reason}")]
    Owner {
        /// Its id.
        pid: i32,
        /// The system's reason, or what is odd about the file.
        reason: String,
    },
    /// No netlink socket.
    #[error("cannot open an {family} socket: {source}")]
    Socket {
        /// Which family.
        family: &'static str,
        /// The system's reason.
        source: Cause,
    },
    /// The host's links, addresses, routes or rules could not be listed.
    #[error("cannot list the host's {objects} over netlink: {source}")]
    List {
        /// What was to be listed.
        objects: &'static str,
        /// The system's reason.
        source: Cause,
    },
    /// The name of the bridge belongs to something else.
    #[error("cannot use {name} as the containers' bridge: there is a link of that name that is no bridge; rename it")]
    NotABridge {
        /// The link.
        name: String,
    },
    /// The name that was chosen for a network's bridge is that of another bridge.
    #[error(
        "cannot use {name} as the bridge of the network {network}: there is a bridge of that name, and it is not this \
         network's; make the network anew, with another name for its bridge"
    )]
    NotOurs {
        /// The bridge.
        name: String,
        /// The network.
        network: String,
    },
    /// 172.17.0.0/16 to 172.31.0.0/16 are all in use on this host.
    #[error(
        "cannot choose a subnet for {bridge}: each of 172.17.0.0/16 to 172.31.0.0/16 overlaps a route or an address of \
         this host (the first by {first}); free one of them, or use --network none or --network host"
    )]
    NoFreeSubnet {
        /// The bridge.
        bridge: String,
        /// What overlaps the first one.
        first: String,
    },
    /// The host has come to use a network's subnet for something else.
    #[error(
        "cannot bring up the network {name}: its subnet {network}/{prefix} overlaps {by}, which this host uses by now; \
         make the network anew, with another subnet"
    )]
    SubnetTaken {
        /// The network.
        name: String,
        /// Its subnet.
        network: Ipv4Addr,
        /// Bits of its mask.
        prefix: u8,
        /// What overlaps it.
        by: String,
    },
    /// The link that a macvlan or ipvlan network shares is not there.
    #[error("the network {name} is on the host's link {parent}, which is not there")]
    NoParent {
        /// The network.
        name: String,
        /// The link.
        parent: String,
    },
    /// The bridge could not be made.
    #[error("cannot create bridge {name}: {source}")]
    Bridge {
        /// Its name.
        name: String,
        /// The system's reason.
        source: Cause,
    },
    /// The bridge could not be given its address.
    #[error("cannot give bridge {name} the address {address}/{prefix}: {source}")]
    BridgeAddress {
        /// Its name.
        name: String,
        /// The gateway.
        address: Ipv4Addr,
        /// Bits of the subnet's mask.
        prefix: u8,
        /// The system's reason.
        source: Cause,
    },
    /// The way back to ::1 could not be made.
    #[error("cannot add a route to ::1 by bridge {bridge}: {source}")]
    Loopback6 {
        /// The bridge.
        bridge: String,
        /// The system's reason.
        source: Cause,
    },
    /// A kernel setting could not be read or written.
    #[error("cannot set {path} to {value}: {source}")]
    Sysctl {
        /// The file below /proc/sys.
        path: String,
        /// What was to be written.
        value: &'static str,
        /// The system's reason.
        source: Errno,
    },
    /// The NAT and filter rules could not be put in place.
    #[error("cannot set up nf_tables table \"inet {table}\" for the containers' network: {source}")]
    Rules {
        /// Our table.
        table: &'static str,
        /// The system's reason.
        source: Cause,
    },
    /// Every address of the subnet is leased.
    #[error("no free address in {network}/{prefix}: all {leased} are leased to running containers")]
    NoFreeAddress {
        /// The subnet.
        network: Ipv4Addr,
        /// Bits of its mask.
        prefix: u8,
        /// How many leases there are.
        leased: usize,
    },
    /// The address that was asked for is another container's.
    #[error("{address} is the address of the container {container:.12}")]
    AddressTaken {
        /// The address.
        address: Ipv4Addr,
        /// The container's id.
        container: String,
    },
    /// The address that was asked for is none that the network has for a container.
    #[error(
        "{address} cannot be a container's: the network has the others of {network}/{prefix}, but for its first, its last and the gateway"
    )]
    NotInSubnet {
        /// The address.
        address: Ipv4Addr,
        /// The subnet.
        network: Ipv4Addr,
        /// Bits of its mask.
        prefix: u8,
    },
    /// A file that says which networks are in use cannot be used.
    #[error("cannot {action} {path}: {source}")]
    Uses {
        /// open, make, read, write, list or remove.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// The veth pair could not be made.
    #[error("cannot create veth {link} with its peer in the container: {source}")]
    Veth {
        /// The host's end.
        link: String,
        /// The system's reason.
        source: Cause,
    },
    /// A link on one of the host's could not be made.
    #[error("cannot create {kind} link {interface} in the container, on one of the host's: {source}")]
    Shared {
        /// "a macvlan" or "an ipvlan".
        kind: &'static str,
        /// The container's end.
        interface: String,
        /// The system's reason.
        source: Cause,
    },
    /// The container's network namespace cannot be entered to configure it.
    #[error("cannot enter the container's network namespace: {source}")]
    EnterNamespace {
        /// The system's reason.
        source: Errno,
    },
    /// The way back from the container's network namespace is shut: this process must not go on.
    #[error("cannot return to the host's network namespace: {source}")]
    LeaveNamespace {
        /// The system's reason.
        source: Errno,
    },
    /// eth0 in the container could not be configured.
    #[error("cannot {action} in the container: {source}")]
    Configure {
        /// Which part: "bring lo up", "add the default route".
        action: &'static str,
        /// The system's reason.
        source: Cause,
    },
    /// A link could not be removed.
    #[error("cannot remove link {link}: {source}")]
    Remove {
        /// The link.
        link: String,
        /// The system's reason.
        source: Cause,
    },
    /// A port of the host that was to be published belongs to somebody else, or each of several does.
    #[error("cannot publish {}: {}", host_port(*protocol, *address, *first, *last), taken(*first, *last))]
    PortTaken {
        /// The protocol.
        protocol: Protocol,
        /// The address of the host; 0.0.0.0 is all of them.
        address: IpAddr,
        /// The port, or the first of those that would have done; 0 is any.
        first: u16,
        /// The last.
        last: u16,
    },
    /// A port was to be published on an address of IPv6, and the container has none.
    #[error("cannot publish {}: the container is on no network with IPv6 (`network create --ipv6`)", host_port(*protocol, *address, *port, *port))]
    NoSix {
        /// The protocol.
        protocol: Protocol,
        /// The address of the host.
        address: IpAddr,
        /// The port.
        port: u16,
    },
    /// The host reaches none of the container's networks, or they are internal.
    #[error(
        "cannot publish ports: each network of the container is internal, or a link of the host's own (macvlan, ipvlan)"
    )]
    Unpublishable,
    /// A port of the host cannot be had.
    #[error("cannot publish {}: {}", host_port(*protocol, *address, *port, *port), why_not(*address, *source))]
    Claim {
        /// The protocol.
        protocol: Protocol,
        /// The address of the host.
        address: IpAddr,
        /// The port.
        port: u16,
        /// The system's reason.
        source: Errno,
    },
    /// A file that says which ports are published cannot be used.
    #[error("cannot {action} {path}: {source}")]
    Ports {
        /// open, make, read, write, list or remove.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// The process that tells names on a network could not be started.
    #[error("cannot start the process that tells names on a network: cannot {action}: {source}")]
    Telling {
        /// What failed of it.
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The files of names cannot be used.
    #[error(transparent)]
    Names(#[from] names::Error),
    /// The process that tidies up an idle network could not be started.
    #[error("cannot start the process that removes a network when it is idle: {source}")]
    Janitor {
        /// The system's reason.
        source: std::io::Error,
    },
}

fn host_port(protocol: Protocol, address: IpAddr, first: u16, last: u16) -> String {
    let at = SocketAddr::new(address, first);
    match (first, last) {
        (0, _) => format!("{address}/{protocol} at any port"),
        _ if first == last => format!("{at}/{protocol}"),
        _ => format!("one of {at}-{last}/{protocol}"),
    }
}

fn taken(first: u16, last: u16) -> &'static str {
    match first == last {
        true => "a program or another container on this host has that port",
        false => "programs or other containers on this host have all of these ports",
    }
}

fn why_not(address: IpAddr, source: Errno) -> String {
    match source {
        Errno::ADDRNOTAVAIL => format!("this host does not have the address {address}"),
        Errno::MFILE => {
            format!("{source}; each published port takes one, and `ulimit -n` raises how many there may be")
        }
        source => source.to_string(),
    }
}

/// The system's reason, and what is missing when it tells so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The error number.
    pub errno: Errno,
    /// The kernel module without which the request is unknown; empty when none is needed.
    pub module: &'static str,
}

impl std::error::Error for Cause {}

impl From<Errno> for Cause {
    fn from(errno: Errno) -> Cause {
        Cause { errno, module: "" }
    }
}

impl Cause {
    /// An error of a request that needs a kernel module.
    pub(crate) fn of(errno: Errno, module: &'static str) -> Cause {
        Cause { errno, module }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.errno)?;
        match self.errno {
            Errno::PERM | Errno::ACCESS => {
                f.write_str("; it needs CAP_NET_ADMIN: run as root or through sudo, or use --network none")
            }
            Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT | Errno::NOENT if !self.module.is_empty() => {
                write!(
                    f,
                    "; this kernel lacks it: load the module with `modprobe {}`, or use --network none",
                    self.module
                )
            }
            // What Linux says when a bridge has all the ports that it can have. [net/bridge/br_private.h: BR_MAX_PORTS]
            Errno::XFULL => f.write_str("; the bridge has no free port, for Linux gives it no more than 1,023"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_cannot_be_had_is_named() {
        let (protocol, address) = (Protocol::Tcp, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        for (first, last, expected) in [
            (80, 80, "cannot publish 0.0.0.0:80/tcp: a program or another container on this host has that port"),
            (
                1,
                9,
                "cannot publish one of 0.0.0.0:1-9/tcp: programs or other containers on this host have all of these ports",
            ),
        ] {
            assert_eq!(Error::PortTaken { protocol, address, first, last }.to_string(), expected);
        }
        let error = Error::Claim { protocol, address: [10, 9, 9, 9].into(), port: 80, source: Errno::ADDRNOTAVAIL };
        assert_eq!(error.to_string(), "cannot publish 10.9.9.9:80/tcp: this host does not have the address 10.9.9.9");
    }

    #[test]
    fn a_cause_says_what_is_missing() {
        let table = [
            (Cause::of(Errno::PERM, "veth"), "CAP_NET_ADMIN"),
            (Cause::of(Errno::OPNOTSUPP, "bridge"), "modprobe bridge"),
            (Cause::of(Errno::NOENT, "nf_tables"), "modprobe nf_tables"),
            (Cause::of(Errno::PROTONOSUPPORT, "nf_tables"), "modprobe nf_tables"),
            (Cause::of(Errno::XFULL, "veth"), "no free port"),
        ];
        for (cause, expected) in table {
            assert!(cause.to_string().contains(expected), "{cause}");
        }
        assert!(!Cause::from(Errno::OPNOTSUPP).to_string().contains("modprobe"));
    }
}
