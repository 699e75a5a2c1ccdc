//! A process that goes on by itself when its maker has ended.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::OnceLock;

/// What every detached process keeps.
static ALWAYS: OnceLock<Vec<OwnedFd>> = OnceLock::new();

/// Lets every process that this one detaches, and theirs, keep descriptors open: one that says by its lock that a process
/// of ours is there, or one that all of them work with. They stay open for good; a second call changes nothing.
pub fn keep_always(fds: Vec<OwnedFd>) -> &'static [OwnedFd] {
    ALWAYS.get_or_init(|| fds)
}

/// Forks a process that runs `work` and ends, and that holds nothing of its maker's: it has its own session, `/` as
/// its working directory, default signals, the name `name` in `ps`, and /dev/null behind every descriptor but `keep`.
///
/// Replaced and not closed, so that a number which other code still remembers (the recorder of steps) never names
/// something else. It ends without a signal to its maker, and a `waitpid(-1)` of the maker does not see it; init reaps
/// it. The caller must be single-threaded, as for every clone, and goes on when the new process has let go of all that is
/// not its own: so no lock of the maker's outlives it there.
pub fn spawn_detached(name: &CStr, keep: &[BorrowedFd<'_>], work: impl FnOnce()) -> io::Result<()> {
    let keep: Vec<RawFd> = keep.iter().map(AsRawFd::as_raw_fd).collect();
    spawn(name, &keep, work)
}

/// As [`spawn_detached`], and `work` owns what is kept; the maker has it no more. What is lent both have.
pub fn spawn_detached_with(
    name: &CStr,
    kept: Vec<OwnedFd>,
    lent: &[BorrowedFd<'_>],
    work: impl FnOnce(Vec<OwnedFd>),
) -> io::Result<()> {
    let of_kept = kept.iter().map(AsRawFd::as_raw_fd);
    let keep: Vec<RawFd> = of_kept.chain(lent.iter().map(AsRawFd::as_raw_fd)).collect();
    spawn(name, &keep, || work(kept))
}

/// Takes those that this process has detached and that have ended: for who lives so long that it has many, which init
/// would reap only after it. [waitpid(2), `__WCLONE`]
pub fn reap() {
    // SAFETY: a null status is allowed there, and nothing else is passed.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::__WCLONE | libc::WNOHANG) } > 0 {}
}

/// Puts /dev/null behind a descriptor, whose number goes on to be used.
pub fn let_go_of(fd: BorrowedFd<'_>) -> io::Result<()> {
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    // SAFETY: dup3 takes no pointers and only changes what a number stands for that is open, and stays so.
    match unsafe { libc::dup3(null.as_raw_fd(), fd.as_raw_fd(), libc::O_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn spawn(name: &CStr, keep: &[RawFd], work: impl FnOnce()) -> io::Result<()> {
    // The child's copy of the second end is closed when it has let go, with all the others; or when it has ended.
    let (has_let_go, held) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // SAFETY: an all-zero clone_args is valid: no flags, null pointers and zero lengths mean "not given", and exit
    // signal 0 means none.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    // SAFETY: `args` lives until the call returns and its size is passed beside it; without CLONE_VM and with a null
    // stack the child returns on its own copy of this stack, as after fork.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // A panic must not unwind into the frames of the maker, of which this process has a copy.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                crate::arena::close();
                if let_go(name, keep).is_ok() {
                    work();
                }
            }));
            crate::fork::exit_now(i32::from(done.is_err()))
        }
        _ => {
            drop(held);
            rustix::io::retry_on_intr(|| rustix::io::read(&has_let_go, &mut [0_u8]))?;
            Ok(())
        }
    }
}

fn let_go(name: &CStr, keep: &[RawFd]) -> io::Result<()> {
    // SAFETY: both take no pointers but the NUL-terminated literals and names that outlive the calls.
    unsafe {
        libc::setsid();
        libc::prctl(libc::PR_SET_NAME, name.as_ptr());
    }
    std::env::set_current_dir("/")?;
    crate::signal::reset_all();
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let kept: Vec<i32> = keep.iter().copied().chain([null.as_raw_fd()]).collect();
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| {
            !kept.contains(fd) && !ALWAYS.get().is_some_and(|all| all.iter().any(|one| one.as_raw_fd() == *fd))
        })
        .collect();
    for fd in open {
        // SAFETY: dup3 only changes what a number stands for. Every object of the maker that owns such a number is a
        // copy in this process, which runs nothing but `work`, and finds /dev/null there. The number by which the
        // directory above was read is closed already and becomes one more /dev/null.
        unsafe { libc::dup3(null.as_raw_fd(), fd, libc::O_CLOEXEC) };
    }
    Ok(())
}
