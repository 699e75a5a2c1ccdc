//! A question as a client sends it, and the messages that are sent back without asking anybody.
//!
//! Messages are [RFC 1035] with [RFC 6891] (EDNS). What is not understood is refused as those say; what is no question
//! is not answered at all, so that two servers never talk to each other forever.

use domain::base::iana::{Class, Opcode, OptRcode, Rcode, Rtype};
use domain::base::message_builder::{AdditionalBuilder, StaticCompressor};
use domain::base::name::ToLabelIter;
use domain::base::{Message, MessageBuilder, Name, ParsedName, Ttl};
use domain::rdata::{A, Aaaa, Ptr};
use std::net::{Ipv4Addr, Ipv6Addr};

/// A client without EDNS takes no more by UDP.
const PLAIN_SIZE: u16 = 512;
/// What goes through any link in one piece: 1280 bytes less the headers. [RFC 9715]
const OUR_SIZE: u16 = 1232;
/// A question has a name of at most 255 bytes, and a few options: cookies and such.
const LONGEST: usize = 1232;
/// Containers come and go, and asking again costs a client some 50 µs: so nobody is to keep what it was told. 0 forbids
/// just that. [RFC 1035, 3.2.1]
const TTL: Ttl = Ttl::from_secs(0);
/// An OPT record without options.
const OPT_LENGTH: usize = 11;
/// Behind a question's name: its type and class.
const TYPE_AND_CLASS: usize = 4;
const HEADER: usize = 12;

/// What a packet is.
pub(crate) enum Heard<'a> {
    /// Nothing to answer.
    Nothing,
    /// Something that is refused with this message.
    Wrong(Vec<u8>),
    /// A question.
    Query(Query<'a>),
}

/// A question that can be answered.
pub(crate) struct Query<'a> {
    message: &'a Message<[u8]>,
    name: ParsedName<&'a [u8]>,
    /// The name in lower case, without its last dot; `None` when it is none that we could know.
    pub(crate) text: Option<String>,
    pub(crate) rtype: Rtype,
    edns: Option<Edns>,
}

#[derive(Clone, Copy)]
struct Edns {
    size: u16,
    dnssec_ok: bool,
    has_options: bool,
}

/// What an answer says.
pub(crate) enum Data {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
    Name(Name<Vec<u8>>),
}

/// Two questions of the same key have the same answer from upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Reads a client's packet.
pub(crate) fn hear(packet: &[u8]) -> Heard<'_> {
    let Ok(message) = Message::from_slice(packet) else { return Heard::Nothing };
    let header = message.header();
    if header.qr() {
        return Heard::Nothing;
    }
    if header.opcode() != Opcode::QUERY {
        return Heard::Wrong(bare(message, Rcode::NOTIMP));
    }
    let Some(query) = Some(message).filter(|_| packet.len() <= LONGEST).and_then(read) else {
        return Heard::Wrong(bare(message, Rcode::FORMERR));
    };
    let refusal = match query {
        Err(Wrong::Version(ref query)) => query.reply(OptRcode::BADVERS, &[], LONGEST),
        Err(Wrong::Class(ref query)) => query.reply(OptRcode::REFUSED, &[], LONGEST),
        Ok(query) => return Heard::Query(query),
    };
    refusal.map_or(Heard::Nothing, Heard::Wrong)
}

enum Wrong<'a> {
    Version(Query<'a>),
    Class(Query<'a>),
}

/// `None` when it is malformed.
fn read(message: &Message<[u8]>) -> Option<Result<Query<'_>, Wrong<'_>>> {
    let question = message.sole_question().ok()?;
    // The first name of a message has nothing before it that it could point to.
    let end = HEADER + usize::from(question.qname().compose_len()) + TYPE_AND_CLASS;
    if question.qname().is_compressed() || message.question().answer().ok()?.pos() != end {
        return None;
    }
    let mut opt = None;
    for record in message.additional().ok()? {
        let record = record.ok()?;
        if record.rtype() == Rtype::OPT && opt.replace(record).is_some() {
            return None;
        }
    }
    let (edns, version) = match opt {
        None => (None, 0),
        Some(record) => {
            let opt = message.opt().filter(|_| record.owner().is_root())?;
            let (size, dnssec_ok) = (opt.udp_payload_size().max(PLAIN_SIZE), opt.dnssec_ok());
            (Some(Edns { size, dnssec_ok, has_options: record.rdlen() > 0 }), opt.version())
        }
    };
    let name = *question.qname();
    let query = Query { message, name, text: text_of(&name), rtype: question.qtype(), edns };
    Some(match question.qclass() {
        _ if version > 0 => Err(Wrong::Version(query)),
        Class::IN => Ok(query),
        _ => Err(Wrong::Class(query)),
    })
}

fn text_of(name: &ParsedName<&[u8]>) -> Option<String> {
    let mut text = String::new();
    for label in name.iter().filter(|label| !label.is_root()) {
        let label = std::str::from_utf8(label.as_slice()).ok()?;
        if label.contains(|char: char| char == '.' || char.is_control() || char.is_whitespace()) {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(&label.to_ascii_lowercase());
    }
    Some(text)
}

/// A header alone: for what has no question that could be repeated.
fn bare(message: &Message<[u8]>, rcode: Rcode) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    let (to, header) = (message.header(), builder.header_mut());
    header.set_id(to.id());
    header.set_qr(true);
    header.set_opcode(to.opcode());
    header.set_rd(to.rd());
    header.set_ra(true);
    header.set_rcode(rcode);
    builder.finish()
}

impl Query<'_> {
    /// How much of an answer of our own goes back by UDP.
    pub(crate) fn our_size(&self) -> usize {
        self.udp_size().min(OUR_SIZE.into())
    }

    /// How much the client takes by UDP.
    pub(crate) fn udp_size(&self) -> usize {
        self.edns.map_or(PLAIN_SIZE, |edns| edns.size).into()
    }

    /// How many labels the name has; the root has none.
    pub(crate) fn labels(&self) -> usize {
        self.name.label_count() - 1
    }

    /// True when what upstream answers may be told to others: it was asked to recurse, and not told who asks.
    pub(crate) fn is_anybodys(&self) -> bool {
        self.message.header().rd() && self.edns.is_none_or(|edns| !edns.has_options)
    }

    /// What tells it apart from other questions.
    pub(crate) fn key(&self) -> Key {
        let header = self.message.header();
        let edns = self.edns.map_or(0, |edns| 1 + u8::from(edns.dnssec_ok));
        let flags = u8::from(header.cd()) | u8::from(header.ad()) << 1 | u8::from(header.rd()) << 2 | edns << 3;
        // Lengths of labels are no letters.
        let mut key = self.question().to_vec();
        let name = key.len() - TYPE_AND_CLASS;
        key.get_mut(..name).unwrap_or_default().make_ascii_lowercase();
        key.push(flags);
        Key(key)
    }

    /// The question's bytes, as the client wrote them.
    fn question(&self) -> &[u8] {
        let end = HEADER + usize::from(self.name.compose_len()) + TYPE_AND_CLASS;
        self.message.as_slice().get(HEADER..end).unwrap_or_default()
    }

    /// The question and nothing else, to be sent on: what else was in the packet does not get any further. The client's
    /// own EDNS options do, for we are in the middle. [RFC 6891, 6.2.6]
    pub(crate) fn to_send(&self) -> Option<Vec<u8>> {
        let mut builder = MessageBuilder::new_vec();
        let (from, header) = (self.message.header(), builder.header_mut());
        header.set_id(from.id());
        header.set_rd(from.rd());
        header.set_ad(from.ad());
        header.set_cd(from.cd());
        let mut builder = builder.question();
        builder.push((self.name, self.rtype, Class::IN)).ok()?;
        let mut builder = builder.additional();
        if let Some(opt) = self.message.opt() {
            builder.opt(|to| to.clone_from(&opt)).ok()?;
        }
        Some(builder.finish())
    }

    /// An answer of our own in at most `limit` bytes: as many records as fit, with TC set when some do not.
    pub(crate) fn reply(&self, rcode: OptRcode, data: &[Data], limit: usize) -> Option<Vec<u8>> {
        let target = StaticCompressor::new(Vec::with_capacity(PLAIN_SIZE.into()));
        let mut builder = MessageBuilder::from_target(target).ok()?;
        builder.set_push_limit(limit - self.edns.map_or(0, |_| OPT_LENGTH));
        let mut builder = builder.start_answer(self.message, rcode.rcode()).ok()?;
        builder.header_mut().set_ra(true);
        builder.header_mut().set_aa(matches!(rcode, OptRcode::NOERROR | OptRcode::NXDOMAIN));
        for data in data {
            let pushed = match data {
                Data::V4(v4) => builder.push((self.name, TTL, A::new(*v4))),
                Data::V6(v6) => builder.push((self.name, TTL, Aaaa::new(*v6))),
                Data::Name(name) => builder.push((self.name, TTL, Ptr::new(name))),
            };
            if pushed.is_err() {
                builder.header_mut().set_tc(true);
                break;
            }
        }
        let mut builder = builder.additional();
        builder.clear_push_limit();
        self.push_opt(&mut builder, rcode)?;
        Some(builder.finish().into_target())
    }

    /// An answer from upstream as this client wants it: with its id, with its letters in the question, and cut when it
    /// is longer than `limit`. `answer` is one to this question.
    pub(crate) fn pass_on(&self, mut answer: Vec<u8>, limit: usize) -> Option<Vec<u8>> {
        let question = self.question();
        if let Some(rcode) = bare_error(&answer) {
            // Without the question no client would take it for his.
            return self.reply(rcode.into(), &[], limit);
        }
        answer.get_mut(HEADER..HEADER + question.len())?.copy_from_slice(question);
        answer.get_mut(..2)?.copy_from_slice(&self.message.header().id().to_be_bytes());
        if answer.len() <= limit {
            return Some(answer);
        }
        let mut builder = MessageBuilder::new_vec();
        *builder.header_mut() = Message::from_slice(&answer).ok()?.header();
        builder.header_mut().set_tc(true);
        let mut builder = builder.question();
        builder.push((self.name, self.rtype, Class::IN)).ok()?;
        let mut builder = builder.additional();
        self.push_opt(&mut builder, OptRcode::NOERROR)?;
        Some(builder.finish())
    }

    fn push_opt<T: domain::base::wire::Composer>(
        &self,
        builder: &mut AdditionalBuilder<T>,
        rcode: OptRcode,
    ) -> Option<()> {
        let Some(edns) = self.edns else { return Some(()) };
        // Setting a code in the record sets the header's part as well.
        let low = builder.header().rcode();
        builder
            .opt(|opt| {
                opt.set_udp_payload_size(OUR_SIZE);
                opt.set_dnssec_ok(edns.dnssec_ok);
                opt.set_rcode(rcode);
                Ok(())
            })
            .ok()?;
        if rcode == OptRcode::NOERROR {
            builder.header_mut().set_rcode(low);
        }
        Some(())
    }
}

/// True when a packet from upstream is the answer to what was sent; also one of a server that understood nothing of it (as
/// of EDNS) and tells so by a header alone. [RFC 6891, 7]
pub(crate) fn is_answer(packet: &[u8], sent: &[u8]) -> bool {
    let (Ok(answer), Ok(sent_message)) = (Message::from_slice(packet), Message::from_slice(sent)) else { return false };
    let (header, sent_header) = (answer.header(), sent_message.header());
    let Ok(question) = sent_message.sole_question() else { return false };
    let length = usize::from(question.qname().compose_len()) + TYPE_AND_CLASS;
    let question = |packet: &[u8]| -> Option<(Vec<u8>, Vec<u8>)> {
        let (name, rest) = packet.get(HEADER..HEADER + length)?.split_at(length - TYPE_AND_CLASS);
        Some((name.to_ascii_lowercase(), rest.to_vec()))
    };
    if bare_error(packet).is_some() {
        return header.id() == sent_header.id() && header.opcode() == sent_header.opcode();
    }
    header.qr()
        && header.id() == sent_header.id()
        && header.opcode() == sent_header.opcode()
        && answer.header_counts().qdcount() == 1
        && question(packet).is_some_and(|echo| question(sent).is_some_and(|asked| echo == asked))
}

/// The error that is all that an answer says: it does not repeat the question.
fn bare_error(packet: &[u8]) -> Option<Rcode> {
    let message = Message::from_slice(packet).ok().filter(|_| packet.len() == HEADER)?;
    let (header, rcode) = (message.header(), message.header().rcode());
    let says_no = matches!(rcode, Rcode::FORMERR | Rcode::NOTIMP | Rcode::SERVFAIL | Rcode::REFUSED);
    (says_no && header.qr() && message.header_counts().qdcount() == 0).then_some(rcode)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A question as bytes: header of these flags, name, type and class, and what follows.
    fn packet(flags: u16, counts: [u16; 4], rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0xab, 0xcd];
        packet.extend(flags.to_be_bytes());
        counts.iter().for_each(|count| packet.extend(count.to_be_bytes()));
        packet.extend(rest);
        packet
    }

    #[test]
    fn an_error_without_the_question_is_an_answer() {
        let sent = packet(RD, [1, 0, 0, 1], &[DB_A, OPT].concat());
        for (flags, expected) in [(0x8181, true), (0x8184, true), (0x8182, true), (0x8185, true), (0x8180, false)] {
            let bare = packet(flags, [0; 4], b"");
            assert_eq!(is_answer(&bare, &sent), expected, "{flags:x}");
            let other = [&[0xab, 0xce][..], &bare[2..]].concat();
            assert!(!is_answer(&other, &sent), "another's number");
        }
        assert!(!is_answer(&packet(0x0101, [0; 4], b""), &sent), "a question");
        let Heard::Query(query) = hear(&sent) else { panic!("it is one") };
        let told = query.pass_on(packet(0x8181, [0; 4], b""), 512).unwrap();
        let told = Message::from_octets(told).unwrap();
        assert!(told.is_answer(Message::from_slice(&sent).unwrap()));
        assert_eq!(told.header().rcode(), Rcode::FORMERR);
    }

    const RD: u16 = 0x0100;
    const DB_A: &[u8] = b"\x02dB\x00\x00\x01\x00\x01";
    const OPT: &[u8] = b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00";
    const OPT_VERSION_1: &[u8] = b"\x00\x00\x29\x04\xd0\x00\x01\x00\x00\x00\x00";
    const COOKIE: &[u8] = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x0c\x00\x0a\x00\x0812345678";

    #[test]
    fn what_is_heard_is_told_apart() {
        let one = [1, 0, 0, 0];
        for (name, packet, expected) in [
            ("nothing", vec![], "-"),
            ("half a header", packet(RD, one, b"")[..11].to_vec(), "-"),
            ("an answer", packet(0x8180, one, DB_A), "-"),
            ("an update", packet(0x2800, one, DB_A), "NOTIMP"),
            ("a notify", packet(0x2000, one, DB_A), "NOTIMP"),
            ("no question", packet(RD, [0; 4], b""), "FORMERR"),
            ("two questions", packet(RD, [2, 0, 0, 0], &[DB_A, DB_A].concat()), "FORMERR"),
            ("half a question", packet(RD, one, b"\x02dB\x00\x00\x01\x00"), "FORMERR"),
            ("a name without end", packet(RD, one, b"\x02dB"), "FORMERR"),
            ("a name that points to itself", packet(RD, one, b"\xc0\x0c\x00\x01\x00\x01"), "FORMERR"),
            ("a name that points to the header", packet(RD, one, b"\xc0\x04\x00\x01\x00\x01"), "FORMERR"),
            ("a name that points on", packet(RD, one, b"\x01a\xc0\x04\x00\x01\x00\x01"), "FORMERR"),
            ("fewer records than it says", packet(RD, [1, 0, 0, 1], DB_A), "FORMERR"),
            ("two OPT records", packet(RD, [1, 0, 0, 2], &[DB_A, OPT, OPT].concat()), "FORMERR"),
            ("an OPT record with a name", packet(RD, [1, 0, 0, 1], &[DB_A, b"\x01a", OPT].concat()), "FORMERR"),
            ("too long", packet(RD, one, &[DB_A, &[0; LONGEST]].concat()), "FORMERR"),
            ("EDNS 1", packet(RD, [1, 0, 0, 1], &[DB_A, OPT_VERSION_1].concat()), "NOERROR question opt"),
            ("class CH", packet(RD, one, b"\x02dB\x00\x00\x01\x00\x03"), "REFUSED question"),
            ("class ANY", packet(RD, one, b"\x02dB\x00\x00\x01\x00\xff"), "REFUSED question"),
            ("a question", packet(RD, one, DB_A), "db 512"),
            ("with EDNS", packet(RD, [1, 0, 0, 1], &[DB_A, OPT].concat()), "db 1232"),
            ("and with rubbish behind it", packet(RD, one, &[DB_A, b"rubbish"].concat()), "db 512"),
            ("the root", packet(RD, one, b"\x00\x00\x02\x00\x01"), " 512"),
            ("a dot in a label", packet(RD, one, b"\x03a.b\x00\x00\x01\x00\x01"), "unknowable 512"),
            ("no text", packet(RD, one, b"\x01\xff\x00\x00\x01\x00\x01"), "unknowable 512"),
        ] {
            let heard = match hear(&packet) {
                Heard::Nothing => "-".into(),
                Heard::Query(query) => {
                    format!("{} {}", query.text.as_deref().unwrap_or("unknowable"), query.udp_size())
                }
                Heard::Wrong(reply) => {
                    let reply = Message::from_octets(reply).unwrap();
                    assert!(reply.header().qr() && reply.header().id() == 0xabcd, "{name}");
                    assert_eq!(reply.header().opcode(), Message::from_octets(&packet).unwrap().header().opcode());
                    let question = if reply.sole_question().is_ok() { " question" } else { "" };
                    let opt = if reply.opt().is_some() { " opt" } else { "" };
                    format!("{}{question}{opt}", reply.header().rcode())
                }
            };
            assert_eq!(heard, expected, "{name}");
        }
    }

    #[test]
    fn edns_of_a_later_version_is_told_so() {
        let packet = packet(RD, [1, 0, 0, 1], &[DB_A, OPT_VERSION_1].concat());
        let Heard::Wrong(reply) = hear(&packet) else { panic!() };
        assert_eq!(Message::from_octets(reply).unwrap().opt_rcode(), OptRcode::BADVERS);
    }

    fn query(packet: &[u8]) -> Query<'_> {
        match hear(packet) {
            Heard::Query(query) => query,
            _ => panic!("no question"),
        }
    }

    #[test]
    fn what_is_sent_on_is_the_question_and_its_options() {
        let one = [1, 0, 0, 0];
        let opt = [1, 0, 0, 1];
        for (packet, expected) in [
            (packet(RD, one, DB_A), packet(RD, one, DB_A)),
            (packet(RD, one, &[DB_A, b"rubbish"].concat()), packet(RD, one, DB_A)),
            (packet(0x0130, opt, &[DB_A, OPT].concat()), packet(0x0130, opt, &[DB_A, OPT].concat())),
            (packet(RD, opt, &[DB_A, COOKIE].concat()), packet(RD, opt, &[DB_A, COOKIE].concat())),
            // What is signed for us is nobody else's matter.
            (packet(RD, opt, &[DB_A, b"\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x00"].concat()), packet(RD, one, DB_A)),
        ] {
            assert_eq!(query(&packet).to_send().unwrap(), expected);
        }
    }

    #[test]
    fn questions_of_one_key_have_one_answer() {
        let opt = [1, 0, 0, 1];
        let one = [1, 0, 0, 0];
        let packets = [
            packet(RD, one, DB_A),
            packet(RD, one, b"\x02dB\x00\x00\x1c\x00\x01"),
            packet(RD, one, b"\x02dc\x00\x00\x01\x00\x01"),
            packet(RD, opt, &[DB_A, OPT].concat()),
            packet(RD | 0x10, one, DB_A),
            packet(RD | 0x20, one, DB_A),
            packet(0, one, DB_A),
        ];
        for (nth, one) in packets.iter().enumerate() {
            for (other_nth, other) in packets.iter().enumerate() {
                assert_eq!(query(one).key() == query(other).key(), nth == other_nth, "{nth} {other_nth}");
            }
        }
        assert_eq!(query(&packet(RD, one, b"\x02Db\x00\x00\x01\x00\x01")).key(), query(&packets[0]).key());
        assert!(query(&packets[0]).is_anybodys() && query(&packets[3]).is_anybodys());
        assert!(!query(&packets[6]).is_anybodys(), "not asked to recurse");
        assert!(!query(&packet(RD, opt, &[DB_A, COOKIE].concat())).is_anybodys());
    }

    #[test]
    fn an_answer_is_one_to_what_was_sent() {
        let one = [1, 0, 0, 0];
        let sent = packet(RD, one, DB_A);
        let mut other_id = packet(0x8180, one, DB_A);
        other_id[0] ^= 1;
        for (name, answer, expected) in [
            ("itself", packet(0x8180, one, DB_A), true),
            ("with other letters", packet(0x8180, one, b"\x02Db\x00\x00\x01\x00\x01"), true),
            ("a question", packet(RD, one, DB_A), false),
            ("of another id", other_id, false),
            ("of another opcode", packet(0xa180, one, DB_A), false),
            ("to another name", packet(0x8180, one, b"\x02dc\x00\x00\x01\x00\x01"), false),
            ("to another type", packet(0x8180, one, b"\x02dB\x00\x00\x1c\x00\x01"), false),
            ("to another class", packet(0x8180, one, b"\x02dB\x00\x00\x01\x00\x03"), false),
            ("to nothing", packet(0x8180, [0; 4], b""), false),
            ("to two questions", packet(0x8180, [2, 0, 0, 0], &[DB_A, DB_A].concat()), false),
            ("cut off", packet(0x8180, one, DB_A)[..15].to_vec(), false),
        ] {
            assert_eq!(is_answer(&answer, &sent), expected, "{name}");
        }
    }

    #[test]
    fn an_answer_from_upstream_fits_its_client() {
        let one = [1, 0, 0, 0];
        let mut answer = packet(0x8583, one, b"\x02Db\x00\x00\x01\x00\x01");
        answer[0] = 0;
        let plain = packet(RD, one, DB_A);
        assert_eq!(query(&plain).pass_on(answer.clone(), 512).unwrap(), packet(0x8583, one, DB_A));
        answer.resize(513, 0);
        assert_eq!(query(&plain).pass_on(answer.clone(), 513).unwrap().len(), 513);
        assert_eq!(query(&plain).pass_on(answer.clone(), 512).unwrap(), packet(0x8783, one, DB_A), "cut: TC");
        let edns = packet(RD, [1, 0, 0, 1], &[DB_A, OPT].concat());
        let cut = query(&edns).pass_on(answer, 512).unwrap();
        assert_eq!(cut, packet(0x8783, [1, 0, 0, 1], &[DB_A, OPT].concat()));
        assert_eq!(query(&plain).pass_on(vec![0; 12], 512), None);
    }
}
