//! `--network`, as Docker and Podman write it, and the names of networks.

use super::mount;
use crate::ParseError;
use crate::options::{Endpoint, NetworkMode};
use std::net::Ipv4Addr;

/// What one `--network` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A mode that nothing can stand beside.
    Alone(NetworkMode),
    /// A place in a network that has a name.
    In(Endpoint),
}

/// Reads one: a mode, `NAME`, Podman's `NAME:ip=...,mac=...,alias=...`, or Docker's `name=NAME,ip=...,alias=...`.
pub(crate) fn network(text: &str) -> Result<Asked, ParseError> {
    match text {
        "none" => return Ok(Asked::Alone(NetworkMode::None)),
        "host" => return Ok(Asked::Alone(NetworkMode::Host)),
        _ => {}
    }
    match text.split_once(':') {
        Some(("container", words)) if !words.is_empty() => {
            return Ok(Asked::Alone(NetworkMode::Container(words.to_owned())));
        }
        Some(("container", _)) => return Err(ParseError::new(text, "after container: stands a container")),
        Some(("ns", path)) if path.starts_with('/') => return Ok(Asked::Alone(NetworkMode::Namespace(path.into()))),
        Some(("ns", _)) => return Err(ParseError::new(text, "after ns: stands an absolute path of the host")),
        _ => {}
    }
    let is_of_docker =
        text.split_once(['=', ':']).is_some_and(|(key, _)| text.as_bytes().get(key.len()) == Some(&b'='));
    if is_of_docker {
        return of_docker(text).map(Asked::In);
    }
    let (name, options) = text.split_once(':').unwrap_or((text, ""));
    let mut endpoint = Endpoint { network: network_named(text, name)?, ..Endpoint::default() };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        set(&mut endpoint, text, key, value)?;
    }
    Ok(Asked::In(endpoint))
}

/// `name=NAME,...`.
fn of_docker(text: &str) -> Result<Endpoint, ParseError> {
    let fields = mount::fields(text).ok_or_else(|| ParseError::new(text, "a quote is not closed"))?;
    let mut endpoint = Endpoint::default();
    for field in &fields {
        match field.split_once('=').unwrap_or((field, "")) {
            ("name", name) => endpoint.network = network_named(text, name)?,
            (key, value) => set(&mut endpoint, text, key, value)?,
        }
    }
    if endpoint.network.is_empty() { Err(ParseError::new(text, "it needs name=NETWORK")) } else { Ok(endpoint) }
}

fn set(endpoint: &mut Endpoint, text: &str, key: &str, value: &str) -> Result<(), ParseError> {
    let wrong = |why: ParseError| ParseError::new(text, why.to_string());
    match key {
        "ip" => endpoint.address = Some(ipv4(value).map_err(wrong)?),
        "mac" | "mac-address" => endpoint.mac = Some(mac(value).map_err(wrong)?),
        "alias" => endpoint.aliases.push(alias(value).map_err(wrong)?),
        "ip6" => endpoint.set_address6(value).map_err(wrong)?,
        _ => {
            let why = format!(
                "there is no option {key:?}: they are ip=ADDRESS, ip6=ADDRESS, mac-address=ADDRESS and alias=NAME"
            );
            return Err(ParseError::new(text, why));
        }
    }
    Ok(())
}

fn network_named(text: &str, name: &str) -> Result<String, ParseError> {
    match name {
        // Docker's other name for it.
        "default" => Ok("bridge".to_owned()),
        "none" | "host" => Err(ParseError::new(text, format!("nothing can be chosen in the network {name}"))),
        name => {
            network_name(name).map_err(|why| if text == name { why } else { ParseError::new(text, why.to_string()) })
        }
    }
}

/// A name that a network can have, or the id of one.
pub(crate) fn network_name(text: &str) -> Result<String, ParseError> {
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if first && text.len() <= 200 && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)) {
        return Ok(text.to_owned());
    }
    Err(ParseError::new(text, "the name of a network is of a-z A-Z 0-9 _ . - and starts with a letter or digit"))
}

/// `--ip`.
pub(crate) fn ipv4(text: &str) -> Result<Ipv4Addr, ParseError> {
    text.parse().map_err(|_| ParseError::new(text, "it is no address of IPv4"))
}

/// `--mac-address`: six bytes, of one device and not of many.
pub(crate) fn mac(text: &str) -> Result<[u8; 6], ParseError> {
    let wrong = |why: &str| ParseError::new(text, why);
    let byte = |part: &str| {
        let is_hex = part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
        is_hex.then(|| u8::from_str_radix(part, 16).ok()).flatten()
    };
    let separator = if text.contains('-') { '-' } else { ':' };
    let bytes: Option<Vec<u8>> = text.split(separator).map(byte).collect();
    let mac: Option<[u8; 6]> = bytes.and_then(|bytes| bytes.try_into().ok());
    match mac.ok_or_else(|| wrong("write a hardware address as 02:42:ac:12:00:05"))? {
        [0, 0, 0, 0, 0, 0] => Err(wrong("that is no device's address")),
        mac if mac[0] & 1 == 1 => Err(wrong("that is an address of many: the first byte must be even")),
        mac => Ok(mac),
    }
}

/// `--network-alias`: as the name of a host.
pub(crate) fn alias(text: &str) -> Result<String, ParseError> {
    let is_label = |label: &str| {
        let is_plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        (1..=63).contains(&label.len()) && is_plain && !label.starts_with('-') && !label.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(is_label) {
        return Ok(text.to_owned());
    }
    Err(ParseError::new(text, "a name on a network is of a-z A-Z 0-9 _ - and dots between"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(network: &str) -> Endpoint {
        Endpoint { network: network.to_owned(), ..Endpoint::default() }
    }

    #[test]
    fn networks_as_people_write_them() {
        let address = Some(Ipv4Addr::new(10, 9, 0, 5));
        let mac = Some([2, 0x42, 10, 9, 0, 5]);
        let aliases = vec!["db".to_owned(), "db.local".to_owned()];
        let whole = Endpoint { address, mac, aliases: aliases.clone(), ..endpoint("net") };
        for (text, expected) in [
            ("none", Some(Asked::Alone(NetworkMode::None))),
            ("host", Some(Asked::Alone(NetworkMode::Host))),
            ("container:web", Some(Asked::Alone(NetworkMode::Container("web".into())))),
            ("ns:/run/netns/a", Some(Asked::Alone(NetworkMode::Namespace("/run/netns/a".into())))),
            ("ns:a", None),
            ("container:", None),
            ("bridge", Some(Asked::In(endpoint("bridge")))),
            ("default", Some(Asked::In(endpoint("bridge")))),
            ("net", Some(Asked::In(endpoint("net")))),
            ("net:", Some(Asked::In(endpoint("net")))),
            ("net:ip=10.9.0.5,mac=02:42:0a:09:00:05,alias=db,alias=db.local", Some(Asked::In(whole.clone()))),
            (
                "name=net,ip=10.9.0.5,mac-address=02:42:0A:09:00:05,alias=db,alias=db.local",
                Some(Asked::In(whole.clone())),
            ),
            ("ip=10.9.0.5,alias=db,\"alias=db.local\",mac-address=02-42-0a-09-00-05,name=net", Some(Asked::In(whole))),
            ("name=bridge,alias=db", Some(Asked::In(Endpoint { aliases: vec!["db".into()], ..endpoint("bridge") }))),
            ("", None),
            ("name=", None),
            ("alias=db", None),
            ("name=none,alias=db", None),
            ("host:ip=10.9.0.5", None),
            ("net:ip=fd00::5", None),
            ("net:ip6=fd00::5", Some(Asked::In(Endpoint { address6: "fd00::5".parse().ok(), ..endpoint("net") }))),
            ("name=net,ip6=fd00::5", Some(Asked::In(Endpoint { address6: "fd00::5".parse().ok(), ..endpoint("net") }))),
            ("net:ip6=10.9.0.5", None),
            ("net:ip", None),
            ("net:dns=1", None),
            ("name=net,driver-opt=x=y", None),
            ("name=net,ip=300.1.1.1", None),
            ("a/b", None),
            ("../x", None),
        ] {
            assert_eq!(network(text).ok(), expected, "{text}");
        }
        let said = network("net:dns=1").unwrap_err().to_string();
        assert_eq!(
            said,
            "\"net:dns=1\": there is no option \"dns\": they are ip=ADDRESS, ip6=ADDRESS, mac-address=ADDRESS and alias=NAME"
        );
    }

    #[test]
    fn hardware_addresses() {
        for (text, is_right) in [
            ("02:42:ac:11:00:02", true),
            ("02-42-AC-11-00-02", true),
            ("03:42:ac:11:00:02", false),
            ("00:00:00:00:00:00", false),
            ("02:42:ac:11:00", false),
            ("02:42:ac:11:00:02:03", false),
            ("2:42:ac:11:00:02", false),
            ("02:42:ac:11:00:+2", false),
            ("02:42:ac:11:00:0g", false),
            ("", false),
        ] {
            assert_eq!(mac(text).is_ok(), is_right, "{text}");
        }
    }

    #[test]
    fn names_on_a_network() {
        let long = "a".repeat(64);
        for (text, is_right) in [
            ("db", true),
            ("db-1.my_net.local", true),
            ("9", true),
            ("", false),
            (".", false),
            ("a.", false),
            ("-a", false),
            ("a b", false),
            ("a\n", false),
            ("ä", false),
            (long.as_str(), false),
        ] {
            assert_eq!(alias(text).is_ok(), is_right, "{text}");
        }
    }
}
