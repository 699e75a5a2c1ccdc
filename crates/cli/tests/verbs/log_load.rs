//! The log of a container that prints as fast as it can, or onto a disk that is full: each line is numbered, and all of
//! them come back.

use crate::common::life::Life;
use crate::common::{Scratch, busybox_root, code, stderr, wait_until};
use std::io::Write;
use std::time::Instant;

/// So many lines of a stream, all different: `WORD 00000001 xxx...`, of 20 to 180 bytes.
fn lines(word: &str, bytes: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes + 200);
    let mut nth = 0;
    while text.len() < bytes {
        writeln!(text, "{word} {nth:08} {}", "\"x\u{e4}y z\\"[..6].repeat(nth * 7 % 27)).unwrap();
        nth += 1;
    }
    text
}

/// The first difference of two texts, for a person.
fn difference(is: &[u8], expected: &[u8]) -> Option<String> {
    if is == expected {
        return None;
    }
    let at = is.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(is.len().min(expected.len()));
    let shown =
        |text: &[u8]| String::from_utf8_lossy(&text[at.saturating_sub(80)..text.len().min(at + 80)]).into_owned();
    Some(format!(
        "{} bytes of {} came back; from byte {at}: {:?}, not {:?}",
        is.len(),
        expected.len(),
        shown(is),
        shown(expected)
    ))
}

/// Prints both files at once, and says the rate.
fn print_all(life: &Life, name: &str, flags: &[&str], volume: &str, bytes: usize) {
    let root = busybox_root().to_str().unwrap();
    let script = "cat /data/out & cat /data/err >&2; wait";
    let words = ["run", "-d", "--name", name, "--network", "none", "--ephemeral", "-v", volume];
    let began = Instant::now();
    life.note(life.ok(&[&words, flags, &[root, "sh", "-c", script]].concat()));
    assert_eq!(life.ok(&["wait", name]), "0");
    let rate = bytes as f64 / 1e6 / began.elapsed().as_secs_f64();
    println!("{flags:?}: {:.0} MB at {rate:.0} MB/s", bytes as f64 / 1e6);
}

fn nothing_is_lost(test: &str, bytes: usize) {
    let Some(life) = Life::new(test) else { return };
    let scratch = Scratch::new("load");
    let (out, err) = (lines("out", bytes), lines("err", bytes));
    scratch.file("out", &out, 0o644);
    scratch.file("err", &err, 0o644);
    let volume = format!("{}:/data:ro", scratch.0.display());
    for driver in ["json-file", "k8s-file"] {
        for rotation in [&[][..], &["--log-opt", "max-size=3m", "--log-opt", "max-file=1000"]] {
            let flags = [&["--log-driver", driver], rotation].concat();
            print_all(&life, "load", &flags, &volume, out.len() + err.len());
            let logged = life.tool(&["logs", "load"]);
            assert_eq!(code(logged.status), 0);
            let wrong = [difference(&logged.stdout, &out), difference(&logged.stderr, &err)];
            assert_eq!(wrong, [None, None], "{flags:?}");
            life.ok(&["rm", "load"]);
        }
        // Of one that keeps three files the last lines are there, without a gap.
        let flags = ["--log-driver", driver, "--log-opt", "max-size=1m", "--log-opt", "max-file=3"];
        print_all(&life, "load", &flags, &volume, out.len() + err.len());
        let logged = life.tool(&["logs", "load"]);
        for (is, all) in [(&logged.stdout, &out), (&logged.stderr, &err)] {
            assert!(all.ends_with(is) && is.len() < all.len(), "{flags:?}");
            assert!(is.is_empty() || all[..all.len() - is.len()].ends_with(b"\n"), "{flags:?}: half a line");
        }
        assert!(logged.stdout.len() + logged.stderr.len() > 1 << 20, "{flags:?}: it keeps two files and a part");
        life.ok(&["rm", "load"]);
    }
}

#[test]
fn of_what_is_printed_fast_nothing_is_lost() {
    nothing_is_lost("of_what_is_printed_fast_nothing_is_lost", 4 << 20);
}

#[test]
#[ignore = "takes a minute: `make soak`"]
fn of_two_hundred_megabytes_nothing_is_lost() {
    nothing_is_lost("of_two_hundred_megabytes_nothing_is_lost", 100 << 20);
}

/// Lines of a text with the number that each should have; the first that has not.
fn numbered(text: &str, word: &str) -> Vec<usize> {
    let numbers = text.lines().filter_map(|line| line.strip_prefix(word)?.split(' ').nth(1)?.parse().ok());
    numbers.collect()
}

#[test]
fn a_full_disk_stops_nobody_and_is_told() {
    let Some(life) = Life::new("a_full_disk_stops_nobody_and_is_told") else { return };
    for driver in ["json-file", "k8s-file"] {
        let scratch = Scratch::new("full");
        let out = lines("out", 12 << 20);
        scratch.file("out", &out, 0o644);
        let volume = format!("{}:/data", scratch.0.display());
        life.host.sh("mount -t tmpfs -o size=8m none /var/lib/mycontainer
                      head -c 4m /dev/zero >/var/lib/mycontainer/filler");
        let script = "cat /data/out; touch /data/printed; until [ -e /data/go ]; do sleep 0.05; done; \
                      for n in 1 2 3; do echo after $n; echo err $n >&2; done; touch /data/more; \
                      until [ -e /data/end ]; do sleep 0.05; done; exit 5";
        let root = busybox_root().to_str().unwrap();
        // In place: the container itself needs no room there.
        let words = ["run", "-d", "--name", "full", "--network", "none", "-v", &volume, "--log-driver", driver];
        let id = life.note(life.ok(&[&words[..], &[root, "sh", "-c", script]].concat()));
        let is_there = |name: &str| scratch.0.join(name).exists();
        assert!(wait_until(20, || is_there("printed")), "{driver}: it is held up by a full disk");
        assert_eq!(life.host.sh("df --output=avail /var/lib/mycontainer | tail -n 1").trim(), "0", "{driver}");
        assert_eq!(life.state("full").0, "running");
        life.host.sh("rm /var/lib/mycontainer/filler");
        // It tries again each second.
        let logs = || life.tool(&["logs", "full"]);
        assert!(wait_until(10, || stderr(&logs()).contains("are lost")), "{driver}: {}", stderr(&logs()));
        scratch.file("go", "", 0o644);
        assert!(wait_until(10, || is_there("more")));
        assert!(wait_until(10, || stderr(&logs()).contains("err 3\n")), "{driver}: {}", stderr(&logs()));
        let logged = logs();
        let (kept, told) = (String::from_utf8(logged.stdout.clone()).unwrap(), stderr(&logged));
        let (kept, after) = kept.split_at(kept.find("after 1\n").expect("it goes on"));
        assert_eq!(after, "after 1\nafter 2\nafter 3\n", "{driver}");
        assert!(out.starts_with(kept.as_bytes()) && kept.ends_with('\n'), "{driver}: what is kept is whole lines");
        let (told, errors) = told.split_once('\n').unwrap();
        assert_eq!(errors, "err 1\nerr 2\nerr 3\n", "{driver}");
        // Each line is kept or counted.
        let lost = &out[kept.len()..];
        let count = lost.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(numbered(kept, "out").len() + count, out.iter().filter(|byte| **byte == b'\n').count());
        let expected = format!(
            "mycontainer: {} bytes of {count} lines are lost, for the log could not be written: No space left on device",
            lost.len()
        );
        assert!(told.starts_with(&expected), "{driver}: {told}, not {expected}");
        // It ends on a disk that is full again, and how is known.
        life.host.sh("head -c 8m /dev/zero >/var/lib/mycontainer/filler || true");
        scratch.file("end", "", 0o644);
        life.until("full", "exited");
        assert_eq!(life.state("full"), ("exited".into(), 5, String::new()), "{driver}");
        assert_eq!(life.ok(&["wait", "full"]), "5");
        life.assert_at_rest(&id);
        life.ok(&["rm", "full"]);
        life.host.sh("umount /var/lib/mycontainer");
    }
}
