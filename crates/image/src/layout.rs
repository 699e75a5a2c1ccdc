//! The image store on disk: an OCI image layout, and beside it what is made of its layers. [OCI image-spec,
//! image-layout.md]
//!
//! ```text
//! DATA/images/               0700: nobody but root may reach the setuid programs in a layer
//!   oci-layout               what makes it a layout: skopeo and umoci read it in place
//!   index.json               the images: one entry a name, the name being the annotation ...ref.name
//!   blobs/sha256/HEX         manifests, configurations and compressed layers, each held against its digest
//!   layers/HEX.erofs, HEX/   a layer ready to be mounted, by the digest of its uncompressed tar (its diff id)
//!   merged/HEX.erofs         the tree of all layers of an image, by their chain id: metadata that points into layers/
//!   mounts/HEX/              where the tree of an image is mounted, by its id: see `kept`
//!   partial/HEX              a blob that is being fetched, or was: the next one who wants it goes on where it ends
//!   new/PID-N                what is being written, locked by who writes it
//!   leases/PID-N             what a running command needs although no image names it yet; locked by the command
//!   lock                     see below
//! ```
//!
//! What has its final name is complete: it was written under `new/` or `partial/`, held against its digest, written to
//! disk, and only then renamed. So a `kill -9` leaves nothing but an unlocked file in `new/` or `leases/`, which the
//! next command removes, or in `partial/`, which the next fetch of that blob continues.
//!
//! `lock` (flock) is shared while somebody says what he needs and looks whether it is there, and exclusive while
//! somebody changes `index.json` or removes what nobody needs (`gc`). It is held for moments; content is written
//! without it.

use crate::draft::Draft;
use crate::error::Error;
use crate::input::CHUNK;
use crate::lease::Held;
use registry::{Descriptor, Digest, ImageIndex, MANIFEST_MAX, media};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, flock, fstat, mkdirat, openat, statat};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The annotation of `index.json` that names an image.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation that tells under which digest a registry has an image, `NAME@DIGEST`: that of the index, where the
/// image is one of several.
pub(crate) const FETCHED_AS: &str = "dev.mycontainer.fetched-as";
/// What says that the directory is an OCI layout.
const MARK: &str = "oci-layout";
/// The most bytes that `index.json` may have.
const INDEX_BYTES_MAX: u64 = 64 << 20;
/// The directories of a store.
const DIRECTORIES: [&str; 6] = ["blobs/sha256", "layers", "merged", "partial", "new", "leases"];

/// The store of images below one data directory.
#[derive(Debug)]
pub struct Images {
    pub(crate) path: PathBuf,
    pub(crate) dir: OwnedFd,
    /// What was read and is still to be held against its digest, where that is put off.
    unchecked: Option<Mutex<Vec<Read>>>,
    /// What whoever has opened the store needs for as long as it is open.
    pub(crate) held: Mutex<Vec<Held>>,
}

/// A blob's digest, and what was read in its place.
type Read = (Digest, Vec<u8>);

/// The store's directory, for a process of ours that goes on with it.
impl AsFd for Images {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Images {
    /// The store in `data_dir`, if there is one yet.
    pub fn existing(data_dir: &Path) -> Result<Option<Images>, Error> {
        let path = absolute(data_dir)?.join("images");
        match open_directory(rustix::fs::CWD, &path) {
            Ok(dir) => Ok(Some(Images { path, dir, unchecked: None, held: Mutex::default() })),
            Err(Errno::NOENT) => Ok(None),
            Err(source) => Err(Error::Prepare { path, source: source.into() }),
        }
    }

    /// The store in `data_dir`; made when it is missing.
    pub fn open(data_dir: &Path) -> Result<Images, Error> {
        if let Some(images) = Images::existing(data_dir)?
            // Made last: whoever was killed on the way has left a part of the store.
            && images.size_of(MARK).is_some_and(|size| size > 0)
        {
            return Ok(images);
        }
        let path = absolute(data_dir)?.join("images");
        let failed = |source| Error::Prepare { path: path.clone(), source };
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(failed)?;
        let dir = open_directory(rustix::fs::CWD, &path).map_err(|error| failed(error.into()))?;
        let images = Images { path: path.clone(), dir, unchecked: None, held: Mutex::default() };
        for name in DIRECTORIES {
            images.make_directories(name).map_err(|error| failed(error.into()))?;
        }
        images.write_small(MARK, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(images)
    }

    /// The same store, for a command that starts a container: manifests and configurations that are read from it are held
    /// against their digests only by [`Images::check`]. The caller does that before the program runs, while it would wait
    /// for something else. (What is in the way is less the hashing than the question whether the processor can do it: five
    /// CPUID, of which each costs 12 µs in a virtual machine.)
    pub fn checked_later(self) -> Images {
        Images { unchecked: Some(Mutex::default()), ..self }
    }

    /// Holds against their digests what was read since [`Images::checked_later`].
    pub fn check(&self) -> Result<(), Error> {
        let Some(unchecked) = &self.unchecked else { return Ok(()) };
        let read = std::mem::take(&mut *unchecked.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        match read.into_iter().find(|(digest, bytes)| !digest.is_of(bytes)) {
            Some((digest, _)) => Err(Error::Damaged { path: self.path.join(blob_name(&digest)) }),
            None => Ok(()),
        }
    }

    /// Where the store is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn make_directories(&self, name: &str) -> Result<(), Errno> {
        let mut path = PathBuf::new();
        for part in Path::new(name) {
            path.push(part);
            match mkdirat(&self.dir, &path, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes the store's lock until the result is dropped.
    pub(crate) fn lock(&self, how: FlockOperation) -> Result<OwnedFd, Error> {
        let path = || self.path.join("lock");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let lock = openat(&self.dir, "lock", flags, Mode::RUSR | Mode::WUSR)
            .map_err(|source| Error::Lock { path: path(), source })?;
        loop {
            match flock(&lock, how) {
                Ok(()) => return Ok(lock),
                Err(Errno::INTR) => {}
                Err(source) => return Err(Error::Lock { path: path(), source }),
            }
        }
    }

    /// True when the blob is there, in its full length.
    pub fn has_blob(&self, descriptor: &Descriptor) -> bool {
        self.size_of(&blob_name(&descriptor.digest)) == Some(descriptor.size)
    }

    /// The length of a file of the store, if it is there.
    pub(crate) fn size_of(&self, name: &str) -> Option<u64> {
        let stat = statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        (FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then_some(stat.st_size as u64)
    }

    /// Opens a file of the store for reading.
    pub(crate) fn open_file(&self, name: &str) -> Result<File, Errno> {
        openat(&self.dir, name, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()).map(File::from)
    }

    /// Opens a blob for reading.
    pub fn open_blob(&self, digest: &Digest) -> Result<File, Error> {
        let name = blob_name(digest);
        self.open_file(&name).map_err(|source| Error::Blob { path: self.path.join(name), source: source.into() })
    }

    /// Reads a manifest or a configuration, and holds it against its digest: it is small, and tells what all else is.
    pub fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let path = || self.path.join(blob_name(digest));
        let read = read_whole(self.open_blob(digest)?, MANIFEST_MAX + 1);
        let bytes = read.map_err(|source| Error::Blob { path: path(), source })?;
        match &self.unchecked {
            Some(later) => {
                let mut later = later.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                later.push((digest.clone(), bytes.clone()));
            }
            None if digest.is_of(&bytes) => {}
            None => return Err(Error::Damaged { path: path() }),
        }
        Ok(bytes)
    }

    /// Keeps a manifest or a configuration.
    pub(crate) fn keep_small(&self, digest: &Digest, bytes: &[u8]) -> Result<(), Error> {
        // One that is damaged is written anew: a pull is how a person repairs an image.
        if self.read_blob(digest).is_ok() { Ok(()) } else { self.write_small(&blob_name(digest), bytes) }
    }

    /// True when a blob does not have the digest that it is named by.
    pub(crate) fn is_damaged(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        let failed = |source| Error::Blob { path: self.path.join(blob_name(&descriptor.digest)), source };
        let mut file = self.open_blob(&descriptor.digest)?;
        let (mut hasher, mut buffer) = (descriptor.digest.hasher(), vec![0; CHUNK]);
        loop {
            match file.read(&mut buffer).map_err(failed)? {
                0 => return Ok(hasher.finish() != descriptor.digest),
                length => hasher.update(&buffer[..length]),
            }
        }
    }

    /// What it means that something below `name` cannot be written: a full disk is a failure of its own.
    pub(crate) fn write_failed(&self, name: &str, source: std::io::Error) -> Error {
        match Errno::from_io_error(&source) {
            Some(Errno::NOSPC | Errno::DQUOT) => Error::NoSpace { store: self.path.clone() },
            _ => Error::Write { path: self.path.join(name), source },
        }
    }

    /// Writes a small file of the store: the old one or the new one is there at any instant.
    fn write_small(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let draft = Draft::file(self)?;
        std::io::Write::write_all(&mut &draft.file, bytes).map_err(|error| self.write_failed(name, error))?;
        draft.keep(name)
    }

    /// The entries of `index.json`; none when there is no such file.
    pub(crate) fn index(&self) -> Result<ImageIndex, Error> {
        let path = || self.path.join("index.json");
        let bytes = match self.open_file("index.json") {
            Ok(file) => read_whole(file, INDEX_BYTES_MAX).map_err(|source| Error::Blob { path: path(), source })?,
            Err(Errno::NOENT) => return Ok(empty_index()),
            Err(source) => return Err(Error::Blob { path: path(), source: source.into() }),
        };
        serde_json::from_slice(&bytes).map_err(|source| Error::Index { path: path(), source })
    }

    /// Changes `index.json`, under the lock.
    pub(crate) fn change_index<T>(&self, change: impl FnOnce(&mut ImageIndex) -> Result<T, Error>) -> Result<T, Error> {
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        let mut index = self.index()?;
        let before = index.clone();
        let result = change(&mut index)?;
        if index != before {
            self.write_index(&index)?;
        }
        Ok(result)
    }

    /// The caller holds the lock.
    pub(crate) fn write_index(&self, index: &ImageIndex) -> Result<(), Error> {
        let path = self.path.join("index.json");
        let bytes = serde_json::to_vec_pretty(index).map_err(|source| Error::Index { path, source })?;
        self.write_small("index.json", &bytes)
    }
}

/// Reads a small file in one go: its size is asked for, so that the buffer need not grow on the way.
fn read_whole(file: File, most: u64) -> std::io::Result<Vec<u8>> {
    let size = fstat(&file)?.st_size as u64;
    let mut bytes = Vec::with_capacity(usize::try_from(size.min(most)).unwrap_or(0) + 1);
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Where a blob is in the store.
pub(crate) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

fn empty_index() -> ImageIndex {
    ImageIndex {
        schema_version: 2,
        media_type: Some(media::OCI_INDEX.into()),
        artifact_type: None,
        manifests: Vec::new(),
        annotations: Default::default(),
    }
}

fn absolute(data_dir: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(data_dir).map_err(|source| Error::Absolute { path: data_dir.to_owned(), source })
}

pub(crate) fn open_directory(at: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat(at, path, flags, Mode::empty())
}

/// Whether the open file is still what `name` means in `dir`.
pub(crate) fn is_named(dir: BorrowedFd<'_>, name: &str, file: BorrowedFd<'_>) -> Result<bool, Errno> {
    let ours = fstat(file)?;
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The names in a directory of the store.
pub(crate) fn names_in(images: &Images, directory: &str) -> Result<Vec<String>, Error> {
    let path = || images.path.join(directory);
    let failed = |source: Errno| Error::Prepare { path: path(), source: source.into() };
    let dir = match open_directory(images.dir.as_fd(), Path::new(directory)) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::new(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // What is not UTF-8 is not ours.
        if let Ok(name) = entry.file_name().to_str()
            && name != "."
            && name != ".."
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}
