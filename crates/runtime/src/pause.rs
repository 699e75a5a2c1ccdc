//! A first process without a program: it holds the container's namespaces, takes orphans of its pid namespace, and ends
//! when it is asked to.
//!
//! It is the clone of the tool itself that goes on; no binary is executed, so its root may be empty. Nobody in the container
//! can look into it, be it through its namespace: it is not dumpable, so that its memory, its descriptors and the binary that
//! it runs are out of reach of whoever lacks CAP_SYS_PTRACE on the host. (CVE-2019-5736) It has no descriptor but its
//! streams.

use crate::error::Error;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, WaitOptions, set_dumpable_behavior, wait};
use std::convert::Infallible;
use std::ffi::CStr;
use std::os::fd::AsFd;
use sys::signal::{SignalFd, SignalSet, block};

/// What it is called from the moment on that all is in place.
pub const NAME: &CStr = c"mc-pause";

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGQUIT: i32 = 3;
const SIGTERM: i32 = 15;
const SIGCHLD: i32 = 17;

/// Holds, until a signal asks for the end. Whatever this process has open is closed, so that nothing of the caller's may
/// be used afterwards: it does not return but for a failure before that.
pub(crate) fn hold() -> Result<Infallible, Error> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source| Error::Process { what, source }
    };
    let awaited = SignalSet::of(&[SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGCHLD]);
    block(awaited).map_err(failed("hold signals back"))?;
    let signals = SignalFd::new(awaited).map_err(failed("wait for signals"))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Error::process("hide from other processes"))?;
    rustix::thread::set_name(NAME).map_err(Error::process("take a name"))?;
    // The line to the tool is among them: that it closes says that all has gone well.
    sys::exec::close_all_but(3, &[signals.as_fd()]).map_err(failed("close the tool's descriptors"))?;
    loop {
        wait_readable(&signals);
        while let Ok(Some(signal)) = signals.next() {
            if signal != SIGCHLD {
                sys::fork::exit_now(0);
            }
        }
        reap();
    }
}

/// Takes every orphan that has ended.
fn reap() {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return,
        }
    }
}

fn wait_readable(signals: &SignalFd) {
    use rustix::event::{PollFd, PollFlags, poll};
    let _ = poll(&mut [PollFd::new(signals, PollFlags::IN)], None);
}
