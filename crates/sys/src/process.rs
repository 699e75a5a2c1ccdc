//! Attributes of the calling thread that only it can give itself: scheduling, I/O priority, memory policy, personality.
//!
//! Each `set` has its reading twin, by which the tests of whoever uses it look at what the kernel has made of it.

use std::io;

/// How a thread is scheduled: the kernel's `struct sched_attr` of 56 bytes, known since 5.3. [sched_setattr(2)]
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedAttr {
    /// Of this structure; the calls fill it in.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For SCHED_OTHER and SCHED_BATCH.
    pub nice: i32,
    /// For SCHED_FIFO and SCHED_RR.
    pub priority: u32,
    /// For SCHED_DEADLINE, as the two that follow, in nanoseconds.
    pub runtime: u64,
    /// Relative to the beginning of a period.
    pub deadline: u64,
    /// How often.
    pub period: u64,
    /// With SCHED_FLAG_UTIL_CLAMP_MIN.
    pub util_min: u32,
    /// With SCHED_FLAG_UTIL_CLAMP_MAX.
    pub util_max: u32,
}

const SCHED_ATTR_SIZE: u32 = 56;
const _: () = assert!(size_of::<SchedAttr>() == SCHED_ATTR_SIZE as usize);

/// Schedules the calling thread so.
pub fn set_scheduling(attr: SchedAttr) -> io::Result<()> {
    let attr = SchedAttr { size: SCHED_ATTR_SIZE, ..attr };
    // SAFETY: `attr` has the layout of the kernel's struct and says its own size; the kernel only reads it.
    checked(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) }).map(drop)
}

/// How the calling thread is scheduled.
pub fn scheduling() -> io::Result<SchedAttr> {
    let mut attr = SchedAttr::default();
    // SAFETY: `attr` is as long as the size that is passed, and the kernel writes no more than that.
    checked(unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, SCHED_ATTR_SIZE, 0) })?;
    Ok(attr)
}

const IOPRIO_WHO_PROCESS: libc::c_int = 1;

/// Gives the calling thread an I/O priority: class in the bits from 13 on, level below. [ioprio_set(2)]
pub fn set_io_priority(priority: u16) -> io::Result<()> {
    // SAFETY: the call takes no pointers.
    checked(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, libc::c_int::from(priority)) })
        .map(drop)
}

/// The calling thread's I/O priority.
pub fn io_priority() -> io::Result<u16> {
    // SAFETY: the call takes no pointers.
    checked(unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0) }).map(|priority| priority as u16)
}

/// From which NUMA nodes the calling thread gets its memory: `mode` with its flags, and the nodes as bits, the lowest
/// 64 first; none when empty. [set_mempolicy(2)]
pub fn set_memory_policy(mode: i32, nodes: &[u64]) -> io::Result<()> {
    let mask = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    // The kernel takes one less than it is told. [mm/mempolicy.c: get_nodes]
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * 64 + 1 };
    // SAFETY: the mask is null with no bits, or as long as the number of bits says: the kernel reads `bits - 1` of them,
    // and lives until the call returns. On the 64-bit machines that we build for, unsigned long is u64.
    checked(unsafe { libc::syscall(libc::SYS_set_mempolicy, libc::c_long::from(mode), mask, bits) }).map(drop)
}

/// The calling thread's memory policy: mode with flags, and the first 1024 nodes.
pub fn memory_policy() -> io::Result<(i32, [u64; 16])> {
    let mut mode: libc::c_int = 0;
    let mut nodes = [0u64; 16];
    let none = std::ptr::null::<u8>();
    let bits = nodes.len() * 64;
    // SAFETY: both are written by the kernel: an int, and at most `bits` bits of `nodes`, which is as long.
    checked(unsafe {
        libc::syscall(libc::SYS_get_mempolicy, &raw mut mode, nodes.as_mut_ptr(), bits, none, 0 as libc::c_ulong)
    })?;
    Ok((mode, nodes))
}

/// Sets the execution domain. [personality(2)]
pub fn set_personality(domain: u32) -> io::Result<()> {
    // SAFETY: the call takes no pointers.
    checked(unsafe { libc::syscall(libc::SYS_personality, libc::c_ulong::from(domain)) }).map(drop)
}

fn checked(returned: libc::c_long) -> io::Result<libc::c_long> {
    if returned == -1 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}
