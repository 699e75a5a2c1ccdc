//! Loading a seccomp filter.
//!
//! Leaves the filter on the calling thread (with TSYNC: on all of the process) and everything it starts, until it ends:
//! nothing can take it off again.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`
const NEW_LISTENER: u32 = 1 << 3;

/// Loads the filter program `instructions`, whole `struct sock_filter`s of 8 bytes with their numbers little-endian
/// (whatever the machine), with `SECCOMP_FILTER_FLAG_*` flags.
///
/// Returns the listener if the flags ask for one; the kernel makes it close-on-exec. Nothing follows the system call
/// here that the new filter could stop; a caller with a listener hands it over before it does anything else, freeing
/// memory included. The caller has set no_new_privs or
/// has CAP_SYS_ADMIN, or this fails with EACCES; EINVAL is a program or a flag that the kernel does not take, ESRCH a
/// thread that TSYNC could not reach. Source: seccomp(2).
pub fn load(instructions: &[u8], flags: u32) -> io::Result<Option<OwnedFd>> {
    let (chunks, rest) = instructions.as_chunks::<8>();
    let length = u16::try_from(chunks.len()).ok().filter(|_| rest.is_empty());
    let length = length.ok_or(io::ErrorKind::InvalidInput)?;
    let native = |[c0, c1, jt, jf, k0, k1, k2, k3]: &[u8; 8]| libc::sock_filter {
        code: u16::from_le_bytes([*c0, *c1]),
        jt: *jt,
        jf: *jf,
        k: u32::from_le_bytes([*k0, *k1, *k2, *k3]),
    };
    let filter = if cfg!(target_endian = "little") {
        chunks.as_ptr().cast_mut().cast()
    } else {
        // Never freed: that may be a system call.
        chunks.iter().map(native).collect::<Vec<libc::sock_filter>>().leak().as_mut_ptr()
    };
    let program = libc::sock_fprog { len: length, filter };
    // SAFETY: `program` and the `len` filters of 8 bytes it points to live until the call returns; the kernel copies
    // them (so their alignment does not matter) and writes to neither.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, libc::c_ulong::from(flags), &program)
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: with this flag a result that is not negative is a new descriptor, which nobody else owns.
        fd if flags & NEW_LISTENER != 0 => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })),
        0 => Ok(None),
        _thread => Err(io::Error::from_raw_os_error(libc::ESRCH)),
    }
}
