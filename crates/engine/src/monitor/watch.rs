//! What a monitor does, from the record to the end.

use super::Job;
use super::clients::Clients;
use super::health::Prober;
use super::program::{Program, Read, Source};
use super::wire::{self, Asked, Failure, Told};
use crate::begin::{self, Beginning, Begun};
use crate::confines::Confines;
use crate::created;
use crate::error::Error;
use crate::events;
use crate::health::Check;
use crate::image_config;
use crate::life::{self, Life};
use crate::log::{Stream, Subject, Writer};
use crate::names;
use crate::options::{Limits, NetworkMode, RunOptions};
use crate::passing;
use crate::publish;
use crate::restart::{Backoff, RestartPolicy};
use crate::rootfs::{self, Meant};
use crate::run;
use crate::state::{self, Facts, News, Record};
use image::archive::timestamp;
use network::Network;
use runtime::{Container, Exit};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant, SystemTime};
use sys::signal::{SignalFd, SignalSet, send_to_pidfd};

/// How long who is attached may take to read the last of what was printed, after the program's end.
const LAST_READING: Duration = Duration::from_secs(10);
/// How much of the output is read at once.
const CHUNK: usize = wire::LONGEST;
/// How long until a monitor lets go of its code, after the start of its program and whenever something has happened: what
/// ends or prints again before shall not pay for that.
const SETTLED: Duration = Duration::from_secs(1);

/// How long until it is looked again whether somebody still works on the container.
const BUSY: Duration = Duration::from_millis(10);

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGKILL: i32 = 9;
const SIGPIPE: i32 = 13;
const SIGTERM: i32 = 15;
const SIGXFSZ: i32 = 25;

/// All of a monitor's life. What goes wrong before the container runs is told through `line`. `lock` is let go before
/// anything is: who hears of it may be at work on the container at once.
pub(super) fn main(job: &Job, line: OwnedFd, mut lock: Option<OwnedFd>) {
    // Who waits for it may be gone.
    let told = |error: &Error| {
        let _ = wire::tell(line.as_fd(), &Told::Failed(Failure::from(error)));
    };
    let record = match claim(job, &mut lock) {
        Ok(record) => record,
        Err(error) => {
            drop(lock);
            return told(&error);
        }
    };
    if !job.stays {
        events::container("create", &record.facts(job.facts.clone()), &[]);
    }
    let network = crate::sweep::network();
    match Monitor::new(job, &record, &network) {
        Err(error) => {
            leave(job, &record, &network, lock.is_some());
            drop(lock);
            told(&error);
        }
        Ok(mut monitor) => {
            monitor.clients.add(line);
            monitor.lock = lock;
            let ended = monitor.watch();
            // Who hears of the end may start or remove it at once.
            leave(job, &record, &network, monitor.lock.is_some());
            monitor.lock = None;
            monitor.tell_end(&ended);
        }
    }
}

/// Takes the record. It says that the container is being started, and `rm --force` ends it by that: then the lock is not
/// needed any more, but for one that goes at its end, which is removed under it when it cannot be started.
fn claim(job: &Job, lock: &mut Option<OwnedFd>) -> Result<Record, Error> {
    step::step(
        "write-record",
        "the next command finds what a killed tool leaves",
        || format!("record container {}", job.id.host_name()),
        || match job.stays {
            true => {
                let record = Record::claim_of_kept(job.id.clone(), job.facts.cgroup_parent())?;
                lock.take_if(|_| !passing::is_passing(&job.facts));
                Ok(record)
            }
            false => {
                let facts = Facts { tool_pid: Some(std::process::id()), ..job.facts.clone() };
                let claim = |facts: &Facts| Record::claim(job.id.clone(), facts);
                match facts.name {
                    Some(_) => claim(&facts),
                    None => names::with_any(|name| claim(&Facts { name: Some(name.to_owned()), ..facts.clone() })),
                }
            }
        },
    )
}

/// Gives up what a monitor has of the host. Nobody is there to be told of what cannot be removed: the next sweep tries it
/// again, and tells. `is_locked` is that the container is locked by this process, with who starts it.
fn leave(job: &Job, record: &Record, network: &Network, is_locked: bool) {
    let _ = state::unlink(&state::socket_path(&job.id));
    if job.stays && passing::is_passing(&job.facts) {
        let is_gone = match is_locked {
            true => passing::remove_locked(&job.id).map(|()| true),
            false => passing::try_remove(&job.id),
        };
        record.remove();
        if matches!(is_gone, Ok(false)) {
            let _ = passing::remove_in_time(&job.id);
        }
    } else if job.stays {
        record.remove();
    } else if let Some(options) = &job.facts.options {
        let facts = record.facts(job.facts.clone());
        run::tear_down(options, record, network);
        events::container("destroy", &facts, &[]);
    }
}

struct Monitor<'a> {
    job: &'a Job,
    options: &'a RunOptions,
    record: &'a Record,
    network: &'a Network,
    confines: Confines,
    clients: Clients,
    log: Writer,
    signals: SignalFd,
    /// The container's, until it runs.
    lock: Option<OwnedFd>,
    life: Life,
    /// While the program runs, if it has a check.
    health: Option<Prober<'a>>,
    /// Somebody wants it to end: no more starts, and after a while the program is killed.
    leaving: Option<Leaving>,
    /// When the program is killed because it may run no longer.
    ends_at: Option<Instant>,
    /// When it lets go of its code, of which it has much in memory, if it has not since it waits.
    settles_at: Option<Instant>,
    space: Vec<u8>,
}

/// That the monitor was asked to end.
struct Leaving {
    kill_at: Option<Instant>,
}

/// How one run of the program ended.
struct Ended {
    code: i32,
    ran: Duration,
    /// It never ran.
    failure: Option<Failure>,
}

impl<'a> Monitor<'a> {
    fn new(job: &'a Job, record: &'a Record, network: &'a Network) -> Result<Monitor<'a>, Error> {
        let other_release = || Error::OtherRelease { container: job.facts.shown().to_owned() };
        let options = job.facts.options.as_deref().ok_or_else(other_release)?;
        let confines = job.facts.confines.clone().ok_or_else(other_release)?;
        let dir = state::layer_path(&job.id);
        if !job.stays {
            state::make_private_directory(&dir).map_err(Error::file("make", &dir))?;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, &dir, flags, Mode::empty()).map_err(Error::file("open", &dir))?;
        let name = job.facts.name.as_deref().unwrap_or_default();
        let Facts { labels, config, .. } = &job.facts;
        let attributes = options.log.attributes(&Subject { id: job.id.as_str(), name, labels, env: &config.env });
        let log = Writer::open(dir.as_fd(), &options.log, job.id.as_str(), name, &attributes)?;
        let signals = hold_signals().map_err(|source| Error::Terminal { what: "hold signals back", source })?;
        let clients = Clients::new(&job.id)?;
        let before = if job.stays { life::of_stopped(&job.id).unwrap_or_default() } else { Life::default() };
        let life = Life { started: before.started, finished: before.finished, ..Life::default() };
        Ok(Monitor {
            job,
            options,
            record,
            network,
            confines,
            clients,
            log,
            signals,
            lock: None,
            life,
            health: None,
            leaving: None,
            ends_at: None,
            settles_at: None,
            space: vec![0; CHUNK],
        })
    }

    /// Runs the program, again and again if its policy asks for that. How it ended at last, which nobody was told as yet.
    fn watch(&mut self) -> Ended {
        let mut backoff = Backoff::new();
        let mut ended = self.live();
        loop {
            let is_over = || self.is_leaving() || !self.policy().wants(ended.code, self.life.restarts);
            if ended.failure.is_some() || is_over() {
                return ended;
            }
            self.record.tell(&News { restarting: Some(true), ..News::default() });
            self.tell_end(&ended);
            self.pause(backoff.after(ended.ran));
            self.lock = self.hold();
            if self.is_leaving() {
                self.lock = None;
                return ended;
            }
            self.life.restarts += 1;
            ended = self.live();
            self.lock = None;
        }
    }

    /// Waits until nobody has the container alone, and sees to it that nobody has until it runs again: what is changed of
    /// it meanwhile, as by `network connect`, is either known to its start or done to what runs.
    fn hold(&mut self) -> Option<OwnedFd> {
        while self.job.stays && !self.is_leaving() {
            match created::lock(&self.job.id, FlockOperation::NonBlockingLockShared) {
                Ok(None) if created::exists(&self.job.id) => self.pause(BUSY),
                held => return held.ok().flatten(),
            }
        }
        None
    }

    /// Tells everybody how it ended, and waits, not for ever, until they have read it.
    fn tell_end(&mut self, ended: &Ended) {
        match &ended.failure {
            Some(failure) => self.clients.tell(&Told::Failed(failure.clone())),
            None => self.clients.ended(ended.code),
        }
        self.let_read(&mut Program::default());
    }

    /// Whether it shall not be started again.
    fn is_leaving(&self) -> bool {
        self.leaving.is_some() || (self.job.stays && life::is_stopped(&self.job.id))
    }

    /// The policy as it is now: `update` may have changed it.
    fn policy(&self) -> RestartPolicy {
        let now = if self.job.stays { created::read(&self.job.id).ok().flatten() } else { None };
        now.and_then(|facts| facts.options).map_or(self.options.restart, |options| options.restart)
    }

    /// The name, the limits and the networks as they are now.
    fn changed(&self) -> (Option<String>, Limits, NetworkMode) {
        let Facts { name, options, .. } = self.facts();
        let options = options.as_deref().unwrap_or(self.options);
        (name, options.limits.clone(), options.network.clone())
    }

    /// What the container is now: `rename`, `update` and `network connect` may have changed it.
    fn facts(&self) -> Facts {
        let kept = if self.job.stays { created::read(&self.job.id).ok().flatten() } else { None };
        kept.unwrap_or_else(|| self.record.facts(self.job.facts.clone()))
    }

    /// One run of the program.
    fn live(&mut self) -> Ended {
        let began = Instant::now();
        match self.begin() {
            Ok((begun, program)) => {
                let code = self.attend(begun, program);
                Ended { code, ran: began.elapsed(), failure: None }
            }
            Err(error) => {
                let _ = begin::end(&self.job.id, self.options, self.network);
                let code = i32::from(error.exit_code());
                (self.life.error, self.life.exit_code, self.life.boot) = (error.to_string(), code, None);
                self.write_life();
                self.record.ended(code);
                Ended { code, ran: Duration::ZERO, failure: Some(Failure::from(&error)) }
            }
        }
    }

    /// Starts the program, and notes and tells that it runs.
    fn begin(&mut self) -> Result<(Begun, Program), Error> {
        let Job { id, facts, stays, size, pid_file } = self.job;
        let meant = rootfs::meant_by(facts)?;
        let options = match &meant {
            Meant::Image(_, image) => image_config::with_image(self.options, &image.config),
            _ => self.options.clone(),
        };
        let (name, limits, network) = self.changed();
        let options = RunOptions { root: facts.root.clone(), limits, network, ..options };
        let (stdio, mut program) = Program::new(options.tty, options.interactive, *size)?;
        let beginning = Beginning {
            id,
            name: name.as_deref(),
            options: &options,
            confines: &self.confines,
            meant: &meant,
            network: self.network,
            ports: &publish::wishes(self.options, &facts.config),
            stays: *stays,
            maps: facts.maps.as_ref(),
        };
        let begun = begin::begin(&beginning, stdio).map_err(|error| begin::or_damaged(error, &meant))?;
        let process = begun.container.process();
        let pidfd = process.pidfd().try_clone_to_owned();
        let told = program.began(process).and_then(|()| {
            if let Some(path) = pid_file {
                std::fs::write(path, process.pid().to_string()).map_err(|source| Error::File {
                    what: "write the pid to",
                    path: path.clone(),
                    source,
                })?;
            }
            pidfd.map_err(|source| Error::Process { what: "watch", container: facts.shown().to_owned(), source })
        });
        let started = timestamp(SystemTime::now());
        match told {
            Ok(pidfd) => {
                // Before anybody hears of it: whatever is killed from here on, it is known to have run.
                self.record.tell(&News {
                    started: Some(started.clone()),
                    restarting: Some(false),
                    restarts: Some(self.life.restarts),
                    ..News::default()
                });
                // Before anybody knows that it runs: what was known of an earlier run is over.
                self.health =
                    Check::of(&facts.config).map(|check| Prober::new(id, self.options.cgroup_parent.as_deref(), check));
                // Before anybody hears of it: what he does then is told after this.
                events::container("start", &self.facts(), &[]);
                // From here on there may be nobody who listens, and who waits for the end of what is told is not held up.
                let _ = step::descriptor().map(sys::detach::let_go_of);
                self.lock = None;
                begun.notes.iter().for_each(|note| self.clients.tell(&Told::Noted(note)));
                self.clients.tell(&Told::Began(pidfd));
            }
            Err(error) => {
                begun.container.abandon();
                return Err(error);
            }
        }
        self.life =
            Life { started: Some(started), boot: Some(life::boot()), restarts: self.life.restarts, ..Life::default() };
        self.write_life();
        if self.life.restarts == 0 {
            self.tidy();
        }
        Ok((begun, program))
    }

    /// What may wait until the program runs: a new container goes to disk, and what others left behind is cleared away.
    fn tidy(&self) {
        if self.job.stays {
            let _ = created::sync(&self.job.id);
        }
        let _ = crate::sweep::sweep(Some(&self.job.id));
    }

    fn write_life(&self) {
        if self.job.stays {
            // A full disk is no reason to end a container.
            let _ = life::write(&self.job.id, &self.life);
        }
    }

    /// From the start of the program to its end, and to the last that it printed. Its exit code.
    fn attend(&mut self, begun: Begun, mut program: Program) -> i32 {
        let Begun { container, held, .. } = begun;
        self.settles_at = Some(Instant::now() + SETTLED);
        self.ends_at = self.options.timeout.map(|time| Instant::now() + Duration::from_secs(time.into()));
        while !self.turn(Some(&container), &mut program, None) {}
        (self.health, self.ends_at, self.settles_at) = (None, None, None);
        let exit = container.wait().unwrap_or(Exit::Code(255));
        let oom_killed = run::oom_killed(&container, exit).unwrap_or(false);
        let code = exit.shell_status();
        self.read_the_rest(&mut program);
        self.log.finish();
        let _ = container.remove();
        drop((held, program));
        let _ = begin::end(&self.job.id, self.options, self.network);
        self.life.finished = Some(timestamp(SystemTime::now()));
        (self.life.exit_code, self.life.oom_killed, self.life.boot) = (code, oom_killed, None);
        self.write_life();
        // Before anybody hears of it: who does sees what follows after this.
        events::died(&self.facts(), code, oom_killed);
        self.record.ended(code);
        code
    }

    /// Every process of the container is gone: what they printed is in the pipes, and no more comes.
    fn read_the_rest(&mut self, program: &mut Program) {
        loop {
            self.let_read(program);
            let mut is_over = true;
            for stream in program.streams() {
                is_over &= !self.read(program, stream);
            }
            if is_over {
                return;
            }
        }
    }

    /// Waits, not for ever, until who is attached has read what he was sent.
    fn let_read(&mut self, program: &mut Program) {
        let until = Instant::now() + LAST_READING;
        while !self.clients.are_ready() && Instant::now() < until {
            self.turn(None, program, Some(until));
        }
        if !self.clients.are_ready() {
            self.clients.dismiss();
        }
    }

    /// Waits for the time of the next start, and hears meanwhile who has come and what is asked.
    fn pause(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while !self.is_leaving() && Instant::now() < until {
            self.turn(None, &mut Program::default(), Some(until));
        }
    }

    /// Reads one stream once, and passes on what came; true when something did.
    fn read(&mut self, program: &mut Program, stream: Stream) -> bool {
        let Read::Some(got) = program.read(stream, &mut self.space) else { return false };
        let printed = self.space.get(..got).unwrap_or_default();
        self.log.write(stream, printed);
        self.clients.print(stream, printed);
        true
    }

    /// Waits for one thing to happen, or for a time, and does what it asks for. True when the program has ended.
    fn turn(&mut self, container: Option<&Container>, program: &mut Program, until: Option<Instant>) -> bool {
        let (mut sources, mut ready) = (Vec::new(), Vec::new());
        let (mut has_ended, mut has_signal, mut has_probed, mut has_packed) = (false, false, false, false);
        let has_settled = self.settles_at.is_some_and(|at| at <= Instant::now());
        if has_settled {
            self.settles_at = None;
        }
        {
            let mut watched: Vec<PollFd<'_>> = vec![PollFd::new(&self.signals, PollFlags::IN)];
            watched.extend(container.map(|container| PollFd::from_borrowed_fd(container.pidfd(), PollFlags::IN)));
            let before_health = watched.len();
            let of_health = self.health.iter().flat_map(Prober::interests);
            watched.extend(of_health.map(|fd| PollFd::from_borrowed_fd(fd, Prober::READY)));
            let before_program = watched.len();
            let can_print = container.is_some() && self.clients.are_ready();
            for (source, fd, flags) in program.interests(can_print) {
                watched.push(PollFd::from_borrowed_fd(fd, flags));
                sources.push(source);
            }
            let before_clients = watched.len();
            let lines = self.clients.interests(program.takes_input());
            watched.extend(lines.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
            let before_log = watched.len();
            watched.extend(self.log.interest().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            let time = self.time(program, until);
            if has_settled {
                // Just before it waits: what it runs before that would be in memory again.
                let _ = sys::memory::let_go_of_code();
            }
            let waited = poll(&mut watched, time.as_ref());
            if container.is_some() && self.settles_at.is_none() {
                self.settles_at = Some(Instant::now() + SETTLED);
            }
            if waited.is_err() {
                return false;
            }
            let happened = |fd: &PollFd<'_>| !fd.revents().is_empty();
            has_signal |= happened(&watched[0]);
            has_ended |= container.is_some() && happened(&watched[1]);
            has_probed |= watched[before_health..before_program].iter().any(happened);
            let mut of_program = watched[before_program..before_clients].iter();
            sources.retain(|_| of_program.next().is_some_and(happened));
            has_packed |= watched[before_log..].iter().any(happened);
            let of_clients = watched[before_clients..before_log].iter().map(PollFd::revents).enumerate();
            ready.extend(of_clients.filter(|(_, flags)| !flags.is_empty()));
        }
        for source in sources {
            match source {
                Source::Input => program.write(),
                Source::Output(stream) if self.clients.are_ready() => drop(self.read(program, stream)),
                Source::Output(_) => {}
            }
        }
        self.clients.go_on(&ready, &mut |asked| match asked {
            Asked::Typed(bytes) => program.type_in(bytes),
            Asked::InputEnded => program.end_input(),
            Asked::Size(columns, rows) => program.resize(columns, rows),
            Asked::Closed => {}
        });
        if ready.first().is_some_and(|(place, _)| *place == 0) {
            self.clients.accept(container.map(Container::pidfd));
        }
        if has_packed {
            self.log.tend();
        }
        if has_signal {
            self.obey(container.map(Container::pidfd));
        }
        self.keep_time(container.map(Container::pidfd));
        // The end of the container is the end of its probe, and no result.
        if !has_ended && let Some(health) = &mut self.health {
            health.go_on(has_probed, &mut self.space);
        }
        has_ended
    }

    /// How long to wait at most.
    fn time(&self, program: &Program, until: Option<Instant>) -> Option<Timespec> {
        let kill_at = self.leaving.as_ref().and_then(|leaving| leaving.kill_at);
        let health = self.health.as_ref().and_then(Prober::next_look);
        let times = [until, program.next_look(), self.log.retry_at(), kill_at, health, self.ends_at, self.settles_at];
        let next = times.into_iter().flatten().min()?;
        let time = next.saturating_duration_since(Instant::now());
        Some(Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() })
    }

    /// What is due.
    fn keep_time(&mut self, program: Option<BorrowedFd<'_>>) {
        let now = Instant::now();
        if self.log.retry_at().is_some_and(|at| at <= now) {
            self.log.retry();
        }
        if let (Some(leaving), Some(program)) = (&mut self.leaving, program)
            && leaving.kill_at.is_some_and(|at| at <= now)
        {
            leaving.kill_at = None;
            let _ = send_to_pidfd(program, SIGKILL);
        }
        if let Some(program) = program
            && self.ends_at.is_some_and(|at| at <= now)
        {
            self.ends_at = None;
            let _ = send_to_pidfd(program, SIGKILL);
        }
    }

    /// A signal to the monitor is that its container shall end: as `stop` does it.
    fn obey(&mut self, program: Option<BorrowedFd<'_>>) {
        while let Ok(Some(_)) = self.signals.next() {
            if self.leaving.is_some() {
                continue;
            }
            let (signal, patience) = crate::containers::stop_by(&self.job.facts);
            self.leaving = Some(Leaving { kill_at: patience.map(|time| Instant::now() + time) });
            if let Some(program) = program {
                let _ = send_to_pidfd(program, signal);
            }
        }
    }
}

/// Signals that ask a monitor to end; and none may end it because who was attached is gone, or its log as large as it may be.
fn hold_signals() -> std::io::Result<SignalFd> {
    let asking = SignalSet::of(&[SIGHUP, SIGINT, SIGTERM]);
    sys::signal::block(SignalSet::of(&[SIGHUP, SIGINT, SIGTERM, SIGPIPE, SIGXFSZ]))?;
    SignalFd::new(asking)
}
