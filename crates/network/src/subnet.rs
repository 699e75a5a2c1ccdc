//! Which subnet the bridge gets: 172.17.0.0/16, or the next up to 172.31.0.0/16 that the host does not use.

use crate::cidr::Cidr;
use crate::error::Error;
use crate::route::Net;
use crate::tag::Tag;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Bits of the mask of every subnet we choose.
pub(crate) const PREFIX: u8 = 16;

/// The subnet of a bridge, named by its gateway, which is the bridge's own address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subnet {
    pub(crate) gateway: Ipv4Addr,
    pub(crate) prefix: u8,
}

impl Subnet {
    /// The first address, which names the subnet.
    pub(crate) fn network(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.gateway.to_bits() & mask(self.prefix))
    }

    /// The last address.
    pub(crate) fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.gateway.to_bits() | !mask(self.prefix))
    }

    /// True when a container can have this address.
    pub(crate) fn offers(&self, address: Ipv4Addr) -> bool {
        address > self.network() && address < self.broadcast() && address != self.gateway
    }
}

/// The addresses of a network that are given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pool {
    pub(crate) network: Tag,
    pub(crate) subnet: Subnet,
    /// The part of it from which they are, its first address and bits; none is all of it.
    pub(crate) range: Option<(Ipv4Addr, u8)>,
    /// Those that somebody outside has.
    pub(crate) reserved: Vec<Ipv4Addr>,
}

impl Pool {
    /// True when a container can have this address.
    pub(crate) fn offers(&self, address: Ipv4Addr) -> bool {
        self.subnet.offers(address) && !self.reserved.contains(&address)
    }

    /// The first and the last address of that part.
    pub(crate) fn bounds(&self) -> (u32, u32) {
        let (first, prefix) = self.range.unwrap_or((self.subnet.network(), self.subnet.prefix));
        (first.to_bits() & mask(prefix), first.to_bits() | !mask(prefix))
    }

    /// How many containers can have an address of it.
    pub(crate) fn size(&self) -> usize {
        let (first, last) = self.bounds();
        let ends = [self.subnet.network(), self.subnet.broadcast(), self.subnet.gateway];
        // Two may be one.
        let kept: BTreeSet<u32> = ends.iter().chain(&self.reserved).map(|end| end.to_bits()).collect();
        let kept = kept.range(first..=last).count();
        ((last - first) as usize + 1).saturating_sub(kept)
    }
}

/// Whether a route or address of the host is in the subnet's way. Routes of up to one bit are how a VPN says "everything"
/// (0.0.0.0/1 and 128.0.0.0/1) and clash no more than the default route does.
pub(crate) fn is_clash(subnet: &Subnet, net: &Net) -> bool {
    net.prefix > 1 && overlap(subnet, net)
}

/// The first candidate that overlaps none of the host's addresses and routes, nor a network that was `made` and has its
/// place for when it is used; where those have all that is left, the first of theirs. What is of the link `ours` does not
/// count.
pub(crate) fn choose(bridge: &str, ours: Option<u32>, used: &[Net], made: &[Cidr]) -> Result<Subnet, Error> {
    let clash = |subnet: &Subnet| used.iter().find(|net| Some(net.link) != ours && is_clash(subnet, net)).copied();
    let is_made =
        |subnet: &Subnet| made.iter().any(|one| one.overlaps(&Cidr::new(subnet.gateway.into(), subnet.prefix)));
    let mut made_there = None;
    let mut first = None;
    for second_byte in 17..=31 {
        let subnet = Subnet { gateway: Ipv4Addr::new(172, second_byte, 0, 1), prefix: PREFIX };
        match clash(&subnet) {
            None if is_made(&subnet) => made_there = made_there.or(Some(subnet)),
            None => return Ok(subnet),
            Some(net) => first = first.or(Some(net)),
        }
    }
    if let Some(subnet) = made_there {
        return Ok(subnet);
    }
    let first = first.map_or_else(String::new, |net| format!("{}/{}", net.address, net.prefix));
    Err(Error::NoFreeSubnet { bridge: bridge.to_owned(), first })
}

fn overlap(subnet: &Subnet, net: &Net) -> bool {
    let common = mask(subnet.prefix.min(net.prefix));
    subnet.gateway.to_bits() & common == net.address.to_bits() & common
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str, link: u32) -> Net {
        let (address, prefix) = text.split_once('/').unwrap();
        Net { address: address.parse().unwrap(), prefix: prefix.parse().unwrap(), link }
    }

    #[test]
    fn the_first_subnet_the_host_does_not_use_is_chosen() {
        let table: [(&str, &[&str], Option<u8>); 9] = [
            ("nothing used", &[], Some(17)),
            ("default routes do not clash", &["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1"], Some(17)),
            ("another private net", &["10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/16"], Some(17)),
            ("docker is here", &["172.17.0.1/16"], Some(18)),
            ("one host of it is routed", &["172.17.9.9/32"], Some(18)),
            ("a part in the middle", &["172.17.0.0/16", "172.18.128.0/20"], Some(19)),
            ("a wider route", &["172.16.0.0/13"], Some(24)),
            ("all but the last", &["172.16.0.0/13", "172.24.0.0/14", "172.28.0.0/15", "172.30.0.0/16"], Some(31)),
            ("all", &["172.16.0.0/12"], None),
        ];
        for (name, used, expected) in table {
            let used: Vec<Net> = used.iter().map(|text| net(text, 2)).collect();
            match (choose("br", Some(9), &used, &[]), expected) {
                (Ok(subnet), Some(byte)) => assert_eq!(subnet.gateway, Ipv4Addr::new(172, byte, 0, 1), "{name}"),
                (Err(error), None) => assert!(error.to_string().contains("172.16.0.0/12"), "{name}: {error}"),
                (other, _) => panic!("{name}: {other:?}"),
            }
        }
        let own = choose("br", Some(9), &[net("172.17.0.1/16", 9)], &[]).unwrap();
        assert_eq!(own.gateway, Ipv4Addr::new(172, 17, 0, 1), "our own bridge is no clash");
    }

    #[test]
    fn a_network_that_was_made_has_its_place_though_nobody_uses_it() {
        let made = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Cidr>>();
        for (name, used, made, expected) in [
            ("one", vec![], made(&["172.17.0.0/16"]), 17 + 1),
            ("a part, and the host's", vec![net("172.18.0.1/16", 2)], made(&["172.17.3.0/24", "fd00::/64"]), 19),
            ("elsewhere", vec![], made(&["10.0.0.0/8"]), 17),
            ("all: a network that works now", vec![net("172.17.0.1/16", 2)], made(&["172.16.0.0/12"]), 18),
        ] {
            let subnet = choose("br", Some(9), &used, &made).unwrap();
            assert_eq!(subnet.gateway, Ipv4Addr::new(172, expected, 0, 1), "{name}");
        }
    }

    #[test]
    fn a_subnet_offers_all_but_three() {
        let subnet = Subnet { gateway: Ipv4Addr::new(172, 17, 0, 1), prefix: 29 };
        let offered = (0..16).filter(|n| subnet.offers(Ipv4Addr::new(172, 17, 0, *n))).collect::<Vec<u8>>();
        assert_eq!(offered, [2, 3, 4, 5, 6]);
        let pool = Pool { network: Tag::DEFAULT, subnet, range: None, reserved: Vec::new() };
        assert_eq!(pool.size(), offered.len());
        // The gateway may be among them.
        let reserved = [1, 3, 9].map(|last| Ipv4Addr::new(172, 17, 0, last)).to_vec();
        let pool = Pool { reserved, ..pool };
        assert_eq!(pool.size(), 4);
        assert!(!pool.offers(Ipv4Addr::new(172, 17, 0, 3)) && pool.offers(Ipv4Addr::new(172, 17, 0, 4)));
        assert_eq!((mask(0), mask(32), mask(16)), (0, u32::MAX, 0xffff_0000));
    }
}
