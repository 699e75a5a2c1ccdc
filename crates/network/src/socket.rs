//! A netlink socket: one `send` for a whole batch, then its answers.
//!
//! rtnetlink and nfnetlink act while `send` runs, so every answer is waiting when it returns and nothing here ever
//! blocks: an answer that is missing is an error, not a hang.

use crate::error::Error;
use crate::wire::{self, Batch, Message};
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with, sockopt,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A socket to one of the kernel's netlink families, in the network namespace in which it was opened.
pub(crate) struct Netlink {
    fd: OwnedFd,
    // The kernel fills at most 32 KiB a datagram when it dumps; a single object is far smaller.
    buffer: Mutex<Vec<u8>>,
    /// When a transaction that removes something was sent by it.
    removed: Mutex<Option<Instant>>,
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The first request of a batch that the kernel refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Its place in the batch, from 0.
    pub(crate) request: usize,
    /// Why.
    pub(crate) errno: Errno,
}

const BUFFER: usize = 32 << 10;
/// What a socket's buffer takes whatever this host's net.core.wmem_default is.
const ROOM: usize = 64 << 10;

impl Netlink {
    /// Links, addresses and routes. [rtnetlink(7)]
    pub(crate) fn route() -> Result<Netlink, Error> {
        // Protocol 0 of the family.
        let netlink = Netlink::open(None, "rtnetlink")?;
        // A kernel that cannot lists more than was asked for.
        let _ = sys::net::list_strictly(netlink.fd.as_fd());
        Ok(netlink)
    }

    /// nf_tables.
    pub(crate) fn netfilter() -> Result<Netlink, Error> {
        Netlink::open(Some(netlink::NETFILTER), "netfilter netlink")
    }

    fn open(protocol: Option<Protocol>, family: &'static str) -> Result<Netlink, Error> {
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)
            .map_err(|source| Error::Socket { family, source: source.into() })?;
        Ok(Netlink { fd, buffer: Mutex::new(vec![0; BUFFER]), removed: Mutex::new(None) })
    }

    /// Sends the batch and hands every object that comes back to `each`. Every request of it that asks for an
    /// acknowledgement or a dump must be answered.
    pub(crate) fn exchange(&self, batch: &Batch, mut each: impl FnMut(&Message)) -> Result<(), Refused> {
        let mut answers = batch.answers();
        self.talk(batch, |message| match message.kind {
            wire::ERROR | wire::DONE => {
                answers = answers.saturating_sub(1);
                answers > 0
            }
            _ => {
                each(message);
                true
            }
        })
    }

    /// Sends an nf_tables transaction. Each of its messages is acknowledged, unless the transaction is refused as a
    /// whole (no permission, stale generation): that is said once, of its first message.
    pub(crate) fn transact(&self, batch: &Batch) -> Result<(), Refused> {
        let mut answers = batch.answers();
        self.talk(batch, |message| {
            answers = answers.saturating_sub(1);
            answers > 0 && message.sequence != 0
        })
    }

    /// Remembers that by it something was removed, for which the kernel lets him wait who closes it.
    pub(crate) fn note_removal(&self) {
        *self.removed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// How long ago something was.
    pub(crate) fn since_removal(&self) -> Option<Duration> {
        self.removed.lock().unwrap_or_else(PoisonError::into_inner).map(|then| then.elapsed())
    }

    /// Sends, then reads until `go_on` has seen enough. The first error is kept, the rest is read all the same.
    fn talk(&self, batch: &Batch, mut go_on: impl FnMut(&Message) -> bool) -> Result<(), Refused> {
        let whole = |errno| Refused { request: 0, errno };
        if batch.bytes().len() > ROOM {
            // All that is published, in one message that must fit into the socket's buffer.
            sockopt::set_socket_send_buffer_size_force(&self.fd, 2 * batch.bytes().len()).map_err(whole)?;
        }
        sendto(&self.fd, batch.bytes(), SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).map_err(whole)?;
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut refused = None;
        let mut more = batch.answers() > 0;
        while more {
            let received = match recv(&self.fd, &mut buffer[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
                Ok((_, length)) => buffer.get(..length).ok_or(whole(Errno::MSGSIZE))?,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(refused.unwrap_or(whole(errno))),
            };
            for message in wire::messages(received) {
                let sequence = message.sequence as usize;
                if sequence >= batch.len() {
                    continue;
                }
                let errno = if matches!(message.kind, wire::ERROR | wire::DONE) { message.errno() } else { 0 };
                if errno != 0 && refused.is_none() {
                    refused = Some(Refused { request: sequence, errno: Errno::from_raw_os_error(errno) });
                }
                more = go_on(&message) && more;
            }
        }
        refused.map_or(Ok(()), Err)
    }
}
