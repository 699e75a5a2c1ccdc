//! Control groups v1, also where v2 is mounted beside them (hybrid).
//!
//! A container is a group of its name in each hierarchy that holds a controller of [`USED`], seven on most hosts. In
//! the cpuset hierarchy it has one only when CPUs or memory nodes were asked for: a cpuset must be filled before it
//! takes a process, which costs 150 us of the 600 that all groups cost from making to removal, and limits nothing by
//! itself.
//!
//! Left out: `net_cls`, `net_prio`, `perf_event`, `rdma`, `hugetlb` and `misc`, on which we do not act, and
//! `name=systemd`, which only systemd reads (it takes the container for a part of the tool's own unit, which it is). On
//! a hybrid host the v2 half is left alone: it limits nothing there, and its device programs and cgroup.kill would save
//! two groups at the price of a third way of doing everything.
//!
//! A process enters by writing `0` to each `tasks` itself, single-threaded. Never is another's pid written to
//! `cgroup.procs`: after idle that waits some 10 ms for an RCU grace period. All joins together take 40 us; on a busy
//! machine the one of `cpu` costs a time slice (3 ms), since the kernel queues the process anew in its group.

use crate::devices::{self, Rule};
use crate::host::Host;
use crate::resources::{self, Write, limited, set};
use crate::{Error, file};
use oci_spec::runtime::LinuxResources;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;
use step::step;

/// The controllers that we act on: limits, devices, figures for `stats`, and the freezer for kill and pause.
const USED: [&str; 8] = ["freezer", "cpu", "cpuacct", "memory", "pids", "devices", "blkio", "cpuset"];

/// A container's groups.
#[derive(Debug)]
pub(crate) struct Groups {
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
}

impl Leg {
    /// True when nothing but the cpuset controller is here: the one group that a container may be without.
    fn is_only_cpuset(&self) -> bool {
        self.controllers.iter().all(|controller| controller == "cpuset")
    }
}

/// The resources as v1 files. Pure: refuses, but touches nothing.
pub(crate) fn writes(resources: &LinuxResources) -> Result<Vec<Write>, Error> {
    resources::check(resources)?;
    let mut writes = Vec::new();
    let mut push = |resource: &str, file: &str, value: Option<String>| {
        writes.extend(value.map(|value| Write::new(resource, file, value)));
    };
    if let Some(memory) = resources.memory() {
        // The limit first: memory.memsw cannot be less than it.
        push("memory.limit", "memory.limit_in_bytes", text(limited(memory.limit())));
        push("memory.swap", "memory.memsw.limit_in_bytes", text(limited(memory.swap())));
        push("memory.reservation", "memory.soft_limit_in_bytes", text(limited(memory.reservation())));
        push("memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes", text(limited(memory.kernel_tcp())));
        push("memory.swappiness", "memory.swappiness", text(memory.swappiness()));
        let disabled = memory.disable_oom_killer().filter(|&disabled| disabled);
        push("memory.disableOOMKiller", "memory.oom_control", disabled.map(|_| "1".into()));
    }
    if let Some(cpu) = resources.cpu() {
        push("cpu.shares", "cpu.shares", text(set(cpu.shares())));
        push("cpu.period", "cpu.cfs_period_us", text(set(cpu.period())));
        push("cpu.quota", "cpu.cfs_quota_us", text(limited(cpu.quota())));
        push("cpu.burst", "cpu.cfs_burst_us", text(set(cpu.burst())));
        // After the shares: an idle group takes none.
        push("cpu.idle", "cpu.idle", text(set(cpu.idle())));
        push("cpu.cpus", "cpuset.cpus", cpu.cpus().clone().filter(|list| !list.is_empty()));
        push("cpu.mems", "cpuset.mems", cpu.mems().clone().filter(|list| !list.is_empty()));
    }
    push("pids.limit", "pids.max", text(limited(resources.pids().as_ref().map(|pids| pids.limit()))));
    if let Some(io) = resources.block_io() {
        if let Some(weight) = set(io.weight()) {
            let or_else = Some(("blkio.bfq.weight", weight.to_string()));
            writes.push(Write { or_else, ..Write::new("blockIO.weight", "blkio.weight", weight) });
        }
        for (field, rate, _, device) in resources::throttles(io) {
            let value = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            writes.push(Write::new(field, &format!("blkio.throttle.{rate}_device"), value));
        }
    }
    if resources.unified().as_ref().is_some_and(|map| !map.is_empty()) {
        let why = "it names files of cgroup v2, and this host has v1";
        return Err(Error::Unsupported { resource: "unified".into(), why });
    }
    Ok(writes)
}

fn text(number: Option<impl ToString>) -> Option<String> {
    number.map(|number| number.to_string())
}

impl Groups {
    /// The controllers of each hierarchy with a group of ours.
    pub(crate) fn hierarchies(&self) -> impl Iterator<Item = &[String]> {
        self.legs.iter().filter(|leg| leg.tasks.is_some()).map(|leg| leg.controllers.as_slice())
    }

    pub(crate) fn paths(&self) -> BTreeMap<String, PathBuf> {
        let there = self.legs.iter().filter(|leg| leg.tasks.is_some());
        there.flat_map(|leg| leg.controllers.iter().map(|c| (c.clone(), leg.path.clone().into()))).collect()
    }

    /// Makes and fills the groups; removes them again when anything fails.
    pub(crate) fn create(host: &Host, name: &str, resources: &LinuxResources, rules: &[Rule]) -> Result<Self, Error> {
        let writes = writes(resources)?;
        let devices = (!devices::allow_all(rules)).then(|| devices::exceptions(rules)).transpose()?;
        let mut groups = Self { legs: Self::legs(host, name) };
        if !writes.iter().any(|write| write.controller == "cpuset") {
            groups.legs.retain(|leg| !leg.is_only_cpuset());
        }
        for write in &writes {
            groups.need(host, &write.controller, &write.resource, &write.value)?;
        }
        if devices.is_some() {
            groups.need(host, "devices", "devices", &format!("{} rules", rules.len()))?;
        }
        let what = || format!("mkdir {name} in {} hierarchies", groups.legs.len());
        step("make-cgroup", "a group for all processes of the container", what, || groups.make())?;
        match groups.fill(&writes, devices.as_ref()) {
            Ok(()) => Ok(groups),
            Err(error) => {
                groups.remove();
                Err(error)
            }
        }
    }

    /// The groups of that name, whichever of them are there.
    pub(crate) fn open(host: &Host, name: &str) -> Result<Self, Error> {
        let mut groups = Self { legs: Self::legs(host, name) };
        groups.open_tasks()?;
        Ok(groups)
    }

    fn legs(host: &Host, name: &str) -> Vec<Leg> {
        let used = host.v1.iter().filter(|h| h.controllers.iter().any(|c| USED.contains(&c.as_str())));
        used.filter_map(|hierarchy| {
            let root = hierarchy.mount.clone()?;
            let path = format!("{root}/{name}");
            Some(Leg { controllers: hierarchy.controllers.clone(), root, path, tasks: None })
        })
        .collect()
    }

    fn leg(&self, controller: &str) -> Option<&Leg> {
        self.legs.iter().find(|leg| leg.controllers.iter().any(|c| c == controller))
    }

    fn need(&self, host: &Host, controller: &str, resource: &str, value: &str) -> Result<(), Error> {
        if self.leg(controller).is_some() {
            return Ok(());
        }
        Err(Error::NoController {
            resource: resource.into(),
            value: value.into(),
            controller: controller.into(),
            why: host.why_missing(controller),
        })
    }

    fn make(&self) -> Result<(), Error> {
        for (at, leg) in self.legs.iter().enumerate() {
            if let Err(error) = file::make(&leg.path) {
                // Only what was made here: a group that was there is another container's.
                for made in &self.legs[..at] {
                    let _ = file::remove(&made.path);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn fill(&mut self, writes: &[Write], devices: Option<&devices::Exceptions>) -> Result<(), Error> {
        self.fill_cpuset(writes)?;
        resources::apply(writes, |controller| self.leg(controller).map(|leg| leg.path.clone()).unwrap_or_default())?;
        if let (Some(devices), Some(leg)) = (devices, self.leg("devices")) {
            let what = || format!("{} exceptions in {}", devices.except.len(), leg.path);
            step("allow-devices", "no device but the allowed ones", what, || write_devices(devices, &leg.path))?;
        }
        self.open_tasks()
    }

    /// A new v1 cpuset is empty and takes no process, so both lists are copied from the root group unless they are set.
    fn fill_cpuset(&self, writes: &[Write]) -> Result<(), Error> {
        let Some(leg) = self.leg("cpuset") else { return Ok(()) };
        for (list, effective) in [("cpuset.cpus", "cpuset.effective_cpus"), ("cpuset.mems", "cpuset.effective_mems")] {
            match writes.iter().find(|write| write.file == list) {
                Some(write) => {
                    let offered = file::read(&format!("{}/{effective}", leg.root))?;
                    resources::check_list(&write.resource, &write.value, &offered)?;
                }
                None => {
                    let inherited = file::read(&format!("{}/{list}", leg.root))?;
                    let path = format!("{}/{list}", leg.path);
                    let value = inherited.trim();
                    file::write(&path, value).map_err(|source| Error::Limit {
                        resource: list.into(),
                        value: value.into(),
                        path: path.into(),
                        source,
                    })?;
                }
            }
        }
        Ok(())
    }

    fn open_tasks(&mut self) -> Result<(), Error> {
        for leg in &mut self.legs {
            let path = format!("{}/tasks", leg.path);
            leg.tasks = match file::open_for_writing(&path) {
                Ok(fd) => Some(fd),
                Err(Errno::NOENT) => None,
                Err(source) => return Err(Error::Open { path: path.into(), source }),
            };
        }
        Ok(())
    }

    pub(crate) fn exists(&self) -> bool {
        self.legs.iter().any(|leg| leg.tasks.is_some())
    }

    /// Enters all groups. For the calling thread only, which must be the process's one thread.
    pub(crate) fn join(&self) -> Result<(), Error> {
        for leg in &self.legs {
            let joined = match &leg.tasks {
                Some(tasks) => rustix::io::retry_on_intr(|| rustix::io::write(tasks, b"0")).map(|_| ()),
                None if leg.is_only_cpuset() && self.exists() => Ok(()),
                None => Err(Errno::NOENT),
            };
            joined.map_err(|source| Error::Join { path: leg.path.clone().into(), source })?;
        }
        Ok(())
    }

    pub(crate) fn oom_killed(&self) -> Result<bool, Error> {
        let Some(leg) = self.leg("memory") else { return Ok(false) };
        let path = format!("{}/memory.oom_control", leg.path);
        Ok(file::counter(&path, "oom_kill")?.is_some_and(|kills| kills > 0))
    }

    /// Ends all processes. Frozen first, so that none can fork between being listed and being signalled; a frozen
    /// process dies when it is thawed. Without a freezer they are listed again until there are none. All hierarchies
    /// are listed, since a process that was cut off while it joined is only in some.
    pub(crate) fn kill(&self) -> Result<(), Error> {
        let freezer = self.leg("freezer").map(|leg| format!("{}/freezer.state", leg.path));
        let frozen = freezer.as_ref().is_some_and(|state| freeze(state));
        let mut done = self.kill_listed();
        if let Some(state) = freezer {
            match file::write(&state, "THAWED") {
                Ok(()) | Err(Errno::NOENT | Errno::NODEV) => {}
                Err(source) => return Err(Error::Kill { path: state.into(), source }),
            }
        }
        for _ in 0..100 {
            if frozen || done? == 0 {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
            done = self.kill_listed();
        }
        done.map(|_| ())
    }

    fn kill_listed(&self) -> Result<usize, Error> {
        self.legs.iter().try_fold(0, |killed, leg| Ok(killed + file::kill_listed(&leg.path)?))
    }

    pub(crate) fn remove(&self) -> Vec<Error> {
        self.legs.iter().filter_map(|leg| file::remove(&leg.path).err()).collect()
    }
}

/// True when all processes of the group stand still. Tries for 50 ms: one in an uninterruptible sleep cannot be frozen.
fn freeze(state: &str) -> bool {
    for _ in 0..50 {
        if file::write(state, "FROZEN").is_err() {
            return false;
        }
        match file::read(state) {
            Ok(now) if now.trim() == "FROZEN" => return true,
            Ok(_) => std::thread::sleep(Duration::from_millis(1)),
            Err(_) => return false,
        }
    }
    false
}

fn write_devices(devices: &devices::Exceptions, directory: &str) -> Result<(), Error> {
    let wrong = |path: &str, value: String| {
        let path = path.into();
        move |source| Error::Limit { resource: "devices".into(), value, path, source }
    };
    let deny = format!("{directory}/devices.deny");
    let allow = format!("{directory}/devices.allow");
    // A group that allows by default inherits that from its parent.
    if !devices.allow_by_default {
        file::write(&deny, "a").map_err(wrong(&deny, "a".into()))?;
    }
    let path = if devices.allow_by_default { &deny } else { &allow };
    let fd = file::open_for_writing(path).map_err(|source| Error::Open { path: path.into(), source })?;
    for rule in &devices.except {
        // The kernel takes one rule a write.
        let line = rule.to_string();
        rustix::io::write(&fd, line.as_bytes()).map_err(wrong(path, line))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_become_v1_files() {
        let json = r#"{"memory":{"limit":67108864,"swap":134217728,"reservation":1048576,"swappiness":0},
            "cpu":{"shares":512,"quota":50000,"period":100000,"cpus":"0","mems":"0"},"pids":{"limit":64},
            "blockIO":{"weight":100,"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1000}]}}"#;
        let expected = [
            "memory.limit_in_bytes=67108864",
            "memory.memsw.limit_in_bytes=134217728",
            "memory.soft_limit_in_bytes=1048576",
            "memory.swappiness=0",
            "cpu.shares=512",
            "cpu.cfs_period_us=100000",
            "cpu.cfs_quota_us=50000",
            "cpuset.cpus=0",
            "cpuset.mems=0",
            "pids.max=64",
            "blkio.weight=100",
            "blkio.throttle.read_bps_device=8:0 1000",
        ];
        let told: Vec<String> = writes(&serde_json::from_str(json).unwrap())
            .unwrap()
            .iter()
            .map(|write| format!("{}={}", write.file, write.value))
            .collect();
        assert_eq!(told, expected);
    }

    #[test]
    fn unified_is_refused() {
        let refused = writes(&serde_json::from_str(r#"{"unified":{"memory.high":"1"}}"#).unwrap()).unwrap_err();
        assert!(refused.to_string().contains("resource unified cannot be limited"), "{refused}");
    }

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
}
