//! Small files that exist only inside the container: /etc/hosts, /etc/hostname, /etc/resolv.conf.
//!
//! They live on one tmpfs of the container's mount namespace, so that there is nothing on the host to write, to pay for
//! (creating a file on ext4 costs up to 0.3 ms, on tmpfs 6 µs) or to clean up.

use crate::bundle::File;
use crate::error::Error;
use crate::mounts::{attach, make};
use crate::options::Options;
use crate::root::{Kind, Root, shown};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, UnmountFlags, open_tree, unmount};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use step::step;
use sys::mount::{Attributes, NODEV, NOEXEC, NOSUID};

/// Where the tmpfs stands while files are cloned out of it: any directory of the new root that surely exists.
const STAGE: &str = "dev";

/// Mounts each file at its path.
pub(crate) fn put(root: &Root, files: &[File]) -> Result<(), Error> {
    if files.is_empty() {
        return Ok(());
    }
    let paths = || files.iter().map(|f| f.path.display().to_string()).collect::<Vec<_>>().join(" ");
    step(
        "put-files",
        "names and resolver are the container's own",
        || format!("mount {}", paths()),
        || {
            let failed = |source| Error::Mount { fstype: "tmpfs".into(), target: "/etc".into(), source };
            let options = Options {
                data: vec!["size=1m".into(), "mode=755".into()],
                attributes: Attributes { set: NOSUID | NODEV | NOEXEC, ..Attributes::default() },
                ..Options::default()
            };
            let stage = make("tmpfs", Path::new("tmpfs"), &options, Path::new("/etc"))?;
            // Only an attached mount can be cloned before Linux 6.15, so it stands somewhere for a moment.
            attach(stage.as_fd(), root.target(Path::new(STAGE), Kind::Directory)?.as_fd()).map_err(failed)?;
            let put = files.iter().enumerate().try_for_each(|(n, file)| {
                let cloned = write(&stage, &n.to_string(), &file.content).map_err(failed)?;
                Ok((cloned, file)).and_then(|(cloned, file)| put_one(root, cloned, file))
            });
            let cleared = clear(&stage).map_err(failed);
            put.and(cleared)
        },
    )
}

fn put_one(root: &Root, cloned: OwnedFd, file: &File) -> Result<(), Error> {
    let target = root.target(&file.path, Kind::File)?;
    attach(cloned.as_fd(), target.as_fd()).map_err(|source| Error::Mount {
        fstype: "bind".into(),
        target: shown(&file.path),
        source,
    })
}

/// Writes one file and returns a detached mount of it.
fn write(stage: &OwnedFd, name: &str, content: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(stage, name, flags, Mode::from_raw_mode(0o644))?;
    let mut rest = content;
    while !rest.is_empty() {
        let wrote = rustix::io::write(&file, rest)?;
        rest = &rest[wrote..];
    }
    open_tree(stage, name, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
}

/// Takes the stage away again: the files' own mounts keep the tmpfs alive.
fn clear(stage: &OwnedFd) -> Result<(), Errno> {
    rustix::process::fchdir(stage)?;
    let unmounted = unmount(c".", UnmountFlags::DETACH);
    rustix::process::chdir(c"/").and(unmounted)
}
