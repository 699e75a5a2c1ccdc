//! Which control group hierarchies this host has, and where.
//!
//! `/proc/self/cgroup` says which controllers sit on v1; where they are mounted is not looked up but known: systemd,
//! Docker and the cgroup mount scripts all use `/sys/fs/cgroup` (v2) or `/sys/fs/cgroup/<controllers>` (v1), and
//! statfs(2) says whether the right file system is really there. `/proc/self/mountinfo` is not read: it can hold
//! thousands of lines on a container host, and the kernel walks all of them. Groups are made at the root of what is
//! mounted, whichever group this process is in: inside another container that root is that container's own group.

use crate::file;
use crate::location::{self, Location};
use crate::{Error, v1, v2};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Where cgroup file systems are mounted (file-hierarchy and cgroups(7)).
const ROOT: &str = "/sys/fs/cgroup";
pub(crate) const OF_THIS_PROCESS: &str = "/proc/self/cgroup";

// linux/magic.h
const CGROUP2_SUPER_MAGIC: u32 = 0x6367_7270;
const CGROUP_SUPER_MAGIC: u32 = 0x0027_e0eb;

/// Where groups are frozen: for who looks at many of them.
#[derive(Debug)]
pub struct Freezer {
    root: OwnedFd,
    /// The file of a group that says whether it is.
    file: &'static str,
}

impl Freezer {
    /// As [`crate::Cgroup::is_frozen`], without opening the group: one file is read. A location that is no plain path is
    /// not looked up.
    pub fn holds(&self, location: &Location) -> Result<bool, Error> {
        let Location::Path(path) = location else { return Ok(false) };
        let path = format!("{}/{}", location::normal(path)?, self.file);
        file::says_one(self.root.as_fd(), &path)
    }
}

/// The hierarchies of this host. Nothing is made by looking.
#[derive(Debug)]
pub struct Host {
    /// The mount of cgroup v2 that holds groups; on a hybrid host None.
    pub(crate) v2: Option<String>,
    pub(crate) v1: Vec<Hierarchy>,
    /// On a hybrid host the v2 mount beside the v1 ones. Only looked at to explain where a controller is.
    v2_leg: Option<String>,
}

/// A v1 hierarchy: controllers that share one tree of groups.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub(crate) controllers: Vec<String>,
    /// None when it is not mounted at a place we know.
    pub(crate) mount: Option<String>,
}

impl Host {
    /// Looks at `/sys/fs/cgroup`, and for v1 at `/proc/self/cgroup`: one statfs(2) a hierarchy.
    pub fn detect() -> Result<Self, Error> {
        if is_mounted(ROOT, CGROUP2_SUPER_MAGIC) {
            return Ok(Self { v2: Some(ROOT.to_owned()), v1: Vec::new(), v2_leg: None });
        }
        let leg = format!("{ROOT}/unified");
        let v2_leg = is_mounted(&leg, CGROUP2_SUPER_MAGIC).then_some(leg);
        let v1: Vec<Hierarchy> = v1_controllers(&file::read(OF_THIS_PROCESS)?)
            .map(|controllers| Hierarchy { mount: mount_of(&controllers), controllers })
            .collect();
        if v1.iter().all(|hierarchy| hierarchy.mount.is_none()) {
            return Err(Error::NotMounted);
        }
        Ok(Self { v2: None, v1, v2_leg })
    }

    #[cfg(test)]
    pub(crate) fn for_test(v1: Vec<Hierarchy>) -> Self {
        Self { v2: None, v1, v2_leg: None }
    }

    /// True when all groups are made on cgroup v2.
    pub fn is_v2(&self) -> bool {
        self.v2.is_some()
    }

    /// Where groups are frozen, opened: for who looks at many groups. None where that cannot be done.
    pub fn freezer(&self) -> Option<Freezer> {
        let has_freezer = |hierarchy: &&Hierarchy| hierarchy.controllers.iter().any(|name| name == "freezer");
        let on_v1 = || self.v1.iter().find(has_freezer).and_then(|hierarchy| hierarchy.mount.as_ref());
        let (root, file) = match &self.v2 {
            Some(root) => (root, v2::IS_FROZEN),
            None => (on_v1()?, v1::IS_FROZEN),
        };
        Some(Freezer { root: file::open_group(root).ok()??, file })
    }

    /// True when there is a group at this path below the root of a hierarchy that we use.
    pub(crate) fn has_group(&self, path: &str) -> bool {
        let roots = self.v2.iter().chain(self.v1.iter().filter_map(|hierarchy| hierarchy.mount.as_ref()));
        roots.into_iter().any(|root| Path::new(root).join(path).is_dir())
    }

    /// Why no group of ours can have `controller`: for the error of a limit that needs it.
    pub(crate) fn why_missing(&self, controller: &str) -> String {
        let (v1_name, v2_name) = match controller {
            "io" | "blkio" => ("blkio", "io"),
            other => (other, other),
        };
        if self.v1.iter().any(|hierarchy| hierarchy.controllers.iter().any(|c| c == v1_name)) {
            return format!("this host has the {v1_name} controller on cgroup v1, and it is not mounted");
        }
        // On v2 the v1 hierarchies were not asked for until now.
        let listed = file::read(OF_THIS_PROCESS).unwrap_or_default();
        if self.is_v2() && v1_controllers(&listed).flatten().any(|c| c == v1_name) {
            return format!("this host has the {v1_name} controller on cgroup v1, and the others on v2");
        }
        let on_leg = self.v2_leg.as_ref().and_then(|leg| file::read(&format!("{leg}/cgroup.controllers")).ok());
        if on_leg.is_some_and(|list| list.split_whitespace().any(|c| c == v2_name)) {
            return format!(
                "this host has the {controller} controller on the cgroup v2 half of a hybrid set-up, which is not \
                 used while the other controllers are on v1"
            );
        }
        format!("this kernel has no {controller} controller, or it is turned off, or not handed down to us")
    }
}

/// The controllers of each v1 hierarchy in `/proc/self/cgroup`, whose lines are `ID:CONTROLLERS:PATH` (cgroups(7)).
/// v2 is `0::PATH`; `name=systemd` and its like have no controller.
fn v1_controllers(text: &str) -> impl Iterator<Item = Vec<String>> {
    text.lines().filter_map(|line| {
        let controllers = line.split(':').nth(1)?;
        if controllers.is_empty() || controllers.starts_with("name=") || controllers.contains('/') {
            return None;
        }
        Some(controllers.split(',').map(str::to_owned).collect())
    })
}

/// Where the hierarchy is mounted that `/proc/self/cgroup` calls so: by its controllers, its name, or, as v2, nothing.
pub(crate) fn mount_named(controllers: &str) -> Option<String> {
    if controllers.is_empty() {
        let both = [ROOT.to_owned(), format!("{ROOT}/unified")];
        return both.into_iter().find(|path| is_mounted(path, CGROUP2_SUPER_MAGIC));
    }
    let name = controllers.strip_prefix("name=").unwrap_or(controllers);
    mount_of(&name.split(',').map(str::to_owned).collect::<Vec<_>>())
}

fn mount_of(controllers: &[String]) -> Option<String> {
    // Co-mounted controllers are at `cpu,cpuacct`, in either order, with symbolic links `cpu` and `cpuacct` to it.
    let joined = controllers.join(",");
    std::iter::once(&joined)
        .chain(controllers)
        .map(|name| format!("{ROOT}/{name}"))
        .find(|path| is_mounted(path, CGROUP_SUPER_MAGIC))
}

fn is_mounted(path: impl AsRef<Path>, magic: u32) -> bool {
    // The type of f_type differs between architectures; every magic fits into 32 bits.
    rustix::fs::statfs(path.as_ref()).is_ok_and(|found| found.f_type as u32 == magic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v1_hierarchies_are_read_from_the_process_file() {
        let cases: &[(&str, &str, &[&[&str]])] = &[
            ("pure v2", "0::/user.slice\n", &[]),
            ("hybrid", "9:name=systemd:/\n8:pids:/\n4:memory:/a:b\n0::/\n", &[&["pids"], &["memory"]]),
            ("co-mounted", "3:cpu,cpuacct:/docker/abc\n", &[&["cpu", "cpuacct"]]),
            ("torn", "7\n\n:\n5:devices", &[&["devices"]]),
            ("a way out", "5:../../tmp:/\n", &[]),
        ];
        for (name, text, expected) in cases {
            let found: Vec<Vec<String>> = v1_controllers(text).collect();
            assert_eq!(found, *expected, "{name}");
        }
    }

    #[test]
    fn a_missing_controller_is_explained() {
        let unmounted = Hierarchy { controllers: vec!["memory".into()], mount: None };
        let host = Host::for_test(vec![unmounted]);
        assert_eq!(
            host.why_missing("memory"),
            "this host has the memory controller on cgroup v1, and it is not mounted"
        );
        assert!(host.why_missing("pids").contains("no pids controller"));
    }
}
