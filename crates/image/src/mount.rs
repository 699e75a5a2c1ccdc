//! EROFS images become mounts: detached, in no mount table, gone with the last descriptor.
//!
//! Since Linux 6.12 the kernel mounts an image from its file. Before, it takes block devices only, and says so with
//! `ENOTBLK`: then each file gets a loop device, read-only, which the kernel frees with the mount (autoclear), whoever
//! is gone by then.

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::Errno;

/// How the kernel gets at the images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Through {
    /// From the files, or where the kernel cannot do that through loop devices.
    #[default]
    Either,
    /// From the files only.
    Files,
    /// Through loop devices only.
    Loops,
}

/// A step of a mount that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {act}: {source}")]
pub struct MountError {
    /// The step.
    pub act: &'static str,
    /// The system's reason. `NODEV`: this kernel has no EROFS.
    pub source: Errno,
}

/// Mounts the EROFS image in `image`, read-only and detached. `devices` are the layers of a merged image, the lowest
/// first, and none for a layer alone. The files may be open in any way, also with `O_PATH`.
///
/// # Errors
/// The step that failed.
pub fn mount_erofs(image: BorrowedFd<'_>, devices: &[BorrowedFd<'_>], through: Through) -> Result<OwnedFd, MountError> {
    let _ = (image, devices, through);
    todo!()
}

/// Calls `make`, which makes an overlay of `mounts`, where the kernel accepts them: before Linux 6.15 overlay takes no
/// detached mount as its layer, so for the time of the call they are attached in a mount namespace of their own. The
/// overlay holds on to what it is made of, so that it outlives that namespace.
///
/// For a process with one thread: it is in another namespace meanwhile. Directories of the host that `make` hands to
/// overlay it must open itself, by path, for a descriptor from outside is as foreign there as a detached mount.
///
/// # Errors
/// The step that failed; what `make` returns is handed through.
pub fn attached<T>(mounts: &[BorrowedFd<'_>], make: impl FnOnce() -> T) -> Result<T, MountError> {
    let _ = (mounts, make);
    todo!()
}

/// Whether this kernel has EROFS: it may load it for the question.
pub(crate) fn has_erofs() -> bool {
    rustix::mount::fsopen("erofs", rustix::mount::FsOpenFlags::FSOPEN_CLOEXEC).is_ok()
}
