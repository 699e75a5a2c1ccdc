//! The volumes that an image names, and those that the flags want without a name: directories of the container's own, outside of its layer, with a copy of what the
//! image has at their place. They lie beside the layer, `/var/lib/mycontainer/containers/ID/volume-N`, and go with it.

use crate::error::Error;
use crate::options::{RunOptions, Volume};
use crate::state::{self, Id};
use runtime::Root;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use step::step;

/// Makes the volumes at these places, but where the person put something of his own.
pub(crate) fn make(
    paths: &BTreeSet<PathBuf>,
    options: &RunOptions,
    root: &Root,
    id: &Id,
) -> Result<Vec<Volume>, Error> {
    let mut volumes = Vec::new();
    for (n, target) in paths.iter().enumerate() {
        let target = Path::new("/").join(target);
        let taken = options.volumes.iter().map(|volume| &volume.target).chain(options.tmpfs.iter().map(|t| &t.target));
        if target == Path::new("/") || taken.into_iter().any(|other| *other == target) {
            continue;
        }
        // In place of the kernel's own, which a container has at these; what is below /proc the runtime refuses.
        // (CVE-2019-16884)
        if ["/proc", "/sys", "/dev"].iter().any(|kernel| target == Path::new(kernel)) {
            return Err(Error::Conflict(format!("the image wants a volume at {}", target.display())));
        }
        let source = state::layer_path(id).join(format!("volume-{n}"));
        let what = || format!("make the volume {}", target.display());
        step("make-volume", "the image asks for it", what, || fill(root, &target, &source))
            .map_err(Error::file("make the volume", &source))?;
        volumes.push(Volume { source, target, ..Volume::default() });
    }
    Ok(volumes)
}

fn fill(root: &Root, target: &Path, source: &Path) -> Result<(), Errno> {
    match rustix::fs::mkdir(source, Mode::from_raw_mode(0o755)) {
        // Its policy has started it again.
        Err(Errno::EXIST) => return Ok(()),
        done => done?,
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let to = rustix::fs::open(source, flags, Mode::empty())?;
    match root.open(target, OFlags::PATH | OFlags::DIRECTORY) {
        Ok(from) => runtime::copy_tree(from.as_fd(), to.as_fd()),
        // It is made with the mount.
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
        Err(error) => Err(error),
    }
}
