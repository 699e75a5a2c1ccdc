//! Connections that the kernel knows, over ctnetlink: those are forgotten that lead past a port that is published now.
//!
//! UDP has no connections, but the kernel takes packets between the same two ports for one, and asks the rules for the
//! first of them only. A client that goes on sending to a port of the host would be led to the container that had it
//! before, or to the host itself, for as long as it does not pause. [linux/netfilter/nfnetlink_conntrack.h]

use crate::ports::{Protocol, Published};
use crate::socket::Netlink;
use crate::wire::{self, ACK, Batch, DUMP, Message};
use rustix::io::Errno;
use std::net::{IpAddr, SocketAddr};

const SUBSYSTEM: u16 = 1;
const NEW: u16 = SUBSYSTEM << 8;
const GET: u16 = SUBSYSTEM << 8 | 1;
const DELETE: u16 = SUBSYSTEM << 8 | 2;

/// `struct nfgenmsg` of IPv4, and of IPv6.
const HEADER: [u8; 4] = [2, 0, 0, 0];
const HEADER6: [u8; 4] = [10, 0, 0, 0];
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ZONE: u16 = 18;
/// How many are forgotten by one message: all answers must fit into the socket's buffer.
const AT_ONCE: usize = 64;

/// Forgets what is sent to these ports by UDP and arrives elsewhere. `ours` tells an address of this host.
pub(crate) fn forget_others(
    netlink: &Netlink,
    ports: &[Published],
    ours: impl Fn(IpAddr) -> bool,
) -> Result<(), Errno> {
    let is_past = |known: &Known<'_>| {
        ports.iter().any(|port| {
            let (host, is_any) = (port.host, port.host.ip().is_unspecified());
            let is_sent_there = known.sent_to.port() == host.port()
                && known.sent_to.is_ipv4() == host.is_ipv4()
                && if is_any { ours(known.sent_to.ip()) } else { known.sent_to.ip() == host.ip() };
            port.protocol == Protocol::Udp && is_sent_there && known.answered_by != port.container
        })
    };
    forget(netlink, ports, is_past)
}

/// Forgets what is sent by UDP and arrives at these ports of a container that is gone.
pub(crate) fn forget_to(netlink: &Netlink, ports: &[Published]) -> Result<(), Errno> {
    let of_udp = |port: &&Published| port.protocol == Protocol::Udp;
    forget(netlink, ports, |known| ports.iter().filter(of_udp).any(|port| known.answered_by == port.container))
}

fn forget(netlink: &Netlink, ports: &[Published], which: impl Fn(&Known<'_>) -> bool) -> Result<(), Errno> {
    for (header, is_ipv4) in [(HEADER, true), (HEADER6, false)] {
        if ports.iter().any(|port| port.host.is_ipv4() == is_ipv4) {
            forget_of(netlink, header, &which)?;
        }
    }
    Ok(())
}

fn forget_of(netlink: &Netlink, header: [u8; 4], which: impl Fn(&Known<'_>) -> bool) -> Result<(), Errno> {
    let mut listing = Batch::default();
    listing.raw(GET, DUMP, &header, |_| ());
    let (mut batches, mut last) = (Vec::new(), Batch::default());
    netlink
        .exchange(&listing, |message| {
            if let Some(known) = parse(message).filter(&which) {
                last.raw(DELETE, ACK, &header, |a| {
                    a.put(ORIGINAL | wire::NESTED, known.original);
                    if let Some(zone) = known.zone {
                        a.put(ZONE, zone);
                    }
                });
                if last.len() == AT_ONCE {
                    batches.push(std::mem::take(&mut last));
                }
            }
        })
        .map_err(|refused| refused.errno)?;
    for batch in batches.iter().chain(Some(&last)).filter(|batch| batch.len() > 0) {
        match netlink.exchange(batch, |_| ()) {
            // It has ended by itself meanwhile.
            Err(refused) if refused.errno != Errno::NOENT => return Err(refused.errno),
            _ => {}
        }
    }
    Ok(())
}

/// What is known of packets by UDP.
struct Known<'a> {
    /// The attribute by which it is named.
    original: &'a [u8],
    zone: Option<&'a [u8]>,
    sent_to: SocketAddr,
    answered_by: SocketAddr,
}

fn parse<'a>(message: &Message<'a>) -> Option<Known<'a>> {
    if message.kind != NEW {
        return None;
    }
    let find = |wanted| message.attributes(HEADER.len()).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let (original, reply) = (find(ORIGINAL)?, find(REPLY)?);
    // Destination of what was sent, and source of what is answered.
    let (sent_to, answered_by) = (end(original, [2, 4], 3)?, end(reply, [1, 3], 2)?);
    Some(Known { original, zone: find(ZONE), sent_to, answered_by })
}

/// One end of a tuple of UDP: its address of IPv4 or of IPv6, and its port.
fn end(tuple: &[u8], [address, address6]: [u16; 2], port: u16) -> Option<SocketAddr> {
    let part = |bytes, wanted| -> Option<&[u8]> {
        wire::attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
    };
    let (addresses, ports) = (part(tuple, 1)?, part(tuple, 2)?);
    if part(ports, 1)? != [Protocol::Udp as u8] {
        return None;
    }
    let address: IpAddr = match part(addresses, address) {
        Some(address) => <[u8; 4]>::try_from(address).ok()?.into(),
        None => <[u8; 16]>::try_from(part(addresses, address6)?).ok()?.into(),
    };
    let port: [u8; 2] = part(ports, port)?.try_into().ok()?;
    Some(SocketAddr::new(address, u16::from_be_bytes(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(a: &mut wire::Attributes<'_>, kind: u16, protocol: u8, from: &str, to: &str) {
        let (from, to): (std::net::SocketAddrV4, std::net::SocketAddrV4) = (from.parse().unwrap(), to.parse().unwrap());
        a.nest(kind, |a| {
            a.nest(1, |a| {
                a.put(1, &from.ip().octets()).put(2, &to.ip().octets());
            });
            a.nest(2, |a| {
                a.put(1, &[protocol]).put(2, &from.port().to_be_bytes()).put(3, &to.port().to_be_bytes());
            });
        });
    }

    #[test]
    fn both_ends_are_read_and_torn_messages_are_not() {
        for (protocol, is_read) in [(17, true), (6, false)] {
            let mut batch = Batch::default();
            batch.raw(NEW, 0, &HEADER, |a| {
                tuple(a, ORIGINAL, protocol, "192.0.2.9:5555", "192.0.2.2:8080");
                tuple(a, REPLY, protocol, "172.17.0.2:80", "192.0.2.9:5555");
            });
            let message = wire::messages(batch.bytes()).next().unwrap();
            let ends = parse(&message).map(|known| (known.sent_to.to_string(), known.answered_by.to_string()));
            assert_eq!(ends, is_read.then(|| ("192.0.2.2:8080".to_owned(), "172.17.0.2:80".to_owned())), "{protocol}");
            for length in 0..message.payload.len() {
                assert!(parse(&Message { payload: &message.payload[..length], ..message }).is_none());
            }
        }
    }
}
