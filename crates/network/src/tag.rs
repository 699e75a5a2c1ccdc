//! Which network: a short name for files in the run directory and for links on the host.

use crate::{BRIDGE, Config, Driver, LINK_PREFIX};
use std::fmt;

/// The name of the default network.
const DEFAULT: &str = "bridge";

/// The first 12 digits of a network's id; all zeros is the default network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag([u8; 6]);

impl Tag {
    /// Of the default network.
    pub const DEFAULT: Tag = Tag([0; 6]);
    /// Of no network: where a container is that has left all, and whose published ports wait.
    pub(crate) const NOWHERE: Tag = Tag([0xff; 6]);

    /// Of a network by its id. An empty one is the default network's.
    pub fn of(id: &str) -> Option<Tag> {
        if id.is_empty() { Some(Tag::DEFAULT) } else { Tag::parse(id.get(..12)?) }
    }

    /// As it is written: 12 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Tag> {
        let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() != 12 || !is_hex {
            return None;
        }
        let number = u64::from_str_radix(text, 16).ok()?;
        let [_, _, bytes @ ..] = number.to_be_bytes();
        Some(Tag(bytes))
    }

    /// The host's end of a container's cable to the network: `mc` and 12 digits, of the container's id in the default
    /// network, else of what id and network give together. [IFNAMSIZ: 15 characters]
    pub(crate) fn host_link(self, container: &str) -> String {
        let Tag(own) = container.get(..12).and_then(Tag::parse).unwrap_or_default();
        let mut both = self.0;
        both.iter_mut().zip(own).for_each(|(byte, own)| *byte ^= own);
        format!("{LINK_PREFIX}{}", Tag(both))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Config {
    /// The default network: it is there without being made, and what it leaves open the host decides.
    pub fn of_default() -> Config {
        Config { name: DEFAULT.to_owned(), no_names: true, ..Config::default() }
    }

    /// Whether it is the default network: no other one has its name.
    pub fn is_default(&self) -> bool {
        self.name == DEFAULT
    }

    /// Whether names are told on it.
    pub fn tells_names(&self) -> bool {
        !self.no_names && !self.is_default() && self.driver == Driver::Bridge
    }

    /// Its short name.
    pub fn tag(&self) -> Tag {
        if self.is_default() { Tag::DEFAULT } else { Tag::of(&self.id).unwrap_or_default() }
    }

    /// The name of its bridge on the host.
    pub fn bridge_name(&self) -> String {
        match &self.bridge {
            Some(name) => name.clone(),
            None if self.is_default() => BRIDGE.to_owned(),
            None => format!("mcn{}", self.tag()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_named_by_container_and_network() {
        let container = format!("{:064x}", 0x12);
        let (container, tag) = (container.replace('0', "a"), Tag::of(&"0f".repeat(32)).unwrap());
        assert_eq!(Tag::DEFAULT.host_link(&container), "mcaaaaaaaaaaaa");
        assert_eq!(tag.host_link(&container), "mca5a5a5a5a5a5");
        assert_eq!(Tag::parse(&tag.to_string()), Some(tag));
        for bad in ["", "0f0f0f0f0f0", "0f0f0f0f0f0f0", "0F0f0f0f0f0f", "xf0f0f0f0f0f", "+f0f0f0f0f0f"] {
            assert_eq!(Tag::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn bridges_have_names_that_fit() {
        let config = Config { id: "f".repeat(64), ..Config::default() };
        assert_eq!((config.bridge_name().as_str(), config.bridge_name().len()), ("mcnffffffffffff", 15));
        assert_eq!(Config::of_default().bridge_name(), BRIDGE);
        assert_eq!(Config { bridge: Some("br7".into()), ..config }.bridge_name(), "br7");
    }
}
