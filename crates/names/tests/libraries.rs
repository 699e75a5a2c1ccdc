//! The resolvers that are in containers' programs: the C libraries', Go's, busybox's.

mod common;

use common::upstream::Upstream;
use common::{A, Container, Host, both, need, until};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A container `one`, beside `two`, which asks the server of A as its resolv.conf says.
fn with_one(test: impl FnOnce(&Container<'_>, &Container<'_>, &Upstream)) {
    let Some(host) = Host::new() else { return };
    let (one, two) = (host.on_a(2, "one web"), host.on_a(3, "two web"));
    let upstream = Upstream::new(&host, 9);
    let _server = host.serve(A, &["127.0.0.9"]);
    one.ns.resolve_by("nameserver 10.1.0.1\noptions ndots:0\n");
    test(&one, &two, &upstream);
}

fn lines(said: &str) -> Vec<String> {
    let mut lines: Vec<String> =
        said.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>().join(" ")).collect();
    lines.sort();
    lines
}

#[test]
fn glibc_finds_names_and_addresses() {
    with_one(|one, _, upstream| {
        // A line an address and kind of socket; one kind will do.
        let ask = |words: &str| {
            let mut said = lines(&one.ns.sh(&format!("getent -s dns {words}")));
            said.retain(|line| !line.contains(" DGRAM") && !line.contains(" RAW"));
            said
        };
        assert_eq!(ask("ahostsv4 web"), ["10.1.0.2 STREAM web", "10.1.0.3 STREAM"], "in any order");
        assert_eq!(ask("hosts 10.1.0.3"), ["10.1.0.3 two"]);
        assert_eq!(ask("ahostsv4 www.example.org"), ["192.0.2.9 STREAM www.example.org"]);
        assert!(!one.ns.command("getent -s dns hosts nosuch").output().unwrap().status.success());
        assert_eq!(upstream.count("nosuch"), 0);
        // Both kinds of address in one go, of which one is not there.
        let start = Instant::now();
        assert_eq!(ask("ahosts two"), ["10.1.0.3 STREAM two"]);
        assert!(start.elapsed() < Duration::from_secs(1));
    });
}

#[test]
fn musl_finds_names_and_addresses() {
    let has_compiler = Command::new("musl-gcc").arg("--version").output().is_ok();
    if !need(has_compiler, "there is no musl-gcc (scripts/setup-tests installs it)") {
        return;
    }
    with_one(|one, _, upstream| {
        let (source, program) = (one.host.dir.join("resolve.c"), one.host.dir.join("resolve"));
        std::fs::write(&source, RESOLVE).unwrap();
        let built = Command::new("musl-gcc").args(["-static", "-O", "-o"]).arg(&program).arg(&source).output().unwrap();
        assert!(built.status.success(), "{}", both(&built));
        let ask = |name: &str| lines(&one.ns.sh(&format!("{} {name}", program.display())));
        assert_eq!(ask("web"), ["10.1.0.2", "10.1.0.3"]);
        assert_eq!(ask("two"), ["10.1.0.3"]);
        assert_eq!(ask("10.1.0.3"), ["two"]);
        assert_eq!(ask("www.example.org"), ["192.0.2.9"]);
        assert_eq!(ask("nosuch"), ["Name does not resolve"]);
        assert_eq!(upstream.count("nosuch"), 0);
    });
}

/// Prints the addresses of a name, or the name of an address.
const RESOLVE: &str = r#"
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
int main(int count, char **words) {
    struct sockaddr_in address = { .sin_family = AF_INET };
    char text[256];
    if (inet_pton(AF_INET, words[1], &address.sin_addr) == 1) {
        int error = getnameinfo((void *)&address, sizeof address, text, sizeof text, 0, 0, NI_NAMEREQD);
        puts(error ? gai_strerror(error) : text);
        return 0;
    }
    struct addrinfo wanted = { .ai_socktype = SOCK_STREAM }, *found;
    int error = getaddrinfo(words[1], 0, &wanted, &found);
    if (error) { puts(gai_strerror(error)); return 0; }
    for (; found; found = found->ai_next) {
        getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof text, 0, 0, NI_NUMERICHOST);
        puts(text);
    }
}
"#;

#[test]
fn busybox_finds_names() {
    with_one(|one, _, _| {
        let said = one.ns.sh("busybox nslookup web");
        assert!(said.contains("10.1.0.2") && said.contains("10.1.0.3"), "{said}");
        let said = one.ns.sh("busybox nslookup 10.1.0.3");
        assert!(said.contains("name = two"), "{said}");
        let said = one.ns.command("busybox nslookup nosuch").output().unwrap();
        assert!(both(&said).contains("NXDOMAIN"), "{}", both(&said));
    });
}

/// Docker's client is a Go program that connects to a host by its name.
#[test]
fn go_finds_names() {
    let docker = ["/usr/bin/docker", "/usr/local/bin/docker"].into_iter().find(|path| Path::new(path).exists());
    let Some(docker) = docker.or_else(|| need(false, "there is no docker (scripts/setup-callers)").then_some(""))
    else {
        return;
    };
    with_one(|one, two, _| {
        for name in ["two", "TWO."] {
            let listener = two.ns.inside(|| TcpListener::bind("10.1.0.3:2375").unwrap());
            listener.set_nonblocking(true).unwrap();
            let mut client = one.ns.command(&format!("HOME=/ exec {docker} -H tcp://{name}:2375 version"));
            let mut client = client.env("GODEBUG", "netdns=go").spawn().unwrap();
            until("a connection", || listener.accept().is_ok());
            client.kill().unwrap();
            client.wait().unwrap();
        }
    });
}
