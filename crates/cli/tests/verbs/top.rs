//! `top`: what ps(1) says of a container's processes, without ps.

use crate::fixtures::guest::{Guest, machine, pause};
use crate::fixtures::has;
use crate::fixtures::image::TestImage;
use std::process::Command;

/// Cells of each line; the last one is the rest.
fn cells(text: &str, columns: usize) -> Vec<Vec<String>> {
    text.lines()
        .map(|line| {
            let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let rest = words.split_off(columns - 1).join(" ");
            words.push(rest);
            words
        })
        .collect()
}

#[test]
fn it_is_what_ps_says() {
    if !has("it_is_what_ps_says", &["ps"]) {
        return;
    }
    let peers = machine(TestImage::busybox());
    let script = "sleep 1000 & busybox sh -c 'sleep 2000; :' with words & echo ready; i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; sleep 3000";
    let guest = Guest::start(&peers, "guest", &["-u", "0"], "./layout", script);
    pause(1500);
    let first = guest.first_process().to_string();
    let text = peers.ours_ok(&["top", "guest"]);
    assert!(text.starts_with("UID                 PID                 PPID                C  "), "{text}");
    let ours = cells(&text, 8);
    assert!(ours.len() >= 4 && ours[1][1] == first, "{text}");
    let pids: Vec<&str> = ours[1..].iter().map(|line| line[1].as_str()).collect();
    let judge = |columns: &[&str]| {
        let mut command = Command::new("ps");
        command.env("TZ", "UTC").args(columns).args(["-p", &pids.join(",")]);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let theirs = cells(&judge(&["-f"]), 8);
    // C and TIME may have gone on between the two; when the machine was booted each rounds to a second for itself, so that
    // by STIME a process can have begun a minute apart.
    let minutes = |time: &str| {
        let (hours, minutes) = time.split_once(':')?;
        Some(hours.parse::<i32>().ok()? * 60 + minutes.parse::<i32>().ok()?)
    };
    for (ours, theirs) in ours.iter().zip(&theirs) {
        for column in [0, 1, 2, 5, 7] {
            assert_eq!(ours[column], theirs[column], "{ours:?} {theirs:?}");
        }
        let apart = minutes(&ours[4]).zip(minutes(&theirs[4])).map(|(one, other)| (one - other).rem_euclid(24 * 60));
        let is_one = ours[4] == theirs[4] || matches!(apart, Some(0 | 1 | 1439));
        assert!(is_one, "{ours:?} {theirs:?}");
    }
    assert_eq!(ours.len(), theirs.len());
    for columns in ["pid,ppid,pgid,sid,uid,user,comm", "pid,tty,ni,nlwp,vsz", "pid,args"] {
        let count = columns.split(',').count();
        let ours = cells(&peers.ours_ok(&["container", "top", "guest", "-o", columns]), count);
        assert_eq!(ours, cells(&judge(&["-o", columns]), count), "{columns}");
    }
    assert_eq!(peers.ours_ok(&["top", "guest", "-ef"]).lines().count(), ours.len());
    // One that stands still is looked at, too.
    peers.ours_ok(&["pause", "guest"]);
    assert_eq!(peers.ours_ok(&["top", "guest", "-eo", "pid"]).lines().count(), ours.len());
    peers.ours_ok(&["unpause", "guest"]);
    peers.ours_ok(&["create", "--name", "made", "./layout"]);
    for (code, words, said) in [
        (1, &["made"][..], "the container made is not running"),
        (1, &["nothing"], "there is no container"),
        (125, &["guest", "aux"], "top has of ps only -ef and -o COLUMNS, and \"aux\" is another one"),
        (125, &["guest", "-o", "nonsense"], "top has no column \"nonsense\""),
        (125, &["guest", "-o"], "-o needs columns"),
        (125, &[], "top needs CONTAINER"),
    ] {
        let told = peers.ours_fails(code, &[&["top"], words].concat());
        assert!(told.contains(said), "{words:?}: {told}");
    }
}

#[test]
fn a_process_cannot_write_to_the_terminal() {
    if !has("a_process_cannot_write_to_the_terminal", &[]) {
        return;
    }
    let peers = machine(TestImage::busybox());
    let script = "busybox sh -c 'sleep 1000; :' \"$(printf 'a\\033[2Jb\\tc\\nd')\" & echo ready; sleep 1000";
    let _guest = Guest::start(&peers, "guest", &[], "./layout", script);
    pause(200);
    let text = peers.ours_ok(&["top", "guest", "-o", "pid,args,comm"]);
    assert!(text.contains("a\\u{1b}[2Jb c d") && !text.contains('\u{1b}'), "{text}");
}
