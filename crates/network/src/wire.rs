//! Netlink on the wire: requests put together, replies taken apart.
//!
//! A [`Batch`] is the bytes of one `send`: any number of requests in the order in which the kernel acts on them. The
//! payload of a request is a typed rtnetlink message ([`Batch::route`]) or a subsystem header followed by attributes
//! ([`Batch::raw`]), which is all that nf_tables needs.
//!
//! Replies are read by [`messages`] and [`attributes`], which never panic and never read past what was received: a
//! length that does not fit ends the walk. They are not parsed by type, because a newer kernel that adds or widens an
//! attribute must not make us refuse a message of which we want three attributes.
//! [netlink(7); Documentation/userspace-api/netlink/intro.rst]

use netlink_packet_core::Emitable;
use netlink_packet_route::RouteNetlinkMessage;

/// The request is one. [netlink(7)]
pub(crate) const REQUEST: u16 = 1;
/// Answer even when it worked.
pub(crate) const ACK: u16 = 4;
/// Every object, not one.
pub(crate) const DUMP: u16 = 0x300;
/// Fail when it is there already.
pub(crate) const EXCLUSIVE: u16 = 0x200;
/// Make it when it is not there.
pub(crate) const CREATE: u16 = 0x400;
/// Put it last. Of nf_tables rules: without it the new rule is the chain's first.
pub(crate) const APPEND: u16 = 0x800;

/// `NLMSG_ERROR`: the end of a request, with an error number or 0.
pub(crate) const ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
pub(crate) const DONE: u16 = 3;

const HEADER: usize = 16;
/// Where in it the flags and the sequence number stand.
const FLAGS_AT: usize = 6;
const SEQUENCE_AT: usize = 8;
const ATTRIBUTE_HEADER: usize = 4;
/// `NLA_F_NESTED`, on the type of an attribute that holds others.
pub(crate) const NESTED: u16 = 0x8000;
const TYPE_MASK: u16 = 0x3fff;

/// Requests that are sent together. The n-th request has sequence number n, from 0; as it is sent, that and the socket's.
#[derive(Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    flags: Vec<u16>,
    /// Where each begins.
    starts: Vec<usize>,
}

impl Batch {
    /// Adds an rtnetlink request.
    pub(crate) fn route(&mut self, flags: u16, message: &RouteNetlinkMessage) -> &mut Batch {
        self.message(message.message_type(), flags, |bytes| {
            let start = bytes.len();
            bytes.resize(start + message.buffer_len(), 0);
            message.emit(&mut bytes[start..]);
        })
    }

    /// Adds a request made of a fixed header and attributes.
    pub(crate) fn raw(&mut self, kind: u16, flags: u16, header: &[u8], fill: impl FnOnce(&mut Attributes)) {
        self.message(kind, flags, |bytes| {
            bytes.extend_from_slice(header);
            fill(&mut Attributes { bytes });
        });
    }

    fn message(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Vec<u8>)) -> &mut Batch {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&(self.flags.len() as u32).to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        fill(&mut self.bytes);
        let length = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        pad(&mut self.bytes);
        self.flags.push(flags);
        self.starts.push(start);
        self
    }

    /// Asks for an acknowledgement of the last request that it holds by now.
    pub(crate) fn acknowledge_last(&mut self) {
        if let (Some(flags), Some(start)) = (self.flags.last_mut(), self.starts.last()) {
            *flags |= ACK;
            let at = start + FLAGS_AT;
            self.bytes[at..at + 2].copy_from_slice(&(*flags | REQUEST).to_ne_bytes());
        }
    }

    /// What is sent, with sequence numbers from this one on.
    pub(crate) fn numbered(&self, first: u32) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for (nth, start) in self.starts.iter().enumerate() {
            let at = start + SEQUENCE_AT;
            bytes[at..at + 4].copy_from_slice(&first.wrapping_add(nth as u32).to_ne_bytes());
        }
        bytes
    }

    /// The requests, with sequence numbers from 0.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many requests it holds.
    pub(crate) fn len(&self) -> usize {
        self.flags.len()
    }

    /// How many of them the kernel ends with an acknowledgement or the end of a dump.
    pub(crate) fn answers(&self) -> usize {
        self.flags.iter().filter(|flags| *flags & (ACK | DUMP) != 0).count()
    }
}

/// Attributes of a request that is being put together.
pub(crate) struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl<'a> Attributes<'a> {
    /// Attributes that are appended to `bytes`.
    pub(crate) fn onto(bytes: &'a mut Vec<u8>) -> Attributes<'a> {
        Attributes { bytes }
    }

    /// Attributes that were put together elsewhere.
    pub(crate) fn bytes(&mut self, ready: &[u8]) {
        self.bytes.extend_from_slice(ready);
    }

    /// Bytes as they are.
    pub(crate) fn put(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(&((ATTRIBUTE_HEADER + value.len()) as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        pad(self.bytes);
        self
    }

    /// A number in network byte order, as nf_tables has all of them.
    pub(crate) fn number(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// A string with its terminating NUL.
    pub(crate) fn string(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.put(kind, &bytes)
    }

    /// Attributes inside an attribute.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        fill(&mut Attributes { bytes: self.bytes });
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// One message as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// `NLMSG_*`, `RTM_*` or a subsystem's type.
    pub(crate) kind: u16,
    /// Which request of the batch it answers.
    pub(crate) sequence: u32,
    /// What follows the netlink header.
    pub(crate) payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The error number of an `NLMSG_ERROR` or `NLMSG_DONE`, positive; 0 when all went well.
    pub(crate) fn errno(&self) -> i32 {
        read_i32(self.payload, 0).map_or(0, i32::wrapping_neg)
    }

    /// The attributes that follow a fixed header of `header` bytes.
    pub(crate) fn attributes(&self, header: usize) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        attributes(self.payload.get(header..).unwrap_or_default())
    }
}

/// The messages of one received datagram.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = read_u32(bytes, 0)? as usize;
        let payload = bytes.get(HEADER..length)?;
        let message = Message { kind: read_u16(bytes, 4)?, sequence: read_u32(bytes, 8)?, payload };
        bytes = rest_after(bytes, length);
        Some(message)
    })
}

/// The attributes in `bytes`: type (without the nested and byte order bits) and value.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(read_u16(bytes, 0)?);
        let value = bytes.get(ATTRIBUTE_HEADER..length)?;
        let kind = read_u16(bytes, 2)? & TYPE_MASK;
        bytes = rest_after(bytes, length);
        Some((kind, value))
    })
}

fn rest_after(bytes: &[u8], length: usize) -> &[u8] {
    length.checked_next_multiple_of(4).and_then(|end| bytes.get(end..)).unwrap_or_default()
}

/// A string attribute up to its NUL; empty when it is not UTF-8.
pub(crate) fn text(value: &[u8]) -> &str {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    std::str::from_utf8(&value[..end]).unwrap_or_default()
}

/// Two bytes in host order.
pub(crate) fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

/// Four bytes in host order.
pub(crate) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn read_i32(bytes: &[u8], at: usize) -> Option<i32> {
    read_u32(bytes, at).map(u32::cast_signed)
}

/// A number in network order of four or eight bytes.
pub(crate) fn read_big_endian(value: &[u8]) -> Option<u64> {
    match value.len() {
        4 => Some(u32::from_be_bytes(value.try_into().ok()?).into()),
        8 => Some(u64::from_be_bytes(value.try_into().ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute_bytes(fill: impl FnOnce(&mut Attributes)) -> Vec<u8> {
        let mut bytes = Vec::new();
        fill(&mut Attributes { bytes: &mut bytes });
        bytes
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut batch = Batch::default();
        batch.raw(7, ACK, &[1, 2, 3, 4], |a| {
            a.string(1, "abc").nest(2, |a| {
                a.number(3, 0x0102_0304).put(4, &[9]);
            });
        });
        batch.raw(8, DUMP, &[0; 4], |_| {});
        assert_eq!((batch.len(), batch.answers(), batch.bytes().len() % 4), (2, 2, 0));
        let read: Vec<Message> = messages(batch.bytes()).collect();
        assert_eq!((read[0].kind, read[0].sequence, read[1].kind, read[1].sequence), (7, 0, 8, 1));
        let outer: Vec<_> = read[0].attributes(4).collect();
        assert_eq!((outer[0].0, text(outer[0].1), outer[1].0), (1, "abc", 2));
        let inner: Vec<_> = attributes(outer[1].1).collect();
        assert_eq!(inner, [(3, &[1, 2, 3, 4][..]), (4, &[9][..])]);
        assert_eq!(read_big_endian(inner[0].1), Some(0x0102_0304));
    }

    #[test]
    fn it_is_sent_with_the_numbers_of_the_socket() {
        let mut batch = Batch::default();
        batch.raw(7, 0, &[0; 4], |_| {});
        batch.raw(8, CREATE, &[0; 4], |_| {});
        assert_eq!(batch.answers(), 0);
        batch.acknowledge_last();
        assert_eq!(batch.answers(), 1);
        let sent = batch.numbered(u32::MAX);
        let sequences: Vec<u32> = messages(&sent).map(|message| message.sequence).collect();
        assert_eq!(sequences, [u32::MAX, 0]);
        assert_eq!(read_u16(&sent, 20 + FLAGS_AT), Some(REQUEST | CREATE | ACK));
    }

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
    }

    #[test]
    fn random_bytes_never_panic() {
        let good = attribute_bytes(|a| {
            a.string(1, "x").number(2, 3).nest(4, |a| {
                a.put(1, &[0; 40]);
            });
        });
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..200_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut bytes = good.clone();
            for nth in 0..4 {
                let at = (state >> (16 * nth)) as usize % bytes.len();
                bytes[at] = (state >> (8 * nth)) as u8;
            }
            bytes.truncate((state >> 40) as usize % (bytes.len() + 1));
            for (_, value) in attributes(&bytes) {
                let _ = (text(value), read_big_endian(value), attributes(value).count());
            }
            for message in messages(&bytes) {
                let _ = (message.errno(), message.attributes(20).count());
            }
        }
    }
}
