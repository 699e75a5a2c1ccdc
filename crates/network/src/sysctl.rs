//! Settings below /proc/sys/net, those of the network namespace in which the caller is.

use crate::error::Error;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, read, write};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use step::step;

/// Whether this host routes packets of others.
const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
const FORWARDING6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

/// Lets the host route packets of others.
pub(crate) fn ensure_forwarding(has_six: bool) -> Result<(), Error> {
    let why = "else the host routes nothing for the containers; it stays on, for others may rely on it by then";
    if !is_on(FORWARDING)? {
        step("enable-forwarding", why, || FORWARDING.to_owned(), || turn_on(FORWARDING))?;
    }
    if has_six && !is_on(FORWARDING6)? {
        step(
            "enable-forwarding",
            why,
            || FORWARDING6.to_owned(),
            || {
                keep_router_advertisements();
                turn_on(FORWARDING6)
            },
        )?;
    }
    Ok(())
}

/// A host that routes IPv6 no longer listens to the routers around it, by which it may have its own address and default
/// route, unless it is told to do both. [ip-sysctl, accept_ra: 2] Not for links that come later: among them are bridges
/// of others, whose containers could pose as routers.
fn keep_router_advertisements() {
    for entry in std::fs::read_dir("/proc/sys/net/ipv6/conf").into_iter().flatten().flatten() {
        let path = entry.path().join("accept_ra").to_string_lossy().into_owned();
        if entry.file_name() != "all" && entry.file_name() != "default" && get(&path) == Ok(b'1') {
            let _ = set(&path, "2");
        }
    }
}

/// True when a setting is 1.
pub(crate) fn is_on(path: &str) -> Result<bool, Error> {
    get(path).map(|first| first == b'1').map_err(|source| fail(path, source))
}

/// Makes a setting 1.
pub(crate) fn turn_on(path: &str) -> Result<(), Error> {
    set(path, "1").map_err(|source| fail(path, source))
}

fn fail(path: &str, source: Errno) -> Error {
    Error::Sysctl { path: path.to_owned(), value: "1", source }
}

/// Writes a setting.
pub(crate) fn set(path: &str, value: &'static str) -> Result<(), Errno> {
    let file = openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    write(&file, value.as_bytes()).map(|_| ())
}

/// As [`set`], of a name below /proc/sys, through a procfs of its own that is gone afterwards.
///
/// Whatever was looked up below /proc/sys/net of any namespace stays in one list of the kernel's, which each later look-up
/// goes through: with 1000 namespaces 0.3 ms, where this one takes 0.1. [fs/proc/proc_sysctl.c, proc_sys_compare]
pub(crate) fn set_aside(name: &str, value: &'static str) -> Result<(), Errno> {
    let fs = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&fs)?;
    let proc = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    let file = openat(&proc, format!("sys/{name}"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    write(&file, value.as_bytes()).map(|_| ())
}

/// The first byte of a setting.
fn get(path: &str) -> Result<u8, Errno> {
    let file = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut byte = [0];
    read(&file, &mut byte)?;
    Ok(byte[0])
}
