//! The containers' network: one bridge, an address for each container, NAT, names. Over netlink, without a daemon.
//!
//! The engine asks for four things: [`Network::lease`] before a container's process is cloned, [`Network::connect`]
//! while the container builds its root, [`Network::release`] when it has ended, and [`Network::sweep`] at the start of
//! each command for what crashed ones left.
//!
//! # What is on the host, and who removes it
//!
//! - bridge `mycontainer0` with the gateway's address, nf_tables table `inet mycontainer`, marked rules in foreign
//!   chains that drop (`rules.rs`), the file of leases (`leases.rs`): made by the first lease, removed by
//!   the janitor once no lease has been given for a second (`janitor.rs`);
//! - a veth `mc<12 hex digits>` a container: goes with the container's network namespace, by the kernel's hand;
//! - `net.ipv4.ip_forward` = 1: left on. Without it nothing is routed, and who else relies on it by now is not known.
//!
//! The kernel is the truth and is asked each time: is the bridge there (and with which address), has the generation of
//! the rule set changed since our rules were complete. That is two requests of a few microseconds; only a changed answer
//! leads to more. So a flushed rule set, a deleted bridge or a firewall that starts later is mended by the next lease.
//!
//! # Crashes
//!
//! Everything happens under the lock of the run directory, which ends with its holder, and the file of leases is there
//! before the first change to the host. So whatever a `kill -9` leaves, the next command finds a file of leases; it
//! frees those whose process is gone, removes their veths, and when none remains and no janitor holds the lock on the
//! file, starts one. The janitor removes by asking the kernel what there is, never by remembering what was made, and
//! the file last. Each step finds done what was done before: half a network is completed by the next lease or removed by
//! the next janitor.

mod bridge;
mod error;
mod janitor;
mod leases;
mod network;
mod nft;
mod owner;
mod resolver;
mod route;
mod rule;
mod rules;
mod rundir;
mod socket;
mod subnet;
mod sysctl;
mod wire;

pub use error::{Cause, Error};
pub use network::{Address, Lease, Network, loopback_up};
pub use owner::Owner;
pub use resolver::HostResolver;

/// The default bridge.
pub const BRIDGE: &str = "mycontainer0";
/// What the host's end of each container's veth pair begins with.
const LINK_PREFIX: &str = "mc";
