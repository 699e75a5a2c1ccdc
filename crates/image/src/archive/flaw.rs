//! What can be wrong with an image that is read from somewhere or written to somewhere.

use crate::error::{Error, Fault};
use registry::{BadManifest, Digest, INDEX_MAX, LAYERS_MAX};
use rustix::io::Errno;
use std::io;

/// What is wrong with an image, or with the place that it is in. Completes "cannot read the image in PLACE: ".
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Flaw {
    #[error("cannot {act} {name:?}: {source}")]
    System { act: &'static str, name: String, source: Errno },
    #[error("cannot read its content: {0}")]
    Read(io::Error),
    #[error("cannot write: {0}")]
    Write(io::Error),
    #[error("cannot keep it in a temporary file in {scratch:?}: {source}")]
    Spool { scratch: String, source: io::Error },
    #[error("{0}")]
    Tar(#[from] Fault),
    #[error("it has no {name:?}")]
    Missing { name: String },
    #[error("its {name:?} is {what}, not a file")]
    NotAFile { name: String, what: &'static str },
    #[error("its {name:?} is there twice, and which one counts nobody can tell")]
    Twice { name: String },
    #[error("its {name:?} has {size} bytes; {max} are the most")]
    TooBig { name: String, size: u64, max: u64 },
    #[error("it has too many entries for an image archive (more than {max})")]
    Entries { max: usize },
    #[error("its {name:?} is not what it should be: {source}")]
    Json { name: String, source: serde_json::Error },
    #[error("its layout is of version {0:?}; 1.0.0 is the only one that is known")]
    Version(String),
    #[error("the manifest {digest} is wrong: {source}")]
    Manifest { digest: Digest, source: BadManifest },
    #[error("the content of {expected} is not that: its digest is {found}")]
    Digest { expected: Digest, found: Digest },
    #[error("the content of {digest} has {found} bytes and should have {expected}")]
    Size { digest: Digest, expected: u64, found: String },
    #[error("it holds no image")]
    Empty,
    #[error("it is no image but a root file system, as `docker export` makes it: `import` makes an image of it")]
    Export,
    #[error("it has no index.json (OCI) and no manifest.json (`docker save`)")]
    NoImageArchive,
    #[error("it holds no image {name:?}{}", among(.names))]
    NoSuchImage { name: String, names: Vec<String> },
    #[error("it holds several images{}: say which", among(.names))]
    Several { names: Vec<String> },
    #[error("it names {0} images; {INDEX_MAX} are the most")]
    Images(usize),
    #[error("it names {0} layers; {LAYERS_MAX} are the most")]
    Layers(usize),
    #[error("its configuration speaks of {diff_ids} layers, and it has {layers}")]
    DiffIds { diff_ids: usize, layers: usize },
    #[error("its layer {number} is not the one that its configuration speaks of: it is {found}, not {expected}")]
    DiffId { number: usize, expected: Digest, found: Digest },
    #[error("its configuration {digest} is wrong: {source}")]
    Config { digest: Digest, source: serde_json::Error },
    #[error("it is no image: {digest} is of the type {media_type:?}")]
    NotALayer { digest: Digest, media_type: String },
    #[error("such an archive holds images of one platform, and this is an index of several: say which platform")]
    Index,
    #[error("an earlier failure left it incomplete")]
    Spoiled,
    #[error("its indexes lie in each other deeper than {0}")]
    Depth(usize),
    #[error("its indexes name more than {0} manifests")]
    Manifests(usize),
    #[error("there is no image for {wanted} in it{}", among(.offered))]
    Platform { wanted: String, offered: Vec<String> },
    #[error("{name:?} is {what}")]
    Unsuited { name: String, what: &'static str },
}

/// The names that there are, as an aside; not all of thousands.
fn among(names: &[String]) -> String {
    const SHOWN: usize = 20;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| cut(name)).collect();
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    if names.is_empty() { String::new() } else { format!(" (it has {}{more})", shown.join(", ")) }
}

/// What is quoted in a message is cut short: it is somebody else's.
pub(crate) fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}

impl Flaw {
    pub(crate) fn system(act: &'static str, name: &str, source: Errno) -> Flaw {
        Flaw::System { act, name: cut(name), source }
    }

    pub(crate) fn json(name: &str, source: serde_json::Error) -> Flaw {
        Flaw::Json { name: cut(name), source }
    }

    pub(crate) fn missing(name: &str) -> Flaw {
        Flaw::Missing { name: cut(name) }
    }

    /// As the error of whoever read from `place`.
    pub(crate) fn reading(self, place: &str) -> Error {
        Error::ReadImage { place: place.to_owned(), source: Box::new(self) }
    }

    /// As the error of whoever wrote to `place`.
    pub(crate) fn writing(self, place: &str) -> Error {
        Error::WriteImage { place: place.to_owned(), source: Box::new(self) }
    }
}
