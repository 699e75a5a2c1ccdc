//! `rename`: another name, for one that runs and one that does not; the old one is free, and no two have one.

use crate::common::stderr;
use crate::fixtures::guest::{Guest, machine};
use crate::fixtures::has;
use crate::fixtures::image::TestImage;
use std::process::Stdio;

#[test]
fn the_new_name_leads_to_it_and_the_old_one_is_free() {
    if !has("the_new_name_leads_to_it_and_the_old_one_is_free", &[]) {
        return;
    }
    let peers = machine(TestImage::busybox());
    let id = peers.ours_ok(&["create", "--name", "first", "-l", "a=b", "./layout"]).trim_end().to_owned();
    let record = peers.ours_dir().join("containers").join(&id).join("created.json");
    let before: serde_json::Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    assert_eq!(peers.ours_ok(&["rename", "first", "second"]), "");
    let mut after: serde_json::Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    assert_eq!(after["name"], "second");
    // By which its own /etc/hosts has it.
    assert_eq!(after["options"]["name"], "second");
    (after["name"], after["options"]["name"]) = ("first".into(), "first".into());
    assert_eq!(after, before, "nothing else has changed");
    peers.only_whole(std::slice::from_ref(&id));
    let other = peers.ours_ok(&["create", "--name", "first", "./layout"]).trim_end().to_owned();
    // One that runs, and one that has no name yet.
    let mut guest = Guest::start(&peers, "guest", &[], "./layout", "echo ready; sleep 1000");
    peers.ours_ok(&["container", "rename", "guest", "renamed"]);
    let mut successor = Guest::start(&peers, "guest", &[], "./layout", "echo ready; sleep 1000");
    let names = || peers.ours_ok(&["ps", "-a", "--format", "{{.Names}}"]);
    assert_eq!(names(), "guest\nrenamed\nfirst\nsecond\n");
    for (words, said) in [
        (&["rename", "renamed", "guest"][..], "the name \"guest\" is in use by container"),
        (&["rename", "renamed", "first"], "the name \"first\" is in use by container"),
        (&["rename", "second", "guest"], "the name \"guest\" is in use by container"),
        (&["rename", "second", "first"], "the name \"first\" is in use by container"),
        (&["rename", "second", "second"], "the name \"second\" is in use by container"),
        (&["rename", "nothing", "else"], "there is no container \"nothing\""),
    ] {
        let told = peers.ours_fails(1, words);
        assert!(told.contains(said), "{words:?}: {told}");
    }
    peers.ours_fails(125, &["rename", "second", "a/b"]);
    peers.ours_fails(125, &["rename", "second"]);
    assert_eq!(names(), "guest\nrenamed\nfirst\nsecond\n");
    // The end of the renamed one takes its own name with it, and not the one that it had.
    peers.ours_ok(&["kill", "renamed"]);
    assert_eq!(guest.end(), 137);
    assert_eq!(peers.names("lib/mycontainer/names"), ["first", "guest", "second"]);
    assert_eq!(names(), "guest\nfirst\nsecond\n");
    let waits = peers.ours_command(&["wait", "guest"]).stdout(Stdio::piped()).spawn().unwrap();
    crate::common::wait_until(1, || false);
    peers.ours_ok(&["rename", "guest", "once-more"]);
    peers.ours_ok(&["rename", "once-more", "twice"]);
    peers.ours_ok(&["kill", "twice"]);
    assert_eq!(waits.wait_with_output().unwrap().stdout, b"137\n");
    assert_eq!(successor.end(), 137);
    assert_eq!(peers.names("lib/mycontainer/names"), ["first", "second"]);
    peers.only_whole(&[id, other]);
}

#[test]
fn of_two_that_want_a_name_one_gets_it() {
    if !has("of_two_that_want_a_name_one_gets_it", &[]) {
        return;
    }
    let peers = machine(TestImage::busybox());
    for name in ["one", "two"] {
        peers.ours_ok(&["create", "--name", name, "./layout"]);
    }
    let _guest = Guest::start(&peers, "guest", &[], "./layout", "echo ready; sleep 1000");
    for round in 0..10 {
        let wish = format!("wish{round}");
        let start =
            |words: &[&str]| peers.ours_command(words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let ids = peers.ours_ok(&["ps", "-aq"]);
        let rivals: Vec<_> = ids.lines().take(3).map(|id| start(&["rename", id, &wish])).collect();
        let creator = start(&["create", "--name", &wish, "./layout"]);
        let outputs: Vec<_> =
            rivals.into_iter().chain([creator]).map(|rival| rival.wait_with_output().unwrap()).collect();
        let said: Vec<String> = outputs.iter().map(stderr).collect();
        assert_eq!(outputs.iter().filter(|output| output.status.success()).count(), 1, "{round}: {said:?}");
        let names = peers.ours_ok(&["ps", "-a", "--format", "{{.Names}}"]);
        assert_eq!(names.lines().filter(|name| *name == wish).count(), 1, "{names}");
    }
}

#[test]
fn a_killed_rename_leaves_one_name() {
    if !has("a_killed_rename_leaves_one_name", &[]) {
        return;
    }
    let peers = machine(TestImage::busybox());
    let id = peers.ours_ok(&["create", "--name", "name", "./layout"]).trim_end().to_owned();
    let _guest = Guest::start(&peers, "runs", &[], "./layout", "echo ready; sleep 1000");
    for (prefix, id) in [("made", id), ("runs", peers.ours_ok(&["ps", "-q"]).trim_end().to_owned())] {
        let name = |n: u32| format!("{prefix}{n}");
        peers.killed(
            30,
            |n| vec!["rename".into(), id.clone(), name(n)],
            |n, killed| {
                let now = peers.ours_ok(&["ps", "-a", "--format", "{{.Names}}", "-f", &format!("id={id}")]);
                let now = now.trim_end();
                assert!(now == name(n) || killed, "{n}: {now}");
                // It is found by the name that it has, and the one that it does not have is free.
                assert!(peers.ours_ok(&["inspect", "-f", "{{.Id}}", now]).starts_with(&id));
                if now != name(n) && prefix == "made" {
                    let other = peers.ours_ok(&["create", "--name", &name(n), "./layout"]);
                    peers.ours_ok(&["rm", other.trim_end()]);
                }
            },
        );
    }
}
