//! Where images come from and go to: registries, archives, layouts and the store itself are each a [`Source`], a
//! [`Sink`] or both, so that every way of moving an image is written once.
//!
//! A source is hostile. What it gives is held against the descriptor that asked for it, by whoever keeps it: a source
//! itself need not hash. A sink gets an image from below: every blob before the manifest that names it, every manifest
//! before the index that names it, and the top last, so that what was begun and not finished is never named.

use crate::error::Error;
use registry::Descriptor;
use std::io::Read;

/// A manifest or an index as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// The bytes, of which the digest is.
    pub bytes: Vec<u8>,
    /// What it is said to be; empty when nothing says it.
    pub media_type: String,
}

/// Content that is being read.
pub type Content = Box<dyn Read + Send>;

/// An image somewhere, to be read.
pub trait Source: Sync {
    /// Its manifest, or its index when there are several.
    fn top(&self) -> Result<Raw, Error>;

    /// A manifest that its index names.
    fn manifest(&self, descriptor: &Descriptor) -> Result<Raw, Error>;

    /// A configuration or a layer, from byte `offset` on.
    fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<Content, Error>;

    /// What it is called, for messages.
    fn shown(&self) -> String;
}

/// A place that images can be put to.
pub trait Sink: Sync {
    /// True when it has this blob already, or can get it without being sent it.
    fn has_blob(&self, descriptor: &Descriptor) -> Result<bool, Error>;

    /// Takes a blob over. `open` gives its content from the start, and may be called again after a failure.
    fn put_blob(&self, descriptor: &Descriptor, open: &dyn Fn() -> Result<Content, Error>) -> Result<(), Error>;

    /// True when blobs should come to it one after the other, in order: an archive, which is the same bytes each time.
    fn one_at_a_time(&self) -> bool {
        false
    }

    /// Takes a manifest over that the top, which follows, names.
    fn put_manifest(&self, descriptor: &Descriptor, raw: &Raw) -> Result<(), Error>;

    /// Takes the top over and names the image: the last call.
    fn put_top(&self, raw: &Raw) -> Result<(), Error>;

    /// What it is called, for messages.
    fn shown(&self) -> String;
}
