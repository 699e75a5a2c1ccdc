//! An image from one place to another.

use crate::error::Error;
use crate::transfer::{Sink, Source};
use registry::{Descriptor, Platform};

/// Which images of an index are copied.
#[derive(Clone, Debug)]
pub enum Platforms {
    /// All, and the index.
    All,
    /// The one that serves this platform best; its manifest becomes the top. What is no index is copied as it is.
    One(Platform),
}

/// What became of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was copied.
    Copied,
    /// It was there.
    Had,
}

/// Who is told how far a copy is. Called from several threads.
pub trait Progress: Sync {
    /// A blob will be copied.
    fn begin(&self, _blob: &Descriptor) {}
    /// So many more bytes of it were read.
    fn advance(&self, _blob: &Descriptor, _bytes: u64) {}
    /// It is done.
    fn done(&self, _blob: &Descriptor, _outcome: Outcome) {}
}

/// Tells nobody.
pub struct NoProgress;

impl Progress for NoProgress {}

/// Copies an image, blobs first and the top last; the descriptor of the top. Media types and digests stay as they are.
pub fn copy(
    source: &dyn Source,
    sink: &dyn Sink,
    platforms: &Platforms,
    progress: &dyn Progress,
) -> Result<Descriptor, Error> {
    let _ = progress;
    todo!("{} {} {platforms:?}", source.shown(), sink.shown())
}
