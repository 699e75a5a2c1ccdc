//! The containers' networks: a bridge for each, or links on one of the host's; an address on each for each container,
//! NAT, published ports, names. Over netlink, without a daemon.
//!
//! The default network ([`Config::of_default`]) is there without being made; of all others the engine keeps a
//! [`Config`]. For each network that a container is on the engine asks for [`Network::lease`] before the container's
//! process is cloned and for [`Network::connect`] while it builds its root; for [`Network::release`] once, when it has
//! ended, and for [`Network::sweep`] at the start of each command for what crashed ones left. For a container that
//! publishes ports, [`Network::publish`] after the leases and [`Network::withdraw`] before the release (`publish.rs`);
//! one that does not costs nothing more for that. A container that runs joins another network by the same lease and
//! connect, and leaves it by [`Network::disconnect`].
//!
//! # What is on the host, and who removes it
//!
//! In the run directory, under whose lock everything happens (`rundir.rs`):
//!
//! ```text
//! leases                   which container has which address, and the generation of the rule set (`leases.rs`)
//! nets/TAG                 a network that is in use: its bridge, and what the rules have to know of it (`uses.rs`)
//! ports/CONTAINER          what a container publishes (`ports.rs`)
//! names/TAG/CONTAINER      what a container is called on a network (the crate `names`)
//! ```
//!
//! TAG is the beginning of the network's id (`tag.rs`). And beside that:
//!
//! - the bridge of a network with the gateway's address, `mycontainer0` for the default one, else `mcn` and the tag,
//!   or as a person named it: made by the first lease, removed with its file in `nets` by the janitor once no lease
//!   has been given for a second (`janitor.rs`), or by [`Network::remove_idle`] when the network itself is removed;
//! - the nf_tables table `inet mycontainer` for all networks, with marked rules in foreign chains that drop
//!   (`rules.rs`), and the file of leases: removed by the janitor when no network is left;
//! - the elements of published ports in maps of that table, and their file: go with the container's leases, whoever
//!   gives those back;
//! - a socket a published port, in the process that holds the container: goes with it;
//! - a veth `mc<12 hex digits>` a container and network: goes with the container's network namespace, by the kernel's
//!   hand, as a link of macvlan or ipvlan does;
//! - a process `mc-names` a network that tells names (`telling.rs`): ends within a second when the network's file in
//!   `nets` is gone. A container's name goes with its lease;
//! - the process `mc-idle`, the janitor: one at a time, while a network is idle;
//! - a process `mc-close` for a tenth of a second after rules or elements were removed (`linger.rs`);
//! - `net.ipv4.ip_forward` = 1, and with a network of IPv6 `net.ipv6.conf.all.forwarding` = 1: left on. Without them
//!   nothing is routed, and who else relies on them by now is not known.
//!
//! The kernel is the truth and is asked each time: is the bridge there (and with which address), has the generation of
//! the rule set changed since our rules were complete. That is two requests of a few microseconds; only a changed
//! answer leads to more. So a flushed rule set, a deleted bridge or a firewall that starts later is mended by the next
//! lease.
//!
//! # Crashes
//!
//! The lock of the run directory ends with its holder. The file of leases is there before the first change to the
//! host, and a network's file in `nets` before its bridge. So whatever a `kill -9` leaves, the next command finds a
//! file of leases; it frees those whose process is gone, removes their published ports, veths and names, and when a
//! network has none left and no janitor holds the lock on the file, starts one. The janitor removes by asking the
//! kernel what there is on the bridges in `nets`, never by remembering what was made, and a network's file after its
//! bridge, that of leases last. Each step finds done what was done before: half a network is completed by the next
//! lease or removed by the next janitor.

mod answers;
mod bridge;
mod cable;
mod cidr;
mod claim;
mod config;
mod connect;
mod conntrack;
pub mod doctor;
mod error;
mod forwarding;
mod free;
mod host;
mod janitor;
mod lease;
mod leases;
mod linger;
mod maps;
mod network;
mod nft;
mod owner;
mod ports;
mod publish;
mod resolver;
mod route;
mod rule;
mod rules;
mod rundir;
mod shared;
mod shortcut;
mod socket;
mod subnet;
mod sweep;
mod sysctl;
mod tag;
mod telling;
mod uses;
mod wire;

pub use answers::{leave_answers, take_answers};
pub use cidr::Cidr;
pub use config::{Config, Driver, Pool4, Pool6};
pub use connect::{free_number, has_way_out, is_connected, lead_out, loopback_up};
pub use error::{Cause, Error};
pub use free::{Used, default_pool, free_ipv4, has_link, is_veth_name, local_ipv6, used_by_host};
pub use host::on_host;
pub use lease::{Lease, Request};
pub use network::Network;
pub use owner::Owner;
pub use ports::{Protocol, Published, Wish};
pub use resolver::HostResolver;
pub use tag::Tag;

/// The default bridge.
pub const BRIDGE: &str = "mycontainer0";
/// What the host's end of each container's veth pair begins with.
const LINK_PREFIX: &str = "mc";
