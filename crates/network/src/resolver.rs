//! How names are resolved in a container as on the host: its /etc/resolv.conf.
//!
//! A name server on one of the host's loopback addresses (systemd-resolved on 127.0.0.53, dnsmasq on 127.0.0.1) cannot
//! be reached from a container. The container is told to ask the gateway instead, and the rules in [`crate::rules`]
//! forward gateway:53 to that server. Name servers with IPv6 addresses are left out, since the network is IPv4 only.
//! [resolv.conf(5)]

use std::net::{IpAddr, Ipv4Addr};

/// What the host's /etc/resolv.conf says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostResolver {
    servers: Vec<IpAddr>,
    other_lines: Vec<String>,
}

/// The host's file is cut here: a longer one is no resolver configuration.
const LONGEST: usize = 64 << 10;

impl HostResolver {
    /// From the text of the host's /etc/resolv.conf. No name server at all means 127.0.0.1, as in the C library.
    pub fn parse(text: &[u8]) -> HostResolver {
        let text = String::from_utf8_lossy(&text[..text.len().min(LONGEST)]);
        let mut host = HostResolver::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                // A link-local server is written with its link: fe80::1%eth0.
                Some("nameserver") => {
                    let server = words.next().and_then(|word| word.split('%').next()).map(str::parse::<IpAddr>);
                    host.servers.extend(server.and_then(Result::ok));
                }
                Some("search" | "options" | "domain" | "sortlist") => host.other_lines.push(line.trim().to_owned()),
                _ => {}
            }
        }
        if host.servers.is_empty() {
            host.servers.push(Ipv4Addr::LOCALHOST.into());
        }
        host
    }

    /// The host's own server to which gateway:53 must be forwarded, when the container's file names the gateway. `::1`
    /// means a server that listens on 127.0.0.1 as well.
    pub fn forward_to(&self) -> Option<Ipv4Addr> {
        let is_v6_loopback = |server: &IpAddr| server.is_loopback() && server.is_ipv6();
        let v4 = self.servers.iter().find_map(|server| match server {
            IpAddr::V4(v4) if v4.is_loopback() => Some(*v4),
            // 0.0.0.0 is this host to a client.
            IpAddr::V4(v4) if v4.is_unspecified() => Some(Ipv4Addr::LOCALHOST),
            _ => None,
        });
        let reachable = self.servers.iter().any(|server| is_reachable(*server));
        v4.or_else(|| (!reachable && self.servers.iter().any(is_v6_loopback)).then_some(Ipv4Addr::LOCALHOST))
    }

    /// Whether nobody whom the host asks can be asked from a network of IPv4.
    pub(crate) fn is_out_of_reach(&self) -> bool {
        !self.servers.iter().any(|server| is_reachable(*server)) && self.forward_to().is_none()
    }

    /// The container's /etc/resolv.conf behind `gateway`. Servers that the person named (`dns`) stand instead of the
    /// host's.
    pub fn for_bridge(&self, gateway: Ipv4Addr, dns: &[IpAddr]) -> String {
        if !dns.is_empty() {
            return self.file(dns.iter().copied());
        }
        let mut servers: Vec<IpAddr> = Vec::new();
        for server in &self.servers {
            let server = if is_reachable(*server) {
                *server
            } else if server.is_ipv4() || self.forward_to().is_some() && server.is_loopback() {
                IpAddr::V4(gateway)
            } else {
                continue;
            };
            if !servers.contains(&server) {
                servers.push(server);
            }
        }
        // Nothing but unreachable IPv6 servers: they stay, so that the file says what the host has.
        if servers.is_empty() {
            servers.clone_from(&self.servers);
        }
        self.file(servers)
    }

    /// The container's /etc/resolv.conf on a link of its own beside the host's: there nobody leads it to a server on the host's
    /// loopback. None where the host asks only those.
    pub fn for_link(&self, dns: &[IpAddr]) -> Option<String> {
        if !dns.is_empty() {
            return Some(self.file(dns.iter().copied()));
        }
        let is_elsewhere = |server: &IpAddr| !server.is_loopback() && !server.is_unspecified();
        let servers: Vec<IpAddr> = self.servers.iter().copied().filter(is_elsewhere).collect();
        (!servers.is_empty()).then(|| self.file(servers))
    }

    /// As [`HostResolver::for_link`], where nobody can be asked: what else the host says.
    pub fn for_nobody(&self) -> String {
        self.file([])
    }

    /// The container's /etc/resolv.conf when it has the host's network, or none.
    pub fn for_host(&self, dns: &[IpAddr]) -> String {
        if dns.is_empty() { self.file(self.servers.iter().copied()) } else { self.file(dns.iter().copied()) }
    }

    /// The container's /etc/resolv.conf where names are told: these servers, and what is asked is asked as it is first: a
    /// container's name shall not be looked for in the host's domains. [resolv.conf(5), ndots]
    pub fn for_names(&self, servers: &[IpAddr]) -> String {
        let mut text: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
        for line in &self.other_lines {
            let words: Vec<&str> = line.split_ascii_whitespace().filter(|word| !word.starts_with("ndots:")).collect();
            if words != ["options"] {
                text.push_str(&words.join(" "));
                text.push('\n');
            }
        }
        text + "options ndots:0\n"
    }

    fn file(&self, servers: impl IntoIterator<Item = IpAddr>) -> String {
        let mut text: String = servers.into_iter().map(|server| format!("nameserver {server}\n")).collect();
        for line in &self.other_lines {
            text.push_str(line);
            text.push('\n');
        }
        text
    }
}

fn is_reachable(server: IpAddr) -> bool {
    server.is_ipv4() && !server.is_loopback() && !server.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
    const AT_GATEWAY: &str = "nameserver 172.17.0.1\n";

    #[test]
    fn the_container_resolves_as_the_host_does() {
        let localhost = Some(Ipv4Addr::LOCALHOST);
        let table: [(&str, &str, &str, Option<Ipv4Addr>); 11] = [
            ("plain", "nameserver 9.9.9.9\nnameserver 1.1.1.1\n", "nameserver 9.9.9.9\nnameserver 1.1.1.1\n", None),
            (
                "resolved",
                "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch example.org\n",
                "nameserver 172.17.0.1\noptions edns0 trust-ad\nsearch example.org\n",
                Some(Ipv4Addr::new(127, 0, 0, 53)),
            ),
            (
                "mixed",
                "nameserver 127.0.0.1\nnameserver 10.0.0.1",
                "nameserver 172.17.0.1\nnameserver 10.0.0.1\n",
                localhost,
            ),
            ("two loopbacks", "nameserver 127.0.0.1\nnameserver 127.0.0.53", AT_GATEWAY, localhost),
            ("no server", "search a b\n", "nameserver 172.17.0.1\nsearch a b\n", localhost),
            ("empty", "", AT_GATEWAY, localhost),
            ("IPv6 beside IPv4", "nameserver fe80::1%eth0\nnameserver 10.0.0.1\n", "nameserver 10.0.0.1\n", None),
            ("IPv6 loopback beside IPv4", "nameserver ::1\nnameserver 10.0.0.1\n", "nameserver 10.0.0.1\n", None),
            ("IPv6 loopback only", "nameserver ::1\n", AT_GATEWAY, localhost),
            ("IPv6 only", "nameserver 2001:db8::1\n", "nameserver 2001:db8::1\n", None),
            (
                "comments and rubbish",
                "# nameserver 1.1.1.1\n; x\n\u{0}nameserver\nnameserver x\n nameserver\t8.8.8.8 # y\n",
                "nameserver 8.8.8.8\n",
                None,
            ),
        ];
        for (name, host, expected, forward) in table {
            let host = HostResolver::parse(host.as_bytes());
            assert_eq!(host.for_bridge(GATEWAY, &[]), expected, "{name}");
            assert_eq!(host.forward_to(), forward, "{name}");
        }
    }

    #[test]
    fn on_a_link_beside_the_hosts_nobody_asks_its_loopback() {
        let host = |text: &str| HostResolver::parse(text.as_bytes());
        for (text, expected) in [
            ("nameserver 127.0.0.53\nsearch a\n", None),
            ("", None),
            ("nameserver 127.0.0.1\nnameserver 9.9.9.9\n", Some("nameserver 9.9.9.9\n")),
            ("nameserver ::1\nnameserver fd00::1\n", Some("nameserver fd00::1\n")),
        ] {
            assert_eq!(host(text).for_link(&[]).as_deref(), expected, "{text}");
        }
        let stub = host("nameserver 127.0.0.53\nsearch a\n");
        assert_eq!(stub.for_link(&[[8, 8, 8, 8].into()]).as_deref(), Some("nameserver 8.8.8.8\nsearch a\n"));
        assert_eq!(stub.for_nobody(), "search a\n");
    }

    #[test]
    fn of_the_hosts_options_only_ndots_is_another() {
        let host = HostResolver::parse(b"nameserver 9.9.9.9\noptions ndots:5 timeout:1\noptions ndots:2\nsearch a b\n");
        let expected = "nameserver 172.17.0.1\noptions timeout:1\nsearch a b\noptions ndots:0\n";
        assert_eq!(host.for_names(&[GATEWAY.into()]), expected);
    }

    #[test]
    fn named_servers_win_and_bad_bytes_do_not_hurt() {
        let host = HostResolver::parse(b"nameserver 127.0.0.53\nsearch a\n\xff\xfe\n");
        let dns = ["8.8.8.8".parse().unwrap()];
        assert_eq!(host.for_bridge(GATEWAY, &dns), "nameserver 8.8.8.8\nsearch a\n");
        assert_eq!(host.for_host(&dns), "nameserver 8.8.8.8\nsearch a\n");
        assert_eq!(host.for_host(&[]), "nameserver 127.0.0.53\nsearch a\n");
        HostResolver::parse(&[0xff; LONGEST + 1]);
    }
}
