//! A netlink socket: one `send` for a whole batch, then its answers.
//!
//! rtnetlink and nfnetlink act while `send` runs, so every answer is waiting when it returns and nothing here ever
//! blocks: an answer that is missing is an error, not a hang. They must fit into the socket's buffer, some 250 of them: who
//! sends more requests than that asks for an acknowledgement of few.

use crate::error::Error;
use crate::wire::{self, Batch, Message};
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with, sockopt,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A socket to one of the kernel's netlink families, in the network namespace in which it was opened.
pub(crate) struct Netlink {
    fd: OwnedFd,
    // The kernel fills at most 32 KiB a datagram when it dumps; a single object is far smaller.
    buffer: Mutex<Vec<u8>>,
    /// When a transaction that removes something was sent by it.
    removed: Mutex<Option<Instant>>,
    /// The sequence number of the next request: no two on a socket have the same.
    next: AtomicU32,
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
        let (buffer, removed) = (Mutex::new(vec![0; BUFFER]), Mutex::new(None));
        Ok(Netlink { fd, buffer, removed, next: AtomicU32::new(1) })
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

    /// Sends an nf_tables transaction, of which the last message but its end asks for an acknowledgement. What is refused is
    /// told of each message that is, unless the transaction is refused as a whole (no permission, stale generation): that is
    /// told once, of its first message.
    pub(crate) fn transact(&self, batch: &Batch) -> Result<(), Refused> {
        let mut is_answered = false;
        // The kernel has answered all that it will when `send` returns, and how many answers that are nobody knows before.
        self.talk(batch, |_| {
            is_answered = true;
            true
        })
        .or_else(|refused| match refused.errno {
            Errno::WOULDBLOCK if is_answered => Ok(()),
            // The first answers are kept when there are too many, and errors come before the acknowledgement.
            Errno::NOBUFS if is_answered => Ok(()),
            Errno::WOULDBLOCK => Err(Refused { errno: Errno::PROTO, ..refused }),
            _ => Err(refused),
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

    /// Sends, then reads until `go_on` has seen enough, or nothing more is there. The first error is kept, the rest is read
    /// all the same. Where the kernel had more to say than the socket takes, what it did not say is `ENOBUFS`.
    fn talk(&self, batch: &Batch, mut go_on: impl FnMut(&Message) -> bool) -> Result<(), Refused> {
        let whole = |errno| Refused { request: 0, errno };
        // Whatever is still to be read of an earlier batch has numbers of its own.
        let first = self.next.fetch_add(batch.len() as u32, Ordering::Relaxed);
        let bytes = batch.numbered(first);
        if bytes.len() > ROOM {
            // All that is published, in one message that must fit into the socket's buffer.
            sockopt::set_socket_send_buffer_size_force(&self.fd, 2 * bytes.len()).map_err(whole)?;
        }
        sendto(&self.fd, &bytes, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).map_err(whole)?;
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut refused, mut lost) = (None, None);
        let mut more = batch.answers() > 0;
        while more {
            let received = match recv(&self.fd, &mut buffer[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
                Ok((_, length)) => buffer.get(..length).ok_or(whole(Errno::MSGSIZE))?,
                Err(Errno::INTR) => continue,
                // What it had room for is there to be read all the same.
                Err(Errno::NOBUFS) => {
                    lost = Some(whole(Errno::NOBUFS));
                    continue;
                }
                Err(errno) => return Err(refused.or(lost).unwrap_or(whole(errno))),
            };
            for message in wire::messages(received) {
                let sequence = message.sequence.wrapping_sub(first);
                if sequence as usize >= batch.len() {
                    continue;
                }
                let message = Message { sequence, ..message };
                let errno = if matches!(message.kind, wire::ERROR | wire::DONE) { message.errno() } else { 0 };
                if errno != 0 && refused.is_none() {
                    refused = Some(Refused { request: sequence as usize, errno: Errno::from_raw_os_error(errno) });
                }
                more = go_on(&message) && more;
            }
        }
        refused.map_or(Ok(()), Err)
    }
}
