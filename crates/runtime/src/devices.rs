//! The nodes and links of /dev.

use crate::error::Error;
use crate::mounts::attach;
use crate::plan::Device;
use crate::root::{Kind, Root, shown};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, makedev};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use step::step;

/// Links that programs expect, beside the nodes. [runtime-spec config-linux.md "Dev symbolic links"]
const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Nodes that every container has. [runtime-spec config-linux.md "Default Devices"]
const DEFAULT: &[(&str, u32, u32)] = &[
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// What may always be opened or made: the nodes above, terminals, and the making (not the use) of any node. [runc]
const DEFAULT_RULES: &[(LinuxDeviceType, Option<i64>, Option<i64>, &str)] = &[
    (LinuxDeviceType::C, None, None, "m"),
    (LinuxDeviceType::B, None, None, "m"),
    (LinuxDeviceType::C, Some(1), Some(3), "rwm"),
    (LinuxDeviceType::C, Some(1), Some(5), "rwm"),
    (LinuxDeviceType::C, Some(1), Some(7), "rwm"),
    (LinuxDeviceType::C, Some(1), Some(8), "rwm"),
    (LinuxDeviceType::C, Some(1), Some(9), "rwm"),
    (LinuxDeviceType::C, Some(5), Some(0), "rwm"),
    (LinuxDeviceType::C, Some(5), Some(2), "rwm"),
    (LinuxDeviceType::C, Some(136), None, "rwm"),
];

/// The devices that are asked for, and the default ones whose place they leave free.
pub(crate) fn with_defaults(mut asked: Vec<Device>) -> Vec<Device> {
    let free = |path: &str| !asked.iter().any(|device| device.path == Path::new(path));
    let defaults: Vec<Device> = DEFAULT
        .iter()
        .filter(|(path, ..)| free(path))
        .map(|(path, major, minor)| Device {
            path: path.into(),
            kind: FileType::CharacterDevice,
            major: *major,
            minor: *minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        })
        .collect();
    asked.extend(defaults);
    asked
}

/// The device rules that hold in every container, whatever its configuration says before them.
pub(crate) fn default_rules() -> Vec<LinuxDeviceCgroup> {
    let rule = |(kind, major, minor, access): &(LinuxDeviceType, Option<i64>, Option<i64>, &str)| {
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(true);
        rule.set_typ(Some(*kind));
        rule.set_major(*major);
        rule.set_minor(*minor);
        rule.set_access(Some((*access).to_owned()));
        rule
    };
    DEFAULT_RULES.iter().map(rule).collect()
}

/// Makes the nodes and the links.
pub(crate) fn make(root: &Root, devices: &[Device]) -> Result<(), Error> {
    step(
        "make-devices",
        "the few devices that a container may have",
        || {
            let paths: Vec<_> = devices.iter().map(|d| d.path.display().to_string()).collect();
            format!("make {} and the usual links", paths.join(" "))
        },
        || {
            // One directory serves almost all of them, so it is looked up once.
            // No link: it could lead into a volume of the host's. (CVE-2026-41579, CVE-2026-47766)
            let dev = root.target_without_symlinks(Path::new("/dev"))?;
            devices.iter().try_for_each(|device| match make_one(root, dev.as_fd(), device) {
                // In a user namespace, or without CAP_MKNOD: the host's own is shown.
                Err(Error::Device { source: Errno::PERM, .. }) => bind_one(root, device),
                done => done,
            })?;
            make_links(dev.as_fd())
        },
    )
}

fn make_one(root: &Root, dev: BorrowedFd<'_>, device: &Device) -> Result<(), Error> {
    let failed = |source| Error::Device { path: shown(&device.path), source };
    let name = device.path.file_name().ok_or_else(|| failed(Errno::INVAL))?;
    if device.path.parent() == Some(Path::new("/dev")) {
        return node(dev, name, device).map_err(failed);
    }
    let parent = match device.path.parent().unwrap_or(Path::new("/")) {
        below if below.starts_with("/dev") => root.target_without_symlinks(below)?,
        elsewhere => root.target(elsewhere, Kind::Directory)?,
    };
    node(parent.as_fd(), name, device).map_err(failed)
}

/// Shows the host's node at the device's place, after a look whether it is that device.
fn bind_one(root: &Root, device: &Device) -> Result<(), Error> {
    let failed = |source| Error::Device { path: shown(&device.path), source };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let host = open_tree(CWD, &device.path, flags).map_err(failed)?;
    let stat = rustix::fs::fstat(&host).map_err(failed)?;
    let number = makedev(device.major, device.minor);
    if FileType::from_raw_mode(stat.st_mode) != device.kind || stat.st_rdev != number {
        return Err(failed(Errno::NODEV));
    }
    attach(host.as_fd(), root.target(&device.path, Kind::File)?.as_fd()).map_err(failed)
}

fn node(parent: BorrowedFd<'_>, name: &OsStr, device: &Device) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(device.mode);
    let number = makedev(device.major, device.minor);
    match rustix::fs::mknodat(parent, name, device.kind, mode, number) {
        Ok(()) => {}
        // A /dev that came with the root may have it already; then it must be the same thing and no link.
        Err(Errno::EXIST) => return same(parent, name, device),
        Err(errno) => return Err(errno),
    }
    if device.uid != 0 || device.gid != 0 {
        let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

fn same(parent: BorrowedFd<'_>, name: &OsStr, device: &Device) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let existing: OwnedFd = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&existing)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let number = makedev(device.major, device.minor);
    if kind == device.kind && stat.st_rdev == number { Ok(()) } else { Err(Errno::EXIST) }
}

fn make_links(dev: BorrowedFd<'_>) -> Result<(), Error> {
    for (name, target) in LINKS {
        match rustix::fs::symlinkat(*target, dev, *name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(source) => return Err(Error::Device { path: Path::new("/dev").join(name), source }),
        }
    }
    Ok(())
}

/// True when a descriptor is the null device, by its number and not by its name.
pub(crate) fn is_null(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == makedev(1, 3)
    })
}

/// A detached clone of the host's /dev/null, verified to be the null device. (CVE-2025-31133: a mask that is bound
/// from something else.)
pub(crate) fn host_null() -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let null = open_tree(CWD, c"/dev/null", flags)?;
    if !is_null(null.as_fd()) {
        return Err(Errno::NODEV);
    }
    // Read-only, which still lets the device be written to: but its mode and owner, which are the host's, stay.
    let readonly = sys::mount::Attributes { set: sys::mount::RDONLY, ..Default::default() };
    sys::mount::set_attributes(null.as_fd(), c"", false, readonly).map_err(crate::mounts::errno)?;
    Ok(null)
}
