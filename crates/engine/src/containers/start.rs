//! `run`, `start` and `restart`: containers that live in the background, each with a monitor of its own (`monitor`).
//!
//! `run` of a container that stays is `create`, then `start`, then being attached to it, as it is for the person who types
//! the three. One that goes when it ends is not written to disk: its record is all there is of it.

use super::StopOrder;
use super::create::{
    CreateOptions, Made, hold_image, in_full, make, resolve, resolved, with_ports_of_pod, write_cidfile,
};
use super::{AttachOrder, Found, facts, get, locked, stop};
use crate::attach::{self, Attachment, Note};
use crate::confines::Confines;
use crate::error::Error;
use crate::events;
use crate::health::Check;
use crate::image_config;
use crate::life;
use crate::monitor::{self, Job};
use crate::options::RunOptions;
use crate::passing;
use crate::pods;
use crate::relay::Signals;
use crate::restart::RestartPolicy;
use crate::rootfs::Meant;
use crate::run::Outcome;
use crate::state::{Id, MadeBy, data_dir};
use crate::{run as foreground, tty, userns};
use image::Events;
use rustix::fs::FlockOperation;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What `run` is asked for.
#[derive(Clone, Debug, Default)]
pub struct RunOrder {
    /// What is run, with `--cidfile` and `--replace`.
    pub create: CreateOptions,
    /// `--detach`: the container runs on in the background.
    pub detach: bool,
    /// `--pidfile`: the number of its first process is written there.
    pub pid_file: Option<PathBuf>,
    /// What is connected, if that was said.
    pub attachment: Option<Attachment>,
}

/// What became of a `run`.
#[derive(Debug)]
pub enum Ran {
    /// It has ended.
    Ended(Outcome),
    /// It runs in the background: its id.
    Detached(String),
}

/// Runs a container. In the foreground one that goes when it ends is this process's own, unless something is asked for that
/// only a monitor does. Tells `note` at the start what is worth knowing of it, but of one of this process's own at the end.
pub fn run(order: &RunOrder, events: &dyn Events, note: Note<'_>) -> Result<Ran, Error> {
    let named = with_ports_of_pod(&order.create, events)?.map(|create| RunOrder { create, ..order.clone() });
    let order = named.as_ref().unwrap_or(order);
    match resolved(&order.create)? {
        None => run_resolved(order, events, note),
        Some(create) => {
            let order = RunOrder { create, ..order.clone() };
            run_resolved(&order, events, note).inspect_err(|_| pods::unmake(&order.create.run))
        }
    }
}

fn run_resolved(order: &RunOrder, events: &dyn Events, note: Note<'_>) -> Result<Ran, Error> {
    let options = &order.create.run;
    if options.root == "host" && !options.auto_remove {
        if options.restart != RestartPolicy::No {
            return Err(Error::Conflict(
                "--restart cannot be used with host: a view of this machine's / goes when it ends, and cannot be started \
                 again"
                    .into(),
            ));
        }
        let goes = CreateOptions { run: RunOptions { auto_remove: true, ..options.clone() }, ..order.create.clone() };
        return run_resolved(&RunOrder { create: goes, ..order.clone() }, events, note);
    }
    let is_plain = options.auto_remove && !order.detach && order.attachment.is_none() && order.pid_file.is_none();
    let is_plain = is_plain && order.create.cidfile.is_none() && !order.create.replace;
    // Its first process's end is not that of the others, who may have its streams: a monitor waits for the first alone.
    let is_plain = is_plain && options.pid.is_own() && options.pod.is_none() && options.timeout.is_none();
    if !order.detach && order.attachment.as_ref().is_none_or(|attachment| attachment.input) {
        foreground::check_terminal(options)?;
    }
    let meant = resolve(&order.create, events)?;
    if is_plain && !has_check(options, &meant) {
        return foreground::run(options, &meant).map(Ran::Ended);
    }
    let making = (hold_image(&meant)?, pods::hold(options)?);
    pods::start_infra(options)?;
    // Before anything runs: a signal that comes now is for the program.
    let signals = if order.detach { None } else { Some(Signals::hold()?) };
    let (job, lock) = if options.auto_remove {
        passing(&order.create, &meant)?
    } else {
        let Made { id, facts, lock } = make(&order.create, &meant)?;
        (Job { id, facts, stays: true, size: tty::size(), pid_file: None }, Some(lock))
    };
    let id = job.id.as_str().to_owned();
    let line = monitor::spawn(Job { pid_file: order.pid_file.clone(), ..job }, lock.as_ref())?;
    let program = attach::wait_for_start(&line, note)?;
    drop((lock, making));
    let Some(signals) = signals else { return Ok(Ran::Detached(id)) };
    let attachment = order.attachment.clone().unwrap_or_else(|| whole(options));
    match attach::attend(&line, Some(program), &attachment, &signals)?.exit_code() {
        None => Ok(Ran::Detached(id)),
        Some(exit_code) => {
            let oom_killed = life::read_of(&id).is_some_and(|life| life.oom_killed);
            Ok(Ran::Ended(Outcome { exit_code, oom_killed, notes: Vec::new() }))
        }
    }
}

/// Whether it has a health check: a monitor runs that.
fn has_check(options: &RunOptions, meant: &Meant) -> bool {
    let image = match meant {
        Meant::Image(_, image) => Some(&image.config),
        _ => None,
    };
    Check::of(&image_config::of_container(options, image)).is_some()
}

/// All that a container has is connected.
fn whole(options: &RunOptions) -> Attachment {
    Attachment { input: options.interactive, output: true, error: true, tty: options.tty, ..Attachment::default() }
}

/// A container that goes when it ends.
fn passing(options: &CreateOptions, meant: &Meant) -> Result<(Job, Option<OwnedFd>), Error> {
    let id = Id::random()?;
    let chosen = userns::choose(&options.run, meant)?;
    let mut facts = facts(&options.run, meant, &id, Confines::of(&options.run)?);
    facts.maps = chosen.maps;
    (facts.tool_pid, facts.made_by) = (None, Some(MadeBy::here(&options.made_by)));
    if matches!(meant, Meant::Directory | Meant::Archive) {
        facts.root = in_full(Path::new(&facts.root))?;
        if matches!(meant, Meant::Archive) {
            facts.archive = Some(image::Store::open(data_dir())?.archive(Path::new(&facts.root))?.digest);
        }
    }
    if let Some(path) = &options.cidfile {
        write_cidfile(path, id.as_str())?;
    }
    Ok((Job { id, facts, stays: false, size: tty::size(), pid_file: None }, chosen.held))
}

/// What `start` is asked for.
#[derive(Clone, Debug, Default)]
pub struct StartOrder {
    /// It is attended to, until it has ended.
    pub attach: Option<AttachOrder>,
}

/// Starts a container that does not run. Its exit code, if it was attended to its end. One that runs already is left as
/// it is. Tells `note` what is worth knowing of the start.
pub fn start(words: &str, order: &StartOrder, note: Note<'_>) -> Result<Option<i32>, Error> {
    let (found, lock) = locked(words, FlockOperation::NonBlockingLockExclusive)?;
    let Some(attach) = &order.attach else {
        return if found.is_running { Ok(None) } else { begin(found, &lock, note).map(|_| None) };
    };
    if found.is_running {
        drop(lock);
        return super::attach(words, attach);
    }
    let options = options_of(&found)?;
    let attachment = attach.to(options);
    if attachment.input {
        foreground::check_terminal(options)?;
    }
    let signals = Signals::hold()?;
    let (line, program) = begin(found, &lock, note)?;
    drop(lock);
    Ok(attach::attend(&line, Some(program), &attachment, &signals)?.exit_code())
}

/// Starts it. The caller has it locked.
fn begin(found: Found, lock: &OwnedFd, note: Note<'_>) -> Result<(OwnedFd, OwnedFd), Error> {
    pods::start_infra(options_of(&found)?)?;
    life::unmark_stopped(&found.id)?;
    let Found { id, facts, .. } = found;
    let facts = facts.ok_or_else(|| Error::NoSuchContainer { words: id.as_str().to_owned() })?;
    let line = monitor::spawn(Job { id, facts, stays: true, size: tty::size(), pid_file: None }, Some(lock))?;
    let program = attach::wait_for_start(&line, note)?;
    Ok((line, program))
}

/// Stops a container, if it runs, and starts it. Tells `note` what is worth knowing of the start.
pub fn restart(words: &str, order: StopOrder, note: Note<'_>) -> Result<(), Error> {
    let found = get(words)?;
    if !found.stays || (found.is_running && passing::is_passing(found.facts()?)) {
        return Err(Error::GoesAtItsEnd { container: found.shown().to_owned() });
    }
    options_of(&found)?;
    let id = found.id.as_str().to_owned();
    let mut stopped = Ok(());
    stop(std::slice::from_ref(&id), order, &mut |_, result| stopped = result);
    stopped?;
    let (found, lock) = locked(&id, FlockOperation::NonBlockingLockExclusive)?;
    let facts = found.facts()?.clone();
    if !found.is_running {
        begin(found, &lock, note)?;
    }
    events::container("restart", &facts, &[]);
    Ok(())
}

/// What it was made with.
pub(super) fn options_of(found: &Found) -> Result<&RunOptions, Error> {
    let other_release = || Error::OtherRelease { container: found.shown().to_owned() };
    found.facts()?.options.as_deref().ok_or_else(other_release)
}
