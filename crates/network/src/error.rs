//! What can go wrong with a network, a variant a step.

use rustix::io::Errno;
use std::fmt;
use std::net::Ipv4Addr;
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
        name: &'static str,
    },
    /// 172.17.0.0/16 to 172.31.0.0/16 are all in use on this host.
    #[error(
        "cannot choose a subnet for {bridge}: each of 172.17.0.0/16 to 172.31.0.0/16 overlaps a route or an address of \
         this host (the first by {first}); free one of them, or use --network none or --network host"
    )]
    NoFreeSubnet {
        /// The bridge.
        bridge: &'static str,
        /// What overlaps the first one.
        first: String,
    },
    /// The bridge could not be made.
    #[error("cannot create bridge {name}: {source}")]
    Bridge {
        /// Its name.
        name: &'static str,
        /// The system's reason.
        source: Cause,
    },
    /// The bridge could not be given its address.
    #[error("cannot give bridge {name} the address {address}/{prefix}: {source}")]
    BridgeAddress {
        /// Its name.
        name: &'static str,
        /// The gateway.
        address: Ipv4Addr,
        /// Bits of the subnet's mask.
        prefix: u8,
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
    /// The veth pair could not be made.
    #[error("cannot create veth {link} with its peer eth0 in the container: {source}")]
    Veth {
        /// The host's end.
        link: String,
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
    /// The process that tidies up an idle network could not be started.
    #[error("cannot start the process that removes {bridge} when it is idle: {source}")]
    Janitor {
        /// The bridge.
        bridge: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
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
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_says_what_is_missing() {
        let table = [
            (Cause::of(Errno::PERM, "veth"), "CAP_NET_ADMIN"),
            (Cause::of(Errno::OPNOTSUPP, "bridge"), "modprobe bridge"),
            (Cause::of(Errno::NOENT, "nf_tables"), "modprobe nf_tables"),
            (Cause::of(Errno::PROTONOSUPPORT, "nf_tables"), "modprobe nf_tables"),
        ];
        for (cause, expected) in table {
            assert!(cause.to_string().contains(expected), "{cause}");
        }
        assert!(!Cause::from(Errno::OPNOTSUPP).to_string().contains("modprobe"));
    }
}
