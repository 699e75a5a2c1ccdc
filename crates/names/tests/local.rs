//! Names of containers, as `dig` sees them in containers.

mod common;

use common::upstream::Upstream;
use common::{A, B, Host, id, until};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[test]
fn containers_find_those_that_they_share_a_network_with() {
    let Some(host) = Host::new() else { return };
    let (one, two) = (host.on_a(2, "one 0123456789ab"), host.on_a(3, "two web"));
    two.join(2, "two");
    host.write(B, 4, [10, 2, 0, 4], "far web");
    let upstream = Upstream::new(&host, 9);
    let _servers = [host.serve(A, &["127.0.0.9"]), host.serve(B, &["127.0.0.9"])];
    for (container, question, expected) in [
        (&one, "one", "NOERROR 10.1.0.2"),
        (&one, "ONE", "NOERROR 10.1.0.2"),
        (&one, "0123456789ab", "NOERROR 10.1.0.2"),
        (&one, "two", "NOERROR 10.1.0.3"),
        (&one, "web", "NOERROR 10.1.0.3"),
        (&one, "+tcp web", "NOERROR 10.1.0.3"),
        (&one, "+noedns web", "NOERROR 10.1.0.3"),
        (&one, "web aaaa", "NOERROR"),
        (&one, "web mx", "NOERROR"),
        (&one, "web txt", "NOERROR"),
        (&one, "far", "NXDOMAIN"),
        (&one, "+norecurse far", "NXDOMAIN"),
        (&one, "-x 10.1.0.3", "NOERROR two."),
        (&one, "-x 10.1.0.77", "NXDOMAIN"),
        (&one, "-x fd00:a::77", "NXDOMAIN"),
        (&one, "localhost", "NOERROR 127.0.0.1"),
        (&one, "-c ch version.bind txt", "REFUSED"),
        (&one, "example.org axfr", "REFUSED"),
        (&one, "+opcode=notify web", "NOTIMP"),
        (&one, "+edns=1 +noednsnegotiation web", "BADVERS"),
        (&two, "far", "NOERROR 10.2.0.4"),
        (&two, "web", "NOERROR 10.1.0.3 10.2.0.4"),
        (&two, "-x 10.2.0.4", "NOERROR far."),
    ] {
        assert_eq!(container.dig(question), expected, "{question}");
    }
    assert_eq!(two.dig_at("web", "10.2.0.1"), "NOERROR 10.2.0.4 10.1.0.3", "first those of the network that is asked");
    assert_eq!(two.dig_at("one", "10.2.0.1"), "NOERROR 10.1.0.2");
    assert_eq!(upstream.asked(), [""; 0], "nothing of this is anybody's business");
    assert_eq!(one.dig("com. ds"), "NOERROR 192.0.2.9");
}

#[test]
fn a_change_is_seen_at_once() {
    let Some(host) = Host::new() else { return };
    let one = host.on_a(2, "one");
    let _server = host.serve(A, &[]);
    for nth in 3..8 {
        assert_eq!(one.dig("other"), "NXDOMAIN");
        host.write(A, 9, [10, 1, 0, nth], "other");
        assert_eq!(one.dig("other"), format!("NOERROR 10.1.0.{nth}"));
        host.write(A, 9, [10, 1, 0, nth], "renamed");
        assert_eq!(one.dig("other"), "NXDOMAIN");
        assert_eq!(one.dig("renamed"), format!("NOERROR 10.1.0.{nth}"));
        host.names.remove(A, &id(9)).unwrap();
        assert_eq!(one.dig("renamed"), "NXDOMAIN");
    }
    host.write(B, 9, [10, 2, 0, 9], "far");
    assert_eq!(one.dig("far"), "NXDOMAIN");
    one.join(2, "one");
    assert_eq!(one.dig("far"), "NOERROR 10.2.0.9", "connected while it runs");
    host.names.remove(B, &id(2)).unwrap();
    assert_eq!(one.dig("far"), "NXDOMAIN", "disconnected");
}

#[test]
fn a_name_of_many_takes_turns_and_is_told_in_full_by_tcp() {
    let Some(host) = Host::new() else { return };
    let one = host.on_a(2, "one");
    for nth in 3..=202 {
        host.write(A, nth, [10, 1, 0, nth], if nth < 6 { "few many" } else { "many" });
    }
    let _server = host.serve(A, &[]);
    let mut firsts: Vec<String> = (0..3).map(|_| one.dig("few").split(' ').nth(1).unwrap().to_owned()).collect();
    firsts.sort();
    assert_eq!(firsts, ["10.1.0.3", "10.1.0.4", "10.1.0.5"]);
    // Also for who asks for both kinds of addresses each time, as most programs do.
    host.write(A, 203, [10, 1, 0, 203], "two");
    host.write(A, 204, [10, 1, 0, 204], "two");
    let pair = || {
        let first = one.dig("two").split(' ').nth(1).unwrap().to_owned();
        one.dig("two AAAA");
        first
    };
    assert_ne!(pair(), pair());
    let count = |question| one.dig(question).matches(" 10.1.0.").count();
    assert_eq!(count("many"), 200, "dig asks by TCP when it is told that there are more");
    assert_eq!(count("+ignore many"), 74);
    assert_eq!(count("+ignore +noedns many"), 30);
}

#[test]
fn the_server_ends_when_it_is_told_and_leaves_nothing() {
    let Some(host) = Host::new() else { return };
    let one = host.on_a(2, "one");
    let mut server = host.serve(A, &[]);
    let before = std::fs::read_dir(host.dir.join("names").join(A)).unwrap().count();
    assert_eq!(one.dig("one"), "NOERROR 10.1.0.2");
    drop(server.0.stdin.take());
    until("the end of the server", || {
        std::fs::read_to_string(format!("/proc/{}/stat", server.0.id())).unwrap().contains(") Z ")
    });
    assert!(server.0.wait().unwrap().success());
    assert_eq!(std::fs::read_dir(host.dir.join("names").join(A)).unwrap().count(), before);
    // The next one goes on, as after a kill.
    let server = host.serve(A, &[]);
    drop(server);
    let _server = host.serve(A, &[]);
    assert_eq!(one.dig("one"), "NOERROR 10.1.0.2");
}

#[test]
fn a_network_that_goes_and_files_that_are_none_do_not_hurt() {
    let Some(host) = Host::new() else { return };
    let one = host.on_a(2, "one");
    let _server = host.serve(A, &[]);
    assert_eq!(one.dig("one"), "NOERROR 10.1.0.2");
    host.names.remove_network(A).unwrap();
    assert_eq!(one.dig("one"), "NXDOMAIN");
    std::fs::write(host.dir.join("names").join(B), "no directory").unwrap();
    std::fs::create_dir(host.dir.join("names").join(A)).unwrap();
    let of_a = |nth: u8| host.dir.join("names").join(A).join(id(nth));
    std::fs::write(of_a(3), "10.1.0.3").unwrap();
    std::fs::write(of_a(4), vec![b'\n'; 1 << 20]).unwrap();
    std::fs::create_dir(of_a(5)).unwrap();
    std::os::unix::fs::symlink("/dev/zero", of_a(6)).unwrap();
    host.write(A, 2, [10, 1, 0, 2], "one");
    assert_eq!(one.dig("one"), "NOERROR 10.1.0.2");
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(one.dig("one"), "NOERROR 10.1.0.2");
}

#[test]
fn a_file_that_is_being_written_is_the_old_one_or_the_new_one() {
    let Some(host) = Host::new() else { return };
    let one = host.on_a(2, "one");
    let many: String = (0..3000).map(|nth| format!("other{nth} ")).collect();
    host.write(A, 9, [10, 1, 0, 3], &many);
    let _server = host.serve(A, &[]);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for nth in (3..=4).cycle() {
                host.write(A, 9, [10, 1, 0, nth], &many);
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let said: BTreeSet<String> = (0..50).map(|_| one.dig("other2999")).collect();
        is_over.store(true, Ordering::Relaxed);
        assert!(said.is_subset(&BTreeSet::from(["NOERROR 10.1.0.3".into(), "NOERROR 10.1.0.4".into()])), "{said:?}");
    });
}
