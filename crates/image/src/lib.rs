//! Root file systems from archives: what becomes the lower layer of a container's root. Never runs anything.
//!
//! [`Store::archive`] turns a tar of `docker export` or `podman export` into a directory, once, kept by the digest of
//! the file. The archive and all that is in it is hostile: [`tar`] reads it in bounded memory, the unpacker resolves
//! every name through descriptors inside the new tree, and [`remove_tree`] takes such a tree away again.
//!
//! An image's layers are not unpacked but kept as EROFS images: see [`erofs`], and [`mount_erofs`].
//!
//! On disk: `roots/` in the data directory, see the head of `store.rs` for what is in it, who locks it and who sweeps
//! it.

pub mod erofs;
mod error;
mod index;
mod input;
mod mount;
mod remove;
mod room;
mod sniff;
mod store;
pub mod tar;
mod unpack;

pub use error::{Error, Fault, MergeFault};
pub use mount::{MountError, Through, attached, mount_erofs};
pub use remove::remove_tree;
pub use store::{Store, Unpacked};
pub use unpack::unpack_layer;
