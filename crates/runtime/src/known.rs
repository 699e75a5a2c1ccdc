//! A container that was made before, found by its id: what every OCI verb but `create` works on.
//!
//! Its state is never taken from memory: the record says who the first process is, the kernel whether it lives and
//! whether the group stands still. Changes are made under the record's lock.

use crate::channel::Channel;
use crate::error::Error;
use crate::hooks;
use crate::launch::run_poststop;
use crate::notify::Agent;
use crate::pinned::Pinned;
use crate::process::Process;
use crate::procfs::Procfs;
use crate::record::{Facts, Record, Records};
use crate::resctrl::Resctrl;
use crate::status::{SPEC_VERSION, StateJson, Status};
use crate::{Runtime, plan};
use cgroup::{Cgroup, Host, OomWatch, Stats};
use oci_spec::runtime::{LinuxResources, Spec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use seccomp::cache::Cache;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use step::step;

const SIGKILL: i32 = 9;
/// How long a killed process is given to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// A container by its record.
#[derive(Debug)]
pub struct Known {
    record: Record,
    proc: Option<Procfs>,
    /// Directory of compiled filters.
    filters: PathBuf,
}

impl Runtime {
    /// Finds a container.
    pub fn find(&self, id: &str) -> Result<Known, Error> {
        crate::record::check_id(id)?;
        match Records::existing(&self.root) {
            Err(Error::Record { source: Errno::NOENT, .. }) => Err(Error::NoSuchContainer(id.to_owned())),
            records => Ok(self.known(records?.load(id)?)),
        }
    }

    pub(crate) fn known(&self, record: Record) -> Known {
        Known { record, proc: None, filters: self.filters_path() }
    }

    /// The ids of all containers, sorted.
    pub fn ids(&self) -> Result<Vec<String>, Error> {
        match Records::existing(&self.root) {
            Err(Error::Record { source: Errno::NOENT, .. }) => Ok(Vec::new()),
            records => records?.ids(),
        }
    }
}

impl Known {
    /// Its id.
    pub fn id(&self) -> &str {
        self.record.id()
    }

    fn proc(&mut self) -> Result<&Procfs, Error> {
        if self.proc.is_none() {
            self.proc = Some(Procfs::host()?);
        }
        self.proc.as_ref().ok_or(Error::Proc(Errno::NOENT))
    }

    pub(crate) fn lock(&mut self) -> Result<(), Error> {
        self.record.lock()
    }

    pub(crate) fn init(&self) -> Option<Pinned> {
        self.record.init
    }

    pub(crate) fn rootfs(&self) -> Result<&Path, Error> {
        Ok(&self.facts()?.rootfs)
    }

    /// What the first process's standard streams were when it was made.
    pub(crate) fn streams(&self) -> Result<Vec<String>, Error> {
        Ok(self.facts()?.streams.clone())
    }

    fn facts(&self) -> Result<&Facts, Error> {
        self.record.facts.as_ref().ok_or_else(|| Error::NoSuchContainer(self.id().to_owned()))
    }

    /// The first process, if it lives.
    fn living_init(&mut self) -> Result<Option<Pinned>, Error> {
        let Some(init) = self.record.init else { return Ok(None) };
        self.proc()?;
        let (Some(facts), Some(proc)) = (&self.record.facts, &self.proc) else { return Ok(None) };
        Ok((facts.is_of_this_boot(proc) && init.is_alive(proc)?).then_some(init))
    }

    /// Where it is in its life.
    pub fn status(&mut self) -> Result<Status, Error> {
        if self.record.init.is_none() {
            return Ok(if self.is_being_made()? { Status::Creating } else { Status::Stopped });
        }
        if self.living_init()?.is_none() {
            return Ok(Status::Stopped);
        }
        // Also of one that was not started: a start that waits for what stands still would wait for ever.
        if self.cgroup()?.is_frozen()? {
            return Ok(Status::Paused);
        }
        Ok(if self.record.started { Status::Running } else { Status::Created })
    }

    /// True while the tool that makes it lives.
    fn is_being_made(&mut self) -> Result<bool, Error> {
        self.proc()?;
        match (&self.record.facts, &self.proc) {
            (Some(facts), Some(proc)) => Ok(facts.is_of_this_boot(proc) && facts.tool.is_alive(proc)?),
            // It claimed the id a moment ago, and has its lock.
            _ => Ok(!self.record.try_lock()?),
        }
    }

    /// The first process's id; 0 when it does not live.
    pub fn pid(&mut self) -> Result<i32, Error> {
        Ok(self.living_init()?.map_or(0, |init| init.pid))
    }

    /// The state in the specification's shape.
    pub fn state(&mut self) -> Result<StateJson, Error> {
        let (status, pid) = (self.status()?, self.pid()?);
        let Ok(facts) = self.facts() else {
            // A tool that was killed before its first word, or is about to say it.
            return Ok(StateJson {
                oci_version: SPEC_VERSION.into(),
                id: self.id().to_owned(),
                status,
                pid,
                bundle: PathBuf::new(),
                annotations: BTreeMap::new(),
            });
        };
        Ok(facts.state(&facts.config()?.spec, status, pid))
    }

    /// What the specification's state leaves out: root file system, time of making (RFC 3339) and owner (user id).
    pub fn origin(&self) -> Option<(&Path, &str, u32)> {
        let facts = self.record.facts.as_ref()?;
        Some((&facts.rootfs, &facts.created, facts.owner))
    }

    /// The configuration as it was when the container was made, without its system call filter.
    pub fn spec(&self) -> Result<Spec, Error> {
        Ok(self.facts()?.config()?.spec)
    }

    /// The configuration, with the agent of its filter if it asks one; and the filter.
    pub(crate) fn spec_and_filter(&self) -> Result<(Spec, Option<seccomp::Program>), Error> {
        let mut config = self.facts()?.config()?;
        let filter = config.filter(Cache::open(&self.filters).as_ref())?;
        Ok((config.spec, filter))
    }

    pub(crate) fn cgroup(&self) -> Result<Cgroup, Error> {
        Ok(Cgroup::open(&Host::detect()?, &self.facts()?.cgroup)?)
    }

    pub(crate) fn bundle(&self) -> Result<PathBuf, Error> {
        Ok(self.facts()?.bundle.clone())
    }

    pub(crate) fn is_rootless(&self) -> bool {
        self.record.facts.as_ref().is_some_and(|facts| facts.rootless)
    }

    fn wrong(&self, what: &'static str, status: Status) -> Error {
        Error::WrongStatus { what, id: self.id().to_owned(), status }
    }

    /// Starts a created container's program. Returns when it runs, or with the reason why it does not.
    pub fn start(&mut self) -> Result<(), Error> {
        self.record.lock()?;
        let status = self.status()?;
        let (spec, _) = self.spec_and_filter()?;
        let mut state = self.state()?;
        let (Status::Created, Some(init)) = (status, self.record.init) else { return Err(self.wrong("start", status)) };
        let pidfd = init.open(self.proc()?)?.ok_or_else(|| self.wrong("start", Status::Stopped))?;
        let connection = self.record.connect_to_start()?.ok_or_else(|| self.wrong("start", Status::Running))?;
        let agent = Agent::of(&spec, state.clone())?;
        Process::new(init.pid, pidfd, Channel::from_connection(connection), agent).start()?;
        self.record.remove_socket();
        state.status = Status::Running;
        let hooks = spec.hooks().as_ref().and_then(|hooks| hooks.poststart().as_deref()).unwrap_or_default();
        if let Err(error) = hooks::run(hooks, "poststart", &state.to_json(), Some(&self.facts()?.bundle.clone())) {
            // The specification has a failed hook end the container.
            let _ = self.signal_init(init, SIGKILL);
            return Err(error);
        }
        Ok(())
    }

    /// Sends a signal to the first process. To a paused container it is delivered when it goes on; SIGKILL has it go on.
    pub fn kill(&mut self, signal: i32) -> Result<(), Error> {
        let status = self.status()?;
        let (Status::Created | Status::Running | Status::Paused, Some(init)) = (status, self.record.init) else {
            return Err(self.wrong("kill", status));
        };
        let what = || format!("signal {signal} to process {}", init.pid);
        step("send-signal", "asked for by kill", what, || self.signal_init(init, signal))?;
        if signal == SIGKILL && status == Status::Paused {
            self.cgroup()?.thaw()?;
        }
        Ok(())
    }

    /// Sends a signal to every process of the container, also when the first one has ended: in a pid namespace that is
    /// shared, the others live on.
    pub fn kill_all(&mut self, signal: i32) -> Result<(), Error> {
        let init = self.living_init()?;
        let cgroup = self.cgroup()?;
        match init {
            // Somebody removed its groups, or it has none: then only the first process is known.
            Some(init) if !cgroup.exists() => self.signal_init(init, signal),
            // What an earlier boot's record names may be another's by now.
            None if !self.is_of_this_boot()? => Err(self.wrong("kill", Status::Stopped)),
            _ if signal == SIGKILL => Ok(cgroup.kill()?),
            _ => Ok(cgroup.signal_all(signal)?),
        }
    }

    fn is_of_this_boot(&mut self) -> Result<bool, Error> {
        self.proc()?;
        Ok(matches!((&self.record.facts, &self.proc), (Some(facts), Some(proc)) if facts.is_of_this_boot(proc)))
    }

    fn signal_init(&mut self, init: Pinned, signal: i32) -> Result<(), Error> {
        let pidfd = init.open(self.proc()?)?.ok_or_else(|| self.wrong("kill", Status::Stopped))?;
        match sys::signal::send_to_pidfd(pidfd.as_fd(), signal) {
            Err(e) if Errno::from_io_error(&e) == Some(Errno::SRCH) => Err(self.wrong("kill", Status::Stopped)),
            done => {
                done.map_err(|source| Error::Process { what: format!("send signal {signal} to the process"), source })
            }
        }
    }

    /// Has every process of the container stand still.
    pub fn pause(&mut self) -> Result<(), Error> {
        self.record.lock()?;
        match self.status()? {
            Status::Running | Status::Created => Ok(self.cgroup()?.freeze()?),
            status => Err(self.wrong("pause", status)),
        }
    }

    /// Has them go on.
    pub fn resume(&mut self) -> Result<(), Error> {
        self.record.lock()?;
        match self.status()? {
            Status::Paused => Ok(self.cgroup()?.thaw()?),
            status => Err(self.wrong("resume", status)),
        }
    }

    /// Changes its limits; what `resources` does not name stays as it is.
    pub fn update(&mut self, resources: &LinuxResources) -> Result<(), Error> {
        self.record.lock()?;
        match self.status()? {
            Status::Created | Status::Running | Status::Paused => Ok(self.cgroup()?.update(resources)?),
            status => Err(self.wrong("update", status)),
        }
    }

    /// Changes its shares of cache and memory bandwidth (Intel RDT).
    pub fn update_resctrl(&mut self, l3_cache: Option<&str>, bandwidth: Option<&str>) -> Result<(), Error> {
        self.record.lock()?;
        match self.status()? {
            Status::Created | Status::Running | Status::Paused => {
                let spec = self.spec()?;
                let asked = spec.linux().as_ref().map(plan::shares).transpose()?.flatten();
                let asked = asked.ok_or_else(|| Error::Invalid("it has no `linux.intelRdt` section".into()))?;
                let resctrl = Resctrl::mounted()?;
                resctrl.update(&resctrl.group(&asked, self.id()), l3_cache, bandwidth)
            }
            status => Err(self.wrong("update", status)),
        }
    }

    /// Every process of the container, by id, as the host sees them.
    pub fn processes(&mut self) -> Result<Vec<i32>, Error> {
        let listed = self.cgroup()?.processes()?;
        if !listed.is_empty() {
            return Ok(listed);
        }
        // Without a group of its own those are known that are in its namespace of processes.
        Ok(self.living_init()?.map(|init| beside(init.pid)).unwrap_or_default())
    }

    /// What it has used so far.
    pub fn stats(&mut self) -> Result<Stats, Error> {
        match self.status()? {
            Status::Created | Status::Running | Status::Paused => Ok(self.cgroup()?.stats()?),
            status => Err(self.wrong("look at", status)),
        }
    }

    /// Tells when it runs out of memory.
    pub fn oom_watch(&self) -> Result<OomWatch, Error> {
        Ok(self.cgroup()?.oom_watch()?)
    }

    /// A descriptor of the first process, if it lives: readable when it has ended.
    pub fn pidfd(&mut self) -> Result<Option<OwnedFd>, Error> {
        match self.living_init()? {
            Some(init) => init.open(self.proc()?),
            None => Ok(None),
        }
    }

    /// Removes all that is left of it: processes, group, socket, record. With `force` it is ended first, whatever it is
    /// at. Returns what went wrong and did not stop the removal.
    pub fn delete(mut self, force: bool) -> Result<Vec<Error>, Error> {
        if force {
            self.end_its_maker()?;
        }
        self.record.lock()?;
        match self.status() {
            Ok(Status::Stopped) => {}
            // Whatever it is at, and also when that cannot be told.
            _ if force => {}
            status => return Err(self.wrong("delete", status?)),
        }
        if self.record.facts.is_none() {
            self.record.remove()?;
            return Ok(Vec::new());
        }
        self.end_everything()?;
        let mut notes = Vec::new();
        notes.extend(self.cgroup()?.remove().into_iter().map(Error::from));
        let (Ok(spec), Ok(state)) = (self.spec(), self.state()) else {
            // By another release, whose configuration cannot be read any more.
            self.record.remove()?;
            return Ok(notes);
        };
        let shares = spec.linux().as_ref().and_then(|linux| plan::shares(linux).ok()).flatten();
        if let (Some(shares), Ok(resctrl)) = (shares, Resctrl::mounted()) {
            notes.extend(resctrl.group(&shares, self.id()).remove());
        }
        let hooks = spec.hooks().as_ref().and_then(|hooks| hooks.poststop().as_deref()).unwrap_or_default();
        notes.extend(run_poststop(hooks, state));
        // Last: until here the next command finds what is left.
        step("remove-record", "the container is gone", || "remove its record".into(), || self.record.remove())?;
        Ok(notes)
    }

    /// A tool that is at making it holds the lock; killed, it takes the container's first process with it.
    fn end_its_maker(&mut self) -> Result<(), Error> {
        if self.record.init.is_some() || self.status()? != Status::Creating {
            return Ok(());
        }
        let (Some(tool), proc) = (self.record.facts.as_ref().map(|facts| facts.tool), Procfs::host()?) else {
            return Ok(());
        };
        match tool.open(&proc)? {
            Some(pidfd) => end(pidfd, self.id(), tool.pid),
            None => Ok(()),
        }
    }

    /// Ends what lives of it and waits for that.
    fn end_everything(&mut self) -> Result<(), Error> {
        let init = match self.living_init()? {
            Some(init) => init.open(self.proc()?)?.map(|pidfd| (pidfd, init.pid)),
            None => None,
        };
        // What an earlier boot's record names may be another's by now.
        if self.is_of_this_boot()? {
            // Also thaws: a process that stands still does not die.
            self.cgroup()?.kill()?;
        }
        match init {
            Some((pidfd, pid)) => end(pidfd, self.id(), pid),
            None => Ok(()),
        }
    }
}

/// Kills a process and waits for its end.
fn end(pidfd: OwnedFd, id: &str, pid: i32) -> Result<(), Error> {
    let _ = sys::signal::send_to_pidfd(pidfd.as_fd(), SIGKILL);
    let until = Instant::now() + PATIENCE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::process("wait for the process")(errno)),
            Ok(0) => return Err(Error::DoesNotEnd { id: id.to_owned(), pid }),
            Ok(_) => return Ok(()),
        }
    }
}

/// A container's first process, and those that are with it in a namespace of processes that is not ours, as far as we may
/// look at them.
fn beside(first: i32) -> Vec<i32> {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = namespace(&first.to_string()).filter(|own| namespace("self").is_some_and(|ours| ours != *own));
    let Some(own) = own else { return vec![first] };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| *pid == first || namespace(&pid.to_string()).as_ref() == Some(&own)).collect()
}
