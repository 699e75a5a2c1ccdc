//! Kernel keyrings.

use std::io;

/// Gives this process a new session keyring, so that it cannot read the keys of whoever started it. It has no name: for
/// one the kernel first looks at every keyring that has the same. [keyctl(2), KEYCTL_JOIN_SESSION_KEYRING]
pub fn new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    let without_name = std::ptr::null::<libc::c_char>();
    // SAFETY: a null pointer is allowed there, and nothing else is passed.
    let done = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, without_name) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
