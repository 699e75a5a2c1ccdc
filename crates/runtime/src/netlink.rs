//! As much rtnetlink as moving a network device takes: a request, its answers, its attributes.
//!
//! Written out by hand and not by the typed messages that the `network` crate uses: what is moved here is for the most
//! part handed on as the bytes that the kernel gave (an address with its flags), and three kinds of request are less
//! than the conversions would be. Replies are walked by lengths that are checked, never parsed whole, so that a newer
//! kernel that adds an attribute does not make us refuse a message. [netlink(7), rtnetlink(7); CVE-2021-43784 was a
//! length that overflowed]

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};
use std::os::fd::OwnedFd;

pub(crate) const RTM_NEWLINK: u16 = 16;
pub(crate) const RTM_GETLINK: u16 = 18;
pub(crate) const RTM_NEWADDR: u16 = 20;
pub(crate) const RTM_GETADDR: u16 = 22;

const REQUEST: u16 = 1;
/// Answer even when it worked.
pub(crate) const ACK: u16 = 4;
/// Every object, not one.
pub(crate) const DUMP: u16 = 0x300;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;
const TYPE_MASK: u16 = 0x3fff;
/// The kernel fills at most 32 KiB a datagram when it dumps.
const BUFFER: usize = 32 << 10;

/// A socket to rtnetlink in the network namespace in which it was opened.
pub(crate) struct Route(OwnedFd);

impl Route {
    /// Of the namespace that the calling thread is in.
    pub(crate) fn open() -> Result<Route, Errno> {
        // Protocol 0 of the family is rtnetlink.
        socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None).map(Route)
    }

    /// Sends one request, [`ACK`] or [`DUMP`], and returns the payloads of the objects that come back.
    ///
    /// rtnetlink acts while `send` runs, so every answer is waiting when it returns, and nothing here ever blocks.
    pub(crate) fn ask(&self, kind: u16, flags: u16, payload: &[u8]) -> Result<Vec<Vec<u8>>, Errno> {
        let mut request = Vec::with_capacity(HEADER + payload.len());
        request.extend_from_slice(&((HEADER + payload.len()) as u32).to_ne_bytes());
        request.extend_from_slice(&kind.to_ne_bytes());
        request.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        // Sequence number and port: there is one request at a time.
        request.extend_from_slice(&[0; 8]);
        request.extend_from_slice(payload);
        sendto(&self.0, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut buffer = vec![0u8; BUFFER];
        let mut objects = Vec::new();
        loop {
            let received = match recv(&self.0, &mut buffer[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
                Ok((_, length)) => buffer.get(..length).ok_or(Errno::MSGSIZE)?,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            };
            for (kind, payload) in messages(received) {
                match kind {
                    ERROR | DONE => match read_u32(payload, 0).map_or(0, u32::cast_signed) {
                        0 => return Ok(objects),
                        errno => return Err(Errno::from_raw_os_error(errno.wrapping_neg())),
                    },
                    _ => objects.push(payload.to_vec()),
                }
            }
        }
    }
}

/// Appends an attribute.
pub(crate) fn put(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend_from_slice(&((4 + value.len()) as u16).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = read_u32(bytes, 0)? as usize;
        let (kind, payload) = (read_u16(bytes, 4)?, bytes.get(HEADER..length)?);
        bytes = rest_after(bytes, length);
        Some((kind, payload))
    })
}

/// The attributes in `bytes`: type, without its two flag bits, and value.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(read_u16(bytes, 0)?);
        let value = bytes.get(4..length)?;
        let kind = read_u16(bytes, 2)? & TYPE_MASK;
        bytes = rest_after(bytes, length);
        Some((kind, value))
    })
}

fn rest_after(bytes: &[u8], length: usize) -> &[u8] {
    length.checked_next_multiple_of(4).and_then(|end| bytes.get(end..)).unwrap_or_default()
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// Four bytes in host order.
pub(crate) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_lengths_end_the_walk() {
        let table: [(&str, &[u8], usize); 7] = [
            ("nothing", &[], 0),
            ("half a header", &[8, 0], 0),
            ("length zero", &[0, 0, 1, 0], 0),
            ("length below the header", &[3, 0, 1, 0], 0),
            ("longer than what is there", &[9, 0, 1, 0, 1, 2, 3, 4], 0),
            ("largest length", &[255, 255, 1, 0, 0, 0, 0, 0], 0),
            ("last one without padding", &[5, 0, 1, 0, 7], 1),
        ];
        for (name, bytes, expected) in table {
            assert_eq!(attributes(bytes).count(), expected, "{name}");
        }
        for length in [0_u32, 1, 15, 17, 64, u32::MAX] {
            let mut bytes = vec![0; 16];
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(messages(&bytes).count(), 0, "message length {length}");
        }
        let mut bytes = Vec::new();
        put(&mut bytes, 3, b"abcd\0");
        put(&mut bytes, 0x8004, &[1]);
        assert_eq!(attributes(&bytes).collect::<Vec<_>>(), [(3, &b"abcd\0"[..]), (4, &[1][..])]);
    }
}
