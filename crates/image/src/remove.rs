//! Removing a tree whose content is hostile: any depth, any names, any modes, symlinks to anywhere.
//!
//! Everything goes through directory descriptors, one name at a time, and no symlink is followed, so that nothing
//! outside of the tree can be reached whatever its content or whoever changes it meanwhile. Mounts are not crossed: one
//! in the tree is an error, not emptied.
//!
//! Without recursion, and with at most [`DEPTH`] descriptors: a directory that lies deeper is first moved to the top of
//! the tree, where the walk finds it again. (Going up by `..` would need no descriptor, but `..` of a directory that
//! somebody moves leads elsewhere.) An error does not end the walk: what can be removed is, and the first error is
//! told.

use crate::error::Error;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, RenameFlags, ResolveFlags};
use rustix::fs::{chmodat, fchmod, openat2, renameat_with, unlinkat};
use rustix::io::Errno;
use std::ffi::{CStr, CString, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// How many directories are open at once.
const DEPTH: usize = 64;

/// Removes what is called `name` in `parent`: a file, or a directory with all that is in it. `name` must be one
/// component. That there is nothing of that name is no error.
///
/// # Errors
/// [`Error::Remove`] with the first thing that could not be removed; everything else is gone.
pub fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Error> {
    let failed = |source| Error::Remove { path: PathBuf::from(name), source };
    let name = CString::new(name.as_bytes()).map_err(|_| failed(Errno::INVAL))?;
    if name.is_empty() || name.as_bytes().contains(&b'/') || matches!(name.as_bytes(), b"." | b"..") {
        return Err(failed(Errno::INVAL));
    }
    match unlink(parent, &name) {
        Ok(Gone::Yes) => return Ok(()),
        Ok(Gone::IsDirectory) => {}
        Err(error) => return Err(failed(error)),
    }
    match unlinkat(parent, &name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ACCESS) => {}
        Err(error) => return Err(failed(error)),
    }
    let top = match open_directory(parent, &name) {
        Ok(fd) => Level { fd, name, found: Vec::new(), failed: false, removed: true },
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    Walk { parent, levels: vec![top], moved: 0, first_error: None }.run()
}

enum Gone {
    Yes,
    IsDirectory,
}

fn unlink(directory: BorrowedFd<'_>, name: &CStr) -> Result<Gone, Errno> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(Gone::Yes),
        Err(Errno::ISDIR) => Ok(Gone::IsDirectory),
        Err(error) => Err(error),
    }
}

/// Opens a directory for reading; one that its mode closes to us is given a mode that does not.
fn open_directory(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let open = |flags| {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        openat2(parent, name, flags | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty(), resolve)
    };
    match open(OFlags::RDONLY) {
        Err(Errno::ACCESS) => {
            // By the descriptor's own link in /proc: chmod by name would follow what the name has become.
            let fd = open(OFlags::PATH)?;
            let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
            chmodat(rustix::fs::CWD, link, Mode::RWXU, AtFlags::empty())?;
            open(OFlags::RDONLY)
        }
        done => done,
    }
}

/// Does something in a directory of the tree; when its mode forbids, changes the mode and tries again.
fn permitted<T>(directory: BorrowedFd<'_>, act: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
    match act() {
        Err(Errno::ACCESS) => fchmod(directory, Mode::RWXU).and_then(|()| act()),
        done => done,
    }
}

/// A directory that is being emptied.
struct Level {
    fd: OwnedFd,
    name: CString,
    /// Directories in it that are still to be emptied, of the part that was last read.
    found: Vec<CString>,
    /// Something in it could not be removed.
    failed: bool,
    /// Something in it was removed since it was last read from its start.
    removed: bool,
}

struct Walk<'a> {
    parent: BorrowedFd<'a>,
    /// From the tree's top down to where we are.
    levels: Vec<Level>,
    /// Counts the names given to directories that were moved to the top.
    moved: u64,
    first_error: Option<Error>,
}

impl Walk<'_> {
    fn run(mut self) -> Result<(), Error> {
        let mut buffer = vec![MaybeUninit::uninit(); 32 << 10];
        while let Some(level) = self.levels.last_mut() {
            if let Some(name) = level.found.pop() {
                self.descend(name);
                continue;
            }
            match read_some(level, &mut buffer) {
                Ok((true, errors)) => errors.into_iter().for_each(|(name, error)| self.fail(&name, error)),
                Ok((false, _)) => self.leave(),
                Err(error) => {
                    self.fail(c"", error);
                    self.leave();
                }
            }
        }
        self.first_error.map_or(Ok(()), Err)
    }

    /// Goes into a directory, or moves it to the top when we are too deep to.
    fn descend(&mut self, name: CString) {
        let depth = self.levels.len();
        let (Some(top), Some(level)) = (self.levels.first(), self.levels.last()) else { return };
        if depth < DEPTH {
            match open_directory(level.fd.as_fd(), &name) {
                Ok(fd) => self.levels.push(Level { fd, name, found: Vec::new(), failed: false, removed: true }),
                Err(Errno::NOENT) => {}
                Err(error) => self.fail(&name, error),
            }
            return;
        }
        loop {
            let new = CString::new(format!(".removing-{}", self.moved)).unwrap_or_default();
            self.moved += 1;
            let rename = || renameat_with(&level.fd, &name, &top.fd, &new, RenameFlags::NOREPLACE);
            let renamed = match permitted(top.fd.as_fd(), || permitted(level.fd.as_fd(), rename)) {
                // The directory's own mode counts, too: its `..` changes.
                Err(Errno::ACCESS) => open_directory(level.fd.as_fd(), &name)
                    .and_then(|directory| fchmod(directory, Mode::RWXU))
                    .and_then(|()| rename()),
                done => done,
            };
            match renamed {
                Ok(()) => {
                    self.levels[0].removed = true;
                    return;
                }
                Err(Errno::EXIST) => {}
                Err(error) => return self.fail(&name, error),
            }
        }
    }

    /// The current directory has been read to its end: removes it and goes up, or reads it again when something was
    /// added to it, or skipped by the file system because we removed while we read.
    fn leave(&mut self) {
        let Some(level) = self.levels.pop() else { return };
        let result = match self.levels.last() {
            _ if level.failed => Ok(()),
            Some(above) => permitted(above.fd.as_fd(), || unlinkat(&above.fd, &level.name, AtFlags::REMOVEDIR)),
            // What is above the tree is not ours to change.
            None => unlinkat(self.parent, &level.name, AtFlags::REMOVEDIR),
        };
        match result {
            Err(Errno::NOTEMPTY | Errno::EXIST) if level.removed => {
                let again = rustix::fs::seek(&level.fd, rustix::fs::SeekFrom::Start(0));
                self.levels.push(Level { removed: false, ..level });
                if let Err(error) = again {
                    self.fail(c"", error);
                }
            }
            Ok(()) | Err(Errno::NOENT) => {
                if let Some(above) = self.levels.last_mut() {
                    above.failed |= level.failed;
                    above.removed = true;
                }
            }
            Err(error) => {
                if self.levels.is_empty() {
                    let path = path_of(&[], &level.name);
                    self.first_error.get_or_insert(Error::Remove { path, source: error });
                } else {
                    self.fail(&level.name, error);
                }
            }
        }
    }

    /// Notes that `name` in the current directory cannot be removed.
    fn fail(&mut self, name: &CStr, source: Errno) {
        let path = path_of(&self.levels, name);
        self.first_error.get_or_insert(Error::Remove { path, source });
        if let Some(level) = self.levels.last_mut() {
            level.failed = true;
        }
    }
}

fn path_of(levels: &[Level], name: &CStr) -> PathBuf {
    let names = levels.iter().map(|level| level.name.as_c_str()).chain([name]);
    names.filter(|name| !name.is_empty()).map(|name| OsStr::from_bytes(name.to_bytes())).collect()
}

/// Names that could not be removed, and why.
type Failures = Vec<(CString, Errno)>;

/// Reads one buffer full of a directory: unlinks what is no directory and notes the directories. False at its end.
fn read_some(level: &mut Level, buffer: &mut [MaybeUninit<u8>]) -> Result<(bool, Failures), Errno> {
    let mut failures = Vec::new();
    let mut any = false;
    let mut entries = RawDir::new(&level.fd, buffer);
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Ok(entry) => entry,
            // A directory that is gone reads so.
            Err(Errno::NOENT) => return Ok((false, failures)),
            Err(error) => return Err(error),
        };
        any = true;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            let gone = match entry.file_type() {
                FileType::Directory => Ok(Gone::IsDirectory),
                _ => permitted(level.fd.as_fd(), || unlink(level.fd.as_fd(), name)),
            };
            match gone {
                Ok(Gone::Yes) => level.removed = true,
                Ok(Gone::IsDirectory) => level.found.push(name.to_owned()),
                Err(error) => failures.push((name.to_owned(), error)),
            }
        }
        // The next call would read on and overwrite the buffer: first go down.
        if entries.is_buffer_empty() {
            break;
        }
    }
    Ok((any, failures))
}
