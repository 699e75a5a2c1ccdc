//! What can go wrong, each with what it failed on and the system's reason.

use crate::archive::Flaw;
use crate::mount::MountError;
use registry::{Digest, ImageIndex, Platform};
use rustix::io::Errno;
use std::io;
use std::path::PathBuf;

/// A failed step of the image store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store's directory cannot be named.
    #[error("cannot tell where {path:?} is: {source}")]
    Absolute {
        /// The path as given.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A directory of the store cannot be made or opened.
    #[error("cannot prepare the image store's directory {path:?}: {source}")]
    Prepare {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The archive cannot be opened.
    #[error("cannot open the archive {path:?}: {source}")]
    Open {
        /// The archive.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// The archive is a directory, a pipe or the like.
    #[error("cannot unpack {path:?}: it is {what}, not a file")]
    NotAFile {
        /// The archive.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Something is wrong with the archive, or an entry of it cannot be made.
    #[error("cannot unpack {path:?}: {source}")]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        source: Box<Fault>,
    },
    /// The disk is full. What had been unpacked is removed again.
    #[error(
        "cannot unpack {path:?}: no space left in {store:?} after {written} bytes (at {entry:?}); they are freed again"
    )]
    DiskFull {
        /// The archive.
        path: PathBuf,
        /// Where it was unpacked to.
        store: PathBuf,
        /// Bytes of file content written, and about to be, when it was full.
        written: u64,
        /// The entry that found no room.
        entry: PathBuf,
    },
    /// The archive was written to while it was read.
    #[error("cannot unpack {path:?}: it changed while it was being read")]
    Changed {
        /// The archive.
        path: PathBuf,
    },
    /// The finished tree cannot be written to disk, or given its name.
    #[error("cannot keep {path:?}: {source}")]
    Keep {
        /// The tree.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// The tree's lock cannot be had.
    #[error("cannot lock {path:?}: {source}")]
    Lock {
        /// The tree's directory.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// Something in a tree cannot be removed.
    #[error("cannot remove {path:?}: {source}")]
    Remove {
        /// What is left, as seen from the directory that the tree is in. Its tail only, when it lies very deep.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// An image cannot be read from where it is.
    #[error("cannot read the image in {place}: {source}")]
    ReadImage {
        /// The archive, the layout or the registry.
        place: String,
        /// What is wrong.
        source: Box<Flaw>,
    },
    /// An image cannot be written to where it should be.
    #[error("cannot write the image to {place}: {source}")]
    WriteImage {
        /// The archive, the layout or the registry.
        place: String,
        /// What is wrong.
        source: Box<Flaw>,
    },
    /// One of the images of an index cannot be copied.
    #[error("the image for {platform} ({digest}): {source}")]
    OnePlatform {
        /// For which machines it is.
        platform: String,
        /// Its manifest.
        digest: Digest,
        /// What is wrong.
        source: Box<Error>,
    },
    /// A file of a tree cannot be put into a tar.
    #[error("cannot archive {path:?}: {source}")]
    Tree {
        /// The file, from the tree's top.
        path: PathBuf,
        /// What is wrong.
        source: Box<Flaw>,
    },
    /// Something is wrong with a tar that comes in as a stream.
    #[error("cannot use the tar: {0}")]
    Tar(Box<Fault>),
    /// Something cannot be put into a tree that is there already.
    #[error("cannot {act} {path:?}: {source}")]
    Insert {
        /// What was tried.
        act: &'static str,
        /// The name, from the directory that it was to go to.
        path: PathBuf,
        /// The system's reason.
        source: Errno,
    },
    /// There is a directory where a file is to go, or the reverse.
    #[error("cannot overwrite the {there} {path:?} with a {with}")]
    Clash {
        /// The name, from the directory that it was to go to.
        path: PathBuf,
        /// What is there.
        there: &'static str,
        /// What was to go there.
        with: &'static str,
    },
    /// A name or link of an entry that leads out of where it is to go.
    #[error("cannot put {path:?} there: {reason}")]
    Astray {
        /// The name.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A registry did not do what it was asked to.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// A blob or another file of the store cannot be read.
    #[error("cannot read {path:?}: {source}")]
    Blob {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// What is in a file of the store is not what its name says.
    #[error("{path:?} is damaged: its content does not have the digest that it is named by")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A file of the store cannot be written.
    #[error("cannot write {path:?}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The list of images cannot be understood.
    #[error("cannot understand {path:?}: {source}")]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A manifest or an index is wrong.
    #[error("the manifest {what} cannot be used: {source}")]
    Manifest {
        /// Which.
        what: String,
        /// What is wrong.
        source: registry::BadManifest,
    },
    /// An image's configuration is wrong.
    #[error("the configuration {what} cannot be used: {source}")]
    Config {
        /// Which.
        what: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// There is no image for the machine.
    #[error("{what} has no image for {platform}; it has: {has}")]
    NoPlatform {
        /// Where.
        what: String,
        /// The machine.
        platform: String,
        /// Which there are.
        has: String,
    },
    /// An index in an index in an index.
    #[error("{what}: its indexes are nested too deeply, or in a circle")]
    Nested {
        /// Which.
        what: String,
    },
    /// What a manifest names is no file system.
    #[error("it is an artifact of another kind, not a container image: it has a layer of type {media_type:?}")]
    NoLayer {
        /// The type.
        media_type: String,
    },
    /// Manifest and configuration do not fit together.
    #[error("its manifest has {layers} layers, but its configuration {diff_ids}")]
    LayerCount {
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// Content that came has another digest than it was asked for by.
    #[error("{what} sent wrong content: {wanted} was asked for, and {got} came")]
    Mismatch {
        /// Who sent it.
        what: String,
        /// Asked for.
        wanted: Digest,
        /// Came.
        got: Digest,
    },
    /// Content that came is longer or shorter than its descriptor says.
    #[error("{what} has a wrong length: {size} bytes were announced, and {got} came")]
    Length {
        /// Which.
        what: String,
        /// Bytes that came, at least.
        got: u64,
        /// Bytes that were announced.
        size: u64,
    },
    /// The stream of some content broke.
    #[error("cannot read {what}: {source}")]
    Content {
        /// Which.
        what: String,
        /// The reason.
        source: io::Error,
    },
    /// A layer's tar cannot be used.
    #[error("the layer {digest} cannot be unpacked: {source}")]
    Layer {
        /// Of the blob.
        digest: Digest,
        /// What is wrong.
        source: Box<Fault>,
    },
    /// A layer's tar is not the one that the configuration names.
    #[error("the layer {layer} is another one than the configuration says: its content is {got}, not {wanted}")]
    DiffId {
        /// Of the blob.
        layer: Digest,
        /// In the configuration.
        wanted: Digest,
        /// Of the content.
        got: Digest,
    },
    /// A setting of the environment is not understood.
    #[error("{name}={value:?}: it must be {expected}")]
    Setting {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: &'static str,
    },
    /// The disk is full. What had been written is removed again.
    #[error("no space left in {store:?}; what was written of it is freed again")]
    NoSpace {
        /// The store.
        store: PathBuf,
    },
    /// Another part of the same work failed, and says why.
    #[error("it was interrupted")]
    Interrupted,
    /// The layers of an image cannot be made one tree.
    #[error("cannot make {path:?}: {source}")]
    Merge {
        /// The tree.
        path: PathBuf,
        /// What is wrong.
        source: MergeFault,
    },
    /// A layer of an image is in the store in no form that can be mounted.
    #[error("its layers have not been made ready")]
    NoTree,
    /// A blob that should be in the store is not.
    #[error("{digest} is not in the store: pull the image again")]
    BlobMissing {
        /// Which.
        digest: Digest,
    },
    /// An image cannot be mounted.
    #[error("cannot mount the image {id}: {source}", id = id.short())]
    MountImage {
        /// The image.
        id: Digest,
        /// The step that failed.
        source: MountError,
    },
    /// There is no such image.
    #[error("there is no image {words:?}")]
    NoSuchImage {
        /// As asked for.
        words: String,
    },
    /// The beginning of an id is that of several.
    #[error("{words:?} is the beginning of more than one image's id")]
    AmbiguousId {
        /// As asked for.
        words: String,
    },
    /// An image that was named by its id has several names.
    #[error("{words:?} has several names ({names}): remove them one by one, or all with --force")]
    SeveralNames {
        /// As asked for.
        words: String,
        /// Its names.
        names: String,
    },
    /// A container needs an image that was to be removed.
    #[error("{words:?} is needed by the container {container}")]
    ImageInUse {
        /// As asked for.
        words: String,
        /// The container.
        container: String,
    },
}

impl Error {
    /// An index that serves everybody else.
    pub(crate) fn no_platform(what: String, platform: &Platform, index: &ImageIndex) -> Error {
        let all = index.manifests.iter().filter_map(|entry| entry.platform.as_ref());
        let has: Vec<String> = all.map(ToString::to_string).filter(|p| p != "unknown/unknown").take(20).collect();
        Error::NoPlatform { what, platform: platform.to_string(), has: has.join(", ") }
    }

    /// True for a failure that the next attempt may not have: what has been fetched so far is kept for it.
    pub(crate) fn is_of_the_source(&self) -> bool {
        matches!(self, Error::Content { .. } | Error::Interrupted | Error::Registry(_))
    }

    /// True when there is no room for what was to be written.
    pub fn is_disk_full(&self) -> bool {
        let full = |errno: &Errno| matches!(*errno, Errno::NOSPC | Errno::DQUOT);
        match self {
            Error::NoSpace { .. } | Error::DiskFull { .. } => true,
            Error::Keep { source, .. } | Error::Lock { source, .. } => full(source),
            Error::Merge { source: MergeFault::Write { source }, .. } => full(source),
            Error::Prepare { source, .. } | Error::Write { source, .. } => {
                Errno::from_io_error(source).is_some_and(|errno| full(&errno))
            }
            Error::ReadImage { source, .. } => {
                matches!(&**source, Flaw::Spool { source, .. }
                    if Errno::from_io_error(source).is_some_and(|errno| full(&errno)))
            }
            _ => false,
        }
    }

    /// True when some content is wrong, whoever is to blame.
    pub(crate) fn is_of_the_content(&self) -> bool {
        matches!(self, Error::Mismatch { .. } | Error::Length { .. } | Error::Layer { .. } | Error::DiffId { .. })
    }

    /// True when something in the store is not there or not what it should be: to be removed, or fetched again.
    pub fn is_of_a_damaged_store(&self) -> bool {
        match self {
            Error::Damaged { .. } | Error::BlobMissing { .. } | Error::Manifest { .. } | Error::Config { .. } => true,
            Error::Blob { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        Error::Tar(Box::new(fault))
    }
}

/// What is wrong with an archive, or with one of its entries.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it; `offset` is in bytes of the uncompressed archive")]
pub enum Fault {
    #[error("it is empty (0 bytes)")]
    NoBytes,
    #[error("it is an empty tar archive: it has no entries")]
    NoEntries,
    #[error("it is not a tar archive: {looks_like}")]
    NotTar { looks_like: String },
    #[error(
        "it is an image archive of `docker save` or of OCI layout ({entry:?} in it says so), not a root file system: \
         make one with `docker export CONTAINER`"
    )]
    ImageArchive { entry: PathBuf },
    #[error("cannot read it after {offset} bytes: {source}")]
    Read { offset: u64, source: io::Error },
    #[error("its compressed data is truncated: it ends early, after {offset} uncompressed bytes")]
    CompressedTruncated { offset: u64 },
    #[error("its compressed data is damaged after {offset} uncompressed bytes: {source}")]
    CompressedDamaged { offset: u64, source: io::Error },
    #[error("its compression wants {source}")]
    Window { source: io::Error },
    #[error("it is truncated: it ends after {offset} bytes, in {entry:?}")]
    Truncated { offset: u64, entry: PathBuf },
    #[error("it is truncated: it ends after {offset} bytes, without an end-of-archive marker")]
    NoEnd { offset: u64 },
    #[error("it is damaged: the header at byte {offset} does not match its checksum")]
    Checksum { offset: u64 },
    #[error("it has data after its end-of-archive marker (byte {offset}): two archives in one file, or a damaged one")]
    Trailing { offset: u64 },
    #[error("the extended header before byte {offset} has no entry after it")]
    Orphan { offset: u64 },
    #[error("the extended header at byte {offset} is the second of its kind for one entry")]
    Twice { offset: u64 },
    #[error("the extended header at byte {offset} is too large: {size} bytes")]
    MetaTooBig { offset: u64, size: u64 },
    #[error("the extended header at byte {offset} is wrong: {reason}")]
    Pax { offset: u64, reason: &'static str },
    #[error("the header at byte {offset} is wrong: its {field} is no number or out of range")]
    Number { field: &'static str, offset: u64 },
    #[error("entry {entry:?} has a type that a root file system cannot have: {typeflag:?}")]
    Type { entry: PathBuf, typeflag: String },
    #[error("entry {entry:?} has {size} bytes of data, which only a file can have")]
    Size { entry: PathBuf, size: u64 },
    #[error("entry {entry:?} has a wrong map of its holes: {reason}")]
    Sparse { entry: PathBuf, reason: &'static str },
    #[error("entry {entry:?} has a bad name: {reason}")]
    Name { entry: PathBuf, reason: &'static str },
    #[error("entry {entry:?} has a bad link target: {reason}")]
    Target { entry: PathBuf, reason: &'static str },
    #[error("entry {entry:?} is a whiteout (character device 0/0), which would hide files instead of being one")]
    Whiteout { entry: PathBuf },
    #[error("entry {entry:?} is a link to {target:?}, which is not in this layer")]
    LinkBelow { entry: PathBuf, target: PathBuf },
    #[error("it is too large: with entry {entry:?} it takes more than {limit} bytes")]
    TooBig { entry: PathBuf, limit: u64 },
    #[error("it has too many entries: {entry:?} is one more than {limit}")]
    TooMany { entry: PathBuf, limit: u64 },
    #[error("its names, attributes and maps of holes are too large: with entry {entry:?} more than {limit} bytes")]
    TooMuch { entry: PathBuf, limit: u64 },
    #[error("cannot {act} entry {entry:?}: {source}")]
    Make { act: &'static str, entry: PathBuf, source: Errno },
    #[error("cannot link entry {entry:?} to {target:?}: {source}")]
    Link { entry: PathBuf, target: PathBuf, source: Errno },
    #[error("cannot set attribute {name:?} of entry {entry:?}: {source}")]
    Xattr { entry: PathBuf, name: PathBuf, source: Errno },
    #[error("cannot replace entry {entry:?}, which the archive has more than once: {source}")]
    Replace { entry: PathBuf, source: Box<Error> },
    #[error("no space left for entry {entry:?} after {written} bytes")]
    NoSpace { entry: PathBuf, written: u64 },
}

/// Why layers cannot be merged.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it; layers are counted from 1, the lowest")]
pub enum MergeFault {
    #[error("{0} layers are more than an image can have")]
    Layers(usize),
    #[error("cannot read layer {layer}: {source}")]
    Read { layer: usize, source: io::Error },
    #[error("layer {layer} is damaged: {reason}")]
    Damaged { layer: usize, reason: &'static str },
    #[error("cannot write the merged image: {source}")]
    Write { source: Errno },
}

impl Fault {
    /// An error of the stream under the reader: decoders tell damage through [`io::Error`] too.
    pub(crate) fn read(offset: u64, source: io::Error) -> Fault {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => Fault::CompressedTruncated { offset },
            io::ErrorKind::Unsupported if source.raw_os_error().is_none() => Fault::Window { source },
            // What the system says has a number, and a download its own words; what a decoder says has neither.
            _ if source.raw_os_error().is_some() || is_download(&source) => Fault::Read { offset, source },
            _ => Fault::CompressedDamaged { offset, source },
        }
    }
}

fn is_download(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<registry::Error>())
}
