//! Replacing this process by a program.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Argument or environment strings in the form that the kernel wants, made before the point of no return.
#[derive(Debug)]
pub struct Strings {
    // The pointers below point into these heap blocks, which do not move when the struct does.
    _owned: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl Strings {
    /// Takes the strings over.
    pub fn new(owned: Vec<CString>) -> Strings {
        let pointers = owned.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect();
        Strings { _owned: owned, pointers }
    }
}

/// `execveat`: this process becomes the program at `path` below `dir` (or `dir` itself when `path` is empty, which is
/// how a program is run by descriptor). Returns only on failure. [execveat(2)]
pub fn execveat(dir: BorrowedFd<'_>, path: &CStr, argv: &Strings, envp: &Strings) -> io::Result<Infallible> {
    let flags = if path.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
    // SAFETY: `path` is NUL-terminated; both pointer arrays end in null and point to NUL-terminated strings that
    // live as long as `argv` and `envp`, which outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            dir.as_raw_fd(),
            path.as_ptr(),
            argv.pointers.as_ptr(),
            envp.pointers.as_ptr(),
            flags,
        );
    }
    Err(io::Error::last_os_error())
}

/// Marks every descriptor from `first` on close-on-exec. In the kernel since 5.11. [close_range(2)]
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
    // SAFETY: no descriptor is closed now; only a flag of each changes.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes over a descriptor of the file at `path` that whoever executed this program has left open for it, and marks it
/// close-on-exec. Before anything else opens that file: whatever has it open here is taken for that one.
pub fn inherited(path: &Path) -> Option<OwnedFd> {
    let all = std::fs::read_dir("/proc/self/fd").ok()?.flatten();
    let file = std::fs::metadata(path).ok()?;
    let is_it = |fd: &RawFd| {
        std::fs::metadata(format!("/proc/self/fd/{fd}"))
            .is_ok_and(|one| (one.dev(), one.ino()) == (file.dev(), file.ino()))
    };
    let number = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_it)?;
    // SAFETY: it is open, since it could be looked at, and nothing in this process has opened that file, so nobody owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).ok()?;
    Some(fd)
}

/// `execve`: this process becomes the program at `path`. Returns only on failure. [execve(2)]
pub fn execve(path: &CStr, argv: &Strings, envp: &Strings) -> io::Result<Infallible> {
    // SAFETY: as for `execveat`: NUL-terminated path, null-terminated arrays of NUL-terminated strings, all alive.
    unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), envp.pointers.as_ptr()) };
    Err(io::Error::last_os_error())
}

/// Whether this process, with its effective ids, may execute the file that `file` names. In the kernel since 5.8.
/// [faccessat2(2)]
pub fn may_execute(file: BorrowedFd<'_>) -> io::Result<()> {
    let flags = libc::AT_EACCESS | libc::AT_EMPTY_PATH;
    // SAFETY: the path is an empty, NUL-terminated literal.
    let done = unsafe { libc::syscall(libc::SYS_faccessat2, file.as_raw_fd(), c"".as_ptr(), libc::X_OK, flags) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Closes every descriptor from `first` on but `kept`: for a cloned child that ends by an exec or by `exit_now`.
pub fn close_all_but(first: u32, kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut numbers: Vec<u32> = kept.iter().map(|fd| fd.as_raw_fd() as u32).filter(|n| *n >= first).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut from = first;
    for number in numbers {
        if number > from {
            close_range(from, number - 1)?;
        }
        from = number + 1;
    }
    close_range(from, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: the caller is a cloned child that never returns to its maker's frames, so whatever owned these numbers is
    // never used or dropped in this process.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
