//! Control groups v2: one group a container.
//!
//! A controller works in the group when its parents hand it down (`cgroup.subtree_control`). What the limits need is
//! enabled there and stays enabled after the container: other groups may rely on it by then, and it limits nothing by
//! itself. Nothing else of the host is changed. `cgroup.kill` (Linux 5.14) is older than our oldest kernel.

use crate::devices::Rule;
use crate::resources::{self, Purpose, Write, limited};
use crate::{Error, Host, device_filter, devices, file, freezer, v2_files};
use oci_spec::runtime::LinuxResources;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use step::step;

/// A container's group.
#[derive(Debug)]
pub(crate) struct Group {
    root: String,
    /// Below the root.
    name: String,
    path: String,
    /// For clone3(2). None when the group is missing.
    dir: Option<OwnedFd>,
}

impl Group {
    /// Makes and fills the group; removes it again when anything fails.
    pub(crate) fn create(root: &str, name: &str, resources: &LinuxResources, rules: &[Rule]) -> Result<Self, Error> {
        let writes = v2_files::writes(resources, Purpose::Create)?;
        let mut group = Self::at(root, name);
        let why = "a group for all processes of the container";
        let made = step("make-cgroup", why, || format!("mkdir {}", group.path), || file::make(&group.path, name))?;
        match group.fill_new(&writes, rules, made) {
            Ok(()) => Ok(group),
            Err(error) => {
                if made {
                    group.remove();
                }
                Err(error)
            }
        }
    }

    fn at(root: &str, name: &str) -> Self {
        Self { root: root.to_owned(), name: name.to_owned(), path: format!("{root}/{name}"), dir: None }
    }

    /// The group of that name, if it is there.
    pub(crate) fn open(root: &str, name: &str) -> Result<Self, Error> {
        let group = Self::at(root, name);
        Ok(Self { dir: file::open_group(&group.path)?, ..group })
    }

    /// Refuses what could be refused once the group is there, for a group that somebody else makes.
    pub(crate) fn check(root: &str, resources: &LinuxResources) -> Result<(), Error> {
        let writes = v2_files::writes(resources, Purpose::Create)?;
        let there = file::read(&format!("{root}/cgroup.controllers"))?;
        let lacks =
            |write: &&Write| !write.controller.is_empty() && !there.split_whitespace().any(|c| c == write.controller);
        match writes.iter().find(lacks) {
            Some(write) => Err(resources::no_controller(&Host::detect()?, write)),
            None => Ok(()),
        }
    }

    /// Fills a group that systemd made with `pid` in it, or for `pid`.
    pub(crate) fn adopt(
        root: &str,
        name: &str,
        resources: &LinuxResources,
        rules: &[Rule],
        pid: i32,
        needs_move: bool,
    ) -> Result<Self, Error> {
        let group = Self::open(root, name)?;
        group.dir().map_err(|source| Error::Open { path: group.path.clone().into(), source })?;
        group.fill(&v2_files::writes(resources, Purpose::Create)?)?;
        group.set_devices(rules, true)?;
        if needs_move {
            file::write(&format!("{}/cgroup.procs", group.path), &pid.to_string())
                .map_err(|source| Error::Join { path: group.path.clone().into(), source })?;
        }
        Ok(group)
    }

    /// The writes of an update.
    pub(crate) fn updates(&self, resources: &LinuxResources) -> Result<Vec<Write>, Error> {
        let current = |name: &str| file::read(&format!("{}/{name}", self.path)).ok();
        v2_files::writes(resources, Purpose::Update(&current))
    }

    pub(crate) fn cpu_period(&self) -> Option<u64> {
        file::read(&format!("{}/cpu.max", self.path)).ok()?.split_whitespace().nth(1)?.parse().ok()
    }

    pub(crate) fn open_inner(&self, path: &str) -> Result<Self, Error> {
        Self::open(&self.root, &format!("{}/{path}", self.name))
    }

    fn fill_new(&mut self, writes: &[Write], rules: &[Rule], made: bool) -> Result<(), Error> {
        self.dir = file::open_group(&self.path)?;
        if !made {
            file::check_empty(&self.path)?;
            // Whoever enters a frozen group stops there.
            self.thaw()?;
        }
        self.fill(writes)?;
        self.set_devices(rules, made)
    }

    fn fill(&self, writes: &[Write]) -> Result<(), Error> {
        self.enable(writes)?;
        for write in writes.iter().filter(|write| matches!(write.file.as_str(), "cpuset.cpus" | "cpuset.mems")) {
            let offered = file::read(&format!("{}/{}.effective", self.root, write.file))?;
            resources::check_list(&write.resource, &write.value, &offered)?;
        }
        resources::apply(writes, |_| self.path.clone())
    }

    /// Sets limits anew; device rules, when there are any, replace those that were given before.
    pub(crate) fn update(&self, resources: &LinuxResources, rules: &[Rule]) -> Result<(), Error> {
        let writes = self.updates(resources)?;
        if let Some(memory) = resources.memory().as_ref().filter(|memory| memory.check_before_update() == Some(true)) {
            self.check_usage(limited(memory.limit()))?;
        }
        self.fill(&writes)?;
        if rules.is_empty() { Ok(()) } else { self.set_devices(rules, false) }
    }

    /// v2 takes a limit below the usage and kills for it; v1 refuses it by itself.
    fn check_usage(&self, limit: Option<u64>) -> Result<(), Error> {
        let usage = file::read_if_there(&format!("{}/memory.current", self.path))?;
        let usage: Option<u64> = usage.and_then(|text| text.trim().parse().ok());
        match (limit, usage) {
            (Some(limit), Some(usage)) if usage > limit => Err(Error::Value {
                resource: "memory.limit".into(),
                value: limit.to_string(),
                why: format!("the group uses {usage} bytes now"),
            }),
            _ => Ok(()),
        }
    }

    /// Has the groups above hand down the controllers that the writes need.
    fn enable(&self, writes: &[Write]) -> Result<(), Error> {
        let mut needed: Vec<&Write> = Vec::new();
        for write in writes.iter().filter(|write| !write.controller.is_empty()) {
            if needed.iter().all(|other| other.controller != write.controller) {
                needed.push(write);
            }
        }
        if needed.is_empty() {
            return Ok(());
        }
        let lacking = |group: &str| -> Result<Vec<&Write>, Error> {
            let there = file::read(&format!("{group}/cgroup.controllers"))?;
            let has = |write: &&&Write| there.split_whitespace().any(|c| c == write.controller);
            Ok(needed.iter().filter(|write| !has(write)).copied().collect())
        };
        let lacks = lacking(&self.path)?;
        if lacks.is_empty() {
            return Ok(());
        }
        if let Some(write) = lacking(&self.root)?.first() {
            return Err(resources::no_controller(&Host::detect()?, write));
        }
        let mut above = self.root.as_str();
        for group in file::parents(&self.path, &self.name) {
            self.enable_in(above, &lacking(group)?)?;
            above = group;
        }
        self.enable_in(above, &lacks)
    }

    fn enable_in(&self, group: &str, lacks: &[&Write]) -> Result<(), Error> {
        if lacks.is_empty() {
            return Ok(());
        }
        let controllers: Vec<String> = lacks.iter().map(|write| format!("+{}", write.controller)).collect();
        let controllers = controllers.join(" ");
        let path = format!("{group}/cgroup.subtree_control");
        let what = || format!("write {controllers} to {path}");
        step("enable-controllers", "a limit works where its controller is handed down", what, || {
            file::write(&path, &controllers).map_err(|source| match (source, lacks.first()) {
                (Errno::ACCESS | Errno::PERM, Some(write)) => self.not_handed_down(group, write),
                _ => Error::Enable { controllers: controllers.clone(), path: path.clone().into(), source },
            })
        })
    }

    /// The group `above` belongs to somebody else.
    fn not_handed_down(&self, above: &str, write: &Write) -> Error {
        Error::NotHandedDown {
            resource: write.resource.clone(),
            value: write.value.clone(),
            controller: write.controller.clone(),
            place: Box::new((self.path.clone().into(), above.into())),
        }
    }

    /// `new` groups have no program yet. In an old one the new program comes before the old ones of ours go, so that
    /// there is no moment without.
    fn set_devices(&self, rules: &[Rule], new: bool) -> Result<(), Error> {
        let all = devices::allow_all(rules);
        if new && all {
            return Ok(());
        }
        let what = || format!("attach a program of {} rules to {}", rules.len(), self.path);
        step("allow-devices", "no device but the allowed ones", what, || {
            let old = if new { Vec::new() } else { self.device_programs()? };
            if !all {
                self.attach_devices(rules)?;
            }
            old.iter().try_for_each(|program| self.detach_devices(program.as_fd()))
        })
    }

    /// The programs of ours that are attached.
    fn device_programs(&self) -> Result<Vec<OwnedFd>, Error> {
        let dir = self.dir().map_err(self.device_error("list"))?;
        sys::bpf::own_cgroup_devices(dir).map_err(self.device_error("list"))
    }

    fn detach_devices(&self, program: BorrowedFd<'_>) -> Result<(), Error> {
        let dir = self.dir().map_err(self.device_error("detach"))?;
        sys::bpf::detach_cgroup_device(program, dir).map_err(self.device_error("detach"))
    }

    fn device_error(&self, act: &'static str) -> impl Fn(Errno) -> Error + '_ {
        move |source| Error::DeviceProgram { act, path: self.path.clone().into(), source }
    }

    fn attach_devices(&self, rules: &[Rule]) -> Result<(), Error> {
        let program =
            sys::bpf::load_cgroup_device(&device_filter::program(rules)).map_err(self.device_error("load"))?;
        let dir = self.dir().map_err(self.device_error("attach"))?;
        sys::bpf::attach_cgroup_device(program.as_fd(), dir).map_err(self.device_error("attach"))
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
        for (file, value) in [("cgroup.kill", "1"), ("cgroup.freeze", "0")] {
            match file::write(&format!("{}/{file}", self.path), value) {
                Ok(()) | Err(Errno::NOENT | Errno::NODEV) => {}
                Err(source) => return Err(Error::Kill { path: self.path.clone().into(), source }),
            }
        }
        Ok(())
    }

    pub(crate) fn signal_all(&self, signal: i32) -> Result<(), Error> {
        // Standing still, no process can make another one between the list and the signal.
        let stopped = !self.is_frozen()? && freezer::freeze_v2(&self.path, freezer::BRIEFLY).is_ok();
        let done = file::signal_listed(&self.path, signal);
        let thawed = if stopped { self.thaw() } else { Ok(()) };
        done.and(thawed)
    }

    pub(crate) fn processes(&self) -> Result<Vec<i32>, Error> {
        file::processes_in(&self.path)
    }

    pub(crate) fn freeze(&self) -> Result<(), Error> {
        freezer::freeze_v2(&self.path, freezer::PATIENTLY)
    }

    pub(crate) fn thaw(&self) -> Result<(), Error> {
        freezer::thaw_v2(&self.path)
    }

    pub(crate) fn is_frozen(&self) -> Result<bool, Error> {
        file::says_one(rustix::fs::CWD, &format!("{}/{IS_FROZEN}", self.path))
    }

    pub(crate) fn remove(&self) -> Vec<Error> {
        file::remove(&self.path).err().into_iter().collect()
    }
}

/// By the group's own wish.
pub(crate) const IS_FROZEN: &str = "cgroup.freeze";

#[cfg(test)]
#[path = "v2_tests.rs"]
mod tests;
