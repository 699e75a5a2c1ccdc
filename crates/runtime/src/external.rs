//! What of a container's mounts is the host's: CRIU rebuilds the others, and is told of these by name.
//!
//! At a checkpoint the name of such a mount is the place where it is mounted (of a mask, `/dev/null`), and at a restore
//! each name gets the path of the host that is to be mounted there. So the images can be restored where the host's
//! side is elsewhere: runc and crun choose the same names.
//!
//! At a checkpoint the container runs and is hostile. The places of the configuration are resolved inside its root, and
//! all that is taken from there is the number of a mount, which is then looked up in the kernel's table.

use crate::devices::host_null;
use crate::error::Error;
use crate::mountinfo::{self, Entry};
use crate::mounts::{self, attach};
use crate::options;
use crate::plan::{Plan, PlannedMount};
use crate::procfs::Procfs;
use crate::root::{Kind, Root, is_directory};
use cgroup::Cgroup;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, major, minor};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, move_mount};
use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use step::step;
use sys::fork::Namespaces;
use sys::mount::{Attributes, set_attributes};

/// What is mounted over a masked file.
const NULL: &str = "/dev/null";

/// A mount that criu is told of: key and value.
pub(crate) type Named = (String, String);

/// Refuses mounts that criu cannot make again.
pub(crate) fn check(plan: &Plan) -> Result<(), Error> {
    let refused = plan.mounts.iter().find_map(|mount| {
        let link = || std::fs::symlink_metadata(&mount.source).is_ok_and(|meta| meta.file_type().is_symlink());
        if mount.id_maps.is_some() {
            Some(("shifted owners", mount))
        } else if mount.options.target_nofollow || (mount.options.source_nofollow && link()) {
            Some(("a symlink at its end", mount))
        } else {
            None
        }
    });
    match refused {
        None => Ok(()),
        Some((what, mount)) => {
            let place = mount.target.display();
            Err(Error::Unsupported(format!("a checkpoint with {what}, as the mount on {place} has,")))
        }
    }
}

/// The names of the host's mounts in a running container, for a dump.
pub(crate) fn of_running(proc: &Procfs, pid: i32, plan: &Plan) -> Result<Vec<Named>, Error> {
    let root = proc.root(pid).map_err(Error::Proc)?;
    let table = mountinfo::parse(&proc.read(&format!("{pid}/mountinfo")).map_err(Error::Proc)?);
    let own = proc.own().map_err(Error::Proc)?;
    let host = mountinfo::parse(&proc.read(&format!("{own}/mountinfo")).map_err(Error::Proc)?);
    let has_cgroups = plan.namespaces.has_own(Namespaces::CGROUP);
    let places: Vec<(u64, bool)> = plan
        .mounts
        .iter()
        .filter(|mount| !mount.options.remount)
        .filter_map(|mount| Some((mount_id(&root, &mount.target)?, mount.fstype == "bind")))
        .collect();
    let external = external(&table, &host, &places, has_cgroups);
    let null = device_of(Path::new(NULL));
    let mut named = Vec::new();
    for entry in &table {
        let place = entry.place.to_string_lossy().into_owned();
        let node = entry.root.file_name().map(|name| Path::new("/dev").join(name));
        if external.contains(&entry.id) {
            named.push((place.clone(), place));
        } else if null.as_ref() == Some(&entry.device) && entry.fstype != "devpts" {
            // Of the host's /dev: a mask, or a device that could not be made.
            match node {
                Some(node) if node == Path::new(NULL) => named.push((place, NULL.into())),
                Some(node) if node == entry.place => named.push((place.clone(), place)),
                _ => {}
            }
        }
    }
    Ok(named)
}

/// The numbers of the mounts that are the host's: bind mounts of the configuration with what came along with them, and,
/// without a cgroup namespace, control groups. `places` are the configuration's mounts, each with whether it is a bind.
fn external(table: &[Entry], host: &[Entry], places: &[(u64, bool)], has_cgroups: bool) -> BTreeSet<u64> {
    let configured: BTreeSet<u64> = places.iter().map(|(id, _)| *id).collect();
    let mut found: BTreeSet<u64> = places.iter().filter(|(_, is_bind)| *is_bind).map(|(id, _)| *id).collect();
    if !has_cgroups {
        found.extend(table.iter().filter(|entry| entry.fstype.starts_with("cgroup")).map(|entry| entry.id));
    }
    // What the container itself has mounted below one is not known to the host.
    let is_hosts =
        |entry: &Entry| host.iter().any(|other| (&other.device, &other.root) == (&entry.device, &entry.root));
    loop {
        let more: Vec<u64> = table
            .iter()
            .filter(|entry| found.contains(&entry.parent) && !found.contains(&entry.id))
            .filter(|entry| !configured.contains(&entry.id) && is_hosts(entry))
            .map(|entry| entry.id)
            .collect();
        if more.is_empty() {
            return found;
        }
        found.extend(more);
    }
}

fn mount_id(root: &Root, path: &Path) -> Option<u64> {
    let fd = root.open(path, OFlags::PATH).ok()?;
    rustix::fs::statx(&fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok().map(|stat| stat.stx_mnt_id)
}

/// The file system that a path of the host is on, as the table of mounts has it.
fn device_of(path: &Path) -> Option<String> {
    let device = rustix::fs::stat(path).ok()?.st_dev;
    Some(format!("{}:{}", major(device), minor(device)))
}

/// In the process that becomes criu: a mount namespace of its own in which the root file system is a mount, with all
/// places to mount something on, and in which `stage`, a directory of ours, holds the host's mounts as they are to be.
/// Returns what each name stands for. It all goes with that process.
///
/// Ready-made, because criu binds what it is given: a mount that it takes for another one's twin keeps the flags of its
/// source, and a second read-only volume of one directory, or a second mask, would come back writable. [criu 3.17,
/// do_bind_mount]
pub(crate) fn prepare(rootfs: &Path, stage: &Path, plan: &Plan, cgroup: &Cgroup) -> Result<Vec<Named>, Error> {
    sys::fork::unshare(Namespaces::MOUNT).map_err(|source| Error::Unshare { kind: "mount", source })?;
    // Now, while they still belong together with the host's own.
    let sources = mounts::open_sources(&plan.mounts)?;
    let what = || format!("bind {} onto itself, in a mount namespace of criu's own", rootfs.display());
    let root = step("prepare-root", "criu wants a mount to make the root", what, || attach_root(rootfs))
        .map_err(|source| Error::Root { what: "prepare the root file system for criu", source })?;
    let places = || "make what is missing to mount on".into();
    step("prepare-mounts", "criu makes no places, and binds what it is given", places, || {
        let mut work = Places { rootfs, root: &root, covered: Vec::new(), bound: Vec::new() };
        let mut named = work.make(plan, sources, cgroup)?;
        named.extend(work.put_into(stage)?);
        if plan.root_readonly {
            // criu makes the root what its source is.
            mounts::make_root_readonly(&root)?;
        }
        Ok(named)
    })
}

fn attach_root(rootfs: &Path) -> Result<Root, Errno> {
    // Slaves: what the host unmounts from now on, it must not hold here.
    let slave = Attributes { propagation: options::SLAVE, ..Attributes::default() };
    set_attributes(CWD, c"/", true, slave).map_err(mounts::errno)?;
    let root = mounts::open_root(rootfs)?;
    let private = Attributes { propagation: options::PRIVATE, ..Attributes::default() };
    set_attributes(root.as_fd(), c"", true, private).map_err(mounts::errno)?;
    move_mount(root.as_fd(), c"", CWD, rootfs, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    Ok(root)
}

/// The places of the configuration's mounts, while they are made.
struct Places<'a> {
    rootfs: &'a Path,
    root: &'a Root,
    /// Where a file system of the container's will be: criu restores what is in it.
    covered: Vec<PathBuf>,
    bound: Vec<Bound>,
}

/// A bind mount, which is at its place for as long as places in it are made.
struct Bound {
    place: PathBuf,
    mount: OwnedFd,
    kind: Kind,
    /// Places below it where something came along.
    more: Vec<PathBuf>,
}

impl Places<'_> {
    fn make(&mut self, plan: &Plan, sources: Vec<Option<OwnedFd>>, cgroup: &Cgroup) -> Result<Vec<Named>, Error> {
        let mut named = Vec::new();
        for (mount, source) in plan.mounts.iter().zip(sources).filter(|(mount, _)| !mount.options.remount) {
            let place = self.real(&mount.target);
            match source {
                Some(source) => self.bind(mount, source, place.clone())?,
                None => self.own(&place)?,
            }
            if mount.fstype.starts_with("cgroup") && !plan.namespaces.has_own(Namespaces::CGROUP) {
                named.extend(groups(&place, cgroup));
            }
        }
        let devices = plan.devices.iter().flatten().map(|device| text(&device.path));
        named.extend(devices.filter(|device| device != NULL).map(|device| (device.clone(), device)));
        let cwd = self.real(&plan.process.cwd);
        self.own(&cwd)?;
        Ok(named)
    }

    /// A path of the container without the symlinks that are on it as far as it is there.
    fn real(&self, path: &Path) -> PathBuf {
        for above in path.ancestors() {
            let Ok(found) = self.root.open(above, OFlags::PATH) else { continue };
            if let (Ok(place), Ok(rest)) = (self.place_of(found.as_fd()), path.strip_prefix(above)) {
                return if rest.as_os_str().is_empty() { place } else { place.join(rest) };
            }
        }
        path.to_owned()
    }

    /// Where in the container a descriptor is.
    fn place_of(&self, fd: BorrowedFd<'_>) -> std::io::Result<PathBuf> {
        let path = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
        let below = path.strip_prefix(self.rootfs).map_err(std::io::Error::other)?;
        Ok(Path::new("/").join(below))
    }

    fn is_covered(&self, place: &Path) -> bool {
        self.covered.iter().any(|above| place.starts_with(above))
    }

    fn own(&mut self, place: &Path) -> Result<(), Error> {
        if !self.is_covered(place) && place != Path::new("/") {
            self.root.target(place, Kind::Directory)?;
        }
        self.covered.push(place.to_owned());
        Ok(())
    }

    fn bind(&mut self, mount: &PlannedMount, source: OwnedFd, place: PathBuf) -> Result<(), Error> {
        let failed = |source| Error::Mount { fstype: "bind".into(), target: mount.target.clone(), source };
        let kind = if is_directory(source.as_fd()).map_err(failed)? { Kind::Directory } else { Kind::File };
        mounts::apply(source.as_fd(), &mount.options).map_err(failed)?;
        if !self.is_covered(&place) {
            let target = self.root.target(&place, kind)?;
            attach(source.as_fd(), target.as_fd()).map_err(failed)?;
        }
        let more = if mount.options.recursive { below(&mount.source) } else { Vec::new() };
        self.bound.push(Bound { place, mount: source, kind, more });
        Ok(())
    }

    /// Moves the bind mounts to a file system in memory over `stage`, where criu finds them: numbered, and a null device
    /// for the masks.
    fn put_into(self, stage: &Path) -> Result<Vec<Named>, Error> {
        let failed = |source| Error::Root { what: "prepare the mounts for criu", source };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let below = rustix::fs::openat(CWD, stage, flags, Mode::empty()).map_err(failed)?;
        let memory = Root::new(mounts::make("tmpfs", Path::new("tmpfs"), &options::Options::default(), stage)?);
        attach(memory.as_fd(), below.as_fd()).map_err(failed)?;
        let put = |mount: BorrowedFd<'_>, kind, name: &str| {
            attach(mount, memory.target(Path::new(name), kind)?.as_fd()).map_err(failed)
        };
        put(host_null().map_err(failed)?.as_fd(), Kind::File, "null")?;
        let mut named = vec![(NULL.to_owned(), text(&stage.join("null")))];
        // The innermost first: a mount takes along what is mounted in it.
        for (number, bound) in self.bound.iter().enumerate().rev() {
            let name = number.to_string();
            put(bound.mount.as_fd(), bound.kind, &name)?;
            let at = stage.join(name);
            named.push((text(&bound.place), text(&at)));
            named.extend(bound.more.iter().map(|more| (text(&bound.place.join(more)), text(&at.join(more)))));
        }
        // Where two are at one place, the later one is seen.
        let mut seen = BTreeSet::new();
        named.retain(|(name, _)| seen.insert(name.clone()));
        Ok(named)
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Where below a directory of the host something else is mounted, relative to it.
fn below(source: &Path) -> Vec<PathBuf> {
    let source = std::fs::canonicalize(source).unwrap_or_else(|_| source.to_owned());
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = mountinfo::parse(&table).into_iter().map(|entry| entry.place);
    let relative = places.filter_map(|place| place.strip_prefix(&source).ok().map(Path::to_owned));
    relative.filter(|rest| !rest.as_os_str().is_empty()).collect()
}

/// The container's groups below a place where control groups are mounted.
fn groups(place: &Path, cgroup: &Cgroup) -> Vec<Named> {
    let paths = cgroup.paths();
    if let Some(path) = paths.get("") {
        return vec![(text(place), text(path))];
    }
    let hierarchies = cgroup.v1_hierarchies();
    let group = |controllers: &[String]| {
        let path = paths.get(controllers.first()?)?;
        Some((text(&place.join(controllers.join(","))), text(path)))
    };
    hierarchies.filter_map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: u64, parent: u64, device: &str, root: &str, fstype: &str) -> Entry {
        let (device, root, fstype) = (device.into(), root.into(), fstype.into());
        Entry { id, parent, device, root, place: "/x".into(), fstype }
    }

    #[test]
    fn the_hosts_mounts_are_told_from_the_containers() {
        let table = [
            entry(1, 0, "0:1", "/rootfs", "overlay"),
            entry(2, 1, "0:2", "/", "proc"),
            entry(3, 1, "8:1", "/vol", "ext4"),
            entry(4, 3, "8:2", "/", "ext4"),
            entry(5, 4, "0:9", "/", "tmpfs"),
            entry(6, 3, "0:10", "/", "tmpfs"),
            entry(7, 1, "0:11", "/group", "cgroup2"),
        ];
        let host = [entry(90, 80, "8:1", "/", "ext4"), entry(91, 90, "8:2", "/", "ext4")];
        // A volume, a tmpfs of the configuration in it, and one that the container has mounted there.
        let places = [(2, false), (3, true), (6, false)];
        let ids = |has_cgroups| external(&table, &host, &places, has_cgroups).into_iter().collect::<Vec<_>>();
        assert_eq!(ids(true), [3, 4]);
        assert_eq!(ids(false), [3, 4, 7]);
    }
}
