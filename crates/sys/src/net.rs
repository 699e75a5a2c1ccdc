//! Network interfaces of the namespace that this process is in.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Brings `lo` up: one ioctl on a socket, where a netlink round trip would need a message built and an answer read.
/// [netdevice(7)]
pub fn loopback_up() -> io::Result<()> {
    // SAFETY: socket takes no pointers; a descriptor that it returns belongs to nobody else.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if fd == -1 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    // SAFETY: an all-zero ifreq is valid: an empty name and no flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: `request` is a whole ifreq with a NUL-terminated name and outlives the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets a socket have an address that is not this host's. [ip(7), IP_TRANSPARENT; ipv6(7)]
pub fn set_transparent(socket: BorrowedFd<'_>, is_ipv4: bool) -> io::Result<()> {
    let (level, name) =
        if is_ipv4 { (libc::SOL_IP, libc::IP_TRANSPARENT) } else { (libc::SOL_IPV6, libc::IPV6_TRANSPARENT) };
    let on: libc::c_int = 1;
    // SAFETY: the value lives until the call returns and its size is passed beside it.
    let done = unsafe {
        let size = size_of::<libc::c_int>() as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const on).cast(), size)
    };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets a socket receive only what comes in by one link, and send only by that. [socket(7), SO_BINDTODEVICE]
pub fn bind_to_link(socket: BorrowedFd<'_>, link: &str) -> io::Result<()> {
    // SAFETY: the name lives until the call returns and its length is passed beside it; the kernel copies it.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            link.as_ptr().cast(),
            link.len() as libc::socklen_t,
        )
    };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes the kernel take every field of a request to list something for what it says, as the link whose addresses are
/// wanted, which else it leaves to the caller to pick out of all. [netlink(7), NETLINK_GET_STRICT_CHK]
pub fn list_strictly(netlink: BorrowedFd<'_>) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the number lives until the call returns and its size is passed beside it.
    let done = unsafe {
        libc::setsockopt(
            netlink.as_raw_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_GET_STRICT_CHK,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
