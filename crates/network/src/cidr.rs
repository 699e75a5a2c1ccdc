//! Subnets of either family, as people write them: `10.9.0.0/24`, `fd00:9::/64`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// All addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    first: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The subnet with a mask of `prefix` bits that has this address.
    pub fn new(address: IpAddr, prefix: u8) -> Cidr {
        let prefix = prefix.min(width(address));
        Cidr { first: from_bits(address, bits(address) & !hosts(address, prefix)), prefix }
    }

    /// Its first address, which names it.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// Its last address.
    pub fn last(&self) -> IpAddr {
        self.nth(u128::MAX)
    }

    /// Bits of its mask.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// How many bits tell its addresses apart.
    pub fn host_bits(&self) -> u8 {
        width(self.first) - self.prefix
    }

    /// The address that is so many behind its first; its last when it has not as many.
    pub fn nth(&self, nth: u128) -> IpAddr {
        from_bits(self.first, bits(self.first) | nth.min(hosts(self.first, self.prefix)))
    }

    /// How many addresses of it are before this one; none when it does not have it.
    pub fn position(&self, address: IpAddr) -> Option<u128> {
        self.has(address).then(|| bits(address) - bits(self.first))
    }

    /// Whether it has this address.
    pub fn has(&self, address: IpAddr) -> bool {
        self.overlaps(&Cidr { first: address, prefix: width(address) })
    }

    /// Whether some address is in both.
    pub fn overlaps(&self, other: &Cidr) -> bool {
        let common = self.prefix.min(other.prefix);
        self.first.is_ipv4() == other.first.is_ipv4()
            && (bits(self.first) ^ bits(other.first)) & !hosts(self.first, common) == 0
    }

    /// Whether it is of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.first.is_ipv4()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = &'static str;

    /// Only by its first address: in another one a digit may be wrong.
    fn from_str(text: &str) -> Result<Cidr, &'static str> {
        const HOW: &str = "write ADDRESS/BITS, as 10.9.0.0/24 or fd00:9::/64";
        let (address, prefix) = text.split_once('/').ok_or(HOW)?;
        let address: IpAddr = address.parse().map_err(|_| HOW)?;
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= width(address)).ok_or(HOW)?;
        let cidr = Cidr::new(address, prefix);
        if cidr.first == address {
            Ok(cidr)
        } else {
            Err("the address has bits beyond the mask: begin at its first one")
        }
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// An address of the family of `like`.
fn from_bits(like: IpAddr, bits: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(bits)),
    }
}

/// The bits beyond a mask, all set.
fn hosts(like: IpAddr, prefix: u8) -> u128 {
    let beyond = u32::from(width(like).saturating_sub(prefix));
    1_u128.checked_shl(beyond).map_or(u128::MAX, |bit| bit - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn subnets_as_people_write_them() {
        for (text, last) in [
            ("10.9.0.0/24", Some("10.9.0.255")),
            ("0.0.0.0/0", Some("255.255.255.255")),
            ("10.9.8.7/32", Some("10.9.8.7")),
            ("fd00:9::/64", Some("fd00:9::ffff:ffff:ffff:ffff")),
            ("::/0", Some("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")),
            ("10.9.0.1/24", None),
            ("10.9.0.0/33", None),
            ("10.9.0.0/-1", None),
            ("10.9.0.0", None),
            ("10.9.0/24", None),
            ("fd00::1/64", None),
            ("fd00::/129", None),
            ("/24", None),
            ("", None),
        ] {
            let read = text.parse::<Cidr>();
            assert_eq!(read.ok().map(|cidr| cidr.last().to_string()).as_deref(), last, "{text}");
            if let Ok(cidr) = read {
                assert_eq!(cidr.to_string(), text);
            }
        }
    }

    #[test]
    fn two_overlap_when_an_address_is_in_both() {
        for (one, other, expected) in [
            ("10.0.0.0/8", "10.9.0.0/24", true),
            ("10.9.0.0/24", "10.9.1.0/24", false),
            ("10.9.0.0/24", "10.9.0.7/32", true),
            ("0.0.0.0/0", "10.9.0.0/24", true),
            ("::/0", "10.9.0.0/24", false),
            ("::/96", "0.0.0.0/0", false),
            ("fd00::/8", "fd12:3456::/48", true),
            ("fd00:1::/64", "fd00:1:0:1::/64", false),
        ] {
            assert_eq!(cidr(one).overlaps(&cidr(other)), expected, "{one} {other}");
            assert_eq!(cidr(other).overlaps(&cidr(one)), expected, "{other} {one}");
        }
    }

    #[test]
    fn addresses_have_their_places() {
        for (subnet, nth, address) in
            [("10.9.0.0/24", 1, "10.9.0.1"), ("10.9.0.0/16", 256, "10.9.1.0"), ("fd00::/64", 254, "fd00::fe")]
        {
            assert_eq!(cidr(subnet).nth(nth).to_string(), address);
            assert_eq!(cidr(subnet).position(address.parse().unwrap()), Some(nth));
        }
        assert_eq!(cidr("10.9.0.0/24").nth(1000).to_string(), "10.9.0.255");
        assert_eq!(cidr("10.9.0.0/24").position("10.9.1.0".parse().unwrap()), None);
        assert_eq!(Cidr::new("10.9.3.7".parse().unwrap(), 22).to_string(), "10.9.0.0/22");
    }
}
