//! Small files that exist only inside the container: /etc/hosts, /etc/hostname, /etc/resolv.conf.
//!
//! They live on one tmpfs of the container's mount namespace, so that there is nothing on the host to write, to pay for
//! (creating a file on ext4 costs up to 0.3 ms, on tmpfs 6 µs) or to clean up.

use crate::bundle::File;
use crate::error::Error;
use crate::mounts::{attach, errno, make};
use crate::options::Options;
use crate::root::{Kind, Root, shown};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use step::step;
use sys::mount::{Attributes, NODEV, NOEXEC, NOSUID, RDONLY, set_attributes};

/// Where the tmpfs stands: under the container's own /dev, which is mounted over it, so that nothing has to be unmounted
/// (the kernel waits for an RCU grace period then: 0.1 to 2 ms).
const STAGE: &str = "dev";

/// The files as detached mounts, in order. Must run before the configuration's mounts, which cover the stage.
pub(crate) fn prepare(root: &Root, files: &[File]) -> Result<Vec<OwnedFd>, Error> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let what = || format!("write {}", list(files));
    step("write-files", "names and resolver are the container's own, and nothing of them is on the host", what, || {
        let failed = |source| Error::Mount { fstype: "tmpfs".into(), target: shown(Path::new(STAGE)), source };
        let options = Options {
            data: vec!["size=1m".into(), "mode=755".into()],
            attributes: Attributes { set: NOSUID | NODEV | NOEXEC, ..Attributes::default() },
            ..Options::default()
        };
        let stage = make("tmpfs", Path::new("tmpfs"), &options, Path::new(STAGE))?;
        // Only an attached mount can be cloned before Linux 6.15, so the stage has to stand somewhere.
        attach(stage.as_fd(), root.target(Path::new(STAGE), Kind::Directory)?.as_fd()).map_err(failed)?;
        let named = files.iter().enumerate();
        named.map(|(n, file)| write(&stage, &n.to_string(), &file.content).map_err(failed)).collect()
    })
}

/// Mounts each file at its path.
///
/// With a read-only root they are read-only too, unless others share them who may write there.
pub(crate) fn put(root: &Root, files: &[File], prepared: &[OwnedFd], readonly: bool) -> Result<(), Error> {
    if files.is_empty() {
        return Ok(());
    }
    let put_all = || files.iter().zip(prepared).try_for_each(|(file, mount)| put_one(root, mount, file, readonly));
    step("put-files", "the root's own are the image's or the host's", || format!("mount {}", list(files)), put_all)
}

fn list(files: &[File]) -> String {
    files.iter().map(|f| f.path.display().to_string()).collect::<Vec<_>>().join(" ")
}

fn put_one(root: &Root, cloned: &OwnedFd, file: &File, readonly: bool) -> Result<(), Error> {
    let target = root.target(&file.path, Kind::File)?;
    let seal = || {
        let attributes = Attributes { set: RDONLY, ..Attributes::default() };
        set_attributes(cloned.as_fd(), c"", false, attributes).map_err(errno)
    };
    let sealed = if readonly && !file.stays_writable { seal() } else { Ok(()) };
    sealed.and_then(|()| attach(cloned.as_fd(), target.as_fd())).map_err(|source| Error::Mount {
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
