//! Control groups v2: one group a container, at the root of what is mounted.
//!
//! A controller works in the group when its parent hands it down (`cgroup.subtree_control`). What the limits need is
//! enabled there and stays enabled after the container: other groups may rely on it by then, and it limits nothing by
//! itself. Nothing else of the host is changed. `cgroup.kill` (Linux 5.14) is older than our oldest kernel.

use crate::devices::Rule;
use crate::host::Host;
use crate::resources::{self, Write, limited, set};
use crate::{Error, device_filter, devices, file};
use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use step::step;

/// A container's group.
#[derive(Debug)]
pub(crate) struct Group {
    root: String,
    path: String,
    /// For clone3(2). None when the group is missing.
    dir: Option<OwnedFd>,
}

/// The resources as v2 files. Pure: refuses, but touches nothing.
pub(crate) fn writes(resources: &LinuxResources) -> Result<Vec<Write>, Error> {
    resources::check(resources)?;
    let mut writes = Vec::new();
    if let Some(memory) = resources.memory() {
        memory_writes(memory, &mut writes)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu_writes(cpu, &mut writes);
    }
    if let Some(limit) = resources.pids().as_ref().and_then(|pids| limited(Some(pids.limit()))) {
        writes.push(Write::new("pids.limit", "pids.max", limit));
    }
    if let Some(io) = resources.block_io() {
        if let Some(weight) = set(io.weight()) {
            // From 10..1000 to 1..10000, as runc and crun do.
            let or_else = Some(("io.weight", (1 + (u32::from(weight) - 10) * 9999 / 990).to_string()));
            writes.push(Write { or_else, ..Write::new("blockIO.weight", "io.bfq.weight", weight) });
        }
        for (field, _, key, device) in resources::throttles(io) {
            // The specification's 0 is "no limit"; io.max calls that max.
            let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
            let value = format!("{}:{} {key}={rate}", device.major(), device.minor());
            writes.push(Write::new(field, "io.max", value));
        }
    }
    let mut unified: Vec<_> = resources.unified().iter().flatten().collect();
    unified.sort();
    for (file, value) in unified {
        writes.push(unified_write(file, value)?);
    }
    Ok(writes)
}

fn memory_writes(memory: &LinuxMemory, writes: &mut Vec<Write>) -> Result<(), Error> {
    let v1_only = |resource: &str| Err(Error::Unsupported { resource: resource.into(), why: "cgroup v2 has no such" });
    if memory.swappiness().is_some() {
        return v1_only("memory.swappiness");
    }
    if limited(memory.kernel_tcp()).is_some() {
        return v1_only("memory.kernelTCP");
    }
    if memory.disable_oom_killer() == Some(true) {
        return v1_only("memory.disableOOMKiller");
    }
    let limit = limited(memory.limit());
    writes.extend(limit.map(|bytes| Write::new("memory.limit", "memory.max", bytes)));
    if let (Some(limit), Some(total)) = (limit, limited(memory.swap())) {
        // v2 limits swap by itself, the specification the total; `check` has seen that this is not negative.
        writes.push(Write::new("memory.swap", "memory.swap.max", total.saturating_sub(limit)));
    }
    writes.extend(limited(memory.reservation()).map(|bytes| Write::new("memory.reservation", "memory.low", bytes)));
    Ok(())
}

fn cpu_writes(cpu: &LinuxCpu, writes: &mut Vec<Write>) {
    writes.extend(set(cpu.shares()).map(|shares| Write::new("cpu.shares", "cpu.weight", weight(shares))));
    let (quota, period) = (limited(cpu.quota()), set(cpu.period()));
    if quota.is_some() || period.is_some() {
        let resource = if quota.is_some() { "cpu.quota" } else { "cpu.period" };
        let quota = quota.map_or("max".to_owned(), |us| us.to_string());
        // Without a period the kernel keeps its 100 ms.
        let value = period.map_or(quota.clone(), |period| format!("{quota} {period}"));
        writes.push(Write::new(resource, "cpu.max", value));
    }
    writes.extend(set(cpu.burst()).map(|us| Write::new("cpu.burst", "cpu.max.burst", us)));
    writes.extend(set(cpu.idle()).map(|idle| Write::new("cpu.idle", "cpu.idle", idle)));
    for (resource, file, list) in [("cpu.cpus", "cpuset.cpus", cpu.cpus()), ("cpu.mems", "cpuset.mems", cpu.mems())] {
        writes.extend(list.iter().filter(|list| !list.is_empty()).map(|list| Write::new(resource, file, list)));
    }
}

/// CPU shares (2 to 262144, default 1024) as a weight (1 to 10000, default 100), by the formula that runc (since 1.3.2)
/// and crun (since 1.23) use: it maps the ends and the defaults onto each other, which a straight line does not.
fn weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let l = (shares as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

/// An entry of the `unified` map: a file of the group, as the specification's "config-linux, Unified" allows it.
fn unified_write(file: &str, value: &str) -> Result<Write, Error> {
    let resource = format!("unified[{file:?}]");
    let known = file.split_once('.').is_some_and(|(controller, what)| !controller.is_empty() && !what.is_empty());
    if !known || file.contains(['/', '\0']) {
        return Err(Error::Unsupported { resource, why: "the name of a control file is CONTROLLER.WHAT" });
    }
    if file.starts_with("cgroup.") {
        return Err(Error::Unsupported { resource, why: "files that steer the group itself are the tool's" });
    }
    Ok(Write::new(&resource, file, value))
}

impl Group {
    /// Makes and fills the group; removes it again when anything fails.
    pub(crate) fn create(
        host: &Host,
        root: &str,
        name: &str,
        resources: &LinuxResources,
        rules: &[Rule],
    ) -> Result<Self, Error> {
        let writes = writes(resources)?;
        let mut group = Self { root: root.to_owned(), path: format!("{root}/{name}"), dir: None };
        let why = "a group for all processes of the container";
        step("make-cgroup", why, || format!("mkdir {}", group.path), || file::make(&group.path))?;
        match group.fill(host, &writes, rules) {
            Ok(()) => Ok(group),
            Err(error) => {
                group.remove();
                Err(error)
            }
        }
    }

    /// The group of that name, if it is there.
    pub(crate) fn open(root: &str, name: &str) -> Result<Self, Error> {
        let path = format!("{root}/{name}");
        Ok(Self { root: root.to_owned(), dir: file::open_group(&path)?, path })
    }

    fn fill(&mut self, host: &Host, writes: &[Write], rules: &[Rule]) -> Result<(), Error> {
        self.dir = file::open_group(&self.path)?;
        self.enable(host, writes)?;
        for write in writes.iter().filter(|write| matches!(write.file.as_str(), "cpuset.cpus" | "cpuset.mems")) {
            let offered = file::read(&format!("{}/{}.effective", self.root, write.file))?;
            resources::check_list(&write.resource, &write.value, &offered)?;
        }
        resources::apply(writes, |_| self.path.clone())?;
        if devices::allow_all(rules) {
            return Ok(());
        }
        let what = || format!("attach a program of {} rules to {}", rules.len(), self.path);
        step("allow-devices", "no device but the allowed ones", what, || self.attach_devices(rules))
    }

    /// Has the parent hand down the controllers that the writes need.
    fn enable(&self, host: &Host, writes: &[Write]) -> Result<(), Error> {
        if writes.is_empty() {
            return Ok(());
        }
        let lacking = |list: &str| -> Vec<&Write> {
            writes.iter().filter(|write| !list.split_whitespace().any(|c| c == write.controller)).collect()
        };
        let lacks = lacking(&file::read(&format!("{}/cgroup.controllers", self.path))?);
        if lacks.is_empty() {
            return Ok(());
        }
        if let Some(write) = lacking(&file::read(&format!("{}/cgroup.controllers", self.root))?).first() {
            return Err(Error::NoController {
                resource: write.resource.clone(),
                value: write.value.clone(),
                controller: write.controller.clone(),
                why: host.why_missing(&write.controller),
            });
        }
        let mut controllers: Vec<String> = lacks.iter().map(|write| format!("+{}", write.controller)).collect();
        controllers.dedup();
        let controllers = controllers.join(" ");
        let path = format!("{}/cgroup.subtree_control", self.root);
        let what = || format!("write {controllers} to {path}");
        step("enable-controllers", "a limit works where its controller is handed down", what, || {
            file::write(&path, &controllers).map_err(|source| Error::Enable {
                controllers: controllers.clone(),
                path: path.clone().into(),
                source,
            })
        })
    }

    fn attach_devices(&self, rules: &[Rule]) -> Result<(), Error> {
        let failed = |act| move |source| Error::DeviceProgram { act, path: self.path.clone().into(), source };
        let program = sys::bpf::load_cgroup_device(&device_filter::program(rules)).map_err(failed("load"))?;
        let dir = self.dir().map_err(failed("attach"))?;
        sys::bpf::attach_cgroup_device(program.as_fd(), dir).map_err(failed("attach"))
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    fn dir(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.dir.as_ref().map(AsFd::as_fd).ok_or(Errno::NOENT)
    }

    pub(crate) fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.dir().ok()
    }

    pub(crate) fn exists(&self) -> bool {
        self.dir.is_some()
    }

    /// For a process that was not cloned into the group.
    pub(crate) fn join(&self) -> Result<(), Error> {
        self.dir()
            .and_then(|dir| {
                let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
                rustix::fs::openat(dir, "cgroup.procs", flags, rustix::fs::Mode::empty())
            })
            .and_then(|procs| rustix::io::retry_on_intr(|| rustix::io::write(&procs, b"0")))
            .map(|_| ())
            .map_err(|source| Error::Join { path: self.path.clone().into(), source })
    }

    pub(crate) fn oom_killed(&self) -> Result<bool, Error> {
        let path = format!("{}/memory.events", self.path);
        Ok(file::counter(&path, "oom_kill")?.is_some_and(|kills| kills > 0))
    }

    /// Ends all processes of the group and of those inside it, in one write.
    pub(crate) fn kill(&self) -> Result<(), Error> {
        let path = format!("{}/cgroup.kill", self.path);
        match file::write(&path, "1") {
            Ok(()) | Err(Errno::NOENT | Errno::NODEV) => Ok(()),
            Err(source) => Err(Error::Kill { path: self.path.clone().into(), source }),
        }
    }

    pub(crate) fn remove(&self) -> Vec<Error> {
        file::remove(&self.path).err().into_iter().collect()
    }
}

#[cfg(test)]
#[path = "v2_tests.rs"]
mod tests;
