//! `wait`: the end of a container, or what else may become of it.
//!
//! The exit code of a container is known to its tool or its monitor alone: it writes the code into the record before it
//! removes it, and whoever waits has the record open. That one runs no more the end of that process says. Nobody says what
//! else becomes of a container: so it is looked at again and again, and at once when its tool ends or something is written in
//! its directory, as its monitor does at each start and end. So no end is missed between two starts.

use super::end::get_as_root;
use super::list::{self, State};
use super::{Found, alive};
use crate::error::Error;
use crate::health::{self, Status};
use crate::life::{self, Life};
use crate::parse::ParseError;
use crate::state::{self, Id};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// What is waited for. The names are those of Docker and of Podman.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// It does not run.
    #[default]
    NotRunning,
    /// It has ended from now on, whether or not it is started again.
    NextExit,
    /// It is there no more.
    Removed,
    /// It was never started.
    Created,
    /// It runs.
    Running,
    /// It stands still.
    Paused,
    /// It has ended, and will be started again.
    Restarting,
    /// It was started, and has ended.
    Exited,
    /// Its check finds it well.
    Healthy,
    /// Its check does not.
    Unhealthy,
}

const NAMES: [(&str, Condition); 12] = [
    ("not-running", Condition::NotRunning),
    ("next-exit", Condition::NextExit),
    ("removed", Condition::Removed),
    ("created", Condition::Created),
    ("configured", Condition::Created),
    ("running", Condition::Running),
    ("paused", Condition::Paused),
    ("restarting", Condition::Restarting),
    ("exited", Condition::Exited),
    ("stopped", Condition::Exited),
    ("healthy", Condition::Healthy),
    ("unhealthy", Condition::Unhealthy),
];

impl Condition {
    /// By its name.
    pub fn parse(text: &str) -> Result<Condition, ParseError> {
        NAMES.iter().find(|(name, _)| *name == text).map(|(_, condition)| *condition).ok_or_else(|| {
            let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            ParseError::new(text, format!("a condition is one of {}", names.join(", ")))
        })
    }

    /// Whether it is an end, of which the exit code is told.
    fn is_end(self) -> bool {
        use Condition::{Exited, NextExit, NotRunning, Removed};
        matches!(self, NotRunning | NextExit | Removed | Exited)
    }
}

/// What `wait` is asked for.
#[derive(Clone, Debug)]
pub struct WaitOrder {
    /// Any of these; none is [`Condition::NotRunning`].
    pub conditions: Vec<Condition>,
    /// How often it is looked at.
    pub interval: Duration,
}

impl Default for WaitOrder {
    fn default() -> WaitOrder {
        WaitOrder { conditions: Vec::new(), interval: Duration::from_millis(250) }
    }
}

/// What Podman prints of what is no end.
const NO_END: i32 = -1;

/// A container that is waited for.
#[derive(Debug)]
pub struct Waiting {
    container: String,
    id: Id,
    order: WaitOrder,
    /// Its record and its tool; nothing of one that does not run.
    running: Option<(OwnedFd, OwnedFd)>,
    /// Wakes when something is written in its directory.
    watch: Option<OwnedFd>,
    seen: Seen,
}

/// What was seen of it.
#[derive(Clone, Debug)]
struct Seen {
    state: State,
    is_running: bool,
    /// When it was started last, as far as is known.
    started: Option<String>,
    /// What its monitor has written last: of its last end, also while it is about to be started again.
    last: Life,
    health: Option<Status>,
}

impl Seen {
    fn of(found: &Found) -> Seen {
        let life = list::of(found);
        let last = if found.is_running { life::read(&found.id) } else { life.clone() };
        let freezer = if found.is_running { list::freezer_of_host() } else { None };
        let state = list::state(found, life.as_ref(), freezer.as_ref());
        let health = found.facts.as_ref().and_then(|facts| health::read(&found.id, &facts.config, found.is_running));
        Seen {
            state,
            is_running: found.is_running,
            started: life.and_then(|life| life.started),
            last: last.unwrap_or_default(),
            health: health.map(|health| health.status).filter(|_| found.is_running),
        }
    }

    /// Whether it has ended between `before` and now.
    fn has_ended_since(&self, before: &Seen) -> bool {
        let is_new = |now: &Option<String>, then: &Option<String>| now.is_some() && now != then;
        let was_begun = before.is_running && before.started.is_some() && before.state != State::Restarting;
        is_new(&self.last.finished, &before.last.finished)
            // Nobody came to write how.
            || (was_begun && (!self.is_running || is_new(&self.started, &before.started)))
    }

    /// How it has ended; nothing where it runs again and nobody wrote it.
    fn exit_code(&self) -> Option<i32> {
        (!self.is_running || self.last.finished.is_some()).then_some(self.last.exit_code)
    }

    fn is(&self, condition: Condition, before: &Seen) -> bool {
        match condition {
            Condition::NotRunning => !self.is_running,
            Condition::NextExit => self.has_ended_since(before),
            Condition::Removed => false,
            Condition::Created => self.state == State::Created,
            Condition::Running => self.state == State::Running,
            Condition::Paused => self.state == State::Paused,
            Condition::Restarting => self.state == State::Restarting,
            Condition::Exited => self.state == State::Exited,
            Condition::Healthy => self.health == Some(Status::Healthy),
            Condition::Unhealthy => self.health == Some(Status::Unhealthy),
        }
    }
}

impl Waiting {
    /// Finds it, so that its end cannot be missed from here on.
    pub fn new(words: &str, order: &WaitOrder) -> Result<Waiting, Error> {
        let found = get_as_root(words)?;
        // Before it is looked at.
        let watch = if order.conditions.is_empty() { None } else { watch(&found.id) };
        let found = if watch.is_some() { Found::load(&found.id).unwrap_or(found) } else { found };
        let running = match running(&found).transpose() {
            Ok(running) => running,
            // It has ended since it was looked at; of one that stays it is known how.
            Err(_) if found.stays && Found::load(&found.id).is_none_or(|now| !now.is_running) => None,
            Err(error) => return Err(error),
        };
        let seen = Seen::of(&found);
        Ok(Waiting { container: found.shown().to_owned(), id: found.id, order: order.clone(), running, watch, seen })
    }

    /// Waits, and tells its exit code; of what is no end -1.
    pub fn wait(mut self) -> Result<i32, Error> {
        if self.order.conditions.iter().all(|condition| *condition == Condition::NotRunning) {
            return self.until_it_does_not_run();
        }
        let mut before = self.seen.clone();
        loop {
            let Some(found) = Found::load(&self.id) else { return self.gone() };
            let now = Seen::of(&found);
            // Of one that is being removed what its end was may be gone already, and it itself was not.
            if !now.is_running && now.last.started.is_none() && Found::load(&self.id).is_none() {
                return self.gone();
            }
            if let Some(condition) = self.order.conditions.iter().find(|condition| now.is(**condition, &before)) {
                return match condition.is_end() {
                    true => now.exit_code().ok_or(Error::NoExitCode { container: self.container }),
                    false => Ok(NO_END),
                };
            }
            // Of each start another one; it may have ended again, and then that is what the next look finds.
            let has_ended =
                |(_, tool): &(OwnedFd, OwnedFd)| alive::wait(&[tool], Some(Duration::ZERO)) == Ok(vec![true]);
            if !found.is_running || self.running.as_ref().is_none_or(has_ended) {
                self.running = running(&found).and_then(Result::ok);
            }
            self.seen = now.clone();
            before = now;
            self.sleep()?;
        }
    }

    fn until_it_does_not_run(self) -> Result<i32, Error> {
        let stopped = |id: &Id| life::of_stopped(id).map(|life| life.exit_code);
        let Some((record, tool)) = self.running else {
            return match stopped(&self.id) {
                Some(code) => Ok(code),
                // What its end was is gone with it, if it had one.
                None if Found::load(&self.id).is_none() => Err(Error::NoSuchContainer { words: self.container }),
                // It was never started.
                None => Ok(0),
            };
        };
        let failed = |error| Error::process("wait for", &self.container)(error);
        while alive::wait(&[&tool], None).map_err(failed)? != [true] {}
        // Of one that stays more is known than its monitor came to say.
        if Found::load(&self.id).is_some_and(|found| found.stays && !found.is_running)
            // Of one that is being removed that may be gone already.
            && let Some(code) = stopped(&self.id)
        {
            return Ok(code);
        }
        state::exit_code(record).ok_or(Error::NoExitCode { container: self.container })
    }

    /// It is not there any more.
    fn gone(self) -> Result<i32, Error> {
        if !self.order.conditions.iter().any(|condition| condition.is_end()) {
            return Err(Error::NoSuchContainer { words: self.container });
        }
        match self.running {
            // One that stayed has told its end there, too.
            Some((record, _)) => state::exit_code(record).ok_or(Error::NoExitCode { container: self.container }),
            None => Ok(self.seen.last.exit_code),
        }
    }

    fn sleep(&self) -> Result<(), Error> {
        let tool = self.running.as_ref().map(|(_, tool)| tool);
        let mut watched: Vec<PollFd<'_>> =
            [tool, self.watch.as_ref()].into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        let time = self.order.interval;
        let time = Timespec { tv_sec: time.as_secs() as _, tv_nsec: time.subsec_nanos().into() };
        match poll(&mut watched, Some(&time)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(Error::process("wait for", &self.container)(error)),
        }
        if let Some(watch) = &self.watch {
            // What has changed is found out by looking.
            let mut events = [0u8; 4096];
            while rustix::io::read(watch, &mut events[..]).is_ok_and(|got| got > 0) {}
        }
        Ok(())
    }
}

/// The record and the tool of one that runs.
fn running(found: &Found) -> Option<Result<(OwnedFd, OwnedFd), Error>> {
    found.is_running.then(|| Ok((state::open(&found.id)?, alive::tool(found)?)))
}

/// None when it cannot be, as where it has no directory: then it is looked at only from time to time.
fn watch(id: &Id) -> Option<OwnedFd> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).ok()?;
    inotify::add_watch(&watch, state::layer_path(id), inotify::WatchFlags::MOVED_TO).ok()?;
    Some(watch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_between_two_looks() {
        let seen = |state, started: &str, last: (&str, &str)| {
            let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let last = Life { started: text(last.0), finished: text(last.1), exit_code: 3, ..Life::default() };
            let is_running = !matches!(state, State::Created | State::Exited);
            Seen { state, is_running, started: text(started), last, health: None }
        };
        let created = seen(State::Created, "", ("", ""));
        let starting = seen(State::Running, "", ("", ""));
        let first = seen(State::Running, "1", ("1", ""));
        // What is written of the end is seen before it is said that it is started again.
        let ending = seen(State::Running, "1", ("1", "2"));
        let restarting = seen(State::Restarting, "1", ("1", "2"));
        let beginning = seen(State::Running, "3", ("1", "2"));
        let second = seen(State::Running, "3", ("3", ""));
        let exited = seen(State::Exited, "3", ("3", "4"));
        let killed = seen(State::Exited, "1", ("1", ""));
        for (before, now, expected) in [
            (&created, &created, None),
            (&created, &starting, None),
            (&starting, &first, None),
            (&created, &first, None),
            (&created, &exited, Some(Some(3))),
            (&first, &first, None),
            (&first, &ending, Some(Some(3))),
            (&first, &restarting, Some(Some(3))),
            (&first, &beginning, Some(Some(3))),
            (&first, &killed, Some(Some(3))),
            // Nobody knows how.
            (&first, &second, Some(None)),
            (&first, &exited, Some(Some(3))),
            (&restarting, &restarting, None),
            (&restarting, &beginning, None),
            (&restarting, &second, None),
            (&restarting, &exited, Some(Some(3))),
            (&exited, &exited, None),
            (&exited, &first, None),
        ] {
            let found = now.has_ended_since(before).then(|| now.exit_code());
            assert_eq!(found, expected, "{before:?} {now:?}");
        }
    }

    #[test]
    fn conditions_have_names() {
        for (text, expected) in
            [("next-exit", Some(Condition::NextExit)), ("stopped", Some(Condition::Exited)), ("dead", None), ("", None)]
        {
            assert_eq!(Condition::parse(text).ok(), expected, "{text}");
        }
    }
}
