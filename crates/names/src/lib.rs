//! The names of a network's containers: a small DNS server for each network, and the files that tell it who is there.
//!
//! [`Names`] is the engine's side: it writes a file for each container on each network. [`serve`] is the life of a
//! network's server, a process with one thread. It answers for the containers (`answer.rs`) what is in the files
//! (`reader.rs`), to each client what that may see (`zone.rs`), and asks for everything else the servers that the host
//! asks (`upstreams.rs`, `flights.rs`), whose answers it keeps for a while (`cache.rs`).
//!
//! # What holds
//!
//! - A name is there with the first question after its file was written, and gone with the first after it was removed.
//! - A container that shares no network with another gets neither its names nor its addresses.
//! - What containers look for stays here: names of one label, and addresses of the network, are never asked upstream,
//!   but for the keys of such a name (DS, DNSKEY), by which a top-level domain is verified.
//! - Packets of clients and servers, and files, may be anything: they cost a bounded time and a bounded memory, each
//!   client no more than its share, and never the loop.
//!
//! # What is on the host
//!
//! The files (`store.rs`), which whoever made them removes. The server keeps nothing: killed at any instant it leaves
//! nothing behind, and another one goes on.
//!
//! The standards are RFC 1034 and 1035 (names and messages), 2181 and 2308 (what is cut, what is not there), 5452
//! (answers that are not forged), 6303 and 6761 (names that stay local), 6891 (EDNS), 7766 (TCP), 8482 (ANY) and 9715
//! (size of packets).

mod answer;
mod cache;
mod clients;
mod entry;
mod error;
mod fair;
mod files;
mod flights;
#[doc(hidden)]
pub mod fuzzing;
mod line;
mod query;
mod reader;
#[cfg(test)]
mod scratch;
mod server;
mod stamp;
mod store;
mod upstreams;
mod zone;

pub use answer::Subnet;
pub use entry::Entry;
pub use error::Error;
pub use server::{Server, serve};
pub use store::Names;
