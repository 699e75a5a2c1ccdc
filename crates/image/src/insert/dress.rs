//! What something that was just made gets besides its name, kind and content, always by a descriptor of itself.
//!
//! Owner first, for a change of owner takes set-user-ID bits and file capabilities away; the time last. What is given to
//! another owner than the entry's loses these bits: they were worth what the first owner is, and not more.

use crate::archive::Owners;
use crate::error::Error;
use crate::room::shown;
use crate::tar::{Entry, Kind, Time};
use crate::unpack::attributes::Keep;
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::fs::{chmodat, chownat, fchmod, fchown, fsetxattr, fstat, futimens, setxattr, utimensat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

pub(super) struct Dress {
    uid: u32,
    gid: u32,
    mode: u32,
    /// `None` leaves it.
    mtime: Option<Time>,
    xattrs: Vec<(Vec<u8>, Vec<u8>, Keep)>,
}

/// What could not be set, and why.
pub(super) struct Failure(&'static str, Errno);

impl Failure {
    pub(super) fn of(self, label: &[u8]) -> Error {
        Error::Insert { act: self.0, path: shown(label), source: self.1 }
    }

    pub(super) fn source(self) -> Errno {
        self.1
    }
}

impl Dress {
    /// What an entry says, but for the owner if there is another one.
    pub(super) fn of(entry: &Entry, owner: Option<(u32, u32)>, on_disk: Owners<'_>) -> Dress {
        let (uid, gid) = owner.unwrap_or((entry.uid, entry.gid));
        let mut mode = entry.mode & 0o7777;
        if entry.kind != Kind::Directory {
            mode &= if uid == entry.uid { 0o7777 } else { !0o4000 };
            mode &= if gid == entry.gid { 0o7777 } else { !0o2000 };
        }
        let keep = |(name, value): &(Vec<u8>, Vec<u8>)| match Keep::of(name) {
            Keep::Never => None,
            keep => Some((name.clone(), value.clone(), keep)),
        };
        let xattrs = entry.xattrs.iter().filter_map(keep).collect();
        let (uid, gid) = on_disk(uid, gid);
        Dress { uid, gid, mode, mtime: Some(entry.mtime), xattrs }
    }

    /// Of a directory that no entry speaks of.
    pub(super) fn of_implied_directory(owner: Option<(u32, u32)>, on_disk: Owners<'_>) -> Dress {
        let (uid, gid) = owner.unwrap_or_default();
        let (uid, gid) = on_disk(uid, gid);
        Dress { uid, gid, mode: 0o755, mtime: None, xattrs: Vec::new() }
    }

    /// For a file or directory that is open.
    pub(super) fn open(&self, file: BorrowedFd<'_>) -> Result<(), Failure> {
        let is = fstat(file).map_err(|e| Failure("look at", e))?;
        if (is.st_uid, is.st_gid) != (self.uid, self.gid) {
            let (uid, gid) = self.owner();
            fchown(file, uid, gid).map_err(|e| Failure("set the owner of", e))?;
        }
        fchmod(file, Mode::from_raw_mode(self.mode)).map_err(|e| Failure("set the mode of", e))?;
        for (name, value, keep) in &self.xattrs {
            accept(*keep, fsetxattr(file, OsStr::from_bytes(name), value, XattrFlags::empty()))?;
        }
        self.times().map_or(Ok(()), |times| futimens(file, &times)).map_err(|e| Failure("set the time of", e))
    }

    /// For a symlink, pipe or device, by `O_PATH`.
    pub(super) fn path(&self, thing: BorrowedFd<'_>, kind: FileType) -> Result<(), Failure> {
        let (uid, gid) = self.owner();
        chownat(thing, "", uid, gid, AtFlags::EMPTY_PATH).map_err(|e| Failure("set the owner of", e))?;
        // The descriptor's own link in /proc leads to the thing, and no further if that is a symlink.
        let link = format!("/proc/self/fd/{}", thing.as_raw_fd());
        if kind != FileType::Symlink {
            let mode = Mode::from_raw_mode(self.mode);
            chmodat(CWD, &link, mode, AtFlags::empty()).map_err(|e| Failure("set the mode of", e))?;
        }
        for (name, value, keep) in &self.xattrs {
            accept(*keep, setxattr(link.as_str(), OsStr::from_bytes(name), value, XattrFlags::empty()))?;
        }
        let set = |times: Timestamps| utimensat(CWD, &link, &times, AtFlags::empty());
        self.times().map_or(Ok(()), set).map_err(|e| Failure("set the time of", e))
    }

    fn owner(&self) -> (Option<Uid>, Option<Gid>) {
        (Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))
    }

    fn times(&self) -> Option<Timestamps> {
        let mtime = self.mtime?;
        Some(Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() },
        })
    }
}

/// Whether the outcome of setting an attribute is one to go on with.
fn accept(keep: Keep, set: Result<(), Errno>) -> Result<(), Failure> {
    match set {
        // No such attributes on this file system, or (`user.*`) on this kind of file.
        Err(Errno::NOTSUP | Errno::PERM) if keep == Keep::May => Ok(()),
        done => done.map_err(|e| Failure("set the attributes of", e)),
    }
}
