//! Maps of user and group ids: of a user namespace, and of a mount.
//!
//! A map is checked by the kernel's own rules before anything is made ([`parse`]), and written by the tool into
//! /proc/PID/uid_map and gid_map of a process that was cloned into a new user namespace ([`write_maps`]): once, by the
//! parent, before the child goes on. Who may write what: with CAP_SETUID and CAP_SETGID any map; without, a map of
//! one's own single id, and of the group's only after `setgroups` was denied for ever (CVE-2014-8989); and for more
//! the two set-uid programs newuidmap and newgidmap, which look into /etc/subuid and /etc/subgid. Those are the only
//! programs that this crate starts besides hooks. [user_namespaces(7), newuidmap(1)]
//!
//! A mount is mapped by a user namespace that nobody lives in ([`user_namespace`]): the process that it is made with
//! is gone when the function returns, and the descriptor alone keeps it. Nothing is left on the host.

use crate::error::Error;
use crate::procfs::Procfs;
use oci_spec::runtime::{Capability, LinuxIdMapping};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use step::step;
use sys::fork::{Namespaces, Side, clone_into};

/// One range of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// First id inside.
    pub container: u32,
    /// First id outside.
    pub host: u32,
    /// How many.
    pub size: u32,
}

/// The kernel takes no more ranges. [kernel/user_namespace.c: UID_GID_MAP_MAX_EXTENTS]
const MOST_RANGES: usize = 340;

/// Checks a list of ranges. An empty list is an empty map.
pub(crate) fn parse(mappings: &[LinuxIdMapping]) -> Result<Vec<IdMap>, Error> {
    let invalid = |why: String| Err(Error::Invalid(format!("an id mapping {why}")));
    if mappings.len() > MOST_RANGES {
        return invalid(format!("of {} ranges: the kernel takes {MOST_RANGES}", mappings.len()));
    }
    let maps: Vec<IdMap> =
        mappings.iter().map(|m| IdMap { container: m.container_id(), host: m.host_id(), size: m.size() }).collect();
    for map in &maps {
        let IdMap { container, host, size } = *map;
        if size == 0 {
            return invalid(format!("has the size 0 ({})", line(map)));
        }
        // The last id of all stands for "none" in the kernel.
        if container.checked_add(size).is_none() || host.checked_add(size).is_none() {
            return invalid(format!("goes beyond the last id ({})", line(map)));
        }
    }
    for (nth, one) in maps.iter().enumerate() {
        for other in &maps[nth + 1..] {
            let meet = |a: u32, b: u32| a < b + other.size && b < a + one.size;
            if meet(one.container, other.container) || meet(one.host, other.host) {
                return invalid(format!("overlaps another ({} and {})", line(one), line(other)));
            }
        }
    }
    Ok(maps)
}

/// A range as the kernel reads it.
fn line(map: &IdMap) -> String {
    format!("{} {} {}", map.container, map.host, map.size)
}

/// Writes the maps of the user namespace of a child that the caller has cloned into a new one, once: with the programs
/// newuidmap and newgidmap where the caller may not do it.
///
/// # Errors
/// When a program is missing, or refuses.
pub fn map_ids(pid: i32, uid: &[IdMap], gid: &[IdMap]) -> Result<(), Error> {
    write_maps(&Procfs::host()?, pid, uid, gid)
}

/// Writes the maps of the new user namespace that the process `pid`, a child of ours, was cloned into.
pub(crate) fn write_maps(proc: &Procfs, pid: i32, uid: &[IdMap], gid: &[IdMap]) -> Result<(), Error> {
    let told = |maps: &[IdMap]| maps.iter().map(line).collect::<Vec<_>>().join(", ");
    let what = || format!("map the user ids {} and the group ids {}", told(uid), told(gid));
    step("write-id-maps", "root in the container is somebody else on the host", what, || {
        let failed = |source: Errno| Error::IdMap { what: "read the capabilities".into(), source: source.into() };
        let ours = rustix::thread::capabilities(None).map_err(failed)?.effective.bits();
        let may = |capability| ours & crate::capabilities::bit(capability) != 0;
        let own = rustix::process::geteuid().as_raw();
        write_map(proc, pid, "uid_map", uid, may(Capability::Setuid), own)?;
        let own = rustix::process::getegid().as_raw();
        write_map(proc, pid, "gid_map", gid, may(Capability::Setgid), own)
    })
}

fn write_map(proc: &Procfs, pid: i32, file: &str, maps: &[IdMap], privileged: bool, own: u32) -> Result<(), Error> {
    if maps.is_empty() {
        return Ok(());
    }
    if !privileged && !matches!(maps, [IdMap { host, size: 1, .. }] if *host == own) {
        let helper = if file == "uid_map" { "newuidmap" } else { "newgidmap" };
        return run_helper(helper, pid, maps);
    }
    if !privileged && file == "gid_map" {
        write(proc, pid, "setgroups", "deny")?;
    }
    // One write: the kernel takes a map once and whole.
    let text: String = maps.iter().map(|map| line(map) + "\n").collect();
    write(proc, pid, file, &text)
}

fn write(proc: &Procfs, pid: i32, file: &str, text: &str) -> Result<(), Error> {
    let write = || {
        let file = proc.open(&format!("{pid}/{file}"), OFlags::WRONLY)?;
        rustix::io::write(&file, text.as_bytes()).map(drop)
    };
    write().map_err(|source| {
        let text = text.trim_end().replace('\n', ", ");
        Error::IdMap { what: format!("write {text:?} to {file}"), source: source.into() }
    })
}

/// What may be mapped for an ordinary user, only a set-uid program can map.
fn run_helper(helper: &str, pid: i32, maps: &[IdMap]) -> Result<(), Error> {
    let numbers = maps.iter().flat_map(|map| [map.container, map.host, map.size]).map(|n| n.to_string());
    let ran = Command::new(helper).arg(pid.to_string()).args(numbers).stdin(Stdio::null()).output();
    let failed = |source| Error::IdMap { what: format!("run {helper}"), source };
    match ran {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
            Err(failed(io::Error::other(if said.is_empty() { output.status.to_string() } else { said })))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::Host {
            what: "map more than one's own id without privileges".into(),
            lacks: format!("has no {helper} in PATH (it comes with the package uidmap or shadow)"),
        }),
        Err(error) => Err(failed(error)),
    }
}

/// A user namespace with these maps, in which there is no process: for [`map_mount`].
///
/// The caller must be single-threaded, as for every clone.
///
/// # Errors
/// When the kernel refuses the namespace, or the maps.
pub fn new_user_namespace(uid: &[IdMap], gid: &[IdMap]) -> Result<OwnedFd, Error> {
    user_namespace(&Procfs::host()?, uid, gid)
}

/// A user namespace with these maps, in which there is no process.
///
/// The caller must be single-threaded, as for every clone.
pub(crate) fn user_namespace(proc: &Procfs, uid: &[IdMap], gid: &[IdMap]) -> Result<OwnedFd, Error> {
    step(
        "make-user-namespace",
        "a mount's owners are mapped by one",
        || "clone into it and leave".into(),
        || {
            let failed = |what: &str| {
                let what = what.to_owned();
                |source: Errno| Error::IdMap { what, source: source.into() }
            };
            let (from, to) = pipe_with(PipeFlags::CLOEXEC).map_err(failed("make a pipe"))?;
            let (pid, pidfd) = match clone_into(Namespaces::USER, None).map_err(Error::Clone)? {
                Side::Child => {
                    drop(to);
                    // Until it is killed, or until the tool is gone and with it the other end.
                    let _ = rustix::io::read(&from, &mut [0u8; 1]);
                    sys::fork::exit_now(0)
                }
                Side::Parent { pid, pidfd } => (pid, pidfd),
            };
            let made = write_maps(proc, pid, uid, gid)
                .and_then(|()| proc.namespace(pid, "user").map_err(failed("open the new user namespace")));
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            while let Err(Errno::INTR) = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {}
            drop(to);
            made
        },
    )
}

/// The maps of a user namespace, of users and of groups, with the ids outside as this process has them. The kernel shows
/// them for a process only, so one goes in, is looked at, and ends.
///
/// The caller must be single-threaded, as for every clone.
///
/// # Errors
/// When this process may not enter it.
pub fn maps_of_namespace(namespace: BorrowedFd<'_>) -> Result<[Vec<IdMap>; 2], Error> {
    let failed = |what: &str| {
        let what = what.to_owned();
        |source: io::Error| Error::IdMap { what, source }
    };
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed("make a pipe")(errno.into()));
    let ((from, to), (answer, say)) = (pipe()?, pipe()?);
    let (pid, pidfd) = match clone_into(Namespaces::default(), None).map_err(Error::Clone)? {
        Side::Child => {
            drop((to, answer));
            let errno = match sys::fork::enter(namespace, Namespaces::USER) {
                Ok(()) => 0,
                Err(error) => error.raw_os_error().unwrap_or(i32::MAX),
            };
            let _ = rustix::io::write(&say, &errno.to_ne_bytes());
            let _ = rustix::io::read(&from, &mut [0u8; 1]);
            sys::fork::exit_now(0)
        }
        Side::Parent { pid, pidfd } => (pid, pidfd),
    };
    drop(say);
    let read = || -> Result<[Vec<IdMap>; 2], Error> {
        let mut errno = [0; 4];
        match rustix::io::read(&answer, &mut errno) {
            Ok(4) if errno == [0; 4] => {}
            Ok(4) => return Err(failed("enter it")(io::Error::from_raw_os_error(i32::from_ne_bytes(errno)))),
            _ => return Err(Error::Vanished),
        }
        let map = |file: &str| -> Result<Vec<IdMap>, Error> {
            let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).map_err(failed("read its map"))?;
            Ok(text.lines().filter_map(read_line).collect())
        };
        Ok([map("uid_map")?, map("gid_map")?])
    };
    let maps = read();
    let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    while let Err(Errno::INTR) = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {}
    drop(to);
    maps
}

/// A range as the kernel writes it.
fn read_line(text: &str) -> Option<IdMap> {
    let [container, host, size] = text.split_whitespace().collect::<Vec<_>>()[..] else { return None };
    Some(IdMap { container: container.parse().ok()?, host: host.parse().ok()?, size: size.parse().ok()? })
}

/// Maps the owners of a detached mount, and with `recursive` of what is mounted under it, by a user namespace.
/// `target` is where it will be, for the error.
///
/// # Errors
/// [`Error::Host`] where the kernel cannot do it on this file system.
pub fn map_mount(
    mount: BorrowedFd<'_>,
    recursive: bool,
    namespace: BorrowedFd<'_>,
    target: &Path,
) -> Result<(), Error> {
    let what = || format!("map the owners of the mount at {}", target.display());
    let act = || sys::mount::idmap(mount, recursive, namespace);
    step("map-mount", "its files belong to the container's users", what, act).map_err(|source| {
        match Errno::from_io_error(&source) {
            Some(Errno::INVAL) => {
                let fstype = fstype_of(mount);
                let under = if recursive { ", or one below it" } else { "" };
                Error::Host { what: what(), lacks: format!("has a kernel that cannot do it on {fstype}{under}") }
            }
            _ => Error::IdMap { what: what(), source },
        }
    })
}

/// The file system's name, of those that people have, or its number. [linux/magic.h]
fn fstype_of(mount: BorrowedFd<'_>) -> String {
    let Ok(stat) = rustix::fs::fstatfs(mount) else { return "its file system".into() };
    let name = match stat.f_type as u32 {
        0x6969 => "nfs",
        0x6573_5546 => "fuse",
        0x794c_7630 => "overlay",
        0x0102_1994 => "tmpfs",
        0x8584_58f6 => "ramfs",
        0x9fa0 => "proc",
        0x6265_6572 => "sysfs",
        0x6367_7270 => "cgroup2",
        0x0027_e0eb => "cgroup",
        0xff53_4d42 | 0xfe53_4d42 => "cifs",
        0x0102_1997 => "9p",
        0x00c3_6400 => "ceph",
        0x2fc1_2fc1 => "zfs",
        0x7371_7368 => "squashfs",
        other => return format!("a file system of the type {other:#x}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{in_child, is_root, need};
    use rustix::fs::{CWD, Mode};
    use rustix::mount::{OpenTreeFlags, open_tree};

    /// Inside, outside, how many.
    type Range = (u32, u32, u32);

    fn mappings(ranges: &[Range]) -> Vec<LinuxIdMapping> {
        let of = |(container, host, size): &Range| {
            let value = serde_json::json!({"containerID": container, "hostID": host, "size": size});
            serde_json::from_value(value).unwrap()
        };
        ranges.iter().map(of).collect()
    }

    fn maps(ranges: &[Range]) -> Vec<IdMap> {
        parse(&mappings(ranges)).unwrap()
    }

    #[test]
    fn ranges() {
        let table: &[(&[Range], Option<&str>)] = &[
            (&[], None),
            (&[(0, 1000, 1)], None),
            (&[(0, 1000, 1), (1, 100_000, 65_536)], None),
            (&[(0, 0, u32::MAX)], None),
            (&[(0, 0, 0)], Some("size 0")),
            (&[(1, 0, u32::MAX)], Some("beyond the last id")),
            (&[(0, 1, u32::MAX)], Some("beyond the last id")),
            (&[(u32::MAX, 0, 1)], Some("beyond the last id")),
            (&[(0, 100, 10), (9, 200, 10)], Some("overlaps")),
            (&[(0, 100, 10), (10, 109, 10)], Some("overlaps")),
            (&[(0, 100, 10), (10, 110, 10)], None),
            (&[(5, 100, 1), (0, 200, 10)], Some("overlaps")),
        ];
        for (ranges, expected) in table {
            let said = parse(&mappings(ranges)).err().map(|e| e.to_string());
            assert_eq!(said.is_some(), expected.is_some(), "{ranges:?}: {said:?}");
            assert!(said.is_none_or(|said| said.contains(expected.unwrap())), "{ranges:?}");
        }
        let many = |n: u32| mappings(&(0..n).map(|id| (id, id, 1)).collect::<Vec<_>>());
        assert_eq!(parse(&many(340)).unwrap().len(), 340);
        assert!(parse(&many(341)).unwrap_err().to_string().contains("341"));
    }

    #[test]
    fn the_kernel_has_340_ranges_and_no_process_stays() {
        if !is_root("the_kernel_has_340_ranges_and_no_process_stays") {
            return;
        }
        in_child(|| {
            let proc = Procfs::host().unwrap();
            let many: Vec<_> = (0..340).map(|id| (id, 10_000 + 2 * id, 1)).collect();
            let namespace = user_namespace(&proc, &maps(&many), &maps(&[(0, 5, 1)])).unwrap();
            assert_ne!(
                rustix::fs::fstat(&namespace).unwrap().st_ino,
                rustix::fs::fstat(proc.own_namespace(&proc.own().unwrap(), "user").unwrap()).unwrap().st_ino,
            );
            let none = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
            assert_eq!(none.map(|_| ()), Err(Errno::CHILD), "a child is left");
        });
    }

    #[test]
    fn an_ordinary_user_maps_itself_and_needs_a_helper_for_more() {
        if !is_root("an_ordinary_user_maps_itself_and_needs_a_helper_for_more") {
            return;
        }
        in_child(|| {
            let (uid, gid) = (rustix::process::Uid::from_raw(1234), rustix::process::Gid::from_raw(2345));
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            // The change of user has made this process, and its /proc files, root's.
            rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable).unwrap();
            let proc = Procfs::host().unwrap();
            user_namespace(&proc, &maps(&[(0, 1234, 1)]), &maps(&[(0, 2345, 1)])).unwrap();
            let said = |uid: &[Range], gid: &[Range]| {
                user_namespace(&proc, &maps(uid), &maps(gid)).map(drop).unwrap_err().to_string()
            };
            let more = [(0, 1234, 1), (1, 100_000, 65_536)];
            let error = said(&more, &[(0, 2345, 1)]);
            let absent = error.contains("has no newuidmap in PATH");
            assert!(absent || error.contains("run newuidmap"), "{error}");
            // Somebody else's single id is more, too.
            let error = said(&[(0, 1234, 1)], &[(0, 2346, 1)]);
            assert!(error.contains("newgidmap"), "{error}");
        });
    }

    #[test]
    fn owners_of_a_mount_are_mapped_and_a_file_system_that_cannot_is_named() {
        if !is_root("owners_of_a_mount_are_mapped") {
            return;
        }
        let dir = std::env::temp_dir().join(format!("mycontainer-idmap-mount-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("file"), "").unwrap();
        in_child(|| {
            let proc = Procfs::host().unwrap();
            let namespace = user_namespace(&proc, &maps(&[(0, 10_000, 10)]), &maps(&[(0, 20_000, 10)])).unwrap();
            let clone = |path: &Path| {
                let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
                open_tree(CWD, path, flags).unwrap()
            };
            let mount = clone(&dir);
            match map_mount(mount.as_fd(), false, namespace.as_fd(), Path::new("/data")) {
                Ok(()) => {
                    let file = rustix::fs::openat(&mount, "file", OFlags::RDONLY, Mode::empty()).unwrap();
                    let stat = rustix::fs::fstat(&file).unwrap();
                    assert_eq!((stat.st_uid, stat.st_gid), (10_000, 20_000));
                }
                Err(error) => {
                    let text = error.to_string();
                    need("owners_of_a_mount_are_mapped", false, &text);
                }
            }
            let error = map_mount(clone(Path::new("/proc")).as_fd(), false, namespace.as_fd(), Path::new("/data"));
            let error = error.unwrap_err().to_string();
            assert!(error.contains("at /data: this host has a kernel that cannot do it on proc"), "{error}");
        });
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
