//! The tool's own binary, out of a container's reach.
//!
//! A process that joins a container can be made to run what a script's first line names, and `/proc/self/exe` names the
//! tool itself; whoever then holds that file can write to it when the tool has ended, and the next call of the tool runs
//! the container's code as root of the host. (CVE-2019-5736) So such a process runs from a clone of the mount that the
//! binary is on, which is read-only and attached nowhere: through it nothing can ever be written. The clone costs one more
//! exec and no copy of the file.
//!
//! Who may not clone mounts gets a sealed copy in memory instead, if he could write to the file at all.
//!
//! A container whose processes nobody else sees is begun without that: the binary could only be its first process, which
//! then finds itself [`lent`] and ends, before there is anybody who could hold its file.

use crate::error::Error;
use rustix::fs::{
    Access, AtFlags, CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags, StatxFlags, accessat, fstatvfs,
    memfd_create, openat, statx,
};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use sys::exec::Strings;

const EXE: &std::ffi::CStr = c"/proc/self/exe";

/// Returns when this process runs from a file that cannot be written to through it; until then it executes itself anew
/// with the same words.
pub fn ensure() -> Result<(), Error> {
    let failed = |source| Error::Root { what: "seal the tool's own binary", source };
    if is_sealed().map_err(failed)? {
        return Ok(());
    }
    let binary = match clone_readonly() {
        Err(Errno::PERM | Errno::NOSYS) => match accessat(CWD, EXE, Access::WRITE_OK, AtFlags::EACCESS) {
            Ok(()) => copy_to_memory().map_err(failed)?,
            // Not his to write to, in a container or out of one.
            Err(_) => return Ok(()),
        },
        cloned => cloned.map_err(failed)?,
    };
    execute(&binary)
}

/// Executes this binary anew with the same words, from where it cannot be written to: for a process that has entered a
/// user namespace. What it is until then the kernel takes for a part of the namespace in which it was begun, and lets
/// nobody of this one look into it or its children. [ptrace(2), "Ptrace access mode checking"]
pub fn execute_anew() -> Result<(), Error> {
    let failed = |source| Error::Root { what: "execute the tool's own binary", source };
    execute(&sealed().map_err(failed)?)
}

fn execute(binary: &OwnedFd) -> Result<(), Error> {
    let failed = |source| Error::Root { what: "seal the tool's own binary", source };
    let text = |word: &OsString| CString::new(word.as_bytes()).map_err(|_| failed(Errno::INVAL));
    let words = std::env::args_os().map(|word| text(&word)).collect::<Result<_, _>>()?;
    let variable = |(name, value): (OsString, OsString)| {
        CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).map_err(|_| failed(Errno::INVAL))
    };
    let env = std::env::vars_os().map(variable).collect::<Result<_, _>>()?;
    let Err(error) = sys::exec::execveat(binary.as_fd(), c"", &Strings::new(words), &Strings::new(env));
    Err(failed(crate::mounts::errno(error)))
}

/// Whether this is a container's first process, which the container has had the kernel make of the host's binary: by a
/// script whose interpreter leads to `/proc/self/exe`. Such a process must not stay: who joins the container could change
/// the mode and the owner of the file behind `/proc/1/exe` at any time. (CVE-2019-5736)
///
/// Then the binary is on a mount that is not of this process's namespace; where it was started by its path there, it is.
pub fn lent() -> bool {
    if rustix::process::getpid() != rustix::process::Pid::INIT {
        return false;
    }
    let mount_of = |path: &std::ffi::CStr| -> Result<u64, Errno> {
        let found = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID)?;
        // Kernels that do not say it are older than those that are supported.
        if found.stx_mask & StatxFlags::MNT_ID.bits() == 0 { Err(Errno::NOSYS) } else { Ok(found.stx_mnt_id) }
    };
    let by_path = || mount_of(&rustix::fs::readlink(EXE, Vec::new())?);
    !is_sealed().unwrap_or(false) && mount_of(EXE).and_then(|lent| Ok(lent != by_path()?)).unwrap_or(true)
}

fn is_sealed() -> Result<bool, Errno> {
    let exe = openat(CWD, EXE, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    if fstatvfs(&exe)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    // A copy in memory says so itself.
    let Ok(readable) = openat(CWD, EXE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) else { return Ok(false) };
    Ok(rustix::fs::fcntl_get_seals(&readable).is_ok_and(|seals| seals.contains(SealFlags::WRITE)))
}

/// This binary, to be run where it must not be changed from: as it runs already, or a clone.
pub(crate) fn sealed() -> Result<OwnedFd, Errno> {
    // What is attached nowhere could not be cloned once more before Linux 6.15.
    if is_sealed()? { openat(CWD, EXE, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) } else { clone_readonly() }
}

fn clone_readonly() -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let binary = match open_tree(CWD, EXE, flags) {
        // It was begun in another mount namespace, as a tool that an ordinary user began: the mount of it that this
        // namespace has is at the same path, if that leads to the same file.
        Err(Errno::INVAL) => {
            let binary = open_tree(CWD, rustix::fs::readlink(EXE, Vec::new())?.as_c_str(), flags)?;
            let (exe, found) = (rustix::fs::stat(EXE)?, rustix::fs::fstat(&binary)?);
            if (exe.st_dev, exe.st_ino) != (found.st_dev, found.st_ino) {
                return Err(Errno::INVAL);
            }
            binary
        }
        done => done?,
    };
    let readonly = sys::mount::Attributes { set: sys::mount::RDONLY, ..Default::default() };
    sys::mount::set_attributes(binary.as_fd(), c"", false, readonly).map_err(crate::mounts::errno)?;
    Ok(binary)
}

fn copy_to_memory() -> Result<OwnedFd, Errno> {
    let from = openat(CWD, EXE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let copy = memfd_create(c"mycontainer", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    while rustix::fs::sendfile(&copy, &from, None, 1 << 20)? > 0 {}
    let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, all)?;
    Ok(copy)
}
