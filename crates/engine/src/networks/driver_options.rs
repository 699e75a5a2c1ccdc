//! `-o NAME=VALUE` of `network create`: what drivers can be told, as Docker and Podman name it.

use crate::parse::{self, ParseError};
use network::Driver;

/// The options of a driver, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DriverOptions {
    pub(super) mtu: Option<u32>,
    pub(super) bridge: Option<String>,
    pub(super) routed: bool,
    pub(super) no_shortcut: bool,
    pub(super) parent: Option<String>,
    pub(super) mode: Option<String>,
}

/// The names, for which drivers each is, and what it sets.
const KNOWN: &[(&str, &[Driver], Set)] = &[
    ("mtu", &[Driver::Bridge, Driver::Macvlan, Driver::Ipvlan], set_mtu),
    ("com.docker.network.driver.mtu", &[Driver::Bridge, Driver::Macvlan, Driver::Ipvlan], set_mtu),
    ("com.docker.network.bridge.name", &[Driver::Bridge], |options, name| {
        options.bridge = Some(bridge_name(name)?);
        Ok(())
    }),
    ("com.docker.network.bridge.enable_ip_masquerade", &[Driver::Bridge], |options, value| {
        options.routed = !parse::boolean(value)?;
        Ok(())
    }),
    ("shortcut", &[Driver::Bridge], |options, value| {
        options.no_shortcut = !parse::boolean(value)?;
        Ok(())
    }),
    ("parent", &[Driver::Macvlan, Driver::Ipvlan], |options, name| {
        options.parent = Some(link_name(name)?);
        Ok(())
    }),
    ("mode", &[Driver::Macvlan, Driver::Ipvlan], set_mode),
    ("macvlan_mode", &[Driver::Macvlan], set_mode),
    ("ipvlan_mode", &[Driver::Ipvlan], set_mode),
];

type Set = fn(&mut DriverOptions, &str) -> Result<(), ParseError>;

const MACVLAN_MODES: &[&str] = &["bridge", "private", "vepa", "passthru"];
const IPVLAN_MODES: &[&str] = &["l2", "l3", "l3s"];

impl DriverOptions {
    /// Reads one, of which nobody knows yet for which driver it is.
    pub(super) fn add(&mut self, name: &str, value: &str) -> Result<(), ParseError> {
        let known = KNOWN.iter().find(|(known, ..)| *known == name);
        let names = || KNOWN.iter().map(|(known, ..)| *known).collect::<Vec<_>>().join(", ");
        let unknown = || ParseError::new(name, format!("the options are {}", names()));
        let (.., set) = known.ok_or_else(unknown)?;
        set(self, value)
    }

    /// Why the driver has no use for one of these, if it has none.
    pub(super) fn refused<'a>(driver: Driver, names: impl Iterator<Item = &'a String>) -> Option<(&'a str, String)> {
        let is_its = |name: &String| KNOWN.iter().any(|(known, drivers, _)| known == name && drivers.contains(&driver));
        let its = KNOWN.iter().filter(|(_, drivers, _)| drivers.contains(&driver)).map(|(known, ..)| *known);
        let mut others = names.filter(|name| !is_its(name));
        let other = others.next()?;
        Some((other, format!("the options of {} are {}", driver.name(), its.collect::<Vec<_>>().join(", "))))
    }

    /// Why the driver has no such mode, if it has none.
    pub(super) fn refused_mode(&self, driver: Driver) -> Option<String> {
        let modes = if driver == Driver::Macvlan { MACVLAN_MODES } else { IPVLAN_MODES };
        let mode = self.mode.as_deref().filter(|mode| !modes.contains(mode))?;
        Some(format!("{} has no mode {mode:?}: it is one of {}", driver.name(), modes.join(", ")))
    }
}

fn set_mtu(options: &mut DriverOptions, value: &str) -> Result<(), ParseError> {
    // The least that IPv4 works with, and what a length of 16 bits can say. [RFC 791]
    let mtu = value.parse().ok().filter(|mtu| (68..=65535).contains(mtu));
    options.mtu = Some(mtu.ok_or_else(|| ParseError::new(value, "an MTU is a number from 68 to 65535"))?);
    Ok(())
}

fn set_mode(options: &mut DriverOptions, value: &str) -> Result<(), ParseError> {
    // Docker's `bridge` of ipvlan's flag of that name is no mode of ipvlan's.
    if !MACVLAN_MODES.iter().chain(IPVLAN_MODES).any(|mode| *mode == value) {
        let modes =
            format!("of macvlan it is one of {}, of ipvlan {}", MACVLAN_MODES.join(", "), IPVLAN_MODES.join(", "));
        return Err(ParseError::new(value, modes));
    }
    options.mode = Some(value.to_owned());
    Ok(())
}

/// The name of a link that is to be ours.
pub(super) fn bridge_name(name: &str) -> Result<String, ParseError> {
    let name = link_name(name)?;
    if name == network::BRIDGE || network::is_veth_name(&name) {
        return Err(ParseError::new(name, "that is the name of a link of the default network"));
    }
    // `all` and `default` stand for other things in /proc/sys/net, and what follows a % the kernel fills in.
    if matches!(name.as_str(), "all" | "default") || name.contains('%') {
        return Err(ParseError::new(name, "a link of that name cannot be set up"));
    }
    if name.strip_prefix("mcn").is_some_and(|rest| rest.len() == 12 && rest.bytes().all(|b| b.is_ascii_hexdigit())) {
        return Err(ParseError::new(name, "so are the bridges called that nobody gives a name"));
    }
    Ok(name)
}

/// [dev_valid_name in net/core/dev.c]
pub(super) fn link_name(name: &str) -> Result<String, ParseError> {
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ':');
    if name.is_empty() || name.len() > 15 || matches!(name, "." | "..") || !name.chars().all(is_plain) {
        return Err(ParseError::new(name, "the name of a link is 1 to 15 characters without blanks, / and :"));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let with = |change: fn(&mut DriverOptions)| {
            let mut options = DriverOptions::default();
            change(&mut options);
            Some(options)
        };
        for (name, value, expected) in [
            ("mtu", "1400", with(|o| o.mtu = Some(1400))),
            ("com.docker.network.driver.mtu", "9000", with(|o| o.mtu = Some(9000))),
            ("mtu", "67", None),
            ("mtu", "65536", None),
            ("mtu", "", None),
            ("com.docker.network.bridge.name", "br-mine", with(|o| o.bridge = Some("br-mine".into()))),
            ("com.docker.network.bridge.name", "mycontainer0", None),
            ("com.docker.network.bridge.name", "mc0123456789ab", None),
            ("com.docker.network.bridge.name", "mcn0123456789ab", None),
            ("com.docker.network.bridge.name", "mcn-mine", with(|o| o.bridge = Some("mcn-mine".into()))),
            ("com.docker.network.bridge.name", "all", None),
            ("com.docker.network.bridge.name", "default", None),
            ("com.docker.network.bridge.name", "br%d", None),
            ("com.docker.network.bridge.name", "a-name-of-16-let", None),
            ("com.docker.network.bridge.name", "a/b", None),
            ("com.docker.network.bridge.name", "a b", None),
            ("com.docker.network.bridge.name", "..", None),
            ("com.docker.network.bridge.name", "", None),
            ("com.docker.network.bridge.enable_ip_masquerade", "false", with(|o| o.routed = true)),
            ("com.docker.network.bridge.enable_ip_masquerade", "true", with(|_| ())),
            ("com.docker.network.bridge.enable_ip_masquerade", "maybe", None),
            ("shortcut", "false", with(|o| o.no_shortcut = true)),
            ("shortcut", "true", with(|_| ())),
            ("shortcut", "short", None),
            ("parent", "eth0", with(|o| o.parent = Some("eth0".into()))),
            ("mode", "l3s", with(|o| o.mode = Some("l3s".into()))),
            ("macvlan_mode", "vepa", with(|o| o.mode = Some("vepa".into()))),
            ("ipvlan_mode", "l4", None),
            ("com.docker.network.bridge.enable_icc", "false", None),
            ("", "", None),
        ] {
            let mut options = DriverOptions::default();
            let read = options.add(name, value).ok().map(|()| options);
            assert_eq!(read, expected, "{name}={value}");
        }
        let said = DriverOptions::default().add("vlan", "7").unwrap_err().to_string();
        assert!(said.starts_with("\"vlan\": the options are mtu, ") && said.contains("parent"), "{said}");
    }

    #[test]
    fn a_driver_has_its_own() {
        for (driver, name, expected) in [
            (Driver::Bridge, "mtu", true),
            (Driver::Bridge, "parent", false),
            (Driver::Macvlan, "com.docker.network.bridge.name", false),
            (Driver::Macvlan, "macvlan_mode", true),
            (Driver::Ipvlan, "macvlan_mode", false),
            (Driver::Ipvlan, "mode", true),
        ] {
            let refused = DriverOptions::refused(driver, [name.to_owned()].iter()).map(|(_, why)| why);
            assert_eq!(refused.is_none(), expected, "{driver:?} {name}: {refused:?}");
        }
        let mode = |mode: &str| DriverOptions { mode: Some(mode.into()), ..DriverOptions::default() };
        assert!(
            mode("l2").refused_mode(Driver::Macvlan).is_some() && mode("l2").refused_mode(Driver::Ipvlan).is_none()
        );
    }
}
