//! What no container is called is asked upstream: by which way, of whom, for how long, and what comes back.

mod common;

use common::upstream::Upstream;
use common::{A, Host, both, id};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

#[test]
fn an_answer_comes_back_and_is_kept_as_long_as_it_says() {
    let Some(host) = Host::new() else { return };
    let one = host.on_a(2, "one");
    let upstream = Upstream::new(&host, 9);
    let _server = host.serve(A, &["127.0.0.9"]);
    for (name, expected) in
        [("www.example.org", "NOERROR 192.0.2.9"), ("nx.example.org", "NXDOMAIN"), ("nodata.example.org", "NOERROR")]
    {
        for _ in 0..2 {
            assert_eq!(one.dig(name), expected);
        }
        assert_eq!(one.dig(&name.to_uppercase()), expected, "in other letters");
        assert_eq!(upstream.count(name), 1, "{name} is kept");
        assert_eq!(one.dig(&format!("+noedns {name}")), expected);
        assert_eq!(upstream.count(name), 2, "without EDNS it is another question");
        assert_eq!(one.dig(&format!("+dnssec {name}")), expected);
        assert_eq!(one.dig(&format!("+cdflag {name}")), expected);
        assert_eq!(upstream.count(name), 4, "{name}");
        assert_eq!(one.dig(&format!("+norecurse {name}")), expected);
        assert_eq!(one.dig(&format!("+cookie {name}")), expected);
        assert_eq!(one.dig(&format!("+cookie {name}")), expected);
        assert_eq!(upstream.count(name), 7, "what is not anybody's is not kept: {name}");
    }
    std::thread::sleep(Duration::from_millis(1100));
    let said = one.ns.sh("dig +nocookie +noall +answer @10.1.0.1 www.example.org");
    let ttl: u32 = said.split_ascii_whitespace().nth(1).unwrap().parse().unwrap();
    assert!((40..60).contains(&ttl), "it has less time left: {said}");
    for name in ["servfail.example.org", "refused.example.org"] {
        let status = name.split('.').next().unwrap().to_uppercase();
        assert_eq!([one.dig(name), one.dig(name)], [status.clone(), status]);
        assert_eq!(upstream.count(name), 2, "{name} is not kept");
    }
}

#[test]
fn what_is_no_answer_is_not_taken_for_one() {
    let Some(host) = Host::new() else { return };
    let one = host.on_a(2, "one");
    let _upstream = Upstream::new(&host, 9);
    let _server = host.serve(A, &["127.0.0.9"]);
    for name in ["wrong-id", "wrong-name", "wrong-port", "rubbish"] {
        for _ in 0..2 {
            assert_eq!(one.dig(&format!("{name}.example.org")), "NOERROR 192.0.2.9", "{name}");
        }
    }
    assert_eq!(one.dig("half.example.org"), "SERVFAIL");
}

#[test]
fn what_is_cut_is_got_by_tcp() {
    let Some(host) = Host::new() else { return };
    let one = host.on_a(2, "one");
    let upstream = Upstream::new(&host, 9);
    let _server = host.serve(A, &["127.0.0.9"]);
    assert_eq!(one.dig("big.example.org").matches(" 198.51.100.").count(), 200);
    assert_eq!(upstream.asked(), ["udp big.example.org A", "tcp big.example.org A"]);
    // What came by TCP is kept, and cut for who asks by UDP.
    assert_eq!(one.dig("+ignore big.example.org"), "NOERROR");
    assert_eq!(one.dig("big.example.org").matches(" 198.51.100.").count(), 200);
    assert_eq!(upstream.count("big.example.org"), 2);
    assert_eq!(one.dig("+tcp www.example.org"), "NOERROR 192.0.2.9");
    assert_eq!(one.dig("+tcp servfail.example.org"), "SERVFAIL");
    assert_eq!(one.dig("+tcp half.example.org"), "SERVFAIL");
}

/// What is said, and after how long.
fn timed(act: impl FnOnce() -> String) -> (String, f64) {
    let start = Instant::now();
    (act(), start.elapsed().as_secs_f64())
}

#[test]
fn a_server_that_does_not_answer_costs_its_time_once() {
    let Some(host) = Host::new() else { return };
    let one = host.on_a(2, "one");
    // 127.0.0.8 takes packets and says nothing, nothing is at 127.0.0.7.
    let silent = host.ns.inside(|| UdpSocket::bind("127.0.0.8:53").unwrap());
    let upstream = Upstream::new(&host, 9);
    let _server = host.serve(A, &["127.0.0.8", "127.0.0.7", "127.0.0.9"]);
    let (said, took) = timed(|| one.dig("a.example.org"));
    assert_eq!(said, "NOERROR 192.0.2.9");
    assert!((1.9..3.9).contains(&took), "two seconds for the silent one, none for the one that is not there: {took}");
    for name in ["b.example.org", "c.example.org"] {
        let (said, took) = timed(|| one.dig(name));
        assert!(said == "NOERROR 192.0.2.9" && took < 1.5, "it is remembered: {said} {took}");
    }
    let (said, took) = timed(|| one.dig("one"));
    assert!(said == "NOERROR 10.1.0.2" && took < 1.5, "{said} {took}");
    // Nobody answers: it fails before the C library's five seconds.
    let (said, took) = timed(|| one.dig("silent.example.org"));
    assert_eq!(said, "SERVFAIL");
    assert!((4.0..6.0).contains(&took), "{took}");
    assert_eq!(one.dig("servfail.example.org"), "SERVFAIL");
    drop((silent, upstream));
    let (said, took) = timed(|| one.dig("d.example.org"));
    assert!(said == "SERVFAIL" && took < 1.5, "none is there: {said} {took}");
    let (said, took) = timed(|| one.dig("+tcp e.example.org"));
    assert!(said == "SERVFAIL" && took < 1.5, "by TCP neither: {said} {took}");
}

#[test]
fn a_server_that_fails_or_refuses_is_not_the_last_one() {
    let Some(host) = Host::new() else { return };
    let one = host.on_a(2, "one");
    let (first, second) = (Upstream::new(&host, 8), Upstream::new(&host, 9));
    let _server = host.serve(A, &["127.0.0.8", "127.0.0.9"]);
    assert_eq!(one.dig("www.example.org"), "NOERROR 192.0.2.8");
    assert_eq!((first.asked().len(), second.asked().len()), (1, 0));
    for (name, expected) in [("servfail.example.org", "SERVFAIL"), ("refused.example.org", "REFUSED")] {
        assert_eq!(one.dig(name), expected);
        assert_eq!((first.count(name), second.count(name)), (1, 1));
    }
}

#[test]
fn the_host_s_resolv_conf_is_followed() {
    let Some(host) = Host::new() else { return };
    let one = host.on_a(2, "one");
    let (first, second) = (Upstream::new(&host, 8), Upstream::new(&host, 9));
    host.ns.resolve_by("search example.org\nnameserver 127.0.0.8\n");
    let _server = host.serve_as_the_host(A);
    assert_eq!(one.dig("www.example.org"), "NOERROR 192.0.2.8");
    host.ns.sh("echo nameserver 127.0.0.9 >/etc/resolv.conf");
    assert_eq!(one.dig("www.example.org"), "NOERROR 192.0.2.9", "nothing is kept of whom nobody asks any more");
    host.ns.resolve_by("nameserver 10.1.0.1\nnameserver 127.0.0.8\n");
    let (said, took) = timed(|| one.dig("www.example.org"));
    assert!(said == "NOERROR 192.0.2.8" && took < 1.5, "it does not ask itself: {said} {took}");
    host.names.write_upstreams(A, &["127.0.0.9".parse().unwrap()]).unwrap();
    assert_eq!(one.dig("www.example.org"), "NOERROR 192.0.2.9", "the network's own come first");
    host.names.write_upstreams(A, &[]).unwrap();
    assert_eq!(one.dig("www.example.org"), "SERVFAIL", "nothing leads out");
    assert_eq!(one.dig("one"), "NOERROR 10.1.0.2");
    std::fs::remove_file(host.dir.join("names").join(A).join("upstreams")).unwrap();
    assert_eq!(one.dig("www.example.org"), "NOERROR 192.0.2.8");
    assert!(first.asked().len() == 3 && second.asked().len() == 2);
    let _third = Upstream::at(&host, Ipv6Addr::LOCALHOST.into(), 7);
    host.ns.resolve_by("nameserver ::1\n");
    assert_eq!(one.dig("www.example.org"), "NOERROR 192.0.2.7", "by IPv6");
    assert_eq!(one.dig("big.example.org").matches(" 198.51.100.").count(), 200);
}

/// A question for an address as bytes.
fn packet(id: u16, name: &str) -> Vec<u8> {
    let mut packet = id.to_be_bytes().to_vec();
    packet.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        packet.push(label.len() as u8);
        packet.extend(label.as_bytes());
    }
    packet.extend([0, 0, 1, 0, 1]);
    packet
}

fn framed(packet: &[u8]) -> Vec<u8> {
    [&(packet.len() as u16).to_be_bytes(), packet].concat()
}

/// A socket of the host with this address of its own.
fn socket(host: &Host, address: [u8; 4]) -> UdpSocket {
    host.ns.sh(&format!("ip addr add {}/32 dev lo", Ipv4Addr::from(address)));
    let socket = host.ns.inside(|| {
        let socket = UdpSocket::bind(SocketAddr::from((address, 0))).unwrap();
        socket.connect("10.1.0.1:53").unwrap();
        socket
    });
    socket.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    socket
}

#[test]
fn one_that_asks_without_end_does_not_keep_others_from_asking() {
    let Some(host) = Host::new() else { return };
    let one = host.on_a(2, "one");
    let _upstream = Upstream::new(&host, 9);
    let _server = host.serve(A, &["127.0.0.9"]);
    let mut space = [0; 512];
    let flooders: Vec<UdpSocket> = (0..6).map(|nth| socket(&host, [10, 9, 0, nth])).collect();
    for nth in 0..2000 {
        for flooder in &flooders {
            flooder.send(&packet(nth, &format!("silent.{nth}.example.org"))).unwrap();
        }
        if nth % 20 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    // A packet among so many may be lost: who asks, asks again.
    let (said, took) = timed(|| one.dig("+tries=3 +time=1 www.example.org"));
    assert!(said == "NOERROR 192.0.2.9" && took < 3.5, "{said} {took}");
    let (said, took) = timed(|| one.dig("one"));
    assert!(said == "NOERROR 10.1.0.2" && took < 1.5, "{said} {took}");
    // What is more than a share has failed at once.
    let got = flooders[0].recv(&mut space).unwrap();
    assert!(got > 12 && space[3] & 15 == 2, "SERVFAIL");
}

#[test]
fn who_asks_what_is_being_asked_waits_for_the_same_answer() {
    let Some(host) = Host::new() else { return };
    let upstream = Upstream::new(&host, 9);
    let _server = host.serve(A, &["127.0.0.9"]);
    let sockets: Vec<UdpSocket> = (0..5).map(|nth| socket(&host, [10, 9, 0, nth])).collect();
    for (nth, socket) in sockets.iter().enumerate() {
        for _ in 0..2 {
            socket.send(&packet(nth as u16, "slow.example.org")).unwrap();
        }
    }
    let mut space = [0; 512];
    for (nth, socket) in sockets.iter().enumerate() {
        let got = socket.recv(&mut space).unwrap();
        assert_eq!((usize::from(space[1]), &space[got - 4..got]), (nth, &[192, 0, 2, 9][..]));
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(socket.recv(&mut space).is_err(), "who asks twice is answered once");
    }
    assert_eq!(upstream.count("slow.example.org"), 1);
}

#[test]
fn a_connection_takes_many_questions_and_a_bad_one_harms_nobody() {
    let Some(host) = Host::new() else { return };
    let one = host.on_a(2, "one");
    let _upstream = Upstream::new(&host, 9);
    let _server = host.serve(A, &["127.0.0.9"]);
    let connect = || {
        let stream = host.ns.inside(|| TcpStream::connect("10.1.0.1:53").unwrap());
        stream.set_read_timeout(Some(Duration::from_secs(12))).unwrap();
        stream
    };
    let read = |stream: &mut TcpStream| -> std::io::Result<Vec<u8>> {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut message = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut message).map(|()| message)
    };
    // Local and forwarded ones, in pieces; answers come as they are there.
    let mut stream = connect();
    let names: Vec<&str> = ["one", "www.example.org", "nosuch", "big.example.org"].repeat(10);
    let all: Vec<u8> = names.iter().enumerate().flat_map(|(nth, name)| framed(&packet(nth as u16, name))).collect();
    for piece in all.chunks(97) {
        stream.write_all(piece).unwrap();
    }
    let mut ids: Vec<u8> = (0..names.len()).map(|_| read(&mut stream).unwrap()[1]).collect();
    ids.sort();
    assert_eq!(ids, (0..names.len() as u8).collect::<Vec<_>>());
    // One that announces too much, one that says nothing, one that takes nothing.
    let mut bad = connect();
    bad.write_all(&[0xff, 0xff, 0]).unwrap();
    assert!(read(&mut bad).is_err());
    let mut idle = connect();
    idle.write_all(&[0, 30, 0]).unwrap();
    let start = Instant::now();
    let mut greedy = connect();
    greedy.set_nonblocking(true).unwrap();
    let big = framed(&packet(7, "big.example.org")).repeat(50);
    let mut sent = 0;
    while sent < 100 << 20 {
        match greedy.write(&big) {
            Ok(some) => sent += some,
            Err(_) => break,
        }
    }
    assert!(sent < 100 << 20, "it is not listened to without end");
    // More connections than there may be: others' still get through.
    let _many: Vec<TcpStream> = (0..300).map(|_| connect()).collect();
    assert_eq!(one.dig("+tcp one"), "NOERROR 10.1.0.2");
    assert_eq!(one.dig("one"), "NOERROR 10.1.0.2");
    assert!(read(&mut idle).is_err() && start.elapsed() < Duration::from_secs(12), "it is closed");
}

#[test]
fn what_a_server_takes_has_an_end() {
    let Some(host) = Host::new() else { return };
    let one = host.on_a(2, "one");
    let _upstream = Upstream::new(&host, 9);
    let server = host.serve(A, &["127.0.0.9"]);
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.0.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap().to_owned();
        line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(one.dig("one"), "NOERROR 10.1.0.2");
    let before = memory();
    // Answers to keep, of which there is no end.
    let asker = socket(&host, [10, 9, 0, 1]);
    let mut space = [0; 512];
    for nth in 0..20_000u32 {
        asker.send(&packet(nth as u16, &format!("{nth}.example.org"))).unwrap();
        asker.recv(&mut space).unwrap();
    }
    let after = memory();
    eprintln!("{before} kB of memory, {after} kB with the cache full");
    assert!(after < before + 4096, "{before} {after}");
}

#[test]
fn packets_of_any_bytes_are_survived() {
    let Some(host) = Host::new() else { return };
    host.write(A, 2, [10, 1, 0, 2], &format!("one {}", &id(2)[..12]));
    let _upstream = Upstream::new(&host, 9);
    let _server = host.serve(A, &["127.0.0.9"]);
    let asker = socket(&host, [10, 9, 0, 1]);
    let mut seed = 0x9e37_79b9_u32;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed
    };
    let good = packet(1, "www.example.org");
    for _ in 0..20_000 {
        let mut packet = good.clone();
        for _ in 0..random() % 6 {
            let at = random() as usize % packet.len();
            packet[at] = random() as u8;
        }
        packet.truncate(random() as usize % (packet.len() + 8));
        let _ = asker.send(&packet);
    }
    let output = host.ns.command("dig +short +tries=3 @10.1.0.1 one").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "10.1.0.2\n", "{}", both(&output));
}
