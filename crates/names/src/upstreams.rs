//! Whom the server asks for what it does not know itself.
//!
//! The lines `nameserver ADDRESS` of `upstreams` in the network's directory of names, when there is such a file (one
//! without such lines: nobody, so that nothing leads out), else those of the host's /etc/resolv.conf, where none at all
//! means 127.0.0.1, as in the C library. The file is looked at before each question that is passed on, and read again
//! when it has changed. The server runs in the host's network namespace, so that one on the host's loopback will do; where
//! it does not, as for an ordinary user's networks, another address stands in for those. Its own address is left out, for it
//! would ask itself. [resolv.conf(5)]
//!
//! One that does not answer is remembered for some seconds, in which the others are asked first.

use crate::files::read_file;
use crate::stamp::Stamp;
use rustix::fs::{AtFlags, CWD, OFlags, statat};
use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// The file's name in the network's directory.
pub(crate) const FILE: &str = "upstreams";
const HOST_FILE: &str = "/etc/resolv.conf";
/// A longer file is no resolver configuration.
const LONGEST: usize = 64 << 10;
/// As many servers as are asked; the C library asks three.
const MOST: usize = 8;
pub(crate) const PORT: u16 = 53;
/// How long one that did not answer is asked last.
const REMEMBERED: Duration = Duration::from_secs(5);

/// Those servers.
#[derive(Debug)]
pub(crate) struct Upstreams {
    /// The server's own address.
    own: IpAddr,
    /// What is asked in place of the host's loopback.
    loopback: Option<IpAddr>,
    /// The network's file.
    file: String,
    read: Option<(&'static str, Stamp)>,
    servers: Vec<Upstream>,
}

#[derive(Debug)]
struct Upstream {
    address: SocketAddr,
    silent_until: Option<Instant>,
}

impl Upstreams {
    pub(crate) fn new(network: &str, own: IpAddr, loopback: Option<IpAddr>) -> Upstreams {
        Upstreams { own, loopback, file: format!("{network}/{FILE}"), read: None, servers: Vec::new() }
    }

    /// Reads them again when they have changed; true when the servers are others than before.
    pub(crate) fn refresh(&mut self, names: BorrowedFd<'_>) -> bool {
        let (which, stat) = match statat(names, &self.file, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => (FILE, Ok(stat)),
            Err(_) => (HOST_FILE, statat(CWD, HOST_FILE, AtFlags::empty())),
        };
        if let (Some((read, stamp)), Ok(stat)) = (&self.read, &stat)
            && *read == which
            && stamp.holds(stat)
        {
            return false;
        }
        // Before it is read.
        let stamp = stat.ok().map(|stat| (which, Stamp::of(&stat)));
        let text = match which {
            FILE => read_file(names, &self.file, LONGEST, OFlags::NOFOLLOW),
            _ => read_file(CWD, HOST_FILE, LONGEST, OFlags::empty()),
        };
        // What cannot be read is as it was before.
        let Ok(text) = text else { return false };
        self.read = stamp;
        self.put(which, &text.unwrap_or_default())
    }

    fn put(&mut self, which: &str, text: &[u8]) -> bool {
        let mut servers = parse(text);
        if servers.is_empty() && which == HOST_FILE {
            servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
        }
        if let Some(instead) = self.loopback.filter(|_| which == HOST_FILE) {
            let is_on_loopback = |server: &SocketAddr| server.ip().to_canonical().is_loopback();
            let first = servers.iter().position(is_on_loopback);
            if let Some(first) = first {
                servers[first] = SocketAddr::new(instead, PORT);
                servers.retain(|server| !is_on_loopback(server));
            }
        }
        servers.retain(|server| server.ip().to_canonical() != self.own);
        if servers.iter().eq(self.servers.iter().map(|server| &server.address)) {
            return false;
        }
        self.servers = servers.into_iter().map(|address| Upstream { address, silent_until: None }).collect();
        true
    }

    /// Whom to ask, in this order.
    pub(crate) fn in_order(&self, now: Instant) -> Vec<SocketAddr> {
        let is_silent = |server: &&Upstream| server.silent_until.is_some_and(|until| now < until);
        let (silent, answering): (Vec<_>, Vec<_>) = self.servers.iter().partition(is_silent);
        answering.into_iter().chain(silent).map(|server| server.address).collect()
    }

    /// It did not answer.
    pub(crate) fn silent(&mut self, address: SocketAddr, now: Instant) {
        self.mark(address, Some(now + REMEMBERED));
    }

    /// It answered.
    pub(crate) fn answering(&mut self, address: SocketAddr) {
        self.mark(address, None);
    }

    fn mark(&mut self, address: SocketAddr, silent_until: Option<Instant>) {
        for server in self.servers.iter_mut().filter(|server| server.address == address) {
            server.silent_until = silent_until;
        }
    }
}

/// The servers that a resolver configuration names.
fn parse(text: &[u8]) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for line in String::from_utf8_lossy(text).lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some("nameserver"), Some(word)) = (words.next(), words.next()) else { continue };
        if let Some(server) = server(word)
            && !servers.contains(&server)
            && servers.len() < MOST
        {
            servers.push(server);
        }
    }
    servers
}

fn server(word: &str) -> Option<SocketAddr> {
    // A link-local server is written with its link: fe80::1%eth0.
    let Some((address, link)) = word.split_once('%') else {
        return Some(SocketAddr::new(word.parse().ok()?, PORT));
    };
    let scope = link.parse().ok().or_else(|| index_of(link).ok())?;
    Some(SocketAddrV6::new(address.parse().ok()?, PORT, 0, scope).into())
}

fn index_of(link: &str) -> Result<u32, Errno> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    name_to_index(socket.as_fd(), link)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    const NET: &str = "aaaaaaaaaaaa";

    fn text(servers: &[SocketAddr]) -> String {
        servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_servers_of_a_resolver_configuration() {
        for (name, file, expected) in [
            ("plain", "nameserver 9.9.9.9\nsearch a\nnameserver ::1\n", "9.9.9.9:53 [::1]:53"),
            ("twice", "nameserver 9.9.9.9\nnameserver 9.9.9.9", "9.9.9.9:53"),
            ("a link", "nameserver fe80::1%lo\nnameserver fe80::1%7", "[fe80::1%1]:53 [fe80::1%7]:53"),
            ("no such link", "nameserver fe80::1%nosuch", ""),
            ("rubbish", "#nameserver 1.1.1.1\nnameserver\nnameserver x\n\0\nnameserver 8.8.8.8 # y", "8.8.8.8:53"),
        ] {
            assert_eq!(text(&parse(file.as_bytes())), expected, "{name}");
        }
        let many: String = (0..99).map(|nth| format!("nameserver 10.0.0.{nth}\n")).collect();
        assert_eq!(parse(many.as_bytes()).len(), MOST);
        assert_eq!(parse(&[0xff; 99]), []);
    }

    #[test]
    fn the_file_is_read_again_when_it_has_changed_and_the_own_address_is_left_out() {
        let scratch = Scratch::new();
        std::fs::create_dir(scratch.path().join(NET)).unwrap();
        let file = scratch.path().join(NET).join(FILE);
        let mut upstreams = Upstreams::new(NET, "10.0.0.1".parse().unwrap(), None);
        let now = Instant::now();
        for (content, expected) in [
            ("nameserver 10.0.0.1\nnameserver 10.0.0.2\n", "10.0.0.2:53"),
            ("nameserver 10.0.0.3\n", "10.0.0.3:53"),
            ("nameserver 10.0.0.3\nnameserver ::ffff:10.0.0.1", "10.0.0.3:53"),
            ("", ""),
        ] {
            std::fs::write(&file, content).unwrap();
            let before = text(&upstreams.in_order(now));
            assert_eq!(upstreams.refresh(scratch.as_fd()), before != expected, "{content}");
            assert_eq!(text(&upstreams.in_order(now)), expected);
        }
        // The host's own, whatever it is.
        std::fs::remove_file(&file).unwrap();
        upstreams.refresh(scratch.as_fd());
        let host = parse(&std::fs::read(HOST_FILE).unwrap_or_default());
        let host = if host.is_empty() { "127.0.0.1:53".to_owned() } else { text(&host) };
        assert_eq!(text(&upstreams.in_order(now)), host);
    }

    #[test]
    fn away_from_the_host_another_address_stands_in_for_its_loopback() {
        for (file, expected) in [
            ("", "169.254.1.3:53"),
            ("nameserver 9.9.9.9\nnameserver 127.0.0.53\nnameserver ::1\n", "9.9.9.9:53 169.254.1.3:53"),
            ("nameserver 9.9.9.9", "9.9.9.9:53"),
        ] {
            let mut upstreams = Upstreams::new(NET, "10.0.0.1".parse().unwrap(), Some("169.254.1.3".parse().unwrap()));
            upstreams.put(HOST_FILE, file.as_bytes());
            assert_eq!(text(&upstreams.in_order(Instant::now())), expected, "{file}");
        }
    }

    #[test]
    fn who_was_silent_is_asked_last_for_a_while() {
        let mut upstreams = Upstreams::new(NET, "10.0.0.1".parse().unwrap(), None);
        upstreams.put(FILE, b"nameserver 10.0.0.2\nnameserver 10.0.0.3");
        let now = Instant::now();
        let [first, second] = upstreams.in_order(now)[..] else { panic!() };
        upstreams.silent(first, now);
        assert_eq!(upstreams.in_order(now), [second, first]);
        assert_eq!(upstreams.in_order(now + REMEMBERED), [first, second]);
        upstreams.silent(second, now);
        assert_eq!(upstreams.in_order(now), [first, second]);
        upstreams.answering(first);
        assert_eq!(upstreams.in_order(now), [first, second]);
    }
}
