//! Control groups: the limits of a container, its devices, and the certainty that all of its processes are known.
//!
//! A container is one group of a flat name (`mycontainer-ID`): on v2 one directory, on v1 one in each hierarchy that
//! matters. Both versions turn the OCI resources into a list of writes without touching the host, so that what cannot
//! be enforced is refused before anything is made: a limit is never dropped in silence.
//!
//! What is left on the host: the group, until [`Cgroup::remove`]. Dropping a [`Cgroup`] removes nothing, since the
//! cloned child holds a copy of it. The name is all that finds it again after the tool was killed: [`Cgroup::open`],
//! [`Cgroup::kill`], [`Cgroup::remove`]. On v2 the controllers that limits need stay enabled in the parent.
//!
//! `host` finds the hierarchies; `resources` and `devices` read the specification; `v1` and `v2` do the work, on
//! `file`; `device_filter` makes the device program of v2.

mod device_filter;
mod devices;
mod error;
mod file;
mod host;
mod resources;
mod v1;
mod v2;

pub use error::Error;
pub use host::Host;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};
use std::os::fd::BorrowedFd;
use step::step;

/// One container's group, or groups on v1.
#[derive(Debug)]
pub struct Cgroup {
    name: String,
    version: Version,
}

#[derive(Debug)]
enum Version {
    V1(v1::Groups),
    V2(v2::Group),
}

impl Cgroup {
    /// Makes the group `name` with its limits and device rules, and on failure removes what it made.
    ///
    /// The device rules are those of `resources`, then `devices` (what the runtime itself needs in every container),
    /// later ones winning; what no rule names is denied. No rule at all restricts nothing. Fields that are not acted on
    /// are errors, unless they ask for nothing (0, empty, or negative for "unlimited").
    pub fn create(
        host: &Host,
        name: &str,
        resources: &LinuxResources,
        devices: &[LinuxDeviceCgroup],
    ) -> Result<Self, Error> {
        check_name(name)?;
        let rules = devices::read(resources.devices().iter().flatten().chain(devices))?;
        let version = match &host.v2 {
            Some(root) => Version::V2(v2::Group::create(host, root, name, resources, &rules)?),
            None => Version::V1(v1::Groups::create(host, name, resources, &rules)?),
        };
        Ok(Self { name: name.into(), version })
    }

    /// The group of that name, to join it or to clean up after a tool that was killed. A missing group, also one that
    /// is missing in some v1 hierarchies only, is no error: see [`Cgroup::exists`].
    pub fn open(host: &Host, name: &str) -> Result<Self, Error> {
        check_name(name)?;
        let version = match &host.v2 {
            Some(root) => Version::V2(v2::Group::open(root, name)?),
            None => Version::V1(v1::Groups::open(host, name)?),
        };
        Ok(Self { name: name.into(), version })
    }

    /// True when it was there, at least in part, when it was made or opened.
    pub fn exists(&self) -> bool {
        match &self.version {
            Version::V1(groups) => groups.exists(),
            Version::V2(group) => group.exists(),
        }
    }

    /// True when the group is on cgroup v2.
    pub fn is_v2(&self) -> bool {
        matches!(self.version, Version::V2(_))
    }

    /// The controllers of each v1 hierarchy that it has a group in: what a container's own /sys/fs/cgroup may show.
    pub fn v1_hierarchies(&self) -> impl Iterator<Item = &[String]> {
        let groups = match &self.version {
            Version::V1(groups) => Some(groups),
            Version::V2(_) => None,
        };
        groups.into_iter().flat_map(v1::Groups::hierarchies)
    }

    /// The directory for clone3(2)'s CLONE_INTO_CGROUP. None on v1, where the child calls [`Cgroup::join`].
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        match &self.version {
            Version::V1(_) => None,
            Version::V2(group) => group.clone_into(),
        }
    }

    /// Moves the calling process into the group, in the child after the clone. The process must have one thread. On v1
    /// it uses only descriptors that were opened with the group, so it works in any mount or user namespace.
    pub fn join(&self) -> Result<(), Error> {
        let what = || format!("write 0 to the tasks of {}", self.name);
        step("join-cgroup", "limits hold from the first instruction of the program", what, || match &self.version {
            Version::V1(groups) => groups.join(),
            Version::V2(group) => group.join(),
        })
    }

    /// True when the kernel killed a process of the group for want of memory. False too when the group has no memory
    /// controller (v2 without a memory limit), or is gone.
    pub fn oom_killed(&self) -> Result<bool, Error> {
        match &self.version {
            Version::V1(groups) => groups.oom_killed(),
            Version::V2(group) => group.oom_killed(),
        }
    }

    /// Sends SIGKILL to all processes of the group and of those made inside it. Does not wait for their end:
    /// [`Cgroup::remove`] does.
    pub fn kill(&self) -> Result<(), Error> {
        let what = || format!("SIGKILL to every process of {}", self.name);
        step("kill-cgroup", "no process of the container is left behind", what, || match &self.version {
            Version::V1(groups) => groups.kill(),
            Version::V2(group) => group.kill(),
        })
    }

    /// Removes the group and those made inside it, waiting up to two seconds for dying processes. Goes on after an
    /// error; what could not be removed can be tried again by name.
    pub fn remove(self) -> Vec<Error> {
        let mut errors = Vec::new();
        // The step needs one error; the caller gets all.
        let _ = step(
            "remove-cgroup",
            "nothing of the container stays",
            || format!("rmdir {}", self.name),
            || {
                errors = match &self.version {
                    Version::V1(groups) => groups.remove(),
                    Version::V2(group) => group.remove(),
                };
                errors.first().map_or(Ok(()), |error| Err(error.to_string()))
            },
        );
        errors
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    // No dot in front, no slash, and no name of a control file, all of which have a dot after a word or are one word
    // without a dash (`tasks`).
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.contains('-') && name.len() <= 200 && !name.starts_with(['.', '-']) && name.chars().all(good) {
        return Ok(());
    }
    Err(Error::Name { name: name.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_directory_of_its_own() {
        assert!(check_name("mycontainer-0123abcd").is_ok());
        for bad in ["", ".", "..", "a/b-c", "../x-y", "tasks", "cgroup.procs", "x-\n", "-x", &"x-".repeat(101)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
