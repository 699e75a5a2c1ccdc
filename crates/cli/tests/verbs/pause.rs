//! `pause` and `unpause`: a container stands still, and everybody sees it.

use crate::common::{stderr, stdout, wait_until};
use crate::fixtures::guest::{Guest, machine, pause};
use crate::fixtures::has;
use crate::fixtures::image::TestImage;
use std::process::Stdio;

const COUNTS: &str = "echo ready; n=0; while :; do n=$((n+1)); echo $n >/count; sleep 0.01; done";

#[test]
fn it_stands_still_until_it_is_told_to_go_on() {
    if !has("it_stands_still_until_it_is_told_to_go_on", &[]) {
        return;
    }
    let peers = crate::fixtures::guest::machine(TestImage::busybox());
    let mut guest = Guest::start(&peers, "guest", &[], "./layout", COUNTS);
    peers.ours_ok(&["create", "--name", "made", "./layout"]);
    let count = || std::fs::read_to_string(format!("/proc/{}/root/count", guest.first_process())).unwrap();
    let moves = |last: &str| wait_until(2, || count() != last && !count().is_empty());
    assert!(moves(""));
    assert_eq!(peers.ours_ok(&["pause", "guest"]), "guest\n");
    let stood = count();
    pause(300);
    assert_eq!(count(), stood);
    let status = peers.ours_ok(&["ps", "--format", "{{.State}} {{.Status}}"]);
    assert!(status.starts_with("paused Up ") && status.ends_with(" (Paused)\n"), "{status}");
    assert_eq!(peers.ours_ok(&["ps", "-f", "status=paused", "--format", "{{.Names}}"]), "guest\n");
    let shown = peers.ours_ok(&["inspect", "-f", "{{.State.Status}} {{.State.Running}} {{.State.Paused}}", "guest"]);
    assert_eq!(shown, "paused true true\n");
    // A commit of it does not let it run on, and neither does a command that is killed.
    peers.ours_ok(&["commit", "guest", "localhost/of:1"]);
    let stood = count();
    pause(100);
    assert_eq!(count(), stood);
    let output = peers.ours(&["container", "pause", "guest", "nothing", "made"]);
    assert_eq!((stdout(&output).as_str(), output.status.code()), ("", Some(1)));
    for said in ["the container guest is paused", "no container \"nothing\"", "the container made is not running"] {
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
    assert_eq!(peers.ours_ok(&["container", "unpause", "guest"]), "guest\n");
    assert!(moves(&stood));
    let said = peers.ours_fails(1, &["unpause", "guest"]);
    assert!(said.contains("the container guest is not paused"), "{said}");
    let status = peers.ours_ok(&["ps", "--format", "{{.Status}}"]);
    assert!(!status.contains("Paused"), "{status}");
    // What ends it, ends it also when it stands still.
    peers.ours_ok(&["pause", "guest"]);
    peers.ours_ok(&["kill", "guest"]);
    assert_eq!(guest.end(), 137);
    let mut guest =
        Guest::start(&peers, "guest", &[], "./layout", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done");
    peers.ours_ok(&["pause", "guest"]);
    peers.ours_ok(&["stop", "guest"]);
    assert_eq!(guest.end(), 5);
    let mut guest = Guest::start(&peers, "guest", &[], "./layout", COUNTS);
    peers.ours_ok(&["pause", "guest"]);
    peers.ours_ok(&["rm", "-f", "guest"]);
    assert_eq!(guest.end(), 137);
}

#[test]
fn a_killed_pause_leaves_one_that_stands_or_runs() {
    if !has("a_killed_pause_leaves_one_that_stands_or_runs", &[]) {
        return;
    }
    let peers = machine(TestImage::busybox());
    let _guest = Guest::start(&peers, "guest", &[], "./layout", COUNTS);
    for n in 0..20 {
        let mut command = peers.ours_command(&["pause", "guest"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        pause(n);
        let _ = child.kill();
        let _ = child.wait();
        // Killed was the shell or the tool itself, which may go on for a moment.
        pause(50);
        let state = peers.ours_ok(&["ps", "--format", "{{.State}}"]);
        let next = match state.as_str() {
            "paused\n" => "unpause",
            "running\n" => "pause",
            other => panic!("{other}"),
        };
        peers.ours_ok(&[next, "guest"]);
        if next == "pause" {
            peers.ours_ok(&["unpause", "guest"]);
        }
    }
}
