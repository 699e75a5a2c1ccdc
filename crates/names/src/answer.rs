//! Answers of our own, from what is known of the containers.
//!
//! Who asks gets:
//!
//! - for a name that it sees, the addresses: those on this network first, those of several containers each time in
//!   another order; for other types than addresses an answer without records, never "no such name", which a client
//!   would take for the addresses as well;
//! - for an address that it sees, the container's first name;
//! - for `localhost` and what is below it, the loopback address [RFC 6761, 6.3];
//! - for what is nobody else's business, that there is no such name: addresses of the network's own subnets and of the
//!   loopback that no container has, and names of one label, which are some container that is not (yet, any more)
//!   there. Docker passes these on; we tell nobody outside what containers look for, and a name that is misspelled
//!   fails at once. Of such names only DS and DNSKEY are passed on, which are about top-level domains and asked by
//!   those who check signatures.
//!
//! All else is for upstream.

use crate::query::{Data, Query};
use crate::zone::View;
use domain::base::Name;
use domain::base::iana::{OptRcode, Rtype};
use domain::base::name::NameBuilder;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses whose names are known here or nowhere: first address and bits.
pub type Subnet = (IpAddr, u8);

const LOOPBACKS: [Subnet; 2] = [(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8), (IpAddr::V6(Ipv6Addr::LOCALHOST), 128)];
const LOCALHOST: &str = "localhost";

/// What is answered to a question; none is for upstream.
enum Answer {
    Records(Vec<Data>),
    NoSuchName,
    Refused,
}

/// The answer in at most `limit` bytes, or `None` when it is to be got from upstream. `turn` is another each time.
pub(crate) fn answer(
    query: &Query<'_>,
    view: &View<'_>,
    subnets: &[Subnet],
    turn: usize,
    limit: usize,
) -> Option<Vec<u8>> {
    let (rcode, data) = match decide(query, view, subnets, turn)? {
        Answer::Records(data) => (OptRcode::NOERROR, data),
        Answer::NoSuchName => (OptRcode::NXDOMAIN, Vec::new()),
        Answer::Refused => (OptRcode::REFUSED, Vec::new()),
    };
    query.reply(rcode, &data, limit)
}

fn decide(query: &Query<'_>, view: &View<'_>, subnets: &[Subnet], turn: usize) -> Option<Answer> {
    // Zones are not given away, and upstream's would come in more than one message.
    if matches!(query.rtype, Rtype::AXFR | Rtype::IXFR) {
        return Some(Answer::Refused);
    }
    let is_single = query.labels() == 1 && !matches!(query.rtype, Rtype::DS | Rtype::DNSKEY);
    let Some(name) = query.text.as_deref() else { return is_single.then_some(Answer::NoSuchName) };
    if name == LOCALHOST || name.ends_with(".localhost") {
        let data = addresses(query.rtype, [(Ipv4Addr::LOCALHOST, Some(Ipv6Addr::LOCALHOST))]);
        return Some(Answer::Records(data));
    }
    if let Some(reverse) = Reverse::parse(name) {
        return reverse.answer(query.rtype, view, subnets);
    }
    let found = view.find(name);
    if found.is_empty() {
        return is_single.then_some(Answer::NoSuchName);
    }
    let in_turn = found.into_iter().flat_map(|holders| {
        let (late, early) = holders.split_at(turn % holders.len().max(1));
        early.iter().chain(late).map(|addresses| (addresses.v4, addresses.v6))
    });
    Some(Answer::Records(addresses(query.rtype, in_turn)))
}

fn addresses(rtype: Rtype, of: impl IntoIterator<Item = (Ipv4Addr, Option<Ipv6Addr>)>) -> Vec<Data> {
    let (wants_v4, wants_v6) = match rtype {
        Rtype::A => (true, false),
        Rtype::AAAA => (false, true),
        Rtype::ANY => (true, true),
        _ => (false, false),
    };
    let mut data = Vec::new();
    for (v4, v6) in of {
        data.extend(wants_v4.then_some(Data::V4(v4)));
        data.extend(v6.filter(|_| wants_v6).map(Data::V6));
    }
    data
}

/// An address, or the beginning of one, that is written as a name. [RFC 1035, 3.5; RFC 3596, 2.5]
#[derive(Debug, PartialEq, Eq)]
struct Reverse {
    /// Its first bits, the others 0.
    address: IpAddr,
    bits: u32,
    /// There are labels before it.
    is_deeper: bool,
}

impl Reverse {
    fn parse(name: &str) -> Option<Reverse> {
        if let Some(name) = name.strip_suffix(".in-addr.arpa") {
            let (parts, is_deeper) = parts(name, 4, |part| part.parse().ok().filter(|n: &u8| n.to_string() == part))?;
            let mut octets = [0; 4];
            octets.iter_mut().zip(&parts).for_each(|(octet, part)| *octet = *part);
            return Some(Reverse { address: Ipv4Addr::from(octets).into(), bits: 8 * parts.len() as u32, is_deeper });
        }
        let name = name.strip_suffix(".ip6.arpa")?;
        let digit = |part: &str| u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 1 && part != "+");
        let (parts, is_deeper) = parts(name, 32, digit)?;
        let digits = (0..32).map(|nth| u128::from(parts.get(nth).copied().unwrap_or(0)));
        let address = digits.fold(0, |address, digit| address << 4 | digit);
        Some(Reverse { address: Ipv6Addr::from(address).into(), bits: 4 * parts.len() as u32, is_deeper })
    }

    /// What is below a subnet is known here; what is above it is not.
    fn is_in(&self, (subnet, prefix): Subnet) -> bool {
        let (ours, theirs, width) = match (self.address, subnet) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => (u128::from(ours.to_bits()), u128::from(theirs.to_bits()), 32),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => (ours.to_bits(), theirs.to_bits(), 128),
            _ => return false,
        };
        let prefix = u32::from(prefix).min(width);
        let host_bits = width - prefix;
        // A shift by all 128 bits is none for the processor: nothing is left to compare.
        self.bits >= prefix && (ours ^ theirs).checked_shr(host_bits).unwrap_or(0) == 0
    }

    fn is_whole(&self) -> bool {
        let width = if self.address.is_ipv4() { 32 } else { 128 };
        self.bits == width && !self.is_deeper
    }

    fn answer(&self, rtype: Rtype, view: &View<'_>, subnets: &[Subnet]) -> Option<Answer> {
        let name = if !self.is_whole() {
            None
        } else if self.address == Ipv4Addr::LOCALHOST || self.address == Ipv6Addr::LOCALHOST {
            Some(LOCALHOST)
        } else {
            view.name_of(self.address)
        };
        if let Some(name) = name {
            let name = wire_name(name).filter(|_| matches!(rtype, Rtype::PTR | Rtype::ANY));
            return Some(Answer::Records(name.into_iter().map(Data::Name).collect()));
        }
        if !LOOPBACKS.iter().chain(subnets).any(|subnet| self.is_in(*subnet)) {
            return None;
        }
        // There may be names below the beginning of an address, so that it is there, too. [RFC 8020]
        let is_beginning = !self.is_whole() && !self.is_deeper;
        Some(if is_beginning { Answer::Records(Vec::new()) } else { Answer::NoSuchName })
    }
}

/// The parts of a reversed name, the most significant first, of which there are at most `most`; true when there are
/// other labels before them.
fn parts(name: &str, most: usize, part: impl Fn(&str) -> Option<u8>) -> Option<(Vec<u8>, bool)> {
    let mut labels = name.rsplit('.');
    let mut parts = Vec::new();
    for label in labels.by_ref().take(most) {
        match part(label) {
            Some(part) => parts.push(part),
            None => return (!parts.is_empty()).then_some((parts, true)),
        }
    }
    Some((parts, labels.next().is_some()))
}

/// `None` when a container is called what cannot be said.
fn wire_name(name: &str) -> Option<Name<Vec<u8>>> {
    let mut builder = NameBuilder::new_vec();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        builder.append_label(label.as_bytes()).ok()?;
    }
    if builder.is_empty() { None } else { builder.into_name().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Entry;
    use crate::query::{Heard, hear};
    use crate::zone::Zone;
    use domain::base::{Message, MessageBuilder};
    use domain::rdata::AllRecordData;
    use std::str::FromStr;

    const NET: &str = "aaaaaaaaaaaa";
    const OTHER: &str = "bbbbbbbbbbbb";

    fn zone() -> Zone {
        Zone::of(
            [
                (NET, 1, "10.1.0.2", Some("fd00::2"), "Db database 0123456789ab"),
                (NET, 2, "10.1.0.3", None, "web all db.example.org"),
                (NET, 3, "10.1.0.4", Some("fd00::4"), "web2 all"),
                (NET, 4, "10.1.0.5", None, "localhost an.alias"),
                (NET, 5, "10.1.0.6", None, &"x".repeat(64)),
                (OTHER, 1, "10.2.0.2", None, "db"),
                (OTHER, 6, "10.2.0.3", None, "all far"),
                (OTHER, 7, "10.2.0.4", None, "all"),
            ]
            .map(|(network, id, v4, v6, names)| {
                let names = names.split_whitespace().map(str::to_owned).collect();
                let entry =
                    Entry { v4: v4.parse().unwrap(), v6: v6.map(|v6| v6.parse().unwrap()), names, servers: Vec::new() };
                (network.to_owned(), format!("{id:064x}"), entry)
            }),
        )
    }

    fn packet(name: &str, rtype: &str) -> Vec<u8> {
        let mut builder = MessageBuilder::new_vec().question();
        builder.header_mut().set_rd(true);
        builder.push((Name::<Vec<u8>>::from_str(name).unwrap(), Rtype::from_str(rtype).unwrap())).unwrap();
        builder.finish()
    }

    /// What is answered, in short: the code and the records, or `upstream`.
    fn ask(zone: &Zone, client: &str, question: &str, turn: usize, limit: usize) -> String {
        let (name, rtype) = question.split_once(' ').unwrap();
        let packet = packet(name, rtype);
        let Heard::Query(query) = hear(&packet) else { panic!("{question}") };
        let view = zone.view(NET, client.parse().unwrap());
        let subnets = [("10.1.0.0".parse().unwrap(), 16), ("fd00::".parse().unwrap(), 64)];
        let Some(reply) = answer(&query, &view, &subnets, turn, limit) else { return "upstream".into() };
        assert!(reply.len() <= limit);
        let reply = Message::from_octets(reply).unwrap();
        assert!(reply.is_answer(&Message::from_octets(&packet).unwrap()), "{question}");
        let mut said = reply.header().rcode().to_string();
        assert!(reply.header().aa() == (said != "REFUSED") && reply.header().ra() && reply.header().rd());
        for record in reply.answer().unwrap().limit_to::<AllRecordData<_, _>>() {
            let record = record.unwrap();
            assert_eq!((record.owner().to_string(), record.ttl().as_secs()), (name.trim_end_matches('.').into(), 0));
            said += &format!(" {}", record.data());
        }
        if reply.header().tc() { said + " cut" } else { said }
    }

    #[test]
    fn what_each_question_is_answered() {
        let zone = zone();
        const ALONE: &str = "10.1.0.3";
        const BOTH: &str = "10.1.0.2";
        for (client, question, expected) in [
            (ALONE, "db A", "NOERROR 10.1.0.2"),
            (ALONE, "dB. A", "NOERROR 10.1.0.2"),
            (ALONE, "DATABASE A", "NOERROR 10.1.0.2"),
            (ALONE, "0123456789ab A", "NOERROR 10.1.0.2"),
            (ALONE, "db AAAA", "NOERROR fd00::2"),
            (ALONE, "db ANY", "NOERROR 10.1.0.2 fd00::2"),
            (ALONE, "web AAAA", "NOERROR"),
            (ALONE, "web MX", "NOERROR"),
            (ALONE, "web HTTPS", "NOERROR"),
            (ALONE, "web TXT", "NOERROR"),
            (ALONE, "web DS", "NOERROR"),
            (ALONE, "web PTR", "NOERROR"),
            (ALONE, "web AXFR", "REFUSED"),
            (ALONE, "db.example.org A", "NOERROR 10.1.0.3"),
            (ALONE, "an.alias A", "NOERROR 10.1.0.5"),
            (ALONE, "far A", "NXDOMAIN"),
            (BOTH, "far A", "NOERROR 10.2.0.3"),
            (BOTH, "db A", "NOERROR 10.1.0.2 10.2.0.2"),
            (BOTH, "db AAAA", "NOERROR fd00::2"),
            // The host.
            ("10.1.0.1", "all A", "NOERROR 10.1.0.3 10.1.0.4"),
            ("10.1.0.1", "far A", "NXDOMAIN"),
            // Of one label, and not known.
            (ALONE, "nosuch A", "NXDOMAIN"),
            (ALONE, "nosuch MX", "NXDOMAIN"),
            (ALONE, "\\255 A", "NXDOMAIN"),
            (ALONE, "com DS", "upstream"),
            (ALONE, "com DNSKEY", "upstream"),
            (ALONE, ". NS", "upstream"),
            (ALONE, "example.org A", "upstream"),
            (ALONE, "example.org AXFR", "REFUSED"),
            (ALONE, "\\255.org A", "upstream"),
            (ALONE, "web.db A", "upstream"),
            // Never a container, whatever it is called.
            (ALONE, "localhost A", "NOERROR 127.0.0.1"),
            (ALONE, "LocalHost AAAA", "NOERROR ::1"),
            (ALONE, "x.localhost A", "NOERROR 127.0.0.1"),
            (ALONE, "localhost MX", "NOERROR"),
            (ALONE, "notlocalhost A", "NXDOMAIN"),
            // Addresses.
            (ALONE, "2.0.1.10.in-addr.arpa PTR", "NOERROR Db."),
            (ALONE, "2.0.1.10.IN-ADDR.ARPA ANY", "NOERROR Db."),
            (ALONE, "2.0.1.10.in-addr.arpa A", "NOERROR"),
            (ALONE, "9.0.1.10.in-addr.arpa PTR", "NXDOMAIN"),
            (ALONE, "6.0.1.10.in-addr.arpa PTR", "NOERROR"),
            (ALONE, "x.2.0.1.10.in-addr.arpa PTR", "NXDOMAIN"),
            (ALONE, "0.1.10.in-addr.arpa PTR", "NOERROR"),
            (ALONE, "1.10.in-addr.arpa SOA", "NOERROR"),
            (ALONE, "x.0.1.10.in-addr.arpa PTR", "NXDOMAIN"),
            (ALONE, "10.in-addr.arpa SOA", "upstream"),
            (ALONE, "x.10.in-addr.arpa SOA", "upstream"),
            (ALONE, "in-addr.arpa SOA", "upstream"),
            (ALONE, "3.0.2.10.in-addr.arpa PTR", "upstream"),
            (BOTH, "3.0.2.10.in-addr.arpa PTR", "NOERROR all."),
            (BOTH, "9.0.2.10.in-addr.arpa PTR", "upstream"),
            (ALONE, "02.0.1.10.in-addr.arpa PTR", "NXDOMAIN"),
            (ALONE, "8.8.8.8.in-addr.arpa PTR", "upstream"),
            (ALONE, "1.0.0.127.in-addr.arpa PTR", "NOERROR localhost."),
            (ALONE, "2.0.0.127.in-addr.arpa PTR", "NXDOMAIN"),
        ] {
            let answered = ask(&zone, client, question, 0, 512);
            assert_eq!(answered, expected, "{client}: {question}");
        }
        let v6 = |last: &str, middle: &str| {
            let zeros = "0.".repeat(14);
            format!("{last}.0.{zeros}{middle}.{}d.f.ip6.arpa PTR", &zeros[2..])
        };
        assert_eq!(ask(&zone, ALONE, &v6("4", "0"), 0, 512), "NOERROR web2.");
        assert_eq!(ask(&zone, ALONE, &v6("5", "0"), 0, 512), "NXDOMAIN");
        assert_eq!(ask(&zone, ALONE, &v6("10", "0"), 0, 512), "NXDOMAIN", "no digit, but below the subnet");
        assert_eq!(ask(&zone, ALONE, &v6("4", "1"), 0, 512), "upstream", "of another subnet");
        assert_eq!(ask(&zone, ALONE, &format!("1.{}ip6.arpa PTR", "0.".repeat(31)), 0, 512), "NOERROR localhost.");
    }

    #[test]
    fn several_containers_of_a_name_take_turns() {
        let zone = zone();
        for (turn, expected) in [
            (0, "NOERROR 10.1.0.3 10.1.0.4 10.2.0.3 10.2.0.4"),
            (1, "NOERROR 10.1.0.4 10.1.0.3 10.2.0.4 10.2.0.3"),
            (2, "NOERROR 10.1.0.3 10.1.0.4 10.2.0.3 10.2.0.4"),
            (usize::MAX, "NOERROR 10.1.0.4 10.1.0.3 10.2.0.4 10.2.0.3"),
        ] {
            assert_eq!(ask(&zone, "10.1.0.2", "all A", turn, 512), expected);
        }
    }

    #[test]
    fn as_many_as_fit_are_told() {
        let zone = Zone::of((2..=101).map(|nth| {
            let entry = Entry { v4: [10, 1, 0, nth].into(), v6: None, names: vec!["many".into()], servers: Vec::new() };
            (NET.to_owned(), format!("{nth:064x}"), entry)
        }));
        for (limit, expected) in [(512, 30), (1232, 75), (65535, 100)] {
            let said = ask(&zone, "10.1.0.1", "many A", 0, limit);
            assert_eq!(said.matches(" 10.").count(), expected);
            assert_eq!(said.ends_with(" cut"), expected < 100);
        }
    }

    #[test]
    fn a_subnet_is_told_by_its_bits() {
        for (name, subnet, expected) in [
            ("1.0.0.10.in-addr.arpa", ("10.0.0.0", 8), true),
            ("1.0.0.10.in-addr.arpa", ("10.0.0.0", 32), false),
            ("1.0.0.10.in-addr.arpa", ("0.0.0.0", 0), true),
            ("1.0.0.10.in-addr.arpa", ("::", 0), false),
            ("17.0.0.10.in-addr.arpa", ("10.0.0.16", 28), true),
            ("15.0.0.10.in-addr.arpa", ("10.0.0.16", 28), false),
            ("0.0.10.in-addr.arpa", ("10.0.0.16", 28), false),
            ("1.ip6.arpa", ("::", 0), true),
            ("f.d.ip6.arpa", ("fd00::", 8), false),
            ("d.f.ip6.arpa", ("fd00::", 8), true),
            ("d.f.ip6.arpa", ("fd00::", 9), false),
        ] {
            let reverse = Reverse::parse(name).unwrap();
            assert_eq!(reverse.is_in((subnet.0.parse().unwrap(), subnet.1)), expected, "{name} {subnet:?}");
        }
        for name in ["256.in-addr.arpa", "x.in-addr.arpa", ".in-addr.arpa", "g.ip6.arpa", "+.ip6.arpa", "in-addr.arpa"]
        {
            assert_eq!(Reverse::parse(name), None, "{name}");
        }
    }
}
