//! The mounts of a container's list, by descriptor from end to end.
//!
//! A mount is first made detached (cloned from the host, or of a new file system), gets its attributes there, and is
//! then moved onto a target that was resolved inside the root. So no mount is ever seen with fewer restrictions than it
//! was asked to have, and a target swapped for a symlink leads nowhere outside.

use crate::error::Error;
use crate::options::{self, Options};
use crate::plan::PlannedMount;
use crate::root::{Kind, Root, is_directory, shown};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use rustix::process::fchdir;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use step::step;
use sys::fork::Namespaces;
use sys::mount::{Attributes, set_attributes};

/// The host's directory or file behind each bind mount of the list, cloned and detached, in the list's order.
///
/// Must run while the mounts of this namespace still propagate as they do on the host: a clone made now can stay a
/// peer (`rshared`) or a slave (`rslave`) of its source.
pub(crate) fn open_sources(mounts: &[PlannedMount]) -> Result<Vec<Option<OwnedFd>>, Error> {
    let open = |mount: &PlannedMount| {
        if mount.fstype != "bind" {
            return Ok(None);
        }
        step(
            "open-source",
            "the host's side of a volume, held before the host is out of reach",
            || format!("clone the mount at {}", mount.source.display()),
            || clone_tree(&mount.source, mount.options.recursive).map(Some),
        )
        .map_err(|source| Error::MountSource { path: mount.source.clone(), source })
    };
    mounts.iter().map(open).collect()
}

/// A detached copy of what is mounted at a path of the host.
fn clone_tree(path: &Path, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(CWD, path, flags)
}

/// Cuts this namespace's mounts off from the host's: nothing that happens here from now on shows there.
pub(crate) fn detach_from_host() -> Result<(), Error> {
    step(
        "private-mounts",
        "what is mounted here must not show on the host",
        || "make every mount private".into(),
        || set_attributes(CWD, c"/", true, propagation(options::PRIVATE)),
    )
    .map_err(|e| Error::Root { what: "make the mounts private", source: errno(e) })
}

/// Attaches the root to this mount namespace, over the host's own.
pub(crate) fn attach_root(root: &Root, root_propagation: u64) -> Result<(), Error> {
    let attach = || {
        set_attributes(root.as_fd(), c"", true, propagation(root_propagation)).map_err(errno)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(root.as_fd(), c"", CWD, c"/", flags)
    };
    step("attach-root", "only a mount can become the root", || "attach the root file system".into(), attach)
        .map_err(|source| Error::Root { what: "attach the root file system", source })
}

/// Makes the attached root the root of this process, and lets go of the host's.
pub(crate) fn pivot(root: &Root) -> Result<(), Error> {
    let pivot = || {
        fchdir(root.as_fd())?;
        rustix::process::pivot_root(c".", c".")?;
        // Both roots are now stacked at `.`, the old one on top: detaching it leaves only the container's.
        rustix::mount::unmount(c".", rustix::mount::UnmountFlags::DETACH)?;
        rustix::process::chdir(c"/")
    };
    step(
        "pivot-root",
        "the host's file system goes out of reach for good",
        || "pivot_root, detach the old".into(),
        pivot,
    )
    .map_err(|source| Error::Root { what: "change to the new root", source })
}

/// Makes the root read-only, without what is mounted below it.
pub(crate) fn make_root_readonly(root: &Root) -> Result<(), Error> {
    let attributes = Attributes { set: sys::mount::RDONLY, ..Attributes::default() };
    step(
        "readonly-root",
        "--read-only",
        || "make the root read-only".into(),
        || set_attributes(root.as_fd(), c"", false, attributes),
    )
    .map_err(|e| Error::Root { what: "make the root read-only", source: errno(e) })
}

/// Makes one mount of the list. `source` is what [`open_sources`] opened for it.
pub(crate) fn mount(
    root: &Root,
    mount: &PlannedMount,
    source: Option<OwnedFd>,
    namespaces: Namespaces,
    cgroup: &cgroup::Cgroup,
) -> Result<(), Error> {
    let (name, why) = told(&mount.fstype);
    let what = || match mount.fstype.as_str() {
        "bind" => format!("bind {} to {}", mount.source.display(), mount.target.display()),
        fstype => format!("mount {fstype} on {}", mount.target.display()),
    };
    step(name, why, what, || match (mount.fstype.as_str(), source) {
        (_, Some(source)) => bind(root, mount, source),
        ("cgroup", None) => cgroup_tree(root, mount, namespaces, cgroup),
        (fstype, None) => new_filesystem(root, mount, fstype),
    })
}

/// Name of the step and its reason, by file system.
fn told(fstype: &str) -> (&'static str, &'static str) {
    match fstype {
        "proc" => ("mount-proc", "ps and /proc show only the container's processes"),
        "sysfs" => ("mount-sys", "the network devices seen are the container's own"),
        "devpts" => ("mount-devpts", "terminals of its own"),
        "mqueue" => ("mount-mqueue", "POSIX message queues of its own"),
        "cgroup" | "cgroup2" => ("mount-cgroup", "programs read their limits here"),
        "tmpfs" => ("mount-tmpfs", "memory-backed, gone with the container"),
        "bind" => ("bind-volume", "asked for by -v or --mount"),
        _ => ("mount-other", "asked for by the configuration"),
    }
}

fn bind(root: &Root, mount: &PlannedMount, source: OwnedFd) -> Result<(), Error> {
    let failed = |source| Error::Mount { fstype: "bind".into(), target: shown(&mount.target), source };
    let kind = if is_directory(source.as_fd()).map_err(failed)? { Kind::Directory } else { Kind::File };
    apply(source.as_fd(), &mount.options).map_err(failed)?;
    let target = root.target(&mount.target, kind)?;
    attach(source.as_fd(), target.as_fd()).map_err(failed)
}

/// Sets a detached mount's attributes and propagation.
fn apply(mount: BorrowedFd<'_>, options: &Options) -> Result<(), Errno> {
    let set = |recursive, attributes: Attributes| {
        if attributes == Attributes::default() {
            return Ok(());
        }
        set_attributes(mount, c"", recursive, attributes).map_err(errno)
    };
    let (kind, recursive) = options.propagation.unwrap_or((options::PRIVATE, true));
    set(recursive, propagation(kind))?;
    set(true, options.recursive_attributes)?;
    set(false, options.attributes)
}

fn new_filesystem(root: &Root, mount: &PlannedMount, fstype: &str) -> Result<(), Error> {
    let fresh = make(fstype, &mount.source, &mount.options, &mount.target)?;
    // A link at /proc, /sys or /dev would have the kernel's files land where the masks do not cover them, or our device
    // nodes in a volume.
    let anchored = matches!(fstype, "proc" | "sysfs") || mount.target == Path::new("/dev");
    let target = if anchored {
        root.target_without_symlinks(&mount.target)?
    } else {
        root.target(&mount.target, Kind::Directory)?
    };
    let failed = |source| Error::Mount { fstype: fstype.into(), target: shown(&mount.target), source };
    attach(fresh.as_fd(), target.as_fd()).map_err(failed)?;
    if let Some((kind, recursive)) = mount.options.propagation {
        set_attributes(fresh.as_fd(), c"", recursive, propagation(kind)).map_err(|e| failed(errno(e)))?;
    }
    if anchored {
        root.anchor(&mount.target, fresh);
    }
    Ok(())
}

/// A new, detached mount of a file system.
pub(crate) fn make(fstype: &str, source: &Path, options: &Options, target: &Path) -> Result<OwnedFd, Error> {
    let failed = |source| Error::Mount { fstype: fstype.into(), target: shown(target), source };
    let fs = fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed)?;
    if !source.as_os_str().is_empty() {
        fsconfig_set_string(&fs, c"source", source).map_err(failed)?;
    }
    for option in &options.data {
        let set = match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(&fs, key, value),
            None => fsconfig_set_flag(&fs, option),
        };
        set.map_err(|source| Error::MountOption {
            fstype: fstype.into(),
            target: shown(target),
            option: option.clone(),
            source,
        })?;
    }
    fsconfig_create(&fs).map_err(failed)?;
    let attributes = options.attributes.set | options.recursive_attributes.set;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::from_bits_retain(attributes as u32)).map_err(failed)
}

/// Moves a detached mount onto an open target.
pub(crate) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", target, c"", flags)
}

/// The container's view of its control groups at the target: the one tree of v2, or a directory of v1 hierarchies.
fn cgroup_tree(
    root: &Root,
    mount: &PlannedMount,
    namespaces: Namespaces,
    cgroup: &cgroup::Cgroup,
) -> Result<(), Error> {
    // Without a cgroup namespace a new cgroup mount shows the whole host, and costs up to 10 ms. (CVE-2023-25809)
    if !namespaces.contains(Namespaces::CGROUP) {
        return Err(Error::Unsupported("a cgroup mount without a cgroup namespace".into()));
    }
    let failed = |source| Error::Mount { fstype: "cgroup".into(), target: shown(&mount.target), source };
    if cgroup.is_v2() {
        let fresh = make("cgroup2", Path::new("cgroup"), &mount.options, &mount.target)?;
        let target = root.target(&mount.target, Kind::Directory)?;
        return attach(fresh.as_fd(), target.as_fd()).map_err(failed);
    }
    let tree = Options { data: vec!["mode=755".into(), "size=64k".into()], ..Options::default() };
    let top = make("tmpfs", Path::new("tmpfs"), &tree, &mount.target)?;
    attach(top.as_fd(), root.target(&mount.target, Kind::Directory)?.as_fd()).map_err(failed)?;
    // Only those that the container has a group in: elsewhere it would see the host's own groups.
    for controllers in cgroup.v1_hierarchies() {
        let dir = controllers.join(",");
        let options =
            Options { data: controllers.to_vec(), attributes: mount.options.attributes, ..Options::default() };
        let fresh = make("cgroup", Path::new("cgroup"), &options, &mount.target.join(&dir))?;
        rustix::fs::mkdirat(&top, &dir, rustix::fs::Mode::from_raw_mode(0o755)).map_err(failed)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(fresh.as_fd(), c"", &top, &dir, flags).map_err(failed)?;
    }
    let attributes = Attributes { set: mount.options.attributes.set, ..Attributes::default() };
    set_attributes(top.as_fd(), c"", false, attributes).map_err(|e| failed(errno(e)))
}

fn propagation(kind: u64) -> Attributes {
    Attributes { propagation: kind, ..Attributes::default() }
}

/// The kernel's error number in an [`std::io::Error`] from `sys`.
pub(crate) fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
