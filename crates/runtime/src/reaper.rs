//! The tiny init of `--init`: PID 1 starts the program, forwards signals to it, reaps whatever is orphaned, and ends
//! with the program's status.
//!
//! It is this same binary, run inside the container from a sealed, read-only clone, with the container's user,
//! capabilities and system call filter.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;
use sys::signal::{SignalSet, block, set_mask};

/// Name under which the binary is an init.
pub const NAME: &str = "mycontainer-init";

/// Everything that is passed on. SIGCHLD is for us; SIGTTIN and SIGTTOU come from handing the terminal over.
const FORWARDED: &[i32] = &[1, 2, 3, 10, 12, 13, 14, 15, 18, 20, 23, 24, 25, 26, 28, 29, 30];
const SIGCHLD: i32 = 17;
const SIGTTIN: i32 = 21;
const SIGTTOU: i32 = 22;

/// Runs `args[0]` with the words `args[1..]` (the first of which is the program's own name), until it ends. Returns its
/// status as a shell gives it: 126 or 127 when it could not be run.
pub fn run(args: &[std::ffi::OsString]) -> i32 {
    let [path, name, rest @ ..] = args else {
        eprintln!("{NAME}: this is what `mycontainer run --init` starts inside a container; it needs a program");
        return 125;
    };
    let everything: Vec<i32> = FORWARDED.iter().copied().chain([SIGCHLD, SIGTTIN, SIGTTOU]).collect();
    let Ok(before) = block(SignalSet::of(&everything)) else { return 125 };
    let Ok(signals) = sys::signal::SignalFd::new(SignalSet::of(&everything)) else { return 125 };
    let mut command = Command::new(path);
    command.arg0(name).args(rest).process_group(0);
    // The program starts with the mask that we were started with: std gives a child its parent's.
    let _ = set_mask(before);
    let spawned = command.spawn();
    let _ = block(SignalSet::of(&everything));
    let child = match spawned {
        Ok(child) => child,
        Err(error) => {
            eprintln!("{NAME}: cannot execute {}: {error}", path.display());
            return if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
        }
    };
    let Some(pid) = Pid::from_raw(child.id() as i32) else { return 125 };
    // The program is the foreground of its terminal, if it has one.
    let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), pid);
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
