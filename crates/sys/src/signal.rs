//! Signals as data: blocked, then read from a descriptor.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A set of signal numbers.
#[derive(Clone, Copy)]
pub struct SignalSet(libc::sigset_t);

impl std::fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SignalSet")
    }
}

impl SignalSet {
    /// The set of these signals; numbers that are no signals are left out.
    pub fn of(signals: &[i32]) -> SignalSet {
        let mut set = std::mem::MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the whole set; sigaddset refuses numbers that are out of range.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in signals {
                libc::sigaddset(set.as_mut_ptr(), *signal);
            }
            SignalSet(set.assume_init())
        }
    }
}

/// Blocks the signals in this thread and returns the mask as it was.
pub fn block(signals: SignalSet) -> io::Result<SignalSet> {
    change_mask(libc::SIG_BLOCK, signals)
}

/// Sets this thread's signal mask.
pub fn set_mask(mask: SignalSet) -> io::Result<()> {
    change_mask(libc::SIG_SETMASK, mask).map(|_| ())
}

fn change_mask(how: i32, set: SignalSet) -> io::Result<SignalSet> {
    let mut old = SignalSet::of(&[]);
    // SAFETY: both sets are initialised and outlive the call.
    let error = unsafe { libc::pthread_sigmask(how, &raw const set.0, &raw mut old.0) };
    if error == 0 { Ok(old) } else { Err(io::Error::from_raw_os_error(error)) }
}

/// Gives every signal its default action and an empty mask: what a program expects to be started with.
pub fn reset_all() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is a valid action for every signal; the kernel refuses SIGKILL, SIGSTOP and those that the
        // C library keeps, which need no reset.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let _ = set_mask(SignalSet::of(&[]));
}

/// Ignores a signal in this process.
pub fn ignore(signal: i32) {
    // SAFETY: SIG_IGN is a valid action.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// A descriptor from which blocked signals are read. Close-on-exec, non-blocking. [signalfd(2)]
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Makes one for `signals`, which the caller has blocked.
    pub fn new(signals: SignalSet) -> io::Result<SignalFd> {
        // SAFETY: the set is initialised; -1 asks for a new descriptor, which nobody else owns.
        unsafe {
            let fd = libc::signalfd(-1, &raw const signals.0, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd == -1 { Err(io::Error::last_os_error()) } else { Ok(SignalFd(OwnedFd::from_raw_fd(fd))) }
        }
    }

    /// The next signal that is waiting, or `None`.
    pub fn next(&self) -> io::Result<Option<i32>> {
        Ok(self.next_and_sender()?.map(|(signal, _)| signal))
    }

    /// The same, and whether a process sent it: what is typed at a terminal, and its end, the kernel tells.
    pub fn next_and_sender(&self) -> io::Result<Option<(i32, bool)>> {
        let mut info = std::mem::MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer is as large as the size says; the kernel writes whole records only, so a full read
        // leaves it initialised.
        unsafe {
            let got = libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size);
            if got == size as isize {
                let info = info.assume_init();
                // Codes above 0 are the kernel's. [sigaction(2)]
                return Ok(Some((info.ssi_signo as i32, info.ssi_code <= 0)));
            }
        }
        match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            e => Err(e),
        }
    }
}

impl std::os::fd::AsFd for SignalFd {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends `signal` to this whole process group member: used to stop or end ourselves as a signal would have.
pub fn raise(signal: i32) {
    // SAFETY: raise has no preconditions.
    unsafe { libc::raise(signal) };
}

/// Sends any signal, a real-time one too, to the process that a pidfd names. [pidfd_send_signal(2)]
pub fn send_to_pidfd(pidfd: std::os::fd::BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo asks the kernel to fill it in as kill(2) does.
    let done = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, none, 0) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
