//! `exec`: one more program in a container that runs.
//!
//! It gets what the container's first program has, by the container's record (`confines`), and what the person asks for
//! beside. Nothing is left on the host: in the foreground it ends with this process, unless it is left by its keys
//! (`apart`), detached it ends with the container.

use super::{Found, alive, get, process};
use crate::apart::{Apart, apart};
use crate::confines::{Confines, Wanted, environment};
use crate::detach_keys::DetachKeys;
use crate::error::Error;
use crate::events;
use crate::foreground;
use crate::parse::{self, ParseError};
use crate::relay::{Left, Signals};
use crate::state::{Facts, Id};
use crate::streams::{self, Streams};
use crate::{tty, user, userns};
use oci_spec::runtime::Process;
use runtime::{First, Newcomer, Root, Stdio};
use rustix::fs::FlockOperation;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
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
    /// `--detach-keys`: what leaves it running, at a terminal.
    pub detach_keys: DetachKeys,
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

/// Every namespace that a container has of its own, by its name in /proc. A network that it shares with the host is entered,
/// too: from wherever this process is, the program is then where the container is.
const NAMESPACES: [(Namespaces, &str); 6] = [
    (Namespaces::MOUNT, "mnt"),
    (Namespaces::CGROUP, "cgroup"),
    (Namespaces::UTS, "uts"),
    (Namespaces::IPC, "ipc"),
    (Namespaces::PID, "pid"),
    (Namespaces::NETWORK, "net"),
];

/// Those of them that are to be entered. An ordinary user may not enter what is the host's, even where this process is in it
/// already.
fn to_enter(init: &First) -> Namespaces {
    let is_rootless = crate::rootless::is_rootless();
    let namespace = |of: &str, name: &str| std::fs::read_link(format!("/proc/{of}/ns/{name}")).ok();
    let pid = init.pid.to_string();
    let is_ours = |name: &str| namespace("self", name).is_some_and(|own| namespace(&pid, name) == Some(own));
    let apart = NAMESPACES.into_iter().filter(|(_, name)| !is_rootless || !is_ours(name));
    apart.fold(Namespaces::default(), |all, (one, _)| all | one)
}

/// Runs the program, to its end unless it is detached, or left by its keys. Returns the exit code for the shell. For a
/// process of one thread; at a terminal it may return in two, of which the second is to end as the first would.
pub fn exec(options: &ExecOptions) -> Result<i32, Error> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let is_attended = options.tty && options.interactive && !options.detach;
    if is_attended && !rustix::termios::isatty(rustix::stdio::stdin()) {
        return Err(Error::NotATerminal);
    }
    let keeper = match is_attended && !options.detach_keys.is_empty() {
        true => match apart()? {
            Apart::Tool(exit_code) => return Ok(exit_code),
            Apart::Keeper(keeper) => Some(keeper),
        },
        false => None,
    };
    let found = get(&options.container)?;
    let (id, facts, container) = (&found.id, found.facts()?, found.shown().to_owned());
    if !found.is_running {
        return Err(Error::NotRunning { container });
    }
    // Until the program runs nobody removes it, or lets it stand still for a commit.
    let lock = found.lock(FlockOperation::LockShared)?;
    let (cgroup, init) = process::joinable(&found)?;
    if cgroup.exists() {
        crate::rootless::groups::enter()?;
    }
    let is_frozen = cgroup.is_frozen();
    if is_frozen.map_err(|error| alive::or_ended(&found, runtime::Error::from(error).into()))? {
        return Err(Error::IsPaused { container });
    }
    let first = init.pidfd.try_clone().map_err(|source| Error::Process {
        what: "watch",
        container: container.clone(),
        source,
    })?;
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
        process: described(options, id, facts, confines, &init).map_err(|error| or_ended(&found, &first, error))?,
        // Of users it may have none of its own.
        namespaces: to_enter(&init) | facts.maps.as_ref().map_or(Namespaces::default(), |_| Namespaces::USER),
        init,
        cgroup,
        seccomp: confines.filter()?,
        stdio,
        detach: options.detach,
    };
    let signals = if options.detach { None } else { Some(Signals::hold()?) };
    let (exec_id, words) = (events::exec_id(), options.command.join(" "));
    let own = [("execID", exec_id.as_str())];
    events::container(&format!("exec_create: {words}"), facts, &own);
    let joined = runtime::join(newcomer).map_err(|error| or_ended(&found, &first, error.into()))?;
    drop(lock);
    events::container(&format!("exec_start: {words}"), facts, &own);
    let Some(signals) = signals else {
        return if options.tty { tty::keep_open(&joined).map(|()| 0) } else { Ok(0) };
    };
    let attended = match keeper {
        None => foreground::attend(&joined, options.interactive, &signals, &mut pumps),
        Some(keeper) => match foreground::attend_terminal(&joined, true, &options.detach_keys, &signals) {
            Ok(Left::Detached) => keeper.stay(&joined, &signals),
            ended => ended.map(drop),
        },
    };
    if let Err(error) = attended {
        let _ = joined.kill(rustix::process::Signal::KILL);
        let _ = joined.wait();
        return Err(error);
    }
    let code = joined.wait()?.shell_status();
    events::container("exec_die", facts, &[own[0], ("exitCode", &code.to_string())]);
    Ok(code)
}

/// How long the first process of a container may take to die after another of its processes: who kills a container kills them
/// in any order.
const DYING: Duration = Duration::from_secs(1);

/// What to say of a failure: that the container does not run when it has ended.
fn or_ended(found: &Found, first: &OwnedFd, error: Error) -> Error {
    let was_killed = matches!(error, Error::Runtime(runtime::Error::Vanished));
    let patience = if was_killed { DYING } else { Duration::ZERO };
    match alive::wait(&[first], Some(patience)) {
        Ok(ended) if ended == [true] => Error::NotRunning { container: found.shown().to_owned() },
        _ => alive::or_ended(found, error),
    }
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
    let more = facts.options.as_deref().map_or(&[][..], |options| &options.group_add);
    let identity = user::with_groups(identity, &root, more)?;
    userns::check_identity(&identity, facts.maps.as_ref())?;
    let wanted = config.env.iter().chain(&options.env_of_files).chain(&options.env);
    let is_kept = |variable: &str| facts.options.as_deref().is_none_or(|options| options.keeps_env(variable));
    let of_container = Path::new("/").join(&config.working_dir);
    Ok(confines.process(Wanted {
        identity: &identity,
        words: options.command.clone(),
        env: environment(is_kept, confines.hostname(id), options.tty, &identity.home, wanted),
        cwd: options.workdir.as_deref().unwrap_or(&of_container),
        tty: options.tty,
        privileged: options.privileged,
    }))
}
