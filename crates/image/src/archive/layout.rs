//! OCI layouts, read.

use crate::error::Error;
use std::path::Path;

/// An image in an OCI layout: a directory, or a tar of one.
pub struct LayoutSource {}

impl LayoutSource {
    /// The image in the directory `dir` that is called `name` there, or the only one.
    pub fn open(dir: &Path, name: Option<&str>) -> Result<LayoutSource, Error> {
        todo!("{dir:?} {name:?}")
    }
}
