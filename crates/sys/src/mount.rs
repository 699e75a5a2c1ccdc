//! Mount attributes.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Attributes of one mount: the kernel's `MOUNT_ATTR_*` bits. [mount_setattr(2)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Bits to set.
    pub set: u64,
    /// Bits to clear. Setting any atime mode means clearing [`ATIME`] first.
    pub clear: u64,
    /// New propagation (`MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`), or 0 to leave it.
    pub propagation: u64,
}

/// Read-only.
pub const RDONLY: u64 = 0x1;
/// Set-uid bits and file capabilities are ignored.
pub const NOSUID: u64 = 0x2;
/// Device nodes cannot be opened.
pub const NODEV: u64 = 0x4;
/// Nothing can be executed.
pub const NOEXEC: u64 = 0x8;
/// The bits that hold the atime mode.
pub const ATIME: u64 = 0x70;
/// Access times are not kept.
pub const NOATIME: u64 = 0x10;
/// Access times are always kept.
pub const STRICTATIME: u64 = 0x20;
/// Access times of directories are not kept.
pub const NODIRATIME: u64 = 0x80;
/// Symlinks are not followed on this mount.
pub const NOSYMFOLLOW: u64 = 0x20_0000;

/// Changes the mount at `path` below `dir` (or `dir` itself when `path` is empty), and with `recursive` all under it.
/// In the kernel since 5.12.
pub fn set_attributes(dir: BorrowedFd<'_>, path: &CStr, recursive: bool, attributes: Attributes) -> io::Result<()> {
    let attr = MountAttr {
        attr_set: attributes.set,
        attr_clr: attributes.clear,
        propagation: attributes.propagation,
        userns_fd: 0,
    };
    mount_setattr(dir, path, recursive, &attr)
}

/// Maps the owners of the files of `mount`, and with `recursive` of all mounts under it, by a user namespace: an id of
/// the namespace's inside is what the disk says, its outside is what is seen. The mount must be detached and not mapped
/// yet. EINVAL says that its file system cannot, EPERM that it is mapped already or that the namespace is the first
/// one. [mount_setattr(2), MOUNT_ATTR_IDMAP; Documentation/filesystems/idmappings.rst]
pub fn idmap(mount: BorrowedFd<'_>, recursive: bool, userns: BorrowedFd<'_>) -> io::Result<()> {
    const MOUNT_ATTR_IDMAP: u64 = 0x10_0000;
    let attr =
        MountAttr { attr_set: MOUNT_ATTR_IDMAP, attr_clr: 0, propagation: 0, userns_fd: userns.as_raw_fd() as u64 };
    mount_setattr(mount, c"", recursive, &attr)
}

/// The kernel's struct mount_attr.
#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

fn mount_setattr(dir: BorrowedFd<'_>, path: &CStr, recursive: bool, attr: &MountAttr) -> io::Result<()> {
    let mut flags = 0;
    if path.is_empty() {
        flags |= libc::AT_EMPTY_PATH;
    }
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: `path` is NUL-terminated, `attr` has the layout of the kernel's struct mount_attr and its size is passed;
    // both outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            path.as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
