//! The mounts of a container's list, by descriptor from end to end.
//!
//! A mount is first made detached (cloned from the host, or of a new file system), gets its attributes there, and is
//! then moved onto a target that was resolved inside the root. So no mount is ever seen with fewer restrictions than it
//! was asked to have, and a target swapped for a symlink leads nowhere outside.

use crate::error::Error;
use crate::options::{self, Options};
use crate::plan::PlannedMount;
use crate::root::{Kind, Root, is_directory, shown};
use rustix::fs::{CWD, FileType, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use rustix::process::fchdir;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use step::step;
use sys::mount::{Attributes, set_attributes};

/// The host's directory or file behind each bind mount of the list, cloned and detached, in the list's order.
///
/// Must run while the mounts of this namespace still propagate as they do on the host: a clone made now can stay a
/// peer (`rshared`) or a slave (`rslave`) of its source.
pub(crate) fn open_sources(mounts: &[PlannedMount]) -> Result<Vec<Option<OwnedFd>>, Error> {
    mounts.iter().map(open_source).collect()
}

/// As [`open_sources`], for one.
pub(crate) fn open_source(mount: &PlannedMount) -> Result<Option<OwnedFd>, Error> {
    if mount.fstype != "bind" || mount.options.remount {
        return Ok(None);
    }
    let what = || format!("clone the mount at {}", mount.source.display());
    let why = "the host's side of a volume, held before the host is out of reach";
    step("open-source", why, what, || clone_tree(&mount.source, &mount.options).map(Some))
        .map_err(|source| Error::MountSource { path: mount.source.clone(), source })
}

/// A detached copy of what is mounted at a path of the host.
fn clone_tree(path: &Path, options: &Options) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if options.recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    if options.source_nofollow || options.copy_symlink {
        flags |= OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    }
    open_tree(CWD, path, flags)
}

/// A detached copy of the mount at the bundle's root file system, with all below it.
pub(crate) fn open_root(path: &Path) -> Result<Root, Errno> {
    let options = Options { recursive: true, ..Options::default() };
    clone_tree(path, &options).map(Root::new)
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

/// Attaches the root to this mount namespace, over the host's own. A root that is to be shared becomes so later, by
/// [`share_root`]: no shared mount can be pivoted to.
pub(crate) fn attach_root(root: &Root, root_propagation: u64) -> Result<(), Error> {
    let first = if root_propagation == options::SHARED { options::PRIVATE } else { root_propagation };
    let attach = || {
        set_attributes(root.as_fd(), c"", true, propagation(first)).map_err(errno)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(root.as_fd(), c"", CWD, c"/", flags)
    };
    step("attach-root", "only a mount can become the root", || "attach the root file system".into(), attach)
        .map_err(|source| Error::Root { what: "attach the root file system", source })
}

/// Has the root, once it is this process's, pass on what is mounted in it.
pub(crate) fn share_root(root_propagation: u64) -> Result<(), Error> {
    if root_propagation != options::SHARED {
        return Ok(());
    }
    step(
        "share-root",
        "asked for by linux.rootfsPropagation",
        || "make the root a shared mount".into(),
        || set_attributes(CWD, c"/", false, propagation(options::SHARED)),
    )
    .map_err(|e| Error::Root { what: "make the root a shared mount", source: errno(e) })
}

/// As [`pivot`], where the host's root cannot be the old one: on an initramfs, which nothing can be pivoted away from.
/// The old root stays below, out of reach but for who has CAP_SYS_CHROOT and a descriptor of it.
pub(crate) fn move_root(root: &Root) -> Result<(), Error> {
    let enter = || {
        fchdir(root.as_fd())?;
        rustix::process::chroot(c".")?;
        rustix::process::chdir(c"/")
    };
    step("move-root", "asked for by --no-pivot", || "chroot to what is mounted over the old root".into(), enter)
        .map_err(|source| Error::Root { what: "change to the new root", source })
}

/// Makes a directory in the mount namespace of others the root of this process alone.
pub(crate) fn change_root(path: &Path) -> Result<(), Error> {
    let enter = || {
        rustix::process::chdir(path)?;
        rustix::process::chroot(c".")?;
        rustix::process::chdir(c"/")
    };
    step("change-root", "its mounts are those of others", || format!("chroot to {}", path.display()), enter)
        .map_err(|source| Error::Root { what: "change to the new root", source })
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
    source: Option<BorrowedFd<'_>>,
    place: &Place<'_>,
) -> Result<(), Error> {
    let (name, why) = told(&mount.fstype);
    let what = || match mount.fstype.as_str() {
        "bind" => format!("bind {} to {}", mount.source.display(), mount.target.display()),
        fstype => format!("mount {fstype} on {}", mount.target.display()),
    };
    step(name, why, what, || match (mount.fstype.as_str(), source) {
        (_, Some(source)) if mount.options.copy_symlink && is_symlink(source) => copy_symlink(root, mount),
        (_, Some(source)) => bind(root, mount, source),
        (_, None) if mount.options.remount => remount(root, mount),
        ("cgroup", None) => cgroup_tree(root, mount, place),
        (fstype, None) => new_filesystem(root, mount, fstype, place),
    })
}

/// What a mount can depend on beside its own line.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) has_cgroup_namespace: bool,
    pub(crate) cgroup: &'a cgroup::Cgroup,
    /// Whether the host's groups are on v2.
    pub(crate) is_cgroup_v2: bool,
    /// SELinux context of what has no labels of its own.
    pub(crate) label: Option<&'a str>,
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

fn bind(root: &Root, mount: &PlannedMount, source: BorrowedFd<'_>) -> Result<(), Error> {
    let failed = |source| Error::Mount { fstype: "bind".into(), target: shown(&mount.target), source };
    let kind = if is_directory(source).map_err(failed)? { Kind::Directory } else { Kind::File };
    apply(source, &mount.options).map_err(failed)?;
    let target = target(root, mount, kind)?;
    if !is_procfs(source) {
        keep_proc(target.as_fd(), &mount.target)?;
    }
    attach(source, target.as_fd()).map_err(failed)
}

/// What may be covered in /proc: what LXCFS makes for the container, and some more. [runc, libcontainer: validProcMounts]
const COVERABLE: [&str; 10] = [
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
    "sys/kernel/ns_last_pid",
    "sys/crypto/fips_enabled",
];

/// Refuses to have /proc, or what is in it, covered by something else: a program that asks the kernel there, and who
/// masks what is there, must not be told by an image or a volume. By the file system and not by the path, to which a
/// symlink in the image may lead. (CVE-2019-16884, CVE-2019-19921)
fn keep_proc(target: BorrowedFd<'_>, path: &Path) -> Result<(), Error> {
    let may_be_covered =
        || path.strip_prefix("/proc").is_ok_and(|path| COVERABLE.iter().any(|may| path == Path::new(may)));
    if !is_procfs(target) || may_be_covered() {
        return Ok(());
    }
    Err(Error::Invalid(format!("{} is in /proc, where nothing else can be mounted", shown(path).display())))
}

fn is_procfs(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstatfs(fd).is_ok_and(|fs| fs.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

fn target(root: &Root, mount: &PlannedMount, kind: Kind) -> Result<OwnedFd, Error> {
    if mount.options.target_nofollow {
        root.target_nofollow(&mount.target, kind)
    } else {
        root.target(&mount.target, kind)
    }
}

fn is_symlink(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

/// A symlink as source, made anew at the target. [crun's copy-symlink]
fn copy_symlink(root: &Root, mount: &PlannedMount) -> Result<(), Error> {
    let failed = |source| Error::Mount { fstype: "symlink".into(), target: shown(&mount.target), source };
    let link = rustix::fs::readlinkat(CWD, &mount.source, Vec::new()).map_err(failed)?;
    let name = mount.target.file_name().ok_or_else(|| failed(Errno::INVAL))?;
    let parent = root.target(mount.target.parent().unwrap_or(Path::new("/")), Kind::Directory)?;
    match rustix::fs::symlinkat(&link, &parent, name) {
        Err(Errno::EXIST) if rustix::fs::readlinkat(&parent, name, Vec::new()).is_ok_and(|there| there == link) => {
            Ok(())
        }
        done => done.map_err(failed),
    }
}

/// New attributes for what is mounted at the target.
fn remount(root: &Root, mount: &PlannedMount) -> Result<(), Error> {
    let failed = |source| Error::Mount { fstype: "remount".into(), target: shown(&mount.target), source };
    let target = root.open(&mount.target, OFlags::PATH).map_err(failed)?;
    set_recursive_and_own(target.as_fd(), &mount.options).map_err(failed)
}

/// Sets a detached mount's attributes and propagation.
pub(crate) fn apply(mount: BorrowedFd<'_>, options: &Options) -> Result<(), Errno> {
    let (kind, recursive) = options.propagation.unwrap_or((options::PRIVATE, true));
    set_attributes(mount, c"", recursive, propagation(kind)).map_err(errno)?;
    set_recursive_and_own(mount, options)
}

fn set_recursive_and_own(mount: BorrowedFd<'_>, options: &Options) -> Result<(), Errno> {
    let set = |recursive, attributes: Attributes| {
        if attributes == Attributes::default() {
            return Ok(());
        }
        set_attributes(mount, c"", recursive, attributes).map_err(errno)
    };
    set(true, options.recursive_attributes)?;
    set(false, options.attributes)
}

fn new_filesystem(root: &Root, mount: &PlannedMount, fstype: &str, place: &Place<'_>) -> Result<(), Error> {
    let mut options = mount.options.clone();
    if mount.target == Path::new("/dev") {
        // Nodes and mount points are still to be made in it: see `seal_dev`.
        options.attributes.set &= !sys::mount::RDONLY;
    }
    let context = place.label.and_then(|label| crate::labels::mount_context(label, fstype));
    options.data.extend(context.map(|label| format!("context={label}")));
    let fresh = make(fstype, &mount.source, &options, &mount.target)?;
    // A link at /proc, /sys or /dev would have the kernel's files land where the masks do not cover them, or our device
    // nodes in a volume.
    let anchored = matches!(fstype, "proc" | "sysfs") || mount.target == Path::new("/dev");
    let target =
        if anchored { root.target_without_symlinks(&mount.target)? } else { target(root, mount, Kind::Directory)? };
    if fstype != "proc" {
        keep_proc(target.as_fd(), &mount.target)?;
    }
    let failed = |source| Error::Mount { fstype: fstype.into(), target: shown(&mount.target), source };
    if mount.options.copy_up {
        crate::copyup::copy(target.as_fd(), fresh.as_fd()).map_err(failed)?;
    }
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

/// A /dev that was asked to be read-only becomes so when all that belongs into it is there.
pub(crate) fn seal_dev(root: &Root, mounts: &[PlannedMount]) -> Result<(), Error> {
    let dev = |mount: &&PlannedMount| mount.target == Path::new("/dev") && mount.fstype != "bind";
    let Some(mount) = mounts.iter().rfind(dev).filter(|m| m.options.attributes.set & sys::mount::RDONLY != 0) else {
        return Ok(());
    };
    let seal = || {
        let dev = root.open(&mount.target, OFlags::PATH)?;
        let attributes = Attributes { set: sys::mount::RDONLY, ..Attributes::default() };
        set_attributes(dev.as_fd(), c"", false, attributes).map_err(errno)
    };
    step("seal-dev", "asked for by its mount option", || "make /dev read-only".into(), seal)
        .map_err(|source| Error::Mount { fstype: mount.fstype.clone(), target: "/dev".into(), source })
}

/// The container's view of its control groups at the target: the one tree of v2, or a directory of v1 hierarchies.
///
/// With a cgroup namespace these are new mounts, whose root the kernel makes the container's own group. Without one a
/// new mount would show the whole host (and cost up to 10 ms), so on v1 the container's own groups are bound. On v2 the
/// host's tree is bound, since without the namespace /proc/self/cgroup names the group from the host's root; it is
/// writable only where the configuration leaves out `ro`. (CVE-2023-25809)
fn cgroup_tree(root: &Root, mount: &PlannedMount, place: &Place<'_>) -> Result<(), Error> {
    let failed = |source| Error::Mount { fstype: "cgroup".into(), target: shown(&mount.target), source };
    if place.is_cgroup_v2 {
        let fresh = if place.has_cgroup_namespace {
            make("cgroup2", Path::new("cgroup"), &mount.options, &mount.target)?
        } else {
            bound_group(Path::new(CGROUP_ROOT), mount).map_err(failed)?
        };
        let target = root.target(&mount.target, Kind::Directory)?;
        return attach(fresh.as_fd(), target.as_fd()).map_err(failed);
    }
    let tree = Options { data: vec!["mode=755".into(), "size=64k".into()], ..Options::default() };
    let top = make("tmpfs", Path::new("tmpfs"), &tree, &mount.target)?;
    attach(top.as_fd(), root.target(&mount.target, Kind::Directory)?.as_fd()).map_err(failed)?;
    // Only those that the container has a group in: elsewhere it would see the host's own groups.
    let paths = place.cgroup.paths();
    for controllers in place.cgroup.v1_hierarchies() {
        let dir = controllers.join(",");
        let options =
            Options { data: controllers.to_vec(), attributes: mount.options.attributes, ..Options::default() };
        let fresh = if place.has_cgroup_namespace {
            make("cgroup", Path::new("cgroup"), &options, &mount.target.join(&dir))?
        } else {
            let path = paths.get(&controllers[0]).ok_or_else(|| failed(Errno::NOENT))?;
            bound_group(path, mount).map_err(failed)?
        };
        rustix::fs::mkdirat(&top, &dir, rustix::fs::Mode::from_raw_mode(0o755)).map_err(failed)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(fresh.as_fd(), c"", &top, &dir, flags).map_err(failed)?;
        if controllers.len() > 1 {
            // Programs look for each by its own name. [systemd's /sys/fs/cgroup/cpu]
            controllers.iter().try_for_each(|name| rustix::fs::symlinkat(&dir, &top, name)).map_err(failed)?;
        }
    }
    let attributes = Attributes { set: mount.options.attributes.set, ..Attributes::default() };
    set_attributes(top.as_fd(), c"", false, attributes).map_err(|e| failed(errno(e)))
}

/// A directory of the host's control groups, cloned and with the mount's attributes.
fn bound_group(path: &Path, mount: &PlannedMount) -> Result<OwnedFd, Errno> {
    let clone = clone_tree(path, &Options::default())?;
    let mut attributes = mount.options.attributes;
    attributes.propagation = options::PRIVATE;
    set_attributes(clone.as_fd(), c"", false, attributes).map_err(errno)?;
    Ok(clone)
}

/// Where cgroup v2 is mounted on every host that uses it. [file-hierarchy(7)]
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

fn propagation(kind: u64) -> Attributes {
    Attributes { propagation: kind, ..Attributes::default() }
}

/// The kernel's error number in an [`std::io::Error`] from `sys`.
pub(crate) fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
