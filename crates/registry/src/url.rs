//! The few URLs that a registry client meets: `http` and `https`, a host, a path, a query.
//!
//! What a registry sends as a place to go to is hostile: no user and password in it, no control character, no other
//! scheme. A query may hold a signature that is as good as a password (the storage of Docker Hub and ECR), so what is
//! printed ends before it.

use std::fmt;

/// A URL that may be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) https: bool,
    /// `host`, `host:port` or `[v6]:port`, in lower case.
    pub(crate) authority: String,
    /// From the first `/`, with the query.
    target: String,
}

impl Url {
    /// Of its parts; `target` begins with a `/`.
    pub(crate) fn new(https: bool, authority: &str, target: &str) -> Url {
        Url { https, authority: authority.to_ascii_lowercase(), target: target.to_owned() }
    }

    /// Reads a whole URL.
    pub(crate) fn parse(text: &str) -> Option<Url> {
        let (scheme, rest) = text.split_once("://")?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        crate::reference::check_registry(authority).ok()?;
        Url::new(https, authority, "/").join(target)
    }

    /// Where a `Location` leads that this URL answered with. [RFC 3986, 5.2]
    pub(crate) fn join(&self, location: &str) -> Option<Url> {
        let location = location.split('#').next().unwrap_or_default();
        if location.bytes().any(|b| b <= b' ' || b == 0x7f || b >= 0x80 || b"\"<>\\^`{|}".contains(&b)) {
            return None;
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Url::parse(&format!("{}://{rest}", self.scheme()));
        }
        let colon = location.find(':').unwrap_or(usize::MAX);
        if colon < location.find(['/', '?']).unwrap_or(usize::MAX) {
            return Url::parse(location);
        }
        let path = self.target.split('?').next().unwrap_or_default();
        let target = match location.chars().next() {
            None => self.target.clone(),
            Some('/') => location.to_owned(),
            Some('?') => format!("{path}{location}"),
            Some(_) => format!("{}/{location}", path.rsplit_once('/').map_or("", |(directory, _)| directory)),
        };
        Some(Url { target: without_dots(&target), ..self.clone() })
    }

    /// With one more parameter.
    pub(crate) fn with_query(mut self, name: &str, value: &str) -> Url {
        let separator = if self.target.contains('?') { '&' } else { '?' };
        self.target.push(separator);
        self.target.push_str(&format!("{name}={}", escape(value)));
        self
    }

    /// All of it.
    pub(crate) fn whole(&self) -> String {
        format!("{}://{}{}", self.scheme(), self.authority, self.target)
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// The host without brackets.
    pub(crate) fn host(&self) -> &str {
        host_and_port(&self.authority).0
    }

    /// The port, written or not.
    pub(crate) fn port(&self) -> u16 {
        host_and_port(&self.authority).1.unwrap_or(if self.https { 443 } else { 80 })
    }

    /// True when what is for the one may be told to the other.
    pub(crate) fn same_origin(&self, other: &Url) -> bool {
        (self.https, self.host(), self.port()) == (other.https, other.host(), other.port())
    }
}

/// Without the query, which may hold a signature.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.target.split('?').next().unwrap_or_default();
        write!(f, "{}://{}{path}", self.scheme(), self.authority)
    }
}

/// `[::1]:5000` in its two parts.
pub(crate) fn host_and_port(authority: &str) -> (&str, Option<u16>) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

/// True for this machine's own addresses, which no one else can listen to.
pub(crate) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn without_dots(target: &str) -> String {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let mut kept: Vec<&str> = Vec::new();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    for (i, part) in parts.iter().enumerate() {
        let last = i + 1 == parts.len();
        match *part {
            "." => {}
            ".." => drop(kept.pop()),
            part => kept.push(part),
        }
        if last && matches!(*part, "." | "..") {
            kept.push("");
        }
    }
    format!("/{}{}", kept.join("/"), query.map(|query| format!("?{query}")).unwrap_or_default())
}

/// What is not plain becomes `%XX`.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' | b':' | b',' => {
                out.push(byte.into())
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        let here = Url::parse("https://Host:5000/v2/a/blobs/uploads/?x=1").unwrap();
        for (location, expected) in [
            ("https://other/a?b=c#d", "https://other/a?b=c"),
            ("http://other", "http://other/"),
            ("//cdn.example.com/x", "https://cdn.example.com/x"),
            ("/v2/x?_state=a%2Fb", "https://host:5000/v2/x?_state=a%2Fb"),
            ("?y=2", "https://host:5000/v2/a/blobs/uploads/?y=2"),
            ("uuid", "https://host:5000/v2/a/blobs/uploads/uuid"),
            ("../../uuid:1", "https://host:5000/v2/a/uuid:1"),
            ("../../../../../x", "https://host:5000/x"),
            ("", "https://host:5000/v2/a/blobs/uploads/?x=1"),
            ("/a b", ""),
            ("/a\r\nHost: x", ""),
            ("file:///etc/passwd", ""),
            ("https://user:secret@host/", ""),
            ("https://", ""),
            ("https:///x", ""),
        ] {
            let got = here.join(location).map(|url| url.whole()).unwrap_or_default();
            // A first part with a colon is a scheme; "../" before it makes it none.
            assert_eq!(got, expected, "{location:?}");
        }
        let signed = Url::parse("https://host/a").unwrap().with_query("digest", "sha256:a").with_query("k", "a&b");
        assert_eq!(
            (signed.to_string(), signed.whole()),
            ("https://host/a".into(), "https://host/a?digest=sha256:a&k=a%26b".into())
        );
    }

    #[test]
    fn origins_and_loopback() {
        let same = |a: &str, b: &str| Url::parse(a).unwrap().same_origin(&Url::parse(b).unwrap());
        assert!(
            same("https://a/x", "https://A:443/y")
                && !same("https://a/", "https://a:444/")
                && !same("https://a/", "http://a:443/")
        );
        assert!(
            is_loopback("127.8.0.1") && is_loopback("::1") && is_loopback("localhost") && !is_loopback("127.evil.com")
        );
        assert_eq!(host_and_port("[::1]:5000"), ("::1", Some(5000)));
        assert_eq!(host_and_port("[::1]"), ("::1", None));
    }
}
