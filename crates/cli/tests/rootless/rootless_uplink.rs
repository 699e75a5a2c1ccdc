//! How an ordinary user's containers reach the world: by pasta, by slirp4netns where there is no pasta, and not at all.
//!
//! The world is a machine beside the test's host. A program is hidden by a PATH in which all others are.

use crate::common::user::User;
use crate::common::{need, stderr, stdout, wait_until};
use std::process::Command;

const IDS: u32 = 65536;

/// A user on a host with IPv4 and IPv6, whose one name server listens on loopback.
fn user(test: &str) -> Option<User> {
    let has = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    if !need(test, has("slirp4netns") && has("dnsmasq"), "it needs slirp4netns and dnsmasq") {
        return None;
    }
    let user = User::new(test, IDS)?;
    user.host.outside().sh("ip addr add 2001:db8:1::9/64 dev out0 nodad");
    user.host.sh("ip addr add 2001:db8:1::2/64 dev up0 nodad; ip -6 route add default via 2001:db8:1::9
         echo nameserver 127.0.0.1 > /run/resolv.conf; mount --bind /run/resolv.conf /etc/resolv.conf");
    Some(user)
}

/// Words that make the other programs of this machine the user's whole PATH, but for those.
fn without(programs: &str) -> String {
    format!(
        "mkdir -p bin; ln -sf /usr/bin/* /usr/sbin/* /bin/* /sbin/* bin 2> /dev/null || true; \
         (cd bin; rm -f {programs}); export PATH=$HOME:$HOME/bin; "
    )
}

/// Everything that a way out gives, whoever gives it. `$1` to `mycontainer` is `before`.
fn reaches_the_world(user: &User, before: &str) {
    let outside = user.host.outside();
    let _four = outside.serve("busybox", &["httpd", "-f", "-p", "0.0.0.0:8000", "-h", "/etc"], "203.0.113.9", 8000);
    let _six = outside.serve("busybox", &["httpd", "-f", "-p", "[::]:8006", "-h", "/etc"], "2001:db8:1::9", 8006);
    let words = ["--no-daemon", "--no-resolv", "--no-hosts", "--listen-address=127.0.0.1", "--bind-interfaces"];
    let words = [&words[..], &["--address=/far.test/203.0.113.9", "--pid-file="]].concat();
    let _names = user.host.serve("dnsmasq", &words, "127.0.0.1", 53);
    let page = std::fs::read_to_string("/etc/hostname").unwrap();
    let sh = |script: &str| user.sh(&format!("{before}{script}"));
    sh("mycontainer network create --ipv6 net > /dev/null");
    for network in ["bridge", "net"] {
        let run = format!("mycontainer run --rm --network {network} ./root");
        assert_eq!(sh(&format!("{run} wget -q -O - http://203.0.113.9:8000/hostname")), page, "{network}");
        let found = sh(&format!("{run} nslookup -type=a far.test"));
        assert!(found.contains("Address: 203.0.113.9") || found.contains("Address 1: 203.0.113.9"), "{found}");
    }
    let six = "mycontainer run --rm --network net ./root sh -c 'timeout 3 wget -q -O - http://[2001:db8:1::9]:8006/hostname; true'";
    let got = || user.try_sh(&format!("{before}{six}"));
    // By slirp4netns it has an address when a router has been heard, and the kernel has made sure that it is nobody's.
    assert!(wait_until(20, || stdout(&got()) == page), "{}", stderr(&got()));
    // Ports are published, and who asks is seen, on either network; names are told.
    for (name, network, port) in [("one", "bridge", 8080), ("two", "net", 8081)] {
        sh(&format!(
            "mycontainer run -d --name {name} --network {network} -p {port}:80 ./root sh -c \
             'mkdir -p /w/cgi-bin; printf \"#!/bin/sh\\necho; echo \\$REMOTE_ADDR\\n\" > /w/cgi-bin/who; \
             chmod 755 /w/cgi-bin/who; exec httpd -f -p 0.0.0.0:80 -h /w' > /dev/null"
        ));
        let ask = format!("curl -s -m 2 http://203.0.113.2:{port}/cgi-bin/who");
        assert!(
            wait_until(10, || stdout(&outside.try_sh(&ask)) == "203.0.113.9\n"),
            "{network}: {:?}",
            outside.try_sh(&ask)
        );
    }
    sh("mycontainer run --rm --network net ./root ping -c 1 -W 2 two");
}

fn programs(user: &User, name: &str) -> Vec<i32> {
    user.processes().into_iter().filter(|(_, comm)| comm.starts_with(name)).map(|(pid, _)| pid).collect()
}

#[test]
fn pasta_leads_to_the_world() {
    let Some(user) = user("pasta_leads_to_the_world") else { return };
    reaches_the_world(&user, "");
    // Its owner killed, it stays, and is in nobody's way.
    user.host.sh(&format!("kill -9 {}", programs(&user, "mc-uplink")[0]));
    let page = std::fs::read_to_string("/etc/hostname").unwrap();
    let _four = user.host.outside().serve("busybox", &["httpd", "-f", "-p", "8000", "-h", "/etc"], "203.0.113.9", 8000);
    assert_eq!(user.sh("mycontainer run --rm ./root wget -q -O - http://203.0.113.9:8000/hostname"), page);
    assert_eq!(programs(&user, "pas").len(), 1);
    user.host.sh(&format!("kill -9 {}", programs(&user, "mc-uplink")[0]));
    user.sh("mycontainer rm -f one two");
    assert!(wait_until(15, || programs(&user, "pas").is_empty()), "{:?}", user.processes());
    assert!(programs(&user, "slirp4netns").is_empty());
}

#[test]
fn where_there_is_no_pasta_slirp4netns_does() {
    let Some(user) = user("where_there_is_no_pasta_slirp4netns_does") else { return };
    let before = without("pasta pasta.avx2 passt passt.avx2");
    reaches_the_world(&user, &before);
    // One for all containers of the user.
    assert_eq!((programs(&user, "slirp4netns").len(), programs(&user, "pasta").len()), (1, 0));
    let checked = user.try_sh(&format!("{before} mycontainer info --check"));
    assert!(stdout(&checked).contains("slirp4netns does the same"), "{}", stdout(&checked));
    // What it belongs to does not end without it, and the next container has another one.
    let uplink = programs(&user, "mc-uplink")[0];
    user.host.sh(&format!("kill -9 {uplink}"));
    assert!(wait_until(5, || programs(&user, "slirp4netns").is_empty()));
    let page = std::fs::read_to_string("/etc/hostname").unwrap();
    let _four = user.host.outside().serve("busybox", &["httpd", "-f", "-p", "8000", "-h", "/etc"], "203.0.113.9", 8000);
    let run = format!("{before} mycontainer run --rm ./root wget -q -O - http://203.0.113.9:8000/hostname");
    assert_eq!(user.sh(&run), page);
}

#[test]
fn where_there_is_neither_it_is_said_what_to_install() {
    let Some(user) = user("where_there_is_neither_it_is_said_what_to_install") else { return };
    let before = without("pasta pasta.avx2 passt passt.avx2 slirp4netns");
    let first = user.try_sh(&format!("{before} mycontainer run -d --name web ./root sleep 100"));
    let said = stderr(&first);
    assert!(first.status.success(), "{said}");
    assert!(said.contains("the package passt") && said.contains("package slirp4netns"), "{said}");
    let checked = user.try_sh(&format!("{before} mycontainer info --check"));
    assert!(stdout(&checked).contains("install the package passt, or slirp4netns"), "{}", stdout(&checked));
    let address = user.sh("mycontainer inspect -f '{{.NetworkSettings.IPAddress}}' web");
    user.sh(&format!("{before} mycontainer run --rm ./root ping -c 1 -W 2 {address}"));
}
