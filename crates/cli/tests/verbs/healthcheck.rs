//! `healthcheck run`: a check once, for who asks. What monitors make of checks is in `health`.

use crate::common::life::Life;
use crate::common::traces::processes_with;
use crate::common::{code, stderr, stdout, wait_until};

#[test]
fn a_check_is_run_once() {
    let Some(life) = Life::new("a_check_is_run_once") else { return };
    let check = "echo looked; echo x >>/n; test -e /well";
    life.detached(&["--name", "hh", "--health-cmd", check, "--health-interval", "1h"], "sleep 1000");
    for (prepare, expected, told) in
        [("true", 1, "unhealthy\n"), ("touch /well", 0, ""), ("rm /well", 1, "unhealthy\n"), ("touch /well", 0, "")]
    {
        life.ok(&["exec", "hh", "sh", "-c", prepare]);
        let output = life.tool(&["healthcheck", "run", "hh"]);
        assert_eq!((stdout(&output), code(output.status)), (told.into(), expected), "{prepare}");
        // For the person who looks why.
        assert_eq!(stderr(&output), "looked\n");
    }
    // Each was one, and what its monitor knows is as before.
    assert_eq!(life.ok(&["exec", "hh", "cat", "/n"]), "x\nx\nx\nx");
    assert_eq!(life.field("hh", "State.Health.Status"), "starting");
    // Also where the command is no command.
    life.detached(&["--name", "none", "--health-cmd", r#"["/nothing"]"#, "--health-interval", "1h"], "sleep 1000");
    let output = life.tool(&["healthcheck", "run", "none"]);
    assert_eq!((stdout(&output), code(output.status)), ("unhealthy\n".into(), 1));
    assert!(stderr(&output).contains("/nothing"), "{}", stderr(&output));
}

#[test]
fn a_check_that_takes_too_long_is_ended() {
    let Some(life) = Life::new("a_check_that_takes_too_long_is_ended") else { return };
    let word = crate::common::traces::unique("check");
    let check = format!("MARK={word} exec sleep 1000");
    let flags = ["--name", "hh", "--health-cmd", &check, "--health-interval", "1h", "--health-timeout", "500ms"];
    life.detached(&flags, "sleep 1000");
    let output = life.tool(&["healthcheck", "run", "hh"]);
    assert_eq!((stdout(&output), code(output.status)), ("unhealthy\n".into(), 1), "{}", stderr(&output));
    let is_over =
        || processes_with(&format!("MARK={word}")).iter().all(|pid| crate::common::traces::comm(*pid) != "sleep");
    assert!(wait_until(5, is_over), "the check goes on in the container");
}

#[test]
fn what_has_no_health_is_an_error() {
    let Some(life) = Life::new("what_has_no_health_is_an_error") else { return };
    life.detached(&["--name", "plain"], "sleep 1000");
    life.detached(&["--name", "off", "--health-cmd", "none"], "sleep 1000");
    life.detached(&["--name", "still", "--health-cmd", "true", "--health-interval", "1h"], "sleep 1000");
    life.ok(&["pause", "still"]);
    let words = life.words(&["create"], &["--name", "made", "--health-cmd", "true"], "sleep 1000");
    life.note(life.ok(&words));
    for (words, said) in [
        (&["plain"][..], "the container plain has no health check\n  hint: it is made with one by --health-cmd"),
        (&["off"], "has no health check"),
        (&["made"], "the container made is not running"),
        (&["still"], "the container still is paused"),
        (&["nothing"], "there is no container \"nothing\""),
        (&[], "needs CONTAINER"),
    ] {
        let told = life.fails(125, &[&["healthcheck", "run"], words].concat());
        assert!(told.contains(said), "{words:?}: {told}");
    }
}
