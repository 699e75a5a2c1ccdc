//! The tiny init of `--init`: PID 1 starts the program, forwards signals to it, reaps whatever is orphaned, and ends
//! with the program's status.
//!
//! It is this same binary, run inside the container from a sealed, read-only clone, with the container's user,
//! capabilities and system call filter.
//!
//! From anything else it refuses to run. A container can have the kernel run the host's own binary inside it (a script
//! whose interpreter leads to `/proc/self/exe`), and were that to stay as a process, what it starts could change the
//! file behind `/proc/1/exe`: mode, owner, content. (CVE-2019-5736) Every other verb ends by itself.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use sys::exec::Strings;
use sys::signal::{SignalSet, block};

/// Name under which the binary is an init.
pub const NAME: &str = "mycontainer-init";

/// Everything that is passed on. SIGCHLD is for us; SIGTTIN and SIGTTOU come from handing the terminal over.
const FORWARDED: &[i32] = &[1, 2, 3, 10, 12, 13, 14, 15, 18, 20, 23, 24, 25, 26, 28, 29, 30];
const SIGCHLD: i32 = 17;
const SIGTTIN: i32 = 21;
const SIGTTOU: i32 = 22;

/// Runs `args[0]` with the words `args[1..]` (the first of which is the program's own name), until it ends. Returns its
/// status as a shell gives it: 126 or 127 when it could not be run.
pub fn run(args: &[OsString]) -> i32 {
    let [path, words @ ..] = args else {
        eprintln!("{NAME}: this is what `mycontainer run --init` starts inside a container; it needs a program");
        return 125;
    };
    if !is_sealed() {
        eprintln!("{NAME}: it runs from the sealed clone that `mycontainer run --init` makes, and from nothing else");
        return 125;
    }
    let everything: Vec<i32> = FORWARDED.iter().copied().chain([SIGCHLD, SIGTTIN, SIGTTOU]).collect();
    let Ok(_) = block(SignalSet::of(&everything)) else { return 125 };
    let Ok(signals) = sys::signal::SignalFd::new(SignalSet::of(&everything)) else { return 125 };
    let pid = match start(path, words) {
        Ok(Some(pid)) => pid,
        Ok(None) => return 125,
        Err(error) => {
            eprintln!("{NAME}: cannot start {}: {error}", path.display());
            return 126;
        }
    };
    loop {
        if let Some(status) = reap(pid) {
            return status;
        }
        wait_readable(&signals);
        while let Ok(Some(signal)) = signals.next() {
            if let Some(signal) = Signal::from_named_raw(signal).filter(|s| FORWARDED.contains(&s.as_raw())) {
                let _ = kill_process(pid, signal);
            }
        }
    }
}

/// True when this program was started from a read-only mount, through which its file cannot be changed.
fn is_sealed() -> bool {
    use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags, fstatvfs, openat};
    let exe = openat(CWD, c"/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    exe.and_then(fstatvfs).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Starts the program in a process group of its own, which is the foreground of its terminal, if it has one, before the
/// program runs: a shell that finds itself in the background stops itself, and nobody would wake it.
fn start(path: &OsString, words: &[OsString]) -> io::Result<Option<Pid>> {
    match sys::fork::fork()? {
        Some(pid) => Ok(Pid::from_raw(pid)),
        None => {
            let error = become_program(path, words);
            eprintln!("{NAME}: cannot execute {}: {error}", path.display());
            sys::fork::exit_now(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
        }
    }
}

/// Returns only with the reason why it could not.
fn become_program(path: &OsString, words: &[OsString]) -> io::Error {
    let _ = rustix::process::setpgid(None, None);
    // SIGTTOU is still blocked, or this would stop us.
    let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpid());
    let text = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::from);
    let variable = |(name, value): (OsString, OsString)| text(&[name.as_bytes(), b"=", value.as_bytes()].concat());
    let strings = || -> io::Result<(CString, Strings, Strings)> {
        let words = words.iter().map(|word| text(word.as_bytes())).collect::<io::Result<_>>()?;
        let env = std::env::vars_os().map(variable).collect::<io::Result<_>>()?;
        Ok((text(path.as_bytes())?, Strings::new(words), Strings::new(env)))
    };
    let (path, words, env) = match strings() {
        Ok(strings) => strings,
        Err(error) => return error,
    };
    sys::signal::reset_all();
    let Err(error) = sys::exec::execveat(rustix::fs::CWD.as_fd(), &path, &words, &env);
    error
}

/// Takes every child that has ended; the program's status when it is among them.
fn reap(program: Pid) -> Option<i32> {
    let mut ended = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == program => {
                let status = std::process::ExitStatus::from_raw(status.as_raw());
                ended = Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)));
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return ended,
        }
    }
}

fn wait_readable(signals: &sys::signal::SignalFd) {
    use rustix::event::{PollFd, PollFlags, poll};
    let _ = poll(&mut [PollFd::new(signals, PollFlags::IN)], None);
}
