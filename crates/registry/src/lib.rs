//! Images as they are named and moved: references, digests, descriptors, manifests, and the registries that serve them.
//!
//! Everything that a registry sends is hostile: it is read to a bound, and believed only when its digest is right.
//!
//! ```text
//! remote   push   login      what is done with a repository: [`Registries`], [`Remote`], [`BlobReader`] (blob)
//! download                   a file from a server that is no registry
//! endpoint                   one repository of one host: requests that try again and know who asks
//! auth     credentials       challenges and tokens; logins, in files and helpers
//! client   tls    proxy      one HTTP request, and whom it trusts (early: an answer before the
//!                            request's end; retry_after: when to ask again)
//! config   environment       registries.conf; what is taken from the process
//! ```
//!
//! Nothing runs and nothing is read before [`Registries::load`], no connection is made before the first request, and
//! no thread is kept.

mod auth;
mod blob;
mod client;
mod config;
mod credentials;
mod digest;
mod download;
mod early;
mod endpoint;
mod environment;
mod error;
mod helper;
mod login;
mod manifest;
mod platform;
mod proxy;
mod push;
mod reference;
mod remote;
mod retry_after;
mod tls;
mod url;

pub use blob::BlobReader;
pub use client::Patience;
pub use credentials::Credentials;
pub use digest::{BadDigest, Digest, Hasher};
pub use download::Download;
pub use environment::Environment;
pub use error::Error;
pub use manifest::{
    BadManifest, Descriptor, INDEX_MAX, ImageIndex, ImageManifest, LAYERS_MAX, MANIFEST_MAX, Manifest, VALUES_MAX,
    count_values, media,
};
pub use platform::{BadPlatform, Platform};
pub use reference::{BadReference, DOCKER_HUB, Reference};
pub use remote::{Access, Fetched, Registries, Remote};
