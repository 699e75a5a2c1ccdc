//! The configuration and the manifest of a new image.

use super::{BadChange, Change};
use crate::config::ImageConfig;
use registry::{Descriptor, Digest, ImageManifest, Platform};

/// A layer that was made.
#[derive(Clone, Debug)]
pub struct NewLayer {
    /// As it is stored.
    pub descriptor: Descriptor,
    /// The digest of its uncompressed tar.
    pub diff_id: Digest,
}

/// What a new image is made of.
pub struct Commit<'a> {
    /// The image below, whose configuration may have been changed to the container's.
    pub base: Option<(&'a ImageConfig, &'a ImageManifest)>,
    /// The layer on top.
    pub layer: Option<&'a NewLayer>,
    /// For which machines, when there is no base.
    pub platform: Platform,
    /// Changes of the configuration.
    pub changes: &'a [Change],
    /// Who made it.
    pub author: &'a str,
    /// Why.
    pub message: &'a str,
    /// By which command, for the history.
    pub created_by: &'a str,
    /// When, RFC 3339; see [`timestamp`].
    pub created: &'a str,
}

/// A new image: an OCI manifest and its configuration.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The configuration.
    pub config: Vec<u8>,
    /// Its descriptor.
    pub config_descriptor: Descriptor,
    /// The manifest.
    pub manifest: Vec<u8>,
    /// Its descriptor.
    pub manifest_descriptor: Descriptor,
}

/// Makes the configuration and the manifest: of `commit`, of `import`.
pub fn commit(what: &Commit<'_>) -> Result<Committed, BadChange> {
    todo!("{}", what.author)
}

/// A time as configurations have it.
pub fn timestamp(time: std::time::SystemTime) -> String {
    todo!("{time:?}")
}
