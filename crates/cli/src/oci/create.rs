//! `create` and `run`.

use super::global::Global;
use super::words::{Flag, Words, switch, value};
use super::{Failure, report};
use engine::Foreground;
use runtime::{Launch, Running};
use std::path::PathBuf;

pub(crate) const FLAGS: &[Flag] = &[
    value("bundle", Some('b'), "DIR", "The bundle (default: the current directory)"),
    value("config", None, "FILE", "Its configuration (default: config.json in the bundle)"),
    value("console-socket", None, "SOCKET", "Where the terminal's controlling side is sent"),
    value("pid-file", None, "FILE", "Where the first process's id is written"),
    value("pidfd-socket", None, "SOCKET", "Where a pidfd of the first process is sent"),
    value("preserve-fds", None, "N", "Pass on N descriptors after standard error"),
    switch("no-pivot", None, "Change the root without pivot_root, as on an initramfs"),
    switch("no-new-keyring", None, "Keep the caller's session keyring"),
];

pub(crate) const RUN_FLAGS: &[Flag] = &[
    switch("detach", Some('d'), "Return when it runs"),
    switch("keep", None, "Do not delete the container when it ends"),
    switch("no-subreaper", None, "Do not become the parent of processes that lose theirs"),
];

fn launch(words: &Words) -> Result<Launch, Failure> {
    Ok(Launch {
        bundle: words.path("bundle").unwrap_or_else(|| PathBuf::from(".")),
        config: words.path("config"),
        console_socket: words.path("console-socket"),
        pid_file: words.path("pid-file"),
        pidfd_socket: words.path("pidfd-socket"),
        preserve_fds: words.number("preserve-fds")?.unwrap_or(0),
        no_pivot: words.has("no-pivot"),
        no_new_keyring: words.has("no-new-keyring"),
        window: engine::window(),
    })
}

/// `create ID`
pub(crate) fn create(global: &Global, words: &Words) -> Result<i32, Failure> {
    runtime::seal::ensure()?;
    global.runtime()?.create(words.id()?, &launch(words)?)?;
    Ok(0)
}

/// `run ID`: with --detach it is `create` and `start`; else this process attends to the container until its end.
pub(crate) fn run(global: &Global, words: &Words) -> Result<i32, Failure> {
    runtime::seal::ensure()?;
    let (runtime, id, launch) = (global.runtime()?, words.id()?, launch(words)?);
    if words.has("detach") {
        runtime.create(id, &launch)?;
        let started = runtime.find(id).and_then(|mut known| known.start());
        if let Err(error) = started {
            let _ = runtime.find(id).and_then(|known| known.delete(true));
            return Err(error.into());
        }
        return Ok(0);
    }
    if !words.has("no-subreaper") {
        // In a pid namespace that is shared, what the program leaves would go to the host's init and never be reaped here.
        let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    }
    let foreground = Foreground::hold()?;
    let running = runtime.run(id, &launch)?;
    attend(global, running, &foreground, launch.console_socket.is_some(), words.has("keep"))
}

/// Attends to a container until its end, and takes it away.
pub(crate) fn attend(
    global: &Global,
    running: Running,
    foreground: &Foreground,
    is_elsewhere: bool,
    keep: bool,
) -> Result<i32, Failure> {
    let process = running.process();
    let attended = if is_elsewhere { foreground.wait(process) } else { foreground.attend(process) };
    let exit = attended.and_then(|()| Ok(process.wait()?));
    if exit.is_err() {
        // Nobody attends to it any more.
        let _ = process.kill(rustix::process::Signal::KILL);
        let _ = process.wait();
    }
    if !keep {
        for note in running.delete()? {
            report::warn(global, &note.to_string());
        }
    }
    Ok(exit?.shell_status())
}
