//! What `-v SOURCE:DIR:U`, `:z` and `:Z` change of a source, each time that a container is started with it: its files
//! become those of the container's user, or get an SELinux label that containers may use.
//!
//! The source may hold anything that another container has put there, so it is walked by descriptors: no symlink is
//! followed, and no other file system entered. On a host without SELinux there is nothing to label, and `z` and `Z` ask
//! for nothing, as with Docker. What a killed start has not reached the next one does.

use crate::error::Error;
use crate::options::{Relabel, Volume};
use crate::state::Id;
use crate::userns::Maps;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, XattrFlags};
use rustix::fs::{chownat, fstat, lsetxattr, openat, setxattr, statat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use step::step;

/// Deeper than this nothing is changed: each level holds a descriptor.
const DEEPEST: usize = 512;
const LABEL: &str = "security.selinux";
/// What no label of a container's belongs on. [opencontainers/selinux, checkRelabel]
const OTHERS: &[&str] = &[
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys", "/tmp",
    "/usr", "/var", "/var/lib", "/var/log",
];

/// Whether something is to be changed.
pub(crate) fn is_wanted(volume: &Volume) -> bool {
    volume.chown || (volume.relabel.is_some() && has_selinux())
}

fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// Whom the files of a volume belong to on disk that belong to this user and group in the container: where no mount maps
/// owners, that is who they are outside.
pub(crate) fn on_disk(owner: (u32, u32), volume: &Volume, maps: Option<&Maps>) -> (u32, u32) {
    match maps {
        Some(maps) if !is_mapped(volume, maps) => maps.outside(owner.0, owner.1).unwrap_or(owner),
        _ => owner,
    }
}

/// Whether a mount maps the owners of a volume: those of ours it does, and a path of the host where that is asked for.
pub(crate) fn is_mapped(volume: &Volume, maps: &Maps) -> bool {
    !maps.is_copied && (volume.idmap || volume.name.is_some())
}

/// Gives a volume that was made for the container, and into which nothing was put, to the container's user.
pub(crate) fn give_if_new(volume: &Volume, owner: Option<(u32, u32)>) -> Result<(), Error> {
    let Some((uid, gid)) = owner else { return Ok(()) };
    let give = || {
        let dir = openat(CWD, &volume.source, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let stat = fstat(&dir)?;
        let is_empty =
            Dir::read_from(&dir)?.flatten().all(|entry| matches!(entry.file_name().to_bytes(), b"." | b".."));
        if is_empty && (stat.st_uid, stat.st_gid) == (0, 0) {
            rustix::fs::fchown(&dir, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        Ok(())
    };
    give().map_err(Error::file("change the owner of", &volume.source))
}

/// Changes what is at the source of a volume, as far as that is asked for.
pub(crate) fn prepare(volume: &Volume, owner: (u32, u32), id: &Id) -> Result<(), Error> {
    let path = &volume.source;
    let top = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let top = top.map_err(Error::file("use the volume", path))?;
    if volume.chown {
        let what = || format!("give {} to {}:{}", path.display(), owner.0, owner.1);
        step("chown-volume", "the container's user shall own it", what, || walk(&top, &mut chowner(owner)))
            .map_err(Error::file("change the owner of", path))?;
    }
    if let Some(relabel) = volume.relabel.filter(|_| has_selinux()) {
        if OTHERS.iter().any(|other| path == Path::new(other)) {
            let reason = "its label is needed by the host: give a directory of its own".into();
            return Err(Error::BadValue { flag: "--volume", value: path.display().to_string(), reason });
        }
        let label = label(relabel, id);
        let what = || format!("label {} {label}", path.display());
        step("label-volume", "SELinux lets containers use it", what, || walk(&top, &mut labeller(&label)))
            .map_err(Error::file("label", path))?;
    }
    Ok(())
}

/// What is done to each: the directory that it is in, its name there, and what it is. The top's name is empty.
type Act<'a> = dyn FnMut(BorrowedFd<'_>, &CStr, &Stat) -> Result<(), Errno> + 'a;

fn chowner((uid, gid): (u32, u32)) -> impl FnMut(BorrowedFd<'_>, &CStr, &Stat) -> Result<(), Errno> {
    move |dir, name, stat| {
        if (stat.st_uid, stat.st_gid) == (uid, gid) {
            return Ok(());
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        chownat(dir, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), flags)
    }
}

fn labeller(label: &str) -> impl FnMut(BorrowedFd<'_>, &CStr, &Stat) -> Result<(), Errno> {
    let value = [label.as_bytes(), b"\0"].concat();
    move |dir, name, _| {
        let dir = format!("/proc/self/fd/{}", dir.as_raw_fd());
        let done = if name.is_empty() {
            // The link in /proc is followed, to the top itself.
            setxattr(dir, LABEL, &value, XattrFlags::empty())
        } else {
            let path = Path::new(&dir).join(std::ffi::OsStr::from_bytes(name.to_bytes()));
            lsetxattr(path, LABEL, &value, XattrFlags::empty())
        };
        // A file system without labels has one for all that is on it.
        if done == Err(Errno::NOTSUP) { Ok(()) } else { done }
    }
}

/// The label of what all containers may use, or this one alone.
fn label(relabel: Relabel, id: &Id) -> String {
    let label = "system_u:object_r:container_file_t:s0";
    match relabel {
        Relabel::Shared => label.to_owned(),
        Relabel::Private => {
            // Two of the 1024 categories, the same at each start.
            let number = |at: usize| id.as_str().get(at..at + 8).and_then(|hex| u32::from_str_radix(hex, 16).ok());
            let (one, other) = (number(0).unwrap_or_default() % 1024, number(8).unwrap_or_default() % 1024);
            let other = if one == other { (other + 1) % 1024 } else { other };
            format!("{label}:c{},c{}", one.min(other), one.max(other))
        }
    }
}

/// Acts on the top and all below it. What goes meanwhile needs nothing any more.
fn walk(top: &OwnedFd, act: &mut Act<'_>) -> Result<(), Errno> {
    let stat = fstat(top)?;
    let device = stat.st_dev;
    act(top.as_fd(), c"", &stat)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut levels = vec![Dir::new(openat(top, c".", flags, Mode::empty())?)?];
    while let Some(dir) = levels.last_mut() {
        let Some(entry) = dir.next() else {
            levels.pop();
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = match statat(dir.fd()?, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            stat => stat?,
        };
        if stat.st_dev != device {
            continue;
        }
        match act(dir.fd()?, name, &stat) {
            Err(Errno::NOENT) => continue,
            done => done?,
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            continue;
        }
        let below = match openat(dir.fd()?, name, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            below => below?,
        };
        // Something may have been mounted there since.
        if fstat(&below)?.st_dev == device {
            if levels.len() >= DEEPEST {
                return Err(Errno::NAMETOOLONG);
            }
            levels.push(Dir::new(below)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_for_all_or_for_one() {
        let id = |text: &str| Id::from_file_name(format!("{text:0<64}").as_bytes()).unwrap();
        assert_eq!(label(Relabel::Shared, &id("1")), "system_u:object_r:container_file_t:s0");
        for (digits, expected) in [
            ("0000000900000005", "c5,c9"),
            ("0000000500000005", "c5,c6"),
            ("000003ff000003ff", "c0,c1023"),
            ("0000040000000001", "c0,c1"),
        ] {
            let label = label(Relabel::Private, &id(digits));
            assert_eq!(label, format!("system_u:object_r:container_file_t:s0:{expected}"), "{digits}");
        }
    }
}
