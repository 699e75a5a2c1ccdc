//! What is known of a container on a network: its addresses there and its names, as one file.
//!
//! ```text
//! 172.18.0.2 fd00::2 9.9.9.9
//! db
//! database
//! 3f4c5e6a7b8c
//! ```
//!
//! First the addresses, `-` where there is none of IPv6, and then the servers that are asked for it in place of the
//! network's; then a name a line, the container's own first.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A longer file was not written by us.
pub(crate) const LONGEST: usize = 64 << 10;

/// A container on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its address there.
    pub v4: Ipv4Addr,
    /// Its other address.
    pub v6: Option<Ipv6Addr>,
    /// Its names: first the one that its addresses lead back to. Upper and lower case are the same.
    pub names: Vec<String>,
    /// Whom to ask for other names when this container asks; none is whom the network's server asks.
    pub servers: Vec<IpAddr>,
}

impl Entry {
    /// From a file's bytes; `None` when they are not of one. A line that is no name is left out.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Entry> {
        let text = std::str::from_utf8(bytes.get(..LONGEST).unwrap_or(bytes)).ok()?;
        let (addresses, names) = text.split_once('\n')?;
        let mut words = addresses.split(' ');
        let (v4, v6) = (words.next()?, words.next()?);
        let v6 = if v6 == "-" { None } else { Some(v6.parse().ok()?) };
        let servers = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
        let names = names.lines().filter(|name| is_name(name)).map(str::to_owned).collect();
        Some(Entry { v4: v4.parse().ok()?, v6, names, servers })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.v6 {
            Some(v6) => write!(f, "{} {v6}", self.v4)?,
            None => write!(f, "{} -", self.v4)?,
        }
        self.servers.iter().try_for_each(|server| write!(f, " {server}"))?;
        writeln!(f)?;
        self.names.iter().try_for_each(|name| writeln!(f, "{name}"))
    }
}

/// True when it can stand on a line and be read again as the same.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|char| char.is_whitespace() || char.is_control())
}

/// True for what names a container's file.
pub(crate) fn is_id(name: &str) -> bool {
    is_hex(name, 64)
}

/// True for what names a network's directory.
pub(crate) fn is_network(name: &str) -> bool {
    is_hex(name, 12)
}

fn is_hex(name: &str, digits: usize) -> bool {
    name.len() == digits && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_it_was_written_and_rubbish_is_not() {
        for text in ["172.18.0.2 fd00::2\ndb\ndatabase\n3f4c5e6a7b8c\n", "10.0.0.2 -\n", "10.0.0.2 -\nä.example\n"] {
            assert_eq!(Entry::parse(text.as_bytes()).unwrap().to_string(), text);
        }
        for text in [
            "",
            "172.18.0.2",
            "172.18.0.2\ndb\n",
            "172.18.0.2 \ndb\n",
            "172.18.0.2 - \ndb\n",
            "172.18.0.256 -\ndb\n",
            "fd00::2 172.18.0.2\ndb\n",
            "- fd00::2\ndb\n",
        ] {
            assert_eq!(Entry::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Entry::parse(b"172.18.0.2 -\n\xff\n"), None);
    }

    #[test]
    fn what_is_no_name_is_left_out() {
        let entry = Entry::parse(b"10.0.0.2 -\n\n a\nb c\n\x07\nd\n\n").unwrap();
        assert_eq!(entry.names, ["d"]);
        let long = [b"10.0.0.2 -\n", [b'x'; 2 * LONGEST].as_slice()].concat();
        assert!(Entry::parse(&long).unwrap().names[0].len() < LONGEST);
    }

    #[test]
    fn ids_are_hex_digits() {
        for (name, id, network) in [
            ("0123456789ab", false, true),
            (&"0123456789abcdef".repeat(4), true, false),
            ("0123456789aB", false, false),
            ("0123456789a/", false, false),
            ("..", false, false),
            ("", false, false),
        ] {
            assert_eq!((is_id(name), is_network(name)), (id, network), "{name:?}");
        }
    }
}
