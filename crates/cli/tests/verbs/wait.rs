//! `wait` for more than the end of a container: `--condition`, `--interval`, `--ignore`.

use crate::common::life::Life;
use crate::common::{busybox_root, code, stderr, stdout, wait_until};
use std::process::Child;

/// What is printed, and the exit code.
#[track_caller]
fn ended(mut wait: Child) -> (String, i32) {
    assert!(wait_until(20, || wait.try_wait().unwrap().is_some()), "it waits for ever");
    let output = wait.wait_with_output().unwrap();
    (stdout(&output) + &stderr(&output), code(output.status))
}

fn condition(life: &Life, condition: &str, container: &str) -> Child {
    life.meanwhile(&["wait", "--condition", condition, container])
}

/// It waits still.
#[track_caller]
fn waits(wait: &mut Child) {
    // Longer than it takes to look once.
    std::thread::sleep(std::time::Duration::from_millis(600));
    assert!(wait.try_wait().unwrap().is_none(), "it has not waited");
}

#[test]
fn what_becomes_of_a_container_is_waited_for() {
    let Some(life) = Life::new("what_becomes_of_a_container_is_waited_for") else { return };
    let words = life.words(&["create", "--name", "one"], &[], "while [ ! -e /go ]; do sleep 0.02; done; exit 7");
    life.note(life.ok(&words));
    assert_eq!(ended(condition(&life, "created", "one")), ("-1\n".into(), 0));
    assert_eq!(ended(condition(&life, "configured", "one")), ("-1\n".into(), 0));
    assert_eq!(ended(condition(&life, "not-running", "one")), ("0\n".into(), 0));
    let [mut running, mut exited, mut next, mut paused] =
        ["running", "exited", "next-exit", "paused"].map(|name| condition(&life, name, "one"));
    [&mut running, &mut exited, &mut next].into_iter().for_each(waits);
    life.ok(&["start", "one"]);
    assert_eq!(ended(running), ("-1\n".into(), 0));
    waits(&mut exited);
    waits(&mut paused);
    life.ok(&["pause", "one"]);
    assert_eq!(ended(paused), ("-1\n".into(), 0));
    let unpaused = condition(&life, "running", "one");
    life.ok(&["unpause", "one"]);
    assert_eq!(ended(unpaused), ("-1\n".into(), 0));
    let removed = condition(&life, "removed", "one");
    life.ok(&["exec", "one", "touch", "/go"]);
    for wait in [exited, next, condition(&life, "stopped", "one")] {
        assert_eq!(ended(wait), ("7\n".into(), 0));
    }
    // Of one that has ended the next end is another one.
    let mut next = condition(&life, "next-exit", "one");
    waits(&mut next);
    life.ok(&["rm", "one"]);
    assert_eq!(ended(removed), ("7\n".into(), 0));
    assert_eq!(ended(next), ("7\n".into(), 0));
    let told = ended(condition(&life, "removed", "one"));
    assert!(told.0.contains("there is no container \"one\"") && told.1 == 1, "{told:?}");
    assert_eq!(life.ok(&["wait", "--ignore", "one"]), "-1");
}

#[test]
fn an_end_is_seen_though_it_is_started_again_at_once() {
    let Some(life) = Life::new("an_end_is_seen_though_it_is_started_again_at_once") else { return };
    // An interval in which nothing would be seen, were it not told.
    let wait = |condition: &str| life.meanwhile(&["wait", "-i", "1h", "--condition", condition, "again"]);
    let script = "while [ ! -e /go ]; do sleep 0.02; done; rm /go; exit 3";
    life.detached(&["--name", "again", "--restart", "always"], script);
    let (next, mut over) = (wait("next-exit"), wait("not-running"));
    waits(&mut over);
    life.ok(&["exec", "again", "touch", "/go"]);
    assert_eq!(ended(next), ("3\n".into(), 0));
    life.until("again", "running");
    // Any of several.
    let words = ["wait", "--condition", "removed", "--condition", "running", "again"];
    assert_eq!(life.ok(&words), "-1");
    waits(&mut over);
    let mut removed = wait("removed");
    waits(&mut removed);
    life.ok(&["rm", "-f", "again"]);
    assert_eq!(ended(over), ("137\n".into(), 0));
    assert_eq!(ended(removed), ("137\n".into(), 0));
    // And one that goes by itself.
    life.detached(&["--name", "goes", "--rm"], "while [ ! -e /go ]; do sleep 0.02; done; exit 4");
    let waits = ["removed", "exited", "next-exit"].map(|name| condition(&life, name, "goes"));
    let never = condition(&life, "paused", "goes");
    // Each has found it before it ends.
    std::thread::sleep(std::time::Duration::from_millis(500));
    life.ok(&["exec", "goes", "touch", "/go"]);
    waits.into_iter().for_each(|wait| assert_eq!(ended(wait), ("4\n".into(), 0)));
    let told = ended(never);
    assert!(told.0.contains("there is no container \"goes\"") && told.1 == 1, "{told:?}");
}

/// What its end was goes a moment before it itself is gone: who looks between the two must not take that for the end.
#[test]
fn the_end_of_one_that_is_removed_is_told_as_it_was() {
    let Some(life) = Life::new("the_end_of_one_that_is_removed_is_told_as_it_was") else { return };
    for round in 0..15 {
        life.detached(&["--name", "short"], "exec sleep 1000");
        let waits: Vec<_> = (0..4).map(|_| life.meanwhile(&["wait", "short"])).collect();
        std::thread::sleep(std::time::Duration::from_millis(100));
        life.ok(&["rm", "-f", "short"]);
        for wait in waits {
            let told = ended(wait);
            // Who came too late to find it says so.
            assert!(told.1 == 1 || told == ("137\n".into(), 0), "round {round}: {told:?}");
        }
    }
}

#[test]
fn it_is_waited_for_health() {
    let Some(life) = Life::new("it_is_waited_for_health") else { return };
    let flags =
        ["--name", "ill", "--health-cmd", "test -e /well", "--health-interval", "100ms", "--health-retries", "1"];
    life.detached(&flags, "sleep 1000");
    assert_eq!(ended(condition(&life, "unhealthy", "ill")), ("-1\n".into(), 0));
    let mut healthy = condition(&life, "healthy", "ill");
    waits(&mut healthy);
    life.ok(&["exec", "ill", "touch", "/well"]);
    assert_eq!(ended(healthy), ("-1\n".into(), 0));
}

#[test]
fn what_cannot_be_waited_for() {
    let Some(life) = Life::new("what_cannot_be_waited_for") else { return };
    life.note(life.ok(&["create", "--name", "made", busybox_root().to_str().unwrap()]));
    for (words, said) in [
        (&["--condition", "dead"][..], "a condition is one of not-running, next-exit, removed"),
        (&["--condition", ""], "a condition is one of"),
        (&["--interval", "soon"], "write a time, as 250ms or 2s"),
        (&["-i", "0"], "write a time"),
    ] {
        let told = life.fails(125, &[&["wait"], words, &["made"]].concat());
        assert!(told.contains(said), "{words:?}: {told}");
    }
}
