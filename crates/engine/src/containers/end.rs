//! `kill` and `stop`: the end of a container, brought about.
//!
//! Each signal goes to the container's first process; with that one's end the kernel kills the others. What belongs to the
//! container is removed by its tool or its monitor, as always. One that stays is marked as stopped before, so that its policy
//! does not start it again.

use super::{Found, alive, get};
use crate::error::Error;
use crate::events;
use crate::life;
use crate::signals::signal_number;
use crate::state::{self, Facts};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// How long `stop` gives a container by default, as Docker does.
const USUAL: Duration = Duration::from_secs(10);
/// How long a container may take to have a first process.
const START: Duration = Duration::from_secs(5);
/// How long a tool may take to remove a container that has ended. One whose output nobody takes never ends.
const REMOVAL: Duration = Duration::from_secs(5);

/// What `stop` is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct StopOrder {
    /// The signal; by default the one that the image wants, or SIGTERM.
    pub signal: Option<i32>,
    /// How long until SIGKILL; `Some(None)` is for ever.
    pub timeout: Option<Option<Duration>>,
}

/// Sends a signal to a container that runs.
pub fn kill(words: &str, signal: i32) -> Result<(), Error> {
    let found = get_as_root(words)?;
    // A signal that may be handled is no end. [moby, daemon/kill.go]
    let is_end = found.stays && (signal == SIGKILL || signal == stop_by(found.facts()?).0);
    let first = match alive::first(&found) {
        // There is nobody to be signalled, but that it shall end it can be told.
        Err(Error::NoProcess { .. }) if found.stays && is_restarting(&found) => {
            if is_end {
                life::mark_stopped(&found.id)?;
                alive::send(&found, &alive::tool(&found)?, SIGTERM)?;
            }
            return Ok(());
        }
        first => first?,
    };
    if is_end {
        life::mark_stopped(&found.id)?;
    }
    told_of(&found, signal);
    if !alive::send(&found, &first, signal)? {
        return Err(Error::NotRunning { container: found.shown().to_owned() });
    }
    if signal == SIGKILL { thaw(&found) } else { Ok(()) }
}

/// Tells who watches that a signal is sent: before, so that the end is told after it.
fn told_of(found: &Found, signal: i32) {
    events::of_gone("kill", found.facts.as_ref(), &[("signal", &signal.to_string())]);
}

pub(super) fn get_as_root(words: &str) -> Result<Found, Error> {
    if rustix::process::geteuid().is_root() { get(words) } else { Err(Error::NotRoot) }
}

/// On cgroup v1 one that stands still dies only when it runs on. [kernel, freezer-subsystem.rst]
fn thaw(found: &Found) -> Result<(), Error> {
    let group = found.open_cgroup()?;
    let thawed = group.is_frozen().and_then(|is_frozen| if is_frozen { group.thaw() } else { Ok(()) });
    thawed.map_err(|error| runtime::Error::from(error).into())
}

/// One that is being stopped.
struct Stopping<'a> {
    words: &'a str,
    found: Found,
    first: OwnedFd,
    tool: OwnedFd,
    stage: Stage,
    until: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asked,
    Killed,
    /// Its tool removes it.
    Ended,
}

/// Stops containers, all at once; says of each what became of it, when it is known.
pub fn stop(words: &[String], order: StopOrder, told: &mut dyn FnMut(&str, Result<(), Error>)) {
    let mut left = Vec::new();
    for words in words {
        match begin(words, order) {
            Ok(Some(stopping)) => left.push(stopping),
            Ok(None) => told(words, Ok(())),
            Err(error) => told(words, Err(error)),
        }
    }
    while !left.is_empty() {
        if let Err(error) = wait_for_any(&left) {
            let failed = |one: Stopping<'_>| Error::process("wait for", one.found.shown())(error);
            return left.into_iter().for_each(|one| told(one.words, Err(failed(one))));
        }
        let mut more = Vec::new();
        for mut one in left {
            match go_on(&mut one) {
                Ok(false) => more.push(one),
                Ok(true) => {
                    events::of_gone("stop", one.found.facts.as_ref(), &[]);
                    told(one.words, Ok(()));
                }
                Err(error) => told(one.words, Err(error)),
            }
        }
        left = more;
    }
}

/// How a container is asked to end, and how long that may take; none is for ever.
pub(crate) fn stop_by(facts: &Facts) -> (i32, Option<Duration>) {
    let options = facts.options.as_deref();
    let wanted = options.and_then(|options| options.stop_signal.as_deref()).unwrap_or(&facts.config.stop_signal);
    let signal = signal_number(wanted).filter(|signal| *signal > 0).unwrap_or(SIGTERM);
    let patience = match options.and_then(|options| options.stop_timeout) {
        None => Some(USUAL),
        Some(seconds) => u64::try_from(seconds).ok().map(Duration::from_secs),
    };
    (signal, patience)
}

/// Sends the first signal. None when it does not run.
fn begin(words: &str, order: StopOrder) -> Result<Option<Stopping<'_>>, Error> {
    let found = get_as_root(words)?;
    if !found.is_running {
        return Ok(None);
    }
    let (signal, patience) = stop_by(found.facts()?);
    let signal = order.signal.unwrap_or(signal);
    if found.stays {
        life::mark_stopped(&found.id)?;
    }
    let Some((first, tool)) = processes(&found)? else { return Ok(None) };
    let until = order.timeout.unwrap_or(patience).map(|time| Instant::now() + time);
    told_of(&found, signal);
    alive::send(&found, &first, signal)?;
    thaw(&found)?;
    Ok(Some(Stopping { words, found, first, tool, stage: Stage::Asked, until }))
}

/// Its first process and its tool, which may be only starting; none when it is ending.
fn processes(found: &Found) -> Result<Option<(OwnedFd, OwnedFd)>, Error> {
    let until = Instant::now() + START;
    loop {
        let tool = match alive::tool(found) {
            Err(Error::NotRunning { .. }) => return Ok(None),
            tool => tool?,
        };
        match alive::first(found) {
            // A monitor that waits for the next start ends at once, one that has just started it ends it.
            Err(Error::NoProcess { .. }) if found.stays && is_restarting(found) => {
                alive::send(found, &tool, SIGTERM)?;
                let first = tool.try_clone().map_err(|e| Error::Process {
                    what: "watch",
                    container: found.shown().to_owned(),
                    source: e,
                })?;
                return Ok(Some((first, tool)));
            }
            Err(Error::NoProcess { .. }) if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
            first => return Ok(Some((first?, tool))),
        }
    }
}

fn is_restarting(found: &Found) -> bool {
    state::said(&found.id).is_some_and(|said| said.news.restarting == Some(true))
}

fn wait_for_any(left: &[Stopping<'_>]) -> Result<(), Errno> {
    let waits =
        |one: &Stopping<'_>| if one.stage == Stage::Ended { one.tool.try_clone() } else { one.first.try_clone() };
    let copies: Vec<OwnedFd> = left.iter().filter_map(|one| waits(one).ok()).collect();
    let next = left.iter().filter_map(|one| one.until).min();
    let time = next.map(|next| next.saturating_duration_since(Instant::now()));
    alive::wait(&copies.iter().collect::<Vec<_>>(), time).map(drop)
}

/// Looks at one; true when it has stopped.
fn go_on(one: &mut Stopping<'_>) -> Result<bool, Error> {
    let has_ended = |process: &OwnedFd| {
        let ended = alive::wait(&[process], Some(Duration::ZERO)).map_err(Error::process("wait for", one.words))?;
        Ok::<bool, Error>(ended == [true])
    };
    if has_ended(&one.tool)? {
        return Ok(true);
    }
    let is_late = one.until.is_some_and(|until| until <= Instant::now());
    if one.stage != Stage::Ended && has_ended(&one.first)? {
        (one.stage, one.until) = (Stage::Ended, Some(Instant::now() + REMOVAL));
    } else if is_late && one.stage == Stage::Asked {
        (one.stage, one.until) = (Stage::Killed, None);
        told_of(&one.found, SIGKILL);
        alive::send(&one.found, &one.first, SIGKILL)?;
        thaw(&one.found)?;
    }
    // It has stopped, also when its tool has not ended as yet.
    Ok(is_late && one.stage == Stage::Ended)
}
