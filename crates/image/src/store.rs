//! The unpacked trees on disk.
//!
//! ```text
//! DATA/roots/                 0700: nobody but root may reach the setuid programs in a tree
//!   sha256-HEX/fs/            the tree of the archive with this digest, complete, never written to again
//!   tmp-PID-N/fs/             a tree that is being unpacked
//!   index, index.new          see `index`
//! ```
//!
//! The lock (`flock`) of a tree is on the directory above its `fs`: exclusive while it is unpacked, shared while it is
//! used, exclusive again for whoever wants to remove it. The kernel drops it with the last descriptor, however the
//! process ends; so a `tmp-*` that is not locked is left over, and [`Store::sweep`] removes it.
//!
//! A tree is written to disk (`syncfs`) before it is renamed to its digest: what has that name is complete, also after
//! a power loss. Two processes may unpack the same archive at once; the first to rename wins, the other removes its
//! own.

use crate::error::{Error, Fault};
use crate::index::{Index, State};
use crate::input::Hashed;
use crate::remove::remove_tree;
use crate::room::Room;
use crate::unpack::{Whiteouts, unpack};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::fs::{fchmod, flock, fremovexattr, fstat, fsync, mkdirat, open, openat, renameat, statat, syncfs};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use step::step;

/// Root file systems kept below one data directory.
#[derive(Debug)]
pub struct Store {
    roots: PathBuf,
}

/// An unpacked root file system, locked against removal.
#[derive(Debug)]
pub struct Unpacked {
    /// `sha256:` and 64 hexadecimal digits: the digest of the archive file's bytes, as they are on disk.
    pub digest: String,
    /// Where the tree is.
    pub path: PathBuf,
    /// The tree's top directory (`O_PATH`, close-on-exec).
    pub dir: OwnedFd,
    /// Holds the tree's shared lock: keep it open, in some process, for as long as the tree is used.
    pub guard: OwnedFd,
}

impl Store {
    /// The store in `data_dir`. Touches nothing yet: directories are made when the first archive is unpacked.
    ///
    /// # Errors
    /// [`Error::Absolute`] when `data_dir` is relative and there is no working directory.
    pub fn open(data_dir: &Path) -> Result<Store, Error> {
        match std::path::absolute(data_dir) {
            Ok(path) => Ok(Store { roots: path.join("roots") }),
            Err(source) => Err(Error::Absolute { path: data_dir.to_owned(), source }),
        }
    }

    /// The tree of the archive `tar`: a tar file as `docker export` and `podman export` write them, plain or compressed
    /// with gzip or zstd. It is unpacked unless its tree is kept already, and not even read when it is the very file
    /// that was read before.
    ///
    /// # Errors
    /// [`Error::Archive`] and [`Error::DiskFull`] leave nothing behind.
    pub fn archive(&self, tar: &Path) -> Result<Unpacked, Error> {
        let (file, state) = open_archive(tar)?;
        let roots = self.prepare()?;
        let index = Index::read(roots.as_fd());
        let what = || format!("look for the tree of {tar:?}");
        let found = step("find-archive", "a tree is unpacked once", what, || self.find(roots.as_fd(), &index, &state))?;
        if let Some(unpacked) = found {
            return Ok(unpacked);
        }
        if index.knows_size(&state) {
            let what = || format!("read {tar:?}");
            let digest = step("hash-archive", "it may be a copy of a known one", what, || {
                let digest = Hashed::new(&file).finish().map_err(|source| read_error(tar, source))?;
                rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))
                    .map_err(|source| read_error(tar, source.into()))?;
                unchanged(tar, &file, &state).map(|()| digest)
            })?;
            if let Some(unpacked) = self.kept(roots.as_fd(), &digest)? {
                note(roots.as_fd(), state, &digest);
                return Ok(unpacked);
            }
        }
        let what = || format!("make a directory in {:?}", self.roots);
        let mut half = step("begin-archive", "locked until it is whole", what, || HalfMade::new(self, roots.as_fd()))?;
        let what = || format!("unpack {tar:?} to {:?}", self.roots.join(&half.name));
        let digest = step("unpack-archive", "overlay needs a directory below", what, || {
            let digest = self.unpack(tar, &file, &half)?;
            unchanged(tar, &file, &state).map(|()| digest)
        })?;
        let what = || format!("keep it as {:?}", self.roots.join(directory_name(&digest)));
        let kept = step("keep-archive", "whole on disk before it has its name", what, || half.keep(&digest))?;
        note(roots.as_fd(), state, &digest);
        match kept {
            Some(unpacked) => Ok(unpacked),
            None => {
                // Another process was faster; ours goes.
                drop(half);
                self.kept(roots.as_fd(), &digest)?
                    .ok_or_else(|| Error::Lock { path: self.roots.join(directory_name(&digest)), source: Errno::NOENT })
            }
        }
    }

    /// The tree of the archive with this digest (`sha256:HEX`), if it is kept: whatever has become of the archive.
    ///
    /// # Errors
    /// When it cannot be locked.
    pub fn tree(&self, digest: &str) -> Result<Option<Unpacked>, Error> {
        match open_directory(rustix::fs::CWD, &self.roots, OFlags::RDONLY) {
            Ok(roots) => self.kept(roots.as_fd(), digest.strip_prefix("sha256:").unwrap_or(digest)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::Prepare { path: self.roots.clone(), source: error.into() }),
        }
    }

    /// The tree that is kept by a name of the caller's own, 64 hexadecimal digits; if there is none, `fill` makes it in an
    /// empty directory. Kept and removed as those of archives are.
    ///
    /// # Errors
    /// Those of `fill`, and when it cannot be kept. Nothing is left then.
    pub fn made(&self, name: &str, fill: &dyn Fn(BorrowedFd<'_>) -> Result<(), Error>) -> Result<Unpacked, Error> {
        let roots = self.prepare()?;
        if let Some(kept) = self.kept(roots.as_fd(), name)? {
            return Ok(kept);
        }
        let mut half = HalfMade::new(self, roots.as_fd())?;
        fill(half.tree.as_fd())?;
        let kept = half.keep(name)?;
        let lost = || Error::Lock { path: self.roots.join(directory_name(name)), source: Errno::NOENT };
        match kept {
            Some(kept) => Ok(kept),
            // Another process was faster, and ours is gone.
            None => self.kept(roots.as_fd(), name)?.ok_or_else(lost),
        }
    }

    /// Removes trees that were being unpacked by processes that are gone. Goes on after an error and returns them all.
    pub fn sweep(&self) -> Vec<Error> {
        let mut errors = Vec::new();
        let failed = |source| Error::Prepare { path: self.roots.clone(), source };
        let entries = match std::fs::read_dir(&self.roots) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return errors,
            Err(error) => return vec![failed(error)],
        };
        for entry in entries {
            match entry {
                Ok(entry) if entry.file_name().as_encoded_bytes().starts_with(b"tmp-") => {
                    if let Err(error) = self.sweep_one(&entry.file_name()) {
                        errors.push(error);
                    }
                }
                Ok(_) => {}
                Err(error) => errors.push(failed(error)),
            }
        }
        errors
    }

    /// Removes the trees that nobody has open, but for those that `keep` wants, by their digests. The bytes that they had
    /// on disk, and what could not be removed.
    pub fn remove_unused(&self, keep: &dyn Fn(&str) -> bool) -> (u64, Vec<Error>) {
        let (mut bytes, mut errors) = (0, Vec::new());
        let names = std::fs::read_dir(&self.roots).into_iter().flatten().flatten().map(|entry| entry.file_name());
        for (nth, name) in names.enumerate() {
            let hex = name.to_str().and_then(|name| name.strip_prefix("sha256-"));
            if hex.is_some_and(|hex| !keep(&format!("sha256:{hex}"))) {
                match self.remove_one(&name, nth) {
                    Ok(freed) => bytes += freed,
                    Err(error) => errors.push(error),
                }
            }
        }
        (bytes, errors)
    }

    /// Under a name that a sweep removes, too: whoever looks for the tree finds none, or all of it.
    fn remove_one(&self, name: &OsStr, nth: usize) -> Result<u64, Error> {
        let path = self.roots.join(name);
        let failed = |source| Error::Remove { path: path.clone(), source };
        let roots = open_directory(rustix::fs::CWD, &self.roots, OFlags::RDONLY).map_err(failed)?;
        let tree = match open_directory(roots.as_fd(), Path::new(name), OFlags::RDONLY) {
            Err(Errno::NOENT) => return Ok(0),
            tree => tree.map_err(failed)?,
        };
        match flock(&tree, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => return Ok(0),
            locked => locked.map_err(failed)?,
        }
        let what = || format!("remove {path:?}");
        step("remove-archive", "nobody uses it", what, || {
            let bytes = crate::directory_bytes(&path);
            let gone = format!("tmp-{}-removed-{nth}", std::process::id());
            renameat(&roots, name, &roots, gone.as_str()).map_err(failed)?;
            remove_tree(roots.as_fd(), OsStr::new(&gone))?;
            Ok(bytes)
        })
    }

    fn sweep_one(&self, name: &OsStr) -> Result<(), Error> {
        let path = self.roots.join(name);
        let roots = open_directory(rustix::fs::CWD, &self.roots, OFlags::PATH)
            .map_err(|error| Error::Prepare { path: self.roots.clone(), source: error.into() })?;
        let half = match open_directory(roots.as_fd(), Path::new(name), OFlags::RDONLY) {
            Ok(half) => half,
            Err(Errno::NOENT) => return Ok(()),
            Err(source) => return Err(Error::Remove { path, source }),
        };
        match flock(&half, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(()),
            Err(source) => return Err(Error::Lock { path, source }),
        }
        let what = || format!("remove {path:?}");
        step("sweep-archive", "whoever unpacked it is gone", what, || remove_tree(roots.as_fd(), name))
    }

    /// Makes the store's directory where it is missing, and opens it.
    fn prepare(&self) -> Result<OwnedFd, Error> {
        let failed = |source| Error::Prepare { path: self.roots.clone(), source };
        match open_directory(rustix::fs::CWD, &self.roots, OFlags::RDONLY) {
            Err(Errno::NOENT) => {
                let what = || format!("make {:?}", self.roots);
                step("make-roots", "where trees are kept", what, || {
                    DirBuilder::new().recursive(true).mode(0o700).create(&self.roots).map_err(failed)
                })?;
                let roots = open_directory(rustix::fs::CWD, &self.roots, OFlags::RDONLY);
                roots.map_err(|error| failed(error.into()))
            }
            done => done.map_err(|error| failed(error.into())),
        }
    }

    fn find(&self, roots: BorrowedFd<'_>, index: &Index, state: &State) -> Result<Option<Unpacked>, Error> {
        match index.digest(state) {
            Some(digest) => self.kept(roots, digest),
            None => Ok(None),
        }
    }

    /// The tree with this digest, locked, if it is kept.
    fn kept(&self, roots: BorrowedFd<'_>, digest: &str) -> Result<Option<Unpacked>, Error> {
        let name = directory_name(digest);
        let path = self.roots.join(&name);
        let failed = |source| Error::Lock { path: path.clone(), source };
        loop {
            let guard = match open_directory(roots, Path::new(&name), OFlags::RDONLY) {
                Ok(guard) => guard,
                Err(Errno::NOENT) => return Ok(None),
                Err(error) => return Err(failed(error)),
            };
            flock(&guard, FlockOperation::LockShared).map_err(failed)?;
            // Whoever held it before us may have removed it.
            if is_named(roots, &name, guard.as_fd()).map_err(failed)? {
                return self.opened(guard, digest).map(Some);
            }
        }
    }

    fn opened(&self, guard: OwnedFd, digest: &str) -> Result<Unpacked, Error> {
        let path = self.roots.join(directory_name(digest)).join("fs");
        match open_directory(guard.as_fd(), Path::new("fs"), OFlags::PATH) {
            Ok(dir) => Ok(Unpacked { digest: format!("sha256:{digest}"), path, dir, guard }),
            Err(source) => Err(Error::Prepare { path, source: source.into() }),
        }
    }

    /// Unpacks the archive; its digest.
    fn unpack(&self, tar: &Path, file: &File, half: &HalfMade<'_>) -> Result<String, Error> {
        let mut hashed = Hashed::new(file);
        let unpacked = hashed
            .archive()
            .map_err(|error| Fault::read(0, error))
            .and_then(|archive| unpack(archive, half.tree.as_fd(), Whiteouts::Keep, Room::default()));
        match unpacked {
            Ok(()) => hashed.finish().map_err(|source| read_error(tar, source)),
            Err(Fault::NoSpace { entry, written }) => {
                Err(Error::DiskFull { path: tar.to_owned(), store: self.roots.clone(), written, entry })
            }
            Err(source) => Err(Error::Archive { path: tar.to_owned(), source: Box::new(source) }),
        }
    }
}

/// A tree that is being unpacked; goes when dropped, unless it was kept.
struct HalfMade<'a> {
    store: &'a Store,
    roots: BorrowedFd<'a>,
    /// `None` once kept.
    lock: Option<OwnedFd>,
    name: String,
    tree: OwnedFd,
}

impl<'a> HalfMade<'a> {
    fn new(store: &'a Store, roots: BorrowedFd<'a>) -> Result<HalfMade<'a>, Error> {
        let (name, lock) = HalfMade::make(roots)
            .map_err(|error| Error::Prepare { path: store.roots.clone(), source: error.into() })?;
        let failed = |error: Errno| Error::Prepare { path: store.roots.join(&name), source: error.into() };
        // The directory may have inherited a group or a default access list, and would hand them on to every file.
        let made = fchmod(&lock, Mode::RWXU)
            .and_then(|()| match fremovexattr(&lock, "system.posix_acl_default") {
                Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => Ok(()),
                Err(error) => Err(error),
            })
            .and_then(|()| mkdirat(&lock, "fs", Mode::from_raw_mode(0o777)))
            .and_then(|()| open_directory(lock.as_fd(), Path::new("fs"), OFlags::RDONLY));
        match made {
            Ok(tree) => Ok(HalfMade { store, roots, lock: Some(lock), name, tree }),
            Err(error) => {
                let _ = remove_tree(roots, OsStr::new(&name));
                Err(failed(error))
            }
        }
    }

    /// Makes the directory and locks it. Between the two a sweeper may lock or even remove it: then another is made.
    fn make(roots: BorrowedFd<'_>) -> Result<(String, OwnedFd), Errno> {
        for attempt in 0u32.. {
            let name = format!("tmp-{}-{attempt}", std::process::id());
            match mkdirat(roots, &name, Mode::RWXU) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(error),
            }
            let lock = match open_directory(roots, Path::new(&name), OFlags::RDONLY) {
                Ok(lock) => lock,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error),
            };
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if is_named(roots, &name, lock.as_fd())? => return Ok((name, lock)),
                Ok(()) | Err(Errno::WOULDBLOCK) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Errno::EXIST)
    }

    /// Writes the tree to disk and gives it its name; `None` when there is one of that name already.
    fn keep(&mut self, digest: &str) -> Result<Option<Unpacked>, Error> {
        let name = directory_name(digest);
        let failed = |source| Error::Keep { path: self.store.roots.join(&name), source };
        syncfs(&self.tree).map_err(failed)?;
        match renameat(self.roots, &self.name, self.roots, &name) {
            Ok(()) => {}
            // A directory takes the place of an empty one only, and a kept tree is never empty.
            Err(Errno::EXIST | Errno::NOTEMPTY) => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        fsync(self.roots).map_err(failed)?;
        let Some(lock) = self.lock.take() else { return Ok(None) };
        // The kernel may let another take the lock in between, to remove what is not used: then it is gone.
        flock(&lock, FlockOperation::LockShared).map_err(failed)?;
        match is_named(self.roots, &name, lock.as_fd()) {
            Ok(true) => self.store.opened(lock, digest).map(Some),
            Ok(false) => Err(failed(Errno::NOENT)),
            Err(error) => Err(failed(error)),
        }
    }
}

impl Drop for HalfMade<'_> {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // What cannot be removed now is tried again, and told, by the next command's sweep.
            let what = || format!("remove {:?}", self.store.roots.join(&self.name));
            let name = OsStr::new(&self.name);
            let _ = step("abandon-archive", "it is not whole", what, || remove_tree(self.roots, name));
        }
    }
}

fn open_archive(tar: &Path) -> Result<(File, State), Error> {
    let failed = |source| Error::Open { path: tar.to_owned(), source };
    // Not blocking: a pipe without a writer would wait for ever, only to be refused.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = open(tar, flags, Mode::empty()).map_err(failed)?;
    let stat = fstat(&file).map_err(failed)?;
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok((File::from(file), State::of(&stat))),
        FileType::Directory => "a directory",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        _ => "a device",
    };
    Err(Error::NotAFile { path: tar.to_owned(), what })
}

fn open_directory(at: BorrowedFd<'_>, path: &Path, how: OFlags) -> Result<OwnedFd, Errno> {
    openat(at, path, how | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
}

/// Whether the open directory is still what `name` means.
fn is_named(roots: BorrowedFd<'_>, name: &str, directory: BorrowedFd<'_>) -> Result<bool, Errno> {
    let ours = fstat(directory)?;
    match statat(roots, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

fn directory_name(digest: &str) -> String {
    format!("sha256-{digest}")
}

fn unchanged(tar: &Path, file: &File, before: &State) -> Result<(), Error> {
    match fstat(file) {
        Ok(now) if State::of(&now) == *before => Ok(()),
        Ok(_) => Err(Error::Changed { path: tar.to_owned() }),
        Err(source) => Err(Error::Open { path: tar.to_owned(), source }),
    }
}

/// Remembers the digest of an archive. That this fails (a full disk) costs time later, and nothing else.
fn note(roots: BorrowedFd<'_>, state: State, digest: &str) {
    if state.is_settled() {
        let what = || format!("remember sha256:{digest}");
        let _ = step("note-archive", "not to read it again", what, || Index::note(roots, state, digest));
    }
}

fn read_error(tar: &Path, source: io::Error) -> Error {
    Error::Archive { path: tar.to_owned(), source: Box::new(Fault::read(0, source)) }
}
