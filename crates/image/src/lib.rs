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

pub mod archive;
mod config;
mod draft;
pub mod erofs;
mod error;
mod examine;
mod gc;
mod images;
mod import;
mod index;
mod input;
mod insert;
mod kept;
mod layer;
mod layout;
mod lease;
mod make;
mod mount;
mod partial;
mod pipe;
mod progress;
mod receive;
mod remote;
mod remove;
mod room;
mod root;
mod scratch;
mod sniff;
mod store;
mod stored;
pub mod tar;
mod transfer;
mod unpack;
mod write_behind;

pub use config::{Healthcheck, History, ImageConfig, RootfsConfig, RunConfig};
pub use error::{Error, Fault, MergeFault};
pub use examine::{Damage, Examine, Examined, Repair};
pub use gc::{Freed, Later, Usage, directory_bytes};
pub use images::{Image, Removed};
pub use insert::{Inserted, Inserter, Links};
pub use layer::Form;
pub use layout::Images;
pub use make::Making;
pub use mount::{MountError, Through, mount_erofs};
pub use progress::{Events, Silent, State};
pub use receive::{Order, Received};
pub use remote::{RemoteSink, RemoteSource};
pub use remove::remove_tree;
pub use store::{Store, Unpacked};
pub use stored::Stored;
pub use transfer::{Content, Raw, Sink, Source};
pub use unpack::unpack_layer;
