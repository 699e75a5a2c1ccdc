//! Control groups v1, also where v2 is mounted beside them (hybrid).
//!
//! A container is a group of its name in each hierarchy that holds a controller of [`ALWAYS`], seven on most hosts. In
//! those of [`ASKED`] it has one only when a limit needs it. In the cpuset hierarchy that is because a cpuset must be
//! filled before it takes a process, which costs 150 us of the 600 that all groups cost from making to removal, and
//! limits nothing by itself; the others are not looked at until then. An update that is the first to need one makes it
//! and moves the processes there.
//!
//! Left out: `perf_event` and `misc`, on which we do not act, and `name=systemd`, which only systemd reads (it takes the
//! container for a part of the tool's own unit, which it is). On a hybrid host the v2 half is left alone: it limits
//! nothing there, and its device programs and cgroup.kill would save two groups at the price of a third way of doing
//! everything.
//!
//! A process enters by writing `0` to each `tasks` itself, single-threaded. Another's pid is written to `cgroup.procs`
//! only where an update or systemd's scope needs it: after idle that waits some 10 ms for an RCU grace period. All joins
//! together take 40 us; on a busy machine the one of `cpu` costs a time slice (3 ms), since the kernel queues the
//! process anew in its group.

use crate::devices::{self, Rule};
use crate::host::Host;
use crate::resources::{self, Purpose, Write};
use crate::{Error, file, freezer, v1_files};
use oci_spec::runtime::LinuxResources;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;
use step::step;

/// The controllers that every container gets: limits, devices, figures for `stats`, and the freezer for kill and pause.
const ALWAYS: [&str; 7] = ["freezer", "cpu", "cpuacct", "memory", "pids", "devices", "blkio"];
/// Those that it gets when a limit needs them.
const ASKED: [&str; 5] = ["cpuset", "hugetlb", "net_cls", "net_prio", "rdma"];

/// A container's groups.
#[derive(Debug)]
pub(crate) struct Groups {
    /// What lies below the root of each hierarchy.
    name: String,
    legs: Vec<Leg>,
}

/// Its group in one hierarchy.
#[derive(Debug)]
struct Leg {
    controllers: Vec<String>,
    /// The hierarchy's own root group.
    root: String,
    path: String,
    /// For joining; opened by the parent, since the child may no longer see or be allowed to open it. None when the
    /// group is missing.
    tasks: Option<OwnedFd>,
    /// To be made: what the limits need, and what every container gets.
    wanted: bool,
    /// Made by this very call, and so removed when it fails.
    made: bool,
}

impl Leg {
    fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }

    /// True when a container may be without this group.
    fn is_optional(&self) -> bool {
        !ALWAYS.iter().any(|controller| self.has(controller))
    }

    fn reopened(&self) -> Result<Self, Error> {
        let (controllers, root, path) = (self.controllers.clone(), self.root.clone(), self.path.clone());
        let mut leg = Self { controllers, root, path, tasks: None, wanted: false, made: false };
        leg.open_tasks()?;
        Ok(leg)
    }

    fn open_tasks(&mut self) -> Result<(), Error> {
        let path = format!("{}/tasks", self.path);
        self.tasks = match file::open_for_writing(&path) {
            Ok(fd) => Some(fd),
            // ENODEV of a group that is removed at this moment.
            Err(Errno::NOENT | Errno::NODEV) => None,
            Err(source) => return Err(Error::Open { path: path.into(), source }),
        };
        Ok(())
    }
}

impl Groups {
    /// The controllers of each hierarchy with a group of ours.
    pub(crate) fn hierarchies(&self) -> impl Iterator<Item = &[String]> {
        self.there().map(|leg| leg.controllers.as_slice())
    }

    pub(crate) fn paths(&self) -> BTreeMap<String, PathBuf> {
        self.there().flat_map(|leg| leg.controllers.iter().map(|c| (c.clone(), leg.path.clone().into()))).collect()
    }

    /// Makes and fills the groups; removes them again when anything fails.
    pub(crate) fn create(host: &Host, name: &str, resources: &LinuxResources, rules: &[Rule]) -> Result<Self, Error> {
        let writes = v1_files::writes(resources, Purpose::Create)?;
        let devices = (!devices::allow_all(rules)).then(|| devices::exceptions(rules)).transpose()?;
        let mut groups = Self::at(host, name);
        groups.check_controllers(host, &writes, devices.is_some().then_some(rules.len()))?;
        groups.want(&writes);
        let what = format!("mkdir {name} in {} hierarchies", groups.wanted().count());
        let why = "a group for all processes of the container";
        let done = step("make-cgroup", why, || what.clone(), || groups.make());
        match done.and_then(|()| groups.fill_new(&writes, devices.as_ref())) {
            Ok(()) => Ok(groups),
            Err(error) => {
                for leg in groups.legs.iter().filter(|leg| leg.made) {
                    let _ = file::remove(&leg.path);
                }
                Err(error)
            }
        }
    }

    /// Refuses what could be refused once the groups are there, for groups that are made later; in which hierarchies
    /// they will be.
    pub(crate) fn check(host: &Host, resources: &LinuxResources, rules: &[Rule]) -> Result<Vec<Vec<String>>, Error> {
        let writes = v1_files::writes(resources, Purpose::Create)?;
        if !devices::allow_all(rules) {
            devices::exceptions(rules)?;
        }
        let mut groups = Self::at(host, "");
        groups.check_controllers(host, &writes, (!devices::allow_all(rules)).then_some(rules.len()))?;
        groups.want(&writes);
        Ok(groups.wanted().map(|leg| leg.controllers.clone()).collect())
    }

    /// Makes those groups that systemd did not, fills all, and brings `pid` into them.
    pub(crate) fn adopt(
        host: &Host,
        name: &str,
        resources: &LinuxResources,
        rules: &[Rule],
        pid: i32,
    ) -> Result<Self, Error> {
        let writes = v1_files::writes(resources, Purpose::Create)?;
        let mut groups = Self::at(host, name);
        groups.want(&writes);
        groups.make()?;
        if groups.leg("cpuset").is_some_and(|leg| leg.wanted) {
            groups.fill_cpuset(&writes)?;
        }
        groups.write(&writes)?;
        if !devices::allow_all(rules) {
            groups.set_devices(&devices::exceptions(rules)?, false)?;
        }
        groups.wanted().try_for_each(|leg| move_one(leg, pid))?;
        groups.legs.iter_mut().filter(|leg| leg.wanted).try_for_each(Leg::open_tasks)?;
        Ok(groups)
    }

    /// The writes of an update.
    pub(crate) fn updates(&self, resources: &LinuxResources) -> Result<Vec<Write>, Error> {
        v1_files::writes(resources, Purpose::Update(&|_| None))
    }

    pub(crate) fn cpu_period(&self) -> Option<u64> {
        let path = self.directory("cpu")?;
        file::read(&format!("{path}/cpu.cfs_period_us")).ok()?.trim().parse().ok()
    }

    /// The groups of that name, whichever of them are there.
    pub(crate) fn open(host: &Host, name: &str) -> Result<Self, Error> {
        let mut groups = Self::at(host, name);
        groups.legs.iter_mut().try_for_each(Leg::open_tasks)?;
        Ok(groups)
    }

    /// Groups inside these: in the named hierarchies, or in all where there is such a one.
    pub(crate) fn open_inner(&self, controllers: Option<&str>, path: &str) -> Result<Self, Error> {
        let wanted: Option<Vec<&str>> = controllers.map(|list| list.split(',').collect());
        if let Some(missing) = wanted.iter().flatten().find(|controller| self.directory(controller).is_none()) {
            let why = "the container has no group in a hierarchy of that name";
            return Err(Error::Location { location: (*missing).into(), why });
        }
        let mut legs = Vec::new();
        let mut found = false;
        for outer in self.there() {
            let mut leg = outer.reopened()?;
            if wanted.as_ref().is_none_or(|list| list.iter().any(|controller| leg.has(controller))) {
                let mut inner = Leg { path: format!("{}/{path}", leg.path), tasks: None, ..outer.reopened()? };
                inner.open_tasks()?;
                match inner.tasks {
                    Some(_) => {
                        leg = inner;
                        found = true;
                    }
                    None if wanted.is_some() => {
                        return Err(Error::Open { path: inner.path.into(), source: Errno::NOENT });
                    }
                    None => {}
                }
            }
            legs.push(leg);
        }
        if !found {
            legs.clear();
        }
        Ok(Self { name: format!("{}/{path}", self.name), legs })
    }

    fn at(host: &Host, name: &str) -> Self {
        let used = |c: &String| ALWAYS.contains(&c.as_str()) || ASKED.contains(&c.as_str());
        let hierarchies = host.v1.iter().filter(|hierarchy| hierarchy.controllers.iter().any(used));
        let legs = hierarchies.filter_map(|hierarchy| {
            let root = hierarchy.mount.clone()?;
            let path = format!("{root}/{name}");
            Some(Leg {
                controllers: hierarchy.controllers.clone(),
                root,
                path,
                tasks: None,
                wanted: false,
                made: false,
            })
        });
        Self { name: name.to_owned(), legs: legs.collect() }
    }

    fn there(&self) -> impl Iterator<Item = &Leg> {
        self.legs.iter().filter(|leg| leg.tasks.is_some())
    }

    fn leg(&self, controller: &str) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.has(controller))
    }

    /// Refuses what needs a controller that is in no hierarchy of ours.
    fn check_controllers(&self, host: &Host, writes: &[Write], rules: Option<usize>) -> Result<(), Error> {
        let rules = rules.map(|count| Write::new("devices", "devices.allow", format!("{count} rules")));
        match writes.iter().chain(&rules).find(|write| self.leg(&write.controller).is_none()) {
            None => Ok(()),
            Some(missing) => Err(resources::no_controller(host, missing)),
        }
    }

    fn want(&mut self, writes: &[Write]) {
        for leg in &mut self.legs {
            leg.wanted = !leg.is_optional() || writes.iter().any(|write| leg.has(&write.controller));
        }
    }

    fn wanted(&self) -> impl Iterator<Item = &Leg> {
        self.legs.iter().filter(|leg| leg.wanted)
    }

    fn make(&mut self) -> Result<(), Error> {
        for leg in self.legs.iter_mut().filter(|leg| leg.wanted) {
            leg.made = file::make(&leg.path, &self.name)?;
        }
        Ok(())
    }

    fn fill_new(&mut self, writes: &[Write], devices: Option<&devices::Exceptions>) -> Result<(), Error> {
        for leg in self.wanted().filter(|leg| !leg.made) {
            file::check_empty(&leg.path)?;
            if leg.has("freezer") {
                // Whoever enters a frozen group stops there.
                freezer::thaw_v1(&leg.path)?;
            }
        }
        if self.leg("cpuset").is_some_and(|leg| leg.wanted) {
            self.fill_cpuset(writes)?;
        }
        self.write(writes)?;
        match (devices, self.leg("devices")) {
            (Some(devices), Some(leg)) => self.set_devices(devices, leg.made)?,
            (None, Some(leg)) if !leg.made => self.set_devices(&devices::Exceptions::none(), false)?,
            _ => {}
        }
        self.legs.iter_mut().filter(|leg| leg.wanted).try_for_each(Leg::open_tasks)
    }

    fn write(&self, writes: &[Write]) -> Result<(), Error> {
        resources::apply(writes, |controller| self.leg(controller).map(|leg| leg.path.clone()).unwrap_or_default())
    }

    /// A new v1 cpuset is empty and takes no process, so both lists are copied from the group above unless they are set.
    fn fill_cpuset(&self, writes: &[Write]) -> Result<(), Error> {
        let Some(leg) = self.leg("cpuset") else { return Ok(()) };
        for (list, effective) in [("cpuset.cpus", "cpuset.effective_cpus"), ("cpuset.mems", "cpuset.effective_mems")] {
            if let Some(write) = writes.iter().find(|write| write.file == list) {
                let offered = file::read(&format!("{}/{effective}", leg.root))?;
                resources::check_list(&write.resource, &write.value, &offered)?;
            }
            let mut above = leg.root.as_str();
            for group in file::parents(&leg.path, &self.name).chain([leg.path.as_str()]) {
                inherit(list, above, group)?;
                above = group;
            }
        }
        Ok(())
    }

    /// Sets limits anew; device rules, when there are any, replace those that were given before.
    pub(crate) fn update(&self, resources: &LinuxResources, rules: &[Rule]) -> Result<(), Error> {
        let writes = self.updates(resources)?;
        let devices = (!rules.is_empty()).then(|| devices::exceptions(rules)).transpose()?;
        self.check_controllers(&Host::detect()?, &writes, devices.is_some().then_some(rules.len()))?;
        let new: Vec<&Leg> = self
            .legs
            .iter()
            .filter(|leg| leg.tasks.is_none() && writes.iter().any(|write| leg.has(&write.controller)))
            .collect();
        for leg in &new {
            file::make(&leg.path, &self.name)?;
        }
        if writes.iter().any(|write| write.controller == "cpuset") {
            self.fill_cpuset(&writes)?;
        }
        self.write(&writes)?;
        new.iter().try_for_each(|leg| self.move_all(leg))?;
        devices.map_or(Ok(()), |devices| self.set_devices(&devices, false))
    }

    /// Brings all processes into a group that was made after them, until no new one is found.
    fn move_all(&self, leg: &Leg) -> Result<(), Error> {
        for _ in 0..100 {
            let there = file::processes_in(&leg.path)?;
            let missing: Vec<i32> = self.processes()?.into_iter().filter(|pid| !there.contains(pid)).collect();
            if missing.is_empty() {
                return Ok(());
            }
            missing.into_iter().try_for_each(|pid| move_one(leg, pid))?;
        }
        Err(Error::Join { path: leg.path.clone().into(), source: Errno::AGAIN })
    }

    fn set_devices(&self, devices: &devices::Exceptions, new: bool) -> Result<(), Error> {
        let Some(leg) = self.leg("devices") else { return Ok(()) };
        let what = || format!("{} exceptions in {}", devices.except.len(), leg.path);
        step("allow-devices", "no device but the allowed ones", what, || match new {
            true => write_devices(devices, &leg.path),
            false => change_devices(devices, &leg.path),
        })
    }

    pub(crate) fn exists(&self) -> bool {
        self.there().next().is_some()
    }

    /// Enters all groups. For the calling thread only, which must be the process's one thread.
    pub(crate) fn join(&self) -> Result<(), Error> {
        for leg in &self.legs {
            let joined = match &leg.tasks {
                Some(tasks) => rustix::io::retry_on_intr(|| rustix::io::write(tasks, b"0")).map(|_| ()),
                None if leg.is_optional() && self.exists() => Ok(()),
                None => Err(Errno::NOENT),
            };
            joined.map_err(|source| Error::Join { path: leg.path.clone().into(), source })?;
        }
        Ok(())
    }

    pub(crate) fn oom_killed(&self) -> Result<bool, Error> {
        let Some(path) = self.directory("memory") else { return Ok(false) };
        let path = format!("{path}/memory.oom_control");
        Ok(file::counter(&path, "oom_kill")?.is_some_and(|kills| kills > 0))
    }

    /// Where the group of a controller is.
    pub(crate) fn directory(&self, controller: &str) -> Option<&str> {
        self.there().find(|leg| leg.has(controller)).map(|leg| leg.path.as_str())
    }

    /// Ends all processes. Frozen first, so that none can fork between being listed and being signalled; a frozen
    /// process dies when it is thawed. Without a freezer they are listed again until there are none. All hierarchies
    /// are listed, since a process that was cut off while it joined is only in some.
    pub(crate) fn kill(&self) -> Result<(), Error> {
        let freezer = self.directory("freezer");
        let frozen = freezer.is_some_and(|path| freezer::freeze_v1(path, freezer::BRIEFLY).is_ok());
        let mut done = self.signal_listed(KILL);
        // Always: somebody else may have frozen it before, and it would never end.
        let thawed = freezer.map_or(Ok(()), freezer::thaw_v1);
        if frozen {
            return done.map(drop).and(thawed);
        }
        thawed?;
        for _ in 0..100 {
            if done? == 0 {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
            done = self.signal_listed(KILL);
        }
        done.map(drop)
    }

    fn signal_listed(&self, signal: i32) -> Result<usize, Error> {
        self.there().try_fold(0, |count, leg| Ok(count + file::signal_listed(&leg.path, signal)?))
    }

    pub(crate) fn signal_all(&self, signal: i32) -> Result<(), Error> {
        let freezer = self.directory("freezer");
        // Standing still, no process can make another one between the list and the signal.
        let stopped = freezer
            .filter(|path| !is_frozen(path).unwrap_or(true) && freezer::freeze_v1(path, freezer::BRIEFLY).is_ok());
        // One hierarchy only: it must get the signal once.
        let path = freezer.or_else(|| self.there().next().map(|leg| leg.path.as_str()));
        let done = path.map_or(Ok(0), |path| file::signal_listed(path, signal)).map(drop);
        done.and(stopped.map_or(Ok(()), freezer::thaw_v1))
    }

    pub(crate) fn processes(&self) -> Result<Vec<i32>, Error> {
        let mut all = Vec::new();
        for leg in self.there() {
            all.extend(file::processes_in(&leg.path)?);
        }
        Ok(all)
    }

    pub(crate) fn freeze(&self) -> Result<(), Error> {
        match self.directory("freezer") {
            Some(path) => freezer::freeze_v1(path, freezer::PATIENTLY),
            None => Err(Error::Freeze {
                act: "freeze",
                path: self.name.clone().into(),
                why: "it has no group in the freezer's hierarchy".into(),
            }),
        }
    }

    pub(crate) fn thaw(&self) -> Result<(), Error> {
        self.directory("freezer").map_or(Ok(()), freezer::thaw_v1)
    }

    pub(crate) fn is_frozen(&self) -> Result<bool, Error> {
        self.directory("freezer").map_or(Ok(false), is_frozen)
    }

    /// In each hierarchy: another process may have made one later, for a limit that was not asked for before.
    pub(crate) fn remove(&self) -> Vec<Error> {
        self.legs.iter().filter_map(|leg| file::remove(&leg.path).err()).collect()
    }
}

/// The kernel's number on every architecture.
const KILL: i32 = 9;

/// By the group's own wish: a parent that is frozen is another matter.
pub(crate) const IS_FROZEN: &str = "freezer.self_freezing";

fn is_frozen(path: &str) -> Result<bool, Error> {
    file::says_one(rustix::fs::CWD, &format!("{path}/{IS_FROZEN}"))
}

/// A process that is gone needs no group.
fn move_one(leg: &Leg, pid: i32) -> Result<(), Error> {
    match file::write(&format!("{}/cgroup.procs", leg.path), &pid.to_string()) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(source) => Err(Error::Join { path: leg.path.clone().into(), source }),
    }
}

fn inherit(list: &str, above: &str, group: &str) -> Result<(), Error> {
    let path = format!("{group}/{list}");
    if !file::read(&path)?.trim().is_empty() {
        return Ok(());
    }
    let inherited = file::read(&format!("{above}/{list}"))?;
    let value = inherited.trim();
    file::write(&path, value).map_err(|source| Error::Limit {
        resource: list.into(),
        value: value.into(),
        path: path.into(),
        source,
    })
}

fn limit_error(path: &str, value: &str) -> impl FnOnce(Errno) -> Error + use<> {
    let (path, value) = (path.into(), value.into());
    move |source| Error::Limit { resource: "devices".into(), value, path, source }
}

/// The rules of a new group.
fn write_devices(devices: &devices::Exceptions, directory: &str) -> Result<(), Error> {
    // A group that allows by default inherits that from its parent.
    if !devices.allow_by_default {
        let deny = format!("{directory}/devices.deny");
        file::write(&deny, "a").map_err(limit_error(&deny, "a"))?;
    }
    write_exceptions(directory, !devices.allow_by_default, &devices.except)
}

/// The rules of a group that has some. What stays allowed is so at every moment: only the difference is written, unless
/// the default changes.
fn change_devices(devices: &devices::Exceptions, directory: &str) -> Result<(), Error> {
    let list = file::read(&format!("{directory}/devices.list"))?;
    let Some(old) = devices::kernel_list(&list).filter(|_| !devices.allow_by_default) else {
        // All exceptions go with the default that they are exceptions to.
        let reset = format!("{directory}/{}", if devices.allow_by_default { "devices.allow" } else { "devices.deny" });
        file::write(&reset, "a").map_err(limit_error(&reset, "a"))?;
        return write_exceptions(directory, !devices.allow_by_default, &devices.except);
    };
    write_exceptions(directory, true, &devices::without(&devices.except, &old))?;
    write_exceptions(directory, false, &devices::without(&old, &devices.except))
}

fn write_exceptions(directory: &str, allow: bool, rules: &[Rule]) -> Result<(), Error> {
    let path = format!("{directory}/{}", if allow { "devices.allow" } else { "devices.deny" });
    let fd = file::open_for_writing(&path).map_err(|source| Error::Open { path: path.clone().into(), source })?;
    for rule in rules {
        // The kernel takes one rule a write.
        let line = rule.to_string();
        rustix::io::write(&fd, line.as_bytes()).map_err(limit_error(&path, &line))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_an_unmounted_controller_says_so() {
        let hierarchy = crate::host::Hierarchy { controllers: vec!["memory".into()], mount: None };
        let host = Host::for_test(vec![hierarchy]);
        let resources = serde_json::from_str(r#"{"memory":{"limit":67108864}}"#).unwrap();
        let refused = Groups::create(&host, "x", &resources, &[]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "cannot set memory.limit to 67108864: \
             this host has the memory controller on cgroup v1, and it is not mounted"
        );
        assert!(refused.hint().unwrap().starts_with("mount it with `mount -t cgroup -o memory"));
        // Device rules are a limit too.
        let rules = crate::devices::tests::rules(&["+c 1:3 rwm"]).unwrap();
        assert!(Groups::create(&host, "x", &LinuxResources::default(), &rules).is_err());
    }

    #[test]
    fn a_group_that_is_being_removed_is_none() {
        let root = "/sys/fs/cgroup/memory";
        let path = format!("{root}/mycontainer-test-{}", std::process::id());
        if std::fs::create_dir(&path).is_err() {
            println!("skipped a_group_that_is_being_removed_is_none: no hierarchy of v1 to write to");
            return;
        }
        let churn = || {
            for _ in 0..2000 {
                let _ = std::fs::remove_dir(&path);
                let _ = std::fs::create_dir(&path);
            }
            let _ = std::fs::remove_dir(&path);
        };
        std::thread::scope(|threads| {
            let churning = threads.spawn(churn);
            while !churning.is_finished() {
                let mut leg = Leg {
                    controllers: vec!["memory".into()],
                    root: root.into(),
                    path: path.clone(),
                    tasks: None,
                    wanted: false,
                    made: false,
                };
                leg.open_tasks().unwrap();
            }
        });
    }
}
