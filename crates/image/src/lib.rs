//! Root file systems from archives: what becomes the lower layer of a container's root. Never runs anything.
//!
//! [`Store::archive`] turns a tar of `docker export` or `podman export` into a directory, once, kept by the digest of
//! the file. The archive and all that is in it is hostile: [`tar`] reads it in bounded memory, the unpacker resolves
//! every name through descriptors inside the new tree, and [`remove_tree`] takes such a tree away again.
//!
//! On disk: `roots/` in the data directory, see the head of `store.rs` for what is in it, who locks it and who sweeps
//! it.

pub mod archive;
mod config;
mod error;
mod index;
mod input;
mod remove;
mod sniff;
mod store;
pub mod tar;
mod transfer;
mod unpack;

pub use config::{Healthcheck, History, ImageConfig, RootfsConfig, RunConfig};
pub use error::{Error, Fault};
pub use remove::remove_tree;
pub use store::{Store, Unpacked};
pub use transfer::{Content, Raw, Sink, Source};
