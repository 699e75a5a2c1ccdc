//! Images as they are named and moved: references, digests, descriptors, manifests, and the registries that serve them.
//!
//! Everything that a registry sends is hostile: it is read to a bound, and believed only when its digest is right.

mod digest;
mod manifest;
mod platform;
mod reference;

pub use digest::{BadDigest, Digest, Hasher};
pub use manifest::{
    BadManifest, Descriptor, INDEX_MAX, ImageIndex, ImageManifest, LAYERS_MAX, MANIFEST_MAX, Manifest, media,
};
pub use platform::{BadPlatform, Platform};
pub use reference::{BadReference, DOCKER_HUB, Reference};
