//! Control groups: the limits of a container, its devices, and the certainty that all of its processes are known.
//!
//! A container is one group at its [`Location`]: on v2 one directory, on v1 one in each hierarchy that matters, or a
//! systemd scope, which is the same directories with systemd as their owner. Both versions turn the OCI resources into a
//! list of writes without touching the host, so that what cannot be enforced is refused before anything is made: a limit
//! is never dropped in silence.
//!
//! What is left on the host: the group, until [`Cgroup::remove`]. Dropping a [`Cgroup`] removes nothing, since the
//! cloned child holds a copy of it. The location is all that finds it again after the tool was killed:
//! [`Cgroup::open`], [`Cgroup::kill`], [`Cgroup::remove`]. Parents that were made on the way stay, as runc and crun
//! leave them: another container may be about to use them. On v2 the controllers that limits need stay enabled in the
//! parents.
//!
//! An ordinary user makes groups in the part of the tree that is delegated to that user (`delegation`).
//!
//! `location` reads `linux.cgroupsPath` and `host` finds the hierarchies; `resources` and `devices` read the
//! specification; `v1` and `v2` do the work, on `file`; `device_filter` makes the device program of v2. `systemd` speaks
//! to systemd by `dbus`.

mod dbus;
mod dbus_value;
mod delegation;
mod device_filter;
mod devices;
mod error;
mod file;
mod freezer;
mod gvariant;
mod host;
mod leave;
mod location;
mod oom;
mod resources;
pub mod stats;
mod stats_v1;
mod stats_v2;
mod systemd;
mod systemd_properties;
mod v1;
mod v1_files;
mod v2;
mod v2_files;

pub use delegation::{Offer, Subtree};
pub use error::Error;
pub use host::{Freezer, Host};
pub use leave::leave;
pub use location::Location;
pub use oom::OomWatch;
pub use stats::Stats;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};
use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use step::step;

/// One container's group, or groups on v1.
#[derive(Debug)]
pub struct Cgroup {
    location: Location,
    /// The host's version, also where there is no group, or not yet.
    is_v2: bool,
    version: Version,
    /// Who owns it, when that is systemd.
    unit: Option<systemd::Unit>,
    /// What a scope is to get that is not there yet.
    waiting: Option<Waiting>,
}

/// For [`Cgroup::adopt`].
#[derive(Debug)]
struct Waiting {
    resources: LinuxResources,
    rules: Vec<devices::Rule>,
    /// What [`Cgroup::v1_hierarchies`] will be.
    hierarchies: Vec<Vec<String>>,
}

#[derive(Debug)]
enum Version {
    /// [`Location::None`], or a scope before [`Cgroup::adopt`].
    None,
    V1(v1::Groups),
    V2(v2::Group),
}

impl Cgroup {
    /// Makes the group with its limits and device rules, and on failure removes what it made. A group that is there
    /// already is used when no process is in it, and refused otherwise. A systemd scope needs a process, so there only
    /// what can be refused is refused here, and [`Cgroup::adopt`] does the rest.
    ///
    /// The device rules are those of `resources`, then `devices` (what the runtime itself needs in every container),
    /// later ones winning; what no rule names is denied. No rule at all restricts nothing. Fields that are not acted on
    /// are errors, unless they ask for nothing (0, empty, or negative for "unlimited").
    pub fn create(
        host: &Host,
        location: &Location,
        resources: &LinuxResources,
        devices: &[LinuxDeviceCgroup],
    ) -> Result<Self, Error> {
        let mut rules = devices::read(resources.devices().iter().flatten().chain(devices))?;
        // A user's systemd cannot filter devices, as the user cannot. What nodes there are root has made.
        if matches!(location, Location::Systemd { user: true, .. }) {
            rules.clear();
        }
        let (path, unit) = match location {
            Location::Path(path) => (location::normal(path)?, None),
            Location::Systemd { slice, scope, user, properties } => {
                (String::new(), Some(systemd::Unit::new(slice, scope, *user, properties)?))
            }
            Location::None => {
                refuse_limits(resources)?;
                return Ok(Self::without_group(host));
            }
        };
        let (version, waiting) = match (&host.v2, &unit) {
            (Some(root), None) => (Version::V2(v2::Group::create(root, &path, resources, &rules)?), None),
            (None, None) => (Version::V1(v1::Groups::create(host, &path, resources, &rules)?), None),
            (Some(root), Some(_)) => {
                v2::Group::check(root, resources)?;
                (Version::None, Some(Waiting { resources: resources.clone(), rules, hierarchies: Vec::new() }))
            }
            (None, Some(_)) => {
                let hierarchies = v1::Groups::check(host, resources, &rules)?;
                (Version::None, Some(Waiting { resources: resources.clone(), rules, hierarchies }))
            }
        };
        Ok(Self { location: location.clone(), is_v2: host.is_v2(), version, unit, waiting })
    }

    fn without_group(host: &Host) -> Self {
        Self { location: Location::None, is_v2: host.is_v2(), version: Version::None, unit: None, waiting: None }
    }

    /// The group of that location, to join it or to clean up after a tool that was killed. A missing group, also one
    /// that is missing in some v1 hierarchies only, is no error: see [`Cgroup::exists`].
    pub fn open(host: &Host, location: &Location) -> Result<Self, Error> {
        let (path, unit) = match location {
            Location::Path(path) => (location::normal(path)?, None),
            Location::Systemd { slice, scope, user, properties } => {
                let unit = systemd::Unit::new(slice, scope, *user, properties)?;
                (unit.path(|path| host.has_group(path))?, Some(unit))
            }
            Location::None => return Ok(Self::without_group(host)),
        };
        let version = match &host.v2 {
            Some(root) => Version::V2(v2::Group::open(root, &path)?),
            None => Version::V1(v1::Groups::open(host, &path)?),
        };
        Ok(Self { location: location.clone(), is_v2: host.is_v2(), version, unit, waiting: None })
    }

    /// An existing group inside this one, for a process that joins there: `inner/deeper`, or
    /// `CONTROLLER[,CONTROLLER]:inner` on v1 for those hierarchies only, with this group in the others. Only to join:
    /// its [`Cgroup::location`] is still this one's.
    pub fn open_inner(&self, sub: &str) -> Result<Self, Error> {
        let wrong = |why| Error::Location { location: sub.into(), why };
        let (controllers, path) = match sub.split_once(':') {
            Some((controllers, path)) if !self.is_v2() => (Some(controllers), path),
            _ => (None, sub),
        };
        let path = location::normal(path)?;
        let version = match &self.version {
            Version::None => return Err(wrong("the container has no group of its own")),
            Version::V1(groups) => Version::V1(groups.open_inner(controllers, &path)?),
            Version::V2(group) => Version::V2(group.open_inner(&path)?),
        };
        let inner = Self { location: self.location.clone(), is_v2: self.is_v2, version, unit: None, waiting: None };
        if inner.exists() { Ok(inner) } else { Err(wrong("the container has no such group inside its own")) }
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Gives a systemd scope its first process and waits until systemd has made it, then applies what systemd has no
    /// property for. The process must wait for this, since its limits hold only from here on. Nothing for other
    /// locations.
    pub fn adopt(&mut self, pid: i32) -> Result<(), Error> {
        let (Some(unit), Some(Waiting { resources, rules, .. })) = (&self.unit, self.waiting.take()) else {
            return Ok(());
        };
        let host = Host::detect()?;
        let limits = match host.is_v2() {
            true => v2_files::writes(&resources, resources::Purpose::Create)?,
            false => v1_files::writes(&resources, resources::Purpose::Create)?,
        };
        let mut properties = systemd_properties::limits(&limits, None);
        properties.extend(device_policy(&rules)?);
        unit.start(pid, properties, host.is_v2())?;
        let filled = unit.path(|path| host.has_group(path)).and_then(|path| match &host.v2 {
            Some(root) => v2::Group::adopt(root, &path, &resources, &rules, pid, unit.needs_move()).map(Version::V2),
            None => v1::Groups::adopt(&host, &path, &resources, &rules, pid).map(Version::V1),
        });
        match filled {
            Ok(version) => {
                self.version = version;
                Ok(())
            }
            Err(error) => {
                // With the process in it, which has not become the program yet.
                let _ = unit.stop();
                Err(error)
            }
        }
    }

    /// The group's directory by controller, on v2 one under the empty name: what runc's state calls `cgroup_paths`.
    pub fn paths(&self) -> BTreeMap<String, PathBuf> {
        match &self.version {
            Version::None => BTreeMap::new(),
            Version::V1(groups) => groups.paths(),
            Version::V2(group) => BTreeMap::from([(String::new(), group.path().into())]),
        }
    }

    /// True when it was there, at least in part, when it was made or opened.
    pub fn exists(&self) -> bool {
        match &self.version {
            Version::None => false,
            Version::V1(groups) => groups.exists(),
            Version::V2(group) => group.exists(),
        }
    }

    /// True when the group is on cgroup v2, or would be.
    pub fn is_v2(&self) -> bool {
        self.is_v2
    }

    /// The controllers of each v1 hierarchy that it has a group in, or will have once it is adopted: what a container's own /sys/fs/cgroup may show.
    pub fn v1_hierarchies(&self) -> impl Iterator<Item = &[String]> {
        let groups = match &self.version {
            Version::V1(groups) => Some(groups),
            Version::None | Version::V2(_) => None,
        };
        let promised = self.waiting.iter().flat_map(|waiting| waiting.hierarchies.iter().map(Vec::as_slice));
        groups.into_iter().flat_map(v1::Groups::hierarchies).chain(promised)
    }

    /// The directory for clone3(2)'s CLONE_INTO_CGROUP. None on v1, where the child calls [`Cgroup::join`], and for a
    /// systemd scope that has not been adopted.
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        match &self.version {
            Version::None | Version::V1(_) => None,
            Version::V2(group) => group.clone_into(),
        }
    }

    /// Moves the calling process into the group, in the child after the clone. The process must have one thread. On v1
    /// it uses only descriptors that were opened with the group, so it works in any mount or user namespace. Nothing
    /// without a group, and for a systemd scope that waits for [`Cgroup::adopt`].
    pub fn join(&self) -> Result<(), Error> {
        if matches!(self.version, Version::None) {
            return Ok(());
        }
        let what = || format!("write 0 to the tasks of {}", self.name());
        step("join-cgroup", "limits hold from the first instruction of the program", what, || match &self.version {
            Version::None => Ok(()),
            Version::V1(groups) => groups.join(),
            Version::V2(group) => group.join(),
        })
    }

    /// As [`Cgroup::join`], by a process that was cloned with [`Cgroup::clone_into`]: what was born into the group is in
    /// it, and to say so once more would wait some 10 ms for an RCU grace period.
    pub fn join_after_clone(&self) -> Result<(), Error> {
        if self.clone_into().is_some() { Ok(()) } else { self.join() }
    }

    /// Moves the calling process, of one thread, into an existing group inside this one: see [`Cgroup::open_inner`].
    pub fn join_inner(&self, sub: &str) -> Result<(), Error> {
        self.open_inner(sub)?.join()
    }

    /// True when the kernel killed a process of the group for want of memory. False too when the group has no memory
    /// controller (v2 without a memory limit), or is gone.
    pub fn oom_killed(&self) -> Result<bool, Error> {
        match &self.version {
            Version::None => Ok(false),
            Version::V1(groups) => groups.oom_killed(),
            Version::V2(group) => group.oom_killed(),
        }
    }

    /// A descriptor to poll for the group's running out of memory. One that never is readable when the group has no
    /// memory controller.
    pub fn oom_watch(&self) -> Result<OomWatch, Error> {
        match &self.version {
            Version::None => OomWatch::never(),
            Version::V1(groups) => groups.directory("memory").map_or_else(OomWatch::never, OomWatch::v1),
            Version::V2(group) => OomWatch::v2(group.path()),
        }
    }

    /// Stops all processes of the group, and waits until they stand still. When that fails they run on: a container is
    /// never left half frozen.
    pub fn freeze(&self) -> Result<(), Error> {
        let what = || format!("freeze {}", self.name());
        step("freeze-cgroup", "its processes stand still and keep what they have", what, || match &self.version {
            Version::None => Err(self.no_group("freeze")),
            Version::V1(groups) => groups.freeze(),
            Version::V2(group) => group.freeze(),
        })
    }

    /// Lets the processes of the group run on. Nothing when they were not stopped.
    pub fn thaw(&self) -> Result<(), Error> {
        let what = || format!("thaw {}", self.name());
        step("thaw-cgroup", "its processes run on", what, || match &self.version {
            Version::None => Ok(()),
            Version::V1(groups) => groups.thaw(),
            Version::V2(group) => group.thaw(),
        })
    }

    /// True between [`Cgroup::freeze`] and [`Cgroup::thaw`], whoever called them. False when the group is gone.
    pub fn is_frozen(&self) -> Result<bool, Error> {
        match &self.version {
            Version::None => Ok(false),
            Version::V1(groups) => groups.is_frozen(),
            Version::V2(group) => group.is_frozen(),
        }
    }

    /// The processes of the group and of those inside it, sorted. Those outside of our pid namespace are left out.
    pub fn processes(&self) -> Result<Vec<i32>, Error> {
        let mut all = match &self.version {
            Version::None => Vec::new(),
            Version::V1(groups) => groups.processes()?,
            Version::V2(group) => group.processes()?,
        };
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }

    /// Sends a signal to every process of the group and of those inside it.
    pub fn signal_all(&self, signal: i32) -> Result<(), Error> {
        if signal == KILL {
            return self.kill();
        }
        let what = || format!("signal {signal} to every process of {}", self.name());
        step("signal-cgroup", "asked for all processes", what, || match &self.version {
            Version::None => Ok(()),
            Version::V1(groups) => groups.signal_all(signal),
            Version::V2(group) => group.signal_all(signal),
        })
    }

    /// Sets limits anew. What `resources` does not name stays as it is; negative means unlimited. Device rules, when
    /// there are any, replace all earlier ones.
    pub fn update(&self, resources: &LinuxResources) -> Result<(), Error> {
        let rules = devices::read(resources.devices().iter().flatten())?;
        if let Some(unit) = &self.unit {
            unit.set(&self.unit_properties(resources, &rules)?)?;
        }
        match &self.version {
            Version::None => refuse_limits(resources),
            Version::V1(groups) => groups.update(resources, &rules),
            Version::V2(group) => group.update(resources, &rules),
        }
    }

    /// An update as systemd is told of it.
    fn unit_properties(&self, new: &LinuxResources, rules: &[devices::Rule]) -> Result<Vec<systemd::Property>, Error> {
        let (writes, period) = match &self.version {
            Version::None => return Ok(Vec::new()),
            Version::V1(groups) => (groups.updates(new)?, groups.cpu_period()),
            Version::V2(group) => (group.updates(new)?, group.cpu_period()),
        };
        let mut properties = systemd_properties::limits(&writes, period);
        if !rules.is_empty() {
            properties.extend(device_policy(rules)?);
        }
        Ok(properties)
    }

    /// What the group has used until now.
    pub fn stats(&self) -> Result<Stats, Error> {
        match &self.version {
            Version::None => Ok(Stats::default()),
            Version::V1(groups) => stats_v1::read(|controller| groups.directory(controller)),
            Version::V2(group) => stats_v2::read(group.path()),
        }
    }

    /// Sends SIGKILL to all processes of the group and of those made inside it, frozen ones too, and lets them run to
    /// their end. Does not wait for it: [`Cgroup::remove`] does.
    pub fn kill(&self) -> Result<(), Error> {
        let what = || format!("SIGKILL to every process of {}", self.name());
        step("kill-cgroup", "no process of the container is left behind", what, || match &self.version {
            Version::None => Ok(()),
            Version::V1(groups) => groups.kill(),
            Version::V2(group) => group.kill(),
        })
    }

    /// Removes the group and those made inside it, waiting up to two seconds for dying processes. Goes on after an
    /// error; what could not be removed can be tried again by its location.
    pub fn remove(self) -> Vec<Error> {
        let mut errors = Vec::new();
        // The step needs one error; the caller gets all.
        let _ = step(
            "remove-cgroup",
            "nothing of the container stays",
            || format!("rmdir {}", self.name()),
            || {
                // A scope that was not asked for yet is no unit.
                let unit = self.unit.as_ref().filter(|_| self.waiting.is_none());
                errors.extend(unit.and_then(|unit| unit.stop().err()));
                errors.extend(match &self.version {
                    Version::None => Vec::new(),
                    Version::V1(groups) => groups.remove(),
                    Version::V2(group) => group.remove(),
                });
                errors.first().map_or(Ok(()), |error| Err(error.to_string()))
            },
        );
        errors
    }

    fn no_group(&self, act: &'static str) -> Error {
        Error::Freeze { act, path: self.name().into(), why: "the container has no group of its own".into() }
    }

    /// For messages.
    fn name(&self) -> &str {
        match &self.location {
            Location::Path(path) => path,
            Location::Systemd { scope, .. } => scope,
            Location::None => "no group",
        }
    }
}

/// The kernel's number on every architecture.
const KILL: i32 = 9;

/// For a container without a group of its own. Its device rules are let go, as it asked to be in no group.
fn refuse_limits(resources: &LinuxResources) -> Result<(), Error> {
    let unified = resources.unified().iter().flatten().next().map(|(file, _)| format!("unified[{file:?}]"));
    let mut others = resources.clone();
    others.set_unified(None);
    let other = v1_files::writes(&others, resources::Purpose::Create)?.into_iter().next();
    match unified.or(other.map(|write| write.resource)) {
        Some(resource) => Err(Error::Unsupported { resource, why: "the container is to have no group of its own" }),
        None => Ok(()),
    }
}

/// All that is made of limits and device rules before a group is: for the fuzzer, of both versions and of systemd's.
#[doc(hidden)]
pub fn consider(resources: &LinuxResources, devices: &[LinuxDeviceCgroup]) -> Result<(), Error> {
    let rules = devices::read(resources.devices().iter().flatten().chain(devices))?;
    device_filter::program(&rules);
    let _ = devices::exceptions(&rules);
    systemd_properties::device_policy(&rules, "Character devices:\n  1 mem\n136 pts\nBlock devices:\n  8 sd\n");
    for purpose in [|| resources::Purpose::Create, || resources::Purpose::Update(&|_| None)] {
        for writes in [v1_files::writes(resources, purpose()), v2_files::writes(resources, purpose())] {
            let _ = writes.map(|writes| systemd_properties::limits(&writes, None));
        }
    }
    refuse_limits(resources)
}

/// The device rules as systemd is told of them; none when there are no rules.
fn device_policy(rules: &[devices::Rule]) -> Result<Vec<systemd::Property>, Error> {
    if rules.is_empty() {
        return Ok(Vec::new());
    }
    Ok(systemd_properties::device_policy(rules, &file::read("/proc/devices")?))
}
