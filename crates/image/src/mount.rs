//! EROFS images become mounts: detached, in no mount table, gone with the last descriptor unless they are attached
//! (`kept`).
//!
//! Since Linux 6.12 the kernel mounts an image from its file. Before, it takes block devices only, and says so with
//! `ENOTBLK`: then each file gets a loop device, read-only, which the kernel frees with the mount (autoclear), whoever
//! is gone by then.

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};

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

/// Mounts the EROFS image in `image`: read-only, without rights for set-user-ID programs and devices, and detached. `devices` are the layers of a merged image, the lowest
/// first, and none for a layer alone. The files may be open in any way, also with `O_PATH`.
///
/// # Errors
/// The step that failed.
pub fn mount_erofs(image: BorrowedFd<'_>, devices: &[BorrowedFd<'_>], through: Through) -> Result<OwnedFd, MountError> {
    if through != Through::Loops {
        match mount(image, devices) {
            Err(MountError { source: Errno::NOTBLK, .. }) if through == Through::Either => {}
            done => return done,
        }
    }
    let loops = devices.iter().map(|device| loop_device(*device)).collect::<Result<Vec<_>, _>>()?;
    let devices: Vec<_> = loops.iter().map(AsFd::as_fd).collect();
    // The mount holds the devices from here on.
    mount(loop_device(image)?.as_fd(), &devices)
}

fn mount(source: BorrowedFd<'_>, devices: &[BorrowedFd<'_>]) -> Result<OwnedFd, MountError> {
    let failed = |act| move |source| MountError { act, source };
    let fs = fsopen(c"erofs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("open the file system erofs"))?;
    // By descriptor: fsconfig takes no longer path than 255 bytes.
    let path = |fd: BorrowedFd<'_>| format!("/proc/self/fd/{}", fd.as_raw_fd());
    fsconfig_set_string(&fs, "source", path(source)).map_err(failed("name the image"))?;
    for device in devices {
        fsconfig_set_string(&fs, "device", path(*device)).map_err(failed("name a layer of the image"))?;
    }
    fsconfig_set_flag(&fs, "ro").map_err(failed("make the image read-only"))?;
    fsconfig_create(&fs).map_err(failed("read the image"))?;
    let rights =
        MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, rights).map_err(failed("mount the image"))
}

/// A loop device that shows `file`, until the descriptor and what was mounted from it are gone.
fn loop_device(file: BorrowedFd<'_>) -> Result<OwnedFd, MountError> {
    /// How often another process may be faster: each time it takes a device that was free.
    const ATTEMPTS: usize = 64;
    let failed = |act| move |source| MountError { act, source };
    let system = |act| move |error: std::io::Error| MountError { act, source: errno(&error) };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    // The kernel wants a file that is open for reading.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let file = open(path, flags, Mode::empty()).map_err(failed("open the image"))?;
    let control = open("/dev/loop-control", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let control = control.map_err(failed("open /dev/loop-control, which mounting a file takes before Linux 6.12"))?;
    for _ in 0..ATTEMPTS {
        let number = sys::loop_device::free(control.as_fd()).map_err(system("find a free loop device"))?;
        let device = match open(format!("/dev/loop{number}"), flags, Mode::empty()) {
            Err(Errno::BUSY) => continue,
            done => done.map_err(failed("open a loop device"))?,
        };
        match sys::loop_device::show_read_only(device.as_fd(), file.as_fd()) {
            Ok(()) => return Ok(device),
            Err(error) if errno(&error) == Errno::BUSY => {}
            Err(error) => return Err(system("set up a loop device")(error)),
        }
    }
    Err(MountError { act: "find a free loop device", source: Errno::BUSY })
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Whether this kernel has EROFS, and images of several devices, without which merged layers cannot be mounted (since
/// Linux 5.16), and mounts them for this process: only for root of the host, since an image that somebody made up could
/// harm the kernel. It may load the file system for the question.
pub(crate) fn has_erofs() -> bool {
    if !sys::namespace::is_first_user() {
        return false;
    }
    // What the device is, it asks only when the image is read.
    let ask = || fsconfig_set_string(&fsopen(c"erofs", FsOpenFlags::FSOPEN_CLOEXEC)?, "device", "any");
    ask().is_ok()
}
