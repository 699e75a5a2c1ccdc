//! Mounts that a running container is given, or loses: the OCI verb `mounts`.
//!
//! The tool clones each source on the host, as a detached mount; a child of it enters the container's mount namespace
//! and attaches them there, below the container's root, by descriptors as at a start. What the configuration says stays
//! as it was: the mounts are gone with the container.

use crate::channel;
use crate::error::Error;
use crate::init;
use crate::known::Known;
use crate::mounts::{self, Place};
use crate::plan::{self, PlannedMount};
use crate::process::Process;
use crate::root::{Root, shown};
use crate::status::Status;
use oci_spec::runtime::Mount;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use step::step;
use sys::fork::{Namespaces, Side, clone_into};

impl Known {
    /// Mounts each of `list` in the running container.
    pub fn add_mounts(&mut self, list: &[Mount]) -> Result<(), Error> {
        let spec = self.spec()?;
        let bundle = self.bundle()?;
        let planned = plan::more_mounts(list, &bundle)?;
        let sources = planned.iter().map(mounts::open_source).collect::<Result<Vec<_>, _>>()?;
        let cgroup = self.cgroup()?;
        let place = Place {
            has_cgroup_namespace: plan::namespaces(&spec)?.contains(Namespaces::CGROUP),
            cgroup: &cgroup,
            is_cgroup_v2: cgroup::Host::detect()?.is_v2(),
            label: None,
        };
        let mut work = planned.iter().zip(&sources);
        self.inside(|root| {
            work.try_for_each(|(mount, source)| mounts::mount(root, mount, source.as_ref().map(AsFd::as_fd), &place))
        })
    }

    /// Unmounts what is mounted at the destination of each of `list`.
    pub fn remove_mounts(&mut self, list: &[Mount]) -> Result<(), Error> {
        let bundle = self.bundle()?;
        let planned = plan::more_mounts(list, &bundle)?;
        self.inside(|root| planned.iter().try_for_each(|mount| take_away(root, mount)))
    }

    /// Does something in the container's mount namespace, by a child that ends with it.
    fn inside(&mut self, work: impl FnOnce(&Root) -> Result<(), Error>) -> Result<(), Error> {
        match self.status()? {
            Status::Created | Status::Running | Status::Paused => {}
            status => return Err(Error::WrongStatus { what: "change the mounts of", id: self.id().into(), status }),
        }
        let spec = self.spec()?;
        let own = plan::namespaces(&spec)?;
        let init = self.pidfd()?.ok_or_else(|| Error::NoSuchContainer(self.id().to_owned()))?;
        let wanted = Namespaces(own.0 & (Namespaces::MOUNT.0 | Namespaces::USER.0));
        let (ours, theirs) = channel::pair()?;
        let mut ours = Some(ours);
        let side = clone_into(Namespaces::default(), None).map_err(Error::Clone)?;
        let Side::Parent { pid, pidfd } = side else {
            drop(ours.take());
            step::enter_container();
            let done = init::die_with_parent(&theirs).and_then(|()| enter(&init, wanted)).and_then(|root| work(&root));
            if let Err(error) = &done {
                theirs.send_failure(error);
            }
            sys::fork::exit_now(i32::from(done.is_err()))
        };
        drop(theirs);
        let helper = Process::new(pid, pidfd, ours.ok_or(Error::Vanished)?, None);
        let failed = helper.why_it_died();
        match (failed, helper.wait()?.shell_status()) {
            (Some(error), _) => Err(error),
            (None, 0) => Ok(()),
            (None, _) => Err(Error::Vanished),
        }
    }
}

/// Enters the container's mounts; its root, by descriptor.
fn enter(init: &OwnedFd, wanted: Namespaces) -> Result<Root, Error> {
    let what = || "enter the mount namespace of the first process".into();
    step("join-namespaces", "it sees what the container sees", what, || sys::fork::enter(init.as_fd(), wanted))
        .map_err(Error::Join)?;
    // Entering a mount namespace makes its root this process's. [setns(2)]
    Root::open_host(Path::new("/")).map_err(|source| Error::Root { what: "open the container's root", source })
}

fn take_away(root: &Root, mount: &PlannedMount) -> Result<(), Error> {
    let failed = |source| Error::Mount { fstype: "umount".into(), target: shown(&mount.target), source };
    let what = || format!("unmount {}", mount.target.display());
    step("take-mount-away", "asked for by mounts remove", what, || {
        let name = mount.target.file_name().ok_or(Errno::INVAL)?;
        let parent = mount.target.parent().unwrap_or(Path::new("/"));
        // The kernel has no call that unmounts by descriptor, and /proc is the container's: so by a bare name, in a
        // directory that is held.
        rustix::process::fchdir(root.open(parent, OFlags::PATH | OFlags::DIRECTORY)?)?;
        unmount(name, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
    })
    .map_err(|source: Errno| failed(source))
}
