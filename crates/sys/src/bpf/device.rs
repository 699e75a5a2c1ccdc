//! A control group's device programs: loaded and attached. The program is made by the `cgroup` crate, calls no helper and
//! uses no map. It lives as long as its group and goes with it.

use super::{Insn, Kind, Query, by_id, checked, info_of, load};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_DETACH: libc::c_long = 9;
const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;
/// What the kernel allows on one group (BPF_CGROUP_MAX_PROGS).
const MOST_PROGRAMS: usize = 64;
/// Tells our programs from those of systemd and others.
const NAME: [u8; 16] = *b"mycontainer_dev\0";

/// The fields of `union bpf_attr` that BPF_PROG_ATTACH and BPF_PROG_DETACH read.
#[repr(C)]
struct ProgAttach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

/// Loads a program of type BPF_PROG_TYPE_CGROUP_DEVICE and returns its close-on-exec descriptor.
/// Needs CAP_BPF and CAP_NET_ADMIN or CAP_SYS_ADMIN (bpf(2)); EINVAL or EACCES say that the verifier refused it.
pub fn load_cgroup_device(program: &[Insn]) -> Result<OwnedFd, Errno> {
    load(program, Kind::CgroupDevice, NAME)
}

/// Attaches a device program to the cgroup v2 directory `cgroup`, beside those that are there: access to a device is
/// given when all programs of the group and of its parents agree.
pub fn attach_cgroup_device(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>) -> Result<(), Errno> {
    let attr = ProgAttach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
        replace_bpf_fd: 0,
    };
    // SAFETY: `attr` lives until the call returns, its size is passed beside it, and it holds no pointer.
    let done = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &raw const attr, size_of::<ProgAttach>()) };
    checked(done).map(|_| ())
}

/// Takes a device program off the cgroup v2 directory `cgroup`.
pub fn detach_cgroup_device(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>) -> Result<(), Errno> {
    let attr = ProgAttach {
        target_fd: cgroup.as_raw_fd() as u32,
        attach_bpf_fd: program.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: 0,
        replace_bpf_fd: 0,
    };
    // SAFETY: as for BPF_PROG_ATTACH above.
    let done = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_DETACH, &raw const attr, size_of::<ProgAttach>()) };
    checked(done).map(|_| ())
}

/// The device programs on the cgroup v2 directory `cgroup` that [`load_cgroup_device`] loaded, in whichever process.
pub fn own_cgroup_devices(cgroup: BorrowedFd<'_>) -> Result<Vec<OwnedFd>, Errno> {
    let mut ids = [0u32; MOST_PROGRAMS];
    let mut attr = Query::of(cgroup.as_raw_fd() as u32, BPF_CGROUP_DEVICE, &mut ids);
    // SAFETY: `attr` and `ids` live until the call returns; the kernel writes at most `count` numbers to `ids`, and to
    // `attr` within the size that is passed beside it.
    let done = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, &raw mut attr, size_of::<Query>()) };
    checked(done)?;
    let mut own = Vec::new();
    for &id in ids.iter().take(attr.count as usize) {
        match by_id(id) {
            Ok(program) if info_of(program.as_fd())?.name == NAME => own.push(program),
            // Gone since, or another's.
            Ok(_) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(own)
}
