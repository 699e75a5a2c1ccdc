//! What iptables-legacy has set up: its tables are seen by `getsockopt` only, not over nf_tables.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

// [linux/netfilter_ipv4/ip_tables.h: struct ipt_getinfo, ipt_get_entries, ipt_entry]
const GET_INFO: i32 = 64;
const GET_ENTRIES: i32 = 65;
const INFO: usize = 84;
const INFO_UNDERFLOW_FORWARD: usize = 32 + 4 + 5 * 4 + 2 * 4;
const INFO_SIZE: usize = INFO - 4;
const NAME: &[u8] = b"filter";
const ENTRIES_HEADER: usize = 40;
const ENTRY_TARGET_OFFSET: usize = 88;
const TARGET_VERDICT: usize = 32;
/// `-NF_DROP - 1`, as a standard target stores it.
const VERDICT_DROP: i32 = -1;
/// More rules than this are not looked through.
const MOST: usize = 64 << 20;

/// True when the policy of the chain FORWARD of iptables-legacy's table `filter` is DROP, in the network namespace of
/// `socket`, which is a raw IPv4 socket. Asking loads the table, so ask only when /proc/net/ip_tables_names lists it.
pub fn forward_policy_drops(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let mut info = vec![0; INFO];
    info[..NAME.len()].copy_from_slice(NAME);
    get(socket, GET_INFO, &mut info)?;
    let size = number(&info, INFO_SIZE).filter(|size| *size <= MOST).ok_or(io::ErrorKind::InvalidData)?;
    let policy = number(&info, INFO_UNDERFLOW_FORWARD).ok_or(io::ErrorKind::InvalidData)?;
    let mut entries = vec![0; ENTRIES_HEADER + size];
    entries[..NAME.len()].copy_from_slice(NAME);
    entries[32..36].copy_from_slice(&(size as u32).to_ne_bytes());
    get(socket, GET_ENTRIES, &mut entries)?;
    Ok(verdict_at(&entries[ENTRIES_HEADER..], policy) == Some(VERDICT_DROP))
}

/// The verdict of the entry that begins at `entry`.
fn verdict_at(entries: &[u8], entry: usize) -> Option<i32> {
    let at = entry.checked_add(ENTRY_TARGET_OFFSET)?;
    let target = u16::from_ne_bytes(entries.get(at..at.checked_add(2)?)?.try_into().ok()?);
    let verdict = number(entries, entry.checked_add(usize::from(target))?.checked_add(TARGET_VERDICT)?)?;
    Some((verdict as u32).cast_signed())
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?) as usize)
}

fn get(socket: BorrowedFd<'_>, option: i32, buffer: &mut [u8]) -> io::Result<()> {
    let mut length = buffer.len() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of `buffer`, and the new length; both outlive the call.
    let done = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_IP, option, buffer.as_mut_ptr().cast(), &raw mut length)
    };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_that_lead_nowhere_are_no_verdict() {
        let mut entries = vec![0; 152];
        entries[88..90].copy_from_slice(&112_u16.to_ne_bytes());
        entries[144..148].copy_from_slice(&VERDICT_DROP.to_ne_bytes());
        assert_eq!(verdict_at(&entries, 0), Some(VERDICT_DROP));
        for entry in [1, 152, usize::MAX] {
            assert_ne!(verdict_at(&entries, entry), Some(VERDICT_DROP));
        }
        entries[88..90].copy_from_slice(&u16::MAX.to_ne_bytes());
        assert_eq!(verdict_at(&entries, 0), None);
    }
}
