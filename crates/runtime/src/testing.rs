//! What the kernel tests of this crate share: a child process to try things in, and the reason why a test is skipped.
//!
//! A test program has several threads, and much of what is tried here changes the process or its namespaces. So each
//! trial runs in a fork of its own, which ends with it. The child has one thread; memory is allocated in it, which the C
//! library makes safe after a fork.

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Whether a test can run here. A test that cannot says so in one line, and in CI (CI=true) it fails.
pub(crate) fn need(test: &str, met: bool, why: &str) -> bool {
    if !met {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{test}: {why}, and in CI nothing is skipped");
        eprintln!("skipped {test}: {why}");
    }
    met
}

/// Whether a test that needs root can run here.
pub(crate) fn is_root(test: &str) -> bool {
    need(test, rustix::process::geteuid().is_root(), "it needs root")
}

/// Runs `trial` in a child process, and fails with what it says.
///
/// When another test fails at the moment of the fork, the child can be born with the lock of its message held, and hang:
/// so it has only so much time.
#[track_caller]
pub(crate) fn in_child(trial: impl FnOnce()) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let (from, to) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let Some(pid) = sys::fork::fork().unwrap() else {
        drop(from);
        let failed = catch_unwind(AssertUnwindSafe(trial)).err().map(|panic| match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(other) => other.downcast::<&str>().map_or("it panicked".to_owned(), |text| text.to_string()),
        });
        if let Some(text) = &failed {
            let _ = rustix::io::write(&to, text.as_bytes());
        }
        sys::fork::exit_now(i32::from(failed.is_some()));
    };
    drop(to);
    let pid = Pid::from_raw(pid).unwrap();
    let patience = Timespec { tv_sec: 30, tv_nsec: 0 };
    let spoke = poll(&mut [PollFd::new(&from, PollFlags::IN)], Some(&patience));
    if spoke != Ok(1) {
        let _ = kill_process(pid, Signal::KILL);
    }
    let mut said = String::new();
    std::io::Read::read_to_string(&mut std::fs::File::from(from), &mut said).unwrap();
    let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
    assert!(status.exit_status() == Some(0), "the child: {said} ({status:?})");
}
