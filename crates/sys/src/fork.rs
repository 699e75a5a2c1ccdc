//! New processes: `clone3` into namespaces, and a plain fork.
//!
//! Both duplicate the calling process, so the caller must be single-threaded: a lock that another thread holds at the
//! moment of the clone would stay locked for ever in the child. Every process of ours that clones is.

use libc::{c_long, pid_t};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Namespaces a clone makes new. The bits are the kernel's `CLONE_NEW*`. [namespaces(7)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Namespaces(pub u64);

impl Namespaces {
    /// Mounts.
    pub const MOUNT: Namespaces = Namespaces(libc::CLONE_NEWNS as u64);
    /// Control group root.
    pub const CGROUP: Namespaces = Namespaces(libc::CLONE_NEWCGROUP as u64);
    /// Host name.
    pub const UTS: Namespaces = Namespaces(libc::CLONE_NEWUTS as u64);
    /// System V IPC and POSIX message queues.
    pub const IPC: Namespaces = Namespaces(libc::CLONE_NEWIPC as u64);
    /// Process ids.
    pub const PID: Namespaces = Namespaces(libc::CLONE_NEWPID as u64);
    /// Network.
    pub const NETWORK: Namespaces = Namespaces(libc::CLONE_NEWNET as u64);
    /// User and group ids, and who has capabilities over what.
    pub const USER: Namespaces = Namespaces(libc::CLONE_NEWUSER as u64);
    /// The clocks that count from boot. `clone3` takes it, `clone` does not; `unshare` moves only the children.
    pub const TIME: Namespaces = Namespaces(0x80);

    /// True when every namespace of `other` is in this set.
    pub fn contains(self, other: Namespaces) -> bool {
        self.0 & other.0 == other.0
    }

    /// This set without those of `other`.
    pub fn without(self, other: Namespaces) -> Namespaces {
        Namespaces(self.0 & !other.0)
    }

    /// True when there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl std::ops::BitOr for Namespaces {
    type Output = Namespaces;
    fn bitor(self, other: Namespaces) -> Namespaces {
        Namespaces(self.0 | other.0)
    }
}

/// Which side of a clone this is.
#[derive(Debug)]
pub enum Side {
    /// The new process.
    Child,
    /// The caller: the child's pid in this pid namespace, and a descriptor that names the child for ever.
    Parent {
        /// Process id as the caller sees it.
        pid: i32,
        /// Close-on-exec pidfd of the child.
        pidfd: OwnedFd,
    },
}

/// `clone3`: a copy of this process in the given new namespaces, born into the v2 cgroup `cgroup` when there is one.
///
/// The child has its own copy of all memory (no CLONE_VM) and ends with SIGCHLD to its parent. Not `cgroup.procs`:
/// moving a process there after idle waits some 10 ms for an RCU grace period. [clone(2), CLONE_INTO_CGROUP: 5.7]
pub fn clone_into(namespaces: Namespaces, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Side> {
    clone(namespaces.0, cgroup, libc::SIGCHLD)
}

/// As [`clone_into`], but the new process is a child of this process's parent, and ends with the signal that this one
/// would end with. So a process that had to enter namespaces first can give the real one to who started it.
pub fn clone_sibling(namespaces: Namespaces) -> io::Result<Side> {
    // The kernel takes no signal of its own beside CLONE_PARENT. [clone(2)]
    clone(namespaces.0 | libc::CLONE_PARENT as u64, None, 0)
}

fn clone(flags: u64, cgroup: Option<BorrowedFd<'_>>, exit_signal: libc::c_int) -> io::Result<Side> {
    let mut pidfd: RawFd = -1;
    let mut flags = flags | libc::CLONE_PIDFD as u64;
    if cgroup.is_some() {
        flags |= CLONE_INTO_CGROUP;
    }
    // SAFETY: an all-zero clone_args is valid: null pointers and zero lengths mean "not given".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = exit_signal as u64;
    args.cgroup = cgroup.map_or(0, |fd| fd.as_raw_fd() as u64);
    // SAFETY: `args` lives until the call returns, its size is passed beside it, and the one pointer in it points to
    // `pidfd`, which outlives the call. Without CLONE_VM and with a null stack the child returns on its own copy of
    // this stack, as after fork.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child),
        pid => {
            // SAFETY: the kernel stored a new descriptor in `pidfd`, which nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Side::Parent { pid: pid as pid_t, pidfd })
        }
    }
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A plain fork of this single-threaded process: the child's pid in the parent, `None` in the child.
///
/// Not by `clone3`, which Docker's seccomp profile refuses inside a container.
pub fn fork() -> io::Result<Option<i32>> {
    // SAFETY: the caller is single-threaded, so the child's copy of the memory has no lock that nobody can release.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid)),
    }
}

/// Ends this process at once with `status`: no destructors, no `atexit`, no buffers flushed. For cloned children.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: `_exit` has no preconditions and does not return.
    unsafe { libc::_exit(status) }
}

/// Puts this process into its own mount namespace or other namespaces. [unshare(2)]
pub fn unshare(namespaces: Namespaces) -> io::Result<()> {
    // SAFETY: unshare changes only this process's kernel objects, none of which Rust relies on; the flags cannot
    // contain CLONE_FILES or CLONE_VM, for `Namespaces` names none.
    let done = unsafe { libc::syscall(libc::SYS_unshare, namespaces.0 as c_long) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Enters the namespaces `which` that `fd` names: one namespace file, or several of a process by its pidfd.
///
/// A pid namespace is entered by the children of this process only. [setns(2); pidfds since 5.8]
pub fn enter(fd: BorrowedFd<'_>, which: Namespaces) -> io::Result<()> {
    // SAFETY: setns takes no pointer; like unshare it changes only kernel objects that Rust does not rely on.
    let done = unsafe { libc::setns(fd.as_raw_fd(), which.0 as libc::c_int) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
