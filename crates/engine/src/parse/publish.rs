//! `--publish` and `--expose`: ports, as Docker writes them.

use super::ParseError;
use network::Protocol;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// Ports of a container that shall be reached through the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Publish {
    /// The address of the host; none is all of them.
    pub address: Option<IpAddr>,
    /// The host's ports, as many as the container's; or, for one of the container's, those of which the first that is
    /// free is taken. None are any.
    pub host: Option<RangeInclusive<u16>>,
    /// The container's.
    pub container: RangeInclusive<u16>,
    /// Of both.
    pub protocol: Protocol,
}

impl Publish {
    /// `[[IP:][HOSTPORT[-END]]:]PORT[-END][/PROTOCOL]`, or `published=HOSTPORT,target=PORT,protocol=PROTOCOL`.
    pub fn parse(text: &str) -> Result<Publish, ParseError> {
        if text.contains('=') {
            return keys(text);
        }
        let wrong = |reason: &str| ParseError::new(text, reason);
        let (places, protocol) = with_protocol(text)?;
        // From the end: an address of IPv6 has colons of its own, and need not stand in brackets.
        let mut parts = places.rsplitn(3, ':');
        let container = parts.next().unwrap_or_default();
        let (host, address) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if container.is_empty() {
            return Err(wrong("the container's port is missing: write [[IP:][HOSTPORT]:]PORT[/PROTOCOL]"));
        }
        let container = range(text, container)?;
        let host = if host.is_empty() { None } else { Some(host_range(text, host)?).filter(|host| *host.end() > 0) };
        let address = match address.strip_prefix('[').map_or(Some(address), |rest| rest.strip_suffix(']')) {
            Some("") if address.is_empty() => None,
            bare => Some(bare.and_then(|bare| bare.parse().ok()).ok_or_else(|| wrong("the first part is no address"))?),
        };
        if let Some(host) = &host
            && container.len() > 1
            && host.len() != container.len()
        {
            return Err(wrong("there must be as many ports of the host as of the container"));
        }
        Ok(Publish { address, host, container, protocol })
    }
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:")?,
            Some(IpAddr::V4(address)) => write!(f, "{address}:")?,
            None => {}
        }
        let host = self.host.as_ref().map(shown).unwrap_or_default();
        write!(f, "{host}:{}/{}", shown(&self.container), self.protocol)
    }
}

impl TryFrom<String> for Publish {
    type Error = ParseError;

    fn try_from(text: String) -> Result<Publish, ParseError> {
        Publish::parse(&text)
    }
}

impl From<Publish> for String {
    fn from(publish: Publish) -> String {
        publish.to_string()
    }
}

/// `80`, or `80-90`.
pub(crate) fn shown(ports: &RangeInclusive<u16>) -> String {
    if ports.len() == 1 { ports.start().to_string() } else { format!("{}-{}", ports.start(), ports.end()) }
}

/// Ports at which a container listens: `PORT[-END][/PROTOCOL]`.
pub(crate) fn exposed(text: &str) -> Result<(RangeInclusive<u16>, Protocol), ParseError> {
    let (ports, protocol) = with_protocol(text)?;
    Ok((range(text, ports)?, protocol))
}

/// The form that Docker has from its services.
fn keys(text: &str) -> Result<Publish, ParseError> {
    let (mut host, mut container, mut protocol) = ("", "", "tcp");
    for word in text.split(',') {
        match word.split_once('=') {
            Some(("published", value)) => host = value,
            Some(("target", value)) => container = value,
            Some(("protocol", value)) => protocol = value,
            _ => return Err(ParseError::new(text, "the keys are published, target and protocol")),
        }
    }
    if [host, container, protocol].iter().any(|value| value.contains(['=', '/'])) || container.contains(':') {
        return Err(ParseError::new(text, "write published=HOSTPORT,target=PORT,protocol=PROTOCOL"));
    }
    Publish::parse(&format!("{host}:{container}/{protocol}"))
        .map_err(|ParseError { reason, .. }| ParseError::new(text, reason))
}

fn with_protocol(text: &str) -> Result<(&str, Protocol), ParseError> {
    let (ports, name) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let protocol = Protocol::from_name(&name.to_ascii_lowercase());
    Ok((ports, protocol.ok_or_else(|| ParseError::new(text, "a protocol is one of tcp, udp and sctp"))?))
}

fn range(text: &str, ports: &str) -> Result<RangeInclusive<u16>, ParseError> {
    let range = host_range(text, ports)?;
    if *range.start() == 0 { Err(ParseError::new(text, "a container's port is 1 to 65535")) } else { Ok(range) }
}

/// With 0 for any port.
fn host_range(text: &str, ports: &str) -> Result<RangeInclusive<u16>, ParseError> {
    let wrong = |reason: &str| ParseError::new(text, reason);
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    // No sign: what `parse` lets through, Docker does not.
    let number = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
    let (Some(first), Some(last)) = (number(first), number(last)) else {
        return Err(wrong("a port is a number up to 65535, and several are FIRST-LAST"));
    };
    let range: RangeInclusive<u16> = first..=last;
    match (range.is_empty(), first == 0 && last > 0) {
        (true, _) => Err(wrong("the first port is behind the last")),
        (_, true) => Err(wrong("several ports begin with 1 or more")),
        _ => Ok(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_dockers() {
        for (text, expected) in [
            ("80", ":80/tcp"),
            ("80/udp", ":80/udp"),
            ("80/SCTP", ":80/sctp"),
            (":80", ":80/tcp"),
            ("::80", ":80/tcp"),
            ("0:80", ":80/tcp"),
            ("8080:80", "8080:80/tcp"),
            ("8080:80/Udp", "8080:80/udp"),
            ("127.0.0.1:8080:80", "127.0.0.1:8080:80/tcp"),
            ("127.0.0.1::80", "127.0.0.1::80/tcp"),
            ("0.0.0.0:8080:80", "0.0.0.0:8080:80/tcp"),
            ("[::1]:8080:80", "[::1]:8080:80/tcp"),
            ("[::1]::80", "[::1]::80/tcp"),
            ("::1:8080:80", "[::1]:8080:80/tcp"),
            ("80-82", ":80-82/tcp"),
            ("8000-8002:80-82", "8000-8002:80-82/tcp"),
            ("8000-8010:80", "8000-8010:80/tcp"),
            ("127.0.0.1:8000-8002:80-82/udp", "127.0.0.1:8000-8002:80-82/udp"),
            ("80-80", ":80/tcp"),
            ("1-65535:1-65535", "1-65535:1-65535/tcp"),
            ("published=8080,target=80", "8080:80/tcp"),
            ("target=80,protocol=udp", ":80/udp"),
            ("published=127.0.0.1:8080,target=80", "127.0.0.1:8080:80/tcp"),
        ] {
            let parsed = Publish::parse(text).unwrap();
            assert_eq!(parsed.to_string(), expected, "{text}");
            assert_eq!(Publish::parse(expected).unwrap(), parsed, "{text}");
        }
    }

    #[test]
    fn what_is_no_port_is_told() {
        for (text, reason) in [
            ("", "port is missing"),
            ("8080:", "port is missing"),
            ("/tcp", "port is missing"),
            ("80/icmp", "a protocol is"),
            ("80/", "a protocol is"),
            ("80/tcp:90", "a protocol is"),
            ("http", "a port is a number"),
            ("http:80", "a port is a number"),
            ("65536", "a port is a number"),
            ("65536:80", "a port is a number"),
            ("-1:80", "a port is a number"),
            ("+80:80", "a port is a number"),
            ("80-:80", "a port is a number"),
            (" 80", "a port is a number"),
            ("0", "1 to 65535"),
            ("8080:0", "1 to 65535"),
            ("8080:0-9", "several ports begin"),
            ("0-9:80", "several ports begin"),
            ("82-80", "behind the last"),
            ("8000-8001:80-82", "as many ports"),
            ("8000:80-82", "as many ports"),
            ("localhost:8080:80", "no address"),
            ("1.2.3:8080:80", "no address"),
            ("[::1:8080:80", "no address"),
            ("[]:8080:80", "no address"),
            ("a:b:c:d", "a port is a number"),
            ("1.1.1.1:1:1:1", "no address"),
            ("published=80", "port is missing"),
            ("mode=host,target=80", "the keys are"),
            ("target=80,x", "the keys are"),
            ("target=1:2", "write published="),
            ("target=80=90", "write published="),
        ] {
            let error = Publish::parse(text).expect_err(text).to_string();
            assert!(error.contains(reason) && error.starts_with(&format!("{text:?}")), "{text}: {error}");
        }
    }

    #[test]
    fn exposed_ports_are_ports_and_nothing_before() {
        for (text, expected) in [
            ("80", Some((80..=80, Protocol::Tcp))),
            ("80-82/udp", Some((80..=82, Protocol::Udp))),
            ("8080:80", None),
            ("0", None),
            ("", None),
            ("80/x", None),
        ] {
            assert_eq!(exposed(text).ok(), expected, "{text}");
        }
    }
}
