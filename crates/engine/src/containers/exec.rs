//! `exec`: one more program in a container that runs.
//!
//! It gets what the container's first program has, by the container's record (`confines`), and what the person asks for
//! beside. Nothing is left on the host: in the foreground it ends with this process, detached it ends with the container.

use super::{get, process};
use crate::confines::{Confines, Wanted, environment};
use crate::error::Error;
use crate::foreground;
use crate::parse::{self, ParseError};
use crate::relay::Signals;
use crate::state::{Facts, Id};
use crate::streams::{self, Streams};
use crate::{tty, user};
use oci_spec::runtime::Process;
use runtime::{First, Newcomer, Root, Stdio};
use rustix::fs::FlockOperation;
use std::path::{Path, PathBuf};
use sys::fork::Namespaces;

/// What `exec` is asked for.
#[derive(Clone, Debug, Default)]
pub struct ExecOptions {
    /// The container, as typed.
    pub container: String,
    /// COMMAND and its arguments.
    pub command: Vec<String>,
    /// `-i`: standard input is connected.
    pub interactive: bool,
    /// `-t`: a terminal.
    pub tty: bool,
    /// `-d`: it runs on by itself.
    pub detach: bool,
    /// `-e`, in order: `NAME=VALUE`.
    pub env: Vec<String>,
    /// `--env-file`, in order. A variable of `-e` wins over these, wherever it stands.
    pub env_of_files: Vec<String>,
    /// `-w`.
    pub workdir: Option<PathBuf>,
    /// `-u`.
    pub user: Option<String>,
    /// `--privileged`: it has every capability.
    pub privileged: bool,
}

impl ExecOptions {
    /// `-e NAME=VALUE`, or `-e NAME` for the tool's own value, if it has one.
    pub fn add_env(&mut self, text: &str) -> Result<(), ParseError> {
        self.env.extend(parse::env(text)?);
        Ok(())
    }

    /// `--env-file FILE`.
    pub fn add_env_file(&mut self, path: &str) -> Result<(), ParseError> {
        self.env_of_files.extend(parse::env_file(path)?);
        Ok(())
    }
}

/// Every namespace that a container has of its own. A network that it shares with the host is entered, too: from wherever
/// this process is, the program is then where the container is.
const NAMESPACES: [Namespaces; 6] =
    [Namespaces::MOUNT, Namespaces::CGROUP, Namespaces::UTS, Namespaces::IPC, Namespaces::PID, Namespaces::NETWORK];

/// Runs the program, to its end unless it is detached. Returns the exit code for the shell. For a process of one thread.
pub fn exec(options: &ExecOptions) -> Result<i32, Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let is_attended = options.tty && options.interactive && !options.detach;
    if is_attended && !rustix::termios::isatty(rustix::stdio::stdin()) {
        return Err(Error::NotATerminal);
    }
    let found = get(&options.container)?;
    let (id, facts, container) = (&found.id, found.facts()?, found.shown().to_owned());
    if !found.is_running {
        return Err(Error::NotRunning { container });
    }
    // Until the program runs nobody removes it, or lets it stand still for a commit.
    let lock = found.lock(FlockOperation::LockShared)?;
    let cgroup = id.open_cgroup()?;
    if cgroup.is_frozen().map_err(runtime::Error::from)? {
        return Err(Error::IsPaused { container });
    }
    let init = process::first(id, &cgroup, facts)?;
    let confines = facts.confines.as_ref().ok_or(Error::OtherRelease { container })?;
    let (stdio, mut pumps) = match (options.tty, options.detach) {
        (true, _) => (Stdio::Terminal { size: tty::size() }, Vec::new()),
        (false, true) => (Stdio::Fds(streams::nowhere()?), Vec::new()),
        (false, false) => {
            let Streams { fds, pumps } = streams::choose(options.interactive)?;
            (Stdio::Fds(fds), pumps)
        }
    };
    let newcomer = Newcomer {
        process: described(options, id, facts, confines, &init)?,
        init,
        namespaces: NAMESPACES.into_iter().fold(Namespaces::default(), |all, one| all | one),
        cgroup,
        seccomp: confines.filter()?,
        stdio,
        detach: options.detach,
    };
    let signals = if options.detach { None } else { Some(Signals::hold()?) };
    let joined = runtime::join(newcomer)?;
    drop(lock);
    let Some(signals) = signals else {
        return if options.tty { tty::keep_open(&joined).map(|()| 0) } else { Ok(0) };
    };
    if let Err(error) = foreground::attend(&joined, options.interactive, &signals, &mut pumps) {
        let _ = joined.kill(rustix::process::Signal::KILL);
        let _ = joined.wait();
        return Err(error);
    }
    Ok(joined.wait()?.shell_status())
}

/// The process in the specification's terms.
fn described(
    options: &ExecOptions,
    id: &Id,
    facts: &Facts,
    confines: &Confines,
    init: &First,
) -> Result<Process, Error> {
    let config = &facts.config;
    let root = Root::of_process(init.pid)?;
    // Were it gone by now, this might be the root of another process with its number.
    if !process::is_alive(&init.pidfd) {
        return Err(Error::NoProcess { container: facts.shown().to_owned() });
    }
    let of_container = Some(config.user.as_str()).filter(|user| !user.is_empty());
    let identity = user::resolve(&root, options.user.as_deref().or(of_container))?;
    let wanted = config.env.iter().chain(&options.env_of_files).chain(&options.env);
    let of_container = Path::new("/").join(&config.working_dir);
    Ok(confines.process(Wanted {
        identity: &identity,
        words: options.command.clone(),
        env: environment(confines.hostname(id), options.tty, &identity.home, wanted),
        cwd: options.workdir.as_deref().unwrap_or(&of_container),
        tty: options.tty,
        privileged: options.privileged,
    }))
}
