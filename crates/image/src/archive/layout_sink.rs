//! OCI layouts, written.

use crate::error::Error;
use std::path::Path;

/// A layout directory that an image is put to.
pub struct LayoutSink {}

impl LayoutSink {
    /// Makes the layout in `dir`, or extends the one there. The image gets `name`, and takes it from the one that has it.
    pub fn open(dir: &Path, name: Option<&str>) -> Result<LayoutSink, Error> {
        todo!("{dir:?} {name:?}")
    }
}
