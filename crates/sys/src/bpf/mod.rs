//! bpf(2): programs loaded, and attached to what they are for.
//!
//! Only what `cgroup` and `network` need of it: they make the programs, here they go to the kernel. Nothing is pinned: a
//! program lives as long as what it is attached to.

mod classifier;
mod device;

pub use classifier::{AddressMap, load_classifier};
pub use device::{attach_cgroup_device, detach_cgroup_device, load_cgroup_device, own_cgroup_devices};

use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One eBPF instruction, as `struct bpf_insn` of linux/bpf.h on a little-endian machine.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    /// Operation: class, source and operator.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high four.
    pub regs: u8,
    /// Offset of a load, or of a jump counted from the next instruction.
    pub off: i16,
    /// Immediate operand.
    pub imm: i32,
}

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;

/// What a program is for.
#[derive(Clone, Copy)]
enum Kind {
    CgroupDevice,
    Classifier,
}

impl Kind {
    /// `BPF_PROG_TYPE_*`, and where of `enum bpf_attach_type` it will be.
    fn numbers(self) -> (u32, u32) {
        match self {
            Kind::CgroupDevice => (15, 6),
            Kind::Classifier => (3, 0),
        }
    }
}

/// The fields of `union bpf_attr` that BPF_PROG_LOAD reads; the kernel takes what lies beyond its end for zero.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// The fields of `union bpf_attr` that BPF_PROG_QUERY reads and writes. Newer kernels write to the last one whatever size they
/// were told.
#[repr(C)]
struct Query {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    count: u32,
    padding: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

impl Query {
    /// For the programs on a control group, whose numbers go to `ids`.
    fn of(target: u32, attach_type: u32, ids: &mut [u32]) -> Query {
        Query {
            target,
            attach_type,
            query_flags: 0,
            attach_flags: 0,
            prog_ids: ids.as_mut_ptr() as u64,
            count: u32::try_from(ids.len()).unwrap_or(u32::MAX),
            padding: 0,
            prog_attach_flags: 0,
            link_ids: 0,
            link_attach_flags: 0,
            revision: 0,
        }
    }
}

/// The fields of `union bpf_attr` that BPF_PROG_GET_FD_BY_ID and BPF_MAP_GET_FD_BY_ID read.
#[repr(C)]
struct FdById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// The fields of `union bpf_attr` that BPF_OBJ_GET_INFO_BY_FD reads.
#[repr(C)]
struct InfoByFd {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The beginning of `struct bpf_prog_info`, up to the name: the kernel fills in as much as it is asked for.
#[repr(C)]
#[derive(Default)]
struct ProgInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_prog_len: u32,
    xlated_prog_len: u32,
    jited_prog_insns: u64,
    xlated_prog_insns: u64,
    load_time: u64,
    created_by_uid: u32,
    nr_map_ids: u32,
    map_ids: u64,
    name: [u8; 16],
}

fn load(program: &[Insn], kind: Kind, name: [u8; 16]) -> Result<OwnedFd, Errno> {
    let license = c"Apache-2.0";
    let (prog_type, expected_attach_type) = kind.numbers();
    let attr = ProgLoad {
        prog_type,
        insn_cnt: u32::try_from(program.len()).map_err(|_| Errno::TOOBIG)?,
        insns: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name: name,
        prog_ifindex: 0,
        expected_attach_type,
    };
    // SAFETY: `attr`, the instructions and the licence it points to live until the call returns, their sizes are
    // passed beside them, and the kernel only reads them.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attr, size_of::<ProgLoad>()) };
    new_descriptor(fd)
}

fn by_id(id: u32) -> Result<OwnedFd, Errno> {
    descriptor_of(BPF_PROG_GET_FD_BY_ID, id)
}

/// By `BPF_PROG_GET_FD_BY_ID` or its like of maps.
fn descriptor_of(command: libc::c_long, id: u32) -> Result<OwnedFd, Errno> {
    let attr = FdById { id, next_id: 0, open_flags: 0 };
    // SAFETY: `attr` lives until the call returns, its size is passed beside it, and it holds no pointer.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attr, size_of::<FdById>()) };
    new_descriptor(fd)
}

fn info_of(program: BorrowedFd<'_>) -> Result<ProgInfo, Errno> {
    let mut info = ProgInfo::default();
    // SAFETY: `info` is the beginning of a `bpf_prog_info`, whose pointers are null and whose array sizes are 0, so that
    // the kernel writes nowhere else.
    unsafe { fill(program, &mut info) }?;
    Ok(info)
}

/// BPF_OBJ_GET_INFO_BY_FD.
///
/// # Safety
/// `T` is the beginning of what the kernel tells of such an object, and what it points to may be written to.
unsafe fn fill<T>(object: BorrowedFd<'_>, info: &mut T) -> Result<(), Errno> {
    let attr = InfoByFd {
        bpf_fd: object.as_raw_fd() as u32,
        info_len: u32::try_from(size_of::<T>()).map_err(|_| Errno::TOOBIG)?,
        info: std::ptr::from_mut(info) as u64,
    };
    // SAFETY: `attr` and `info` live until the call returns, and the kernel writes at most `info_len` bytes to `info`; of
    // what that points to the caller answers.
    let done = unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &raw const attr, size_of::<InfoByFd>()) };
    checked(done).map(|_| ())
}

/// What bpf(2) has returned where that is a descriptor, which is close-on-exec.
fn new_descriptor(returned: libc::c_long) -> Result<OwnedFd, Errno> {
    let fd = checked(returned)?;
    // SAFETY: the call succeeded, so `fd` is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
}

fn checked(returned: libc::c_long) -> Result<libc::c_long, Errno> {
    if returned >= 0 {
        return Ok(returned);
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}
