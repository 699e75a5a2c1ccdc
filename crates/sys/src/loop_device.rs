//! Loop devices: a file that is a block device. [loop(4); linux/loop.h]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

const LOOP_CTL_GET_FREE: u64 = 0x4C82;
const LOOP_CONFIGURE: u64 = 0x4C0A;
const READ_ONLY: u32 = 1;
const AUTOCLEAR: u32 = 4;

/// The number of a loop device that is free at this moment. `control` is /dev/loop-control.
pub fn free(control: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: this request takes no argument: the kernel reads and writes no memory of ours.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE as _) };
    u32::try_from(number).map_err(|_| io::Error::last_os_error())
}

/// Makes the loop `device` show `file`, read-only, until the last who has it open closes it. EBUSY says that another
/// was faster. In the kernel since 5.8.
pub fn show_read_only(device: BorrowedFd<'_>, file: BorrowedFd<'_>) -> io::Result<()> {
    let mut config = Config {
        fd: file.as_raw_fd() as u32,
        block_size: 0,
        before_flags: [0; 52],
        flags: READ_ONLY | AUTOCLEAR,
        names_and_keys: [0; 176],
        reserved: [0; 8],
    };
    // SAFETY: the kernel reads `config`, which has the size and the layout of its struct loop_config and outlives the
    // call; it writes nothing. `file` is open, and the kernel takes a reference of its own.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE as _, &raw mut config) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The kernel's struct loop_config, with its struct loop_info64 in it: of that only the flags are ours to set.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    /// Device, inode, rdevice, offset, size limit (64 bits each), number, encryption and its key size (32).
    before_flags: [u8; 52],
    flags: u32,
    /// File name, encryption name (64 bytes each), key (32), init (16).
    names_and_keys: [u8; 176],
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<Config>() == 304 && std::mem::offset_of!(Config, flags) == 60);
