//! What a container has of another one: namespaces, with the files that belong to them.
//!
//! Which container is meant is found out when this one is made, and written down as an id. At each start the other must run.
//! Its namespaces are opened by the number of its first process, of which a pidfd is held: when that lives still
//! afterwards, the number was its own all the time. From then on descriptors hold them: the other may end, and this one
//! goes on in what it has.
//!
//! To the network belong the names of hosts and servers (/etc/hosts, /etc/resolv.conf, /etc/hostname), to ipc /dev/shm.
//! They are the other's mounts, cloned in its mount namespace, not copies: what is changed in one is changed in both. The
//! other is hostile, and may have put anything in their place: no symlink leads out of its root, and what is no file of the
//! right kind is not taken.

use super::tree::in_mounts_of;
use super::{CreateOptions, Found, get, process, volumes_from};
use crate::error::Error;
use crate::namespaces::{self, NamespaceMode};
use crate::options::{NetworkMode, RunOptions};
use crate::pods;
use crate::state::Id;
use crate::userns::{Maps, UserMode};
use oci_spec::runtime::LinuxNamespaceType;
use runtime::{First, Root, Tree};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use step::step;
use sys::fork::Namespaces;
use sys::mount::{Attributes, RDONLY, set_attributes};

/// Where shared memory is.
pub(crate) const SHM: &str = "/dev/shm";
/// What belongs to a network.
const FILES: [&str; 3] = ["/etc/resolv.conf", "/etc/hostname", "/etc/hosts"];

/// What is made, with what the flags name of other containers found. None if they name nothing.
pub(crate) fn resolved(options: &CreateOptions) -> Result<Option<CreateOptions>, Error> {
    namespaces::check(&options.run)?;
    let with_volumes = volumes_from::resolved(options)?;
    let run = &with_volumes.as_ref().unwrap_or(options).run;
    if others(run).next().is_none() && run.uts != NamespaceMode::Host && run.pod.is_none() {
        return Ok(with_volumes);
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let mut all = with_volumes.unwrap_or_else(|| options.clone());
    let joined = pods::join(&mut all)
        // Once more: what a pod shares is not the container's own either.
        .and_then(|()| namespaces::check(&all.run))
        .and_then(|()| resolve(&mut all.run));
    match joined {
        Ok(()) => Ok(Some(all)),
        Err(error) => {
            pods::unmake(&all.run);
            Err(error)
        }
    }
}

/// The others, by kind and words.
fn others(options: &RunOptions) -> impl Iterator<Item = (Kind, &str)> {
    let all = [
        (Kind::Network, options.network.other()),
        (Kind::Ipc, options.ipc.other()),
        (Kind::Uts, options.uts.other()),
        (Kind::Pid, options.pid.other()),
        (Kind::Cgroup, options.cgroupns.other()),
        (Kind::User, options.userns.other()),
    ];
    all.into_iter().filter_map(|(kind, other)| Some((kind, other?)))
}

/// The ids of the others in place of their names, and the host name that comes with what is shared.
fn resolve(options: &mut RunOptions) -> Result<(), Error> {
    let mut hostname = None;
    if let NetworkMode::Container(words) = &mut options.network {
        hostname = Some(hostname_of(&find(words)?)?);
    }
    if options.uts == NamespaceMode::Host {
        hostname = Some(rustix::system::uname().nodename().to_string_lossy().into_owned());
    }
    if let NamespaceMode::Container(words) = &mut options.uts {
        hostname = Some(hostname_of(&find(words)?)?);
    }
    if let NamespaceMode::Container(words) = &mut options.ipc {
        let other = find(words)?;
        let mode = other.facts()?.options.as_deref().map(|options| &options.ipc);
        if mode.is_none_or(|mode| matches!(mode, NamespaceMode::Private | NamespaceMode::Bare)) {
            return Err(Error::NotShareable { container: other.shown().to_owned() });
        }
    }
    for mode in [&mut options.pid, &mut options.cgroupns] {
        if let NamespaceMode::Container(words) = mode {
            find(words)?;
        }
    }
    if let UserMode::Container(words) = &mut options.userns {
        find(words)?;
    }
    options.hostname = hostname.or(options.hostname.take());
    Ok(())
}

/// The container that words mean, and its id in place of these.
fn find(words: &mut String) -> Result<Found, Error> {
    let other = get(words)?;
    *words = other.id.as_str().to_owned();
    Ok(other)
}

/// The ids of another container's user namespace, and what was said of that.
pub(crate) fn users_of(words: &str) -> Result<(Option<Maps>, UserMode), Error> {
    let other = get(words)?;
    let facts = other.facts()?;
    let said = facts.options.as_deref().map(|options| options.userns.clone());
    Ok((facts.maps.clone(), said.unwrap_or_default()))
}

fn hostname_of(other: &Found) -> Result<String, Error> {
    let other_release = || Error::OtherRelease { container: other.shown().to_owned() };
    let confines = other.facts()?.confines.as_ref().ok_or_else(other_release)?;
    Ok(confines.hostname(&other.id).to_owned())
}

/// Which namespace is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Network,
    Ipc,
    Uts,
    Pid,
    /// Of a pod only.
    Cgroup,
    User,
}

impl Kind {
    /// Its bit, its file below /proc/PID/ns, its name for a person, and what the specification calls it.
    fn facts(self) -> (Namespaces, &'static str, &'static str, LinuxNamespaceType) {
        match self {
            Kind::Network => (Namespaces::NETWORK, "net", "network", LinuxNamespaceType::Network),
            Kind::Ipc => (Namespaces::IPC, "ipc", "ipc", LinuxNamespaceType::Ipc),
            Kind::Uts => (Namespaces::UTS, "uts", "uts", LinuxNamespaceType::Uts),
            Kind::Pid => (Namespaces::PID, "pid", "pid", LinuxNamespaceType::Pid),
            Kind::User => (Namespaces::USER, "user", "user", LinuxNamespaceType::User),
            Kind::Cgroup => (Namespaces::CGROUP, "cgroup", "cgroup", LinuxNamespaceType::Cgroup),
        }
    }
}

/// What a container gets of others at its start.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    namespaces: Vec<(LinuxNamespaceType, OwnedFd)>,
    /// Mounts of theirs.
    pub(crate) trees: Vec<Tree>,
}

impl Shared {
    /// By which path a namespace of this kind is entered, while this value lives.
    pub(crate) fn path(&self, kind: LinuxNamespaceType) -> Option<PathBuf> {
        let (_, namespace) = self.namespaces.iter().find(|(known, _)| *known == kind)?;
        Some(format!("/proc/self/fd/{}", namespace.as_raw_fd()).into())
    }

    /// Whether another container's mount comes here.
    pub(crate) fn has(&self, path: &Path) -> bool {
        self.trees.iter().any(|tree| tree.path == path)
    }
}

/// Opens all that the container has of others. For a process of one thread.
pub(crate) fn open(options: &RunOptions) -> Result<Shared, Error> {
    let mut shared = Shared::default();
    if let NetworkMode::Namespace(path) = &options.network {
        shared.namespaces.push((LinuxNamespaceType::Network, at_path(path, Kind::Network)?));
    }
    if let UserMode::Namespace(path) = &options.userns {
        shared.namespaces.push((LinuxNamespaceType::User, user_namespace_at(path)?));
    }
    let mut known: Vec<Other> = Vec::new();
    for (kind, id) in others(options) {
        let other = match known.iter().position(|other| other.found.id.as_str() == id) {
            Some(at) => &known[at],
            None => {
                known.push(Other::running(id, kind)?);
                &known[known.len() - 1]
            }
        };
        if kind == Kind::Network {
            // Before it is seen that the other lives still: who ends it finds the mark.
            crate::sweep::network().share(id, other.namespace(kind)?.as_fd())?;
        }
        if kind == Kind::User && other.found.facts()?.maps.is_none() {
            continue;
        }
        let of_specification = kind.facts().3;
        shared.namespaces.push((of_specification, other.namespace(kind)?));
        match kind {
            Kind::Network => shared.trees.extend(other.files(options)?),
            Kind::Ipc => shared.trees.extend(other.shared_memory(options)?),
            Kind::Uts | Kind::Pid | Kind::Cgroup | Kind::User => {}
        }
    }
    Ok(shared)
}

/// A container that runs, of which something is taken.
struct Other {
    found: Found,
    first: First,
}

impl Other {
    fn running(id: &str, kind: Kind) -> Result<Other, Error> {
        let what = kind.facts().2;
        let not_running = |container: &str| Error::OtherNotRunning { what, container: container.to_owned() };
        let found = Id::from_file_name(id.as_bytes()).and_then(|id| Found::load(&id));
        let found = found.ok_or_else(|| not_running(id))?;
        if !found.is_running {
            return Err(not_running(found.shown()));
        }
        match process::joinable(&found) {
            Ok((_, first)) => Ok(Other { found, first }),
            Err(Error::NoProcess { container }) => Err(not_running(&container)),
            Err(error) => Err(error),
        }
    }

    fn namespace(&self, kind: Kind) -> Result<OwnedFd, Error> {
        let (_, file, what, _) = kind.facts();
        let path = format!("/proc/{}/ns/{file}", self.first.pid);
        let what_for = || format!("open the {what} namespace of {}", self.found.shown());
        let opened = step("open-namespace", "the other may end from here on", what_for, || {
            rustix::fs::open(path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        });
        // Were it gone by now, this could be the namespace of another process with its number.
        if !process::is_alive(&self.first.pidfd) {
            return Err(Error::OtherNotRunning { what, container: self.found.shown().to_owned() });
        }
        opened.map_err(Error::file("open", path))
    }

    /// What belongs to its network, but for what a volume takes the place of here.
    fn files(&self, options: &RunOptions) -> Result<Vec<Tree>, Error> {
        let wanted = FILES.into_iter().filter(|path| !options.mounts_at(Path::new(path)));
        let trees = self.trees(wanted, FileType::RegularFile)?;
        if options.read_only {
            let sealed = Attributes { set: RDONLY, ..Attributes::default() };
            for tree in &trees {
                set_attributes(tree.mount.as_fd(), c"", false, sealed).map_err(|source| Error::File {
                    what: "make read-only",
                    path: tree.path.clone(),
                    source,
                })?;
            }
        }
        Ok(trees)
    }

    fn shared_memory(&self, options: &RunOptions) -> Result<Vec<Tree>, Error> {
        if options.mounts_at(Path::new(SHM)) {
            return Ok(Vec::new());
        }
        let trees = self.trees([SHM].into_iter(), FileType::Directory)?;
        if trees.is_empty() {
            return Err(Error::NotShareable { container: self.found.shown().to_owned() });
        }
        Ok(trees)
    }

    /// Its mounts at these places, where something of the kind is.
    fn trees<'a>(&self, places: impl Iterator<Item = &'a str>, kind: FileType) -> Result<Vec<Tree>, Error> {
        let what = || format!("clone mounts of {}", self.found.shown());
        step("clone-shared", "what belongs to a shared namespace is shared, too", what, || {
            in_mounts_of(&self.first.pidfd, || {
                let root = Root::open_host(Path::new("/")).map_err(Error::file("open", "the container's root"))?;
                let clone = |place: &'a str| {
                    let mount = clone_of(&root, Path::new(place), kind).map_err(Error::file("share", place));
                    mount.map(|mount| mount.map(|mount| Tree { path: place.into(), mount })).transpose()
                };
                places.filter_map(clone).collect::<Result<Vec<Tree>, Error>>()
            })?
        })
    }
}

/// A detached copy of what is mounted at a place; none when there is nothing of the kind.
fn clone_of(root: &Root, place: &Path, kind: FileType) -> Result<Option<OwnedFd>, Errno> {
    let found = match root.open(place, OFlags::PATH) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        found => found?,
    };
    if FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) != kind {
        return Ok(None);
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let clone = open_tree(&found, c"", flags)?;
    let private = Attributes { propagation: MS_PRIVATE, ..Attributes::default() };
    set_attributes(clone.as_fd(), c"", false, private).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    Ok(Some(clone))
}

/// Nothing that is mounted below it in one container shows in the other. [mount(2)]
const MS_PRIVATE: u64 = 1 << 18;

/// The user namespace at a path of the host.
pub(crate) fn user_namespace_at(path: &Path) -> Result<OwnedFd, Error> {
    at_path(path, Kind::User)
}

/// The namespace at a path of the host. First by path alone: to open a fifo would wait, and a device might act.
fn at_path(path: &Path, kind: Kind) -> Result<OwnedFd, Error> {
    let (bit, _, what, _) = kind.facts();
    let (flag, open) = match kind {
        Kind::User => ("--userns", "open the user namespace"),
        _ => ("--network", "open the network namespace"),
    };
    let wrong = || Error::BadValue {
        flag,
        value: format!("ns:{}", path.display()),
        reason: format!("it is no {what} namespace"),
    };
    let failed = || Error::file(open, path);
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(failed())?;
    if !sys::namespace::is_of_nsfs(file.as_fd()).unwrap_or(false) {
        return Err(wrong());
    }
    let same = format!("/proc/self/fd/{}", file.as_raw_fd());
    let namespace = rustix::fs::openat(CWD, same, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed())?;
    match sys::namespace::kind(namespace.as_fd()) {
        Ok(found) if found == bit => Ok(namespace),
        _ => Err(wrong()),
    }
}
