//! The namespaces of a container: which are made for it, and which it joins by path.
//!
//! Most are made by the one `clone3` that makes the container's first process. Three cannot be:
//! - A cgroup namespace is rooted in the group that its maker is in, so the child makes it once it is there.
//! - A time namespace has no bit of clone's, and takes its offsets before anybody is in it.
//! - What belongs to a user namespace that is joined must be made inside it; those of the host must be joined before a
//!   new user namespace is made; and a pid namespace that is joined is entered by children only. For these a
//!   short-lived process, the *stage*, enters first and then clones the container's first process as its own sibling,
//!   so that the tool is its parent all the same.
//!
//! A type that the configuration does not list stays the caller's. [runtime-spec config-linux.md "Namespaces"]

use crate::error::Error;
use oci_spec::runtime::{Linux, LinuxNamespaceType};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use step::step;
use sys::fork::Namespaces;

/// Made by the child itself.
const BY_THE_CHILD: Namespaces = Namespaces(Namespaces::CGROUP.0 | Namespaces::TIME.0);

/// What the configuration asks for.
#[derive(Debug, Default)]
pub(crate) struct PlannedNamespaces {
    /// Made for this container.
    pub(crate) new: Namespaces,
    /// Those of others.
    joined: Vec<(Namespaces, PathBuf)>,
}

/// Namespaces of others, held open.
#[derive(Debug, Default)]
pub(crate) struct Joined(Vec<(Namespaces, PathBuf, OwnedFd)>);

/// Reads the list. Each type at most once.
pub(crate) fn plan(linux: &Linux) -> Result<PlannedNamespaces, Error> {
    let mut planned = PlannedNamespaces::default();
    for namespace in linux.namespaces().iter().flatten() {
        let bit = bit(namespace.typ());
        if planned.has_own(bit) {
            return Err(Error::Invalid(format!("the {} namespace is listed twice", name(bit))));
        }
        match namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty()) {
            None => planned.new = planned.new | bit,
            Some(path) if !path.is_absolute() => {
                return Err(Error::Invalid(format!("the {} namespace has the relative path {path:?}", name(bit))));
            }
            Some(path) => planned.joined.push((bit, path.clone())),
        }
    }
    Ok(planned)
}

fn bit(kind: LinuxNamespaceType) -> Namespaces {
    match kind {
        LinuxNamespaceType::Mount => Namespaces::MOUNT,
        LinuxNamespaceType::Cgroup => Namespaces::CGROUP,
        LinuxNamespaceType::Uts => Namespaces::UTS,
        LinuxNamespaceType::Ipc => Namespaces::IPC,
        LinuxNamespaceType::Pid => Namespaces::PID,
        LinuxNamespaceType::Network => Namespaces::NETWORK,
        LinuxNamespaceType::User => Namespaces::USER,
        LinuxNamespaceType::Time => Namespaces::TIME,
    }
}

const NAMES: [(Namespaces, &str); 8] = [
    (Namespaces::USER, "user"),
    (Namespaces::PID, "pid"),
    (Namespaces::MOUNT, "mount"),
    (Namespaces::UTS, "uts"),
    (Namespaces::IPC, "ipc"),
    (Namespaces::NETWORK, "network"),
    (Namespaces::CGROUP, "cgroup"),
    (Namespaces::TIME, "time"),
];

fn name(bit: Namespaces) -> &'static str {
    NAMES.iter().find(|(known, _)| *known == bit).map_or("unknown", |(_, name)| name)
}

/// The name of its file below /proc/PID/ns.
fn file_name(bit: Namespaces) -> &'static str {
    match name(bit) {
        "mount" => "mnt",
        "network" => "net",
        name => name,
    }
}

/// The names of a set, for a person.
pub(crate) fn names(set: Namespaces) -> String {
    let names: Vec<&str> = NAMES.iter().filter(|(bit, _)| set.contains(*bit)).map(|(_, name)| *name).collect();
    names.join(", ")
}

impl PlannedNamespaces {
    /// True when the container does not share this one with its caller, whether it is new or another's.
    pub(crate) fn has_own(&self, kind: Namespaces) -> bool {
        self.new.contains(kind) || self.joins(kind)
    }

    /// True when it is another's.
    pub(crate) fn joins(&self, kind: Namespaces) -> bool {
        self.joined.iter().any(|(joined, _)| *joined == kind)
    }

    /// Those of others: kind, name and path.
    pub(crate) fn joined(&self) -> impl Iterator<Item = (Namespaces, &'static str, &std::path::Path)> {
        self.joined.iter().map(|(kind, path)| (*kind, file_name(*kind), path.as_path()))
    }

    /// All that are not the caller's.
    pub(crate) fn own(&self) -> Namespaces {
        self.joined.iter().fold(self.new, |set, (kind, _)| set | *kind)
    }

    /// True when a stage has to go in first. Also before a new user namespace, from inside which those of the host
    /// cannot be entered any more.
    pub(crate) fn needs_stage(&self) -> bool {
        let from_a_new_one = self.new.contains(Namespaces::USER) && !self.joined.is_empty();
        self.joins(Namespaces::USER) || self.joins(Namespaces::PID) || from_a_new_one
    }

    /// Those that the clone itself makes.
    pub(crate) fn by_clone(&self) -> Namespaces {
        self.new.without(BY_THE_CHILD)
    }

    /// Holds those of others open, so that none can be gone or be another one when it is entered.
    pub(crate) fn open(&self) -> Result<Joined, Error> {
        let open = |(kind, path): &(Namespaces, PathBuf)| {
            let fd = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| Error::Namespace { kind: name(*kind), path: path.clone(), source: errno.into() })?;
            Ok((*kind, path.clone(), fd))
        };
        self.joined.iter().map(open).collect::<Result<_, _>>().map(Joined)
    }
}

impl Joined {
    /// In the stage: enters all, the pid namespace for the children.
    ///
    /// First with the caller's rights, which on the host are enough for all. What they are not enough for needs those of
    /// the user namespace, and is entered after it. The mount namespace comes last: after it, paths are another's.
    pub(crate) fn enter_all(&self) -> Result<(), Error> {
        let all =
            NAMES.iter().map(|(kind, _)| *kind).filter(|kind| *kind != Namespaces::USER && *kind != Namespaces::MOUNT);
        let mut later = Vec::new();
        for kind in all.chain([Namespaces::MOUNT]) {
            match self.enter(kind) {
                Err(Error::Namespace { source, .. }) if source.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                    later.push(kind);
                }
                done => done?,
            }
        }
        self.enter(Namespaces::USER)?;
        later.into_iter().try_for_each(|kind| self.enter(kind))
    }

    /// In a child that no stage went before: enters all, none of which is a user or pid namespace.
    pub(crate) fn enter_rest(&self) -> Result<(), Error> {
        let all = NAMES.iter().map(|(kind, _)| *kind).filter(|kind| *kind != Namespaces::MOUNT);
        all.chain([Namespaces::MOUNT]).try_for_each(|kind| self.enter(kind))
    }

    fn enter(&self, kind: Namespaces) -> Result<(), Error> {
        let Some((_, path, fd)) = self.0.iter().find(|(known, ..)| *known == kind) else { return Ok(()) };
        step(
            "join-namespace",
            "asked for by its path",
            || format!("enter the {} namespace {}", name(kind), path.display()),
            // The kind is said, so that a file of another kind is refused.
            || sys::fork::enter(fd.as_fd(), kind),
        )
        .map_err(|source| Error::Namespace { kind: name(kind), path: path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(list: &str) -> Result<PlannedNamespaces, Error> {
        plan(&serde_json::from_str(&format!(r#"{{"namespaces":{list}}}"#)).unwrap())
    }

    #[test]
    fn the_list_says_what_is_new_and_what_is_joined() {
        let found = planned(r#"[{"type":"pid"},{"type":"network","path":"/proc/1/ns/net"},{"type":"time","path":""}]"#);
        let found = found.unwrap();
        assert_eq!(found.new, Namespaces::PID | Namespaces::TIME);
        assert!(found.joins(Namespaces::NETWORK) && found.has_own(Namespaces::NETWORK));
        assert!(!found.has_own(Namespaces::UTS) && !found.needs_stage());
        assert_eq!(found.by_clone(), Namespaces::PID);
        assert!(planned(r#"[{"type":"user","path":"/x"}]"#).unwrap().needs_stage());
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for list in [
            r#"[{"type":"pid"},{"type":"pid"}]"#,
            r#"[{"type":"pid"},{"type":"pid","path":"/proc/1/ns/pid"}]"#,
            r#"[{"type":"network","path":"ns/net"}]"#,
        ] {
            assert!(matches!(planned(list), Err(Error::Invalid(_))), "{list}");
        }
    }
}
