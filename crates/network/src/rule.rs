//! One nf_tables rule: what it asks of a packet, and what becomes of it.
//!
//! A rule is a list of expressions that share registers: one loads a field of the packet into register 1, the next
//! compares it and ends the rule when it differs, the last gives a verdict. [linux/netfilter/nf_tables.h]

use crate::nft::Map;
use crate::wire::Attributes;
use std::net::{Ipv4Addr, Ipv6Addr};

/// `NFPROTO_IPV4`.
pub(crate) const IPV4: u8 = 2;
/// `NFPROTO_IPV6`.
pub(crate) const IPV6: u8 = 10;

/// A verdict that ends a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Verdict {
    Drop = 0,
    Accept = 1,
}

/// One rule: its expressions as they go over the wire.
#[derive(Clone, Default)]
pub(crate) struct Rule {
    expressions: Vec<u8>,
}

// Keys, bases and operators of the expressions.
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const BASE_NETWORK: u32 = 1;
const BASE_TRANSPORT: u32 = 2;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
/// `IPS_DST_NAT`.
const REDIRECTED: u32 = 1 << 5;
const FIB_ADDRESS_TYPE: u32 = 3;
const FIB_BY_DESTINATION: u32 = 2;
/// `RTN_LOCAL`.
const LOCAL: u32 = 2;
const ESTABLISHED_OR_RELATED: u32 = 2 | 4;
const SOURCE_NAT: u32 = 0;
const DESTINATION_NAT: u32 = 1;
const REGISTER_1: u32 = 1;
const REGISTER_2: u32 = 2;
/// Registers of four bytes; the first four are register 1, the next ones register 2.
const WORDS: [u32; 6] = [8, 9, 10, 11, 12, 13];

/// TCP. [IPPROTO_TCP]
pub(crate) const TCP: u8 = 6;
/// UDP. [IPPROTO_UDP]
pub(crate) const UDP: u8 = 17;

impl Rule {
    /// As they go over the wire.
    pub(crate) fn expressions(&self) -> &[u8] {
        &self.expressions
    }

    /// Comes in through the link.
    pub(crate) fn entering(self, name: &str) -> Rule {
        self.meta(META_IIFNAME).compare(EQUAL, &link_name(name))
    }

    /// Comes in through any other link.
    pub(crate) fn not_entering(self, name: &str) -> Rule {
        self.meta(META_IIFNAME).compare(NOT_EQUAL, &link_name(name))
    }

    /// Goes out through the link.
    pub(crate) fn leaving(self, name: &str) -> Rule {
        self.meta(META_OIFNAME).compare(EQUAL, &link_name(name))
    }

    /// Goes out through any other link.
    pub(crate) fn not_leaving(self, name: &str) -> Rule {
        self.meta(META_OIFNAME).compare(NOT_EQUAL, &link_name(name))
    }

    /// Comes in through a link of the set.
    pub(crate) fn entering_any(self, links: &Map) -> Rule {
        self.meta(META_IIFNAME).found_in(links)
    }

    /// Goes out through a link of the set.
    pub(crate) fn leaving_any(self, links: &Map) -> Rule {
        self.meta(META_OIFNAME).found_in(links)
    }

    /// Comes in through the first and goes out through the second link of a pair in the set.
    pub(crate) fn passing_any(self, pairs: &Map) -> Rule {
        self.meta_to(REGISTER_1, META_IIFNAME).meta_to(REGISTER_2, META_OIFNAME).found_in(pairs)
    }

    /// From the subnet. The packet must be IPv6.
    pub(crate) fn source6(self, network: Ipv6Addr, prefix: u8) -> Rule {
        let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0);
        let rule = self.payload(BASE_NETWORK, 8, 16);
        let rule = if prefix < 128 { rule.mask(&mask.to_be_bytes()) } else { rule };
        rule.compare(EQUAL, &(network.to_bits() & mask).to_be_bytes())
    }

    /// From the subnet. The packet must be IPv4.
    pub(crate) fn source(self, network: Ipv4Addr, prefix: u8) -> Rule {
        self.ipv4_in(12, network, prefix)
    }

    /// Not from the subnet. The packet must be IPv4.
    pub(crate) fn not_source(self, network: Ipv4Addr, prefix: u8) -> Rule {
        self.ipv4_compared(NOT_EQUAL, 12, network, prefix)
    }

    /// To the subnet. The packet must be IPv4.
    pub(crate) fn destination(self, network: Ipv4Addr, prefix: u8) -> Rule {
        self.ipv4_in(16, network, prefix)
    }

    /// To a port of a transport protocol.
    pub(crate) fn destination_port(self, protocol: u8, port: u16) -> Rule {
        self.meta(META_L4PROTO)
            .compare(EQUAL, &[protocol])
            .payload(BASE_TRANSPORT, 2, 2)
            .compare(EQUAL, &port.to_be_bytes())
    }

    /// To an address that is this host's own. The packet must be IP.
    pub(crate) fn for_this_host(self) -> Rule {
        self.expression("fib", |a| {
            a.number(1, REGISTER_1).number(2, FIB_ADDRESS_TYPE).number(3, FIB_BY_DESTINATION);
        })
        .compare(EQUAL, &LOCAL.to_ne_bytes())
    }

    /// Part of a connection whose destination was rewritten.
    pub(crate) fn redirected(self) -> Rule {
        self.conntrack(CT_STATUS).mask(&REDIRECTED.to_ne_bytes()).compare(NOT_EQUAL, &[0; 4])
    }

    /// Destination becomes what a map of addresses and ports has for the packet: by protocol, destination address if
    /// `by_address`, and port. What it has nothing for goes on to the next rule. The packet must be of the family.
    pub(crate) fn destination_nat_by(self, map: &Map, family: u8, by_address: bool) -> Rule {
        let [first, second, third, _, fifth, sixth] = WORDS;
        let rule = self.meta_to(first, META_L4PROTO);
        let (rule, port) = match (by_address, family) {
            (false, _) => (rule, second),
            (true, IPV4) => (rule.payload_to(second, BASE_NETWORK, 16, 4), third),
            (true, _) => (rule.payload_to(second, BASE_NETWORK, 24, 16), sixth),
        };
        let new_port = if family == IPV4 { second } else { fifth };
        rule.payload_to(port, BASE_TRANSPORT, 2, 2)
            .expression("lookup", |a| {
                a.string(1, map.name).number(2, REGISTER_1).number(3, REGISTER_1).number(4, map.id);
            })
            .expression("nat", |a| {
                a.number(1, DESTINATION_NAT).number(2, family.into()).number(3, REGISTER_1).number(5, new_port);
            })
    }

    /// Part of a connection that was let through before, or an error message about one.
    pub(crate) fn established(self) -> Rule {
        self.conntrack(CT_STATE).mask(&ESTABLISHED_OR_RELATED.to_ne_bytes()).compare(NOT_EQUAL, &[0; 4])
    }

    /// Counts packets and bytes: iptables shows no rule without.
    pub(crate) fn counter(self) -> Rule {
        self.expression("counter", |_| ())
    }

    /// Ends the chain.
    pub(crate) fn verdict(self, verdict: Verdict) -> Rule {
        self.expression("immediate", |a| {
            a.number(1, 0).nest(2, |a| {
                a.nest(2, |a| {
                    a.number(1, verdict as u32);
                });
            });
        })
    }

    /// Source address becomes that of the link by which it leaves.
    pub(crate) fn masquerade(self) -> Rule {
        self.expression("masq", |_| ())
    }

    /// Destination becomes this address and port.
    pub(crate) fn destination_nat(self, to: Ipv4Addr, port: u16) -> Rule {
        self.load(REGISTER_1, &to.octets()).load(REGISTER_2, &port.to_be_bytes()).expression("nat", |a| {
            a.number(1, DESTINATION_NAT).number(2, IPV4.into()).number(3, REGISTER_1).number(5, REGISTER_2);
        })
    }

    /// Source becomes this address.
    pub(crate) fn source_nat(self, to: Ipv4Addr) -> Rule {
        self.load(REGISTER_1, &to.octets()).expression("nat", |a| {
            a.number(1, SOURCE_NAT).number(2, IPV4.into()).number(3, REGISTER_1);
        })
    }

    /// IPv4: what a rule asks before it looks at an IPv4 header in a table that sees IPv6 too.
    pub(crate) fn ipv4(self) -> Rule {
        self.meta(META_NFPROTO).compare(EQUAL, &[IPV4])
    }

    /// IPv6.
    pub(crate) fn ipv6(self) -> Rule {
        self.meta(META_NFPROTO).compare(EQUAL, &[IPV6])
    }

    fn found_in(self, set: &Map) -> Rule {
        self.expression("lookup", |a| {
            a.string(1, set.name).number(2, REGISTER_1).number(4, set.id);
        })
    }

    fn ipv4_in(self, offset: u32, network: Ipv4Addr, prefix: u8) -> Rule {
        self.ipv4_compared(EQUAL, offset, network, prefix)
    }

    fn ipv4_compared(self, operator: u32, offset: u32, network: Ipv4Addr, prefix: u8) -> Rule {
        let rule = self.payload(BASE_NETWORK, offset, 4);
        let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
        let rule = if prefix < 32 { rule.mask(&mask.to_be_bytes()) } else { rule };
        rule.compare(operator, &(network.to_bits() & mask).to_be_bytes())
    }

    fn meta(self, key: u32) -> Rule {
        self.meta_to(REGISTER_1, key)
    }

    fn meta_to(self, register: u32, key: u32) -> Rule {
        self.expression("meta", |a| {
            a.number(2, key).number(1, register);
        })
    }

    fn conntrack(self, key: u32) -> Rule {
        self.expression("ct", |a| {
            a.number(1, REGISTER_1).number(2, key);
        })
    }

    fn payload(self, base: u32, offset: u32, length: u32) -> Rule {
        self.payload_to(REGISTER_1, base, offset, length)
    }

    fn payload_to(self, register: u32, base: u32, offset: u32, length: u32) -> Rule {
        self.expression("payload", |a| {
            a.number(1, register).number(2, base).number(3, offset).number(4, length);
        })
    }

    fn compare(self, operator: u32, value: &[u8]) -> Rule {
        self.expression("cmp", |a| {
            a.number(1, REGISTER_1).number(2, operator);
            data(a, 3, value);
        })
    }

    fn mask(self, mask: &[u8]) -> Rule {
        self.expression("bitwise", |a| {
            a.number(1, REGISTER_1).number(2, REGISTER_1).number(3, mask.len() as u32);
            data(a, 4, mask);
            data(a, 5, [0; 16].get(..mask.len()).unwrap_or_default());
        })
    }

    fn load(self, register: u32, value: &[u8]) -> Rule {
        self.expression("immediate", |a| {
            a.number(1, register);
            data(a, 2, value);
        })
    }

    fn expression(mut self, name: &str, fill: impl FnOnce(&mut Attributes)) -> Rule {
        Attributes::onto(&mut self.expressions).nest(1, |a| {
            a.string(1, name).nest(2, fill);
        });
        self
    }
}

fn data(a: &mut Attributes, kind: u16, value: &[u8]) {
    a.nest(kind, |a| {
        a.put(1, value);
    });
}

/// All 16 bytes, so that the name is compared whole. [IFNAMSIZ]
pub(crate) fn link_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_whole() {
        assert_eq!(&link_name("ab")[..3], b"ab\0");
        assert_eq!(link_name("a-name-that-is-too-long")[15], 0);
    }
}
