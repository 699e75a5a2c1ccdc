//! Which proxy a connection takes: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in capitals or not.
//!
//! As Go reads them (golang.org/x/net/http/httpproxy), which is how Docker and Podman do. This machine's own addresses
//! never take one.

use crate::environment::Environment;
use crate::url::{Url, host_and_port, is_loopback};
use std::net::IpAddr;

/// The proxy for a URL.
pub(crate) fn of<'a>(environment: &'a Environment, url: &Url) -> Option<&'a str> {
    let either = |upper: &str, lower: &str| environment.get(upper).or_else(|| environment.get(lower));
    // A CGI program's HTTP_PROXY is its client's header. (CVE-2016-5385)
    let plain = if environment.get("REQUEST_METHOD").is_some() { None } else { environment.get("HTTP_PROXY") };
    let proxy = if url.https { either("HTTPS_PROXY", "https_proxy") } else { plain.or(environment.get("http_proxy")) };
    let proxy = proxy.or_else(|| either("ALL_PROXY", "all_proxy"))?;
    let exempt = either("NO_PROXY", "no_proxy").unwrap_or_default();
    (!is_loopback(url.host()) && !exempt.split(',').any(|rule| exempts(rule.trim(), url))).then_some(proxy)
}

/// `*`, a domain and all below it, `.domain` for what is below it, an address, a network; each with a port or without.
fn exempts(rule: &str, url: &Url) -> bool {
    let rule = rule.to_ascii_lowercase();
    if rule.is_empty() || rule == "*" {
        return rule == "*";
    }
    let host = url.host();
    if let (Some((network, length)), Ok(address)) = (rule.split_once('/'), host.parse::<IpAddr>()) {
        return in_network(address, network, length);
    }
    // An IPv6 address has colons of its own.
    let (rule, port) = if rule.parse::<IpAddr>().is_ok() { (rule.as_str(), None) } else { host_and_port(&rule) };
    let rule = rule.strip_prefix('*').unwrap_or(rule);
    let below = |domain: &str| host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    let named = match rule.strip_prefix('.') {
        Some(domain) => below(domain),
        None => host == rule || below(rule),
    };
    named && port.is_none_or(|port| port == url.port())
}

fn in_network(address: IpAddr, network: &str, length: &str) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    let (Ok(network), Ok(length)) = (network.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    let ((a, width), (b, other)) = (bits(address), bits(network));
    width == other && length <= width && (length == 0 || (a ^ b) >> (128 - length) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_proxy() {
        for (variables, url, expected) in [
            ("", "https://a.b/", None),
            ("HTTPS_PROXY=p:1", "https://a.b/", Some("p:1")),
            ("https_proxy=p:1", "https://a.b/", Some("p:1")),
            ("HTTPS_PROXY=p:1", "http://a.b/", None),
            ("HTTP_PROXY=p:1", "http://a.b/", Some("p:1")),
            ("HTTP_PROXY=p:1 REQUEST_METHOD=GET", "http://a.b/", None),
            ("ALL_PROXY=p:1", "http://a.b/", Some("p:1")),
            ("HTTP_PROXY=p:1", "http://localhost:5000/", None),
            ("HTTP_PROXY=p:1", "http://[::1]:5000/", None),
            ("HTTP_PROXY=p:1", "http://127.3.0.1/", None),
            ("HTTPS_PROXY=p:1 NO_PROXY=x,a.b", "https://a.b/", None),
            ("HTTPS_PROXY=p:1 NO_PROXY=a.b", "https://x.a.b/", None),
            ("HTTPS_PROXY=p:1 NO_PROXY=.a.b", "https://a.b/", Some("p:1")),
            ("HTTPS_PROXY=p:1 NO_PROXY=*.a.b", "https://x.a.b/", None),
            ("HTTPS_PROXY=p:1 NO_PROXY=a.b", "https://xa.b/", Some("p:1")),
            ("HTTPS_PROXY=p:1 NO_PROXY=a.b:444", "https://a.b/", Some("p:1")),
            ("HTTPS_PROXY=p:1 NO_PROXY=a.b:443", "https://a.b/", None),
            ("HTTPS_PROXY=p:1 no_proxy=*", "https://a.b/", None),
            ("HTTPS_PROXY=p:1 NO_PROXY=10.0.0.0/8", "https://10.1.2.3/", None),
            ("HTTPS_PROXY=p:1 NO_PROXY=10.0.0.0/8", "https://11.1.2.3/", Some("p:1")),
            ("HTTPS_PROXY=p:1 NO_PROXY=fd00::/8", "https://[fd12::1]:5000/", None),
            ("HTTPS_PROXY=p:1 NO_PROXY=fd12::1", "https://[fd12::1]:5000/", None),
        ] {
            let variables = variables.split(' ').filter_map(|pair| pair.split_once('='));
            let environment = Environment::new("/none".as_ref(), variables.clone());
            assert_eq!(
                of(&environment, &Url::parse(url).unwrap()),
                expected,
                "{url} {:?}",
                variables.collect::<Vec<_>>()
            );
        }
    }
}
