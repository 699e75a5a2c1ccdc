//! Telling archives and layouts apart, and the images in them.

use crate::error::Error;
use crate::transfer::Source;
use std::fs::File;
use std::path::Path;

/// What a file or a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory with an OCI layout.
    Layout,
    /// A tar of an OCI layout.
    OciArchive,
    /// A tar of `docker save`; also when it is an OCI layout as well, as since Docker 25.
    DockerArchive,
    /// A tar of a root file system, as `docker export` makes it.
    Export,
    /// Something else.
    Unknown,
}

/// One image of an archive.
pub struct Found {
    /// What it is called there: whole references (`docker save`) or only tags (`skopeo`). Perhaps nothing.
    pub names: Vec<String>,
    /// The image.
    pub source: Box<dyn Source + Send>,
}

/// What `path` is, by its content. A compressed archive is decompressed as far as it takes to tell.
pub fn detect(path: &Path) -> Result<Kind, Error> {
    todo!("{path:?}")
}

/// The images in an archive or layout. A compressed archive is decompressed to an unlinked file in `scratch`.
pub fn open(path: &Path, scratch: &Path) -> Result<Vec<Found>, Error> {
    todo!("{path:?} {scratch:?}")
}

/// The images in an archive that is open. `shown` is its name in messages.
pub fn open_file(file: File, shown: &str, scratch: &Path) -> Result<Vec<Found>, Error> {
    todo!("{file:?} {shown:?} {scratch:?}")
}

/// The image that is called `name`, or the only one. `place` is where they are from, for messages.
pub fn pick(images: Vec<Found>, name: Option<&str>, place: &str) -> Result<Found, Error> {
    todo!("{} {name:?} {place}", images.len())
}
