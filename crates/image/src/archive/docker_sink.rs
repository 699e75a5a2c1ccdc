//! An archive as of `docker save` that is being written.

use crate::error::Error;
use crate::transfer::Sink;
use std::io::Write;
use std::path::Path;

/// An archive as of `docker save` that is being written.
pub struct DockerArchive {}

impl DockerArchive {
    /// Begins an archive. `shown` is its name in messages; `scratch` is where layers are decompressed, in files without a name.
    pub fn new(out: Box<dyn Write + Send>, shown: &str, scratch: &Path) -> DockerArchive {
        todo!("{shown}")
    }

    /// A sink for one image, which gets these names. An archive takes any number of images, one after the other.
    pub fn image(&self, names: &[String]) -> Box<dyn Sink + '_> {
        todo!("{names:?}")
    }

    /// Ends the archive, and gives back what it was written to. Without this it is no archive.
    pub fn finish(self) -> Result<Box<dyn Write + Send>, Error> {
        todo!()
    }
}
