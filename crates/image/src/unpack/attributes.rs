//! Owner, mode, extended attributes and times of what was unpacked.
//!
//! The order matters: a change of owner takes setuid bits and file capabilities away, so it comes first; a write
//! changes the time, so that comes last. A call that would change nothing is left out: most files of a root are root's,
//! with a mode that the umask leaves alone, and then cost one call here.

use crate::error::Fault;
use crate::room::{Room, shown};
use crate::tar::{Entry, Time};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::{AtFlags, FileType, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::fs::{chmodat, chownat, fchmod, fchown, fsetxattr, fstat, futimens, lsetxattr, utimensat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// What an entry gets besides its name, kind and content.
pub(super) struct Attributes {
    pub(super) mode: u32,
    uid: u32,
    gid: u32,
    /// `None` leaves it.
    mtime: Option<Time>,
    xattrs: Vec<(Vec<u8>, Vec<u8>, Keep)>,
}

/// What becomes of an extended attribute that an archive asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Set, or the archive is not unpacked: a program that loses its capabilities would fail later, and puzzle.
    Must,
    /// Set where the file system has such attributes and allows them on this kind of file.
    May,
    /// Not set: `trusted.*` (overlayfs keeps its redirects and opaque marks there, and an archive must not make any),
    /// `user.overlay.*` (the same, without privileges), `security.*` but capabilities (labels are the host's to give).
    Never,
}

impl Keep {
    pub(crate) fn of(name: &[u8]) -> Keep {
        match name {
            b"security.capability" => Keep::Must,
            b"system.posix_acl_access" | b"system.posix_acl_default" => Keep::May,
            name if name.starts_with(b"user.overlay.") => Keep::Never,
            name if name.starts_with(b"user.") && !name.contains(&0) => Keep::May,
            _ => Keep::Never,
        }
    }
}

/// True for an attribute that is set when an archive asks for it: what a tar of ours has, too.
pub(crate) fn is_kept(name: &[u8]) -> bool {
    Keep::of(name) != Keep::Never
}

impl Attributes {
    pub(super) fn of(entry: &Entry) -> Attributes {
        let keep = |(name, value): &(Vec<u8>, Vec<u8>)| match Keep::of(name) {
            Keep::Never => None,
            keep => Some((name.clone(), value.clone(), keep)),
        };
        Attributes {
            mode: entry.mode & 0o7777,
            uid: entry.uid,
            gid: entry.gid,
            mtime: Some(entry.mtime),
            xattrs: entry.xattrs.iter().filter_map(keep).collect(),
        }
    }

    /// Of a directory that no entry speaks of.
    pub(super) fn of_implied_directory() -> Attributes {
        Attributes { mode: 0o755, uid: 0, gid: 0, mtime: None, xattrs: Vec::new() }
    }

    fn times(&self) -> Option<Timestamps> {
        let mtime = self.mtime?;
        Some(Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() },
        })
    }
}

/// An attribute that could not be set.
pub(super) enum Failed {
    Act(&'static str, Errno),
    Xattr(Vec<u8>, Errno),
}

impl Failed {
    pub(super) fn of(self, label: &[u8], room: &Room) -> Fault {
        match self {
            Failed::Act(act, error) => room.fault(act, label, error),
            Failed::Xattr(name, source) => Fault::Xattr { entry: shown(label), name: shown(&name), source },
        }
    }
}

/// Sets attributes, and knows what files get without it.
pub(super) struct Maker {
    uid: u32,
    gid: u32,
    umask: u32,
    /// There is no other owner than who unpacks: all files become theirs.
    has_one_owner: bool,
}

impl Maker {
    /// Learns from `root` what new files get: a directory just made by this process with mode 0777.
    pub(super) fn new(root: BorrowedFd<'_>) -> Result<Maker, Errno> {
        // Asking for the umask means setting it, for all threads, if only for a moment; the directory tells it too.
        let made = fstat(root)?;
        Ok(Maker {
            uid: made.st_uid,
            gid: made.st_gid,
            umask: !made.st_mode & 0o777,
            has_one_owner: sys::namespace::has_one_id(),
        })
    }

    /// Owner, or `None` when a new file has it anyway.
    fn owner(&self, to: &Attributes) -> Option<(Option<Uid>, Option<Gid>)> {
        let other = !self.has_one_owner && (to.uid, to.gid) != (self.uid, self.gid);
        other.then(|| (Some(Uid::from_raw(to.uid)), Some(Gid::from_raw(to.gid))))
    }

    /// True when a file made with the lower nine bits of `mode` does not have it yet.
    fn differs(&self, mode: u32) -> bool {
        mode & (0o7000 | self.umask) != 0
    }

    /// Of an open file or directory.
    pub(super) fn dress_open(&self, file: BorrowedFd<'_>, kind: FileType, to: &Attributes) -> Result<(), Failed> {
        if let Some((uid, gid)) = self.owner(to) {
            fchown(file, uid, gid).map_err(|e| Failed::Act("set the owner of", e))?;
        }
        if kind == FileType::Directory || self.differs(to.mode) {
            fchmod(file, Mode::from_raw_mode(to.mode)).map_err(|e| Failed::Act("set the mode of", e))?;
        }
        for (name, value, keep) in &to.xattrs {
            let set = fsetxattr(file, OsStr::from_bytes(name), value, XattrFlags::empty());
            accept(name, *keep, set)?;
        }
        if let Some(times) = to.times() {
            futimens(file, &times).map_err(|e| Failed::Act("set the time of", e))?;
        }
        Ok(())
    }

    /// Of a symlink, pipe or device just made, which is never opened.
    pub(super) fn dress_named(
        &self,
        directory: BorrowedFd<'_>,
        name: &[u8],
        kind: FileType,
        to: &Attributes,
    ) -> Result<(), Failed> {
        let at_name = OsStr::from_bytes(name);
        if let Some((uid, gid)) = self.owner(to) {
            chownat(directory, at_name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|e| Failed::Act("set the owner of", e))?;
        }
        // A symlink has no mode. Of the others fchmodat follows no link: we have just made the name, and it is none.
        if kind != FileType::Symlink && self.differs(to.mode) {
            chmodat(directory, at_name, Mode::from_raw_mode(to.mode), AtFlags::empty())
                .map_err(|e| Failed::Act("set the mode of", e))?;
        }
        for (attribute, value, keep) in &to.xattrs {
            // There is no call that takes a directory and a name before Linux 6.13; the directory's own link in /proc
            // leads to it whatever its path is.
            let path = [format!("/proc/self/fd/{}/", directory.as_fd().as_raw_fd()).as_bytes(), name].concat();
            let set = lsetxattr(OsStr::from_bytes(&path), OsStr::from_bytes(attribute), value, XattrFlags::empty());
            accept(attribute, *keep, set)?;
        }
        if let Some(times) = to.times() {
            utimensat(directory, at_name, &times, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|e| Failed::Act("set the time of", e))?;
        }
        Ok(())
    }
}

/// Whether the outcome of setting an attribute is one to go on with.
fn accept(name: &[u8], keep: Keep, set: Result<(), Errno>) -> Result<(), Failed> {
    match set {
        // No such attributes on this file system, or (`user.*`) on this kind of file.
        Err(Errno::NOTSUP | Errno::PERM) if keep == Keep::May => Ok(()),
        Err(error) => Err(Failed::Xattr(name.to_vec(), error)),
        Ok(()) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_that_overlayfs_or_the_host_act_on_are_dropped() {
        let table = [
            ("security.capability", Keep::Must),
            ("user.mime_type", Keep::May),
            ("user.overlayed", Keep::May),
            ("system.posix_acl_access", Keep::May),
            ("trusted.overlay.opaque", Keep::Never),
            ("trusted.overlay.redirect", Keep::Never),
            ("trusted.overlay.overlay.opaque", Keep::Never),
            ("trusted.md.x", Keep::Never),
            ("user.overlay.opaque", Keep::Never),
            ("user.overlay.overlay.redirect", Keep::Never),
            ("security.selinux", Keep::Never),
            ("security.ima", Keep::Never),
            ("system.nfs4_acl", Keep::Never),
            ("unheard.of", Keep::Never),
        ];
        for (name, expected) in table {
            assert_eq!(Keep::of(name.as_bytes()), expected, "{name}");
        }
    }
}
