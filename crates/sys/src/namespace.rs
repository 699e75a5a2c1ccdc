//! What kind of namespace a descriptor is of.

use crate::fork::Namespaces;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The kind of namespace that `fd` is of; of a file that is none an error. [ioctl_nsfs(2)]
pub fn kind(fd: BorrowedFd<'_>) -> io::Result<Namespaces> {
    /// `_IO(0xb7, 3)`.
    const NS_GET_NSTYPE: u32 = 0xb703;
    if !is_of_nsfs(fd)? {
        // Another file, a device maybe, could take the number for something else.
        return Err(io::Error::from_raw_os_error(libc::ENOTTY));
    }
    // SAFETY: this request takes no argument, and returns the kind as a number.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE as _) };
    match u64::try_from(kind) {
        Ok(kind) => Ok(Namespaces(kind)),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Whether it is a file of the kernel's file system of namespaces. Of a descriptor that was opened by path alone, too.
pub fn is_of_nsfs(fd: BorrowedFd<'_>) -> io::Result<bool> {
    const NSFS_MAGIC: u64 = 0x6e73_6673;
    // SAFETY: an all-zero statfs is valid, and is the whole that the call fills; both outlive it.
    let (done, stat) = unsafe {
        let mut stat: libc::statfs = std::mem::zeroed();
        (libc::fstatfs(fd.as_raw_fd(), &raw mut stat), stat)
    };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(stat.f_type as u64 == NSFS_MAGIC) }
}

/// True when ids and capabilities of this process are the host's: its user namespace is the first of all, whose number is
/// part of the kernel's interface. [include/linux/proc_ns.h: PROC_USER_INIT_INO]
pub fn is_first_user() -> bool {
    let name = std::fs::read_link("/proc/self/ns/user");
    name.is_ok_and(|name| name.as_os_str() == "user:[4026531837]")
}

/// Who root of this user namespace is in the one above. None where nobody is root. [user_namespaces(7), uid_map]
pub fn uid_outside() -> Option<u32> {
    let map = std::fs::read_to_string("/proc/self/uid_map").ok()?;
    map.lines().find_map(|line| {
        let [inside, outside, _] = line.split_whitespace().collect::<Vec<_>>()[..] else { return None };
        (inside == "0").then(|| outside.parse().ok())?
    })
}

/// True when this user namespace has but one user id: an ordinary user's for whom no others are set aside.
/// [user_namespaces(7)]
pub fn has_one_id() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.lines().count() == 1 && map.split_whitespace().nth(2) == Some("1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_namespace_tells_its_kind_and_nothing_else_does() {
        let kind_of = |path: &str| kind(std::fs::File::open(path).unwrap().as_fd()).ok();
        assert_eq!(kind_of("/proc/self/ns/net"), Some(Namespaces::NETWORK));
        assert_eq!(kind_of("/proc/self/ns/mnt"), Some(Namespaces::MOUNT));
        for other in ["/dev/null", "/proc/self/status", "/"] {
            assert_eq!(kind_of(other), None, "{other}");
        }
    }
}
